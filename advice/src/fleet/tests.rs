//! What a fleet keeps of its sessions, whatever they say.

use chrono::DateTime;
use domain::SessionId;
use domain::demand::{Demand, DemandSource, Peak};
use domain::phases::{ByPhases, Phases};
use proptest::prelude::*;

use super::*;
use crate::base::PoolSum;
use crate::evidence::{KindRuns, NodeDemand};
use crate::fleet_moments::FleetMoments;
use crate::fleet_rows::DefinitionSums;

type Pools = std::collections::BTreeMap<String, NodePools>;

fn definition(number: u8) -> DefinitionId {
    DefinitionId::parse(format!("definition-{number}")).unwrap()
}

fn kind(number: u8) -> NodeKind {
    NodeKind::new(format!("node-{number}"), None, Some(1.0), (number != 2).then_some(1024.0))
}

/// A session of two kinds of nodes. Of a resource whose demand is none nothing is known.
fn session(number: usize, of: u8, hour: i64, kinds: [u8; 2], demand: [Option<f64>; 3]) -> SessionEvidence {
    let [cpu_cores, memory_mb, storage_mb] = demand;
    let demand = ByResource { cpu_cores, memory_mb, storage_mb };
    let half = demand.map(|demand| demand.map(|demand| demand / 2.0));
    SessionEvidence {
        session_id: SessionId::parse(format!("session-{number}")).unwrap(),
        definition_id: definition(of),
        ended_at: DateTime::from_timestamp(1_772_000_000 + 3600 * hour, 0).unwrap(),
        topology: Topology::new(kinds.map(|number| (kind(number), 1))),
        demand,
        nodes: KindRuns::from_nodes(kinds.iter().map(|number| NodeDemand { kind: kind(*number), demand: half })),
    }
}

fn sessions() -> impl Strategy<Value = Vec<SessionEvidence>> {
    let demand = || {
        prop_oneof![
            1 => Just(None),
            1 => prop_oneof![Just(0.0), Just(1e9), Just(f64::INFINITY), Just(-1.0)].prop_map(Some),
            6 => (0.1..4000.0_f64).prop_map(Some)
        ]
    };
    let one = (0_u8..3, 0_i64..6, [0_u8..4, 0_u8..4], [demand(), demand(), demand()]);
    proptest::collection::vec(one, 0..16).prop_map(|all| {
        let session = |(number, (of, hour, kinds, demand))| session(number, of, hour, kinds, demand);
        all.into_iter().enumerate().map(session).collect()
    })
}

fn fleet(sessions: &[SessionEvidence]) -> Fleet {
    let mut fleet = Fleet::default();
    for session in sessions {
        fleet.advance(session);
    }
    fleet
}

/// What is read of a value that was stored.
fn stored<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

/// A fleet of which every row was stored and read again.
fn read_again(fleet: Fleet) -> Fleet {
    let FleetRows { whole, scores, pools, definitions } = fleet.into_rows();
    let definitions = definitions.into_iter().map(|(id, own)| {
        let topologies = own.topologies.into_iter();
        let own = DefinitionRows {
            ended: own.ended,
            sums: stored(&own.sums),
            pools: stored(&own.pools),
            topologies: topologies.map(|(topology, own)| (stored(&topology), stored(&own))).collect(),
        };
        (id, own)
    });
    let scores = scores.map(|buckets| buckets.each_ref().map(stored));
    let definitions = definitions.collect();
    Fleet::from_rows(FleetRows { whole: stored(&whole), scores, pools: stored(&pools), definitions })
}

