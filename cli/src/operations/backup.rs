//! `lablet backup`: the log, the read models and everything beside them as one snapshot, with a manifest.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use app::log::{Position, RestoreState};
use bus::Backoff;
use chrono::{DateTime, Utc};
use clap::Args;
use indicatif::BinaryBytes;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Postgres, Transaction};
use tokio_util::sync::CancellationToken;

use super::manifest::{DUMP, Manifest, sum_of};
use super::postgres_client::{PostgresClient, progress_over, tables};
use crate::configuration::DatabaseArguments;
use crate::shutdown;
use crate::terminal::say;

/// For how long a moment is looked for at which no transaction is under way that began before the last event.
const REST_WITHIN: Duration = Duration::from_secs(60);

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct BackupArguments {
    /// Folder to make, with the dump and its manifest. It must not be there yet.
    #[arg(long)]
    to: PathBuf,
    #[command(flatten)]
    database: DatabaseArguments,
}

/// Facts of one snapshot.
struct Snapshot {
    /// Its name for pg_dump; it lasts as long as the transaction.
    name: String,
    transaction: Transaction<'static, Postgres>,
    made_at: DateTime<Utc>,
    schema_version: i64,
    epoch: i32,
    head: Position,
    events: i64,
    stream_created: Option<String>,
    stream_sequence: Option<i64>,
}

pub(super) async fn run(arguments: BackupArguments) -> anyhow::Result<ExitCode> {
    let cancelled = shutdown::on_signal()?;
    let to = arguments.to;
    ensure!(!to.exists(), "{} is there already; a backup is never overwritten", to.display());
    let client = PostgresClient::connect(&arguments.database.owner_url()?).await?;
    // Made under another name, so that what has the name is whole.
    let draft = draft_of(&to)?;
    let made = make(&client, &draft, &cancelled).await;
    let manifest = match made {
        Ok(manifest) => manifest,
        Err(error) => {
            if let Err(left) = std::fs::remove_dir_all(&draft) {
                tracing::warn!(error = &left as &dyn std::error::Error, folder = ?draft, "unfinished backup not removed");
            }
            return Err(error.context("nothing was backed up"));
        }
    };
    std::fs::rename(&draft, &to)
        .with_context(|| format!("{} cannot be renamed to {}", draft.display(), to.display()))?;
    sync_folder(to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    let Manifest { events, head, epoch, schema_version, dump_bytes, .. } = &manifest;
    say(&format!("backed up   {events} events of epoch {epoch}, up to {head}"))?;
    say(&format!("schema      {schema_version}, lablet {}", manifest.lablet_version))?;
    say(&format!("written     {}, {}", to.display(), BinaryBytes(*dump_bytes)))?;
    Ok(ExitCode::SUCCESS)
}

/// The folder in which a backup is made, which is new.
fn draft_of(to: &Path) -> anyhow::Result<PathBuf> {
    let name = to.file_name().with_context(|| format!("{} names no folder", to.display()))?;
    let draft = to.with_file_name(format!(".{}.unfinished", name.to_string_lossy()));
    // It holds hashes of tokens and passwords.
    let made = std::fs::DirBuilder::new().mode(0o700).create(&draft);
    made.with_context(|| format!("{} cannot be made; another backup may be under way", draft.display()))?;
    Ok(draft)
}

async fn make(client: &PostgresClient, folder: &Path, cancelled: &CancellationToken) -> anyhow::Result<Manifest> {
    let pool = client.pool();
    let state = RestoreState::read(pool).await.context("the log cannot be looked at; lablet migrate may be due")?;
    ensure!(state == RestoreState::None, "the database was restored, and that is not finished; see lablet doctor");
    let snapshot = snapshot_at_rest(pool, cancelled).await?;
    let tables = tables(pool).await?;
    let dump = folder.join(DUMP);
    let arguments = [
        "--format=custom",
        "--verbose",
        "--lock-wait-timeout=30s",
        // What a rebuild that is under way has so far; it begins anew.
        "--exclude-table-data=read_*_next.*",
        "--exclude-table-data=read_*_retired.*",
        // What a partition's move has copied so far; it is in the partition.
        "--exclude-table-data=public.events_*_copy",
    ];
    let mut arguments: Vec<_> = arguments.into_iter().map(Into::into).collect();
    arguments.extend(["--snapshot".into(), snapshot.name.clone().into(), "--file".into(), dump.clone().into()]);
    client
        .run("pg_dump", arguments, &tables, progress_over("backup", &tables), cancelled)
        .await
        .context("the database cannot be dumped; that needs its owner, or a role that may read everything")?;
    snapshot.transaction.rollback().await?;
    let (dump_bytes, dump_sha256) = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        let file = std::fs::File::open(&dump).with_context(|| format!("{} cannot be read", dump.display()))?;
        file.sync_all().with_context(|| format!("{} cannot be written", dump.display()))?;
        sum_of(&dump)
    })
    .await??;
    let manifest = Manifest {
        format: Manifest::FORMAT,
        made_at: snapshot.made_at,
        lablet_version: env!("CARGO_PKG_VERSION").to_owned(),
        schema_version: snapshot.schema_version,
        postgres_version: client.version,
        epoch: snapshot.epoch,
        head: snapshot.head,
        events: snapshot.events,
        stream_created: snapshot.stream_created,
        stream_sequence: snapshot.stream_sequence,
        dump_bytes,
        dump_sha256,
        tables,
    };
    manifest.write(folder)?;
    sync_folder(folder)?;
    Ok(manifest)
}

