//! The HTTP side of the client: where the API is, who asks, and errors that say what the API said.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use reqwest::header::{CONTENT_TYPE, HeaderMap, IF_MATCH, LINK, LOCATION};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde_json::Value;

use super::context::{Context, Contexts};
use crate::exit::{ExitStatus, Failure};
use crate::ready::Ready;
use crate::secret::Secret;

/// Most rows that the API gives at once.
const PAGE: usize = 200;
/// Most pages of a list.
const MOST_PAGES: usize = 5_000;
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long `--wait` waits for the outcome of a request.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(120);

/// Where the API is and who asks.
#[derive(Debug, Args)]
pub(crate) struct ConnectionArguments {
    /// The gateway. Unless given: that of a context, or the one that `lablet up` started in this folder.
    #[arg(long, env = "LABLET_URL", global = true)]
    url: Option<Url>,
    /// A bearer token. Unless given: that of the context or of the folder, for its own gateway and no other.
    #[arg(long, env = "LABLET_TOKEN", hide_env_values = true, global = true)]
    token: Option<Secret>,
    /// The context that says where the gateway is, instead of the current one.
    #[arg(long, env = "LABLET_CONTEXT", global = true)]
    context: Option<String>,
    /// Data folder of `lablet up`, where its address and token are looked up instead of in the current context. Where there
    /// is no current context, `.lablet`.
    #[arg(long, env = "LABLET_DATA_DIR", global = true)]
    data_dir: Option<PathBuf>,
}

/// The key of a service, for what services alone may do.
#[derive(Debug, Args)]
pub(crate) struct ServiceKey {
    /// An internal API key. Unless given: that of the folder of `lablet up`, for its own gateway and no other.
    #[arg(long, env = "LABLET_INTERNAL_API_KEY", hide_env_values = true)]
    internal_api_key: Option<Secret>,
}

/// A gateway with the token for it.
enum KnownGateway {
    Context(Context),
    Folder(Ready),
}

impl KnownGateway {
    /// The one that the arguments name, the current one, or that of this folder.
    fn find(
        arguments: &ConnectionArguments,
        contexts: impl Fn() -> anyhow::Result<Contexts>,
    ) -> anyhow::Result<Option<Self>> {
        if let Some(name) = &arguments.context {
            return Ok(Some(Self::Context(contexts()?.named(name)?)));
        }
        if let Some(folder) = &arguments.data_dir {
            return Ok(Ready::read(folder)?.map(Self::Folder));
        }
        match contexts()?.current()? {
            Some(context) => Ok(Some(Self::Context(context))),
            None => Ok(Ready::read(Path::new(".lablet"))?.map(Self::Folder)),
        }
    }

    fn url(&self) -> anyhow::Result<Url> {
        match self {
            Self::Context(context) => Ok(context.url.clone()),
            Self::Folder(ready) => ready.http.parse().context("the address in the data folder is no URL"),
        }
    }

    fn token(&self) -> anyhow::Result<Secret> {
        match self {
            Self::Context(context) => context.token(),
            Self::Folder(ready) => Ok(ready.admin_token.clone()),
        }
    }

    /// The key of a service. Contexts have none.
    fn internal_api_key(&self) -> Option<Secret> {
        match self {
            Self::Context(_) => None,
            Self::Folder(ready) => Some(ready.internal_api_key.clone()),
        }
    }
}

/// By what somebody is known to the gateway.
#[derive(Debug, Clone)]
enum Credential {
    /// A bearer token.
    Token(Secret),
    /// A key of a service.
    Key(Secret),
}

/// A connection to the API.
pub(crate) struct Connection {
    client: reqwest::Client,
    url: Url,
    /// Or why there is none: whoever comes with a key needs no token.
    credential: Result<Credential, String>,
    /// The key that is known for this gateway.
    known_key: Option<Secret>,
}

impl Connection {
    /// Finds out where the API is. Nothing is asked yet.
    pub(crate) fn open(arguments: &ConnectionArguments) -> anyhow::Result<Self> {
        Self::open_among(arguments, Contexts::read)
    }

