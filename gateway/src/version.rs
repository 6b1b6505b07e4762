//! Versions of single things: `ETag` on what is read, `If-Match` on what is changed.
//!
//! A thing's version is the sequence of its last event, so it changes exactly when the thing does.

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{
    HeaderStyle, Operation, Parameter, ParameterData, ParameterSchemaOrContent, Response as Described, SchemaObject,
};
use aide::operation::add_parameters;
use axum::extract::FromRequestParts;
use domain::Invalid;
use http::header::IF_MATCH;
use http::request::Parts;

use crate::caller::described_problems;
use crate::problem::{Kind, Problem};

/// The entity tag of the version with this sequence: `"7"`, quotes included.
pub(crate) fn etag(sequence: i64) -> String {
    format!("\"{sequence}\"")
}

/// The version that a change rests on, from `If-Match`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IfMatch {
    /// Sequence of the version, or `None` for `*`: any version.
    pub(crate) sequence: Option<i64>,
}

/// The change rests on `expected`, while the thing is at `actual`.
pub(crate) fn stale(expected: i64, actual: i64) -> Problem {
    let detail = format!(
        "If-Match names version {}, the current one is {}. Read it again, and decide whether the change still holds.",
        etag(expected),
        etag(actual)
    );
    Problem::new(Kind::StaleVersion, detail).with_etag(etag(actual))
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(IF_MATCH) else {
            let detail = "Send If-Match with the ETag of the version that the change rests on.";
            return Err(Problem::new(Kind::VersionRequired, detail));
        };
        parse(value.to_str().unwrap_or_default()).ok_or_else(|| {
            let shown: String = String::from_utf8_lossy(value.as_bytes()).chars().take(80).collect();
            Invalid::new(
                "If-Match",
                format!("is {shown}"),
                "one ETag of this thing, such as \"7\" with its quotes, or *",
            )
            .into()
        })
    }
}

fn parse(text: &str) -> Option<IfMatch> {
    let text = text.trim();
    if text == "*" {
        return Some(IfMatch { sequence: None });
    }
    let sequence = text.strip_prefix('"')?.strip_suffix('"')?.parse().ok().filter(|sequence: &i64| *sequence >= 0)?;
    Some(IfMatch { sequence: Some(sequence) })
}

impl OperationInput for IfMatch {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        add_parameters(
            context,
            operation,
            [header_parameter("If-Match", true, "The ETag of the version that the change rests on, or *.")],
        );
    }

    fn inferred_early_responses(context: &mut GenContext, operation: &mut Operation) -> Vec<(Option<u16>, Described)> {
        described_problems(
            context,
            operation,
            &[(412, "It was changed since it was read; ETag names the current version"), (428, "If-Match is missing")],
        )
    }
}

/// A header, for the API's description.
pub(crate) fn header_parameter(name: &str, required: bool, description: &str) -> Parameter {
    let schema =
        SchemaObject { json_schema: schemars::json_schema!({ "type": "string" }), external_docs: None, example: None };
    let parameter_data = ParameterData {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        required,
        deprecated: None,
        format: ParameterSchemaOrContent::Schema(schema),
        example: None,
        examples: Default::default(),
        explode: None,
        extensions: Default::default(),
    };
    Parameter::Header { parameter_data, style: HeaderStyle::Simple }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_comes_back_as_its_sequence() {
        assert_eq!(parse(&etag(7)).unwrap().sequence, Some(7));
        assert_eq!(parse("*").unwrap().sequence, None);
        for other in ["7", "W/\"7\"", "\"7\", \"8\"", "\"x\"", "\"-1\"", ""] {
            assert!(parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_stale_version_names_both() {
        let document = stale(3, 5).document();
        assert!(document.detail.contains("\"3\"") && document.detail.contains("\"5\""));
        assert_eq!(document.status, 412);
    }
}
