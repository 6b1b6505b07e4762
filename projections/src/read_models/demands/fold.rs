//! How observations become demands.
//!
//! A node belongs to the pool of its kind: node definition, image and nominal size. When more is known of the node, its
//! demand before is taken out of the pool that it was in, and the new one added where it belongs now.

use app::log::Position;
use chrono::{DateTime, Utc};
use domain::WorkerId;
use domain::demand::{ByResource, Demand, DemandPool, PhasePeaks, ROUNDING};
use domain::evidence::replaces;
use domain::lablet_session::{LabletSessionEvent, SessionIds};
use domain::observation::{NodeObservation, ResourceObservation};
use domain::observation_summary::Contribution;
use uuid::Uuid;

use super::stored::{NodeKind, StoredNode, StoredPool, StoredSession, without_demands};
use crate::projector::{Applied, Event, Fold, KnownDemands, Recorded, jsonb};
use crate::refused::{Refused, integer};
use crate::table::cell::Jsonb;
use crate::table::{AnyTable, Table};

#[derive(Debug, Default)]
pub(super) struct Rows {
    sessions: Table<StoredSession>,
    nodes: Table<StoredNode>,
    pools: Table<StoredPool>,
}

/// An observation, of which session, and on which worker it was made.
struct Observation<'a> {
    ids: &'a SessionIds,
    worker_id: Option<&'a WorkerId>,
    resources: &'a ResourceObservation,
}

/// The observation of an event.
fn observation(event: &Event) -> Option<Observation<'_>> {
    let Event::Session(event) = event else { return None };
    match event.as_ref() {
        LabletSessionEvent::ResourcesObserved { ids, worker_id, observed_resources, .. } => {
            Some(Observation { ids, worker_id: worker_id.as_ref(), resources: observed_resources })
        }
        LabletSessionEvent::Created { .. }
        | LabletSessionEvent::Scheduled(_)
        | LabletSessionEvent::Instantiating(_)
        | LabletSessionEvent::Ready(_)
        | LabletSessionEvent::Running(_)
        | LabletSessionEvent::Collecting(_)
        | LabletSessionEvent::Grading(_)
        | LabletSessionEvent::Stopping(_)
        | LabletSessionEvent::Stopped(_)
        | LabletSessionEvent::Archived(_)
        | LabletSessionEvent::Terminated(_)
        | LabletSessionEvent::Expired(_)
        | LabletSessionEvent::ObserveResourcesRequested { .. }
        | LabletSessionEvent::PortDriftDetected { .. }
        | LabletSessionEvent::ObservationFailed { .. }
        | LabletSessionEvent::EvidenceExcluded { .. }
        | LabletSessionEvent::EvidenceIncluded { .. }
        | LabletSessionEvent::PortDriftAcknowledged { .. }
        | LabletSessionEvent::PortDriftAcknowledgementWithdrawn { .. }
        | LabletSessionEvent::AllocationCorrected { .. } => None,
    }
}

impl Fold for Rows {
    fn tables(&mut self) -> Vec<&mut dyn AnyTable> {
        vec![&mut self.sessions, &mut self.nodes, &mut self.pools]
    }

    fn want(&mut self, event: &Event, recorded: &Recorded) {
        let Some(Observation { resources, .. }) = observation(event) else { return };
        let session = &recorded.log.aggregate_id;
        self.sessions.want((session.clone(),));
        for node in resources.nodes.iter() {
            self.nodes.want((session.clone(), node.node_id.to_string()));
            self.pools.want((NodeKind::from_node(node).pool(),));
        }
    }

    fn want_by_rows(&mut self, event: &Event, recorded: &Recorded) {
        let Some(Observation { resources, .. }) = observation(event) else { return };
        for node in resources.nodes.iter() {
            let key = (recorded.log.aggregate_id.clone(), node.node_id.to_string());
            if let Ok(Some(known)) = self.nodes.get(&key) {
                self.pools.want((known.pool.clone(),));
            }
        }
    }

