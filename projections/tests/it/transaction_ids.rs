//! A transaction that has an id keeps events from all readers of the log, so none of a read model may have one while it
//! waits for anything but its writes, which are few and bounded (`runner::next_size`).
//!
//! How long one is open depends on the machine, so no test can measure it. Instead, reads of the log are stopped here,
//! one after another, as if each took for ever: whoever is stopped, or has read before, must not have an id.
//!
//! One read is left out: at the swap of a rebuild the live rows stand still, and what comes up to where they are, 500 events
//! at most, is read while the swap's transaction has its id.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use projections::ReadModel;
use projections::rebuild::RebuildOptions;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::given::World;
use crate::parking::parked;

/// Longest wait for a state that has to come.
const SOON: Duration = Duration::from_secs(60);

/// A session that can take the log away from its readers.
struct Gate {
    session: PgConnection,
    pid: i32,
}

impl Gate {
    async fn new(world: &World) -> Self {
        let mut session = PgConnection::connect(world.database.url()).await.unwrap();
        let pid = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut session).await.unwrap();
        Self { session, pid }
    }

    /// Stands in line until no reader is before it, and stops all behind it.
    async fn close(mut self) -> Self {
        self.session.execute("BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE").await.unwrap();
        self
    }

    async fn open(mut self) -> Self {
        self.session.execute("ROLLBACK").await.unwrap();
        self
    }
}

/// Sessions that wait for the log, or have read it in the transaction that they are in, and whether they have an id.
async fn readers(observer: &mut PgConnection, gates: &[i32]) -> Vec<(i32, bool, bool, String)> {
    let statement = "SELECT l.pid, NOT l.granted, a.backend_xid IS NOT NULL, a.query
          FROM pg_locks l JOIN pg_stat_activity a USING (pid)
         WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND l.relation = 'events'::regclass AND l.pid <> ALL ($1)";
    sqlx::query_as(statement).bind(gates).fetch_all(observer).await.unwrap()
}

async fn until_waiting(observer: &mut PgConnection, is_one: impl Fn(i32) -> bool) {
    let waits = async {
        while !readers(observer, &[]).await.iter().any(|(pid, is_waiting, ..)| *is_waiting && is_one(*pid)) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, waits).await.expect("somebody waits for the log");
}

/// Does the work, while each of its reads of the log is stopped and looked at. Answers how many were.
async fn with_stopped_reads<T>(world: &World, work: impl Future<Output = T>) -> (T, usize) {
    let mut work = pin!(work);
    let mut observer = PgConnection::connect(world.database.url()).await.unwrap();
    let mut closed = Gate::new(world).await.close().await;
    let mut other = Gate::new(world).await;
    let mut stopped = 0;
    loop {
        // It stands in line before the gate opens, so that the read after this one finds it closed again.
        let gates = [closed.pid, other.pid];
        let next = other.pid;
        let closing = tokio::spawn(other.close());
        until_waiting(&mut observer, |pid| pid == next).await;
        let done = tokio::select! {
            done = &mut work => Some(done),
            () = until_waiting(&mut observer, |pid| !gates.contains(&pid)) => None,
        };
        for (pid, is_waiting, has_id, query) in readers(&mut observer, &gates).await {
            assert!(!has_id, "session {pid} has a transaction id (waiting: {is_waiting}): {query}");
        }
        other = closed.open().await;
        if let Some(done) = done {
            closing.await.unwrap().open().await;
            return (done, stopped);
        }
        stopped += 1;
        // A reader that stands before the other gate has to be answered for that to close.
        let mut closing = pin!(closing);
        closed = tokio::select! {
            gate = &mut closing => gate.unwrap(),
            done = &mut work => {
                closing.await.unwrap().open().await;
                return (done, stopped);
            }
        };
    }
}

#[tokio::test]
async fn no_read_model_reads_the_log_while_it_has_a_transaction_id() {
    let world = parked().await;
    let (retried, reads) =
        with_stopped_reads(&world, world.projections.retry_dead_letters(ReadModel::Sessions, "lablet_session", "s-1"))
            .await;
    assert!(retried.unwrap().stopped_at.is_some() && reads > 0, "a retry reads the log: {reads}");

    let token = CancellationToken::new();
    for model in ReadModel::ALL {
        let options = RebuildOptions { compare: true, keep_live: true };
        let (report, reads) = with_stopped_reads(&world, world.projections.rebuild(model, options, &token)).await;
        assert!(report.unwrap().differing_tables == Some(vec![]) && reads > 0, "{model}: {reads}");
    }

    let (report, reads) = with_stopped_reads(&world, world.projections.verify_all(None, true, &token)).await;
    assert!(report.unwrap().holds() && reads > 0, "verifying reads the log: {reads}");

    world.definition("bgp").await;
    world.worker("cml-2").await;
    world.database.settle().await;
    for model in ReadModel::ALL {
        let (caught_up, reads) = with_stopped_reads(&world, world.projections.catch_up(model)).await;
        caught_up.unwrap();
        assert!(reads > 0 || model != ReadModel::ALL[0], "the first to catch up reads the log");
        assert!(world.projections.position(model).await.unwrap() >= world.newest().await, "{model}");
    }
}
