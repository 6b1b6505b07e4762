//! The beginning of a text that may be long: an observation of 300 nodes is half a megabyte, and a page is to stay small.

use std::io::{self, Write};

use serde::Serialize;

/// Most bytes of the text that are shown.
const MOST_BYTES: usize = 32 << 10;

/// Most bytes of HTML that they may become: quotes and angle brackets grow.
const MOST_HTML: usize = 64 << 10;

/// The beginning of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    /// As much as is shown, up to the end of a line where lines are short enough.
    pub(crate) text: String,
    /// Whether more follows.
    pub(crate) is_cut: bool,
}

impl Excerpt {
    /// Of a text.
    pub(crate) fn from_text(text: &str) -> Self {
        let fits = fitting(text);
        if fits == text.len() {
            return Self { text: text.to_owned(), is_cut: false };
        }
        let shown = &text[..fits];
        // Half a line looks like damage, but of a text without lines there is nothing else to show.
        let lines = shown.rfind('\n').filter(|end| *end > fits / 2).map_or(shown, |end| &shown[..end]);
        Self { text: lines.to_owned(), is_cut: true }
    }

    /// Of a value as indented JSON, which is written no further than is shown.
    pub(crate) fn from_json(value: &impl Serialize) -> Self {
        let mut written = Bounded(Vec::new());
        let is_whole = serde_json::to_writer_pretty(&mut written, value).is_ok();
        let mut excerpt = Self::from_text(&String::from_utf8_lossy(&written.0));
        excerpt.is_cut |= !is_whole;
        excerpt
    }
}

/// How many of the text's bytes may be shown.
fn fitting(text: &str) -> usize {
    let mut html = 0;
    for (at, character) in text.char_indices() {
        html += if matches!(character, '<' | '>' | '&' | '"' | '\'') { 5 } else { character.len_utf8() };
        if at + character.len_utf8() > MOST_BYTES || html > MOST_HTML {
            return at;
        }
    }
    text.len()
}

/// Takes what can be shown, and refuses more.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let free = (MOST_BYTES + 1).saturating_sub(self.0.len());
        if free == 0 {
            return Err(io::Error::other("more than is shown"));
        }
        let taken = bytes.len().min(free);
        self.0.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_is_whole() {
        assert_eq!(Excerpt::from_text("a\nb"), Excerpt { text: "a\nb".to_owned(), is_cut: false });
        assert_eq!(Excerpt::from_json(&[1]), Excerpt { text: "[\n  1\n]".to_owned(), is_cut: false });
    }

    #[test]
    fn what_is_long_ends_with_a_whole_line() {
        let nodes: Vec<String> = (0..10_000).map(|node| format!("node {node} ü")).collect();
        let excerpt = Excerpt::from_json(&nodes);
        assert!(excerpt.is_cut && excerpt.text.ends_with("ü\","), "{}", &excerpt.text[excerpt.text.len() - 40..]);
        assert!((MOST_BYTES / 2..=MOST_BYTES).contains(&excerpt.text.len()));
    }

    #[test]
    fn what_grows_as_html_is_cut_earlier_and_never_within_a_character() {
        let quotes = Excerpt::from_text(&"\"".repeat(MOST_BYTES));
        assert!(quotes.is_cut && quotes.text.len() * 5 <= MOST_HTML);
        let wide = Excerpt::from_text(&"€".repeat(MOST_BYTES));
        assert!(wide.is_cut && wide.text.len() <= MOST_BYTES && wide.text.chars().all(|letter| letter == '€'));
    }
}
