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
