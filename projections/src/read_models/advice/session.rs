//! A session's row, while it can be observed and when it ends.

use std::collections::BTreeSet;

use advice::evidence::{KindRuns, NodeDemand, SessionEvidence};
use advice::topology::{NodeKind, Topology};
use chrono::{DateTime, Utc};
use domain::demand::{ByResource, Demand, Peak, PhasePeaks};
use domain::evidence::replaces;
use domain::lablet_session::SessionIds;
use domain::observation::{NodeObservation, ResourceObservation};
use domain::phases::{ByPhases, Phases};
use domain::resource::Resource;
use domain::{Amount, DefinitionId, SessionId};

use super::rows::names;
use super::stored::{NodePeak, ObservedNode, StoredSession};
use crate::projector::Recorded;
use crate::refused::{Refused, integer};
use crate::table::cell::Json;

/// Most nodes that are told apart in a session that runs: those beyond are not measured.
const MOST_NODES: usize = 10_000;

/// The columns of what was needed of each resource.
pub(super) const DEMAND_COLUMNS: ByPhases<ByResource<&str>> = ByPhases {
    steady: ByResource { cpu_cores: "cpu_cores", memory_mb: "memory_mb", storage_mb: "storage_mb" },
    with_boot: ByResource {
        cpu_cores: "cpu_cores_with_boot",
        memory_mb: "memory_mb_with_boot",
        storage_mb: "storage_mb_with_boot",
    },
};

/// The kind of a node that was observed.
fn kind(node: &NodeObservation) -> NodeKind {
    #[expect(clippy::cast_precision_loss, reason = "a node has at most 100,000,000 MB")]
    let memory = node.ram_mb.map(|ram| ram.get() as f64);
    NodeKind::new(
        node.node_definition.to_string(),
        node.image_definition.as_ref().map(ToString::to_string),
        node.nominal_cpu_cores.map(Amount::get),
        memory,
    )
}

/// What a lab consisted of. `None`: the observation lists no nodes.
pub(super) fn observed_topology(resources: &ResourceObservation) -> Option<Topology> {
    let topology = Topology::new(resources.nodes.iter().map(|node| (kind(node), 1)));
    (!resources.nodes.is_empty()).then_some(topology)
}

/// The node definitions of a session's nodes, so far or from its end on.
pub(super) fn node_names(row: &StoredSession) -> BTreeSet<String> {
    let observed = row.nodes.iter().flat_map(|nodes| &nodes.0).map(|node| &node.kind.node_definition);
    let pooled = row.kinds.0.iter().map(|kind| &kind.kind.node_definition);
    observed.chain(pooled).chain(names(&row.topology.0)).cloned().collect()
}

/// What a session says of these phases, with its end.
pub(super) fn evidence(
    row: &StoredSession,
    ended_at: DateTime<Utc>,
    phases: Phases,
) -> Result<SessionEvidence, Refused> {
    let refused = |error: domain::Invalid| Refused::new(format!("a session's row: {error}"));
    Ok(SessionEvidence {
        session_id: SessionId::parse(row.session_id.clone()).map_err(refused)?,
        definition_id: DefinitionId::parse(row.definition_id.clone()).map_err(refused)?,
        ended_at,
        topology: row.topology.0.clone(),
        demand: needed(&row.demands.0, phases),
        nodes: match (phases, &row.kinds_with_boot) {
            (Phases::WithBoot, Some(kinds)) => kinds.0.clone(),
            (Phases::WithBoot, None) | (Phases::Steady, _) => row.kinds.0.clone(),
        },
    })
}

fn needed<Id>(demands: &ByResource<Demand<Id>>, phases: Phases) -> ByResource<Option<f64>> {
    Resource::each(|resource| resource.part(demands).over(phases).map(|peak| peak.value))
}

/// What nodes of one kind needed together over these phases.
pub(super) fn kind_runs(nodes: &[ObservedNode], phases: Phases) -> Vec<KindRuns> {
    let needed = |node: &ObservedNode| NodeDemand { kind: node.kind.clone(), demand: needed(&node.demands(), phases) };
    KindRuns::from_nodes(nodes.iter().map(needed))
}

pub(super) fn new_session(ids: &SessionIds, recorded: &Recorded) -> Result<StoredSession, Refused> {
    Ok(StoredSession {
        session_id: recorded.log.aggregate_id.clone(),
        definition_id: ids.definition_id.to_string(),
        definition_revision: integer(ids.definition_revision, "definition_revision")?,
        worker_id: None,
        cml_version: None,
        worker_short: None,
        observation_count: 0,
        observed_at: None,
        no_evidence: None,
        contradictions: Json::default(),
        topology: Json::default(),
        topology_key: None,
        topology_observed_at: None,
        nominal: Json::default(),
        nodes: None,
        kinds: Json::default(),
        kinds_with_boot: None,
        demands: Json::default(),
        cpu_cores: None,
        memory_mb: None,
        storage_mb: None,
        cpu_cores_with_boot: None,
        memory_mb_with_boot: None,
        storage_mb_with_boot: None,
        running_at: None,
        running_position: None,
        ended_at: None,
        ended_position: None,
        ended_event_id: None,
        excluded: false,
        advice: None,
        missed: false,
        steps: None,
        exclusion: None,
        position: recorded.position(),
    })
}

