//! JSON that is passed on as text and never built into a tree.
//!
//! A tree of JSON takes five to ten times the memory of its text. JSON that is only passed on is kept as its text.

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One JSON value as text.
#[derive(Clone, PartialEq, Eq)]
pub struct RawJson(Box<str>);

impl RawJson {
    /// JSON null.
    pub fn null() -> Self {
        Self("null".into())
    }

    /// A text that is known to be JSON, e.g. of a column of Postgres' type `json`. It is not checked here.
    pub fn trusted(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The length of the text in bytes.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Reads it into a type.
    ///
    /// # Errors
    /// It does not hold such a value.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> serde_json::Result<T> {
        serde_json::from_str(&self.0)
    }

    /// A member of an object, where it is a text. Nothing else of the object is kept.
    pub fn text_member(&self, name: &str) -> Option<String> {
        struct Member<'a>(&'a str);
        impl<'de> Visitor<'de> for Member<'_> {
            type Value = Option<String>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
                let mut found = None;
                while let Some(name) = members.next_key::<Cow<'de, str>>()? {
                    if name == self.0 {
                        let member: &RawValue = members.next_value()?;
                        found = serde_json::from_str::<String>(member.get()).ok();
                    } else {
                        members.next_value::<serde::de::IgnoredAny>()?;
                    }
                }
                Ok(found)
            }
        }
        let mut deserializer = serde_json::Deserializer::from_str(&self.0);
        deserializer.deserialize_map(Member(name)).ok().flatten()
    }

    /// Whether a text or a name in it holds the character 0x00, which Postgres' json cannot give back.
    pub fn holds_nul(&self) -> bool {
        // In JSON text the character stands only as this escape.
        self.0.match_indices("\\u0000").any(|(at, _)| {
            // An even number of backslashes before it are escaped backslashes, so that this one begins an escape.
            self.0.as_bytes()[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0
        })
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RawJson({} bytes)", self.0.len())
    }
}

impl From<&serde_json::Value> for RawJson {
    fn from(value: &serde_json::Value) -> Self {
        Self(value.to_string().into())
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// Writes a value as JSON while it is read. Unlike serde_json's raw value it can be read from a value that serde has
/// buffered, as it does for tagged enums.
impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut text = String::new();
        Transcribe(&mut text).deserialize(deserializer)?;
        Ok(Self(text.into()))
    }
}

impl JsonSchema for RawJson {
    fn schema_name() -> Cow<'static, str> {
        "AnyJson".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        true.into()
    }
}

struct Transcribe<'a>(&'a mut String);

impl Transcribe<'_> {
    fn put<E: serde::de::Error>(self, value: &impl Serialize) -> Result<(), E> {
        self.0.push_str(&serde_json::to_string(value).map_err(E::custom)?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Transcribe<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Transcribe<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }
    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.put(&value)
    }
    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.put(&value)
    }
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.put(&value)
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.put(&value)
    }
    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.put(&value)
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.put(&())
    }
    fn visit_none<E: serde::de::Error>(self) -> Result<(), E> {
        self.put(&())
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let text = self.0;
        text.push('[');
        let begun = text.len();
        loop {
            let end = text.len();
            if end > begun {
                text.push(',');
            }
            if items.next_element_seed(Transcribe(text))?.is_none() {
                text.truncate(end);
                break;
            }
        }
        text.push(']');
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let text = self.0;
        text.push('{');
        let mut is_first = true;
        while let Some(name) = members.next_key::<Cow<'de, str>>()? {
            if !is_first {
                text.push(',');
            }
            is_first = false;
            text.push_str(&serde_json::to_string(&name).map_err(A::Error::custom)?);
            text.push(':');
            members.next_value_seed(Transcribe(text))?;
        }
        text.push('}');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Deserialize, Serialize)]
    #[serde(tag = "type")]
    enum Tagged {
        One { raw: RawJson },
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            // serde_json reads numbers with many digits a hair beside what was written.
            any::<i32>().prop_map(|eighths| json!(f64::from(eighths) / 8.0)),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..6).prop_map(Value::from),
                btree_map(".{0,4}", inner, 0..6).prop_map(|members| json!(members)),
            ]
        })
    }

    fn nul_within(value: &Value) -> bool {
        match value {
            Value::String(text) => text.contains('\0'),
            Value::Array(items) => items.iter().any(nul_within),
            Value::Object(members) => members.iter().any(|(name, member)| name.contains('\0') || nul_within(member)),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }

    proptest! {
        #[test]
        fn any_json_comes_out_as_it_went_in_also_through_a_tagged_enum(value in any_json()) {
            let text = json!({"type": "One", "raw": value}).to_string();
            let Tagged::One { raw } = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(raw.text()).unwrap(), value.clone());
            prop_assert_eq!(serde_json::to_string(&Tagged::One { raw: raw.clone() }).unwrap().len(), text.len());
            prop_assert_eq!(serde_json::from_value::<RawJson>(value.clone()).unwrap(), raw.clone());
            prop_assert_eq!(serde_json::to_value(&raw).unwrap(), value.clone());
            prop_assert_eq!(raw.holds_nul(), nul_within(&value));
        }
    }

    #[test]
    fn an_escaped_backslash_before_u0000_is_no_nul() {
        assert!(RawJson::from(&json!({"a": ["\u{0}"]})).holds_nul());
        assert!(RawJson::from(&json!({"\u{0}": 1})).holds_nul());
        assert!(!RawJson::from(&json!("\\u0000")).holds_nul());
        assert!(RawJson::from(&json!("\\\u{0}")).holds_nul());
    }

    #[test]
    fn a_member_is_found_without_the_others() {
        let raw = RawJson::from(&json!({"big": [1, 2, {"name": "inner"}], "name": "out\"er", "number": 5}));
        assert_eq!(raw.text_member("name").as_deref(), Some("out\"er"));
        assert_eq!(raw.text_member("number"), None);
        assert_eq!(raw.text_member("absent"), None);
        assert_eq!(RawJson::null().text_member("name"), None);
    }
}
