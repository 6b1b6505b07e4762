//! What reads ask: the read models, and the log where they are behind it.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use app::log::{Log, LogError, Position};
use chrono::SecondsFormat;
use domain::{Decide, Invalid};
use projections::{Behind, Parked, Projections, ReadError, ReadModel};

use crate::permits::Permits;
use crate::problem::{Problem, ProblemKind, sentence};

/// `Retry-After` while a read model is behind.
const COME_BACK: Duration = Duration::from_secs(2);

/// The read models, with the log that they are derived from. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Queries(Arc<Inner>);

struct Inner {
    projections: Projections,
    log: Log,
    permits: Permits,
    longest_wait: Duration,
}

impl Deref for Queries {
    type Target = Projections;
    fn deref(&self) -> &Projections {
        &self.0.projections
    }
}

impl Queries {
    /// Queries of which none waits longer than this for a read model.
    pub(crate) fn new(projections: Projections, log: Log, permits: Permits, longest_wait: Duration) -> Self {
        Self(Arc::new(Inner { projections, log, permits, longest_wait }))
    }

    /// The same of other read models, for which nobody waits longer than this.
    pub(crate) fn reading(&self, projections: Projections, longest_wait: Duration) -> Self {
        let Inner { log, permits, .. } = &*self.0;
        Self::new(projections, log.clone(), permits.clone(), longest_wait)
    }

    /// The log.
    pub(crate) fn log(&self) -> &Log {
        &self.0.log
    }

    /// Whether the log knows this aggregate.
    pub(crate) async fn knows<A: Decide>(&self, id: &str) -> Result<bool, ReadError> {
        Ok(self.0.log.load::<A>(id).await?.is_some())
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
        let wait = self.0.projections.wait_for(models, wanted, self.0.longest_wait);
        self.0.permits.without_one(async { wait.await.map_err(Problem::from) }).await
    }

    /// Whether these read models are at a position already.
    pub(crate) async fn have_reached(&self, models: &[ReadModel], wanted: Position) -> Result<bool, Problem> {
        match self.0.projections.wait_for(models, wanted, Duration::ZERO).await {
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
        match self.0.log.issued(named).await.map_err(ReadError::Log)? {
            Some(position) => Ok(position),
            None => {
                let problem = format!("is {named}, which the log has not come to");
                Err(Invalid::new(field, problem, "a position as the answer to a write gives it").into())
            }
        }
    }

    /// The row of a thing. Where it is absent and the log knows the thing, the read model is behind and is waited for: a
    /// 404 is never out of date.
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
        // Looked at before the log, which may hold an event that cannot be read.
        if let Some(parked) = self.0.projections.parked_in(model, A::TYPE, id).await? {
            return Err(not_shown(what, &parked));
        }
        let known = self.0.log.load::<A>(id).await.map_err(ReadError::Log)?;
        let Some((_, _, position)) = known else { return Err(Problem::not_found(what, id)) };
        self.wait_for(&[model], position).await?;
        if let Some(row) = ask().await? {
            return Ok(row);
        }
        let parked = self.0.projections.parked_in(model, A::TYPE, id).await?;
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
            error @ ReadError::NotCarriedOut { .. } => {
                Self::unavailable(sentence(&error.to_string()), Duration::from_secs(1))
            }
        }
    }
}
