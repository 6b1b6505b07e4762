//! A process with one axum route: it runs given statements, one after the other, and answers given bytes.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// The argument with which this executable is one.
pub(crate) const ARGUMENT: &str = "bare-route";
/// As many as a process of Lablet has.
const CONNECTIONS: u32 = 24;
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// What it does, in a file.
#[derive(Serialize, Deserialize)]
struct Work {
    database_url: String,
    statements: Vec<String>,
    body: Vec<u8>,
}

/// A running one.
pub(super) struct BareRoute {
    process: Child,
    address: std::net::SocketAddr,
    _folder: TempDir,
}

impl BareRoute {
    pub(super) async fn start(database_url: &str, statements: Vec<String>, body: Vec<u8>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("work.json");
        let work = Work { database_url: database_url.to_owned(), statements, body };
        std::fs::write(&file, serde_json::to_vec(&work)?)?;
        let mut process = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the bare route cannot be started")?;
        let mut lines = BufReader::new(process.stdout.take().context("it has no output")?).lines();
        let line = tokio::time::timeout(READY_TIMEOUT, lines.next_line()).await.context("it is not ready")??;
        let address = line.context("it ended before it was ready")?.parse()?;
        Ok(Self { process, address, _folder: folder })
    }

    pub(super) fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.process.kill().await?)
    }
}

struct Route {
    pool: PgPool,
    statements: Vec<String>,
    body: Bytes,
}

/// Serves until it is killed, and prints where.
pub(crate) async fn serve(file: &Path) -> anyhow::Result<()> {
    use std::io::Write as _;
    let Work { database_url, statements, body } = serde_json::from_slice(&std::fs::read(file)?)?;
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .test_before_acquire(false)
        .acquire_timeout(Duration::from_secs(30))
        .connect(&database_url)
        .await?;
    let statements = if statements.is_empty() { vec![bytes_as_a_row(&pool, &body).await?] } else { statements };
    let route = Route { pool, statements, body: body.into() };
    run(&route).await.context("a statement cannot be run as it was logged")?;
    let router = Router::new().fallback(answer).with_state(Arc::new(route));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout().lock(), "{}", listener.local_addr()?)?;
    axum::serve(listener, router).await?;
    Ok(())
}

/// Where a server runs no statement for a request: one row, found by its key, that holds the answer.
async fn bytes_as_a_row(pool: &PgPool, body: &[u8]) -> anyhow::Result<String> {
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS bare_bodies (id integer PRIMARY KEY, body bytea NOT NULL)")
        .execute(pool)
        .await?;
    sqlx::query("INSERT INTO bare_bodies VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET body = excluded.body")
        .bind(body)
        .execute(pool)
        .await?;
    Ok("SELECT body FROM bare_bodies WHERE id = 1".to_owned())
}

async fn answer(State(route): State<Arc<Route>>) -> Result<Bytes, StatusCode> {
    run(&route).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(route.body.clone())
}

async fn run(route: &Route) -> anyhow::Result<()> {
    let mut connection = route.pool.acquire().await?;
    for statement in &route.statements {
        let rows = sqlx::query(AssertSqlSafe(statement.as_str())).fetch_all(&mut *connection).await?;
        ensure!(rows.len() < 100_000, "a read of so many rows is none of ours");
    }
    Ok(())
}
