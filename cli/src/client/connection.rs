//! The HTTP side of the client: where the API is, who asks, and errors that say what the API said.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use futures_util::StreamExt as _;
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde_json::Value;

use crate::secret::Secret;
use crate::up::ready::Ready;

/// Most rows that the API gives at once.
const PAGE: usize = 200;
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long `--wait` waits for the outcome of a request.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(120);

/// Where the API is and who asks.
#[derive(Debug, Args)]
pub(crate) struct ConnectionArguments {
    /// The gateway. Unless given: the one that `lablet up` started in this folder.
    #[arg(long, env = "LABLET_URL", global = true)]
    url: Option<Url>,
    /// A bearer token. Unless given: the one that `lablet up` printed.
    #[arg(long, env = "LABLET_TOKEN", hide_env_values = true, global = true)]
    token: Option<Secret>,
    /// Data folder of `lablet up`, where its address and token are looked up.
    #[arg(long, env = "LABLET_DATA_DIR", default_value = ".lablet", global = true)]
    data_dir: PathBuf,
}

/// A connection to the API.
pub(crate) struct Connection {
    client: reqwest::Client,
    url: Url,
    token: Secret,
}

impl Connection {
    /// Finds out where the API is. Nothing is asked yet.
    pub(crate) fn open(arguments: &ConnectionArguments) -> anyhow::Result<Self> {
        let ready = match (&arguments.url, &arguments.token) {
            (Some(_), Some(_)) => None,
            _ => Ready::read(&arguments.data_dir)?,
        };
        let url = match (&arguments.url, &ready) {
            (Some(url), _) => url.clone(),
            (None, Some(ready)) => ready.http.parse().context("the address in the data folder is no URL")?,
            (None, None) => bail!(
                "no gateway is known: give --url and --token (or LABLET_URL and LABLET_TOKEN), or run `lablet up` in this folder"
            ),
        };
        let token = arguments
            .token
            .clone()
            .or_else(|| ready.map(|ready| ready.admin_token))
            .context("no token is known: give --token or LABLET_TOKEN")?;
        let client = reqwest::Client::builder().connect_timeout(Duration::from_secs(5)).build()?;
        Ok(Self { client, url, token })
    }

    fn request(&self, method: Method, path: &str) -> anyhow::Result<RequestBuilder> {
        let url = self.url.join(path).with_context(|| format!("{path} is no path of the API"))?;
        Ok(self.client.request(method, url).bearer_auth(self.token.reveal()))
    }

    async fn answer(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let response = request
            .timeout(TIMEOUT)
            .send()
            .await
            .with_context(|| format!("the gateway at {} cannot be reached", self.url))?;
        let status = response.status();
        let body = response.bytes().await.context("the answer broke off")?;
        if status.is_success() {
            return serde_json::from_slice(&body).context("the answer is no JSON document");
        }
        bail!("{}", problem(status, &body));
    }

    /// One thing.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.answer(self.request(Method::GET, path)?).await
    }

    /// Up to `limit` rows, page by page.
    pub(crate) async fn list(
        &self,
        path: &str,
        filters: &[(&str, String)],
        limit: usize,
    ) -> anyhow::Result<Vec<Value>> {
        let mut rows = Vec::new();
        let mut cursor: Option<String> = None;
        while rows.len() < limit {
            let page_size = (limit - rows.len()).min(PAGE);
            let mut request = self.request(Method::GET, path)?.query(filters).query(&[("limit", page_size)]);
            if let Some(cursor) = &cursor {
                request = request.query(&[("cursor", cursor)]);
            }
            let mut page = self.answer(request).await?;
            let items = page["items"].as_array_mut().map(std::mem::take).context("the answer has no items")?;
            rows.extend(items);
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        Ok(rows)
    }

    /// Posts a document. Each invocation is a command of its own.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.answer(self.request(Method::POST, path)?.json(body)).await
    }

    /// Changes the newest version of a thing; refused when somebody else changes it meanwhile.
    pub(crate) async fn patch_newest(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let etag = self.get(path).await?["etag"].as_str().context("the answer has no etag")?.to_owned();
        self.answer(self.request(Method::PATCH, path)?.header("if-match", etag).json(body)).await
    }

    /// Waits until a request for an observation has its outcome.
    pub(crate) async fn outcome(&self, session: &str, request_id: &str) -> anyhow::Result<Value> {
        let wait = async {
            loop {
                let filters = [("session_id", session.to_owned())];
                let rows = self.list("/api/observation-requests", &filters, PAGE).await?;
                let row = rows.into_iter().find(|row| row["request_id"] == request_id);
                if let Some(row) = row.filter(|row| row["outcome"] != "open") {
                    return anyhow::Ok(row);
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        };
        tokio::time::timeout(OUTCOME_TIMEOUT, wait).await.with_context(|| {
            format!(
                "request {request_id} is still open after {} s; is a controller running?",
                OUTCOME_TIMEOUT.as_secs()
            )
        })?
    }

    /// Prints the data of server-sent events, one a line, until the stream ends or the process is interrupted.
    pub(crate) async fn follow(&self, after: Option<&str>) -> anyhow::Result<()> {
        let mut request = self.request(Method::GET, "/api/stream")?;
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let response =
            request.send().await.with_context(|| format!("the gateway at {} cannot be reached", self.url))?;
        let status = response.status();
        if !status.is_success() {
            bail!("{}", problem(status, &response.bytes().await?));
        }
        let mut chunks = response.bytes_stream();
        let mut lines = Vec::new();
        while let Some(chunk) = chunks.next().await {
            lines.extend_from_slice(&chunk.context("the stream broke off")?);
            while let Some(end) = lines.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = lines.drain(..=end).collect();
                if let Some(data) = String::from_utf8_lossy(&line).trim_end().strip_prefix("data:") {
                    use std::io::Write as _;
                    writeln!(std::io::stdout().lock(), "{}", data.trim_start())?;
                }
            }
        }
        Ok(())
    }
}

/// What the API said was wrong, as a person reads it.
fn problem(status: StatusCode, body: &[u8]) -> String {
    let Ok(problem) = serde_json::from_slice::<Value>(body) else {
        return format!("the gateway answered {status}");
    };
    let title = problem["title"].as_str().unwrap_or("refused");
    let mut text = format!("{title} ({})", status.as_u16());
    if let Some(detail) = problem["detail"].as_str() {
        text.push_str(": ");
        text.push_str(detail);
    }
    for error in problem["errors"].as_array().into_iter().flatten() {
        let part = |name: &str| error[name].as_str().unwrap_or("?").to_owned();
        text.push_str(&format!("\n  {} {}; expected {}", part("field"), part("problem"), part("expected")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_with_its_fields() {
        let body = br#"{"title":"Invalid","detail":"1 field","errors":[{"field":"name","problem":"is empty","expected":"a name"}]}"#;
        assert_eq!(problem(StatusCode::BAD_REQUEST, body), "Invalid (400): 1 field\n  name is empty; expected a name");
        assert_eq!(problem(StatusCode::BAD_GATEWAY, b"<html>"), "the gateway answered 502 Bad Gateway");
    }
}
