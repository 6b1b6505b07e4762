//! How much of a worker is free, and what it is short of, read of the simulator and reported.

use std::time::Duration;

use bus::clock::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use controller::ControllerOptions;
use controller::probe::ProbeIntervals;
use serde_json::{Value, json};
use simulator::{Fault, FaultKind, Simulator, WorkerPressure};

use crate::surroundings::{Running, SMALL_LAB, World, eventually, fast, running_lab, simulator};

const QUEUE: &str = "GET /api/v0/diagnostics/node_launch_queue";

/// A controller that probes often, beside a worker of the simulator.
async fn probing() -> (World, Simulator, Running) {
    let nats = servers::testing::nats().await;
    let world = World::start(nats.url()).await;
    let simulator = simulator(fast()).await;
    world.add_worker("w1", &simulator);
    let interval = Duration::from_millis(50);
    let probe_intervals = ProbeIntervals { busy: interval, idle: interval };
    let options = ControllerOptions { probe_intervals, ..ControllerOptions::default() };
    let controller = world.controller(&simulator, options).await;
    (world, simulator, controller)
}

/// The first report from now on of which this holds.
async fn report_of(world: &World, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let before = world.pressures("w1").len();
    eventually(what, || async {
        world.pressures("w1").into_iter().skip(before).find(|report| is_wanted(&report["pressure"]))
    })
    .await
}

