//! What labs use, what of it can be seen, and what the simulator tells of it afterwards.

use std::{collections::BTreeMap, time::Duration};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use simulator::{ApiVersion, PhaseUsage, RunawayOrder, Simulator, SimulatorError, SimulatorOptions, UsageRecord};

use crate::client::{Controller, options, samples};

#[derive(Clone, Copy, Debug, Default)]
struct Peaks {
    cpu_percent: f64,
    memory_mb: Option<f64>,
    storage_mb: Option<f64>,
}

impl Peaks {
    fn raise(&mut self, cpu_percent: f64, memory_mb: Option<f64>, storage_mb: Option<f64>) {
        self.cpu_percent = self.cpu_percent.max(cpu_percent);
        let higher = |old: Option<f64>, new: Option<f64>| new.map(|new| new.max(old.unwrap_or_default())).or(old);
        self.memory_mb = higher(self.memory_mb, memory_mb);
        self.storage_mb = higher(self.storage_mb, storage_mb);
    }
}

/// The key of the lab's own peaks among those of its nodes.
const LAB: &str = "lab";

/// Peaks of boot and steady phase by node, as somebody sees them who looks every `seconds`.
async fn poll(controller: &Controller, lab: &str, seconds: u64, polls: u64) -> BTreeMap<String, [Peaks; 2]> {
    let mut peaks: BTreeMap<String, [Peaks; 2]> = BTreeMap::new();
    let sum = |one: Option<f64>, other: Option<f64>| one.zip(other).map(|(one, other)| one + other);
    for _ in 0..polls {
        let answer = controller.get(&format!("/labs/{lab}/simulation_stats")).await;
        let (mut cpu, mut memory, mut storage, mut steady) = (0.0, Some(0.0), Some(0.0), 0);
        for (id, node) in answer["nodes"].as_object().unwrap() {
            let Some(cpu_percent) = node["cpu_usage"].as_f64() else { continue };
            let phase = usize::from(node["times"]["BOOTED"].as_u64().unwrap() > 0);
            let memory_mb = node["ram_usage"].as_f64().map(|share| share / 100.0 * node["ram"].as_f64().unwrap());
            let storage_mb = node["disk_usage"].as_f64();
            peaks.entry(id.clone()).or_default()[phase].raise(cpu_percent, memory_mb, storage_mb);
            (cpu, memory, storage) = (cpu + cpu_percent, sum(memory, memory_mb), sum(storage, storage_mb));
            steady += phase;
        }
        let phase = usize::from(steady == 3);
        peaks.entry(LAB.to_owned()).or_default()[phase].raise(cpu, memory, storage);
        controller.pass(seconds);
    }
    peaks
}

fn assert_close(what: &str, polled: f64, told: f64) {
    assert!((polled - told).abs() <= 0.01 * told, "{what}: {polled} was seen of {told}");
}

fn assert_seen(label: &str, seen: Peaks, told: &PhaseUsage, api: ApiVersion) {
    assert_close(&format!("CPU of {label}"), seen.cpu_percent, told.cpu_percent.peak);
    assert_eq!(seen.memory_mb.is_some(), api == ApiVersion::V2_10);
    if let Some(memory_mb) = seen.memory_mb {
        assert_close(&format!("memory of {label}"), memory_mb, told.memory_mb.peak);
    }
    if let Some(storage_mb) = seen.storage_mb {
        assert_close(&format!("storage of {label}"), storage_mb, told.storage_mb.peak);
    }
}

fn record(controller: &Controller, lab: &str) -> UsageRecord {
    controller.simulator.usage_record(lab, None, None, Duration::ZERO).unwrap()
}

#[tokio::test]
async fn who_looks_every_thirty_seconds_sees_the_peaks_that_were_produced() {
    for api in [ApiVersion::V2_9, ApiVersion::V2_10] {
        let controller = Controller::with_api(api).await;
        let lab = controller.lab("Three tiers");
        controller.simulator.start_lab(&lab).unwrap();
        let runaway = RunawayOrder { after_seconds: 3_000, memory_percent: 15.0, ..RunawayOrder::for_seconds(90) };
        controller.simulator.run_away(&lab, "R2", runaway).unwrap();
        let seen = poll(&controller, &lab, 30, 240).await;
        let told = record(&controller, &lab);
        assert_eq!(told.nodes.len(), 3, "connector and switch use nothing");
        for (id, node) in &told.nodes {
            assert_seen(&node.label, seen[id][1], node.usage.steady.as_ref().unwrap(), api);
        }
        assert_seen("the lab", seen[LAB][1], told.lab.steady.as_ref().unwrap(), api);
        // Its boot takes minutes; one of some seconds can fall between two looks, as with a real lab.
        let (router, told) = told.nodes.iter().find(|(_, node)| node.label == "R1").unwrap();
        assert_seen("booting R1", seen[router][0], told.usage.boot.as_ref().unwrap(), api);
    }
}

