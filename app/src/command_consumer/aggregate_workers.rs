//! Per-aggregate workers: commands about one aggregate keep their order while others run concurrently.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::decoder::DecodedCommand;
use super::delivery::Delivery;
use super::{Handler, Rejection};

/// Queue length of a worker; further commands stay with the server.
const WORKER_QUEUE: usize = 2;
/// Timeout for workers to finish at shutdown; unfinished commands are delivered again.
const FINISH: Duration = Duration::from_secs(25);

/// A message and the command decoded from it, or why none was.
type DecodedDelivery = (Delivery, Result<DecodedCommand, Rejection>);

/// The workers of one process.
pub(super) struct AggregateWorkers {
    senders: Vec<mpsc::Sender<DecodedDelivery>>,
    tasks: JoinSet<()>,
}

impl AggregateWorkers {
    /// Starts `count` workers, at least one.
    pub(super) fn start(count: usize, handler: &Arc<Handler>) -> Self {
        let mut tasks = JoinSet::new();
        let senders = (0..count.max(1))
            .map(|_| {
                let (sender, mut receiver) = mpsc::channel::<DecodedDelivery>(WORKER_QUEUE);
                let handler = handler.clone();
                tasks.spawn(async move {
                    while let Some((delivery, decoded)) = receiver.recv().await {
                        handler.handle(delivery, decoded).await;
                    }
                });
                sender
            })
            .collect();
        Self { senders, tasks }
    }

    /// Decodes a message and puts it into the worker of what it is about; waits while that worker is full.
    pub(super) async fn put(&self, delivery: Delivery) {
        let decoded = delivery.decode();
        let mut hasher = DefaultHasher::new();
        match decoded.as_ref().ok().and_then(|decoded| decoded.command.about()) {
            Some(about) => about.hash(&mut hasher),
            None => delivery.sequence.hash(&mut hasher),
        }
        let worker = usize::try_from(hasher.finish() % self.senders.len() as u64).unwrap_or(0);
        if let Some(sender) = self.senders.get(worker)
            && sender.send((delivery, decoded)).await.is_err()
        {
            tracing::error!(worker, "worker of commands ended, its command is delivered again");
        }
    }

    /// Closes the queues and waits for the commands in hand.
    pub(super) async fn finish(self) {
        let Self { senders, mut tasks } = self;
        drop(senders);
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(FINISH, all).await.is_err() {
            tracing::warn!("commands not finished in time, they are delivered again");
        }
    }
}
