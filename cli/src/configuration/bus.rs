//! Address, sign-in and TLS of the bus.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use bus::{BusOptions, BusTls, ClientCertificate, SignIn};
use clap::{ArgAction, Args};

use crate::secret::Secret;

/// Where the bus is.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct BusArguments {
    /// The NATS servers, nats://host:port, several separated by commas. User and password, or a token, may stand in
    /// them: nats://user:password@host, nats://token@host.
    #[arg(long, env = "LABLET_NATS_URL", hide_env_values = true)]
    pub(crate) nats_url: Option<Secret>,
    /// Prefix of this user's inboxes, where NATS gives each user its own.
    #[arg(long, env = "LABLET_NATS_INBOX_PREFIX")]
    pub(crate) nats_inbox_prefix: Option<String>,
    #[command(flatten)]
    pub(crate) access: BusAccessArguments,
}

/// Sign-in and TLS of the bus.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct BusAccessArguments {
    /// A token that the bus lets in.
    #[arg(long, env = "LABLET_NATS_TOKEN", hide_env_values = true)]
    nats_token: Option<Secret>,
    /// A user that the bus lets in, with LABLET_NATS_PASSWORD.
    #[arg(long, env = "LABLET_NATS_USER")]
    nats_user: Option<String>,
    /// The user's password.
    #[arg(long, env = "LABLET_NATS_PASSWORD", hide_env_values = true)]
    nats_password: Option<Secret>,
    /// Credentials file: a user's JWT and the seed of its key.
    #[arg(long, env = "LABLET_NATS_CREDENTIALS")]
    nats_credentials: Option<PathBuf>,
    /// File with the seed of a user's nkey.
    #[arg(long, env = "LABLET_NATS_NKEY")]
    nats_nkey: Option<PathBuf>,
    /// PEM file with the certificates that the bus is trusted by; the system's unless given.
    #[arg(long, env = "LABLET_NATS_CA")]
    nats_ca: Option<PathBuf>,
    /// PEM file with this client's certificate for the bus, with LABLET_NATS_KEY.
    #[arg(long, env = "LABLET_NATS_CERTIFICATE")]
    nats_certificate: Option<PathBuf>,
    /// PEM file with the key of LABLET_NATS_CERTIFICATE.
    #[arg(long, env = "LABLET_NATS_KEY")]
    nats_key: Option<PathBuf>,
    /// Refuse a connection to the bus without TLS. A certificate or a CA implies it.
    #[arg(long, env = "LABLET_NATS_TLS", action = ArgAction::Set, default_value_t = false, num_args = 0..=1, default_missing_value = "true")]
    nats_tls: bool,
    /// The domain whose JetStream is used, where that is not the one that the server belongs to.
    #[arg(long, env = "LABLET_NATS_JETSTREAM_DOMAIN")]
    nats_jetstream_domain: Option<String>,
    /// Servers of a NATS cluster that keep a copy of each stream: 3 survives the loss of one. Streams that have another number
    /// are changed. Unless given, streams are made with one copy, and one that was made otherwise stays so.
    #[arg(long, env = "LABLET_NATS_REPLICAS", value_parser = clap::value_parser!(u8).range(1..=5))]
    nats_replicas: Option<u8>,
}

impl BusArguments {
    /// The bus at an address that does not come from the configuration.
    pub(crate) fn at(url: Secret, access: BusAccessArguments) -> Self {
        Self { nats_url: Some(url), nats_inbox_prefix: None, access }
    }

    /// How to connect as `name`.
    ///
    /// # Errors
    /// Settings contradict each other; they are named.
    pub(crate) fn options(&self, name: &str) -> anyhow::Result<BusOptions> {
        let url = self.nats_url.as_ref().context("no bus is known: set LABLET_NATS_URL")?;
        let mut options = BusOptions::new(url.reveal(), name);
        options.inbox_prefix.clone_from(&self.nats_inbox_prefix);
        options.sign_in = self.access.sign_in()?;
        options.tls = self.access.tls()?;
        options.jetstream_domain = self.access.domain()?;
        options.replicas = self.access.nats_replicas.map(usize::from);
        let named_in_address = url.reveal().split(',').any(|address| address.contains('@'));
        if named_in_address && options.sign_in != SignIn::AsTheAddressSays {
            bail!("LABLET_NATS_URL names a user or a token, and so does another setting: set only one of them");
        }
        Ok(options)
    }
}

