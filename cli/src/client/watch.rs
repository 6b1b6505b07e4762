//! `lablet definition|session|worker watch`: a row for each change.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use super::Client;
use super::connection::{Parameters, Rows};
use super::output::Column;
use super::stream::{EventStream, Printed, is_worth_another_try};
use crate::exit::{ExitStatus, Failure};

/// Rows that are shown before the first change.
const SHOWN_FIRST: usize = 50;
/// Attempts to read a thing that changed.
const ATTEMPTS: u32 = 10;

/// What is watched.
pub(super) struct Noun {
    /// Where its list is.
    pub(super) path: &'static str,
    /// Its kind of aggregate.
    pub(super) aggregate: &'static str,
    /// Its columns.
    pub(super) columns: &'static [Column],
}

/// How long to watch.
#[derive(Debug, Args)]
pub(crate) struct WatchArguments {
    /// Begin with the changes after this position; unless given, with how things are now.
    #[arg(long)]
    after: Option<String>,
    /// End with exit code 0 once a row has this, e.g. `status=running`; members as `-o json` names them.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = condition)]
    until: Option<Condition>,
    /// End after so many seconds; with exit code 7 where what `--until` names did not happen.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
}

/// A member of a row and the value that it is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    pointer: String,
    value: String,
}

fn condition(text: &str) -> Result<Condition, String> {
    match text.split_once('=') {
        Some((field, value)) if !field.is_empty() => {
            Ok(Condition { pointer: format!("/{}", field.replace('.', "/")), value: value.to_owned() })
        }
        _ => Err("it has to be FIELD=VALUE, e.g. status=running".to_owned()),
    }
}

impl Condition {
    fn holds(&self, row: &Value) -> bool {
        match row.pointer(&self.pointer) {
            Some(Value::String(text)) => *text == self.value,
            Some(other) => serde_json::from_str(&self.value).is_ok_and(|value: Value| value == *other),
            None => false,
        }
    }
}

impl WatchArguments {
    /// Prints how things are and each change of one, or of all.
    pub(super) async fn run(
        self,
        client: &Client,
        noun: &Noun,
        id: Option<&str>,
        only: Parameters,
    ) -> anyhow::Result<()> {
        let watch = watch(client, noun, id, only, self.after, self.until.as_ref());
        let Some(seconds) = self.timeout else { return watch.await };
        match tokio::time::timeout(Duration::from_secs(seconds), watch).await {
            Ok(ended) => ended,
            Err(_) if self.until.is_none() => Ok(()),
            Err(_) => {
                let text = format!("what was waited for did not happen within {seconds} s");
                Err(Failure::new(ExitStatus::NotAchieved, text).into())
            }
        }
    }
}

async fn watch(
    client: &Client,
    noun: &Noun,
    id: Option<&str>,
    only: Parameters,
    after: Option<String>,
    until: Option<&Condition>,
) -> anyhow::Result<()> {
    let is_from_now = after.is_none();
    let of_stream = only.clone().and(&[("aggregate", noun.aggregate)])?;
    let mut events = EventStream::new(&client.connection, of_stream, after);
    // Before how things are is read, so that no change is missed.
    events.open().await?;
    let mut printed = Printed::new(client.output, noun.columns);
    let mut rows = VecDeque::new();
    if is_from_now {
        rows = beginning(client, noun, id, &only).await?.rows.into();
    }
    loop {
        while let Some(row) = rows.pop_front() {
            printed.row(&row)?;
            if until.is_some_and(|until| until.holds(&row)) {
                return Ok(());
            }
        }
        let event = events.next().await?;
        let subject = event.notice["subject"].as_str().context("an event names no subject")?;
        if id.is_none_or(|id| id == subject) {
            rows.extend(changed(client, noun, subject, &event.position).await?);
        }
    }
}

/// How things are: one, or the newest.
async fn beginning(client: &Client, noun: &Noun, id: Option<&str>, only: &Parameters) -> anyhow::Result<Rows> {
    match id {
        Some(id) => {
            let row = client.connection.get(&format!("{}/{id}", noun.path)).await?;
            Ok(Rows { rows: vec![row], has_more: false })
        }
        None => client.connection.list(noun.path, only, SHOWN_FIRST).await,
    }
}

/// A thing as it is after an event at this position; none where it cannot be shown.
async fn changed(client: &Client, noun: &Noun, id: &str, position: &str) -> anyhow::Result<Option<Value>> {
    let path = format!("{}/{id}", noun.path);
    let at = Parameters::new(&[("position", position)])?;
    let mut backoff = bus::Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    for _ in 1..ATTEMPTS {
        match client.connection.get_with(&path, &at).await {
            Err(error) if is_worth_another_try(&error) => tokio::time::sleep(backoff.next_wait()).await,
            Err(error) if ExitStatus::from_error(&error) == ExitStatus::NotFound => return Ok(None),
            done => return done.map(Some),
        }
    }
    client.connection.get_with(&path, &at).await.map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_condition_names_a_member_and_its_value() {
        let row = json!({"status": "running", "timeslot": {"lead": 15}, "port_drift_detected": true});
        for (text, holds) in [
            ("status=running", true),
            ("status=ready", false),
            ("timeslot.lead=15", true),
            ("port_drift_detected=true", true),
            ("absent=", false),
        ] {
            assert_eq!(condition(text).unwrap().holds(&row), holds, "{text}");
        }
        for bad in ["status", "=running"] {
            condition(bad).unwrap_err();
        }
    }
}
