//! Client of the REST API of Cisco Modeling Labs, as far as reading a lab needs it.
//!
//! One [`CmlClient`] serves every worker of a controller. It keeps a token per worker, signs in again once when a token
//! is refused (401), retries that call once, and never retries a 403. Answers are bounded before they are parsed.
//!
//! What leaves it goes to the host that a [`WorkerAccess`] stands for and nowhere else: no redirect is followed, no proxy
//! is used, and a name is connected to at an address that was looked at before. A worker whose address or credentials
//! change is a new one, whose token is its own.

pub mod answers;
mod error;
mod resolver;
pub mod socket;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{LabId, WorkerId};
use reqwest::header::AUTHORIZATION;
use reqwest::{Certificate, Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

pub use self::error::CmlError;

use self::answers::{
    Addresses, ElementStates, LaunchQueue, Node, NodeDefaults, Reading, Stats, Topology, WorkerStatistics,
};
use self::error::shortened;
use self::resolver::CheckedResolver;
use crate::contact::{Contacts, Exchange};
use crate::credentials::WorkerAccess;

/// A refused password is not tried again for this long: controllers lock accounts.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(60);
/// Any other failed sign-in is shared by the calls that waited for it, for this long.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How long node definitions and the version of a worker are taken from memory, and that a read is not to be had.
const FACTS_LAST: Duration = Duration::from_secs(3600);

/// How to reach CML.
#[derive(Debug, Clone)]
pub struct CmlOptions {
    /// Certificates to trust instead of the system's, PEM, one or several. `None`: the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Longest time to connect, TLS included.
    pub connect_timeout: Duration,
    /// Largest answer, bytes.
    pub largest_answer: usize,
}

impl Default for CmlOptions {
    fn default() -> Self {
        Self { ca_pem: None, connect_timeout: Duration::from_secs(5), largest_answer: 32 * 1024 * 1024 }
    }
}

/// A client that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CmlOptionsError {
    /// The CA file holds no PEM certificate, or a broken one.
    #[error("the CA file for CML holds no usable PEM certificate")]
    Ca(#[source] Option<reqwest::Error>),
    /// TLS cannot be set up.
    #[error("TLS towards CML cannot be set up")]
    Tls(#[source] reqwest::Error),
}

/// The client. Clones share connections, tokens and what was learnt.
#[derive(Clone)]
pub struct CmlClient {
    trust: Arc<Trust>,
    connect_timeout: Duration,
    largest_answer: usize,
    connections: Arc<Mutex<BTreeMap<WorkerId, Arc<WorkerConnection>>>>,
    contacts: Option<Contacts>,
}

impl fmt::Debug for CmlClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CmlClient").field("largest_answer", &self.largest_answer).finish_non_exhaustive()
    }
}

/// Which certificates vouch for a worker's.
enum Trust {
    System,
    Only(Vec<Certificate>),
}

/// What is known of one worker, and the connections to it.
struct WorkerConnection {
    access: WorkerAccess,
    http: Result<reqwest::Client, CmlError>,
    sign_in: tokio::sync::Mutex<SignIn>,
    defaults: Mutex<Option<(Instant, Arc<Reading<NodeDefaults>>)>>,
    version: Mutex<Option<(Instant, String)>>,
    denied: Mutex<BTreeMap<&'static str, (Instant, CmlError)>>,
}

#[derive(Default)]
struct SignIn {
    token: Option<Arc<str>>,
    failed: Option<(Instant, CmlError)>,
}

/// All reads of one worker, until a deadline.
#[derive(Clone)]
pub struct WorkerReader {
    client: CmlClient,
    connection: Arc<WorkerConnection>,
    began: Instant,
    deadline: Instant,
}

