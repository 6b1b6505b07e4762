//! Texts from outside as they are stored, logged and printed: Postgres can hold them, and no terminal obeys them.

use std::fmt::Write as _;

/// A text without control characters, each written as its escape, and at most `most` bytes long; where it was cut it
/// ends in `…`.
pub fn storable(text: &str, most: usize) -> String {
    let mut stored = String::with_capacity(text.len().min(most));
    for character in text.chars() {
        let before = stored.len();
        if is_harmless(character) {
            stored.push(character);
        } else if write!(stored, "\\u{{{:x}}}", u32::from(character)).is_err() {
            // Writing to a string does not fail.
            break;
        }
        if stored.len() > most {
            stored.truncate(before);
            stored.push('…');
            break;
        }
    }
    stored
}

/// JSON text that means the same and holds nothing that could steer a terminal.
pub fn printable_json(json: &str) -> String {
    let mut printable = String::with_capacity(json.len());
    for character in json.chars() {
        if character == '\n' || is_harmless(character) {
            printable.push(character);
        } else if write!(printable, "\\u{:04x}", u32::from(character)).is_err() {
            break;
        }
    }
    printable
}

/// Bytes as text: UTF-8 as it is, every other byte as `\xNN`.
pub(crate) fn storable_bytes(bytes: &[u8], most: usize) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            if write!(text, "\\x{byte:02x}").is_err() {
                break;
            }
        }
    }
    storable(&text, most)
}

/// Neither a control character nor one that makes a text look like another one: separators of lines, and what turns the
/// direction of writing.
pub fn is_harmless(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_cannot_be_stored_or_shown_is_escaped() {
        assert_eq!(storable("team\0 \u{1b}[31m\n", 100), "team\\u{0} \\u{1b}[31m\\u{a}");
        assert_eq!(storable_bytes(b"Jos\xe9", 100), "Jos\\xe9");
        assert_eq!(storable("ééé", 4), "éé…");
        let json = serde_json::to_string_pretty(&["a\u{9b}31m\n"]).unwrap();
        assert_eq!(printable_json(&json), "[\n  \"a\\u009b31m\\n\"\n]");
    }

    proptest! {
        #[test]
        fn every_text_becomes_one_line_within_its_bound(text in any::<String>(), most in 0_usize..200) {
            let stored = storable(&text, most);
            prop_assert!(stored.chars().all(|character| !character.is_control()));
            prop_assert!(stored.len() <= most + '…'.len_utf8());
        }
    }
}
