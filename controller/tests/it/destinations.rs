//! Where credentials go, and where they never do, whatever address a worker has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use controller::cml::{CmlClient, CmlError, CmlOptions};
use controller::credentials::{AccessRefused, WorkerAccess};
use controller::observation::ObservationImpossible;
use controller::observer::Observer;
use controller::{ControllerOptions, CredentialBook, Credentials, HostList};
use domain::{LabId, WorkerId};
use simulator::{Fault, FaultKind, Simulator};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::surroundings::{NOON, SMALL_LAB, World, cml_options, fast, install_tls, local_book, running_lab, simulator};

/// Somebody else's host, which counts whoever connects.
struct Stranger {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    listening: JoinHandle<()>,
}

impl Stranger {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
        let counted = connections.clone();
        let listening = tokio::spawn(async move {
            while let Ok((_, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { address, connections, listening }
    }

    fn heard_of(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn credentials() -> Credentials {
    Credentials::new("admin", "simulator")
}

fn book(hosts: &str) -> CredentialBook {
    CredentialBook::common(credentials()).with_hosts(HostList::parse(hosts).unwrap())
}

fn access(book: &CredentialBook, address: &str) -> Result<WorkerAccess, AccessRefused> {
    book.access(&WorkerId::parse("w1").unwrap(), &address.parse().unwrap())
}

fn observer(options: &CmlOptions) -> Observer {
    Observer::new(CmlClient::new(options).unwrap(), Duration::from_secs(30), Duration::from_secs(60))
}

async fn failure(observer: &Observer, access: &WorkerAccess, lab: &LabId) -> CmlError {
    match observer.observe(access, lab, NOON).await {
        Err(ObservationImpossible::SignIn(error)) => error,
        other => panic!("it signed in: {other:?}"),
    }
}

#[tokio::test]
async fn a_worker_that_was_moved_to_a_strangers_host_gets_no_credentials_and_the_outcome_says_why() {
    let nats = servers::testing::nats().await;
    let world = World::start(nats.url()).await;
    let simulator = simulator(fast()).await;
    let lab = running_lab(&simulator, SMALL_LAB);
    let stranger = Stranger::listen().await;
    world.add_worker("w1", &simulator);
    world.add_worker_at("w2", &format!("https://localhost:{}", stranger.address.port()));
    world.add_worker_at("w3", &format!("https://127.0.0.1.nip.example:{}", stranger.address.port()));
    for (session, worker) in [("s1", "w1"), ("s2", "w2"), ("s3", "w3")] {
        world.add_session(session, worker, lab.as_str(), None);
    }
    let named = book(&simulator.address().to_string());
    let controller = world.controller_with(&simulator, ControllerOptions::default(), named).await;
    world.request("s1", "r1").await;
    assert_eq!(world.outcome("s1", "r1").await.0, "recorded");
    for (session, request) in [("s2", "r2"), ("s3", "r3")] {
        world.request(session, request).await;
        let (outcome, reason) = world.outcome(session, request).await;
        assert_eq!(outcome, "failed");
        assert!(reason.contains("LABLET_CML_HOSTS does not name"), "{reason}");
    }
    world.all_acknowledged().await;
    assert_eq!(stranger.heard_of(), 0);
    controller.stop().await;
}

#[tokio::test]
async fn without_named_hosts_credentials_go_nowhere() {
    let nats = servers::testing::nats().await;
    let world = World::start(nats.url()).await;
    let simulator = simulator(fast()).await;
    let lab = running_lab(&simulator, SMALL_LAB);
    world.add_worker("w1", &simulator);
    world.add_session("s1", "w1", lab.as_str(), None);
    let homeless = CredentialBook::common(credentials());
    let controller = world.controller_with(&simulator, ControllerOptions::default(), homeless).await;
    world.request("s1", "r1").await;
    let (outcome, reason) = world.outcome("s1", "r1").await;
    assert_eq!(outcome, "failed");
    assert!(reason.contains("LABLET_CML_HOSTS is not set"), "{reason}");
    assert!(reason.contains(&simulator.address().to_string()), "{reason}");
    assert_eq!(simulator.requests().total, 0);
    controller.stop().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_credentials() {
    let (simulator, other) = (simulator(fast()).await, Simulator::start(fast()).await.unwrap());
    let lab = running_lab(&simulator, SMALL_LAB);
    let stranger = Stranger::listen().await;
    let observer = observer(&cml_options(&simulator));
    let open = access(&local_book(credentials()), &simulator.url()).unwrap();
    for location in [format!("{}/api/v0/authenticate", other.url()), format!("http://{}/", stranger.address)] {
        // Before the sign-in, and with a token that was issued.
        let redirect = || FaultKind::Redirect { location: location.clone() };
        let observer = self::observer(&cml_options(&simulator));
        simulator.fault(Fault::new(redirect()).on_path("authenticate")).unwrap();
        assert_eq!(failure(&observer, &open, &lab).await, CmlError::Status { status: 307, description: String::new() });
        simulator.clear_faults();
    }
    observer.observe(&open, &lab, NOON).await.unwrap();
    let location = format!("{}/api/v0/labs/{lab}/nodes", other.url());
    simulator.fault(Fault::new(FaultKind::Redirect { location }).on_path("/labs/")).unwrap();
    observer.observe(&open, &lab, NOON).await.unwrap_err();
    assert_eq!((other.requests().total, stranger.heard_of()), (0, 0));
    other.stop().await;
}

#[tokio::test]
async fn a_token_stays_with_the_address_that_gave_it() {
    let (first, second) = (simulator(fast()).await, Simulator::start(fast()).await.unwrap());
    let lab = running_lab(&first, SMALL_LAB);
    let ca_pem = format!("{}{}", first.certificate_pem(), second.certificate_pem());
    let observer = observer(&CmlOptions { ca_pem: Some(ca_pem.into_bytes()), ..CmlOptions::default() });
    let book = local_book(credentials());
    observer.observe(&access(&book, &first.url()).unwrap(), &lab, NOON).await.unwrap();
    // The same worker elsewhere: it signs in there, and no request comes with the token from before.
    second.fault(Fault::new(FaultKind::RefusePassword).on_path("authenticate")).unwrap();
    let moved = access(&book, &second.url()).unwrap();
    assert_eq!(failure(&observer, &moved, &lab).await, CmlError::PasswordRefused);
    assert_eq!(second.requests().total, second.requests().count("POST /api/v0/authenticate"));
    second.stop().await;
}

/// A name of this machine's table of hosts that leads to it and is not `localhost`.
fn name_that_leads_here() -> Option<String> {
    let table = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let mut names = table.lines().flat_map(|line| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let here =
            words.next().is_some_and(|address| address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()));
        words.filter(move |_| here)
    });
    names.find(|name| !name.contains("localhost")).map(str::to_owned)
}

#[tokio::test]
async fn a_named_host_that_leads_to_this_machine_gets_nothing_unless_the_address_is_named() {
    install_tls();
    let Some(name) = name_that_leads_here() else {
        println!("SKIPPED: no name of this machine leads to a loopback address");
        return;
    };
    let stranger = Stranger::listen().await;
    let address = format!("https://{name}:{}", stranger.address.port());
    let (observer, lab) = (observer(&CmlOptions::default()), LabId::parse("lab-1").unwrap());
    let error = failure(&observer, &access(&book(&name), &address).unwrap(), &lab).await;
    assert!(matches!(error, CmlError::AddressNotNamed { .. }), "{error:?}");
    assert!(error.to_string().contains("a loopback address") && error.to_string().contains("LABLET_CML_HOSTS"));
    assert_eq!(stranger.heard_of(), 0);
    // The same with the address named: it is connected to, and found to speak no TLS.
    let both = book(&format!("{name}, {}", stranger.address));
    let error = failure(&observer, &access(&both, &address).unwrap(), &lab).await;
    assert!(matches!(error, CmlError::Unreachable { .. } | CmlError::TimedOut { .. }), "{error:?}");
    assert!(stranger.heard_of() > 0);
}
