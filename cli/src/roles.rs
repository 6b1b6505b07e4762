//! The roles of the product: each a task that ends cleanly on request, alone in a process or all in one.

mod readiness;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use app::authority::Authorities;
use app::body::Handling;
use app::command_consumer::{CommandConsumer, CommandConsumerOptions};
use app::commands::Commands;
use app::dead_letters::{DeadLetterBounds, DeadLetters};
use app::log::{Log, LogOptions, RestoreState};
use app::notice::PublicUrl;
use app::relay::{Nudger, Relay, RelayOptions};
use app::watcher::Watcher;
use bus::Bus;
use bus::clock::{Clock, IdGenerator};
use controller::{CmlClient, Controller};
use gateway::probes::{Probes, ProbesParts};
use gateway::{Gateway, GatewayOptions, GatewayParts};
use metrics_exporter_prometheus::PrometheusHandle;
use projections::replica::Replica;
use projections::{FeedSource, Projections, Runner, RunnerOptions};
use proposer::{Proposer, ProposerOptions};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use webhooks::{Deliverer, DelivererOptions, Site, Target};

use self::readiness::Observed;
use crate::configuration::probes::ProbeArguments;
use crate::configuration::replica::ReplicaArguments;
use crate::configuration::roles::{
    ControlArguments, DeliverArguments, ProjectArguments, RelayArguments, ServeArguments,
};
use crate::configuration::watcher::WatcherArguments;
use crate::configuration::{Access, BusArguments, ControllerSettings};
use crate::secret::Secret;
use crate::shutdown::{self, Shutdown};
use crate::telemetry;
use crate::telemetry::{MetricExport, MetricsReader, Telemetry};

/// Most connections of one process to Postgres.
const CONNECTIONS: u32 = 24;
/// How long the roles of a process may take to end.
const END_WITHIN: Duration = Duration::from_secs(20);

/// The roles that run in this process.
pub(crate) struct Roles {
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
    stop: CancellationToken,
    metric_export: Option<MetricExport>,
    /// What is sent to the collector once more at the end.
    exported: Option<MetricsReader>,
}

/// Where the gateway is.
pub(crate) struct Listening<'a> {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// How it is reached from outside, where that is another address.
    pub(crate) public: Option<&'a str>,
    /// Cancelled when requests are to go elsewhere, as this process will end.
    pub(crate) draining: CancellationToken,
}

/// What the roles of a process share: the log with everything that hangs on it.
#[derive(Clone)]
pub(crate) struct Store {
    log: Log,
    commands: Commands,
    dead_letters: DeadLetters,
    projections: Projections,
    /// For reads that cost much.
    replica: Option<Replica>,
}

impl Store {
    /// Opens the log. No query is sent yet: a database that cannot be reached is waited for where it is used.
    pub(crate) fn open(database_url: &Secret, clock: &Clock) -> anyhow::Result<Self> {
        let pool = app::log::pool(database_url.reveal(), CONNECTIONS)?;
        let id_generator = IdGenerator::random();
        let log = Log::new(pool.clone(), clock.clone(), id_generator.clone(), LogOptions::default());
        let projections = Projections::new(log.clone());
        Ok(Self {
            commands: Commands::new(log.clone(), clock.clone(), id_generator.clone())
                .advised_by(Arc::new(projections.clone())),
            dead_letters: DeadLetters::new(pool.clone(), clock.clone(), id_generator),
            projections,
            replica: None,
            log,
        })
    }

    /// The same, whose lists, searches and files are read from the replica that these arguments name, if they name one.
    pub(crate) fn with_replica(self, arguments: &ReplicaArguments) -> anyhow::Result<Self> {
        Ok(Self { replica: arguments.replica(&self.projections)?, ..self })
    }

    /// The same, for senders with these authorities.
    pub(crate) fn with_authorities(self, authorities: Authorities) -> Self {
        Self { commands: self.commands.with_authorities(authorities), ..self }
    }

    /// The same, with dead letters within these bounds.
    pub(crate) fn bounding_dead_letters(self, bounds: DeadLetterBounds) -> Self {
        Self { dead_letters: self.dead_letters.bounded(bounds), ..self }
    }

