//! Request bodies: bounded in size before anything is parsed, then parsed into a type of the domain.

use std::time::Duration;

use app::body::{self, InvalidBody};
use app::command::CommandName;
use axum::body::{Body, Bytes, HttpBody as _};
use domain::lab_topology::LONGEST_YAML;
use futures_util::StreamExt as _;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::request::Parts;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::problem::{Problem, ProblemKind};

/// Most bytes of a body, unless its type allows more.
pub(crate) const LONGEST_BODY: usize = 1 << 20;

/// Most bytes of a body that may hold a topology: its YAML, and what else there is.
pub(crate) const LONGEST_WITH_TOPOLOGY: usize = LONGEST_YAML + LONGEST_BODY;

/// For how long the rest of a refused body is taken from the connection and discarded, so that a client that is
/// still sending reads the refusal instead of a reset connection.
const LINGER: Duration = Duration::from_secs(2);

/// A type that is read from a request body.
pub(crate) trait RequestBody: DeserializeOwned + JsonSchema + Send + 'static {
    /// The command that it says, which an internal key has to be allowed to send; `None` where no key may come at all.
    const COMMAND: Option<CommandName>;
    /// Most bytes of such a body.
    const LONGEST: usize = LONGEST_BODY;
    /// What an empty body means; `None` where a body is required.
    fn when_empty() -> Option<Self> {
        None
    }
}

/// Reads a JSON body of at most `longest` bytes.
///
/// # Errors
/// 415 when it is declared to be something else than JSON, 413 when it is longer, 400 when the connection breaks off.
pub(crate) async fn read(parts: &Parts, body: Body, longest: usize) -> Result<Bytes, Problem> {
    read_if(parts, body, longest, check_media_type).await
}

/// Reads a body of whatever media type, of at most `longest` bytes.
///
/// # Errors
/// 413 when it is longer, 400 when the connection breaks off.
pub(crate) async fn read_any(parts: &Parts, body: Body, longest: usize) -> Result<Bytes, Problem> {
    read_if(parts, body, longest, |_| Ok(())).await
}

async fn read_if(
    parts: &Parts,
    body: Body,
    longest: usize,
    check: impl FnOnce(&Parts) -> Result<(), Problem>,
) -> Result<Bytes, Problem> {
    let too_large =
        || Problem::new(ProblemKind::TooLarge, format!("The body is larger than the {longest} bytes allowed here."));
    let declared = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > longest as u64) {
        // A client that waits for `100 Continue` has sent nothing.
        if !parts.headers.contains_key(EXPECT) {
            discard(body);
        }
        return Err(too_large());
    }
    if !body.is_end_stream() {
        check(parts)?;
    }
    let mut bytes = Vec::with_capacity(declared.and_then(|declared| usize::try_from(declared).ok()).unwrap_or(0));
    let mut frames = body.into_data_stream();
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|_| Problem::new(ProblemKind::InvalidInput, "The body broke off before its end."))?;
        if bytes.len() + frame.len() > longest {
            discard(Body::from_stream(frames));
            return Err(too_large());
        }
        bytes.extend_from_slice(&frame);
    }
    Ok(bytes.into())
}

fn discard(body: Body) {
    tokio::spawn(async move {
        let mut frames = body.into_data_stream();
        let drained = async { while let Some(Ok(_)) = frames.next().await {} };
        if tokio::time::timeout(LINGER, drained).await.is_err() {
            tracing::debug!("client kept sending a refused body, closing the connection");
        }
    });
}

/// The media type that a body is declared to be, without its parameters.
pub(crate) fn media_type(parts: &Parts) -> Option<String> {
    let declared = parts.headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    declared.as_deref().and_then(|value| value.split(';').next()).map(|text| text.trim().to_ascii_lowercase())
}

fn check_media_type(parts: &Parts) -> Result<(), Problem> {
    let essence = media_type(parts);
    let json = essence.as_deref().is_some_and(|essence| {
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
    });
    if json {
        return Ok(());
    }
    let shown: String = essence.unwrap_or_else(|| "nothing".to_owned()).chars().take(80).collect();
    Err(Problem::new(
        ProblemKind::UnsupportedMediaType,
        format!("The Content-Type says {shown}; send application/json."),
    ))
}

/// Parses a body.
///
/// # Errors
/// 400 naming every field that is wrong, what is wrong with it and what would be right.
pub(crate) fn parse<T: RequestBody>(bytes: &[u8]) -> Result<body::Body<T>, InvalidBody> {
    match T::when_empty() {
        Some(nothing) if bytes.is_empty() => Ok(body::Body::new(nothing)),
        _ => body::from_bytes(bytes),
    }
}

#[cfg(test)]
mod tests {
    use app::command::ObservationRequest;

    use super::*;

    #[test]
    fn a_body_that_may_be_absent_may_be_empty() {
        assert_eq!(parse::<ObservationRequest>(b"").unwrap().value, ObservationRequest::default());
        assert!(parse::<ObservationRequest>(b" ").is_err());
        assert!(parse::<domain::worker::NewWorker>(b"").unwrap_err().to_string().contains("the body is empty"));
    }
}
