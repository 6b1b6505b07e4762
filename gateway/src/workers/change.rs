//! `PATCH /api/workers/{id}`: a worker is different from now on.

use aide::transform::TransformOperation;
use app::command::CommandName;
use app::commands::Commands;
use axum::extract::State;
use domain::WorkerId;
use domain::worker::WorkerChange;

use super::shape::WrittenWorker;
use crate::answer::{Found, Written};
use crate::body::RequestBody;
use crate::caller::{Administering, Caller};
use crate::command::{present, settled, written};
use crate::path::Id;
use crate::problem::Problem;
use crate::submission::Submission;
use crate::version::{IfMatch, REQUIRED};

impl RequestBody for WorkerChange {
    const COMMAND: Option<CommandName> = Some(CommandName::ChangeWorker);
}

pub(crate) async fn change(
    State(commands): State<Commands>,
    _: Caller<Administering>,
    Id(id): Id<WorkerId>,
    version: IfMatch<REQUIRED>,
    submission: Submission<WorkerChange>,
) -> Result<Found<Written<WrittenWorker>>, Problem> {
    let Submission { body, origin, warnings } = submission;
    let done = commands.change_worker(&id, body, version.expected, &origin).await;
    let done = settled(done, warnings)?;
    let worker = WrittenWorker::new(&done.state, done.version(), done.position);
    let worker = present(worker.as_ref())?.clone();
    Ok(written(&done, worker))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("change_worker")
        .tag("workers")
        .summary("Change a worker")
        .description("What is absent stays as it is.")
}
