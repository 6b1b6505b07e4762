//! Executing a command: load, decide, append. A decision is pure, so that a conflict simply repeats all three.

use std::sync::Arc;
use std::time::Duration;

use cqrs_es::DomainEvent as _;
use domain::lablet_session::LabletSessionEvent;
use domain::{Decide, Decision};
use tracing::Instrument as _;

use super::append::{Append, AppendError, FirstAnswer, NewEvent, first_answers};
use super::cache::LoadedAggregate;
use super::history::HistoryPage;
use super::position::Position;
use super::record::{Origin, RecordedEvent};
use super::{Log, LogError, in_time, snapshot};
use bus::Backoff;

/// Most conflicts of a command before it is given up.
const ATTEMPTS: u32 = 16;
/// How many events are read at once when an aggregate is loaded.
const PAGE: i64 = 1_000;

/// Outcome of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its events are in the log now.
    Recorded,
    /// Nothing was recorded: an earlier command, whichever it was, had the same effect.
    AlreadyDone,
    /// A command with the same key was executed before: the first answer again.
    Repeated,
}

/// The versions of an aggregate on which a command may act.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Expected {
    /// Whatever the newest one is.
    #[default]
    Any,
    /// One of these.
    OneOf(Vec<i64>),
}

impl Expected {
    /// The newest expected version, where `actual` is none of them. `None` also where the aggregate does not exist, which
    /// its own rules refuse.
    fn missed_by(&self, actual: i64) -> Option<i64> {
        match self {
            Self::Any => None,
            Self::OneOf(versions) if actual == 0 || versions.contains(&actual) => None,
            Self::OneOf(versions) => Some(versions.iter().copied().max().unwrap_or_default()),
        }
    }
}

impl From<Option<i64>> for Expected {
    fn from(version: Option<i64>) -> Self {
        version.map_or(Self::Any, |version| Self::OneOf(vec![version]))
    }
}

/// The answer to a command.
#[derive(Debug, Clone)]
pub struct ExecutedCommand<A> {
    /// Sequence of the aggregate's newest event on which the answer rests.
    pub sequence: i64,
    /// Position of that event.
    pub position: Position,
    /// The state at that sequence.
    pub state: Arc<A>,
    /// Recorded, already done or repeated.
    pub outcome: Outcome,
}

/// Why a command was not executed. Nothing was recorded, except where it is said.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<E: std::error::Error + 'static> {
    /// A rule refuses it.
    #[error(transparent)]
    Rejected(E),
    /// It was to act on a version that is not the newest.
    #[error("version {expected} was expected, the newest is {actual}")]
    Stale {
        /// The version that the command was about.
        expected: i64,
        /// The newest version.
        actual: i64,
    },
    /// Its key belongs to another command.
    #[error("the key {key:?} was used for another command")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// Others kept writing to the same aggregate.
    #[error("others keep changing it; try again")]
    Conflict,
    /// The database refuses the events.
    #[error("the log refuses the events")]
    Refused(#[source] Arc<sqlx::Error>),
    /// The database is away. The outcome is unknown if an answer was lost: the same command with the same key may
    /// be sent again.
    #[error("the log does not answer")]
    Unavailable(#[source] LogError),
}

impl<E: std::error::Error + 'static> From<LogError> for ExecuteError<E> {
    fn from(error: LogError) -> Self {
        Self::Unavailable(error)
    }
}

impl<E: std::error::Error + 'static> From<sqlx::Error> for ExecuteError<E> {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(LogError::Unavailable(error))
    }
}

