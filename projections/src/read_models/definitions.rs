//! Definitions, their revisions, and a sign of what was observed of them.

use advice::sizing::{SizeVerdict, Sizing, verdict_of_definition};
use app::log::Position;
use chrono::{DateTime, Utc};
use domain::DefinitionId;
use domain::demand::ByResource;
use domain::evidence::Evidence;
use domain::lab_topology::LabTopology;
use domain::lablet_definition::{
    DefinitionContent, DefinitionVersion, LabletDefinitionEvent, PortTemplate, ResourceRequirements,
};
use domain::lablet_session::LabletSessionEvent;
use domain::observation_summary::{LatestDrift, NewestObservation, ObservationSummary};
use domain::port_drift::PortDrift;
use domain::resource::Resource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use crate::page::{self, Page, PageRequest};
use crate::parked;
use crate::projector::{AggregateKind, Applied, Event, Fold, Projector, Recorded, jsonb};
use crate::refused::{Refused, integer};
use crate::table::cell::Jsonb;
use crate::table::{AnyTable, Table, rows};
use crate::{Parked, Projections, ReadError};

/// A definition as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionRow {
    /// The definition.
    pub id: DefinitionId,
    /// Its name.
    pub name: String,
    /// The author's version.
    pub version: DefinitionVersion,
    /// Counted from 1, raised by each revision.
    pub revision: u32,
    /// What it is thought to need.
    pub resource_requirements: ResourceRequirements,
    /// Which ports it exposes.
    pub port_template: PortTemplate,
    /// What it is about.
    pub description: Option<String>,
    /// Number of nodes, where the author states it.
    pub node_count: Option<u32>,
    /// Which nodes its lab has, where that is stated; left out where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<LabTopology>,
    /// What was observed of it.
    pub observations: ObservationIndicator,
    /// What all its sessions, of any revision, used at the peaks of their steady phases.
    #[serde(default)]
    pub used: ByResource<UsedBySessions>,
    /// The worst verdict on its resources.
    #[serde(default)]
    pub verdict: SizeVerdict,
    /// Whether each resource is too small, fits or is too large, by what its sessions used; null: not known yet.
    #[serde(default)]
    pub sizing: Option<ByResource<Sizing>>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last revised or created.
    pub updated_at: DateTime<Utc>,
    /// Position of its last event.
    pub position: Position,
    /// Its version for `If-Match`: the sequence of the event by which it was created, revised or given a policy. Empty while the definition itself is parked: what is
    /// shown is not what is there, and no change can rest on it.
    pub etag: String,
    /// Read models that do not show it as it is; left out where all do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<Parked>,
}

/// What the sessions of a definition used of a resource: cores or MB. Null: unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UsedBySessions {
    /// The greatest.
    pub max: Option<f64>,
    /// The least that at least 95 % of the sessions that know it did not exceed.
    pub p95: Option<f64>,
    /// Sessions that know it.
    pub known_sessions: u64,
}

/// Whether anything was observed of a definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObservationIndicator {
    /// Observations of all its sessions.
    pub observation_count: u64,
    /// Sessions that were observed at least once.
    pub observed_sessions: u64,
    /// Of them, those whose newest verdict is that their ports drifted.
    pub drift_sessions: u64,
    /// When the newest observation was made; null: none yet.
    pub last_observed_at: Option<DateTime<Utc>>,
    /// The event of the newest observation.
    pub last_event_id: Option<Uuid>,
}

/// One revision of a definition. The first is its creation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RevisionRow {
    /// Counted from 1.
    pub revision: u32,
    /// The content before; null for the first.
    pub before: Option<DefinitionContent>,
    /// The content from then on.
    pub after: DefinitionContent,
    /// Why; null for the first.
    pub reason: Option<String>,
    /// The events that it rests on.
    pub evidence: Vec<String>,
    /// Who; null where the log does not say.
    pub revised_by: Option<String>,
    /// When.
    pub revised_at: DateTime<Utc>,
    /// The event.
    pub event_id: Uuid,
    /// The event's position.
    pub position: Position,
}

/// Which definitions are asked for; what is absent does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionFilter {
    /// Whose id, name, version or description contains this, in whatever case.
    #[serde(default)]
    pub text: Option<String>,
    /// True: with observations. False: without.
    #[serde(default)]
    pub observed: Option<bool>,
    /// True: with a session whose ports drifted. False: without.
    #[serde(default)]
    pub drift: Option<bool>,
    /// In this order.
    #[serde(default)]
    pub sort: DefinitionSort,
}

