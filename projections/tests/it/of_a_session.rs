//! What the page of one session asks.

use domain::SessionId;
use domain::lablet_session::{SessionStatus, Transition};
use domain::text::Prose;
use projections::PageRequest;
use projections::read_models::observations::NodeFilter;
use projections::read_models::session_history::{EventOrder, HistoryView};
use serde_json::{Value, json};

use crate::given::{World, seen};

fn session(id: &str) -> SessionId {
    SessionId::parse(id).unwrap()
}

#[tokio::test]
async fn a_life_is_read_without_what_happened_meanwhile() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    for _ in 0..3 {
        world.observe("s-1", seen(json!({}))).await;
    }
    world.go("s-1", SessionStatus::Collecting).await;
    let life = world.projections.session_life(&session("s-1")).await.unwrap();
    assert!(!life.has_earlier);
    let life = life.steps;
    let steps: Vec<_> = life.iter().map(|step| (step.status.as_str(), step.sequence)).collect();
    assert_eq!(
        steps,
        [("pending", 1), ("scheduled", 2), ("instantiating", 3), ("ready", 4), ("running", 5), ("collecting", 9)]
    );
    assert_eq!(life[0].actor.as_deref(), Some("service:booking"));
    assert_eq!(life[1].worker_id.as_ref().unwrap().as_str(), "cml-1");
    assert!(life.is_sorted_by_key(|step| step.at) && life.iter().all(|step| step.understood));
    assert_eq!(world.projections.session_life(&session("nobody")).await.unwrap(), Default::default());
}

#[tokio::test]
async fn a_life_of_more_steps_than_are_shown_ends_with_the_last_and_says_that_there_are_earlier_ones() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    // Each of these says something new of a session that is running already.
    for number in 0..100 {
        let reason = Prose::parse(format!("extended {number} times")).unwrap();
        let transition = Transition { reason: Some(reason), ..Transition::to(SessionStatus::Running) };
        world.transition("s-1", transition).await;
    }
    let life = world.projections.session_life(&session("s-1")).await.unwrap();
    assert!(life.has_earlier);
    let reasons: Vec<_> = life.steps.iter().filter_map(|step| step.reason.as_deref()).collect();
    assert_eq!(
        (life.steps.len(), reasons.first(), reasons.last()),
        (100, Some(&"extended 0 times"), Some(&"extended 99 times"))
    );
}

#[tokio::test]
async fn a_history_is_read_from_either_end_with_or_without_what_happened() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    for order in [EventOrder::Oldest, EventOrder::Newest] {
        let view = HistoryView { order, data: false };
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let request = PageRequest { limit: 2, cursor };
            let page = world.projections.session_events(&session("s-1"), view, &request).await.unwrap();
            assert!(page.items.iter().all(|row| row.data == domain::RawJson::null() && row.metadata.actor.is_some()));
            seen.extend(page.items.iter().map(|row| row.sequence));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let expected = if order == EventOrder::Oldest { [1, 2, 3, 4, 5] } else { [5, 4, 3, 2, 1] };
        assert_eq!(seen, expected);
    }
    let whole = HistoryView::default();
    let page = world.projections.session_events(&session("s-1"), whole, &PageRequest::first(3)).await.unwrap();
    assert_eq!(
        (page.next.as_deref(), &page.items[0].data.read::<Value>().unwrap()["session_id"]),
        (Some("3"), &json!("s-1"))
    );
    let foreign = PageRequest { limit: 3, cursor: Some("before:3".to_owned()) };
    assert!(world.projections.session_events(&session("s-1"), whole, &foreign).await.is_err());
}

#[tokio::test]
async fn nodes_are_read_page_by_page_and_one_of_them_in_full() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    world.settle().await;
    let all = NodeFilter::default();
    let none = world.projections.session_nodes(&session("s-1"), &all, &PageRequest::default()).await.unwrap();
    assert_eq!((none.observation, none.matching), (None, 0));

    let lab = |size: usize| -> Vec<Value> {
        (0..size)
            .map(|index| {
                json!({"node_id": format!("n-{index}"), "label": format!("R{index}"), "node_definition": "iosv",
                       "state": "BOOTED", "ram_mb": 512, "tags": ["serial:5041"],
                       "interfaces": [{"interface_id": "i-1", "label": "Gi0/0", "ip4": ["10.0.0.1"]}]})
            })
            .collect()
    };
    world.observe("s-1", seen(json!({"nodes": lab(7), "actual_node_count": 7}))).await;
    world.settle().await;
    let first = world.projections.session_nodes(&session("s-1"), &all, &PageRequest::first(4)).await.unwrap();
    let observation = first.observation.unwrap();
    assert_eq!((first.matching, observation.node_count, first.page.items.len()), (7, Some(7), 4));
    assert_eq!(first.page.items[0].nominal_memory_mb, Some(512.0));
    assert_eq!(first.page.items[0].used_memory_mb, None, "nobody measured");

    // The next page is of the same observation, whatever came between.
    world.observe("s-1", seen(json!({"nodes": lab(2)}))).await;
    world.settle().await;
    let request = PageRequest { limit: 4, cursor: first.page.next };
    let second = world.projections.session_nodes(&session("s-1"), &all, &request).await.unwrap();
    assert_eq!(second.observation.unwrap().event_id, observation.event_id);
    let labels: Vec<_> = second.page.items.iter().map(|node| node.label.as_str()).collect();
    assert_eq!((labels, second.page.next), (vec!["R4", "R5", "R6"], None));
    let newest = world.projections.session_nodes(&session("s-1"), &all, &PageRequest::default()).await.unwrap();
    assert_eq!(newest.matching, 2);

    let some = NodeFilter { observation: Some(observation.event_id), text: Some("r5".to_owned()) };
    let found = world.projections.session_nodes(&session("s-1"), &some, &PageRequest::default()).await.unwrap();
    assert_eq!((found.matching, found.page.items[0].node_id.as_str()), (1, "n-5"));
    world.running("s-2", "ospf").await;
    let foreign = world.projections.session_nodes(&session("s-2"), &some, &PageRequest::default()).await.unwrap();
    assert_eq!(foreign.observation, None, "the observation is of another session");

    let node = world.projections.session_node(&session("s-1"), some.observation, "n-5").await.unwrap().unwrap();
    assert_eq!((node.ordinal, node.node.interfaces[0].ip4[0].as_str()), (5, "10.0.0.1"));
    assert_eq!(node.node.tags, ["serial:5041"]);
    assert_eq!(world.projections.session_node(&session("s-1"), None, "n-5").await.unwrap(), None);
}

