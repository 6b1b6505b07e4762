//! What led to an event, and what came of it.
//!
//! An event names the message that led to it, which mostly is a command and no event of the log. What else connects two
//! events is said by what they are about: a request and its outcome, an observation and the drift that it found, a
//! revision and its evidence. All of it is found by keys that are there anyway; no index over what events name exists,
//! as every append would pay for it.

use app::log::HistoryPage;
use domain::lablet_definition::LabletDefinitionEvent;
use domain::lablet_session::LabletSessionEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::session_history::EventRow;
use crate::projector::AggregateKind;
use crate::{Projections, ReadError};

/// Most events that are named as causes, and as effects.
const MOST_RELATED: usize = 100;

/// What led to an event, and what came of it, as far as events tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventRelations {
    /// The event.
    pub event_id: Uuid,
    /// The message that led to it, where what it names as its cause is no event of the log: the id of a command.
    pub message_id: Option<String>,
    /// Events that led to it, in their order.
    pub causes: Vec<RelatedEvent>,
    /// Events that came of it, in their order.
    pub effects: Vec<RelatedEvent>,
    /// What a revision names as its evidence and is no event of the log.
    pub unknown_evidence: Vec<String>,
    /// True: there are more than are named.
    pub cut: bool,
}

/// An event that is connected with another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RelatedEvent {
    /// What it is to the other.
    pub relation: Relation,
    /// The event, without what happened.
    #[serde(flatten, deserialize_with = "crate::page::flattened")]
    pub event: EventRow,
}

/// What an event is to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// The event that it names as its cause.
    Cause,
    /// The request that it answers.
    Request,
    /// The observation that found the drift.
    Observation,
    /// What the revision rests on.
    Evidence,
    /// It names the event as its cause.
    Effect,
    /// The request's outcome.
    Outcome,
    /// The drift that the observation found.
    Drift,
    /// A revision of the definition that rests on the event.
    Revision,
}

/// Ids of events with what they are to another.
type Links = Vec<(Relation, Uuid)>;

impl Projections {
    /// What led to an event, and what came of it. The event has to be one with its data.
    ///
    /// # Errors
    /// The log or the database does not answer.
    pub async fn event_relations(&self, event: &EventRow) -> Result<EventRelations, ReadError> {
        let (mut causes, mut effects): (Links, Links) = (Vec::new(), Vec::new());
        let mut unknown_evidence = Vec::new();
        let named = event.metadata.causation_id.as_deref();
        causes.extend(named.and_then(|id| id.parse().ok()).map(|id| (Relation::Cause, id)));
        match AggregateKind::from_type(&event.aggregate_type) {
            Some(AggregateKind::Session) => self.link_session(event, &mut causes, &mut effects).await?,
            Some(AggregateKind::Definition) => {
                let revised: Option<LabletDefinitionEvent> = domain::stored::read(event.data.text()).ok();
                if let Some(LabletDefinitionEvent::Revised { evidence, .. }) = revised {
                    for id in evidence {
                        match id.as_str().parse() {
                            Ok(id) => causes.push((Relation::Evidence, id)),
                            Err(_) => unknown_evidence.push(id.to_string()),
                        }
                    }
                }
            }
            Some(AggregateKind::Worker | AggregateKind::AdvicePolicy) | None => {}
        }
        let most = i64::try_from(MOST_RELATED + 1).unwrap_or(i64::MAX);
        let id = event.event_id.to_string();
        let caused = self.log.caused_by(&event.aggregate_type, &event.aggregate_id, event.sequence, &id, most).await?;
        effects.extend(caused.iter().map(|caused| (Relation::Effect, caused.event_id)));

        let cut = causes.len() > MOST_RELATED || effects.len() > MOST_RELATED;
        causes.truncate(MOST_RELATED);
        effects.truncate(MOST_RELATED);
        let causes_found = self.look_up(&causes).await?;
        let found = |id: &Uuid| causes_found.iter().any(|related| related.event.event_id == *id);
        unknown_evidence.extend(
            causes
                .iter()
                .filter(|(relation, id)| *relation == Relation::Evidence && !found(id))
                .map(|(_, id)| id.to_string()),
        );
        let message_id = named.filter(|id| !id.parse().is_ok_and(|id| found(&id))).map(ToOwned::to_owned);
        let effects = self.look_up(&effects).await?;
        Ok(EventRelations {
            event_id: event.event_id,
            message_id,
            causes: causes_found,
            effects,
            unknown_evidence,
            cut,
        })
    }

