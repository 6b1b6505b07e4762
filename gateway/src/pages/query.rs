//! What a page is asked for. A field of a form that was left empty asks for nothing.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::position::POSITION;
use crate::problem::Problem;
use crate::query::from_pairs;

/// The query of a page as `T`.
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let said = |(name, value): &(_, std::borrow::Cow<'_, str>)| *name != POSITION && !value.is_empty();
        from_pairs(url::form_urlencoded::parse(query.as_bytes()).filter(said)).map(Self)
    }
}
