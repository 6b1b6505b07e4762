//! What running sessions use, sampled by one of several controllers, and what their observations say of it.

use std::collections::BTreeMap;
use std::time::Duration;

use bus::rights::{BusUser, authorization};
use bus::{Bus, BusOptions, streams, subjects};
use controller::ControllerOptions;
use domain::SessionId;
use domain::observation::{GapReason, ResourceObservation};
use futures_util::StreamExt as _;
use serde_json::Value;
use simulator::{Fault, FaultKind, SimulatedTime, Simulator, SimulatorOptions};

use crate::surroundings::{SMALL_LAB, World, eventually, running_lab, simulator};

const INTERVAL: Duration = Duration::from_secs(2);

pub(crate) fn options() -> ControllerOptions {
    ControllerOptions {
        sampling_interval: INTERVAL,
        sampling_write_interval: Duration::from_secs(2),
        observation_timeout: Duration::from_secs(5),
        ..ControllerOptions::default()
    }
}

/// A simulator whose readings differ from one sample of these tests to the next.
pub(crate) fn quick() -> SimulatorOptions {
    SimulatorOptions { time: SimulatedTime::Flowing { speed: 30.0 }, ..SimulatorOptions::default() }
}

/// One whose labs are polled, as no socket can be opened.
async fn world() -> (World, Simulator) {
    let nats = servers::testing::nats().await;
    world_on(nats.url()).await
}

async fn world_on(nats_url: &str) -> (World, Simulator) {
    let world = World::start(nats_url).await;
    let simulator = simulator(quick()).await;
    refuse_sockets(&simulator);
    world.add_worker("w1", &simulator);
    (world, simulator)
}

fn refuse_sockets(simulator: &Simulator) {
    simulator.fault(Fault::new(FaultKind::Status { code: 404 }).on_path("/ws/ui")).unwrap();
}

pub(crate) fn polls(simulator: &Simulator) -> u64 {
    simulator.requests().count("GET /api/v0/labs/{id}/simulation_stats")
}

pub(crate) async fn polled(simulator: &Simulator, more: u64) {
    let before = polls(simulator);
    eventually(&format!("{more} more samples are taken"), || async {
        (polls(simulator) >= before + more).then_some(())
    })
    .await;
}

/// The observation that answers this request.
pub(crate) async fn observed(world: &World, session: &str, request: &str) -> ResourceObservation {
    world.request(session, request).await;
    assert_eq!(world.outcome(session, request).await, ("recorded".into(), String::new()));
    let recorded = world.recorded("record_resource_observation");
    let report = recorded.into_iter().find(|report| report["request_id"] == request).unwrap();
    serde_json::from_value(report["observed_resources"].clone()).unwrap()
}

/// What controllers tell of samples, as everybody on the bus can hear it.
pub(crate) async fn live(world: &World) -> async_nats::Subscriber {
    let live = world.bus.client().subscribe(subjects::LIVE_SAMPLES).await.unwrap();
    world.bus.client().flush().await.unwrap();
    live
}

pub(crate) async fn next_live(live: &mut async_nats::Subscriber) -> Value {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(30), live.next()).await.unwrap().unwrap();
        let heard: Value = serde_json::from_slice(&message.payload).unwrap();
        if heard["outcome"] != "pending" {
            return heard;
        }
    }
}

/// So many samples of a session, of which whoever has it has it alone. On a machine that stands still that may change.
async fn has_one_controller(live: &mut async_nats::Subscriber, samples: usize) {
    let mut controllers: BTreeMap<u64, Value> = BTreeMap::new();
    for _ in 0..samples {
        let heard = next_live(live).await;
        let controller =
            controllers.entry(heard["term"].as_u64().unwrap()).or_insert_with(|| heard["controller"].clone());
        assert_eq!(*controller, heard["controller"], "two controllers sample it in one term");
    }
}

