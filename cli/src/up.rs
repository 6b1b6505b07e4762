//! `lablet up`: every role in one process, on a private Postgres and a private nats-server unless others are named.

mod stores;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bus::clock::Clock;
use bus::{Bus, StreamBounds, streams};
use clap::{Args, ValueEnum};
use gateway::authentication::Role;
use gateway::sign_in::{AdminName, SignInLinks};
use tokio_util::sync::CancellationToken;
use webhooks::Site;

use self::stores::Stores;
use crate::configuration::bus::BusAccessArguments;
use crate::configuration::cells::CellsArguments;
use crate::configuration::replica::ReplicaArguments;
use crate::configuration::roles::FeedArguments;
use crate::configuration::sign_in::SignInArguments;
use crate::configuration::telemetry::TelemetryArguments;
use crate::configuration::watcher::WatcherArguments;
use crate::configuration::webhooks::WebhookArguments;
use crate::configuration::{
    Access, AuthorityArguments, BodyArguments, BusArguments, ControllerArguments, DeadLetterArguments, ReachArguments,
};
use crate::demo::{self, Demo, Services};
use crate::operations::tokens::LINK_VALID_FOR;
use crate::ready::Ready;
use crate::roles::{self, Listening, Roles, Store};
use crate::secret::Secret;
use crate::shutdown;
use crate::telemetry::Telemetry;

/// How long the roles may take to end.
const END_WITHIN: Duration = Duration::from_secs(20);

/// How to start everything in one process.
#[derive(Debug, Args)]
pub(crate) struct UpArguments {
    /// Where the private servers, keys and tokens are kept between runs.
    #[arg(long, env = "LABLET_DATA_DIR", default_value = ".lablet")]
    data_dir: PathBuf,
    /// Where the gateway listens.
    #[arg(long, env = "LABLET_HTTP", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// Add simulated CML controllers, sample labs and sessions that run through their life.
    #[arg(long)]
    demo: bool,
    /// Days of a small fleet's past that the demonstration begins with; 0: none. Written once, into an empty log.
    #[arg(long, value_name = "DAYS", default_value_t = 14, requires = "demo", value_parser = clap::value_parser!(u32).range(0..=60))]
    demo_history: u32,
    /// How readiness is reported.
    #[arg(long, value_enum, default_value_t = ReadyFormat::Text)]
    output: ReadyFormat,
    /// Use this Postgres instead of a private one.
    #[arg(long, env = "LABLET_DATABASE_URL", hide_env_values = true)]
    database_url: Option<Secret>,
    /// Use this NATS instead of a private one.
    #[arg(long, env = "LABLET_NATS_URL", hide_env_values = true)]
    nats_url: Option<Secret>,
    #[command(flatten)]
    replica: ReplicaArguments,
    #[command(flatten)]
    bus_access: BusAccessArguments,
    #[command(flatten)]
    feed: FeedArguments,
    /// How the gateway is reached from outside, where that is not where it listens.
    #[arg(long, env = "LABLET_PUBLIC_URL")]
    public_url: Option<String>,
    #[command(flatten)]
    authority: AuthorityArguments,
    #[command(flatten)]
    bodies: BodyArguments,
    #[command(flatten)]
    dead_letters: DeadLetterArguments,
    #[command(flatten)]
    sign_in: SignInArguments,
    #[command(flatten)]
    reach: ReachArguments,
    #[command(flatten)]
    cells: CellsArguments,
    #[command(flatten)]
    controller: ControllerArguments,
    #[command(flatten)]
    watcher: WatcherArguments,
    #[command(flatten)]
    webhooks: WebhookArguments,
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArguments,
}

/// How readiness is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReadyFormat {
    /// Lines for people.
    Text,
    /// One JSON line for programs.
    Json,
}

/// Starts everything, reports when it is ready, and runs until a signal ends the process.
pub(crate) async fn run(arguments: UpArguments, telemetry: &Telemetry) -> anyhow::Result<()> {
    let cancelled = shutdown::on_signal()?;
    start_and_run(arguments, telemetry, cancelled).await
}

/// How long the stream of commands is waited for.
const COMMANDS_WITHIN: Duration = Duration::from_secs(10);

/// Waits until the bus takes commands: whoever reads that all is ready may send one at once, and without a stream it would be
/// lost. A bus that is away keeps nothing else from starting.
async fn wait_for_commands(bus: &Bus) {
    let ensured = async {
        bus.connected(COMMANDS_WITHIN).await?;
        streams::ensure_commands(bus, &StreamBounds::default()).await?;
        anyhow::Ok(())
    };
    match tokio::time::timeout(COMMANDS_WITHIN, ensured).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = &*error as &dyn std::error::Error, "the bus takes no commands yet"),
        Err(_) => tracing::warn!(timeout_seconds = COMMANDS_WITHIN.as_secs(), "the bus takes no commands yet"),
    }
}

