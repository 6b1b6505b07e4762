//! From what a provider tells of an account to who it is here.

use serde_json::{Map, Value};

use crate::authentication::Role;
use crate::sign_in::AdminName;

/// Where name and role of an account are among its claims.
#[derive(Debug, Clone)]
pub(super) struct Mapping {
    pub(super) role_claim: String,
    pub(super) roles: Vec<(Role, String)>,
    pub(super) name_claim: String,
}

impl Mapping {
    /// Whether the claims lack a role or a name, so that it is worth asking for more.
    pub(super) fn lacks_something(&self, claims: &Map<String, Value>) -> bool {
        at(claims, &self.role_claim).is_none() || at(claims, &self.name_claim).is_none()
    }

    /// The highest role that the account's groups make.
    pub(super) fn role(&self, claims: &Map<String, Value>) -> Option<Role> {
        let groups = at(claims, &self.role_claim)?;
        let held = |wanted: &str| match groups {
            Value::String(group) => group == wanted,
            Value::Array(groups) => groups.iter().any(|group| group.as_str() == Some(wanted)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
        };
        self.roles.iter().filter(|(_, group)| held(group)).map(|(role, _)| *role).max()
    }

    /// The first of the account's names that could stand in an event.
    pub(super) fn name(&self, claims: &Map<String, Value>) -> Option<AdminName> {
        let name = |claim| AdminName::parse(at(claims, claim)?.as_str()?.trim()).ok();
        name(self.name_claim.as_str()).or_else(|| name("email")).or_else(|| name("sub"))
    }
}

/// The claim of this name, dots and all (names of claims may be URLs), else the one at the end of this path.
fn at<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(claim) = claims.get(path) {
        return Some(claim);
    }
    let (first, rest) = path.split_once('.')?;
    at(claims.get(first)?.as_object()?, rest)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mapping(role_claim: &str) -> Mapping {
        let roles = [(Role::Viewer, "see"), (Role::Operator, "do"), (Role::Admin, "rule"), (Role::Admin, "root")];
        Mapping {
            role_claim: role_claim.to_owned(),
            roles: roles.map(|(role, group)| (role, group.to_owned())).into(),
            name_claim: "preferred_username".to_owned(),
        }
    }

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn the_highest_role_wins_wherever_the_groups_are() {
        let role = |claim: &str, claims| mapping(claim).role(&map(claims));
        assert_eq!(role("groups", json!({"groups": ["x", "do", "see"]})), Some(Role::Operator));
        assert_eq!(role("groups", json!({"groups": "root"})), Some(Role::Admin));
        assert_eq!(role("realm_access.roles", json!({"realm_access": {"roles": ["see"]}})), Some(Role::Viewer));
        assert_eq!(
            role("https://labs.example/roles", json!({"https://labs.example/roles": ["do"]})),
            Some(Role::Operator)
        );
        for claims in [
            json!({}),
            json!({"groups": []}),
            json!({"groups": ["seeing", "SEE", 1, null]}),
            json!({"groups": {"see": true}}),
            json!({"groups": "see do"}),
            json!({"other": ["root"]}),
        ] {
            assert_eq!(role("groups", claims), None);
        }
    }

    #[test]
    fn a_name_falls_back_to_the_address_and_then_to_the_subject() {
        let name = |claims| mapping("groups").name(&map(claims)).map(|name| name.to_string());
        let all = json!({"preferred_username": "ada", "email": "ada@example.com", "sub": "1"});
        assert_eq!(name(all).as_deref(), Some("ada"));
        let odd = json!({"preferred_username": "a\nb", "email": "ada@example.com", "sub": "1"});
        assert_eq!(name(odd).as_deref(), Some("ada@example.com"));
        assert_eq!(name(json!({"preferred_username": "", "sub": "1"})).as_deref(), Some("1"));
        assert_eq!(name(json!({"sub": 1})), None);
    }
}
