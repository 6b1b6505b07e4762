//! Programs of others, in Python, with libraries of others.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::process::Command;
use tokio::sync::OnceCell;

/// What the programs need, pinned.
const PACKAGES: [&str; 3] = ["nats-py==2.16.0", "cloudevents==2.2.0", "jsonschema==4.26.0"];

/// How long a program may take, on a busy machine.
const ENDED_WITHIN: Duration = Duration::from_secs(180);
/// How long its packages may take to come, up to a few hundred megabytes.
const INSTALLED_WITHIN: Duration = Duration::from_secs(600);

/// Runs a program of `harness/tests/python` and gives what it printed.
///
/// # Errors
/// Python or its packages cannot be had, or the program fails; the error holds what it said.
pub async fn python(script: &str, arguments: &[&str]) -> anyhow::Result<String> {
    static ENVIRONMENT: OnceCell<PathBuf> = OnceCell::const_new();
    let environment = ENVIRONMENT.get_or_try_init(|| virtual_environment("python-journeys", &PACKAGES)).await?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    run(Command::new(environment.join("bin/python")).arg(script).args(arguments), ENDED_WITHIN).await
}

/// Runs a program of `harness/tests/python` with what documents and their readers use: `docs/requirements.txt`.
///
/// # Errors
/// As of [`python`].
pub async fn python_of_documents(script: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    run(Command::new(documents().await?.join("bin/python")).arg(script).args(arguments), ENDED_WITHIN).await
}

/// Builds the site of the documents into a folder. Every warning is an error: a link that leads nowhere, a page that nothing
/// leads to.
///
/// # Errors
/// It cannot be built; the error says where the documents are wrong.
pub async fn build_site(into: &Path) -> anyhow::Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(documents().await?.join("bin/sphinx-build"));
    command
        .args(["-q", "-W", "--keep-going", "-c", "docs", "-d"])
        .arg(into.join("doctrees"))
        .arg(".")
        .arg(into.join("html"));
    run(command.current_dir(repository), ENDED_WITHIN).await.map(drop)
}

async fn documents() -> anyhow::Result<PathBuf> {
    static ENVIRONMENT: OnceCell<PathBuf> = OnceCell::const_new();
    let install = || async {
        pinned_environment("python-documents", &Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/requirements.txt"))
            .await
    };
    ENVIRONMENT.get_or_try_init(install).await.cloned()
}

/// A virtual environment with the packages that a file pins, a line each.
///
/// # Errors
/// As of [`virtual_environment`], or the file cannot be read.
pub(crate) async fn pinned_environment(name: &str, requirements: &Path) -> anyhow::Result<PathBuf> {
    let packages = std::fs::read_to_string(requirements)?;
    virtual_environment(name, &packages.lines().collect::<Vec<_>>()).await
}

/// A virtual environment with these packages, below the target folder, made once.
///
/// # Errors
/// Python or the packages cannot be had.
async fn virtual_environment(name: &str, packages: &[&str]) -> anyhow::Result<PathBuf> {
    let folder = target_folder()?.join(name);
    let complete = folder.join("complete");
    if std::fs::read_to_string(&complete).is_ok_and(|found| found == packages.join("\n")) {
        return Ok(folder);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), INSTALLED_WITHIN).await?;
    run(Command::new(folder.join("bin/pip")).args(["install", "--quiet"]).args(packages), INSTALLED_WITHIN).await?;
    std::fs::write(&complete, packages.join("\n"))?;
    Ok(folder)
}

/// The folder in which everything is built.
///
/// # Errors
/// The test does not lie in one.
pub(crate) fn target_folder() -> anyhow::Result<PathBuf> {
    let executable = std::env::current_exe()?;
    executable.ancestors().nth(3).map(Path::to_path_buf).context("the test does not lie in a target folder")
}

async fn run(command: &mut Command, within: Duration) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(within, output).await.context("a Python program did not end")??;
    ensure!(output.status.success(), "a Python program failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
