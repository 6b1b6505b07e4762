//! What CML pushes, and should not: sockets that fall silent or end, frames too large or cut, statistics with nonsense.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use controller::ControllerOptions;
use domain::observation::{GapReason, ResourceObservation};
use simulator::{
    ApiVersion, Fault, FaultKind, RunawayOrder, Simulator, SimulatorOptions, SocketOptions, StatisticsDefect,
};

use crate::sampling::{live, next_live, observed, options, polled, polls, quick, seconds_of_gaps};
use crate::surroundings::{SMALL_LAB, World, eventually, running_lab, simulator};

/// Pushed every second, polled every 3 seconds.
async fn world() -> (World, Simulator, String) {
    let nats = servers::testing::nats().await;
    let world = World::start(nats.url()).await;
    let sockets = SocketOptions { push_period: Duration::from_secs(1), ..SocketOptions::default() };
    let simulator = simulator(SimulatorOptions { sockets, api: ApiVersion::V2_10, ..quick() }).await;
    world.add_worker("w1", &simulator);
    let lab = running_lab(&simulator, SMALL_LAB);
    world.add_session("s1", "w1", lab.as_str(), None);
    (world, simulator, lab.as_str().to_owned())
}

fn slowly() -> ControllerOptions {
    ControllerOptions { sampling_interval: Duration::from_secs(3), ..options() }
}

async fn pushed(simulator: &Simulator) {
    eventually("a socket is open", || async { (simulator.open_sockets() > 0).then_some(()) }).await;
}

/// Live samples until `count` of them were taken.
async fn sampled(live: &mut async_nats::Subscriber, count: usize) {
    let mut sampled = 0;
    while sampled < count {
        sampled += usize::from(next_live(live).await["outcome"] == "sampled");
    }
}

fn samples(observation: &ResourceObservation) -> u64 {
    observation.profile.as_ref().unwrap().samples().unwrap().get()
}

fn peak_of_cores(observation: &ResourceObservation) -> f64 {
    let profile = observation.profile.as_ref().unwrap();
    let phases = [profile.boot(), profile.steady()].into_iter().flatten();
    let peaks = phases.filter_map(|phase| phase.cpu_cores?.peak()).map(domain::Amount::get);
    peaks.max_by(f64::total_cmp).unwrap()
}

fn unreadable(observation: &ResourceObservation) -> Vec<String> {
    let entries = &observation.coverage.as_ref().unwrap().unreadable_entries;
    entries.iter().map(|entry| format!("{}: {}", entry.read.as_str(), entry.reason.as_str())).collect()
}

#[tokio::test]
async fn a_socket_takes_the_place_of_polling_and_polling_comes_back_without_it() {
    let (world, simulator, _) = world().await;
    let mut live = live(&world).await;
    let controller = world.controller(&simulator, slowly()).await;
    pushed(&simulator).await;
    sampled(&mut live, 3).await;
    let before = polls(&simulator);
    sampled(&mut live, 6).await;
    assert_eq!(polls(&simulator), before, "what is pushed is not polled");
    simulator.fault(Fault::new(FaultKind::Status { code: 503 }).on_path("/ws/ui").on_method("GET")).unwrap();
    simulator.fault(Fault::new(FaultKind::DropConnection).on_path("/ws/ui/lab_stats").on_method("PUSH")).unwrap();
    polled(&simulator, 3).await;
    simulator.clear_faults();
    pushed(&simulator).await;
    let observation = observed(&world, "s1", "r1").await;
    assert!(seconds_of_gaps(&observation).is_empty(), "{:?}", observation.profile);
    controller.stop().await;
}

#[tokio::test]
async fn one_socket_serves_all_labs_of_a_worker() {
    let (world, simulator, _) = world().await;
    for number in 2..6 {
        let lab = running_lab(&simulator, SMALL_LAB);
        world.add_session(&format!("s{number}"), "w1", lab.as_str(), None);
    }
    let mut live = live(&world).await;
    let controller = world.controller(&simulator, slowly()).await;
    pushed(&simulator).await;
    sampled(&mut live, 15).await;
    assert_eq!(simulator.open_sockets(), 1);
    assert!(samples(&observed(&world, "s4", "r1").await) >= 2);
    controller.stop().await;
}

