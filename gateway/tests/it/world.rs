//! A gateway that runs, and clients of it.

use std::net::SocketAddr;
use std::time::Duration;

use app::authority::{Authorities, Grants, KEY_SETTING};
use app::body::Handling;
use app::commands::Commands;
use app::dead_letters::DeadLetters;
use app::log::{Log, LogOptions};
use bus::clock::{Clock, IdGenerator};
use bus::{Bus, BusOptions};
use gateway::authentication::{AdminToken, InternalKey, Role, SecretHash};
use gateway::sign_in::ProviderOptions;
use gateway::{Gateway, GatewayOptions, GatewayParts};
use projections::replica::Replica;
use projections::{Projections, ReadModel, Runner, RunnerOptions};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use servers::testing::{self, TestDatabase};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// May send every command.
pub(crate) const KEY: &str = "key-of-the-booking-service";
/// May send what a key may that nobody named.
pub(crate) const PLAIN_KEY: &str = "key-of-the-grading-service";
pub(crate) const VIEWER: &str = "token-of-a-viewer";
pub(crate) const OPERATOR: &str = "token-of-an-operator";
pub(crate) const ADMIN: &str = "token-of-an-admin";

/// What a gateway stands in.
#[derive(Default)]
pub(crate) struct Surroundings {
    /// How it is reached, where that is not where it listens.
    pub(crate) public_url: Option<String>,
    /// Where people sign in.
    pub(crate) provider: Option<ProviderOptions>,
    /// The bus; nobody listens there where absent, as over HTTP nearly everything has to work without it.
    pub(crate) nats_url: Option<String>,
    /// The replica, and how far it may be behind.
    pub(crate) replica: Option<(String, Duration)>,
}

/// A gateway with its database.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) log: Log,
    pub(crate) dead_letters: DeadLetters,
    http: reqwest::Client,
    projections: Projections,
    runner: Option<(CancellationToken, JoinHandle<()>)>,
    stop: CancellationToken,
    serving: Option<JoinHandle<Result<(), gateway::GatewayError>>>,
    database: Option<TestDatabase>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self { status, headers, body }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The same, which has this status.
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    /// The same, which is a problem of this class that names this field.
    pub(crate) fn problem(self, status: u16, class: &str, field: Option<&str>) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.body["type"], format!("urn:lablet:problem:{class}"), "{}", answer.body);
        assert_eq!(answer.body["status"], status);
        if let Some(field) = field {
            assert_eq!(answer.body["errors"][0]["field"], field, "{}", answer.body);
        }
        answer
    }
}

impl Answer {
    /// The same, of whose complaints one is about this field.
    pub(crate) fn names(self, field: &str) -> Self {
        let errors = self.body["errors"].as_array().unwrap();
        assert!(errors.iter().any(|error| error["field"] == field), "{field}: {}", self.body);
        self
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        // Longer than a client would be let wait, so that a slow machine fails no test.
        let patient = Duration::from_secs(60);
        Self::start_with(GatewayOptions {
            longest_wait: patient,
            longest_request: 2 * patient,
            ..GatewayOptions::default()
        })
        .await
    }

    pub(crate) async fn start_with(options: GatewayOptions) -> Self {
        Self::start_at(Clock::system(), options).await
    }

    /// A gateway whose time is that of this clock.
    pub(crate) async fn start_at(clock: Clock, options: GatewayOptions) -> Self {
        Self::start_handling(Handling::Lenient, clock, options).await
    }

    /// A gateway that refuses bodies with unknown members.
    pub(crate) async fn start_strict(options: GatewayOptions) -> Self {
        Self::start_handling(Handling::Strict, Clock::system(), options).await
    }

    async fn start_handling(handling: Handling, clock: Clock, options: GatewayOptions) -> Self {
        let database = testing::database(&app::log::MIGRATOR).await;
        let url = database.url_as("lablet_app");
        let mut world = Self::over(&url, Some(database), clock, handling, options, Surroundings::default()).await;
        world.project();
        world
    }

    /// A gateway that stands in these surroundings.
    pub(crate) async fn start_in(surroundings: Surroundings) -> Self {
        let database = testing::database(&app::log::MIGRATOR).await;
        let url = database.url_as("lablet_app");
        let (clock, options) = (Clock::system(), GatewayOptions::default());
        let mut world = Self::over(&url, Some(database), clock, Handling::Lenient, options, surroundings).await;
        world.project();
        world
    }

