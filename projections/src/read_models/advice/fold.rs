//! How events become what advice rests on.
//!
//! While a session can be observed, its row gathers what it and its nodes needed. With the first event after which nothing
//! can be observed of it any more, it becomes evidence: what could be advised before it is scored, and the sums of the fleet
//! and of its definition take it up. So the order of evidence is that of the log.

use std::collections::BTreeSet;

use advice::advice_score::ScoredAdvice;
use advice::evidence::SessionEvidence;
use advice::fleet::Fleet;
use advice::recommendation::{ResourceFacts, finding_of_definition};
use advice::scores::Bucket;
use advice::topology::Topology;
use chrono::{DateTime, Utc};
use domain::DefinitionId;
use domain::advice_policy::{AdvicePolicyEvent, DEFAULT_POLICY};
use domain::demand::ByResource;
use domain::evidence::replaces;
use domain::lablet_definition::{DefinitionContent, LabletDefinitionEvent};
use domain::lablet_session::{LabletSessionEvent, SessionIds};
use domain::observation::ResourceObservation;
use domain::phases::{ByPhases, Phases};
use domain::resource::Resource;

use super::SessionAdvice;
use super::answer::{Question, asked_topology};
use super::rows::{Rows, month_key, names};
use super::session::{evidence, kind_runs, new_session, node_names, observed_topology};
use super::stored::{
    StoredCurrentPolicy, StoredDefaultPolicy, StoredExclusion, StoredFacts, StoredLearntTopology, StoredMonth,
    StoredSession,
};
use crate::projector::{Applied, Event, Fold, Recorded};
use crate::refused::{Refused, integer};
use crate::table::AnyTable;
use crate::table::cell::Json;

/// What an event of a session is to its evidence.
enum SessionFact<'a> {
    /// From now on it may be observed.
    Runs(DateTime<Utc>),
    /// It was observed.
    Observed { worker_id: Option<String>, resources: &'a ResourceObservation },
    /// It cannot be observed any more.
    Ends(DateTime<Utc>),
    /// What was measured in it counts no more, or again.
    Counts { counts: bool, reason: &'a str, by: &'a str, at: DateTime<Utc> },
}

fn session_fact(event: &LabletSessionEvent) -> Option<SessionFact<'_>> {
    Some(match event {
        LabletSessionEvent::Running(step) | LabletSessionEvent::Collecting(step) => SessionFact::Runs(step.at),
        LabletSessionEvent::Grading(step)
        | LabletSessionEvent::Stopping(step)
        | LabletSessionEvent::Stopped(step)
        | LabletSessionEvent::Archived(step)
        | LabletSessionEvent::Terminated(step)
        | LabletSessionEvent::Expired(step) => SessionFact::Ends(step.at),
        LabletSessionEvent::ResourcesObserved { worker_id, observed_resources, .. } => SessionFact::Observed {
            worker_id: worker_id.as_ref().map(ToString::to_string),
            resources: observed_resources,
        },
        LabletSessionEvent::EvidenceExcluded { reason, excluded_by, excluded_at, .. } => {
            SessionFact::Counts { counts: false, reason, by: excluded_by, at: *excluded_at }
        }
        LabletSessionEvent::EvidenceIncluded { reason, included_by, included_at, .. } => {
            SessionFact::Counts { counts: true, reason, by: included_by, at: *included_at }
        }
        LabletSessionEvent::Created { .. }
        | LabletSessionEvent::Scheduled(_)
        | LabletSessionEvent::Instantiating(_)
        | LabletSessionEvent::Ready(_)
        | LabletSessionEvent::ObserveResourcesRequested { .. }
        | LabletSessionEvent::PortDriftDetected { .. }
        | LabletSessionEvent::PortDriftAcknowledged { .. }
        | LabletSessionEvent::PortDriftAcknowledgementWithdrawn { .. }
        | LabletSessionEvent::AllocationCorrected { .. }
        | LabletSessionEvent::ObservationFailed { .. } => return None,
    })
}

