//! The command `lablet`, as people and scripts use it.

use std::process::Stdio;

use harness::{Lablet, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::{SOON, with_a_running_session};

/// One line of standard error for one failure, beside the warning about a token among the arguments.
fn is_told_once(complaint: &str) -> bool {
    let mut lines = complaint.lines().filter(|line| !line.contains("a secret in the arguments"));
    lines.next().is_some_and(|line| line.starts_with("lablet: ")) && lines.next().is_none()
}

#[tokio::test]
async fn lists_details_and_changes_come_in_every_format_with_exit_codes_that_scripts_can_trust() {
    let lablet = with_a_running_session().await;
    every_format(&lablet).await;
    actors(&lablet).await;
    exit_codes(&lablet).await;
    closed_output(&lablet).await;
    watching(&lablet).await;
    let (done, healthy) = lablet.run(&["doctor"]).await.unwrap();
    assert!(done && healthy.contains("nothing is parked"), "{healthy}");
    lablet.stop().await.unwrap();
}

async fn every_format(lablet: &Lablet) {
    let out = async |arguments: &[&str]| {
        let answer = lablet.answer(arguments, "").await.unwrap();
        assert!(answer.code == 0 && answer.complaint.is_empty(), "{arguments:?}: {answer:?}");
        answer.out
    };
    assert!(out(&["session", "list", "-o", "csv"]).await.contains("s1,ospf,1.0,running,cml-1"));
    let table = out(&["session", "list", "--status", "running", "--worker", "cml-1"]).await;
    assert!(table.starts_with("ID  DEFINITION") && !table.contains("LAB"), "{table}");
    let wide = out(&["session", "list", "-o", "wide"]).await;
    assert!(wide.contains("LAB") && wide.contains("lab-1"), "{wide}");
    let json: Value = serde_json::from_str(&out(&["session", "list", "-o", "json"]).await).unwrap();
    let yaml: Value = serde_norway::from_str(&out(&["session", "list", "-o", "yaml"]).await).unwrap();
    let line: Value = serde_json::from_str(&out(&["session", "list", "-o", "jsonl"]).await).unwrap();
    assert_eq!((&json, &json[0]), (&yaml, &line));
    let definition: Value = serde_json::from_str(&out(&["definition", "show", "ospf", "-o", "json"]).await).unwrap();
    assert_eq!(definition["resource_requirements"]["memory_gb"], 4);
    assert_eq!(out(&["session", "list", "--drift", "-o", "jsonl"]).await, "", "none drifted");
    assert_eq!(out(&["definition", "list", "--text", "OSPF", "--sort", "name", "-o", "csv"]).await.lines().count(), 2);
    let more = lablet.answer(&["event", "list", "--limit", "1", "-o", "jsonl"], "").await.unwrap();
    assert_eq!((more.code, more.out.lines().count()), (0, 1), "{more:?}");
    assert!(more.complaint.contains("--limit shows more"), "{more:?}");
}

async fn actors(lablet: &Lablet) {
    for command in [["session", "events", "s1"].as_slice(), &["event", "list"]] {
        let rows = lablet.answer(&[command, &["-o", "csv"]].concat(), "").await.unwrap().out;
        let mut lines = rows.lines();
        let header = lines.next().unwrap();
        let actor = header.split(',').position(|name| name.ends_with("actor")).unwrap();
        for line in lines {
            let shown = line.split(',').nth(actor).unwrap();
            assert!(shown.starts_with("service:") || shown.starts_with("admin:"), "{header}\n{line}");
        }
    }
}

async fn exit_codes(lablet: &Lablet) {
    let definition = r#"{"name": "x", "version": "1", "resource_requirements": {"cpu_cores": 0}}"#;
    let again = json!({
        "id": "ospf", "name": "other", "version": "1.0",
        "resource_requirements": { "cpu_cores": 1, "memory_gb": 1, "storage_gb": 1 }
    });
    for (code, arguments, input) in [
        (2, ["session", "list", "--no-such-filter", "x"].as_slice(), ""),
        (3, &["session", "show", "nobody"], ""),
        (4, &["session", "list", "--token", "lablet_token_nobodys"], ""),
        (5, &["definition", "create", "-"], again.to_string().as_str()),
        (6, &["session", "list", "--url", "http://127.0.0.1:1", "--token", "x"], ""),
        (8, &["definition", "create", "-"], definition),
    ] {
        let answer = lablet.answer(arguments, input).await.unwrap();
        assert_eq!((answer.code, answer.out.as_str()), (code, ""), "{arguments:?}: {answer:?}");
        let fields = answer.complaint.lines().filter(|line| line.contains("expected")).count();
        match code {
            2 => assert!(answer.complaint.contains("--no-such-filter"), "{answer:?}"),
            8 => assert!(fields == 3 && answer.complaint.contains("memory_gb"), "each field is named: {answer:?}"),
            _ => assert!(is_told_once(&answer.complaint), "{answer:?}"),
        }
    }

    // Nobody is at the worker, and no controller has its password: the request is open until somebody answers it.
    let waiting =
        lablet.command(&["session", "observe", "s1", "--wait"]).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let request = eventually("the request", SOON, async || {
        let listed = lablet.get("/api/observation-requests?session_id=s1").await.unwrap();
        listed["items"][0]["request_id"].as_str().map(str::to_owned)
    })
    .await;
    let failed = eventually("its outcome", SOON, async || {
        let listed = lablet.get("/api/observation-requests?session_id=s1").await.unwrap();
        (listed["items"][0]["outcome"] != "open").then(|| listed["items"][0].clone())
    })
    .await;
    assert_eq!((&failed["outcome"], &failed["request_id"]), (&json!("failed"), &json!(request)));
    let ended = waiting.unwrap().wait_with_output().await.unwrap();
    let complaint = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(7), "{complaint}");
    assert!(is_told_once(&complaint) && complaint.contains(&request), "{complaint}");
    assert!(String::from_utf8(ended.stdout).unwrap().contains("failed"), "the answer is shown all the same");
}

