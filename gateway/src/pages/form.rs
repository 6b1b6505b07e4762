//! What a form sends: its fields, proof that the form was ours, and where the change comes from.
//!
//! A form carries two hidden fields: `csrf_token`, the session's, and `idempotency_key`, generated with the page, so that a
//! double click is one command. Fields come urlencoded and bounded.

use app::log::Origin;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use crate::problem::{Problem, ProblemKind};
use crate::query::from_pairs;
use crate::sign_in::form::{CSRF_TOKEN, IDEMPOTENCY_KEY};
use crate::sign_in::{self, BrowserSession, csrf_matches};
use crate::submission::{checked_key, origin_with};

/// A form that was sent from one of our pages.
pub(crate) struct PageForm<T> {
    /// Its fields.
    pub(crate) fields: T,
    /// Where the change comes from.
    pub(crate) origin: Origin,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for PageForm<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        // `authenticate_page` has read it already where a browser's session sends it.
        let (form, request) = match request.extensions().get::<sign_in::FormFields>().cloned() {
            Some(form) => (form, request),
            None => sign_in::FormFields::from_signed_in(request).await?,
        };
        let (parts, _) = request.into_parts();
        // Whoever sends a key or a token did not get here by following somebody's link.
        if let Some(session) = parts.extensions.get::<BrowserSession>()
            && !csrf_matches(session, form.get(CSRF_TOKEN).unwrap_or_default())
        {
            let detail = "The form was not made for this sign-in. Go back, load the page again, and send it once more.";
            return Err(Problem::new(ProblemKind::Forbidden, detail));
        }
        // A field that was left empty says nothing.
        let own = || form.own().filter(|(_, value)| !value.is_empty());
        let content = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(own()).finish();
        let key = form.get(IDEMPOTENCY_KEY).map(|key| checked_key(IDEMPOTENCY_KEY, key)).transpose()?;
        let origin = origin_with(&parts, key, content.as_bytes())?;
        let fields = from_pairs(own())?;
        Ok(Self { fields, origin })
    }
}
