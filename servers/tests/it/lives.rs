//! How the servers begin and end, and what the next start finds.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use servers::{NatsAccounts, NatsOptions, NatsServer, PostgresOptions, PostgresServer, ServerError};
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;

use crate::processes::{hold, kill, runs, wait_until};

/// Without fsync, which half of these tests' time would go to. `hold-servers` and one test here have it.
fn postgres_in(folder: &Path) -> PostgresOptions {
    PostgresOptions { data_dir: folder.join("postgres"), port: None, fsync: false, settings: Vec::new() }
}

fn nats_in(folder: &Path) -> NatsOptions {
    NatsOptions { data_dir: folder.join("nats"), port: None, accounts: NatsAccounts::One }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

async fn write_a_row(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute("create table kept (number int); insert into kept values (42)").await.unwrap();
    connection.close().await.unwrap();
}

async fn read_the_row(url: &str) -> i32 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar("select number from kept").fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_second_start_finds_everything_where_it_was() {
    let folder = TempDir::new().unwrap();
    let postgres = PostgresServer::start(PostgresOptions { fsync: true, ..postgres_in(folder.path()) }).await.unwrap();
    let url = postgres.url("lablet");
    assert!(postgres.ensure_database("lablet").await.unwrap());
    assert!(!postgres.ensure_database("lablet").await.unwrap());
    write_a_row(&url).await;
    let mut owner = PgConnection::connect(&url).await.unwrap();
    owner.execute("create role reader; grant select on kept to reader").await.unwrap();
    let reader_url = postgres.role_url("reader", "lablet").await.unwrap();
    assert_eq!(read_the_row(&reader_url).await, 42);
    postgres.stop().await.unwrap();

    let nats = NatsServer::start(nats_in(folder.path())).await.unwrap();
    let nats_url = nats.url();
    nats.stop().await.unwrap();

    let postgres = PostgresServer::start(PostgresOptions { fsync: true, ..postgres_in(folder.path()) }).await.unwrap();
    assert_eq!(postgres.url("lablet"), url);
    assert_eq!(read_the_row(&url).await, 42);
    assert_eq!(postgres.role_url("reader", "lablet").await.unwrap(), reader_url);
    let nats = NatsServer::start(nats_in(folder.path())).await.unwrap();
    assert_eq!(nats.url(), nats_url);

    for secret in
        ["postgres/password", "postgres/password.reader", "postgres/server.log", "nats/password", "nats/nats.conf"]
    {
        assert_eq!(mode(&folder.path().join(secret)), 0o600, "{secret}");
    }
    nats.stop().await.unwrap();
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn wrong_and_missing_passwords_are_refused() {
    let folder = TempDir::new().unwrap();
    for fsync in [true, false] {
        let data_dir = folder.path().join(format!("fsync-{fsync}"));
        let postgres =
            PostgresServer::start(PostgresOptions { data_dir, port: None, fsync, settings: Vec::new() }).await.unwrap();
        let port = postgres.port();
        for url in [
            format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            format!("postgres://postgres:wrong@127.0.0.1:{port}/postgres"),
        ] {
            let refused = PgConnection::connect(&url).await.unwrap_err();
            assert!(refused.to_string().contains("password"), "{refused}");
        }
        postgres.stop().await.unwrap();
    }
    let nats = NatsServer::start(nats_in(folder.path())).await.unwrap();
    let refused = async_nats::connect(format!("nats://127.0.0.1:{}", nats.port())).await;
    assert!(refused.is_err());
    nats.stop().await.unwrap();
}

/// Postgres refuses to run as root; a home closed to others must not be opened for the user it runs as.
#[tokio::test]
async fn a_folder_below_a_closed_one_works_and_the_closed_one_stays_closed() {
    let folder = TempDir::new().unwrap();
    let closed = folder.path().join("home");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let below = closed.join("project");
    for _ in 0..2 {
        let postgres = PostgresServer::start(postgres_in(&below)).await.unwrap();
        let mut connection = PgConnection::connect(&postgres.url("postgres")).await.unwrap();
        connection.execute("create table if not exists t (n int); checkpoint").await.unwrap();
        connection.close().await.unwrap();
        postgres.stop().await.unwrap();
    }
    for path in [closed.clone(), below.clone(), below.join("postgres")] {
        assert_eq!(mode(&path), 0o700, "{}", path.display());
    }
}

#[tokio::test]
async fn servers_end_when_their_parent_is_killed() {
    let folder = TempDir::new().unwrap();
    let mut held = hold(folder.path());
    write_a_row(&held.database_url).await;
    held.parent.0.kill().unwrap();
    held.parent.0.wait().unwrap();
    wait_until("both servers have ended", || !runs(held.postgres) && !runs(held.nats));

    let again = hold(folder.path());
    assert_eq!(again.database_url, held.database_url);
    assert_eq!(read_the_row(&again.database_url).await, 42);
}

#[tokio::test]
async fn a_start_right_after_the_kill_waits_for_the_servers_to_end() {
    let folder = TempDir::new().unwrap();
    let mut held = hold(folder.path());
    write_a_row(&held.database_url).await;
    for _ in 0..3 {
        held.parent.0.kill().unwrap();
        held.parent.0.wait().unwrap();
        held = hold(folder.path());
        assert_eq!(read_the_row(&held.database_url).await, 42);
    }
}

#[tokio::test]
async fn servers_that_outlived_parent_and_watchdog_are_ended_by_the_next_start() {
    let folder = TempDir::new().unwrap();
    let mut held = hold(folder.path());
    write_a_row(&held.database_url).await;
    let port =
        format!("port={}", held.database_url.rsplit_once(':').unwrap().1).trim_end_matches("/postgres").to_owned();
    let configuration = fs::canonicalize(folder.path().join("nats/nats.conf")).unwrap().display().to_string();
    let watchdogs: Vec<u32> = crate::processes::all()
        .into_iter()
        .filter(|(pid, command)| {
            command.starts_with("/bin/sh -c")
                && (command.contains(&port) || command.contains(&configuration))
                && *pid != held.postgres
                && *pid != held.nats
        })
        .map(|(pid, _)| pid)
        .collect();
    assert_eq!(watchdogs.len(), 2, "one for each server");
    for watchdog in watchdogs {
        kill(watchdog, "KILL");
        wait_until("the watchdog is gone", || !runs(watchdog));
    }
    held.parent.0.kill().unwrap();
    held.parent.0.wait().unwrap();
    assert!(runs(held.postgres) && runs(held.nats));

    let again = hold(folder.path());
    assert!(!runs(held.postgres) && !runs(held.nats));
    assert_eq!(again.database_url, held.database_url);
    assert_eq!(read_the_row(&again.database_url).await, 42);
}

#[tokio::test]
async fn a_server_that_was_killed_itself_comes_back() {
    let folder = TempDir::new().unwrap();
    let mut postgres = PostgresServer::start(postgres_in(folder.path())).await.unwrap();
    let url = postgres.url("postgres");
    write_a_row(&url).await;
    postgres.kill_now().await.unwrap();
    assert!(postgres.status().unwrap().is_some());
    drop(postgres);
    let postgres = PostgresServer::start(postgres_in(folder.path())).await.unwrap();
    assert_eq!(read_the_row(&url).await, 42);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_stale_process_number_that_belongs_to_a_stranger_does_no_harm() {
    let folder = TempDir::new().unwrap();
    PostgresServer::start(postgres_in(folder.path())).await.unwrap().stop().await.unwrap();
    let stranger = crate::processes::Killed(std::process::Command::new("sleep").arg("600").spawn().unwrap());
    let number = stranger.0.id();
    fs::write(
        folder.path().join("postgres/cluster/postmaster.pid"),
        format!("{number}\n/proc/self/fd/9\n1\n5432\n\n127.0.0.1\n"),
    )
    .unwrap();
    fs::create_dir_all(folder.path().join("nats")).unwrap();
    fs::write(folder.path().join("nats/nats.pid"), number.to_string()).unwrap();
    let postgres = PostgresServer::start(postgres_in(folder.path())).await.unwrap();
    let nats = NatsServer::start(nats_in(folder.path())).await.unwrap();
    assert!(runs(number));
    nats.stop().await.unwrap();
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_cluster_whose_making_was_interrupted_is_made_anew() {
    let folder = TempDir::new().unwrap();
    let half = folder.path().join("postgres/new/cluster/base");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("../PG_VERSION"), "15").unwrap();
    let postgres = PostgresServer::start(postgres_in(folder.path())).await.unwrap();
    assert!(!folder.path().join("postgres/new").exists());
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_folder_in_use_is_refused() {
    let folder = TempDir::new().unwrap();
    let nats = NatsServer::start(nats_in(folder.path())).await.unwrap();
    let refused = NatsServer::start(nats_in(folder.path())).await.unwrap_err();
    let ServerError::InUse { holder, .. } = refused else {
        panic!("{refused}");
    };
    assert_eq!(holder, std::process::id().to_string());
    nats.stop().await.unwrap();
}

#[tokio::test]
async fn a_wanted_port_that_is_taken_is_an_error_that_shows_the_log() {
    let folder = TempDir::new().unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = Some(other.local_addr().unwrap().port());
    let refused = NatsServer::start(NatsOptions { port, ..nats_in(folder.path()) }).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("address already in use"), "{text}");
    let refused = PostgresServer::start(PostgresOptions { port, ..postgres_in(folder.path()) }).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("Address already in use"), "{text}");

    // A port that was only kept gives way.
    drop(other);
    let nats = NatsServer::start(nats_in(folder.path())).await.unwrap();
    let kept = nats.port();
    nats.stop().await.unwrap();
    let other = TcpListener::bind(("127.0.0.1", kept)).unwrap();
    let nats = NatsServer::start(nats_in(folder.path())).await.unwrap();
    assert_ne!(nats.port(), kept);
    nats.stop().await.unwrap();
    drop(other);
}
