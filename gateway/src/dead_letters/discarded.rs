//! `GET /api/discarded-letters`: what was done without, by whom, when and why.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::Invalid;
use domain::time::BoundedTime;
use projections::discarded_letters::{DiscardedFilter, DiscardedLetter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::list::LetterKind;
use crate::caller::{Caller, Operating};
use crate::paging::{ListPage, Paging, check_text};
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;
use crate::recent::Recent;

/// Which of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiscardedQuery {
    /// Commands, events of webhooks, or events of read models; all unless stated.
    pub(crate) kind: Option<LetterKind>,
    /// Of this subject, target or read model.
    #[schemars(length(max = crate::paging::LONGEST_TEXT))]
    pub(crate) source: Option<String>,
    /// By whom, e.g. `admin:ada`; `lablet` for those about which nobody decided in their time.
    #[schemars(length(max = crate::paging::LONGEST_TEXT))]
    pub(crate) discarded_by: Option<String>,
    /// Discarded so far back: `hour`, `day` (24 hours), `week` (7 days) or `month` (30 days). Not beside `from`.
    pub(crate) last: Option<Recent>,
    /// Discarded at this time or later.
    pub(crate) from: Option<BoundedTime>,
    /// Discarded before this time.
    pub(crate) before: Option<BoundedTime>,
    /// Most rows of the page, 1 to 200; 50 unless stated.
    #[schemars(range(min = 1, max = crate::paging::GREATEST_LIMIT))]
    pub(crate) limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[schemars(length(min = 1), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    pub(crate) cursor: Option<String>,
}

impl DiscardedQuery {
    /// What it means at a time.
    ///
    /// # Errors
    /// [`Invalid`] naming the parameter.
    pub(crate) fn filter(&self, now: DateTime<Utc>) -> Result<DiscardedFilter, Invalid> {
        Ok(DiscardedFilter {
            kind: self.kind,
            source: check_text("source", self.source.clone())?,
            discarded_by: check_text("discarded_by", self.discarded_by.clone())?,
            from: Recent::begin(self.last, self.from, now)?,
            before: self.before.map(BoundedTime::at),
        })
    }
}

pub(crate) async fn list(
    State(queries): State<Queries>,
    _: Caller<Operating>,
    Query(query): Query<DiscardedQuery>,
) -> Result<Json<ListPage<DiscardedLetter>>, Problem> {
    let filter = query.filter(queries.log().clock().now())?;
    let request = Paging { limit: query.limit, cursor: query.cursor }.request()?;
    Ok(Json(queries.discarded_letters(&filter, &request).await?.into()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_discarded_letters")
        .tag("operations")
        .summary("What was done without: by whom, when and why, the last decision first")
        .description(
            "Commands and events of webhooks are kept for a while after they were discarded; events of read models for good, \
             as a rebuild goes by them.",
        )
}
