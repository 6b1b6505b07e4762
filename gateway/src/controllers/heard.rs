//! What was heard of controllers, as a value: who told what and when, bounded in controllers, workers and bytes.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use domain::WorkerId;
use domain::controller_report::{ContactFailure, ContactState, ControllerReport, INTERVAL_SECONDS, WorkerContact};
use schemars::JsonSchema;
use serde::Serialize;

/// Most controllers that are remembered, the newest.
const MOST_CONTROLLERS: usize = 100;
/// Most workers that are remembered of all controllers.
const MOST_WORKERS: usize = 1_000;
/// Most bytes of the reports that are remembered.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// A controller that was not heard for so long is missing: three of its reports are.
const MISSING_AFTER: TimeDelta = TimeDelta::seconds(INTERVAL_SECONDS as i64 * 3);
/// One that ended, or was not heard for so long, is forgotten, unless it is the only one.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::hours(1);

/// What was heard.
#[derive(Debug, Default)]
pub(crate) struct HeardReports {
    /// Since when every report is heard; `None`: nothing is listened to yet.
    listening_since: Option<DateTime<Utc>>,
    reports: BTreeMap<String, HeardReport>,
}

#[derive(Debug)]
struct HeardReport {
    report: ControllerReport,
    at: DateTime<Utc>,
    bytes: usize,
}

/// Whether there is a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum Presence {
    /// So many run.
    Running {
        /// How many.
        controllers: usize,
    },
    /// This gateway has only just begun to listen.
    NotHeardYet {
        /// When it did; null: it has not.
        listening_since: Option<DateTime<Utc>>,
    },
    /// None runs.
    Missing {
        /// When the last one was heard; null: none was, since this gateway listens.
        last_seen_at: Option<DateTime<Utc>>,
        /// Since when this gateway listens.
        listening_since: DateTime<Utc>,
    },
    /// This gateway has no connection to the bus: whether one runs is unknown.
    Unknown,
}

impl Presence {
    /// In words, e.g. `No controller has been seen for 3 min`.
    pub(crate) fn words(self, now: DateTime<Utc>) -> String {
        match self {
            Self::Running { controllers: 1 } => "1 controller runs".to_owned(),
            Self::Running { controllers } => format!("{controllers} controllers run"),
            Self::NotHeardYet { .. } => "No controller was heard yet, as this gateway has only just started".to_owned(),
            Self::Missing { .. } => {
                format!("No controller has been seen for {}", duration(self.missing_for(now).unwrap_or_default()))
            }
            Self::Unknown => {
                "Whether a controller runs is unknown: this gateway is not connected to the bus".to_owned()
            }
        }
    }

    /// For how long none has been seen, where none runs.
    pub(crate) fn missing_for(self, now: DateTime<Utc>) -> Option<TimeDelta> {
        self.missing_since().map(|since| now - since)
    }

    /// Since when none has been seen, where none runs.
    pub(crate) fn missing_since(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Missing { last_seen_at, listening_since } => Some(last_seen_at.unwrap_or(listening_since)),
            Self::Running { .. } | Self::NotHeardYet { .. } | Self::Unknown => None,
        }
    }
}

/// What keeps a request for an observation on a worker from being answered, in words that name what to set; `None`:
/// nothing that is known.
pub(crate) fn obstacle(
    presence: Presence,
    contact: Option<&KnownContact>,
    first: Option<&Controller>,
    now: DateTime<Utc>,
) -> Option<String> {
    if presence.missing_since().is_some() {
        let words = presence.words(now);
        // One that had credentials has them still.
        return Some(match first {
            Some(controller) if controller.has_credentials => {
                format!("{words}: start lablet control again on {}", controller.host)
            }
            Some(_) | None => format!("{words}: start lablet control with LABLET_CML_CREDENTIALS set"),
        });
    }
    let without_credentials =
        || first.filter(|first| first.state == ControllerState::Running && !first.has_credentials);
    let Some(contact) = contact.filter(|contact| contact.state.is_failure()) else {
        return without_credentials().map(|controller| {
            format!("The controller on {} has no credentials: set LABLET_CML_CREDENTIALS there", controller.host)
        });
    };
    let error = contact.last_error.as_ref().map_or_else(|| contact.host.clone(), |error| error.words.clone());
    Some(match contact.state {
        ContactState::SignInRefused => {
            format!(
                "The worker refuses the sign-in ({error}): correct LABLET_CML_CREDENTIALS on {}",
                contact.controller_host
            )
        }
        ContactState::NoCredentials => {
            format!("The controller on {} may not sign in ({error})", contact.controller_host)
        }
        ContactState::NotTrusted => {
            format!(
                "The worker's certificate is not trusted ({error}): set LABLET_CML_CA on {}",
                contact.controller_host
            )
        }
        ContactState::Unreachable | ContactState::Unknown | ContactState::Answers => {
            format!("The worker cannot be reached from {} ({error})", contact.controller_host)
        }
    })
}

