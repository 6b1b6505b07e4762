//! What the cards of operations say of the bus, the database and the last comparison, in words.

use app::watcher::{EndedSession, WatchedSession, WatcherState};
use app::webhook_targets::TargetStatus;
use bus::ConsumerState;
use chrono::{DateTime, Utc};
use projections::freshness::{Freshness, MOST_COUNTED};
use projections::replica::ReplicaState;
use projections::verifications::Verification;

use crate::judgement::{self, TargetTrouble};
use crate::operations::consumers::StreamConsumers;
use crate::operations::{Operations, Relay};
use crate::pages::parts::{Badge, Tone, counted, number, short_id};
use crate::pages::table::{Column, cell, time};

/// An event that takes no longer than so many seconds to a target of webhooks is on its way.
const USUAL_DELIVERY: f64 = 10.0;

/// A consumer of a stream; none where they are not known.
pub(super) struct ConsumerRow {
    pub(super) stream: &'static str,
    pub(super) asked_at: DateTime<Utc>,
    pub(super) state: Result<ConsumerState, String>,
}

impl ConsumerRow {
    /// Whether everything was delivered to it.
    pub(super) fn is_up_to_date(&self) -> bool {
        self.state.as_ref().is_ok_and(|state| state.pending + state.ack_pending == 0)
    }
}

/// The consumers of all streams, and a row for each stream whose consumers are unknown.
pub(super) fn consumer_rows(streams: &[StreamConsumers]) -> Vec<ConsumerRow> {
    let rows = |of: &StreamConsumers| -> Vec<ConsumerRow> {
        let row = |state| ConsumerRow { stream: of.stream, asked_at: of.asked_at, state };
        match &of.consumers {
            Some(consumers) => consumers.iter().map(|state| row(Ok(state.clone()))).collect(),
            None => vec![row(Err(of.unknown_because.clone().unwrap_or_else(|| "unknown".to_owned())))],
        }
    };
    streams.iter().flat_map(rows).collect()
}

/// How far a consumer is. That nobody asks for messages may be true for a moment only.
pub(super) fn consumer(state: &ConsumerState) -> Badge {
    match (state.pending + state.ack_pending, state.waiting) {
        (0, _) => Badge::new(Tone::Good, "✓", "up to date"),
        (behind, 0) => {
            Badge::new(Tone::Warn, "◷", format!("{} wait, nobody asks for them", counted(&behind, "message")))
        }
        (behind, _) => Badge::new(Tone::Calm, "…", format!("{} under way", counted(&behind, "message"))),
    }
}

pub(super) const CONSUMER_COLUMNS: [Column<ConsumerRow>; 8] = [
    ("stream", |row| row.stream.to_owned()),
    ("consumer", |row| cell(row.state.as_ref().ok().map(|state| &state.name))),
    ("pending", |row| cell(row.state.as_ref().ok().map(|state| &state.pending))),
    ("ack_pending", |row| cell(row.state.as_ref().ok().map(|state| &state.ack_pending))),
    ("redelivered", |row| cell(row.state.as_ref().ok().map(|state| &state.redelivered))),
    ("waiting", |row| cell(row.state.as_ref().ok().map(|state| &state.waiting))),
    ("unknown_because", |row| cell(row.state.as_ref().err())),
    ("asked_at", |row| time(&row.asked_at)),
];

/// How far a read model is.
pub(super) fn lag(model: &Freshness) -> Badge {
    match (model.rebuilding, model.events_behind) {
        (None, _) if model.parked_aggregates > 0 => {
            let parked = counted(&model.parked_aggregates, "aggregate");
            Badge::new(Tone::Bad, "!", format!("not up to date: {parked} parked"))
        }
        (Some(_), _) => Badge::new(Tone::Warn, "↻", "being rebuilt"),
        (None, 0) => Badge::new(Tone::Good, "✓", "up to date"),
        (None, behind) => Badge::new(Tone::Warn, "◷", format!("{} behind", many(&behind))),
    }
}

/// How deliveries to a target go.
pub(super) fn webhook(target: &TargetStatus) -> Badge {
    let reason = |state: &str| match &target.state_reason {
        Some(reason) => format!("{state}: {reason}"),
        None => state.to_owned(),
    };
    if !target.configured {
        return Badge::new(Tone::Calm, "…", "not configured any more");
    }
    match judgement::target(target) {
        Some(TargetTrouble::Paused) => Badge::new(Tone::Warn, "◷", reason("paused")),
        Some(TargetTrouble::Gone) => Badge::new(Tone::Bad, "✕", reason("stopped")),
        Some(TargetTrouble::Failing) => {
            Badge::new(Tone::Bad, "!", format!("fails, tried {}", times(&target.failed_attempts)))
        }
        Some(TargetTrouble::Late) => Badge::new(Tone::Bad, "◷", format!("{:.0} s behind", target.lag_seconds)),
        None if target.lag_seconds > USUAL_DELIVERY => {
            Badge::new(Tone::Calm, "…", format!("{:.0} s behind", target.lag_seconds))
        }
        None => Badge::new(Tone::Good, "✓", "up to date"),
    }
}

