//! `POST /api/dead-letters/{id}/discard`: a dead letter is given up for good.

use aide::transform::TransformOperation;
use app::command::CommandName;
use app::dead_letters::Status;
use axum::Json;
use axum::extract::State;
use domain::Invalid;
use domain::text::Line;
use schemars::JsonSchema;
use serde::Deserialize;

use super::letter_id::LetterId;
use super::retry::Settled;
use crate::answer::Written;
use crate::body::RequestBody;
use crate::caller::{Caller, Operating};
use crate::dead_letters::DeadLetterStores;
use crate::paging::check_text;
use crate::path::Id;
use crate::problem::Problem;
use crate::submission::Submission;

/// Why it can be done without.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct Discard {
    /// 1 to 500 characters on one line.
    reason: Line<1, 500>,
}

impl Discard {
    pub(super) fn reason(self) -> String {
        self.reason.into()
    }
}

impl RequestBody for Discard {
    const COMMAND: Option<CommandName> = None;
}

pub(crate) async fn discard(
    State(stores): State<DeadLetterStores>,
    _: Caller<Operating>,
    Id(id): Id<LetterId>,
    submission: Submission<Discard>,
) -> Result<Json<Written<Settled>>, Problem> {
    let Submission { body: Discard { reason }, origin, warnings } = submission;
    let settled = do_without(&stores, id, &origin.actor, Some(reason.into())).await?;
    Ok(Json(Written { body: settled, warnings }))
}

/// Discards a letter; `actor` is who decided so.
///
/// # Errors
/// 400 without a reason, 404 where no such letter waits.
pub(crate) async fn do_without(
    stores: &DeadLetterStores,
    id: LetterId,
    actor: &str,
    reason: Option<String>,
) -> Result<Settled, Problem> {
    let reason = check_text("reason", reason)?
        .ok_or_else(|| Invalid::new("reason", "is empty", "why it can be done without, 1 to 500 characters"))?;
    let absent = || Problem::not_found("waiting dead letter", &id.to_string());
    let applied = match id {
        LetterId::Command(message) | LetterId::Webhook(message) => {
            if !stores.messages.settle(message, Status::Discarded, actor, Some(&reason)).await? {
                return Err(absent());
            }
            0
        }
        LetterId::Event(model, event_id) => {
            let retried = stores.queries.discard_dead_letter(model, event_id, actor, &reason).await?;
            retried.ok_or_else(absent)?.applied
        }
    };
    tracing::warn!(letter = %id, actor, reason, "dead letter discarded");
    Ok(Settled { id: id.to_string(), outcome: "discarded", applied, answer: None })
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("discard_dead_letter")
        .tag("operations")
        .summary("Do without what got stuck, for good")
        .description("Later events of the same aggregate, which waited behind one of a read model, are applied.")
}
