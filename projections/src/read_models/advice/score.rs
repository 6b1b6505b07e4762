//! Whether advice held, over all sessions: what was promised beside what was achieved.

use std::collections::BTreeMap;

use advice::advice_score::{AdviceScore, ScoreSums};
use advice::scores::Bucket;
use app::log::Position;
use chrono::{DateTime, Utc};
use domain::demand::{ByResource, Demand};
use domain::lablet_definition::Finding;
use domain::resource::Resource;
use domain::{DefinitionId, SessionId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::SessionAdvice;
use super::recommendation::all;
use crate::page::{self, Page, PageRequest};
use crate::{Projections, ReadError};

/// Sessions of a definition that are looked at one by one: the newest that ended.
const NEWEST: i64 = 1_000;
/// Definitions that are listed: those with most sessions.
const MOST_DEFINITIONS: i64 = 1_000;
/// Misses that are listed: the newest.
const MOST_MISSES: i64 = 100;

/// Which scores are asked for; what is absent does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdviceScoreFilter {
    /// Of this definition: of its newest 1,000 sessions.
    #[serde(default)]
    pub definition_id: Option<DefinitionId>,
    /// Of this resource.
    #[serde(default)]
    pub resource: Option<Resource>,
}

/// How advice did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AdviceScoreReport {
    /// The position up to which everything is known that it rests on.
    pub as_of: Position,
    /// Over all sessions, each resource that was asked for.
    pub totals: Vec<ResourceScore>,
    /// By the number of sessions that were known of the definition.
    pub by_sessions: Vec<SessionsScore>,
    /// By the month in which the session ended, oldest first.
    pub by_month: Vec<MonthScore>,
    /// By definition, those with most sessions first, at most 1,000.
    pub by_definition: Vec<DefinitionScore>,
    /// The newest sessions that needed more than was advised, at most 100.
    pub misses: Vec<AdviceMiss>,
}

/// How advice of one resource did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceScore {
    /// The resource.
    pub resource: Resource,
    /// How it did.
    #[serde(flatten)]
    pub score: AdviceScore,
}

/// How advice did where so many sessions of the definition were known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionsScore {
    /// How many were known.
    pub sessions_before: Bucket,
    /// The resource, and how it did.
    #[serde(flatten)]
    pub score: ResourceScore,
}

/// How advice did in one month.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MonthScore {
    /// As 2026-03, in UTC.
    pub month: String,
    /// The resource, and how it did.
    #[serde(flatten)]
    pub score: ResourceScore,
}

/// How advice for one definition did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionScore {
    /// The definition.
    pub definition_id: DefinitionId,
    /// Sessions of it that ended.
    pub sessions: u64,
    /// Each resource that was asked for.
    pub scores: Vec<ResourceScore>,
}

/// A session that needed more of a resource than was advised before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AdviceMiss {
    /// The session.
    pub session_id: SessionId,
    /// Its definition.
    pub definition_id: DefinitionId,
    /// The resource.
    pub resource: Resource,
    /// What was advised, and what it needed.
    #[serde(flatten)]
    pub advice: SessionAdvice,
    /// The event of the observation that says what it needed.
    pub event_id: Option<Uuid>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
}

/// What was last recommended of a definition, as of its last own session, its last revision or its last own policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionRecommendationRow {
    /// The definition.
    pub definition_id: DefinitionId,
    /// What is found of it; null: it is not known here, only sessions of it.
    pub finding: Option<Finding>,
    /// The whole cores or GB that it would state; null: nothing is known.
    pub requirement: ByResource<Option<u32>>,
    /// What keeps the promise: cores or MB; null: nothing is known.
    pub value: ByResource<Option<f64>>,
    /// Sessions of it that ended.
    pub sessions: u64,
    /// Position of the event that it is as of.
    pub position: Position,
}

/// What the rows are called in an alarm.
const SCORES: &str = "advice scores";

/// Scores of one month, number of sessions and resource.
#[derive(Deserialize)]
struct Part {
    month: String,
    bucket: usize,
    resource: Resource,
    sums: ScoreSums,
}

