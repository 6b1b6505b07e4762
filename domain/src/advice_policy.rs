//! How advice is given and applied, where a definition has no policy of its own.
//!
//! There is one such policy, of the id `default`. Nobody having set it, it is [`Policy::default`].

mod policy;
mod promise;

use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::policy::{Applier, HalfLife, Limits, Policy};
pub use self::promise::Promise;
use crate::decision::{self, Decide, Decision};
use crate::text::Prose;

/// The id of the one policy.
pub const DEFAULT_POLICY: &str = "default";

/// A policy as it arrives over HTTP or NATS, for a definition or as the default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NewPolicy {
    /// The policy; absent or null: as where nobody has set one.
    #[serde(default)]
    pub policy: Option<Policy>,
    /// Why.
    pub reason: Prose<1, 2_000>,
}

/// A policy with who set it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SetPolicy {
    /// The policy.
    pub policy: Policy,
    /// Who set it.
    pub set_by: String,
    /// When.
    pub set_at: DateTime<Utc>,
}

/// A command to the default policy.
#[derive(Debug, Clone, PartialEq)]
pub enum AdvicePolicyCommand {
    /// Put it in the place of the one before.
    Set {
        /// The policy, and why.
        new: NewPolicy,
        /// Who sets it, e.g. `admin:ada`.
        set_by: String,
        /// The time.
        now: DateTime<Utc>,
    },
}

/// What happened to the default policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum AdvicePolicyEvent {
    /// It was set.
    #[serde(rename = "advice_policy.set.v1")]
    Set {
        /// `default`.
        policy_id: String,
        /// The policy before; null: nobody had set one.
        before: Option<Policy>,
        /// The policy from now on; null: as where nobody has set one.
        policy: Option<Policy>,
        /// Why.
        reason: String,
        /// Who.
        set_by: String,
        /// When.
        set_at: DateTime<Utc>,
    },
}

impl DomainEvent for AdvicePolicyEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Set { .. } => "advice_policy.set",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        match self {
            Self::Set { .. } => "1",
        }
        .to_owned()
    }
}

/// Why the default policy refused a command: it refuses none.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AdvicePolicyError {}

/// State of the default policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AdvicePolicy {
    /// As it was set; `None`: nobody has.
    pub set: Option<SetPolicy>,
}

impl AdvicePolicy {
    /// The policy that applies.
    pub fn policy(&self) -> Policy {
        self.set.as_ref().map(|set| set.policy).unwrap_or_default()
    }
}

impl Decide for AdvicePolicy {
    const SNAPSHOT_SHAPE: i32 = 1;

    fn weight(&self) -> usize {
        size_of::<Self>() + self.set.as_ref().map_or(0, |set| set.set_by.len())
    }

    fn decide(&self, command: AdvicePolicyCommand) -> Result<Decision<AdvicePolicyEvent>, AdvicePolicyError> {
        let AdvicePolicyCommand::Set { new: NewPolicy { policy, reason }, set_by, now } = command;
        let before = self.set.as_ref().map(|set| set.policy);
        if before == policy {
            return Ok(Decision::AlreadyDone);
        }
        Ok(Decision::one(AdvicePolicyEvent::Set {
            policy_id: DEFAULT_POLICY.to_owned(),
            before,
            policy,
            reason: reason.into(),
            set_by,
            set_at: now,
        }))
    }
}

impl Aggregate for AdvicePolicy {
    const TYPE: &'static str = "advice_policy";
    type Command = AdvicePolicyCommand;
    type Event = AdvicePolicyEvent;
    type Error = AdvicePolicyError;
    type Services = ();

    async fn handle(&mut self, command: Self::Command, (): &(), sink: &EventSink<Self>) -> Result<(), Self::Error> {
        decision::handle(self, command, sink).await
    }

    fn apply(&mut self, event: AdvicePolicyEvent) {
        let AdvicePolicyEvent::Set { policy, set_by, set_at, .. } = event;
        self.set = policy.map(|policy| SetPolicy { policy, set_by, set_at });
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;
    use serde_json::json;

    use super::*;

    type Given = TestFramework<AdvicePolicy>;

    fn set(policy: Option<Policy>) -> AdvicePolicyCommand {
        let new = NewPolicy { policy, reason: Prose::parse("labs of exams must not be short").unwrap() };
        AdvicePolicyCommand::Set { new, set_by: "admin:ada".to_owned(), now: DateTime::UNIX_EPOCH }
    }

    fn was_set(before: Option<Policy>, policy: Option<Policy>) -> AdvicePolicyEvent {
        AdvicePolicyEvent::Set {
            policy_id: DEFAULT_POLICY.to_owned(),
            before,
            policy,
            reason: "labs of exams must not be short".to_owned(),
            set_by: "admin:ada".to_owned(),
            set_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_policy_is_set_once_and_given_up_again() {
        let careful: Policy = serde_json::from_value(json!({"promise": 0.97})).unwrap();
        Given::with(())
            .given_no_previous_events()
            .when(set(Some(careful)))
            .then_expect_events(vec![was_set(None, Some(careful))]);
        let given = || Given::with(()).given(vec![was_set(None, Some(careful))]);
        given().when(set(Some(careful))).then_expect_events(vec![]);
        given().when(set(None)).then_expect_events(vec![was_set(Some(careful), None)]);
        Given::with(()).given_no_previous_events().when(set(None)).then_expect_events(vec![]);
    }

    #[test]
    fn including_the_boot_is_another_policy_and_leaving_it_out_again_too() {
        let with_boot = Policy { include_boot: true, ..Policy::default() };
        let given = || Given::with(()).given(vec![was_set(None, Some(Policy::default()))]);
        given().when(set(Some(with_boot))).then_expect_events(vec![was_set(Some(Policy::default()), Some(with_boot))]);
        Given::with(())
            .given(vec![was_set(None, Some(with_boot))])
            .when(set(Some(Policy::default())))
            .then_expect_events(vec![was_set(Some(with_boot), Some(Policy::default()))]);
    }
}
