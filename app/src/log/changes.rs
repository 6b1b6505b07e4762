//! What somebody changed, newest first: the few kinds of events by which people and services change what Lablet works with,
//! among the millions by which sessions live.

use chrono::{DateTime, Utc};

use super::page::{self, EventPage, page_statement};
use super::{Log, LogError, Position, in_time};

/// The types of these events, as the index over them has them (migration `0035_withdrawn_acknowledgements.sql`).
macro_rules! change_types {
    () => {
        "('lablet_definition.created', 'lablet_definition.revised', 'lablet_definition.policy_set', \
          'lablet_definition.proposal_claimed', 'lablet_definition.proposal_applied', \
          'lablet_definition.proposal_failed', 'lablet_definition.proposal_dismissed', 'advice_policy.set', \
          'worker.registered', 'worker.changed', 'lablet_session.evidence_excluded', \
          'lablet_session.evidence_included', 'lablet_session.port_drift_acknowledged', \
          'lablet_session.port_drift_acknowledgement_withdrawn', 'lablet_session.allocation_corrected')"
    };
}

/// Restrictions of what is asked for; a parameter that is null does not restrict.
macro_rules! asked {
    () => {
        concat!(
            "event_type IN ",
            change_types!(),
            " AND (epoch, written_by, position) < ($1, $2::text::xid8, $3)
              AND ($5::text IS NULL OR metadata ->> 'actor' = $5) AND ($6::text IS NULL OR aggregate_type = $6)
              AND ($7::text IS NULL OR aggregate_id = $7) AND ($8::timestamptz IS NULL OR recorded_at >= $8)
              AND ($9::timestamptz IS NULL OR recorded_at < $9)"
        )
    };
}

const CHANGES: &str = page_statement!(asked!(), " DESC", "epoch", "written_by", "position");

/// After every event.
const END: Position = Position { epoch: i32::MAX, written_by: u64::MAX, position: i64::MAX };

/// Which changes are asked for; what is absent does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeFilter {
    /// By whom, e.g. `admin:ada`.
    pub actor: Option<String>,
    /// Of this kind of aggregate, e.g. `lablet_definition`.
    pub aggregate_type: Option<String>,
    /// Of the one with this id.
    pub aggregate_id: Option<String>,
    /// Recorded then or later.
    pub from: Option<DateTime<Utc>>,
    /// Recorded before.
    pub before: Option<DateTime<Utc>>,
}

impl Log {
    /// Up to `limit` changes before a position, the newest first; fewer where they are large, as [`Log::read`].
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn changes(
        &self,
        filter: &ChangeFilter,
        before: Option<Position>,
        limit: i64,
    ) -> Result<EventPage, LogError> {
        let before = before.unwrap_or(END);
        let query = sqlx::query(CHANGES)
            .bind(before.epoch)
            .bind(before.written_by_text())
            .bind(before.position)
            .bind(limit)
            .bind(&filter.actor)
            .bind(&filter.aggregate_type)
            .bind(&filter.aggregate_id)
            .bind(filter.from)
            .bind(filter.before);
        Ok(in_time(page::fetch(query, &self.pool, limit)).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_are_a_range_of_their_own_index() {
        let database = servers::testing::database(&crate::log::MIGRATOR).await;
        let explain = format!("EXPLAIN {CHANGES}");
        let plan: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(explain))
            .bind(i32::MAX)
            .bind(u64::MAX.to_string())
            .bind(i64::MAX)
            .bind(50_i64)
            .bind(None::<String>)
            .bind(None::<String>)
            .bind(None::<String>)
            .bind(None::<DateTime<Utc>>)
            .bind(None::<DateTime<Utc>>)
            .fetch_all(&database.pool())
            .await
            .unwrap();
        assert!(plan.join("\n").contains("events_changes"), "{}", plan.join("\n"));
    }
}
