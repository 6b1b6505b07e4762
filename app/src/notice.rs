//! What goes out for an event: a *notice*, a type of its own and not the stored event.
//!
//! A notice is understood without history, stays under 64 KiB on the wire, and names the position before it, so that
//! a consumer can tell a hole from the end.

mod definition;
mod session;
mod worker;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use cloudevents::EventBuilder as _;
use cloudevents::event::EventBuilderV10;
use domain::lablet_definition::LabletDefinitionEvent;
use domain::lablet_session::LabletSessionEvent;
use domain::worker::WorkerEvent;
use schemars::{Schema, SchemaGenerator};
use serde_json::Value;
use uuid::Uuid;

pub use self::definition::{DefinitionCreated, DefinitionRevised};
pub use self::session::{
    ObservationFailed, ObservationRequested, ObservedResources, PortDriftDetected, ResourcesObserved, SessionCreated,
    SessionMoved,
};
pub use self::worker::{WorkerChanged, WorkerRegistered};
use crate::log::{Position, RecordedEvent};
use bus::{cloud_event, streams, subjects};

/// Left of the 64 KiB for headers and the subject.
const ROOM_FOR_HEADERS: usize = 1_024;
/// Largest payload of a notice, in bytes.
pub const LARGEST_PAYLOAD: usize = streams::LARGEST_EVENT - ROOM_FOR_HEADERS;

/// A stored event of more bytes than this is not tried in full: its notice says as much in about as many bytes.
const WORTH_TRYING: usize = 2 * LARGEST_PAYLOAD;

/// Where the gateway is reached from outside, without a slash at the end, e.g. `http://127.0.0.1:8080`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Takes an absolute http or https URL.
    ///
    /// # Errors
    /// [`domain::Invalid`] for anything else.
    pub fn parse(text: &str) -> Result<Self, domain::Invalid> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let plain = |character: char| character.is_ascii_graphic() && !matches!(character, '"' | '<' | '>' | '?' | '#');
        match rest {
            Some(rest) if !rest.is_empty() && rest.chars().all(plain) => {
                Ok(Self(text.trim_end_matches('/').to_owned()))
            }
            _ => Err(domain::Invalid::new("public_url", "is no absolute URL", "e.g. https://lablet.example.com")),
        }
    }

    /// Where an event can be had in full.
    pub fn event(&self, event_id: Uuid) -> String {
        format!("{}/api/events/{event_id}", self.0)
    }

    /// Where the schema of a message's data is.
    pub fn schema(&self, event_type: &str) -> String {
        format!("{}/api/schemas/{}", self.0, schema_name(event_type))
    }

    /// The URL as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for PublicUrl {
    fn default() -> Self {
        Self("http://127.0.0.1:8080".to_owned())
    }
}

/// The schema's name for a CloudEvent type: the type, the schema's own revision, `.json`.
///
/// A compatible change keeps the type and raises this revision; a breaking one has a new type.
pub fn schema_name(cloud_event_type: &str) -> String {
    format!("{cloud_event_type}.0.json")
}

/// The CloudEvent type of an event of the log, e.g. `io.lablet.worker.changed.v1`.
pub fn cloud_event_type(event_type: &str, event_version: &str) -> String {
    format!("io.lablet.{event_type}.v{event_version}")
}

/// A notice as it is sent.
#[derive(Debug, Clone)]
pub struct Notice {
    /// Its subject.
    pub subject: String,
    /// The event's id, which is the message's id too.
    pub event_id: Uuid,
    /// The event's position.
    pub position: Position,
    /// Headers, the message's id among them.
    pub headers: HeaderMap,
    /// The structured CloudEvent.
    pub payload: Bytes,
}

