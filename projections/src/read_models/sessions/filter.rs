//! Which sessions a list has.

use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use domain::lablet_session::SessionStatus;
use domain::{DefinitionId, Invalid, WorkerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, QueryBuilder};

use super::sort::SessionSort;
use crate::page;
use crate::{Projections, ReadError};

/// Most things of one name that a filter by name means.
const MOST_OF_A_NAME: i64 = 100;

/// Which sessions are asked for, and in which order; what is absent does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionFilter {
    /// In one of these states; empty: in any.
    #[serde(default)]
    pub status: Vec<SessionStatus>,
    /// Of this definition.
    #[serde(default)]
    pub definition_id: Option<DefinitionId>,
    /// Of the definitions that have this name, in whatever case, or this id.
    #[serde(default)]
    pub definition: Option<String>,
    /// On this worker.
    #[serde(default)]
    pub worker_id: Option<WorkerId>,
    /// On the workers that have this name, in whatever case, or this id.
    #[serde(default)]
    pub worker: Option<String>,
    /// For this owner.
    #[serde(default)]
    pub owner_id: Option<String>,
    /// Whose ports stand so.
    #[serde(default)]
    pub drift: Option<DriftFilter>,
    /// Of which all of this is unknown.
    #[serde(default)]
    pub unknown: Vec<SessionUnknown>,
    /// Whose id, definition, owner, worker or lab contains this, in whatever case.
    #[serde(default)]
    pub text: Option<String>,
    /// Whose timeslot ended before this.
    #[serde(default)]
    pub timeslot_ended_before: Option<DateTime<Utc>>,
    /// Of which time `from` and `before` speak.
    #[serde(default)]
    pub time: SessionTime,
    /// From then on.
    #[serde(default)]
    pub from: Option<DateTime<Utc>>,
    /// Before then.
    #[serde(default)]
    pub before: Option<DateTime<Utc>>,
    /// In this order.
    #[serde(default)]
    pub sort: SessionSort,
}

/// A text that names none of these.
fn none_of(text: &str, known: &[&str]) -> Invalid {
    let shown: String = text.chars().take(80).collect();
    Invalid::new("", format!("is {shown:?}"), format!("one of {}", known.join(", ")))
}

/// How the ports of the sessions stand that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriftFilter {
    /// They drifted.
    True,
    /// They are known not to have drifted.
    False,
    /// They drifted, and nobody has said that it may stay so.
    Open,
    /// They drifted, and somebody knows of it.
    Acknowledged,
    /// No observation could read the tags yet.
    Unknown,
}

impl DriftFilter {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::True, Self::False, Self::Open, Self::Acknowledged, Self::Unknown];

    /// In its wire form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::False => "false",
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Unknown => "unknown",
        }
    }

    /// Restricts a statement over sessions.
    fn push(self, now: DateTime<Utc>, query: &mut QueryBuilder<Postgres>) {
        match self {
            Self::True => query.push(" AND port_drift_detected"),
            Self::False => query.push(" AND NOT port_drift_detected"),
            Self::Unknown => query.push(" AND port_drift_detected IS NULL"),
            Self::Open => {
                let query =
                    query.push(" AND port_drift_detected AND (acknowledged_until IS NULL OR acknowledged_until <= ");
                query.push_bind(now).push(")")
            }
            Self::Acknowledged => query.push(" AND port_drift_detected AND acknowledged_until > ").push_bind(now),
        };
    }
}

impl FromStr for DriftFilter {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let known = || none_of(text, &Self::ALL.map(Self::as_str));
        Self::ALL.into_iter().find(|drift| drift.as_str() == text).ok_or_else(known)
    }
}

/// What may be unknown of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionUnknown {
    /// Its worker: none was assigned yet.
    Worker,
    /// For whom it is.
    Owner,
    /// When it is booked.
    Timeslot,
    /// Whether its ports drifted: no observation could read the tags yet.
    Ports,
    /// What it uses: it was never observed.
    Observation,
}

impl SessionUnknown {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Worker, Self::Owner, Self::Timeslot, Self::Ports, Self::Observation];

    /// In its wire form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Owner => "owner",
            Self::Timeslot => "timeslot",
            Self::Ports => "ports",
            Self::Observation => "observation",
        }
    }

    /// As the indexes of the orders have it, so that they serve this, too.
    fn condition(self) -> &'static str {
        match self {
            Self::Worker => " AND worker_id IS NULL",
            Self::Owner => " AND owner_id IS NULL",
            Self::Timeslot => " AND coalesce(timeslot_end, 'infinity'::timestamptz) = 'infinity'",
            Self::Ports => " AND port_drift_detected IS NULL",
            Self::Observation => " AND coalesce(observed_at, '-infinity'::timestamptz) = '-infinity'",
        }
    }
}

