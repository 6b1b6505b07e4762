//! What a controller tells of itself and of the workers that it reads, every few seconds.
//!
//! Nobody keeps these messages, and the log has none of them: they say how things stand, not what happened. Whoever hears
//! no more of them knows that, too.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::WorkerId;

/// Largest message, in bytes.
pub const LARGEST: usize = 512 * 1024;
/// Seconds between two reports where nothing changes.
pub const INTERVAL_SECONDS: u32 = 10;
/// Most workers of a report.
pub const MOST_WORKERS: usize = 1_000;
/// Most failures that are told of a worker, the newest.
pub const MOST_FAILURES: usize = 10;
/// Longest text of a failure, and of a name, in characters.
pub const LONGEST_WORDS: usize = 300;

/// What a controller tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ControllerReport {
    /// The controller: another one with each start.
    pub id: String,
    /// The name of its machine.
    pub host: String,
    /// Its version.
    pub version: String,
    /// When it started, by its own clock.
    pub started_at: DateTime<Utc>,
    /// When it told this, by its own clock.
    pub told_at: DateTime<Utc>,
    /// Whether this is the last report, as it ends.
    #[serde(default)]
    pub is_ending: bool,
    /// Whether it has user name and password for any worker.
    pub has_credentials: bool,
    /// Why it cannot learn which workers there are; null: it can.
    #[serde(default)]
    pub gateway_error: Option<String>,
    /// How it gets on with each worker.
    pub workers: Vec<WorkerContact>,
}

/// How a controller gets on with a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerContact {
    /// The worker.
    pub worker_id: WorkerId,
    /// Its host, as its address names it.
    pub host: String,
    /// Whether it can be read.
    pub state: ContactState,
    /// When it last answered; null: not since the controller started.
    pub last_answer_at: Option<DateTime<Utc>>,
    /// The newest failure, over or not; null: none.
    pub last_error: Option<ContactFailure>,
    /// The newest failures, the newest first.
    #[serde(default)]
    pub failures: Vec<ContactFailure>,
}

/// A failure, as often as it happened in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContactFailure {
    /// When it happened last.
    pub at: DateTime<Utc>,
    /// When it happened first, without another one or an answer in between.
    pub since: DateTime<Utc>,
    /// How often.
    pub times: u32,
    /// What happened, with the host. Holds no secret.
    pub words: String,
}

/// Whether a worker can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContactState {
    /// It answers, and takes the sign-in.
    Answers,
    /// Nothing was asked of it yet.
    Unknown,
    /// No answer comes from its address.
    Unreachable,
    /// Its certificate is not trusted.
    NotTrusted,
    /// It refuses user name or password.
    SignInRefused,
    /// The controller has no user name and password that it may send there.
    NoCredentials,
}

impl ContactState {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Unknown => "unknown",
            Self::Unreachable => "unreachable",
            Self::NotTrusted => "not_trusted",
            Self::SignInRefused => "sign_in_refused",
            Self::NoCredentials => "no_credentials",
        }
    }

    /// Whether nothing can be observed on the worker.
    pub fn is_failure(self) -> bool {
        match self {
            Self::Answers | Self::Unknown => false,
            Self::Unreachable | Self::NotTrusted | Self::SignInRefused | Self::NoCredentials => true,
        }
    }
}

impl ControllerReport {
    /// The message, with so many of the failures as fit. `None`: it cannot be written.
    pub fn write(&self, largest: usize) -> Option<Vec<u8>> {
        let largest = largest.min(LARGEST);
        let mut report = self.clone();
        report.workers.truncate(MOST_WORKERS);
        for failures in [MOST_FAILURES, 1, 0] {
            report.workers.iter_mut().for_each(|worker| worker.failures.truncate(failures));
            let message = serde_json::to_vec(&report).ok()?;
            if message.len() <= largest {
                return Some(message);
            }
        }
        None
    }

