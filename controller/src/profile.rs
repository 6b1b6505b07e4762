//! What a session used so far: a bounded summary of its samples.
//!
//! Samples come in, a [`Profile`] of the lab and of each node can be had at any time. Times are those of this controller's
//! clock; of a worker's clock only durations count, so it does not matter how far off it is. A sample counts once: one that
//! repeats what was counted, or comes late, changes nothing.

mod distribution;
mod sample;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::live_sample::{NodeSample, Sample};
use domain::observation::{
    Count, FailedRead, Gap, GapReason, IntervalSeconds, MOST_GAPS, MOST_NODES, NodeProfile, Phase, PhaseProfile,
    Profile, ResourceObservation, UncheckedProfile,
};
use domain::time::BoundedTime;
use domain::{Invalid, List, Share};
use serde::{Deserialize, Serialize};

pub use self::distribution::{Distribution, MOST_BINS, RELATIVE_ERROR};
pub use self::sample::sample_from_stats;
use crate::observation::node_phase;

/// By how much two durations of a worker may differ that mean the same, and a duration from the time that passed here.
const CLOCK_SLACK_SECONDS: u64 = 5;
/// A frame that is later than this is no late one: the node started again.
const LATEST_FRAME_SECONDS: u64 = 120;
/// Form in which a summary is stored; another one is not read.
const STORED_FORM: u8 = 2;

/// What a session's lab used so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Longest planned time between two samples.
    interval_seconds: u32,
    /// How long after its boot a node counts as steady.
    settling_seconds: u64,
    /// Since when the session runs.
    running_since: DateTime<Utc>,
    /// When the session was found to run no longer.
    ended: Option<DateTime<Utc>>,
    /// Since when it is known what was used: the begin of the time that the first sample stands for.
    from: Option<DateTime<Utc>>,
    last: Option<DateTime<Utc>>,
    /// Until when the time is divided among samples: within a second of the last one.
    divided_until: Option<DateTime<Utc>>,
    samples: u64,
    missed: u64,
    /// The longest ones, in order.
    gaps: Vec<SummarizedGap>,
    /// Time in all gaps, beyond the interval that is between any two samples.
    gap_seconds: u64,
    /// Why there was no sample since the last one.
    reason: Option<GapReason>,
    /// Entries that could not be read, and one of them.
    unreadable: u64,
    unreadable_example: String,
    lab: Phases,
    nodes: BTreeMap<String, NodeSummary>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct SummarizedGap {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    reason: GapReason,
}

