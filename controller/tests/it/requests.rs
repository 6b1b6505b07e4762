//! Observation requests: each ends with exactly one outcome, whatever is away meanwhile.

use std::time::Duration;

use controller::{ControllerOptions, CredentialBook, Credentials, HostList};
use domain::WorkerId;
use serde_json::Value;
use simulator::{Fault, FaultKind, Simulator};

use crate::surroundings::{SMALL_LAB, TRACEPARENT, World, eventually, fast, running_lab, simulator};

fn options() -> ControllerOptions {
    ControllerOptions {
        observation_timeout: Duration::from_secs(5),
        sampling_interval: Duration::ZERO,
        ..ControllerOptions::default()
    }
}

async fn world() -> (World, Simulator, domain::LabId) {
    let nats = servers::testing::nats().await;
    let world = World::start(nats.url()).await;
    let simulator = simulator(fast()).await;
    world.add_worker("w1", &simulator);
    let lab = running_lab(&simulator, SMALL_LAB);
    (world, simulator, lab)
}

fn reads(simulator: &Simulator) -> u64 {
    simulator.requests().count("GET /api/v0/labs/{id}/nodes")
}

#[tokio::test]
async fn a_request_is_answered_with_an_observation() {
    let (world, simulator, lab) = world().await;
    world.add_session("s1", "w1", lab.as_str(), None);
    let controller = world.controller(&simulator, options()).await;
    world.request("s1", "r1").await;
    assert_eq!(world.outcome("s1", "r1").await.0, "recorded");
    world.all_acknowledged().await;
    let reports = world.recorded("record_resource_observation");
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0]["request_id"], "r1");
    assert_eq!(reports[0]["observed_resources"]["observer"], "controller");
    assert_eq!(reports[0]["observed_ports"]["R1_serial"], 5041);
    let traceparent = Some(TRACEPARENT.to_owned());
    assert_eq!(
        world.traceparents("record_resource_observation"),
        [traceparent],
        "the observation is part of the trace"
    );
    controller.stop().await;
}

#[tokio::test]
async fn requests_missed_while_no_controller_ran_are_served_when_one_starts() {
    let (world, simulator, lab) = world().await;
    world.add_session("s1", "w1", lab.as_str(), None);
    world.request("s1", "r1").await;
    world.request("s1", "r2").await;
    let controller = world.controller(&simulator, options()).await;
    assert_eq!(world.outcome("s1", "r1").await.0, "recorded");
    assert_eq!(world.outcome("s1", "r2").await.0, "recorded");
    controller.stop().await;
}

