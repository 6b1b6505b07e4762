//! The rows that some events touch: loaded, folded, written.

use std::sync::Arc;

use app::log::{Position, fingerprint};
use metrics::counter;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::checkpoint::{Checkpoint, Tables};
use crate::projector::{Fold, Recorded};
use crate::read_models::ReadModel;
use crate::refused::Refused;
use crate::table::statement::WriteStatement;
use crate::table::{AnyTable, AppendOnly, Table, rows};

rows! {
    /// What has been applied of an aggregate.
    pub(crate) struct AppliedEvents in "applied" by (aggregate_type: String, aggregate_id: String) {
        aggregate_type: String,
        aggregate_id: String,
        /// Of the newest event that was applied or discarded.
        sequence: i64,
        /// How many were applied.
        events: i64,
        /// Exclusive or over their ids.
        fingerprint: i64,
        /// Later events wait among the parked ones.
        parked: bool,
    }

    /// An event that is not applied.
    pub(crate) struct StoredParkedEvent in "dead_letters" by (event_id: Uuid) {
        event_id: Uuid,
        position: Position,
        aggregate_type: String,
        aggregate_id: String,
        sequence: i64,
        event_type: String,
        /// None: it only waits behind an earlier one.
        reason: Option<String>,
    }
}

/// What became of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) applied: u64,
    pub(crate) discarded: u64,
    pub(crate) parked: u64,
    /// Whether rows that are read changed, or are to be looked at: not only what is known to be applied.
    pub(crate) changed: bool,
}

