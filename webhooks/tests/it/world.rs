//! A log, a receiver that answers as it is told, and deliverers between them.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use app::commands::Commands;
use app::dead_letters::DeadLetters;
use app::log::{Log, LogOptions, MIGRATOR, Origin};
use app::notice::PublicUrl;
use app::webhook_targets::{TargetStatus, WebhookTargets};
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bus::clock::{Clock, IdGenerator};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use servers::testing::TestDatabase;
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use webhooks::{Deliverer, DelivererOptions, RetryWaits, Site, Target};

/// A secret of Standard Webhooks' own documentation.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What the receiver answers.
#[derive(Clone)]
pub(crate) enum Reply {
    /// This status, with these headers.
    Status(u16, Vec<(&'static str, &'static str)>),
    /// Nothing, until it is told to go on.
    Held(Arc<Notify>),
}

/// What the receiver got.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The CloudEvent of structured mode.
    pub(crate) fn event(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn subject(&self) -> String {
        self.event()["subject"].as_str().unwrap().to_owned()
    }
}

/// A web server that keeps what it gets.
#[derive(Clone, Default)]
pub(crate) struct Receiver {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    handshake: Arc<Mutex<Option<Reply>>>,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    /// Serves at an address; a port of 0 is a free one.
    pub(crate) async fn serve(&self, address: &str) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// Serves https on a free port of 127.0.0.1, for `host`; gives the port and the certificate in PEM.
    pub(crate) async fn serve_https(&self, host: &str) -> (u16, String) {
        let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let tls =
            axum_server::tls_rustls::RustlsConfig::from_pem(certificate.clone().into(), key.into()).await.unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = axum::Router::new().fallback(answer).with_state(self.clone());
        let server = axum_server::from_tcp_rustls(listener, tls).unwrap();
        tokio::spawn(server.serve(router.into_make_service()));
        (port, certificate)
    }

    /// Answers the next requests so, and all others with 204.
    pub(crate) fn will(&self, replies: impl IntoIterator<Item = Reply>) {
        self.replies.lock().unwrap().extend(replies);
    }

    pub(crate) fn will_answer(&self, statuses: impl IntoIterator<Item = u16>) {
        self.will(statuses.into_iter().map(|status| Reply::Status(status, vec![])));
    }

    /// Answers the question of the handshake so, and not any more by agreeing.
    pub(crate) fn will_agree(&self, reply: Option<Reply>) {
        *self.handshake.lock().unwrap() = reply;
    }

    /// All requests with this method.
    pub(crate) fn requests(&self, method: &Method) -> Vec<Received> {
        self.received.lock().unwrap().iter().filter(|received| received.method == method).cloned().collect()
    }

    /// All messages.
    pub(crate) fn messages(&self) -> Vec<Received> {
        self.requests(&Method::POST)
    }

    /// The subjects of all messages of structured mode.
    pub(crate) fn subjects(&self) -> Vec<String> {
        self.messages().iter().map(Received::subject).collect()
    }

    /// Waits until so many messages came.
    pub(crate) async fn messages_when(&self, count: usize) -> Vec<Received> {
        let messages = || async { Some(self.messages()).filter(|messages| messages.len() >= count) };
        until(&format!("{count} messages"), messages).await
    }
}

