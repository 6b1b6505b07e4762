//! `GET /definitions/{id}/advice`: how a recommended number came about, in steps, now or as it was after an earlier session.

use app::log::Position;
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::DefinitionId;
use domain::advice_policy::Promise;
use domain::demand::DemandSource;
use domain::resource::Resource;
use projections::read_models::advice::evidence::{EvidenceFilter, EvidenceRow};
use projections::read_models::advice::recommendation::RecommendationExplanation;
use projections::read_models::definitions::DefinitionRow;
use projections::read_models::sessions::SessionTitles;
use projections::{PageRequest, ReadModel};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::amounts::{self, amount, of_a_hundred, stated_if_known};
use super::section::GREATEST_PROMISE;
use super::steps::{RestsOn, Step, steps};
use crate::caller::{Caller, Viewing};
use crate::lablet_definitions::show::row;
use crate::pages::parts::{self, Badge, SessionLink, When};
use crate::pages::query::{PageQuery, address};
use crate::pages::shell::{Section, Shell, page};
use crate::pages::verdict;
use crate::pages::visit::Visit;
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

/// The newest sessions, after each of which it can be asked what was advised.
const SESSIONS: u32 = 200;

/// What the page is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplanationQuery {
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<Resource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    promise: Option<Promise>,
    /// The position as of which it is told; now unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<Position>,
    /// After how many of the sessions that the slider knows; it counts where no position is stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<usize>,
}

/// A way to another resource.
struct Choice {
    name: &'static str,
    path: String,
    chosen: bool,
}

/// A reading that set the number.
struct Reading {
    session: SessionLink,
    demand: String,
    by: &'static str,
    event_id: Uuid,
    at: When,
}

/// What the slider stands at.
struct AsOf {
    /// Sessions that it knows.
    sessions: usize,
    /// Sessions up to here.
    after: usize,
    /// What that means.
    words: String,
}

#[derive(Template)]
#[template(path = "advice/explanation.html")]
struct ExplanationPage {
    shell: Shell,
    definition: DefinitionRow,
    resource: Resource,
    found: RecommendationExplanation,
    choices: Vec<Choice>,
    size: String,
    verdict: Option<Badge>,
    steps: Vec<Step>,
    readings: Vec<Reading>,
    as_of: Option<AsOf>,
}

impl ExplanationPage {
    fn title(&self) -> String {
        format!("{} of {}: {}", amounts::name(self.resource), self.definition.name, self.size)
    }

    fn promised(&self) -> String {
        of_a_hundred(self.found.promise)
    }

    /// Where the slider ends: at a greater promise, if one is asked about.
    fn greatest_promise(&self) -> String {
        self.found.promise.share().max(GREATEST_PROMISE).to_string()
    }
}

pub(crate) async fn show(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    Id(id): Id<DefinitionId>,
    PageQuery(query): PageQuery<ExplanationQuery>,
) -> Result<Response, Problem> {
    since.reached(&queries, &[ReadModel::Definitions, ReadModel::Advice]).await?;
    let definition = row(&queries, &id).await?;
    let newest = queries.evidence(&id, &EvidenceFilter::All, &PageRequest::first(SESSIONS)).await?;
    let mut ended = newest.items;
    ended.reverse();
    let as_of = position(&query, &ended);
    let found = queries.explanation(&id, query.promise, as_of).await?;
    let found = found.ok_or_else(|| {
        Problem::new(
            crate::problem::ProblemKind::NotFound,
            format!("Of the definition {id} nothing was known then, or the read model of advice does not know it yet."),
        )
    })?;
    let resource = query.resource.unwrap_or(Resource::MemoryMb);
    let path = format!("/definitions/{id}/advice");
    let choice = |other: Resource| Choice {
        name: amounts::name(other),
        path: address(&path, &ExplanationQuery { resource: Some(other), ..query.clone() }),
        chosen: other == resource,
    };
    let explained = resource.part(&found.resources);
    let read = explained.readings.iter().map(|reading| &reading.session_id);
    let named = read.chain(ended.iter().map(|row| &row.session_id)).cloned().collect();
    let titles = queries.session_titles(named).await?;
    let reading = |reading: &projections::read_models::advice::recommendation::EvidenceReading| Reading {
        session: SessionLink::by_start(&titles, &reading.session_id, "#usage"),
        demand: amount(resource, Some(reading.demand)),
        by: match reading.source {
            DemandSource::Profile => "sampled",
            DemandSource::Snapshot => "by snapshots",
        },
        event_id: reading.event_id,
        at: When::new(&reading.observed_at, &visit.now),
    };
    let asked = ExplanationQuery { as_of: Some(found.as_of), ..query.clone() };
    page(&ExplanationPage {
        shell: Shell::new(&visit, Section::Definitions)
            .twin(address(
                &format!("/api/lablet-definitions/{id}/recommendation/explanation"),
                &ExplanationQuery { resource: None, after: None, ..asked },
            ))
            .without(newest.unreadable),
        choices: Resource::ALL.map(choice).into(),
        size: stated_if_known(resource, explained.steps.requirement.map(|requirement| requirement.value)),
        verdict: found.sizing.as_ref().map(|sizing| verdict::sized(resource, resource.part(sizing))),
        steps: steps(resource, &explained.steps),
        readings: explained.readings.iter().map(reading).collect(),
        as_of: slider(&query, (&ended, &titles), found.as_of, &visit),
        definition,
        resource,
        found,
    })
}

/// The position that is asked about; `None`: now.
fn position(query: &ExplanationQuery, ended: &[EvidenceRow]) -> Option<Position> {
    if query.as_of.is_some() {
        return query.as_of;
    }
    let after = query.after.filter(|after| *after < ended.len())?;
    ended.get(after.checked_sub(1)?)?.ended_position
}

fn slider(
    query: &ExplanationQuery,
    (ended, titles): (&[EvidenceRow], &SessionTitles),
    as_of: Position,
    visit: &Visit,
) -> Option<AsOf> {
    if ended.len() < 2 {
        return None;
    }
    let known = ended.iter().filter(|row| row.ended_position.is_some_and(|position| position <= as_of)).count();
    let is_now = query.as_of.is_none() && query.after.is_none_or(|after| after >= ended.len());
    let last = known.checked_sub(1).and_then(|index| ended.get(index));
    let words = match last {
        _ if is_now => format!("now, after {}", parts::counted(&(ended.len() as u64), "session")),
        None => "before the sessions that are listed".to_owned(),
        Some(row) => {
            let ended_at = row
                .ended_at
                .map_or_else(String::new, |at| format!(", which ended {}", When::new(&at, &visit.now).absolute()));
            format!("after {known} of {}: {}{ended_at}", ended.len(), parts::session_start(titles, &row.session_id))
        }
    };
    Some(AsOf { sessions: ended.len(), after: known, words })
}
