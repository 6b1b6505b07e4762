//! What the log holds to when others write, answers are lost, data is bad and Postgres is away.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use app::database::is_lock_timeout;
use app::log::{
    DedupeKey, EpochBeginning, ExecuteError, Log, LogOptions, MIGRATOR, Outcome, Position, RestoreState, begin_epoch,
};
use bus::clock::{Clock, IdGenerator};
use futures_util::future::join_all;
use servers::{PostgresOptions, PostgresServer};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::counter::{Count, Counted, Counter};
use super::{anybody, log_on, start};

#[tokio::test]
async fn a_command_leaves_all_of_its_events_or_none_whoever_else_writes() {
    let (database, log) = start().await;
    let other = log_on(PgPool::connect(&database.url_as("lablet_app")).await.unwrap());
    let origin = anybody();
    let commands = (0..30).map(|index| {
        let (log, origin) = (if index % 2 == 0 { &log } else { &other }, &origin);
        async move { log.execute::<Counter>("c", Count::times(3, index.to_string()), origin).await.unwrap() }
    });
    let executed = join_all(commands).await;
    let history = log.history("counter", "c", 0, 1_000).await.unwrap();
    let last_of_each: BTreeSet<_> = executed.iter().map(|executed| (executed.sequence, executed.position)).collect();
    assert_eq!(last_of_each, history.chunks(3).map(|command| (command[2].sequence, command[2].position)).collect());
    assert_eq!(history.iter().map(|event| event.sequence).collect::<Vec<_>>(), (1..=90).collect::<Vec<_>>());
    for command in history.chunks(3) {
        let notes: Vec<String> = command.iter().map(|event| event.decode::<Counted>().unwrap().note).collect();
        assert!(notes.iter().all(|note| *note == notes[0]), "the events of one command stand together: {notes:?}");
    }
    let fresh = log_on(database.pool());
    assert_eq!(*fresh.load::<Counter>("c").await.unwrap().unwrap().0, Counter { total: 90 });
    // Followers in the process that appended were woken.
    assert!(*log.appended().borrow() > 0);
}

