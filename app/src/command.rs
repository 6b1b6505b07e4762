//! Commands as services send them: one name each, and JSON.

mod name;

use std::str::FromStr;

use domain::advice_policy::{DEFAULT_POLICY, NewPolicy};
use domain::lablet_definition::{DefinitionRevision, NewDefinition, NewProposal, NewVerification, ProposalStep};
use domain::lablet_session::{
    AcknowledgementWithdrawal, AllocationCorrection, DriftAcknowledgement, EvidenceReason, NewSession,
    ObservationFailure, ObservationReport, Transition,
};
use domain::worker::{NewWorker, PressureReport, WorkerChange};
use domain::{ActorName, DefinitionId, Invalid, RequestId, SessionId, WorkerId};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::name::CommandName;
use crate::body::{self, Body, InvalidBody};

/// What asks for an observation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObservationRequest {
    /// The request's own id; generated when absent. The same id again is the same request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// On whose behalf; recorded after the sender's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<ActorName>,
}

/// Every command a service may send.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Begin a definition.
    CreateLabletDefinition(NewDefinition),
    /// Change a definition.
    ReviseLabletDefinition {
        /// The definition.
        id: DefinitionId,
        /// What changes.
        revision: DefinitionRevision,
    },
    /// Begin a worker.
    RegisterWorker(NewWorker),
    /// Change a worker.
    ChangeWorker {
        /// The worker.
        id: WorkerId,
        /// What changes.
        change: WorkerChange,
    },
    /// Record how much of a worker is free, and what it is short of.
    RecordWorkerPressure {
        /// The worker.
        id: WorkerId,
        /// What was read.
        report: PressureReport,
    },
    /// Begin a session.
    CreateLabletSession(NewSession),
    /// Move a session on in its life.
    TransitionLabletSession {
        /// The session.
        session_id: SessionId,
        /// Where to.
        transition: Transition,
    },
    /// Ask for an observation of a session.
    RequestResourceObservation {
        /// The session.
        session_id: SessionId,
        /// The request.
        request: ObservationRequest,
    },
    /// Record an observation of a session.
    RecordResourceObservation {
        /// The session.
        session_id: SessionId,
        /// What was seen.
        report: Box<ObservationReport>,
    },
    /// Record that a session could not be observed.
    RecordObservationFailure {
        /// The session.
        session_id: SessionId,
        /// Why.
        failure: ObservationFailure,
    },
    /// Count what was measured in a session no longer as evidence.
    ExcludeSessionEvidence {
        /// The session.
        session_id: SessionId,
        /// Why.
        reason: EvidenceReason,
    },
    /// Count it again.
    IncludeSessionEvidence {
        /// The session.
        session_id: SessionId,
        /// Why.
        reason: EvidenceReason,
    },
    /// Leave a session's drifted ports as they are for a while.
    AcknowledgePortDrift {
        /// The session.
        session_id: SessionId,
        /// Why, and until when.
        acknowledgement: DriftAcknowledgement,
    },
    /// Let drifted ports that were acknowledged be open again.
    WithdrawPortDriftAcknowledgement {
        /// The session.
        session_id: SessionId,
        /// Why.
        withdrawal: AcknowledgementWithdrawal,
    },
    /// Allocate other ports to a session, as its lab has others than were allocated.
    CorrectAllocation {
        /// The session.
        session_id: SessionId,
        /// Which, and why.
        correction: AllocationCorrection,
    },
    /// Set the policy of definitions that have none of their own.
    SetDefaultPolicy(NewPolicy),
    /// Set the policy of one definition.
    SetDefinitionPolicy {
        /// The definition.
        id: DefinitionId,
        /// The policy, and why.
        new: NewPolicy,
    },
    /// Propose another size.
    OpenProposal {
        /// The definition.
        id: DefinitionId,
        /// What is proposed.
        new: Box<NewProposal>,
    },
    /// Take back an open proposal.
    WithdrawProposal {
        /// The definition.
        id: DefinitionId,
        /// The proposal, and why.
        step: ProposalStep,
    },
    /// Take care of a proposal.
    ClaimProposal {
        /// The definition.
        id: DefinitionId,
        /// The proposal.
        step: ProposalStep,
    },
    /// Make a revision of a proposal.
    ApplyProposal {
        /// The definition.
        id: DefinitionId,
        /// The proposal.
        step: ProposalStep,
    },
    /// Say that a claimed proposal could not be applied.
    FailProposal {
        /// The definition.
        id: DefinitionId,
        /// The proposal, and why.
        step: ProposalStep,
    },
    /// Say that a proposal is not wanted.
    DismissProposal {
        /// The definition.
        id: DefinitionId,
        /// The proposal, and why.
        step: ProposalStep,
    },
    /// Say whether an applied proposal held.
    VerifyProposal {
        /// The definition.
        id: DefinitionId,
        /// What its sessions say.
        verification: NewVerification,
    },
}

