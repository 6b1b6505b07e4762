//! What a lab used while it was sampled: from the first sample to the last, boot and steady phase apart.
//!
//! An observation is a snapshot. Its profile says what was between the snapshots, and how much of that was missed.
//! Amounts of a lab are sums over its nodes at one instant: the peak is that of the sum, not the sum of peaks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Count;
use crate::Invalid;
use crate::list::List;
use crate::number::{Amount, Whole};
use crate::time::BoundedTime;

/// Most gaps of one profile; of more, the longest are listed.
pub const MOST_GAPS: usize = 64;
/// By which part of the peak a percentile or mean may exceed it, as sketches of quantiles have an error.
const SKETCH_ERROR: f64 = 0.05;

/// What a lab used while it was sampled.
///
/// Invariant: it ends no earlier than it begins, its gaps lie within it, in order and apart, and there are amounts exactly
/// where there are samples.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "UncheckedProfile")]
pub struct Profile {
    /// When the first sample was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<BoundedTime>,
    /// When the last sample was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<BoundedTime>,
    /// Longest planned time between two samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interval_seconds: Option<IntervalSeconds>,
    /// Samples that were taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    samples: Option<Count>,
    /// Intervals without a sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missed_samples: Option<Count>,
    /// When samples were missed; of more than 64 gaps, the longest.
    #[serde(default, skip_serializing_if = "List::is_empty")]
    gaps: List<Gap, MOST_GAPS>,
    /// While a node that ran had not booted, or only just had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<PhaseProfile>,
    /// While every node that ran had booted a while ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    steady: Option<PhaseProfile>,
}

/// A time between two samples, in seconds: at most a day.
pub type IntervalSeconds = Whole<u32, 1, 86_400>;

/// The members of a profile, before the rules between them are checked.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct UncheckedProfile {
    /// When the first sample was taken.
    #[serde(default)]
    pub from: Option<BoundedTime>,
    /// When the last sample was taken.
    #[serde(default)]
    pub to: Option<BoundedTime>,
    /// Longest planned time between two samples.
    #[serde(default)]
    pub interval_seconds: Option<IntervalSeconds>,
    /// Samples that were taken.
    #[serde(default)]
    pub samples: Option<Count>,
    /// Intervals without a sample.
    #[serde(default)]
    pub missed_samples: Option<Count>,
    /// When samples were missed.
    #[serde(default)]
    pub gaps: List<Gap, MOST_GAPS>,
    /// The boot phase.
    #[serde(default)]
    pub boot: Option<PhaseProfile>,
    /// The steady phase.
    #[serde(default)]
    pub steady: Option<PhaseProfile>,
}

impl TryFrom<UncheckedProfile> for Profile {
    type Error = Invalid;
    fn try_from(unchecked: UncheckedProfile) -> Result<Self, Invalid> {
        let UncheckedProfile { from, to, interval_seconds, samples, missed_samples, gaps, boot, steady } = unchecked;
        check_order("to", from, to)?;
        let mut earliest = from;
        for (index, gap) in gaps.iter().enumerate() {
            check_order(&format!("gaps[{index}].from"), earliest, Some(gap.from))?;
            earliest = Some(gap.to);
        }
        if let (Some(to), Some(last)) = (to, gaps.last())
            && last.to > to
        {
            let problem = format!("is {:?}", last.to.at());
            let expected = format!("a time no later than the end of the profile, {:?}", to.at());
            return Err(Invalid::new(format!("gaps[{}].to", gaps.len() - 1), problem, expected));
        }
        match (samples.map(Count::get), boot.is_some() || steady.is_some()) {
            (Some(0), true) => {
                return Err(Invalid::new("samples", "is 0 beside amounts", "the number of samples that gave them"));
            }
            (Some(samples @ 1..), false) => {
                let problem = format!("is absent, as boot is, beside {samples} samples");
                return Err(Invalid::new("steady", problem, "amounts of boot or steady, or no samples"));
            }
            _ => {}
        }
        Ok(Self { from, to, interval_seconds, samples, missed_samples, gaps, boot, steady })
    }
}

/// Checks that `later` is not before `earlier`, where both are known.
fn check_order(field: &str, earlier: Option<BoundedTime>, later: Option<BoundedTime>) -> Result<(), Invalid> {
    match (earlier, later) {
        (Some(earlier), Some(later)) if later < earlier => {
            let expected = format!("a time no earlier than {:?}", earlier.at());
            Err(Invalid::new(field, format!("is {:?}", later.at()), expected))
        }
        _ => Ok(()),
    }
}

impl Profile {
    /// When the first sample was taken.
    pub fn from(&self) -> Option<BoundedTime> {
        self.from
    }

    /// When the last sample was taken.
    pub fn to(&self) -> Option<BoundedTime> {
        self.to
    }

    /// Longest planned time between two samples.
    pub fn interval_seconds(&self) -> Option<IntervalSeconds> {
        self.interval_seconds
    }

