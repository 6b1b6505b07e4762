//! The command consumer: takes commands from the bus and hands them to the same handlers as HTTP does.
//!
//! A command exists only on the bus until it is handled, so it is acknowledged after it is in the log, and the
//! acknowledgement is confirmed. One that can never work goes to the dead letters with its reason and is terminated.
//! While the database is unreachable commands stay in hand, and no more are decoded. One that fails for a reason of its own is
//! delayed a few times, within a small room, and then goes to the dead letters as well.
//!
//! What others send must not end a connection that something else rests on: the consumer and the micro service have
//! connections of their own, which are made anew when they break.
//!
//! What senders may rely on: a command takes effect once, however often it is sent with the same source and id.
//! Commands about the same thing that reach one process are handled one after another in the stream's order, as long as
//! none of them has to be delayed; nothing is promised about the order across things, across processes, or after a delay.

mod acknowledgement;
mod aggregate_workers;
mod byte_bound;
mod decoder;
mod delayed;
mod delivery;
mod handler;
mod raw_message;
mod recovery;
mod reply;
mod retry;
mod service;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use futures_util::StreamExt as _;
use metrics::{Unit, counter, describe_counter};
use tokio::sync::AcquireError;
use tokio_util::sync::CancellationToken;

use self::aggregate_workers::AggregateWorkers;
use self::byte_bound::ByteBound;
pub use self::decoder::{CommandDecoder, Rejection};
use self::delivery::Delivery;
use self::handler::Handler;
pub use self::raw_message::RawMessageError;
use self::recovery::{Recovery, RecoveryOutcome};
pub use self::reply::{CommandReply, ReplyError, ReplyFieldError, ReplyStatus};
pub use self::retry::{RetryError, retry};
use crate::commands::Commands;
use crate::dead_letters::DeadLetters;
use crate::notice::PublicUrl;
use bus::connect::{BusError, REQUEST_TIMEOUT};
use bus::streams::{EnsureError, StreamBounds};
use bus::{Backoff, Bus, streams, subjects};

/// The durable consumer that all processes share.
pub const CONSUMER: &str = "lablet_commands";
/// Former name of the durable consumer. The stream refuses two consumers of the same subjects.
const FORMER_CONSUMER: &str = "lablet_door";
/// Most bytes of one request for commands: the server refuses one that the largest command would not fit in.
const REQUESTED_BYTES: usize = 2 * streams::LARGEST_COMMAND;
/// Most bytes of commands that wait for their worker or are being handled.
const BYTES_IN_HAND: usize = 4 * streams::LARGEST_COMMAND;
/// A command that is neither acknowledged nor delayed within this time is delivered again.
const ACK_WAIT: Duration = Duration::from_secs(60);
/// Longest time that handling one command may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Interval of checks of the stream and the consumer, beside every connect and failure.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Interval of sweeps of dead letters.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Settings of the command consumer.
#[derive(Debug, Clone)]
pub struct CommandConsumerOptions {
    /// How much the stream of commands may hold, where it has to be created.
    pub bounds: StreamBounds,
    /// Commands handled at the same time.
    pub concurrency: usize,
    /// Where the gateway is, which has the schemas that the micro service names.
    pub public_url: PublicUrl,
}

impl Default for CommandConsumerOptions {
    fn default() -> Self {
        Self { bounds: StreamBounds::default(), concurrency: 16, public_url: PublicUrl::default() }
    }
}

