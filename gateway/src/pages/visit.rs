//! Who visits a page, and what every page has to know besides.

use axum::extract::{FromRef, FromRequestParts};
use chrono::{DateTime, Utc};
use http::request::Parts;
use uuid::Uuid;

use super::freshness::{FreshnessWatch, State};
use crate::attention::{AttentionBadge, AttentionWatch};
use crate::authentication::{Principal, Role};
use crate::caller::principal;
use crate::heavy_reads::ReadFrom;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::sign_in::BrowserSession;

/// Somebody who is signed in, at a page.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    /// Who, as events will name them, e.g. `admin:ada`.
    pub(crate) principal: Principal,
    /// How far their authority reaches. A service that looks at a page sees what a viewer sees.
    pub(crate) role: Role,
    /// What a form has to carry; empty where nobody signed in with a browser.
    pub(crate) csrf_token: String,
    /// The time.
    pub(crate) now: DateTime<Utc>,
    /// How far the read models are.
    pub(crate) freshness: State,
    /// How many things need somebody, as far as is known.
    pub(crate) attention: Option<AttentionBadge>,
    /// Where the page is read, once it is known.
    pub(crate) read_from: ReadFrom,
    /// For the form of this page, if it has one: sent twice it is one command.
    pub(crate) idempotency_key: Uuid,
}

/// Whether the visitor may do something, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Permit {
    /// Why not; `None`: they may.
    pub(crate) refusal: Option<String>,
}

impl Permit {
    /// It may be done.
    pub(crate) fn granted() -> Self {
        Self { refusal: None }
    }

    /// It may not, and this is why.
    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self { refusal: Some(reason.into()) }
    }

    /// This permit, unless the other refuses first.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        if self.refusal.is_some() { self } else { other }
    }
}

impl Visit {
    /// The visitor's name.
    pub(crate) fn name(&self) -> &str {
        match &self.principal {
            Principal::Service { name } | Principal::Admin { name, .. } => name,
        }
    }

    /// Whether they may do what needs this role.
    pub(crate) fn may(&self, needed: Role) -> Permit {
        if self.role >= needed {
            return Permit::granted();
        }
        Permit::refused(format!("This needs the role {needed}; you are signed in as {}.", self.role))
    }
}

impl<S> FromRequestParts<S> for Visit
where
    S: Send + Sync,
    Queries: FromRef<S>,
    FreshnessWatch: FromRef<S>,
    AttentionWatch: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (queries, freshness) = (Queries::from_ref(state), FreshnessWatch::from_ref(state));
        let principal = principal(parts)?;
        let role = match &principal {
            Principal::Service { .. } => Role::Viewer,
            Principal::Admin { role, .. } => *role,
        };
        let session = parts.extensions.get::<BrowserSession>();
        Ok(Self {
            role,
            csrf_token: session.map(|session| session.csrf_token.clone()).unwrap_or_default(),
            now: queries.log().clock().now(),
            freshness: freshness.look().await?,
            attention: AttentionWatch::from_ref(state).badge(),
            read_from: parts.extensions.get::<ReadFrom>().cloned().unwrap_or_default(),
            idempotency_key: queries.log().id_generator().uuid(),
            principal,
        })
    }
}