pub(crate) fn seconds_of_gaps(observation: &ResourceObservation) -> Vec<(f64, GapReason)> {
    let gaps = observation.profile.as_ref().unwrap().gaps();
    let seconds = |gap: &domain::observation::Gap| (gap.to().at() - gap.from().at()).as_seconds_f64();
    gaps.iter().map(|gap| (seconds(gap), gap.reason())).collect()
}

#[tokio::test]
async fn the_observation_of_a_running_session_says_what_it_used_so_far() {
    let (world, simulator) = world().await;
    let lab = running_lab(&simulator, SMALL_LAB);
    world.add_session("s1", "w1", lab.as_str(), None);
    let controller = world.controller(&simulator, options()).await;
    polled(&simulator, 4).await;
    let observation = observed(&world, "s1", "r1").await;
    let profile = observation.profile.as_ref().unwrap();
    assert!(profile.samples().unwrap().get() >= 3, "{profile:?}");
    assert_eq!(profile.interval_seconds().unwrap().get(), 2);
    assert_eq!((profile.gaps(), profile.boot()), (&[][..], None), "it had booted long before");
    let steady = profile.steady().unwrap();
    assert!(steady.cpu_cores.unwrap().peak().unwrap().get() > 0.0);
    for node in observation.nodes.iter().filter(|node| &*node.node_definition == "iosv") {
        let peak = node.profile.as_ref().unwrap().steady.unwrap().cpu_cores.unwrap().peak().unwrap();
        assert!(peak < steady.cpu_cores.unwrap().peak().unwrap(), "the lab's peak is that of the sum");
    }
    assert!(
        observation.nodes.iter().any(|node| &*node.node_definition == "unmanaged_switch" && node.profile.is_none())
    );
    let share = observation.coverage.unwrap().sampled_share.unwrap().get();
    assert!(share > 0.5, "{share}");
    controller.stop().await;
}

#[tokio::test]
async fn a_lab_that_boots_is_sampled_in_its_boot() {
    let (world, simulator) = world().await;
    let lab = simulator.import(SMALL_LAB).unwrap();
    simulator.start_lab(&lab).unwrap();
    world.add_session("s1", "w1", &lab, None);
    let mut live = live(&world).await;
    let controller = world.controller(&simulator, options()).await;
    // A node that has started uses CPU, also while it boots.
    let sample = loop {
        let heard = next_live(&mut live).await;
        if heard["outcome"] == "sampled" {
            break heard;
        }
    };
    let seconds = sample["lab"]["seconds"].as_u64().unwrap();
    assert!(sample["session_id"] == "s1" && (1..=2).contains(&seconds), "{sample}");
    let observation = observed(&world, "s1", "r1").await;
    let boot = observation.profile.unwrap().boot().unwrap().cpu_cores.unwrap().peak().unwrap().get();
    assert!(boot > 0.1, "{boot}");
    controller.stop().await;
}

#[tokio::test]
async fn without_sampling_nothing_is_sampled() {
    let (world, simulator) = world().await;
    let lab = running_lab(&simulator, SMALL_LAB);
    world.add_session("s1", "w1", lab.as_str(), None);
    let off = ControllerOptions { sampling_interval: Duration::ZERO, ..options() };
    let controller = world.controller(&simulator, off).await;
    let observation = observed(&world, "s1", "r1").await;
    assert_eq!((observation.profile, polls(&simulator)), (None, 1));
    assert_eq!(observation.coverage.unwrap().sampled_share, None, "unknown is not zero");
    controller.stop().await;
}

