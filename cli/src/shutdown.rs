//! Shutdown on a signal.

use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A shutdown in two steps: what others send goes elsewhere first.
pub(crate) struct Shutdown {
    /// Cancelled by the signal: from here on nobody has to send anything more.
    pub(crate) draining: CancellationToken,
    /// Cancelled when the drain is over: everything ends.
    pub(crate) ending: CancellationToken,
}

/// A token that is cancelled by SIGTERM or SIGINT.
pub(crate) fn on_signal() -> anyhow::Result<CancellationToken> {
    Ok(on_signal_after(Duration::ZERO)?.ending)
}

/// Two tokens, the first cancelled by SIGTERM or SIGINT, the second so much later, or by a second signal.
pub(crate) fn on_signal_after(drain: Duration) -> anyhow::Result<Shutdown> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
    let shutdown = Shutdown { draining: CancellationToken::new(), ending: CancellationToken::new() };
    let (draining, ending) = (shutdown.draining.clone(), shutdown.ending.clone());
    tokio::spawn(async move {
        let mut signalled = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let signal_name = signalled().await;
        tracing::info!(signal = signal_name, drain_seconds = drain.as_secs_f64(), "shutdown requested");
        draining.cancel();
        if let Ok(signal_name) = tokio::time::timeout(drain, signalled()).await {
            tracing::info!(signal = signal_name, "shutdown requested again, not draining any longer");
        }
        ending.cancel();
    });
    Ok(shutdown)
}
