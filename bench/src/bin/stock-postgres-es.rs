//! Stock cqrs-es on stock postgres-es, on Lablet's own log: nothing of the project but its aggregates.
//!
//! ```text
//! stock-postgres-es DATABASE_URL register WORKER ADDRESS    executes a command
//! stock-postgres-es DATABASE_URL show WORKER                prints the events, a line of JSON each, and the state
//! ```

use std::io::Write as _;

use anyhow::{Context as _, bail};
use bus::clock::Clock;
use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{AggregateContext as _, EventStore as _};
use domain::worker::{Worker, WorkerCommand};
use postgres_es::{PostgresEventRepository, postgres_cqrs};
use serde_json::json;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [url, rest @ ..] = arguments.as_slice() else { bail!("which database?") };
    let pool = sqlx_08::PgPool::connect(url).await.context("the database does not answer")?;
    match rest {
        ["register", worker, address] => {
            let new = json!({
                "name": worker, "address": address,
                "capacity": { "cpu_cores": 64, "memory_gb": 512, "storage_gb": 2_000, "max_nodes": 300 }
            });
            let command = WorkerCommand::Register {
                id: worker.parse()?,
                new: serde_json::from_value(new)?,
                now: Clock::system().now(),
            };
            postgres_cqrs::<Worker>(pool, Vec::new(), ()).execute(worker, command).await?;
        }
        ["show", worker] => {
            let store = PersistedEventStore::<_, Worker>::new_event_store(PostgresEventRepository::new(pool));
            let mut out = std::io::stdout().lock();
            for event in store.load_events(worker).await? {
                writeln!(out, "{}", serde_json::to_string(&event.payload)?)?;
            }
            let mut context = store.load_aggregate(worker).await?;
            writeln!(out, "{}", serde_json::to_string(context.aggregate())?)?;
        }
        _ => bail!("register WORKER ADDRESS, or show WORKER"),
    }
    Ok(())
}
