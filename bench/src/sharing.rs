//! What several processes of a role do together: read models behind a burst, each alone and by one, two and four `lablet
//! project`; observations of few and of many sessions over HTTP and by the bus, by one, two and four `lablet serve`.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use app::log::{Log, LogOptions};
use bus::clock::{Clock, IdGenerator};
use bus::{Bus, BusOptions, StreamBounds, streams, subjects};
use projections::{Projections, ReadModel, Runner, RunnerOptions};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::burst::{follow, nothing_failed};
use crate::effort::Effort;
use crate::history::{self, History};
use crate::http::report;
use crate::http_client::address;
use crate::load::closed_loop;
use crate::process;
use crate::surroundings::{Database, INTERNAL_KEY, Role, Surroundings};
use crate::table::{self, Comparison, Target, Unit};

/// Processes of a role.
const PROCESSES: [usize; 3] = [1, 2, 4];
/// Events of one burst, and the sessions that they are of.
const EVENTS: usize = 40_000;
const BURST_SESSIONS: usize = 400;
/// Sessions that are observed at the same time by all, and those of which each is observed seldom.
const SESSIONS: [(&str, usize); 2] = [("8 sessions", 8), ("2,000 sessions", 2_000)];
const CONNECTIONS: usize = 32;
/// Commands that wait on the bus.
const COMMANDS: usize = 8_000;
const TAKEN_WITHIN: Duration = Duration::from_secs(600);
/// So long two processes may take to agree on who does what.
const DIVIDED_WITHIN: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(10);

/// Measures and prints.
pub(crate) async fn run(surroundings: &Surroundings, effort: Effort) -> anyhow::Result<()> {
    read_models(surroundings, effort).await?;
    over_http(surroundings, effort).await?;
    by_the_bus(surroundings, effort).await
}

#[expect(clippy::cast_precision_loss, reason = "some ten thousands")]
fn per_second(events: usize, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}

async fn read_models(surroundings: &Surroundings, effort: Effort) -> anyhow::Result<()> {
    table::group("Read models behind a burst, by several processes", "all of them in one process")?;
    let sessions = effort.size(BURST_SESSIONS);
    let observations = (EVENTS / BURST_SESSIONS).saturating_sub(history::STEPS);
    let line = |what: String| Comparison::new(what, Unit::PerSecond, Target::None);
    let mut alone: Vec<_> = ReadModel::ALL.into_iter().map(|model| line(format!("{model} alone"))).collect();
    let mut together: Vec<_> = PROCESSES.into_iter().map(|count| line(format!("{count} lablet project"))).collect();
    let mut costs: Vec<_> = PROCESSES
        .into_iter()
        .map(|count| {
            Comparison::new(format!("{count} lablet project, CPU of an event"), Unit::Microseconds, Target::None)
        })
        .collect();
    for round in 0..effort.rounds {
        let database = surroundings.database(&format!("sharing_models{round}")).await?;
        let bus = Bus::connect(&BusOptions::new(surroundings.nats_of_roles(), "bench")).await?;
        bus.connected(Duration::from_secs(10)).await?;
        let log = Log::new(database.pool.clone(), Clock::system(), IdGenerator::random(), LogOptions::default());
        let projections = Projections::new(log.clone());
        let mut baseline = 0.0;
        for (at, count) in PROCESSES.into_iter().enumerate() {
            let projectors = (0..count)
                .map(|_| surroundings.role(&database, surroundings.nats_of_roles(), &["project"], &[]))
                .collect::<anyhow::Result<Vec<_>>>()?;
            tokio::time::sleep(DIVIDED_WITHIN).await;
            let history = History { name: format!("r{round}n{count}"), definitions: 20, sessions, observations };
            history.write_at_once(&database.pool).await?;
            let (before, committed) = (cpu_time(&projectors)?, Instant::now());
            bus.nudge(subjects::NUDGE_LOG);
            follow(&projections, log.head().await?, committed).await?;
            let time = committed.elapsed();
            #[expect(clippy::cast_precision_loss, reason = "some ten thousands")]
            costs[at].figures.push((cpu_time(&projectors)? - before).as_secs_f64() * 1e6 / history.len() as f64);
            nothing_failed(&projections).await?;
            let figure = per_second(history.len(), time);
            baseline = if count == 1 { figure } else { baseline };
            together[at].add(figure, baseline);
            for projector in projectors {
                projector.stop().await?;
            }
        }
        for (line, model) in alone.iter_mut().zip(ReadModel::ALL) {
            let history = History { name: format!("r{round}{model}"), definitions: 20, sessions, observations };
            history.write_at_once(&database.pool).await?;
            let token = CancellationToken::new();
            let own = Projections::new(log.clone());
            // It follows the others' bursts first.
            let head = log.head().await?;
            let options = RunnerOptions { models: vec![model], ..RunnerOptions::default() };
            let from = projections.position(model).await?;
            let events = log.count_after(from, i64::MAX).await?;
            let started = Instant::now();
            let running = tokio::spawn(Runner::new(own, None, options).run(token.clone()));
            while projections.position(model).await? < head {
                ensure!(started.elapsed() < TAKEN_WITHIN, "{model} does not follow");
                tokio::time::sleep(POLL).await;
            }
            line.add(per_second(usize::try_from(events)?, started.elapsed()), baseline);
            token.cancel();
            running.await?;
        }
        bus.close().await;
    }
    for line in together.iter().chain(&costs).chain(&alone) {
        table::print(line)?;
    }
    Ok(())
}

