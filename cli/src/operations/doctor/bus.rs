//! The bus, and who consumes from it.

use std::time::Duration;

use anyhow::Context as _;
use bus::clock::Clock;
use bus::{Bus, ConsumerState, streams};
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::check::Check;
use super::room::fullness;
use super::{TIMEOUT, clock, within};
use crate::configuration::BusArguments;
use crate::operations::streams::deviations;
use crate::roles;

/// More messages than this wait for nobody by accident.
const TOLERATED_PENDING: u64 = 1_000;
/// A consumer that fetches may be between two requests: it is looked at so often.
const LOOKS: u32 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_millis(150);

/// What was found, and the consumers of both streams, where they are known.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub(super) checks: Vec<Check>,
    consumers: Option<Vec<(&'static str, ConsumerState)>>,
}

pub(super) async fn look(arguments: &BusArguments) -> Looked {
    let bus = match connect(arguments).await {
        Ok(bus) => bus,
        Err(error) => {
            let mend = "start NATS, or set LABLET_NATS_URL and what signs in to it";
            return Looked { checks: vec![Check::error("bus", format!("{error:#}"), mend)], consumers: None };
        }
    };
    let mut consumers = None;
    let (server, as_wanted, room, consuming) = tokio::join!(
        within("bus", server(&bus)),
        within("bus settings", settings(&bus)),
        within("bus store", store(&bus)),
        within("consumers", async {
            let found = consumers_of(&bus).await?;
            let checks = found.iter().filter_map(|(stream, consumer)| judge(stream, consumer)).collect::<Vec<_>>();
            let others = found.iter().filter(|(_, consumer)| !is_own(&consumer.name)).count();
            let count = found.len();
            consumers = Some(found);
            Ok(if checks.is_empty() {
                vec![Check::ok("consumers", format!("{count}, {others} of them of others; none has stopped"))]
            } else {
                checks
            })
        }),
    );
    let checks = [server, as_wanted, room, consuming].into_iter().flatten().collect();
    Looked { checks, consumers }
}

async fn connect(arguments: &BusArguments) -> anyhow::Result<Bus> {
    let bus = roles::connect_bus(arguments, "lablet-doctor").await?;
    bus.connected(TIMEOUT / 2).await?;
    Ok(bus)
}

/// What is read of a stream beside what the library reads.
#[derive(Deserialize)]
struct ServerTime {
    ts: Option<DateTime<Utc>>,
}

/// What is read of an account.
#[derive(Deserialize)]
struct AccountState {
    /// Bytes in files.
    storage: u64,
    limits: AccountLimits,
}

#[derive(Deserialize)]
struct AccountLimits {
    /// Bytes in files; less than 0: none.
    max_storage: i64,
}

async fn server(bus: &Bus) -> anyhow::Result<Vec<Check>> {
    let stream = bus.jetstream().get_stream(streams::EVENTS).await;
    let version = bus.client().server_info().version;
    let stream = match stream {
        Ok(stream) => stream,
        Err(error) => {
            let found = format!("NATS {version}; {} cannot be read: {error}", streams::EVENTS);
            return Ok(vec![Check::error(
                "bus",
                found,
                "lablet migrate, with LABLET_NATS_URL of a user who may create streams",
            )]);
        }
    };
    let state = &stream.cached_info().state;
    let found = format!("NATS {version}, {} messages in {}", state.messages, streams::EVENTS);
    let mut checks = vec![Check::ok("bus", found)];
    let before = Clock::system().now();
    let answer: ServerTime = bus.jetstream().request(format!("STREAM.INFO.{}", streams::EVENTS), &()).await?;
    let middle = before + (Clock::system().now() - before) / 2;
    // Servers before 2.10 do not tell their time.
    checks.extend(answer.ts.map(|now| clock("clock", "NATS' clock", now - middle)));
    Ok(checks)
}

async fn settings(bus: &Bus) -> anyhow::Result<Vec<Check>> {
    let deviations = deviations(bus).await?;
    let mut checks: Vec<Check> = deviations
        .iter()
        .map(|deviation| {
            let mend =
                deviation.remedy.clone().unwrap_or_else(|| "lablet migrate, with the rights to change it".to_owned());
            let without_remedy = ::bus::Deviation { remedy: None, ..deviation.clone() };
            Check::error("bus settings", without_remedy.to_string(), mend)
        })
        .collect();
    if checks.is_empty() {
        checks.push(Check::ok("bus settings", "streams and consumers are as they have to be"));
    }
    Ok(checks)
}

/// How full the store of the account and its streams are.
async fn store(bus: &Bus) -> anyhow::Result<Vec<Check>> {
    const MEND: &str = "raise the limit (nats stream edit, or the account's), or remove what is not needed";
    // The library's own type does not know what servers before 2.10 answer.
    let account: AccountState =
        bus.jetstream().request("INFO", &()).await.context("the account cannot be looked at")?;
    let mut checks = Vec::new();
    if let Ok(limit) = u64::try_from(account.limits.max_storage) {
        checks.push(fullness("bus store", "the account's files", account.storage, limit, MEND));
    }
    let stream =
        bus.jetstream().get_stream(streams::COMMANDS).await.context("the stream of commands cannot be read")?;
    let info = stream.cached_info();
    // A full stream of commands refuses them; the stream of events drops its oldest, which the log still has.
    if let (Ok(most), messages) = (u64::try_from(info.config.max_messages), info.state.messages)
        && most > 0
        && messages * 10 >= most * 9
    {
        let found = format!("{messages} commands of {most} wait in {}", streams::COMMANDS);
        checks.push(Check::error("bus store", found, "lablet serve: commands wait until it handles them"));
    }
    if checks.is_empty() {
        let used = indicatif::BinaryBytes(account.storage);
        checks.push(Check::ok(
            "bus store",
            format!("{used} in files, no limit of the account; {} commands wait", info.state.messages),
        ));
    }
    Ok(checks)
}

