//! What is advised of a definition, by sessions of the log.

use advice::left_out::LeftOutCode;
use advice::mixture::Condition;
use advice::recommendation::{Recommendation, RecommendationKind, TopologySource};
use app::log::Position;
use domain::DefinitionId;
use domain::advice_policy::{Policy, Promise};
use domain::lablet_definition::{Finding, ProposalCommand, ProposalStatus, ProposalStep, ResourceRequirements};
use domain::lablet_session::SessionStatus;
use domain::phases::Phases;
use domain::resource::Resource;
use projections::read_models::advice::evidence::EvidenceFilter;
use projections::read_models::advice::proposals::ProposalFilter;
use projections::read_models::advice::score::AdviceScoreFilter;
use projections::rebuild::RebuildOptions;
use projections::{PageRequest, ReadError, ReadModel};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::given::{World, measured};

const COMPARE: RebuildOptions = RebuildOptions { compare: true, keep_live: false };

fn id(text: &str) -> DefinitionId {
    text.parse().unwrap()
}

async fn advised(world: &World, definition: &str, as_of: Option<Position>) -> Recommendation {
    world.projections.recommendation(&id(definition), None, as_of).await.unwrap().unwrap()
}

/// The size with 2 GB of memory.
fn two_gigabytes(mut stated: ResourceRequirements) -> ResourceRequirements {
    stated.memory_gb = serde_json::from_value(json!(2)).unwrap();
    stated
}

/// Three definitions with a few sessions each.
async fn fleet(world: &World, sessions: u32) {
    for definition in ["ospf", "bgp", "isis"] {
        world.definition(definition).await;
        for number in 0..sessions {
            let memory = 1500.0 + 100.0 * f64::from(number % 4);
            world.ended(&format!("{definition}-{number}"), definition, memory).await;
        }
    }
}

#[tokio::test]
async fn a_definition_is_sized_by_its_sessions_and_names_the_readings() {
    let world = World::new().await;
    fleet(&world, 4).await;
    world.running("ospf-runs", "ospf").await;
    world.settle_one(ReadModel::Advice).await;
    let answer = advised(&world, "ospf", None).await;
    let memory = &answer.resources.memory_mb;
    assert_eq!((answer.finding, memory.sessions, memory.configured), (Some(Finding::OverProvisioned), 4, Some(4096.0)));
    assert_eq!((memory.nominal, memory.demand.max, memory.demand.latest), (Some(4096.0), Some(1800.0), Some(1800.0)));
    assert_eq!((memory.demand.median, memory.requirement), (Some(1700.0), Some(2)));
    assert_eq!(memory.kind, RecommendationKind::DistributionFree);
    assert_eq!(memory.evidence.len(), 4);
    assert_eq!((answer.topology.source, answer.topology.node_count), (TopologySource::Learnt, 2));
    let left_out: Vec<_> = answer.left_out.iter().map(|left_out| left_out.text.as_str()).collect();
    assert_eq!(left_out, ["1 session still running: counted once nothing of it can be observed any more."]);
    let explained = world.projections.explanation(&id("ospf"), None, None).await.unwrap().unwrap();
    let greatest = &explained.resources.memory_mb.readings[0];
    assert_eq!((greatest.session_id.as_str(), greatest.demand), ("ospf-3", 1800.0));
    assert_eq!(memory.evidence[0].to_string(), greatest.event_id.to_string());
    let base = explained.resources.memory_mb.steps.estimate.unwrap().base.unwrap();
    assert_eq!((base.parts.len(), base.parts[0].runs), (1, 16), "eight sessions of others had two such routers each");
    assert!(world.projections.recommendation(&id("unknown"), None, None).await.unwrap().is_none());
    world.database.finish().await;
}

