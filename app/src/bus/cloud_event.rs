//! CloudEvents 1.0 over NATS, both ways.
//!
//! Out: structured JSON with `Content-Type: application/cloudevents+json`. In: structured and binary, with the
//! deviations that other SDKs are known for. Everything is bounded before it is parsed; nesting is bounded by
//! serde_json (128 levels).

use async_nats::HeaderMap;
use bytes::Bytes;
use cloudevents::event::EventBuilderV10;
use cloudevents::{AttributesReader as _, Data, Event, EventBuilder as _};
use percent_encoding::percent_decode_str;
use serde_json::Value;

/// Content type of a structured event.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// Longest attribute that is taken in, in bytes.
pub const LONGEST_ATTRIBUTE: usize = 2_048;
/// Most headers of a message that is taken in.
const MOST_HEADERS: usize = 128;

/// A message that is no CloudEvent. Never worth a second try.
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
    /// Neither mode fits.
    #[error(
        "the message is no CloudEvent: it has neither the header ce-specversion nor the content type {STRUCTURED} nor a JSON object with specversion"
    )]
    NoMode,
    /// Several events in one message, which the NATS binding does not know.
    #[error("a batch of CloudEvents is not taken; send each event on its own")]
    Batch,
    /// It is not JSON.
    #[error("the CloudEvent is not valid JSON: {0}")]
    Json(String),
    /// An attribute is missing or not valid.
    #[error("the CloudEvent's attribute {name} {problem}")]
    Attribute {
        /// The attribute.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl NotAnEvent {
    fn attribute(name: &str, problem: impl Into<String>) -> Self {
        Self::Attribute { name: name.to_owned(), problem: problem.into() }
    }
}

/// An event in its structured form: headers and payload. Equal events give equal bytes.
///
/// # Errors
/// serde_json's error, when the data cannot be JSON.
pub fn structured(event: &Event) -> Result<(HeaderMap, Bytes), serde_json::Error> {
    // By way of a value, whose members are ordered; the event keeps its extensions in no order.
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
    let headers = Headers::of(headers)?;
    let bytes = payload.len() + headers.bytes;
    if bytes > most {
        return Err(NotAnEvent::TooLarge { bytes, most });
    }
    let content_type = headers.get("content-type").map(str::to_ascii_lowercase);
    let content_type = content_type.as_deref().unwrap_or_default();
    let event = if headers.get("ce-specversion").is_some() {
        binary(&headers, payload)?
    } else if content_type.starts_with("application/cloudevents-batch") {
        return Err(NotAnEvent::Batch);
    } else if content_type.starts_with("application/cloudevents") || looks_structured(payload) {
        from_structured(payload)?
    } else {
        return Err(NotAnEvent::NoMode);
    };
    check(&event)?;
    Ok(event)
}

/// An event's data as JSON: the value itself, or a text or bytes that hold JSON.
///
/// # Errors
/// [`NotAnEvent`] when there is no data or it is no JSON.
pub fn json_data(event: &Event) -> Result<Value, NotAnEvent> {
    let parsed = match event.data() {
        None => return Err(NotAnEvent::attribute("data", "is absent; expected a JSON object")),
        Some(Data::Json(value)) => Ok(value.clone()),
        Some(Data::String(text)) => serde_json::from_str(text),
        Some(Data::Binary(bytes)) => serde_json::from_slice(bytes),
    };
    parsed.map_err(|error| NotAnEvent::attribute("data", format!("is not valid JSON: {error}")))
}

/// A text extension, where the event has it.
pub fn extension(event: &Event, name: &str) -> Option<String> {
    event.extension(name).map(ToString::to_string)
}

/// Headers by lower-case name: NATS keeps the case in which a name was written.
struct Headers<'a> {
    entries: Vec<(String, &'a str)>,
    bytes: usize,
}

