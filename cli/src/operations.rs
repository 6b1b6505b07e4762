//! Operators' commands: migrate, backup, restore, rebuild, verify, republish, doctor, dead letters, tokens, webhooks.

pub(crate) mod analysts;
mod backup;
pub(crate) mod dead_letters;
mod doctor;
mod manifest;
mod postgres_client;
mod progress;
mod rebuild;
mod republish;
mod restore;
mod streams;
pub(crate) mod tokens;
mod verification;
mod webhooks;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bus::{Backoff, StreamBounds};
use clap::{Args, Subcommand};
use projections::ReadModel;
use sqlx::migrate::Migrator;

use crate::configuration::{BusArguments, DatabaseArguments, StoresArguments};
use crate::secret::Secret;
use crate::terminal::say;

/// How long a database that is starting is waited for.
const WAIT_FOR_DATABASE: Duration = Duration::from_secs(60);

#[derive(Debug, Subcommand)]
pub(crate) enum OperationCommand {
    /// Bring the database to this version, and the bus, where it is named. Needs the database owner's rights.
    Migrate(MigrateArguments),
    /// Write a snapshot of the database into a folder: the log, the read models, and what stands beside them. As the
    /// database's owner, or a role that may read everything.
    Backup(backup::BackupArguments),
    /// Restore a backup into an empty database, and begin a new epoch. As the database's owner. Without a database that
    /// is named, into the private one of `lablet up`, which must not run.
    Restore(restore::RestoreArguments),
    /// Make the stream of events what the log holds: publish what is missing, or remove what was lost.
    Republish(republish::RepublishArguments),
    /// Build a read model anew from the log and swap it in.
    Rebuild {
        /// Which, or `all`.
        name: String,
        #[command(flatten)]
        database: DatabaseArguments,
    },
    /// Prove that log, bus and read models hold the same events. Exit code 1 when they do not.
    Verify {
        #[command(flatten)]
        stores: StoresArguments,
        /// Compare every row with what a rebuild makes, too. Reads the whole log once for each read model.
        #[arg(long)]
        rows: bool,
    },
    /// Look whether everything that is configured can be used.
    Doctor(Box<doctor::DoctorArguments>),
    /// Messages and events that could not be handled.
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersCommand),
    /// The bus itself.
    #[command(subcommand)]
    Bus(streams::BusCommand),
    /// Bearer tokens, and links that sign a browser in.
    #[command(subcommand)]
    Token(tokens::TokenCommand),
    /// Logins that read the database with SQL.
    #[command(subcommand)]
    Analyst(analysts::AnalystCommand),
    /// Targets of webhooks.
    #[command(subcommand)]
    Webhooks(webhooks::WebhooksCommand),
}

/// How to migrate.
#[derive(Debug, Args)]
pub(crate) struct MigrateArguments {
    #[command(flatten)]
    stores: StoresArguments,
    /// The database was restored from a dump: new events come after all that it holds.
    #[arg(long)]
    restored: bool,
}

