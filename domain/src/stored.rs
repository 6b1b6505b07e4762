//! Reading what the log holds.
//!
//! The types of this crate refuse whatever is beyond their bounds. A stored event was accepted under the bounds of its day
//! and has to stay readable when they become narrower. So it is read by the same types, and where they refuse it, once
//! more with every value made to fit the bounds of their JSON schema:
//!
//! - a text is cut and cleaned,
//! - a time becomes the nearest one,
//! - a number becomes null (unknown) where the schema allows that, else the nearest one,
//! - a list or a map keeps its first entries.
//!
//! The stored event itself does not change, and is shown as it was recorded.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use chrono::SecondsFormat;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

use crate::text::Rule;
use crate::time;

/// Reads a stored value from its JSON.
///
/// # Errors
/// It is no such value, however its parts are made to fit.
pub fn read<T: DeserializeOwned + JsonSchema + 'static>(json: &str) -> serde_json::Result<T> {
    serde_json::from_str(json).or_else(|refusal| match serde_json::from_str(json) {
        Ok(value) => read_fitted(value, refusal),
        Err(no_json) => Err(no_json),
    })
}

/// As [`read`], from a part that was taken out of a stored value.
///
/// # Errors
/// It is no such value, however its parts are made to fit.
pub fn read_part<T: DeserializeOwned + JsonSchema + 'static>(value: Value) -> serde_json::Result<T> {
    T::deserialize(&value).or_else(|refusal| read_fitted(value, refusal))
}

fn read_fitted<T>(mut value: Value, refusal: serde_json::Error) -> serde_json::Result<T>
where
    T: DeserializeOwned + JsonSchema + 'static,
{
    let schema = schema_of::<T>();
    let definitions = schema.get("$defs").and_then(Value::as_object);
    Bounds { definitions }.fit(&mut value, &schema);
    // The first refusal is about the value as it is stored.
    T::deserialize(value).map_err(|_| refusal)
}

/// The schema of a type, made once.
fn schema_of<T: JsonSchema + 'static>() -> Arc<Value> {
    static SCHEMAS: LazyLock<RwLock<HashMap<TypeId, Arc<Value>>>> = LazyLock::new(RwLock::default);
    let id = TypeId::of::<T>();
    let known = SCHEMAS.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
    known.unwrap_or_else(|| {
        let generator = SchemaSettings::draft2020_12().for_deserialize().into_generator();
        let schema = Arc::new(generator.into_root_schema_for::<T>().to_value());
        SCHEMAS.write().unwrap_or_else(PoisonError::into_inner).insert(id, schema.clone());
        schema
    })
}

/// The bounds that a schema states.
struct Bounds<'a> {
    definitions: Option<&'a Map<String, Value>>,
}

