//! How this controller gets on with each worker: what answered last, and what failed lately.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bus::clock::Clock;
use chrono::{DateTime, Utc};
use domain::WorkerId;
use domain::controller_report::{ContactFailure, ContactState, LONGEST_WORDS, MOST_FAILURES, WorkerContact};
use tokio::sync::watch;

/// What came of one exchange with a worker, by what it says of the way there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// It answered to somebody who is signed in.
    Answered,
    /// It answered to nobody in particular: that says nothing of the sign-in.
    AnsweredAnybody,
    /// It answered, and not as it should.
    AnsweredWrongly,
    /// The way there fails.
    Failed(ContactState),
}

/// What is known of all workers. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Contacts {
    clock: Clock,
    known: Arc<Mutex<BTreeMap<WorkerId, KnownWorker>>>,
    /// Why the workers cannot be listed.
    gateway_error: Arc<Mutex<Option<String>>>,
    /// Counts the times at which a worker's state changed.
    changes: watch::Sender<u64>,
}

impl Contacts {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, known: Arc::default(), gateway_error: Arc::default(), changes: watch::Sender::new(0) }
    }

    /// What came of an exchange with a worker at this host, and what failed.
    pub(crate) fn exchanged(&self, worker: &WorkerId, host: &str, exchange: Exchange, failure: Option<String>) {
        let now = self.clock.now();
        let mut known = self.known();
        let known_worker = known.entry(worker.clone()).or_insert_with(|| KnownWorker::new(worker, host));
        if known_worker.contact.host != fitting(host) {
            *known_worker = KnownWorker::new(worker, host);
        }
        let before = known_worker.contact.state;
        known_worker.apply(exchange, failure, now);
        let is_other = known_worker.contact.state != before;
        drop(known);
        if is_other {
            self.changes.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Whether the gateway lists the workers, or why not.
    pub(crate) fn heard_of_gateway(&self, failure: Option<String>) {
        let failure = failure.map(|words| fitting(&words));
        let mut known = self.gateway_error.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = known.is_some() != failure.is_some();
        *known = failure;
        drop(known);
        if changes {
            self.changes.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Why the workers cannot be listed; `None`: they can.
    pub(crate) fn gateway_error(&self) -> Option<String> {
        self.gateway_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets every worker that is not among these.
    pub(crate) fn keep_only(&self, workers: &BTreeSet<WorkerId>) {
        self.known().retain(|worker, _| workers.contains(worker));
    }

    /// How it stands with each worker.
    pub(crate) fn all(&self) -> Vec<WorkerContact> {
        self.known().values().map(|known| known.contact.clone()).collect()
    }

    /// Changes whenever a worker's state does.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<WorkerId, KnownWorker>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a worker.
#[derive(Debug)]
struct KnownWorker {
    contact: WorkerContact,
    /// Whether the newest failure is not over.
    fails: bool,
}

impl KnownWorker {
    fn new(worker: &WorkerId, host: &str) -> Self {
        let contact = WorkerContact {
            worker_id: worker.clone(),
            host: fitting(host),
            state: ContactState::Unknown,
            last_answer_at: None,
            last_error: None,
            failures: Vec::new(),
        };
        Self { contact, fails: false }
    }

    /// Takes up what came of an exchange at `now`.
    fn apply(&mut self, exchange: Exchange, words: Option<String>, now: DateTime<Utc>) {
        let contact = &mut self.contact;
        contact.state = match (exchange, contact.state) {
            (Exchange::Failed(state), _) => state,
            // Its version is told to everybody, also to those whose password it refuses.
            (Exchange::AnsweredAnybody | Exchange::AnsweredWrongly, state @ ContactState::SignInRefused) => state,
            (Exchange::Answered | Exchange::AnsweredAnybody | Exchange::AnsweredWrongly, _) => ContactState::Answers,
        };
        if !matches!(exchange, Exchange::Failed(_)) {
            contact.last_answer_at = Some(now);
        }
        match exchange {
            Exchange::Answered | Exchange::AnsweredAnybody => self.fails &= contact.state.is_failure(),
            Exchange::AnsweredWrongly | Exchange::Failed(_) => self.fail(words, now),
        }
    }

    fn fail(&mut self, words: Option<String>, now: DateTime<Utc>) {
        let contact = &mut self.contact;
        let words = fitting(&match words {
            Some(words) if words.contains(&contact.host) => words,
            words => format!("{}: {}", contact.host, words.unwrap_or_default()),
        });
        match contact.failures.first_mut() {
            // Whoever polls fails as often as it polls: what goes on is one failure.
            Some(newest) if self.fails && newest.words == words => {
                newest.at = now;
                newest.times = newest.times.saturating_add(1);
            }
            _ => {
                contact.failures.insert(0, ContactFailure { at: now, since: now, times: 1, words });
                contact.failures.truncate(MOST_FAILURES);
            }
        }
        contact.last_error = contact.failures.first().cloned();
        self.fails = true;
    }
}

fn fitting(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(LONGEST_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const GONE: Exchange = Exchange::Failed(ContactState::Unreachable);

    struct Worker {
        contacts: Contacts,
        clock: Clock,
    }

    impl Worker {
        fn new() -> Self {
            let clock = Clock::manual(DateTime::UNIX_EPOCH);
            Self { contacts: Contacts::new(clock.clone()), clock }
        }

        fn exchanged(&self, exchange: Exchange, failure: Option<&str>) -> WorkerContact {
            self.at("cml.example.org", exchange, failure)
        }

        fn at(&self, host: &str, exchange: Exchange, failure: Option<&str>) -> WorkerContact {
            let id = WorkerId::parse("cml-1").unwrap();
            self.contacts.exchanged(&id, host, exchange, failure.map(str::to_owned));
            let [contact] = self.contacts.all().try_into().unwrap();
            contact
        }
    }

    #[test]
    fn a_worker_that_refuses_the_sign_in_is_not_taken_to_answer_as_it_tells_its_version() {
        let worker = Worker::new();
        let refused =
            || worker.exchanged(Exchange::Failed(ContactState::SignInRefused), Some("CML refused the password"));
        refused();
        let contact = worker.exchanged(Exchange::AnsweredAnybody, None);
        assert_eq!((contact.state, contact.last_answer_at), (ContactState::SignInRefused, Some(DateTime::UNIX_EPOCH)));
        let failure = refused().last_error.unwrap();
        assert_eq!((failure.words.as_str(), failure.times), ("cml.example.org: CML refused the password", 2));
        let contact = worker.exchanged(Exchange::Answered, None);
        assert_eq!(contact.state, ContactState::Answers);
        assert_eq!(contact.last_error, Some(failure), "what is over is still told");
    }

    #[test]
    fn what_fails_over_and_over_is_one_failure_until_something_was_answered() {
        let worker = Worker::new();
        for _ in 0..3 {
            worker.exchanged(GONE, Some("connection refused"));
            worker.clock.advance(TimeDelta::seconds(5));
        }
        worker.exchanged(Exchange::Answered, None);
        let contact = worker.exchanged(GONE, Some("connection refused"));
        assert_eq!(contact.failures.iter().map(|failure| failure.times).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(contact.failures[1].at - contact.failures[1].since, TimeDelta::seconds(10));
        for number in 0..20 {
            worker.exchanged(GONE, Some(&number.to_string()));
        }
        let last = worker.exchanged(GONE, Some("20"));
        assert_eq!((last.failures.len(), last.failures[0].words.as_str()), (MOST_FAILURES, "cml.example.org: 20"));
    }

    #[test]
    fn a_wrong_answer_is_a_failure_of_a_worker_that_answers() {
        let worker = Worker::new();
        let contact = worker.exchanged(Exchange::AnsweredWrongly, Some("CML answered 502"));
        assert_eq!((contact.state, contact.failures.len()), (ContactState::Answers, 1));
        assert_eq!(contact.last_answer_at, Some(DateTime::UNIX_EPOCH));
    }

    #[test]
    fn a_change_of_state_is_told_at_once_and_another_address_is_another_worker() {
        let worker = Worker::new();
        let mut changes = worker.contacts.changes();
        worker.exchanged(Exchange::Answered, None);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        worker.exchanged(Exchange::Answered, None);
        assert!(!changes.has_changed().unwrap());
        let refused = Exchange::Failed(ContactState::NoCredentials);
        let contact = worker.at("other.example.org", refused, Some("nothing is sent to other.example.org"));
        assert_eq!((contact.state, contact.last_answer_at), (ContactState::NoCredentials, None));
        assert_eq!(contact.last_error.unwrap().words, "nothing is sent to other.example.org");
        assert!(changes.has_changed().unwrap());
        worker.contacts.keep_only(&BTreeSet::new());
        assert!(worker.contacts.all().is_empty());
    }
}
