//! How large a definition must be, or a lab of a topology, and how that came about.

use std::collections::BTreeSet;

use advice::fleet::Fleet;
use advice::left_out::{LeftOut, LeftOutCode};
use advice::mixture::{Conditions, mixtures};
use advice::recommendation::{
    AskedTopology, DemandSummary, Explanation, Recommendation, ResourceFacts, TopologySource, finding_of_definition,
};
use advice::sizing::Sizing;
use advice::topology::Topology;
use app::log::Position;
use chrono::{DateTime, Utc};
use domain::advice_policy::{Policy, Promise};
use domain::demand::{ByResource, Demand, DemandSource};
use domain::evidence::Contradiction;
use domain::lab_topology::LabTopology;
use domain::lablet_definition::{Finding, ResourceRequirements};
use domain::phases::{ByPhases, Phases};
use domain::resource::Resource;
use domain::{DefinitionId, EventId, Invalid, SessionId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use sqlx::{Postgres, QueryBuilder, Transaction};
use uuid::Uuid;

use super::SCHEMA;
use super::answer::{Question, asked_topology};
use super::rows::{Rows, names};
use super::session::DEMAND_COLUMNS;
use crate::checkpoint::Checkpoint;
use crate::page::{self, ListRow, UnreadableRow};
use crate::refused::Refused;
use crate::{Projections, ReadError};

/// Sessions of a definition that are looked at one by one: the newest that ended.
const NEWEST: i64 = 500;
/// The greatest, and the newest, demands that are named as evidence of a number: so many of each.
const NAMED: usize = 10;
/// Most sessions that are counted as running.
const MOST_RUNNING: i64 = 1_000;

/// A reading that set a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceReading {
    /// The session.
    pub session_id: SessionId,
    /// What it needed: cores or MB.
    pub demand: f64,
    /// By samples or by a snapshot.
    pub source: DemandSource,
    /// The event of the observation that says so.
    pub event_id: Uuid,
    /// When that was made.
    pub observed_at: DateTime<Utc>,
}

/// How a recommendation came about, each resource with its steps and the readings behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecommendationExplanation {
    /// The definition.
    pub definition_id: DefinitionId,
    /// Its revision.
    pub revision: u32,
    /// The position up to which everything is known that it rests on.
    pub as_of: Position,
    /// The share of future sessions to cover.
    pub promise: Promise,
    /// The policy.
    pub policy: Policy,
    /// What is found of the whole definition.
    pub finding: Option<Finding>,
    /// Whether what is configured is too small, fits or is too large.
    #[serde(default)]
    pub sizing: Option<ByResource<Sizing>>,
    /// The topology that it is for.
    pub topology: AskedTopology,
    /// Each resource.
    pub resources: ByResource<ExplainedResource>,
}

/// How the number of one resource came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedResource {
    /// The estimate, and how a definition would state it.
    #[serde(flatten)]
    pub steps: Explanation,
    /// The greatest readings and the newest, at most 20.
    pub readings: Vec<EvidenceReading>,
}

/// A session that ended, as far as an answer looks at it.
#[derive(Debug, Clone, Deserialize)]
struct EndedSession {
    session_id: SessionId,
    definition_revision: u32,
    worker_id: Option<String>,
    cml_version: Option<String>,
    worker_short: Option<bool>,
    observation_count: u64,
    no_evidence: Option<String>,
    contradictions: Vec<Contradiction>,
    topology_key: Option<String>,
    demands: ByResource<Demand<Uuid>>,
    excluded: bool,
}

/// What a session needed of one resource.
#[derive(Deserialize)]
struct Measured {
    session_id: SessionId,
    demand: Demand<Uuid>,
}

/// What was stated of a definition at a position.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct StatedFacts {
    revision: u32,
    pub(super) requirements: ResourceRequirements,
    stated: Option<LabTopology>,
    policy: Option<Policy>,
    default_policy: Option<Policy>,
    learnt: Option<Topology>,
}