/// Why the consumer has to restart; [`CommandConsumer::run`] handles it and never gives up.
#[derive(Debug, thiserror::Error)]
pub enum CommandConsumerError {
    /// The stream is not as it should be.
    #[error("the stream of commands cannot be ensured")]
    Stream(#[from] EnsureError),
    /// The consumer could not be created or read.
    #[error("the consumer of commands cannot be ensured")]
    Consumer(#[source] Box<dyn Error + Send + Sync>),
    /// The consumer sends no heartbeats, or was deleted.
    #[error("no commands are coming any more")]
    Silent(#[source] Option<Box<dyn Error + Send + Sync>>),
    /// The consumer's own connection could not be made.
    #[error("there is no connection for commands")]
    Connection(#[from] BusError),
    /// The connection ended while commands were awaited on it.
    #[error(
        "the connection for {what} was lost; where that goes on, a message that the client cannot read may be the cause"
    )]
    Broken {
        /// `commands` or `requests`.
        what: &'static str,
    },
    /// Commands that were delivered and never arrived cannot be read from the stream.
    #[error("outstanding commands cannot be looked at; the user needs $JS.API.STREAM.MSG.GET.LABLET_COMMANDS")]
    Recovery(#[source] RawMessageError),
    /// The micro service cannot be offered.
    #[error("the micro service cannot be offered")]
    Service(#[source] Box<dyn Error + Send + Sync>),
}

/// Takes commands from the bus.
pub struct CommandConsumer {
    bus: Bus,
    commands: Commands,
    dead_letters: DeadLetters,
    options: CommandConsumerOptions,
}

impl CommandConsumer {
    /// A consumer from this bus to these handlers.
    pub fn new(bus: Bus, commands: Commands, dead_letters: DeadLetters, options: CommandConsumerOptions) -> Self {
        describe_counter!(
            "lablet_command_consumer_commands_total",
            Unit::Count,
            "Commands from the bus, by name and outcome"
        );
        describe_counter!(
            "lablet_command_consumer_held_total",
            Unit::Count,
            "Waits of a command for a database that is away"
        );
        describe_counter!(
            "lablet_command_consumer_unreadable_total",
            Unit::Count,
            "Messages that the client cannot read"
        );
        describe_counter!(
            "lablet_command_consumer_replies_refused_total",
            Unit::Count,
            "Replies that were not sent, as their subject is not allowed"
        );
        describe_counter!("lablet_dead_letters_total", Unit::Count, "Messages that went to the dead letters, by kind");
        describe_counter!(
            "lablet_dead_letters_without_message_total",
            Unit::Count,
            "Dead letters that were kept without their message for lack of room"
        );
        describe_counter!(
            "lablet_dead_letters_overflowed_total",
            Unit::Count,
            "Commands that were only counted, as there was no room for more dead letters"
        );
        describe_counter!(
            "lablet_dead_letters_expired_total",
            Unit::Count,
            "Dead letters that were discarded, as nobody decided about them in their time"
        );
        // There from the start: of a counter that begins at 1, nobody sees the increase.
        counter!("lablet_dead_letters_without_message_total").increment(0);
        counter!("lablet_dead_letters_overflowed_total").increment(0);
        counter!("lablet_dead_letters_expired_total").increment(0);
        Self { bus, commands, dead_letters, options }
    }

    /// Runs until `stop` is cancelled, then finishes the commands in hand. Failures are logged and retried.
    pub async fn run(self, stop: CancellationToken) {
        let decoder = CommandDecoder::new(self.commands.clone());
        let requests =
            tokio::spawn(service::run(self.bus.clone(), decoder.clone(), self.options.clone(), stop.clone()));
        let sweeper = tokio::spawn(sweep(self.dead_letters.clone(), stop.clone()));
        let handler = Arc::new(Handler::new(self.bus.clone(), decoder, self.dead_letters.clone(), stop.clone()));
        let workers = AggregateWorkers::start(self.options.concurrency, &handler);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut after_break = false;
        while !stop.is_cancelled() {
            if let Err(error) = self.take(&handler, &workers, &mut backoff, after_break, &stop).await {
                tracing::warn!(error = &error as &dyn Error, "command consumer starts again");
                tokio::select! {
                    () = tokio::time::sleep(backoff.next_wait()) => {}
                    () = stop.cancelled() => {}
                }
                after_break = true;
            }
        }
        workers.finish().await;
        for (name, task) in [("micro service", requests), ("sweeper of dead letters", sweeper)] {
            if let Err(error) = task.await {
                tracing::error!(
                    task = name,
                    error = &error as &dyn Error,
                    "task of the command consumer ended with an error"
                );
            }
        }
    }

    /// Takes commands until something is wrong with the connection, the stream or its consumer.
    async fn take(
        &self,
        handler: &Handler,
        workers: &AggregateWorkers,
        backoff: &mut Backoff,
        after_break: bool,
        stop: &CancellationToken,
    ) -> Result<(), CommandConsumerError> {
        let bus = self.bus.another("commands").await?;
        bus.connected(REQUEST_TIMEOUT).await?;
        let mut connects = bus.connects();
        connects.mark_unchanged();
        let consumer = ensure_consumer(&bus, &self.options.bounds).await?;
        let mut recovery = Recovery::default();
        if recover(&mut recovery, handler, after_break).await?.unreadable > 0 {
            // The unreadable messages that broke the connection are dead-lettered now.
            backoff.reset();
        }
        let silent = |error: Option<Box<dyn Error + Send + Sync>>| CommandConsumerError::Silent(error);
        let mut messages = consumer
            .stream()
            .max_messages_per_batch(self.options.concurrency * 2)
            .max_bytes_per_batch(REQUESTED_BYTES)
            .expires(Duration::from_secs(20))
            // Without a heartbeat, a consumer whose stream was wiped stays silent for ever.
            .heartbeat(Duration::from_secs(3))
            .messages()
            .await
            .map_err(|error| silent(Some(Box::new(error))))?;
        tracing::debug!("commands are decoded");
        let room = ByteBound::new(BYTES_IN_HAND);
        let mut look_again = tokio::time::interval(LOOK_AGAIN);
        look_again.tick().await;
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = connects.changed() => return Err(CommandConsumerError::Broken { what: "commands" }),
                _ = look_again.tick() => {
                    ensure_consumer(&bus, &self.options.bounds).await?;
                    recover(&mut recovery, handler, false).await?;
                    continue;
                }
                message = messages.next() => message,
            };
            match message {
                Some(Ok(message)) => {
                    backoff.reset();
                    let bytes = message.length;
                    let mut delivery = Delivery::from_message(message)?;
                    handler.acknowledgements.adopt(&delivery.acknowledgements);
                    handler.in_hand.take(delivery.sequence);
                    let put = async {
                        delivery.room = Some(room.reserve(bytes).await?);
                        workers.put(delivery).await;
                        Ok(())
                    };
                    tokio::select! {
                        put = put => put.map_err(|error: AcquireError| silent(Some(Box::new(error))))?,
                        () = stop.cancelled() => return Ok(()),
                    }
                }
                Some(Err(error)) => return Err(silent(Some(Box::new(error)))),
                None => return Err(silent(None)),
            }
        }
    }
}

async fn recover(
    recovery: &mut Recovery,
    handler: &Handler,
    after_break: bool,
) -> Result<RecoveryOutcome, CommandConsumerError> {
    let found = recovery.run(handler, after_break).await?;
    if found.unreadable > 0 {
        counter!("lablet_command_consumer_unreadable_total").increment(found.unreadable as u64);
    }
    if found != RecoveryOutcome::default() {
        tracing::warn!(unreadable = found.unreadable, redelivered = found.redelivered, "outstanding commands examined");
    }
    Ok(found)
}

/// Removes dead letters after their time, until `stop` is cancelled.
async fn sweep(dead_letters: DeadLetters, stop: CancellationToken) {
    let mut every = tokio::time::interval(SWEEP_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        match dead_letters.sweep().await {
            Ok(swept) => {
                if swept.expired > 0 {
                    counter!("lablet_dead_letters_expired_total").increment(swept.expired);
                    tracing::error!(count = swept.expired, "dead letters expired undecided, discarded");
                }
                if swept.removed > 0 {
                    tracing::info!(count = swept.removed, "settled dead letters removed");
                }
            }
            Err(error) => tracing::warn!(error = &error as &dyn Error, "sweep of dead letters failed"),
        }
    }
}

/// Makes sure that the stream of commands and the shared consumer are there.
///
/// # Errors
/// [`CommandConsumerError::Stream`], [`CommandConsumerError::Consumer`].
pub async fn ensure_consumer(bus: &Bus, bounds: &StreamBounds) -> Result<PullConsumer, CommandConsumerError> {
    streams::ensure_commands(bus, bounds).await?;
    let wanted = consumer_config();
    let unavailable = |error| CommandConsumerError::Consumer(Box::new(error));
    match bus.ensure_consumer(streams::COMMANDS, &wanted).await {
        Ok(consumer) => Ok(consumer),
        Err(error) => {
            if !remove_former_consumer(bus).await {
                return Err(unavailable(error));
            }
            bus.ensure_consumer(streams::COMMANDS, &wanted).await.map_err(unavailable)
        }
    }
}

/// Removes the consumer of an earlier release, if there is one. What it had delivered is delivered again by its
/// successor: a command that took effect is known by its key.
async fn remove_former_consumer(bus: &Bus) -> bool {
    let Ok(stream) = bus.jetstream().get_stream_no_info(streams::COMMANDS).await else { return false };
    match stream.delete_consumer(FORMER_CONSUMER).await {
        Ok(_) => {
            tracing::warn!(consumer = FORMER_CONSUMER, "consumer of an earlier release removed");
            true
        }
        Err(error) => {
            tracing::debug!(error = &error as &dyn Error, consumer = FORMER_CONSUMER, "no former consumer removed");
            false
        }
    }
}

/// The configuration of the shared consumer, for whoever may create it.
pub fn consumer_config() -> pull::Config {
    pull::Config {
        durable_name: Some(CONSUMER.to_owned()),
        description: Some("Hands commands to the log".to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        // No limit: beyond it the server would keep the command without delivering it. The handler has its own limit and
        // dead-letters what exceeds it.
        max_deliver: -1,
        max_ack_pending: 512,
        filter_subject: subjects::COMMANDS.to_owned(),
        ..pull::Config::default()
    }
}