/// As 2026-03, in UTC.
pub(super) fn month(at: DateTime<Utc>) -> String {
    at.format("%Y-%m").to_string()
}

impl Fold for Rows {
    fn tables(&mut self) -> Vec<&mut dyn AnyTable> {
        self.all_tables()
    }

    fn want(&mut self, event: &Event, recorded: &Recorded) {
        match event {
            Event::Session(event) => {
                let Some(fact) = session_fact(event) else { return };
                let id = &event.ids().definition_id;
                self.sessions.want((recorded.log.aggregate_id.clone(),));
                match fact {
                    SessionFact::Runs(_) => {}
                    SessionFact::Observed { resources, .. } => {
                        self.want_definition(id);
                        // Nodes beyond the bound of a topology are pooled all the same.
                        let nodes: BTreeSet<String> =
                            resources.nodes.iter().map(|node| node.node_definition.to_string()).collect();
                        self.want_pools(Some(id), nodes.iter());
                        if let Some(topology) = observed_topology(resources) {
                            self.want_topology(id, &topology);
                        }
                    }
                    SessionFact::Ends(at) => {
                        self.want_assessment(id);
                        self.want_topology(id, &Topology::default());
                        self.want_month(&month(at));
                    }
                    SessionFact::Counts { .. } => {
                        self.want_assessment(id);
                        self.want_topology(id, &Topology::default());
                    }
                }
            }
            Event::Definition(event) => self.want_for_definition(event, recorded),
            Event::AdvicePolicy(_) => self.want_default_policy(),
            Event::Worker(_) | Event::Foreign => {}
        }
    }

    fn want_by_rows(&mut self, event: &Event, recorded: &Recorded) {
        match event {
            Event::Session(event) => {
                let is_assessed =
                    matches!(session_fact(event), Some(SessionFact::Ends(_) | SessionFact::Counts { .. }));
                if !is_assessed {
                    return;
                }
                let id = &event.ids().definition_id;
                self.want_named(id);
                if let Ok(Some(row)) = self.sessions.get(&(recorded.log.aggregate_id.clone(),)) {
                    let (topology, ended) = (row.topology.0.clone(), row.ended_at);
                    let nodes = node_names(row);
                    self.want_topology(id, &topology);
                    self.want_pools(Some(id), nodes.iter());
                    if let Some(ended) = ended {
                        self.want_month(&month(ended));
                    }
                }
            }
            Event::Definition(_) => {
                if let Ok(id) = DefinitionId::parse(recorded.log.aggregate_id.clone()) {
                    self.want_named(&id);
                }
            }
            Event::AdvicePolicy(_) | Event::Worker(_) | Event::Foreign => {}
        }
    }

    fn fold(&mut self, event: &Event, recorded: &Recorded) -> Result<Applied, Refused> {
        match event {
            Event::Session(event) => match session_fact(event) {
                Some(fact) => self.fold_session(event.ids(), fact, recorded),
                None => Ok(Applied::Ignored),
            },
            Event::Definition(event) => self.fold_definition(event, recorded),
            Event::AdvicePolicy(event) => self.fold_default_policy(event, recorded),
            Event::Worker(_) | Event::Foreign => Ok(Applied::Ignored),
        }
    }
}

impl Rows {
    /// Asks for what a definition is assessed by.
    fn want_assessment(&mut self, id: &DefinitionId) {
        self.want_default_policy();
        Phases::ALL.into_iter().for_each(|phases| self.want_fleet(phases));
        self.want_definition(id);
    }

    fn want_month(&mut self, month: &str) {
        for resource in Resource::ALL {
            Bucket::ALL.into_iter().for_each(|bucket| self.months.want(month_key(month, bucket, resource)));
        }
    }