    fn open_among(
        arguments: &ConnectionArguments,
        contexts: impl Fn() -> anyhow::Result<Contexts>,
    ) -> anyhow::Result<Self> {
        let known = match (&arguments.url, &arguments.token) {
            (Some(_), Some(_)) => None,
            _ => KnownGateway::find(arguments, contexts)?,
        };
        let url = match (&arguments.url, &known) {
            (Some(url), _) => url.clone(),
            (None, Some(known)) => known.url()?,
            (None, None) => bail!(
                "no gateway is known: set a context (lablet context set), give LABLET_URL and LABLET_TOKEN, or run `lablet \
                 up` in this folder"
            ),
        };
        let own = known.as_ref().map(KnownGateway::url).transpose()?;
        let is_own = own.is_some_and(|own| own.origin() == url.origin());
        let of_folder = arguments.token.is_none() && is_own && matches!(known, Some(KnownGateway::Folder(_)));
        let token = match (&arguments.token, &known) {
            (Some(token), _) => Ok(token.clone()),
            (None, Some(known)) if is_own => Ok(known.token()?),
            (None, Some(known)) => Err(of_another(&url, &known.url()?)),
            (None, None) => Err("no token is known: set LABLET_TOKEN".to_owned()),
        };
        let known_key = known.filter(|_| is_own).and_then(|known| known.internal_api_key());
        let mut client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            // Wherever a redirect points, the token was not given for it.
            .redirect(reqwest::redirect::Policy::none());
        if of_folder {
            // Nor for a proxy: `lablet up` runs on this machine.
            client = client.no_proxy();
        }
        Ok(Self { client: client.build()?, url, credential: token.map(Credential::Token), known_key })
    }

    /// The same connection for what a service does, by its key instead of a token.
    ///
    /// # Errors
    /// No key is given, and none is known.
    pub(crate) fn of_service(&self, given: &ServiceKey) -> anyhow::Result<Self> {
        let key = given.internal_api_key.as_ref().or(self.known_key.as_ref()).cloned();
        let unknown = || {
            let text = "only services may do this, and no key of one is known: set LABLET_INTERNAL_API_KEY, or name the folder \
                        of a `lablet up` by LABLET_DATA_DIR";
            Failure::new(ExitStatus::Refused, text)
        };
        let key = key.ok_or_else(unknown)?;
        Ok(Self {
            credential: Ok(Credential::Key(key)),
            known_key: None,
            client: self.client.clone(),
            url: self.url.clone(),
        })
    }

    fn request(&self, method: Method, path: &str) -> anyhow::Result<RequestBuilder> {
        // The gateway may be below a path of its own.
        let base = self.url.as_str().trim_end_matches('/');
        let url: Url = format!("{base}{path}").parse().with_context(|| format!("{path} is no path of the API"))?;
        let request = self.client.request(method, url);
        Ok(match &self.credential {
            Ok(Credential::Token(token)) => request.bearer_auth(token.reveal()),
            Ok(Credential::Key(key)) => request.header("x-api-key", key.reveal()),
            Err(unknown) => bail!("{unknown}"),
        })
    }

    async fn answer(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let (_, body) = self.body(request).await?;
        serde_json::from_slice(&body).context("the answer is no JSON document")
    }

    /// The headers and the body of a successful answer.
    async fn body(&self, request: RequestBuilder) -> anyhow::Result<(HeaderMap, Bytes)> {
        let response = self.sent(request.timeout(TIMEOUT)).await?;
        let headers = response.headers().clone();
        let broke_off = || Failure::new(ExitStatus::Unavailable, "the answer broke off");
        Ok((headers, response.bytes().await.with_context(broke_off)?))
    }

    /// The answer, unless it is an error or sends the client elsewhere.
    async fn sent(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let unreachable =
            || Failure::new(ExitStatus::Unavailable, format!("the gateway at {} cannot be reached", self.url));
        let response = request.send().await.map_err(reqwest::Error::without_url).with_context(unreachable)?;
        let status = response.status();
        if status.is_redirection() {
            let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let location = location.unwrap_or("nowhere").escape_debug();
            bail!(
                "{} redirects to {location}, which is not followed with a token; give that address as --url",
                self.url
            );
        }
        if !status.is_success() {
            let body = tokio::time::timeout(TIMEOUT, response.bytes()).await;
            // Without its body, the status says what is known.
            let body = body.ok().and_then(Result::ok).unwrap_or_default();
            return Err(Failure::new(ExitStatus::from_answer(status), problem(status, &body)).into());
        }
        Ok(response)
    }

