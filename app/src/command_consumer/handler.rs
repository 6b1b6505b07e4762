//! What becomes of one command: acknowledged, delayed, held while the database is unreachable, or a dead letter.

use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use futures_util::FutureExt as _;
use metrics::counter;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use super::acknowledgement::AcknowledgementForm;
use super::decoder::DecodedCommand;
use super::delayed::{DelayedCommands, WaitsFor};
use super::delivery::{self, Delivery};
use super::recovery::InHand;
use super::reply::Reply;
use super::{CommandDecoder, Rejection, TIMEOUT};
use crate::commands::Answer;
use crate::dead_letters::DeadLetters;
use bus::{Backoff, Bus, subjects};

/// Deliveries during which a command that refers to something unknown is delayed.
const GRACE: i64 = 2;
/// Deliveries after which a command that fails for a reason in its aggregate, or in us, goes to the dead letters: with
/// these delays between them that is about a minute.
const DELAYS_OF_INTERNAL: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15), Duration::from_secs(40)];
/// Deliveries after which a command is dead-lettered that the database refuses although it accepts writes.
const MOST_DELIVERIES: i64 = 20;
/// Longest delay of a command.
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Deliveries, not caused by a delay, after which a command is suspected to end its process.
const SUSPECT_AFTER: i64 = 2;
/// Times that a command, handled alone, may end the process before it is dead-lettered.
const MOST_TRIALS: i64 = 3;
/// Retries of a command that fails as if the database were unreachable although the database accepts writes.
const MOST_HELD: u32 = 20;

/// Handles commands for all workers.
pub(super) struct Handler {
    pub(super) bus: Bus,
    pub(super) decoder: CommandDecoder,
    pub(super) dead_letters: DeadLetters,
    pub(super) in_hand: InHand,
    pub(super) delayed: DelayedCommands,
    pub(super) acknowledgements: AcknowledgementForm,
    /// Held for reading by each command, for writing by one that has to be alone.
    alone: RwLock<()>,
    stop: CancellationToken,
}

/// Outcome of one delivery.
enum Disposition {
    Done(Answer),
    Never(Rejection),
    /// Nak with this delay.
    Later(Rejection, WaitsFor, Duration),
    /// The process stops; another one gets the command.
    Stopped,
}

impl Handler {
    pub(super) fn new(bus: Bus, decoder: CommandDecoder, dead_letters: DeadLetters, stop: CancellationToken) -> Self {
        Self {
            bus,
            decoder,
            dead_letters,
            in_hand: InHand::default(),
            delayed: DelayedCommands::default(),
            acknowledgements: AcknowledgementForm::default(),
            alone: RwLock::new(()),
            stop,
        }
    }