    fn want_for_definition(&mut self, event: &LabletDefinitionEvent, recorded: &Recorded) {
        let content = match event {
            LabletDefinitionEvent::Created { content, .. } => Some(content),
            LabletDefinitionEvent::Revised { after, .. } => Some(after),
            LabletDefinitionEvent::PolicySet { .. } => None,
            LabletDefinitionEvent::ProposalOpened { .. }
            | LabletDefinitionEvent::ProposalClaimed { .. }
            | LabletDefinitionEvent::ProposalApplied { .. }
            | LabletDefinitionEvent::ProposalFailed { .. }
            | LabletDefinitionEvent::ProposalDismissed { .. }
            | LabletDefinitionEvent::ProposalSuperseded { .. }
            | LabletDefinitionEvent::ProposalVerified { .. } => return self.want_proposal(event),
        };
        let Ok(id) = DefinitionId::parse(recorded.log.aggregate_id.clone()) else { return };
        self.want_assessment(&id);
        if let Some(stated) = content.and_then(|content| content.topology.as_ref()) {
            self.want_topology(&id, &Topology::from(stated));
        }
    }

    fn fold_session(
        &mut self,
        ids: &SessionIds,
        fact: SessionFact<'_>,
        recorded: &Recorded,
    ) -> Result<Applied, Refused> {
        let key = (recorded.log.aggregate_id.clone(),);
        let known = self.sessions.get(&key)?.cloned();
        match fact {
            SessionFact::Runs(at) => {
                let mut row = known.map_or_else(|| new_session(ids, recorded), Ok)?;
                if row.running_at.is_some() {
                    return Ok(Applied::Ignored);
                }
                row.begin(at, recorded);
                self.sessions.put(row)?;
            }
            SessionFact::Observed { worker_id, resources } => {
                let mut row = known.map_or_else(|| new_session(ids, recorded), Ok)?;
                let Some(contribution) = recorded.contribution() else {
                    return Err(Refused::new("an observation contributes nothing"));
                };
                let made_at = contribution.made_at;
                row.observe(worker_id, resources, made_at, recorded)?;
                self.learn(&ids.definition_id, resources, made_at, recorded)?;
                self.sessions.put(row)?;
            }
            SessionFact::Ends(at) => {
                let Some(row) = known.filter(|row| row.running_at.is_some() && row.ended_at.is_none()) else {
                    return Ok(Applied::Ignored);
                };
                self.end(row, at, recorded)?;
            }
            SessionFact::Counts { counts, reason, by, at } => {
                let row = known.map_or_else(|| new_session(ids, recorded), Ok)?;
                let change = StoredExclusion {
                    session_id: row.session_id.clone(),
                    position: recorded.position(),
                    definition_id: row.definition_id.clone(),
                    excluded: !counts,
                    reason: reason.to_owned(),
                    changed_by: by.to_owned(),
                    changed_at: at,
                    event_id: recorded.event_id(),
                };
                self.count(row, counts, recorded)?;
                self.exclusions.push(change);
            }
        }
        Ok(Applied::Changed)
    }

    /// Learns the topology of a definition from an observation.
    fn learn(
        &mut self,
        id: &DefinitionId,
        resources: &ResourceObservation,
        made_at: DateTime<Utc>,
        recorded: &Recorded,
    ) -> Result<(), Refused> {
        let topology = observed_topology(resources).filter(|topology| topology.node_count() > 0);
        let Some(topology) = topology else { return Ok(()) };
        let mut definition = self.definition_or_new(id, recorded.position())?;
        if !replaces(made_at, definition.learnt_observed_at) {
            return Ok(());
        }
        definition.learnt_observed_at = Some(made_at);
        definition.position = recorded.position();
        if definition.learnt.as_ref().is_none_or(|learnt| learnt.0 != topology) {
            definition.learnt = Some(Json(topology.clone()));
            self.learnt.push(StoredLearntTopology {
                definition_id: id.to_string(),
                position: recorded.position(),
                topology: Json(topology),
                session_id: recorded.log.aggregate_id.clone(),
                event_id: recorded.event_id(),
                observed_at: made_at,
            });
        }
        self.definitions.put(definition)
    }

