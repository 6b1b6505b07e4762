//! A nats-server with a configuration of the test's own.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::caretaker::{self, Caretaker};

/// How long the server may take until it accepts connections.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A nats-server of one test's own, configured by it. Ends with the value.
#[derive(Debug)]
pub struct ConfiguredNats {
    child: Child,
    port: u16,
    folder: TempDir,
    log: PathBuf,
    _caretaker: Caretaker,
}

/// Starts a nats-server on a free port of 127.0.0.1. `configuration` is what its file says beside the port; it is asked
/// for with a folder in which it may keep its files.
///
/// # Panics
/// It does not start; with the end of what it wrote.
pub async fn configured_nats(configuration: impl FnOnce(&Path) -> String) -> ConfiguredNats {
    nats_of_file(|folder| {
        let file = folder.join("nats.conf");
        std::fs::write(&file, configuration(folder)).expect("its configuration written");
        file
    })
    .await
}

/// Starts a nats-server by a file of configuration, on free ports of 127.0.0.1 whatever the file says. `write` makes the
/// file below a folder and gives its path.
///
/// # Panics
/// It does not start; with the end of what it wrote.
pub async fn nats_of_file(write: impl FnOnce(&Path) -> PathBuf) -> ConfiguredNats {
    let (folder, caretaker) = caretaker::temporary_folder().expect("a temporary folder");
    let file = write(folder.path());
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = free.local_addr().expect("its address").port();
    drop(free);
    let log = folder.path().join("server.log");
    let program = crate::nats::find_program().expect("nats-server");
    let output = std::fs::File::create(&log).expect("its log");
    let child = Command::new(program)
        .arg("-c")
        .arg(&file)
        // What is said here counts, not what the file says.
        .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-m", "-1"])
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("its log"))
        .stderr(output)
        .spawn()
        .expect("nats-server started");
    let mut server = ConfiguredNats { child, port, folder, log, _caretaker: caretaker };
    let begun = Instant::now();
    while tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
        let ended = server.child.try_wait().expect("its state").is_some();
        if ended || begun.elapsed() > READY_WITHIN {
            panic!("nats-server does not start:\n{}", server.log());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server
}

impl ConfiguredNats {
    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Lets it read its configuration again.
    ///
    /// # Panics
    /// It cannot be told.
    pub fn reload(&self) {
        let told = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status().expect("kill");
        assert!(told.success(), "the nats-server cannot be told to read its configuration again");
    }

    /// The folder that its configuration was asked for with.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }
}

impl Drop for ConfiguredNats {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            tracing::warn!(error = &error as &dyn std::error::Error, "a nats-server was not ended");
        }
    }
}
