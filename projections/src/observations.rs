//! Observations: each with its nodes, and what they add up to for a definition.

mod aggregate;
mod fold;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

pub use self::aggregate::{Aggregate, Quantity};
pub use self::fold::Observations;
use crate::{MOST_ROWS, Projections, QueryError};

/// What has been observed of a definition: its newest observed sessions, each counted once.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DefinitionObservations {
    /// The definition.
    pub definition_id: String,
    /// How many observations of these sessions were recorded.
    pub observation_count: i64,
    /// How many sessions these are.
    pub session_count: usize,
    /// The sessions, the one that was observed last first.
    pub sessions: Vec<ObservedSession>,
    /// What they add up to.
    pub aggregate: Aggregate,
}

/// What is known of one observed session.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema, FromRow)]
pub struct ObservedSession {
    /// The session.
    pub session_id: String,
    /// The version that the definition's author gave it.
    pub definition_version: String,
    /// When its newest observation was made.
    pub observed_at: DateTime<Utc>,
    /// Nominal cores: the newest known number. Null: no observation knew.
    pub total_cpu_cores: Option<f64>,
    /// Nominal memory in MB: the newest known number. Null: no observation knew.
    pub total_memory_mb: Option<f64>,
    /// Measured disk in MB: the newest known number. Null: no observation knew.
    pub total_storage_mb: Option<f64>,
    /// Number of nodes: the newest known number. Null: no observation knew.
    pub node_count: Option<i32>,
    /// What the newest observation measured in use.
    #[sqlx(flatten)]
    pub used: Used,
    /// Whether the newest observation saw everything. Null: its sender did not say.
    pub complete: Option<bool>,
    /// Whether the ports drifted, by the newest observation that could tell. Null: none could.
    pub port_drift_detected: Option<bool>,
    /// How many observations were recorded.
    pub observation_count: i64,
    /// The event that holds the newest observation.
    pub event_id: Uuid,
    /// The events from which the numbers are, where they are known.
    #[sqlx(flatten)]
    pub sources: Sources,
    /// Position of its newest event.
    pub position: String,
}

/// Measured use. Null: unknown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema, FromRow)]
pub struct Used {
    /// Cores in use.
    #[sqlx(rename = "used_cpu_cores")]
    pub cpu_cores: Option<f64>,
    /// MB of memory in use.
    #[sqlx(rename = "used_memory_mb")]
    pub memory_mb: Option<f64>,
    /// MB on disk.
    #[sqlx(rename = "used_storage_mb")]
    pub storage_mb: Option<f64>,
    /// Highest CPU use of a node, as CML states it: a percentage that may exceed 100.
    pub highest_cpu_percent: Option<f64>,
}

/// The events in which a session's newest known numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema, FromRow)]
pub struct Sources {
    /// That of `total_cpu_cores`.
    #[sqlx(rename = "cpu_event_id")]
    pub cpu_cores: Option<Uuid>,
    /// That of `total_memory_mb`.
    #[sqlx(rename = "memory_event_id")]
    pub memory_mb: Option<Uuid>,
    /// That of `total_storage_mb`.
    #[sqlx(rename = "storage_event_id")]
    pub storage_mb: Option<Uuid>,
    /// That of `node_count`.
    #[sqlx(rename = "nodes_event_id")]
    pub node_count: Option<Uuid>,
}

/// One observation of a session, without its nodes.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema, FromRow)]
pub struct Observation {
    /// The event that holds it.
    pub event_id: Uuid,
    /// The session.
    pub session_id: String,
    /// The session's definition.
    pub definition_id: String,
    /// The request that it answers, where there was one.
    pub request_id: Option<String>,
    /// Who observed.
    pub observer: Option<String>,
    /// When the lab was read.
    pub observed_at: DateTime<Utc>,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// Nominal cores.
    pub total_cpu_cores: Option<f64>,
    /// Nominal memory in MB.
    pub total_memory_mb: Option<f64>,
    /// Measured disk in MB.
    pub total_storage_mb: Option<f64>,
    /// Number of nodes.
    pub node_count: Option<i32>,
    /// What was measured in use.
    #[sqlx(flatten)]
    pub used: Used,
    /// Whether it saw everything. Null: its sender did not say.
    pub complete: Option<bool>,
    /// What the lab was doing: boot, steady, stopped or unknown. Null: its sender did not say.
    pub phase: Option<String>,
    /// Whether the ports drifted. Null: the tags could not be read.
    pub port_drift_detected: Option<bool>,
    /// Position of the event.
    pub position: String,
}

impl Projections {
    /// What has been observed of a definition, over its newest `limit` observed sessions. Empty where nothing was
    /// observed, or where there is no such definition.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn definition_observations(
        &self,
        definition_id: &str,
        limit: i64,
    ) -> Result<DefinitionObservations, QueryError> {
        let sessions: Vec<ObservedSession> = sqlx::query_as(
            "SELECT session_id, definition_version, observed_at, total_cpu_cores, total_memory_mb, total_storage_mb,
                    node_count, used_cpu_cores, used_memory_mb, used_storage_mb, highest_cpu_percent, complete,
                    port_drift_detected, observation_count, event_id, cpu_event_id, memory_event_id, storage_event_id,
                    nodes_event_id, position
               FROM read_models.observed_sessions WHERE definition_id = $1
              ORDER BY observed_at DESC, session_id DESC LIMIT $2",
        )
        .bind(definition_id)
        .bind(limit.clamp(1, MOST_ROWS))
        .fetch_all(&self.pool)
        .await?;
        Ok(DefinitionObservations {
            definition_id: definition_id.to_owned(),
            observation_count: sessions.iter().map(|session| session.observation_count).sum(),
            session_count: sessions.len(),
            aggregate: Aggregate::of(&sessions),
            sessions,
        })
    }

    /// The newest `limit` observations of a session, the newest first.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn session_observations(&self, session_id: &str, limit: i64) -> Result<Vec<Observation>, QueryError> {
        Ok(sqlx::query_as(
            "SELECT event_id, session_id, definition_id, request_id, observer, observed_at, recorded_at,
                    total_cpu_cores, total_memory_mb, total_storage_mb, node_count, used_cpu_cores, used_memory_mb,
                    used_storage_mb, highest_cpu_percent, complete, phase, port_drift_detected, position
               FROM read_models.observations WHERE session_id = $1
              ORDER BY observed_at DESC, sequence DESC LIMIT $2",
        )
        .bind(session_id)
        .bind(limit.clamp(1, MOST_ROWS))
        .fetch_all(&self.pool)
        .await?)
    }
}