    /// The session becomes evidence.
    fn end(&mut self, mut row: StoredSession, at: DateTime<Utc>, recorded: &Recorded) -> Result<(), Refused> {
        let nodes = row.nodes.take().map(|nodes| nodes.0).unwrap_or_default();
        let ByPhases { steady, with_boot } = Phases::each(|phases| kind_runs(&nodes, phases));
        row.kinds_with_boot = (with_boot != steady).then_some(Json(with_boot));
        row.kinds = Json(steady);
        (row.ended_at, row.ended_position) = (Some(at), Some(recorded.position()));
        (row.ended_event_id, row.position) = (Some(recorded.event_id()), recorded.position());
        let evidence = Phases::try_each(|phases| evidence(&row, at, phases))?;
        let id = &evidence.steady.definition_id;
        let (mut fleets, also) = self.assessed(id, node_names(&row))?;
        let definition = self.definition_or_new(id, recorded.position())?;
        let policy = self.policy(&definition)?;
        let asked = policy.phases();
        let requirements = definition.requirements.as_ref().map(|requirements| &requirements.0);
        let scored = asked.part(&fleets).scored_advice(asked.part(&evidence), requirements, &policy);
        let steps = Phases::each(|phases| phases.part_mut(&mut fleets).advance(phases.part(&evidence)));
        let advice = scored
            .zip(asked.part(&steps).resources.clone())
            .map(|(scored, step)| scored.map(|scored| SessionAdvice::new(scored, step.sessions_before, asked)));
        row.exclusion = row.excluded.then(|| {
            let exclude =
                |phases: Phases| phases.part_mut(&mut fleets).exclude(phases.part(&evidence), phases.part(&steps));
            Json(Phases::each(exclude))
        });
        let months = if row.excluded { Vec::new() } else { self.months(at, &advice, ScoreChange::Add)? };
        row.missed = Resource::ALL
            .iter()
            .any(|resource| resource.part(&advice).is_some_and(|advice| advice.held == Some(false)));
        row.advice = Some(Json(advice));
        row.steps = Some(Json(steps));
        self.put_assessed(id, &also, fleets, months, &row, recorded)
    }

    /// What was measured in a session counts no more, or again.
    fn count(&mut self, mut row: StoredSession, counts: bool, recorded: &Recorded) -> Result<(), Refused> {
        let is_changed = row.excluded == counts;
        row.excluded = !counts;
        row.position = recorded.position();
        let (Some(at), Some(steps), Some(advice), true) = (row.ended_at, &row.steps, &row.advice, is_changed) else {
            return self.sessions.put(row);
        };
        let evidence: ByPhases<SessionEvidence> = Phases::try_each(|phases| evidence(&row, at, phases))?;
        let id = &evidence.steady.definition_id;
        let (mut fleets, also) = self.assessed(id, node_names(&row))?;
        let change = if counts { ScoreChange::Add } else { ScoreChange::Remove };
        let months = self.months(at, &advice.0, change)?;
        match (counts, row.exclusion.take()) {
            (true, Some(exclusion)) => {
                for phases in Phases::ALL {
                    let fleet = phases.part_mut(&mut fleets);
                    fleet.restore(phases.part(&evidence), phases.part(&steps.0), phases.part(&exclusion.0));
                }
            }
            (true, None) => return Err(Refused::new("a session counts again of which nothing was taken out")),
            (false, _) => {
                let exclude = |phases: Phases| {
                    phases.part_mut(&mut fleets).exclude(phases.part(&evidence), phases.part(&steps.0))
                };
                row.exclusion = Some(Json(Phases::each(exclude)));
            }
        }
        self.put_assessed(id, &also, fleets, months, &row, recorded)
    }

