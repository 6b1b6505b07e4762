//! `lablet drift`: ports that are not as allocated, and what becomes of them.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};

use super::connection::Parameters;
use super::output::{Column, column, wide_column};
use super::{Client, Paging, Since};

#[derive(Debug, Subcommand)]
pub(crate) enum DriftCommand {
    /// List sessions with drifted ports, newest first.
    List {
        /// Those of which nobody knows, or somebody; both unless stated.
        #[arg(long, value_enum)]
        state: Option<KnownDrift>,
        #[command(flatten)]
        paging: Paging,
    },
    /// List ports that are not as allocated, by definition, port and how they differ.
    Ports(DriftedPortList),
    /// Show what differs for one session.
    Show {
        /// The session.
        id: String,
        #[command(flatten)]
        since: Since,
    },
    /// Leave the drift of a session as it is for a while. Another drift is open again. Needs the role operator.
    Acknowledge {
        /// The session.
        id: String,
        /// Why it may stay so.
        #[arg(long)]
        reason: String,
        /// Until when, at most 90 days ahead: a time such as `2026-11-27T12:00:00Z`, or a day, whose end counts.
        #[arg(long, value_parser = until)]
        until: DateTime<Utc>,
    },
    /// Let the drift of a session that was acknowledged be open again. Needs the role operator.
    Withdraw {
        /// The session.
        id: String,
        /// Why it may not stay so.
        #[arg(long)]
        reason: String,
    },
    /// Allocate to a session what was observed of it, or the ports that are named. Needs the role admin.
    Correct {
        /// The session.
        id: String,
        /// Why.
        #[arg(long)]
        reason: String,
        /// A port by name and number, e.g. `PC_serial=5041`, as often as there are; what was observed unless stated.
        #[arg(long = "port", value_parser = port)]
        ports: Vec<(String, u16)>,
        /// Make it. Without, say what it would change and change nothing.
        #[arg(long)]
        yes: bool,
    },
}

/// Which ports.
#[derive(Debug, Args)]
pub(crate) struct DriftedPortList {
    #[command(flatten)]
    filters: DriftedPortFilters,
    #[command(flatten)]
    since: Since,
}

#[derive(Debug, Args, Serialize)]
struct DriftedPortFilters {
    /// Of this definition.
    #[arg(long = "definition")]
    definition_id: Option<String>,
    /// Of sessions on this worker.
    #[arg(long = "worker")]
    worker_id: Option<String>,
    /// With this name, or allocated or observed with this number.
    #[arg(long)]
    port: Option<String>,
    /// That differ so.
    #[arg(long, value_enum)]
    kind: Option<DriftKind>,
    /// Of which nobody knows, or somebody.
    #[arg(long, value_enum)]
    state: Option<KnownDrift>,
    /// Also of sessions that hold no ports any more.
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    ended: Option<bool>,
}

/// How a port differs.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum DriftKind {
    /// Allocated and observed with different numbers.
    Changed,
    /// Allocated, not observed.
    Removed,
    /// Observed, not allocated.
    Added,
}

/// Whether somebody knows of a drift.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KnownDrift {
    /// Nobody has said that it may stay so.
    Open,
    /// Somebody knows of it.
    Acknowledged,
}

/// A time, or the end of a day.
fn until(text: &str) -> anyhow::Result<DateTime<Utc>> {
    if let Ok(day) = text.parse::<NaiveDate>() {
        let next = day.succ_opt().context("there is no day after this one")?;
        return Ok(next.and_time(NaiveTime::MIN).and_utc());
    }
    text.parse().context("expected a time such as 2026-11-27T12:00:00Z, or a day such as 2026-11-27")
}

pub(super) fn port(text: &str) -> anyhow::Result<(String, u16)> {
    let (name, number) = text.split_once('=').context("expected a name and a number, such as PC_serial=5041")?;
    Ok((name.to_owned(), number.parse().context("expected a number from 1 to 65535 after the name")?))
}