#[tokio::test]
async fn the_record_is_what_the_answers_said() {
    let controller = Controller::with_api(ApiVersion::V2_10).await;
    let lab = controller.lab("Three tiers");
    controller.simulator.start_lab(&lab).unwrap();
    let from = controller.simulator.now();
    let (mut sums, mut boots) = (Vec::new(), Vec::new());
    for _ in 0..400 {
        let answer = controller.get(&format!("/labs/{lab}/simulation_stats")).await;
        let machines: Vec<&Value> =
            answer["nodes"].as_object().unwrap().values().filter(|node| node["cpu_usage"].is_number()).collect();
        let sum: f64 = machines.iter().map(|node| node["cpu_usage"].as_f64().unwrap()).sum();
        let booted = machines.iter().filter(|node| node["times"]["BOOTED"].as_u64().unwrap() > 0).count();
        if booted == 3 {
            sums.push(sum)
        } else if !machines.is_empty() {
            boots.push(sum)
        }
        controller.pass(3);
    }
    let to = from + chrono::TimeDelta::seconds(399 * 3);
    let told = controller.simulator.usage_record(&lab, Some(from), Some(to), Duration::ZERO).unwrap().lab;
    let (boot, steady) = (told.boot.unwrap(), told.steady.unwrap());
    assert_eq!(boot.samples + steady.samples, (sums.len() + boots.len()) as u64);
    // The second in which a node boots may be told as 0 s since then.
    assert!(steady.samples.abs_diff(sums.len() as u64) <= 1);
    let peak = |sums: &[f64]| sums.iter().copied().fold(0.0, f64::max);
    assert!((steady.cpu_percent.peak - peak(&sums)).abs() < 1e-6, "{steady:?}");
    assert!((boot.cpu_percent.peak - peak(&boots)).abs() < 1e-6, "{boot:?}");
    assert!(steady.cpu_percent.peak >= steady.cpu_percent.p95 && steady.cpu_percent.p95 >= steady.cpu_percent.mean);
    assert!(boot.cpu_percent.mean > steady.cpu_percent.mean);
}

/// From -1 to 1.
fn correlation(one: &[f64], other: &[f64]) -> f64 {
    let deviations = |values: &[f64]| -> Vec<f64> {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.iter().map(|value| value - mean).collect()
    };
    let (one, other) = (deviations(one), deviations(other));
    let products = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    products(&one, &other) / (products(&one, &one) * products(&other, &other)).sqrt()
}

#[tokio::test]
async fn labs_of_one_topology_are_busy_together_and_each_in_its_own_way() {
    let controller = Controller::start().await;
    let yaml = std::fs::read_to_string(samples().join("three_tiers.yaml")).unwrap();
    let labs = ["one student", "another"].map(|title| controller.simulator.import_as(&yaml, Some(title)).unwrap());
    labs.iter().for_each(|lab| controller.boot(lab));
    let mut used = [Vec::new(), Vec::new()];
    for _ in 0..200 {
        controller.pass(240);
        for (lab, used) in labs.iter().zip(&mut used) {
            let statistics = controller.get(&format!("/labs/{lab}/simulation_stats")).await;
            let figures = statistics["nodes"].as_object().unwrap().values();
            used.push(figures.filter_map(|node| node["cpu_usage"].as_f64()).sum::<f64>());
        }
    }
    let alike = correlation(&used[0], &used[1]);
    assert!((0.3..0.95).contains(&alike), "{alike}");
}

#[tokio::test]
async fn a_node_that_is_restarted_counts_anew_and_boots_again() {
    let controller = Controller::with_api(ApiVersion::V2_10).await;
    let lab = controller.lab("Three tiers");
    controller.boot(&lab);
    let read = async || {
        let nodes = controller.get(&format!("/labs/{lab}/nodes?data=true")).await;
        let router = nodes.as_array().unwrap().iter().find(|node| node["label"] == "R1").unwrap().clone();
        let answer = controller.get(&format!("/labs/{lab}/simulation_stats")).await;
        (router["state"].as_str().unwrap().to_owned(), answer["nodes"][router["id"].as_str().unwrap()].clone())
    };
    let (state, before) = read().await;
    assert_eq!(state, "BOOTED");
    let order = json!({ "node": "R1" }).to_string();
    let path = format!("/simulator/labs/{lab}/restarts");
    assert_eq!(controller.call(Method::POST, &path, Some(order)).await.status, StatusCode::NO_CONTENT);
    let (state, queued) = read().await;
    assert_eq!((state.as_str(), queued.get("cpu_usage")), ("QUEUED", None));
    assert_eq!(queued["times"], json!({ "QUEUED": 1, "STARTED": 0, "BOOTED": 0 }));
    controller.pass(20);
    let (state, booting) = read().await;
    assert_eq!(state, "STARTED");
    assert!(booting["block0_rd_bytes"].as_u64() < before["block0_rd_bytes"].as_u64());
    assert!(booting["times"]["STARTED"].as_u64().unwrap() < 20);
    assert!(booting["disk_usage"].as_u64() >= before["disk_usage"].as_u64(), "{booting} after {before}");
    controller.pass(600);
    let told = record(&controller, &lab);
    let router = told.nodes.values().find(|node| node.label == "R1").unwrap();
    let once = controller.simulator.usage_record(
        &lab,
        Some(told.from),
        Some(told.from + chrono::TimeDelta::hours(1)),
        Duration::ZERO,
    );
    let once = once.unwrap().nodes.into_values().find(|node| node.label == "R1").unwrap();
    assert!(router.usage.boot.as_ref().unwrap().samples > once.usage.boot.unwrap().samples * 3 / 2, "two boots");
}

