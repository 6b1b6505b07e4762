//! `docs/http.md`, made from the OpenAPI document that the gateway serves.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

const ABOUT: &str = "
This page is made from `gateway/openapi.json`, which `GET /api/openapi.json` serves: `UPDATE_SNAPSHOTS=1 cargo test -p harness` \
writes it again. Bodies are described there, for generators and for people; [errors.md](errors.md) has what goes wrong.

Who may: a role of people, *key* for the internal key of a service.
";

/// Every operation with its parameters, who may call it and what it answers, by what it is about.
///
/// # Errors
/// The document is not as the gateway writes it.
pub fn operations(repository: &Path) -> anyhow::Result<String> {
    let document: Value = serde_json::from_str(&std::fs::read_to_string(repository.join("gateway/openapi.json"))?)?;
    let mut text =
        format!("# HTTP API\n\n{}.\n{ABOUT}", says(&document["info"]["description"]).replace("\n* ", "\n- "));
    for tag in document["tags"].as_array().context("no tags")? {
        write!(text, "\n## {}\n\n{}.\n", says(&tag["name"]), says(&tag["description"]))?;
        for (path, methods) in document["paths"].as_object().context("no paths")? {
            for (method, operation) in methods.as_object().context("no operations")? {
                if operation["tags"].as_array().is_some_and(|tags| tags.contains(&tag["name"])) {
                    describe(&mut text, &document, &format!("{} {path}", method.to_uppercase()), operation)?;
                }
            }
        }
    }
    Ok(text)
}

fn describe(text: &mut String, document: &Value, title: &str, operation: &Value) -> anyhow::Result<()> {
    write!(text, "\n### `{title}`\n\n{}.", says(&operation["summary"]))?;
    let description = says(&operation["description"]);
    if !description.is_empty() {
        write!(text, " {description}.")?;
    }
    writeln!(text, "\n")?;
    if let Some(who) = who_may(operation).filter(|_| !description.contains("Needs ")) {
        writeln!(text, "- Who may: {who}")?;
    }
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let (place, name, about) = (says(&parameter["in"]), says(&parameter["name"]), says(&parameter["description"]));
        let about = if about.is_empty() { about } else { format!(": {}", about.replace('\n', " ")) };
        writeln!(text, "- `{name}` ({place}){about}")?;
    }
    if let Some(body) = schema_name(&operation["requestBody"]) {
        writeln!(text, "- Body: `{body}`")?;
    }
    let mut answers = Vec::new();
    for (status, response) in operation["responses"].as_object().context("no responses")? {
        let response = match response["$ref"].as_str() {
            Some(reference) => document.pointer(reference.trim_start_matches('#')).context("no such response")?,
            None => response,
        };
        match schema_name(response).filter(|name| name != "Problem") {
            Some(name) => answers.push(format!("{status} `{name}`")),
            None if status != "default" => answers.push(status.clone()),
            None => {}
        }
    }
    writeln!(text, "- Answers: {}", answers.join(", "))?;
    Ok(())
}

fn says(text: &Value) -> String {
    text.as_str().unwrap_or_default().trim_end_matches('.').to_owned()
}

/// The roles and keys that open an operation.
fn who_may(operation: &Value) -> Option<String> {
    let mut who = Vec::new();
    for scheme in operation["security"].as_array()? {
        if let Some(roles) = scheme["admin_token"].as_array() {
            who.extend(roles.iter().filter_map(Value::as_str));
        }
        if scheme.get("internal_key").is_some() {
            who.push("key");
        }
    }
    (!who.is_empty()).then(|| who.join(", "))
}

/// The name of the schema of a body, or of what its list holds.
fn schema_name(body: &Value) -> Option<String> {
    let schema = &body["content"].as_object()?.values().next()?["schema"];
    let reference = schema["$ref"].as_str().or_else(|| schema["items"]["$ref"].as_str())?;
    reference.rsplit('/').next().map(str::to_owned)
}
