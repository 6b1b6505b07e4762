//! What a caller is told where the database fails.

use std::time::Duration;

use app::database::DatabaseFailure;

use super::{Problem, ProblemKind};

/// `Retry-After` while the database is unreachable.
const COME_BACK: Duration = Duration::from_secs(2);

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        match DatabaseFailure::from_error(&error) {
            DatabaseFailure::Unreachable => {
                tracing::warn!(error = &error as &dyn std::error::Error, "database unavailable");
                Self::unavailable("The database does not answer at the moment.", COME_BACK)
            }
            DatabaseFailure::TimedOut => {
                tracing::warn!(error = &error as &dyn std::error::Error, "database query cancelled");
                let detail = "The database gave up on this question, which took too long. Ask for less at once.";
                Self::new(ProblemKind::TimedOut, detail).retry_after(COME_BACK)
            }
            DatabaseFailure::Data | DatabaseFailure::Internal => {
                Self::internal("an answer of the database is not understood", &error)
            }
        }
    }
}