#[tokio::test]
async fn a_lab_that_was_stopped_and_started_has_one_record_without_what_was_between() {
    let controller = Controller::start().await;
    let lab = controller.lab("Three tiers");
    let order = async |state: &str| {
        let body = json!({ "state": state }).to_string();
        controller.call(Method::PUT, &format!("/simulator/labs/{lab}/state"), Some(body)).await.status
    };
    assert_eq!(order("started").await, StatusCode::NO_CONTENT);
    controller.pass(1_200);
    let before = record(&controller, &lab);
    assert_eq!(order("stopped").await, StatusCode::NO_CONTENT);
    controller.pass(36_000);
    let stopped = record(&controller, &lab);
    let samples = |record: &UsageRecord| record.lab.steady.as_ref().unwrap().samples;
    // At the moment of the stop itself it no longer runs.
    assert_eq!(samples(&stopped) + 1, samples(&before));
    assert_eq!(order("started").await, StatusCode::NO_CONTENT);
    controller.pass(1_200);
    assert!(samples(&record(&controller, &lab)) > samples(&before) * 3 / 2);
    assert_eq!(order("paused").await, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_control_path_orders_runaways_and_tells_what_was_used() {
    let controller = Controller::start().await;
    let lab = controller.lab("Three tiers");
    controller.boot(&lab);
    let quiet = record(&controller, &lab);
    let path = format!("/simulator/labs/{lab}/runaways");
    for refused in [
        json!({ "node": "R9", "seconds": 60 }),
        json!({ "node": "R2", "seconds": 0 }),
        json!({ "node": "R2", "seconds": 60, "cpu_percent": -1 }),
        json!({ "node": "R2", "seconds": 60, "memory_percent": 101 }),
    ] {
        let reply = controller.call(Method::POST, &path, Some(refused.to_string())).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{refused}");
    }
    // Shorter than what a look every 30 s would see.
    let order = json!({ "node": "R2", "seconds": 9, "cpu_percent": 150, "memory_percent": 30 });
    assert_eq!(controller.call(Method::POST, &path, Some(order.to_string())).await.status, StatusCode::NO_CONTENT);
    controller.pass(60);
    let from = quiet.to.format("%Y-%m-%dT%H:%M:%SZ");
    let path = format!("/simulator/labs/{lab}/usage?from={from}&settling_seconds=60");
    let told = controller.call(Method::GET, &path, None).await.json();
    let router = told["nodes"].as_object().unwrap().values().find(|node| node["label"] == "R2").unwrap();
    assert!(router["steady"]["cpu_percent"]["peak"].as_f64().unwrap() > 150.0, "{router}");
    assert!(
        router["steady"]["cpu_percent"]["p95"].as_f64().unwrap()
            > router["steady"]["cpu_percent"]["mean"].as_f64().unwrap()
    );
    assert_eq!((&router["boot"], &told["lab"]["boot"]), (&Value::Null, &Value::Null));
    for wrong in ["from=yesterday", "settling_seconds=-1", "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z"] {
        let path = format!("/simulator/labs/{lab}/usage?{wrong}");
        assert_eq!(controller.call(Method::GET, &path, None).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn somebody_restarts_nodes_as_often_as_is_set() {
    let controller = Controller::with(SimulatorOptions { restarts_per_day: 24.0, ..options() }).await;
    let lab = controller.lab("Three tiers");
    controller.simulator.start_lab(&lab).unwrap();
    controller.pass(20 * 3_600);
    let statistics = controller.get(&format!("/labs/{lab}/simulation_stats")).await;
    let machines = statistics["nodes"].as_object().unwrap().values().filter(|node| node.get("cpu_usage").is_some());
    let since: Vec<u64> = machines.map(|node| node["times"]["STARTED"].as_u64().unwrap()).collect();
    assert!(since.iter().all(|seconds| *seconds < 20 * 3_600 - 10), "{since:?}");
    for refused in [-1.0, 25.0, f64::NAN] {
        let error = Simulator::start(SimulatorOptions { restarts_per_day: refused, ..options() }).await.err();
        assert!(matches!(error, Some(SimulatorError::Options(_))), "{refused}");
    }
}
