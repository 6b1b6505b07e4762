//! What pages ask of definitions.

use advice::scope::SessionScope;
use domain::lablet_definition::ResourceRequirements;
use domain::lablet_session::SessionStatus;
use projections::PageRequest;
use projections::read_models::observations::{ObservationFilter, Quantity, Resource};
use serde_json::{Value, json};

use crate::given::{World, nodes, seen};

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

    let off = world.projections.definitions_off(SessionScope::Newest(20), 10).await.unwrap().items;
    let found: Vec<_> = off.iter().map(|row| (row.definition_id.as_str(), row.resource, row.ratio)).collect();
    assert_eq!(found, [("a_tenth", Resource::StorageGb, 0.1), ("twice", Resource::CpuCores, 2.0)]);
    let twice = &off[1];
    assert_eq!((twice.sessions, twice.cpu_cores.configured, twice.cpu_cores.observed_max), (2, 2, Some(3.2)));
    assert_eq!((twice.cpu_cores.needed, twice.cpu_cores.known_sessions), (Some(4), 2));
    assert_eq!((twice.memory_gb.needed, twice.memory_gb.ratio), (Some(4), Some(1.0)));
    let memory = &twice.resources.memory_mb;
    assert_eq!((memory.configured, memory.needed), (4096.0, Some(4096.0)), "in one unit, as observed");
    assert_eq!(memory.observed_max, twice.memory_gb.observed_max);
    let storage = &twice.storage_gb;
    assert_eq!((storage.observed_max, storage.needed, storage.ratio, storage.unknown_sessions), (None, None, None, 2));
    assert_eq!(storage.observed_max_event_id, None);
    let event = world.projections.event(twice.cpu_cores.observed_max_event_id.unwrap()).await.unwrap().unwrap();
    assert_eq!(event.data.read::<Value>().unwrap()["observed_resources"]["total_cpu_cores"], Value::from(3.2));
    assert_eq!(world.projections.definitions_off(SessionScope::Newest(20), 1).await.unwrap().items.len(), 1);
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
    let off = world.projections.definitions_off(SessionScope::Newest(20), 10).await.unwrap().items;
    assert_eq!((off[0].sessions, off[0].ratio), (20, 0.5), "the 40 cores are of an older session");
}

/// A session of a revision that was seen to use of its cores what it used of its memory.
async fn session_of(world: &World, id: &str, revision: u32, cores: f64, fingerprint: &str) {
    world.session_of_revision(id, "ospf", revision).await;
    for status in [SessionStatus::Scheduled, SessionStatus::Instantiating, SessionStatus::Ready, SessionStatus::Running]
    {
        world.go(id, status).await;
    }
    let mut seen =
        seen(json!({"total_cpu_cores": cores, "total_memory_mb": 4096, "topology_fingerprint": fingerprint}));
    seen["usage"] = json!({"cpu_cores": cores / 2.0});
    world.observe(id, seen).await;
}

#[tokio::test]
async fn one_scope_decides_what_counts_and_where_all_sessions_say_more_it_is_told() {
    let world = World::new().await;
    world.definition("ospf").await;
    session_of(&world, "s-old", 1, 9.0, "sha256:a").await;
    world.revise("ospf", 6, &[]).await;
    session_of(&world, "s-other", 2, 7.0, "sha256:a").await;
    for number in 0..20 {
        session_of(&world, &format!("s-{number}"), 2, 4.0 + f64::from(number % 2), "sha256:b").await;
    }
    world.settle().await;
    let said = async |scope, limit| {
        world.projections.definition_observations(&"ospf".parse().unwrap(), scope, limit).await.unwrap()
    };
    let current = said(SessionScope::Current, 5).await;
    assert_eq!(
        (current.scope.sessions, current.scope.of_sessions, current.sessions.len(), current.observation_count),
        (20, 22, 5, 20),
        "neither another revision nor another topology counts, and no more are listed than asked for"
    );
    let cores = &current.aggregate.cpu_cores;
    assert_eq!((cores.max, cores.p95, cores.avg, cores.latest), (Some(5.0), Some(5.0), Some(4.5), Some(5.0)));
    let used = &current.aggregate.used.cpu_cores;
    assert_eq!((used.max, used.known_sessions), (Some(2.5), 20));
    let event = world.projections.event(used.max_event_id.unwrap()).await.unwrap().unwrap();
    assert_eq!(event.data.read::<Value>().unwrap()["observed_resources"]["usage"]["cpu_cores"], json!(2.5));
    let wider: Vec<_> = current.wider.iter().map(|one| (one.quantity, one.max_in_scope, one.max_of_all)).collect();
    assert_eq!(wider, [(Quantity::Nominal, Some(5.0), 9.0), (Quantity::Used, Some(2.5), 4.5)]);
    assert_eq!(current.weeks.iter().map(|week| week.sessions).sum::<u64>(), 20);
    assert_eq!(current.weeks[0].used.cpu_cores.max, Some(2.5));
    let stated = |configured: Option<ResourceRequirements>| configured.map(|configured| configured.cpu_cores.get());
    assert_eq!((stated(current.weeks[0].configured), stated(current.sessions[0].configured)), (Some(6), Some(6)));

    let all = said(SessionScope::All, 200).await;
    assert_eq!((all.scope.sessions, all.sessions.len(), all.aggregate.cpu_cores.max), (22, 22, Some(9.0)));
    assert_eq!(all.aggregate.cpu_cores.p95, Some(7.0));
    assert_eq!((all.wider.len(), stated(all.sessions[21].configured)), (0, Some(2)), "as it was then");
    let newest = said(SessionScope::Newest(1), 200).await;
    assert_eq!((newest.scope.sessions, newest.scope.of_sessions, newest.sessions.len()), (1, 22, 1));

    let off = async |scope| world.projections.definitions_off(scope, 10).await.unwrap().items;
    assert_eq!(off(SessionScope::All).await[0].cpu_cores.observed_max, Some(9.0));
    let current = off(SessionScope::Current).await;
    assert_eq!((current[0].sessions, current[0].cpu_cores.observed_max), (20, Some(5.0)));
}

