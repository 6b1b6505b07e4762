//! What the controller reports: commands as CloudEvents on the bus.
//!
//! Their ids are derived, so that a command that is sent twice, or by two controllers, is recorded once.

use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::context::PublishErrorKind;
use bus::{Bus, StreamBounds, cloud_event, streams, subjects};
use cloudevents::EventBuilder as _;
use cloudevents::event::EventBuilderV10;
use domain::lablet_session::{FailureOutcome, ObservationFailure, ObservationReport, SessionStatus, Transition};
use domain::observation::ResourceObservation;
use domain::text::Prose;
use domain::{RequestId, SessionId};
use futures_util::StreamExt as _;
use serde::de::Error as _;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::gateway::{Gateway, GatewayError};
use crate::plan::derived;

/// The team in the subjects of the controller's commands.
pub const TEAM: &str = "controller";
/// The source of the controller's CloudEvents.
pub const SOURCE: &str = "/lablet/controller";
/// Left of a message for headers and subject.
const ROOM_FOR_HEADERS: usize = 1_024;
/// How long the command consumer's reply is awaited. Without it the outcome is looked up later.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// A command to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    command: &'static str,
    id: Uuid,
    session: SessionId,
    data: Value,
    correlation: Option<String>,
    traceparent: Option<String>,
}

/// What became of a command that reached the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandOutcome {
    /// It is in the log, by this or an earlier sending.
    Recorded,
    /// Permanently rejected.
    Rejected {
        /// A short name, e.g. `refused`, `invalid`, `key_reused`.
        code: String,
        /// In words.
        reason: String,
    },
    /// It waits on the bus, or it was handled and the answer was lost.
    Unknown,
}

/// A command that did not reach the bus, or may not have. To be sent again with the same id.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It cannot be written.
    #[error("the command cannot be written as a CloudEvent")]
    Unwritable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The bus did not confirm it.
    #[error("the bus did not confirm the command")]
    Bus(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is too large for the bus, and the gateway did not take it.
    #[error("the command is too large for a message, and: {0}")]
    Gateway(GatewayError),
}

impl Report {
    /// What was seen, in answer to a request.
    ///
    /// # Errors
    /// serde_json's, when the observation cannot be JSON.
    pub fn observation(
        session: &SessionId,
        request: &RequestId,
        observed_resources: ResourceObservation,
    ) -> Result<Self, serde_json::Error> {
        let observed_ports = observed_resources.observed_ports.clone();
        let report = ObservationReport { observed_resources, observed_ports, request_id: Some(request.clone()) };
        Ok(Self {
            command: "record_resource_observation",
            id: derived("observation", &[request.as_str()]),
            session: session.clone(),
            data: serde_json::to_value(report)?,
            correlation: None,
            traceparent: None,
        })
    }

    /// Why nothing was seen, in answer to a request.
    ///
    /// # Errors
    /// serde_json's, which a text does not cause.
    pub fn failure(
        session: &SessionId,
        request: &RequestId,
        outcome: FailureOutcome,
        reason: &str,
    ) -> Result<Self, serde_json::Error> {
        let reason = Prose::cleaned(reason).map_err(serde_json::Error::custom)?;
        let failure = ObservationFailure { request_id: Some(request.clone()), outcome, reason };
        Ok(Self {
            command: "record_observation_failure",
            // The reason belongs to the id: one that differs is another command, of which the log takes the first.
            id: derived("observation failure", &[request.as_str(), failure.reason.as_str()]),
            session: session.clone(),
            data: serde_json::to_value(failure)?,
            correlation: None,
            traceparent: None,
        })
    }

    /// Asks for the observation at the end of a timeslot.
    pub fn request_observation(session: &SessionId, request: &RequestId, id: Uuid) -> Self {
        Self {
            command: "request_resource_observation",
            id,
            session: session.clone(),
            data: json!({"request_id": request, "requested_by": "timeslot end"}),
            correlation: None,
            traceparent: None,
        }
    }

    /// Moves a session on to `collecting`.
    ///
    /// # Errors
    /// serde_json's, which a status does not cause.
    pub fn move_on(session: &SessionId, id: Uuid) -> Result<Self, serde_json::Error> {
        let reason = Prose::parse("its timeslot is over").map_err(serde_json::Error::custom)?;
        let transition = Transition { reason: Some(reason), ..Transition::to(SessionStatus::Collecting) };
        Ok(Self {
            command: "transition_lablet_session",
            id,
            session: session.clone(),
            data: serde_json::to_value(transition)?,
            correlation: None,
            traceparent: None,
        })
    }

    /// Names the undertaking that the command belongs to.
    #[must_use]
    pub fn part_of(mut self, correlation_id: &str) -> Self {
        self.correlation = Some(correlation_id.to_owned());
        self
    }

    /// Names the trace that the command belongs to, as W3C Trace Context writes it.
    #[must_use]
    pub fn in_trace(mut self, traceparent: Option<&str>) -> Self {
        self.traceparent = traceparent.map(str::to_owned);
        self
    }

    /// The command's name, e.g. `record_resource_observation`.
    pub fn command(&self) -> &'static str {
        self.command
    }

    /// Whether it reports an observation, not a failure.
    pub fn is_observation(&self) -> bool {
        self.command == "record_resource_observation"
    }
}

/// Sends commands. Cloning shares the connection.
#[derive(Debug, Clone)]
pub struct Sender {
    bus: Bus,
    gateway: Gateway,
    bounds: StreamBounds,
    largest: usize,
}

impl Sender {
    /// Sends over `bus`, and over `gateway` an observation of more than `largest` bytes, or than the bus takes.
    pub fn new(bus: Bus, gateway: Gateway, bounds: StreamBounds, largest: usize) -> Self {
        Self { bus, gateway, bounds, largest }
    }