    /// Reads a message. `None`: it is too large, of another form, or names no controller.
    pub fn read(message: &[u8]) -> Option<Self> {
        if message.len() > LARGEST {
            return None;
        }
        let read: Self = serde_json::from_slice(message).ok()?;
        read.fits().then_some(read)
    }

    fn fits(&self) -> bool {
        let failures = |worker: &WorkerContact| worker.failures.iter().chain(&worker.last_error).all(failure_fits);
        let worker_fits =
            |worker: &WorkerContact| fits(&worker.host) && worker.failures.len() <= MOST_FAILURES && failures(worker);
        !self.id.is_empty()
            && [&self.id, &self.host, &self.version].into_iter().chain(&self.gateway_error).all(|text| fits(text))
            && self.workers.len() <= MOST_WORKERS
            && self.workers.iter().all(worker_fits)
    }
}

fn failure_fits(failure: &ContactFailure) -> bool {
    fits(&failure.words)
}

fn fits(text: &str) -> bool {
    text.chars().count() <= LONGEST_WORDS && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn failure(words: &str) -> ContactFailure {
        ContactFailure { at: DateTime::UNIX_EPOCH, since: DateTime::UNIX_EPOCH, times: 1, words: words.to_owned() }
    }

    fn report(workers: usize, words: &str) -> ControllerReport {
        let contact = |number| WorkerContact {
            worker_id: WorkerId::parse(format!("cml-{number}")).unwrap(),
            host: "cml.example.org".to_owned(),
            state: ContactState::Unreachable,
            last_answer_at: None,
            last_error: Some(failure(words)),
            failures: vec![failure(words); MOST_FAILURES],
        };
        ControllerReport {
            id: "c1".to_owned(),
            host: "lab-host".to_owned(),
            version: "0.1.0".to_owned(),
            started_at: DateTime::UNIX_EPOCH,
            told_at: DateTime::UNIX_EPOCH,
            is_ending: false,
            has_credentials: true,
            gateway_error: None,
            workers: (0..workers).map(contact).collect(),
        }
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let told = report(2, "cml.example.org: no answer within 5.0 s");
        assert_eq!(ControllerReport::read(&told.write(LARGEST).unwrap()), Some(told));
    }

    #[test]
    fn a_report_of_many_workers_leaves_out_failures_until_it_fits() {
        let told = report(MOST_WORKERS + 5, &"x".repeat(LONGEST_WORDS - 100));
        let message = told.write(LARGEST).unwrap();
        assert!(message.len() <= LARGEST);
        let read = ControllerReport::read(&message).unwrap();
        assert_eq!(read.workers.len(), MOST_WORKERS);
        assert!(read.workers.iter().all(|worker| worker.failures.len() <= 1 && worker.last_error.is_some()));
        assert_eq!(told.write(1_000), None, "no failure left out makes it fit");
    }

    #[test]
    fn what_is_no_report_is_not_read() {
        for other in [json!([]), json!({"id": "c1"})] {
            assert_eq!(ControllerReport::read(other.to_string().as_bytes()), None, "{other}");
        }
        let unnamed = ControllerReport { id: String::new(), ..report(1, "x") };
        let forged = report(1, "x\r\nforged line");
        let long = report(1, &"x".repeat(LONGEST_WORDS + 1));
        for told in [unnamed, forged, long] {
            assert_eq!(ControllerReport::read(&serde_json::to_vec(&told).unwrap()), None, "{told:?}");
        }
        assert_eq!(ControllerReport::read(&vec![b' '; LARGEST + 1]), None);
    }

    #[test]
    fn what_keeps_observations_from_being_made_is_told_from_what_does_not() {
        let failing = [
            ContactState::Unreachable,
            ContactState::NotTrusted,
            ContactState::SignInRefused,
            ContactState::NoCredentials,
        ];
        assert!(failing.into_iter().all(ContactState::is_failure));
        assert!(![ContactState::Answers, ContactState::Unknown].into_iter().any(ContactState::is_failure));
    }
}
