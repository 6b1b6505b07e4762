//! `GET /definitions/new`, `POST /definitions` and `POST /definitions/import`: the form of a new definition, filled in by
//! hand or from a topology of CML, and the definition.

mod draft;
mod import;

use app::commands::{CommandError, Commands};
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::Invalid;
use domain::lab_topology::LONGEST_YAML;
use http::StatusCode;
use serde::Deserialize;

use self::draft::{DefinitionDraft, NodeLine};
use self::import::ImportedLab;
use super::first_steps::after_saving;
use super::form::PageForm;
use super::query::PageQuery;
use super::shell::{Section, Shell, page};
use super::text_field::{Complaints, TextField};
use super::visit::{Permit, Visit};
use crate::authentication::Role;
use crate::caller::{Administering, Caller, Viewing};
use crate::command::present;
use crate::problem::Problem;

/// Most bytes of a form with a topology: each of its bytes may be sent as three.
pub(crate) const LONGEST_FORM: usize = 3 * LONGEST_YAML;

/// A topology, as it was pasted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pasted {
    cml_yaml: Option<String>,
    first_steps: Option<bool>,
}

/// What is said of the topology that was pasted.
enum Import {
    /// Nothing was.
    None,
    /// What it gave.
    Read(ImportedLab),
    /// Why it cannot be read, and what it was.
    Refused { yaml: String, wrong: String },
}

impl Import {
    fn wrong(&self) -> Option<&str> {
        match self {
            Self::Refused { wrong, .. } => Some(wrong),
            Self::None | Self::Read(_) => None,
        }
    }

    fn yaml(&self) -> &str {
        match self {
            Self::Refused { yaml, .. } => yaml,
            Self::None | Self::Read(_) => "",
        }
    }

    fn read(&self) -> Option<&ImportedLab> {
        match self {
            Self::Read(lab) => Some(lab),
            Self::None | Self::Refused { .. } => None,
        }
    }
}

#[derive(Template)]
#[template(path = "new_definition.html")]
struct NewDefinitionPage {
    shell: Shell,
    wrong: u64,
    /// What no field is to blame for.
    rest: Vec<String>,
    import: Import,
    most_bytes: usize,
    who: Vec<TextField>,
    size: Vec<TextField>,
    description: String,
    description_wrong: Option<String>,
    ports: String,
    ports_wrong: Option<String>,
    /// As the form carries them along; empty: none.
    topology: String,
    nodes: Vec<NodeLine>,
    first_steps: bool,
    permit: Permit,
    csrf_token: String,
    idempotency_key: String,
}

pub(crate) async fn show(
    _: Caller<Viewing>,
    visit: Visit,
    PageQuery(draft): PageQuery<DefinitionDraft>,
) -> Result<Response, Problem> {
    form(&visit, &draft, Import::None, Complaints::default())
}

/// What was pasted fills the form in; nothing is changed.
pub(crate) async fn import(
    _: Caller<Administering>,
    visit: Visit,
    form: PageForm<Pasted>,
) -> Result<Response, Problem> {
    let Pasted { cml_yaml, first_steps } = form.fields;
    let yaml = cml_yaml.unwrap_or_default();
    match ImportedLab::from_yaml(&yaml) {
        Ok(lab) => {
            let draft = DefinitionDraft { first_steps, ..DefinitionDraft::from_lab(&lab) };
            self::form(&visit, &draft, Import::Read(lab), Complaints::default())
        }
        Err(invalid) => {
            let draft = DefinitionDraft { first_steps, ..DefinitionDraft::default() };
            let wrong = invalid.to_string();
            self::form(&visit, &draft, Import::Refused { yaml, wrong }, Complaints::default())
        }
    }
}

pub(crate) async fn create(
    State(commands): State<Commands>,
    _: Caller<Administering>,
    visit: Visit,
    form: PageForm<DefinitionDraft>,
) -> Result<Response, Problem> {
    let PageForm { fields: draft, origin } = form;
    let new = match draft.parse() {
        Ok(new) => new,
        Err(complaints) => return self::form(&visit, &draft, Import::None, complaints),
    };
    match commands.create_definition(new, &origin).await {
        Ok(done) => {
            let id = &present(done.state.present())?.id;
            Ok(after_saving(draft.first_steps, &format!("/definitions/{id}"), done.position))
        }
        Err(CommandError::Exists { id, .. }) => {
            let taken = Invalid::new("id", format!("{id:?} is taken"), "another one, or none: one is then made");
            self::form(&visit, &draft, Import::None, taken.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The form, with what was typed or read, and what is wrong with it.
fn form(
    visit: &Visit,
    draft: &DefinitionDraft,
    import: Import,
    mut complaints: Complaints,
) -> Result<Response, Problem> {
    let wrong = complaints.count();
    let mut fields = vec![
        TextField::new("name", "Name", draft.name.as_ref())
            .hint("What people call the lab.")
            .complaint(complaints.take("name")),
        TextField::new("version", "Version", Some(draft.version.as_ref().unwrap_or(&"1.0".to_owned())))
            .hint("The author's, e.g. 1.0")
            .complaint(complaints.take("version")),
        TextField::new("id", "Id", draft.id.as_ref())
            .optional()
            .hint("As the services call it; made where it is empty.")
            .complaint(complaints.take("id")),
    ];
    let hints = import.read().map(ImportedLab::size_hints).unwrap_or_default();
    for (name, label, typed, path, hint) in [
        ("cpu_cores", "CPU cores", &draft.cpu_cores, "resource_requirements.cpu_cores", hints.cpu_cores),
        ("memory_gb", "Memory, GB", &draft.memory_gb, "resource_requirements.memory_gb", hints.memory_mb),
        ("storage_gb", "Storage, GB", &draft.storage_gb, "resource_requirements.storage_gb", hints.storage_mb),
    ] {
        fields.push(TextField::new(name, label, typed.as_ref()).number().hint(hint).complaint(complaints.take(path)));
    }
    let (description_wrong, ports_wrong) = (complaints.take("description"), complaints.take("port_template"));
    if import.wrong().is_none() {
        TextField::focus(&mut fields);
    }
    let size = fields.split_off(3);
    let is_wrong = wrong > 0 || import.wrong().is_some();
    let mut response = page(&NewDefinitionPage {
        shell: Shell::new(visit, Section::Definitions).twin("/api/lablet-definitions"),
        wrong,
        rest: complaints.rest(),
        import,
        most_bytes: LONGEST_YAML,
        who: fields,
        size,
        description: draft.description.clone().unwrap_or_default(),
        description_wrong,
        ports: draft.ports.clone().unwrap_or_default(),
        ports_wrong,
        topology: draft.topology.clone().unwrap_or_default(),
        nodes: draft.nodes(),
        first_steps: draft.first_steps == Some(true),
        permit: visit.may(Role::Admin),
        csrf_token: visit.csrf_token.clone(),
        idempotency_key: visit.idempotency_key.to_string(),
    })?;
    if is_wrong {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(response)
}