/// The order of a list of definitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DefinitionSort {
    /// The one created last comes first.
    #[default]
    Newest,
    /// By name, in whatever case.
    Name,
}

/// What the rows are called in an alarm.
const LIST: &str = "definitions";

/// Place in the list by age, and by name.
const BY_AGE: &str = "created_position";
const BY_NAME: &str = "by_name";

const SELECT: &str = "
    SELECT d.created_position, 'name:' || d.id || ':' || d.name AS by_name, d.id, d.name, d.version, d.revision,
           json_build_object('cpu_cores', d.cpu_cores, 'memory_gb', d.memory_gb, 'storage_gb', d.storage_gb)
               AS resource_requirements,
           d.port_template, d.description, d.node_count, d.topology,
           json_build_object('observation_count', coalesce(i.observation_count, 0),
                             'observed_sessions', coalesce(i.observed_sessions, 0),
                             'drift_sessions', coalesce(i.drift_sessions, 0),
                             'last_observed_at', i.last_observed_at,
                             'last_event_id', i.last_event_id) AS observations,
           z.sizing, {used},
           d.created_at, d.updated_at, d.position, '\"' || d.content_sequence || '\"' AS etag
      FROM read_definitions.definitions d
      LEFT JOIN read_definitions.indicators i ON i.definition_id = d.id
      LEFT JOIN read_advice.definition_sums z ON z.definition_id = d.id
     WHERE true";

/// What the sessions of a definition used, by the index of their demands: for the rows of a page only.
fn used() -> String {
    let of_each = Resource::ALL.map(|resource| {
        let name = resource.as_str();
        let known = format!("CASE WHEN t.{name} BETWEEN 0 AND 1e12 THEN t.{name} END");
        format!(
            "'{name}', json_build_object('max', max({known}),
                 'p95', percentile_disc(0.95) WITHIN GROUP (ORDER BY {known}), 'known_sessions', count({known}))"
        )
    });
    format!(
        "(SELECT json_build_object({}) FROM read_demands.sessions t WHERE t.definition_id = d.id) AS used",
        of_each.join(", ")
    )
}

fn select(cursor: &str) -> QueryBuilder<Postgres> {
    let parked = parked::column(AggregateKind::Definition, "r.id");
    QueryBuilder::new(page::select_with_parked("id", cursor, &parked) + &SELECT.replace("{used}", &used()))
}

/// What follows from the columns: the verdict on the whole, and that no change can rest on the version of a definition that
/// is parked.
fn complete(row: &mut DefinitionRow) {
    row.verdict = row.sizing.as_ref().map(verdict_of_definition).unwrap_or_default();
    if !row.parked.is_empty() {
        row.etag.clear();
    }
}

impl Projections {
    /// Definitions in the order that the filter names, newest first unless it says otherwise.
    ///
    /// # Errors
    /// The cursor is none of this list's in this order, or the database does not answer.
    pub async fn definitions(
        &self,
        filter: &DefinitionFilter,
        request: &PageRequest,
    ) -> Result<Page<DefinitionRow>, ReadError> {
        let mut query = select(match filter.sort {
            DefinitionSort::Newest => BY_AGE,
            DefinitionSort::Name => BY_NAME,
        });
        if let Some(text) = filter.text.as_deref().filter(|text| !text.is_empty()) {
            query.push(" AND d.search LIKE ").push_bind(page::like(text));
        }
        if let Some(observed) = filter.observed {
            query.push(" AND (i.definition_id IS NOT NULL) = ").push_bind(observed);
        }
        if let Some(drift) = filter.drift {
            query.push(" AND (coalesce(i.drift_sessions, 0) > 0) = ").push_bind(drift);
        }
        let order = match filter.sort {
            DefinitionSort::Newest => {
                if let Some(after) = request.position().map_err(ReadError::Invalid)? {
                    query.push(" AND d.created_position < ").push_bind(after);
                }
                "d.created_position DESC"
            }
            DefinitionSort::Name => {
                if let Some(cursor) = &request.cursor {
                    let after = match cursor.splitn(3, ':').collect::<Vec<_>>().as_slice() {
                        ["name", id, name] => page::id_in_cursor(id).and_then(|id| Ok((id, page::id_in_cursor(name)?))),
                        _ => Err(page::bad_cursor()),
                    };
                    let (id, name) = after.map_err(ReadError::Invalid)?;
                    query.push(" AND (lower(d.name), d.id) > (lower(").push_bind(name);
                    query.push("), ").push_bind(id).push(")");
                }
                "lower(d.name), d.id"
            }
        };
        query.push(" ORDER BY ").push(order).push(" LIMIT ").push_bind(request.fetch()).push(") r");
        let mut page: Page<DefinitionRow> = self.page_of(LIST, query, request).await?;
        page.items.iter_mut().for_each(complete);
        Ok(page)
    }

