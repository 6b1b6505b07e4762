//! What the charts configure, run by real servers: three nodes of NATS by the values for its chart, and a Postgres whose roles
//! are made as the operator makes them.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream::{self, stream};
use bus::streams::LARGEST_COMMAND;
use harness::{eventually, helm_template};
use serde_norway::Value;
use servers::testing::nats_of_file;
use servers::{PostgresOptions, PostgresServer};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::process::Command;

use super::{Manifests, list, texts};
use crate::tidy::repository;

/// What the chart of NATS makes of our values.
const NATS: &str = include_str!("nats.conf");
const NODES: [&str; 3] = ["nats-0", "nats-1", "nats-2"];
/// How long an election may take, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

async fn lablet(arguments: &[&str], settings: &[(&str, &str)]) -> (bool, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_lablet-under-test"))
        .args(arguments)
        .env_clear()
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(done.stdout).unwrap() + &String::from_utf8_lossy(&done.stderr);
    (done.status.success(), said)
}

#[test]
fn the_configuration_of_nats_is_of_our_values() {
    let values = std::fs::read_to_string(repository().join("packaging/helm/nats.values.yaml")).unwrap();
    let mut values: Value = serde_norway::from_str(&values).unwrap();
    values.apply_merge().unwrap();
    let config = &values["config"];
    let file = |dir: &str, key: &Value| format!("\"{dir}/{}\"", key.as_str().unwrap());
    let authority = file(values["tlsCA"]["dir"].as_str().unwrap(), &values["tlsCA"]["key"]);
    let largest = config["merge"]["max_payload"].as_u64().unwrap();
    assert_eq!(usize::try_from(largest).unwrap(), LARGEST_COMMAND);
    for line in [
        format!("include {};", config["merge"]["$include"].as_str().unwrap()),
        format!("\"max_payload\": {largest}"),
        format!("\"max_file_store\": {}", config["jetstream"]["fileStore"]["pvc"]["size"].as_str().unwrap()),
        format!("\"ca_file\": {authority}"),
        format!("\"cert_file\": {}", file("/etc/nats-certs/cluster", &config["cluster"]["tls"]["cert"])),
        format!("\"key_file\": {}", file("/etc/nats-certs/nats", &config["nats"]["tls"]["key"])),
    ] {
        assert!(NATS.contains(&line), "{line} is not in nats.conf: make it anew, as its head says");
    }
    assert_eq!(config["cluster"]["replicas"].as_u64(), Some(NODES.len() as u64));
}

#[tokio::test]
async fn three_nodes_of_nats_start_by_the_values_and_let_in_who_has_a_key() {
    let shared = tempfile::tempdir().unwrap();
    let bus = shared.path().join("bus");
    let mut arguments = vec!["bus-config", "--to", bus.to_str().unwrap()];
    arguments.extend(["--team", "booking", "--server-name", "127.0.0.1"]);
    let (done, said) = lablet(&arguments, &[]).await;
    assert!(done, "{said}");
    let free: Vec<TcpListener> = NODES.iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let routes: Vec<u16> = free.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    drop(free);
    let configuration = |folder: &Path, node: usize| {
        // As in the pod, the users lie beside the folder of the configuration. All nodes are on one address.
        for part in ["nats-config", "lablet-bus"] {
            std::fs::create_dir(folder.join(part)).unwrap();
        }
        std::fs::copy(bus.join("users.conf"), folder.join("lablet-bus/users.conf")).unwrap();
        let mut text = NATS.to_owned();
        for mounted in ["/etc/lablet-bus", "/etc/nats-certs/cluster", "/etc/nats-certs/nats"] {
            text = text.replace(mounted, bus.join("tls").to_str().unwrap());
        }
        text = text.replace("\"/data\"", &format!("{:?}", folder.join("data")));
        text = text.replace("/var/run/nats", folder.to_str().unwrap());
        text = text.replace("$SERVER_NAME", NODES[node]);
        text = text.replace("\"port\": 6222", &format!("\"host\": \"127.0.0.1\", \"port\": {}", routes[node]));
        for (name, port) in NODES.iter().zip(&routes) {
            text = text.replace(&format!("{name}.nats-headless:6222"), &format!("127.0.0.1:{port}"));
        }
        let file = folder.join("nats-config/nats.conf");
        std::fs::write(&file, text).unwrap();
        file
    };
    let (first, second, third) = tokio::join!(
        nats_of_file(|folder| configuration(folder, 0)),
        nats_of_file(|folder| configuration(folder, 1)),
        nats_of_file(|folder| configuration(folder, 2)),
    );

    let address = format!("tls://127.0.0.1:{},tls://127.0.0.1:{}", second.port(), third.port());
    let servers: Vec<async_nats::ServerAddr> = address.split(',').map(|address| address.parse().unwrap()).collect();
    let trusting = |options: ConnectOptions| options.add_root_certificates(bus.join("tls/ca.pem"));
    let seed = std::fs::read_to_string(bus.join("users/operator.nk")).unwrap();
    let options = trusting(ConnectOptions::with_nkey(seed.trim().to_owned())).custom_inbox_prefix("_INBOX_operator");
    let client = options.connect(&servers).await.unwrap();
    let stream = stream::Config {
        name: "CHART".to_owned(),
        subjects: vec!["chart.>".to_owned()],
        num_replicas: NODES.len(),
        ..stream::Config::default()
    };
    let jetstream = jetstream::new(client);
    eventually("three nodes that hold a stream together", SOON, || async {
        let mut stream = jetstream.get_or_create_stream(stream.clone()).await.ok()?;
        let cluster = stream.info().await.ok()?.cluster.clone()?;
        (cluster.leader.is_some() && cluster.replicas.len() == 2).then_some(())
    })
    .await;
    let stranger = trusting(ConnectOptions::new()).connect(&servers).await;
    assert!(stranger.unwrap_err().to_string().contains("authorization"), "nobody comes without a key");
    assert!(!first.log().contains("[FTL]"), "{}", first.log());
}

