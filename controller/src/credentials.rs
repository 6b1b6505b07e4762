//! User names and passwords of CML workers, and the hosts that they may go to. They live in the controller's
//! configuration and nowhere else.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use domain::WorkerId;
use domain::ports::PortRange;
use serde::Deserialize;
use url::Url;

use crate::hosts::HostList;

/// The setting that names the hosts of the common credentials.
pub const HOSTS_SETTING: &str = "LABLET_CML_HOSTS";
/// The setting that names the file with the workers' own credentials.
pub const CREDENTIALS_SETTING: &str = "LABLET_CML_CREDENTIALS";

/// A user name and a password. `Debug` shows neither the password nor its length.
#[derive(Clone, PartialEq, Eq)]
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

/// Whose certificate need not be vouched for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum InsecureTls {
    /// No host.
    #[default]
    Never,
    /// That of every host that credentials may go to: those that the configuration names, never all that somebody
    /// registers.
    NamedHosts,
    /// That of these hosts.
    Hosts(HostList),
}

/// Which credentials open which worker, and where they may go: those of the worker where it has its own, else the common
/// ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialBook {
    common: Option<Credentials>,
    hosts: Arc<HostList>,
    of_worker: BTreeMap<WorkerId, Entry>,
    insecure_tls: InsecureTls,
}

/// The credentials of one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    credentials: Credentials,
    /// Where they may go. `None`: where the common ones may.
    hosts: Option<Arc<HostList>>,
}

/// A worker and what opens it. Invariant: the configuration names the address's host as one that these credentials may
/// go to; only [`CredentialBook::access`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerAccess {
    worker: WorkerId,
    address: Url,
    credentials: Credentials,
    hosts: Arc<HostList>,
    verifies_certificate: bool,
    port_range: PortRange,
}

impl WorkerAccess {
    /// The same worker, whose address translation honours these outside ports.
    #[must_use]
    pub fn with_port_range(self, port_range: PortRange) -> Self {
        Self { port_range, ..self }
    }

    /// The outside ports that its address translation honours.
    pub fn port_range(&self) -> PortRange {
        self.port_range
    }

    /// The worker's id.
    pub fn worker(&self) -> &WorkerId {
        &self.worker
    }

    /// Its https address; a path in it is kept in front of `/api/v0`.
    pub fn address(&self) -> &Url {
        &self.address
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The hosts among which the configuration names this one.
    pub(crate) fn hosts(&self) -> &Arc<HostList> {
        &self.hosts
    }

    /// Whether the worker's certificate is checked.
    pub fn verifies_certificate(&self) -> bool {
        self.verifies_certificate
    }
}

/// Why this controller's configuration opens no way into a worker. The text says what to set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessRefused {
    /// Neither the worker nor the common entry has a user name and a password.
    #[error("this controller has no credentials for the worker {0}")]
    NoCredentials(WorkerId),
    /// No host is named that the common credentials may go to.
    #[error(
        "the credentials for the worker {worker} are sent nowhere: {} is not set on this controller; it has to name {host}",
        HOSTS_SETTING
    )]
    NoHosts {
        /// The worker.
        worker: WorkerId,
        /// Its host.
        host: String,
    },
    /// Others are named, not this one.
    #[error("the credentials for the worker {worker} are not sent to {host}, which {} does not name", setting(*.own))]
    HostNotNamed {
        /// The worker.
        worker: WorkerId,
        /// Its host.
        host: String,
        /// Whether the worker's entry in the credentials file has a list of its own.
        own: bool,
    },
    /// The address is not of a form that credentials may be sent to.
    #[error("the credentials for the worker {worker} are not sent to its address, which {problem}")]
    Address {
        /// The worker.
        worker: WorkerId,
        /// What is wrong.
        problem: &'static str,
    },
}

fn setting(own: bool) -> String {
    if own { format!("its entry in the file of {CREDENTIALS_SETTING}") } else { HOSTS_SETTING.to_owned() }
}

/// A credentials file that cannot be used. The text names the place, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the CML credentials cannot be read: {reason}")]
pub struct CredentialsError {
    reason: String,
}

/// The table of a credentials file for all workers that have no table.
const DEFAULT: &str = "default";

/// A table of the credentials file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    username: String,
    password: String,
    #[serde(default)]
    host: Option<String>,
}

impl CredentialBook {
    /// The same credentials for every worker. They go nowhere until [`CredentialBook::with_hosts`] names hosts.
    pub fn common(credentials: Credentials) -> Self {
        Self { common: Some(credentials), ..Self::default() }
    }

    /// The hosts that the common credentials may go to, and those of entries that name none of their own.
    #[must_use]
    pub fn with_hosts(self, hosts: HostList) -> Self {
        Self { hosts: Arc::new(hosts), ..self }
    }