/// Why events were not folded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FoldError {
    /// The database does not answer.
    #[error("the database does not give the rows of a batch")]
    Database(#[from] sqlx::Error),
    /// A fold refused an event and had changed rows before, so that what is in memory is worth nothing.
    #[error("a fold refused an event half-way")]
    HalfFolded(#[source] Refused),
}

/// Rows of a read model in memory. Written, they stay there, up to a number of bytes, for the events that come next.
pub(crate) struct WorkingSet {
    model: ReadModel,
    schema: String,
    rows: Box<dyn Fold>,
    applied: Table<AppliedEvents>,
    parked: AppendOnly<StoredParkedEvent>,
}

impl WorkingSet {
    /// What the rows take in memory, about, that are not stored as they are.
    pub(crate) fn unwritten_bytes(&mut self) -> usize {
        self.all_tables().map(|table| table.unwritten_bytes()).sum()
    }

    /// Without rows.
    pub(crate) fn new(model: ReadModel, tables: Tables) -> Self {
        Self {
            model,
            schema: tables.schema(model),
            rows: (model.projector().rows)(),
            applied: Table::default(),
            parked: AppendOnly::default(),
        }
    }

    /// Loads what these events of a parked aggregate need.
    pub(crate) async fn load_parked(
        &mut self,
        connection: &mut PgConnection,
        events: &[Arc<Recorded>],
    ) -> sqlx::Result<()> {
        for event in events {
            self.applied.want(applied_key(event));
            if let Ok(content) = &event.event {
                self.rows.want(content, event);
            }
        }
        self.applied.load(connection, &self.schema).await?;
        self.load_rows(connection).await?;
        for event in events {
            if let Ok(content) = &event.event {
                self.rows.want_by_rows(content, event);
            }
        }
        self.load_rows(connection).await
    }

    /// Loads the rows that were asked for.
    async fn load_rows(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        for table in self.rows.tables() {
            table.load(connection, &self.schema).await?;
        }
        Ok(())
    }

    /// Loads what these events need and is not in memory. With `nothing_stored` the tables are known to be empty.
    pub(crate) async fn load(
        &mut self,
        connection: &mut PgConnection,
        events: &[Arc<Recorded>],
        nothing_stored: bool,
    ) -> sqlx::Result<()> {
        let projector = self.model.projector();
        let followed = || events.iter().filter(|event| projector.follows(event));
        for event in followed() {
            self.applied.want(applied_key(event));
        }
        if nothing_stored {
            self.applied.expect_nothing_stored();
        } else {
            self.applied.load(connection, &self.schema).await?;
        }
        let mut folded = Vec::with_capacity(events.len());
        for event in followed() {
            if !self.is_parked(event)
                && let Ok(content) = &event.event
            {
                self.rows.want(content, event);
                folded.push((content, event));
            }
        }
        if nothing_stored {
            self.rows.tables().into_iter().for_each(AnyTable::expect_nothing_stored);
            return Ok(());
        }
        self.load_rows(connection).await?;
        for (content, event) in folded {
            self.rows.want_by_rows(content, event);
        }
        self.load_rows(connection).await
    }

    fn is_parked(&self, event: &Recorded) -> bool {
        matches!(self.applied.get(&applied_key(event)), Ok(Some(applied)) if applied.parked)
    }

    /// Folds events whose rows were loaded. What is refused is parked, with all later events of its aggregate, unless it
    /// is discarded. An event that the database has refused to store comes with its reason.
    pub(crate) async fn fold(
        &mut self,
        connection: &mut PgConnection,
        events: &[Arc<Recorded>],
        refused_by_database: Option<&Refused>,
    ) -> Result<Outcome, FoldError> {
        let mut outcome = Outcome::default();
        let projector = self.model.projector();
        let before = self.changes();
        for event in events.iter().filter(|event| projector.follows(event)) {
            if self.is_parked(event) {
                self.parked.push(parked_event(event, None));
                outcome.parked += 1;
                continue;
            }
            let sequence = self.sequence(event);
            if event.sequence() <= sequence {
                let projection = self.model.name();
                counter!("lablet_projection_repeated_events_total", "projection" => projection).increment(1);
                tracing::warn!(projection, event.id = %event.event_id(), "event was applied before");
                continue;
            }
            let refused = match self.try_fold(event, sequence, refused_by_database)? {
                Ok(()) => {
                    outcome.applied += 1;
                    continue;
                }
                Err(refused) => refused,
            };
            if is_discarded(connection, self.model, event.event_id()).await? {
                self.note(event, |applied| applied.sequence = event.sequence());
                outcome.discarded += 1;
                continue;
            }
            let projection = self.model.name();
            tracing::error!(
                projection,
                event.id = %event.event_id(),
                aggregate.id = event.log.aggregate_id,
                reason = %refused,
                "event cannot be applied, its aggregate is parked"
            );
            counter!("lablet_projection_parked_aggregates_total", "projection" => projection).increment(1);
            self.note(event, |applied| applied.parked = true);
            self.parked.push(parked_event(event, Some(refused.to_string())));
            outcome.parked += 1;
        }
        outcome.changed = self.changes() != before || outcome.discarded > 0 || outcome.parked > 0;
        Ok(outcome)
    }

    /// Sequence of the newest event of an event's aggregate that was applied or discarded.
    pub(crate) fn sequence(&self, event: &Recorded) -> i64 {
        self.applied.get(&applied_key(event)).ok().flatten().map_or(0, |applied| applied.sequence)
    }

    /// Folds one event that comes right after `sequence` of its aggregate.
    pub(crate) fn try_fold(
        &mut self,
        event: &Recorded,
        sequence: i64,
        refused_by_database: Option<&Refused>,
    ) -> Result<Result<(), Refused>, FoldError> {
        let before = self.changes();
        let folded = if event.sequence() != sequence + 1 {
            let text = format!("it has sequence {}, and {sequence} is the last one before it", event.sequence());
            Err(Refused::new(text))
        } else if let Some(refused) = refused_by_database {
            Err(refused.clone())
        } else {
            event.event.as_ref().map_err(Refused::clone).and_then(|content| self.rows.fold(content, event))
        };
        if let Err(refused) = &folded
            && self.changes() != before
        {
            return Err(FoldError::HalfFolded(refused.clone()));
        }
        Ok(folded.map(|_| {
            self.note(event, |applied| {
                applied.sequence = event.sequence();
                applied.events += 1;
                applied.fingerprint ^= fingerprint(event.event_id());
            });
        }))
    }

    fn changes(&mut self) -> u64 {
        self.rows.tables().iter().map(|table| table.changes()).sum()
    }

    /// Changes what is known to be applied of an event's aggregate.
    pub(crate) fn note(&mut self, event: &Recorded, change: impl FnOnce(&mut AppliedEvents)) {
        let (aggregate_type, aggregate_id) = applied_key(event);
        let none =
            AppliedEvents { aggregate_type, aggregate_id, sequence: 0, events: 0, fingerprint: 0, parked: false };
        self.applied.change_or_insert(none, change);
    }

    /// Writes all that changed and moves the checkpoint, in one statement. `None`: the checkpoint is not `from` any more, or
    /// somebody else is moving it, and nothing was written.
    pub(crate) async fn write(
        &mut self,
        connection: &mut PgConnection,
        from: Checkpoint,
        to: Position,
    ) -> sqlx::Result<Option<Checkpoint>> {
        let mut statement = WriteStatement::new(&self.schema);
        for table in self.all_tables() {
            table.add_to(&mut statement);
        }
        let moved = statement.execute(connection, from, to).await?;
        if moved.is_some() {
            self.mark_stored();
        }
        Ok(moved)
    }

    /// As [`WorkingSet::write`], with rows that are new by `COPY`, in a transaction of its own.
    pub(crate) async fn copy(
        &mut self,
        connection: &mut PgConnection,
        from: Checkpoint,
        to: Position,
    ) -> sqlx::Result<Option<Checkpoint>> {
        let mut transaction = connection.begin().await?;
        match self.copy_within(&mut transaction, from, to).await {
            Ok(Some(moved)) => transaction.commit().await.map(|()| Some(moved)),
            Ok(None) => transaction.rollback().await.map(|()| None),
            Err(error) => {
                transaction.rollback().await?;
                Err(error)
            }
        }
    }

    async fn copy_within(
        &mut self,
        connection: &mut PgConnection,
        from: Checkpoint,
        to: Position,
    ) -> sqlx::Result<Option<Checkpoint>> {
        let Some(moved) = WriteStatement::new(&self.schema).execute(connection, from, to).await? else {
            return Ok(None);
        };
        let schema = self.schema.clone();
        for table in self.all_tables() {
            table.copy(connection, &schema).await?;
        }
        self.write(connection, moved, to).await
    }

    fn all_tables(&mut self) -> impl Iterator<Item = &mut dyn AnyTable> {
        let own: [&mut dyn AnyTable; 2] = [&mut self.applied, &mut self.parked];
        self.rows.tables().into_iter().chain(own)
    }

    fn mark_stored(&mut self) {
        self.all_tables().for_each(AnyTable::mark_stored);
    }
}

fn applied_key(event: &Recorded) -> (String, String) {
    (event.log.aggregate_type.clone(), event.log.aggregate_id.clone())
}

fn parked_event(event: &Recorded, reason: Option<String>) -> StoredParkedEvent {
    StoredParkedEvent {
        event_id: event.event_id(),
        position: event.position(),
        aggregate_type: event.log.aggregate_type.clone(),
        aggregate_id: event.log.aggregate_id.clone(),
        sequence: event.sequence(),
        event_type: event.log.versioned_type(),
        reason,
    }
}

/// Whether somebody decided to do without an event.
pub(crate) async fn is_discarded(connection: &mut PgConnection, model: ReadModel, event: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM public.projection_discards WHERE projection = $1 AND event_id = $2) AS "is_discarded!""#,
        model.name(),
        event
    )
    .fetch_one(connection)
    .await
}
