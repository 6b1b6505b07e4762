//! What a saved view is, who may save one and who may remove it.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use domain::Invalid;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::form_urlencoded;
use uuid::Uuid;

use crate::authentication::Role;

/// Most bytes of what a view asks for.
const LONGEST_QUERY: usize = 2_000;

/// Parameters of an address that say which page is shown and in which form, and not what.
const NO_FILTERS: [&str; 6] = ["cursor", "position", "format", "table", "limit", "saved_form"];

/// A list of which views are saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ViewedList {
    /// Sessions.
    Sessions,
    /// Definitions.
    Definitions,
    /// Drifted ports.
    Drift,
    /// Requests for observations.
    Requests,
    /// Proposals.
    Proposals,
    /// Groups of dead letters.
    DeadLetters,
    /// Who changed what.
    Activity,
    /// Searches.
    Search,
}

impl ViewedList {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Sessions,
        Self::Definitions,
        Self::Drift,
        Self::Requests,
        Self::Proposals,
        Self::DeadLetters,
        Self::Activity,
        Self::Search,
    ];

    /// In its wire form.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Definitions => "definitions",
            Self::Drift => "drift",
            Self::Requests => "requests",
            Self::Proposals => "proposals",
            Self::DeadLetters => "dead_letters",
            Self::Activity => "activity",
            Self::Search => "search",
        }
    }

    /// Its page.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Sessions => "/sessions",
            Self::Definitions => "/definitions",
            Self::Drift => "/drift",
            Self::Requests => "/requests",
            Self::Proposals => "/proposals",
            Self::DeadLetters => "/operations/dead-letters",
            Self::Activity => "/activity",
            Self::Search => "/search",
        }
    }
}

impl fmt::Display for ViewedList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for ViewedList {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|list| list.as_str() == text).ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            let known = Self::ALL.map(Self::as_str).join(", ");
            Invalid::new("list", format!("is {shown:?}"), format!("one of {known}"))
        })
    }
}

/// Filters of a list under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SavedView {
    /// Names the view where it is removed.
    pub(crate) id: Uuid,
    /// Of which list.
    pub(crate) list: ViewedList,
    /// What it is called.
    pub(crate) name: String,
    /// What it asks the list for, as the page's address has it after its `?`.
    pub(crate) query: String,
    /// Who saved it.
    pub(crate) owner: String,
    /// Whether everybody sees it.
    pub(crate) shared: bool,
    /// When it was saved first.
    pub(crate) created_at: DateTime<Utc>,
}

impl SavedView {
    /// Where it is opened.
    pub(crate) fn address(&self) -> String {
        format!("{}?{}", self.list.path(), self.query)
    }

    /// Whether this person sees it.
    pub(crate) fn is_shown_to(&self, person: &str) -> bool {
        self.shared || self.owner == person
    }

    /// Whether this person may remove it: their own, or as an admin one that is shared.
    pub(crate) fn may_be_removed_by(&self, person: &str, role: Role) -> bool {
        if self.shared { role >= Role::Admin } else { self.owner == person }
    }
}

/// Whether somebody in this role may share a view with everybody.
pub(crate) fn may_share(role: Role) -> bool {
    role >= Role::Admin
}

/// What an address asks for, whatever page of it is shown: one question has one form.
pub(crate) fn canonical(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = form_urlencoded::parse(query.trim_start_matches('?').as_bytes())
        .into_owned()
        .filter(|(name, value)| !value.is_empty() && !NO_FILTERS.contains(&name.as_str()))
        .collect();
    pairs.sort();
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// The same, of a view that is to be saved.
///
/// # Errors
/// [`Invalid`] where nothing is asked for, or too much.
pub(crate) fn checked(query: &str) -> Result<String, Invalid> {
    let query = if query.len() > 2 * LONGEST_QUERY { String::from(query) } else { canonical(query) };
    let expected = "filters as the address of the list has them after its ?, e.g. status=running&last=day";
    match query.len() {
        0 => Err(Invalid::new("query", "holds no filter", expected)),
        1..=LONGEST_QUERY => Ok(query),
        longer => Err(Invalid::new("query", format!("has {longer} bytes"), format!("at most {LONGEST_QUERY} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(shared: bool) -> SavedView {
        SavedView {
            id: Uuid::nil(),
            list: ViewedList::Sessions,
            name: "Failed today".to_owned(),
            query: "last=day&status=failed".to_owned(),
            owner: "ada".to_owned(),
            shared,
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn an_own_view_is_seen_and_removed_by_nobody_else() {
        let own = view(false);
        assert!(own.is_shown_to("ada") && !own.is_shown_to("bob"));
        assert!(own.may_be_removed_by("ada", Role::Viewer) && !own.may_be_removed_by("bob", Role::Admin));
    }

    #[test]
    fn a_shared_view_is_seen_by_all_and_removed_by_admins() {
        let shared = view(true);
        assert!(shared.is_shown_to("bob") && shared.may_be_removed_by("bob", Role::Admin));
        assert!(!shared.may_be_removed_by("ada", Role::Operator));
        assert!(may_share(Role::Admin) && !may_share(Role::Operator) && !may_share(Role::Viewer));
    }

    #[test]
    fn one_question_has_one_form_and_no_page() {
        assert_eq!(canonical("?status=failed&text=&last=day&cursor=abc&limit=20"), "last=day&status=failed");
        assert_eq!(canonical("last=day&status=failed"), canonical("status=failed&last=day"));
        assert_eq!(view(false).address(), "/sessions?last=day&status=failed");
    }

    #[test]
    fn a_view_holds_a_filter_and_has_a_bound() {
        assert_eq!(checked("cursor=abc&text=").unwrap_err().field, "query");
        assert!(checked(&format!("text={}", "x".repeat(2_000))).is_err());
        assert!(checked(&format!("text={}", "x".repeat(1_990))).is_ok());
        for list in ViewedList::ALL {
            assert_eq!(list.as_str().parse::<ViewedList>().unwrap(), list);
        }
    }
}
