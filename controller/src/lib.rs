//! The controller: observes labs on CML workers, at the end of their timeslot and when somebody asks for it.
//!
//! It needs the bus and the gateway, not Postgres, so that it can run beside its CML workers. Its tasks:
//!
//! - [`requests`] answers observation requests from the bus, each with exactly one outcome;
//! - [`reconciler`] reads the running sessions, [`plan`]s, and ends timeslots: observe first, then move on;
//! - [`sampling`] samples running sessions, whose [`profile`] goes into their observations;
//! - `announcements` tells how it gets on with each worker, by its `contact`;
//! - [`probe`] probes the CML workers, so that it shows when one cannot be used, and reports their [`pressure`].
//!
//! Read [`observer`] for how a lab is read and [`observation`] for what is made of it.

mod announcements;
pub mod cml;
mod contact;
pub mod credentials;
pub mod gateway;
pub mod hosts;
pub mod observation;
pub mod observer;
pub mod plan;
pub mod pressure;
pub mod probe;
pub mod profile;
pub mod reconciler;
pub mod reports;
pub mod requests;
pub mod sampling;
pub mod wake_ups;
pub mod workers;

use std::time::Duration;

use bus::clock::Clock;
use bus::{Bus, StreamBounds};
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::cml::{CmlClient, CmlOptions};
pub use self::credentials::{CredentialBook, Credentials, InsecureTls};
pub use self::gateway::Gateway;
pub use self::hosts::HostList;

use self::announcements::Announcements;
use self::contact::Contacts;
use self::observer::Observer;
use self::plan::PlanOptions;
use self::pressure::PressureReports;
use self::probe::{Probe, ProbeIntervals};
use self::reconciler::Reconciler;
use self::reports::Sender;
use self::requests::Requests;
use self::sampling::{Sampling, SamplingOptions};
use self::workers::Workers;

/// How a controller works.
#[derive(Debug, Clone)]
pub struct ControllerOptions {
    /// `RESOURCE_OBSERVATION_ENABLED`: whether sessions are observed at the end of their timeslot. Requests by people
    /// are answered in any case.
    pub observe_at_timeslot_end: bool,
    /// `RESOURCE_OBSERVATION_TIMEOUT_SECONDS`: longest time of one observation.
    pub observation_timeout: Duration,
    /// How long after its last node booted a lab counts as steady.
    pub settling: Duration,
    /// `RESOURCE_SAMPLING_SECONDS`: planned time between two samples of a running session. Zero: nothing is sampled.
    pub sampling_interval: Duration,
    /// Shortest time between two writes of what a session used so far to the store that outlives this controller.
    pub sampling_write_interval: Duration,
    /// How often workers are probed.
    pub probe_intervals: ProbeIntervals,
    /// How long a worker's socket may bring nothing before it is given up; CML pushes something about every 3 seconds.
    pub socket_silence: Duration,
    /// Longest time between two lists of the running sessions.
    pub poll: Duration,
    /// Observation requests that are answered at a time.
    pub concurrent_requests: usize,
    /// Largest observation, in bytes, that is reported over the bus; a larger one goes over HTTP, and so does one that
    /// exceeds what the bus itself takes.
    pub largest_message: usize,
    /// How the streams are made where they are missing.
    pub streams: StreamBounds,
}

impl Default for ControllerOptions {
    fn default() -> Self {
        Self {
            observe_at_timeslot_end: true,
            observation_timeout: Duration::from_secs(30),
            settling: Duration::from_secs(60),
            sampling_interval: Duration::from_secs(30),
            sampling_write_interval: Duration::from_secs(60),
            probe_intervals: ProbeIntervals::default(),
            socket_silence: Duration::from_secs(20),
            poll: Duration::from_secs(5),
            concurrent_requests: 4,
            largest_message: bus::streams::LARGEST_COMMAND,
            streams: StreamBounds::default(),
        }
    }
}

/// A task of the controller ended that should not have.
#[derive(Debug, thiserror::Error)]
#[error("a task of the controller ended by itself")]
pub struct ControllerError(#[source] Option<tokio::task::JoinError>);

/// What the tasks of a controller rest on. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) bus: Bus,
    pub(crate) bounds: StreamBounds,
    pub(crate) gateway: Gateway,
    pub(crate) workers: Workers,
    pub(crate) client: CmlClient,
    pub(crate) clock: Clock,
}

/// The controller.
#[derive(Debug)]
pub struct Controller {
    options: ControllerOptions,
    bus: Bus,
    gateway: Gateway,
    workers: Workers,
    observer: Observer,
    announcements: Announcements,
    client: CmlClient,
    clock: Clock,
}

