//! `GET /api/activity`: who changed what and when, the newest first.

pub(crate) mod words;

use std::collections::{BTreeMap, BTreeSet};

use aide::transform::TransformOperation;
use app::log::{ChangeFilter, Position};
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::time::BoundedTime;
use domain::{Invalid, SessionId};
use projections::projector::AggregateKind;
use projections::read_models::session_history::EventRow;
use projections::{Page, PageRequest, ReadError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::words::ChangeWords;
use crate::caller::{Caller, Viewing};
use crate::pages::parts::session_title;
use crate::paging::{ListPage, Paging, check_text};
use crate::position::parse;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;
use crate::recent::Recent;

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChangedKind {
    /// A session.
    Session,
    /// A definition, its advice policy or a proposal for it.
    Definition,
    /// A worker.
    Worker,
    /// The default advice policy.
    Policy,
}

impl ChangedKind {
    /// All of them, with their words.
    pub(crate) const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Definition, "definition", "Definitions"),
        (Self::Session, "session", "Sessions"),
        (Self::Worker, "worker", "Workers"),
        (Self::Policy, "policy", "Default policy"),
    ];

    fn aggregate_type(self) -> &'static str {
        match self {
            Self::Session => "lablet_session",
            Self::Definition => "lablet_definition",
            Self::Worker => "worker",
            Self::Policy => "advice_policy",
        }
    }
}

/// Which changes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActivityQuery {
    /// By whom, e.g. `admin:ada` or `service:booking`.
    #[schemars(length(max = crate::paging::LONGEST_TEXT))]
    pub(crate) actor: Option<String>,
    /// Of what.
    pub(crate) kind: Option<ChangedKind>,
    /// Of the one with this id.
    #[schemars(length(max = crate::paging::LONGEST_TEXT))]
    pub(crate) id: Option<String>,
    /// So far back: `hour`, `day` (24 hours), `week` (7 days) or `month` (30 days). Not beside `from`.
    pub(crate) last: Option<Recent>,
    /// Recorded at this time or later.
    pub(crate) from: Option<BoundedTime>,
    /// Recorded before this time.
    pub(crate) before: Option<BoundedTime>,
    /// Most rows of the page, 1 to 200; 50 unless stated.
    #[schemars(range(min = 1, max = crate::paging::GREATEST_LIMIT))]
    pub(crate) limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[schemars(length(min = 1), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    pub(crate) cursor: Option<String>,
}

impl ActivityQuery {
    /// What it means at a time.
    ///
    /// # Errors
    /// [`Invalid`] naming the parameter.
    pub(crate) fn filter(&self, now: DateTime<Utc>) -> Result<ChangeFilter, Invalid> {
        Ok(ChangeFilter {
            actor: check_text("actor", self.actor.clone())?,
            aggregate_type: self.kind.map(|kind| kind.aggregate_type().to_owned()),
            aggregate_id: check_text("id", self.id.clone())?,
            from: Recent::begin(self.last, self.from, now)?,
            before: self.before.map(BoundedTime::at),
        })
    }
}

/// A change: who, what, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ActivityRow {
    /// The event that recorded it.
    pub(crate) event_id: Uuid,
    /// Its type, e.g. `lablet_definition.revised.v1`.
    #[serde(rename = "type")]
    pub(crate) event_type: String,
    /// When the log took it.
    pub(crate) recorded_at: DateTime<Utc>,
    /// Who, e.g. `admin:ada`; null: the log does not say.
    pub(crate) actor: Option<String>,
    /// What is changed, e.g. `lablet_definition`.
    pub(crate) aggregate_type: String,
    /// Its id.
    pub(crate) aggregate_id: String,
    /// By what it is known: its name, or of a session its definition and start; null: no read model shows it.
    pub(crate) name: Option<String>,
    /// What happened, e.g. `admin:ada changed memory of OSPF basics from 16 GB to 8 GB`.
    pub(crate) words: String,
    /// Why; null: nobody said.
    pub(crate) reason: Option<String>,
}

/// A change with its words around the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// As the API gives it.
    pub(crate) row: ActivityRow,
    /// Before the name.
    pub(crate) before: String,
    /// After it.
    pub(crate) after: String,
}

