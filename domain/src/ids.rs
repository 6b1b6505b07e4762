//! Typed identifiers from one list: handing a definition's id to a session is a compile error.
//!
//! Outside they are opaque text, given by the caller or minted: `[A-Za-z0-9][A-Za-z0-9_-]{0,63}`, always fit to be one
//! token of a NATS subject.

use crate::Invalid;

/// Most characters of an identifier.
pub(crate) const LONGEST_ID: usize = 64;

/// The pattern every identifier matches, for schemas and error texts.
pub const ID_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$";

fn check(text: &str) -> Result<(), Invalid> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let bytes = text.as_bytes();
    let valid = bytes.len() <= LONGEST_ID
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| inner(*byte));
    if valid {
        return Ok(());
    }
    let shown: String = text.chars().take(80).collect();
    Err(Invalid::new(
        "",
        format!("is {shown:?}"),
        "an identifier: 1 to 64 ASCII letters, digits, '_' or '-', starting with a letter or a digit",
    ))
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        ///
        /// Invariant: matches [`ID_PATTERN`].
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses the identifier.
            ///
            /// # Errors
            /// [`Invalid`] (with an empty field) when the text does not match [`ID_PATTERN`].
            pub fn parse(text: impl Into<String>) -> Result<Self, Invalid> {
                let text = text.into();
                check(&text)?;
                Ok(Self(text))
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;
            fn try_from(text: String) -> Result<Self, Invalid> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": ID_PATTERN })
            }
        }
    )+};
}

ids! {
    /// One run of a lab for one learner.
    SessionId,
    /// A lab's definition: what it needs and which ports it exposes.
    DefinitionId,
    /// A CML controller on which labs run.
    WorkerId,
    /// A lab on a CML controller, as CML names it (a UUID).
    LabId,
    /// One request to observe a session.
    RequestId,
    /// One proposal of another size for a definition.
    ProposalId,
    /// One recorded event (a UUID), where it is cited as evidence.
    EventId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_fit_one_token_of_a_subject() {
        for good in ["a", "0", "lab-1_x", "019b2c1e-5f7a-7c3e-9d4b-000000000000", &"x".repeat(64)] {
            assert_eq!(SessionId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", "_a", "a.b", "a b", "a*", "a>", "é", "a/b", &"x".repeat(65)] {
            assert!(SessionId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_stored_identifier_cannot_skip_the_check() {
        assert!(serde_json::from_str::<WorkerId>(r#""a.b""#).is_err());
        assert_eq!(serde_json::from_str::<WorkerId>(r#""w1""#).unwrap(), WorkerId::parse("w1").unwrap());
    }
}
