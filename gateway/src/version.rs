//! Versions of single things: `ETag` on what is read, `If-Match` on what is changed.
//!
//! A thing's version is the sequence of the last event that changed it. Pressure does not change a worker in this sense:
//! who edits a worker does not rest on it.

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{
    HeaderStyle, Operation, Parameter, ParameterData, ParameterSchemaOrContent, Response as Described, SchemaObject,
};
use aide::operation::add_parameters;
use app::log::Expected;
use axum::extract::FromRequestParts;
use domain::Invalid;
use http::HeaderValue;
use http::header::IF_MATCH;
use http::request::Parts;
use schemars::{Schema, json_schema};

use crate::caller::described_problems;
use crate::problem::{Problem, ProblemKind};

/// The entity tag of the version with this number: `"7"`, quotes included.
pub(crate) fn etag(sequence: i64) -> String {
    format!("\"{sequence}\"")
}

/// Of a change that has to name the version it rests on.
pub(crate) const REQUIRED: bool = true;

/// Of a change that may name the version it rests on.
pub(crate) const OPTIONAL: bool = false;

/// Most tags of one `If-Match`.
const MOST_TAGS: usize = 32;

/// The versions that a change rests on, from `If-Match`.
#[derive(Debug, Clone)]
pub(crate) struct IfMatch<const IS_REQUIRED: bool> {
    /// Sequences of the versions; any for `*`, and where the header is absent and may be.
    pub(crate) expected: Expected,
}

impl<S: Send + Sync, const IS_REQUIRED: bool> FromRequestParts<S> for IfMatch<IS_REQUIRED> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let values: Vec<&HeaderValue> = parts.headers.get_all(IF_MATCH).iter().collect();
        if values.is_empty() {
            if !IS_REQUIRED {
                return Ok(Self { expected: Expected::Any });
            }
            let detail = "Send If-Match with the ETag of the version that the change rests on.";
            return Err(Problem::new(ProblemKind::VersionRequired, detail));
        }
        // Several headers are one list.
        let text: Option<Vec<&str>> = values.iter().map(|value| value.to_str().ok()).collect();
        let expected = text.and_then(|parts| parse(&parts.join(",")));
        expected.map(|expected| Self { expected }).ok_or_else(|| {
            let shown: Vec<_> = values.iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            let shown: String = shown.join(", ").chars().take(80).collect();
            let expected = "an ETag of this thing, such as \"7\" with its quotes, a list of them, or *";
            Invalid::new("If-Match", format!("is {shown}"), expected).into()
        })
    }
}

/// Reads a list of entity tags; `None` where it is none, or none of them is a version.
///
/// A weak tag counts as its strong one, and so does one to which a compressing proxy added its mark: what they stand for
/// is the same version of the same thing.
fn parse(text: &str) -> Option<Expected> {
    if text.trim() == "*" {
        return Some(Expected::Any);
    }
    let mut versions = Vec::new();
    let mut rest = text.trim();
    for _ in 0..MOST_TAGS {
        let quoted = rest.strip_prefix("W/").or_else(|| rest.strip_prefix("w/")).unwrap_or(rest).strip_prefix('"')?;
        let (tag, behind) = quoted.split_once('"')?;
        versions.extend(sequence(tag));
        rest = behind.trim_start();
        if rest.is_empty() {
            return (!versions.is_empty()).then_some(Expected::OneOf(versions));
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
    None
}

/// The sequence that a tag names.
fn sequence(tag: &str) -> Option<i64> {
    let digits = tag.find(|character: char| !character.is_ascii_digit()).unwrap_or(tag.len());
    let (digits, mark) = tag.split_at(digits);
    let mark = mark.trim_start_matches(['-', ';']);
    matches!(mark, "" | "gzip" | "br" | "deflate" | "zstd").then(|| digits.parse().ok()).flatten()
}

impl<const IS_REQUIRED: bool> OperationInput for IfMatch<IS_REQUIRED> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        let about = "The ETag of the version that the change rests on, a list of them, or *.";
        let tag = r#"(W/)?"[0-9]{1,18}""#;
        let more = MOST_TAGS - 1;
        let schema = json_schema!({
            "type": "string", "pattern": format!(r"^(\*|{tag}(, *{tag}){{0,{more}}})$"), "examples": ["*"]
        });
        add_parameters(context, operation, [header_parameter("If-Match", IS_REQUIRED, about, schema)]);
    }

    fn inferred_early_responses(context: &mut GenContext, operation: &mut Operation) -> Vec<(Option<u16>, Described)> {
        let stale = (412, "It was changed since it was read; ETag names the current version");
        let missing = (428, "If-Match is missing");
        let problems = if IS_REQUIRED { vec![stale, missing] } else { vec![stale] };
        described_problems(context, operation, &problems)
    }
}

/// A header, for the API's description.
pub(crate) fn header_parameter(name: &str, required: bool, description: &str, json_schema: Schema) -> Parameter {
    let schema = SchemaObject { json_schema, external_docs: None, example: None };
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
        let versions = |sequences: &[i64]| Some(Expected::OneOf(sequences.to_vec()));
        assert_eq!(parse(&etag(7)), versions(&[7]));
        assert_eq!(parse(" * "), Some(Expected::Any));
        assert_eq!(parse("W/\"7\""), versions(&[7]), "a proxy compressed the answer");
        assert_eq!(parse("\"7-gzip\""), versions(&[7]));
        assert_eq!(parse("\"7;br\""), versions(&[7]));
        assert_eq!(parse("\"7\",W/\"8\" , \"of,another\""), versions(&[7, 8]));
        let long = vec!["\"1\""; 33].join(",");
        for other in
            ["7", "\"7", "\"x\"", "\"-1\"", "", "\"7\" \"8\"", "\"7\",", "\"99999999999999999999\"", "*, \"7\"", &long]
        {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
