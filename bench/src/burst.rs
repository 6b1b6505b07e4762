//! Read models behind a burst: many events become visible at once, and every read model has to fold all of them.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use app::log::{Log, LogOptions, Position};
use bus::clock::{Clock, IdGenerator};
use bus::{Bus, BusOptions, subjects};
use projections::{Projections, ReadModel};
use tokio::time::Instant;

use crate::effort::Effort;
use crate::history::History;
use crate::log_reading;
use crate::surroundings::{Database, Surroundings};
use crate::table::{self, Comparison, Target, Unit};

/// Events of one burst.
const EVENTS: usize = 40_000;
const SESSIONS: usize = 400;
const TARGET: f64 = 15_000.0;
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(10);

/// Measures and prints.
pub(crate) async fn run(surroundings: &Surroundings, effort: Effort) -> anyhow::Result<()> {
    table::group("Read models behind a burst, all at once", "reading and decoding the same log")?;
    let database = surroundings.database("projections_alone").await?;
    let projector = surroundings.role(&database, surroundings.nats_of_roles(), &["project"], &[])?;
    compare("projections alone", &database, surroundings.nats_of_roles(), effort).await?;
    projector.stop().await?;
    let database = surroundings.database("all_roles").await?;
    let lablet = surroundings.all_roles(&database).await?;
    compare("all roles in one process", &database, &lablet.ready().nats_url, effort).await?;
    lablet.stop().await
}

async fn compare(roles: &str, database: &Database, nats_url: &str, effort: Effort) -> anyhow::Result<()> {
    let log = Log::new(database.pool.clone(), Clock::system(), IdGenerator::random(), LogOptions::default());
    let projections = Projections::new(log.clone());
    let bus = Bus::connect(&BusOptions::new(nats_url, "bench")).await?;
    bus.connected(Duration::from_secs(10)).await?;
    let line = |what: &str, target| Comparison::new(format!("{roles}, {what}"), Unit::PerSecond, target);
    let mut slowest = line("the slowest", Target::FigureAtLeast(TARGET));
    let mut each: Vec<(ReadModel, Comparison)> =
        ReadModel::ALL.into_iter().map(|model| (model, line(model.name(), Target::None))).collect();
    for round in 0..effort.rounds {
        let sessions = effort.size(SESSIONS);
        let observations = (EVENTS / SESSIONS).saturating_sub(crate::history::STEPS);
        let history = History { name: format!("burst{round}"), definitions: 20, sessions, observations };
        history.write_at_once(&database.pool).await?;
        let committed = Instant::now();
        let head = log.head().await?;
        bus.nudge(subjects::NUDGE_LOG);
        let followed = follow(&projections, head, committed).await?;
        nothing_failed(&projections).await?;
        let reading = log_reading::measure(&database.pool).await?;
        #[expect(clippy::cast_precision_loss, reason = "some ten thousands")]
        let per_second = |time: &Duration| history.len() as f64 / time.as_secs_f64();
        let longest = followed.iter().map(|(_, time)| *time).max().unwrap_or_default();
        slowest.add(per_second(&longest), reading);
        for (model, time) in followed {
            if let Some((_, line)) = each.iter_mut().find(|(known, _)| *known == model) {
                line.add(per_second(&time), reading);
            }
        }
    }
    table::print(&slowest)?;
    for (_, line) in &each {
        table::print(line)?;
    }
    bus.close().await;
    Ok(())
}

/// How long each read model took to reach a position.
pub(crate) async fn follow(
    projections: &Projections,
    head: Position,
    committed: Instant,
) -> anyhow::Result<Vec<(ReadModel, Duration)>> {
    let mut followed = Vec::new();
    let mut behind = ReadModel::ALL.to_vec();
    while !behind.is_empty() {
        ensure!(committed.elapsed() < FOLLOW_TIMEOUT, "{behind:?} do not follow");
        tokio::time::sleep(POLL).await;
        for model in std::mem::take(&mut behind) {
            if projections.position(model).await.context("a read model's position cannot be read")? >= head {
                followed.push((model, committed.elapsed()));
            } else {
                behind.push(model);
            }
        }
    }
    Ok(followed)
}

/// An event that was parked costs nothing: such a figure would be none.
pub(crate) async fn nothing_failed(projections: &Projections) -> anyhow::Result<()> {
    for model in projections.freshness().await?.items {
        ensure!(model.dead_letters == 0, "{} could not apply {} events", model.read_model, model.dead_letters);
    }
    Ok(())
}
