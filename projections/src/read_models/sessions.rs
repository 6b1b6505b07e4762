//! Sessions as a board and in detail, with allocated beside observed ports.

mod filter;
mod fold;
mod list;
pub mod port_map;
mod sort;
mod status_counts;
mod titles;
mod worker_load;

use app::log::{Position, RecordedEvent};
use chrono::{DateTime, Utc};
use domain::demand::ByResource;
use domain::lablet_definition::DefinitionVersion;
use domain::lablet_session::SessionStatus;
use domain::observation::ResourceObservation;
use domain::port_drift::{DriftState, PortDrift};
use domain::ports::{PortMap, PortName, PortNumber};
use domain::timeslot::Timeslot;
use domain::{DefinitionId, LabId, SessionId, WorkerId, stored};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

pub use filter::{DriftFilter, SessionFilter, SessionTime, SessionUnknown};
pub use port_map::{Allocation, HeldPort, PortHolder, WorkerPorts};
pub use sort::SessionSort;
pub use status_counts::{MOST_COUNTED, StatusCount, StatusCounts};
pub use titles::{SessionTitle, SessionTitles};
pub use worker_load::{Load, WorkerLoad};

use crate::names;
use crate::page::{self, Listed};
use crate::parked;
use crate::projector::{AggregateKind, Projector};
use crate::{Parked, Projections, ReadError, UnreadableRow};

/// A session, without what was observed of its nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionRow {
    /// The session.
    pub id: SessionId,
    /// Its definition.
    pub definition_id: DefinitionId,
    /// The definition's name; null: its read model does not show it yet.
    #[serde(default)]
    pub definition_name: Option<String>,
    /// The version that the definition's author gave it.
    pub definition_version: DefinitionVersion,
    /// The definition's revision when the session was created.
    pub definition_revision: u32,
    /// For whom.
    pub owner_id: Option<String>,
    /// Where it is in its life.
    pub status: SessionStatus,
    /// Why it came there, where someone said so.
    pub status_reason: Option<String>,
    /// When it came there.
    pub status_since: DateTime<Utc>,
    /// Its worker.
    pub worker_id: Option<WorkerId>,
    /// The worker's name; null: there is none, or its read model does not show it yet.
    #[serde(default)]
    pub worker_name: Option<String>,
    /// Its lab on the worker.
    pub cml_lab_id: Option<LabId>,
    /// What that lab is called in CML, by the newest observation that could tell; null: unknown.
    #[serde(default)]
    pub lab_title: Option<String>,
    /// Ports allocated to it; null: nothing was allocated.
    pub allocated_ports: Option<PortMap>,
    /// Ports of the newest observation that could read the tags; null: none could yet.
    pub observed_ports: Option<PortMap>,
    /// Whether the ports drifted, by that observation; null: unknown.
    pub port_drift_detected: Option<bool>,
    /// How they drifted; null: unknown.
    pub port_drift: Option<PortDrift>,
    /// Ports that were observed where nothing was allocated.
    pub unallocated: Option<PortMap>,
    /// When the observation was made from which the verdict on the ports is. Older than `observed_at`: a later one could
    /// not read the tags.
    pub port_drift_observed_at: Option<DateTime<Utc>>,
    /// The event of that observation.
    pub port_drift_event_id: Option<Uuid>,
    /// Since when the verdicts have been saying that the ports drifted; null: they do not.
    pub port_drift_since: Option<DateTime<Utc>>,
    /// That somebody knows of this very drift and leaves it as it is; null: nobody does. Over when its time is.
    #[serde(default)]
    pub port_drift_acknowledgement: Option<PortDriftAcknowledgement>,
    /// How many observations were recorded.
    pub observation_count: u64,
    /// When the newest one was made, and no later than it was recorded.
    pub observed_at: Option<DateTime<Utc>>,
    /// The event of the newest one.
    pub observed_event_id: Option<Uuid>,
    /// Whether the newest one saw everything; null: its sender did not say, or there is none.
    pub observation_complete: Option<bool>,
    /// Nominal cores by the newest one; null: unknown, or no evidence.
    pub nominal_cpu_cores: Option<f64>,
    /// Nominal MB of memory by the newest one; null: unknown, or no evidence.
    pub nominal_memory_mb: Option<f64>,
    /// What it used at the peak of its steady phase: cores or MB. Null: unknown.
    #[serde(default)]
    pub used: ByResource<Option<f64>>,
    /// Requests for an observation that have no outcome yet.
    pub open_requests: u64,
    /// When it is booked.
    pub timeslot: Option<Timeslot>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When its last event happened.
    pub updated_at: DateTime<Utc>,
    /// Position of its last event.
    pub position: Position,
    /// Its version: the sequence of its last event.
    pub etag: String,
    /// Read models that do not show it as it is; left out where all do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<Parked>,
}