#[tokio::test]
async fn what_was_advised_at_a_position_is_the_same_bytes_later_and_after_a_rebuild() {
    let world = World::new().await;
    for definition in ["ospf", "bgp"] {
        world.definition(definition).await;
    }
    let mut asked = Vec::new();
    for number in 0..14_u32 {
        let definition = if number % 3 == 0 { "bgp" } else { "ospf" };
        let session = format!("s-{number}");
        world.running(&session, definition).await;
        let routers = if number < 8 { 2 } else { 3 };
        world.observe(&session, measured(1000.0 + 150.0 * f64::from(number), routers)).await;
        if number == 6 {
            world.count_evidence(&session, false).await;
        }
        world.go(&session, SessionStatus::Stopping).await;
        match number {
            4 => world.count_evidence("s-1", false).await,
            5 => world.default_policy(json!({"promise": 0.9})).await,
            7 => world.revise("ospf", 3, &[]).await,
            9 => world.count_evidence("s-1", true).await,
            10 => world.count_evidence("s-6", true).await,
            _ => Position::START,
        };
        world.settle_one(ReadModel::Advice).await;
        let position = world.projections.position(ReadModel::Advice).await.unwrap();
        for definition in ["ospf", "bgp"] {
            let answer = serde_json::to_string(&advised(&world, definition, None).await).unwrap();
            let explained = world.projections.explanation(&id(definition), None, None).await.unwrap().unwrap();
            asked.push((definition, position, answer, serde_json::to_string(&explained).unwrap()));
        }
    }
    for _ in 0..2 {
        for (definition, position, answer, explained) in &asked {
            let again = serde_json::to_string(&advised(&world, definition, Some(*position)).await).unwrap();
            assert_eq!(&again, answer, "{definition} at {position}");
            let again = world.projections.explanation(&id(definition), None, Some(*position)).await.unwrap().unwrap();
            assert_eq!(&serde_json::to_string(&again).unwrap(), explained);
        }
        let report = world.projections.rebuild(ReadModel::Advice, COMPARE, &CancellationToken::new()).await.unwrap();
        assert_eq!((report.swapped, report.differing_tables), (true, Some(vec![])));
    }
    let beyond: Position = "0000000009-00000000000000000001-0000000000000000001".parse().unwrap();
    let refused = world.projections.recommendation(&id("ospf"), None, Some(beyond)).await.unwrap_err();
    assert!(matches!(&refused, ReadError::Invalid(invalid) if invalid.field == "as_of"), "{refused:?}");
    assert!(world.projections.recommendation(&id("ospf"), None, Some(Position::START)).await.unwrap().is_none());
    world.database.finish().await;
}

/// Three definitions of labs that need twice as much while they boot.
async fn booting_fleet(world: &World, sessions: u32) {
    for definition in ["ospf", "bgp", "isis"] {
        world.definition(definition).await;
        for number in 0..sessions {
            let memory = 1000.0 + 40.0 * f64::from(number % 4);
            world.booted(&format!("{definition}-{number}"), definition, memory, 2.0 * memory).await;
        }
    }
}