/// Carries an operator's command out.
pub(crate) async fn run(command: OperationCommand) -> anyhow::Result<ExitCode> {
    match command {
        OperationCommand::Migrate(arguments) => {
            let url = arguments.stores.database.owner_url()?;
            migrate(&url).await?;
            match analysts::password_of_environment()? {
                Some(password) => analysts::give_password(&url, analysts::ANALYST, &password).await?,
                None => analysts::apply_limits(&url).await?,
            }
            let bus = arguments.stores.stores_bus()?;
            if bus.nats_url.is_some() {
                ensure_streams(&bus).await?;
                say("the bus has its streams")?;
            }
            if arguments.restored {
                let app::log::EpochBeginning { epoch, .. } =
                    app::log::begin_epoch(&app::log::pool(url.reveal(), 1)?, None).await?;
                say(&format!("epoch {epoch} has begun: new events come after all that the database holds"))?;
            }
            say("the database is at this version")?;
        }
        OperationCommand::Backup(arguments) => return backup::run(arguments).await,
        OperationCommand::Restore(arguments) => return restore::run(arguments).await,
        OperationCommand::Republish(arguments) => return republish::run(arguments).await,
        OperationCommand::Rebuild { name, database } => {
            let models = match name.as_str() {
                "all" => ReadModel::ALL.to_vec(),
                name => vec![name.parse::<ReadModel>()?],
            };
            rebuild::run(&models, &database.url()?).await?;
        }
        OperationCommand::Verify { stores, rows } => return verification::run(stores, rows).await,
        OperationCommand::Doctor(arguments) => return doctor::run(*arguments).await,
        OperationCommand::DeadLetters(command) => dead_letters::run(command).await?,
        OperationCommand::Bus(command) => streams::run(command).await?,
        OperationCommand::Token(command) => tokens::run(command).await?,
        OperationCommand::Analyst(command) => analysts::run(command).await?,
        OperationCommand::Webhooks(command) => return webhooks::run(command).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// Brings the database to this version, waiting for it while it starts.
pub(crate) async fn migrate(database_url: &Secret) -> anyhow::Result<()> {
    migrate_with(database_url, &app::log::MIGRATOR).await
}

/// The same, by these migrations.
async fn migrate_with(database_url: &Secret, migrator: &Migrator) -> anyhow::Result<()> {
    let pool = app::log::pool(database_url.reveal(), 1)?;
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(3));
    let give_up = tokio::time::Instant::now() + WAIT_FOR_DATABASE;
    while let Err(error) = sqlx::query("SELECT 1").execute(&pool).await {
        if tokio::time::Instant::now() >= give_up || matches!(error, sqlx::Error::Configuration(_)) {
            bail!(anyhow::Error::new(error).context("the database does not answer"));
        }
        tracing::info!(error = &error as &dyn std::error::Error, "waiting for the database");
        tokio::time::sleep(backoff.next_wait()).await;
    }
    apply_migrations(&pool, migrator).await?;
    pool.close().await;
    Ok(())
}

/// How often a migration that could not have its locks is tried, with up to five seconds between.
const LOCK_ATTEMPTS: u32 = 60;

/// Applies missing migrations. A migration waits only briefly for its locks, as all readers queue up behind it; then it
/// is rolled back and retried after a pause.
async fn apply_migrations(pool: &sqlx::PgPool, migrator: &Migrator) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await.context("the database does not answer")?;
    sqlx::query("SET lock_timeout = '500ms'").execute(&mut *connection).await?;
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    for attempt in 1..=LOCK_ATTEMPTS {
        match migrator.run(&mut *connection).await {
            Ok(()) => return Ok(()),
            Err(error) if attempt < LOCK_ATTEMPTS && is_lock_timeout(&error) => {
                let wait = backoff.next_wait();
                tracing::warn!(attempt, wait_ms = wait.as_millis(), "migration could not lock its tables, retrying");
                tokio::time::sleep(wait).await;
            }
            Err(error) => return Err(error).context("the database cannot be brought to this version"),
        }
    }
    Ok(())
}

fn is_lock_timeout(error: &sqlx::migrate::MigrateError) -> bool {
    std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source())
        .filter_map(|error| error.downcast_ref::<sqlx::Error>())
        .any(app::database::is_lock_timeout)
}

/// Makes the streams and their consumers, for deployments whose roles may not.
async fn ensure_streams(arguments: &BusArguments) -> anyhow::Result<()> {
    let bus = crate::roles::connect_bus(arguments, "lablet-migrate").await?;
    let bounds = StreamBounds::default();
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(3));
    let give_up = tokio::time::Instant::now() + WAIT_FOR_DATABASE;
    loop {
        let ensured = async {
            bus::streams::ensure_events(&bus, &bounds).await?;
            if let Err(error) = bus::streams::ensure_records(&bus).await {
                // A server without memory for it: read models follow the log.
                tracing::warn!(error = &error as &dyn std::error::Error, "stream of records not created");
            }
            if let Err(error) = bus::streams::ensure_sampling(&bus, &bounds).await {
                // Controllers keep what sessions used in memory then.
                tracing::warn!(error = &error as &dyn std::error::Error, "bucket of samples not created");
            }
            app::command_consumer::ensure_consumer(&bus, &bounds).await?;
            controller::requests::ensure_consumer(&bus, &bounds).await?;
            anyhow::Ok(())
        };
        match ensured.await {
            Ok(()) => return Ok(()),
            Err(error) if tokio::time::Instant::now() >= give_up => return Err(error.context("the bus has no streams")),
            Err(error) => tracing::info!(error = format!("{error:#}"), "waiting for the bus"),
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}
#[cfg(test)]
mod tests {
    use sqlx::Connection as _;

    use super::*;

    /// How many connections wait for a lock on the table of migrations.
    const WAITING: &str = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '_sqlx_migrations'::regclass \
                           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

    #[tokio::test]
    async fn a_migration_that_cannot_have_its_locks_lets_readers_pass_and_is_tried_again() {
        let database = servers::testing::database(&app::log::MIGRATOR).await;
        let url: Secret = database.url().parse().unwrap();
        let mut reader = sqlx::PgConnection::connect(database.url()).await.unwrap();
        let mut transaction = reader.begin().await.unwrap();
        sqlx::query("LOCK TABLE _sqlx_migrations IN ACCESS EXCLUSIVE MODE").execute(&mut *transaction).await.unwrap();
        let release = async {
            // It waits, gives up, and waits again.
            for expected in [1_i64, 0, 1] {
                while sqlx::query_scalar::<_, i64>(WAITING).fetch_one(&database.pool()).await.unwrap() != expected {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            transaction.rollback().await.unwrap();
        };
        let released = tokio::time::timeout(Duration::from_secs(60), release);
        let (migrated, released) = tokio::join!(migrate(&url), released);
        released.unwrap();
        migrated.unwrap();
    }
}