impl Controller {
    /// A controller over this bus and this gateway, that opens CML workers with these credentials.
    pub fn new(
        options: ControllerOptions,
        bus: Bus,
        gateway: Gateway,
        cml: CmlClient,
        credentials: CredentialBook,
        clock: Clock,
    ) -> Self {
        let contacts = Contacts::new(clock.clone());
        let announcements = Announcements::new(bus.clone(), contacts.clone(), clock.clone(), credentials.has_any());
        let cml = cml.with_contacts(contacts.clone());
        let observer = Observer::new(cml.clone(), options.observation_timeout, options.settling);
        let workers = Workers::new(gateway.clone(), credentials, cml.clone(), contacts);
        Self { options, bus, gateway, workers, observer, announcements, client: cml, clock }
    }

    /// Runs until `stop`. Waits with back-off while the bus, the gateway or a worker cannot be reached.
    ///
    /// # Errors
    /// [`ControllerError`] when one of its tasks panicked.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ControllerError> {
        describe_metrics();
        let Self { options, bus, gateway, workers, observer, announcements, client, clock } = self;
        let sender = Sender::new(bus.clone(), gateway.clone(), options.streams, options.largest_message);
        let plan =
            PlanOptions { observe: options.observe_at_timeslot_end, observation_timeout: options.observation_timeout };
        let mut tasks = JoinSet::new();
        tasks.spawn(announcements.run(stop.clone()));
        let reconciler = Reconciler::new(gateway.clone(), sender.clone(), clock.clone(), plan, options.poll);
        tasks.spawn(reconciler.run(bus.clone(), stop.clone()));
        let reports = PressureReports::new(gateway.clone());
        let probe = Probe::new(workers.clone(), reports.clone(), clock.clone(), options.probe_intervals);
        tasks.spawn(probe.run(stop.clone()));
        let sampling = SamplingOptions {
            interval: options.sampling_interval,
            settling: options.settling,
            write_interval: options.sampling_write_interval,
            socket_silence: options.socket_silence,
        };
        let surroundings = Surroundings { bus, bounds: options.streams, gateway, workers, client, clock };
        let (sampling, profiles) = Sampling::new(sampling, surroundings.clone());
        tasks.spawn(sampling.run(stop.clone()));
        let requests = Requests::new(surroundings, observer, sender, profiles, reports);
        for _ in 0..options.concurrent_requests.max(1) {
            tasks.spawn(requests.clone().run(stop.clone()));
        }
        tracing::info!("controller started");
        let mut ended = Ok(());
        while let Some(task) = tasks.join_next().await {
            let error = match task {
                Ok(()) if stop.is_cancelled() => continue,
                Ok(()) => ControllerError(None),
                Err(error) => ControllerError(Some(error)),
            };
            // The others end too: half a controller looks like a whole one from outside.
            stop.cancel();
            ended = Err(error);
        }
        tracing::info!("controller ended");
        ended
    }
}

/// Says what the metrics of a controller mean.
fn describe_metrics() {
    describe_counter!("lablet_cml_requests_total", Unit::Count, "Reads of CML, by what is read and what came of it");
    describe_histogram!("lablet_cml_request_seconds", Unit::Seconds, "Duration of one read of CML, by what is read");
    describe_counter!("lablet_cml_sockets_ended_total", Unit::Count, "WebSockets of CML that ended, by the reason");
    describe_gauge!("lablet_worker_reachable", "1 where a worker answered the last probe");
    describe_counter!(
        "lablet_observation_requests_total",
        Unit::Count,
        "Requests for observations, by how their message was settled"
    );
    describe_histogram!("lablet_observation_seconds", Unit::Seconds, "Duration of one observation, by what came of it");
    describe_histogram!("lablet_reconcile_seconds", Unit::Seconds, "Duration of one look at the running sessions");
    describe_counter!("lablet_reconcile_total", Unit::Count, "Looks at the running sessions, by what came of them");
    describe_counter!("lablet_reconcile_session_failures_total", Unit::Count, "Steps of a session that failed");
    describe_counter!("lablet_reconcile_commands_total", Unit::Count, "Commands of the reconciler that were recorded");
    describe_counter!("lablet_samples_total", Unit::Count, "Samples of running sessions, by what came of them");
    describe_gauge!("lablet_sampled_sessions", Unit::Count, "Sessions that this controller samples");
    describe_counter!(
        "lablet_live_samples_unreadable_total",
        Unit::Count,
        "Messages of other controllers that are no live samples"
    );
}
