//! The charts: what they make is what Kubernetes takes, confined, with secrets as files alone; and what is missing is named.

mod network;
mod pods;
mod servers;
mod values;

use std::collections::BTreeMap;

use harness::helm_template;
use serde_norway::Value;

/// Everything that the chart can make.
const EVERYTHING: &str = include_str!("kubernetes/everything.values.yaml");
/// What docs/kubernetes.md begins with.
const LEAST: &str = include_str!("kubernetes/least.values.yaml");
/// The roles that run as long as Lablet does.
const ROLES: [&str; 5] = ["serve", "project", "relay", "control", "deliver"];

/// What a chart made.
struct Manifests {
    text: String,
    all: Vec<Value>,
}

impl Manifests {
    /// Of the chart `lablet`, with everything switched on and these values.
    async fn of_lablet(values: &str) -> Self {
        Self::read(helm_template("lablet", "lablet", &[EVERYTHING, values]).await.unwrap())
    }

    fn read(text: String) -> Self {
        let documents = serde_norway::Deserializer::from_str(&text);
        let all = documents.map(|document| serde::Deserialize::deserialize(document).unwrap());
        let all = all.filter(|manifest: &Value| !manifest.is_null()).collect();
        Self { text, all }
    }

    /// By their names.
    fn of_kind(&self, kind: &str) -> BTreeMap<String, &Value> {
        let found = self.all.iter().filter(|manifest| manifest["kind"] == kind);
        found.map(|manifest| (manifest["metadata"]["name"].as_str().unwrap().to_owned(), manifest)).collect()
    }

    /// The pods of each role, and of the migrations.
    fn pods(&self) -> BTreeMap<String, &Value> {
        let jobs = self.of_kind("Job");
        let all = self.of_kind("Deployment").into_iter().chain(jobs);
        all.map(|(name, manifest)| (name["lablet-".len()..].to_owned(), &manifest["spec"]["template"])).collect()
    }
}

fn texts(value: &Value) -> Vec<String> {
    let all = value.as_sequence().map(Vec::as_slice).unwrap_or_default();
    all.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_sequence().map(Vec::as_slice).unwrap_or_default()
}

/// Whether labels are found by a selector.
fn selects(selector: &Value, labels: &Value) -> bool {
    selector.as_mapping().unwrap().iter().all(|(name, value)| labels.get(name) == Some(value))
}
