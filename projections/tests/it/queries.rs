//! What the queries answer.

use std::time::Duration;

use advice::scope::SessionScope;
use chrono::TimeDelta;
use domain::lablet_session::SessionStatus;
use domain::{DefinitionId, SessionId, WorkerId};
use projections::read_models::definitions::{DefinitionFilter, DefinitionSort};
use projections::read_models::observation_requests::{RequestFilter, RequestOutcome};
use projections::read_models::observations::ObservationFilter;
use projections::read_models::sessions::{DriftFilter, PortComparison, SessionFilter, SessionSort};
use projections::{Behind, PageRequest, ReadModel};
use serde_json::{Value, json};

use crate::given::{World, seen, start};

fn session(id: &str) -> SessionId {
    SessionId::parse(id).unwrap()
}

fn definition(id: &str) -> DefinitionId {
    DefinitionId::parse(id).unwrap()
}

#[tokio::test]
async fn a_session_shows_allocated_beside_observed_ports() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    world.settle().await;
    let detail = world.projections.session(&session("s-1")).await.unwrap().unwrap();
    assert_eq!(detail.session.status, SessionStatus::Running);
    assert_eq!(detail.session.port_drift_detected, None, "nothing was observed, so nothing is known");
    assert_eq!(detail.session.port_drift, None);
    assert!(detail.ports.iter().all(|port| port.comparison == PortComparison::Unknown));

    world.observe("s-1", seen(json!({"observed_ports": {"PC_serial": 5041, "PC_vnc": 5142}}))).await;
    world.settle().await;
    let detail = world.projections.session(&session("s-1")).await.unwrap().unwrap();
    assert_eq!(detail.session.port_drift_detected, Some(true));
    assert_eq!(
        serde_json::to_value(&detail.session.port_drift).unwrap(),
        json!({"added": {}, "removed": {}, "changed": {"PC_vnc": {"allocated": 5042, "observed": 5142}}})
    );
    let comparisons: Vec<_> = detail.ports.iter().map(|port| port.comparison).collect();
    assert_eq!(comparisons, [PortComparison::AsPlanned, PortComparison::Changed]);
    assert_eq!(detail.session.observation_count, 1);
    assert_eq!(detail.session.etag, "\"7\"", "five steps, the observation, and its drift");
    assert_eq!(detail.observed_resources.unwrap().total_cpu_cores.map(domain::Amount::get), Some(2.0));
    assert_eq!(detail.session.worker_id, Some(WorkerId::parse("cml-1").unwrap()));

    // A later observation could not read the tags: the verdict stands, with its age.
    let verdict_at = detail.session.port_drift_observed_at;
    let mut unreadable = seen(json!({}));
    unreadable["observed_ports"] = json!(null);
    world.observe("s-1", unreadable).await;
    world.settle().await;
    let later = world.projections.session(&session("s-1")).await.unwrap().unwrap().session;
    assert_eq!((later.port_drift_detected, later.observation_count), (Some(true), 2));
    assert_eq!(later.port_drift_observed_at, verdict_at);
    assert!(later.observed_at > verdict_at);

    // And a clean one ends it.
    world.observe("s-1", seen(json!({}))).await;
    world.settle().await;
    let clean = world.projections.session(&session("s-1")).await.unwrap().unwrap().session;
    assert_eq!((clean.port_drift_detected, clean.port_drift_since), (Some(false), None));
    assert!(clean.port_drift.unwrap().is_none());
}

#[tokio::test]
async fn a_reading_recorded_late_does_not_replace_a_newer_one() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    world.observe("s-1", seen(json!({"observed_at": start() + TimeDelta::hours(2), "total_cpu_cores": 4}))).await;
    let early = start() + TimeDelta::hours(1);
    world
        .observe("s-1", seen(json!({"observed_at": early, "total_cpu_cores": 9, "observed_ports": {"PC_serial": 1}})))
        .await;
    world.settle().await;
    let detail = world.projections.session(&session("s-1")).await.unwrap().unwrap();
    assert_eq!(detail.observed_resources.unwrap().total_cpu_cores.map(domain::Amount::get), Some(4.0));
    assert_eq!((detail.session.port_drift_detected, detail.session.observation_count), (Some(false), 2));
    assert!(detail.session.port_drift.unwrap().is_none());
    let together =
        world.projections.definition_observations(&definition("ospf"), SessionScope::Newest(20), 20).await.unwrap();
    assert_eq!(together.aggregate.cpu_cores.latest, Some(4.0));
    assert_eq!(together.observation_count, 2);
}

