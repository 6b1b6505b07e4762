//! The subjects of the bus. What a subject says about its sender is enforced by the server's permissions.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use uuid::Uuid;

/// Every published event: `lablet.events.<aggregate>.<event>.<aggregate id>`.
pub const EVENTS: &str = "lablet.events.>";
/// Every command: `lablet.commands.<team>.<command>`.
pub const COMMANDS: &str = "lablet.commands.>";
/// Full records of events, for read models. Internal: only the relay publishes, only projections read.
pub const RECORDS: &str = "lablet.records.>";
/// The subject of a message of consecutive records.
pub const RECORDS_BATCH: &str = "lablet.records.batch";
/// Commands as request and reply: `lablet.requests.<team>.<command>`.
pub const REQUESTS: &str = "lablet.requests";
/// Core message without content: something was appended to the log.
pub const NUDGE_LOG: &str = "lablet.nudge.log";
/// Core message without content: a projection moved.
pub const NUDGE_PROJECTIONS: &str = "lablet.nudge.projections";
/// Core messages with the newest sample of a running session: `lablet.live.samples.<session>`. Internal: only controllers
/// publish.
pub const LIVE_SAMPLES: &str = "lablet.live.samples.*";
/// Core messages in which each controller tells how it gets on: `lablet.live.controllers.<controller>`. Internal: only
/// controllers publish.
pub const LIVE_CONTROLLERS: &str = "lablet.live.controllers.*";
/// Notices that a session began to run. A core subscription to them is a wake-up signal.
pub const SESSION_RUNNING: &str = "lablet.events.lablet_session.running.*";
/// Header that names the subject for the answer to a command; JetStream takes the reply subject for itself.
pub const REPLY_TO: &str = "Lablet-Reply-To";
/// Header of a reply that names the command it answers: the `id` of its CloudEvent.
pub const COMMAND_ID: &str = "Lablet-Command-Id";

/// The subject of an event, e.g. `lablet.events.worker.changed.w1`.
///
/// `event_type` is the type in the log, `<aggregate>.<event>`. Identifiers of Lablet's own are always fit to be one token;
/// whatever else somebody wrote into the log is written so that it is: see [`token`].
pub fn event(event_type: &str, aggregate_id: &str) -> String {
    let mut subject = String::with_capacity(EVENTS.len() + event_type.len() + aggregate_id.len() + 1);
    subject.push_str("lablet.events");
    for name in event_type.split('.').chain([aggregate_id]) {
        subject.push('.');
        subject.push_str(&token(name));
    }
    subject
}

/// The subject of the live samples of a session.
pub fn live_samples(session_id: &str) -> String {
    format!("lablet.live.samples.{}", token(session_id))
}

/// The subject of a controller's reports of itself.
pub fn live_controller(controller: &str) -> String {
    format!("lablet.live.controllers.{}", token(controller))
}

/// Longest token: a subject of a few of them fits the 4,096 bytes that a server takes in one line.
const LONGEST_TOKEN: usize = 512;
/// What separates tokens, stands for any of them, ends a line, or begins an escape.
const NO_TOKEN: &AsciiSet = &CONTROLS.add(b' ').add(b'.').add(b'*').add(b'>').add(b'%');

/// A text as one token of a subject: percent-encoded where it has to be. An empty one is `%`, and one that is too long is
/// `%v5-` with a UUID made from it; no encoded text looks like either.
fn token(text: &str) -> Cow<'_, str> {
    if text.is_empty() {
        return Cow::Borrowed("%");
    }
    let encoded = Cow::from(utf8_percent_encode(text, NO_TOKEN));
    if encoded.len() > LONGEST_TOKEN {
        return Cow::Owned(format!("%v5-{}", Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes())));
    }
    encoded
}

/// The subject to which `team` publishes `command`.
pub fn command(team: &str, command: &str) -> String {
    format!("lablet.commands.{team}.{command}")
}

/// The subject to which `team` sends `command` as a request.
pub fn request(team: &str, command: &str) -> String {
    format!("{REQUESTS}.{team}.{command}")
}

/// Longest name of a team.
const LONGEST_TEAM: usize = 64;

/// Who sent which command, as a command's or a request's subject says. `None` for any other subject, and for a team
/// whose name is not 1 to 64 printable ASCII characters.
pub fn sender(subject: &str) -> Option<(&str, &str)> {
    let (team, command) = parts(subject)?;
    let is_name = team.len() <= LONGEST_TEAM && team.bytes().all(|byte| byte.is_ascii_graphic());
    let one_token = |text: &str| !text.is_empty() && !text.contains('.');
    (is_name && one_token(team) && one_token(command)).then_some((team, command))
}

/// The team in a command's subject, whatever its name is made of.
pub fn team(subject: &str) -> Option<&str> {
    parts(subject).map(|(team, _)| team)
}

fn parts(subject: &str) -> Option<(&str, &str)> {
    let rest = subject.strip_prefix("lablet.commands.").or_else(|| subject.strip_prefix("lablet.requests."))?;
    rest.split_once('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_names_team_and_command() {
        assert_eq!(sender(&command("grading", "register_worker")), Some(("grading", "register_worker")));
        assert_eq!(sender(&request("grading", "register_worker")), Some(("grading", "register_worker")));
        let long = command(&"x".repeat(65), "b");
        for other in [
            "lablet.commands.grading",
            "lablet.commands.a.b.c",
            "lablet.commands..b",
            "lablet.events.a.b.c",
            "lablet.commands.gra\0ding.b",
            "lablet.commands.gr\u{e4}ding.b",
            &long,
            "",
        ] {
            assert_eq!(sender(other), None, "{other:?}");
        }
        assert_eq!(team("lablet.commands.gra\0ding.b"), Some("gra\0ding"));
        assert_eq!(event("worker.changed", "w1"), "lablet.events.worker.changed.w1");
        assert_eq!(live_samples("s-1"), LIVE_SAMPLES.replace('*', "s-1"));
        assert_eq!(live_controller("c-1"), LIVE_CONTROLLERS.replace('*', "c-1"));
    }

    #[test]
    fn what_a_foreign_writer_calls_its_events_and_aggregates_is_encoded() {
        for (event_type, id, subject) in [
            ("order.placed", "a b.c", "lablet.events.order.placed.a%20b%2Ec"),
            ("order.placed", "*", "lablet.events.order.placed.%2A"),
            ("order.placed", ">", "lablet.events.order.placed.%3E"),
            ("order.placed", "50%", "lablet.events.order.placed.50%25"),
            ("order.placed", "a\r\nPUB x", "lablet.events.order.placed.a%0D%0APUB%20x"),
            ("order.placed", "\u{e4}", "lablet.events.order.placed.%C3%A4"),
            ("Order placed", "", "lablet.events.Order%20placed.%"),
            ("", "o1", "lablet.events.%.o1"),
            ("order..placed", "o1", "lablet.events.order.%.placed.o1"),
        ] {
            assert_eq!(event(event_type, id), subject);
        }
        let long = |end| event("order.placed", &format!("{}{end}", "x".repeat(600)));
        assert!(long("a").starts_with("lablet.events.order.placed.%v5-") && long("a").len() < 100);
        assert_ne!(long("a"), long("b"));
    }
}
