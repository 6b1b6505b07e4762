//! What pages ask of workers.

use chrono::TimeDelta;
use domain::WorkerId;
use domain::lablet_session::SessionStatus;
use domain::worker::{PressureCondition, Shortage};
use projections::PageRequest;
use projections::read_models::sessions::Load;
use serde_json::json;

use crate::given::{World, seen, start};

#[tokio::test]
async fn a_workers_load_is_what_its_sessions_that_are_up_take() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.worker("cml-1").await;
    world.worker("cml-2").await;
    for (id, cpu) in [("s-1", json!(2)), ("s-2", json!(1.5)), ("s-3", json!(null)), ("s-4", json!(9))] {
        world.running(id, "ospf").await;
        world.observe(id, seen(json!({"total_cpu_cores": cpu, "observed_ports": {"PC_serial": 5041}}))).await;
    }
    for status in [SessionStatus::Stopping, SessionStatus::Stopped] {
        world.go("s-4", status).await;
    }
    world.session("s-5", "ospf").await;
    world.go("s-5", SessionStatus::Scheduled).await;
    world.session("s-6", "ospf").await;
    world.settle().await;
    let ids = ["cml-2", "cml-1"].map(|id| WorkerId::parse(id).unwrap());
    let loads = world.projections.worker_load(&ids).await.unwrap().items;
    assert_eq!(loads.iter().map(|load| load.worker_id.as_str()).collect::<Vec<_>>(), ["cml-2", "cml-1"]);
    assert_eq!((loads[0].up_sessions, loads[0].cpu_cores), (0, Load { known: Some(0.0), unknown_sessions: 0 }));
    let load = &loads[1];
    assert_eq!((load.up_sessions, load.booked_sessions, load.drifted_sessions), (3, 1, 3));
    assert_eq!(load.cpu_cores, Load { known: Some(3.5), unknown_sessions: 1 });
    assert_eq!(load.memory_mb, Load { known: Some(4608.0), unknown_sessions: 0 });
    assert_eq!(load.storage_mb, Load { known: None, unknown_sessions: 3 }, "unknown is not zero");
    assert_eq!(load.nodes, Load { known: Some(6.0), unknown_sessions: 0 });
}

#[tokio::test]
async fn the_port_map_shows_who_holds_a_port_and_what_clashes() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.worker("cml-1").await;
    world.running("s-1", "ospf").await;
    world.observe("s-1", seen(json!({"observed_ports": {"PC_serial": 5041, "PC_vnc": 9042}}))).await;
    world.running("s-2", "ospf").await;
    world.settle().await;
    let map = world.projections.port_map(&WorkerId::parse("cml-1").unwrap()).await.unwrap();
    assert_eq!((map.sessions, map.clashes, map.cut), (2, 2, false));
    let ports: Vec<_> = map.ports.iter().map(|port| (port.outside.get(), port.in_range, port.holders.len())).collect();
    assert_eq!(ports, [(5041, Some(true), 2), (5042, Some(true), 2), (9042, Some(false), 1)]);
    assert!(map.ports[0].holders[0].observed_event_id.is_some() && map.ports[0].holders[1].observed_at.is_none());
    for status in [SessionStatus::Stopping, SessionStatus::Stopped] {
        world.go("s-1", status).await;
    }
    world.settle().await;
    let map = world.projections.port_map(&WorkerId::parse("cml-1").unwrap()).await.unwrap();
    assert_eq!((map.sessions, map.clashes, map.ports.len()), (1, 0, 2), "who is stopped holds nothing");
    let nobody = world.projections.port_map(&WorkerId::parse("nobody").unwrap()).await.unwrap();
    assert_eq!((nobody.port_range, nobody.ports.len()), (None, 0));
}

#[tokio::test]
async fn a_shortage_is_known_where_all_of_the_time_is_or_where_there_was_one() {
    let world = World::new().await;
    let worker: WorkerId = "cml-1".parse().unwrap();
    world.worker("cml-1").await;
    let at = |minutes: i64| start() + TimeDelta::minutes(minutes);
    let quiet = json!({"short_of_cpu": false, "short_of_memory": false, "short_of_storage": false, "queued_nodes": 0});
    let mut short = quiet.clone();
    short["short_of_memory"] = json!(true);
    short["queued_nodes"] = json!(4);
    short["longest_wait_seconds"] = json!(100);
    for (minute, pressure) in [(0, &quiet), (60, &quiet), (100, &short), (110, &quiet), (300, &quiet)] {
        world.pressure("cml-1", at(minute), pressure.clone()).await;
    }
    world.pressure("cml-1", at(310), json!({"short_of_cpu": false})).await;
    world.settle().await;
    let reads = &world.projections;
    let shortage = async |since: i64, until: i64| reads.worker_shortage(&worker, at(since), at(until)).await.unwrap();
    for (since, until, expected) in [
        (0, 100, Some(true)),
        (0, 99, Some(false)),
        (10, 90, Some(false)),
        (90, 120, Some(true)),
        (105, 106, Some(true)),
        (111, 180, Some(false)),
        // Nobody told since 110 for longer than a pressure is taken to last.
        (111, 186, None),
        (186, 299, None),
        (301, 309, Some(false)),
        (301, 311, None),
        (90, 400, Some(true)),
        (-10, 50, None),
        (5_000, 6_000, None),
    ] {
        assert_eq!(shortage(since, until).await.worker_short(), expected, "{since} to {until}");
    }
    let known = shortage(90, 120).await;
    assert_eq!(known.shortages().collect::<Vec<_>>(), [Shortage::Memory, Shortage::LaunchQueue]);
    let other: WorkerId = "nobody".parse().unwrap();
    assert_eq!(reads.worker_shortage(&other, at(0), at(1)).await.unwrap().worker_short(), None);

    let newest = reads.worker(&worker).await.unwrap().unwrap().pressure.unwrap();
    assert_eq!((newest.condition, newest.since), (PressureCondition::Unknown, at(310)));
    let mut request = PageRequest::first(2);
    let mut conditions = Vec::new();
    loop {
        let page = reads.pressure_spells(&worker, &request).await.unwrap();
        conditions.extend(page.items.into_iter().map(|spell| (spell.number, spell.condition, spell.short_of.len())));
        request.cursor = page.next;
        if request.cursor.is_none() {
            break;
        }
    }
    use PressureCondition::{NotShort, Short, Unknown};
    let expected =
        [(6, Unknown, 0), (5, NotShort, 0), (4, Unknown, 0), (3, NotShort, 0), (2, Short, 2), (1, NotShort, 0)];
    assert_eq!(conditions, expected);
    world.database.finish().await;
}
