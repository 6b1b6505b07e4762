//! How soon a recommendation comes, one after the other, of a thousand definitions of which ten thousand sessions are
//! evidence; beside one session of the same gateway, which is a single row.

use crate::effort::Effort;
use crate::http_client::{address, request};
use crate::load::{Load, closed_loop};
use crate::reads::WARMING_UP;
use crate::surroundings::{Surroundings, settled};
use crate::table::{self, Comparison, Target, Unit};
use harness::Crowd;
use std::net::SocketAddr;
use std::time::Duration;

const SESSIONS: usize = 10_000;
const DEFINITIONS: usize = 1_000;
/// Milliseconds.
const SOON: f64 = 20.0;

/// Measures and prints.
pub(crate) async fn run(surroundings: &Surroundings, effort: Effort) -> anyhow::Result<()> {
    let database = surroundings.database("recommendations").await?;
    let lablet = surroundings.all_roles(&database).await?;
    let (sessions, definitions) = (effort.size(SESSIONS), effort.size(DEFINITIONS));
    let crowd = Crowd { sessions, definitions, ended: true, ..Crowd::default() };
    crowd.settle(&lablet).await?;
    settled(&lablet).await?;
    sqlx::raw_sql("ANALYZE").execute(&database.pool).await?;
    let server = address(&lablet.ready().http)?;
    let authorization = format!("Bearer {}", lablet.ready().admin_token);
    let path_of = move |number: usize, what: &'static str| match what {
        "one session" => format!("/api/lablet-sessions/crowd-{:05}", number % sessions),
        "explanation" => {
            format!("/api/lablet-definitions/crowd-{:03}/recommendation/explanation", number % definitions)
        }
        _ => format!("/api/lablet-definitions/crowd-{:03}/recommendation", number % definitions),
    };
    table::group(
        &format!("Recommendations one after the other, {sessions} ended sessions of {definitions} definitions"),
        "one session of the same gateway",
    )?;
    let read = async |what: &'static str, duration: Duration| -> anyhow::Result<Load> {
        let authorization = authorization.clone();
        one_after_the_other(server, duration, move |number| {
            request("GET", &path_of(number, what), &[("authorization", &authorization)], b"")
        })
        .await
    };
    for what in ["recommendation", "explanation"] {
        let mut median = Comparison::new(format!("{what}, p50"), Unit::Milliseconds, Target::FigureAtMost(SOON));
        let mut slowest = Comparison::new(format!("{what}, p99"), Unit::Milliseconds, Target::FigureAtMost(SOON));
        read(what, WARMING_UP).await?;
        read("one session", WARMING_UP).await?;
        for _ in 0..effort.rounds {
            let session = read("one session", effort.round).await?;
            let ours = read(what, effort.round).await?;
            median.add(ours.within(0.5), session.within(0.5));
            slowest.add(ours.within(0.99), session.within(0.99));
        }
        table::print(&median)?;
        table::print(&slowest)?;
    }
    lablet.stop().await
}

async fn one_after_the_other(
    server: SocketAddr,
    duration: Duration,
    next: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static,
) -> anyhow::Result<Load> {
    closed_loop(server, 1, duration, move |_, number| next(number)).await
}