    /// One thing.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.answer(self.request(Method::GET, path)?).await
    }

    /// One thing, asked for with these parameters.
    pub(crate) async fn get_with(&self, path: &str, parameters: &Parameters) -> anyhow::Result<Value> {
        self.answer(self.request(Method::GET, path)?.query(&parameters.0)).await
    }

    /// A file.
    pub(crate) async fn get_text(&self, path: &str, parameters: &Parameters) -> anyhow::Result<String> {
        let (_, body) = self.body(self.request(Method::GET, path)?.query(&parameters.0)).await?;
        String::from_utf8(body.into()).context("the answer is no text")
    }

    /// Up to `limit` rows, page by page.
    pub(crate) async fn list(&self, path: &str, parameters: &Parameters, limit: usize) -> anyhow::Result<Rows> {
        let mut rows = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let page_size = (limit - rows.len()).min(PAGE);
            let mut request = self.request(Method::GET, path)?.query(&parameters.0).query(&[("limit", page_size)]);
            if let Some(cursor) = &cursor {
                request = request.query(&[("cursor", cursor)]);
            }
            let mut page = self.answer(request).await?;
            let items = page["items"].as_array_mut().map(std::mem::take).context("the answer has no items")?;
            rows.extend(items);
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() || rows.len() >= limit {
                return Ok(Rows { rows, has_more: cursor.is_some() });
            }
        }
        bail!("the list has more than {MOST_PAGES} pages")
    }

    /// Up to `limit` notices in the order of the log, batch by batch.
    pub(crate) async fn notices(&self, parameters: &Parameters, limit: usize) -> anyhow::Result<Rows> {
        let mut rows: Vec<Value> = Vec::new();
        let mut parameters = parameters.clone();
        for _ in 0..MOST_PAGES {
            let batch_size = (limit - rows.len()).min(PAGE);
            let request = self.request(Method::GET, "/api/events")?.query(&parameters.0);
            let (headers, body) = self.body(request.query(&[("limit", batch_size)])).await?;
            let batch: Vec<Value> = serde_json::from_slice(&body).context("the answer is no batch of notices")?;
            let has_more = headers.contains_key(LINK);
            let last = batch.last().map(|notice| notice["position"].clone());
            rows.extend(batch);
            match last {
                Some(Value::String(last)) if has_more && rows.len() < limit => parameters.set("after", last),
                _ => return Ok(Rows { rows, has_more }),
            }
        }
        bail!("the log has more than {MOST_PAGES} batches")
    }

    /// Posts a document. Each invocation is a command of its own.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.answer(self.request(Method::POST, path)?.json(body)).await
    }

    /// Posts a text of this media type, with these parameters.
    pub(crate) async fn post_as(
        &self,
        path: &str,
        parameters: &Parameters,
        media_type: &'static str,
        text: String,
    ) -> anyhow::Result<Value> {
        let request = self.request(Method::POST, path)?.query(&parameters.0);
        self.answer(request.header(CONTENT_TYPE, media_type).body(text)).await
    }

    /// Posts a document, which is refused where the thing is no longer at this etag, if one is given.
    pub(crate) async fn post_at(&self, path: &str, etag: Option<&str>, body: &Value) -> anyhow::Result<Value> {
        let request = self.request(Method::POST, path)?.json(body);
        self.answer(match etag {
            Some(etag) => request.header(IF_MATCH, etag),
            None => request,
        })
        .await
    }

    /// Takes a step with the newest version of a thing; refused when somebody else takes one meanwhile.
    pub(crate) async fn post_newest(&self, path: &str, step: &str, body: &Value) -> anyhow::Result<Value> {
        let etag = self.etag(path).await?;
        let request = self.request(Method::POST, &format!("{path}/{step}"))?.header(IF_MATCH, etag);
        self.answer(request.json(body)).await
    }

    /// Puts another in the place of the newest version of a thing; refused when somebody else does so meanwhile.
    pub(crate) async fn put_newest(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let etag = self.etag(path).await?;
        self.answer(self.request(Method::PUT, path)?.header(IF_MATCH, etag).json(body)).await
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
        self.answer(self.request(Method::PATCH, path)?.header(IF_MATCH, etag).json(body)).await
    }

    /// Puts another in the place of what is at this etag.
    pub(crate) async fn put_at(&self, path: &str, etag: &str, body: &Value) -> anyhow::Result<Value> {
        self.answer(self.request(Method::PUT, path)?.header(IF_MATCH, etag).json(body)).await
    }

    /// Changes what is at this etag.
    pub(crate) async fn patch_at(&self, path: &str, etag: &str, body: &Value) -> anyhow::Result<Value> {
        self.answer(self.request(Method::PATCH, path)?.header(IF_MATCH, etag).json(body)).await
    }

    /// Waits until a request for an observation has its outcome.
    pub(crate) async fn outcome(&self, session: &str, request_id: &str) -> anyhow::Result<Value> {
        let of_session = Parameters::new(&[("session_id", session)])?;
        let wait = async {
            loop {
                let listed = self.list("/api/observation-requests", &of_session, PAGE).await?;
                let row = listed.rows.into_iter().find(|row| row["request_id"] == request_id);
                if let Some(row) = row.filter(|row| row["outcome"] != "open") {
                    return anyhow::Ok(row);
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        };
        tokio::time::timeout(OUTCOME_TIMEOUT, wait).await.map_err(|_| {
            let text = format!(
                "request {request_id} is still open after {} s; is a controller running?",
                OUTCOME_TIMEOUT.as_secs()
            );
            Failure::new(ExitStatus::NotAchieved, text)
        })?
    }

    /// Opens the stream of events, after a position or from now on.
    pub(super) async fn open_stream(&self, parameters: &Parameters, after: Option<&str>) -> anyhow::Result<Response> {
        let mut request = self.request(Method::GET, "/api/stream")?.query(&parameters.0);
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        // Not a bound on the whole answer, which never ends, but on its beginning.
        tokio::time::timeout(TIMEOUT, self.sent(request))
            .await
            .map_err(|_| Failure::new(ExitStatus::Unavailable, "the gateway opens no stream of events"))?
    }
}

/// The parameters of a request that are stated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// The members of an object, or pairs, that are not null.
    pub(crate) fn new(stated: &impl Serialize) -> anyhow::Result<Self> {
        Self::default().and(stated)
    }

    /// With further ones.
    pub(crate) fn and(mut self, stated: &impl Serialize) -> anyhow::Result<Self> {
        let text = serde_urlencoded::to_string(stated).context("a parameter cannot be written")?;
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(&text).context("a parameter cannot be read")?;
        self.0.extend(pairs);
        Ok(self)
    }

    fn set(&mut self, name: &str, value: String) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value));
    }
}

