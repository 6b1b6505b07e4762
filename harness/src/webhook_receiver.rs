//! The receiver of `docs/webhooks`, run as its readers run it.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::python::pinned_environment;

/// How long it may take to listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(60);

/// A receiver of webhooks that verifies and parses with libraries of others.
pub struct WebhookReceiver {
    url: String,
    events: Arc<Mutex<Vec<Value>>>,
    _process: Child,
}

impl WebhookReceiver {
    /// Starts it on a free port, with this secret.
    ///
    /// # Errors
    /// Python or its packages cannot be had, or it does not listen.
    pub async fn start(secret: &str) -> anyhow::Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/webhooks");
        let environment = pinned_environment("python-webhooks", &folder.join("requirements.txt")).await?;
        let mut process = Command::new(environment.join("bin/python"))
            .arg(folder.join("receiver.py"))
            .arg("0")
            .env("WEBHOOK_SECRET", secret)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let said = process.stderr.take().context("it has no standard error")?;
        let mut said = BufReader::new(said).lines();
        let first = tokio::time::timeout(LISTENS_WITHIN, said.next_line()).await.context("it does not listen")??;
        let Some(url) = first.as_deref().and_then(|line| line.strip_prefix("listening on ")) else {
            bail!("it said {first:?}")
        };
        let printed = process.stdout.take().context("it has no standard output")?;
        let events = Arc::new(Mutex::new(Vec::new()));
        let kept = events.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(printed).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let event = serde_json::from_str(&line).unwrap_or_else(|error| {
                    eprintln!("webhook receiver printed no JSON: {error}: {line}");
                    Value::String(line)
                });
                kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(event);
            }
        });
        // What it refuses is said where the tests' output is.
        tokio::spawn(async move {
            while let Ok(Some(line)) = said.next_line().await {
                eprintln!("webhook receiver: {line}");
            }
        });
        Ok(Self { url: url.to_owned(), events, _process: process })
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it took so far, each once.
    pub fn events(&self) -> Vec<Value> {
        self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}
