//! Problem documents (RFC 9457): the one shape in which anything that goes wrong is answered.
//!
//! ```json
//! {"type": "urn:lablet:problem:invalid-input", "title": "The input is not valid", "status": 400,
//!  "detail": "resource_requirements.cpu_cores is 0; expected a whole number from 1 to 10000",
//!  "instance": "/api/lablet-definitions",
//!  "errors": [{"field": "resource_requirements.cpu_cores", "problem": "is 0", "expected": "a whole number from 1 to 10000"}]}
//! ```

mod database;

use std::time::Duration;

use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation, Response as Described, SchemaObject};
use aide::operation::OperationOutput;
use app::body::InvalidBody;
use app::commands::ErrorCode;
use app::warning::Warning;
use axum::response::{IntoResponse, Response};
use domain::Invalid;
use http::header::{CONTENT_TYPE, ETAG, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Media type of a problem document.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// What went wrong, as a class that a program can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// 400: a field, a parameter or the form of the request is wrong.
    InvalidInput,
    /// 400: the session is in a state in which that cannot be done.
    WrongState,
    /// 401: nobody is signed in.
    Unauthenticated,
    /// 403: somebody is signed in whose authority does not reach so far.
    Forbidden,
    /// 404: there is no such thing.
    NotFound,
    /// 405: the path exists, the method does not.
    MethodNotAllowed,
    /// 409: it contradicts what is there.
    Conflict,
    /// 409: the idempotency key was used for another request.
    KeyReused,
    /// 412: the thing was changed since it was read.
    StaleVersion,
    /// 413: the body is too large.
    TooLarge,
    /// 415: the body is not JSON.
    UnsupportedMediaType,
    /// 428: a change has to name the version it rests on.
    VersionRequired,
    /// 429: this principal has as much under way as one may have.
    TooManyAtOnce,
    /// 500: a fault of this service.
    Internal,
    /// 500: the thing is there, and its row cannot be read, or could not be made.
    Unreadable,
    /// 503: something this service needs is unreachable, or it has too much to do.
    Unavailable,
    /// 503: the read model is not yet at the position that was asked for.
    ReadModelBehind,
    /// 504: the answer took too long; the outcome is unknown.
    TimedOut,
}

impl ProblemKind {
    /// The status code of the answer.
    pub(crate) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.code().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Its row in the one table of codes.
    fn code(self) -> ErrorCode {
        match self {
            Self::InvalidInput => ErrorCode::Invalid,
            Self::WrongState => ErrorCode::Refused,
            Self::Unauthenticated => ErrorCode::Unauthenticated,
            Self::Forbidden => ErrorCode::Forbidden,
            Self::NotFound => ErrorCode::NotFound,
            Self::MethodNotAllowed => ErrorCode::MethodNotAllowed,
            Self::Conflict => ErrorCode::Conflict,
            Self::KeyReused => ErrorCode::KeyReused,
            Self::StaleVersion => ErrorCode::Stale,
            Self::TooLarge => ErrorCode::TooLarge,
            Self::UnsupportedMediaType => ErrorCode::UnsupportedMediaType,
            Self::VersionRequired => ErrorCode::VersionRequired,
            Self::TooManyAtOnce => ErrorCode::TooManyAtOnce,
            Self::Internal => ErrorCode::Broken,
            Self::Unreadable => ErrorCode::Unreadable,
            Self::Unavailable => ErrorCode::Unavailable,
            Self::ReadModelBehind => ErrorCode::ReadModelBehind,
            Self::TimedOut => ErrorCode::TimedOut,
        }
    }

    /// The class in words.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::InvalidInput => "The input is not valid",
            Self::WrongState => "That cannot be done in this state",
            Self::Unauthenticated => "Not signed in",
            Self::Forbidden => "Not allowed",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "The method is not allowed here",
            Self::Conflict => "That contradicts what is there",
            Self::KeyReused => "The idempotency key was used for another request",
            Self::StaleVersion => "Changed since it was read",
            Self::TooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The body is not JSON",
            Self::VersionRequired => "The change names no version",
            Self::TooManyAtOnce => "Too many at once",
            Self::Internal => "Something went wrong on our side",
            Self::Unreadable => "It is there and cannot be read",
            Self::Unavailable => "Not available at the moment",
            Self::ReadModelBehind => "The read model is behind",
            Self::TimedOut => "The answer took too long",
        }
    }
}