/// A list, or its beginning.
#[derive(Debug)]
pub(crate) struct Rows {
    /// Its rows.
    pub(crate) rows: Vec<Value>,
    /// Whether the gateway has more of them.
    pub(crate) has_more: bool,
}

/// That the token which is known is for its own gateway alone: the same scheme, host and port.
fn of_another(url: &Url, own: &Url) -> String {
    format!(
        "no token is known for {}: the one that is known is for {} alone; give --token or LABLET_TOKEN",
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
    let errors = problem["errors"].as_array().map_or(&[][..], Vec::as_slice);
    // Where fields are named, the detail repeats the first of them.
    if let Some(detail) = problem["detail"].as_str().filter(|_| errors.is_empty()) {
        text.push_str(": ");
        text.push_str(detail);
    }
    for error in errors {
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
            context: None,
            data_dir: Some(folder.path().to_owned()),
        })
    }

    #[test]
    fn the_token_of_a_folder_is_for_its_own_address_and_no_other() {
        let folder = folder("http://127.0.0.1:8080");
        let revealed = |url, token| revealed(&open(&folder, url, token).unwrap()).unwrap();
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
            let unknown = open(&folder, Some(other), None).unwrap();
            let refused = self::revealed(&unknown).unwrap_err();
            assert!(refused.contains("LABLET_TOKEN") && !refused.contains("token-of-the-folder"), "{refused}");
            assert!(unknown.of_service(&ServiceKey { internal_api_key: None }).is_err(), "nor is its key for {other}");
            assert_eq!(revealed(Some(other), Some("mine")), "mine");
        }
        let empty = tempfile::tempdir().unwrap();
        assert!(self::revealed(&open(&empty, Some("http://127.0.0.1:8080"), None).unwrap()).is_err());
    }

    /// The token that would be sent, or why there is none.
    fn revealed(connection: &Connection) -> Result<String, String> {
        match connection.credential.clone()? {
            Credential::Token(secret) | Credential::Key(secret) => Ok(secret.reveal().to_owned()),
        }
    }

    #[test]
    fn a_service_comes_with_the_key_that_is_given_or_with_that_of_the_folder_and_needs_no_token() {
        let folder = folder("http://127.0.0.1:8080");
        let key = |connection: &Connection, given: Option<&str>| {
            let given = ServiceKey { internal_api_key: given.map(|key| key.parse().unwrap()) };
            connection.of_service(&given).map(|service| revealed(&service).unwrap())
        };
        let own = open(&folder, None, None).unwrap();
        assert_eq!(key(&own, None).unwrap(), "k");
        assert_eq!(key(&own, Some("mine")).unwrap(), "mine");
        let elsewhere = open(&folder, Some("https://lablet.example"), None).unwrap();
        assert_eq!(key(&elsewhere, Some("mine")).unwrap(), "mine");
        let refused = key(&elsewhere, None).unwrap_err().to_string();
        assert!(refused.contains("LABLET_INTERNAL_API_KEY"), "{refused}");
        let sent = elsewhere.of_service(&ServiceKey { internal_api_key: "mine".parse().ok() }).unwrap();
        let request = sent.request(Method::POST, "/api/x").unwrap().build().unwrap();
        assert_eq!(request.headers()["x-api-key"], "mine");
        assert!(!request.headers().contains_key("authorization"));
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

    #[test]
    fn a_context_that_is_named_goes_before_a_folder_and_a_folder_that_is_named_before_the_current_context() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let folder = folder("http://127.0.0.1:8080");
        let contexts = || {
            let text = "current: lab\ncontexts: {lab: {url: 'https://lab.example', token: of-lab}, \
                        prod: {url: 'https://prod.example', token: of-prod}}";
            serde_norway::from_str(text).context("no contexts")
        };
        let found = |context: Option<&str>, data_dir: Option<&Path>, url: Option<&str>| {
            let arguments = ConnectionArguments {
                url: url.map(|url| url.parse().unwrap()),
                token: None,
                context: context.map(str::to_owned),
                data_dir: data_dir.map(Path::to_owned),
            };
            let found = Connection::open_among(&arguments, contexts)?;
            revealed(&found).map_err(anyhow::Error::msg)
        };
        let here = Some(folder.path());
        assert_eq!(found(Some("prod"), here, None).unwrap(), "of-prod");
        assert_eq!(found(None, here, None).unwrap(), "token-of-the-folder");
        assert_eq!(found(None, None, None).unwrap(), "of-lab");
        assert_eq!(found(None, None, Some("https://lab.example/x")).unwrap(), "of-lab");
        let elsewhere = found(None, None, Some("https://prod.example")).unwrap_err().to_string();
        assert!(!elsewhere.contains("of-lab"), "{elsewhere}");
        let unknown = found(Some("nowhere"), here, None).unwrap_err();
        assert_eq!(ExitStatus::from_error(&unknown), ExitStatus::NotFound);
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
        assert_eq!(problem(StatusCode::BAD_REQUEST, body), "Invalid (400)\n  name is empty; expected a name");
        assert_eq!(problem(StatusCode::BAD_GATEWAY, b"<html>"), "the gateway answered 502 Bad Gateway");
    }
}