#[tokio::test]
async fn a_policy_that_includes_the_boot_covers_it_and_one_that_does_not_says_that_it_leaves_it_out() {
    let world = World::new().await;
    booting_fleet(&world, 5).await;
    world.settle_one(ReadModel::Advice).await;
    let without = advised(&world, "ospf", None).await;
    let memory = &without.resources.memory_mb;
    assert_eq!((memory.demand.max, memory.requirement), (Some(1120.0), Some(2)));
    assert!(memory.value.is_some_and(|value| value < 2000.0), "{memory:?}");
    let left_out: Vec<_> = without.left_out.iter().map(|left_out| left_out.code).collect();
    assert_eq!((left_out, without.mixed.len()), (vec![LeftOutCode::Boot], 0));

    world.policy("ospf", json!({"include_boot": true})).await;
    world.ended("ospf-5", "ospf", 1100.0).await;
    world.settle_one(ReadModel::Advice).await;
    let with_boot = advised(&world, "ospf", None).await;
    let memory = &with_boot.resources.memory_mb;
    assert_eq!((memory.demand.max, memory.sessions, memory.includes_boot()), (Some(2240.0), 6, true));
    assert!(memory.value.is_some_and(|value| value >= 2240.0) && memory.requirement >= Some(3), "{memory:?}");
    assert_eq!(with_boot.left_out, [], "the boot counts");
    let mixed: Vec<_> = with_boot.mixed.iter().map(|mixed| mixed.text.as_str()).collect();
    // CPU and storage are known by snapshots alone.
    assert!(mixed.iter().any(|text| text.starts_with("The boot was not seen in 6 sessions")), "{mixed:?}");
    let unseen = EvidenceFilter::Mixed(Condition::BootSeen, Some("false".to_owned()));
    let unseen = world.projections.evidence(&id("ospf"), &unseen, &PageRequest::default()).await.unwrap();
    assert_eq!(unseen.items.len(), 6);
    let explained = world.projections.explanation(&id("ospf"), None, None).await.unwrap().unwrap();
    let reading = &explained.resources.memory_mb.readings[0];
    assert_eq!((reading.session_id.as_str(), reading.demand), ("ospf-3", 2240.0));

    // A size is tried on what the policy counts, or on what is asked about.
    let short = async |phases| {
        let report = world.projections.back_test(&id("ospf"), phases, two_gigabytes).await.unwrap().unwrap();
        (report.include_boot, report.resources.memory_mb.sessions_short)
    };
    assert_eq!(short(None).await, (true, 3));
    assert_eq!(short(Some(Phases::Steady)).await, (false, 0));
    let policies = [Policy::default(), Policy { include_boot: true, ..Policy::default() }];
    let explained = world.projections.explanations_under(&id("ospf"), &policies).await.unwrap().unwrap();
    let sizes = explained.iter().map(|explained| explained.memory_mb.estimate.as_ref().unwrap().value);
    let sizes: Vec<f64> = sizes.collect();
    assert!(sizes[0] < 2000.0 && Some(sizes[1]) == memory.value, "{sizes:?}");

    // The next session is scored by it, and names the reading of its boot.
    world.booted("ospf-6", "ospf", 1100.0, 9000.0).await;
    world.settle_one(ReadModel::Advice).await;
    let filter = AdviceScoreFilter { definition_id: Some(id("ospf")), resource: Some(Resource::MemoryMb) };
    let misses = world.projections.advice_score(&filter).await.unwrap().misses;
    assert_eq!((misses.len(), misses[0].advice.scored.demand, misses[0].advice.include_boot), (1, 9000.0, true));
    let row = world.projections.session_evidence(&"ospf-6".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((row.demands.memory_mb.steady.unwrap().value, row.demand_with_boot.memory_mb), (1100.0, Some(9000.0)));
    assert_eq!(misses[0].event_id, row.demands.memory_mb.boot.map(|peak| peak.event_id));
    let seen: (f64, f64, f64, String, bool, Option<uuid::Uuid>) = sqlx::query_as(
        "SELECT e.demand, e.demand_with_boot, e.boot_peak, e.unit, m.include_boot, m.demand_event_id
           FROM analytics_v1.session_evidence e JOIN analytics_v1.advice_misses m USING (session_id, resource)
          WHERE e.session_id = 'ospf-6' AND e.resource = 'memory_mb'",
    )
    .fetch_one(&world.database.pool())
    .await
    .unwrap();
    assert_eq!(seen, (1100.0, 9000.0, 9000.0, "MB".to_owned(), true, misses[0].event_id));

    // A topology is sized by the default policy.
    let topology = serde_json::from_value(json!({"nodes": [{"node_definition": "iosv", "count": 2}]})).unwrap();
    let size = async || {
        let answer = world.projections.topology_recommendation(&topology, None).await.unwrap();
        answer.resources.memory_mb.value.unwrap()
    };
    let by_default = size().await;
    world.default_policy(json!({"include_boot": true})).await;
    world.settle_one(ReadModel::Advice).await;
    assert!(size().await > 1.4 * by_default);
    world.database.finish().await;
}

#[tokio::test]
async fn what_was_advised_under_a_policy_with_and_without_the_boot_is_the_same_bytes_later_and_after_a_rebuild() {
    let world = World::new().await;
    for definition in ["ospf", "bgp"] {
        world.definition(definition).await;
    }
    let mut asked = Vec::new();
    for number in 0..10_u32 {
        let session = format!("s-{number}");
        let memory = 900.0 + 100.0 * f64::from(number);
        if number % 4 == 3 {
            world.ended(&session, "ospf", memory).await;
        } else {
            world.booted(&session, if number % 3 == 0 { "bgp" } else { "ospf" }, memory, 1.5 * memory).await;
        }
        match number {
            2 => world.policy("ospf", json!({"include_boot": true})).await,
            4 => world.count_evidence("s-1", false).await,
            5 => world.default_policy(json!({"include_boot": true, "promise": 0.9})).await,
            6 => world.policy("ospf", json!({"include_boot": false})).await,
            7 => world.count_evidence("s-1", true).await,
            _ => Position::START,
        };
        world.settle_one(ReadModel::Advice).await;
        let position = world.projections.position(ReadModel::Advice).await.unwrap();
        for definition in ["ospf", "bgp"] {
            let answer = serde_json::to_string(&advised(&world, definition, None).await).unwrap();
            asked.push((definition, position, answer));
        }
    }
    let with_boot = asked.iter().filter(|(_, _, answer)| answer.contains("\"include_boot\":true")).count();
    assert!((6..18).contains(&with_boot), "{with_boot}");
    for _ in 0..2 {
        for (definition, position, answer) in &asked {
            let again = serde_json::to_string(&advised(&world, definition, Some(*position)).await).unwrap();
            assert_eq!(&again, answer, "{definition} at {position}");
        }
        let report = world.projections.rebuild(ReadModel::Advice, COMPARE, &CancellationToken::new()).await.unwrap();
        assert_eq!((report.swapped, report.differing_tables), (true, Some(vec![])));
    }
    world.database.finish().await;
}

#[tokio::test]
async fn evidence_that_is_excluded_leaves_and_included_again_everything_is_as_before() {
    let world = World::new().await;
    fleet(&world, 3).await;
    world.settle_one(ReadModel::Advice).await;
    let without_position = |mut answer: Recommendation| {
        answer.as_of.clear();
        answer
    };
    let before = without_position(advised(&world, "ospf", None).await);
    for number in 0..3 {
        world.count_evidence(&format!("ospf-{number}"), false).await;
    }
    world.settle_one(ReadModel::Advice).await;
    let emptied = advised(&world, "ospf", None).await;
    let memory = &emptied.resources.memory_mb;
    assert_eq!((memory.sessions, memory.kind), (0, RecommendationKind::FromTopology));
    assert_eq!((emptied.finding, memory.demand.max), (Some(Finding::InsufficientEvidence), None));
    assert_eq!(emptied.left_out[0].text, "3 sessions excluded by somebody, with a reason.");
    for number in (0..3).rev() {
        world.count_evidence(&format!("ospf-{number}"), true).await;
    }
    world.settle_one(ReadModel::Advice).await;
    assert_eq!(without_position(advised(&world, "ospf", None).await), before);
    let report = world.projections.rebuild(ReadModel::Advice, COMPARE, &CancellationToken::new()).await.unwrap();
    assert_eq!(report.differing_tables, Some(vec![]));
    world.database.finish().await;
}

#[tokio::test]
async fn a_definition_that_never_ran_is_sized_from_the_topology_that_it_states() {
    let world = World::new().await;
    fleet(&world, 3).await;
    world.settle_one(ReadModel::Advice).await;
    let topology = serde_json::from_value(json!({"nodes": [{"node_definition": "iosv", "count": 4}]})).unwrap();
    let answer = world.projections.topology_recommendation(&topology, None).await.unwrap();
    let memory = &answer.resources.memory_mb;
    assert_eq!((memory.kind, memory.nominal), (RecommendationKind::FromTopology, Some(8192.0)));
    assert_eq!(answer.topology.assumed[0].taken.nominal_memory_mb, Some(2048));
    assert!(memory.requirement.is_some_and(|gigabytes| (3..8).contains(&gigabytes)), "{memory:?}");
    world.database.finish().await;
}

#[tokio::test]
async fn a_size_is_tried_on_the_past_before_anything_is_applied() {
    let world = World::new().await;
    fleet(&world, 4).await;
    world.count_evidence("ospf-0", false).await;
    world.settle_one(ReadModel::Advice).await;
    let report = world.projections.back_test(&id("ospf"), None, |stated| stated).await.unwrap().unwrap();
    let memory = &report.resources.memory_mb;
    assert_eq!((memory.size, memory.sessions, memory.sessions_short), (4096.0, 3, 0));
    let tight = |mut stated: domain::lablet_definition::ResourceRequirements| {
        stated.memory_gb = serde_json::from_value(json!(1)).unwrap();
        stated
    };
    let report = world.projections.back_test(&id("ospf"), None, tight).await.unwrap().unwrap();
    let memory = &report.resources.memory_mb;
    assert_eq!((memory.sessions_short, memory.worst_shortfall), (3, Some(1800.0 - 1024.0)));
    assert_eq!(memory.short[0].session_id.as_str(), "ospf-3");
    assert!(world.projections.back_test(&id("unknown"), None, |stated| stated).await.unwrap().is_none());
    world.database.finish().await;
}

#[tokio::test]
async fn the_score_adds_up_what_was_promised_and_achieved_and_lists_the_misses() {
    let world = World::new().await;
    fleet(&world, 5).await;
    world.ended("ospf-large", "ospf", 3900.0).await;
    world.settle_one(ReadModel::Advice).await;
    let memory = || AdviceScoreFilter { resource: Some(Resource::MemoryMb), ..AdviceScoreFilter::default() };
    let report = world.projections.advice_score(&memory()).await.unwrap();
    let total = &report.totals[0].score;
    assert_eq!((report.totals.len(), total.count + total.silent, total.promised), (1, 16, Some(0.95)));
    assert_eq!(report.misses[0].session_id.as_str(), "ospf-large");
    assert_eq!((report.misses[0].advice.sessions_before, report.misses[0].advice.scored.demand), (5, 3900.0));
    let counted: u64 = report.by_sessions.iter().map(|part| part.score.score.count + part.score.score.silent).sum();
    assert_eq!((counted, report.by_month.len(), report.by_definition.len()), (16, 1, 3));
    assert_eq!((report.by_definition[0].definition_id.as_str(), report.by_definition[0].sessions), ("ospf", 6));
    let own = AdviceScoreFilter { definition_id: Some(id("ospf")), ..memory() };
    let own = world.projections.advice_score(&own).await.unwrap();
    assert_eq!(own.totals[0].score, own.by_definition[0].scores[0].score);
    // What is excluded is in no score, and has its place again when it counts again.
    world.count_evidence("ospf-large", false).await;
    world.settle_one(ReadModel::Advice).await;
    let without = world.projections.advice_score(&memory()).await.unwrap();
    assert_eq!(without.totals[0].score.count + without.totals[0].score.silent, 15);
    assert!(without.misses.iter().all(|miss| miss.session_id.as_str() != "ospf-large"));
    world.count_evidence("ospf-large", true).await;
    world.settle_one(ReadModel::Advice).await;
    let again = world.projections.advice_score(&memory()).await.unwrap();
    assert_eq!((again.totals, again.misses), (report.totals, report.misses));
    world.database.finish().await;
}

#[tokio::test]
async fn evidence_is_listed_with_what_was_advised_before_it_and_why_it_does_not_count() {
    let world = World::new().await;
    fleet(&world, 4).await;
    world.count_evidence("ospf-2", false).await;
    world.settle_one(ReadModel::Advice).await;
    let page = world.projections.evidence(&id("ospf"), &EvidenceFilter::All, &PageRequest::first(3)).await.unwrap();
    let ids: Vec<&str> = page.items.iter().map(|row| row.session_id.as_str()).collect();
    assert_eq!((ids, page.unreadable.len()), (vec!["ospf-3", "ospf-2", "ospf-1"], 0));
    let newest = &page.items[0];
    let advice = newest.advice.memory_mb.unwrap();
    assert_eq!((advice.sessions_before, advice.scored.demand, newest.node_count), (3, 1800.0, 2));
    assert_eq!(advice.held, advice.scored.advised.map(|advised| advised >= 1800.0));
    assert_eq!((newest.nominal.memory_mb, newest.demands.memory_mb.steady.unwrap().value), (Some(4096.0), 1800.0));
    let excluded = page.items[1].exclusion.as_ref().unwrap();
    assert_eq!((excluded.reason.as_str(), excluded.excluded_by.as_str()), ("a trial", "admin:ada"));
    let rest = PageRequest { limit: 3, cursor: page.next };
    let rest = world.projections.evidence(&id("ospf"), &EvidenceFilter::All, &rest).await.unwrap();
    assert_eq!((rest.items.len(), rest.items[0].session_id.as_str(), rest.next), (1, "ospf-0", None));
    let one = world.projections.session_evidence(&"ospf-2".parse().unwrap()).await.unwrap();
    assert_eq!(one.as_ref(), Some(&page.items[1]));
    let listed = world.projections.definition_recommendations(&PageRequest::default()).await.unwrap();
    let own = listed.items.iter().find(|row| row.definition_id.as_str() == "ospf").unwrap();
    let answer = advised(&world, "ospf", None).await;
    assert_eq!((own.finding, own.sessions), (answer.finding, 4));
    assert_eq!(own.requirement.memory_mb, answer.resources.memory_mb.requirement);
    world.database.finish().await;
}

/// Rows of the read model that anybody has read, as far as Postgres has counted them.
async fn rows_read(world: &World) -> i64 {
    let statement =
        "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint FROM pg_stat_user_tables
         WHERE schemaname = 'read_advice'";
    sqlx::query_scalar(statement).fetch_one(&world.database.pool()).await.unwrap()
}

#[tokio::test]
async fn a_definition_of_50_000_sessions_is_answered_by_a_bounded_number_of_rows() {
    let world = World::new().await;
    fleet(&world, 3).await;
    world.settle_one(ReadModel::Advice).await;
    let copies = "INSERT INTO read_advice.sessions
        SELECT (jsonb_populate_record(s, jsonb_build_object('session_id', 'copy-' || n, 'memory_mb', n % 1000,
            'ended_position', '0000000000-00000000000000000000-' || lpad(n::text, 19, '0')))).*
          FROM read_advice.sessions s, generate_series(1, 50000) n WHERE s.session_id = 'ospf-1'";
    let pool = world.database.pool();
    assert_eq!(sqlx::query(copies).execute(&pool).await.unwrap().rows_affected(), 50_000);
    sqlx::query("ANALYZE read_advice.sessions").execute(&pool).await.unwrap();
    let before = rows_read(&world).await;
    let (mut asked, mut read) = (0, 0);
    while read == 0 {
        let answer = advised(&world, "ospf", None).await;
        assert_eq!((answer.resources.memory_mb.demand.max, answer.resources.memory_mb.sessions), (Some(1700.0), 3));
        asked += 1;
        assert!(asked < 1_000, "Postgres counts nothing");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        read = rows_read(&world).await - before;
    }
    assert!(read <= 2_000 * asked, "{read} rows for {asked} answers");
    world.database.finish().await;
}

#[tokio::test]
async fn a_position_behind_more_than_200_000_sessions_is_refused_and_an_earlier_one_is_answered() {
    let world = World::new().await;
    fleet(&world, 1).await;
    world.settle_one(ReadModel::Advice).await;
    let pool = world.database.pool();
    // Before all others in the log lies what is stated of the definition, and then sessions of which nothing is known.
    let stated =
        "UPDATE read_advice.definition_facts SET position = '0000000000-00000000000000000000-0000000000000000000'
                   WHERE definition_id = 'ospf'";
    assert_eq!(sqlx::query(stated).execute(&pool).await.unwrap().rows_affected(), 1);
    let copies = "INSERT INTO read_advice.sessions (session_id, definition_id, definition_revision, observation_count,
            contradictions, topology, nominal, kinds, demands, running_at, running_position, ended_at, ended_position,
            excluded, missed, position)
        SELECT 'copy-' || n, 'isis', 1, 0, '[]', '[]', s.nominal, '[]', s.demands, s.running_at, s.running_position,
               s.ended_at, '0000000000-00000000000000000000-' || lpad(n::text, 19, '0'), false, false, s.position
          FROM read_advice.sessions s, generate_series(1, 200001) n WHERE s.session_id = 'isis-0'";
    assert_eq!(sqlx::query(copies).execute(&pool).await.unwrap().rows_affected(), 200_001);
    sqlx::query("ANALYZE read_advice.sessions").execute(&pool).await.unwrap();
    let behind = |sessions: u32| format!("0000000000-00000000000000000000-{sessions:019}").parse::<Position>().unwrap();

    let refused = world.projections.recommendation(&id("ospf"), None, Some(behind(200_001))).await.unwrap_err();
    let ReadError::Invalid(invalid) = refused else { panic!("{refused:?}") };
    assert_eq!((invalid.field.as_str(), invalid.problem.as_str()), ("as_of", "lies behind too many sessions"));
    let answered = advised(&world, "ospf", Some(behind(1_000))).await;
    assert_eq!((answered.as_of, answered.resources.memory_mb.sessions), (behind(1_000).to_string(), 0));
    world.database.finish().await;
}

