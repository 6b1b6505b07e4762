//! `lablet export`: views of analysts as files, incremental by position.
//!
//! Reads as an analyst, who sees no more than `analytics_v1` and can change nothing. A run reads one snapshot, up to the
//! oldest open transaction: what that writes comes with the next run, as it stands behind it in the order of the log. Each
//! file names the range of positions that it holds, and is complete once it has its name; so the files say where a run that
//! was killed goes on. Rows of one position are never in two files.

mod column;
mod file;
mod folder;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

pub(crate) use self::column::{ColumnType, Part, ViewColumn};
pub(crate) use self::folder::{ExportFolder, FileArguments};
use crate::exit::{ExitStatus, Failure};
use crate::progress::{Progress, Unit};
use crate::ready::Ready;
use crate::secret::Secret;
use crate::terminal::say;

/// Rows fetched at once.
const FETCHED: usize = 2_000;
/// How long the database may take to answer the first time.
const CONNECTED_WITHIN: Duration = Duration::from_secs(15);

/// What to export, and where to.
#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// A view of the schema analytics_v1, e.g. `events`, `observations` or `session_steps`.
    view: String,
    #[command(flatten)]
    files: FileArguments,
    /// The database as an analyst reads it, postgresql://user:password@host/database. Unless given: that of `lablet up`.
    #[arg(long, env = "LABLET_ANALYST_DATABASE_URL", hide_env_values = true)]
    analyst_database_url: Option<Secret>,
    /// Data folder of `lablet up`, where the database is looked up unless it is given.
    #[arg(long, env = "LABLET_DATA_DIR", default_value = ".lablet")]
    data_dir: PathBuf,
}

/// Exports what is new.
pub(crate) async fn run(arguments: ExportArguments) -> anyhow::Result<()> {
    let url = match arguments.analyst_database_url {
        Some(ref url) => url.clone(),
        None => Ready::read(&arguments.data_dir)?
            .and_then(|ready| ready.analyst_database_url)
            .context("no database is known: set LABLET_ANALYST_DATABASE_URL, or run `lablet up` in this folder")?,
    };
    let mut connection = connect(&url).await?;
    let columns = columns(&mut connection, &arguments.view).await?;
    let folder = ExportFolder::open(&arguments.files, &arguments.view)?;
    let folder = export(&mut connection, &arguments, &columns, folder).await?;
    connection.close().await.context("the database does not answer")?;
    say(&folder.summary())
}

async fn connect(url: &Secret) -> anyhow::Result<PgConnection> {
    let options: PgConnectOptions =
        url.reveal().parse().map_err(|_| anyhow::anyhow!("the database's address is no URL"))?;
    let unreachable = || Failure::new(ExitStatus::Unavailable, "the database does not answer");
    let options = options.application_name("lablet-export").disable_statement_logging();
    tokio::time::timeout(CONNECTED_WITHIN, options.connect()).await.with_context(unreachable)?.with_context(unreachable)
}

/// The columns of a view, in its order.
async fn columns(connection: &mut PgConnection, view: &str) -> anyhow::Result<Vec<ViewColumn>> {
    let found: Vec<(String, String)> = sqlx::query_as(
        "SELECT a.attname::text, format_type(a.atttypid, NULL)
           FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE n.nspname = 'analytics_v1' AND c.relname = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
    )
    .bind(view)
    .fetch_all(connection)
    .await
    .context("the views cannot be looked up")?;
    if found.is_empty() {
        return Err(Failure::new(ExitStatus::NotFound, format!("analytics_v1 has no view {view}")).into());
    }
    let columns: Vec<ViewColumn> = found.into_iter().map(|(name, kind)| ViewColumn::new(name, &kind)).collect();
    ensure!(
        columns.iter().any(|column| column.name == "position"),
        "{view} has no positions, so that it cannot be told what of it is new"
    );
    Ok(columns)
}

async fn export(
    connection: &mut PgConnection,
    arguments: &ExportArguments,
    columns: &[ViewColumn],
    mut folder: ExportFolder,
) -> anyhow::Result<ExportFolder> {
    let view = &arguments.view;
    let after = folder.position().to_owned();
    let mut transaction = connection.begin().await.context("the database does not answer")?;
    sqlx::raw_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut *transaction).await?;
    // Positions sort as texts. Below this one nothing can appear any more: a transaction that is open stands behind it.
    let bound: String = sqlx::query_scalar(
        "SELECT coalesce((SELECT left(max(log_head), 10) FROM analytics_v1.freshness), repeat('0', 10))
                || '-' || lpad(pg_snapshot_xmin(pg_current_snapshot())::text, 20, '0')",
    )
    .fetch_one(&mut *transaction)
    .await?;
    let range = "position > $1 AND position < $2";
    let total: i64 =
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM analytics_v1.{view} WHERE {range}")))
            .bind(&after)
            .bind(&bound)
            .fetch_one(&mut *transaction)
            .await?;
    let progress = Progress::begin(format!("exporting {view}"), Unit::Things("rows"), Some(total.unsigned_abs()));
    let expressions: Vec<&str> = columns.iter().map(|column| column.expression.as_str()).collect();
    let declared = format!(
        "DECLARE exported NO SCROLL CURSOR FOR SELECT {} FROM analytics_v1.{view} WHERE {range} ORDER BY {view}.position",
        expressions.join(", ")
    );
    sqlx::query(AssertSqlSafe(declared)).bind(&after).bind(&bound).execute(&mut *transaction).await?;

    let mut part = Part::new(columns);
    loop {
        let fetch = format!("FETCH {FETCHED} FROM exported");
        let rows = sqlx::query(AssertSqlSafe(fetch)).fetch_all(&mut *transaction).await?;
        let is_last = rows.len() < FETCHED;
        for row in &rows {
            if part.is_full(arguments.files.rows_per_file)
                && part.position(part.rows - 1)? != row.try_get::<&str, _>("position")?
            {
                folder.write(&part)?;
                part = Part::new(columns);
            }
            part.push(row)?;
        }
        progress.reach(folder.rows() + part.rows as u64);
        if is_last {
            break;
        }
    }
    folder.write(&part)?;
    transaction.rollback().await.context("the database does not answer")?;
    Ok(folder)
}
