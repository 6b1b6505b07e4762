//! The programs of `docs/services`: consumers and senders in other languages, run as their readers run them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::lablet::Ready;
use crate::node_packages::node_packages;
use crate::python::pinned_environment;

/// How long a program may take, on a busy machine.
const ENDED_WITHIN: Duration = Duration::from_secs(180);

/// A language of the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Python, with nats-py and cloudevents.
    Python,
    /// TypeScript, with @nats-io and cloudevents.
    TypeScript,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Python, Self::TypeScript];
}

/// The programs with what they need, installed, and compiled where they have to be.
pub struct ServicePrograms {
    python: PathBuf,
    built: TempDir,
    environment: [(&'static str, String); 4],
}

impl ServicePrograms {
    /// Installs what the programs need, and has TypeScript check and compile its own, for services of this Lablet.
    ///
    /// # Errors
    /// Something cannot be had, or a program does not fit its types.
    pub async fn new(ready: &Ready) -> anyhow::Result<Self> {
        let (requirements, source) = (folder("python").join("requirements.txt"), folder("typescript"));
        let (python, modules) = tokio::try_join!(
            pinned_environment("python-services", &requirements),
            node_packages("typescript-services", &source)
        )?;
        let built = tempfile::tempdir()?;
        for file in std::fs::read_dir(&source)? {
            let file = file?;
            std::fs::copy(file.path(), built.path().join(file.file_name()))?;
        }
        let modules = modules.join("node_modules");
        std::os::unix::fs::symlink(&modules, built.path().join("node_modules"))?;
        let mut compiler = Command::new("node");
        compiler.arg(modules.join("typescript/bin/tsc")).current_dir(built.path()).kill_on_drop(true);
        let compiled = tokio::time::timeout(ENDED_WITHIN, compiler.output()).await.context("tsc did not end")??;
        ensure!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stdout));
        let environment = [
            ("LABLET_NATS_URL", ready.nats_url.clone()),
            ("LABLET_URL", ready.http.clone()),
            ("LABLET_API_KEY", ready.internal_api_key.clone()),
            ("LABLET_TEAM", "grading".to_owned()),
        ];
        Ok(Self { python, built, environment })
    }

    /// Starts a program, e.g. `consumer`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, language: Language, program: &str, arguments: &[&str]) -> anyhow::Result<Child> {
        let mut command = match language {
            Language::Python => {
                let mut command = Command::new(self.python.join("bin/python"));
                command.arg(folder("python").join(format!("{program}.py")));
                command
            }
            Language::TypeScript => {
                let mut command = Command::new("node");
                command.arg(self.built.path().join(format!("built/{program}.js")));
                command
            }
        };
        command.args(arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        piped.kill_on_drop(true).spawn().context("a program cannot be started")
    }

    /// Waits for the end of a program: whether it succeeded, and the JSON that it printed.
    ///
    /// # Errors
    /// It does not end, or printed something else.
    pub async fn end(program: Child) -> anyhow::Result<(bool, serde_json::Value)> {
        let output = tokio::time::timeout(ENDED_WITHIN, program.wait_with_output());
        let output = output.await.context("a program did not end")??;
        let said = String::from_utf8_lossy(&output.stderr);
        let printed = serde_json::from_slice(&output.stdout).with_context(|| format!("it printed no JSON: {said}"))?;
        Ok((output.status.success(), printed))
    }
}

fn folder(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/services").join(language)
}
