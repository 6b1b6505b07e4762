//! What happened before the demonstration began: a small fleet that ran for some days, so that charts, rankings and advice
//! have something to show at once.
//!
//! It is written straight into an empty log, with times in the past, as nobody can be asked over HTTP to record what was. Each
//! event is one that the domain decides. The same fleet every time: chance is seeded.

mod fleet;

use anyhow::Context as _;
use app::log::{Log, LogOptions, Origin, Position};
use bus::clock::{Clock, IdGenerator};
use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use domain::lablet_definition::{LabletDefinition, LabletDefinitionCommand};
use domain::lablet_session::{LabletSession, LabletSessionCommand};
use domain::worker::{Worker, WorkerCommand};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::PgPool;

use self::fleet::{FLEET, OWNERS, PastLab, PastNode};

/// At what hours of the day (UTC) sessions begin.
const HOURS: std::ops::Range<u32> = 7..19;
/// The first outside port of the fleet's sessions; each has a block of its own as far as they run at once.
const FIRST_PORT: u32 = 20_000;
/// How often a session was sampled.
const SAMPLED_EVERY: TimeDelta = TimeDelta::seconds(30);

/// What happens at a time.
struct Entry {
    at: DateTime<Utc>,
    /// Who did it.
    actor: &'static str,
    what: Happening,
}

