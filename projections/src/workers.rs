//! Workers: the CML controllers that labs run on.

use app::log::RecordedEvent;
use chrono::{DateTime, Utc};
use domain::worker::{PortRange, WorkerCapacity, WorkerEvent, WorkerProfile};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};

use crate::page::rows_of;
use crate::{Applied, ApplyError, Cursor, DomainEvent, Page, Projections, Projector, QueryError};

/// A worker.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema, FromRow)]
pub struct Worker {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where its API is, an https URL.
    pub address: String,
    /// What it offers.
    #[sqlx(json)]
    pub capacity: WorkerCapacity,
    /// Which outside ports it honours.
    #[sqlx(json)]
    pub port_range: PortRange,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// Position of its newest event.
    pub position: String,
    /// For `If-Match`.
    pub etag: String,
}

const COLUMNS: &str = "id, name, address,
    json_build_object('cpu_cores', cpu_cores, 'memory_gb', memory_gb, 'storage_gb', storage_gb, 'max_nodes', max_nodes)
        AS capacity,
    json_build_object('first', first_port, 'last', last_port) AS port_range,
    created_at, updated_at, position, '\"' || sequence || '\"' AS etag";

impl Projections {
    /// Workers, the newest first.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn workers(&self, cursor: Option<&str>, limit: i64) -> Result<Page<Worker>, QueryError> {
        let mut query = QueryBuilder::<Postgres>::new(format!("SELECT {COLUMNS} FROM read_models.workers"));
        if let Some(cursor) = Cursor::parse(cursor)? {
            query.push(" WHERE (created_at, id) < (").push_bind(cursor.time).push(", ").push_bind(cursor.id).push(")");
        }
        query.push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(rows_of(limit));
        let rows = query.build_query_as().fetch_all(&self.pool).await?;
        Ok(Page::of(rows, limit, |worker: &Worker| Cursor::new(worker.created_at, &*worker.id)))
    }

    /// One worker.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn worker(&self, id: &str) -> Result<Option<Worker>, QueryError> {
        let mut query = QueryBuilder::<Postgres>::new(format!("SELECT {COLUMNS} FROM read_models.workers WHERE id = "));
        Ok(query.push_bind(id).build_query_as().fetch_optional(&self.pool).await?)
    }
}

/// Fills `workers`.
#[derive(Debug, Clone, Copy)]
pub struct Workers;

impl Projector for Workers {
    const NAME: &'static str = "workers";
    const REVISION: i32 = 1;
    const TABLES: &'static [&'static str] = &["workers"];

    async fn apply(
        &self,
        connection: &mut PgConnection,
        recorded: &RecordedEvent,
        event: &DomainEvent,
    ) -> Result<Applied, ApplyError> {
        let event = match event {
            DomainEvent::Worker(event) => event,
            DomainEvent::Session(_) | DomainEvent::Definition(_) | DomainEvent::Foreign => return Ok(Applied::Ignored),
        };
        let (statement, profile, at) = match event.as_ref() {
            WorkerEvent::Registered { profile, registered_at, .. } => (
                "INSERT INTO workers (id, name, address, cpu_cores, memory_gb, storage_gb, max_nodes, first_port,
                                      last_port, created_at, updated_at, sequence, events_applied, position)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11, 1, $12)",
                profile,
                registered_at,
            ),
            WorkerEvent::Changed { after, changed_at, .. } => (
                "UPDATE workers SET name = $2, address = $3, cpu_cores = $4, memory_gb = $5, storage_gb = $6,
                                    max_nodes = $7, first_port = $8, last_port = $9, updated_at = $10, sequence = $11,
                                    events_applied = events_applied + 1, position = $12
                  WHERE id = $1 AND sequence < $11",
                after,
                changed_at,
            ),
        };
        let WorkerProfile { name, address, capacity, port_range } = profile;
        let done = sqlx::query(statement)
            .bind(&recorded.aggregate_id)
            .bind(name)
            .bind(String::from(address.clone()))
            .bind(whole(capacity.cpu_cores))
            .bind(whole(capacity.memory_gb))
            .bind(whole(capacity.storage_gb))
            .bind(whole(capacity.max_nodes))
            .bind(i32::from(port_range.first().get()))
            .bind(i32::from(port_range.last().get()))
            .bind(at)
            .bind(recorded.sequence)
            .bind(recorded.position.to_string())
            .execute(connection)
            .await?;
        ApplyError::unless_one(done.rows_affected(), "worker", &recorded.aggregate_id)
    }
}

/// A count as Postgres' integer. The domain bounds all of them far below its greatest.
pub(crate) fn whole(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