    /// One definition.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn definition(&self, id: &DefinitionId) -> Result<Option<DefinitionRow>, ReadError> {
        let mut query = select(BY_AGE);
        query.push(" AND d.id = ").push_bind(id.as_str().to_owned()).push(") r");
        let mut row: Option<DefinitionRow> = self.row_of(LIST, query).await?;
        row.iter_mut().for_each(complete);
        Ok(row)
    }

    /// The revisions of a definition, newest first. The cursor is a revision.
    ///
    /// # Errors
    /// The cursor is none of this list's, or the database does not answer.
    pub async fn definition_revisions(
        &self,
        id: &DefinitionId,
        request: &PageRequest,
    ) -> Result<Page<RevisionRow>, ReadError> {
        let before = match &request.cursor {
            None => i32::MAX,
            Some(cursor) => cursor.parse().map_err(|_| ReadError::Invalid(page::bad_cursor()))?,
        };
        let mut query = QueryBuilder::new(page::select("event_id", "revision"));
        query.push(
            "
                 SELECT revision, before, after, reason, evidence, revised_by, revised_at, event_id, position
                   FROM read_definitions.revisions WHERE definition_id = ",
        );
        query.push_bind(id.as_str().to_owned()).push(" AND revision < ").push_bind(before);
        query.push(" ORDER BY revision DESC LIMIT ").push_bind(request.fetch()).push(") r");
        self.page_of("revisions", query, request).await
    }
}

/// Follows the definitions, and the observations of their sessions.
pub(crate) static PROJECTOR: Projector = Projector {
    name: "definitions",
    schema: "read_definitions",
    revision: 4,
    follows: &[AggregateKind::Definition, AggregateKind::Session],
    keyed_by: Some((AggregateKind::Definition, "definitions")),
    weight: 10,
    rows: || Box::new(Rows::default()),
};

rows! {
    /// A definition, as it is stored.
    pub(crate) struct StoredDefinition in "definitions" by (id: String) {
        id: String,
        name: String,
        version: String,
        revision: i32,
        cpu_cores: i32,
        memory_gb: i32,
        storage_gb: i32,
        port_template: Jsonb,
        description: Option<String>,
        node_count: Option<i32>,
        created_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
        created_position: Position,
        position: Position,
        sequence: i64,
        /// Of the event by which it was created, revised or given a policy.
        content_sequence: i64,
        topology: Option<Jsonb>,
    }

    /// A revision, as it is stored.
    pub(crate) struct StoredRevision in "revisions" by (definition_id: String, revision: i32) {
        definition_id: String,
        revision: i32,
        before: Option<Jsonb>,
        after: Jsonb,
        reason: Option<String>,
        evidence: Jsonb,
        revised_by: Option<String>,
        revised_at: DateTime<Utc>,
        event_id: Uuid,
        position: Position,
    }

    /// What was observed of a definition.
    pub(crate) struct StoredIndicator in "indicators" by (definition_id: String) {
        definition_id: String,
        observation_count: i64,
        observed_sessions: i64,
        drift_sessions: i64,
        last_observed_at: DateTime<Utc>,
        last_event_id: Uuid,
        position: Position,
    }

    /// The verdict on a session's ports that its definition's indicator counts.
    pub(crate) struct StoredVerdict in "indicated_sessions" by (session_id: String) {
        session_id: String,
        port_drift_detected: Option<bool>,
        verdict_observed_at: Option<DateTime<Utc>>,
    }
}

#[derive(Debug, Default)]
struct Rows {
    definitions: Table<StoredDefinition>,
    revisions: Table<StoredRevision>,
    indicators: Table<StoredIndicator>,
    verdicts: Table<StoredVerdict>,
}

impl Fold for Rows {
    fn tables(&mut self) -> Vec<&mut dyn AnyTable> {
        vec![&mut self.definitions, &mut self.revisions, &mut self.indicators, &mut self.verdicts]
    }

