//! How proposals end that are not applied, and each command and notice about them.

use harness::{Lablet, eventually};
use serde_json::{Value, json};

use super::advice::{command, ended, proposal, set_policy, with_definitions};
use super::notices::{data, notices};
use super::{SOON, start, verify};

/// What a command prints as JSON.
async fn printed(lablet: &Lablet, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--output", "json"]].concat();
    let output = command(lablet, &arguments).await;
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output}"))
}

/// The open proposal of a definition with three sessions that needed far less than it states.
async fn open(lablet: &Lablet, definition: &str) -> String {
    for (number, memory_mb) in [1500.0, 1600.0, 1700.0].into_iter().enumerate() {
        ended(lablet, &format!("{definition}-{number}"), definition, memory_mb).await;
    }
    let open = proposal(lablet, definition, "a proposal", |proposal| proposal["status"] == "open").await;
    open["proposal_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_proposal_that_fails_is_dismissed_or_superseded_is_told_on_the_bus_and_shown_by_the_command_line() {
    let lablet = with_definitions(&["ospf", "bgp", "isis"]).await;
    let (failed, dismissed, superseded) =
        (open(&lablet, "ospf").await, open(&lablet, "bgp").await, open(&lablet, "isis").await);

    let claimed = printed(&lablet, &["proposal", "claim", &failed, "--reason", "by the pipeline"]).await;
    assert_eq!((&claimed["status"], &claimed["definition_id"]), (&json!("claimed"), &json!("ospf")));
    let answer = printed(&lablet, &["proposal", "fail", &failed, "--reason", "the pipeline refused it"]).await;
    assert_eq!((&answer["status"], &answer["etag"]), (&json!("failed"), &Value::Null));
    let shown = printed(&lablet, &["proposal", "show", &failed]).await;
    assert_eq!((&shown["status"], &shown["claim_reason"]), (&json!("failed"), &json!("by the pipeline")));
    assert_eq!((&shown["ended_by"], &shown["end_reason"]), (&json!("admin:admin"), &json!("the pipeline refused it")));
    let (again, output) = lablet.run(&["proposal", "fail", &dismissed, "--reason", "nobody claimed it"]).await.unwrap();
    assert!(!again && output.contains("claim"), "{output}");

    let answer = printed(&lablet, &["proposal", "dismiss", &dismissed, "--reason", "an exam is near"]).await;
    assert_eq!(answer["status"], "dismissed");
    let patch = command(&lablet, &["proposal", "export", &superseded, "--format", "json-patch"]).await;
    let patch: Value = serde_json::from_str(&patch).unwrap();
    let replaces = |path: &str| {
        let path = format!("/resource_requirements/{path}");
        patch.as_array().unwrap().iter().find(|change| change["op"] == "replace" && change["path"] == path).cloned()
    };
    assert_eq!(replaces("memory_gb").unwrap()["value"], 2, "{patch}");

    // A session that needed far more: the size that was proposed is no longer what the evidence asks for.
    ended(&lablet, "isis-3", "isis", 3000.0).await;
    let row = proposal(&lablet, "isis", "a superseded proposal", |row| {
        row["proposal_id"] == json!(superseded) && row["status"] == "superseded"
    })
    .await;
    assert!(row["end_reason"].is_string(), "{row}");
    for (status, id) in [("failed", &failed), ("dismissed", &dismissed), ("superseded", &superseded)] {
        let listed = command(&lablet, &["proposal", "list", "--status", status, "--output", "csv"]).await;
        assert!(listed.contains(id), "{status}: {listed}");
        assert_eq!(listed.lines().count(), 2, "{status}: {listed}");
    }

    let ends = ["proposal_opened", "proposal_claimed", "proposal_failed", "proposal_dismissed", "proposal_superseded"];
    let types = ends.map(|end| format!("lablet_definition.{end}"));
    let notices = notices(&lablet, "lablet.events.lablet_definition.>", &types.each_ref().map(String::as_str)).await;
    for (end, definition, id, by, reason) in [
        ("failed", "ospf", &failed, json!("admin:admin"), "the pipeline refused it"),
        ("dismissed", "bgp", &dismissed, json!("admin:admin"), "an exam is near"),
        ("superseded", "isis", &superseded, Value::Null, row["end_reason"].as_str().unwrap()),
    ] {
        let told = data(&notices, &format!("lablet_definition.proposal_{end}"), definition);
        assert_eq!((&told["proposal_id"], &told["definition_id"]), (&json!(id), &json!(definition)), "{told}");
        assert_eq!((&told["status"], &told["reason"], &told["by"]), (&json!(end), &json!(reason), &by), "{told}");
    }
    verify(&lablet).await;
    lablet.stop().await.unwrap();
}

#[tokio::test]
async fn policies_and_what_counts_as_evidence_are_set_and_shown_by_the_command_line_and_told_on_the_bus() {
    let lablet = with_definitions(&["ospf"]).await;
    for (number, memory_mb) in [1500.0, 1600.0, 1700.0].into_iter().enumerate() {
        ended(&lablet, &format!("s{number}"), "ospf", memory_mb).await;
    }
    let usual = printed(&lablet, &["advice", "policy", "show"]).await;
    assert_eq!(usual["policy"]["promise"], 0.95, "{usual}");
    let file = lablet.data_dir().join("default-policy.json");
    std::fs::write(&file, json!({"promise": 0.9}).to_string()).unwrap();
    printed(&lablet, &["advice", "policy", "set", file.to_str().unwrap(), "--reason", "less is enough"]).await;
    assert_eq!(printed(&lablet, &["advice", "policy", "show"]).await["policy"]["promise"], 0.9);
    set_policy(&lablet, "ospf", &json!({"promise": 0.8})).await;
    let own = printed(&lablet, &["advice", "policy", "show", "--definition", "ospf"]).await;
    assert_eq!(own["policy"]["promise"], 0.8, "{own}");
    assert_eq!(
        printed(&lablet, &["advice", "policy"]).await["policy"]["promise"],
        0.9,
        "shown unless something is said"
    );

    let sessions = |wanted: u64| {
        let lablet = &lablet;
        eventually("the sessions that count", SOON, move || async move {
            let answer = printed(lablet, &["definition", "recommend", "ospf"]).await;
            (answer["resources"]["memory_mb"]["sessions"] == wanted).then_some(answer)
        })
    };
    let before = sessions(3).await;
    printed(&lablet, &["session", "exclude-evidence", "s1", "--reason", "a load test"]).await;
    sessions(2).await;
    let answer = printed(&lablet, &["session", "include-evidence", "s1", "--reason", "it was none"]).await;
    assert!(answer["position"].is_string(), "{answer}");
    let again = sessions(3).await;
    assert_eq!(again["resources"]["memory_mb"]["value"], before["resources"]["memory_mb"]["value"]);

    let as_of = before["as_of"].as_str().unwrap();
    let then = printed(&lablet, &["definition", "recommend", "ospf", "--as-of", as_of]).await;
    assert_eq!(then, before);
    let explained = printed(&lablet, &["definition", "explain", "ospf", "--promise", "0.5"]).await;
    assert_eq!((&explained["promise"], &explained["definition_id"]), (&json!(0.5), &json!("ospf")));
    let tried = printed(&lablet, &["definition", "back-test", "ospf", "--memory-gb", "1"]).await;
    assert_eq!(tried["resources"]["memory_mb"]["sessions_short"], 3, "{tried}");
    let score = printed(&lablet, &["advice", "score", "--definition", "ospf", "--resource", "memory_mb"]).await;
    assert_eq!((score["totals"].as_array().unwrap().len(), &score["totals"][0]["resource"]), (1, &json!("memory_mb")));

    let types = ["lablet_session.evidence_excluded", "lablet_session.evidence_included"];
    let told = notices(&lablet, "lablet.events.lablet_session.*.s1", &types).await;
    assert_eq!(data(&told, types[0], "s1")["reason"], "a load test");
    assert_eq!(data(&told, types[1], "s1")["reason"], "it was none");
    let told = notices(&lablet, "lablet.events.lablet_definition.>", &["lablet_definition.policy_set"]).await;
    assert_eq!(data(&told, "lablet_definition.policy_set", "ospf")["policy"]["promise"], 0.8);
    let told = notices(&lablet, "lablet.events.advice_policy.>", &["advice_policy.set"]).await;
    let told = data(&told, "advice_policy.set", "default");
    assert_eq!((&told["policy"]["promise"], &told["reason"]), (&json!(0.9), &json!("less is enough")));
    verify(&lablet).await;
    lablet.stop().await.unwrap();
}

#[tokio::test]
async fn commands_about_advice_that_cannot_be_carried_out_say_what_is_wrong() {
    let lablet = start().await;
    for (arguments, told) in [
        (vec!["proposal", "show", "p-none"], "p-none"),
        (vec!["proposal", "claim", "p-none"], "p-none"),
        (vec!["definition", "recommend", "none"], "none"),
        (vec!["definition", "explain", "none"], "none"),
        (vec!["definition", "back-test", "none"], "none"),
        (vec!["session", "include-evidence", "none", "--reason", "a try"], "none"),
        (vec!["advice", "policy", "show", "--definition", "none"], "none"),
        (vec!["advice", "score", "--resource", "gold"], "gold"),
        (vec!["topology", "size", "/nowhere/topology.yaml"], "/nowhere/topology.yaml"),
    ] {
        let (succeeded, output) = lablet.run(&arguments).await.unwrap();
        assert!(!succeeded && output.contains(told), "{arguments:?}: {output}");
    }
    lablet.stop().await.unwrap();
}
