//! What it costs a controller to sample many labs: `bench -- sampling [--labs 200] [--workers 4] [--seconds 120]`.
//!
//! The controller is `lablet control`, the workers are `lablet simulate-cml` with TLS, each a process of its own, so that the
//! CPU time of each is its own. The gateway is a small model in this process: a controller asks it for a list once an
//! interval. Labs are sampled by polling every 30 seconds first, then by what the workers push.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use bus::{Bus, BusOptions, StreamBounds, streams, subjects};
use domain::live_sample::{LiveSample, Outcome};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use servers::{NatsAccounts, NatsOptions, NatsServer};
use tokio::time::Instant;

use crate::process;
use crate::surroundings::Role;
use crate::table::{self, Comparison, Target, Unit};

/// The argument that asks for it.
pub(crate) const ARGUMENT: &str = "sampling";

const NODES: usize = 10;
const INTERVAL_SECONDS: u64 = 30;
const PASSWORD: &str = "bench-password";
const CPU_TARGET: f64 = 10.0;
const MEMORY_TARGET: f64 = 100.0;
/// How long a process may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long it may take until every lab was sampled.
const FIRST_SAMPLES_TIMEOUT: Duration = Duration::from_secs(300);
/// What a controller does at its start ends before its time is measured.
const REST: Duration = Duration::from_secs(10);
/// By then every node of the simulated labs has booted.
const BOOT_SECONDS: u64 = 7_200;

#[derive(Debug, Clone, Copy)]
struct Size {
    labs: usize,
    workers: usize,
    seconds: u64,
}

impl Size {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut size = Self { labs: 200, workers: 4, seconds: 120 };
        for pair in arguments.chunks(2) {
            let [option, value] = pair else { bail!("{} has no value", pair[0]) };
            let value: u64 = value.parse().with_context(|| format!("{option} {value}: a whole number is needed"))?;
            ensure!(value > 0, "{option} has to be greater than 0");
            match option.as_str() {
                "--labs" => size.labs = usize::try_from(value)?,
                "--workers" => size.workers = usize::try_from(value)?,
                "--seconds" => size.seconds = value,
                other => bail!("{other} is none of --labs, --workers, --seconds"),
            }
        }
        ensure!(size.workers <= size.labs, "each worker has a lab");
        Ok(size)
    }
}

/// Measures and prints.
pub(crate) async fn run(arguments: &[String]) -> anyhow::Result<()> {
    let size = Size::parse(arguments)?;
    let folder = tempfile::tempdir()?;
    let nats = NatsOptions { data_dir: folder.path().join("nats"), port: None, accounts: NatsAccounts::One };
    let nats = NatsServer::start(nats).await?;
    let bus = Bus::connect(&BusOptions::new(nats.url(), "bench")).await?;
    bus.connected(START_TIMEOUT).await?;
    streams::ensure_events(&bus, &StreamBounds::default()).await?;
    streams::ensure_commands(&bus, &StreamBounds::default()).await?;
    let mut workers = Vec::new();
    for number in 0..size.workers {
        let labs = (size.labs + number) / size.workers;
        workers.push(Worker::start(folder.path(), number, labs).await?);
    }
    let gateway = gateway(&workers).await?;
    table::head()?;
    let title =
        format!("Sampling {} labs of {NODES} nodes on {} workers for {} s", size.labs, size.workers, size.seconds);
    table::group(&title, "none")?;
    for is_pushed in [false, true] {
        for worker in &workers {
            worker.let_push(is_pushed).await?;
        }
        let controller = controller(folder.path(), &gateway, &nats.url(), &workers)?;
        let measured = measure(&bus, &controller, &workers, size, is_pushed).await;
        measured.with_context(|| controller.log().unwrap_or_default())?;
        // It hands its sessions over, so that the next one does not have to wait until it is believed to be gone.
        controller.stop().await?;
    }
    drop(workers);
    nats.stop().await?;
    Ok(())
}

