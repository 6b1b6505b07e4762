//! Samples in, profiles out.

use chrono::SubsecRound as _;
use domain::observation::Spread;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::cml::answers;

const INTERVAL: u32 = 30;
const SETTLING: u64 = 60;

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_772_000_000, 0).unwrap()
}

fn at(seconds: i64) -> DateTime<Utc> {
    start() + TimeDelta::seconds(seconds)
}

fn summary() -> Summary {
    Summary::new(start(), Duration::from_secs(INTERVAL.into()), Duration::from_secs(SETTLING))
}

/// A node that started `started` seconds ago and took 100 seconds to boot.
fn node(started: u64, cpu_cores: f64) -> NodeSample {
    NodeSample {
        started_for: Some(started),
        booted_for: Some(started.saturating_sub(100)),
        cpu_cores: Some(cpu_cores),
        memory_mb: Some(cpu_cores * 100.0),
        storage_mb: None,
        disk_bytes: Some(started * 1_000),
    }
}

fn sample(seconds: i64, nodes: &[(&str, NodeSample)]) -> Sample {
    let nodes = nodes.iter().map(|(id, node)| ((*id).to_owned(), *node)).collect();
    Sample { at: at(seconds), nodes, unknown_nodes: 0, unreadable: None }
}

fn figures(spread: Option<Spread>) -> [f64; 3] {
    let spread = spread.unwrap();
    [spread.peak(), spread.p95(), spread.mean()].map(|amount| amount.unwrap().get())
}

fn gaps(profile: &Profile) -> Vec<(i64, i64, GapReason)> {
    let seconds = |time: BoundedTime| (time.at() - start()).num_seconds();
    profile.gaps().iter().map(|gap| (seconds(gap.from()), seconds(gap.to()), gap.reason())).collect()
}

/// Samples every interval from 30 s to `end`, of a lab that started with the session.
fn sampled_until(end: i64) -> Summary {
    let mut summary = summary();
    for seconds in (30..=end).step_by(30) {
        let age = u64::try_from(seconds).unwrap();
        summary.fold(&sample(seconds, &[("a", node(age, 0.5))]));
    }
    summary
}

#[test]
fn the_peak_of_a_lab_is_that_of_the_sum_and_boot_and_steady_are_apart() {
    let mut summary = summary();
    // They boot one after the other: the sum of their peaks is never used.
    for (seconds, a, b) in [(30, 2.0, 0.1), (60, 0.5, 1.8), (300, 0.2, 0.1), (330, 0.1, 0.4)] {
        let age = u64::try_from(seconds).unwrap();
        let counted = summary.fold(&sample(seconds, &[("a", node(age, a)), ("b", node(age, b))]));
        let phase = if seconds < 160 { Phase::Boot } else { Phase::Steady };
        assert!(matches!(counted, FoldOutcome::Counted { phase: counted, .. } if counted == phase));
    }
    let profile = summary.profile(at(330)).unwrap().unwrap();
    let boot = profile.boot().unwrap();
    assert_eq!(figures(boot.cpu_cores)[0], 2.3);
    assert_eq!(figures(boot.memory_mb)[0], 230.0);
    assert_eq!((boot.seconds.unwrap().get(), boot.storage_mb), (60, None), "what nobody tells is unknown, not zero");
    let [peak, p95, mean] = figures(profile.steady().unwrap().cpu_cores);
    assert_eq!((peak, mean), (0.5, 0.4));
    assert!((0.49..=0.5).contains(&p95), "{p95}");
    let b = summary.node_profile("b").unwrap().unwrap();
    assert_eq!(figures(b.boot.unwrap().cpu_cores)[0], 1.8);
    assert_eq!(figures(b.steady.unwrap().cpu_cores)[0], 0.4);
    assert_eq!(summary.node_profile("c").unwrap(), None);
}

