//! Six reads at 32 connections over 2,000 sessions, each beside a bare axum route that runs the same statements and answers
//! the same bytes.
//!
//! The statements are those that Postgres logs while the route is asked, so that the bare route is never another one.

pub(crate) mod bare_route;
mod statements;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use harness::Crowd;

use self::bare_route::BareRoute;
use crate::effort::Effort;
use crate::http_client::{Connection, address, request};
use crate::load::closed_loop;
use crate::pages;
use crate::surroundings::{Database, Surroundings, settled};
use crate::table::{self, Comparison, Target, Unit};

pub(crate) const CONNECTIONS: usize = 32;
pub(crate) const SESSIONS: usize = 2_000;
const API: f64 = 0.8;
const PAGES: f64 = 0.5;
/// p99 divided by the median.
const SPREAD: f64 = 5.0;
/// Not counted: caches are filled.
pub(crate) const WARMING_UP: Duration = Duration::from_millis(500);

/// A route, with what is wanted of it.
pub(crate) struct Read {
    pub(crate) what: &'static str,
    pub(crate) path: &'static str,
    pub(crate) target: f64,
    /// Opened by a browser's cookie instead of a token.
    pub(crate) page: bool,
}

pub(crate) const READS: [Read; 6] = [
    Read {
        what: "definition aggregate",
        path: "/api/lablet-definitions/crowd-000/resource-observations",
        target: API,
        page: false,
    },
    Read { what: "list of 50 sessions", path: "/api/lablet-sessions?limit=50", target: API, page: false },
    Read { what: "one session", path: "/api/lablet-sessions/crowd-00007", target: API, page: false },
    Read { what: "overview", path: "/api/overview", target: API, page: false },
    Read { what: "page /", path: "/", target: PAGES, page: true },
    Read { what: "page of a definition", path: "/definitions/crowd-000", target: PAGES, page: true },
];

/// Measures and prints.
pub(crate) async fn run(surroundings: &Surroundings, effort: Effort) -> anyhow::Result<()> {
    let database = surroundings.database("reads").await?;
    let lablet = surroundings.all_roles(&database).await?;
    let crowd = Crowd { sessions: effort.size(SESSIONS).max(100), definitions: 20, workers: 5, ..Crowd::default() };
    crowd.settle(&lablet).await?;
    settled(&lablet).await?;
    sqlx::raw_sql("ANALYZE").execute(&database.pool).await?;
    let server = address(&lablet.ready().http)?;
    let authorization = format!("Bearer {}", lablet.ready().admin_token);
    let cookie = pages::sign_in(&lablet).await?;
    table::group(
        &format!("Reads at {CONNECTIONS} connections, {} sessions", crowd.sessions),
        "a bare axum route with the same statements and bytes",
    )?;
    for Read { what, path, target, page } in READS {
        let header = if page { ("cookie", cookie.as_str()) } else { ("authorization", authorization.as_str()) };
        let request = request("GET", path, &[header], b"");
        load(server, &request, WARMING_UP).await?;
        let bare = bare_of(&database, surroundings.postgres_log(), server, &request).await?;
        load(bare.address(), &request, WARMING_UP).await?;
        let mut rate = Comparison::new(what, Unit::PerSecond, Target::RatioAtLeast(target));
        let mut slowest = Comparison::new(
            format!("{what}: p99 beside its own median"),
            Unit::Milliseconds,
            Target::RatioAtMost(SPREAD),
        );
        for _ in 0..effort.rounds {
            let raw = load(bare.address(), &request, effort.round).await?;
            let ours = load(server, &request, effort.round).await?;
            rate.add(ours.per_second, raw.per_second);
            slowest.add(ours.within(0.99), ours.within(0.5));
        }
        table::print(&rate)?;
        table::print(&slowest)?;
        bare.stop().await?;
    }
    lablet.stop().await
}

pub(crate) async fn load(server: SocketAddr, request: &[u8], duration: Duration) -> anyhow::Result<crate::load::Load> {
    let request = request.to_vec();
    closed_loop(server, CONNECTIONS, duration, move |_, _| request.clone()).await
}

/// A bare route that runs what this request makes the server run, and answers what it answers.
async fn bare_of(
    database: &Database,
    postgres_log: PathBuf,
    server: SocketAddr,
    request: &[u8],
) -> anyhow::Result<BareRoute> {
    let mut connection = Connection::open(server).await?;
    let answer = connection.send(request).await?;
    ensure!(answer.status == 200, "{}: {}", answer.status, String::from_utf8_lossy(answer.body));
    let body = answer.body.to_vec();
    let statements = statements::of_request(&database.pool, &postgres_log, async |times| {
        for _ in 0..times {
            let answer = connection.send(request).await?;
            ensure!(answer.status == 200, "{}: {}", answer.status, String::from_utf8_lossy(answer.body));
        }
        Ok(())
    });
    let statements = statements.await.context("the statements of a request are not known")?;
    BareRoute::start(&database.url, statements, body).await
}
