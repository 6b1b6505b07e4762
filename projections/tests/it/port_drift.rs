//! Drifted ports, from their observation to their end.

use chrono::TimeDelta;
use domain::SessionId;
use domain::port_drift::DriftState;
use projections::PageRequest;
use projections::port_drift::{DriftKind, DriftedPortFilter, DriftedPorts, KnownDrift};
use projections::read_models::definitions::DefinitionFilter;
use projections::read_models::sessions::{DriftFilter, SessionFilter, SessionRow};
use serde_json::json;

use crate::given::{World, seen};

async fn row(world: &World, id: &str) -> SessionRow {
    world.projections.session_summary(&SessionId::parse(id).unwrap()).await.unwrap().unwrap()
}

async fn with(world: &World, drift: DriftFilter) -> Vec<String> {
    let filter = SessionFilter { drift: Some(drift), ..SessionFilter::default() };
    let page = world.projections.sessions(&filter, &PageRequest::default()).await.unwrap();
    page.items.iter().map(|row| row.id.to_string()).collect()
}

fn told(ports: &DriftedPorts) -> Vec<String> {
    let number = |least: Option<domain::ports::PortNumber>, most: Option<domain::ports::PortNumber>| match (least, most)
    {
        (Some(least), Some(most)) => format!("{least}-{most}"),
        _ => "none".to_owned(),
    };
    let line = |port: &projections::port_drift::DriftedPort| {
        let allocated = number(port.allocated_least, port.allocated_most);
        let observed = number(port.observed_least, port.observed_most);
        let (kind, state) = (port.kind.as_str(), port.state.as_str());
        format!(
            "{} {} {kind} {allocated} to {observed}: {} of {} {state}, {}",
            port.definition_id, port.port, port.open_sessions, port.sessions, port.session_id
        )
    };
    ports.items.iter().map(line).collect()
}

/// Three sessions: two whose console is elsewhere, and one in which a port is gone, too.
async fn drifted() -> World {
    let world = World::new().await;
    world.definition("ospf").await;
    for (id, ports) in [
        ("s-1", json!({"PC_serial": 5041, "PC_vnc": 5142})),
        ("s-2", json!({"PC_serial": 5041, "PC_vnc": 5143})),
        ("s-3", json!({"PC_vnc": 5042})),
    ] {
        world.running(id, "ospf").await;
        world.observe(id, seen(json!({"observed_ports": ports}))).await;
    }
    world.settle().await;
    world
}

#[tokio::test]
async fn an_acknowledged_drift_is_told_apart_until_its_time_is_over() {
    let world = drifted().await;
    world.acknowledge_drift("s-1").await;
    world.settle().await;
    let acknowledged = row(&world, "s-1").await;
    let acknowledgement = acknowledged.port_drift_acknowledgement.clone().unwrap();
    assert_eq!((acknowledgement.reason.as_str(), acknowledgement.by.as_str()), ("the guide names it", "admin:ada"));
    assert_eq!(acknowledged.drift_state(world.clock.now()), DriftState::Acknowledged);
    assert_eq!(with(&world, DriftFilter::Acknowledged).await, ["s-1"]);
    assert_eq!(with(&world, DriftFilter::Open).await, ["s-3", "s-2"]);
    assert_eq!(with(&world, DriftFilter::True).await, ["s-3", "s-2", "s-1"]);
    let counts = world.projections.session_counts().await.unwrap().items;
    assert_eq!((counts[0].drifted, counts[0].drift_acknowledged), (3, 1));
    world.clock.advance(TimeDelta::days(1));
    assert_eq!(row(&world, "s-1").await.drift_state(world.clock.now()), DriftState::Open);
    assert_eq!(with(&world, DriftFilter::Acknowledged).await, [""; 0]);
}

