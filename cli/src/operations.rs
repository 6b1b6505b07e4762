//! Operators' commands: migrate, backup, restore, rebuild, verify, republish, doctor, dead letters, tokens, webhooks.

pub(crate) mod analysts;
mod backup;
mod bus_config;
mod cell_views;
pub(crate) mod dead_letters;
mod doctor;
mod log_partitions;
mod manifest;
mod postgres_client;
mod quiet_connection;
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
use bus::clock::Clock;
use bus::{Backoff, StreamBounds};
use clap::{Args, Subcommand};
use projections::ReadModel;
use sqlx::migrate::{MigrateError, Migration, Migrator};
use sqlx::postgres::PgConnection;

use crate::configuration::{BusArguments, DatabaseArguments, StoresArguments};
use crate::roles::Store;
use crate::secret::Secret;
use crate::terminal::say;
use crate::version;

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
    /// Build a read model anew from the log and swap it in. As lablet_projector, or the database's owner.
    Rebuild {
        /// Which, or `all`.
        name: String,
        #[command(flatten)]
        database: DatabaseArguments,
    },
    /// Prove that log, bus and read models hold the same events. Exit code 1 when they do not. As lablet_projector, or the
    /// database's owner: the result is kept, and with --rows read models are made anew beside those that are read.
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
    /// Write the configuration of a nats-server: a user for each process and each team, with the rights that it needs, their
    /// keys, and TLS. Run it again to add teams, to make keys anew, or for a new certificate.
    BusConfig(bus_config::BusConfigArguments),
    /// Bearer tokens, and links that sign a browser in.
    #[command(subcommand)]
    Token(tokens::TokenCommand),
    /// The log's partitions.
    #[command(subcommand)]
    Log(log_partitions::LogCommand),
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
            for migration in migrate(&url).await? {
                say(&format!("applied {:04} {}", migration.version, migration.description))?;
            }
            say_rebuilds(&url).await?;
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
                let begun = app::log::begin_epoch(&app::log::pool(url.reveal(), 1)?, None).await?;
                let after = begun.after.map_or_else(|| "nothing".to_owned(), |position| position.to_string());
                say(&format!(
                    "epoch {} has begun, after {after}: what others were told of beyond it was lost",
                    begun.epoch
                ))?;
                say("what of it is on the bus, lablet republish --remove-unknown takes away")?;
            }
            let newest = version::schema();
            say(&format!("the database is at schema {newest}, as lablet {} needs it", env!("CARGO_PKG_VERSION")))?;
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
        OperationCommand::BusConfig(arguments) => bus_config::run(&arguments)?,
        OperationCommand::Token(command) => tokens::run(command).await?,
        OperationCommand::Log(command) => return log_partitions::run(command).await,
        OperationCommand::Analyst(command) => analysts::run(command).await?,
        OperationCommand::Webhooks(command) => return webhooks::run(command).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// Says which read models the projections will make anew, as they are folded otherwise by this version. They are read as they
/// were meanwhile.
async fn say_rebuilds(url: &Secret) -> anyhow::Result<()> {
    let store = Store::open(url, &Clock::system())?;
    let freshness = store.projections().freshness().await?;
    for model in freshness.items.iter().filter(|model| model.revision < model.read_model.revision()) {
        let (name, from, to) = (model.read_model, model.revision, model.read_model.revision());
        say(&format!("the read model {name} is of revision {from}: lablet project rebuilds it to {to}"))?;
    }
    Ok(())
}

/// Brings the database to this version, waiting for it while it starts. Gives what was applied.
pub(crate) async fn migrate(database_url: &Secret) -> anyhow::Result<Vec<Migration>> {
    migrate_with(database_url, &app::log::MIGRATOR).await
}

/// The same, by these migrations.
async fn migrate_with(database_url: &Secret, migrator: &Migrator) -> anyhow::Result<Vec<Migration>> {
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
    let before = apply_migrations(&pool, migrator).await?;
    for index in app::log::partitions::indexes::complete(&pool).await.context("an index of the log cannot be built")? {
        tracing::info!(index, "index of the log built");
    }
    pool.close().await;
    Ok(migrator.iter().filter(|migration| !before.contains(&migration.version)).cloned().collect())
}

/// The migrations that the database has; none where it is new.
async fn applied(connection: &mut PgConnection) -> sqlx::Result<Vec<i64>> {
    let applied = sqlx::query_scalar!("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version");
    match applied.fetch_all(connection).await {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => Ok(Vec::new()),
        applied => applied,
    }
}

/// How often a migration that could not have its locks is tried, with up to five seconds between.
const LOCK_ATTEMPTS: u32 = 60;

