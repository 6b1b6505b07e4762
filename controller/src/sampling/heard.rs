//! What other controllers told of samples lately: whoever takes a session over goes on from what was stored and from this.
//!
//! Bounded in bytes, over all sessions. Where that is not enough the oldest go first: a session that is taken over then has
//! a gap from its stored summary to the first sample that is left, and says so.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use domain::SessionId;
use domain::live_sample::{NodeSample, Outcome};
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use tokio::time::Instant;

use super::live::LiveSample;

/// For how long they are kept: longer than two writes of a summary are apart.
const KEPT_FOR: Duration = Duration::from_secs(180);
/// Most memory that those of one session take, and those of all.
const MOST_BYTES_OF_SESSION: usize = 4 * 1024 * 1024;
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// Live samples of other controllers, in the order in which they came.
#[derive(Debug)]
pub(super) struct HeardSamples {
    messages: BTreeMap<u64, Heard>,
    of_session: BTreeMap<SessionId, OfSession>,
    next: u64,
    bytes: usize,
    most_bytes: usize,
    most_bytes_of_session: usize,
}

#[derive(Debug)]
struct Heard {
    at: Instant,
    bytes: usize,
    message: LiveSample,
}

/// The messages of a session, by their number.
#[derive(Debug, Default)]
struct OfSession {
    numbers: VecDeque<u64>,
    bytes: usize,
}

/// About how much memory a message takes.
fn bytes(message: &LiveSample) -> usize {
    // A map's nodes are two thirds full.
    let of_node = |id: &String| (id.len() + size_of::<(String, NodeSample)>()) * 3 / 2;
    let nodes = match &message.outcome {
        Outcome::Sampled { sample, .. } => sample.nodes.keys().map(of_node).sum(),
        Outcome::Missed { .. } | Outcome::Pending | Outcome::Released => 0,
    };
    size_of::<Heard>() + 2 * message.session_id.as_str().len() + nodes
}

impl HeardSamples {
    pub(super) fn new() -> Self {
        describe_gauge!(
            "lablet_heard_samples_bytes",
            Unit::Bytes,
            "Samples of other controllers that are kept for a takeover"
        );
        describe_counter!(
            "lablet_heard_samples_dropped_total",
            Unit::Count,
            "Samples of other controllers that were dropped before their time, as there were too many"
        );
        Self::with_bounds(MOST_BYTES, MOST_BYTES_OF_SESSION)
    }

    fn with_bounds(most_bytes: usize, most_bytes_of_session: usize) -> Self {
        let (messages, of_session) = (BTreeMap::new(), BTreeMap::new());
        Self { messages, of_session, next: 0, bytes: 0, most_bytes, most_bytes_of_session }
    }

    /// Keeps a message about a session that another controller samples.
    pub(super) fn keep(&mut self, message: LiveSample, now: Instant) {
        let (session, bytes, number) = (message.session_id.clone(), bytes(&message), self.next);
        self.next += 1;
        self.bytes += bytes;
        self.messages.insert(number, Heard { at: now, bytes, message });
        let of_session = self.of_session.entry(session.clone()).or_default();
        of_session.numbers.push_back(number);
        of_session.bytes += bytes;
        while let Some(of_session) = self.of_session.get(&session)
            && of_session.bytes > self.most_bytes_of_session
            && let Some(oldest) = of_session.numbers.front()
        {
            self.drop_before_time(*oldest);
        }
        while self.bytes > self.most_bytes
            && let Some((oldest, _)) = self.messages.first_key_value()
        {
            self.drop_before_time(*oldest);
        }
        while let Some((oldest, heard)) = self.messages.first_key_value()
            && now.duration_since(heard.at) > KEPT_FOR
        {
            self.remove(*oldest);
        }
        gauge!("lablet_heard_samples_bytes").set(self.bytes as f64);
    }

    fn drop_before_time(&mut self, number: u64) {
        counter!("lablet_heard_samples_dropped_total").increment(1);
        self.remove(number);
    }

    /// Removes the oldest message of its session.
    fn remove(&mut self, number: u64) {
        let Some(heard) = self.messages.remove(&number) else { return };
        self.bytes -= heard.bytes;
        let session = &heard.message.session_id;
        let Some(of_session) = self.of_session.get_mut(session) else { return };
        of_session.numbers.pop_front();
        of_session.bytes -= heard.bytes;
        if of_session.numbers.is_empty() {
            self.of_session.remove(session);
        }
    }