async fn answer(
    State(receiver): State<Receiver>,
    method: Method,
    uri: http::Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().to_owned();
    let asked_for = headers.get("webhook-request-origin").cloned();
    receiver.received.lock().unwrap().push(Received { method: method.clone(), path, headers, body });
    let reply = if method == Method::OPTIONS {
        let scripted = receiver.handshake.lock().unwrap().clone();
        match (scripted, asked_for) {
            (Some(reply), _) => reply,
            (None, Some(origin)) => return ([("webhook-allowed-origin", origin)], StatusCode::OK).into_response(),
            (None, None) => Reply::Status(400, vec![]),
        }
    } else {
        receiver.replies.lock().unwrap().pop_front().unwrap_or(Reply::Status(204, vec![]))
    };
    match reply {
        Reply::Status(status, headers) => {
            let mut response = (StatusCode::from_u16(status).unwrap(), "said so").into_response();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
        Reply::Held(go_on) => {
            go_on.notified().await;
            StatusCode::NO_CONTENT.into_response()
        }
    }
}

/// A log without a bus, a receiver, and a folder with a secret.
pub(crate) struct World {
    pub(crate) log: Log,
    pub(crate) commands: Commands,
    pub(crate) receiver: Receiver,
    pub(crate) address: SocketAddr,
    pub(crate) folder: TempDir,
    database: TestDatabase,
}

impl World {
    pub(crate) async fn new() -> Self {
        // Every test of the process does so, and the first one counts.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let database = servers::testing::database(&MIGRATOR).await;
        let pool = PgPool::connect(&database.url_as("lablet_app")).await.unwrap();
        let (clock, ids) = (Clock::system(), IdGenerator::random());
        let log = Log::new(pool, clock.clone(), ids.clone(), LogOptions::default());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), SECRET).unwrap();
        let receiver = Receiver::default();
        let address = receiver.serve("127.0.0.1:0").await;
        Self { commands: Commands::new(log.clone(), clock, ids), log, receiver, address, folder, database }
    }

    /// Targets from a file; `{url}` stands for the receiver's address.
    pub(crate) fn targets(&self, toml: &str) -> Vec<Target> {
        let toml = toml.replace("{url}", &format!("http://{}", self.address));
        Target::parse_all(&toml, self.folder.path()).unwrap()
    }

    /// One target that gets structured events from the beginning, without a handshake, with more fields.
    pub(crate) fn target(&self, fields: &str) -> Vec<Target> {
        self.targets(&format!("[booking]\n{FIELDS}\nhandshake = false\n{fields}"))
    }

    pub(crate) fn options(&self) -> DelivererOptions {
        let public_url = PublicUrl::parse("https://lablet.example.com").unwrap();
        DelivererOptions {
            lease: Duration::from_secs(1),
            decisions_every: Duration::from_millis(20),
            poll: Duration::from_millis(50),
            waits: RetryWaits { first: Duration::from_millis(10), longest: Duration::from_secs(2) },
            ..DelivererOptions::new(Site { public_url, is_configured: true })
        }
    }

    pub(crate) fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.log.pool().clone(), self.log.clock().clone(), self.log.id_generator().clone())
    }

    pub(crate) fn start(&self, targets: Vec<Target>) -> Running {
        self.start_with(targets, self.options())
    }

    pub(crate) fn start_with(&self, targets: Vec<Target>, options: DelivererOptions) -> Running {
        let deliverer = Deliverer::new(self.log.clone(), None, targets, self.dead_letters(), options).unwrap();
        let stop = CancellationToken::new();
        Running { task: tokio::spawn(deliverer.run(stop.clone())), stop }
    }

    pub(crate) async fn register_workers(&self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            let new = json!({
                "id": format!("w{number}"), "name": "CML", "address": "https://cml.example.org",
                "capacity": {"cpu_cores": 1, "memory_gb": 1, "storage_gb": 1, "max_nodes": 1}
            });
            let new = serde_json::from_value(new).unwrap();
            self.commands.register_worker(new, &Origin::from_actor("test")).await.unwrap();
        }
        self.database.settle().await;
    }

    pub(crate) fn records(&self) -> WebhookTargets {
        WebhookTargets::new(&self.log)
    }

    /// The one target as operators see it.
    pub(crate) async fn status(&self) -> Option<TargetStatus> {
        self.records().list().await.unwrap().into_iter().next()
    }

    /// Waits until the one target is as it should be.
    pub(crate) async fn status_when(&self, what: &str, is: impl Fn(&TargetStatus) -> bool) -> TargetStatus {
        until(what, || async { self.status().await.filter(|status| is(status)) }).await
    }
}

/// What every target of the tests has.
pub(crate) const FIELDS: &str = r#"
url = "{url}/hooks"
allow = ["127.0.0.1"]
allow_http = true
secret_files = ["secret"]
start = "beginning"
"#;

/// A deliverer at work.
pub(crate) struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// As a crash: nothing under way is ended.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// The subjects of workers.
pub(crate) fn workers(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("w{number}")).collect()
}

/// Polls until `look` answers something.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