    async fn link_session(&self, event: &EventRow, causes: &mut Links, effects: &mut Links) -> Result<(), ReadError> {
        // One that this version cannot read is connected by its metadata only.
        let Ok(happened) = domain::stored::read::<LabletSessionEvent>(event.data.text()) else { return Ok(()) };
        let session_id = &happened.ids().session_id;
        match &happened {
            LabletSessionEvent::ObserveResourcesRequested { request_id, .. } => {
                let request = self.observation_request(session_id, request_id).await?;
                effects.extend(request.and_then(|row| row.outcome_event_id).map(|id| (Relation::Outcome, id)));
            }
            LabletSessionEvent::ResourcesObserved { request_id, .. }
            | LabletSessionEvent::ObservationFailed { request_id, .. } => {
                if let Some(request_id) = request_id {
                    let request = self.observation_request(session_id, request_id).await?;
                    causes.extend(request.map(|row| (Relation::Request, row.requested_event_id)));
                }
                if matches!(happened, LabletSessionEvent::ResourcesObserved { .. }) {
                    let drift = self.neighbour(event, false, "lablet_session.port_drift_detected").await?;
                    effects.extend(drift.map(|id| (Relation::Drift, id)));
                }
            }
            LabletSessionEvent::PortDriftDetected { .. } => {
                let observation = self.neighbour(event, true, "lablet_session.resources_observed").await?;
                causes.extend(observation.map(|id| (Relation::Observation, id)));
            }
            LabletSessionEvent::AllocationCorrected { evidence, .. } => {
                let observation = evidence.as_ref().and_then(|id| id.as_str().parse().ok());
                causes.extend(observation.map(|id| (Relation::Evidence, id)));
            }
            LabletSessionEvent::Created { .. }
            | LabletSessionEvent::Scheduled(_)
            | LabletSessionEvent::Instantiating(_)
            | LabletSessionEvent::Ready(_)
            | LabletSessionEvent::Running(_)
            | LabletSessionEvent::Collecting(_)
            | LabletSessionEvent::Grading(_)
            | LabletSessionEvent::Stopping(_)
            | LabletSessionEvent::Stopped(_)
            | LabletSessionEvent::Archived(_)
            | LabletSessionEvent::Terminated(_)
            | LabletSessionEvent::Expired(_)
            | LabletSessionEvent::EvidenceExcluded { .. }
            | LabletSessionEvent::EvidenceIncluded { .. }
            | LabletSessionEvent::PortDriftAcknowledged { .. }
            | LabletSessionEvent::PortDriftAcknowledgementWithdrawn { .. } => {}
        }
        let revisions = sqlx::query_scalar!(
            "SELECT event_id FROM read_definitions.revisions
              WHERE definition_id = $1 AND evidence @> jsonb_build_array($2::text) ORDER BY revision LIMIT $3",
            happened.ids().definition_id.as_str(),
            event.event_id.to_string(),
            i64::try_from(MOST_RELATED + 1).unwrap_or(i64::MAX)
        )
        .fetch_all(&self.reads)
        .await?;
        effects.extend(revisions.into_iter().map(|id| (Relation::Revision, id)));
        Ok(())
    }

    /// The event right before or right after another, if it is of this type: drift is recorded right after the
    /// observation that found it, with the same command.
    async fn neighbour(&self, event: &EventRow, before: bool, event_type: &str) -> Result<Option<Uuid>, ReadError> {
        let page = HistoryPage { newest_first: before, beyond: Some(event.sequence), payloads: false, limit: 1 };
        let next = self.log.history_page(&event.aggregate_type, &event.aggregate_id, page).await?;
        Ok(next.events.first().filter(|next| next.event_type == event_type).map(|next| next.event_id))
    }

    /// The linked events that the log knows, in their order, each under its first relation.
    async fn look_up(&self, links: &Links) -> Result<Vec<RelatedEvent>, ReadError> {
        if links.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Uuid> = links.iter().map(|(_, id)| *id).collect();
        let events = self.log.events_without_payload(&ids).await?;
        let related = events.into_iter().filter_map(|event| {
            let (relation, _) = links.iter().find(|(_, id)| *id == event.event_id)?;
            Some(RelatedEvent { relation: *relation, event: event.into() })
        });
        Ok(related.collect())
    }
}
