//! `GET /api/dead-letters/{id}`.

use std::collections::BTreeMap;

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use projections::read_models::session_history::EventRow;
use schemars::JsonSchema;
use serde::Serialize;

use super::letter_id::LetterId;
use super::list::Letter;
use crate::caller::{Caller, Operating};
use crate::path::Id;
use crate::problem::Problem;
use crate::state::Shared;

/// A dead letter and what is in it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct OpenedLetter {
    /// The letter.
    #[serde(flatten)]
    letter: Letter,
    /// A command's headers.
    headers: Option<BTreeMap<String, String>>,
    /// A command's message as text; what is not UTF-8 is replaced.
    message: Option<String>,
    /// The event, where it is one.
    event: Option<EventRow>,
}

pub(crate) async fn show(
    State(shared): State<Shared>,
    _: Caller<Operating>,
    Id(id): Id<LetterId>,
) -> Result<Json<OpenedLetter>, Problem> {
    let absent = || Problem::not_found("dead letter", &id.to_string());
    Ok(Json(match id {
        LetterId::Command(command) => {
            let (letter, message) = shared.dead_letters.show(command).await?.ok_or_else(absent)?;
            let headers = letter.headers.0.clone();
            OpenedLetter {
                headers: Some(headers),
                message: Some(String::from_utf8_lossy(&message).into_owned()),
                event: None,
                letter: letter.into(),
            }
        }
        LetterId::Event(model, event_id) => {
            let letter = shared.reads.dead_letter(model, event_id).await?.ok_or_else(absent)?;
            let event = shared.reads.event(event_id).await?;
            OpenedLetter { headers: None, message: None, event, letter: letter.into() }
        }
    }))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("show_dead_letter").tag("operations").summary("What got stuck, in full")
}