impl<'a> Headers<'a> {
    fn of(headers: Option<&'a HeaderMap>) -> Result<Self, NotAnEvent> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
            let name: &str = name.as_ref();
            // Several values of one name: the last one counts, as for a header that was set again.
            let Some(value) = values.last() else { continue };
            bytes += name.len() + value.as_str().len();
            entries.push((name.to_ascii_lowercase(), value.as_str()));
            if entries.len() > MOST_HEADERS {
                return Err(NotAnEvent::TooLarge { bytes, most: bytes });
            }
        }
        entries.sort();
        Ok(Self { entries, bytes })
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.entries.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

fn looks_structured(payload: &[u8]) -> bool {
    // A cheap look before anything is parsed.
    let first = payload.iter().find(|byte| !byte.is_ascii_whitespace());
    first == Some(&b'{') && payload.windows(13).any(|window| window == b"\"specversion\"")
}

fn from_structured(payload: &[u8]) -> Result<Event, NotAnEvent> {
    let value: Value = serde_json::from_slice(payload).map_err(|error| NotAnEvent::Json(error.to_string()))?;
    let Value::Object(attributes) = &value else {
        return Err(NotAnEvent::Json("expected an object".to_owned()));
    };
    for required in ["specversion", "id", "source", "type"] {
        match attributes.get(required) {
            Some(Value::String(_)) => {}
            Some(_) => return Err(NotAnEvent::attribute(required, "is no text")),
            None => return Err(NotAnEvent::attribute(required, "is absent")),
        }
    }
    check_specversion(attributes.get("specversion").and_then(Value::as_str).unwrap_or_default())?;
    serde_json::from_value(value).map_err(|error| NotAnEvent::Json(error.to_string()))
}

fn check_specversion(version: &str) -> Result<(), NotAnEvent> {
    if version == "1.0" {
        return Ok(());
    }
    let shown: String = version.chars().take(16).collect();
    Err(NotAnEvent::attribute("specversion", format!("is {shown:?}; expected \"1.0\"")))
}

fn binary(headers: &Headers<'_>, payload: &[u8]) -> Result<Event, NotAnEvent> {
    let attribute = |name: &str| -> Result<Option<String>, NotAnEvent> {
        headers.get(&format!("ce-{name}")).map(|raw| decode(name, raw)).transpose()
    };
    check_specversion(&attribute("specversion")?.unwrap_or_default())?;
    let mut builder = EventBuilderV10::new();
    for (required, set) in [
        ("id", EventBuilderV10::id as fn(EventBuilderV10, String) -> EventBuilderV10),
        ("source", EventBuilderV10::source),
        ("type", EventBuilderV10::ty),
    ] {
        let value = attribute(required)?.ok_or_else(|| NotAnEvent::attribute(required, "is absent"))?;
        builder = set(builder, value);
    }
    if let Some(subject) = attribute("subject")? {
        builder = builder.subject(subject);
    }
    if let Some(time) = attribute("time")? {
        builder = builder.time(time);
    }
    for (name, _) in &headers.entries {
        if let Some(name) = name.strip_prefix("ce-")
            && !STANDARD.contains(&name)
            && let Some(value) = attribute(name)?
        {
            builder = builder.extension(name, value);
        }
    }
    let content_type = match attribute("datacontenttype")? {
        Some(stated) => stated,
        None => headers.get("content-type").unwrap_or("application/json").to_owned(),
    };
    let data = if is_json(&content_type) {
        serde_json::from_slice(payload)
            .map(Data::Json)
            .map_err(|error| NotAnEvent::attribute("data", format!("is not valid JSON: {error}")))?
    } else {
        Data::Binary(payload.to_vec())
    };
    builder = match attribute("dataschema")? {
        Some(schema) => builder.data_with_schema(content_type, schema, data),
        None => builder.data(content_type, data),
    };
    builder.build().map_err(|error| NotAnEvent::attribute("of the event", error.to_string()))
}

/// Attributes with a meaning of their own; every other `ce-` header is an extension.
const STANDARD: [&str; 8] = ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"];

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(essence.as_str(), "application/json" | "text/json") || essence.ends_with("+json")
}

