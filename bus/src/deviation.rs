//! Deviations of a stream or consumer on the server from the required configuration.
//!
//! Only settings that correctness depends on are compared; capacity is the operator's choice.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::consumer::{self, pull};
use async_nats::jetstream::stream;
use metrics::{Unit, describe_gauge, gauge};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A setting that differs from the required one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deviation {
    /// The stream, e.g. `LABLET_COMMANDS`.
    pub stream: String,
    /// The consumer; null: it is the stream itself.
    pub consumer: Option<String>,
    /// The setting as the server calls it, e.g. `max_deliver`.
    pub field: String,
    /// The required value.
    pub wanted: String,
    /// The value on the server.
    pub found: String,
    /// What an operator can do where Lablet cannot change it; null: Lablet changes it where it has the right.
    pub remedy: Option<String>,
}

impl std::fmt::Display for Deviation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { stream, consumer, field, wanted, found, remedy } = self;
        match consumer {
            Some(consumer) => write!(formatter, "consumer {consumer} of {stream}: ")?,
            None => write!(formatter, "stream {stream}: ")?,
        }
        write!(formatter, "{field} is {found}, and has to be {wanted}")?;
        match remedy {
            Some(remedy) => write!(formatter, "; {remedy}"),
            None => Ok(()),
        }
    }
}

/// Whether the server can change a setting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Possible,
    /// Only by deleting and creating again.
    Never,
}

fn show(value: &dyn Debug) -> String {
    format!("{value:?}")
}

/// What differs between the wanted and the found configuration of a stream. `keeps_everything`: nothing but an
/// acknowledgement may remove a message from it. `replicas`: how many copies there have to be, where somebody decided that.
pub(super) fn of_stream(
    wanted: &stream::Config,
    found: &stream::Config,
    keeps_everything: bool,
    replicas: Option<usize>,
) -> Vec<Deviation> {
    use Change::{Never, Possible};
    let mut settings = vec![
        ("subjects", show(&wanted.subjects), show(&found.subjects), Possible),
        ("retention", show(&wanted.retention), show(&found.retention), Never),
        ("storage", show(&wanted.storage), show(&found.storage), Never),
        ("discard", show(&wanted.discard), show(&found.discard), Possible),
        ("discard_new_per_subject", show(&false), show(&found.discard_new_per_subject), Possible),
        ("duplicate_window", show(&wanted.duplicate_window), show(&found.duplicate_window), Possible),
        ("max_msg_size", show(&wanted.max_message_size), show(&found.max_message_size), Possible),
        (
            "max_msgs_per_subject",
            show(&wanted.max_messages_per_subject),
            limit(found.max_messages_per_subject),
            Possible,
        ),
        ("no_ack", show(&false), show(&found.no_ack), Possible),
        ("sealed", show(&false), show(&found.sealed), Never),
        ("allow_rollup_hdrs", show(&wanted.allow_rollup), show(&found.allow_rollup), Possible),
        ("mirror", show(&false), show(&found.mirror.is_some()), Never),
        ("sources", show(&0), show(&found.sources.as_ref().map_or(0, Vec::len)), Possible),
        ("subject_transform", show(&false), show(&found.subject_transform.is_some()), Possible),
    ];
    if keeps_everything {
        settings.push(("max_age", show(&Duration::ZERO), show(&found.max_age), Possible));
    }
    if let Some(replicas) = replicas {
        settings.push(("num_replicas", show(&replicas), show(&found.num_replicas), Possible));
    }
    let remedy = |field: &str| match field {
        "sealed" | "storage" | "retention" | "mirror" => {
            format!("the server never changes it: `lablet bus replace {}` makes the stream anew", wanted.name)
        }
        _ => String::new(),
    };
    deviations(&wanted.name, None, settings, remedy)
}