/// Amounts of the phases, apart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Phases {
    boot: PhaseSummary,
    steady: PhaseSummary,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct PhaseSummary {
    seconds: u64,
    cpu_cores: Distribution,
    memory_mb: Distribution,
    storage_mb: Distribution,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct NodeSummary {
    last: Option<DateTime<Utc>>,
    started_for: Option<u64>,
    disk_bytes: Option<u64>,
    /// Whether a change of its state was told, and since when it is booted.
    is_state_known: bool,
    booted_at: Option<DateTime<Utc>>,
    restarts: u64,
    phases: Phases,
}

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoldOutcome {
    /// It was counted for this phase, and stands for so many seconds.
    Counted { phase: Phase, seconds: u32 },
    /// It was taken before the last one.
    Late,
    /// It says nothing that could be counted.
    Missed(GapReason),
}

/// How much a reason says: that a worker is slow or away may follow from what is known better.
fn says(reason: GapReason) -> u8 {
    match reason {
        GapReason::ControllerAway => 0,
        GapReason::SocketSilent => 1,
        GapReason::WorkerSlow => 2,
        GapReason::WorkerAway => 3,
        GapReason::Repeated => 4,
        GapReason::Unreadable => 5,
        GapReason::AccessRefused => 6,
        GapReason::LabStopped => 7,
    }
}

impl Summary {
    /// The summary of a session that runs since `running_since` and of which nothing was sampled yet.
    pub fn new(running_since: DateTime<Utc>, interval: Duration, settling: Duration) -> Self {
        Self {
            interval_seconds: u32::try_from(interval.as_secs())
                .unwrap_or(u32::MAX)
                .clamp(1, IntervalSeconds::MOST as u32),
            settling_seconds: settling.as_secs(),
            running_since,
            ended: None,
            from: None,
            last: None,
            divided_until: None,
            samples: 0,
            missed: 0,
            gaps: Vec::new(),
            gap_seconds: 0,
            reason: None,
            unreadable: 0,
            unreadable_example: String::new(),
            lab: Phases::default(),
            nodes: BTreeMap::new(),
        }
    }

    /// When the last sample was counted.
    pub fn last(&self) -> Option<DateTime<Utc>> {
        self.last
    }

    /// Samples that were counted.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Adds a sample.
    pub fn fold(&mut self, sample: &Sample) -> FoldOutcome {
        if self.last.is_some_and(|last| sample.at <= last) {
            return FoldOutcome::Late;
        }
        if let Some((entries, example)) = &sample.unreadable {
            self.unreadable = self.unreadable.saturating_add(u64::from(*entries).saturating_sub(1));
            self.note_unreadable(example);
        }
        let phases = sample.nodes.iter().map(|(id, node)| self.phase_of(id, node, sample.at));
        let phase = phases.fold(Phase::Steady, |lab, node| match (lab, node) {
            (Phase::Boot, _) | (_, Phase::Boot) => Phase::Boot,
            (Phase::Unknown, _) | (_, Phase::Unknown) => Phase::Unknown,
            _ => Phase::Steady,
        });
        let reason = if sample.nodes.is_empty() && sample.unknown_nodes == 0 {
            Some(GapReason::LabStopped)
        } else if phase == Phase::Unknown || !sample.has_amounts() {
            Some(GapReason::Unreadable)
        } else if !sample.nodes.iter().any(|(id, node)| self.progress_of(id, node, sample.at).is_news()) {
            Some(GapReason::Repeated)
        } else {
            None
        };
        if let Some(reason) = reason {
            self.miss(reason);
            return FoldOutcome::Missed(reason);
        }
        self.close_gap(sample.at);
        let seconds = self.take_seconds_until(sample.at);
        for (id, node) in &sample.nodes {
            self.fold_node(id, node, sample.at, seconds);
        }
        self.lab.add(phase, sample.totals(), seconds);
        self.from.get_or_insert(sample.at - TimeDelta::seconds(seconds.into()));
        self.last = Some(sample.at);
        self.samples += 1;
        FoldOutcome::Counted { phase, seconds }
    }

    /// The time that a sample at `at` stands for: that since the last one, or since the session runs, and no longer than
    /// planned. What is lost and won by whole seconds goes to the next one, so that they add up to the time that passed.
    fn take_seconds_until(&mut self, at: DateTime<Utc>) -> u32 {
        let since = self.divided_until.unwrap_or(self.running_since);
        let nearest = ((at - since).num_milliseconds() + 500) / 1_000;
        let seconds = u32::try_from(nearest).unwrap_or(0).clamp(1, self.interval_seconds);
        let is_all = nearest <= i64::from(seconds);
        self.divided_until = Some(if is_all { since + TimeDelta::seconds(seconds.into()) } else { at });
        seconds
    }

    /// Notes that the session runs no longer: that it is not sampled after this is no gap.
    pub fn end(&mut self, at: DateTime<Utc>) {
        self.ended = Some(at);
    }

    /// Notes that the session runs after all.
    pub fn resume(&mut self) {
        self.ended = None;
    }

    /// Says why there is no sample now. It becomes a gap when there is none for longer than planned, with the reason that
    /// says most of several, in whatever order and how often they are given.
    pub fn miss(&mut self, reason: GapReason) {
        self.reason = self.reason.into_iter().chain([reason]).max_by_key(|reason| says(*reason));
    }

    /// Notes that something was not readable, e.g. `ws_ui: …`.
    pub fn note_unreadable(&mut self, example: &str) {
        self.unreadable = self.unreadable.saturating_add(1);
        if self.unreadable_example.is_empty() {
            example.clone_into(&mut self.unreadable_example);
        }
    }

    /// Notes that a node is in this state since `at`. It tells a node's phase where its times do not.
    pub fn note_state(&mut self, id: &str, state: &str, at: DateTime<Utc>) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.booted_at = (state == "BOOTED").then_some(at);
            node.is_state_known = true;
        }
    }

    fn phase_of(&self, id: &str, node: &NodeSample, at: DateTime<Utc>) -> Phase {
        let known = self.nodes.get(id).filter(|known| known.is_state_known);
        let by_state = || {
            let booted_at = known?.booted_at;
            Some(booted_at.map_or(0, |booted_at| u64::try_from((at - booted_at).num_seconds()).unwrap_or(0)))
        };
        node_phase(node.booted_for.or_else(by_state), Duration::from_secs(self.settling_seconds))
    }

    fn fold_node(&mut self, id: &str, node: &NodeSample, at: DateTime<Utc>, seconds: u32) {
        let (progress, phase) = (self.progress_of(id, node, at), self.phase_of(id, node, at));
        if !progress.is_news() || (self.nodes.len() >= MOST_NODES && !self.nodes.contains_key(id)) {
            return;
        }
        let known = self.nodes.entry(id.to_owned()).or_default();
        known.restarts += u64::from(progress == Progress::Restarted);
        known.last = Some(at);
        known.started_for = node.started_for;
        known.disk_bytes = node.disk_bytes;
        known.phases.add(phase, node.amounts(), seconds);
    }

    fn progress_of(&self, id: &str, node: &NodeSample, at: DateTime<Utc>) -> Progress {
        self.nodes.get(id).map_or(Progress::Further, |known| Progress::between(known, node, at))
    }

    /// Records the gap between the last sample and one at `at`, where there is one.
    fn close_gap(&mut self, at: DateTime<Utc>) {
        if let Some((gap, missed)) = self.open_gap(at) {
            self.missed = self.missed.saturating_add(missed);
            self.gap_seconds = self.gap_seconds.saturating_add(missed * u64::from(self.interval_seconds));
            self.gaps.push(gap);
            if self.gaps.len() > MOST_GAPS {
                let shortest = (0..self.gaps.len()).min_by_key(|at| self.gaps[*at].to - self.gaps[*at].from);
                shortest.map(|at| self.gaps.remove(at));
            }
        }
        self.reason = None;
    }

    /// The gap between the last sample and `at`, and how many samples were missed in it. Where nobody said why, nobody
    /// was there.
    fn open_gap(&self, at: DateTime<Utc>) -> Option<(SummarizedGap, u64)> {
        let from = self.last?;
        let interval = TimeDelta::seconds(self.interval_seconds.into());
        let (seconds, interval_seconds) = ((at - from).num_seconds(), interval.num_seconds());
        if (at - from) * 2 <= interval * 3 {
            return None;
        }
        let missed = u64::try_from((seconds + interval_seconds / 2) / interval_seconds - 1).unwrap_or(0).max(1);
        Some((SummarizedGap { from, to: at, reason: self.reason.unwrap_or(GapReason::ControllerAway) }, missed))
    }

    /// What the lab used until `now`. `None`: nothing was sampled.
    ///
    /// # Errors
    /// [`Invalid`] when it is more than an observation may hold.
    pub fn profile(&self, now: DateTime<Utc>) -> Result<Option<Profile>, Invalid> {
        let (Some(from), Some(last)) = (self.from, self.last) else { return Ok(None) };
        let now = self.ended.map_or(now, |ended| ended.min(now));
        let (mut gaps, mut missed, mut to) = (self.gaps.clone(), self.missed, last);
        if let Some((open, missed_now)) = self.open_gap(now) {
            to = now;
            missed = missed.saturating_add(missed_now);
            gaps.truncate(MOST_GAPS - 1);
            gaps.push(open);
        }
        let time = BoundedTime::nearest;
        let gaps: Vec<Gap> =
            gaps.iter().map(|gap| Gap::new(time(gap.from), time(gap.to), gap.reason)).collect::<Result<_, _>>()?;
        let unchecked = UncheckedProfile {
            from: Some(time(from)),
            to: Some(time(to)),
            interval_seconds: Some(IntervalSeconds::new(self.interval_seconds)?),
            samples: Some(Count::new(self.samples)?),
            missed_samples: Some(Count::new(missed)?),
            gaps: List::try_from(gaps)?,
            boot: self.lab.boot.profile()?,
            steady: self.lab.steady.profile()?,
        };
        Profile::try_from(unchecked).map(Some)
    }

    /// What one node used. `None`: nothing was sampled of it.
    ///
    /// # Errors
    /// [`Invalid`] when it is more than an observation may hold.
    pub fn node_profile(&self, id: &str) -> Result<Option<NodeProfile>, Invalid> {
        let Some(node) = self.nodes.get(id) else { return Ok(None) };
        let (boot, steady) = (node.phases.boot.profile()?, node.phases.steady.profile()?);
        Ok(Some(NodeProfile { restarts: Some(Count::new(node.restarts)?), boot, steady }))
    }

    /// Nodes of which samples were counted.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// How many entries of samples could not be read, with one of them. `None`: all could be.
    pub fn unreadable(&self) -> Option<(u64, &str)> {
        (self.unreadable > 0).then_some((self.unreadable, self.unreadable_example.as_str()))
    }

    /// Share of the time since the session began to run that was sampled.
    pub fn sampled_share(&self, now: DateTime<Utc>) -> Option<Share> {
        let now = self.ended.map_or(now, |ended| ended.min(now));
        let running = (now - self.running_since).num_seconds();
        let running = u64::try_from(running).ok().filter(|seconds| *seconds > 0)?;
        let sampled = match (self.from, self.last) {
            (Some(from), Some(last)) => {
                let between = u64::try_from((last - from).num_seconds()).unwrap_or(0);
                between.saturating_sub(self.gap_seconds)
            }
            _ => 0,
        };
        let share = f64::from(u32::try_from(sampled).unwrap_or(u32::MAX)) / f64::from(u32::try_from(running).ok()?);
        Share::new((share.min(1.0) * 1_000.0).round() / 1_000.0).ok()
    }

    /// Adds to an observation what the lab and its nodes used until `now`, and how much of it was sampled.
    ///
    /// # Errors
    /// [`Invalid`] when it is more than an observation may hold; the observation is then as it was.
    pub fn add_to(&self, observation: &mut ResourceObservation, now: DateTime<Utc>) -> Result<(), Invalid> {
        let mut coverage = observation.coverage.clone().unwrap_or_default();
        coverage.sampled_share = self.sampled_share(now);
        let mut unreadable = Vec::from(coverage.unreadable_entries);
        if let Some((entries, example)) = self.unreadable() {
            unreadable
                .push(FailedRead::new("samples", &format!("{entries} entries could not be read, e.g. {example}")));
        }
        let known: BTreeSet<&str> = observation.nodes.iter().map(|node| node.node_id.as_str()).collect();
        let mut strangers = self.nodes.keys().filter(|id| !known.contains(id.as_str()));
        if let Some(first) = strangers.next() {
            let reason = format!("{} nodes are not of this lab, e.g. {first}", strangers.count() + 1);
            unreadable.push(FailedRead::new("samples.nodes", &reason));
        }
        coverage.unreadable_entries = List::first(unreadable);
        let profile = self.profile(now).map_err(|invalid| invalid.within("profile"))?.map(Box::new);
        let mut nodes = Vec::from(observation.nodes.clone());
        for node in &mut nodes {
            node.profile = self.node_profile(node.node_id.as_str())?.map(Box::new);
        }
        observation.nodes = List::try_from(nodes)?;
        (observation.profile, observation.coverage) = (profile, Some(coverage));
        Ok(())
    }

    /// The summary as it is stored.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_extend(self, vec![STORED_FORM])
    }

    /// A stored summary. `None`: it is of another form, or none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (form, rest) = bytes.split_first()?;
        (*form == STORED_FORM).then(|| postcard::from_bytes(rest).ok()).flatten()
    }
}