async fn closed_output(lablet: &Lablet) {
    for arguments in
        [["event", "list", "--limit", "5000"].as_slice(), &["--help"], &["event", "follow", "--after", START]]
    {
        let mut process = lablet.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).await.unwrap();
        assert!(!line.is_empty(), "{arguments:?}");
        drop(out);
        // What follows a stream finds that nobody reads when there is something to print.
        lablet.post("/api/lablet-sessions/s1/observe-resources", json!({})).await.unwrap();
        let ended = tokio::time::timeout(SOON, process.wait_with_output()).await.unwrap().unwrap();
        let complaint = String::from_utf8(ended.stderr).unwrap();
        assert_eq!((ended.status.code(), complaint.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

const START: &str = "0000000000-00000000000000000000-0000000000000000000";

async fn watching(lablet: &Lablet) {
    let mut process = lablet
        .command(&["session", "watch", "s1", "--until", "status=stopped"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut shown = vec![lines.next_line().await.unwrap().unwrap()];
    shown.push(lines.next_line().await.unwrap().unwrap());
    assert!(shown[0].starts_with("ID") && shown[1].contains("running"), "{shown:?}");
    for step in ["stopping", "stopped"] {
        let step = json!({ "new_status": step, "reason": "enough" });
        lablet.post("/api/internal/lablet-sessions/s1/transition", step).await.unwrap();
    }
    while let Some(line) = tokio::time::timeout(SOON, lines.next_line()).await.unwrap().unwrap() {
        shown.push(line);
    }
    let mut complaint = String::new();
    process.stderr.take().unwrap().read_to_string(&mut complaint).await.unwrap();
    assert_eq!((process.wait().await.unwrap().code(), complaint.as_str()), (Some(0), ""), "{shown:?}");
    assert!(shown.last().unwrap().contains("stopped"), "{shown:?}");
    let late = ["session", "watch", "s1", "--until", "status=archived", "--timeout", "1"];
    let ended = lablet.answer(&late, "").await.unwrap();
    assert!(ended.code == 7 && is_told_once(&ended.complaint), "{ended:?}");
}