/// That somebody knows of a drift and leaves it as it is for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortDriftAcknowledgement {
    /// Why.
    pub reason: String,
    /// Until when.
    pub until: DateTime<Utc>,
    /// Who says so.
    pub by: String,
    /// When.
    pub at: DateTime<Utc>,
    /// The event.
    pub event_id: Uuid,
}

impl SessionRow {
    /// When its timeslot starts; of one without, when it was created.
    pub fn starts_at(&self) -> DateTime<Utc> {
        self.timeslot.as_ref().map_or(self.created_at, Timeslot::start)
    }

    /// The same session with these ports allocated.
    pub fn allocation<'a>(&'a self, ports: &'a PortMap) -> Allocation<'a> {
        Allocation {
            session_id: &self.id,
            definition_id: &self.definition_id,
            status: self.status,
            timeslot: self.timeslot,
            ports,
        }
    }

    /// How its ports stand at `now`.
    pub fn drift_state(&self, now: DateTime<Utc>) -> DriftState {
        let until = self.port_drift_acknowledgement.as_ref().map(|acknowledgement| acknowledgement.until);
        DriftState::at(now, self.port_drift_detected, until)
    }
}

/// A session in detail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionDetail {
    /// The session.
    #[serde(flatten, deserialize_with = "page::flattened")]
    pub session: SessionRow,
    /// The newest observation.
    pub observed_resources: Option<ResourceObservation>,
    /// Allocated beside observed ports, by name.
    #[serde(default)]
    pub ports: Vec<PortRow>,
}

/// One port of a session, allocated beside observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortRow {
    /// Its compatible name.
    pub name: PortName,
    /// The number that was allocated.
    pub allocated: Option<PortNumber>,
    /// The number that was observed.
    pub observed: Option<PortNumber>,
    /// The name under which it was observed, where that is another one.
    #[serde(default)]
    pub observed_name: Option<PortName>,
    /// How the two compare.
    pub comparison: PortComparison,
}

/// How an allocated and an observed port compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortComparison {
    /// Allocated, and observed so.
    AsPlanned,
    /// Allocated, and observed so under another name.
    Renamed,
    /// Observed, not allocated.
    Added,
    /// Allocated, not observed.
    Removed,
    /// Allocated and observed with different numbers.
    Changed,
    /// Observed where nothing was allocated at all.
    Unallocated,
    /// Allocated, and not looked at yet.
    Unknown,
}

/// Puts allocated beside observed ports. `None` observed: no observation could read the tags. What is named otherwise is
/// in the drift, which was stated when the observation was recorded.
pub fn compare_ports(
    allocated: Option<&PortMap>,
    observed: Option<&PortMap>,
    drift: Option<&PortDrift>,
) -> Vec<PortRow> {
    let renamed = drift.map(|drift| &drift.renamed);
    let observed_otherwise: std::collections::BTreeSet<&PortName> =
        renamed.into_iter().flatten().map(|(_, renamed)| &renamed.observed_name).collect();
    let nothing_allocated = allocated.is_none_or(PortMap::is_empty);
    let empty = PortMap::default();
    let (known, allocated, observed) = (observed.is_some(), allocated.unwrap_or(&empty), observed.unwrap_or(&empty));
    let names: std::collections::BTreeSet<&PortName> = allocated.keys().chain(observed.keys()).collect();
    names
        .into_iter()
        .filter(|name| allocated.contains_key(*name) || !observed_otherwise.contains(name))
        .flat_map(|name| {
            let (allocated, observed) = (allocated.get(name).copied(), observed.get(name).copied());
            if let Some(renamed) = renamed.and_then(|renamed| renamed.get(name)) {
                let same = PortRow {
                    name: name.clone(),
                    allocated,
                    observed: Some(renamed.port),
                    observed_name: Some(renamed.observed_name.clone()),
                    comparison: PortComparison::Renamed,
                };
                // Its name may have gone to another port, which nobody allocated.
                let other = observed.filter(|_| !observed_otherwise.contains(name)).map(|observed| PortRow {
                    name: name.clone(),
                    allocated: None,
                    observed: Some(observed),
                    observed_name: None,
                    comparison: PortComparison::Added,
                });
                return [Some(same), other];
            }
            let observed = observed.filter(|_| !observed_otherwise.contains(name));
            let comparison = match (allocated, observed) {
                _ if !known => PortComparison::Unknown,
                (Some(allocated), Some(observed)) if allocated == observed => PortComparison::AsPlanned,
                (Some(_), Some(_)) => PortComparison::Changed,
                (Some(_), None) => PortComparison::Removed,
                (None, _) if nothing_allocated => PortComparison::Unallocated,
                (None, _) => PortComparison::Added,
            };
            [Some(PortRow { name: name.clone(), allocated, observed, observed_name: None, comparison }), None]
        })
        .flatten()
        .collect()
}

