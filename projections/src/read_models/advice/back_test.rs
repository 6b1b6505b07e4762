//! What a size would have meant for the sessions of the past.

use advice::back_test::{BackTest, PastDemand};
use app::log::Position;
use domain::demand::ByResource;
use domain::lablet_definition::ResourceRequirements;
use domain::phases::Phases;
use domain::resource::Resource;
use domain::{DefinitionId, SessionId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;

use super::recommendation::all;
use super::session::DEMAND_COLUMNS;
use crate::page;
use crate::{Projections, ReadError};

/// Sessions that are looked at: the newest that ended.
const NEWEST: i64 = 50_000;

/// What a size would have meant for the sessions of a definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BackTestReport {
    /// The definition.
    pub definition_id: DefinitionId,
    /// The position up to which everything is known that it rests on.
    pub as_of: Position,
    /// The size that was tried: whole cores and GB.
    pub size: ResourceRequirements,
    /// Whether what sessions needed while booting counts.
    pub include_boot: bool,
    /// Each resource, over the newest 50,000 sessions that ended and are not excluded.
    pub resources: ByResource<BackTest>,
}

/// What a session needed.
#[derive(Deserialize)]
struct Past {
    session_id: SessionId,
    cpu_cores: Option<f64>,
    memory_mb: Option<f64>,
    storage_mb: Option<f64>,
}

/// What the rows are called in an alarm.
const SESSIONS: &str = "session evidence";

impl Projections {
    /// Tries a size on the sessions of a definition; without any, what the definition states. They needed what they did over
    /// these phases; without any, over those of its policy. `None`: there is no such definition.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn back_test(
        &self,
        id: &DefinitionId,
        phases: Option<Phases>,
        size: impl FnOnce(ResourceRequirements) -> ResourceRequirements + Send,
    ) -> Result<Option<BackTestReport>, ReadError> {
        let (mut snapshot, as_of) = self.advice_snapshot().await?;
        let Some(stated) = self.stated_facts(&mut snapshot, id, as_of).await? else { return Ok(None) };
        let size = size(stated.requirements);
        let phases = phases.unwrap_or_else(|| stated.policy().phases());
        let ByResource { cpu_cores, memory_mb, storage_mb } = phases.part(&DEMAND_COLUMNS);
        let mut query = QueryBuilder::new(page::select("session_id", "ended_position"));
        query.push(format!(
            "SELECT s.session_id, s.{cpu_cores} AS cpu_cores, s.{memory_mb} AS memory_mb, s.{storage_mb} AS storage_mb,
                    s.ended_position
               FROM read_advice.sessions s WHERE NOT s.excluded AND s.ended_position IS NOT NULL AND s.definition_id = "
        ));
        query.push_bind(id.to_string()).push(" ORDER BY s.ended_position DESC LIMIT ").push_bind(NEWEST).push(") r");
        let sessions: Vec<Past> = all(self.rows_over(&mut *snapshot, SESSIONS, query).await?)?;
        snapshot.rollback().await?;
        let resources = Resource::each(|resource| {
            let demand = |session: &Past| match resource {
                Resource::CpuCores => session.cpu_cores,
                Resource::MemoryMb => session.memory_mb,
                Resource::StorageMb => session.storage_mb,
            };
            let past = |session: &Past| PastDemand { session_id: session.session_id.clone(), demand: demand(session) };
            let past: Vec<PastDemand> = sessions.iter().map(past).collect();
            BackTest::new(f64::from(resource.configured(&size)) * resource.unit(), &past)
        });
        Ok(Some(BackTestReport {
            definition_id: id.clone(),
            as_of,
            size,
            include_boot: phases.include_boot(),
            resources,
        }))
    }
}
