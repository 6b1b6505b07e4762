//! Texts: bounded in length and fit to be stored, listed, logged and shown.
//!
//! A text is a type of its own ([`Line`], [`Prose`]) that cannot hold anything else, and that states its bounds in its
//! JSON schema.
//!
//! Refused everywhere are
//! - control characters, C0 and C1: Postgres cannot store U+0000, and the others move cursors and forge lines in
//!   terminals and logs. Line breaks and tabs are part of prose;
//! - U+2028 and U+2029, line breaks that few readers take for one;
//! - embeddings, overrides and isolates of the bidirectional algorithm: they reverse what stands beside the text in lists
//!   and logs. Scripts that run from right to left need none of them.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::Invalid;

/// What a text may be: a length in characters, and whether it may have lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    least: usize,
    most: usize,
    lines: bool,
}

/// A label or a name as CML has it, which may be blank.
pub type Label = Line<0, 256>;
/// An id, a state or an address that others give.
pub type Token = Line<1, 64>;
/// The name of a version, or a hash.
pub type Name = Line<1, 128>;
/// What a lab is called in CML.
pub type LabTitle = Line<1, 256>;
/// Why something could not be read.
pub(crate) type Explanation = Prose<0, 512>;

/// Characters that no text may hold, as the inside of a character class.
const NEVER: &str = r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069";
/// Those that only prose may hold: tab, line feed and carriage return.
const LINES: &str = r"\t\n\r";

fn is_line(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r')
}