/// What is kept of nodes: of all labs, of the labs of each definition, and of all nodes.
fn node_sums(fleet: &Fleet) -> (Pools, Vec<(DefinitionId, Pools)>, [PoolSum; 3]) {
    let rows = fleet.rows();
    let own = rows.definitions.iter().filter(|(_, own)| !own.pools.is_empty());
    let own = own.map(|(id, own)| (id.clone(), own.pools.clone())).collect();
    (rows.pools.clone(), own, Resource::ALL.map(|resource| resource.part(&rows.whole).any))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_same_sessions_in_the_same_order_give_the_same_bits_also_where_each_is_read_from_what_was_stored(sessions in sessions()) {
        let mut read = Fleet::default();
        for session in &sessions {
            read.advance(session);
            read = read_again(read);
        }
        prop_assert_eq!(&read, &fleet(&sessions));
        let estimate = |fleet: &Fleet, session: &SessionEvidence, resource| {
            let found = fleet.estimate(&session.definition_id, &session.topology, resource, Promise::default());
            found.map(|found| (found.value.to_bits(), found.computed.to_bits()))
        };
        for (session, resource) in sessions.iter().flat_map(|session| Resource::ALL.map(|resource| (session, resource))) {
            prop_assert_eq!(estimate(&read, session, resource), estimate(&fleet(&sessions), session, resource));
        }
    }

    #[test]
    fn what_nodes_needed_adds_up_to_the_same_bits_in_whatever_order_sessions_come(sessions in sessions(), order in any::<u64>()) {
        let mut shuffled: Vec<_> = sessions.iter().cloned().enumerate().collect();
        shuffled.sort_by_key(|(number, _)| (*number as u64 + 1).wrapping_mul(order | 1).rotate_left(7));
        let shuffled: Vec<_> = shuffled.into_iter().map(|(_, session)| session).collect();
        prop_assert_eq!(node_sums(&fleet(&shuffled)), node_sums(&fleet(&sessions)));
    }

    #[test]
    fn the_nodes_of_what_is_excluded_were_never_there_in_whatever_order_that_was_said(
        sessions in sessions(), split in 0_usize..16, backwards in any::<bool>(),
    ) {
        let mut held = Fleet::default();
        let steps: Vec<_> = sessions.iter().map(|session| held.advance(session)).collect();
        let split = split.min(sessions.len());
        let mut go: Vec<_> = sessions.iter().zip(&steps).skip(split).collect();
        if backwards {
            go.reverse();
        }
        for (session, steps) in go {
            held.exclude(session, steps);
        }
        prop_assert_eq!(node_sums(&held), node_sums(&fleet(&sessions[..split])));
        for (session, steps) in sessions.iter().zip(&steps).take(split) {
            held.exclude(session, steps);
        }
        prop_assert_eq!(node_sums(&held), node_sums(&Fleet::default()));
        for scores in Resource::ALL.iter().flat_map(|resource| resource.part(&held.rows().scores)) {
            prop_assert_eq!(scores, &Scores::default());
        }
    }

    #[test]
    fn a_greater_promise_never_needs_less_and_none_exceeds_the_nominal_size(sessions in sessions()) {
        let held = fleet(&sessions);
        for session in &sessions {
            for resource in Resource::ALL {
                let nominal = session.topology.nominal(resource);
                let value = |promise: f64| {
                    let promise = Promise::new(promise).unwrap();
                    let estimate = held.estimate(&session.definition_id, &session.topology, resource, promise);
                    estimate.map(|estimate| estimate.value)
                };
                let values = [0.001, 0.5, 0.8, 0.9, 0.95, 0.97, 0.999].map(value);
                prop_assert!(values.is_sorted(), "{values:?}");
                let (greatest, finite) = (values[6], values.iter().flatten().all(|value| value.is_finite()));
                prop_assert!(finite && greatest.zip(nominal).is_none_or(|(value, nominal)| value <= nominal));
            }
        }
    }

    #[test]
    fn a_handful_of_rows_answers_and_learns_as_the_whole_does(sessions in sessions()) {
        let mut whole = Fleet::default();
        for session in &sessions {
            let mut part = whole.part_for(&session.definition_id, &session.topology);
            for resource in Resource::ALL {
                let estimate = |fleet: &Fleet| {
                    fleet.estimate(&session.definition_id, &session.topology, resource, Promise::default())
                };
                prop_assert_eq!(estimate(&part), estimate(&whole));
            }
            let steps = whole.advance(session);
            prop_assert_eq!(part.advance(session), steps);
            prop_assert_eq!(&part, &whole.part_for(&session.definition_id, &session.topology));
        }
    }

    #[test]
    fn what_is_excluded_and_included_again_is_as_before(
        sessions in sessions(), acts in proptest::collection::vec((0_usize..16, any::<bool>()), 0..12),
    ) {
        let (mut fleet, mut held) = (Fleet::default(), Vec::new());
        let mut acts = acts.into_iter();
        for session in &sessions {
            let steps = stored(&fleet.advance(session));
            held.push((session, steps, None::<Exclusion>));
            let Some((place, excludes)) = acts.next() else { continue };
            let place = place % held.len();
            let (session, steps, exclusion) = &mut held[place];
            match (excludes, exclusion.take()) {
                (true, None) => *exclusion = Some(stored(&fleet.exclude(session, steps))),
                (false, Some(taken)) => fleet.restore(session, steps, &taken),
                (_, as_it_is) => *exclusion = as_it_is,
            }
            // Each session that counts, one after the other, and all of them from the first to the last and back.
            let counted: Vec<_> = held.iter().filter(|(_, _, exclusion)| exclusion.is_none()).collect();
            let before = fleet.clone();
            for (session, steps, _) in &counted {
                let exclusion = stored(&fleet.exclude(session, steps));
                fleet.restore(session, steps, &exclusion);
                prop_assert_eq!(&fleet, &before);
            }
            let exclusions: Vec<_> =
                counted.iter().map(|(session, steps, _)| fleet.exclude(session, steps)).collect();
            for (resource, moments) in Resource::ALL.map(|resource| (resource, resource.part(&fleet.rows().whole).moments)) {
                prop_assert_eq!(moments, FleetMoments::default(), "{:?}", resource);
            }
            for ((session, steps, _), exclusion) in counted.iter().zip(&exclusions).rev() {
                fleet.restore(session, steps, exclusion);
            }
            prop_assert_eq!(&fleet, &before);
        }
    }

    #[test]
    fn what_is_excluded_and_included_again_is_as_before_over_both_phases(
        peaks in proptest::collection::vec((0_u8..3, 0.1..4000.0_f64, 0.1..8000.0_f64), 1..16), place in 0_usize..16,
    ) {
        let session = |(number, (of, steady, boot)): (usize, &(u8, f64, f64))| {
            Phases::each(|phases| booting(&format!("d-{of}"), number, *steady, *boot, phases))
        };
        let sessions: Vec<ByPhases<SessionEvidence>> = peaks.iter().enumerate().map(session).collect();
        let mut fleets: ByPhases<Fleet> = ByPhases::default();
        let advance = |session: &ByPhases<SessionEvidence>| {
            Phases::each(|phases| phases.part_mut(&mut fleets).advance(phases.part(session)))
        };
        let steps: Vec<ByPhases<SessionSteps>> = sessions.iter().map(advance).collect();
        let place = place % sessions.len();
        for phases in Phases::ALL {
            let (session, steps) = (phases.part(&sessions[place]), phases.part(&steps[place]));
            let before = phases.part(&fleets).clone();
            let fleet = phases.part_mut(&mut fleets);
            let exclusion = stored(&fleet.exclude(session, steps));
            prop_assert_ne!(&*fleet, &before);
            fleet.restore(session, steps, &exclusion);
            prop_assert_eq!(&*fleet, &before);
        }
        // Whatever booting adds, no session is less known by it.
        let sessions = Phases::each(|phases| {
            let known = phases.part(&fleets).rows().definitions.iter();
            known.map(|(id, own)| (id.clone(), own.sessions(Resource::MemoryMb))).collect::<Vec<_>>()
        });
        prop_assert_eq!(sessions.steady, sessions.with_boot);
    }

    #[test]
    fn a_part_excludes_and_includes_as_the_whole_does(sessions in sessions()) {
        let mut whole = Fleet::default();
        let steps: Vec<_> = sessions.iter().map(|session| whole.advance(session)).collect();
        for (session, steps) in sessions.iter().zip(&steps) {
            let of = |fleet: &Fleet| fleet.part_for(&session.definition_id, &session.topology);
            let mut part = of(&whole);
            let exclusion = part.exclude(session, steps);
            prop_assert_eq!(&whole.exclude(session, steps), &exclusion);
            prop_assert_eq!(&part, &of(&whole));
            part.restore(session, steps, &exclusion);
            whole.restore(session, steps, &exclusion);
            prop_assert_eq!(&part, &of(&whole));
        }
    }

    #[test]
    fn sessions_with_ever_other_topologies_are_kept_in_a_bounded_number_of_rows(
        demands in proptest::collection::vec(1.0..4000.0_f64, 60..80),
    ) {
        let mut fleet = Fleet::default();
        let mut states = Vec::new();
        for (number, demand) in demands.iter().enumerate() {
            let nodes = u32::try_from(number).unwrap() + 1;
            let mut session = session(number, 0, 0, [0, 1], [None, Some(*demand), None]);
            session.topology = Topology::new([(kind(0), nodes)]);
            let steps = stored(&fleet.advance(&session));
            states.push((session, steps));
        }
        let own = &fleet.rows().definitions[&definition(0)];
        prop_assert_eq!((own.topologies.len(), own.sessions(Resource::MemoryMb)), (MOST_TOPOLOGIES, demands.len() as u64));
        let stored_rows = serde_json::to_string(&own.sums.memory_mb).unwrap();
        prop_assert_eq!(&serde_json::from_str::<DefinitionSums>(&stored_rows).unwrap(), &own.sums.memory_mb);
        for (session, steps) in &states {
            let held = fleet.clone();
            let exclusion = fleet.exclude(session, steps);
            fleet.restore(session, steps, &exclusion);
            prop_assert_eq!(&fleet, &held);
        }
    }

    #[test]
    fn whatever_ran_is_not_answered_by_silence(sessions in sessions()) {
        let held = fleet(&sessions);
        for session in &sessions {
            for resource in Resource::ALL {
                let known = amount(*resource.part(&session.demand)).is_some();
                let answer = held.estimate(&session.definition_id, &session.topology, resource, Promise::default());
                prop_assert!(answer.is_some() || !known);
            }
        }
    }
}

