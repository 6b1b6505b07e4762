//! `/ws/ui`: signing in, what is pushed, and what goes wrong with it.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use reqwest::{Method, StatusCode};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use simulator::{ApiVersion, Fault, FaultKind, SimulatorOptions, SocketOptions, StatisticsDefect};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Error, Message},
};

use crate::client::{Controller, options};

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// What keeps a test from hanging, not what it asserts.
const TIMEOUT: Duration = Duration::from_secs(30);

struct Socket(WebSocketStream<Box<dyn Stream>>);

fn fast() -> SimulatorOptions {
    let sockets = SocketOptions { push_period: Duration::from_millis(20), ..SocketOptions::default() };
    SimulatorOptions { sockets, ..options() }
}

impl Socket {
    async fn connect(controller: &Controller) -> Result<Self, Error> {
        let address = controller.simulator.address();
        let stream = TcpStream::connect(address).await.unwrap();
        let certificate = controller.simulator.certificate_pem();
        let stream: Box<dyn Stream> = if certificate.is_empty() {
            Box::new(stream)
        } else {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let configuration = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            let configuration = configuration.unwrap().with_root_certificates(roots).with_no_client_auth();
            let name = ServerName::try_from("localhost").unwrap();
            Box::new(TlsConnector::from(Arc::new(configuration)).connect(name, stream).await.unwrap())
        };
        let (socket, _) = client_async(format!("ws://{address}/ws/ui"), stream).await?;
        Ok(Self(socket))
    }

    /// Signed in.
    async fn open(controller: &Controller, more: Value) -> Self {
        let mut socket = Self::connect(controller).await.expect("an upgrade");
        let mut first = json!({ "token": controller.token(), "client_uuid": "863799a0-0000-4000-8000-000000000000" });
        first.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        socket.say(&first.to_string()).await;
        socket
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    async fn next(&mut self) -> Option<Result<Message, Error>> {
        tokio::time::timeout(TIMEOUT, self.0.next()).await.expect("something happens")
    }

    async fn text(&mut self) -> String {
        match self.next().await {
            Some(Ok(Message::Text(text))) => text.to_string(),
            other => panic!("no text: {other:?}"),
        }
    }

    async fn push(&mut self) -> Value {
        serde_json::from_str(&self.text().await).expect("JSON")
    }

    async fn push_of(&mut self, event_type: &str) -> Value {
        loop {
            let push = self.push().await;
            if push["event_type"] == event_type {
                return push;
            }
        }
    }

    /// The code with which it is closed; what was pushed before is passed over.
    async fn close_code(&mut self) -> u16 {
        loop {
            match self.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                Some(Ok(Message::Text(_))) => {}
                other => panic!("not closed in form: {other:?}"),
            }
        }
    }
}

async fn control(controller: &Controller, method: Method, path: &str, body: Value) {
    let reply = controller.call(method, &format!("/simulator{path}"), Some(body.to_string())).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT, "{}", reply.text);
}

#[tokio::test]
async fn a_running_lab_and_the_system_are_told_with_and_without_tls() {
    for tls in [true, false] {
        let controller = Controller::with(SimulatorOptions { tls, api: ApiVersion::V2_10, ..fast() }).await;
        let lab = controller.lab("Three tiers");
        controller.boot(&lab);
        let mut socket = Socket::open(&controller, json!({})).await;
        let push = socket.push_of("lab_stats").await;
        assert_eq!(push["lab_id"], lab, "a lab that does not run is not told of");
        assert_eq!(push["data"], controller.get(&format!("/labs/{lab}/simulation_stats")).await);
        let push = socket.push_of("system_stats").await;
        assert_eq!(push["data"], controller.get("/system_stats").await);
        // Again and again, for as long as it runs.
        controller.simulator.stop_lab(&lab).unwrap();
        while socket.push_of("lab_event").await["data"] != json!({ "state": "STOPPED" }) {}
        assert_eq!(socket.push_of("system_stats").await["event_type"], "system_stats");
    }
}