#[tokio::test]
async fn a_repeated_command_of_many_events_gets_its_first_answer() {
    let (_database, log) = start().await;
    log.execute::<Counter>("c", Count::times(2, "before"), &anybody()).await.unwrap();
    let origin = anybody().once(DedupeKey::new("three", b"three"));
    let first = log.execute::<Counter>("c", Count::times(3, "three"), &origin).await.unwrap();
    log.execute::<Counter>("c", Count::times(2, "after"), &anybody()).await.unwrap();
    let again = log.execute::<Counter>("c", Count::times(3, "three"), &origin).await.unwrap();
    assert_eq!((again.outcome, again.sequence, again.position), (Outcome::Repeated, 5, first.position));
    assert_eq!((&again.state, &*again.state), (&first.state, &Counter { total: 5 }));
    assert_eq!(log.history("counter", "c", 0, 100).await.unwrap().len(), 7, "nothing was recorded again");
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused_and_harms_nobody_else() {
    let (_database, log) = start().await;
    let nul = log.execute::<Counter>("c", Count::times(1, "a\0b"), &anybody()).await.unwrap_err();
    assert!(matches!(nul, ExecuteError::Refused(_)), "{nul}");
    let looks_alike = r"\u0000 and \\u0000";
    log.execute::<Counter>("c", Count::times(1, looks_alike), &anybody()).await.unwrap();
    let stored = log.history("counter", "c", 0, 10).await.unwrap();
    assert_eq!(stored[0].decode::<Counted>().unwrap().note, looks_alike);

    // Here it is Postgres that refuses, and other commands share the statement.
    let origin = anybody();
    let commands = (0..20).map(|index| {
        let count = if index == 7 {
            Count { event_type: "counter\0", ..Count::times(2, "bad") }
        } else {
            Count::times(2, "good")
        };
        let (log, origin) = (&log, &origin);
        async move { log.execute::<Counter>(&format!("c{index}"), count, origin).await }
    });
    for (index, executed) in join_all(commands).await.into_iter().enumerate() {
        match executed {
            Ok(executed) => assert!(index != 7 && executed.sequence == 2),
            Err(error) => assert!(index == 7 && matches!(error, ExecuteError::Refused(_)), "{index}: {error}"),
        }
    }
    assert!(log.history("counter", "c7", 0, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn nobody_but_the_owner_places_an_event_in_the_order() {
    let (_database, log) = start().await;
    for column in ["written_by", "epoch"] {
        let statement = format!(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                                 {column}) VALUES ('counter', 'c', 1, 'counter.counted', '1', '{{}}', '{{}}', '7')"
        );
        let refused = sqlx::query(sqlx::AssertSqlSafe(statement)).execute(log.pool()).await.unwrap_err();
        assert!(refused.to_string().contains("permission denied"), "{column}: {refused}");
    }
}

#[tokio::test]
async fn nobody_changes_an_event_not_even_who_replicates() {
    let (database, log) = start().await;
    log.execute::<Counter>("c", Count::times(1, ""), &anybody()).await.unwrap();
    let mut owner = database.pool().acquire().await.unwrap();
    sqlx::query("SET session_replication_role = replica").execute(&mut *owner).await.unwrap();
    for change in [
        "UPDATE events SET payload = '{}'",
        "DELETE FROM events",
        "TRUNCATE events",
        "DELETE FROM events WHERE false",
        "INSERT INTO events_1 SELECT * FROM events_1 ON CONFLICT (event_id) DO UPDATE SET payload = '{}'",
    ] {
        let refused = sqlx::query(change).execute(&mut *owner).await.expect_err(change);
        let refused = refused.as_database_error().unwrap();
        assert!(["23001", "428C9"].contains(&refused.code().unwrap().as_ref()), "{change}: {refused}");
    }
    assert_eq!(log.history("counter", "c", 0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_open_writer_shows_as_events_held_back() {
    let (database, log) = start().await;
    let mut open = app::log::begin(&database.pool()).await.unwrap();
    sqlx::query("SELECT pg_current_xact_id()::text").execute(&mut *open).await.unwrap();
    log.execute::<Counter>("c", Count::times(1, ""), &anybody()).await.unwrap();
    assert!(log.visibility().await.unwrap().lag.is_some());
    open.rollback().await.unwrap();
    // Another database of the same cluster may hold a transaction open for a moment.
    tokio::time::timeout(Duration::from_secs(20), async {
        while log.visibility().await.unwrap().lag.is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("nothing is held back once the writer has ended");
}

#[tokio::test]
async fn a_restored_log_is_read_before_what_the_new_cluster_writes() {
    let (database, log) = start().await;
    // As a dump leaves it: written by a transaction that this cluster has not reached.
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             written_by)
         VALUES ('counter', 'old', 1, 'counter.counted', '1', '{}', '{}', '900000000000')",
    )
    .execute(&database.pool())
    .await
    .unwrap();
    assert_eq!(log.read(Position::START, 10).await.unwrap(), []);
    assert_eq!(begin_epoch(&database.pool(), None).await.unwrap().epoch, 2);
    log.execute::<Counter>("new", Count::times(1, ""), &anybody()).await.unwrap();
    let events = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let events = log.read(Position::START, 10).await.unwrap();
            if events.len() == 2 {
                return events;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("both events can be read");
    assert_eq!(events.iter().map(|event| event.aggregate_id.as_str()).collect::<Vec<_>>(), ["old", "new"]);
    assert_eq!(log.read(events[0].position, 10).await.unwrap(), events[1..]);
    assert_eq!(log.head().await.unwrap(), events[1].position);
}

#[tokio::test]
async fn a_log_that_was_restored_takes_nothing_until_its_new_epoch_has_begun() {
    let (database, log) = start().await;
    let last = log.execute::<Counter>("c", Count::times(1, ""), &anybody()).await.unwrap().position;
    assert_eq!(RestoreState::read(&database.pool()).await.unwrap(), RestoreState::None);
    // What no dump can carry over is another on another server.
    sqlx::query("UPDATE log_epoch SET place = '1/1'").execute(&database.pool()).await.unwrap();
    assert_eq!(RestoreState::read(&database.pool()).await.unwrap(), RestoreState::EpochDue);
    let application = PgPool::connect(&database.url_as("lablet_app")).await.unwrap();
    let restored = log_on(application.clone());
    let refused = restored.execute::<Counter>("c", Count::times(1, ""), &anybody()).await.unwrap_err();
    let ExecuteError::Unavailable(cause) = &refused else { panic!("{refused:?}") };
    let causes = std::iter::successors(Some(cause as &dyn std::error::Error), |error| error.source());
    let told: Vec<String> = causes.map(ToString::to_string).collect();
    assert!(told.iter().any(|cause| cause.contains("no new epoch has begun")), "{told:?}");

    sqlx::query("CREATE TABLE unfinished_restore ()").execute(&database.pool()).await.unwrap();
    assert_eq!(RestoreState::read(&application).await.unwrap(), RestoreState::Unfinished);
    let begun = begin_epoch(&database.pool(), None).await.unwrap();
    assert_eq!(begun, EpochBeginning { epoch: 2, after: Some(last) }, "what comes after that was lost");
    assert_eq!(RestoreState::read(&application).await.unwrap(), RestoreState::None);
    let executed = restored.execute::<Counter>("c", Count::times(1, ""), &anybody()).await.unwrap();
    assert!(executed.sequence == 2 && executed.position > last, "{executed:?}");
}

/// Passes bytes between clients and Postgres, and can lose an answer: the statement is done, its client is not told.
async fn losing_proxy(server: u16) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let lose = Arc::new(AtomicBool::new(false));
    let shared = lose.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let lose = shared.clone();
            let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await.unwrap();
            tokio::spawn(pass(client, server, lose));
        }
    });
    (port, lose)
}

async fn pass(client: TcpStream, server: TcpStream, lose: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(|_| ()) };
    let answers = async {
        let mut buffer = [0; 16 * 1024];
        loop {
            let read = from_server.read(&mut buffer).await?;
            if read == 0 || lose.swap(false, Ordering::SeqCst) {
                return Ok(());
            }
            to_client.write_all(&buffer[..read]).await?;
        }
    };
    // Either side may end the connection; both are dropped then.
    let ended: std::io::Result<()> = tokio::select! { ended = requests => ended, ended = answers => ended };
    if let Err(error) = ended {
        eprintln!("a connection through the proxy ended: {error}");
    }
}

#[tokio::test]
async fn a_statement_whose_answer_was_lost_is_recognised_when_it_is_sent_again() {
    let (database, _) = start().await;
    let direct: PgConnectOptions = database.url().parse().unwrap();
    let (port, lose) = losing_proxy(direct.get_port()).await;
    // One writer: the statement is prepared on its connection, so that the answer that gets lost is that of the insert.
    let options = LogOptions { writers: 1, ..LogOptions::default() };
    let pool = PgPool::connect_with(direct.port(port)).await.unwrap();
    let log = Log::new(pool, Clock::system(), IdGenerator::random(), options);
    for index in 1..=8 {
        lose.store(index % 2 == 0, Ordering::SeqCst);
        let executed = log.execute::<Counter>("c", Count::times(2, index.to_string()), &anybody()).await.unwrap();
        assert_eq!((executed.sequence, executed.outcome), (index * 2, Outcome::Recorded));
        assert!(!lose.load(Ordering::SeqCst), "an answer was lost");
    }
    let history = log_on(database.pool()).history("counter", "c", 0, 100).await.unwrap();
    let notes: Vec<String> = history.iter().map(|event| event.decode::<Counted>().unwrap().note).collect();
    assert_eq!(notes, (1..=8).flat_map(|index| [index.to_string(), index.to_string()]).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_restart_of_postgres_in_between_loses_nothing_and_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        |port| PostgresOptions { data_dir: folder.path().join("postgres"), port, fsync: true, settings: Vec::new() };
    let mut server = PostgresServer::start(options(None)).await.unwrap();
    let connect: PgConnectOptions = server.url("postgres").parse().unwrap();
    let port = connect.get_port();
    let pool = PgPoolOptions::new().acquire_timeout(Duration::from_secs(5)).connect_with(connect).await.unwrap();
    MIGRATOR.run(&pool).await.unwrap();
    let log = log_on(pool);
    let before = log.execute::<Counter>("c", Count::times(2, "before"), &anybody()).await.unwrap();
    server.kill_now().await.unwrap();
    drop(server);
    let meanwhile = tokio::spawn({
        let log = log.clone();
        async move { log.execute::<Counter>("c", Count::times(2, "meanwhile"), &anybody()).await }
    });
    let server = PostgresServer::start(options(Some(port))).await.unwrap();
    let meanwhile = meanwhile.await.unwrap().unwrap();
    assert_eq!((before.sequence, meanwhile.sequence), (2, 4));
    assert!(before.position < meanwhile.position);
    let events = log.read(Position::START, 10).await.unwrap();
    assert_eq!(events.len(), 4);
    log.pool().close().await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_new_epoch_does_not_wait_for_long_for_somebody_elses_transaction() {
    let (database, log) = start().await;
    let mut open = app::log::begin(&database.pool()).await.unwrap();
    sqlx::query("LOCK TABLE events IN ROW EXCLUSIVE MODE").execute(&mut *open).await.unwrap();
    let refused = begin_epoch(&database.pool(), None).await.unwrap_err();
    assert!(is_lock_timeout(&refused), "{refused}");
    log.execute::<Counter>("c", Count::times(1, ""), &anybody()).await.unwrap();
    open.rollback().await.unwrap();
    assert_eq!(begin_epoch(&database.pool(), None).await.unwrap().epoch, 2);
}

#[tokio::test]
async fn a_statement_is_finished_also_where_the_command_that_sent_it_is_given_up() {
    let (database, _) = start().await;
    let options = LogOptions { writers: 1, ..LogOptions::default() };
    let log = Log::new(database.pool(), Clock::system(), IdGenerator::random(), options);
    log.execute::<Counter>("first", Count::times(1, ""), &anybody()).await.unwrap();
    let mut locked = app::log::begin(&database.pool()).await.unwrap();
    sqlx::query("LOCK TABLE events IN EXCLUSIVE MODE").execute(&mut *locked).await.unwrap();
    let execute = |id: &'static str| {
        let log = log.clone();
        tokio::spawn(async move { log.execute::<Counter>(id, Count::times(1, ""), &anybody()).await })
    };
    let given_up = execute("first");
    let held_up =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(held_up).fetch_one(&database.pool()).await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
    let queued = execute("second");
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    locked.rollback().await.unwrap();
    assert_eq!(queued.await.unwrap().unwrap().outcome, Outcome::Recorded);
    assert_eq!(log.load::<Counter>("first").await.unwrap().unwrap().1, 2, "what was sent is recorded, once");
    assert_eq!(log.execute::<Counter>("first", Count::times(1, ""), &anybody()).await.unwrap().sequence, 3);
}
