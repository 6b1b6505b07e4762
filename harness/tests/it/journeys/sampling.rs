//! What a session used is known whole although the controller that samples it is killed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt as _;
use harness::{Lablet, LabletOptions, eventually};
use serde_json::{Value, json};
use simulator::{
    ApiVersion, Fault, FaultKind, RunawayOrder, SimulatedTime, Simulator, SimulatorOptions, SocketOptions,
};
use tokio::process::{Child, Command};

use super::outcomes::TOPOLOGY;
use super::services::jetstream;
use super::{SOON, options, verify};

/// Time between two samples: long enough for three processes to hear of each other on a busy machine.
const INTERVAL: Duration = Duration::from_secs(10);
const SPEED: f64 = 8.0;
/// Simulated time for which every node uses all that it has, unless time is moved on: longer than any test.
const PLATEAU: Duration = Duration::from_secs(3_600);
const PASSWORD: &str = "let-me-observe";

/// A session whose lab runs on a worker of its own.
struct Run {
    name: &'static str,
    api: ApiVersion,
    simulator: Simulator,
    lab: String,
    /// Since when it is sampled, by the simulator's clock.
    from: DateTime<Utc>,
}

impl Run {
    async fn start(lablet: &Lablet, name: &'static str, api: ApiVersion, is_pushed: bool) -> Self {
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
        if !is_pushed {
            simulator.fault(Fault::new(FaultKind::Status { code: 404 }).on_path("/ws/ui")).unwrap();
        }
        lablet.register_worker(name, &simulator.url()).await.unwrap();
        lablet.running_session(name, "ospf", name, &lab).await.unwrap();
        let from = simulator.now();
        Self { name, api, simulator, lab, from }
    }

    /// Every node uses all that it has, from now on. How many cores that are.
    fn begin_plateau(&self) -> f64 {
        let order = RunawayOrder {
            cpu_percent: 10_000.0,
            memory_percent: 100.0,
            ..RunawayOrder::for_seconds(PLATEAU.as_secs())
        };
        for label in ["PC", "R1"] {
            self.simulator.run_away(&self.lab, label, order).unwrap();
        }
        let soon = self.simulator.now() + TimeDelta::minutes(10);
        self.produced(self.simulator.now(), soon)[0]
    }

    fn end_plateau(&self) {
        self.simulator.advance(PLATEAU).unwrap();
    }

