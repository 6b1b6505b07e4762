//! What each session and each of its nodes needed of each resource, and what kinds of nodes need, over all sessions.

mod fold;
mod stored;

use app::log::Position;
use chrono::{DateTime, Utc};
use domain::demand::{ByResource, Demand};
use domain::evidence::{Contradiction, NoEvidence};
use domain::observation::{NodeProfile, Profile};
use domain::{DefinitionId, SessionId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;
use uuid::Uuid;

use crate::page;
use crate::projector::{AggregateKind, Projector};
use crate::{Projections, ReadError};

/// What a session used, from its first sample to its last, and what it needed by that. Null is unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionProfile {
    /// The session.
    pub session_id: SessionId,
    /// Its definition; null: nothing was observed of the session.
    pub definition_id: Option<DefinitionId>,
    /// The profile; null: there is none, and what is known are snapshots.
    pub profile: Option<Profile>,
    /// Which observation carries the profile, and how much of the session it saw; null: there is none.
    pub source: Option<ProfileSource>,
    /// What was needed of each resource.
    pub resources: ByResource<Demand<Uuid>>,
    /// Whether the worker was short while the session ran, so that what was measured may be too low; null: unknown.
    #[serde(default)]
    pub worker_short: Option<bool>,
    /// Observations of the session.
    pub observation_count: u64,
    /// Amounts of the newest observation that contradict those of its own nodes; they are no evidence.
    pub contradictions: Vec<Contradiction>,
    /// Why the newest observation as a whole is no evidence; null: it is some, or there is none.
    pub no_evidence: Option<NoEvidence>,
    /// Position of the last event that it rests on; null: nothing was observed.
    pub position: Option<Position>,
}

impl SessionProfile {
    /// That of a session of which nothing was observed.
    fn unknown(session_id: SessionId) -> Self {
        Self {
            session_id,
            definition_id: None,
            profile: None,
            source: None,
            resources: ByResource::default(),
            worker_short: None,
            observation_count: 0,
            contradictions: Vec::new(),
            no_evidence: None,
            position: None,
        }
    }
}

/// The observation that carries a profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProfileSource {
    /// Its event.
    pub event_id: Uuid,
    /// When it was made.
    pub observed_at: DateTime<Utc>,
    /// Share of the session's running time that was sampled, 0 to 1; null: unknown.
    pub sampled_share: Option<f64>,
    /// Samples that were taken; null: unknown.
    pub samples: Option<u64>,
    /// Intervals without a sample; null: unknown.
    pub missed_samples: Option<u64>,
}

/// What a node of a session used, and what it needed by that. Null is unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionNodeProfile {
    /// The session.
    pub session_id: SessionId,
    /// CML's id of the node.
    pub node_id: String,
    /// Its label, which may be blank.
    pub label: String,
    /// E.g. `iosv`.
    pub node_definition: String,
    /// Image in use.
    pub image_definition: Option<String>,
    /// Nominal cores.
    pub nominal_cpu_cores: Option<f64>,
    /// Nominal MB of memory.
    pub nominal_memory_mb: Option<f64>,
    /// Its profile; null: there is none, and what is known are snapshots.
    pub profile: Option<NodeProfile>,
    /// Which observation carries the session's profile; null: there is none.
    pub source: Option<ProfileSource>,
    /// What was needed of each resource.
    pub resources: ByResource<Demand<Uuid>>,
    /// Position of the last event that it rests on.
    pub position: Position,
}

/// What the rows are called in an alarm.
const SESSIONS: &str = "session demands";
const NODES: &str = "node demands";

const SOURCE: &str = "
    CASE WHEN s.profile_event_id IS NOT NULL THEN json_build_object(
        'event_id', s.profile_event_id, 'observed_at', s.profile_at, 'sampled_share', s.sampled_share,
        'samples', s.samples, 'missed_samples', s.missed_samples) END AS source";

/// The demands of a row of the table `alias`, as JSON; where there is none, all of them are unknown.
pub(super) fn resources(alias: &str) -> String {
    let peak = |column: &str| {
        let column = format!("{alias}.{column}");
        format!(
            "CASE WHEN {column} IS NOT NULL THEN json_build_object('value', {column},
                'source', CASE WHEN {column}_by_profile THEN 'profile' ELSE 'snapshot' END,
                'event_id', {column}_event_id, 'observed_at', {column}_at) END"
        )
    };
    let demand = |resource: &str| {
        let (steady, boot) = (peak(resource), peak(&format!("boot_{resource}")));
        format!("'{resource}', json_build_object('demand', {steady}, 'boot', {boot})")
    };
    let demands = ["cpu_cores", "memory_mb", "storage_mb"].map(demand).join(", ");
    format!("json_build_object({demands}) AS resources")
}

impl Projections {
    /// What a session used and needed. A session of which nothing was observed has neither.
    ///
    /// # Errors
    /// The database or the log does not answer.
    pub async fn session_profile(&self, id: &SessionId) -> Result<SessionProfile, ReadError> {
        let mut query = QueryBuilder::new(page::select("session_id", "session_id"));
        query.push(format!(
            "SELECT s.session_id, s.definition_id, {SOURCE}, {}, s.observation_count, s.contradictions, s.no_evidence,
                    s.position, s.worker_short
               FROM read_demands.sessions s WHERE s.session_id = ",
            resources("s")
        ));
        query.push_bind(id.as_str().to_owned()).push(") r");
        let row: Option<SessionProfile> = self.row_of(SESSIONS, query).await?;
        let Some(mut row) = row else { return Ok(SessionProfile::unknown(id.clone())) };
        if let Some(source) = &row.source {
            row.profile = self.observed_part(source.event_id, &["profile"]).await?;
        }
        Ok(row)
    }

    /// What a node of a session used and needed. `None`: no observation of the session lists it.
    ///
    /// # Errors
    /// The database or the log does not answer.
    pub async fn session_node_profile(
        &self,
        id: &SessionId,
        node_id: &str,
    ) -> Result<Option<SessionNodeProfile>, ReadError> {
        let mut query = QueryBuilder::new(page::select("node_id", "node_id"));
        query.push(format!(
            "SELECT n.session_id, n.node_id, n.label, n.node_definition, n.image_definition, n.nominal_cpu_cores,
                    n.nominal_memory_mb, {SOURCE}, {}, n.position
               FROM read_demands.nodes n
               JOIN read_demands.sessions s ON s.session_id = n.session_id WHERE n.session_id = ",
            resources("n")
        ));
        query.push_bind(id.as_str().to_owned()).push(" AND n.node_id = ").push_bind(node_id.to_owned()).push(") r");
        let row: Option<SessionNodeProfile> = self.row_of(NODES, query).await?;
        let Some(mut row) = row else { return Ok(None) };
        // From the event itself: the read model of observations may not know it yet.
        if let Some(event_id) = row.source.as_ref().map(|source| source.event_id)
            && let Some(node) = self.observed_node(event_id, node_id).await?
        {
            row.profile = node.profile.map(|profile| *profile);
        }
        Ok(Some(row))
    }
}

/// Follows the observations.
pub(crate) static PROJECTOR: Projector = Projector {
    name: "demands",
    schema: "read_demands",
    revision: 2,
    follows: &[AggregateKind::Session],
    keyed_by: None,
    weight: 40,
    rows: || Box::new(fold::Rows::default()),
};
