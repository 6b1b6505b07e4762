//! Schemathesis: requests made from the gateway's own description, and answers held against it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::python::pinned_environment;

/// How long it may take, on a busy machine.
const WITHIN: Duration = Duration::from_secs(600);

/// Holds the operations at paths that match `paths` against the description of the gateway at `http`: 25 examples of
/// each, the same ones each time, sent with this header.
///
/// # Errors
/// What it found, as it tells it; or it cannot be had, or did not end in time.
pub async fn schemathesis(http: &str, header: &str, paths: &str) -> anyhow::Result<()> {
    let (environment, programs) = (environment().await?, programs());
    // It writes what it remembers into the folder in which it runs.
    let folder = tempfile::tempdir()?;
    let output = Command::new(environment.join("bin/schemathesis"))
        .arg("--config-file")
        .arg(programs.join("schemathesis.toml"))
        .args(["run", &format!("{http}/api/openapi.json"), "--header", header, "--include-path-regex", paths])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "25", "--seed", "7", "--no-color"])
        // A stream has no end.
        .args(["--exclude-path-regex", "^/api/stream$"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(WITHIN, output).await.context("Schemathesis did not end")??;
    let (output_text, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{output_text}{failed}");
    ensure!(output_text.contains("generated"), "Schemathesis sent nothing: {output_text}");
    Ok(())
}

/// Holds CloudEvents against the schemas of an AsyncAPI document; returns how many are valid.
///
/// # Errors
/// One is not valid, or the validator cannot be had.
pub async fn validate_notices(asyncapi: &Value, notices: &[Value]) -> anyhow::Result<usize> {
    let folder = tempfile::tempdir()?;
    let (document, events) = (folder.path().join("asyncapi.json"), folder.path().join("notices.json"));
    std::fs::write(&document, asyncapi.to_string())?;
    std::fs::write(&events, serde_json::to_string(notices)?)?;
    let output = Command::new(environment().await?.join("bin/python"))
        .arg(programs().join("notices_by_asyncapi.py"))
        .args([document, events])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(WITHIN, output).await.context("the validator did not end")??;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

async fn environment() -> anyhow::Result<PathBuf> {
    static ENVIRONMENT: OnceCell<PathBuf> = OnceCell::const_new();
    let requirements = programs().join("schemathesis.txt");
    ENVIRONMENT.get_or_try_init(|| pinned_environment("python-schemathesis", &requirements)).await.cloned()
}
