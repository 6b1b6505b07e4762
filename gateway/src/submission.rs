//! A request that changes something: its body, and everything the log wants to know about where it comes from.

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation, RequestBody as DescribedBody, Response as Described, SchemaObject};
use aide::operation::{add_parameters, set_body};
use app::authority::Sender;
use app::body::Handling;
use app::commands::{CommandError, Commands};
use app::log::{DedupeKey, Origin};
use app::warning::Warning;
use axum::extract::{FromRef, FromRequest, Request};
use domain::Invalid;
use http::HeaderMap;
use http::request::Parts;
use schemars::json_schema;

use crate::authentication::Principal;
use crate::body::{self, RequestBody};
use crate::caller::{described_problems, principal};
use crate::correlation::Correlation;
use crate::preferences::Preferences;
use crate::problem::{Problem, ProblemKind};
use crate::version::header_parameter;

/// Header that makes a repeated request the same request.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Header on an answer that was given before.
pub(crate) const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";

/// Member of an operation's description that names the command it sends, which an internal key needs authority for.
const COMMAND_EXTENSION: &str = "x-lablet-command";

/// Longest idempotency key.
const LONGEST_KEY: usize = 200;

/// A parsed body and its context. Has to come last in a handler's parameters.
pub(crate) struct Submission<B> {
    /// The body.
    pub(crate) body: B,
    /// Where it comes from.
    pub(crate) origin: Origin,
    /// What its sender should look at.
    pub(crate) warnings: Vec<Warning>,
}

/// Where a change comes from.
///
/// # Errors
/// 500 when the request did not come through the router's own layers.
fn origin(parts: &Parts, bytes: &[u8]) -> Result<Origin, Problem> {
    origin_with(parts, idempotency_key(&parts.headers)?, bytes)
}

/// Where a change comes from, with the key under which it takes effect once.
///
/// # Errors
/// 500 when the request did not come through the router's own layers.
pub(crate) fn origin_with(parts: &Parts, key: Option<&str>, bytes: &[u8]) -> Result<Origin, Problem> {
    let principal = principal(parts)?;
    let missing = || Problem::new(ProblemKind::Internal, "The request has no correlation.");
    let correlation = parts.extensions.get::<Correlation>().cloned().ok_or_else(missing)?;
    // One caller's keys do not meet another's.
    let dedupe = key.map(|key| {
        DedupeKey::new(&format!("http:{principal}:{key}"), &content(parts.method.as_str(), parts.uri.path(), bytes))
    });
    Ok(Origin {
        actor: principal.to_string(),
        sender: sender(&principal),
        correlation_id: Some(correlation.id),
        causation_id: None,
        traceparent: correlation.traceparent,
        dedupe,
    })
}

/// Whose authority decides: a service's is that of its key, a person's the role that the route asked for.
fn sender(principal: &Principal) -> Sender {
    match principal {
        Principal::Service { name } => Sender::Key(name.clone()),
        Principal::Admin { .. } => Sender::Trusted,
    }
}

/// What the same key has to come with again: method, path and body.
fn content(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    [method.as_bytes(), b"\n", path.as_bytes(), b"\n", body].concat()
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Invalid> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    checked_key("Idempotency-Key", value.to_str().unwrap_or_default()).map(Some)
}

/// A key that can be used.
///
/// # Errors
/// [`Invalid`] naming `field`.
pub(crate) fn checked_key<'a>(field: &str, key: &'a str) -> Result<&'a str, Invalid> {
    if (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(key);
    }
    Err(Invalid::new(field, "is not usable", format!("1 to {LONGEST_KEY} visible ASCII characters")))
}

impl<S, B> FromRequest<S> for Submission<B>
where
    S: Send + Sync,
    B: RequestBody,
    Commands: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let commands = Commands::from_ref(state);
        let (parts, body) = request.into_parts();
        if let Some(command) = B::COMMAND {
            // What may not be sent is not read.
            commands.check_authority(&sender(&principal(&parts)?), command).map_err(CommandError::from)?;
        }
        idempotency_key(&parts.headers)?;
        let bytes = body::read(&parts, body, B::LONGEST).await?;
        let preferred = parts.extensions.get::<Preferences>().map(Preferences::handling).unwrap_or_default();
        let handling = commands.handling().or_strict(preferred == Handling::Strict);
        let (body, warnings) = body::parse(&bytes)?.handled(handling)?;
        Ok(Self { body, origin: origin(&parts, &bytes)?, warnings })
    }
}

impl<B: RequestBody> OperationInput for Submission<B> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        let schema =
            SchemaObject { json_schema: context.schema.subschema_for::<B>(), external_docs: None, example: None };
        let content = MediaType { schema: Some(schema), ..MediaType::default() };
        let body = DescribedBody {
            content: [("application/json".to_owned(), content)].into_iter().collect(),
            required: B::when_empty().is_none(),
            ..DescribedBody::default()
        };
        set_body(context, operation, body);
        let about = "Repeating the request with the same key and body gives the first answer again.";
        let key = json_schema!({
            "type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[!-~]+$"
        });
        let prefer = "`handling=strict` has a body with unknown members refused; else they are not used, and named in \
                      the answer's `warnings`.";
        add_parameters(
            context,
            operation,
            [
                header_parameter("Idempotency-Key", false, about, key),
                header_parameter("Prefer", false, prefer, json_schema!({ "type": "string" })),
            ],
        );
        if let Some(command) = B::COMMAND {
            operation.extensions.insert(COMMAND_EXTENSION.to_owned(), command.as_str().into());
        }
    }

    fn inferred_early_responses(context: &mut GenContext, operation: &mut Operation) -> Vec<(Option<u16>, Described)> {
        described_problems(
            context,
            operation,
            &[
                (400, "The input is not valid"),
                (409, "It contradicts what is there, or the idempotency key was used for another request"),
                (413, "The body is too large"),
                (415, "The body is not JSON"),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_path_and_body_make_the_request() {
        let first = content("POST", "/api/workers", b"{}");
        for (method, path, body) in
            [("PATCH", "/api/workers", "{}"), ("POST", "/api/worker", "{}"), ("POST", "/api/workers", "{ }")]
        {
            assert_ne!(first, content(method, path, body.as_bytes()));
        }
    }

    #[test]
    fn a_key_is_short_and_visible() {
        let headers = |value: &str| {
            HeaderMap::from_iter([(
                http::HeaderName::from_static(IDEMPOTENCY_KEY),
                http::HeaderValue::from_str(value).unwrap(),
            )])
        };
        assert_eq!(idempotency_key(&headers("order-7")).unwrap(), Some("order-7"));
        assert_eq!(idempotency_key(&HeaderMap::new()).unwrap(), None);
        for bad in ["", "two words", &"x".repeat(201)] {
            assert!(idempotency_key(&headers(bad)).is_err(), "{bad}");
        }
    }
}
