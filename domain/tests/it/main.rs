//! Committed samples of every event version: old history stays readable by test, not by hope.

#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

mod any_command;
mod hostile;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cqrs_es::DomainEvent;
use domain::advice_policy::AdvicePolicyEvent;
use domain::lablet_definition::LabletDefinitionEvent;
use domain::lablet_session::LabletSessionEvent;
use domain::worker::WorkerEvent;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn samples() -> BTreeMap<String, Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap())
        })
        .collect()
}

/// The `type` of every variant, as the schema of the event enum lists them.
fn types_of<E: schemars::JsonSchema>() -> BTreeSet<String> {
    let schema = serde_json::to_value(schemars::schema_for!(E)).unwrap();
    schema["oneOf"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variant| variant["properties"]["type"]["const"].as_str().unwrap().to_owned())
        .collect()
}

fn decode<E: DeserializeOwned + Serialize + DomainEvent>(name: &str, sample: &Value) {
    let event: E = serde_json::from_value(sample.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let version = format!("{}.v{}", event.event_type(), event.event_version());
    assert!(name == version || name.strip_prefix(&version).is_some_and(|rest| rest.starts_with('+')), "{name}");
    assert_eq!(&serde_json::to_value(&event).unwrap(), sample, "{name} is written back otherwise than it was read");
}

#[test]
fn every_sample_is_read_and_written_back_as_it_is() {
    for (name, sample) in samples() {
        match name.split('.').next().unwrap() {
            "lablet_session" => decode::<LabletSessionEvent>(&name, &sample),
            "lablet_definition" => decode::<LabletDefinitionEvent>(&name, &sample),
            "worker" => decode::<WorkerEvent>(&name, &sample),
            "advice_policy" => decode::<AdvicePolicyEvent>(&name, &sample),
            other => panic!("a sample of an unknown aggregate: {other}"),
        }
    }
}

#[test]
fn every_event_has_a_sample() {
    let mut types = types_of::<LabletSessionEvent>();
    types.extend(types_of::<LabletDefinitionEvent>());
    types.extend(types_of::<WorkerEvent>());
    types.extend(types_of::<AdvicePolicyEvent>());
    // `<type>+<member>.json` is another sample of a type, with a member that came later.
    let sampled = samples().into_keys().map(|name| name.split('+').next().unwrap().to_owned());
    assert_eq!(types, sampled.collect());
    assert!(types.len() >= 20, "an event and its sample are gone: {types:?}");
}
