//! Observation requests as CSV, of whatever list.

use axum::response::Response;
use projections::Page;
use projections::read_models::observation_requests::{ObservationRequestRow, RequestFilter};

use super::named_row::NamedRow;
use super::table::{Column, cell, csv, time};
use crate::problem::Problem;
use crate::queries::Queries;

/// The requests that are asked for. `name` is the file's, without its ending.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn csv_of_requests(
    queries: &Queries,
    name: &str,
    filter: &RequestFilter,
) -> Result<Response, Problem> {
    csv(name, &COLUMNS, |request| async move {
        let Page { items, next, unreadable } = queries.observation_requests(filter, &request).await?;
        let items = NamedRow::all(queries, items, |row| &row.session_id).await?;
        Ok(Page { items, next, unreadable })
    })
    .await
}

const COLUMNS: [Column<NamedRow<ObservationRequestRow>>; 12] = [
    ("request_id", |named| named.row.request_id.to_string()),
    ("session_id", |named| named.row.session_id.to_string()),
    ("session_starts_at", NamedRow::starts_at),
    ("definition_id", |named| named.row.definition_id.to_string()),
    ("definition_name", |named| cell(named.row.definition_name.as_ref())),
    ("worker_id", |named| named.row.worker_id.to_string()),
    ("worker_name", |named| cell(named.row.worker_name.as_ref())),
    ("requested_at", |named| time(&named.row.requested_at)),
    ("requested_by", |named| named.row.requested_by.clone()),
    ("outcome", |named| named.row.outcome.as_str().to_owned()),
    ("reason", |named| cell(named.row.reason.as_ref())),
    ("finished_at", |named| cell(named.row.finished_at.as_ref().map(time).as_ref())),
];
