//! `GET /api/lablet-sessions/{id}/samples`: what a running session uses, as it is sampled, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use aide::NoApi;
use aide::transform::TransformOperation;
use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use domain::SessionId;
use domain::lablet_session::LabletSession;
use futures_util::StreamExt as _;
use projections::ReadModel;
use serde::Serialize;

use crate::authentication::Principal;
use crate::caller::{Caller, Viewing};
use crate::live_samples::{Heard, LiveSamples};
use crate::path::Id;
use crate::problem::Problem;
use crate::queries::Queries;

/// How often a silent stream shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a client waits before it opens a stream again that broke off.
const RETRY: Duration = Duration::from_secs(5);

pub(crate) async fn samples(
    State(queries): State<Queries>,
    State(live): State<LiveSamples>,
    _: Caller<Viewing>,
    NoApi(Extension(principal)): NoApi<Extension<Principal>>,
    Id(id): Id<SessionId>,
) -> Result<Response, Problem> {
    let ask = || queries.session_summary(&id);
    queries.row::<LabletSession, _, _>(ReadModel::Sessions, ("session", id.as_str()), ask).await?;
    // Listening begins before the profile is read, so that nothing falls between the two.
    let heard = live.open(&principal, &id).await?;
    let so_far = queries.newest_profile(&id).await?;
    let mut first = vec![Event::default().retry(RETRY).comment("connected")];
    first.extend(so_far.map(|profile| event("profile", &profile)));
    let frames = futures_util::stream::iter(first).chain(heard.map(|heard| match heard {
        Heard::Sampled(sample) => event("sample", &sample),
        Heard::Missed(missed) => event("missed", &missed),
        Heard::End(reason) => Event::default().comment(reason),
    }));
    let heartbeat = KeepAlive::new().interval(HEARTBEAT).text("still here");
    Ok(Sse::new(frames.map(Ok::<_, Infallible>)).keep_alive(heartbeat).into_response())
}

fn event(name: &str, data: &impl Serialize) -> Event {
    Event::default()
        .event(name)
        .json_data(data)
        .unwrap_or_else(|_| Event::default().comment("something that cannot be written"))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("follow_lablet_session_samples")
        .tag("sessions")
        .summary("What a running session uses, as it is sampled, as server-sent events")
        .description(
            "First `profile`, where an observation of the session has one: what was used until then. Then `sample` with \
             `at`, `seconds`, `phase`, `cpu_cores`, `memory_mb`, `storage_mb` of the lab and, in `nodes`, of each node by \
             id; null is unknown. `missed` says why a sample could not be had. Samples are not kept: what was sampled \
             while nobody listened is in the profile of the next observation. A comment every 15 s shows that the \
             stream lives.",
        )
        .response_with::<200, String, _>(|mut response| {
            let content = &mut response.inner().content;
            content.clear();
            content.insert("text/event-stream".to_owned(), aide::openapi::MediaType::default());
            response
        })
}
