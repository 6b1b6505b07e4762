//! What a consumer of the bus makes of notices: each is held against the schema that it names.

use harness::{Lablet, python};
use serde_json::Value;

/// The notices of a subject, held against their schemas, up to one of each of these types.
pub(crate) async fn notices(lablet: &Lablet, subject: &str, types: &[&str]) -> Vec<Value> {
    let types: Vec<String> = types.iter().map(|short| format!("io.lablet.{short}.v1")).collect();
    let mut arguments = vec![lablet.ready().nats_url.as_str(), subject];
    arguments.extend(types.iter().map(String::as_str));
    serde_json::from_str(&python("validate_notices.py", &arguments).await.unwrap()).unwrap()
}

/// The data of the newest notice of a type about an aggregate.
pub(crate) fn data<'a>(notices: &'a [Value], short: &str, subject: &str) -> &'a Value {
    let kind = format!("io.lablet.{short}.v1");
    let found = notices.iter().rfind(|notice| notice["type"] == kind && notice["subject"] == subject);
    &found.unwrap_or_else(|| panic!("no {kind} of {subject}: {notices:?}"))["data"]
}