    /// Sends a command and waits, bounded, for what became of it.
    ///
    /// # Errors
    /// [`SendError`]; sending it again is always right.
    #[tracing::instrument(name = "controller.report", skip_all, fields(
        session.id = %report.session, command = report.command, traceparent = report.traceparent
    ))]
    pub async fn send(&self, report: &Report) -> Result<CommandOutcome, SendError> {
        let unwritable = |error: Box<dyn std::error::Error + Send + Sync>| SendError::Unwritable(error);
        let mut builder = EventBuilderV10::new()
            .id(report.id.to_string())
            .source(SOURCE)
            .ty(format!("io.lablet.command.{}.v1", report.command))
            .subject(report.session.as_str())
            .data("application/json", report.data.clone());
        if let Some(correlation) = &report.correlation {
            builder = builder.extension("correlationid", correlation.clone());
        }
        if let Some(traceparent) = bus::trace::current().or_else(|| report.traceparent.clone()) {
            builder = builder.extension(bus::trace::TRACEPARENT, traceparent);
        }
        let event = builder.build().map_err(|error| unwritable(error.into()))?;
        let (mut headers, payload) = cloud_event::structured(&event).map_err(|error| unwritable(error.into()))?;

        let room = match self.bus.client().server_info().max_payload {
            // Not connected yet.
            0 => self.largest,
            most => most.min(self.largest),
        };
        if payload.len() + ROOM_FOR_HEADERS > room && report.is_observation() {
            return self.send_over_http(report).await;
        }
        let reply_to = self.bus.client().new_inbox();
        let mut replies =
            self.bus.client().subscribe(reply_to.clone()).await.map_err(|error| SendError::Bus(error.into()))?;
        headers.insert(NATS_MESSAGE_ID, report.id.to_string());
        headers.insert(subjects::REPLY_TO, reply_to);
        let subject = subjects::command(TEAM, report.command);
        let sent = async { self.bus.jetstream().publish_with_headers(subject, headers, payload).await?.await };
        match sent.await {
            Ok(confirmed) if confirmed.duplicate => {
                tracing::debug!("command already on the bus");
            }
            Ok(_) => {}
            Err(error) => {
                if error.kind() == PublishErrorKind::StreamNotFound {
                    // The store was lost. The stream is made again here too: nobody else may be left to do it.
                    streams::ensure_commands(&self.bus, &self.bounds)
                        .await
                        .map_err(|error| SendError::Bus(error.into()))?;
                }
                return Err(SendError::Bus(error.into()));
            }
        }
        match tokio::time::timeout(REPLY_TIMEOUT, replies.next()).await {
            Ok(Some(answer)) => Ok(outcome_from_reply(&answer.payload)),
            Ok(None) | Err(_) => Ok(CommandOutcome::Unknown),
        }
    }

    async fn send_over_http(&self, report: &Report) -> Result<CommandOutcome, SendError> {
        match self.gateway.record_observation(&report.session, &report.id.to_string(), &report.data).await {
            Ok(_) => Ok(CommandOutcome::Recorded),
            Err(GatewayError::Refused { status, detail }) => {
                Ok(CommandOutcome::Rejected { code: format!("http_{status}"), reason: detail })
            }
            Err(error) => Err(SendError::Gateway(error)),
        }
    }
}

/// Reads the command consumer's reply: `{"status": "recorded" | "already_done" | "repeated", …}`, or
/// `{"status": "refused", "error": {"code", "message"}}`. What cannot be read says nothing.
fn outcome_from_reply(payload: &[u8]) -> CommandOutcome {
    let Ok(answer) = serde_json::from_slice::<Value>(payload) else { return CommandOutcome::Unknown };
    match answer.get("status").and_then(Value::as_str) {
        Some("recorded" | "already_done" | "repeated") => CommandOutcome::Recorded,
        Some("refused") => {
            let text = |name: &str| {
                answer
                    .get("error")
                    .and_then(|error| error.get(name))
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            match text("code").as_str() {
                // The consumer gave up for reasons of its own; sent again, it may work.
                "unavailable" | "broken" | "timed_out" | "exhausted" => CommandOutcome::Unknown,
                code => CommandOutcome::Rejected { code: code.to_owned(), reason: text("message") },
            }
        }
        _ => CommandOutcome::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_cannot_be_read_says_nothing() {
        assert_eq!(outcome_from_reply(br#"{"status": "already_done", "sequence": 3}"#), CommandOutcome::Recorded);
        let refused = outcome_from_reply(br#"{"status": "refused", "error": {"code": "refused", "message": "no"}}"#);
        assert_eq!(refused, CommandOutcome::Rejected { code: "refused".into(), reason: "no".into() });
        for silent in ["", "null", "{}", "[]", r#"{"status": 1}"#, r#"{"status": "received"}"#] {
            assert_eq!(outcome_from_reply(silent.as_bytes()), CommandOutcome::Unknown, "{silent}");
        }
    }

    #[test]
    fn the_same_thing_said_twice_has_one_id_and_another_reason_another() {
        let (session, request) = (SessionId::parse("s").unwrap(), RequestId::parse("r").unwrap());
        let failure = |reason: &str| Report::failure(&session, &request, FailureOutcome::Failed, reason).unwrap();
        assert_eq!(failure("a").id, failure("a").id);
        assert_ne!(failure("a").id, failure("b").id);
        let seen = |observer: &str| {
            let observation =
                ResourceObservation { observer: Some(observer.parse().unwrap()), ..ResourceObservation::unknown() };
            Report::observation(&session, &request, observation).unwrap()
        };
        assert_eq!(seen("one").id, seen("other").id, "of two observations for one request the log takes one");
        assert_eq!(failure("\u{0}x").data["reason"], "\u{fffd}x");
    }
}
