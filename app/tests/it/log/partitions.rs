//! The log in partitions: what others see while it is cut, and what they are refused by the old ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use app::log::partitions::{self, PartitionError};
use app::log::{DedupeKey, HistoryPage, Log, Outcome, Position, RecordedEvent};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::counter::{Count, Counted, Counter};
use super::{anybody, log_on, start};

async fn cut(owner: &PgPool) -> partitions::Cut {
    partitions::cut(owner, &watch::Sender::new(0)).await.unwrap()
}

/// Every event, page by page.
async fn all(log: &Log) -> Vec<RecordedEvent> {
    let (mut events, mut after) = (Vec::new(), Position::START);
    loop {
        let page = log.read(after, 7).await.unwrap();
        let Some(last) = page.last() else { return events };
        after = last.position;
        events.extend(page);
    }
}

async fn count(log: &Log, id: &str, times: usize, key: &str) -> (Outcome, i64) {
    let origin = anybody().once(DedupeKey::new(key, key.as_bytes()));
    let executed = log.execute::<Counter>(id, Count::times(times, key), &origin).await.unwrap();
    (executed.outcome, executed.sequence)
}

#[tokio::test]
async fn what_an_old_partition_holds_is_read_as_before_and_not_appended_again() {
    let (database, log) = start().await;
    let owner = database.pool();
    count(&log, "a", 3, "first").await;
    count(&log, "b", 1, "second").await;
    let stale = log_on(PgPool::connect(&database.url_as("lablet_app")).await.unwrap());
    count(&stale, "a", 1, "third").await;
    count(&log, "a", 1, "fourth").await;
    database.settle().await;
    let before = all(&log).await;
    let cut_off = cut(&owner).await;
    assert_eq!((cut_off.old, cut_off.events), (1, 6));
    assert_eq!(all(&log).await, before, "all is where it was");

    // The process that knows an older version of the aggregate meets a conflict, and decides on the newest.
    assert_eq!(count(&stale, "a", 2, "fifth").await, (Outcome::Recorded, 7));
    // A key of the old partition, in a statement alone and in one with others, by who knows the aggregate and who does not.
    let fresh = log_on(PgPool::connect(&database.url_as("lablet_app")).await.unwrap());
    for log in [&log, &stale, &fresh] {
        assert_eq!(count(log, "a", 3, "first").await, (Outcome::Repeated, 3));
        let others = (0..20).map(|index| async move {
            match index {
                7 => assert_eq!(count(log, "b", 1, "second").await, (Outcome::Repeated, 1)),
                _ => drop(count(log, &format!("new-{index}"), 2, &format!("new-{index}")).await),
            }
        });
        futures_util::future::join_all(others).await;
    }
    cut(&owner).await;
    assert_eq!(count(&fresh, "new-3", 2, "new-3").await, (Outcome::Repeated, 2));
    assert_eq!(count(&log, "a", 1, "sixth").await, (Outcome::Recorded, 8));

    // Stock postgres-es inserts plainly: it is refused as by a unique index.
    let stock = |sequence: i64| {
        sqlx::query(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             VALUES ('counter', 'a', $1, 'counter.counted', '1', '{\"event_type\": \"x\", \"note\": \"\"}', '{}')",
        )
        .bind(sequence)
        .execute(log.pool())
    };
    for sequence in [1, 4, 6, 7, 8] {
        let refused = stock(sequence).await.unwrap_err();
        assert!(refused.as_database_error().unwrap().is_unique_violation(), "{sequence}: {refused}");
    }
    stock(9).await.unwrap();
    assert_eq!(count(&log, "a", 1, "seventh").await, (Outcome::Recorded, 10));

    let listed = partitions::list(&owner).await.unwrap();
    let listed: Vec<_> = listed.iter().map(|part| (part.name.as_str(), part.is_current)).collect();
    assert_eq!(listed, [("events_1", false), ("events_2", false), ("events_3", true)]);
}

