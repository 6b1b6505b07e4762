//! Definitions that are off by most: what their observed sessions had, beside what is configured.
//!
//! A definition asks for whole cores and whole GB, so what was observed is rounded up to what a definition can say before
//! the two are compared: one that cannot be put better is not off.

use advice::scope::SessionScope;
use domain::DefinitionId;
use domain::demand::ByResource;
use domain::lablet_definition::DefinitionVersion;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::in_scope;
use crate::page::{self, Listed};
use crate::parked;
use crate::projector::AggregateKind;
use crate::{Parked, Projections, ReadError};

/// The sessions of a definition that count unless somebody asks for others.
pub const COUNTED: SessionScope = SessionScope::Newest(20);
/// Most definitions of one answer.
pub const MOST_DEVIATIONS: u32 = 200;
/// MB of a GB: CML's MB are binary.
pub const MB_PER_GB: f64 = 1024.0;

/// A definition whose observed sessions had something else than it says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionDeviation {
    /// The definition.
    pub definition_id: DefinitionId,
    /// Its name.
    pub name: String,
    /// The author's version.
    pub version: DefinitionVersion,
    /// Counted from 1, raised by each revision.
    pub revision: u32,
    /// How many observed sessions count.
    pub sessions: u64,
    /// The resource that is off by most.
    pub resource: Resource,
    /// Needed by configured of that resource: 2 is twice what is configured, 0.5 half of it.
    pub ratio: f64,
    /// Cores.
    pub cpu_cores: Deviation,
    /// GB of memory, observed in MB: `resources` has one unit for both.
    pub memory_gb: Deviation,
    /// GB of storage, observed in MB: `resources` has one unit for both.
    pub storage_gb: Deviation,
    /// The same, all amounts of a resource in cores or MB.
    pub resources: ByResource<ResourceDeviation>,
    /// Read models that do not show the definition as it is: it is compared as it was. Left out where all do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<Parked>,
}

/// A resource that a definition configures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Cores.
    CpuCores,
    /// GB of memory.
    MemoryGb,
    /// GB of storage.
    StorageGb,
}

/// One resource, configured beside observed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Deviation {
    /// What the definition says: cores or GB.
    pub configured: u32,
    /// The greatest that a session had: cores or MB, nominal, of storage measured. Null: no session knows it.
    pub observed_max: Option<f64>,
    /// The event that the greatest comes from.
    pub observed_max_event_id: Option<Uuid>,
    /// The greatest, rounded up to what a definition can say: cores or GB. Null: unknown.
    pub needed: Option<u32>,
    /// Needed by configured. Null: unknown.
    pub ratio: Option<f64>,
    /// Sessions that know it.
    pub known_sessions: u64,
    /// Sessions that do not.
    pub unknown_sessions: u64,
}

/// One resource, configured beside observed, in one unit: cores or MB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceDeviation {
    /// What the definition says.
    pub configured: f64,
    /// The greatest that a session had, nominal, of storage measured. Null: no session knows it.
    pub observed_max: Option<f64>,
    /// The greatest, rounded up to whole cores or GB, as a definition states them. Null: unknown.
    pub needed: Option<f64>,
}

/// One resource in SQL: its name, the configured column, the observed one and how much of it makes one of the configured.
const RESOURCES: [(&str, &str, &str, f64); 3] = [
    ("cpu_cores", "cpu_cores", "cpu_cores", 1.0),
    ("memory_gb", "memory_gb", "memory_mb", MB_PER_GB),
    ("storage_gb", "storage_gb", "storage_mb", MB_PER_GB),
];

/// More cores or GB than this, less than none, and what is no number, is unknown: nothing can be reckoned with it.
const MOST_OF_A_RESOURCE: f64 = 1e9;

