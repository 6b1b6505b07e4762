//! What goes out for an event: a *notice*, a type of its own and not the stored event.
//!
//! A notice is understood without history, stays under 64 KiB on the wire, and names the position before it, so that
//! a consumer can tell a hole from the end.

mod definition;
mod proposal;
mod session;
mod worker;

use std::fmt::Display;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use domain::advice_policy::AdvicePolicyEvent;
use domain::lablet_definition::LabletDefinitionEvent;
use domain::worker::WorkerEvent;
use schemars::{Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::log::{Position, RecordedEvent};
use bus::{cloud_event, streams, subjects};

/// Left of the 64 KiB for headers and the subject.
const ROOM_FOR_HEADERS: usize = 1_024;
/// Largest payload of a notice, in bytes.
pub(crate) const LARGEST_PAYLOAD: usize = streams::LARGEST_EVENT - ROOM_FOR_HEADERS;

/// Attributes of a notice beside its data take about so many bytes.
const ROOM_FOR_ATTRIBUTES: usize = 1_024;
/// The header that says how a CloudEvent is written.
const CONTENT_TYPE: &str = "Content-Type";

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

    /// Where the data of an event's notice can be had.
    pub fn event_data(&self, event_id: Uuid) -> String {
        format!("{}/api/events/{event_id}/data", self.0)
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
pub(crate) fn schema_name(cloud_event_type: &str) -> String {
    format!("{cloud_event_type}.0.json")
}

/// What the CloudEvent types of all events begin with.
pub const CLOUD_EVENT_TYPES: &str = "io.lablet.";

/// The CloudEvent type of an event of the log, e.g. `io.lablet.worker.changed.v1`.
pub fn cloud_event_type(event_type: &str, event_version: &str) -> String {
    format!("{CLOUD_EVENT_TYPES}{event_type}.v{event_version}")
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
    /// The trace that began it.
    pub traceparent: Option<String>,
    /// Headers, the message's id among them.
    pub headers: HeaderMap,
    /// The structured CloudEvent.
    pub payload: Bytes,
}

/// A notice that cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("the notice cannot be written as JSON")]
pub struct NoticeError(#[from] serde_json::Error);

/// The notice of an event, where `previous` is the position of the event before it.
///
/// Larger than 64 KiB, it has no data, and `dataref` says where exactly that data is. An event of a type that this version
/// does not know (a newer one wrote it) has none either.
///
/// # Errors
/// [`NoticeError`], which no stored event should cause.
pub fn announce(event: &RecordedEvent, previous: Position, public_url: &PublicUrl) -> Result<Notice, NoticeError> {
    draw_up(&Draft { event, previous, public_url, most: LARGEST_PAYLOAD })
}

/// The data of an event's notice, whatever its size; `None`: this version does not know the event's type.
///
/// # Errors
/// [`NoticeError`], which no stored event should cause.
pub fn data(event: &RecordedEvent) -> Result<Option<Box<RawValue>>, NoticeError> {
    #[derive(Deserialize)]
    struct WithData {
        data: Option<Box<RawValue>>,
    }
    let draft = Draft { event, previous: Position::START, public_url: &PublicUrl::default(), most: usize::MAX };
    let notice = draw_up(&draft)?;
    Ok(serde_json::from_slice::<WithData>(&notice.payload)?.data)
}

fn draw_up(draft: &Draft<'_>) -> Result<Notice, NoticeError> {
    let event = draft.event;
    // A stored event that cannot be read is one of a newer version: the samples prove that all older ones can.
    match event.aggregate_type.as_str() {
        "lablet_session" => {
            if let Ok(decoded) = event.decode_session_event() {
                return session::announce(decoded, draft);
            }
        }
        "lablet_definition" => {
            if let Ok(decoded) = event.decode::<LabletDefinitionEvent>() {
                return definition::announce(decoded, draft);
            }
        }
        "worker" => {
            if let Ok(decoded) = event.decode::<WorkerEvent>() {
                return worker::announce(decoded, draft);
            }
        }
        "advice_policy" => {
            if let Ok(decoded) = event.decode::<AdvicePolicyEvent>() {
                return proposal::announce_default_policy(decoded, draft);
            }
        }
        _ => {}
    }
    draft.by_reference(event.recorded_at)
}

/// What the notice of an event is written from, beside its data.
struct Draft<'a> {
    event: &'a RecordedEvent,
    previous: Position,
    public_url: &'a PublicUrl,
    /// Most bytes of the notice.
    most: usize,
}

impl Draft<'_> {
    /// The notice with its data, or with the reference to it where that is too large.
    fn notice<T: Serialize>(&self, at: DateTime<Utc>, data: &T) -> Result<Notice, NoticeError> {
        // A stored event of twice the size is not tried: its data has about as many bytes.
        if self.event.payload.bytes() / 2 <= self.most {
            let whole = self.write(at, Some(data))?;
            if whole.payload.len() <= self.most {
                return Ok(whole);
            }
        }
        self.by_reference(at)
    }

    fn by_reference(&self, at: DateTime<Utc>) -> Result<Notice, NoticeError> {
        self.write::<()>(at, None)
    }

    fn write<T: Serialize>(&self, at: DateTime<Utc>, data: Option<&T>) -> Result<Notice, NoticeError> {
        let Self { event, previous, public_url, most } = *self;
        let event_type = cloud_event_type(&event.event_type, &event.event_version);
        let schema = public_url.schema(&event_type);
        let source = format!("/lablet/{}", event.aggregate_type);
        let structured = StructuredNotice {
            specversion: "1.0",
            id: event.event_id,
            source: &source,
            ty: &event_type,
            subject: &event.aggregate_id,
            time: at,
            datacontenttype: "application/json",
            dataschema: &schema,
            position: event.position,
            previousposition: previous,
            aggregatesequence: event.sequence,
            recordedtime: event.recorded_at,
            actor: event.metadata.actor.as_deref(),
            correlationid: event.metadata.correlation_id.as_deref(),
            causationid: event.metadata.causation_id.as_deref(),
            traceparent: event.metadata.traceparent.as_deref(),
            dataref: data.is_none().then(|| public_url.event_data(event.event_id)),
            data,
        };
        let mut payload = Vec::with_capacity(event.payload.bytes().min(most) + ROOM_FOR_ATTRIBUTES);
        serde_json::to_writer(&mut payload, &structured)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, cloud_event::STRUCTURED);
        headers.insert(NATS_MESSAGE_ID, event.event_id.to_string());
        Ok(Notice {
            subject: subjects::event(&event.event_type, &event.aggregate_id),
            event_id: event.event_id,
            position: event.position,
            traceparent: event.metadata.traceparent.clone(),
            headers,
            payload: payload.into(),
        })
    }
}

