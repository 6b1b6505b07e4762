//! `POST /api/dead-letters/{id}/retry`: it is tried again.

use aide::transform::TransformOperation;
use app::door::{self, Intake, RetryError};
use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::letter_id::LetterId;
use crate::body::RequestBody;
use crate::caller::{Caller, Operating};
use crate::path::Id;
use crate::problem::{Kind, Problem};
use crate::state::Shared;
use crate::submission::Submission;

/// Nothing has to be said.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retry {}

impl RequestBody for Retry {
    fn of_nothing() -> Option<Self> {
        Some(Self {})
    }
}

/// It worked this time.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Settled {
    /// The letter.
    pub(crate) id: String,
    /// What became of it: `retried` or `discarded`.
    pub(crate) outcome: &'static str,
    /// Events that the read model has applied now, those that waited behind it included.
    pub(crate) applied: u64,
    /// The answer to the command, where it is one.
    pub(crate) answer: Option<serde_json::Value>,
}

pub(crate) async fn retry(
    State(shared): State<Shared>,
    _: Caller<Operating>,
    Id(id): Id<LetterId>,
    submission: Submission<Retry>,
) -> Result<Json<Settled>, Problem> {
    let Retry {} = submission.body;
    match id {
        LetterId::Command(command) => {
            let intake = Intake::new(shared.commands.clone());
            let answer = door::retry(&intake, &shared.dead_letters, command, &submission.origin.actor).await?;
            let answer = serde_json::to_value(answer).ok();
            Ok(Json(Settled { id: id.to_string(), outcome: "retried", applied: 0, answer }))
        }
        LetterId::Event(model, event_id) => {
            let letter = shared.reads.dead_letter(model, event_id).await?;
            let letter = letter.ok_or_else(|| Problem::not_found("dead letter", &id.to_string()))?;
            let retried = shared.reads.retry_dead_letters(model, &letter.aggregate_type, &letter.aggregate_id).await?;
            match retried.stopped_at {
                Some(event) if retried.applied == 0 => {
                    let reason = retried.reason.unwrap_or_default();
                    Err(Problem::new(Kind::Conflict, format!("The event {event} still cannot be applied: {reason}")))
                }
                _ => {
                    Ok(Json(Settled { id: id.to_string(), outcome: "retried", applied: retried.applied, answer: None }))
                }
            }
        }
    }
}

impl From<RetryError> for Problem {
    fn from(error: RetryError) -> Self {
        match error {
            RetryError::NotFound(id) | RetryError::OtherKind(id) => {
                Self::not_found("dead letter", &LetterId::Command(id).to_string())
            }
            RetryError::Settled(_) => Self::new(Kind::Conflict, "The dead letter was settled before."),
            RetryError::Rejected(rejection) => {
                Self::new(Kind::Conflict, format!("The command does not work now either: {rejection}"))
            }
            RetryError::Unavailable(error) => error.into(),
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
