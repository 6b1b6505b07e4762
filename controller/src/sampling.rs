//! Samples every running session, from its first minute to its last.
//!
//! One controller samples a session, whichever claims its entry in the [`store`] first. It tells the others of every sample
//! by core messages ([`live`]), so that they know that it lives, and one of them can go on where it ended: from the last
//! summary that it wrote, and from what was heard since then. Nothing but the task of [`Sampling::run`] changes what is
//! known of sessions; whatever may take time is done by tasks of its own, which hand back what came of it.

mod claim;
mod handover;
mod heard;
mod live;
mod pace;
mod poll;
mod profiles;
mod session;
mod sessions;
mod sockets;
pub mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bus::clock::IdGenerator;
use bus::{Backoff, subjects};
use domain::lablet_session::SessionStatus;
use domain::live_sample::{LabSample, Outcome, Sample};
use domain::observation::GapReason;
use domain::{LabId, SessionId, WorkerId};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::claim::{Claim, claim};
use self::heard::HeardSamples;
use self::live::LiveSample;
use self::pace::{Pace, is_of_worker};
use self::poll::{Poll, PollReply, comes_too_soon, unreadable};
pub use self::profiles::Profiles;
use self::profiles::{Question, SoFar};
use self::session::{Role, SampledSession, Standby};
use self::sessions::Sessions;
use self::sockets::{SocketNews, SocketNewsKind, Sockets};
use self::store::{StoreError, SummaryStore};
use crate::Surroundings;
use crate::gateway::{Gateway, GatewayError, Rows, Session};
use crate::profile::{FoldOutcome, Summary, sample_from_stats};
use crate::wake_ups::WakeUps;

/// Most sessions that one controller samples.
const MOST_SESSIONS: usize = 5_000;
/// Shortest time between two lists of the running sessions.
const LISTS_APART: Duration = Duration::from_secs(2);
/// How often it is asked whether a session that no longer runs can still be observed.
const ENDED_INTERVAL: Duration = Duration::from_secs(60);
/// How long summaries may take to be handed over when the controller ends.
const GRACE: Duration = Duration::from_secs(3);
/// How long a lab is believed to have no other nodes than were read.
const NODES_LAST: Duration = Duration::from_secs(300);
/// After how many intervals the nodes are asked for again, where they could not be read.
const NODES_AGAIN_INTERVALS: u32 = 2;
/// How long the first connection to the bus is waited for.
const FIRST_CONNECTION: Duration = Duration::from_secs(10);
/// Questions that wait for an answer.
const MOST_QUESTIONS: usize = 64;

/// How sessions are sampled.
#[derive(Debug, Clone, Copy)]
pub struct SamplingOptions {
    /// `RESOURCE_SAMPLING_SECONDS`: planned time between two samples of a session. Zero: nothing is sampled.
    pub interval: Duration,
    /// How long after its boot a node counts as steady.
    pub settling: Duration,
    /// Shortest time between two writes of a session's summary to the store.
    pub write_interval: Duration,
    /// How long a worker's socket may bring nothing before it is given up.
    pub socket_silence: Duration,
}

/// Samples running sessions.
#[derive(Debug)]
pub struct Sampling {
    options: SamplingOptions,
    surroundings: Surroundings,
    store: SummaryStore,
    controller: Uuid,
    sessions: Sessions,
    heard: HeardSamples,
    paces: BTreeMap<WorkerId, Pace>,
    tasks: JoinSet<TaskOutcome>,
    sockets: Sockets,
    /// Sessions by worker and lab; what comes by a socket names these.
    labs: BTreeMap<(WorkerId, LabId), Vec<SessionId>>,
    /// Whether sessions have come or gone since sockets and labs were made to fit them.
    has_other_labs: bool,
    list_at: Instant,
    in_list: bool,
    list_backoff: Backoff,
    questions: mpsc::Receiver<Question>,
    store_is_away: bool,
}

/// What a task did.
#[derive(Debug)]
enum TaskOutcome {
    Listed(Result<Rows<Session>, GatewayError>),
    Polled { session: SessionId, worker: WorkerId, lab: LabId, result: Result<PollReply, GapReason> },
    Claimed { session: SessionId, claim: Result<Claim, StoreError> },
    Written { session: SessionId, result: Result<u64, StoreError> },
    Ended { session: SessionId, is_observable: Result<bool, GatewayError> },
    Finished,
}

