//! What the provider says about itself (OpenID Connect Discovery). Only what is used is looked at: a provider may say
//! whatever it likes beside it.

use openidconnect::core::CoreJsonWebKeySet;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use url::Url;

use crate::outward::{OutwardClient, OutwardError, is_safe};

/// Where a provider describes itself, below its issuer.
const DESCRIPTION: &str = "/.well-known/openid-configuration";
/// Most characters of what a provider says that go into a message.
const LONGEST_SHOWN: usize = 200;

/// What is used of it.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) userinfo_endpoint: Option<Url>,
    /// It takes the client's secret in the request's body only.
    pub(super) takes_secret_in_body_only: bool,
    /// It names itself in its answers (RFC 9207).
    pub(super) names_itself: bool,
    pub(super) keys: CoreJsonWebKeySet,
}

/// Why the provider cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProviderFault {
    /// It gives no answer at the moment. Trying again may help.
    #[error("the OpenID provider does not answer: {0}")]
    Unreachable(String),
    /// Its settings here or there are wrong. Trying again does not help.
    #[error("{0}")]
    Misconfigured(String),
}

impl ProviderFault {
    /// An answer that is none for what was asked for.
    pub(super) fn unusable(what: &str, address: &Url, problem: impl std::fmt::Display) -> Self {
        Self::Misconfigured(format!("the OpenID provider's {what} at {address} {problem}"))
    }

    pub(super) fn no_answer(what: &str, address: &Url, error: &OutwardError) -> Self {
        match error {
            OutwardError::NoAnswer(error) if chain(error).contains("certificate") => {
                let problem = format!(
                    "is not trusted: {}; LABLET_OIDC_CA names the PEM file with the certificates to trust",
                    chain(error)
                );
                Self::unusable(what, address, problem)
            }
            OutwardError::NoAnswer(error) => Self::Unreachable(format!("{what} at {address}: {}", chain(error))),
            OutwardError::Unsafe | OutwardError::TooLarge | OutwardError::Malformed(_) => {
                Self::unusable(what, address, format_args!("cannot be used: {error}"))
            }
        }
    }
}

/// An error with what caused it.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    shown(&text)
}

/// A text of others as it may stand in a message: bounded, on one line.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(LONGEST_SHOWN).collect()
}

/// Where the provider of this issuer describes itself.
pub(super) fn address(issuer: &Url) -> Url {
    let mut address = issuer.clone();
    address.set_path(&format!("{}{DESCRIPTION}", issuer.path().trim_end_matches('/')));
    address
}

/// Asks the provider of this issuer what it is.
pub(super) async fn discover(http: &OutwardClient, issuer: &str, issuer_url: &Url) -> Result<Metadata, ProviderFault> {
    let address = address(issuer_url);
    let told: Map<String, Value> = http.json("description", &address).await?;
    let unusable = |problem: String| ProviderFault::unusable("description", &address, problem);
    let named = told.get("issuer").and_then(Value::as_str).ok_or_else(|| unusable("names no issuer".to_owned()))?;
    if named != issuer {
        let differs_by_slash = named.trim_end_matches('/') == issuer.trim_end_matches('/');
        let advice = if differs_by_slash {
            "they differ by the last slash only, and have to be the same to the letter"
        } else {
            "they have to be the same to the letter"
        };
        return Err(ProviderFault::Misconfigured(format!(
            "LABLET_OIDC_ISSUER is {issuer:?}, but the provider at {address} calls itself {:?}: {advice}",
            shown(named)
        )));
    }
    let endpoint = |name: &str| -> Result<Option<Url>, ProviderFault> {
        let Some(text) = told.get(name).and_then(Value::as_str) else { return Ok(None) };
        match Url::parse(text) {
            Ok(url) if is_safe(&url) => Ok(Some(url)),
            _ => {
                Err(unusable(format!("names a {name} that is neither https nor http on this machine: {}", shown(text))))
            }
        }
    };
    let needed = |name: &str| endpoint(name)?.ok_or_else(|| unusable(format!("names no {name}")));
    let keys_address = needed("jwks_uri")?;
    let methods: Vec<&str> = told
        .get("token_endpoint_auth_methods_supported")
        .and_then(Value::as_array)
        .map(|methods| methods.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    Ok(Metadata {
        issuer: issuer.to_owned(),
        authorization_endpoint: needed("authorization_endpoint")?,
        token_endpoint: needed("token_endpoint")?,
        userinfo_endpoint: endpoint("userinfo_endpoint").unwrap_or_default(),
        takes_secret_in_body_only: methods.contains(&"client_secret_post") && !methods.contains(&"client_secret_basic"),
        names_itself: told.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true)),
        keys: http.json("key set", &keys_address).await?,
    })
}

impl OutwardClient {
    /// JSON that the provider has at this address.
    async fn json<T: DeserializeOwned>(&self, what: &str, address: &Url) -> Result<T, ProviderFault> {
        let request = ::http::Request::builder()
            .uri(address.as_str())
            .header(::http::header::ACCEPT, "application/json")
            .body(Vec::new())
            .map_err(|error| ProviderFault::unusable(what, address, format_args!("cannot be asked for: {error}")))?;
        let answer = self.ask(request).await.map_err(|error| ProviderFault::no_answer(what, address, &error))?;
        check_status(what, address, answer.status())?;
        serde_json::from_slice(answer.body()).map_err(|_| {
            let begins = String::from_utf8_lossy(answer.body());
            let is_page = begins.trim_start().starts_with('<');
            ProviderFault::unusable(
                what,
                address,
                if is_page { "is a page (HTML), not JSON" } else { "is not the JSON that is expected" },
            )
        })
    }
}

/// Tells answers that pass by from those that stay.
pub(super) fn check_status(what: &str, address: &Url, status: ::http::StatusCode) -> Result<(), ProviderFault> {
    if status.is_success() {
        return Ok(());
    }
    if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) {
        return Err(ProviderFault::Unreachable(format!("{what} at {address}: status {}", status.as_u16())));
    }
    Err(ProviderFault::unusable(
        what,
        address,
        format_args!("is not there: it answers {}; is LABLET_OIDC_ISSUER right?", status.as_u16()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_describes_itself_below_its_issuer_whatever_its_last_slash() {
        for (issuer, described) in [
            ("https://login.example.com", "https://login.example.com/.well-known/openid-configuration"),
            ("https://login.example.com/", "https://login.example.com/.well-known/openid-configuration"),
            ("https://a.example/realms/labs/", "https://a.example/realms/labs/.well-known/openid-configuration"),
        ] {
            assert_eq!(address(&Url::parse(issuer).unwrap()).as_str(), described);
        }
    }
}
