//! A plain HTTP client that trusts the simulator's certificate and keeps its token.

use std::{path::PathBuf, time::Duration};

use reqwest::{Certificate, Method, StatusCode};
use serde_json::{Value, json};
use simulator::{ApiVersion, SimulatedTime, Simulator, SimulatorOptions};

pub(crate) const PASSWORD: &str = "open sesame";

pub(crate) fn options() -> SimulatorOptions {
    SimulatorOptions {
        topologies: Some(samples()),
        password: PASSWORD.to_owned(),
        time: SimulatedTime::Manual,
        ..SimulatorOptions::default()
    }
}

pub(crate) fn samples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples")
}

/// The folder of real topologies, where the machine has it.
pub(crate) fn real_topologies() -> Option<PathBuf> {
    let folder = std::env::var_os("LABLET_TOPOLOGIES").map(PathBuf::from);
    if folder.is_none() {
        println!("LABLET_TOPOLOGIES is not set: the real topologies are not tried");
    }
    folder
}

pub(crate) struct Controller {
    pub(crate) simulator: Simulator,
    http: reqwest::Client,
    token: String,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

impl Controller {
    /// With the samples, in manual time, signed in.
    pub(crate) async fn start() -> Self {
        Self::with(options()).await
    }

    pub(crate) async fn with_api(api: ApiVersion) -> Self {
        Self::with(SimulatorOptions { api, ..options() }).await
    }

    pub(crate) async fn with(options: SimulatorOptions) -> Self {
        let simulator = Simulator::start(options).await.expect("the simulator starts");
        let http = http_client(&simulator);
        let mut controller = Self { simulator, http, token: String::new() };
        controller.sign_in().await;
        controller.simulator.reset_requests();
        controller
    }

    pub(crate) async fn sign_in(&mut self) {
        let credentials = json!({ "username": "admin", "password": PASSWORD });
        let reply = self.call(Method::POST, "/api/v0/authenticate", Some(credentials.to_string())).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
        self.token = reply.json().as_str().expect("a bare string").to_owned();
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<String>) -> Reply {
        self.try_call(method, path, body).await.expect("an answer")
    }

    pub(crate) async fn try_call(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Reply, reqwest::Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.simulator.url()));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await?;
        Ok(Reply { status: response.status(), text: response.text().await? })
    }

    /// The JSON of a GET that succeeds.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let reply = self.call(Method::GET, &format!("/api/v0{path}"), None).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {}", reply.text);
        reply.json()
    }

    pub(crate) async fn put(&self, path: &str) -> StatusCode {
        self.call(Method::PUT, &format!("/api/v0{path}"), None).await.status
    }

    /// The id of the lab with that title.
    pub(crate) fn lab(&self, title: &str) -> String {
        let labs = self.simulator.labs();
        let found = labs.iter().find(|(_, other)| other == title);
        found.unwrap_or_else(|| panic!("no lab {title} among {labs:?}")).0.clone()
    }

    /// Starts a lab and lets all of it boot.
    pub(crate) fn boot(&self, lab: &str) {
        self.simulator.start_lab(lab).expect("the lab is there");
        self.pass(3_600);
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.simulator.advance(Duration::from_secs(seconds)).expect("time goes on");
    }
}

pub(crate) fn http_client(simulator: &Simulator) -> reqwest::Client {
    // Another test of this process may have installed it first; that is the same one.
    rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
    let mut builder = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy();
    if !simulator.certificate_pem().is_empty() {
        let certificate = Certificate::from_pem(simulator.certificate_pem().as_bytes()).expect("a certificate");
        builder = builder.tls_certs_only([certificate]);
    }
    builder.build().expect("a client")
}
