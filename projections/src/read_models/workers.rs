//! Workers.

use app::log::Position;
use chrono::{DateTime, Utc};
use domain::WorkerId;
use domain::worker::{WorkerEvent, WorkerProfile};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use sqlx::{Postgres, QueryBuilder};

use crate::page::{self, Page, PageRequest};
use crate::projector::{AggregateKind, Applied, ApplyError, Event, Projector, Recorded, expect_one};
use crate::{Parked, Projections, ReadError};

/// A worker as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerRow {
    /// The worker.
    pub id: WorkerId,
    /// Name, address, capacity and port range.
    #[serde(flatten, deserialize_with = "page::flattened")]
    pub profile: WorkerProfile,
    /// When it was registered.
    pub registered_at: DateTime<Utc>,
    /// When it was last changed or registered.
    pub updated_at: DateTime<Utc>,
    /// Position of its last event.
    pub position: Position,
    /// Its version for `If-Match`: the sequence of its last event.
    pub etag: String,
    /// Read models that do not show it as it is; left out where all do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<Parked>,
}

/// What the rows are called in an alarm.
pub(crate) const LIST: &str = "workers";

const SELECT: &str = "
    SELECT created_position, id, name, address,
           json_build_object('cpu_cores', cpu_cores, 'memory_gb', memory_gb, 'storage_gb', storage_gb,
                             'max_nodes', max_nodes) AS capacity,
           json_build_object('first', first_port, 'last', last_port) AS port_range,
           registered_at, updated_at, position, '\"' || sequence || '\"' AS etag
      FROM read_workers.workers WHERE true";

/// Begins a statement that selects workers; `) r` ends it.
pub(crate) fn select() -> QueryBuilder<Postgres> {
    QueryBuilder::new(page::select("id", "created_position") + SELECT)
}

impl Projections {
    /// Workers, newest first.
    ///
    /// # Errors
    /// The cursor is none of this list's, or the database does not answer.
    pub async fn workers(&self, request: &PageRequest) -> Result<Page<WorkerRow>, ReadError> {
        let after = request.position().map_err(ReadError::Invalid)?;
        let mut query = select();
        if let Some(after) = after {
            query.push(" AND created_position < ").push_bind(after);
        }
        query.push(" ORDER BY created_position DESC LIMIT ").push_bind(request.fetch()).push(") r");
        let mut page: Page<WorkerRow> = self.page_of(LIST, query, request).await?;
        self.mark_workers(page.items.iter_mut()).await?;
        Ok(page)
    }

    /// One worker.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn worker(&self, id: &WorkerId) -> Result<Option<WorkerRow>, ReadError> {
        let mut query = select();
        query.push(" AND id = ").push_bind(id.as_str().to_owned()).push(") r");
        let mut row: Option<WorkerRow> = self.row_of(LIST, query).await?;
        self.mark_workers(row.iter_mut()).await?;
        Ok(row)
    }

    /// Marks those that are parked.
    async fn mark_workers<'a>(&self, rows: impl Iterator<Item = &'a mut WorkerRow>) -> Result<(), ReadError> {
        let rows: Vec<&mut WorkerRow> = rows.collect();
        let ids = rows.iter().map(|row| row.id.to_string()).collect();
        let mut parked = self.parked(AggregateKind::Worker, ids).await?;
        for row in rows {
            row.parked = parked.remove(row.id.as_str()).unwrap_or_default();
        }
        Ok(())
    }
}

/// Keeps the workers.
#[derive(Debug)]
pub struct Workers;

impl Projector for Workers {
    fn revision(&self) -> i32 {
        1
    }

    fn follows(&self) -> &'static [AggregateKind] {
        &[AggregateKind::Worker]
    }

    fn keyed_by(&self) -> Option<(AggregateKind, &'static str)> {
        Some((AggregateKind::Worker, "workers"))
    }

    fn apply<'a>(
        &'a self,
        tables: &'a mut PgConnection,
        recorded: &'a Recorded<'a>,
    ) -> BoxFuture<'a, Result<Applied, ApplyError>> {
        apply(tables, recorded).boxed()
    }
}

async fn apply(tables: &mut PgConnection, recorded: &Recorded<'_>) -> Result<Applied, ApplyError> {
    let event = match recorded.event {
        Event::Worker(event) => event,
        Event::Session(_) | Event::Definition(_) => return Ok(Applied::Ignored),
    };
    let (statement, worker_id, profile, at) = match event.as_ref() {
        WorkerEvent::Registered { worker_id, profile, registered_at } => (
            "INSERT INTO workers (id, name, address, cpu_cores, memory_gb, storage_gb, max_nodes, first_port, last_port,
                 registered_at, updated_at, created_position, position, sequence)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11, $11, $12)",
            worker_id,
            profile,
            registered_at,
        ),
        WorkerEvent::Changed { worker_id, after, changed_at, .. } => (
            "UPDATE workers SET name = $2, address = $3, cpu_cores = $4, memory_gb = $5, storage_gb = $6, max_nodes = $7,
                 first_port = $8, last_port = $9, updated_at = $10, position = $11, sequence = $12
             WHERE id = $1",
            worker_id,
            after,
            changed_at,
        ),
    };
    let result = sqlx::query(statement)
        .bind(worker_id.as_str())
        .bind(&profile.name)
        .bind(String::from(profile.address.clone()))
        .bind(i64::from(profile.capacity.cpu_cores))
        .bind(i64::from(profile.capacity.memory_gb))
        .bind(i64::from(profile.capacity.storage_gb))
        .bind(i64::from(profile.capacity.max_nodes))
        .bind(i32::from(profile.port_range.first().get()))
        .bind(i32::from(profile.port_range.last().get()))
        .bind(at)
        .bind(&recorded.position)
        .bind(recorded.sequence())
        .execute(tables)
        .await?;
    expect_one(&result, "a worker is registered or changed")
}
