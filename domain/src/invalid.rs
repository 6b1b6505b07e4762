//! Input that cannot become a value of the domain.

use std::fmt;

use crate::text;

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

/// Most complaints about one input.
pub const MOST_COMPLAINTS: usize = 20;

/// An input that has rules beyond what its types guarantee.
///
/// An implementation takes `self` apart field by field, without `..`: whoever adds a field is asked by the compiler which
/// rule it has to follow.
pub trait Checked {
    /// Notes everything that is wrong.
    fn check(&self, checking: &mut Checking);

    /// Everything that is wrong, each with its field, at most [`MOST_COMPLAINTS`].
    fn complaints(&self) -> Vec<Invalid> {
        let mut checking = Checking::default();
        self.check(&mut checking);
        checking.complaints
    }

    /// Whether everything is right.
    ///
    /// # Errors
    /// The first complaint.
    fn checked(&self) -> Result<(), Invalid> {
        self.complaints().into_iter().next().map_or(Ok(()), Err)
    }
}

/// Where a check is in an input, and what it found so far.
#[derive(Debug, Default)]
pub struct Checking {
    path: String,
    complaints: Vec<Invalid>,
}

impl Checking {
    /// Checks what stands under the field `name`.
    pub fn field(&mut self, name: &str, check: impl FnOnce(&mut Self)) {
        let outer = self.path.len();
        if outer > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        check(self);
        self.path.truncate(outer);
    }

    /// Checks the number of entries of the list `name`, and each of them unless there are too many.
    pub fn each<T>(&mut self, name: &str, entries: &[T], most: usize, mut check: impl FnMut(&T, &mut Self)) {
        self.field(name, |checking| {
            if !checking.count(entries.len(), most) {
                return;
            }
            let outer = checking.path.len();
            for (index, entry) in entries.iter().enumerate() {
                if checking.complaints.len() >= MOST_COMPLAINTS {
                    return;
                }
                // Writing to a String cannot fail.
                checking.path.push_str(&format!("[{index}]"));
                check(entry, checking);
                checking.path.truncate(outer);
            }
        });
    }

    /// Checks that a collection is not larger than the bound that protects everyone who handles it.
    pub fn count(&mut self, count: usize, most: usize) -> bool {
        if count > most {
            self.complain(Invalid::new("", format!("has {count} entries"), format!("at most {most} entries")));
        }
        count <= most
    }

    /// Notes the complaint about the present field, where there is one.
    pub fn note(&mut self, result: Result<(), Invalid>) {
        if let Err(invalid) = result {
            self.complain(invalid);
        }
    }

    /// Checks a text.
    pub fn text(&mut self, name: &str, text: &str, rule: text::Rule) {
        if let Err(invalid) = rule.check(text) {
            self.field(name, |checking| checking.complain(invalid));
        }
    }

    /// Checks a text where there is one.
    pub fn optional_text(&mut self, name: &str, text: Option<&String>, rule: text::Rule) {
        if let Some(text) = text {
            self.text(name, text, rule);
        }
    }

    /// Checks a whole number where it is known: from 0 to `most`.
    pub fn whole(&mut self, name: &str, number: Option<impl Into<u64>>, most: u64) {
        if let Some(number) = number.map(Into::into)
            && number > most
        {
            let expected = format!("a whole number from 0 to {most}, or null where unknown");
            self.field(name, |checking| checking.complain(Invalid::new("", format!("is {number}"), expected)));
        }
    }

    /// Checks a whole number that is at least 1 and at most `most`.
    pub fn at_least_one(&mut self, name: &str, number: u32, most: u32) {
        if !(1..=most).contains(&number) {
            let expected = format!("a whole number from 1 to {most}");
            self.field(name, |checking| checking.complain(Invalid::new("", format!("is {number}"), expected)));
        }
    }

    /// Checks an amount where it is known: from 0 to `most`.
    pub fn amount(&mut self, name: &str, amount: Option<f64>, most: f64) {
        if let Some(amount) = amount
            && !(0.0..=most).contains(&amount)
        {
            let expected = format!("a number from 0 to {most}, or null where unknown");
            self.field(name, |checking| checking.complain(Invalid::new("", format!("is {amount}"), expected)));
        }
    }

    fn complain(&mut self, invalid: Invalid) {
        if self.complaints.len() < MOST_COMPLAINTS {
            self.complaints.push(if self.path.is_empty() { invalid } else { invalid.within(&self.path) });
        }
    }
}
