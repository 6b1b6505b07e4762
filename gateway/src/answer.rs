//! Answers that say more than their body: where the new thing is, its version, and where in the log a write is.

use aide::generate::GenContext;
use aide::openapi::{Operation, Response as Described};
use aide::operation::OperationOutput;
use app::warning::Warning;
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::position::LABLET_POSITION;
use crate::submission::IDEMPOTENCY_REPLAYED;
use crate::version::etag;

/// A JSON body with status `STATUS` and headers of its own.
pub(crate) struct Answer<const STATUS: u16, T> {
    body: T,
    headers: HeaderMap,
}

/// 200.
pub(crate) type Found<T> = Answer<200, T>;
/// 201.
pub(crate) type Created<T> = Answer<201, T>;
/// 202.
pub(crate) type Accepted<T> = Answer<202, T>;

/// The body of an answer to a command that took effect.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}")]
pub(crate) struct Written<T> {
    /// What was written.
    #[serde(flatten)]
    pub(crate) body: T,
    /// What the sender should look at, although the command took effect. Absent where there is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<Warning>,
}

impl<const STATUS: u16, T> Answer<STATUS, T> {
    /// An answer with this body.
    pub(crate) fn new(body: T) -> Self {
        Self { body, headers: HeaderMap::new() }
    }

    /// The same, in the version with this sequence.
    pub(crate) fn at_version(self, sequence: i64) -> Self {
        self.with(ETAG, &etag(sequence))
    }

    /// The same, in the version with this tag.
    pub(crate) fn at_etag(self, etag: &str) -> Self {
        self.with(ETAG, etag)
    }

    /// The same, written at this position of the log.
    pub(crate) fn at_position(self, position: &str) -> Self {
        self.with(HeaderName::from_static(LABLET_POSITION), position)
    }

    /// The same, about a thing that is to be found at `path`.
    pub(crate) fn located_at(self, path: &str) -> Self {
        self.with(LOCATION, path)
    }

    /// The same, marked as the first answer given once more where `replayed`.
    pub(crate) fn replayed(self, replayed: bool) -> Self {
        if replayed { self.with(HeaderName::from_static(IDEMPOTENCY_REPLAYED), "true") } else { self }
    }

    /// Every value here is an id, a number or a position, and so fits a header.
    fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

impl<const STATUS: u16, T: Serialize> IntoResponse for Answer<STATUS, T> {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(STATUS).unwrap_or(StatusCode::OK);
        (status, self.headers, Json(self.body)).into_response()
    }
}

impl<const STATUS: u16, T: JsonSchema + Serialize> OperationOutput for Answer<STATUS, T> {
    type Inner = T;

    fn operation_response(context: &mut GenContext, operation: &mut Operation) -> Option<Described> {
        Json::<T>::operation_response(context, operation)
    }

    fn inferred_responses(context: &mut GenContext, operation: &mut Operation) -> Vec<(Option<u16>, Described)> {
        Self::operation_response(context, operation).map(|described| (Some(STATUS), described)).into_iter().collect()
    }
}