impl Change {
    fn new(event: &EventRow, name: Option<String>) -> Self {
        // An event of a later version is shown by its type.
        let words = ChangeWords::from_event(event);
        let ChangeWords { before, after, reason } = words.unwrap_or_else(|| ChangeWords {
            before: format!("{} of", event.short_type()),
            after: String::new(),
            reason: None,
        });
        let actor = event.metadata.actor.clone();
        let called = match AggregateKind::from_type(&event.aggregate_type) {
            Some(AggregateKind::AdvicePolicy) => "the default advice policy",
            _ => name.as_deref().unwrap_or(&event.aggregate_id),
        };
        let gap = if after.is_empty() || after.starts_with(':') { "" } else { " " };
        let who = actor.as_deref().unwrap_or("Somebody");
        Self {
            row: ActivityRow {
                event_id: event.event_id,
                event_type: event.short_type().to_owned(),
                recorded_at: event.recorded_at,
                words: format!("{who} {before} {called}{gap}{after}"),
                actor,
                aggregate_type: event.aggregate_type.clone(),
                aggregate_id: event.aggregate_id.clone(),
                name: name.clone(),
                reason,
            },
            before,
            after: format!("{gap}{after}"),
        }
    }
}

/// A page of changes.
///
/// # Errors
/// The cursor is none of this list's, or the database does not answer.
pub(crate) async fn changes(
    queries: &Queries,
    filter: &ChangeFilter,
    request: &PageRequest,
) -> Result<Page<Change>, ReadError> {
    let before: Option<Position> = match &request.cursor {
        Some(cursor) => Some(parse("cursor", cursor).map_err(ReadError::Invalid)?),
        None => None,
    };
    let found = queries.log().changes(filter, before, i64::from(request.limit)).await.map_err(ReadError::Log)?;
    let next = found.more.then(|| found.events.last().map(|event| event.position.to_string())).flatten();
    let events: Vec<EventRow> = found.events.into_iter().map(EventRow::from).collect();
    let names = names(queries, &events).await?;
    let items = events
        .iter()
        .map(|event| {
            let key = (event.aggregate_type.clone(), event.aggregate_id.clone());
            Change::new(event, names.get(&key).cloned())
        })
        .collect();
    Ok(Page { items, next, unreadable: Vec::new() })
}

/// By what the changed things are known, in one statement a kind.
async fn names(queries: &Queries, events: &[EventRow]) -> Result<BTreeMap<(String, String), String>, ReadError> {
    let of = |kind: AggregateKind| -> BTreeSet<&str> {
        let of_kind = events.iter().filter(|event| AggregateKind::from_type(&event.aggregate_type) == Some(kind));
        of_kind.map(|event| event.aggregate_id.as_str()).collect()
    };
    let sessions: BTreeSet<SessionId> =
        of(AggregateKind::Session).into_iter().filter_map(|id| SessionId::parse(id).ok()).collect();
    let titles = queries.session_titles(sessions.clone()).await?;
    let mut names = BTreeMap::new();
    for id in sessions.iter().filter(|id| titles.get(id).is_some()) {
        names.insert(("lablet_session".to_owned(), id.to_string()), session_title(&titles, id));
    }
    for named in queries.names_of_definitions(of(AggregateKind::Definition)).await? {
        names.insert(("lablet_definition".to_owned(), named.id), named.name);
    }
    for named in queries.names_of_workers(of(AggregateKind::Worker)).await? {
        names.insert(("worker".to_owned(), named.id), named.name);
    }
    Ok(names)
}

pub(crate) async fn list(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    Query(query): Query<ActivityQuery>,
) -> Result<Json<ListPage<ActivityRow>>, Problem> {
    let filter = query.filter(queries.log().clock().now())?;
    let request = Paging { limit: query.limit, cursor: query.cursor }.request()?;
    let Page { items, next, unreadable } = changes(&queries, &filter, &request).await?;
    let items = items.into_iter().map(|change| change.row).collect();
    Ok(Json(Page { items, next, unreadable }.into()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("list_activity").tag("events").summary("Who changed what and when, the newest first").description(
        "The events by which people and services change definitions, workers, policies, proposals, evidence, acknowledged \
         drift and allocations; what sessions live through is at `/api/events`. Read from the log, so it is never behind.",
    )
}
