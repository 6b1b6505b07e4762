//! `GET /first-steps`: what an installation needs before it learns anything. The overview begins with it until a session
//! was observed.

pub(crate) mod steps;

use app::log::Position;
use askama::Template;
use askama::filters::HtmlSafe;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use domain::lablet_session::SessionStatus;
use projections::overview::Overview;
use projections::read_models::definitions::{DefinitionFilter, DefinitionSort};
use projections::read_models::sessions::SessionFilter;
use projections::{PageRequest, ReadModel};

use self::steps::{Beginnings, KnownControllers, NextStep, Step, steps};
use super::shell::{Section, Shell, page};
use super::visit::{Permit, Visit};
use crate::answer_cache::AnswerCache;
use crate::authentication::Role;
use crate::caller::{Caller, Viewing};
use crate::controllers::ControllerWatch;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::sign_in::Site;

/// The read models that the steps rest on.
const RESTS_ON: [ReadModel; 4] =
    [ReadModel::Workers, ReadModel::Definitions, ReadModel::Sessions, ReadModel::Observations];

/// The steps, as a visitor sees them.
#[derive(Template)]
#[template(path = "first_steps/steps.html")]
pub(crate) struct FirstSteps {
    steps: [Step; 5],
    done: usize,
    /// The first that is not done.
    current: Option<usize>,
    /// Whether it is a page of its own.
    is_page: bool,
    visit: Visit,
}

impl HtmlSafe for FirstSteps {}

impl FirstSteps {
    /// The steps of this installation for a visitor.
    pub(crate) fn new(beginnings: &Beginnings, controllers: &ControllerWatch, site: &Site, visit: &Visit) -> Self {
        let known = KnownControllers { presence: controllers.presence(), all: controllers.all() };
        let steps = steps(beginnings, &known, site.address(), visit.now);
        Self {
            done: steps.iter().filter(|step| step.done).count(),
            current: steps.iter().position(|step| !step.done),
            steps,
            is_page: false,
            visit: visit.clone(),
        }
    }

    fn is_current(&self, index: &usize) -> bool {
        self.current == Some(*index)
    }

    fn may(&self, needs: &Role) -> Permit {
        self.visit.may(*needs)
    }

    fn may_observe(&self) -> Permit {
        self.visit.may(Role::Operator)
    }
}

#[derive(Template)]
#[template(path = "first_steps.html")]
struct FirstStepsPage {
    shell: Shell,
    steps: FirstSteps,
}

/// Where a form leads that has saved something: back to the first steps, where it was one of them, else to what it made.
pub(crate) fn after_saving(is_first_step: Option<bool>, made: &str, position: Position) -> Response {
    let to = if is_first_step == Some(true) { "/first-steps" } else { made };
    Redirect::to(&format!("{to}?position={position}")).into_response()
}

pub(crate) async fn show(
    State(queries): State<Queries>,
    State(overview): State<AnswerCache<Overview>>,
    State(controllers): State<ControllerWatch>,
    State(site): State<Site>,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
) -> Result<Response, Problem> {
    let reached = since.reached(&queries, &RESTS_ON).await?;
    let overview = overview.get(reached.0, queries.overview()).await?;
    let beginnings = beginnings(&queries, &overview).await?;
    page(&FirstStepsPage {
        shell: Shell::new(&visit, Section::Overview).twin("/api/overview").live("/api/stream").refreshed(),
        steps: FirstSteps { is_page: true, ..FirstSteps::new(&beginnings, &controllers, &site, &visit) },
    })
}

/// Whether any session was observed: one of which it is known whether its ports drifted was; else definitions know.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn is_observed(queries: &Queries, overview: &Overview) -> Result<bool, Problem> {
    if overview.sessions.iter().any(|count| count.drift_unknown < count.sessions) {
        return Ok(true);
    }
    if overview.sessions.is_empty() && overview.unreadable.is_empty() {
        return Ok(false);
    }
    let filter = DefinitionFilter { observed: Some(true), sort: DefinitionSort::Newest, ..DefinitionFilter::default() };
    let observed = queries.definitions(&filter, &PageRequest::first(1)).await?;
    Ok(!observed.items.is_empty() || !observed.unreadable.is_empty())
}

/// What is there.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn beginnings(queries: &Queries, overview: &Overview) -> Result<Beginnings, Problem> {
    let one = PageRequest::first(1);
    let in_state = |status: &[SessionStatus]| SessionFilter { status: status.to_vec(), ..SessionFilter::default() };
    let sessions = queries.sessions(&in_state(&[]), &one).await?;
    let running = queries.sessions(&in_state(&[SessionStatus::Running, SessionStatus::Collecting]), &one).await?;
    let workers = queries.workers(&one).await?;
    let definitions = queries.definitions(&DefinitionFilter::default(), &one).await?;
    Ok(Beginnings {
        worker: workers.items.into_iter().next().map(|worker| worker.id),
        definition: definitions.items.into_iter().next().map(|definition| definition.id),
        session: sessions.items.into_iter().next().map(|session| session.id),
        running: running.items.into_iter().next().map(|session| session.id),
        observed: is_observed(queries, overview).await?,
    })
}
