//! Lists of bounded length.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::Invalid;

/// A list of at most `MOST` entries.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct List<T, const MOST: usize>(Vec<T>);

impl<T, const MOST: usize> List<T, MOST> {
    /// The first entries, as many as the list may have.
    pub fn first(entries: impl IntoIterator<Item = T>) -> Self {
        Self(entries.into_iter().take(MOST).collect())
    }

    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T, const MOST: usize> Default for List<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MOST: usize> TryFrom<Vec<T>> for List<T, MOST> {
    type Error = Invalid;
    fn try_from(entries: Vec<T>) -> Result<Self, Invalid> {
        check_count(entries.len(), MOST)?;
        Ok(Self(entries))
    }
}

impl<T, const MOST: usize> From<List<T, MOST>> for Vec<T> {
    fn from(list: List<T, MOST>) -> Self {
        list.0
    }
}

impl<T, const MOST: usize> Deref for List<T, MOST> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const MOST: usize> IntoIterator for List<T, MOST> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T, const MOST: usize> IntoIterator for &'a List<T, MOST> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: PartialEq<U>, U, const MOST: usize, const COUNT: usize> PartialEq<[U; COUNT]> for List<T, MOST> {
    fn eq(&self, other: &[U; COUNT]) -> bool {
        self.0.as_slice() == other.as_slice()
    }
}

/// Checks that a collection is not larger than the bound that protects everyone who handles it.
///
/// # Errors
/// [`Invalid`], with an empty field, naming the bound.
pub(crate) fn check_count(count: usize, most: usize) -> Result<(), Invalid> {
    if count <= most {
        return Ok(());
    }
    Err(Invalid::new("", format!("has {count} entries"), format!("at most {most} entries")))
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for List<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T, const MOST: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Entries<T, MOST> {
            type Value = List<T, MOST>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a sequence")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::with_capacity(entries.size_hint().unwrap_or(0).min(MOST));
                while list.len() < MOST {
                    let Some(entry) = entries.next_element()? else { return Ok(List(list)) };
                    list.push(entry);
                }
                // Entries beyond the bound are counted and not held.
                let mut count = MOST;
                while entries.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                check_count(count, MOST).map(|()| List(list)).map_err(serde::de::Error::custom)
            }
        }
        deserializer.deserialize_seq(Entries(PhantomData))
    }
}

impl<T: JsonSchema, const MOST: usize> JsonSchema for List<T, MOST> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("ListOf{MOST}{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = <Vec<T>>::json_schema(generator);
        schema.insert("maxItems".to_owned(), MOST.into());
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_too_long_is_refused_with_its_length() {
        type Few = List<u8, 2>;
        assert_eq!(serde_json::from_str::<Few>("[1,2]").unwrap().to_vec(), [1, 2]);
        let refused = serde_json::from_str::<Few>("[1,2,3,4]").unwrap_err().to_string();
        assert!(refused.contains("has 4 entries; expected at most 2 entries"), "{refused}");
        assert!(Few::try_from(vec![1, 2, 3]).is_err());
        assert_eq!(Few::first([1, 2, 3]).to_vec(), [1, 2]);
    }
}