#[tokio::test]
async fn without_a_valid_token_in_time_it_is_closed_with_3000() {
    let sockets = SocketOptions { sign_in_timeout: Duration::from_millis(300), ..fast().sockets };
    let controller = Controller::with(SimulatorOptions { sockets, ..fast() }).await;
    for first in [json!({ "token": "wrong" }).to_string(), json!({ "lab_filter": null }).to_string(), "hello".into()] {
        let mut socket = Socket::connect(&controller).await.unwrap();
        socket.say(&first).await;
        assert_eq!(socket.close_code().await, 3000, "{first}");
    }
    let mut silent = Socket::connect(&controller).await.unwrap();
    assert_eq!(silent.close_code().await, 3000);
}

#[tokio::test]
async fn a_token_that_becomes_void_closes_its_socket_with_3000() {
    let mut controller = Controller::with(SimulatorOptions { token_life: Duration::from_secs(60), ..fast() }).await;
    let mut socket = Socket::open(&controller, json!({})).await;
    socket.push_of("system_stats").await;
    controller.pass(61);
    assert_eq!(socket.close_code().await, 3000, "it lived as long as it was given");
    controller.sign_in().await;
    let mut socket = Socket::open(&controller, json!({})).await;
    socket.push_of("system_stats").await;
    controller.simulator.expire_tokens();
    assert_eq!(socket.close_code().await, 3000, "every token was expired");
    controller.sign_in().await;
    let mut socket = Socket::open(&controller, json!({})).await;
    socket.push_of("system_stats").await;
    assert_eq!(controller.call(Method::DELETE, "/api/v0/logout", None).await.status, StatusCode::OK);
    assert_eq!(socket.close_code().await, 3000, "its user signed out");
}

#[tokio::test]
async fn a_filter_leaves_one_lab_from_2_10() {
    for (api, filters) in [(ApiVersion::V2_9, false), (ApiVersion::V2_10, true)] {
        let controller = Controller::with(SimulatorOptions { api, ..fast() }).await;
        let (wanted, other) = (controller.lab("Three tiers"), controller.lab("Oldest form"));
        controller.boot(&wanted);
        controller.boot(&other);
        let mut socket = Socket::open(&controller, json!({ "lab_filter": wanted })).await;
        let mut told = std::collections::BTreeSet::new();
        for _ in 0..4 {
            loop {
                let push = socket.push().await;
                match push["event_type"].as_str().unwrap() {
                    "lab_stats" => told.insert(push["lab_id"].as_str().unwrap().to_owned()),
                    _ => break,
                };
            }
        }
        assert_eq!(told.contains(&other), !filters, "{api:?}");
        assert!(told.contains(&wanted));
    }
}

#[tokio::test]
async fn every_state_that_a_node_goes_through_is_told_in_order() {
    let controller = Controller::with(SimulatorOptions { api: ApiVersion::V2_10, ..fast() }).await;
    let lab = controller.lab("Three tiers");
    let nodes = controller.get(&format!("/labs/{lab}/nodes?data=true")).await;
    let router = nodes.as_array().unwrap().iter().find(|node| node["label"] == "R1").unwrap()["id"].clone();
    let mut socket = Socket::open(&controller, json!({})).await;
    socket.push_of("system_stats").await;
    controller.boot(&lab);
    let mut states = Vec::new();
    let next_of_router = async |socket: &mut Socket| loop {
        let push = socket.push_of("state_change").await;
        assert_eq!(push["lab_id"], lab);
        if push["element_id"] == router {
            assert_eq!(push["element_type"], "node");
            return push["event"].as_str().unwrap().to_owned();
        }
    };
    while states.last().is_none_or(|state| state != "BOOTED") {
        states.push(next_of_router(&mut socket).await);
    }
    assert_eq!(states, ["QUEUED", "STARTING", "STARTED", "BOOTED"]);
    controller.simulator.restart_node(&lab, "R1").unwrap();
    assert_eq!([next_of_router(&mut socket).await, next_of_router(&mut socket).await], ["STOPPED", "QUEUED"]);
    controller.simulator.stop_lab(&lab).unwrap();
    assert_eq!(next_of_router(&mut socket).await, "STOPPED");
    controller.simulator.wipe_lab(&lab).unwrap();
    assert_eq!(next_of_router(&mut socket).await, "DEFINED_ON_CORE");
}

