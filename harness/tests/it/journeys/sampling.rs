//! What a session used is known whole although the controller that samples it is killed.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt as _;
use harness::{Lablet, LabletOptions, eventually};
use serde_json::{Value, json};
use simulator::{ApiVersion, Fault, FaultKind, SimulatedTime, Simulator, SimulatorOptions, SocketOptions};
use tokio::process::{Child, Command};

use super::outcomes::TOPOLOGY;
use super::services::jetstream;
use super::{SOON, options, verify};

/// Time between two samples: long enough for three processes to hear of each other on a busy machine.
const INTERVAL: Duration = Duration::from_secs(6);
/// A phase of work, three simulated minutes, lasts several samples.
const SPEED: f64 = 8.0;
const PASSWORD: &str = "let-me-observe";

async fn simulator(api: ApiVersion) -> (Simulator, String) {
    let simulator = Simulator::start(SimulatorOptions {
        password: PASSWORD.to_owned(),
        time: SimulatedTime::Flowing { speed: SPEED },
        sockets: SocketOptions { push_period: Duration::from_secs(1), ..SocketOptions::default() },
        api,
        ..SimulatorOptions::default()
    })
    .await
    .unwrap();
    let lab = simulator.import(TOPOLOGY).unwrap();
    simulator.start_lab(&lab).unwrap();
    simulator.advance(Duration::from_secs(3_600)).unwrap();
    (simulator, lab)
}