    /// The same, which handles commands' bodies so.
    pub(crate) fn handling_bodies(self, handling: Handling) -> Self {
        Self { commands: self.commands.handling_bodies(handling), ..self }
    }

    /// The log.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Commands that could not be handled.
    pub(crate) fn dead_letters(&self) -> &DeadLetters {
        &self.dead_letters
    }

    /// The read models.
    pub(crate) fn projections(&self) -> &Projections {
        &self.projections
    }
}

/// How long a database that is there may take to say whether it can be served.
const CHECK_WITHIN: Duration = Duration::from_secs(15);

/// Refuses to serve a log that an operator has to look after first; the error names the command. One that does not answer is
/// waited for where it is used. A database of a later version is served: migrations of one release never break the one before.
pub(crate) async fn check_log(store: &Store) -> anyhow::Result<()> {
    let look = async {
        let (applied, needed) = store.log.schema_versions().await?;
        let state = if applied < needed { None } else { Some(RestoreState::read(store.log.pool()).await?) };
        Ok::<_, app::log::LogError>((applied, needed, state))
    };
    match tokio::time::timeout(CHECK_WITHIN, look).await {
        Ok(Ok((applied, needed, None))) => bail!(
            "the database is at schema {applied}, and this version needs {needed}; first, as its owner: lablet migrate"
        ),
        Ok(Ok((_, _, Some(RestoreState::EpochDue)))) => bail!(
            "the database was restored from a backup, and no new epoch has begun; first, as its owner: lablet migrate --restored"
        ),
        Ok(Ok((_, _, Some(RestoreState::Unfinished)))) => bail!(
            "a restore of the database is under way, or was interrupted; wait for it, or make the database anew and repeat \
             lablet restore"
        ),
        Ok(Ok((_, _, Some(RestoreState::None)))) => {}
        Ok(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, "database not checked, starting"),
        Err(_) => tracing::warn!(timeout_seconds = CHECK_WITHIN.as_secs(), "database not checked, starting"),
    }
    Ok(())
}

/// Connects to the bus, in the background while it is away.
pub(crate) async fn connect_bus(arguments: &BusArguments, name: &str) -> anyhow::Result<Bus> {
    let options = arguments.options(name)?;
    arguments.access.check_files()?;
    Ok(Bus::connect(&options).await?)
}

/// How the gateway is reached from outside.
pub(crate) fn public_url(given: Option<&str>, fallback: &str) -> anyhow::Result<PublicUrl> {
    PublicUrl::parse(given.unwrap_or(fallback)).map_err(|invalid| anyhow::anyhow!("LABLET_PUBLIC_URL {invalid}"))
}

/// The same as a target of webhooks sees it: without a configured address, no message links to a page.
pub(crate) fn site(given: Option<&str>) -> anyhow::Result<Site> {
    Ok(Site { public_url: public_url(given, PublicUrl::default().as_str())?, is_configured: given.is_some() })
}

impl Roles {
    /// No roles yet. All end when `stop` is cancelled, or with [`Roles::end`].
    pub(crate) fn new(stop: CancellationToken, telemetry: &Telemetry) -> Self {
        Self { tasks: JoinSet::new(), stop, metric_export: telemetry.metric_export(), exported: None }
    }

    /// Starts a task, which ends when its token is cancelled.
    pub(crate) fn start<F>(&mut self, name: &'static str, role: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let running = role(self.stop.clone());
        self.tasks.spawn(async move { (name, running.await) });
    }

    /// Sends metrics to the collector, where there is one.
    fn start_metric_export(&mut self, reader: MetricsReader) {
        let Some(export) = self.metric_export.clone() else { return };
        self.exported = Some(reader.clone());
        self.start("metric export", |stop| async move {
            stop.run_until_cancelled(export.run(&reader)).await;
            Ok(())
        });
    }

    /// Lets a role be asked how it is, and its metrics be read and sent.
    fn start_probes(
        &mut self,
        arguments: &ProbeArguments,
        observed: Observed,
        metrics: PrometheusHandle,
    ) -> anyhow::Result<()> {
        let reader = MetricsReader::new(metrics, observed.measure);
        if let Some(address) = arguments.metrics_address {
            let read = reader.clone();
            let probes = Probes::bind(
                address,
                ProbesParts {
                    role: observed.role,
                    checks: observed.look,
                    metrics: Arc::new(move || {
                        let reader = read.clone();
                        Box::pin(async move { reader.read().await })
                    }),
                    metrics_readers: arguments.metrics_readers.clone(),
                },
            )?;
            tracing::info!(http = probes.local_url(), "probes and metrics are served");
            self.start("probes", |stop| async move { Ok(probes.run(stop).await?) });
        }
        self.start_metric_export(reader);
        Ok(())
    }

