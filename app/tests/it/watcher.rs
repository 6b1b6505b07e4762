//! What neighbours in the cluster can do to the log's readers, and what becomes of them.
//!
//! A watcher looks at the whole cluster, so each of these tests has one of its own.

use std::time::Duration;

use app::commands::Commands;
use app::log::{Log, LogOptions, MIGRATOR, Origin, Position};
use app::watcher::{self, Watcher, WatcherOptions, confine_analysts, keep_analyst_password, transactions_with_id};
use bus::clock::{Clock, IdGenerator};
use servers::{PostgresOptions, PostgresServer};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgPool};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::stage::{until, worker};

struct Cluster {
    server: PostgresServer,
    log: Log,
    owner: PgPool,
    analyst_url: String,
    _folder: TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = PostgresOptions {
            data_dir: folder.path().join("postgres"),
            port: None,
            fsync: false,
            settings: Vec::new(),
        };
        let server = PostgresServer::start(options).await.unwrap();
        server.ensure_database("lablet").await.unwrap();
        let owner = app::log::pool(&server.url("lablet"), 3).unwrap();
        MIGRATOR.run(&owner).await.unwrap();
        let analyst_url = server.role_url("lablet_analyst", "lablet").await.unwrap();
        confine_analysts(&owner, true).await.unwrap();
        let log = log_on(&server.role_url("lablet_app", "lablet").await.unwrap());
        Self { server, log, owner, analyst_url, _folder: folder }
    }

    /// An analyst who wants to do harm: being read-only is a setting, which everybody may lift.
    async fn analyst(&self) -> PgConnection {
        let mut analyst = PgConnection::connect(&self.analyst_url).await.unwrap();
        analyst.execute("SET default_transaction_read_only = off").await.unwrap();
        analyst
    }

    async fn write(&self, id: &str) -> Position {
        let commands = Commands::new(self.log.clone(), Clock::system(), IdGenerator::random());
        commands.register_worker(worker(id), &Origin::from_actor("test")).await.unwrap();
        self.log.newest().await.unwrap()
    }

    fn watch(&self, longest_delay: Option<Duration>) -> Watching {
        let options = WatcherOptions {
            longest_delay,
            look_every: Duration::from_millis(50),
            confine_every: Duration::from_millis(50),
            ..WatcherOptions::default()
        };
        let stop = CancellationToken::new();
        Watching { task: tokio::spawn(Watcher::new(self.log.clone(), options).run(stop.clone())), stop }
    }

    async fn is_visible(&self, position: Position) -> bool {
        self.log.head().await.unwrap() == position
    }

    async fn stop(self) {
        self.log.pool().close().await;
        self.owner.close().await;
        self.server.stop().await.unwrap();
    }
}

