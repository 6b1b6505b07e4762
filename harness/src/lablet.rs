//! One `lablet up`: started, used over HTTP, bus and command line, killed, started again.

pub(crate) mod people;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

/// How long a start may take: a cluster is made on the first one.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// How long a clean end may take.
const ENDED_WITHIN: Duration = Duration::from_secs(60);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How to start.
#[derive(Debug, Clone, Default)]
pub struct LabletOptions {
    /// The executable, e.g. `env!("CARGO_BIN_EXE_lablet-under-test")`.
    pub program: PathBuf,
    /// With simulator and sample sessions.
    pub demo: bool,
    /// With so many days of past.
    pub demo_history: u32,
    /// More environment.
    pub environment: Vec<(String, String)>,
    /// More arguments of `up`.
    pub arguments: Vec<String>,
}

/// The ready line; its members are those of the design.
#[derive(Debug, Clone, Deserialize)]
pub struct Ready {
    pub event: String,
    pub http: String,
    pub database_url: String,
    pub analyst_database_url: Option<String>,
    pub nats_url: String,
    pub admin_token: String,
    pub sign_in_url: Option<String>,
    pub internal_api_key: String,
    pub cml_url: Option<String>,
}

/// An answer that was not a success.
#[derive(Debug)]
pub struct Refused {
    /// The status.
    pub status: StatusCode,
    /// The problem document.
    pub problem: Value,
}

/// What a command of the executable did.
#[derive(Debug)]
pub struct Answer {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub complaint: String,
}

/// A running `lablet up` with a data folder of its own.
pub struct Lablet {
    options: LabletOptions,
    folder: TempDir,
    process: Child,
    ready: Ready,
    http: reqwest::Client,
}

impl Lablet {
    /// Starts it in a new data folder and waits for its ready line.
    ///
    /// # Errors
    /// It ends or stays silent; the error holds the end of its log.
    pub async fn start(options: LabletOptions) -> anyhow::Result<Self> {
        install_tls();
        let folder = tempfile::tempdir()?;
        let (process, ready) = launch(&options, folder.path()).await?;
        let http = reqwest::Client::builder().timeout(ANSWER_WITHIN).build()?;
        Ok(Self { options, folder, process, ready, http })
    }

    /// What it printed when it was ready.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Its data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The executable.
    pub fn program(&self) -> &Path {
        &self.options.program
    }

