//! An OpenID provider of others, with some people: Canaille, as a child process.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::OnceCell;
use url::Url;

use crate::python::pinned_environment;

/// How long it may take to be ready, its packages being there.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Redirects and forms of one sign-in: the provider needs six.
const MOST_STEPS: usize = 16;

/// What somebody answers when the provider asks whether the client may know who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// It may.
    Given,
    /// It may not.
    Denied,
}

impl Consent {
    fn button(self) -> &'static str {
        match self {
            Self::Given => "accept",
            Self::Denied => "deny",
        }
    }
}

#[derive(Debug, Deserialize)]
struct Ready {
    issuer: String,
    client_id: String,
    client_secret: String,
    password: String,
}

/// A provider that runs. Its people are `ada` in the group `lab-admins`, `oli` in `lab-operators`, `vic` in
/// `lab-viewers`, and `nobody` in none. It signs them in by name and password, then asks them for their consent: fields
/// `login` and `password`, buttons `accept` and `deny`.
pub struct OidcProvider {
    ready: Ready,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    folder: TempDir,
    _process: Child,
}

impl OidcProvider {
    /// Starts it, with these addresses as those to which its client may send people back.
    ///
    /// # Errors
    /// Python or the packages cannot be had, or the provider does not start; the error holds the end of its log.
    pub async fn start(redirect_uris: &[&str]) -> anyhow::Result<Self> {
        static ENVIRONMENT: OnceCell<PathBuf> = OnceCell::const_new();
        crate::install_tls();
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
        let requirements = programs.join("openid_provider.txt");
        let environment =
            ENVIRONMENT.get_or_try_init(|| pinned_environment("python-openid-provider", &requirements)).await?;
        let folder = tempfile::tempdir()?;
        let mut process = Command::new(environment.join("bin/python"))
            .arg(programs.join("openid_provider.py"))
            .arg(folder.path())
            .args(redirect_uris)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(log_file(folder.path()))?)
            .kill_on_drop(true)
            .spawn()?;
        let commands = process.stdin.take().context("it has no standard input")?;
        let mut answers = BufReader::new(process.stdout.take().context("it has no standard output")?).lines();
        let line = tokio::time::timeout(READY_WITHIN, answers.next_line()).await.context("it is not ready")??;
        let Some(line) = line else { bail!("it ended: {}", std::fs::read_to_string(log_file(folder.path()))?) };
        let ready = serde_json::from_str(&line)?;
        Ok(Self { ready, commands, answers, folder, _process: process })
    }

    /// Its issuer identifier, which is its address.
    pub fn issuer(&self) -> &str {
        &self.ready.issuer
    }

    /// What its client is called.
    pub fn client_id(&self) -> &str {
        &self.ready.client_id
    }

    /// What its client proves itself by.
    pub fn client_secret(&self) -> &str {
        &self.ready.client_secret
    }

    /// Everybody's password.
    pub fn password(&self) -> &str {
        &self.ready.password
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(log_file(self.folder.path())).unwrap_or_default()
    }

    /// Settings with which a gateway signs people in here.
    pub fn settings(&self) -> Vec<(String, String)> {
        [
            ("LABLET_OIDC_ISSUER", self.issuer()),
            ("LABLET_OIDC_CLIENT_ID", self.client_id()),
            ("LABLET_OIDC_CLIENT_SECRET", self.client_secret()),
            ("LABLET_OIDC_SCOPES", "openid profile email groups"),
            ("LABLET_OIDC_ROLES", "viewer=lab-viewers,operator=lab-operators,admin=lab-admins"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// Lets its client send people back to this address, too.
    ///
    /// # Errors
    /// It has ended.
    pub async fn allow_redirect(&mut self, uri: &str) -> anyhow::Result<()> {
        self.command(&format!("allow {uri}"), "allowed").await
    }

    /// Lets it sign with a new key from now on, and forget the old one.
    ///
    /// # Errors
    /// It has ended.
    pub async fn rotate_keys(&mut self) -> anyhow::Result<()> {
        self.command("rotate", "rotated").await
    }

    async fn command(&mut self, command: &str, expected: &str) -> anyhow::Result<()> {
        self.commands.write_all(format!("{command}\n").as_bytes()).await?;
        self.commands.flush().await?;
        let answer = tokio::time::timeout(ANSWER_WITHIN, self.answers.next_line()).await??;
        ensure!(answer.as_deref() == Some(expected), "{command}: {answer:?}, {}", self.log());
        Ok(())
    }

    /// Signs somebody in, without a browser: follows the provider's redirects and fills in its forms from this address
    /// on, until it sends them back to where they came from, and gives that address.
    ///
    /// # Errors
    /// It does not come to that.
    pub async fn sign_in(&self, address: &str, person: &str, consent: Consent) -> anyhow::Result<Url> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ANSWER_WITHIN)
            .no_proxy()
            .build()?;
        let issuer = Url::parse(self.issuer())?;
        let (mut cookies, mut address) = (Vec::<(String, String)>::new(), Url::parse(address)?);
        let mut form = None;
        for _ in 0..MOST_STEPS {
            let jar = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
            let request = match form.take() {
                None => http.get(address.clone()),
                Some(fields) => http.post(address.clone()).form::<Vec<(String, String)>>(&fields),
            };
            let answer = request.header(COOKIE, jar).send().await?;
            for cookie in answer.headers().get_all(SET_COOKIE) {
                let (name, rest) = cookie.to_str()?.split_once('=').context("a cookie without a value")?;
                let value = rest.split(';').next().unwrap_or_default().to_owned();
                cookies.retain(|(other, _)| other != name);
                cookies.push((name.to_owned(), value));
            }
            if let Some(to) = answer.headers().get(LOCATION) {
                address = address.join(to.to_str()?)?;
                if address.origin() != issuer.origin() {
                    return Ok(address);
                }
                continue;
            }
            let (status, page) = (answer.status(), answer.text().await?);
            ensure!(status.is_success(), "{address}: {status} {page}");
            form = Some(self.filled_in(&page, person, consent).with_context(|| format!("{address}: {page}"))?);
        }
        bail!("{person} was not signed in, but got to {address}")
    }

    fn filled_in(&self, page: &str, person: &str, consent: Consent) -> anyhow::Result<Vec<(String, String)>> {
        let after = |text| page.split_once(text).map(|(_, rest)| rest);
        let token = after("name=\"csrf_token\" value=\"").and_then(|rest| rest.split('"').next());
        let own = if page.contains("id=\"loginform\"") {
            ("login", person)
        } else if page.contains("id=\"passwordform\"") {
            ("password", self.password())
        } else {
            ensure!(page.contains("id=\"authorizeform\""), "an unknown page");
            ("answer", consent.button())
        };
        let fields = [("csrf_token", token.context("no csrf_token")?), own];
        Ok(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    /// An access token of this person, as a script of theirs would have it. `redirect` is one of the addresses that the
    /// client may send people back to.
    ///
    /// # Errors
    /// The provider gives none.
    pub async fn access_token(&self, person: &str, redirect: &str) -> anyhow::Result<String> {
        let mut address = Url::parse(self.issuer())?.join("/oauth/authorize")?;
        address.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", self.client_id()),
            ("redirect_uri", redirect),
            ("scope", "openid profile email groups"),
            ("state", "state"),
            ("nonce", &format!("nonce of {person}")),
        ]);
        let back = self.sign_in(address.as_str(), person, Consent::Given).await?;
        let code = back.query_pairs().find(|(name, _)| name == "code").context("no code")?.1.into_owned();
        let answer = reqwest::Client::builder()
            .timeout(ANSWER_WITHIN)
            .no_proxy()
            .build()?
            .post(Url::parse(self.issuer())?.join("/oauth/token")?)
            .basic_auth(self.client_id(), Some(self.client_secret()))
            .form(&[("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", redirect)])
            .send()
            .await?;
        let answer: Value = answer.json().await?;
        Ok(answer["access_token"].as_str().with_context(|| answer.to_string())?.to_owned())
    }
}

fn log_file(folder: &Path) -> PathBuf {
    folder.join("log")
}
