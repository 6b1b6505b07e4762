//! The running simulator: start, stop, and the controls a test or a demo turns.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum_server::{
    Handle,
    accept::DefaultAcceptor,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use thiserror::Error;
use tokio::task::JoinHandle;
use tracing::info;
use uuid::Uuid;

use crate::{
    api,
    clock::SimulatedTime,
    connection::CuttableAcceptor,
    faults::{Fault, FaultError},
    lab::Lab,
    patty::PortRange,
    requests::Requests,
    tls::{SelfSigned, TlsError},
    topology::{TopologyError, UnreadableTopology, check_tags},
    world::{ApiVersion, ImportError, SharedWorld, World, WorldOptions},
};

/// How long requests under way may take to end once the simulator stops.
const GRACE: Duration = Duration::from_millis(500);
/// A file beyond this is no topology; the largest real one has 1 MB.
pub(crate) const LARGEST_TOPOLOGY: usize = 16 * 1024 * 1024;

#[derive(Clone)]
pub struct SimulatorOptions {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// A folder of topologies (`*.yaml`, `*.yml`) or one such file; each becomes a lab, not started.
    pub topologies: Option<PathBuf>,
    pub username: String,
    pub password: String,
    pub api: ApiVersion,
    /// False: plain HTTP.
    pub tls: bool,
    pub seed: u64,
    /// In simulated time.
    pub token_life: Duration,
    pub time: SimulatedTime,
    /// Outside ports that the controller's address translation honours.
    pub port_range: PortRange,
}

impl Default for SimulatorOptions {
    /// A free port of 127.0.0.1, TLS, API 2.9, no labs, admin/simulator, tokens of 24 hours, real time.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            topologies: None,
            username: "admin".to_owned(),
            password: "simulator".to_owned(),
            api: ApiVersion::V2_9,
            tls: true,
            seed: 1,
            token_life: Duration::from_secs(24 * 60 * 60),
            time: SimulatedTime::Flowing { speed: 1.0 },
            port_range: PortRange::default(),
        }
    }
}

impl std::fmt::Debug for SimulatorOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SimulatorOptions")
            .field("listen", &self.listen)
            .field("topologies", &self.topologies)
            .field("api", &self.api)
            .field("tls", &self.tls)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Error)]
