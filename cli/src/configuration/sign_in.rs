//! How people sign in: an OpenID provider, and how long their sessions last.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{ArgAction, Args};
use gateway::authentication::Role;
use gateway::sign_in::ProviderOptions;

use crate::secret::Secret;

/// Signing in with a browser.
#[derive(Debug, Clone, Args)]
pub(crate) struct SignInArguments {
    /// Issuer of the OpenID provider at which people sign in, e.g. https://login.example.com/realms/labs.
    #[arg(long, env = "LABLET_OIDC_ISSUER")]
    oidc_issuer: Option<String>,
    /// What the provider knows this gateway as.
    #[arg(long, env = "LABLET_OIDC_CLIENT_ID")]
    oidc_client_id: Option<String>,
    /// What proves to the provider that it is this gateway; none for a public client.
    #[arg(long, env = "LABLET_OIDC_CLIENT_SECRET", hide_env_values = true)]
    oidc_client_secret: Option<Secret>,
    /// What is asked of the provider, separated by spaces.
    #[arg(long, env = "LABLET_OIDC_SCOPES", default_value = "openid profile email")]
    oidc_scopes: String,
    /// Claim with an account's groups: a name, or a path with dots such as realm_access.roles; a name with dots in it
    /// stands in quotes: resource_access."lablet.example.com".roles.
    #[arg(long, env = "LABLET_OIDC_ROLE_CLAIM", default_value = "groups")]
    oidc_role_claim: String,
    /// Which group makes which role: viewer=lab-viewers,operator=lab-operators,admin=lab-admins; the highest wins. A group
    /// with commas stands in quotes: admin="CN=lab-admins,OU=Groups,DC=example".
    #[arg(long, env = "LABLET_OIDC_ROLES", default_value = "")]
    oidc_roles: String,
    /// Claim with an account's name; email and sub are looked at after it.
    #[arg(long, env = "LABLET_OIDC_NAME_CLAIM", default_value = "preferred_username")]
    oidc_name_claim: String,
    /// Audience that a bearer token of the provider has to name; the client's id unless stated.
    #[arg(long, env = "LABLET_OIDC_AUDIENCE")]
    oidc_audience: Option<String>,
    /// Clients of the provider beside this one whose bearer tokens are accepted, separated by commas.
    #[arg(long, env = "LABLET_OIDC_API_CLIENTS", default_value = "")]
    oidc_api_clients: String,
    /// Accept the provider's ID tokens as bearer tokens, too.
    #[arg(long, env = "LABLET_OIDC_API_ID_TOKENS", action = ArgAction::Set, default_value = "false", num_args = 0..=1, default_missing_value = "true", value_parser = switch)]
    oidc_api_id_tokens: bool,
    /// PEM file with the certificates that the provider is trusted by.
    #[arg(long, env = "LABLET_OIDC_CA")]
    oidc_ca: Option<PathBuf>,
    /// How long a browser's session lasts while nobody uses it, in minutes.
    #[arg(long, env = "LABLET_SESSION_IDLE_MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=10_080))]
    session_idle_minutes: u64,
    /// How long a browser's session lasts in all, in hours.
    #[arg(long, env = "LABLET_SESSION_HOURS", default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=720))]
    session_hours: u64,
}

impl SignInArguments {
    /// How long a browser's session lasts while nobody uses it.
    pub(crate) fn idle_session(&self) -> Duration {
        Duration::from_secs(self.session_idle_minutes * 60)
    }

    /// How long a browser's session lasts in all.
    pub(crate) fn longest_session(&self) -> Duration {
        Duration::from_secs(self.session_hours * 60 * 60)
    }

    /// The provider, `None` where none is configured.
    pub(crate) fn provider(&self) -> anyhow::Result<Option<ProviderOptions>> {
        // docker compose sets what is left empty to an empty text.
        let stated = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let Some(issuer) = stated(&self.oidc_issuer) else {
            ensure!(stated(&self.oidc_client_id).is_none(), "LABLET_OIDC_CLIENT_ID is set, LABLET_OIDC_ISSUER is not");
            return Ok(None);
        };
        let client_id =
            stated(&self.oidc_client_id).context("LABLET_OIDC_ISSUER is set, LABLET_OIDC_CLIENT_ID is not")?;
        let ca_pem = self.oidc_ca.as_ref().filter(|file| !file.as_os_str().is_empty());
        let ca_pem = ca_pem.map(|file| {
            std::fs::read(file).with_context(|| format!("LABLET_OIDC_CA: {} cannot be read", file.display()))
        });
        Ok(Some(ProviderOptions {
            issuer,
            client_id,
            client_secret: self.oidc_client_secret.as_ref().map(|secret| secret.reveal().to_owned()),
            scopes: self.oidc_scopes.split_whitespace().map(str::to_owned).collect(),
            role_claim: self.oidc_role_claim.clone(),
            roles: roles(&self.oidc_roles)?,
            name_claim: self.oidc_name_claim.clone(),
            audience: stated(&self.oidc_audience),
            api_clients: self
                .oidc_api_clients
                .split(',')
                .map(str::trim)
                .filter(|client| !client.is_empty())
                .map(str::to_owned)
                .collect(),
            api_id_tokens: self.oidc_api_id_tokens,
            ca_pem: ca_pem.transpose()?,
        }))
    }
}

/// `true` or `false`; what docker compose leaves empty is `false`.
fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" | "" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

