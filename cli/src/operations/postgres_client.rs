//! Postgres's own programs, run on the database: found, given the password without showing it, watched and ended.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use sqlx::postgres::PgPool;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::manifest::TableSize;
use crate::progress::{Progress, Unit};
use crate::secret::Secret;

/// How often it is looked how far a program is.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A program that has not moved for so long is ended.
const STALLED_AFTER: Duration = Duration::from_secs(600);
/// How long listing a dump may take.
const LIST_WITHIN: Duration = Duration::from_secs(60);
/// Last lines of a program that are shown when it fails.
const LAST_LINES: usize = 10;
/// Longest line of a program that is read.
const LONGEST_LINE: u64 = 16 * 1024;

/// Postgres's programs for one database.
pub(super) struct PostgresClient {
    address: Url,
    password: Option<String>,
    pool: PgPool,
    /// Major version of the server.
    pub(super) version: u32,
}

impl PostgresClient {
    /// For the database at this address.
    pub(super) async fn connect(url: &Secret) -> anyhow::Result<Self> {
        let pool = app::log::pool(url.reveal(), 2)?;
        let version: String = sqlx::query_scalar("SHOW server_version_num")
            .fetch_one(&pool)
            .await
            .context("the database does not answer")?;
        let version = version.parse::<u32>().context("Postgres does not tell its version")? / 10_000;
        let mut address = Url::parse(url.reveal()).map_err(|_| anyhow::anyhow!("the database's address is no URL"))?;
        let password = address
            .password()
            .map(|password| percent_encoding::percent_decode_str(password).decode_utf8_lossy().into_owned());
        // In an argument everybody on the machine could read it.
        address
            .set_password(None)
            .map_err(|()| anyhow::anyhow!("the database's address has no place for a password"))?;
        Ok(Self { address, password, pool, version })
    }

    /// Connections to the same database.
    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A program with the database's address as its first argument.
    fn command(&self, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        command.arg("--dbname").arg(self.address.as_str());
        command.env("LC_ALL", "C").env("PGAPPNAME", "lablet").env("PGCONNECT_TIMEOUT", "10");
        if let Some(password) = &self.password {
            command.env("PGPASSWORD", password);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs a program to its end, which says by `--verbose` which table it is at.
    pub(super) async fn run(
        &self,
        program: &'static str,
        arguments: Vec<OsString>,
        tables: &[TableSize],
        progress: Progress,
        cancelled: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut command = self.command(servers::client_program(program, self.version)?);
        let mut child = command.args(arguments).spawn().with_context(|| format!("{program} cannot be started"))?;
        let said = child.stderr.take().with_context(|| format!("{program} has no standard error"))?;
        let mut said = BufReader::new(said);
        let mut course = Course::new(tables);
        let mut last_lines: Vec<String> = Vec::new();
        let mut moved = (course.done(0.0), Instant::now());
        let mut line = Vec::new();
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            let mut bounded = (&mut said).take(LONGEST_LINE);
            tokio::select! {
                () = cancelled.cancelled() => bail!("it was interrupted"),
                read = bounded.read_until(b'\n', &mut line) => {
                    if read.with_context(|| format!("what {program} says cannot be read"))? == 0 {
                        break;
                    }
                    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                    course.hear(&text);
                    last_lines.push(text);
                    if last_lines.len() > LAST_LINES {
                        last_lines.remove(0);
                    }
                    line.clear();
                    moved.1 = Instant::now();
                }
                _ = ticks.tick() => {
                    let done = course.done(self.part_of_current(&course).await);
                    if done != moved.0 {
                        moved = (done, Instant::now());
                    }
                    if moved.1.elapsed() > STALLED_AFTER {
                        bail!("{program} has not moved for {} s", STALLED_AFTER.as_secs());
                    }
                    progress.reach(done);
                }
            }
        }
        let status = child.wait().await.with_context(|| format!("{program} cannot be waited for"))?;
        drop(progress);
        if !status.success() {
            bail!("{program} ended with {status}:\n{}", last_lines.join("\n"));
        }
        Ok(())
    }

    /// What a dump holds, as `pg_restore --list` has it.
    pub(super) async fn contents(&self, dump: &Path) -> anyhow::Result<String> {
        let program = servers::client_program("pg_restore", self.version)?;
        let mut command = Command::new(program);
        command.arg("--list").arg(dump).env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
        let listed = tokio::time::timeout(LIST_WITHIN, command.output())
            .await
            .context("pg_restore does not list the dump")?
            .context("pg_restore cannot be started")?;
        if !listed.status.success() {
            bail!("the dump cannot be read: {}", String::from_utf8_lossy(&listed.stderr).trim_end());
        }
        Ok(String::from_utf8_lossy(&listed.stdout).into_owned())
    }

    /// How much of the table at hand is copied, from 0 to 1; 0 where Postgres does not say.
    async fn part_of_current(&self, course: &Course<'_>) -> f64 {
        let Some(rows) = course.current.and_then(|table| table.rows).filter(|rows| *rows > 0) else { return 0.0 };
        let copied = sqlx::query_scalar!(
            r#"SELECT max(tuples_processed) AS copied FROM pg_stat_progress_copy WHERE datname = current_database()"#
        );
        match tokio::time::timeout(Duration::from_secs(2), copied.fetch_one(&self.pool)).await {
            Ok(Ok(Some(copied))) => (copied as f64 / rows as f64).clamp(0.0, 1.0),
            Ok(Ok(None) | Err(_)) | Err(_) => 0.0,
        }
    }
}

/// Progress bar of a program over tables of these sizes.
pub(super) fn progress_over(label: &'static str, tables: &[TableSize]) -> Progress {
    Progress::begin(label, Unit::Bytes, Some(tables.iter().map(|table| table.bytes).sum()))
}

/// Where a program is: which tables it is done with, and which it is at.
struct Course<'a> {
    tables: HashMap<&'a str, &'a TableSize>,
    finished_bytes: u64,
    current: Option<&'a TableSize>,
}

