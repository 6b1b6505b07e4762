//! `GET /definitions/{id}/edit`: the form of a revision, filled in with what was observed or with what was typed.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use domain::{DefinitionId, Invalid};
use http::StatusCode;
use projections::ReadModel;
use projections::read_models::definitions::DefinitionRow;

use super::draft::Draft;
use super::suggestion::{Source, Suggestion, Suggestions};
use super::{Basis, may_revise};
use crate::caller::{Caller, Viewing};
use crate::pages::parts;
use crate::pages::query::PageQuery;
use crate::pages::shell::{Section, Shell, page};
use crate::pages::visit::{Permit, Visit};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::sign_in::saved_forms::SavedForm;

/// A number to fill in.
struct Field {
    name: &'static str,
    label: &'static str,
    value: String,
    hint: String,
    wrong: Option<Invalid>,
}

impl EditPage {
    /// The field to type in: the first that cannot be taken, else the first.
    fn focused(&self) -> &'static str {
        self.fields.iter().find(|field| field.wrong.is_some()).unwrap_or(&self.fields[0]).name
    }
}

/// Another way to fill the form in.
struct Start {
    title: &'static str,
    path: String,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "definition/edit.html")]
struct EditPage {
    shell: Shell,
    definition: DefinitionRow,
    source: Source,
    /// Which sessions count, in words.
    scope: String,
    permit: Permit,
    /// Where the same goes on, resting on the definition as it is now; `None`: it does.
    renewed: Option<String>,
    /// The revision that the form rests on.
    base: Option<u32>,
    /// How many fields are wrong.
    wrong: u64,
    starts: Vec<Start>,
    fields: [Field; 3],
    description: String,
    description_wrong: Option<Invalid>,
    hidden: Vec<(String, String)>,
    csrf_token: String,
}

pub(crate) async fn show(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    Id(id): Id<DefinitionId>,
    PageQuery(draft): PageQuery<Draft>,
    saved: Option<Extension<SavedForm>>,
) -> Result<Response, Problem> {
    let draft = draft.came_with(saved.as_deref());
    since.reached(&queries, &[ReadModel::Definitions, ReadModel::Observations, ReadModel::Advice]).await?;
    let basis = Basis::read(&queries, &id, draft.scope()).await?;
    let wrong = if draft.is_filled() { draft.parse(&basis.now).err().unwrap_or_default() } else { Vec::new() };
    form(&visit, basis, &draft, &wrong)
}

/// The form, with what was typed, and what is wrong with it.
///
/// # Errors
/// 500 when it cannot be rendered.
pub(crate) fn form(visit: &Visit, basis: Basis, draft: &Draft, wrong: &[Invalid]) -> Result<Response, Problem> {
    let Basis { now, observed, recommended, .. } = basis;
    let source = draft.source();
    let suggestions = Suggestions::new(source, &now.resource_requirements, &observed, recommended.as_ref());
    let complaint = |name: &str| {
        wrong.iter().find(|invalid| invalid.field.rsplit('.').next().is_some_and(|field| field == name)).cloned()
    };
    let field = |name, label, typed: &Option<String>, suggestion: Suggestion| Field {
        name,
        label,
        value: if draft.is_filled() { typed.clone().unwrap_or_default() } else { suggestion.value.to_string() },
        hint: suggestion.words,
        wrong: complaint(name),
    };
    let renewed = (draft.is_filled() && !draft.rests_on(&now)).then(|| draft.on(&now).edit_address(&now.id));
    let resting = if draft.is_filled() { draft.clone() } else { draft.on(&now) };
    let starts = [
        (Source::Recommended, "recommended"),
        (Source::Max, "max"),
        (Source::Latest, "latest"),
        (Source::Custom, "what is configured"),
    ];
    let starts = starts.map(|(start, title)| Start {
        title,
        path: Draft::new(start, draft.scope()).edit_address(&now.id),
        chosen: start == source,
    });
    let mut response = page(&EditPage {
        shell: Shell::new(visit, Section::Definitions)
            .twin(format!("/api/lablet-definitions/{}", now.id))
            .parked(&now.parked),
        source,
        scope: observed.scope.description,
        permit: may_revise(visit, &now),
        renewed,
        base: draft.revision,
        wrong: wrong.len() as u64,
        starts: starts.into(),
        fields: [
            field("cpu_cores", "CPU cores", &draft.cpu_cores, suggestions.cpu_cores),
            field("memory_gb", "Memory, GB", &draft.memory_gb, suggestions.memory_gb),
            field("storage_gb", "Storage, GB", &draft.storage_gb, suggestions.storage_gb),
        ],
        description: if draft.is_filled() { draft.description.clone() } else { now.description.clone() }
            .unwrap_or_default(),
        description_wrong: complaint("description"),
        csrf_token: visit.csrf_token.clone(),
        hidden: resting.hidden(&["cpu_cores", "memory_gb", "storage_gb", "description", "evidence"]),
        definition: now,
    })?;
    if !wrong.is_empty() {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(response)
}
