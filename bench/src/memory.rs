//! `cargo run --release -p bench -- memory`: how much memory `lablet up` takes while observations of 2.8 MB are written
//! and read, all roles in one process. Postgres and nats-server are processes of their own and do not count.
//!
//! The bound is that of the issue: 200 such observations within 300 MB. The program fails where it is passed.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use harness::{Lablet, LabletOptions};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const OBSERVATIONS: usize = 200;
/// Senders at a time.
const SENDERS: usize = 8;
const READERS: usize = 5;
const MOST_MB: u64 = 300;
const SETTLED_WITHIN: Duration = Duration::from_secs(300);

/// Measures and prints.
pub(crate) async fn run() -> anyhow::Result<()> {
    // This very executable is `lablet` too, so that what is measured was built like what measures.
    let program = std::env::current_exe()?;
    let lablet = Lablet::start(LabletOptions { program, ..LabletOptions::default() }).await?;
    let mut out = std::io::stdout();
    lablet.define("large").await?;
    lablet.register_worker("w1", "https://cml-1.example.org").await?;
    for session in sessions() {
        lablet.running_session(&session, "large", "w1", &format!("lab-{session}")).await?;
    }
    let body = observation();
    writeln!(out, "an observation has {} bytes", body.to_string().len())?;
    writeln!(out, "                                    now MB   peak MB")?;
    tell(&mut out, &lablet, "started")?;
    for part in 1..=4 {
        write(&lablet, &body, OBSERVATIONS / 4).await?;
        tell(&mut out, &lablet, &format!("{} written", part * OBSERVATIONS / 4))?;
    }
    settle(&lablet).await?;
    tell(&mut out, &lablet, "read models and bus caught up")?;
    read(&lablet).await?;
    let peak = tell(&mut out, &lablet, &format!("{READERS} readers read everything"))?;
    lablet.stop().await?;
    ensure!(peak <= MOST_MB, "{peak} MB at its peak; at most {MOST_MB} are wanted");
    Ok(())
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

async fn write(lablet: &Lablet, body: &Value, count: usize) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(120)).build()?;
    let text = bytes::Bytes::from(body.to_string());
    let mut senders = JoinSet::new();
    for session in sessions() {
        let url = format!("{}/api/internal/lablet-sessions/{session}/resource-observations", lablet.ready().http);
        let (client, text, key) = (client.clone(), text.clone(), lablet.ready().internal_api_key.clone());
        senders.spawn(async move {
            for _ in 0..count / SENDERS {
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

/// Waits until every read model and the bus are at the end of the log.
async fn settle(lablet: &Lablet) -> anyhow::Result<()> {
    let settled = async {
        loop {
            let operations = lablet.get("/api/operations").await?;
            let models = operations["read_models"].as_array().context("read models")?;
            let behind = models.iter().any(|model| model["events_behind"] != 0);
            if !behind && operations["relay"]["caught_up"] == true {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(SETTLED_WITHIN, settled).await.context("it does not catch up")?
}

/// Each reader pages through the events of all sessions with their payloads, and follows the stream from its beginning.
async fn read(lablet: &Lablet) -> anyhow::Result<()> {
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
            while observations < OBSERVATIONS {
                let chunk = stream.next().await.context("the stream ended early")??;
                observations +=
                    String::from_utf8_lossy(&chunk).matches("event: lablet_session.resources_observed").count();
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = readers.join_next().await {
        done??;
    }
    Ok(())
}

/// Prints resident memory now and at its peak, in MB; answers the peak.
fn tell(out: &mut impl std::io::Write, lablet: &Lablet, what: &str) -> anyhow::Result<u64> {
    let pid = lablet.pid().context("the process is gone")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mb = |name: &str| -> anyhow::Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line in its status")?;
        let kb: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kb / 1_024)
    };
    let (now, peak) = (mb("VmRSS:")?, mb("VmHWM:")?);
    writeln!(out, "{what:32} {now:9} {peak:9}")?;
    Ok(peak)
}
