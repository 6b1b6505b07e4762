//! `/ws/ui`: what a browser is told of without asking.
//!
//! The first message names a token; without one that is valid in time the socket is closed with [`UNAUTHENTICATED`], and so
//! it is as soon as its token is void. Then it gets the statistics of each running lab and of the system every push period,
//! and every change within [`CHANGES_EVERY`]. What is told is computed when it is sent: nothing waits for a client, and one
//! that does not read is dropped.

mod changes;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension,
    extract::{
        State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use uuid::Uuid;

use self::changes::Changes;
use super::{ApiError, Shared, readings, system};
use crate::{
    connection::Cut,
    faults::{FaultKind, PUSH},
    life::State as LabState,
    world::{ApiVersion, SharedWorld, World},
};

/// The code with which a socket is closed that has no valid token.
const UNAUTHENTICATED: u16 = 3000;
const GOING_AWAY: u16 = 1001;
/// How soon a change is told.
const CHANGES_EVERY: Duration = Duration::from_millis(200);
/// How long a client has to answer that it is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
const LARGEST_REQUEST: usize = 64 * 1024;
const MOST_SOCKETS: usize = 500;

#[derive(Deserialize)]
struct FirstMessage {
    token: String,
    /// One lab that is told of instead of all; from 2.10.
    #[serde(default)]
    lab_filter: Value,
}

/// One message that is pushed. What does not apply is absent.
#[derive(Serialize)]
struct Push<'push, T> {
    event_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    element_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lab_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    element_id: Option<Uuid>,
    data: &'push T,
}

/// A message as text, beside the type by which faults find it.
struct Frame {
    event_type: &'static str,
    text: String,
}

impl Frame {
    fn new<T: Serialize>(push: &Push<'_, T>) -> Result<Self, serde_json::Error> {
        Ok(Self { event_type: push.event_type, text: serde_json::to_string(push)? })
    }
}

/// Why a socket is not served any longer.
enum End {
    Close(u16, &'static str),
    ClosedByClient,
    /// The client is gone, or does not read, or its connection was cut.
    Gone,
}

/// One of the sockets that are open.
struct OpenSocket(Arc<AtomicUsize>);

impl OpenSocket {
    fn new(open: &Arc<AtomicUsize>) -> Option<Self> {
        let more = |open| (open < MOST_SOCKETS).then_some(open + 1);
        open.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Self(Arc::clone(open)))
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(super) async fn open(
    State(world): State<Shared>,
    cut: Option<Extension<Cut>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Some(open) = OpenSocket::new(&world.open_sockets) else {
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too many sockets are open").into_response();
    };
    let cut = cut.map(|Extension(cut)| cut).unwrap_or_default();
    upgrade.max_message_size(LARGEST_REQUEST).on_upgrade(async move |mut socket| {
        let end = tokio::select! {
            end = serve(&mut socket, &world, &cut) => end,
            () = world.stopped.cancelled() => End::Close(GOING_AWAY, "the controller stops"),
        };
        if timeout(CLOSE_TIMEOUT, close(&mut socket, end)).await.is_err() {
            tracing::debug!("socket not closed in form, its client does not answer");
        }
        drop(open);
    })
}

/// Until both sides have said that it is closed: what is dropped sooner may take the code with it.
async fn close(socket: &mut WebSocket, end: End) {
    let sent = match end {
        End::Gone => return,
        End::ClosedByClient => true,
        End::Close(code, reason) => {
            socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await.is_ok()
        }
    };
    if sent {
        while let Some(Ok(_)) = socket.recv().await {}
    }
}

async fn serve(socket: &mut WebSocket, world: &SharedWorld, cut: &Cut) -> End {
    let sign_in_timeout = world.lock().sockets.sign_in_timeout;
    let first = match timeout(sign_in_timeout, first_message(socket)).await {
        Ok(Some(first)) if world.lock().knows_token(&first.token) => first,
        Ok(Some(_)) => return End::Close(UNAUTHENTICATED, "the token is not valid"),
        Ok(None) => return End::Close(UNAUTHENTICATED, "the first message has no token"),
        Err(_) => return End::Close(UNAUTHENTICATED, "no token came in time"),
    };
    let mut pushes = Pushes::new(&world.lock(), &first.lab_filter);
    let mut ticks = tokio::time::interval(CHANGES_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Close(_))) => return End::ClosedByClient,
                Some(Err(_)) | None => return End::Gone,
                // Nothing that comes later is of interest; the protocol answers a ping by itself.
                Some(Ok(_)) => continue,
            },
            _ = ticks.tick() => {}
        }
        let due = {
            let world = world.lock();
            if !world.knows_token(&first.token) {
                return End::Close(UNAUTHENTICATED, "the token is no longer valid");
            }
            ticks.reset_after(CHANGES_EVERY.min(world.sockets.push_period));
            pushes.due(&world)
        };
        let frames = match due {
            Ok(frames) => frames,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "push not written");
                return End::Gone;
            }
        };
        for frame in frames {
            if let Err(end) = send(socket, world, cut, frame).await {
                return end;
            }
        }
    }
}

