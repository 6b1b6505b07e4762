//! `/operations/dead-letters`: dead letters by their cause, settled together with one reason; and those that were discarded.

use app::commands::Commands;
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use projections::PageRequest;
use projections::discarded_letters::{DiscardedFilter, DiscardedLetter};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::dead_letters::{LETTER_COLUMNS, aggregate_page, excuse, kind, sender};
use super::discarded;
use crate::caller::{Caller, Operating};
use crate::dead_letters::DeadLetterStores;
use crate::dead_letters::groups::{Decision, GroupId, GroupOutcome, LetterGroup, groups, open, settle};
use crate::dead_letters::list::{Letter, LetterKind};
use crate::pages::form::PageForm;
use crate::pages::parts::{When, counted};
use crate::pages::query::{PageQuery, address};
use crate::pages::saved_views::ViewsBar;
use crate::pages::shell::{Section, Shell, page};
use crate::pages::table::{Column, Format, csv_of, time};
use crate::pages::visit::Visit;
use crate::path::Id;
use crate::problem::{Problem, ProblemKind};

/// Letters of a group that are shown one by one.
const MOST_LETTERS: usize = 50;
/// Discarded letters that are shown; the others are on a page of their own.
const DISCARDED: u32 = 10;

/// What the page is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupsQuery {
    /// Groups of this kind alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<LetterKind>,
    /// Groups from here alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
}

#[derive(Template)]
#[template(path = "operations/letter_groups.html")]
struct GroupsPage {
    shell: Shell,
    views: ViewsBar,
    is_filtered: bool,
    groups: Vec<LetterGroup>,
    more: bool,
    discarded: Vec<DiscardedLetter>,
    csv: String,
}

pub(crate) async fn list(
    State(stores): State<DeadLetterStores>,
    _: Caller<Operating>,
    visit: Visit,
    views: ViewsBar,
    PageQuery(query): PageQuery<GroupsQuery>,
) -> Result<Response, Problem> {
    let mut found = groups(&stores, query.kind).await?;
    found.items.retain(|group| query.source.as_ref().is_none_or(|source| group.source == *source));
    if query.format == Some(Format::Csv) {
        return csv_of("dead-letter-groups", &GROUP_COLUMNS, &found.items);
    }
    let discarded =
        stores.queries.discarded_letters(&DiscardedFilter::default(), &PageRequest::first(DISCARDED)).await?;
    page(&GroupsPage {
        views,
        shell: Shell::new(&visit, Section::Operations)
            .twin("/api/dead-letter-groups")
            .live("/api/stream")
            .refreshed()
            .without(discarded.unreadable),
        is_filtered: query.kind.is_some() || query.source.is_some(),
        groups: found.items,
        more: found.more,
        discarded: discarded.items,
        csv: address("/operations/dead-letters", &GroupsQuery { format: Some(Format::Csv), ..query }),
    })
}

#[derive(Template)]
#[template(path = "operations/letter_group.html")]
struct GroupPage {
    shell: Shell,
    csrf_token: String,
    idempotency_key: Uuid,
    id: String,
    /// The group, where something of it waits.
    group: Option<LetterGroup>,
    letters: Vec<Letter>,
    outcome: Option<GroupOutcome>,
    reason: String,
    wrong: Option<String>,
}

impl GroupPage {
    async fn new(stores: &DeadLetterStores, visit: &Visit, id: &GroupId) -> Result<Self, Problem> {
        let (group, mut letters) = match open(stores, id).await? {
            Some((group, letters)) => (Some(group), letters),
            None => (None, Vec::new()),
        };
        letters.truncate(MOST_LETTERS);
        Ok(Self {
            shell: Shell::new(visit, Section::Operations).twin("/api/dead-letter-groups"),
            csrf_token: visit.csrf_token.clone(),
            idempotency_key: visit.idempotency_key,
            id: id.to_string(),
            group,
            letters,
            outcome: None,
            reason: String::new(),
            wrong: None,
        })
    }
}

/// In which form the group's letters are asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupQuery {
    format: Option<Format>,
}

pub(crate) async fn show(
    State(stores): State<DeadLetterStores>,
    _: Caller<Operating>,
    visit: Visit,
    Id(id): Id<GroupId>,
    PageQuery(query): PageQuery<GroupQuery>,
) -> Result<Response, Problem> {
    if query.format == Some(Format::Csv) {
        let letters = open(&stores, &id).await?.map(|(_, letters)| letters).unwrap_or_default();
        return csv_of("dead-letters", &LETTER_COLUMNS, &letters);
    }
    page(&GroupPage::new(&stores, &visit, &id).await?)
}

/// Nothing has to be said.
#[derive(Debug, Deserialize)]
pub(crate) struct RetryAll {}

/// Why they can be done without.
#[derive(Debug, Deserialize)]
pub(crate) struct DiscardAll {
    reason: Option<String>,
}

pub(crate) async fn retry(
    State(stores): State<DeadLetterStores>,
    State(commands): State<Commands>,
    _: Caller<Operating>,
    visit: Visit,
    Id(id): Id<GroupId>,
    form: PageForm<RetryAll>,
) -> Result<Response, Problem> {
    let RetryAll {} = form.fields;
    settled((&stores, &commands), &visit, &id, Decision::Retry, &form.origin.actor).await
}

pub(crate) async fn discard(
    State(stores): State<DeadLetterStores>,
    State(commands): State<Commands>,
    _: Caller<Operating>,
    visit: Visit,
    Id(id): Id<GroupId>,
    form: PageForm<DiscardAll>,
) -> Result<Response, Problem> {
    let decision = Decision::Discard(form.fields.reason);
    settled((&stores, &commands), &visit, &id, decision, &form.origin.actor).await
}

/// Settles the group and says what came of it. A page that is loaded again settles what is left.
async fn settled(
    (stores, commands): (&DeadLetterStores, &Commands),
    visit: &Visit,
    id: &GroupId,
    decision: Decision,
    actor: &str,
) -> Result<Response, Problem> {
    let outcome = settle(stores, commands, id, &decision, actor).await;
    let mut shown = GroupPage::new(stores, visit, id).await?;
    match outcome {
        Ok(outcome) => {
            shown.outcome = Some(outcome);
            page(&shown)
        }
        // The second of two clicks finds what the first one did.
        Err(problem) if problem.kind() == ProblemKind::NotFound => page(&shown),
        Err(problem) if problem.kind() == ProblemKind::InvalidInput => {
            shown.wrong = Some(problem.document().detail);
            if let Decision::Discard(reason) = decision {
                shown.reason = reason.unwrap_or_default();
            }
            let mut response = page(&shown)?;
            *response.status_mut() = problem.kind().status();
            Ok(response)
        }
        Err(problem) => Err(problem),
    }
}

const GROUP_COLUMNS: [Column<LetterGroup>; 8] = [
    ("group_id", |group| group.id.clone()),
    ("kind", |group| kind(&group.kind).words),
    ("source", |group| group.source.clone()),
    ("cause", |group| group.cause.clone()),
    ("newest_reason", |group| group.reason.clone()),
    ("letters", |group| group.count.to_string()),
    ("first_at", |group| time(&group.first_at)),
    ("last_at", |group| time(&group.last_at)),
];
