//! All sessions in the order of their ends, whatever the order in which they became known.
//!
//! The score of a session rests on the sessions that ended before it. One that becomes known late, or is excluded, is put in,
//! or taken out, where it belongs: those after it are taken out, newest first, and added again.

use domain::SessionId;
use domain::demand::ByResource;

use crate::evidence::SessionEvidence;
use crate::fleet::{Fleet, SessionStep};

/// Sessions in the order of their ends, and what is kept of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    fleet: Fleet,
    sessions: Vec<(SessionEvidence, ByResource<SessionStep>)>,
}

impl History {
    /// What is kept of the sessions.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The sessions, each with how the advice that was possible before it did.
    pub fn sessions(&self) -> &[(SessionEvidence, ByResource<SessionStep>)] {
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
    use crate::evidence::{NodeDemand, amount};
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
            nodes: kinds.iter().map(|number| NodeDemand { kind: kind(*number), demand: half }).collect(),
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
                let stored = serde_json::to_string(&steps).unwrap();
                let mut without = part.clone();
                without.retreat(session, &serde_json::from_str(&stored).unwrap());
                prop_assert_eq!(without, before);
                prop_assert_eq!(&part, &whole.part_for(&session.definition_id, &session.topology));
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
