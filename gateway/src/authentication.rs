//! Who is asking, and how far their authority reaches.
//!
//! Services send an internal key in `X-API-Key`; people send a bearer token, or their browser the cookie of its session.
//! All are stored as SHA-256 hashes (the secrets are random and long, so a slow hash would only slow us down), several
//! are valid at once so that they can be exchanged without a gap, and a comparison takes the same time whatever matches.
//! `Authenticator` is the one place that turns a request into a [`Principal`]: another way to sign in is added there.

mod authenticator;

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

pub(crate) use self::authenticator::{Authenticator, SignedIn};
use crate::problem::{Problem, ProblemKind};

/// Header in which a service sends its internal key.
pub(crate) const API_KEY: &str = "x-api-key";

/// What an admin may do. Each role may do everything the one before it may.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees everything, changes nothing.
    Viewer,
    /// Asks for observations, handles dead letters.
    Operator,
    /// Creates and revises definitions and workers.
    Admin,
}

impl Role {
    /// The role's name on the wire and in texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Admin].into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The SHA-256 of a key or token. The secret itself is not kept.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash of this secret.
    pub fn from_secret(secret: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(secret.as_ref()).into())
    }

    /// A hash that was stored.
    pub(crate) fn stored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The hash as it is stored.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether both are of the same secret, in a time that does not tell where they differ.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// A hash as configuration states it: 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretHash(…)")
    }
}

/// An internal key of a service; several may be valid for one name at once.
#[derive(Debug, Clone)]
pub struct InternalKey {
    /// Name of the service, as it appears as `service:<name>` in events.
    pub name: String,
    /// Hash of the key.
    pub hash: SecretHash,
}

/// A bearer token of an admin.
#[derive(Debug, Clone)]
pub struct AdminToken {
    /// Name of the person, as it appears as `admin:<name>` in events.
    pub name: String,
    /// How far the token's authority reaches.
    pub role: Role,
    /// Hash of the token.
    pub hash: SecretHash,
}

/// Somebody who is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Principal {
    /// A service with an internal key.
    Service {
        /// The key's name.
        name: String,
    },
    /// An admin in a role.
    Admin {
        /// The token's name.
        name: String,
        /// The token's role.
        role: Role,
    },
}

impl fmt::Display for Principal {
    /// The actor as events record it: `service:<name>` or `admin:<name>`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { name } => write!(formatter, "service:{name}"),
            Self::Admin { name, .. } => write!(formatter, "admin:{name}"),
        }
    }
}

/// How much authority a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authority {
    /// An internal key; no admin, whatever the role.
    Internal,
    /// At least this role.
    Role(Role),
    /// At least this role, or an internal key.
    RoleOrInternal(Role),
}

impl Authority {
    /// Checks that this principal's authority suffices.
    ///
    /// # Errors
    /// A 403 problem that says who may.
    pub(crate) fn check(self, principal: &Principal) -> Result<(), Problem> {
        let enough = match (self, principal) {
            (Self::Internal | Self::RoleOrInternal(_), Principal::Service { .. }) => true,
            (Self::Role(_), Principal::Service { .. }) | (Self::Internal, Principal::Admin { .. }) => false,
            (Self::Role(needed) | Self::RoleOrInternal(needed), Principal::Admin { role, .. }) => *role >= needed,
        };
        if enough {
            return Ok(());
        }
        let held = match principal {
            Principal::Service { name } => format!("the internal key {name:?}"),
            Principal::Admin { name, role } => format!("{name:?} in the role {role}"),
        };
        Err(Problem::new(ProblemKind::Forbidden, format!("This needs {self}; the request was made with {held}.")))
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internal => formatter.write_str("an internal key in X-API-Key"),
            Self::Role(role) => write!(formatter, "the role {role}"),
            Self::RoleOrInternal(role) => write!(formatter, "the role {role} or an internal key"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_which_authority_is_needed() {
        let viewer = Principal::Admin { name: "vic".to_owned(), role: Role::Viewer };
        let service = Principal::Service { name: "grading".to_owned() };
        let refused = Authority::Role(Role::Operator).check(&viewer).unwrap_err();
        assert_eq!(
            refused.document().detail,
            r#"This needs the role operator; the request was made with "vic" in the role viewer."#
        );
        assert!(Authority::Internal.check(&viewer).is_err());
        assert!(Authority::Internal.check(&service).is_ok());
        assert!(Authority::Role(Role::Viewer).check(&service).is_err());
        assert!(Authority::RoleOrInternal(Role::Viewer).check(&service).is_ok());
        assert!(Authority::RoleOrInternal(Role::Viewer).check(&viewer).is_ok());
    }

    #[test]
    fn a_hash_is_read_from_hexadecimal_and_never_printed() {
        let hash = SecretHash::from_hex("2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b").unwrap();
        assert_eq!(hash, SecretHash::from_secret("secret"));
        assert_eq!(format!("{hash:?}"), "SecretHash(…)");
        assert!(SecretHash::from_hex("2b").is_none());
        assert!(SecretHash::from_hex(&"+f".repeat(32)).is_none(), "a sign is no digit");
    }
}