    fn want(&mut self, event: &Event, recorded: &Recorded) {
        let id = recorded.log.aggregate_id.clone();
        match event {
            Event::Definition(event) => {
                if let Some(Ok(revision)) = revision_of(event).map(|revision| integer(revision, "revision")) {
                    self.revisions.want((id.clone(), revision));
                }
                self.definitions.want((id,));
            }
            Event::Session(event) => {
                if let LabletSessionEvent::ResourcesObserved { ids, .. }
                | LabletSessionEvent::AllocationCorrected { ids, .. } = event.as_ref()
                {
                    self.verdicts.want((id,));
                    self.indicators.want((ids.definition_id.to_string(),));
                }
            }
            Event::Worker(_) | Event::AdvicePolicy(_) | Event::Foreign => {}
        }
    }

    fn fold(&mut self, event: &Event, recorded: &Recorded) -> Result<Applied, Refused> {
        match event {
            Event::Definition(event) => self.fold_definition(event, recorded),
            Event::Session(event) => match event.as_ref() {
                LabletSessionEvent::ResourcesObserved { ids, .. } => self.count(recorded, &ids.definition_id),
                LabletSessionEvent::AllocationCorrected { ids, after, drift_details, corrected_at, .. } => {
                    let (session, definition) = (recorded.log.aggregate_id.clone(), ids.definition_id.to_string());
                    let Some(verdict) = self.verdicts.get(&(session.clone(),))?.cloned() else {
                        return Ok(Applied::Ignored);
                    };
                    let mut summary = verdict.summary();
                    let had_drifted = summary.drift_detected() == Some(true);
                    summary.correct(after, drift_details, *corrected_at);
                    let has_drifted = summary.drift_detected() == Some(true);
                    let indicator = self.indicators.change(&(definition,), "an allocation is corrected")?;
                    indicator.drift_sessions += i64::from(has_drifted) - i64::from(had_drifted);
                    indicator.position = recorded.position();
                    self.verdicts.put(StoredVerdict { port_drift_detected: summary.drift_detected(), ..verdict })?;
                    Ok(Applied::Changed)
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
                | LabletSessionEvent::PortDriftAcknowledgementWithdrawn { .. } => Ok(Applied::Ignored),
            },
            Event::Worker(_) | Event::AdvicePolicy(_) | Event::Foreign => Ok(Applied::Ignored),
        }
    }
}

/// The revision that an event makes, where it makes one.
fn revision_of(event: &LabletDefinitionEvent) -> Option<u32> {
    match event {
        LabletDefinitionEvent::Created { .. } => Some(1),
        LabletDefinitionEvent::Revised { revision, .. } => Some(*revision),
        LabletDefinitionEvent::PolicySet { .. }
        | LabletDefinitionEvent::ProposalOpened { .. }
        | LabletDefinitionEvent::ProposalClaimed { .. }
        | LabletDefinitionEvent::ProposalApplied { .. }
        | LabletDefinitionEvent::ProposalFailed { .. }
        | LabletDefinitionEvent::ProposalDismissed { .. }
        | LabletDefinitionEvent::ProposalSuperseded { .. }
        | LabletDefinitionEvent::ProposalVerified { .. } => None,
    }
}

impl Rows {
    fn fold_definition(&mut self, event: &LabletDefinitionEvent, recorded: &Recorded) -> Result<Applied, Refused> {
        let Some(revision) = revision_of(event) else { return self.go_on(event, recorded) };
        let revision = integer(revision, "revision")?;
        if self.revisions.get(&(recorded.log.aggregate_id.clone(), revision))?.is_some() {
            return Err(Refused::new(format!("there is a revision {revision} already")));
        }
        match event {
            LabletDefinitionEvent::Created { definition_id, name, version, content, node_count, created_at } => {
                let needs = &content.resource_requirements;
                let after = jsonb(content)?;
                let row = StoredDefinition {
                    id: definition_id.to_string(),
                    name: name.to_string(),
                    version: version.as_str().to_owned(),
                    revision,
                    cpu_cores: integer(needs.cpu_cores.get(), "cpu_cores")?,
                    memory_gb: integer(needs.memory_gb.get(), "memory_gb")?,
                    storage_gb: integer(needs.storage_gb.get(), "storage_gb")?,
                    port_template: jsonb(&content.port_template)?,
                    description: content.description.as_ref().map(ToString::to_string),
                    node_count: node_count.map(|count| integer(count, "node_count")).transpose()?,
                    created_at: *created_at,
                    updated_at: *created_at,
                    created_position: recorded.position(),
                    position: recorded.position(),
                    sequence: recorded.sequence(),
                    content_sequence: recorded.sequence(),
                    topology: content.topology.as_ref().map(jsonb).transpose()?,
                };
                self.definitions.insert(row, "a definition is created")?;
                let row = StoredRevision {
                    definition_id: definition_id.to_string(),
                    revision,
                    before: None,
                    after,
                    reason: None,
                    evidence: Jsonb::empty_array(),
                    revised_by: recorded.log.metadata.actor.clone(),
                    revised_at: *created_at,
                    event_id: recorded.event_id(),
                    position: recorded.position(),
                };
                self.revisions.insert(row, "a definition is created")?;
            }
            LabletDefinitionEvent::Revised {
                definition_id,
                revision: _,
                before,
                after,
                reason,
                evidence,
                proposal_id: _,
                revised_by,
                revised_at,
            } => {
                let topology = after.topology.as_ref().map(jsonb).transpose()?;
                let needs = &after.resource_requirements;
                let (cpu_cores, memory_gb) =
                    (integer(needs.cpu_cores.get(), "cpu_cores")?, integer(needs.memory_gb.get(), "memory_gb")?);
                let (storage_gb, port_template) =
                    (integer(needs.storage_gb.get(), "storage_gb")?, jsonb(&after.port_template)?);
                let stored = StoredRevision {
                    definition_id: definition_id.to_string(),
                    revision,
                    before: Some(jsonb(before)?),
                    after: jsonb(after)?,
                    reason: Some(reason.to_string()),
                    evidence: jsonb(evidence)?,
                    revised_by: Some(revised_by.to_string()),
                    revised_at: *revised_at,
                    event_id: recorded.event_id(),
                    position: recorded.position(),
                };
                let row = self.definitions.change(&(definition_id.to_string(),), "a definition is revised")?;
                row.revision = revision;
                row.cpu_cores = cpu_cores;
                row.memory_gb = memory_gb;
                row.storage_gb = storage_gb;
                row.port_template = port_template;
                row.description = after.description.as_ref().map(ToString::to_string);
                row.updated_at = *revised_at;
                row.position = recorded.position();
                row.sequence = recorded.sequence();
                row.content_sequence = recorded.sequence();
                row.topology = topology;
                self.revisions.insert(stored, "a definition is revised")?;
            }
            LabletDefinitionEvent::PolicySet { .. }
            | LabletDefinitionEvent::ProposalOpened { .. }
            | LabletDefinitionEvent::ProposalClaimed { .. }
            | LabletDefinitionEvent::ProposalApplied { .. }
            | LabletDefinitionEvent::ProposalFailed { .. }
            | LabletDefinitionEvent::ProposalDismissed { .. }
            | LabletDefinitionEvent::ProposalSuperseded { .. }
            | LabletDefinitionEvent::ProposalVerified { .. } => {}
        }
        Ok(Applied::Changed)
    }