/// Everything that an answer about a definition rests on, at a position.
pub(super) struct Basis {
    id: DefinitionId,
    as_of: Position,
    /// Over which it is asked what sessions needed.
    phases: Phases,
    fleet: Fleet,
    stated: StatedFacts,
    sessions: Vec<EndedSession>,
    running: u64,
    /// The greatest demands.
    greatest: ByResource<Vec<EvidenceReading>>,
}

/// What the rows are called in an alarm.
const SESSIONS: &str = "session evidence";
const DEFINITIONS: &str = "definition evidence";
const SUMS: &str = "sums of evidence";
const CHECKPOINT: &str = "checkpoint";

/// Whether a session is excluded at the position `$2`.
const EXCLUDED: &str = "coalesce((SELECT x.excluded FROM read_advice.exclusions x
    WHERE x.session_id = s.session_id AND x.position <= $2 ORDER BY x.position DESC LIMIT 1), false)";

impl Projections {
    /// How large a definition must be, as everything up to a position says; up to the newest one where none is named.
    /// `None`: there was no such definition.
    ///
    /// # Errors
    /// The position is beyond what the read model knows, too many sessions lie before it, or the database does not answer.
    pub async fn recommendation(
        &self,
        id: &DefinitionId,
        promise: Option<Promise>,
        as_of: Option<Position>,
    ) -> Result<Option<Recommendation>, ReadError> {
        Ok(self.advice_basis(id, as_of).await?.map(|basis| basis.recommendation(promise)))
    }

    /// How a recommendation came about.
    ///
    /// # Errors
    /// As of [`Projections::recommendation`].
    pub async fn explanation(
        &self,
        id: &DefinitionId,
        promise: Option<Promise>,
        as_of: Option<Position>,
    ) -> Result<Option<RecommendationExplanation>, ReadError> {
        Ok(self.advice_basis(id, as_of).await?.map(|basis| basis.explanation(promise)))
    }