struct Watching {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Watching {
    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn log_on(url: &str) -> Log {
    Log::new(app::log::pool(url, 4).unwrap(), Clock::system(), IdGenerator::random(), LogOptions::default())
}

/// The same login in another database.
fn in_database(url: &str, database: &str) -> String {
    format!("{}/{database}", url.rsplit_once('/').unwrap().0)
}

/// An analyst's transaction that has an id, which no right can be taken away for: every role may change itself.
async fn transaction_with_id(session: &mut PgConnection) {
    session.execute("BEGIN READ WRITE").await.unwrap();
    session.execute("ALTER ROLE lablet_analyst SET work_mem = '1MB'").await.unwrap();
}

#[tokio::test]
async fn a_strangers_open_transaction_is_reported_then_ended_and_everything_flows() {
    let cluster = Cluster::start().await;
    let mut analyst = cluster.analyst().await;
    transaction_with_id(&mut analyst).await;
    let position = cluster.write("w1").await;

    let visibility = cluster.log.visibility().await.unwrap();
    assert!(visibility.held_back_events == 1 && visibility.lag.is_some(), "{visibility:?}");
    assert_eq!(cluster.log.read(Position::START, 10).await.unwrap(), []);
    assert_eq!(cluster.log.count_after(Position::START, 10).await.unwrap(), 1, "it is committed");
    let holders = transactions_with_id(cluster.log.pool()).await.unwrap();
    assert_eq!(holders.iter().map(|holder| holder.role_name.as_str()).collect::<Vec<_>>(), ["lablet_analyst"]);
    assert!(holders[0].pid.is_some() && !holders[0].is_own && holders[0].transaction_seconds.is_some());

    let watching = cluster.watch(Some(Duration::from_millis(300)));
    until("the event", async || cluster.is_visible(position).await.then_some(())).await;
    // It is recorded after it was ended.
    let state = until("the record of it", async || {
        let state = watcher::state(&cluster.log).await.unwrap();
        state.last_ended.is_some().then_some(state)
    })
    .await;
    let ended = state.last_ended.unwrap();
    assert_eq!(
        (state.ended_sessions, ended.role_name.as_str(), ended.pid),
        (1, "lablet_analyst", holders[0].pid.unwrap())
    );
    assert_eq!(ended.reason, "delayed the readers of the log");
    assert!(state.watching && state.looked_at.is_some());
    analyst.execute("SELECT 1").await.unwrap_err();
    assert_eq!(cluster.log.visibility().await.unwrap().held_back_events, 0);

    // A transaction without an id delays nobody, however long it is open.
    let mut reader = cluster.analyst().await;
    reader.execute("BEGIN").await.unwrap();
    reader.execute("SELECT count(*) FROM analytics_v1.sessions").await.unwrap();
    let position = cluster.write("w2").await;
    until("the event", async || cluster.is_visible(position).await.then_some(())).await;
    reader.execute("SELECT 1").await.unwrap();
    watching.end().await;
    assert!(!watcher::state(&cluster.log).await.unwrap().watching, "the lease was given back");
    cluster.stop().await;
}

#[tokio::test]
async fn what_lablet_itself_leaves_open_and_what_is_prepared_is_told_and_not_ended() {
    let cluster = Cluster::start().await;
    let mut own = app::log::begin(&cluster.owner).await.unwrap();
    sqlx::query("SELECT pg_current_xact_id()::text").execute(&mut *own).await.unwrap();
    let position = cluster.write("w1").await;
    let watching = cluster.watch(Some(Duration::from_millis(100)));
    let mut stranger = PgConnection::connect(&cluster.server.url("postgres")).await.unwrap();
    stranger.execute("BEGIN").await.unwrap();
    stranger.execute("SELECT pg_current_xact_id()").await.unwrap();
    // A stranger of another database, a superuser even, is a stranger.
    let ended = || async {
        let state = watcher::state(&cluster.log).await.unwrap();
        state.last_ended.filter(|_| state.ended_sessions == 1)
    };
    let ended = until("the stranger's end", ended).await;
    assert_eq!((ended.role_name.as_str(), ended.database_name.as_str()), ("postgres", "postgres"));
    assert!(!cluster.is_visible(position).await);
    own.commit().await.unwrap();
    until("the event", async || cluster.is_visible(position).await.then_some(())).await;
    watching.end().await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_watcher_that_is_to_end_nobody_only_reports() {
    let cluster = Cluster::start().await;
    let mut analyst = cluster.analyst().await;
    transaction_with_id(&mut analyst).await;
    let position = cluster.write("w1").await;
    let watching = cluster.watch(None);
    let looked = async || watcher::state(&cluster.log).await.unwrap().looked_at;
    let first = until("a look", looked).await;
    until("ten looks", async || looked().await.filter(|at| (*at - first).num_milliseconds() > 500)).await;
    assert!(!cluster.is_visible(position).await);
    analyst.execute("ROLLBACK").await.unwrap();
    until("the event", async || cluster.is_visible(position).await.then_some(())).await;
    watching.end().await;
    cluster.stop().await;
}

#[tokio::test]
async fn an_analyst_may_read_the_views_and_nothing_more() {
    let cluster = Cluster::start().await;
    let mut analyst = cluster.analyst().await;
    analyst.execute("SELECT * FROM analytics_v1.sessions").await.unwrap();
    for refused in [
        "SELECT pg_current_xact_id()",
        "SELECT txid_current()",
        "SELECT pg_logical_emit_message(true, 'a', 'b')",
        "SELECT pg_notify('a', 'b')",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_advisory_lock(1, 2)",
        "SELECT pg_advisory_xact_lock_shared(1)",
        "SELECT pg_try_advisory_lock(1)",
        "SELECT pg_terminate_backend(1)",
        "SELECT pg_cancel_backend(1)",
        "SELECT lo_create(0)",
        "SELECT lo_creat(-1)",
        "SELECT lo_from_bytea(0, 'a')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT lo_put(1, 0, 'a')",
        "CREATE TEMPORARY TABLE a (b integer)",
        "SELECT 1 AS a INTO TEMPORARY b",
        "CREATE TABLE public.a (b integer)",
        "CREATE SCHEMA a",
        "CREATE VIEW analytics_v1.a AS SELECT 1",
        "DO $$ BEGIN RAISE LOG 'a'; END $$",
        "SELECT * FROM analytics_v1.sessions FOR UPDATE",
        "SELECT * FROM analytics_v1.sessions FOR KEY SHARE",
        "BEGIN; LOCK TABLE analytics_v1.sessions IN ACCESS EXCLUSIVE MODE",
        "BEGIN; LOCK TABLE read_sessions.sessions IN ACCESS SHARE MODE",
        "SELECT * FROM public.events",
        "SELECT * FROM public.analyst_passwords",
        "SELECT * FROM public.sessions_to_watch()",
        "SELECT public.end_session(1, now(), '1')",
        "SELECT * FROM public.confine_analysts(true)",
        "SELECT public.keep_analyst_password('lablet_analyst')",
        "UPDATE public.analyst_limits SET value = '0'",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "BEGIN; PREPARE TRANSACTION 'a'",
        "SET temp_file_limit = -1",
        "SET ROLE lablet_app",
        "ALTER ROLE lablet_analyst CONNECTION LIMIT 1000",
    ] {
        let error = analyst.execute(refused).await.expect_err(refused);
        let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
        // Insufficient privilege, or a transaction that cannot be prepared where none may be.
        assert!(["42501", "55000"].contains(&code.as_str()), "{refused}: {code} {error}");
        analyst.execute("ROLLBACK").await.unwrap();
    }
    for database in ["postgres", "template1"] {
        let refused = PgConnection::connect(&in_database(&cluster.analyst_url, database)).await;
        refused.expect_err("what is taken away is taken away in one database only");
    }
    cluster.stop().await;
}

#[tokio::test]
async fn an_analyst_finds_the_views_without_their_schema_and_is_read_only_unless_it_says_otherwise() {
    let cluster = Cluster::start().await;
    let mut analyst = PgConnection::connect(&cluster.analyst_url).await.unwrap();
    analyst.execute("SELECT * FROM session_steps").await.unwrap();
    let refused = analyst.execute("ALTER ROLE lablet_analyst PASSWORD 'mine'").await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().as_deref(), Some("25006"), "{refused}");
    cluster.stop().await;
}

#[tokio::test]
async fn every_login_of_analysts_has_the_limits_and_gets_them_back() {
    let cluster = Cluster::start().await;
    let watching = cluster.watch(Some(Duration::from_secs(30)));
    sqlx::raw_sql("CREATE ROLE grafana LOGIN PASSWORD 'g' IN ROLE lablet_analyst; CREATE ROLE stranger LOGIN")
        .execute(&cluster.owner)
        .await
        .unwrap();
    let url = cluster.analyst_url.split_once('@').map(|(_, host)| format!("postgres://grafana:g@{host}")).unwrap();
    let limit = async |setting: &str| {
        let mut session = PgConnection::connect(&url).await.unwrap();
        let value: String =
            sqlx::query_scalar(AssertSqlSafe(format!("SHOW {setting}"))).fetch_one(&mut session).await.unwrap();
        value
    };
    let limits = [
        ("statement_timeout", "5min"),
        ("idle_in_transaction_session_timeout", "1min"),
        ("idle_session_timeout", "1h"),
        ("lock_timeout", "5s"),
        ("work_mem", "16MB"),
        ("temp_file_limit", "1GB"),
        ("search_path", "analytics_v1"),
        ("default_transaction_read_only", "on"),
    ];
    for (setting, value) in limits {
        until(setting, async || (limit(setting).await == value).then_some(())).await;
    }
    let connections = async |role: &str| {
        let limit = "SELECT rolconnlimit FROM pg_roles WHERE rolname = $1";
        sqlx::query_scalar::<_, i32>(limit).bind(role).fetch_one(&cluster.owner).await.unwrap()
    };
    assert_eq!((connections("grafana").await, connections("stranger").await), (10, -1));

    let mut session = PgConnection::connect(&url).await.unwrap();
    for lifted in [
        "SET default_transaction_read_only = off",
        "ALTER ROLE grafana SET statement_timeout = 0",
        "ALTER ROLE grafana IN DATABASE lablet SET statement_timeout = 0",
        "ALTER ROLE grafana IN DATABASE lablet RESET ALL",
    ] {
        session.execute(lifted).await.unwrap();
    }
    for (setting, value) in limits {
        until(setting, async || (limit(setting).await == value).then_some(())).await;
    }
    watching.end().await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_password_that_an_analyst_changed_is_put_back() {
    let cluster = Cluster::start().await;
    assert!(keep_analyst_password(&cluster.owner, "lablet_analyst").await.unwrap());
    assert!(!keep_analyst_password(&cluster.owner, "lablet_app").await.unwrap(), "it is no analyst");
    let verifier = async || {
        let verifier = "SELECT rolpassword FROM pg_authid WHERE rolname = 'lablet_analyst'";
        sqlx::query_scalar::<_, String>(verifier).fetch_one(&cluster.owner).await.unwrap()
    };
    let kept = verifier().await;
    cluster.analyst().await.execute("ALTER ROLE lablet_analyst PASSWORD 'taken over'").await.unwrap();
    assert_ne!(verifier().await, kept);
    let watching = cluster.watch(Some(Duration::from_secs(30)));
    until("the password", async || (verifier().await == kept).then_some(())).await;
    cluster.analyst().await.execute("SELECT 1").await.unwrap();
    watching.end().await;
    cluster.stop().await;
}

#[tokio::test]
async fn an_analyst_who_lifts_the_limits_of_a_session_is_held_to_them() {
    let cluster = Cluster::start().await;
    sqlx::query("UPDATE analyst_limits SET value = '100ms' WHERE setting LIKE 'idle%'")
        .execute(&cluster.owner)
        .await
        .unwrap();
    let mut analyst = cluster.analyst().await;
    for lifted in ["SET idle_in_transaction_session_timeout = 0", "SET idle_session_timeout = 0", "BEGIN", "SELECT 1"] {
        analyst.execute(lifted).await.unwrap();
    }
    let watching = cluster.watch(Some(Duration::from_secs(30)));
    let ended = until("the end", || async { watcher::state(&cluster.log).await.unwrap().last_ended }).await;
    assert_eq!(ended.reason, "outlived the analysts' idle_in_transaction_session_timeout");
    analyst.execute("SELECT 1").await.unwrap_err();
    watching.end().await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_watcher_that_lacks_a_right_says_which() {
    let cluster = Cluster::start().await;
    // Owned by somebody who is no superuser.
    sqlx::raw_sql("CREATE ROLE keeper LOGIN PASSWORD 'k' CREATEROLE; GRANT lablet_app TO keeper")
        .execute(&cluster.owner)
        .await
        .unwrap();
    sqlx::raw_sql("CREATE DATABASE managed OWNER keeper").execute(&cluster.owner).await.unwrap();
    let managed_url = in_database(&cluster.analyst_url, "managed");
    let host = managed_url.split_once('@').unwrap().1;
    let keeper = app::log::pool(&format!("postgres://keeper:k@{host}"), 2).unwrap();
    MIGRATOR.run(&keeper).await.unwrap();
    let managed = log_on(&cluster.server.role_url("lablet_app", "managed").await.unwrap());
    let mut analyst = PgConnection::connect(&managed_url).await.unwrap();
    transaction_with_id(&mut analyst).await;
    let commands = Commands::new(managed.clone(), Clock::system(), IdGenerator::random());
    commands.register_worker(worker("w1"), &Origin::from_actor("test")).await.unwrap();
    let options = WatcherOptions {
        longest_delay: Some(Duration::from_millis(100)),
        look_every: Duration::from_millis(50),
        ..WatcherOptions::default()
    };
    let stop = CancellationToken::new();
    let watching = tokio::spawn(Watcher::new(managed.clone(), options).run(stop.clone()));
    let lacking = until("the problem", || async {
        let problems = watcher::state(&managed).await.unwrap().problems;
        problems.iter().any(|problem| problem.contains("pg_signal_backend")).then_some(problems)
    })
    .await;
    assert!(lacking.iter().any(|problem| problem.contains("lablet_analyst")), "{lacking:?}");
    assert!(lacking.iter().any(|problem| problem.ends_with("everybody may call it; needs a superuser")), "{lacking:?}");
    analyst.execute("ROLLBACK").await.unwrap();
    stop.cancel();
    watching.await.unwrap();
    keeper.close().await;
    managed.pool().close().await;
    cluster.stop().await;
}