/// The consumers of events and commands. One that has no request open is looked at again.
async fn consumers_of(bus: &Bus) -> anyhow::Result<Vec<(&'static str, ConsumerState)>> {
    let mut found = Vec::new();
    for look in 1..=LOOKS {
        found.clear();
        for stream in [streams::EVENTS, streams::COMMANDS] {
            let consumers = bus.consumers(stream, TIMEOUT / 2).await?;
            found.extend(consumers.into_iter().map(|consumer| (stream, consumer)));
        }
        if look == LOOKS || found.iter().all(|(_, consumer)| consumer.waiting > 0) {
            break;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Ok(found)
}

fn is_own(name: &str) -> bool {
    [app::command_consumer::CONSUMER, controller::requests::CONSUMER].contains(&name)
}

/// What is wrong with a consumer.
fn judge(stream: &str, consumer: &ConsumerState) -> Option<Check> {
    let ConsumerState { name, pending, ack_pending, redelivered, waiting } = consumer;
    let numbers =
        format!("{pending} messages wait, {ack_pending} are not acknowledged, {redelivered} were delivered again");
    if name == app::command_consumer::CONSUMER && *waiting == 0 {
        let found = format!("nobody takes commands from the bus; {numbers}");
        return Some(Check::error("consumers", found, "lablet serve (or lablet up)"));
    }
    if is_own(name) {
        return None;
    }
    let has_stopped = *waiting == 0 && *pending > 0;
    if has_stopped || *pending > TOLERATED_PENDING {
        let state = if has_stopped { "has stopped" } else { "is late" };
        return Some(Check::warning(
            "consumers",
            format!("{name} of others {state}; {numbers}"),
            format!("start its service, or nats consumer rm {stream} {name}"),
        ));
    }
    None
}

impl Looked {
    /// Whether a controller listens; it need not where there is no worker.
    pub(super) fn controllers(&self, workers: Option<usize>) -> Option<Check> {
        const NAME: &str = "controllers";
        let listening = self.consumers.as_ref()?.iter().find(|(_, found)| found.name == controller::requests::CONSUMER);
        let requests = listening.map_or(0, |(_, consumer)| consumer.pending);
        if listening.is_some_and(|(_, consumer)| consumer.waiting > 0) {
            return Some(Check::ok(NAME, format!("at least one listens; {requests} messages wait for one")));
        }
        Some(match workers {
            Some(0) => Check::ok(NAME, "none listens, and there is no worker"),
            _ => {
                let known = workers.map_or_else(|| "unknown".to_owned(), |workers| workers.to_string());
                Check::warning(
                    NAME,
                    format!("none listens; workers: {known}; {requests} messages wait for one"),
                    "lablet control",
                )
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Severity;
    use super::*;

    fn consumer(name: &str, pending: u64, waiting: u64) -> ConsumerState {
        ConsumerState { name: name.to_owned(), pending, ack_pending: 0, redelivered: 0, waiting }
    }

    #[test]
    fn a_consumer_that_has_stopped_is_named_and_one_that_follows_is_not() {
        assert_eq!(judge(streams::EVENTS, &consumer("grading", 0, 0)), None);
        assert_eq!(judge(streams::EVENTS, &consumer("grading", 5, 1)), None);
        let stopped = judge(streams::EVENTS, &consumer("grading", 5, 0)).unwrap();
        assert_eq!(stopped.severity, Severity::Warning);
        assert!(stopped.mend.unwrap().contains("nats consumer rm LABLET_EVENTS grading"));
        assert_eq!(judge(streams::EVENTS, &consumer("grading", 5_000, 1)).unwrap().severity, Severity::Warning);
        assert_eq!(judge(streams::COMMANDS, &consumer("lablet_commands", 0, 0)).unwrap().severity, Severity::Error);
    }

    #[test]
    fn no_controller_is_fine_only_where_there_is_no_worker() {
        let looked = |waiting| Looked {
            checks: Vec::new(),
            consumers: Some(vec![(streams::EVENTS, consumer(controller::requests::CONSUMER, 2, waiting))]),
        };
        assert_eq!(looked(1).controllers(Some(1)).unwrap().severity, Severity::Ok);
        assert_eq!(looked(0).controllers(Some(1)).unwrap().severity, Severity::Warning);
        assert_eq!(looked(0).controllers(None).unwrap().severity, Severity::Warning);
        assert_eq!(looked(0).controllers(Some(0)).unwrap().severity, Severity::Ok);
        assert_eq!(Looked::default().controllers(Some(1)), None);
    }
}
