//! Observing labs of the simulator with the real client.

use std::time::Duration;

use chrono::TimeDelta;
use controller::cml::{CmlClient, CmlError, CmlOptions};
use controller::credentials::WorkerAccess;
use controller::observation::ObservationImpossible;
use controller::observer::Observer;
use controller::profile::{Summary, sample_from_stats};
use controller::{CredentialBook, Credentials, InsecureTls};
use domain::observation::{Phase, ResourceObservation};
use domain::{LabId, WorkerId};
use simulator::{ApiVersion, Fault, FaultKind, Simulator, SimulatorOptions};

use crate::surroundings::{NOON, SMALL_LAB, cml_options, fast, local_book, running_lab, simulator};

const SETTLING: Duration = Duration::from_secs(60);

fn access(simulator: &Simulator, password: &str) -> WorkerAccess {
    access_with(simulator, local_book(Credentials::new("admin", password)))
}

fn access_with(simulator: &Simulator, book: CredentialBook) -> WorkerAccess {
    book.access(&WorkerId::parse("w1").unwrap(), &simulator.url().parse().unwrap()).unwrap()
}

fn observer(simulator: &Simulator, timeout: Duration) -> Observer {
    Observer::new(CmlClient::new(&cml_options(simulator)).unwrap(), timeout, SETTLING)
}

async fn observe(
    observer: &Observer,
    simulator: &Simulator,
    lab: &LabId,
) -> Result<ResourceObservation, ObservationImpossible> {
    observer.observe(&access(simulator, "simulator"), lab, NOON).await
}

fn long_timeout(simulator: &Simulator) -> Observer {
    observer(simulator, Duration::from_secs(30))
}

#[tokio::test]
async fn a_running_lab_is_observed_completely() {
    let simulator = simulator(fast()).await;
    let lab = running_lab(&simulator, SMALL_LAB);
    let seen = observe(&long_timeout(&simulator), &simulator, &lab).await.unwrap();
    let coverage = seen.coverage.clone().unwrap();
    assert!(coverage.is_complete(), "{coverage:?}");
    assert_eq!(coverage.phase, Phase::Steady);
    assert_eq!(seen.actual_node_count.map(domain::Whole::get), Some(3));
    assert!(seen.total_cpu_cores.unwrap().get() > 0.0 && seen.total_memory_mb.unwrap().get() > 0.0);
    assert!(seen.usage.unwrap().used.cpu_cores.unwrap().get() > 0.0);
    assert_eq!(seen.usage.unwrap().used.memory_mb, None, "2.9 does not tell");
    assert_eq!(seen.total_storage_mb, None);
    assert_eq!(
        serde_json::to_value(seen.observed_ports).unwrap(),
        serde_json::json!({"R1_serial": 5041, "R1_tcp": 2022})
    );
    assert!(seen.cml_version.unwrap().starts_with("2.9"));
    let router = seen.nodes.iter().find(|node| node.label == "R1").unwrap();
    let by_label = |label: &str| router.interfaces.iter().find(|interface| interface.label == label).unwrap();
    assert_eq!(by_label("Loopback0").slot, None);
    assert!(by_label("GigabitEthernet0/0").mac_address.is_some());
}

#[tokio::test]
async fn the_newer_api_tells_memory_and_disk() {
    let simulator = simulator(SimulatorOptions { api: ApiVersion::V2_10, ..fast() }).await;
    let lab = running_lab(&simulator, SMALL_LAB);
    let seen = observe(&long_timeout(&simulator), &simulator, &lab).await.unwrap();
    assert!(seen.usage.unwrap().used.memory_mb.unwrap().get() > 0.0);
    assert!(seen.total_storage_mb.unwrap().get() > 0.0);
    assert!(seen.cml_version.unwrap().starts_with("2.10"));
}

