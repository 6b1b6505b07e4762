//! The rows of advice, as they are stored.

use advice::advice_score::ScoreSums;
use advice::evidence::KindRuns;
use advice::fleet::{Exclusion, SessionSteps};
use advice::fleet_rows::{DefinitionSums, OwnDemands, WholeFleet};
use advice::node_pools::NodePools;
use advice::scores::Score;
use advice::sizing::Sizing;
use advice::topology::{NodeKind, Topology};
use app::log::Position;
use chrono::{DateTime, Utc};
use domain::advice_policy::Policy;
use domain::demand::{ByResource, Demand, DemandSource};
use domain::evidence::Contradiction;
use domain::lab_topology::LabTopology;
use domain::lablet_definition::{Finding, Proposal, Verification};
use domain::phases::{ByPhases, Phases};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::SessionAdvice;
use crate::table::cell::Json;
use crate::table::rows;

rows! {
    /// A session that ran, and what it says.
    pub(crate) struct StoredSession in "sessions" by (session_id: String) {
        session_id: String,
        definition_id: String,
        definition_revision: i32,
        /// Of the newest observation that says it.
        worker_id: Option<String>,
        cml_version: Option<String>,
        /// By any observation, else by the newest.
        worker_short: Option<bool>,
        observation_count: i64,
        /// Of the newest observation, with the two after it.
        observed_at: Option<DateTime<Utc>>,
        no_evidence: Option<String>,
        contradictions: Json<Vec<Contradiction>>,
        /// Of the newest observation that lists nodes.
        topology: Json<Topology>,
        topology_key: Option<String>,
        topology_observed_at: Option<DateTime<Utc>>,
        nominal: Json<ByResource<Option<f64>>>,
        /// What each node needed so far; null from its end on.
        nodes: Option<Json<Vec<ObservedNode>>>,
        /// What its nodes needed, from its end on.
        kinds: Json<Vec<KindRuns>>,
        /// What they needed with the boot; null: the same.
        kinds_with_boot: Option<Json<Vec<KindRuns>>>,
        demands: Json<ByResource<Demand<Uuid>>>,
        /// The demands of the steady phase again, for indexes.
        cpu_cores: Option<f64>,
        memory_mb: Option<f64>,
        storage_mb: Option<f64>,
        /// The demands with the boot.
        cpu_cores_with_boot: Option<f64>,
        memory_mb_with_boot: Option<f64>,
        storage_mb_with_boot: Option<f64>,
        running_at: Option<DateTime<Utc>>,
        running_position: Option<Position>,
        ended_at: Option<DateTime<Utc>>,
        ended_position: Option<Position>,
        ended_event_id: Option<Uuid>,
        excluded: bool,
        /// What was advised before it, and whether that held; null until its end.
        advice: Option<Json<ByResource<Option<SessionAdvice>>>>,
        /// Whether it needed more of any resource than was advised before it.
        missed: bool,
        steps: Option<Json<ByPhases<SessionSteps>>>,
        /// What excluding it took out.
        exclusion: Option<Json<ByPhases<Exclusion>>>,
        position: Position,
    }

    /// That what was measured in a session counts no more, or again.
    pub(crate) struct StoredExclusion in "exclusions" by (session_id: String, position: Position) {
        session_id: String,
        position: Position,
        definition_id: String,
        excluded: bool,
        reason: String,
        changed_by: String,
        changed_at: DateTime<Utc>,
        event_id: Uuid,
    }

    /// A definition: what is stated of it, what was learnt, and what was last recommended.
    pub(crate) struct StoredDefinition in "definitions" by (definition_id: String) {
        definition_id: String,
        /// Null with what follows: it is not known here, and its sessions are.
        revision: Option<i32>,
        requirements: Option<Json<domain::lablet_definition::ResourceRequirements>>,
        stated: Option<Json<LabTopology>>,
        policy: Option<Json<Policy>>,
        /// Of its newest observed session; null: none is known.
        learnt: Option<Json<Topology>>,
        learnt_observed_at: Option<DateTime<Utc>>,
        /// Topologies whose sessions are kept apart.
        topologies: Json<Vec<Topology>>,
        position: Position,
    }

    /// What is kept of a definition's sessions.
    pub(crate) struct StoredDefinitionSums in "definition_sums" by (definition_id: String) {
        definition_id: String,
        ended: i64,
        sums: Json<ByResource<DefinitionSums>>,
        /// Null: of a row that is older than they are.
        sums_with_boot: Option<Json<ByResource<DefinitionSums>>>,
        scores: Json<ByResource<ScoreSums>>,
        finding: Option<Json<Finding>>,
        /// Whole cores and GB.
        requirement: Json<ByResource<Option<u32>>>,
        value: Json<ByResource<Option<f64>>>,
        /// Whether what is configured fits; null: of a row that is older than that.
        sizing: Option<Json<ByResource<Sizing>>>,
        position: Position,
    }

    /// A definition's sessions of one topology.
    pub(crate) struct StoredTopology in "definition_topologies" by (phases: String, definition_id: String, topology_key: String) {
        phases: String,
        definition_id: String,
        topology_key: String,
        own: Json<ByResource<OwnDemands>>,
    }

    /// What a definition stated, and its policy, from a position on.
    pub(crate) struct StoredFacts in "definition_facts" by (definition_id: String, position: Position) {
        definition_id: String,
        position: Position,
        revision: i32,
        requirements: Json<domain::lablet_definition::ResourceRequirements>,
        stated: Option<Json<LabTopology>>,
        policy: Option<Json<Policy>>,
    }

    /// The topology that was learnt of a definition, from a position on.
    pub(crate) struct StoredLearntTopology in "learnt_topologies" by (definition_id: String, position: Position) {
        definition_id: String,
        position: Position,
        topology: Json<Topology>,
        session_id: String,
        event_id: Uuid,
        observed_at: DateTime<Utc>,
    }

    /// The default policy, from a position on.
    pub(crate) struct StoredDefaultPolicy in "default_policies" by (position: Position) {
        position: Position,
        /// Null: as where nobody has set one.
        policy: Option<Json<Policy>>,
        set_by: String,
        set_at: DateTime<Utc>,
    }

    /// The default policy now.
    pub(crate) struct StoredCurrentPolicy in "current_policy" by (policy_id: String) {
        policy_id: String,
        policy: Option<Json<Policy>>,
        position: Position,
    }

    /// Pools of one node definition: of all labs, or of those of one definition.
    pub(crate) struct StoredPools in "pools" by (phases: String, owner: String, node_definition: String) {
        phases: String,
        /// A definition; empty: all labs.
        owner: String,
        node_definition: String,
        pools: Json<NodePools>,
    }

    /// What there is once for the whole fleet.
    pub(crate) struct StoredFleet in "fleet" by (phases: String, fleet: String) {
        phases: String,
        fleet: String,
        whole: Json<ByResource<WholeFleet>>,
    }

    /// Scores of past advice within four spreads, from a multiple of four on.
    pub(crate) struct StoredScores in "scores" by (phases: String, resource: String, bucket: i32, from_spread: i32) {
        phases: String,
        resource: String,
        bucket: i32,
        from_spread: i32,
        counts: Json<Vec<(Score, u32)>>,
    }

    /// How advice of one month did, by the number of sessions that were known.
    pub(crate) struct StoredMonth in "months" by (month: String, bucket: i32, resource: String) {
        /// As 2026-03, in UTC, by the end of the session.
        month: String,
        bucket: i32,
        resource: String,
        sums: Json<ScoreSums>,
    }

    /// A proposal with its life.
    pub(crate) struct StoredProposal in "proposals" by (proposal_id: String) {
        proposal_id: String,
        definition_id: String,
        status: String,
        proposal: Json<Proposal>,
        /// Counted from 1, raised by each step until its end.
        version: i32,
        opened_by: String,
        opened_at: DateTime<Utc>,
        opened_event_id: Uuid,
        claimed_by: Option<String>,
        claimed_at: Option<DateTime<Utc>>,
        claim_reason: Option<String>,
        claimed_event_id: Option<Uuid>,
        /// When it was applied, failed, was dismissed or superseded, with what follows.
        ended_by: Option<String>,
        ended_at: Option<DateTime<Utc>>,
        end_reason: Option<String>,
        ended_event_id: Option<Uuid>,
        revision: Option<i32>,
        policy_set_by: Option<String>,
        superseded_by: Option<String>,
        verification: Option<Json<Verification>>,
        verified_by: Option<String>,
        verified_at: Option<DateTime<Utc>>,
        verified_event_id: Option<Uuid>,
        opened_position: Position,
        position: Position,
    }
}

/// What a node needed so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ObservedNode {
    pub(crate) node_id: String,
    pub(crate) kind: NodeKind,
    /// Of the newest observation that lists it.
    pub(crate) observed_at: DateTime<Utc>,
    /// In its steady phase.
    pub(crate) demand: ByResource<NodePeak>,
    /// While it booted.
    #[serde(default, skip_serializing_if = "is_unknown")]
    pub(crate) boot: ByResource<NodePeak>,
}

/// The peak of a node and how it was measured. `None` is unknown.
pub(crate) type NodePeak = Option<(f64, DemandSource)>;

fn is_unknown(peaks: &ByResource<NodePeak>) -> bool {
    *peaks == ByResource::default()
}

impl StoredDefinitionSums {
    /// What is kept over these phases.
    pub(super) fn over(&self, phases: Phases) -> ByResource<DefinitionSums> {
        match phases {
            Phases::Steady => self.sums.0.clone(),
            Phases::WithBoot => self.sums_with_boot.as_ref().map(|sums| sums.0.clone()).unwrap_or_default(),
        }
    }
}