impl CmlClient {
    /// A client.
    ///
    /// # Errors
    /// When the CA cannot be read or TLS cannot be set up. A rustls provider has to be installed before.
    pub fn new(options: &CmlOptions) -> Result<Self, CmlOptionsError> {
        let trust = match &options.ca_pem {
            Some(pem) => {
                let certificates =
                    Certificate::from_pem_bundle(pem).map_err(|error| CmlOptionsError::Ca(Some(error)))?;
                if certificates.is_empty() {
                    return Err(CmlOptionsError::Ca(None));
                }
                Trust::Only(certificates)
            }
            None => match builder(&Trust::System, options.connect_timeout).build() {
                Ok(_) => Trust::System,
                // A small image has no certificates at all. Every worker is then refused, by name and with the reason,
                // and the rest of the controller works.
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "system certificates cannot be used");
                    Trust::Only(Vec::new())
                }
            },
        };
        builder(&trust, options.connect_timeout).build().map_err(CmlOptionsError::Tls)?;
        Ok(Self {
            trust: Arc::new(trust),
            connect_timeout: options.connect_timeout,
            largest_answer: options.largest_answer,
            connections: Arc::default(),
            contacts: None,
        })
    }

    /// The same client, which notes what comes of each exchange with a worker.
    #[must_use]
    pub(crate) fn with_contacts(mut self, contacts: Contacts) -> Self {
        self.contacts = Some(contacts);
        self
    }

    /// A reader of one worker that gives up after `timeout` in total.
    pub fn reader(&self, access: &WorkerAccess, timeout: Duration) -> WorkerReader {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let known = connections.get(access.worker()).filter(|connection| connection.access == *access);
        let connection = match known {
            Some(connection) => connection.clone(),
            None => {
                let connection = Arc::new(WorkerConnection {
                    access: access.clone(),
                    http: self.http_client(access),
                    sign_in: tokio::sync::Mutex::default(),
                    defaults: Mutex::default(),
                    version: Mutex::default(),
                    denied: Mutex::default(),
                });
                connections.insert(access.worker().clone(), connection.clone());
                connection
            }
        };
        let began = Instant::now();
        WorkerReader { client: self.clone(), connection, began, deadline: began + timeout }
    }

    /// Connections to one worker, which go to its host alone.
    fn http_client(&self, access: &WorkerAccess) -> Result<reqwest::Client, CmlError> {
        let insecure = !access.verifies_certificate();
        let port = access.address().port_or_known_default().unwrap_or(443);
        builder(&self.trust, self.connect_timeout)
            .dns_resolver(Arc::new(CheckedResolver::new(access.hosts().clone(), port)))
            .tls_danger_accept_invalid_certs(insecure)
            .tls_danger_accept_invalid_hostnames(insecure)
            .build()
            .map_err(|error| CmlError::from_transport(error, self.connect_timeout))
    }

    /// Forgets every worker that is not among `workers`, with its token.
    pub fn keep_only(&self, workers: &std::collections::BTreeSet<WorkerId>) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|worker, _| workers.contains(worker));
        if let Some(contacts) = &self.contacts {
            contacts.keep_only(workers);
        }
    }
}

/// The host of an address as failures name it: with its port where that is not the usual one.
pub(crate) fn shown_host(address: &Url) -> String {
    let host = address.host_str().unwrap_or_default();
    address.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn builder(trust: &Trust, connect_timeout: Duration) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(Duration::from_secs(30))
        // A redirect would carry the token, or the password, to wherever it points; CML never redirects its API.
        .redirect(reqwest::redirect::Policy::none())
        // Workers are inside; a proxy of the environment is for what is outside.
        .no_proxy()
        .https_only(true)
        .user_agent(concat!("lablet-controller/", env!("CARGO_PKG_VERSION")));
    match trust {
        Trust::System => builder,
        Trust::Only(certificates) => builder.tls_certs_only(certificates.clone()),
    }
}

impl WorkerReader {
    /// Signs in unless there is a token.
    ///
    /// # Errors
    /// [`CmlError::PasswordRefused`], or why CML could not be asked.
    pub async fn sign_in(&self) -> Result<(), CmlError> {
        self.bounded(self.token(None)).await.map(|_| ())
    }

