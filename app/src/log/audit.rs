//! What the log holds of each aggregate, condensed so that a copy can be compared with it.

use std::time::Duration;

use uuid::Uuid;

use super::{Log, LogError, Position};

/// The events of one aggregate up to a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateSummary {
    /// E.g. `lablet_session`.
    pub aggregate_type: String,
    /// The aggregate's id.
    pub aggregate_id: String,
    /// Sequence of its last event.
    pub sequence: i64,
    /// How many events.
    pub events: i64,
    /// Exclusive or over [`fingerprint`] of their ids.
    pub fingerprint: i64,
}

/// An event's id in 64 bits: its two halves, one over the other. The statement of [`Log::summaries`] has the same in SQL.
pub fn fingerprint(event_id: Uuid) -> i64 {
    let (high, low) = event_id.as_u64_pair();
    (high ^ low).cast_signed()
}

impl Log {
    /// Up to `limit` aggregates of one type after an id, in the order of their ids, each with its events up to and
    /// including a position. One range of the primary key, so that a log of any size is walked in short statements.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn summaries(
        &self,
        aggregate_type: &str,
        after_id: &str,
        up_to: Position,
        limit: i64,
    ) -> Result<Vec<AggregateSummary>, LogError> {
        let rows = sqlx::query!(
            r#"SELECT aggregate_id, max(sequence) AS "sequence!", count(*) AS "events!",
                    bit_xor(('x' || left(replace(event_id::text, '-', ''), 16))::bit(64)::bigint
                            # ('x' || right(replace(event_id::text, '-', ''), 16))::bit(64)::bigint) AS "fingerprint!"
               FROM events
              WHERE aggregate_type = $1 AND aggregate_id > $2 AND (epoch, written_by, position) <= ($3, $4::text::xid8, $5)
              GROUP BY aggregate_id ORDER BY aggregate_id LIMIT $6"#,
            aggregate_type,
            after_id,
            up_to.epoch,
            up_to.written_by_text(),
            up_to.position,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        let summaries = rows.into_iter().map(|row| AggregateSummary {
            aggregate_type: aggregate_type.to_owned(),
            aggregate_id: row.aggregate_id,
            sequence: row.sequence,
            events: row.events,
            fingerprint: row.fingerprint,
        });
        Ok(summaries.collect())
    }

    /// How many committed events lie after a position, counted up to `most`; those that readers do not see yet, too.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn count_after(&self, after: Position, most: i64) -> Result<i64, LogError> {
        Ok(sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM (SELECT 1 FROM events
              WHERE (epoch, written_by, position) > ($1, $2::text::xid8, $3)
                AND position >= first_position_after($1, $2::text::xid8, $3) LIMIT $4) counted"#,
            after.epoch,
            after.written_by_text(),
            after.position,
            most
        )
        .fetch_one(&self.pool)
        .await?)
    }

    /// How long ago the first event after a position was recorded, one that readers do not see yet, too; `None`: there is
    /// none.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn age_after(&self, after: Position) -> Result<Option<Duration>, LogError> {
        let seconds = sqlx::query_scalar!(
            r#"SELECT extract(epoch FROM clock_timestamp() - recorded_at)::float8 AS "seconds!" FROM events
                WHERE (epoch, written_by, position) > ($1, $2::text::xid8, $3)
                  AND position >= first_position_after($1, $2::text::xid8, $3)
                ORDER BY events.epoch, events.written_by, events.position LIMIT 1"#,
            after.epoch,
            after.written_by_text(),
            after.position
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(seconds.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))))
    }
}
