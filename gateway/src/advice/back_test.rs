//! `GET /api/lablet-definitions/{id}/back-test`: what a size would have meant for the sessions of the past.

use aide::transform::TransformOperation;
use axum::Json;
use axum::extract::State;
use domain::lablet_definition::{LabletDefinition, ResourceRequirements};
use domain::phases::Phases;
use domain::{DefinitionId, Whole};
use projections::ReadModel;
use projections::read_models::advice::back_test::BackTestReport;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::caller::{Caller, Viewing};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// Which size.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BackTestQuery {
    /// Whole cores; as configured unless stated.
    cpu_cores: Option<Whole<u32, 1, 10_000>>,
    /// Whole GB of memory; as configured unless stated.
    memory_gb: Option<Whole<u32, 1, 1_000_000>>,
    /// Whole GB of storage; as configured unless stated.
    storage_gb: Option<Whole<u32, 1, 10_000_000>>,
    /// Whether what sessions needed while booting counts; as the policy says unless stated.
    include_boot: Option<bool>,
}

pub(crate) async fn back_test(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    Id(id): Id<DefinitionId>,
    Query(query): Query<BackTestQuery>,
) -> Result<Json<BackTestReport>, Problem> {
    since.reached(&queries, &[ReadModel::Advice]).await?;
    let size = move |stated: ResourceRequirements| ResourceRequirements {
        cpu_cores: query.cpu_cores.unwrap_or(stated.cpu_cores),
        memory_gb: query.memory_gb.unwrap_or(stated.memory_gb),
        storage_gb: query.storage_gb.unwrap_or(stated.storage_gb),
    };
    let phases = query.include_boot.map(Phases::including_boot);
    let ask = || queries.back_test(&id, phases, size);
    let report = queries.row::<LabletDefinition, _, _>(ReadModel::Advice, ("definition", id.as_str()), ask).await?;
    Ok(Json(report))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("back_test_lablet_definition")
        .tag("advice")
        .summary("What a size would have meant for the sessions of the past")
        .description(
            "Before anything is applied: which sessions would have been short, and how much would have stood idle.",
        )
}
