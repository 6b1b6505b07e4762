//! Decodes messages into commands and handles them; shared by the stream, the micro service and retries.

use std::borrow::Cow;
use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use cloudevents::{AttributesReader as _, Event};
use domain::Invalid;
use serde_json::{Value, json};

use crate::authority::Sender;
use crate::body::{self, Handling, InvalidBody, UnknownMembers};
use crate::command::Command;
use crate::commands::{Answer, CommandError, Commands, ErrorClass, ErrorCode};
use crate::log::{DedupeKey, Origin};
use crate::warning::Warning;
use bus::cloud_event::{self, NotAnEvent};
use bus::{streams, subjects};

/// A command that did not take effect, with its reason.
#[derive(Debug)]
pub struct Rejection {
    reason: Box<RejectionReason>,
    about: Option<(&'static str, String)>,
    /// The id of the message's CloudEvent, where it is one.
    command_id: Option<String>,
    /// Warnings about unused members: a misspelt name may be the reason of the rejection.
    warnings: Vec<Warning>,
}

#[derive(Debug)]
enum RejectionReason {
    Subject,
    NotAnEvent(NotAnEvent),
    OtherType { expected: String, got: String },
    Invalid(InvalidBody),
    Command(CommandError),
    TimedOut(Duration),
    Unreadable(String),
    Panicked,
    Unfinished(i64),
    EndedTheProcess(i64),
    AmongMany(Box<Rejection>),
}

/// A command decoded from a message.
#[derive(Debug, Clone)]
pub struct DecodedCommand {
    /// The command.
    pub command: Command,
    /// Where it comes from, with the key under which it takes effect once.
    pub origin: Origin,
    /// Members of its data that were not used.
    pub(crate) unknown: UnknownMembers,
    /// Whether its sender wants it refused for unknown members.
    pub handling: Handling,
}

/// The extension attribute by which a sender has unknown members refused: `strict`, as in HTTP's `Prefer: handling=strict`.
const HANDLING: &str = "handling";

/// Decodes and handles commands.
#[derive(Clone)]
pub struct CommandDecoder {
    commands: Commands,
}

impl CommandDecoder {
    /// A decoder for these handlers.
    pub fn new(commands: Commands) -> Self {
        Self { commands }
    }

    /// Decodes a message.
    ///
    /// # Errors
    /// [`Rejection`]; the same message never succeeds.
    pub fn take(subject: &str, headers: Option<&HeaderMap>, payload: &[u8]) -> Result<DecodedCommand, Rejection> {
        let (team, name) = subjects::sender(subject).ok_or(RejectionReason::Subject)?;
        let event =
            cloud_event::read(headers, payload, streams::LARGEST_COMMAND).map_err(RejectionReason::NotAnEvent)?;
        let decoded = Self::decode(team, name, &event, headers, payload);
        decoded.map_err(|reason| Rejection { command_id: Some(event.id().to_owned()), ..reason.into() })
    }

    fn decode(
        team: &str,
        name: &str,
        event: &Event,
        headers: Option<&HeaderMap>,
        payload: &[u8],
    ) -> Result<DecodedCommand, RejectionReason> {
        let expected = Command::event_type(name);
        if !Command::NAMES.contains(&name) || event.ty() != expected {
            let known = Command::NAMES.contains(&name);
            let expected = if known { expected } else { format!("one of {}", Command::NAMES.join(", ")) };
            let got = if known {
                format!("the event's type is {}", event.ty())
            } else {
                format!("the subject's command is {name}")
            };
            return Err(RejectionReason::OtherType { expected, got });
        }
        let data = cloud_event::json_data(event).map_err(RejectionReason::NotAnEvent)?;
        let origin = origin(team, event, &data, headers);
        // A tree has each name once: which of two was meant, only the bytes can tell.
        body::check_json_of(payload).map_err(|refused| RejectionReason::Invalid(refused.relative_to("data")))?;
        let command = Command::parse(name, event.subject(), data).map_err(RejectionReason::Invalid)?;
        let strict = cloud_event::extension(event, HANDLING).is_some_and(|handling| handling == "strict");
        let handling = Handling::default().or_strict(strict);
        Ok(DecodedCommand { command: command.value, origin, unknown: command.unknown, handling })
    }

