//! What a projector is: a name, a revision, the aggregates it follows, and a fold.

use std::fmt;

use app::log::{LogError, Position, RecordedEvent};
use domain::lablet_definition::LabletDefinitionEvent;
use domain::lablet_session::LabletSessionEvent;
use domain::worker::WorkerEvent;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::read_models::{definitions, observation_requests, observations, sessions, workers};

/// Every read model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadModel {
    /// Sessions: the board and the detail.
    Sessions,
    /// Definitions, their revisions, and whether anything was observed of them.
    Definitions,
    /// Every observation, and the newest of each session.
    Observations,
    /// Requests for observations and their outcomes.
    ObservationRequests,
    /// Workers.
    Workers,
}

impl ReadModel {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Sessions, Self::Definitions, Self::Observations, Self::ObservationRequests, Self::Workers];

    /// The name, as in `lablet rebuild NAME`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Definitions => "definitions",
            Self::Observations => "observations",
            Self::ObservationRequests => "observation_requests",
            Self::Workers => "workers",
        }
    }

    /// The schema of its tables.
    pub(crate) fn schema(self) -> &'static str {
        match self {
            Self::Sessions => "read_sessions",
            Self::Definitions => "read_definitions",
            Self::Observations => "read_observations",
            Self::ObservationRequests => "read_observation_requests",
            Self::Workers => "read_workers",
        }
    }

    /// Selects the position of the live tables.
    pub(crate) fn checkpoint_statement(self) -> &'static str {
        match self {
            Self::Sessions => "SELECT position FROM read_sessions.checkpoint",
            Self::Definitions => "SELECT position FROM read_definitions.checkpoint",
            Self::Observations => "SELECT position FROM read_observations.checkpoint",
            Self::ObservationRequests => "SELECT position FROM read_observation_requests.checkpoint",
            Self::Workers => "SELECT position FROM read_workers.checkpoint",
        }
    }

    /// Who keeps it.
    pub(crate) fn projector(self) -> &'static dyn Projector {
        match self {
            Self::Sessions => &sessions::Sessions,
            Self::Definitions => &definitions::Definitions,
            Self::Observations => &observations::Observations,
            Self::ObservationRequests => &observation_requests::ObservationRequests,
            Self::Workers => &workers::Workers,
        }
    }
}

impl fmt::Display for ReadModel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl std::str::FromStr for ReadModel {
    type Err = domain::Invalid;
    fn from_str(text: &str) -> Result<Self, domain::Invalid> {
        Self::ALL.into_iter().find(|model| model.name() == text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            let names = Self::ALL.map(Self::name).join(", ");
            domain::Invalid::new("read_model", format!("is {shown:?}"), format!("one of {names}"))
        })
    }
}

/// Kinds of aggregates that projectors follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregateKind {
    /// `lablet_session`
    Session,
    /// `lablet_definition`
    Definition,
    /// `worker`
    Worker,
}

impl AggregateKind {
    /// The kind with this name; `None` for kinds that no projector knows.
    pub fn of(aggregate_type: &str) -> Option<Self> {
        [Self::Session, Self::Definition, Self::Worker].into_iter().find(|kind| kind.as_str() == aggregate_type)
    }

    /// The aggregate type in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "lablet_session",
            Self::Definition => "lablet_definition",
            Self::Worker => "worker",
        }
    }

    /// Decodes an event of this kind.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] when it is none.
    pub(crate) fn decode(self, recorded: &RecordedEvent) -> Result<Event, LogError> {
        Ok(match self {
            Self::Session => Event::Session(Box::new(recorded.decode()?)),
            Self::Definition => Event::Definition(Box::new(recorded.decode()?)),
            Self::Worker => Event::Worker(Box::new(recorded.decode()?)),
        })
    }
}

/// An event of any aggregate.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Of a session.
    Session(Box<LabletSessionEvent>),
    /// Of a definition.
    Definition(Box<LabletDefinitionEvent>),
    /// Of a worker.
    Worker(Box<WorkerEvent>),
}

/// An event to apply, with its place in the log.
#[derive(Debug)]
pub struct Recorded<'a> {
    /// What happened.
    pub event: &'a Event,
    /// The event as the log holds it.
    pub log: &'a RecordedEvent,
    /// Its position as text.
    pub position: String,
}

impl<'a> Recorded<'a> {
    pub(crate) fn new(log: &'a RecordedEvent, event: &'a Event) -> Self {
        Self { event, log, position: log.position.to_string() }
    }

    /// The event's id.
    pub fn event_id(&self) -> Uuid {
        self.log.event_id
    }

    /// The event's place among those of its aggregate, from 1.
    pub fn sequence(&self) -> i64 {
        self.log.sequence
    }

    /// Where it stands in the order of all events.
    pub fn at(&self) -> Position {
        self.log.position
    }
}

/// Whether an event meant anything to a projector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It changed rows.
    Changed,
    /// It is listed among those that the projector does not need.
    Ignored,
}

/// Why an event was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The database refused, or does not answer.
    #[error("the database did not take it")]
    Database(#[source] sqlx::Error),
    /// It contradicts the rows that earlier events left.
    #[error("{0}")]
    Refused(String),
    /// It cannot be understood.
    #[error("it cannot be understood")]
    Unreadable(#[source] LogError),
}

impl From<sqlx::Error> for ApplyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl ApplyError {
    /// Whether the event itself is at fault, so that trying again gives the same.
    pub(crate) fn is_events_fault(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Unreadable(_) => true,
            Self::Database(error) => Self::is_fault(error),
        }
    }

    /// Data exceptions and violated constraints; all else is the state of the database or of the connection.
    pub(crate) fn is_fault(error: &sqlx::Error) -> bool {
        match error {
            sqlx::Error::Database(error) => {
                error.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
            }
            _ => false,
        }
    }

    /// The error and its causes, in one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text.chars().take(2_000).collect()
    }
}

/// Keeps one read model. It never publishes, never reads another read model, never asks the clock.
pub trait Projector: Send + Sync + 'static {
    /// Raised when the fold gives other rows: a runner with a higher revision rebuilds before it goes on.
    fn revision(&self) -> i32;

    /// The aggregates whose events it wants; others are not decoded for it.
    fn follows(&self) -> &'static [AggregateKind];

    /// The table whose rows carry the `sequence` of their aggregate, with its kind, for `verify`.
    fn keyed_by(&self) -> Option<(AggregateKind, &'static str)>;

    /// Applies one event. Tables are named without schema: the runner says whether the live ones or those of a rebuild
    /// are meant.
    fn apply<'a>(
        &'a self,
        tables: &'a mut PgConnection,
        recorded: &'a Recorded<'a>,
    ) -> BoxFuture<'a, Result<Applied, ApplyError>>;
}

/// Exactly one row was to change.
pub(crate) fn expect_one(result: &sqlx::postgres::PgQueryResult, what: &str) -> Result<Applied, ApplyError> {
    match result.rows_affected() {
        1 => Ok(Applied::Changed),
        rows => Err(ApplyError::Refused(format!("{what}: {rows} rows where there should be one"))),
    }
}
