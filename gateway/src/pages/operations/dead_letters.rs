//! `/operations/dead-letters/{id}`: one dead letter in full, and what an operator does about it.
//!
//! What came of it is told after a redirect, from what the database says then: a page that is loaded again tries and
//! discards nothing once more, and a link that somebody made up tells nothing that is not so.

use app::commands::Commands;
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use uuid::Uuid;

use crate::caller::{Caller, Operating};
use crate::dead_letters::DeadLetterStores;
use crate::dead_letters::discard::do_without;
use crate::dead_letters::letter_id::LetterId;
use crate::dead_letters::list::{Letter, LetterKind};
use crate::dead_letters::retry::{NotRetried, try_again};
use crate::dead_letters::show::{OpenedLetter, Settlement, open};
use crate::pages::excerpt::Excerpt;
use crate::pages::form::PageForm;
use crate::pages::parts::{Badge, CopyId, Tone, When};
use crate::pages::query::PageQuery;
use crate::pages::shell::{Section, Shell, page};
use crate::pages::short_position::ShortPosition;
use crate::pages::table::{Column, cell, time};
use crate::pages::visit::{Permit, Visit};
use crate::path::Id;
use crate::problem::{Problem, ProblemKind};

/// Longest reason in a table's row, in characters; the letter's own page has all of it.
const LONGEST_EXCUSE: usize = 160;

/// Most headers of a letter that are shown, and characters of each.
const MOST_HEADERS: usize = 50;
const LONGEST_HEADER: usize = 300;

/// What the page of a letter is asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LetterQuery {
    /// The visitor has just tried it again, and it does not work.
    tried: Option<bool>,
    /// The visitor has just asked for another attempt, which another process makes.
    requested: Option<bool>,
    /// The reason of the form to discard it, as it was.
    reason: Option<String>,
}

#[derive(Template)]
#[template(path = "operations/dead_letter.html")]
struct LetterPage {
    shell: Shell,
    csrf_token: String,
    idempotency_key: Uuid,
    letter: Letter,
    headers: Vec<(String, String)>,
    content: Option<Content>,
    /// What of the message is not here, and why it cannot be tried again.
    not_kept: Option<&'static str>,
    settled: Option<Settlement>,
    tried: bool,
    requested: bool,
    discard: Permit,
    reason: String,
    wrong: Option<String>,
}

/// What is in a letter, as text.
struct Content {
    title: &'static str,
    excerpt: Excerpt,
    twin: String,
}

pub(crate) async fn show(
    State(stores): State<DeadLetterStores>,
    _: Caller<Operating>,
    visit: Visit,
    Id(id): Id<LetterId>,
    PageQuery(query): PageQuery<LetterQuery>,
) -> Result<Response, Problem> {
    let opened = open(&stores, id).await?.ok_or_else(|| Problem::not_found("dead letter", &id.to_string()))?;
    let mut letter = LetterPage::new(&visit, id, opened);
    letter.tried = query.tried == Some(true) && letter.settled.is_none();
    letter.requested = query.requested == Some(true) && letter.settled.is_none();
    letter.reason = query.reason.unwrap_or_default();
    page(&letter)
}

/// Nothing has to be said.
#[derive(Debug, Deserialize)]
pub(crate) struct Retry {}

pub(crate) async fn retry(
    State(stores): State<DeadLetterStores>,
    State(commands): State<Commands>,
    _: Caller<Operating>,
    Id(id): Id<LetterId>,
    form: PageForm<Retry>,
) -> Result<Response, Problem> {
    let Retry {} = form.fields;
    let to = match try_again(&stores, &commands, id, &form.origin.actor).await {
        Ok(settled) if settled.outcome == "requested" => format!("/operations/dead-letters/{id}?requested=true"),
        Ok(_) | Err(NotRetried::SettledBefore) => format!("/operations?retried={id}"),
        Err(NotRetried::FailedAgain(_)) => format!("/operations/dead-letters/{id}?tried=true"),
        // The second of two clicks comes when the event is applied and its letter gone.
        Err(NotRetried::Absent(_)) if is_event_of_the_log(&stores, id).await? => format!("/operations?retried={id}"),
        Err(refusal @ (NotRetried::Absent(_) | NotRetried::NotTried(_))) => return Err(refusal.into()),
    };
    Ok(Redirect::to(&to).into_response())
}

