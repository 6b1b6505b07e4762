//! Load on an HTTP server by clients that each send the next request when the last one is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::http_client::Connection;

/// What a load found.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) requests: usize,
    pub(crate) per_second: f64,
    /// Sorted.
    latencies: Vec<Duration>,
}

impl Load {
    /// Within how many milliseconds this share of the requests was answered.
    pub(crate) fn within(&self, share: f64) -> f64 {
        percentile(&self.latencies, share).as_secs_f64() * 1_000.0
    }
}

/// The value below which this share of sorted values lies; zero for none.
pub(crate) fn percentile(sorted: &[Duration], share: f64) -> Duration {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some millions, and a share between 0 and 1"
    )]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Puts load on a server. `next` makes the request with this number of this connection; every answer has to be a success.
pub(crate) async fn closed_loop<F>(
    address: SocketAddr,
    connections: usize,
    duration: Duration,
    next: F,
) -> anyhow::Result<Load>
where
    F: Fn(usize, usize) -> Vec<u8> + Send + Sync + 'static,
{
    let next = Arc::new(next);
    let mut opened = Vec::new();
    for _ in 0..connections {
        opened.push(Connection::open(address).await?);
    }
    let started = Instant::now();
    let end = started + duration;
    let mut running = JoinSet::new();
    for (number, mut connection) in opened.into_iter().enumerate() {
        let next = next.clone();
        running.spawn(async move {
            let mut latencies = Vec::new();
            let mut now = Instant::now();
            while now < end {
                let request = next(number, latencies.len());
                let answer = connection.send(&request).await?;
                let status = answer.status;
                ensure!((200..300).contains(&status), "{status}: {}", String::from_utf8_lossy(answer.body));
                let answered = Instant::now();
                latencies.push(answered - now);
                now = answered;
            }
            Ok(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(done) = running.join_next().await {
        latencies.extend(done??);
    }
    latencies.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    let per_second = latencies.len() as f64 / started.elapsed().as_secs_f64();
    Ok(Load { requests: latencies.len(), per_second, latencies })
}
