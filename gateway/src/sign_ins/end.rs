//! `DELETE /api/sign-ins/{id}`: signs a browser out, at once.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use http::request::Parts;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::session_id::BrowserSessionId;
use crate::caller::{Caller, Governing, principal};
use crate::path::Id;
use crate::problem::Problem;
use crate::sign_in::SignIn;

/// A session that has ended.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Ended {
    /// Named the session.
    id: Uuid,
    /// Whose it was.
    name: String,
}

pub(crate) async fn end(
    State(sign_in): State<SignIn>,
    _: Caller<Governing>,
    Id(BrowserSessionId(id)): Id<BrowserSessionId>,
    parts: Parts,
) -> Result<Json<Ended>, Problem> {
    let name = sign_out(&sign_in, id, &principal(&parts)?.to_string()).await?;
    Ok(Json(Ended { id, name }))
}

/// Ends somebody's session; `actor` decides so. Gives whose it was.
///
/// # Errors
/// 404 where there is no such session (any more), 503 where the database does not answer.
pub(crate) async fn sign_out(sign_in: &SignIn, id: Uuid, actor: &str) -> Result<String, Problem> {
    let ended = sign_in.sessions.end(id).await?;
    let name = ended.ok_or_else(|| Problem::not_found("session of a browser", &id.to_string()))?;
    tracing::warn!(name, actor, session = %id, "browser session ended by an admin");
    Ok(name)
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("end_sign_in").tag("operations").summary("Sign a browser out").description(
        "Takes effect at once, also on the streams that it holds open. Whoever has another way to sign in \
                      may sign in again: revoke their token or their account as well.",
    )
}
