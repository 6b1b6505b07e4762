//! What `lablet up` prints once it is ready: a line for programs, a few for people, a file for the client commands.

use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::secret::{Secret, write_private};

/// The ready line. It holds secrets: it goes to standard output and to a file that only its owner can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// Always `ready`.
    pub(crate) event: String,
    /// Base URL of the gateway.
    pub(crate) http: String,
    /// The application's own database.
    pub(crate) database_url: Secret,
    /// The same database for analysts; null where the role cannot be given a password.
    pub(crate) analyst_database_url: Option<Secret>,
    /// The bus.
    pub(crate) nats_url: Secret,
    /// Bearer token of an admin.
    pub(crate) admin_token: Secret,
    /// Link that signs a browser in, once, within a day; null where a version without pages wrote it.
    pub(crate) sign_in_url: Option<Secret>,
    /// Key for `X-API-Key`.
    pub(crate) internal_api_key: Secret,
    /// The simulator; null without one.
    pub(crate) cml_url: Option<String>,
}

const FILE: &str = "ready.json";
/// What programs of services and analysts need, for a shell to read: `. .lablet/environment`.
const ENVIRONMENT: &str = "environment";

impl Ready {
    /// Keeps it in the data folder for the client commands.
    pub(crate) fn write(&self, data_dir: &Path) -> anyhow::Result<()> {
        write_private(&data_dir.join(ENVIRONMENT), &self.environment())?;
        write_private(&data_dir.join(FILE), &serde_json::to_string(self)?)
    }

    /// Nothing in it has an apostrophe: addresses are percent-encoded, and keys have letters and digits.
    fn environment(&self) -> String {
        let analysts = self.analyst_database_url.as_ref().map(|url| ("LABLET_ANALYST_DATABASE_URL", url.reveal()));
        let variables = [
            ("LABLET_URL", self.http.as_str()),
            ("LABLET_API_KEY", self.internal_api_key.reveal()),
            ("LABLET_NATS_URL", self.nats_url.reveal()),
        ];
        variables.into_iter().chain(analysts).map(|(name, value)| format!("export {name}='{value}'\n")).collect()
    }

    /// What the newest `lablet up` on this data folder wrote, if there was one.
    pub(crate) fn read(data_dir: &Path) -> anyhow::Result<Option<Self>> {
        let file = data_dir.join(FILE);
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                let ready = serde_json::from_str(&text)
                    .with_context(|| format!("{} is not what `lablet up` writes", file.display()))?;
                Ok(Some(ready))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", file.display())),
        }
    }

    /// How browsers reach the gateway.
    pub(crate) fn site(&self) -> &str {
        let by_link = self.sign_in_url.as_ref().and_then(|link| link.reveal().split_once("/sign-in/link"));
        by_link.map_or(self.http.as_str(), |(site, _)| site)
    }

    /// Prints the line for programs.
    pub(crate) fn print_json(&self) -> anyhow::Result<()> {
        use std::io::Write as _;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(self)?)?;
        out.flush().context("standard output cannot be written")
    }

    /// Prints the lines for people.
    pub(crate) fn print_text(&self) -> anyhow::Result<()> {
        use std::io::Write as _;
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nLablet is ready at {}", self.http)?;
        if let Some(link) = &self.sign_in_url {
            writeln!(
                out,
                "  sign in           {}  (once, within a day; `lablet token link` makes others)",
                link.reveal()
            )?;
        }
        writeln!(out, "  admins' API       Authorization: Bearer {}", self.admin_token.reveal())?;
        writeln!(out, "  internal services X-API-Key: {}", self.internal_api_key.reveal())?;
        writeln!(out, "  events            {}  (subjects lablet.events.>)", self.nats_url.reveal())?;
        if let Some(url) = &self.analyst_database_url {
            writeln!(out, "  SQL for analysts  {}  (schema analytics_v1)", url.reveal())?;
        }
        if let Some(url) = &self.cml_url {
            writeln!(out, "  CML simulator     {url}")?;
        }
        writeln!(out, "\nLook around in another terminal:")?;
        writeln!(out, "  lablet session list\n  lablet drift list\n  lablet event follow\nCtrl-C ends it.\n")?;
        out.flush().context("standard output cannot be written")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_has_the_designed_members() {
        let ready = Ready {
            event: "ready".into(),
            http: "http://127.0.0.1:8080".into(),
            database_url: "postgres://a".parse().unwrap(),
            analyst_database_url: None,
            nats_url: "nats://b".parse().unwrap(),
            admin_token: "t".parse().unwrap(),
            sign_in_url: Some("http://127.0.0.1:8080/sign-in/link?token=s".parse().unwrap()),
            internal_api_key: "k".parse().unwrap(),
            cml_url: None,
        };
        let line = serde_json::to_string(&ready).unwrap();
        assert_eq!(
            line,
            r#"{"event":"ready","http":"http://127.0.0.1:8080","database_url":"postgres://a","analyst_database_url":null,"nats_url":"nats://b","admin_token":"t","sign_in_url":"http://127.0.0.1:8080/sign-in/link?token=s","internal_api_key":"k","cml_url":null}"#
        );
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(ready.site(), "http://127.0.0.1:8080");
        assert_eq!(Ready::read(folder.path()).unwrap(), None);
        ready.write(folder.path()).unwrap();
        assert_eq!(Ready::read(folder.path()).unwrap(), Some(ready));
        let environment = std::fs::read_to_string(folder.path().join("environment")).unwrap();
        assert_eq!(
            environment,
            "export LABLET_URL='http://127.0.0.1:8080'\nexport LABLET_API_KEY='k'\nexport LABLET_NATS_URL='nats://b'\n"
        );
    }
}
