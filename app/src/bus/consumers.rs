//! How far the consumers of a stream are, as the server says.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Bus;

/// Most consumers of a stream that are told of.
const MOST_CONSUMERS: usize = 200;

/// How far one consumer of a stream is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsumerState {
    /// Its name, e.g. `lablet_door`.
    pub name: String,
    /// Messages of the stream that were not delivered to it yet.
    pub pending: u64,
    /// Messages that were delivered and not acknowledged yet.
    pub ack_pending: u64,
    /// Of them, those that were delivered more than once.
    pub redelivered: u64,
    /// Requests for messages that wait for one: 0 may mean that nobody takes any.
    pub waiting: u64,
}

/// The consumers of a stream are not known.
#[derive(Debug, thiserror::Error)]
pub enum ConsumersUnknown {
    /// There is no connection.
    #[error("the bus is away")]
    Away,
    /// The server did not answer, as it does where the user may not ask.
    #[error("the bus did not answer within {} s; its user may not be allowed to list the consumers of {stream}", .patience.as_secs())]
    Silent {
        /// The stream.
        stream: &'static str,
        /// How long was waited.
        patience: Duration,
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
        patience: Duration,
    ) -> Result<Vec<ConsumerState>, ConsumersUnknown> {
        if !self.is_connected() {
            return Err(ConsumersUnknown::Away);
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
        tokio::time::timeout(patience, ask).await.unwrap_or(Err(ConsumersUnknown::Silent { stream, patience }))
    }
}
