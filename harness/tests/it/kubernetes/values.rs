//! Values: what is missing is named, all of it at once, with what would be right; and what does not belong there is refused.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use harness::{helm_template, helm_template_in};
use serde_json::json;
use serde_norway::Value;

use super::{EVERYTHING, LEAST};
use crate::tidy::repository;

async fn refused(chart: &str, values: &[&str]) -> String {
    format!("{:#}", helm_template(chart, "lablet", values).await.unwrap_err())
}

#[tokio::test]
async fn what_is_missing_is_named_with_what_would_be_right() {
    let said = refused("lablet", &[]).await;
    for missing in [
        "image.repository is missing: where your image",
        "publicUrl is missing: how the gateway is reached",
        "secrets.database.owner is missing: a Secret with the key url",
        "secrets.database.app is missing",
        "secrets.database.projector is missing",
        "secrets.bus is missing: a Secret with the keys of `lablet bus-config`",
        "secrets.internalApiKey is missing",
        "secrets.cml is missing: a Secret with the key credentials.toml",
        "serve.settings.LABLET_INTERNAL_API_KEY_HASHES is missing",
        "network.clients is missing",
        "network.cml.to is missing",
    ] {
        assert!(said.contains(missing), "{missing}\n{said}");
    }
    // Each Secret of the full set that has to be there, taken away.
    for (path, value) in [
        ("secrets.webhooks", "secrets: { webhooks: '' }"),
        ("network.webhooks.to", "network: { webhooks: { to: [] } }"),
        ("network.openid.to", "network: { openid: { to: [] } }"),
        ("network.collector.to", "network: { collector: { to: [] } }"),
        ("network.prometheus", "network: { prometheus: [] }"),
        ("metrics.readers", "metrics: { readers: '' }"),
    ] {
        let said = refused("lablet", &[EVERYTHING, value]).await;
        let faults: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("- ")).collect();
        assert!(faults.len() == 1 && faults[0].starts_with(&format!("{path} is missing: ")), "{path}: {said}");
    }
    let said = refused("lablet-postgres", &[]).await;
    assert!(said.contains("image is missing: an image of Postgres 15 to 17"), "{said}");
    let said = refused("lablet-postgres", &["{ image: x, secrets: { app: '' } }"]).await;
    assert!(said.contains("secrets.app is missing"), "{said}");
}

/// A cluster with one Secret, as far as it is asked: what there is, and whether the Secret is there.
async fn cluster() -> String {
    let resources = json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [
        {"name": "secrets", "singularName": "secret", "namespaced": true, "kind": "Secret", "verbs": ["get"]},
        {"name": "serviceaccounts", "singularName": "", "namespaced": true, "kind": "ServiceAccount", "verbs": ["get"]}]});
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "lablet-bus"}, "data": {"ca.pem": "eA=="}});
    let absent = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404});
    let look = async move |Path(name): Path<String>| match name.as_str() {
        "lablet-bus" => (StatusCode::OK, Json(secret)),
        _ => (StatusCode::NOT_FOUND, Json(absent)),
    };
    let answer = |document: serde_json::Value| get(async move || Json(document));
    let api = Router::new()
        .route("/version", answer(json!({"major": "1", "minor": "35", "gitVersion": "v1.35.0"})))
        .route("/api", answer(json!({"kind": "APIVersions", "versions": ["v1"]})))
        .route("/apis", answer(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})))
        .route("/api/v1", answer(resources))
        .route("/api/v1/namespaces/lablet/serviceaccounts/default", answer(account))
        .route("/api/v1/namespaces/lablet/secrets/{name}", get(look));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, api).await });
    address
}

#[tokio::test]
async fn a_secret_that_is_not_in_the_cluster_is_named_before_anything_is_installed() {
    let values = "{ secrets: { database: { owner: lablet-owner } } }";
    let refused = helm_template_in(&cluster().await, "lablet", "lablet", &[EVERYTHING, values]).await;
    let said = refused.unwrap_err().to_string();
    for fault in [
        "- the Secret lablet-owner is not in the namespace lablet\n",
        "- the Secret lablet-webhooks is not in the namespace lablet\n",
        "- the Secret lablet-bus has no key operator.nk\n",
    ] {
        assert_eq!(said.matches(fault).count(), 1, "{fault}\n{said}");
    }
    assert!(!said.contains("lablet-bus has no key ca.pem"), "{said}");
}

