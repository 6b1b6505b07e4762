//! `GET /api/sign-ins`: who is signed in with a browser.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use crate::caller::{Caller, Governing};
use crate::problem::Problem;
use crate::sign_in::sessions::ListedSession;
use crate::state::Shared;

/// Browsers that are signed in.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct SignIns {
    /// Those that were used last first; at most 1,000.
    pub(crate) items: Vec<ListedSession>,
}

pub(crate) async fn list(State(shared): State<Shared>, _: Caller<Governing>) -> Result<Json<SignIns>, Problem> {
    Ok(Json(SignIns { items: living(&shared).await? }))
}

/// The sessions that have not ended.
///
/// # Errors
/// 503 where the database does not answer.
pub(crate) async fn living(shared: &Shared) -> Result<Vec<ListedSession>, Problem> {
    Ok(shared.sign_in.sessions.list(|hash| shared.authenticator.is_configured(hash)).await?)
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("list_sign_ins").tag("operations").summary("Browsers that are signed in, and who they are")
}
