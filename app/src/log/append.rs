//! Appending: commands queue up, and each of a few writers takes whatever is queued into one statement.
//!
//! A transaction of its own costs a command two to three times what a row in a shared insert costs. No command waits for
//! others to share a statement with: a writer takes its share of what is queued, and what arrives meanwhile goes into
//! the next statement.
//!
//! A command that finds a writer idle sends the statement in its own task: no other task has to be woken for it, before
//! the statement or after. Where commands wait when a statement is answered, a task of the writer's own goes on.

mod statement;
mod writer;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use sqlx::postgres::PgPool;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use uuid::Uuid;

pub(crate) use self::statement::first_answers;
use self::writer::Writer;
use super::epoch::KnownEpoch;
use super::position::Position;
use super::record::DedupeKey;
use crate::database::DatabaseFailure;

/// Most payload of all commands that wait for a writer or are being written, in KiB; more wait for room.
const MOST_WAITING_KIB: u32 = 32 * 1024;
/// The least that a command counts, in KiB, so that at most 4,096 commands wait.
const LEAST_KIB: u32 = 8;
/// Most commands of one statement.
const MOST_COMMANDS: usize = 128;
/// Most bytes of payload that a statement takes before it stops taking more commands.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// The events of one command.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) aggregate_type: &'static str,
    pub(crate) aggregate_id: String,
    /// The epoch of the log under which the state was read on which the decision rests.
    pub(crate) epoch: i32,
    /// Sequence of the newest event on which the decision rests, 0 for none.
    pub(crate) expected: i64,
    /// Never empty.
    pub(crate) events: Vec<NewEvent>,
    /// JSON.
    pub(crate) metadata: Arc<str>,
    pub(crate) dedupe: Option<DedupeKey>,
}

/// One event to append.
#[derive(Debug)]
pub(crate) struct NewEvent {
    pub(crate) event_id: Uuid,
    pub(crate) event_type: String,
    pub(crate) event_version: String,
    /// JSON.
    pub(crate) payload: String,
}

/// Why nothing was appended.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// Somebody else wrote to the aggregate meanwhile.
    Conflict,
    /// The key took effect before.
    Repeated(FirstAnswer),
    /// The database refuses these events.
    Refused(Arc<sqlx::Error>),
    /// The database is away. Whether the events are in is unknown only if an answer was lost.
    Unavailable(Arc<sqlx::Error>),
}

/// Where the command with a key took effect.
#[derive(Debug, Clone)]
pub(crate) struct FirstAnswer {
    pub(crate) aggregate_type: String,
    pub(crate) aggregate_id: String,
    pub(crate) digest: Vec<u8>,
    /// Sequence of its last event.
    pub(crate) sequence: i64,
}

type Answer = Result<Vec<Position>, AppendError>;

struct QueuedAppend {
    append: Append,
    answer: oneshot::Sender<Answer>,
    /// Given back with the answer.
    _room: OwnedSemaphorePermit,
}

/// The way to the writers. Clones share them.
#[derive(Clone)]
pub(crate) struct Appender(Arc<Writers>);

/// The writers and what waits for them.
struct Writers {
    count: usize,
    room: Arc<Semaphore>,
    queue: Mutex<Queue>,
    /// The runtime on which work goes on that was dropped half-way.
    runtime: Handle,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<QueuedAppend>,
    /// Writers without work.
    idle: Vec<Writer>,
    /// How many writers have a statement under way.
    writing: usize,
}

impl Appender {
    /// An appender with its writers, within a tokio runtime. `appended` changes with every statement that recorded
    /// something, whether or not anybody still waits for its outcome.
    pub(super) fn new(pool: &PgPool, writers: usize, appended: &watch::Sender<u64>, epoch: &KnownEpoch) -> Self {
        let count = writers.max(1);
        let idle = (0..count).map(|_| Writer::new(pool, appended, epoch)).collect();
        Self(Arc::new(Writers {
            count,
            room: Arc::new(Semaphore::new(MOST_WAITING_KIB as usize)),
            queue: Mutex::new(Queue { idle, ..Queue::default() }),
            runtime: Handle::current(),
        }))
    }

    /// Appends all events of a command or none, and gives their positions in order.
    pub(crate) async fn append(&self, append: Append) -> Answer {
        let closed = || AppendError::Unavailable(Arc::new(sqlx::Error::WorkerCrashed));
        let kib = u32::try_from(size(&append) / 1024).unwrap_or(u32::MAX).clamp(LEAST_KIB, MOST_WAITING_KIB);
        let room = Arc::clone(&self.0.room).acquire_many_owned(kib).await.map_err(|_| closed())?;
        let (answer, answered) = oneshot::channel();
        if let Some(turn) = Turn::begin(&self.0, QueuedAppend { append, answer, _room: room }) {
            let statement = Box::pin(turn.write_once());
            // The statement may hold commands of others: it is finished also where this command is given up.
            FinishOnDrop { work: Some(statement), runtime: self.0.runtime.clone() }.await;
        }
        answered.await.map_err(|_| closed())?
    }
}