/// What a node's sample is to the last one of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Further,
    Restarted,
    Repeated,
    Late,
}

impl Progress {
    fn is_news(self) -> bool {
        matches!(self, Self::Further | Self::Restarted)
    }

    /// The one rule for durations and counters that go backwards.
    ///
    /// The time since the node started tells where it is known. The same again is a repetition. Less is a late frame, unless
    /// the node can have started since the last sample, or the difference is larger than any frame is late. Where it is not
    /// known, the bytes of the disk tell: they only grow while a node runs.
    fn between(known: &NodeSummary, node: &NodeSample, at: DateTime<Utc>) -> Self {
        if let (Some(before), Some(after)) = (known.started_for, node.started_for) {
            let passed = known.last.map_or(0, |last| u64::try_from((at - last).num_seconds()).unwrap_or(0));
            return match before {
                _ if after > before => Self::Further,
                _ if after == before => Self::Repeated,
                _ if after <= passed + CLOCK_SLACK_SECONDS || before - after > LATEST_FRAME_SECONDS => Self::Restarted,
                _ => Self::Late,
            };
        }
        match (known.disk_bytes, node.disk_bytes) {
            (Some(before), Some(after)) if after < before => Self::Restarted,
            _ => Self::Further,
        }
    }
}

impl Phases {
    fn add(&mut self, phase: Phase, amounts: [Option<f64>; 3], seconds: u32) {
        let summary = match phase {
            Phase::Boot => &mut self.boot,
            Phase::Steady => &mut self.steady,
            Phase::Stopped | Phase::Unknown => return,
        };
        summary.seconds = summary.seconds.saturating_add(seconds.into());
        let parts = [&mut summary.cpu_cores, &mut summary.memory_mb, &mut summary.storage_mb];
        for (distribution, amount) in parts.into_iter().zip(amounts) {
            if let Some(amount) = amount {
                distribution.add(amount, seconds);
            }
        }
    }
}

impl PhaseSummary {
    /// `None`: the phase was not sampled.
    fn profile(&self) -> Result<Option<PhaseProfile>, Invalid> {
        if self.seconds == 0 {
            return Ok(None);
        }
        Ok(Some(PhaseProfile {
            seconds: Some(Count::new(self.seconds.min(Count::MOST))?),
            cpu_cores: self.cpu_cores.spread()?,
            memory_mb: self.memory_mb.spread()?,
            storage_mb: self.storage_mb.spread()?,
        }))
    }
}
