//! Insert, publish, consume, upsert, with nothing around it: each event is inserted and published by itself, whatever has
//! arrived is added up in one statement.

use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::stream::Config;
use bus::{Bus, BusOptions};
use futures_util::StreamExt as _;
use serde::Deserialize;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Acknowledgement, SENDERS, measure};
use crate::history;

const STREAM: &str = "BARE_EVENTS";
const SUBJECT: &str = "bare.events";
/// The event's place in its table.
const POSITION: &str = "Bare-Position";
/// Messages of one upsert.
const MOST_AT_ONCE: usize = 256;
const DEFINITIONS: usize = 20;

/// A running pipeline.
pub(super) struct BarePipeline {
    pool: PgPool,
    bus: Bus,
    consuming: JoinHandle<anyhow::Result<()>>,
}

/// What is read of an event.
#[derive(Deserialize)]
struct ObservedEvent {
    definition_id: String,
    observed_resources: Resources,
}

#[derive(Deserialize)]
struct Resources {
    total_memory_mb: f64,
}

impl BarePipeline {
    pub(super) async fn start(database_url: &str, nats_url: &str) -> anyhow::Result<Self> {
        let connections = u32::try_from(SENDERS)? + 2;
        let pool =
            PgPoolOptions::new().max_connections(connections).test_before_acquire(false).connect(database_url).await?;
        sqlx::raw_sql(
            "CREATE TABLE bare_events (
                 position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, session_id text NOT NULL, payload json NOT NULL);
             CREATE TABLE bare_totals (
                 definition_id text PRIMARY KEY, observations bigint NOT NULL, highest_memory_mb float8 NOT NULL);
             CREATE TABLE bare_checkpoint (position bigint NOT NULL);
             INSERT INTO bare_checkpoint VALUES (0);",
        )
        .execute(&pool)
        .await?;
        let bus = Bus::connect(&BusOptions::new(nats_url, "bench")).await?;
        bus.connected(Duration::from_secs(10)).await?;
        let config = Config { name: STREAM.to_owned(), subjects: vec![SUBJECT.to_owned()], ..Config::default() };
        let stream = bus.jetstream().create_stream(config).await?;
        let consumer = stream
            .create_consumer(OrderedConfig { deliver_policy: DeliverPolicy::All, ..OrderedConfig::default() })
            .await?;
        let mut messages = consumer.messages().await?.ready_chunks(MOST_AT_ONCE);
        let consuming = tokio::spawn({
            let pool = pool.clone();
            async move {
                while let Some(arrived) = messages.next().await {
                    let (mut definitions, mut memory, mut newest) = (Vec::new(), Vec::new(), 0_i64);
                    for message in arrived {
                        let message = message?;
                        let observed: ObservedEvent = serde_json::from_slice(&message.payload)?;
                        definitions.push(observed.definition_id);
                        memory.push(observed.observed_resources.total_memory_mb);
                        let position = message.headers.as_ref().and_then(|headers| headers.get(POSITION));
                        newest = newest.max(position.map_or("0", |position| position.as_str()).parse()?);
                    }
                    upsert(&pool, definitions, memory, newest).await?;
                }
                Ok(())
            }
        });
        Ok(Self { pool, bus, consuming })
    }

    /// How long each event took from its commit until it was visible in the totals; sorted.
    pub(super) async fn visible_after(&self, duration: Duration) -> anyhow::Result<Vec<Duration>> {
        let payloads: Vec<String> = (0..DEFINITIONS).map(history::recorded_report_of).collect();
        let (pool, bus) = (self.pool.clone(), self.bus.clone());
        let write = move |(): (), number: usize| {
            let (pool, bus, payload) = (pool.clone(), bus.clone(), payloads[number % DEFINITIONS].clone());
            async move {
                let position: i64 = sqlx::query_scalar(
                    "INSERT INTO bare_events (session_id, payload) VALUES ($1, $2::text::json) RETURNING position",
                )
                .bind(format!("s{}", number % 256))
                .bind(&payload)
                .fetch_one(&pool)
                .await?;
                let at = Instant::now();
                let mut headers = async_nats::HeaderMap::new();
                headers.insert(POSITION, position.to_string());
                bus.jetstream().publish_with_headers(SUBJECT, headers, payload.into()).await?.await?;
                Ok(((), Acknowledgement { at, position: format!("{position:020}") }))
            }
        };
        let pool = self.pool.clone();
        let position = move || {
            let pool = pool.clone();
            async move {
                let position: i64 = sqlx::query_scalar("SELECT position FROM bare_checkpoint").fetch_one(&pool).await?;
                Ok(format!("{position:020}"))
            }
        };
        measure(vec![(); SENDERS], duration, write, position).await
    }

    pub(super) async fn stop(self) {
        self.consuming.abort();
        self.bus.close().await;
        self.pool.close().await;
    }
}

/// Totals and checkpoint in one statement.
async fn upsert(pool: &PgPool, definitions: Vec<String>, memory: Vec<f64>, newest: i64) -> sqlx::Result<()> {
    sqlx::query(
        "WITH totals AS (
             INSERT INTO bare_totals (definition_id, observations, highest_memory_mb)
             SELECT definition_id, count(*), max(memory_mb)
               FROM unnest($1::text[], $2::float8[]) AS arrived (definition_id, memory_mb) GROUP BY definition_id
             ON CONFLICT (definition_id) DO UPDATE
                SET observations = bare_totals.observations + excluded.observations,
                    highest_memory_mb = greatest(bare_totals.highest_memory_mb, excluded.highest_memory_mb))
         UPDATE bare_checkpoint SET position = greatest(position, $3)",
    )
    .bind(definitions)
    .bind(memory)
    .bind(newest)
    .execute(pool)
    .await?;
    Ok(())
}