/// Why it can be done without.
#[derive(Debug, Deserialize)]
pub(crate) struct Discard {
    reason: Option<String>,
}

pub(crate) async fn discard(
    State(stores): State<DeadLetterStores>,
    _: Caller<Operating>,
    visit: Visit,
    Id(id): Id<LetterId>,
    form: PageForm<Discard>,
) -> Result<Response, Problem> {
    let reason = form.fields.reason;
    match do_without(&stores, id, &form.origin.actor, reason.clone()).await {
        Ok(_) => Ok(Redirect::to(&format!("/operations?discarded={id}")).into_response()),
        Err(problem) if problem.kind() == ProblemKind::InvalidInput => {
            let Some(opened) = open(&stores, id).await? else { return Err(problem) };
            let mut letter = LetterPage::new(&visit, id, opened);
            letter.reason = reason.unwrap_or_default();
            letter.wrong = Some(problem.document().detail);
            let mut response = page(&letter)?;
            *response.status_mut() = problem.kind().status();
            Ok(response)
        }
        // The second of two clicks finds what the first one did.
        Err(problem) if problem.kind() == ProblemKind::NotFound => {
            match settled_notice(&stores, None, Some(&id.to_string())).await? {
                Some(_) => Ok(Redirect::to(&format!("/operations?discarded={id}")).into_response()),
                None => Err(problem),
            }
        }
        Err(problem) => Err(problem),
    }
}

impl LetterPage {
    fn new(visit: &Visit, id: LetterId, opened: OpenedLetter) -> Self {
        let OpenedLetter { letter, headers, message, message_kept, event, settled, .. } = opened;
        let twin = format!("/api/dead-letters/{id}");
        let content = match (&message, &event) {
            (Some(message), _) => {
                Some(Content { title: "The message", excerpt: indented(message), twin: twin.clone() })
            }
            (None, Some(event)) => Some(Content {
                title: "The event",
                excerpt: Excerpt::from_json(event),
                twin: format!("/api/events/{}", event.event_id),
            }),
            (None, None) => None,
        };
        let discard = match letter.reason {
            Some(_) => Permit::granted(),
            None => {
                Permit::refused("It only waits behind an earlier event of the same aggregate: settle that one first.")
            }
        };
        Self {
            shell: Shell::new(visit, Section::Operations).twin(twin),
            csrf_token: visit.csrf_token.clone(),
            idempotency_key: visit.idempotency_key,
            letter,
            not_kept: message_kept.and_then(not_kept),
            headers: headers.unwrap_or_default().into_iter().take(MOST_HEADERS).map(short_header).collect(),
            content,
            settled,
            tried: false,
            requested: false,
            discard,
            reason: String::new(),
            wrong: None,
        }
    }
}

/// What is missing of a message, in a sentence.
fn not_kept(kept: &'static str) -> Option<&'static str> {
    match kept {
        "masked" => Some("What may be a secret was not kept of this message"),
        "beginning" => Some("Only the beginning of this message was kept"),
        "none" => Some("This message was not kept"),
        "removed" => Some("This message is no longer kept"),
        _ => None,
    }
}

fn short_header((name, value): (String, String)) -> (String, String) {
    (name.chars().take(LONGEST_HEADER).collect(), value.chars().take(LONGEST_HEADER).collect())
}

/// A message that is JSON is shown indented; anything else as it came.
fn indented(message: &str) -> Excerpt {
    match serde_json::from_str::<serde_json::Value>(message) {
        Ok(value) => Excerpt::from_json(&value),
        Err(_) => Excerpt::from_text(message),
    }
}

/// What came of a letter that the visitor has just settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SettledNotice {
    /// The letter.
    pub(super) id: LetterId,
    /// In words, to go before the time.
    pub(super) words: String,
    /// When, where it is known.
    pub(super) at: Option<DateTime<Utc>>,
    /// The letter's own page, where it still has one.
    pub(super) page: Option<String>,
}

