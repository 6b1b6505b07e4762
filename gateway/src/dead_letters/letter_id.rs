//! The id of a dead letter, which says where it lies.

use std::fmt;
use std::str::FromStr;

use domain::Invalid;
use projections::ReadModel;
use schemars::JsonSchema;
use uuid::Uuid;

/// `command:<id>`, `webhook:<id>`, or `<read model>:<event id>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LetterId {
    /// A command.
    Command(Uuid),
    /// An event that the target of a webhook did not take.
    Webhook(Uuid),
    /// An event that a read model lacks.
    Event(ReadModel, Uuid),
}

impl fmt::Display for LetterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(id) => write!(formatter, "command:{id}"),
            Self::Webhook(id) => write!(formatter, "webhook:{id}"),
            Self::Event(model, id) => write!(formatter, "{}:{id}", model.name()),
        }
    }
}

impl FromStr for LetterId {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parsed = text.split_once(':').and_then(|(place, id)| {
            let id = id.parse().ok()?;
            match place {
                "command" => Some(Self::Command(id)),
                "webhook" => Some(Self::Webhook(id)),
                _ => ReadModel::ALL.into_iter().find(|model| model.name() == place).map(|model| Self::Event(model, id)),
            }
        });
        parsed.ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            Invalid::new(
                "",
                format!("is {shown:?}"),
                "command:<uuid>, webhook:<uuid> or <read model>:<uuid>, as the list gives it",
            )
        })
    }
}

impl JsonSchema for LetterId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LetterId".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let places: Vec<&str> = ["command", "webhook"].into_iter().chain(ReadModel::ALL.map(ReadModel::name)).collect();
        let id = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
        schemars::json_schema!({ "type": "string", "pattern": format!("^({}):{id}$", places.join("|")) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_where_its_letter_lies() {
        let id = "019b2c1e-5f7a-7c3e-9d4b-000000000000";
        for text in [format!("command:{id}"), format!("webhook:{id}"), format!("sessions:{id}")] {
            assert_eq!(text.parse::<LetterId>().unwrap().to_string(), text);
        }
        for bad in [id.to_owned(), format!("elsewhere:{id}"), "sessions:7".to_owned()] {
            assert!(bad.parse::<LetterId>().is_err(), "{bad}");
        }
    }
}