#[test]
fn a_sample_stands_for_the_time_since_the_last_one_and_no_longer_than_planned() {
    let mut summary = summary();
    let mut seconds = Vec::new();
    // The session begins, a socket pushes every 3.3 s, then nothing comes for two minutes.
    for milliseconds in [4_000, 7_300, 10_600, 13_900, 17_200, 137_200] {
        let at = start() + TimeDelta::milliseconds(milliseconds);
        let age = u64::try_from(milliseconds / 1_000).unwrap();
        match summary.fold(&Sample { at, ..sample(0, &[("a", node(age + 500, 0.5))]) }) {
            FoldOutcome::Counted { seconds: counted, .. } => seconds.push(counted),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seconds, [4, 3, 4, 3, 3, INTERVAL], "17 s passed, and two minutes of which one interval is known");
    let profile = summary.profile(at(138)).unwrap().unwrap();
    assert_eq!(profile.from().unwrap().at(), start(), "the first sample stands for the time since the session runs");
    assert_eq!(profile.steady().unwrap().seconds.unwrap().get(), 47);
    assert_eq!(summary.node_profile("a").unwrap().unwrap().steady.unwrap().seconds.unwrap().get(), 47);
}

#[test]
fn samples_that_come_a_little_early_and_late_add_up_to_the_time_that_passed() {
    let mut summary = summary();
    // Pushed every second, now just before it is full and now just after.
    for second in 1..=60 {
        let off = TimeDelta::milliseconds(if second % 2 == 0 { -2 } else { 2 });
        let age = u64::try_from(second + 500).unwrap();
        summary.fold(&Sample { at: at(second) + off, ..sample(0, &[("a", node(age, 0.5))]) });
    }
    let profile = summary.profile(at(60)).unwrap().unwrap();
    assert_eq!(profile.steady().unwrap().seconds.unwrap().get(), 60);
}

#[test]
fn of_a_lab_with_an_unknown_part_the_sum_is_unknown_and_the_known_nodes_are_counted() {
    let mut summary = summary();
    let silent = NodeSample { cpu_cores: None, ..node(500, 0.0) };
    summary.fold(&sample(500, &[("a", node(500, 0.5)), ("b", silent)]));
    let profile = summary.profile(at(500)).unwrap().unwrap();
    assert_eq!(profile.steady().unwrap().cpu_cores, None);
    assert_eq!(figures(summary.node_profile("a").unwrap().unwrap().steady.unwrap().cpu_cores)[0], 0.5);
}

#[test]
fn a_repeated_or_late_frame_changes_nothing() {
    let mut summary = sampled_until(300);
    let before = summary.clone();
    assert_eq!(summary.fold(&sample(300, &[("a", node(300, 9.0))])), FoldOutcome::Late, "the same time");
    assert_eq!(summary.fold(&sample(270, &[("a", node(290, 9.0))])), FoldOutcome::Late);
    assert_eq!(summary, before);
    // The worker says again what it said, or what it had said before that, at a later time.
    for age in [300, 270] {
        let missed = summary.fold(&sample(303, &[("a", node(age, 9.0))]));
        assert_eq!(missed, FoldOutcome::Missed(GapReason::Repeated));
    }
    assert_eq!(summary.profile(at(303)).unwrap(), before.profile(at(303)).unwrap());
    assert_eq!(summary.node_profile("a").unwrap(), before.node_profile("a").unwrap());
}

#[test]
fn a_node_that_starts_again_boots_again_and_its_counters_may_go_backwards() {
    let mut summary = sampled_until(300);
    for (seconds, age) in [(330, 10), (360, 40), (390, 70)] {
        let folded = summary.fold(&sample(seconds, &[("a", node(age, 1.5))]));
        assert_eq!(folded, FoldOutcome::Counted { phase: Phase::Boot, seconds: 30 });
    }
    let profile = summary.node_profile("a").unwrap().unwrap();
    assert_eq!(profile.restarts.unwrap().get(), 1);
    assert_eq!(figures(profile.boot.unwrap().cpu_cores)[0], 1.5);
    assert_eq!(figures(profile.steady.unwrap().cpu_cores)[0], 0.5);
    // Where times are missing, the disk's counters tell.
    let without_times = |bytes| NodeSample { started_for: None, disk_bytes: Some(bytes), ..node(500, 0.1) };
    for (seconds, bytes) in [(420, 5_000), (450, 6_000), (480, 10)] {
        summary.fold(&sample(seconds, &[("a", without_times(bytes))]));
    }
    assert_eq!(summary.node_profile("a").unwrap().unwrap().restarts.unwrap().get(), 3);
}

#[test]
fn gaps_have_their_reason_and_count_what_was_missed() {
    let mut summary = sampled_until(300);
    summary.miss(GapReason::WorkerSlow);
    summary.miss(GapReason::WorkerAway);
    summary.fold(&sample(420, &[("a", node(420, 0.5))]));
    // Nobody says why: no controller was there.
    summary.fold(&sample(600, &[("a", node(600, 0.5))]));
    summary.miss(GapReason::WorkerAway);
    // A sample that is a little late is no gap.
    summary.fold(&sample(644, &[("a", node(644, 0.5))]));
    let profile = summary.profile(at(660)).unwrap().unwrap();
    assert_eq!(gaps(&profile), [(300, 420, GapReason::WorkerAway), (420, 600, GapReason::ControllerAway)]);
    assert_eq!((profile.samples().unwrap().get(), profile.missed_samples().unwrap().get()), (13, 8));
    // One that is open is told too, and is none once a sample comes.
    summary.miss(GapReason::SocketSilent);
    let open = summary.profile(at(744)).unwrap().unwrap();
    assert_eq!(gaps(&open)[2], (644, 744, GapReason::SocketSilent));
    assert_eq!(
        summary.sampled_share(at(744)).unwrap().get(),
        0.543,
        "of 744 s, 614 s and an interval, less 8 missed ones"
    );
}

#[test]
fn of_very_many_gaps_the_longest_are_listed_and_all_are_counted() {
    let mut summary = summary();
    let mut seconds = 30;
    for round in 0..200_i64 {
        seconds += 60 + round % 7 * 30;
        summary.fold(&sample(seconds, &[("a", node(u64::try_from(seconds).unwrap(), 0.5))]));
    }
    let profile = summary.profile(at(seconds + 600)).unwrap().unwrap();
    assert_eq!(profile.gaps().len(), MOST_GAPS);
    assert!(profile.missed_samples().unwrap().get() > 700);
}

#[test]
fn a_lab_that_is_stopped_and_started_again_keeps_what_was_gathered() {
    let mut summary = sampled_until(300);
    for seconds in [330, 360, 390] {
        assert_eq!(summary.fold(&sample(seconds, &[])), FoldOutcome::Missed(GapReason::LabStopped));
    }
    summary.fold(&sample(420, &[("a", node(20, 3.0))]));
    let profile = summary.profile(at(420)).unwrap().unwrap();
    assert_eq!(gaps(&profile), [(300, 420, GapReason::LabStopped)]);
    assert_eq!(figures(profile.boot().unwrap().cpu_cores)[0], 3.0);
    assert_eq!(profile.samples().unwrap().get(), 11);
    assert_eq!(summary.node_profile("a").unwrap().unwrap().restarts.unwrap().get(), 1);
}

fn from_answer(answer: serde_json::Value, at: DateTime<Utc>) -> Sample {
    let reading = answers::stats(answer).unwrap();
    let unreadable = reading.unreadable.first().map(|first| {
        (
            u32::try_from(reading.unreadable.len()).unwrap(),
            format!("{}: {}", first.read.as_str(), first.reason.as_str()),
        )
    });
    sample_from_stats(&reading.value, unreadable, at)
}

#[test]
fn percentages_of_both_versions_become_cores_and_mb_and_absurd_ones_are_unknown() {
    let times = json!({"QUEUED": 3, "STARTED": 400, "BOOTED": 300});
    let answer = json!({"nodes": {
        "v29": {"cpu_usage": 100.04, "block0_rd_bytes": 7, "block0_wr_bytes": 5, "times": times},
        "v210": {"cpu_usage": 150.0, "cpus": 2, "ram_usage": 25.0, "ram": 2048, "disk_usage": 700, "is_running": true, "times": times},
        "beyond": {"cpu_usage": 350.0, "cpus": 2, "ram_usage": 140.0, "ram": 2048, "disk_usage": -3, "times": times},
        "null": {"cpu_usage": null, "ram_usage": "a lot", "times": times},
        "connector": {"times": {"QUEUED": 1, "STARTED": 0, "BOOTED": 0}, "is_running": false},
        "queued": {"times": {"QUEUED": 9, "STARTED": 0, "BOOTED": 0}},
        "no object": 5, "nothing": null,
    }});
    let sample = from_answer(answer, start());
    let amounts = |id: &str| sample.nodes[id].amounts();
    assert_eq!(sample.nodes.len(), 4, "{:?}", sample.nodes);
    assert_eq!(amounts("v29"), [Some(1.0004), None, None]);
    assert_eq!(amounts("v210"), [Some(1.5), Some(512.0), Some(700.0)]);
    assert_eq!((amounts("beyond"), amounts("null")), ([None; 3], [None; 3]));
    assert_eq!(sample.nodes["v29"].disk_bytes, Some(12));
    let (entries, example) = sample.unreadable.clone().unwrap();
    assert_eq!(entries, 3, "{example}");
}

#[test]
fn nodes_that_are_not_of_the_lab_do_not_count_and_are_told() {
    let mut sample = sample(30, &[("a", node(500, 0.5)), ("stranger", node(500, 9.0))]);
    sample.keep_only(&std::collections::BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    let mut summary = summary();
    summary.fold(&sample);
    assert_eq!(summary.nodes().collect::<Vec<&str>>(), ["a"]);
    assert_eq!(figures(summary.profile(at(30)).unwrap().unwrap().steady().unwrap().cpu_cores)[0], 0.5);
    assert_eq!(summary.unreadable(), Some((1, "stranger is no node of this lab")));
}

#[test]
fn nodes_of_which_nothing_is_known_are_not_taken_for_stopped() {
    let mut summary = sampled_until(300);
    let nothing = json!({"a": {"cpu_usage": null, "times": {"STARTED": null, "BOOTED": null}}, "b": {}});
    let folded = summary.fold(&from_answer(json!({ "nodes": nothing }), at(330)));
    assert_eq!(folded, FoldOutcome::Missed(GapReason::Unreadable));
}

#[test]
fn times_alone_are_no_sample_and_are_told() {
    let times = json!({"QUEUED": 3, "STARTED": 400, "BOOTED": 300});
    let mut summary = sampled_until(300);
    let folded = summary.fold(&from_answer(json!({"nodes": {"a": {"times": times}}}), at(400)));
    assert_eq!(folded, FoldOutcome::Missed(GapReason::Unreadable));
    assert_eq!(gaps(&summary.profile(at(400)).unwrap().unwrap()), [(300, 400, GapReason::Unreadable)]);
}

/// A number that differs from call to call, from 0 to below 1.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(self.0 >> 33).unwrap()) / f64::from(1_u32 << 31)
    }
}