#[tokio::test]
async fn one_controller_samples_and_any_of_them_says_what_was_used() {
    let (world, simulator) = world().await;
    let lab = running_lab(&simulator, SMALL_LAB);
    world.add_session("s1", "w1", lab.as_str(), None);
    // Long enough for a busy machine to tell in time that it lives.
    let options = || ControllerOptions { sampling_interval: Duration::from_secs(5), ..options() };
    let mut live = live(&world).await;
    let first = world.controller(&simulator, options()).await;
    let sampling = next_live(&mut live).await["controller"].clone();
    let second = world.controller(&simulator, options()).await;
    has_one_controller(&mut live, 3).await;
    // Whoever answers which of them, each knows of all samples.
    let mut samples = 0;
    for request in 0..4 {
        let observation = observed(&world, "s1", &format!("r{request}")).await;
        let now = observation.profile.unwrap().samples().unwrap().get();
        assert!(now >= samples.max(3), "{now} after {samples}");
        samples = now;
    }
    first.stop().await;
    // It left the session to the other one, with what it gathered.
    let successor = loop {
        let heard = next_live(&mut live).await;
        if heard["controller"] != sampling {
            break heard;
        }
    };
    assert_eq!(successor["outcome"], "sampled");
    let observation = observed(&world, "s1", "after").await;
    assert!(observation.profile.as_ref().unwrap().samples().unwrap().get() > samples);
    second.stop().await;
}

#[tokio::test]
async fn a_controller_that_is_killed_is_replaced_without_a_gap_of_more_than_two_intervals() {
    let (world, simulator) = world().await;
    let lab = running_lab(&simulator, SMALL_LAB);
    world.add_session("s1", "w1", lab.as_str(), None);
    let interval = Duration::from_secs(6);
    // Nothing but the first entry is written in time: what was gathered is known from what was heard.
    let rarely = ControllerOptions {
        sampling_interval: interval,
        sampling_write_interval: Duration::from_secs(60),
        ..options()
    };
    let mut live = live(&world).await;
    let first = world.controller(&simulator, rarely.clone()).await;
    let killed = next_live(&mut live).await["controller"].clone();
    let standby = [world.controller(&simulator, rarely.clone()).await, world.controller(&simulator, rarely).await];
    for _ in 0..2 {
        next_live(&mut live).await;
    }
    first.kill().await;
    let mut successors = Vec::new();
    while successors.len() < 2 {
        let heard = next_live(&mut live).await;
        if heard["controller"] != killed {
            successors.push(heard["controller"].clone());
        }
    }
    assert_eq!(successors[0], successors[1], "one of the two goes on");
    let observation = observed(&world, "s1", "r1").await;
    let profile = observation.profile.as_ref().unwrap();
    // The standby controllers may have come after the first sample.
    assert!(profile.samples().unwrap().get() >= 4, "{profile:?}");
    let gaps = seconds_of_gaps(&observation);
    let longest = 2.0 * interval.as_secs_f64();
    // The worker, too, may answer the successor late.
    let reasons = [GapReason::ControllerAway, GapReason::WorkerAway, GapReason::WorkerSlow];
    assert!(gaps.iter().all(|gap| gap.0 <= longest && reasons.contains(&gap.1)), "{gaps:?}");
    for controller in standby {
        controller.stop().await;
    }
}

#[tokio::test]
async fn a_worker_that_is_away_is_asked_less_and_the_gap_has_its_reason() {
    let (world, simulator) = world().await;
    for number in 0..5 {
        let lab = running_lab(&simulator, SMALL_LAB);
        world.add_session(&format!("s{number}"), "w1", lab.as_str(), None);
    }
    let controller = world.controller(&simulator, options()).await;
    polled(&simulator, 10).await;
    simulator.fault(Fault::new(FaultKind::Status { code: 503 }).on_path("simulation_stats")).unwrap();
    let before = polls(&simulator);
    tokio::time::sleep(INTERVAL * 6).await;
    let asked = polls(&simulator) - before;
    assert!(asked <= 14, "{asked} requests in 6 intervals, where 30 were planned");
    simulator.clear_faults();
    refuse_sockets(&simulator);
    polled(&simulator, 6).await;
    let observation = observed(&world, "s3", "r1").await;
    let gaps = seconds_of_gaps(&observation);
    assert!(gaps.iter().any(|(seconds, reason)| *seconds > 4.0 && *reason == GapReason::WorkerAway), "{gaps:?}");
    assert!(observation.profile.unwrap().missed_samples().unwrap().get() >= 3);
    controller.stop().await;
}

