//! The AsyncAPI 3 document: channels, operations and messages.
//!
//! AsyncAPI's NATS binding knows only queues; streams, consumers and acknowledgement stand in `x-` fields.

mod named_schemas;

use domain::live_sample::LiveSample;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use self::named_schemas::NamedSchemas;
use super::simple::{in_pascal_case, simplify};
use super::{Direction, MessageSchema, generate};
use crate::command_consumer::CommandReply;
use crate::notice::PublicUrl;
use bus::{cloud_event, streams, subjects};

/// Where the schemas of the document stand in it.
const SCHEMAS: &str = "#/components/schemas/";

/// The document for this public address.
pub fn document(public_url: &PublicUrl) -> Value {
    let mut channels = Map::new();
    let mut operations = Map::new();
    let mut messages = Map::new();
    // AsyncAPI's own schemas are those of draft 7.
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.transforms.push(Box::new(simplify));
    });
    let mut schemas = NamedSchemas::default();
    for (message, referenced) in generate(public_url, &settings) {
        let key = message.cloud_event_type.clone();
        messages.insert(key.clone(), described(&message, referenced, &mut schemas));
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
                    .insert(format!("accept.{}", message.short_name), command_operation(&channel, &key, &message));
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
    messages.insert("answer".to_owned(), answer(settings.clone(), &mut schemas));
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
    messages.insert(LIVE_SAMPLES.to_owned(), live_sample(settings, &mut schemas));
    json!({
        "asyncapi": "3.1.0",
        "info": {
            "title": "Lablet",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Events of lab sessions, definitions and workers, and the commands that services may send. CloudEvents 1.0 over NATS JetStream.",
        },
        "servers": { "nats": server() },
        "defaultContentType": cloud_event::STRUCTURED,
        "x-internal": {
            "description": "Not for services: what Lablet's processes tell each other. Its form may change with any release.",
            "streams": { streams::RECORDS: { "subjects": [subjects::RECORDS] } },
            "buckets": { streams::SAMPLING_BUCKET: { "description": "What running sessions used so far, by session." } },
            "subjects": [subjects::NUDGE_LOG, subjects::NUDGE_PROJECTIONS, subjects::LIVE_CONTROLLERS],
        },
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": schemas.finish(),
            "securitySchemes": { "user": { "type": "userPassword", "description": "A team's user, whose permissions name the subjects that it may use" } },
        },
    })
}

fn server() -> Value {
    json!({
        "host": "{host}:{port}",
        "protocol": "nats",
        "description": "The NATS servers of the installation, with JetStream",
        "variables": {
            "host": { "default": "127.0.0.1", "description": "A NATS server" },
            "port": { "default": "4222", "description": "The port of its clients" },
        },
        "security": [{ "$ref": "#/components/securitySchemes/user" }],
    })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("{SCHEMAS}{schema}") })
}

fn described(message: &MessageSchema, referenced: Map<String, Value>, schemas: &mut NamedSchemas) -> Value {
    let schema_address = message.schema["$id"].clone();
    let published = message.direction == Direction::Published;
    let name = in_pascal_case(message.cloud_event_type.trim_start_matches("io.lablet.").trim_start_matches("command."));
    let data = schemas.add_root(&format!("{name}Data"), message.schema.clone(), referenced, message.direction);
    schemas.add(&name, envelope(message, data, published));
    let mut described = json!({
        "name": message.cloud_event_type,
        "title": message.says,
        "contentType": cloud_event::STRUCTURED,
        "x-binary-mode": if published { "not published; accepted from others only" } else { "accepted as well: attributes as headers ce-<name>" },
        "payload": reference(&name),
        "x-data-schema": schema_address,
    });
    if !published {
        described["correlationId"] =
            json!({ "location": "$message.payload#/id", "description": "The reply names it as `command_id`." });
    }
    described
}

fn envelope(message: &MessageSchema, data: Value, published: bool) -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let mut properties = json!({
        "specversion": { "type": "string", "const": "1.0" },
        "id": text("Unique within its source; a repeated one is the same message."),
        "source": text("Who says it."),
        "type": { "type": "string", "const": message.cloud_event_type },
        "subject": text("The id of what it is about."),
        "time": { "type": "string", "format": "date-time" },
        "datacontenttype": { "type": "string", "const": "application/json" },
        "dataschema": { "type": "string", "format": "uri" },
        "correlationid": text("What belongs to one undertaking."),
        "causationid": text("What caused it."),
        "traceparent": text("The trace that began it."),
        "data": data,
    });
    let mut required = vec!["specversion", "id", "source", "type"];
    if !published {
        required.push("data");
    }
    if published {
        properties["actor"] = text("Who caused it, e.g. `admin:ada`, `service:booking`, `team:grading`.");
        properties["position"] = text("Place in the global order; sorts as text.");
        properties["previousposition"] =
            text("The position before it. Where it is not the last one seen, read the hole from the gateway.");
        properties["aggregatesequence"] = text("Place within its aggregate, from 1.");
        properties["recordedtime"] = json!({ "type": "string", "format": "date-time" });
        properties["dataref"] = json!({
            "type": "string",
            "format": "uri",
            "description": "Where exactly the data is, for whoever may read events over HTTP; present where the event would have more than 64 KiB, and then `data` is absent.",
        });
        required.extend(["subject", "time", "dataschema", "position", "previousposition", "aggregatesequence"]);
    }
    json!({
        "description": message.says,
        "type": "object",
        "properties": properties,
        "required": required,
    })
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

fn live_sample(settings: SchemaSettings, schemas: &mut NamedSchemas) -> Value {
    let mut generator = settings.for_serialize().into_generator();
    let schema = Value::from(generator.root_schema_for::<LiveSample<Uuid>>());
    let payload = schemas.add_root("LiveSample", schema, generator.take_definitions(true), Direction::Published);
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

/// A command may name the subject of its reply in a header.
fn command_operation(channel: &str, key: &str, message: &MessageSchema) -> Value {
    with_reply(operation("receive", channel, key, message), subjects::REPLY_TO)
}

fn request_operation(channel: &str, key: &str, message: &MessageSchema) -> Value {
    with_reply(operation("receive", channel, key, message), "reply-to")
}

fn with_reply(mut operation: Value, header: &str) -> Value {
    operation["reply"] = json!({
        "address": { "location": format!("$message.header#/{header}") },
        "channel": { "$ref": "#/channels/replies" },
        "messages": [{ "$ref": "#/channels/replies/messages/answer" }],
    });
    operation
}

fn answer(settings: SchemaSettings, schemas: &mut NamedSchemas) -> Value {
    let mut generator = settings.for_serialize().into_generator();
    let schema = Value::from(generator.root_schema_for::<CommandReply>());
    let payload = schemas.add_root("CommandReply", schema, generator.take_definitions(true), Direction::Published);
    json!({
        "name": "answer",
        "title": "What became of a command",
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "properties": {
                subjects::COMMAND_ID: { "type": "string", "description": "The `id` of the command's CloudEvent" },
                "Nats-Service-Error": { "type": "string", "description": "The code, where a request was refused" },
                "Nats-Service-Error-Code": { "type": "string", "description": "The status, where a request was refused" },
            },
        },
        "correlationId": { "location": format!("$message.header#/{}", subjects::COMMAND_ID) },
        "payload": payload,
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
        let schemas = &document["components"]["schemas"];
        assert_eq!(
            document["components"]["messages"]["live_samples"]["payload"]["$ref"],
            "#/components/schemas/LiveSample"
        );
        let payload = schemas.to_string();
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
