//! `POST /definitions/{id}/revise`: the reviewed revision is made, unless somebody made another one meanwhile.

use app::commands::{CommandError, Commands};
use app::log::Outcome;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use domain::DefinitionId;
use domain::lablet_definition::LabletDefinition;
use projections::{ReadError, ReadModel};

use super::draft::Draft;
use super::review::Reviewed;
use super::stale::stale;
use super::{Basis, edit, may_revise, return_to, review};
use crate::caller::{Administering, Caller};
use crate::command::present;
use crate::lablet_definitions::show::row;
use crate::pages::form::PageForm;
use crate::pages::visit::Visit;
use crate::path::Id;
use crate::problem::{Problem, ProblemKind};
use crate::queries::Queries;
use crate::sign_in::SignIn;

pub(crate) async fn revise(
    State(queries): State<Queries>,
    State(commands): State<Commands>,
    State(sign_in): State<SignIn>,
    _: Caller<Administering>,
    visit: Visit,
    Id(id): Id<DefinitionId>,
    form: PageForm<Draft>,
) -> Result<Response, Problem> {
    let PageForm { fields: draft, origin } = form;
    let draft = draft.fit_for_addresses(&sign_in, &visit, &id).await?;
    let now = row(&queries, &id).await?;
    if let Some(refusal) = may_revise(&visit, &now).refusal {
        return Err(Problem::new(ProblemKind::Conflict, refusal));
    }
    let parsed = match draft.parse(&now) {
        Ok(parsed) => parsed.restoring(return_to::revision(&queries, &id, &draft).await?.as_ref()),
        Err(wrong) => return edit::form(&visit, Basis::read(&queries, &id, draft.scope()).await?, &draft, &wrong),
    };
    let expected = draft.expected()?;
    // What was reviewed is what is recorded: the form names it. A form without it comes from a review that had none.
    let evidence = match &draft.evidence {
        None => Vec::new(),
        Some(_) => draft.evidence(&now, &queries.definition_observations(&id, draft.scope(), 1).await?, None)?,
    };
    let revision = match parsed.revision(&now, &draft.reason(), evidence) {
        Ok(revision) => revision,
        Err(invalid) if invalid.field == "reason" => {
            let permit = may_revise(&visit, &now);
            let basis = Basis::read(&queries, &id, draft.scope()).await?;
            let (reason_wrong, proposal) = (Some(invalid), None);
            let reviewed = Reviewed { draft: &draft, parsed: &parsed, reason_wrong, proposal, permit };
            return review::review(&queries, &visit, basis, reviewed).await;
        }
        Err(invalid) => return Err(invalid.into()),
    };
    match commands.revise_definition(&id, revision, Some(expected), &origin).await {
        Ok(done) => {
            let told = match done.outcome {
                Outcome::Recorded | Outcome::Repeated => {
                    format!("revised={}", present(done.state.present())?.revision)
                }
                Outcome::AlreadyDone => "unchanged=true".to_owned(),
            };
            let to = format!("/definitions/{id}?position={}&{told}#revisions", done.position);
            Ok(Redirect::to(&to).into_response())
        }
        Err(CommandError::Stale { .. }) => {
            // The read model may not show yet what the log refused for.
            let newest = queries.log().load::<LabletDefinition>(id.as_str()).await.map_err(ReadError::Log)?;
            if let Some((_, _, position)) = newest {
                queries.wait_for(&[ReadModel::Definitions], position).await?;
            }
            stale(&queries, &visit, row(&queries, &id).await?, &draft, &parsed).await
        }
        Err(error) => Err(error.into()),
    }
}
