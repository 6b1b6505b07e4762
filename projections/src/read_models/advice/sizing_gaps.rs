//! Which sizes are off, by what that costs: the gap of each resource of each definition, times the sessions that it has in a
//! week.
//!
//! The verdicts are those that the fold keeps of each definition ([`Sizing`]), so that a list costs a row a definition and
//! none a session; sessions of the last weeks are counted by the index over their ends.

use advice::savings::WEEKS;
use advice::sizing::{SizeVerdict, Sizing};
use chrono::{DateTime, TimeDelta, Utc};
use domain::lablet_definition::DefinitionVersion;
use domain::resource::Resource;
use domain::{DefinitionId, SessionId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use crate::page::{self, Listed};
use crate::{Projections, ReadError};

/// Most gaps of one answer.
pub const MOST_GAPS: u32 = 10_000;

/// One resource of a definition, sized against what its sessions used. Amounts are cores or MB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SizingGap {
    /// The definition.
    pub definition_id: DefinitionId,
    /// Its name.
    pub definition_name: String,
    /// The author's version.
    pub version: DefinitionVersion,
    /// Counted from 1, raised by each revision.
    pub revision: u32,
    /// The resource.
    pub resource: Resource,
    /// Whether its size is too small, fits or is too large, and by how much.
    pub sizing: Sizing,
    /// Its sessions that ended in the last four weeks.
    pub sessions_in_4_weeks: u64,
    /// The same, a week.
    pub sessions_a_week: f64,
    /// The difference, whichever way, times the sessions of a week: core·sessions or MB·sessions. Null: unknown.
    pub weekly_gap: Option<f64>,
    /// That as a share of what all definitions state of this resource for their sessions of a week, so that resources can be
    /// compared: 0 to 1, and more where much is lacking. Null: unknown, or no session ended.
    pub share: Option<f64>,
    /// The largest use of all its sessions that ended; null: unknown.
    pub largest_use: Option<LargestUse>,
}

/// The largest use of a resource by a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LargestUse {
    /// Cores or MB.
    pub value: f64,
    /// The session.
    pub session_id: SessionId,
    /// The event of the observation that says so.
    pub event_id: Uuid,
}

/// All gaps of one resource with one verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SizingTotal {
    /// The verdict.
    pub verdict: SizeVerdict,
    /// The resource.
    pub resource: Resource,
    /// Definitions of which it is said.
    pub definitions: u64,
    /// Their gaps times the sessions of a week: core·sessions or MB·sessions. Null: unknown.
    pub weekly_gap: Option<f64>,
    /// That as a share of what all definitions state for their sessions of a week. Null: unknown, or no session ended.
    pub share: Option<f64>,
}

/// Which gaps are asked for, in which order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SizingGapFilter {
    /// With this verdict; `None`: those that are too small or too large.
    pub verdict: Option<SizeVerdict>,
    /// Of this resource.
    pub resource: Option<Resource>,
    /// Of definitions whose id, name, version or description contains this, in whatever case.
    pub text: Option<String>,
    /// In this order.
    pub sort: SizingGapSort,
}

/// The order of gaps. What is too small comes first in each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SizingGapSort {
    /// The one whose gap in a week is the largest share of what is configured for all sessions comes first.
    #[default]
    Cost,
    /// CPU, memory, storage; within each the costliest first.
    Resource,
    /// The one with most sessions comes first.
    Sessions,
    /// By the definition's name, in whatever case.
    Name,
}

/// What the rows are called in an alarm.
const LIST: &str = "sizing gaps";
const TOTALS: &str = "sizing totals";

/// Each resource of each definition with the sessions of the last weeks, up to which `$1` is bound. The fleet's own total is
/// that of what is configured for all these sessions.
fn push_weighed(query: &mut QueryBuilder<Postgres>, now: DateTime<Utc>) {
    query
        .push(
            "WITH counted AS (
                 SELECT definition_id, count(*) AS sessions FROM read_advice.sessions WHERE ended_at >= ",
        )
        .push_bind(now - TimeDelta::weeks(i64::from(WEEKS)))
        .push(format!(
            " GROUP BY definition_id),
             sized AS (
                 SELECT s.definition_id, d.name AS definition_name, d.version, d.revision, d.search, r.resource, r.sizing,
                        coalesce(c.sessions, 0) AS sessions_in_4_weeks, coalesce(c.sessions, 0) / {WEEKS}.0::double precision
                            AS sessions_a_week,
                        CASE jsonb_typeof(r.sizing -> 'difference')
                            WHEN 'number' THEN (r.sizing ->> 'difference')::double precision END AS difference,
                        CASE jsonb_typeof(r.sizing -> 'configured')
                            WHEN 'number' THEN (r.sizing ->> 'configured')::double precision END AS configured
                   FROM read_advice.definition_sums s
                   JOIN read_definitions.definitions d ON d.id = s.definition_id
                   LEFT JOIN counted c ON c.definition_id = s.definition_id
                  CROSS JOIN LATERAL jsonb_each(CASE jsonb_typeof(s.sizing) WHEN 'object' THEN s.sizing ELSE '{{}}' END)
                        r (resource, sizing)),
             weighed AS (
                 SELECT z.*, abs(difference) * sessions_a_week AS weekly_gap,
                        abs(difference) * sessions_a_week
                            / nullif(sum(configured * sessions_a_week) OVER (PARTITION BY resource), 0) AS share
                   FROM sized z)"
        ));
}

