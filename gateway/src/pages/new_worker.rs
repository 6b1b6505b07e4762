//! `GET /workers/new` and `POST /workers`: the form of a new worker, and the worker.

use app::commands::{CommandError, Commands};
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::Invalid;
use domain::worker::NewWorker;
use http::StatusCode;
use serde::Deserialize;

use super::first_steps::after_saving;
use super::form::PageForm;
use super::query::PageQuery;
use super::shell::{Section, Shell, page};
use super::text_field::{Complaints, TextField, TypedBody};
use super::visit::{Permit, Visit};
use crate::authentication::Role;
use crate::caller::{Administering, Caller, Viewing};
use crate::command::present;
use crate::problem::Problem;
use crate::workers::shape::WrittenWorker;

/// What was typed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkerDraft {
    id: Option<String>,
    name: Option<String>,
    address: Option<String>,
    cpu_cores: Option<String>,
    memory_gb: Option<String>,
    storage_gb: Option<String>,
    max_nodes: Option<String>,
    first_port: Option<String>,
    last_port: Option<String>,
    /// Whether one comes from the first steps, and goes on there.
    first_steps: Option<bool>,
}

impl WorkerDraft {
    /// The worker, by the rules of the API.
    fn parse(&self) -> Result<NewWorker, Complaints> {
        TypedBody::default()
            .text("id", self.id.as_ref())
            .text("name", self.name.as_ref())
            .text("address", self.address.as_ref())
            .number("capacity.cpu_cores", self.cpu_cores.as_ref())
            .number("capacity.memory_gb", self.memory_gb.as_ref())
            .number("capacity.storage_gb", self.storage_gb.as_ref())
            .number("capacity.max_nodes", self.max_nodes.as_ref())
            .number("port_range.first", self.first_port.as_ref())
            .number("port_range.last", self.last_port.as_ref())
            .parse()
    }
}

#[derive(Template)]
#[template(path = "new_worker.html")]
struct NewWorkerPage {
    shell: Shell,
    wrong: u64,
    /// What no field is to blame for.
    rest: Vec<String>,
    /// Name and address.
    who: Vec<TextField>,
    capacity: Vec<TextField>,
    ports: Vec<TextField>,
    first_steps: bool,
    permit: Permit,
    csrf_token: String,
    idempotency_key: String,
}

pub(crate) async fn show(
    _: Caller<Viewing>,
    visit: Visit,
    PageQuery(draft): PageQuery<WorkerDraft>,
) -> Result<Response, Problem> {
    form(&visit, &draft, Complaints::default())
}

pub(crate) async fn register(
    State(commands): State<Commands>,
    _: Caller<Administering>,
    visit: Visit,
    form: PageForm<WorkerDraft>,
) -> Result<Response, Problem> {
    let PageForm { fields: draft, origin } = form;
    let new = match draft.parse() {
        Ok(new) => new,
        Err(complaints) => return self::form(&visit, &draft, complaints),
    };
    match commands.register_worker(new, &origin).await {
        Ok(done) => {
            let worker = WrittenWorker::new(&done.state, done.version(), done.position);
            let id = &present(worker.as_ref())?.id;
            Ok(after_saving(draft.first_steps, &format!("/workers/{id}"), done.position))
        }
        Err(CommandError::Exists { id, .. }) => {
            let taken = Invalid::new("id", format!("{id:?} is taken"), "another one, or none: one is then made");
            self::form(&visit, &draft, taken.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The form, with what was typed and what is wrong with it.
fn form(visit: &Visit, draft: &WorkerDraft, mut complaints: Complaints) -> Result<Response, Problem> {
    let wrong = complaints.count();
    let mut fields = vec![
        TextField::new("name", "Name", draft.name.as_ref())
            .hint("What people call it.")
            .complaint(complaints.take("name")),
        TextField::new("address", "Address", draft.address.as_ref())
            .hint("Of CML itself, e.g. https://cml-1.example.org")
            .complaint(complaints.take("address")),
        TextField::new("id", "Id", draft.id.as_ref())
            .optional()
            .hint("As the services call it; made where it is empty.")
            .complaint(complaints.take("id")),
    ];
    for (name, label, typed, path) in [
        ("cpu_cores", "CPU cores", &draft.cpu_cores, "capacity.cpu_cores"),
        ("memory_gb", "Memory, GB", &draft.memory_gb, "capacity.memory_gb"),
        ("storage_gb", "Storage, GB", &draft.storage_gb, "capacity.storage_gb"),
        ("max_nodes", "Nodes at most", &draft.max_nodes, "capacity.max_nodes"),
    ] {
        fields.push(TextField::new(name, label, typed.as_ref()).number().complaint(complaints.take(path)));
    }
    for (name, label, typed, path) in [
        ("first_port", "First port", &draft.first_port, "port_range.first"),
        ("last_port", "Last port", &draft.last_port, "port_range.last"),
    ] {
        let field = TextField::new(name, label, typed.as_ref()).number().optional();
        fields.push(field.hint("2000 to 7999 unless stated.").complaint(complaints.take(path)));
    }
    TextField::focus(&mut fields);
    let ports = fields.split_off(7);
    let capacity = fields.split_off(3);
    let mut response = page(&NewWorkerPage {
        shell: Shell::new(visit, Section::Workers).twin("/api/workers"),
        wrong,
        rest: complaints.rest(),
        who: fields,
        capacity,
        ports,
        first_steps: draft.first_steps == Some(true),
        permit: visit.may(Role::Admin),
        csrf_token: visit.csrf_token.clone(),
        idempotency_key: visit.idempotency_key.to_string(),
    })?;
    if wrong > 0 {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(response)
}
