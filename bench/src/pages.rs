//! How soon the first byte of a page comes, with ten thousand sessions in the database and 100 requests a second.
//!
//! The load is open: requests leave at the times that were set, whether or not earlier ones were answered, and each is
//! measured from the time at which it was to leave. A server that stalls cannot make the load wait for it, so that its
//! stall shows in every request that it held up.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use harness::{Crowd, Lablet};
use reqwest::header::{ACCEPT_ENCODING, COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use reqwest::redirect::Policy;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::effort::Effort;
use crate::load::percentile;
use crate::surroundings::{Surroundings, settled};
use crate::table::{self, Comparison, Target, Unit};

/// The pages: a list, and a definition of which a thousand sessions are.
const PAGES: [&str; 2] = ["/sessions", "/definitions/crowd-000"];
const SESSIONS: usize = 10_000;
const INTERVAL: Duration = Duration::from_millis(10);
/// Not counted: connections are made and caches filled.
const WARMING_UP: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Measures each page in turn and prints.
pub(crate) async fn run(surroundings: &Surroundings, effort: Effort) -> anyhow::Result<()> {
    let database = surroundings.database("pages").await?;
    let lablet = surroundings.all_roles(&database).await?;
    let crowd = Crowd { sessions: effort.size(SESSIONS), ..Crowd::default() };
    crowd.settle(&lablet).await?;
    settled(&lablet).await?;
    let client = client_with(&sign_in(&lablet).await?)?;
    table::group(&format!("First byte of a page, 100 requests a second, {} sessions", crowd.sessions), "none")?;
    for page in PAGES {
        let url = format!("{}{page}", lablet.ready().http);
        let line = |what: &str| Comparison::new(format!("{page}, {what}"), Unit::Milliseconds, Target::None);
        let (mut median, mut slowest) = (line("p50"), line("p99"));
        load(&client, &url, WARMING_UP).await?;
        for _ in 0..effort.rounds {
            let waits = load(&client, &url, effort.round * 3).await?;
            let ms = |share| percentile(&waits, share).as_secs_f64() * 1_000.0;
            median.figures.push(ms(0.5));
            slowest.figures.push(ms(0.99));
        }
        table::print(&median)?;
        table::print(&slowest)?;
    }
    lablet.stop().await
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder().timeout(ANSWER_TIMEOUT).redirect(Policy::none())
}

/// Signs in by a link and answers the cookie that a browser would keep.
pub(crate) async fn sign_in(lablet: &Lablet) -> anyhow::Result<String> {
    let link = lablet.sign_in_link("Bench", "admin").await?;
    let (address, token) = link.split_once("?token=").context("the link holds no token")?;
    sign_in_at(address, token).await
}

/// The same with the token of a link, at any gateway whose database knows it.
pub(crate) async fn sign_in_at(address: &str, token: &str) -> anyhow::Result<String> {
    let answer = builder().build()?.post(address).form(&[("token", token)]).send().await?;
    let cookie = answer.headers().get(SET_COOKIE).context("the link signs nobody in")?.to_str()?;
    Ok(cookie.split(';').next().unwrap_or_default().to_owned())
}

fn client_with(cookie: &str) -> anyhow::Result<reqwest::Client> {
    let headers = HeaderMap::from_iter([
        (COOKIE, HeaderValue::from_str(cookie)?),
        // As browsers do; the page is compressed for it.
        (ACCEPT_ENCODING, HeaderValue::from_static("gzip")),
    ]);
    Ok(builder().default_headers(headers).build()?)
}

/// From the time at which each request was to leave to its first byte; sorted.
async fn load(client: &reqwest::Client, url: &str, duration: Duration) -> anyhow::Result<Vec<Duration>> {
    let begin = Instant::now();
    let mut requests = JoinSet::new();
    let mut leaves = begin;
    while leaves < begin + duration {
        sleep_until(leaves).await;
        requests.spawn(first_byte(client.clone(), url.to_owned(), leaves));
        leaves += INTERVAL;
    }
    let mut waits = Vec::new();
    while let Some(answered) = requests.join_next().await {
        waits.push(answered??);
    }
    waits.sort_unstable();
    Ok(waits)
}

async fn first_byte(client: reqwest::Client, url: String, leaves: Instant) -> anyhow::Result<Duration> {
    let answer = client.get(url).send().await?;
    let wait = leaves.elapsed();
    ensure!(answer.status().is_success(), "answered {}", answer.status());
    answer.bytes().await?;
    Ok(wait)
}
