//! How much memory `lablet up` takes while observations of 2.8 MB are written and read, all roles in one process. Postgres
//! and nats-server are processes of their own and do not count.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use harness::Lablet;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::effort::Effort;
use crate::process;
use crate::surroundings::{Surroundings, settled};
use crate::table::{self, Comparison, Target, Unit};

const OBSERVATIONS: usize = 200;
/// Senders at a time.
const SENDERS: usize = 8;
const READERS: usize = 5;
const TARGET: f64 = 300.0;

/// Measures and prints.
pub(crate) async fn run(surroundings: &Surroundings, effort: Effort) -> anyhow::Result<()> {
    let database = surroundings.database("large_observations").await?;
    let lablet = surroundings.all_roles(&database).await?;
    lablet.define("large").await?;
    lablet.register_worker("w1", "https://cml-1.example.org").await?;
    for session in sessions() {
        lablet.running_session(&session, "large", "w1", &format!("lab-{session}")).await?;
    }
    let body = observation();
    let each = effort.size(OBSERVATIONS).div_ceil(SENDERS);
    write(&lablet, &body, each).await?;
    settled(&lablet).await?;
    read(&lablet, each * SENDERS).await?;
    let (_, peak) = process::resident_mb(lablet.pid().context("the process is gone")?)?;
    let megabytes = body.to_string().len() / 1_000_000;
    let title =
        format!("memory at its peak, {} observations of over {megabytes} MB, {READERS} readers", each * SENDERS);
    let mut line = Comparison::new(title, Unit::Megabytes, Target::FigureAtMost(TARGET));
    line.figures.push(peak);
    table::group("Large observations, all roles in one process, one round", "none")?;
    table::print(&line)?;
    lablet.stop().await
}

fn sessions() -> impl Iterator<Item = String> {
    (0..SENDERS).map(|number| format!("s{number}"))
}

/// An observation of a lab of 1,800 nodes, with CML's own statistics.
fn observation() -> Value {
    let nodes: Vec<Value> = (0..1_800)
        .map(|node| {
            let interfaces: Vec<Value> = (0..6)
                .map(|slot| {
                    json!({
                        "interface_id": format!("{node:08x}-{slot:04x}-4000-8000-000000000000"),
                        "label": format!("GigabitEthernet0/{slot}"), "slot": slot, "state": "STARTED",
                        "mac_address": format!("52:54:00:{:02x}:{:02x}:{slot:02x}", node / 256, node % 256),
                        "ip4": [format!("10.{}.{}.{slot}", node / 256, node % 256)]
                    })
                })
                .collect();
            json!({
                "node_id": format!("{node:08x}-0000-4000-8000-000000000000"), "label": format!("router-{node}"),
                "node_definition": "iosv", "state": "BOOTED", "cpu_limit": 100, "ram_mb": 768, "tags": ["core"],
                "interfaces": interfaces
            })
        })
        .collect();
    let stats: Value = (0..3_000)
        .map(|node| {
            let stat = json!({
                "cpu_usage": f64::from(node) / 7.0, "block0_rd_bytes": 781_876_736 + node,
                "block0_wr_bytes": 178_096_128 + node, "readbytes": node, "writebytes": node, "readpackets": node,
                "writepackets": node, "drops": 0, "times": {"STARTED": 12, "BOOTED": 90 + node}
            });
            (format!("{node:08x}-0000-4000-8000-000000000000"), stat)
        })
        .collect::<serde_json::Map<_, _>>()
        .into();
    json!({
        "observed_resources": {
            "total_cpu_cores": 1_800, "total_memory_mb": 1_382_400, "nodes": nodes, "actual_node_count": 1_800,
            "node_definitions_used": ["iosv"], "simulation_stats": {"nodes": stats}
        },
        "observed_ports": {"PC_serial": 5_041}
    })
}

/// Each sender reports so many.
async fn write(lablet: &Lablet, body: &Value, each: usize) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(120)).build()?;
    let text = bytes::Bytes::from(body.to_string());
    let mut senders = JoinSet::new();
    for session in sessions() {
        let url = format!("{}/api/internal/lablet-sessions/{session}/resource-observations", lablet.ready().http);
        let (client, text, key) = (client.clone(), text.clone(), lablet.ready().internal_api_key.clone());
        senders.spawn(async move {
            for _ in 0..each {
                loop {
                    let request =
                        client.post(&url).header("X-API-Key", &key).header("Content-Type", "application/json");
                    let answer = request.body(text.clone()).send().await?;
                    // Too much at a time is said, and sent again, as a sender should.
                    if answer.status() == reqwest::StatusCode::SERVICE_UNAVAILABLE {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        continue;
                    }
                    let status = answer.status();
                    let said = answer.text().await?;
                    ensure!(status.is_success(), "{status}: {said}");
                    break;
                }
            }
            Ok(())
        });
    }
    while let Some(sent) = senders.join_next().await {
        sent??;
    }
    Ok(())
}

/// Each reader pages through the events of all sessions with their payloads, and follows the stream from its beginning.
async fn read(lablet: &Lablet, observations_written: usize) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(300)).build()?;
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let (client, http, token) = (client.clone(), lablet.ready().http.clone(), lablet.ready().admin_token.clone());
        readers.spawn(async move {
            for session in sessions() {
                let mut next: Option<String> = None;
                loop {
                    let cursor = next.map(|next| format!("&cursor={next}")).unwrap_or_default();
                    let url = format!("{http}/api/lablet-sessions/{session}/events?limit=200{cursor}");
                    let page: Value =
                        client.get(url).bearer_auth(&token).send().await?.error_for_status()?.json().await?;
                    next = page["next"].as_str().map(str::to_owned);
                    if next.is_none() {
                        break;
                    }
                }
            }
            let start = "0000000000-00000000000000000000-0000000000000000000";
            let url = format!("{http}/api/stream?after={start}");
            let mut stream = client.get(url).bearer_auth(&token).send().await?.error_for_status()?.bytes_stream();
            let mut observations = 0;
            while observations < observations_written {
                let chunk = stream.next().await.context("the stream ended early")??;
                observations += String::from_utf8_lossy(&chunk)
                    .matches("event: io.lablet.lablet_session.resources_observed")
                    .count();
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = readers.join_next().await {
        done??;
    }
    Ok(())
}
