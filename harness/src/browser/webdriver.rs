//! The part of the WebDriver protocol that the tests need, spoken to chromedriver.
//!
//! Own code for a reason: of the libraries, one turns on features of serde_json for every crate of the workspace, so that
//! what is tested would not be what ships, and another brings a licence that `deny.toml` does not know.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// How long one command to the browser may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// The member that names an element, as the protocol has it.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One session with a browser.
pub(super) struct WebDriver {
    http: reqwest::Client,
    /// Address of the session.
    session: String,
    /// Its id.
    id: String,
}

/// What the driver refused, as it says so itself.
#[derive(Debug, thiserror::Error)]
#[error("{command}: {code}: {message}")]
pub(super) struct WebDriverError {
    command: String,
    /// The protocol's short name of the error.
    code: String,
    message: String,
}

/// An element of the page, as the protocol knows it.
pub(super) struct WebElement(String);

impl WebDriverError {
    /// Whether the error only says that the page changed meanwhile, so that looking again helps.
    pub(super) fn passes(&self) -> bool {
        let of_a_replaced_element =
            ["stale element reference", "no such element", "element click intercepted", "element not interactable"];
        // What the DevTools protocol says of a node or a document that has just been replaced: its code for a command
        // that fits nothing there is, and chromedriver's words where the document went before it could ask.
        let of_a_replaced_document = ["\"code\":-32000", "no such execution context", "detached", "navigat"];
        of_a_replaced_element.contains(&self.code.as_str())
            || of_a_replaced_document.iter().any(|words| self.message.contains(words) || self.code.contains(words))
    }
}