/// E.g. `3 min`.
pub(crate) fn duration(time: TimeDelta) -> String {
    match time.num_seconds() {
        seconds @ ..60 => format!("{} s", seconds.max(0)),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..86_400 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Whether a controller runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ControllerState {
    /// It was heard lately.
    Running,
    /// It was not heard for 30 seconds, and has not said that it ends.
    Missing,
    /// It said that it ends.
    Ended,
}

/// A controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Controller {
    /// Its id: another one with each start.
    pub(crate) id: String,
    /// The name of its machine.
    pub(crate) host: String,
    /// Its version.
    pub(crate) version: String,
    /// Whether it runs.
    pub(crate) state: ControllerState,
    /// When it started, by its own clock.
    pub(crate) started_at: DateTime<Utc>,
    /// When it was heard last, by the gateway's clock.
    pub(crate) last_seen_at: DateTime<Utc>,
    /// Whether it has user name and password for any worker.
    pub(crate) has_credentials: bool,
    /// Why it cannot learn which workers there are; null: it can.
    pub(crate) gateway_error: Option<String>,
    /// How many workers it was told to read.
    pub(crate) worker_count: usize,
    /// How many of them it cannot read.
    pub(crate) failing_workers: usize,
    /// How it gets on with each.
    pub(crate) workers: Vec<WorkerContact>,
}

/// How a worker is got on with: by the controller that gets on with it worst, as any of them may be given its requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct KnownContact {
    /// Whether it can be read; `unknown` where no controller that runs tells.
    pub(crate) state: ContactState,
    /// Its host.
    pub(crate) host: String,
    /// When it last answered a controller; null: not since the controllers started.
    pub(crate) last_answer_at: Option<DateTime<Utc>>,
    /// The newest failure, over or not; null: none.
    pub(crate) last_error: Option<ContactFailure>,
    /// The newest failures, the newest first.
    pub(crate) failures: Vec<ContactFailure>,
    /// The controller that told this.
    pub(crate) controller_id: String,
    /// Its machine.
    pub(crate) controller_host: String,
    /// When it was heard last.
    pub(crate) told_at: DateTime<Utc>,
}

impl HeardReports {
    /// Nothing was missed from now on.
    pub(crate) fn listens_since(&mut self, now: DateTime<Utc>) {
        self.listening_since = Some(now);
    }

    /// Takes up a report that came now. Whether there is room for it.
    pub(crate) fn hear(&mut self, report: ControllerReport, bytes: usize, now: DateTime<Utc>) -> bool {
        let newest = self.reports.values().map(|heard| heard.at).max().unwrap_or(now);
        let is_old = |heard: &HeardReport| now - heard.at > FORGOTTEN_AFTER && heard.at < newest;
        self.reports.retain(|_, heard| !is_old(heard));
        let others = || self.reports.iter().filter(|(id, _)| **id != report.id).map(|(_, heard)| heard);
        let workers: usize = others().map(|heard| heard.report.workers.len()).sum();
        let kept: usize = others().map(|heard| heard.bytes).sum();
        let has_room = others().count() < MOST_CONTROLLERS
            && workers + report.workers.len() <= MOST_WORKERS.max(report.workers.len())
            && kept + bytes <= MOST_BYTES;
        if has_room {
            self.reports.insert(report.id.clone(), HeardReport { report, at: now, bytes });
        }
        has_room
    }

    /// The controllers, those that run first, then those that were heard last.
    pub(crate) fn controllers(&self, now: DateTime<Utc>) -> Vec<Controller> {
        let mut all: Vec<Controller> = self
            .reports
            .values()
            .map(|heard| {
                let report = heard.report.clone();
                Controller {
                    state: self.state(heard, now),
                    last_seen_at: heard.at,
                    worker_count: report.workers.len(),
                    failing_workers: report.workers.iter().filter(|worker| worker.state.is_failure()).count(),
                    id: report.id,
                    host: report.host,
                    version: report.version,
                    started_at: report.started_at,
                    has_credentials: report.has_credentials,
                    gateway_error: report.gateway_error,
                    workers: report.workers,
                }
            })
            .collect();
        all.sort_by_key(|controller| (controller.state, Reverse(controller.last_seen_at)));
        all
    }