/// The largest use of each resource, by the index over it.
fn largest_use() -> String {
    let of = |resource: Resource| {
        let resource = resource.as_str();
        format!(
            "(SELECT x.session_id, x.demands -> '{resource}' -> 'demand' AS peak FROM read_advice.sessions x
               WHERE g.resource = '{resource}' AND x.definition_id = g.definition_id AND x.ended_position IS NOT NULL
                 AND x.{resource} IS NOT NULL AND NOT x.excluded
               ORDER BY x.{resource} DESC, x.ended_position LIMIT 1)"
        )
    };
    Resource::ALL.map(of).join(" UNION ALL ")
}

impl Projections {
    /// Sizes that are off, as the filter asks. What is unknown has no gap, and comes last.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn sizing_gaps(
        &self,
        filter: &SizingGapFilter,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Listed<SizingGap>, ReadError> {
        let mut query = QueryBuilder::new(page::select("definition_id", "definition_id"));
        push_weighed(&mut query, now);
        query.push(
            " SELECT g.definition_id, g.definition_name, g.version, g.revision, g.resource, g.sizing,
                     g.sessions_in_4_weeks, g.sessions_a_week, g.weekly_gap, g.share,
                     CASE WHEN u.peak IS NOT NULL THEN json_build_object('value', u.peak -> 'value',
                         'session_id', u.session_id, 'event_id', u.peak -> 'event_id') END AS largest_use
                FROM (SELECT w.*, row_number() OVER (ORDER BY ",
        );
        query.push("CASE w.sizing ->> 'verdict' WHEN 'too_small' THEN 0 WHEN 'too_large' THEN 1 WHEN 'fits' THEN 2 ELSE 3 END, ");
        let by_cost = "w.share DESC NULLS LAST, abs(w.difference) / nullif(w.configured, 0) DESC NULLS LAST, \
                       w.definition_id, w.resource";
        query.push(match filter.sort {
            SizingGapSort::Cost => by_cost.to_owned(),
            SizingGapSort::Resource => format!("w.resource, {by_cost}"),
            SizingGapSort::Sessions => format!("w.sessions_in_4_weeks DESC, {by_cost}"),
            SizingGapSort::Name => "lower(w.definition_name), w.definition_id, w.resource".to_owned(),
        });
        query.push(") AS place FROM weighed w WHERE w.sizing ->> 'verdict' = ANY (");
        let wanted = filter.verdict.map_or_else(|| vec![SizeVerdict::TooSmall, SizeVerdict::TooLarge], |one| vec![one]);
        query.push_bind(wanted.into_iter().map(|verdict| verdict.as_str().to_owned()).collect::<Vec<_>>()).push(")");
        if let Some(resource) = filter.resource {
            query.push(" AND w.resource = ").push_bind(resource.as_str());
        }
        if let Some(text) = filter.text.as_deref().filter(|text| !text.is_empty()) {
            query.push(" AND w.search LIKE ").push_bind(page::like(text));
        }
        query.push(" ORDER BY place LIMIT ").push_bind(i64::from(limit.clamp(1, MOST_GAPS)));
        query.push(format!(") g LEFT JOIN LATERAL ({}) u ON true ORDER BY g.place) r", largest_use()));
        self.list_of(LIST, query).await
    }

    /// How many definitions there are by verdict and resource, and what their gaps are together.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn sizing_totals(&self, now: DateTime<Utc>) -> Result<Listed<SizingTotal>, ReadError> {
        let mut query = QueryBuilder::new(page::select("resource", "resource"));
        push_weighed(&mut query, now);
        query.push(
            " SELECT sizing ->> 'verdict' AS verdict, resource, count(*) AS definitions, sum(weekly_gap) AS weekly_gap,
                     sum(share) AS share
                FROM weighed GROUP BY 1, 2 ORDER BY 2, 1) r",
        );
        self.list_of(TOTALS, query).await
    }
}
