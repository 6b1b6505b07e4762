//! Packages for programs that Node.js runs.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use crate::python::target_folder;

/// How long the packages may take to come.
const INSTALLED_WITHIN: Duration = Duration::from_secs(600);

/// A folder below the target folder with the packages that `package.json` and `package-lock.json` of another folder name,
/// made once.
///
/// # Errors
/// npm or the packages cannot be had.
pub(crate) async fn node_packages(name: &str, named_by: &Path) -> anyhow::Result<PathBuf> {
    let folder = target_folder()?.join(name);
    let lock = std::fs::read_to_string(named_by.join("package-lock.json"))?;
    let complete = folder.join("complete");
    if std::fs::read_to_string(&complete).is_ok_and(|found| found == lock) {
        return Ok(folder);
    }
    std::fs::create_dir_all(&folder)?;
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(named_by.join(file), folder.join(file))?;
    }
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"];
    let mut command = Command::new("npm");
    let npm = command.args(arguments).current_dir(&folder).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(INSTALLED_WITHIN, npm).await.context("npm did not end")??;
    ensure!(output.status.success(), "npm failed: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(&complete, &lock)?;
    Ok(folder)
}
