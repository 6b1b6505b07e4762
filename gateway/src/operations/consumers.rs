//! How far the consumers on the bus are, asked at most every few seconds however many look.

use std::time::Duration;

use bus::clock::Clock;
use bus::{Bus, ConsumerState, ConsumersUnknown, Deviation, streams};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long the bus may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long an answer serves.
const SERVES: Duration = Duration::from_secs(3);
/// How long an answer about settings serves, which seldom change.
const DEVIATIONS_SERVE: Duration = Duration::from_secs(15);
/// How long a question without an answer is not asked again: where the user lacks the right, each is an error in the
/// server's log.
const SILENCE_SERVES: Duration = Duration::from_secs(300);

/// The consumers of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct StreamConsumers {
    /// The stream.
    pub(crate) stream: &'static str,
    /// Its consumers by name; null: not known.
    pub(crate) consumers: Option<Vec<ConsumerState>>,
    /// Why they are not known; null: they are.
    pub(crate) unknown_because: Option<String>,
    /// When the bus was asked.
    pub(crate) asked_at: DateTime<Utc>,
}

/// Where streams and consumers are not as they have to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct BusDeviations {
    /// What differs; null: not known.
    pub(crate) deviations: Option<Vec<Deviation>>,
    /// Why it is not known; null: it is.
    pub(crate) unknown_because: Option<String>,
}

/// The last answers.
#[derive(Debug, Default)]
pub(crate) struct ConsumerWatch {
    kept: Mutex<[Option<CachedAnswer>; 2]>,
    deviations: Mutex<Option<(Instant, BusDeviations)>>,
}

#[derive(Debug)]
struct CachedAnswer {
    until: Instant,
    answer: StreamConsumers,
}

impl ConsumerWatch {
    /// The consumers of both streams, now or a few seconds ago.
    pub(crate) async fn look(&self, bus: &Bus, clock: &Clock) -> Vec<StreamConsumers> {
        // Whoever comes while one asks waits for that answer.
        let mut kept = self.kept.lock().await;
        if !bus.is_connected() {
            // Nothing that was known before a connection was lost is known now.
            *kept = [None, None];
        }
        let [events, commands] = &mut *kept;
        let (events, commands) = tokio::join!(
            look_at(events, streams::EVENTS, bus, clock),
            look_at(commands, streams::COMMANDS, bus, clock)
        );
        vec![events, commands]
    }

    /// Where the bus is not as it has to be, now or a while ago.
    pub(crate) async fn deviations(&self, bus: &Bus) -> BusDeviations {
        let mut kept = self.deviations.lock().await;
        if let Some((until, answer)) = kept.as_ref()
            && *until > Instant::now()
            && bus.is_connected()
        {
            return answer.clone();
        }
        let consumers = [(streams::COMMANDS, app::command_consumer::consumer_config())];
        let (serves, answer) = match bus.deviations(&consumers, TIMEOUT).await {
            Ok(found) => (DEVIATIONS_SERVE, BusDeviations { deviations: Some(found), unknown_because: None }),
            Err(error) => {
                let serves = match error {
                    ConsumersUnknown::Silent { .. } => SILENCE_SERVES,
                    ConsumersUnknown::Unreachable | ConsumersUnknown::Refused { .. } => SERVES,
                };
                (serves, BusDeviations { deviations: None, unknown_because: Some(error.to_string()) })
            }
        };
        *kept = Some((Instant::now() + serves, answer.clone()));
        answer
    }
}

async fn look_at(kept: &mut Option<CachedAnswer>, stream: &'static str, bus: &Bus, clock: &Clock) -> StreamConsumers {
    if let Some(kept) = kept.as_ref().filter(|kept| kept.until > Instant::now()) {
        return kept.answer.clone();
    }
    let asked_at = clock.now();
    let (serves, consumers, unknown_because) = match bus.consumers(stream, TIMEOUT).await {
        Ok(consumers) => (SERVES, Some(consumers), None),
        Err(error) => {
            let serves = match error {
                ConsumersUnknown::Unreachable => Duration::ZERO,
                ConsumersUnknown::Silent { .. } => SILENCE_SERVES,
                ConsumersUnknown::Refused { .. } => SERVES,
            };
            tracing::debug!(error = &error as &dyn std::error::Error, stream, "consumer state unavailable");
            (serves, None, Some(error.to_string()))
        }
    };
    let answer = StreamConsumers { stream, consumers, unknown_because, asked_at };
    *kept = Some(CachedAnswer { until: Instant::now() + serves, answer: answer.clone() });
    answer
}
