//! A cluster of three nats-servers of one test's own, whose JetStream keeps as many copies as a stream asks for.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::caretaker::{self, Caretaker};
use super::{chain, must};
use crate::ServerError;
use crate::folder::random_hex;
use crate::process::{Launch, ServerProcess, Signal};

/// How many there are: the least of which one may be lost.
const NODES: usize = 3;
/// They choose a leader among them, which takes seconds on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// Where a test asks again for a state of the cluster.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Three nats-servers, of which tests kill one or another. They end with this process however that ends.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<Node>,
    password: String,
    folder: TempDir,
    _caretaker: Caretaker,
}

#[derive(Debug)]
struct Node {
    name: String,
    port: u16,
    process: Option<ServerProcess>,
}

/// Starts a cluster, and waits until its JetStream answers.
///
/// # Panics
/// A server does not start, or they do not find each other.
pub async fn nats_cluster() -> NatsCluster {
    let (folder, caretaker) = must("make a temporary folder", caretaker::temporary_folder());
    let password = must("make a password", random_hex::<24>());
    let ports = must("find free ports", free_ports(2 * NODES));
    let (clients, routes) = ports.split_at(NODES);
    let nodes = clients
        .iter()
        .zip(routes)
        .enumerate()
        .map(|(number, (port, route))| {
            let name = format!("n{}", number + 1);
            let configuration = configure(&name, *port, *route, routes, folder.path(), &password);
            let file = configuration_file(folder.path(), &name);
            must("write a configuration", crate::folder::write_private(&file, &configuration));
            Node { name, port: *port, process: None }
        })
        .collect();
    let mut cluster = NatsCluster { nodes, password, folder, _caretaker: caretaker };
    for number in 0..NODES {
        cluster.launch(number);
    }
    cluster.answers().await;
    cluster
}

impl NatsCluster {
    /// The addresses of all, as a client of a cluster has them.
    pub fn url(&self) -> String {
        self.nodes.iter().map(|node| self.url_of(node)).collect::<Vec<_>>().join(",")
    }

    fn url_of(&self, node: &Node) -> String {
        crate::nats::url("lablet", &self.password, node.port)
    }

    /// A client that is signed in at whichever server lives.
    ///
    /// # Panics
    /// None answers.
    pub async fn connect(&self) -> async_nats::Client {
        let mut refusals = Vec::new();
        for node in self.nodes.iter().filter(|node| node.process.is_some()) {
            match crate::nats::connect(&self.url_of(node)).await {
                Ok(client) => return client,
                Err(error) => refusals.push(chain(&error)),
            }
        }
        panic!("no nats-server of the cluster answers: {refusals:?}")
    }

    /// The name of the server that leads a stream; none while they choose one.
    pub async fn leader(&self, stream: &str) -> Option<String> {
        let client = self.connect().await;
        let answer = client.request(format!("$JS.API.STREAM.INFO.{stream}"), "".into()).await.ok()?;
        let answer: serde_json::Value = serde_json::from_slice(&answer.payload).ok()?;
        answer["cluster"]["leader"].as_str().filter(|leader| !leader.is_empty()).map(str::to_owned)
    }

    /// SIGKILL of one.
    ///
    /// # Panics
    /// There is no such server, or it does not run.
    pub async fn kill(&mut self, name: &str) {
        let node = self.nodes.iter_mut().find(|node| node.name == name);
        let mut process =
            node.and_then(|node| node.process.take()).unwrap_or_else(|| panic!("{name} is none that runs"));
        must("kill a nats-server", process.kill().await);
    }

    /// Starts one again where it was, and waits until it is part of the cluster.
    ///
    /// # Panics
    /// There is no such server, it runs, or it does not start.
    pub async fn start_again(&mut self, name: &str) {
        let number = self.nodes.iter().position(|node| node.name == name && node.process.is_none());
        self.launch(number.unwrap_or_else(|| panic!("{name} is none that was killed")));
        self.answers().await;
    }

    fn launch(&mut self, number: usize) {
        let program = must("find nats-server", crate::nats::find_program());
        let Some(node) = self.nodes.get_mut(number) else { return };
        let log = self.folder.path().join(format!("{}.log", node.name));
        let launch = Launch {
            name: "nats-server",
            program: &program,
            arguments: vec!["-c".into(), configuration_file(self.folder.path(), &node.name).into()],
            log: &log,
            ends_on: Signal::Terminate,
            user: None,
            held_folder: None,
        };
        node.process = Some(must("start a nats-server", launch.start()));
    }

    /// Waits until JetStream answers at every server that runs.
    async fn answers(&mut self) {
        let begun = Instant::now();
        for number in 0..NODES {
            let Some(node) = self.nodes.get(number).filter(|node| node.process.is_some()) else { continue };
            let url = self.url_of(node);
            while let Err(refusal) = crate::nats::probe(&url).await {
                let Some(node) = self.nodes.get_mut(number) else { break };
                let (name, process) = (&node.name, node.process.as_mut());
                let ended = process.and_then(|process| process.status().ok().flatten());
                assert!(
                    ended.is_none() && begun.elapsed() < READY_WITHIN,
                    "{name} does not answer ({refusal}): {}",
                    crate::process::tail(&self.folder.path().join(format!("{name}.log")), 0)
                );
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
}

fn configuration_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.conf"))
}

fn configure(name: &str, port: u16, route: u16, routes: &[u16], folder: &Path, password: &str) -> String {
    let others: Vec<String> = routes.iter().map(|port| format!("nats-route://127.0.0.1:{port}")).collect();
    let store = folder.join(name);
    format!(
        "server_name: {name}\n\
         host: 127.0.0.1\n\
         port: {port}\n\
         jetstream {{ store_dir: {:?}, max_mem: 256MB, max_file: 4GB }}\n\
         cluster {{ name: lablet, host: 127.0.0.1, port: {route}, routes: [{}] }}\n\
         accounts {{ lablet {{ jetstream: enabled, users: [ {{ user: lablet, password: \"{password}\" }} ] }} }}\n",
        store.to_string_lossy(),
        others.join(", ")
    )
}

/// Ports on 127.0.0.1 that were free a moment ago, all at once, so that none comes twice.
fn free_ports(count: usize) -> Result<Vec<u16>, ServerError> {
    let failed = || ServerError::io("find a free port on", Path::new("127.0.0.1"));
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>().map_err(failed())?;
    listeners.iter().map(|listener| listener.local_addr().map(|address| address.port()).map_err(failed())).collect()
}
