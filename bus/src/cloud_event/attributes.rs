//! What both modes have in common: attributes, once they are texts, and an event made of them.

use chrono::{DateTime, NaiveDateTime, Utc};
use cloudevents::event::{EventBuilderV10, ExtensionValue};
use cloudevents::{AttributesWriter as _, Data, Event, EventBuilder as _};
use url::Url;

use super::{LONGEST_ATTRIBUTE, MOST_EXTENSIONS, NotAnEvent, cut};

/// Attributes with a meaning of their own; every other one is an extension.
pub(super) const STANDARD: [&str; 8] =
    ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"];

/// An event on its way in, attribute by attribute.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    pub(super) specversion: Option<String>,
    pub(super) id: Option<String>,
    pub(super) source: Option<String>,
    pub(super) ty: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) time: Option<String>,
    pub(super) datacontenttype: Option<String>,
    pub(super) dataschema: Option<String>,
    pub(super) extensions: Vec<(String, ExtensionValue)>,
}

impl Attributes {
    /// The event, with every attribute within its bounds.
    ///
    /// # Errors
    /// [`NotAnEvent`] naming the attribute.
    pub(super) fn into_event(self, data: Option<Data>) -> Result<Event, NotAnEvent> {
        let version = required("specversion", self.specversion)?;
        if version != "1.0" {
            let shown = cut(&version, 16);
            return Err(NotAnEvent::attribute("specversion", format!("is {shown:?}; expected \"1.0\"")));
        }
        let mut event = EventBuilderV10::new()
            .id(required("id", self.id)?)
            .source(required("source", self.source)?)
            .ty(required("type", self.ty)?)
            .build()
            .map_err(|error| NotAnEvent::attribute("of the event", error.to_string()))?;
        if let Some(subject) = optional("subject", self.subject)? {
            event.set_subject(Some(subject));
        }
        if let Some(time) = optional("time", self.time)? {
            event.set_time(Some(read_time(&time)?));
        }
        if let Some(content_type) = optional("datacontenttype", self.datacontenttype)? {
            event.set_datacontenttype(Some(content_type));
        }
        // The schema is not used here, so one that is not an absolute URI is left out.
        if let Some(schema) = optional("dataschema", self.dataschema)?.and_then(|schema| Url::parse(&schema).ok()) {
            event.set_dataschema(Some(schema));
        }
        if self.extensions.len() > MOST_EXTENSIONS {
            return Err(NotAnEvent::TooMany { what: "extensions", most: MOST_EXTENSIONS });
        }
        for (name, value) in self.extensions {
            if let ExtensionValue::String(text) = &value {
                check(&name, text)?;
            }
            event.set_extension(&name, value);
        }
        if let Some(data) = data {
            event.set_data_unchecked(data);
        }
        Ok(event)
    }
}

fn required(name: &str, value: Option<String>) -> Result<String, NotAnEvent> {
    let value = value.ok_or_else(|| NotAnEvent::attribute(name, "is absent"))?;
    if value.is_empty() {
        return Err(NotAnEvent::attribute(name, "is empty"));
    }
    check(name, &value)?;
    Ok(value)
}

/// An optional attribute; an empty one means none, as some serialisers write it so.
fn optional(name: &str, value: Option<String>) -> Result<Option<String>, NotAnEvent> {
    let value = value.filter(|value| !value.is_empty());
    if let Some(value) = &value {
        check(name, value)?;
    }
    Ok(value)
}

fn check(name: &str, value: &str) -> Result<(), NotAnEvent> {
    if value.len() > LONGEST_ATTRIBUTE {
        let problem = format!("has {} bytes; at most {LONGEST_ATTRIBUTE}", value.len());
        return Err(NotAnEvent::attribute(name, problem));
    }
    if value.chars().any(char::is_control) {
        return Err(NotAnEvent::attribute(name, "contains a control character"));
    }
    Ok(())
}

fn read_time(text: &str) -> Result<DateTime<Utc>, NotAnEvent> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let shown = cut(text, 64);
    let lacks_offset = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
        .iter()
        .any(|format| NaiveDateTime::parse_from_str(text, format).is_ok());
    let problem = if lacks_offset {
        format!("is {shown:?}, which lacks its offset from UTC; expected one such as \"2026-03-01T10:00:00Z\"")
    } else {
        format!("is {shown:?}, which is no time; expected one such as \"2026-03-01T10:00:00Z\"")
    };
    Err(NotAnEvent::attribute("time", problem))
}
