//! The observed sessions of a definition that count, in SQL, and what they say together.
//!
//! What a scope says beside what all sessions say goes once over the sessions of the definition, a range of an index, and
//! marks those in scope. What is asked of those in scope alone goes over no others where the scope is the end of that range.

use advice::scope::{SessionScope, greatest_beyond};
use chrono::NaiveDate;
use domain::demand::ByResource;
use domain::lablet_definition::ResourceRequirements;
use domain::resource::Resource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What several sessions say together. Each counts once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Aggregate {
    /// Nominal cores.
    pub cpu_cores: Spread<f64>,
    /// Nominal MB of memory.
    pub memory_mb: Spread<f64>,
    /// Measured MB on disk.
    pub storage_mb: Spread<f64>,
    /// Number of nodes.
    pub node_count: Spread<u64>,
    /// What sessions used at the peaks of their steady phases: cores or MB.
    pub used: ByResource<Spread<f64>>,
    /// Sessions whose ports drifted.
    pub port_drift_sessions: u64,
    /// Sessions of whose ports nothing is known.
    pub port_drift_unknown_sessions: u64,
}

/// One quantity over several sessions. Sessions that do not know it are left out, and counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spread<T> {
    /// The greatest; null: no session knows it.
    pub max: Option<T>,
    /// The event that the greatest comes from.
    pub max_event_id: Option<Uuid>,
    /// The least that at least 95 % of the sessions that know it did not exceed: of fewer than 20 the greatest. Null: no session
    /// knows it.
    pub p95: Option<T>,
    /// The mean; null: no session knows it.
    pub avg: Option<f64>,
    /// Of the most recently observed session that knows it.
    pub latest: Option<T>,
    /// The event that the latest comes from.
    pub latest_event_id: Option<Uuid>,
    /// Sessions that know it.
    pub known_sessions: u64,
    /// Sessions that do not.
    pub unknown_sessions: u64,
}

/// Which sessions count, and how many they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionsInScope {
    /// Which.
    pub scope: SessionScope,
    /// Observed sessions that count.
    pub sessions: u64,
    /// Observed sessions of the definition.
    pub of_sessions: u64,
    /// The same in words, e.g. `20 of 180 sessions, this revision and topology`.
    pub description: String,
}

/// A quantity of which all sessions of the definition say more than those in scope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WiderScope {
    /// The resource; amounts are cores or MB.
    // Written out, as the schema of another answer has the name already.
    #[schemars(schema_with = "written_out")]
    pub resource: Resource,
    /// Whether it was given or used.
    pub quantity: Quantity,
    /// The greatest in scope; null: none there knows it.
    pub max_in_scope: Option<f64>,
    /// The greatest over all sessions.
    pub max_of_all: f64,
}

fn written_out(generator: &mut SchemaGenerator) -> Schema {
    Resource::json_schema(generator)
}

/// What a number of a resource tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// What CML gave the nodes.
    Nominal,
    /// What was measured.
    Used,
}

/// The sessions of a calendar week (UTC) together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WeekOfUse {
    /// Its Monday.
    pub week: NaiveDate,
    /// Sessions whose newest observation is of this week.
    pub sessions: u64,
    /// What they used of each resource.
    pub used: ByResource<WeeklyUse>,
    /// What the definition stated for the last of them; null: not known.
    pub configured: Option<ResourceRequirements>,
}

/// What the sessions of a week used of a resource: cores or MB. Null: unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WeeklyUse {
    /// The greatest.
    pub max: Option<f64>,
    /// The least that at least 95 % of them did not exceed.
    pub p95: Option<f64>,
    /// Sessions that know it.
    pub known_sessions: u64,
}

/// What a scope says of a definition, as one row.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ScopeTotals {
    pub(super) sessions: u64,
    of_sessions: u64,
    pub(super) observation_count: u64,
    pub(super) aggregate: Aggregate,
    max_of_all: Maxima,
}

/// The greatest of all sessions of the definition.
#[derive(Debug, Default, Deserialize)]
struct Maxima {
    nominal: ByResource<Option<f64>>,
    used: ByResource<Option<f64>>,
}

impl ScopeTotals {
    /// Which sessions count.
    pub(super) fn in_scope(&self, scope: SessionScope) -> SessionsInScope {
        let (sessions, of_sessions) = (self.sessions, self.of_sessions);
        SessionsInScope { scope, sessions, of_sessions, description: scope.describe(sessions, of_sessions) }
    }

