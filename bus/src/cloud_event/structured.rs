//! An event that is one JSON object.

use cloudevents::event::ExtensionValue;
use cloudevents::{Data, Event};
use serde_json::{Map, Value};

use super::attributes::{Attributes, STANDARD};
use super::{LONGEST_NAME, NotAnEvent, decode_base64, is_json, json_problem};

pub(super) fn read(payload: &[u8]) -> Result<Event, NotAnEvent> {
    let value: Value =
        serde_json::from_slice(payload).map_err(|error| NotAnEvent::Json(json_problem(payload, &error)))?;
    let Value::Object(mut members) = value else {
        return Err(match value {
            Value::Array(_) => NotAnEvent::Batch,
            _ => NotAnEvent::Json("expected an object".to_owned()),
        });
    };
    let [specversion, id, source, ty, subject, time, datacontenttype, dataschema] =
        STANDARD.map(|name| take_text(&mut members, name));
    let mut attributes = Attributes {
        specversion: specversion?,
        id: id?,
        source: source?,
        ty: ty?,
        subject: subject?,
        time: time?,
        datacontenttype: datacontenttype?,
        // It is not used, so its type does not matter.
        dataschema: dataschema.unwrap_or_default(),
        extensions: Vec::new(),
    };
    let data = take_data(&mut members, attributes.datacontenttype.as_deref())?;
    attributes.extensions = members.into_iter().filter_map(extension).collect();
    attributes.into_event(data)
}

fn take_text(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, NotAnEvent> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(NotAnEvent::attribute(name, "is no text; expected a JSON string")),
    }
}

/// An extension as the specification knows it: a text, a boolean or an integer. Null means none, and whatever else a
/// sender's library wrote there has no meaning that could be lost.
fn extension((name, value): (String, Value)) -> Option<(String, ExtensionValue)> {
    let value = match value {
        Value::String(text) => ExtensionValue::String(text),
        Value::Bool(flag) => ExtensionValue::Boolean(flag),
        Value::Number(number) => ExtensionValue::Integer(number.as_i64()?),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    let fits = !name.is_empty() && name.len() <= LONGEST_NAME && !name.chars().any(char::is_control);
    fits.then_some((name, value))
}

fn take_data(members: &mut Map<String, Value>, content_type: Option<&str>) -> Result<Option<Data>, NotAnEvent> {
    let plain = members.remove("data").filter(|data| !data.is_null());
    let encoded = members.remove("data_base64").filter(|data| !data.is_null());
    Ok(match (plain, encoded) {
        (Some(_), Some(_)) => {
            return Err(NotAnEvent::attribute("data", "is there beside data_base64; expected one of them"));
        }
        (None, None) => None,
        (Some(Value::String(text)), None) if !content_type.is_none_or(is_json) => Some(Data::String(text)),
        (Some(value), None) => Some(Data::Json(value)),
        (None, Some(Value::String(text))) => Some(Data::Binary(decode_base64(&text)?)),
        (None, Some(_)) => {
            return Err(NotAnEvent::attribute("data_base64", "is no text; expected base64 in a JSON string"));
        }
    })
}