/// The statement, one lateral range of an index for each definition. What is returned in full is added up again with the
/// events that the numbers come from, which would be wasted on all others.
fn statement(scope: SessionScope, limit: u32) -> String {
    let counted = |columns: &str| match scope {
        // The end of a range of an index.
        SessionScope::Newest(sessions) => format!(
            "SELECT {columns} FROM read_observations.observed_sessions
              WHERE definition_id = d.id ORDER BY observed_at DESC, position DESC LIMIT {sessions}"
        ),
        SessionScope::Current | SessionScope::All => {
            format!("SELECT {columns} FROM ({}) m", in_scope::counted(scope, "d.id", "d.revision"))
        }
    };
    // A sum of floating-point numbers may lie a hair above a whole one. Of what is unknown nothing is needed: `greatest`
    // alone would make 1 of it.
    let needed = |observed: &str, unit: f64| {
        format!("CASE WHEN {observed} IS NOT NULL THEN greatest(ceil({observed} / {unit:?} - 1e-9), 1) END")
    };
    let (mut greatest, mut ratios, mut sums, mut objects) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut resources = Vec::new();
    for (name, configured, observed, unit) in RESOURCES {
        let most = MOST_OF_A_RESOURCE * unit;
        let known = format!("(CASE WHEN {observed} BETWEEN 0 AND {most:?} THEN {observed} END)");
        greatest.push(format!("max({known}) AS {observed}"));
        ratios.push(format!("('{name}', ({}) / nullif(d.{configured}, 0))", needed(&format!("seen.{observed}"), unit)));
        sums.push(format!(
            "max({known}) AS {observed}, count({known}) AS {observed}_known,
             (array_agg({observed}_event_id ORDER BY {known} DESC NULLS LAST, observed_at DESC))[1]
                 AS {observed}_event_id"
        ));
        let needs = needed(&format!("s.{observed}"), unit);
        objects.push(format!(
            "json_build_object('configured', d.{configured}, 'observed_max', s.{observed},
                 'observed_max_event_id', s.{observed}_event_id, 'needed', {needs},
                 'ratio', ({needs}) / nullif(d.{configured}, 0), 'known_sessions', s.{observed}_known,
                 'unknown_sessions', s.sessions - s.{observed}_known) AS {name}"
        ));
        resources.push(format!(
            "'{observed}', json_build_object('configured', d.{configured} * {unit:?}::double precision,
                 'observed_max', s.{observed}, 'needed', ({needs}) * {unit:?})"
        ));
    }
    format!(
        "{begin}
             SELECT d.id AS definition_id, d.name, d.version, d.revision, s.sessions, d.resource, d.ratio, {objects},
                    json_build_object({resources}) AS resources
               FROM (SELECT d.*, off.resource, off.ratio
                       FROM read_definitions.definitions d
                      CROSS JOIN LATERAL (SELECT {greatest} FROM ({values}) newest) seen
                      CROSS JOIN LATERAL (
                           SELECT resource, ratio FROM (VALUES {ratios}) each (resource, ratio)
                            WHERE ratio > 0 AND ratio <> 1 ORDER BY abs(ln(ratio)) DESC LIMIT 1) off
                      ORDER BY abs(ln(off.ratio)) DESC, d.created_position DESC LIMIT {limit}) d
              CROSS JOIN LATERAL (SELECT count(*) AS sessions, {sums} FROM ({all}) newest) s
              ORDER BY abs(ln(d.ratio)) DESC, d.created_position DESC) r",
        begin = page::select_with_parked(
            "definition_id",
            "definition_id",
            &parked::column(AggregateKind::Definition, "r.definition_id")
        ),
        objects = objects.join(", "),
        resources = resources.join(", "),
        greatest = greatest.join(", "),
        ratios = ratios.join(", "),
        sums = sums.join(", "),
        values = counted("cpu_cores, memory_mb, storage_mb"),
        all = counted("*"),
    )
}

impl Projections {
    /// Definitions whose observed sessions, those that count, had something else than configured, the one that is off by most
    /// first: twice as much and half as much are equally far off. Of what is unknown nothing is said.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn definitions_off(
        &self,
        scope: SessionScope,
        limit: u32,
    ) -> Result<Listed<DefinitionDeviation>, ReadError> {
        let query = QueryBuilder::new(statement(scope, limit.clamp(1, MOST_DEVIATIONS)));
        self.list_of("definition_deviations", query).await
    }
}