/// The targets of webhooks as CSV.
pub(super) const WEBHOOK_COLUMNS: [Column<TargetStatus>; 9] = [
    ("name", |target| target.name.clone()),
    ("host", |target| target.host.clone()),
    ("format", |target| target.format.clone()),
    ("state", |target| webhook(target).words),
    ("lag_seconds", |target| target.lag_seconds.to_string()),
    ("last_answer", |target| cell(target.last_answer.as_ref())),
    ("delivered", |target| target.delivered.to_string()),
    ("dead_lettered", |target| target.dead_lettered.to_string()),
    ("position", |target| target.position.to_string()),
];

/// How far the log is on the bus.
pub(super) fn relay_lag(relay: &Relay) -> Badge {
    if let Some(hindrance) = &relay.hindrance {
        return Badge::new(Tone::Bad, "✕", format!("nothing can be published: {hindrance}"));
    }
    match (relay.caught_up, relay.events_behind) {
        (true, _) => Badge::new(Tone::Good, "✓", "everything is on the bus"),
        (false, behind) => Badge::new(Tone::Warn, "◷", format!("{} not on the bus yet", many(&behind))),
    }
}

/// Whether this process has a connection to the bus.
pub(super) fn bus(is_connected: &bool) -> Badge {
    if *is_connected {
        return Badge::new(Tone::Good, "✓", "connected");
    }
    Badge::new(Tone::Bad, "✕", "not connected")
}

/// Which relay works.
pub(super) fn holder(relay: &Relay, now: &DateTime<Utc>) -> String {
    match (&relay.holder, relay.leased_until) {
        (Some(holder), Some(until)) if until > *now => holder.clone(),
        (Some(holder), _) => format!("none: the lease of {holder} ran out"),
        (None, _) => "none".to_owned(),
    }
}

/// A process by its number on its machine and what tells it apart from those of other machines.
pub(super) fn process(holder: &str) -> String {
    match holder.split_once('-') {
        Some((pid, id)) => format!("{pid} {}", short_id(&id)),
        None => holder.to_owned(),
    }
}

/// Whether the replica is read.
pub(super) fn replica(state: &ReplicaState) -> Badge {
    match (&state.not_read_because, state.lag_seconds) {
        (None, lag) => Badge::new(Tone::Good, "✓", format!("read, {:.1} s behind", lag.unwrap_or_default())),
        (Some(reason), _) => Badge::new(Tone::Warn, "▲", format!("not read: {reason}")),
    }
}

/// Whether the database's schema is the one that this build knows.
pub(super) fn schema(operations: &Operations) -> Badge {
    let (database, build) = (operations.schema_version, operations.build_schema_version);
    match database.cmp(&build) {
        std::cmp::Ordering::Equal => Badge::new(Tone::Good, "✓", format!("schema {database}, as this build knows it")),
        std::cmp::Ordering::Less => {
            let words = format!("schema {database}, this build knows {build}: lablet migrate is due");
            Badge::new(Tone::Bad, "✕", words)
        }
        std::cmp::Ordering::Greater => {
            Badge::new(Tone::Warn, "▲", format!("schema {database} of a newer build, this one knows {build}"))
        }
    }
}

/// Whether an open transaction keeps events from everybody.
pub(super) fn visibility_lag(operations: &Operations) -> Badge {
    let (seconds, events) = (operations.visibility_lag_seconds, operations.visibility_lag_events);
    if events == 0 {
        return Badge::new(Tone::Good, "✓", "none");
    }
    let tone = if seconds > app::log::TOLERATED_LAG.as_secs_f64() { Tone::Bad } else { Tone::Calm };
    let words = format!("{}, the oldest for {} s, wait for an open transaction", many(&events), number(&seconds));
    Badge::new(tone, "◷", words)
}

/// Whose transaction it is, as far as Postgres says.
pub(super) fn who(session: &WatchedSession) -> String {
    let pid = session.pid.map(|pid| format!("pid {pid}, ")).unwrap_or_default();
    let age = session.transaction_seconds.map(|seconds| format!(", for {} s", number(&seconds))).unwrap_or_default();
    let named = match session.application_name.as_str() {
        "" => String::new(),
        name => format!(", {name}"),
    };
    format!("{pid}{} in {}{named}{age}", session.role_name, session.database_name)
}

/// Whether somebody ends transactions that hold up readers, and what was ended.
pub(super) fn watcher(state: &WatcherState) -> Badge {
    if !state.watching {
        return Badge::new(Tone::Bad, "✕", "none at work");
    }
    match state.problems.len() {
        0 => Badge::new(Tone::Good, "✓", "at work"),
        problems => Badge::new(Tone::Warn, "▲", format!("at work; {}", counted(&(problems as u64), "problem"))),
    }
}

/// The session that the watcher ended last.
pub(super) fn ended(session: &EndedSession) -> String {
    let EndedSession { pid, role_name, database_name, reason, seconds, .. } = session;
    format!("pid {pid}, {role_name} in {database_name}: {reason} for {} s", number(seconds))
}

