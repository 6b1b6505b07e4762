//! `lablet restore`: a backup into an empty database, with a new epoch.
//!
//! The database is marked first, and the mark goes with the beginning of the epoch, in one transaction: whatever is
//! interrupted in between, nothing can be appended ([`app::log::RestoreState`]).

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use app::log::{EpochBeginning, partitions};
use app::relay::{Repair, RepairReport};
use clap::Args;
use servers::{PostgresOptions, PostgresServer};
use sqlx::AssertSqlSafe;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPool;
use tokio_util::sync::CancellationToken;

use super::analysts;
use super::manifest::Manifest;
use super::postgres_client::{PostgresClient, progress_over};
use super::republish;
use crate::configuration::{PRIVATE_DATABASE, StoresArguments};
use crate::roles::{self, Store};
use crate::secret::Secret;
use crate::shutdown;
use crate::terminal::say;
use crate::version;

/// How long the bus is waited for, if it is there.
const BUS_WITHIN: Duration = Duration::from_secs(10);

/// What, and where to.
#[derive(Debug, Args)]
pub(crate) struct RestoreArguments {
    /// Folder that lablet backup made.
    backup: PathBuf,
    /// Only compare the backup with its manifest.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    stores: StoresArguments,
}

pub(super) async fn run(arguments: RestoreArguments) -> anyhow::Result<ExitCode> {
    let cancelled = shutdown::on_signal()?;
    let RestoreArguments { backup, check, stores } = arguments;
    let manifest = Manifest::read(&backup)?;
    let (looked_at, folder) = (manifest.clone(), backup.clone());
    let dump = tokio::task::spawn_blocking(move || looked_at.check_dump(&folder)).await??;
    let Manifest { events, head, made_at, .. } = &manifest;
    say(&format!("backup      of {}: {events} events, up to {head}", made_at.format("%Y-%m-%dT%H:%M:%SZ")))?;
    if check {
        say("checked     it is what was backed up")?;
        return Ok(ExitCode::SUCCESS);
    }
    // Where no database is named, it is the private one, which nobody runs now.
    let private = if stores.database.is_named() { None } else { Some(start_private(&stores).await?) };
    let url = match &private {
        Some(server) => server.url(PRIVATE_DATABASE).parse().map_err(anyhow::Error::msg)?,
        None => stores.database.owner_url()?,
    };
    let restored = restore(&url, &manifest, &dump, &cancelled).await;
    let begun = match restored {
        Ok(begun) => begun,
        Err(error) => {
            stop(private).await?;
            return Err(error);
        }
    };
    say(&format!("restored    epoch {} has begun: new events come after all that the database holds", begun.epoch))?;
    let cleaned = clean_bus(&url, &stores, private.is_some()).await;
    stop(private).await?;
    report(cleaned?)?;
    Ok(ExitCode::SUCCESS)
}

async fn start_private(stores: &StoresArguments) -> anyhow::Result<PostgresServer> {
    let options =
        PostgresOptions { data_dir: stores.database.private_postgres(), port: None, fsync: true, settings: Vec::new() };
    let server = PostgresServer::start(options).await.context("the private Postgres cannot be started")?;
    server.ensure_database(PRIVATE_DATABASE).await?;
    Ok(server)
}

async fn stop(private: Option<PostgresServer>) -> anyhow::Result<()> {
    if let Some(server) = private {
        server.stop().await?;
    }
    Ok(())
}

async fn restore(
    url: &Secret,
    manifest: &Manifest,
    dump: &Path,
    cancelled: &CancellationToken,
) -> anyhow::Result<EpochBeginning> {
    let known = version::schema();
    ensure!(
        manifest.schema_version <= known,
        "the backup has schema {}, and this version knows schemas up to {known}; lablet {} made it",
        manifest.schema_version,
        manifest.lablet_version
    );
    let client = PostgresClient::connect(url).await?;
    refuse_unless_empty(client.pool()).await?;
    sqlx::raw_sql("CREATE TABLE public.unfinished_restore (began_at timestamptz NOT NULL DEFAULT clock_timestamp())")
        .execute(client.pool())
        .await
        .context("the database cannot be written; that needs its owner")?;
    // Roles, rights and owners are as the migrations set them, whoever owned the database before.
    super::migrate_with(url, &migrations_up_to(manifest.schema_version)).await?;
    load(&client, manifest, dump, cancelled).await.context(
        "the restore was not finished; nothing can be written until it is repeated, into a database that is empty again",
    )?;
    super::migrate(url).await?;
    let begun = app::log::begin_epoch(client.pool(), Some(manifest.made_at))
        .await
        .context("the new epoch has not begun; lablet migrate --restored begins it")?;
    match analysts::password_of_environment()? {
        Some(password) => analysts::give_password(url, analysts::ANALYST, &password).await?,
        None => analysts::apply_limits(url).await?,
    }
    client.pool().close().await;
    Ok(begun)
}

