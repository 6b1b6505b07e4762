//! Each role as a process of its own, on a bus whose server is configured by `lablet bus-config` and on a Postgres where each
//! signs in for itself: the rights are enough, and one step beyond them is refused.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use async_nats::{ConnectOptions, Event, ServerError};
use bus::rights::{BusUser, TeamName};
use harness::eventually;
use reqwest::Method;
use serde_json::{Value, json};
use servers::testing::{ConfiguredNats, nats_of_file};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::SOON;
use super::database_rights::Database;
use super::outcomes::{credentials, simulator};
use super::webhooks::WebhookTargets;

/// Internal key and admin token, with their SHA-256.
const KEY: &str = "rights-internal-key";
const KEY_HASH: &str = "rights:3f8959ffaac392c2a0f867a796745a0a577ef99c09d93bf0b4bc9066c2843d96";
const TOKEN: &str = "rights-admin-token";
const TOKEN_HASH: &str = "ada:admin:005ba3d225bec48b9b868fa70f8876efaa0589c03ebab0c380af494524425eb8";

fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_lablet-under-test").into()
}

/// Runs a command to its end, which has to be good.
async fn run(arguments: &[&str], environment: &[(String, String)]) -> String {
    let done = Command::new(program())
        .args(arguments)
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&done.stderr));
    said
}

/// `lablet bus-config` below this folder.
fn write_configuration(folder: &Path, arguments: &[&str]) {
    let done = std::process::Command::new(program())
        .args(["bus-config", "--server-name", "127.0.0.1"])
        .args(arguments)
        .arg("--to")
        .arg(folder.join("bus"))
        .arg("--store")
        .arg(folder.join("jetstream"))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// The settings that `lablet bus-config` wrote for a user, at the port that the server has here.
fn settings(server: &ConfiguredNats, user: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(server.folder().join("bus/users").join(format!("{user}.env"))).unwrap();
    let here = format!("127.0.0.1:{}", server.port());
    let setting = |line: &str| {
        let (name, value) = line.split_once('=').unwrap();
        (name.to_owned(), value.replace("127.0.0.1:4222", &here))
    };
    text.lines().map(setting).collect()
}

/// A role as a process. Ends with the value.
struct Role {
    name: &'static str,
    process: Child,
    log: PathBuf,
}

impl Role {
    fn start(folder: &Path, name: &'static str, arguments: &[&str], environment: Vec<(String, String)>) -> Self {
        let log = folder.join(format!("{name}.log"));
        let process = Command::new(program())
            .arg(name)
            .args(arguments)
            .env("LABLET_DATA_DIR", folder.join("data"))
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { name, process, log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn stop(mut self) {
        let id = self.process.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        let ended = tokio::time::timeout(SOON, self.process.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "{}: {}", self.name, self.log());
    }
}

/// The gateway, asked with a token that may everything.
struct Gateway {
    url: String,
    http: reqwest::Client,
}

impl Gateway {
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Option<Value> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        request = if path.starts_with("/api/internal/") {
            request.header("x-api-key", KEY)
        } else {
            request.bearer_auth(TOKEN)
        };
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.ok()?;
        let (status, text) = (answer.status(), answer.text().await.ok()?);
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).ok()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.ask(Method::POST, path, Some(body)).await.unwrap_or_else(|| panic!("{path} has no answer"))
    }

    async fn get(&self, path: &str) -> Option<Value> {
        self.ask(Method::GET, path, None).await
    }
}

/// The seed of a user's key.
fn key_of(server: &ConfiguredNats, user: &str) -> String {
    std::fs::read_to_string(server.folder().join(format!("bus/users/{user}.nk"))).unwrap().trim().to_owned()
}

fn access(server: &ConfiguredNats, seed: &str) -> ConnectOptions {
    ConnectOptions::with_nkey(seed.to_owned()).add_root_certificates(server.folder().join("bus/tls/ca.pem"))
}

fn address(server: &ConfiguredNats) -> String {
    format!("tls://127.0.0.1:{}", server.port())
}

/// Somebody who signs in to the bus with what was written for a user, and hears what the server refuses.
struct Client {
    client: async_nats::Client,
    refused: mpsc::UnboundedReceiver<String>,
}

impl Client {
    async fn sign_in(server: &ConfiguredNats, user: &BusUser) -> Self {
        let (sender, refused) = mpsc::unbounded_channel();
        let options = access(server, &key_of(server, user.name()))
            .custom_inbox_prefix(user.inbox_prefix())
            .event_callback(move |event| {
                let sender = sender.clone();
                async move {
                    if let Event::ServerError(ServerError::Other(text)) = event {
                        let _ = sender.send(text);
                    }
                }
            });
        let client = options.connect(address(server)).await.unwrap();
        Self { client, refused }
    }

    /// The refusal of what was just done, which the server tells of by name.
    async fn is_refused(&mut self, kind: &str, subject: &str) {
        self.client.flush().await.unwrap();
        let refused = tokio::time::timeout(SOON, self.refused.recv()).await;
        let text = refused.unwrap_or_else(|_| panic!("{kind} {subject} is allowed")).unwrap().to_lowercase();
        assert!(text.contains("permissions violation") && text.contains(&subject.to_lowercase()), "{subject}: {text}");
    }
}

/// A subject that a right is for.
fn example(right: &str) -> String {
    right.replace(">", "any.thing").replace('*', "any")
}

/// Whether a right is for a subject.
fn covers(right: &str, subject: &str) -> bool {
    let (mut right, mut subject) = (right.split('.'), subject.split('.'));
    loop {
        match (right.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(one), Some(other)) if one == "*" || one == other => {}
            _ => return false,
        }
    }
}

