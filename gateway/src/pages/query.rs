//! What a page is asked for. A field of a form that was left empty asks for nothing.

use std::collections::BTreeMap;

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