/// A notice that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum NoticeError {
    /// An attribute is refused.
    #[error("an attribute of the CloudEvent is not valid")]
    Attribute(#[from] cloudevents::event::EventBuilderError),
    /// The data is no JSON.
    #[error("the notice cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// The notice of an event, where `previous` is the position of the event before it.
///
/// Larger than 64 KiB in full, it carries its summary, or in the last resort only ids, and `dataref`, where the whole
/// event is. An event of a type that this version does not know (a newer one wrote it) carries `dataref` alone.
///
/// # Errors
/// [`NoticeError`], which no stored event should cause.
pub fn announce(event: &RecordedEvent, previous: Position, public_url: &PublicUrl) -> Result<Notice, NoticeError> {
    let notice = |at, data, complete| notice(event, previous, at, data, complete, public_url);
    let Some(contents) = Contents::of(event)? else {
        return notice(event.recorded_at, Value::Object(serde_json::Map::new()), false);
    };
    if let Some(full) = contents.full {
        let full = notice(contents.at, full, true)?;
        if full.payload.len() <= LARGEST_PAYLOAD {
            return Ok(full);
        }
    }
    let summary = notice(contents.at, contents.summary, false)?;
    if summary.payload.len() <= LARGEST_PAYLOAD {
        return Ok(summary);
    }
    notice(contents.at, contents.ids, false)
}

/// The data of a notice in three sizes, and when the fact became true.
struct Contents {
    at: DateTime<Utc>,
    /// None where it is known to be too large.
    full: Option<Value>,
    summary: Value,
    ids: Value,
}

impl Contents {
    fn of(event: &RecordedEvent) -> Result<Option<Self>, serde_json::Error> {
        // A stored event that cannot be read is one of a newer version: the samples prove that all older ones can.
        Ok(match event.aggregate_type.as_str() {
            "lablet_session" => match event.decode::<LabletSessionEvent>() {
                Ok(decoded) => Some(session::contents(decoded, event.payload.bytes() <= WORTH_TRYING)?),
                Err(_) => None,
            },
            "lablet_definition" => match event.decode::<LabletDefinitionEvent>() {
                Ok(event) => Some(definition::contents(event)?),
                Err(_) => None,
            },
            "worker" => match event.decode::<WorkerEvent>() {
                Ok(event) => Some(worker::contents(event)?),
                Err(_) => None,
            },
            _ => None,
        })
    }
}

fn notice(
    event: &RecordedEvent,
    previous: Position,
    at: DateTime<Utc>,
    data: Value,
    complete: bool,
    public_url: &PublicUrl,
) -> Result<Notice, NoticeError> {
    let event_type = cloud_event_type(&event.event_type, &event.event_version);
    let mut builder = EventBuilderV10::new()
        .id(event.event_id.to_string())
        .source(format!("/lablet/{}", event.aggregate_type))
        .ty(&event_type)
        .subject(&event.aggregate_id)
        .time(at)
        .data_with_schema("application/json", public_url.schema(&event_type), data)
        .extension("position", event.position.to_string())
        .extension("previousposition", previous.to_string())
        .extension("aggregatesequence", event.sequence.to_string())
        .extension("recordedtime", event.recorded_at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true));
    let optional = [
        ("correlationid", &event.metadata.correlation_id),
        ("causationid", &event.metadata.causation_id),
        ("traceparent", &event.metadata.traceparent),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            builder = builder.extension(name, value.as_str());
        }
    }
    if !complete {
        builder = builder.extension("dataref", public_url.event(event.event_id));
    }
    let (mut headers, payload) = cloud_event::structured(&builder.build()?)?;
    headers.insert(NATS_MESSAGE_ID, event.event_id.to_string());
    Ok(Notice {
        subject: subjects::event(&event.event_type, &event.aggregate_id),
        event_id: event.event_id,
        position: event.position,
        headers,
        payload,
    })
}

/// A kind of notice: the event that it tells of, and the schema of its data.
pub struct NoticeType {
    /// E.g. `lablet_session.created`.
    pub event_type: &'static str,
    /// E.g. `1`.
    pub event_version: &'static str,
    /// What it says.
    pub says: &'static str,
    /// The schema of its data.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
}

impl NoticeType {
    /// Its CloudEvent type.
    pub fn cloud_event_type(&self) -> String {
        cloud_event_type(self.event_type, self.event_version)
    }
}

/// Every kind of notice, in the order of the aggregates' lives.
pub fn kinds() -> Vec<NoticeType> {
    session::kinds().into_iter().chain(definition::kinds()).chain(worker::kinds()).collect()
}

#[cfg(test)]
mod tests;
