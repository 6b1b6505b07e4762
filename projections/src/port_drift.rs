//! Ports that are not as allocated, over all sessions: by definition, port and how they differ.
//!
//! What drifts in many sessions of a definition in the same way has one cause, mostly a tag of its topology.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use domain::lablet_session::SessionStatus;
use domain::ports::{PortName, PortNumber};
use domain::{DefinitionId, Invalid, SessionId, WorkerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;

use crate::page::{self, ListRow, Listed};
use crate::{Projections, ReadError, UnreadableRow, stored_ports};

/// Most rows of the list.
pub const MOST_DRIFTED_PORTS: usize = 500;

/// How a port differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// Allocated and observed with different numbers.
    Changed,
    /// Allocated, not observed.
    Removed,
    /// Observed, not allocated.
    Added,
}

impl DriftKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Changed, Self::Removed, Self::Added];

    /// In its wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Added => "added",
        }
    }
}

/// Whether somebody knows of a drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KnownDrift {
    /// Nobody has said that it may stay so, in at least one session.
    Open,
    /// Somebody knows of it, in all sessions.
    Acknowledged,
}

impl KnownDrift {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Open, Self::Acknowledged];

    /// In its wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
        }
    }
}

fn one_of<T: Copy>(text: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, Invalid> {
    all.iter().copied().find(|known| name(*known) == text).ok_or_else(|| {
        let shown: String = text.chars().take(80).collect();
        let known: Vec<&str> = all.iter().copied().map(name).collect();
        Invalid::new("", format!("is {shown:?}"), format!("one of {}", known.join(", ")))
    })
}

impl FromStr for DriftKind {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        one_of(text, &Self::ALL, Self::as_str)
    }
}

impl FromStr for KnownDrift {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        one_of(text, &Self::ALL, Self::as_str)
    }
}

/// Which ports are asked for; what is absent does not restrict.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DriftedPortFilter {
    /// Of this definition.
    pub definition_id: Option<DefinitionId>,
    /// Of sessions on this worker.
    pub worker_id: Option<WorkerId>,
    /// With this name, or allocated or observed with this number.
    pub port: Option<String>,
    /// That differ so.
    pub kind: Option<DriftKind>,
    /// Of which somebody knows, or nobody.
    pub state: Option<KnownDrift>,
    /// Also of sessions that hold no ports any more.
    pub ended: bool,
}

/// A port of a definition that differs in the same way in some sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DriftedPort {
    /// The definition.
    pub definition_id: DefinitionId,
    /// Its name; null: its row is not there.
    pub definition_name: Option<String>,
    /// The port.
    pub port: PortName,
    /// How it differs.
    pub kind: DriftKind,
    /// The least number that was allocated; null: none was.
    pub allocated_least: Option<PortNumber>,
    /// The greatest.
    pub allocated_most: Option<PortNumber>,
    /// The least number that was observed; null: none was.
    pub observed_least: Option<PortNumber>,
    /// The greatest.
    pub observed_most: Option<PortNumber>,
    /// In how many sessions.
    pub sessions: u64,
    /// Of them, those in which nobody has said that it may stay so.
    pub open_sessions: u64,
    /// Whether somebody knows of it.
    pub state: KnownDrift,
    /// On how many workers.
    pub workers: u64,
    /// Since when one of the sessions has drifted.
    pub since: Option<DateTime<Utc>>,
    /// When it was observed last.
    pub last_observed_at: Option<DateTime<Utc>>,
    /// The session to look at first: an open one before one that is acknowledged, the one that was observed last.
    pub session_id: SessionId,
    /// Why it may stay so, by the acknowledgement that was made last; null: there is none.
    pub acknowledgement_reason: Option<String>,
    /// Who says so.
    pub acknowledged_by: Option<String>,
    /// Until when: the first end of all of them.
    pub acknowledged_until: Option<DateTime<Utc>>,
}

/// Ports that are not as allocated, those of which nobody knows first, then by the number of sessions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DriftedPorts {
    /// The ports.
    pub items: Vec<DriftedPort>,
    /// True: there are more than are listed.
    pub cut: bool,
    /// Rows that are there and cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<UnreadableRow>,
}