#[tokio::test]
async fn links_interfaces_labs_and_tags_are_told_when_they_change() {
    let controller = Controller::with(fast()).await;
    let lab = controller.lab("Three tiers");
    let mut socket = Socket::open(&controller, json!({})).await;
    socket.push_of("system_stats").await;
    controller.boot(&lab);
    assert_eq!(socket.push_of("lab_event").await["event"], "state");
    let mut kinds = std::collections::BTreeSet::new();
    while kinds.len() < 3 {
        kinds.insert(socket.push_of("state_change").await["element_type"].as_str().unwrap().to_owned());
    }
    controller.simulator.set_tags(&lab, "R1", &["serial:5050"]).unwrap();
    let push = socket.push_of("lab_element_event").await;
    assert_eq!(
        (&push["event"], &push["element_type"], &push["lab_id"]),
        (&json!("modified"), &json!("node"), &json!(lab))
    );
    assert_eq!((&push["data"]["label"], &push["data"]["tags"]), (&json!("R1"), &json!(["serial:5050"])));
    assert!(push["data"].get("configuration").is_none());

    let id = controller.simulator.import("{lab: {title: new}, nodes: []}").unwrap();
    let push = socket.push_of("lab_event").await;
    assert_eq!((&push["event"], &push["element_id"]), (&json!("created"), &json!(id)));
    let body = json!({ "title": "renamed" }).to_string();
    controller.call(Method::PATCH, &format!("/api/v0/labs/{id}"), Some(body)).await;
    let push = socket.push_of("lab_event").await;
    assert_eq!((&push["event"], &push["data"]["title"]), (&json!("modified"), &json!("renamed")));
    controller.simulator.delete_lab(&id).unwrap();
    let push = socket.push_of("lab_event").await;
    assert_eq!((&push["event"], &push["element_id"]), (&json!("deleted"), &json!(id)));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let sockets = SocketOptions { write_timeout: Duration::from_millis(200), ..fast().sockets };
    let controller = Controller::with(SimulatorOptions { sockets, ..fast() }).await;
    // More than the buffers of a connection hold.
    controller.simulator.fault(Fault::new(FaultKind::LargeFrame { bytes: 32 << 20 })).unwrap();
    let socket = Socket::open(&controller, json!({})).await;
    let until = async |open: usize| {
        let reached = async {
            while controller.simulator.open_sockets() != open {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(TIMEOUT, reached).await.expect("so many sockets are open");
    };
    until(1).await;
    until(0).await;
    drop(socket);
}

#[tokio::test]
async fn a_frame_of_ten_megabytes_is_whole_and_one_that_is_cut_ends_the_connection() {
    for tls in [true, false] {
        let controller = Controller::with(SimulatorOptions { tls, ..fast() }).await;
        let lab = controller.lab("Three tiers");
        controller.boot(&lab);
        let mut socket = Socket::open(&controller, json!({})).await;
        socket.push_of("system_stats").await;
        let large = Fault::new(FaultKind::LargeFrame { bytes: 10_000_000 }).on_path("lab_stats").times(1);
        controller.simulator.fault(large).unwrap();
        let size = loop {
            let text = socket.text().await;
            if text.len() > 1_000_000 {
                let push: Value = serde_json::from_str(&text).unwrap();
                assert_eq!((&push["event_type"], &push["lab_id"]), (&json!("lab_stats"), &json!(lab)));
                break text.len();
            }
        };
        assert_eq!(size, 10_000_000);
        controller.simulator.fault(Fault::new(FaultKind::CutFrame).times(1)).unwrap();
        let end = loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    assert!(serde_json::from_str::<Value>(&text).is_ok(), "whole or not at all")
                }
                end => break end,
            }
        };
        assert!(matches!(end, None | Some(Err(_))), "no frame that closes it: {end:?}");
        // The next one is well.
        Socket::open(&controller, json!({})).await.push_of("lab_stats").await;
    }
}

#[tokio::test]
async fn what_is_told_can_be_no_json_and_the_next_is_well() {
    let controller = Controller::with(fast()).await;
    let mut socket = Socket::open(&controller, json!({})).await;
    socket.push_of("system_stats").await;
    for kind in ["invalid_body", "truncate"] {
        let fault = json!({ "kind": kind, "method": "PUSH", "times": 1 });
        control(&controller, Method::POST, "/faults", fault).await;
        while serde_json::from_str::<Value>(&socket.text().await).is_ok() {}
        socket.push_of("system_stats").await;
    }
}

