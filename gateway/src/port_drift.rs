//! `GET /api/port-drift`: ports that are not as allocated, over all sessions.

use aide::transform::TransformOperation;
use axum::Json;
use domain::{DefinitionId, Invalid, WorkerId};
use projections::ReadModel;
use projections::port_drift::{DriftKind, DriftedPortFilter, DriftedPorts, KnownDrift};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::caller::{Caller, Viewing};
use crate::heavy_reads::HeavyReads;
use crate::paging::check_text;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// Which ports.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PortDriftQuery {
    /// Of this definition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) definition_id: Option<DefinitionId>,
    /// Of sessions on this worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) worker_id: Option<WorkerId>,
    /// With this name, or allocated or observed with this number.
    #[schemars(length(max = crate::paging::LONGEST_TEXT))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<String>,
    /// That differ so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<DriftKind>,
    /// Of which nobody knows, or somebody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<KnownDrift>,
    /// True: also of sessions that hold no ports any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<bool>,
}

impl PortDriftQuery {
    /// What is asked of the read models.
    ///
    /// # Errors
    /// [`Invalid`] for a port that is no text.
    pub(crate) fn filter(&self) -> Result<DriftedPortFilter, Invalid> {
        let port = check_text("port", self.port.clone())?.map(|port| port.trim().to_owned());
        Ok(DriftedPortFilter {
            definition_id: self.definition_id.clone(),
            worker_id: self.worker_id.clone(),
            port: port.filter(|port| !port.is_empty()),
            kind: self.kind,
            state: self.state,
            ended: self.ended.unwrap_or_default(),
        })
    }
}

pub(crate) async fn list(
    reads: HeavyReads,
    _: Caller<Viewing>,
    since: Since,
    Query(query): Query<PortDriftQuery>,
) -> Result<Json<DriftedPorts>, Problem> {
    let filter = query.filter()?;
    let models = [ReadModel::Sessions, ReadModel::Definitions];
    let filter = &filter;
    let ask = |queries: Queries| async move { queries.drifted_ports(filter).await };
    Ok(Json(reads.read(since, &models, ask).await?))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_port_drift")
        .tag("sessions")
        .summary("Ports that are not as allocated, by definition, port and how they differ")
        .description(
            "Of sessions that hold ports now, unless `ended` is true. Those of which nobody knows come first, then those of \
             most sessions; at most 500, and `cut` says that there are more.",
        )
}
