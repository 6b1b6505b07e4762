//! What handlers share.

use std::sync::Arc;
use std::time::Duration;

use app::commands::Commands;
use app::database::DatabaseFailure;
use app::dead_letters::DeadLetters;
use app::log::{Log, LogError, Position};
use app::notice::PublicUrl;
use bus::Bus;
use chrono::SecondsFormat;
use domain::{Decide, Invalid};
use metrics_exporter_prometheus::PrometheusHandle;
use projections::overview::Overview;
use projections::{Behind, Parked, Projections, ReadError, ReadModel};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::GatewayOptions;
use crate::answer_cache::AnswerCache;
use crate::authentication::Authenticator;
use crate::exchange;
use crate::fair_share::FairShare;
use crate::operations::consumers::ConsumerWatch;
use crate::pages::freshness::FreshnessWatch;
use crate::pages::overview::OverviewContent;
use crate::problem::{Problem, ProblemKind};
use crate::request_metrics::RequestMetrics;
use crate::sign_in::SignIn;
use crate::stream::follower::Follower;

/// `Retry-After` while the database is unreachable.
const COME_BACK: Duration = Duration::from_secs(2);

/// The shared part of the gateway, cheap to clone.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Inner>);

/// Its content.
pub(crate) struct Inner {
    pub(crate) options: GatewayOptions,
    pub(crate) authenticator: Authenticator,
    pub(crate) sign_in: SignIn,
    pub(crate) commands: Commands,
    pub(crate) log: Log,
    pub(crate) reads: Projections,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) bus: Bus,
    pub(crate) metrics: PrometheusHandle,
    /// Counts every request.
    pub(crate) request_metrics: RequestMetrics,
    pub(crate) public_url: PublicUrl,
    pub(crate) follower: Follower,
    /// The numbers of everything at once, for the API and for the start page.
    pub(crate) overview: AnswerCache<Overview>,
    /// What the start page shows.
    pub(crate) overview_page: AnswerCache<OverviewContent>,
    /// How far the read models are, for every page.
    pub(crate) freshness: FreshnessWatch,
    /// How far the consumers on the bus are.
    pub(crate) consumers: ConsumerWatch,
    /// Requests that are worked on at once.
    pub(crate) request_permits: FairShare,
    /// Room for large bodies, in KiB.
    pub(crate) body_room: Semaphore,
    /// Requests that wait for a read model at once.
    pub(crate) wait_permits: FairShare,
    /// Open streams.
    pub(crate) stream_permits: FairShare,
    /// Cancelled when the gateway ends: streams end with it.
    pub(crate) stop: CancellationToken,
}

impl Shared {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    pub(crate) fn new_correlation_id(&self) -> String {
        self.log.id_generator().uuid().to_string()
    }

    /// Waits, bounded, until these read models are at a position of the log. The request gives its permit back meanwhile,
    /// and has it again afterwards.
    ///
    /// # Errors
    /// 503 when they are not there in time, 429 when too many requests of this principal wait.
    pub(crate) async fn wait_for(&self, models: &[ReadModel], wanted: Position) -> Result<(), Problem> {
        if self.have_reached(models, wanted).await? {
            return Ok(());
        }
        let wait = self.reads.wait_for(models, wanted, self.options.longest_wait);
        exchange::without_permit(self, async { wait.await.map_err(Problem::from) }).await
    }

    /// Whether these read models are at a position already.
    pub(crate) async fn have_reached(&self, models: &[ReadModel], wanted: Position) -> Result<bool, Problem> {
        match self.reads.wait_for(models, wanted, Duration::ZERO).await {
            Ok(()) => Ok(true),
            Err(Behind::Late { .. }) => Ok(false),
            Err(error @ Behind::Unavailable(_)) => Err(error.into()),
        }
    }

    /// The position to wait for, where a caller names one: this, or the newest of an earlier life of the log that a
    /// restored dump does not know.
    ///
    /// # Errors
    /// A 400 problem that names `field` when the log has not come to this position: nobody was ever given it.
    pub(crate) async fn issued(&self, field: &'static str, named: Position) -> Result<Position, Problem> {
        match self.log.issued(named).await.map_err(ReadError::Log)? {
            Some(position) => Ok(position),
            None => {
                let problem = format!("is {named}, which the log has not come to");
                Err(Invalid::new(field, problem, "a position as the answer to a write gives it").into())
            }
        }
    }

    /// The row of a thing, which is there if the log knows the thing: a read model that is behind is waited for, so
    /// that a 404 is never one of yesterday.
    ///
    /// # Errors
    /// 404, 500 when the read model could not apply the thing's first event, or 503 when it does not come to show the
    /// thing in time.
    pub(crate) async fn row<A, T, F>(
        &self,
        model: ReadModel,
        (what, id): (&str, &str),
        ask: impl Fn() -> F,
    ) -> Result<T, Problem>
    where
        A: Decide,
        F: Future<Output = Result<Option<T>, ReadError>>,
    {
        if let Some(row) = ask().await? {
            return Ok(row);
        }
        // Asked before the log is: what cannot be shown may be what the log holds of it.
        if let Some(parked) = self.reads.parked_in(model, A::TYPE, id).await? {
            return Err(not_shown(what, &parked));
        }
        let known = self.log.load::<A>(id).await.map_err(ReadError::Log)?;
        let Some((_, _, position)) = known else { return Err(Problem::not_found(what, id)) };
        self.wait_for(&[model], position).await?;
        if let Some(row) = ask().await? {
            return Ok(row);
        }
        let parked = self.reads.parked_in(model, A::TYPE, id).await?;
        Err(parked.map_or_else(
            || {
                let detail = format!("The {what} {id} is in the log, but not in the read model {model} yet.");
                Problem::new(ProblemKind::ReadModelBehind, detail).retry_after(COME_BACK)
            },
            |parked| not_shown(what, &parked),
        ))
    }
}

/// The thing is there, and nothing of it can be shown: waiting does not help.
fn not_shown(what: &str, parked: &Parked) -> Problem {
    let Parked { aggregate_id, read_model, event_type, event_id, since, reason, waiting_events } = parked;
    // The alarm was given when the event was parked.
    let detail = format!(
        "The {what} {aggregate_id} is in the log, and is not shown: since {} the read model {read_model} has not been \
         able to apply its event {event_id}, {event_type} ({reason}). Events that are not shown: {waiting_events}; see \
         /api/dead-letters.",
        since.to_rfc3339_opts(SecondsFormat::Millis, true)
    );
    Problem::new(ProblemKind::Unreadable, detail)
}

impl std::ops::Deref for Shared {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl From<Behind> for Problem {
    fn from(behind: Behind) -> Self {
        match behind {
            Behind::Late { model, wanted, reached } => {
                let detail = format!("The read model {} is at {reached}, {wanted} was asked for.", model.name());
                Self::new(ProblemKind::ReadModelBehind, detail).retry_after(Duration::from_secs(1))
            }
            Behind::Unavailable(error) => error.into(),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Invalid(invalid) => Self::invalid(invalid),
            ReadError::Database(error) => error.into(),
            ReadError::Log(LogError::Unavailable(error)) => error.into(),
            ReadError::Log(error @ LogError::Corrupt { .. }) => Self::internal("an event cannot be understood", &error),
            ReadError::Unreadable { row, .. } => {
                // The alarm was given when the row was found.
                let detail = format!(
                    "{} is there, but what the read model holds of it cannot be read ({}). Its events can: see \
                     /api/operations, and rebuild the read model.",
                    row.id, row.reason
                );
                Self::new(ProblemKind::Unreadable, detail)
            }
        }
    }
}

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
