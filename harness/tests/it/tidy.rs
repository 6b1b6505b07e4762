//! Rules of the repository, so that plain `cargo test` tells.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Names of a crate's dependencies, those of its tests left out.
fn dependencies(metadata: &Value, name: &str) -> Vec<String> {
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == name).unwrap_or_else(|| panic!("no crate {name}"));
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    let ordinary = dependencies.filter(|dependency| dependency["kind"].is_null());
    ordinary.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn dependencies_point_one_way() {
    let metadata = metadata();
    let members = [
        "domain",
        "advice",
        "bus",
        "app",
        "projections",
        "proposer",
        "webhooks",
        "gateway",
        "controller",
        "cli",
        "simulator",
        "servers",
        "harness",
        "bench",
        "bench-advice",
    ];
    let inner = |name: &str| {
        let mut inner = dependencies(&metadata, name);
        inner.retain(|dependency| members.contains(&dependency.as_str()));
        inner.sort();
        inner
    };
    assert_eq!(inner("domain"), [""; 0]);
    assert_eq!(inner("advice"), ["domain"]);
    assert_eq!(inner("bench-advice"), ["advice", "domain"]);
    assert_eq!(inner("bus"), [""; 0]);
    assert_eq!(inner("app"), ["bus", "domain"]);
    assert_eq!(inner("projections"), ["advice", "app", "bus", "domain"]);
    assert_eq!(inner("proposer"), ["advice", "app", "bus", "domain", "projections"]);
    assert_eq!(inner("webhooks"), ["app", "bus", "domain"], "webhooks follow the log alone");
    assert_eq!(inner("gateway"), ["advice", "app", "bus", "domain", "projections"], "the gateway knows nothing of CML");
    assert_eq!(inner("controller"), ["bus", "domain"], "the controller knows nothing of the log");
    assert_eq!(inner("simulator"), [""; 0], "the simulator shares no types with the client");
    assert_eq!(inner("servers"), [""; 0]);
}

#[test]
fn the_domain_and_advice_are_pure() {
    let metadata = metadata();
    let forbidden = ["tokio", "sqlx", "axum", "async-nats", "reqwest", "uuid", "rand"];
    for name in ["domain", "advice"] {
        let found = dependencies(&metadata, name);
        assert!(found.iter().all(|name| !forbidden.contains(&name.as_str())), "{name}: {found:?}");
    }
}

/// What `cargo tree` prints, a line a crate: name, version and, after a bar, features.
fn tree(selection: &[&str], edges: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--edges", edges, "--prefix", "none", "--format", "{p}|{f}", "--locked", "--offline"])
        .args(selection)
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Names of everything that a crate is linked with, the dependencies of its dependencies included.
fn linked_with(name: &str) -> Vec<String> {
    let lines = tree(&["--package", name], "normal,build");
    lines.iter().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

/// The features of each crate, by its name and version.
fn features(selection: &[&str], edges: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut features: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in tree(selection, edges) {
        let Some((package, list)) = line.split_once('|') else { continue };
        let name = package.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        let list = list.trim_end_matches(" (*)").split(',').filter(|feature| !feature.is_empty());
        features.entry(name).or_default().extend(list.map(str::to_owned));
    }
    features
}

#[test]
fn what_is_tested_is_what_ships() {
    // The bench's older sqlx, which stock postgres-es needs, brings these. They add functions and change none.
    let accepted = ["futures-util channel", "futures-util futures-channel", "hmac reset"];
    let shipped = features(&["--package", "cli"], "normal,build");
    let tested = features(&["--workspace"], "normal,build,dev");
    for name in ["serde_json ", "tokio ", "sqlx ", "hyper ", "axum ", "reqwest ", "async-nats "] {
        assert!(shipped.keys().any(|package| package.starts_with(name)), "{name}");
    }
    let mut differences = Vec::new();
    for (package, features) in &shipped {
        let name = package.split(' ').next().unwrap();
        let more = tested[package].difference(features).map(|feature| format!("{name} {feature}"));
        differences.extend(more.filter(|difference| !accepted.contains(&difference.as_str())));
    }
    assert!(differences.is_empty(), "only where everything is built together: {differences:?}");
}

#[test]
fn the_controller_is_linked_with_no_database() {
    for name in ["bus", "controller"] {
        let linked = linked_with(name);
        assert!(linked.iter().any(|crate_name| crate_name == "async-nats"), "{linked:?}");
        let database = |crate_name: &&String| {
            ["sqlx", "postgres", "app"].iter().any(|part| *crate_name == part) || crate_name.starts_with("sqlx-")
        };
        assert_eq!(linked.iter().find(database), None, "{name}");
    }
}

#[test]
fn only_the_bench_knows_the_older_database_library() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let uses = dependencies(&metadata, name).iter().any(|dependency| dependency == "postgres-es");
        assert_eq!(uses, name == "bench", "{name}");
    }
}

pub(crate) fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            rust_files(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

#[test]
fn files_are_named_for_what_they_hold() {
    let mut files = Vec::new();
    rust_files(repository(), &mut files);
    assert!(files.len() > 50);
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let empty = ["mod.rs", "utils.rs", "util.rs", "common.rs", "types.rs", "helpers.rs", "misc.rs"];
        assert!(!empty.contains(&name), "{} says nothing", file.display());
    }
}

#[test]
fn every_crate_inherits_lints_version_and_licence() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().unwrap() {
        let manifest = std::fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        for line in ["[lints]\nworkspace = true", "version.workspace = true", "license.workspace = true"] {
            assert!(manifest.contains(line), "{} lacks {line:?}", package["name"]);
        }
        assert!(!manifest.contains("path = \"../"), "{} names a path; the workspace does", package["name"]);
    }
}

#[test]
fn every_table_and_column_of_the_migrations_is_made_by_a_numbered_file() {
    let mut names: Vec<String> = std::fs::read_dir(repository().join("migrations"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for (index, name) in names.iter().enumerate() {
        assert!(name.starts_with(&format!("{:04}_", index + 1)) && name.ends_with(".sql"), "{names:?}");
    }
}
