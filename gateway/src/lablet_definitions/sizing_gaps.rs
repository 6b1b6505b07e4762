//! `GET /api/sizing-gaps`: which sizes are too small or too large, by what that costs.

use advice::sizing::SizeVerdict;
use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use bus::clock::Clock;
use domain::resource::Resource;
use projections::ReadModel;
use projections::read_models::advice::sizing_gaps::{SizingGap, SizingGapFilter, SizingGapSort, SizingTotal};
use projections::read_models::advice::sizing_ranking::SizingRanking;
use projections::{Listed, UnreadableRow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::answer_cache::AnswerCache;
use crate::caller::{Caller, Viewing};
use crate::paging::{self, check_text};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// Which gaps.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SizingGapQuery {
    /// With this verdict; those that are too small or too large unless stated.
    verdict: Option<SizeVerdict>,
    /// Of this resource.
    resource: Option<Resource>,
    /// Of definitions whose id, name, version or description contains this, in whatever case.
    #[schemars(length(max = crate::paging::LONGEST_TEXT))]
    text: Option<String>,
    /// In this order, what is too small first; by cost unless stated.
    sort: Option<SizingGapSort>,
    /// Most gaps, 1 to 200; 50 unless stated.
    #[schemars(range(min = 1, max = crate::paging::GREATEST_LIMIT))]
    limit: Option<u32>,
}

/// Sizes that are off, and what all of them are together.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct SizingGaps {
    /// The gaps, what is too small first.
    items: Vec<SizingGap>,
    /// Over all definitions, whatever the filter: by resource and verdict.
    totals: Vec<SizingTotal>,
    /// Definitions whose rows cannot be read; left out where all can.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<UnreadableRow>,
}

pub(crate) async fn list(
    State(queries): State<Queries>,
    (State(cache), State(clock)): (State<AnswerCache<SizingRanking>>, State<Clock>),
    _: Caller<Viewing>,
    since: Since,
    Query(query): Query<SizingGapQuery>,
) -> Result<Json<SizingGaps>, Problem> {
    let limit = paging::limit(query.limit)?;
    let filter = SizingGapFilter {
        verdict: query.verdict,
        resource: query.resource,
        text: check_text("text", query.text)?,
        sort: query.sort.unwrap_or_default(),
    };
    let reached = since.reached(&queries, &[ReadModel::Definitions, ReadModel::Advice]).await?;
    let ranking = cache.get(reached.0, queries.sizing_ranking(clock.now())).await?;
    let Listed { items, unreadable } = queries.sizing_gaps(&ranking, &filter, limit).await?;
    let unreadable = ranking.unreadable().iter().cloned().chain(unreadable).collect();
    Ok(Json(SizingGaps { items, totals: ranking.totals().to_vec(), unreadable }))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_sizing_gaps")
        .tag("definitions")
        .summary("Which sizes are too small or too large, by what that costs")
        .description(
            "What sessions used decides, never what they were given: the size that keeps the promise where enough sessions \
             ended, else the largest use of a session of this topology. A gap counts as often as the definition ran: times \
             the sessions that ended in the last four weeks, a week.",
        )
}