#[derive(Deserialize)]
struct OfDefinition {
    definition_id: DefinitionId,
    ended: u64,
    scores: ByResource<ScoreSums>,
}

#[derive(Deserialize)]
struct Scored {
    session_id: SessionId,
    definition_id: DefinitionId,
    ended_at: DateTime<Utc>,
    advice: ByResource<Option<SessionAdvice>>,
    demands: ByResource<Demand<Uuid>>,
}

/// A session's advice, as rows of a table `s`.
const SCORED: &str = "
    SELECT s.session_id, s.definition_id, s.ended_at, s.ended_position, s.advice, s.demands
      FROM read_advice.sessions s WHERE NOT s.excluded AND s.advice IS NOT NULL";

/// Sums of which each kind of question is a sum.
#[derive(Default)]
struct Gathered(BTreeMap<(String, usize, Resource), ScoreSums>);

impl Gathered {
    fn add(&mut self, month: String, bucket: usize, resource: Resource, sums: ScoreSums) {
        let held = self.0.entry((month, bucket, resource)).or_default();
        *held = held.plus(sums);
    }

    fn by<K: Ord + Clone>(&self, key: impl Fn(&str, usize) -> K) -> Vec<(K, ResourceScore)> {
        let mut sums: BTreeMap<(K, Resource), ScoreSums> = BTreeMap::new();
        for ((month, bucket, resource), part) in &self.0 {
            let held = sums.entry((key(month, *bucket), *resource)).or_default();
            *held = held.plus(*part);
        }
        let scored = sums.into_iter();
        scored.map(|((key, resource), sums)| (key, ResourceScore { resource, score: sums.score() })).collect()
    }
}

