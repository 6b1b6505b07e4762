//! Ends of timeslots: observe first, then move on, and never be held up.

use std::collections::BTreeSet;
use std::time::Duration;

use controller::ControllerOptions;
use simulator::{Fault, FaultKind, Simulator};

use crate::surroundings::{SMALL_LAB, World, eventually, fast, running_lab, simulator};

fn options() -> ControllerOptions {
    ControllerOptions {
        observation_timeout: Duration::from_secs(5),
        sampling_interval: Duration::ZERO,
        poll: Duration::from_millis(200),
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

async fn collecting(world: &World, session: &str) {
    eventually(&format!("{session} is collecting"), || async { (world.status(session) == "collecting").then_some(()) })
        .await;
}

#[tokio::test]
async fn sessions_are_observed_at_their_end_and_moved_on_afterwards() {
    let (world, simulator, lab) = world().await;
    for number in 0..5 {
        world.add_session(&format!("over{number}"), "w1", lab.as_str(), Some(-5));
    }
    world.add_session("soon", "w1", lab.as_str(), Some(2));
    world.add_session("later", "w1", lab.as_str(), Some(3600));
    world.add_session("open-end", "w1", lab.as_str(), None);
    let first = world.controller(&simulator, options()).await;
    let second = world.controller(&simulator, options()).await;
    for session in ["over0", "over1", "over2", "over3", "over4", "soon"] {
        collecting(&world, session).await;
    }
    world.all_acknowledged().await;
    assert_eq!((world.status("later"), world.status("open-end")), ("running".into(), "running".into()));
    assert_eq!(world.recorded("request_resource_observation").len(), 6, "two controllers ask once");
    assert_eq!(world.recorded("record_resource_observation").len(), 6);
    assert_eq!(world.recorded("transition_lablet_session").len(), 6);
    let traces = |command: &str| BTreeSet::from_iter(world.traceparents(command));
    assert_eq!(traces("request_resource_observation").len(), 6, "each end begins a trace");
    assert_eq!(traces("request_resource_observation"), traces("transition_lablet_session"), "and stays in it");
    assert_eq!(world.recorded("record_observation_failure").len(), 0, "each was observed before it was moved on");
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn without_observation_a_session_moves_on_at_once() {
    let (world, simulator, lab) = world().await;
    world.add_session("s1", "w1", lab.as_str(), Some(-5));
    let off = ControllerOptions { observe_at_timeslot_end: false, ..options() };
    let controller = world.controller(&simulator, off).await;
    collecting(&world, "s1").await;
    assert!(world.recorded("request_resource_observation").is_empty());
    controller.stop().await;
}

#[tokio::test]
async fn a_failed_observation_does_not_hold_the_session_up() {
    let (world, simulator, lab) = world().await;
    world.add_session("s1", "w1", lab.as_str(), Some(-5));
    simulator.fault(Fault::new(FaultKind::Status { code: 500 })).unwrap();
    let controller = world.controller(&simulator, options()).await;
    collecting(&world, "s1").await;
    assert_eq!(world.recorded("record_observation_failure").len(), 1);
    controller.stop().await;
}

#[tokio::test]
async fn an_observation_that_never_comes_does_not_hold_the_session_up() {
    let (world, simulator, lab) = world().await;
    world.add_session("s1", "w1", lab.as_str(), Some(-5));
    world.announce_nothing();
    let short = ControllerOptions { observation_timeout: Duration::from_secs(1), ..options() };
    let controller = world.controller(&simulator, short).await;
    collecting(&world, "s1").await;
    assert_eq!(world.recorded("request_resource_observation").len(), 1);
    assert!(world.recorded("record_resource_observation").is_empty());
    controller.stop().await;
}

#[tokio::test]
async fn a_gateway_that_cannot_be_reached_is_waited_for() {
    let (world, simulator, lab) = world().await;
    world.add_session("s1", "w1", lab.as_str(), Some(-5));
    world.set_unreachable(true);
    let controller = world.controller(&simulator, options()).await;
    eventually("the gateway was asked in vain", || async { (world.refusals() > 2).then_some(()) }).await;
    world.set_unreachable(false);
    collecting(&world, "s1").await;
    controller.stop().await;
}

#[tokio::test]
async fn a_controller_in_the_middle_of_an_observation_ends_cleanly_and_another_goes_on() {
    let (world, simulator, lab) = world().await;
    world.add_session("s1", "w1", lab.as_str(), None);
    simulator.fault(Fault::new(FaultKind::Slow { milliseconds: 60_000 }).on_path("topology").times(1)).unwrap();
    let long_timeout = ControllerOptions { observation_timeout: Duration::from_secs(50), ..options() };
    let first = world.controller(&simulator, long_timeout.clone()).await;
    world.request("s1", "r1").await;
    let reads = || simulator.requests().count("GET /api/v0/labs/{id}/topology");
    eventually("the lab is being read", || async { (reads() == 1).then_some(()) }).await;
    first.stop().await;
    assert_eq!(world.outcome_now("s1", "r1"), None);
    let second = world.controller(&simulator, long_timeout).await;
    assert_eq!(world.outcome("s1", "r1").await.0, "recorded");
    second.stop().await;
}

#[tokio::test]
async fn a_session_that_cannot_be_read_delays_no_other() {
    let (world, simulator, lab) = world().await;
    for (session, fail) in [("failing", World::fail_reads_of as fn(&World, &str)), ("stalled", World::stall_reads_of)] {
        fail(&world, session);
        world.add_session(session, "w1", lab.as_str(), Some(-5));
    }
    let controller = world.controller(&simulator, options()).await;
    let reads = |session: &str| world.lists_and_reads_of(session).1;
    eventually("one has failed several times", || async { (reads("failing") > 3).then_some(()) }).await;
    eventually("one is stalled", || async { (reads("stalled") > 0).then_some(()) }).await;
    let before = (world.lists_and_reads_of("failing"), world.lists_and_reads_of("stalled"));
    for number in 0..3 {
        world.add_session(&format!("good{number}"), "w1", lab.as_str(), Some(-5));
    }
    for number in 0..3 {
        collecting(&world, &format!("good{number}")).await;
    }
    let after = (world.lists_and_reads_of("failing"), world.lists_and_reads_of("stalled"));
    for ((lists_before, reads_before), (lists, reads)) in [(before.0, after.0), (before.1, after.1)] {
        let (lists, reads) = (lists - lists_before, reads - reads_before);
        assert!(reads < lists, "listed {lists} times meanwhile, and read {reads} times: its back-off is its own");
    }
    assert_eq!((world.status("failing"), world.status("stalled")), ("running".into(), "running".into()));
    controller.stop().await;
}

#[tokio::test]
async fn a_lab_that_does_not_answer_delays_the_end_of_no_other_timeslot() {
    let (world, simulator, lab) = world().await;
    let silent = running_lab(&simulator, SMALL_LAB);
    simulator.fault(Fault::new(FaultKind::Slow { milliseconds: 120_000 }).on_path(silent.as_str())).unwrap();
    world.add_session("silent", "w1", silent.as_str(), Some(-5));
    let long_timeout = ControllerOptions { observation_timeout: Duration::from_secs(50), ..options() };
    let controller = world.controller(&simulator, long_timeout).await;
    let reads = || simulator.requests().count("GET /api/v0/labs/{id}/topology");
    eventually("the silent lab is being read", || async { (reads() == 1).then_some(()) }).await;
    for number in 0..3 {
        world.add_session(&format!("good{number}"), "w1", lab.as_str(), Some(-5));
    }
    for number in 0..3 {
        collecting(&world, &format!("good{number}")).await;
    }
    assert_eq!(world.status("silent"), "running", "it is still being observed");
    assert_eq!(world.recorded("record_resource_observation").len(), 3, "each was observed before it was moved on");
    controller.stop().await;
}
