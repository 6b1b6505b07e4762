//! Words that the code no longer uses, as rules: what a thing is called is found by one search, and a log line is a short
//! constant sentence.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use crate::tidy::{repository, rust_files};

/// Parts of identifiers, each with what is said instead.
const RETIRED_PARTS: [(&str, &str); 16] = [
    ("door", "command consumer"),
    ("doors", "command consumer, HTTP and bus"),
    ("bell", "wake-up signal"),
    ("bells", "wake-up signals"),
    ("ringer", "wake-up signal"),
    ("bury", "dead-letter"),
    ("buried", "dead-lettered"),
    ("intake", "command decoder"),
    ("lanes", "per-aggregate workers"),
    ("mint", "id generator"),
    ("mints", "ids"),
    ("minted", "generated"),
    ("blame", "error class"),
    ("patience", "timeout"),
    ("desk", "the noun that is meant"),
    ("garbage", "invalid response"),
];

/// Names of types that say nothing of what the thing is.
const RETIRED_TYPES: [&str; 17] = [
    "Told",
    "Telling",
    "Asked",
    "Seen",
    "Kept",
    "Wish",
    "Place",
    "Care",
    "Taken",
    "Away",
    "Turns",
    "Together",
    "EachForItself",
    "Verdict",
    "Sent",
    "Why",
    "Desk",
];

/// Names that one type of the workspace may have, not two.
const ONCE: [&str; 4] = ["Kind", "Page", "Form", "DeadLetter"];

/// What a log message does not say, each with what is said instead.
const RETIRED_PHRASES: [(&str, &str); 10] = [
    ("door", "command consumer"),
    ("bell", "wake-up signal"),
    ("greeting", "probe"),
    ("is away", "cannot be reached"),
    ("buried", "dead-lettered"),
    ("lanes", "per-aggregate workers"),
    ("the relay works", "relay started"),
    ("begins again", "restarted"),
    ("trying again", "retrying"),
    ("was not noted", "not stored"),
];

/// Most lines of a file; beyond it there is a noun to split along.
const MOST_LINES: usize = 700;

/// A Rust file without its comments, and with the contents of its texts cut out and given apart, where each began.
struct Source {
    code: String,
    texts: Vec<(usize, String)>,
}

impl Source {
    fn read(text: &str) -> Self {
        let bytes = text.as_bytes();
        let (mut code, mut texts, mut at) = (String::new(), Vec::new(), 0);
        while at < text.len() {
            let rest = &text[at..];
            let after_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
            let raw = rest.strip_prefix('r').filter(|_| !after_word).and_then(|rest| {
                let hashes = rest.bytes().take_while(|byte| *byte == b'#').count();
                rest[hashes..].starts_with('"').then_some(hashes)
            });
            if rest.starts_with("//") {
                at += rest.find('\n').unwrap_or(rest.len());
            } else if let Some(hashes) = raw {
                let begin = at + hashes + 2;
                let end = format!("\"{}", "#".repeat(hashes));
                let length = text[begin..].find(&end).unwrap_or(text.len() - begin);
                texts.push((code.len(), text[begin..begin + length].to_owned()));
                code.push_str("\"\"");
                at = begin + length + end.len();
            } else if rest.starts_with('"') {
                let mut length = 1;
                while rest.as_bytes().get(length).is_some_and(|byte| *byte != b'"') {
                    length += if rest.as_bytes()[length] == b'\\' { 2 } else { 1 };
                }
                texts.push((code.len(), rest[1..length].to_owned()));
                code.push_str("\"\"");
                at += length + 1;
            } else {
                let length = character_literal(rest).unwrap_or_else(|| rest.chars().next().map_or(1, char::len_utf8));
                if length == rest.chars().next().map_or(1, char::len_utf8) {
                    code.push_str(&rest[..length]);
                }
                at += length;
            }
        }
        Self { code, texts }
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.code
            .split(|character: char| !character.is_alphanumeric() && character != '_')
            .filter(|word| !word.is_empty())
    }

    /// The texts in calls of macros of tracing.
    fn messages(&self) -> Vec<&str> {
        let mut messages = Vec::new();
        for level in ["trace!(", "debug!(", "info!(", "warn!(", "error!("] {
            for (begin, _) in self.code.match_indices(level) {
                let mut depth = 1;
                let inner = &self.code[begin + level.len()..];
                let end = inner.char_indices().find(|(_, character)| {
                    depth += match character {
                        '(' => 1,
                        ')' => -1,
                        _ => 0,
                    };
                    depth == 0
                });
                let end = begin + level.len() + end.map_or(inner.len(), |(end, _)| end);
                let within = self.texts.iter().filter(|(at, _)| (begin..end).contains(at));
                messages.extend(within.map(|(_, text)| text.as_str()));
            }
        }
        messages
    }
}