    /// Peaks of the lab as the simulator says that it produced them: cores, MB of memory, MB on disks.
    fn produced(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> [f64; 3] {
        let record = self.simulator.usage_record(&self.lab, Some(from), Some(to), Duration::from_secs(60)).unwrap();
        let steady = record.lab.steady.expect("it runs for an hour");
        [steady.cpu_percent.peak / 100.0, steady.memory_mb.peak, steady.storage_mb.peak]
    }
}

/// Everything but the controllers.
struct Stage {
    lablet: Lablet,
    runs: Vec<Run>,
    /// The certificates of all workers.
    authority: PathBuf,
    /// What controllers tell of samples.
    live: async_nats::Subscriber,
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn start(workers: &[(&'static str, ApiVersion, bool)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lablet = Lablet::start(LabletOptions { ..options() }).await.unwrap();
        lablet.define("ospf").await.unwrap();
        let mut runs = Vec::new();
        for (name, api, is_pushed) in workers {
            runs.push(Run::start(&lablet, name, *api, *is_pushed).await);
        }
        let authority = folder.path().join("cml.pem");
        let certificates: String = runs.iter().map(|run| run.simulator.certificate_pem()).collect();
        std::fs::write(&authority, certificates).unwrap();
        let bus = jetstream(&lablet).await.client();
        let live = bus.subscribe("lablet.live.samples.*").await.unwrap();
        bus.flush().await.unwrap();
        Self { lablet, runs, authority, live, _folder: folder }
    }
}

/// A process of its own, which SIGKILL ends.
fn controller(lablet: &Lablet, runs: &[Run], authority: &Path) -> Child {
    let hosts: Vec<String> = runs.iter().map(|run| run.simulator.address().to_string()).collect();
    Command::new(options().program)
        .arg("control")
        .args(["--gateway-url", &lablet.ready().http])
        .env("LABLET_NATS_URL", &lablet.ready().nats_url)
        .env("LABLET_INTERNAL_API_KEY", &lablet.ready().internal_api_key)
        .env("LABLET_CML_HOSTS", hosts.join(","))
        .env("LABLET_CML_USERNAME", "admin")
        .env("LABLET_CML_PASSWORD", PASSWORD)
        .env("LABLET_CML_CA", authority)
        .env("RESOURCE_SAMPLING_SECONDS", INTERVAL.as_secs().to_string())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Hears of samples until there was this many of each session that `counts`. Which controllers took them.
async fn sampled(
    live: &mut async_nats::Subscriber,
    runs: &[Run],
    each: usize,
    counts: impl Fn(&str, &Value) -> bool,
) -> BTreeSet<String> {
    let mut missing: BTreeMap<&str, usize> = runs.iter().map(|run| (run.name, each)).collect();
    let mut controllers = BTreeSet::new();
    while !missing.is_empty() {
        let message = tokio::time::timeout(SOON, live.next()).await.expect("nobody samples").unwrap();
        let heard: Value = serde_json::from_slice(&message.payload).unwrap();
        let session = heard["session_id"].as_str().unwrap();
        if heard["outcome"] == "sampled" && counts(session, &heard) {
            controllers.insert(heard["controller"].as_str().unwrap().to_owned());
            if let Some(left) = missing.get_mut(session) {
                *left -= 1;
                missing.retain(|_, left| *left > 0);
            }
        }
    }
    controllers
}

/// What the observation says that somebody asks for now.
pub(crate) async fn observed(lablet: &Lablet, session: &str) -> Value {
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

#[tokio::test]
async fn the_peak_is_known_and_the_gap_is_short_although_the_controller_that_sampled_is_killed() {
    let Stage { lablet, runs, authority, mut live, _folder } = Stage::start(&[
        ("polled-2-9", ApiVersion::V2_9, false),
        ("pushed-2-9", ApiVersion::V2_9, true),
        ("polled-2-10", ApiVersion::V2_10, false),
        ("pushed-2-10", ApiVersion::V2_10, true),
    ])
    .await;
    let mut first = controller(&lablet, &runs, &authority);
    let killed = sampled(&mut live, &runs, 1, |_, _| true).await;
    let _standby = [controller(&lablet, &runs, &authority), controller(&lablet, &runs, &authority)];
    // Time for both to hear of the sessions.
    sampled(&mut live, &runs, 2, |_, _| true).await;
    // The peak is seen by the one that is killed, and by nobody else.
    let plateaus: BTreeMap<&str, f64> = runs.iter().map(|run| (run.name, run.begin_plateau())).collect();
    let is_plateau = |session: &str, heard: &Value| {
        heard["lab"]["cpu_cores"].as_f64().is_some_and(|cores| cores >= plateaus[session] * 0.99)
    };
    assert_eq!(sampled(&mut live, &runs, 1, is_plateau).await, killed);
    runs.iter().for_each(Run::end_plateau);
    first.kill().await.unwrap();
    let is_by_another = |session: &str, heard: &Value| {
        let is_killed = killed.contains(heard["controller"].as_str().unwrap());
        assert!(is_killed || !is_plateau(session, heard), "the plateau is over: {heard}");
        !is_killed
    };
    sampled(&mut live, &runs, 2, is_by_another).await;

    for run in &runs {
        let Run { name, simulator, from, .. } = run;
        // What was produced in the last moment may have come after the last sample.
        let moment = TimeDelta::from_std(INTERVAL.mul_f64(SPEED * 1.5)).unwrap();
        let until = simulator.now() - moment;
        let resources = observed(&lablet, name).await;
        let profile = &resources["profile"];
        for gap in profile["gaps"].as_array().into_iter().flatten() {
            let time = |end: &str| gap[end].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
            let length = (time("to") - time("from")).to_std().unwrap();
            // The worker, too, may answer the successor late.
            let reasons = ["controller_away", "worker_away", "worker_slow"];
            let is_expected = reasons.iter().any(|reason| gap["reason"] == *reason);
            assert!(length <= 2 * INTERVAL && is_expected, "{name}: {gap}");
        }
        let least = run.produced(*from, until);
        let most = run.produced(*from - moment, simulator.now());
        let known = if run.api == ApiVersion::V2_9 { 1 } else { 3 };
        let resources = ["cpu_cores", "memory_mb", "storage_mb"].into_iter().zip(least.into_iter().zip(most));
        for (resource, (least, most)) in resources.take(known) {
            let peak = profile["steady"][resource]["peak"].as_f64().unwrap_or_default();
            assert!(
                peak >= least * 0.99 && peak <= most * 1.01,
                "{name}, {resource}: {peak}, and {least} to {most} was produced"
            );
        }
        if run.api == ApiVersion::V2_9 {
            assert_eq!(profile["steady"].get("memory_mb"), None, "2.9 does not tell it");
        }
    }
    verify(&lablet).await;
    lablet.stop().await.unwrap();
}

/// Sends a signal to a process, e.g. `STOP`.
async fn signal(process: &Child, signal: &str) {
    let id = process.id().expect("it has not ended").to_string();
    let sent = Command::new("kill").args([&format!("-{signal}"), &id]).status().await.unwrap();
    assert!(sent.success(), "{signal}: {sent}");
}

#[tokio::test]
async fn a_controller_that_stood_still_yields_to_the_one_that_took_over_and_nothing_counts_twice() {
    let workers = [("polled", ApiVersion::V2_10, false), ("pushed", ApiVersion::V2_10, true)];
    let Stage { lablet, runs, authority, mut live, _folder } = Stage::start(&workers).await;
    let first = controller(&lablet, &runs, &authority);
    let paused = sampled(&mut live, &runs, 1, |_, _| true).await;
    let _second = controller(&lablet, &runs, &authority);
    // Time for the second to hear of the sessions.
    sampled(&mut live, &runs, 2, |_, _| true).await;
    signal(&first, "STOP").await;
    // Of each session, the term of whoever took it over.
    let terms: RefCell<BTreeMap<String, u64>> = RefCell::default();
    let is_by_another = |session: &str, heard: &Value| {
        let is_by_another = !paused.contains(heard["controller"].as_str().unwrap());
        if is_by_another {
            terms.borrow_mut().insert(session.to_owned(), heard["term"].as_u64().unwrap());
        }
        is_by_another
    };
    sampled(&mut live, &runs, 2, is_by_another).await;
    signal(&first, "CONT").await;
    // What it does before it hears of its successor is of an earlier term, and counts nowhere.
    sampled(&mut live, &runs, 3, is_by_another).await;
    let yields = |session: &str, heard: &Value| {
        assert!(heard["term"].as_u64() >= terms.borrow().get(session).copied(), "it does not yield: {heard}");
        true
    };
    sampled(&mut live, &runs, 2, yields).await;
    for Run { name, .. } in &runs {
        let observation = observed(&lablet, name).await;
        let profile = &observation["profile"];
        let time = |end: &str| profile[end].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
        let passed = (time("to") - time("from")).num_seconds();
        let counted: i64 = ["boot", "steady"].iter().filter_map(|phase| profile[*phase]["seconds"].as_i64()).sum();
        assert!(counted <= passed + 1, "{name}: {counted} s of {passed} s are counted");
        assert!(profile["samples"].as_i64().unwrap() >= 8, "{name}: {profile}");
        let restarts = |node: &Value| node["profile"]["restarts"].as_i64().unwrap_or_default();
        assert!(observation["nodes"].as_array().unwrap().iter().all(|node| restarts(node) == 0), "{name}");
    }
    verify(&lablet).await;
    lablet.stop().await.unwrap();
}