    /// How large a lab of a topology must be, of whose definition nothing is known.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn topology_recommendation(
        &self,
        topology: &LabTopology,
        promise: Option<Promise>,
    ) -> Result<Recommendation, ReadError> {
        let (mut snapshot, as_of) = self.advice_snapshot().await?;
        let also: BTreeSet<String> = names(&Topology::from(topology)).cloned().collect();
        let mut rows = Rows::default();
        rows.want_default_policy();
        load(&mut rows, &mut snapshot).await?;
        let default_policy = rows.default_policy().map_err(|refused| self.unreadable_sums(None, &refused))?;
        let policy = with_promise(default_policy, promise);
        rows.want_fleet(policy.phases());
        rows.want_pools(None, also.iter());
        load(&mut rows, &mut snapshot).await?;
        snapshot.rollback().await?;
        let fleet = rows.fleet(policy.phases(), None, &also).map_err(|refused| self.unreadable_sums(None, &refused))?;
        let topology = asked_topology(&fleet, None, Some(topology), None);
        let question = Question { id: None, topology, requirements: None };
        let explanations = question.explanations(&fleet, &policy);
        let resources = question.recommendations(&explanations, &policy, |_| ResourceFacts::default());
        Ok(Recommendation {
            definition_id: None,
            revision: None,
            as_of: as_of.to_string(),
            promise: policy.promise.share(),
            policy,
            finding: None,
            resources,
            sizing: None,
            topology: AskedTopology::new(TopologySource::Question, &question.topology.resolved),
            mixed: Vec::new(),
            left_out: Vec::new(),
        })
    }

    /// The policy by which a definition is advised now. `None`: there is no such definition.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn policy_in_force(&self, id: &DefinitionId) -> Result<Option<Policy>, ReadError> {
        let (mut snapshot, as_of) = self.advice_snapshot().await?;
        let stated = self.stated_facts(&mut snapshot, id, as_of).await?;
        snapshot.rollback().await?;
        Ok(stated.map(|stated| stated.policy()))
    }

    /// How each of these policies would size a definition now, in their order. `None`: there is no such definition.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn explanations_under(
        &self,
        id: &DefinitionId,
        policies: &[Policy],
    ) -> Result<Option<Vec<ByResource<Explanation>>>, ReadError> {
        let (mut snapshot, as_of) = self.advice_snapshot().await?;
        let Some(stated) = self.stated_facts(&mut snapshot, id, as_of).await? else { return Ok(None) };
        let mut explained = Vec::with_capacity(policies.len());
        let mut fleets: ByPhases<Option<Fleet>> = ByPhases::default();
        for policy in policies {
            let held = policy.phases().part_mut(&mut fleets);
            let fleet = match held.take() {
                Some(fleet) => fleet,
                None => self.current_fleet(&mut snapshot, id, policy.phases()).await?,
            };
            explained.push(stated.question(&fleet, id).explanations(&fleet, policy));
            *held = Some(fleet);
        }
        snapshot.rollback().await?;
        Ok(Some(explained))
    }

    /// A transaction in which everything is read as of one moment, and the position up to which everything is known in it.
    pub(super) async fn advice_snapshot(&self) -> Result<(Transaction<'static, Postgres>, Position), ReadError> {
        let mut transaction = app::log::begin(&self.reads).await?;
        sqlx::raw_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut *transaction).await?;
        let checkpoint = Checkpoint::read(&mut *transaction, SCHEMA).await.map_err(|error| match error {
            sqlx::Error::ColumnDecode { .. } => {
                self.unreadable_row(CHECKPOINT, UnreadableRow { id: SCHEMA.to_owned(), reason: error.to_string() })
            }
            error => ReadError::Database(error),
        })?;
        Ok((transaction, checkpoint.position))
    }

    /// The fleet as far as a definition needs it, as it is now.
    async fn current_fleet(
        &self,
        connection: &mut PgConnection,
        id: &DefinitionId,
        phases: Phases,
    ) -> Result<Fleet, ReadError> {
        let mut rows = Rows::default();
        rows.want_fleet(phases);
        rows.want_definition(id);
        load(&mut rows, connection).await?;
        rows.want_named(id);
        load(&mut rows, connection).await?;
        let refused = |refused: Refused| self.unreadable_sums(Some(id), &refused);
        let definition = rows.definitions.get(&(id.to_string(),)).map_err(refused)?;
        let also = definition.and_then(super::rows::asked).iter().flat_map(names).cloned().collect();
        rows.fleet(phases, Some(id), &also).map_err(refused)
    }

    /// A row of sums that cannot be read, of those that were loaded for a definition or for the whole fleet.
    fn unreadable_sums(&self, id: Option<&DefinitionId>, refused: &Refused) -> ReadError {
        let id = id.map_or_else(|| "fleet".to_owned(), ToString::to_string);
        self.unreadable_row(SUMS, UnreadableRow { id, reason: refused.to_string() })
    }

    fn unreadable_row(&self, list: &'static str, row: UnreadableRow) -> ReadError {
        self.unreadable.report(list, &row);
        ReadError::Unreadable { list, row }
    }

    async fn advice_basis(&self, id: &DefinitionId, as_of: Option<Position>) -> Result<Option<Basis>, ReadError> {
        // Whoever asks about an earlier position waits for a turn, no longer than a request may take.
        let _turn = match as_of {
            Some(_) => self.replays.acquire().await.ok(),
            None => None,
        };
        let (mut snapshot, head) = self.advice_snapshot().await?;
        let as_of = as_of.unwrap_or(head);
        if as_of > head {
            let expected = format!("a position up to {head}, where advice is now");
            return Err(ReadError::Invalid(Invalid::new("as_of", format!("is {as_of}"), expected)));
        }
        let Some(stated) = self.stated_facts(&mut snapshot, id, as_of).await? else { return Ok(None) };
        let phases = stated.policy().phases();
        let fleet = if as_of == head {
            self.current_fleet(&mut snapshot, id, phases).await?
        } else {
            self.fleet_at(&mut snapshot, as_of, phases).await?
        };
        let sessions = self.ended_sessions(&mut snapshot, id, as_of).await?;
        let running = running_sessions(&mut snapshot, id, as_of).await?;
        let mut greatest = ByResource::default();
        for resource in Resource::ALL {
            *resource.part_mut(&mut greatest) = self.greatest(&mut snapshot, id, as_of, resource, phases).await?;
        }
        snapshot.rollback().await?;
        Ok(Some(Basis { id: id.clone(), as_of, phases, fleet, stated, sessions, running, greatest }))
    }

    /// What was stated of a definition at a position. `None`: there was none.
    pub(super) async fn stated_facts(
        &self,
        connection: &mut PgConnection,
        id: &DefinitionId,
        as_of: Position,
    ) -> Result<Option<StatedFacts>, ReadError> {
        let mut query = QueryBuilder::new(page::select("definition_id", "position"));
        query.push(
            "SELECT f.definition_id, f.position, f.revision, f.requirements, f.stated, f.policy, p.policy AS default_policy,
                    l.topology AS learnt
               FROM read_advice.definition_facts f
               LEFT JOIN LATERAL (SELECT policy FROM read_advice.default_policies p
                                   WHERE p.position <= $2 ORDER BY p.position DESC LIMIT 1) p ON true
               LEFT JOIN LATERAL (SELECT topology FROM read_advice.learnt_topologies l
                                   WHERE l.definition_id = f.definition_id AND l.position <= $2
                                   ORDER BY l.position DESC LIMIT 1) l ON true
              WHERE f.definition_id = ",
        );
        query.push_bind(id.to_string()).push(" AND f.position <= ").push_bind(as_of.to_string());
        query.push(" ORDER BY f.position DESC LIMIT 1) r");
        self.row_over(connection, DEFINITIONS, query).await
    }

    /// The newest sessions that had ended at a position, newest first.
    async fn ended_sessions(
        &self,
        connection: &mut PgConnection,
        id: &DefinitionId,
        as_of: Position,
    ) -> Result<Vec<EndedSession>, ReadError> {
        let mut query = QueryBuilder::new(page::select("session_id", "ended_position"));
        query.push(format!(
            "SELECT s.session_id, s.definition_revision, s.worker_id, s.cml_version, s.worker_short, s.observation_count,
                    s.no_evidence, s.contradictions, s.topology_key, s.demands, s.ended_position, {EXCLUDED} AS excluded
               FROM read_advice.sessions s WHERE s.definition_id = "
        ));
        query.push_bind(id.to_string()).push(" AND s.ended_position <= ").push_bind(as_of.to_string());
        query.push(" ORDER BY s.ended_position DESC LIMIT ").push_bind(NEWEST).push(") r");
        all(self.rows_over(connection, SESSIONS, query).await?)
    }

    /// The readings with the greatest demands, greatest first.
    async fn greatest(
        &self,
        connection: &mut PgConnection,
        id: &DefinitionId,
        as_of: Position,
        resource: Resource,
        phases: Phases,
    ) -> Result<Vec<EvidenceReading>, ReadError> {
        let column = resource.part(phases.part(&DEMAND_COLUMNS));
        let mut query = QueryBuilder::new(page::select("session_id", "ended_position"));
        query.push(format!(
            "SELECT s.session_id, s.ended_position, s.demands -> '{}' AS demand FROM read_advice.sessions s
              WHERE s.{column} IS NOT NULL AND NOT {EXCLUDED} AND s.definition_id = ",
            resource.as_str()
        ));
        query.push_bind(id.to_string()).push(" AND s.ended_position <= ").push_bind(as_of.to_string());
        query.push(format!(" ORDER BY s.{column} DESC, s.ended_position LIMIT {NAMED}) r"));
        let sessions: Vec<Measured> = all(self.rows_over(connection, SESSIONS, query).await?)?;
        let reading = |session: Measured| EvidenceReading::new(&session.session_id, &session.demand, phases);
        Ok(sessions.into_iter().filter_map(reading).collect())
    }
}

