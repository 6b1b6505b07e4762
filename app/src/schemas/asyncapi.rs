//! The AsyncAPI 3 document: channels, operations and messages.
//!
//! AsyncAPI's NATS binding knows only queues; streams, consumers and acknowledgement stand in `x-` fields.

use domain::live_sample::LiveSample;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Direction, MessageSchema, generate};
use crate::commands::ErrorCode;
use crate::notice::PublicUrl;
use bus::{streams, subjects};

/// The document for this public address.
pub fn document(public_url: &PublicUrl) -> Value {
    let mut channels = Map::new();
    let mut operations = Map::new();
    let mut messages = Map::new();
    // AsyncAPI's own schemas are those of draft 7. Nothing is referenced: a reference would be resolved against the
    // whole document.
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    for message in generate(public_url, &settings) {
        let key = message.cloud_event_type.clone();
        messages.insert(key.clone(), described(&message));
        match message.direction {
            Direction::Published => {
                let channel = format!("event.{}", message.short_name);
                channels.insert(channel.clone(), event_channel(&message, &key));
                operations
                    .insert(format!("publish.{}", message.short_name), operation("send", &channel, &key, &message));
            }
            Direction::Accepted => {
                let channel = format!("command.{}", message.short_name);
                channels.insert(channel.clone(), command_channel(&message, &key));
                operations
                    .insert(format!("accept.{}", message.short_name), operation("receive", &channel, &key, &message));
                let channel = format!("request.{}", message.short_name);
                channels.insert(channel.clone(), request_channel(&message, &key));
                operations
                    .insert(format!("answer.{}", message.short_name), request_operation(&channel, &key, &message));
            }
        }
    }
    channels.insert(
        "replies".to_owned(),
        json!({
            "address": null,
            "description": format!("The reply subject of a request, or the subject in the header {} of a command.", subjects::REPLY_TO),
            "messages": { "answer": { "$ref": "#/components/messages/answer" } },
        }),
    );
    messages.insert("answer".to_owned(), answer());
    channels.insert(LIVE_SAMPLES.to_owned(), live_samples_channel());
    operations.insert(
        format!("publish.{LIVE_SAMPLES}"),
        json!({
            "action": "send",
            "channel": { "$ref": format!("#/channels/{LIVE_SAMPLES}") },
            "summary": "A controller tells what came of sampling a running session.",
            "messages": [{ "$ref": format!("#/channels/{LIVE_SAMPLES}/messages/sample") }],
        }),
    );
    messages.insert(LIVE_SAMPLES.to_owned(), live_sample(settings));
    json!({
        "asyncapi": "3.1.0",
        "info": {
            "title": "Lablet",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Events of lab sessions, definitions and workers, and the commands that services may send. CloudEvents 1.0 over NATS JetStream.",
        },
        "defaultContentType": "application/cloudevents+json",
        "x-internal": {
            "description": "Not for services: what Lablet's processes tell each other. Its form may change with any release.",
            "streams": { streams::RECORDS: { "subjects": [subjects::RECORDS] } },
            "buckets": { streams::SAMPLING_BUCKET: { "description": "What running sessions used so far, by session." } },
            "subjects": [subjects::NUDGE_LOG, subjects::NUDGE_PROJECTIONS],
        },
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages },
    })
}

fn described(message: &MessageSchema) -> Value {
    let mut data = message.schema.clone();
    let schema_address = data["$id"].clone();
    if let Value::Object(schema) = &mut data {
        schema.remove("$schema");
        schema.remove("$id");
    }
    let published = message.direction == Direction::Published;
    json!({
        "name": message.cloud_event_type,
        "title": message.says,
        "contentType": "application/cloudevents+json",
        "x-binary-mode": if published { "not published; accepted from others only" } else { "accepted as well: attributes as headers ce-<name>" },
        "payload": envelope(message, &data, published),
        "x-data-schema": schema_address,
    })
}

