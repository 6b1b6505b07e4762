//! The HTTP side of the client: where the API is, who asks, and errors that say what the API said.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use futures_util::StreamExt as _;
use reqwest::header::LOCATION;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

use crate::ready::Ready;
use crate::secret::Secret;

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
    /// A bearer token. Unless given: the one that `lablet up` printed, for its own address and no other.
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
        let (token, of_folder) = match (&arguments.token, ready) {
            (Some(token), _) => (token.clone(), false),
            (None, Some(ready)) => (token_for(&url, ready)?, true),
            (None, None) => bail!("no token is known: give --token or LABLET_TOKEN"),
        };
        let mut client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            // Wherever a redirect points, the token was not given for it.
            .redirect(reqwest::redirect::Policy::none());
        if of_folder {
            // Nor for a proxy: `lablet up` runs on this machine.
            client = client.no_proxy();
        }
        Ok(Self { client: client.build()?, url, token })
    }

    fn request(&self, method: Method, path: &str) -> anyhow::Result<RequestBuilder> {
        // The gateway may be below a path of its own.
        let base = self.url.as_str().trim_end_matches('/');
        let url: Url = format!("{base}{path}").parse().with_context(|| format!("{path} is no path of the API"))?;
        Ok(self.client.request(method, url).bearer_auth(self.token.reveal()))
    }

    async fn answer(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let response = self.sent(request.timeout(TIMEOUT)).await?;
        let status = response.status();
        let body = response.bytes().await.context("the answer broke off")?;
        if status.is_success() {
            return serde_json::from_slice(&body).context("the answer is no JSON document");
        }
        bail!("{}", problem(status, &body));
    }

    /// The answer, unless it sends the client elsewhere.
    async fn sent(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response =
            request.send().await.with_context(|| format!("the gateway at {} cannot be reached", self.url))?;
        if response.status().is_redirection() {
            let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let location = location.unwrap_or("nowhere").escape_debug();
            bail!(
                "{} redirects to {location}, which is not followed with a token; give that address as --url",
                self.url
            );
        }
        Ok(response)
    }

    /// One thing.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.answer(self.request(Method::GET, path)?).await
    }

    /// One thing, asked for with these parameters.
    pub(crate) async fn get_with(&self, path: &str, query: &[(&'static str, String)]) -> anyhow::Result<Value> {
        self.answer(self.request(Method::GET, path)?.query(query)).await
    }

    /// A file.
    pub(crate) async fn get_text(&self, path: &str) -> anyhow::Result<String> {
        let response = self.sent(self.request(Method::GET, path)?.timeout(TIMEOUT)).await?;
        let status = response.status();
        let body = response.bytes().await.context("the answer broke off")?;
        if !status.is_success() {
            bail!("{}", problem(status, &body));
        }
        String::from_utf8(body.into()).context("the answer is no text")
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

    /// Posts a text of this media type, with these parameters.
    pub(crate) async fn post_as(
        &self,
        path: &str,
        query: &[(&'static str, String)],
        media_type: &'static str,
        text: String,
    ) -> anyhow::Result<Value> {
        self.answer(self.request(Method::POST, path)?.query(query).header("content-type", media_type).body(text)).await
    }

    /// Takes a step with the newest version of a thing; refused when somebody else takes one meanwhile.
    pub(crate) async fn post_newest(&self, path: &str, step: &str, body: &Value) -> anyhow::Result<Value> {
        let etag = self.etag(path).await?;
        let request = self.request(Method::POST, &format!("{path}/{step}"))?.header("if-match", etag);
        self.answer(request.json(body)).await
    }

    /// Puts another in the place of the newest version of a thing; refused when somebody else does so meanwhile.
    pub(crate) async fn put_newest(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let etag = self.etag(path).await?;
        self.answer(self.request(Method::PUT, path)?.header("if-match", etag).json(body)).await
    }

    async fn etag(&self, path: &str) -> anyhow::Result<String> {
        Ok(self.get(path).await?["etag"].as_str().context("the answer has no etag")?.to_owned())
    }

    /// Ends or removes a thing.
    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.answer(self.request(Method::DELETE, path)?).await
    }

    /// Changes the newest version of a thing; refused when somebody else changes it meanwhile.
    pub(crate) async fn patch_newest(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let etag = self.etag(path).await?;
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
        let response = self.sent(request).await?;
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
                    writeln!(std::io::stdout().lock(), "{}", app::printable::printable_json(data.trim_start()))?;
                }
            }
        }
        Ok(())
    }
}