#[tokio::test]
async fn a_withdrawn_acknowledgement_opens_the_drift_at_once() {
    let world = drifted().await;
    world.acknowledge_drift("s-1").await;
    world.withdraw_acknowledgement("s-1").await;
    world.settle().await;
    let opened = row(&world, "s-1").await;
    assert_eq!((opened.port_drift_acknowledgement.is_none(), opened.port_drift_detected), (true, Some(true)));
    assert_eq!(with(&world, DriftFilter::Acknowledged).await, [""; 0]);
    assert_eq!(with(&world, DriftFilter::Open).await.len(), 3);
    let counts = world.projections.session_counts().await.unwrap().items;
    assert_eq!((counts[0].drifted, counts[0].drift_acknowledged), (3, 0));
}

#[tokio::test]
async fn a_corrected_allocation_ends_the_drift_in_every_read_model() {
    let world = drifted().await;
    world.correct_allocation("s-1").await;
    world.settle().await;
    let corrected = row(&world, "s-1").await;
    assert_eq!((corrected.port_drift_detected, corrected.port_drift_since), (Some(false), None));
    assert_eq!(corrected.allocated_ports, corrected.observed_ports);
    let definitions =
        world.projections.definitions(&DefinitionFilter::default(), &PageRequest::default()).await.unwrap();
    assert_eq!(definitions.items[0].observations.drift_sessions, 2);
    let drifted: i64 =
        sqlx::query_scalar("SELECT count(*) FROM read_observations.observed_sessions WHERE port_drift_detected")
            .fetch_one(&world.database.pool())
            .await
            .unwrap();
    assert_eq!(drifted, 2);
}

#[tokio::test]
async fn drift_is_told_by_definition_and_port_with_the_session_to_look_at() {
    let world = drifted().await;
    let ask = async |filter: DriftedPortFilter| told(&world.projections.drifted_ports(&filter).await.unwrap());
    let all = DriftedPortFilter::default();
    assert_eq!(
        ask(all.clone()).await,
        [
            "ospf PC_vnc changed 5042-5042 to 5142-5143: 2 of 2 open, s-2",
            "ospf PC_serial removed 5041-5041 to none: 1 of 1 open, s-3",
        ]
    );
    world.acknowledge_drift("s-2").await;
    world.acknowledge_drift("s-3").await;
    world.settle().await;
    let open = "ospf PC_vnc changed 5042-5042 to 5142-5143: 1 of 2 open, s-1";
    let known = "ospf PC_serial removed 5041-5041 to none: 0 of 1 acknowledged, s-3";
    assert_eq!(ask(all.clone()).await, [open, known], "the session that is open is looked at first");
    let state = |state| DriftedPortFilter { state: Some(state), ..DriftedPortFilter::default() };
    assert_eq!(ask(state(KnownDrift::Open)).await, [open]);
    assert_eq!(ask(state(KnownDrift::Acknowledged)).await, [known]);
    for filter in [
        DriftedPortFilter { kind: Some(DriftKind::Removed), ..all.clone() },
        DriftedPortFilter { port: Some("PC_serial".to_owned()), ..all.clone() },
        DriftedPortFilter { port: Some("5041".to_owned()), ..all.clone() },
    ] {
        assert_eq!(ask(filter).await, [known]);
    }
    let port = |number: &str| DriftedPortFilter { port: Some(number.to_owned()), ..DriftedPortFilter::default() };
    assert_eq!(ask(port("5143")).await, ["ospf PC_vnc changed 5042-5042 to 5143-5143: 0 of 1 acknowledged, s-2"]);
    world.go("s-3", domain::lablet_session::SessionStatus::Terminated).await;
    world.settle().await;
    assert_eq!(ask(all.clone()).await, [open], "what holds no ports any more has no drift to care about");
    assert_eq!(ask(DriftedPortFilter { ended: true, ..all }).await, [open, known]);
    let rows: Vec<(String, String, Option<i32>)> =
        sqlx::query_as("SELECT session_id, kind, observed_port FROM analytics_v1.drifted_ports ORDER BY session_id")
            .fetch_all(&world.database.pool())
            .await
            .unwrap();
    let row = |id: &str, kind: &str, port| (id.to_owned(), kind.to_owned(), port);
    let changed = |id, port| row(id, "changed", Some(port));
    assert_eq!(rows, [changed("s-1", 5142), changed("s-2", 5143), row("s-3", "removed", None)]);
}
