//! What the newest observed sessions of a definition say together.

use app::log::Position;
use chrono::{DateTime, Utc};
use domain::demand::{ByResource, Demand};
use domain::evidence::{Contradiction, NoEvidence};
use domain::lablet_definition::DefinitionVersion;
use domain::{DefinitionId, SessionId, WorkerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;
use uuid::Uuid;

use crate::page::{self, Listed};
use crate::parked;
use crate::read_models::demands;
use crate::{Parked, Projections, ReadError, ReadModel, UnreadableRow};

/// Most sessions that are added up.
pub const MOST_SESSIONS: u32 = 1_000;

/// The newest observed sessions of a definition, and what they say together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionObservations {
    /// The definition.
    pub definition_id: DefinitionId,
    /// Observations of these sessions.
    pub observation_count: u64,
    /// The sessions, the most recently observed first.
    pub sessions: Vec<ObservedSession>,
    /// What they say together.
    pub aggregate: Aggregate,
    /// Sessions that are among them and whose rows cannot be read: they are not counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<UnreadableRow>,
    /// Sessions of the definition of which later observations could not be taken in: they are not counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<Parked>,
}

/// A session that was observed, with the newest number that was known of each quantity. Null: never known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObservedSession {
    /// The session.
    pub session_id: SessionId,
    /// The version that the definition's author gave it.
    pub definition_version: DefinitionVersion,
    /// The definition's revision when the session was created.
    pub definition_revision: u32,
    /// The worker on which the lab ran.
    pub worker_id: Option<WorkerId>,
    /// Its observations.
    pub observation_count: u64,
    /// When the newest one was made.
    pub observed_at: DateTime<Utc>,
    /// The event of the newest one.
    pub observed_event_id: Uuid,
    /// Whether the newest one saw everything; null: its sender did not say.
    pub complete: Option<bool>,
    /// Nominal cores.
    pub cpu_cores: Option<f64>,
    /// The event that said so.
    pub cpu_cores_event_id: Option<Uuid>,
    /// Nominal MB of memory.
    pub memory_mb: Option<f64>,
    /// The event that said so.
    pub memory_mb_event_id: Option<Uuid>,
    /// Measured MB on disk.
    pub storage_mb: Option<f64>,
    /// The event that said so.
    pub storage_mb_event_id: Option<Uuid>,
    /// What it needed of each resource: its peaks, by samples or, marked as such, by snapshots.
    pub resources: ByResource<Demand<Uuid>>,
    /// Number of nodes.
    pub node_count: Option<u64>,
    /// The event that said so.
    pub node_count_event_id: Option<Uuid>,
    /// Whether the ports drifted, by the newest observation that could tell.
    pub port_drift_detected: Option<bool>,
    /// The event that said so.
    pub port_drift_event_id: Option<Uuid>,
    /// Position of its newest observation.
    pub position: Position,
    /// Totals of the newest one that are not the sums of their own nodes; they count nowhere here.
    #[serde(default)]
    pub contradictions: Vec<Contradiction>,
    /// Why the newest one as a whole counts nowhere here; null: it does.
    #[serde(default)]
    pub no_evidence: Option<NoEvidence>,
}

/// What several sessions say together. Each counts once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Aggregate {
    /// Nominal cores.
    pub cpu_cores: Spread<f64>,
    /// Nominal MB of memory.
    pub memory_mb: Spread<f64>,
    /// Measured MB on disk.
    pub storage_mb: Spread<f64>,
    /// Number of nodes.
    pub node_count: Spread<u64>,
    /// Sessions whose ports drifted.
    pub port_drift_sessions: u64,
    /// Sessions of whose ports nothing is known.
    pub port_drift_unknown_sessions: u64,
}

/// One quantity over several sessions. Sessions that do not know it are left out, and counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spread<T> {
    /// The greatest; null: no session knows it.
    pub max: Option<T>,
    /// The event that the greatest comes from.
    pub max_event_id: Option<Uuid>,
    /// The mean; null: no session knows it.
    pub avg: Option<f64>,
    /// Of the most recently observed session that knows it.
    pub latest: Option<T>,
    /// The event that the latest comes from.
    pub latest_event_id: Option<Uuid>,
    /// Sessions that know it.
    pub known_sessions: u64,
    /// Sessions that do not.
    pub unknown_sessions: u64,
}

