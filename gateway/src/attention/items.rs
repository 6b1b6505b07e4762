//! What needs somebody, from facts: a pure function. Worst first; each has exactly one next step.

mod labs;
mod machinery;

use std::cmp::Reverse;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::WorkerId;
use projections::ReadModel;
use projections::overview::RequestCounts;
use projections::read_models::workers::NewestPressure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::controllers::heard::{KnownContact, Presence};
use crate::operations::Operations;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// Something does not work.
    Bad,
    /// It works, and somebody has to decide, or it will not work for ever.
    Warn,
}

impl Severity {
    pub(crate) const ALL: [Self; 2] = [Self::Bad, Self::Warn];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Warn => "warn",
        }
    }
}

/// What kind of thing needs somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AttentionKind {
    /// The database's schema is older than this build.
    SchemaOlder,
    /// The database's schema is of a newer build.
    SchemaNewer,
    /// There is no connection to the bus.
    BusDisconnected,
    /// Nothing can be published.
    RelayHindered,
    /// No relay runs.
    RelayAbsent,
    /// Events wait to be published.
    RelayLate,
    /// Readers of the log are kept from events.
    VisibilityLag,
    /// No watcher runs.
    WatcherAbsent,
    /// The watcher lacks rights.
    WatcherProblems,
    /// Aggregates of a read model are parked.
    ReadModelParked,
    /// A read model is behind.
    ReadModelLate,
    /// How far a read model is cannot be read.
    ReadModelUnreadable,
    /// A replica is configured, and is not read.
    ReplicaNotRead,
    /// Commands wait for a decision.
    CommandDeadLetters,
    /// Events for webhooks wait for a decision.
    WebhookDeadLetters,
    /// A webhook's target said that it is gone.
    WebhookGone,
    /// A webhook's target does not take an event.
    WebhookFailing,
    /// Events wait for a webhook's target.
    WebhookLate,
    /// A webhook's target is paused.
    WebhookPaused,
    /// The last verification found a difference.
    VerificationDiffers,
    /// The last verification is old.
    VerificationOld,
    /// Nobody verified yet.
    VerificationNever,
    /// No controller runs, and there are workers.
    ControllerMissing,
    /// A controller cannot use the gateway.
    ControllerWithoutGateway,
    /// Workers refuse the sign-in.
    WorkerSignInRefused,
    /// Workers cannot be reached.
    WorkerUnreachable,
    /// Certificates of workers are not trusted.
    WorkerNotTrusted,
    /// A controller has no credentials for workers.
    WorkerNoCredentials,
    /// Nothing was heard of workers.
    WorkerSilent,
    /// Workers are short of something.
    WorkerShort,
    /// Running sessions have drifted ports.
    PortDrift,
    /// Requests for observations failed.
    RequestsFailed,
    /// Requests for observations are open for long.
    RequestsOpen,
    /// Sessions run though their timeslot is over.
    SessionsOverdue,
    /// Definitions are too small.
    DefinitionsTooSmall,
}

impl AttentionKind {
    /// Each of them.
    pub(crate) const ALL: [Self; 35] = [
        Self::SchemaOlder,
        Self::SchemaNewer,
        Self::BusDisconnected,
        Self::RelayHindered,
        Self::RelayAbsent,
        Self::RelayLate,
        Self::VisibilityLag,
        Self::WatcherAbsent,
        Self::WatcherProblems,
        Self::ReadModelParked,
        Self::ReadModelLate,
        Self::ReadModelUnreadable,
        Self::ReplicaNotRead,
        Self::CommandDeadLetters,
        Self::WebhookDeadLetters,
        Self::WebhookGone,
        Self::WebhookFailing,
        Self::WebhookLate,
        Self::WebhookPaused,
        Self::VerificationDiffers,
        Self::VerificationOld,
        Self::VerificationNever,
        Self::ControllerMissing,
        Self::ControllerWithoutGateway,
        Self::WorkerSignInRefused,
        Self::WorkerUnreachable,
        Self::WorkerNotTrusted,
        Self::WorkerNoCredentials,
        Self::WorkerSilent,
        Self::WorkerShort,
        Self::PortDrift,
        Self::RequestsFailed,
        Self::RequestsOpen,
        Self::SessionsOverdue,
        Self::DefinitionsTooSmall,
    ];