#[tokio::test]
async fn every_question_to_the_log_has_the_same_answer_in_three_partitions_as_in_one() {
    let (database, log) = start().await;
    let owner = database.pool();
    let mut expected = Vec::new();
    for round in 0..3 {
        for id in ["a", "b", "c"] {
            count(&log, id, 2, &format!("{id}-{round}")).await;
        }
        if round < 2 {
            cut(&owner).await;
        }
    }
    database.settle().await;
    // The same rows in a table of one part.
    let one = "SELECT event_id, aggregate_id, sequence FROM (SELECT * FROM events_1 UNION ALL SELECT * FROM events_2
               UNION ALL SELECT * FROM events_3) AS one ORDER BY epoch, written_by, position";
    let one: Vec<(uuid::Uuid, String, i64)> = sqlx::query_as(one).fetch_all(&owner).await.unwrap();
    let events = all(&log).await;
    for event in &events {
        expected.push((event.event_id, event.aggregate_id.clone(), event.sequence));
    }
    assert_eq!(expected, one);
    assert_eq!(events.len(), 18);
    assert!(events.is_sorted_by(|a, b| a.position < b.position));
    let head = events.last().unwrap().position;
    assert_eq!((log.head().await.unwrap(), log.newest().await.unwrap()), (head, head));
    for (place, event) in events.iter().enumerate() {
        assert_eq!(log.event(event.event_id).await.unwrap().as_ref(), Some(event));
        assert_eq!(log.count_after(event.position, 100).await.unwrap(), i64::try_from(17 - place).unwrap());
        assert_eq!(log.age_after(event.position).await.unwrap().is_some(), place < 17);
        assert_eq!(log.read_without_payloads(event.position, 100).await.unwrap().len(), 17 - place);
    }
    for newest_first in [false, true] {
        let part = HistoryPage { newest_first, beyond: None, payloads: true, limit: 100 };
        let mut history = log.history_page("counter", "b", part).await.unwrap().events;
        if newest_first {
            history.reverse();
        }
        assert_eq!(history.iter().map(|event| event.sequence).collect::<Vec<_>>(), (1..=6).collect::<Vec<_>>());
    }
    let summaries = log.summaries("counter", "", head, 10).await.unwrap();
    assert_eq!(summaries.iter().map(|of| (of.sequence, of.events)).collect::<Vec<_>>(), [(6, 6); 3]);
    let fresh = log_on(database.pool());
    assert_eq!(*fresh.load::<Counter>("c").await.unwrap().unwrap().0, Counter { total: 6 });
}

#[tokio::test]
async fn a_transaction_from_before_a_cut_that_writes_after_it_is_read_in_its_place() {
    let (database, log) = start().await;
    let owner = database.pool();
    count(&log, "a", 1, "before").await;
    let mut early = app::log::begin(&owner).await.unwrap();
    sqlx::query("SELECT pg_current_xact_id()::text").execute(&mut *early).await.unwrap();
    count(&log, "b", 2, "later, in the old partition").await;
    cut(&owner).await;
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ('counter', 'early', 1, 'counter.counted', '1', '{}', '{}')",
    )
    .execute(&mut *early)
    .await
    .unwrap();
    count(&log, "c", 1, "after").await;
    early.commit().await.unwrap();
    database.settle().await;
    let mut read = Vec::new();
    let mut after = Position::START;
    while let Some(event) = log.read(after, 1).await.unwrap().pop() {
        after = event.position;
        read.push(event.aggregate_id);
    }
    assert_eq!(read, ["a", "early", "b", "b", "c"]);
}

#[tokio::test]
async fn a_partition_is_changed_by_nobody_and_used_alone_by_its_owner_only() {
    let (database, log) = start().await;
    let owner = database.pool();
    count(&log, "a", 1, "one").await;
    cut(&owner).await;
    count(&log, "a", 1, "two").await;
    for table in ["events", "events_1", "events_2"] {
        for change in [
            format!("UPDATE {table} SET payload = '{{}}'"),
            format!("DELETE FROM {table} WHERE false"),
            format!("TRUNCATE {table}"),
        ] {
            let refused = sqlx::query(AssertSqlSafe(change.clone())).execute(&owner).await.expect_err(&change);
            assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "23001", "{change}: {refused}");
        }
    }
    for forbidden in [
        "SELECT * FROM events_1",
        "INSERT INTO events_1 (aggregate_type) VALUES ('x')",
        "INSERT INTO events_2 (aggregate_type) VALUES ('x')",
        "INSERT INTO events (position) VALUES (1)",
        "DELETE FROM past_aggregates",
        "DELETE FROM past_commands",
        "UPDATE log_partitions SET cut_at = NULL",
        "SELECT setval('events_position_seq', 1)",
    ] {
        let refused = sqlx::query(forbidden).execute(log.pool()).await.expect_err(forbidden);
        assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "42501", "{forbidden}: {refused}");
    }
    let mut snapshot = app::log::begin(log.pool()).await.unwrap();
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *snapshot).await.unwrap();
    let insert =
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                  VALUES ('counter', 'x', 1, 'counter.counted', '1', '{}', '{}')";
    let refused = sqlx::query(insert).execute(&mut *snapshot).await.unwrap_err();
    assert!(refused.to_string().contains("read committed"), "{refused}");
    snapshot.rollback().await.unwrap();

    cut(&owner).await;
    let empty = partitions::cut(&owner, &watch::Sender::new(0)).await.unwrap_err();
    assert!(matches!(empty, PartitionError::Empty(3)), "{empty}");
}

