//! What surrounds a controller: the gateway's internal API and the command consumer, as a small model in the test's own
//! process, and a CML simulator. The real ones meet the controller in the harness' journeys.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::consumer::pull::Config;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use bus::clock::Clock;
use bus::{Bus, BusOptions, StreamBounds, cloud_event, streams, subjects};
use chrono::{DateTime, TimeDelta, Utc};
use cloudevents::event::EventBuilderV10;
use cloudevents::{AttributesReader as _, EventBuilder as _};
use controller::{
    CmlClient, CmlOptions, Controller, ControllerOptions, CredentialBook, Credentials, Gateway, HostList,
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use simulator::{SimulatedTime, Simulator, SimulatorOptions};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const KEY: &str = "internal-key";
/// When the tests' observations are made.
pub(crate) const NOON: DateTime<Utc> = DateTime::from_timestamp(1_772_000_000, 0).expect("a time");

/// The trace of every request in the tests.
pub(crate) const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

const TIMEOUT: Duration = Duration::from_secs(40);

/// Two routers, a switch and a connector; one with port tags.
pub(crate) const SMALL_LAB: &str = r#"
lab: {title: Small, description: "", notes: "", version: 0.1.0}
nodes:
  - {id: n0, label: R1, node_definition: iosv, x: 0, y: 0, tags: ["serial:5041", "pat:2022:22"], configuration: "",
     interfaces: [{id: i0, label: Loopback0, type: loopback}, {id: i1, slot: 0, label: GigabitEthernet0/0, type: physical}]}
  - {id: n1, label: R2, node_definition: iosv, x: 0, y: 0, tags: [], configuration: "",
     interfaces: [{id: i0, slot: 0, label: GigabitEthernet0/0, type: physical}]}
  - {id: n2, label: SW, node_definition: unmanaged_switch, x: 0, y: 0, tags: [], configuration: "",
     interfaces: [{id: i0, slot: 0, label: port0, type: physical}, {id: i1, slot: 1, label: port1, type: physical}]}
links:
  - {id: l0, n1: n0, i1: i1, n2: n2, i2: i0, label: a}
  - {id: l1, n1: n1, i1: i0, n2: n2, i2: i1, label: b}
"#;

/// Polls until `look` finds something; says what it waited for when it never does.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let waited = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(TIMEOUT, waited).await {
        Ok(found) => found,
        Err(_) => panic!("waited {} s in vain until {what}", TIMEOUT.as_secs()),
    }
}

