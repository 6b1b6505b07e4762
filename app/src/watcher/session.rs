//! A session of the cluster that delays readers or exceeds a limit, and the action on it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use sqlx::PgExecutor;

/// A session of Postgres that has a transaction id, so that no reader of the log passes it, or an analyst's that has
/// outlived one of its limits. The text of its query is no part of it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct WatchedSession {
    /// Its process; null for a prepared transaction, which has none.
    pub pid: Option<i32>,
    /// When it began, as Postgres writes it; with the process, it names the session. Null: a prepared transaction, or
    /// the owner of the log may not see it.
    #[serde(skip)]
    pub backend_start: Option<String>,
    /// The id of its transaction; null: it has none and holds up nobody.
    pub transaction_id: Option<String>,
    /// Who is signed in.
    pub role_name: String,
    /// In which database of the cluster.
    pub database_name: String,
    /// What the client calls itself; of a prepared transaction its name.
    pub application_name: String,
    /// Postgres' `backend_type`, or `prepared transaction`.
    pub kind: String,
    /// Whether it belongs to Lablet.
    pub is_own: bool,
    /// Age of its transaction in seconds; null: unknown, or it has none.
    pub transaction_seconds: Option<f64>,
    /// The limit of analysts that it has outlived; null: none.
    pub beyond_limit: Option<String>,
    /// For how long it has been doing what that limit is about, in seconds.
    pub beyond_seconds: Option<f64>,
}

/// Action on a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionAction {
    /// It delays nobody.
    Ignore,
    /// Warn: it delays readers, but may not or need not be ended.
    Report,
    /// End it.
    End,
}

impl WatchedSession {
    /// Reads all sessions to watch.
    ///
    /// # Errors
    /// sqlx's error.
    pub(super) async fn all(database: impl PgExecutor<'_>) -> sqlx::Result<Vec<Self>> {
        sqlx::query_as!(
            Self,
            r#"SELECT pid, backend_start::text AS backend_start, transaction_id, role_name AS "role_name!",
                      database_name AS "database_name!", application_name AS "application_name!", kind AS "kind!",
                      is_own AS "is_own!", transaction_seconds, beyond_limit, beyond_seconds
                 FROM sessions_to_watch()"#
        )
        .fetch_all(database)
        .await
    }

    /// What to do with it, having watched it hold its transaction id for `held`, while the log's readers are behind by
    /// `lag`. `longest` is how long a stranger may delay them; `None`: for ever, but it is reported.
    pub(super) fn action(&self, held: Duration, lag: Option<Duration>, longest: Option<Duration>) -> SessionAction {
        let may_be_ended = self.kind == "client backend" && !self.is_own && longest.is_some();
        let delays =
            |than: Duration| self.transaction_id.is_some() && held >= than && lag.is_some_and(|lag| lag >= than);
        if self.beyond_limit.is_some() || delays(longest.unwrap_or(REPORT_AFTER)) {
            return if may_be_ended { SessionAction::End } else { SessionAction::Report };
        }
        if delays(REPORT_AFTER) { SessionAction::Report } else { SessionAction::Ignore }
    }
}

/// Delay of the log's readers from which a session is reported.
pub(super) const REPORT_AFTER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn session() -> WatchedSession {
        WatchedSession {
            pid: Some(7),
            backend_start: Some("2026-11-27 00:00:00+00".to_owned()),
            transaction_id: Some("900".to_owned()),
            role_name: "lablet_analyst".to_owned(),
            database_name: "lablet".to_owned(),
            application_name: "psql".to_owned(),
            kind: "client backend".to_owned(),
            is_own: false,
            transaction_seconds: Some(60.0),
            beyond_limit: None,
            beyond_seconds: None,
        }
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_stranger_that_delays_readers_for_too_long_is_ended() {
        let action = |held, lag| session().action(seconds(held), lag, Some(seconds(30)));
        assert_eq!(action(31, Some(seconds(31))), SessionAction::End);
        assert_eq!(action(31, None), SessionAction::Ignore, "nothing was written, so nobody waits");
        assert_eq!(action(5, Some(seconds(60))), SessionAction::Ignore, "somebody else causes the delay");
        assert_eq!(action(12, Some(seconds(12))), SessionAction::Report, "it is reported before it is ended");
    }

    #[test]
    fn what_is_ours_or_no_client_is_reported_and_never_ended() {
        let of_kind = |kind: &str| WatchedSession { kind: kind.to_owned(), ..session() };
        let own = WatchedSession { is_own: true, ..session() };
        for spared in [own, of_kind("prepared transaction"), of_kind("autovacuum worker"), of_kind("walsender")] {
            assert_eq!(
                spared.action(seconds(90), Some(seconds(90)), Some(seconds(30))),
                SessionAction::Report,
                "{spared:?}"
            );
        }
        assert_eq!(
            session().action(seconds(90), Some(seconds(90)), None),
            SessionAction::Report,
            "nobody is to be ended"
        );
    }

    #[test]
    fn an_analyst_who_lifted_a_limit_is_held_to_it() {
        let reader = WatchedSession {
            transaction_id: None,
            beyond_limit: Some("statement_timeout".to_owned()),
            beyond_seconds: Some(400.0),
            ..session()
        };
        assert_eq!(reader.action(Duration::ZERO, None, Some(seconds(30))), SessionAction::End);
    }

    proptest! {
        #[test]
        fn who_has_no_transaction_id_and_keeps_the_limits_is_left_alone(held in 0_u64..9_999, lag in 0_u64..9_999) {
            let reader = WatchedSession { transaction_id: None, ..session() };
            let action = reader.action(seconds(held), Some(seconds(lag)), Some(seconds(30)));
            prop_assert_eq!(action, SessionAction::Ignore);
        }
    }
}