#[tokio::test]
async fn a_socket_that_is_silent_is_given_up_and_polling_covers() {
    let (world, simulator, _) = world().await;
    let mut live = live(&world).await;
    let impatient = || ControllerOptions { socket_silence: Duration::from_secs(2), ..slowly() };
    let controller = world.controller(&simulator, impatient()).await;
    pushed(&simulator).await;
    sampled(&mut live, 3).await;
    simulator.reset_requests();
    simulator.fault(Fault::new(FaultKind::SilentSocket).on_path("/ws/ui/").on_method("PUSH")).unwrap();
    eventually("another socket is opened", || async { (simulator.requests().count("GET /ws/ui") > 0).then_some(()) })
        .await;
    polled(&simulator, 3).await;
    let observation = observed(&world, "s1", "r1").await;
    assert!(samples(&observation) >= 5, "{:?}", observation.profile);
    // On a machine that stands still the polls, too, are late.
    let reasons = [GapReason::SocketSilent, GapReason::WorkerSlow];
    let gaps = seconds_of_gaps(&observation);
    assert!(gaps.iter().all(|(_, reason)| reasons.contains(reason)), "{gaps:?}");
    simulator.clear_faults();
    let silent = samples(&observation);
    sampled(&mut crate::sampling::live(&world).await, 4).await;
    assert!(samples(&observed(&world, "s1", "r2").await) >= silent + 4);
    controller.stop().await;
}

#[tokio::test]
async fn a_token_that_expires_on_an_open_socket_is_replaced_once() {
    let (world, simulator, _) = world().await;
    let mut live = live(&world).await;
    let controller = world.controller(&simulator, slowly()).await;
    pushed(&simulator).await;
    sampled(&mut live, 3).await;
    simulator.reset_requests();
    simulator.expire_tokens();
    sampled(&mut live, 4).await;
    pushed(&simulator).await;
    assert!(simulator.requests().count("POST /api/v0/authenticate") <= 2, "{:?}", simulator.requests());
    assert!(seconds_of_gaps(&observed(&world, "s1", "r1").await).is_empty());
    controller.stop().await;
}

#[tokio::test]
async fn a_frame_that_is_too_large_or_cut_is_told_and_sampling_goes_on() {
    let (world, simulator, _) = world().await;
    let mut live = live(&world).await;
    let controller = world.controller(&simulator, slowly()).await;
    pushed(&simulator).await;
    sampled(&mut live, 3).await;
    for kind in [FaultKind::LargeFrame { bytes: 10_000_000 }, FaultKind::CutFrame, FaultKind::Truncate] {
        simulator.fault(Fault::new(kind).on_path("/ws/ui/lab_stats").on_method("PUSH").times(1)).unwrap();
        sampled(&mut live, 5).await;
    }
    let observation = observed(&world, "s1", "r1").await;
    assert!(samples(&observation) >= 15);
    let told = unreadable(&observation).join("; ");
    assert!(told.contains("exceeds 4194304 bytes") || told.contains("entries could not be read"), "{told}");
    controller.stop().await;
}

#[tokio::test]
async fn statistics_with_nonsense_lose_nothing_and_are_told() {
    let (world, simulator, lab) = world().await;
    // Both use all they have from now on: whenever they are sampled, their peak is the same.
    for label in ["R1", "R2"] {
        let all = RunawayOrder { cpu_percent: 1_000.0, ..RunawayOrder::for_seconds(86_400) };
        simulator.run_away(&lab, label, all).unwrap();
    }
    let mut live = live(&world).await;
    let controller = world.controller(&simulator, slowly()).await;
    pushed(&simulator).await;
    sampled(&mut live, 4).await;
    let before = observed(&world, "s1", "before").await;
    for defect in [
        StatisticsDefect::UnknownNodes,
        StatisticsDefect::Negative,
        StatisticsDefect::Null,
        StatisticsDefect::Absurd,
        StatisticsDefect::TimesOnly,
    ] {
        simulator.fault(Fault::new(FaultKind::Statistics { defect }).times(2)).unwrap();
        sampled(&mut live, 4).await;
    }
    let after = observed(&world, "s1", "after").await;
    assert!(samples(&after) > samples(&before));
    // Twice as many nodes, or figures beyond what a machine can have, would show.
    let (before, peak) = (peak_of_cores(&before), peak_of_cores(&after));
    assert!(before > 1.9 && (before..before * 1.01).contains(&peak), "{peak} after {before}");
    assert!(samples(&after) > 12, "{:?}", after.profile);
    let told = unreadable(&after).join("; ");
    assert!(told.contains("is no node of this lab"), "{told}");
    controller.stop().await;
}

