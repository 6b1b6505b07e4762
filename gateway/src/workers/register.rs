//! `POST /api/workers`: a worker begins to exist.

use aide::transform::TransformOperation;
use app::command::CommandName;
use app::commands::Commands;
use axum::extract::State;
use domain::worker::NewWorker;

use super::shape::WrittenWorker;
use crate::answer::{Created, Written};
use crate::body::RequestBody;
use crate::caller::{Administering, Caller};
use crate::command::{present, settled, written};
use crate::problem::Problem;
use crate::submission::Submission;

impl RequestBody for NewWorker {
    const COMMAND: Option<CommandName> = Some(CommandName::RegisterWorker);
}

pub(crate) async fn register(
    State(commands): State<Commands>,
    _: Caller<Administering>,
    submission: Submission<NewWorker>,
) -> Result<Created<Written<WrittenWorker>>, Problem> {
    let Submission { body, origin, warnings } = submission;
    let done = settled(commands.register_worker(body, &origin).await, warnings)?;
    let worker = WrittenWorker::new(&done.state, done.version(), done.position);
    let worker = present(worker.as_ref())?.clone();
    let path = format!("/api/workers/{}", worker.id);
    Ok(written(&done, worker).located_at(&path))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("register_worker").tag("workers").summary("Register a worker")
}