#[tokio::test]
async fn an_answer_that_comes_late_leaves_a_gap_that_the_worker_is_the_reason_of() {
    let (world, simulator) = world().await;
    let lab = running_lab(&simulator, SMALL_LAB);
    world.add_session("s1", "w1", lab.as_str(), None);
    let interval = Duration::from_secs(4);
    let controller = world.controller(&simulator, ControllerOptions { sampling_interval: interval, ..options() }).await;
    polled(&simulator, 3).await;
    let slow = FaultKind::Slow { milliseconds: 2_800 };
    simulator.fault(Fault::new(slow).on_path("simulation_stats").times(1)).unwrap();
    polled(&simulator, 3).await;
    let gaps = seconds_of_gaps(&observed(&world, "s1", "r1").await);
    assert!(!gaps.is_empty() && gaps.iter().all(|(_, reason)| *reason == GapReason::WorkerSlow), "{gaps:?}");
    controller.stop().await;
}

#[tokio::test]
async fn answers_that_cannot_be_read_are_told_and_lose_nothing() {
    let (world, simulator) = world().await;
    let lab = running_lab(&simulator, SMALL_LAB);
    world.add_session("s1", "w1", lab.as_str(), None);
    let controller = world.controller(&simulator, options()).await;
    polled(&simulator, 3).await;
    simulator.fault(Fault::new(FaultKind::InvalidBody).on_path("simulation_stats").times(3)).unwrap();
    polled(&simulator, 7).await;
    let observation = observed(&world, "s1", "r1").await;
    let gaps = seconds_of_gaps(&observation);
    assert!(gaps.iter().any(|(_, reason)| *reason == GapReason::Unreadable), "{gaps:?}");
    let before = observation.profile.unwrap().samples().unwrap().get();
    assert!(before >= 4);
    // With the end of its answer the connection ends, too.
    simulator.fault(Fault::new(FaultKind::Truncate).on_path("simulation_stats").times(2)).unwrap();
    polled(&simulator, 6).await;
    let samples = observed(&world, "s1", "r2").await.profile.unwrap().samples().unwrap().get();
    assert!(samples > before, "{samples} after {before}");
    controller.stop().await;
}

#[tokio::test]
async fn what_is_stored_of_a_session_that_moved_on_is_removed() {
    let (world, simulator) = world().await;
    let lab = running_lab(&simulator, SMALL_LAB);
    world.add_session("s1", "w1", lab.as_str(), None);
    let controller = world.controller(&simulator, options()).await;
    polled(&simulator, 3).await;
    let session: SessionId = "s1".parse().unwrap();
    let stored = || async {
        let bucket = world.bus.jetstream().get_key_value(streams::SAMPLING_BUCKET).await.ok()?;
        bucket.get(session.as_str()).await.unwrap()
    };
    assert!(stored().await.is_some_and(|value| value.len() < streams::LARGEST_SAMPLING_ENTRY));
    world.set_status("s1", "stopping");
    eventually("its entry is removed", || async { stored().await.is_none().then_some(()) }).await;
    let before = polls(&simulator);
    tokio::time::sleep(INTERVAL * 3).await;
    assert_eq!(polls(&simulator), before, "and it is not sampled any more");
    controller.stop().await;
}

