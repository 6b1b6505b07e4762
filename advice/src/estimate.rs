//! The amount that keeps a promise, with every step that led to it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::Base;
use crate::calibration::{CalibratedScore, Calibration};
use crate::fleet_moments::{FleetMoments, Prior};
use crate::largest::Trials;
use crate::method::Method;
use crate::own_past::OwnPast;
use crate::persistence::Persistence;
use crate::prediction::Prediction;
use crate::ratios::TopologyDemands;
use crate::scores::Scores;
use domain::advice_policy::Promise;
use domain::resource::Resource;

/// Everything that an estimate of one resource rests on: a handful of rows, however many sessions there were.
#[derive(Debug, Clone, Copy)]
pub struct Basis<'a> {
    /// The resource.
    pub resource: Resource,
    /// What the topology that is asked about is taken to need; `None`: nothing is known of one of its nodes.
    pub base: Option<&'a Base>,
    /// What CML gives its nodes; `None`: unknown.
    pub nominal: Option<f64>,
    /// The definition's sessions, by topology. Where there is no base, theirs count as 1.
    pub topologies: &'a [TopologyDemands],
    /// The moments of the fleet.
    pub moments: &'a FleetMoments,
    /// The scores of past advice, in the order of [`crate::scores::Bucket::ALL`].
    pub scores: &'a [Scores; 7],
    /// What stays of what sessions had in common.
    pub persistence: &'a Persistence,
    /// The definition's own past.
    pub own_past: &'a OwnPast,
    /// The steps that are taken.
    pub method: Method,
    /// The greatest demand of a session of this topology; `None`: there is none.
    pub largest: Option<f64>,
    /// After so many days a session counts half; `None`: each counts as much.
    pub half_life_days: Option<u32>,
    /// The definition's sessions whose demand is known, each counted as one.
    pub all_sessions: u64,
    /// How often the largest of some sessions covered one of another day.
    pub trials: &'a Trials,
}

/// The amount that keeps a promise, with every step that led to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    /// The share of future sessions to cover.
    pub promise: Promise,
    /// What the topology is taken to need; null: its nodes are unknown, and the definition's sessions stand for themselves.
    pub base: Option<Base>,
    /// What is expected of any definition.
    pub prior: Prior,
    /// What is expected of this one's next session.
    pub prediction: Prediction,
    /// How many spreads above that the promise needs.
    pub calibration: CalibratedScore,
    /// Whether the fleet has enough scores for the calibration to keep the promise whatever their distribution.
    pub is_calibrated: bool,
    /// base · exp(m + c · spread): cores or MB.
    pub computed: f64,
    /// The largest session, where it was above what was computed and there are too few scores to rely on that.
    pub raised_to_largest: Option<f64>,
    /// What CML gives the nodes, where that is less than what was computed.
    pub capped_by_nominal: Option<f64>,
    /// What keeps the promise: cores or MB.
    pub value: f64,
    /// After so many days a session counts half; left out: each counts as much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_life_days: Option<u32>,
    /// The definition's sessions whose demand is known, each counted as one.
    pub all_sessions: u64,
    /// As how many exchangeable sessions one counts where the largest is asked how much it covers: sessions of one day are
    /// alike.
    pub session_counts: f64,
    /// The confidence that the largest session needed as much as the promised share of all to come; null: there is none.
    pub largest_covers: Option<f64>,
}

impl Basis<'_> {
    /// What the estimate is made of, but for the promise. `None`: neither topology nor sessions say anything.
    fn parts(&self) -> Option<(Prior, Prediction, Calibration<'_>)> {
        let prior = self.moments.prior(self.resource);
        let prediction = if let Some(base) = self.base {
            Prediction::new(&prior, self.topologies).with_unknown(base.unknown_variance())
        } else {
            Prediction::alone(&prior, self.topologies)?
        };
        let recent = if self.method.follows_recent { self.own_past.recent() } else { 0.0 };
        let prediction = prediction.following(self.persistence.share() * recent);
        let calibration = Calibration::new(self.scores, prediction.sessions, prediction.degrees);
        Some((prior, prediction, calibration))
    }

    /// What is expected of the next session, and how its score is to be read.
    pub(crate) fn expectation(&self) -> Option<(Prediction, Calibration<'_>)> {
        self.parts().map(|(_, prediction, calibration)| (prediction, calibration))
    }

    /// The estimate for a promise. `None`: neither topology nor sessions say anything.
    pub fn estimate(&self, promise: Promise) -> Option<Estimate> {
        let (prior, prediction, calibration) = self.parts()?;
        let is_calibrated = calibration.is_calibrated();
        let share = promise.share();
        let level = if self.method.corrects_level { self.own_past.level(share) } else { share };
        let calibrated = calibration.score(level);
        let factor = (prediction.location + calibrated.score * prediction.spread).exp();
        let computed = self.base.map_or(factor, |base| base.times(factor));
        let rests_on_little = calibrated.rests_on_little();
        let raised = self.largest.filter(|largest| rests_on_little && *largest > computed);
        let wanted = raised.unwrap_or(computed);
        let capped = self.nominal.filter(|nominal| *nominal < wanted);
        Some(Estimate {
            promise,
            base: self.base.cloned(),
            prior,
            prediction,
            calibration: calibrated,
            is_calibrated,
            computed,
            raised_to_largest: raised,
            capped_by_nominal: capped,
            value: capped.unwrap_or(wanted),
            half_life_days: self.half_life_days,
            all_sessions: self.all_sessions,
            session_counts: self.trials.session_counts(),
            largest_covers: self.trials.confidence(prediction.sessions, share),
        })
    }
}
