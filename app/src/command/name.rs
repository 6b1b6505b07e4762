//! The names of commands, as a type: what a sender may send is a set of them.

use std::fmt;

use super::Command;

macro_rules! command_names {
    ($($variant:ident = $name:literal: $about:literal,)*) => {
        /// A command's name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum CommandName {
            $(#[doc = $about] $variant,)*
        }

        impl CommandName {
            /// All of them, in the order of [`Command::NAMES`].
            pub const ALL: [Self; Command::NAMES.len()] = [$(Self::$variant,)*];

            /// The name as it stands in subjects, types and settings.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

command_names! {
    CreateLabletDefinition = "create_lablet_definition": "Begin a definition.",
    ReviseLabletDefinition = "revise_lablet_definition": "Change a definition.",
    RegisterWorker = "register_worker": "Begin a worker.",
    ChangeWorker = "change_worker": "Change a worker.",
    RecordWorkerPressure = "record_worker_pressure": "Record how much of a worker is free, and what it is short of.",
    CreateLabletSession = "create_lablet_session": "Begin a session.",
    TransitionLabletSession = "transition_lablet_session": "Move a session on in its life.",
    RequestResourceObservation = "request_resource_observation": "Ask for an observation.",
    RecordResourceObservation = "record_resource_observation": "Record an observation.",
    RecordObservationFailure = "record_observation_failure": "Record that a session could not be observed.",
    ExcludeSessionEvidence = "exclude_session_evidence": "Count what was measured in a session no longer as evidence.",
    IncludeSessionEvidence = "include_session_evidence": "Count what was measured in a session as evidence again.",
    AcknowledgePortDrift = "acknowledge_port_drift": "Leave a session's drifted ports as they are for a while.",
    WithdrawPortDriftAcknowledgement = "withdraw_port_drift_acknowledgement": "Let drifted ports that were acknowledged be open again.",
    CorrectAllocation = "correct_allocation": "Allocate other ports to a session, as its lab has others than were allocated.",
    SetDefaultPolicy = "set_default_policy": "Set the policy of definitions that have none of their own.",
    SetDefinitionPolicy = "set_definition_policy": "Set a definition's policy of advice.",
    OpenProposal = "open_proposal": "Propose another size.",
    WithdrawProposal = "withdraw_proposal": "Take back an open proposal.",
    ClaimProposal = "claim_proposal": "Take care of a proposal: it changes no more.",
    ApplyProposal = "apply_proposal": "Make a revision of a proposal.",
    FailProposal = "fail_proposal": "Say that a claimed proposal could not be applied.",
    DismissProposal = "dismiss_proposal": "Say that a proposal is not wanted.",
    VerifyProposal = "verify_proposal": "Say whether an applied proposal held.",
}

impl CommandName {
    /// The command with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|command| command.as_str() == name)
    }
}

impl fmt::Display for CommandName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_name_here() {
        assert_eq!(CommandName::ALL.map(CommandName::as_str), Command::NAMES);
        assert_eq!(CommandName::parse("change_worker"), Some(CommandName::ChangeWorker));
        assert_eq!(CommandName::parse("drop_everything"), None);
    }
}