    /// Handles one message to its end.
    #[tracing::instrument(
        name = "bus.command",
        skip_all,
        fields(
            command = delivery::name(&decoded),
            subject = %delivery.subject,
            delivered = delivery.delivered,
            traceparent = decoded.as_ref().ok().and_then(|decoded| decoded.origin.traceparent.as_deref()),
        )
    )]
    pub(super) async fn handle(&self, mut delivery: Delivery, decoded: Result<DecodedCommand, Rejection>) {
        delivery.command_id = match &decoded {
            Ok(decoded) => decoded.id().map(str::to_owned),
            Err(rejection) => rejection.command_id().map(str::to_owned),
        };
        let name = delivery::name(&decoded);
        let was_delayed = self.delayed.remove(delivery.sequence);
        let disposition = match decoded {
            Err(rejection) => Disposition::Never(rejection),
            Ok(decoded) if delivery.delivered > SUSPECT_AFTER && !was_delayed => {
                self.try_alone(&delivery, decoded).await
            }
            Ok(decoded) => {
                let _together = self.alone.read().await;
                self.work(&delivery, decoded).await
            }
        };
        match disposition {
            Disposition::Done(answer) => {
                counter!("lablet_command_consumer_commands_total", "command" => name, "outcome" => answer.status)
                    .increment(1);
                delivery.settle(&self.bus, AckKind::Ack).await;
                self.reply(&delivery, Ok(&answer)).await;
            }
            Disposition::Never(rejection) => {
                self.dead_letter(&delivery, name, &rejection).await;
            }
            Disposition::Later(rejection, waits_for, delay) => {
                if self.delayed.admit(delivery.sequence, waits_for, delay) {
                    self.nak(&delivery, name, &rejection, delay).await;
                } else {
                    self.dead_letter(&delivery, name, &rejection.among_many()).await;
                }
            }
            Disposition::Stopped => delivery.nak(&self.bus, Duration::ZERO).await,
        }
        self.in_hand.release(delivery.sequence);
    }

    /// Handles a command that may have ended a process: nothing else is handled meanwhile, and what was begun and never
    /// ended is counted in the database.
    async fn try_alone(&self, delivery: &Delivery, decoded: DecodedCommand) -> Disposition {
        let _alone = self.alone.write().await;
        let unfinished = Rejection::unfinished(delivery.delivered);
        let trial = delivery.undeliverable(&unfinished);
        let mut backoff = hold_backoff();
        let begun = loop {
            match self.dead_letters.begin_trial(&trial).await {
                Ok(begun) => break begun,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn Error, "database unreachable, command waits");
                    if !self.hold(delivery, &mut backoff).await {
                        return Disposition::Stopped;
                    }
                }
            }
        };
        let disposition = if begun >= MOST_TRIALS {
            Disposition::Never(Rejection::ended_the_process(begun))
        } else {
            tracing::warn!(
                subject = %delivery.subject,
                delivered = delivery.delivered,
                "command was delivered repeatedly, handled alone"
            );
            self.work(delivery, decoded).await
        };
        if let Err(error) = self.dead_letters.end_trial(&trial).await {
            tracing::warn!(error = &error as &dyn Error, "end of a trial not recorded");
        }
        disposition
    }

    /// Tries a command until its outcome is decided. While the database is unreachable it stays in hand, so that
    /// nothing more is decoded than can be worked on.
    async fn work(&self, delivery: &Delivery, decoded: DecodedCommand) -> Disposition {
        let mut backoff = hold_backoff();
        let mut next = Some(decoded);
        let mut held = 0;
        loop {
            let decoded = match next.take() {
                Some(decoded) => Ok(decoded),
                None => delivery.decode(),
            };
            let rejection = match decoded {
                Err(rejection) => return Disposition::Never(rejection),
                Ok(decoded) => match self.attempt(decoded).await {
                    Ok(answer) => return Disposition::Done(answer),
                    Err(rejection) => rejection,
                },
            };
            if !rejection.may_work_later() {
                return grace(delivery, rejection);
            }
            let is_away = !self.dead_letters.is_writable().await;
            if !is_away && (!rejection.is_about_the_database() || held >= MOST_HELD) {
                return later(delivery, rejection);
            }
            held = if is_away { 0 } else { held + 1 };
            tracing::warn!(error = &rejection as &dyn Error, "database unreachable, command waits");
            if !self.hold(delivery, &mut backoff).await {
                return Disposition::Stopped;
            }
        }
    }

    async fn attempt(&self, decoded: DecodedCommand) -> Result<Answer, Rejection> {
        let handled = AssertUnwindSafe(self.decoder.handle(decoded)).catch_unwind();
        match tokio::time::timeout(TIMEOUT, handled).await {
            Ok(Ok(handled)) => handled,
            Ok(Err(_)) => Err(Rejection::panicked()),
            Err(_) => Err(Rejection::timed_out(TIMEOUT)),
        }
    }

    /// Waits while keeping the command; `false`: the process stops.
    async fn hold(&self, delivery: &Delivery, backoff: &mut Backoff) -> bool {
        counter!("lablet_command_consumer_held_total").increment(1);
        delivery.in_progress(&self.bus).await;
        tokio::select! {
            () = tokio::time::sleep(backoff.next_wait()) => true,
            () = self.stop.cancelled() => false,
        }
    }

    /// Writes a command that can never work to the dead letters, then terminates it. Returns whether it is stored there.
    pub(super) async fn dead_letter(&self, delivery: &Delivery, name: &'static str, rejection: &Rejection) -> bool {
        let mut undeliverable = delivery.undeliverable(rejection);
        if let Some(refused) = refused_reply_subject(delivery) {
            undeliverable.reason.push_str(&format!("; no reply was sent: {refused}"));
        }
        let mut backoff = hold_backoff();
        loop {
            match self.dead_letters.keep(&undeliverable).await {
                Ok(id) => {
                    tracing::warn!(%id, subject = %delivery.subject, reason = %rejection, "command dead-lettered");
                    break;
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn Error, "dead letter not written, retrying");
                    if !self.hold(delivery, &mut backoff).await {
                        delivery.nak(&self.bus, Duration::ZERO).await;
                        return false;
                    }
                }
            }
        }
        counter!("lablet_command_consumer_commands_total", "command" => name, "outcome" => rejection.code())
            .increment(1);
        counter!("lablet_dead_letters_total", "kind" => "command").increment(1);
        delivery.settle(&self.bus, AckKind::Term).await;
        self.reply(delivery, Err(rejection)).await;
        true
    }

    async fn nak(&self, delivery: &Delivery, name: &'static str, rejection: &Rejection, delay: Duration) {
        tracing::warn!(
            subject = %delivery.subject,
            reason = %rejection,
            delivered = delivery.delivered,
            delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            "command delayed"
        );
        counter!("lablet_command_consumer_commands_total", "command" => name, "outcome" => "delayed").increment(1);
        delivery.nak(&self.bus, delay).await;
    }

    /// Publishes the reply to the subject that the sender named.
    async fn reply(&self, delivery: &Delivery, handled: Result<&Answer, &Rejection>) {
        let Some(subject) = delivery.header(subjects::REPLY_TO) else { return };
        if let Some(refused) = refused_reply_subject(delivery) {
            counter!("lablet_command_consumer_replies_refused_total").increment(1);
            tracing::warn!(
                reason = %refused, subject = %delivery.subject, command.id = delivery.command_id, "reply not sent"
            );
            return;
        }
        let Reply { headers, body } = match Reply::new(handled, delivery.command_id.as_deref()) {
            Ok(reply) => reply,
            Err(error) => {
                tracing::error!(error = &error as &dyn Error, "answer cannot be written as JSON");
                return;
            }
        };
        if let Err(error) = self.bus.client().publish_with_headers(subject, headers, body).await {
            tracing::warn!(error = &error as &dyn Error, "answer not sent");
        }
    }
}

