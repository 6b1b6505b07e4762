//! An observation that an admin asks for ends as an outcome.

use std::time::Duration;

use harness::{Lablet, LabletOptions, eventually};
use serde_json::{Value, json};
use simulator::{SimulatedTime, Simulator, SimulatorOptions};

use super::{SOON, options, verify, with_a_running_session};

/// A small lab with a serial console on the allocated port.
pub(crate) const TOPOLOGY: &str = "
lab: {title: Small, description: '', notes: '', version: 0.2.2}
nodes:
  - {id: n0, label: PC, node_definition: desktop, x: 0, y: 0, tags: ['serial:5041'], configuration: [], interfaces: [{id: i0, label: eth0, slot: 0, type: physical}]}
  - {id: n1, label: R1, node_definition: iosv, x: 1, y: 0, tags: [], configuration: [], interfaces: [{id: i0, label: GigabitEthernet0/0, slot: 0, type: physical}]}
links:
  - {id: l0, n1: n0, i1: i0, n2: n1, i2: i0}
";

/// A simulated CML controller with a started lab.
pub(crate) async fn simulator() -> (Simulator, String) {
    harness::install_tls();
    let simulator = Simulator::start(SimulatorOptions {
        password: "let-me-observe".to_owned(),
        time: SimulatedTime::Flowing { speed: 60.0 },
        ..SimulatorOptions::default()
    })
    .await
    .unwrap();
    let lab = simulator.import(TOPOLOGY).unwrap();
    simulator.start_lab(&lab).unwrap();
    simulator.advance(Duration::from_secs(3600)).unwrap();
    (simulator, lab)
}

/// The environment with which a controller may use this simulator.
pub(crate) fn credentials(simulator: &Simulator, folder: &std::path::Path) -> Vec<(String, String)> {
    let authority = folder.join("cml.pem");
    std::fs::write(&authority, simulator.certificate_pem()).unwrap();
    let address = simulator.address().to_string();
    [
        ("LABLET_CML_HOSTS", address.as_str()),
        ("LABLET_CML_USERNAME", "admin"),
        ("LABLET_CML_PASSWORD", "let-me-observe"),
        ("LABLET_CML_CA", authority.to_str().unwrap()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

async fn outcome_of(lablet: &Lablet, request: &Value) -> Value {
    let request_id = request["request_id"].as_str().unwrap();
    eventually("the outcome of the request", SOON, || async {
        let page = lablet.get("/api/observation-requests?session_id=s1").await.unwrap();
        let row = page["items"].as_array().unwrap().iter().find(|row| row["request_id"] == request_id).cloned();
        row.filter(|row| row["outcome"] != "open")
    })
    .await
}

/// The session as it is once its read model has come to where the outcome is.
async fn session_after(lablet: &Lablet, outcome: &Value) -> Value {
    let position = outcome["position"].as_str().unwrap();
    lablet.get(&format!("/api/lablet-sessions/s1?position={position}")).await.unwrap()
}

#[tokio::test]
async fn a_request_that_nobody_serves_ends_when_a_controller_starts() {
    let lablet = with_a_running_session().await;
    let accepted = lablet.post("/api/lablet-sessions/s1/observe-resources", json!({})).await.unwrap();
    assert_eq!(accepted["session_id"], "s1");
    let (simulator, _) = simulator().await;
    let mut controller = tokio::process::Command::new(options().program);
    controller
        .arg("control")
        .args(["--gateway-url", &lablet.ready().http])
        .env("LABLET_NATS_URL", &lablet.ready().nats_url)
        .env("LABLET_INTERNAL_API_KEY", &lablet.ready().internal_api_key)
        .envs(credentials(&simulator, &lablet.data_dir()))
        .kill_on_drop(true);
    let mut controller = controller.spawn().unwrap();
    let outcome = outcome_of(&lablet, &accepted).await;
    // Nobody answers at the worker's address: the request still ends, with the reason.
    assert_eq!(outcome["outcome"], "failed");
    assert!(!outcome["reason"].as_str().unwrap().is_empty());
    controller.kill().await.unwrap();
    verify(&lablet).await;
    lablet.stop().await.unwrap();
}

#[tokio::test]
async fn a_running_lab_is_observed_on_request_and_at_the_end_of_its_timeslot() {
    let folder = tempfile::tempdir().unwrap();
    let (simulator, lab) = simulator().await;
    let environment = credentials(&simulator, folder.path());
    let lablet = Lablet::start(LabletOptions { environment, ..options() }).await.unwrap();
    lablet.define("ospf").await.unwrap();
    lablet.register_worker("cml-1", &simulator.url()).await.unwrap();
    lablet.running_session("s1", "ospf", "cml-1", &lab).await.unwrap();

    let accepted = lablet.post("/api/lablet-sessions/s1/observe-resources", json!({})).await.unwrap();
    let outcome = outcome_of(&lablet, &accepted).await;
    assert_eq!(outcome["outcome"], "recorded");
    let session = session_after(&lablet, &outcome).await;
    assert_eq!(session["observed_ports"], json!({ "PC_serial": 5041 }));
    assert_eq!(session["port_drift_detected"], false);
    assert_eq!(session["observed_resources"]["actual_node_count"], 2);
    assert!(session["observed_resources"]["total_memory_mb"].as_f64().unwrap() > 0.0);

    // A port moves: the next observation tells.
    simulator.move_port(&lab, "PC", 5041, 5999).unwrap();
    let accepted = lablet.post("/api/lablet-sessions/s1/observe-resources", json!({})).await.unwrap();
    let outcome = outcome_of(&lablet, &accepted).await;
    let session = session_after(&lablet, &outcome).await;
    assert_eq!(session["port_drift_detected"], true);
    assert_eq!(session["port_drift"]["changed"], json!({ "PC_serial": { "allocated": 5041, "observed": 5999 } }));

    // A session whose timeslot is over is observed and moved on by itself.
    lablet.post("/api/internal/lablet-sessions", json!({"id": "s2", "definition_id": "ospf"})).await.unwrap();
    let over = json!({"start": "2026-01-01T10:00:00Z", "end": "2026-01-01T11:00:00Z"});
    for step in [
        json!({"new_status": "scheduled", "worker_id": "cml-1", "timeslot": over}),
        json!({"new_status": "instantiating"}),
        json!({"new_status": "ready"}),
        json!({"new_status": "running", "cml_lab_id": lab}),
    ] {
        lablet.post("/api/internal/lablet-sessions/s2/transition", step).await.unwrap();
    }
    let ended = eventually("the session to be moved on", SOON, || async {
        let session = lablet.get("/api/lablet-sessions/s2").await.unwrap();
        (session["status"] == "collecting").then_some(session)
    })
    .await;
    assert_eq!(ended["observation_count"], 1, "it was observed first");
    verify(&lablet).await;
    lablet.stop().await.unwrap();
}