/// The event as JSON. Postgres' texts cannot hold the character 0x00; `json` would take its escape and then fail every
/// reader who asks for the text.
fn stored_form<E: serde::Serialize>(value: &E) -> Result<String, Arc<sqlx::Error>> {
    let json = serde_json::to_string(value).map_err(|error| Arc::new(sqlx::Error::Encode(Box::new(error))))?;
    // Most texts hold no escape at all, which one look tells.
    let holds_nul = json.as_bytes().contains(&b'\\')
        && json.match_indices("\\u0000").any(|(at, _)| {
            // An even number of backslashes before it are escaped backslashes, so that this one begins an escape.
            json[..at].bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 0
        });
    if holds_nul {
        return Err(Arc::new(sqlx::Error::Encode("a text holds the character 0x00, which cannot be stored".into())));
    }
    Ok(json)
}

/// The span of an append, from the queue to the answer: statements are shared, so that none is of one command alone.
fn append_span(append: &Append) -> tracing::Span {
    tracing::debug_span!(
        "log.append",
        otel.kind = "client",
        db.system.name = "postgresql",
        db.operation.name = "INSERT",
        db.collection.name = "events",
        aggregate.type = append.aggregate_type,
        aggregate.id = append.aggregate_id,
        events = append.events.len(),
    )
}

impl Log {
    /// Executes a command: decides on the aggregate's newest state and appends what was decided, all or nothing.
    ///
    /// With a dedupe key in `origin`, the command takes effect once, however often it is sent and whatever happened
    /// since; a repetition gets the first answer again.
    ///
    /// # Errors
    /// See [`ExecuteError`].
    pub async fn execute<A: Decide>(
        &self,
        id: &str,
        command: A::Command,
        origin: &Origin,
    ) -> Result<ExecutedCommand<A>, ExecuteError<A::Error>> {
        self.execute_at(id, &Expected::Any, command, origin).await
    }