/// The length of a literal such as `'"'` or `'\n'`, which is not the beginning of a text; none for a lifetime.
fn character_literal(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    let mut characters = inner.char_indices();
    let (_, first) = characters.next()?;
    if first == '\\' {
        return inner[2..].find('\'').map(|end| end + 4);
    }
    let (second, next) = characters.next()?;
    (next == '\'').then_some(second + 2)
}

/// `door_open`, `DoorOpen` and `DOOR_OPEN` in parts: `door`, `open`.
fn parts(word: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut before = ' ';
    for character in word.chars() {
        if character == '_' || (character.is_uppercase() && before.is_lowercase()) {
            parts.push(String::new());
        }
        if character != '_' {
            parts.last_mut().unwrap().extend(character.to_lowercase());
        }
        before = character;
    }
    parts
}

/// Every Rust file by its path in the repository, but for this one, which names the words that it forbids.
static SOURCES: LazyLock<BTreeMap<String, Source>> = LazyLock::new(|| {
    let mut files = Vec::new();
    rust_files(repository(), &mut files);
    let name = |file: &Path| file.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned();
    let mut sources: BTreeMap<String, Source> =
        files.iter().map(|file| (name(file), Source::read(&std::fs::read_to_string(file).unwrap()))).collect();
    assert!(sources.remove("harness/tests/it/words.rs").is_some());
    sources
});

#[test]
fn nothing_is_called_by_a_retired_word() {
    let mut found = BTreeSet::new();
    for (file, source) in &*SOURCES {
        for word in source.words() {
            if RETIRED_TYPES.contains(&word) {
                found.insert(format!("{file}: {word} says nothing of what it is"));
            }
            let parts = parts(word);
            let retired = RETIRED_PARTS.iter().find(|(retired, _)| parts.iter().any(|part| part == retired));
            if let Some((_, instead)) = retired {
                found.insert(format!("{file}: {word}; say {instead}"));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", Vec::from_iter(found).join("\n"));
}

#[test]
fn log_messages_are_sentences_of_the_field() {
    let mut found = BTreeSet::new();
    for (file, source) in &*SOURCES {
        for message in source.messages() {
            for (retired, instead) in RETIRED_PHRASES {
                if message.contains(retired) {
                    found.insert(format!("{file}: {message:?}; say {instead}"));
                }
            }
        }
    }
    assert!(found.is_empty(), "\n{}", Vec::from_iter(found).join("\n"));
}

#[test]
fn a_name_that_says_little_is_given_once_and_no_function_is_called_of() {
    let mut definitions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut found = Vec::new();
    for (file, source) in &*SOURCES {
        if file.contains("/tests/") {
            continue;
        }
        let words: Vec<&str> = source.words().collect();
        for pair in words.windows(2) {
            if ["struct", "enum", "type", "trait"].contains(&pair[0])
                && let Some(name) = ONCE.iter().find(|name| **name == pair[1])
            {
                definitions.entry(name).or_default().push(file);
            }
            if pair == ["fn", "of"] {
                found.push(format!("{file}: fn of; say from_…, new or between"));
            }
        }
    }
    for (name, files) in definitions {
        if files.len() > 1 {
            found.push(format!("{name} is defined in {files:?}; say which one"));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn no_file_is_longer_than_one_noun_needs() {
    let mut files = Vec::new();
    rust_files(repository(), &mut files);
    let mut found = Vec::new();
    for file in files {
        let name = file.strip_prefix(repository()).unwrap().to_str().unwrap();
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        if lines > MOST_LINES {
            found.push(format!("{name} has {lines} lines; split it along a noun"));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_source_is_told_apart_into_code_and_texts() {
    let source =
        Source::read("let door = '\"'; // bell\nwarn!(id = f(\"a\"), \"the \\\"mint\\\"\"); r#\"desk\"#; &'a str");
    let words: Vec<&str> = source.words().collect();
    assert_eq!(words, ["let", "door", "warn", "id", "f", "a", "str"]);
    assert_eq!(source.messages(), ["a", "the \\\"mint\\\""]);
    assert_eq!(parts("aDoor_OPEN"), ["a", "door", "open"]);
}
