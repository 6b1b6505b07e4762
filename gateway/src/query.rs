//! Query strings, parsed with a complaint that names the parameter.

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::Operation;
use aide::operation::{ParamLocation, add_parameters, parameters_from_schema};
use app::body::complaint;
use axum::extract::FromRequestParts;
use http::request::Parts;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::position::POSITION;
use crate::problem::Problem;

/// The query string as `T`. Unknown parameters are refused where `T` denies unknown fields.
#[derive(Debug, Clone)]
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // The position is a matter of `Since`, on whatever list it is named.
        let query = parts.uri.query().unwrap_or_default();
        from_pairs(url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != POSITION)).map(Self)
    }
}

/// Names and values as `T`, whether they came in a query or in a form.
///
/// # Errors
/// 400 naming the parameter.
pub(crate) fn from_pairs<T, N, V>(pairs: impl Iterator<Item = (N, V)>) -> Result<T, Problem>
where
    T: DeserializeOwned,
    N: AsRef<str>,
    V: AsRef<str>,
{
    // A form may be longer than any address.
    let encoded = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let fields = serde_urlencoded::Deserializer::new(url::form_urlencoded::parse(encoded.as_bytes()));
    serde_path_to_error::deserialize(fields).map_err(|error| {
        let message = error.to_string();
        let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let (field, message) = message.split_once(": ").filter(|(name, _)| is_name(name)).unwrap_or(("", &message));
        Problem::invalid(complaint(field, message))
    })
}

impl<T: JsonSchema> OperationInput for Query<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        let schema = context.schema.subschema_for::<T>();
        let parameters = parameters_from_schema(context, schema, ParamLocation::Query);
        add_parameters(context, operation, parameters);
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only parsed")]
        limit: Option<u16>,
        #[expect(dead_code, reason = "only parsed")]
        worker_id: Option<domain::WorkerId>,
    }

    async fn refused(query: &str) -> String {
        let (mut parts, ()) = http::Request::builder().uri(format!("/x?{query}")).body(()).unwrap().into_parts();
        let problem = Query::<Sample>::from_request_parts(&mut parts, &()).await.unwrap_err();
        problem.document().errors.into_iter().map(|error| format!("{} | {}", error.field, error.expected)).collect()
    }

    #[tokio::test]
    async fn a_complaint_names_the_parameter() {
        assert_eq!(refused("limit=many").await, "limit | a valid value");
        assert_eq!(refused("stauts=running").await, "stauts | `limit` or `worker_id`");
        assert!(refused("worker_id=a.b").await.starts_with("worker_id | an identifier: 1 to 64"));
    }
}