/// What a definition's sessions say: max of cores and memory, and how many do not know the cores.
async fn said(
    world: &World,
) -> (Option<f64>, Option<f64>, u64, projections::read_models::observations::ObservedSession) {
    world.settle().await;
    let observed = world
        .projections
        .definition_observations(&"ospf".parse().unwrap(), SessionScope::Newest(20), 20)
        .await
        .unwrap();
    let (cores, memory) = (&observed.aggregate.cpu_cores, &observed.aggregate.memory_mb);
    (cores.max, memory.max, cores.unknown_sessions, observed.sessions[0].clone())
}

#[tokio::test]
async fn a_total_that_contradicts_its_nodes_is_recorded_marked_and_no_evidence() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    world.observe("s-1", seen(json!({"total_cpu_cores": 300, "nodes": nodes()}))).await;
    let (cores, memory, unknown, session) = said(&world).await;
    assert_eq!((cores, memory, unknown), (None, Some(1536.0), 1));
    assert_eq!(session.contradictions.len(), 1);
    assert_eq!((session.contradictions[0].stated, session.contradictions[0].of_nodes), (300.0, 2.0));
    let filter = ObservationFilter::default();
    let recorded = world.projections.observations(&filter, &PageRequest::default()).await.unwrap().items.remove(0);
    assert_eq!(
        (recorded.nominal.cpu_cores, recorded.contradictions.len()),
        (Some(300.0), 1),
        "it is shown all the same"
    );
    assert!(
        world
            .projections
            .definitions_off(SessionScope::Newest(20), 10)
            .await
            .unwrap()
            .items
            .iter()
            .all(|off| off.cpu_cores.observed_max.is_none())
    );
    // What was known before stays, and a later observation that is none of it takes nothing away.
    world.observe("s-1", seen(json!({"total_cpu_cores": 2, "nodes": nodes()}))).await;
    world.observe("s-1", seen(json!({"total_cpu_cores": 200, "nodes": nodes()}))).await;
    assert_eq!(said(&world).await.0, Some(2.0));
    let row = world.projections.session(&"s-1".parse().unwrap()).await.unwrap().unwrap().session;
    assert_eq!((row.nominal_cpu_cores, row.nominal_memory_mb), (None, Some(1536.0)));
}

#[tokio::test]
async fn a_lab_of_which_nothing_ran_is_no_evidence() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    let nothing = json!({"total_cpu_cores": 0, "total_memory_mb": 0, "total_storage_mb": 0, "actual_node_count": 0,
        "nodes": [], "coverage": {"nodes_total": 0, "nodes_booted": 0}});
    world.observe("s-1", nothing).await;
    let (cores, memory, _, session) = said(&world).await;
    assert_eq!((cores, memory, session.node_count), (None, None, None));
    assert_eq!(session.no_evidence, Some(domain::evidence::NoEvidence::NothingRan));
    assert_eq!(session.observation_count, 1, "it was observed");
}
