//! Request bodies: bounded in size and depth before anything is parsed, then parsed into a type of the domain.

use std::time::Duration;

use app::commands::CommandName;
use axum::body::{Body, Bytes, HttpBody as _};
use domain::Invalid;
use futures_util::StreamExt as _;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::request::Parts;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::problem::{Kind, Problem};

/// Most bytes of a body, unless its type allows more.
pub(crate) const LONGEST_BODY: usize = 1 << 20;

/// Most nested arrays and objects of a body. The deepest body we know, an observation, has six.
pub(crate) const DEEPEST_BODY: usize = 32;

/// For how long the rest of a refused body is taken from the connection and thrown away, so that a client that is
/// still sending reads the refusal instead of a reset connection.
const LINGER: Duration = Duration::from_secs(2);

/// A type that is read from a request body.
pub(crate) trait RequestBody: DeserializeOwned + JsonSchema + Send + 'static {
    /// The command that it says, which an internal key has to be allowed to send; `None` where no key may come at all.
    const COMMAND: Option<CommandName>;
    /// Most bytes of such a body.
    const LONGEST: usize = LONGEST_BODY;
    /// What an empty body means; `None` where a body is required.
    fn of_nothing() -> Option<Self> {
        None
    }
}

/// Reads a JSON body of at most `longest` bytes.
///
/// # Errors
/// 415 when it is declared to be something else than JSON, 413 when it is longer, 400 when the connection breaks off.
pub(crate) async fn read(parts: &Parts, body: Body, longest: usize) -> Result<Bytes, Problem> {
    let too_large =
        || Problem::new(Kind::TooLarge, format!("The body is larger than the {longest} bytes allowed here."));
    let declared = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > longest as u64) {
        // A client that waits for our leave to send has sent nothing.
        if !parts.headers.contains_key(EXPECT) {
            discard(body);
        }
        return Err(too_large());
    }
    if !body.is_end_stream() {
        check_media_type(parts)?;
    }
    let mut bytes = Vec::with_capacity(declared.and_then(|declared| usize::try_from(declared).ok()).unwrap_or(0));
    let mut frames = body.into_data_stream();
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|_| Problem::new(Kind::InvalidInput, "The body broke off before its end."))?;
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
            tracing::debug!("a client went on sending a body that was refused; the connection is closed");
        }
    });
}

fn check_media_type(parts: &Parts) -> Result<(), Problem> {
    let declared = parts.headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let essence =
        declared.as_deref().and_then(|value| value.split(';').next()).map(|text| text.trim().to_ascii_lowercase());
    let json = essence.as_deref().is_some_and(|essence| {
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
    });
    if json {
        return Ok(());
    }
    let shown: String = essence.unwrap_or_else(|| "nothing".to_owned()).chars().take(80).collect();
    Err(Problem::new(Kind::UnsupportedMediaType, format!("The Content-Type says {shown}; send application/json.")))
}

/// Parses a body.
///
/// # Errors
/// 400 naming the field, what is wrong with it and what would be right.
pub(crate) fn parse<T: RequestBody>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.is_empty()
        && let Some(nothing) = T::of_nothing()
    {
        return Ok(nothing);
    }
    if let Err(error) = std::str::from_utf8(bytes) {
        let problem = format!("is not UTF-8 from byte {}", error.valid_up_to());
        return Err(Invalid::new("", problem, "JSON in UTF-8").into());
    }
    if depth(bytes) > DEEPEST_BODY {
        let problem = format!("nests more than {DEEPEST_BODY} levels deep");
        return Err(Invalid::new("", problem, format!("at most {DEEPEST_BODY} levels of arrays and objects")).into());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        invalid(&path, &error.into_inner())
    })?;
    deserializer.end().map_err(|error| invalid(".", &error))?;
    Ok(parsed)
}

/// How deep arrays and objects nest. Looks at brackets outside strings alone, so it costs one pass and no memory.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn invalid(path: &str, error: &serde_json::Error) -> Problem {
    // serde_path_to_error writes `?` for a step that it could not see.
    let path = if path == "." { "" } else { path.trim_end_matches('?').trim_end_matches('.') };
    let (mut message, mut place) = (error.to_string(), String::new());
    if let Some(at) = message.rfind(" at line ") {
        place = message.split_off(at);
    }
    match error.classify() {
        serde_json::error::Category::Data => Problem::invalid(split(path, &message)),
        serde_json::error::Category::Syntax | serde_json::error::Category::Eof | serde_json::error::Category::Io => {
            Problem::invalid(Invalid::new("", format!("is not JSON: {message}{place}"), "a JSON document"))
        }
    }
}