/// The token of a data folder, which is for the gateway that it belongs to: the same scheme, host and port.
fn token_for(url: &Url, ready: Ready) -> anyhow::Result<Secret> {
    let own: Url = ready.http.parse().context("the address in the data folder is no URL")?;
    if url.origin() == own.origin() {
        return Ok(ready.admin_token);
    }
    bail!(
        "no token is known for {}: that of the data folder is for {} alone; give --token or LABLET_TOKEN",
        url.origin().ascii_serialization(),
        own.origin().ascii_serialization()
    )
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

    /// A data folder whose `lablet up` is at this address.
    fn folder(http: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let secret = |text: &str| text.parse().unwrap();
        let ready = Ready {
            event: "ready".to_owned(),
            http: http.to_owned(),
            database_url: secret("postgres://a"),
            analyst_database_url: None,
            nats_url: secret("nats://b"),
            admin_token: secret("token-of-the-folder"),
            sign_in_url: None,
            internal_api_key: secret("k"),
            cml_url: None,
        };
        ready.write(folder.path()).unwrap();
        folder
    }

    fn open(folder: &tempfile::TempDir, url: Option<&str>, token: Option<&str>) -> anyhow::Result<Connection> {
        Connection::open(&ConnectionArguments {
            url: url.map(|url| url.parse().unwrap()),
            token: token.map(|token| token.parse().unwrap()),
            data_dir: folder.path().to_owned(),
        })
    }

    #[test]
    fn the_token_of_a_folder_is_for_its_own_address_and_no_other() {
        let folder = folder("http://127.0.0.1:8080");
        let revealed = |url, token| open(&folder, url, token).unwrap().token.reveal().to_owned();
        for own in [None, Some("http://127.0.0.1:8080"), Some("http://127.0.0.1:8080/"), Some("http://127.1:8080/x")] {
            assert_eq!(revealed(own, None), "token-of-the-folder", "{own:?}");
        }
        for other in [
            "https://127.0.0.1:8080",
            "http://127.0.0.1",
            "http://127.0.0.1:8081",
            "http://127.0.0.2:8080",
            "http://localhost:8080",
            "http://[::1]:8080",
            "http://elsewhere.example:8080",
            "http://127.0.0.1:8080@elsewhere.example:8080",
            "http://127.0.0.1.elsewhere.example:8080",
        ] {
            let refused = open(&folder, Some(other), None).err().unwrap().to_string();
            assert!(refused.contains("LABLET_TOKEN") && !refused.contains("token-of-the-folder"), "{refused}");
            assert_eq!(revealed(Some(other), Some("mine")), "mine");
        }
        let empty = tempfile::tempdir().unwrap();
        assert!(open(&empty, Some("http://127.0.0.1:8080"), None).is_err());
    }

    /// Answers every connection with this, and gives what was asked.
    async fn answering(answer: String) -> (String, tokio::task::JoinHandle<String>) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(asked).unwrap()
        });
        (address, asked)
    }

    #[tokio::test]
    async fn a_redirect_takes_the_token_nowhere() {
        let installed = rustls::crypto::ring::default_provider().install_default();
        drop(installed);
        let (elsewhere, asked_elsewhere) = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned()).await;
        for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
            let redirect = format!("HTTP/1.1 {status}\r\nlocation: {elsewhere}/x\r\ncontent-length: 0\r\n\r\n");
            let (address, asked) = answering(redirect).await;
            let connection = open(&folder(&address), None, None).unwrap();
            let refused = connection.get("/api/workers").await.unwrap_err().to_string();
            assert!(refused.contains(&format!("redirects to {elsewhere}")), "{refused}");
            assert!(asked.await.unwrap().to_lowercase().contains("bearer token-of-the-folder"));
        }
        assert!(!asked_elsewhere.is_finished(), "nobody came");
        asked_elsewhere.abort();
    }

    #[test]
    fn a_problem_is_told_with_its_fields() {
        let body = br#"{"title":"Invalid","detail":"1 field","errors":[{"field":"name","problem":"is empty","expected":"a name"}]}"#;
        assert_eq!(problem(StatusCode::BAD_REQUEST, body), "Invalid (400): 1 field\n  name is empty; expected a name");
        assert_eq!(problem(StatusCode::BAD_GATEWAY, b"<html>"), "the gateway answered 502 Bad Gateway");
    }
}
