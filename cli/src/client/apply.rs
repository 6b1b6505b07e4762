//! `lablet apply`: definitions, workers and policies are made what files say, whatever they were.

mod manifest;

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Map, Value, json};
use similar::TextDiff;

use self::manifest::{Document, Manifest, ManifestKind};
use super::connection::Parameters;
use super::output::{Column, column, wide_column, yaml};
use super::{Client, ClientArguments};
use crate::exit::{ExitStatus, Failure};
use crate::terminal::complain;

/// What to apply, and how.
#[derive(Debug, Args)]
pub(crate) struct ApplyArguments {
    /// A file of YAML or JSON documents, a folder of such files, or `-` for standard input.
    #[arg(long = "filename", short = 'f', value_name = "FILE", required = true)]
    files: Vec<String>,
    /// Send nothing; show what would be sent as a unified diff.
    #[arg(long)]
    dry_run: bool,
    /// Why things change, where a document does not say so.
    #[arg(long, default_value = "Applied by lablet apply.")]
    reason: String,
    #[command(flatten)]
    arguments: ClientArguments,
}

/// An example for the help.
pub(crate) const EXAMPLE: &str = "\
Example:
  lablet apply -f - --dry-run <<'END'
  apiVersion: lablet/v1
  kind: definition
  reason: Routers need more memory since version 17.9.
  spec:
    id: ospf-basics
    name: OSPF basics
    version: '1.0'
    resource_requirements: { cpu_cores: 4, memory_gb: 8, storage_gb: 20 }
  ---
  apiVersion: lablet/v1
  kind: worker
  spec:
    id: cml-7
    name: CML in rack 7
    address: https://cml-7.example.com
    capacity: { cpu_cores: 64, memory_gb: 256, storage_gb: 1000, max_nodes: 320 }
  ---
  apiVersion: lablet/v1
  kind: policy
  spec:
    definition_id: ospf-basics   # without it, the policy of all others
    policy: { promise: 0.99 }
  END
What a document does not state stays as it is. Bodies have the members of the API's.";

/// What became of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Created,
    Changed,
    Unchanged,
    Failed,
}

impl Change {
    const ALL: [Self; 4] = [Self::Created, Self::Changed, Self::Unchanged, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
        }
    }
}

/// What has to be sent.
#[derive(Debug, PartialEq)]
struct Request {
    method: &'static str,
    path: String,
    etag: Option<String>,
    body: Value,
}

/// What has to be done to a thing, as it is and as it is to be.
#[derive(Debug, PartialEq)]
struct Plan {
    change: Change,
    before: Option<Value>,
    after: Value,
    request: Option<Request>,
}

/// Applies every document, whatever becomes of the others.
pub(super) async fn run(arguments: ApplyArguments) -> anyhow::Result<()> {
    let client = Client::open(&arguments.arguments)?;
    let mut documents = Vec::new();
    for file in &arguments.files {
        documents.extend(manifest::read(file)?);
    }
    // What others rest on comes first; what cannot be read comes last.
    documents.sort_by_key(|document| document.manifest.as_ref().ok().map_or((1, None), |one| (0, Some(one.kind))));
    let (mut rows, mut statuses, mut to_create) = (Vec::new(), Vec::new(), BTreeSet::new());
    for Document { source, manifest } in documents {
        let name = manifest.as_ref().map(|manifest| format!("{}/{}", manifest.kind.as_str(), manifest.id));
        let name = name.unwrap_or_else(|_| "unknown".to_owned());
        let applied = match manifest {
            Ok(manifest) => apply(&client, &manifest, &arguments, &mut to_create).await,
            Err(error) => Err(error),
        };
        rows.push(match applied {
            Ok((change, diff)) => json!({
                "result": change.as_str(), "name": name, "source": source, "dry_run": arguments.dry_run,
                "diff": diff, "error": null
            }),
            Err(error) => {
                let error = error.context(format!("{name} ({source}) is not applied"));
                statuses.push(ExitStatus::from_error(&error));
                complain(&error);
                json!({
                    "result": Change::Failed.as_str(), "name": name, "source": source, "dry_run": arguments.dry_run,
                    "diff": null, "error": format!("{error:#}")
                })
            }
        });
    }
    print(&client, &rows, arguments.dry_run)?;
    let Some(first) = statuses.first() else { return Ok(()) };
    let status = if statuses.iter().all(|status| status == first) { *first } else { ExitStatus::Failed };
    Err(Failure::new(status, format!("{} of {} were not applied", statuses.len(), rows.len())).into())
}

