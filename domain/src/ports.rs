//! Ports: their numbers, names and ranges.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::ops::Deref;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::Invalid;
use crate::list::check_count;

/// Most ports of one session.
pub const MOST_PORTS: usize = 4_096;

/// An outside port, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PortNumber(NonZeroU16);

impl PortNumber {
    /// The port with this number.
    ///
    /// # Errors
    /// [`Invalid`] (with an empty field) for 0 and everything above 65535.
    pub fn new(number: i64) -> Result<Self, Invalid> {
        u16::try_from(number)
            .ok()
            .and_then(NonZeroU16::new)
            .map(Self)
            .ok_or_else(|| Invalid::new("", format!("is {number}"), "a port from 1 to 65535"))
    }

    /// The number, 1 to 65535.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for PortNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl<'de> Deserialize<'de> for PortNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = PortNumber;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a port from 1 to 65535")
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<PortNumber, E> {
                PortNumber::new(number).map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<PortNumber, E> {
                i64::try_from(number)
                    .ok()
                    .and_then(|number| PortNumber::new(number).ok())
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for PortNumber {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PortNumber".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 1, "maximum": 65535 })
    }
}

/// The pattern that every name of a port matches.
const PORT_NAME_PATTERN: &str = "^[A-Za-z0-9_-]{1,300}$";

/// The name of a port as definitions and allocations use it, e.g. `PC_serial`.
///
/// Invariant: 1 to 300 characters out of `[A-Za-z0-9_-]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct PortName(String);

impl PortName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`Invalid`] (with an empty field) when a character is not one of `[A-Za-z0-9_-]` or the length is not 1 to 300.
    pub fn parse(text: impl Into<String>) -> Result<Self, Invalid> {
        let text = text.into();
        let fits = (1..=300).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if fits {
            return Ok(Self(text));
        }
        let shown: String = text.chars().take(80).collect();
        Err(Invalid::new("", format!("is {shown:?}"), "a port name of 1 to 300 ASCII letters, digits, '_' or '-'"))
    }

    /// The compatible name of a port: `{label with [^A-Za-z0-9_-] → _}_{protocol}`, e.g. `PC_serial`.
    pub fn compatible(label: &str, protocol: &str) -> Self {
        Self(format!("{}_{}", Self::clean(label), Self::clean(protocol)))
    }

    /// A label as names of ports hold it.
    pub(crate) fn clean(label: &str) -> String {
        let clean = |character: char| {
            if character.is_ascii_alphanumeric() || character == '_' || character == '-' { character } else { '_' }
        };
        label.chars().take(256).map(clean).collect()
    }

    /// This name with `_{suffix}` appended.
    #[must_use]
    pub(crate) fn suffixed(&self, suffix: impl fmt::Display) -> Self {
        Self(format!("{}_{suffix}", self.0))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PortName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for PortName {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

impl From<PortName> for String {
    fn from(name: PortName) -> Self {
        name.0
    }
}

impl JsonSchema for PortName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PortName".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": PORT_NAME_PATTERN })
    }
}

/// Ports by name, ordered, e.g. `{"PC_serial": 5041}`.
///
/// Invariant: at most [`MOST_PORTS`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PortMap(BTreeMap<PortName, PortNumber>);

impl PortMap {
    /// How many ports it names.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ports that fulfil a condition.
    #[must_use]
    pub fn filter(&self, condition: impl Fn(&PortName, PortNumber) -> bool) -> Self {
        let ports = self.0.iter().filter(|(name, port)| condition(name, **port));
        Self(ports.map(|(name, port)| (name.clone(), *port)).collect())
    }
}

impl TryFrom<BTreeMap<PortName, PortNumber>> for PortMap {
    type Error = Invalid;
    fn try_from(ports: BTreeMap<PortName, PortNumber>) -> Result<Self, Invalid> {
        check_count(ports.len(), MOST_PORTS)?;
        Ok(Self(ports))
    }
}

impl Deref for PortMap {
    type Target = BTreeMap<PortName, PortNumber>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'a> IntoIterator for &'a PortMap {
    type Item = (&'a PortName, &'a PortNumber);
    type IntoIter = std::collections::btree_map::Iter<'a, PortName, PortNumber>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'de> Deserialize<'de> for PortMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(BTreeMap::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for PortMap {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PortMap".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = <BTreeMap<PortName, PortNumber>>::json_schema(generator);
        schema.insert("propertyNames".to_owned(), serde_json::json!({ "pattern": PORT_NAME_PATTERN }));
        schema.insert("maxProperties".to_owned(), MOST_PORTS.into());
        schema
    }
}

/// The outside ports that a worker's address translation honours, both ends included. Invariant: first ≤ last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "UncheckedPortRange")]
pub struct PortRange {
    first: PortNumber,
    last: PortNumber,
}

#[derive(Deserialize)]
struct UncheckedPortRange {
    first: PortNumber,
    last: PortNumber,
}

impl TryFrom<UncheckedPortRange> for PortRange {
    type Error = Invalid;
    fn try_from(unchecked: UncheckedPortRange) -> Result<Self, Invalid> {
        Self::new(unchecked.first, unchecked.last)
    }
}

impl PortRange {
    /// A range of ports.
    ///
    /// # Errors
    /// [`Invalid`] when the last port is below the first.
    pub fn new(first: PortNumber, last: PortNumber) -> Result<Self, Invalid> {
        if last < first {
            return Err(Invalid::new(
                "last",
                format!("is {last}"),
                format!("a port from {first} (the first) to 65535"),
            ));
        }
        Ok(Self { first, last })
    }

    /// The lowest port.
    pub fn first(&self) -> PortNumber {
        self.first
    }

    /// The highest port.
    pub fn last(&self) -> PortNumber {
        self.last
    }

    /// Whether the port lies in the range.
    pub fn contains(&self, port: PortNumber) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl Default for PortRange {
    /// PATty's own default, 2000 to 7999.
    fn default() -> Self {
        let port = |number| PortNumber::new(number).expect("PATty's range lies within 1 to 65535");
        Self { first: port(2000), last: port(7999) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_port_is_1_to_65535() {
        for bad in ["0", "65536", "-1", "1.5", "\"22\"", "null", "99999999999999999999"] {
            let error = serde_json::from_str::<PortNumber>(bad).unwrap_err().to_string();
            assert!(error.contains("a port from 1 to 65535"), "{bad}: {error}");
        }
        assert_eq!(serde_json::from_str::<PortNumber>("65535").unwrap().get(), 65535);
    }

    #[test]
    fn a_compatible_name_keeps_only_allowed_characters() {
        assert_eq!(PortName::compatible("PC", "serial").as_str(), "PC_serial");
        assert_eq!(PortName::compatible("core sw.1/é", "vnc").as_str(), "core_sw_1___vnc");
        assert_eq!(PortName::compatible("", "vnc").as_str(), "_vnc");
    }

    proptest! {
        #[test]
        fn compatible_names_are_port_names(label in ".{0,300}", protocol in "[a-z]{1,8}") {
            let name = PortName::compatible(&label, &protocol);
            prop_assert!(PortName::parse(name.as_str()).is_ok());
        }
    }
}