#[tokio::test]
async fn while_the_bus_is_away_sampling_goes_on_in_memory() {
    let mut nats = servers::testing::private_nats().await;
    let (world, simulator) = world_on(nats.url()).await;
    let lab = running_lab(&simulator, SMALL_LAB);
    world.add_session("s1", "w1", lab.as_str(), None);
    let controller = world.controller(&simulator, options()).await;
    polled(&simulator, 3).await;
    nats.stop().await;
    // One that begins meanwhile is sampled too.
    world.add_session("s2", "w1", lab.as_str(), None);
    polled(&simulator, 12).await;
    nats.start_again().await;
    for session in ["s1", "s2"] {
        let observation = observed(&world, session, &format!("r-{session}")).await;
        let samples = observation.profile.as_ref().unwrap().samples().unwrap().get();
        assert!(samples >= if session == "s1" { 6 } else { 3 }, "{session}: {samples}");
        assert!(seconds_of_gaps(&observation).is_empty(), "{session}: {observation:?}");
    }
    controller.stop().await;
}

#[tokio::test]
async fn the_documented_rights_on_the_bus_are_enough_and_the_server_refuses_none() {
    let users = BusUser::OF_PROCESSES;
    let by_password = users.iter().map(|user| (user, format!("user: {}, password: s3cret", user.name())));
    let rights = authorization(by_password);
    let server = servers::testing::configured_nats(|folder| {
        let everything = "users = [\n { user: world, password: s3cret }";
        format!(
            "jetstream {{ store_dir: {:?} }}\n{}",
            folder.join("jetstream"),
            rights.replace("users = [", everything)
        )
    })
    .await;
    let address = |user: &str| format!("nats://{user}:s3cret@127.0.0.1:{}", server.port());
    let (world, simulator) = world_on(&address("world")).await;
    // As `lablet migrate` does.
    streams::ensure_sampling(&world.bus).await.unwrap();
    controller::requests::ensure_consumer(&world.bus, &bus::StreamBounds::default()).await.unwrap();
    let lab = running_lab(&simulator, SMALL_LAB);
    world.add_session("s1", "w1", lab.as_str(), None);
    let options_of = |user: &str| BusOptions {
        inbox_prefix: Some(format!("_INBOX_{user}")),
        ..BusOptions::new(address(user), user)
    };
    let options = || ControllerOptions { sampling_interval: Duration::from_secs(5), ..options() };
    let mut live = live(&world).await;
    let first = world.controller_on(&options_of("controller"), &simulator, options()).await;
    let sampling = next_live(&mut live).await["controller"].clone();
    let second = world.controller_on(&options_of("controller"), &simulator, options()).await;
    has_one_controller(&mut live, 2).await;
    let session: SessionId = "s1".parse().unwrap();
    let bucket = world.bus.jetstream().get_key_value(streams::SAMPLING_BUCKET).await.unwrap();
    let written = bucket.entry(session.as_str()).await.unwrap().unwrap();
    eventually("the summary is written again", || async {
        let entry = bucket.entry(session.as_str()).await.unwrap().unwrap();
        (entry.revision > written.revision).then_some(())
    })
    .await;
    first.stop().await;
    loop {
        if next_live(&mut live).await["controller"] != sampling {
            break;
        }
    }
    world.set_status("s1", "stopping");
    eventually("its entry is removed", || async {
        bucket.get(session.as_str()).await.unwrap().is_none().then_some(())
    })
    .await;
    second.stop().await;
}

#[tokio::test]
async fn what_is_no_live_sample_harms_nobody() {
    let (world, simulator) = world().await;
    let lab = running_lab(&simulator, SMALL_LAB);
    world.add_session("s1", "w1", lab.as_str(), None);
    let controller = world.controller(&simulator, options()).await;
    polled(&simulator, 2).await;
    let other = Bus::connect(&BusOptions::new(world.nats_url(), "other")).await.unwrap();
    other.connected(Duration::from_secs(10)).await.unwrap();
    for payload in ["", "{", "null", r#"{"session_id":"s1"}"#, r#"{"session_id":"s1","controller":"x","term":-1}"#] {
        other.client().publish(subjects::live_samples("s1"), payload.into()).await.unwrap();
    }
    other.client().flush().await.unwrap();
    polled(&simulator, 2).await;
    assert!(observed(&world, "s1", "r1").await.profile.unwrap().samples().unwrap().get() >= 3);
    controller.stop().await;
}
