//! Cisco's own client, from PyPI: each version of it against the API of its own version. (2.10.1 asks a 2.9 controller
//! for interfaces in bulk, which that has not: a fault of the client that a real controller shows as well.)

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use simulator::{ApiVersion, SimulatedTime, Simulator, SimulatorOptions};
use tokio::process::Command;

use crate::client::{PASSWORD, options, samples};

const CLIENTS: [(ApiVersion, &str); 2] =
    [(ApiVersion::V2_9, "virl2-client[events]==2.9.1"), (ApiVersion::V2_10, "virl2-client[events]==2.10.1")];
const INSTALL_TIMEOUT: Duration = Duration::from_secs(300);
const SESSION_TIMEOUT: Duration = Duration::from_secs(180);

#[tokio::test]
async fn virl2_client_drives_the_simulator_unchanged() {
    for (api, client) in CLIENTS {
        match install(client).await {
            Ok(python) => drive(&python, api).await,
            Err(reason) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("{reason}"),
            Err(reason) => println!("SKIPPED: {client} could not be installed: {reason}"),
        }
    }
}

async fn drive(python: &Path, api: ApiVersion) {
    let time = SimulatedTime::Flowing { speed: 200.0 };
    let simulator = Simulator::start(SimulatorOptions { api, time, ..options() }).await.expect("the simulator starts");
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = folder.path().join("certificate.pem");
    std::fs::write(&certificate, simulator.certificate_pem()).expect("the certificate is written");
    let mut command = Command::new(python);
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/virl2_client_session.py"))
        .arg(simulator.url())
        .arg("admin")
        .arg(&certificate)
        .arg(samples().join("three_tiers.yaml"))
        .env("SIMULATOR_PASSWORD", PASSWORD)
        .current_dir(folder.path());
    let output = run(command, SESSION_TIMEOUT).await;
    let output = output.unwrap_or_else(|reason| panic!("{api:?}: {reason}"));
    assert!(output.contains("driven to the end"), "{api:?}: {output}");
    simulator.stop().await;
}

/// The Python of an environment below the target folder that has this client; made once.
async fn install(client: &str) -> Result<PathBuf, String> {
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join(client.replace(['[', ']', '='], "-"));
    let python = environment.join("bin/python");
    let complete = environment.join("complete");
    if complete.exists() {
        return Ok(python);
    }
    let mut command = Command::new("python3");
    command.args(["-m", "venv", "--clear"]).arg(&environment);
    run(command, INSTALL_TIMEOUT).await?;
    let mut command = Command::new(&python);
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", client]);
    run(command, INSTALL_TIMEOUT).await?;
    std::fs::write(&complete, "").map_err(|error| error.to_string())?;
    Ok(python)
}

async fn run(mut command: Command, limit: Duration) -> Result<String, String> {
    let name = format!("{:?}", command.as_std());
    let child = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = match tokio::time::timeout(limit, child).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("{name}: {error}")),
        Err(_) => return Err(format!("{name} took longer than {} s", limit.as_secs())),
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(text) } else { Err(format!("{name}: {}\n{text}", output.status)) }
}
