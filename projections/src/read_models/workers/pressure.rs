//! How much of each worker is free, and the spells in which it was short, was not, or was not known to be either.

use app::log::Position;
use chrono::{DateTime, Utc};
use domain::WorkerId;
use domain::worker::{KnownShortage, LASTS, PressureCondition, Shortage, WorkerPressure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;
use uuid::Uuid;

use crate::page::{self, Page, PageRequest};
use crate::refused::{Refused, integer};
use crate::table::{Table, rows};
use crate::{Projections, ReadError};

/// The newest pressure of a worker, as it is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NewestPressure {
    /// Whether the worker is short.
    pub condition: PressureCondition,
    /// What it is short of.
    pub short_of: Vec<Shortage>,
    /// Since when its condition is this one.
    pub since: DateTime<Utc>,
    /// What was read.
    pub reading: WorkerPressure,
    /// Who read it.
    pub observer: String,
    /// When it was read. It is recorded again at least every hour, so that an older one is no longer known to hold.
    pub observed_at: DateTime<Utc>,
    /// The event.
    pub event_id: Uuid,
}

/// A time in which a worker was short of the same things, short of nothing, or not known to be either.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PressureSpell {
    /// The worker.
    pub worker_id: WorkerId,
    /// Counted from 1.
    pub number: u64,
    /// Whether it was short.
    pub condition: PressureCondition,
    /// What it was short of.
    pub short_of: Vec<Shortage>,
    /// From when.
    pub began_at: DateTime<Utc>,
    /// Until when; null: it lasts, as far as is known.
    pub ended_at: Option<DateTime<Utc>>,
    /// When it was last read to be so; null: nothing was read.
    pub last_observed_at: Option<DateTime<Utc>>,
    /// Most nodes that waited for their launch, of the readings that were recorded; null: unknown.
    pub most_queued_nodes: Option<u32>,
    /// Longest wait for a launch, in seconds; null: unknown.
    pub longest_wait_seconds: Option<u32>,
    /// Fewest cores that were free; null: unknown.
    pub least_free_cpu_cores: Option<f64>,
    /// Least memory that was free, in MB; null: unknown.
    pub least_free_memory_mb: Option<f64>,
    /// Least disk that was free, in MB; null: unknown.
    pub least_free_storage_mb: Option<f64>,
    /// The event by which it began.
    pub event_id: Uuid,
    /// Position of the last event that it rests on.
    pub position: Position,
}

rows! {
    /// The newest pressure of a worker, as it is stored.
    pub(super) struct StoredPressure in "pressures" by (worker_id: String) {
        worker_id: String,
        condition: String,
        condition_since: DateTime<Utc>,
        spell_number: i64,
        short_of_cpu: Option<bool>,
        short_of_memory: Option<bool>,
        short_of_storage: Option<bool>,
        short_of_launches: Option<bool>,
        queued_nodes: Option<i32>,
        longest_wait_seconds: Option<i32>,
        running_nodes: Option<i32>,
        free_cpu_cores: Option<f64>,
        total_cpu_cores: Option<f64>,
        free_memory_mb: Option<f64>,
        total_memory_mb: Option<f64>,
        free_storage_mb: Option<f64>,
        total_storage_mb: Option<f64>,
        statistics: Option<String>,
        launch_queue: Option<String>,
        observer: String,
        observed_at: DateTime<Utc>,
        event_id: Uuid,
        position: Position,
    }

    /// A spell, as it is stored.
    pub(super) struct StoredSpell in "pressure_spells" by (worker_id: String, number: i64) {
        worker_id: String,
        number: i64,
        condition: String,
        short_of_cpu: bool,
        short_of_memory: bool,
        short_of_storage: bool,
        short_of_launches: bool,
        began_at: DateTime<Utc>,
        ended_at: Option<DateTime<Utc>>,
        last_observed_at: Option<DateTime<Utc>>,
        most_queued_nodes: Option<i32>,
        longest_wait_seconds: Option<i32>,
        least_free_cpu_cores: Option<f64>,
        least_free_memory_mb: Option<f64>,
        least_free_storage_mb: Option<f64>,
        event_id: Uuid,
        position: Position,
    }
}

