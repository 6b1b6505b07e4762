use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use simulator::ApiVersion;

use crate::client::{Controller, samples};

fn states(answer: &Value, part: &str) -> Vec<String> {
    let states = answer[part].as_object().expect("a map");
    let mut states: Vec<String> = states.values().map(|state| state.as_str().expect("a state").to_owned()).collect();
    states.sort();
    states.dedup();
    states
}

#[tokio::test]
async fn a_lab_is_imported_started_stopped_wiped_and_removed() {
    let controller = Controller::start().await;
    let yaml = std::fs::read_to_string(samples().join("three_tiers.yaml")).unwrap();
    let reply = controller.call(Method::POST, "/api/v0/import?title=Mine", Some(yaml)).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.json()["warnings"], json!([]));
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    let lab = format!("/labs/{id}");
    assert_eq!(controller.get(&lab).await["lab_title"], "Mine");
    assert_eq!(controller.get(&format!("{lab}/state")).await, "DEFINED_ON_CORE");
    let before = controller.get(&format!("{lab}/lab_element_state")).await;
    assert_eq!(states(&before, "nodes"), ["DEFINED_ON_CORE"]);

    assert_eq!(controller.put(&format!("{lab}/start")).await, StatusCode::NO_CONTENT);
    assert_eq!(controller.get(&format!("{lab}/state")).await, "STARTED");
    assert_eq!(states(&controller.get(&format!("{lab}/lab_element_state")).await, "nodes"), ["QUEUED"]);
    assert_eq!(controller.get(&format!("{lab}/check_if_converged")).await, false);
    controller.pass(20);
    assert_eq!(states(&controller.get(&format!("{lab}/lab_element_state")).await, "nodes"), ["BOOTED", "STARTED"]);
    controller.pass(600);
    let running = controller.get(&format!("{lab}/lab_element_state")).await;
    assert_eq!(states(&running, "nodes"), ["BOOTED"]);
    assert_eq!(states(&running, "links"), ["STARTED"]);
    assert_eq!(states(&running, "interfaces"), ["STARTED"]);
    assert_eq!(controller.get(&format!("{lab}/check_if_converged")).await, true);

    // Neither wiped nor removed while it runs.
    assert_eq!(controller.put(&format!("{lab}/wipe")).await, StatusCode::BAD_REQUEST);
    let reply = controller.call(Method::DELETE, &format!("/api/v0{lab}"), None).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);

    assert_eq!(controller.put(&format!("{lab}/stop")).await, StatusCode::NO_CONTENT);
    assert_eq!(controller.get(&format!("{lab}/state")).await, "STOPPED");
    assert_eq!(controller.get(&format!("{lab}/simulation_stats")).await, json!({ "nodes": {}, "links": {} }));
    assert_eq!(controller.put(&format!("{lab}/wipe")).await, StatusCode::NO_CONTENT);
    let reply = controller.call(Method::DELETE, &format!("/api/v0{lab}"), None).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT);
    let reply = controller.call(Method::GET, &format!("/api/v0{lab}/topology"), None).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert_eq!(reply.json(), json!({ "code": 404, "description": format!("Lab not found: {id}") }));
}

#[tokio::test]
async fn a_lab_that_was_downloaded_is_imported_again_as_it_was() {
    for api in [ApiVersion::V2_9, ApiVersion::V2_10] {
        let controller = Controller::with_api(api).await;
        for (id, title) in controller.simulator.labs() {
            let download =
                async |id: &str| controller.call(Method::GET, &format!("/api/v0/labs/{id}/download"), None).await.text;
            let told = async |path: &str, id: &str| {
                let answer = controller.get(&format!("/labs/{id}/{path}")).await.to_string();
                // Ids are drawn anew.
                let mut words: Vec<String> = answer.split('"').map(str::to_owned).collect();
                words.retain(|word| uuid_like(word).is_none());
                words
            };
            let yaml = download(&id).await;
            let version = if api == ApiVersion::V2_9 { "0.3.0" } else { "0.3.1" };
            assert!(yaml.contains(version), "{title}: {yaml}");
            let reply = controller.call(Method::POST, "/api/v0/import", Some(yaml.clone())).await;
            assert_eq!(reply.status, StatusCode::OK, "{title}: {}", reply.text);
            let again = reply.json()["id"].as_str().unwrap().to_owned();
            assert_eq!(told("topology", &id).await, told("topology", &again).await, "{title}");
            assert_eq!(download(&again).await, yaml, "{title}");
        }
    }
    let controller = Controller::start().await;
    let nowhere = "/api/v0/labs/863799a0-0000-4000-8000-000000000000/download";
    assert_eq!(controller.call(Method::GET, nowhere, None).await.status, StatusCode::NOT_FOUND);
}

