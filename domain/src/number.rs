//! Numbers within bounds. The type states the bounds, and its JSON schema repeats them.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::Invalid;

/// An amount of cores, MB or percent: from 0 to [`Amount::GREATEST`].
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Amount(f64);

impl Amount {
    /// The greatest plausible amount; anything above is a mistake of the sender.
    pub const GREATEST: f64 = 1e9;

    /// The amount with this value.
    ///
    /// # Errors
    /// [`Invalid`], with an empty field, naming the bounds.
    pub fn new(value: f64) -> Result<Self, Invalid> {
        if (0.0..=Self::GREATEST).contains(&value) {
            return Ok(Self(value));
        }
        let expected = format!("a number from 0 to {}, or null where unknown", Self::GREATEST);
        Err(Invalid::new("", format!("is {value}"), expected))
    }

    /// Its value.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Amount {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "format": "double", "minimum": 0.0, "maximum": Self::GREATEST })
    }
}

/// A share, from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Share(f64);

impl Share {
    /// The share with this value.
    ///
    /// # Errors
    /// [`Invalid`], with an empty field, naming the bounds.
    pub fn new(value: f64) -> Result<Self, Invalid> {
        if (0.0..=1.0).contains(&value) {
            return Ok(Self(value));
        }
        Err(Invalid::new("", format!("is {value}"), "a number from 0 to 1, or null where unknown"))
    }

    /// Its value.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Share {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Share".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "format": "double", "minimum": 0.0, "maximum": 1.0 })
    }
}

/// A whole number from `LEAST` to `MOST`, held as a `T`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Whole<T, const LEAST: u64, const MOST: u64>(T);

impl<T: Copy + Into<u64>, const LEAST: u64, const MOST: u64> Whole<T, LEAST, MOST> {
    /// The greatest number.
    pub const MOST: u64 = MOST;

    /// The number with this value.
    ///
    /// # Errors
    /// [`Invalid`], with an empty field, naming the bounds.
    pub fn new(value: T) -> Result<Self, Invalid> {
        let number = value.into();
        if (LEAST..=MOST).contains(&number) {
            return Ok(Self(value));
        }
        Err(Invalid::new("", format!("is {number}"), format!("a whole number from {LEAST} to {MOST}")))
    }

    /// Its value.
    pub fn get(self) -> T {
        self.0
    }
}

impl<const MOST: u64> Whole<u32, 1, MOST> {
    /// One.
    pub const ONE: Self = Self(1);
}

impl<T: Default, const MOST: u64> Default for Whole<T, 0, MOST> {
    fn default() -> Self {
        Self(T::default())
    }
}

impl<T: std::fmt::Display, const LEAST: u64, const MOST: u64> std::fmt::Display for Whole<T, LEAST, MOST> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

impl<'de, T, const LEAST: u64, const MOST: u64> Deserialize<'de> for Whole<T, LEAST, MOST>
where
    T: Deserialize<'de> + Copy + Into<u64>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(T::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl<T: JsonSchema, const LEAST: u64, const MOST: u64> JsonSchema for Whole<T, LEAST, MOST> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("WholeFrom{LEAST}To{MOST}").into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        schema.insert("minimum".to_owned(), LEAST.into());
        schema.insert("maximum".to_owned(), MOST.into());
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_their_bounds_cannot_be_had() {
        for beyond in [-1.0, 1e300, f64::NAN, f64::INFINITY] {
            assert!(Amount::new(beyond).is_err(), "{beyond}");
        }
        for beyond in [-0.1, 1.1, f64::NAN] {
            assert!(Share::new(beyond).is_err(), "{beyond}");
        }
        assert_eq!(Amount::new(Amount::GREATEST).unwrap().get(), 1e9);
        type Percent = Whole<u32, 1, 100>;
        assert_eq!((Percent::new(1).unwrap().get(), Percent::new(100).unwrap().get()), (1, 100));
        let refused = |json: &str| serde_json::from_str::<Percent>(json).unwrap_err().to_string();
        assert!(refused("0").contains("is 0; expected a whole number from 1 to 100"), "{}", refused("0"));
        assert!(refused("101").contains("is 101"));
    }
}
