//! The command door: takes commands from the bus and hands them to the same handlers as HTTP does.
//!
//! A command exists only on the bus until it is handled, so it is acknowledged after it is in the log, and the
//! acknowledgement is confirmed. One that can never work goes to the dead letters with its reason and is terminated;
//! one that may work later is put off, longer each time, and goes to the dead letters after many tries.
//!
//! What senders may rely on: a command takes effect once, however often it is sent with the same source and id.
//! Commands about the same thing that reach one door are handled one after another in the stream's order, as long as
//! none of them has to be put off; nothing is promised about the order across things, across doors, or after a delay.

mod intake;
mod lanes;
mod retry;
mod service;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::ConsumerErrorKind;
use async_nats::jetstream::{AckKind, ErrorCode, Message};
use bytes::Bytes;
use futures_util::StreamExt as _;
use metrics::{Unit, counter, describe_counter};
use tokio_util::sync::CancellationToken;

pub use self::intake::{Intake, Rejection};
use self::lanes::Lanes;
pub use self::retry::{RetryError, retry};
use crate::bus::streams::{EnsureError, StreamBounds};
use crate::bus::{Backoff, Bus, streams, subjects};
use crate::commands::{Answer, Commands};
use crate::dead_letters::{DeadLetters, Kind, Undeliverable, plain_headers};

/// The durable consumer that all doors share.
pub const CONSUMER: &str = "lablet_door";
/// A command that is neither acknowledged nor put off within this time is delivered again.
const ACK_WAIT: Duration = Duration::from_secs(60);
/// Longest time that handling one command may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The stream and the consumer are looked at this often, beside every connect and failure.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// So often is a command put off that refers to something unknown.
const GRACE: i64 = 2;
/// Longest time that a command is put off.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// How a door works.
#[derive(Debug, Clone)]
pub struct DoorOptions {
    /// How much the stream of commands may hold, where the door has to create it.
    pub bounds: StreamBounds,
    /// Commands handled at the same time.
    pub concurrency: usize,
    /// After this many deliveries a command that still does not work goes to the dead letters. Postgres may be away for
    /// hours before commands get there; whoever ends the process with a command does not get to do so for ever.
    pub most_deliveries: i64,
}

impl Default for DoorOptions {
    fn default() -> Self {
        Self { bounds: StreamBounds::default(), concurrency: 16, most_deliveries: 1_000 }
    }
}