/// What others may, and this user may not.
fn beyond(
    user: &BusUser,
    users: &[BusUser],
    teams: &[TeamName],
    part: fn(&BusUser, &[TeamName]) -> Vec<String>,
) -> Vec<String> {
    let own = part(user, teams);
    let others = users.iter().flat_map(|other| part(other, teams)).map(|right| example(&right));
    let mut beyond: Vec<String> = others.filter(|subject| !own.iter().any(|right| covers(right, subject))).collect();
    beyond.sort();
    beyond.dedup();
    beyond
}

/// What `lablet doctor` says of the database. Its exit code is another matter: the server of a test may lose what a crash of the machine takes.
async fn examined(database_url: &str) -> String {
    let doctor = Command::new(program()).arg("doctor").env("LABLET_DATABASE_URL", database_url).output().await.unwrap();
    String::from_utf8_lossy(&doctor.stdout).into_owned()
}

/// What a read model did not take is tried again by the process that keeps it, when the gateway is asked to.
async fn a_read_model_is_written_by_its_projector_alone(gateway: &Gateway, database: &Database) {
    database.run("ALTER TABLE read_workers.workers ADD CONSTRAINT no_refused CHECK (name <> 'refused')").await;
    let worker = json!({"id": "w2", "name": "refused", "address": "https://127.0.0.1:1",
        "capacity": {"cpu_cores": 64, "memory_gb": 256, "storage_gb": 1000, "max_nodes": 320}});
    gateway.post("/api/workers", worker).await;
    let letter = eventually("an event that the read model does not take", SOON, || async {
        let letters = gateway.get("/api/dead-letters?kind=event").await?;
        letters["items"].as_array()?.iter().find(|letter| letter["source"] == "workers")?["id"]
            .as_str()
            .map(str::to_owned)
    })
    .await;
    database.run("ALTER TABLE read_workers.workers DROP CONSTRAINT no_refused").await;
    let retried = gateway.post(&format!("/api/dead-letters/{letter}/retry"), json!({})).await;
    assert_eq!((&retried["outcome"], &retried["applied"]), (&json!("retried"), &json!(1)), "{retried}");
}

/// No process of this machine was told a secret in its arguments, which everybody can read.
fn stands_in_no_arguments(secrets: &[String]) {
    for process in std::fs::read_dir("/proc").unwrap() {
        let path = process.unwrap().path();
        // Those that have ended meanwhile, and what is no process, have none.
        let arguments = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        for secret in secrets {
            assert!(
                !arguments.contains(secret.as_str()),
                "{}: {}",
                path.display(),
                arguments.replace(secret.as_str(), "…")
            );
        }
    }
}

