//! `GET /api/dead-letters`.

use aide::transform::TransformOperation;
use app::dead_letters::{DeadLetter as DeadMessage, DeadLetterKind, Status};
use app::log::Position;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use projections::dead_letters::ParkedEvent;
pub(crate) use projections::discarded_letters::LetterKind;
use projections::{PageRequest, ReadModel, UnreadableRow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::letter_id::LetterId;
use crate::caller::{Caller, Operating};
use crate::dead_letters::DeadLetterStores;
use crate::paging;
use crate::problem::Problem;
use crate::query::Query;

/// Which dead letters.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LetterQuery {
    /// Commands, events of webhooks, or events of read models; all unless stated.
    kind: Option<LetterKind>,
    /// Most of each place (commands, webhooks, and each read model), 1 to 200; 50 unless stated.
    #[schemars(range(min = 1, max = crate::paging::GREATEST_LIMIT))]
    limit: Option<u32>,
}

/// What got stuck, and why.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Letter {
    /// Its id: `command:<id>`, `webhook:<id>` or `<read model>:<event id>`.
    pub(crate) id: String,
    /// What it is.
    pub(crate) kind: LetterKind,
    /// The command's subject, the webhook's target, or the read model.
    pub(crate) source: String,
    /// Why it could not be handled. Null: it only waits behind an earlier one.
    pub(crate) reason: Option<String>,
    /// E.g. `lablet_session`, where it is known.
    pub(crate) aggregate_type: Option<String>,
    /// The aggregate's id, where it is known.
    pub(crate) aggregate_id: Option<String>,
    /// The event, where it is one.
    pub(crate) event_id: Option<String>,
    /// The event's position, where it is one.
    pub(crate) position: Option<Position>,
    /// How often it was tried.
    pub(crate) attempts: i64,
    /// Since when it lies here.
    pub(crate) since: DateTime<Utc>,
}

/// What waits for somebody's decision.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Letters {
    /// Commands newest first, then events of webhooks newest first, then events of read models in the order of the log, one of each parked aggregate.
    pub(crate) items: Vec<Letter>,
    /// Whether there are more than are shown; settle some, and they come.
    pub(crate) more: bool,
    /// Dead letters that are there and cannot be read; left out where all can.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unreadable: Vec<UnreadableRow>,
}

impl From<DeadMessage> for Letter {
    fn from(letter: DeadMessage) -> Self {
        let (id, kind) = match letter.kind {
            DeadLetterKind::Webhook => (LetterId::Webhook(letter.id), LetterKind::Webhook),
            // Those of read models lie elsewhere.
            DeadLetterKind::Command | DeadLetterKind::Projection => (LetterId::Command(letter.id), LetterKind::Command),
        };
        Self {
            id: id.to_string(),
            kind,
            source: letter.source,
            reason: Some(letter.reason),
            aggregate_type: letter.aggregate_type,
            aggregate_id: letter.aggregate_id,
            event_id: letter.event_id.map(|event| event.to_string()),
            position: letter.position.and_then(|position| position.parse().ok()),
            attempts: letter.attempts,
            since: letter.first_seen_at,
        }
    }
}

impl From<ParkedEvent> for Letter {
    fn from(letter: ParkedEvent) -> Self {
        Self {
            id: LetterId::Event(letter.read_model, letter.event_id).to_string(),
            kind: LetterKind::Event,
            source: letter.read_model.name().to_owned(),
            reason: letter.reason,
            aggregate_type: Some(letter.aggregate_type),
            aggregate_id: Some(letter.aggregate_id),
            event_id: Some(letter.event_id.to_string()),
            position: Some(letter.position),
            attempts: i64::from(letter.attempts),
            since: letter.parked_at,
        }
    }
}

pub(crate) async fn list(
    State(stores): State<DeadLetterStores>,
    _: Caller<Operating>,
    Query(query): Query<LetterQuery>,
) -> Result<Json<Letters>, Problem> {
    let limit = paging::limit(query.limit)?;
    Ok(Json(waiting(&stores, query.kind, limit).await?))
}

/// What waits, of one kind or of all, at most `limit` of each place.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn waiting(
    stores: &DeadLetterStores,
    kind: Option<LetterKind>,
    limit: u32,
) -> Result<Letters, Problem> {
    let mut letters = Letters { items: Vec::new(), more: false, unreadable: Vec::new() };
    let is_wanted = |wanted| kind.is_none_or(|kind| kind == wanted);
    for (wanted, stored) in
        [(LetterKind::Command, DeadLetterKind::Command), (LetterKind::Webhook, DeadLetterKind::Webhook)]
    {
        if is_wanted(wanted) {
            let found = stores.messages.list(Some(stored), Some(Status::Waiting), i64::from(limit) + 1).await?;
            letters.more |= found.len() > limit as usize;
            letters.items.extend(found.into_iter().take(limit as usize).map(Letter::from));
        }
    }
    if is_wanted(LetterKind::Event) {
        for model in ReadModel::ALL {
            let page = stores.queries.dead_letters(model, true, &PageRequest::first(limit)).await?;
            letters.more |= page.next.is_some();
            letters.unreadable.extend(page.unreadable);
            letters.items.extend(page.items.into_iter().map(Letter::from));
        }
    }
    Ok(letters)
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("list_dead_letters").tag("operations").summary("What got stuck")
}