pub enum SimulatorError {
    #[error("the simulator cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("no certificate for the simulator")]
    Tls(#[source] TlsError),
    #[error("{path} cannot be read")]
    Folder { path: PathBuf, source: io::Error },
    #[error("{path} cannot be loaded: {reason}")]
    File { path: PathBuf, reason: TopologyError },
    #[error("none of the {count} topologies in {folder} can be loaded; {first}")]
    NoneLoaded { folder: PathBuf, count: usize, first: Box<Self> },
    #[error("the topology cannot be imported")]
    Import(#[source] TopologyError),
    #[error("there are too many labs already")]
    TooManyLabs,
    #[error("there is no lab {id}")]
    NoLab { id: String },
    #[error("lab {lab} has no node labelled {label:?}")]
    NoNode { lab: String, label: String },
    #[error("node {label:?} has no tag with the outside port {port}")]
    NoPort { label: String, port: u16 },
    #[error("lab {id} runs; stop and wipe it first")]
    Running { id: String },
    #[error("{0}")]
    Tags(String),
    #[error("{0}")]
    Time(String),
    #[error("the fault makes no sense")]
    Fault(#[source] FaultError),
}

/// A running simulator. Dropping it stops it without waiting; `stop` waits.
pub struct Simulator {
    world: Arc<SharedWorld>,
    address: SocketAddr,
    certificate_pem: Option<String>,
    handle: Handle<SocketAddr>,
    server: JoinHandle<io::Result<()>>,
}

impl Simulator {
    pub async fn start(options: SimulatorOptions) -> Result<Self, SimulatorError> {
        let mut world = World::new(WorldOptions {
            username: options.username,
            password: options.password,
            api: options.api,
            seed: options.seed,
            token_life: options.token_life,
            time: options.time,
            port_range: options.port_range,
        })
        .map_err(SimulatorError::Time)?;
        if let Some(path) = &options.topologies {
            load(&mut world, path)?;
        }
        let listen_error = |source| SimulatorError::Listen { address: options.listen, source };
        let listener = std::net::TcpListener::bind(options.listen).map_err(listen_error)?;
        listener.set_nonblocking(true).map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;

        let world = Arc::new(SharedWorld::new(world));
        let service = api::router(Arc::clone(&world)).into_make_service();
        let handle = Handle::new();
        let server = axum_server::from_tcp(listener).map_err(listen_error)?.handle(handle.clone()).http1_only();
        let (server, certificate_pem) = if options.tls {
            let certificate = SelfSigned::new(address).map_err(SimulatorError::Tls)?;
            let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(certificate.configuration));
            let server = server.acceptor(CuttableAcceptor(acceptor));
            (tokio::spawn(server.serve(service)), Some(certificate.certificate_pem))
        } else {
            let server = server.acceptor(CuttableAcceptor(DefaultAcceptor));
            (tokio::spawn(server.serve(service)), None)
        };
        let simulator = Self { world, address, certificate_pem, handle, server };
        info!(url = simulator.url(), labs = simulator.labs().len(), "simulator listening");
        Ok(simulator)
    }

    /// `https://127.0.0.1:port`, or `http://…` without TLS; no path, no slash at the end.
    pub fn url(&self) -> String {
        let scheme = if self.certificate_pem.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate to trust; empty without TLS.
    pub fn certificate_pem(&self) -> String {
        self.certificate_pem.clone().unwrap_or_default()
    }

    /// Ends requests under way, bounded, and returns when the port is free.
    pub async fn stop(mut self) {
        self.handle.graceful_shutdown(Some(GRACE));
        match (&mut self.server).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(error = &error as &dyn std::error::Error, "simulator failed"),
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "simulator panicked"),
        }
    }

    /// Requests to the API so far, in total and by path.
    pub fn requests(&self) -> Requests {
        self.world.lock().requests.clone()
    }

    pub fn reset_requests(&self) {
        self.world.lock().requests = Requests::default();
    }

    /// Moves simulated time on: nodes boot, tokens age.
    pub fn advance(&self, by: Duration) -> Result<(), SimulatorError> {
        self.world.lock().clock.advance(by).map_err(SimulatorError::Time)
    }

    /// From now on, that many simulated seconds to a real one; 0 stops time.
    pub fn set_speed(&self, speed: f64) -> Result<(), SimulatorError> {
        self.world.lock().clock.set_speed(speed).map_err(SimulatorError::Time)
    }

    pub fn now(&self) -> chrono::DateTime<chrono::Utc> {
        self.world.lock().now()
    }

    /// Id and title of each lab, in the order they were imported.
    pub fn labs(&self) -> Vec<(String, String)> {
        self.world.lock().labs.iter().map(|lab| (lab.id.to_string(), lab.title.clone())).collect()
    }

    /// Files of the folder of topologies that could not be loaded, with the reason.
    pub fn unreadable_topologies(&self) -> Vec<UnreadableTopology> {
        self.world.lock().unreadable.clone()
    }

    /// The id of the new lab.
    pub fn import(&self, yaml: &str) -> Result<String, SimulatorError> {
        self.import_as(yaml, None)
    }

    /// As `import`, under another title than the topology's.
    pub fn import_as(&self, yaml: &str, title: Option<&str>) -> Result<String, SimulatorError> {
        match self.world.lock().import(yaml, title.map(str::to_owned)) {
            Ok((id, _)) => Ok(id.to_string()),
            Err(ImportError::Topology(reason)) => Err(SimulatorError::Import(reason)),
            Err(ImportError::TooManyLabs) => Err(SimulatorError::TooManyLabs),
        }
    }

    pub fn start_lab(&self, id: &str) -> Result<(), SimulatorError> {
        self.change(id, |lab, now| {
            lab.start(now);
            Ok(())
        })
    }

    pub fn stop_lab(&self, id: &str) -> Result<(), SimulatorError> {
        self.change(id, |lab, now| {
            lab.stop(now);
            Ok(())
        })
    }

    pub fn wipe_lab(&self, id: &str) -> Result<(), SimulatorError> {
        self.change(
            id,
            |lab, now| {
                if lab.wipe(now) { Ok(()) } else { Err(SimulatorError::Running { id: lab.id.to_string() }) }
            },
        )
    }

    /// Whatever state it is in: a lab that vanishes is something a client has to live with.
    pub fn delete_lab(&self, id: &str) -> Result<(), SimulatorError> {
        let mut world = self.world.lock();
        let found = world.labs.iter().position(|lab| Uuid::try_parse(id).is_ok_and(|id| id == lab.id));
        match found {
            Some(position) => {
                world.labs.remove(position);
                Ok(())
            }
            None => Err(SimulatorError::NoLab { id: id.to_owned() }),
        }
    }

    /// Replaces all tags of the node with that label.
    pub fn set_tags(&self, lab: &str, label: &str, tags: &[&str]) -> Result<(), SimulatorError> {
        let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        self.change(lab, |lab, now| set_tags(lab, now, label, tags))
    }

    /// Moves a port tag of the node with that label from one outside port to another: what makes ports drift.
    pub fn move_port(&self, lab: &str, label: &str, from: u16, to: u16) -> Result<(), SimulatorError> {
        self.change(lab, |lab, now| move_port(lab, now, label, from, to))
    }

    /// Every token that was issued is void: the next request gets 401.
    pub fn expire_tokens(&self) {
        self.world.lock().expire_tokens();
    }

    /// Adds a fault to those in force.
    pub fn fault(&self, fault: Fault) -> Result<(), SimulatorError> {
        self.world.lock().faults.add(fault).map_err(SimulatorError::Fault)
    }

    pub fn clear_faults(&self) {
        self.world.lock().faults = crate::faults::Faults::default();
    }

    fn change(
        &self,
        id: &str,
        action: impl FnOnce(&mut Lab, chrono::DateTime<chrono::Utc>) -> Result<(), SimulatorError>,
    ) -> Result<(), SimulatorError> {
        let mut world = self.world.lock();
        let now = world.now();
        let lab = Uuid::try_parse(id).ok().and_then(|id| world.lab_mut(id));
        action(lab.ok_or_else(|| SimulatorError::NoLab { id: id.to_owned() })?, now)
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

pub(crate) fn set_tags(
    lab: &mut Lab,
    now: chrono::DateTime<chrono::Utc>,
    label: &str,
    tags: Vec<String>,
) -> Result<(), SimulatorError> {
    check_tags(&tags).map_err(SimulatorError::Tags)?;
    let no_node = SimulatorError::NoNode { lab: lab.id.to_string(), label: label.to_owned() };
    let node = lab.node_labelled(label).ok_or(no_node)?;
    node.tags = tags;
    let data = format!("tags of {label} replaced");
    lab.record(now, "modified", data);
    Ok(())
}

pub(crate) fn move_port(
    lab: &mut Lab,
    now: chrono::DateTime<chrono::Utc>,
    label: &str,
    from: u16,
    to: u16,
) -> Result<(), SimulatorError> {
    let no_node = SimulatorError::NoNode { lab: lab.id.to_string(), label: label.to_owned() };
    let node = lab.node_labelled(label).ok_or(no_node)?;
    // `kind:port[:rest]` or `pat:tcp:port:inside`: the outside port is the first number.
    let mut moved = false;
    for tag in &mut node.tags {
        let mut parts: Vec<String> = tag.split(':').map(str::to_owned).collect();
        let outside = parts.iter_mut().skip(1).find(|part| part.parse::<u16>().is_ok());
        if let Some(part) = outside.filter(|part| part.parse() == Ok(from)) {
            *part = to.to_string();
            *tag = parts.join(":");
            moved = true;
        }
    }
    if !moved {
        return Err(SimulatorError::NoPort { label: label.to_owned(), port: from });
    }
    let data = format!("port {from} of {label} moved to {to}");
    lab.record(now, "modified", data);
    Ok(())
}

/// Loads one file, or every topology of a folder. In a folder one that cannot be loaded is logged and the others are
/// served; it is an error when none is left.
fn load(world: &mut World, path: &Path) -> Result<(), SimulatorError> {
    if !path.is_dir() {
        return load_file(world, path);
    }
    let unreadable = |source| SimulatorError::Folder { path: path.to_owned(), source };
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(unreadable)? {
        files.push(entry.map_err(unreadable)?.path());
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"));
    files.sort();
    let count = files.len();
    let mut first = None;
    for file in files {
        if let Err(error) = load_file(world, &file) {
            let reason = with_causes(&error);
            tracing::error!(file = %file.display(), reason, "topology not loaded, serving the others");
            world.unreadable.push(UnreadableTopology { path: file, reason });
            first.get_or_insert(error);
        }
    }
    match first {
        Some(first) if world.unreadable.len() == count => {
            Err(SimulatorError::NoneLoaded { folder: path.to_owned(), count, first: Box::new(first) })
        }
        _ => Ok(()),
    }
}

fn load_file(world: &mut World, file: &Path) -> Result<(), SimulatorError> {
    let unreadable = |source| SimulatorError::Folder { path: file.to_owned(), source };
    let refused = |reason| SimulatorError::File { path: file.to_owned(), reason };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        // Reading a pipe would wait for its other end.
        return Err(refused(TopologyError::Unreadable { reason: "it is no file".to_owned() }));
    }
    if metadata.len() > LARGEST_TOPOLOGY as u64 {
        let found = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        return Err(refused(TopologyError::TooMany { what: "bytes", found, most: LARGEST_TOPOLOGY }));
    }
    let yaml = std::fs::read_to_string(file).map_err(unreadable)?;
    match world.import(&yaml, None) {
        Ok((_, warnings)) => {
            for warning in warnings {
                tracing::warn!(file = %file.display(), warning, "topology imported with a warning");
            }
            Ok(())
        }
        Err(ImportError::Topology(reason)) => Err(refused(reason)),
        Err(ImportError::TooManyLabs) => Err(SimulatorError::TooManyLabs),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