fn roles(text: &str) -> anyhow::Result<Vec<(Role, String)>> {
    let mut roles = Vec::new();
    for entry in entries(text)? {
        let role = entry.split_once('=').and_then(|(role, group)| Some((Role::named(role.trim())?, group.trim())));
        match role.map(|(role, group)| Ok::<_, anyhow::Error>((role, unquoted(group)?))).transpose()? {
            Some((role, group)) if !group.is_empty() => roles.push((role, group)),
            _ => bail!(
                "LABLET_OIDC_ROLES has the entry {entry:?}; expected e.g. viewer=lab-viewers or admin=lab-admins, and in \
                 quotes a group with commas: admin=\"CN=lab-admins,OU=Groups,DC=example\""
            ),
        }
    }
    ensure!(!roles.is_empty(), "LABLET_OIDC_ROLES is not set, so nobody could sign in; e.g. admin=lab-admins");
    Ok(roles)
}

/// The entries of a list that is separated by commas, of which those in quotes separate nothing.
fn entries(text: &str) -> anyhow::Result<Vec<&str>> {
    let (mut entries, mut begin, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (index, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                entries.push(&text[begin..index]);
                begin = index + 1;
            }
            _ => {}
        }
    }
    ensure!(!quoted, "LABLET_OIDC_ROLES has a quote that is not closed");
    entries.push(&text[begin..]);
    Ok(entries.into_iter().map(str::trim).filter(|entry| !entry.is_empty()).collect())
}

/// A group without its quotes. Within them a backslash takes the next character as it is; a group without quotes is
/// taken as it stands.
fn unquoted(group: &str) -> anyhow::Result<String> {
    let Some(quoted) = group.strip_prefix('"') else {
        ensure!(
            !group.contains('"'),
            "LABLET_OIDC_ROLES has a quote in the middle of {group:?}; quote the whole group"
        );
        return Ok(group.to_owned());
    };
    let (mut text, mut characters) = (String::new(), quoted.chars());
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                let rest = characters.as_str();
                ensure!(rest.is_empty(), "LABLET_OIDC_ROLES goes on with {rest:?} behind a closing quote");
                return Ok(text);
            }
            '\\' => text.extend(characters.next()),
            other => text.push(other),
        }
    }
    bail!("LABLET_OIDC_ROLES has a quote that is not closed")
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use proptest::prelude::*;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        sign_in: SignInArguments,
    }

    fn provider(arguments: &[&str]) -> anyhow::Result<Option<ProviderOptions>> {
        Arguments::try_parse_from([&["x"], arguments].concat()).unwrap().sign_in.provider()
    }

    #[test]
    fn a_provider_is_configured_whole_or_not_at_all() {
        assert!(provider(&[]).unwrap().is_none());
        assert!(provider(&["--oidc-issuer", ""]).unwrap().is_none());
        let issuer = ["--oidc-issuer", "https://login.example.com", "--oidc-client-id", "lablet"];
        let whole = [&issuer[..], &["--oidc-roles", "viewer=see, admin=rule,admin=root", "--oidc-client-secret", "s3"]];
        let options = provider(&whole.concat()).unwrap().unwrap();
        let roles = [(Role::Viewer, "see"), (Role::Admin, "rule"), (Role::Admin, "root")];
        assert_eq!(options.roles, roles.map(|(role, group)| (role, group.to_owned())));
        assert!(!format!("{options:?}").contains("s3"));
        let absent = provider(&[&whole.concat()[..], &["--oidc-ca", "/absent.pem"]].concat()).unwrap_err().to_string();
        assert_eq!(absent, "LABLET_OIDC_CA: /absent.pem cannot be read");
        for incomplete in [&issuer[..], &issuer[..2], &issuer[2..]] {
            let error = provider(incomplete).unwrap_err().to_string();
            assert!(error.starts_with("LABLET_OIDC_"), "{error}");
        }
        for roles in [
            "admin",
            "root=x",
            "admin=",
            "=x",
            "admin=\"\"",
            "admin=\"x",
            "admin=\"x\"y",
            "admin=x\"y\"",
            "admin=CN=lab-admins,OU=Groups,DC=example",
        ] {
            assert!(provider(&[&issuer[..], &["--oidc-roles", roles]].concat()).is_err(), "{roles}");
        }
    }

    #[test]
    fn groups_that_are_distinguished_names_stand_in_quotes() {
        let admins = "CN=lab-admins,OU=Groups,DC=example";
        let text = format!(r#"admin="{admins}", viewer=see ,operator="CN=Doe\\, \"Jo\",OU=x",viewer=CN=plain"#);
        let read = [
            (Role::Admin, admins),
            (Role::Viewer, "see"),
            (Role::Operator, r#"CN=Doe\, "Jo",OU=x"#),
            (Role::Viewer, "CN=plain"),
        ];
        assert_eq!(roles(&text).unwrap(), read.map(|(role, group)| (role, group.to_owned())));
    }

    proptest! {
        #[test]
        fn every_group_can_be_configured_in_quotes(groups in prop::collection::vec("\\PC{1,30}", 1..5)) {
            let quoted = |group: &String| format!("admin=\"{}\"", group.replace('\\', "\\\\").replace('"', "\\\""));
            let text = groups.iter().map(quoted).collect::<Vec<_>>().join(",");
            let read: Vec<String> = roles(&text).unwrap().into_iter().map(|(_, group)| group).collect();
            prop_assert_eq!(read, groups);
        }
    }
}
