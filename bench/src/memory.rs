//! Resident memory of `lablet up` under load, and its CPU time where nothing happens. Postgres and nats-server are
//! processes of their own and do not count.

use std::time::Duration;

use anyhow::Context as _;
use harness::Lablet;

use crate::effort::Effort;
use crate::http;
use crate::http_client::{address, request};
use crate::load::closed_loop;
use crate::process;
use crate::surroundings::{Surroundings, settled};
use crate::table::{self, Comparison, Target, Unit};

const CONNECTIONS: usize = 64;
const READERS: usize = 32;
const MEMORY_TARGET: f64 = 120.0;
const IDLE_TARGET: f64 = 1.0;
/// Timers of a busy moment end before the idle time begins.
const REST: Duration = Duration::from_secs(2);
const IDLE_FOR: Duration = Duration::from_secs(8);

/// Measures and prints.
pub(crate) async fn run(surroundings: &Surroundings, effort: Effort) -> anyhow::Result<()> {
    let line = |what: &str, unit, target| Comparison::new(format!("all roles in one process, {what}"), unit, target);
    let mut peak_memory = line("memory at its peak", Unit::Megabytes, Target::FigureAtMost(MEMORY_TARGET));
    let mut memory_after = line("memory after the load", Unit::Megabytes, Target::None);
    let mut idle = line("CPU while idle", Unit::PercentOfACore, Target::FigureAtMost(IDLE_TARGET));
    for round in 0..effort.rounds {
        let database = surroundings.database(&format!("memory_{round}")).await?;
        http::sessions().write(&database.pool).await?;
        let lablet = surroundings.all_roles(&database).await?;
        settled(&lablet).await?;
        load(&lablet, effort).await?;
        settled(&lablet).await?;
        let pid = lablet.pid().context("the process is gone")?;
        tokio::time::sleep(REST).await;
        let (now, peak) = process::resident_mb(pid)?;
        peak_memory.figures.push(peak);
        memory_after.figures.push(now);
        let before = process::cpu_time(pid)?;
        tokio::time::sleep(IDLE_FOR).await;
        let used = process::cpu_time(pid)? - before;
        idle.figures.push(100.0 * used.as_secs_f64() / IDLE_FOR.as_secs_f64());
        lablet.stop().await?;
    }
    table::group("Memory and idle, after commands and reads", "none")?;
    for line in [&peak_memory, &memory_after, &idle] {
        table::print(line)?;
    }
    Ok(())
}

async fn load(lablet: &Lablet, effort: Effort) -> anyhow::Result<()> {
    let ready = lablet.ready();
    http::observe(&ready.http, &ready.internal_api_key, CONNECTIONS, effort.round * 2).await?;
    let authorization = format!("Bearer {}", ready.admin_token);
    let lists = ["/api/lablet-sessions?limit=50", "/api/lablet-definitions?limit=50", "/api/overview"];
    closed_loop(address(&ready.http)?, READERS, effort.round, move |_, number| {
        request("GET", lists[number % lists.len()], &[("authorization", &authorization)], b"")
    })
    .await?;
    Ok(())
}