    /// Publishes the log to the bus.
    pub(crate) fn start_relay(&mut self, store: &Store, bus: &Bus, public_url: PublicUrl) {
        let relay = Relay::new(store.log.clone(), bus.clone(), RelayOptions { public_url, ..RelayOptions::default() });
        self.start("relay", |stop| async move {
            relay.run(stop).await;
            Ok(())
        });
    }

    /// Watches over the log's readers; one of a deployment does so at a time.
    pub(crate) fn start_watcher(&mut self, store: &Store, arguments: &WatcherArguments) {
        let watcher = Watcher::new(store.log.clone(), arguments.options());
        self.start("watcher", |stop| async move {
            watcher.run(stop).await;
            Ok(())
        });
    }

    /// Delivers webhooks.
    pub(crate) fn start_webhooks(
        &mut self,
        store: &Store,
        bus: &Bus,
        targets: Vec<Target>,
        site: Site,
    ) -> anyhow::Result<()> {
        let (log, dead_letters) = (store.log.clone(), store.dead_letters.clone());
        let deliverer = Deliverer::new(log, Some(bus.clone()), targets, dead_letters, DelivererOptions::new(site))?;
        self.start("webhooks", |stop| async move {
            deliverer.run(stop).await;
            Ok(())
        });
        Ok(())
    }

    /// Takes commands from the bus.
    pub(crate) fn start_command_consumer(&mut self, store: &Store, bus: &Bus, public_url: PublicUrl) {
        let consumer = CommandConsumer::new(
            bus.clone(),
            store.commands.clone(),
            store.dead_letters.clone(),
            CommandConsumerOptions { public_url, ..CommandConsumerOptions::default() },
        );
        self.start("command consumer", |stop| async move {
            consumer.run(stop).await;
            Ok(())
        });
        self.start_nudger(store, bus);
    }

    /// Sends wake-up signals to other processes after appends.
    fn start_nudger(&mut self, store: &Store, bus: &Bus) {
        let nudger = Nudger::new(store.log.clone(), bus.clone());
        self.start("nudger", |stop| async move {
            nudger.run(stop).await;
            Ok(())
        });
    }

    /// Folds the log into the read models.
    pub(crate) fn start_projections(&mut self, store: &Store, bus: &Bus, source: FeedSource) {
        let options = RunnerOptions { source, ..RunnerOptions::default() };
        let runner = Runner::new(store.projections.clone(), Some(bus.clone()), options);
        self.start("projections", |stop| async move {
            runner.run(stop).await;
            Ok(())
        });
    }

    /// Hears when read models move that another process keeps.
    fn start_listening(&mut self, store: &Store, bus: &Bus) {
        let (projections, bus) = (store.projections.clone(), bus.clone());
        self.start("signals of read models", |stop| async move {
            projections.listen(&bus, stop).await;
            Ok(())
        });
    }

    /// Proposes other sizes of definitions, by the read models.
    pub(crate) fn start_proposer(&mut self, store: &Store) {
        let proposer = Proposer::new(store.commands.clone(), store.projections.clone(), ProposerOptions::default());
        self.start("proposer", |stop| async move {
            proposer.run(stop).await;
            Ok(())
        });
    }

