//! The log against real Postgres.

mod connections;
mod counter;
mod faults;
mod pages;
mod partitions;

use std::collections::BTreeSet;

use app::log::{DedupeKey, ExecuteError, Log, LogOptions, MIGRATOR, Origin, Outcome, Position, RecordedEvent};
use bus::clock::{Clock, IdGenerator};
use chrono::{DateTime, Utc};
use domain::WorkerId;
use domain::worker::{NewWorker, Worker, WorkerChange, WorkerCommand};
use futures_util::future::join_all;
use serde_json::{Value, json};
use servers::testing::TestDatabase;
use sqlx::PgPool;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_772_000_000, 0).unwrap()
}

fn log_on(pool: PgPool) -> Log {
    Log::new(pool, Clock::manual(now()), IdGenerator::random(), LogOptions::default())
}

async fn start() -> (TestDatabase, Log) {
    let database = servers::testing::database(&MIGRATOR).await;
    let log = log_on(PgPool::connect(&database.url_as("lablet_app")).await.unwrap());
    (database, log)
}

fn register(id: &str) -> WorkerCommand {
    let new: NewWorker = serde_json::from_value(json!({
        "name": "CML", "address": "https://cml.example.org",
        "capacity": {"cpu_cores": 1, "memory_gb": 1, "storage_gb": 1, "max_nodes": 1}
    }))
    .unwrap();
    WorkerCommand::Register { id: WorkerId::parse(id).unwrap(), new, now: now() }
}

fn rename(name: impl Into<String>) -> WorkerCommand {
    WorkerCommand::Change {
        change: WorkerChange { name: Some(name.into().parse().unwrap()), ..WorkerChange::default() },
        now: now(),
    }
}

fn anybody() -> Origin {
    Origin::from_actor("test")
}

#[tokio::test]
async fn a_command_is_in_the_log_with_its_origin_and_position() {
    let (database, log) = start().await;
    let origin = Origin { correlation_id: Some("c-1".into()), ..Origin::from_actor("admin:ada") };
    let executed = log.execute::<Worker>("w1", register("w1"), &origin).await.unwrap();
    assert_eq!((executed.sequence, executed.outcome), (1, Outcome::Recorded));
    let again = log.execute::<Worker>("w1", register("w1"), &origin).await.unwrap();
    assert_eq!((again.sequence, again.position, again.outcome), (1, executed.position, Outcome::AlreadyDone));

    database.settle().await;
    let events = log.read(Position::START, 10).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].position, executed.position);
    assert_eq!(events[0].versioned_type(), "worker.registered.v1");
    assert_eq!(events[0].metadata.actor.as_deref(), Some("admin:ada"));
    assert_eq!(events[0].metadata.correlation_id.as_deref(), Some("c-1"));
    assert_eq!(log.head().await.unwrap(), executed.position);
    assert_eq!(log.event(events[0].event_id).await.unwrap().unwrap(), events[0]);
}

