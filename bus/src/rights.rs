//! Who may do what on the bus: a user for each process and each team, with the subjects that it needs and no other.
//!
//! What a user may publish says who it is: the team in `lablet.commands.<team>.<command>` is taken from the subject, never
//! from the event's `source`. `lablet bus-config` writes these rights for a server, and docs/nats-permissions.md shows them.

use crate::subjects::{LIVE_CONTROLLERS, LIVE_SAMPLES, NUDGE_LOG, NUDGE_PROJECTIONS, SESSION_RUNNING};

/// Longest name of a team, as in its authority.
const LONGEST_TEAM: usize = 128;

/// Somebody who signs in to the bus.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum BusUser {
    /// Who runs `lablet migrate`, `restore`, `republish`, `verify` and `bus replace`.
    Operator,
    /// `lablet relay`.
    Relay,
    /// `lablet project`.
    Projector,
    /// `lablet serve`: the gateway and the consumer of commands.
    Commands,
    /// `lablet deliver`.
    Webhooks,
    /// `lablet control`.
    Controller,
    /// A team that sends commands.
    Team(TeamName),
}

/// The name of a team: one token of a subject, and of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TeamName(String);

/// A text that is no name of a team.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a team; expected 1 to 128 letters, digits, '-' and '_', and none of {names}", names = BusUser::names())]
pub struct NoTeamName(String);

impl TeamName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for TeamName {
    type Err = NoTeamName;

    fn from_str(text: &str) -> Result<Self, NoTeamName> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_token = (1..=LONGEST_TEAM).contains(&text.len()) && text.bytes().all(fits);
        if is_token && BusUser::OF_PROCESSES.iter().all(|user| user.name() != text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NoTeamName(text.to_owned()))
        }
    }
}

/// The subjects that a user may publish to and subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// Why these.
    pub reason: &'static str,
    /// What it may publish to; requests of JetStream's API are published.
    pub publish: Vec<String>,
    /// What it may subscribe to.
    pub subscribe: Vec<String>,
}

impl BusUser {
    /// Those of Lablet's own processes.
    pub const OF_PROCESSES: [Self; 6] =
        [Self::Operator, Self::Relay, Self::Projector, Self::Commands, Self::Webhooks, Self::Controller];

    fn names() -> String {
        Self::OF_PROCESSES.map(|user| user.name().to_owned()).join(", ")
    }

    /// Its name, e.g. `relay`.
    pub fn name(&self) -> &str {
        match self {
            Self::Operator => "operator",
            Self::Relay => "relay",
            Self::Projector => "projector",
            Self::Commands => "commands",
            Self::Webhooks => "webhooks",
            Self::Controller => "controller",
            Self::Team(team) => &team.0,
        }
    }

    /// Prefix of its inboxes, which nobody else may read.
    pub fn inbox_prefix(&self) -> String {
        format!("_INBOX_{}", self.name())
    }

