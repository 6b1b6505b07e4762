//! `docs/events.md`, made from the committed samples, the notices that the code makes of them, and the schemas of the bus.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use app::log::{Metadata, RecordedEvent};
use app::notice::{PublicUrl, announce};
use app::schemas::{self, Direction, MessageSchema};
use domain::RawJson;
use domain::lablet_session::SessionStatus;
use serde_json::Value;

const ABOUT: &str = "# Events

What Lablet publishes: one notice for each event of its log, on the stream `LABLET_EVENTS`, as a structured CloudEvent with \
the headers `Content-Type: application/cloudevents+json` and `Nats-Msg-Id`, which is the event's `id`. The same CloudEvents \
come from `GET /api/events?after=…&before=…` and `GET /api/stream`.

- `position` is the place in the order of all events, and sorts as text; `previousposition` is that of the event before. \
Where it is not the last one that a consumer of all events has seen, the events between are missing: \
`GET /api/events?after=<last seen>&before=<position>` has them.
- A notice that would have more than 64 KiB has no `data`. Its `dataref` is the address of exactly that data, for whoever \
may read events over HTTP.
- `dataschema` is the address of the data's schema; `/api/asyncapi.json` describes all channels and messages.
- An event's stored form, which may be another, is at `GET /api/events/<id>`.

This page is made from `domain/samples` by the code that publishes them: `UPDATE_SNAPSHOTS=1 cargo test -p harness` writes it \
again.
";

/// Attributes of a notice in the order in which they are shown.
const ATTRIBUTES: [&str; 15] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "position",
    "previousposition",
    "aggregatesequence",
    "recordedtime",
    "actor",
    "correlationid",
    "data",
];

/// The catalogue of all events: what each means, what its data is, and a sample as it is on the bus.
///
/// # Errors
/// A sample cannot be read, or an event has none.
pub fn catalogue(repository: &Path) -> anyhow::Result<String> {
    let samples = repository.join("domain/samples");
    let mut text = String::from(ABOUT);
    write!(text, "\n## A session's life\n\n{}", session_states())?;
    let mut aggregate = String::new();
    for message in schemas::all(&PublicUrl::default()) {
        if message.direction != Direction::Published {
            continue;
        }
        let (of, _) = message.short_name.split_once('.').context("an event's type names no aggregate")?;
        if of != aggregate {
            of.clone_into(&mut aggregate);
            writeln!(text, "\n## `{aggregate}`")?;
        }
        describe(&mut text, &message, &samples)?;
    }
    Ok(text)
}

/// The states of a session, and the steps between them, as a diagram.
fn session_states() -> String {
    let mut diagram = String::from("```mermaid\nstateDiagram-v2\n    [*] --> pending\n");
    for from in SessionStatus::ALL {
        for to in from.next() {
            diagram.push_str(&format!("    {from} --> {to}\n"));
        }
        if from.next().is_empty() {
            diagram.push_str(&format!("    {from} --> [*]\n"));
        }
    }
    diagram.push_str("```\n");
    diagram
}

fn describe(text: &mut String, message: &MessageSchema, samples: &Path) -> anyhow::Result<()> {
    let stored = message.cloud_event_type.trim_start_matches("io.lablet.");
    writeln!(text, "\n### `{}`\n\n{}\n", message.cloud_event_type, message.says)?;
    for (member, property) in message.schema["properties"].as_object().into_iter().flatten().collect::<BTreeMap<_, _>>()
    {
        let meaning = property["description"].as_str().unwrap_or_default();
        writeln!(text, "- `{member}`: {}", meaning.split_whitespace().collect::<Vec<_>>().join(" "))?;
    }
    let sample = samples.join(format!("{stored}.json"));
    let sample = std::fs::read_to_string(sample).with_context(|| stored.to_owned())?;
    let (subject, notice) = notice(message, &sample)?;
    writeln!(text, "\nOn `{subject}`:\n\n```json\n{notice}\n```")?;
    for (addition, sample) in further_samples(samples, stored)? {
        writeln!(text, "\nWith `{addition}`:\n\n```json\n{}\n```", self::notice(message, &sample)?.1)?;
    }
    Ok(())
}

/// The notice that the code makes of a sample: its subject, and the CloudEvent.
fn notice(message: &MessageSchema, sample: &str) -> anyhow::Result<(String, String)> {
    let payload: Value = serde_json::from_str(sample)?;
    let (aggregate_type, event) = message.short_name.split_once('.').context("an event's type names no aggregate")?;
    let id = match aggregate_type {
        "lablet_session" => &payload["session_id"],
        "lablet_definition" => &payload["definition_id"],
        "worker" => &payload["worker_id"],
        _ => &payload["policy_id"],
    };
    let begins = matches!(event, "created" | "registered" | "set");
    let recorded = RecordedEvent {
        position: "0000000001-00000000000000000812-0000000000000004211".parse()?,
        event_id: "019b2c1e-5f7a-7c3e-9d4b-3a6f1c2d4e5f".parse()?,
        aggregate_type: aggregate_type.to_owned(),
        aggregate_id: id.as_str().context("a sample has no id")?.to_owned(),
        sequence: if begins { 1 } else { 7 },
        event_type: message.short_name.to_owned(),
        event_version: "1".to_owned(),
        payload: RawJson::from(&payload),
        metadata: Metadata {
            actor: Some("service:booking".to_owned()),
            correlation_id: Some("booking-4711".to_owned()),
            ..Metadata::default()
        },
        recorded_at: "2026-03-01T12:00:00Z".parse()?,
    };
    let previous = "0000000001-00000000000000000811-0000000000000004209".parse()?;
    let notice = announce(&recorded, previous, &PublicUrl::parse("https://lablet.example.com")?)?;
    let event: Value = serde_json::from_slice(&notice.payload)?;
    anyhow::ensure!(event.as_object().is_some_and(|event| event.len() == ATTRIBUTES.len()), "{event}");
    let mut lines = Vec::new();
    for attribute in ATTRIBUTES {
        let value = serde_json::to_string_pretty(&sorted(event[attribute].clone()))?;
        lines.push(format!("  \"{attribute}\": {}", value.replace('\n', "\n  ")));
    }
    Ok((notice.subject, format!("{{\n{}\n}}", lines.join(",\n"))))
}

/// The same value, with members in the order of their names: how serde_json keeps them depends on what else is built.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<String, Value> =
                members.into_iter().map(|(name, member)| (name, sorted(member))).collect();
            Value::Object(members.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
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