/// Rows that can all be read, or the first that cannot.
pub(super) fn all<T>(rows: Vec<ListRow<T>>) -> Result<Vec<T>, ReadError> {
    let value = |row: ListRow<T>| row.value.map_err(|row| ReadError::Unreadable { list: SESSIONS, row });
    rows.into_iter().map(value).collect()
}

async fn load(rows: &mut Rows, connection: &mut PgConnection) -> Result<(), ReadError> {
    for table in rows.all_tables() {
        table.load(connection, SCHEMA).await?;
    }
    Ok(())
}

async fn running_sessions(connection: &mut PgConnection, id: &DefinitionId, as_of: Position) -> Result<u64, ReadError> {
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (
            (SELECT 1 FROM read_advice.sessions
              WHERE definition_id = $1 AND ended_position IS NULL AND running_position <= $2 LIMIT $3)
            UNION ALL
            (SELECT 1 FROM read_advice.sessions
              WHERE definition_id = $1 AND ended_position > $2 AND running_position <= $2 LIMIT $3)) r",
    )
    .bind(id.as_str())
    .bind(as_of.to_string())
    .bind(MOST_RUNNING)
    .fetch_one(connection)
    .await?;
    Ok(count.unsigned_abs())
}

/// A policy with another promise.
fn with_promise(policy: Policy, promise: Option<Promise>) -> Policy {
    Policy { promise: promise.unwrap_or(policy.promise), ..policy }
}