/// What differs between the wanted and the found configuration of a consumer.
pub(super) fn of_consumer(stream: &str, wanted: &pull::Config, found: &consumer::Config) -> Vec<Deviation> {
    use Change::{Never, Possible};
    let name = wanted.durable_name.clone().unwrap_or_default();
    let subjects = |one: &str, more: &[String]| {
        let mut subjects: Vec<String> = more.to_vec();
        subjects.extend((!one.is_empty()).then(|| one.to_owned()));
        subjects.sort();
        subjects
    };
    let wanted_subjects = subjects(&wanted.filter_subject, &wanted.filter_subjects);
    let mut found_subjects = subjects(&found.filter_subject, &found.filter_subjects);
    if found_subjects.is_empty() && wanted_subjects == [">"] {
        found_subjects = wanted_subjects.clone();
    }
    let settings = vec![
        ("ack_policy", show(&wanted.ack_policy), show(&found.ack_policy), Never),
        ("deliver_policy", show(&wanted.deliver_policy), show(&found.deliver_policy), Never),
        ("deliver_subject", show(&None::<String>), show(&found.deliver_subject), Never),
        ("replay_policy", show(&wanted.replay_policy), show(&found.replay_policy), Never),
        ("max_deliver", limit(wanted.max_deliver), limit(found.max_deliver), Possible),
        (
            "ack_wait",
            show(&wanted.ack_wait),
            default_or(wanted.ack_wait.is_zero(), &wanted.ack_wait, &found.ack_wait),
            Possible,
        ),
        ("backoff", show(&wanted.backoff), show(&found.backoff), Possible),
        (
            "max_ack_pending",
            show(&wanted.max_ack_pending),
            default_or(wanted.max_ack_pending == 0, &wanted.max_ack_pending, &found.max_ack_pending),
            Possible,
        ),
        ("filter_subject", show(&wanted_subjects), show(&found_subjects), Possible),
        ("headers_only", show(&wanted.headers_only), show(&found.headers_only), Possible),
        ("max_batch", limit(wanted.max_batch), limit(found.max_batch), Possible),
        ("max_bytes", limit(wanted.max_bytes), limit(found.max_bytes), Possible),
        ("max_expires", show(&wanted.max_expires), show(&found.max_expires), Possible),
        ("inactive_threshold", show(&wanted.inactive_threshold), show(&found.inactive_threshold), Possible),
        ("rate_limit_bps", show(&wanted.rate_limit), show(&found.rate_limit), Possible),
    ];
    let remedy = |_: &str| {
        format!(
            "the server never changes it: delete the consumer (`nats consumer rm {stream} {name}`), and Lablet makes it anew"
        )
    };
    deviations(stream, Some(&name), settings, remedy)
}

/// That a stream counts messages that it does not have any more. Commands are nowhere else, so nobody but an operator
/// throws away what may be left of them.
pub(super) fn lost_messages(stream: &str, counted: u64) -> Deviation {
    Deviation {
        stream: stream.to_owned(),
        consumer: None,
        field: "messages".to_owned(),
        wanted: "all that are counted".to_owned(),
        found: format!("lost: the first of {counted} cannot be read"),
        remedy: Some(format!(
            "look at the server's store; `lablet bus replace {stream}` makes the stream anew, without what is left in it"
        )),
    }
}

/// That a consumer is paused, which its configuration does not say on all servers.
pub(super) fn paused(stream: &str, consumer: &str) -> Deviation {
    Deviation {
        stream: stream.to_owned(),
        consumer: Some(consumer.to_owned()),
        field: "pause_until".to_owned(),
        wanted: "none".to_owned(),
        found: "in the future: the consumer is paused".to_owned(),
        remedy: Some(format!("`nats consumer resume {stream} {consumer}` lets it go on")),
    }
}