#[test]
fn three_hundred_nodes_for_eight_hours_fit_in_one_megabyte_stored_and_in_memory() {
    let mut dice = Dice(7);
    let mut summary = summary();
    let ids: Vec<String> = (0..300).map(|index| format!("6d583887-a109-4df2-b7fe-45c27379{index:04}")).collect();
    for seconds in (10..8 * 3600_i64).step_by(10) {
        let age = u64::try_from(seconds).unwrap();
        let nodes = ids.iter().enumerate().map(|(index, id)| {
            // Idle, at work or running away; memory that drifts and disks that grow.
            let load = if dice.roll() < 0.02 { 1.0 } else { 0.02 + 0.1 * dice.roll() * dice.roll() };
            let boot = age < 100 + u64::try_from(index).unwrap();
            let cores = if boot { 0.2 + 0.8 * dice.roll() } else { load };
            let sample = NodeSample {
                memory_mb: Some(512.0 + 200.0 * dice.roll()),
                storage_mb: Some(1_000.0 + f64::from(u32::try_from(age).unwrap()) / 10.0),
                ..node(age, cores)
            };
            (id.clone(), sample)
        });
        let nodes = nodes.collect();
        summary.fold(&Sample { at: at(seconds), nodes, unknown_nodes: 0, unreadable: None });
    }
    let stored = summary.to_bytes().unwrap();
    let distributions = |phases: &Phases| {
        let of_phase = |phase: &PhaseSummary| {
            [&phase.cpu_cores, &phase.memory_mb, &phase.storage_mb].map(Distribution::heap_bytes).iter().sum::<usize>()
        };
        of_phase(&phases.boot) + of_phase(&phases.steady)
    };
    // A B-tree's leaf holds its entries in place; half of them may be unused.
    let entry = 2 * (size_of::<String>() + size_of::<NodeSummary>());
    let memory: usize =
        summary.nodes.iter().map(|(id, node)| entry + id.capacity() + distributions(&node.phases)).sum();
    eprintln!("stored: {} bytes; in memory: {memory} bytes", stored.len());
    assert!(stored.len() < 1_000_000 && memory < 1_000_000, "stored {}, in memory {memory}", stored.len());
    assert_eq!(Summary::from_bytes(&stored).unwrap(), summary);
}

