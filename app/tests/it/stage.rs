//! A log, a bus and the commands over them, for one test.

use std::future::Future;
use std::time::Duration;

use app::commands::Commands;
use app::log::{Log, LogOptions, MIGRATOR, Origin};
use bus::clock::{Clock, IdGenerator};
use bus::{Bus, BusOptions, cloud_event, streams};
use cloudevents::Event;
use domain::worker::NewWorker;
use serde_json::json;
use servers::testing::TestDatabase;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};

pub(crate) struct Stage {
    pub(crate) database: TestDatabase,
    pub(crate) log: Log,
    pub(crate) bus: Bus,
    pub(crate) commands: Commands,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let nats = servers::testing::nats().await;
        Self::on(nats.url()).await
    }

    /// On a NATS of the caller's.
    pub(crate) async fn on(nats_url: &str) -> Self {
        let database = servers::testing::database(&MIGRATOR).await;
        let pool = PgPool::connect(&database.url_as("lablet_app")).await.unwrap();
        let (clock, id_generator) = (Clock::system(), IdGenerator::random());
        let log = Log::new(pool, clock.clone(), id_generator.clone(), LogOptions::default());
        let commands = Commands::new(log.clone(), clock, id_generator);
        Self { database, log, bus: connect(nats_url).await, commands }
    }

    pub(crate) async fn register_workers(&self, names: std::ops::Range<usize>) {
        for number in names {
            let new = worker(&format!("w{number}"));
            self.commands.register_worker(new, &Origin::from_actor("test")).await.unwrap();
        }
    }

    /// A definition whose notice has some 50 KB.
    pub(crate) async fn create_large_definition(&self, id: &str) {
        let ports: Vec<_> =
            (0..400).map(|port| json!({"name": format!("{port}_{}", "x".repeat(80)), "protocol": "serial"})).collect();
        let new = json!({
            "id": id, "name": "large", "version": "1", "port_template": {"ports": ports},
            "resource_requirements": {"cpu_cores": 1, "memory_gb": 1, "storage_gb": 1}
        });
        self.commands
            .create_definition(serde_json::from_value(new).unwrap(), &Origin::from_actor("test"))
            .await
            .unwrap();
    }

    /// Takes this test's database away from the application, or gives it back.
    pub(crate) async fn refuse_connections(&self, refuse: bool) {
        let (rest, name) = self.database.url().rsplit_once('/').unwrap();
        let mut server = PgConnection::connect(&format!("{rest}/postgres")).await.unwrap();
        let alter = format!("alter database \"{name}\" with allow_connections {}", !refuse);
        server.execute(AssertSqlSafe(alter)).await.unwrap();
        if refuse {
            sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1")
                .bind(name)
                .execute(&mut server)
                .await
                .unwrap();
        }
    }

    /// The events on the stream, in its order. Empty while there is no stream.
    pub(crate) async fn published(&self) -> Vec<Event> {
        let Ok(stream) = self.bus.jetstream().get_stream(streams::EVENTS).await else { return Vec::new() };
        let state = &stream.cached_info().state;
        let mut events = Vec::new();
        if state.messages == 0 {
            return events;
        }
        for sequence in state.first_sequence..=state.last_sequence {
            let Ok(message) = stream.get_raw_message(sequence).await else { continue };
            events.push(cloud_event::read(Some(&message.headers), &message.payload, streams::LARGEST_EVENT).unwrap());
        }
        events
    }
}

pub(crate) async fn connect(nats_url: &str) -> Bus {
    let bus = Bus::connect(&BusOptions::new(nats_url, "test")).await.unwrap();
    bus.connected(Duration::from_secs(20)).await.unwrap();
    bus
}

pub(crate) fn worker(id: &str) -> NewWorker {
    serde_json::from_value(json!({
        "id": id, "name": "CML", "address": "https://cml.example.org",
        "capacity": {"cpu_cores": 1, "memory_gb": 1, "storage_gb": 1, "max_nodes": 1}
    }))
    .unwrap()
}

/// How long a busy machine may take for whatever a test waits for.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// Polls until `look` answers something, and fails after [`WITHIN`] with what it was waiting for.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let end = tokio::time::Instant::now() + WITHIN;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