    /// What it may do, where these teams send commands.
    pub fn rights(&self, teams: &[TeamName]) -> Rights {
        let (reason, publish, subscribe): (_, Vec<&str>, Vec<&str>) = match self {
            Self::Operator => (
                "Makes the streams LABLET_EVENTS, LABLET_RECORDS and LABLET_COMMANDS, the bucket LABLET_SAMPLING (the stream \
                 KV_LABLET_SAMPLING) and the durable consumers. Nobody else may create, change, delete or purge. To repair \
                 the stream of events it publishes to it.",
                vec!["$JS.API.>", "$JS.ACK.>", "lablet.events.>"],
                vec![],
            ),
            Self::Relay => (
                "Publishes the log, and compares the streams with what it remembers of them. Nobody else may publish \
                 lablet.records.>: read models take what stands there for what stands in the log. Beside it the proposer runs, \
                 which hears when read models move.",
                vec![
                    "lablet.events.>",
                    "$JS.API.STREAM.INFO.LABLET_EVENTS",
                    "$JS.API.STREAM.MSG.GET.LABLET_EVENTS",
                    "lablet.records.>",
                    "$JS.API.STREAM.INFO.LABLET_RECORDS",
                ],
                vec![NUDGE_LOG, NUDGE_PROJECTIONS],
            ),
            Self::Projector => (
                "Keeps the read models. It follows LABLET_RECORDS by an ordered consumer, which it makes for itself; without \
                 these rights, or with LABLET_PROJECTION_FEED=log, it follows the log. The full events are for nobody else.",
                vec![
                    NUDGE_PROJECTIONS,
                    "$JS.API.STREAM.INFO.LABLET_RECORDS",
                    "$JS.API.CONSUMER.CREATE.LABLET_RECORDS.>",
                    "$JS.API.CONSUMER.CREATE.LABLET_RECORDS",
                    "$JS.API.CONSUMER.DELETE.LABLET_RECORDS.>",
                    "$JS.API.CONSUMER.MSG.NEXT.LABLET_RECORDS.>",
                ],
                vec!["lablet.nudge.>"],
            ),
            Self::Commands => (
                "Takes commands and answers them; tells others that the log grew. Runs beside the gateway, which hears the \
                 samples of a running session while somebody looks at its page, and which shows operators the streams and \
                 their consumers: without the rights to ask for them they are shown as unknown, with the reason.",
                vec![
                    "lablet.nudge.>",
                    "lablet.replies.>",
                    "_INBOX.>",
                    "_INBOX_controller.>",
                    "$JS.API.STREAM.INFO.LABLET_COMMANDS",
                    "$JS.API.STREAM.MSG.GET.LABLET_COMMANDS",
                    "$JS.API.CONSUMER.INFO.LABLET_COMMANDS.lablet_commands",
                    "$JS.API.CONSUMER.MSG.NEXT.LABLET_COMMANDS.lablet_commands",
                    "$JS.API.STREAM.INFO.LABLET_EVENTS",
                    "$JS.API.STREAM.INFO.LABLET_RECORDS",
                    "$JS.API.STREAM.INFO.KV_LABLET_SAMPLING",
                    "$JS.API.CONSUMER.LIST.LABLET_EVENTS",
                    "$JS.API.CONSUMER.LIST.LABLET_COMMANDS",
                    "$JS.ACK.LABLET_COMMANDS.lablet_commands.>",
                    "$JS.ACK.*.*.LABLET_COMMANDS.lablet_commands.>",
                ],
                vec!["lablet.nudge.>", LIVE_SAMPLES, LIVE_CONTROLLERS, "lablet.requests.>", "$SRV.>"],
            ),
            Self::Webhooks => ("Reads the log; a nudge wakes it earlier than its clock.", vec![], vec![NUDGE_LOG]),
            Self::Controller => (
                "Takes observation requests from the stream of events, and reports by command. Controllers tell each other, \
                 and live pages, of every sample, and keep what sessions used so far in the bucket LABLET_SAMPLING: without \
                 these rights each of them samples every session, and what it gathered ends with it.",
                vec![
                    "lablet.commands.controller.>",
                    "lablet.requests.controller.>",
                    LIVE_SAMPLES,
                    LIVE_CONTROLLERS,
                    "$KV.LABLET_SAMPLING.>",
                    "$JS.API.STREAM.INFO.KV_LABLET_SAMPLING",
                    "$JS.API.DIRECT.GET.KV_LABLET_SAMPLING.>",
                    "$JS.API.STREAM.INFO.LABLET_EVENTS",
                    "$JS.API.CONSUMER.INFO.LABLET_EVENTS.*",
                    "$JS.API.CONSUMER.MSG.NEXT.LABLET_EVENTS.*",
                    "$JS.ACK.LABLET_EVENTS.>",
                    "$JS.ACK.*.*.LABLET_EVENTS.>",
                ],
                vec!["lablet.nudge.>", LIVE_SAMPLES, SESSION_RUNNING],
            ),
            Self::Team(_) => ("A team that sends commands.", vec![], vec![]),
        };
        let mut publish: Vec<String> = publish.into_iter().map(str::to_owned).collect();
        let mut subscribe: Vec<String> = subscribe.into_iter().map(str::to_owned).collect();
        match self {
            // Each team is answered in its own inbox.
            Self::Commands => publish.extend(teams.iter().map(|team| format!("_INBOX_{}.>", team.0))),
            Self::Team(team) => {
                publish.extend(["commands", "requests"].map(|kind| format!("lablet.{kind}.{}.>", team.0)));
            }
            _ => {}
        }
        subscribe.push(format!("{}.>", self.inbox_prefix()));
        Rights { reason, publish, subscribe }
    }
}

