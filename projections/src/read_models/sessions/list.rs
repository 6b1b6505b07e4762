//! The list of sessions, in an order, page by page.

use chrono::{DateTime, Utc};
use sqlx::{Postgres, QueryBuilder};

use super::filter::{NamedIds, SessionFilter};
use super::{LIST, SessionRow, columns};
use crate::page::{self, Page, PageRequest};
use crate::{Projections, ReadError};

/// What is no time although it looks like one, Postgres refuses: nothing else of the statement is parsed as one.
fn refused_time(error: ReadError) -> ReadError {
    let code = match &error {
        ReadError::Database(sqlx::Error::Database(error)) => error.code().map(|code| code.into_owned()),
        _ => None,
    };
    match code.as_deref() {
        Some("22007" | "22008" | "22009") => ReadError::Invalid(page::bad_cursor()),
        _ => error,
    }
}

impl Projections {
    /// Sessions in the order that the filter names, newest first unless it says otherwise.
    ///
    /// # Errors
    /// The cursor is none of this list's in this order, or the database does not answer.
    pub async fn sessions(&self, filter: &SessionFilter, request: &PageRequest) -> Result<Page<SessionRow>, ReadError> {
        let named = self.named_ids(filter).await?;
        let query = list_query("", filter, &named, request, self.log.clock().now())?;
        self.page_of(LIST, query, request).await.map_err(refused_time)
    }

    /// Where the page before the one of this request begins; `None`: it is the first one, or there is none before it.
    ///
    /// # Errors
    /// The cursor is none of this list's in this order, or the database does not answer.
    pub async fn sessions_page_before(
        &self,
        filter: &SessionFilter,
        request: &PageRequest,
    ) -> Result<Option<String>, ReadError> {
        let Some(cursor) = &request.cursor else { return Ok(None) };
        let named = self.named_ids(filter).await?;
        let mut query = before_query("", filter, &named, (cursor, request), self.log.clock().now())?;
        let found: Result<Option<String>, sqlx::Error> = query.build_query_scalar().fetch_optional(&self.reads).await;
        found.map_err(|error| refused_time(error.into()))
    }
}

/// The statement of the list, after `prefix`, which is empty or asks for its plan.
fn list_query(
    prefix: &str,
    filter: &SessionFilter,
    named: &NamedIds,
    request: &PageRequest,
    now: DateTime<Utc>,
) -> Result<QueryBuilder<Postgres>, ReadError> {
    let mut query = QueryBuilder::new(format!(
        "{prefix}{}SELECT {} AS cursor, {} FROM read_sessions.sessions WHERE true",
        super::select("cursor"),
        filter.sort.cursor(),
        columns()
    ));
    filter.push_states(&mut query);
    filter.push_others(named, now, &mut query);
    if let Some(cursor) = &request.cursor {
        filter.sort.push_after(cursor, &mut query).map_err(ReadError::Invalid)?;
    }
    query.push(" ORDER BY ").push(filter.sort.order()).push(" LIMIT ").push_bind(request.fetch()).push(") r");
    Ok(query)
}

/// The last of the rows of the page before the page before: from the row that the cursor names, back along the same index.
fn before_query(
    prefix: &str,
    filter: &SessionFilter,
    named: &NamedIds,
    (cursor, request): (&str, &PageRequest),
    now: DateTime<Utc>,
) -> Result<QueryBuilder<Postgres>, ReadError> {
    let sort = filter.sort;
    let mut query =
        QueryBuilder::new(format!("{prefix}SELECT ({})::text FROM read_sessions.sessions WHERE true", sort.cursor()));
    filter.push_states(&mut query);
    filter.push_others(named, now, &mut query);
    sort.push_until(cursor, &mut query).map_err(ReadError::Invalid)?;
    query.push(" ORDER BY ").push(sort.order_from_the_end());
    query.push(" LIMIT 1 OFFSET ").push_bind(request.fetch() - 1);
    Ok(query)
}

#[cfg(test)]
mod tests {
    use app::log::Position;
    use domain::lablet_session::SessionStatus;
    use domain::{DefinitionId, WorkerId};

    use super::super::filter::{DriftFilter, SessionTime, SessionUnknown};
    use super::super::sort::SessionSort;
    use super::*;