fn envelope(message: &MessageSchema, data: &Value, published: bool) -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let mut properties = json!({
        "specversion": { "const": "1.0" },
        "id": text("Unique within its source; a repeated one is the same message."),
        "source": text("Who says it."),
        "type": { "const": message.cloud_event_type },
        "subject": text("The id of what it is about."),
        "time": { "type": "string", "format": "date-time" },
        "datacontenttype": { "const": "application/json" },
        "dataschema": { "type": "string", "format": "uri" },
        "correlationid": text("What belongs to one undertaking."),
        "causationid": text("What caused it."),
        "traceparent": text("The trace that began it."),
        "data": data,
    });
    let mut required = vec!["specversion", "id", "source", "type", "data"];
    if published {
        properties["position"] = text("Place in the global order; sorts as text.");
        properties["previousposition"] =
            text("The position before it. Where it is not the last one seen, read the hole from the gateway.");
        properties["aggregatesequence"] = text("Place within its aggregate, from 1.");
        properties["recordedtime"] = json!({ "type": "string", "format": "date-time" });
        properties["dataref"] = text("Where the whole event is; present where the data is a summary.");
        required.extend(["subject", "time", "dataschema", "position", "previousposition", "aggregatesequence"]);
    }
    json!({ "type": "object", "properties": properties, "required": required })
}

fn event_channel(message: &MessageSchema, key: &str) -> Value {
    json!({
        "address": format!("lablet.events.{}.{{aggregate_id}}", message.short_name),
        "description": message.says,
        "parameters": { "aggregate_id": { "description": "The aggregate's id." } },
        "messages": { "notice": { "$ref": format!("#/components/messages/{key}") } },
        "x-stream": streams::EVENTS,
    })
}

fn command_channel(message: &MessageSchema, key: &str) -> Value {
    json!({
        "address": subjects::command("{team}", message.short_name),
        "description": message.says,
        "parameters": { "team": { "description": "Who sends it; the server's permissions decide." } },
        "messages": { "command": { "$ref": format!("#/components/messages/{key}") } },
        "x-stream": streams::COMMANDS,
        "x-acknowledgement": "after it is recorded in the log; a command that can never work goes to the dead letters",
        "x-reply-header": subjects::REPLY_TO,
    })
}

fn request_channel(message: &MessageSchema, key: &str) -> Value {
    json!({
        "address": subjects::request("{team}", message.short_name),
        "description": format!("{} As request and reply, by the NATS micro service `lablet`.", message.says),
        "parameters": { "team": { "description": "Who sends it; the server's permissions decide." } },
        "messages": { "command": { "$ref": format!("#/components/messages/{key}") } },
        "bindings": { "nats": { "queue": "lablet" } },
    })
}

/// What the channel and the message of live samples are called.
const LIVE_SAMPLES: &str = "live_samples";

fn live_samples_channel() -> Value {
    json!({
        "address": subjects::live_samples("{session_id}"),
        "description": "What a running session uses, as it is sampled. A core message of NATS: no stream stores it, it comes at most once, and only to who listens at that moment. What was sampled is in the profile of the session's next observation.",
        "parameters": { "session_id": { "description": "The session's id." } },
        "messages": { "sample": { "$ref": format!("#/components/messages/{LIVE_SAMPLES}") } },
        "x-stream": Value::Null,
        "x-internal": "Between Lablet's processes: its form may change with any release.",
    })
}

fn live_sample(settings: SchemaSettings) -> Value {
    let schema = settings.into_generator().into_root_schema_for::<LiveSample<Uuid>>();
    let mut payload = Value::from(schema);
    if let Value::Object(schema) = &mut payload {
        schema.remove("$schema");
        schema.remove("title");
    }
    json!({
        "name": LIVE_SAMPLES,
        "title": "What came of one attempt to sample a session",
        "contentType": "application/json",
        "payload": payload,
    })
}