fn cpu_time(roles: &[Role]) -> anyhow::Result<Duration> {
    roles.iter().map(|role| process::cpu_time(role.pid()?)).sum()
}

/// Commands of a gateway that met somebody else's events.
async fn conflicts(urls: &[String]) -> anyhow::Result<f64> {
    let mut all = 0.0;
    for url in urls {
        let metrics = reqwest::get(format!("{url}/metrics")).await?.error_for_status()?.text().await?;
        let lines = metrics.lines().filter_map(|line| line.strip_prefix("lablet_log_conflicts_total"));
        for line in lines {
            all += line.rsplit(' ').next().unwrap_or_default().parse::<f64>().context("a metric is no number")?;
        }
    }
    Ok(all)
}

async fn over_http(surroundings: &Surroundings, effort: Effort) -> anyhow::Result<()> {
    table::group("Observations over HTTP, 32 connections, by several gateways", "one gateway")?;
    for (what, sessions) in SESSIONS {
        let database = surroundings.database(&format!("sharing_http{sessions}")).await?;
        let history = observed(sessions);
        history.write(&database.pool).await?;
        let mut gateways = Vec::new();
        let mut urls = Vec::new();
        for _ in 0..4 {
            let (gateway, url) = surroundings.gateway_alone(&database).await?;
            gateways.push(gateway);
            urls.push(url);
        }
        let mut lines: Vec<_> = PROCESSES
            .into_iter()
            .map(|count| Comparison::new(format!("{count} gateways, {what}"), Unit::PerSecond, Target::None))
            .collect();
        let mut met: Vec<_> = PROCESSES
            .into_iter()
            .map(|count| {
                Comparison::new(format!("{count} gateways, {what}, conflicts"), Unit::PerThousand, Target::None)
            })
            .collect();
        for _ in 0..effort.rounds {
            let mut baseline = 0.0;
            for (at, count) in PROCESSES.into_iter().enumerate() {
                let before = conflicts(&urls[..count]).await?;
                let loads = urls[..count].iter().enumerate().map(|(number, url)| {
                    let (history, body) = (history.clone(), history::report());
                    async move {
                        closed_loop(address(url)?, CONNECTIONS / count, effort.round, move |connection, request| {
                            // Every gateway has to do with every session.
                            let session = (connection * 7_919 + request * 31 + number) % history.sessions;
                            report(&history.session(session), INTERNAL_KEY, &body)
                        })
                        .await
                    }
                });
                let loads = futures_util::future::try_join_all(loads).await?;
                let figure: f64 = loads.iter().map(|load| load.per_second).sum();
                let requests: usize = loads.iter().map(|load| load.requests).sum();
                baseline = if count == 1 { figure } else { baseline };
                lines[at].add(figure, baseline);
                #[expect(clippy::cast_precision_loss, reason = "some ten thousands")]
                met[at].figures.push((conflicts(&urls[..count]).await? - before) * 1_000.0 / requests.max(1) as f64);
            }
        }
        for line in lines.iter().chain(&met) {
            table::print(line)?;
        }
        for gateway in gateways {
            gateway.stop().await?;
        }
    }
    Ok(())
}