    /// Whether there is a controller.
    pub(crate) fn presence(&self, now: DateTime<Utc>, is_connected: bool) -> Presence {
        if !is_connected {
            return Presence::Unknown;
        }
        let running = self.running(now).count();
        match self.listening_since {
            _ if running > 0 => Presence::Running { controllers: running },
            Some(since) if now - since > MISSING_AFTER => Presence::Missing {
                last_seen_at: self.reports.values().map(|heard| heard.at).max(),
                listening_since: since,
            },
            listening_since => Presence::NotHeardYet { listening_since },
        }
    }

    /// How a worker is got on with.
    pub(crate) fn contact(&self, worker: &WorkerId, now: DateTime<Utc>) -> Option<KnownContact> {
        let of_worker =
            |heard: &HeardReport| heard.report.workers.iter().find(|told| told.worker_id == *worker).cloned();
        let told = |heard: &HeardReport| of_worker(heard).map(|contact| (contact, heard.at));
        let known = |heard: &HeardReport| {
            told(heard).map(|(contact, at)| KnownContact {
                state: contact.state,
                host: contact.host,
                last_answer_at: contact.last_answer_at,
                last_error: contact.last_error,
                failures: contact.failures,
                controller_id: heard.report.id.clone(),
                controller_host: heard.report.host.clone(),
                told_at: at,
            })
        };
        let current = self.running(now).filter_map(known).max_by_key(|contact| contact.state);
        current.or_else(|| {
            let last = self.reports.values().filter_map(known).max_by_key(|contact| contact.told_at)?;
            Some(KnownContact { state: ContactState::Unknown, ..last })
        })
    }

    fn running(&self, now: DateTime<Utc>) -> impl Iterator<Item = &HeardReport> {
        self.reports.values().filter(move |heard| self.state(heard, now) == ControllerState::Running)
    }