    /// Whose certificate need not be vouched for.
    #[must_use]
    pub fn with_insecure_tls(self, insecure_tls: InsecureTls) -> Self {
        Self { insecure_tls, ..self }
    }

    /// Adds or replaces the credentials of one worker; they may go where the common ones may.
    #[must_use]
    pub fn with_worker(mut self, worker: WorkerId, credentials: Credentials) -> Self {
        self.of_worker.insert(worker, Entry { credentials, hosts: None });
        self
    }

    /// Adds what a TOML file says:
    ///
    /// ```toml
    /// [default]            # optional; for workers without their own, at the hosts of LABLET_CML_HOSTS
    /// username = "lablet"
    /// password = "…"
    ///
    /// [worker-1]           # by the worker's id
    /// username = "lablet"
    /// password = "…"
    /// host = "cml-1.example.org"   # the only host they go to; without it, those of LABLET_CML_HOSTS
    /// ```
    ///
    /// # Errors
    /// When the text is not TOML, has another shape, or names a worker or a host that cannot exist.
    pub fn with_toml(mut self, text: &str) -> Result<Self, CredentialsError> {
        // `toml`'s Display quotes the line in question, which may hold a password: only message and place are shown.
        let tables: BTreeMap<String, Table> = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            CredentialsError { reason: format!("line {line}: {}", safe_message(error.message())) }
        })?;
        for (id, Table { username, password, host }) in tables {
            let credentials = Credentials { username, password };
            if id == DEFAULT {
                if host.is_some() {
                    let reason =
                        format!("the table {DEFAULT:?} has a host; {HOSTS_SETTING} names those of all workers");
                    return Err(CredentialsError { reason });
                }
                self.common = Some(credentials);
                continue;
            }
            let id = WorkerId::parse(id.clone())
                .map_err(|invalid| CredentialsError { reason: format!("the table {id:?} {}", invalid.problem) })?;
            let hosts = host.map(|host| named_hosts(&id, &host)).transpose()?;
            self.of_worker.insert(id, Entry { credentials, hosts });
        }
        Ok(self)
    }

    /// Whether there are credentials for any worker.
    pub(crate) fn has_any(&self) -> bool {
        self.common.is_some() || !self.of_worker.is_empty()
    }

    /// Whether there are credentials that can go nowhere, as no host is named for them.
    pub fn lacks_hosts(&self) -> bool {
        let homeless = self.common.is_some() || self.of_worker.values().any(|entry| entry.hosts.is_none());
        homeless && self.hosts.is_empty()
    }

    /// The way into a worker at this address.
    ///
    /// # Errors
    /// [`AccessRefused`] where there are no credentials, or they may not go to that address.
    pub fn access(&self, worker: &WorkerId, address: &Url) -> Result<WorkerAccess, AccessRefused> {
        let of_worker = self.of_worker.get(worker);
        let credentials = of_worker.map(|entry| &entry.credentials).or(self.common.as_ref());
        let credentials = credentials.ok_or_else(|| AccessRefused::NoCredentials(worker.clone()))?;
        let refused = |problem| AccessRefused::Address { worker: worker.clone(), problem };
        if address.scheme() != "https" {
            return Err(refused("is not https"));
        }
        if !address.username().is_empty() || address.password().is_some() {
            return Err(refused("carries a user name or a password"));
        }
        let (Some(host), Some(port)) = (address.host(), address.port_or_known_default()) else {
            return Err(refused("has no host"));
        };
        let own = of_worker.and_then(|entry| entry.hosts.as_ref());
        let hosts = own.unwrap_or(&self.hosts);
        if !hosts.names(&host, port) {
            let (worker, host) = (worker.clone(), with_port(&host, port));
            return Err(if hosts.is_empty() {
                AccessRefused::NoHosts { worker, host }
            } else {
                AccessRefused::HostNotNamed { worker, host, own: own.is_some() }
            });
        }
        let verifies_certificate = match &self.insecure_tls {
            InsecureTls::Never => true,
            InsecureTls::NamedHosts => false,
            InsecureTls::Hosts(insecure) => !insecure.names(&host, port),
        };
        Ok(WorkerAccess {
            worker: worker.clone(),
            address: address.clone(),
            credentials: credentials.clone(),
            hosts: hosts.clone(),
            verifies_certificate,
            port_range: PortRange::default(),
        })
    }
}

fn with_port(host: &url::Host<&str>, port: u16) -> String {
    if port == 443 { host.to_string() } else { format!("{host}:{port}") }
}