#[tokio::test]
async fn a_clock_that_is_ahead_buries_no_later_observation() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    // Within what is accepted; the next one is made by a clock that is right.
    let ahead = world.clock.now() + chrono::TimeDelta::minutes(4);
    world.observe("s-1", seen(json!({"observed_at": ahead, "observer": "ahead"}))).await;
    let drifted =
        json!({"observer": "right", "observed_ports": {"PC_serial": 5999, "PC_vnc": 5042}, "total_cpu_cores": null});
    world.observe("s-1", seen(drifted)).await;
    world.settle().await;
    let row = world.projections.session(&"s-1".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(row.session.port_drift_detected, Some(true));
    assert_eq!(row.observed_resources.unwrap().observer.as_deref(), Some("right"));
    let state = world.log.load::<domain::lablet_session::LabletSession>("s-1").await.unwrap().unwrap().0;
    let known = &state.present().unwrap().observations;
    assert_eq!(
        (known.drift_detected(), known.newest_at()),
        (Some(true), row.session.observed_at),
        "both know the same"
    );
    let indicators = world.projections.definition(&"ospf".parse().unwrap()).await.unwrap().unwrap().observations;
    assert_eq!(indicators.last_observed_at, row.session.observed_at);
}

#[tokio::test]
async fn a_stored_time_that_cannot_be_shown_does_not_fail_a_list() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    world.observe("s-1", seen(json!({}))).await;
    // As an older release recorded it.
    for (number, bad) in
        ["0001-01-01T00:00:00+08:00", "9999-12-31T23:59:59-05:00", "-5000-01-01T00:00:00Z"].iter().enumerate()
    {
        let statement = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, event_id)
            SELECT aggregate_type, aggregate_id, sequence + 1 + $1, event_type, event_version,
                   jsonb_set(jsonb_set(payload::jsonb, '{observed_at}', to_jsonb($2::text)), '{observed_resources,observed_at}',
                             to_jsonb($2::text))::json, metadata, gen_random_uuid()
              FROM events WHERE aggregate_id = 's-1' AND sequence = 6";
        let number = i64::try_from(number).unwrap();
        sqlx::query(statement).bind(number).bind(bad).execute(&world.database.pool()).await.unwrap();
    }
    world.settle().await;
    let filter = projections::read_models::observations::ObservationFilter::default();
    let page = projections::PageRequest::default();
    let observations = world.projections.observations(&filter, &page).await.unwrap().items;
    assert_eq!(observations.len(), 4);
    assert!(observations.iter().all(|row| domain::time::check(row.observed_at).is_ok()));
    let row = world.projections.session(&"s-1".parse().unwrap()).await.unwrap().unwrap().session;
    assert_eq!(row.observation_count, 4);
}

#[tokio::test]
async fn the_same_port_by_another_name_is_as_planned_named_otherwise() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    world.observe("s-1", seen(json!({"observed_ports": {"PC_tcp": 5041, "PC_vnc": 5042}}))).await;
    world.settle().await;
    let row = world.projections.session(&"s-1".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(row.session.port_drift_detected, Some(false));
    let told: Vec<_> = row.ports.iter().map(|port| (port.name.as_str(), port.comparison)).collect();
    use projections::read_models::sessions::PortComparison::{AsPlanned, Renamed};
    assert_eq!(told, [("PC_serial", Renamed), ("PC_vnc", AsPlanned)]);
    assert_eq!(row.ports[0].observed_name.as_ref().unwrap().as_str(), "PC_tcp");
    // On another node it is another port.
    world.observe("s-1", seen(json!({"observed_ports": {"R1_tcp": 5041, "PC_vnc": 5042}}))).await;
    world.settle().await;
    let row = world.projections.session(&"s-1".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(row.session.port_drift_detected, Some(true));
}
