//! JSON Schemas of every published and accepted message, and the AsyncAPI document, generated from the code.

mod asyncapi;
mod simple;

use domain::advice_policy::NewPolicy;
use domain::ids::ID_PATTERN;
use domain::lablet_definition::{DefinitionRevision, NewDefinition, NewProposal, NewVerification, ProposalStep};
use domain::lablet_session::{
    AcknowledgementWithdrawal, AllocationCorrection, DriftAcknowledgement, EvidenceReason, NewSession,
    ObservationFailure, ObservationReport, Transition,
};
use domain::worker::{NewWorker, PressureReport, WorkerChange};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

pub use self::asyncapi::document as asyncapi;
pub use self::simple::{Forms, name_forms, simplify};
use crate::command::{Command, ObservationRequest};
use crate::notice::{self, PublicUrl, schema_name};

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Lablet publishes it.
    Published,
    /// Lablet accepts it.
    Accepted,
}

/// A message: a CloudEvent type and the schema of its data.
#[derive(Debug, Clone)]
pub struct MessageSchema {
    /// The schema's name, e.g. `io.lablet.worker.changed.v1.0.json`.
    pub name: String,
    /// E.g. `io.lablet.worker.changed.v1`.
    pub cloud_event_type: String,
    /// E.g. `worker.changed` or `register_worker`.
    pub short_name: &'static str,
    /// Which way it goes.
    pub direction: Direction,
    /// What it says.
    pub says: String,
    /// Its data, as JSON Schema (draft 2020-12), complete in itself.
    pub schema: Value,
}

/// Every message, published ones first.
pub fn all(public_url: &PublicUrl) -> Vec<MessageSchema> {
    let settings = SchemaSettings::draft2020_12().with_transform(simplify);
    generate(public_url, &settings).into_iter().map(|(message, _)| message).collect()
}

/// Every message, with the schemas that the schema of its data refers to, by name. Of one direction, a name means the same
/// schema in all messages: what is published says how it is written, what is accepted how it is read.
fn generate(public_url: &PublicUrl, settings: &SchemaSettings) -> Vec<(MessageSchema, Map<String, Value>)> {
    let identified = |name: &str, title: &str, mut schema: Value| {
        schema["$id"] = format!("{}/api/schemas/{name}", public_url.as_str()).into();
        schema["title"] = title.into();
        schema
    };
    let mut written = settings.clone().for_serialize().into_generator();
    let published = notice::schemas().into_iter().map(|kind| {
        let cloud_event_type = kind.cloud_event_type();
        let name = schema_name(&cloud_event_type);
        let schema = (kind.schema)(&mut written).to_value();
        let message = MessageSchema {
            schema: identified(&name, &cloud_event_type, schema),
            short_name: kind.event_type,
            direction: Direction::Published,
            says: kind.says.to_owned(),
            name,
            cloud_event_type,
        };
        (message, written.take_definitions(true))
    });
    let mut read = settings.clone().for_deserialize().into_generator();
    let accepted = Command::NAMES.into_iter().map(|command| {
        let cloud_event_type = Command::event_type(command);
        let name = schema_name(&cloud_event_type);
        let (says, schema) = command_schema(command, &mut read);
        let message = MessageSchema {
            schema: identified(&name, &cloud_event_type, schema),
            short_name: command,
            direction: Direction::Accepted,
            says,
            name,
            cloud_event_type,
        };
        (message, read.take_definitions(true))
    });
    published.chain(accepted).collect()
}

/// The schema with this name, as `/api/schemas/{name}` serves it.
pub fn find(name: &str, public_url: &PublicUrl) -> Option<Value> {
    all(public_url).into_iter().find(|message| message.name == name).map(|message| message.schema)
}

