//! The same commands as a NATS micro service, for request and reply.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::client::PublishError;
use async_nats::service::{self, NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE, Request, ServiceExt as _};
use futures_util::StreamExt as _;
use futures_util::stream::select_all;
use tokio::sync::{RwLock, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::decoder::CommandDecoder;
use super::reply::Reply;
use super::{CommandConsumerError, CommandConsumerOptions, Rejection, TIMEOUT};
use crate::command::Command;
use bus::connect::REQUEST_TIMEOUT;
use bus::{Backoff, Bus, subjects};

/// Name of the service and of its queue group.
const SERVICE: &str = "lablet";

/// Where nobody listens. The user of the commands may publish there.
const UNHEARD: &str = "lablet.replies.unheard";

/// A connection that lasted this long resets the back-off.
const STEADY: Duration = Duration::from_secs(60);

/// Offers the service until `stop` is cancelled, each time on a new connection of its own: what others send to its
/// subjects can end it, and nothing else must end with it.
pub(super) async fn run(bus: Bus, decoder: CommandDecoder, options: CommandConsumerOptions, stop: CancellationToken) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    while !stop.is_cancelled() {
        let began = Instant::now();
        if let Err(error) = offer(&bus, &decoder, &options, &stop).await {
            tracing::warn!(
                error = &error as &dyn Error,
                advice = "if this goes on, see in the server's monitoring who publishes to lablet.requests.> and take that right away",
                "micro service starts again"
            );
        }
        if began.elapsed() > STEADY {
            backoff.reset();
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next_wait()) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn offer(
    bus: &Bus,
    decoder: &CommandDecoder,
    options: &CommandConsumerOptions,
    stop: &CancellationToken,
) -> Result<(), CommandConsumerError> {
    let lasting = bus.client().clone();
    let bus = bus.another("requests").await?;
    bus.connected(REQUEST_TIMEOUT).await?;
    let mut connects = bus.connects();
    connects.mark_unchanged();
    let service = bus
        .client()
        .service_builder()
        .description("Commands to Lablet: a CloudEvent in, a JSON answer out")
        .queue_group(SERVICE)
        .start(SERVICE, env!("CARGO_PKG_VERSION"))
        .await
        .map_err(CommandConsumerError::Service)?;
    let mut endpoints = Vec::new();
    for command in Command::NAMES {
        let event_type = Command::event_type(command);
        let schema = options.public_url.schema(&event_type);
        let metadata = HashMap::from([("type".to_owned(), event_type), ("schema".to_owned(), schema)]);
        let endpoint = service
            .endpoint_builder()
            .name(command)
            .metadata(metadata)
            .queue_group(SERVICE)
            .add(subjects::request("*", command))
            .await
            .map_err(CommandConsumerError::Service)?;
        endpoints.push(endpoint);
    }
    let mut requests = select_all(endpoints);
    let permits = Arc::new(Semaphore::new(options.concurrency.max(1)));
    let tasks = TaskTracker::new();
    let replies = Arc::new(Replies { taken: bus.client().clone(), lasting, ending: RwLock::default() });
    let mut is_ending = false;
    loop {
        let request = tokio::select! {
            () = stop.cancelled(), if !is_ending => {
                is_ending = true;
                // What the server has sent already is still taken.
                replies.end().await;
                continue;
            }
            _ = connects.changed(), if !is_ending => None,
            request = requests.next() => request,
        };
        let Some(request) = request else { break };
        let Ok(permit) = permits.clone().acquire_owned().await else { break };
        let (decoder, replies) = (decoder.clone(), replies.clone());
        tasks.spawn(async move {
            answer(&decoder, &replies, request).await;
            drop(permit);
        });
    }
    tasks.close();
    if tokio::time::timeout(TIMEOUT, tasks.wait()).await.is_err() {
        tracing::warn!("requests not answered in time");
    }
    if !is_ending {
        return Err(CommandConsumerError::Broken { what: "requests" });
    }
    if let Err(error) = replies.lasting.flush().await {
        tracing::warn!(error = &error as &dyn Error, "last replies may not have been sent");
    }
    service.stop().await.map_err(CommandConsumerError::Service)
}

/// The way of replies: by the connection that brought the request, and where that is ending, by one that lasts longer.
struct Replies {
    taken: Client,
    lasting: Client,
    /// Held while a reply is handed over, so that none is handed to a connection that has just begun to end.
    ending: RwLock<bool>,
}

impl Replies {
    /// Ends the connection that brings requests, behind the replies that were handed to it.
    async fn end(&self) {
        let mut ending = self.ending.write().await;
        *ending = true;
        if let Err(error) = self.taken.drain().await {
            tracing::debug!(error = &error as &dyn Error, "connection for requests was closed already");
        }
    }

    /// Sends a reply, and has it counted by the service unless that is ending.
    async fn send(
        &self,
        request: Request,
        mut reply: Reply,
        rejection: Option<&Rejection>,
    ) -> Result<(), PublishError> {
        if let Some(rejection) = rejection {
            reply.headers.insert(NATS_SERVICE_ERROR, rejection.code());
            reply.headers.insert(NATS_SERVICE_ERROR_CODE, rejection.status().to_string());
        }
        let ending = self.ending.read().await;
        match (*ending, rejection) {
            (true, _) => match request.message.reply {
                Some(reply_to) => self.lasting.publish_with_headers(reply_to, reply.headers, reply.body).await,
                None => Ok(()),
            },
            (false, None) => request.respond_with_headers(Ok(reply.body), reply.headers).await,
            (false, Some(rejection)) => refuse(&self.taken, request, reply, rejection).await,
        }
    }
}

async fn answer(decoder: &CommandDecoder, replies: &Replies, request: Request) {
    let message = &request.message;
    let decoded = CommandDecoder::take(&message.subject, message.headers.as_ref(), &message.payload);
    let command_id = match &decoded {
        Ok(decoded) => decoded.id().map(str::to_owned),
        Err(rejection) => rejection.command_id().map(str::to_owned),
    };
    let handled = match decoded {
        Ok(decoded) => match tokio::time::timeout(TIMEOUT, decoder.handle(decoded)).await {
            Ok(handled) => handled,
            Err(_) => Err(Rejection::timed_out(TIMEOUT)),
        },
        Err(rejection) => Err(rejection),
    };
    let reply = match Reply::new(handled.as_ref(), command_id.as_deref()) {
        Ok(reply) => reply,
        Err(error) => {
            tracing::error!(error = &error as &dyn Error, "answer cannot be written as JSON");
            return;
        }
    };
    let sent = replies.send(request, reply, handled.as_ref().err()).await;
    if let Err(error) = sent {
        tracing::warn!(error = &error as &dyn Error, "request not answered");
    }
}

/// Sends a refusal, and has it counted as an error of the service. The library counts an error only with its own reply,
/// which has no body: that one goes where nobody listens.
async fn refuse(
    client: &Client,
    mut request: Request,
    Reply { headers, body }: Reply,
    rejection: &Rejection,
) -> Result<(), PublishError> {
    let error = service::error::Error { status: rejection.code().to_owned(), code: rejection.status().into() };
    let Some(reply_to) = request.message.reply.replace(UNHEARD.into()) else {
        // Nobody waits for it; the library says so.
        request.message.reply = None;
        return request.respond(Err(error)).await;
    };
    client.publish_with_headers(reply_to, headers, body).await?;
    request.respond(Err(error)).await
}
