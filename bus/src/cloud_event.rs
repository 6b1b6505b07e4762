//! CloudEvents 1.0 over NATS, both ways.
//!
//! Out: structured JSON with `Content-Type: application/cloudevents+json`. In: structured and binary, with the
//! deviations that other SDKs are known for: an attribute that is null or empty means none, extensions whose type the
//! specification does not know are left out, a header that is not percent-encoded is taken as it is. Everything is
//! bounded before it is parsed; nesting is bounded by serde_json (128 levels).

mod attributes;
mod binary;
mod structured;

use async_nats::HeaderMap;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use cloudevents::{Data, Event};
use serde_json::Value;

use self::binary::Headers;

/// Content type of a structured event.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// Longest attribute that is taken in, in bytes.
pub const LONGEST_ATTRIBUTE: usize = 2_048;
/// Longest name of an attribute that is taken in, in bytes.
pub const LONGEST_NAME: usize = 64;
/// Most extensions of an event that is taken in.
pub const MOST_EXTENSIONS: usize = 64;
/// Most headers of a message that is taken in.
const MOST_HEADERS: usize = 128;

/// A message is not a valid CloudEvent. Permanent: a retry never helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEvent {
    /// It is larger than allowed.
    #[error("the message has {bytes} bytes; at most {most} are taken")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        most: usize,
    },
    /// It has more headers or extensions than allowed.
    #[error("the message has more than {most} {what}")]
    TooMany {
        /// `headers` or `extensions`.
        what: &'static str,
        /// The bound.
        most: usize,
    },
    /// Neither mode fits.
    #[error(
        "the message is no CloudEvent: it has neither the header ce-specversion nor the content type {STRUCTURED} nor a JSON object with specversion"
    )]
    NoMode,
    /// Several events in one message, which the NATS binding does not know.
    #[error("a batch of CloudEvents is not taken; send each event on its own")]
    Batch,
    /// A structured event in another format than JSON.
    #[error("the content type is {0:?}; expected {STRUCTURED}")]
    Format(String),
    /// It cannot be read as JSON.
    #[error("the CloudEvent cannot be read as JSON: {0}")]
    Json(String),
    /// An attribute is missing or not valid.
    #[error("the CloudEvent's attribute {name} {problem}")]
    Attribute {
        /// The attribute.
        name: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
}

impl NotAnEvent {
    fn attribute(name: &str, problem: impl Into<String>) -> Self {
        Self::Attribute { name: cut(name, LONGEST_NAME), problem: problem.into() }
    }
}

/// An event in its structured form: headers and payload. Equal events give equal bytes.
///
/// # Errors
/// serde_json's error, when the data cannot be JSON.
pub fn structured(event: &Event) -> Result<(HeaderMap, Bytes), serde_json::Error> {
    // Through a JSON value, whose members are ordered: the event's extensions have no order.
    let payload = serde_json::to_vec(&serde_json::to_value(event)?)?;
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", STRUCTURED);
    Ok((headers, payload.into()))
}

/// Reads an event out of a message, in whichever mode it is.
///
/// # Errors
/// [`NotAnEvent`], which says what is wrong.
pub fn read(headers: Option<&HeaderMap>, payload: &[u8], most: usize) -> Result<Event, NotAnEvent> {
    let headers = Headers::from_map(headers)?;
    let bytes = payload.len() + headers.bytes();
    if bytes > most {
        return Err(NotAnEvent::TooLarge { bytes, most });
    }
    let payload = payload.strip_prefix(BYTE_ORDER_MARK).unwrap_or(payload);
    let content_type = headers.get("content-type").map(essence).unwrap_or_default();
    if content_type.starts_with("application/cloudevents-batch") {
        return Err(NotAnEvent::Batch);
    }
    let names_structured = content_type.starts_with("application/cloudevents");
    if headers.get("ce-specversion").is_some() && !(names_structured && looks_structured(payload, b'{')) {
        return binary::read(&headers, payload);
    }
    if names_structured && !matches!(content_type.as_str(), STRUCTURED | "application/cloudevents") {
        return Err(NotAnEvent::Format(cut(&content_type, LONGEST_NAME)));
    }
    if names_structured || looks_structured(payload, b'{') {
        return structured::read(payload);
    }
    Err(if looks_structured(payload, b'[') { NotAnEvent::Batch } else { NotAnEvent::NoMode })
}

/// An event's data as JSON: the value itself, or a text or bytes that hold JSON.
///
/// # Errors
/// [`NotAnEvent`] when there is no data or it cannot be read as JSON.
pub fn json_data(event: &Event) -> Result<Value, NotAnEvent> {
    match event.data() {
        None => Err(NotAnEvent::attribute("data", "is absent; expected a JSON object")),
        // Some senders serialise twice.
        Some(Data::Json(Value::String(text))) => {
            Ok(serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone())))
        }
        Some(Data::Json(value)) => Ok(value.clone()),
        Some(Data::String(text)) => parse_data(text.as_bytes()),
        Some(Data::Binary(bytes)) => parse_data(bytes),
    }
}

/// A text extension, where the event has it.
pub fn extension(event: &Event, name: &str) -> Option<String> {
    event.extension(name).map(ToString::to_string)
}

/// UTF-8 byte order mark, which some senders write.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Base64 with or without its padding.
const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A content type without its parameters, in lower case.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_json(content_type: &str) -> bool {
    let essence = essence(content_type);
    matches!(essence.as_str(), "application/json" | "text/json") || essence.ends_with("+json")
}

/// A cheap check before parsing: JSON that begins with this bracket and contains `specversion`.
fn looks_structured(payload: &[u8], bracket: u8) -> bool {
    let first = payload.iter().find(|byte| !byte.is_ascii_whitespace());
    first == Some(&bracket) && payload.windows(13).any(|window| window == b"\"specversion\"")
}

fn parse_data(bytes: &[u8]) -> Result<Value, NotAnEvent> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    serde_json::from_slice(bytes).map_err(|error| {
        NotAnEvent::attribute("data", format!("cannot be read as JSON: {}", json_problem(bytes, &error)))
    })
}

/// Why bytes are not JSON; names another encoding where that is the cause, as a position would not help then.
fn json_problem(bytes: &[u8], error: &serde_json::Error) -> String {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return "it is UTF-16; expected UTF-8".to_owned();
    }
    error.to_string()
}

fn decode_base64(text: &str) -> Result<Vec<u8>, NotAnEvent> {
    LENIENT_BASE64.decode(text).map_err(|error| NotAnEvent::attribute("data_base64", format!("is no base64: {error}")))
}

/// The beginning of a text, at most `most` bytes of it.
fn cut(text: &str, most: usize) -> String {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