/// Each drifted port of a session `s`.
fn ports() -> String {
    let (changed, removed, added) = (
        stored_ports::members("s.port_drift -> 'changed'", "m"),
        stored_ports::members("s.port_drift -> 'removed'", "m"),
        stored_ports::members("s.port_drift -> 'added'", "m"),
    );
    let (allocated, observed) =
        (stored_ports::number("m.value ->> 'allocated'"), stored_ports::number("m.value ->> 'observed'"));
    let number = stored_ports::number("m.value #>> '{}'");
    format!(
        "
                     CROSS JOIN LATERAL (
                           SELECT 'changed' AS kind, m.key AS port, {allocated} AS allocated, {observed} AS observed
                             FROM {changed}
                            UNION ALL SELECT 'removed', m.key, {number}, NULL FROM {removed}
                            UNION ALL SELECT 'added', m.key, NULL, {number} FROM {added}) p
                     WHERE true"
    )
}

impl Projections {
    /// Ports that are not as allocated, one row a definition, port and way in which it differs.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn drifted_ports(&self, filter: &DriftedPortFilter) -> Result<DriftedPorts, ReadError> {
        let mut query = QueryBuilder::new(page::select("session_id", "session_id"));
        query.push(
            "
                 SELECT g.*, d.name AS definition_name, CASE WHEN g.open_sessions > 0 THEN 'open' ELSE 'acknowledged' END AS state
                   FROM (
                    SELECT s.definition_id, p.port, p.kind, min(p.allocated) AS allocated_least,
                           max(p.allocated) AS allocated_most, min(p.observed) AS observed_least,
                           max(p.observed) AS observed_most, count(*) AS sessions,
                           count(*) FILTER (WHERE NOT s.acknowledged) AS open_sessions,
                           count(DISTINCT s.worker_id) AS workers, min(s.drift_since) AS since,
                           max(s.verdict_observed_at) AS last_observed_at,
                           (array_agg(s.id ORDER BY s.acknowledged, s.verdict_observed_at DESC, s.id))[1] AS session_id,
                           (array_agg(s.acknowledgement_reason ORDER BY s.acknowledged_at DESC)
                               FILTER (WHERE s.acknowledged))[1] AS acknowledgement_reason,
                           (array_agg(s.acknowledged_by ORDER BY s.acknowledged_at DESC)
                               FILTER (WHERE s.acknowledged))[1] AS acknowledged_by,
                           min(s.acknowledged_until) FILTER (WHERE s.acknowledged) AS acknowledged_until
                      FROM (SELECT *, coalesce(acknowledged_until > ",
        );
        query.push_bind(self.log.clock().now());
        query.push(", false) AS acknowledged FROM read_sessions.sessions WHERE port_drift_detected");
        if !filter.ended {
            let holding = SessionStatus::HOLDING_PORTS.map(SessionStatus::as_str);
            query.push(" AND status = ANY(").push_bind(holding).push(")");
        }
        if let Some(definition) = &filter.definition_id {
            query.push(" AND definition_id = ").push_bind(definition.as_str().to_owned());
        }
        if let Some(worker) = &filter.worker_id {
            query.push(" AND worker_id = ").push_bind(worker.as_str().to_owned());
        }
        query.push(") s").push(ports());
        if let Some(kind) = filter.kind {
            query.push(" AND p.kind = ").push_bind(kind.as_str());
        }
        if let Some(port) = &filter.port {
            match port.parse::<i64>() {
                Ok(number) => {
                    query.push(" AND (p.allocated = ").push_bind(number);
                    query.push(" OR p.observed = ").push_bind(number).push(")");
                }
                Err(_) => {
                    query.push(" AND p.port = ").push_bind(port.clone());
                }
            }
        }
        query.push(" GROUP BY s.definition_id, p.port, p.kind");
        match filter.state {
            Some(KnownDrift::Open) => query.push(" HAVING count(*) FILTER (WHERE NOT s.acknowledged) > 0"),
            Some(KnownDrift::Acknowledged) => query.push(" HAVING count(*) FILTER (WHERE NOT s.acknowledged) = 0"),
            None => &mut query,
        };
        query.push(
            "
                   ) g LEFT JOIN read_definitions.definitions d ON d.id = g.definition_id
                  ORDER BY g.open_sessions = 0, g.sessions DESC, g.definition_id, g.port, g.kind LIMIT ",
        );
        query.push_bind(i64::try_from(MOST_DRIFTED_PORTS + 1).unwrap_or(i64::MAX)).push(") r");
        let mut rows: Vec<ListRow<DriftedPort>> = self.rows("drifted_ports", query).await?;
        let cut = rows.len() > MOST_DRIFTED_PORTS;
        rows.truncate(MOST_DRIFTED_PORTS);
        let Listed { items, unreadable } = Listed::from_rows(rows);
        Ok(DriftedPorts { items, cut, unreadable })
    }
}