pub(super) async fn run(client: &Client, command: DriftCommand) -> anyhow::Result<()> {
    let of = |id: &str, part: &str| format!("/api/lablet-sessions/{id}{part}");
    match command {
        DriftCommand::List { state, paging } => {
            let drift = match state {
                None => "true",
                Some(KnownDrift::Open) => "open",
                Some(KnownDrift::Acknowledged) => "acknowledged",
            };
            let drifted = paging.with(&[("drift", drift)])?;
            client.list(COLUMNS, "/api/lablet-sessions", &drifted, &paging.limit).await
        }
        DriftCommand::Ports(DriftedPortList { filters, since }) => {
            let asked = Parameters::new(&filters)?.and(&since)?;
            let answer = client.connection.get_with("/api/port-drift", &asked).await?;
            client.output.rows(PORT_COLUMNS, answer["items"].as_array().context("the answer has no items")?)
        }
        DriftCommand::Show { id, since } => {
            let session = client.connection.get_with(&of(&id, ""), &Parameters::new(&since)?).await?;
            let part = MEMBERS.iter().map(|name| ((*name).to_owned(), session[name].clone()));
            client.output.one(&Value::Object(part.collect()))
        }
        DriftCommand::Acknowledge { id, reason, until } => {
            let body = json!({ "reason": reason, "until": until });
            client.output.one(&client.connection.post(&of(&id, "/port-drift/acknowledge"), &body).await?)
        }
        DriftCommand::Withdraw { id, reason } => {
            let body = json!({ "reason": reason });
            client.output.one(&client.connection.post(&of(&id, "/port-drift/withdraw"), &body).await?)
        }
        DriftCommand::Correct { id, reason, ports, yes } => correct(client, &id, &reason, ports, yes).await,
    }
}

/// Rests on the session as it was looked at: whatever happens to it meanwhile, refuses the correction.
async fn correct(client: &Client, id: &str, reason: &str, ports: Vec<(String, u16)>, yes: bool) -> anyhow::Result<()> {
    let path = format!("/api/lablet-sessions/{id}");
    let session = client.connection.get(&path).await?;
    let after = if ports.is_empty() {
        session["observed_ports"].clone()
    } else {
        json!(ports.into_iter().collect::<BTreeMap<_, _>>())
    };
    if after.is_null() {
        bail!("no ports of the session were observed yet: name those that are to be allocated by --port");
    }
    if !yes {
        return client.output.one(&json!({
            "session_id": id, "before": session["allocated_ports"], "after": after, "changed": false,
            "next": "the same with --yes makes the correction",
        }));
    }
    let mut body = json!({ "allocated_ports": after, "reason": reason });
    if after == session["observed_ports"] {
        body["evidence"] = session["port_drift_event_id"].clone();
    }
    client.output.one(&client.connection.post_newest(&path, "allocation", &body).await?)
}

/// What of a session says which ports differ.
const MEMBERS: [&str; 8] = [
    "id",
    "status",
    "port_drift_detected",
    "allocated_ports",
    "observed_ports",
    "port_drift",
    "port_drift_acknowledgement",
    "observed_at",
];

pub(super) const COLUMNS: &[Column] = &[
    column("ID", "/id"),
    column("DEFINITION", "/definition_id"),
    column("STATUS", "/status"),
    column("ADDED", "/port_drift/added"),
    column("REMOVED", "/port_drift/removed"),
    column("CHANGED", "/port_drift/changed"),
    column("OBSERVED AT", "/observed_at"),
    wide_column("WORKER", "/worker_id"),
    wide_column("DRIFT SINCE", "/port_drift_since"),
    wide_column("EVENT ID", "/port_drift_event_id"),
    wide_column("ACKNOWLEDGED UNTIL", "/port_drift_acknowledgement/until"),
    wide_column("ACKNOWLEDGED BY", "/port_drift_acknowledgement/by"),
];
pub(super) const PORT_COLUMNS: &[Column] = &[
    column("DEFINITION", "/definition_id"),
    column("NAME", "/definition_name"),
    column("PORT", "/port"),
    column("KIND", "/kind"),
    column("ALLOCATED FROM", "/allocated_least"),
    column("TO", "/allocated_most"),
    column("OBSERVED FROM", "/observed_least"),
    column("TO", "/observed_most"),
    column("SESSIONS", "/sessions"),
    column("OPEN", "/open_sessions"),
    column("STATE", "/state"),
    column("SINCE", "/since"),
    wide_column("WORKERS", "/workers"),
    wide_column("LAST OBSERVED AT", "/last_observed_at"),
    wide_column("SESSION", "/session_id"),
    wide_column("ACKNOWLEDGED UNTIL", "/acknowledged_until"),
    wide_column("ACKNOWLEDGED BY", "/acknowledged_by"),
    wide_column("REASON", "/acknowledgement_reason"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_counts_to_its_end() {
        assert_eq!(until("2026-11-27").unwrap().to_rfc3339(), "2026-11-28T00:00:00+00:00");
        assert_eq!(until("2026-11-27T12:00:00Z").unwrap().to_rfc3339(), "2026-11-27T12:00:00+00:00");
        assert!(until("tomorrow").is_err());
        assert_eq!(port("PC_serial=5041").unwrap(), ("PC_serial".to_owned(), 5041));
        assert!(port("PC_serial").is_err() && port("PC_serial=70000").is_err());
    }
}
