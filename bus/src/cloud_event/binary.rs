//! An event whose attributes are headers and whose data is the payload.

use std::borrow::Cow;

use async_nats::HeaderMap;
use cloudevents::event::ExtensionValue;
use cloudevents::{Data, Event};
use percent_encoding::percent_decode_str;

use super::attributes::{Attributes, STANDARD};
use super::{LONGEST_ATTRIBUTE, LONGEST_NAME, MOST_HEADERS, NotAnEvent, is_json, parse_data};

/// Headers by lower-case name: NATS keeps the case in which a name was written.
pub(super) struct Headers<'a> {
    entries: Vec<(String, &'a str)>,
    bytes: usize,
}

impl<'a> Headers<'a> {
    /// The last value of each name: the one that counts, as for a header that was set again.
    pub(super) fn from_map(headers: Option<&'a HeaderMap>) -> Result<Self, NotAnEvent> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
            let name: &str = name.as_ref();
            bytes += values.iter().map(|value| name.len() + value.as_str().len()).sum::<usize>();
            let Some(value) = values.last() else { continue };
            entries.push((name.to_ascii_lowercase(), value.as_str()));
            if entries.len() > MOST_HEADERS {
                return Err(NotAnEvent::TooMany { what: "headers", most: MOST_HEADERS });
            }
        }
        entries.sort();
        Ok(Self { entries, bytes })
    }

    /// The value of the header with this lower-case name.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.entries.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// Size of all headers.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

pub(super) fn read(headers: &Headers<'_>, payload: &[u8]) -> Result<Event, NotAnEvent> {
    let attribute = |name: &str| -> Result<Option<String>, NotAnEvent> {
        headers.get(&format!("ce-{name}")).map(|raw| decode(name, raw)).transpose()
    };
    let mut attributes = Attributes {
        specversion: attribute("specversion")?,
        id: attribute("id")?,
        source: attribute("source")?,
        ty: attribute("type")?,
        subject: attribute("subject")?,
        time: attribute("time")?,
        datacontenttype: attribute("datacontenttype")?,
        dataschema: attribute("dataschema")?,
        extensions: Vec::new(),
    };
    for (name, raw) in &headers.entries {
        if let Some(name) = name.strip_prefix("ce-")
            && !STANDARD.contains(&name)
            && !name.is_empty()
            && name.len() <= LONGEST_NAME
            && !raw.is_empty()
        {
            attributes.extensions.push((name.to_owned(), ExtensionValue::String(decode(name, raw)?)));
        }
    }
    let stated = attributes.datacontenttype.take().filter(|stated| !stated.is_empty());
    let content_type = stated
        .or_else(|| headers.get("content-type").map(ToOwned::to_owned))
        .filter(|content_type| !content_type.is_empty())
        .unwrap_or_else(|| "application/json".to_owned());
    let data = match payload {
        [] => None,
        _ if is_json(&content_type) => Some(Data::Json(parse_data(payload)?)),
        _ => Some(Data::Binary(payload.to_vec())),
    };
    attributes.datacontenttype = Some(content_type);
    attributes.into_event(data)
}

/// Percent-decoded once. What is no escape stays as it is, and so does a value that decodes to no text: some SDKs do
/// not encode.
fn decode(name: &str, raw: &str) -> Result<String, NotAnEvent> {
    if raw.len() > LONGEST_ATTRIBUTE * 3 {
        return Err(NotAnEvent::attribute(name, format!("has {} bytes; at most {LONGEST_ATTRIBUTE}", raw.len())));
    }
    Ok(percent_decode_str(raw).decode_utf8().map_or_else(|_| raw.to_owned(), Cow::into_owned))
}