async fn start_and_run(
    arguments: UpArguments,
    telemetry: &Telemetry,
    cancelled: CancellationToken,
) -> anyhow::Result<()> {
    let data_dir = &arguments.data_dir;
    std::fs::create_dir_all(data_dir).with_context(|| format!("{} cannot be made", data_dir.display()))?;
    let metrics = crate::telemetry::start_metrics()?;
    let internal_api_key = Secret::kept_in(&data_dir.join("internal-api-key"), "lablet_internal_")?;
    let admin_token = Secret::kept_in(&data_dir.join("admin-token"), "lablet_admin_")?;

    let started = tokio::select! {
        stores = Stores::start(data_dir, arguments.database_url.clone(), arguments.nats_url.clone()) => Some(stores?),
        () = cancelled.cancelled() => None,
    };
    let Some(stores) = started else { return Ok(()) };

    let simulated = if arguments.demo { Some(demo::start_simulators().await?) } else { None };
    let mut roles = Roles::new(cancelled.child_token(), telemetry);
    let running = async {
        let clock = Clock::system();
        let access = Access::one_of_each(
            &internal_api_key,
            &admin_token,
            arguments.sign_in.clone(),
            arguments.reach.clone(),
            arguments.cells.clone(),
        );
        let authorities = arguments.authority.authorities(&access.internal_keys)?;
        let store = Store::open(stores.database_url(), &clock)?.with_authorities(authorities);
        let store = store.with_replica(&arguments.replica)?;
        roles::check_log(&store).await?;
        let store = store.handling_bodies(arguments.bodies.handling());
        let store = store.bounding_dead_letters(arguments.dead_letters.bounds());
        let named = BusArguments::at(stores.nats_url().clone(), arguments.bus_access.clone());
        let bus = roles::connect_bus(&named, "lablet-up").await?;
        let public = arguments.public_url.as_deref();
        let listening = Listening { address: arguments.http, public, draining: cancelled.clone() };
        let http = roles.start_gateway(listening, &store, &bus, access, metrics).await?;
        let site = roles::public_url(public, &http)?;
        roles.start_relay(&store, &bus, site.clone());
        roles.start_command_consumer(&store, &bus, site.clone());
        roles.start_projections(&store, &bus, arguments.feed.source());
        roles.start_proposer(&store);
        roles.start_watcher(&store, &arguments.watcher);
        if let Some(targets) = arguments.webhooks.targets()? {
            roles.start_webhooks(&store, &bus, targets, Site { public_url: site.clone(), is_configured: true })?;
        }
        let settings = match &simulated {
            Some((simulators, credentials)) => {
                let pool = store.log().pool().clone();
                demo::write_history(pool, clock.now(), arguments.demo_history, simulators).await?;
                Some(arguments.controller.settings_for_simulators(simulators, credentials.clone())?)
            }
            None => arguments.controller.settings()?,
        };
        match settings {
            Some(settings) => {
                let gateway = controller::Gateway::new(&http, internal_api_key.reveal())?;
                roles.start_controller(settings, gateway, &bus, &clock)?;
            }
            None => {
                tracing::warn!("controller not started, neither LABLET_CML_USERNAME nor LABLET_CML_CREDENTIALS is set")
            }
        }
        if let Some((simulators, _)) = &simulated {
            let services = Services::new(&http, internal_api_key.clone(), admin_token.clone())?;
            let demo = Demo::new(simulators.clone(), services, clock.clone());
            roles.start("demonstration", |cancelled| async move {
                demo.run(cancelled).await;
                Ok(())
            });
        }
        wait_for_commands(&bus).await;
        let links = SignInLinks::new(store.log().pool().clone(), clock);
        let link = links.create(&site, &AdminName::parse("admin")?, Role::Admin, LINK_VALID_FOR).await?;
        let ready = Ready {
            event: "ready".to_owned(),
            http,
            database_url: stores.database_url().clone(),
            analyst_database_url: stores.analyst_database_url().cloned(),
            nats_url: stores.nats_url().clone(),
            admin_token: admin_token.clone(),
            sign_in_url: Some(link.parse().map_err(anyhow::Error::msg)?),
            internal_api_key: internal_api_key.clone(),
            cml_url: simulated.as_ref().and_then(|(simulators, _)| Some(simulators.first()?.url())),
        };
        ready.write(data_dir)?;
        match arguments.output {
            ReadyFormat::Json => ready.print_json(),
            ReadyFormat::Text => ready.print_text(),
        }
    }
    .await;

    let mut stores = stores;
    let watched = match running {
        Ok(()) => tokio::select! {
            ended = roles.first_to_end() => ended,
            ended = stores.watch() => ended,
            () = cancelled.cancelled() => Ok(()),
        },
        Err(error) => Err(error),
    };
    let ended = roles.end(END_WITHIN).await;
    let stopped = stores.stop().await;
    for simulator in simulated.into_iter().flat_map(|(simulators, _)| simulators).filter_map(Arc::into_inner) {
        simulator.stop().await;
    }
    tracing::info!("shutdown complete");
    watched.and(ended).and(stopped)
}