/// A process of its own, which SIGKILL ends.
fn controller(lablet: &Lablet, simulators: [&Simulator; 2], authority: &Path) -> Child {
    Command::new(options().program)
        .arg("control")
        .args(["--gateway-url", &lablet.ready().http])
        .env("LABLET_NATS_URL", &lablet.ready().nats_url)
        .env("LABLET_INTERNAL_API_KEY", &lablet.ready().internal_api_key)
        .env("LABLET_CML_HOSTS", simulators.map(|simulator| simulator.address().to_string()).join(","))
        .env("LABLET_CML_USERNAME", "admin")
        .env("LABLET_CML_PASSWORD", PASSWORD)
        .env("LABLET_CML_CA", authority)
        .env("RESOURCE_SAMPLING_SECONDS", INTERVAL.as_secs().to_string())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Hears of samples until there was this many of each session by a controller that is none of `but`. Which controllers
/// took them.
async fn sampled(live: &mut async_nats::Subscriber, each: usize, but: &BTreeSet<String>) -> BTreeSet<String> {
    let (mut counts, mut controllers) = ([0; 2], BTreeSet::new());
    while counts.iter().any(|count| *count < each) {
        let message = tokio::time::timeout(SOON, live.next()).await.expect("nobody samples").unwrap();
        let heard: Value = serde_json::from_slice(&message.payload).unwrap();
        let controller = heard["controller"].as_str().unwrap().to_owned();
        if heard["outcome"] == "sampled" && !but.contains(&controller) {
            counts[usize::from(heard["session_id"] == "pushed")] += 1;
            controllers.insert(controller);
        }
    }
    controllers
}

/// What the observation says that somebody asks for now.
async fn observed(lablet: &Lablet, session: &str) -> Value {
    let path = format!("/api/lablet-sessions/{session}/observe-resources");
    let accepted = lablet.post(&path, json!({})).await.unwrap();
    let outcome = eventually("the outcome of the request", SOON, || async {
        let page = lablet.get(&format!("/api/observation-requests?session_id={session}")).await.unwrap();
        let rows = page["items"].as_array().unwrap();
        let row = rows.iter().find(|row| row["request_id"] == accepted["request_id"]).cloned();
        row.filter(|row| row["outcome"] != "open")
    })
    .await;
    assert_eq!(outcome["outcome"], "recorded", "{outcome}");
    let position = outcome["position"].as_str().unwrap();
    let session = lablet.get(&format!("/api/lablet-sessions/{session}?position={position}")).await.unwrap();
    session["observed_resources"].clone()
}

/// Peaks of the lab as the simulator says that it produced them: cores, MB of memory, MB on disks.
fn produced(simulator: &Simulator, lab: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> [f64; 3] {
    let record = simulator.usage_record(lab, Some(from), Some(to), Duration::from_secs(60)).unwrap();
    let steady = record.lab.steady.expect("it runs for an hour");
    [steady.cpu_percent.peak / 100.0, steady.memory_mb.peak, steady.storage_mb.peak]
}

#[tokio::test]
async fn the_peak_is_known_and_the_gap_is_short_although_the_controller_that_sampled_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let lablet = Lablet::start(LabletOptions { ..options() }).await.unwrap();
    let (polled, polled_lab) = simulator(ApiVersion::V2_9).await;
    polled.fault(Fault::new(FaultKind::Status { code: 404 }).on_path("/ws/ui")).unwrap();
    let (pushed, pushed_lab) = simulator(ApiVersion::V2_10).await;
    let authority = folder.path().join("cml.pem");
    std::fs::write(&authority, polled.certificate_pem() + &pushed.certificate_pem()).unwrap();
    lablet.define("ospf").await.unwrap();
    for (name, simulator, lab) in [("polled", &polled, &polled_lab), ("pushed", &pushed, &pushed_lab)] {
        lablet.register_worker(name, &simulator.url()).await.unwrap();
        lablet.running_session(name, "ospf", name, lab).await.unwrap();
    }
    let bus = jetstream(&lablet).await.client();
    let mut live = bus.subscribe("lablet.live.samples.*").await.unwrap();
    bus.flush().await.unwrap();

    let mut first = controller(&lablet, [&polled, &pushed], &authority);
    let killed = sampled(&mut live, 1, &BTreeSet::new()).await;
    let from = [polled.now(), pushed.now()];
    let _standby =
        [controller(&lablet, [&polled, &pushed], &authority), controller(&lablet, [&polled, &pushed], &authority)];
    sampled(&mut live, 3, &BTreeSet::new()).await;
    first.kill().await.unwrap();
    let successors = sampled(&mut live, 4, &killed).await;
    assert!(killed.is_disjoint(&successors), "{killed:?} {successors:?}");

    for (name, simulator, lab, from) in
        [("polled", &polled, &polled_lab, from[0]), ("pushed", &pushed, &pushed_lab, from[1])]
    {
        // What was produced in the last moment may have come after the last sample.
        let moment = TimeDelta::from_std(INTERVAL.mul_f64(SPEED * 1.5)).unwrap();
        let until = simulator.now() - moment;
        let resources = observed(&lablet, name).await;
        let profile = &resources["profile"];
        for gap in profile["gaps"].as_array().into_iter().flatten() {
            let time = |end: &str| gap[end].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
            let length = (time("to") - time("from")).to_std().unwrap();
            // The worker, too, may answer the successor late.
            let is_expected = ["controller_away", "worker_away"].iter().any(|reason| gap["reason"] == *reason);
            assert!(length <= 2 * INTERVAL && is_expected, "{name}: {gap}");
        }
        let least = produced(simulator, lab, from, until);
        let most = produced(simulator, lab, from - moment, simulator.now());
        let known = if name == "polled" { 1 } else { 3 };
        let resources = ["cpu_cores", "memory_mb", "storage_mb"].into_iter().zip(least.into_iter().zip(most));
        for (resource, (least, most)) in resources.take(known) {
            let peak = profile["steady"][resource]["peak"].as_f64().unwrap_or_default();
            assert!(
                peak >= least * 0.99 && peak <= most * 1.01,
                "{name}, {resource}: {peak}, and {least} to {most} was produced"
            );
        }
        if name == "polled" {
            assert_eq!(profile["steady"].get("memory_mb"), None, "2.9 does not tell it");
        }
    }
    verify(&lablet).await;
    lablet.stop().await.unwrap();
}
