//! The signal to open streams, in every gateway, that a session or a token has ended.
//!
//! A number in the database rises with each end. Every gateway with an open stream looks at it each second, and its
//! streams then look again at whether they may go on.

use std::time::Duration;

use sqlx::postgres::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{SignInError, answer};

/// How often a gateway looks whether another one ended something.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Signals the ends of sessions and tokens.
#[derive(Debug, Clone)]
pub(crate) struct EndSignal {
    pool: PgPool,
    known: watch::Sender<i64>,
}

/// Something has ended, and is no longer in the database: whoever goes by it looks again.
///
/// # Errors
/// [`SignInError::Unavailable`].
pub(super) async fn send(pool: &PgPool) -> Result<i64, SignInError> {
    answer(sqlx::query_scalar!(r#"SELECT nextval('sign_in_ends') AS "number!""#).fetch_one(pool)).await
}

impl EndSignal {
    /// The signal that goes through this database.
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool, known: watch::Sender::new(0) }
    }

    /// Signals to everybody that something has ended.
    ///
    /// # Errors
    /// [`SignInError::Unavailable`].
    pub(super) async fn send(&self) -> Result<(), SignInError> {
        self.known.send_replace(send(&self.pool).await?);
        Ok(())
    }

    /// Every signal from now on.
    pub(crate) fn listen(&self) -> watch::Receiver<i64> {
        self.known.subscribe()
    }

    /// Looks for what other gateways ended, until it is told to stop.
    pub(crate) async fn watch(&self, stop: CancellationToken) {
        let watching = async {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                if self.known.receiver_count() == 0 {
                    continue;
                }
                // Before the first end, the last value is already that of the first one.
                let looked = sqlx::query_scalar!(
                    r#"SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS "number!" FROM sign_in_ends"#
                );
                let looked = looked.fetch_one(&self.pool);
                match answer(looked).await {
                    Ok(newest) => {
                        self.known.send_if_modified(|known| std::mem::replace(known, newest) != newest);
                    }
                    // Streams look by themselves from time to time, too.
                    Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "session ends not read"),
                }
            }
        };
        if stop.run_until_cancelled(watching).await.is_none() {
            tracing::debug!("session ends watch stopped");
        }
    }
}
