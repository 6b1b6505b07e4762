//! `docs/events.md`, made from the committed samples and the schemas of the events.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

/// The catalogue of all events: what each means, what its members are, and a sample.
///
/// # Errors
/// A sample cannot be read, or an event has none.
pub fn catalogue(repository: &Path) -> anyhow::Result<String> {
    let samples = repository.join("domain/samples");
    let mut text = String::from(
        "# Events\n\nEvery event of the log, as the log stores it. What goes out on the bus is a notice of it, a CloudEvent whose \
         `type` is `io.lablet.` and the type below; see `/api/asyncapi.json` and `/api/schemas/` of a running gateway.\n\n\
         This page is made from `domain/samples` and the comments of the events: `UPDATE_SNAPSHOTS=1 cargo test -p harness` \
         writes it again.\n",
    );
    for (aggregate, schema) in [
        ("lablet_session", serde_json::to_value(schemars::schema_for!(domain::lablet_session::LabletSessionEvent))?),
        (
            "lablet_definition",
            serde_json::to_value(schemars::schema_for!(domain::lablet_definition::LabletDefinitionEvent))?,
        ),
        ("worker", serde_json::to_value(schemars::schema_for!(domain::worker::WorkerEvent))?),
    ] {
        writeln!(text, "\n## `{aggregate}`")?;
        for variant in schema["oneOf"].as_array().context("an event enum has no variants")? {
            let name = variant["properties"]["type"]["const"].as_str().context("a variant has no type")?;
            let sample =
                std::fs::read_to_string(samples.join(format!("{name}.json"))).with_context(|| name.to_owned())?;
            let meaning = variant["description"].as_str().unwrap_or_default().replace('\n', " ");
            writeln!(text, "\n### `{name}`\n\n{meaning}\n")?;
            for (member, meaning) in members(&schema, variant) {
                writeln!(text, "- `{member}`: {meaning}")?;
            }
            writeln!(text, "\n```json\n{}\n```", sample.trim_end())?;
            for (addition, sample) in further_samples(&samples, name)? {
                writeln!(text, "\nWith `{addition}`:\n\n```json\n{}\n```", sample.trim_end())?;
            }
        }
    }
    Ok(text)
}

/// The samples of an event beside its first one, by what they have in addition: `<event>+<addition>.json`.
fn further_samples(samples: &Path, event: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut further = BTreeMap::new();
    for entry in std::fs::read_dir(samples)? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if let Some(addition) = name.strip_prefix(event).and_then(|rest| rest.strip_prefix('+')) {
            further.insert(addition.to_owned(), std::fs::read_to_string(&path)?);
        }
    }
    Ok(further)
}

/// Members of a variant and what they mean, those of flattened structs included.
fn members(schema: &Value, variant: &Value) -> BTreeMap<String, String> {
    let mut members = BTreeMap::new();
    let flattened = variant["$ref"]
        .as_str()
        .and_then(|reference| reference.strip_prefix("#/$defs/"))
        .map(|name| &schema["$defs"][name]);
    for part in [Some(variant), flattened].into_iter().flatten() {
        for (name, property) in part["properties"].as_object().into_iter().flatten() {
            if name != "type" {
                let meaning = property["description"].as_str().unwrap_or_default().replace('\n', " ");
                members.insert(name.clone(), meaning);
            }
        }
    }
    members
}