/// The part of a nats-server's configuration that says who may do what. `sign_in` says how a user signs in, e.g.
/// `nkey: U…`.
pub fn authorization<'a>(users: impl IntoIterator<Item = (&'a BusUser, String)>) -> String {
    let users: Vec<_> = users.into_iter().collect();
    let teams: Vec<TeamName> = users
        .iter()
        .filter_map(|(user, _)| if let BusUser::Team(team) = user { Some(team.clone()) } else { None })
        .collect();
    let mut text = String::from("authorization {\n  users = [\n");
    for (index, (user, sign_in)) in users.iter().enumerate() {
        let Rights { reason, publish, subscribe } = user.rights(&teams);
        if index > 0 {
            text.push('\n');
        }
        for line in wrapped(&format!("{}: {reason}", user.name())) {
            text.push_str(&format!("    # {line}\n"));
        }
        text.push_str(&format!(
            "    {{ {sign_in}\n      permissions: {{\n        publish: {}\n        subscribe: {} }} }}\n",
            list(&publish),
            list(&subscribe)
        ));
    }
    text.push_str("  ]\n}\n");
    text
}

/// Characters of a line of the comments.
const WIDTH: usize = 110;

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn list(subjects: &[String]) -> String {
    if subjects.is_empty() {
        // An empty list allows everything.
        return "{ deny: \">\" }".to_owned();
    }
    let quoted: Vec<String> = subjects.iter().map(|subject| format!("          \"{subject}\"")).collect();
    format!("[\n{} ]", quoted.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn team(name: &str) -> TeamName {
        name.parse().unwrap()
    }

    #[test]
    fn a_team_is_one_token_and_none_of_the_processes() {
        for refused in ["", "a.b", "a*", ">", "a b", "relay", "operator", "../up", &"a".repeat(129)] {
            assert!(refused.parse::<TeamName>().is_err(), "{refused:?}");
        }
        let said = "controller".parse::<TeamName>().unwrap_err().to_string();
        assert!(said.contains("none of operator, relay, projector"), "{said}");
    }

    #[test]
    fn nobody_but_the_commands_answers_and_nobody_reads_the_inbox_of_another() {
        let teams = [team("grading"), team("booking")];
        let users: Vec<BusUser> =
            BusUser::OF_PROCESSES.into_iter().chain(teams.iter().cloned().map(BusUser::Team)).collect();
        for user in &users {
            let rights = user.rights(&teams);
            let own = format!("{}.>", user.inbox_prefix());
            let inboxes = |subjects: &[String]| -> Vec<String> {
                subjects.iter().filter(|subject| subject.starts_with("_INBOX")).cloned().collect()
            };
            assert_eq!(inboxes(&rights.subscribe), [own]);
            let answers = if *user == BusUser::Commands { 4 } else { 0 };
            assert_eq!(inboxes(&rights.publish).len(), answers, "{user:?}");
        }
    }

    #[test]
    fn a_user_that_publishes_nothing_is_denied_everything() {
        let text = authorization([(&BusUser::Webhooks, "nkey: UABC".to_owned())]);
        assert!(text.contains("publish: { deny: \">\" }"), "{text}");
    }
}