    /// Handles a command.
    ///
    /// # Errors
    /// [`Rejection`], which says whether the same command may work later.
    pub async fn handle(&self, decoded: DecodedCommand) -> Result<Answer, Rejection> {
        let about = decoded.command.about().map(|(what, id)| (what, id.to_owned()));
        let handling = self.commands.handling().or_strict(decoded.handling == Handling::Strict);
        let command_id = decoded.id().map(str::to_owned);
        let rejected = |reason, warnings| Rejection {
            reason: Box::new(reason),
            about: about.clone(),
            command_id: command_id.clone(),
            warnings,
        };
        let mut warnings = decoded
            .unknown
            .handled(handling)
            .map_err(|refused| rejected(RejectionReason::Invalid(refused), Vec::new()))?;
        match self.commands.handle(decoded.command, &decoded.origin).await {
            Ok(mut answer) => {
                warnings.append(&mut answer.warnings);
                Ok(Answer { warnings, ..answer })
            }
            Err(error) => Err(rejected(RejectionReason::Command(error), warnings)),
        }
    }
}

/// The team in the subject says who sent it, not the event's source: the server's permissions guard the subject.
fn origin(team: &str, event: &Event, data: &Value, headers: Option<&HeaderMap>) -> Origin {
    let extension = |name: &str| cloud_event::extension(event, name);
    let per_hop = || {
        let headers = crate::dead_letters::plain_headers(headers);
        headers.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("traceparent")).map(|(_, value)| value)
    };
    // Ids of different teams must not collide: the separator occurs in no team's name.
    let key = format!("nats:{team}:{}\n{}", event.source(), event.id());
    let content = format!("{}\n{data}", event.ty());
    Origin {
        actor: format!("team:{team}"),
        sender: Sender::Team(team.to_owned()),
        correlation_id: Some(extension("correlationid").unwrap_or_else(|| event.id().to_owned())),
        causation_id: Some(event.id().to_owned()),
        traceparent: extension("traceparent").or_else(per_hop).filter(|trace| is_traceparent(trace)),
        dedupe: Some(DedupeKey::new(&key, content.as_bytes())),
    }
}

/// Only a W3C trace context of version 00 is passed on.
fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let parts: Vec<&str> = text.split('-').collect();
    matches!(parts.as_slice(), [version, trace, span, flags]
        if hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2))
}

impl From<RejectionReason> for Rejection {
    fn from(reason: RejectionReason) -> Self {
        let warnings = match &reason {
            RejectionReason::Invalid(refused) => refused.warnings().to_vec(),
            _ => Vec::new(),
        };
        Self { reason: Box::new(reason), about: None, command_id: None, warnings }
    }
}

impl DecodedCommand {
    /// The id of its CloudEvent.
    pub(super) fn id(&self) -> Option<&str> {
        self.origin.causation_id.as_deref()
    }
}

impl Rejection {
    pub(super) fn timed_out(timeout: Duration) -> Self {
        RejectionReason::TimedOut(timeout).into()
    }

    pub(super) fn unreadable(because: String) -> Self {
        RejectionReason::Unreadable(because).into()
    }

    pub(super) fn panicked() -> Self {
        RejectionReason::Panicked.into()
    }

    pub(super) fn unfinished(deliveries: i64) -> Self {
        RejectionReason::Unfinished(deliveries).into()
    }

    pub(super) fn ended_the_process(times: i64) -> Self {
        RejectionReason::EndedTheProcess(times).into()
    }

    /// The rejection of a command that is not delayed because too many wait for the same already.
    pub(super) fn among_many(self) -> Self {
        let (about, command_id, warnings) = (self.about.clone(), self.command_id.clone(), self.warnings.clone());
        Self { reason: Box::new(RejectionReason::AmongMany(Box::new(self))), about, command_id, warnings }
    }

    /// Whether the cause is the database as a whole, not this command.
    pub(super) fn is_about_the_database(&self) -> bool {
        let RejectionReason::Command(error) = &*self.reason else { return false };
        let mut next = error.source();
        while let Some(error) = next {
            let shared = error.downcast_ref::<Arc<sqlx::Error>>().map(AsRef::as_ref);
            if let Some(error) = shared.or_else(|| error.downcast_ref::<sqlx::Error>()) {
                return is_about_all(error);
            }
            next = error.source();
        }
        false
    }

    /// Whether the cause is a bug or unreadable stored data, which an engineer has to examine.
    pub(super) fn is_internal(&self) -> bool {
        match &*self.reason {
            RejectionReason::Command(error) => error.class() == ErrorClass::Internal,
            RejectionReason::Panicked | RejectionReason::TimedOut(_) => true,
            _ => false,
        }
    }

