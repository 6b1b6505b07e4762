//! `POST /api/dead-letters/{id}/retry`: a dead letter is tried again.

use aide::transform::TransformOperation;
use app::command::CommandName;
use app::command_consumer::{self, CommandDecoder, RetryError};
use app::dead_letters::{DeadLetterKind, Status};
use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::letter_id::LetterId;
use crate::answer::Written;
use crate::body::RequestBody;
use crate::caller::{Caller, Operating};
use crate::dead_letters::DeadLetterStores;
use crate::path::Id;
use crate::problem::{Problem, ProblemKind, sentence};
use crate::submission::Submission;
use app::commands::Commands;

/// Nothing has to be said.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub(crate) struct Retry {}

impl RequestBody for Retry {
    const COMMAND: Option<CommandName> = None;

    fn when_empty() -> Option<Self> {
        Some(Self {})
    }
}

/// It worked this time, or will be tried.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Settled {
    /// The letter.
    pub(crate) id: String,
    /// What became of it: `retried` or `discarded`; `requested` of a webhook's, which the process that delivers sends again: the
    /// letter says what came of it.
    pub(crate) outcome: &'static str,
    /// Events that the read model has applied now, those that waited behind it included.
    pub(crate) applied: u64,
    /// The answer to the command, where it is one.
    pub(crate) answer: Option<serde_json::Value>,
}

pub(crate) async fn retry(
    State(stores): State<DeadLetterStores>,
    State(commands): State<Commands>,
    _: Caller<Operating>,
    Id(id): Id<LetterId>,
    submission: Submission<Retry>,
) -> Result<Json<Written<Settled>>, Problem> {
    let Submission { body: Retry {}, origin, warnings } = submission;
    let settled = try_again(&stores, &commands, id, &origin.actor).await?;
    Ok(Json(Written { body: settled, warnings }))
}

/// Why a letter that was to be tried again is where it was.
#[derive(Debug, Clone)]
pub(crate) enum NotRetried {
    /// No such letter is there. One with an event is gone once it is settled.
    Absent(LetterId),
    /// It was settled before.
    SettledBefore,
    /// It does not work now either, for this reason, which the letter keeps.
    FailedAgain(String),
    /// It was not tried.
    NotTried(Problem),
}

/// Tries a letter again; `actor` is who asked for it.
///
/// # Errors
/// [`NotRetried`].
pub(crate) async fn try_again(
    stores: &DeadLetterStores,
    commands: &Commands,
    id: LetterId,
    actor: &str,
) -> Result<Settled, NotRetried> {
    match id {
        LetterId::Command(command) => {
            let decoder = CommandDecoder::new(commands.clone());
            let answer = command_consumer::retry(&decoder, &stores.messages, command, actor).await?;
            let answer = serde_json::to_value(answer).ok();
            Ok(Settled { id: id.to_string(), outcome: "retried", applied: 0, answer })
        }
        LetterId::Webhook(message) => {
            if stores.messages.request_retry(message, actor).await.map_err(Problem::from)? {
                return Ok(Settled { id: id.to_string(), outcome: "requested", applied: 0, answer: None });
            }
            match stores.messages.show(message).await.map_err(Problem::from)? {
                Some(opened) if opened.letter.kind != DeadLetterKind::Webhook => Err(NotRetried::Absent(id)),
                Some(opened) if opened.letter.status != Status::Waiting => Err(NotRetried::SettledBefore),
                Some(_) => {
                    let detail =
                        "It only counts events for which there was no room: `lablet webhooks replay` sends them.";
                    Err(NotRetried::NotTried(Problem::new(ProblemKind::Conflict, detail)))
                }
                None => Err(NotRetried::Absent(id)),
            }
        }
        LetterId::Event(model, event_id) => {
            let letter = stores.queries.dead_letter(model, event_id).await.map_err(Problem::from)?;
            let letter = letter.ok_or(NotRetried::Absent(id))?;
            let retried = stores.queries.retry_dead_letters(model, &letter.aggregate_type, &letter.aggregate_id).await;
            let retried = retried.map_err(Problem::from)?;
            match retried.stopped_at {
                Some(event) if retried.applied == 0 => {
                    let reason = retried.reason.unwrap_or_default();
                    let detail = format!("The event {event} still cannot be applied: {reason}");
                    Err(NotRetried::FailedAgain(detail))
                }
                _ => Ok(Settled { id: id.to_string(), outcome: "retried", applied: retried.applied, answer: None }),
            }
        }
    }
}

impl From<Problem> for NotRetried {
    fn from(problem: Problem) -> Self {
        Self::NotTried(problem)
    }
}

impl From<RetryError> for NotRetried {
    fn from(error: RetryError) -> Self {
        match error {
            RetryError::NotFound(id) | RetryError::OtherKind(id) => Self::Absent(LetterId::Command(id)),
            RetryError::Settled(_) => Self::SettledBefore,
            RetryError::NotKept { .. } => {
                Self::NotTried(Problem::new(ProblemKind::Conflict, sentence(&error.to_string())))
            }
            RetryError::Rejected(rejection) => {
                Self::FailedAgain(format!("The command does not work now either: {rejection}"))
            }
            RetryError::Unavailable(error) => Self::NotTried(error.into()),
        }
    }
}

impl From<NotRetried> for Problem {
    fn from(refusal: NotRetried) -> Self {
        match refusal {
            NotRetried::Absent(id) => Self::not_found("dead letter", &id.to_string()),
            NotRetried::SettledBefore => Self::new(ProblemKind::Conflict, "The dead letter was settled before."),
            NotRetried::FailedAgain(why) => Self::new(ProblemKind::Conflict, why),
            NotRetried::NotTried(problem) => problem,
        }
    }
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("retry_dead_letter")
        .tag("operations")
        .summary("Try again what got stuck")
        .description("Trying twice does it once. 409 says why it still does not work.")
}
