//! User names and passwords of CML workers. They live in the controller's configuration and nowhere else.

use std::collections::BTreeMap;
use std::fmt;

use domain::WorkerId;
use serde::Deserialize;

/// A user name and a password. `Debug` shows neither the password nor its length.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    username: String,
    password: String,
}

impl Credentials {
    /// Credentials of one user.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self { username: username.into(), password: password.into() }
    }

    pub(crate) fn username(&self) -> &str {
        &self.username
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Which credentials open which worker: those of the worker where it has its own, else the common ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialBook {
    common: Option<Credentials>,
    of_worker: BTreeMap<WorkerId, Credentials>,
}

/// A credentials file that cannot be used. The text names the place, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the CML credentials cannot be read: {reason}")]
pub struct CredentialsError {
    reason: String,
}

/// The table of a credentials file that stands for all workers without one of their own.
const DEFAULT: &str = "default";

impl CredentialBook {
    /// The same credentials for every worker.
    pub fn common(credentials: Credentials) -> Self {
        Self { common: Some(credentials), of_worker: BTreeMap::new() }
    }

    /// Adds or replaces the credentials of one worker.
    #[must_use]
    pub fn with_worker(mut self, worker: WorkerId, credentials: Credentials) -> Self {
        self.of_worker.insert(worker, credentials);
        self
    }

    /// Adds what a TOML file says:
    ///
    /// ```toml
    /// [default]            # optional; for workers without their own
    /// username = "lablet"
    /// password = "…"
    ///
    /// [worker-1]           # by the worker's id
    /// username = "lablet"
    /// password = "…"
    /// ```
    ///
    /// # Errors
    /// When the text is not TOML, has another shape, or names a worker that cannot exist.
    pub fn with_toml(mut self, text: &str) -> Result<Self, CredentialsError> {
        // `toml`'s Display quotes the line in question, which may hold a password: only message and place are told.
        let tables: BTreeMap<String, Credentials> = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            CredentialsError { reason: format!("line {line}: {}", safe_message(error.message())) }
        })?;
        for (id, credentials) in tables {
            if id == DEFAULT {
                self.common = Some(credentials);
                continue;
            }
            let id = WorkerId::parse(id.clone())
                .map_err(|invalid| CredentialsError { reason: format!("the table {id:?} {}", invalid.problem) })?;
            self.of_worker.insert(id, credentials);
        }
        Ok(self)
    }

    /// The credentials for a worker. `None`: nobody told any.
    pub fn of(&self, worker: &WorkerId) -> Option<&Credentials> {
        self.of_worker.get(worker).or(self.common.as_ref())
    }
}

/// Messages about types and values quote the value; those about fields and syntax do not.
fn safe_message(message: &str) -> &str {
    let quotes_a_value = message.starts_with("invalid type") || message.starts_with("invalid value");
    if quotes_a_value { "a value of the wrong type" } else { message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(id: &str) -> WorkerId {
        WorkerId::parse(id).unwrap()
    }

    #[test]
    fn a_worker_of_its_own_wins_over_the_common_credentials() {
        let book = CredentialBook::common(Credentials::new("all", "secret-all"))
            .with_toml("[w1]\nusername = \"one\"\npassword = \"secret-one\"")
            .unwrap();
        assert_eq!(book.of(&worker("w1")).unwrap().username(), "one");
        assert_eq!(book.of(&worker("w2")).unwrap().username(), "all");
        assert_eq!(CredentialBook::default().of(&worker("w1")), None);
        let file = CredentialBook::default().with_toml("[default]\nusername = \"d\"\npassword = \"secret\"").unwrap();
        assert_eq!(file.of(&worker("w9")).unwrap().password(), "secret");
    }

    #[test]
    fn nothing_that_can_be_printed_shows_a_password() {
        let book = CredentialBook::common(Credentials::new("all", "secret-all"))
            .with_worker(worker("w1"), Credentials::new("one", "secret-one"));
        assert!(!format!("{book:?}").contains("secret"));
        for broken in [
            "[w1]\nusername = \"one\"\npassword = \"secret",
            "[w1]\nusername = \"one\"\npassword = [\"secret\"]",
            "[w1]\nusername = \"one\"\npassword = 77",
            "[w1]\nusername = \"one\"\nsecret_password = \"secret\"",
            "w1 = \"secret\"",
            "[\"a b\"]\nusername = \"one\"\npassword = \"secret\"",
        ] {
            let error = CredentialBook::default().with_toml(broken).unwrap_err();
            assert!(!error.to_string().contains("\"secret") && !error.to_string().contains("77"), "{error}");
        }
    }
}
