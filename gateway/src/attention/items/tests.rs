use app::log::Position;
use app::watcher::WatcherState;
use chrono::TimeDelta;
use domain::controller_report::{ContactFailure, ContactState};
use projections::freshness::Freshness;
use projections::overview::RequestCounts;
use projections::replica::ReplicaState;

use super::*;
use crate::operations::{Relay, Waiting};

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

fn ago(time: TimeDelta) -> DateTime<Utc> {
    NOW - time
}

/// Everything as it should be.
fn healthy() -> Facts {
    let operations = Operations {
        version: "0.1.0",
        head: Position::START,
        read_models: ReadModel::ALL.into_iter().map(fresh).collect(),
        replica: None,
        relay: Relay {
            position: Position::START,
            caught_up: true,
            events_behind: 0,
            holder: Some("relay".to_owned()),
            leased_until: Some(NOW + TimeDelta::seconds(5)),
            losses: 0,
            updated_at: NOW,
            hindrance: None,
            hindered_since: None,
        },
        bus_connected: true,
        dead_letters: Waiting { commands: 0, webhooks: 0, events: 0 },
        webhooks: Vec::new(),
        schema_version: 27,
        build_schema_version: 27,
        last_verify: None,
        consumers: Vec::new(),
        bus: crate::operations::consumers::BusDeviations::default(),
        visibility_lag_seconds: 0.0,
        unreadable: Vec::new(),
        visibility_lag_events: 0,
        blocking_transactions: Vec::new(),
        watcher: WatcherState {
            looked_at: Some(NOW),
            watching: true,
            ended_sessions: 0,
            last_ended: None,
            problems: Vec::new(),
        },
    };
    Facts {
        now: NOW,
        operations,
        read_model_lags: Vec::new(),
        parked_since: Vec::new(),
        relay_lag: Duration::ZERO,
        log_age: Duration::from_secs(3_600),
        presence: Presence::Running { controllers: 1 },
        lost_controllers: Vec::new(),
        workers: vec![worker("w1", ContactState::Answers)],
        drifted: CountedSince::default(),
        requests: RequestCounts { open: 0, oldest_open_at: None, failed_last_24_hours: 0 },
        overdue: CountedSince::default(),
        too_small: CountedSince::default(),
    }
}

fn fresh(read_model: ReadModel) -> Freshness {
    Freshness {
        read_model,
        revision: 1,
        position: Position::START,
        head: Position::START,
        events_behind: 0,
        moved_at: NOW,
        up_to_date: true,
        parked_aggregates: 0,
        dead_letters: 0,
        rebuilding: None,
        kept_by: Some("7-1".to_owned()),
        kept_since: Some(NOW),
    }
}

fn worker(id: &str, state: ContactState) -> WorkerFacts {
    let failure = ContactFailure {
        at: NOW,
        since: ago(TimeDelta::minutes(9)),
        times: 3,
        words: "cml.example.org: CML refused the user name or the password".to_owned(),
    };
    WorkerFacts {
        id: WorkerId::parse(id).unwrap(),
        name: id.to_uppercase(),
        registered_at: NOW,
        pressure: None,
        contact: Some(KnownContact {
            state,
            host: "cml.example.org".to_owned(),
            last_answer_at: None,
            last_error: state.is_failure().then(|| failure.clone()),
            failures: Vec::new(),
            controller_id: "c1".to_owned(),
            controller_host: "lab-host".to_owned(),
            told_at: NOW,
        }),
    }
}

fn found(facts: &Facts) -> Vec<(Severity, AttentionKind)> {
    items(facts).into_iter().map(|item| (item.severity, item.kind)).collect()
}

fn only(facts: &Facts) -> AttentionItem {
    let [item] = items(facts).try_into().unwrap();
    item
}

#[test]
fn nothing_needs_anybody_where_nothing_is_wrong() {
    assert_eq!(found(&healthy()), []);
}

