//! A worker: a CML controller on which labs run.

mod pressure;

use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::{self, Decide, Decision};
use crate::ids::WorkerId;
use crate::invalid::Invalid;
use crate::number::Whole;
use crate::ports::PortRange;
use crate::text::Line;
use crate::time;
use crate::time::BoundedTime;

pub use self::pressure::{
    KnownShortage, LASTS, LONGEST_LAUNCH, PressureCondition, PressureRead, PressureReport, REPEATED_AFTER,
    RecordedPressure, Shortage, WaitSeconds, WorkerNodeCount, WorkerPressure,
};
use crate::actor::Actor;

/// An `https` URL without credentials, path query or fragment of its own, e.g. `https://cml-1.example.org`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkerAddress(url::Url);

impl WorkerAddress {
    /// Parses an address.
    ///
    /// # Errors
    /// [`Invalid`] (with an empty field) when it is no https URL, or carries a user name or a password, which would be
    /// a secret in an event.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let expected = "an https URL without user name, password, query or fragment, such as https://cml-1.example.org";
        let url = (text.len() <= 512)
            .then(|| url::Url::parse(text).ok())
            .flatten()
            .ok_or_else(|| Invalid::new("", "is no URL", expected))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Invalid::new("", "carries a user name or a password", expected));
        }
        if url.scheme() != "https" || url.host().is_none() || url.query().is_some() || url.fragment().is_some() {
            return Err(Invalid::new("", format!("is {text:?}"), expected));
        }
        Ok(Self(url))
    }

    /// The address as a URL.
    pub fn url(&self) -> &url::Url {
        &self.0
    }
}

impl TryFrom<String> for WorkerAddress {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<WorkerAddress> for String {
    fn from(address: WorkerAddress) -> Self {
        address.0.to_string().trim_end_matches('/').to_owned()
    }
}

impl JsonSchema for WorkerAddress {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "WorkerAddress".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "uri", "pattern": "^https://" })
    }
}

/// What a worker offers as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerCapacity {
    /// Whole cores.
    pub cpu_cores: Whole<u32, 1, 100_000>,
    /// Whole GB of memory.
    pub memory_gb: Whole<u32, 1, 10_000_000>,
    /// Whole GB of storage.
    pub storage_gb: Whole<u32, 1, 100_000_000>,
    /// Most nodes that may run at once.
    pub max_nodes: Whole<u32, 1, 100_000>,
}

/// What a worker is: everything but its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerProfile {
    /// 1 to 128 characters.
    pub name: String,
    /// Where its API is.
    pub address: WorkerAddress,
    /// What it offers.
    pub capacity: WorkerCapacity,
    /// Which outside ports it honours.
    #[serde(default)]
    pub port_range: PortRange,
}

/// A new worker, as it arrives over HTTP or NATS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NewWorker {
    /// Minted when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<WorkerId>,
    /// What people call it.
    pub name: Line<1, 128>,
    /// Where its API is, an https URL.
    pub address: WorkerAddress,
    /// What it offers.
    pub capacity: WorkerCapacity,
    /// Which outside ports it honours; 2000 to 7999 unless stated.
    #[serde(default)]
    pub port_range: PortRange,
}

impl NewWorker {
    fn profile(self) -> WorkerProfile {
        let Self { id: _, name, address, capacity, port_range } = self;
        WorkerProfile { name: name.into(), address, capacity, port_range }
    }
}

/// A change of a worker. What is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerChange {
    /// New name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Line<1, 128>>,
    /// New address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<WorkerAddress>,
    /// New capacity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<WorkerCapacity>,
    /// New port range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_range: Option<PortRange>,
}

