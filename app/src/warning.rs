//! What a command's sender should look at, although the command took effect.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which kind of thing a warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WarningCode {
    /// The body holds a member that the command does not know; it was not used.
    UnknownMember,
    /// An allocated port is held by another session of the worker at the same time.
    PortConflict,
    /// An allocated port is outside the range that the worker honours.
    PortOutOfRange,
}

/// Something that a sender should look at. The command took effect all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// Which kind of thing it is, for programs.
    pub code: WarningCode,
    /// Path of the member that it is about, e.g. `nodes[3].lable`; absent where it is about none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What it is, in a sentence.
    pub message: String,
}

impl Warning {
    /// A warning about no member in particular.
    pub fn new(code: WarningCode, message: impl Into<String>) -> Self {
        Self { code, field: None, message: message.into() }
    }

    /// The same warning, about the member at this path.
    #[must_use]
    pub fn about(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}
