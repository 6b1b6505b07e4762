//! What pages ask of definitions.

use projections::read_models::observations::Resource;
use serde_json::{Value, json};

use crate::given::{World, seen};

#[tokio::test]
async fn the_definition_that_is_off_by_most_comes_first() {
    let world = World::new().await;
    // All of them are configured with 2 cores, 4 GB of memory and 10 GB of storage.
    let as_configured = json!({"total_cpu_cores": 2, "total_memory_mb": 4096, "total_storage_mb": null});
    for (definition, observed) in [
        ("twice", json!({"total_cpu_cores": 3.2, "total_memory_mb": 4096})),
        ("a_tenth", json!({"total_cpu_cores": 2, "total_memory_mb": 4000, "total_storage_mb": 1000})),
        ("fine", as_configured.clone()),
        ("nearly", json!({"total_cpu_cores": 1.5, "total_memory_mb": 3073, "total_storage_mb": 9217})),
        ("unknown", json!({"total_cpu_cores": null, "total_memory_mb": null})),
    ] {
        world.definition(definition).await;
        let session = format!("s-{definition}");
        world.running(&session, definition).await;
        world.observe(&session, seen(observed)).await;
    }
    world.definition("unobserved").await;
    world.running("s-more", "twice").await;
    world.observe("s-more", seen(as_configured)).await;
    world.settle().await;

    let off = world.projections.definitions_off(10).await.unwrap().items;
    let found: Vec<_> = off.iter().map(|row| (row.definition_id.as_str(), row.resource, row.ratio)).collect();
    assert_eq!(found, [("a_tenth", Resource::StorageGb, 0.1), ("twice", Resource::CpuCores, 2.0)]);
    let twice = &off[1];
    assert_eq!((twice.sessions, twice.cpu_cores.configured, twice.cpu_cores.observed_max), (2, 2, Some(3.2)));
    assert_eq!((twice.cpu_cores.needed, twice.cpu_cores.known_sessions), (Some(4), 2));
    assert_eq!((twice.memory_gb.needed, twice.memory_gb.ratio), (Some(4), Some(1.0)));
    let storage = &twice.storage_gb;
    assert_eq!((storage.observed_max, storage.needed, storage.ratio, storage.unknown_sessions), (None, None, None, 2));
    assert_eq!(storage.observed_max_event_id, None);
    let event = world.projections.event(twice.cpu_cores.observed_max_event_id.unwrap()).await.unwrap().unwrap();
    assert_eq!(event.data.read::<Value>().unwrap()["observed_resources"]["total_cpu_cores"], Value::from(3.2));
    assert_eq!(world.projections.definitions_off(1).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn only_the_newest_observed_sessions_count() {
    let world = World::new().await;
    world.definition("ospf").await;
    for number in 0..21 {
        let id = format!("s-{number}");
        world.running(&id, "ospf").await;
        let cores = if number == 0 { 40.0 } else { 1.0 };
        world.observe(&id, seen(json!({"total_cpu_cores": cores, "total_memory_mb": 4096}))).await;
    }
    world.settle().await;
    let off = world.projections.definitions_off(10).await.unwrap().items;
    assert_eq!((off[0].sessions, off[0].ratio), (20, 0.5), "the 40 cores are of an older session");
}
