//! `GET /api/discarded-letters`: which commands and deliveries were done without, by whom, when and why.

use aide::transform::TransformOperation;
use app::dead_letters::Status;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::list::Letter;
use crate::caller::{Caller, Operating};
use crate::dead_letters::DeadLetterStores;
use crate::paging;
use crate::problem::Problem;
use crate::query::Query;

/// How many.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiscardedQuery {
    /// Most rows, the newest, 1 to 200; 50 unless stated.
    #[schemars(range(min = 1, max = crate::paging::GREATEST_LIMIT))]
    limit: Option<u32>,
}

/// A letter that was done without.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct DiscardedLetter {
    /// The letter.
    #[serde(flatten)]
    pub(crate) letter: Letter,
    /// Who discarded it, e.g. `admin:ada`.
    pub(crate) discarded_by: Option<String>,
    /// When.
    pub(crate) discarded_at: Option<DateTime<Utc>>,
    /// Why.
    pub(crate) discarded_because: Option<String>,
}

/// What was done without.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct DiscardedLetters {
    /// Commands and events of webhooks, those that arrived last first. They are kept for a while after they were settled.
    pub(crate) items: Vec<DiscardedLetter>,
}

/// The newest of them.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn discarded(stores: &DeadLetterStores, limit: u32) -> Result<Vec<DiscardedLetter>, Problem> {
    let found = stores.messages.list(None, Some(Status::Discarded), i64::from(limit)).await?;
    Ok(found
        .into_iter()
        .map(|letter| DiscardedLetter {
            discarded_by: letter.settled_by.clone(),
            discarded_at: letter.settled_at,
            discarded_because: letter.settled_reason.clone(),
            letter: letter.into(),
        })
        .collect())
}

pub(crate) async fn list(
    State(stores): State<DeadLetterStores>,
    _: Caller<Operating>,
    Query(query): Query<DiscardedQuery>,
) -> Result<Json<DiscardedLetters>, Problem> {
    let limit = paging::limit(query.limit)?;
    Ok(Json(DiscardedLetters { items: discarded(&stores, limit).await? }))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_discarded_letters")
        .tag("operations")
        .summary("Commands and deliveries that were done without: by whom, when and why")
}
