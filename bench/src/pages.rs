//! `cargo run --release -p bench -- pages`: how soon the first byte of a page comes, with ten thousand sessions in the
//! database and 100 requests a second.
//!
//! The load is open: requests leave at the times that were set, whether or not earlier ones were answered, and each is
//! measured from the time at which it was to leave. A server that stalls cannot make the load wait for it, so that its
//! stall shows in every request that it held up.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use harness::{Crowd, Lablet, LabletOptions};
use reqwest::header::{ACCEPT_ENCODING, COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use reqwest::redirect::Policy;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// The pages: a list, and a definition of which a thousand sessions are.
const PAGES: [&str; 2] = ["/sessions", "/definitions/crowd-000"];
const EVERY: Duration = Duration::from_millis(10);
const FOR: Duration = Duration::from_secs(30);
/// Not counted: connections are made and caches filled.
const WARMING_UP: Duration = Duration::from_secs(3);
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// Measures each page in turn and prints what came out.
pub(crate) async fn run() -> anyhow::Result<()> {
    // This very executable is `lablet` too, so that what is measured was built like what measures.
    let program = std::env::current_exe()?;
    let lablet = Lablet::start(LabletOptions { program, ..LabletOptions::default() }).await?;
    let crowd = Crowd::default();
    let mut out = std::io::stdout();
    let seeded = Instant::now();
    crowd.settle(&lablet).await?;
    writeln!(
        out,
        "{} sessions of {} definitions came in {} s\n\nfirst byte in ms, {} requests a second for {} s",
        crowd.sessions,
        crowd.definitions,
        seeded.elapsed().as_secs(),
        1_000 / EVERY.as_millis(),
        FOR.as_secs()
    )?;
    writeln!(out, "page                        bytes     p50     p90     p99     max   errors")?;
    let client = signed_in(&lablet).await?;
    for page in PAGES {
        let url = format!("{}{page}", lablet.ready().http);
        load(&client, &url, WARMING_UP).await?;
        let found = load(&client, &url, FOR).await?;
        let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|share| found.within(share));
        writeln!(out, "{page:24} {:8} {p50:7.1} {p90:7.1} {p99:7.1} {max:7.1} {:8}", found.bytes, found.errors.len())?;
        for error in found.errors.iter().take(3) {
            writeln!(out, "    {error}")?;
        }
    }
    lablet.stop().await
}

/// A client with the cookie of somebody who signed in by a link, as a browser has it.
async fn signed_in(lablet: &Lablet) -> anyhow::Result<reqwest::Client> {
    let builder = || reqwest::Client::builder().timeout(ANSWERED_WITHIN).redirect(Policy::none());
    let link = lablet.sign_in_link("Bench", "admin").await?;
    let (address, token) = link.split_once("?token=").context("the link holds no token")?;
    let answer = builder().build()?.post(address).form(&[("token", token)]).send().await?;
    let cookie = answer.headers().get(SET_COOKIE).context("the link signs nobody in")?.to_str()?;
    let cookie = cookie.split(';').next().unwrap_or_default();
    let headers = HeaderMap::from_iter([
        (COOKIE, HeaderValue::from_str(cookie)?),
        // As browsers do; the page is compressed for it.
        (ACCEPT_ENCODING, HeaderValue::from_static("gzip")),
    ]);
    Ok(builder().default_headers(headers).build()?)
}

/// What a load found.
#[derive(Default)]
struct Found {
    /// From the time at which a request was to leave to its first byte; sorted.
    waits: Vec<Duration>,
    errors: Vec<String>,
    /// Size of a page as it was sent.
    bytes: usize,
}

impl Found {
    /// Within how many ms this share of the pages came.
    fn within(&self, share: f64) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few thousand, and a share between 0 and 1"
        )]
        let rank = (self.waits.len() as f64 * share).ceil() as usize;
        self.waits.get(rank.saturating_sub(1)).map_or(f64::NAN, |wait| wait.as_secs_f64() * 1_000.0)
    }
}

async fn load(client: &reqwest::Client, url: &str, duration: Duration) -> anyhow::Result<Found> {
    let begin = Instant::now();
    let mut asked = JoinSet::new();
    let mut leaves = begin;
    while leaves < begin + duration {
        sleep_until(leaves).await;
        asked.spawn(ask(client.clone(), url.to_owned(), leaves));
        leaves += EVERY;
    }
    let mut found = Found::default();
    while let Some(answer) = asked.join_next().await {
        match answer? {
            Ok((wait, bytes)) => {
                found.waits.push(wait);
                found.bytes = bytes;
            }
            Err(error) => found.errors.push(format!("{error:#}")),
        }
    }
    found.waits.sort();
    Ok(found)
}

async fn ask(client: reqwest::Client, url: String, leaves: Instant) -> anyhow::Result<(Duration, usize)> {
    let answer = client.get(url).send().await?;
    let wait = leaves.elapsed();
    ensure!(answer.status().is_success(), "answered {}", answer.status());
    Ok((wait, answer.bytes().await?.len()))
}
