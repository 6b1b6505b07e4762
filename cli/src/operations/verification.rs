//! `lablet verify`: do log, bus and read models hold the same events?

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use app::relay;
use bus::clock::Clock;
use projections::ReadModel;

use super::rebuild;
use crate::configuration::StoresArguments;
use crate::roles::{self, Store};
use crate::shutdown;
use crate::terminal::say;

/// How long relay and projections may take to come to where the log is now.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(60);

/// Compares and says what was found; exit code 1 where something differs.
pub(super) async fn run(arguments: StoresArguments, rows: bool) -> anyhow::Result<ExitCode> {
    let store = Store::open(&arguments.database.url()?, &Clock::system())?;
    let bus = roles::connect_bus(&arguments.stores_bus()?, "lablet-verify").await?;
    let head = store.log().head().await.context("the log cannot be read")?;
    say(&format!("log          at {head}"))?;

    relay_reaches(&store, head).await?;
    store.projections().wait_for(&ReadModel::ALL, head, CATCH_UP_WITHIN).await?;
    let cancelled = shutdown::on_signal()?;
    let rebuilt: &[ReadModel] = if rows { &ReadModel::ALL } else { &[] };
    let verification = store.projections().verify_all(Some(&bus), rows, &cancelled);
    let report = rebuild::with_progress(&store, "verifying".to_owned(), rebuilt, verification).await??;

    // The result does not depend on whether it can be stored.
    if let Err(error) = store.projections().keep_verification(&report, &who()).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "verification result not stored");
    }

    if let Some(bus) = &report.bus {
        say(&format!(
            "bus          {}: {} events of the log in {} messages, {} missing, {} unknown, {} aged out",
            holds_or_differs(bus.holds()),
            bus.events,
            bus.messages,
            bus.missing,
            bus.unknown,
            bus.aged_out
        ))?;
        for missing in &bus.missing_events {
            say(&format!("             missing: event {missing}"))?;
        }
        for unknown in &bus.unknown_messages {
            say(&format!("             unknown: message {unknown:?}"))?;
        }
        if bus.missing > 0 {
            say("             → lablet republish --missing publishes them")?;
        }
        if bus.unknown > 0 {
            say("             → lablet republish --remove-unknown takes them from the bus")?;
        }
    }
    for model in &report.read_models {
        say(&format!(
            "{:<21}{}: {} events of {} aggregates, {} dead letters, {} contradictions",
            model.read_model.name(),
            holds_or_differs(model.holds()),
            model.events,
            model.aggregates,
            model.dead_letters,
            model.contradictions
        ))?;
        for finding in &model.findings {
            say(&format!("             {}", serde_json::to_string(finding)?))?;
        }
        if !model.holds() {
            say(&format!("             → lablet rebuild {}", model.read_model.name()))?;
        }
    }
    for rebuilt in report.rebuilt.iter().flatten() {
        let differing = rebuilt.differing_tables.clone().unwrap_or_default();
        say(&format!(
            "{:<21}rows {}: {differing:?}",
            rebuilt.read_model.name(),
            holds_or_differs(differing.is_empty())
        ))?;
    }
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The user by the shell's environment: this command has no sign-in.
fn who() -> String {
    let name = ["USER", "LOGNAME"].into_iter().find_map(|variable| std::env::var(variable).ok());
    let name = name.filter(|name| !name.is_empty() && !name.chars().any(char::is_control));
    name.map_or_else(|| "shell".to_owned(), |name| format!("shell:{}", name.chars().take(64).collect::<String>()))
}

fn holds_or_differs(holds: bool) -> &'static str {
    if holds { "holds" } else { "DIFFERS" }
}

/// Waits until the relay has published up to a position.
async fn relay_reaches(store: &Store, head: app::log::Position) -> anyhow::Result<()> {
    let waited = async {
        loop {
            let progress = relay::progress(store.log().pool()).await?;
            if progress.position >= head {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(CATCH_UP_WITHIN, waited).await.with_context(|| {
        format!("the relay has not come to {head} within {} s; is it running?", CATCH_UP_WITHIN.as_secs())
    })?
}
