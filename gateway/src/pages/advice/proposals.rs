//! `GET /proposals`: proposals with their life, newest first.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::DefinitionId;
use domain::lablet_definition::ProposalStatus;
use projections::ReadModel;
use projections::read_models::advice::proposals::{ProposalFilter, ProposalRow};
use serde::{Deserialize, Serialize};

use super::proposal::{SizeChange, size_changes, status};
use crate::caller::{Caller, Viewing};
use crate::pages::parts::{Badge, Tone, When};
use crate::pages::query::{PageQuery, address};
use crate::pages::saved_views::ViewsBar;
use crate::pages::shell::{Section, Shell, page};
use crate::pages::visit::Visit;
use crate::paging::{ListPage, Paging};
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

/// What the page is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProposalsQuery {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<ProposalStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    definition_id: Option<DefinitionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// A proposal as a row.
struct ListedProposal {
    row: ProposalRow,
    status: Badge,
    finding: Badge,
    verified: Option<Badge>,
    changes: Vec<SizeChange>,
}

#[derive(Template)]
#[template(path = "advice/proposals.html")]
struct ProposalsPage {
    shell: Shell,
    views: ViewsBar,
    query: ProposalsQuery,
    statuses: Vec<(&'static str, bool)>,
    proposals: Vec<ListedProposal>,
    next: Option<String>,
    json: String,
}

pub(crate) async fn list(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    views: ViewsBar,
    PageQuery(query): PageQuery<ProposalsQuery>,
) -> Result<Response, Problem> {
    since.reached(&queries, &[ReadModel::Advice]).await?;
    let filter = ProposalFilter { definition_id: query.definition_id.clone(), status: query.status };
    let request = Paging { limit: None, cursor: query.cursor.clone() }.request()?;
    let found = ListPage::from(queries.proposals(&filter, &request).await?);
    let listed = |row: ProposalRow| ListedProposal {
        status: status(row.status),
        finding: crate::pages::verdict::named(row.proposal.finding.into()),
        verified: row.verification.as_ref().map(|found| {
            if found.held {
                Badge::new(Tone::Good, "✓", "held")
            } else {
                Badge::new(Tone::Bad, "▲", "did not hold")
            }
        }),
        changes: size_changes(&row.proposal.before, &row.proposal.after),
        row,
    };
    let first = ProposalsQuery { cursor: None, ..query.clone() };
    page(&ProposalsPage {
        views,
        shell: Shell::new(&visit, Section::Advice)
            .twin(address("/api/proposals", &first))
            .live("/api/stream?aggregate=lablet_definition")
            .without(found.unreadable),
        statuses: ProposalStatus::ALL.map(|status| (status.as_str(), query.status == Some(status))).into(),
        next: found
            .next_cursor
            .map(|cursor| address("/proposals", &ProposalsQuery { cursor: Some(cursor), ..first.clone() })),
        proposals: found.items.into_iter().map(listed).collect(),
        json: address("/api/proposals", &first),
        query,
    })
}
