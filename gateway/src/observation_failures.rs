//! `GET /api/observation-failures`: why observations failed, by what the reasons have in common.

use std::collections::{BTreeMap, BTreeSet};

use aide::transform::TransformOperation;
use axum::Json;
use chrono::{DateTime, Utc};
use domain::time::BoundedTime;
use domain::{DefinitionId, Invalid, WorkerId};
use projections::read_models::observation_requests::{ObservationRequestRow, RequestFilter, RequestOutcome};
use projections::{PageRequest, ReadError, ReadModel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::caller::{Caller, Viewing};
use crate::dead_letters::cause::cause;
use crate::heavy_reads::HeavyReads;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;
use crate::recent::Recent;

/// Failed requests whose reasons are looked at, the newest.
const LOOKED_THROUGH: u32 = 1_000;

/// Which failures.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FailureQuery {
    /// Of sessions of this definition.
    definition_id: Option<DefinitionId>,
    /// Of sessions on this worker.
    worker_id: Option<WorkerId>,
    /// Requested so far back: `hour`, `day` (24 hours), `week` (7 days) or `month` (30 days). Not beside `from`.
    last: Option<Recent>,
    /// Requested then or later.
    from: Option<BoundedTime>,
    /// Requested before.
    before: Option<BoundedTime>,
}

impl FailureQuery {
    fn filter(&self, now: DateTime<Utc>) -> Result<RequestFilter, Invalid> {
        Ok(RequestFilter {
            session_id: None,
            outcome: Some(RequestOutcome::Failed),
            definition_id: self.definition_id.clone(),
            worker_id: self.worker_id.clone(),
            requested_from: Recent::begin(self.last, self.from, now)?,
            requested_before: self.before.map(BoundedTime::at),
        })
    }
}

/// Observations that failed for one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct FailureGroup {
    /// What the reasons have in common: numbers, ids and addresses are left out.
    pub(crate) cause: String,
    /// How many requests failed so.
    pub(crate) requests: u64,
    /// Of how many sessions.
    pub(crate) sessions: u64,
    /// On how many workers.
    pub(crate) workers: u64,
    /// When the first of them was requested.
    pub(crate) first_at: DateTime<Utc>,
    /// When the last was.
    pub(crate) last_at: DateTime<Utc>,
    /// The newest of them, with its reason.
    pub(crate) newest: ObservationRequestRow,
}

/// Why observations failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct FailureGroups {
    /// The most frequent cause first.
    pub(crate) items: Vec<FailureGroup>,
    /// Whether there are older failures than the newest 1,000, which were looked through.
    pub(crate) more: bool,
}

/// Failed requests, newest first, by what their reasons have in common; the most frequent first.
fn by_cause(failed: Vec<ObservationRequestRow>) -> Vec<FailureGroup> {
    let mut groups: BTreeMap<String, Vec<ObservationRequestRow>> = BTreeMap::new();
    for request in failed {
        let reason = request.reason.as_deref().unwrap_or("no reason is known");
        groups.entry(cause(reason)).or_default().push(request);
    }
    let group = |(cause, requests): (String, Vec<ObservationRequestRow>)| {
        let sessions: BTreeSet<String> = requests.iter().map(|request| request.session_id.to_string()).collect();
        let workers: BTreeSet<String> = requests.iter().map(|request| request.worker_id.to_string()).collect();
        let times = || requests.iter().map(|request| request.requested_at);
        Some(FailureGroup {
            cause,
            requests: requests.len() as u64,
            sessions: sessions.len() as u64,
            workers: workers.len() as u64,
            first_at: times().min()?,
            last_at: times().max()?,
            newest: requests.into_iter().next()?,
        })
    };
    let mut groups: Vec<FailureGroup> = groups.into_iter().filter_map(group).collect();
    groups
        .sort_by(|one, other| other.requests.cmp(&one.requests).then(other.newest.position.cmp(&one.newest.position)));
    groups
}

/// Why those of a filter failed that failed.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn failures(queries: &Queries, filter: RequestFilter) -> Result<FailureGroups, ReadError> {
    let failed = RequestFilter { outcome: Some(RequestOutcome::Failed), ..filter };
    let found = queries.observation_requests(&failed, &PageRequest::first(LOOKED_THROUGH)).await?;
    Ok(FailureGroups { more: found.next.is_some(), items: by_cause(found.items) })
}

pub(crate) async fn list(
    reads: HeavyReads,
    _: Caller<Viewing>,
    since: Since,
    Query(query): Query<FailureQuery>,
) -> Result<Json<FailureGroups>, Problem> {
    let filter = query.filter(reads.log().clock().now())?;
    let filter = &filter;
    let ask = |queries: Queries| async move { failures(&queries, filter.clone()).await };
    Ok(Json(reads.read(since, &[ReadModel::ObservationRequests], ask).await?))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("list_observation_failures")
        .tag("sessions")
        .summary("Why observations failed, by what the reasons have in common")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn failed(number: u32, session: &str, worker: &str, reason: &str) -> ObservationRequestRow {
        serde_json::from_value(json!({
            "request_id": format!("r-{number}"), "session_id": session, "definition_id": "d1", "worker_id": worker,
            "cml_lab_id": "lab-1", "requested_by": "admin:ada", "requested_at": format!("2026-03-01T10:{number:02}:00Z"),
            "requested_event_id": "019b2c1e-5f7a-7c3e-9d4b-000000000001", "outcome": "failed", "reason": reason,
            "finished_at": null, "outcome_event_id": null,
            "position": format!("0000000001-00000000000000000001-{number:019}"),
        }))
        .unwrap()
    }

    #[test]
    fn failures_of_one_cause_stand_together_the_most_frequent_first() {
        let refused = "CML refused the user name or the password";
        let groups = by_cause(vec![
            failed(9, "s1", "w1", "the lab is unknown to CML"),
            failed(8, "s1", "w1", refused),
            failed(7, "s2", "w2", refused),
            failed(6, "s2", "w2", refused),
        ]);
        let told: Vec<(u64, u64, u64)> =
            groups.iter().map(|group| (group.requests, group.sessions, group.workers)).collect();
        assert_eq!(told, [(3, 2, 2), (1, 1, 1)]);
        assert_eq!(groups[0].newest.request_id.to_string(), "r-8");
        assert_eq!((groups[0].last_at - groups[0].first_at).num_minutes(), 2);
    }
}