#[test]
fn the_worst_comes_first_then_what_is_most_and_each_has_one_next_step() {
    let mut facts = healthy();
    facts.operations.dead_letters.commands = 5;
    facts.drifted.count = 11;
    facts.operations.read_models[0].parked_aggregates = 2;
    facts.operations.bus_connected = false;
    facts.workers = vec![worker("w1", ContactState::SignInRefused)];
    facts.presence = Presence::Missing { last_seen_at: None, listening_since: ago(TimeDelta::minutes(3)) };
    assert_eq!(
        found(&facts),
        [
            (Severity::Bad, AttentionKind::ReadModelParked),
            (Severity::Bad, AttentionKind::BusDisconnected),
            (Severity::Bad, AttentionKind::ControllerMissing),
            (Severity::Bad, AttentionKind::WorkerSignInRefused),
            (Severity::Warn, AttentionKind::PortDrift),
            (Severity::Warn, AttentionKind::CommandDeadLetters),
        ]
    );
    for item in items(&facts) {
        assert!(item.next_step.path.is_some() != item.next_step.command.is_some(), "{item:?}");
        assert!(item.count > 0, "{item:?}");
    }
}

#[test]
fn a_controller_is_missed_only_where_there_are_workers_and_once_enough_time_passed() {
    let mut facts = healthy();
    facts.presence = Presence::NotHeardYet { listening_since: Some(NOW) };
    assert_eq!(found(&facts), []);
    facts.presence = Presence::Missing { last_seen_at: None, listening_since: ago(TimeDelta::minutes(3)) };
    let missing = only(&facts);
    assert_eq!(missing.words, "No controller has been seen for 3 min: nothing is observed");
    assert_eq!(missing.since, Some(ago(TimeDelta::minutes(3))));
    assert_eq!(missing.next_step.command.as_deref(), Some("lablet control"));
    facts.workers.clear();
    assert_eq!(found(&facts), []);
}

#[test]
fn workers_that_cannot_be_read_are_one_thing_by_reason_and_lead_to_their_last_error() {
    let mut facts = healthy();
    facts.workers = vec![worker("w1", ContactState::SignInRefused), worker("w2", ContactState::Answers)];
    let one = only(&facts);
    assert_eq!(one.words, "The worker W1 refuses every sign-in");
    assert_eq!(one.next_step.path.as_deref(), Some("/workers/w1#contact"));
    assert_eq!(one.since, Some(ago(TimeDelta::minutes(9))));
    facts.workers = (1..=5).map(|number| worker(&format!("w{number}"), ContactState::Unreachable)).collect();
    let many = only(&facts);
    assert_eq!((many.count, many.words.as_str()), (5, "5 workers cannot be reached: W1, W2, W3, …"));
    assert_eq!(many.next_step.path.as_deref(), Some("/workers"));
}

#[test]
fn a_worker_of_which_nothing_is_heard_is_named_unless_the_reason_is() {
    let mut facts = healthy();
    let silent = WorkerFacts { registered_at: ago(TimeDelta::hours(2)), ..worker("w1", ContactState::Unknown) };
    facts.workers = vec![WorkerFacts { contact: None, ..silent.clone() }];
    assert_eq!(found(&facts), [(Severity::Warn, AttentionKind::WorkerSilent)]);
    facts.workers =
        vec![WorkerFacts { registered_at: silent.registered_at, ..worker("w1", ContactState::Unreachable) }];
    assert_eq!(found(&facts), [(Severity::Bad, AttentionKind::WorkerUnreachable)]);
}

#[test]
fn a_read_model_is_late_only_beyond_the_bound_and_not_while_it_is_rebuilt() {
    let mut facts = healthy();
    let model = &mut facts.operations.read_models[0];
    model.events_behind = 40;
    let name = model.read_model;
    facts.read_model_lags = vec![(name, Duration::from_secs(59))];
    assert_eq!(found(&facts), []);
    facts.read_model_lags = vec![(name, Duration::from_secs(120))];
    let late = only(&facts);
    assert!(late.words.ends_with("lacks 40 events, the oldest for 2 min"), "{late:?}");
    assert_eq!(late.next_step.command.as_deref(), Some("lablet project"));
    facts.operations.read_models[0].rebuilding = Some(Position::START);
    assert_eq!(found(&facts), []);
}

#[test]
fn what_keeps_lablet_running_is_named_with_the_command_that_mends_it() {
    let command = |change: fn(&mut Facts)| {
        let mut facts = healthy();
        change(&mut facts);
        let item = only(&facts);
        (item.severity, item.next_step.command.unwrap_or_default())
    };
    assert_eq!(command(|facts| facts.operations.schema_version = 26), (Severity::Bad, "lablet migrate".to_owned()));
    assert_eq!(command(|facts| facts.operations.relay.leased_until = None), (Severity::Bad, "lablet relay".to_owned()));
    assert_eq!(
        command(|facts| facts.operations.relay.hindrance = Some("the store is full".to_owned())),
        (Severity::Bad, "nats stream report".to_owned())
    );
    assert_eq!(command(|facts| facts.operations.watcher.watching = false), (Severity::Warn, "lablet relay".to_owned()));
    assert_eq!(
        command(|facts| facts.log_age = Duration::from_secs(30 * 86_400)),
        (Severity::Warn, "lablet verify".to_owned())
    );
}