/// A command to a worker.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkerCommand {
    /// Begin to exist.
    Register {
        /// The worker's own id.
        id: WorkerId,
        /// What it is; `new.id` is not looked at.
        new: NewWorker,
        /// The time.
        now: DateTime<Utc>,
    },
    /// Be different from now on.
    Change {
        /// What changes.
        change: WorkerChange,
        /// The time.
        now: DateTime<Utc>,
    },
    /// Know how much is free, and what is short.
    RecordPressure {
        /// What was read of it.
        report: PressureReport,
        /// Who reports, where the report does not name who read it.
        reported_by: Actor,
        /// The time.
        now: DateTime<Utc>,
    },
}

/// What happened to a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum WorkerEvent {
    /// It began to exist.
    #[serde(rename = "worker.registered.v1")]
    Registered {
        /// The worker.
        worker_id: WorkerId,
        /// What it is.
        #[serde(flatten)]
        profile: WorkerProfile,
        /// When.
        registered_at: DateTime<Utc>,
    },
    /// It is different from now on.
    #[serde(rename = "worker.changed.v1")]
    Changed {
        /// The worker.
        worker_id: WorkerId,
        /// What it was.
        before: WorkerProfile,
        /// What it is.
        after: WorkerProfile,
        /// When.
        changed_at: DateTime<Utc>,
    },
    /// How much of it is free, or what it is short of, is not what was recorded before, or was recorded long ago.
    #[serde(rename = "worker.pressure_observed.v1")]
    PressureObserved {
        /// The worker.
        worker_id: WorkerId,
        /// What was read.
        pressure: WorkerPressure,
        /// Who read it.
        observer: Actor,
        /// When it was read.
        observed_at: DateTime<Utc>,
    },
}

impl DomainEvent for WorkerEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Registered { .. } => "worker.registered",
            Self::Changed { .. } => "worker.changed",
            Self::PressureObserved { .. } => "worker.pressure_observed",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        match self {
            Self::Registered { .. } | Self::Changed { .. } | Self::PressureObserved { .. } => "1",
        }
        .to_owned()
    }
}

/// Why a worker refused a command.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WorkerError {
    /// There is no such worker.
    #[error("the worker does not exist")]
    Absent,
    /// Another worker has this id.
    #[error("a worker with the id {id} exists already with another profile")]
    Exists {
        /// The id.
        id: WorkerId,
    },
    /// The input is not valid.
    #[error("{0}")]
    Invalid(Invalid),
}

/// State of a worker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum Worker {
    /// It does not exist.
    #[default]
    Absent,
    /// It exists.
    Present {
        /// Its id.
        id: WorkerId,
        /// What it is now.
        profile: WorkerProfile,
        /// The number of its events.
        sequence: i64,
        /// The sequence of the event by which it was last registered or changed. Its pressure does not count: whoever
        /// changes a worker does not rest on it.
        version: i64,
        /// The newest pressure that was recorded.
        pressure: Option<Box<RecordedPressure>>,
    },
}

impl Decide for Worker {
    const SNAPSHOT_SHAPE: i32 = 2;

    fn weight(&self) -> usize {
        size_of::<Self>() + size_of::<RecordedPressure>() + 512
    }

    fn version(&self, _sequence: i64) -> i64 {
        match self {
            Self::Absent => 0,
            Self::Present { version, .. } => *version,
        }
    }