    /// Samples that were taken.
    pub fn samples(&self) -> Option<Count> {
        self.samples
    }

    /// Intervals without a sample.
    pub fn missed_samples(&self) -> Option<Count> {
        self.missed_samples
    }

    /// When samples were missed, in order; of more than 64 gaps, the longest.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// The boot phase.
    pub fn boot(&self) -> Option<&PhaseProfile> {
        self.boot.as_ref()
    }

    /// The steady phase.
    pub fn steady(&self) -> Option<&PhaseProfile> {
        self.steady.as_ref()
    }

    /// Whether no amount is known by it.
    pub fn says_nothing(&self) -> bool {
        [&self.boot, &self.steady].into_iter().flatten().all(PhaseProfile::says_nothing)
    }
}

/// A time without samples, and why.
///
/// Invariant: it ends no earlier than it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "UncheckedGap")]
pub struct Gap {
    /// When the last sample before it was taken.
    from: BoundedTime,
    /// When the first sample after it was taken.
    to: BoundedTime,
    /// Why there is none between.
    reason: GapReason,
}

#[derive(Deserialize)]
struct UncheckedGap {
    from: BoundedTime,
    to: BoundedTime,
    reason: GapReason,
}

impl TryFrom<UncheckedGap> for Gap {
    type Error = Invalid;
    fn try_from(UncheckedGap { from, to, reason }: UncheckedGap) -> Result<Self, Invalid> {
        Self::new(from, to, reason)
    }
}

impl Gap {
    /// A gap between these times.
    ///
    /// # Errors
    /// [`Invalid`] when it ends before it begins.
    pub fn new(from: BoundedTime, to: BoundedTime, reason: GapReason) -> Result<Self, Invalid> {
        check_order("to", Some(from), Some(to))?;
        Ok(Self { from, to, reason })
    }

    /// When the last sample before it was taken.
    pub fn from(&self) -> BoundedTime {
        self.from
    }

    /// When the first sample after it was taken.
    pub fn to(&self) -> BoundedTime {
        self.to
    }

    /// Why there is no sample between.
    pub fn reason(&self) -> GapReason {
        self.reason
    }
}

/// Why there are no samples of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// No controller sampled the session.
    ControllerAway,
    /// The worker could not be reached, or it answered that it cannot.
    WorkerAway,
    /// The worker did not answer in time, or is asked less often because it was slow.
    WorkerSlow,
    /// The worker does not let the controller in.
    AccessRefused,
    /// The worker answered what cannot be read, or more than is taken.
    Unreadable,
    /// The worker repeated what it had said before.
    Repeated,
    /// The open socket brought nothing.
    SocketSilent,
    /// The worker did not know the lab, or no node of it ran.
    LabStopped,
}

/// What was used in one phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseProfile {
    /// For how long samples of the phase were taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<Count>,
    /// Cores in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<Spread>,
    /// MB of memory in use. Controllers before 2.10 do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<Spread>,
    /// MB on disk. Controllers before 2.10 do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_mb: Option<Spread>,
}

impl PhaseProfile {
    /// Whether no amount is known by it.
    pub fn says_nothing(&self) -> bool {
        let Self { seconds: _, cpu_cores, memory_mb, storage_mb } = self;
        [cpu_cores, memory_mb, storage_mb].into_iter().flatten().all(Spread::says_nothing)
    }
}

/// How the amounts of one resource were spread.
///
/// Invariant: neither percentile nor mean exceeds the peak, but for the error of a sketch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "UncheckedSpread")]
pub struct Spread {
    /// The greatest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peak: Option<Amount>,
    /// The 95th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p95: Option<Amount>,
    /// The mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mean: Option<Amount>,
}

#[derive(Deserialize)]
struct UncheckedSpread {
    #[serde(default)]
    peak: Option<Amount>,
    #[serde(default)]
    p95: Option<Amount>,
    #[serde(default)]
    mean: Option<Amount>,
}

impl TryFrom<UncheckedSpread> for Spread {
    type Error = Invalid;
    fn try_from(UncheckedSpread { peak, p95, mean }: UncheckedSpread) -> Result<Self, Invalid> {
        Self::new(peak, p95, mean)
    }
}

impl Spread {
    /// A spread with these figures.
    ///
    /// # Errors
    /// [`Invalid`] when the percentile or the mean is above the peak, by more than a sketch errs.
    pub fn new(peak: Option<Amount>, p95: Option<Amount>, mean: Option<Amount>) -> Result<Self, Invalid> {
        if let Some(peak) = peak.map(Amount::get) {
            for (field, amount) in [("p95", p95), ("mean", mean)] {
                if let Some(amount) = amount.map(Amount::get)
                    && amount > peak * (1.0 + SKETCH_ERROR)
                {
                    return Err(Invalid::new(field, format!("is {amount}"), format!("at most the peak, {peak}")));
                }
            }
        }
        Ok(Self { peak, p95, mean })
    }

