//! `/api/dead-letter-groups`: dead letters by their cause, and what operators do about all of a group at once.

use std::collections::BTreeMap;
use std::time::Duration;

use aide::transform::TransformOperation;
use app::command::CommandName;
use app::commands::Commands;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::Invalid;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::cause::{cause, fingerprint};
use super::discard::{Discard, do_without};
use super::letter_id::LetterId;
use super::list::{Letter, LetterKind, Letters, waiting};
use super::retry::{NotRetried, try_again};
use crate::answer::Written;
use crate::body::RequestBody;
use crate::caller::{Caller, Operating};
use crate::dead_letters::DeadLetterStores;
use crate::path::Id;
use crate::problem::Problem;
use crate::query::Query;
use crate::submission::Submission;

/// Letters that are looked at of each place, the newest.
const OF_A_PLACE: u32 = 1_000;
/// Letters that are settled by one request.
const AT_ONCE: usize = 100;
/// How long one request settles letters before it says how many are left.
const LONGEST: Duration = Duration::from_secs(15);

/// Which groups.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupQuery {
    /// Of commands, events of webhooks, or events of read models; of all unless stated.
    kind: Option<LetterKind>,
}

/// A group's id: sixteen hexadecimal digits, the same as long as kind, source and cause are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupId(String);

impl std::fmt::Display for GroupId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::str::FromStr for GroupId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase());
        if is_id {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(80).collect();
        Err(Invalid::new("", format!("is {shown:?}"), "sixteen hexadecimal digits, as the list gives it"))
    }
}

impl JsonSchema for GroupId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DeadLetterGroupId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9a-f]{16}$"})
    }
}

/// Dead letters of one cause.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct LetterGroup {
    /// Its id.
    pub(crate) id: String,
    /// What the letters are.
    pub(crate) kind: LetterKind,
    /// The commands' subject, the webhook's target, or the read model.
    pub(crate) source: String,
    /// What their reasons have in common; `…` stands for ids, numbers and quoted texts.
    pub(crate) cause: String,
    /// The newest reason as it is.
    pub(crate) reason: String,
    /// How many letters.
    pub(crate) count: u64,
    /// Since when the oldest lies here.
    pub(crate) first_at: DateTime<Utc>,
    /// Since when the newest lies here.
    pub(crate) last_at: DateTime<Utc>,
}

/// Dead letters by their cause.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct LetterGroups {
    /// The largest first.
    pub(crate) items: Vec<LetterGroup>,
    /// Whether there are more letters than were looked at, the newest 1,000 of each place.
    pub(crate) more: bool,
}

/// What came of settling a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct GroupOutcome {
    /// Letters that worked this time.
    pub(crate) retried: u64,
    /// Letters of webhooks that will be sent again.
    pub(crate) requested: u64,
    /// Letters that were discarded.
    pub(crate) discarded: u64,
    /// Letters that are where they were, by why.
    pub(crate) refused: Vec<Refusal>,
    /// Letters of the group for which there was no time: settle it once more.
    pub(crate) left: u64,
}

/// Why letters are where they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Refusal {
    /// Why.
    pub(crate) reason: String,
    /// How many.
    pub(crate) count: u64,
}

impl GroupOutcome {
    /// E.g. `38 retried, 2 refused: there is no session …`.
    pub(crate) fn words(&self) -> String {
        let counts = [(self.retried, "retried"), (self.requested, "will be sent again"), (self.discarded, "discarded")];
        let mut words: Vec<String> =
            counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        words.extend(self.refused.iter().map(|refusal| format!("{} refused: {}", refusal.count, refusal.reason)));
        if self.left > 0 {
            words.push(format!("{} left", self.left));
        }
        if words.is_empty() { "Nothing was left of the group".to_owned() } else { words.join(", ") }
    }
}