    /// In its wire form.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::SchemaOlder => "schema_older",
            Self::SchemaNewer => "schema_newer",
            Self::BusDisconnected => "bus_disconnected",
            Self::RelayHindered => "relay_hindered",
            Self::RelayAbsent => "relay_absent",
            Self::RelayLate => "relay_late",
            Self::VisibilityLag => "visibility_lag",
            Self::WatcherAbsent => "watcher_absent",
            Self::WatcherProblems => "watcher_problems",
            Self::ReadModelParked => "read_model_parked",
            Self::ReadModelLate => "read_model_late",
            Self::ReadModelUnreadable => "read_model_unreadable",
            Self::ReplicaNotRead => "replica_not_read",
            Self::CommandDeadLetters => "command_dead_letters",
            Self::WebhookDeadLetters => "webhook_dead_letters",
            Self::WebhookGone => "webhook_gone",
            Self::WebhookFailing => "webhook_failing",
            Self::WebhookLate => "webhook_late",
            Self::WebhookPaused => "webhook_paused",
            Self::VerificationDiffers => "verification_differs",
            Self::VerificationOld => "verification_old",
            Self::VerificationNever => "verification_never",
            Self::ControllerMissing => "controller_missing",
            Self::ControllerWithoutGateway => "controller_without_gateway",
            Self::WorkerSignInRefused => "worker_sign_in_refused",
            Self::WorkerUnreachable => "worker_unreachable",
            Self::WorkerNotTrusted => "worker_not_trusted",
            Self::WorkerNoCredentials => "worker_no_credentials",
            Self::WorkerSilent => "worker_silent",
            Self::WorkerShort => "worker_short",
            Self::PortDrift => "port_drift",
            Self::RequestsFailed => "requests_failed",
            Self::RequestsOpen => "requests_open",
            Self::SessionsOverdue => "sessions_overdue",
            Self::DefinitionsTooSmall => "definitions_too_small",
        }
    }
}

/// The one thing to do next: a page to open, or a command to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct NextStep {
    /// In words.
    pub(crate) words: String,
    /// The page on which it is done; null where it is a command.
    pub(crate) path: Option<String>,
    /// The command that does it; null where it is a page.
    pub(crate) command: Option<String>,
}

impl NextStep {
    fn page(words: &str, path: impl Into<String>) -> Self {
        Self { words: words.to_owned(), path: Some(path.into()), command: None }
    }

    fn command(words: &str, command: impl Into<String>) -> Self {
        Self { words: words.to_owned(), path: None, command: Some(command.into()) }
    }
}

/// Something that needs somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct AttentionItem {
    /// How bad it is.
    pub(crate) severity: Severity,
    /// What it is.
    pub(crate) kind: AttentionKind,
    /// How many things it is about.
    pub(crate) count: u64,
    /// What is wrong, in a sentence.
    pub(crate) words: String,
    /// Since when; null: unknown.
    pub(crate) since: Option<DateTime<Utc>>,
    /// What to do about it.
    pub(crate) next_step: NextStep,
}

impl AttentionItem {
    fn counting(self, count: u64) -> Self {
        Self { count, ..self }
    }

    fn since(self, since: Option<DateTime<Utc>>) -> Self {
        Self { since, ..self }
    }
}

/// A worker as far as it may need somebody.
#[derive(Debug, Clone)]
pub(crate) struct WorkerFacts {
    pub(crate) id: WorkerId,
    pub(crate) name: String,
    pub(crate) registered_at: DateTime<Utc>,
    pub(crate) pressure: Option<NewestPressure>,
    pub(crate) contact: Option<KnownContact>,
}

/// How many, and since when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CountedSince {
    pub(crate) count: u64,
    /// Whether there may be more.
    pub(crate) or_more: bool,
    pub(crate) since: Option<DateTime<Utc>>,
}

impl CountedSince {
    /// `1 session`, `5 sessions`, `200 or more sessions`.
    fn in_words(self, noun: &str) -> String {
        if self.or_more { format!("{} or more {noun}s", self.count) } else { counted(self.count, noun) }
    }
}

/// A controller that cannot use the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LostController {
    pub(crate) host: String,
    pub(crate) error: String,
}

/// Everything that is judged.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) now: DateTime<Utc>,
    pub(crate) operations: Operations,
    /// Age of the oldest event that a read model does not show; those that show everything are left out.
    pub(crate) read_model_lags: Vec<(ReadModel, Duration)>,
    /// Since when aggregates of a read model are parked.
    pub(crate) parked_since: Vec<(ReadModel, DateTime<Utc>)>,
    /// Age of the oldest event that is not on the bus.
    pub(crate) relay_lag: Duration,
    /// Age of the first event.
    pub(crate) log_age: Duration,
    pub(crate) presence: Presence,
    pub(crate) lost_controllers: Vec<LostController>,
    pub(crate) workers: Vec<WorkerFacts>,
    /// Running sessions whose ports drifted.
    pub(crate) drifted: CountedSince,
    pub(crate) requests: RequestCounts,
    /// Running sessions whose timeslot is over.
    pub(crate) overdue: CountedSince,
    /// Open proposals for definitions that are too small.
    pub(crate) too_small: CountedSince,
}

/// What needs somebody, worst first, then what is most.
pub(crate) fn items(facts: &Facts) -> Vec<AttentionItem> {
    let mut items = machinery::items(facts);
    items.extend(labs::items(facts));
    items.sort_by_key(|item| (item.severity, Reverse(item.count), item.kind));
    items
}

/// `1 command`, `5 commands`.
fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// `is` or `are`.
fn be(count: u64) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

#[cfg(test)]
mod tests;
