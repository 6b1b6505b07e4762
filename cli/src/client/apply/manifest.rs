//! What `lablet apply` reads: documents that say what a definition, a worker or a policy is to be.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use app::body::{Handling, from_value};
use domain::advice_policy::{NewPolicy, Policy};
use domain::lablet_definition::NewDefinition;
use domain::worker::NewWorker;
use domain::{DefinitionId, WorkerId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::read_text;
use crate::exit::{ExitStatus, Failure};

/// The version of documents that this executable reads.
pub(super) const API_VERSION: &str = "lablet/v1";
/// Most bytes of a file.
const LONGEST_FILE: u64 = 64 * 1024 * 1024;
/// Most files of a folder.
const MOST_FILES: usize = 10_000;

/// A document around what is to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: ManifestKind,
    reason: Option<String>,
    spec: Map<String, Value>,
}

/// What a document is about. In this order they are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ManifestKind {
    /// A definition.
    Definition,
    /// A worker.
    Worker,
    /// A definition's policy, or the default one.
    Policy,
}

impl ManifestKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Definition => "definition",
            Self::Worker => "worker",
            Self::Policy => "policy",
        }
    }
}

/// What a document says, in the form in which the gateway keeps it.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) kind: ManifestKind,
    /// Its id; of a policy that of the definition, `default` without one.
    pub(super) id: String,
    /// Why it is to be so.
    pub(super) reason: Option<String>,
    /// The members that the document states; of a policy the policy as a whole.
    pub(super) stated: Map<String, Value>,
    /// All of it, as a new one is sent.
    pub(super) whole: Value,
}

/// A document, or why it cannot be used, and where it stands.
pub(super) struct Document {
    pub(super) source: String,
    pub(super) manifest: anyhow::Result<Manifest>,
}

/// The documents of a file, of a folder's files, or of standard input.
pub(super) fn read(name: &str) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::new();
    for file in files(name)? {
        let values = text_of(&file).and_then(|text| values(&file, &text));
        match values {
            Ok(values) => documents.extend((1..).zip(values).map(|(number, value)| Document {
                source: format!("{file}, document {number}"),
                manifest: value.and_then(manifest).map_err(invalid),
            })),
            Err(error) => documents.push(Document { source: file, manifest: Err(error) }),
        }
    }
    Ok(documents)
}

fn files(name: &str) -> anyhow::Result<Vec<String>> {
    let folder = Path::new(name);
    if name == "-" || !folder.is_dir() {
        return Ok(vec![name.to_owned()]);
    }
    let failed = || format!("{name} cannot be read");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(failed)? {
        let path: PathBuf = entry.with_context(failed)?.path();
        let is_one = path.extension().and_then(|extension| extension.to_str());
        if is_one.is_some_and(|extension| ["yaml", "yml", "json"].contains(&extension)) && path.is_file() {
            found.push(path.to_str().with_context(|| format!("{} is no text", path.display()))?.to_owned());
        }
        ensure!(found.len() <= MOST_FILES, "{name} has more than {MOST_FILES} files");
    }
    found.sort();
    Ok(found)
}

fn text_of(file: &str) -> anyhow::Result<String> {
    let is_longer = std::fs::metadata(file).is_ok_and(|metadata| metadata.len() > LONGEST_FILE);
    ensure!(!is_longer, "{file} is longer than {LONGEST_FILE} bytes");
    read_text(file)
}

/// Each document of a text; one that cannot be read is the last.
fn values(file: &str, text: &str) -> anyhow::Result<Vec<anyhow::Result<Value>>> {
    let is_json = file.ends_with(".json") || text.trim_start().starts_with('{');
    let mut values = Vec::new();
    if is_json {
        for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
            values.push(value.context("it is no JSON document"));
        }
    } else {
        for document in serde_norway::Deserializer::from_str(text) {
            // Through YAML's own value, which refuses a member that is given twice.
            let value = serde_norway::Value::deserialize(document).context("it is no YAML document");
            let value = value.and_then(|value| serde_json::to_value(value).context("it has no form in JSON"));
            let is_broken = value.is_err();
            values.push(value);
            if is_broken {
                break;
            }
        }
    }
    values.retain(|value| !matches!(value, Ok(Value::Null)));
    ensure!(!values.is_empty(), "{file} has no document");
    Ok(values)
}

fn invalid(error: anyhow::Error) -> anyhow::Error {
    error.context(Failure::new(ExitStatus::Invalid, "it cannot be applied"))
}

