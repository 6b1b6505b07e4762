//! How many sessions a filter finds, by their states.

use domain::lablet_session::SessionStatus;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, QueryBuilder};

use super::filter::{NamedIds, SessionFilter};
use crate::{Projections, ReadError};

/// Sessions of one state up to which they are counted.
pub const MOST_COUNTED: u64 = 10_000;

/// How many sessions are in a state, of those that a filter finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusCount {
    /// The state.
    pub status: SessionStatus,
    /// How many; 10,000 where there are more.
    pub sessions: u64,
    /// Whether there are more.
    pub is_more: bool,
}

/// How many sessions a filter finds, whatever their state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusCounts {
    /// By state, in the order of a life; those without a session are left out.
    pub items: Vec<StatusCount>,
}

impl StatusCounts {
    /// How many are in one of these states, none: in any; and whether there are more.
    pub fn total(&self, of: &[SessionStatus]) -> (u64, bool) {
        let wanted = self.items.iter().filter(|count| of.is_empty() || of.contains(&count.status));
        let (sessions, is_more) =
            wanted.fold((0, false), |(sessions, is_more), count| (sessions + count.sessions, is_more || count.is_more));
        (sessions.min(MOST_COUNTED), is_more || sessions > MOST_COUNTED)
    }

    /// How many are in a state, and whether there are more.
    pub fn in_state(&self, status: SessionStatus) -> (u64, bool) {
        self.total(&[status])
    }
}

impl Projections {
    /// How many sessions of each state a filter finds; the states that the filter names do not restrict.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn session_status_counts(&self, filter: &SessionFilter) -> Result<StatusCounts, ReadError> {
        let named = self.named_ids(filter).await?;
        let mut query = counts_query("", filter, &named, self.log.clock().now());
        let rows: Vec<(String, i64)> = query.build_query_as().fetch_all(&self.reads).await?;
        let count = |status: SessionStatus| {
            let (_, found) = rows.iter().find(|(name, _)| name == status.as_str())?;
            let found = u64::try_from(*found).unwrap_or_default();
            (found > 0).then(|| StatusCount {
                status,
                sessions: found.min(MOST_COUNTED),
                is_more: found > MOST_COUNTED,
            })
        };
        Ok(StatusCounts { items: SessionStatus::ALL.into_iter().filter_map(count).collect() })
    }
}

/// Each state is a range of an index that is read up to the bound, however many sessions there are.
fn counts_query(
    prefix: &str,
    filter: &SessionFilter,
    named: &NamedIds,
    now: chrono::DateTime<chrono::Utc>,
) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(format!(
        "{prefix}SELECT one.state, (SELECT count(*) FROM (SELECT FROM read_sessions.sessions WHERE status = one.state"
    ));
    filter.push_others(named, now, &mut query);
    query.push(" LIMIT ").push_bind(i64::try_from(MOST_COUNTED).unwrap_or(i64::MAX) + 1);
    let states: Vec<&str> = SessionStatus::ALL.iter().map(|status| status.as_str()).collect();
    query.push(") found) FROM unnest(").push_bind(states).push("::text[]) AS one (state)");
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(status: SessionStatus, sessions: u64, is_more: bool) -> StatusCount {
        StatusCount { status, sessions, is_more }
    }

    #[test]
    fn a_total_is_exact_up_to_the_bound() {
        let of = |ready, running| StatusCounts {
            items: vec![count(SessionStatus::Ready, ready, false), count(SessionStatus::Running, running, false)],
        };
        assert_eq!(of(4_000, 6_000).total(&[]), (10_000, false));
        assert_eq!(of(4_001, 6_000).total(&[]), (10_000, true));
        assert_eq!(of(4_001, 6_000).total(&[SessionStatus::Ready]), (4_001, false));
        assert_eq!(of(4_001, 6_000).in_state(SessionStatus::Expired), (0, false));
        let full = StatusCounts { items: vec![count(SessionStatus::Archived, 10_000, true)] };
        assert_eq!(full.total(&[]), (10_000, true));
    }

    #[tokio::test]
    async fn the_states_of_ten_thousand_sessions_are_counted_by_an_index() {
        let database = servers::testing::database(&app::log::MIGRATOR).await;
        let fill =
            "INSERT INTO read_sessions.sessions (id, definition_id, definition_version, definition_revision, status,
                status_since, worker_id, created_at, updated_at, created_position, position, sequence)
            SELECT 's-' || n, 'd-' || n % 50, '1', 1, CASE WHEN n % 100 = 0 THEN 'running' ELSE 'archived' END, now(),
                'w-' || n % 20, now(), now(), lpad(n::text, 51, '0'), lpad(n::text, 51, '0'), 1
              FROM generate_series(1, 10000) n";
        sqlx::query(fill).execute(&database.pool()).await.unwrap();
        sqlx::query("VACUUM ANALYZE read_sessions.sessions").execute(&database.pool()).await.unwrap();
        let (filter, now) = (SessionFilter::default(), chrono::DateTime::UNIX_EPOCH);
        let mut query = counts_query("EXPLAIN ", &filter, &NamedIds::default(), now);
        let plan: Vec<String> = query.build_query_scalar().fetch_all(&database.pool()).await.unwrap();
        assert!(plan.join("\n").contains("Index Only Scan"), "{}", plan.join("\n"));
        let mut query = counts_query("", &filter, &NamedIds::default(), now);
        let found: Vec<(String, i64)> = query.build_query_as().fetch_all(&database.pool()).await.unwrap();
        assert!(found.contains(&("running".to_owned(), 100)) && found.contains(&("archived".to_owned(), 9_900)));
    }
}
