//! What a read model is: a name, a revision, its tables and a fold.

use std::future::Future;
use std::sync::Arc;

use app::log::{LogError, RecordedEvent};
use cqrs_es::Aggregate as _;
use domain::lablet_definition::{LabletDefinition, LabletDefinitionEvent};
use domain::lablet_session::{LabletSession, LabletSessionEvent};
use domain::worker::{Worker, WorkerEvent};
use futures_util::future::BoxFuture;
use sqlx::PgConnection;

/// An event as the domain knows it, decoded once for a projector.
#[derive(Debug, Clone, PartialEq)]
pub enum DomainEvent {
    /// Of a session.
    Session(Box<LabletSessionEvent>),
    /// Of a definition.
    Definition(Box<LabletDefinitionEvent>),
    /// Of a worker.
    Worker(Box<WorkerEvent>),
    /// Of an aggregate that is none of ours: another program may share the log.
    Foreign,
}

impl DomainEvent {
    /// Decodes a recorded event.
    ///
    /// # Errors
    /// It belongs to one of our aggregates and is none of its events.
    pub fn decode(recorded: &RecordedEvent) -> Result<Self, LogError> {
        Ok(match recorded.aggregate_type.as_str() {
            LabletSession::TYPE => Self::Session(Box::new(recorded.decode()?)),
            LabletDefinition::TYPE => Self::Definition(Box::new(recorded.decode()?)),
            Worker::TYPE => Self::Worker(Box::new(recorded.decode()?)),
            _ => Self::Foreign,
        })
    }
}

/// What an event did to a read model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Rows changed.
    Changed,
    /// The event says nothing to this read model.
    Ignored,
}

/// Why an event was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The database refuses or does not answer.
    #[error("the database refuses the rows")]
    Database(#[from] sqlx::Error),
    /// The event is none of ours to understand.
    #[error("the event cannot be understood")]
    Undecodable(#[from] LogError),
    /// A value cannot be stored.
    #[error("a value cannot be stored")]
    Unstorable(#[from] serde_json::Error),
    /// The rows that the event is about are not there, or have seen it already.
    #[error("{what} is not there, or has seen this event already")]
    OutOfPlace {
        /// E.g. `session s-1`.
        what: String,
    },
}

impl ApplyError {
    /// Whether the same event may be applied a moment later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Database(error) => app::log::is_transient(error),
            Self::Undecodable(_) | Self::Unstorable(_) | Self::OutOfPlace { .. } => false,
        }
    }

    /// [`ApplyError::OutOfPlace`] unless a statement changed exactly one row.
    pub(crate) fn unless_one(rows: u64, what: &str, id: &str) -> Result<Applied, Self> {
        if rows == 1 { Ok(Applied::Changed) } else { Err(Self::OutOfPlace { what: format!("{what} {id}") }) }
    }
}

/// Folds events into rows.
///
/// A projector publishes nothing, reads no other read model and no clock: the same events give the same rows. It names
/// its tables without a schema, as a rebuild fills tables of another one.
pub trait Projector: Send + Sync + 'static {
    /// Name of the read model, e.g. `sessions`.
    const NAME: &'static str;
    /// Raised whenever the same events give other rows: the read model is then rebuilt.
    const REVISION: i32;
    /// The tables that it fills, and nobody else.
    const TABLES: &'static [&'static str];

    /// Applies one event, within the transaction that moves the checkpoint.
    fn apply(
        &self,
        connection: &mut PgConnection,
        recorded: &RecordedEvent,
        event: &DomainEvent,
    ) -> impl Future<Output = Result<Applied, ApplyError>> + Send;
}

trait Erased: Send + Sync {
    fn apply<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        recorded: &'a RecordedEvent,
        event: &'a DomainEvent,
    ) -> BoxFuture<'a, Result<Applied, ApplyError>>;
}

impl<P: Projector> Erased for P {
    fn apply<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        recorded: &'a RecordedEvent,
        event: &'a DomainEvent,
    ) -> BoxFuture<'a, Result<Applied, ApplyError>> {
        Box::pin(Projector::apply(self, connection, recorded, event))
    }
}

/// Any projector, as the runner handles it.
#[derive(Clone)]
pub struct ReadModel {
    /// See [`Projector::NAME`].
    pub name: &'static str,
    /// See [`Projector::REVISION`].
    pub revision: i32,
    /// See [`Projector::TABLES`].
    pub tables: &'static [&'static str],
    projector: Arc<dyn Erased>,
}

impl std::fmt::Debug for ReadModel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} revision {}", self.name, self.revision)
    }
}

impl ReadModel {
    /// A read model that this projector fills.
    pub fn new<P: Projector>(projector: P) -> Self {
        Self { name: P::NAME, revision: P::REVISION, tables: P::TABLES, projector: Arc::new(projector) }
    }

    pub(crate) async fn apply(
        &self,
        connection: &mut PgConnection,
        recorded: &RecordedEvent,
    ) -> Result<Applied, ApplyError> {
        let event = DomainEvent::decode(recorded)?;
        self.projector.apply(connection, recorded, &event).await
    }
}

/// Every read model there is.
pub fn read_models() -> Vec<ReadModel> {
    vec![
        ReadModel::new(crate::sessions::Sessions),
        ReadModel::new(crate::definitions::Definitions),
        ReadModel::new(crate::workers::Workers),
        ReadModel::new(crate::observations::Observations),
        ReadModel::new(crate::observation_requests::ObservationRequests),
    ]
}