    fn fold(&mut self, event: &Event, recorded: &Recorded) -> Result<Applied, Refused> {
        let Some(observation) = observation(event) else { return Ok(Applied::Ignored) };
        let resources = observation.resources;
        let (Some(contribution), Some(demands)) = (recorded.contribution(), recorded.demands()) else {
            return Err(Refused::new("an observation contributes nothing"));
        };
        let session = self.session(&observation, &contribution, demands, recorded)?;
        for node in resources.nodes.iter() {
            let known = self.nodes.get(&(session.session_id.clone(), node.node_id.to_string()))?;
            let pool = known.map(|known| known.pool.clone());
            for pool in [pool, Some(NodeKind::from_node(node).pool())].into_iter().flatten() {
                self.pools.get(&(pool,))?;
            }
        }
        self.sessions.put(session)?;
        for (node, known) in resources.nodes.iter().zip(&demands.nodes) {
            self.record_node(node, *known, contribution.made_at, recorded)?;
        }
        Ok(Applied::Changed)
    }
}

impl Rows {
    /// The session's row after an observation.
    fn session(
        &self,
        observation: &Observation<'_>,
        contribution: &Contribution<'_>,
        demands: &KnownDemands,
        recorded: &Recorded,
    ) -> Result<StoredSession, Refused> {
        let Observation { ids, worker_id, resources } = *observation;
        let session_id = recorded.log.aggregate_id.clone();
        let (made_at, contradictions) = (contribution.made_at, jsonb(&contribution.contradictions)?);
        let known = self.sessions.get(&(session_id.clone(),))?;
        let is_newest = replaces(made_at, known.map(|known| known.observed_at));
        let mut row = match known {
            Some(known) => known.clone(),
            None => without_demands!(StoredSession {
                session_id: session_id,
                definition_id: ids.definition_id.to_string(),
                definition_version: ids.definition_version.as_str().to_owned(),
                definition_revision: integer(ids.definition_revision, "definition_revision")?,
                worker_id: None,
                topology_fingerprint: None,
                observation_count: 0,
                observed_at: made_at,
                contradictions: Jsonb::empty_array(),
                no_evidence: None,
                profile_event_id: None,
                profile_at: None,
                sampled_share: None,
                worker_short: None,
                samples: None,
                missed_samples: None,
                boot_seconds: None,
                steady_seconds: None,
                position: recorded.position(),
            }),
        };
        row.observation_count += 1;
        row.position = recorded.position();
        if is_newest {
            row.observed_at = made_at;
            row.contradictions = contradictions;
            row.no_evidence = contribution.no_evidence.map(|reason| reason.as_str().to_owned());
            row.topology_fingerprint = resources.topology_fingerprint.as_ref().map(ToString::to_string);
            row.worker_id = worker_id.map(ToString::to_string);
        }
        let worker_short = resources.coverage.as_ref().and_then(|coverage| coverage.worker_short);
        // Once short, the session's peaks may be too low, whatever is observed later.
        if worker_short == Some(true) || is_newest && row.worker_short != Some(true) {
            row.worker_short = worker_short;
        }
        if let Some(profile) = resources.profile.as_deref().filter(|_| resources.has_profile())
            && replaces(made_at, row.profile_at)
        {
            let share = resources.coverage.as_ref().and_then(|coverage| coverage.sampled_share);
            row.profile_event_id = Some(recorded.event_id());
            row.profile_at = Some(made_at);
            row.sampled_share = share.map(|share| share.get());
            row.samples = profile.samples().map(|count| count.get().cast_signed());
            row.missed_samples = profile.missed_samples().map(|count| count.get().cast_signed());
            row.boot_seconds = profile.boot().and_then(|phase| phase.seconds).map(|count| count.get().cast_signed());
            row.steady_seconds =
                profile.steady().and_then(|phase| phase.seconds).map(|count| count.get().cast_signed());
        }
        row.set_demands(recorded_demands(row.demands(), demands.lab, made_at, recorded));
        Ok(row)
    }