    /// The greatest.
    pub fn peak(&self) -> Option<Amount> {
        self.peak
    }

    /// The 95th percentile.
    pub fn p95(&self) -> Option<Amount> {
        self.p95
    }

    /// The mean.
    pub fn mean(&self) -> Option<Amount> {
        self.mean
    }

    /// Whether no figure is known.
    pub fn says_nothing(&self) -> bool {
        let Self { peak, p95, mean } = self;
        [peak, p95, mean].into_iter().all(Option::is_none)
    }
}

/// What one node used while it was sampled. Its phases are its own: a node that restarts boots while the others are steady.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeProfile {
    /// How often the node was seen to start again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<Count>,
    /// Until a while after it had booted, over all its boots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<PhaseProfile>,
    /// After that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steady: Option<PhaseProfile>,
}

impl NodeProfile {
    /// Whether no amount is known by it.
    pub fn says_nothing(&self) -> bool {
        let Self { restarts: _, boot, steady } = self;
        [boot, steady].into_iter().flatten().all(PhaseProfile::says_nothing)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn profile() -> Value {
        json!({
            "from": "2026-03-01T10:00:00Z", "to": "2026-03-01T11:00:00Z", "interval_seconds": 30, "samples": 110,
            "missed_samples": 10,
            "gaps": [{"from": "2026-03-01T10:20:00Z", "to": "2026-03-01T10:22:30Z", "reason": "worker_away"},
                     {"from": "2026-03-01T10:22:30Z", "to": "2026-03-01T10:25:00Z", "reason": "controller_away"}],
            "boot": {"seconds": 240, "cpu_cores": {"peak": 3.5, "p95": 3.25, "mean": 2.5}},
            "steady": {"seconds": 3060, "cpu_cores": {"peak": 1.5, "p95": 1.25, "mean": 0.5},
                       "memory_mb": {"peak": 1000, "p95": 990, "mean": 900}, "storage_mb": {"peak": 10}},
        })
    }

    fn refused(change: impl FnOnce(&mut Value)) -> String {
        let mut changed = profile();
        change(&mut changed);
        serde_json::from_value::<Profile>(changed).unwrap_err().to_string()
    }

    #[test]
    fn a_profile_is_written_as_it_was_read_and_each_member_may_be_absent() {
        let whole = profile();
        let read: Profile = serde_json::from_value(whole.clone()).unwrap();
        assert_eq!(serde_json::from_value::<Profile>(serde_json::to_value(&read).unwrap()).unwrap(), read);
        assert_eq!(read.steady().unwrap().storage_mb.unwrap().p95(), None, "unknown is not zero");
        assert!(!read.says_nothing());
        for name in whole.as_object().unwrap().keys() {
            let mut less = whole.clone();
            less.as_object_mut().unwrap().remove(name);
            assert!(serde_json::from_value::<Profile>(less).is_ok(), "without {name}");
        }
        let empty: Profile = serde_json::from_str("{}").unwrap();
        assert_eq!((empty.says_nothing(), serde_json::to_string(&empty).unwrap().as_str()), (true, "{}"));
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_field() {
        for (start, refusal) in [
            ("to is", refused(|p| p["to"] = json!("2026-03-01T09:59:59Z"))),
            ("p95 is 1.7; expected at most the peak, 1.5", refused(|p| p["steady"]["cpu_cores"]["p95"] = json!(1.7))),
            ("mean is 9; expected at most the peak, 1.5", refused(|p| p["steady"]["cpu_cores"]["mean"] = json!(9))),
            ("samples is 0 beside amounts", refused(|p| p["samples"] = json!(0))),
            (
                "steady is absent, as boot is, beside 110 samples",
                refused(|p| (p["boot"], p["steady"]) = (Value::Null, Value::Null)),
            ),
            ("gaps[0].from is", refused(|p| p["gaps"][0]["from"] = json!("2026-03-01T09:00:00Z"))),
            ("gaps[1].from is", refused(|p| p["gaps"][1]["from"] = json!("2026-03-01T10:22:00Z"))),
            ("gaps[1].to is", refused(|p| p["gaps"][1]["to"] = json!("2026-03-01T11:00:01Z"))),
            ("to is", refused(|p| p["gaps"][0]["to"] = json!("2026-03-01T10:19:00Z"))),
            ("is 0; expected a whole number from 1", refused(|p| p["interval_seconds"] = json!(0))),
            ("is -1", refused(|p| p["steady"]["cpu_cores"]["peak"] = json!(-1))),
        ] {
            assert!(refusal.trim_start().starts_with(start), "{refusal:?} is not {start:?}");
        }
        let many: Vec<Value> = (0..=MOST_GAPS).map(|_| profile()["gaps"][0].clone()).collect();
        assert!(refused(|p| p["gaps"] = many.into()).contains("has 65 entries"));
        let within_the_error = serde_json::from_value::<Spread>(json!({"peak": 1.0, "p95": 1.04}));
        assert!(within_the_error.is_ok(), "a sketch errs");
    }
}