    /// Serves HTTP, and gives the address at which it does.
    pub(crate) async fn start_gateway(
        &mut self,
        listening: Listening<'_>,
        store: &Store,
        bus: &Bus,
        access: Access,
        metrics: PrometheusHandle,
    ) -> anyhow::Result<String> {
        let options = GatewayOptions {
            listen: listening.address,
            draining: listening.draining,
            idle_session: access.sign_in.idle_session(),
            longest_session: access.sign_in.longest_session(),
            trusted_proxies: access.reach.trusted_proxies.clone(),
            metrics_readers: access.reach.metrics_readers.clone(),
            ..GatewayOptions::default()
        };
        let parts = GatewayParts {
            cells: access.cells.file()?,
            commands: store.commands.clone(),
            dead_letters: store.dead_letters.clone(),
            projections: store.projections.clone(),
            replica: store.replica.clone(),
            bus: bus.clone(),
            internal_keys: access.internal_keys,
            admin_tokens: access.admin_tokens,
            provider: access.sign_in.provider()?,
            metrics: metrics.clone(),
            public_url: listening.public.map(str::to_owned),
        };
        let gateway = Gateway::bind(options, parts).await?;
        let http = gateway.local_url();
        let system = gateway.system_metrics();
        self.start_metric_export(MetricsReader::new(
            metrics,
            Arc::new(move || {
                let system = system.clone();
                Box::pin(async move { system.measure().await })
            }),
        ));
        self.start("gateway", |stop| async move { Ok(gateway.run(stop).await?) });
        Ok(http)
    }

    /// Observes labs.
    pub(crate) fn start_controller(
        &mut self,
        settings: ControllerSettings,
        gateway: controller::Gateway,
        bus: &Bus,
        clock: &Clock,
    ) -> anyhow::Result<()> {
        let cml = CmlClient::new(&settings.cml)?;
        let controller =
            Controller::new(settings.options, bus.clone(), gateway, cml, settings.credentials, clock.clone());
        self.start("controller", |stop| async move { Ok(controller.run(stop).await?) });
        Ok(())
    }

    /// Waits for a role to end by itself, which none should.
    pub(crate) async fn first_to_end(&mut self) -> anyhow::Result<()> {
        match self.tasks.join_next().await {
            None => Ok(()),
            Some(Ok((name, Ok(())))) if self.stop.is_cancelled() => {
                tracing::debug!(role = name, "role ended");
                Ok(())
            }
            Some(Ok((name, Ok(())))) => bail!("the {name} ended by itself"),
            Some(Ok((name, Err(error)))) => Err(error.context(format!("the {name} ended by itself"))),
            Some(Err(error)) => Err(anyhow::Error::new(error).context("a role ended in a panic")),
        }
    }

    /// Cancels all tasks and waits for them.
    pub(crate) async fn end(mut self, within: Duration) -> anyhow::Result<()> {
        self.stop.cancel();
        let all = async {
            let mut first_failure = Ok(());
            while let Some(ended) = self.tasks.join_next().await {
                let (name, result) = ended.context("a role ended in a panic")?;
                tracing::debug!(role = name, "role ended");
                if first_failure.is_ok() {
                    first_failure = result.with_context(|| format!("the {name} ended badly"));
                }
            }
            first_failure
        };
        let ended = tokio::time::timeout(within, all)
            .await
            .with_context(|| format!("the roles did not end within {} s", within.as_secs()));
        if let (Some(export), Some(reader)) = (&self.metric_export, &self.exported) {
            export.export_last(reader).await;
        }
        ended?
    }

    /// Runs until the process is asked to end.
    async fn run(mut self, cancelled: CancellationToken) -> anyhow::Result<()> {
        let ended = tokio::select! {
            ended = self.first_to_end() => ended,
            () = cancelled.cancelled() => Ok(()),
        };
        let all = self.end(END_WITHIN).await;
        ended.and(all)
    }
}

/// `lablet serve`: the gateway and the command consumer.
pub(crate) async fn serve(arguments: ServeArguments, telemetry: &Telemetry) -> anyhow::Result<()> {
    let Shutdown { draining, ending: cancelled } = shutdown::on_signal_after(arguments.drain())?;
    let metrics = telemetry::start_metrics()?;
    let access = arguments.gateway.access()?;
    if access.internal_keys.is_empty() {
        tracing::warn!("no internal API key is valid, LABLET_INTERNAL_API_KEY_HASHES is not set");
    }
    let authorities = arguments.gateway.authority.authorities(&access.internal_keys)?;
    let store = Store::open(&arguments.database.url()?, &Clock::system())?
        .with_authorities(authorities)
        .with_replica(&arguments.replica)?;
    let store =
        store.handling_bodies(arguments.bodies.handling()).bounding_dead_letters(arguments.dead_letters.bounds());
    check_log(&store).await?;
    let bus = connect_bus(&arguments.bus, "lablet-serve").await?;
    let mut roles = Roles::new(cancelled.child_token(), telemetry);
    let public = arguments.gateway.public_url.as_deref();
    let listening = Listening { address: arguments.gateway.http, public, draining };
    let http = roles.start_gateway(listening, &store, &bus, access, metrics).await?;
    roles.start_command_consumer(&store, &bus, public_url(public, &http)?);
    tracing::info!(http, "gateway started");
    roles.run(cancelled).await
}