/// A snapshot in which every event has all those before it: nobody who read the log was given one that is not in it and
/// stands before its last one. So what a restore loses is what stands behind that.
async fn snapshot_at_rest(pool: &PgPool, cancelled: &CancellationToken) -> anyhow::Result<Snapshot> {
    let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(500));
    let until = tokio::time::Instant::now() + REST_WITHIN;
    loop {
        let mut transaction = app::log::begin(pool).await?;
        let begin = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
                     SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0";
        sqlx::raw_sql(begin).execute(&mut *transaction).await?;
        if is_at_rest(&mut transaction).await? {
            return facts(transaction).await;
        }
        transaction.rollback().await?;
        if cancelled.is_cancelled() || tokio::time::Instant::now() >= until {
            bail!(
                "for {} s there was no moment at which nobody had an older transaction open; lablet doctor names who has",
                REST_WITHIN.as_secs()
            );
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

async fn is_at_rest(snapshot: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT NOT EXISTS (SELECT FROM events
                               WHERE epoch = (SELECT log_epoch.epoch FROM log_epoch)
                                 AND written_by >= pg_snapshot_xmin(pg_current_snapshot())) AS "is_at_rest!""#
    )
    .fetch_one(snapshot)
    .await
}

async fn facts(mut transaction: Transaction<'static, Postgres>) -> anyhow::Result<Snapshot> {
    let facts = sqlx::query!(
        r#"SELECT pg_export_snapshot() AS "name!", clock_timestamp() AS "made_at!",
                  (SELECT max(version) FROM _sqlx_migrations WHERE success) AS "schema_version!",
                  (SELECT epoch FROM log_epoch) AS "epoch!", (SELECT count(*) FROM events) AS "events!",
                  stream_created, acked_sequence
             FROM relays WHERE name = 'events'"#
    )
    .fetch_one(&mut *transaction)
    .await
    .context("the log cannot be read; that needs the owner of the database")?;
    let head = app::log::newest(&mut *transaction).await?.unwrap_or(Position::START);
    Ok(Snapshot {
        name: facts.name,
        made_at: facts.made_at,
        schema_version: facts.schema_version,
        epoch: facts.epoch,
        head,
        events: facts.events,
        stream_created: facts.stream_created,
        stream_sequence: facts.acked_sequence,
        transaction,
    })
}

/// Waits until the names in a folder are on the disk.
fn sync_folder(folder: &Path) -> anyhow::Result<()> {
    let sync = || std::fs::File::open(folder)?.sync_all();
    sync().with_context(|| format!("{} cannot be written to the disk", folder.display()))
}