/// A pressure that was read, and the event that says so.
pub(super) struct ObservedPressure<'a> {
    pub(super) worker_id: &'a WorkerId,
    pub(super) pressure: &'a WorkerPressure,
    pub(super) observer: &'a str,
    pub(super) observed_at: DateTime<Utc>,
    pub(super) event_id: Uuid,
    pub(super) position: Position,
}

/// Records a pressure: it is the newest one, goes on with the spell that lasts, or ends it and begins another. What lasted
/// longer than a pressure is taken to last was unknown in between.
pub(super) fn record(
    observed: &ObservedPressure<'_>,
    pressures: &mut Table<StoredPressure>,
    spells: &mut Table<StoredSpell>,
) -> Result<(), Refused> {
    let worker_id = observed.worker_id.to_string();
    let before = pressures.get(&(worker_id.clone(),))?.cloned();
    let last = match &before {
        None => None,
        Some(before) => {
            let last = spells.get(&(worker_id, before.spell_number))?;
            Some(last.cloned().ok_or_else(|| Refused::new("a worker's pressure has no spell"))?)
        }
    };
    let mut row = observed.row()?;
    let mut spell = observed.spell()?;
    let mut ended = None;
    let mut between = None;
    if let Some(last) = last {
        let forgotten_at = last.lasts_until().filter(|until| *until < observed.observed_at);
        if forgotten_at.is_none() && last.is_like(&spell) {
            spell = last.extended_by(&spell);
        } else {
            between = forgotten_at.map(|at| spell.unknown_before(last.number + 1, at));
            spell.number = last.number + 1 + i64::from(between.is_some());
            let ended_at = Some(forgotten_at.unwrap_or(observed.observed_at));
            ended = Some(StoredSpell { ended_at, position: observed.position, ..last });
        }
    }
    let same_condition = before.as_ref().filter(|before| before.condition == row.condition && between.is_none());
    row.condition_since = same_condition.map_or(observed.observed_at, |before| before.condition_since);
    row.spell_number = spell.number;
    pressures.put(row)?;
    for changed in [ended, between, Some(spell)].into_iter().flatten() {
        // The numbers count on, so that of a new one there can be none yet.
        spells.expect_none((changed.worker_id.clone(), changed.number));
        spells.put(changed)?;
    }
    Ok(())
}

impl ObservedPressure<'_> {
    fn row(&self) -> Result<StoredPressure, Refused> {
        let pressure = self.pressure;
        let amount = |amount: Option<domain::Amount>| amount.map(domain::Amount::get);
        let nodes = |count: Option<u32>, name: &'static str| count.map(|count| integer(count, name)).transpose();
        Ok(StoredPressure {
            worker_id: self.worker_id.to_string(),
            condition: pressure.condition().name().to_owned(),
            condition_since: self.observed_at,
            spell_number: 1,
            short_of_cpu: pressure.is_short_of(Shortage::Cpu),
            short_of_memory: pressure.is_short_of(Shortage::Memory),
            short_of_storage: pressure.is_short_of(Shortage::Storage),
            short_of_launches: pressure.is_short_of(Shortage::LaunchQueue),
            queued_nodes: nodes(pressure.queued_nodes.map(domain::Whole::get), "queued_nodes")?,
            longest_wait_seconds: nodes(pressure.longest_wait_seconds.map(domain::Whole::get), "longest_wait_seconds")?,
            running_nodes: nodes(pressure.running_nodes.map(domain::Whole::get), "running_nodes")?,
            free_cpu_cores: amount(pressure.free_cpu_cores),
            total_cpu_cores: amount(pressure.total_cpu_cores),
            free_memory_mb: amount(pressure.free_memory_mb),
            total_memory_mb: amount(pressure.total_memory_mb),
            free_storage_mb: amount(pressure.free_storage_mb),
            total_storage_mb: amount(pressure.total_storage_mb),
            statistics: pressure.statistics.map(|read| read.name().to_owned()),
            launch_queue: pressure.launch_queue.map(|read| read.name().to_owned()),
            observer: self.observer.to_owned(),
            observed_at: self.observed_at,
            event_id: self.event_id,
            position: self.position,
        })
    }

    /// A spell of this reading alone.
    fn spell(&self) -> Result<StoredSpell, Refused> {
        let row = self.row()?;
        Ok(StoredSpell {
            worker_id: row.worker_id,
            number: 1,
            condition: row.condition,
            short_of_cpu: row.short_of_cpu == Some(true),
            short_of_memory: row.short_of_memory == Some(true),
            short_of_storage: row.short_of_storage == Some(true),
            short_of_launches: row.short_of_launches == Some(true),
            began_at: self.observed_at,
            ended_at: None,
            last_observed_at: Some(self.observed_at),
            most_queued_nodes: row.queued_nodes,
            longest_wait_seconds: row.longest_wait_seconds,
            least_free_cpu_cores: row.free_cpu_cores,
            least_free_memory_mb: row.free_memory_mb,
            least_free_storage_mb: row.free_storage_mb,
            event_id: self.event_id,
            position: self.position,
        })
    }
}