fn print(client: &Client, rows: &[Value], dry_run: bool) -> anyhow::Result<()> {
    let output = client.output;
    if output.is_for_people() {
        for diff in rows.iter().filter_map(|row| row["diff"].as_str()) {
            output.file(diff)?;
        }
    }
    output.rows(COLUMNS, rows)?;
    let count = |change: Change| {
        let many = rows.iter().filter(|row| row["result"] == change.as_str()).count();
        format!("{many} {}", change.as_str())
    };
    let sent = if dry_run { " Nothing was sent." } else { "" };
    output.remark(&format!("{}.{sent}", Change::ALL.map(count).join(", ")))
}

/// Makes one thing what its document says: what became of it, and the difference.
async fn apply(
    client: &Client,
    manifest: &Manifest,
    arguments: &ApplyArguments,
    to_create: &mut BTreeSet<String>,
) -> anyhow::Result<(Change, Option<String>)> {
    let reason = manifest.reason.as_deref().unwrap_or(&arguments.reason);
    let path = path(manifest);
    let current = match client.connection.get(&path).await {
        Ok(current) => Some(current),
        Err(error) if ExitStatus::from_error(&error) == ExitStatus::NotFound => None,
        Err(error) => return Err(error),
    };
    let plan = match (&current, manifest.kind) {
        // In a dry run the definition is not there yet.
        (None, ManifestKind::Policy) if !to_create.contains(&manifest.id) => {
            let text = format!("there is no definition {}", manifest.id);
            return Err(Failure::new(ExitStatus::NotFound, text).into());
        }
        _ => plan(manifest, &path, current.as_ref(), reason)?,
    };
    if plan.change == Change::Created {
        to_create.insert(manifest.id.clone());
    }
    let diff = if plan.change == Change::Unchanged { None } else { Some(difference(manifest, &plan)?) };
    if let Some(request) = plan.request.filter(|_| !arguments.dry_run) {
        send(client, &path, request).await?;
        return Ok((plan.change, None));
    }
    Ok((plan.change, diff))
}

/// Sends a change and waits until it can be read: whoever applies again finds what was applied.
async fn send(client: &Client, path: &str, request: Request) -> anyhow::Result<()> {
    let Request { method, path: to, etag, body } = request;
    let connection = &client.connection;
    let answer = match (method, etag.as_deref()) {
        ("PATCH", Some(etag)) => connection.patch_at(&to, etag, &body).await,
        ("PUT", Some(etag)) => connection.put_at(&to, etag, &body).await,
        _ => connection.post(&to, &body).await,
    };
    let answer = match answer {
        Err(error) if ExitStatus::from_error(&error) == ExitStatus::Conflict => {
            return Err(error.context("somebody else changed it meanwhile; apply again"));
        }
        answer => answer?,
    };
    if let Some(position) = answer["position"].as_str().filter(|_| method != "PUT") {
        connection.get_with(path, &Parameters::new(&[("position", position)])?).await?;
    }
    Ok(())
}

fn path(manifest: &Manifest) -> String {
    let id = &manifest.id;
    match manifest.kind {
        ManifestKind::Definition => format!("/api/lablet-definitions/{id}"),
        ManifestKind::Worker => format!("/api/workers/{id}"),
        ManifestKind::Policy if id == "default" => "/api/advice-policy".to_owned(),
        ManifestKind::Policy => format!("/api/lablet-definitions/{id}/advice-policy"),
    }
}

/// Members of a definition that no revision changes.
const FIXED: [&str; 3] = ["name", "version", "node_count"];

/// What has to be done, given what is there.
fn plan(manifest: &Manifest, path: &str, current: Option<&Value>, reason: &str) -> anyhow::Result<Plan> {
    if manifest.kind == ManifestKind::Policy {
        return Ok(plan_of_policy(manifest, path, current, reason));
    }
    let Some(current) = current else {
        let to = path.rsplit_once('/').map_or(path, |(list, _)| list);
        let request = Request { method: "POST", path: to.to_owned(), etag: None, body: manifest.whole.clone() };
        return Ok(Plan {
            change: Change::Created,
            before: None,
            after: manifest.whole.clone(),
            request: Some(request),
        });
    };
    let etag = current["etag"].as_str().context("the answer has no etag")?.to_owned();
    let all = manifest.whole.as_object().context("a document has no members")?;
    let known = all.keys().chain(manifest.stated.keys());
    let before: Map<String, Value> = known.map(|name| (name.clone(), current[name].clone())).collect();
    let mut after = before.clone();
    // What is not stated stays as it is.
    after.extend(manifest.stated.clone());
    let body: Map<String, Value> =
        manifest.stated.iter().filter(|(name, value)| before.get(*name) != Some(value)).map(owned).collect();
    if let Some(fixed) =
        FIXED.iter().find(|name| manifest.kind == ManifestKind::Definition && body.contains_key(**name))
    {
        let text = format!(
            "{fixed} of a definition cannot be changed: it is {}, and {} is stated",
            before[*fixed], body[*fixed]
        );
        bail!(Failure::new(ExitStatus::Conflict, text));
    }
    let (before, after) = (Some(Value::Object(before)), Value::Object(after));
    if body.is_empty() {
        return Ok(Plan { change: Change::Unchanged, before, after, request: None });
    }
    let mut body = body;
    if manifest.kind == ManifestKind::Definition {
        body.insert("reason".to_owned(), reason.into());
    }
    let request = Request { method: "PATCH", path: path.to_owned(), etag: Some(etag), body: Value::Object(body) };
    Ok(Plan { change: Change::Changed, before, after, request: Some(request) })
}

