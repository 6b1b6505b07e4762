//! One address in front of several servers, as a Service of Kubernetes is: each new connection goes to the next server that
//! says it is ready. What is open stays where it is.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often servers are asked whether they are ready.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long an answer to that may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// An address on 127.0.0.1 and the servers behind it. It ends with the value.
#[derive(Debug)]
pub struct ServiceAddress {
    port: u16,
    servers: Arc<Mutex<Servers>>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Servers {
    all: Vec<Server>,
    /// Counts connections, so that they go around.
    next: usize,
}

#[derive(Debug, Clone)]
struct Server {
    port: u16,
    is_ready: bool,
    /// Cuts its connections.
    cut: CancellationToken,
}

impl ServiceAddress {
    /// An address whose servers are ready from the start.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port is free")?;
        let port = listener.local_addr()?.port();
        let servers = Arc::<Mutex<Servers>>::default();
        let accepting = tokio::spawn(accept(listener, servers.clone()));
        Ok(Self { port, servers, tasks: vec![accepting] })
    }

    /// An address whose servers are ready while `GET /readyz` is answered with 200.
    ///
    /// # Errors
    /// As [`ServiceAddress::start`].
    pub async fn following_readiness() -> anyhow::Result<Self> {
        let mut address = Self::start().await?;
        let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).pool_max_idle_per_host(0).build()?;
        address.tasks.push(tokio::spawn(ask(client, address.servers.clone())));
        Ok(address)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Adds a server. One that is asked for its readiness gets nothing before it said that it is ready.
    pub fn add(&self, port: u16) {
        let is_ready = self.tasks.len() == 1;
        lock(&self.servers).all.push(Server { port, is_ready, cut: CancellationToken::new() });
    }

    /// Whether a server gets new connections.
    pub fn is_ready(&self, port: u16) -> bool {
        lock(&self.servers).all.iter().any(|server| server.port == port && server.is_ready)
    }

    /// Removes a server, and cuts what is open to it.
    pub fn remove(&self, port: u16) {
        lock(&self.servers).all.retain(|server| {
            if server.port == port {
                server.cut.cancel();
            }
            server.port != port
        });
    }
}

impl Drop for ServiceAddress {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn lock(servers: &Mutex<Servers>) -> MutexGuard<'_, Servers> {
    servers.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, servers: Arc<Mutex<Servers>>) {
    while let Ok((client, _)) = listener.accept().await {
        let chosen = {
            let mut servers = lock(&servers);
            servers.next = servers.next.wrapping_add(1);
            let ready: Vec<&Server> = servers.all.iter().filter(|server| server.is_ready).collect();
            ready.get(servers.next.checked_rem(ready.len()).unwrap_or_default()).map(|server| (*server).clone())
        };
        // Without a server the connection is closed: its client sees that nobody is there.
        let Some(Server { port, cut, .. }) = chosen else { continue };
        tokio::spawn(cut.run_until_cancelled_owned(forward(client, port)));
    }
}

async fn forward(mut client: TcpStream, port: u16) {
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    if client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).is_ok() {
        // Either side may end it; both see that.
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}

async fn ask(client: reqwest::Client, servers: Arc<Mutex<Servers>>) {
    loop {
        let ports: Vec<u16> = lock(&servers).all.iter().map(|server| server.port).collect();
        for port in ports {
            let answer = client.get(format!("http://127.0.0.1:{port}/readyz")).send().await;
            let is_ready = answer.is_ok_and(|answer| answer.status().is_success());
            if let Some(server) = lock(&servers).all.iter_mut().find(|server| server.port == port) {
                server.is_ready = is_ready;
            }
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}
