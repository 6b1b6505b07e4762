//! What keeps Lablet running: database, bus, relay, read models, dead letters, webhooks, verification.

use std::time::Duration;

use app::webhook_targets::TargetStatus;
use chrono::TimeDelta;

use super::{AttentionItem, AttentionKind, Facts, NextStep, Severity, counted};
use crate::controllers::heard::duration;
use crate::judgement::{self, RelayTrouble, TargetTrouble, VerificationTrouble};
use crate::operations::Operations;

/// What needs somebody.
pub(super) fn items(facts: &Facts) -> Vec<AttentionItem> {
    let operations = &facts.operations;
    let mut items = Vec::new();
    items.extend(schema(operations));
    items.extend(bus(operations));
    items.extend(relay(facts));
    items.extend(visibility(operations));
    items.extend(watcher(operations));
    items.extend(parked(facts));
    items.extend(late(facts));
    items.extend(unreadable(operations));
    items.extend(replica(facts));
    items.extend(dead_letters(operations));
    items.extend(operations.webhooks.iter().filter_map(webhook));
    items.extend(verification(facts));
    items
}

fn item(severity: Severity, kind: AttentionKind, words: impl Into<String>, next_step: NextStep) -> AttentionItem {
    AttentionItem { severity, kind, count: 1, words: words.into(), since: None, next_step }
}

fn schema(operations: &Operations) -> Option<AttentionItem> {
    let (database, build) = (operations.schema_version, operations.build_schema_version);
    match database.cmp(&build) {
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Less => Some(item(
            Severity::Bad,
            AttentionKind::SchemaOlder,
            format!("The database's schema is {database}, and this build needs {build}"),
            NextStep::command("Bring it up to date", "lablet migrate"),
        )),
        std::cmp::Ordering::Greater => Some(item(
            Severity::Warn,
            AttentionKind::SchemaNewer,
            format!("The database's schema is {database}, of a newer build than this gateway, which knows {build}"),
            NextStep::page("Finish its upgrade", "/operations#build"),
        )),
    }
}

fn bus(operations: &Operations) -> Option<AttentionItem> {
    (!operations.bus_connected).then(|| {
        item(
            Severity::Bad,
            AttentionKind::BusDisconnected,
            "This gateway has no connection to the bus: no command comes in by it",
            NextStep::command("See whether NATS answers", "lablet doctor"),
        )
    })
}

fn relay(facts: &Facts) -> Option<AttentionItem> {
    let relay = &facts.operations.relay;
    let trouble = judgement::relay(relay.hindrance.is_some(), relay.leased_until, facts.relay_lag, facts.now)?;
    Some(match trouble {
        RelayTrouble::Hindered => {
            let reason = relay.hindrance.as_deref().unwrap_or("the reason is unknown");
            let step = NextStep::command("Make room on the bus", "nats stream report");
            item(Severity::Bad, AttentionKind::RelayHindered, format!("Nothing can be published: {reason}"), step)
                .since(relay.hindered_since)
        }
        RelayTrouble::Absent => {
            let step = NextStep::command("Start one", "lablet relay");
            item(Severity::Bad, AttentionKind::RelayAbsent, "No relay runs: no event reaches the bus", step)
                .since(relay.leased_until)
        }
        RelayTrouble::Late => {
            let (events, age) = (counted(relay.events_behind, "event"), lag(facts.relay_lag));
            let words = format!("{events} wait to be published, the oldest for {age}");
            let step = NextStep::page("See the relay", "/operations#relay");
            item(Severity::Warn, AttentionKind::RelayLate, words, step).counting(relay.events_behind)
        }
    })
}

fn visibility(operations: &Operations) -> Option<AttentionItem> {
    let (seconds, events) = (operations.visibility_lag_seconds, operations.visibility_lag_events);
    (seconds > app::log::TOLERATED_LAG.as_secs_f64()).then(|| {
        let step = match operations.blocking_transactions.first().and_then(|session| session.pid) {
            Some(pid) => NextStep::command("End it", format!("psql -c \"SELECT pg_terminate_backend({pid})\"")),
            None => NextStep::page("See whose it is", "/operations#build"),
        };
        let words = format!(
            "Nobody sees {}, the oldest for {seconds:.0} s: a transaction stays open",
            counted(events, "committed event")
        );
        item(Severity::Bad, AttentionKind::VisibilityLag, words, step).counting(events)
    })
}

fn watcher(operations: &Operations) -> Vec<AttentionItem> {
    let watcher = &operations.watcher;
    let mut items = Vec::new();
    if !watcher.watching {
        let words = "No watcher runs: nobody ends a transaction that holds up readers of the log";
        let step = NextStep::command("Start one", "lablet relay");
        items.push(item(Severity::Warn, AttentionKind::WatcherAbsent, words, step).since(watcher.looked_at));
    }
    if !watcher.problems.is_empty() {
        let count = watcher.problems.len() as u64;
        let words = format!("The watcher of the log's readers has {}", counted(count, "problem"));
        let step = NextStep::page("See which right it lacks", "/operations#build");
        items.push(item(Severity::Warn, AttentionKind::WatcherProblems, words, step).counting(count));
    }
    items
}

fn parked(facts: &Facts) -> Vec<AttentionItem> {
    let models = facts.operations.read_models.iter().filter(|model| model.parked_aggregates > 0);
    models
        .map(|model| {
            let name = model.read_model.name();
            let since = facts.parked_since.iter().find(|(parked, _)| *parked == model.read_model);
            let words = format!(
                "The read model {name} does not show {} as it is: {} could not be applied",
                counted(model.parked_aggregates, "aggregate"),
                counted(model.dead_letters, "event"),
            );
            let step = NextStep::page("Retry or discard", format!("/operations/dead-letters?kind=event&source={name}"));
            item(Severity::Bad, AttentionKind::ReadModelParked, words, step)
                .counting(model.parked_aggregates)
                .since(since.map(|(_, since)| *since))
        })
        .collect()
}