#[tokio::test]
async fn the_sessions_of_a_definition_add_up_and_unknown_is_not_zero() {
    let world = World::new().await;
    world.definition("ospf").await;
    for (id, cpu) in [("s-1", json!(2)), ("s-2", json!(4)), ("s-3", json!(null))] {
        world.running(id, "ospf").await;
        world.observe(id, seen(json!({"total_cpu_cores": cpu}))).await;
    }
    world.observe("s-1", seen(json!({"total_cpu_cores": null, "observed_ports": {}}))).await;
    world.settle().await;
    let together =
        world.projections.definition_observations(&definition("ospf"), SessionScope::Newest(20), 20).await.unwrap();
    let order: Vec<&str> = together.sessions.iter().map(|session| session.session_id.as_str()).collect();
    assert_eq!(order, ["s-1", "s-3", "s-2"], "the most recently observed first");
    let cpu = &together.aggregate.cpu_cores;
    assert_eq!((cpu.max, cpu.avg, cpu.latest), (Some(4.0), Some(3.0), Some(2.0)));
    assert_eq!((cpu.known_sessions, cpu.unknown_sessions), (2, 1));
    let storage = &together.aggregate.storage_mb;
    assert_eq!((storage.max, storage.avg, storage.latest, storage.unknown_sessions), (None, None, None, 3));
    assert_eq!(together.observation_count, 4);
    assert_eq!(together.aggregate.port_drift_sessions, 1);
    assert_eq!(together.aggregate.node_count.max, Some(2));

    // Every number leads to the event that said so.
    let event = world.projections.event(cpu.max_event_id.unwrap()).await.unwrap().unwrap();
    assert_eq!(event.data.read::<Value>().unwrap()["observed_resources"]["total_cpu_cores"], json!(4.0));

    let newest =
        world.projections.definition_observations(&definition("ospf"), SessionScope::Newest(1), 1).await.unwrap();
    assert_eq!((newest.sessions.len(), newest.observation_count), (1, 2));
    let none =
        world.projections.definition_observations(&definition("other"), SessionScope::Newest(20), 20).await.unwrap();
    assert_eq!((none.observation_count, none.aggregate.cpu_cores.avg), (0, None));

    let row = world.projections.definition(&definition("ospf")).await.unwrap().unwrap();
    assert_eq!(
        (row.observations.observation_count, row.observations.observed_sessions, row.observations.drift_sessions),
        (4, 3, 1)
    );
    let filter = ObservationFilter { session_id: Some(session("s-1")), ..ObservationFilter::default() };
    let page = world.projections.observations(&filter, &PageRequest::default()).await.unwrap();
    assert_eq!(page.items.len(), 2);
    assert_eq!(page.items[0].port_drift.as_ref().unwrap().removed.len(), 2);
}

#[tokio::test]
async fn a_revision_keeps_who_why_and_its_evidence() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.definition("bgp").await;
    let evidence = ["0198f1c0-0000-7000-8000-000000000001".to_owned()];
    world.revise("ospf", 8, &evidence).await;
    world.settle().await;
    let row = world.projections.definition(&definition("ospf")).await.unwrap().unwrap();
    assert_eq!((row.revision, row.resource_requirements.cpu_cores.get(), row.etag.as_str()), (2, 8, "\"2\""));
    assert_eq!(row.observations.last_observed_at, None);
    let revisions = world.projections.definition_revisions(&definition("ospf"), &PageRequest::first(1)).await.unwrap();
    assert_eq!(revisions.items[0].evidence, evidence);
    assert_eq!(revisions.items[0].revised_by.as_deref(), Some("admin:ada"));
    let next = PageRequest { limit: 1, cursor: revisions.next };
    let first = world.projections.definition_revisions(&definition("ospf"), &next).await.unwrap();
    assert_eq!((first.items[0].revision, first.items[0].before.is_none(), first.next), (1, true, None));
    let unobserved = DefinitionFilter {
        observed: Some(false),
        text: Some("OSPF".to_owned()),
        drift: Some(false),
        ..DefinitionFilter::default()
    };
    assert_eq!(world.projections.definitions(&unobserved, &PageRequest::default()).await.unwrap().items.len(), 2);
    let by_name = DefinitionFilter { sort: DefinitionSort::Name, ..DefinitionFilter::default() };
    let first = world.projections.definitions(&by_name, &PageRequest::first(1)).await.unwrap();
    assert_eq!(first.items[0].id.as_str(), "bgp", "both are called OSPF");
    let next = PageRequest { limit: 1, cursor: first.next };
    let second = world.projections.definitions(&by_name, &next).await.unwrap();
    assert_eq!((second.items[0].id.as_str(), second.next), ("ospf", None));
    assert!(world.projections.definitions(&DefinitionFilter::default(), &next).await.is_err(), "of another order");
}

