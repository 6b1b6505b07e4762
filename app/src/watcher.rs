//! The watcher of the log's readers: ends a stranger's transaction that delays them for too long, holds analysts to
//! their limits, and says what it did.
//!
//! A transaction that has an id, of anybody and in any database of the cluster, keeps every event that is committed after
//! it from all readers of the log until it ends. Limits of a role do not bound it, as a session may lift its own.
//!
//! One watcher of a deployment works at a time, by a lease in Postgres.

mod analysts;
mod session;

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics::{Unit, counter, describe_counter};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, PgExecutor};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::analysts::{Deviation, confine_analysts, keep_analyst_password, problem_lines};
pub use self::session::WatchedSession;
use self::session::{REPORT_AFTER, SessionAction};
use crate::database::StoredTime;
use crate::log::{Log, Visibility};
use bus::Backoff;

/// Timeout of one pass over the sessions.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of gathering statistics of the log, which reads a sample of it.
const ANALYZE_TIMEOUT: Duration = Duration::from_secs(300);
/// For this long, a role whose session was ended is allowed a shorter delay.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Ended sessions kept in the table for operators.
const MOST_KEPT: i64 = 1_000;

/// Settings of a watcher.
#[derive(Debug, Clone)]
pub struct WatcherOptions {
    /// How long a stranger's transaction may delay the log's readers; `None`: it is reported and never ended.
    pub longest_delay: Option<Duration>,
    /// Sessions are looked at this often.
    pub look_every: Duration,
    /// Analysts' rights and limits are looked at this often.
    pub confine_every: Duration,
    /// A watcher loses its lease after this time without renewal.
    pub lease: Duration,
}

impl Default for WatcherOptions {
    fn default() -> Self {
        Self {
            longest_delay: Some(Duration::from_secs(30)),
            look_every: Duration::from_secs(2),
            confine_every: Duration::from_secs(15),
            lease: Duration::from_secs(15),
        }
    }
}

/// State of the watcher and the sessions it ended.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct WatcherState {
    /// When a watcher looked last; null: none ever did.
    pub looked_at: Option<DateTime<Utc>>,
    /// Whether a watcher holds the lease.
    pub watching: bool,
    /// How many sessions it has ended so far.
    pub ended_sessions: i64,
    /// The session that was ended last; null: none was.
    pub last_ended: Option<EndedSession>,
    /// What the watcher cannot end or restore, and which right it lacks.
    pub problems: Vec<String>,
}

/// A session that was ended.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct EndedSession {
    /// When.
    pub ended_at: DateTime<Utc>,
    /// Its process.
    pub pid: i32,
    /// Who was signed in.
    pub role_name: String,
    /// In which database.
    pub database_name: String,
    /// What the client called itself.
    pub application_name: String,
    /// Seconds for which it had delayed readers, or had exceeded its limit.
    pub seconds: f64,
    /// Why it was ended.
    pub reason: String,
}

/// Reads the state of the watcher, and sets the metric of ended sessions.
///
/// # Errors
/// sqlx's error.
pub async fn state(log: &Log) -> sqlx::Result<WatcherState> {
    // One statement: the number and the last of them are counted up together.
    let row = sqlx::query!(
        r#"SELECT looked_at AS "looked_at: StoredTime", coalesce(leased_until > clock_timestamp(), false) AS "watching!",
                  ended, problems, ended_at AS "ended_at?: StoredTime", pid AS "pid?", role_name AS "role_name?",
                  database_name AS "database_name?", application_name AS "application_name?", seconds AS "seconds?",
                  reason AS "reason?"
             FROM log_watcher
             LEFT JOIN (SELECT * FROM ended_sessions ORDER BY id DESC LIMIT 1) last_ended ON true"#
    )
    .fetch_one(log.pool())
    .await?;
    counter!("lablet_log_ended_sessions_total").absolute(row.ended.unsigned_abs());
    let last_ended = (|| {
        Some(EndedSession {
            ended_at: row.ended_at?.into(),
            pid: row.pid?,
            role_name: row.role_name?,
            database_name: row.database_name?,
            application_name: row.application_name?,
            seconds: row.seconds?,
            reason: row.reason?,
        })
    })();
    Ok(WatcherState {
        looked_at: row.looked_at.map(DateTime::from),
        watching: row.watching,
        ended_sessions: row.ended,
        last_ended,
        problems: row.problems,
    })
}

