//! `lablet export`: views of analysts as files, incremental by position.
//!
//! Reads as an analyst, who sees no more than `analytics_v1` and can change nothing. A run reads one snapshot, up to the
//! oldest open transaction: what that writes comes with the next run, as it stands behind it in the order of the log. Each
//! file names the range of positions that it holds, and is complete once it has its name; so the files say where a run that
//! was killed goes on. Rows of one position are never in two files.

mod column;
mod file;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use self::column::{Part, ViewColumn};
pub(crate) use self::file::FileFormat;
use crate::exit::{ExitStatus, Failure};
use crate::progress::{Progress, Unit};
use crate::ready::Ready;
use crate::secret::{Secret, write_private};
use crate::terminal::say;

/// Rows fetched at once.
const FETCHED: usize = 2_000;
/// Bytes in memory, about, at which a file is written in any case.
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// How long the database may take to answer the first time.
const CONNECTED_WITHIN: Duration = Duration::from_secs(15);
/// Where an export says how far it came, beside its files.
const STATE: &str = "export.json";

/// What to export, and where to.
#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// A view of the schema analytics_v1, e.g. `events`, `observations` or `session_steps`.
    view: String,
    /// What to write.
    #[arg(long, value_enum, default_value_t = FileFormat::Parquet)]
    format: FileFormat,
    /// The folder; files are in a folder of the view's name in it, which is made where it does not exist.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// Begin after this position, instead of where the last export into this folder ended.
    #[arg(long, value_name = "POSITION", value_parser = position)]
    after: Option<String>,
    /// Most rows of a file, unless more have the same position.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rows_per_file: u32,
    /// The database as an analyst reads it, postgresql://user:password@host/database. Unless given: that of `lablet up`.
    #[arg(long, env = "LABLET_ANALYST_DATABASE_URL", hide_env_values = true)]
    analyst_database_url: Option<Secret>,
    /// Data folder of `lablet up`, where the database is looked up unless it is given.
    #[arg(long, env = "LABLET_DATA_DIR", default_value = ".lablet")]
    data_dir: PathBuf,
}

fn position(text: &str) -> Result<String, String> {
    text.parse::<app::log::Position>().map(|position| position.to_string()).map_err(|error| error.to_string())
}

/// How far an export came.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    view: String,
    /// Everything up to this position was exported.
    position: String,
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
    let folder = arguments.to.join(&arguments.view);
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let exported = export(&mut connection, &arguments, &columns, &folder).await?;
    connection.close().await.context("the database does not answer")?;
    say(&format!(
        "{} rows of {} in {} files, up to {}",
        exported.rows, arguments.view, exported.files, exported.position
    ))
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

/// What a run exported.
struct Exported {
    rows: u64,
    files: u64,
    position: String,
}

async fn export(
    connection: &mut PgConnection,
    arguments: &ExportArguments,
    columns: &[ViewColumn],
    folder: &Path,
) -> anyhow::Result<Exported> {
    let view = &arguments.view;
    remove_drafts(folder)?;
    let after = match &arguments.after {
        Some(after) => after.clone(),
        None => reached(folder, view)?.unwrap_or_else(|| app::log::Position::START.to_string()),
    };
    let mut transaction = connection.begin().await.context("the database does not answer")?;
    sqlx::raw_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut *transaction).await?;
    // Positions sort as texts. Below this one nothing can appear any more: a transaction that is open stands behind it.
    let bound: String = sqlx::query_scalar(
        "SELECT coalesce((SELECT left(max(position), 10) FROM analytics_v1.events), repeat('0', 10))
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

    let mut exported = Exported { rows: 0, files: 0, position: after };
    let mut part = Part::new(columns);
    loop {
        let fetch = format!("FETCH {FETCHED} FROM exported");
        let rows = sqlx::query(AssertSqlSafe(fetch)).fetch_all(&mut *transaction).await?;
        let is_last = rows.len() < FETCHED;
        for row in &rows {
            let is_full = part.rows >= arguments.rows_per_file as usize || part.bytes >= MOST_BYTES;
            if is_full && part.position(part.rows - 1)? != row.try_get::<&str, _>("position")? {
                exported.write(arguments, folder, &part)?;
                part = Part::new(columns);
            }
            part.push(row)?;
        }
        progress.reach(exported.rows + part.rows as u64);
        if is_last {
            break;
        }
    }
    if part.rows > 0 {
        exported.write(arguments, folder, &part)?;
    }
    transaction.rollback().await.context("the database does not answer")?;
    Ok(exported)
}

impl Exported {
    /// Writes a file, and then how far that is.
    fn write(&mut self, arguments: &ExportArguments, folder: &Path, part: &Part) -> anyhow::Result<()> {
        let last = part.position(part.rows - 1)?.to_owned();
        let name = format!("{}_{last}.{}", part.position(0)?, arguments.format.extension());
        arguments.format.write(part, &folder.join(name))?;
        let state = State { view: arguments.view.clone(), position: last.clone() };
        write_private(&folder.join(STATE), &serde_json::to_string(&state)?)?;
        self.rows += part.rows as u64;
        self.files += 1;
        self.position = last;
        Ok(())
    }
}

/// What a run that was killed left half written.
fn remove_drafts(folder: &Path) -> anyhow::Result<()> {
    for name in names(folder)? {
        if name.ends_with(".part") {
            std::fs::remove_file(folder.join(&name)).with_context(|| format!("{name} cannot be removed"))?;
        }
    }
    Ok(())
}

/// Up to where a folder holds everything: by its state, or by a file that was written after it.
fn reached(folder: &Path, view: &str) -> anyhow::Result<Option<String>> {
    let mut reached = None;
    match std::fs::read_to_string(folder.join(STATE)) {
        Ok(text) => {
            let state: State =
                serde_json::from_str(&text).with_context(|| format!("{STATE} is no state of an export"))?;
            if state.view != view {
                bail!("{} is an export of {}", folder.display(), state.view);
            }
            reached = Some(state.position);
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("{STATE} cannot be read")),
    }
    for name in names(folder)? {
        let last = name.split_once('.').and_then(|(range, _)| range.split_once('_')).map(|(_, last)| last.to_owned());
        let last = last.filter(|last| last.parse::<app::log::Position>().is_ok());
        reached = reached.max(last);
    }
    Ok(reached)
}

fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let failed = || format!("{} cannot be read", folder.display());
    let entries = std::fs::read_dir(folder).with_context(failed)?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect::<std::io::Result<Vec<String>>>().with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u32) -> String {
        format!("0000000001-00000000000000000007-{number:019}")
    }

    #[test]
    fn a_folder_says_how_far_it_came_even_where_the_state_was_not_written_any_more() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(reached(folder.path(), "events").unwrap(), None);
        let state = State { view: "events".to_owned(), position: at(4) };
        std::fs::write(folder.path().join(STATE), serde_json::to_string(&state).unwrap()).unwrap();
        assert_eq!(reached(folder.path(), "events").unwrap(), Some(at(4)), "the files may have been taken away");
        std::fs::write(folder.path().join(format!("{}_{}.csv", at(5), at(9))), "").unwrap();
        std::fs::write(folder.path().join(format!("{}_{}.csv.part", at(10), at(12))), "").unwrap();
        remove_drafts(folder.path()).unwrap();
        assert_eq!(reached(folder.path(), "events").unwrap(), Some(at(9)));
        reached(folder.path(), "sessions").unwrap_err();
    }
}