/// What the last comparison found.
pub(super) fn verdict(verification: &Verification) -> Badge {
    if verification.held {
        return Badge::new(Tone::Good, "✓", "everything held");
    }
    Badge::new(Tone::Bad, "✕", "something differs")
}

/// Whether the last comparison is too old to say much.
pub(super) fn is_old(verification: &Verification, now: &DateTime<Utc>) -> bool {
    *now - verification.verified_at > judgement::VERIFIED_WITHIN
}

/// What was compared, and where it differs.
pub(super) fn compared(verification: &Verification) -> Vec<(String, String)> {
    let report = &verification.report;
    let count = |value: &serde_json::Value, name: &str| value[name].as_u64();
    let models = report["read_models"].as_array().into_iter().flatten().map(|model| {
        let name = model["read_model"].as_str().unwrap_or("a read model").to_owned();
        let events =
            count(model, "events").map_or_else(|| "unknown events".to_owned(), |events| counted(&events, "event"));
        let words = match count(model, "contradictions") {
            Some(0) => format!("{events}, no contradiction"),
            Some(found) => format!("{events}, {}", counted(&found, "contradiction")),
            None => format!("{events}, contradictions unknown"),
        };
        (name, words)
    });
    let mut compared: Vec<(String, String)> = models.collect();
    let rows = if verification.rows_compared { "every row, with a rebuild" } else { "not compared with a rebuild" };
    compared.push(("rows".to_owned(), rows.to_owned()));
    if report["bus"].is_null() {
        compared.push(("bus".to_owned(), "not compared".to_owned()));
    } else {
        compared.push(("bus".to_owned(), "compared with the log".to_owned()));
    }
    compared
}

/// What waits for a decision.
pub(super) fn waiting(operations: &Operations) -> String {
    let waiting = &operations.dead_letters;
    let commands = counted(&waiting.commands.unsigned_abs(), "command");
    let webhooks = counted(&waiting.webhooks.unsigned_abs(), "webhook event");
    let events = counted(&waiting.events, "event");
    if waiting.webhooks == 0 {
        return format!("{commands} and {events} wait");
    }
    format!("{commands}, {webhooks} and {events} wait")
}

/// How often.
pub(super) fn times(count: &i64) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

/// So many events; they are counted only so far.
fn many(events: &u64) -> String {
    if *events >= MOST_COUNTED.unsigned_abs() {
        return format!("{events} events or more");
    }
    counted(events, "event")
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_counted_only_so_far_says_so() {
        assert_eq!([1, 7, 10_000].map(|events| many(&events)), ["1 event", "7 events", "10000 events or more"]);
    }

    #[test]
    fn a_consumer_that_is_behind_and_that_nobody_feeds_is_told_apart() {
        let state = |pending, waiting| ConsumerState {
            name: "lablet_commands".to_owned(),
            pending,
            ack_pending: 0,
            redelivered: 0,
            waiting,
        };
        let told = [(0, 0), (2, 1), (2, 0)].map(|(pending, waiting)| consumer(&state(pending, waiting)).words);
        assert_eq!(told, ["up to date", "2 messages under way", "2 messages wait, nobody asks for them"]);
    }

    #[test]
    fn consumers_that_are_not_known_are_a_row_that_says_why() {
        let streams = [StreamConsumers {
            stream: "EVENTS",
            consumers: None,
            unknown_because: Some("there is no connection to the bus".to_owned()),
            asked_at: DateTime::UNIX_EPOCH,
        }];
        let rows = consumer_rows(&streams);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].state.as_ref().unwrap_err(), "there is no connection to the bus");
    }

    #[test]
    fn a_comparison_says_what_it_did_not_compare() {
        let verification = Verification {
            verified_at: DateTime::UNIX_EPOCH,
            verified_by: "ada".to_owned(),
            held: false,
            rows_compared: false,
            report: json!({"read_models": [{"read_model": "sessions", "events": 7, "contradictions": 1}], "bus": null}),
        };
        let told: Vec<String> =
            compared(&verification).into_iter().map(|(what, words)| format!("{what}: {words}")).collect();
        assert_eq!(
            told,
            ["sessions: 7 events, 1 contradiction", "rows: not compared with a rebuild", "bus: not compared"]
        );
        assert!(is_old(&verification, &(DateTime::UNIX_EPOCH + TimeDelta::days(8))));
    }

    #[test]
    fn a_watcher_that_is_away_or_lacks_rights_is_told_apart() {
        let state = |watching, problems: &[&str]| WatcherState {
            looked_at: None,
            watching,
            ended_sessions: 0,
            last_ended: None,
            problems: problems.iter().map(|&problem| problem.to_owned()).collect(),
        };
        let told = [state(false, &[]), state(true, &["a"]), state(true, &[])].map(|state| watcher(&state).words);
        assert_eq!(told, ["none at work", "at work; 1 problem", "at work"]);
    }
}