impl StoredSession {
    pub(super) fn begin(&mut self, at: DateTime<Utc>, recorded: &Recorded) {
        (self.running_at, self.running_position) = (Some(at), Some(recorded.position()));
        self.position = recorded.position();
    }

    /// Takes up what an observation knows.
    pub(super) fn observe(
        &mut self,
        worker_id: Option<String>,
        resources: &ResourceObservation,
        made_at: DateTime<Utc>,
        recorded: &Recorded,
    ) -> Result<(), Refused> {
        let (Some(contribution), Some(known)) = (recorded.contribution(), recorded.demands()) else {
            return Err(Refused::new("an observation contributes nothing"));
        };
        if self.running_at.is_none() {
            self.begin(made_at, recorded);
        }
        self.position = recorded.position();
        self.observation_count += 1;
        if self.ended_at.is_some() {
            // The session refuses it; what an old log holds all the same changes no evidence.
            return Ok(());
        }
        let is_newest = replaces(made_at, self.observed_at);
        if is_newest {
            self.observed_at = Some(made_at);
            self.no_evidence = contribution.no_evidence.map(|reason| reason.as_str().to_owned());
            self.contradictions = Json(contribution.contradictions.clone());
            self.worker_id = worker_id.or_else(|| self.worker_id.take());
            let version = resources.cml_version.as_ref().map(ToString::to_string);
            self.cml_version = version.or_else(|| self.cml_version.take());
        }
        let worker_short = resources.coverage.as_ref().and_then(|coverage| coverage.worker_short);
        // Once short, the session's peaks may be too low, whatever is observed later.
        if worker_short == Some(true) || is_newest && self.worker_short != Some(true) {
            self.worker_short = worker_short;
        }
        if let Some(topology) = observed_topology(resources).filter(|_| replaces(made_at, self.topology_observed_at)) {
            self.topology_observed_at = Some(made_at);
            self.nominal = Json(Resource::each(|resource| topology.nominal(resource)));
            self.topology_key = (topology.node_count() > 0).then(|| topology.key());
            self.topology = Json(topology);
        }
        self.demands = Json(self.demands.0.zip(known.lab).map(|(mut demand, known)| {
            demand.record(known, &recorded.event_id(), made_at);
            demand
        }));
        let ByPhases { steady, with_boot } = Phases::each(|phases| needed(&self.demands.0, phases));
        (self.cpu_cores, self.memory_mb, self.storage_mb) = (steady.cpu_cores, steady.memory_mb, steady.storage_mb);
        (self.cpu_cores_with_boot, self.memory_mb_with_boot) = (with_boot.cpu_cores, with_boot.memory_mb);
        self.storage_mb_with_boot = with_boot.storage_mb;
        let nodes = &mut self.nodes.get_or_insert_default().0;
        for (node, known) in resources.nodes.iter().zip(&known.nodes) {
            let place = nodes.binary_search_by(|held| held.node_id.as_str().cmp(node.node_id.as_ref()));
            let place = match place {
                Ok(place) => place,
                Err(_) if nodes.len() >= MOST_NODES => continue,
                Err(place) => {
                    let (demand, boot) = (ByResource::default(), ByResource::default());
                    let node_id = node.node_id.to_string();
                    nodes.insert(place, ObservedNode { node_id, kind: kind(node), observed_at: made_at, demand, boot });
                    place
                }
            };
            let held = &mut nodes[place];
            if replaces(made_at, Some(held.observed_at)) {
                (held.observed_at, held.kind) = (made_at, kind(node));
            }
            held.observe(*known);
        }
        Ok(())
    }
}

impl ObservedNode {
    /// What it needed of each resource so far. When that was observed only says which of equal ones is named.
    fn demands(&self) -> ByResource<Demand<()>> {
        let peak = |held: NodePeak| {
            held.map(|(value, source)| Peak { value, source, event_id: (), observed_at: DateTime::UNIX_EPOCH })
        };
        self.demand.zip(self.boot).map(|(steady, boot)| Demand { steady: peak(steady), boot: peak(boot) })
    }

    /// Takes up what an observation knows, by the rule of the domain.
    fn observe(&mut self, known: ByResource<PhasePeaks>) {
        let demands = self.demands().zip(known).map(|(mut demand, known)| {
            demand.record(known, &(), DateTime::UNIX_EPOCH);
            demand
        });
        let held = |peak: Option<Peak<()>>| peak.map(|peak| (peak.value, peak.source));
        self.demand = demands.map(|demand| held(demand.steady));
        self.boot = demands.map(|demand| held(demand.boot));
    }
}
