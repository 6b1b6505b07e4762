//! What has to happen next, from what was observed: pure, so that it can be tested without a clock and without a network.
//!
//! A running session whose timeslot is over is observed first and moved on afterwards. The observation never holds the
//! session's life up: after twice the time that an observation may take, the session moves on without it.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{RequestId, SessionId};
use uuid::Uuid;

/// Name space of the ids that every controller derives alike.
const IDS: Uuid = Uuid::from_u128(0x6b1f_7a52_0d0f_5b0e_9c0a_7f43_51d2_8e11);
/// A command whose effect does not show is sent again after this time: it, or the bus, may have been lost.
const SENT_AGAIN_AFTER: TimeDelta = TimeDelta::seconds(15);
/// What was read longer ago than this is no ground to act on.
const STALE_AFTER: TimeDelta = TimeDelta::seconds(30);

/// How to plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanOptions {
    /// Whether sessions are observed at the end of their timeslot at all.
    pub observe: bool,
    /// Longest time an observation takes.
    pub observation_timeout: Duration,
}

/// What was read of the sessions, and what this controller itself did lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// When the reading began.
    pub read_at: DateTime<Utc>,
    /// The running sessions whose timeslot is over, or will be soon.
    pub running: Vec<RunningSession>,
    /// Commands that this controller sent, by their id, with the times of the first and the last sending.
    pub sent: BTreeMap<Uuid, SendTimes>,
}

/// When a command was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendTimes {
    /// For the first time.
    pub first: DateTime<Utc>,
    /// For the last time.
    pub last: DateTime<Utc>,
}

/// A session that is running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningSession {
    /// The session.
    pub id: SessionId,
    /// When its timeslot ends.
    pub end: DateTime<Utc>,
    /// Whether it has a worker and a lab, without which there is nothing to observe.
    pub has_lab: bool,
    /// The request for the observation at its end, where one shows.
    pub request: Option<RequestState>,
}

/// An observation request as it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestState {
    /// When it was made.
    pub requested_at: DateTime<Utc>,
    /// Whether its outcome is known: recorded, failed or skipped.
    pub answered: bool,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask for an observation of the session.
    RequestObservation {
        /// The session.
        session: SessionId,
        /// The request, the same whoever asks.
        request_id: RequestId,
        /// Id of the command, the same whoever sends it.
        command_id: Uuid,
    },
    /// Move the session on to `collecting`.
    MoveOn {
        /// The session.
        session: SessionId,
        /// Id of the command, the same whoever sends it.
        command_id: Uuid,
    },
    /// Do nothing until then.
    Wait {
        /// Until when.
        until: DateTime<Utc>,
        /// For what.
        reason: WaitReason,
    },
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitReason {
    /// What was read is too old to act on: look again.
    Stale,
    /// A timeslot's end.
    TimeslotEnd(SessionId),
    /// The outcome of an observation.
    Outcome(SessionId),
    /// The effect of a command that was sent.
    Effect(SessionId),
}

/// The request for the observation at the end of a timeslot: the same for every controller.
pub fn request_id(session: &SessionId, end: DateTime<Utc>) -> Option<RequestId> {
    RequestId::parse(derived("observation at the end", &[session.as_str(), &end.to_rfc3339()]).to_string()).ok()
}

/// An id that every controller derives alike from `purpose` and `parts`.
pub fn derived(purpose: &str, parts: &[&str]) -> Uuid {
    // A line break occurs in no part, so different parts never give the same name.
    Uuid::new_v5(&IDS, format!("{purpose}\n{}", parts.join("\n")).as_bytes())
}

/// The trace of everything that the end of a timeslot causes, the same for every controller, as W3C Trace Context writes
/// it.
pub fn traceparent(session: &SessionId, end: DateTime<Utc>) -> String {
    let parts = [session.as_str(), &end.to_rfc3339()];
    let (trace, span) = (derived("trace", &parts), derived("span", &parts));
    format!("00-{}-{}-01", trace.simple(), &span.simple().to_string()[..16])
}

/// The steps to take at `now`: what to do for each session that is due, and at most one wait, the earliest.
pub fn plan(snapshot: &Snapshot, now: DateTime<Utc>, options: &PlanOptions) -> Vec<Step> {
    if now - snapshot.read_at > STALE_AFTER {
        return vec![Step::Wait { until: now, reason: WaitReason::Stale }];
    }
    let mut steps = Vec::new();
    let mut waits = Vec::new();
    for session in &snapshot.running {
        match next(snapshot, session, now, options) {
            Step::Wait { until, reason } => waits.push((until, reason)),
            step => steps.push(step),
        }
    }
    steps.extend(waits.into_iter().min_by_key(|(until, _)| *until).map(|(until, reason)| Step::Wait { until, reason }));
    steps
}

