//! `lablet doctor`: can everything that is configured be used?

use std::process::ExitCode;
use std::time::Duration;

use app::log::Log;
use app::watcher::WatchedSession;
use bus::Bus;
use bus::clock::Clock;
use clap::Args;
use projections::Projections;

use crate::configuration::StoresArguments;
use crate::configuration::sign_in::SignInArguments;
use crate::configuration::{ControllerArguments, ControllerSettings};
use crate::roles::{self, Store};
use crate::terminal::say;

/// How long each thing may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is looked at.
#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    #[command(flatten)]
    stores: StoresArguments,
    #[command(flatten)]
    sign_in: SignInArguments,
    #[command(flatten)]
    controller: ControllerArguments,
}

/// Something that can be used.
#[derive(Debug)]
struct Usable {
    found: String,
    /// What could be better.
    notes: Vec<String>,
}

/// Looks at each thing and says what is wrong with it.
pub(super) async fn run(arguments: DoctorArguments) -> anyhow::Result<ExitCode> {
    let DoctorArguments { stores: arguments, sign_in, controller } = arguments;
    let database = async {
        let store = Store::open(&arguments.database.url()?, &Clock::system())?;
        let version: String = sqlx::query_scalar("SHOW server_version").fetch_one(store.log().pool()).await?;
        let major: u32 = version.split(['.', ' ']).next().and_then(|major| major.parse().ok()).unwrap_or(0);
        anyhow::ensure!(major >= 15, "it is Postgres {version}; 15 or later is needed");
        let applied = sqlx::query_scalar!("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version")
            .fetch_all(store.log().pool())
            .await?;
        let wanted: Vec<i64> = app::log::MIGRATOR.iter().map(|migration| migration.version).collect();
        anyhow::ensure!(
            applied == wanted,
            "migrations {applied:?} are applied, {wanted:?} are wanted: run lablet migrate"
        );
        let relay = app::relay::progress(store.log().pool()).await?;
        if let Some(hindrance) = relay.hindrance {
            let since = relay.hindered_since.map(|since| format!(" since {since}")).unwrap_or_default();
            anyhow::bail!("nothing can be published to the bus{since}: {hindrance}");
        }
        let visibility = store.log().visibility().await?;
        if visibility.is_late() {
            let holders = app::watcher::transactions_with_id(store.log().pool()).await?;
            anyhow::bail!(
                "readers do not see {} of the committed events, for {} s already, because of an open transaction: {}",
                visibility.held_back_events,
                visibility.lag.unwrap_or_default().as_secs(),
                holders.iter().map(holder).collect::<Vec<_>>().join("; ")
            );
        }
        let newest = store.log().newest().await?;
        let found = format!("Postgres {version}, {} migrations, log at {newest}", applied.len());
        let notes = notes_of(store.log()).await;
        let notes = notes.unwrap_or_else(|error| vec![format!("not everything could be looked at: {error:#}")]);
        anyhow::Ok(Usable { found, notes })
    };
    let bus = async {
        let bus = roles::connect_bus(&arguments.stores_bus()?, "lablet-doctor").await?;
        bus.connected(TIMEOUT / 2).await?;
        let account = connected(&bus).await?;
        let deviations: Vec<String> = super::streams::deviations(&bus).await?.iter().map(ToString::to_string).collect();
        anyhow::ensure!(deviations.is_empty(), "{account}; {}", deviations.join("; "));
        anyhow::Ok(Usable { found: account, notes: Vec::new() })
    };
    let provider = sign_in.provider();
    // A role looks only at what its own configuration names: a controller has no database.
    let named_database = arguments.database.url().is_ok();
    let named_bus = arguments.stores_bus()?.nats_url.is_some();
    let named_provider = !matches!(provider, Ok(None));
    let cml = controller.settings().transpose();
    anyhow::ensure!(
        named_database || named_bus || named_provider || cml.is_some(),
        "neither a database nor a bus is known; run `lablet up`, or set their addresses"
    );
    let mut outcomes = Vec::new();
    if named_database {
        let found = within(database).await;
        let usable = found.is_ok();
        outcomes.push(("database", found));
        if usable {
            let store = Store::open(&arguments.database.url()?, &Clock::system())?;
            outcomes.push(("read models", within(what_is_parked(store.projections())).await));
        }
    }
    if named_bus {
        outcomes.push(("bus", within(bus).await));
    }
    if let Some(settings) = cml {
        outcomes.push(("cml", settings.and_then(|settings| where_credentials_go(&settings))));
    }
    if named_provider {
        let look = async {
            let Some(options) = provider? else { anyhow::bail!("it is not configured") };
            let issuer = gateway::sign_in::check_provider(options, Clock::system()).await?;
            anyhow::Ok(Usable { found: format!("{issuer} describes itself, and has keys"), notes: Vec::new() })
        };
        outcomes.push(("OpenID provider", within(look).await));
    }
    let mut healthy = true;
    for (thing, outcome) in outcomes {
        match outcome {
            Ok(Usable { found, notes }) => {
                say(&format!("ok       {thing}: {found}"))?;
                for note in notes {
                    say(&format!("note     {thing}: {note}"))?;
                }
            }
            Err(error) => {
                healthy = false;
                say(&format!("problem  {thing}: {error:#}"))?;
            }
        }
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Most parked aggregates that are named of a read model.
const MOST_NAMED: u32 = 5;

/// Whether every read model shows what the log holds.
async fn what_is_parked(projections: &Projections) -> anyhow::Result<Usable> {
    let mut problems = Vec::new();
    let freshness = projections.freshness().await?;
    for model in freshness.items.iter().filter(|model| model.parked_aggregates > 0) {
        let parked = projections.parked_of(model.read_model, MOST_NAMED).await?;
        let mut named: Vec<String> =
            parked.items.iter().map(|parked| format!("{} at event {}", parked.aggregate_id, parked.event_id)).collect();
        named.extend(parked.unreadable.into_iter().map(|row| row.id));
        if model.parked_aggregates > u64::from(MOST_NAMED) {
            named.push("…".to_owned());
        }
        let (model, count) = (model.read_model, model.parked_aggregates);
        problems.push(format!("parked in {model}, {count} in all: {}", named.join(", ")));
    }
    problems.extend(freshness.unreadable.iter().map(|row| format!("how far {} is cannot be read", row.id)));
    anyhow::ensure!(
        problems.is_empty(),
        "what the log holds is not all shown: {}; see lablet dead-letters",
        problems.join("; ")
    );
    Ok(Usable { found: format!("{}, nothing is parked", freshness.items.len()), notes: Vec::new() })
}

/// Whether the credentials of a controller go anywhere. No worker is asked: which there are, the gateway knows.
fn where_credentials_go(settings: &ControllerSettings) -> anyhow::Result<Usable> {
    anyhow::ensure!(
        !settings.credentials.lacks_hosts(),
        "there are CML credentials, but LABLET_CML_HOSTS names no host that they may go to"
    );
    Ok(Usable { found: "credentials go to named hosts alone".to_owned(), notes: Vec::new() })
}

/// A transaction that readers wait for.
fn holder(session: &WatchedSession) -> String {
    let pid = session.pid.map_or_else(|| session.kind.clone(), |pid| format!("pid {pid}"));
    let age = session.transaction_seconds.map_or_else(String::new, |seconds| format!(", open for {seconds:.0} s"));
    let WatchedSession { role_name, database_name, application_name, .. } = session;
    format!("{pid}, role {role_name:?} in {database_name:?}, application {application_name:?}{age}")
}

/// What works and could be safer.
async fn notes_of(log: &Log) -> anyhow::Result<Vec<String>> {
    let mut notes = app::watcher::problem_lines(&app::watcher::confine_analysts(log.pool(), false).await?);
    let watcher = app::watcher::state(log).await?;
    if !watcher.watching {
        notes.push(match watcher.looked_at {
            Some(at) => format!("no watcher has looked since {at}: nobody ends what holds up the log's readers"),
            None => "no watcher has looked yet: nobody ends what holds up the log's readers".to_owned(),
        });
    }
    notes.extend(watcher.problems.into_iter().filter(|problem| !notes.contains(problem)).collect::<Vec<_>>());
    let prepared: String = sqlx::query_scalar("SHOW max_prepared_transactions").fetch_one(log.pool()).await?;
    if prepared != "0" {
        notes.push(format!(
            "max_prepared_transactions is {prepared}: a prepared transaction that nobody finishes holds up the log's \
             readers, and the watcher cannot end it; set it to 0"
        ));
    }
    Ok(notes)
}

async fn within<T>(look: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    match tokio::time::timeout(TIMEOUT, look).await {
        Ok(outcome) => outcome,
        Err(_) => anyhow::bail!("it does not answer within {} s", TIMEOUT.as_secs()),
    }
}

async fn connected(bus: &Bus) -> anyhow::Result<String> {
    let stream = bus.jetstream().get_stream(bus::streams::EVENTS).await?;
    let state = stream.cached_info().state.clone();
    let version = bus.client().server_info().version;
    Ok(format!("NATS {version}, {} messages in {}", state.messages, bus::streams::EVENTS))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Doctor {
        #[command(flatten)]
        doctor: DoctorArguments,
    }

    #[test]
    fn credentials_that_are_sent_nowhere_are_a_problem() {
        let looked = |hosts: &str| {
            let arguments = ["x", "--cml-username", "lablet", "--cml-password", "secret", "--cml-hosts", hosts];
            let settings = Doctor::try_parse_from(arguments).unwrap().doctor.controller.settings();
            where_credentials_go(&settings.unwrap().unwrap()).map_err(|error| error.to_string())
        };
        assert!(looked("").unwrap_err().contains("LABLET_CML_HOSTS"));
        assert!(looked("cml.example.org").is_ok());
    }
}
