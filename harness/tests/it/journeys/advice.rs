//! Sessions lead to a proposal, a proposal to a revision, and the sessions after it say whether it held.

use harness::{Lablet, eventually};
use serde_json::{Value, json};

use super::notices::notices;
use super::{SOON, start, verify};

/// A session of a definition that needed so many MB of memory on two routers, and has ended.
pub(crate) async fn ended(lablet: &Lablet, id: &str, definition: &str, memory_mb: f64) {
    lablet.running_session(id, definition, "cml-1", &format!("lab-{id}")).await.unwrap();
    let node = |name: &str| {
        json!({"node_id": name, "label": name, "node_definition": "iosv", "state": "BOOTED", "cpus": 1,
               "nominal_cpu_cores": 1.0, "ram_mb": 2048,
               "usage": {"cpu_cores": 0.25, "memory_mb": memory_mb / 2.0, "disk_mb": 100.0,
                         "disk_read_bytes": 46_081_024}})
    };
    let observation = json!({"observed_resources": {
        "observer": "controller", "nodes": [node("n-1"), node("n-2")],
        "usage": {"cpu_cores": 0.5, "memory_mb": memory_mb, "storage_mb": 200.0},
        "coverage": {"nodes_total": 2, "nodes_booted": 2, "phase": "steady"}, "cml_version": "2.10.0"
    }});
    let session = format!("/api/internal/lablet-sessions/{id}");
    lablet.post(&format!("{session}/resource-observations"), observation).await.unwrap();
    lablet.post(&format!("{session}/transition"), json!({"new_status": "stopping"})).await.unwrap();
}

pub(crate) async fn with_definitions(ids: &[&str]) -> Lablet {
    let lablet = start().await;
    lablet.register_worker("cml-1", "https://127.0.0.1:1").await.unwrap();
    for id in ids {
        lablet.define(id).await.unwrap();
    }
    lablet
}

/// The newest proposal of a definition that fits.
pub(crate) async fn proposal(lablet: &Lablet, definition: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    eventually(what, SOON, || async {
        let page = lablet.get(&format!("/api/proposals?definition_id={definition}")).await.unwrap();
        page["items"].as_array().unwrap().iter().find(|proposal| fits(proposal)).cloned()
    })
    .await
}

pub(crate) async fn command(lablet: &Lablet, arguments: &[&str]) -> String {
    let (succeeded, output) = lablet.run(arguments).await.unwrap();
    assert!(succeeded, "{arguments:?}: {output}");
    output
}

pub(crate) async fn set_policy(lablet: &Lablet, definition: &str, policy: &Value) {
    let file = lablet.data_dir().join("policy.json");
    std::fs::write(&file, policy.to_string()).unwrap();
    let file = file.to_str().unwrap();
    command(lablet, &["advice", "policy", "set", file, "--definition", definition, "--reason", "a class of many"])
        .await;
}

async fn memory_gb(lablet: &Lablet, definition: &str) -> (Value, Value) {
    let definition = lablet.get(&format!("/api/lablet-definitions/{definition}")).await.unwrap();
    (definition["resource_requirements"]["memory_gb"].clone(), definition["revision"].clone())
}