    /// Notes an event that makes no revision. A policy outdates what a change rests on, a proposal does not.
    fn go_on(&mut self, event: &LabletDefinitionEvent, recorded: &Recorded) -> Result<Applied, Refused> {
        let key = (recorded.log.aggregate_id.clone(),);
        let row = self.definitions.change(&key, "something becomes of a definition")?;
        row.position = recorded.position();
        row.sequence = recorded.sequence();
        if matches!(event, LabletDefinitionEvent::PolicySet { .. }) {
            row.content_sequence = recorded.sequence();
        }
        Ok(Applied::Changed)
    }

    /// Counts an observation. It does not need the definition's own row, whose events may wait among the dead letters.
    fn count(&mut self, recorded: &Recorded, definition: &DefinitionId) -> Result<Applied, Refused> {
        let Some(contribution) = recorded.contribution() else {
            return Err(Refused::new("an observation contributes nothing"));
        };
        let session = (recorded.log.aggregate_id.clone(),);
        let definition = (definition.to_string(),);
        let known = self.verdicts.get(&session)?.cloned();
        let is_first = known.is_none();
        let mut of_session = known.map(|verdict| verdict.summary()).unwrap_or_default();
        let had_drifted = of_session.drift_detected() == Some(true);
        of_session.record(recorded.event_id(), &contribution);
        let has_drifted = of_session.drift_detected() == Some(true);
        let stored = self.indicators.get(&definition)?.cloned();
        let mut of_definition = stored.as_ref().map(StoredIndicator::summary).unwrap_or_default();
        of_definition.record(recorded.event_id(), &contribution);
        let Some(newest) = of_definition.newest else {
            return Err(Refused::new("an observation is recorded and there is no newest one"));
        };
        let (sessions, drifted) = stored.map_or((0, 0), |stored| (stored.observed_sessions, stored.drift_sessions));
        self.verdicts.put(StoredVerdict {
            session_id: session.0,
            port_drift_detected: of_session.drift_detected(),
            verdict_observed_at: of_session.drift.map(|drift| drift.made_at),
        })?;
        self.indicators.put(StoredIndicator {
            definition_id: definition.0,
            observation_count: of_definition.count.cast_signed(),
            observed_sessions: sessions + i64::from(is_first),
            drift_sessions: drifted + i64::from(has_drifted) - i64::from(had_drifted),
            last_observed_at: newest.made_at,
            last_event_id: newest.event,
            position: recorded.position(),
        })?;
        Ok(Applied::Changed)
    }
}

impl StoredVerdict {
    /// The verdict of the newest observation that could tell; nothing else of the session is kept here.
    fn summary(&self) -> ObservationSummary<Uuid> {
        let drift = self.port_drift_detected.zip(self.verdict_observed_at).map(|(detected, made_at)| LatestDrift {
            detected,
            event: Uuid::nil(),
            made_at,
            since: None,
            observed_ports: None,
            unallocated: None,
            details: PortDrift::default(),
            acknowledgement: None,
            is_recorded_last: false,
        });
        ObservationSummary { drift, ..ObservationSummary::default() }
    }
}

impl StoredIndicator {
    /// How many observations there are and which is the newest; nothing else is kept here.
    fn summary(&self) -> ObservationSummary<Uuid> {
        let newest = NewestObservation {
            event: self.last_event_id,
            made_at: self.last_observed_at,
            complete: None,
            evidence: Evidence::default(),
            contradictions: Vec::new(),
            no_evidence: None,
        };
        let count = self.observation_count.unsigned_abs();
        ObservationSummary { count, newest: Some(newest), ..ObservationSummary::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read_models::given::{event_id, given, recorded, sample};

    #[test]
    fn a_definition_is_created_and_revised_and_each_revision_stays() {
        let mut rows = Rows::default();
        let revised = recorded("ospf-basics", 2, &sample("lablet_definition.revised.v1"));
        assert!(given(&mut rows, &revised).is_err(), "there is none");
        assert!(rows.revisions.rows().is_empty(), "what is refused has changed nothing");
        given(&mut rows, &recorded("ospf-basics", 1, &sample("lablet_definition.created.v1"))).unwrap();
        given(&mut rows, &revised).unwrap();
        let row = rows.definitions.rows()[0];
        assert_eq!((row.revision, row.memory_gb, row.sequence), (2, 12, 2));
        assert_eq!(rows.revisions.rows().len(), 2);
        assert!(given(&mut rows, &revised).unwrap_err().to_string().contains("revision 2"));
    }

    #[test]
    fn sessions_count_by_their_newest_verdict_and_a_late_one_is_history() {
        let mut rows = Rows::default();
        let observed = |session: &str, sequence, at: &str, drift: Option<bool>| {
            let mut event = sample("lablet_session.resources_observed.v1");
            event["observed_at"] = at.into();
            event["port_drift_detected"] = drift.into();
            recorded(session, sequence, &event)
        };
        for event in [
            observed("s-1", 1, "2026-03-01T10:00:00Z", Some(true)),
            observed("s-2", 2, "2026-03-01T10:30:00Z", Some(true)),
            observed("s-1", 3, "2026-03-01T10:10:00Z", Some(false)),
            observed("s-1", 4, "2026-03-01T10:05:00Z", Some(true)),
            observed("s-2", 5, "2026-03-01T10:20:00Z", None),
        ] {
            given(&mut rows, &event).unwrap();
        }
        let row = rows.indicators.rows()[0];
        assert_eq!((row.observation_count, row.observed_sessions, row.drift_sessions), (5, 2, 1));
        assert_eq!(row.last_event_id, event_id(2));
    }
}
