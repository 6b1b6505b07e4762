//! The container set-up is of one piece: `docker compose` accepts it where it is installed, and what it cannot know
//! (no secret has a default, every setting is explained, the image runs as nobody) is checked on the file itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_norway::{Mapping, Value};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn compose() -> Value {
    let mut value: Value = serde_norway::from_str(&read("docker-compose.yml")).unwrap();
    value.apply_merge().unwrap();
    value
}

fn services() -> Vec<(String, Mapping)> {
    compose()["services"]
        .as_mapping()
        .unwrap()
        .iter()
        .map(|(name, service)| (name.as_str().unwrap().to_owned(), service.as_mapping().unwrap().clone()))
        .collect()
}

/// `${NAME}`, `${NAME:-default}`, `${NAME:?complaint}`: the name and what follows it.
fn interpolations(text: &str) -> Vec<(String, String)> {
    text.split("${")
        .skip(1)
        .map(|rest| {
            let inside = rest.split('}').next().unwrap();
            let end = inside.find(|letter: char| letter != '_' && !letter.is_ascii_alphanumeric());
            let (name, rest) = inside.split_at(end.unwrap_or(inside.len()));
            (name.to_owned(), rest.to_owned())
        })
        .collect()
}

/// Names in `.env.example`, those that are only shown (commented out) too, and their values.
fn example() -> Vec<(String, String)> {
    read(".env.example")
        .lines()
        .filter_map(|line| line.trim_start_matches("# ").split_once('='))
        .filter(|(name, _)| name.bytes().all(|byte| byte == b'_' || byte.is_ascii_uppercase()))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn is_secret(name: &str) -> bool {
    ["PASSWORD", "KEY", "TOKEN", "USERNAME"].iter().any(|word| name.contains(word))
}

#[test]
fn docker_compose_accepts_the_file() {
    let is_there = Command::new("docker")
        .args(["compose", "version"])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|answer| answer.status.success());
    if !is_there {
        // The other tests of this module read the file in any case.
        eprintln!("docker compose is not installed here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let filled_in = folder.path().join("env");
    let text: String = example().iter().map(|(name, _)| format!("{name}=1\n")).collect();
    fs::write(&filled_in, text).unwrap();
    let with = |env_file: &Path| {
        Command::new("docker")
            .args(["compose", "--profile", "simulator", "--profile", "monitoring", "--env-file"])
            .arg(env_file)
            .args(["-f", "docker-compose.yml", "config", "--quiet"])
            .current_dir(root())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let answer = with(&filled_in);
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let answer = with(&root().join(".env.example"));
    assert!(!answer.status.success(), "it starts without secrets");
}

#[test]
fn there_is_a_service_for_each_role_and_each_server() {
    let found: BTreeSet<String> = services().into_iter().map(|(name, _)| name).collect();
    let expected = ["control", "deliver", "migrate", "nats", "postgres", "project", "relay", "serve", "simulator"];
    let monitoring = ["grafana", "prometheus"];
    assert_eq!(found, expected.into_iter().chain(monitoring).map(str::to_owned).collect());
    for (name, service) in services() {
        let Some(image) = service["image"].as_str() else {
            panic!("{name} has no image");
        };
        if image != "lablet" {
            let (_, tag) = image.split_once(':').unwrap();
            let version = tag.strip_prefix('v').unwrap_or(tag);
            assert!(version.starts_with(|letter: char| letter.is_ascii_digit()), "{name}: {image} names no version");
            continue;
        }
        assert_eq!(service["read_only"], Value::Bool(true), "{name}");
        let subcommand = service["command"][0].as_str().unwrap();
        let expected = if name == "simulator" { "simulate-cml" } else { &name };
        assert_eq!(subcommand, expected);
    }
}

#[test]
fn whatever_keeps_running_has_a_health_check_and_starts_after_what_it_needs() {
    let services = services();
    for (name, service) in &services {
        if name != "migrate" {
            let check = &service["healthcheck"]["test"];
            assert_eq!(check[0], Value::from("CMD"), "{name}");
            assert_eq!(service["restart"], Value::from("unless-stopped"), "{name}");
        }
        let Some(needed) = service.get("depends_on").and_then(Value::as_mapping) else {
            continue;
        };
        for (other, how) in needed {
            let other = other.as_str().unwrap();
            assert!(services.iter().any(|(found, _)| found == other), "{name} needs {other}");
            let expected = if other == "migrate" { "service_completed_successfully" } else { "service_healthy" };
            assert_eq!(how["condition"], Value::from(expected), "{name} after {other}");
        }
    }
}

#[test]
fn volumes_are_named_and_declared() {
    let compose = compose();
    let declared: BTreeSet<&str> =
        compose["volumes"].as_mapping().unwrap().keys().map(|name| name.as_str().unwrap()).collect();
    let mut used = BTreeSet::new();
    for (name, service) in services() {
        let Some(volumes) = service.get("volumes").and_then(Value::as_sequence) else {
            continue;
        };
        for volume in volumes {
            let volume = volume.as_str().unwrap();
            // A folder that .env names holds files of the operator's, which no service writes.
            if volume.starts_with("${") {
                assert!(volume.ends_with(":ro"), "{name} may write to {volume}");
                continue;
            }
            let source = volume.split(':').next().unwrap().to_owned();
            if source.starts_with("./secrets/") {
                // Made by the script, for what an operator adds.
                continue;
            }
            if source.starts_with('.') {
                assert!(root().join(&source).exists(), "{name} mounts {source}");
            } else {
                assert!(declared.contains(source.as_str()), "{name} uses the volume {source}");
                used.insert(source);
            }
        }
    }
    assert_eq!(used.len(), declared.len());
}

/// What stands in a service's file as text: arguments, and what it is told by its environment.
fn told(service: &Mapping) -> Vec<String> {
    let mut told = Vec::new();
    match service.get("command") {
        Some(Value::Sequence(arguments)) => told.extend(arguments.iter().map(|part| part.as_str().unwrap().to_owned())),
        other => assert!(other.is_none_or(Value::is_null), "{other:?}"),
    }
    let environment = service.get("environment").and_then(Value::as_mapping);
    told.extend(environment.into_iter().flatten().map(|(name, value)| {
        let value = value.as_str().map_or_else(|| serde_norway::to_string(value).unwrap(), str::to_owned);
        format!("{}={value}", name.as_str().unwrap())
    }));
    told
}

#[test]
fn no_secret_stands_in_an_argument_or_an_environment() {
    for (service, settings) in services() {
        for text in told(&settings) {
            let name = text.split('=').next().unwrap().trim_start_matches("--").to_uppercase();
            let is_told_otherwise = ["_FILE", "_HASHES", "_AUTHORITY", "_NKEY"].iter().any(|end| name.ends_with(end));
            let is_public = ["LABLET_CML_USERNAME", "LABLET_OIDC_API_ID_TOKENS"].contains(&name.as_str());
            assert!(!is_secret(&name) || is_told_otherwise || is_public, "{service}: {text}");
            assert!(!name.ends_with("PASS") && !text.contains("://lablet"), "{service}: {text}");
        }
    }
    for (name, value) in example() {
        let is_public = ["_FILE", "_AUTHORITY", "_USERNAME", "_TOKENS"].iter().any(|end| name.ends_with(end));
        assert!(!is_secret(&name) || is_public || value.is_empty(), "{name} has a value in .env.example");
    }
    // Nothing starts before the keys' hashes are there.
    for (name, rest) in interpolations(&read("docker-compose.yml")) {
        assert!(!name.ends_with("_HASHES") || rest.starts_with(":?"), "${{{name}{rest}}} starts without being set");
    }
}

/// The files of secrets, made below this folder.
fn prepared(folder: &Path) -> Vec<String> {
    let done = Command::new(root().join("scripts/compose-secrets.sh"))
        .arg("--to")
        .arg(folder.join("secrets"))
        .args(["--", "--team", "booking"])
        .env("LABLET", env!("CARGO_BIN_EXE_lablet-under-test"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn every_file_of_a_secret_is_made_by_one_command_and_each_service_is_given_its_own_alone() {
    let folder = tempfile::tempdir().unwrap();
    let said = prepared(folder.path()).join("\n");
    let compose = compose();
    let files = compose["secrets"].as_mapping().unwrap();
    let mut given = BTreeSet::new();
    for (name, service) in services() {
        let Some(secrets) = service.get("secrets").and_then(Value::as_sequence) else { continue };
        for secret in secrets {
            let source = secret.as_str().or_else(|| secret["source"].as_str()).unwrap();
            assert!(files.contains_key(source), "{name} is given {source}, which is none");
            given.insert(source.to_owned());
        }
        let environment = service.get("environment");
        let of_bus = environment.and_then(|told| told.get("LABLET_NATS_INBOX_PREFIX")).and_then(Value::as_str);
        if let Some(user) = of_bus.and_then(|prefix| prefix.strip_prefix("_INBOX_")) {
            let key = format!("bus-{user}-key");
            assert!(secrets.iter().any(|secret| secret["source"].as_str() == Some(&key)), "{name} has no {key}");
        }
    }
    assert_eq!(given.len(), files.len(), "every file is some service's");
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path().join("secrets")), 0o700);
    for (name, file) in files {
        let path = folder.path().join(file["file"].as_str().unwrap().trim_start_matches("./"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!text.trim().is_empty() && mode(&path) & 0o044 == 0o044, "{name:?}");
        assert!(!said.contains(text.trim()), "{name:?} is printed");
    }
    let hashed = |file: &str| {
        let sum = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(
            &mut sum.stdin.as_ref().unwrap(),
            fs::read_to_string(folder.path().join(file)).unwrap().trim().as_bytes(),
        )
        .unwrap();
        let sum = sum.wait_with_output().unwrap();
        String::from_utf8(sum.stdout).unwrap().split(' ').next().unwrap().to_owned()
    };
    let settings = fs::read_to_string(folder.path().join(".env")).unwrap();
    let key = format!("LABLET_INTERNAL_API_KEY_HASHES=controller:{}\n", hashed("secrets/internal-api-key"));
    let token = format!("LABLET_ADMIN_TOKEN_HASHES=admin:admin:{}\n", hashed("secrets/admin-token"));
    assert!(settings.contains(&key) && settings.contains(&token), "{settings}");

    // Again: what is there stays, and what servers of an earlier set-up know is taken over.
    let before = fs::read_to_string(folder.path().join("secrets/app-password")).unwrap();
    fs::remove_file(folder.path().join("secrets/analyst-password")).unwrap();
    fs::write(folder.path().join(".env"), format!("{settings}LABLET_ANALYST_PASSWORD=of-earlier\n")).unwrap();
    prepared(folder.path());
    assert_eq!(fs::read_to_string(folder.path().join("secrets/app-password")).unwrap(), before);
    assert_eq!(fs::read_to_string(folder.path().join("secrets/analyst-password")).unwrap(), "of-earlier\n");
}

#[tokio::test]
async fn the_bus_of_the_containers_lets_in_whom_a_service_is_given_the_key_of() {
    let server = servers::testing::nats_of_file(|folder| {
        prepared(folder);
        let bus = folder.join("secrets/bus");
        // The folders as they are here, not in the container.
        let text = fs::read_to_string(bus.join("nats.conf")).unwrap();
        assert!(text.contains("\"/data\"") && text.contains("\"/etc/nats/tls/server.pem\""), "{text}");
        let store = folder.join("jetstream");
        let text = text.replace("\"/data\"", &format!("{:?}", store.to_str().unwrap()));
        fs::write(bus.join("nats.conf"), text.replace("/etc/nats", bus.to_str().unwrap())).unwrap();
        bus.join("nats.conf")
    })
    .await;
    let bus = server.folder().join("secrets/bus");
    for (name, service) in services() {
        let Some(prefix) = service.get("environment").and_then(|told| told.get("LABLET_NATS_INBOX_PREFIX")) else {
            continue;
        };
        let prefix = prefix.as_str().unwrap();
        let user = prefix.strip_prefix("_INBOX_").unwrap();
        let seed = fs::read_to_string(bus.join(format!("users/{user}.nk"))).unwrap();
        let options = async_nats::ConnectOptions::with_nkey(seed.trim().to_owned());
        let options = options.add_root_certificates(bus.join("tls/ca.pem")).custom_inbox_prefix(prefix);
        let client = options.connect(format!("tls://localhost:{}", server.port())).await;
        client.unwrap_or_else(|error| panic!("{name}: {error}")).flush().await.unwrap();
    }
    assert!(async_nats::connect(format!("nats://127.0.0.1:{}", server.port())).await.is_err(), "without a key");
}

#[test]
fn every_setting_is_explained_and_every_explained_one_is_used() {
    let mut used: BTreeSet<String> =
        interpolations(&read("docker-compose.yml")).into_iter().map(|(name, _)| name).collect();
    for (_, service) in services() {
        let Some(environment) = service.get("environment").and_then(Value::as_mapping) else {
            continue;
        };
        // A name without a value is passed through from .env.
        used.extend(
            environment.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name.as_str().unwrap().to_owned()),
        );
    }
    used.insert("COMPOSE_PROFILES".to_owned());
    let explained: BTreeSet<String> = example().into_iter().map(|(name, _)| name).collect();
    assert_eq!(used, explained);
}

#[test]
fn the_controller_has_no_way_to_postgres() {
    let (_, control) = services().into_iter().find(|(name, _)| name == "control").unwrap();
    assert!(control["environment"].get("LABLET_DATABASE_URL_FILE").is_none());
    assert!(control["secrets"].as_sequence().unwrap().iter().all(|secret| secret["source"] != "app-database-url"));
}

#[test]
fn the_image_has_stages_the_right_compiler_and_an_unprivileged_user() {
    let dockerfile = read("Dockerfile");
    let instructions = |name: &str| -> Vec<String> {
        dockerfile.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned).collect()
    };
    let stages = instructions("FROM");
    assert!(stages.len() >= 2, "{stages:?}");
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.split("channel = \"").nth(1).unwrap().split('"').next().unwrap();
    assert!(stages[0].starts_with(&format!("rust:{channel}-")), "{} is not of {channel}", stages[0]);
    let users = instructions("USER");
    let [user] = users.as_slice() else {
        panic!("{users:?}");
    };
    let uid: u32 = user.split(':').next().unwrap().parse().unwrap();
    assert!(uid > 0);
    assert_eq!(instructions("ENTRYPOINT"), ["[\"/usr/local/bin/lablet\"]"]);
    for source in instructions("    && cp -R").iter().filter_map(|line| line.split(' ').next()) {
        assert!(root().join(source).is_dir(), "the image is built from {source}, which is not there");
    }
}