/// The waiting letters that have a reason, by their cause; those that only wait behind another are left out.
pub(crate) fn group(letters: Vec<Letter>) -> Vec<(LetterGroup, Vec<Letter>)> {
    let mut groups: BTreeMap<String, (LetterGroup, Vec<Letter>)> = BTreeMap::new();
    for letter in letters {
        let Some(reason) = letter.reason.clone() else { continue };
        let cause = cause(&reason);
        let id = fingerprint(letter.kind.as_str(), &letter.source, &cause);
        let (group, members) = groups.entry(id.clone()).or_insert_with(|| {
            let (kind, source) = (letter.kind, letter.source.clone());
            let (first_at, last_at) = (letter.since, letter.since);
            (LetterGroup { id, kind, source, cause, reason: reason.clone(), count: 0, first_at, last_at }, Vec::new())
        });
        group.count += 1;
        group.first_at = group.first_at.min(letter.since);
        if letter.since > group.last_at {
            (group.last_at, group.reason) = (letter.since, reason);
        }
        members.push(letter);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by(|(one, _), (other, _)| other.count.cmp(&one.count).then(one.id.cmp(&other.id)));
    groups
}

/// The groups of what waits, of one kind or of all.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn groups(stores: &DeadLetterStores, kind: Option<LetterKind>) -> Result<LetterGroups, Problem> {
    let Letters { items, more, .. } = waiting(stores, kind, OF_A_PLACE).await?;
    Ok(LetterGroups { items: group(items).into_iter().map(|(group, _)| group).collect(), more })
}

/// A group with its letters; `None`: nothing of it waits.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn open(
    stores: &DeadLetterStores,
    id: &GroupId,
) -> Result<Option<(LetterGroup, Vec<Letter>)>, Problem> {
    let letters = waiting(stores, None, OF_A_PLACE).await?;
    Ok(group(letters.items).into_iter().find(|(group, _)| group.id == id.0))
}

/// What is done with a group.
#[derive(Debug, Clone)]
pub(crate) enum Decision {
    /// Each is tried again.
    Retry,
    /// Each is done without, for this reason.
    Discard(Option<String>),
}

/// Settles the letters of a group, the oldest first, as far as there is time.
///
/// # Errors
/// 404 where nothing of the group waits, 400 where there is no reason to discard it; the database does not answer.
pub(crate) async fn settle(
    stores: &DeadLetterStores,
    commands: &Commands,
    id: &GroupId,
    decision: &Decision,
    actor: &str,
) -> Result<GroupOutcome, Problem> {
    let end = Instant::now() + LONGEST;
    let (_, mut letters) =
        open(stores, id).await?.ok_or_else(|| Problem::not_found("dead letter group", &id.to_string()))?;
    letters.sort_by_key(|letter| letter.since);
    let total = letters.len() as u64;
    let mut outcome = GroupOutcome { retried: 0, requested: 0, discarded: 0, refused: Vec::new(), left: 0 };
    let mut refused: BTreeMap<String, u64> = BTreeMap::new();
    let mut looked_at = 0;
    for letter in letters.into_iter().take(AT_ONCE) {
        if Instant::now() >= end {
            break;
        }
        looked_at += 1;
        let Ok(letter_id) = letter.id.parse::<LetterId>() else { continue };
        let refusal = match decision {
            Decision::Retry => match try_again(stores, commands, letter_id, actor).await {
                Ok(settled) if settled.outcome == "requested" => {
                    outcome.requested += 1;
                    None
                }
                // Somebody else did the same meanwhile.
                Ok(_) | Err(NotRetried::SettledBefore | NotRetried::Absent(_)) => {
                    outcome.retried += 1;
                    None
                }
                Err(NotRetried::FailedAgain(reason)) => Some(reason),
                Err(NotRetried::NotTried(problem)) => Some(problem.document().detail),
            },
            Decision::Discard(reason) => match do_without(stores, letter_id, actor, reason.clone()).await {
                Ok(_) => {
                    outcome.discarded += 1;
                    None
                }
                // Nothing is done for a reason that is none.
                Err(problem) if problem.kind() == crate::problem::ProblemKind::InvalidInput => return Err(problem),
                Err(problem) => Some(problem.document().detail),
            },
        };
        if let Some(reason) = refusal {
            *refused.entry(cause(&reason)).or_default() += 1;
        }
    }
    outcome.refused = refused.into_iter().map(|(reason, count)| Refusal { reason, count }).collect();
    outcome.left = total - looked_at;
    Ok(outcome)
}

