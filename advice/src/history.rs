//! All sessions in the order of their ends, whatever the order in which they became known.
//!
//! The score of a session rests on the sessions that ended before it. One that becomes known late, or is excluded, is put in,
//! or taken out, where it belongs: those after it are taken out, newest first, and added again.

use domain::SessionId;

use crate::evidence::SessionEvidence;
use crate::fleet::{Fleet, SessionSteps};

/// Sessions in the order of their ends, and what is kept of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    fleet: Fleet,
    sessions: Vec<(SessionEvidence, SessionSteps)>,
}

impl History {
    /// What is kept of the sessions.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The sessions, each with how the advice that was possible before it did.
    pub fn sessions(&self) -> &[(SessionEvidence, SessionSteps)] {
        &self.sessions
    }

    /// Puts a session where it belongs. A session that is known already is replaced.
    pub fn insert(&mut self, session: SessionEvidence) {
        self.remove(&session.session_id);
        let place = self.sessions.partition_point(|(known, _)| known.order() < session.order());
        let after = self.take_after(place);
        self.push(session);
        after.into_iter().for_each(|session| self.push(session));
    }

    /// Takes a session out, as if it had never been; whether it was there.
    pub fn remove(&mut self, session_id: &SessionId) -> bool {
        let Some(place) = self.sessions.iter().position(|(known, _)| known.session_id == *session_id) else {
            return false;
        };
        let after = self.take_after(place);
        after.into_iter().skip(1).for_each(|session| self.push(session));
        true
    }

    fn push(&mut self, session: SessionEvidence) {
        let steps = self.fleet.advance(&session);
        self.sessions.push((session, steps));
    }

    /// Takes the sessions from this place on out, and gives them in their order.
    fn take_after(&mut self, place: usize) -> Vec<SessionEvidence> {
        let mut taken = Vec::with_capacity(self.sessions.len() - place);
        while self.sessions.len() > place {
            let Some((session, steps)) = self.sessions.pop() else { break };
            self.fleet.retreat(&session, &steps);
            taken.push(session);
        }
        taken.reverse();
        taken
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use domain::DefinitionId;
    use domain::demand::ByResource;
    use proptest::prelude::*;

    use super::*;
    use crate::evidence::{KindRuns, NodeDemand, amount};
    use crate::fleet::Exclusion;
    use crate::fleet_moments::FleetMoments;
    use crate::fleet_rows::{DefinitionSums, MOST_TOPOLOGIES};
    use crate::topology::{NodeKind, Topology};
    use domain::advice_policy::Promise;
    use domain::resource::Resource;

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

    fn history(sessions: &[SessionEvidence]) -> History {
        let mut history = History::default();
        sessions.iter().cloned().for_each(|session| history.insert(session));
        history
    }

    /// What is read of a value that was stored.
    fn stored<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
        serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn the_order_of_arrival_changes_no_bit(sessions in sessions(), order in any::<u64>()) {
            let mut shuffled: Vec<_> = sessions.iter().cloned().enumerate().collect();
            shuffled.sort_by_key(|(number, _)| (*number as u64 + 1).wrapping_mul(order | 1).rotate_left(7));
            let shuffled: Vec<_> = shuffled.into_iter().map(|(_, session)| session).collect();
            prop_assert_eq!(history(&shuffled), history(&sessions));
        }

        #[test]
        fn what_is_excluded_was_never_there(sessions in sessions(), split in 0_usize..16) {
            let (stay, go) = sessions.split_at(split.min(sessions.len()));
            let mut held = history(&sessions);
            for session in go {
                prop_assert!(held.remove(&session.session_id));
                prop_assert!(!held.remove(&session.session_id));
            }
            prop_assert_eq!(held, history(stay));
        }

        #[test]
        fn a_greater_promise_never_needs_less_and_none_exceeds_the_nominal_size(sessions in sessions()) {
            let held = history(&sessions);
            for session in &sessions {
                for resource in Resource::ALL {
                    let nominal = session.topology.nominal(resource);
                    let value = |promise: f64| {
                        let promise = Promise::new(promise).unwrap();
                        let estimate = held.fleet().estimate(&session.definition_id, &session.topology, resource, promise);
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
            let mut ordered = sessions;
            ordered.sort_by(|one, other| one.order().cmp(&other.order()));
            let mut whole = Fleet::default();
            for session in &ordered {
                let mut part = whole.part_for(&session.definition_id, &session.topology);
                for resource in Resource::ALL {
                    let estimate = |fleet: &Fleet| {
                        fleet.estimate(&session.definition_id, &session.topology, resource, Promise::default())
                    };
                    prop_assert_eq!(estimate(&part), estimate(&whole));
                }
                let before = part.clone();
                let steps = whole.advance(session);
                prop_assert_eq!(part.advance(session), steps.clone());
                // What is stored of the steps suffices to take the session out again.
                let mut without = part.clone();
                without.retreat(session, &stored(&steps));
                prop_assert_eq!(without, before);
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
                let before = fleet.clone();
                let steps = stored(&fleet.advance(&session));
                states.push((session, steps, before));
            }
            let own = &fleet.rows().definitions[&definition(0)];
            prop_assert_eq!((own.topologies.len(), own.sessions(Resource::MemoryMb)), (MOST_TOPOLOGIES, demands.len() as u64));
            let stored_rows = serde_json::to_string(&own.sums.memory_mb).unwrap();
            prop_assert_eq!(&serde_json::from_str::<DefinitionSums>(&stored_rows).unwrap(), &own.sums.memory_mb);
            for (session, steps, _) in &states {
                let held = fleet.clone();
                let exclusion = fleet.exclude(session, steps);
                fleet.restore(session, steps, &exclusion);
                prop_assert_eq!(&fleet, &held);
            }
            for (session, steps, before) in states.iter().rev() {
                fleet.retreat(session, steps);
                prop_assert_eq!(&fleet, before);
            }
        }

        #[test]
        fn whatever_ran_is_not_answered_by_silence(sessions in sessions()) {
            let held = history(&sessions);
            for session in &sessions {
                for resource in Resource::ALL {
                    let known = amount(*resource.part(&session.demand)).is_some();
                    let answer = held.fleet().estimate(&session.definition_id, &session.topology, resource, Promise::default());
                    prop_assert!(answer.is_some() || !known);
                }
            }
        }
    }
}
