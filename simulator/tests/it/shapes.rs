//! The form of the answers, beside the recorded ones.

use std::{collections::BTreeSet, time::Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use simulator::{ApiVersion, SimulatorOptions};

use crate::client::{Controller, options, real_topologies};

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().cloned().collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Keys of all elements of a list, or of all values of a map.
fn element_keys<'value>(elements: impl Iterator<Item = &'value Value>) -> BTreeSet<String> {
    elements.flat_map(keys).collect()
}

fn values(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_object().expect("a map").values()
}

fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().expect("a list").iter()
}

#[tokio::test]
async fn answers_have_the_keys_of_the_recorded_ones() {
    let Some(folder) = real_topologies() else { return };
    let recorded = |name: &str| -> Value {
        let path = folder.join("../recorded").join(format!("{name}-863799a0.json"));
        serde_json::from_str(&std::fs::read_to_string(path).expect("a recorded answer")).expect("JSON")
    };
    let controller = Controller::start().await;
    let lab = controller.lab("Three tiers");
    controller.boot(&lab);

    let (ours, theirs) = (controller.get(&format!("/labs/{lab}/simulation_stats")).await, recorded("simulation_stats"));
    assert_eq!(keys(&ours), keys(&theirs));
    let whole = values(&ours["nodes"]).filter(|node| node.get("is_running").is_none());
    assert_eq!(element_keys(whole), element_keys(values(&theirs["nodes"])));
    assert_eq!(element_keys(values(&ours["links"])), element_keys(values(&theirs["links"])));

    let (ours, theirs) = (controller.get(&format!("/labs/{lab}/layer3_addresses")).await, recorded("layer3_addresses"));
    assert_eq!(element_keys(values(&ours)), element_keys(values(&theirs)));
    let interfaces = |answer: &Value| -> BTreeSet<String> {
        values(answer).flat_map(|node| element_keys(values(&node["interfaces"]))).collect()
    };
    assert_eq!(interfaces(&ours), interfaces(&theirs));

    let path = format!("/labs/{lab}/topology?exclude_configurations=true");
    let (ours, theirs) = (controller.get(&path).await, recorded("topology"));
    // What later versions of the schema added is listed; nothing recorded may be missing.
    let added = |ours: BTreeSet<String>, theirs: BTreeSet<String>, added: &[&str]| {
        assert_eq!(theirs.difference(&ours).count(), 0, "{theirs:?} in {ours:?}");
        assert_eq!(ours.difference(&theirs).cloned().collect::<BTreeSet<_>>(), set(added));
    };
    added(keys(&ours), keys(&theirs), &["annotations", "smart_annotations"]);
    added(keys(&ours["lab"]), keys(&theirs["lab"]), &[]);
    added(element_keys(elements(&ours["nodes"])), element_keys(elements(&theirs["nodes"])), &["parameters"]);
    added(element_keys(elements(&ours["links"])), element_keys(elements(&theirs["links"])), &[]);
    let interfaces = |answer: &Value| -> BTreeSet<String> {
        elements(&answer["nodes"]).flat_map(|node| element_keys(elements(&node["interfaces"]))).collect()
    };
    added(interfaces(&ours), interfaces(&theirs), &["mac_address"]);
}

#[tokio::test]
async fn connectors_and_queued_nodes_have_partial_statistics() {
    let controller = Controller::start().await;
    let lab = controller.lab("Three tiers");
    controller.simulator.start_lab(&lab).unwrap();
    controller.pass(1);
    let queued = controller.get(&format!("/labs/{lab}/simulation_stats")).await;
    assert!(values(&queued["nodes"]).all(|node| keys(node) == set(&["times", "is_running"])), "{queued}");
    controller.pass(3_600);
    let booted = controller.get(&format!("/labs/{lab}/simulation_stats")).await;
    let partial = values(&booted["nodes"]).filter(|node| node.get("cpu_usage").is_none()).count();
    assert_eq!(partial, 2, "the connector and the switch");
}

#[tokio::test]
async fn memory_and_disk_are_told_and_interfaces_listed_from_2_10_only() {
    for (api, told) in [(ApiVersion::V2_9, false), (ApiVersion::V2_10, true)] {
        let controller = Controller::with_api(api).await;
        let lab = controller.lab("Three tiers");
        controller.boot(&lab);
        let statistics = controller.get(&format!("/labs/{lab}/simulation_stats")).await;
        let all = element_keys(values(&statistics["nodes"]));
        assert_eq!(all.contains("ram_usage") && all.contains("disk_usage"), told, "{all:?}");
        let reply = controller.call(Method::GET, &format!("/api/v0/labs/{lab}/interfaces"), None).await;
        assert_eq!(reply.status, if told { StatusCode::OK } else { StatusCode::METHOD_NOT_ALLOWED });
        if !told {
            assert_eq!(reply.json()["code"], 405);
        }
    }
}