impl From<ErrorCode> for ProblemKind {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::Forbidden => Self::Forbidden,
            ErrorCode::Unauthenticated => Self::Unauthenticated,
            ErrorCode::Invalid | ErrorCode::UnknownSubject | ErrorCode::NotAnEvent | ErrorCode::UnknownType => {
                Self::InvalidInput
            }
            ErrorCode::NotFound => Self::NotFound,
            ErrorCode::MethodNotAllowed => Self::MethodNotAllowed,
            ErrorCode::Exists | ErrorCode::BoundElsewhere | ErrorCode::ProposalState | ErrorCode::Conflict => {
                Self::Conflict
            }
            ErrorCode::Refused => Self::WrongState,
            ErrorCode::Stale => Self::StaleVersion,
            ErrorCode::VersionRequired => Self::VersionRequired,
            ErrorCode::KeyReused => Self::KeyReused,
            ErrorCode::TooLarge => Self::TooLarge,
            ErrorCode::UnsupportedMediaType => Self::UnsupportedMediaType,
            ErrorCode::TooManyAtOnce => Self::TooManyAtOnce,
            ErrorCode::ReadModelBehind => Self::ReadModelBehind,
            ErrorCode::Unavailable => Self::Unavailable,
            ErrorCode::TimedOut => Self::TimedOut,
            ErrorCode::Broken | ErrorCode::Crashed | ErrorCode::Unfinished => Self::Internal,
            ErrorCode::Unreadable => Self::Unreadable,
        }
    }
}

/// One field of the input: what is wrong with it, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct FieldProblem {
    /// Path of the field, e.g. `observed_resources.nodes[3].cpu_limit`; empty for the body as a whole.
    pub(crate) field: String,
    /// What is wrong, e.g. `is 0`.
    pub(crate) problem: String,
    /// What would be right, e.g. `a whole number from 1 to 10000`.
    pub(crate) expected: String,
}

impl From<Invalid> for FieldProblem {
    fn from(invalid: Invalid) -> Self {
        Self { field: invalid.field, problem: invalid.problem, expected: invalid.expected }
    }
}

/// The document itself, as it goes out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct Document {
    /// The class of the problem, `urn:lablet:problem:<class>`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The class in words; the same for every problem of this class.
    pub(crate) title: String,
    /// The status code of the answer.
    pub(crate) status: u16,
    /// The class as commands on the bus are told it.
    #[schemars(with = "ErrorCode")]
    #[serde(default)]
    pub(crate) code: String,
    /// What happened this time, and what would be right.
    pub(crate) detail: String,
    /// The path that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<String>,
    /// The fields that are wrong, where fields are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<FieldProblem>,
    /// What of the request was not used; a name that is misspelt may be the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<Warning>,
}

/// A problem on its way out. Never holds a secret, and never the text of a fault of our own.
#[derive(Debug, Clone)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    kind: ProblemKind,
    code: &'static str,
    detail: String,
    errors: Vec<FieldProblem>,
    warnings: Vec<Warning>,
    instance: Option<String>,
    retry_after: Option<Duration>,
    etag: Option<String>,
    allow: Option<HeaderValue>,
}

impl Problem {
    /// A problem of this kind; `detail` says what happened and what would be right.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            code: kind.code().as_str(),
            detail: detail.into(),
            errors: Vec::new(),
            warnings: Vec::new(),
            instance: None,
            retry_after: None,
            etag: None,
            allow: None,
        }))
    }

    /// A single wrong field.
    pub(crate) fn invalid(invalid: Invalid) -> Self {
        let mut problem = Self::new(ProblemKind::InvalidInput, invalid.to_string().trim_start());
        problem.0.errors.push(invalid.into());
        problem
    }

    /// The same problem, with the field that is wrong, where it is one field.
    #[must_use]
    pub(crate) fn naming(mut self, invalid: Option<Invalid>) -> Self {
        self.0.errors.extend(invalid.map(FieldProblem::from));
        self
    }

    /// The same problem, as a failure of a command.
    #[must_use]
    pub(crate) fn coded(mut self, code: ErrorCode) -> Self {
        self.0.code = code.as_str();
        self
    }

    /// The same problem, with what of the request was not used.
    #[must_use]
    pub(crate) fn beside(mut self, warnings: Vec<Warning>) -> Self {
        self.0.warnings.extend(warnings);
        self
    }

    /// There is no `what` with this id.
    pub(crate) fn not_found(what: &str, id: &str) -> Self {
        let shown: String = id.chars().take(80).collect();
        Self::new(ProblemKind::NotFound, format!("There is no {what} {shown}."))
    }

    /// A dependency is unreachable; ask again after `retry_after`.
    pub(crate) fn unavailable(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(ProblemKind::Unavailable, detail).retry_after(retry_after)
    }

    /// A fault of our own. The cause is logged here, once, and kept out of the answer.
    pub(crate) fn internal(what: &'static str, cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = cause, "{what}");
        Self::new(ProblemKind::Internal, "The fault was logged; the correlation id of this answer leads to it.")
    }

    /// The same problem, in the current version `etag` of the thing.
    #[must_use]
    pub(crate) fn with_etag(mut self, etag: String) -> Self {
        self.0.etag = Some(etag);
        self
    }

    /// The same problem, worth another try after `after`.
    #[must_use]
    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// The same problem, met on `path`.
    #[must_use]
    pub(crate) fn at(mut self, path: &str) -> Self {
        self.0.instance = Some(path.to_owned());
        self
    }

    /// The same problem with the `Allow` header of a router's 405.
    #[must_use]
    pub(crate) fn allowing(mut self, allow: Option<HeaderValue>) -> Self {
        self.0.allow = allow;
        self
    }

    /// Its kind.
    pub(crate) fn kind(&self) -> ProblemKind {
        self.0.kind
    }

    /// The document that goes out.
    pub(crate) fn document(&self) -> Document {
        Document {
            kind: format!("urn:lablet:problem:{}", self.0.kind.code().problem()),
            title: self.0.kind.title().to_owned(),
            code: self.0.code.to_owned(),
            status: self.0.kind.status().as_u16(),
            detail: self.0.detail.clone(),
            instance: self.0.instance.clone(),
            errors: self.0.errors.clone(),
            warnings: self.0.warnings.clone(),
        }
    }
}