#[tokio::test]
async fn a_clock_that_is_far_off_and_a_restart_change_no_time() {
    let (world, simulator, lab) = world().await;
    simulator.set_skew(TimeDelta::days(400)).unwrap();
    let mut live = live(&world).await;
    let controller = world.controller(&simulator, slowly()).await;
    pushed(&simulator).await;
    sampled(&mut live, 3).await;
    simulator.restart_node(&lab, "R1").unwrap();
    sampled(&mut live, 4).await;
    let observation = observed(&world, "s1", "r1").await;
    let profile = observation.profile.as_ref().unwrap();
    let now: DateTime<Utc> = bus::clock::Clock::system().now();
    assert!(profile.to().unwrap().at() <= now && now - profile.from().unwrap().at() < TimeDelta::hours(1));
    let restarts = |label: &str| {
        let node = observation.nodes.iter().find(|node| node.label.as_str() == label).unwrap();
        node.profile.as_ref().unwrap().restarts.unwrap().get()
    };
    assert_eq!((restarts("R1"), restarts("R2")), (1, 0));
    controller.stop().await;
}

#[tokio::test]
async fn a_lab_that_is_stopped_and_started_again_has_a_gap_and_another_boot() {
    let (world, simulator, lab) = world().await;
    let mut live = live(&world).await;
    let controller = world.controller(&simulator, slowly()).await;
    sampled(&mut live, 4).await;
    simulator.stop_lab(&lab).unwrap();
    // Two samples are missed at least, which makes a gap.
    for _ in 0..2 {
        while next_live(&mut live).await["reason"] != "lab_stopped" {}
    }
    simulator.start_lab(&lab).unwrap();
    sampled(&mut live, 4).await;
    let observation = observed(&world, "s1", "r1").await;
    let gaps = seconds_of_gaps(&observation);
    assert!(gaps.len() == 1 && gaps[0].1 == GapReason::LabStopped, "{gaps:?}");
    assert!(observation.profile.as_ref().unwrap().boot().is_some(), "{:?}", observation.profile);
    assert!(samples(&observation) >= 8);
    controller.stop().await;
}

#[tokio::test]
async fn a_session_that_moves_to_another_worker_keeps_what_it_used_and_counts_nothing_twice() {
    let (world, first, _) = world().await;
    let second = simulator(SimulatorOptions { api: ApiVersion::V2_10, ..quick() }).await;
    second.fault(Fault::new(FaultKind::Status { code: 404 }).on_path("/ws/ui")).unwrap();
    world.add_worker("w2", &second);
    let lab = running_lab(&second, SMALL_LAB);
    let mut live = live(&world).await;
    let controller = world.controller_of_all(&[&first, &second], slowly()).await;
    pushed(&first).await;
    sampled(&mut live, 4).await;
    let before = observed(&world, "s1", "before").await;
    world.add_session("s1", "w2", lab.as_str(), None);
    eventually("no socket is kept to the worker that it left", || async { (first.open_sockets() == 0).then_some(()) })
        .await;
    polled(&second, 4).await;
    let after = observed(&world, "s1", "after").await;
    let profile = after.profile.as_ref().unwrap();
    assert_eq!(profile.from(), before.profile.as_ref().unwrap().from(), "it is the same session");
    assert!(samples(&after) >= samples(&before) + 3, "{profile:?}");
    let peak = |observation: &ResourceObservation| peak_of_cores(observation);
    assert!(peak(&after) >= peak(&before));
    for label in ["R1", "R2"] {
        let node = after.nodes.iter().find(|node| node.label.as_str() == label).unwrap();
        assert!(node.profile.as_ref().unwrap().steady.unwrap().cpu_cores.is_some(), "{label}: {:?}", node.profile);
    }
    // Each second counts once, and what nobody saw is no more than what lies between.
    let counted: u64 = [profile.boot(), profile.steady()]
        .into_iter()
        .flatten()
        .filter_map(|phase| phase.seconds)
        .map(|s| s.get())
        .sum();
    let passed = (profile.to().unwrap().at() - profile.from().unwrap().at()).num_seconds();
    assert!(counted <= u64::try_from(passed).unwrap() + 1, "{counted} s in {passed} s");
    let share = after.coverage.as_ref().unwrap().sampled_share.unwrap().get();
    assert!(share > 0.0 && share <= 1.0, "{share}");
    controller.stop().await;
}