    /// Where more sessions say otherwise.
    pub(super) fn wider(&self) -> Vec<WiderScope> {
        let here = &self.aggregate;
        let nominal = [(Resource::CpuCores, here.cpu_cores.max), (Resource::MemoryMb, here.memory_mb.max)];
        let nominal =
            nominal.map(|(resource, max)| (resource, Quantity::Nominal, max, *resource.part(&self.max_of_all.nominal)));
        let used = Resource::ALL.map(|resource| {
            (resource, Quantity::Used, resource.part(&here.used).max, *resource.part(&self.max_of_all.used))
        });
        let said = nominal.into_iter().chain(used);
        said.filter_map(|(resource, quantity, max_in_scope, of_all)| {
            let max_of_all = greatest_beyond(resource, max_in_scope, of_all)?;
            Some(WiderScope { resource, quantity, max_in_scope, max_of_all })
        })
        .collect()
    }
}

/// More cores or MB than this, less than none, and what is no number, is unknown: nothing can be reckoned with it.
const MOST_OF_A_RESOURCE: f64 = 1e12;

fn known(column: &str) -> String {
    format!("(CASE WHEN {column} BETWEEN 0 AND {MOST_OF_A_RESOURCE:?} THEN {column} END)")
}

/// The quantities: the name in a row, and where the observed session `o` or its demand `t` has it.
const QUANTITIES: [(&str, &str); 7] = [
    ("cpu_cores", "o.cpu_cores"),
    ("memory_mb", "o.memory_mb"),
    ("storage_mb", "o.storage_mb"),
    ("node_count", "o.node_count"),
    ("used_cpu_cores", "t.cpu_cores"),
    ("used_memory_mb", "t.memory_mb"),
    ("used_storage_mb", "t.storage_mb"),
];

/// The newest first.
const NEWEST_FIRST: &str = "o.observed_at DESC, o.position DESC";

/// The observed sessions of the definition that the SQL `id` names, whose revision the SQL `revision` says, each with its place
/// from the newest on and whether it `counts`.
pub(super) fn marked(scope: SessionScope, id: &str, revision: &str) -> String {
    let counts = match scope {
        SessionScope::Current => format!(
            "c.definition_revision = {revision}
             AND (c.topology_fingerprint IS NULL OR c.topology_fingerprint = c.newest_topology)"
        ),
        SessionScope::All => "true".to_owned(),
        SessionScope::Newest(sessions) => format!("c.place <= {sessions}"),
    };
    placed(&counts, "read_observations.observed_sessions", id, revision)
}

/// Those of [`marked`] that count.
pub(super) fn counted(scope: SessionScope, id: &str, revision: &str) -> String {
    match scope {
        SessionScope::Current | SessionScope::All => {
            format!("SELECT * FROM ({}) m WHERE counts", marked(scope, id, revision))
        }
        SessionScope::Newest(sessions) => {
            let newest = format!(
                "(SELECT o.* FROM read_observations.observed_sessions o WHERE o.definition_id = {id}
                   ORDER BY {NEWEST_FIRST} LIMIT {sessions})"
            );
            placed("true", &newest, id, revision)
        }
    }
}

/// These sessions with their places.
fn placed(counts: &str, sessions: &str, id: &str, revision: &str) -> String {
    let quantities = QUANTITIES
        .map(|(name, column)| format!("{} AS {name}, {column}_event_id AS {name}_event_id", known(column)))
        .join(", ");
    format!(
        "SELECT c.*, {counts} AS counts FROM (
             SELECT o.session_id, o.definition_id, o.definition_revision, o.observation_count, o.observed_at,
                    o.port_drift_detected, t.topology_fingerprint, {quantities},
                    row_number() OVER (ORDER BY {NEWEST_FIRST}) AS place,
                    first_value(t.topology_fingerprint) OVER (ORDER BY
                        t.topology_fingerprint IS NULL OR o.definition_revision <> {revision}, {NEWEST_FIRST})
                        AS newest_topology
               FROM {sessions} o
               LEFT JOIN read_demands.sessions t ON t.session_id = o.session_id
              WHERE o.definition_id = {id}) c"
    )
}

