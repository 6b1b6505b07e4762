//! `GET /api/lablet-definitions/{id}/evidence`: the sessions that are evidence of what a definition needs.

use advice::left_out::LeftOutCode;
use advice::mixture::Condition;
use aide::transform::TransformOperation;
use axum::Json;
use domain::{DefinitionId, Invalid};
use projections::ReadModel;
use projections::read_models::advice::evidence::{EvidenceFilter, EvidenceRow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::caller::{Caller, Viewing};
use crate::heavy_reads::HeavyReads;
use crate::lablet_definitions;
use crate::paging::{ListPage, Paging, check_text};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

/// Which of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EvidenceQuery {
    /// Those that a recommendation leaves out for this reason, as its `left_out` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) left_out: Option<LeftOutCode>,
    /// Those that count, of one value of this condition, as its `mixed` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mixed: Option<Condition>,
    /// The value of `mixed`; absent: of which it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = crate::paging::LONGEST_TEXT))]
    pub(crate) value: Option<String>,
    /// Most rows of the page, 1 to 200; 50 unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = crate::paging::GREATEST_LIMIT))]
    pub(crate) limit: Option<u32>,
    /// The `next_cursor` of the page before. A cursor belongs to one filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    pub(crate) cursor: Option<String>,
}

impl EvidenceQuery {
    /// The filter that is asked for.
    ///
    /// # Errors
    /// [`Invalid`] where two are, or a value of nothing.
    pub(crate) fn filter(&self) -> Result<EvidenceFilter, Invalid> {
        let value = check_text("value", self.value.clone())?;
        match (self.left_out, self.mixed) {
            (Some(_), Some(_)) => Err(Invalid::new("mixed", "is given beside left_out", "one of the two")),
            (None, Some(condition)) => Ok(EvidenceFilter::Mixed(condition, value)),
            _ if value.is_some() => Err(Invalid::new("value", "is given without mixed", "mixed, whose value it is")),
            (Some(code), None) => Ok(EvidenceFilter::LeftOut(code)),
            (None, None) => Ok(EvidenceFilter::All),
        }
    }
}

pub(crate) async fn evidence(
    reads: HeavyReads,
    _: Caller<Viewing>,
    since: Since,
    Id(id): Id<DefinitionId>,
    Query(query): Query<EvidenceQuery>,
) -> Result<Json<ListPage<EvidenceRow>>, Problem> {
    let filter = query.filter()?;
    let request = Paging { limit: query.limit, cursor: query.cursor }.request()?;
    let (id, filter, request) = (&id, &filter, &request);
    let ask = |queries: Queries| async move {
        lablet_definitions::show::row(&queries, id).await?;
        Ok::<_, Problem>(queries.evidence(id, filter, request).await?)
    };
    Ok(Json(reads.read(since, &[ReadModel::Advice, ReadModel::Definitions], ask).await?.into()))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_lablet_definition_evidence")
        .tag("advice")
        .summary("The sessions that are evidence of what a definition needs, the one that ended last first")
        .description(
            "With what each needed, what was advised before it, and whether that held. Excluded sessions are listed, too, with \
             the reason; sessions that run only where `left_out` is `still_running`.",
        )
}