    /// Whether the same message may work later.
    pub(crate) fn may_work_later(&self) -> bool {
        match &*self.reason {
            // An internal error, e.g. a missing right, may be mended meanwhile; the tries are bounded.
            RejectionReason::Command(error) => matches!(error.class(), ErrorClass::Dependency | ErrorClass::Internal),
            RejectionReason::TimedOut(_) | RejectionReason::Panicked => true,
            RejectionReason::Subject
            | RejectionReason::NotAnEvent(_)
            | RejectionReason::OtherType { .. }
            | RejectionReason::Invalid(_)
            | RejectionReason::Unreadable(_)
            | RejectionReason::Unfinished(_)
            | RejectionReason::EndedTheProcess(_)
            | RejectionReason::AmongMany(_) => false,
        }
    }

    pub(super) fn is_about_something_unknown(&self) -> bool {
        matches!(&*self.reason, RejectionReason::Command(CommandError::NotFound { .. }))
    }

    /// The class of the reason.
    fn error_code(&self) -> ErrorCode {
        match &*self.reason {
            RejectionReason::Subject => ErrorCode::UnknownSubject,
            RejectionReason::NotAnEvent(_) => ErrorCode::NotAnEvent,
            RejectionReason::OtherType { .. } => ErrorCode::UnknownType,
            RejectionReason::Invalid(_) => ErrorCode::Invalid,
            RejectionReason::Command(error) => error.error_code(),
            RejectionReason::TimedOut(_) => ErrorCode::TimedOut,
            RejectionReason::Unreadable(_) => ErrorCode::Unreadable,
            RejectionReason::Panicked | RejectionReason::EndedTheProcess(_) => ErrorCode::Crashed,
            RejectionReason::Unfinished(_) => ErrorCode::Unfinished,
            RejectionReason::AmongMany(rejection) => rejection.error_code(),
        }
    }

    /// A short name of the reason.
    pub fn code(&self) -> &'static str {
        self.error_code().as_str()
    }

    /// The code of a micro service's error, which is that of HTTP.
    pub fn status(&self) -> u16 {
        self.error_code().status()
    }

    /// What the command was about, where that is known: type and id.
    pub fn about(&self) -> Option<(&str, &str)> {
        self.about.as_ref().map(|(what, id)| (*what, id.as_str()))
    }

    /// The id of the message's CloudEvent, where it is one and the rejection knows it.
    pub fn command_id(&self) -> Option<&str> {
        self.command_id.as_deref()
    }

    /// The reply to the sender.
    pub fn answer(&self) -> Value {
        let reason = match &*self.reason {
            RejectionReason::AmongMany(rejection) => &*rejection.reason,
            reason => reason,
        };
        let complaints: Cow<'_, [Invalid]> = match reason {
            RejectionReason::Invalid(refused) => refused.complaints().into(),
            RejectionReason::Command(error) => error.invalid().into_iter().collect(),
            _ => Cow::default(),
        };
        let mut error = json!({ "code": self.code(), "message": self.to_string() });
        if let Some(first) = complaints.first() {
            error["field"] = first.field.as_str().into();
            error["errors"] = json!(complaints);
        }
        let mut answer = json!({ "status": "refused", "error": error });
        if !self.warnings.is_empty() {
            answer["warnings"] = json!(self.warnings);
        }
        answer
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.reason {
            RejectionReason::Subject => formatter.write_str(
                "the subject is not lablet.commands.<team>.<command>, the team of 1 to 64 printable ASCII characters",
            ),
            RejectionReason::NotAnEvent(error) => error.fmt(formatter),
            RejectionReason::OtherType { expected, got } => write!(formatter, "{got}; expected {expected}"),
            RejectionReason::Invalid(invalid) => invalid.fmt(formatter),
            RejectionReason::Command(error) => {
                error.fmt(formatter)?;
                // The causes of an internal error are for whoever examines the dead letter.
                if error.class() == ErrorClass::Internal {
                    let mut next = error.source();
                    while let Some(error) = next {
                        write!(formatter, ": {error}")?;
                        next = error.source();
                    }
                }
                Ok(())
            }
            RejectionReason::TimedOut(timeout) => {
                write!(formatter, "it was not handled within {} s", timeout.as_secs())
            }
            RejectionReason::Unreadable(because) => write!(formatter, "the message cannot be read: {because}"),
            RejectionReason::Panicked => {
                formatter.write_str("handling it ended in a panic; the log of the process has it")
            }
            RejectionReason::Unfinished(deliveries) => {
                write!(formatter, "it was delivered {deliveries} times and never finished")
            }
            RejectionReason::EndedTheProcess(times) => {
                write!(formatter, "it was handled alone {times} times, and the process ended each time")
            }
            RejectionReason::AmongMany(rejection) => {
                write!(formatter, "{rejection}; as many others wait for the same already, it was not tried again")
            }
        }
    }
}