/// Why the door had to open again. Handled inside: the door never gives up.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The stream is not as it should be.
    #[error("the stream of commands cannot be ensured")]
    Stream(#[from] EnsureError),
    /// The consumer cannot be had.
    #[error("the consumer of commands cannot be ensured")]
    Consumer(#[source] Box<dyn Error + Send + Sync>),
    /// The consumer went silent, or is gone.
    #[error("no commands are coming any more")]
    Silent(#[source] Option<Box<dyn Error + Send + Sync>>),
    /// The micro service cannot be offered.
    #[error("the micro service cannot be offered")]
    Service(#[source] Box<dyn Error + Send + Sync>),
}

/// Takes commands from the bus.
pub struct CommandDoor {
    bus: Bus,
    handler: Arc<Handler>,
    options: DoorOptions,
}

/// What handles one command, whichever lane it is in.
struct Handler {
    bus: Bus,
    intake: Intake,
    dead_letters: DeadLetters,
    most_deliveries: i64,
}

impl CommandDoor {
    /// A door from this bus to these handlers.
    pub fn new(bus: Bus, commands: Commands, dead_letters: DeadLetters, options: DoorOptions) -> Self {
        describe_counter!("lablet_door_commands_total", Unit::Count, "Commands from the bus, by name and outcome");
        describe_counter!("lablet_dead_letters_total", Unit::Count, "Messages that went to the dead letters, by kind");
        let handler = Handler {
            bus: bus.clone(),
            intake: Intake::new(commands),
            dead_letters,
            most_deliveries: options.most_deliveries,
        };
        Self { bus, handler: Arc::new(handler), options }
    }

    /// Works until `stop` is cancelled; then finishes what it has begun. What fails is logged and tried again.
    ///
    /// # Errors
    /// None at present; the type leaves room.
    pub async fn run(self, stop: CancellationToken) -> Result<(), DoorError> {
        let requests = tokio::spawn(service::run(
            self.bus.clone(),
            self.handler.intake.clone(),
            self.options.concurrency,
            stop.clone(),
        ));
        let lanes = Lanes::start(self.options.concurrency, &self.handler);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while !stop.is_cancelled() {
            if let Err(error) = self.take(&lanes, &mut backoff, &stop).await {
                tracing::warn!(error = &error as &dyn Error, "the command door opens again");
                tokio::select! {
                    () = tokio::time::sleep(backoff.next_wait()) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
        lanes.finish().await;
        if let Err(error) = requests.await {
            tracing::error!(error = &error as &dyn Error, "the micro service ended badly");
        }
        Ok(())
    }

    /// Takes commands until something is wrong with the stream or its consumer.
    async fn take(&self, lanes: &Lanes, backoff: &mut Backoff, stop: &CancellationToken) -> Result<(), DoorError> {
        let mut connects = self.bus.connects();
        connects.mark_unchanged();
        let consumer = ensure_consumer(&self.bus, &self.options.bounds).await?;
        let silent = |error: Option<Box<dyn Error + Send + Sync>>| DoorError::Silent(error);
        let mut messages = consumer
            .stream()
            .max_messages_per_batch(self.options.concurrency * 2)
            .expires(Duration::from_secs(20))
            // Without it a consumer whose stream was wiped is silent for ever.
            .heartbeat(Duration::from_secs(3))
            .messages()
            .await
            .map_err(|error| silent(Some(Box::new(error))))?;
        tracing::debug!("the command door is open");
        let mut look_again = tokio::time::interval(LOOK_AGAIN);
        look_again.tick().await;
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = connects.changed() => return Ok(()),
                _ = look_again.tick() => {
                    ensure_consumer(&self.bus, &self.options.bounds).await?;
                    continue;
                }
                message = messages.next() => message,
            };
            match message {
                Some(Ok(message)) => {
                    backoff.reset();
                    lanes.put(message).await;
                }
                Some(Err(error)) => return Err(silent(Some(Box::new(error)))),
                None => return Err(silent(None)),
            }
        }
    }
}

/// Makes sure that the stream of commands and the doors' consumer are there.
///
/// # Errors
/// [`DoorError::Stream`], [`DoorError::Consumer`].
pub async fn ensure_consumer(bus: &Bus, bounds: &StreamBounds) -> Result<PullConsumer, DoorError> {
    streams::ensure_commands(bus, bounds).await?;
    let consumer = |error: Box<dyn Error + Send + Sync>| DoorError::Consumer(error);
    let stream =
        bus.jetstream().get_stream_no_info(streams::COMMANDS).await.map_err(|error| consumer(Box::new(error)))?;
    // Reading first: creating an existing consumer would silently change it, and may not be allowed.
    match stream.get_consumer::<pull::Config>(CONSUMER).await {
        Ok(existing) => return Ok(existing),
        Err(error) => {
            match error.downcast_ref::<async_nats::jetstream::stream::ConsumerError>().map(|error| error.kind()) {
                Some(ConsumerErrorKind::JetStream(reason)) if reason.error_code() != ErrorCode::CONSUMER_NOT_FOUND => {
                    return Err(consumer(error));
                }
                _ => {}
            }
        }
    }
    let config = pull::Config {
        durable_name: Some(CONSUMER.to_owned()),
        description: Some("Hands commands to the log".to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        // Without a limit here: past it the server would keep the command, undelivered and unseen. The door has its
        // own limit and writes what passes it to the dead letters.
        max_deliver: -1,
        max_ack_pending: 512,
        filter_subject: subjects::COMMANDS.to_owned(),
        ..pull::Config::default()
    };
    stream.create_consumer(config).await.map_err(|error| consumer(Box::new(error)))
}

/// What becomes of a message.
enum Verdict {
    Done(Answer),
    Never(Rejection),
    Later(Rejection),
}

impl Handler {
    /// Handles one message to its end: acknowledged, terminated or put off.
    async fn handle(&self, message: Message, taken: Result<intake::Taken, Rejection>) {
        let delivered = message.info().map_or(1, |info| info.delivered);
        let name = taken.as_ref().map_or("unknown", |taken| taken.command.name());
        let verdict = match taken {
            Err(rejection) => Verdict::Never(rejection),
            // A command that ended the process again and again must not get another chance to.
            Ok(_) if delivered > self.most_deliveries => Verdict::Never(Rejection::exhausted(delivered)),
            Ok(taken) => match tokio::time::timeout(PATIENCE, self.intake.handle(taken)).await {
                Ok(Ok(answer)) => Verdict::Done(answer),
                Ok(Err(rejection)) if rejection.may_work_later() => Verdict::Later(rejection),
                // What it refers to may be on its way in another lane: a definition and its first session, say.
                Ok(Err(rejection)) if rejection.is_about_something_unknown() && delivered <= GRACE => {
                    Verdict::Later(rejection)
                }
                Ok(Err(rejection)) => Verdict::Never(rejection),
                Err(_) => Verdict::Later(Rejection::timed_out(PATIENCE)),
            },
        };
        let verdict = match verdict {
            Verdict::Later(rejection) if delivered >= self.most_deliveries => Verdict::Never(rejection),
            verdict => verdict,
        };
        match verdict {
            Verdict::Done(answer) => {
                counter!("lablet_door_commands_total", "command" => name, "outcome" => answer.status).increment(1);
                self.settle(&message, AckKind::Ack).await;
                self.reply(&message, serde_json::to_vec(&answer)).await;
            }
            Verdict::Never(rejection) => self.bury(&message, name, &rejection, delivered).await,
            Verdict::Later(rejection) => self.put_off(&message, name, &rejection, delivered).await,
        }
    }

    /// Writes a command that can never work to the dead letters, then terminates it.
    async fn bury(&self, message: &Message, name: &'static str, rejection: &Rejection, delivered: i64) {
        let undeliverable = Undeliverable {
            kind: Kind::Command,
            source: message.subject.as_str(),
            reason: rejection.to_string(),
            aggregate: rejection.about(),
            event: None,
            headers: plain_headers(message.headers.as_ref()),
            payload: &message.payload,
        };
        match self.dead_letters.keep(&undeliverable).await {
            Ok(id) => {
                tracing::warn!(
                    %id,
                    subject = %message.subject,
                    reason = %rejection,
                    "a command went to the dead letters"
                );
                counter!("lablet_door_commands_total", "command" => name, "outcome" => rejection.code()).increment(1);
                counter!("lablet_dead_letters_total", "kind" => "command").increment(1);
                self.settle(message, AckKind::Term).await;
                self.reply(message, serde_json::to_vec(&rejection.answer())).await;
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn Error, "a dead letter was not kept; trying again");
                self.put_off(message, name, rejection, delivered).await;
            }
        }
    }

    async fn put_off(&self, message: &Message, name: &'static str, rejection: &Rejection, delivered: i64) {
        let doublings = u32::try_from(delivered.clamp(1, 10) - 1).unwrap_or(0);
        let delay = (Duration::from_millis(250) * 2_u32.pow(doublings)).min(LONGEST_DELAY);
        tracing::warn!(
            subject = %message.subject,
            reason = %rejection,
            delivered,
            delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            "a command is put off"
        );
        counter!("lablet_door_commands_total", "command" => name, "outcome" => "put_off").increment(1);
        if let Err(error) = message.ack_with(AckKind::Nak(Some(delay))).await {
            tracing::warn!(error = &*error as &dyn Error, "a command could not be put off; it comes again by itself");
        }
    }

    async fn settle(&self, message: &Message, kind: AckKind) {
        if let Err(error) = message.double_ack_with(kind).await {
            // It comes again; its key tells that it took effect.
            tracing::warn!(error = &*error as &dyn Error, subject = %message.subject, "an acknowledgement was not confirmed");
        }
    }

    /// Answers on the subject that the sender named.
    async fn reply(&self, message: &Message, answer: serde_json::Result<Vec<u8>>) {
        let Some(subject) = reply_subject(message) else { return };
        let answer = match answer {
            Ok(answer) => Bytes::from(answer),
            Err(error) => {
                tracing::error!(error = &error as &dyn Error, "an answer cannot be written as JSON");
                return;
            }
        };
        if let Err(error) = self.bus.client().publish(subject, answer).await {
            tracing::warn!(error = &error as &dyn Error, "an answer was not sent");
        }
    }
}

/// Where the sender wants its answer. Only inboxes and reply subjects: the door must not be made to publish elsewhere
/// with its own permissions.
fn reply_subject(message: &Message) -> Option<String> {
    let headers = plain_headers(message.headers.as_ref());
    let (_, subject) = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(subjects::REPLY_TO))?;
    if is_reply_subject(subject) {
        return Some(subject.clone());
    }
    tracing::warn!(%subject, "no answer is sent to this subject; expected _INBOX… or lablet.replies.…");
    None
}

fn is_reply_subject(subject: &str) -> bool {
    let plain = |token: &str| {
        !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'>'))
    };
    let allowed = subject.starts_with("_INBOX") || subject.starts_with("lablet.replies.");
    subject.len() <= 255 && allowed && subject.contains('.') && subject.split('.').all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_go_to_inboxes_only() {
        for good in ["_INBOX.abc.def", "_INBOX_grading.abc", "lablet.replies.grading.7"] {
            assert!(is_reply_subject(good), "{good}");
        }
        let long = format!("_INBOX.{}", "x".repeat(300));
        for bad in [
            "$JS.API.STREAM.DELETE.LABLET_EVENTS",
            "lablet.commands.a.b",
            "_INBOX.>",
            "_INBOX.a b",
            "_INBOX",
            "_INBOX..a",
            "",
            &long,
        ] {
            assert!(!is_reply_subject(bad), "{bad}");
        }
    }
}