    fn state(&self, heard: &HeardReport, now: DateTime<Utc>) -> ControllerState {
        if heard.report.is_ending {
            return ControllerState::Ended;
        }
        // What was told while nobody listened is no silence.
        let silent_since = self.listening_since.map_or(heard.at, |since| since.max(heard.at));
        if now - silent_since > MISSING_AFTER { ControllerState::Missing } else { ControllerState::Running }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn after(seconds: i64) -> DateTime<Utc> {
        START + TimeDelta::seconds(seconds)
    }

    fn worker(id: &str) -> WorkerId {
        WorkerId::parse(id).unwrap()
    }

    fn contact(id: &str, state: ContactState) -> WorkerContact {
        WorkerContact {
            worker_id: worker(id),
            host: "cml.example.org".to_owned(),
            state,
            last_answer_at: None,
            last_error: None,
            failures: Vec::new(),
        }
    }

    fn report(id: &str, workers: Vec<WorkerContact>) -> ControllerReport {
        ControllerReport {
            id: id.to_owned(),
            host: "lab-host".to_owned(),
            version: "0.1.0".to_owned(),
            started_at: START,
            told_at: START,
            is_ending: false,
            has_credentials: true,
            gateway_error: None,
            workers,
        }
    }

    fn listening() -> HeardReports {
        let mut heard = HeardReports::default();
        heard.listens_since(START);
        heard
    }

    #[test]
    fn a_gateway_that_has_only_just_started_does_not_say_that_there_is_none() {
        let heard = listening();
        assert_eq!(HeardReports::default().presence(START, true), Presence::NotHeardYet { listening_since: None });
        assert_eq!(heard.presence(after(30), true), Presence::NotHeardYet { listening_since: Some(START) });
        let missing = heard.presence(after(180), true);
        assert_eq!(missing, Presence::Missing { last_seen_at: None, listening_since: START });
        assert_eq!(missing.words(after(180)), "No controller has been seen for 3 min");
        assert_eq!(heard.presence(after(180), false), Presence::Unknown, "without a bus nothing can be heard");
    }

    #[test]
    fn a_controller_runs_until_it_is_not_heard_for_three_reports_or_says_that_it_ends() {
        let mut heard = listening();
        assert!(heard.hear(report("c1", Vec::new()), 100, after(60)));
        assert_eq!(heard.presence(after(90), true), Presence::Running { controllers: 1 });
        let missing = heard.presence(after(91), true);
        assert_eq!(missing, Presence::Missing { last_seen_at: Some(after(60)), listening_since: START });
        assert_eq!(missing.missing_for(after(120)), Some(TimeDelta::seconds(60)));
        assert_eq!(heard.controllers(after(91))[0].state, ControllerState::Missing);
        heard.hear(ControllerReport { is_ending: true, ..report("c1", Vec::new()) }, 100, after(100));
        assert_eq!(heard.controllers(after(101))[0].state, ControllerState::Ended);
        assert!(matches!(heard.presence(after(101), true), Presence::Missing { .. }));
    }

    #[test]
    fn what_is_not_heard_while_the_bus_is_away_is_no_silence() {
        let mut heard = listening();
        heard.hear(report("c1", Vec::new()), 100, after(60));
        heard.listens_since(after(600));
        assert_eq!(heard.presence(after(610), true), Presence::Running { controllers: 1 });
        assert!(matches!(heard.presence(after(631), true), Presence::Missing { .. }));
    }

    #[test]
    fn a_worker_is_told_by_the_controller_that_gets_on_with_it_worst() {
        let mut heard = listening();
        heard.hear(report("c1", vec![contact("w1", ContactState::Answers)]), 100, after(5));
        heard.hear(report("c2", vec![contact("w1", ContactState::SignInRefused)]), 100, after(4));
        let known = heard.contact(&worker("w1"), after(6)).unwrap();
        assert_eq!((known.state, known.controller_id.as_str()), (ContactState::SignInRefused, "c2"));
        assert_eq!(heard.contact(&worker("w2"), after(6)), None);
        let old = heard.contact(&worker("w1"), after(600)).unwrap();
        assert_eq!((old.state, old.told_at), (ContactState::Unknown, after(5)), "what no controller tells is unknown");
    }

    #[test]
    fn what_keeps_an_observation_from_being_made_is_said_with_what_to_set() {
        let mut heard = listening();
        let obstacle_of = |heard: &HeardReports, now| {
            let (presence, first) = (heard.presence(now, true), heard.controllers(now));
            obstacle(presence, heard.contact(&worker("w1"), now).as_ref(), first.first(), now)
        };
        assert_eq!(obstacle_of(&heard, after(5)), None, "a gateway that has only just started knows nothing");
        assert_eq!(
            obstacle_of(&heard, after(180)).unwrap(),
            "No controller has been seen for 3 min: start lablet control with LABLET_CML_CREDENTIALS set"
        );
        let without = ControllerReport { has_credentials: false, ..report("c1", Vec::new()) };
        heard.hear(without, 100, after(200));
        assert_eq!(
            obstacle_of(&heard, after(201)).unwrap(),
            "The controller on lab-host has no credentials: set LABLET_CML_CREDENTIALS there"
        );
        heard.hear(report("c1", vec![contact("w1", ContactState::Answers)]), 100, after(210));
        assert_eq!(obstacle_of(&heard, after(211)), None);
        heard.hear(report("c1", vec![contact("w1", ContactState::SignInRefused)]), 100, after(220));
        assert_eq!(
            obstacle_of(&heard, after(221)).unwrap(),
            "The worker refuses the sign-in (cml.example.org): correct LABLET_CML_CREDENTIALS on lab-host"
        );
        assert_eq!(
            obstacle_of(&heard, after(400)).unwrap(),
            "No controller has been seen for 3 min: start lablet control again on lab-host"
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut heard = listening();
        for number in 0..MOST_CONTROLLERS + 5 {
            let is_taken = heard.hear(report(&format!("c{number}"), Vec::new()), 100, after(1));
            assert_eq!(is_taken, number < MOST_CONTROLLERS);
        }
        assert!(heard.hear(report("c0", Vec::new()), 100, after(2)), "one that is known is heard again");
        assert!(!heard.hear(report("c0", Vec::new()), MOST_BYTES, after(2)));
        let many = |from: usize| (from..from + 600).map(|n| contact(&format!("w{n}"), ContactState::Answers)).collect();
        assert!(heard.hear(report("c0", many(0)), 100, after(3)));
        assert!(!heard.hear(report("c1", many(600)), 100, after(3)));
        // After a while only who is still heard is remembered.
        let later = after(3) + FORGOTTEN_AFTER + TimeDelta::seconds(1);
        assert!(heard.hear(report("new", Vec::new()), 100, later));
        assert_eq!(heard.reports.len(), 2, "the newest of those that are gone stays until another is newer");
    }
}