    /// A gateway over a database that somebody else looks after, as its owner, in these surroundings.
    pub(crate) async fn start_over(database_url: &str, surroundings: Surroundings) -> Self {
        let (clock, options) = (Clock::system(), GatewayOptions::default());
        let mut world = Self::over(database_url, None, clock, Handling::Lenient, options, surroundings).await;
        world.project();
        world
    }

    /// A gateway whose database is away.
    pub(crate) async fn without_database() -> Self {
        let nowhere = "postgres://lablet_app:secret@127.0.0.1:9/lablet";
        Self::over(
            nowhere,
            None,
            Clock::system(),
            Handling::Lenient,
            GatewayOptions::default(),
            Surroundings::default(),
        )
        .await
    }

    async fn over(
        database_url: &str,
        database: Option<TestDatabase>,
        clock: Clock,
        handling: Handling,
        options: GatewayOptions,
        surroundings: Surroundings,
    ) -> Self {
        // Whoever came first has installed it.
        drop(rustls_provider());
        let pool = app::log::pool(database_url, 8).unwrap();
        let id_generator = IdGenerator::random();
        let log = Log::new(pool.clone(), clock.clone(), id_generator.clone(), LogOptions::default());
        let projections = Projections::new(log.clone());
        let dead_letters = DeadLetters::new(pool, clock.clone(), id_generator.clone());
        let nats_url = surroundings.nats_url.as_deref().unwrap_or("nats://127.0.0.1:9");
        let bus = Bus::connect(&BusOptions::new(nats_url, "gateway-test")).await.unwrap();
        let secret = |secret| SecretHash::from_secret(secret);
        let token = |name: &str, role, text| AdminToken { name: name.to_owned(), role, hash: secret(text) };
        let keys = Grants::parse(KEY_SETTING, "booking=all").unwrap();
        let parts = GatewayParts {
            cells: None,
            commands: Commands::new(log.clone(), clock, id_generator)
                .with_authorities(Authorities::new(Grants::default(), keys))
                .handling_bodies(handling)
                .advised_by(std::sync::Arc::new(projections.clone())),
            dead_letters: dead_letters.clone(),
            projections: projections.clone(),
            replica: surroundings
                .replica
                .map(|(url, longest_lag)| Replica::new(&projections, app::log::pool(&url, 4).unwrap(), longest_lag)),
            bus,
            internal_keys: vec![
                InternalKey { name: "booking".to_owned(), hash: secret(KEY) },
                InternalKey { name: "grading".to_owned(), hash: secret(PLAIN_KEY) },
            ],
            admin_tokens: vec![
                token("vic", Role::Viewer, VIEWER),
                token("oli", Role::Operator, OPERATOR),
                token("ada", Role::Admin, ADMIN),
            ],
            provider: surroundings.provider,
            metrics: metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle(),
            public_url: surroundings.public_url,
        };
        let options = GatewayOptions { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..options };
        let gateway = Gateway::bind(options, parts).await.unwrap();
        let address = gateway.address();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(gateway.run(stop.clone()));
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        Self { address, log, dead_letters, http, projections, runner: None, stop, serving: Some(serving), database }
    }

    /// Connections as the database's owner.
    pub(crate) fn owner(&self) -> sqlx::PgPool {
        self.database.as_ref().expect("there is a database").pool()
    }

    /// Lets the read models follow.
    pub(crate) fn project(&mut self) {
        let options = RunnerOptions { poll: Duration::from_millis(200), ..RunnerOptions::default() };
        let runner = Runner::new(self.projections.clone(), None, options);
        let token = CancellationToken::new();
        self.runner = Some((token.clone(), tokio::spawn(runner.run(token))));
    }

    /// Lets the read models stand still.
    pub(crate) async fn stand_still(&mut self) {
        if let Some((token, running)) = self.runner.take() {
            token.cancel();
            running.await.unwrap();
        }
    }

    /// Waits until the read models show everything that was written.
    pub(crate) async fn settle(&self) {
        self.database.as_ref().expect("there is a database").settle().await;
        let head = self.log.head().await.unwrap();
        self.projections.wait_for(&ReadModel::ALL, head, Duration::from_secs(60)).await.unwrap();
    }

