//! Workers, and how much of them is free.

mod pressure;

use app::log::Position;
use chrono::{DateTime, Utc};
use domain::WorkerId;
use domain::worker::{WorkerEvent, WorkerProfile};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, QueryBuilder};

pub use self::pressure::{NewestPressure, PressureSpell};
use self::pressure::{ObservedPressure, StoredPressure, StoredSpell};
use crate::page::{self, Page, PageRequest};
use crate::parked;
use crate::projector::{AggregateKind, Applied, Event, Fold, Projector, Recorded};
use crate::refused::{Refused, integer};
use crate::table::{AnyTable, Table, rows};
use crate::{Parked, Projections, ReadError};

/// A worker as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerRow {
    /// The worker.
    pub id: WorkerId,
    /// Name, address, capacity and port range.
    #[serde(flatten, deserialize_with = "page::flattened")]
    pub profile: WorkerProfile,
    /// When it was registered.
    pub registered_at: DateTime<Utc>,
    /// When it was last changed or registered.
    pub updated_at: DateTime<Utc>,
    /// Position of its last event.
    pub position: Position,
    /// Its version for `If-Match`: the sequence of the event by which it was last changed or registered.
    pub etag: String,
    /// How much of it is free, and what it is short of; null: nobody told.
    #[serde(default)]
    pub pressure: Option<NewestPressure>,
    /// Read models that do not show it as it is; left out where all do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<Parked>,
}

/// What the rows are called in an alarm.
pub(crate) const LIST: &str = "workers";

const SELECT: &str = "
    SELECT created_position, id, name, address,
           json_build_object('cpu_cores', cpu_cores, 'memory_gb', memory_gb, 'storage_gb', storage_gb,
                             'max_nodes', max_nodes) AS capacity,
           json_build_object('first', first_port, 'last', last_port) AS port_range,
           registered_at, updated_at, w.position, '\"' || version || '\"' AS etag, ";
const FROM: &str = "
      FROM read_workers.workers w LEFT JOIN read_workers.pressures p ON p.worker_id = w.id WHERE true";

/// Begins a statement that selects workers; `) r` ends it.
pub(crate) fn select() -> QueryBuilder<Postgres> {
    let parked = parked::column(AggregateKind::Worker, "r.id");
    QueryBuilder::new(page::select_with_parked("id", "created_position", &parked) + SELECT + &pressure::newest() + FROM)
}

impl Projections {
    /// Workers, newest first.
    ///
    /// # Errors
    /// The cursor is none of this list's, or the database does not answer.
    pub async fn workers(&self, request: &PageRequest) -> Result<Page<WorkerRow>, ReadError> {
        let after = request.position().map_err(ReadError::Invalid)?;
        let mut query = select();
        if let Some(after) = after {
            query.push(" AND created_position < ").push_bind(after);
        }
        query.push(" ORDER BY created_position DESC LIMIT ").push_bind(request.fetch()).push(") r");
        self.page_of(LIST, query, request).await
    }

    /// One worker.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn worker(&self, id: &WorkerId) -> Result<Option<WorkerRow>, ReadError> {
        let mut query = select();
        query.push(" AND id = ").push_bind(id.as_str().to_owned()).push(") r");
        self.row_of(LIST, query).await
    }
}

/// Follows the workers.
pub(crate) static PROJECTOR: Projector = Projector {
    name: "workers",
    schema: "read_workers",
    revision: 3,
    follows: &[AggregateKind::Worker],
    keyed_by: Some((AggregateKind::Worker, "workers")),
    weight: 5,
    rows: || Box::new(Rows::default()),
};

rows! {
    /// A worker, as it is stored.
    pub(crate) struct StoredWorker in "workers" by (id: String) {
        id: String,
        name: String,
        address: String,
        cpu_cores: i32,
        memory_gb: i32,
        storage_gb: i32,
        max_nodes: i32,
        first_port: i32,
        last_port: i32,
        registered_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
        created_position: Position,
        position: Position,
        sequence: i64,
        /// The sequence of the event by which it was last changed or registered.
        version: i64,
    }
}

#[derive(Debug, Default)]
struct Rows {
    workers: Table<StoredWorker>,
    pressures: Table<StoredPressure>,
    spells: Table<StoredSpell>,
}

impl Fold for Rows {
    fn tables(&mut self) -> Vec<&mut dyn AnyTable> {
        vec![&mut self.workers, &mut self.pressures, &mut self.spells]
    }

    fn want(&mut self, event: &Event, recorded: &Recorded) {
        let key = (recorded.log.aggregate_id.clone(),);
        if is_pressure(event) {
            self.pressures.want(key.clone());
        }
        self.workers.want(key);
    }

    fn want_by_rows(&mut self, event: &Event, recorded: &Recorded) {
        let worker = recorded.log.aggregate_id.clone();
        if is_pressure(event)
            && let Ok(Some(newest)) = self.pressures.get(&(worker.clone(),))
        {
            self.spells.want((worker.clone(), newest.spell_number));
        }
    }