#[test]
fn a_replica_that_is_not_read_needs_somebody_once_it_lasts() {
    let state = |since: TimeDelta, reason: Option<&str>| ReplicaState {
        is_read: reason.is_none(),
        lag_seconds: None,
        longest_lag_seconds: 30.0,
        not_read_because: reason.map(str::to_owned),
        since: ago(since),
    };
    let mut facts = healthy();
    facts.operations.replica = Some(state(TimeDelta::hours(1), None));
    assert_eq!(found(&facts), []);
    facts.operations.replica = Some(state(TimeDelta::seconds(59), Some("the replica does not answer")));
    assert_eq!(found(&facts), []);
    facts.operations.replica = Some(state(TimeDelta::minutes(2), Some("the replica does not answer")));
    let item = only(&facts);
    assert_eq!((item.severity, item.kind), (Severity::Warn, AttentionKind::ReplicaNotRead));
    assert!(item.words.ends_with("of the replica, the replica does not answer"), "{item:?}");
    assert_eq!(item.next_step.command.as_deref(), Some("lablet doctor"));
}

#[test]
fn a_moment_of_visibility_lag_needs_nobody() {
    let mut facts = healthy();
    (facts.operations.visibility_lag_seconds, facts.operations.visibility_lag_events) = (2.0, 3);
    assert_eq!(found(&facts), []);
    facts.operations.visibility_lag_seconds = 9.0;
    assert_eq!(only(&facts).words, "Nobody sees 3 committed events, the oldest for 9 s: a transaction stays open");
}

#[test]
fn requests_and_sessions_that_wait_lead_to_their_lists() {
    let path = |change: fn(&mut Facts)| {
        let mut facts = healthy();
        change(&mut facts);
        let item = only(&facts);
        (item.words, item.next_step.path.unwrap_or_default())
    };
    assert_eq!(
        path(|facts| facts.requests.failed_last_24_hours = 12),
        ("12 observation requests failed in the last 24 h".to_owned(), "/requests?status=failed".to_owned())
    );
    assert_eq!(
        path(|facts| {
            facts.requests.open = 1;
            facts.requests.oldest_open_at = Some(ago(TimeDelta::minutes(6)));
        }),
        (
            "1 observation request is open, the oldest for more than 5 min".to_owned(),
            "/requests?status=open".to_owned()
        )
    );
    assert_eq!(
        path(|facts| facts.overdue.count = 1),
        (
            "1 session still runs, though the timeslot is over".to_owned(),
            "/sessions?status=running&sort=timeslot_end".to_owned()
        )
    );
    assert_eq!(
        path(|facts| facts.too_small = CountedSince { count: 200, or_more: true, since: None }).0,
        "200 or more definitions are smaller than their sessions need"
    );
    let mut facts = healthy();
    (facts.requests.open, facts.requests.oldest_open_at) = (3, Some(ago(TimeDelta::minutes(1))));
    assert_eq!(found(&facts), [], "a request that was just made is being answered");
}

#[test]
fn every_kind_has_a_number_whether_or_not_it_needs_somebody() {
    let mut facts = healthy();
    facts.workers = vec![
        worker("w1", ContactState::SignInRefused),
        worker("w2", ContactState::SignInRefused),
        worker("w3", ContactState::Answers),
    ];
    let attention = crate::attention::Attention::new(&facts);
    let affected: Vec<(AttentionKind, u64)> = attention.affected().collect();
    assert_eq!(affected.len(), AttentionKind::ALL.len());
    let needs_somebody: Vec<&(AttentionKind, u64)> = affected.iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(needs_somebody, [&(AttentionKind::WorkerSignInRefused, 2)]);
    let schema = schemars::schema_for!(AttentionKind).to_value().to_string();
    for kind in AttentionKind::ALL {
        assert!(schema.contains(&format!("\"{}\"", kind.as_str())), "{}", kind.as_str());
    }
    assert_eq!(schema.matches("\"const\"").count(), AttentionKind::ALL.len(), "{schema}");
}