    /// Read A: nodes with their `operational` part, tags and state.
    ///
    /// # Errors
    /// Any [`CmlError`].
    pub async fn nodes(&self, lab: &LabId) -> Result<Reading<Vec<Node>>, CmlError> {
        let query = [("data", "true"), ("operational", "true"), ("exclude_configurations", "true")];
        answers::nodes(&self.get("nodes", &["labs", lab.as_str(), "nodes"], &query).await?)
    }

    /// Read B: nodes with their interfaces, and links.
    ///
    /// # Errors
    /// Any [`CmlError`].
    pub async fn topology(&self, lab: &LabId) -> Result<Reading<Topology>, CmlError> {
        let path = ["labs", lab.as_str(), "topology"];
        answers::topology(&self.get("topology", &path, &[("exclude_configurations", "true")]).await?)
    }

    /// Read C: states of nodes and interfaces.
    ///
    /// # Errors
    /// Any [`CmlError`].
    pub async fn element_states(&self, lab: &LabId) -> Result<Reading<ElementStates>, CmlError> {
        answers::element_states(
            &self.get("lab_element_state", &["labs", lab.as_str(), "lab_element_state"], &[]).await?,
        )
    }

    /// Read D: learnt addresses and deployed MACs.
    ///
    /// # Errors
    /// Any [`CmlError`].
    pub async fn addresses(&self, lab: &LabId) -> Result<Reading<Addresses>, CmlError> {
        answers::addresses(&self.get("layer3_addresses", &["labs", lab.as_str(), "layer3_addresses"], &[]).await?)
    }

    /// Read E: usage.
    ///
    /// # Errors
    /// Any [`CmlError`].
    pub async fn stats(&self, lab: &LabId) -> Result<Reading<Stats>, CmlError> {
        answers::stats(self.get("simulation_stats", &["labs", lab.as_str(), "simulation_stats"], &[]).await?)
    }

