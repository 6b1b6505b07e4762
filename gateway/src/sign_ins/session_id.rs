//! The id of a browser's session, as the list gives it.

use std::fmt;
use std::str::FromStr;

use domain::Invalid;
use schemars::JsonSchema;
use uuid::Uuid;

/// A UUID. It names the session and opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[serde(transparent)]
pub(crate) struct BrowserSessionId(pub(crate) Uuid);

impl fmt::Display for BrowserSessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for BrowserSessionId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let shown: String = text.chars().take(80).collect();
        text.parse().map(Self).map_err(|_| Invalid::new("", format!("is {shown:?}"), "a UUID, as the list gives it"))
    }
}
