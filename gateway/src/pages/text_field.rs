//! A line of a form, and what is said about what was typed into it, in the words of the API.

use app::body::{self, InvalidBody};
use askama::Template;
use askama::filters::HtmlSafe;
use domain::Invalid;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Something to type.
#[derive(Debug, Clone, PartialEq, Eq, Template)]
#[template(path = "text_field.html")]
pub(crate) struct TextField {
    name: &'static str,
    label: &'static str,
    /// What is or was typed.
    value: String,
    hint: String,
    wrong: Option<String>,
    is_number: bool,
    is_required: bool,
    focused: bool,
}

impl HtmlSafe for TextField {}

impl TextField {
    /// A text that has to be typed.
    pub(crate) fn new(name: &'static str, label: &'static str, typed: Option<&String>) -> Self {
        let value = typed.cloned().unwrap_or_default();
        Self {
            name,
            label,
            value,
            hint: String::new(),
            wrong: None,
            is_number: false,
            is_required: true,
            focused: false,
        }
    }

    /// The same, as a number.
    #[must_use]
    pub(crate) fn number(self) -> Self {
        Self { is_number: true, ..self }
    }

    /// The same, which may stay empty.
    #[must_use]
    pub(crate) fn optional(self) -> Self {
        Self { is_required: false, ..self }
    }

    /// The same, with a word of help.
    #[must_use]
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }

    /// The same, with what is wrong with it.
    #[must_use]
    pub(crate) fn complaint(self, wrong: Option<String>) -> Self {
        Self { wrong, ..self }
    }

    /// Gives the first that is wrong the focus, else the first.
    pub(crate) fn focus(fields: &mut [Self]) {
        let at = fields.iter().position(|field| field.wrong.is_some()).unwrap_or_default();
        if let Some(field) = fields.get_mut(at) {
            field.focused = true;
        }
    }
}

/// What is wrong with what was typed, to be said beside each field.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Vec<Invalid>);

impl Complaints {
    /// How many fields are wrong.
    pub(crate) fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// The same, and something else that is wrong.
    #[must_use]
    pub(crate) fn and(mut self, invalid: Invalid) -> Self {
        self.0.push(invalid);
        self
    }

    /// What is wrong with this field, of whatever of its parts; those are then said.
    pub(crate) fn take(&mut self, field: &str) -> Option<String> {
        let is_of = |invalid: &mut Invalid| {
            invalid.field.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let found: Vec<Invalid> = self.0.extract_if(.., is_of).collect();
        let said: Vec<String> = found
            .into_iter()
            .map(|Invalid { problem, expected, .. }| format!("{problem}; expected {expected}"))
            .collect();
        (!said.is_empty()).then(|| said.join("; "))
    }

    /// What no field is to blame for.
    pub(crate) fn rest(self) -> Vec<String> {
        self.0.iter().map(Invalid::to_string).collect()
    }
}

impl From<InvalidBody> for Complaints {
    fn from(body: InvalidBody) -> Self {
        Self(body.complaints().to_vec())
    }
}

impl From<Invalid> for Complaints {
    fn from(invalid: Invalid) -> Self {
        Self(vec![invalid])
    }
}

/// The body of a command, made from the fields of a form: so both are checked by the same rules, in the same words.
#[derive(Debug, Default)]
pub(crate) struct TypedBody(Map<String, Value>);

impl TypedBody {
    /// The same with a text; nothing typed is nothing said.
    #[must_use]
    pub(crate) fn text(self, path: &str, typed: Option<&String>) -> Self {
        // A browser sends line ends of its own.
        self.with(path, typed.map(|text| text.trim().replace("\r\n", "\n").into()))
    }

    /// The same with a number. What is none stays a text, and is refused with what would be right.
    #[must_use]
    pub(crate) fn number(self, path: &str, typed: Option<&String>) -> Self {
        self.with(path, typed.map(|text| text.trim().parse::<u64>().map_or_else(|_| text.trim().into(), Value::from)))
    }

    /// The same with whatever stands at this path: its last member within the others.
    #[must_use]
    pub(crate) fn with(mut self, path: &str, value: Option<Value>) -> Self {
        let Some(value) = value else { return self };
        let mut members = &mut self.0;
        let mut steps = path.split('.').peekable();
        while let Some(step) = steps.next() {
            if steps.peek().is_none() {
                members.insert(step.to_owned(), value);
                break;
            }
            let inner = members.entry(step).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(inner) = inner else { break };
            members = inner;
        }
        self
    }

    /// The command.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub(crate) fn parse<T: DeserializeOwned + JsonSchema + 'static>(self) -> Result<T, Complaints> {
        body::from_value(Value::Object(self.0)).map(|body| body.value).map_err(Complaints::from)
    }
}

#[cfg(test)]
mod tests {
    use domain::worker::NewWorker;

    use super::*;

    fn typed(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn what_was_typed_is_checked_as_the_api_checks_it_and_said_beside_its_field() {
        let body = TypedBody::default()
            .text("name", typed(" CML 1 ").as_ref())
            .text("address", typed("http://cml-1").as_ref())
            .number("capacity.cpu_cores", typed("many").as_ref())
            .number("capacity.memory_gb", typed("64").as_ref())
            .number("capacity.storage_gb", None);
        let mut complaints = body.parse::<NewWorker>().unwrap_err();
        assert_eq!(complaints.take("name"), None);
        assert!(complaints.take("address").unwrap().contains("expected an https URL"));
        assert!(complaints.take("capacity.cpu_cores").unwrap().contains("many"));
        assert!(complaints.take("capacity.storage_gb").unwrap().starts_with("is missing"));
        assert_eq!(complaints.take("capacity.memory_gb"), None);
        assert_eq!(complaints.count(), 1, "the number of nodes: {complaints:?}");
        assert!(complaints.rest()[0].starts_with("capacity.max_nodes is missing"));
    }

    #[test]
    fn the_first_field_that_is_wrong_has_the_focus() {
        let field = |name, wrong| TextField::new(name, "", None).complaint(wrong);
        let focused = |mut fields: Vec<TextField>| {
            TextField::focus(&mut fields);
            fields.into_iter().filter(|field| field.focused).map(|field| field.name).collect::<Vec<_>>()
        };
        assert_eq!(focused(vec![field("a", None), field("b", None)]), ["a"]);
        assert_eq!(focused(vec![field("a", None), field("b", typed("is 0")), field("c", typed("is 1"))]), ["b"]);
    }
}
