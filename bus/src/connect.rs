//! A connection to NATS that keeps reconnecting while no server can be reached, and logs it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::{Client, ConnectOptions, Event, SubscribeError};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::access::{self, BusTls, SignIn};
use super::deviation::ReportedDeviations;

/// Longest wait for the answer to a request, an acknowledgement or a flush.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Most publishes whose acknowledgement is awaited at a time; the relay keeps below it.
pub const MOST_IN_FLIGHT: usize = 2_000;

/// Wake-up signals on one subject within this time are sent as one.
const SIGNALS_APART: Duration = Duration::from_millis(5);

/// How to reach the bus.
#[derive(Clone)]
pub struct BusOptions {
    /// One or more addresses, separated by commas; user and password, or a token, may stand in them.
    pub url: String,
    /// Name of this connection, as the server's monitoring shows it, e.g. `lablet-relay`.
    pub name: String,
    /// Prefix of the inboxes, where the user may only subscribe below it (see docs/nats-permissions.md).
    pub inbox_prefix: Option<String>,
    /// How the client signs in.
    pub sign_in: SignIn,
    /// TLS settings.
    pub tls: BusTls,
    /// The domain whose JetStream is used, where that is not the one that the server belongs to.
    pub jetstream_domain: Option<String>,
    /// Copies of each stream in a cluster of servers. `None`: one where a stream is made, and what an operator made of it.
    pub replicas: Option<usize>,
}

impl BusOptions {
    /// Options for `url` and nothing else.
    pub fn new(url: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            name: name.into(),
            inbox_prefix: None,
            sign_in: SignIn::default(),
            tls: BusTls::default(),
            jetstream_domain: None,
            replicas: None,
        }
    }
}

impl std::fmt::Debug for BusOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address may hold a password.
        formatter
            .debug_struct("BusOptions")
            .field("name", &self.name)
            .field("sign_in", &self.sign_in)
            .finish_non_exhaustive()
    }
}

/// The bus cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The address cannot be read. The address itself is not shown: it may hold a password.
    #[error("the address of the bus is not valid; expected nats://host:port, several separated by commas")]
    Address,
    /// Two settings cannot both hold.
    #[error("{0}; expected one way to sign in to the bus")]
    Contradiction(&'static str),
    /// A file cannot be used.
    #[error("{what}, {}, cannot be used: {why}", file.display())]
    File {
        /// What it is for.
        what: &'static str,
        /// The file.
        file: std::path::PathBuf,
        /// Why.
        why: String,
    },
    /// The first connection could not be set up.
    #[error("the bus could not be connected to")]
    Connect(#[source] Box<async_nats::ConnectError>),
    /// A server refused this client's sign-in.
    #[error("the bus refuses this client ({0}): its user, password, token, key or certificate is not the right one")]
    Refused(String),
    /// No connection was made in time, with the last failure.
    #[error("the bus could not be used within {} s: {failure}{}", waited.as_secs(), if *tls { "; TLS is asked for: is the server's certificate trusted, and does it take this client's?" } else { "" })]
    Failed {
        /// How long was waited.
        waited: Duration,
        /// The last failure.
        failure: String,
        /// Whether TLS was asked for.
        tls: bool,
    },
    /// No connection was made in time, and no failure is known.
    #[error("the bus did not answer within {} s", .0.as_secs())]
    Unreachable(Duration),
}

/// A connection to the bus. Cloning shares it.
#[derive(Clone)]
pub struct Bus {
    options: Arc<BusOptions>,
    client: Client,
    jetstream: jetstream::Context,
    connects: watch::Receiver<u64>,
    is_up: watch::Receiver<bool>,
    signals: Arc<Signals>,
    /// What this one's wake-up signals say.
    own_signal: Bytes,
    last_failure: watch::Receiver<Option<String>>,
    tls: bool,
    reported: ReportedDeviations,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Bus").field("name", &self.options.name).finish_non_exhaustive()
    }
}