pub(crate) fn install_tls() {
    // Another test of this process may have been first.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// A simulator whose time is forty times as fast, with its own certificate.
pub(crate) async fn simulator(options: SimulatorOptions) -> Simulator {
    install_tls();
    Simulator::start(options).await.unwrap()
}

pub(crate) fn fast() -> SimulatorOptions {
    SimulatorOptions { time: SimulatedTime::Flowing { speed: 1.0 }, ..SimulatorOptions::default() }
}

/// Imports a lab, starts it and lets it boot.
pub(crate) fn running_lab(simulator: &Simulator, yaml: &str) -> domain::LabId {
    let lab = simulator.import(yaml).unwrap();
    simulator.start_lab(&lab).unwrap();
    simulator.advance(Duration::from_secs(2 * 3600)).unwrap();
    domain::LabId::parse(lab).unwrap()
}

/// Credentials that go to simulators of this machine.
pub(crate) fn local_book(credentials: Credentials) -> CredentialBook {
    CredentialBook::common(credentials).with_hosts(HostList::parse("127.0.0.1").unwrap())
}

pub(crate) fn cml_options(simulator: &Simulator) -> CmlOptions {
    cml_options_of(&[simulator])
}

fn cml_options_of(simulators: &[&Simulator]) -> CmlOptions {
    let certificates: String = simulators.iter().map(|simulator| simulator.certificate_pem()).collect();
    CmlOptions { ca_pem: Some(certificates.into_bytes()), ..CmlOptions::default() }
}

#[derive(Default)]
struct Known {
    sessions: BTreeMap<String, Value>,
    workers: Vec<Value>,
    unreachable: bool,
    /// How often somebody found the gateway away.
    refusals: usize,
    /// Commands that took effect, once each: name and data.
    recorded: Vec<(String, Value)>,
    /// The `traceparent` of each of them.
    traceparents: Vec<(String, Option<String>)>,
    /// Ids of CloudEvents that were seen.
    seen: BTreeMap<String, usize>,
    refuse_observations: bool,
    /// Requests are recorded and not announced.
    mute: bool,
    /// Sessions that are answered with 500, and those that are never answered.
    failing: BTreeSet<String>,
    stalled: BTreeSet<String>,
    /// Every pressure that was reported of a worker, in order.
    pressures: Vec<(String, Value)>,
    /// What is answered about the shortage of workers; 404 where there is nothing.
    shortage: Option<Value>,
    /// How often the sessions were listed, and how often each was read.
    lists: usize,
    reads: BTreeMap<String, usize>,
}

/// The model of everything but the controller.
#[derive(Clone)]
pub(crate) struct World {
    known: Arc<Mutex<Known>>,
    pub(crate) bus: Bus,
    pub(crate) gateway_url: String,
    nats_url: String,
    consumer_open: tokio::sync::watch::Sender<bool>,
    _tasks: Arc<Tasks>,
}

struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl World {
    pub(crate) async fn start(nats_url: &str) -> Self {
        install_tls();
        let bus = Bus::connect(&BusOptions::new(nats_url, "world")).await.unwrap();
        bus.connected(TIMEOUT).await.unwrap();
        let known: Arc<Mutex<Known>> = Arc::default();
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let gateway_url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/api/internal/lablet-sessions", get(list_sessions))
            .route("/api/internal/lablet-sessions/{id}", get(one_session))
            .route("/api/internal/lablet-sessions/{id}/resource-observations", post(record_observation))
            .route("/api/internal/workers", get(list_workers))
            .route("/api/internal/workers/{id}/pressure", post(record_pressure))
            .route("/api/internal/workers/{id}/shortage", get(shortage))
            .with_state(known.clone());
        let served = tokio::spawn(async move {
            axum::serve(listener, routes).await.unwrap();
        });
        let (consumer_open, is_open) = tokio::sync::watch::channel(true);
        let world = Self {
            known: known.clone(),
            bus: bus.clone(),
            gateway_url,
            nats_url: nats_url.to_owned(),
            consumer_open,
            _tasks: Arc::new(Tasks(vec![])),
        };
        world.ensure_streams().await;
        let consumer = tokio::spawn(command_consumer(known, bus, is_open));
        Self { _tasks: Arc::new(Tasks(vec![served, consumer])), ..world }
    }

    pub(crate) async fn ensure_streams(&self) {
        streams::ensure_events(&self.bus, &StreamBounds::default()).await.unwrap();
        streams::ensure_commands(&self.bus, &StreamBounds::default()).await.unwrap();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add_worker(&self, id: &str, simulator: &Simulator) {
        self.add_worker_at(id, &simulator.url());
    }

    /// Registers a worker, or moves it to another address.
    pub(crate) fn add_worker_at(&self, id: &str, address: &str) {
        let mut known = self.known();
        known.workers.retain(|worker| worker["id"] != id);
        known.workers.push(json!({"id": id, "name": id, "address": address, "surplus": {}}));
    }

    /// A running session; `end` in seconds from now.
    pub(crate) fn add_session(&self, id: &str, worker: &str, lab: &str, end: Option<i64>) {
        let now = Clock::system().now();
        let timeslot = end.map(|end| json!({"start": now - TimeDelta::days(1), "end": now + TimeDelta::seconds(end)}));
        let session = json!({"id": id, "status": "running", "worker_id": worker, "cml_lab_id": lab,
            "timeslot": timeslot, "observation_requests": []});
        self.known().sessions.insert(id.to_owned(), session);
    }

    pub(crate) fn set_running_since(&self, id: &str, since: DateTime<Utc>) {
        self.known().sessions.get_mut(id).unwrap()["status_since"] = json!(since);
    }

    pub(crate) fn set_status(&self, id: &str, status: &str) {
        self.known().sessions.get_mut(id).unwrap()["status"] = json!(status);
    }

    pub(crate) fn status(&self, id: &str) -> String {
        self.known().sessions[id]["status"].as_str().unwrap().to_owned()
    }

    pub(crate) fn set_unreachable(&self, unreachable: bool) {
        self.known().unreachable = unreachable;
    }

    pub(crate) fn announce_nothing(&self) {
        self.known().mute = true;
    }

    pub(crate) fn refusals(&self) -> usize {
        self.known().refusals
    }

    /// The traces of the commands of this name.
    pub(crate) fn traceparents(&self, command: &str) -> Vec<Option<String>> {
        let known = self.known();
        known.traceparents.iter().filter(|(name, _)| name == command).map(|(_, trace)| trace.clone()).collect()
    }

    /// Whoever reads this session is answered with 500.
    pub(crate) fn fail_reads_of(&self, session: &str) {
        self.known().failing.insert(session.to_owned());
    }

    /// Whoever reads this session is never answered.
    pub(crate) fn stall_reads_of(&self, session: &str) {
        self.known().stalled.insert(session.to_owned());
    }

    /// How often the sessions were listed, and how often this one was read.
    pub(crate) fn lists_and_reads_of(&self, session: &str) -> (usize, usize) {
        let known = self.known();
        (known.lists, known.reads.get(session).copied().unwrap_or_default())
    }

    pub(crate) fn refuse_observations(&self) {
        self.known().refuse_observations = true;
    }

    pub(crate) fn stop_consumer(&self) {
        self.consumer_open.send_replace(false);
    }

    pub(crate) fn start_consumer(&self) {
        self.consumer_open.send_replace(true);
    }

    /// Somebody asks for an observation: the request is in the log, and on the bus.
    pub(crate) async fn request(&self, session: &str, request: &str) {
        let event = self.known().request(session, request, Clock::system().now());
        announce(&self.bus, session, &event).await;
    }

    /// Announces again whatever requests there are, as the relay does after the bus was lost.
    pub(crate) async fn announce_again(&self) {
        let requests: Vec<(String, Value)> = {
            let known = self.known();
            let requests = known.sessions.values().flat_map(|session| {
                let id = session["id"].as_str().unwrap().to_owned();
                let requests = session["observation_requests"].as_array().unwrap().clone();
                requests.into_iter().map(move |request| (id.clone(), request["event"].clone()))
            });
            requests.collect()
        };
        for (session, event) in requests {
            announce(&self.bus, &session, &event).await;
        }
    }

    pub(crate) fn nats_url(&self) -> &str {
        &self.nats_url
    }

    /// `(outcome, reason)` of a request, once it has one.
    pub(crate) async fn outcome(&self, session: &str, request: &str) -> (String, String) {
        eventually(&format!("request {request} has an outcome"), || async { self.outcome_now(session, request) }).await
    }

    pub(crate) fn outcome_now(&self, session: &str, request: &str) -> Option<(String, String)> {
        let known = self.known();
        let requests = known.sessions[session]["observation_requests"].as_array().unwrap();
        let found = requests.iter().find(|found| found["request_id"] == request)?;
        let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
        (found["outcome"] != "open").then(|| (text("outcome"), text("reason")))
    }

    /// Data of the commands of this name that took effect.
    pub(crate) fn recorded(&self, name: &str) -> Vec<Value> {
        self.known().recorded.iter().filter(|(found, _)| found == name).map(|(_, data)| data.clone()).collect()
    }

    /// Pressures that were reported of a worker, in order.
    pub(crate) fn pressures(&self, worker: &str) -> Vec<Value> {
        let known = self.known();
        known.pressures.iter().filter(|(id, _)| id == worker).map(|(_, report)| report.clone()).collect()
    }

    /// What the gateway knows of every worker's shortage.
    pub(crate) fn set_shortage(&self, shortage: Value) {
        self.known().shortage = Some(shortage);
    }

    /// Requests neither delivered nor acknowledged yet.
    pub(crate) async fn unacknowledged(&self) -> Option<u64> {
        let stream = self.bus.jetstream().get_stream(streams::EVENTS).await.ok()?;
        let info = stream.consumer_info(controller::requests::CONSUMER).await.ok()?;
        Some(info.num_pending + info.num_ack_pending as u64)
    }

    pub(crate) async fn all_acknowledged(&self) {
        eventually("every request is acknowledged", || async {
            (self.unacknowledged().await == Some(0)).then_some(())
        })
        .await;
    }

    /// A controller that runs until it is dropped or stopped.
    pub(crate) async fn controller(&self, simulator: &Simulator, options: ControllerOptions) -> Running {
        self.controller_of_all(&[simulator], options).await
    }

    /// One that trusts each of these.
    pub(crate) async fn controller_of_all(&self, simulators: &[&Simulator], options: ControllerOptions) -> Running {
        let bus = Bus::connect(&BusOptions::new(&self.nats_url, "controller")).await.unwrap();
        self.controller_of(bus, simulators, options, local_book(Credentials::new("admin", "simulator")))
    }

    pub(crate) async fn controller_with(
        &self,
        simulator: &Simulator,
        options: ControllerOptions,
        book: CredentialBook,
    ) -> Running {
        let bus = Bus::connect(&BusOptions::new(&self.nats_url, "controller")).await.unwrap();
        self.controller_of(bus, &[simulator], options, book)
    }

    /// One that signs in to the bus in its own way.
    pub(crate) async fn controller_on(
        &self,
        bus: &BusOptions,
        simulator: &Simulator,
        options: ControllerOptions,
    ) -> Running {
        let bus = Bus::connect(bus).await.unwrap();
        self.controller_of(bus, &[simulator], options, local_book(Credentials::new("admin", "simulator")))
    }

    fn controller_of(
        &self,
        bus: Bus,
        simulators: &[&Simulator],
        options: ControllerOptions,
        book: CredentialBook,
    ) -> Running {
        let gateway = Gateway::new(&self.gateway_url, KEY).unwrap();
        let client = CmlClient::new(&cml_options_of(simulators)).unwrap();
        let controller = Controller::new(options, bus, gateway, client, book, Clock::system());
        let stop = CancellationToken::new();
        Running { stop: stop.clone(), task: tokio::spawn(controller.run(stop)) }
    }
}

pub(crate) struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), controller::ControllerError>>,
}