fn hold_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(250), Duration::from_secs(10))
}

/// Delays a command that refers to something unknown: another worker may be creating it, e.g. the definition of a first
/// session.
fn grace(delivery: &Delivery, rejection: Rejection) -> Disposition {
    if rejection.is_about_something_unknown() && delivery.delivered <= GRACE {
        let team = subjects::team(&delivery.subject).unwrap_or_default().to_owned();
        return Disposition::Later(rejection, WaitsFor::Team(team), doubled(delivery.delivered));
    }
    Disposition::Never(rejection)
}

/// Delays a command that fails while others succeed, within few tries and little room.
fn later(delivery: &Delivery, rejection: Rejection) -> Disposition {
    let delay = if rejection.is_internal() {
        let tries = usize::try_from(delivery.delivered - 1).unwrap_or(0);
        DELAYS_OF_INTERNAL.get(tries).copied()
    } else {
        (delivery.delivered < MOST_DELIVERIES).then(|| doubled(delivery.delivered))
    };
    let Some(delay) = delay else { return Disposition::Never(rejection) };
    let (what, id) = rejection.about().unwrap_or(("", ""));
    let waits_for = WaitsFor::Aggregate(what.to_owned(), id.to_owned());
    Disposition::Later(rejection, waits_for, delay)
}

fn doubled(delivered: i64) -> Duration {
    let doublings = u32::try_from(delivered.clamp(1, 10) - 1).unwrap_or(0);
    (Duration::from_millis(250) * 2_u32.pow(doublings)).min(LONGEST_DELAY)
}

/// Why no reply goes where the sender wants it; `None`: one may, or none is wanted.
fn refused_reply_subject(delivery: &Delivery) -> Option<String> {
    let subject = delivery.header(subjects::REPLY_TO)?;
    let shown: String = subject.chars().take(80).collect();
    let name = subjects::REPLY_TO;
    (!is_reply_subject(&subject)).then(|| format!("{name} is {shown:?}, expected _INBOX… or lablet.replies.…"))
}

/// Only inboxes and reply subjects: nobody must be able to have something published elsewhere with our permissions.
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
