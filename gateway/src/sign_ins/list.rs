//! `GET /api/sign-ins`: who is signed in with a browser.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use crate::authentication::Authenticator;
use crate::caller::{Caller, Governing};
use crate::problem::Problem;
use crate::sign_in::SignIn;
use crate::sign_in::sessions::ListedSession;

/// Browsers that are signed in.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct SignIns {
    /// Those that were used last first; at most 1,000.
    pub(crate) items: Vec<ListedSession>,
}

pub(crate) async fn list(
    State(sign_in): State<SignIn>,
    State(authenticator): State<Authenticator>,
    _: Caller<Governing>,
) -> Result<Json<SignIns>, Problem> {
    Ok(Json(SignIns { items: living(&sign_in, &authenticator).await? }))
}

/// The sessions that have not ended.
///
/// # Errors
/// 503 where the database does not answer.
pub(crate) async fn living(sign_in: &SignIn, authenticator: &Authenticator) -> Result<Vec<ListedSession>, Problem> {
    Ok(sign_in.sessions.list(|hash| authenticator.is_configured(hash)).await?)
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("list_sign_ins").tag("operations").summary("Browsers that are signed in, and who they are")
}
