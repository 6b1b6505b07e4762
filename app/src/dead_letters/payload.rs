//! The part of a message that is stored.

use serde::Serialize;
use serde_json::Value;

use super::bounds::{DeadLetterBounds, PayloadPolicy};

/// The stored part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum PayloadKept {
    /// All of it: it can be retried.
    Whole,
    /// All but what may be a secret.
    Masked,
    /// Its beginning.
    Beginning,
    /// Nothing, as the setting says or because there was no room.
    None,
    /// Nothing: it was removed later.
    Removed,
}

impl PayloadKept {
    /// Whether any part of the message is stored.
    pub fn holds_any(self) -> bool {
        matches!(self, Self::Whole | Self::Masked | Self::Beginning)
    }

    /// Name of the part.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Masked => "masked",
            Self::Beginning => "beginning",
            Self::None => "none",
            Self::Removed => "removed",
        }
    }
}

/// Replaces a secret.
const MASK: &str = "(masked)";
/// Longest text that is not masked, in bytes: a longer one may be a configuration with secrets.
const LONGEST_UNMASKED: usize = 256;

/// Applies the policy to a message.
pub(super) fn keep(policy: PayloadPolicy, payload: &[u8]) -> (PayloadKept, Vec<u8>) {
    match policy {
        PayloadPolicy::None => (PayloadKept::None, Vec::new()),
        PayloadPolicy::Full => (PayloadKept::Whole, payload.to_vec()),
        PayloadPolicy::Limited => limited(PayloadKept::Whole, payload),
        PayloadPolicy::Masked => {
            let Ok(mut value) = serde_json::from_slice::<Value>(payload) else {
                return (PayloadKept::None, Vec::new());
            };
            if !mask(&mut value) {
                return limited(PayloadKept::Whole, payload);
            }
            limited(PayloadKept::Masked, value.to_string().as_bytes())
        }
    }
}

fn limited(kept: PayloadKept, payload: &[u8]) -> (PayloadKept, Vec<u8>) {
    match payload.get(..DeadLetterBounds::LARGEST_PAYLOAD) {
        Some(beginning) if payload.len() > beginning.len() => (PayloadKept::Beginning, beginning.to_vec()),
        _ => (kept, payload.to_vec()),
    }
}

/// Replaces whatever may be a secret; answers whether there was any.
fn mask(value: &mut Value) -> bool {
    match value {
        Value::String(text) if text != MASK && (text.len() > LONGEST_UNMASKED || names_a_secret(text)) => {
            *text = MASK.to_owned();
            true
        }
        Value::Array(items) => items.iter_mut().map(mask).fold(false, |any, masked| any | masked),
        Value::Object(members) => members.iter_mut().fold(false, |any, (name, value)| {
            if !names_a_secret(name) {
                return any | mask(value);
            }
            if value.is_null() || value.as_str() == Some(MASK) {
                return any;
            }
            *value = MASK.into();
            true
        }),
        _ => false,
    }
}

/// Whether a name, or a text, speaks of a secret.
pub fn names_a_secret(text: &str) -> bool {
    const WORDS: [&str; 14] = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "credential",
        "authorization",
        "cookie",
        "api-key",
        "apikey",
        "api_key",
        "private",
        "community",
        "data_base64",
    ];
    let text = text.to_ascii_lowercase();
    WORDS.iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_masked_and_what_holds_none_is_kept_whole() {
        let message = json!({
            "specversion": "1.0", "data": {"session_id": "s1", "password": "hunter2", "nested": [{"Api_Key": 7}],
            "text": "snmp-server community public", "configuration": "x".repeat(300), "cpu": 1.5}
        });
        let (kept, masked) = keep(PayloadPolicy::Masked, message.to_string().as_bytes());
        let masked: Value = serde_json::from_slice(&masked).unwrap();
        assert_eq!(kept, PayloadKept::Masked);
        assert_eq!(
            masked["data"],
            json!({
                "session_id": "s1", "password": MASK, "nested": [{"Api_Key": MASK}], "text": MASK,
                "configuration": MASK, "cpu": 1.5
            })
        );
        let harmless = br#"{ "a": 1 }"#;
        assert_eq!(keep(PayloadPolicy::Masked, harmless), (PayloadKept::Whole, harmless.to_vec()));
        assert_eq!(keep(PayloadPolicy::Masked, b"password"), (PayloadKept::None, Vec::new()));
    }

    #[test]
    fn a_large_message_is_kept_as_its_beginning_unless_all_of_it_is_wanted() {
        let large = vec![b'x'; DeadLetterBounds::LARGEST_PAYLOAD + 1];
        let (kept, beginning) = keep(PayloadPolicy::Limited, &large);
        assert_eq!((kept, beginning.len()), (PayloadKept::Beginning, DeadLetterBounds::LARGEST_PAYLOAD));
        assert_eq!(keep(PayloadPolicy::Full, &large), (PayloadKept::Whole, large.clone()));
        assert_eq!(keep(PayloadPolicy::None, &large), (PayloadKept::None, Vec::new()));
        assert_eq!(keep(PayloadPolicy::Limited, b"x"), (PayloadKept::Whole, b"x".to_vec()));
    }
}
