//! Where a read model is, and whose turn it is to move it.

use app::log::Position;
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{Executor, Postgres, Row as _};

use crate::read_models::ReadModel;

/// Which tables of a read model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tables {
    /// Those that are read.
    Live,
    /// Those that a rebuild fills.
    Next,
}

impl Tables {
    /// The schema of these tables.
    pub(crate) fn schema(self, model: ReadModel) -> String {
        match self {
            Self::Live => model.schema().to_owned(),
            Self::Next => format!("{}_next", model.schema()),
        }
    }
}

/// Where tables are. Rows that were loaded at a checkpoint are as they were while it is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Every event up to here is applied or parked.
    pub(crate) position: Position,
    /// Of the fold that made the rows.
    pub(crate) revision: i32,
    /// Raised with every change of rows, those of a retry included.
    pub(crate) changes: i64,
}

impl Checkpoint {
    /// As it is now.
    pub(crate) async fn read(database: impl Executor<'_, Database = Postgres>, schema: &str) -> sqlx::Result<Self> {
        let statement = format!("SELECT position, revision, changes FROM {schema}.checkpoint");
        Self::from_row(&sqlx::query(AssertSqlSafe(statement)).fetch_one(database).await?)
    }

    /// As it is now, and stays until the transaction ends.
    pub(crate) async fn lock(connection: &mut PgConnection, schema: &str) -> sqlx::Result<Self> {
        let statement = format!("SELECT position, revision, changes FROM {schema}.checkpoint FOR UPDATE");
        Self::from_row(&sqlx::query(AssertSqlSafe(statement)).fetch_one(connection).await?)
    }

    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let position: String = row.try_get("position")?;
        Ok(Self {
            position: crate::parse_position(&position)?,
            revision: row.try_get("revision")?,
            changes: row.try_get("changes")?,
        })
    }

    /// Parameters of [`Checkpoint::move_statement`].
    pub(crate) const MOVE_PARAMETERS: usize = 4;

    /// Bounds a transaction that moves it. Losing the last commits in a crash of Postgres loses nothing: rows and checkpoint
    /// go back together.
    pub(crate) async fn bound_transaction(connection: &mut PgConnection) -> sqlx::Result<()> {
        let settings = "SET LOCAL synchronous_commit = off; SET LOCAL statement_timeout = '30s';
                        SET LOCAL idle_in_transaction_session_timeout = '30s'";
        sqlx::raw_sql(settings).execute(connection).await?;
        Ok(())
    }

    /// The statement that moves it on if it still is the expected one and nobody else is moving it; then it returns a row.
    pub(crate) fn move_statement(schema: &str) -> String {
        format!(
            "UPDATE {schema}.checkpoint c SET position = $1, changes = c.changes + 1, moved_at = clock_timestamp()
               FROM (SELECT only_row FROM {schema}.checkpoint
                      WHERE position = $2 AND revision = $3 AND changes = $4 FOR UPDATE SKIP LOCKED) held
              WHERE c.only_row = held.only_row RETURNING 1"
        )
    }

    /// Binds the parameters of a move to here.
    pub(crate) fn bind_move(
        self,
        query: Query<'_, Postgres, PgArguments>,
        to: Position,
    ) -> Query<'_, Postgres, PgArguments> {
        query.bind(to.to_string()).bind(self.position.to_string()).bind(self.revision).bind(self.changes)
    }

    /// What it is after a move.
    pub(crate) fn moved(self, to: Position) -> Self {
        Self { position: to, changes: self.changes + 1, ..self }
    }
}
