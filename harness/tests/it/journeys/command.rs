//! The command `lablet`, as people and scripts use it.

use std::process::Stdio;

use harness::{Lablet, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::{SOON, with_a_controller_that_finds_nobody};

/// One line of standard error for one failure, beside the warning about a token among the arguments.
fn is_told_once(complaint: &str) -> bool {
    let mut lines = complaint.lines().filter(|line| !line.contains("a secret in the arguments"));
    lines.next().is_some_and(|line| line.starts_with("lablet: ")) && lines.next().is_none()
}

#[tokio::test]
async fn lists_details_and_changes_come_in_every_format_with_exit_codes_that_scripts_can_trust() {
    // A controller that finds nobody at the worker: what it is asked for fails.
    let lablet = with_a_controller_that_finds_nobody().await;
    every_format(&lablet).await;
    actors(&lablet).await;
    exit_codes(&lablet).await;
    closed_output(&lablet).await;
    services(&lablet).await;
    watching(&lablet).await;
    applying(&lablet).await;
    contexts(&lablet).await;
    let (_, healthy) = lablet.run(&["doctor"]).await.unwrap();
    assert!(healthy.contains("nothing is parked"), "{healthy}");
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

/// What services do to sessions, from a shell: safe to be done again.
async fn services(lablet: &Lablet) {
    let done = async |line: &str, input: &str| {
        let arguments: Vec<&str> = line.split(' ').chain(["-o", "json"]).collect();
        let answer = lablet.answer(&arguments, input).await.unwrap();
        assert!(answer.code == 0 && answer.complaint.is_empty(), "{line}: {answer:?}");
        serde_json::from_str::<Value>(&answer.out).unwrap()
    };
    let create = "session create --definition ospf --id s7 --owner ada";
    let created = done(create, "").await;
    assert_eq!((&created["status"], &created["owner_id"]), (&json!("pending"), &json!("ada")));
    assert_eq!(done(create, "").await["position"], created["position"], "the same again changes nothing");

    let steps =
        "session transition s7 scheduled instantiating ready running --worker cml-1 --port PC_serial=5047 --lab lab-7";
    let running = done(&format!("{steps} --etag {}", created["etag"].as_str().unwrap()), "").await;
    assert_eq!((&running["status"], &running["cml_lab_id"]), (&json!("running"), &json!("lab-7")));
    assert_eq!(running["allocated_ports"], json!({ "PC_serial": 5047 }));
    let position = running["position"].as_str().unwrap();
    lablet.get(&format!("/api/lablet-sessions/s7?position={position}")).await.unwrap();
    assert_eq!(done(steps, "").await["position"], running["position"], "no step is left");

    let seen = json!({
        "observed_resources": { "observer": "grading", "total_cpu_cores": 2, "lab_title": "OSPF of Ada" },
        "observed_ports": { "PC_serial": 5047 },
    });
    let observed = done("session record-observation s7 -", &seen.to_string()).await;
    assert_eq!((&observed["observation_count"], &observed["port_drift_detected"]), (&json!(1), &json!(false)));
    let shown =
        done(&format!("session list --text of_ada --position {}", observed["position"].as_str().unwrap()), "").await;
    assert_eq!(shown, json!([]), "no pattern");
    let listed = lablet.answer(&["session", "list", "--text", "of ada", "-o", "wide"], "").await.unwrap();
    assert!(listed.out.contains("OSPF of Ada") && listed.out.contains("lab-7"), "{listed:?}");

    let elsewhere = "session create --definition ospf --url http://127.0.0.1:1";
    for (code, line) in [
        (3, "session transition nobody terminated"),
        (4, elsewhere),
        (5, "session create --definition ospf --id s7 --owner bob"),
        (5, "session transition s7 collecting --etag \"1\""),
        (8, "session transition s7 ready"),
    ] {
        let mut command = lablet.command(&line.split(' ').collect::<Vec<_>>());
        command.env_remove("LABLET_INTERNAL_API_KEY");
        let refused = command.output().await.unwrap();
        let complaint = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(code), "{line}: {complaint}");
        assert!(code == 8 || is_told_once(&complaint), "{line}: {complaint}");
    }
    done("session transition s7 terminated --reason enough", "").await;
}

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

const MANIFESTS: &str = "
apiVersion: lablet/v1
kind: policy
reason: Exams must not be short.
spec: { definition_id: bgp, policy: { promise: 0.99 } }
---
apiVersion: lablet/v1
kind: definition
spec:
  id: bgp
  name: BGP
  version: '1.0'
  resource_requirements: { cpu_cores: 4, memory_gb: 8, storage_gb: 20 }
  topology: { nodes: [{ node_definition: iosv, ram_mb: 768, count: 3 }] }
---
apiVersion: lablet/v1
kind: worker
spec:
  id: cml-1
  name: cml-1
  address: https://127.0.0.1:1
  capacity: { cpu_cores: 64, memory_gb: 512, storage_gb: 1000, max_nodes: 320 }
---
apiVersion: lablet/v1
kind: policy
spec: { policy: { minimum_sessions: 7 } }
";

async fn applying(lablet: &Lablet) {
    let apply = async |arguments: &[&str], text: &str| {
        lablet.answer(&[&["apply", "-f", "-"], arguments].concat(), text).await.unwrap()
    };
    let dry = apply(&["--dry-run"], MANIFESTS).await;
    assert_eq!((dry.code, dry.complaint.as_str()), (0, ""), "{dry:?}");
    for line in
        ["+++ definition/bgp (to be)", "-  memory_gb: 256", "+  memory_gb: 512", "+promise: 0.99", "Nothing was sent."]
    {
        assert!(dry.out.contains(line), "{line} is missing:\n{}", dry.out);
    }
    assert!(lablet.get("/api/lablet-definitions/bgp").await.is_err(), "nothing was sent");

    let applied = apply(&[], MANIFESTS).await;
    assert_eq!((applied.code, applied.complaint.as_str()), (0, ""), "{applied:?}");
    assert!(applied.out.contains("3 created, 1 changed, 0 unchanged, 0 failed."), "{applied:?}");
    let again = apply(&["-o", "jsonl"], MANIFESTS).await;
    let results: Vec<Value> = again.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(results.len() == 4 && results.iter().all(|result| result["result"] == "unchanged"), "{results:?}");
    let policy = lablet.get("/api/lablet-definitions/bgp/advice-policy").await.unwrap();
    assert_eq!(policy["own"]["policy"]["promise"], 0.99);
    assert_eq!(lablet.get("/api/workers/cml-1").await.unwrap()["capacity"]["memory_gb"], 512);

    let revised = MANIFESTS.replace("memory_gb: 8", "memory_gb: 16").replace("cpu_cores: 64", "cpu_cores: 0");
    let partly = apply(&["--reason", "Too small."], &revised).await;
    assert_eq!(partly.code, 8, "{partly:?}");
    assert!(partly.out.contains("0 created, 1 changed, 2 unchanged, 1 failed."), "{partly:?}");
    assert_eq!(partly.complaint.matches("capacity.cpu_cores").count(), 1, "{partly:?}");
    let revisions = lablet.answer(&["definition", "revisions", "bgp", "-o", "json"], "").await.unwrap();
    let revisions: Value = serde_json::from_str(&revisions.out).unwrap();
    assert_eq!(revisions[0]["reason"], "Too small.");
    let renamed =
        apply(&[], &MANIFESTS.replace("name: BGP", "name: Other").replace("memory_gb: 8", "memory_gb: 16")).await;
    assert!(renamed.code == 5 && renamed.complaint.contains("name of a definition cannot be changed"), "{renamed:?}");
}

async fn contexts(lablet: &Lablet) {
    let home = tempfile::tempdir().unwrap();
    let token = home.path().join("token");
    std::fs::write(&token, &lablet.ready().admin_token).unwrap();
    let run = async |arguments: &[&str]| {
        let mut command = lablet.command(arguments);
        command.env("XDG_CONFIG_HOME", home.path()).env_remove("LABLET_DATA_DIR").current_dir(home.path());
        let output = command.output().await.unwrap();
        (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let http = lablet.ready().http.as_str();
    let (code, said) = run(&["session", "list"]).await;
    assert!(code == 1 && said.contains("lablet context set"), "{said}");
    let file = token.to_str().unwrap();
    let (code, said) = run(&["context", "set", "here", "--gateway", http, "--token-file", file]).await;
    assert_eq!((code, said.as_str()), (0, "The current context is here.\n"));
    assert_eq!(run(&["context", "set", "away", "--gateway", "http://127.0.0.1:1", "--token-file", file]).await.0, 0);
    let (code, said) = run(&["session", "list", "-o", "csv"]).await;
    assert!(code == 0 && said.contains("s1,ospf"), "{said}");
    assert_eq!(run(&["session", "list", "--context", "away"]).await.0, 6);
    assert_eq!(run(&["context", "use", "nowhere"]).await.0, 3);
    let (code, listed) = run(&["context", "list"]).await;
    assert!(code == 0 && listed.contains(http) && !listed.contains(&lablet.ready().admin_token), "{listed}");
    assert_eq!(run(&["context", "remove", "here"]).await, (0, "There is no current context.\n".to_owned()));
    let (code, _) = run(&["manual", "--to", home.path().join("man").to_str().unwrap()]).await;
    assert!(code == 0 && home.path().join("man/lablet-apply.1").exists());
    assert!(run(&["completions", "zsh"]).await.1.starts_with("#compdef lablet"));
}
