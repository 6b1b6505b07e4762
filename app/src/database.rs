//! What everybody needs who uses the database: classes of its errors, a connection of one's own, times that may be none.

mod dedicated_connection;
mod stored_time;

pub use self::dedicated_connection::{ConnectionGuard, DedicatedConnection};
pub use self::stored_time::StoredTime;

/// Class of a database error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseFailure {
    /// The database does not answer, refuses the connection, or lacks resources at the moment: a retry may succeed.
    Unreachable,
    /// The statement exceeded its timeout.
    TimedOut,
    /// The data cannot be stored: a data exception, a violated constraint, a limit.
    Data,
    /// A bug: the statement is wrong, or the answer has a shape that this build does not know.
    Internal,
}

impl DatabaseFailure {
    /// Classifies an error.
    pub fn from_error(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unreachable,
            sqlx::Error::Encode(_) => Self::Data,
            sqlx::Error::Database(error) => error.code().map_or(Self::Internal, |code| Self::from_code(&code)),
            _ => Self::Internal,
        }
    }

    fn from_code(code: &str) -> Self {
        match code {
            "57014" => Self::TimedOut,
            // A primary that became a replica.
            "25006" => Self::Unreachable,
            _ => match code.get(..2) {
                // Connection failures, authorisation, no such database; serialisation and deadlock; resources; locks;
                // shutdown and start-up of the server; I/O errors.
                Some("08" | "28" | "3D" | "40" | "53" | "55" | "57" | "58") => Self::Unreachable,
                Some("22" | "23" | "54") => Self::Data,
                _ => Self::Internal,
            },
        }
    }

    /// Whether the same statement may work later.
    pub(crate) fn may_pass(self) -> bool {
        match self {
            Self::Unreachable | Self::TimedOut => true,
            Self::Data | Self::Internal => false,
        }
    }
}

/// Whether a lock timeout expired.
pub fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55P03")
}

/// Whether a connection was refused because the log was restored, and no new epoch has begun.
pub(crate) fn is_restored_log(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_decoded_is_no_database_that_is_away() {
        let decode = || sqlx::Error::ColumnDecode { index: "at".to_owned(), source: "is infinity".into() };
        for internal in [decode(), sqlx::Error::Decode("x".into()), sqlx::Error::ColumnNotFound("x".to_owned())] {
            assert_eq!(DatabaseFailure::from_error(&internal), DatabaseFailure::Internal, "{internal}");
        }
        for unreachable in [sqlx::Error::PoolTimedOut, sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())] {
            assert_eq!(DatabaseFailure::from_error(&unreachable), DatabaseFailure::Unreachable, "{unreachable}");
        }
    }

    #[test]
    fn a_code_of_postgres_says_whose_fault_it_is() {
        for (code, failure) in [
            ("57014", DatabaseFailure::TimedOut),
            ("57P01", DatabaseFailure::Unreachable),
            ("57P03", DatabaseFailure::Unreachable),
            ("53300", DatabaseFailure::Unreachable),
            ("55P03", DatabaseFailure::Unreachable),
            ("40001", DatabaseFailure::Unreachable),
            ("28P01", DatabaseFailure::Unreachable),
            ("22P02", DatabaseFailure::Data),
            ("23505", DatabaseFailure::Data),
            ("42P01", DatabaseFailure::Internal),
            ("42501", DatabaseFailure::Internal),
            ("XX000", DatabaseFailure::Internal),
            ("", DatabaseFailure::Internal),
        ] {
            assert_eq!(DatabaseFailure::from_code(code), failure, "{code}");
        }
    }
}