impl EvidenceReading {
    /// The reading that says what a session needed over these phases; `None`: that is unknown.
    fn new(session_id: &SessionId, demand: &Demand<Uuid>, phases: Phases) -> Option<Self> {
        let peak = demand.over(phases)?;
        Some(Self {
            session_id: session_id.clone(),
            demand: peak.value,
            source: peak.source,
            event_id: peak.event_id,
            observed_at: peak.observed_at,
        })
    }
}

impl EndedSession {
    fn conditions(&self, phases: Phases) -> Conditions {
        let sources = [self.demands.cpu_cores, self.demands.memory_mb, self.demands.storage_mb];
        Conditions {
            topology: self.topology_key.clone(),
            revision: Some(self.definition_revision),
            cml_version: self.cml_version.clone(),
            worker: self.worker_id.clone(),
            worker_short: self.worker_short,
            source: sources.iter().filter_map(|demand| demand.steady.map(|peak| peak.source)).min(),
            boot_seen: phases.include_boot().then(|| self.boot_was_seen()),
        }
    }

    fn reading(&self, resource: Resource, phases: Phases) -> Option<EvidenceReading> {
        EvidenceReading::new(&self.session_id, resource.part(&self.demands), phases)
    }

    // Whether a demand is known does not depend on the boot.
    fn knows_any(&self) -> bool {
        Resource::ALL.iter().any(|resource| resource.part(&self.demands).steady.is_some())
    }

    fn knows_all(&self) -> bool {
        Resource::ALL.iter().all(|resource| resource.part(&self.demands).steady.is_some())
    }

    /// Whether the boot is known of each resource of which the demand is.
    fn boot_was_seen(&self) -> bool {
        Resource::ALL.iter().all(|resource| {
            let demand = resource.part(&self.demands);
            demand.steady.is_none() || demand.boot.is_some()
        })
    }

    fn booted_higher(&self) -> bool {
        Resource::ALL.iter().any(|resource| {
            let demand = resource.part(&self.demands);
            demand.boot.zip(demand.steady).is_some_and(|(boot, steady)| boot.value > steady.value)
        })
    }
}

impl StatedFacts {
    pub(super) fn policy(&self) -> Policy {
        self.policy.or(self.default_policy).unwrap_or_default()
    }

    fn question<'a>(&'a self, fleet: &Fleet, id: &'a DefinitionId) -> Question<'a> {
        let topology = asked_topology(fleet, Some(id), self.stated.as_ref(), self.learnt.as_ref());
        Question { id: Some(id), topology, requirements: Some(&self.requirements) }
    }
}

impl Basis {
    fn policy(&self, promise: Option<Promise>) -> Policy {
        with_promise(self.stated.policy(), promise)
    }

    fn counted(&self) -> impl Iterator<Item = &EndedSession> {
        self.sessions.iter().filter(|session| !session.excluded)
    }

