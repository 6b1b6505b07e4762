//! Query strings, parsed with a complaint that names the parameter.

mod parameter;

use std::borrow::Cow;

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::Operation;
use aide::operation::{ParamLocation, add_parameters, parameters_from_schema};
use axum::extract::FromRequestParts;
use http::request::Parts;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::de::value::MapAccessDeserializer;

use self::parameter::{InvalidParameter, Parameters};
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
pub(crate) fn from_pairs<'a, T, N, V>(pairs: impl Iterator<Item = (N, V)>) -> Result<T, Problem>
where
    T: DeserializeOwned,
    N: Into<Cow<'a, str>>,
    V: Into<Cow<'a, str>>,
{
    let parameters = Parameters::new(pairs.map(|(name, value)| (name.into(), value.into())));
    T::deserialize(MapAccessDeserializer::new(parameters))
        .map_err(|InvalidParameter(invalid)| Problem::invalid(invalid))
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
    #[serde(rename_all = "snake_case")]
    enum Order {
        Newest,
        Oldest,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        limit: Option<u16>,
        #[expect(dead_code, reason = "only parsed")]
        worker_id: Option<domain::WorkerId>,
        drift: Option<bool>,
        order: Option<Order>,
        name: Option<String>,
    }

    async fn read(query: &str) -> Result<Sample, Problem> {
        let (mut parts, ()) = http::Request::builder().uri(format!("/x?{query}")).body(()).unwrap().into_parts();
        Query::<Sample>::from_request_parts(&mut parts, &()).await.map(|Query(sample)| sample)
    }

    async fn refused(query: &str) -> String {
        let problem = read(query).await.unwrap_err();
        let errors = problem.document().errors;
        errors.into_iter().map(|error| format!("{} | {} | {}", error.field, error.problem, error.expected)).collect()
    }

    #[tokio::test]
    async fn a_complaint_names_the_parameter() {
        assert_eq!(refused("limit=many").await, "limit | is \"many\" | a whole number, 0 or more");
        assert_eq!(refused("limit=70000").await, "limit | is 70000 | a smaller whole number");
        assert_eq!(refused("limit=-1").await, "limit | is \"-1\" | a whole number, 0 or more");
        assert_eq!(refused("drift=yes").await, "drift | is \"yes\" | true or false");
        assert_eq!(refused("order=best").await, "order | is \"best\" | one of newest, oldest");
        assert_eq!(
            refused("stauts=running").await,
            "stauts | is not known | one of limit, worker_id, drift, order, name"
        );
        assert_eq!(refused("limit=1&limit=2").await, "limit | is given twice | each name once");
        let identifier = refused("worker_id=a.b").await;
        assert!(
            identifier.starts_with("worker_id | ") && identifier.contains("| an identifier: 1 to 64"),
            "{identifier}"
        );
    }

    #[tokio::test]
    async fn a_value_is_what_its_parameter_takes_and_may_hold_anything_else() {
        let read = read("limit=7&drift=true&order=oldest&name=a%3A+b%3B+expected+c").await.unwrap();
        assert_eq!((read.limit, read.drift, read.name.as_deref()), (Some(7), Some(true), Some("a: b; expected c")));
        assert!(matches!(read.order, Some(Order::Oldest)));
    }
}
