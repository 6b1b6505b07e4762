//! The processes of a deployment and the servers that they use.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use harness::{ServiceAddress, eventually};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use servers::testing::{NatsCluster, ReplicatedPostgres, nats_cluster, replicated_postgres};
use simulator::Simulator;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::super::SOON;
use super::super::outcomes::{credentials, simulator};
use super::STEP_WITHIN;

/// The roles, each of which is there twice.
pub(super) const ROLES: [&str; 5] = ["serve", "relay", "project", "deliver", "control"];
/// Sessions that observations are reported of.
pub(super) const SESSIONS: usize = 6;
/// Internal key and admin token, with their SHA-256.
const KEY: &str = "rights-internal-key";
const KEY_HASH: &str = "rights:3f8959ffaac392c2a0f867a796745a0a577ef99c09d93bf0b4bc9066c2843d96";
const TOKEN: &str = "rights-admin-token";
const TOKEN_HASH: &str = "ada:admin:005ba3d225bec48b9b868fa70f8876efaa0589c03ebab0c380af494524425eb8";

/// A running deployment.
pub(super) struct Deployment {
    pub(super) nats: NatsCluster,
    pub(super) postgres: ReplicatedPostgres,
    /// Where the primary is reached, whichever server that is.
    database: ServiceAddress,
    /// Where the gateways are reached.
    gateway: ServiceAddress,
    processes: Vec<Process>,
    started: usize,
    /// Events that were sent to the target of the webhooks.
    delivered: Arc<Mutex<BTreeSet<String>>>,
    environment: Vec<(String, String)>,
    folder: TempDir,
    _simulator: Simulator,
}

/// A process of a role, with the port at which it says how it is.
struct Process {
    role: &'static str,
    port: u16,
    child: Child,
    log: PathBuf,
}

/// How everything is asked, by whoever is part of the load.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) client: Client,
    pub(super) url: String,
}

impl Access {
    /// A request with all rights.
    pub(super) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        if path.starts_with("/api/internal/") { request.header("x-api-key", KEY) } else { request.bearer_auth(TOKEN) }
    }

    async fn post(&self, path: &str, body: Value) {
        let answer = self.request(Method::POST, path).json(&body).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
    }
}