impl<T: Copy + PartialOrd> Spread<T> {
    /// Over sessions from the newest to the oldest.
    fn over(values: impl Iterator<Item = (Option<T>, Option<Uuid>)>, as_float: impl Fn(T) -> f64) -> Self {
        let mut spread = Self {
            max: None,
            max_event_id: None,
            avg: None,
            latest: None,
            latest_event_id: None,
            known_sessions: 0,
            unknown_sessions: 0,
        };
        let mut sum = 0.0;
        let mut known = 0.0;
        for (value, event_id) in values {
            let Some(value) = value else {
                spread.unknown_sessions += 1;
                continue;
            };
            spread.known_sessions += 1;
            known += 1.0;
            sum += as_float(value);
            if spread.latest.is_none() {
                spread.latest = Some(value);
                spread.latest_event_id = event_id;
            }
            if spread.max.is_none_or(|max| value > max) {
                spread.max = Some(value);
                spread.max_event_id = event_id;
            }
        }
        spread.avg = (spread.known_sessions > 0).then(|| sum / known);
        spread
    }
}

impl Aggregate {
    /// Over sessions from the newest to the oldest.
    pub fn over(sessions: &[ObservedSession]) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a lab has at most some thousand nodes")]
        let float = |count: u64| count as f64;
        let count = |wanted: Option<bool>| {
            sessions.iter().filter(|session| session.port_drift_detected == wanted).map(|_| 1).sum()
        };
        Self {
            cpu_cores: Spread::over(sessions.iter().map(|s| (s.cpu_cores, s.cpu_cores_event_id)), |value| value),
            memory_mb: Spread::over(sessions.iter().map(|s| (s.memory_mb, s.memory_mb_event_id)), |value| value),
            storage_mb: Spread::over(sessions.iter().map(|s| (s.storage_mb, s.storage_mb_event_id)), |value| value),
            node_count: Spread::over(sessions.iter().map(|s| (s.node_count, s.node_count_event_id)), float),
            port_drift_sessions: count(Some(true)),
            port_drift_unknown_sessions: count(None),
        }
    }
}

impl Projections {
    /// The most recently observed sessions of a definition, at most `limit` of them (1 to [`MOST_SESSIONS`]), and what
    /// they say together. Of a definition that does not exist: none.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn definition_observations(
        &self,
        id: &DefinitionId,
        limit: u32,
    ) -> Result<DefinitionObservations, ReadError> {
        let mut query = QueryBuilder::new(page::select_with_parked(
            "session_id",
            "position",
            &parked::anything_column(ReadModel::Observations),
        ));
        query.push(format!(
            "
                 SELECT o.session_id, o.definition_version, o.definition_revision, o.worker_id, o.observation_count,
                        o.observed_at, o.observed_event_id, o.complete, o.cpu_cores, o.cpu_cores_event_id, o.memory_mb,
                        o.memory_mb_event_id, o.storage_mb, o.storage_mb_event_id, o.node_count, o.node_count_event_id,
                        o.port_drift_detected, o.port_drift_event_id, o.position, o.contradictions, o.no_evidence, {}
                   FROM (SELECT * FROM read_observations.observed_sessions WHERE definition_id = ",
            demands::resources("d")
        ));
        query.push_bind(id.as_str().to_owned());
        query.push(" ORDER BY observed_at DESC, position DESC LIMIT ");
        query.push_bind(i64::from(limit.clamp(1, MOST_SESSIONS)));
        query.push(
            ") o LEFT JOIN read_demands.sessions d ON d.session_id = o.session_id
               ORDER BY o.observed_at DESC, o.position DESC) r",
        );
        let rows = self.rows("observed_sessions", query).await?;
        // Where rows say that nothing is parked, nothing has to be asked.
        let parked = match rows.first() {
            Some(row) if !row.is_something_parked => Vec::new(),
            Some(_) | None => self.parked_sessions_of(id).await?,
        };
        let Listed { items: sessions, unreadable }: Listed<ObservedSession> = Listed::from_rows(rows);
        Ok(DefinitionObservations {
            definition_id: id.clone(),
            observation_count: sessions.iter().map(|session| session.observation_count).sum(),
            aggregate: Aggregate::over(&sessions),
            sessions,
            unreadable,
            parked,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(values: &[Option<f64>]) -> Spread<f64> {
        Spread::over(values.iter().map(|value| (*value, value.map(|_| Uuid::nil()))), |value| value)
    }

    #[test]
    fn what_is_unknown_is_left_out_and_counted() {
        let spread = values(&[None, Some(2.0), Some(4.0), None]);
        assert_eq!((spread.max, spread.avg, spread.latest), (Some(4.0), Some(3.0), Some(2.0)));
        assert_eq!((spread.known_sessions, spread.unknown_sessions), (2, 2));
    }

    #[test]
    fn where_nothing_is_known_nothing_is_zero() {
        let spread = values(&[None]);
        assert_eq!((spread.max, spread.avg, spread.latest), (None, None, None));
        assert_eq!(values(&[]).avg, None);
    }
}