#[tokio::test]
async fn what_a_node_got_is_operational_and_its_overrides_stay_null() {
    let controller = Controller::start().await;
    let lab = controller.lab("Three tiers");
    let path = format!("/labs/{lab}/nodes?data=true&operational=true&exclude_configurations=true");
    let find = |nodes: &Value, label: &str| elements(nodes).find(|node| node["label"] == label).unwrap().clone();
    assert_eq!(find(&controller.get(&path).await, "R1")["operational"], Value::Null);
    controller.boot(&lab);
    let nodes = controller.get(&path).await;
    let router = find(&nodes, "R1");
    assert_eq!((&router["ram"], &router["cpus"]), (&Value::Null, &Value::Null));
    let got = &router["operational"];
    assert_eq!((&got["ram"], &got["cpus"], &got["cpu_limit"]), (&json!(768), &json!(1), &json!(100)));
    assert_eq!(got["serial_consoles"][1]["device_number"], 1);
    assert!(router.get("configuration").is_none());
    assert_eq!(find(&nodes, "R2")["operational"]["cpus"], 2);
    let connector = find(&nodes, "internet");
    assert_eq!((&connector["operational"]["ram"], &connector["operational"]["cpus"]), (&Value::Null, &Value::Null));
    // Without being asked for data, a list of ids; configurations come unless they are excluded.
    assert!(elements(&controller.get(&format!("/labs/{lab}/nodes")).await).all(Value::is_string));
    let full = controller.get(&format!("/labs/{lab}/nodes?data=true")).await;
    assert!(find(&full, "R1")["configuration"].is_array());
}

#[tokio::test]
async fn an_external_connector_has_no_layer_3_addresses_and_no_limit() {
    let controller = Controller::start().await;
    let lab = controller.lab("Three tiers");
    controller.boot(&lab);
    let nodes = controller.get(&format!("/labs/{lab}/nodes?data=true&operational=true")).await;
    let id = |label: &str| {
        let node = elements(&nodes).find(|node| node["label"] == label).unwrap();
        (node["id"].as_str().unwrap().to_owned(), node["operational"]["cpu_limit"].clone())
    };
    let ask = async |node: &str| {
        let path = format!("/api/v0/labs/{lab}/nodes/{node}/layer3_addresses");
        controller.call(Method::GET, &path, None).await.status
    };
    let (connector, limit) = id("internet");
    assert_eq!((ask(&connector).await, limit), (StatusCode::BAD_REQUEST, Value::Null));
    let (switch, limit) = id("lan");
    assert_eq!((ask(&switch).await, limit), (StatusCode::OK, Value::Null));
}

#[tokio::test]
async fn errors_have_one_form() {
    let controller = Controller::start().await;
    for (method, path, code) in [
        (Method::GET, "/api/v0/nowhere", 404),
        (Method::GET, "/api/v0/labs/not-an-id", 404),
        (Method::GET, "/api/v0/labs/863799a0-0000-4000-8000-000000000000/state", 404),
        (Method::POST, "/api/v0/labs/863799a0-0000-4000-8000-000000000000/state", 405),
    ] {
        let reply = controller.call(method, path, None).await;
        assert_eq!(reply.status.as_u16(), code, "{path}");
        assert_eq!(keys(&reply.json()), set(&["code", "description"]));
        assert_eq!(reply.json()["code"], code);
    }
}

#[tokio::test]
async fn the_largest_lab_is_read_in_five_requests() {
    let Some(folder) = real_topologies() else { return };
    let topologies = Some(folder.join("14_300_node_lab.yaml"));
    let controller = Controller::with(SimulatorOptions { topologies, ..options() }).await;
    let lab = controller.lab("300 node lab");
    controller.boot(&lab);
    controller.simulator.reset_requests();
    for path in [
        "nodes?data=true&operational=true&exclude_configurations=true",
        "topology?exclude_configurations=true",
        "lab_element_state",
        "layer3_addresses",
        "simulation_stats",
    ] {
        let asked = Instant::now();
        let answer = controller.get(&format!("/labs/{lab}/{path}")).await;
        println!("{path}: {} ms, {} bytes", asked.elapsed().as_millis(), answer.to_string().len());
    }
    assert_eq!(controller.simulator.requests().total, 5);
}
