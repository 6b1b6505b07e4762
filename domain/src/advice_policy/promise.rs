//! The share of future sessions that a size is to cover.

use crate::Invalid;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// Above this promise each further point costs more than it gives.
const COSTLY: f64 = 0.97;

/// The share of future sessions whose demand a size is to cover: above 0 and below 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Promise(f64);

impl Promise {
    /// The promise of this share.
    ///
    /// # Errors
    /// [`Invalid`], with an empty field: none of the sessions and each of them are no promises that evidence can keep.
    pub fn new(share: f64) -> Result<Self, Invalid> {
        if share > 0.0 && share < 1.0 {
            return Ok(Self(share));
        }
        Err(Invalid::new("", format!("is {share}"), "a share above 0 and below 1, e.g. 0.95"))
    }

    /// Its share.
    pub fn share(self) -> f64 {
        self.0
    }

    /// Whether it costs more than it gives: above 0.97.
    pub fn is_costly(self) -> bool {
        self.0 > COSTLY
    }
}

impl Default for Promise {
    fn default() -> Self {
        Self(0.95)
    }
}

impl<'de> Deserialize<'de> for Promise {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Promise {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Promise".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "format": "double", "exclusiveMinimum": 0.0, "exclusiveMaximum": 1.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_everything_are_no_promises() {
        for refused in [0.0, 1.0, -0.5, 95.0, f64::NAN] {
            assert!(Promise::new(refused).is_err(), "{refused}");
        }
        assert!(!Promise::new(0.97).unwrap().is_costly() && Promise::new(0.999).unwrap().is_costly());
        assert_eq!(Promise::default().share(), 0.95);
    }
}