/// `lablet project`: the projections. They append nothing: what appends by what it reads of them runs beside the relay.
pub(crate) async fn project(arguments: ProjectArguments, telemetry: &Telemetry) -> anyhow::Result<()> {
    let cancelled = shutdown::on_signal()?;
    let metrics = telemetry::start_metrics()?;
    let store = Store::open(&arguments.database.url()?, &Clock::system())?;
    check_log(&store).await?;
    let bus = connect_bus(&arguments.bus, "lablet-project").await?;
    let mut roles = Roles::new(cancelled.child_token(), telemetry);
    roles.start_probes(&arguments.probes, readiness::of_projections(&store, &bus), metrics)?;
    roles.start_projections(&store, &bus, arguments.feed.source());
    roles.start_watcher(&store, &arguments.watcher);
    roles.run(cancelled).await
}

/// `lablet relay`: the relay, and the proposer.
pub(crate) async fn relay(arguments: RelayArguments, telemetry: &Telemetry) -> anyhow::Result<()> {
    let cancelled = shutdown::on_signal()?;
    let metrics = telemetry::start_metrics()?;
    let store = Store::open(&arguments.database.url()?, &Clock::system())?;
    check_log(&store).await?;
    let bus = connect_bus(&arguments.bus, "lablet-relay").await?;
    let mut roles = Roles::new(cancelled.child_token(), telemetry);
    let public_url = public_url(arguments.public_url.as_deref(), PublicUrl::default().as_str())?;
    roles.start_probes(&arguments.probes, readiness::of_relay(&store, &bus), metrics)?;
    roles.start_relay(&store, &bus, public_url);
    roles.start_listening(&store, &bus);
    roles.start_proposer(&store);
    roles.start_watcher(&store, &arguments.watcher);
    roles.run(cancelled).await
}

/// `lablet deliver`: webhooks.
pub(crate) async fn deliver(arguments: DeliverArguments, telemetry: &Telemetry) -> anyhow::Result<()> {
    let cancelled = shutdown::on_signal()?;
    let metrics = telemetry::start_metrics()?;
    let targets = arguments.webhooks.configured_targets()?;
    let store = Store::open(&arguments.database.url()?, &Clock::system())?;
    let store = store.bounding_dead_letters(arguments.dead_letters.bounds());
    check_log(&store).await?;
    let bus = connect_bus(&arguments.bus, "lablet-deliver").await?;
    let mut roles = Roles::new(cancelled.child_token(), telemetry);
    roles.start_probes(&arguments.probes, readiness::of_webhooks(&store, &bus), metrics)?;
    roles.start_webhooks(&store, &bus, targets, site(arguments.public_url.as_deref())?)?;
    roles.run(cancelled).await
}

/// `lablet control`: a controller.
pub(crate) async fn control(arguments: ControlArguments, telemetry: &Telemetry) -> anyhow::Result<()> {
    let cancelled = shutdown::on_signal()?;
    let metrics = telemetry::start_metrics()?;
    let settings = arguments.controller.settings()?.context(
        "no CML credentials are configured: set LABLET_CML_USERNAME and LABLET_CML_PASSWORD, or LABLET_CML_CREDENTIALS",
    )?;
    let bus = connect_bus(&arguments.bus, "lablet-control").await?;
    let mut roles = Roles::new(cancelled.child_token(), telemetry);
    let gateway = controller::Gateway::new(&arguments.gateway_url, arguments.internal_api_key.reveal())?;
    roles.start_probes(&arguments.probes, readiness::of_controller(&gateway, &bus), metrics)?;
    roles.start_controller(settings, gateway, &bus, &Clock::system())?;
    roles.run(cancelled).await
}