fn next(snapshot: &Snapshot, session: &RunningSession, now: DateTime<Utc>, options: &PlanOptions) -> Step {
    let id = &session.id;
    if now < session.end {
        return Step::Wait { until: session.end, reason: WaitReason::TimeslotEnd(id.clone()) };
    }
    let sending = |command_id: Uuid, step: Step| match snapshot.sent.get(&command_id) {
        Some(sent) if now - sent.last < SENT_AGAIN_AFTER => {
            Step::Wait { until: sent.last + SENT_AGAIN_AFTER, reason: WaitReason::Effect(id.clone()) }
        }
        _ => step,
    };
    let move_on = || {
        let command_id = derived("move on", &[id.as_str(), &session.end.to_rfc3339()]);
        sending(command_id, Step::MoveOn { session: id.clone(), command_id })
    };
    let Some(request_id) = request_id(id, session.end) else { return move_on() };
    if !options.observe || !session.has_lab {
        return move_on();
    }
    let command_id = derived("request observation", &[request_id.as_str()]);
    let requested_at = match (session.request, snapshot.sent.get(&command_id)) {
        (Some(request), _) if request.answered => return move_on(),
        (Some(request), _) => request.requested_at,
        (None, Some(sent)) => sent.first,
        (None, None) => return Step::RequestObservation { session: id.clone(), request_id, command_id },
    };
    let timeout = TimeDelta::from_std(options.observation_timeout * 2).unwrap_or(TimeDelta::MAX);
    let deadline = requested_at.max(session.end).checked_add_signed(timeout).unwrap_or(DateTime::<Utc>::MAX_UTC);
    if now >= deadline {
        return move_on();
    }
    if session.request.is_none() {
        return sending(command_id, Step::RequestObservation { session: id.clone(), request_id, command_id });
    }
    Step::Wait { until: deadline, reason: WaitReason::Outcome(id.clone()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPTIONS: PlanOptions = PlanOptions { observe: true, observation_timeout: Duration::from_secs(30) };

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(1_000_000 + seconds)
    }

    fn session(name: &str, end: i64) -> RunningSession {
        RunningSession { id: SessionId::parse(name).unwrap(), end: at(end), has_lab: true, request: None }
    }

    fn snapshot(now: i64, running: Vec<RunningSession>) -> Snapshot {
        Snapshot { read_at: at(now), running, sent: BTreeMap::new() }
    }

    fn words(steps: &[Step]) -> Vec<String> {
        steps
            .iter()
            .map(|step| match step {
                Step::RequestObservation { session, .. } => format!("observe {session}"),
                Step::MoveOn { session, .. } => format!("move on {session}"),
                Step::Wait { until, reason } => format!("wait until {} for {reason:?}", (*until - at(0)).num_seconds()),
            })
            .collect()
    }

    #[test]
    fn what_is_stale_is_no_ground_to_act() {
        let snapshot = snapshot(0, vec![session("s", -10)]);
        assert_eq!(plan(&snapshot, at(31), &OPTIONS), [Step::Wait { until: at(31), reason: WaitReason::Stale }]);
        assert_eq!(words(&plan(&snapshot, at(30), &OPTIONS)), ["observe s"]);
    }

    #[test]
    fn before_the_end_there_is_only_the_earliest_end_to_wait_for() {
        let snapshot = snapshot(0, vec![session("b", 90), session("a", 60)]);
        assert_eq!(words(&plan(&snapshot, at(0), &OPTIONS)), ["wait until 60 for TimeslotEnd(SessionId(\"a\"))"]);
        assert_eq!(plan(&self::snapshot(0, vec![]), at(0), &OPTIONS), []);
    }

    #[test]
    fn observed_first_then_moved_on() {
        let with = |request| snapshot(10, vec![RunningSession { request, ..session("s", 0) }]);
        let open = RequestState { requested_at: at(5), answered: false };
        assert_eq!(words(&plan(&with(None), at(10), &OPTIONS)), ["observe s"]);
        assert_eq!(words(&plan(&with(Some(open)), at(10), &OPTIONS)), ["wait until 65 for Outcome(SessionId(\"s\"))"]);
        let answered = RequestState { answered: true, ..open };
        assert_eq!(words(&plan(&with(Some(answered)), at(10), &OPTIONS)), ["move on s"]);
    }

    #[test]
    fn an_observation_that_does_not_come_holds_nothing_up() {
        let open = RequestState { requested_at: at(5), answered: false };
        let snapshot = snapshot(65, vec![RunningSession { request: Some(open), ..session("s", 0) }]);
        assert_eq!(words(&plan(&snapshot, at(65), &OPTIONS)), ["move on s"]);
    }

    #[test]
    fn a_request_that_never_shows_holds_nothing_up_either() {
        let request = request_id(&SessionId::parse("s").unwrap(), at(0)).unwrap();
        let command_id = derived("request observation", &[request.as_str()]);
        let with = |now, last| Snapshot {
            sent: BTreeMap::from([(command_id, SendTimes { first: at(1), last: at(last) })]),
            ..snapshot(now, vec![session("s", 0)])
        };
        assert_eq!(words(&plan(&with(10, 1), at(10), &OPTIONS)), ["wait until 16 for Effect(SessionId(\"s\"))"]);
        assert_eq!(words(&plan(&with(16, 1), at(16), &OPTIONS)), ["observe s"], "the bus may have lost it");
        assert_eq!(words(&plan(&with(61, 50), at(61), &OPTIONS)), ["move on s"]);
    }

    #[test]
    fn a_controller_that_was_down_still_observes() {
        assert_eq!(words(&plan(&snapshot(9_000, vec![session("s", 0)]), at(9_000), &OPTIONS)), ["observe s"]);
    }

    #[test]
    fn without_observation_or_without_a_lab_it_moves_on_at_once() {
        let off = PlanOptions { observe: false, ..OPTIONS };
        assert_eq!(words(&plan(&snapshot(0, vec![session("s", 0)]), at(0), &off)), ["move on s"]);
        let no_lab = RunningSession { has_lab: false, ..session("s", 0) };
        assert_eq!(words(&plan(&snapshot(0, vec![no_lab]), at(0), &OPTIONS)), ["move on s"]);
    }

    #[test]
    fn every_controller_derives_the_same_ids_and_another_end_gives_others() {
        let one = plan(&snapshot(0, vec![session("s", 0)]), at(0), &OPTIONS);
        let other = plan(&snapshot(9, vec![session("s", 0)]), at(9), &OPTIONS);
        assert_eq!(one, other);
        assert_ne!(one, plan(&snapshot(9, vec![session("s", 1)]), at(9), &OPTIONS));
        assert_ne!(derived("a", &["b", "c"]), derived("a", &["b"]));
        let session = SessionId::parse("s").unwrap();
        let trace = traceparent(&session, at(0));
        assert_eq!(trace, traceparent(&session, at(0)));
        assert_ne!(trace, traceparent(&session, at(1)));
        let lengths: Vec<usize> = trace.split('-').map(str::len).collect();
        assert_eq!(lengths, [2, 32, 16, 2]);
    }

    /// A world in which every command takes effect.
    fn apply(mut snapshot: Snapshot, steps: &[Step], now: DateTime<Utc>) -> Snapshot {
        for step in steps {
            match step {
                Step::RequestObservation { session, .. } => {
                    for running in snapshot.running.iter_mut().filter(|running| running.id == *session) {
                        running.request = Some(RequestState { requested_at: now, answered: true });
                    }
                }
                Step::MoveOn { session, .. } => snapshot.running.retain(|running| running.id != *session),
                Step::Wait { .. } => {}
            }
        }
        snapshot
    }

    proptest! {
        #[test]
        fn applying_the_plan_until_nothing_is_left_takes_two_looks(
            ends in proptest::collection::vec((-100_i64..100, proptest::bool::ANY, proptest::option::of((-200_i64..0, proptest::bool::ANY))), 0..12),
            observe in proptest::bool::ANY,
        ) {
            let now = at(0);
            let options = PlanOptions { observe, ..OPTIONS };
            let running = ends
                .into_iter()
                .enumerate()
                .map(|(index, (end, has_lab, request))| RunningSession {
                    has_lab,
                    request: request.map(|(requested, answered)| RequestState { requested_at: at(requested), answered }),
                    ..session(&format!("s{index}"), end)
                })
                .collect();
            let first = snapshot(0, running);
            let second = apply(first.clone(), &plan(&first, now, &options), now);
            let third = apply(second.clone(), &plan(&second, now, &options), now);
            let left = plan(&third, now, &options);
            prop_assert!(left.iter().all(|step| matches!(step, Step::Wait { .. })), "{left:?}");
            prop_assert!(left.iter().all(|step| !matches!(step, Step::Wait { until, .. } if *until <= now)), "{left:?}");
            let due = third.running.iter().filter(|running| running.end <= now);
            prop_assert!(due.clone().all(|running| running.request.is_some_and(|request| !request.answered)));
        }

        #[test]
        fn no_plan_names_a_session_twice(ends in proptest::collection::vec(-100_i64..100, 0..12)) {
            let running = ends.into_iter().enumerate().map(|(index, end)| session(&format!("s{index}"), end)).collect();
            let steps = plan(&snapshot(0, running), at(0), &OPTIONS);
            let mut named: Vec<&SessionId> = steps
                .iter()
                .filter_map(|step| match step {
                    Step::RequestObservation { session, .. } | Step::MoveOn { session, .. } => Some(session),
                    Step::Wait { .. } => None,
                })
                .collect();
            let count = named.len();
            named.sort();
            named.dedup();
            prop_assert_eq!(named.len(), count);
        }
    }
}