impl Deployment {
    pub(super) async fn start() -> Self {
        let ((simulator, lab), nats, postgres) = tokio::join!(simulator(), nats_cluster(), replicated_postgres());
        let folder = tempfile::tempdir().unwrap();
        let database = ServiceAddress::start().await.unwrap();
        database.add(postgres.primary_port());
        let gateway = ServiceAddress::following_readiness().await.unwrap();
        let address = |role: &str| {
            let url =
                postgres.url("lablet").replace(&postgres.primary_port().to_string(), &database.port().to_string());
            url.replacen("//postgres:", &format!("//{role}:"), 1)
        };
        let as_owner = address("postgres");
        let mut environment: Vec<(String, String)> = [
            ("LABLET_DATA_DIR", folder.path().to_str().unwrap()),
            ("LABLET_DATABASE_URL", &address("lablet_app")),
            ("LABLET_NATS_URL", &nats.url()),
            ("LABLET_NATS_REPLICAS", "3"),
            ("LABLET_INTERNAL_API_KEY_HASHES", KEY_HASH),
            ("LABLET_ADMIN_TOKEN_HASHES", TOKEN_HASH),
            ("LABLET_INTERNAL_API_KEY", KEY),
            ("LABLET_GATEWAY_URL", &format!("http://127.0.0.1:{}", gateway.port())),
            ("LABLET_DRAIN_SECONDS", "0.5"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        environment.extend(credentials(&simulator, folder.path()));
        let delivered = Arc::<Mutex<BTreeSet<String>>>::default();
        environment.push(("LABLET_WEBHOOKS".to_owned(), webhook_target(folder.path(), delivered.clone()).await));
        let mut deployment = Self {
            nats,
            postgres,
            database,
            gateway,
            processes: Vec::new(),
            started: 0,
            delivered,
            environment,
            folder,
            _simulator: simulator,
        };
        deployment.make_database(&as_owner).await;
        let cml = deployment._simulator.url();
        for role in ROLES {
            for _ in 0..2 {
                deployment.launch(role);
            }
        }
        deployment.all_ready(0).await;
        deployment.fill(&cml, &lab).await;
        deployment
    }

    async fn make_database(&self, as_owner: &str) {
        let mut server = PgConnection::connect(&self.postgres.url("postgres")).await.unwrap();
        server.execute("create database lablet").await.unwrap();
        let (done, said) = self.run(&["migrate"], &[("LABLET_DATABASE_URL", as_owner)]).await;
        assert!(done, "{said}");
        let password = as_owner.split(':').nth(2).and_then(|rest| rest.split('@').next()).unwrap();
        for role in ["lablet_app", "lablet_projector"] {
            let alter = format!("alter role {role} login password '{password}'");
            server.execute(AssertSqlSafe(alter)).await.unwrap();
        }
    }

    async fn fill(&self, cml: &str, lab: &str) {
        let access = self.access();
        let definition = json!({"id": "ospf", "name": "ospf", "version": "1.0",
            "resource_requirements": {"cpu_cores": 2, "memory_gb": 4, "storage_gb": 10},
            "port_template": {"ports": [{"name": "PC_serial", "protocol": "serial"}]}});
        access.post("/api/lablet-definitions", definition).await;
        let worker = json!({"id": "w1", "name": "w1", "address": cml,
            "capacity": {"cpu_cores": 64, "memory_gb": 256, "storage_gb": 1000, "max_nodes": 320}});
        access.post("/api/workers", worker).await;
        for number in 0..SESSIONS {
            let session = json!({"id": format!("s{number}"), "definition_id": "ospf"});
            access.post("/api/internal/lablet-sessions", session).await;
            for step in [
                json!({"new_status": "scheduled", "worker_id": "w1", "allocated_ports": {"PC_serial": 5041}}),
                json!({"new_status": "instantiating"}),
                json!({"new_status": "ready"}),
                json!({"new_status": "running", "cml_lab_id": lab}),
            ] {
                access.post(&format!("/api/internal/lablet-sessions/s{number}/transition"), step).await;
            }
        }
    }

    /// How the gateways are asked, by one client that keeps its connections.
    pub(super) fn access(&self) -> Access {
        let client = Client::builder().timeout(STEP_WITHIN).build().unwrap();
        Access { client, url: format!("http://127.0.0.1:{}", self.gateway.port()) }
    }

    /// Runs a command of the executable to its end.
    pub(super) async fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> (bool, String) {
        let done = Command::new(env!("CARGO_BIN_EXE_lablet-under-test"))
            .args(arguments)
            .envs(self.environment.iter().cloned())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let said = [done.stdout, done.stderr].concat();
        (done.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Starts a process of a role.
    fn launch(&mut self, role: &'static str) {
        self.started += 1;
        let process = Process::start(role, self.started, self.folder.path(), &self.environment);
        if role == "serve" {
            self.gateway.add(process.port);
        }
        self.processes.push(process);
    }

    /// Waits until these processes can do their work.
    async fn all_ready(&self, first: usize) {
        join_all(self.processes.iter().skip(first).map(|process| process.is_ready())).await;
        for process in self.processes.iter().skip(first).filter(|process| process.role == "serve") {
            eventually("the gateway behind its address", SOON, async || {
                self.gateway.is_ready(process.port).then_some(())
            })
            .await;
        }
    }

    /// Replaces every process of these roles, as Kubernetes does: one more of each role, and when that is ready, one of the old
    /// ones is told to end.
    pub(super) async fn roll(&mut self, roles: &[&'static str]) {
        let old: Vec<Process>;
        (old, self.processes) =
            std::mem::take(&mut self.processes).into_iter().partition(|process| roles.contains(&process.role));
        let mut old: BTreeMap<&str, Vec<Process>> = old.into_iter().fold(BTreeMap::new(), |mut all, process| {
            all.entry(process.role).or_default().push(process);
            all
        });
        while old.values().any(|processes| !processes.is_empty()) {
            let first = self.processes.len();
            let ending: Vec<Process> = old.values_mut().filter_map(Vec::pop).collect();
            for process in &ending {
                self.launch(process.role);
            }
            self.all_ready(first).await;
            let ports: Vec<u16> = ending.iter().map(|process| process.port).collect();
            join_all(ending.into_iter().map(Process::stop)).await;
            for port in ports {
                self.gateway.remove(port);
            }
        }
    }

    /// Kills the primary, promotes the replica, and lets the database's address lead there.
    pub(super) async fn fail_over(&mut self) {
        let killed = self.postgres.primary_port();
        self.postgres.fail_over().await;
        self.database.remove(killed);
        self.database.add(self.postgres.primary_port());
    }

    /// The database as it is now, as superuser.
    pub(super) async fn connect(&self) -> PgConnection {
        let url = self.postgres.url("lablet");
        let url = url.replace(&self.postgres.primary_port().to_string(), &self.database.port().to_string());
        PgConnection::connect(&url).await.unwrap()
    }

    /// How often each observer's observation is in the log.
    pub(super) async fn observers(&self) -> BTreeMap<String, i64> {
        let statement = "SELECT payload -> 'observed_resources' ->> 'observer' AS observer, count(*) AS times
                           FROM events WHERE event_type = 'lablet_session.resources_observed' GROUP BY 1";
        let rows = sqlx::query(statement).fetch_all(&mut self.connect().await).await.unwrap();
        rows.iter().map(|row| (row.get("observer"), row.get("times"))).collect()
    }

    /// Everything that was acknowledged is in the log, once; log, bus and read models hold the same.
    pub(super) async fn holds(&self, acknowledged: &BTreeSet<String>) {
        let recorded = eventually("every acknowledged observation in the log", SOON, async || {
            let recorded = self.observers().await;
            acknowledged.iter().all(|observer| recorded.contains_key(observer)).then_some(recorded)
        })
        .await;
        let statement = "SELECT event_id::text FROM events WHERE event_type = 'lablet_session.resources_observed'";
        let events: Vec<String> = sqlx::query_scalar(statement).fetch_all(&mut self.connect().await).await.unwrap();
        eventually("every observation by webhook", 3 * SOON, async || {
            let delivered = self.delivered.lock().unwrap();
            events.iter().all(|event| delivered.contains(event)).then_some(())
        })
        .await;
        let twice: Vec<_> = recorded.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "recorded twice: {twice:?}");
        eventually("log, bus and read models that hold the same", SOON, async || {
            let (holds, said) = self.run(&["verify", "--rows"], &[]).await;
            if !holds {
                eprintln!("{said}");
            }
            holds.then_some(())
        })
        .await;
    }

    /// Ends everything in order.
    pub(super) async fn stop(mut self) {
        join_all(std::mem::take(&mut self.processes).into_iter().map(Process::stop)).await;
    }
}

/// Takes webhooks, and gives the file that names it as their target.
async fn webhook_target(folder: &Path, delivered: Arc<Mutex<BTreeSet<String>>>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let take = move |headers: axum::http::HeaderMap| {
        let id = headers["webhook-id"].to_str().unwrap().to_owned();
        delivered.lock().unwrap().insert(id);
        std::future::ready(axum::http::StatusCode::NO_CONTENT)
    };
    let router = axum::Router::new().route("/", axum::routing::post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let target = format!(
        "[grading]\nurl = \"{url}/\"\nformat = \"binary\"\nsecret_files = [\"target.secret\"]\n\
         types = [\"io.lablet.lablet_session.resources_observed.v1\"]\nstart = \"beginning\"\n\
         allow = [\"127.0.0.1\"]\nallow_http = true\nhandshake = false\n"
    );
    std::fs::write(folder.join("target.secret"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let file = folder.join("webhooks.toml");
    std::fs::write(&file, target).unwrap();
    file.to_str().unwrap().to_owned()
}

/// A setting as this role has it: who keeps read models signs in to Postgres as their owner.
fn as_user_of(role: &str, value: &str) -> String {
    if role == "project" { value.replacen("//lablet_app:", "//lablet_projector:", 1) } else { value.to_owned() }
}

impl Process {
    fn start(role: &'static str, number: usize, folder: &Path, environment: &[(String, String)]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let log = folder.join(format!("{role}-{number}.log"));
        let child = Command::new(env!("CARGO_BIN_EXE_lablet-under-test"))
            .arg(role)
            .args(if role == "serve" { ["--http"] } else { ["--metrics-address"] })
            .arg(format!("127.0.0.1:{port}"))
            .envs(environment.iter().map(|(name, value)| (name, as_user_of(role, value))))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { role, port, child, log }
    }

    async fn is_ready(&self) {
        let ready = || async {
            let answer = reqwest::get(format!("http://127.0.0.1:{}/readyz", self.port)).await.ok()?;
            (answer.status() == StatusCode::OK).then_some(())
        };
        eventually(&format!("{} on {}", self.role, self.port), SOON, ready).await;
    }

    /// SIGTERM, and an end in order.
    async fn stop(mut self) {
        let id = self.child.id().unwrap_or_else(|| panic!("{} ended by itself: {}", self.role, self.log()));
        assert!(Command::new("kill").args(["-TERM", &id.to_string()]).status().await.unwrap().success());
        let ended = tokio::time::timeout(SOON, self.child.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "{}: {}", self.role, self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}
