//! The running simulator: start, stop, and the controls a test or a demo turns.

mod error;
mod loading;
pub(crate) mod orders;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum_server::{
    Handle,
    accept::DefaultAcceptor,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::task::JoinHandle;
use tracing::info;
use uuid::Uuid;

pub use self::{error::SimulatorError, orders::RunawayOrder};
use self::{
    loading::load,
    orders::{RecordRequest, move_port, restart_node, run_away, set_tags},
};
use crate::{
    api,
    clock::SimulatedTime,
    connection::CuttableAcceptor,
    faults::Fault,
    lab::Lab,
    patty::PortRange,
    pressure::WorkerPressure,
    requests::Requests,
    tls::SelfSigned,
    topology::UnreadableTopology,
    usage::record::UsageRecord,
    world::{ApiVersion, ImportError, SharedWorld, SocketOptions, World, WorldOptions},
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
    /// How often somebody restarts a node, on average and for each of them; 0 for never, at most 24.
    pub restarts_per_day: f64,
    pub sockets: SocketOptions,
    /// Whether the user is an administrator.
    pub admin: bool,
}

impl Default for SimulatorOptions {
    /// A free port of 127.0.0.1, TLS, API 2.9, no labs, admin/simulator, tokens of 24 hours, real time, nobody who restarts
    /// nodes.
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
            restarts_per_day: 0.0,
            sockets: SocketOptions::default(),
            admin: true,
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

/// A running simulator. Dropping it stops it without waiting; `stop` waits.
pub struct Simulator {
    world: Arc<SharedWorld>,
    address: SocketAddr,
    certificate_pem: Option<String>,
    handle: Handle<SocketAddr>,
    server: JoinHandle<std::io::Result<()>>,
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
            restarts_per_day: options.restarts_per_day,
            sockets: options.sockets,
            admin: options.admin,
        })
        .map_err(SimulatorError::Options)?;
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
        let server = axum_server::from_tcp(listener).map_err(listen_error)?.handle(handle.clone());
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
        self.world.stopped.cancel();
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

    pub fn now(&self) -> DateTime<Utc> {
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

    /// Stops the node with that label and starts it again.
    pub fn restart_node(&self, lab: &str, label: &str) -> Result<(), SimulatorError> {
        self.change(lab, |lab, now| restart_node(lab, now, label))
    }

    /// Lets a process of the node with that label run away.
    pub fn run_away(&self, lab: &str, label: &str, runaway: RunawayOrder) -> Result<(), SimulatorError> {
        self.change(lab, |lab, now| run_away(lab, now, label, runaway))
    }

    /// What a lab produced: from its first start, or `from`, until `to`, or now.
    pub fn usage_record(
        &self,
        lab: &str,
        from: Option<DateTime<Utc>>,
        to: Option<DateTime<Utc>>,
        settling: Duration,
    ) -> Result<UsageRecord, SimulatorError> {
        let request = {
            let world = self.world.lock();
            let no_lab = || SimulatorError::NoLab { id: lab.to_owned() };
            let found = Uuid::try_parse(lab).ok().and_then(|id| world.lab(id)).ok_or_else(no_lab)?;
            RecordRequest::new(found, from, to, settling, world.now())
        };
        request.record().map_err(SimulatorError::Record)
    }

    /// Every token that was issued is void: the next request gets 401.
    pub fn expire_tokens(&self) {
        self.world.lock().expire_tokens();
    }

    /// What the worker is short of, from now on.
    pub fn set_pressure(&self, pressure: WorkerPressure) -> Result<(), SimulatorError> {
        self.world.lock().set_pressure(pressure).map_err(SimulatorError::Options)
    }

    /// Whether the user is an administrator.
    pub fn set_admin(&self, admin: bool) {
        self.world.lock().admin = admin;
    }

    /// How far off the clock is that answers show; durations stay right.
    pub fn set_skew(&self, skew: TimeDelta) -> Result<(), SimulatorError> {
        self.world.lock().set_skew(skew).map_err(SimulatorError::Time)
    }

    /// Sockets that are open now.
    pub fn open_sockets(&self) -> usize {
        self.world.open_sockets.load(Ordering::Acquire)
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
        action: impl FnOnce(&mut Lab, DateTime<Utc>) -> Result<(), SimulatorError>,
    ) -> Result<(), SimulatorError> {
        let mut world = self.world.lock();
        let now = world.now();
        let lab = Uuid::try_parse(id).ok().and_then(|id| world.lab_mut(id));
        action(lab.ok_or_else(|| SimulatorError::NoLab { id: id.to_owned() })?, now)
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.world.stopped.cancel();
        self.handle.shutdown();
    }
}