impl StoredSpell {
    /// Until when it is known to last; `None`: nothing is known to last.
    fn lasts_until(&self) -> Option<DateTime<Utc>> {
        let is_known = self.condition != PressureCondition::Unknown.name();
        let last = self.last_observed_at.filter(|_| is_known)?;
        Some(last.checked_add_signed(LASTS).unwrap_or(last))
    }

    /// Whether both are of the same condition and the same shortages.
    fn is_like(&self, other: &Self) -> bool {
        let what = |spell: &Self| {
            let Self { short_of_cpu, short_of_memory, short_of_storage, short_of_launches, .. } = *spell;
            (spell.condition.clone(), [short_of_cpu, short_of_memory, short_of_storage, short_of_launches])
        };
        what(self) == what(other)
    }

    /// This one, with a later reading of the same kind.
    fn extended_by(&self, later: &Self) -> Self {
        let least = |one: Option<f64>, other: Option<f64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            last_observed_at: later.last_observed_at,
            most_queued_nodes: self.most_queued_nodes.max(later.most_queued_nodes),
            longest_wait_seconds: self.longest_wait_seconds.max(later.longest_wait_seconds),
            least_free_cpu_cores: least(self.least_free_cpu_cores, later.least_free_cpu_cores),
            least_free_memory_mb: least(self.least_free_memory_mb, later.least_free_memory_mb),
            least_free_storage_mb: least(self.least_free_storage_mb, later.least_free_storage_mb),
            position: later.position,
            ..self.clone()
        }
    }

    /// The time before this one, of which nothing is known.
    fn unknown_before(&self, number: i64, began_at: DateTime<Utc>) -> Self {
        Self {
            number,
            condition: PressureCondition::Unknown.name().to_owned(),
            short_of_cpu: false,
            short_of_memory: false,
            short_of_storage: false,
            short_of_launches: false,
            began_at,
            ended_at: Some(self.began_at),
            last_observed_at: None,
            most_queued_nodes: None,
            longest_wait_seconds: None,
            least_free_cpu_cores: None,
            least_free_memory_mb: None,
            least_free_storage_mb: None,
            ..self.clone()
        }
    }
}

/// What the rows are called in an alarm.
const SPELLS: &str = "spells of pressure";
const SHORTAGE: &str = "shortage of a worker";

/// What a row of the table `alias` is short of, as a JSON array.
fn short_of(alias: &str) -> String {
    let shortages = [
        ("short_of_cpu", "cpu"),
        ("short_of_memory", "memory"),
        ("short_of_storage", "storage"),
        ("short_of_launches", "launch_queue"),
    ];
    let cases = shortages.map(|(column, name)| format!("CASE WHEN {alias}.{column} THEN '{name}' END"));
    format!("array_remove(ARRAY[{}], NULL)", cases.join(", "))
}

/// The newest pressure, as JSON, of a row of the table `pressures` that is called `p`; null where there is none.
pub(super) fn newest() -> String {
    let reading = [
        "queued_nodes",
        "longest_wait_seconds",
        "short_of_cpu",
        "short_of_memory",
        "short_of_storage",
        "running_nodes",
        "free_cpu_cores",
        "total_cpu_cores",
        "free_memory_mb",
        "total_memory_mb",
        "free_storage_mb",
        "total_storage_mb",
        "statistics",
        "launch_queue",
    ];
    let reading = reading.map(|column| format!("'{column}', p.{column}")).join(", ");
    format!(
        "CASE WHEN p.worker_id IS NOT NULL THEN json_build_object('condition', p.condition, 'short_of', {},
             'since', p.condition_since, 'reading', json_build_object({reading}), 'observer', p.observer,
             'observed_at', p.observed_at, 'event_id', p.event_id) END AS pressure",
        short_of("p")
    )
}