fn operation(action: &str, channel: &str, key: &str, message: &MessageSchema) -> Value {
    let alias = if message.direction == Direction::Published { "notice" } else { "command" };
    json!({
        "action": action,
        "channel": { "$ref": format!("#/channels/{channel}") },
        "summary": message.says,
        "messages": [{ "$ref": format!("#/channels/{channel}/messages/{alias}") }],
        "x-message": key,
    })
}

fn request_operation(channel: &str, key: &str, message: &MessageSchema) -> Value {
    let mut operation = operation("receive", channel, key, message);
    operation["reply"] = json!({
        "address": { "location": "$message.header#/reply-to" },
        "channel": { "$ref": "#/channels/replies" },
        "messages": [{ "$ref": "#/channels/replies/messages/answer" }],
    });
    operation
}

fn answer() -> Value {
    json!({
        "name": "answer",
        "title": "What became of a command",
        "contentType": "application/json",
        "payload": {
            "type": "object",
            "required": ["status"],
            "properties": {
                "status": { "enum": ["recorded", "already_done", "repeated", "refused"] },
                "position": { "type": "string" },
                "sequence": { "type": "integer" },
                "session_id": { "type": "string" },
                "definition_id": { "type": "string" },
                "worker_id": { "type": "string" },
                "request_id": { "type": "string" },
                "warnings": {
                    "type": "array",
                    "description": "What the sender should look at, although the command took effect. Absent where there is nothing.",
                    "items": {
                        "type": "object",
                        "required": ["code", "message"],
                        "properties": {
                            "code": { "type": "string" },
                            "field": { "type": "string" },
                            "message": { "type": "string" },
                        },
                    },
                },
                "error": {
                    "type": "object",
                    "required": ["code", "message"],
                    "properties": {
                        "code": { "type": "string", "examples": ErrorCode::ALL.map(ErrorCode::as_str) },
                        "message": { "type": "string" },
                        "field": { "type": "string" },
                        "errors": {
                            "type": "array",
                            "description": "Every field that is wrong, where fields are.",
                            "items": {
                                "type": "object",
                                "required": ["field", "problem", "expected"],
                                "properties": {
                                    "field": { "type": "string" },
                                    "problem": { "type": "string" },
                                    "expected": { "type": "string" },
                                },
                            },
                        },
                    },
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document(&PublicUrl::default());
        let mut open = vec![&document];
        let mut followed = 0;
        while let Some(value) = open.pop() {
            match value {
                Value::Object(members) => {
                    if let Some(Value::String(reference)) = members.get("$ref")
                        && let Some(pointer) = reference.strip_prefix('#')
                    {
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                        followed += 1;
                    }
                    open.extend(members.values());
                }
                Value::Array(items) => open.extend(items),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        assert!(followed > 100, "{followed}");
    }

    #[test]
    fn live_samples_are_a_channel_that_no_stream_stores() {
        let document = document(&PublicUrl::default());
        let channel = &document["channels"]["live_samples"];
        assert_eq!(channel["address"], "lablet.live.samples.{session_id}");
        assert_eq!(channel["x-stream"], Value::Null);
        assert!(channel["description"].as_str().unwrap().contains("no stream stores it"));
        let payload = document["components"]["messages"]["live_samples"]["payload"].to_string();
        for member in ["session_id", "term", "sampled", "worker_away", "cpu_cores"] {
            assert!(payload.contains(&format!("\"{member}\"")), "{member}: {payload}");
        }
    }

    #[test]
    fn commands_are_channels_by_team() {
        let document = document(&PublicUrl::default());
        let channel = &document["channels"]["command.record_resource_observation"];
        assert_eq!(channel["address"], "lablet.commands.{team}.record_resource_observation");
        assert_eq!(document["operations"]["accept.record_resource_observation"]["action"], "receive");
        assert_eq!(document["operations"]["publish.worker.changed"]["action"], "send");
    }
}