fn named_hosts(worker: &WorkerId, text: &str) -> Result<Arc<HostList>, CredentialsError> {
    let refused =
        |why: String| CredentialsError { reason: format!("the host of the table {:?} {why}", worker.as_str()) };
    let hosts = HostList::parse(text).map_err(|error| refused(format!("cannot be read: {error}")))?;
    if hosts.is_empty() {
        return Err(refused("is empty".to_owned()));
    }
    Ok(Arc::new(hosts))
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

    fn hosts(text: &str) -> HostList {
        HostList::parse(text).unwrap()
    }

    fn refusal(book: &CredentialBook, id: &str, address: &str) -> String {
        book.access(&worker(id), &Url::parse(address).unwrap()).unwrap_err().to_string()
    }

    fn username(book: &CredentialBook, id: &str) -> String {
        let access = book.access(&worker(id), &Url::parse("https://cml.example.org").unwrap()).unwrap();
        access.credentials().username().to_owned()
    }

    #[test]
    fn a_worker_of_its_own_wins_over_the_common_credentials() {
        let book = CredentialBook::common(Credentials::new("all", "secret-all"))
            .with_hosts(hosts("cml.example.org"))
            .with_toml("[w1]\nusername = \"one\"\npassword = \"secret-one\"")
            .unwrap();
        assert_eq!(username(&book, "w1"), "one");
        assert_eq!(username(&book, "w2"), "all");
        let none = CredentialBook::default().with_hosts(hosts("cml.example.org"));
        assert!(refusal(&none, "w1", "https://cml.example.org").contains("no credentials for the worker w1"));
        let file = none.with_toml("[default]\nusername = \"d\"\npassword = \"secret\"").unwrap();
        assert_eq!(username(&file, "w9"), "d");
    }

    #[test]
    fn credentials_go_to_named_hosts_alone_and_the_refusal_says_which_setting_is_missing() {
        let common = CredentialBook::common(Credentials::new("all", "secret-all"));
        assert!(common.lacks_hosts());
        let refused = refusal(&common, "w1", "https://evil.example:8443");
        assert!(refused.contains("LABLET_CML_HOSTS is not set") && refused.contains("evil.example:8443"), "{refused}");
        let book = common
            .with_hosts(hosts("*.lab.example.com"))
            .with_toml(
                "[w1]\nusername = \"one\"\npassword = \"secret\"\nhost = \"cml-1.example.org\"\n\
                 [w2]\nusername = \"two\"\npassword = \"secret\"",
            )
            .unwrap();
        assert!(!book.lacks_hosts());
        for (id, address, part) in [
            ("w1", "https://one.lab.example.com", "its entry in the file of LABLET_CML_CREDENTIALS"),
            ("w2", "https://cml-1.example.org", "LABLET_CML_HOSTS does not name"),
            ("w3", "https://lab.example.com", "LABLET_CML_HOSTS does not name"),
            ("w3", "https://evil.example/one.lab.example.com", "not sent to evil.example,"),
            ("w3", "http://one.lab.example.com", "is not https"),
            ("w3", "https://lab:pw@one.lab.example.com", "carries a user name or a password"),
        ] {
            let refused = refusal(&book, id, address);
            assert!(refused.contains(part) && !refused.contains("secret") && !refused.contains("pw"), "{refused}");
        }
        for (id, address) in [
            ("w1", "https://CML-1.example.org:8443"),
            ("w2", "https://a.lab.example.com"),
            ("w3", "https://b.c.lab.example.com"),
        ] {
            assert!(book.access(&worker(id), &Url::parse(address).unwrap()).is_ok(), "{id} {address}");
        }
    }

    #[test]
    fn a_certificate_may_stay_unchecked_only_where_the_configuration_names_the_host() {
        let book =
            CredentialBook::common(Credentials::new("all", "secret-all")).with_hosts(hosts("a.example,b.example"));
        let verifies = |insecure: InsecureTls, address: &str| {
            let book = book.clone().with_insecure_tls(insecure);
            book.access(&worker("w1"), &Url::parse(address).unwrap()).map(|access| access.verifies_certificate())
        };
        assert_eq!(verifies(InsecureTls::Never, "https://a.example"), Ok(true));
        assert_eq!(verifies(InsecureTls::NamedHosts, "https://a.example"), Ok(false));
        assert_eq!(verifies(InsecureTls::Hosts(hosts("a.example:8443")), "https://a.example:8443"), Ok(false));
        assert_eq!(verifies(InsecureTls::Hosts(hosts("a.example:8443")), "https://a.example"), Ok(true));
        assert_eq!(verifies(InsecureTls::Hosts(hosts("a.example")), "https://b.example"), Ok(true));
        assert!(verifies(InsecureTls::NamedHosts, "https://registered-later.example").is_err());
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
            "[w1]\nusername = \"one\"\npassword = \"secret\"\nhost = \"https://cml.example.org\"",
            "[w1]\nusername = \"one\"\npassword = \"secret\"\nhost = \"\"",
            "[default]\nusername = \"one\"\npassword = \"secret\"\nhost = \"cml.example.org\"",
        ] {
            let error = CredentialBook::default().with_toml(broken).unwrap_err();
            assert!(!error.to_string().contains("\"secret") && !error.to_string().contains("77"), "{error}");
        }
    }
}