    /// As [`Log::execute`], on certain versions of the aggregate: its newest [version](Decide::version) has to be one of `expected`.
    ///
    /// # Errors
    /// See [`ExecuteError`].
    pub async fn execute_at<A: Decide>(
        &self,
        id: &str,
        expected: &Expected,
        command: A::Command,
        origin: &Origin,
    ) -> Result<ExecutedCommand<A>, ExecuteError<A::Error>> {
        let current = bus::trace::current();
        let metadata = stored_form(&origin.metadata(current.as_deref())).map_err(ExecuteError::Refused)?;
        let metadata: Arc<str> = metadata.into();
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(50));
        let mut epoch = self.known_epoch().await?;
        let mut known = self.cache.get::<A>(id, epoch);
        let mut serialised = None;
        for attempt in 0..ATTEMPTS {
            if attempt > 1 {
                tokio::time::sleep(backoff.next_wait()).await;
            }
            if self.epoch.get() != epoch {
                (epoch, known) = (self.epoch.get(), None);
            }
            let (loaded, is_newest) = match known.take() {
                // The first decision may rest on a stale cache: the append then conflicts.
                Some(cached) if attempt == 0 => (cached, false),
                cached => (self.refresh::<A>(id, cached, epoch).await?, true),
            };
            let version = loaded.state.version(loaded.sequence);
            let decision = match expected.missed_by(version) {
                Some(expected) => Err(ExecuteError::Stale { expected, actual: version }),
                None => loaded.state.decide(command.clone()).map_err(ExecuteError::Rejected),
            };
            let events = match decision {
                Ok(Decision::Record(events)) if !events.is_empty() => events,
                // A repeated command is often refused only because its first execution changed the state.
                other => {
                    if let Some(repeated) = self.first_answer::<A>(id, origin).await? {
                        return Ok(repeated);
                    }
                    if !is_newest {
                        known = Some(loaded);
                        continue;
                    }
                    return other.map(|_| ExecutedCommand {
                        sequence: loaded.sequence,
                        position: loaded.position,
                        state: loaded.state,
                        outcome: Outcome::AlreadyDone,
                    });
                }
            };
            let mut new_events = Vec::with_capacity(events.len());
            for event in &events {
                new_events.push(NewEvent {
                    event_id: self.id_generator.uuid(),
                    event_type: event.event_type(),
                    event_version: event.event_version(),
                    payload: stored_form(event).map_err(ExecuteError::Refused)?,
                });
            }
            let append = Append {
                epoch,
                aggregate_type: A::TYPE,
                aggregate_id: id.to_owned(),
                expected: loaded.sequence,
                events: new_events,
                metadata: metadata.clone(),
                dedupe: origin.dedupe.clone(),
            };
            let span = append_span(&append);
            match self.appender.append(append).instrument(span).await {
                Ok(positions) => {
                    let loaded = self.apply_appended(id, loaded, events, &positions, epoch);
                    let executed = ExecutedCommand {
                        sequence: loaded.sequence,
                        position: loaded.position,
                        state: loaded.state,
                        outcome: Outcome::Recorded,
                    };
                    return Ok(executed);
                }
                Err(AppendError::Conflict) => {
                    known = Some(loaded);
                    if serialised.is_none() {
                        serialised = Some(self.conflict_locks.lock(A::TYPE, id).await);
                        // Whoever had the lock before left the newest state in the cache.
                        known = self.cache.get::<A>(id, epoch).or(known);
                    }
                }
                Err(AppendError::Repeated(first)) => return self.repeat(id, first, origin).await,
                Err(AppendError::Refused(error)) => return Err(ExecuteError::Refused(error)),
                Err(AppendError::Unavailable(error)) => {
                    let error = sqlx::Error::Protocol(error.to_string());
                    return Err(ExecuteError::Unavailable(LogError::Unavailable(error)));
                }
            }
        }
        Err(ExecuteError::Conflict)
    }

    /// The newest state of an aggregate with its sequence and position, `None` when it has no events.
    ///
    /// # Errors
    /// The database does not answer, or an event cannot be understood.
    pub async fn load<A: Decide>(&self, id: &str) -> Result<Option<(Arc<A>, i64, Position)>, LogError> {
        let epoch = self.known_epoch().await?;
        let loaded = self.refresh::<A>(id, self.cache.get(id, epoch), epoch).await?;
        Ok((loaded.sequence > 0).then_some((loaded.state, loaded.sequence, loaded.position)))
    }

    /// Applies what this process has just appended, and keeps the state.
    fn apply_appended<A: Decide>(
        &self,
        id: &str,
        mut loaded: LoadedAggregate<A>,
        events: Vec<A::Event>,
        positions: &[Position],
        epoch: i32,
    ) -> LoadedAggregate<A> {
        // The cache lets go of the state first: one that nobody else holds is changed in place.
        self.cache.remove::<A>(id);
        let before = loaded.sequence;
        loaded.sequence += i64::try_from(events.len()).unwrap_or(i64::MAX);
        loaded.position = positions.last().copied().unwrap_or(loaded.position);
        let state = Arc::make_mut(&mut loaded.state);
        for event in events {
            state.apply(event);
        }
        self.cache.put(id, &loaded, epoch);
        self.keep_snapshot(id, before, &loaded);
        loaded
    }

    /// Brings what is known of an aggregate up to date, from the cache, a snapshot or its beginning.
    async fn refresh<A: Decide>(
        &self,
        id: &str,
        known: Option<LoadedAggregate<A>>,
        epoch: i32,
    ) -> Result<LoadedAggregate<A>, LogError> {
        let (mut loaded, was_known) = match known {
            Some(known) => (known, true),
            None => match snapshot::load::<A>(&self.pool, id).await? {
                // The position of the newest event is needed too: read that event again, without applying it.
                Some((state, sequence)) => {
                    (LoadedAggregate { state: Arc::new(state), sequence, position: Position::START }, false)
                }
                None => (LoadedAggregate::default(), true),
            },
        };
        if !was_known {
            let newest = self.history(A::TYPE, id, loaded.sequence - 1, 1).await?;
            match newest.first() {
                Some(event) => loaded.position = event.position,
                None => loaded = LoadedAggregate::default(),
            }
        }
        self.apply_newer(id, &mut loaded, i64::MAX).await?;
        if loaded.sequence > 0 {
            self.cache.put(id, &loaded, epoch);
        }
        Ok(loaded)
    }

    /// Applies the events after `loaded`, up to and including sequence `last`.
    async fn apply_newer<A: Decide>(
        &self,
        id: &str,
        loaded: &mut LoadedAggregate<A>,
        last: i64,
    ) -> Result<(), LogError> {
        while loaded.sequence < last {
            let part = HistoryPage {
                newest_first: false,
                beyond: Some(loaded.sequence),
                payloads: true,
                limit: PAGE.min(last - loaded.sequence),
            };
            let page = self.history_page(A::TYPE, id, part).await?;
            for recorded in page.events {
                loaded.sequence = recorded.sequence;
                loaded.position = recorded.position;
                Arc::make_mut(&mut loaded.state).apply(recorded.decode::<A::Event>()?);
            }
            if !page.more {
                break;
            }
        }
        Ok(())
    }

    async fn first_answer<A: Decide>(
        &self,
        id: &str,
        origin: &Origin,
    ) -> Result<Option<ExecutedCommand<A>>, ExecuteError<A::Error>> {
        let Some(dedupe) = &origin.dedupe else { return Ok(None) };
        let first = in_time(first_answers(&self.pool, &[dedupe.key()])).await?.remove(dedupe.key());
        match first {
            Some(first) => self.repeat(id, first, origin).await.map(Some),
            None => Ok(None),
        }
    }

    /// The first answer again: the state as it was then.
    async fn repeat<A: Decide>(
        &self,
        id: &str,
        first: FirstAnswer,
        origin: &Origin,
    ) -> Result<ExecutedCommand<A>, ExecuteError<A::Error>> {
        let dedupe = origin.dedupe.as_ref();
        let same_command =
            dedupe.is_some_and(|dedupe| dedupe.digest.as_slice() == first.digest) && first.aggregate_type == A::TYPE;
        if !same_command {
            return Err(ExecuteError::KeyReused { key: dedupe.map(|dedupe| dedupe.key.clone()).unwrap_or_default() });
        }
        // A generated id differs from attempt to attempt: the first answer is about the first one.
        let id = if first.aggregate_id == id { id } else { &first.aggregate_id };
        let mut loaded = LoadedAggregate::<A>::default();
        self.apply_newer(id, &mut loaded, first.sequence).await?;
        Ok(ExecutedCommand {
            sequence: loaded.sequence,
            position: loaded.position,
            state: loaded.state,
            outcome: Outcome::Repeated,
        })
    }

    fn keep_snapshot<A: Decide>(&self, id: &str, before: i64, loaded: &LoadedAggregate<A>) {
        let every = self.options.snapshot_every.max(1);
        if before / every != loaded.sequence / every {
            tokio::spawn(snapshot::keep(self.pool.clone(), id.to_owned(), loaded.state.clone(), loaded.sequence));
        }
    }
}

impl RecordedEvent {
    /// As [`RecordedEvent::decode`], of a session's event.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] when it is none.
    pub fn decode_session_event(&self) -> Result<LabletSessionEvent, LogError> {
        let is_observation = self.event_type == "lablet_session.resources_observed" && self.event_version == "1";
        let observation = is_observation.then(|| LabletSessionEvent::observation_from_stored(self.payload.text()));
        observation.flatten().map_or_else(|| self.decode(), Ok)
    }

    /// The event as the domain knows it.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] when it is none.
    pub fn decode<E: serde::de::DeserializeOwned + schemars::JsonSchema + 'static>(&self) -> Result<E, LogError> {
        domain::stored::read(self.payload.text()).map_err(|source| LogError::Corrupt {
            aggregate_type: self.aggregate_type.clone(),
            aggregate_id: self.aggregate_id.clone(),
            sequence: self.sequence,
            source,
        })
    }
}