#[tokio::test]
async fn several_controllers_share_the_work_without_doing_it_twice() {
    let (world, simulator, lab) = world().await;
    world.add_session("s1", "w1", lab.as_str(), None);
    let first = world.controller(&simulator, options()).await;
    let second = world.controller(&simulator, options()).await;
    for number in 0..8 {
        world.request("s1", &format!("r{number}")).await;
    }
    for number in 0..8 {
        assert_eq!(world.outcome("s1", &format!("r{number}")).await.0, "recorded");
    }
    world.all_acknowledged().await;
    assert_eq!(world.recorded("record_resource_observation").len(), 8);
    assert_eq!(reads(&simulator), 8);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn what_has_its_outcome_already_is_only_acknowledged() {
    let (world, simulator, lab) = world().await;
    world.add_session("s1", "w1", lab.as_str(), None);
    let controller = world.controller(&simulator, options()).await;
    world.request("s1", "r1").await;
    world.outcome("s1", "r1").await;
    world.announce_again().await;
    world.all_acknowledged().await;
    assert_eq!((reads(&simulator), world.recorded("record_resource_observation").len()), (1, 1));
    controller.stop().await;
}

#[tokio::test]
async fn an_observation_too_large_for_a_message_goes_over_http() {
    let (world, simulator, lab) = world().await;
    world.add_session("s1", "w1", lab.as_str(), None);
    let small = ControllerOptions { largest_message: 3_000, ..options() };
    let controller = world.controller(&simulator, small).await;
    world.request("s1", "r1").await;
    assert_eq!(world.outcome("s1", "r1").await.0, "recorded");
    world.all_acknowledged().await;
    assert_eq!(world.recorded("over_http").len(), 1);
    controller.stop().await;
}

#[tokio::test]
async fn a_session_that_had_moved_on_is_skipped() {
    let (world, simulator, lab) = world().await;
    world.add_session("s1", "w1", lab.as_str(), None);
    world.request("s1", "r1").await;
    world.set_status("s1", "stopping");
    let controller = world.controller(&simulator, options()).await;
    let (outcome, reason) = world.outcome("s1", "r1").await;
    assert_eq!((outcome.as_str(), reason.as_str()), ("skipped", "the session had moved on: it is stopping"));
    assert_eq!(reads(&simulator), 0);
    controller.stop().await;
}

#[tokio::test]
async fn a_session_that_moves_on_while_it_is_observed_is_skipped() {
    let (world, simulator, lab) = world().await;
    world.add_session("s1", "w1", lab.as_str(), None);
    simulator.fault(Fault::new(FaultKind::Slow { milliseconds: 1_500 }).on_path("simulation_stats")).unwrap();
    let controller = world.controller(&simulator, options()).await;
    world.request("s1", "r1").await;
    eventually("the lab is being read", || async { (reads(&simulator) > 0).then_some(()) }).await;
    world.set_status("s1", "terminated");
    assert_eq!(world.outcome("s1", "r1").await.0, "skipped");
    world.all_acknowledged().await;
    controller.stop().await;
}

#[tokio::test]
async fn an_observation_that_is_refused_ends_as_a_failure_with_the_reason() {
    let (world, simulator, lab) = world().await;
    world.add_session("s1", "w1", lab.as_str(), None);
    world.refuse_observations();
    let controller = world.controller(&simulator, options()).await;
    world.request("s1", "r1").await;
    let (outcome, reason) = world.outcome("s1", "r1").await;
    assert_eq!(outcome, "failed");
    assert!(reason.starts_with("the observation was refused (refused): "), "{reason}");
    world.all_acknowledged().await;
    controller.stop().await;
}

#[tokio::test]
async fn what_cannot_be_observed_fails_with_its_reason() {
    let (world, simulator, lab) = world().await;
    world.add_worker("w2", &simulator);
    world.add_worker("w3", &simulator);
    world.add_session("unknown-worker", "w9", lab.as_str(), None);
    world.add_session("no-credentials", "w2", lab.as_str(), None);
    world.add_session("bad-password", "w3", lab.as_str(), None);
    world.add_session("no-lab", "w1", "863799a0-0000-4000-8000-000000000001", None);
    let worker = |id: &str| WorkerId::parse(id).unwrap();
    let book = CredentialBook::default()
        .with_hosts(HostList::parse("127.0.0.1").unwrap())
        .with_worker(worker("w1"), Credentials::new("admin", "simulator"))
        .with_worker(worker("w3"), Credentials::new("admin", "s3cr3t-and-wrong"));
    let controller = world.controller_with(&simulator, options(), book).await;
    for (session, expected) in [
        ("unknown-worker", "the worker w9 is not registered"),
        ("no-credentials", "this controller has no credentials for the worker w2"),
        ("bad-password", "signing in to CML: CML refused the user name or the password"),
        ("no-lab", "the lab does not exist on its worker"),
    ] {
        world.request(session, &format!("r-{session}")).await;
        let (outcome, reason) = world.outcome(session, &format!("r-{session}")).await;
        assert_eq!((outcome.as_str(), reason.as_str()), ("failed", expected));
    }
    world.all_acknowledged().await;
    let told: String = world.recorded("record_observation_failure").iter().map(Value::to_string).collect();
    assert!(!told.contains("s3cr3t"), "{told}");
    controller.stop().await;
}

#[tokio::test]
async fn a_cml_that_fails_in_every_way_gives_every_request_an_outcome() {
    let (world, simulator, lab) = world().await;
    world.add_session("s1", "w1", lab.as_str(), None);
    let short = ControllerOptions { observation_timeout: Duration::from_secs(1), ..options() };
    let controller = world.controller(&simulator, short).await;
    let faults = [
        (FaultKind::Slow { milliseconds: 30_000 }, "no answer within 1.0 s"),
        (FaultKind::Status { code: 500 }, "CML answered 500"),
        (FaultKind::InvalidBody, "invalid response"),
        (FaultKind::DropConnection, "connection"),
    ];
    for (number, (kind, expected)) in faults.into_iter().enumerate() {
        simulator.clear_faults();
        simulator.fault(Fault::new(kind).on_path("/labs/")).unwrap();
        let request = format!("r{number}");
        world.request("s1", &request).await;
        let (outcome, reason) = world.outcome("s1", &request).await;
        assert_eq!(outcome, "failed");
        assert!(reason.contains(expected), "{reason}");
    }
    simulator.clear_faults();
    for path in ["topology", "simulation_stats"] {
        simulator.fault(Fault::new(FaultKind::Status { code: 500 }).on_path(path)).unwrap();
    }
    world.request("s1", "in-part").await;
    assert_eq!(world.outcome("s1", "in-part").await.0, "recorded");
    let report = world.recorded("record_resource_observation").remove(0);
    let failed = report["observed_resources"]["coverage"]["failed_reads"].as_array().unwrap().len();
    assert_eq!(failed, 2);
    assert_eq!(report["observed_resources"]["usage"], Value::Null);
    controller.stop().await;
}

#[tokio::test]
async fn nothing_is_lost_and_nothing_read_twice_while_gateway_and_log_are_away() {
    let (world, simulator, lab) = world().await;
    world.add_session("s1", "w1", lab.as_str(), None);
    world.set_unreachable(true);
    let controller = world.controller(&simulator, options()).await;
    world.request("s1", "r1").await;
    eventually("the request has been tried", || async { (world.unacknowledged().await? == 1).then_some(()) }).await;
    assert_eq!(reads(&simulator), 0, "without the gateway nobody knows where the lab is");
    world.stop_consumer();
    world.set_unreachable(false);
    eventually("the lab has been read", || async { (reads(&simulator) == 1).then_some(()) }).await;
    world.set_unreachable(true);
    // The report waits on the bus: the request comes back, and is not acknowledged.
    let comes_back = || async {
        let stream = world.bus.jetstream().get_stream(bus::streams::EVENTS).await.ok()?;
        let info = stream.consumer_info(controller::requests::CONSUMER).await.ok()?;
        (info.num_redelivered > 0).then_some(())
    };
    eventually("the request comes back", comes_back).await;
    assert_eq!(world.unacknowledged().await, Some(1));
    world.start_consumer();
    world.set_unreachable(false);
    assert_eq!(world.outcome("s1", "r1").await.0, "recorded");
    world.all_acknowledged().await;
    assert_eq!(reads(&simulator), 1, "CML is not read again for an outcome on its way");
    assert_eq!(world.recorded("record_resource_observation").len(), 1);
    controller.stop().await;
}

#[tokio::test]
async fn a_wiped_bus_is_lived_through() {
    let mut nats = servers::testing::private_nats().await;
    let world = World::start(nats.url()).await;
    let simulator = simulator(fast()).await;
    world.add_worker("w1", &simulator);
    let lab = running_lab(&simulator, SMALL_LAB);
    world.add_session("s1", "w1", lab.as_str(), None);
    let controller = world.controller(&simulator, options()).await;
    world.request("s1", "before").await;
    world.outcome("s1", "before").await;
    nats.lose_everything().await;
    world.bus.connected(Duration::from_secs(20)).await.unwrap();
    eventually("the streams are there again", || async {
        bus::streams::ensure_events(&world.bus, &Default::default()).await.ok()
    })
    .await;
    world.ensure_streams().await;
    world.announce_again().await;
    world.request("s1", "after").await;
    assert_eq!(world.outcome("s1", "after").await.0, "recorded");
    world.all_acknowledged().await;
    assert_eq!(reads(&simulator), 2, "what had its outcome is not observed again");
    controller.stop().await;
}

#[tokio::test]
async fn a_controller_that_finds_no_bus_waits_for_it() {
    let mut nats = servers::testing::private_nats().await;
    let world = World::start(nats.url()).await;
    let simulator = simulator(fast()).await;
    world.add_worker("w1", &simulator);
    let lab = running_lab(&simulator, SMALL_LAB);
    world.add_session("s1", "w1", lab.as_str(), None);
    nats.stop().await;
    let controller = world.controller(&simulator, options()).await;
    nats.start_again().await;
    eventually("the streams are there", || async {
        bus::streams::ensure_events(&world.bus, &Default::default()).await.ok()
    })
    .await;
    world.request("s1", "r1").await;
    assert_eq!(world.outcome("s1", "r1").await.0, "recorded");
    controller.stop().await;
}
