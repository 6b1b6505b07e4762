//! `GET /sessions/{id}/compare?with=`: two sessions side by side: what they were given and used, their ports, nodes and life.
//! Without another one it lists those of the same definition to choose from.

mod rows;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::SessionId;
use domain::lablet_session::LabletSession;
use projections::read_models::observations::nodes::{NodeFilter, NodeRow};
use projections::read_models::observations::{ObservationFilter, ObservationRow};
use projections::read_models::session_history::{LifeRow, SessionLife};
use projections::read_models::sessions::{PortRow, SessionFilter, SessionRow, compare_ports};
use projections::{PageRequest, ReadModel, UnreadableRow};
use serde::{Deserialize, Serialize};

use self::rows::{ComparedGroup, facts, life, nodes, ports, resources};
use crate::caller::{Caller, Viewing};
use crate::pages::parts::{self, Badge, SessionLink, When};
use crate::pages::query::PageQuery;
use crate::pages::shell::{Section, Shell, page};
use crate::pages::visit::Visit;
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

/// Sessions to choose from.
const CHOICES: u32 = 50;
/// Nodes of each that are compared.
const NODES: u32 = 400;

/// Which other session is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompareQuery {
    /// The other one.
    with: Option<SessionId>,
}

/// What is compared of a session.
struct Side {
    session: SessionRow,
    /// Its newest observation.
    observed: Option<ObservationRow>,
    ports: Vec<PortRow>,
    nodes: Vec<NodeRow>,
    /// Whether it has more nodes than are compared.
    more_nodes: bool,
    life: SessionLife,
    unreadable: Vec<UnreadableRow>,
}

impl Side {
    async fn read(queries: &Queries, id: &SessionId) -> Result<Self, Problem> {
        let ask = || queries.session_summary(id);
        let session = queries.row::<LabletSession, _, _>(ReadModel::Sessions, ("session", id.as_str()), ask).await?;
        let of_session = ObservationFilter { session_id: Some(id.clone()), definition_id: None };
        let observations = queries.observations(&of_session, &PageRequest::first(1)).await?;
        let nodes = queries.session_nodes(id, &NodeFilter::default(), &PageRequest::first(NODES)).await?;
        Ok(Self {
            ports: compare_ports(
                session.allocated_ports.as_ref(),
                session.observed_ports.as_ref(),
                session.port_drift.as_ref(),
            ),
            life: queries.session_life(id).await?,
            observed: observations.items.into_iter().next(),
            more_nodes: nodes.page.next.is_some(),
            nodes: nodes.page.items,
            unreadable: observations.unreadable.into_iter().chain(nodes.page.unreadable).collect(),
            session,
        })
    }

    fn steps(&self) -> &[LifeRow] {
        &self.life.steps
    }
}

#[derive(Template)]
#[template(path = "session/compare.html")]
struct ComparePage {
    shell: Shell,
    left: SessionRow,
    right: SessionRow,
    groups: Vec<ComparedGroup>,
    /// Rows of all groups that differ.
    differences: usize,
    more_nodes: bool,
}

#[derive(Template)]
#[template(path = "session/compare_choice.html")]
struct ChoicePage {
    shell: Shell,
    session: SessionRow,
    choices: Vec<SessionRow>,
    more: bool,
}

pub(crate) async fn show(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    Id(id): Id<SessionId>,
    PageQuery(query): PageQuery<CompareQuery>,
) -> Result<Response, Problem> {
    since.reached(&queries, &[ReadModel::Sessions, ReadModel::Observations]).await?;
    let shell = Shell::new(&visit, Section::Sessions).twin(format!("/api/lablet-sessions/{id}"));
    let left = Side::read(&queries, &id).await?;
    let Some(with) = query.with else {
        let of_definition =
            SessionFilter { definition_id: Some(left.session.definition_id.clone()), ..SessionFilter::default() };
        let found = queries.sessions(&of_definition, &PageRequest::first(CHOICES + 1)).await?;
        let others: Vec<SessionRow> = found.items.into_iter().filter(|other| other.id != id).collect();
        return page(&ChoicePage {
            shell: shell.without(found.unreadable),
            more: found.next.is_some() || others.len() > CHOICES as usize,
            choices: others.into_iter().take(CHOICES as usize).collect(),
            session: left.session,
        });
    };
    let right = Side::read(&queries, &with).await?;
    let groups = groups(&left, &right, visit.now);
    page(&ComparePage {
        shell: shell.without(left.unreadable.clone()).without(right.unreadable.clone()),
        differences: groups.iter().map(ComparedGroup::differences).sum(),
        groups,
        more_nodes: left.more_nodes || right.more_nodes,
        left: left.session,
        right: right.session,
    })
}

fn groups(left: &Side, right: &Side, now: DateTime<Utc>) -> Vec<ComparedGroup> {
    vec![
        facts(&left.session, &right.session),
        resources(left.observed.as_ref(), right.observed.as_ref()),
        ports(&left.ports, &right.ports),
        nodes(&left.nodes, &right.nodes),
        life(left.steps(), right.steps(), now),
    ]
}