impl Command {
    /// The names of all commands, as they stand in subjects and types.
    pub const NAMES: [&'static str; 24] = [
        "create_lablet_definition",
        "revise_lablet_definition",
        "register_worker",
        "change_worker",
        "record_worker_pressure",
        "create_lablet_session",
        "transition_lablet_session",
        "request_resource_observation",
        "record_resource_observation",
        "record_observation_failure",
        "exclude_session_evidence",
        "include_session_evidence",
        "acknowledge_port_drift",
        "withdraw_port_drift_acknowledgement",
        "correct_allocation",
        "set_default_policy",
        "set_definition_policy",
        "open_proposal",
        "withdraw_proposal",
        "claim_proposal",
        "apply_proposal",
        "fail_proposal",
        "dismiss_proposal",
        "verify_proposal",
    ];

    /// The command's name, e.g. `register_worker`.
    pub fn name(&self) -> &'static str {
        let [
            create_definition,
            revise,
            register,
            change,
            pressure,
            create_session,
            transition,
            request,
            record,
            failure,
            exclude,
            include,
            acknowledge,
            withdraw_acknowledgement,
            correct,
            set_default,
            set_own,
            open,
            withdraw,
            claim,
            apply,
            fail,
            dismiss,
            verify,
        ] = Self::NAMES;
        match self {
            Self::CreateLabletDefinition(_) => create_definition,
            Self::ReviseLabletDefinition { .. } => revise,
            Self::RegisterWorker(_) => register,
            Self::ChangeWorker { .. } => change,
            Self::RecordWorkerPressure { .. } => pressure,
            Self::CreateLabletSession(_) => create_session,
            Self::TransitionLabletSession { .. } => transition,
            Self::RequestResourceObservation { .. } => request,
            Self::RecordResourceObservation { .. } => record,
            Self::RecordObservationFailure { .. } => failure,
            Self::ExcludeSessionEvidence { .. } => exclude,
            Self::IncludeSessionEvidence { .. } => include,
            Self::AcknowledgePortDrift { .. } => acknowledge,
            Self::WithdrawPortDriftAcknowledgement { .. } => withdraw_acknowledgement,
            Self::CorrectAllocation { .. } => correct,
            Self::SetDefaultPolicy(_) => set_default,
            Self::SetDefinitionPolicy { .. } => set_own,
            Self::OpenProposal { .. } => open,
            Self::WithdrawProposal { .. } => withdraw,
            Self::ClaimProposal { .. } => claim,
            Self::ApplyProposal { .. } => apply,
            Self::FailProposal { .. } => fail,
            Self::DismissProposal { .. } => dismiss,
            Self::VerifyProposal { .. } => verify,
        }
    }

    /// Type and id of the aggregate that the command is about, where the command names it.
    pub fn about(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::CreateLabletDefinition(new) => Some(("lablet_definition", new.id.as_ref()?.as_str())),
            Self::ReviseLabletDefinition { id, .. }
            | Self::SetDefinitionPolicy { id, .. }
            | Self::OpenProposal { id, .. }
            | Self::WithdrawProposal { id, .. }
            | Self::ClaimProposal { id, .. }
            | Self::ApplyProposal { id, .. }
            | Self::FailProposal { id, .. }
            | Self::DismissProposal { id, .. }
            | Self::VerifyProposal { id, .. } => Some(("lablet_definition", id.as_str())),
            Self::SetDefaultPolicy(_) => Some(("advice_policy", DEFAULT_POLICY)),
            Self::RegisterWorker(new) => Some(("worker", new.id.as_ref()?.as_str())),
            Self::ChangeWorker { id, .. } | Self::RecordWorkerPressure { id, .. } => Some(("worker", id.as_str())),
            Self::CreateLabletSession(new) => Some(("lablet_session", new.id.as_ref()?.as_str())),
            Self::TransitionLabletSession { session_id, .. }
            | Self::RequestResourceObservation { session_id, .. }
            | Self::RecordResourceObservation { session_id, .. }
            | Self::RecordObservationFailure { session_id, .. }
            | Self::ExcludeSessionEvidence { session_id, .. }
            | Self::IncludeSessionEvidence { session_id, .. }
            | Self::AcknowledgePortDrift { session_id, .. }
            | Self::WithdrawPortDriftAcknowledgement { session_id, .. }
            | Self::CorrectAllocation { session_id, .. } => Some(("lablet_session", session_id.as_str())),
        }
    }

    /// The CloudEvent type of the command with this name, e.g. `io.lablet.command.register_worker.v1`.
    pub fn event_type(name: &str) -> String {
        format!("io.lablet.command.{name}.v1")
    }

    /// The member of a command's data that holds the id of what it is about; `None` for one that begins something.
    pub fn id_field(name: &str) -> Option<&'static str> {
        match name {
            "revise_lablet_definition"
            | "set_definition_policy"
            | "open_proposal"
            | "withdraw_proposal"
            | "claim_proposal"
            | "apply_proposal"
            | "fail_proposal"
            | "dismiss_proposal"
            | "verify_proposal" => Some("definition_id"),
            "change_worker" | "record_worker_pressure" => Some("worker_id"),
            "transition_lablet_session"
            | "request_resource_observation"
            | "record_resource_observation"
            | "record_observation_failure"
            | "exclude_session_evidence"
            | "include_session_evidence"
            | "acknowledge_port_drift"
            | "withdraw_port_drift_acknowledgement"
            | "correct_allocation" => Some("session_id"),
            _ => None,
        }
    }

    /// Reads a command. The id of what it is about stands in the data (`session_id`, `definition_id`, `worker_id`) or,
    /// where it is absent there, in the event's `subject`; both given and different is refused.
    ///
    /// # Errors
    /// [`InvalidBody`] naming every field that is wrong. An unknown name is a complaint about the field `type`.
    pub fn parse(name: &str, subject: Option<&str>, data: Value) -> Result<Body<Self>, InvalidBody> {
        let step = |data: Value| read_about::<DefinitionId, ProposalStep>("definition_id", subject, data);
        let evidence = |data: Value| read_about::<SessionId, EvidenceReason>("session_id", subject, data);
        match name {
            "create_lablet_definition" => Ok(read(data)?.map(Self::CreateLabletDefinition)),
            "revise_lablet_definition" => Ok(read_about("definition_id", subject, data)?
                .map(|(id, revision)| Self::ReviseLabletDefinition { id, revision })),
            "register_worker" => Ok(read(data)?.map(Self::RegisterWorker)),
            "change_worker" => {
                Ok(read_about("worker_id", subject, data)?.map(|(id, change)| Self::ChangeWorker { id, change }))
            }
            "record_worker_pressure" => {
                Ok(read_about("worker_id", subject, data)?
                    .map(|(id, report)| Self::RecordWorkerPressure { id, report }))
            }
            "create_lablet_session" => Ok(read(data)?.map(Self::CreateLabletSession)),
            "transition_lablet_session" => Ok(read_about("session_id", subject, data)?
                .map(|(session_id, transition)| Self::TransitionLabletSession { session_id, transition })),
            "request_resource_observation" => Ok(read_about("session_id", subject, data)?
                .map(|(session_id, request)| Self::RequestResourceObservation { session_id, request })),
            "record_resource_observation" => Ok(read_about("session_id", subject, data)?
                .map(|(session_id, report)| Self::RecordResourceObservation { session_id, report: Box::new(report) })),
            "record_observation_failure" => Ok(read_about("session_id", subject, data)?
                .map(|(session_id, failure)| Self::RecordObservationFailure { session_id, failure })),
            "exclude_session_evidence" => {
                Ok(evidence(data)?.map(|(session_id, reason)| Self::ExcludeSessionEvidence { session_id, reason }))
            }
            "include_session_evidence" => {
                Ok(evidence(data)?.map(|(session_id, reason)| Self::IncludeSessionEvidence { session_id, reason }))
            }
            "acknowledge_port_drift" => Ok(read_about("session_id", subject, data)?
                .map(|(session_id, acknowledgement)| Self::AcknowledgePortDrift { session_id, acknowledgement })),
            "withdraw_port_drift_acknowledgement" => Ok(read_about("session_id", subject, data)?
                .map(|(session_id, withdrawal)| Self::WithdrawPortDriftAcknowledgement { session_id, withdrawal })),
            "correct_allocation" => Ok(read_about("session_id", subject, data)?
                .map(|(session_id, correction)| Self::CorrectAllocation { session_id, correction })),
            "set_default_policy" => Ok(read(data)?.map(Self::SetDefaultPolicy)),
            "set_definition_policy" => {
                Ok(read_about("definition_id", subject, data)?.map(|(id, new)| Self::SetDefinitionPolicy { id, new }))
            }
            "open_proposal" => Ok(read_about("definition_id", subject, data)?
                .map(|(id, new)| Self::OpenProposal { id, new: Box::new(new) })),
            "withdraw_proposal" => Ok(step(data)?.map(|(id, step)| Self::WithdrawProposal { id, step })),
            "claim_proposal" => Ok(step(data)?.map(|(id, step)| Self::ClaimProposal { id, step })),
            "apply_proposal" => Ok(step(data)?.map(|(id, step)| Self::ApplyProposal { id, step })),
            "fail_proposal" => Ok(step(data)?.map(|(id, step)| Self::FailProposal { id, step })),
            "dismiss_proposal" => Ok(step(data)?.map(|(id, step)| Self::DismissProposal { id, step })),
            "verify_proposal" => Ok(read_about("definition_id", subject, data)?
                .map(|(id, verification)| Self::VerifyProposal { id, verification })),
            unknown => {
                let shown: String = unknown.chars().take(100).collect();
                let expected = format!("one of {}", Self::NAMES.join(", "));
                Err(Invalid::new("type", format!("is {shown:?}"), expected).into())
            }
        }
    }
}