impl FromStr for SessionUnknown {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let known = || none_of(text, &Self::ALL.map(Self::as_str));
        Self::ALL.into_iter().find(|unknown| unknown.as_str() == text).ok_or_else(known)
    }
}

/// A time of a session by which a list may be restricted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionTime {
    /// When it was created.
    #[default]
    Created,
    /// When its last event happened: of a session that is over, when it ended.
    Changed,
    /// Its timeslot, which overlaps the range; those without a timeslot are left out.
    Timeslot,
}

impl SessionTime {
    /// All of them, the default first.
    pub const ALL: [Self; 3] = [Self::Created, Self::Changed, Self::Timeslot];

    /// In its wire form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Timeslot => "timeslot",
        }
    }
}

/// The ids that a filter by name means.
#[derive(Debug, Clone, Default)]
pub(super) struct NamedIds {
    definitions: Option<Vec<String>>,
    workers: Option<Vec<String>>,
}

fn push_ids(column: &str, ids: &[String], query: &mut QueryBuilder<Postgres>) {
    match ids {
        [only] => query.push(format!(" AND {column} = ")).push_bind(only.clone()),
        several => query.push(format!(" AND {column} = ANY(")).push_bind(several.to_vec()).push(")"),
    };
}

impl SessionFilter {
    /// Restricts a statement over sessions by their states.
    pub(super) fn push_states(&self, query: &mut QueryBuilder<Postgres>) {
        match self.status.as_slice() {
            [] => {}
            [only] => {
                query.push(" AND status = ").push_bind(only.as_str());
            }
            several => {
                let names: Vec<&str> = several.iter().map(|status| status.as_str()).collect();
                query.push(" AND status = ANY(").push_bind(names).push(")");
            }
        }
    }

    /// Restricts a statement over sessions by everything but their states.
    pub(super) fn push_others(&self, named: &NamedIds, now: DateTime<Utc>, query: &mut QueryBuilder<Postgres>) {
        if let Some(definition) = &self.definition_id {
            query.push(" AND definition_id = ").push_bind(definition.as_str().to_owned());
        }
        if let Some(ids) = &named.definitions {
            push_ids("definition_id", ids, query);
        }
        if let Some(worker) = &self.worker_id {
            query.push(" AND worker_id = ").push_bind(worker.as_str().to_owned());
        }
        if let Some(ids) = &named.workers {
            push_ids("worker_id", ids, query);
        }
        if let Some(owner) = &self.owner_id {
            query.push(" AND owner_id = ").push_bind(owner.clone());
        }
        if let Some(drift) = self.drift {
            drift.push(now, query);
        }
        for unknown in self.unknown.iter().collect::<BTreeSet<_>>() {
            query.push(unknown.condition());
        }
        if let Some(text) = self.text.as_deref().filter(|text| !text.is_empty()) {
            query.push(" AND search LIKE ").push_bind(page::like(text));
        }
        if let Some(end) = self.timeslot_ended_before {
            query.push(" AND timeslot_end < ").push_bind(end);
        }
        self.push_range(query);
    }

    fn push_range(&self, query: &mut QueryBuilder<Postgres>) {
        let (from, before) = match self.time {
            SessionTime::Created => (" AND created_at >= ", " AND created_at < "),
            SessionTime::Changed => (" AND updated_at >= ", " AND updated_at < "),
            // The index of that order has the ends so; a range without a beginning finds no session without a timeslot.
            SessionTime::Timeslot => (
                " AND timeslot_end IS NOT NULL AND coalesce(timeslot_end, 'infinity'::timestamptz) > ",
                " AND timeslot_start < ",
            ),
        };
        if let Some(at) = self.from {
            query.push(from).push_bind(at);
        }
        if let Some(at) = self.before {
            query.push(before).push_bind(at);
        }
    }
}

impl Projections {
    /// What the names of a filter stand for.
    pub(super) async fn named_ids(&self, filter: &SessionFilter) -> Result<NamedIds, ReadError> {
        let definitions = match &filter.definition {
            Some(name) => Some(self.ids_of_name("read_definitions.definitions", name).await?),
            None => None,
        };
        let workers = match &filter.worker {
            Some(name) => Some(self.ids_of_name("read_workers.workers", name).await?),
            None => None,
        };
        Ok(NamedIds { definitions, workers })
    }

    /// The ids of what has this name, and the text itself, which may be the id of something that is not shown yet.
    async fn ids_of_name(&self, table: &'static str, text: &str) -> Result<Vec<String>, ReadError> {
        let mut query = QueryBuilder::new(format!("SELECT id FROM {table} WHERE lower(name) = lower("));
        query.push_bind(text.to_owned()).push(") ORDER BY id LIMIT ").push_bind(MOST_OF_A_NAME);
        let mut ids: Vec<String> = query.build_query_scalar().fetch_all(&self.reads).await?;
        if ids.iter().all(|id| id != text) {
            ids.push(text.to_owned());
        }
        Ok(ids)
    }
}