/// A notice as a structured CloudEvent, written without a tree of JSON between: a relay that catches up writes tens of
/// thousands a second.
#[derive(Serialize)]
struct StructuredNotice<'a, T> {
    specversion: &'static str,
    id: Uuid,
    source: &'a str,
    #[serde(rename = "type")]
    ty: &'a str,
    subject: &'a str,
    time: DateTime<Utc>,
    datacontenttype: &'static str,
    dataschema: &'a str,
    #[serde(serialize_with = "as_text")]
    position: Position,
    #[serde(serialize_with = "as_text")]
    previousposition: Position,
    #[serde(serialize_with = "as_text")]
    aggregatesequence: i64,
    #[serde(serialize_with = "to_the_microsecond")]
    recordedtime: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlationid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causationid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataref: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a T>,
}

/// CloudEvents' integers have 32 bits, so numbers are texts.
fn as_text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn to_the_microsecond<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true))
}

/// The schema of a notice's data, and the event that it is about.
pub struct NoticeSchema {
    /// E.g. `lablet_session.created`.
    pub event_type: &'static str,
    /// E.g. `1`.
    pub event_version: &'static str,
    /// What it says.
    pub says: &'static str,
    /// The schema of its data.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
}

impl NoticeSchema {
    /// Its CloudEvent type.
    pub fn cloud_event_type(&self) -> String {
        cloud_event_type(self.event_type, self.event_version)
    }
}

/// Every notice's schema, in the order of the aggregates' lives.
pub fn schemas() -> Vec<NoticeSchema> {
    let definitions = definition::schemas().into_iter().chain(proposal::schemas());
    session::schemas().into_iter().chain(definitions).chain(worker::schemas()).collect()
}

#[cfg(test)]
mod tests;