    /// The fleets as far as a definition is assessed by them, and the node definitions that are looked at beside its own.
    fn assessed(
        &mut self,
        id: &DefinitionId,
        mut also: BTreeSet<String>,
    ) -> Result<(ByPhases<Fleet>, BTreeSet<String>), Refused> {
        let definition = self.definitions.get(&(id.to_string(),))?;
        also.extend(definition.and_then(super::rows::asked).iter().flat_map(names).cloned());
        Ok((Phases::try_each(|phases| self.fleet(phases, Some(id), &also))?, also))
    }

    /// The months' rows after a session's scores were added or taken out.
    fn months(
        &self,
        at: DateTime<Utc>,
        advice: &ByResource<Option<SessionAdvice>>,
        change: ScoreChange,
    ) -> Result<Vec<StoredMonth>, Refused> {
        let month = month(at);
        let mut rows = Vec::new();
        for resource in Resource::ALL {
            let Some(advice) = resource.part(advice) else { continue };
            let key = month_key(&month, Bucket::from_sessions(advice.sessions_before), resource);
            let mut row = match self.months.get(&key)? {
                Some(row) => row.clone(),
                None => StoredMonth { month: key.0, bucket: key.1, resource: key.2, sums: Json::default() },
            };
            change.apply(&mut row.sums.0, resource, &advice.scored);
            rows.push(row);
        }
        Ok(rows)
    }

    fn put_assessed(
        &mut self,
        id: &DefinitionId,
        also: &BTreeSet<String>,
        fleets: ByPhases<Fleet>,
        months: Vec<StoredMonth>,
        row: &StoredSession,
        recorded: &Recorded,
    ) -> Result<(), Refused> {
        let position = recorded.position();
        let mut sums = self.assess(&fleets, id, recorded)?;
        let known = self.sessions.get(&(row.session_id.clone(),))?;
        let counted = |row: &StoredSession| row.ended_at.is_some() && !row.excluded;
        let (did, does) = (known.is_some_and(counted), counted(row));
        for resource in Resource::ALL {
            let advice = row.advice.as_ref().and_then(|advice| resource.part(&advice.0).as_ref());
            let Some(advice) = advice.filter(|_| did != does) else { continue };
            let change = if does { ScoreChange::Add } else { ScoreChange::Remove };
            change.apply(resource.part_mut(&mut sums.scores.0), resource, &advice.scored);
        }
        self.sums.put(sums)?;
        self.put_fleets(id, also, fleets, position)?;
        for month in months {
            self.months.put(month)?;
        }
        self.sessions.put(row.clone())
    }

    /// The definition's sums with what is recommended now, for lists.
    fn assess(
        &self,
        fleets: &ByPhases<Fleet>,
        id: &DefinitionId,
        recorded: &Recorded,
    ) -> Result<super::stored::StoredDefinitionSums, Refused> {
        let definition = self.definition_or_new(id, recorded.position())?;
        let mut sums = self.sums_or_new(id, recorded.position())?;
        let policy = self.policy(&definition)?;
        let fleet = policy.phases().part(fleets);
        let stated = definition.stated.as_ref().map(|stated| &stated.0);
        let question = Question {
            id: Some(id),
            topology: asked_topology(fleet, Some(id), stated, definition.learnt.as_ref().map(|learnt| &learnt.0)),
            requirements: definition.requirements.as_ref().map(|requirements| &requirements.0),
        };
        let explanations = question.explanations(fleet, &policy);
        let resources = question.recommendations(&explanations, &policy, |_| ResourceFacts::default());
        sums.sizing = question.sizing(fleet, &policy, &resources).map(Json);
        sums.finding = finding_of_definition(&resources).map(Json);
        sums.requirement = Json(Resource::each(|resource| resource.part(&resources).requirement));
        sums.value = Json(Resource::each(|resource| resource.part(&resources).value));
        sums.position = recorded.position();
        Ok(sums)
    }