#[tokio::test]
async fn a_proposal_is_shown_with_each_step_of_its_life() {
    let world = World::new().await;
    fleet(&world, 1).await;
    world.propose("ospf", "p-1").await;
    world.propose("bgp", "p-2").await;
    let step = |reason: Option<&str>| ProposalStep {
        proposal_id: "p-1".parse().unwrap(),
        version: None,
        reason: reason.map(|reason| reason.parse().unwrap()),
    };
    world.step("ospf", ProposalCommand::Claim(step(Some("I look at it")))).await;
    world.step("ospf", ProposalCommand::Dismiss(step(Some("an exam is near")))).await;
    world.settle_one(ReadModel::Advice).await;
    let page = world.projections.proposals(&ProposalFilter::default(), &PageRequest::first(1)).await.unwrap();
    assert_eq!((page.items[0].proposal.proposal_id.as_str(), page.items[0].status), ("p-2", ProposalStatus::Open));
    let rest = PageRequest { limit: 1, cursor: page.next };
    let rest = world.projections.proposals(&ProposalFilter::default(), &rest).await.unwrap();
    let row = &rest.items[0];
    assert_eq!(
        (row.status, row.claimed_by.as_deref(), row.claim_reason.as_deref()),
        (ProposalStatus::Dismissed, Some("admin:ada"), Some("I look at it"))
    );
    assert_eq!((row.ended_by.as_deref(), row.end_reason.as_deref()), (Some("admin:ada"), Some("an exam is near")));
    assert_eq!((row.proposal.after.memory_gb.get(), row.verification.as_ref(), rest.next), (3, None, None));
    assert_eq!(world.projections.proposal(&"p-1".parse().unwrap()).await.unwrap().as_ref(), Some(row));
    let open = ProposalFilter { status: Some(ProposalStatus::Open), definition_id: Some(id("ospf")) };
    assert!(world.projections.proposals(&open, &PageRequest::default()).await.unwrap().items.is_empty());
    assert!(world.projections.proposal(&"p-9".parse().unwrap()).await.unwrap().is_none());
    world.database.finish().await;
}

