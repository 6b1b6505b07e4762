//! Reading what somebody sends: JSON into a command, with everything that is wrong with it.
//!
//! A body is checked against the schema that is published. One pass over it, which builds no tree, finds every field that
//! does not fit, every unknown member and every duplicate. Then the body is parsed into its type, which may refuse it
//! too. The same rules hold over HTTP and on the bus:
//!
//! - All fields that do not fit are reported at once, each with what would be right.
//! - A duplicate member is refused: nobody can know which of the two is meant.
//! - An unknown member is ignored and named in the answer's warnings; with [`Handling::Strict`] it is refused.
//! - A byte order mark before the body is ignored.

mod complaints;
mod leaves;
mod shape;
mod suggestion;
mod unknown;
mod walk;

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use domain::Invalid;
use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::Value;

pub use self::complaints::{InvalidBody, complaint};
use self::shape::Shape;
pub(crate) use self::unknown::UnknownMembers;
use self::walk::Walk;
use crate::warning::Warning;

/// Most nested arrays and objects of a body. The deepest body we know, an observation, has six.
pub(crate) const DEEPEST: usize = 32;

/// How a body with unknown members is handled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Handling {
    /// The members are ignored, and a warning names them.
    #[default]
    Lenient,
    /// The body is refused.
    Strict,
}

impl Handling {
    /// The stricter of the two.
    #[must_use]
    pub fn or_strict(self, strict: bool) -> Self {
        if strict { Self::Strict } else { self }
    }
}

/// A body that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Body<T> {
    /// What it says.
    pub value: T,
    /// Members that were ignored.
    pub(crate) unknown: UnknownMembers,
}

impl<T> Body<T> {
    /// A body of which everything is used.
    pub fn new(value: T) -> Self {
        Self { value, unknown: UnknownMembers::default() }
    }

    /// The same body with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Body<U> {
        Body { value: change(self.value), unknown: self.unknown }
    }

    /// The value, with a warning for each unknown member.
    ///
    /// # Errors
    /// [`InvalidBody`] where unknown members are refused, and there are some.
    pub fn handled(self, handling: Handling) -> Result<(T, Vec<Warning>), InvalidBody> {
        let warnings = self.unknown.handled(handling)?;
        Ok((self.value, warnings))
    }
}

/// Reads a body from its bytes.
///
/// # Errors
/// [`InvalidBody`] with every field that is wrong.
pub fn from_bytes<T>(bytes: &[u8]) -> Result<Body<T>, InvalidBody>
where
    T: DeserializeOwned + JsonSchema + 'static,
{
    let text = json_text(bytes)?;
    let mut walk = Walk::default();
    walk.text(text, &shape_of::<T>());
    let is_rewritten = walk.holds_whole_floats();
    let unknown = walk.finish()?;
    if is_rewritten {
        return parsed_at_paths(with_whole_numbers(serde_json::from_str(text).map_err(unreadable)?), unknown);
    }
    match serde_json::from_str(text) {
        Ok(value) => Ok(Body { value, unknown }),
        // Only a refused body is parsed with its paths, which cost more than everything else.
        Err(_) => parsed_at_paths(&mut serde_json::Deserializer::from_str(text), unknown),
    }
}

/// Reads a body that was parsed into a tree already.
///
/// # Errors
/// [`InvalidBody`] with every field that is wrong.
pub fn from_value<T>(value: Value) -> Result<Body<T>, InvalidBody>
where
    T: DeserializeOwned + JsonSchema + 'static,
{
    let mut walk = Walk::default();
    walk.tree(&value, &shape_of::<T>());
    let is_rewritten = walk.holds_whole_floats();
    let unknown = walk.finish()?;
    parsed_at_paths(if is_rewritten { with_whole_numbers(value) } else { value }, unknown)
}

/// Parses a body that fits its schema. What its type refuses nevertheless is reported with its path.
fn parsed_at_paths<'de, T, D>(deserializer: D, unknown: UnknownMembers) -> Result<Body<T>, InvalidBody>
where
    T: DeserializeOwned,
    D: Deserializer<'de, Error = serde_json::Error>,
{
    let parsed = serde_path_to_error::deserialize(deserializer);
    let value = parsed.map_err(|error| at_path(error).beside(unknown.warnings()))?;
    Ok(Body { value, unknown })
}

/// The same tree with 4.0 written as 4: one number in JSON, two kinds of numbers in serde.
fn with_whole_numbers(tree: Value) -> Value {
    match tree {
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()).and_then(walk::whole) {
            Some(whole) => whole.into(),
            None => Value::Number(number),
        },
        Value::Array(entries) => entries.into_iter().map(with_whole_numbers).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, member)| (name, with_whole_numbers(member))).collect()
        }
        other => other,
    }
}

fn unreadable(error: serde_json::Error) -> InvalidBody {
    Invalid::new("", format!("is not JSON: {error}"), "a JSON document").into()
}

/// Checks that these bytes are one JSON document that can mean only one thing: in UTF-8, of bounded depth, each number
/// within the range of numbers, no member given twice.
///
/// # Errors
/// [`InvalidBody`].
pub(crate) fn check_json(bytes: &[u8]) -> Result<(), InvalidBody> {
    let text = json_text(bytes)?;
    let mut walk = Walk::default();
    walk.text(text, &Shape::ANYTHING);
    walk.finish().map(drop)
}

/// As [`check_json`], of bytes that may be something else than JSON: only what begins like an object or a list is
/// checked.
///
/// # Errors
/// [`InvalidBody`].
pub(crate) fn check_json_of(bytes: &[u8]) -> Result<(), InvalidBody> {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{' | b'[') => check_json(bytes),
        _ => Ok(()),
    }
}

/// The text of a body.
fn json_text(bytes: &[u8]) -> Result<&str, InvalidBody> {
    let expected = "a JSON document in UTF-8";
    let refused = |problem: String| Err(Invalid::new("", problem, expected).into());
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return refused("is empty".to_owned());
    }
    if matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..]) {
        return refused("is UTF-16 or UTF-32".to_owned());
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => refused(format!("is not UTF-8 from byte {}", error.valid_up_to())),
    }
}

/// The complaint of a type about a body that fits its schema.
fn at_path(error: serde_path_to_error::Error<serde_json::Error>) -> InvalidBody {
    let path = error.path().to_string();
    // serde_path_to_error writes `?` for an unknown step.
    let path = if path == "." { "" } else { path.trim_end_matches('?').trim_end_matches('.') };
    let mut message = error.into_inner().to_string();
    if let Some(at) = message.rfind(" at line ") {
        message.truncate(at);
    }
    complaint(path, &message).into()
}

/// The shape of a type, made from its schema with the first use.
fn shape_of<T: JsonSchema + 'static>() -> Arc<Shape> {
    static SHAPES: LazyLock<RwLock<HashMap<TypeId, Arc<Shape>>>> = LazyLock::new(RwLock::default);
    let id = TypeId::of::<T>();
    let known = SHAPES.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
    known.unwrap_or_else(|| {
        let shape = Arc::new(Shape::from_type::<T>());
        SHAPES.write().unwrap_or_else(PoisonError::into_inner).insert(id, shape.clone());
        shape
    })
}

#[cfg(test)]
mod tests;