/// How many sessions are in each state, and how many of those that are up have drifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionCount {
    /// The state.
    pub status: SessionStatus,
    /// Sessions in it.
    pub sessions: u64,
    /// Of them, those whose ports drifted.
    pub drifted: u64,
    /// Of those that drifted, those of which somebody knows, for a while.
    #[serde(default)]
    pub drift_acknowledged: u64,
    /// Since when the first of those that drifted has, of which nobody knows; null: there is none, or it is not known.
    #[serde(default)]
    pub drifted_since: Option<DateTime<Utc>>,
    /// Of them, those of whose ports nothing is known.
    pub drift_unknown: u64,
}

/// What the rows are called in an alarm.
const LIST: &str = "sessions";

const COLUMNS: &str = "id, definition_id, definition_version, definition_revision, owner_id, status, status_reason,
    status_since, worker_id, cml_lab_id, lab_title, allocated_ports, observed_ports, port_drift_detected, port_drift, unallocated,
    verdict_observed_at AS port_drift_observed_at, verdict_event_id AS port_drift_event_id,
    drift_since AS port_drift_since,
    CASE WHEN acknowledged_until IS NOT NULL
         THEN json_build_object('reason', acknowledgement_reason, 'until', acknowledged_until, 'by', acknowledged_by,
                                'at', acknowledged_at, 'event_id', acknowledgement_event_id)
         END AS port_drift_acknowledgement, observation_count, observed_at, observed_event_id, observation_complete,
    nominal_cpu_cores, nominal_memory_mb, open_requests,
    CASE WHEN timeslot_end IS NULL THEN NULL
         ELSE json_build_object('start', timeslot_start, 'end', timeslot_end) END AS timeslot,
    created_at, updated_at, position, '\"' || sequence || '\"' AS etag";

/// The peaks of a session, by the key of its demands.
const USED: &str = "coalesce(
    (SELECT json_build_object('cpu_cores', t.cpu_cores, 'memory_mb', t.memory_mb, 'storage_mb', t.storage_mb)
       FROM read_demands.sessions t WHERE t.session_id = sessions.id),
    json_build_object('cpu_cores', NULL, 'memory_mb', NULL, 'storage_mb', NULL))";

/// What a session is read from, with its names and what it used.
fn columns() -> String {
    format!(
        "{COLUMNS}, {} AS definition_name, {} AS worker_name, {USED} AS used",
        names::definition("definition_id"),
        names::worker("worker_id")
    )
}

/// Begins a statement that selects sessions; `) r` ends it.
fn select(cursor: &str) -> String {
    page::select_with_parked("id", cursor, &parked::column(AggregateKind::Session, "r.id"))
}

/// The statement of one session.
fn one(id: &SessionId) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(select("id"));
    query.push(format!("SELECT {} FROM read_sessions.sessions WHERE id = ", columns()));
    query.push_bind(id.as_str().to_owned()).push(") r");
    query
}