fn uuid_like(word: &str) -> Option<()> {
    (word.len() == 36 && word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')).then_some(())
}

#[tokio::test]
async fn a_newer_controller_tells_that_a_machine_is_starting() {
    for (api, told) in [(ApiVersion::V2_9, "QUEUED"), (ApiVersion::V2_10, "STARTING")] {
        let controller = Controller::with_api(api).await;
        let lab = controller.lab("Three tiers");
        controller.simulator.start_lab(&lab).unwrap();
        controller.pass(1);
        let nodes = controller.get(&format!("/labs/{lab}/nodes?data=true&operational=true")).await;
        let first = nodes.as_array().unwrap().iter().find(|node| node["label"] == "PC").unwrap();
        assert_eq!(first["state"], told);
        assert_eq!(first["operational"], Value::Null);
        let statistics = controller.get(&format!("/labs/{lab}/simulation_stats")).await;
        assert!(statistics["nodes"][first["id"].as_str().unwrap()].get("cpu_usage").is_none());
    }
}

#[tokio::test]
async fn a_single_node_is_stopped_and_started() {
    let controller = Controller::start().await;
    let lab = controller.lab("Three tiers");
    controller.boot(&lab);
    let nodes = controller.get(&format!("/labs/{lab}/nodes?data=true")).await;
    let router = nodes.as_array().unwrap().iter().find(|node| node["label"] == "R1").unwrap();
    let path = format!("/labs/{lab}/nodes/{}", router["id"].as_str().unwrap());
    assert_eq!(controller.put(&format!("{path}/state/stop")).await, StatusCode::NO_CONTENT);
    assert_eq!(controller.get(&format!("{path}/state")).await["state"], "STOPPED");
    assert_eq!(controller.get(&format!("{path}?operational=true")).await["operational"], Value::Null);
    assert_eq!(controller.get(&format!("/labs/{lab}/state")).await, "STARTED");
    assert_eq!(controller.put(&format!("{path}/state/start")).await, StatusCode::NO_CONTENT);
    assert_eq!(controller.get(&format!("{path}/state")).await["state"], "QUEUED");
    controller.pass(600);
    assert_eq!(controller.get(&format!("{path}/state")).await["state"], "BOOTED");
}

#[tokio::test]
async fn a_patch_replaces_the_whole_list_of_tags_and_answers_the_bare_id() {
    let controller = Controller::start().await;
    let lab = controller.lab("Three tiers");
    controller.boot(&lab);
    let nodes = controller.get(&format!("/labs/{lab}/nodes?data=true")).await;
    let router = nodes.as_array().unwrap().iter().find(|node| node["label"] == "R2").unwrap();
    let path = format!("/api/v0/labs/{lab}/nodes/{}", router["id"].as_str().unwrap());
    let body = json!({ "tags": ["serial:5050"] }).to_string();
    let reply = controller.call(Method::PATCH, &path, Some(body)).await;
    assert_eq!(reply.json(), router["id"]);
    let after = controller.call(Method::GET, &path, None).await.json();
    assert_eq!(after["tags"], json!(["serial:5050"]));
    assert_eq!(after["ram"], 4096, "what was not named stays");

    for bad in [json!({ "tags": [7] }), json!({ "tags": [""] }), json!({ "colour": "red" }), json!({ "ram": 1 })] {
        let reply = controller.call(Method::PATCH, &path, Some(bad.to_string())).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{bad}");
        assert_eq!(reply.json()["code"], 400);
    }
    assert_eq!(controller.call(Method::GET, &path, None).await.json(), after, "nothing of it was taken");
}

#[tokio::test]
async fn what_cannot_be_imported_says_why_and_leaves_nothing() {
    let controller = Controller::start().await;
    let labs = controller.get("/labs?show_all=true").await;
    for (body, reason) in [("nodes: {", "topology"), ("nodes: 7", "topology"), ("", "topology"), ("\u{1}", "topology")]
    {
        let reply = controller.call(Method::POST, "/api/v0/import", Some(body.to_owned())).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(reply.json()["description"].as_str().unwrap().contains(reason), "{}", reply.text);
    }
    let reply = controller.call(Method::POST, "/api/v0/import", Some("x".repeat(17 << 20))).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(controller.get("/labs?show_all=true").await, labs);
}

#[tokio::test]
async fn equal_seeds_give_equal_worlds_and_other_seeds_others() {
    let answers = async |seed| {
        let controller = Controller::with(simulator::SimulatorOptions { seed, ..crate::client::options() }).await;
        let lab = controller.lab("Three tiers");
        controller.boot(&lab);
        let mut answers = vec![controller.get("/labs").await];
        for path in ["topology", "simulation_stats", "layer3_addresses", "lab_element_state"] {
            answers.push(controller.get(&format!("/labs/{lab}/{path}")).await);
        }
        answers
    };
    let first = answers(7).await;
    assert_eq!(first, answers(7).await);
    assert_ne!(first, answers(8).await);
}
