//! What reasons have in common: the same words, whatever ids, numbers and names they quote.

use hex::encode;
use sha2::{Digest as _, Sha256};

/// What stands for an id, a number or a quoted text.
const ANY: &str = "…";
/// Bytes of a fingerprint.
const FINGERPRINT: usize = 8;

/// A reason without what tells two occurrences of the same cause apart: quoted texts, and words with a digit in them.
pub(crate) fn cause(reason: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in without_quotes(reason).split_whitespace() {
        let general = general(word);
        // A list of three ids is the same cause as one of two.
        if general == ANY && words.last().is_some_and(|last| last == ANY) {
            continue;
        }
        words.push(general);
    }
    words.join(" ")
}

/// The word, or what stands for it, with the punctuation around it.
fn general(word: &str) -> String {
    if !word.chars().any(|character| character.is_ascii_digit()) {
        return word.to_owned();
    }
    let is_around = |character: char| matches!(character, ',' | '.' | ':' | ';' | '(' | ')' | '[' | ']');
    let end = word.trim_end_matches(is_around).len();
    let begin = word.len() - word.trim_start_matches(is_around).len();
    if begin >= end {
        return ANY.to_owned();
    }
    // A sentence's end says nothing, and a list's commas differ in number.
    let after = word[end..].trim_matches([',', '.']);
    format!("{}{ANY}{after}", &word[..begin])
}

/// The text with each quoted part as one word.
fn without_quotes(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut parts = text.split('"');
    shown.push_str(parts.next().unwrap_or_default());
    while let Some(quoted) = parts.next() {
        match parts.next() {
            Some(after) => {
                shown.push_str(ANY);
                shown.push_str(after);
            }
            // A quotation mark that nothing closes quotes nothing.
            None => {
                shown.push('"');
                shown.push_str(quoted);
            }
        }
    }
    shown
}

/// What names a group of letters: the same for the same kind, source and cause, in every process and at any time.
pub(crate) fn fingerprint(kind: &str, source: &str, cause: &str) -> String {
    let mut hash = Sha256::new();
    for part in [kind, source, cause] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    encode(&hash.finalize()[..FINGERPRINT])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_in_ids_numbers_and_quotes_have_one_cause() {
        for (one, other) in [
            ("there is no session s-1", "there is no session 01a22055-549e-740f-8d58-b2c85f40c4ea."),
            ("total_cpu_cores is -1: at least 0", "total_cpu_cores is -17: at least 0"),
            ("the header \"Author\" holds 3 bytes", "the header \"X y z\" holds 512 bytes"),
            ("parked behind e1, e2, e3", "parked behind e9, e10"),
        ] {
            assert_eq!(cause(one), cause(other));
        }
        assert_eq!(cause("there is no session s-1"), "there is no session …");
        assert_eq!(cause("port (5041) is taken"), "port (…) is taken");
    }

    #[test]
    fn other_words_are_another_cause() {
        assert_ne!(cause("there is no session s-1"), cause("there is no worker s-1"));
        assert_eq!(cause("a \"quotation that nobody closes"), "a \"quotation that nobody closes");
        assert_eq!(cause(""), "");
    }

    #[test]
    fn a_fingerprint_is_stable_and_tells_kind_source_and_cause_apart() {
        let named = |kind, source, cause| fingerprint(kind, source, cause);
        assert_eq!(named("command", "a", "b"), named("command", "a", "b"));
        assert_eq!(named("command", "a", "b").len(), 2 * FINGERPRINT);
        assert_ne!(named("command", "a", "b"), named("webhook", "a", "b"));
        assert_ne!(named("command", "ab", "c"), named("command", "a", "bc"));
    }
}
