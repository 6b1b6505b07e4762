//! What an error of the database means: the one place that tells a database that is away from a mistake of ours.

/// What an error of the database means for whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseFailure {
    /// It does not answer, refuses the connection, or has no room at the moment: the same question may work later.
    Unreachable,
    /// It gave up on the question after the time that a statement may take.
    TimedOut,
    /// What it was told to store cannot be stored: an exception of the data, a violated constraint, a limit.
    Data,
    /// A mistake of ours: the question is wrong, or the answer is of a shape that this build does not know.
    Internal,
}

impl DatabaseFailure {
    /// What this error means.
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
                // connection failures, authorisation, no such database; serialisation and deadlock; resources; locks;
                // shutdown and start-up of the server; its disks
                Some("08" | "28" | "3D" | "40" | "53" | "55" | "57" | "58") => Self::Unreachable,
                Some("22" | "23" | "54") => Self::Data,
                _ => Self::Internal,
            },
        }
    }

    /// Whether the same statement may work later.
    pub fn may_pass(self) -> bool {
        match self {
            Self::Unreachable | Self::TimedOut => true,
            Self::Data | Self::Internal => false,
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
