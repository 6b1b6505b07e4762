//! Configuration: read once, here, from the command line and the environment, and passed on as values.

pub(crate) mod bus;
pub(crate) mod cells;
pub(crate) mod probes;
pub(crate) mod replica;
pub(crate) mod roles;
pub(crate) mod secrets;
pub(crate) mod sign_in;
pub(crate) mod telemetry;
pub(crate) mod watcher;
pub(crate) mod webhooks;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use app::authority::{self, Authorities, Grants};
use app::body::Handling;
use app::dead_letters::{DeadLetterBounds, PayloadPolicy};
use clap::{ArgAction, Args};
use controller::hosts::HostListError;
use controller::probe::ProbeIntervals;
use controller::{CmlOptions, ControllerOptions, CredentialBook, Credentials, HostList, InsecureTls};
use gateway::Networks;
use gateway::authentication::{AdminToken, InternalKey, Role, SecretHash};
use servers::PostgresServer;
use simulator::Simulator;

pub(crate) use self::bus::BusArguments;
use self::cells::CellsArguments;
use self::sign_in::SignInArguments;
use crate::ready::Ready;
use crate::secret::Secret;

/// The database of a private Postgres.
pub(crate) const PRIVATE_DATABASE: &str = "lablet";

/// Where a private Postgres has its files, below a data folder.
pub(crate) fn private_postgres(data_dir: &Path) -> PathBuf {
    data_dir.join("postgres")
}

/// Where the log is.
#[derive(Debug, Clone, Args)]
pub(crate) struct DatabaseArguments {
    /// The Postgres that holds the log and the read models, postgresql://user:password@host/database.
    #[arg(long, env = "LABLET_DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: Option<Secret>,
    /// Data folder of `lablet up`, where the database is looked up unless it is given.
    #[arg(long, env = "LABLET_DATA_DIR", default_value = ".lablet")]
    data_dir: PathBuf,
}

impl DatabaseArguments {
    /// The database that was named, else that of the `lablet up` in this folder.
    pub(crate) fn url(&self) -> anyhow::Result<Secret> {
        if let Some(url) = &self.database_url {
            return Ok(url.clone());
        }
        self.ready()?
            .map(|ready| ready.database_url)
            .context("no database is known: set LABLET_DATABASE_URL, or run `lablet up` in this folder")
    }

    /// The same database as its owner: where it was named, the address has to be the owner's; that of the `lablet up` in
    /// this folder is its superuser's, whom the ready line does not let in.
    pub(crate) fn owner_url(&self) -> anyhow::Result<Secret> {
        if let Some(url) = &self.database_url {
            return Ok(url.clone());
        }
        match PostgresServer::url_of_running(&self.private_postgres(), PRIVATE_DATABASE)? {
            Some(url) => url.parse().map_err(anyhow::Error::msg),
            None => self.url(),
        }
    }

    /// Whether a database was named.
    pub(crate) fn is_named(&self) -> bool {
        self.database_url.is_some()
    }

    /// Where the private Postgres of the `lablet up` in this folder has its files.
    pub(crate) fn private_postgres(&self) -> PathBuf {
        private_postgres(&self.data_dir)
    }

    /// What the `lablet up` in this folder wrote when it was ready.
    pub(crate) fn ready(&self) -> anyhow::Result<Option<Ready>> {
        Ready::read(&self.data_dir)
    }
}

/// Log and bus.
#[derive(Debug, Args)]
pub(crate) struct StoresArguments {
    #[command(flatten)]
    pub(crate) database: DatabaseArguments,
    #[command(flatten)]
    bus: BusArguments,
}

impl StoresArguments {
    /// The bus that was named, whatever the `lablet up` in this folder uses.
    pub(crate) fn named_bus(&self) -> BusArguments {
        self.bus.clone()
    }

    /// The bus that was named, else that of the `lablet up` in this folder.
    pub(crate) fn stores_bus(&self) -> anyhow::Result<BusArguments> {
        let mut bus = self.bus.clone();
        if bus.nats_url.is_none() {
            bus.nats_url = self.database.ready()?.map(|ready| ready.nats_url);
        }
        Ok(bus)
    }
}