#[tokio::test]
async fn a_socket_that_stays_silent_stays_open_and_speaks_again() {
    let controller = Controller::with(fast()).await;
    control(&controller, Method::POST, "/faults", json!({ "kind": "silent_socket" })).await;
    let mut socket = Socket::open(&controller, json!({})).await;
    // What it was silent about while its client asked whether it lives is not told later.
    for _ in 0..3 {
        socket.0.send(Message::Ping("there?".into())).await.unwrap();
        assert!(matches!(socket.next().await, Some(Ok(Message::Pong(_)))), "and nothing else");
    }
    assert_eq!(controller.simulator.open_sockets(), 1);
    control(&controller, Method::DELETE, "/faults", json!(null)).await;
    socket.push_of("system_stats").await;
}

#[tokio::test]
async fn a_socket_that_is_refused_leaves_the_rest_and_is_allowed_again() {
    let controller = Controller::with(fast()).await;
    let refusal = json!({ "kind": "status", "code": 503, "path": "/ws/ui" });
    control(&controller, Method::POST, "/faults", refusal).await;
    match Socket::connect(&controller).await.err() {
        Some(Error::Http(response)) => {
            assert_eq!(response.status(), tungstenite::http::StatusCode::SERVICE_UNAVAILABLE)
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(controller.get("/authok").await, "OK");
    control(&controller, Method::DELETE, "/faults", json!(null)).await;
    Socket::open(&controller, json!({})).await.push_of("system_stats").await;
}

#[tokio::test]
async fn statistics_are_defective_where_they_are_asked_for_and_where_they_are_pushed() {
    let controller = Controller::with(SimulatorOptions { api: ApiVersion::V2_10, ..fast() }).await;
    let lab = controller.lab("Three tiers");
    controller.boot(&lab);
    let sound = controller.get(&format!("/labs/{lab}/simulation_stats")).await;
    let whole = |nodes: &Value| -> Vec<Value> {
        nodes.as_object().unwrap().values().filter(|node| node.get("ram_usage").is_some()).cloned().collect()
    };
    let check = |defect: StatisticsDefect, nodes: &Value| match defect {
        StatisticsDefect::UnknownNodes => assert_eq!(nodes.as_object().unwrap().len(), 10),
        StatisticsDefect::Negative => assert!(whole(nodes).iter().all(|node| node["cpu_usage"].as_f64() < Some(0.0))),
        StatisticsDefect::Null => assert!(whole(nodes).iter().all(|node| node["cpu_usage"].is_null())),
        StatisticsDefect::Absurd => assert!(whole(nodes).iter().all(|node| node["ram_usage"].as_f64() > Some(1e100))),
        StatisticsDefect::TimesOnly => assert!(whole(nodes).is_empty() && nodes.to_string().contains("BOOTED")),
    };
    for defect in [
        StatisticsDefect::UnknownNodes,
        StatisticsDefect::Negative,
        StatisticsDefect::Null,
        StatisticsDefect::Absurd,
        StatisticsDefect::TimesOnly,
    ] {
        controller.simulator.fault(Fault::new(FaultKind::Statistics { defect })).unwrap();
        check(defect, &controller.get(&format!("/labs/{lab}/simulation_stats")).await["nodes"]);
        let mut socket = Socket::open(&controller, json!({})).await;
        check(defect, &socket.push_of("lab_stats").await["data"]["nodes"]);
        controller.simulator.clear_faults();
    }
    assert_eq!(controller.get(&format!("/labs/{lab}/simulation_stats")).await, sound);
}

#[tokio::test]
async fn pushes_are_as_often_as_is_set_and_end_with_the_simulator() {
    let controller = Controller::with(options()).await;
    control(&controller, Method::PATCH, "/sockets", json!({ "push_milliseconds": 5 })).await;
    let refused = json!({ "push_milliseconds": 0 }).to_string();
    let reply = controller.call(Method::PATCH, "/simulator/sockets", Some(refused)).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    let mut socket = Socket::open(&controller, json!({})).await;
    for _ in 0..5 {
        socket.push_of("system_stats").await;
    }
    let shown = controller.call(Method::GET, "/simulator", None).await.json();
    assert_eq!(shown["sockets"], json!({ "open": 1, "push_milliseconds": 5 }));
    controller.simulator.stop().await;
    assert_eq!(socket.close_code().await, 1001);
}