impl<'a> Bounds<'a> {
    /// Makes a value fit. What no bound of the schema is about stays as it is.
    fn fit(&self, value: &mut Value, schema: &'a Value) {
        let Some(schema) = schema.as_object() else { return };
        if let Some(referred) = self.referred(schema) {
            self.fit(value, referred);
        }
        if let Some(variant) = self.variant(value, schema) {
            self.fit(value, variant);
        }
        match value {
            Value::Object(members) => {
                let named = schema.get("properties").and_then(Value::as_object);
                let others = schema.get("additionalProperties");
                for (name, member) in members.iter_mut() {
                    if let Some(schema) = named.and_then(|named| named.get(name)).or(others) {
                        self.fit(member, schema);
                    }
                }
                if let Some(most) = count(schema, "maxProperties")
                    && members.len() > most
                {
                    *members = std::mem::take(members).into_iter().take(most).collect();
                }
            }
            Value::Array(entries) => {
                entries.truncate(count(schema, "maxItems").unwrap_or(usize::MAX));
                if let Some(items) = schema.get("items") {
                    entries.iter_mut().for_each(|entry| self.fit(entry, items));
                }
            }
            Value::String(text) => {
                if let Some(fitting) = fitting_text(text, schema) {
                    *text = fitting;
                }
            }
            Value::Number(number) => {
                if let Some(nearest) = nearest_number(number, schema) {
                    *value = if allows_null(schema) { Value::Null } else { nearest };
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// The schema to which this one refers, where it does.
    fn referred(&self, schema: &Map<String, Value>) -> Option<&'a Value> {
        let name = schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?;
        self.definitions?.get(name)
    }

    /// The alternative of a schema that is about this value: the one that is not null, or whose tag the value has.
    fn variant(&self, value: &Value, schema: &'a Map<String, Value>) -> Option<&'a Value> {
        let variants = ["anyOf", "oneOf"].iter().find_map(|name| schema.get(*name)?.as_array())?;
        variants.iter().find(|variant| {
            let is_null = variant.get("type").is_some_and(|kind| kind == "null");
            let referred = variant.as_object().and_then(|variant| self.referred(variant));
            !is_null && [Some(*variant), referred].into_iter().flatten().all(|schema| has_tags(value, schema))
        })
    }
}

/// Whether a value has every tag that a schema states.
fn has_tags(value: &Value, schema: &Value) -> bool {
    let properties = schema.get("properties").and_then(Value::as_object);
    let tags = properties.into_iter().flatten().filter_map(|(name, tag)| Some((name, tag.get("const")?)));
    tags.into_iter().all(|(name, tag)| value.get(name) == Some(tag))
}

/// A text or a time as it fits, where it is beyond its bounds.
fn fitting_text(text: &str, schema: &Map<String, Value>) -> Option<String> {
    if schema.get("format").is_some_and(|format| format == "date-time") {
        // The pattern states the years; a time without it may lie anywhere.
        schema.get("pattern")?;
        let at = time::parse(text).ok()?;
        return time::check(at).err().map(|_| time::shown(at).to_rfc3339_opts(SecondsFormat::AutoSi, true));
    }
    let (least, most) = (count(schema, "minLength").unwrap_or(0), count(schema, "maxLength")?);
    let pattern = schema.get("pattern").and_then(Value::as_str)?;
    let rules = [Rule::line(least, most), Rule::prose(least, most)];
    let rule = rules.into_iter().find(|rule| rule.pattern() == pattern)?;
    rule.check(text).err()?;
    let clean = rule.clean(text);
    // Something has to stand where a text must not be blank.
    Some(if rule.check(&clean).is_ok() { clean } else { "\u{fffd}".repeat(least) })
}

/// The bound that is nearest to a number beyond its bounds.
fn nearest_number(number: &Number, schema: &Map<String, Value>) -> Option<Value> {
    let number = number.as_f64()?;
    let beyond = |bound: &str, is_beyond: fn(f64, f64) -> bool| {
        schema.get(bound).filter(|bound| bound.as_f64().is_some_and(|bound| is_beyond(number, bound)))
    };
    beyond("minimum", |number, least| number < least)
        .or_else(|| beyond("maximum", |number, most| number > most))
        .cloned()
}

fn count(schema: &Map<String, Value>, bound: &str) -> Option<usize> {
    schema.get(bound).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok())
}

fn allows_null(schema: &Map<String, Value>) -> bool {
    schema.get("type").and_then(Value::as_array).is_some_and(|types| types.iter().any(|kind| kind == "null"))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::lablet_session::LabletSessionEvent;
    use crate::observation::{MOST_SMALL, ResourceObservation};

    fn sample() -> Value {
        serde_json::from_str(include_str!("../samples/lablet_session.resources_observed.v1.json")).unwrap()
    }

    fn observation(event: &LabletSessionEvent) -> &ResourceObservation {
        match event {
            LabletSessionEvent::ResourcesObserved { observed_resources, .. } => observed_resources,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_recorded_under_wider_bounds_stays_readable() {
        let mut stored = sample();
        let seen = &mut stored["observed_resources"];
        seen["total_cpu_cores"] = json!(1e300);
        seen["total_memory_mb"] = json!(-1);
        seen["observed_at"] = "9999-12-31T23:59:59-05:00".into();
        seen["observer"] = "a\u{1b}[2J".into();
        seen["nodes"][0]["label"] = "a\nb".into();
        seen["nodes"][0]["node_id"] = "x".repeat(65).into();
        seen["nodes"][0]["tags"] = json!(vec!["VLAN10"; 300]);
        seen["coverage"]["nodes_total"] = json!(5_000);
        seen["nominal"]["unknown_cpu_nodes"] = json!(5_000);
        seen["simulation_stats"] = json!({"of": "CML"});
        assert!(serde_json::from_value::<LabletSessionEvent>(stored.clone()).is_err(), "no sender may state it");
        let read = read::<LabletSessionEvent>(&stored.to_string()).unwrap();
        let seen = observation(&read);
        assert_eq!((seen.total_cpu_cores, seen.total_memory_mb), (None, None));
        assert_eq!(seen.observer.as_deref(), Some("a\u{fffd}[2J"));
        assert_eq!(seen.observed_at.unwrap().at(), time::shown(DateTime::<Utc>::MAX_UTC));
        let node = &seen.nodes[0];
        assert_eq!((node.label.as_str(), node.node_id.len(), node.tags.len()), ("a\u{fffd}b", 64, MOST_SMALL));
        assert_eq!(seen.coverage.as_ref().unwrap().nodes_total, None);
        assert_eq!(seen.nominal.unwrap().unknown_cpu_nodes.get(), 2_000);
        let whole = serde_json::from_value::<LabletSessionEvent>(sample()).unwrap();
        assert_eq!(seen.nodes[1], observation(&whole).nodes[1], "what fits stays as it is");
    }

    #[test]
    fn what_is_no_event_is_refused_as_it_stands() {
        let refused = read::<LabletSessionEvent>(r#"{"type": "lablet_session.paused.v1"}"#).unwrap_err().to_string();
        assert!(refused.contains("lablet_session.paused.v1"), "{refused}");
        assert!(read::<LabletSessionEvent>("{").is_err());
    }

    /// Every text and number of a value, by pointer.
    fn leaves(value: &Value, place: String, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                members.iter().for_each(|(name, member)| leaves(member, format!("{place}/{name}"), found));
            }
            Value::Array(entries) => {
                entries.iter().enumerate().for_each(|(at, entry)| leaves(entry, format!("{place}/{at}"), found));
            }
            Value::String(_) | Value::Number(_) => found.push(place),
            Value::Null | Value::Bool(_) => {}
        }
    }

    proptest! {
        #[test]
        fn whatever_text_or_number_of_an_observation_is_beyond_its_bounds_the_event_is_read(
            which in any::<prop::sample::Index>(), text in ".{0,600}", number in any::<u64>(),
        ) {
            let mut stored = sample();
            let seen = &mut stored["observed_resources"];
            let mut places = Vec::new();
            leaves(seen, String::new(), &mut places);
            // Port names, port numbers and words of a choice never had other bounds.
            places.retain(|place| !["observed_ports", "/ports/", "phase", "_at"].iter().any(|part| place.contains(part)));
            let place = which.get(&places);
            let leaf = seen.pointer_mut(place).unwrap();
            let wide = if place.contains("slot") { 7 } else { number >> 32 };
            let wide = if ["_mb", "bytes", "seconds"].iter().any(|part| place.contains(part)) { number } else { wide };
            *leaf = if leaf.is_string() { text.into() } else { wide.into() };
            prop_assert!(read::<LabletSessionEvent>(&stored.to_string()).is_ok(), "{}: {}", place, stored);
        }
    }
}