/// What is asked of the spells between two times.
#[derive(Debug, Deserialize)]
struct ShortageFacts {
    cpu: bool,
    memory: bool,
    storage: bool,
    launch_queue: bool,
    was_short: bool,
    is_known_throughout: bool,
}

impl Projections {
    /// The spells of a worker's pressure, newest first.
    ///
    /// # Errors
    /// The cursor is none of this list's, or the database does not answer.
    pub async fn pressure_spells(
        &self,
        id: &WorkerId,
        request: &PageRequest,
    ) -> Result<Page<PressureSpell>, ReadError> {
        let after = match &request.cursor {
            None => i64::MAX,
            Some(cursor) => cursor.parse().map_err(|_| ReadError::Invalid(page::bad_cursor()))?,
        };
        let mut query = QueryBuilder::new(page::select("number", "number"));
        query.push(format!(
            "SELECT s.worker_id, s.number, s.condition, {} AS short_of, s.began_at, s.ended_at, s.last_observed_at,
                    s.most_queued_nodes, s.longest_wait_seconds, s.least_free_cpu_cores, s.least_free_memory_mb,
                    s.least_free_storage_mb, s.event_id, s.position
               FROM read_workers.pressure_spells s WHERE s.worker_id = ",
            short_of("s")
        ));
        query.push_bind(id.as_str().to_owned()).push(" AND s.number < ").push_bind(after);
        query.push(" ORDER BY s.number DESC LIMIT ").push_bind(request.fetch()).push(") r");
        self.page_of(SPELLS, query, request).await
    }

    /// What a worker was short of between two times, as far as is recorded.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn worker_shortage(
        &self,
        id: &WorkerId,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<KnownShortage, ReadError> {
        let mut query = QueryBuilder::new(page::select("worker_id", "worker_id"));
        let lasts = LASTS.num_seconds();
        query.push("SELECT ").push_bind(id.as_str().to_owned());
        query.push(
            "::text AS worker_id, coalesce(bool_or(s.short_of_cpu), false) AS cpu,
             coalesce(bool_or(s.short_of_memory), false) AS memory,
             coalesce(bool_or(s.short_of_storage), false) AS storage,
             coalesce(bool_or(s.short_of_launches), false) AS launch_queue,
             coalesce(bool_or(s.condition = 'short'), false) AS was_short,
             coalesce(bool_and(s.condition <> 'unknown') AND min(s.began_at) <= ",
        );
        query.push_bind(since).push(" AND max(coalesce(s.ended_at, s.last_observed_at + make_interval(secs => ");
        query.push_bind(lasts as f64).push("))) >= ").push_bind(until);
        query.push(", false) AS is_known_throughout FROM read_workers.pressure_spells s WHERE s.worker_id = ");
        query.push_bind(id.as_str().to_owned()).push(" AND s.began_at <= ").push_bind(until);
        query.push(" AND (s.ended_at >= ").push_bind(since);
        query
            .push(" OR s.ended_at IS NULL AND (s.condition = 'unknown' OR s.last_observed_at + make_interval(secs => ");
        query.push_bind(lasts as f64).push(") >= ").push_bind(since).push("))) r");
        let facts: Option<ShortageFacts> = self.row_of(SHORTAGE, query).await?;
        let Some(facts) = facts else { return Ok(KnownShortage::default()) };
        let ShortageFacts { cpu, memory, storage, launch_queue, was_short, is_known_throughout } = facts;
        Ok(KnownShortage { short_of: [cpu, memory, storage, launch_queue], was_short, is_known_throughout })
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::{Value, json};

    use super::super::Rows;
    use super::*;
    use crate::projector::Applied;
    use crate::read_models::given::{event_id, given, recorded, sample};

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_772_000_000, 0).unwrap() + TimeDelta::minutes(minutes)
    }