impl Projections {
    /// One session, with its newest observation as the log has it.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn session(&self, id: &SessionId) -> Result<Option<SessionDetail>, ReadError> {
        let mut connection = self.reads.acquire().await?;
        let session: Option<SessionRow> = self.row_over(&mut *connection, LIST, one(id)).await?;
        let Some(session) = session else { return Ok(None) };
        let observed = match session.observed_event_id {
            Some(event_id) => self.log.event_over(&mut *connection, event_id).await?,
            None => None,
        };
        drop(connection);
        let observed_resources = observed.map(|event| self.observed_resources(id, &event)).transpose()?;
        let ports = compare_ports(
            session.allocated_ports.as_ref(),
            session.observed_ports.as_ref(),
            session.port_drift.as_ref(),
        );
        Ok(Some(SessionDetail { session, observed_resources, ports }))
    }

    fn observed_resources(&self, id: &SessionId, event: &RecordedEvent) -> Result<ResourceObservation, ReadError> {
        #[derive(Deserialize, JsonSchema)]
        struct Observed {
            observed_resources: ResourceObservation,
        }
        let observed: Observed = stored::read(event.payload.text()).map_err(|error| {
            let row = UnreadableRow { id: id.to_string(), reason: format!("observed_event_id: {error}") };
            self.unreadable.report(LIST, &row);
            ReadError::Unreadable { list: LIST, row }
        })?;
        Ok(observed.observed_resources)
    }

    /// One session without its newest observation, which may weigh a megabyte.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn session_summary(&self, id: &SessionId) -> Result<Option<SessionRow>, ReadError> {
        self.row_of(LIST, one(id)).await
    }

    /// How many sessions are in each state, in the order of a life.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn session_counts(&self) -> Result<Listed<SessionCount>, ReadError> {
        let now = self.log.clock().now();
        let mut query = QueryBuilder::new(page::select("status", "status"));
        query.push(
            "
                 SELECT status, count(*) AS sessions, count(*) FILTER (WHERE port_drift_detected) AS drifted,
                        count(*) FILTER (WHERE port_drift_detected AND acknowledged_until > ",
        );
        query.push_bind(now);
        query.push(
            ") AS drift_acknowledged,
                        min(drift_since) FILTER (WHERE port_drift_detected AND NOT coalesce(acknowledged_until > ",
        );
        query.push_bind(now);
        query.push(
            ", false)) AS drifted_since,
                        count(*) FILTER (WHERE port_drift_detected IS NULL) AS drift_unknown
                   FROM read_sessions.sessions GROUP BY status) r",
        );
        let mut counts: Listed<SessionCount> = self.list_of("session_counts", query).await?;
        counts.items.sort_by_key(|count| count.status);
        Ok(counts)
    }

    /// How many sessions of a definition are in one of these states, by the revision that they were created with, the newest
    /// revision first.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn sessions_by_revision(
        &self,
        id: &DefinitionId,
        status: &[SessionStatus],
    ) -> Result<Vec<(u32, u64)>, ReadError> {
        let status: Vec<&str> = status.iter().map(|status| status.as_str()).collect();
        let rows: Vec<(i32, i64)> = sqlx::query_as(
            "SELECT definition_revision, count(*) FROM read_sessions.sessions
              WHERE definition_id = $1 AND status = ANY ($2) GROUP BY 1 ORDER BY 1 DESC",
        )
        .bind(id.as_str())
        .bind(&status)
        .fetch_all(&self.reads)
        .await?;
        Ok(rows.into_iter().map(|(revision, sessions)| (revision.unsigned_abs(), sessions.unsigned_abs())).collect())
    }
}

/// Follows the sessions.
pub(crate) static PROJECTOR: Projector = Projector {
    name: "sessions",
    schema: "read_sessions",
    revision: 4,
    follows: &[AggregateKind::Session],
    keyed_by: Some((AggregateKind::Session, "sessions")),
    weight: 8,
    rows: || Box::new(fold::Rows::default()),
};

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(entries: &[(&str, i64)]) -> PortMap {
        let entry = |(name, port): &(&str, i64)| (PortName::parse(*name).unwrap(), PortNumber::new(*port).unwrap());
        entries.iter().map(entry).collect::<std::collections::BTreeMap<_, _>>().try_into().unwrap()
    }

    fn compared(allocated: Option<&PortMap>, observed: Option<&PortMap>) -> Vec<(String, PortComparison)> {
        compare_ports(allocated, observed, None).into_iter().map(|row| (row.name.to_string(), row.comparison)).collect()
    }

    #[test]
    fn allocated_and_observed_ports_stand_side_by_side() {
        let allocated = ports(&[("a", 2001), ("b", 2002), ("c", 2003)]);
        let observed = ports(&[("a", 2001), ("b", 2102), ("d", 2004)]);
        assert_eq!(
            compared(Some(&allocated), Some(&observed)),
            [
                ("a".to_owned(), PortComparison::AsPlanned),
                ("b".to_owned(), PortComparison::Changed),
                ("c".to_owned(), PortComparison::Removed),
                ("d".to_owned(), PortComparison::Added),
            ]
        );
    }

    #[test]
    fn what_is_named_otherwise_stands_in_one_row() {
        let allocated = ports(&[("a_pat_22", 5080), ("b_vnc", 5081)]);
        let observed = ports(&[("a_tcp", 5080), ("b_vnc", 5081), ("a_pat_22", 5090)]);
        let drift = PortDrift::between(&allocated, &observed, &[]);
        let rows = compare_ports(Some(&allocated), Some(&observed), Some(&drift));
        let told: Vec<_> =
            rows.iter().map(|row| (row.name.as_str(), row.observed.map(PortNumber::get), row.comparison)).collect();
        assert_eq!(
            told,
            [
                ("a_pat_22", Some(5080), PortComparison::Renamed),
                ("a_pat_22", Some(5090), PortComparison::Added),
                ("b_vnc", Some(5081), PortComparison::AsPlanned),
            ]
        );
        assert_eq!(rows[0].observed_name.as_ref().map(PortName::as_str), Some("a_tcp"));
    }

    #[test]
    fn what_nobody_looked_at_is_unknown_and_what_nobody_planned_is_no_drift() {
        let some = ports(&[("a", 2001)]);
        assert_eq!(compared(Some(&some), None), [("a".to_owned(), PortComparison::Unknown)]);
        for nothing in [None, Some(&PortMap::default())] {
            assert_eq!(compared(nothing, Some(&some)), [("a".to_owned(), PortComparison::Unallocated)]);
        }
    }
}