impl Bus {
    /// Connects in the background: returns at once, and keeps trying with back-off while no server answers.
    ///
    /// # Errors
    /// [`BusError`] when a setting cannot be used. An unreachable server or a refused sign-in is reported by
    /// [`Bus::connected`].
    pub async fn connect(options: &BusOptions) -> Result<Self, BusError> {
        let (addresses, said) = access::addresses(&options.url)?;
        let sign_in = match (&options.sign_in, said) {
            (SignIn::AsTheAddressSays, said) => said,
            (given, SignIn::AsTheAddressSays) => given.clone(),
            _ => {
                return Err(BusError::Contradiction(
                    "the address names a user or a token, and another setting does too",
                ));
            }
        };
        describe_gauge!("lablet_nats_connected", "1 while this process is connected to NATS");
        describe_counter!("lablet_nats_disconnects_total", Unit::Count, "Connections to NATS that were lost");
        let (connected, connects) = watch::channel(0_u64);
        let (up, is_up) = watch::channel(false);
        let (failed, last_failure) = watch::channel(None);
        let name = options.name.clone();
        let mut connect = ConnectOptions::new()
            .name(&options.name)
            .connection_timeout(REQUEST_TIMEOUT)
            .request_timeout(Some(REQUEST_TIMEOUT))
            .ping_interval(Duration::from_secs(10))
            .retry_on_initial_connect()
            .event_callback(move |event| {
                note(&name, &event, &connected, &up, &failed);
                std::future::ready(())
            });
        connect = access::sign_in(connect, &sign_in).await?;
        connect = access::tls(connect, &options.tls).await?;
        if let Some(prefix) = &options.inbox_prefix {
            connect = connect.custom_inbox_prefix(prefix);
        }
        let client = connect.connect(addresses).await.map_err(|error| BusError::Connect(Box::new(error)))?;
        let context = ContextBuilder::new().timeout(REQUEST_TIMEOUT).max_ack_inflight(MOST_IN_FLIGHT + 1_000);
        let jetstream = match &options.jetstream_domain {
            Some(domain) => context.domain(domain).build(client.clone()),
            None => context.build(client.clone()),
        };
        let own_signal = Bytes::from(client.new_inbox());
        Ok(Self {
            options: Arc::new(options.clone()),
            signals: Arc::new(Signals::start(client.clone(), is_up.clone(), own_signal.clone())),
            own_signal,
            is_up,
            client,
            jetstream,
            connects,
            last_failure,
            tls: options.tls.is_required(),
            reported: ReportedDeviations::default(),
        })
    }

    /// Another connection to the same bus, isolated from this one. It ends with its last clone. It is only made while this
    /// one is connected: the library would keep trying to connect after the last clone is dropped.
    ///
    /// # Errors
    /// As [`Bus::connected`], or as [`Bus::connect`].
    pub async fn another(&self, purpose: &str) -> Result<Self, BusError> {
        self.connected(REQUEST_TIMEOUT).await?;
        let options = BusOptions { name: format!("{}-{purpose}", self.options.name), ..self.options.as_ref().clone() };
        Self::connect(&options).await
    }

    /// The core client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// JetStream over the same connection.
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.jetstream
    }

    /// Copies of each stream, where somebody decided that.
    pub fn replicas(&self) -> Option<usize> {
        self.options.replicas
    }

    /// Deviations of streams and consumers that were reported.
    pub(super) fn reported(&self) -> &ReportedDeviations {
        &self.reported
    }

    /// Counts connections: a change is a sign that streams and consumers may be gone.
    pub fn connects(&self) -> watch::Receiver<u64> {
        self.connects.clone()
    }

    /// Whether this is connected now.
    pub fn is_connected(&self) -> bool {
        *self.is_up.borrow()
    }

    /// Sets the metric of whether this is connected.
    pub fn measure(&self) {
        gauge!("lablet_nats_connected").set(if self.is_connected() { 1.0 } else { 0.0 });
    }

    /// Waits until this is connected.
    ///
    /// # Errors
    /// After `timeout`: [`BusError::Refused`] where a server did not let this client in, else [`BusError::Failed`] or
    /// [`BusError::Unreachable`].
    pub async fn connected(&self, timeout: Duration) -> Result<(), BusError> {
        let mut is_up = self.is_up.clone();
        match tokio::time::timeout(timeout, is_up.wait_for(|is_up| *is_up)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(self.no_connection(timeout)),
        }
    }

    /// The reason for the missing connection, as far as it is known.
    fn no_connection(&self, waited: Duration) -> BusError {
        match self.last_failure.borrow().clone() {
            Some(failure) if failure.contains("authorization") || failure.contains("signing nonce") => {
                BusError::Refused(failure)
            }
            Some(failure) => BusError::Failed { waited, failure, tls: self.tls },
            None => BusError::Unreachable(waited),
        }
    }

    /// Sends a wake-up signal: a core message that only says who sent it. It may be lost; receivers also poll slowly. Returns
    /// at once; signals in quick succession are sent as one.
    pub fn nudge(&self, subject: &'static str) {
        self.signals.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(subject);
        self.signals.wake.notify_one();
    }

    /// The wake-up signals of others on a subject: whoever shares this connection shares what woke them sooner, too.
    ///
    /// # Errors
    /// There is no connection any more.
    pub async fn nudges(&self, subject: &'static str) -> Result<impl Stream<Item = ()> + use<>, SubscribeError> {
        let own = self.own_signal.clone();
        let signals = self.client.subscribe(subject).await?;
        Ok(signals.filter_map(move |signal| std::future::ready((signal.payload != own).then_some(()))))
    }

    /// Sends everything that is buffered and closes, bounded in time.
    pub async fn close(&self) {
        match tokio::time::timeout(REQUEST_TIMEOUT, self.client.drain()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "NATS connection was closed already")
            }
            Err(_) => tracing::warn!("closing the bus took longer than {} s", REQUEST_TIMEOUT.as_secs()),
        }
    }
}

