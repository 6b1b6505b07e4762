//! Reading single members of an answer: each gives what could be read, and notes what could not.

use domain::observation::FailedRead;
use domain::text::{Rule, Token};
use serde_json::Value;

use super::Reading;
use crate::cml::error::CmlError;

/// Longest label, name, tag or definition that is kept; characters.
pub(super) const LONGEST_TEXT: usize = 256;
/// Longest id, state or address; characters.
pub(super) const LONGEST_TOKEN: usize = 64;
/// Most unreadable entries that one reading names; the rest is counted.
pub(super) const MOST_NAMED: usize = 100;

pub(super) fn slot(notes: &mut Notes, place: &str, entry: &Value) -> Option<i32> {
    let value = entry.get("slot").filter(|slot| !slot.is_null())?;
    let slot = value.as_i64().and_then(|slot| i32::try_from(slot).ok());
    if slot.is_none() {
        notes.add(format!("{place}.slot"), format!("is {}", kind(value)));
    }
    slot
}

/// An id without which the whole entry is left out.
pub(super) fn id(notes: &mut Notes, place: &str, entry: &Value, name: &str) -> Option<String> {
    let found = entry.get(name).and_then(Value::as_str).filter(|id| Token::RULE.check(id).is_ok());
    if found.is_none() {
        notes.leave_out(place.to_owned(), format!("has no usable {name}"));
    }
    found.map(str::to_owned)
}

pub(super) fn optional_token(notes: &mut Notes, place: &str, entry: &Value, name: &str) -> Option<String> {
    let value = entry.get(name).filter(|value| !value.is_null())?;
    token(notes, &format!("{place}.{name}"), value)
}

pub(super) fn token(notes: &mut Notes, place: &str, value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) if Token::RULE.check(text).is_ok() => Some(text.clone()),
        Value::String(_) => {
            notes.add(place.to_owned(), format!("is no text of at most {LONGEST_TOKEN} characters"));
            None
        }
        other => {
            notes.add(place.to_owned(), format!("is {}", kind(other)));
            None
        }
    }
}

pub(super) fn tokens(notes: &mut Notes, place: &str, entry: &Value, name: &str) -> Vec<String> {
    let place = format!("{place}.{name}");
    match entry.get(name) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(entries)) => entries.iter().filter_map(|entry| token(notes, &place, entry)).collect(),
        Some(other) => {
            notes.add(place, format!("is {}", kind(other)));
            Vec::new()
        }
    }
}

pub(super) fn text(notes: &mut Notes, place: &str, entry: &Value, name: &str) -> Option<String> {
    match entry.get(name)? {
        Value::Null => None,
        Value::String(text) => Some(clean(text, LONGEST_TEXT)),
        other => {
            notes.add(format!("{place}.{name}"), format!("is {}", kind(other)));
            None
        }
    }
}

pub(super) fn without_nul(value: Value) -> Value {
    match value {
        Value::String(text) if text.contains('\0') => Value::String(text.replace('\0', "\u{fffd}")),
        Value::Array(items) => items.into_iter().map(without_nul).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, member)| {
                let name = if name.contains('\0') { name.replace('\0', "\u{fffd}") } else { name };
                (name, without_nul(member))
            })
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// What cannot be stored or shown everywhere is never meant.
pub(super) fn clean(text: &str, longest: usize) -> String {
    Rule::line(0, longest).clean(text)
}

pub(super) fn amount(notes: &mut Notes, place: &str, entry: &Value, name: &str) -> Option<f64> {
    let value = entry.get(name).filter(|value| !value.is_null())?;
    let amount = value.as_f64().filter(|amount| (0.0..=1e9).contains(amount));
    if amount.is_none() {
        notes.add(format!("{place}.{name}"), absurd(value));
    }
    amount
}

/// A whole number from 0 to `most`; some versions write it as `100.0`.
pub(super) fn whole(notes: &mut Notes, place: &str, entry: &Value, name: &str, most: u64) -> Option<u64> {
    let value = entry.get(name).filter(|value| !value.is_null())?;
    let number = value
        .as_u64()
        .or_else(|| value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=9e15).contains(n)).map(|n| n as u64))
        .filter(|number| *number <= most);
    if number.is_none() {
        notes.add(format!("{place}.{name}"), absurd(value));
    }
    number
}

pub(super) fn absurd(value: &Value) -> String {
    match value {
        Value::Number(number) => format!("is {number}"),
        other => format!("is {}", kind(other)),
    }
}

pub(super) fn list<'a>(notes: &mut Notes, place: &str, entry: &'a Value, name: &str) -> &'a [Value] {
    match entry.get(name) {
        None | Some(Value::Null) => &[],
        Some(Value::Array(entries)) => entries,
        Some(other) => {
            notes.add(format!("{place}.{name}"), format!("is {}", kind(other)));
            &[]
        }
    }
}

pub(super) fn map<'a>(
    notes: &mut Notes,
    place: &str,
    entry: &'a Value,
    name: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
    let found = match entry.get(name) {
        Some(Value::Object(entries)) => Some(entries),
        None | Some(Value::Null) => None,
        Some(other) => {
            notes.add(format!("{place}.{name}"), format!("is {}", kind(other)));
            None
        }
    };
    found.into_iter().flatten()
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

pub(super) fn not_a(wanted: &str, answer: &Value) -> CmlError {
    CmlError::InvalidResponse { reason: format!("{} instead of a {wanted}", kind(answer)) }
}

#[derive(Default)]
pub(super) struct Notes {
    named: Vec<FailedRead>,
    unnamed: usize,
    left_out: u32,
}

impl Notes {
    pub(super) fn add(&mut self, place: String, reason: String) {
        if self.named.len() < MOST_NAMED {
            self.named.push(FailedRead::new(&clean(&place, LONGEST_TEXT), &clean(&reason, LONGEST_TEXT)));
        } else {
            self.unnamed += 1;
        }
    }

    pub(super) fn leave_out(&mut self, place: String, reason: String) {
        self.left_out = self.left_out.saturating_add(1);
        self.add(place, reason);
    }

    pub(super) fn with<T>(mut self, value: T) -> Reading<T> {
        if self.unnamed > 0 {
            let reason = format!("{} more entries could not be read", self.unnamed);
            self.named.push(FailedRead::new("…", &reason));
        }
        Reading { value, unreadable: self.named, left_out: self.left_out }
    }
}