/// Who may send which commands.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AuthorityArguments {
    /// Which commands teams on the bus may send: `booking=default,definitions;grading=observations;*=none`. Words:
    /// observations, transitions, sessions, definitions, workers, proposals, advice, default, all, none, or a command's name.
    #[arg(long, env = app::authority::TEAM_SETTING, default_value = "", hide_default_value = true)]
    team_authority: String,
    /// Which commands internal keys may send, by the key's name, in the same form.
    #[arg(long, env = app::authority::KEY_SETTING, default_value = "", hide_default_value = true)]
    internal_api_key_authority: String,
}

impl AuthorityArguments {
    /// What teams and these keys may send.
    pub(crate) fn authorities(&self, keys: &[InternalKey]) -> anyhow::Result<Authorities> {
        let teams = Grants::parse(authority::TEAM_SETTING, &self.team_authority)?;
        let by_key = Grants::parse(authority::KEY_SETTING, &self.internal_api_key_authority)?;
        // A misspelt name would leave its key the default without anybody noticing.
        if let Some(unknown) = by_key.names().find(|name| keys.iter().all(|key| key.name != *name)) {
            let known: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
            bail!("{} names the key {unknown:?}; there is {}", authority::KEY_SETTING, known.join(", "));
        }
        Ok(Authorities::new(teams, by_key))
    }
}

/// How bodies of commands are read, over HTTP and over the bus.
#[derive(Debug, Clone, Args)]
pub(crate) struct BodyArguments {
    /// Refuse commands with members that are not known, instead of naming them in the answer's warnings.
    #[arg(long, env = "LABLET_STRICT_BODIES", action = ArgAction::Set, default_value_t = false, num_args = 0..=1, default_missing_value = "true")]
    strict_bodies: bool,
}

impl BodyArguments {
    /// What becomes of members that are not known.
    pub(crate) fn handling(&self) -> Handling {
        Handling::default().or_strict(self.strict_bodies)
    }
}

/// How much is kept of commands that could not be handled.
#[derive(Debug, Clone, Args)]
pub(crate) struct DeadLetterArguments {
    /// What is kept of their messages: none, masked (JSON without what may be a secret), limited (64 KiB) or full.
    #[arg(long, env = "LABLET_DEAD_LETTER_PAYLOADS", default_value = "limited")]
    dead_letter_payloads: PayloadPolicy,
    /// Megabytes that all of them may hold; one team a quarter. Beyond it they are kept without their messages.
    #[arg(long, env = "LABLET_DEAD_LETTER_MEGABYTES", default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    dead_letter_megabytes: u64,
    /// Days after which one that was retried or discarded is removed.
    #[arg(long, env = "LABLET_DEAD_LETTER_DAYS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=36_500))]
    dead_letter_days: u64,
    /// Days after which one that nobody decided about is discarded, with an alarm.
    #[arg(long, env = "LABLET_DEAD_LETTER_WAITING_DAYS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=36_500))]
    dead_letter_waiting_days: u64,
}

impl DeadLetterArguments {
    /// The bounds of the dead letters.
    pub(crate) fn bounds(&self) -> DeadLetterBounds {
        let days = |days: u64| Duration::from_secs(days * 24 * 3600);
        DeadLetterBounds {
            payloads: self.dead_letter_payloads,
            bytes: self.dead_letter_megabytes * 1024 * 1024,
            settled_for: days(self.dead_letter_days),
            waiting_for: days(self.dead_letter_waiting_days),
            ..DeadLetterBounds::default()
        }
    }
}

/// The gateway.
#[derive(Debug, Clone, Args)]
pub(crate) struct GatewayArguments {
    /// Where the gateway listens.
    #[arg(long, env = "LABLET_HTTP", default_value = "127.0.0.1:8080")]
    pub(crate) http: SocketAddr,
    /// How the gateway is reached from outside; in links and schema addresses.
    #[arg(long, env = "LABLET_PUBLIC_URL")]
    pub(crate) public_url: Option<String>,
    /// SHA-256 hashes of the keys of internal services: `name:hex`, separated by commas; several may be valid at once.
    #[arg(long, env = "LABLET_INTERNAL_API_KEY_HASHES", value_delimiter = ',', hide_env_values = true)]
    internal_api_key_hashes: Vec<String>,
    /// SHA-256 hashes of admins' tokens: `name:role:hex`, role viewer, operator or admin, separated by commas.
    #[arg(long, env = "LABLET_ADMIN_TOKEN_HASHES", value_delimiter = ',', hide_env_values = true)]
    admin_token_hashes: Vec<String>,
    #[command(flatten)]
    pub(crate) authority: AuthorityArguments,
    #[command(flatten)]
    sign_in: SignInArguments,
    #[command(flatten)]
    pub(crate) reach: ReachArguments,
    #[command(flatten)]
    cells: CellsArguments,
}