/// Percent-decoded once. What is no escape stays as it is: some SDKs do not encode.
fn decode(name: &str, raw: &str) -> Result<String, NotAnEvent> {
    if raw.len() > LONGEST_ATTRIBUTE * 3 {
        return Err(NotAnEvent::attribute(name, format!("has {} bytes; at most {LONGEST_ATTRIBUTE}", raw.len())));
    }
    percent_decode_str(raw)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| NotAnEvent::attribute(name, "is not UTF-8 after percent-decoding"))
}

fn check(event: &Event) -> Result<(), NotAnEvent> {
    let texts = [
        ("id", Some(event.id())),
        ("source", Some(event.source().as_str())),
        ("type", Some(event.ty())),
        ("subject", event.subject()),
        ("datacontenttype", event.datacontenttype()),
    ];
    let extensions: Vec<(&str, String)> =
        event.iter_extensions().map(|(name, value)| (name, value.to_string())).collect();
    let all = texts
        .iter()
        .filter_map(|(name, value)| value.map(|value| (*name, value)))
        .chain(extensions.iter().map(|(name, value)| (*name, value.as_str())));
    for (name, value) in all {
        let shown: String = name.chars().take(64).collect();
        if value.is_empty() && matches!(name, "id" | "source" | "type") {
            return Err(NotAnEvent::attribute(&shown, "is empty"));
        }
        if value.len() > LONGEST_ATTRIBUTE {
            let problem = format!("has {} bytes; at most {LONGEST_ATTRIBUTE}", value.len());
            return Err(NotAnEvent::attribute(&shown, problem));
        }
        if value.chars().any(char::is_control) {
            return Err(NotAnEvent::attribute(&shown, "contains a control character"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MOST: usize = 100_000;

    fn headers(entries: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in entries {
            headers.insert(*name, *value);
        }
        headers
    }

    fn binary_headers() -> Vec<(&'static str, &'static str)> {
        vec![
            ("ce-specversion", "1.0"),
            ("ce-id", "e-1"),
            ("ce-source", "/grading"),
            ("ce-type", "io.lablet.command.register_worker.v1"),
        ]
    }

    fn read_binary(entries: &[(&str, &str)], payload: &[u8]) -> Result<Event, NotAnEvent> {
        read(Some(&headers(entries)), payload, MOST)
    }

    #[test]
    fn what_is_written_is_read_and_equal_events_are_equal_bytes() {
        let event = EventBuilderV10::new()
            .id("1")
            .source("/lablet/worker")
            .ty("io.lablet.worker.changed.v1")
            .subject("w1")
            .time("2026-03-01T10:00:00Z")
            .extension("position", "0000000001-00000000000000000001-0000000000000000001")
            .extension("previousposition", "0")
            .data_with_schema("application/json", "http://127.0.0.1:8080/api/schemas/a.json", json!({"a": 1}))
            .build()
            .unwrap();
        let (headers, payload) = structured(&event).unwrap();
        assert_eq!(headers.get("Content-Type").unwrap().as_str(), STRUCTURED);
        assert_eq!(read(Some(&headers), &payload, MOST).unwrap(), event);
        assert_eq!(structured(&event.clone()).unwrap().1, payload);
        assert_eq!(read(None, &payload, MOST).unwrap(), event, "without any header too");
    }

    #[test]
    fn binary_headers_are_read_in_any_case_and_percent_decoded_once() {
        let mut entries = binary_headers();
        entries.extend([
            ("CE-Subject", "caf%C3%A9%2520"),
            ("Ce-Traceparent", "00-ab-cd-01"),
            ("Content-Type", "application/json; charset=utf-8"),
        ]);
        let event = read_binary(&entries, br#"{"session_id":"s1"}"#).unwrap();
        assert_eq!(event.subject(), Some("café%20"));
        assert_eq!(extension(&event, "traceparent").as_deref(), Some("00-ab-cd-01"));
        assert_eq!(json_data(&event).unwrap(), json!({"session_id": "s1"}));
    }

    #[test]
    fn a_sender_that_does_not_encode_is_understood() {
        let mut entries = binary_headers();
        entries.push(("ce-subject", "100% sure"));
        assert_eq!(read_binary(&entries, b"{}").unwrap().subject(), Some("100% sure"));
    }

    #[test]
    fn data_without_content_type_is_json_and_other_data_is_bytes() {
        assert_eq!(json_data(&read_binary(&binary_headers(), b"[1]").unwrap()).unwrap(), json!([1]));
        let mut entries = binary_headers();
        entries.push(("ce-datacontenttype", "text/plain"));
        let event = read_binary(&entries, b"hello").unwrap();
        assert!(matches!(json_data(&event), Err(NotAnEvent::Attribute { name, .. }) if name == "data"));
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        let reason = |result: Result<Event, NotAnEvent>| result.unwrap_err().to_string();
        let mut refusals = vec![
            reason(read(None, b"hello", MOST)),
            reason(read(None, b"{\"a\":1}", MOST)),
            reason(read(Some(&headers(&[("content-type", STRUCTURED)])), b"[", MOST)),
            reason(read(Some(&headers(&[("content-type", STRUCTURED)])), b"\xff\xfe", MOST)),
            reason(read(Some(&headers(&[("Content-Type", "application/cloudevents-batch+json")])), b"[]", MOST)),
            reason(read(None, br#"{"specversion":"0.3","id":"1","source":"/a","type":"t"}"#, MOST)),
            reason(read(None, br#"{"specversion":"1.0","id":"","source":"/a","type":"t"}"#, MOST)),
            reason(read(None, br#"{"specversion":"1.0","id":1,"source":"/a","type":"t"}"#, MOST)),
            reason(read(None, br#"{"specversion":"1.0","id":"1","source":"/a"}"#, MOST)),
            reason(read(None, br#"{"specversion":"1.0","id":"a\u0000b","source":"/a","type":"t"}"#, MOST)),
            reason(read(None, &vec![b'x'; MOST + 1], MOST)),
            reason(read_binary(&[("ce-specversion", "1.0"), ("ce-id", "%FF")], b"{}")),
            reason(read_binary(&binary_headers(), b"\xff")),
            reason(read_binary(&[("ce-specversion", "1.0")], b"{}")),
        ];
        let deep = format!(r#"{{"specversion":"1.0","id":"1","source":"/a","type":"t","data":{}}}"#, "[".repeat(5_000));
        refusals.push(reason(read(None, deep.as_bytes(), MOST)));
        insta::assert_snapshot!(refusals.join("\n"), @r#"
        the message is no CloudEvent: it has neither the header ce-specversion nor the content type application/cloudevents+json nor a JSON object with specversion
        the message is no CloudEvent: it has neither the header ce-specversion nor the content type application/cloudevents+json nor a JSON object with specversion
        the CloudEvent is not valid JSON: EOF while parsing a list at line 1 column 1
        the CloudEvent is not valid JSON: expected value at line 1 column 1
        a batch of CloudEvents is not taken; send each event on its own
        the CloudEvent's attribute specversion is "0.3"; expected "1.0"
        the CloudEvent's attribute id is empty
        the CloudEvent's attribute id is no text
        the CloudEvent's attribute type is absent
        the CloudEvent's attribute id contains a control character
        the message has 100001 bytes; at most 100000 are taken
        the CloudEvent's attribute id is not UTF-8 after percent-decoding
        the CloudEvent's attribute data is not valid JSON: expected value at line 1 column 1
        the CloudEvent's attribute id is absent
        the CloudEvent is not valid JSON: recursion limit exceeded at line 1 column 189
        "#);
    }
}