#[tokio::test]
async fn many_writers_on_one_aggregate_lose_nothing_and_number_without_gaps() {
    let (database, log) = start().await;
    let other = log_on(PgPool::connect(&database.url_as("lablet_app")).await.unwrap());
    log.execute::<Worker>("w1", register("w1"), &anybody()).await.unwrap();
    let origin = anybody();
    let commands = (0..40).map(|index| {
        let (log, origin) = (if index % 2 == 0 { &log } else { &other }, &origin);
        async move { log.execute::<Worker>("w1", rename(format!("name {index}")), origin).await.unwrap() }
    });
    let executed = join_all(commands).await;
    let sequences: BTreeSet<i64> = executed.iter().map(|executed| executed.sequence).collect();
    assert_eq!(sequences, (2..=41).collect());
    let history = log.history("worker", "w1", 0, 100).await.unwrap();
    assert_eq!(history.iter().map(|event| event.sequence).collect::<Vec<_>>(), (1..=41).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_key_takes_effect_once_even_when_sent_at_the_same_time() {
    let (database, log) = start().await;
    let other = log_on(PgPool::connect(&database.url_as("lablet_app")).await.unwrap());
    log.execute::<Worker>("w1", register("w1"), &anybody()).await.unwrap();
    let origin = anybody().once(DedupeKey::new("key", b"rename to b"));
    let sent =
        join_all([&log, &other, &log, &other].map(|log| log.execute::<Worker>("w1", rename("b"), &origin))).await;
    let sent: Vec<_> = sent.into_iter().map(Result::unwrap).collect();
    assert_eq!(sent.iter().filter(|executed| executed.outcome == Outcome::Recorded).count(), 1);
    assert!(sent.iter().all(|executed| executed.sequence == 2 && executed.position == sent[0].position));

    // The first answer again, whatever happened since.
    log.execute::<Worker>("w1", rename("c"), &anybody()).await.unwrap();
    let again = other.execute::<Worker>("w1", rename("b"), &origin).await.unwrap();
    assert_eq!((again.sequence, again.outcome), (2, Outcome::Repeated));
    assert_eq!((again.position, again.state), (sent[0].position, sent[0].state.clone()));
    assert_eq!(log.history("worker", "w1", 0, 100).await.unwrap().len(), 3);

    let reused = anybody().once(DedupeKey::new("key", b"something else"));
    let refused = log.execute::<Worker>("w1", rename("d"), &reused).await.unwrap_err();
    assert!(matches!(refused, ExecuteError::KeyReused { key } if key == "key"));
}

#[tokio::test]
async fn a_generated_id_does_not_make_a_repeated_creation_another_one() {
    let (database, log) = start().await;
    let origin = anybody().once(DedupeKey::new("create", b"body"));
    let first = log.execute::<Worker>("generated-1", register("generated-1"), &origin).await.unwrap();
    let again = log.execute::<Worker>("generated-2", register("generated-2"), &origin).await.unwrap();
    assert_eq!((again.outcome, &again.state), (Outcome::Repeated, &first.state));
    database.settle().await;
    assert_eq!(log.read(Position::START, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_decision_never_rests_on_a_stale_cache() {
    let (database, log) = start().await;
    let other = log_on(PgPool::connect(&database.url_as("lablet_app")).await.unwrap());
    log.execute::<Worker>("w1", register("w1"), &anybody()).await.unwrap();
    other.execute::<Worker>("w1", rename("b"), &anybody()).await.unwrap();
    // By what `log` last saw, this changes something; by the truth it is done already.
    let done = log.execute::<Worker>("w1", rename("b"), &anybody()).await.unwrap();
    assert_eq!((done.outcome, done.sequence), (Outcome::AlreadyDone, 2));
    // And the other way round: by what `log` last saw nothing changes.
    other.execute::<Worker>("w1", rename("c"), &anybody()).await.unwrap();
    assert_eq!(log.execute::<Worker>("w1", rename("b"), &anybody()).await.unwrap().sequence, 4);
    let stale = log.execute_at::<Worker>("w1", &Some(1).into(), rename("z"), &anybody()).await.unwrap_err();
    assert!(matches!(stale, ExecuteError::Stale { expected: 1, actual: 4 }));
}

#[tokio::test]
async fn what_commits_late_is_not_skipped() {
    let (database, log) = start().await;
    let pool = database.pool();
    let insert =
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                  VALUES ('worker', $1, 1, 'worker.registered', '1', '{}', '{}')";
    let mut late = app::log::begin(&pool).await.unwrap();
    sqlx::query(insert).bind("late").execute(&mut *late).await.unwrap();
    let early = log.execute::<Worker>("early", register("early"), &anybody()).await.unwrap();
    assert_eq!(log.read(Position::START, 10).await.unwrap(), [], "an open transaction holds back what follows it");
    late.commit().await.unwrap();
    database.settle().await;
    let ids: Vec<String> =
        log.read(Position::START, 10).await.unwrap().into_iter().map(|event| event.aggregate_id).collect();
    assert_eq!(ids, ["late", "early"]);
    assert_eq!(log.head().await.unwrap(), early.position);
}

#[tokio::test]
async fn events_cannot_be_changed_by_anybody() {
    let (database, log) = start().await;
    log.execute::<Worker>("w1", register("w1"), &anybody()).await.unwrap();
    for statement in ["UPDATE events SET payload = '{}'", "DELETE FROM events", "TRUNCATE events"] {
        let by_owner = sqlx::query(statement).execute(&database.pool()).await.unwrap_err();
        assert!(by_owner.to_string().contains("never updated or deleted"), "{statement}: {by_owner}");
        let by_role = sqlx::query(statement).execute(log.pool()).await.unwrap_err();
        assert!(by_role.to_string().contains("permission denied"), "{statement}: {by_role}");
    }
}

#[tokio::test]
async fn a_long_history_is_read_from_a_snapshot_of_the_same_shape() {
    let (database, log) = start().await;
    log.execute::<Worker>("w1", register("w1"), &anybody()).await.unwrap();
    for index in 0..105 {
        log.execute::<Worker>("w1", rename(format!("name {index}")), &anybody()).await.unwrap();
    }
    let taken = || async {
        sqlx::query_scalar::<_, i64>("SELECT last_sequence FROM snapshots")
            .fetch_optional(&database.pool())
            .await
            .unwrap()
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while taken().await.is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("a snapshot is taken");
    assert_eq!(taken().await, Some(100));
    let fresh = log_on(database.pool());
    let (state, sequence, position) = fresh.load::<Worker>("w1").await.unwrap().unwrap();
    assert_eq!(sequence, 106);
    database.settle().await;
    assert_eq!(position, log.head().await.unwrap());
    let Worker::Present { profile, .. } = &*state else { panic!() };
    assert_eq!(profile.name, "name 104");
    sqlx::query("UPDATE snapshots SET shape = -1, payload = '\"nonsense\"'").execute(&database.pool()).await.unwrap();
    assert_eq!(log_on(database.pool()).load::<Worker>("w1").await.unwrap().unwrap().1, 106);
}

#[tokio::test]
async fn a_lost_answer_is_not_a_second_event() {
    let (database, log) = start().await;
    log.execute::<Worker>("w1", register("w1"), &anybody()).await.unwrap();
    let pool = database.pool();
    let kill = async {
        for _ in 0..20 {
            let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                         WHERE datname = current_database() AND usename = 'lablet_app'";
            sqlx::query(ended).execute(&pool).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let write = async {
        let mut acknowledged = Vec::new();
        for index in 0..100 {
            match log.execute::<Worker>("w1", rename(format!("name {index}")), &anybody()).await {
                Ok(executed) => acknowledged.push((executed.sequence, executed.position)),
                Err(ExecuteError::Unavailable(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        acknowledged
    };
    let ((), acknowledged) = tokio::join!(kill, write);
    let mut history = Vec::new();
    while let Ok(page) = log_on(pool.clone()).history("worker", "w1", i64::try_from(history.len()).unwrap(), 500).await
    {
        if page.is_empty() {
            break;
        }
        history.extend(page);
    }
    let recorded: BTreeSet<_> = history.iter().map(|event| (event.sequence, event.position)).collect();
    assert!(acknowledged.iter().all(|event| recorded.contains(event)), "what was acknowledged is in the log");
    let name = |event: &RecordedEvent| event.payload.read::<Value>().unwrap()["after"]["name"].clone();
    let names: Vec<_> = history.iter().map(name).collect();
    assert_eq!(names.iter().collect::<std::collections::HashSet<_>>().len(), names.len(), "and is there once");
    assert!(!acknowledged.is_empty());
}
