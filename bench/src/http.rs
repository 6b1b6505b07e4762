//! Commands over HTTP: observations of five nodes, by all roles in one process and by the gateway alone, beside pgbench's
//! insert of the row that such a command records.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;

use crate::effort::Effort;
use crate::history::{self, History};
use crate::http_client::{address, request};
use crate::load::{Load, closed_loop};
use crate::pgbench::{self, Row};
use crate::process;
use crate::surroundings::{INTERNAL_KEY, Surroundings, settled};
use crate::table::{self, Comparison, Target, Unit};

const CONNECTIONS: [usize; 4] = [1, 8, 32, 64];
const ALL_ROLES: [f64; 4] = [0.4, 0.5, 0.6, 0.6];
const GATEWAY_ALONE: [f64; 4] = [0.6, 0.9, 1.0, 1.0];
/// At so many connections the slowest answers are looked at.
const LATENCY_AT: usize = 32;
const LATENCY_TARGET: f64 = 4.0;
/// Sessions of each connection: commands on one session at a time would be those of one caller.
const SESSIONS_EACH: usize = 4;

/// Measures and prints.
pub(crate) async fn run(surroundings: &Surroundings, effort: Effort) -> anyhow::Result<()> {
    let (everything, alone, yardstick) = (
        surroundings.database("all_roles").await?,
        surroundings.database("gateway_alone").await?,
        surroundings.database("yardstick").await?,
    );
    let history = sessions();
    history.write(&everything.pool).await?;
    history.write(&alone.pool).await?;
    let lablet = surroundings.all_roles(&everything).await?;
    let (gateway, gateway_url) = surroundings.gateway_alone(&alone).await?;
    settled(&lablet).await?;
    let lablet_pid = lablet.pid().context("the process is gone")?;
    let lablet_key = lablet.ready().internal_api_key.clone();
    let payload = history::recorded_report();
    let row = Row {
        aggregate_type: "lablet_session",
        event_type: "lablet_session.resources_observed",
        payload: &payload,
        with_key: true,
    };

    // What has to be done once is done before: connections, caches, the first loading of each session.
    for (url, key) in [(&lablet.ready().http, lablet_key.as_str()), (&gateway_url, INTERNAL_KEY)] {
        observe(url, key, CONNECTIONS[3], Duration::from_secs(1)).await?;
    }
    table::group("Commands over HTTP", "pgbench's single-row insert of the same row")?;
    for (at, connections) in CONNECTIONS.into_iter().enumerate() {
        let line = |what: &str, target| {
            let title = format!("{what}, {connections} connections");
            Comparison::new(title, Unit::PerSecond, Target::RatioAtLeast(target))
        };
        let mut all_roles = line("all roles in one process", ALL_ROLES[at]);
        let mut gateway_alone = line("gateway alone", GATEWAY_ALONE[at]);
        let slowest = |what: &str, target| {
            Comparison::new(format!("{what}, {connections} connections, p99"), Unit::Milliseconds, target)
        };
        let mut all_roles_p99 = slowest("all roles in one process", Target::RatioAtMost(LATENCY_TARGET));
        let mut gateway_alone_p99 = slowest("gateway alone", Target::None);
        let mut cost = Comparison::new(
            format!("gateway alone, {connections} connections, CPU of a command"),
            Unit::Microseconds,
            Target::None,
        );
        for _ in 0..effort.rounds {
            settled(&lablet).await?;
            let inserts = pgbench::insert(&yardstick.url, connections, effort.round, &row).await?;
            let before = process::cpu_time(gateway.pid()?)?;
            let by_gateway = observe(&gateway_url, INTERNAL_KEY, connections, effort.round).await?;
            let used = process::cpu_time(gateway.pid()?)? - before;
            let by_all = observe(&lablet.ready().http, &lablet_key, connections, effort.round).await?;
            all_roles.add(by_all.per_second, inserts.per_second);
            gateway_alone.add(by_gateway.per_second, inserts.per_second);
            all_roles_p99.add(by_all.within(0.99), inserts.p99_ms);
            gateway_alone_p99.add(by_gateway.within(0.99), inserts.p99_ms);
            #[expect(clippy::cast_precision_loss, reason = "some thousands")]
            cost.figures.push(used.as_secs_f64() * 1_000_000.0 / by_gateway.requests.max(1) as f64);
        }
        table::print(&all_roles)?;
        table::print(&gateway_alone)?;
        table::print(&cost)?;
        if connections == LATENCY_AT {
            table::print(&all_roles_p99)?;
            table::print(&gateway_alone_p99)?;
        }
    }
    let (_, peak) = process::resident_mb(lablet_pid)?;
    let mut memory = Comparison::new("all roles in one process, memory at its peak", Unit::Megabytes, Target::None);
    memory.figures.push(peak);
    table::print(&memory)?;
    gateway.stop().await?;
    lablet.stop().await
}

/// The sessions that are observed, as they stand in the log before.
pub(crate) fn sessions() -> History {
    History { name: "http".to_owned(), definitions: 20, sessions: CONNECTIONS[3] * SESSIONS_EACH, observations: 0 }
}

/// Reports observations, each connection of sessions of its own.
pub(crate) async fn observe(
    url: &str,
    internal_key: &str,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Load> {
    let history = sessions();
    let (key, body) = (internal_key.to_owned(), history::report());
    closed_loop(address(url)?, connections, duration, move |connection, number| {
        let session = history.session(connection * SESSIONS_EACH + number % SESSIONS_EACH);
        report(&session, &key, &body)
    })
    .await
}

/// A request that reports an observation of a session.
pub(crate) fn report(session: &str, internal_key: &str, body: &str) -> Vec<u8> {
    let path = format!("/api/internal/lablet-sessions/{session}/resource-observations");
    let idempotency_key = fresh_key();
    let headers = [
        ("x-api-key", internal_key),
        ("content-type", "application/json"),
        ("idempotency-key", idempotency_key.as_str()),
    ];
    request("POST", &path, &headers, body.as_bytes())
}

/// A key that no earlier request had.
fn fresh_key() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("bench-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
