//! `lablet doctor`: does everything that is configured work, and which command mends what does not?

mod bus;
mod check;
mod database;
mod gateway;
mod rights;
mod room;
mod webhooks;

use std::process::ExitCode;
use std::time::Duration;

use ::bus::clock::Clock;
use clap::{Args, ValueEnum};
use indicatif::BinaryBytes;
use projections::replica::Replica;
use serde_json::json;

use self::check::{Check, Severity, worst};
use crate::configuration::StoresArguments;
use crate::configuration::replica::ReplicaArguments;
use crate::configuration::sign_in::SignInArguments;
use crate::configuration::{ControllerArguments, ControllerSettings};
use crate::roles::Store;
use crate::terminal::{complain, say};

/// How long each thing may take to answer.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Clocks may differ by this much before that is worth a line.
const TOLERATED_CLOCK_DIFFERENCE: Duration = Duration::from_secs(2);

/// What is looked at.
#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// How to print what was found.
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// What makes the exit code other than 0: for a health check, errors alone.
    #[arg(long, value_enum, default_value_t = FailOn::Warning)]
    fail_on: FailOn,
    /// The gateway; that of the `lablet up` in this folder unless given.
    #[arg(long, env = "LABLET_GATEWAY_URL")]
    gateway_url: Option<String>,
    #[command(flatten)]
    stores: StoresArguments,
    #[command(flatten)]
    replica: ReplicaArguments,
    #[command(flatten)]
    sign_in: SignInArguments,
    #[command(flatten)]
    controller: ControllerArguments,
}

/// For whom it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line a check.
    Text,
    /// One JSON document.
    Json,
}

/// What counts as a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Errors (1), warnings (9), and what could not be looked at (10).
    Warning,
    /// Errors (1).
    Error,
}

/// Looks at each thing. Where it cannot look at all, everything is unknown.
pub(super) async fn run(arguments: DoctorArguments) -> anyhow::Result<ExitCode> {
    let (output, fail_on) = (arguments.output, arguments.fail_on);
    let checks = match look(arguments).await {
        Ok(checks) => checks,
        Err(error) => {
            complain(&error);
            return Ok(Severity::Unknown.exit_code());
        }
    };
    let worst = worst(&checks);
    match output {
        Format::Text => checks.iter().try_for_each(|check| say(&check.line()))?,
        Format::Json => say(&serde_json::to_string_pretty(&json!({ "severity": worst, "checks": checks }))?)?,
    }
    let fails = fail_on == FailOn::Warning || worst == Severity::Error;
    Ok(if fails { worst.exit_code() } else { ExitCode::SUCCESS })
}

async fn look(arguments: DoctorArguments) -> anyhow::Result<Vec<Check>> {
    let DoctorArguments { stores, replica, sign_in, controller, gateway_url, .. } = arguments;
    let provider = sign_in.provider();
    // A role looks only at what its own configuration names: a controller has no database.
    let database = stores.database.url().ok();
    let named_bus = stores.stores_bus()?;
    let gateway_url = match gateway_url {
        Some(url) => Some(url),
        // Of another database the folder's gateway says nothing.
        None if stores.database.is_named() => None,
        None => stores.database.ready()?.map(|ready| ready.http),
    };
    let cml = controller.settings().transpose();
    anyhow::ensure!(
        database.is_some()
            || named_bus.nats_url.is_some()
            || gateway_url.is_some()
            || !matches!(provider, Ok(None))
            || cml.is_some(),
        "neither a database nor a bus is known; run `lablet up`, or set their addresses"
    );
    let of_database = async {
        match &database {
            Some(url) => {
                let store = Store::open(url, &Clock::system())?;
                let folder = (!stores.database.is_named()).then(|| stores.database.private_postgres());
                let mut looked = database::look(&store, folder.as_deref()).await;
                if let Some(replica) = replica.replica(store.projections())? {
                    looked.checks.extend(within("replica", how_it_replays(&replica)).await);
                }
                anyhow::Ok(looked)
            }
            None => Ok(database::Looked::default()),
        }
    };
    let of_bus =
        async { if named_bus.nats_url.is_some() { bus::look(&named_bus).await } else { bus::Looked::default() } };
    let of_gateway = async {
        match &gateway_url {
            Some(url) => gateway::look(url).await,
            None => Vec::new(),
        }
    };
    let (of_database, of_bus, of_gateway) = tokio::join!(of_database, of_bus, of_gateway);
    let of_database = of_database?;
    let mut checks = of_gateway;
    checks.extend(of_database.checks);
    checks.extend(of_bus.controllers(of_database.workers));
    checks.extend(of_bus.checks);
    if let Some(settings) = cml {
        checks.push(match settings {
            Ok(settings) => where_credentials_go(&settings),
            Err(error) => Check::error("cml", format!("{error:#}"), "set what it names"),
        });
    }
    match provider {
        Ok(None) => {}
        Ok(Some(options)) => checks.push(
            within("OpenID provider", async {
                let found = match ::gateway::sign_in::check_provider(options, Clock::system()).await {
                    Ok(issuer) => Check::ok("OpenID provider", format!("{issuer} describes itself, and has keys")),
                    Err(error) => Check::error(
                        "OpenID provider",
                        format!("{:#}", anyhow::Error::from(error)),
                        "see LABLET_OIDC_ISSUER, and docs/sign-in.md",
                    ),
                };
                Ok(vec![found])
            })
            .await
            .remove(0),
        ),
        Err(error) => checks.push(Check::error("OpenID provider", format!("{error:#}"), "set what it names")),
    }
    Ok(checks)
}