impl std::error::Error for Rejection {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.reason {
            RejectionReason::Command(error) => error.source(),
            _ => None,
        }
    }
}

/// Whether an error of the database meets every command: it is unreachable, cannot be written to, or refuses the role.
fn is_about_all(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            let classes = ["08", "25", "28", "3D", "53", "57", "58"];
            classes.iter().any(|class| code.starts_with(class)) || matches!(code.as_ref(), "42501" | "42P01" | "42703")
        }),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Configuration(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn structured(ty: &str, id: &str, data: &Value) -> Vec<u8> {
        json!({"specversion": "1.0", "id": id, "source": "/grading", "type": ty, "data": data}).to_string().into_bytes()
    }

    const SUBJECT: &str = "lablet.commands.grading.transition_lablet_session";
    const TYPE: &str = "io.lablet.command.transition_lablet_session.v1";

    #[test]
    fn the_subject_says_who_and_the_key_is_source_and_id_of_that_team() {
        let data = json!({"session_id": "s1", "new_status": "ready"});
        let decoded = CommandDecoder::take(SUBJECT, None, &structured(TYPE, "e1", &data)).unwrap();
        assert_eq!(decoded.origin.actor, "team:grading");
        assert_eq!(decoded.origin.causation_id.as_deref(), Some("e1"));
        assert_eq!(decoded.command.about(), Some(("lablet_session", "s1")));
        let key = |subject: &str, id: &str, data: &Value| {
            CommandDecoder::take(subject, None, &structured(TYPE, id, data)).unwrap().origin.dedupe.unwrap()
        };
        let first = key(SUBJECT, "e1", &data);
        assert_eq!(first, key(SUBJECT, "e1", &data));
        assert_ne!(first.key(), key(SUBJECT, "e2", &data).key());
        assert_ne!(first.key(), key(&SUBJECT.replace("grading", "booking"), "e1", &data).key());
        let other = json!({"session_id": "s1", "new_status": "running"});
        assert_eq!(first.key(), key(SUBJECT, "e1", &other).key());
        assert_ne!(first, key(SUBJECT, "e1", &other), "the same key with something else to say");
    }

    #[test]
    fn what_can_never_work_says_why() {
        let data = json!({"session_id": "s1", "new_status": "ready"});
        let reject = |subject: &str, payload: &[u8]| {
            let rejection = CommandDecoder::take(subject, None, payload).unwrap_err();
            assert!(!rejection.may_work_later());
            format!("{} {}: {rejection}", rejection.status(), rejection.code())
        };
        let rejections = [
            reject("lablet.commands.grading", b"{}"),
            reject(SUBJECT, b"garbage"),
            reject(SUBJECT, &structured("io.lablet.command.register_worker.v1", "e1", &data)),
            reject("lablet.commands.grading.drop_everything", &structured(TYPE, "e1", &data)),
            reject(SUBJECT, &structured(TYPE, "e1", &json!({"session_id": "s1", "new_status": "flying"}))),
        ];
        insta::assert_snapshot!(rejections.join("\n"), @r#"
        400 unknown_subject: the subject is not lablet.commands.<team>.<command>, the team of 1 to 64 printable ASCII characters
        400 not_an_event: the message is no CloudEvent: it has neither the header ce-specversion nor the content type application/cloudevents+json nor a JSON object with specversion
        400 unknown_type: the event's type is io.lablet.command.register_worker.v1; expected io.lablet.command.transition_lablet_session.v1
        400 unknown_type: the subject's command is drop_everything; expected one of create_lablet_definition, revise_lablet_definition, register_worker, change_worker, record_worker_pressure, create_lablet_session, transition_lablet_session, request_resource_observation, record_resource_observation, record_observation_failure, exclude_session_evidence, include_session_evidence, acknowledge_port_drift, withdraw_port_drift_acknowledgement, correct_allocation, set_default_policy, set_definition_policy, open_proposal, withdraw_proposal, claim_proposal, apply_proposal, fail_proposal, dismiss_proposal, verify_proposal
        400 invalid: new_status is "flying"; expected one of pending, scheduled, instantiating, ready, running, collecting, grading, stopping, stopped, archived, terminated, expired
        "#);
    }

    #[test]
    fn only_a_trace_is_a_trace() {
        assert!(is_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for bad in ["", "00-x-y-01", "hello"] {
            assert!(!is_traceparent(bad));
        }
    }
}