    /// Changes the node's row, and the pools that it leaves and joins.
    fn record_node(
        &mut self,
        node: &NodeObservation,
        known: ByResource<PhasePeaks>,
        made_at: DateTime<Utc>,
        recorded: &Recorded,
    ) -> Result<(), Refused> {
        let key = (recorded.log.aggregate_id.clone(), node.node_id.to_string());
        let kind = NodeKind::from_node(node);
        let before = self.nodes.get(&key)?.cloned();
        let mut row = match &before {
            Some(before) => before.clone(),
            None => without_demands!(StoredNode {
                session_id: key.0,
                node_id: key.1,
                observed_at: made_at,
                label: String::new(),
                node_definition: String::new(),
                image_definition: None,
                nominal_cpu_cores: None,
                nominal_memory_mb: None,
                pool: String::new(),
                position: recorded.position(),
            }),
        };
        row.position = recorded.position();
        if replaces(made_at, before.as_ref().map(|before| before.observed_at)) {
            row.observed_at = made_at;
            row.label = node.label.to_string();
            row.pool = kind.pool();
            row.node_definition = kind.node_definition;
            row.image_definition = kind.image_definition;
            row.nominal_cpu_cores = kind.nominal_cpu_cores;
            row.nominal_memory_mb = kind.nominal_memory_mb;
        }
        row.set_demands(recorded_demands(row.demands(), known, made_at, recorded));
        let (demand_before, demand) = (before.as_ref().map(needs).unwrap_or_default(), needs(&row));
        let is_elsewhere = before.as_ref().is_some_and(|before| before.pool != row.pool);
        if is_elsewhere || demand_before != demand {
            if let Some(before) = &before {
                self.change_pool(before, recorded.position(), demand_before, DemandPool::remove)?;
            }
            self.change_pool(&row, recorded.position(), demand, DemandPool::add)?;
        }
        self.nodes.put(row)
    }

    /// Adds what is known of a node to its pool, or takes it out. A pool that no node has come to has no row.
    fn change_pool(
        &mut self,
        node: &StoredNode,
        position: Position,
        demands: ByResource<Option<f64>>,
        change: fn(&mut DemandPool, f64, f64),
    ) -> Result<(), Refused> {
        if demands == ByResource::default() {
            return Ok(());
        }
        let mut row = match self.pools.get(&(node.pool.clone(),))? {
            Some(row) => row.clone(),
            None => StoredPool {
                pool: node.pool.clone(),
                node_definition: node.node_definition.clone(),
                image_definition: node.image_definition.clone(),
                nominal_cpu_cores: node.nominal_cpu_cores,
                nominal_memory_mb: node.nominal_memory_mb,
                cpu_cores_runs: 0,
                cpu_cores_sum: 0.0,
                cpu_cores_sum_of_squares: 0.0,
                cpu_cores_maximum: None,
                memory_mb_runs: 0,
                memory_mb_sum: 0.0,
                memory_mb_sum_of_squares: 0.0,
                memory_mb_maximum: None,
                storage_mb_runs: 0,
                storage_mb_sum: 0.0,
                storage_mb_sum_of_squares: 0.0,
                storage_mb_maximum: None,
                position,
            },
        };
        // Events of a parked session that are retried are older than others.
        row.position = row.position.max(position);
        let changed = row.demands().zip(demands).zip(ROUNDING).map(|((mut pool, demand), parts)| {
            if let Some(demand) = demand {
                change(&mut pool, demand, parts);
            }
            pool
        });
        row.set_demands(changed);
        self.pools.put(row)
    }
}

/// The demand of each resource, of the steady phase.
fn needs(node: &StoredNode) -> ByResource<Option<f64>> {
    node.demands().map(|demand| demand.steady.map(|peak| peak.value))
}