#[tokio::test]
async fn an_observation_is_five_requests_whatever_the_size() {
    let simulator = simulator(fast()).await;
    let lab = running_lab(&simulator, SMALL_LAB);
    let observer = long_timeout(&simulator);
    observe(&observer, &simulator, &lab).await.unwrap();
    assert!(simulator.requests().total <= 7, "with sign-in and version: {:?}", simulator.requests());
    simulator.reset_requests();
    observe(&observer, &simulator, &lab).await.unwrap();
    assert_eq!(simulator.requests().total, 5, "{:?}", simulator.requests());
}

#[tokio::test]
async fn a_lab_that_was_never_started_takes_its_sizes_from_the_node_definitions() {
    let simulator = simulator(fast()).await;
    let lab = LabId::parse(simulator.import(SMALL_LAB).unwrap()).unwrap();
    let observer = long_timeout(&simulator);
    let seen = observe(&observer, &simulator, &lab).await.unwrap();
    assert_eq!(seen.coverage.unwrap().phase, Phase::Stopped);
    assert!(seen.total_memory_mb.unwrap().get() > 0.0);
    observe(&observer, &simulator, &lab).await.unwrap();
    assert_eq!(simulator.requests().count("GET /api/v0/simplified_node_definitions"), 1, "read once");
}

/// The largest lab of the public collection, where it is at hand: 302 nodes.
#[tokio::test]
async fn the_lab_of_302_nodes_is_observed_in_at_most_six_requests() {
    let Ok(folder) = std::env::var("LABLET_TOPOLOGIES") else { return };
    let yaml = std::fs::read_to_string(std::path::Path::new(&folder).join("14_300_node_lab.yaml")).unwrap();
    let simulator = simulator(SimulatorOptions { api: ApiVersion::V2_10, ..fast() }).await;
    let lab = running_lab(&simulator, &yaml);
    let client = CmlClient::new(&cml_options(&simulator)).unwrap();
    let observer = Observer::new(client.clone(), Duration::from_secs(30), SETTLING);
    // As the controller probes its workers before anybody asks.
    let reader = client.reader(&access(&simulator, "simulator"), Duration::from_secs(30));
    reader.sign_in().await.unwrap();
    reader.version().await.unwrap();
    // As it was sampled before.
    let interval = TimeDelta::seconds(30);
    let mut summary = Summary::new(NOON, interval.to_std().unwrap(), SETTLING);
    for sample in 1..=20 {
        simulator.advance(interval.to_std().unwrap()).unwrap();
        let reading = reader.stats(&lab).await.unwrap();
        summary.fold(&sample_from_stats(&reading.value, None, NOON + interval * sample));
    }
    simulator.reset_requests();
    let began = std::time::Instant::now();
    let mut seen = observe(&observer, &simulator, &lab).await.unwrap();
    summary.add_to(&mut seen, NOON + interval * 20).unwrap();
    let took = began.elapsed();
    let requests = simulator.requests();
    assert!(requests.total <= 6, "{requests:?}");
    assert_eq!(seen.actual_node_count.map(domain::Whole::get), Some(302));
    let coverage = seen.coverage.clone().unwrap();
    assert!(coverage.is_complete(), "{coverage:?}");
    assert!(seen.topology_fingerprint.is_some() && seen.total_memory_mb.is_some());
    let bytes = serde_json::to_vec(&seen).unwrap().len();
    assert!(bytes < 1_000_000, "{bytes} bytes");
    let profiled = seen.nodes.iter().filter(|node| node.profile.is_some()).count();
    assert!(profiled > 250 && seen.profile.is_some(), "{profiled} nodes have a profile");
    println!("302 nodes: {} requests, {} ms, {bytes} bytes", requests.total, took.as_millis());
}