    fn decide(&self, command: WorkerCommand) -> Result<Decision<WorkerEvent>, WorkerError> {
        match (self, command) {
            (Self::Absent, WorkerCommand::Register { id, new, now }) => {
                let profile = new.profile();
                Ok(Decision::one(WorkerEvent::Registered { worker_id: id, profile, registered_at: now }))
            }
            (Self::Present { profile, .. }, WorkerCommand::Register { id, new, .. }) => {
                if *profile == new.profile() {
                    Ok(Decision::AlreadyDone)
                } else {
                    Err(WorkerError::Exists { id })
                }
            }
            (Self::Absent, WorkerCommand::Change { .. } | WorkerCommand::RecordPressure { .. }) => {
                Err(WorkerError::Absent)
            }
            (
                Self::Present { id, profile, pressure, .. },
                WorkerCommand::RecordPressure { report, reported_by, now },
            ) => {
                let PressureReport { observed_at, observer, pressure: reported } = report;
                let observed_at = observed_at.map_or(now, BoundedTime::at);
                time::check_seen(observed_at, now)
                    .map_err(|invalid| WorkerError::Invalid(Invalid { field: "observed_at".to_owned(), ..invalid }))?;
                let newer = RecordedPressure { observed_at, pressure: reported };
                if pressure.as_ref().is_some_and(|newest| !newest.is_outdated_by(&newer, &profile.capacity)) {
                    return Ok(Decision::AlreadyDone);
                }
                Ok(Decision::one(WorkerEvent::PressureObserved {
                    worker_id: id.clone(),
                    pressure: reported,
                    observer: observer.unwrap_or(reported_by),
                    observed_at,
                }))
            }
            (Self::Present { id, profile, .. }, WorkerCommand::Change { change, now }) => {
                let after = WorkerProfile {
                    name: change.name.map_or_else(|| profile.name.clone(), String::from),
                    address: change.address.unwrap_or_else(|| profile.address.clone()),
                    capacity: change.capacity.unwrap_or(profile.capacity),
                    port_range: change.port_range.unwrap_or(profile.port_range),
                };
                if after == *profile {
                    return Ok(Decision::AlreadyDone);
                }
                Ok(Decision::one(WorkerEvent::Changed {
                    worker_id: id.clone(),
                    before: profile.clone(),
                    after,
                    changed_at: now,
                }))
            }
        }
    }
}

impl Aggregate for Worker {
    const TYPE: &'static str = "worker";
    type Command = WorkerCommand;
    type Event = WorkerEvent;
    type Error = WorkerError;
    type Services = ();

    async fn handle(&mut self, command: Self::Command, (): &(), sink: &EventSink<Self>) -> Result<(), Self::Error> {
        decision::handle(self, command, sink).await
    }