/// From where the gateway is reached.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReachArguments {
    /// Addresses and networks of proxies whose Forwarded and X-Forwarded-For headers say where a request comes from,
    /// separated by commas.
    #[arg(long, env = "LABLET_TRUSTED_PROXIES", default_value = "none")]
    pub(crate) trusted_proxies: Networks,
    /// Addresses and networks from which /metrics may be read without a key or a token, separated by commas.
    #[arg(long, env = "LABLET_METRICS_READERS", default_value = "127.0.0.0/8,::1")]
    pub(crate) metrics_readers: Networks,
}

/// Who may use the gateway.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) internal_keys: Vec<InternalKey>,
    pub(crate) admin_tokens: Vec<AdminToken>,
    pub(crate) sign_in: SignInArguments,
    pub(crate) reach: ReachArguments,
    pub(crate) cells: CellsArguments,
}

impl Access {
    /// One service and one admin, as `lablet up` lets in.
    pub(crate) fn one_of_each(
        internal_api_key: &Secret,
        admin_token: &Secret,
        sign_in: SignInArguments,
        reach: ReachArguments,
        cells: CellsArguments,
    ) -> Self {
        Self {
            internal_keys: vec![InternalKey {
                name: "internal".to_owned(),
                hash: SecretHash::from_secret(internal_api_key.reveal()),
            }],
            admin_tokens: vec![AdminToken {
                name: "admin".to_owned(),
                role: Role::Admin,
                hash: SecretHash::from_secret(admin_token.reveal()),
            }],
            sign_in,
            reach,
            cells,
        }
    }
}

impl GatewayArguments {
    /// Who may use the gateway, read from the configured hashes.
    pub(crate) fn access(&self) -> anyhow::Result<Access> {
        let mut access = Access {
            internal_keys: Vec::new(),
            admin_tokens: Vec::new(),
            sign_in: self.sign_in.clone(),
            reach: self.reach.clone(),
            cells: self.cells.clone(),
        };
        for entry in self.internal_api_key_hashes.iter().filter(|entry| !entry.is_empty()) {
            let hash = entry.split_once(':').and_then(|(name, hash)| Some((name, SecretHash::from_hex(hash.trim())?)));
            let Some((name, hash)) = hash else {
                bail!("LABLET_INTERNAL_API_KEY_HASHES has an entry that is not name:<64 hexadecimal digits>");
            };
            access.internal_keys.push(InternalKey { name: name.trim().to_owned(), hash });
        }
        for entry in self.admin_token_hashes.iter().filter(|entry| !entry.is_empty()) {
            let token = match entry.split(':').collect::<Vec<_>>().as_slice() {
                [name, role, hash] => SecretHash::from_hex(hash.trim())
                    .zip(Role::named(role.trim()))
                    .map(|(hash, role)| AdminToken { name: name.trim().to_owned(), role, hash }),
                _ => None,
            };
            let Some(token) = token else {
                bail!(
                    "LABLET_ADMIN_TOKEN_HASHES has an entry that is not name:<viewer, operator or admin>:<64 hexadecimal digits>"
                );
            };
            access.admin_tokens.push(token);
        }
        Ok(access)
    }
}

/// The controller's own part.
#[derive(Debug, Clone, Args)]
pub(crate) struct ControllerArguments {
    /// User name on every CML worker that the credentials file does not list.
    #[arg(long, env = "LABLET_CML_USERNAME")]
    cml_username: Option<String>,
    /// Password to that user name.
    #[arg(long, env = "LABLET_CML_PASSWORD", hide_env_values = true)]
    cml_password: Option<Secret>,
    /// Hosts that these may be sent to, separated by commas: `cml-1.example.org`, `192.0.2.7:8443`, `*.lab.example.com`
    /// (names below the domain). Nothing is sent to any other, wherever a worker is registered.
    #[arg(long, env = "LABLET_CML_HOSTS", value_parser = HostList::parse, default_value = "", hide_default_value = true)]
    cml_hosts: HostList,
    /// TOML file with a table a worker: `[worker-id]`, `username`, `password`, `host` (the one that they are sent to).
    #[arg(long, env = "LABLET_CML_CREDENTIALS")]
    cml_credentials: Option<PathBuf>,
    /// PEM file with the certificates that CML workers are trusted by.
    #[arg(long, env = "LABLET_CML_CA")]
    cml_ca: Option<PathBuf>,
    /// Hosts whose certificate is not checked, separated by commas; `true`: all that credentials may be sent to.
    #[arg(long, env = "LABLET_CML_INSECURE_TLS", value_parser = insecure_tls, default_value = "false", num_args = 0..=1, default_missing_value = "true")]
    cml_insecure_tls: InsecureTls,
    /// Observe sessions when their timeslot ends.
    #[arg(long, env = "RESOURCE_OBSERVATION_ENABLED", action = ArgAction::Set, default_value_t = true)]
    resource_observation_enabled: bool,
    /// Longest time of one observation, in seconds.
    #[arg(long, env = "RESOURCE_OBSERVATION_TIMEOUT_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    resource_observation_timeout_seconds: u64,
    /// Planned time between two samples of what a running session uses, in seconds; 0: nothing is sampled.
    #[arg(long, env = "RESOURCE_SAMPLING_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    resource_sampling_seconds: u64,
}