    /// Its process; none once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(log_file(self.folder.path())).unwrap_or_default()
    }

    /// kill -9 of the process.
    ///
    /// # Errors
    /// The process cannot be killed.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().await.context("the process cannot be killed")
    }

    /// Starts it again on the same data folder.
    ///
    /// # Errors
    /// As [`Lablet::start`].
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        (self.process, self.ready) = launch(&self.options, self.folder.path()).await?;
        Ok(())
    }

    /// Ends it with SIGTERM and waits for exit code 0.
    ///
    /// # Errors
    /// It ends otherwise or not at all; the error holds the end of its log.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.terminate().await
    }

    /// As [`Lablet::stop`], keeping the data folder.
    ///
    /// # Errors
    /// As [`Lablet::stop`].
    pub async fn terminate(&mut self) -> anyhow::Result<()> {
        let id = self.process.id().context("it has ended already")?.to_string();
        let signalled = Command::new("kill").args(["-TERM", &id]).status().await?;
        anyhow::ensure!(signalled.success(), "it cannot be signalled");
        let status = tokio::time::timeout(ENDED_WITHIN, self.process.wait())
            .await
            .with_context(|| format!("it did not end: {}", tail(&self.log())))??;
        anyhow::ensure!(status.success(), "it ended with {status}: {}", tail(&self.log()));
        Ok(())
    }

    /// Another command of the executable on the same data folder, e.g. `["verify"]`: its exit code and output.
    ///
    /// # Errors
    /// It cannot be started or takes more than two minutes.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<(bool, String)> {
        let output = self.output(arguments).await?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok((output.status.success(), text))
    }

    async fn output(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        Ok(tokio::time::timeout(Duration::from_secs(120), self.command(arguments).output())
            .await
            .with_context(|| format!("lablet {arguments:?} did not end"))??)
    }

    /// Another command of the executable on the same data folder, to be started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.options.program);
        command.args(arguments).env("LABLET_DATA_DIR", self.data_dir()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// The same with this on standard input: exit code, standard output and standard error, each for itself.
    ///
    /// # Errors
    /// As [`Lablet::run`].
    pub async fn answer(&self, arguments: &[&str], input: &str) -> anyhow::Result<Answer> {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn()?;
        let mut stdin = process.stdin.take().context("it has no standard input")?;
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
        let output = tokio::time::timeout(Duration::from_secs(120), process.wait_with_output())
            .await
            .with_context(|| format!("lablet {arguments:?} did not end"))??;
        Ok(Answer {
            code: output.status.code().context("it was ended by a signal")?,
            out: String::from_utf8(output.stdout)?,
            complaint: String::from_utf8(output.stderr)?,
        })
    }

    /// A request with the key or token that its path needs.
    ///
    /// # Errors
    /// [`Refused`] when it is answered otherwise than with a success.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Result<Value, Refused>> {
        let mut request = self.http.request(method, format!("{}{path}", self.ready.http));
        request = if path.starts_with("/api/internal/") {
            request.header("x-api-key", &self.ready.internal_api_key)
        } else {
            request.bearer_auth(&self.ready.admin_token)
        };
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        let body = response.json().await.unwrap_or(Value::Null);
        Ok(if status.is_success() { Ok(body) } else { Err(Refused { status, problem: body }) })
    }

    /// A GET that has to succeed.
    ///
    /// # Errors
    /// It does not.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        match self.request(Method::GET, path, None).await? {
            Ok(body) => Ok(body),
            Err(refused) => bail!("GET {path}: {} {}", refused.status, refused.problem),
        }
    }

    /// A POST that has to succeed.
    ///
    /// # Errors
    /// It does not.
    pub async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        match self.request(Method::POST, path, Some(body)).await? {
            Ok(body) => Ok(body),
            Err(refused) => bail!("POST {path}: {} {}", refused.status, refused.problem),
        }
    }

    /// A PATCH of what is at this etag, that has to succeed.
    ///
    /// # Errors
    /// It does not.
    pub async fn patch(&self, path: &str, etag: &str, body: Value) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.ready.http);
        let request = self.http.patch(url).bearer_auth(&self.ready.admin_token).header("if-match", etag).json(&body);
        let response = request.send().await?;
        let status = response.status();
        let body: Value = response.json().await?;
        anyhow::ensure!(status.is_success(), "PATCH {path}: {status} {body}");
        Ok(body)
    }

    /// A definition with modest needs and this id.
    ///
    /// # Errors
    /// It cannot be created.
    pub async fn define(&self, id: &str) -> anyhow::Result<Value> {
        let definition = json!({
            "id": id, "name": id, "version": "1.0",
            "resource_requirements": { "cpu_cores": 2, "memory_gb": 4, "storage_gb": 10 },
            "port_template": { "ports": [{ "name": "PC_serial", "protocol": "serial" }] }
        });
        self.post("/api/lablet-definitions", definition).await
    }

    /// A worker at this address.
    ///
    /// # Errors
    /// It cannot be registered.
    pub async fn register_worker(&self, id: &str, address: &str) -> anyhow::Result<Value> {
        let worker = json!({
            "id": id, "name": id, "address": address,
            "capacity": { "cpu_cores": 64, "memory_gb": 256, "storage_gb": 1000, "max_nodes": 320 }
        });
        self.post("/api/workers", worker).await
    }

    /// A session of a definition that runs in this lab of this worker, with one allocated port; it can be read.
    ///
    /// # Errors
    /// It cannot be brought there.
    pub async fn running_session(&self, id: &str, definition: &str, worker: &str, lab: &str) -> anyhow::Result<()> {
        self.post("/api/internal/lablet-sessions", json!({ "id": id, "definition_id": definition })).await?;
        let mut position = Value::Null;
        for step in [
            json!({ "new_status": "scheduled", "worker_id": worker, "allocated_ports": { "PC_serial": 5041 } }),
            json!({ "new_status": "instantiating" }),
            json!({ "new_status": "ready" }),
            json!({ "new_status": "running", "cml_lab_id": lab }),
        ] {
            position =
                self.post(&format!("/api/internal/lablet-sessions/{id}/transition"), step).await?["position"].take();
        }
        let position = position.as_str().context("the answer to a transition has no position")?;
        self.get(&format!("/api/lablet-sessions?position={position}")).await?;
        Ok(())
    }
}

/// Clients in tests need a TLS provider, whether or not they speak TLS. Every test asks; the first one installs it.
pub fn install_tls() {
    static INSTALLED: std::sync::Once = std::sync::Once::new();
    INSTALLED.call_once(|| {
        rustls::crypto::ring::default_provider().install_default().expect("nobody else installs a provider");
    });
}

fn log_file(folder: &Path) -> PathBuf {
    folder.join("log")
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

async fn launch(options: &LabletOptions, folder: &Path) -> anyhow::Result<(Child, Ready)> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log_file(folder))?;
    let mut command = Command::new(&options.program);
    command.args(["up", "--http", "127.0.0.1:0", "--output", "json", "--data-dir"]).arg(folder.join("data"));
    if options.demo {
        command.arg("--demo").arg(format!("--demo-history={}", options.demo_history));
    }
    for name in ["LABLET_DATABASE_URL", "LABLET_NATS_URL", "LABLET_CML_USERNAME", "LABLET_CML_PASSWORD"] {
        command.env_remove(name);
    }
    command.args(&options.arguments);
    command.envs(options.environment.iter().cloned());
    let mut process = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .context("it cannot be started")?;
    let output = process.stdout.take().context("it has no standard output")?;
    let mut lines = BufReader::new(output).lines();
    let so_far = || tail(&std::fs::read_to_string(log_file(folder)).unwrap_or_default());
    let line = tokio::time::timeout(READY_WITHIN, lines.next_line())
        .await
        .with_context(|| format!("it is not ready: {}", so_far()))??
        .with_context(|| format!("it ended before it was ready: {}", so_far()))?;
    let ready = serde_json::from_str(&line).context("the ready line is not as designed")?;
    Ok((process, ready))
}
