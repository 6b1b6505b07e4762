//! From what a provider tells of an account to who it is here.

use serde_json::{Map, Value};

use super::ProviderError;
use super::claim_path::ClaimPath;
use crate::authentication::Role;
use crate::sign_in::AdminName;

/// Claim in which a provider names the claims that it tells elsewhere (OpenID Connect Core, 5.6.2).
const ELSEWHERE: &str = "_claim_names";
/// Claim by which Entra says, in a token that has to be short, that there are groups.
const HAS_GROUPS: &str = "hasgroups";

/// Where name and role of an account are among its claims.
#[derive(Debug, Clone)]
pub(super) struct Mapping {
    pub(super) role_claim: ClaimPath,
    pub(super) roles: Vec<(Role, String)>,
    pub(super) name_claim: ClaimPath,
}

impl Mapping {
    /// Whether the claims lack a role or a name, so that it is worth asking for more.
    pub(super) fn lacks_something(&self, claims: &Map<String, Value>) -> bool {
        self.role_claim.values(claims).is_empty() || self.name_claim.values(claims).is_empty()
    }

    /// The highest role that the account's groups make.
    ///
    /// Groups are a text (one group, whatever it holds: names of groups have spaces and commas), a list of texts, or the
    /// keys of an object, also of one in a list. A key counts where the provider says something of it: `true`, or an
    /// object or list that is not empty.
    pub(super) fn role(&self, claims: &Map<String, Value>) -> Option<Role> {
        let groups = self.role_claim.values(claims);
        let held = |wanted: &str| groups.iter().any(|value| names(value, wanted, true));
        self.roles.iter().filter(|(_, group)| held(group)).map(|(role, _)| *role).max()
    }

    /// The first of the account's names that could stand in an event.
    pub(super) fn name(&self, claims: &Map<String, Value>) -> Option<AdminName> {
        let usable = |value: &Value| AdminName::parse(value.as_str()?.trim()).ok();
        let configured = self.name_claim.values(claims);
        configured.into_iter().chain(["email", "sub"].iter().filter_map(|claim| claims.get(*claim))).find_map(usable)
    }

    /// Whether the groups are not there because the provider tells them elsewhere.
    fn are_elsewhere(&self, claims: &Map<String, Value>) -> bool {
        let named = claims.get(ELSEWHERE).and_then(Value::as_object);
        let named = named.is_some_and(|named| named.keys().any(|claim| self.role_claim.is_below(claim)));
        let hinted = match claims.get(HAS_GROUPS) {
            Some(Value::Bool(hinted)) => *hinted,
            Some(Value::String(hinted)) => hinted.eq_ignore_ascii_case("true"),
            _ => false,
        };
        named || hinted
    }

    /// Why an account has no role.
    pub(super) fn why_no_role(&self, name: AdminName, claims: &Map<String, Value>) -> ProviderError {
        if self.are_elsewhere(claims) { ProviderError::GroupsElsewhere(name) } else { ProviderError::NoRole(name) }
    }
}

/// Whether a value names this group.
fn names(value: &Value, wanted: &str, enter: bool) -> bool {
    match value {
        Value::String(group) => group == wanted,
        Value::Array(groups) => enter && groups.iter().any(|group| names(group, wanted, false)),
        Value::Object(groups) => groups.get(wanted).is_some_and(|said| match said {
            Value::Bool(said) => *said,
            Value::Object(said) => !said.is_empty(),
            Value::Array(said) => !said.is_empty(),
            Value::Null | Value::Number(_) | Value::String(_) => false,
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn mapping(role_claim: &str) -> Mapping {
        let roles = [(Role::Viewer, "see"), (Role::Operator, "do"), (Role::Admin, "rule"), (Role::Admin, "root")];
        Mapping {
            role_claim: role_claim.parse().unwrap(),
            roles: roles.map(|(role, group)| (role, group.to_owned())).into(),
            name_claim: "preferred_username".parse().unwrap(),
        }
    }

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn the_highest_role_wins_wherever_the_groups_are() {
        let role = |claim: &str, claims| mapping(claim).role(&map(claims));
        let zitadel = "urn:zitadel:iam:org:project:roles";
        for (claim, claims, held) in [
            ("groups", json!({"groups": ["x", "do", "see"]}), Role::Operator),
            ("groups", json!({"groups": "root"}), Role::Admin),
            ("groups", json!({"groups": ["see", {"name": "do"}, 1, null]}), Role::Viewer),
            ("groups.name", json!({"groups": [{"name": "see"}, {"name": "do"}]}), Role::Operator),
            ("realm_access.roles", json!({"realm_access": {"roles": ["see"]}}), Role::Viewer),
            ("https://labs.example/roles", json!({"https://labs.example/roles": ["do"]}), Role::Operator),
            (
                "resource_access.\"lablet.example.com\".roles",
                json!({"resource_access": {"lablet.example.com": {"roles": ["rule"]}}}),
                Role::Admin,
            ),
            (
                "https://example.com/claims.roles",
                json!({"https://example.com/claims": {"roles": ["do"]}}),
                Role::Operator,
            ),
            (zitadel, json!({zitadel: {"rule": {"1": "labs.example.com"}, "see": {"1": "x"}}}), Role::Admin),
            (zitadel, json!({zitadel: [{"do": {"1": "labs.example.com"}}]}), Role::Operator),
            ("groups", json!({"groups": {"see": true, "rule": false}}), Role::Viewer),
        ] {
            assert_eq!(role(claim, claims.clone()), Some(held), "{claim} {claims}");
        }
        for claims in [
            json!({}),
            json!({"groups": []}),
            json!({"groups": ["seeing", "SEE", 1, null, [["see"]]]}),
            json!({"groups": {"see": false, "do": null, "rule": {}, "root": "yes"}}),
            json!({"groups": "see do"}),
            json!({"groups": "see,do"}),
            json!({"other": ["root"]}),
        ] {
            assert_eq!(role("groups", claims.clone()), None, "{claims}");
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

    #[test]
    fn groups_that_the_provider_tells_elsewhere_are_recognised() {
        let why = |claim: &str, claims| mapping(claim).why_no_role(AdminName::parse("ada").unwrap(), &map(claims));
        let elsewhere =
            json!({"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://x"}}});
        for (claim, claims) in [
            ("groups", elsewhere.clone()),
            ("groups.name", elsewhere.clone()),
            ("groups", json!({"hasgroups": true})),
            ("groups", json!({"hasgroups": "true"})),
        ] {
            assert!(matches!(why(claim, claims), ProviderError::GroupsElsewhere(_)), "{claim}");
        }
        for (claim, claims) in [("roles", elsewhere), ("groups", json!({"_claim_names": "groups", "hasgroups": false}))]
        {
            assert!(matches!(why(claim, claims), ProviderError::NoRole(_)), "{claim}");
        }
    }

    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "(see|do|rule|\\PC{0,8})".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("(see|do|rule|name|\\PC{0,4})", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Whatever a provider sends, it is read without a failure, and nobody gets a role of which no word was said.
        #[test]
        fn no_shape_of_groups_breaks_a_sign_in(groups in anything()) {
            let said = groups.to_string();
            let role = mapping("groups").role(&map(json!({ "groups": groups })));
            let word = role.map(|role| match role {
                Role::Viewer => "see",
                Role::Operator => "do",
                Role::Admin => "rule",
            });
            prop_assert!(word.is_none_or(|word| said.contains(word)), "{}", said);
        }
    }
}
