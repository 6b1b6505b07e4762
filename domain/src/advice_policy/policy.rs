//! What an admin decides about advice: the promise, and the bounds within which a definition may be moved.

use crate::demand::ByResource;
use crate::phases::Phases;
use crate::{Amount, Invalid, Share, Whole};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::promise::Promise;
use crate::resource::Resource;

/// Most sessions that a policy may wait for.
const MOST_SESSIONS: u32 = 10_000;

/// Bounds of what is recommended of one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// No less than this: cores or MB.
    #[serde(default)]
    pub floor: Option<Amount>,
    /// No more than this: cores or MB.
    #[serde(default)]
    pub cap: Option<Amount>,
}

/// Who may apply a proposal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Applier {
    /// Admins.
    #[default]
    Admin,
    /// Operators and admins.
    Operator,
    /// Nobody needs to: it applies by itself, in the name of whoever wrote the policy.
    Automatic,
}

/// How advice is given and applied.
///
/// What is absent where it is sent is as in the default.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, try_from = "UncheckedPolicy")]
pub struct Policy {
    /// The share of future sessions to cover.
    pub promise: Promise,
    /// Sessions from which on a definition is judged.
    pub minimum_sessions: u32,
    /// Smaller changes are not proposed: a share of what is configured, and never less than one core or GB.
    pub minimum_change: Share,
    /// The share of what is configured by which one revision may move it; null: by any.
    pub largest_step: Option<Share>,
    /// Bounds of each resource.
    #[schemars(with = "UncheckedLimits")]
    pub limits: ByResource<Limits>,
    /// Who may apply what is proposed.
    pub applier: Applier,
    /// After so many days a session of the definition counts half; left out: each counts as much, however old it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_life_days: Option<HalfLife>,
    /// Whether a session needs the larger of the peaks of its steady and its boot phase; false, or left out: that of its steady
    /// phase.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub include_boot: bool,
}

/// Days after which a session counts half.
pub type HalfLife = Whole<u32, 1, 36_500>;

/// A policy as it is sent. What is absent is as in the default.
#[derive(Debug, Clone, Deserialize)]
struct UncheckedPolicy {
    #[serde(default)]
    promise: Promise,
    minimum_sessions: Option<u32>,
    minimum_change: Option<Share>,
    largest_step: Option<Share>,
    #[serde(default)]
    limits: UncheckedLimits,
    #[serde(default)]
    applier: Applier,
    half_life_days: Option<HalfLife>,
    #[serde(default)]
    include_boot: bool,
}

/// Bounds of each resource. What is absent has none.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[schemars(rename = "PolicyLimits")]
#[serde(default)]
struct UncheckedLimits {
    /// CPU, in cores.
    cpu_cores: Limits,
    /// Memory, in MB.
    memory_mb: Limits,
    /// Disk, in MB.
    storage_mb: Limits,
}

impl TryFrom<UncheckedPolicy> for Policy {
    type Error = Invalid;
    fn try_from(unchecked: UncheckedPolicy) -> Result<Self, Invalid> {
        let UncheckedLimits { cpu_cores, memory_mb, storage_mb } = unchecked.limits;
        let default = Self::default();
        let policy = Self {
            promise: unchecked.promise,
            minimum_sessions: unchecked.minimum_sessions.unwrap_or(default.minimum_sessions),
            minimum_change: unchecked.minimum_change.unwrap_or(default.minimum_change),
            largest_step: unchecked.largest_step,
            limits: ByResource { cpu_cores, memory_mb, storage_mb },
            applier: unchecked.applier,
            half_life_days: unchecked.half_life_days,
            include_boot: unchecked.include_boot,
        };
        policy.check().map(|()| policy)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            promise: Promise::default(),
            minimum_sessions: 3,
            minimum_change: Share::new(0.1).unwrap_or_default(),
            largest_step: None,
            limits: ByResource::default(),
            applier: Applier::default(),
            half_life_days: None,
            include_boot: false,
        }
    }
}

impl Policy {
    /// The phases over which it asks what was needed.
    pub fn phases(&self) -> Phases {
        Phases::including_boot(self.include_boot)
    }

    /// Whether its parts fit each other.
    ///
    /// # Errors
    /// [`Invalid`] that names the field.
    pub fn check(&self) -> Result<(), Invalid> {
        if !(1..=MOST_SESSIONS).contains(&self.minimum_sessions) {
            let expected = format!("a whole number from 1 to {MOST_SESSIONS}");
            return Err(Invalid::new("minimum_sessions", format!("is {}", self.minimum_sessions), expected));
        }
        if let Some(step) = self.largest_step
            && step < self.minimum_change
        {
            let problem = format!("is {}, below the minimum_change of {}", step.get(), self.minimum_change.get());
            return Err(Invalid::new("largest_step", problem, "a step that a change can have"));
        }
        for resource in Resource::ALL {
            let Limits { floor, cap } = *resource.part(&self.limits);
            if let Some((floor, cap)) = floor.zip(cap)
                && floor > cap
            {
                let problem = format!("is {}, above the cap of {}", floor.get(), cap.get());
                return Err(Invalid::new(
                    format!("limits.{}.floor", resource.as_str()),
                    problem,
                    "a floor up to the cap",
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn refused(policy: Value) -> String {
        serde_json::from_value::<Policy>(policy).unwrap_err().to_string()
    }

    #[test]
    fn what_is_absent_is_as_in_the_default() {
        let policy: Policy = serde_json::from_value(json!({"limits": {"memory_mb": {"cap": 4096}}})).unwrap();
        let memory_mb = Limits { floor: None, cap: Some(Amount::new(4096.0).unwrap()) };
        let limits = ByResource { memory_mb, ..ByResource::default() };
        assert_eq!(policy, Policy { limits, ..Policy::default() });
        assert_eq!(policy.minimum_change.get(), 0.1);
        let read: Policy = serde_json::from_value(serde_json::to_value(policy).unwrap()).unwrap();
        assert_eq!(read, policy);
    }

    #[test]
    fn the_boot_is_included_where_a_policy_says_so_and_an_earlier_event_says_nothing_of_it() {
        let with = |policy: Value| serde_json::from_value::<Policy>(policy).unwrap();
        let included = with(json!({"include_boot": true}));
        assert_eq!((included.phases(), with(json!({})).phases()), (Phases::WithBoot, Phases::Steady));
        let written = |policy: Policy| serde_json::to_value(policy).unwrap().get("include_boot").cloned();
        assert_eq!((written(included), written(Policy::default())), (Some(json!(true)), None));
        assert_eq!(with(serde_json::to_value(included).unwrap()), included);
        assert!(refused(json!({"include_boot": "yes"})).contains("expected a boolean"));
    }

    #[test]
    fn a_policy_that_contradicts_itself_is_refused_by_its_field() {
        let crossed = refused(json!({"limits": {"memory_mb": {"floor": 8192, "cap": 4096}}}));
        assert!(crossed.contains("limits.memory_mb.floor is 8192, above the cap of 4096"), "{crossed}");
        assert!(refused(json!({"promise": 1})).contains("is 1"), "{}", refused(json!({"promise": 1})));
        assert!(refused(json!({"promise": 0})).contains("a share above 0 and below 1"));
        assert!(refused(json!({"minimum_sessions": 0})).contains("minimum_sessions is 0"));
        assert!(refused(json!({"largest_step": 0.05})).contains("largest_step is 0.05"));
        assert!(refused(json!({"limits": {"cpu_cores": {"cap": -1}}})).contains("is -1"));
    }
}