impl BusAccessArguments {
    fn sign_in(&self) -> anyhow::Result<SignIn> {
        let password = match (&self.nats_user, &self.nats_password) {
            (Some(user), Some(password)) => {
                Some(SignIn::Password { user: user.clone(), password: password.reveal().to_owned() })
            }
            (None, None) => None,
            _ => bail!("LABLET_NATS_USER and LABLET_NATS_PASSWORD have to be set together"),
        };
        let ways = [
            ("LABLET_NATS_TOKEN", self.nats_token.as_ref().map(|token| SignIn::Token(token.reveal().to_owned()))),
            ("LABLET_NATS_USER", password),
            ("LABLET_NATS_CREDENTIALS", self.nats_credentials.clone().map(SignIn::Credentials)),
            ("LABLET_NATS_NKEY", self.nats_nkey.clone().map(SignIn::Nkey)),
        ];
        let mut given: Vec<_> = ways.into_iter().filter_map(|(name, way)| Some((name, way?))).collect();
        if given.len() > 1 {
            let names: Vec<_> = given.iter().map(|(name, _)| *name).collect();
            bail!("{} are set: the bus takes one way to sign in, so set only one of them", names.join(" and "));
        }
        Ok(given.pop().map_or(SignIn::AsTheAddressSays, |(_, way)| way))
    }

    fn tls(&self) -> anyhow::Result<BusTls> {
        let client = match (&self.nats_certificate, &self.nats_key) {
            (Some(certificate), Some(key)) => {
                Some(ClientCertificate { certificate: certificate.clone(), key: key.clone() })
            }
            (None, None) => None,
            _ => bail!("LABLET_NATS_CERTIFICATE and LABLET_NATS_KEY have to be set together"),
        };
        Ok(BusTls { required: self.nats_tls, ca: self.nats_ca.clone(), client })
    }

    /// Opens each file that is named here, so that one that is missing is told by its setting.
    ///
    /// # Errors
    /// One cannot be read.
    pub(crate) fn check_files(&self) -> anyhow::Result<()> {
        for (name, file) in [
            ("LABLET_NATS_CREDENTIALS", &self.nats_credentials),
            ("LABLET_NATS_NKEY", &self.nats_nkey),
            ("LABLET_NATS_CA", &self.nats_ca),
            ("LABLET_NATS_CERTIFICATE", &self.nats_certificate),
            ("LABLET_NATS_KEY", &self.nats_key),
        ] {
            if let Some(file) = file {
                std::fs::File::open(file).with_context(|| format!("{name}: {} cannot be read", file.display()))?;
            }
        }
        Ok(())
    }

    fn domain(&self) -> anyhow::Result<Option<String>> {
        let Some(domain) = &self.nats_jetstream_domain else { return Ok(None) };
        let is_token = !domain.is_empty()
            && domain.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'.' | b'*' | b'>'));
        if !is_token {
            bail!("LABLET_NATS_JETSTREAM_DOMAIN is {domain:?}; expected one token of a subject, such as hub");
        }
        Ok(Some(domain.clone()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Role {
        #[command(flatten)]
        bus: BusArguments,
    }

    fn options(arguments: &[&str]) -> anyhow::Result<BusOptions> {
        Role::try_parse_from([&["x", "--nats-url", "nats://a"], arguments].concat())?.bus.options("test")
    }

    #[test]
    fn each_way_to_sign_in_is_read_and_two_are_refused_by_name() {
        assert_eq!(options(&[]).unwrap().sign_in, SignIn::AsTheAddressSays);
        assert_eq!(options(&["--nats-nkey", "/n"]).unwrap().sign_in, SignIn::Nkey("/n".into()));
        let ways: [&[&str]; 4] = [
            &["--nats-token", "s3cret"],
            &["--nats-user", "u", "--nats-password", "s3cret"],
            &["--nats-credentials", "/c"],
            &["--nats-nkey", "/n"],
        ];
        for (index, one) in ways.iter().enumerate() {
            for other in &ways[index + 1..] {
                let refused = format!("{:#}", options(&[*one, *other].concat()).unwrap_err());
                assert!(refused.matches("LABLET_NATS_").count() == 2 && !refused.contains("s3cret"), "{refused}");
            }
        }
        for half in [["--nats-user", "u"], ["--nats-key", "/k"], ["--nats-jetstream-domain", "a.b"]] {
            assert!(options(&half).is_err(), "{half:?}");
        }
        let in_address = Role::try_parse_from(["x", "--nats-url", "nats://t@a", "--nats-nkey", "/n"]).unwrap();
        assert!(in_address.bus.options("test").unwrap_err().to_string().contains("LABLET_NATS_URL"));
    }
}
