//! Generators of clients by others, run on what a gateway says of itself.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::node_packages::node_packages;
use crate::python::pinned_environment;

/// How long one program may take, on a busy machine.
const WITHIN: Duration = Duration::from_secs(300);

/// Whom a generated client works as.
#[derive(Debug, Clone, Copy)]
pub struct ClientAccess<'a> {
    /// The gateway's address.
    pub http: &'a str,
    /// An admin's token.
    pub admin_token: &'a str,
    /// The key of a service.
    pub internal_api_key: &'a str,
}

/// The descriptions of one gateway, and what the generators make of them.
pub struct Generators {
    folder: TempDir,
    python: PathBuf,
    packages: PathBuf,
}

impl Generators {
    /// Installs the generators, pinned, where they are not there yet, for these descriptions: OpenAPI and AsyncAPI.
    ///
    /// # Errors
    /// They cannot be had.
    pub async fn new(openapi: &str, asyncapi: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("openapi.json"), openapi)?;
        std::fs::write(folder.path().join("asyncapi.json"), asyncapi)?;
        let (python, packages) = tokio::try_join!(python_packages(), packages())?;
        Ok(Self { folder, python, packages })
    }

    /// Generates a client with openapi-python-client, and runs it through a session's life.
    ///
    /// # Errors
    /// The generator warns, as it does when it leaves a schema out, or the client fails.
    pub async fn python_client(&self, access: ClientAccess<'_>) -> anyhow::Result<String> {
        let clients = self.folder.path().join("python");
        std::fs::create_dir(&clients)?;
        run(Command::new(self.python.join("bin/openapi-python-client"))
            .args(["generate", "--fail-on-warning", "--meta", "none", "--config"])
            .arg(programs("python").join("generators.json"))
            .arg("--path")
            .arg(self.folder.path().join("openapi.json"))
            .arg("--output-path")
            .arg(clients.join("lablet_client")))
        .await?;
        run(Command::new(self.python.join("bin/python"))
            .arg(programs("python").join("session_life.py"))
            .arg(&clients)
            .args([access.http, access.admin_token, access.internal_api_key, "python"]))
        .await
    }

    /// Generates models with datamodel-code-generator, and imports them.
    ///
    /// # Errors
    /// The generator or Python refuses.
    pub async fn python_models(&self) -> anyhow::Result<String> {
        let models = self.folder.path().join("models.py");
        run(Command::new(self.python.join("bin/datamodel-codegen"))
            .args(["--input-file-type", "openapi", "--output-model-type", "pydantic_v2.BaseModel"])
            .args(["--formatters", "builtin", "--input"])
            .arg(self.folder.path().join("openapi.json"))
            .arg("--output")
            .arg(&models))
        .await?;
        run(Command::new(self.python.join("bin/python"))
            .args(["-c", "import models; print(models.SessionDetail.model_fields['status'].annotation.__name__)"])
            .current_dir(self.folder.path()))
        .await
    }

    /// Generates types with openapi-typescript, has TypeScript check a client of them, and runs that through a session's
    /// life.
    ///
    /// # Errors
    /// One of them refuses.
    pub async fn typescript_client(&self, access: ClientAccess<'_>) -> anyhow::Result<String> {
        let client = self.typescript_folder("client", &["session_life.ts"])?;
        run(self.node("openapi-typescript/bin/cli.js").arg(self.folder.path().join("openapi.json")).arg("-o").arg(
            // A declaration alone: nothing of it is left at run time.
            client.join("lablet.d.ts"),
        ))
        .await?;
        self.check_types(&client).await?;
        run(Command::new("node").arg(client.join("built/session_life.js")).args([
            access.http,
            access.admin_token,
            access.internal_api_key,
            "typescript",
        ]))
        .await
    }

    /// Generates models of the messages with Modelina, and has TypeScript check them. Returns their names.
    ///
    /// # Errors
    /// AsyncAPI's parser finds an error, or one of them refuses.
    pub async fn message_models(&self) -> anyhow::Result<Vec<String>> {
        let folder = self.typescript_folder("messages", &["models.mjs"])?;
        let names = run(Command::new("node")
            .arg(folder.join("models.mjs"))
            .arg(self.folder.path().join("asyncapi.json"))
            .arg(folder.join("models.ts")))
        .await?;
        self.check_types(&folder).await?;
        let last = names.lines().last().context("Modelina printed nothing")?;
        Ok(serde_json::from_str(last)?)
    }

    /// A folder with these programs, in which packages are found.
    fn typescript_folder(&self, name: &str, files: &[&str]) -> anyhow::Result<PathBuf> {
        let folder = self.folder.path().join(name);
        std::fs::create_dir(&folder)?;
        for file in ["package.json", "tsconfig.json"].iter().chain(files) {
            std::fs::copy(programs("typescript").join(file), folder.join(file))?;
        }
        std::os::unix::fs::symlink(self.packages.join("node_modules"), folder.join("node_modules"))?;
        Ok(folder)
    }

    async fn check_types(&self, folder: &Path) -> anyhow::Result<()> {
        run(self.node("typescript/bin/tsc").arg("--project").arg(folder)).await.map(drop)
    }

    fn node(&self, program: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(self.packages.join("node_modules").join(program));
        command
    }
}

fn programs(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(language)
}

async fn python_packages() -> anyhow::Result<PathBuf> {
    static ENVIRONMENT: OnceCell<PathBuf> = OnceCell::const_new();
    let requirements = programs("python").join("generators.txt");
    ENVIRONMENT.get_or_try_init(|| pinned_environment("python-generators", &requirements)).await.cloned()
}

async fn packages() -> anyhow::Result<PathBuf> {
    static FOLDER: OnceCell<PathBuf> = OnceCell::const_new();
    FOLDER
        .get_or_try_init(|| async { node_packages("typescript-generators", &programs("typescript")).await })
        .await
        .cloned()
}

async fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(WITHIN, output).await.context("a program did not end")??;
    let (printed, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{:?} failed: {printed}{failed}", command.as_std().get_program());
    Ok(printed.into_owned())
}
