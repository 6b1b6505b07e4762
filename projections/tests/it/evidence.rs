//! What an answer says of its evidence leads to the sessions that it says it of.

use advice::left_out::LeftOutCode;
use advice::mixture::Condition;
use domain::lablet_session::{SessionStatus, Transition};
use domain::{DefinitionId, WorkerId};
use projections::read_models::advice::evidence::EvidenceFilter;
use projections::{PageRequest, ReadError, ReadModel};
use serde_json::{Value, json};

use crate::given::{World, measured};

fn ospf() -> DefinitionId {
    "ospf".parse().unwrap()
}

/// A session of the second revision on `cml-2` that showed this, and ended.
async fn elsewhere(world: &World, id: &str, resources: Value) {
    world.session_of_revision(id, "ospf", 2).await;
    let mut transition = Transition::to(SessionStatus::Scheduled);
    transition.worker_id = Some(WorkerId::parse("cml-2").unwrap());
    world.transition(id, transition).await;
    for status in [SessionStatus::Instantiating, SessionStatus::Ready, SessionStatus::Running] {
        world.go(id, status).await;
    }
    world.observe(id, resources).await;
    world.go(id, SessionStatus::Stopping).await;
}

/// A session on `cml-1` that showed this, and ended.
async fn ended(world: &World, id: &str, resources: Value) {
    world.running(id, "ospf").await;
    world.observe(id, resources).await;
    world.go(id, SessionStatus::Stopping).await;
}

/// An observation of two routers with other members.
fn with(changes: &Value) -> Value {
    let mut resources = measured(1500.0, 2);
    for (name, value) in changes.as_object().unwrap() {
        resources[name] = value.clone();
    }
    resources
}

/// Sessions that differ in everything in which they may, and of each of which something is left out.
async fn all_sorts(world: &World) {
    world.definition("ospf").await;
    ended(world, "plain", measured(1500.0, 2)).await;
    elsewhere(world, "elsewhere", measured(1600.0, 2)).await;
    ended(world, "larger", measured(2400.0, 3)).await;
    ended(world, "newer", with(&json!({"cml_version": "2.11.0"}))).await;
    ended(world, "unversioned", with(&json!({"cml_version": null}))).await;
    let short = json!({"nodes_total": 2, "nodes_booted": 2, "phase": "steady", "worker_short": true});
    ended(world, "short", with(&json!({"coverage": short}))).await;
    let peak = |cpu_cores: f64| {
        json!({"cpu_cores": {"peak": cpu_cores}, "memory_mb": {"peak": 1500.0},
                                        "storage_mb": {"peak": 200.0}})
    };
    let profile = json!({"samples": 9, "steady": peak(0.5), "boot": peak(1.5)});
    ended(world, "sampled", with(&json!({"profile": profile}))).await;
    ended(world, "partly", with(&json!({"usage": {"cpu_cores": 0.5}, "total_storage_mb": null, "nodes": []}))).await;
    let refuted = json!({"cpu_cores": 0.5, "memory_mb": 9000.0, "storage_mb": 200.0});
    ended(world, "refuted", with(&json!({ "usage": refuted }))).await;
    let stopped = json!({"nodes_total": 2, "nodes_booted": 0, "phase": "stopped"});
    ended(world, "stopped", with(&json!({ "coverage": stopped }))).await;
    ended(world, "trial", measured(1500.0, 2)).await;
    world.count_evidence("trial", false).await;
    world.running("unobserved", "ospf").await;
    world.go("unobserved", SessionStatus::Stopping).await;
    world.running("runs", "ospf").await;
    // Of another definition, of which nothing is asked.
    world.definition("bgp").await;
    world.ended("bgp-0", "bgp", 1500.0).await;
    world.settle_one(ReadModel::Advice).await;
}

/// The sessions that a filter leaves, page by page.
async fn sessions(world: &World, filter: &EvidenceFilter) -> Vec<String> {
    let (mut request, mut found) = (PageRequest::first(2), Vec::new());
    loop {
        let page = world.projections.evidence(&ospf(), filter, &request).await.unwrap();
        assert!(page.unreadable.is_empty(), "{filter:?}: {page:?}");
        found.extend(page.items.into_iter().map(|row| row.session_id.to_string()));
        let Some(next) = page.next else { return found };
        request = PageRequest { limit: 2, cursor: Some(next) };
    }
}