fn manifest(value: Value) -> anyhow::Result<Manifest> {
    let Envelope { api_version, kind, reason, mut spec } =
        serde_json::from_value(value).context("it is no document of apiVersion, kind, spec and maybe reason")?;
    if api_version != API_VERSION {
        bail!("its apiVersion is {api_version:?}; this version reads {API_VERSION}");
    }
    match kind {
        ManifestKind::Definition => {
            let new: NewDefinition = body(&spec)?;
            let id = new.id.as_ref().map(DefinitionId::to_string);
            with(kind, id, reason, &spec, serde_json::to_value(&new)?)
        }
        ManifestKind::Worker => {
            let new: NewWorker = body(&spec)?;
            let id = new.id.as_ref().map(WorkerId::to_string);
            with(kind, id, reason, &spec, serde_json::to_value(&new)?)
        }
        ManifestKind::Policy => {
            let id = spec.remove("definition_id").map(serde_json::from_value::<DefinitionId>).transpose();
            let id = id.context("spec.definition_id is no id")?.map(|id| id.to_string());
            ensure!(spec.contains_key("policy"), "spec has no policy; null gives it up");
            let mut sent = spec.clone();
            sent.insert("reason".to_owned(), reason.clone().unwrap_or_else(|| "-".to_owned()).into());
            let policy: Option<Policy> = body::<NewPolicy>(&sent)?.policy;
            let whole = serde_json::json!({ "policy": policy });
            with(kind, Some(id.unwrap_or_else(|| "default".to_owned())), reason, &spec, whole)
        }
    }
}

/// A body as the gateway reads it: the same rules, the same words.
fn body<T: DeserializeOwned + schemars::JsonSchema + 'static>(spec: &Map<String, Value>) -> anyhow::Result<T> {
    let (body, _) = from_value::<T>(Value::Object(spec.clone())).and_then(|body| body.handled(Handling::Strict))?;
    Ok(body)
}

fn with(
    kind: ManifestKind,
    id: Option<String>,
    reason: Option<String>,
    spec: &Map<String, Value>,
    whole: Value,
) -> anyhow::Result<Manifest> {
    let id = id.context("spec has no id: without one it could not be found again")?;
    let stated =
        spec.keys().filter(|name| *name != "id").filter_map(|name| Some((name.clone(), whole.get(name)?.clone())));
    Ok(Manifest { kind, id, reason, stated: stated.collect(), whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(text: &str) -> Vec<anyhow::Result<Manifest>> {
        values("labs.yaml", text).unwrap().into_iter().map(|value| value.and_then(manifest)).collect()
    }

    #[test]
    fn several_documents_of_a_file_are_read_each_for_itself() {
        let text = "
apiVersion: lablet/v1
kind: worker
spec: {id: cml-1, name: One, address: https://cml-1.example.com, capacity: {cpu_cores: 1, memory_gb: 1, storage_gb: 1, max_nodes: 1}}
---
# Nothing but a comment.
---
apiVersion: lablet/v1
kind: definition
spec: {id: ospf, name: OSPF, version: '1.0', resource_requirements: {cpu_cores: 0, memory_gb: 1}}
---
apiVersion: lablet/v1
kind: policy
reason: because
spec: {definition_id: ospf, policy: {promise: 0.9}}
";
        let found = documents(text);
        let worker = found[0].as_ref().unwrap();
        assert_eq!((worker.kind, worker.id.as_str()), (ManifestKind::Worker, "cml-1"));
        assert!(!worker.stated.contains_key("port_range"), "what is absent stays as it is");
        let refused = format!("{:#}", found[1].as_ref().unwrap_err());
        assert!(refused.contains("cpu_cores") && refused.contains("storage_gb"), "{refused}");
        let policy = found[2].as_ref().unwrap();
        assert_eq!((policy.id.as_str(), policy.reason.as_deref()), ("ospf", Some("because")));
        assert_eq!(policy.whole["policy"]["promise"], 0.9);
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_what_would_be_right() {
        for (text, said) in [
            ("apiVersion: v2\nkind: worker\nspec: {}", "lablet/v1"),
            ("kind: worker\nspec: {}", "apiVersion"),
            ("apiVersion: lablet/v1\nkind: lab\nspec: {}", "definition"),
            ("apiVersion: lablet/v1\nkind: policy\nspec: {}", "policy"),
            ("apiVersion: lablet/v1\nkind: policy\nspec: {policy: {promise: 7}}", "promise"),
            ("apiVersion: lablet/v1\nkind: definition\nspec: {nme: x}", "name is missing"),
            ("apiVersion: lablet/v1\nkind: policy\nspec: {policy: null, polcy: 1}", "polcy"),
            ("a: 1\na: 2", "duplicate"),
        ] {
            let found = documents(text);
            let refused = format!("{:#}", found[0].as_ref().unwrap_err());
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }
}