enum Happening {
    Registered(Value),
    Created(Value),
    Revised(&'static str, Value),
    Booked(Booking),
    Moved(usize, Value),
    Requested(usize),
    Observed(usize, Value),
    Failed(usize, &'static str),
}

/// A session is booked; those that follow name it by its number.
struct Booking {
    number: usize,
    lab: &'static PastLab,
    revision: u32,
    owner: &'static str,
    start: DateTime<Utc>,
}

/// Writes the days before now into the log, if it is empty. Gives the number of sessions.
pub(super) async fn write(pool: PgPool, now: DateTime<Utc>, days: u32, workers: &[Value]) -> anyhow::Result<usize> {
    let entries = plan(now, days, workers);
    let Some(first) = entries.first() else { return Ok(0) };
    let clock = Clock::manual(first.at);
    let seed = u64::from(now.nanosecond()) ^ now.timestamp().unsigned_abs();
    let ids = IdGenerator::seeded(seed >> 32, clock.clone());
    let log = Log::new(pool, clock.clone(), ids.clone(), LogOptions::default());
    if log.newest().await? != Position::START {
        return Ok(0);
    }
    let mut sessions: Vec<String> = Vec::new();
    for Entry { at, actor, what } in entries {
        clock.advance(at - clock.now());
        let origin = Origin::from_actor(actor);
        let session = |number: usize| sessions.get(number).cloned().context("a session is named before it is booked");
        match what {
            Happening::Registered(worker) => {
                let id = worker["id"].as_str().context("a worker of the past has no id")?.to_owned();
                let command = WorkerCommand::Register { id: id.parse()?, new: read(worker)?, now: at };
                log.execute::<Worker>(&id, command, &origin).await?;
            }
            Happening::Created(definition) => {
                let id = definition["id"].as_str().context("a definition of the past has no id")?.to_owned();
                let command = LabletDefinitionCommand::Create { id: id.parse()?, new: read(definition)?, now: at };
                log.execute::<LabletDefinition>(&id, command, &origin).await?;
            }
            Happening::Revised(id, revision) => {
                let revised_by = actor.to_owned();
                let command = LabletDefinitionCommand::Revise { revision: read(revision)?, revised_by, now: at };
                log.execute::<LabletDefinition>(id, command, &origin).await?;
            }
            Happening::Booked(Booking { number, lab, revision, owner, start }) => {
                let id = ids.uuid().to_string();
                let session = json!({
                    "session_id": id, "definition_id": lab.id, "definition_version": "1.0",
                    "definition_revision": revision,
                });
                let timeslot = json!({ "start": start, "end": start + TimeDelta::minutes(lab.minutes) });
                let command = LabletSessionCommand::Create {
                    ids: read(session)?,
                    owner_id: Some(owner.parse()?),
                    timeslot: Some(read(timeslot)?),
                    now: at,
                };
                log.execute::<LabletSession>(&id, command, &origin).await?;
                debug_assert_eq!(number, sessions.len());
                sessions.push(id);
            }
            Happening::Moved(number, transition) => {
                let command = LabletSessionCommand::Transition { transition: read(transition)?, now: at };
                log.execute::<LabletSession>(&session(number)?, command, &origin).await?;
            }
            Happening::Requested(number) => {
                let request_id = ids.uuid().to_string().parse()?;
                let command =
                    LabletSessionCommand::RequestObservation { request_id, requested_by: actor.parse()?, now: at };
                log.execute::<LabletSession>(&session(number)?, command, &origin).await?;
            }
            Happening::Observed(number, report) => {
                let command = LabletSessionCommand::RecordObservation {
                    report: Box::new(read(report)?),
                    reported_by: actor.parse()?,
                    now: at,
                };
                log.execute::<LabletSession>(&session(number)?, command, &origin).await?;
            }
            Happening::Failed(number, reason) => {
                let failure = json!({ "outcome": "failed", "reason": reason });
                let command = LabletSessionCommand::RecordObservationFailure { failure: read(failure)?, now: at };
                log.execute::<LabletSession>(&session(number)?, command, &origin).await?;
            }
        }
    }
    Ok(sessions.len())
}

/// As it would come over the wire.
fn read<T: DeserializeOwned>(value: Value) -> anyhow::Result<T> {
    serde_json::from_value(value).context("the demonstration's past is not what the domain takes")
}

/// Everything that happened in the days before now, in its order.
fn plan(now: DateTime<Utc>, days: u32, workers: &[Value]) -> Vec<Entry> {
    let mut entries = Vec::new();
    if days == 0 {
        return entries;
    }
    let midnight = now - TimeDelta::seconds(i64::from(now.num_seconds_from_midnight()));
    let first_day = midnight - TimeDelta::days(i64::from(days));
    let began = first_day - TimeDelta::days(1);
    for worker in workers {
        entries.push(Entry { at: began, actor: "admin:radia", what: Happening::Registered(worker.clone()) });
    }
    let revised_at = first_day + TimeDelta::days(7) + TimeDelta::hours(6);
    let mut bookings = Vec::new();
    for (index, lab) in FLEET.iter().enumerate() {
        let mut random = SmallRng::seed_from_u64(index as u64);
        entries.push(Entry { at: began, actor: "admin:radia", what: Happening::Created(definition(lab)) });
        if let Some((size, reason)) = lab.revised
            && revised_at < now
        {
            let revision = json!({ "resource_requirements": requirements(size), "reason": reason });
            entries.push(Entry { at: revised_at, actor: "admin:ada", what: Happening::Revised(lab.id, revision) });
        }
        for day in 0..i64::from(days) {
            let mut start = first_day;
            for nth in 0..lab.daily {
                if nth % lab.together == 0 {
                    let minute = random.random_range(HOURS.start * 60..HOURS.end * 60) / 15 * 15;
                    start = first_day + TimeDelta::days(day) + TimeDelta::minutes(i64::from(minute));
                }
                let booked = start - TimeDelta::hours(3) + TimeDelta::seconds(random.random_range(0..3_600));
                let is_past = start + TimeDelta::minutes(lab.minutes + 45) < now;
                if is_past {
                    bookings.push((booked, lab, start, random.random::<u64>()));
                }
            }
        }
    }
    bookings.sort_by_key(|(booked, lab, ..)| (*booked, lab.id));
    let mut of_lab = std::collections::BTreeMap::<&str, u32>::new();
    for (number, (booked, lab, start, seed)) in bookings.into_iter().enumerate() {
        let nth = of_lab.entry(lab.id).or_default();
        *nth += 1;
        let revision = if lab.revised.is_some() && booked > revised_at { 2 } else { 1 };
        let owner = OWNERS[number % OWNERS.len()];
        let booking = Booking { number, lab, revision, owner, start };
        entries.push(Entry { at: booked, actor: "service:booking", what: Happening::Booked(booking) });
        let worker = workers[number % workers.len()]["id"].clone();
        let session = PastSession { number, nth: *nth, lab, start, worker };
        entries.extend(session.life(&mut SmallRng::seed_from_u64(seed)));
    }
    // What happens at the same time stays in the order above.
    entries.sort_by_key(|entry| entry.at);
    entries
}

fn requirements((cpu_cores, memory_gb, storage_gb): (u32, u32, u32)) -> Value {
    json!({ "cpu_cores": cpu_cores, "memory_gb": memory_gb, "storage_gb": storage_gb })
}

fn definition(lab: &PastLab) -> Value {
    let ports = json!([{ "name": port_name(lab), "protocol": "tcp" }]);
    json!({
        "id": lab.id, "name": lab.name, "version": "1.0", "node_count": node_count(lab),
        "resource_requirements": requirements(lab.guess), "port_template": { "ports": ports },
    })
}

fn node_count(lab: &PastLab) -> usize {
    lab.nodes.iter().map(|nodes| nodes.count).sum()
}

/// The one port that its sessions have: that of the first node.
fn port_name(lab: &PastLab) -> String {
    format!("{}1_tcp", lab.nodes[0].label)
}

/// A session that ended.
struct PastSession {
    number: usize,
    /// Counted from 1, of its lab.
    nth: u32,
    lab: &'static PastLab,
    start: DateTime<Utc>,
    worker: Value,
}

impl PastSession {
    fn happens(&self, every: u32) -> bool {
        every > 0 && self.nth.is_multiple_of(every)
    }

    /// Everything after the booking.
    fn life(&self, random: &mut SmallRng) -> Vec<Entry> {
        let (start, number) = (self.start, self.number);
        let end = start + TimeDelta::minutes(self.lab.minutes);
        let port = FIRST_PORT + u32::try_from(number % 500).unwrap_or(0) * 4;
        let lab_id = format!("{:06x}", 0x0a_1000 + number);
        let mut life = Vec::new();
        let mut at =
            |minutes: i64, actor, what| life.push(Entry { at: start + TimeDelta::minutes(minutes), actor, what });
        let to = |status: &str| Happening::Moved(number, json!({ "new_status": status }));
        let allocated = json!({ port_name(self.lab): port });
        let scheduled = json!({ "new_status": "scheduled", "worker_id": self.worker, "allocated_ports": allocated });
        at(-15, "service:booking", Happening::Moved(number, scheduled));
        at(-8, "service:lab-manager", to("instantiating"));
        at(-2, "service:lab-manager", to("ready"));
        let running = json!({ "new_status": "running", "cml_lab_id": lab_id });
        at(0, "service:lab-manager", Happening::Moved(number, running));
        let use_of_it = Use::new(self.lab, random);
        if self.happens(self.lab.drifts_every) {
            at(self.lab.minutes / 2 - 1, "admin:ada", Happening::Requested(number));
        }
        if self.happens(self.lab.fails_every) {
            let reason = "the worker did not answer within 30 s";
            at(self.lab.minutes / 3, "controller:demo", Happening::Failed(number, reason));
        }
        let observed = if self.happens(self.lab.drifts_every) { port + 1 } else { port };
        for (minutes, share) in [(self.lab.minutes / 2, 0.93), (self.lab.minutes - 1, 1.0)] {
            let seen = start + TimeDelta::minutes(minutes);
            let report = use_of_it.report(self, seen, share, observed);
            at(minutes, "controller:demo", Happening::Observed(number, report));
        }
        let end_minute = (end - start).num_minutes();
        for (after, status) in [(0, "collecting"), (2, "grading"), (6, "stopping"), (8, "stopped"), (30, "archived")] {
            at(end_minute + after, "service:lab-manager", to(status));
        }
        life
    }
}

/// What a session uses at its peak.
struct Use {
    cpu_cores: f64,
    memory_mb: f64,
    storage_mb: f64,
    boot_seconds: i64,
}

impl Use {
    fn new(lab: &PastLab, random: &mut SmallRng) -> Self {
        // The sum of four even chances, near enough to a bell.
        let mut deviation = || {
            let sum: f64 = (0..4).map(|_| random.random_range(-1.0..1.0)).sum();
            (sum * 0.87 * lab.spread).exp()
        };
        let (cpu_cores, memory_mb, storage_mb) = lab.usual;
        Self {
            cpu_cores: cpu_cores * deviation(),
            memory_mb: memory_mb * deviation(),
            storage_mb: storage_mb * deviation(),
            boot_seconds: random.random_range(70..260),
        }
    }

    /// What the controller reports of it at a time, with so much of the peak reached.
    fn report(&self, session: &PastSession, seen: DateTime<Utc>, share: f64, port: u32) -> Value {
        let lab = session.lab;
        let (cpu, memory, storage) = (self.cpu_cores * share, self.memory_mb * share, self.storage_mb * share);
        let nominal_cores: u32 = lab.nodes.iter().map(|nodes| nodes.cpus * nodes.count as u32).sum();
        let nominal_memory: u32 = lab.nodes.iter().map(|nodes| nodes.ram_mb * nodes.count as u32).sum();
        let phases = |part: f64| self.phases(session, seen, (cpu * part, memory * part, storage * part));
        let node = |kind: &PastNode, nth: usize| {
            // In proportion to what CML gave it.
            let of_memory = f64::from(kind.ram_mb) / f64::from(nominal_memory);
            let label = format!("{}{}", kind.label, nth + 1);
            let number = session.number * 100 + nth;
            let tags: Vec<String> =
                (nth == 0 && kind.label == lab.nodes[0].label).then(|| format!("pat:{port}:22")).into_iter().collect();
            let (boot, steady) = phases(of_memory);
            json!({
                "node_id": format!("0d9c1b7e-0f0a-4a53-9d7e-{}{number:010}", kind_digits(kind)),
                "label": label, "node_definition": kind.kind, "state": "BOOTED",
                "cpus": kind.cpus, "cpu_limit": 100, "ram_mb": kind.ram_mb, "nominal_cpu_cores": kind.cpus,
                "tags": tags, "interfaces": [],
                "usage": {
                    "cpu_cores": rounded(cpu * of_memory * 0.6), "memory_mb": rounded(memory * of_memory * 0.97),
                    "disk_mb": rounded(storage * of_memory),
                },
                "profile": { "restarts": 0, "boot": boot, "steady": steady },
            })
        };
        let nodes: Vec<Value> =
            lab.nodes.iter().flat_map(|kind| (0..kind.count).map(move |nth| node(kind, nth))).collect();
        let kinds: Vec<&str> = lab.nodes.iter().map(|nodes| nodes.kind).collect();
        let (boot, steady) = phases(1.0);
        let samples = ((seen - session.start).num_seconds() / SAMPLED_EVERY.num_seconds()).max(2);
        json!({
            "observed_resources": {
                "observed_at": seen, "observer": "controller",
                "total_cpu_cores": nominal_cores, "total_memory_mb": nominal_memory, "total_storage_mb": rounded(storage),
                "nodes": nodes, "actual_node_count": node_count(lab), "node_definitions_used": kinds,
                "nominal": {
                    "cpu_cores": nominal_cores, "memory_mb": nominal_memory, "storage_mb": null,
                    "unknown_cpu_nodes": 0, "unknown_memory_nodes": 0, "unknown_storage_nodes": node_count(lab),
                },
                "usage": {
                    "cpu_cores": rounded(cpu * 0.6), "memory_mb": rounded(memory * 0.97), "storage_mb": rounded(storage),
                    "unknown_cpu_nodes": 0, "unknown_memory_nodes": 0, "unknown_storage_nodes": 0,
                },
                "profile": {
                    "from": session.start, "to": seen, "interval_seconds": SAMPLED_EVERY.num_seconds(),
                    "samples": samples, "missed_samples": 0, "boot": boot, "steady": steady,
                },
                "coverage": {
                    "nodes_total": node_count(lab), "nodes_booted": node_count(lab), "phase": "steady",
                    "sampled_share": 1.0,
                },
                "cml_version": "2.10.0+build.1", "lab_title": format!("{} {:03}", lab.name, session.number),
            },
            "observed_ports": { port_name(lab): port },
        })
    }

    /// The boot and the steady phase, of the lab or of a part of it.
    fn phases(
        &self,
        session: &PastSession,
        seen: DateTime<Utc>,
        (cpu, memory, storage): (f64, f64, f64),
    ) -> (Value, Value) {
        let spread = |peak: f64, p95: f64, mean: f64| {
            json!({
                "peak": rounded(peak), "p95": rounded(peak * p95), "mean": rounded(peak * mean)
            })
        };
        let boot = json!({
            "seconds": self.boot_seconds, "cpu_cores": spread(cpu * 0.9, 0.98, 0.7),
            "memory_mb": spread(memory * 0.7, 0.98, 0.8), "storage_mb": spread(storage * 0.8, 1.0, 0.98),
        });
        let steady = json!({
            "seconds": (seen - session.start).num_seconds() - self.boot_seconds,
            "cpu_cores": spread(cpu, 0.8, 0.35), "memory_mb": spread(memory, 0.99, 0.94),
            "storage_mb": spread(storage, 1.0, 0.96),
        });
        (boot, steady)
    }
}

/// Tells the ids of nodes of different kinds apart.
fn kind_digits(kind: &PastNode) -> String {
    format!("{:02}", kind.label.bytes().fold(0_u32, |sum, byte| (sum * 31 + u32::from(byte)) % 97))
}

/// To three decimals.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(id: &str) -> Value {
        json!({
            "id": id, "name": id, "address": "https://192.0.2.1",
            "capacity": {"cpu_cores": 64, "memory_gb": 256, "storage_gb": 2000, "max_nodes": 320}
        })
    }