impl WebDriver {
    /// Begins a session with the driver at this address.
    ///
    /// # Errors
    /// The browser does not start.
    pub(super) async fn start(driver: &str, capabilities: Value) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(COMMAND_TIMEOUT).no_proxy().build()?;
        let sessions = format!("{driver}/session");
        let wanted = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let started = send(&http, Method::POST, &sessions, "new session", Some(wanted)).await?;
        let id = started["sessionId"].as_str().context("chromedriver names no session")?.to_owned();
        Ok(Self { http, session: format!("{sessions}/{id}"), id })
    }

    /// The id of the session.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        send(&self.http, Method::GET, &format!("{}/{path}", self.session), path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        send(&self.http, Method::POST, &format!("{}/{path}", self.session), path, Some(body)).await
    }

    pub(super) async fn goto(&self, url: &str) -> anyhow::Result<()> {
        self.post("url", json!({ "url": url })).await.map(drop)
    }

    pub(super) async fn refresh(&self) -> anyhow::Result<()> {
        self.post("refresh", json!({})).await.map(drop)
    }

    pub(super) async fn back(&self) -> anyhow::Result<()> {
        self.post("back", json!({})).await.map(drop)
    }

    pub(super) async fn delete_all_cookies(&self) -> anyhow::Result<()> {
        send(&self.http, Method::DELETE, &format!("{}/cookie", self.session), "cookie", None).await.map(drop)
    }

    pub(super) async fn title(&self) -> anyhow::Result<String> {
        text(self.get("title").await?)
    }

    pub(super) async fn current_url(&self) -> anyhow::Result<String> {
        text(self.get("url").await?)
    }

    /// What a script returns; a promise is awaited.
    pub(super) async fn execute<T: DeserializeOwned>(&self, script: &str, arguments: Vec<Value>) -> anyhow::Result<T> {
        let returned = self.post("execute/sync", json!({ "script": script, "args": arguments })).await?;
        serde_json::from_value(returned).context("the script returned something else")
    }

    /// The element that a script returns.
    pub(super) async fn execute_for_element(&self, script: &str, arguments: Vec<Value>) -> anyhow::Result<WebElement> {
        let returned: Value = self.execute(script, arguments).await?;
        let element = returned[ELEMENT].as_str().context("the script returned no element")?;
        Ok(WebElement(element.to_owned()))
    }

    /// A command of the DevTools protocol.
    pub(super) async fn devtools(&self, method: &str, parameters: Value) -> anyhow::Result<Value> {
        self.post("goog/cdp/execute", json!({ "cmd": method, "params": parameters })).await
    }

    /// Level and message of each line of the console since the last time.
    pub(super) async fn console(&self) -> anyhow::Result<Vec<(String, String)>> {
        let entries = self.post("se/log", json!({ "type": "browser" })).await?;
        let member = |entry: &Value, name: &str| entry[name].as_str().map(str::to_owned);
        let entries = entries.as_array().context("the log is no list")?.iter();
        entries
            .map(|entry| Some((member(entry, "level")?, member(entry, "message")?)))
            .collect::<Option<_>>()
            .context("a line of the log has no level or no message")
    }

    /// Presses and releases keys in this order; `true` presses.
    pub(super) async fn keys(&self, strokes: impl Iterator<Item = (char, bool)>) -> anyhow::Result<()> {
        let actions: Vec<Value> = strokes
            .map(|(key, down)| json!({ "type": if down { "keyDown" } else { "keyUp" }, "value": key }))
            .collect();
        self.post("actions", json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] }))
            .await
            .map(drop)
    }

    pub(super) async fn double_click(&self, element: &WebElement) -> anyhow::Result<()> {
        let (down, up) = (json!({ "type": "pointerDown", "button": 0 }), json!({ "type": "pointerUp", "button": 0 }));
        let actions = json!([
            { "type": "pointerMove", "duration": 0, "origin": element.as_json(), "x": 0, "y": 0 }, down, up, down, up
        ]);
        let mouse = json!({
            "type": "pointer", "id": "mouse", "parameters": { "pointerType": "mouse" }, "actions": actions
        });
        self.post("actions", json!({ "actions": [mouse] })).await.map(drop)
    }

    pub(super) async fn click(&self, element: &WebElement) -> anyhow::Result<()> {
        self.post(&format!("element/{}/click", element.0), json!({})).await.map(drop)
    }

    pub(super) async fn clear(&self, element: &WebElement) -> anyhow::Result<()> {
        self.post(&format!("element/{}/clear", element.0), json!({})).await.map(drop)
    }

    /// Types into the element.
    pub(super) async fn enter(&self, element: &WebElement, text: &str) -> anyhow::Result<()> {
        self.post(&format!("element/{}/value", element.0), json!({ "text": text })).await.map(drop)
    }

    /// The text that is visible of the element.
    pub(super) async fn text(&self, element: &WebElement) -> anyhow::Result<String> {
        text(self.get(&format!("element/{}/text", element.0)).await?)
    }

    pub(super) async fn attribute(&self, element: &WebElement, name: &str) -> anyhow::Result<Option<String>> {
        optional_text(self.get(&format!("element/{}/attribute/{name}", element.0)).await?)
    }

    pub(super) async fn value(&self, element: &WebElement) -> anyhow::Result<Option<String>> {
        optional_text(self.get(&format!("element/{}/property/value", element.0)).await?)
    }
}

impl WebElement {
    /// The element as an argument of a script.
    pub(super) fn as_json(&self) -> Value {
        json!({ ELEMENT: self.0 })
    }
}

fn text(value: Value) -> anyhow::Result<String> {
    serde_json::from_value(value).context("chromedriver answered no text")
}

fn optional_text(value: Value) -> anyhow::Result<Option<String>> {
    serde_json::from_value(value).context("chromedriver answered no text")
}

/// Sends a command and gives the `value` of the answer.
async fn send(
    http: &reqwest::Client,
    method: Method,
    url: &str,
    command: &str,
    body: Option<Value>,
) -> anyhow::Result<Value> {
    let mut request = http.request(method, url);
    if let Some(body) = &body {
        request = request.json(body);
    }
    let response = request.send().await.with_context(|| format!("chromedriver does not answer to {command}"))?;
    let is_success = response.status().is_success();
    let mut answer: Value = response.json().await.with_context(|| format!("{command} is answered by no JSON"))?;
    let value = answer["value"].take();
    if is_success {
        return Ok(value);
    }
    let member = |name: &str| value[name].as_str().unwrap_or("?").to_owned();
    Err(WebDriverError { command: command.to_owned(), code: member("error"), message: member("message") }.into())
}