async fn measure(bus: &Bus, controller: &Role, workers: &[Worker], size: Size, is_pushed: bool) -> anyhow::Result<()> {
    let mut live = bus.client().subscribe(subjects::LIVE_SAMPLES).await?;
    let mut sessions = BTreeSet::new();
    let all_sampled = async {
        while sessions.len() < size.labs {
            let message = live.next().await.context("the bus ended the subscription")?;
            if let Some(LiveSample::<IgnoredAny> { session_id, outcome: Outcome::Sampled { .. }, .. }) =
                LiveSample::read(&message.payload)
            {
                sessions.insert(session_id);
            }
        }
        anyhow::Ok(())
    };
    let waited = tokio::time::timeout(FIRST_SAMPLES_TIMEOUT, all_sampled).await;
    waited.with_context(|| format!("{} labs were not sampled", size.labs - sessions.len()))??;
    tokio::time::sleep(REST).await;
    while futures_util::FutureExt::now_or_never(live.next()).is_some() {}
    let pid = controller.pid()?;
    let of_workers = || workers.iter().map(Worker::cpu_time).sum::<anyhow::Result<Duration>>();
    let (began, before, workers_before) = (Instant::now(), process::cpu_time(pid)?, of_workers()?);
    let mut samples = 0.0;
    let until = tokio::time::sleep(Duration::from_secs(size.seconds));
    tokio::pin!(until);
    loop {
        tokio::select! {
            () = &mut until => break,
            Some(message) = live.next() => {
                let read = LiveSample::<IgnoredAny>::read(&message.payload);
                samples += f64::from(read.is_some_and(|read| matches!(read.outcome, Outcome::Sampled { .. })));
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let share = |used: Duration| 100.0 * used.as_secs_f64() / seconds;
    let (used, used_by_workers) = (process::cpu_time(pid)? - before, of_workers()? - workers_before);
    let (_, peak) = process::resident_mb(pid)?;
    let how = if is_pushed { "pushed".to_owned() } else { format!("polled every {INTERVAL_SECONDS} s") };
    let print = |what: &str, unit, target, figure| {
        let mut line = Comparison::new(format!("{how}, {what}"), unit, target);
        line.figures.push(figure);
        table::print(&line)
    };
    let cpu_target = if is_pushed { Target::None } else { Target::FigureAtMost(CPU_TARGET) };
    print("CPU of the controller", Unit::PercentOfACore, cpu_target, share(used))?;
    print("memory of the controller at its peak", Unit::Megabytes, Target::FigureAtMost(MEMORY_TARGET), peak)?;
    print("samples", Unit::PerSecond, Target::None, samples / seconds)?;
    print("CPU of the workers, together", Unit::PercentOfACore, Target::None, share(used_by_workers))
}

/// A simulated worker, as a process of its own.
struct Worker {
    name: String,
    url: String,
    certificate: String,
    labs: Vec<String>,
    http: reqwest::Client,
    role: Role,
}

impl Worker {
    async fn start(folder: &Path, number: usize, labs: usize) -> anyhow::Result<Self> {
        let name = format!("worker-{number}");
        let topologies = folder.join(&name);
        std::fs::create_dir(&topologies)?;
        for lab in 0..labs {
            std::fs::write(topologies.join(format!("lab-{lab}.yaml")), topology(lab))?;
        }
        let certificate_file = folder.join(format!("{name}.pem"));
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let (seed, topologies) = (number.to_string(), text(&topologies)?);
        let arguments = [
            ["simulate-cml", "--api=2.10"],
            ["--restarts-per-day", "0"],
            ["--listen", &address],
            ["--seed", &seed],
            ["--topologies", topologies],
            ["--certificate-file", text(&certificate_file)?],
        ];
        let role = Role::start(folder, &name, &arguments.concat(), &[("LABLET_CML_PASSWORD", PASSWORD)])?;
        let url = format!("https://{address}");
        let certificate = certificate_of(&certificate_file).await;
        let certificate = certificate.with_context(|| role.log().unwrap_or_default())?;
        let http = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(certificate.as_bytes())?])
            .timeout(START_TIMEOUT)
            .no_proxy()
            .build()?;
        let token: String = http
            .post(format!("{url}/api/v0/authenticate"))
            .json(&json!({"username": "admin", "password": PASSWORD}))
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        let labs: Vec<String> =
            http.get(format!("{url}/api/v0/labs")).bearer_auth(token).send().await?.error_for_status()?.json().await?;
        let worker = Self { name, url, certificate, labs, http, role };
        for lab in &worker.labs {
            let state = worker.http.put(format!("{}/simulator/labs/{lab}/state", worker.url));
            state.json(&json!({"state": "started"})).send().await?.error_for_status()?;
        }
        let time = worker.http.patch(format!("{}/simulator/time", worker.url));
        time.json(&json!({"advance_seconds": BOOT_SECONDS})).send().await?.error_for_status()?;
        Ok(worker)
    }

    /// Whether sockets can be opened to it.
    async fn let_push(&self, is_pushed: bool) -> anyhow::Result<()> {
        let refused = json!([{"kind": "status", "code": 503, "path": "/ws/ui"}]);
        let faults = if is_pushed { json!([]) } else { refused };
        let put = self.http.put(format!("{}/simulator/faults", self.url));
        put.json(&faults).send().await?.error_for_status()?;
        Ok(())
    }

    fn cpu_time(&self) -> anyhow::Result<Duration> {
        process::cpu_time(self.role.pid()?)
    }
}

/// A ring of routers.
fn topology(number: usize) -> String {
    use std::fmt::Write as _;
    let mut text = format!("lab: {{title: Lab {number}, description: \"\", notes: \"\", version: 0.1.0}}\nnodes:\n");
    // Writing to a text cannot fail.
    for node in 0..NODES {
        let _: std::fmt::Result = writeln!(
            text,
            "  - {{id: n{node}, label: R{node}, node_definition: iosv, x: 0, y: 0, tags: [], configuration: \"\", \
             interfaces: [{{id: i0, slot: 0, label: Gi0/0, type: physical}}, {{id: i1, slot: 1, label: Gi0/1, type: physical}}]}}"
        );
    }
    text.push_str("links:\n");
    for node in 0..NODES {
        let next = (node + 1) % NODES;
        let _: std::fmt::Result =
            writeln!(text, "  - {{id: l{node}, n1: n{node}, i1: i1, n2: n{next}, i2: i0, label: l{node}}}");
    }
    text
}

async fn certificate_of(file: &Path) -> anyhow::Result<String> {
    let give_up = Instant::now() + START_TIMEOUT;
    loop {
        // It is written once the worker listens.
        match std::fs::read_to_string(file) {
            Ok(certificate) if certificate.contains("END CERTIFICATE") => return Ok(certificate),
            _ => ensure!(Instant::now() < give_up, "the worker does not start"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the folder's name is no text")
}

fn controller(folder: &Path, gateway: &str, nats: &str, workers: &[Worker]) -> anyhow::Result<Role> {
    let authority = folder.join("workers.pem");
    std::fs::write(&authority, workers.iter().map(|worker| worker.certificate.as_str()).collect::<String>())?;
    let hosts: Vec<&str> = workers.iter().map(|worker| worker.url.trim_start_matches("https://")).collect();
    let environment = [
        ("LABLET_NATS_URL", nats),
        ("LABLET_INTERNAL_API_KEY", "bench-internal-key"),
        ("LABLET_CML_HOSTS", &hosts.join(",")),
        ("LABLET_CML_USERNAME", "admin"),
        ("LABLET_CML_PASSWORD", PASSWORD),
        ("LABLET_CML_CA", text(&authority)?),
        ("RESOURCE_SAMPLING_SECONDS", &INTERVAL_SECONDS.to_string()),
    ];
    Role::start(folder, "control", &["control", "--gateway-url", gateway], &environment)
}

/// What a controller asks of a gateway: lists of workers and of running sessions. Its address.
async fn gateway(workers: &[Worker]) -> anyhow::Result<String> {
    let session = |worker: &Worker, lab: &String| {
        json!({"id": format!("{}-{lab}", worker.name), "status": "running", "worker_id": worker.name, "cml_lab_id": lab,
               "observation_requests": []})
    };
    let sessions = workers.iter().flat_map(|worker| worker.labs.iter().map(move |lab| session(worker, lab))).collect();
    let listed = workers.iter().map(|worker| json!({"id": worker.name, "name": worker.name, "address": worker.url}));
    let routes = Router::new()
        .route("/api/internal/lablet-sessions", get(list_sessions).with_state(sessions))
        .route("/api/internal/workers", get(list_workers).with_state(listed.collect()));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(address)
}

#[derive(Deserialize)]
struct SessionQuery {
    timeslot_ended_before: Option<String>,
}

async fn list_sessions(State(sessions): State<Vec<Value>>, Query(query): Query<SessionQuery>) -> Json<Value> {
    // No session has a timeslot.
    let items = if query.timeslot_ended_before.is_some() { Vec::new() } else { sessions };
    Json(json!({"items": items, "next_cursor": null}))
}

async fn list_workers(State(workers): State<Vec<Value>>) -> Json<Value> {
    Json(json!({"items": workers, "next_cursor": null}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_given_by_pairs_of_option_and_number() {
        let parse = |text: &str| Size::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let size = parse("--labs 20 --seconds 5").unwrap();
        assert_eq!((size.labs, size.workers, size.seconds), (20, 4, 5));
        for wrong in ["--labs", "--labs x", "--labs 0", "--nodes 3", "--labs 2"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
