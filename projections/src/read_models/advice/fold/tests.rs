use serde_json::{Value, json};

use super::*;
use crate::read_models::advice::stored::StoredDefinitionSums;
use crate::read_models::given::{event_id, given, recorded, sample};

/// An event of a session, in order.
fn tell(rows: &mut Rows, session: &str, sequence: i64, event_type: &str) -> Applied {
    let event = sample(&format!("lablet_session.{event_type}.v1"));
    given(rows, &recorded(session, sequence, &event)).unwrap()
}

/// It was observed with one router, that used so much memory, and a total beside it.
fn observe(rows: &mut Rows, session: &str, sequence: i64, memory: Value, total: f64) {
    let mut event = sample("lablet_session.resources_observed.v1");
    event["observed_resources"] = json!({
        "nodes": [{"node_id": "n-1", "label": "R1", "node_definition": "iosv", "image_definition": "iosv-159",
                   "state": "BOOTED", "nominal_cpu_cores": 1.0, "ram_mb": 2048, "usage": {"memory_mb": memory}}],
        "usage": {"memory_mb": total}, "coverage": {"nodes_total": 1, "nodes_booted": 1, "phase": "steady"}
    });
    given(rows, &recorded(session, sequence, &event)).unwrap();
}

fn session<'a>(rows: &'a Rows, id: &str) -> &'a StoredSession {
    rows.sessions.get(&(id.to_owned(),)).unwrap().unwrap()
}

fn sums(rows: &Rows) -> &StoredDefinitionSums {
    rows.sums.rows()[0]
}

#[test]
fn a_session_becomes_evidence_once_with_the_first_event_after_which_nothing_can_be_observed() {
    let mut rows = Rows::default();
    assert_eq!(tell(&mut rows, "s-1", 1, "terminated"), Applied::Ignored, "it never ran");
    tell(&mut rows, "s-2", 2, "running");
    observe(&mut rows, "s-2", 3, json!(700.0), 700.0);
    assert_eq!(tell(&mut rows, "s-2", 4, "stopping"), Applied::Changed);
    assert_eq!(tell(&mut rows, "s-2", 5, "stopped"), Applied::Ignored);
    let row = session(&rows, "s-2");
    assert_eq!((row.ended_event_id, row.memory_mb, row.cpu_cores), (Some(event_id(4)), Some(700.0), None));
    assert_eq!((row.nodes.as_ref(), row.kinds.0.len(), row.observation_count), (None, 1, 1));
    let advice = row.advice.as_ref().unwrap().0;
    assert_eq!(advice.memory_mb.map(|advice| (advice.sessions_before, advice.scored.demand)), Some((0, 700.0)));
    assert_eq!((advice.cpu_cores, sums(&rows).ended), (None, 1));
    // What an old log holds after its end is counted as an observation, and is no evidence.
    observe(&mut rows, "s-2", 6, json!(900.0), 900.0);
    assert_eq!((session(&rows, "s-2").memory_mb, session(&rows, "s-2").observation_count), (Some(700.0), 2));
}

#[test]
fn a_total_that_contradicts_its_nodes_is_unknown_and_its_nodes_are_evidence_all_the_same() {
    let mut rows = Rows::default();
    tell(&mut rows, "s-1", 1, "running");
    observe(&mut rows, "s-1", 2, json!(700.0), 9000.0);
    tell(&mut rows, "s-1", 3, "expired");
    let row = session(&rows, "s-1");
    assert_eq!((row.memory_mb, row.contradictions.0.len(), row.kinds.0[0].runs.memory_mb.runs), (None, 1, 1));
    assert_eq!(row.advice.as_ref().unwrap().0.memory_mb, None, "nothing is scored");
    tell(&mut rows, "s-2", 4, "running");
    observe(&mut rows, "s-2", 5, Value::Null, 700.0);
    tell(&mut rows, "s-2", 6, "stopping");
    assert!(session(&rows, "s-2").kinds.0.is_empty(), "a node without figures is in no pool");
}

#[test]
fn a_session_that_is_excluded_before_its_end_and_included_later_is_as_if_it_had_always_counted() {
    let (mut changed, mut plain) = (Rows::default(), Rows::default());
    for (rows, changes) in [(&mut changed, true), (&mut plain, false)] {
        for (number, memory) in [700.0, 800.0, 1900.0].into_iter().enumerate() {
            let (id, first) = (format!("s-{number}"), 10 * i64::try_from(number).unwrap());
            tell(rows, &id, first + 1, "running");
            observe(rows, &id, first + 2, json!(memory), memory);
            if changes && number == 2 {
                tell(rows, &id, first + 3, "evidence_excluded");
            }
            tell(rows, &id, first + 4, "stopping");
        }
    }
    assert_eq!(sums(&changed).scores.0.memory_mb.score().count + 1, sums(&plain).scores.0.memory_mb.score().count);
    assert!(session(&changed, "s-2").exclusion.is_some() && changed.fleet.rows() != plain.fleet.rows());
    tell(&mut changed, "s-2", 30, "evidence_included");
    assert_eq!(changed.fleet.rows(), plain.fleet.rows());
    assert_eq!((&sums(&changed).sums, &sums(&changed).scores), (&sums(&plain).sums, &sums(&plain).scores));
    let sorted = |rows: &Rows| {
        let mut months: Vec<StoredMonth> = rows.months.rows().into_iter().cloned().collect();
        months.sort_by_key(|month| (month.bucket, month.resource.clone()));
        months
    };
    assert_eq!(sorted(&changed), sorted(&plain));
    assert_eq!(changed.exclusions.rows().len(), 2);
}