    /// What was heard of a session, in order.
    pub(super) fn about(&self, session: &SessionId) -> impl Iterator<Item = &LiveSample> {
        let numbers = self.of_session.get(session).into_iter().flat_map(|of_session| &of_session.numbers);
        numbers.filter_map(|number| Some(&self.messages.get(number)?.message))
    }

    /// Forgets what was heard of a session.
    pub(super) fn forget(&mut self, session: &SessionId) {
        let Some(of_session) = self.of_session.remove(session) else { return };
        self.bytes -= of_session.bytes;
        for number in of_session.numbers {
            self.messages.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};
    use domain::live_sample::{LabSample, Sample};
    use domain::observation::{GapReason, Phase};
    use uuid::Uuid;

    use super::super::session::catch_up;
    use super::*;
    use crate::profile::Summary;

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_772_000_000, 0).unwrap()
    }

    fn id(name: &str) -> SessionId {
        SessionId::parse(name).unwrap()
    }

    /// A sample of one node that has run for long.
    fn sampled(session: &str, seconds: i64) -> LiveSample {
        let started_for = u64::try_from(500 + seconds).ok();
        let node = NodeSample { started_for, booted_for: started_for, cpu_cores: Some(0.5), ..NodeSample::default() };
        let at = start() + TimeDelta::seconds(seconds);
        let sample = Sample { at, nodes: [("n0".to_owned(), node)].into(), unknown_nodes: 0, unreadable: None };
        let outcome = Outcome::Sampled { lab: LabSample::new(Phase::Steady, 30, &sample), sample };
        LiveSample { session_id: id(session), controller: Uuid::from_u128(1), term: 1, outcome }
    }

    fn times(heard: &HeardSamples, session: &str) -> Vec<i64> {
        let at = |message: &LiveSample| match &message.outcome {
            Outcome::Sampled { sample, .. } => (sample.at - start()).num_seconds(),
            other => panic!("{other:?}"),
        };
        heard.about(&id(session)).map(at).collect()
    }

    #[test]
    fn the_oldest_of_all_sessions_go_first_and_no_session_has_more_than_its_share() {
        let one = bytes(&sampled("s-1", 0));
        let mut heard = HeardSamples::with_bounds(6 * one, 4 * one);
        let now = Instant::now();
        for seconds in [0, 30, 60, 90, 120] {
            heard.keep(sampled("s-1", seconds), now);
        }
        assert_eq!(times(&heard, "s-1"), [30, 60, 90, 120]);
        for seconds in [0, 30, 60] {
            heard.keep(sampled("s-2", seconds), now);
        }
        assert_eq!((times(&heard, "s-1"), times(&heard, "s-2")), (vec![60, 90, 120], vec![0, 30, 60]));
        assert_eq!(heard.bytes, 6 * one);
        heard.forget(&id("s-1"));
        assert_eq!((times(&heard, "s-1"), heard.bytes), (vec![], 3 * one));
        heard.keep(sampled("s-3", 0), now + KEPT_FOR + Duration::from_secs(1));
        assert_eq!((times(&heard, "s-2"), times(&heard, "s-3"), heard.bytes), (vec![], vec![0], one));
    }

    #[test]
    fn what_was_dropped_is_a_gap_from_what_was_stored_to_what_is_left() {
        let interval = Duration::from_secs(30);
        let mut stored = Summary::new(start(), interval, interval);
        let mut heard = HeardSamples::with_bounds(2 * bytes(&sampled("s-1", 0)), usize::MAX);
        for seconds in [30, 60, 90, 120, 150, 180] {
            let message = sampled("s-1", seconds);
            if seconds <= 60 {
                catch_up(&mut stored, [&message]);
            }
            heard.keep(message, Instant::now());
        }
        catch_up(&mut stored, heard.about(&id("s-1")));
        let profile = stored.profile(start() + TimeDelta::seconds(190)).unwrap().unwrap();
        assert_eq!((profile.samples().unwrap().get(), profile.missed_samples().unwrap().get()), (4, 2));
        let gap = &profile.gaps()[0];
        let seconds = [gap.from(), gap.to()].map(|time| (time.at() - start()).num_seconds());
        assert_eq!((seconds, gap.reason()), ([60, 150], GapReason::ControllerAway));
    }
}
