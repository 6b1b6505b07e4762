//! What a projector is: a name, a revision, the aggregates it follows, and a fold.

use app::log::{LogError, Position, RecordedEvent};
use chrono::{DateTime, Utc};
use domain::RawJson;
use domain::advice_policy::AdvicePolicyEvent;
use domain::demand::{ByResource, PhasePeaks};
use domain::evidence::{Contradiction, Evidence, NoEvidence};
use domain::lablet_definition::LabletDefinitionEvent;
use domain::lablet_session::LabletSessionEvent;
use domain::observation_summary::Contribution;
use domain::worker::WorkerEvent;
use uuid::Uuid;

use crate::refused::Refused;
use crate::table::AnyTable;
use crate::table::cell::Jsonb;

/// Kinds of aggregates that projectors follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregateKind {
    /// `lablet_session`
    Session,
    /// `lablet_definition`
    Definition,
    /// `worker`
    Worker,
    /// `advice_policy`
    AdvicePolicy,
}

impl AggregateKind {
    /// The kind with this name; `None` for those that no projector knows.
    pub fn from_type(aggregate_type: &str) -> Option<Self> {
        [Self::Session, Self::Definition, Self::Worker, Self::AdvicePolicy]
            .into_iter()
            .find(|kind| kind.as_str() == aggregate_type)
    }

    /// The aggregate type in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "lablet_session",
            Self::Definition => "lablet_definition",
            Self::Worker => "worker",
            Self::AdvicePolicy => "advice_policy",
        }
    }

    fn decode(self, recorded: &RecordedEvent) -> Result<Event, LogError> {
        Ok(match self {
            Self::Session => Event::Session(Box::new(recorded.decode_session_event()?)),
            Self::Definition => Event::Definition(Box::new(recorded.decode()?)),
            Self::Worker => Event::Worker(Box::new(recorded.decode()?)),
            Self::AdvicePolicy => Event::AdvicePolicy(Box::new(recorded.decode()?)),
        })
    }
}

/// An event of any aggregate.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Of a session.
    Session(Box<LabletSessionEvent>),
    /// Of a definition.
    Definition(Box<LabletDefinitionEvent>),
    /// Of a worker.
    Worker(Box<WorkerEvent>),
    /// Of the default policy of advice.
    AdvicePolicy(Box<AdvicePolicyEvent>),
    /// Of an aggregate that no projector knows.
    Foreign,
}

/// An event of the log, decoded once for all read models.
#[derive(Debug)]
pub struct Recorded {
    /// What happened, or why it cannot be understood.
    pub event: Result<Event, Refused>,
    /// Which aggregate's event it is; `None`: of one that no projector knows.
    pub kind: Option<AggregateKind>,
    /// The event as the log holds it, without its payload.
    pub log: RecordedEvent,
    /// Bytes of its payload.
    pub bytes: usize,
    /// What it contributes beside its ports, where it is an observation: of a large lab that takes its time.
    contributed: Option<Contributed>,
}

/// What an observation knows that lab and nodes needed.
#[derive(Debug)]
pub(crate) struct KnownDemands {
    /// The lab.
    pub(crate) lab: ByResource<PhasePeaks>,
    /// Each of its nodes, in their order.
    pub(crate) nodes: Vec<ByResource<PhasePeaks>>,
}

/// What an observation contributes, without the ports, which are in the event.
#[derive(Debug)]
struct Contributed {
    made_at: DateTime<Utc>,
    complete: Option<bool>,
    evidence: Evidence,
    contradictions: Vec<Contradiction>,
    no_evidence: Option<NoEvidence>,
    demands: KnownDemands,
}

impl Recorded {
    /// Decodes an event of the log.
    pub fn from_log(mut log: RecordedEvent) -> Self {
        let kind = AggregateKind::from_type(&log.aggregate_type);
        let event = match kind {
            Some(kind) => kind.decode(&log).map_err(|error| {
                let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                Refused::new(format!("it cannot be understood: {error}: {source}"))
            }),
            None => Ok(Event::Foreign),
        };
        let bytes = log.payload.bytes();
        log.payload = RawJson::null();
        Self { contributed: Contributed::from_event(&event), event, kind, log, bytes }
    }

