//! Wake-up signals from the bus. However many come, they are one reason to look.

use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// A subscription that is read all the time, so that its buffer never fills up while nobody waits for a signal.
#[derive(Debug)]
pub struct WakeUps {
    signal: Arc<Notify>,
    _reader: Option<AbortOnDropHandle<()>>,
}

impl WakeUps {
    /// Subscribes to `subject`. Where that fails no signal ever comes, and only timers remain.
    pub async fn subscribe(client: &async_nats::Client, subject: &'static str) -> Self {
        let signal = Arc::new(Notify::new());
        let reader = match client.subscribe(subject).await {
            Ok(mut messages) => {
                let signal = signal.clone();
                let read = async move {
                    while messages.next().await.is_some() {
                        signal.notify_one();
                    }
                };
                Some(AbortOnDropHandle::new(tokio::spawn(read)))
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, subject, "subscription failed, polling only");
                None
            }
        };
        Self { signal, _reader: reader }
    }

    /// Waits for a signal; returns at once where one came since the last wait. Cancel safe.
    pub async fn next(&self) {
        self.signal.notified().await;
    }
}