/// Wake-up signals that wait to be sent, and the task that sends them.
#[derive(Debug)]
struct Signals {
    waiting: Arc<Mutex<BTreeSet<&'static str>>>,
    wake: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Signals {
    fn start(client: Client, is_up: watch::Receiver<bool>, signal: Bytes) -> Self {
        let (waiting, wake) = (Arc::<Mutex<BTreeSet<&'static str>>>::default(), Arc::new(Notify::new()));
        let task = tokio::spawn({
            let (waiting, wake) = (waiting.clone(), wake.clone());
            async move {
                loop {
                    wake.notified().await;
                    let subjects = std::mem::take(&mut *waiting.lock().unwrap_or_else(PoisonError::into_inner));
                    for subject in subjects {
                        // The client would buffer it until it is connected again; polling is faster.
                        if !*is_up.borrow() {
                            continue;
                        }
                        if let Err(error) = client.publish(subject, signal.clone()).await {
                            tracing::debug!(
                                error = &error as &dyn std::error::Error,
                                subject,
                                "wake-up signal not sent"
                            );
                        }
                    }
                    tokio::time::sleep(SIGNALS_APART).await;
                }
            }
        });
        Self { waiting, wake, task }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // The task holds the client, which would otherwise never be dropped.
        self.task.abort();
    }
}

fn note(
    name: &str,
    event: &Event,
    connected: &watch::Sender<u64>,
    up: &watch::Sender<bool>,
    failed: &watch::Sender<Option<String>>,
) {
    if matches!(event, Event::Disconnected | Event::Closed) {
        up.send_replace(false);
    }
    match event {
        Event::Connected => {
            tracing::info!(connection = name, "NATS connected");
            failed.send_replace(None);
            // Counted first: whoever has waited for the connection takes a later count for another one.
            connected.send_modify(|count| *count += 1);
            up.send_replace(true);
        }
        Event::Disconnected => {
            counter!("lablet_nats_disconnects_total").increment(1);
            tracing::warn!(connection = name, "NATS disconnected, reconnecting");
        }
        // A publish or a subscription that permissions forbid shows here and as a timeout only.
        Event::ServerError(error) => tracing::error!(connection = name, %error, "NATS refused an operation"),
        Event::ClientError(error) => {
            tracing::warn!(connection = name, %error, "NATS unreachable");
            failed.send_replace(Some(error.to_string()));
        }
        Event::SlowConsumer(id) => {
            tracing::warn!(connection = name, subscription = id, "messages dropped: slow consumer")
        }
        Event::LameDuckMode => tracing::warn!(connection = name, "NATS is about to shut down"),
        Event::Draining | Event::Closed => tracing::debug!(connection = name, %event, "NATS connection closes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unreadable_address_is_refused_without_showing_it() {
        let refused = Bus::connect(&BusOptions::new("nats://user:secret@[", "test")).await.unwrap_err();
        assert!(matches!(refused, BusError::Address));
        assert!(!refused.to_string().contains("secret"));
    }
}