impl Projections {
    /// How advice did.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn advice_score(&self, filter: &AdviceScoreFilter) -> Result<AdviceScoreReport, ReadError> {
        let (mut snapshot, as_of) = self.advice_snapshot().await?;
        let asked = |resource: &Resource| filter.resource.is_none_or(|wanted| wanted == *resource);
        let gathered = match &filter.definition_id {
            Some(id) => self.scores_of_definition(&mut snapshot, id).await?,
            None => self.scores_of_all(&mut snapshot).await?,
        };
        let gathered = Gathered(gathered.0.into_iter().filter(|((_, _, resource), _)| asked(resource)).collect());
        let by_definition = self.scores_by_definition(&mut snapshot, filter).await?;
        let misses = self.misses(&mut snapshot, filter).await?;
        snapshot.rollback().await?;
        let by_sessions = gathered.by(|_, bucket| bucket).into_iter().filter_map(|(bucket, score)| {
            Bucket::ALL.get(bucket).map(|bucket| SessionsScore { sessions_before: *bucket, score })
        });
        let by_month = gathered.by(|month, _| month.to_owned()).into_iter();
        Ok(AdviceScoreReport {
            as_of,
            totals: gathered.by(|_, _| ()).into_iter().map(|((), score)| score).collect(),
            by_sessions: by_sessions.collect(),
            by_month: by_month.map(|(month, score)| MonthScore { month, score }).collect(),
            by_definition,
            misses,
        })
    }

    async fn scores_of_all(&self, connection: &mut PgConnection) -> Result<Gathered, ReadError> {
        let mut query = QueryBuilder::new(page::select("month", "bucket"));
        query.push("SELECT month, bucket, resource, sums FROM read_advice.months ORDER BY month, bucket, resource) r");
        let parts: Vec<Part> = all(self.rows_over(connection, SCORES, query).await?)?;
        let mut gathered = Gathered::default();
        for Part { month, bucket, resource, sums } in parts {
            gathered.add(month, bucket, resource, sums);
        }
        Ok(gathered)
    }

    async fn scores_of_definition(
        &self,
        connection: &mut PgConnection,
        id: &DefinitionId,
    ) -> Result<Gathered, ReadError> {
        let mut query = QueryBuilder::new(page::select("session_id", "ended_position") + SCORED);
        query.push(" AND s.ended_position IS NOT NULL AND s.definition_id = ").push_bind(id.to_string());
        query.push(" ORDER BY s.ended_position DESC LIMIT ").push_bind(NEWEST).push(") r");
        let sessions: Vec<Scored> = all(self.rows_over(connection, SCORES, query).await?)?;
        let mut gathered = Gathered::default();
        for session in sessions {
            for resource in Resource::ALL {
                let Some(advice) = resource.part(&session.advice) else { continue };
                let mut sums = ScoreSums::default();
                sums.add(resource, &advice.scored);
                let bucket = Bucket::from_sessions(advice.sessions_before).index();
                gathered.add(super::fold::month(session.ended_at), bucket, resource, sums);
            }
        }
        Ok(gathered)
    }

    async fn scores_by_definition(
        &self,
        connection: &mut PgConnection,
        filter: &AdviceScoreFilter,
    ) -> Result<Vec<DefinitionScore>, ReadError> {
        let mut query = QueryBuilder::new(page::select("definition_id", "ended"));
        query.push("SELECT definition_id, ended, scores FROM read_advice.definition_sums WHERE ended > 0");
        if let Some(id) = &filter.definition_id {
            query.push(" AND definition_id = ").push_bind(id.to_string());
        }
        query.push(" ORDER BY ended DESC, definition_id LIMIT ").push_bind(MOST_DEFINITIONS).push(") r");
        let definitions: Vec<OfDefinition> = all(self.rows_over(connection, SCORES, query).await?)?;
        let score = |definition: OfDefinition| {
            let asked = Resource::ALL.iter().filter(|one| filter.resource.is_none_or(|wanted| wanted == **one));
            let scores = asked.map(|resource| ResourceScore {
                resource: *resource,
                score: resource.part(&definition.scores).score(),
            });
            let scores = scores.collect();
            DefinitionScore { definition_id: definition.definition_id, sessions: definition.ended, scores }
        };
        Ok(definitions.into_iter().map(score).collect())
    }

    async fn misses(
        &self,
        connection: &mut PgConnection,
        filter: &AdviceScoreFilter,
    ) -> Result<Vec<AdviceMiss>, ReadError> {
        let mut query = QueryBuilder::new(page::select("session_id", "ended_position") + SCORED + " AND s.missed");
        if let Some(id) = &filter.definition_id {
            query.push(" AND s.definition_id = ").push_bind(id.to_string());
        }
        if let Some(resource) = filter.resource {
            query.push(format!(" AND (s.advice -> '{}' ->> 'held')::boolean = false", resource.as_str()));
        }
        query.push(" ORDER BY s.ended_position DESC LIMIT ").push_bind(MOST_MISSES).push(") r");
        let sessions: Vec<Scored> = all(self.rows_over(connection, SCORES, query).await?)?;
        let mut misses = Vec::new();
        for session in &sessions {
            for resource in Resource::ALL.into_iter().filter(|one| filter.resource.is_none_or(|wanted| wanted == *one))
            {
                let advice = *resource.part(&session.advice);
                misses.extend(advice.filter(|advice| advice.held == Some(false)).map(|advice| AdviceMiss {
                    session_id: session.session_id.clone(),
                    definition_id: session.definition_id.clone(),
                    resource,
                    advice,
                    event_id: resource.part(&session.demands).over(advice.phases()).map(|peak| peak.event_id),
                    ended_at: session.ended_at,
                }));
            }
        }
        misses.truncate(usize::try_from(MOST_MISSES).unwrap_or_default());
        Ok(misses)
    }

    /// What was last recommended of each definition, by its id.
    ///
    /// # Errors
    /// The cursor is none of this list's, or the database does not answer.
    pub async fn definition_recommendations(
        &self,
        request: &PageRequest,
    ) -> Result<Page<DefinitionRecommendationRow>, ReadError> {
        let mut query = QueryBuilder::new(page::select("definition_id", "definition_id"));
        query.push(
            "SELECT definition_id, finding, requirement, value, ended AS sessions, position
               FROM read_advice.definition_sums WHERE true",
        );
        if let Some(after) = &request.cursor {
            let after = page::id_in_cursor(after).map_err(ReadError::Invalid)?;
            query.push(" AND definition_id > ").push_bind(after);
        }
        query.push(" ORDER BY definition_id LIMIT ").push_bind(request.fetch()).push(") r");
        self.page_of(SCORES, query, request).await
    }
}