/// Applies missing migrations. A migration waits only briefly for its locks, as all readers queue up behind it; then it
/// is rolled back and retried after a pause. Gives what had been applied before.
async fn apply_migrations(pool: &sqlx::PgPool, migrator: &Migrator) -> anyhow::Result<Vec<i64>> {
    let mut connection = pool.acquire().await.context("the database does not answer")?;
    sqlx::query("SET lock_timeout = '500ms'").execute(&mut *connection).await?;
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut attempt = 1;
    loop {
        let apply = async {
            let before = applied(&mut connection).await?;
            migrator.run(&mut *connection).await?;
            Ok::<_, MigrateError>(before)
        };
        match apply.await {
            Ok(before) => return Ok(before),
            Err(error) if attempt < LOCK_ATTEMPTS && is_lock_timeout(&error) => {
                let wait = backoff.next_wait();
                tracing::warn!(attempt, wait_ms = wait.as_millis(), "migration could not lock its tables, retrying");
                tokio::time::sleep(wait).await;
                attempt += 1;
            }
            Err(MigrateError::VersionMissing(version)) => bail!(
                "the database is at schema {version} or later, which lablet {} does not know; use the version that brought it \
                 there, or restore a backup (docs/upgrade.md)",
                env!("CARGO_PKG_VERSION")
            ),
            Err(error) => return Err(error).context("the database cannot be brought to this version"),
        }
    }
}

fn is_lock_timeout(error: &MigrateError) -> bool {
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
            if let Err(error) = bus::streams::ensure_sampling(&bus).await {
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
    use projections::{Runner, RunnerOptions};
    use sqlx::Connection as _;
    use tokio_util::sync::CancellationToken;

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

    const WORKER: &str = include_str!("../../domain/samples/worker.registered.v1.json");

    #[tokio::test]
    async fn a_database_of_an_earlier_version_is_upgraded_and_its_events_fill_the_read_models() {
        let earlier = app::log::MIGRATOR.iter().filter(|migration| migration.version <= 25).cloned().collect();
        let database = servers::testing::database(&Migrator::with_migrations(earlier)).await;
        let append =
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                      VALUES ('worker', 'cml-1', 1, 'worker.registered', '1', $1::json, '{}')";
        sqlx::query(append).bind(WORKER).execute(&database.pool()).await.unwrap();
        let url: Secret = database.url().parse().unwrap();
        let store = Store::open(&url, &Clock::system()).unwrap();
        let refused = crate::roles::check_log(&store).await.unwrap_err().to_string();
        assert!(refused.contains("at schema 25") && refused.contains("lablet migrate"), "{refused}");

        let applied: Vec<i64> = migrate(&url).await.unwrap().iter().map(|migration| migration.version).collect();
        assert_eq!(applied.first(), Some(&26));
        assert_eq!(migrate(&url).await.unwrap(), [], "nothing is left to apply");
        crate::roles::check_log(&store).await.unwrap();
        database.settle().await;
        let head = store.log().head().await.unwrap();
        let token = CancellationToken::new();
        let runner = Runner::new(store.projections().clone(), None, RunnerOptions::default());
        let running = tokio::spawn(runner.run(token.clone()));
        store.projections().wait_for(&ReadModel::ALL, head, Duration::from_secs(60)).await.unwrap();
        let report = store.projections().verify_all(None, true, &CancellationToken::new()).await.unwrap();
        assert!(report.holds(), "{report:?}");
        token.cancel();
        running.await.unwrap();
        let events: u64 = report.read_models.iter().map(|model| model.events).sum();
        assert!(events > 0, "{report:?}");
    }

    #[tokio::test]
    async fn a_database_of_a_later_version_is_served_and_not_migrated() {
        let database = servers::testing::database(&app::log::MIGRATOR).await;
        let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                     VALUES (9999, 'of a later version', true, '', 0)";
        sqlx::query(later).execute(&database.pool()).await.unwrap();
        let url: Secret = database.url().parse().unwrap();
        crate::roles::check_log(&Store::open(&url, &Clock::system()).unwrap()).await.unwrap();
        let refused = migrate(&url).await.unwrap_err().to_string();
        assert!(refused.contains("schema 9999 or later"), "{refused}");
    }

    #[tokio::test]
    async fn a_log_that_was_restored_by_hand_is_not_served_before_its_epoch_has_begun() {
        let database = servers::testing::database(&app::log::MIGRATOR).await;
        let url: Secret = database.url().parse().unwrap();
        let store = Store::open(&url, &Clock::system()).unwrap();
        sqlx::query("UPDATE log_epoch SET place = '1/1'").execute(&database.pool()).await.unwrap();
        let refused = crate::roles::check_log(&store).await.unwrap_err().to_string();
        assert!(refused.contains("lablet migrate --restored"), "{refused}");
        app::log::begin_epoch(&database.pool(), None).await.unwrap();
        crate::roles::check_log(&store).await.unwrap();
    }
}
