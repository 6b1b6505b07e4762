//! Authority, asked for in a handler's signature.
//!
//! The router lets nobody without a valid key or token reach a guarded route; a handler's [`Caller`] then says how much
//! authority it needs, and the API's description repeats it.

use std::marker::PhantomData;

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{Operation, Response as Described};
use aide::operation::OperationOutput as _;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::request::Parts;

use crate::authentication::{Authority, Principal, Role};
use crate::problem::{Kind, Problem};
use crate::state::Shared;

/// A level of authority, as a type.
pub(crate) trait Needs: Send + Sync + 'static {
    /// The level.
    const AUTHORITY: Authority;
}

/// An internal key, and nothing else.
pub(crate) struct Internal;
/// Whoever may see.
pub(crate) struct Viewing;
/// Whoever may ask for an observation: operators, and services.
pub(crate) struct Asking;
/// Whoever may handle dead letters.
pub(crate) struct Operating;
/// Whoever may create and revise definitions and workers: admins, and services.
pub(crate) struct Administering;

impl Needs for Internal {
    const AUTHORITY: Authority = Authority::Internal;
}
impl Needs for Viewing {
    const AUTHORITY: Authority = Authority::RoleOrInternal(Role::Viewer);
}
impl Needs for Asking {
    const AUTHORITY: Authority = Authority::RoleOrInternal(Role::Operator);
}
impl Needs for Operating {
    const AUTHORITY: Authority = Authority::Role(Role::Operator);
}
impl Needs for Administering {
    const AUTHORITY: Authority = Authority::RoleOrInternal(Role::Admin);
}

/// A caller whose authority suffices.
pub(crate) struct Caller<N>(PhantomData<N>);

/// Lets through who is signed in, and remembers who it is.
pub(crate) async fn authenticate(
    State(shared): State<Shared>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let principal = shared.authenticator.authenticate(request.headers())?;
    request.extensions_mut().insert(principal.clone());
    let mut response = next.run(request).await;
    response.extensions_mut().insert(principal);
    Ok(response)
}

/// Who is signed in.
///
/// # Errors
/// 401 where nobody is; a route outside the guarded part of the router then asked for a caller.
pub(crate) fn principal(parts: &Parts) -> Result<Principal, Problem> {
    let signed_in = parts.extensions.get::<Principal>().cloned();
    signed_in.ok_or_else(|| Problem::new(Kind::Unauthenticated, "This needs a key or a token."))
}

impl<S: Send + Sync, N: Needs> FromRequestParts<S> for Caller<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        N::AUTHORITY.check(&principal(parts)?)?;
        Ok(Self(PhantomData))
    }
}

impl<N: Needs> OperationInput for Caller<N> {
    fn operation_input(_: &mut GenContext, operation: &mut Operation) {
        let key = || [("internal_key".to_owned(), Vec::new())].into_iter().collect();
        let token = |role: Role| [("admin_token".to_owned(), vec![role.name().to_owned()])].into_iter().collect();
        operation.security.extend(match N::AUTHORITY {
            Authority::Internal => vec![key()],
            Authority::Role(role) => vec![token(role)],
            Authority::RoleOrInternal(role) => vec![token(role), key()],
        });
        let needs = format!("Needs {}.", N::AUTHORITY);
        operation.description = Some(match operation.description.take() {
            Some(text) => format!("{text}\n\n{needs}"),
            None => needs,
        });
    }

    fn inferred_early_responses(context: &mut GenContext, operation: &mut Operation) -> Vec<(Option<u16>, Described)> {
        described_problems(context, operation, &[(401, "Nobody is signed in"), (403, "Too little authority")])
    }
}

/// Problem responses for the API's description.
pub(crate) fn described_problems(
    context: &mut GenContext,
    operation: &mut Operation,
    statuses: &[(u16, &str)],
) -> Vec<(Option<u16>, Described)> {
    statuses
        .iter()
        .filter_map(|(status, description)| {
            let mut described = Problem::operation_response(context, operation)?;
            described.description = (*description).to_owned();
            Some((Some(*status), described))
        })
        .collect()
}
