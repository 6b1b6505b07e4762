//! The reply to a command on the bus.

use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use domain::lablet_definition::ProposalStatus;
use domain::lablet_session::SessionStatus;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Rejection;
use crate::commands::{Answer, ErrorCode};
use crate::log::Position;
use crate::warning::Warning;
use bus::subjects;

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplyStatus {
    /// It took effect now.
    Recorded,
    /// What it asks for was so before.
    AlreadyDone,
    /// It was sent before and took effect then.
    Repeated,
    /// It did not take effect: see `error`.
    Refused,
}

/// A reply, as its receiver reads it. Members that do not belong to the command are absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandReply {
    /// What became of the command.
    pub status: ReplyStatus,
    /// The `id` of the command's CloudEvent; absent where the message has none. Also in the header `Lablet-Command-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_id: Option<String>,
    /// The sequence of the aggregate after the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,
    /// Where in the log the aggregate's newest event is. A read over HTTP that names it shows what was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Why it did not take effect, where it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ReplyError>,
    /// What the sender should look at, whether or not the command took effect. Absent where there is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// The session that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Where that session is in its life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_status: Option<SessionStatus>,
    /// How often that session was observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observation_count: Option<u64>,
    /// Whether its ports drifted; null: unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_drift_detected: Option<bool>,
    /// The observation that was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The definition that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition_id: Option<String>,
    /// That definition's revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// The proposal that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposal_id: Option<String>,
    /// Where that proposal is in its life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposal_status: Option<ProposalStatus>,
    /// That proposal's version; null: it takes no more steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposal_version: Option<u32>,
    /// The policy that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_id: Option<String>,
    /// The worker that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
}

/// Why a command did not take effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplyError {
    /// The class of the failure, for programs, as in problem documents over HTTP.
    #[schemars(with = "ErrorCode")]
    pub code: String,
    /// What happened, and what would be right.
    pub message: String,
    /// The first field that is wrong, where fields are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Every field that is wrong, where fields are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ReplyFieldError>,
}

/// A field of a command that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplyFieldError {
    /// Path of the field, e.g. `observed_resources.nodes[3].cpu_limit`; empty for the data as a whole.
    pub field: String,
    /// What is wrong, e.g. `is 0`.
    pub problem: String,
    /// What would be right, e.g. `a whole number from 1 to 10000`.
    pub expected: String,
}

/// A reply as it is sent.
pub(super) struct Reply {
    /// The command's id, where it has one that fits a header.
    pub(super) headers: HeaderMap,
    /// The form of [`CommandReply`].
    pub(super) body: Bytes,
}

impl Reply {
    /// The reply about what became of the command with this id.
    ///
    /// # Errors
    /// serde_json's, which no answer causes.
    pub(super) fn new(handled: Result<&Answer, &Rejection>, command_id: Option<&str>) -> serde_json::Result<Self> {
        let mut reply = match handled {
            Ok(answer) => serde_json::to_value(answer)?,
            Err(rejection) => rejection.answer(),
        };
        let mut headers = HeaderMap::new();
        if let Some(id) = command_id {
            reply["command_id"] = id.into();
            // An id is any text; a header takes no line break.
            if let Ok(value) = id.parse::<HeaderValue>() {
                headers.insert(subjects::COMMAND_ID, value);
            }
        }
        Ok(Self { headers, body: serde_json::to_vec(&reply)?.into() })
    }
}