fn late(facts: &Facts) -> Vec<AttentionItem> {
    let models = facts.operations.read_models.iter().filter(|model| model.rebuilding.is_none());
    models
        .filter_map(|model| {
            let (_, age) = facts.read_model_lags.iter().find(|(late, _)| *late == model.read_model)?;
            (*age > judgement::TOLERATED_LAG).then(|| {
                let events = counted(model.events_behind, "event");
                let words = format!("The read model {} lacks {events}, the oldest for {}", model.read_model, lag(*age));
                let step = NextStep::command("Start what keeps it", "lablet project");
                item(Severity::Warn, AttentionKind::ReadModelLate, words, step).counting(model.events_behind)
            })
        })
        .collect()
}

fn unreadable(operations: &Operations) -> Vec<AttentionItem> {
    let rows = operations.unreadable.iter();
    rows.map(|row| {
        let words = format!("How far the read model {} is cannot be read: {}", row.id, row.reason);
        let step = NextStep::command("Make it anew", format!("lablet rebuild {}", row.id));
        item(Severity::Bad, AttentionKind::ReadModelUnreadable, words, step)
    })
    .collect()
}

/// A replica that restarts or lags for a moment needs nobody: the primary answers.
fn replica(facts: &Facts) -> Option<AttentionItem> {
    let replica = facts.operations.replica.as_ref()?;
    let reason = replica.not_read_because.as_ref()?;
    let is_brief = (facts.now - replica.since).to_std().is_ok_and(|time| time <= judgement::TOLERATED_LAG);
    (!is_brief).then(|| {
        let words = format!("Lists, searches and files are read from the primary: of the replica, {reason}");
        let step = NextStep::command("See whether it answers and replays", "lablet doctor");
        item(Severity::Warn, AttentionKind::ReplicaNotRead, words, step).since(Some(replica.since))
    })
}

fn dead_letters(operations: &Operations) -> Vec<AttentionItem> {
    let waiting = &operations.dead_letters;
    let commands = (waiting.commands, AttentionKind::CommandDeadLetters, "command", "could not be handled");
    let events = (waiting.webhooks, AttentionKind::WebhookDeadLetters, "event", "could not be delivered by webhook");
    let letters = [(commands, "command"), (events, "webhook")].into_iter().filter(|((count, ..), _)| *count > 0);
    letters
        .map(|((count, kind, noun, what), name)| {
            let count = count.unsigned_abs();
            let waits = if count == 1 { "waits" } else { "wait" };
            let words = format!("{} {what} and {waits} for a decision", counted(count, noun));
            let step = NextStep::page("Retry or discard", format!("/operations/dead-letters?kind={name}"));
            item(Severity::Warn, kind, words, step).counting(count)
        })
        .collect()
}

fn webhook(target: &TargetStatus) -> Option<AttentionItem> {
    let name = &target.name;
    let resume = || NextStep::command("Resume it", format!("lablet webhooks resume {name}"));
    Some(match judgement::target(target)? {
        TargetTrouble::Gone => {
            let words = format!("The webhook {name} is stopped: its target said that it is gone");
            item(Severity::Bad, AttentionKind::WebhookGone, words, resume()).since(Some(target.state_since))
        }
        TargetTrouble::Paused => {
            let reason = target.state_reason.as_deref().unwrap_or("nobody said why");
            let words = format!("The webhook {name} is paused: {reason}");
            item(Severity::Warn, AttentionKind::WebhookPaused, words, resume()).since(Some(target.state_since))
        }
        TargetTrouble::Failing => {
            let times = counted(target.failed_attempts.unsigned_abs(), "attempt");
            let answer = target.last_answer.as_deref().unwrap_or("nothing");
            let words = format!("The webhook {name} does not take an event after {times}; it answered {answer}");
            let step = NextStep::command("Try it", format!("lablet webhooks test {name}"));
            item(Severity::Bad, AttentionKind::WebhookFailing, words, step).since(target.failing_since)
        }
        TargetTrouble::Late => {
            let words = format!("The webhook {name} is {:.0} s behind, and nothing fails", target.lag_seconds);
            let step = NextStep::command("Start what delivers", "lablet deliver");
            item(Severity::Bad, AttentionKind::WebhookLate, words, step)
        }
    })
}

fn verification(facts: &Facts) -> Option<AttentionItem> {
    let last = facts.operations.last_verify.as_ref();
    let verify = NextStep::command("Verify", "lablet verify");
    let found = match judgement::verification(last, facts.log_age, facts.now)? {
        VerificationTrouble::Differs => item(
            Severity::Bad,
            AttentionKind::VerificationDiffers,
            "The last verification found a difference between log, bus and read models",
            NextStep::page("See what differs", "/operations#verify"),
        ),
        VerificationTrouble::Old => item(
            Severity::Warn,
            AttentionKind::VerificationOld,
            "Log, bus and read models were not compared for more than 7 days",
            verify,
        ),
        VerificationTrouble::Never => item(
            Severity::Warn,
            AttentionKind::VerificationNever,
            format!("Log, bus and read models were never compared, in {}", lag(facts.log_age)),
            verify,
        ),
    };
    Some(found.since(last.map(|last| last.verified_at)))
}

/// E.g. `3 min`.
fn lag(age: Duration) -> String {
    duration(TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX))
}