/// A lab that used this much memory, and this much while it booted, as it counts over these phases.
fn booting(definition: &str, number: usize, steady: f64, boot: f64, phases: Phases) -> SessionEvidence {
    let peak = |value| {
        let observed_at = DateTime::UNIX_EPOCH;
        Some(Peak { value, source: DemandSource::Profile, event_id: (), observed_at })
    };
    let needed = |steady, boot| Demand { steady: peak(steady), boot: peak(boot) }.over(phases).map(|peak| peak.value);
    let only_memory = |memory_mb| ByResource { memory_mb, ..ByResource::default() };
    let kind = router(Some("159"), Some(8192.0));
    let node = NodeDemand { kind: kind.clone(), demand: only_memory(needed(steady / 2.0, boot / 2.0)) };
    SessionEvidence {
        session_id: SessionId::parse(format!("{definition}-{number}")).unwrap(),
        definition_id: DefinitionId::parse(definition).unwrap(),
        ended_at: DateTime::UNIX_EPOCH,
        topology: Topology::new([(kind, 2)]),
        demand: only_memory(needed(steady, boot)),
        nodes: KindRuns::from_nodes([node.clone(), node]),
    }
}

#[test]
fn a_lab_that_needs_twice_as_much_while_booting_is_covered_where_the_boot_is_included_and_not_without_it() {
    let ByPhases { steady, with_boot } = Phases::each(|phases| {
        let mut fleet = Fleet::default();
        let mut last = None;
        for (number, definition) in
            (0..8).flat_map(|number| ["a", "b", "c", "d"].map(|definition| (number, definition)))
        {
            let steady = 1000.0 + 20.0 * f64::from(u8::try_from(number).unwrap() % 3);
            let session = booting(definition, number, steady, 2.0 * steady, phases);
            fleet.advance(&session);
            last = Some(session);
        }
        let last = last.unwrap();
        let found =
            fleet.estimate(&last.definition_id, &last.topology, Resource::MemoryMb, Promise::default()).unwrap();
        (found.value, found.prediction.sessions)
    });
    assert!(
        (1000.0..1500.0).contains(&steady.0) && (2080.0..3000.0).contains(&with_boot.0),
        "{steady:?} {with_boot:?}"
    );
    assert_eq!((steady.1, with_boot.1), (8, 8));
    // One that never ran is sized by what its nodes need, while booting too.
    let of_topology = Phases::each(|phases| {
        let mut fleet = Fleet::default();
        let sessions: Vec<_> = (0..8).map(|number| booting("a", number, 1000.0, 2000.0, phases)).collect();
        sessions.iter().for_each(|session| {
            fleet.advance(session);
        });
        let topology = &sessions[0].topology;
        fleet.estimate_for_topology(topology, Resource::MemoryMb, Promise::default()).unwrap().base.unwrap().value
    });
    assert_eq!((of_topology.steady, of_topology.with_boot), (1000.0, 2000.0));
}