fn owned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

/// A policy is replaced as a whole.
fn plan_of_policy(manifest: &Manifest, path: &str, current: Option<&Value>, reason: &str) -> Plan {
    let before = match current {
        Some(current) if manifest.id != "default" => current["own"]["policy"].clone(),
        // Until somebody sets one, the default policy is that of the program.
        Some(current) if !current["set_by"].is_null() => current["policy"].clone(),
        _ => Value::Null,
    };
    let after = manifest.whole["policy"].clone();
    if before == after {
        return Plan { change: Change::Unchanged, before: Some(before), after, request: None };
    }
    let etag = current.and_then(|current| current["etag"].as_str()).map(str::to_owned);
    let body = json!({ "policy": after, "reason": reason });
    let change = if before.is_null() { Change::Created } else { Change::Changed };
    Plan {
        change,
        before: Some(before).filter(|before| !before.is_null()),
        after,
        request: Some(Request { method: "PUT", path: path.to_owned(), etag, body }),
    }
}

/// A unified diff of a thing as it is and as it is to be, in YAML.
fn difference(manifest: &Manifest, plan: &Plan) -> anyhow::Result<String> {
    let name = format!("{}/{}", manifest.kind.as_str(), manifest.id);
    let before = plan.before.as_ref().map(yaml).transpose()?.unwrap_or_default();
    let after = if plan.after.is_null() { String::new() } else { yaml(&plan.after)? };
    let now = if plan.before.is_some() { format!("{name} (now)") } else { "/dev/null".to_owned() };
    let diff = TextDiff::from_lines(&before, &after);
    Ok(diff.unified_diff().header(&now, &format!("{name} (to be)")).to_string())
}

const COLUMNS: &[Column] = &[
    column("RESULT", "/result"),
    column("NAME", "/name"),
    column("SOURCE", "/source"),
    wide_column("ERROR", "/error"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(stated: Value) -> Manifest {
        let mut whole = json!({
            "id": "w", "name": "W", "address": "https://w", "capacity": {"cpu_cores": 1},
            "port_range": {"first": 2000, "last": 7999}
        });
        for (name, value) in stated.as_object().unwrap() {
            whole[name] = value.clone();
        }
        Manifest {
            kind: ManifestKind::Worker,
            id: "w".to_owned(),
            reason: None,
            stated: stated.as_object().unwrap().clone(),
            whole,
        }
    }

    #[test]
    fn only_what_is_stated_and_differs_is_sent() {
        let current = json!({
            "id": "w", "name": "W", "address": "https://w", "capacity": {"cpu_cores": 1},
            "port_range": {"first": 3000, "last": 3999}, "etag": "\"4\"", "updated_at": "…"
        });
        let same =
            plan(&worker(json!({"name": "W", "capacity": {"cpu_cores": 1}})), "/api/workers/w", Some(&current), "");
        assert_eq!(same.unwrap().change, Change::Unchanged);
        let manifest = worker(json!({"name": "W", "capacity": {"cpu_cores": 2}}));
        let changed = plan(&manifest, "/api/workers/w", Some(&current), "").unwrap();
        let request = changed.request.as_ref().unwrap();
        assert_eq!((request.method, request.etag.as_deref()), ("PATCH", Some("\"4\"")));
        assert_eq!(request.body, json!({"capacity": {"cpu_cores": 2}}));
        let diff = difference(&manifest, &changed).unwrap();
        assert!(diff.contains("-  cpu_cores: 1\n+  cpu_cores: 2\n"), "{diff}");
        assert_eq!(changed.after["port_range"]["first"], 3000, "what is not stated stays");
        let created = plan(&manifest, "/api/workers/w", None, "").unwrap();
        assert_eq!((created.change, created.request.unwrap().path.as_str()), (Change::Created, "/api/workers"));
    }

    #[test]
    fn a_name_that_no_revision_changes_is_refused() {
        let manifest = Manifest { kind: ManifestKind::Definition, ..worker(json!({"name": "other"})) };
        let current = json!({"name": "W", "etag": "\"1\""});
        let refused = plan(&manifest, "/api/lablet-definitions/w", Some(&current), "").unwrap_err();
        assert_eq!(ExitStatus::from_error(&refused), ExitStatus::Conflict);
        assert!(refused.to_string().contains("\"other\" is stated"), "{refused}");
    }
}
