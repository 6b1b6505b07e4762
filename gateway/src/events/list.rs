//! `GET /api/events`: notices in the order of the log, as a batch of CloudEvents. Consumers of the bus fill holes from it.

use std::time::Duration;

use aide::transform::TransformOperation;
use app::log::Position;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::Invalid;
use http::HeaderValue;
use http::header::{CONTENT_TYPE, LINK};
use projections::ReadError;
use schemars::{JsonSchema, json_schema};
use serde::Deserialize;

use crate::caller::{Caller, Viewing};
use crate::paging::limit;
use crate::position::parse;
use crate::problem::{Problem, ProblemKind};
use crate::queries::Queries;
use crate::query::Query;
use crate::stream::Streams;

/// Media type of a batch of CloudEvents.
const BATCH: &str = "application/cloudevents-batch+json";

/// How long a caller waits whose position an open transaction hides from readers.
const COME_BACK: Duration = Duration::from_secs(1);

/// Which notices.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsQuery {
    /// Those after this position; from the first one on unless stated.
    #[schemars(with = "Option<Position>")]
    after: Option<String>,
    /// Those before this position; up to the newest one unless stated.
    #[schemars(with = "Option<Position>")]
    before: Option<String>,
    /// Most notices, 1 to 200; 50 unless stated.
    #[schemars(range(min = 1, max = crate::paging::GREATEST_LIMIT))]
    limit: Option<u32>,
}

pub(crate) async fn list(
    State(streams): State<Streams>,
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    Query(query): Query<EventsQuery>,
) -> Result<Response, Problem> {
    let most = limit(query.limit)?;
    let (after, after_issued) =
        issued(&queries, "after", query.after.as_deref()).await?.unwrap_or((Position::START, Position::START));
    let before = issued(&queries, "before", query.before.as_deref()).await?;
    let before_issued = before.map(|(_, issued)| issued);
    let before = before.map(|(before, _)| before);
    if before.is_some_and(|before| before < after) {
        return Err(Invalid::new("before", "is before after", "a later position, or the same").into());
    }
    let head = streams.head().await?;
    if let Some(hidden) = [Some(after_issued), before_issued].into_iter().flatten().find(|position| *position > head) {
        let detail = format!("The log shows what is up to {head}; {hidden} is written, and will be shown soon.");
        return Err(Problem::new(ProblemKind::ReadModelBehind, detail).retry_after(COME_BACK));
    }
    let page = streams.page(after, i64::from(most)).await.map_err(|error| Problem::from(ReadError::Log(error)))?;
    let last_read = page.last().map(|entry| entry.position);
    let wanted: Vec<_> =
        page.into_iter().take_while(|entry| before.is_none_or(|before| entry.position < before)).collect();
    let last = wanted.last().map(|entry| entry.position);
    let next = last.filter(|last| last_read == Some(*last) && *last < head).map(|last| next_page(last, before, most));
    let batch = format!("[{}]", wanted.iter().map(|entry| entry.json.as_str()).collect::<Vec<_>>().join(","));
    let mut response = ([(CONTENT_TYPE, HeaderValue::from_static(BATCH))], batch).into_response();
    if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next).ok()) {
        response.headers_mut().insert(LINK, next);
    }
    Ok(response)
}

/// A position that the log has come to, and the one that has to be visible for it: another where it was lost when a backup
/// was restored.
async fn issued(
    queries: &Queries,
    field: &'static str,
    text: Option<&str>,
) -> Result<Option<(Position, Position)>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let position = parse(field, text)?;
    Ok(Some((position, queries.issued(field, position).await?)))
}

/// The link to what follows, relative to this address.
fn next_page(after: Position, before: Option<Position>, most: u32) -> String {
    let before = before.map(|before| format!("&before={before}")).unwrap_or_default();
    format!("<?after={after}{before}&limit={most}>; rel=\"next\"")
}

/// A notice as a structured CloudEvent, for the description.
struct CloudEventNotice;

impl JsonSchema for CloudEventNotice {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CloudEventNotice".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        json_schema!({
            "type": "object",
            "description": "A notice as it is on the bus: a structured CloudEvent. The AsyncAPI document has its data by type.",
            "properties": {
                "specversion": { "type": "string", "enum": ["1.0"] },
                "id": { "type": "string", "format": "uuid", "description": "The event's id" },
                "source": { "type": "string", "description": "E.g. `/lablet/worker`" },
                "type": { "type": "string", "description": "E.g. `io.lablet.worker.changed.v1`" },
                "subject": { "type": "string", "description": "The id of what it is about" },
                "time": { "type": "string", "format": "date-time" },
                "datacontenttype": { "type": "string" },
                "dataschema": { "type": "string", "format": "uri" },
                "position": { "type": "string", "description": "Place in the order of all events; sorts as text" },
                "previousposition": { "type": "string", "description": "The position before it" },
                "aggregatesequence": { "type": "string", "description": "Place within its aggregate, from 1" },
                "recordedtime": { "type": "string", "format": "date-time" },
                "actor": { "type": "string", "description": "Who caused it, e.g. `admin:ada` or `team:grading`" },
                "correlationid": { "type": "string" },
                "causationid": { "type": "string" },
                "traceparent": { "type": "string" },
                "dataref": {
                    "type": "string", "format": "uri",
                    "description": "Where exactly the data is; present where it is too large, and then `data` is absent",
                },
                "data": { "type": "object" },
            },
            "required": [
                "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "position",
                "previousposition", "aggregatesequence", "recordedtime",
            ],
        })
    }
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_events")
        .tag("events")
        .summary("Notices in the order of the log, as a batch of CloudEvents")
        .description(
            "What the bus has, read from the log. A consumer that misses notices asks for those after the last one that it \
             has and before the next one. A batch may end before `limit` because of its size: `Link` with `rel=\"next\"` \
             leads to what follows, and is absent where nothing does. `previousposition` of the first notice is `after`.",
        )
        .response_with::<200, axum::Json<Vec<CloudEventNotice>>, _>(|mut response| {
            let content = &mut response.inner().content;
            let described = content.swap_remove("application/json").unwrap_or_default();
            content.insert(BATCH.to_owned(), described);
            response
        })
}