/// Sessions of the cluster that have a transaction id, the oldest transaction first: the readers of the log wait for
/// these.
///
/// # Errors
/// sqlx's error.
pub async fn transactions_with_id(database: impl PgExecutor<'_>) -> sqlx::Result<Vec<WatchedSession>> {
    let mut sessions = WatchedSession::all(database).await?;
    sessions.retain(|session| session.transaction_id.is_some());
    sessions.sort_by(|a, b| {
        b.transaction_seconds.unwrap_or_default().total_cmp(&a.transaction_seconds.unwrap_or_default())
    });
    Ok(sessions)
}

/// Key of a session and its transaction: pid, start of the backend, transaction id.
type Holding = (Option<i32>, Option<String>, Option<String>);

fn holding(session: &WatchedSession) -> Holding {
    (session.pid, session.backend_start.clone(), session.transaction_id.clone())
}

/// Ends what delays the log's readers, and confines analysts.
pub struct Watcher {
    log: Log,
    options: WatcherOptions,
    holder: String,
    /// Not of the pool: readers that wait would otherwise keep the watcher from ending what they wait for.
    connection: Option<PgConnection>,
    /// When each transaction was first found with an id, and when it was last reported. The transaction's own age does not
    /// count: it delays nobody before it has an id.
    seen: HashMap<Holding, Hold>,
    /// By role: sessions ended within [`REMEMBERED`], and when the last one was.
    offences: HashMap<String, (u32, Instant)>,
    confine_at: Instant,
    /// Gathers statistics of the log; its own task, as that may take longer than a pass.
    analyzing: Option<JoinHandle<()>>,
    problems: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Hold {
    since: Instant,
    reported_at: Option<Instant>,
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watcher").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Watcher {
    /// A watcher of this log's readers.
    pub fn new(log: Log, options: WatcherOptions) -> Self {
        describe_counter!("lablet_log_ended_sessions_total", Unit::Count, "Sessions that the watcher ended");
        let holder = format!("{}-{}", std::process::id(), log.id_generator().uuid());
        Self {
            log,
            options,
            holder,
            connection: None,
            seen: HashMap::new(),
            offences: HashMap::new(),
            confine_at: Instant::now(),
            analyzing: None,
            problems: Vec::new(),
        }
    }

    /// Runs until `stop` is cancelled. A failed pass is logged and retried with back-off.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(self.options.look_every, Duration::from_secs(30));
        loop {
            let looked = stop.run_until_cancelled(tokio::time::timeout(LOOK_TIMEOUT, self.look()));
            let wait = match looked.await {
                None => break,
                Some(Ok(Ok(()))) => {
                    backoff.reset();
                    self.options.look_every
                }
                Some(Ok(Err(error))) => {
                    tracing::warn!(error = &error as &dyn Error, "watching the log's readers failed, retrying");
                    self.connection = None;
                    backoff.next_wait()
                }
                Some(Err(_)) => {
                    tracing::warn!("watching the log's readers took too long, retrying");
                    self.connection = None;
                    backoff.next_wait()
                }
            };
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                break;
            }
        }
        if let Err(error) = self.release().await {
            tracing::debug!(error = &error as &dyn Error, "the watcher's lease was not given back; it runs out");
        }
    }

    async fn release(&mut self) -> sqlx::Result<()> {
        sqlx::query!("UPDATE log_watcher SET holder = NULL, leased_until = NULL WHERE holder = $1", self.holder)
            .execute(self.log.pool())
            .await?;
        Ok(())
    }

    /// One pass over sessions and analysts' rights, by the watcher that holds the lease.
    async fn look(&mut self) -> sqlx::Result<()> {
        let mut connection = match self.connection.take() {
            Some(open) => open,
            None => connect(self.log.pool().connect_options().as_ref()).await?,
        };
        if self.leads(&mut connection).await? {
            let visibility = Visibility::seen_by(&mut connection).await?;
            let sessions = WatchedSession::all(&mut connection).await?;
            let mut problems = self.look_at_sessions(&mut connection, &sessions, visibility).await?;
            if Instant::now() >= self.confine_at {
                self.problems = look_at_analysts(&mut connection).await?;
                self.analyze_log();
                self.confine_at = Instant::now() + self.options.confine_every;
            }
            problems.extend(self.problems.iter().cloned());
            keep_problems(&mut connection, &problems).await?;
        } else {
            self.seen.clear();
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Has Postgres gather statistics of the whole log where that is due, which its autovacuum does of partitions only.
    fn analyze_log(&mut self) {
        if self.analyzing.as_ref().is_none_or(JoinHandle::is_finished) {
            let pool = self.log.pool().clone();
            self.analyzing = Some(tokio::spawn(async move {
                let analyzed = sqlx::query_scalar!(r#"SELECT analyze_log() AS "analyzed!""#).fetch_one(&pool);
                match tokio::time::timeout(ANALYZE_TIMEOUT, analyzed).await {
                    Ok(Ok(true)) => tracing::info!("statistics of the log gathered"),
                    Ok(Ok(false)) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(error = &error as &dyn Error, "statistics of the log not gathered, retrying");
                    }
                    Err(_) => tracing::warn!("statistics of the log took too long, retrying"),
                }
            }));
        }
    }

    /// Takes or keeps the lease.
    async fn leads(&self, connection: &mut PgConnection) -> sqlx::Result<bool> {
        let lease = sqlx::query!(
            "UPDATE log_watcher
                SET holder = $1, looked_at = clock_timestamp(),
                    leased_until = clock_timestamp() + make_interval(secs => $2)
              WHERE holder = $1 OR leased_until IS NULL OR leased_until < clock_timestamp()",
            self.holder,
            self.options.lease.as_secs_f64()
        );
        Ok(lease.execute(connection).await?.rows_affected() > 0)
    }

    /// Ends sessions that delay readers for too long; returns the problems that are left.
    async fn look_at_sessions(
        &mut self,
        connection: &mut PgConnection,
        sessions: &[WatchedSession],
        visibility: Visibility,
    ) -> sqlx::Result<Vec<String>> {
        let now = Instant::now();
        let mut problems = Vec::new();
        let mut seen = HashMap::with_capacity(sessions.len());
        for session in sessions {
            let key = holding(session);
            let mut of_session = self.seen.get(&key).copied().unwrap_or(Hold { since: now, reported_at: None });
            let held = now.duration_since(of_session.since);
            let action = session.action(held, visibility.lag, self.allowed(session, now));
            let is_news =
                of_session.reported_at.is_none_or(|reported_at| now.duration_since(reported_at) >= 6 * REPORT_AFTER);
            match action {
                SessionAction::Ignore => {}
                SessionAction::Report if is_news => {
                    of_session.reported_at = Some(now);
                    report(session, held, visibility);
                }
                SessionAction::Report => {}
                SessionAction::End => {
                    if let Some(problem) = self.end(connection, session, held, is_news).await? {
                        of_session.reported_at = if is_news { Some(now) } else { of_session.reported_at };
                        problems.push(problem);
                    }
                }
            }
            seen.insert(key, of_session);
        }
        self.seen = seen;
        self.offences.retain(|_, (_, last)| now.duration_since(*last) < REMEMBERED);
        Ok(problems)
    }

    /// How long a session may delay readers: half as long after each session of the same role that was ended lately, but
    /// at least a second.
    fn allowed(&self, session: &WatchedSession, now: Instant) -> Option<Duration> {
        let longest = self.options.longest_delay?;
        let offences = self.offences.get(&session.role_name);
        let lately = offences.filter(|(_, last)| now.duration_since(*last) < REMEMBERED);
        let halvings = lately.map_or(0, |(count, _)| (*count).min(16));
        Some((longest / 2_u32.pow(halvings)).max(longest.min(Duration::from_secs(1))))
    }

    /// Ends a session; returns the problem if it could not.
    async fn end(
        &mut self,
        connection: &mut PgConnection,
        session: &WatchedSession,
        held: Duration,
        is_news: bool,
    ) -> sqlx::Result<Option<String>> {
        let (seconds, reason) = match &session.beyond_limit {
            Some(limit) => (session.beyond_seconds.unwrap_or_default(), format!("outlived the analysts' {limit}")),
            None => (held.as_secs_f64(), "delayed the readers of the log".to_owned()),
        };
        let ended = sqlx::query_scalar!(
            r#"SELECT end_session($1, $2::text::timestamptz, $3) AS "ended!""#,
            session.pid,
            session.backend_start,
            session.transaction_id
        )
        .fetch_one(&mut *connection)
        .await;
        match ended {
            Ok(true) => {}
            // It has just ended by itself.
            Ok(false) => return Ok(None),
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42501") => {
                let problem = format!(
                    "the session of role {:?} (pid {}) cannot be ended: the owner of the log needs the role \
                     pg_signal_backend, or to be a superuser where the session is one's",
                    session.role_name,
                    session.pid.unwrap_or_default()
                );
                if is_news {
                    tracing::error!(
                        pid = session.pid,
                        user = ?session.role_name,
                        database = ?session.database_name,
                        application = ?session.application_name,
                        seconds,
                        reason,
                        "a session cannot be ended: the owner of the log lacks the role pg_signal_backend, or a superuser's rights"
                    );
                }
                return Ok(Some(problem));
            }
            Err(error) => return Err(error),
        }
        tracing::warn!(
            pid = session.pid,
            user = ?session.role_name,
            database = ?session.database_name,
            application = ?session.application_name,
            seconds,
            reason,
            "session ended by the watcher"
        );
        let offences = self.offences.entry(session.role_name.clone()).or_insert((0, Instant::now()));
        *offences = (offences.0.saturating_add(1), Instant::now());
        let total = sqlx::query_scalar!(
            "WITH recorded AS (
                 INSERT INTO ended_sessions (pid, role_name, database_name, application_name, seconds, reason)
                 VALUES ($1, $2, $3, $4, $5, $6)
             ), aged AS (
                 DELETE FROM ended_sessions WHERE id <= (SELECT max(id) FROM ended_sessions) - $7
             )
             UPDATE log_watcher SET ended = ended + 1 RETURNING ended",
            session.pid,
            session.role_name,
            session.database_name,
            session.application_name,
            seconds,
            reason,
            MOST_KEPT
        )
        .fetch_one(connection)
        .await?;
        counter!("lablet_log_ended_sessions_total").absolute(total.unsigned_abs());
        Ok(None)
    }
}