fn observed(sessions: usize) -> History {
    History { name: "shared".to_owned(), definitions: 20, sessions, observations: 0 }
}

async fn by_the_bus(surroundings: &Surroundings, effort: Effort) -> anyhow::Result<()> {
    table::group("Observations that wait on the bus, by several command consumers", "one of them")?;
    for (what, sessions) in SESSIONS {
        let history = observed(sessions);
        let mut lines: Vec<_> = PROCESSES
            .into_iter()
            .map(|count| Comparison::new(format!("{count} lablet serve, {what}"), Unit::PerSecond, Target::None))
            .collect();
        let mut met: Vec<_> = PROCESSES
            .into_iter()
            .map(|count| {
                Comparison::new(format!("{count} lablet serve, {what}, conflicts"), Unit::PerThousand, Target::None)
            })
            .collect();
        let database = surroundings.database(&format!("sharing_bus{sessions}")).await?;
        history.write(&database.pool).await?;
        for round in 0..effort.rounds {
            let mut baseline = 0.0;
            for (at, count) in PROCESSES.into_iter().enumerate() {
                let commands = effort.size(COMMANDS);
                publish(surroundings, &history, commands, &format!("{sessions}-{round}-{count}")).await?;
                let before = events(&database).await?;
                let mut serving = Vec::new();
                let started = Instant::now();
                for _ in 0..count {
                    serving.push(surroundings.gateway_alone(&database).await?);
                }
                let (mut first, mut first_at) = (0, started);
                loop {
                    let now = usize::try_from(events(&database).await? - before)?;
                    // Their start does not count.
                    if first == 0 && now > 0 {
                        (first, first_at) = (now, Instant::now());
                    }
                    if now >= commands {
                        break;
                    }
                    ensure!(started.elapsed() < TAKEN_WITHIN, "the commands are not taken: {now} of {commands}");
                    tokio::time::sleep(POLL).await;
                }
                let figure = per_second(commands - first, first_at.elapsed());
                baseline = if count == 1 { figure } else { baseline };
                lines[at].add(figure, baseline);
                let urls: Vec<String> = serving.iter().map(|(_, url)| url.clone()).collect();
                #[expect(clippy::cast_precision_loss, reason = "some thousands")]
                met[at].figures.push(conflicts(&urls).await? * 1_000.0 / commands as f64);
                for (role, _) in serving {
                    role.stop().await?;
                }
            }
        }
        for line in lines.iter().chain(&met) {
            table::print(line)?;
        }
    }
    Ok(())
}

async fn events(database: &Database) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&database.pool).await?)
}

/// Publishes commands that observe the sessions in turn.
async fn publish(surroundings: &Surroundings, history: &History, commands: usize, batch: &str) -> anyhow::Result<()> {
    let bus = Bus::connect(&BusOptions::new(surroundings.nats_of_roles(), "bench")).await?;
    bus.connected(Duration::from_secs(10)).await?;
    streams::ensure_commands(&bus, &StreamBounds::default()).await?;
    let report: serde_json::Value = serde_json::from_str(&history::report())?;
    let mut acknowledgements = Vec::new();
    for number in 0..commands {
        let mut data = report.clone();
        data["session_id"] = json!(history.session(number % history.sessions));
        let command = json!({
            "specversion": "1.0", "id": format!("{batch}-{number}"), "source": "/bench/sharing",
            "type": "io.lablet.command.record_resource_observation.v1", "datacontenttype": "application/json",
            "data": data
        });
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Content-Type", "application/cloudevents+json");
        let subject = "lablet.commands.grading.record_resource_observation";
        let payload = serde_json::to_vec(&command)?.into();
        acknowledgements.push(bus.jetstream().publish_with_headers(subject, headers, payload).await?);
        if acknowledgements.len() >= 200 {
            for acknowledgement in acknowledgements.drain(..) {
                acknowledgement.await?;
            }
        }
    }
    for acknowledgement in acknowledgements {
        acknowledgement.await?;
    }
    bus.close().await;
    Ok(())
}