/// Waits until a definition states 2 GB in its second revision: its read model is another than that of proposals.
async fn is_revised(lablet: &Lablet, definition: &str) {
    eventually("the revision that was applied", SOON, || async {
        (memory_gb(lablet, definition).await == (json!(2), json!(2))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_sessions_need_is_proposed_claimed_applied_and_verified_by_the_next_ones() {
    let lablet = with_definitions(&["ospf"]).await;
    for (number, memory_mb) in [1500.0, 1600.0, 1700.0].into_iter().enumerate() {
        ended(&lablet, &format!("s{number}"), "ospf", memory_mb).await;
    }
    let open = proposal(&lablet, "ospf", "a proposal", |proposal| proposal["status"] == "open").await;
    assert_eq!((&open["finding"], &open["before"]["memory_gb"]), (&json!("over_provisioned"), &json!(4)));
    assert_eq!((&open["sessions"], &open["opened_by"]), (&json!(3), &json!("lablet:proposer")));
    let event = open["evidence"][0].as_str().unwrap();
    lablet.get(&format!("/api/events/{event}")).await.unwrap();
    let id = open["proposal_id"].as_str().unwrap();

    let table = command(&lablet, &["definition", "recommend", "ospf"]).await;
    assert!(table.contains("over_provisioned") && table.contains("of 100 sessions within it"), "{table}");
    let listed = command(&lablet, &["proposal", "list", "--output", "csv"]).await;
    assert!(listed.contains(id), "{listed}");
    assert!(command(&lablet, &["proposal", "export", id]).await.contains("memory_gb: 2"));
    let tried = command(&lablet, &["definition", "back-test", "ospf", "--memory-gb", "1"]).await;
    assert!(tried.contains("memory_mb"), "{tried}");
    command(&lablet, &["definition", "explain", "ospf"]).await;
    command(&lablet, &["advice", "score"]).await;

    // Claimed, it stays as it is, whatever the next session needs.
    command(&lablet, &["proposal", "claim", id]).await;
    ended(&lablet, "s3", "ospf", 3000.0).await;
    eventually("four sessions as evidence", SOON, || async {
        let answer = lablet.get("/api/lablet-definitions/ospf/recommendation").await.unwrap();
        (answer["resources"]["memory_mb"]["sessions"] == 4).then_some(())
    })
    .await;
    let (excluded, output) =
        lablet.run(&["session", "exclude-evidence", "s3", "--reason", "a load test"]).await.unwrap();
    assert!(excluded, "{output}");
    command(&lablet, &["proposal", "apply", id, "--reason", "in the next release"]).await;
    let position = lablet.get(&format!("/api/proposals/{id}")).await.unwrap()["position"].clone();
    assert!(position.is_string());
    is_revised(&lablet, "ospf").await;
    command(&lablet, &["proposal", "apply", id]).await;
    assert_eq!(memory_gb(&lablet, "ospf").await.1, json!(2), "applied twice is applied once");
    let (dismissed, output) = lablet.run(&["proposal", "dismiss", id, "--reason", "too late"]).await.unwrap();
    assert!(!dismissed && output.contains("was applied already"), "{output}");

    for (number, memory_mb) in [1550.0, 1600.0, 1650.0].into_iter().enumerate() {
        ended(&lablet, &format!("t{number}"), "ospf", memory_mb).await;
    }
    let verified = proposal(&lablet, "ospf", "a verification", |proposal| !proposal["verification"].is_null()).await;
    assert_eq!((&verified["proposal_id"], &verified["revision"]), (&json!(id), &json!(2)));
    assert_eq!((&verified["verification"]["held"], &verified["verification"]["sessions"]), (&json!(true), &json!(3)));

    // A policy that includes the boot: the numbers say so.
    set_policy(&lablet, "ospf", &json!({"include_boot": true})).await;
    eventually("a recommendation with the boot", SOON, || async {
        let answer = lablet.get("/api/lablet-definitions/ospf/recommendation").await.unwrap();
        (answer["policy"]["include_boot"] == true).then_some(())
    })
    .await;
    let shown = command(&lablet, &["advice", "policy", "--definition", "ospf"]).await;
    assert!(shown.contains("include_boot"), "{shown}");
    let table = command(&lablet, &["definition", "recommend", "ospf"]).await;
    assert!(table.contains("within it, boot included") && table.contains("The boot was not seen in"), "{table}");
    let tried = command(&lablet, &["definition", "back-test", "ospf", "--memory-gb", "1"]).await;
    assert!(tried.contains("What sessions needed, boot included."), "{tried}");
    let tried = command(&lablet, &["definition", "back-test", "ospf", "--include-boot", "false"]).await;
    assert!(!tried.contains("boot included"), "{tried}");

    // Each step is a notice on the bus.
    let steps = ["proposal_opened", "proposal_claimed", "proposal_applied", "proposal_verified"];
    let types = steps.map(|step| format!("lablet_definition.{step}"));
    let notices =
        notices(&lablet, "lablet.events.lablet_definition.*.ospf", &types.each_ref().map(String::as_str)).await;
    for step in types {
        let of_step = notices.iter().filter(|notice| notice["type"] == format!("io.lablet.{step}.v1"));
        let of_step: Vec<&Value> = of_step.map(|notice| &notice["data"]["proposal_id"]).collect();
        assert_eq!(of_step, [id], "{step}");
    }
    verify(&lablet).await;
    lablet.stop().await.unwrap();
}

#[tokio::test]
async fn under_a_policy_that_says_so_it_applies_by_itself_is_rolled_back_and_goes_on_after_a_crash() {
    let mut lablet = with_definitions(&["bgp"]).await;
    set_policy(&lablet, "bgp", &json!({"applier": "automatic"})).await;
    for (number, memory_mb) in [1500.0, 1600.0, 1700.0].into_iter().enumerate() {
        ended(&lablet, &format!("s{number}"), "bgp", memory_mb).await;
    }
    // Wherever it was: before opening, between opening and applying, or after that.
    lablet.kill().await.unwrap();
    lablet.start_again().await.unwrap();
    let applied = proposal(&lablet, "bgp", "an applied proposal", |proposal| proposal["status"] == "applied").await;
    assert_eq!((&applied["ended_by"], &applied["policy_set_by"]), (&json!("lablet:proposer"), &json!("admin:admin")));
    let all = lablet.get("/api/proposals?definition_id=bgp").await.unwrap();
    assert_eq!(all["items"].as_array().unwrap().len(), 1, "it is opened once: {all}");
    is_revised(&lablet, "bgp").await;

    // Two of two sessions are short: the size before is proposed, and applies by itself.
    for number in 0..2 {
        ended(&lablet, &format!("t{number}"), "bgp", 3500.0).await;
    }
    let back = proposal(&lablet, "bgp", "a roll-back", |proposal| {
        proposal["kind"] == "roll_back" && proposal["status"] == "applied"
    });
    let back = back.await;
    assert_eq!((&back["rolls_back"], &back["after"]["memory_gb"]), (&applied["proposal_id"], &json!(4)));
    let first = lablet.get(&format!("/api/proposals/{}", applied["proposal_id"].as_str().unwrap())).await.unwrap();
    assert_eq!(first["verification"]["held"], false);
    assert_eq!(first["verification"]["sessions_short"]["memory_mb"], 2);
    verify(&lablet).await;
    lablet.stop().await.unwrap();
}

#[tokio::test]
async fn a_topology_that_never_ran_is_sized_by_the_command_line() {
    let lablet = with_definitions(&["isis"]).await;
    for number in 0..3 {
        ended(&lablet, &format!("s{number}"), "isis", 1600.0).await;
    }
    let file = lablet.data_dir().join("topology.yaml");
    std::fs::write(&file, "nodes:\n- {node_definition: iosv, cpus: 1, ram: 2048}\n").unwrap();
    let size = command(&lablet, &["topology", "size", file.to_str().unwrap(), "--promise", "0.9"]).await;
    assert!(size.contains("from_topology") && size.contains("90 of 100 sessions"), "{size}");
    std::fs::write(&file, "{\"nodes\": [{\"node_definition\": \"iosv\", \"count\": 3}]}").unwrap();
    command(&lablet, &["topology", "size", file.to_str().unwrap(), "--output", "json"]).await;
    lablet.stop().await.unwrap();
}
