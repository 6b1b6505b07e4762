//! How far each read model has come.

use std::time::Duration;

use app::log::Position;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::{FromRow, PgConnection, PgExecutor};

use crate::{Projections, QueryError};

/// Where a read model is, and the revision of its projector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) position: Position,
    pub(crate) revision: i32,
}

impl Checkpoint {
    fn of(row: (String, i32)) -> sqlx::Result<Self> {
        Ok(Self { position: position(&row.0)?, revision: row.1 })
    }

    pub(crate) async fn load(executor: impl PgExecutor<'_>, name: &str) -> sqlx::Result<Option<Self>> {
        let row = sqlx::query_as("SELECT position, revision FROM read_models.projection_checkpoints WHERE name = $1")
            .bind(name)
            .fetch_optional(executor)
            .await?;
        row.map(Self::of).transpose()
    }

    /// Takes the row until the end of the transaction, and prepares the transaction for a projector: its tables are
    /// found in `schema`, and no statement of it takes longer than 30 s.
    pub(crate) async fn lock(
        connection: &mut PgConnection,
        name: &str,
        schema: &'static str,
    ) -> sqlx::Result<Option<Self>> {
        let row: Option<(String, i32, String, String)> = sqlx::query_as(
            "SELECT position, revision, set_config('search_path', $2, true), set_config('statement_timeout', '30s', true)
               FROM read_models.projection_checkpoints WHERE name = $1 FOR UPDATE",
        )
        .bind(name)
        .bind(format!("{schema}, public"))
        .fetch_optional(connection)
        .await?;
        row.map(|(position, revision, ..)| Self::of((position, revision))).transpose()
    }

    /// The row of a read model, made at the beginning of the log where there is none.
    pub(crate) async fn ensure(connection: &mut PgConnection, name: &str, revision: i32) -> sqlx::Result<Self> {
        sqlx::query(
            "INSERT INTO read_models.projection_checkpoints (name, revision, position) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(name)
        .bind(revision)
        .bind(Position::START.to_string())
        .execute(&mut *connection)
        .await?;
        Self::load(connection, name).await?.ok_or(sqlx::Error::RowNotFound)
    }

    pub(crate) async fn store(self, connection: &mut PgConnection, name: &str) -> sqlx::Result<()> {
        sqlx::query(
            "UPDATE read_models.projection_checkpoints SET position = $2, revision = $3, moved_at = clock_timestamp()
              WHERE name = $1",
        )
        .bind(name)
        .bind(self.position.to_string())
        .bind(self.revision)
        .execute(connection)
        .await?;
        Ok(())
    }
}

pub(crate) fn position(text: &str) -> sqlx::Result<Position> {
    text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// How a read model stands.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema, FromRow)]
pub struct ProjectionStatus {
    /// Its name; with `.rebuild` where it is being rebuilt beside the live one.
    pub name: String,
    /// Revision of the projector that filled it.
    pub revision: i32,
    /// The last event that it has seen.
    pub position: String,
    /// When it last moved.
    pub moved_at: DateTime<Utc>,
    /// About how many events it has not seen. Numbers that were given out and never used count too.
    pub lag_events: i64,
    /// For how long the oldest event that it has not seen has been in the log, in seconds; 0 where it has seen all.
    pub lag_seconds: f64,
    /// Events that wait in the dead letters.
    pub parked: i64,
}

/// A read model is not as far as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read model {projection} is at {position}, before {wanted}")]
pub struct Behind {
    /// The read model that is furthest behind.
    pub projection: String,
    /// Where it is.
    pub position: Position,
    /// Where it should be.
    pub wanted: Position,
}

/// Waiting for a read model ended without it.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// It did not get there in time.
    #[error(transparent)]
    Behind(#[from] Behind),
    /// The database does not answer.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl Projections {
    /// How each read model stands, by name.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn status(&self) -> Result<Vec<ProjectionStatus>, QueryError> {
        Ok(sqlx::query_as(
            "SELECT name, revision, position, moved_at,
                    CASE WHEN next.recorded_at IS NULL THEN 0
                         ELSE greatest(1, coalesce((SELECT max(head.position) FROM
                              (SELECT position FROM public.events ORDER BY epoch DESC, written_by DESC, position DESC
                                LIMIT 1) AS head), 0) - split_part(checkpoint.position, '-', 3)::bigint)
                    END AS lag_events,
                    coalesce(extract(epoch FROM clock_timestamp() - next.recorded_at), 0)::double precision
                        AS lag_seconds,
                    (SELECT count(*) FROM read_models.projection_dead_letters
                      WHERE projection = name AND status = 'parked') AS parked
               FROM read_models.projection_checkpoints AS checkpoint
               LEFT JOIN LATERAL (
                    SELECT recorded_at FROM public.events
                     WHERE (epoch, written_by, events.position)
                           > (split_part(checkpoint.position, '-', 1)::integer,
                              ltrim(split_part(checkpoint.position, '-', 2), '0')::text::xid8,
                              split_part(checkpoint.position, '-', 3)::bigint)
                     ORDER BY epoch, written_by, events.position LIMIT 1) AS next ON true
              ORDER BY name",
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Waits until a read model has seen the event at `wanted`, or all of them where none is named.
    ///
    /// # Errors
    /// [`WaitError::Behind`] after `timeout`.
    pub async fn wait_for(&self, name: Option<&str>, wanted: Position, timeout: Duration) -> Result<(), WaitError> {
        if wanted == Position::START || self.has_seen(name, wanted) {
            return Ok(());
        }
        let deadline = tokio::time::Instant::now() + timeout;
        let mut moved = self.moved();
        let mut backoff = app::bus::Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
        loop {
            // The runner may be in another process, so the rows are asked too.
            let Some(behind) = self.behind(name, wanted).await? else { return Ok(()) };
            let poll = tokio::time::sleep(backoff.next_wait());
            tokio::pin!(poll);
            loop {
                tokio::select! {
                    () = &mut poll => break,
                    () = tokio::time::sleep_until(deadline) => return Err(behind.into()),
                    changed = moved.changed() => {
                        if changed.is_ok() && self.has_seen(name, wanted) {
                            return Ok(());
                        }
                    }
                }
            }
        }
    }

    /// Whether the runner of this process has come that far.
    fn has_seen(&self, name: Option<&str>, wanted: Position) -> bool {
        let moved = self.moved.borrow();
        match name {
            Some(name) => moved.get(name).is_some_and(|position| *position >= wanted),
            None => !moved.is_empty() && moved.values().all(|position| *position >= wanted),
        }
    }

    async fn behind(&self, name: Option<&str>, wanted: Position) -> Result<Option<Behind>, QueryError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT name, position FROM read_models.projection_checkpoints
              WHERE name = $1 OR ($1 IS NULL AND name NOT LIKE '%.rebuild') ORDER BY position",
        )
        .bind(name)
        .fetch_all(&self.pool)
        .await?;
        let Some((projection, text)) = rows.into_iter().next() else {
            let projection = name.unwrap_or("every read model").to_owned();
            return Ok(Some(Behind { projection, position: Position::START, wanted }));
        };
        let position = position(&text)?;
        Ok((position < wanted).then_some(Behind { projection, position, wanted }))
    }
}