    fn fold(&mut self, event: &Event, recorded: &Recorded) -> Result<Applied, Refused> {
        let event = match event {
            Event::Worker(event) => event,
            Event::Session(_) | Event::Definition(_) | Event::AdvicePolicy(_) | Event::Foreign => {
                return Ok(Applied::Ignored);
            }
        };
        match event.as_ref() {
            WorkerEvent::Registered { worker_id, profile, registered_at } => {
                let WorkerProfile { name, address, capacity, port_range } = profile;
                let row = StoredWorker {
                    id: worker_id.to_string(),
                    name: name.to_string(),
                    address: address.clone().into(),
                    cpu_cores: integer(capacity.cpu_cores.get(), "cpu_cores")?,
                    memory_gb: integer(capacity.memory_gb.get(), "memory_gb")?,
                    storage_gb: integer(capacity.storage_gb.get(), "storage_gb")?,
                    max_nodes: integer(capacity.max_nodes.get(), "max_nodes")?,
                    first_port: port_range.first().get().into(),
                    last_port: port_range.last().get().into(),
                    registered_at: *registered_at,
                    updated_at: *registered_at,
                    created_position: recorded.position(),
                    position: recorded.position(),
                    sequence: recorded.sequence(),
                    version: recorded.sequence(),
                };
                self.workers.insert(row, "a worker is registered")?;
            }
            WorkerEvent::Changed { worker_id, after, changed_at, .. } => {
                let WorkerProfile { name, address, capacity, port_range } = after;
                let (cpu_cores, memory_gb) =
                    (integer(capacity.cpu_cores.get(), "cpu_cores")?, integer(capacity.memory_gb.get(), "memory_gb")?);
                let (storage_gb, max_nodes) = (
                    integer(capacity.storage_gb.get(), "storage_gb")?,
                    integer(capacity.max_nodes.get(), "max_nodes")?,
                );
                let row = self.workers.change(&(worker_id.to_string(),), "a worker is changed")?;
                row.name = name.to_string();
                row.address = address.clone().into();
                row.cpu_cores = cpu_cores;
                row.memory_gb = memory_gb;
                row.storage_gb = storage_gb;
                row.max_nodes = max_nodes;
                row.first_port = port_range.first().get().into();
                row.last_port = port_range.last().get().into();
                row.updated_at = *changed_at;
                row.position = recorded.position();
                row.sequence = recorded.sequence();
                row.version = recorded.sequence();
            }
            WorkerEvent::PressureObserved { worker_id, pressure, observer, observed_at } => {
                let observed = ObservedPressure {
                    worker_id,
                    pressure,
                    observer,
                    observed_at: *observed_at,
                    event_id: recorded.event_id(),
                    position: recorded.position(),
                };
                let key = (worker_id.to_string(),);
                self.workers.get(&key)?.ok_or_else(|| Refused::new("a pressure of a worker that is not there"))?;
                pressure::record(&observed, &mut self.pressures, &mut self.spells)?;
                let row = self.workers.change(&key, "a worker's pressure is observed")?;
                row.position = recorded.position();
                row.sequence = recorded.sequence();
            }
        }
        Ok(Applied::Changed)
    }
}

fn is_pressure(event: &Event) -> bool {
    match event {
        Event::Worker(event) => match event.as_ref() {
            WorkerEvent::PressureObserved { .. } => true,
            WorkerEvent::Registered { .. } | WorkerEvent::Changed { .. } => false,
        },
        Event::Session(_) | Event::Definition(_) | Event::AdvicePolicy(_) | Event::Foreign => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read_models::given::{given, recorded, sample};

    #[test]
    fn a_worker_is_registered_once_and_changed_when_it_is_there() {
        let mut rows = Rows::default();
        let changed = recorded("cml-1", 2, &sample("worker.changed.v1"));
        assert!(given(&mut rows, &changed).unwrap_err().to_string().contains("no row of workers"));
        let registered = recorded("cml-1", 1, &sample("worker.registered.v1"));
        assert_eq!(given(&mut rows, &registered), Ok(Applied::Changed));
        assert!(given(&mut rows, &registered).unwrap_err().to_string().contains("already"));
        given(&mut rows, &changed).unwrap();
        let row = rows.workers.rows()[0];
        assert_eq!((row.max_nodes, row.sequence), (200, 2));
        assert_eq!((row.created_position, row.position), (registered.position(), changed.position()));
    }

    #[test]
    fn what_happens_to_others_is_ignored() {
        let mut rows = Rows::default();
        let ignored = recorded("s-1", 1, &sample("lablet_session.created.v1"));
        assert_eq!(given(&mut rows, &ignored), Ok(Applied::Ignored));
        assert!(rows.workers.rows().is_empty());
    }
}
