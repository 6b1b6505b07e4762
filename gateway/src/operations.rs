//! `GET /api/operations`: what keeps this running, how far it is, and what got stuck.

use aide::transform::TransformOperation;
use app::dead_letters::Kind;
use app::log::Position;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use projections::freshness::Freshness;
use schemars::JsonSchema;
use serde::Serialize;

use crate::caller::{Caller, Viewing};
use crate::problem::Problem;
use crate::state::Shared;

/// How far everything is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Operations {
    /// Version of this build.
    version: &'static str,
    /// The end of the log.
    head: Position,
    /// How far each read model has come.
    read_models: Vec<Freshness>,
    /// How far the log is on the bus.
    relay: Relay,
    /// Whether this process has a connection to the bus.
    bus_connected: bool,
    /// What waits for somebody's decision; see `/api/dead-letters`.
    dead_letters: Waiting,
}

/// How far the log is on the bus.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Relay {
    /// Every event up to here is on the bus.
    position: Position,
    /// Whether that is the end of the log.
    caught_up: bool,
    /// Which relay works; null: none does.
    holder: Option<String>,
    /// Until when its lease runs.
    leased_until: Option<DateTime<Utc>>,
    /// How often the stream was found lost, wiped or rolled back.
    losses: i64,
    /// When it moved last.
    updated_at: DateTime<Utc>,
}

/// What waits for somebody's decision.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Waiting {
    /// Commands that arrived by NATS and could not be handled.
    commands: i64,
    /// Events that a read model lacks.
    events: u64,
}

pub(crate) async fn show(State(shared): State<Shared>, _: Caller<Viewing>) -> Result<Json<Operations>, Problem> {
    let read_models = shared.reads.freshness().await?;
    let relay = app::relay::progress(shared.log.pool()).await?;
    let head = shared.log.head().await.map_err(projections::ReadError::Log)?;
    Ok(Json(Operations {
        version: env!("CARGO_PKG_VERSION"),
        head,
        relay: Relay {
            position: relay.position,
            caught_up: relay.position >= head,
            holder: relay.holder,
            leased_until: relay.leased_until,
            losses: relay.losses,
            updated_at: relay.updated_at,
        },
        bus_connected: shared.bus.is_connected(),
        dead_letters: Waiting {
            commands: shared.dead_letters.waiting(Kind::Command).await?,
            events: read_models.iter().map(|model| model.dead_letters).sum(),
        },
        read_models,
    }))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("show_operations").tag("operations").summary("How far everything is, and what got stuck")
}
