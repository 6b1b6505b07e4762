//! Where something is among an account's claims.

use std::fmt;
use std::str::FromStr;

use domain::Invalid;
use serde_json::{Map, Value};

/// Most characters of a path.
const LONGEST: usize = 500;
/// Most names of a path.
const DEEPEST: usize = 16;

/// A claim's name, or names separated by dots that lead through objects: `realm_access.roles`.
///
/// A name that holds dots itself needs no quotes where only one reading fits the claims: the longest name that is there
/// wins, so `https://example.com/claims.roles` finds `roles` in the claim `https://example.com/claims`. In quotes a name
/// is taken as it is: `resource_access."lablet.example.com".roles`.
///
/// Invariant: at least one name.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ClaimPath(Vec<Name>);

#[derive(Clone, PartialEq, Eq)]
struct Name {
    text: String,
    is_quoted: bool,
}

impl ClaimPath {
    /// What is at the end of this path; nothing where the claims have no such thing. A list of objects on the way is
    /// entered, each of them.
    pub(super) fn values<'a>(&self, claims: &'a Map<String, Value>) -> Vec<&'a Value> {
        at(claims, &self.0)
    }

    /// The claim that the path begins with, as a provider would name it.
    pub(super) fn is_below(&self, claim: &str) -> bool {
        prefixes(&self.0).any(|(name, _)| name == claim)
    }
}

/// Every way to read the beginning of a path as one name, the longest first, with what is left of the path.
fn prefixes(path: &[Name]) -> impl Iterator<Item = (String, &[Name])> {
    let unquoted = path.iter().take_while(|name| !name.is_quoted).count();
    (1..=unquoted.max(1)).rev().map(|length| {
        let (first, rest) = path.split_at(length);
        let names: Vec<&str> = first.iter().map(|name| name.text.as_str()).collect();
        (names.join("."), rest)
    })
}

fn at<'a>(claims: &'a Map<String, Value>, path: &[Name]) -> Vec<&'a Value> {
    for (name, rest) in prefixes(path) {
        let Some(value) = claims.get(&name) else { continue };
        if rest.is_empty() {
            return vec![value];
        }
        let found = match value {
            Value::Object(members) => at(members, rest),
            Value::Array(elements) => {
                elements.iter().filter_map(Value::as_object).flat_map(|members| at(members, rest)).collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
        };
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

impl FromStr for ClaimPath {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let expected =
            "a claim's name or a path such as realm_access.roles or resource_access.\"lablet.example.com\".roles";
        let invalid = |problem: &str| Invalid::new("claim", problem.to_owned(), expected);
        if text.is_empty() || text.chars().count() > LONGEST {
            return Err(invalid("is empty or too long"));
        }
        let (mut names, mut rest) = (Vec::new(), text);
        loop {
            let (name, after) = match rest.strip_prefix('"') {
                Some(quoted) => {
                    let (text, after) = unquote(quoted).ok_or_else(|| invalid("has a quote that is not closed"))?;
                    (Name { text, is_quoted: true }, after)
                }
                None => {
                    let end = rest.find('.').unwrap_or(rest.len());
                    (Name { text: rest[..end].to_owned(), is_quoted: false }, &rest[end..])
                }
            };
            names.push(name);
            if names.len() > DEEPEST {
                return Err(invalid("has too many names"));
            }
            if after.is_empty() {
                return Ok(Self(names));
            }
            rest = after.strip_prefix('.').ok_or_else(|| invalid("goes on behind a closing quote without a dot"))?;
        }
    }
}

/// The text up to the closing quote, and what is behind it. A backslash takes the next character as it is.
fn unquote(text: &str) -> Option<(String, &str)> {
    let (mut taken, mut characters) = (String::new(), text.char_indices());
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((taken, &text[index + 1..])),
            '\\' => taken.push(characters.next()?.1),
            other => taken.push(other),
        }
    }
    None
}

impl fmt::Debug for ClaimPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|name| &name.text)).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn find(path: &str, claims: Value) -> Vec<Value> {
        let path: ClaimPath = path.parse().unwrap();
        path.values(claims.as_object().unwrap()).into_iter().cloned().collect()
    }

    #[test]
    fn names_with_dots_are_found_with_quotes_and_without() {
        let keycloak =
            json!({"resource_access": {"lablet.example.com": {"roles": ["see"]}, "lablet": {"roles": ["x"]}}});
        for path in [
            "resource_access.\"lablet.example.com\".roles",
            "resource_access.lablet.example.com.roles",
            "\"resource_access\".\"lablet.example.com\".\"roles\"",
        ] {
            assert_eq!(find(path, keycloak.clone()), [json!(["see"])], "{path}");
        }
        assert_eq!(find("resource_access.\"lablet.example.com.roles\"", keycloak), Vec::<Value>::new());
        let namespaced = json!({"https://example.com/claims": {"roles": ["do"], "a\"b\\c": 1}});
        for path in ["https://example.com/claims.roles", "\"https://example.com/claims\".roles"] {
            assert_eq!(find(path, namespaced.clone()), [json!(["do"])], "{path}");
        }
        assert_eq!(find(r#""https://example.com/claims"."a\"b\\c""#, namespaced), [json!(1)]);
        assert_eq!(find("https://example.com/roles", json!({"https://example.com/roles": "see"})), [json!("see")]);
        assert_eq!(find("groups.name", json!({"groups": [{"name": "a"}, 1, {"name": "b"}]})), [json!("a"), json!("b")]);
        // The longest name that leads anywhere wins, and one that leads nowhere hides nothing.
        assert_eq!(find("a.b.c", json!({"a.b": {"d": 1}, "a": {"b": {"c": 2}}})), [json!(2)]);
    }

    #[test]
    fn a_path_that_cannot_be_read_says_so() {
        for (text, problem) in [
            ("", "is empty or too long"),
            ("a.\"b", "has a quote that is not closed"),
            ("\"a\\\"", "has a quote that is not closed"),
            ("\"a\"b", "goes on behind a closing quote without a dot"),
        ] {
            assert_eq!(text.parse::<ClaimPath>().unwrap_err().problem, problem, "{text}");
        }
        assert!("a.".repeat(20).parse::<ClaimPath>().is_err());
    }

    proptest! {
        #[test]
        fn a_quoted_name_is_found_whatever_it_holds(name in "\\PC{1,40}", inner in "\\PC{1,40}") {
            let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let path = format!("{}.{}", quoted(&name), quoted(&inner));
            prop_assert_eq!(find(&path, json!({ name: { inner: true } })), [json!(true)]);
        }

        #[test]
        fn no_claims_make_a_path_fail(path in "[a-c\".\\\\]{1,12}", claims in "\\PC{0,60}") {
            if let Ok(path) = path.parse::<ClaimPath>() {
                let claims = json!({"a": {"b": [{"c": claims}, 1]}, "a.b": null, "c": "d"});
                path.values(claims.as_object().unwrap());
            }
        }
    }
}
