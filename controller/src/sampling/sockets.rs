//! One socket a worker, which pushes samples of all its labs. While there is none, labs are polled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bus::Backoff;
use chrono::{DateTime, Utc};
use domain::observation::GapReason;
use domain::{LabId, WorkerId};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::pace::gap_reason;
use crate::Surroundings;
use crate::cml::CmlError;
use crate::cml::answers::{Reading, Stats};
use crate::cml::socket::{Push, WorkerSocket};

/// Longest time to open a socket, signing in included.
const OPENING_TIMEOUT: Duration = Duration::from_secs(15);
/// First and longest wait before a socket is opened again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));
/// Pushes that wait to be counted; the sockets wait meanwhile.
const MOST_PUSHES: usize = 64;

/// The sockets of all workers whose sessions are sampled here.
#[derive(Debug)]
pub(super) struct Sockets {
    open: BTreeMap<WorkerId, OpenSocket>,
    /// A socket that brings nothing for this long is given up.
    silence: Duration,
    sender: mpsc::Sender<SocketNews>,
    pushes: mpsc::Receiver<SocketNews>,
}

#[derive(Debug)]
struct OpenSocket {
    labs: watch::Sender<Labs>,
    _task: AbortOnDropHandle<()>,
}

/// Labs whose pushes are of interest.
type Labs = Arc<BTreeSet<LabId>>;

/// Something that came by a socket, or that ended it.
#[derive(Debug)]
pub(super) struct SocketNews {
    pub(super) worker: WorkerId,
    pub(super) at: DateTime<Utc>,
    pub(super) what: SocketNewsKind,
}

#[derive(Debug)]
pub(super) enum SocketNewsKind {
    Stats { lab: LabId, reading: Result<Reading<Stats>, CmlError> },
    NodeState { lab: LabId, node: String, state: String },
    Trouble { reason: GapReason, error: CmlError },
}

impl Sockets {
    pub(super) fn new(silence: Duration) -> Self {
        let (sender, pushes) = mpsc::channel(MOST_PUSHES);
        Self { open: BTreeMap::new(), silence, sender, pushes }
    }

    /// Keeps a socket open to each of these workers, and none to others.
    pub(super) fn keep(&mut self, wanted: BTreeMap<WorkerId, BTreeSet<LabId>>, surroundings: &Surroundings) {
        self.open.retain(|worker, _| wanted.contains_key(worker));
        for (worker, labs) in wanted {
            if let Some(socket) = self.open.get(&worker) {
                socket.labs.send_if_modified(|known| {
                    let is_other = **known != labs;
                    if is_other {
                        *known = Arc::new(labs);
                    }
                    is_other
                });
                continue;
            }
            let (labs, wanted) = watch::channel(Arc::new(labs));
            let listener = Listener {
                worker: worker.clone(),
                surroundings: surroundings.clone(),
                labs: wanted,
                silence: self.silence,
                sender: self.sender.clone(),
            };
            let task = AbortOnDropHandle::new(tokio::spawn(listener.run()));
            self.open.insert(worker, OpenSocket { labs, _task: task });
        }
    }

    /// What is pushed next, by any socket. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<SocketNews> {
        self.pushes.recv().await
    }
}

/// Reads one worker's socket for ever.
struct Listener {
    worker: WorkerId,
    surroundings: Surroundings,
    labs: watch::Receiver<Labs>,
    silence: Duration,
    sender: mpsc::Sender<SocketNews>,
}

impl Listener {
    async fn run(mut self) {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        // Whether the token was refused a moment ago: it is replaced once.
        let mut is_refused = false;
        loop {
            let labs = self.labs.borrow_and_update().clone();
            let opened = self.open(&labs, is_refused).await;
            let was_open = opened.is_ok();
            let ended = match opened {
                Ok(socket) => self.read(socket, &labs, &mut backoff).await,
                Err(error) => Some((error, false)),
            };
            // `None`: the labs changed, and with them what the worker is asked to push.
            let Some((error, had_pushed)) = ended else {
                is_refused = false;
                continue;
            };
            let replaces_token = error == CmlError::TokenRefused && (had_pushed || !is_refused);
            is_refused = error == CmlError::TokenRefused;
            metrics::counter!("lablet_cml_sockets_ended_total", "reason" => error.kind()).increment(1);
            if replaces_token {
                continue;
            }
            let wait = backoff.next_wait();
            tracing::info!(
                worker.id = %self.worker,
                error = &error as &dyn std::error::Error,
                wait_ms = wait.as_millis() as u64,
                "socket ended, polling"
            );
            let reason = match error {
                CmlError::TimedOut { .. } => GapReason::SocketSilent,
                _ => gap_reason(&error),
            };
            // One that could not be opened took no sample away: whether there are others, polls tell.
            if was_open && !self.tell(SocketNewsKind::Trouble { reason, error }).await {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn open(&self, labs: &Labs, is_refused: bool) -> Result<WorkerSocket, CmlError> {
        let access = self.surroundings.workers.access(&self.worker).await;
        let access = access.map_err(|error| CmlError::Unreachable { reason: error.to_string() })?;
        let reader = self.surroundings.client.reader(&access, OPENING_TIMEOUT);
        reader.socket(filter(labs), is_refused).await
    }

    /// Reads until the socket ends: why, and whether anything had come by it; or until another filter is needed.
    async fn read(
        &mut self,
        mut socket: WorkerSocket,
        opened_for: &Labs,
        backoff: &mut Backoff,
    ) -> Option<(CmlError, bool)> {
        let mut has_pushed = false;
        loop {
            let labs = self.labs.borrow_and_update().clone();
            if filter(&labs) != filter(opened_for) {
                return None;
            }
            let push = tokio::select! {
                push = socket.next(self.silence, |lab| LabId::parse(lab).is_ok_and(|lab| labs.contains(&lab))) => push,
                Ok(()) = self.labs.changed() => continue,
            };
            let what = match push {
                Ok(Push::Stats { lab, reading }) => SocketNewsKind::Stats { lab, reading },
                Ok(Push::NodeState { lab, node, state }) => SocketNewsKind::NodeState { lab, node, state },
                Ok(Push::Other) => {
                    has_pushed = true;
                    backoff.reset();
                    continue;
                }
                // One message that cannot be read says nothing about the next.
                Err(error @ CmlError::InvalidResponse { .. }) => {
                    SocketNewsKind::Trouble { reason: GapReason::Unreadable, error }
                }
                Err(error) => return Some((error, has_pushed)),
            };
            has_pushed = true;
            backoff.reset();
            self.tell(what).await;
        }
    }

    async fn tell(&self, what: SocketNewsKind) -> bool {
        let pushed = SocketNews { worker: self.worker.clone(), at: self.surroundings.clock.now(), what };
        self.sender.send(pushed).await.is_ok()
    }
}

/// The one lab that is of interest, where it is one.
fn filter(labs: &Labs) -> Option<&LabId> {
    labs.first().filter(|_| labs.len() == 1)
}