    fn apply(&mut self, event: WorkerEvent) {
        let (last, newest) = match self {
            Self::Absent => (0, None),
            Self::Present { sequence, pressure, .. } => (*sequence, pressure.take()),
        };
        let next = last + 1;
        match event {
            WorkerEvent::Registered { worker_id: id, profile, .. }
            | WorkerEvent::Changed { worker_id: id, after: profile, .. } => {
                *self = Self::Present { id, profile, sequence: next, version: next, pressure: newest };
            }
            WorkerEvent::PressureObserved { pressure: observed, observed_at, .. } => {
                // Nobody but a worker that exists records its pressure.
                if let Self::Present { sequence, pressure, .. } = self {
                    *sequence = next;
                    *pressure = Some(Box::new(RecordedPressure { observed_at, pressure: observed }));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use cqrs_es::test::TestFramework;
    use serde_json::json;

    use super::*;

    type Given = TestFramework<Worker>;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_772_000_000, 0).unwrap()
    }

    fn id() -> WorkerId {
        WorkerId::parse("cml-1").unwrap()
    }

    fn new() -> NewWorker {
        serde_json::from_value(json!({
            "name": "CML 1", "address": "https://cml-1.example.org",
            "capacity": {"cpu_cores": 64, "memory_gb": 512, "storage_gb": 2000, "max_nodes": 300}
        }))
        .unwrap()
    }

    fn registered() -> WorkerEvent {
        WorkerEvent::Registered { worker_id: id(), profile: new().profile(), registered_at: now() }
    }

    #[test]
    fn a_worker_is_registered_once() {
        let register = WorkerCommand::Register { id: id(), new: new(), now: now() };
        Given::with(()).given_no_previous_events().when(register.clone()).then_expect_events(vec![registered()]);
        Given::with(()).given(vec![registered()]).when(register).then_expect_events(vec![]);
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let mut after = new().profile();
        after.capacity.max_nodes = Whole::new(200).unwrap();
        let change = WorkerChange { capacity: Some(after.capacity), ..WorkerChange::default() };
        Given::with(())
            .given(vec![registered()])
            .when(WorkerCommand::Change { change: change.clone(), now: now() })
            .then_expect_events(vec![WorkerEvent::Changed {
                worker_id: id(),
                before: new().profile(),
                after,
                changed_at: now(),
            }]);
        Given::with(())
            .given_no_previous_events()
            .when(WorkerCommand::Change { change, now: now() })
            .then_expect_error(WorkerError::Absent);
    }

    fn observed(short_of_cpu: bool, at: DateTime<Utc>) -> WorkerEvent {
        let pressure = WorkerPressure { short_of_cpu: Some(short_of_cpu), ..WorkerPressure::default() };
        WorkerEvent::PressureObserved {
            worker_id: id(),
            pressure,
            observer: "controller".parse().unwrap(),
            observed_at: at,
        }
    }

    fn record(short_of_cpu: bool, at: DateTime<Utc>) -> WorkerCommand {
        let report = serde_json::from_value(json!({"observed_at": at, "pressure": {"short_of_cpu": short_of_cpu}}));
        WorkerCommand::RecordPressure {
            report: report.unwrap(),
            reported_by: "controller".parse().unwrap(),
            now: now(),
        }
    }

    #[test]
    fn a_pressure_is_recorded_once_until_it_is_news() {
        let before = now() - TimeDelta::minutes(20);
        Given::with(())
            .given(vec![registered()])
            .when(record(true, before))
            .then_expect_events(vec![observed(true, before)]);
        let given = || Given::with(()).given(vec![registered(), observed(true, before)]);
        given().when(record(true, now())).then_expect_events(vec![]);
        given().when(record(false, now())).then_expect_events(vec![observed(false, now())]);
        given().when(record(false, before)).then_expect_events(vec![]);
        given().when(record(false, before - TimeDelta::hours(2))).then_expect_events(vec![]);
        Given::with(()).given_no_previous_events().when(record(true, now())).then_expect_error(WorkerError::Absent);
    }

    #[test]
    fn a_pressure_of_the_future_is_refused_by_its_field() {
        let registered = Worker::default().decide(WorkerCommand::Register { id: id(), new: new(), now: now() });
        let mut worker = Worker::default();
        let Decision::Record(events) = registered.unwrap() else { panic!("nothing happened") };
        events.into_iter().for_each(|event| worker.apply(event));
        match worker.decide(record(true, now() + TimeDelta::minutes(6))) {
            Err(WorkerError::Invalid(invalid)) => assert_eq!(invalid.field, "observed_at"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pressure_does_not_outdate_what_a_change_rests_on() {
        let mut worker = Worker::default();
        worker.apply(registered());
        worker.apply(observed(true, now()));
        assert_eq!(worker.version(2), 1);
        let changed = WorkerEvent::Changed {
            worker_id: id(),
            before: new().profile(),
            after: new().profile(),
            changed_at: now(),
        };
        worker.apply(changed);
        assert_eq!(worker.version(3), 3);
        let Worker::Present { pressure, .. } = worker else { panic!("it is there") };
        assert_eq!(pressure.unwrap().observed_at, now(), "and a change does not forget the pressure");
    }

    #[test]
    fn an_address_is_https_and_holds_no_secret() {
        assert!(WorkerAddress::parse("https://cml.example.org:8443").is_ok());
        for bad in [
            "http://cml.example.org",
            "https://",
            "cml",
            "https://u:p@cml.example.org",
            "https://u@cml",
            "https://c?x=1",
        ] {
            let refused = WorkerAddress::parse(bad).unwrap_err();
            assert!(!refused.to_string().contains("u:p"), "{refused}");
        }
    }

    #[test]
    fn ports_are_pattys_unless_stated_and_never_backwards() {
        assert_eq!((new().port_range.first().get(), new().port_range.last().get()), (2000, 7999));
        assert!(serde_json::from_value::<PortRange>(json!({"first": 3000, "last": 2999})).is_err());
    }
}