#[tokio::test]
async fn every_request_shows_its_outcome() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    for request in ["r-1", "r-2", "r-3", "r-4"] {
        world.ask("s-1", request).await;
    }
    world.report("s-1", seen(json!({})), Some("r-1")).await;
    world.fail("s-1", "r-2", "failed").await;
    world.fail("s-1", "r-3", "skipped").await;
    world.settle().await;
    let filter = RequestFilter { session_id: Some(session("s-1")), ..RequestFilter::default() };
    let page = world.projections.observation_requests(&filter, &PageRequest::default()).await.unwrap();
    let outcomes: Vec<_> = page.items.iter().map(|row| (row.request_id.as_str(), row.outcome)).collect();
    assert_eq!(
        outcomes,
        [
            ("r-4", RequestOutcome::Open),
            ("r-3", RequestOutcome::Skipped),
            ("r-2", RequestOutcome::Failed),
            ("r-1", RequestOutcome::Recorded)
        ]
    );
    assert_eq!(page.items[1].reason.as_deref(), Some("the controller did not answer"));
    let event = world.projections.event(page.items[3].outcome_event_id.unwrap()).await.unwrap().unwrap();
    assert_eq!(event.event_type, "io.lablet.lablet_session.resources_observed.v1");
    let detail = world.projections.session(&session("s-1")).await.unwrap().unwrap();
    assert_eq!(detail.session.open_requests, 1);
}

#[tokio::test]
async fn the_board_is_filtered_and_paged() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.worker("cml-1").await;
    for number in 0..7 {
        world.session(&format!("s-{number}"), "ospf").await;
    }
    world.running("s_run", "ospf").await;
    world.observe("s_run", seen(json!({"observed_ports": {}}))).await;
    world.settle().await;
    let all = SessionFilter::default();
    let first = world.projections.sessions(&all, &PageRequest::first(5)).await.unwrap();
    let rest = world.projections.sessions(&all, &PageRequest { limit: 5, cursor: first.next.clone() }).await.unwrap();
    let ids: Vec<String> = first.items.iter().chain(&rest.items).map(|row| row.id.to_string()).collect();
    assert_eq!(ids, ["s_run", "s-6", "s-5", "s-4", "s-3", "s-2", "s-1", "s-0"]);
    assert_eq!(rest.next, None);
    for filter in [
        SessionFilter { status: vec![SessionStatus::Running], ..SessionFilter::default() },
        SessionFilter { status: vec![SessionStatus::Running, SessionStatus::Ready], ..SessionFilter::default() },
        SessionFilter { worker_id: Some(WorkerId::parse("cml-1").unwrap()), ..SessionFilter::default() },
        SessionFilter { drift: Some(DriftFilter::True), ..SessionFilter::default() },
        SessionFilter { text: Some("S_R".to_owned()), ..SessionFilter::default() },
    ] {
        let page = world.projections.sessions(&filter, &PageRequest::default()).await.unwrap();
        assert_eq!(page.items.len(), 1, "{filter:?}");
    }
    // In every order the pages hold each session once; what has no time comes last.
    world.running("s_run_2", "bgp").await;
    world.observe("s_run_2", seen(json!({}))).await;
    world.settle().await;
    for (sort, begins) in [
        (SessionSort::Newest, ["s_run_2", "s_run", "s-6"]),
        (SessionSort::Oldest, ["s-0", "s-1", "s-2"]),
        (SessionSort::Changed, ["s_run_2", "s_run", "s-6"]),
        (SessionSort::Definition, ["s_run_2", "s_run", "s-6"]),
        (SessionSort::TimeslotEnd, ["s-0", "s-1", "s-2"]),
        (SessionSort::Observed, ["s_run_2", "s_run", "s-6"]),
    ] {
        let filter = SessionFilter { sort, ..SessionFilter::default() };
        let (mut ids, mut cursor) = (Vec::new(), None);
        loop {
            let page = world.projections.sessions(&filter, &PageRequest { limit: 2, cursor }).await.unwrap();
            ids.extend(page.items.iter().map(|row| row.id.to_string()));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(ids[..3], begins, "{sort:?}");
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 9, "{sort:?}");
    }
    let wrong = PageRequest { limit: 5, cursor: Some("x".to_owned()) };
    assert!(world.projections.sessions(&all, &wrong).await.is_err());
    let counts = world.projections.session_counts().await.unwrap().items;
    assert_eq!((counts[0].sessions, counts[0].drift_unknown, counts[1].drifted), (7, 7, 1));
    assert_eq!(world.projections.workers(&PageRequest::default()).await.unwrap().items.len(), 1);
    let worker = world.projections.worker(&WorkerId::parse("cml-1").unwrap()).await.unwrap().unwrap();
    assert_eq!((worker.profile.capacity.cpu_cores.get(), worker.profile.port_range.last().get()), (64, 7999));
}

#[tokio::test]
async fn a_read_may_wait_for_a_write_and_says_when_it_is_too_late() {
    let world = World::new().await;
    let position = world.definition("ospf").await;
    let short = Duration::from_millis(20);
    let behind = world.projections.wait_for(&[ReadModel::Definitions], position, short).await.unwrap_err();
    assert!(matches!(behind, Behind::Late { model: ReadModel::Definitions, wanted, .. } if wanted == position));
    let (waited, ()) =
        tokio::join!(world.projections.wait_for(&ReadModel::ALL, position, Duration::from_secs(20)), world.settle());
    waited.unwrap();
    let freshness = world.projections.freshness().await.unwrap().items;
    assert!(freshness.iter().all(|model| model.position >= position && model.dead_letters == 0));
}