fn migrations_up_to(version: i64) -> Migrator {
    Migrator::with_migrations(
        app::log::MIGRATOR.iter().filter(|migration| migration.version <= version).cloned().collect(),
    )
}

async fn refuse_unless_empty(pool: &PgPool) -> anyhow::Result<()> {
    let found = sqlx::query!(
        r#"SELECT current_database() AS "database!", count(*) AS "tables!",
                  coalesce(bool_or(c.relname = 'unfinished_restore'), false) AS "is_unfinished!"
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
              AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')"#
    )
    .fetch_one(pool)
    .await
    .context("the database cannot be looked at")?;
    let (database, tables) = (found.database, found.tables);
    let made = format!("DROP DATABASE {database}; CREATE DATABASE {database}");
    ensure!(
        !found.is_unfinished,
        "a restore into {database} was interrupted; make it anew first ({made}), then repeat it"
    );
    ensure!(
        tables == 0,
        "the database {database} holds {tables} tables and views; a backup is restored into an empty one: name another, or \
         make it anew first ({made})"
    );
    Ok(())
}

/// Copies the rows of the dump, all or none.
async fn load(
    client: &PostgresClient,
    manifest: &Manifest,
    dump: &Path,
    cancelled: &CancellationToken,
) -> anyhow::Result<()> {
    let listed = client.contents(dump).await?;
    // A migration makes the first partition only.
    for number in 2..=newest_partition(&listed) {
        partitions::make(client.pool(), number).await.context("the log's partitions cannot be made")?;
    }
    let tables: BTreeSet<String> =
        super::postgres_client::tables(client.pool()).await?.into_iter().map(|table| table.table).collect();
    let (wanted, unknown) = choose(&listed, &tables);
    if !unknown.is_empty() {
        // What somebody else put into the database: no migration makes it.
        tracing::warn!(tables = ?unknown, "tables that are not Lablet's were not restored");
    }
    // What the migrations put there comes from the dump, too. Of the log there is nothing yet.
    let filled: Vec<&str> = wanted.tables.iter().map(String::as_str).filter(|table| !is_of_the_log(table)).collect();
    let truncate = format!("TRUNCATE {}", filled.join(", "));
    sqlx::raw_sql(AssertSqlSafe(truncate)).execute(client.pool()).await.context("the tables cannot be emptied")?;
    let mut list = tempfile::NamedTempFile::new().context("no temporary file can be made")?;
    list.write_all(wanted.lines.join("\n").as_bytes()).context("the temporary file cannot be written")?;
    list.flush().context("the temporary file cannot be written")?;
    let arguments = vec![
        "--data-only".into(),
        "--single-transaction".into(),
        "--exit-on-error".into(),
        "--verbose".into(),
        "--use-list".into(),
        list.path().into(),
        dump.into(),
    ];
    let progress = progress_over("restore", &manifest.tables);
    client.run("pg_restore", arguments, &manifest.tables, progress, cancelled).await?;
    if manifest.schema_version >= partitions::SCHEMA {
        partitions::guard_current(client.pool()).await?;
    }
    sqlx::raw_sql("ANALYZE").execute(client.pool()).await?;
    Ok(())
}

/// Whether a table is the log, or one of its partitions.
fn is_of_the_log(table: &str) -> bool {
    table == "public.events" || partition(table).is_some()
}

/// The number of the partition that a table is.
fn partition(table: &str) -> Option<i32> {
    table.strip_prefix("public.events_")?.parse().ok()
}

