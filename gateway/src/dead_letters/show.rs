//! `GET /api/dead-letters/{id}`.

use std::collections::BTreeMap;

use aide::transform::TransformOperation;
use app::dead_letters::{
    DeadLetter as DeadMessage, DeadLetterKind, OpenedLetter as OpenedMessage, Status, names_a_secret,
};
use axum::Json;
use axum::extract::State;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use chrono::{DateTime, Utc};
use projections::read_models::session_history::EventRow;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::letter_id::LetterId;
use super::list::Letter;
use crate::caller::{Caller, Operating};
use crate::dead_letters::DeadLetterStores;
use crate::path::Id;
use crate::problem::Problem;

/// A dead letter and what is in it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct OpenedLetter {
    /// The letter.
    #[serde(flatten)]
    pub(crate) letter: Letter,
    /// A command's headers; of a webhook, its attributes. What a header holds that is named like a secret is not shown.
    pub(crate) headers: Option<BTreeMap<String, String>>,
    /// The message as text, as far as it was kept; what is not UTF-8 is replaced.
    pub(crate) message: Option<String>,
    /// How much of the message is here: `whole`, `masked` (without what may be a secret), `beginning`, `none` or
    /// `removed` (after its time). Only a whole one can be tried again. Null: it is an event of a read model.
    pub(crate) message_kept: Option<&'static str>,
    /// Size of the message, in bytes.
    pub(crate) message_bytes: Option<i64>,
    /// A command's headers as they came, in base64, where they cannot be read as text.
    pub(crate) raw_headers: Option<String>,
    /// The event, where it is one.
    pub(crate) event: Option<EventRow>,
    /// What became of it. Null: it waits. An event of a read model that is settled is no letter any more.
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
    /// Why it was discarded.
    pub(crate) reason: Option<String>,
}

pub(crate) async fn show(
    State(stores): State<DeadLetterStores>,
    _: Caller<Operating>,
    Id(id): Id<LetterId>,
) -> Result<Json<OpenedLetter>, Problem> {
    let opened = open(&stores, id).await?;
    opened.map(Json).ok_or_else(|| Problem::not_found("dead letter", &id.to_string()))
}

/// A letter with what is in it; `None`: there is no such letter.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn open(stores: &DeadLetterStores, id: LetterId) -> Result<Option<OpenedLetter>, Problem> {
    Ok(match id {
        LetterId::Command(message) => of_kind(stores, message, DeadLetterKind::Command).await?,
        LetterId::Webhook(message) => of_kind(stores, message, DeadLetterKind::Webhook).await?,
        LetterId::Event(model, event_id) => match stores.queries.dead_letter(model, event_id).await? {
            None => None,
            Some(letter) => Some(OpenedLetter {
                headers: None,
                message: None,
                message_kept: None,
                message_bytes: None,
                raw_headers: None,
                event: stores.queries.event(event_id).await?,
                settled: None,
                letter: letter.into(),
            }),
        },
    })
}

/// A letter that lies among those of messages, if it is of this kind.
async fn of_kind(stores: &DeadLetterStores, id: Uuid, kind: DeadLetterKind) -> Result<Option<OpenedLetter>, Problem> {
    let found = stores.messages.show(id).await?.filter(|opened| opened.letter.kind == kind);
    Ok(found.map(opened_message))
}

fn opened_message(OpenedMessage { letter, payload, raw_headers }: OpenedMessage) -> OpenedLetter {
    OpenedLetter {
        headers: Some(letter.headers.iter().map(|(name, value)| (name.clone(), shown(name, value))).collect()),
        message: letter.payload_kept.holds_any().then(|| String::from_utf8_lossy(&payload).into_owned()),
        message_kept: Some(letter.payload_kept.as_str()),
        message_bytes: Some(letter.message_bytes),
        raw_headers: raw_headers.map(|raw| BASE64_STANDARD.encode(raw)),
        event: None,
        settled: settlement(&letter),
        letter: letter.into(),
    }
}

fn settlement(letter: &DeadMessage) -> Option<Settlement> {
    let outcome = match letter.status {
        Status::Waiting => return None,
        Status::Retried => "retried",
        Status::Discarded => "discarded",
    };
    Some(Settlement {
        outcome,
        by: letter.settled_by.clone(),
        at: letter.settled_at,
        reason: letter.settled_reason.clone(),
    })
}

/// A sender may have put into a header what nobody else is to see.
fn shown(name: &str, value: &str) -> String {
    if names_a_secret(name) { "(not shown)".to_owned() } else { value.to_owned() }
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