    /// Ends the gateway, and answers how it ended.
    pub(crate) async fn end(&mut self) -> Result<(), gateway::GatewayError> {
        self.stop.cancel();
        self.serving.take().unwrap().await.unwrap()
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address)).timeout(Duration::from_secs(60))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path).bearer_auth(VIEWER)).await
    }

    /// The answer to a read that is repeated until it is 200: the read models may need longer than a read waits.
    pub(crate) async fn get_in_time(&self, path: &str) -> Answer {
        until(path, async || {
            let answer = self.get(path).await;
            if answer.status == 200 { Ok(answer) } else { Err(format!("{} {}", answer.status, answer.body)) }
        })
        .await
    }

    pub(crate) async fn get_internally(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path).header("x-api-key", KEY)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).header("x-api-key", KEY).json(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, etag: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PATCH, path).bearer_auth(ADMIN).header("if-match", etag).json(body)).await
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        Answer::of(request.send().await.unwrap()).await
    }

    /// A definition, a worker, and a session of the one on the other in this state.
    pub(crate) async fn session(&self, id: &str, status: &str) {
        let definition = self.post("/api/lablet-definitions", &definition("d1")).await;
        definition.expect(201);
        let worker = self.post("/api/workers", &worker("w1")).await;
        worker.expect(201);
        let new = json!({"id": id, "definition_id": "d1", "owner_id": "learner-1"});
        self.post("/api/internal/lablet-sessions", &new).await.expect(201);
        for (step, more) in [
            ("scheduled", json!({"worker_id": "w1", "allocated_ports": {"PC_serial": 5041, "PC_vnc": 5042}})),
            ("instantiating", json!({})),
            ("ready", json!({})),
            ("running", json!({"cml_lab_id": "lab-1"})),
            ("collecting", json!({})),
            ("grading", json!({})),
        ] {
            if status == "pending" {
                break;
            }
            let mut body = more;
            body["new_status"] = step.into();
            self.post(&format!("/api/internal/lablet-sessions/{id}/transition"), &body).await.expect(200);
            if step == status {
                break;
            }
        }
    }
}

fn rustls_provider() -> Result<(), std::sync::Arc<rustls::crypto::CryptoProvider>> {
    rustls::crypto::ring::default_provider().install_default()
}

pub(crate) fn definition(id: &str) -> Value {
    json!({
        "id": id, "name": "Routing basics", "version": "1.0",
        "resource_requirements": {"cpu_cores": 4, "memory_gb": 8, "storage_gb": 20},
        "port_template": {"ports": [{"name": "PC_serial", "protocol": "serial"}]},
    })
}

pub(crate) fn worker(id: &str) -> Value {
    json!({
        "id": id, "name": "CML one", "address": "https://cml-1.example.org",
        "capacity": {"cpu_cores": 64, "memory_gb": 256, "storage_gb": 2000, "max_nodes": 300},
    })
}

/// An observation of a lab with this many nodes.
pub(crate) fn observation(nodes: usize, ports: &Value) -> Value {
    let nodes: Vec<Value> = (0..nodes)
        .map(|index| {
            json!({
                "node_id": format!("node-{index}"), "label": format!("R{index}"), "node_definition": "iosv",
                "state": "BOOTED", "cpu_limit": 100, "ram_mb": 768, "tags": ["serial:5041"],
                "interfaces": [{"interface_id": format!("i-{index}"), "label": "Gi0/0", "slot": 0, "state": "STARTED",
                                "mac_address": "52:54:00:00:00:01", "ip4": ["10.0.0.1"]}],
            })
        })
        .collect();
    json!({
        "observed_resources": {
            "observed_at": "2026-03-01T10:00:00Z", "observer": "controller-1", "total_cpu_cores": 2.0,
            "total_memory_mb": 768 * nodes.len(), "total_storage_mb": null, "actual_node_count": nodes.len(),
            "nodes": nodes,
        },
        "observed_ports": ports,
    })
}

/// Looks until `look` finds something, and fails after a minute with what it was waiting for and what it saw last.
pub(crate) async fn until<T>(what: &str, look: impl AsyncFn() -> Result<T, String>) -> T {
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => assert!(tokio::time::Instant::now() < end, "waited in vain for {what}: {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