#[tokio::test]
async fn every_topology_at_hand_is_observed() {
    let Ok(folder) = std::env::var("LABLET_TOPOLOGIES") else { return };
    let simulator = simulator(SimulatorOptions { topologies: Some(folder.into()), ..fast() }).await;
    let observer = long_timeout(&simulator);
    for (lab, title) in simulator.labs() {
        simulator.start_lab(&lab).unwrap();
        simulator.advance(Duration::from_secs(2 * 3600)).unwrap();
        let seen = observe(&observer, &simulator, &LabId::parse(lab).unwrap()).await.unwrap();
        let coverage = seen.coverage.unwrap();
        assert!(coverage.failed_reads.is_empty() && coverage.unreadable_entries.is_empty(), "{title}: {coverage:?}");
        assert!(seen.observed_ports.is_some(), "{title}");
    }
}

#[tokio::test]
async fn an_expired_token_is_renewed_once_for_all_reads() {
    let simulator = simulator(fast()).await;
    let lab = running_lab(&simulator, SMALL_LAB);
    let observer = long_timeout(&simulator);
    observe(&observer, &simulator, &lab).await.unwrap();
    simulator.expire_tokens();
    simulator.reset_requests();
    let seen = observe(&observer, &simulator, &lab).await.unwrap();
    assert!(seen.is_complete().unwrap());
    assert_eq!(simulator.requests().count("POST /api/v0/authenticate"), 1);
    assert_eq!(simulator.requests().total, 11, "five refused, one sign-in, five again");
}

#[tokio::test]
async fn a_token_that_is_refused_when_fresh_is_not_renewed_for_ever() {
    let simulator = simulator(fast()).await;
    let lab = running_lab(&simulator, SMALL_LAB);
    simulator.fault(Fault::new(FaultKind::Status { code: 401 }).on_path("/labs/")).unwrap();
    let error = observe(&long_timeout(&simulator), &simulator, &lab).await.unwrap_err();
    assert!(error.to_string().contains("refused its own fresh token"), "{error}");
    assert!(simulator.requests().total <= 1 + 1 + 5 * 3, "{:?}", simulator.requests());
}

#[tokio::test]
async fn a_refused_password_is_told_and_not_tried_again_at_once() {
    let simulator = simulator(fast()).await;
    let lab = running_lab(&simulator, SMALL_LAB);
    let observer = long_timeout(&simulator);
    for _ in 0..3 {
        let error = observer.observe(&access(&simulator, "wrong-secret"), &lab, NOON).await.unwrap_err();
        assert_eq!(error, ObservationImpossible::SignIn(CmlError::PasswordRefused));
        assert!(!error.to_string().contains("secret"));
    }
    assert_eq!(simulator.requests().total, 1, "controllers lock accounts");
}

#[tokio::test]
async fn a_missing_permission_is_not_tried_again() {
    let simulator = simulator(fast()).await;
    let lab = running_lab(&simulator, SMALL_LAB);
    simulator.fault(Fault::new(FaultKind::Status { code: 403 }).on_path("simulation_stats")).unwrap();
    let seen = observe(&long_timeout(&simulator), &simulator, &lab).await.unwrap();
    assert_eq!(simulator.requests().count("GET /api/v0/labs/{id}/simulation_stats"), 1);
    assert!(seen.coverage.unwrap().failed_reads[0].reason.starts_with("the user has no permission"));
}

#[tokio::test]
async fn a_slow_read_is_given_up_and_the_others_count() {
    let simulator = simulator(fast()).await;
    let lab = running_lab(&simulator, SMALL_LAB);
    let observer = observer(&simulator, Duration::from_secs(2));
    observe(&observer, &simulator, &lab).await.unwrap();
    simulator.fault(Fault::new(FaultKind::Slow { milliseconds: 60_000 }).on_path("layer3_addresses")).unwrap();
    let seen = observe(&observer, &simulator, &lab).await.unwrap();
    let failed = seen.coverage.unwrap().failed_reads;
    assert_eq!((failed.len(), failed[0].read.as_str()), (1, "layer3_addresses"));
    assert_eq!(failed[0].reason, "no answer within 2.0 s");
    assert!(seen.total_cpu_cores.is_some());
}