impl Sampling {
    /// Sampling, and where what it gathers can be had.
    pub(crate) fn new(options: SamplingOptions, surroundings: Surroundings) -> (Self, Profiles) {
        let (sender, questions) = mpsc::channel(MOST_QUESTIONS);
        let store = SummaryStore::new(surroundings.bus.clone());
        let is_on = !options.interval.is_zero();
        let profiles = Profiles::new(is_on.then_some(sender), store.clone());
        let sampling = Self {
            list_backoff: Backoff::new(LISTS_APART, options.interval.max(LISTS_APART) * 2),
            options,
            surroundings,
            store,
            controller: IdGenerator::random().uuid(),
            sessions: Sessions::new(options.interval),
            heard: HeardSamples::new(),
            paces: BTreeMap::new(),
            tasks: JoinSet::new(),
            sockets: Sockets::new(options.socket_silence),
            labs: BTreeMap::new(),
            has_other_labs: false,
            list_at: Instant::now(),
            in_list: false,
            questions,
            store_is_away: false,
        };
        (sampling, profiles)
    }

    /// Samples until `stop`, and then leaves its sessions to the other controllers.
    pub async fn run(mut self, stop: CancellationToken) {
        if self.options.interval.is_zero() {
            tracing::info!("sampling is off");
            stop.cancelled().await;
            return;
        }
        // Whoever begins before it can ask the store samples beside the one who has the session already.
        if let Some(Err(error)) = stop.run_until_cancelled(self.surroundings.bus.connected(FIRST_CONNECTION)).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "sampling begins without the bus");
        }
        let client = self.surroundings.bus.client().clone();
        let wake_ups = WakeUps::subscribe(&client, subjects::SESSION_RUNNING).await;
        let mut live = match client.subscribe(subjects::LIVE_SAMPLES).await {
            Ok(live) => Some(live),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "live samples cannot be heard");
                None
            }
        };
        loop {
            let next = self.next_time();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(question) = self.questions.recv() => self.answer(question),
                Some(done) = self.tasks.join_next() => {
                    self.settle(done);
                    while let Some(done) = self.tasks.try_join_next() {
                        self.settle(done);
                    }
                }
                Some(message) = next_message(&mut live) => self.hear(&message.payload),
                Some(pushed) = self.sockets.next() => self.pushed(pushed),
                () = wake_ups.next() => self.list_at = self.list_at.min(Instant::now() + LISTS_APART),
                () = tokio::time::sleep_until(next) => {}
            }
            self.start_due();
        }
        if tokio::time::timeout(GRACE, self.release()).await.is_err() {
            tracing::info!("sessions not handed over in time");
        }
    }

    /// When something is to be done next.
    fn next_time(&mut self) -> Instant {
        let list_at = (!self.in_list).then_some(self.list_at);
        let times = self.sessions.next_due().into_iter().chain(list_at);
        times.min().unwrap_or_else(|| Instant::now() + self.options.interval)
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        if std::mem::take(&mut self.has_other_labs) {
            self.keep_sockets();
        }
        if !self.in_list && now >= self.list_at {
            self.in_list = true;
            let gateway = self.surroundings.gateway.clone();
            self.tasks.spawn(async move { TaskOutcome::Listed(gateway.running().await) });
        }
        for id in self.sessions.due(now) {
            self.start_due_of(&id, now);
        }
    }

    fn start_due_of(&mut self, id: &SessionId, now: Instant) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        match &mut session.role {
            Role::Standby(standby) if !session.in_store && now >= standby.take_over_at => {
                session.in_store = true;
                let new = Summary::new(session.running_since, self.options.interval, self.options.settling);
                let claim = claim(self.store.clone(), id.clone(), self.controller, standby.holder, new);
                self.tasks.spawn(claim);
            }
            Role::Standby(_) => {}
            Role::Sampling(sampled) => {
                if !session.in_store && !sampled.is_written && now >= sampled.write_at {
                    session.in_store = true;
                    sampled.is_written = true;
                    sampled.write_at = now + self.options.write_interval;
                    let (store, id, controller) = (self.store.clone(), id.clone(), self.controller);
                    let (revision, summary) = (sampled.revision, sampled.summary.clone());
                    self.tasks.spawn(async move {
                        let result = store.write(&id, Some(controller), revision, &summary).await;
                        TaskOutcome::Written { session: id, result }
                    });
                }
                let is_pending = session.ended.is_none() && now >= sampled.pending_at(self.options.interval);
                match session.ended {
                    None if !sampled.in_poll && now >= sampled.poll_at => self.start_poll(id, now),
                    Some(ask_at) if !session.in_store && now >= ask_at => {
                        session.in_store = true;
                        self.tasks.spawn(is_observable(self.surroundings.gateway.clone(), id.clone()));
                    }
                    _ => {}
                }
                if is_pending {
                    self.tell(id, Outcome::Pending, now);
                }
            }
        }
    }

    fn start_poll(&mut self, id: &SessionId, now: Instant) {
        let interval = self.options.interval;
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Role::Sampling(sampled) = &mut session.role else { return };
        if let Some(pushed_at) = sampled.pushed_at
            && now < pushed_at + interval
            && !sampled.wants_nodes
        {
            // The socket brings what a poll would.
            sampled.poll_at = pushed_at + interval;
            return;
        }
        let pace = self.paces.entry(session.worker.clone()).or_insert_with(|| Pace::new(interval));
        match pace.may_ask(now) {
            Ok(()) => {
                sampled.in_poll = true;
                let is_for_nodes = std::mem::take(&mut sampled.wants_nodes);
                if is_for_nodes {
                    sampled.nodes_asked_at = Some(now);
                }
                // The plan is kept where it can be, whatever an answer takes.
                let planned = sampled.poll_at + interval;
                sampled.poll_at = if planned > now { planned } else { now + interval };
                let poll = Poll {
                    session: id.clone(),
                    worker: session.worker.clone(),
                    lab: session.lab.clone(),
                    permits: pace.permits.clone(),
                    interval,
                    is_for_nodes,
                };
                self.tasks.spawn(poll.run(self.surroundings.clone()));
            }
            Err((reason, again_at)) => {
                sampled.poll_at = again_at.min(now + interval);
                self.miss(id, reason, now);
            }
        }
    }

    /// Notes that there is no sample of a session now, and tells others that it is sampled all the same.
    fn miss(&mut self, id: &SessionId, reason: GapReason, now: Instant) {
        let Some(sampled) = self.sessions.sampling_mut(id) else { return };
        sampled.summary.miss(reason);
        sampled.is_written = false;
        metrics::counter!("lablet_samples_total", "outcome" => "missed").increment(1);
        if now.duration_since(sampled.told_at) >= self.options.interval / 4 {
            self.tell(id, Outcome::Missed { reason }, now);
        }
    }

    fn tell(&mut self, id: &SessionId, outcome: Outcome, now: Instant) {
        let Some(sampled) = self.sessions.sampling_mut(id) else { return };
        sampled.told_at = now;
        let message = LiveSample { session_id: id.clone(), controller: self.controller, term: sampled.term, outcome };
        let bus = self.surroundings.bus.clone();
        self.tasks.spawn(async move {
            live::publish(&message, &bus).await;
            TaskOutcome::Finished
        });
    }

    fn settle(&mut self, done: Result<TaskOutcome, JoinError>) {
        let now = Instant::now();
        let done = match done {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return,
        };
        match done {
            TaskOutcome::Listed(rows) => self.listed(rows, now),
            TaskOutcome::Polled { session, worker, lab, result } => {
                if let Some(pace) = self.paces.get_mut(&worker) {
                    match &result {
                        Err(reason) if is_of_worker(*reason) => pace.failed(*reason, now),
                        _ => pace.answered(),
                    }
                }
                let Some(known) = self.sessions.get_mut(&session) else { return };
                if let Role::Sampling(sampled) = &mut known.role {
                    sampled.in_poll = false;
                }
                if (&known.worker, &known.lab) != (&worker, &lab) {
                    // The session moved meanwhile: this says nothing about where it is now.
                    return;
                }
                match result {
                    Ok(PollReply::Sample { sample, is_late }) => {
                        if is_late && let Role::Sampling(sampled) = &mut known.role {
                            sampled.summary.miss(GapReason::WorkerSlow);
                        }
                        self.fold(&session, sample, now);
                    }
                    Ok(PollReply::Nodes(nodes)) => self.keep_nodes(&session, nodes, now),
                    Ok(PollReply::NoNodes) => self.keep_nodes(&session, BTreeSet::new(), now),
                    Err(reason) => self.miss(&session, reason, now),
                }
            }
            TaskOutcome::Claimed { session, claim } => self.claimed(&session, claim, now),
            TaskOutcome::Written { session, result } => self.written(&session, result, now),
            TaskOutcome::Ended { session, is_observable } => self.ended(&session, is_observable, now),
            TaskOutcome::Finished => {}
        }
    }

    /// Keeps which nodes the lab has, where any are known; its sample is taken right away.
    fn keep_nodes(&mut self, id: &SessionId, nodes: BTreeSet<String>, now: Instant) {
        let Some(sampled) = self.sessions.sampling_mut(id) else { return };
        sampled.nodes = Some((now, nodes)).filter(|(_, nodes)| !nodes.is_empty());
        sampled.poll_at = now;
    }

    fn fold(&mut self, id: &SessionId, mut sample: Sample, now: Instant) {
        let Some(sampled) = self.sessions.sampling_mut(id) else { return };
        if let Some((read_at, nodes)) = &sampled.nodes {
            // Nodes may be added to a lab that runs.
            let has_strangers = sample.nodes.keys().any(|node| !nodes.contains(node));
            sampled.wants_nodes = has_strangers && now.duration_since(*read_at) > NODES_LAST;
            sample.keep_only(nodes);
        } else {
            let again_after = self.options.interval * NODES_AGAIN_INTERVALS;
            sampled.wants_nodes =
                sampled.nodes_asked_at.is_none_or(|asked_at| now.duration_since(asked_at) >= again_after);
        }
        match sampled.summary.fold(&sample) {
            FoldOutcome::Counted { phase, seconds } => {
                sampled.is_written = false;
                metrics::counter!("lablet_samples_total", "outcome" => "counted").increment(1);
                let lab = LabSample::new(phase, seconds, &sample);
                self.tell(id, Outcome::Sampled { sample, lab }, now);
            }
            FoldOutcome::Missed(reason) => self.miss(id, reason, now),
            FoldOutcome::Late => {}
        }
    }

    /// Counts what came by a socket.
    fn pushed(&mut self, SocketNews { worker, at, what }: SocketNews) {
        let now = Instant::now();
        let sessions = match &what {
            SocketNewsKind::Stats { lab, .. } | SocketNewsKind::NodeState { lab, .. } => {
                self.labs.get(&(worker.clone(), lab.clone())).cloned().unwrap_or_default()
            }
            SocketNewsKind::Trouble { .. } => {
                let of_worker = self.labs.iter().filter(|((known, _), _)| *known == worker);
                of_worker.flat_map(|(_, sessions)| sessions.iter().cloned()).collect()
            }
        };
        for id in &sessions {
            let Some(sampled) = self.sessions.sampling_mut(id) else { continue };
            match &what {
                SocketNewsKind::Stats { reading: Ok(reading), .. } => {
                    if comes_too_soon(sampled.summary.last(), at) {
                        continue;
                    }
                    let sample = sample_from_stats(&reading.value, unreadable(reading), at);
                    sampled.pushed_at = Some(now);
                    self.fold(id, sample, now);
                }
                SocketNewsKind::Stats { reading: Err(error), .. } => {
                    sampled.summary.note_unreadable(&format!("ws_ui: {error}"));
                    sampled.summary.miss(GapReason::Unreadable);
                }
                SocketNewsKind::NodeState { node, state, .. } => sampled.summary.note_state(node, state, at),
                SocketNewsKind::Trouble { reason, error } => {
                    if *reason == GapReason::Unreadable {
                        sampled.summary.note_unreadable(&format!("ws_ui: {error}"));
                    }
                    sampled.summary.miss(*reason);
                }
            }
        }
    }

    /// Keeps sockets to the workers of the sessions that are sampled here.
    fn keep_sockets(&mut self) {
        let mut labs: BTreeMap<(WorkerId, LabId), Vec<SessionId>> = BTreeMap::new();
        let mut wanted: BTreeMap<WorkerId, BTreeSet<LabId>> = BTreeMap::new();
        for (id, session) in self.sessions.iter() {
            if matches!(session.role, Role::Sampling(_)) && session.ended.is_none() {
                let (worker, lab) = (session.worker.clone(), session.lab.clone());
                wanted.entry(worker.clone()).or_default().insert(lab.clone());
                labs.entry((worker, lab)).or_default().push(id.clone());
            }
        }
        self.labs = labs;
        self.sockets.keep(wanted, &self.surroundings);
    }

    fn listed(&mut self, rows: Result<Rows<Session>, GatewayError>, now: Instant) {
        self.in_list = false;
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => {
                let wait = self.list_backoff.next_wait();
                tracing::debug!(error = &error as &dyn std::error::Error, "running sessions could not be listed");
                self.list_at = now + wait;
                return;
            }
        };
        self.list_backoff.reset();
        self.list_at = now + self.options.interval;
        self.surroundings.workers.set_busy(rows.items.iter().filter_map(|row| row.worker_id.clone()).collect());
        let mut running = BTreeSet::new();
        for row in rows.items {
            let is_full = self.sessions.len() >= MOST_SESSIONS;
            let (Some(worker), Some(lab)) = (row.worker_id, row.cml_lab_id) else { continue };
            if row.status != SessionStatus::Running {
                continue;
            }
            running.insert(row.id.clone());
            match self.sessions.get_mut(&row.id) {
                Some(known) => {
                    if known.ended.take().is_some()
                        && let Role::Sampling(sampled) = &mut known.role
                    {
                        sampled.summary.resume();
                    }
                    known.move_to(worker, lab, now);
                }
                None if is_full => {
                    metrics::counter!("lablet_samples_total", "outcome" => "too_many_sessions").increment(1);
                }
                None => {
                    let running_since = row.status_since.unwrap_or_else(|| self.surroundings.clock.now());
                    let session = SampledSession {
                        worker,
                        lab,
                        running_since,
                        role: Role::Standby(Standby::new(now)),
                        in_store: false,
                        ended: None,
                    };
                    self.sessions.insert(row.id, session);
                }
            }
        }
        let clock_now = self.surroundings.clock.now();
        let gone = self.sessions.retain(|id, session| {
            if running.contains(id) {
                return true;
            }
            if let Role::Sampling(sampled) = &mut session.role {
                if session.ended.is_none() {
                    session.ended = Some(now);
                    sampled.summary.end(clock_now);
                    (sampled.is_written, sampled.write_at) = (false, now);
                }
                return true;
            }
            session.in_store
        });
        for id in &gone {
            self.heard.forget(id);
        }
        self.has_other_labs = true;
        let workers: BTreeSet<&WorkerId> = self.sessions.iter().map(|(_, session)| &session.worker).collect();
        self.paces.retain(|worker, _| workers.contains(worker));
        metrics::gauge!("lablet_sampled_sessions").set(self.sessions.sampling().count() as f64);
    }

    /// A session that no longer runs is kept while it can be observed, and then forgotten, in the store too.
    fn ended(&mut self, id: &SessionId, is_observable: Result<bool, GatewayError>, now: Instant) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.in_store = false;
        if !matches!(is_observable, Ok(false)) {
            session.ended = session.ended.map(|_| now + ENDED_INTERVAL);
            return;
        }
        if session.ended.is_none() {
            return;
        }
        self.sessions.remove(id);
        let (store, id) = (self.store.clone(), id.clone());
        self.tasks.spawn(async move {
            if let Err(error) = store.remove(&id).await {
                tracing::debug!(error = &error as &dyn std::error::Error, session.id = %id, "stored samples not removed");
            }
            TaskOutcome::Finished
        });
    }

    fn answer(&self, Question { session, answer }: Question) {
        let so_far = match self.sessions.get(&session).map(|session| &session.role) {
            Some(Role::Sampling(sampled)) => SoFar::Sampled(Box::new(sampled.summary.clone())),
            Some(Role::Standby(_)) | None => SoFar::Heard(self.heard.about(&session).cloned().collect()),
        };
        // Whoever asked may have given up.
        drop(answer.send(so_far));
    }
}

async fn next_message(live: &mut Option<async_nats::Subscriber>) -> Option<async_nats::Message> {
    live.as_mut()?.next().await
}

/// Whether a session that no longer runs can still be observed.
async fn is_observable(gateway: Gateway, session: SessionId) -> TaskOutcome {
    let is_observable = match gateway.session(&session, None).await {
        Ok(session) => Ok(session.status.is_observable()),
        Err(GatewayError::NotFound) => Ok(false),
        Err(error) => Err(error),
    };
    TaskOutcome::Ended { session, is_observable }
}