/// What came of the letter that was just retried or discarded; `None` where neither is so.
pub(super) async fn settled_notice(
    stores: &DeadLetterStores,
    retried: Option<&str>,
    discarded: Option<&str>,
) -> Result<Option<SettledNotice>, Problem> {
    let Some(id) = retried.or(discarded).and_then(|id| id.parse::<LetterId>().ok()) else { return Ok(None) };
    let opened = open(stores, id).await?;
    match (id, opened) {
        (LetterId::Command(_) | LetterId::Webhook(_), Some(OpenedLetter { settled: Some(settled), letter, .. })) => {
            let by = settled.by.unwrap_or_else(|| "somebody".to_owned());
            let what = match letter.kind {
                LetterKind::Webhook => format!("The event for {}", letter.source),
                LetterKind::Command | LetterKind::Event => format!("The command from {}", letter.source),
            };
            let words = match settled.outcome {
                "retried" => format!("{what} was tried again by {by} and worked"),
                _ => format!("{what} was discarded by {by}"),
            };
            Ok(Some(SettledNotice { id, words, at: settled.at, page: Some(format!("/operations/dead-letters/{id}")) }))
        }
        (LetterId::Event(model, event), None) if is_event_of_the_log(stores, id).await? => {
            let words = format!("The event {event} is no longer among the dead letters of the read model {model}");
            Ok(Some(SettledNotice { id, words, at: None, page: Some(format!("/events/{event}")) }))
        }
        (LetterId::Command(_) | LetterId::Webhook(_) | LetterId::Event(..), _) => Ok(None),
    }
}

async fn is_event_of_the_log(stores: &DeadLetterStores, id: LetterId) -> Result<bool, Problem> {
    Ok(match id {
        LetterId::Command(_) | LetterId::Webhook(_) => false,
        LetterId::Event(_, event) => stores.queries.event(event).await?.is_some(),
    })
}

/// What a letter is, in a sign and in words.
pub(super) fn kind(kind: &LetterKind) -> Badge {
    match kind {
        LetterKind::Command => Badge::new(Tone::Bad, "✉", "command"),
        LetterKind::Webhook => Badge::new(Tone::Bad, "↗", "webhook"),
        LetterKind::Event => Badge::new(Tone::Bad, "◆", "event"),
    }
}

/// Where a letter is from, without what all subjects of commands have in common.
pub(super) fn sender(source: &str) -> &str {
    source.strip_prefix("lablet.commands.").unwrap_or(source)
}

/// A letter's reason, short enough for a table.
pub(super) fn excuse(reason: &Option<String>) -> String {
    reason.as_deref().map_or_else(|| "waits behind an earlier event".to_owned(), beginning)
}

/// As much of a reason as a table has room for.
pub(super) fn beginning(reason: &str) -> String {
    if reason.chars().count() <= LONGEST_EXCUSE {
        return reason.to_owned();
    }
    let shown: String = reason.chars().take(LONGEST_EXCUSE).collect();
    format!("{shown} …")
}

/// Where the page of a letter's aggregate is.
pub(super) fn aggregate_page(letter: &Letter) -> Option<String> {
    crate::pages::event::aggregate_page(letter.aggregate_type.as_deref()?, letter.aggregate_id.as_deref()?)
}

/// The columns of the dead letters as CSV.
pub(super) const LETTER_COLUMNS: [Column<Letter>; 10] = [
    ("id", |letter| letter.id.clone()),
    ("kind", |letter| kind(&letter.kind).words),
    ("source", |letter| letter.source.clone()),
    ("reason", |letter| cell(letter.reason.as_ref())),
    ("aggregate_type", |letter| cell(letter.aggregate_type.as_ref())),
    ("aggregate_id", |letter| cell(letter.aggregate_id.as_ref())),
    ("event_id", |letter| cell(letter.event_id.as_ref())),
    ("position", |letter| cell(letter.position.as_ref())),
    ("attempts", |letter| letter.attempts.to_string()),
    ("since", |letter| time(&letter.since)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_in_a_table_and_one_that_only_waits_says_so() {
        assert_eq!(excuse(&None), "waits behind an earlier event");
        assert_eq!(excuse(&Some("no".to_owned())), "no");
        let cut = excuse(&Some("ü".repeat(500)));
        assert_eq!(cut.chars().count(), LONGEST_EXCUSE + 2);
    }

    #[test]
    fn a_message_that_is_no_json_is_shown_as_it_came() {
        assert_eq!(indented("{\"a\":1}").text, "{\n  \"a\": 1\n}");
        assert_eq!(indented("{\"a\":").text, "{\"a\":");
    }
}
