//! Ids in the path.

use std::str::FromStr;

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{Operation, Parameter, ParameterData, ParameterSchemaOrContent, PathStyle, SchemaObject};
use aide::operation::add_parameters;
use axum::extract::{FromRequestParts, RawPathParams};
use domain::Invalid;
use domain::text::Line;
use http::request::Parts;
use schemars::JsonSchema;

use crate::problem::{Problem, ProblemKind};

/// The one variable segment of a path, e.g. the `{id}` of `/api/workers/{id}`, parsed as `T`.
#[derive(Debug, Clone)]
pub(crate) struct Id<T>(pub(crate) T);

impl<S: Send + Sync, T: FromStr<Err = Invalid>> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let segments = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::invalid(Invalid::new("id", "is not UTF-8", "an identifier")))?;
        let (name, text) = segments
            .iter()
            .next()
            .ok_or_else(|| Problem::new(ProblemKind::NotFound, "There is nothing at this path."))?;
        text.parse().map(Self).map_err(|invalid: Invalid| Problem::invalid(invalid.within(name)))
    }
}

impl<T: JsonSchema> OperationInput for Id<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        // The one variable of the path has no other name: the router says so to the description too.
        describe_segment::<T>("id", context, operation);
    }
}

/// Tells the API's description of a variable segment.
fn describe_segment<T: JsonSchema>(name: &str, context: &mut GenContext, operation: &mut Operation) {
    let schema = SchemaObject { json_schema: context.schema.subschema_for::<T>(), external_docs: None, example: None };
    let parameter_data = ParameterData {
        name: name.to_owned(),
        description: None,
        required: true,
        deprecated: None,
        format: ParameterSchemaOrContent::Schema(schema),
        example: None,
        examples: Default::default(),
        explode: None,
        extensions: Default::default(),
    };
    add_parameters(context, operation, [Parameter::Path { parameter_data, style: PathStyle::Simple }]);
}

/// The two variable segments of a path, e.g. the `{id}` and the `{node_id}` of
/// `/api/lablet-sessions/{id}/nodes/{node_id}`, parsed as `T` and as `U`.
#[derive(Debug, Clone)]
pub(crate) struct Within<T, U>(pub(crate) T, pub(crate) U);

impl<S, T, U> FromRequestParts<S> for Within<T, U>
where
    S: Send + Sync,
    T: FromStr<Err = Invalid> + Send,
    U: FromStr<Err = Invalid> + Send,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Id(outer) = Id::from_request_parts(parts, state).await?;
        let segments = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::invalid(Invalid::new("id", "is not UTF-8", "an identifier")))?;
        let (name, inner) = segments
            .iter()
            .nth(1)
            .ok_or_else(|| Problem::new(ProblemKind::NotFound, "There is nothing at this path."))?;
        let inner = inner.parse().map_err(|invalid: Invalid| Problem::invalid(invalid.within(name)))?;
        Ok(Self(outer, inner))
    }
}

impl<T: JsonSchema, U: JsonSchema> OperationInput for Within<T, U> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        Id::<T>::operation_input(context, operation);
        // The one path with a second variable names it so.
        describe_segment::<U>("node_id", context, operation);
    }
}

/// A UUID in the path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Uuid(pub(crate) uuid::Uuid);

impl FromStr for Uuid {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        text.parse().map(Self).map_err(|_| {
            let shown: String = text.chars().take(80).collect();
            Invalid::new("", format!("is {shown:?}"), "a UUID")
        })
    }
}

impl JsonSchema for Uuid {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Uuid".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "uuid" })
    }
}

/// CML's id of a node in the path.
pub(crate) type NodeId = Line<1, 64>;

/// A name in the path.
pub(crate) type Name = Line<1, 128>;