#[tokio::test]
async fn a_stated_topology_is_asked_about_before_the_learnt_one_and_a_policy_of_its_own_before_the_default() {
    let world = World::new().await;
    fleet(&world, 3).await;
    world.settle_one(ReadModel::Advice).await;
    let learnt = advised(&world, "ospf", None).await;
    world.state("ospf", json!({"nodes": [{"node_definition": "iosv", "count": 4}]})).await;
    world.settle_one(ReadModel::Advice).await;
    let stated = advised(&world, "ospf", None).await;
    assert_eq!((stated.topology.source, stated.topology.node_count), (TopologySource::Stated, 4));
    assert_eq!(stated.topology.assumed[0].taken.image_definition.as_deref(), Some("iosv-159"));
    let value = |answer: &Recommendation| answer.resources.memory_mb.value.unwrap();
    assert!(value(&stated) > 1.5 * value(&learnt), "{} {}", value(&stated), value(&learnt));
    world.default_policy(json!({"promise": 0.5})).await;
    world.settle_one(ReadModel::Advice).await;
    let by_default = advised(&world, "ospf", None).await;
    assert_eq!(by_default.promise, 0.5);
    world.policy("ospf", json!({"promise": 0.99})).await;
    world.settle_one(ReadModel::Advice).await;
    let careful = advised(&world, "ospf", None).await;
    assert_eq!((careful.promise, careful.policy.promise.share()), (0.99, 0.99));
    assert!(value(&careful) > value(&by_default));
    let wanted = Promise::new(0.8).unwrap();
    let answer = world.projections.recommendation(&id("ospf"), Some(wanted), None).await.unwrap().unwrap();
    assert_eq!((answer.promise, advised(&world, "bgp", None).await.promise), (0.8, 0.5));
    world.database.finish().await;
}