    /// Read F: defaults per node definition, from memory when they were read within the last hour.
    ///
    /// # Errors
    /// Any [`CmlError`].
    pub async fn node_defaults(&self) -> Result<Arc<Reading<NodeDefaults>>, CmlError> {
        if let Some((read, defaults)) = &*self.connection.defaults.lock().unwrap_or_else(PoisonError::into_inner)
            && read.elapsed() < FACTS_LAST
        {
            return Ok(defaults.clone());
        }
        let answer = self.get("simplified_node_definitions", &["simplified_node_definitions"], &[]).await?;
        let defaults = Arc::new(answers::node_defaults(&answer)?);
        *self.connection.defaults.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), defaults.clone()));
        Ok(defaults)
    }

    /// The version, e.g. `2.9.1+build.7`, from memory when it was read within the last hour. Needs no sign-in.
    ///
    /// # Errors
    /// Any [`CmlError`].
    pub async fn version(&self) -> Result<String, CmlError> {
        if let Some((read, version)) = &*self.connection.version.lock().unwrap_or_else(PoisonError::into_inner)
            && read.elapsed() < FACTS_LAST
        {
            return Ok(version.clone());
        }
        let url = self.url(&["system_information"], &[]);
        let answer = self.measured("system_information", self.exchange(Method::GET, url, None, None)).await?;
        let version = answers::version(&answer)?;
        *self.connection.version.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), version.clone()));
        Ok(version)
    }

    /// What is free of the worker.
    ///
    /// # Errors
    /// Any [`CmlError`].
    pub async fn system_statistics(&self) -> Result<Reading<WorkerStatistics>, CmlError> {
        answers::system_statistics(&self.get_unless_denied("system_stats", &["system_stats"]).await?)
    }

    /// Nodes that wait for their launch, and what the worker is short of. For admins.
    ///
    /// # Errors
    /// Any [`CmlError`].
    pub async fn launch_queue(&self) -> Result<Reading<LaunchQueue>, CmlError> {
        let path = ["diagnostics", "node_launch_queue"];
        answers::launch_queue(&self.get_unless_denied("node_launch_queue", &path).await?)
    }

    /// As [`WorkerReader::get`]. A read that the user may not make, or that this version does not have, is not asked for
    /// again within the hour, or until the next sign-in.
    async fn get_unless_denied(&self, read: &'static str, path: &[&str]) -> Result<Value, CmlError> {
        if let Some((since, error)) = self.denied().get(read)
            && since.elapsed() < FACTS_LAST
        {
            return Err(error.clone());
        }
        let answer = self.get(read, path, &[]).await;
        match &answer {
            Err(error @ (CmlError::Forbidden { .. } | CmlError::NotFound { .. })) => {
                tracing::info!(worker.id = %self.connection.access.worker(), read, %error, "read not to be had");
                self.denied().insert(read, (Instant::now(), error.clone()));
            }
            Ok(_) | Err(_) => drop(self.denied().remove(read)),
        }
        answer
    }

    fn denied(&self) -> MutexGuard<'_, BTreeMap<&'static str, (Instant, CmlError)>> {
        self.connection.denied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn get(&self, read: &'static str, path: &[&str], query: &[(&str, &str)]) -> Result<Value, CmlError> {
        let url = self.url(path, query);
        self.measured(read, async {
            let token = self.token(None).await?;
            match self.exchange(Method::GET, url.clone(), Some(&token), None).await {
                Err(CmlError::TokenRefused) => {
                    let token = self.token(Some(&token)).await?;
                    self.exchange(Method::GET, url, Some(&token), None).await
                }
                answer => answer,
            }
        })
        .await
    }

    /// The token, or a new one where there is none or it is the `refused` one. Calls that come together share one
    /// sign-in, and its failure.
    async fn token(&self, refused: Option<&Arc<str>>) -> Result<Arc<str>, CmlError> {
        let mut sign_in = self.connection.sign_in.lock().await;
        if let Some(token) = &sign_in.token
            && refused.is_none_or(|refused| !Arc::ptr_eq(refused, token))
        {
            return Ok(token.clone());
        }
        if let Some((at, error)) = &sign_in.failed {
            let pause = if *error == CmlError::PasswordRefused { PAUSE_AFTER_REFUSAL } else { PAUSE_AFTER_FAILURE };
            if at.elapsed() < pause {
                return Err(error.clone());
            }
        }
        let credentials = self.connection.access.credentials();
        let body = json!({"username": credentials.username(), "password": credentials.password()});
        let answer = self.measured("authenticate", async {
            match self.call(Method::POST, self.url(&["authenticate"], &[]), None, Some(&body)).await {
                Ok(Value::String(token)) if !token.is_empty() => Ok(Arc::<str>::from(token)),
                Ok(_) => Err(CmlError::InvalidResponse { reason: "no token in the answer to the sign-in".to_owned() }),
                Err(CmlError::Forbidden { .. } | CmlError::TokenRefused) => Err(CmlError::PasswordRefused),
                Err(error) => Err(error),
            }
        });
        let answer = answer.await;
        self.note(answer.as_ref().map(drop), true);
        match answer {
            Ok(token) => {
                // Another sign-in may come with other rights.
                self.denied().clear();
                *sign_in = SignIn { token: Some(token.clone()), failed: None };
                Ok(token)
            }
            Err(error) => {
                *sign_in = SignIn { token: None, failed: Some((Instant::now(), error.clone())) };
                Err(error)
            }
        }
    }

    /// A call of which is noted what came of it, also where the time for all reads is over.
    async fn exchange(
        &self,
        method: Method,
        url: Url,
        token: Option<&Arc<str>>,
        body: Option<&Value>,
    ) -> Result<Value, CmlError> {
        // On the heap: whoever awaits a request, and up to five at once, would have room for all of it on the stack, which
        // a build without optimisation overflows.
        let answer = self.bounded(Box::pin(self.call(method, url, token, body))).await;
        self.note(answer.as_ref().map(drop), token.is_some());
        answer
    }

    fn note(&self, answer: Result<(), &CmlError>, with_sign_in: bool) {
        let Some(contacts) = &self.client.contacts else { return };
        let exchange = match answer {
            Ok(()) if with_sign_in => Exchange::Answered,
            Ok(()) => Exchange::AnsweredAnybody,
            Err(error) => error.exchange(),
        };
        let access = &self.connection.access;
        let failure = answer.err().map(ToString::to_string);
        contacts.exchanged(access.worker(), &shown_host(access.address()), exchange, failure);
    }

    async fn call(
        &self,
        method: Method,
        url: Url,
        token: Option<&Arc<str>>,
        body: Option<&Value>,
    ) -> Result<Value, CmlError> {
        let credentials = self.connection.access.credentials();
        let mut request = self.connection.http.as_ref().map_err(Clone::clone)?.request(method, url);
        if let Some(token) = token {
            let mut value = reqwest::header::HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| CmlError::InvalidResponse { reason: "the token cannot be sent in a header".to_owned() })?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut response =
            request.send().await.map_err(|error| CmlError::from_transport(error, self.client.connect_timeout))?;
        let status = response.status();
        let limit = self.client.largest_answer;
        let too_large = CmlError::TooLarge { limit };
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(too_large);
        }
        let mut bytes = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|error| CmlError::from_transport(error, self.began.elapsed()))?
        {
            if bytes.len() + chunk.len() > limit {
                return Err(too_large);
            }
            bytes.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| CmlError::InvalidResponse {
                // Only the place: serde_json's own words could quote the body.
                reason: format!("no JSON at line {}, column {}", error.line(), error.column()),
            });
        }
        let secrets = [credentials.password(), token.map_or("", |token| token)];
        let description = serde_json::from_slice::<Value>(&bytes)
            .ok()
            .and_then(|body| body.get("description").and_then(Value::as_str).map(|text| shortened(text, &secrets)))
            .unwrap_or_default();
        Err(match status {
            StatusCode::UNAUTHORIZED => CmlError::TokenRefused,
            StatusCode::FORBIDDEN => CmlError::Forbidden { description },
            StatusCode::NOT_FOUND => CmlError::NotFound { description },
            _ => CmlError::Status { status: status.as_u16(), description },
        })
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.site(&[&["api", "v0"], path].concat());
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// An address of the worker, below the one at which it is registered.
    fn site(&self, path: &[&str]) -> Url {
        let mut url = self.connection.access.address().clone();
        url.set_query(None);
        url.set_fragment(None);
        // An https address always has a path to extend.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    #[tracing::instrument(name = "cml.read", skip_all, fields(worker.id = %self.connection.access.worker(), read = read, outcome))]
    async fn measured<T>(
        &self,
        read: &'static str,
        call: impl Future<Output = Result<T, CmlError>>,
    ) -> Result<T, CmlError> {
        let began = Instant::now();
        let answer = self.bounded(call).await;
        let outcome = answer.as_ref().err().map_or("ok", CmlError::kind);
        tracing::Span::current().record("outcome", outcome);
        metrics::counter!("lablet_cml_requests_total", "read" => read, "outcome" => outcome).increment(1);
        metrics::histogram!("lablet_cml_request_seconds", "read" => read).record(began.elapsed().as_secs_f64());
        if let Err(error) = &answer {
            tracing::debug!(error = %error, "CML read failed");
        }
        answer
    }

    async fn bounded<T>(&self, call: impl Future<Output = Result<T, CmlError>>) -> Result<T, CmlError> {
        let after = self.deadline.saturating_duration_since(self.began);
        tokio::time::timeout_at(self.deadline, call).await.unwrap_or(Err(CmlError::TimedOut { after }))
    }
}
