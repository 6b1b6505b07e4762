//! The same commands as a NATS micro service, for request and reply.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE, Request, ServiceExt as _};
use futures_util::StreamExt as _;
use futures_util::stream::select_all;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::decoder::CommandDecoder;
use super::{CommandConsumerError, Rejection, TIMEOUT};
use crate::command::Command;
use bus::connect::REQUEST_TIMEOUT;
use bus::{Backoff, Bus, subjects};

/// Name of the service and of its queue group.
const SERVICE: &str = "lablet";

/// A connection that lasted this long resets the back-off.
const STEADY: Duration = Duration::from_secs(60);

/// Offers the service until `stop` is cancelled, each time on a new connection of its own: what others send to its
/// subjects can end it, and nothing else must end with it.
pub(super) async fn run(bus: Bus, decoder: CommandDecoder, concurrency: usize, stop: CancellationToken) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    while !stop.is_cancelled() {
        let began = Instant::now();
        if let Err(error) = offer(&bus, &decoder, concurrency, &stop).await {
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
    concurrency: usize,
    stop: &CancellationToken,
) -> Result<(), CommandConsumerError> {
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
        let metadata = HashMap::from([("type".to_owned(), Command::event_type(command))]);
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
    let permits = Arc::new(Semaphore::new(concurrency.max(1)));
    let tasks = TaskTracker::new();
    let mut is_broken = false;
    loop {
        let request = tokio::select! {
            () = stop.cancelled() => break,
            _ = connects.changed() => None,
            request = requests.next() => request,
        };
        let Some(request) = request else {
            is_broken = true;
            break;
        };
        let Ok(permit) = permits.clone().acquire_owned().await else { break };
        let decoder = decoder.clone();
        tasks.spawn(async move {
            answer(&decoder, request).await;
            drop(permit);
        });
    }
    tasks.close();
    if tokio::time::timeout(TIMEOUT, tasks.wait()).await.is_err() {
        tracing::warn!("requests not answered in time");
    }
    if is_broken {
        return Err(CommandConsumerError::Broken { what: "requests" });
    }
    service.stop().await.map_err(CommandConsumerError::Service)
}

async fn answer(decoder: &CommandDecoder, request: Request) {
    let message = &request.message;
    let handled = match CommandDecoder::take(&message.subject, message.headers.as_ref(), &message.payload) {
        Ok(decoded) => match tokio::time::timeout(TIMEOUT, decoder.handle(decoded)).await {
            Ok(handled) => handled,
            Err(_) => Err(Rejection::timed_out(TIMEOUT)),
        },
        Err(rejection) => Err(rejection),
    };
    let mut headers = HeaderMap::new();
    let body = match &handled {
        Ok(answer) => serde_json::to_vec(answer),
        Err(rejection) => {
            headers.insert(NATS_SERVICE_ERROR, rejection.code());
            headers.insert(NATS_SERVICE_ERROR_CODE, rejection.status().to_string());
            serde_json::to_vec(&rejection.answer())
        }
    };
    let body = match body {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(error = &error as &dyn Error, "answer cannot be written as JSON");
            return;
        }
    };
    if let Err(error) = request.respond_with_headers(Ok(body.into()), headers).await {
        tracing::warn!(error = &error as &dyn Error, "request not answered");
    }
}