    fn fold_definition(&mut self, event: &LabletDefinitionEvent, recorded: &Recorded) -> Result<Applied, Refused> {
        match event {
            LabletDefinitionEvent::Created { definition_id, content, .. } => {
                self.state(definition_id, 1, content, recorded)?;
            }
            LabletDefinitionEvent::Revised { definition_id, revision, after, .. } => {
                self.state(definition_id, *revision, after, recorded)?;
            }
            LabletDefinitionEvent::PolicySet { definition_id, policy, .. } => {
                let mut definition = self.definition_or_new(definition_id, recorded.position())?;
                definition.policy = policy.map(Json);
                self.put_stated(definition_id, definition, recorded)?;
            }
            LabletDefinitionEvent::ProposalOpened { .. }
            | LabletDefinitionEvent::ProposalClaimed { .. }
            | LabletDefinitionEvent::ProposalApplied { .. }
            | LabletDefinitionEvent::ProposalFailed { .. }
            | LabletDefinitionEvent::ProposalDismissed { .. }
            | LabletDefinitionEvent::ProposalSuperseded { .. }
            | LabletDefinitionEvent::ProposalVerified { .. } => self.fold_proposal(event, recorded)?,
        }
        Ok(Applied::Changed)
    }

    fn state(
        &mut self,
        id: &DefinitionId,
        revision: u32,
        content: &DefinitionContent,
        recorded: &Recorded,
    ) -> Result<(), Refused> {
        let mut definition = self.definition_or_new(id, recorded.position())?;
        definition.revision = Some(integer(revision, "revision")?);
        definition.requirements = Some(Json(content.resource_requirements));
        definition.stated = content.topology.clone().map(Json);
        self.put_stated(id, definition, recorded)
    }

    /// Puts what is stated of a definition, and what is recommended by it.
    fn put_stated(
        &mut self,
        id: &DefinitionId,
        mut definition: super::stored::StoredDefinition,
        recorded: &Recorded,
    ) -> Result<(), Refused> {
        definition.position = recorded.position();
        let also = super::rows::asked(&definition).iter().flat_map(names).cloned().collect();
        let fleets = Phases::try_each(|phases| self.fleet(phases, Some(id), &also))?;
        self.sums.get(&(id.to_string(),))?;
        self.current_policy.get(&(DEFAULT_POLICY.to_owned(),))?;
        if let (Some(revision), Some(requirements)) = (definition.revision, &definition.requirements) {
            self.facts.push(StoredFacts {
                definition_id: id.to_string(),
                position: recorded.position(),
                revision,
                requirements: requirements.clone(),
                stated: definition.stated.clone(),
                policy: definition.policy.clone(),
            });
        }
        self.definitions.put(definition)?;
        let sums = self.assess(&fleets, id, recorded)?;
        self.sums.put(sums)
    }

    fn fold_default_policy(&mut self, event: &AdvicePolicyEvent, recorded: &Recorded) -> Result<Applied, Refused> {
        let AdvicePolicyEvent::Set { policy, set_by, set_at, .. } = event;
        let policy = policy.map(Json);
        self.current_policy.put(StoredCurrentPolicy {
            policy_id: DEFAULT_POLICY.to_owned(),
            policy: policy.clone(),
            position: recorded.position(),
        })?;
        self.default_policies.push(StoredDefaultPolicy {
            position: recorded.position(),
            policy,
            set_by: set_by.clone(),
            set_at: *set_at,
        });
        Ok(Applied::Changed)
    }
}

/// Whether a session's scores come or go.
#[derive(Debug, Clone, Copy)]
enum ScoreChange {
    Add,
    Remove,
}

impl ScoreChange {
    fn apply(self, sums: &mut advice::advice_score::ScoreSums, resource: Resource, scored: &ScoredAdvice) {
        match self {
            Self::Add => sums.add(resource, scored),
            Self::Remove => sums.remove(resource, scored),
        }
    }
}

#[cfg(test)]
mod tests;
