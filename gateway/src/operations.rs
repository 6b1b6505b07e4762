//! `GET /api/operations`: what keeps this running, how far it is, and what got stuck.

pub(crate) mod consumers;

use std::sync::Arc;

use aide::transform::TransformOperation;
use app::dead_letters::DeadLetterKind;
use app::log::Position;
use app::watcher::{WatchedSession, WatcherState};
use app::webhook_targets::{TargetStatus, WebhookTargets};
use axum::Json;
use axum::extract::State;
use bus::Bus;
use chrono::{DateTime, Utc};
use projections::freshness::{Freshness, MOST_COUNTED};
use projections::replica::{Replica, ReplicaState};
use projections::verifications::Verification;
use projections::{Listed, ReadError, UnreadableRow};
use schemars::JsonSchema;
use serde::Serialize;

use self::consumers::{BusDeviations, ConsumerWatch, StreamConsumers};
use crate::caller::{Caller, Viewing};
use crate::dead_letters::DeadLetterStores;
use crate::problem::Problem;
use crate::queries::Queries;

/// How far everything is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Operations {
    /// Version of this build.
    pub(crate) version: &'static str,
    /// The end of the log: its newest committed event, whether its readers see it yet or not.
    pub(crate) head: Position,
    /// How far each read model has come.
    pub(crate) read_models: Vec<Freshness>,
    /// The replica that lists, searches and files are read from; null: none is configured.
    pub(crate) replica: Option<ReplicaState>,
    /// How far the log is on the bus.
    pub(crate) relay: Relay,
    /// Whether this process has a connection to the bus.
    pub(crate) bus_connected: bool,
    /// What waits for somebody's decision; see `/api/dead-letters`.
    pub(crate) dead_letters: Waiting,
    /// Targets of webhooks, and how far each is.
    pub(crate) webhooks: Vec<TargetStatus>,
    /// The newest migration that the database has.
    pub(crate) schema_version: i64,
    /// The newest migration that this build knows. Another than the database's: `lablet migrate` is due, or a newer
    /// build has been here.
    pub(crate) build_schema_version: i64,
    /// What `lablet verify` found the last time; null: nobody verified yet.
    pub(crate) last_verify: Option<Verification>,
    /// How far the consumers on the bus are.
    pub(crate) consumers: Vec<StreamConsumers>,
    /// Where streams and consumers on the bus are not as they have to be.
    pub(crate) bus: BusDeviations,
    /// Age in seconds of the oldest event that no reader sees, as a transaction is open; 0: readers see everything.
    pub(crate) visibility_lag_seconds: f64,
    /// Read models whose checkpoint cannot be read: they are missing above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unreadable: Vec<UnreadableRow>,
    /// How many events no reader sees, counted up to 10,000.
    pub(crate) visibility_lag_events: u64,
    /// The open transactions that they wait for, the oldest first; empty where readers see everything.
    pub(crate) blocking_transactions: Vec<WatchedSession>,
    /// The watcher, which ends such transactions, and what it could not do.
    pub(crate) watcher: WatcherState,
}

/// How far the log is on the bus.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Relay {
    /// Every event up to here is on the bus.
    pub(crate) position: Position,
    /// Whether that is the end of the log.
    pub(crate) caught_up: bool,
    /// Events that are not on the bus yet, counted up to 10,000.
    pub(crate) events_behind: u64,
    /// Which relay works; null: none does.
    pub(crate) holder: Option<String>,
    /// Until when its lease runs.
    pub(crate) leased_until: Option<DateTime<Utc>>,
    /// How often the stream was found lost, wiped or rolled back.
    pub(crate) losses: i64,
    /// When it moved last.
    pub(crate) updated_at: DateTime<Utc>,
    /// Why nothing can be published at present, e.g. that the store of the bus is full; null: nothing hinders.
    pub(crate) hindrance: Option<String>,
    /// Since when nothing can be published; null: nothing hinders.
    pub(crate) hindered_since: Option<DateTime<Utc>>,
}

/// What waits for somebody's decision.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Waiting {
    /// Commands that arrived by NATS and could not be handled.
    pub(crate) commands: i64,
    /// Events that targets of webhooks did not take.
    pub(crate) webhooks: i64,
    /// Events that a read model lacks.
    pub(crate) events: u64,
}

pub(crate) async fn show(
    State(reader): State<OperationsReader>,
    _: Caller<Viewing>,
) -> Result<Json<Operations>, Problem> {
    reader.read().await.map(Json)
}

/// Reads how far everything is. Cheap to clone.
#[derive(Clone)]
pub(crate) struct OperationsReader {
    pub(crate) queries: Queries,
    pub(crate) dead_letters: DeadLetterStores,
    pub(crate) bus: Bus,
    consumers: Arc<ConsumerWatch>,
    replica: Option<Replica>,
}

impl OperationsReader {
    pub(crate) fn new(queries: Queries, dead_letters: DeadLetterStores, bus: Bus, replica: Option<Replica>) -> Self {
        Self { queries, dead_letters, bus, consumers: Arc::default(), replica }
    }

    /// How far everything is.
    ///
    /// # Errors
    /// 503 while the database is unreachable. An unreachable bus is part of the answer.
    pub(crate) async fn read(&self) -> Result<Operations, Problem> {
        let log = self.queries.log();
        let Listed { items: read_models, unreadable } = self.queries.freshness().await?;
        let relay = app::relay::progress(log.pool()).await?;
        let head = log.newest().await.map_err(ReadError::Log)?;
        let caught_up = relay.position >= head;
        let behind = log.count_after(relay.position, MOST_COUNTED);
        let events_behind = if caught_up { 0 } else { behind.await.map_err(ReadError::Log)? };
        let (schema_version, build_schema_version) = log.schema_versions().await.map_err(ReadError::Log)?;
        let visibility = log.visibility().await.map_err(ReadError::Log)?;
        let blocking_transactions = match visibility.lag {
            Some(_) => app::watcher::transactions_with_id(log.pool()).await?,
            None => Vec::new(),
        };
        Ok(Operations {
            version: env!("CARGO_PKG_VERSION"),
            head,
            replica: self.replica.as_ref().map(Replica::state),
            relay: Relay {
                position: relay.position,
                caught_up,
                events_behind: events_behind.unsigned_abs(),
                holder: relay.holder,
                leased_until: relay.leased_until,
                losses: relay.losses,
                updated_at: relay.updated_at,
                hindrance: relay.hindrance,
                hindered_since: relay.hindered_since,
            },
            bus_connected: self.bus.is_connected(),
            dead_letters: Waiting {
                commands: self.dead_letters.messages.waiting(DeadLetterKind::Command).await?,
                webhooks: self.dead_letters.messages.waiting(DeadLetterKind::Webhook).await?,
                events: read_models.iter().map(|model| model.dead_letters).sum(),
            },
            webhooks: WebhookTargets::new(log).list().await?,
            read_models,
            schema_version,
            build_schema_version,
            last_verify: self.queries.last_verification().await?,
            consumers: self.consumers.look(&self.bus, log.clock()).await,
            unreadable,
            bus: self.consumers.deviations(&self.bus).await,
            visibility_lag_seconds: visibility.lag_seconds(),
            visibility_lag_events: visibility.held_back_events,
            blocking_transactions,
            watcher: app::watcher::state(log).await?,
        })
    }
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("show_operations").tag("operations").summary("How far everything is, and what got stuck")
}