impl Running {
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(TIMEOUT, &mut self.task).await;
        ended.expect("the controller ends when it is told to").unwrap().unwrap();
    }
}

impl Running {
    /// Ends it as kill -9 does: nothing that it knows is handed over.
    pub(crate) async fn kill(mut self) {
        self.task.abort();
        assert!((&mut self.task).await.unwrap_err().is_cancelled());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Known {
    /// Records a request once, and gives its event.
    fn request(&mut self, session: &str, request: &str, now: DateTime<Utc>) -> Value {
        let session = self.sessions.get_mut(session).unwrap();
        let event = json!({"session_id": session["id"], "definition_id": "d", "request_id": request,
            "worker_id": session["worker_id"], "cml_lab_id": session["cml_lab_id"],
            "requested_by": "admin:ada", "requested_at": now});
        let requests = session["observation_requests"].as_array_mut().unwrap();
        if requests.iter().all(|known| known["request_id"] != request) {
            requests.push(json!({"request_id": request, "requested_at": now, "outcome": "open", "event": event}));
        }
        event
    }

    fn answer(&mut self, session: &str, request: &Value, outcome: &str, reason: &Value) {
        let requests = self.sessions.get_mut(session).unwrap()["observation_requests"].as_array_mut().unwrap();
        for known in requests.iter_mut().filter(|known| known["request_id"] == *request && known["outcome"] == "open") {
            known["outcome"] = json!(outcome);
            known["reason"] = reason.clone();
        }
    }
}

type Shared = Arc<Mutex<Known>>;

fn guarded(known: &Shared, headers: &HeaderMap) -> Result<(), StatusCode> {
    let mut known = known.lock().unwrap();
    if known.unreachable {
        known.refusals += 1;
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    if headers.get("x-api-key").is_none_or(|key| key != KEY) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    Ok(())
}

/// Pages of two, so that pages are turned.
async fn list_sessions(
    State(known): State<Shared>,
    headers: HeaderMap,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Json<Value>, StatusCode> {
    guarded(&known, &headers)?;
    let mut known = known.lock().unwrap();
    let after = query.get("cursor").cloned().unwrap_or_default();
    known.lists += usize::from(after.is_empty());
    let horizon: Option<DateTime<Utc>> = query.get("timeslot_ended_before").map(|end| end.parse().unwrap());
    let ends_before = |session: &Value| {
        let end = session["timeslot"]["end"].as_str().map(|end| end.parse::<DateTime<Utc>>().unwrap());
        horizon.is_none_or(|horizon| end.is_some_and(|end| end < horizon))
    };
    let mut rows = known
        .sessions
        .iter()
        .filter(|(id, session)| **id > after && session["status"] == query["status"] && ends_before(session));
    let items: Vec<&Value> = rows.by_ref().take(2).map(|(_, session)| session).collect();
    let next = rows.next().and(items.last()).map(|last| last["id"].clone());
    Ok(Json(json!({"items": items, "next_cursor": next})))
}

async fn one_session(
    State(known): State<Shared>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<Value>, StatusCode> {
    guarded(&known, &headers)?;
    let (found, failing, stalled) = {
        let mut known = known.lock().unwrap();
        *known.reads.entry(id.clone()).or_default() += 1;
        (known.sessions.get(&id).cloned(), known.failing.contains(&id), known.stalled.contains(&id))
    };
    if stalled {
        std::future::pending::<()>().await;
    }
    if failing {
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    found.map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn record_observation(
    State(known): State<Shared>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Json(report): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    guarded(&known, &headers)?;
    let mut known = known.lock().unwrap();
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    let seen = known.seen.entry(key).or_default();
    *seen += 1;
    if *seen == 1 {
        known.recorded.push(("over_http".into(), report.clone()));
        known.answer(&id, &report["request_id"], "recorded", &Value::Null);
    }
    Ok(Json(json!({"session_id": id})))
}

async fn list_workers(State(known): State<Shared>, headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
    guarded(&known, &headers)?;
    let workers = known.lock().unwrap().workers.clone();
    Ok(Json(json!({"items": workers, "next_cursor": null})))
}

async fn record_pressure(
    State(known): State<Shared>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Json(report): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    guarded(&known, &headers)?;
    known.lock().unwrap().pressures.push((id.clone(), report));
    Ok(Json(json!({"worker_id": id})))
}

async fn shortage(State(known): State<Shared>, headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
    guarded(&known, &headers)?;
    known.lock().unwrap().shortage.clone().map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn announce(bus: &Bus, session: &str, event: &Value) {
    let request = event["request_id"].as_str().unwrap();
    let notice = EventBuilderV10::new()
        .id(Uuid::new_v5(&Uuid::NAMESPACE_OID, request.as_bytes()).to_string())
        .source("/lablet/lablet_session")
        .ty("io.lablet.lablet_session.observe_resources_requested.v1")
        .subject(session)
        .data("application/json", event.clone())
        .extension("traceparent", TRACEPARENT)
        .extension("position", "0000000001-00000000000000000001-0000000000000000001")
        .build()
        .unwrap();
    let (headers, payload) = cloud_event::structured(&notice).unwrap();
    let subject = subjects::event("lablet_session.observe_resources_requested", session);
    bus.jetstream().publish_with_headers(subject, headers, payload).await.unwrap().await.unwrap();
}

/// A command consumer in miniature: each command takes effect once, is answered, and is acknowledged.
async fn command_consumer(known: Shared, bus: Bus, mut is_open: tokio::sync::watch::Receiver<bool>) {
    loop {
        is_open.wait_for(|open| *open).await.unwrap();
        let Ok(stream) = bus.jetstream().get_stream(streams::COMMANDS).await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let durable = Config { durable_name: Some("commands".into()), ..Config::default() };
        let Ok(consumer) = stream.get_or_create_consumer("commands", durable).await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let mut messages = consumer.fetch().max_messages(10).messages().await.unwrap();
        let mut handled = 0;
        // A server that goes away in the middle never says that there are no more messages.
        let within = Duration::from_secs(2);
        while let Ok(Some(Ok(message))) = tokio::time::timeout(within, messages.next()).await {
            handled += 1;
            let (answer, announced) = handle(&known, &message);
            if let Some((session, event)) = announced {
                announce(&bus, &session, &event).await;
            }
            // Unacknowledged, it is delivered again.
            if message.double_ack().await.is_err() {
                break;
            }
            let reply = message.headers.as_ref().and_then(|headers| headers.get(subjects::REPLY_TO));
            if let Some(reply) = reply {
                bus.client().publish(reply.to_string(), answer.to_string().into()).await.unwrap();
            }
        }
        if handled == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn handle(known: &Shared, message: &async_nats::jetstream::Message) -> (Value, Option<(String, Value)>) {
    let event = cloud_event::read(message.headers.as_ref(), &message.payload, streams::LARGEST_COMMAND).unwrap();
    let name = message.subject.strip_prefix("lablet.commands.controller.").unwrap().to_owned();
    assert_eq!(event.ty(), format!("io.lablet.command.{name}.v1"));
    assert_eq!(event.source().as_str(), "/lablet/controller");
    let session = event.subject().unwrap().to_owned();
    let data = cloud_event::json_data(&event).unwrap();
    let mut known = known.lock().unwrap();
    let seen = known.seen.entry(event.id().to_owned()).or_default();
    *seen += 1;
    if *seen > 1 {
        return (json!({"status": "repeated"}), None);
    }
    if name == "record_resource_observation" {
        // What the domain would say.
        let status = known.sessions[&session]["status"].as_str().unwrap().to_owned();
        if known.refuse_observations || !matches!(status.as_str(), "running" | "collecting") {
            let reason = format!("a session that is {status} cannot be observed");
            return (json!({"status": "refused", "error": {"code": "refused", "message": reason}}), None);
        }
    }
    known.recorded.push((name.clone(), data.clone()));
    known.traceparents.push((name.clone(), cloud_event::extension(&event, "traceparent")));
    let mut announced = None;
    match name.as_str() {
        "record_resource_observation" => known.answer(&session, &data["request_id"], "recorded", &Value::Null),
        "record_observation_failure" => {
            let outcome = data["outcome"].as_str().unwrap().to_owned();
            known.answer(&session, &data["request_id"], &outcome, &data["reason"]);
        }
        "request_resource_observation" => {
            let request = data["request_id"].as_str().unwrap();
            let event = known.request(&session, request, Clock::system().now());
            announced = (!known.mute).then_some((session.clone(), event));
        }
        "transition_lablet_session" => {
            known.sessions.get_mut(&session).unwrap()["status"] = data["new_status"].clone();
        }
        other => panic!("an unexpected command {other}"),
    }
    (json!({"status": "recorded"}), announced)
}
