//! `GET /api/dead-letters/{id}`.

use std::collections::BTreeMap;

use aide::transform::TransformOperation;
use app::dead_letters::{DeadLetter as DeadCommand, Status};
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
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
    pub(crate) letter: Letter,
    /// A command's headers. What a header holds that is named like a secret is not shown.
    pub(crate) headers: Option<BTreeMap<String, String>>,
    /// A command's message as text; what is not UTF-8 is replaced.
    pub(crate) message: Option<String>,
    /// The event, where it is one.
    pub(crate) event: Option<EventRow>,
    /// What became of a command. Null: it waits. An event that is settled is no letter any more.
    pub(crate) settled: Option<Settlement>,
}

/// What became of a dead letter.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Settlement {
    /// `retried` or `discarded`.
    pub(crate) outcome: &'static str,
    /// Who settled it, e.g. `admin:ada`.
    pub(crate) by: Option<String>,
    /// When.
    pub(crate) at: Option<DateTime<Utc>>,
}

pub(crate) async fn show(
    State(shared): State<Shared>,
    _: Caller<Operating>,
    Id(id): Id<LetterId>,
) -> Result<Json<OpenedLetter>, Problem> {
    let opened = open(&shared, id).await?;
    opened.map(Json).ok_or_else(|| Problem::not_found("dead letter", &id.to_string()))
}

/// A letter with what is in it; `None`: there is no such letter.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn open(shared: &Shared, id: LetterId) -> Result<Option<OpenedLetter>, Problem> {
    Ok(match id {
        LetterId::Command(command) => shared.dead_letters.show(command).await?.map(|(letter, message)| OpenedLetter {
            headers: Some(letter.headers.iter().map(|(name, value)| (name.clone(), shown(name, value))).collect()),
            message: Some(String::from_utf8_lossy(&message).into_owned()),
            event: None,
            settled: settlement(&letter),
            letter: letter.into(),
        }),
        LetterId::Event(model, event_id) => match shared.reads.dead_letter(model, event_id).await? {
            None => None,
            Some(letter) => Some(OpenedLetter {
                headers: None,
                message: None,
                event: shared.reads.event(event_id).await?,
                settled: None,
                letter: letter.into(),
            }),
        },
    })
}

fn settlement(letter: &DeadCommand) -> Option<Settlement> {
    let outcome = match letter.status {
        Status::Waiting => return None,
        Status::Retried => "retried",
        Status::Discarded => "discarded",
    };
    Some(Settlement { outcome, by: letter.settled_by.clone(), at: letter.settled_at })
}

/// A sender may have put into a header what nobody else is to see.
fn shown(name: &str, value: &str) -> String {
    let name = name.to_ascii_lowercase();
    let is_secret = ["authorization", "cookie", "token", "secret", "password", "api-key"];
    if is_secret.iter().any(|word| name.contains(word)) { "(not shown)".to_owned() } else { value.to_owned() }
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("show_dead_letter").tag("operations").summary("What got stuck, in full")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        for name in ["Authorization", "X-Auth-Token", "X-API-Key", "Set-Cookie"] {
            assert_eq!(shown(name, "s3cret"), "(not shown)", "{name}");
        }
        assert_eq!(shown("Content-Type", "application/json"), "application/json");
    }
}
