//! `GET /events/{id}`: one event with everything that is known of it.

mod description;

use app::log::HistoryPage;
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::{DefinitionId, SessionId, WorkerId};
use projections::ReadError;
use projections::projector::AggregateKind;
use projections::read_models::event_relations::{EventRelations, Relation};
use projections::read_models::session_history::EventRow;

use self::description::EventDescription;
use super::excerpt::Excerpt;
use super::parts::{CopyId, When, session_title};
use super::shell::{Section, Shell, page};
use super::short_position::ShortPosition;
use super::visit::Visit;
use crate::caller::{Caller, Viewing};
use crate::path::{Id, Uuid};
use crate::problem::Problem;
use crate::queries::Queries;

#[derive(Template)]
#[template(path = "event.html")]
struct EventPage {
    shell: Shell,
    description: Option<EventDescription>,
    aggregate_page: Option<String>,
    /// What happened to something is told by the name of that; its id where it is not shown.
    aggregate_name: String,
    raw: Excerpt,
    earlier: Option<EventRow>,
    later: Option<EventRow>,
    relations: EventRelations,
    event: EventRow,
}

pub(crate) async fn show(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    visit: Visit,
    Id(Uuid(event_id)): Id<Uuid>,
) -> Result<Response, Problem> {
    let event = queries.event(event_id).await?;
    let event = event.ok_or_else(|| Problem::not_found("event", &event_id.to_string()))?;
    page(&EventPage {
        shell: Shell::new(&visit, section(&event.aggregate_type)).twin(format!("/api/events/{event_id}")),
        description: EventDescription::from_event(&event),
        aggregate_page: aggregate_page(&event.aggregate_type, &event.aggregate_id),
        aggregate_name: aggregate_name(&queries, &event).await?.unwrap_or_else(|| event.aggregate_id.clone()),
        raw: Excerpt::from_json(&event),
        earlier: neighbour(&queries, &event, true).await?,
        later: neighbour(&queries, &event, false).await?,
        relations: queries.event_relations(&event).await?,
        event,
    })
}

/// The event of the same aggregate before or after this one.
async fn neighbour(queries: &Queries, event: &EventRow, before: bool) -> Result<Option<EventRow>, Problem> {
    let next = HistoryPage { newest_first: before, beyond: Some(event.sequence), payloads: false, limit: 1 };
    let found = queries.log().history_page(&event.aggregate_type, &event.aggregate_id, next).await;
    Ok(found.map_err(ReadError::Log)?.events.pop().map(EventRow::from))
}

/// By what the aggregate is known; `None`: no read model shows it, or it cannot be read.
async fn aggregate_name(queries: &Queries, event: &EventRow) -> Result<Option<String>, ReadError> {
    let id = event.aggregate_id.as_str();
    let found = match AggregateKind::from_type(&event.aggregate_type) {
        Some(AggregateKind::Session) => {
            let Ok(id) = SessionId::parse(id) else { return Ok(None) };
            let titles = queries.session_titles([id.clone()].into()).await?;
            return Ok(titles.get(&id).map(|_| session_title(&titles, &id)));
        }
        Some(AggregateKind::Definition) => match DefinitionId::parse(id) {
            Ok(id) => queries.definition(&id).await.map(|row| row.map(|row| row.name)),
            Err(_) => return Ok(None),
        },
        Some(AggregateKind::Worker) => match WorkerId::parse(id) {
            Ok(id) => queries.worker(&id).await.map(|row| row.map(|row| row.profile.name.to_string())),
            Err(_) => return Ok(None),
        },
        Some(AggregateKind::AdvicePolicy) | None => return Ok(None),
    };
    match found {
        Err(ReadError::Unreadable { .. }) => Ok(None),
        found => found,
    }
}

/// Where the page of an aggregate is; `None` of a kind that has no pages.
pub(super) fn aggregate_page(aggregate_type: &str, id: &str) -> Option<String> {
    let folder = match AggregateKind::from_type(aggregate_type)? {
        AggregateKind::Session => "sessions",
        AggregateKind::Definition => "definitions",
        AggregateKind::Worker => "workers",
        AggregateKind::AdvicePolicy => return None,
    };
    Some(format!("/{folder}/{}", super::parts::encoded(id)))
}

fn section(aggregate_type: &str) -> Section {
    match AggregateKind::from_type(aggregate_type) {
        Some(AggregateKind::Session) => Section::Sessions,
        Some(AggregateKind::Definition) => Section::Definitions,
        Some(AggregateKind::Worker) => Section::Workers,
        Some(AggregateKind::AdvicePolicy) | None => Section::Elsewhere,
    }
}

/// What an event is to the one on the page.
fn relation(relation: &Relation) -> &'static str {
    match relation {
        Relation::Cause => "is named as the cause",
        Relation::Request => "requested it",
        Relation::Observation => "observed it",
        Relation::Evidence => "is its evidence",
        Relation::Effect => "names it as the cause",
        Relation::Outcome => "is its outcome",
        Relation::Drift => "is the drift that it found",
        Relation::Revision => "rests on it",
    }
}

/// What kind of thing an aggregate is, in words.
fn noun(aggregate_type: &str) -> &str {
    match AggregateKind::from_type(aggregate_type) {
        Some(AggregateKind::Session) => "Session",
        Some(AggregateKind::Definition) => "Definition",
        Some(AggregateKind::Worker) => "Worker",
        Some(AggregateKind::AdvicePolicy) => "Advice policy",
        None => aggregate_type,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_page_is_linked_and_an_id_cannot_break_out_of_its_link() {
        assert_eq!(aggregate_page("worker", "w1").as_deref(), Some("/workers/w1"));
        assert_eq!(aggregate_page("lablet_session", "a/../b?c").as_deref(), Some("/sessions/a%2F..%2Fb%3Fc"));
        assert_eq!(aggregate_page("invoice", "7"), None);
    }
}
