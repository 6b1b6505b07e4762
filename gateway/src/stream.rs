//! `GET /api/stream`: what happens, as it happens, as server-sent events in log order.
//!
//! One follower per process reads the log and fans out; a client that resumes, or falls behind, reads the log itself
//! until it has caught up. So nothing is skipped, and memory is bounded: by the fan-out's buffer, and by
//! a small queue per client. Who does not read is cut off with a comment and can resume with `Last-Event-ID`.

pub(crate) mod client;
pub(crate) mod entry;
pub(crate) mod follower;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aide::NoApi;
use aide::transform::TransformOperation;
use app::log::{Log, LogError, Position, RecordedEvent};
use app::notice::PublicUrl;
use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use domain::{DefinitionId, Invalid, SessionId};
use futures_util::StreamExt as _;
use http::HeaderMap;
use projections::Projections;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::client::Frame;
use self::entry::{Entry, Filter};
use self::follower::Follower;
use crate::authentication::Principal;
use crate::caller::{Caller, Viewing};
use crate::fair_share::{FairShare, Room};
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// How often a silent stream shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a client waits before it resumes a stream that broke off.
const RETRY: Duration = Duration::from_secs(2);

/// Which events, and from where on.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamQuery {
    /// Begin after this position. `Last-Event-ID` goes before it. Without either the stream begins now.
    #[schemars(with = "Option<Position>")]
    after: Option<String>,
    /// Events of this kind of aggregate alone.
    aggregate: Option<AggregateKind>,
    /// Events of this session alone.
    session_id: Option<SessionId>,
    /// Events of this definition and of its sessions alone.
    definition_id: Option<DefinitionId>,
}

/// A kind of aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AggregateKind {
    /// Sessions.
    LabletSession,
    /// Definitions.
    LabletDefinition,
    /// Workers.
    Worker,
}

impl AggregateKind {
    /// Its name in the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::LabletSession => "lablet_session",
            Self::LabletDefinition => "lablet_definition",
            Self::Worker => "worker",
        }
    }
}

/// What streams are made of. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Streams {
    log: Log,
    follower: Follower,
    pub(crate) public_url: PublicUrl,
    permits: Arc<FairShare>,
    /// Cancelled when the gateway ends: streams end with it.
    stop: CancellationToken,
}

impl Streams {
    /// So many streams at once, of notices that name this address, until told to stop.
    pub(crate) fn new(log: Log, public_url: PublicUrl, room: Room, stop: CancellationToken) -> Self {
        let permits = Arc::new(FairShare::new("open streams", room));
        Self { log, follower: Follower::new(), public_url, permits, stop }
    }

    /// The next notices after a position, at most so many, fewer where they are large. None where there is nothing more.
    ///
    /// # Errors
    /// The log does not answer.
    pub(crate) async fn page(&self, after: Position, limit: i64) -> Result<Vec<Entry>, LogError> {
        follower::page(&self.log, after, limit, &self.public_url).await
    }

    /// Where the log ends.
    ///
    /// # Errors
    /// 503 when the log does not answer.
    pub(crate) async fn head(&self) -> Result<Position, Problem> {
        follower::head(&self.log).await
    }

    /// One event of the log.
    ///
    /// # Errors
    /// 503 when the log does not answer.
    pub(crate) async fn event(&self, event_id: Uuid) -> Result<Option<RecordedEvent>, Problem> {
        self.log.event(event_id).await.map_err(|error| projections::ReadError::Log(error).into())
    }

    /// Follows the log for all streams, until told to stop.
    pub(crate) async fn run(self, reads: Projections) {
        self.follower.run(self.log, reads, self.public_url, self.stop).await;
    }
}

/// Opens a stream.
pub(crate) async fn open(
    State(streams): State<Streams>,
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    NoApi(Extension(principal)): NoApi<Extension<Principal>>,
    Query(query): Query<StreamQuery>,
    NoApi(headers): NoApi<HeaderMap>,
) -> Result<Response, Problem> {
    let after = match from(&headers, &query)? {
        Some((field, after)) => {
            queries.issued(field, after).await?;
            Some(after)
        }
        None => None,
    };
    let filter = Filter {
        aggregate: query.aggregate,
        session_id: query.session_id.map(String::from),
        definition_id: query.definition_id.map(String::from),
    };
    let frames = client::open(&streams, &principal, after, filter).await?.map(|frame| {
        Ok::<_, Infallible>(match frame {
            Frame::Hello => Event::default().retry(RETRY).comment("connected"),
            Frame::Entry(entry) => {
                Event::default().id(entry.position.to_string()).event(&entry.event_type).data(&*entry.json)
            }
            Frame::End(reason) => Event::default().comment(reason),
        })
    });
    let heartbeat = KeepAlive::new().interval(HEARTBEAT).text("still here");
    Ok(Sse::new(frames).keep_alive(heartbeat).into_response())
}

/// Where the stream begins, and the field that says so.
fn from(headers: &HeaderMap, query: &StreamQuery) -> Result<Option<(&'static str, Position)>, Invalid> {
    let resumed = headers.get("last-event-id").map(|value| ("Last-Event-ID", value.to_str().unwrap_or_default()));
    let Some((field, text)) = resumed.or_else(|| query.after.as_deref().map(|after| ("after", after))) else {
        return Ok(None);
    };
    crate::position::parse(field, text).map(|position| Some((field, position)))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("follow_events")
        .tag("events")
        .summary("What happens, as it happens, as server-sent events in log order")
        .description(
            "`id` is the position, `event` the type of the CloudEvent in `data`, which is the notice that \
             the bus has. Resume with \
             `Last-Event-ID`. A comment every 15 s shows that the stream lives.",
        )
        .response_with::<200, String, _>(|mut response| {
            let content = &mut response.inner().content;
            content.clear();
            content.insert("text/event-stream".to_owned(), aide::openapi::MediaType::default());
            response
        })
}