    /// The greatest readings and the newest.
    fn readings(&self, resource: Resource) -> Vec<EvidenceReading> {
        let mut readings = resource.part(&self.greatest).clone();
        let newest = self.counted().filter_map(|session| session.reading(resource, self.phases)).take(NAMED);
        for reading in newest {
            if readings.iter().all(|known| known.session_id != reading.session_id) {
                readings.push(reading);
            }
        }
        readings
    }

    /// What is known of its sessions.
    fn facts(&self, resource: Resource) -> ResourceFacts {
        let mut known: Vec<f64> = self
            .counted()
            .filter_map(|session| resource.part(&session.demands).over(self.phases))
            .map(|peak| peak.value)
            .collect();
        let latest = known.first().copied();
        let unknown = self.counted().count() - known.len();
        known.sort_by(f64::total_cmp);
        let demand = DemandSummary {
            max: resource.part(&self.greatest).first().map(|reading| reading.demand),
            median: known.get(known.len() / 2).copied(),
            latest,
        };
        let evidence = self.readings(resource).into_iter();
        ResourceFacts {
            demand,
            unknown_sessions: unknown as u64,
            evidence: evidence.filter_map(|reading| EventId::parse(reading.event_id.to_string()).ok()).collect(),
            ..ResourceFacts::default()
        }
    }

    fn left_out(&self) -> Vec<LeftOut> {
        let count = |is_left_out: fn(&EndedSession) -> bool| {
            self.counted().filter(|session| is_left_out(session)).count() as u64
        };
        let excluded = self.sessions.iter().filter(|session| session.excluded).count() as u64;
        [
            (LeftOutCode::StillRunning, self.running),
            (LeftOutCode::NeverObserved, count(|session| session.observation_count == 0)),
            (LeftOutCode::NoEvidence, count(|session| session.no_evidence.is_some())),
            (LeftOutCode::Contradiction, count(|session| !session.contradictions.is_empty())),
            (LeftOutCode::UnknownDemand, count(|session| session.observation_count > 0 && !session.knows_all())),
            (LeftOutCode::Excluded, excluded),
            (LeftOutCode::Boot, if self.phases.include_boot() { 0 } else { count(EndedSession::booted_higher) }),
        ]
        .into_iter()
        .filter_map(|(code, sessions)| LeftOut::new(code, sessions))
        .collect()
    }

    fn recommendation(&self, promise: Option<Promise>) -> Recommendation {
        let policy = self.policy(promise);
        let question = self.stated.question(&self.fleet, &self.id);
        let explanations = question.explanations(&self.fleet, &policy);
        let resources = question.recommendations(&explanations, &policy, |resource| self.facts(resource));
        let conditions: Vec<Conditions> = self
            .counted()
            .filter(|session| session.knows_any())
            .map(|session| session.conditions(self.phases))
            .collect();
        Recommendation {
            definition_id: Some(self.id.clone()),
            revision: Some(self.stated.revision),
            as_of: self.as_of.to_string(),
            promise: policy.promise.share(),
            policy,
            finding: finding_of_definition(&resources),
            sizing: question.sizing(&self.fleet, &policy, &resources),
            resources,
            topology: AskedTopology::new(question.topology.source, &question.topology.resolved),
            mixed: mixtures(conditions.iter()),
            left_out: self.left_out(),
        }
    }

    fn explanation(&self, promise: Option<Promise>) -> RecommendationExplanation {
        let policy = self.policy(promise);
        let question = self.stated.question(&self.fleet, &self.id);
        let explanations = question.explanations(&self.fleet, &policy);
        let resources = question.recommendations(&explanations, &policy, |resource| self.facts(resource));
        RecommendationExplanation {
            definition_id: self.id.clone(),
            revision: self.stated.revision,
            as_of: self.as_of,
            promise: policy.promise,
            policy,
            finding: finding_of_definition(&resources),
            sizing: question.sizing(&self.fleet, &policy, &resources),
            topology: AskedTopology::new(question.topology.source, &question.topology.resolved),
            resources: Resource::each(|resource| ExplainedResource {
                steps: resource.part(&explanations).clone(),
                readings: self.readings(resource),
            }),
        }
    }
}