/// Nothing has to be said.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub(crate) struct GroupRetry {}

impl RequestBody for GroupRetry {
    const COMMAND: Option<CommandName> = None;

    fn when_empty() -> Option<Self> {
        Some(Self {})
    }
}

pub(crate) async fn list(
    State(stores): State<DeadLetterStores>,
    _: Caller<Operating>,
    Query(query): Query<GroupQuery>,
) -> Result<Json<LetterGroups>, Problem> {
    groups(&stores, query.kind).await.map(Json)
}

pub(crate) async fn retry(
    State(stores): State<DeadLetterStores>,
    State(commands): State<Commands>,
    _: Caller<Operating>,
    Id(id): Id<GroupId>,
    submission: Submission<GroupRetry>,
) -> Result<Json<Written<GroupOutcome>>, Problem> {
    let Submission { body: GroupRetry {}, origin, warnings } = submission;
    let body = settle(&stores, &commands, &id, &Decision::Retry, &origin.actor).await?;
    Ok(Json(Written { body, warnings }))
}

pub(crate) async fn discard(
    State(stores): State<DeadLetterStores>,
    State(commands): State<Commands>,
    _: Caller<Operating>,
    Id(id): Id<GroupId>,
    submission: Submission<Discard>,
) -> Result<Json<Written<GroupOutcome>>, Problem> {
    let Submission { body, origin, warnings } = submission;
    let decision = Decision::Discard(Some(body.reason()));
    let body = settle(&stores, &commands, &id, &decision, &origin.actor).await?;
    Ok(Json(Written { body, warnings }))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_dead_letter_groups")
        .tag("operations")
        .summary("What got stuck, by its cause, the largest group first")
}

pub(crate) fn describe_retry(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("retry_dead_letter_group")
        .tag("operations")
        .summary("Try again every letter of a group")
        .description("At most 100 at once; `left` says how many are left, and each refusal is told with its count.")
}

pub(crate) fn describe_discard(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("discard_dead_letter_group")
        .tag("operations")
        .summary("Do without every letter of a group, for one reason, for good")
        .description("At most 100 at once; `left` says how many are left, and each refusal is told with its count.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(id: &str, source: &str, reason: Option<&str>, second: i64) -> Letter {
        Letter {
            id: id.to_owned(),
            kind: LetterKind::Command,
            source: source.to_owned(),
            reason: reason.map(str::to_owned),
            aggregate_type: None,
            aggregate_id: None,
            event_id: None,
            position: None,
            attempts: 1,
            since: DateTime::from_timestamp(second, 0).unwrap(),
        }
    }

    #[test]
    fn letters_of_one_cause_and_source_are_a_group_and_the_largest_comes_first() {
        let found = group(vec![
            letter("a", "grading", Some("there is no worker w-1"), 5),
            letter("b", "grading", Some("there is no session s-1"), 1),
            letter("c", "grading", Some("there is no session s-2"), 9),
            letter("d", "booking", Some("there is no session s-3"), 2),
            letter("e", "grading", None, 3),
        ]);
        let told: Vec<(u64, &str, &str)> =
            found.iter().map(|(group, _)| (group.count, group.source.as_str(), group.reason.as_str())).collect();
        assert_eq!(told[0], (2, "grading", "there is no session s-2"));
        assert_eq!((found[0].0.first_at.timestamp(), found[0].0.last_at.timestamp()), (1, 9));
        assert_eq!(found.len(), 3, "what only waits behind another is in no group: {told:?}");
        assert!(found[0].0.id.parse::<GroupId>().is_ok());
    }

    #[test]
    fn each_outcome_is_counted_and_told() {
        let refused = vec![Refusal { reason: "there is no session …".to_owned(), count: 2 }];
        let outcome = GroupOutcome { retried: 38, requested: 0, discarded: 0, refused, left: 60 };
        assert_eq!(outcome.words(), "38 retried, 2 refused: there is no session …, 60 left");
        let nothing = GroupOutcome { retried: 0, refused: Vec::new(), left: 0, ..outcome };
        assert_eq!(nothing.words(), "Nothing was left of the group");
    }
}