impl From<InvalidBody> for Problem {
    fn from(refused: InvalidBody) -> Self {
        let others = refused.complaints().len() + refused.more() - 1;
        let mut detail = match refused.complaints() {
            [first, _, ..] => InvalidBody::from(first.clone()).to_string(),
            _ => refused.to_string(),
        };
        if others > 0 {
            detail.push_str(&format!("; and {others} more, see errors"));
        }
        let mut problem = Self::new(ProblemKind::InvalidInput, detail).beside(refused.warnings().to_vec());
        problem.0.errors = refused.complaints().iter().cloned().map(FieldProblem::from).collect();
        problem
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Self::invalid(invalid)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.0.kind.status();
        let mut response = (status, axum::Json(self.document())).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"lablet\""));
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("ApiKey realm=\"lablet\", header=\"X-API-Key\""));
        }
        if let Some(after) = self.0.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if let Some(etag) = self.0.etag.as_deref().and_then(|etag| HeaderValue::from_str(etag).ok()) {
            headers.insert(ETAG, etag);
        }
        if let Some(allow) = self.0.allow.clone() {
            headers.insert(http::header::ALLOW, allow);
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl OperationOutput for Problem {
    type Inner = Document;

    fn operation_response(context: &mut GenContext, _: &mut Operation) -> Option<Described> {
        let schema = SchemaObject {
            json_schema: context.schema.subschema_for::<Document>(),
            external_docs: None,
            example: None,
        };
        let mut described =
            Described { description: "A problem document (RFC 9457)".to_owned(), ..Described::default() };
        described.content.insert(PROBLEM_JSON.to_owned(), MediaType { schema: Some(schema), ..MediaType::default() });
        Some(described)
    }

    fn inferred_responses(context: &mut GenContext, operation: &mut Operation) -> Vec<(Option<u16>, Described)> {
        Self::operation_response(context, operation).map(|described| (None, described)).into_iter().collect()
    }
}

/// Makes a sentence of an error's text.
pub(crate) fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).chain(['.']).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_the_field_and_what_would_be_right() {
        let problem = Problem::invalid(Invalid::new("capacity.cpu_cores", "is 0", "a whole number from 1 to 10000"))
            .at("/api/workers");
        insta::assert_json_snapshot!(problem.document(), @r#"
        {
          "type": "urn:lablet:problem:invalid-input",
          "title": "The input is not valid",
          "status": 400,
          "code": "invalid",
          "detail": "capacity.cpu_cores is 0; expected a whole number from 1 to 10000",
          "instance": "/api/workers",
          "errors": [
            {
              "field": "capacity.cpu_cores",
              "problem": "is 0",
              "expected": "a whole number from 1 to 10000"
            }
          ]
        }
        "#);
    }

    #[test]
    fn every_code_of_a_command_has_the_class_and_the_status_of_the_one_table() {
        for code in ErrorCode::ALL {
            let document = Problem::new(code.into(), "…").document();
            let kind = format!("urn:lablet:problem:{}", code.problem());
            assert_eq!((document.kind, document.status), (kind, code.status()), "{code:?}");
        }
    }

    #[test]
    fn who_is_not_signed_in_is_told_how() {
        let response = Problem::new(ProblemKind::Unauthenticated, "…").into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers().get_all(WWW_AUTHENTICATE).iter().count(), 2);
        assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
    }
}
