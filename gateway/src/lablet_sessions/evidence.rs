//! `POST /api/lablet-sessions/{id}/evidence-exclusion` and `…/evidence-inclusion`: whether what was measured in a session is
//! evidence of what its definition needs.

use aide::transform::TransformOperation;
use app::command::CommandName;
use app::commands::{Commands, CompletedCommand};
use app::log::Position;
use axum::extract::State;
use domain::SessionId;
use domain::lablet_session::{EvidenceReason, LabletSession};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::answer::{Found, Written};
use crate::body::RequestBody;
use crate::caller::{Asking, Caller};
use crate::command::{present, settled, written};
use crate::path::Id;
use crate::problem::Problem;
use crate::submission::Submission;
use crate::version::{IfMatch, OPTIONAL, etag};

/// Why a session is no evidence.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct EvidenceExclusion(EvidenceReason);

impl RequestBody for EvidenceExclusion {
    const COMMAND: Option<CommandName> = Some(CommandName::ExcludeSessionEvidence);
}

/// Why a session is evidence again.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct EvidenceInclusion(EvidenceReason);

impl RequestBody for EvidenceInclusion {
    const COMMAND: Option<CommandName> = Some(CommandName::IncludeSessionEvidence);
}

/// Whether a session is evidence, after a write.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WrittenEvidence {
    /// The session.
    pub(crate) session_id: SessionId,
    /// Whether it is excluded from the evidence.
    pub(crate) evidence_excluded: bool,
    /// Where in the log the write is. A read that names it waits until the read models are there.
    pub(crate) position: Position,
    /// The session's version.
    pub(crate) etag: String,
}

fn answer(done: &CompletedCommand<LabletSession>) -> Result<Found<Written<WrittenEvidence>>, Problem> {
    let session = present(done.state.present())?;
    let evidence = WrittenEvidence {
        session_id: session.ids.session_id.clone(),
        evidence_excluded: session.evidence_excluded,
        position: done.position,
        etag: etag(done.version()),
    };
    Ok(written(done, evidence))
}

pub(crate) async fn exclude(
    State(commands): State<Commands>,
    _: Caller<Asking>,
    Id(session_id): Id<SessionId>,
    version: IfMatch<OPTIONAL>,
    submission: Submission<EvidenceExclusion>,
) -> Result<Found<Written<WrittenEvidence>>, Problem> {
    let Submission { body: EvidenceExclusion(reason), origin, warnings } = submission;
    let done = commands.exclude_session_evidence(&session_id, reason, version.expected, &origin).await;
    answer(&settled(done, warnings)?)
}

pub(crate) async fn include(
    State(commands): State<Commands>,
    _: Caller<Asking>,
    Id(session_id): Id<SessionId>,
    version: IfMatch<OPTIONAL>,
    submission: Submission<EvidenceInclusion>,
) -> Result<Found<Written<WrittenEvidence>>, Problem> {
    let Submission { body: EvidenceInclusion(reason), origin, warnings } = submission;
    let done = commands.include_session_evidence(&session_id, reason, version.expected, &origin).await;
    answer(&settled(done, warnings)?)
}

pub(crate) fn describe_exclusion(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("exclude_session_evidence")
        .tag("advice")
        .summary("Count what was measured in a session no longer as evidence")
        .description(
            "For sessions that say nothing about what their definition needs, such as a load test. Nothing is deleted: the \
             session is shown where its numbers would have been, and can be included again.",
        )
}

pub(crate) fn describe_inclusion(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("include_session_evidence")
        .tag("advice")
        .summary("Count what was measured in a session as evidence again")
}