/// `true`, `false` or hosts.
fn insecure_tls(text: &str) -> Result<InsecureTls, HostListError> {
    match text.trim() {
        "" | "false" => Ok(InsecureTls::Never),
        "true" => Ok(InsecureTls::NamedHosts),
        hosts => HostList::parse(hosts).map(InsecureTls::Hosts),
    }
}

/// How often the worker of the demonstration is probed.
const DEMO_PROBES: Duration = Duration::from_secs(10);

/// What a controller works with.
#[derive(Debug, Clone)]
pub(crate) struct ControllerSettings {
    pub(crate) options: ControllerOptions,
    pub(crate) cml: CmlOptions,
    pub(crate) credentials: CredentialBook,
}

impl ControllerArguments {
    fn options(&self) -> ControllerOptions {
        ControllerOptions {
            observe_at_timeslot_end: self.resource_observation_enabled,
            observation_timeout: Duration::from_secs(self.resource_observation_timeout_seconds),
            sampling_interval: Duration::from_secs(self.resource_sampling_seconds),
            ..ControllerOptions::default()
        }
    }

    /// Settings for real workers, `None` when no credentials are configured at all.
    pub(crate) fn settings(&self) -> anyhow::Result<Option<ControllerSettings>> {
        let common = match (&self.cml_username, &self.cml_password) {
            (Some(username), Some(password)) => Some(Credentials::new(username, password.reveal())),
            (None, None) => None,
            _ => bail!("LABLET_CML_USERNAME and LABLET_CML_PASSWORD have to be set together"),
        };
        if common.is_none() && self.cml_credentials.is_none() {
            return Ok(None);
        }
        let mut credentials = common.map_or_else(CredentialBook::default, CredentialBook::common);
        if let Some(file) = &self.cml_credentials {
            let which = format!("LABLET_CML_CREDENTIALS: {}", file.display());
            let text = std::fs::read_to_string(file).with_context(|| format!("{which} cannot be read"))?;
            credentials = credentials.with_toml(&text).with_context(|| format!("{which} cannot be used"))?;
        }
        let ca_pem = self
            .cml_ca
            .as_ref()
            .map(|file| {
                std::fs::read(file).with_context(|| format!("LABLET_CML_CA: {} cannot be read", file.display()))
            })
            .transpose()?;
        let credentials =
            credentials.with_hosts(self.cml_hosts.clone()).with_insecure_tls(self.cml_insecure_tls.clone());
        if credentials.lacks_hosts() {
            tracing::warn!("CML credentials not used, LABLET_CML_HOSTS names no host");
        }
        let cml = CmlOptions { ca_pem, ..CmlOptions::default() };
        Ok(Some(ControllerSettings { options: self.options(), cml, credentials }))
    }

    /// Settings for the simulator of the demonstration.
    pub(crate) fn settings_for_simulators(
        &self,
        simulators: &[Arc<Simulator>],
        credentials: Credentials,
    ) -> anyhow::Result<ControllerSettings> {
        let hosts: Vec<String> = simulators.iter().map(|simulator| simulator.address().to_string()).collect();
        let hosts = HostList::parse(&hosts.join(","))?;
        let certificates: String = simulators.iter().map(|simulator| simulator.certificate_pem()).collect();
        Ok(ControllerSettings {
            // The demonstration's labs live for seconds: they are steady sooner than real ones.
            options: ControllerOptions {
                settling: Duration::from_secs(5),
                poll: Duration::from_secs(2),
                // And its worker is short for less than a minute.
                probe_intervals: ProbeIntervals { busy: DEMO_PROBES, idle: DEMO_PROBES },
                ..self.options()
            },
            cml: CmlOptions { ca_pem: Some(certificates.into_bytes()), ..CmlOptions::default() },
            credentials: CredentialBook::common(credentials).with_hosts(hosts),
        })
    }
}