/// Whether the replica can be read, and how much it has not replayed.
async fn how_it_replays(replica: &Replica) -> anyhow::Result<Vec<Check>> {
    Ok(vec![match replica.unreplayed_bytes().await {
        Ok(bytes) => Check::ok("replica", format!("it has not replayed {}", BinaryBytes(bytes))),
        Err(error) => Check::warning(
            "replica",
            format!("{:#}; lists, searches and files are read from the primary", anyhow::Error::from(error)),
            "see its log, and LABLET_REPLICA_DATABASE_URL",
        ),
    }])
}

/// Whether the credentials of a controller go anywhere. No worker is asked: which there are, the gateway knows.
fn where_credentials_go(settings: &ControllerSettings) -> Check {
    if settings.credentials.lacks_hosts() {
        return Check::error(
            "cml",
            "there are CML credentials, but LABLET_CML_HOSTS names no host that they may go to",
            "set LABLET_CML_HOSTS",
        );
    }
    Check::ok("cml", "credentials go to named hosts alone")
}

/// What was found; where that failed or took too long, it is unknown. Never empty.
async fn within(name: &'static str, look: impl Future<Output = anyhow::Result<Vec<Check>>>) -> Vec<Check> {
    match tokio::time::timeout(TIMEOUT, look).await {
        Ok(Ok(checks)) => checks,
        // Each role looks at what it works with; whether it lacks a right is a check of its own.
        Ok(Err(error)) if is_refused(&error) => vec![Check::ok(name, "not for this login to look at")],
        Ok(Err(error)) => vec![Check::unknown(name, &error)],
        Err(_) => {
            vec![Check::unknown(name, &anyhow::anyhow!("there was no answer within {} s", TIMEOUT.as_secs()))]
        }
    }
}

/// Whether Postgres refused to show something to the login.
fn is_refused(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|error| error.downcast_ref::<sqlx::Error>())
        .any(|error| error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42501")))
}

/// Whether another's clock is like that of this machine.
fn clock(name: &'static str, whose: &str, difference: chrono::TimeDelta) -> Check {
    let seconds = difference.as_seconds_f64();
    if difference.abs().to_std().unwrap_or(Duration::MAX) <= TOLERATED_CLOCK_DIFFERENCE {
        return Check::ok(name, format!("{whose} differs from this machine's by {:.1} s", seconds.abs()));
    }
    let direction = if seconds > 0.0 { "ahead of" } else { "behind" };
    Check::warning(
        name,
        format!("{whose} is {:.1} s {direction} this machine's", seconds.abs()),
        "keep both by NTP: timedatectl set-ntp true",
    )
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
    fn credentials_that_are_sent_nowhere_are_an_error() {
        let looked = |hosts: &str| {
            let arguments = ["x", "--cml-username", "lablet", "--cml-password", "secret", "--cml-hosts", hosts];
            let settings = Doctor::try_parse_from(arguments).unwrap().doctor.controller.settings();
            where_credentials_go(&settings.unwrap().unwrap())
        };
        let refused = looked("");
        assert!(refused.severity == Severity::Error && refused.found.contains("LABLET_CML_HOSTS"), "{refused:?}");
        assert_eq!(looked("cml.example.org").severity, Severity::Ok);
    }

    #[test]
    fn a_clock_that_is_off_is_a_warning_with_its_direction() {
        assert_eq!(clock("clock", "Postgres' clock", chrono::TimeDelta::milliseconds(-900)).severity, Severity::Ok);
        let off = clock("clock", "Postgres' clock", chrono::TimeDelta::seconds(-7));
        assert!(off.severity == Severity::Warning && off.found.contains("7.0 s behind"), "{off:?}");
    }
}