/// Cuts at moments that nobody chose, some of them given up half-way, while several processes append to the same aggregates
/// and send commands again: nothing is lost, nothing is there twice, and readers have one order.
#[tokio::test]
async fn cuts_under_load_lose_nothing_double_nothing_and_keep_the_order() {
    const AGGREGATES: usize = 6;
    let (database, log) = start().await;
    let owner = database.pool();
    let logs = [log, log_on(PgPool::connect(&database.url_as("lablet_app")).await.unwrap())];
    let is_over = Arc::new(AtomicBool::new(false));
    let mut appending = JoinSet::new();
    for writer in 0..6_usize {
        let (log, is_over) = (logs[writer % 2].clone(), is_over.clone());
        appending.spawn(async move {
            let mut sent = 0;
            while !is_over.load(Ordering::Relaxed) {
                let (id, key) = (format!("c{}", (writer + sent) % AGGREGATES), format!("{writer}-{sent}"));
                let (outcome, sequence) = count(&log, &id, 1 + sent % 3, &key).await;
                assert_eq!(outcome, Outcome::Recorded, "{key}");
                // One of long ago, or of just now, comes again.
                let (again, first) = if sent % 2 == 0 { (sent, Some(sequence)) } else { (sent / 2, None) };
                let id = format!("c{}", (writer + again) % AGGREGATES);
                let (outcome, repeated) = count(&log, &id, 1 + again % 3, &format!("{writer}-{again}")).await;
                assert_eq!(outcome, Outcome::Repeated, "{again} again");
                assert!(first.is_none_or(|first| first == repeated));
                sent += 1;
            }
            (writer, sent)
        });
    }
    let follower = tokio::spawn({
        let (log, is_over) = (logs[0].clone(), is_over.clone());
        async move {
            let (mut seen, mut after) = (Vec::new(), Position::START);
            loop {
                let was_over = is_over.load(Ordering::Relaxed);
                let page = log.read(after, 50).await.unwrap();
                match page.last() {
                    Some(last) => after = last.position,
                    None if was_over => return seen,
                    None => tokio::task::yield_now().await,
                }
                seen.extend(page.into_iter().map(|event| event.event_id));
            }
        }
    });
    // Given up after ever more of its way, then done.
    for steps in 0..8_u64 {
        let noted = watch::Sender::new(0);
        let given_up = partitions::cut(&owner, &noted);
        let _ = tokio::time::timeout(Duration::from_millis(3 * steps), given_up).await;
        let before = partitions::list(&owner).await.unwrap().iter().filter(|part| part.cut_at.is_some()).count();
        while logs[0].newest().await.unwrap()
            <= partitions::last_of_the_old(&owner).await.unwrap().unwrap_or(Position::START)
        {
            tokio::task::yield_now().await;
        }
        if steps % 2 == 1 {
            cut(&owner).await;
            let after = partitions::list(&owner).await.unwrap().iter().filter(|part| part.cut_at.is_some()).count();
            assert_eq!(after, before + 1);
        }
    }
    is_over.store(true, Ordering::Relaxed);
    let sent: BTreeMap<usize, usize> = appending.join_all().await.into_iter().collect();
    database.settle().await;
    let followed = follower.await.unwrap();
    let events = all(&logs[0]).await;
    let whole: Vec<_> = events.iter().map(|event| event.event_id).collect();
    assert!(whole.starts_with(&followed), "who followed has read what is there, in its order");
    assert!(events.is_sorted_by(|a, b| a.position < b.position));
    let (mut of_each, mut notes) = (BTreeMap::<&str, Vec<i64>>::new(), BTreeMap::<String, usize>::new());
    for event in &events {
        of_each.entry(&event.aggregate_id).or_default().push(event.sequence);
        *notes.entry(event.decode::<Counted>().unwrap().note).or_default() += 1;
    }
    for (id, mut sequences) in of_each {
        sequences.sort_unstable();
        assert_eq!(sequences, (1..=i64::try_from(sequences.len()).unwrap()).collect::<Vec<_>>(), "{id}");
    }
    let expected: BTreeMap<String, usize> = sent
        .into_iter()
        .flat_map(|(writer, sent)| (0..sent).map(move |index| (format!("{writer}-{index}"), 1 + index % 3)))
        .collect();
    assert_eq!(notes, expected, "each command took effect once, with all of its events");
    let tables: BTreeSet<String> = sqlx::query_scalar("SELECT DISTINCT tableoid::regclass::text FROM events")
        .fetch_all(&owner)
        .await
        .unwrap()
        .into_iter()
        .collect();
    assert!(tables.len() >= 4, "{tables:?}");
}