#[tokio::test]
async fn the_roles_work_with_the_rights_that_were_written_for_them_and_are_refused_one_step_beyond() {
    let (simulator, lab) = simulator().await;
    let scratch = tempfile::tempdir().unwrap();
    let database = Database::start(scratch.path()).await;
    let (as_owner, as_app, as_projector) =
        (database.owner().await, database.url("lablet_app").await, database.url("lablet_projector").await);
    let teams: Vec<TeamName> = ["grading", "booking"].map(|name| name.parse().unwrap()).into();
    let server = nats_of_file(|folder| {
        write_configuration(folder, &["--team", "grading", "--team", "booking"]);
        folder.join("bus/nats.conf")
    })
    .await;
    let of = |user: &str, database: Option<&str>| {
        let mut settings = settings(&server, user);
        settings.extend(database.map(|url| ("LABLET_DATABASE_URL".to_owned(), url.to_owned())));
        settings
    };

    run(&["migrate"], &of("operator", Some(&as_owner))).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let http = free.local_addr().unwrap().to_string();
    drop(free);
    let mut environment = of("commands", Some(&as_app));
    environment.push(("LABLET_INTERNAL_API_KEY_HASHES".to_owned(), KEY_HASH.to_owned()));
    environment.push(("LABLET_ADMIN_TOKEN_HASHES".to_owned(), TOKEN_HASH.to_owned()));
    let serve = Role::start(scratch.path(), "serve", &["--http", &http], environment);
    let mut environment = of("controller", None);
    environment.extend(credentials(&simulator, scratch.path()));
    environment.push(("LABLET_INTERNAL_API_KEY".to_owned(), KEY.to_owned()));
    environment.push(("LABLET_GATEWAY_URL".to_owned(), format!("http://{http}")));
    let webhooks = WebhookTargets::start().await;
    let roles = [
        Role::start(scratch.path(), "project", &[], of("projector", Some(&as_projector))),
        Role::start(scratch.path(), "relay", &[], of("relay", Some(&as_app))),
        Role::start(scratch.path(), "deliver", &["--webhooks", &webhooks.file()], of("webhooks", Some(&as_app))),
        Role::start(scratch.path(), "control", &[], environment),
        serve,
    ];

    // The whole loop, by HTTP and by a team's command.
    let gateway = Gateway { url: format!("http://{http}"), http: reqwest::Client::new() };
    eventually("the gateway", SOON, || gateway.get("/api/overview")).await;
    let definition = json!({"id": "ospf", "name": "ospf", "version": "1.0",
        "resource_requirements": {"cpu_cores": 2, "memory_gb": 4, "storage_gb": 10},
        "port_template": {"ports": [{"name": "PC_serial", "protocol": "serial"}]}});
    gateway.post("/api/lablet-definitions", definition).await;
    let worker = json!({"id": "w1", "name": "w1", "address": simulator.url(),
        "capacity": {"cpu_cores": 64, "memory_gb": 256, "storage_gb": 1000, "max_nodes": 320}});
    gateway.post("/api/workers", worker).await;
    let command = json!({"specversion": "1.0", "id": "c1", "source": "grading", "type": "io.lablet.command.create_lablet_session.v1",
        "datacontenttype": "application/json", "data": {"id": "s1", "definition_id": "ospf"}});
    let team = Client::sign_in(&server, &BusUser::Team(teams[0].clone())).await;
    let request = team.client.request("lablet.requests.grading.create_lablet_session", command.to_string().into());
    let answer = tokio::time::timeout(SOON, request).await.unwrap().unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    for step in [
        json!({"new_status": "scheduled", "worker_id": "w1", "allocated_ports": {"PC_serial": 5041}}),
        json!({"new_status": "instantiating"}),
        json!({"new_status": "ready"}),
        json!({"new_status": "running", "cml_lab_id": lab}),
    ] {
        gateway.post("/api/internal/lablet-sessions/s1/transition", step).await;
    }
    gateway.post("/api/lablet-sessions/s1/observe-resources", json!({})).await;
    eventually("an observation in the read models", SOON, || async {
        let session = gateway.get("/api/lablet-sessions/s1").await?;
        session["observation_count"].as_u64().filter(|count| *count > 0)
    })
    .await;
    eventually(
        "a relay that has caught up, a controller that is seen, and a webhook that is delivered",
        SOON,
        || async {
            let operations = gateway.get("/api/operations").await?;
            let controllers = gateway.get("/api/controllers").await?;
            let is_seen = controllers["items"].as_array().is_some_and(|controllers| !controllers.is_empty());
            let delivered = operations["webhooks"][0]["delivered"].as_u64();
            (operations["relay"]["caught_up"] == true && is_seen && delivered > Some(0)).then_some(())
        },
    )
    .await;
    a_read_model_is_written_by_its_projector_alone(&gateway, &database).await;
    for login in [&as_app, &as_projector] {
        let said = examined(login).await;
        assert!(said.lines().any(|line| line.starts_with("ok ") && line.contains(" rights ")), "{said}");
        assert!(!said.contains("unknown  ") && !said.contains("permission denied"), "{said}");
    }
    database.run("REVOKE SELECT ON log_epochs FROM lablet_app").await;
    let said = examined(&as_app).await;
    let named = "GRANT SELECT ON log_epochs TO lablet_app";
    assert!(said.contains(&format!("as the database's owner: {named}\n")), "{said}");
    database.run(named).await;
    run(&["verify", "--rows"], &of("operator", Some(&as_projector))).await;
    run(&["rebuild", "workers"], &[("LABLET_DATABASE_URL".to_owned(), as_projector.clone())]).await;
    eventually("a gateway that reads what was made anew", SOON, || gateway.get("/api/workers")).await;
    for role in &roles {
        let log = role.log();
        assert!(!log.contains("permission denied"), "{}: {log}", role.name);
    }
    let passwords =
        [&as_owner, &as_app, &as_projector].map(|url| url.split(['/', ':', '@']).nth(4).unwrap().to_owned());
    let secrets = passwords.into_iter().chain([KEY.to_owned(), TOKEN.to_owned(), key_of(&server, "relay")]);
    stands_in_no_arguments(&secrets.collect::<Vec<_>>());
    let refused: Vec<String> =
        server.log().lines().filter(|line| line.to_lowercase().contains("violation")).map(str::to_owned).collect();
    assert_eq!(refused, [""; 0], "{answer}");

    // One step beyond.
    let users: Vec<BusUser> =
        BusUser::OF_PROCESSES.into_iter().chain(teams.iter().cloned().map(BusUser::Team)).collect();
    let mut tried = 0;
    for user in &users {
        let mut client = Client::sign_in(&server, user).await;
        for subject in beyond(user, &users, &teams, |user, teams| user.rights(teams).publish) {
            client.client.publish(subject.clone(), "{}".into()).await.unwrap();
            client.is_refused("publishing", &subject).await;
            tried += 1;
        }
        for subject in beyond(user, &users, &teams, |user, teams| user.rights(teams).subscribe) {
            let _subscription = client.client.subscribe(subject.clone()).await.unwrap();
            client.is_refused("subscribing to", &subject).await;
            tried += 1;
        }
    }
    assert!(tried > 200, "{tried}");
    database.is_exact().await;
    for role in roles {
        role.stop().await;
    }
    database.stop().await;

    // Written again: keys stay but for one that is made anew and one that is taken away.
    let before = ["relay", "grading", "booking"].map(|user| key_of(&server, user));
    let changes = ["--rotate", "grading", "--remove", "booking", "--team", "labs"];
    write_configuration(&server.folder(), &changes);
    server.reload();
    let comes_in = async |seed: &str| access(&server, seed).connect(address(&server)).await.is_ok();
    eventually("the new configuration", SOON, async || comes_in(&key_of(&server, "labs")).await.then_some(())).await;
    assert_eq!(key_of(&server, "relay"), before[0]);
    assert!(comes_in(&before[0]).await && comes_in(&key_of(&server, "grading")).await);
    assert!(!comes_in(&before[1]).await && !comes_in(&before[2]).await);
}
