//! What pages ask of workers.

use domain::WorkerId;
use domain::lablet_session::SessionStatus;
use projections::read_models::sessions::Load;
use serde_json::json;

use crate::given::{World, seen};

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