#[tokio::test]
async fn the_nodes_of_a_lab_are_asked_for_again_where_they_could_not_be_read() {
    let (world, simulator, _) = world().await;
    simulator.fault(Fault::new(FaultKind::Status { code: 404 }).on_path("/ws/ui")).unwrap();
    simulator.fault(Fault::new(FaultKind::InvalidBody).on_path("lab_element_state").times(1)).unwrap();
    let controller = world.controller(&simulator, slowly()).await;
    polled(&simulator, 1).await;
    eventually("the nodes are asked for again", || async {
        let asked = simulator.requests().count("GET /api/v0/labs/{id}/lab_element_state");
        (asked >= 2).then_some(())
    })
    .await;
    polled(&simulator, 1).await;
    let observation = observed(&world, "s1", "r1").await;
    assert!(samples(&observation) >= 1, "a lab whose nodes were not read is sampled all the same");
    controller.stop().await;
}

/// The greatest of boot and steady phase, as the simulator says that it produced it since `from`.
fn produced(simulator: &Simulator, lab: &str, from: DateTime<Utc>) -> [f64; 3] {
    let record = simulator.usage_record(lab, Some(from), None, Duration::from_secs(60)).unwrap();
    let phases: Vec<_> = [record.lab.boot, record.lab.steady].into_iter().flatten().collect();
    let peak = |of: fn(&simulator::PhaseUsage) -> f64| phases.iter().map(of).fold(0.0, f64::max);
    [
        peak(|phase| phase.cpu_percent.peak / 100.0),
        peak(|phase| phase.memory_mb.peak),
        peak(|phase| phase.storage_mb.peak),
    ]
}

/// Samples a lab from its boot on, and compares the peaks with what the simulator produced.
async fn compare_with_what_was_produced(api: ApiVersion, is_pushed: bool) {
    let nats = servers::testing::nats().await;
    let world = World::start(nats.url()).await;
    let sockets = SocketOptions { push_period: Duration::from_secs(1), ..SocketOptions::default() };
    let simulator = simulator(SimulatorOptions { sockets, api, ..quick() }).await;
    if !is_pushed {
        simulator.fault(Fault::new(FaultKind::Status { code: 404 }).on_path("/ws/ui")).unwrap();
    }
    world.add_worker("w1", &simulator);
    let lab = simulator.import(SMALL_LAB).unwrap();
    let from = simulator.now();
    simulator.start_lab(&lab).unwrap();
    world.add_session("s1", "w1", &lab, None);
    let mut live = live(&world).await;
    // A second is half a minute of the lab.
    let often = ControllerOptions { sampling_interval: Duration::from_secs(1), ..options() };
    let controller = world.controller(&simulator, often).await;
    sampled(&mut live, 40).await;
    let observation = observed(&world, "s1", "r1").await;
    let produced = produced(&simulator, &lab, from);
    let profile = observation.profile.as_ref().unwrap();
    let phases: Vec<_> = [profile.boot(), profile.steady()].into_iter().flatten().collect();
    let peak = |which: usize| {
        let spreads = phases.iter().filter_map(|phase| [phase.cpu_cores, phase.memory_mb, phase.storage_mb][which]);
        spreads.filter_map(|spread| spread.peak()).map(domain::Amount::get).max_by(f64::total_cmp)
    };
    let known = if api == ApiVersion::V2_10 { 3 } else { 1 };
    for (which, produced) in produced.iter().enumerate().take(known) {
        let found = peak(which).unwrap();
        assert!((found - produced).abs() <= produced * 0.01, "resource {which}: {found}, and {produced} was produced");
    }
    if api == ApiVersion::V2_9 {
        assert_eq!((peak(1), peak(2)), (None, None), "what 2.9 does not tell is unknown");
    }
    controller.stop().await;
}

#[tokio::test]
async fn polled_peaks_are_those_that_the_simulator_produced() {
    tokio::join!(
        compare_with_what_was_produced(ApiVersion::V2_9, false),
        compare_with_what_was_produced(ApiVersion::V2_10, false)
    );
}

#[tokio::test]
async fn pushed_peaks_are_those_that_the_simulator_produced() {
    tokio::join!(
        compare_with_what_was_produced(ApiVersion::V2_9, true),
        compare_with_what_was_produced(ApiVersion::V2_10, true)
    );
}