fn router(image: Option<&str>, memory: Option<f64>) -> NodeKind {
    NodeKind::new("iosv", image.map(str::to_owned), memory.map(|_| 1.0), memory)
}

fn run(fleet: &mut Fleet, definition: &str, kind: &NodeKind, times: u32) {
    for number in 0..times {
        let demand = ByResource { memory_mb: Some(400.0), ..ByResource::default() };
        fleet.advance(&SessionEvidence {
            session_id: SessionId::parse(format!("{definition}-{number}")).unwrap(),
            definition_id: DefinitionId::parse(definition).unwrap(),
            ended_at: DateTime::UNIX_EPOCH,
            topology: Topology::new([(kind.clone(), 1)]),
            demand,
            nodes: KindRuns::from_nodes([NodeDemand { kind: kind.clone(), demand }]),
        });
    }
}

#[test]
fn a_topology_without_sizes_has_those_of_its_own_labs_else_of_most_others() {
    let mut fleet = Fleet::default();
    let (small, large) = (router(Some("159"), Some(512.0)), router(Some("159"), Some(2048.0)));
    run(&mut fleet, "others", &small, 9);
    run(&mut fleet, "large", &large, 2);
    let stated = Topology::new([(router(None, None), 3), (NodeKind::new("unheard-of", None, None, None), 1)]);
    let of = |definition: Option<&str>| {
        let id = definition.map(|id| DefinitionId::parse(id).unwrap());
        fleet.resolve(id.as_ref(), &stated)
    };
    let found = of(None);
    assert_eq!(found.assumed, [AssumedKind { stated: router(None, None), taken: small.clone(), count: 3, runs: 9 }]);
    let nominal = |found: &ResolvedTopology| {
        let kinds = found.topology.kinds().filter(|(kind, _)| kind.node_definition == "iosv");
        kinds.map(|(kind, count)| kind.nominal(Resource::MemoryMb).unwrap() * f64::from(count)).sum::<f64>()
    };
    assert_eq!((nominal(&found), nominal(&of(Some("large")))), (1536.0, 6144.0));
    let complete = Topology::new([(large, 1)]);
    assert_eq!(fleet.resolve(None, &complete), ResolvedTopology { topology: complete, assumed: Vec::new() });
}
