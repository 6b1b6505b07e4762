//! The services around Lablet, as the demonstration plays them: a client with an internal key and an admin's token.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::secret::Secret;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A client of the gateway.
pub(crate) struct Services {
    client: reqwest::Client,
    http: String,
    internal_api_key: Secret,
    admin_token: Secret,
}

impl Services {
    pub(crate) fn new(http: &str, internal_api_key: Secret, admin_token: Secret) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
        Ok(Self { client, http: http.to_owned(), internal_api_key, admin_token })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        if_match: Option<&str>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.http));
        request = if path.starts_with("/api/internal/") {
            request.header("x-api-key", self.internal_api_key.reveal())
        } else {
            request.bearer_auth(self.admin_token.reveal())
        };
        if let Some(etag) = if_match {
            request = request.header("if-match", etag);
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        let response = request.send().await.with_context(|| format!("{method} {path}"))?;
        let status = response.status();
        let body = response.bytes().await?;
        let value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
        Ok((status, value))
    }

    async fn expect(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let (status, answer) = self.send(method.clone(), path, body, None).await?;
        if !status.is_success() {
            bail!("{method} {path} was answered {status}: {answer}");
        }
        Ok(answer)
    }

    /// Registers the worker, or gives it its new address: the simulator may have another port than in the last run.
    pub(super) async fn ensure_worker(&self, worker: Value) -> anyhow::Result<()> {
        let path = format!("/api/workers/{}", id_of(&worker)?);
        let (status, present) = self.send(Method::GET, &path, None, None).await?;
        if status == StatusCode::NOT_FOUND {
            self.expect(Method::POST, "/api/workers", Some(worker)).await?;
            return Ok(());
        }
        let etag = present["etag"].as_str().context("the worker has no etag")?;
        let change = json!({ "address": worker["address"] });
        let (status, answer) = self.send(Method::PATCH, &path, Some(change), Some(etag)).await?;
        if !status.is_success() {
            bail!("the worker's address cannot be changed: {status}: {answer}");
        }
        Ok(())
    }

    /// Creates the definition unless it is there, perhaps revised since.
    pub(super) async fn ensure_definition(&self, definition: Value) -> anyhow::Result<()> {
        let path = format!("/api/lablet-definitions/{}", id_of(&definition)?);
        let (status, _) = self.send(Method::GET, &path, None, None).await?;
        if status == StatusCode::NOT_FOUND {
            self.expect(Method::POST, "/api/lablet-definitions", Some(definition)).await?;
        }
        Ok(())
    }

    /// Sets the policy by which a definition is advised, unless somebody has.
    pub(super) async fn ensure_policy(&self, definition: &str, policy: Value, reason: &str) -> anyhow::Result<()> {
        let path = format!("/api/lablet-definitions/{definition}/advice-policy");
        let present = self.expect(Method::GET, &path, None).await?;
        if !present["own"].is_null() {
            return Ok(());
        }
        let etag = present["etag"].as_str().context("the policy has no etag")?;
        let new = json!({ "policy": policy, "reason": reason });
        let (status, answer) = self.send(Method::PUT, &path, Some(new), Some(etag)).await?;
        if !status.is_success() {
            bail!("the policy of {definition} cannot be set: {status}: {answer}");
        }
        Ok(())
    }

    /// Ids of the worker's sessions that have not come to an end.
    pub(super) async fn unfinished_sessions(&self, worker: &str) -> anyhow::Result<Vec<String>> {
        let mut unfinished = Vec::new();
        for status in ["scheduled", "instantiating", "ready", "running", "collecting", "grading", "stopping", "stopped"]
        {
            let path = format!("/api/internal/lablet-sessions?status={status}&worker_id={worker}&limit=200");
            let page = self.expect(Method::GET, &path, None).await?;
            for session in page["items"].as_array().context("the answer has no items")? {
                unfinished.push(id_of(session)?);
            }
        }
        Ok(unfinished)
    }

    /// Creates a session and gives its id.
    pub(super) async fn create_session(&self, session: Value) -> anyhow::Result<String> {
        id_of(&self.expect(Method::POST, "/api/internal/lablet-sessions", Some(session)).await?)
    }

    /// Takes a session one step on.
    pub(super) async fn transition(&self, session: &str, transition: Value) -> anyhow::Result<Value> {
        self.expect(Method::POST, &format!("/api/internal/lablet-sessions/{session}/transition"), Some(transition))
            .await
    }

    /// Asks for an observation, as an admin.
    pub(super) async fn request_observation(&self, session: &str) -> anyhow::Result<Value> {
        self.expect(Method::POST, &format!("/api/lablet-sessions/{session}/observe-resources"), Some(json!({}))).await
    }

    /// Waits until the session has this status.
    pub(super) async fn wait_for(&self, session: &str, status: &str, timeout: Duration) -> anyhow::Result<()> {
        let look = async {
            loop {
                let present =
                    self.expect(Method::GET, &format!("/api/internal/lablet-sessions/{session}"), None).await?;
                if present["status"] == status {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::time::timeout(timeout, look)
            .await
            .with_context(|| format!("the session is not {status} after {} s", timeout.as_secs()))?
    }
}

fn id_of(answer: &Value) -> anyhow::Result<String> {
    Ok(answer["id"].as_str().context("the answer has no id")?.to_owned())
}
