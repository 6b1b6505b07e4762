//! Sign-in of this client to the bus, and TLS.
//!
//! Secrets are read before connecting, so that an unusable file is reported at the start. No error and no debug output
//! shows a secret.

use std::fmt;
use std::path::{Path, PathBuf};

use async_nats::{ConnectOptions, ServerAddr};

use super::BusError;

/// How this client signs in: exactly one way.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum SignIn {
    /// Without credentials, or with those in the addresses.
    #[default]
    AsTheAddressSays,
    /// By a token.
    Token(String),
    /// By user and password.
    Password {
        /// The user.
        user: String,
        /// Its password.
        password: String,
    },
    /// By a credentials file: a JWT and the seed of its key.
    Credentials(PathBuf),
    /// By a file with the seed of an nkey.
    Nkey(PathBuf),
}

impl fmt::Debug for SignIn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsTheAddressSays => formatter.write_str("AsTheAddressSays"),
            Self::Token(_) => formatter.write_str("Token"),
            Self::Password { user, .. } => formatter.debug_struct("Password").field("user", user).finish(),
            Self::Credentials(file) => formatter.debug_tuple("Credentials").field(file).finish(),
            Self::Nkey(file) => formatter.debug_tuple("Nkey").field(file).finish(),
        }
    }
}

/// TLS settings: trusted certificates and the client's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BusTls {
    /// Whether a connection without TLS is refused. Any file below implies it.
    pub required: bool,
    /// PEM file with the certificates that the server is trusted by; the system's unless given.
    pub ca: Option<PathBuf>,
    /// PEM files with this client's certificate and its key.
    pub client: Option<ClientCertificate>,
}

impl BusTls {
    /// Whether a connection without TLS is refused.
    pub(super) fn is_required(&self) -> bool {
        self.required || self.ca.is_some() || self.client.is_some()
    }
}

/// The client's certificate, for servers that ask for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM file with the certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// PEM file with its key.
    pub key: PathBuf,
}

/// Splits addresses into servers and credentials.
pub(super) fn addresses(url: &str) -> Result<(Vec<ServerAddr>, SignIn), BusError> {
    let addresses: Vec<ServerAddr> = url
        .split(',')
        .map(|address| address.trim().parse().map_err(|_| BusError::Address))
        .collect::<Result<_, _>>()?;
    let mut sign_in = SignIn::AsTheAddressSays;
    for address in &addresses {
        let said = match (address.username(), address.password()) {
            (None, _) => continue,
            (Some(token), None) => SignIn::Token(decoded(token)?),
            (Some(user), Some(password)) => SignIn::Password { user: decoded(user)?, password: decoded(password)? },
        };
        // A client has one identity: a secret meant for one server must not be sent to another.
        if sign_in != SignIn::AsTheAddressSays && sign_in != said {
            return Err(BusError::Contradiction("the addresses of the bus name different users or tokens"));
        }
        sign_in = said;
    }
    Ok((addresses, sign_in))
}

/// Adds the credentials.
pub(super) async fn sign_in(connect: ConnectOptions, sign_in: &SignIn) -> Result<ConnectOptions, BusError> {
    Ok(match sign_in {
        SignIn::AsTheAddressSays => connect,
        SignIn::Token(token) => connect.token(token.clone()),
        SignIn::Password { user, password } => connect.user_and_password(user.clone(), password.clone()),
        SignIn::Credentials(file) => {
            let text = read("the credentials file", file).await?;
            connect
                .credentials(&text)
                .map_err(|_| unusable("the credentials file", file, "it holds no JWT with its seed"))?
        }
        SignIn::Nkey(file) => {
            let text = read("the file of the nkey's seed", file).await?;
            let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU"));
            let seed = seed.filter(|seed| nkeys::KeyPair::from_seed(seed).is_ok());
            let seed = seed.ok_or_else(|| {
                unusable("the file of the nkey's seed", file, "it holds no seed of a user, which begins with SU")
            })?;
            connect.nkey(seed.to_owned())
        }
    })
}

/// Adds the TLS settings.
pub(super) async fn tls(mut connect: ConnectOptions, tls: &BusTls) -> Result<ConnectOptions, BusError> {
    if let Some(ca) = &tls.ca {
        pem("the certificates that the bus is trusted by", ca, "CERTIFICATE").await?;
        connect = connect.add_root_certificates(ca.clone());
    }
    if let Some(ClientCertificate { certificate, key }) = &tls.client {
        pem("the certificate for the bus", certificate, "CERTIFICATE").await?;
        pem("the key for the bus", key, "PRIVATE KEY").await?;
        connect = connect.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(if tls.is_required() { connect.require_tls(true) } else { connect })
}

async fn pem(what: &'static str, file: &Path, holds: &str) -> Result<(), BusError> {
    let text = read(what, file).await?;
    let found =
        text.lines().any(|line| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&format!("{holds}-----")));
    if found { Ok(()) } else { Err(unusable(what, file, "it is no PEM file of that kind")) }
}

async fn read(what: &'static str, file: &Path) -> Result<String, BusError> {
    tokio::fs::read_to_string(file).await.map_err(|error| unusable(what, file, &error.to_string()))
}

fn unusable(what: &'static str, file: &Path, why: &str) -> BusError {
    BusError::File { what, file: file.to_owned(), why: why.to_owned() }
}

fn decoded(part: &str) -> Result<String, BusError> {
    percent_encoding::percent_decode_str(part)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| BusError::Address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_who_asks_by_token_or_by_user_and_password() {
        let said = |url: &str| addresses(url).map(|(_, sign_in)| sign_in);
        assert_eq!(said("nats://a:4222, nats://b:4222").unwrap(), SignIn::AsTheAddressSays);
        assert_eq!(said("nats://t%40ken@a:4222").unwrap(), SignIn::Token("t@ken".to_owned()));
        let password = SignIn::Password { user: "u".to_owned(), password: "p:w".to_owned() };
        assert_eq!(said("nats://u:p%3Aw@a, nats://u:p%3Aw@b, nats://c").unwrap(), password);
        let refused = said("nats://u:secret@a, nats://v:secret@b").unwrap_err();
        assert!(matches!(refused, BusError::Contradiction(_)));
        assert!(!format!("{refused:?} {refused} {password:?}").contains("secret"));
    }
}
