//! `lablet rebuild` of each read model, beside merely reading and decoding the same log.

use std::time::Duration;

use anyhow::ensure;
use app::log::{Log, LogOptions};
use bus::clock::{Clock, IdGenerator};
use projections::{Projections, ReadModel};
use tokio::time::Instant;

use crate::burst::{follow, nothing_failed};
use crate::effort::Effort;
use crate::history::{History, STEPS};
use crate::log_reading;
use crate::surroundings::Surroundings;
use crate::table::{self, Comparison, Target, Unit};

const EVENTS: usize = 50_000;
const SESSIONS: usize = 500;
const TARGET: f64 = 0.7;
const REBUILD_TIMEOUT: Duration = Duration::from_secs(600);

/// Measures and prints.
pub(crate) async fn run(surroundings: &Surroundings, effort: Effort) -> anyhow::Result<()> {
    let database = surroundings.database("rebuilds").await?;
    let (sessions, observations) = (effort.size(SESSIONS), EVENTS / SESSIONS - STEPS);
    let history = History { name: "rebuild".to_owned(), definitions: 20, sessions, observations };
    history.write(&database.pool).await?;
    table::group(&format!("Rebuild from {} events", history.len()), "reading and decoding the same log")?;
    let log = Log::new(database.pool.clone(), Clock::system(), IdGenerator::random(), LogOptions::default());
    let head = log.head().await?;
    let projections = Projections::new(log);
    // A rebuild goes as far as the live rows have come.
    let projector = surroundings.role(&database, surroundings.nats_of_roles(), &["project"], &[])?;
    follow(&projections, head, Instant::now()).await?;
    projector.stop().await?;
    for model in ReadModel::ALL {
        let mut line = Comparison::new(format!("rebuild of {model}"), Unit::PerSecond, Target::RatioAtLeast(TARGET));
        for _ in 0..effort.rounds {
            let reading = log_reading::measure(&database.pool).await?;
            let started = Instant::now();
            let arguments = ["rebuild", model.name()];
            let rebuild = surroundings.role(&database, surroundings.nats_of_roles(), &arguments, &[])?;
            rebuild.ended(REBUILD_TIMEOUT).await?;
            #[expect(clippy::cast_precision_loss, reason = "some ten thousands")]
            line.add(history.len() as f64 / started.elapsed().as_secs_f64(), reading);
        }
        ensure!(projections.position(model).await? >= head, "{model} was not rebuilt up to the end of the log");
        nothing_failed(&projections).await?;
        table::print(&line)?;
    }
    Ok(())
}