    #[tokio::test]
    async fn a_page_of_ten_thousand_sessions_is_a_range_of_an_index() {
        let database = servers::testing::database(&app::log::MIGRATOR).await;
        let fill =
            "INSERT INTO read_sessions.sessions (id, definition_id, definition_version, definition_revision, status,
                status_since, worker_id, created_at, updated_at, created_position, position, sequence,
                port_drift_detected, owner_id)
            SELECT 's-' || n, 'd-' || n % 50, '1', 1, CASE WHEN n % 100 = 0 THEN 'running' ELSE 'archived' END, now(),
                'w-' || n % 20, now(), now(), lpad(n::text, 51, '0'), lpad(n::text, 51, '0'), 1, n % 90 = 0,
                CASE WHEN n % 40 > 0 THEN 'o-' || n % 40 END
              FROM generate_series(1, 10000) n";
        sqlx::query(fill).execute(&database.pool()).await.unwrap();
        sqlx::query("ANALYZE read_sessions.sessions").execute(&database.pool()).await.unwrap();
        let cursor = Position::START.to_string().replace("0-", "9-");
        for filter in [
            SessionFilter::default(),
            SessionFilter { status: vec![SessionStatus::Running], ..SessionFilter::default() },
            SessionFilter { definition_id: Some(DefinitionId::parse("d-7").unwrap()), ..SessionFilter::default() },
            SessionFilter { worker_id: Some(WorkerId::parse("w-7").unwrap()), ..SessionFilter::default() },
            SessionFilter { drift: Some(DriftFilter::True), ..SessionFilter::default() },
            SessionFilter { drift: Some(DriftFilter::Open), ..SessionFilter::default() },
            SessionFilter { drift: Some(DriftFilter::Acknowledged), ..SessionFilter::default() },
            SessionFilter { owner_id: Some("o-7".to_owned()), ..SessionFilter::default() },
            SessionFilter { unknown: vec![SessionUnknown::Owner], ..SessionFilter::default() },
        ] {
            let request = PageRequest { limit: 50, cursor: Some(cursor.clone()) };
            let mut query =
                list_query("EXPLAIN ", &filter, &NamedIds::default(), &request, DateTime::UNIX_EPOCH).unwrap();
            let plan: Vec<String> = query.build_query_scalar().fetch_all(&database.pool()).await.unwrap();
            let plan = plan.join("\n");
            assert!(plan.contains("Index Scan"), "{filter:?}:\n{plan}");
            assert!(!plan.contains("Sort"), "{filter:?}:\n{plan}");
        }
        // A range that holds few of them is found by its own index.
        sqlx::query(
            "UPDATE read_sessions.sessions SET created_at = '2026-03-01', updated_at = '2026-03-01' WHERE id <> 's-1'",
        )
        .execute(&database.pool())
        .await
        .unwrap();
        sqlx::query("ANALYZE read_sessions.sessions").execute(&database.pool()).await.unwrap();
        for time in [SessionTime::Created, SessionTime::Changed] {
            let from = Some("2026-03-02T00:00:00Z".parse().unwrap());
            let filter = SessionFilter { time, from, ..SessionFilter::default() };
            let request = PageRequest::first(50);
            let mut query =
                list_query("EXPLAIN ", &filter, &NamedIds::default(), &request, DateTime::UNIX_EPOCH).unwrap();
            let plan: Vec<String> = query.build_query_scalar().fetch_all(&database.pool()).await.unwrap();
            assert!(plan.join("\n").contains("Index Cond"), "{time:?}:\n{}", plan.join("\n"));
        }
        let spread = "UPDATE read_sessions.sessions SET timeslot_end = now() + length(id) * interval '1 minute',
            observed_at = now() - length(id) * interval '1 minute' WHERE id LIKE '%1%'";
        sqlx::query(spread).execute(&database.pool()).await.unwrap();
        sqlx::query("ANALYZE read_sessions.sessions").execute(&database.pool()).await.unwrap();
        let (early, late) = ("2026-03-01T10:00:00.000001+00:00", "2199-03-01T10:00:00.000001+00:00");
        let position = Position::START;
        for (sort, cursor) in [
            (SessionSort::Oldest, format!("oldest::{position}")),
            (SessionSort::Changed, format!("changed::{}", cursor)),
            (SessionSort::Definition, format!("definition:d-4:{cursor}")),
            (SessionSort::TimeslotEnd, format!("timeslot_end:s-1:{early}")),
            (SessionSort::Observed, format!("observed:s-1:{late}")),
        ] {
            for cursor in [None, Some(cursor)] {
                let filter = SessionFilter { sort, ..SessionFilter::default() };
                let (named, now) = (NamedIds::default(), DateTime::UNIX_EPOCH);
                let request = PageRequest { limit: 50, cursor };
                let mut statements = vec![list_query("EXPLAIN ", &filter, &named, &request, now).unwrap()];
                if let Some(cursor) = &request.cursor {
                    statements.push(before_query("EXPLAIN ", &filter, &named, (cursor, &request), now).unwrap());
                }
                for mut query in statements {
                    let plan: Vec<String> = query.build_query_scalar().fetch_all(&database.pool()).await.unwrap();
                    let plan = plan.join("\n");
                    assert!(plan.contains("Index"), "{sort:?}:\n{plan}");
                    assert!(!plan.contains("Sort"), "{sort:?}:\n{plan}");
                }
            }
        }
    }
}