/// Turns the message of a deserialiser, of the domain or of serde, into a complaint about a field.
pub(crate) fn split(path: &str, message: &str) -> Invalid {
    let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let quoted = |prefix: &str| message.strip_prefix(prefix)?.split_once('`').map(|(name, _)| name.to_owned());
    if let Some(name) = quoted("missing field `") {
        return Invalid::new(join(&name), "is missing", "a value");
    }
    if let Some(name) = quoted("unknown field `") {
        let name: String = name.chars().take(80).collect();
        // The path of an unknown field already ends in its name.
        let field = if path == name || path.ends_with(&format!(".{name}")) { path.to_owned() } else { join(&name) };
        let expected = message.split_once(", expected ").map_or("no such field", |(_, expected)| expected);
        return Invalid::new(field, "is not known", expected);
    }
    // The domain's own complaints: `<field> <problem>; expected <expected>`.
    if let Some((complaint, expected)) = message.split_once("; expected ") {
        let (field, problem) = complaint.split_once(' ').unwrap_or(("", complaint));
        let field = if field.is_empty() { path.to_owned() } else { join(field) };
        return Invalid::new(field, problem.trim_start(), expected);
    }
    let (problem, expected) = message.split_once(", expected ").unwrap_or((message, "a valid value"));
    let problem: String = problem.chars().take(200).collect();
    Invalid::new(path, format!("is wrong: {problem}"), in_words(expected))
}

/// What serde expects, in words of this API instead of names of types.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        "a map" => "an object",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only parsed")]
        nodes: Vec<Node>,
        #[expect(dead_code, reason = "only parsed")]
        timeslot: Option<domain::timeslot::Timeslot>,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    struct Node {
        #[expect(dead_code, reason = "only parsed")]
        port: domain::ports::PortNumber,
    }

    impl RequestBody for Sample {
        const COMMAND: Option<CommandName> = None;
    }

    fn complaint(body: &[u8]) -> String {
        parse::<Sample>(body)
            .unwrap_err()
            .document()
            .errors
            .into_iter()
            .map(|error| format!("{} | {} | {}", error.field, error.problem, error.expected))
            .collect()
    }

    #[test]
    fn a_complaint_names_field_problem_and_expectation() {
        for (body, expected) in [
            (
                r#"{"nodes":[{"port":1},{"port":70000}]}"#,
                "nodes[1].port | is wrong: invalid value: integer `70000` | a port from 1 to 65535",
            ),
            (
                r#"{"nodes":[{"port":0}]}"#,
                "nodes[0].port | is wrong: invalid value: integer `0` | a port from 1 to 65535",
            ),
            (r#"{"nodes":[3]}"#, "nodes[0] | is wrong: invalid type: integer `3` | an object"),
            (r#"{}"#, "nodes | is missing | a value"),
            (r#"{"nodes":[{}]}"#, "nodes[0].port | is missing | a value"),
            (r#"{"nodes":[],"more":1}"#, "more | is not known | `nodes` or `timeslot`"),
            (
                r#"{"nodes":[],"timeslot":{"start":"2026-03-01T10:00:00Z","end":"2026-03-01T09:00:00Z"}}"#,
                "timeslot.end | is 2026-03-01 09:00:00 UTC | a time after the start, 2026-03-01 10:00:00 UTC",
            ),
        ] {
            assert_eq!(complaint(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn what_is_no_json_is_said_to_be_none() {
        assert!(complaint(b"{\"nodes\":").contains("is not JSON"));
        assert!(complaint(b"").contains("is not JSON"));
        assert!(complaint(b"{\"nodes\":[]} x").contains("is not JSON"));
        assert!(complaint(b"{\"nodes\":\"\xff\"}").contains("is not UTF-8 from byte 10"));
    }

    #[test]
    fn depth_is_bounded_and_brackets_in_strings_do_not_count() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(complaint(deep.as_bytes()).contains("at most 32 levels"));
        assert_eq!(depth(br#"{"a":"[[[[\"[[["}"#), 1);
        assert_eq!(depth(br#"[[],[{}]]"#), 3);
    }
}