fn at(report: &Value) -> DateTime<Utc> {
    report["observed_at"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_worker_is_reported_as_short_while_it_is() {
    let (world, simulator, _controller) = probing().await;
    let quiet = report_of(&world, "a worker is reported", |_| true).await["pressure"].clone();
    for (member, expected) in [
        ("short_of_cpu", json!(false)),
        ("short_of_memory", json!(false)),
        ("short_of_storage", json!(false)),
        ("queued_nodes", json!(0)),
        ("longest_wait_seconds", json!(0)),
        ("total_cpu_cores", json!(96.0)),
        ("statistics", json!("answered")),
        ("launch_queue", json!("answered")),
    ] {
        assert_eq!(quiet[member], expected, "{member}");
    }
    let free = quiet["free_cpu_cores"].as_f64().unwrap();
    assert!((90.0..=96.0).contains(&free), "{free} cores, not percent");

    let short = WorkerPressure { cpu: true, launch_delay_seconds: 7_200, ..WorkerPressure::default() };
    simulator.set_pressure(short).unwrap();
    let lab = simulator.import(SMALL_LAB).unwrap();
    simulator.start_lab(&lab).unwrap();
    simulator.advance(Duration::from_secs(90)).unwrap();
    let queued = |pressure: &Value| pressure["longest_wait_seconds"].as_u64().is_some_and(|wait| wait >= 90);
    let report = report_of(&world, "nodes wait for their launch", queued).await["pressure"].clone();
    assert_eq!((&report["queued_nodes"], &report["short_of_cpu"]), (&json!(2), &json!(true)));
    assert!(report["free_cpu_cores"].as_f64().unwrap() < 1.0, "{report}");

    simulator.set_pressure(WorkerPressure::default()).unwrap();
    simulator.advance(Duration::from_secs(7_200)).unwrap();
    let relieved = |pressure: &Value| pressure["short_of_cpu"] == false && pressure["queued_nodes"] == 0;
    report_of(&world, "the worker is relieved", relieved).await;
}

#[tokio::test]
async fn what_a_user_may_not_read_is_not_asked_for_again_until_the_next_sign_in() {
    let (world, simulator, _controller) = probing().await;
    simulator.set_admin(false);
    let no_rights = |pressure: &Value| pressure["launch_queue"] == "no_rights";
    let report = report_of(&world, "the rights are missing", no_rights).await["pressure"].clone();
    assert!(report["free_memory_mb"].as_f64().unwrap() > 0.0, "the rest is known");
    assert_eq!((&report["short_of_cpu"], &report["queued_nodes"]), (&Value::Null, &Value::Null));
    simulator.reset_requests();
    for _ in 0..3 {
        report_of(&world, "it is reported again", no_rights).await;
    }
    assert_eq!(simulator.requests().count(QUEUE), 0);
    simulator.set_admin(true);
    simulator.expire_tokens();
    report_of(&world, "the rights are there", |pressure| pressure["launch_queue"] == "answered").await;
}

#[tokio::test]
async fn of_what_cannot_be_read_the_rest_is_told() {
    let (world, simulator, _controller) = probing().await;
    report_of(&world, "a worker is reported", |_| true).await;
    simulator.fault(Fault::new(FaultKind::InvalidBody).on_path("system_stats")).unwrap();
    let failed = |pressure: &Value| pressure["statistics"] == "failed";
    let report = report_of(&world, "statistics fail", failed).await["pressure"].clone();
    assert_eq!((&report["free_cpu_cores"], &report["short_of_cpu"]), (&Value::Null, &json!(false)));
    simulator.clear_faults();
    report_of(&world, "statistics are back", |pressure| pressure["statistics"] == "answered").await;
}

#[tokio::test]
async fn a_worker_that_is_away_is_unknown_and_known_when_it_is_back() {
    let (world, simulator, _controller) = probing().await;
    report_of(&world, "a worker is reported", |_| true).await;
    simulator.fault(Fault::new(FaultKind::DropConnection)).unwrap();
    let away = |pressure: &Value| pressure["statistics"] == "failed" && pressure["launch_queue"] == "failed";
    let report = report_of(&world, "the worker is away", away).await["pressure"].clone();
    assert_eq!((&report["short_of_cpu"], &report["free_cpu_cores"]), (&Value::Null, &Value::Null));
    simulator.clear_faults();
    report_of(&world, "the worker is back", |pressure| pressure["short_of_cpu"] == false).await;
}

#[tokio::test]
async fn a_workers_clock_far_off_moves_neither_times_nor_waits() {
    let (world, simulator, _controller) = probing().await;
    simulator.set_skew(TimeDelta::days(-400)).unwrap();
    simulator.set_pressure(WorkerPressure { launch_delay_seconds: 7_200, ..WorkerPressure::default() }).unwrap();
    let lab = simulator.import(SMALL_LAB).unwrap();
    simulator.start_lab(&lab).unwrap();
    simulator.advance(Duration::from_secs(90)).unwrap();
    let before = Clock::system().now();
    let queued = |pressure: &Value| pressure["queued_nodes"] == 2;
    let report = report_of(&world, "nodes wait for their launch", queued).await;
    assert!((before - TimeDelta::seconds(60)..=Clock::system().now()).contains(&at(&report)), "{report}");
    let wait = report["pressure"]["longest_wait_seconds"].as_u64().unwrap();
    assert!((90..7_200).contains(&wait), "{wait} s");
}

#[tokio::test]
async fn a_shortage_that_could_not_be_reported_is_reported_later_and_nothing_piles_up() {
    let (world, simulator, _controller) = probing().await;
    report_of(&world, "a worker is reported", |_| true).await;
    world.set_unreachable(true);
    // The second read begins after this moment, and its report was tried before the third.
    let read = async |what: &str| {
        let before = simulator.requests().count(QUEUE);
        eventually(what, || async { (simulator.requests().count(QUEUE) >= before + 3).then_some(()) }).await;
    };
    simulator.set_pressure(WorkerPressure { memory: true, ..WorkerPressure::default() }).unwrap();
    read("the short worker was read").await;
    simulator.set_pressure(WorkerPressure::default()).unwrap();
    read("the relieved worker was read").await;
    let before = world.pressures("w1").len();
    world.set_unreachable(false);
    let later = eventually("both are reported", || async {
        let later = world.pressures("w1").split_off(before);
        (later.len() >= 2).then_some(later)
    })
    .await;
    let short = |report: &Value| report["pressure"]["short_of_memory"].clone();
    assert_eq!((short(&later[0]), short(&later[1])), (json!(true), json!(false)));
    assert!(at(&later[0]) < at(&later[1]));
}

#[tokio::test]
async fn an_observation_says_whether_the_worker_was_short() {
    let (world, simulator, _controller) = probing().await;
    let lab = running_lab(&simulator, SMALL_LAB);
    for (session, shortage, expected) in [
        ("s1", json!({"worker_short": true, "worker_short_of": ["cpu", "launch_queue"]}), json!(true)),
        ("s2", json!({"worker_short": false, "worker_short_of": []}), json!(false)),
        ("s3", json!({"worker_short": null}), Value::Null),
        ("s4", json!({"surplus": 1}), Value::Null),
    ] {
        world.set_shortage(shortage.clone());
        world.add_session(session, "w1", lab.as_str(), None);
        world.set_running_since(session, Clock::system().now() - TimeDelta::hours(1));
        world.request(session, &format!("r-{session}")).await;
        world.outcome(session, &format!("r-{session}")).await;
        let observed = world.recorded("record_resource_observation").pop().unwrap();
        let coverage = &observed["observed_resources"]["coverage"];
        assert_eq!(coverage["worker_short"], expected, "{session}");
        let of = shortage["worker_short_of"].as_array().filter(|of| !of.is_empty()).cloned().map(Value::from);
        assert_eq!(coverage["worker_short_of"], of.unwrap_or_default(), "{session}");
    }
}