#[tokio::test]
async fn with_half_its_reads_failing_a_lab_is_observed_in_part() {
    let simulator = simulator(fast()).await;
    let lab = running_lab(&simulator, SMALL_LAB);
    for path in ["topology", "simulation_stats", "lab_element_state"] {
        simulator.fault(Fault::new(FaultKind::Status { code: 500 }).on_path(path)).unwrap();
    }
    let seen = observe(&long_timeout(&simulator), &simulator, &lab).await.unwrap();
    let coverage = seen.coverage.unwrap();
    let failed: Vec<&str> = coverage.failed_reads.iter().map(|failed| failed.read.as_str()).collect();
    assert_eq!(failed, ["topology", "lab_element_state", "simulation_stats"]);
    assert_eq!((seen.usage, seen.topology_fingerprint), (None, None));
    assert!(seen.observed_ports.is_some() && seen.total_memory_mb.is_some());
}

#[tokio::test]
async fn invalid_answers_half_answers_and_cut_connections_are_told_apart() {
    for (kind, expected) in [
        (FaultKind::InvalidBody, "CML gave an invalid response: no JSON"),
        (FaultKind::Truncate, "CML gave an invalid response: no JSON"),
        (FaultKind::DropConnection, "connection"),
        (FaultKind::Booting, "CML answered 502"),
    ] {
        let simulator = simulator(fast()).await;
        let lab = running_lab(&simulator, SMALL_LAB);
        simulator.fault(Fault::new(kind.clone()).on_path("/labs/")).unwrap();
        let error = observe(&long_timeout(&simulator), &simulator, &lab).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{kind:?}: {error}");
    }
}

#[tokio::test]
async fn a_lab_that_is_gone_is_told_as_such() {
    let simulator = simulator(fast()).await;
    let lab = running_lab(&simulator, SMALL_LAB);
    simulator.delete_lab(lab.as_str()).unwrap();
    assert_eq!(observe(&long_timeout(&simulator), &simulator, &lab).await.unwrap_err(), ObservationImpossible::LabGone);
}

#[tokio::test]
async fn an_answer_beyond_the_bound_is_not_read() {
    let simulator = simulator(fast()).await;
    let lab = running_lab(&simulator, SMALL_LAB);
    let options = CmlOptions { largest_answer: 600, ..cml_options(&simulator) };
    let observer = Observer::new(CmlClient::new(&options).unwrap(), Duration::from_secs(30), SETTLING);
    let error = observe(&observer, &simulator, &lab).await.unwrap_err();
    assert!(error.to_string().contains("exceeds 600 bytes"), "{error}");
}

#[tokio::test]
async fn a_certificate_nobody_vouches_for_is_refused_unless_told_otherwise() {
    let simulator = simulator(fast()).await;
    let lab = running_lab(&simulator, SMALL_LAB);
    let with =
        |options: CmlOptions| Observer::new(CmlClient::new(&options).unwrap(), Duration::from_secs(30), SETTLING);
    let other = Simulator::start(SimulatorOptions::default()).await.unwrap();
    let error = observe(&with(cml_options(&other)), &simulator, &lab).await.unwrap_err();
    assert!(matches!(error, ObservationImpossible::SignIn(CmlError::Unreachable { .. })), "{error}");
    let book = local_book(Credentials::new("admin", "simulator")).with_insecure_tls(InsecureTls::NamedHosts);
    let insecure = access_with(&simulator, book);
    assert!(with(CmlOptions::default()).observe(&insecure, &lab, NOON).await.is_ok());
    other.stop().await;
}

#[tokio::test]
async fn a_worker_that_is_away_is_told_as_such() {
    let simulator = simulator(fast()).await;
    let lab = running_lab(&simulator, SMALL_LAB);
    let (observer, access) = (long_timeout(&simulator), access(&simulator, "simulator"));
    simulator.stop().await;
    let error = observer.observe(&access, &lab, NOON).await.unwrap_err();
    assert!(matches!(error, ObservationImpossible::SignIn(CmlError::Unreachable { .. })), "{error}");
}