/// One row: what the sessions `marked` that count say together, beside what all of them do.
pub(super) fn together(marked: &str) -> String {
    let spread = |name: &str| {
        format!(
            "json_build_object(
                 'max', max({name}) FILTER (WHERE counts),
                 'max_event_id', (array_agg({name}_event_id ORDER BY {name} DESC, place)
                     FILTER (WHERE counts AND {name} IS NOT NULL))[1],
                 'p95', percentile_disc(0.95) WITHIN GROUP (ORDER BY {name}) FILTER (WHERE counts),
                 'avg', (avg({name}) FILTER (WHERE counts))::double precision,
                 'latest', (array_agg({name} ORDER BY place) FILTER (WHERE counts AND {name} IS NOT NULL))[1],
                 'latest_event_id', (array_agg({name}_event_id ORDER BY place)
                     FILTER (WHERE counts AND {name} IS NOT NULL))[1],
                 'known_sessions', count({name}) FILTER (WHERE counts),
                 'unknown_sessions', count(*) FILTER (WHERE counts AND {name} IS NULL))"
        )
    };
    let given = ["cpu_cores", "memory_mb", "storage_mb", "node_count"]
        .map(|name| format!("'{name}', {}", spread(name)))
        .join(", ");
    let resources = Resource::ALL.map(Resource::as_str);
    let used = resources.map(|name| format!("'{name}', {}", spread(&format!("used_{name}")))).join(", ");
    let maxima = |before: &str| resources.map(|name| format!("'{name}', max({before}{name})")).join(", ");
    format!(
        "SELECT count(*) FILTER (WHERE counts) AS sessions, count(*) AS of_sessions,
                least(coalesce(sum(greatest(observation_count, 0)) FILTER (WHERE counts), 0), 9e18)::bigint
                    AS observation_count,
                json_build_object({given}, 'used', json_build_object({used}),
                    'port_drift_sessions', count(*) FILTER (WHERE counts AND port_drift_detected),
                    'port_drift_unknown_sessions', count(*) FILTER (WHERE counts AND port_drift_detected IS NULL))
                    AS aggregate,
                json_build_object('nominal', json_build_object({}), 'used', json_build_object({})) AS max_of_all
           FROM ({marked}) marked",
        maxima(""),
        maxima("used_")
    )
}

/// Most weeks of an answer: four years.
const MOST_WEEKS: u32 = 208;

/// A row a week of these sessions, the newest first.
pub(super) fn weeks(counted: &str) -> String {
    let used = Resource::ALL
        .map(|resource| {
            let name = resource.as_str();
            format!(
                "'{name}', json_build_object('max', max(used_{name}),
                     'p95', percentile_disc(0.95) WITHIN GROUP (ORDER BY used_{name}), 'known_sessions', count(used_{name}))"
            )
        })
        .join(", ");
    format!(
        "SELECT date_trunc('week', m.observed_at AT TIME ZONE 'UTC')::date AS week, count(*) AS sessions,
                json_build_object({used}) AS used,
                (array_agg(r.after -> 'resource_requirements' ORDER BY m.place))[1] AS configured
           FROM ({counted}) m
           LEFT JOIN read_definitions.revisions r
             ON r.definition_id = m.definition_id AND r.revision = m.definition_revision
          WHERE m.observed_at BETWEEN '0001-01-01Z' AND '9999-12-31Z'
          GROUP BY 1 ORDER BY 1 DESC LIMIT {MOST_WEEKS}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_all_sessions_say_more_than_those_in_scope_it_is_told_for_each_quantity() {
        let spread = |max| Spread { max: Some(max), ..Spread::default() };
        let mut aggregate = Aggregate { cpu_cores: spread(5.0), memory_mb: spread(4096.0), ..Aggregate::default() };
        aggregate.used.memory_mb = spread(3000.0);
        let max_of_all = Maxima {
            nominal: ByResource { cpu_cores: Some(9.0), memory_mb: Some(4096.0), storage_mb: None },
            used: ByResource { cpu_cores: None, memory_mb: Some(3500.0), storage_mb: Some(700.0) },
        };
        let all = ScopeTotals { sessions: 20, of_sessions: 180, observation_count: 20, aggregate, max_of_all };
        let told: Vec<_> = all.wider().into_iter().map(|one| (one.resource, one.quantity, one.max_of_all)).collect();
        assert_eq!(
            told,
            [
                (Resource::CpuCores, Quantity::Nominal, 9.0),
                (Resource::MemoryMb, Quantity::Used, 3500.0),
                (Resource::StorageMb, Quantity::Used, 700.0)
            ]
        );
        let scope = all.in_scope(SessionScope::Newest(20));
        assert_eq!(scope.description, "20 of 180 sessions, the newest, of any revision");
    }
}