impl Writers {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A writer at work. Where the work is dropped half-way, the writer is idle again, and the next command takes along what
/// waits.
struct Turn {
    writers: Arc<Writers>,
    writer: Option<Writer>,
    is_writing: bool,
}

impl Turn {
    /// Queues a command, and gives a writer for it where one is idle.
    fn begin(writers: &Arc<Writers>, append: QueuedAppend) -> Option<Self> {
        let mut queue = writers.queue();
        queue.waiting.push_back(append);
        let writer = queue.idle.pop()?;
        Some(Self { writers: writers.clone(), writer: Some(writer), is_writing: false })
    }

    /// Writes a statement of what waits. Where more waits by then, a task of its own goes on.
    async fn write_once(mut self) {
        self.write().await;
        if let Some(turn) = self.unless_nothing_waits() {
            turn.writers.runtime.clone().spawn(turn.write_while_commands_wait());
        }
    }

    async fn write_while_commands_wait(mut self) {
        loop {
            self.write().await;
            match self.unless_nothing_waits() {
                Some(turn) => self = turn,
                None => return,
            }
        }
    }

    async fn write(&mut self) {
        if self.writer.as_ref().is_some_and(Writer::expects_several) {
            // Senders that were answered together send their next commands now. Without this the first of them would fill
            // a statement alone, and the others would wait for the next.
            tokio::task::yield_now().await;
        }
        let batch = self.take();
        if let Some(writer) = &mut self.writer {
            writer.write_batch(batch).await;
        }
    }

    /// The commands of the next statement.
    fn take(&mut self) -> Vec<QueuedAppend> {
        let mut queue = self.writers.queue();
        // A writer that took everything would leave the others idle, whose statements could overlap with its own.
        let free_writers = self.writers.count.saturating_sub(queue.writing).max(1);
        let share = queue.waiting.len().div_ceil(free_writers).min(MOST_COMMANDS);
        let mut bytes = 0;
        let mut batch = Vec::with_capacity(share);
        while batch.len() < share && bytes < MOST_BYTES {
            let Some(next) = queue.waiting.pop_front() else { break };
            bytes += size(&next.append);
            batch.push(next);
        }
        queue.writing += 1;
        self.is_writing = true;
        batch
    }

    /// The same turn where commands wait; otherwise its writer is idle from now on.
    fn unless_nothing_waits(mut self) -> Option<Self> {
        let writers = self.writers.clone();
        let mut queue = writers.queue();
        self.end_writing(&mut queue);
        if queue.waiting.is_empty() {
            queue.idle.extend(self.writer.take());
            return None;
        }
        Some(self)
    }

    fn end_writing(&mut self, queue: &mut Queue) {
        queue.writing -= usize::from(self.is_writing);
        self.is_writing = false;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        let writers = self.writers.clone();
        let mut queue = writers.queue();
        self.end_writing(&mut queue);
        queue.idle.push(writer);
    }
}

/// Work that goes on in a task of its own where whoever began it gives it up.
struct FinishOnDrop {
    work: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    runtime: Handle,
}

impl Future for FinishOnDrop {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(mut work) = self.work.take() else { return Poll::Ready(()) };
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl Drop for FinishOnDrop {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.runtime.spawn(work);
        }
    }
}

fn size(append: &Append) -> usize {
    append.events.iter().map(|event| event.payload.len()).sum()
}

/// Whether sending the same statement again may help.
pub(crate) fn is_transient(error: &sqlx::Error) -> bool {
    DatabaseFailure::from_error(error).may_pass()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    /// An event of a MiB for an aggregate of its own.
    fn large(number: u32) -> Append {
        let event = NewEvent {
            event_id: Uuid::from_u128(number.into()),
            event_type: "worker.changed".to_owned(),
            event_version: "1".to_owned(),
            payload: "x".repeat(1024 * 1024),
        };
        Append {
            epoch: 1,
            aggregate_type: "worker",
            aggregate_id: number.to_string(),
            expected: 0,
            events: vec![event],
            metadata: "{}".into(),
            dedupe: None,
        }
    }

    #[tokio::test]
    async fn what_waits_for_the_writers_is_bounded_in_bytes() {
        // A database that takes connections and says nothing: whatever is appended waits.
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("postgres://nobody@{}/nothing", silent.local_addr().unwrap());
        let appender =
            Appender::new(&crate::log::pool(&url, 1).unwrap(), 1, &watch::Sender::new(0), &KnownEpoch::default());
        let mut appending = JoinSet::new();
        for number in 0..100 {
            let appender = appender.clone();
            appending.spawn(async move { appender.append(large(number)).await.map(drop).map_err(drop) });
        }
        while appender.0.room.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        // All had their turn, and those that found no room wait for it with what they hold.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        let most = MOST_WAITING_KIB as usize / 1024;
        let queued = appender.0.queue().waiting.len();
        assert!(queued > 0 && queued <= most, "{queued} events of a MiB wait in the queue");
        assert_eq!(appending.len(), 100, "nobody was turned away");
    }
}
