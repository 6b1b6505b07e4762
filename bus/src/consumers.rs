//! State of a stream's consumers, as the server reports it.

use std::time::Duration;

use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::{self};
use futures_util::TryStreamExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::deviation::{self, Deviation};
use super::{Bus, StreamBounds, streams};

/// Most consumers of a stream that are listed.
const MOST_CONSUMERS: usize = 200;

/// State of one consumer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsumerState {
    /// Its name, e.g. `lablet_commands`.
    pub name: String,
    /// Messages of the stream that were not delivered to it yet.
    pub pending: u64,
    /// Messages that were delivered and not acknowledged yet.
    pub ack_pending: u64,
    /// Of these, those delivered more than once.
    pub redelivered: u64,
    /// Open pull requests: 0 may mean that nobody consumes.
    pub waiting: u64,
}

/// The state of a stream's consumers could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ConsumersUnknown {
    /// There is no connection.
    #[error("there is no connection to the bus")]
    Unreachable,
    /// The server did not answer; so it treats users without the right to ask, too.
    #[error("the bus did not answer within {} s; its user may not be allowed to list the consumers of {stream}", .timeout.as_secs())]
    Silent {
        /// The stream.
        stream: &'static str,
        /// How long was waited.
        timeout: Duration,
    },
    /// The server refused.
    #[error("the bus does not tell the consumers of {stream}")]
    Refused {
        /// The stream.
        stream: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Bus {
    /// How far the consumers of a stream are, by name.
    ///
    /// # Errors
    /// [`ConsumersUnknown`]; a question that permissions forbid shows as silence.
    pub async fn consumers(
        &self,
        stream: &'static str,
        timeout: Duration,
    ) -> Result<Vec<ConsumerState>, ConsumersUnknown> {
        if !self.is_connected() {
            return Err(ConsumersUnknown::Unreachable);
        }
        let refused = |source: Box<dyn std::error::Error + Send + Sync>| ConsumersUnknown::Refused { stream, source };
        let ask = async {
            let stream = self.jetstream().get_stream_no_info(stream).await.map_err(|error| refused(Box::new(error)))?;
            let mut consumers = stream.consumers();
            let mut states = Vec::new();
            while let Some(info) = consumers.try_next().await.map_err(|error| refused(Box::new(error)))? {
                states.push(ConsumerState {
                    name: info.name,
                    pending: info.num_pending,
                    ack_pending: info.num_ack_pending as u64,
                    redelivered: info.num_redelivered as u64,
                    waiting: info.num_waiting as u64,
                });
                if states.len() == MOST_CONSUMERS {
                    break;
                }
            }
            states.sort_by(|one: &ConsumerState, other| one.name.cmp(&other.name));
            Ok(states)
        };
        tokio::time::timeout(timeout, ask).await.unwrap_or(Err(ConsumersUnknown::Silent { stream, timeout }))
    }
}

/// A consumer could not be read or created.
#[derive(Debug, thiserror::Error)]
#[error("the consumer {consumer} of {stream} could not be {done}")]
pub struct ConsumerUnavailable {
    /// The stream.
    pub stream: &'static str,
    /// The consumer.
    pub consumer: String,
    /// What was tried: `read` or `created`.
    pub done: &'static str,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl Bus {
    /// The durable consumer with this configuration: made where it is missing, and where it is otherwise, reported and, as
    /// far as server and rights allow, changed. Where it is there and right, this takes no more than the right to read.
    ///
    /// # Errors
    /// [`ConsumerUnavailable`]; a deviation that cannot be changed is reported and is no error.
    pub async fn ensure_consumer(
        &self,
        stream: &'static str,
        wanted: &pull::Config,
    ) -> Result<PullConsumer, ConsumerUnavailable> {
        let name = wanted.durable_name.clone().unwrap_or_default();
        let failed = |done| {
            let consumer = name.clone();
            move |source| ConsumerUnavailable { stream, consumer, done, source }
        };
        let handle =
            self.jetstream().get_stream_no_info(stream).await.map_err(|error| failed("read")(Box::new(error)))?;
        let Some(info) = consumer_info(&handle, &name).await.map_err(failed("read"))? else {
            let created = handle.create_consumer(wanted.clone()).await;
            return created.map_err(|error| failed("created")(Box::new(error)));
        };
        let mut found = deviation::of_consumer(stream, wanted, &info.config);
        if self.reported().is_worth_changing(stream, Some(&name), &found) {
            // Settings that the server never changes are sent as they are, or it refuses the update.
            let changed = pull::Config {
                ack_policy: info.config.ack_policy,
                deliver_policy: info.config.deliver_policy,
                replay_policy: info.config.replay_policy,
                max_waiting: info.config.max_waiting,
                num_replicas: info.config.num_replicas,
                memory_storage: info.config.memory_storage,
                ..wanted.clone()
            };
            match handle.create_consumer(changed).await {
                Ok(changed) => {
                    found = deviation::of_consumer(stream, wanted, &changed.cached_info().config);
                    tracing::warn!(stream, consumer = name, "consumer changed to what it has to be");
                }
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    stream,
                    consumer = name,
                    "consumer could not be changed"
                ),
            }
        }
        found.extend(info.paused.then(|| deviation::paused(stream, &name)));
        self.reported().report(stream, Some(&name), &found);
        handle.get_consumer(&name).await.map_err(failed("read"))
    }

    /// Where the streams, and consumers of them, are not as they have to be. Nothing is changed. What is missing is
    /// no deviation: whoever needs it makes it.
    ///
    /// # Errors
    /// [`ConsumersUnknown`]; a question that permissions forbid shows as silence.
    pub async fn deviations(
        &self,
        consumers: &[(&'static str, pull::Config)],
        timeout: Duration,
    ) -> Result<Vec<Deviation>, ConsumersUnknown> {
        if !self.is_connected() {
            return Err(ConsumersUnknown::Unreachable);
        }
        let bounds = StreamBounds::default();
        let ask = async {
            let mut found = Vec::new();
            let wanted = [
                (streams::EVENTS, streams::events(&bounds)),
                (streams::COMMANDS, streams::commands(&bounds)),
                (streams::RECORDS, streams::records()),
                (streams::SAMPLING, streams::sampling()),
            ];
            for (stream, wanted) in wanted {
                let refused = |source| ConsumersUnknown::Refused { stream, source };
                if let Some(info) =
                    streams::look(self.jetstream(), stream).await.map_err(|error| refused(error.into()))?
                {
                    found.extend(streams::deviations(self, &wanted, &info.config));
                }
            }
            for (stream, wanted) in consumers {
                let refused = |source| ConsumersUnknown::Refused { stream, source };
                let name = wanted.durable_name.clone().unwrap_or_default();
                let handle =
                    self.jetstream().get_stream_no_info(*stream).await.map_err(|error| refused(Box::new(error)))?;
                if let Some(info) = consumer_info(&handle, &name).await.map_err(refused)? {
                    found.extend(deviation::of_consumer(stream, wanted, &info.config));
                    found.extend(info.paused.then(|| deviation::paused(stream, &name)));
                }
            }
            Ok(found)
        };
        let silent = ConsumersUnknown::Silent { stream: streams::EVENTS, timeout };
        tokio::time::timeout(timeout, ask).await.unwrap_or(Err(silent))
    }
}

/// What the server says of a consumer; none where there is none, or no stream.
async fn consumer_info(
    stream: &jetstream::stream::Stream<()>,
    name: &str,
) -> Result<Option<jetstream::consumer::Info>, Box<dyn std::error::Error + Send + Sync>> {
    match stream.consumer_info(name).await {
        Ok(info) => Ok(Some(info)),
        Err(error) => match error.kind() {
            ConsumerInfoErrorKind::NotFound | ConsumerInfoErrorKind::StreamNotFound => Ok(None),
            _ => Err(Box::new(error)),
        },
    }
}