fn is_refused(character: char, lines: bool) -> bool {
    let control = character.is_control() && !(lines && is_line(character));
    control || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl Rule {
    /// A text of one line with `least` to `most` characters.
    pub const fn line(least: usize, most: usize) -> Self {
        Self { least, most, lines: false }
    }

    /// A text that may have lines and tabs, with `least` to `most` characters.
    pub const fn prose(least: usize, most: usize) -> Self {
        Self { least, most, lines: true }
    }

    /// Checks a text. One that must not be empty must not be blank either.
    ///
    /// # Errors
    /// [`Invalid`], with an empty field, saying what is wrong and what would be right.
    pub fn check(self, text: &str) -> Result<(), Invalid> {
        let refuse = |problem: String| Err(Invalid::new("", problem, self.expected()));
        // The usual case, printable ASCII: each byte is a character, and no rule refuses any.
        let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let length = if is_plain { text.len() } else { text.chars().count() };
        if length > self.most {
            return refuse(format!("has {length} characters"));
        }
        if !is_plain && let Some(character) = text.chars().find(|character| is_refused(*character, self.lines)) {
            return refuse(format!("contains the character U+{:04X}", u32::from(character)));
        }
        match self.least {
            0 => Ok(()),
            _ if text.is_empty() => refuse("is empty".to_owned()),
            _ if text.chars().all(char::is_whitespace) => refuse("is blank".to_owned()),
            least if length < least => refuse(format!("has {length} characters")),
            _ => Ok(()),
        }
    }

    /// The text as the rule has it: cut, and each character that it refuses replaced by U+FFFD.
    ///
    /// For what others named, such as the nodes of a lab, where a strange name must not hide what is named.
    pub fn clean(self, text: &str) -> String {
        let mend = |character| if is_refused(character, self.lines) { '\u{fffd}' } else { character };
        text.chars().take(self.most).map(mend).collect()
    }

    /// What would be right, in words.
    pub fn expected(self) -> String {
        let length =
            if self.least == 0 { format!("at most {}", self.most) } else { format!("{} to {}", self.least, self.most) };
        let lines = if self.lines { "" } else { " on one line" };
        format!("{length} characters{lines}, without control characters and bidirectional overrides")
    }

    /// The regular expression that the text matches.
    pub fn pattern(self) -> String {
        let lines = if self.lines { "" } else { LINES };
        if self.least == 0 {
            format!("^[^{NEVER}{lines}]*$")
        } else {
            format!(r"^[^{NEVER}{lines}]*[^\s{NEVER}][^{NEVER}{lines}]*$")
        }
    }

    /// The JSON schema of such a text.
    pub fn schema(self) -> Schema {
        json_schema!({
            "type": "string", "minLength": self.least, "maxLength": self.most, "pattern": self.pattern(),
        })
    }
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident $rule:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name<const LEAST: usize, const MOST: usize>(String);

        impl<const LEAST: usize, const MOST: usize> $name<LEAST, MOST> {
            /// What it holds to.
            pub const RULE: Rule = Rule::$rule(LEAST, MOST);

            /// Parses a text.
            ///
            /// # Errors
            /// [`Invalid`], with an empty field, saying what is wrong and what would be right.
            pub fn parse(text: impl Into<String>) -> Result<Self, Invalid> {
                let text = text.into();
                Self::RULE.check(&text)?;
                Ok(Self(text))
            }

            /// Parses what others named, as [`Rule::clean`] leaves it.
            ///
            /// # Errors
            /// [`Invalid`] where nothing is left.
            pub fn cleaned(text: &str) -> Result<Self, Invalid> {
                Self::parse(Self::RULE.clean(text))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<const MOST: usize> $name<0, MOST> {
            /// Whatever others named, as [`Rule::clean`] leaves it.
            pub fn clean(text: &str) -> Self {
                Self(Self::RULE.clean(text))
            }
        }

        impl<const MOST: usize> Default for $name<0, MOST> {
            fn default() -> Self {
                Self(String::new())
            }
        }

        impl<const LEAST: usize, const MOST: usize> std::ops::Deref for $name<LEAST, MOST> {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl<const LEAST: usize, const MOST: usize> PartialEq<&str> for $name<LEAST, MOST> {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }

        impl<const LEAST: usize, const MOST: usize> std::fmt::Display for $name<LEAST, MOST> {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl<const LEAST: usize, const MOST: usize> std::str::FromStr for $name<LEAST, MOST> {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                Self::parse(text)
            }
        }

        impl<const LEAST: usize, const MOST: usize> TryFrom<String> for $name<LEAST, MOST> {
            type Error = Invalid;
            fn try_from(text: String) -> Result<Self, Invalid> {
                Self::parse(text)
            }
        }

        impl<const LEAST: usize, const MOST: usize> From<$name<LEAST, MOST>> for String {
            fn from(text: $name<LEAST, MOST>) -> Self {
                text.0
            }
        }

        impl<const LEAST: usize, const MOST: usize> AsRef<str> for $name<LEAST, MOST> {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl<const LEAST: usize, const MOST: usize> JsonSchema for $name<LEAST, MOST> {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                format!(concat!(stringify!($name), "Of{}To{}"), LEAST, MOST).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                Self::RULE.schema()
            }
        }
    )+};
}

texts! {
    /// A text of one line, of `LEAST` to `MOST` characters.
    ///
    /// Invariant: [`Rule::line`] holds.
    Line line,
    /// A text that may have lines, of `LEAST` to `MOST` characters.
    ///
    /// Invariant: [`Rule::prose`] holds.
    Prose prose,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_holds_no_character_that_breaks_a_line_a_log_or_a_table() {
        for bad in [
            "\0",
            "a\nb",
            "a\tb",
            "\u{1b}[2J",
            "\u{85}",
            "\u{9b}",
            "\u{2028}",
            "\u{202e}gnp",
            "\u{2066}",
            "",
            " \u{a0} ",
        ] {
            assert!(Line::<1, 10>::parse(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "é", "👩‍🔬", "شبكة", "a\u{200f}b", "核心"] {
            assert_eq!(Line::<1, 10>::parse(good).unwrap().as_str(), good);
        }
        assert_eq!(Line::<0, 10>::parse(" ").unwrap().as_str(), " ", "labels of CML may be blank");
    }

    #[test]
    fn prose_has_lines_and_nothing_else_that_a_line_has_not() {
        assert!(Prose::<1, 20>::parse("one\r\n\ttwo").is_ok());
        for bad in ["\0", "\u{1b}", "\u{85}", "\u{2029}", "\u{202d}", "\n\n"] {
            assert!(Prose::<1, 20>::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_was_wrong_and_what_would_be_right() {
        let refused = |text: &str| Line::<1, 3>::parse(text).unwrap_err().within("name").to_string();
        let right = "expected 1 to 3 characters on one line, without control characters and bidirectional overrides";
        assert_eq!(refused(""), format!("name is empty; {right}"));
        assert_eq!(refused("abcd"), format!("name has 4 characters; {right}"));
        assert_eq!(refused("a\u{0}"), format!("name contains the character U+0000; {right}"));
    }

    proptest! {
        #[test]
        fn what_is_cleaned_holds_to_the_rule(text in any::<String>(), lines in any::<bool>()) {
            let rule = Rule { least: 0, most: 12, lines };
            prop_assert!(rule.check(&rule.clean(&text)).is_ok());
            if rule.check(&text).is_ok() {
                prop_assert_eq!(rule.clean(&text), text);
            }
        }
    }
}
