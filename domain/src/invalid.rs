//! Input that cannot become a value of the domain.

use std::fmt;

/// One field of an input, what is wrong with it, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Invalid {
    /// Path of the field, e.g. `resource_requirements.cpu_cores`.
    pub field: String,
    /// What was wrong, with the value where it is short, e.g. `is 0`.
    pub problem: String,
    /// What would be right, e.g. `a whole number from 1 to 10000`.
    pub expected: String,
}

impl Invalid {
    /// An invalid `field` that `problem` (e.g. `is 0`), where `expected` would be right.
    pub fn new(field: impl Into<String>, problem: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into(), expected: expected.into() }
    }

    /// The same complaint seen from one level further out: `within("nodes[3]")` turns `label` into `nodes[3].label`.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        self.field = if self.field.is_empty() { outer.to_owned() } else { format!("{outer}.{}", self.field) };
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}; expected {}", self.field, self.problem, self.expected)
    }
}

impl std::error::Error for Invalid {}

/// Checks a text that people read: 1 to `longest` characters, none of them a control character.
///
/// NUL in particular cannot be stored in Postgres' json.
pub(crate) fn check_text(field: &str, text: &str, longest: usize) -> Result<(), Invalid> {
    let expected = || format!("1 to {longest} characters without control characters");
    if text.is_empty() {
        return Err(Invalid::new(field, "is empty", expected()));
    }
    check_text_or_empty(field, text, longest)
}

/// As [`check_text`], with an empty text allowed and line breaks and tabs too.
pub(crate) fn check_text_or_empty(field: &str, text: &str, longest: usize) -> Result<(), Invalid> {
    let expected = || format!("at most {longest} characters without control characters");
    let length = text.chars().count();
    if length > longest {
        return Err(Invalid::new(field, format!("has {length} characters"), expected()));
    }
    if text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\t' | '\r')) {
        return Err(Invalid::new(field, "contains a control character", expected()));
    }
    Ok(())
}

/// Checks that a collection is not larger than the bound that protects everyone who handles it.
pub(crate) fn check_count(field: &str, count: usize, most: usize) -> Result<(), Invalid> {
    if count > most {
        return Err(Invalid::new(field, format!("has {count} entries"), format!("at most {most} entries")));
    }
    Ok(())
}