#[tokio::test]
async fn each_number_of_sessions_of_an_answer_leads_to_just_these_sessions() {
    let world = World::new().await;
    all_sorts(&world).await;
    let answer = world.projections.recommendation(&ospf(), None, None).await.unwrap().unwrap();

    let mut codes = Vec::new();
    for left_out in &answer.left_out {
        let found = sessions(&world, &EvidenceFilter::LeftOut(left_out.code)).await;
        assert_eq!(found.len() as u64, left_out.sessions, "{left_out:?}: {found:?}");
        codes.push((left_out.code, found));
    }
    let of =
        |code: LeftOutCode| codes.iter().find(|(found, _)| *found == code).map(|(_, sessions)| sessions.as_slice());
    assert_eq!(of(LeftOutCode::StillRunning).unwrap(), ["runs"]);
    assert_eq!(of(LeftOutCode::NeverObserved).unwrap(), ["unobserved"]);
    assert_eq!(of(LeftOutCode::NoEvidence).unwrap(), ["stopped"]);
    assert_eq!(of(LeftOutCode::Contradiction).unwrap(), ["refuted"]);
    assert_eq!(of(LeftOutCode::UnknownDemand).unwrap(), ["stopped", "refuted", "partly"]);
    assert_eq!(of(LeftOutCode::Excluded).unwrap(), ["trial"]);
    assert_eq!(of(LeftOutCode::Boot).unwrap(), ["sampled"]);

    let mut conditions = Vec::new();
    for mixture in &answer.mixed {
        conditions.push(mixture.condition);
        for value in &mixture.values {
            let filter = EvidenceFilter::Mixed(mixture.condition, value.value.clone());
            let found = sessions(&world, &filter).await;
            assert_eq!(found.len() as u64, value.sessions, "{filter:?}: {found:?}");
        }
    }
    let all = [
        Condition::Topologies,
        Condition::Revisions,
        Condition::CmlVersions,
        Condition::Workers,
        Condition::WorkerShort,
        Condition::Sources,
    ];
    assert_eq!(conditions, all);
    let on = |condition, value: &str| EvidenceFilter::Mixed(condition, Some(value.to_owned()));
    assert_eq!(sessions(&world, &on(Condition::Workers, "cml-2")).await, ["elsewhere"]);
    assert_eq!(sessions(&world, &on(Condition::CmlVersions, "2.11.0")).await, ["newer"]);
    assert_eq!(sessions(&world, &EvidenceFilter::Mixed(Condition::CmlVersions, None)).await, ["unversioned"]);
    assert_eq!(sessions(&world, &on(Condition::Revisions, "2")).await, ["elsewhere"]);
    assert_eq!(sessions(&world, &on(Condition::WorkerShort, "true")).await, ["short"]);
    assert_eq!(sessions(&world, &on(Condition::Sources, "profile")).await, ["sampled"]);
    assert!(sessions(&world, &EvidenceFilter::All).await.iter().all(|session| session != "runs"));
    world.database.finish().await;
}

#[tokio::test]
async fn a_value_that_a_condition_cannot_have_is_refused() {
    let world = World::new().await;
    for (condition, value) in
        [(Condition::Revisions, "first"), (Condition::WorkerShort, "perhaps"), (Condition::Sources, "guess")]
    {
        let filter = EvidenceFilter::Mixed(condition, Some(value.to_owned()));
        let answer = world.projections.evidence(&ospf(), &filter, &PageRequest::default()).await;
        assert!(matches!(&answer, Err(ReadError::Invalid(invalid)) if invalid.field == "value"), "{answer:?}");
    }
    world.database.finish().await;
}

#[tokio::test]
async fn a_nodes_profile_is_known_as_soon_as_its_session_names_the_observation_that_carries_it() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    let mut resources = measured(1500.0, 2);
    let profile = json!({"steady": {"cpu_cores": {"peak": 0.5}}, "restarts": 2});
    resources["nodes"][1]["profile"] = profile;
    resources["profile"] = json!({"samples": 9, "steady": {"cpu_cores": {"peak": 0.75}}});
    world.observe("s-1", resources).await;
    world.settle_one(ReadModel::Demands).await;
    let session = "s-1".parse().unwrap();
    let observed = world.projections.position(ReadModel::Observations).await.unwrap();
    assert!(observed < world.newest().await, "the read model of observations is behind");
    let node = world.projections.session_node_profile(&session, "n-1").await.unwrap().unwrap();
    let profile = node.profile.expect("the event has it");
    assert_eq!((profile.restarts.map(|restarts| restarts.get()), node.source.is_some()), (Some(2), true));
    let other = world.projections.session_node_profile(&session, "n-0").await.unwrap().unwrap();
    assert_eq!(other.profile, None, "nothing was sampled of it");
    assert_eq!(world.projections.session_node_profile(&session, "n-9").await.unwrap(), None);
    world.database.finish().await;
}