#[cfg(test)]
mod tests {
    use app::authority::Sender;
    use app::command::CommandName;
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Gateway {
        #[command(flatten)]
        gateway: GatewayArguments,
    }

    fn access(keys: &str, tokens: &str) -> anyhow::Result<Access> {
        let arguments = ["x", "--internal-api-key-hashes", keys, "--admin-token-hashes", tokens];
        Gateway::try_parse_from(arguments).unwrap().gateway.access()
    }

    #[test]
    fn authority_is_read_and_an_unknown_key_is_named() {
        let hash = "00".repeat(32);
        let with = |authority: &str| {
            let keys = format!("booking:{hash}");
            let arguments = ["x", "--internal-api-key-hashes", &keys, "--internal-api-key-authority", authority];
            let gateway = Gateway::try_parse_from(arguments).unwrap().gateway;
            let keys = gateway.access().unwrap().internal_keys;
            gateway.authority.authorities(&keys).map_err(|error| error.to_string())
        };
        let booking = Sender::Key("booking".to_owned());
        assert!(with("booking=all").unwrap().check(&booking, CommandName::RegisterWorker).is_ok());
        assert!(with("").unwrap().check(&booking, CommandName::RegisterWorker).is_err());
        assert!(with("boking=all").unwrap_err().contains("names the key \"boking\"; there is booking"));
        assert!(with("booking=al").unwrap_err().contains("LABLET_INTERNAL_API_KEY_AUTHORITY"));
    }

    #[derive(Parser)]
    struct Controller {
        #[command(flatten)]
        controller: ControllerArguments,
    }

    #[test]
    fn credentials_go_where_the_settings_say_and_certificates_are_checked_unless_they_say_otherwise() {
        let verifies = |arguments: &[&str], address: &str| {
            let named = ["x", "--cml-username", "lablet", "--cml-password", "secret"];
            let arguments = named.iter().chain(arguments);
            let parsed = Controller::try_parse_from(arguments).map_err(|error| error.to_string())?;
            let settings = parsed.controller.settings().unwrap().unwrap();
            let access = settings.credentials.access(&"w1".parse().unwrap(), &address.parse().unwrap());
            access.map(|access| access.verifies_certificate()).map_err(|refused| refused.to_string())
        };
        let (a, b) = ("https://a.example", "https://b.example");
        assert!(verifies(&[], a).unwrap_err().contains("LABLET_CML_HOSTS is not set"));
        assert_eq!(verifies(&["--cml-hosts", "a.example,b.example"], a), Ok(true));
        assert!(verifies(&["--cml-hosts", "a.example"], b).unwrap_err().contains("LABLET_CML_HOSTS does not name"));
        for insecure in [vec!["--cml-insecure-tls"], vec!["--cml-insecure-tls", "true"]] {
            let arguments: Vec<&str> = ["--cml-hosts", "a.example"].into_iter().chain(insecure).collect();
            assert_eq!(verifies(&arguments, a), Ok(false));
            assert!(verifies(&arguments, b).is_err());
        }
        let some = ["--cml-hosts", "*.example", "--cml-insecure-tls", "a.example"];
        assert_eq!((verifies(&some, a), verifies(&some, b)), (Ok(false), Ok(true)));
        assert!(verifies(&["--cml-hosts", "https://a.example"], a).unwrap_err().contains("--cml-hosts"));
    }

    #[test]
    fn hashes_are_read_and_a_broken_one_is_not_repeated() {
        let hash = "00".repeat(32);
        let both = access(&format!("booking:{hash},grading:{hash}"), &format!("ada:admin:{hash}")).unwrap();
        assert_eq!((both.internal_keys.len(), both.admin_tokens.len()), (2, 1));
        for (keys, tokens) in [("booking:abc", ""), ("", "ada:root:00"), ("", "ada:admin:zz"), ("nonsense", "")] {
            let refused = access(keys, tokens).unwrap_err().to_string();
            assert!(!refused.contains("abc") && !refused.contains("zz"), "{refused}");
        }
    }
}
