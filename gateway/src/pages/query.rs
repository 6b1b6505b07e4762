//! The parameters of a page, from its address or from a form that was saved for it. Empty fields are left out, and so are
//! those that every form carries.

use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::position::POSITION;
use crate::problem::Problem;
use crate::query::from_pairs;
use crate::sign_in::form::{CSRF_TOKEN, FORM_PAGE, IDEMPOTENCY_KEY};
use crate::sign_in::saved_forms::{SAVED_FORM, SavedForm};

/// The query of a page as `T`.
pub(crate) struct PageQuery<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for PageQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let named: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        // What a saved form was filled in with, but for what the address says itself.
        let saved = parts.extensions.get::<SavedForm>().map(|saved| saved.fields.as_slice()).unwrap_or_default();
        let saved = saved.iter().filter(|(name, _)| named.iter().all(|(found, _)| found != name));
        let said = |(name, value): &&(String, String)| {
            !matches!(name.as_str(), POSITION | SAVED_FORM | CSRF_TOKEN | IDEMPOTENCY_KEY | FORM_PAGE)
                && !value.is_empty()
        };
        let asked = named.iter().chain(saved).filter(said);
        from_pairs(asked.map(|(name, value)| (name.as_str(), value.as_str()))).map(Self)
    }
}

/// The address of a page (or its twin) that is asked for this.
pub(crate) fn address(path: &str, query: &impl serde::Serialize) -> String {
    // In the order of the alphabet, so that one question has one address.
    let asked: BTreeMap<String, serde_json::Value> = match serde_json::to_value(query) {
        Ok(serde_json::Value::Object(members)) => members.into_iter().collect(),
        _ => return path.to_owned(),
    };
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in &asked {
        match value {
            serde_json::Value::Null => continue,
            serde_json::Value::String(text) => pairs.append_pair(name, text),
            other => pairs.append_pair(name, &other.to_string()),
        };
    }
    let query = pairs.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}