/// A connection with short statement and lock timeouts.
async fn connect(options: &PgConnectOptions) -> sqlx::Result<PgConnection> {
    let mut connection = options.connect().await?;
    sqlx::raw_sql("SET statement_timeout = '8s'; SET lock_timeout = '2s'").execute(&mut connection).await?;
    Ok(connection)
}

fn report(session: &WatchedSession, held: Duration, visibility: Visibility) {
    tracing::warn!(
        pid = session.pid,
        user = ?session.role_name,
        database = ?session.database_name,
        application = ?session.application_name,
        kind = session.kind,
        own = session.is_own,
        seconds = held.as_secs_f64(),
        visibility_lag_seconds = visibility.lag_seconds(),
        held_back_events = visibility.held_back_events,
        beyond_limit = session.beyond_limit,
        "a transaction delays the readers of the log"
    );
}

/// Restores the limits of analysts; returns the problems that are left.
async fn look_at_analysts(connection: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    let deviations = confine_analysts(&mut *connection, true).await?;
    for mended in deviations.iter().filter(|deviation| deviation.problem.is_none()) {
        tracing::warn!(subject = ?mended.subject, deviation = ?mended.deviation, "the limits of analysts were restored");
    }
    Ok(problem_lines(&deviations))
}

/// Stores the problems for operators, and logs the new ones.
async fn keep_problems(connection: &mut PgConnection, problems: &[String]) -> sqlx::Result<()> {
    let before = sqlx::query_scalar!(
        "UPDATE log_watcher SET problems = $1 FROM log_watcher before
          WHERE log_watcher.problems <> $1 AND before.only_row = log_watcher.only_row
      RETURNING before.problems",
        problems
    )
    .fetch_optional(connection)
    .await?;
    for problem in before.iter().flat_map(|before| problems.iter().filter(|problem| !before.contains(problem))) {
        tracing::warn!(problem = ?problem, "analysts are not confined as they should be");
    }
    Ok(())
}
