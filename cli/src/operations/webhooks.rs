//! `lablet webhooks`: how deliveries go, and what operators decide about targets. Works on the database itself, whether
//! the process that delivers runs or not.

use std::process::ExitCode;

use anyhow::Context as _;
use app::log::Position;
use app::webhook_targets::{ReplayError, TargetState, WebhookTargets};
use bus::clock::{Clock, IdGenerator};
use clap::Subcommand;
use serde_json::json;
use webhooks::Trial;

use crate::client::output::{Column, OutputFormat, column};
use crate::configuration::DatabaseArguments;
use crate::configuration::webhooks::WebhookArguments;
use crate::exit::{ExitStatus, Failure};
use crate::roles::{self, Store};
use crate::terminal::say;

/// Who decides here, for those who look later.
const OPERATOR: &str = "operator";

#[derive(Debug, Subcommand)]
pub(crate) enum WebhooksCommand {
    /// List targets: how far each is, and what it answered last.
    List {
        #[command(flatten)]
        database: DatabaseArguments,
        /// How to print them.
        #[arg(long, short, value_enum, default_value_t = OutputFormat::Table)]
        output: OutputFormat,
    },
    /// Send a target a message of type io.lablet.webhook.test.v1 now, and print its answer. Exit code 1 when it does not
    /// take it.
    Test {
        /// The target, as its file names it.
        name: String,
        #[command(flatten)]
        webhooks: WebhookArguments,
        /// How the gateway is reached from outside; that of the `lablet up` in this folder unless stated.
        #[arg(long, env = "LABLET_PUBLIC_URL")]
        public_url: Option<String>,
        #[command(flatten)]
        database: DatabaseArguments,
    },
    /// Have a target sent again what it got before. It keeps its ids; what is new comes after it.
    Replay {
        /// The target.
        name: String,
        /// Begin after this position, as every notice has one.
        #[arg(long)]
        after: Position,
        /// End with this position; where the target is unless stated.
        #[arg(long)]
        until: Option<Position>,
        #[command(flatten)]
        database: DatabaseArguments,
    },
    /// Stop deliveries to a target. What happens meanwhile is not lost.
    Pause {
        /// The target.
        name: String,
        /// Why, for others who look.
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        database: DatabaseArguments,
    },
    /// Begin deliveries to a target again, also to one that had answered 410 Gone.
    Resume {
        /// The target.
        name: String,
        /// Leave out what happened meanwhile.
        #[arg(long)]
        skip_missed: bool,
        #[command(flatten)]
        database: DatabaseArguments,
    },
}

const COLUMNS: &[Column] = &[
    column("NAME", "/name"),
    column("HOST", "/host"),
    column("FORMAT", "/format"),
    column("STATE", "/state"),
    column("LAG SECONDS", "/lag_seconds"),
    column("DELIVERED", "/delivered"),
    column("DEAD-LETTERED", "/dead_lettered"),
    column("FAILED ATTEMPTS", "/failed_attempts"),
    column("LAST ANSWER", "/last_answer"),
    column("ANSWERED AT", "/last_answer_at"),
    column("POSITION", "/position"),
];

pub(super) async fn run(command: WebhooksCommand) -> anyhow::Result<ExitCode> {
    match command {
        WebhooksCommand::List { database, output } => {
            let rows = targets(&database)?.list().await.context("the targets cannot be read")?;
            let rows: Vec<_> = rows.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
            output.rows(COLUMNS, &rows)?;
        }
        WebhooksCommand::Test { name, webhooks, public_url, database } => {
            return try_target(&name, &webhooks, public_url, &database).await;
        }
        WebhooksCommand::Replay { name, after, until, database } => {
            let targets = targets(&database)?;
            let replay = match targets.replay(&name, after, until).await {
                Ok(replay) => replay,
                Err(ReplayError::NoTarget(_)) => return Err(unknown(&name, &targets).await?.into()),
                Err(refused @ (ReplayError::Beyond(_) | ReplayError::Empty { .. })) => {
                    return Err(Failure::new(ExitStatus::Invalid, refused.to_string()).into());
                }
                Err(error @ ReplayError::Unavailable(_)) => return Err(error.into()),
            };
            say(&format!("{name} is sent again what lies after {} and up to {}", replay.at, replay.until))?;
        }
        WebhooksCommand::Pause { name, reason, database } => {
            let targets = targets(&database)?;
            let paused = targets.set_state(&name, TargetState::Paused, OPERATOR, reason.as_deref()).await?;
            require(paused, &name, &targets).await?;
            say(&format!("{name} is paused"))?;
        }
        WebhooksCommand::Resume { name, skip_missed, database } => {
            let targets = targets(&database)?;
            if skip_missed {
                let skipped = targets.skip(&name).await?;
                let position = require(skipped, &name, &targets).await?;
                say(&format!("{name} goes on after {position}"))?;
            }
            require(targets.set_state(&name, TargetState::Active, OPERATOR, None).await?, &name, &targets).await?;
            say(&format!("{name} is delivered to"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn targets(database: &DatabaseArguments) -> anyhow::Result<WebhookTargets> {
    Ok(WebhookTargets::new(Store::open(&database.url()?, &Clock::system())?.log()))
}

/// What was found, or which targets there are.
async fn require<T>(found: Option<T>, name: &str, targets: &WebhookTargets) -> anyhow::Result<T> {
    match found {
        Some(found) => Ok(found),
        None => Err(unknown(name, targets).await?.into()),
    }
}

/// That there is no such target, and which there are.
async fn unknown(name: &str, targets: &WebhookTargets) -> anyhow::Result<Failure> {
    let known: Vec<String> = targets.list().await?.into_iter().map(|target| target.name).collect();
    let known = if known.is_empty() {
        ": no process that delivers webhooks has started yet".to_owned()
    } else {
        format!("; there is {}", known.join(", "))
    };
    Ok(Failure::new(ExitStatus::NotFound, format!("there is no target {name:?}{known}")))
}

async fn try_target(
    name: &str,
    webhooks: &WebhookArguments,
    public_url: Option<String>,
    database: &DatabaseArguments,
) -> anyhow::Result<ExitCode> {
    let configured = webhooks.configured_targets()?;
    let Some(target) = configured.iter().find(|target| target.name == name) else {
        let known: Vec<&str> = configured.iter().map(|target| target.name.as_str()).collect();
        let text = format!("there is no target {name:?}; there is {}", known.join(", "));
        return Err(Failure::new(ExitStatus::NotFound, text).into());
    };
    let up = database.ready()?.map(|ready| ready.http);
    let site = roles::site(public_url.or(up).as_deref())?;
    let trial = Trial::send(target, &site, &Clock::system(), &IdGenerator::random()).await?;
    OutputFormat::Json.one(&json!({
        "target": name,
        "host": target.host(),
        "message_id": trial.message_id,
        "delivered": trial.delivered,
        "answer": trial.answer
    }))?;
    Ok(if trial.delivered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