fn recorded_demands(
    held: ByResource<Demand<Uuid>>,
    known: ByResource<PhasePeaks>,
    made_at: DateTime<Utc>,
    recorded: &Recorded,
) -> ByResource<Demand<Uuid>> {
    held.zip(known).map(|(mut demand, known)| {
        demand.record(known, &recorded.event_id(), made_at);
        demand
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::read_models::given::{event_id, given, recorded, sample};

    /// An observation of one router of 2048 MB, made in that minute.
    fn observed(sequence: i64, minute: u32, node: Value, profile: Option<Value>) -> Recorded {
        let mut event = sample("lablet_session.resources_observed.v1");
        let mut seen = json!({"node_id": "n-1", "label": "R1", "node_definition": "iosv", "state": "BOOTED",
                              "nominal_cpu_cores": 1.0, "ram_mb": 2048});
        for (name, value) in node.as_object().unwrap() {
            seen[name] = value.clone();
        }
        event["observed_at"] = format!("2026-03-01T10:{minute:02}:00Z").into();
        event["recorded_at"] = "2026-03-01T12:00:00Z".into();
        event["observed_resources"] = json!({
            "nodes": [seen], "usage": {"cpu_cores": 0.5}, "profile": profile,
            "coverage": {"nodes_total": 1, "nodes_booted": 1, "phase": "steady", "sampled_share": 0.75}
        });
        recorded("s-1", sequence, &event)
    }

    fn steady(peak: f64) -> Value {
        json!({"samples": 9, "missed_samples": 3, "steady": {"seconds": 60, "cpu_cores": {"peak": peak}},
               "boot": {"cpu_cores": {"peak": 1.0}}})
    }

    fn node(peak: f64) -> Value {
        json!({"profile": {"steady": {"cpu_cores": {"peak": peak}}}})
    }

    #[test]
    fn a_session_needs_the_peak_of_its_profile_and_names_the_event() {
        let mut rows = Rows::default();
        given(&mut rows, &observed(7, 0, node(1.5), Some(steady(1.5)))).unwrap();
        let session = rows.sessions.rows()[0];
        assert_eq!((session.cpu_cores, session.cpu_cores_by_profile), (Some(1.5), Some(true)));
        assert_eq!((session.cpu_cores_event_id, session.boot_cpu_cores), (Some(event_id(7)), Some(1.0)));
        assert_eq!((session.samples, session.missed_samples, session.sampled_share), (Some(9), Some(3), Some(0.75)));
        assert_eq!((session.memory_mb, session.profile_event_id), (None, Some(event_id(7))));
    }

    #[test]
    fn a_later_profile_takes_the_place_of_the_earlier_in_the_pool_too() {
        let mut rows = Rows::default();
        given(&mut rows, &observed(1, 0, node(1.0), Some(steady(1.0)))).unwrap();
        given(&mut rows, &observed(2, 30, node(2.0), Some(steady(2.0)))).unwrap();
        // Late, and history.
        given(&mut rows, &observed(3, 15, node(1.5), Some(steady(1.5)))).unwrap();
        let session = rows.sessions.rows()[0];
        assert_eq!((session.cpu_cores, session.cpu_cores_event_id), (Some(2.0), Some(event_id(2))));
        assert_eq!((session.profile_event_id, session.observation_count), (Some(event_id(2)), 3));
        let pool = rows.pools.rows()[0];
        assert_eq!((pool.cpu_cores_runs, pool.cpu_cores_sum, pool.cpu_cores_sum_of_squares), (1, 2.0, 4.0));
        assert_eq!((pool.cpu_cores_maximum, pool.memory_mb_runs), (Some(2.0), 0));
    }

    #[test]
    fn a_node_that_turns_out_to_be_of_another_kind_leaves_its_pool() {
        let mut rows = Rows::default();
        let unknown = json!({"ram_mb": null, "usage": {"cpu_cores": 0.5}});
        given(&mut rows, &observed(1, 0, unknown, None)).unwrap();
        given(&mut rows, &observed(2, 30, json!({"image_definition": "iosv-159", "usage": {"cpu_cores": 0.25}}), None))
            .unwrap();
        let pools: Vec<_> = rows
            .pools
            .rows()
            .iter()
            .map(|pool| (pool.nominal_memory_mb, pool.cpu_cores_runs, pool.cpu_cores_sum))
            .collect();
        assert_eq!(pools, [(None, 0, 0.0), (Some(2048.0), 1, 0.5)]);
        assert_eq!(rows.nodes.rows()[0].cpu_cores_by_profile, Some(false));
    }

    #[test]
    fn nodes_of_one_kind_are_pooled_over_sessions_and_what_is_unknown_is_in_no_pool() {
        let mut rows = Rows::default();
        let newest = observed(5, 0, node(1.0), Some(steady(1.0)));
        given(&mut rows, &newest).unwrap();
        let mut other = observed(1, 0, node(3.0), Some(steady(3.0)));
        other.log.aggregate_id = "s-2".to_owned();
        given(&mut rows, &other).unwrap();
        let mut unknown = observed(1, 0, json!({}), None);
        unknown.log.aggregate_id = "s-3".to_owned();
        given(&mut rows, &unknown).unwrap();
        let pool = rows.pools.rows()[0];
        assert_eq!((pool.cpu_cores_runs, pool.cpu_cores_sum, pool.cpu_cores_sum_of_squares), (2, 4.0, 10.0));
        assert_eq!(pool.position, newest.position(), "the other event is older");
        assert_eq!((rows.nodes.rows().len(), rows.pools.rows().len()), (3, 1));
    }
}
