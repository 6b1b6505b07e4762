//! The numbers of everything at once.

use app::database::StoredTime;
use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::freshness::Freshness;
use crate::read_models::sessions::SessionCount;
use crate::{Projections, ReadError, UnreadableRow};

/// How long a request that failed is counted.
const FAILED_WITHIN: TimeDelta = TimeDelta::hours(24);

/// The numbers of everything at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Overview {
    /// How many sessions are in each state, in the order of a life; states in which none is are left out.
    pub sessions: Vec<SessionCount>,
    /// How requests for observations stand.
    pub requests: RequestCounts,
    /// How far each read model has come.
    pub read_models: Vec<Freshness>,
    /// By which clock requests that failed are recent.
    pub at: DateTime<Utc>,
    /// States of sessions and read models that cannot be read: they are missing above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<UnreadableRow>,
}

/// How requests for observations stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestCounts {
    /// Those without an outcome.
    pub open: u64,
    /// When the oldest of them was made; null: none is open whose time can be read.
    pub oldest_open_at: Option<DateTime<Utc>>,
    /// Those that failed within the last 24 hours.
    pub failed_last_24_hours: u64,
}

impl Projections {
    /// The numbers of everything at once.
    ///
    /// # Errors
    /// The database or the log does not answer.
    pub async fn overview(&self) -> Result<Overview, ReadError> {
        let at = self.log.clock().now();
        let sessions = self.session_counts().await?;
        let read_models = self.freshness().await?;
        Ok(Overview {
            sessions: sessions.items,
            requests: self.request_counts(at - FAILED_WITHIN).await?,
            read_models: read_models.items,
            at,
            unreadable: sessions.unreadable.into_iter().chain(read_models.unreadable).collect(),
        })
    }

    /// How requests for observations stand; those that failed count from a time on.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn request_counts(&self, failed_since: DateTime<Utc>) -> Result<RequestCounts, ReadError> {
        let counts = sqlx::query!(
            r#"SELECT (SELECT count(*) FROM read_observation_requests.observation_requests WHERE outcome = 'open')
                          AS "open!",
                      (SELECT min(requested_at) FROM read_observation_requests.observation_requests
                        WHERE outcome = 'open' AND requested_at BETWEEN '0001-01-01Z' AND '9999-12-31Z')
                          AS "oldest_open_at: StoredTime",
                      (SELECT count(*) FROM read_observation_requests.observation_requests
                        WHERE outcome = 'failed' AND finished_at >= $1) AS "failed!""#,
            failed_since
        )
        .fetch_one(&self.reads)
        .await?;
        Ok(RequestCounts {
            open: counts.open.unsigned_abs(),
            oldest_open_at: counts.oldest_open_at.map(DateTime::from),
            failed_last_24_hours: counts.failed.unsigned_abs(),
        })
    }
}
