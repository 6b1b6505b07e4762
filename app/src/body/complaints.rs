//! What is wrong with a body, in words that name the field, the problem and what would be right.

use std::fmt;

use domain::Invalid;

use crate::warning::Warning;

/// Most fields that are named; the others are only counted.
const MOST_COMPLAINTS: usize = 25;

/// Everything that is wrong with a body, at least one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidBody {
    /// The first, in the body's order, and the others up to a bound.
    complaints: Vec<Invalid>,
    /// How many more there are.
    more: usize,
    /// Unknown members: a misspelt one may be why another is missing.
    warnings: Vec<Warning>,
}

impl InvalidBody {
    /// Adds a complaint.
    pub(super) fn add(&mut self, complaint: Invalid) {
        if self.complaints.len() < MOST_COMPLAINTS {
            self.complaints.push(complaint);
        } else {
            self.more += 1;
        }
    }

    /// Adds to the number of complaints that are not named.
    #[must_use]
    pub(super) fn and_more(mut self, more: usize) -> Self {
        self.more += more;
        self
    }

    /// The same complaints, where the body as a whole is called `name`.
    #[must_use]
    pub fn about(mut self, name: &str) -> Self {
        for complaint in self.complaints.iter_mut().filter(|complaint| complaint.field.is_empty()) {
            name.clone_into(&mut complaint.field);
        }
        self
    }

    /// The same complaints with paths relative to the member `name`: `data.reason` becomes `reason`.
    #[must_use]
    pub(crate) fn relative_to(mut self, name: &str) -> Self {
        for complaint in &mut self.complaints {
            let inner = complaint.field.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
            if let Some(inner) = inner.map(str::to_owned) {
                complaint.field = inner;
            }
        }
        self
    }

    /// The complaints, up to the bound.
    pub fn complaints(&self) -> &[Invalid] {
        &self.complaints
    }

    /// How many there are beyond the bound.
    pub fn more(&self) -> usize {
        self.more
    }

    /// Unknown members of the body.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The same complaints, with these unknown members.
    #[must_use]
    pub(super) fn beside(mut self, warnings: Vec<Warning>) -> Self {
        self.warnings = warnings;
        self
    }

    /// The same complaints and those of another reader of the same body.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        other.complaints.into_iter().for_each(|complaint| self.add(complaint));
        self.more += other.more;
        self.warnings.extend(other.warnings);
        self
    }
}

impl From<Invalid> for InvalidBody {
    fn from(complaint: Invalid) -> Self {
        Self { complaints: vec![complaint], more: 0, warnings: Vec::new() }
    }
}

impl fmt::Display for InvalidBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, complaint) in self.complaints.iter().enumerate() {
            if index > 0 {
                formatter.write_str("; and ")?;
            }
            if complaint.field.is_empty() {
                write!(formatter, "the body {}; expected {}", complaint.problem, complaint.expected)?;
            } else {
                complaint.fmt(formatter)?;
            }
        }
        match self.more {
            0 => Ok(()),
            more => write!(formatter, "; and {more} more"),
        }
    }
}

impl std::error::Error for InvalidBody {}

/// Turns the message of a deserialiser, of the domain or of serde, into a complaint about a field.
pub fn complaint(path: &str, message: &str) -> Invalid {
    let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let quoted = |prefix: &str| message.strip_prefix(prefix)?.split_once('`').map(|(name, _)| name.to_owned());
    if let Some(name) = quoted("missing field `") {
        return Invalid::new(join(&name), "is missing", "a value");
    }
    if let Some(name) = quoted("duplicate field `") {
        return Invalid::new(join(&name), "is given twice", "each name once");
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
        "a string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}