fn deviations(
    stream: &str,
    consumer: Option<&str>,
    settings: Vec<(&'static str, String, String, Change)>,
    remedy: impl Fn(&str) -> String,
) -> Vec<Deviation> {
    let differing = settings.into_iter().filter(|(_, wanted, found, _)| wanted != found);
    differing
        .map(|(field, wanted, found, change)| Deviation {
            stream: stream.to_owned(),
            consumer: consumer.map(str::to_owned),
            field: field.to_owned(),
            wanted,
            found,
            remedy: (change == Change::Never).then(|| remedy(field)),
        })
        .collect()
}

/// What was found; what was wanted, where that leaves the choice to the server.
fn default_or(servers_choice: bool, wanted: &dyn Debug, found: &dyn Debug) -> String {
    show(if servers_choice { wanted } else { found })
}

/// A limit as it is meant: 0 and less are no limit, as old servers say 0 where new ones say -1.
fn limit(value: i64) -> String {
    if value <= 0 { "-1".to_owned() } else { value.to_string() }
}

/// Interval after which a change that failed is tried and reported again.
const AGAIN_AFTER: Duration = Duration::from_secs(300);

/// Deviations that were reported, so that each is logged once per interval and not at each check.
#[derive(Debug, Clone)]
pub(crate) struct ReportedDeviations(Arc<Mutex<HashMap<Target, LastReport>>>);

/// A stream, or a consumer of one.
type Target = (String, Option<String>);

/// What was reported, and when.
type LastReport = (Vec<Deviation>, Instant);

impl Default for ReportedDeviations {
    fn default() -> Self {
        describe_gauge!(
            "lablet_bus_deviations",
            Unit::Count,
            "Settings of a stream or consumer on the bus that are not as they have to be"
        );
        Self(Arc::default())
    }
}

impl ReportedDeviations {
    /// Whether to try a change: a changeable setting differs, and the last try is long enough ago.
    pub(super) fn is_worth_changing(&self, stream: &str, consumer: Option<&str>, found: &[Deviation]) -> bool {
        let key = (stream.to_owned(), consumer.map(str::to_owned));
        let known_reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = known_reports.get(&key).is_none_or(|(known, at)| known != found || at.elapsed() > AGAIN_AFTER);
        is_news && found.iter().any(|deviation| deviation.remedy.is_none())
    }

    /// Logs the remaining deviations unless they were logged lately.
    pub(super) fn report(&self, stream: &str, consumer: Option<&str>, found: &[Deviation]) {
        let labels = [("stream", stream.to_owned()), ("consumer", consumer.unwrap_or_default().to_owned())];
        gauge!("lablet_bus_deviations", &labels).set(found.len() as f64);
        let key = (stream.to_owned(), consumer.map(str::to_owned));
        let mut known_reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if found.is_empty() {
            known_reports.remove(&key);
            return;
        }
        let is_news = known_reports.get(&key).is_none_or(|(known, at)| known != found || at.elapsed() > AGAIN_AFTER);
        if !is_news {
            return;
        }
        for Deviation { stream, consumer, field, wanted, found, remedy } in found {
            tracing::error!(
                stream,
                consumer,
                field,
                wanted,
                found,
                remedy,
                "NATS deviates from the required configuration"
            );
        }
        known_reports.insert(key, (found.to_vec(), Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::consumer::AckPolicy;

    use super::*;

    fn fields(deviations: &[Deviation]) -> Vec<&str> {
        deviations.iter().map(|deviation| deviation.field.as_str()).collect()
    }

    #[test]
    fn capacity_is_the_operators_and_what_loses_messages_is_not() {
        let wanted = crate::streams::commands(&crate::StreamBounds::default());
        let capacity = stream::Config { max_messages: 7, max_bytes: 1 << 30, num_replicas: 3, ..wanted.clone() };
        assert_eq!(of_stream(&wanted, &capacity, true, None), []);
        assert_eq!(of_stream(&wanted, &capacity, true, Some(3)), []);
        let fewer = of_stream(&wanted, &capacity, true, Some(5));
        assert_eq!(fields(&fewer), ["num_replicas"], "unless somebody decided it");
        let losing = stream::Config {
            max_age: Duration::from_secs(60),
            no_ack: true,
            max_messages_per_subject: 1,
            allow_rollup: true,
            duplicate_window: Duration::ZERO,
            ..wanted.clone()
        };
        let found = of_stream(&wanted, &losing, true, None);
        let expected = ["duplicate_window", "max_msgs_per_subject", "no_ack", "allow_rollup_hdrs", "max_age"];
        assert_eq!(fields(&found), expected);
        assert!(found.iter().all(|deviation| deviation.remedy.is_none()));
        let aged = stream::Config { max_age: Duration::from_secs(60), ..wanted.clone() };
        assert_eq!(of_stream(&wanted, &aged, false, None), [], "events may leave their stream, never the log");
    }

    #[test]
    fn what_the_server_never_changes_says_what_an_operator_can_do() {
        let wanted = pull::Config { durable_name: Some("lablet_commands".to_owned()), ..pull::Config::default() };
        let found = consumer::Config {
            ack_policy: AckPolicy::None,
            max_deliver: 5,
            ack_wait: wanted.ack_wait,
            deliver_policy: wanted.deliver_policy,
            ..consumer::Config::default()
        };
        let known_reports = of_consumer("LABLET_COMMANDS", &wanted, &found);
        assert_eq!(fields(&known_reports), ["ack_policy", "max_deliver"]);
        assert!(known_reports[0].remedy.as_ref().unwrap().contains("nats consumer rm LABLET_COMMANDS lablet_commands"));
        assert_eq!(
            known_reports[1].to_string(),
            "consumer lablet_commands of LABLET_COMMANDS: max_deliver is 5, and has to be -1"
        );
    }
}