    /// Pressures at these minutes, each the next event of the worker after its registration.
    fn told(readings: &[(i64, Value)]) -> Rows {
        let mut rows = Rows::default();
        given(&mut rows, &recorded("cml-1", 1, &sample("worker.registered.v1"))).unwrap();
        for (sequence, (minute, pressure)) in (2..).zip(readings) {
            let mut event = sample("worker.pressure_observed.v1");
            event["observed_at"] = json!(at(*minute));
            event["pressure"] = pressure.clone();
            assert_eq!(given(&mut rows, &recorded("cml-1", sequence, &event)), Ok(Applied::Changed));
        }
        rows
    }

    fn quiet() -> Value {
        json!({"short_of_cpu": false, "short_of_memory": false, "short_of_storage": false, "queued_nodes": 0,
               "longest_wait_seconds": 0, "free_cpu_cores": 60.0})
    }

    fn short(of: &str, free_cpu_cores: f64) -> Value {
        let mut pressure = quiet();
        pressure[of] = json!(true);
        pressure["free_cpu_cores"] = json!(free_cpu_cores);
        pressure
    }

    /// Number, condition, from and to, in minutes.
    fn spells(rows: &Rows) -> Vec<(i64, &str, i64, Option<i64>)> {
        let minutes = |time: DateTime<Utc>| (time - at(0)).num_minutes();
        let mut spells: Vec<_> = rows
            .spells
            .rows()
            .into_iter()
            .map(|spell| (spell.number, spell.condition.as_str(), minutes(spell.began_at), spell.ended_at.map(minutes)))
            .collect();
        spells.sort_unstable();
        spells
    }

    #[test]
    fn a_spell_goes_on_until_the_event_that_ends_it() {
        let rows = told(&[
            (0, quiet()),
            (20, short("short_of_cpu", 0.5)),
            (30, short("short_of_cpu", 0.1)),
            (40, short("short_of_memory", 9.0)),
            (50, quiet()),
        ]);
        let expected = [
            (1, "not_short", 0, Some(20)),
            (2, "short", 20, Some(40)),
            (3, "short", 40, Some(50)),
            (4, "not_short", 50, None),
        ];
        assert_eq!(spells(&rows), expected);
        let all = rows.spells.rows();
        let cpu = all.iter().find(|spell| spell.number == 2).unwrap();
        assert_eq!((cpu.short_of_cpu, cpu.short_of_memory, cpu.least_free_cpu_cores), (true, false, Some(0.1)));
        assert_eq!((cpu.event_id, cpu.last_observed_at), (event_id(3), Some(at(30))));
        let newest = rows.pressures.rows()[0];
        assert_eq!((newest.condition.as_str(), newest.spell_number), ("not_short", 4));
        assert_eq!((newest.condition_since, newest.event_id), (at(50), event_id(6)));
        let worker = rows.workers.rows()[0];
        assert_eq!((worker.sequence, worker.version), (6, 1), "who changes a worker does not rest on its pressure");
    }

    #[test]
    fn a_worker_is_short_since_it_began_to_be_whatever_it_is_short_of() {
        let rows = told(&[(0, short("short_of_cpu", 0.5)), (40, short("short_of_memory", 9.0))]);
        assert_eq!(rows.pressures.rows()[0].condition_since, at(0));
    }

    #[test]
    fn what_nobody_told_for_longer_than_a_pressure_lasts_was_unknown() {
        let rows = told(&[(0, quiet()), (60, quiet()), (136, quiet()), (400, short("short_of_cpu", 0.0))]);
        let expected = [
            (1, "not_short", 0, Some(135)),
            (2, "unknown", 135, Some(136)),
            (3, "not_short", 136, Some(211)),
            (4, "unknown", 211, Some(400)),
            (5, "short", 400, None),
        ];
        assert_eq!(spells(&rows), expected);
        assert_eq!(rows.pressures.rows()[0].condition_since, at(400));
        let unknown = told(&[(0, json!({})), (600, json!({})), (601, quiet())]);
        assert_eq!(spells(&unknown), [(1, "unknown", 0, Some(601)), (2, "not_short", 601, None)]);
    }
}