    /// What the event contributes, where it is an observation.
    pub(crate) fn contribution(&self) -> Option<Contribution<'_>> {
        let Contributed { made_at, complete, evidence, contradictions, no_evidence, demands: _ } =
            self.contributed.as_ref()?;
        let Ok(Event::Session(event)) = &self.event else { return None };
        let LabletSessionEvent::ResourcesObserved {
            observed_ports,
            port_drift_detected,
            unallocated,
            renamed_ports,
            ..
        } = event.as_ref()
        else {
            return None;
        };
        Some(Contribution {
            made_at: *made_at,
            complete: *complete,
            evidence: *evidence,
            contradictions: contradictions.clone(),
            no_evidence: *no_evidence,
            drift_detected: *port_drift_detected,
            observed_ports: observed_ports.as_ref(),
            unallocated: unallocated.as_ref(),
            renamed_ports,
        })
    }

    /// What lab and nodes needed, where the event is an observation.
    pub(crate) fn demands(&self) -> Option<&KnownDemands> {
        self.contributed.as_ref().map(|contributed| &contributed.demands)
    }

    /// The event's id.
    pub fn event_id(&self) -> Uuid {
        self.log.event_id
    }

    /// The event's place among those of its aggregate, from 1.
    pub fn sequence(&self) -> i64 {
        self.log.sequence
    }

    /// Where it stands in the order of all events.
    pub fn position(&self) -> Position {
        self.log.position
    }
}

impl Contributed {
    fn from_event(event: &Result<Event, Refused>) -> Option<Self> {
        let Ok(Event::Session(event)) = event else { return None };
        let Contribution { made_at, complete, evidence, contradictions, no_evidence, .. } = event.contribution()?;
        let LabletSessionEvent::ResourcesObserved { observed_resources, .. } = event.as_ref() else { return None };
        let demands = KnownDemands {
            lab: observed_resources.known_demand(),
            nodes: observed_resources.known_node_demands().collect(),
        };
        Some(Self { made_at, complete, evidence, contradictions, no_evidence, demands })
    }
}

/// Whether an event meant anything to a projector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It changed rows.
    Changed,
    /// It is listed among those that the projector does not need.
    Ignored,
}

/// A value that has no JSON is a mistake of ours in a type, and no state of the database.
pub(crate) fn jsonb(value: &impl serde::Serialize) -> Result<Jsonb, Refused> {
    Jsonb::from_value(value).map_err(|error| Refused::new(format!("it has no JSON: {error}")))
}

/// The rows of a read model that a batch of events touches, and what events do to them.
///
/// A fold is a function of rows and event: no I/O, no clock. It looks before it changes: one that refuses has changed
/// nothing.
pub(crate) trait Fold: Send {
    /// The tables, in the order in which they are written.
    fn tables(&mut self) -> Vec<&mut dyn AnyTable>;

    /// Asks for the rows that the fold of an event needs.
    fn want(&mut self, event: &Event, recorded: &Recorded);

    /// Asks for further rows, which rows name that are loaded by now.
    fn want_by_rows(&mut self, _: &Event, _: &Recorded) {}

    /// Applies an event to the rows.
    fn fold(&mut self, event: &Event, recorded: &Recorded) -> Result<Applied, Refused>;
}

/// A read model.
pub(crate) struct Projector {
    /// As in `lablet rebuild NAME`.
    pub(crate) name: &'static str,
    /// The schema of its tables.
    pub(crate) schema: &'static str,
    /// Raised when the fold gives other rows: a runner with a higher revision rebuilds before it goes on.
    pub(crate) revision: i32,
    /// The aggregates whose events it wants.
    pub(crate) follows: &'static [AggregateKind],
    /// The table whose rows carry the `sequence` of their aggregate, with its kind, for `verify`.
    pub(crate) keyed_by: Option<(AggregateKind, &'static str)>,
    /// What an event costs it, in microseconds beyond reading and decoding, as docs/growing.md says: processes that divide the
    /// read models among themselves go by it.
    pub(crate) weight: u32,
    /// Makes tables without rows.
    pub(crate) rows: fn() -> Box<dyn Fold>,
}

impl Projector {
    /// Whether it wants this event.
    pub(crate) fn follows(&self, recorded: &Recorded) -> bool {
        recorded.kind.is_some_and(|kind| self.follows.contains(&kind))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::read_models::given::recorded;

    #[test]
    fn the_default_policy_of_advice_is_an_aggregate_that_read_models_may_follow() {
        let set = json!({"type": "advice_policy.set.v1", "policy_id": "default", "before": null, "policy": null,
                         "reason": "a trial", "set_by": "admin:ada", "set_at": "2026-03-01T10:00:00Z"});
        let recorded = recorded("default", 1, &set);
        assert_eq!(recorded.kind, Some(AggregateKind::AdvicePolicy));
        assert!(matches!(&recorded.event, Ok(Event::AdvicePolicy(_))), "{:?}", recorded.event);
    }
}
