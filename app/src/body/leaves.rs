//! Types of the domain that are one text or one number on the wire. They word their own refusals; a schema could only
//! state a pattern.

use std::fmt;

use domain::lablet_definition::DefinitionVersion;
use domain::ports::{PortName, PortNumber};
use domain::time;
use domain::worker::WorkerAddress;
use domain::{DefinitionId, EventId, Invalid, LabId, ProposalId, RequestId, SessionId, WorkerId};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error;

use super::complaint;

/// A single value of a body.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Leaf<'a> {
    Null,
    Flag(bool),
    Whole(i128),
    Number(f64),
    Text(&'a str),
}

/// Longest part of a text that a complaint repeats.
const LONGEST_SHOWN: usize = 60;

impl fmt::Display for Leaf<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => formatter.write_str("null"),
            Self::Flag(flag) => flag.fmt(formatter),
            Self::Whole(number) => number.fmt(formatter),
            Self::Number(number) => number.fmt(formatter),
            Self::Text(text) if text.chars().count() > LONGEST_SHOWN => {
                let shown: String = text.chars().take(LONGEST_SHOWN).collect();
                write!(formatter, "{shown:?}…")
            }
            Self::Text(text) => write!(formatter, "{text:?}"),
        }
    }
}

/// Whether a type accepts a value, else its complaint.
pub(super) type Check = fn(Leaf<'_>) -> Result<(), Invalid>;

/// The check of the type with this name in schemas.
pub(super) fn check_of(schema_name: &str) -> Option<Check> {
    macro_rules! leaves {
        ($($name:ident),+ $(,)?) => {
            match schema_name {
                $(stringify!($name) => Some(check::<$name>),)+
                _ => None,
            }
        };
    }
    leaves!(
        DefinitionId,
        DefinitionVersion,
        EventId,
        LabId,
        PortName,
        PortNumber,
        ProposalId,
        RequestId,
        SessionId,
        WorkerAddress,
        WorkerId,
    )
}

/// The check of instants.
pub(super) fn check_time(leaf: Leaf<'_>) -> Result<(), Invalid> {
    match leaf {
        Leaf::Text(text) => time::parse(text).and_then(time::check),
        other => time::parse("").map_err(|invalid| Invalid { problem: format!("is {other}"), ..invalid }).map(drop),
    }
}

fn check<T: for<'de> Deserialize<'de>>(leaf: Leaf<'_>) -> Result<(), Invalid> {
    let refused = match leaf {
        Leaf::Null => return Err(Invalid::new("", "is null", expected::<T>())),
        Leaf::Flag(flag) => T::deserialize(IntoDeserializer::<Error>::into_deserializer(flag)),
        Leaf::Whole(number) => match (u64::try_from(number), i64::try_from(number)) {
            (Ok(number), _) => T::deserialize(IntoDeserializer::<Error>::into_deserializer(number)),
            (_, Ok(number)) => T::deserialize(IntoDeserializer::<Error>::into_deserializer(number)),
            _ => return Err(Invalid::new("", format!("is {number}"), expected::<T>())),
        },
        Leaf::Number(number) => T::deserialize(IntoDeserializer::<Error>::into_deserializer(number)),
        Leaf::Text(text) => T::deserialize(IntoDeserializer::<Error>::into_deserializer(text)),
    };
    match refused {
        Ok(_) => Ok(()),
        Err(error) => {
            let said = complaint("", &error.to_string());
            // serde's own complaint names types of Rust.
            if said.problem.starts_with("is wrong: ") {
                return Err(Invalid::new("", format!("is {leaf}"), said.expected));
            }
            Err(said)
        }
    }
}

/// What would be right for a type, in its own words.
fn expected<T: for<'de> Deserialize<'de>>() -> String {
    let impossible = T::deserialize(IntoDeserializer::<Error>::into_deserializer(""));
    impossible.err().map_or_else(|| "a value".to_owned(), |error| complaint("", &error.to_string()).expected)
}