/// It was sampled with one router, that used so much memory, and so much while it booted.
fn sample_it(rows: &mut Rows, session: &str, sequence: i64, steady: f64, boot: f64) {
    let mut event = sample("lablet_session.resources_observed.v1");
    let peaks = json!({"steady": {"memory_mb": {"peak": steady}}, "boot": {"memory_mb": {"peak": boot}}});
    let mut profile = peaks.clone();
    profile["samples"] = json!(9);
    event["observed_resources"] = json!({
        "nodes": [{"node_id": "n-1", "label": "R1", "node_definition": "iosv", "image_definition": "iosv-159",
                   "state": "BOOTED", "nominal_cpu_cores": 1.0, "ram_mb": 2048, "profile": peaks}],
        "profile": profile, "coverage": {"nodes_total": 1, "nodes_booted": 1, "phase": "steady"}
    });
    given(rows, &recorded(session, sequence, &event)).unwrap();
}

#[test]
fn what_a_session_needed_is_kept_over_its_steady_phase_and_with_its_boot_and_leaves_both_where_it_is_excluded() {
    let mut rows = Rows::default();
    tell(&mut rows, "s-1", 1, "running");
    sample_it(&mut rows, "s-1", 2, 700.0, 1400.0);
    tell(&mut rows, "s-1", 3, "stopping");
    let row = session(&rows, "s-1");
    assert_eq!((row.memory_mb, row.memory_mb_with_boot, row.cpu_cores_with_boot), (Some(700.0), Some(1400.0), None));
    let runs = |kinds: &[advice::evidence::KindRuns]| kinds[0].runs.memory_mb.mean(Resource::MemoryMb);
    assert_eq!(runs(&row.kinds.0), Some(700.0));
    assert_eq!(runs(&row.kinds_with_boot.as_ref().unwrap().0), Some(1400.0));
    let steps = &row.steps.as_ref().unwrap().0;
    assert_ne!(steps.steady, steps.with_boot);
    let advice = row.advice.as_ref().unwrap().0.memory_mb.unwrap();
    assert_eq!((advice.include_boot, advice.scored.demand), (false, 700.0), "nobody asked for the boot");
    let pooled = |rows: &Rows, phases: Phases| {
        let pools = rows.pools.rows().into_iter().filter(|row| row.phases == phases.as_str() && row.owner.is_empty());
        pools.map(|row| row.pools.0.all(Resource::MemoryMb).mean(Resource::MemoryMb)).collect::<Vec<_>>()
    };
    assert_eq!(Phases::ALL.map(|phases| pooled(&rows, phases)), [[Some(700.0)], [Some(1400.0)]]);
    let known = |rows: &Rows| Phases::ALL.map(|phases| sums(rows).over(phases).memory_mb.moments.is_some());
    assert_eq!(known(&rows), [true, true]);
    tell(&mut rows, "s-1", 4, "evidence_excluded");
    assert_eq!((known(&rows), pooled(&rows, Phases::WithBoot)), ([false, false], vec![None]));
    tell(&mut rows, "s-1", 5, "evidence_included");
    assert_eq!((known(&rows), pooled(&rows, Phases::WithBoot)), ([true, true], vec![Some(1400.0)]));
}

#[test]
fn a_session_is_scored_by_the_policy_that_is_in_force_when_it_ends() {
    let mut rows = Rows::default();
    let mut set = sample("lablet_definition.policy_set.v1+include_boot");
    set["definition_id"] = sample("lablet_session.running.v1")["definition_id"].clone();
    given(&mut rows, &recorded(set["definition_id"].as_str().unwrap(), 1, &set)).unwrap();
    tell(&mut rows, "s-1", 2, "running");
    sample_it(&mut rows, "s-1", 3, 700.0, 1400.0);
    tell(&mut rows, "s-1", 4, "stopping");
    let advice = session(&rows, "s-1").advice.as_ref().unwrap().0.memory_mb.unwrap();
    assert_eq!((advice.include_boot, advice.scored.demand), (true, 1400.0));
    // Without a profile a snapshot counts in both.
    tell(&mut rows, "s-2", 5, "running");
    observe(&mut rows, "s-2", 6, json!(800.0), 800.0);
    tell(&mut rows, "s-2", 7, "stopping");
    let row = session(&rows, "s-2");
    assert_eq!(
        (row.memory_mb, row.memory_mb_with_boot, row.kinds_with_boot.as_ref()),
        (Some(800.0), Some(800.0), None)
    );
}

#[test]
fn the_topology_is_learnt_from_the_newest_observation_and_told_when_it_changed() {
    let mut rows = Rows::default();
    tell(&mut rows, "s-1", 1, "running");
    observe(&mut rows, "s-1", 2, json!(700.0), 700.0);
    observe(&mut rows, "s-1", 3, json!(800.0), 800.0);
    assert_eq!(rows.learnt.rows().len(), 1, "it did not change");
    assert_eq!(rows.learnt.rows()[0].topology.0.node_count(), 1);
    assert_eq!(rows.definitions.rows()[0].learnt.as_ref().unwrap().0, rows.learnt.rows()[0].topology.0);
}