#[tokio::test]
async fn an_old_partition_is_moved_while_it_is_read_and_goes_on_where_it_was_interrupted() {
    let (database, log) = start().await;
    let owner = database.pool();
    for number in 0..30 {
        count(&log, "a", 2, &number.to_string()).await;
    }
    let refused = partitions::move_to_tablespace(&owner, 1, "x", &watch::Sender::new(0)).await.unwrap_err();
    assert!(matches!(refused, PartitionError::Current(1)), "{refused}");
    cut(&owner).await;
    count(&log, "a", 1, "after").await;
    database.settle().await;
    let before = all(&log).await;
    let tablespace: String =
        sqlx::query_scalar("SELECT 'archive_' || oid FROM pg_database WHERE datname = current_database()")
            .fetch_one(&owner)
            .await
            .unwrap();
    let mut connection = owner.acquire().await.unwrap();
    sqlx::query("SET allow_in_place_tablespaces = on").execute(&mut *connection).await.unwrap();
    let made = format!("CREATE TABLESPACE {tablespace} LOCATION ''");
    sqlx::query(AssertSqlSafe(made)).execute(&mut *connection).await.unwrap();
    // Who reads holds on to the partition: the copy is made, and takes its place when they have ended.
    let mut reader = app::log::begin(log.pool()).await.unwrap();
    sqlx::query("SELECT count(*) FROM events").execute(&mut *reader).await.unwrap();
    let copied = watch::Sender::new(0);
    {
        let moving = partitions::move_to_tablespace(&owner, 1, &tablespace, &copied);
        tokio::select! {
            moved = moving => panic!("{moved:?} although somebody reads"),
            () = async { copied.subscribe().wait_for(|copied| *copied == 60).await.map(drop).unwrap() } => {}
        }
    }
    assert_eq!(all(&log).await, before);
    reader.rollback().await.unwrap();
    partitions::move_to_tablespace(&owner, 1, &tablespace, &copied).await.unwrap();
    assert_eq!(all(&log).await, before);
    let listed = partitions::list(&owner).await.unwrap();
    assert_eq!((listed[0].tablespace.as_str(), listed[0].events), (tablespace.as_str(), 60));
    assert_eq!(listed[1].tablespace, "pg_default");
    let refused = sqlx::query("DELETE FROM events_1").execute(&owner).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "23001");
    assert_eq!(count(&log, "a", 2, "3").await, (Outcome::Repeated, 8));
    assert_eq!(count(&log, "a", 1, "after the move").await, (Outcome::Recorded, 62));
}

#[tokio::test]
async fn an_index_of_the_log_is_built_while_somebody_appends_and_begun_anew_where_it_was_interrupted() {
    let (database, log) = start().await;
    let owner = database.pool();
    count(&log, "a", 1, "one").await;
    cut(&owner).await;
    sqlx::query("CREATE INDEX events_of_type ON ONLY events (event_type, epoch) WHERE sequence > 1")
        .execute(&owner)
        .await
        .unwrap();
    // As an interrupted build leaves it.
    sqlx::raw_sql(
        "CREATE INDEX events_1_events_of_type ON events_1 (event_type, epoch) WHERE sequence > 1;
         UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'events_1_events_of_type'::regclass",
    )
    .execute(&owner)
    .await
    .unwrap();
    // Whoever has appended and not committed is waited for; others go on.
    let mut open = app::log::begin(&owner).await.unwrap();
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ('counter', 'open', 1, 'counter.counted', '1', '{}', '{}')",
    )
    .execute(&mut *open)
    .await
    .unwrap();
    let building = tokio::spawn({
        let owner = owner.clone();
        async move { partitions::indexes::complete(&owner).await.unwrap() }
    });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                    AND query LIKE 'CREATE INDEX CONCURRENTLY%'";
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(&owner).await.unwrap() == 0 {
        assert!(!building.is_finished(), "it does not wait");
        tokio::task::yield_now().await;
    }
    assert_eq!(count(&log, "a", 1, "two").await, (Outcome::Recorded, 2));
    open.commit().await.unwrap();
    assert_eq!(building.await.unwrap(), ["events_of_type"]);
    assert_eq!(partitions::indexes::complete(&owner).await.unwrap(), [""; 0], "nothing is left");
    let valid = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                  WHERE c.relname LIKE '%events_of_type' AND i.indisvalid";
    assert_eq!(sqlx::query_scalar::<_, i64>(valid).fetch_one(&owner).await.unwrap(), 3);
    // The next partition has it from the start.
    cut(&owner).await;
    count(&log, "a", 1, "three").await;
    let attached = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'events_of_type'::regclass";
    assert_eq!(sqlx::query_scalar::<_, i64>(attached).fetch_one(&owner).await.unwrap(), 3);
}