impl<'a> Course<'a> {
    fn new(tables: &'a [TableSize]) -> Self {
        let tables = tables.iter().map(|table| (table.table.as_str(), table)).collect();
        Self { tables, finished_bytes: 0, current: None }
    }

    /// Takes a line: `pg_dump: dumping contents of table "public.events"`, `pg_restore: processing data for table …`.
    fn hear(&mut self, line: &str) {
        let named = ["dumping contents of table \"", "processing data for table \""]
            .into_iter()
            .find_map(|before| line.split_once(before)?.1.split_once('"'));
        let Some((table, _)) = named else { return };
        self.finished_bytes += self.current.take().map_or(0, |table| table.bytes);
        self.current = self.tables.get(table).copied();
    }

    /// Bytes that are done, where this part of the table at hand is.
    fn done(&self, part: f64) -> u64 {
        self.finished_bytes + self.current.map_or(0, |table| (table.bytes as f64 * part) as u64)
    }
}

/// The tables of the log and the read models, with their sizes.
pub(super) async fn tables(pool: &PgPool) -> anyhow::Result<Vec<TableSize>> {
    let rows = sqlx::query!(
        r#"SELECT n.nspname || '.' || c.relname AS "name!", pg_table_size(c.oid) AS "bytes!", c.reltuples::bigint AS "rows!"
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"#
    )
    .fetch_all(pool)
    .await
    .context("the tables cannot be listed")?;
    let size = |bytes: i64| u64::try_from(bytes).unwrap_or_default();
    Ok(rows
        .into_iter()
        .map(|row| TableSize { table: row.name, bytes: size(row.bytes), rows: u64::try_from(row.rows).ok() })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_course_follows_what_the_programs_say() {
        let table = |table: &str, bytes| TableSize { table: table.to_owned(), bytes, rows: Some(10) };
        let tables = [table("public.events", 1_000), table("public.relays", 10)];
        let mut course = Course::new(&tables);
        course.hear("pg_dump: reading schemas");
        assert_eq!(course.done(0.5), 0);
        course.hear("pg_dump: dumping contents of table \"public.events\"");
        assert_eq!(course.done(0.5), 500);
        course.hear("pg_restore: processing data for table \"public.relays\"");
        assert_eq!(course.done(1.0), 1_010);
    }
}
