//! Feeds the window of decoded events from the stream of records, so that read models that are up to date cost the log no
//! reading at all.
//!
//! What follows the window's end without a hole is added to it. Behind a hole the read models read the log, which they
//! share, until what comes by the stream follows again. While there is no stream, and where nothing comes by it, they read
//! the log as ever.

use std::error::Error;
use std::time::Duration;

use app::log::Position;
use app::records::{RecordFeed, RecordFeedError, SLACK};
use bus::{Backoff, Bus};
use chrono::{DateTime, TimeDelta, Utc};
use metrics::counter;
use sqlx::AssertSqlSafe;
use tokio::sync::watch;

use crate::read_models::ReadModel;
use crate::{Projections, parse_position};

impl Projections {
    /// Follows the stream of records for as long as it is polled; `is_fed` says whether it is there, and what comes by it
    /// follows the window's end.
    pub(super) async fn follow_records(&self, bus: &Bus, models: &[ReadModel], is_fed: &watch::Sender<bool>) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        let mut is_reported = false;
        loop {
            let ended = match self.open_records(bus, models).await {
                Ok(mut records) => {
                    tracing::info!("read models follow the stream of records");
                    is_reported = false;
                    is_fed.send_replace(true);
                    let ended = self.add_records(&mut records, &mut backoff, is_fed).await;
                    is_fed.send_replace(false);
                    ended
                }
                Err(error) => error,
            };
            // Without a stream this repeats, and the read models go on all the same: once is enough.
            if !is_reported {
                is_reported = true;
                tracing::warn!(
                    error = &ended as &dyn Error,
                    "stream of records not followed, read models follow the log"
                );
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    async fn open_records(&self, bus: &Bus, models: &[ReadModel]) -> Result<RecordFeed, RecordFeedError> {
        let mut newest: Option<(Position, DateTime<Utc>)> = None;
        for model in models {
            let statement = format!("SELECT position, moved_at FROM {}.checkpoint", model.schema());
            let checkpoint: (String, DateTime<Utc>) = sqlx::query_as(AssertSqlSafe(statement))
                .fetch_one(&self.pool)
                .await
                .map_err(|error| RecordFeedError::Unavailable(Box::new(error)))?;
            let position =
                parse_position(&checkpoint.0).map_err(|error| RecordFeedError::Unavailable(Box::new(error)))?;
            newest = newest.max(Some((position, checkpoint.1)));
        }
        let (position, moved_at) = newest.unwrap_or((Position::START, self.log.clock().now()));
        self.feed.begin(position);
        let slack = TimeDelta::from_std(SLACK).unwrap_or_default();
        RecordFeed::open(bus, moved_at - slack).await
    }

    async fn add_records(
        &self,
        records: &mut RecordFeed,
        backoff: &mut Backoff,
        is_fed: &watch::Sender<bool>,
    ) -> RecordFeedError {
        loop {
            let batch = match records.next().await {
                Ok(batch) => batch,
                Err(error) => return error,
            };
            backoff.reset();
            let follows = self.feed.push_records(batch);
            if !follows {
                counter!("lablet_projection_record_holes_total").increment(1);
            }
            is_fed.send_if_modified(|is_fed| std::mem::replace(is_fed, follows) != follows);
        }
    }
}