fn read<T: DeserializeOwned + JsonSchema + 'static>(data: Value) -> Result<Body<T>, InvalidBody> {
    body::from_value(data).map_err(|invalid| invalid.about("data"))
}

/// Reads a command's data and the id of what it is about. The complaints about both are reported together.
fn read_about<I, T>(field: &'static str, subject: Option<&str>, mut data: Value) -> Result<Body<(I, T)>, InvalidBody>
where
    I: FromStr<Err = Invalid>,
    T: DeserializeOwned + JsonSchema + 'static,
{
    let Value::Object(members) = &mut data else {
        return Err(read::<T>(data).err().unwrap_or_else(|| no_object().into()));
    };
    let id = take_id(field, subject, members)
        .and_then(|id| id.parse().map_err(|invalid: Invalid| Invalid { field: field.to_owned(), ..invalid }));
    match (id, read(data)) {
        (Ok(id), Ok(body)) => Ok(body.map(|body| (id, body))),
        (Ok(_), Err(invalid)) => Err(invalid),
        (Err(invalid), Ok(_)) => Err(invalid.into()),
        (Err(invalid), Err(more)) => Err(InvalidBody::from(invalid).and(more)),
    }
}

fn no_object() -> Invalid {
    Invalid::new("data", "is no JSON object", "a JSON object")
}

fn take_id(field: &'static str, subject: Option<&str>, members: &mut Map<String, Value>) -> Result<String, Invalid> {
    let expected = "an identifier, in the data or as the event's subject";
    let given = match members.remove(field) {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) => Some(id),
        Some(_) => return Err(Invalid::new(field, "is no text", expected)),
    };
    match (given, subject) {
        (Some(given), Some(subject)) if given != subject => Err(Invalid::new(
            field,
            "is another one than the event's subject",
            "the same identifier in both, or only one of them",
        )),
        (Some(id), _) => Ok(id),
        (None, Some(id)) => Ok(id.to_owned()),
        (None, None) => Err(Invalid::new(field, "is absent", expected)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_session_may_stand_in_the_data_or_in_the_subject() {
        let name = "transition_lablet_session";
        let in_data = Command::parse(name, None, json!({"session_id": "s1", "new_status": "ready"})).unwrap();
        let in_subject = Command::parse(name, Some("s1"), json!({"new_status": "ready"})).unwrap();
        let in_both = Command::parse(name, Some("s1"), json!({"session_id": "s1", "new_status": "ready"})).unwrap();
        assert_eq!(in_data, in_subject);
        assert_eq!(in_data, in_both);
        assert_eq!(in_data.value.name(), name);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_field() {
        let refused = |name: &str, subject: Option<&str>, data: Value| {
            Command::parse(name, subject, data).unwrap_err().to_string()
        };
        let refusals = [
            refused("drop_everything", None, json!({})),
            refused("transition_lablet_session", Some("s2"), json!({"session_id": "s1", "new_status": "ready"})),
            refused("transition_lablet_session", None, json!({"new_status": "ready"})),
            refused("transition_lablet_session", Some("a.b"), json!({"new_status": "ready"})),
            refused("transition_lablet_session", Some("s1"), json!({"new_status": "flying"})),
            refused("transition_lablet_session", Some("s1"), json!([])),
            refused(
                "record_resource_observation",
                Some("s1"),
                json!({"observed_resources": {"nodes": [{"node_id": 5}]}}),
            ),
            refused(
                "record_resource_observation",
                Some("s1"),
                json!({"observed_resources": {}, "observed_ports": {"a": 70000}}),
            ),
            refused("create_lablet_definition", None, json!({"name": "x", "surplus": 1})),
        ];
        insta::assert_snapshot!(refusals.join("\n"), @r#"
        type is "drop_everything"; expected one of create_lablet_definition, revise_lablet_definition, register_worker, change_worker, record_worker_pressure, create_lablet_session, transition_lablet_session, request_resource_observation, record_resource_observation, record_observation_failure, exclude_session_evidence, include_session_evidence, acknowledge_port_drift, withdraw_port_drift_acknowledgement, correct_allocation, set_default_policy, set_definition_policy, open_proposal, withdraw_proposal, claim_proposal, apply_proposal, fail_proposal, dismiss_proposal, verify_proposal
        session_id is another one than the event's subject; expected the same identifier in both, or only one of them
        session_id is absent; expected an identifier, in the data or as the event's subject
        session_id is "a.b"; expected an identifier: 1 to 64 ASCII letters, digits, '_' or '-', starting with a letter or a digit
        new_status is "flying"; expected one of pending, scheduled, instantiating, ready, running, collecting, grading, stopping, stopped, archived, terminated, expired
        data is a list; expected an object
        observed_resources.nodes[0].node_id is 5; expected 1 to 64 characters on one line, without control characters and bidirectional overrides
        observed_ports.a is 70000; expected a port from 1 to 65535
        resource_requirements is missing; expected an object; and version is missing; expected 1 to 64 characters on one line, without control characters and bidirectional overrides
        "#);
    }

    #[test]
    fn every_name_leads_to_its_command() {
        for name in Command::NAMES {
            match Command::parse(name, Some("x"), json!({"surplus": 1})) {
                Ok(body) => assert_eq!((body.value.name(), body.unknown.warnings().len()), (name, 1)),
                Err(refused) => assert_ne!(refused.complaints()[0].field, "type", "{name}"),
            }
        }
    }
}