fn command_schema(command: &str, generator: &mut SchemaGenerator) -> (String, Value) {
    fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
        generator.root_schema_for::<T>()
    }
    let (says, schema) = match command {
        "create_lablet_definition" => ("Begin a definition.", schema_of::<NewDefinition>(generator)),
        "revise_lablet_definition" => ("Change a definition.", schema_of::<DefinitionRevision>(generator)),
        "register_worker" => ("Begin a worker.", schema_of::<NewWorker>(generator)),
        "change_worker" => ("Change a worker.", schema_of::<WorkerChange>(generator)),
        "record_worker_pressure" => {
            ("Record how much of a worker is free, and what it is short of.", schema_of::<PressureReport>(generator))
        }
        "create_lablet_session" => ("Begin a session.", schema_of::<NewSession>(generator)),
        "transition_lablet_session" => ("Move a session on in its life.", schema_of::<Transition>(generator)),
        "request_resource_observation" => ("Ask for an observation.", schema_of::<ObservationRequest>(generator)),
        "record_resource_observation" => ("Record an observation.", schema_of::<ObservationReport>(generator)),
        "record_observation_failure" => {
            ("Record that a session could not be observed, or was skipped.", schema_of::<ObservationFailure>(generator))
        }
        "exclude_session_evidence" => {
            ("Count what was measured in a session no longer as evidence.", schema_of::<EvidenceReason>(generator))
        }
        "include_session_evidence" => {
            ("Count what was measured in a session as evidence again.", schema_of::<EvidenceReason>(generator))
        }
        "acknowledge_port_drift" => (
            "Leave a session's drifted ports as they are for a while. Another drift is not acknowledged by it.",
            schema_of::<DriftAcknowledgement>(generator),
        ),
        "withdraw_port_drift_acknowledgement" => (
            "Let drifted ports that were acknowledged be open again.",
            schema_of::<AcknowledgementWithdrawal>(generator),
        ),
        "correct_allocation" => (
            "Allocate other ports to a session, as its lab has others than were allocated.",
            schema_of::<AllocationCorrection>(generator),
        ),
        "set_default_policy" => {
            ("Set the policy of definitions that have none of their own.", schema_of::<NewPolicy>(generator))
        }
        "set_definition_policy" => ("Set a definition's policy of advice.", schema_of::<NewPolicy>(generator)),
        "open_proposal" => ("Propose another size.", schema_of::<NewProposal>(generator)),
        "withdraw_proposal" => ("Take back an open proposal.", schema_of::<ProposalStep>(generator)),
        "claim_proposal" => ("Take care of a proposal: it changes no more.", schema_of::<ProposalStep>(generator)),
        "apply_proposal" => ("Make a revision of a proposal.", schema_of::<ProposalStep>(generator)),
        "fail_proposal" => ("Say that a claimed proposal could not be applied.", schema_of::<ProposalStep>(generator)),
        "dismiss_proposal" => ("Say that a proposal is not wanted.", schema_of::<ProposalStep>(generator)),
        "verify_proposal" => ("Say whether an applied proposal held.", schema_of::<NewVerification>(generator)),
        // A test holds this list against `Command::NAMES`.
        _ => ("", Schema::default()),
    };
    let mut schema = schema.to_value();
    if let Some(field) = Command::id_field(command) {
        schema["properties"][field] = json!({
            "type": "string",
            "pattern": ID_PATTERN,
            "description": "What the command is about. May stand in the event's `subject` instead.",
        });
    }
    (says.to_owned(), schema)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_message_has_a_schema_of_its_own() {
        let messages = all(&PublicUrl::default());
        let names: BTreeSet<&str> = messages.iter().map(|message| message.name.as_str()).collect();
        assert_eq!(names.len(), messages.len());
        assert_eq!(messages.len(), notice::schemas().len() + Command::NAMES.len());
        for message in &messages {
            assert_eq!(message.schema["type"], "object", "{}", message.name);
            assert!(!message.says.is_empty(), "{}", message.name);
            assert_eq!(
                message.schema["$id"],
                format!("http://127.0.0.1:8080/api/schemas/{}", message.name),
                "the same as the notice's dataschema"
            );
            assert_eq!(find(&message.name, &PublicUrl::default()).as_ref(), Some(&message.schema));
        }
        assert_eq!(find("nothing.json", &PublicUrl::default()), None);
    }

    #[test]
    fn a_command_may_name_what_it_is_about() {
        let schema = find("io.lablet.command.transition_lablet_session.v1.0.json", &PublicUrl::default()).unwrap();
        assert!(schema["properties"]["session_id"].is_object());
        assert_eq!(schema["required"], json!(["new_status"]));
    }
}
