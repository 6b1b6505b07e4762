//! What an error of the database means: the one place that tells a database that is away from a mistake of ours.

/// What an error of the database means for whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseFailure {
    /// It does not answer, refuses the connection, or has no room at the moment: the same question may work later.
    Away,
    /// It gave up on the question after the time that a statement may take.
    TookTooLong,
    /// What it was told to store cannot be stored: an exception of the data, a violated constraint, a limit.
    Data,
    /// A mistake of ours: the question is wrong, or the answer is of a shape that this build does not know.
    Ours,
}

impl DatabaseFailure {
    /// What this error means.
    pub fn from_error(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Away,
            sqlx::Error::Encode(_) => Self::Data,
            sqlx::Error::Database(error) => error.code().map_or(Self::Ours, |code| Self::from_code(&code)),
            _ => Self::Ours,
        }
    }

    fn from_code(code: &str) -> Self {
        match code {
            "57014" => Self::TookTooLong,
            // A primary that became a replica.
            "25006" => Self::Away,
            _ => match code.get(..2) {
                // connection failures, authorisation, no such database; serialisation and deadlock; resources; locks;
                // shutdown and start-up of the server; its disks
                Some("08" | "28" | "3D" | "40" | "53" | "55" | "57" | "58") => Self::Away,
                Some("22" | "23" | "54") => Self::Data,
                _ => Self::Ours,
            },
        }
    }

    /// Whether the same statement may work later.
    pub fn may_pass(self) -> bool {
        match self {
            Self::Away | Self::TookTooLong => true,
            Self::Data | Self::Ours => false,
        }
    }
}

/// Whether a lock was not to be had in the time that was given for it.
pub fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55P03")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_decoded_is_no_database_that_is_away() {
        let decode = || sqlx::Error::ColumnDecode { index: "at".to_owned(), source: "is infinity".into() };
        for ours in [decode(), sqlx::Error::Decode("x".into()), sqlx::Error::ColumnNotFound("x".to_owned())] {
            assert_eq!(DatabaseFailure::from_error(&ours), DatabaseFailure::Ours, "{ours}");
        }
        for away in [sqlx::Error::PoolTimedOut, sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())] {
            assert_eq!(DatabaseFailure::from_error(&away), DatabaseFailure::Away, "{away}");
        }
    }

    #[test]
    fn a_code_of_postgres_says_whose_fault_it_is() {
        for (code, failure) in [
            ("57014", DatabaseFailure::TookTooLong),
            ("57P01", DatabaseFailure::Away),
            ("57P03", DatabaseFailure::Away),
            ("53300", DatabaseFailure::Away),
            ("55P03", DatabaseFailure::Away),
            ("40001", DatabaseFailure::Away),
            ("28P01", DatabaseFailure::Away),
            ("22P02", DatabaseFailure::Data),
            ("23505", DatabaseFailure::Data),
            ("42P01", DatabaseFailure::Ours),
            ("42501", DatabaseFailure::Ours),
            ("XX000", DatabaseFailure::Ours),
            ("", DatabaseFailure::Ours),
        ] {
            assert_eq!(DatabaseFailure::from_code(code), failure, "{code}");
        }
    }
}
