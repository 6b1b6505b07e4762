//! The gateway, as its users reach it.

use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Client;
use reqwest::header::DATE;
use serde::Deserialize;

use super::check::Check;
use super::{TIMEOUT, clock, within};

/// What is read of `/readyz`.
#[derive(Deserialize)]
struct Readiness {
    status: String,
    postgres: String,
    nats: String,
    behind: Vec<String>,
    #[serde(default)]
    draining: bool,
}

pub(super) async fn look(url: &str) -> Vec<Check> {
    within("gateway", async {
        let client = Client::builder().timeout(TIMEOUT / 2).build()?;
        let begun = tokio::time::Instant::now();
        let live = client.get(format!("{url}/livez")).send().await.and_then(reqwest::Response::error_for_status);
        let live = match live {
            Ok(live) => live,
            Err(error) => {
                let found = format!("{url} does not answer: {:#}", anyhow::Error::from(error.without_url()));
                return Ok(vec![Check::error("gateway", found, "lablet serve (or lablet up)")]);
            }
        };
        let took = begun.elapsed();
        let date = live.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
        let answer = client.get(format!("{url}/readyz")).send().await?;
        let ready: Readiness = serde_json::from_str(&answer.text().await?).context("/readyz cannot be read")?;
        let mut checks = vec![readiness(url, took, &ready)];
        if let Some(date) = date {
            let theirs = DateTime::parse_from_rfc2822(&date).context("the gateway's date cannot be read")?;
            // The header has whole seconds.
            let difference =
                theirs.with_timezone(&Utc) + TimeDelta::milliseconds(500) - ::bus::clock::Clock::system().now();
            checks.push(clock("clock", "the gateway's clock", difference));
        }
        Ok(checks)
    })
    .await
}

fn readiness(url: &str, took: Duration, ready: &Readiness) -> Check {
    let Readiness { status, postgres, nats, behind, draining } = ready;
    let mut found = format!("{url} answers in {} ms: {status}, Postgres {postgres}, NATS {nats}", took.as_millis());
    if !behind.is_empty() {
        found.push_str(&format!("; behind: {}", behind.join(", ")));
    }
    if *draining {
        return Check::warning(
            "gateway",
            format!("{found}; it is about to end"),
            "lablet serve, where no other serves",
        );
    }
    match status.as_str() {
        "ok" => Check::ok("gateway", found),
        "degraded" => Check::warning("gateway", found, "see the lines below"),
        _ => Check::error("gateway", found, "see the lines below"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Severity;
    use super::*;

    #[test]
    fn a_gateway_that_is_not_ready_is_as_bad_as_it_says() {
        let looked = |status: &str| {
            let ready = Readiness {
                status: status.to_owned(),
                postgres: "ok".to_owned(),
                nats: "degraded".to_owned(),
                behind: vec!["sessions".to_owned()],
                draining: false,
            };
            readiness("http://h", Duration::from_millis(3), &ready)
        };
        assert_eq!(looked("ok").severity, Severity::Ok);
        assert_eq!(looked("down").severity, Severity::Error);
        let degraded = looked("degraded");
        assert!(degraded.severity == Severity::Warning && degraded.found.ends_with("behind: sessions"), "{degraded:?}");
    }
}