    #[test]
    fn a_fortnight_is_in_order_and_over_and_the_same_every_time() {
        let now = "2026-03-15T10:20:30Z".parse().unwrap();
        let workers = ["w-1", "w-2"].map(worker);
        let entries = plan(now, 14, &workers);
        assert!(entries.is_sorted_by_key(|entry| entry.at));
        assert!(entries.last().unwrap().at < now);
        let booked = entries.iter().filter(|entry| matches!(entry.what, Happening::Booked(_))).count();
        let daily: u32 = FLEET.iter().map(|lab| lab.daily).sum();
        assert_eq!(booked, 14 * daily as usize);
        assert_eq!(plan(now, 14, &workers).len(), entries.len());
        assert!(plan(now, 0, &workers).is_empty());
    }

    #[tokio::test]
    async fn the_past_is_taken_by_the_domain_once() {
        let database = servers::testing::database(&app::log::MIGRATOR).await;
        let now = Clock::system().now();
        let workers = ["w-1", "w-2"].map(worker);
        let sessions = write(database.pool(), now, 8, &workers).await.unwrap();
        let daily: u32 = FLEET.iter().map(|lab| lab.daily).sum();
        assert_eq!(sessions, 8 * daily as usize);
        assert_eq!(write(database.pool(), now, 8, &workers).await.unwrap(), 0, "a log that has events is left alone");
    }
}