/// None if it is something else.
async fn first_message(socket: &mut WebSocket) -> Option<FirstMessage> {
    loop {
        match socket.recv().await?.ok()? {
            Message::Text(text) => return serde_json::from_str(&text).ok(),
            Message::Binary(bytes) => return serde_json::from_slice(&bytes).ok(),
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(_) => return None,
        }
    }
}

/// What one socket is told, and when.
struct Pushes {
    lab_filter: Option<Uuid>,
    changes: Changes,
    next_statistics: Instant,
}

impl Pushes {
    fn new(world: &World, lab_filter: &Value) -> Self {
        let lab_filter = match (world.api, lab_filter) {
            (ApiVersion::V2_9, _) | (ApiVersion::V2_10, Value::Null) => None,
            // What is no id is the id of no lab.
            (ApiVersion::V2_10, filter) => {
                Some(filter.as_str().and_then(|id| Uuid::try_parse(id).ok()).unwrap_or_default())
            }
        };
        Self { lab_filter, changes: Changes::since_now(world, lab_filter), next_statistics: Instant::now() }
    }

    fn due(&mut self, world: &World) -> Result<Vec<Frame>, serde_json::Error> {
        let mut frames = self.changes.frames(world)?;
        let now = Instant::now();
        if now < self.next_statistics {
            return Ok(frames);
        }
        self.next_statistics = now + world.sockets.push_period;
        for lab in world.labs.iter().filter(|lab| lab.state == LabState::Started) {
            if self.lab_filter.is_none_or(|wanted| wanted == lab.id) {
                frames.push(Frame::new(&Push {
                    event_type: "lab_stats",
                    event: None,
                    element_type: None,
                    lab_id: Some(lab.id),
                    element_id: None,
                    data: &readings::statistics_of(lab, world.now(), world.api),
                })?);
            }
        }
        frames.push(Frame::new(&Push {
            event_type: "system_stats",
            event: None,
            element_type: None,
            lab_id: None,
            element_id: None,
            data: &system::statistics_of(world),
        })?);
        Ok(frames)
    }
}

/// Sends a frame as faults let it be.
async fn send(socket: &mut WebSocket, world: &SharedWorld, cut: &Cut, frame: Frame) -> Result<(), End> {
    let Frame { event_type, mut text } = frame;
    let (faults, write_timeout) = {
        let mut world = world.lock();
        (world.faults.strike(PUSH, &format!("/ws/ui/{event_type}")), world.sockets.write_timeout)
    };
    for fault in faults {
        match fault {
            FaultKind::Slow { milliseconds } => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
            FaultKind::DropConnection => {
                cut.throw();
                return Err(End::Gone);
            }
            FaultKind::InvalidBody => text = "{\"event_type\": \"lab_stats\", <<".to_owned(),
            FaultKind::Truncate => text.truncate(text.floor_char_boundary(text.len() / 2)),
            FaultKind::SilentSocket => return Ok(()),
            FaultKind::LargeFrame { bytes } => pad(&mut text, bytes),
            FaultKind::CutFrame => cut.throw_after(text.len() / 2),
            FaultKind::Statistics { defect } => {
                if let Ok(mut push) = serde_json::from_str::<Value>(&text) {
                    defect.apply(&mut push["data"]);
                    text = push.to_string();
                }
            }
            FaultKind::Status { .. } | FaultKind::Redirect { .. } | FaultKind::RefusePassword | FaultKind::Booting => {}
        }
    }
    match timeout(write_timeout, socket.send(Message::text(text))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Gone),
        Err(_) => {
            tracing::warn!(event_type, "socket closed, its client does not read");
            cut.throw();
            Err(End::Gone)
        }
    }
}

/// Fills an object up to a size.
fn pad(text: &mut String, bytes: usize) {
    if text.pop() == Some('}') {
        let filling = bytes.saturating_sub(text.len() + ",\"padding\":\"\"}".len());
        text.push_str(",\"padding\":\"");
        text.extend(std::iter::repeat_n('x', filling));
        text.push_str("\"}");
    }
}