#[test]
fn what_is_no_stored_summary_is_not_read() {
    let stored = sampled_until(300).to_bytes().unwrap();
    assert!(Summary::from_bytes(&[]).is_none() && Summary::from_bytes(&stored[..stored.len() / 2]).is_none());
    let mut other_form = stored;
    other_form[0] = 9;
    assert!(Summary::from_bytes(&other_form).is_none());
}

prop_compose! {
    fn any_node()(
        started_for in option::of(0_u64..4_000), booted_for in option::of(0_u64..4_000),
        cpu_cores in option::of(prop_oneof![0.0..8.0_f64, any::<f64>()]), memory_mb in option::of(any::<f64>()),
        storage_mb in option::of(0.0..1e9_f64), disk_bytes in option::of(any::<u64>()),
    ) -> NodeSample {
        NodeSample { started_for, booted_for, cpu_cores, memory_mb, storage_mb, disk_bytes }
    }
}

prop_compose! {
    fn any_sample()(
        seconds in 0_i64..4_000, nodes in proptest::collection::btree_map("[a-c]", any_node(), 0..4),
    ) -> Sample {
        Sample { at: at(seconds), nodes, unknown_nodes: 0, unreadable: None }
    }
}

proptest! {
    #[test]
    fn whatever_is_sampled_the_profile_is_one_that_may_be_reported(samples in vec(any_sample(), 0..60), end in 0_i64..5_000) {
        let mut summary = summary();
        samples.iter().for_each(|sample| { summary.fold(sample); });
        let end = at(end).max(summary.last().unwrap_or(start()));
        let profile = summary.profile(end).unwrap();
        prop_assert_eq!(profile.is_some(), summary.samples() > 0);
        if let Some(profile) = profile {
            let text = serde_json::to_string(&profile).unwrap();
            prop_assert_eq!(serde_json::from_str::<Profile>(&text).unwrap(), profile);
        }
        for id in ["a", "b", "c"] {
            prop_assert!(summary.node_profile(id).is_ok());
        }
        prop_assert!(summary.sampled_share(end).is_none_or(|share| (0.0..=1.0).contains(&share.get())));
    }

    #[test]
    fn going_on_from_what_was_stored_is_as_if_nothing_had_happened(
        samples in vec(any_sample(), 0..60), cut in any::<prop::sample::Index>(),
    ) {
        let mut samples = samples;
        samples.sort_by_key(|sample| sample.at);
        let cut = cut.index(samples.len() + 1);
        let mut whole = summary();
        samples.iter().for_each(|sample| { whole.fold(sample); });
        let mut first = summary();
        samples[..cut].iter().for_each(|sample| { first.fold(sample); });
        let mut second = Summary::from_bytes(&first.to_bytes().unwrap()).unwrap();
        // Some were counted already: they are heard again.
        samples[cut.saturating_sub(5)..].iter().for_each(|sample| { second.fold(sample); });
        prop_assert_eq!(second.to_bytes().unwrap(), whole.to_bytes().unwrap());
    }
}

#[test]
fn times_are_kept_as_they_are() {
    let precise = start() + TimeDelta::microseconds(123_456);
    let mut summary = Summary::new(precise, Duration::from_secs(30), Duration::from_secs(60));
    summary.fold(&Sample { at: precise, ..sample(0, &[("a", node(500, 0.5))]) });
    let stored = Summary::from_bytes(&summary.to_bytes().unwrap()).unwrap();
    assert_eq!(stored.last(), Some(precise.trunc_subsecs(6)));
}
