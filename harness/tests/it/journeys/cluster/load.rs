//! A steady load: commands over HTTP and over the bus, and reads. Whoever gets no answer sends the same command again, with the
//! same key, as docs/services.md tells; the failure is remembered.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream;
use harness::eventually;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::super::SOON;
use super::deployment::{Access, Deployment, SESSIONS};

/// Senders of each kind.
const SENDERS: usize = 2;
/// What each does between two requests: a steady load, and no measurement.
const PAUSE: Duration = Duration::from_millis(100);
/// Requests of each kind that have to succeed before the load is taken to go on.
const ENOUGH: u64 = 6;

/// Counts observations, over all loads.
static NEXT: AtomicU64 = AtomicU64::new(0);

const KINDS: [&str; 4] = ["http command", "http read", "bus command", "bus request"];

/// The load. It ends with [`Load::end`].
pub(super) struct Load {
    shared: Arc<Shared>,
    senders: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Requests of each kind that were answered well.
    succeeded: [AtomicU64; KINDS.len()],
    /// Observers of observations that were acknowledged.
    acknowledged: Mutex<BTreeSet<String>>,
    failures: Mutex<Vec<String>>,
}

impl Load {
    pub(super) fn start(deployment: &Deployment) -> Self {
        let shared = Arc::<Shared>::default();
        let senders = (0..KINDS.len() * SENDERS).map(|number| {
            let (shared, access, bus) = (shared.clone(), deployment.access(), deployment.nats.url());
            tokio::spawn(async move {
                let kind = number % KINDS.len();
                let sender = match kind {
                    0 => Sender::Command(access),
                    1 => Sender::Read(access),
                    2 => Sender::Publish(jetstream::new(connect(&bus).await)),
                    _ => Sender::Request(connect(&bus).await),
                };
                shared.send(kind, &sender).await;
            })
        });
        Self { senders: senders.collect(), shared }
    }

    /// Waits until requests of every kind succeed that were begun from here on.
    pub(super) async fn goes_on(&self) {
        let count = || self.shared.succeeded.each_ref().map(|count| count.load(Ordering::SeqCst));
        let before = count();
        for (kind, name) in KINDS.iter().enumerate() {
            eventually(&format!("each {name} answered"), SOON, async || {
                (count().get(kind)? >= &(before.get(kind)? + ENOUGH)).then_some(())
            })
            .await;
        }
    }

    /// What failed since this was asked for the last time.
    pub(super) fn take_failures(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends it, and gives the observers of all observations that were acknowledged.
    pub(super) async fn end(self) -> BTreeSet<String> {
        self.shared.stop.store(true, Ordering::SeqCst);
        for sender in self.senders {
            sender.await.unwrap();
        }
        std::mem::take(&mut *self.shared.acknowledged.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    /// Sends requests of one kind, each until it is answered well.
    async fn send(&self, kind: usize, sender: &Sender) {
        while !self.stop.load(Ordering::SeqCst) {
            let observer = format!("o{}", NEXT.fetch_add(1, Ordering::SeqCst));
            loop {
                match sender.send(&observer).await {
                    Ok(is_acknowledged) => {
                        if is_acknowledged {
                            self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).insert(observer);
                        }
                        self.succeeded[kind].fetch_add(1, Ordering::SeqCst);
                        break;
                    }
                    Err(failure) => {
                        let failure = format!("{}: {failure}", KINDS[kind]);
                        self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Who sends requests of one kind.
enum Sender {
    Command(Access),
    Read(Access),
    Publish(jetstream::Context),
    Request(async_nats::Client),
}

impl Sender {
    /// Sends one, and says whether it was a command that is acknowledged now.
    async fn send(&self, observer: &str) -> Result<bool, String> {
        match self {
            Self::Command(access) => command(access, observer).await,
            Self::Read(access) => read(access).await,
            Self::Publish(context) => publish(context, observer).await,
            Self::Request(client) => request(client, observer).await,
        }
    }
}

fn session(observer: &str) -> String {
    let number: usize = observer.trim_start_matches('o').parse().unwrap();
    format!("s{}", number % SESSIONS)
}

fn observation(observer: &str) -> Value {
    json!({"observed_resources": {"observer": observer, "total_cpu_cores": 1}, "observed_ports": {"PC_serial": 5041}})
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

async fn command(access: &Access, observer: &str) -> Result<bool, String> {
    let path = format!("/api/internal/lablet-sessions/{}/resource-observations", session(observer));
    let request = access.request(Method::POST, &path).header("idempotency-key", observer);
    answered(request.json(&observation(observer))).await.map(|()| true)
}

async fn read(access: &Access) -> Result<bool, String> {
    for path in ["/api/lablet-sessions", "/api/overview", "/sessions"] {
        answered(access.request(Method::GET, path)).await?;
    }
    Ok(false)
}

async fn answered(request: reqwest::RequestBuilder) -> Result<(), String> {
    let answer = request.send().await.map_err(|error| chain(&error))?;
    let (status, text) = (answer.status(), answer.text().await.map_err(|error| chain(&error))?);
    if status.is_success() { Ok(()) } else { Err(format!("{status} {text}")) }
}

fn event(observer: &str) -> String {
    json!({
        "specversion": "1.0", "id": observer, "source": "/grading", "subject": session(observer),
        "type": "io.lablet.command.record_resource_observation.v1", "datacontenttype": "application/json",
        "data": observation(observer)
    })
    .to_string()
}

async fn connect(urls: &str) -> async_nats::Client {
    let (user, password) = {
        let url: async_nats::ServerAddr = urls.split(',').next().unwrap().parse().unwrap();
        (url.username().unwrap().to_owned(), url.password().unwrap().to_owned())
    };
    let addresses: Vec<async_nats::ServerAddr> = urls.split(',').map(|url| url.parse().unwrap()).collect();
    async_nats::ConnectOptions::with_user_and_password(user, password).connect(addresses).await.unwrap()
}

/// Puts a command onto the stream, which says that it has it.
async fn publish(context: &jetstream::Context, observer: &str) -> Result<bool, String> {
    let subject = "lablet.commands.grading.record_resource_observation";
    let acknowledgement = context.publish(subject, event(observer).into()).await.map_err(|error| chain(&error))?;
    acknowledgement.await.map(|_| true).map_err(|error| chain(&error))
}

/// Sends a command to the micro service, which answers when it is done.
async fn request(client: &async_nats::Client, observer: &str) -> Result<bool, String> {
    let subject = "lablet.requests.grading.record_resource_observation";
    let answer = client.request(subject, event(observer).into()).await.map_err(|error| chain(&error))?;
    let answer: Value = serde_json::from_slice(&answer.payload).map_err(|error| chain(&error))?;
    if answer["status"] == "refused" { Err(answer.to_string()) } else { Ok(true) }
}