#[tokio::test]
async fn secrets_and_what_nobody_knows_are_refused_as_values() {
    for (values, fault) in [
        ("relay: { settings: { LABLET_NATS_PASSWORD: s3cret } }", "relay.settings.LABLET_NATS_PASSWORD is a secret"),
        (
            "serve: { settings: { LABLET_DATABASE_URL_FILE: /x } }",
            "serve.settings.LABLET_DATABASE_URL_FILE is a secret",
        ),
        ("serve: { settings: { LABLET_HTTP: '0.0.0.0:1' } }", "serve.settings.LABLET_HTTP is set by the chart"),
        ("serve: { settings: { PATH: /x } }", "'PATH' not allowed"),
        ("serve: { replica: 3 }", "'replica' not allowed"),
        ("secrets: { database: { ap: x } }", "'ap' not allowed"),
        ("bus: { url: 'nats://user:s3cret@nats' }", "at '/bus/url'"),
        ("publicUrl: https://example.org/lablet", "publicUrl has a path"),
    ] {
        let said = refused("lablet", &[EVERYTHING, values]).await;
        assert!(said.contains(fault), "{values}: {said}");
    }
    let said = refused("lablet-postgres", &["{ image: x, instances: 1 }"]).await;
    assert!(said.contains("synchronous is 1 and there are 1 instances"), "{said}");
}

#[tokio::test]
async fn the_secrets_that_are_made_are_those_that_the_charts_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("credentials.toml"), "[cml-1]\n").unwrap();
    let make = || {
        let made = std::process::Command::new(repository().join("packaging/helm/secrets.sh"))
            .args(["--namespace", "lablet", "--team", "booking", "--lablet", env!("CARGO_BIN_EXE_lablet-under-test")])
            .arg("--to")
            .arg(folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::read_to_string(folder.path().join("secrets.yaml")).unwrap()
    };
    let text = make();
    assert_eq!(harness::validate_manifests(&text).await.unwrap(), 9);
    let made = super::Manifests::read(text.clone());
    let made = made.of_kind("Secret");
    let values = std::fs::read_to_string(folder.path().join("secrets.values.yaml")).unwrap();
    // With what docs/kubernetes.md begins with it is enough.
    let rendered = helm_template("lablet", "lablet", &[LEAST, &values]).await.unwrap();
    let manifests = super::Manifests::read(rendered);
    for (role, pod) in manifests.pods() {
        for volume in super::list(&pod["spec"]["volumes"]) {
            let Some(name) = volume["secret"]["secretName"].as_str() else { continue };
            // The operator of Postgres makes it.
            if name == "lablet-postgres-ca" {
                continue;
            }
            let secret = made.get(name).unwrap_or_else(|| panic!("{role}: nobody makes {name}"));
            for item in super::list(&volume["secret"]["items"]) {
                let key = item["key"].as_str().unwrap();
                assert!(secret["data"][key].is_string(), "{role}: {name} has no key {key}");
            }
        }
    }
    let postgres = std::fs::read_to_string(repository().join("packaging/helm/lablet-postgres/values.yaml")).unwrap();
    let postgres: Value = serde_norway::from_str(&postgres).unwrap();
    for (role, name) in postgres["secrets"].as_mapping().unwrap() {
        let secret = made[name.as_str().unwrap()];
        assert_eq!(secret["type"], "kubernetes.io/basic-auth", "{role:?}");
        assert!(secret["data"]["username"].is_string() && secret["data"]["password"].is_string(), "{role:?}");
    }
    // What is made stays.

    let again = make();
    let passwords = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with("  password: ") || line.contains(".nk: "));
        lines.map(str::to_owned).collect()
    };
    assert!(passwords(&text).len() == 10 && passwords(&text) == passwords(&again));
}