#[tokio::test]
async fn roles_that_the_operator_makes_are_enough_for_migrations_by_an_owner_who_is_no_superuser() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        PostgresOptions { data_dir: folder.path().to_owned(), port: None, fsync: false, settings: Vec::new() };
    let server = PostgresServer::start(options).await.unwrap();
    let execute = async |database: &str, statements: &[String]| {
        let mut connection = PgConnection::connect(&server.url(database)).await.unwrap();
        for statement in statements {
            // One at a time, as the operator sends them: several in one would be refused.
            sqlx::query(AssertSqlSafe(statement.clone())).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
    };
    // As CloudNativePG does: the owner and the database, the chart's statements in it, then the passwords.
    let database = ["CREATE ROLE lablet_owner LOGIN PASSWORD 'owner'", "CREATE DATABASE lablet OWNER lablet_owner"]
        .map(str::to_owned);
    execute("postgres", &database).await;
    let chart = helm_template("lablet-postgres", "lablet-postgres", &["image: postgres:17"]).await.unwrap();
    let chart = Manifests::read(chart);
    let cluster = &chart.of_kind("Cluster")["lablet-postgres"]["spec"];
    let statements = texts(&cluster["bootstrap"]["initdb"]["postInitApplicationSQL"]);
    assert!(statements.len() > 8, "{statements:?}");
    execute("lablet", &statements).await;
    let managed = list(&cluster["managed"]["roles"]).iter().map(|role| role["name"].as_str().unwrap());
    let passwords: Vec<String> = managed.map(|role| format!("ALTER ROLE {role} PASSWORD '{}'", &role[7..])).collect();
    execute("lablet", &passwords).await;
    let address = |role: &str| format!("postgresql://lablet_{role}:{role}@127.0.0.1:{}/lablet", server.port());

    let secret = folder.path().join("url");
    std::fs::write(&secret, address("owner")).unwrap();
    let secret = secret.to_str().unwrap();
    let (done, said) = lablet(&["migrate"], &[("LABLET_DATABASE_URL_FILE", secret)]).await;
    assert!(done, "{said}");
    // Nothing is left that only a superuser could do. No role runs yet, and a Postgres of tests does without fsync.
    for role in ["owner", "app"] {
        std::fs::write(secret, address(role)).unwrap();
        let (_, said) = lablet(&["doctor"], &[("LABLET_DATABASE_URL_FILE", secret)]).await;
        let mut faults = said.lines().filter(|line| line.starts_with("error") || line.starts_with("warning"));
        assert!(
            faults.all(|fault| fault.contains("lablet relay") || fault.contains("a crash of the machine")),
            "{role}: {said}"
        );
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_process_whose_secret_is_not_there_names_the_setting_and_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let empty = file("empty", "");
    let (key, credentials) = (file("key", "k"), file("credentials.toml", ""));
    let control = [
        ("LABLET_NATS_URL", "nats://127.0.0.1:1"),
        ("LABLET_INTERNAL_API_KEY_FILE", &*key),
        ("LABLET_CML_CREDENTIALS", &*credentials),
    ];
    let stores = [("LABLET_NATS_URL", "nats://127.0.0.1:1"), ("LABLET_DATABASE_URL", "postgres://127.0.0.1:1/lablet")];
    for (role, settings, name) in [
        ("control", &control[..], "LABLET_INTERNAL_API_KEY_FILE"),
        ("control", &control, "LABLET_CML_CREDENTIALS"),
        ("control", &control, "LABLET_CML_CA"),
        ("control", &control, "LABLET_NATS_NKEY"),
        ("control", &control, "LABLET_NATS_CA"),
        ("deliver", &stores, "LABLET_WEBHOOKS"),
        ("migrate", &stores[..1], "LABLET_DATABASE_URL_FILE"),
        ("migrate", &stores[..1], "OTEL_EXPORTER_OTLP_HEADERS_FILE"),
    ] {
        let mut settings: Vec<(&str, &str)> = settings.iter().filter(|(other, _)| *other != name).copied().collect();
        settings.push((name, "/etc/lablet/absent"));
        let (done, said) = lablet(&[role], &settings).await;
        assert!(!done && said.contains(name) && said.contains("/etc/lablet/absent"), "{role}, {name}: {said}");
    }
    let (done, said) = lablet(&["migrate"], &[("LABLET_DATABASE_URL_FILE", &empty)]).await;
    assert!(!done && said.contains(&format!("LABLET_DATABASE_URL_FILE: {empty} is empty")), "{said}");
}
