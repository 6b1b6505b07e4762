//! One parameter: a text, from which its type reads itself, and what is wrong with it as data.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::str::FromStr;

use app::body::complaint;
use domain::Invalid;
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

/// Longest part of a text that a complaint repeats.
const LONGEST_SHOWN: usize = 80;

/// Parameters by name, one after the other.
pub(super) struct Parameters<'a, I> {
    pairs: I,
    /// The one whose name was read last.
    current: Option<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a, I> Parameters<'a, I> {
    pub(super) fn new(pairs: I) -> Self {
        Self { pairs, current: None }
    }
}

impl<'de, 'a, I: Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>> MapAccess<'de> for Parameters<'a, I> {
    type Error = InvalidParameter;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, InvalidParameter> {
        self.current = self.pairs.next();
        let Some((name, _)) = &self.current else { return Ok(None) };
        let name: StrDeserializer<'_, InvalidParameter> = (**name).into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, InvalidParameter> {
        let (name, value) = self.current.take().unwrap_or_default();
        seed.deserialize(Parameter(&value)).map_err(|invalid| invalid.about(&name))
    }
}

/// The value of a parameter.
struct Parameter<'a>(&'a str);

/// What is wrong with a parameter; its field is empty until it is known which one it is.
#[derive(Debug)]
pub(super) struct InvalidParameter(pub(super) Invalid);

impl InvalidParameter {
    fn new(problem: impl Into<String>, expected: impl Into<String>) -> Self {
        Self(Invalid::new("", problem, expected))
    }

    fn about(mut self, name: &str) -> Self {
        if self.0.field.is_empty() {
            self.0.field = shown(name);
        }
        self
    }
}

fn shown(text: &str) -> String {
    text.chars().take(LONGEST_SHOWN).collect()
}

fn one_of(names: &[&str]) -> String {
    match names {
        [] => "no such name".to_owned(),
        [only] => (*only).to_owned(),
        several => format!("one of {}", several.join(", ")),
    }
}

impl Display for InvalidParameter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for InvalidParameter {}

impl de::Error for InvalidParameter {
    /// A type of the domain says in its own words what it takes; serde hands them over as a text.
    fn custom<T: Display>(message: T) -> Self {
        Self(complaint("", &message.to_string()))
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_value(unexpected, expected)
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        match unexpected {
            Unexpected::Str(text) => Self::new(format!("is {:?}", shown(text)), expected.to_string()),
            Unexpected::Unsigned(number) => Self::new(format!("is {number}"), "a smaller whole number"),
            Unexpected::Signed(number) => Self::new(format!("is {number}"), "a whole number nearer to 0"),
            other => Self::new(format!("is {other}"), expected.to_string()),
        }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("is {:?}", shown(variant)), one_of(expected))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new("is not known", one_of(expected)).about(field)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new("is missing", "a value").about(field)
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new("is given twice", "each name once").about(field)
    }
}

impl Parameter<'_> {
    fn parse<T: FromStr>(&self, expected: &str) -> Result<T, InvalidParameter> {
        self.0.parse().map_err(|_| InvalidParameter::new(format!("is {:?}", shown(self.0)), expected))
    }
}

macro_rules! parsed {
    ($($method:ident, $visit:ident: $type:ty, $expected:literal;)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidParameter> {
            visitor.$visit(self.parse::<$type>($expected)?)
        }
    )+};
}

impl<'de> Deserializer<'de> for Parameter<'_> {
    type Error = InvalidParameter;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidParameter> {
        visitor.visit_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, InvalidParameter> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, InvalidParameter> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, InvalidParameter> {
        let variant: StrDeserializer<'_, InvalidParameter> = self.0.into_deserializer();
        visitor.visit_enum(variant)
    }

    parsed! {
        deserialize_bool, visit_bool: bool, "true or false";
        deserialize_u8, visit_u64: u64, "a whole number, 0 or more";
        deserialize_u16, visit_u64: u64, "a whole number, 0 or more";
        deserialize_u32, visit_u64: u64, "a whole number, 0 or more";
        deserialize_u64, visit_u64: u64, "a whole number, 0 or more";
        deserialize_i8, visit_i64: i64, "a whole number";
        deserialize_i16, visit_i64: i64, "a whole number";
        deserialize_i32, visit_i64: i64, "a whole number";
        deserialize_i64, visit_i64: i64, "a whole number";
        deserialize_f32, visit_f64: f64, "a number";
        deserialize_f64, visit_f64: f64, "a number";
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