/// The greatest number of a partition in a dump, as `pg_restore --list` has it.
fn newest_partition(listed: &str) -> i32 {
    let lines = listed.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, "TABLE", "DATA", schema, table, ..] = words.as_slice() else { return None };
        partition(&format!("{schema}.{table}"))
    });
    lines.max().unwrap_or(1)
}

/// What of a dump is restored.
#[derive(Debug, Default, PartialEq, Eq)]
struct Chosen {
    /// Its entries, as `pg_restore --list` has them.
    lines: Vec<String>,
    /// Tables whose rows are among them.
    tables: BTreeSet<String>,
}

/// Chooses the rows of tables that are there, and the values of sequences. Which migrations were applied is known.
fn choose(listed: &str, there: &BTreeSet<String>) -> (Chosen, Vec<String>) {
    let (mut chosen, mut unknown) = (Chosen::default(), Vec::new());
    for line in listed.lines() {
        // `3412; 0 16391 TABLE DATA public events owner`, `3433; 0 0 SEQUENCE SET public events_position_seq owner`
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [_, _, _, "TABLE", "DATA", schema, table, ..] => {
                let table = format!("{schema}.{table}");
                if table == "public._sqlx_migrations" {
                    continue;
                }
                if there.contains(&table) {
                    chosen.lines.push(line.to_owned());
                    chosen.tables.insert(table);
                } else {
                    unknown.push(table);
                }
            }
            [_, _, _, "SEQUENCE", "SET", ..] => chosen.lines.push(line.to_owned()),
            _ => {}
        }
    }
    (chosen, unknown)
}

/// Takes from the bus what the log does not hold any more, where there is a bus. What is left on it later, `lablet verify`
/// finds.
async fn clean_bus(url: &Secret, stores: &StoresArguments, is_private: bool) -> anyhow::Result<Option<RepairReport>> {
    let named = if is_private { stores.named_bus() } else { stores.stores_bus()? };
    if named.nats_url.is_none() {
        return Ok(None);
    }
    let bus = roles::connect_bus(&named, "lablet-restore").await?;
    bus.connected(BUS_WITHIN).await.context(
        "the log is restored; the bus does not answer, and may hold events that were lost: when it does, lablet republish \
         --remove-unknown takes them away",
    )?;
    app::relay::empty_records(&bus).await?;
    let store = Store::open(url, &bus::clock::Clock::system())?;
    republish::mend(&store, &bus, stores, Repair::RemoveUnknown).await.map(Some)
}

fn report(cleaned: Option<RepairReport>) -> anyhow::Result<()> {
    match cleaned {
        None => say("bus         it is not named; lablet verify tells whether it holds events that were lost"),
        Some(report) => republish::say_what_was_removed(&report),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partitions_of_a_dump_are_counted_by_their_names() {
        let listed = "210; 1259 1 TABLE public events_7 owner\n3412; 0 1 TABLE DATA public events_1 owner\n\
                      3413; 0 2 TABLE DATA public events_10 owner\n3414; 0 3 TABLE DATA public events_9_copy owner\n";
        assert_eq!(newest_partition(listed), 10);
        assert_eq!(newest_partition("3412; 0 16391 TABLE DATA public events owner"), 1, "of an earlier version");
        assert!(is_of_the_log("public.events") && is_of_the_log("public.events_2"));
        assert!(!is_of_the_log("analytics.events_2") && !is_of_the_log("public.events_2_copy"));
    }

    #[test]
    fn rows_of_tables_that_are_there_are_restored_and_others_are_named() {
        let listed = ";\n; Archive created at 2026-11-27\n3412; 0 16391 TABLE DATA public events owner\n\
                      3413; 0 16392 TABLE DATA public _sqlx_migrations owner\n3414; 0 1 TABLE DATA reports q1 ann\n\
                      210; 1259 16391 TABLE public events owner\n3433; 0 0 SEQUENCE SET public events_position_seq owner\n";
        let there = ["public.events", "public._sqlx_migrations"].map(str::to_owned).into();
        let (chosen, unknown) = choose(listed, &there);
        assert_eq!(chosen.tables, ["public.events".to_owned()].into());
        assert_eq!(chosen.lines.len(), 2);
        assert!(chosen.lines[1].contains("SEQUENCE SET"));
        assert_eq!(unknown, ["reports.q1"]);
    }
}
