//! Who may send which commands.
//!
//! A team on the bus and an internal key of a service each have a set of commands that they may send. The sets are
//! configuration: `booking=default,definitions;grading=observations;*=none`. [`Authorities`] holds them, and
//! [`Commands`](crate::commands::Commands) checks them before anything else, for HTTP and bus alike. People are not
//! listed: the gateway checks their roles.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use domain::Invalid;

use crate::command::CommandName;

/// The setting that says what teams may send.
pub const TEAM_SETTING: &str = "LABLET_TEAM_AUTHORITY";
/// The setting that says what internal keys may be used to send.
pub const KEY_SETTING: &str = "LABLET_INTERNAL_API_KEY_AUTHORITY";
/// The team as which controllers send. It keeps the default where everybody else (`*`) is given less: without it no
/// observation is ever recorded.
pub(crate) const CONTROLLER_TEAM: &str = "controller";
/// Stands for everybody who is not named.
const EVERYBODY_ELSE: &str = "*";
/// Longest name of a team or a key.
const LONGEST_NAME: usize = 128;

/// Sender of a command, by whose authority it is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// A team on the bus, as the subject says.
    Team(String),
    /// A service, by the name of its internal key.
    Key(String),
    /// A person whose role was checked where the command came in, or Lablet itself.
    Trusted,
}

/// A set of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandSet(BTreeSet<CommandName>);

/// Command sets of one kind of sender: of those that are named, and of all others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    named: BTreeMap<String, CommandSet>,
    others: CommandSet,
}

/// Command sets of teams and internal keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authorities {
    teams: Grants,
    keys: Grants,
}

/// A command that its sender may not send. The text names the sender, the command and the setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{sender} may not send {command}, only {allowed}; an operator may add {command} or the group {} for it to {}",
    narrowest_group(*.command),
    .sender.setting()
)]
pub struct NotAuthorized {
    sender: Sender,
    command: CommandName,
    allowed: CommandSet,
}

/// Names of groups of commands, narrow ones first: a refusal proposes the first that holds the command.
const GROUPS: [(&str, &[CommandName]); 10] = {
    use CommandName as C;
    [
        (
            // Of labs and of workers.
            "observations",
            &[
                C::RequestResourceObservation,
                C::RecordResourceObservation,
                C::RecordObservationFailure,
                C::RecordWorkerPressure,
            ],
        ),
        ("transitions", &[C::TransitionLabletSession]),
        ("sessions", &[C::CreateLabletSession, C::TransitionLabletSession]),
        ("definitions", &[C::CreateLabletDefinition, C::ReviseLabletDefinition]),
        ("workers", &[C::RegisterWorker, C::ChangeWorker]),
        // What becomes of ports that drifted.
        ("ports", &[C::AcknowledgePortDrift, C::WithdrawPortDriftAcknowledgement, C::CorrectAllocation]),
        (
            // What becomes of what is proposed; within the policies, which say whether a service may apply it.
            "proposals",
            &[C::ClaimProposal, C::ApplyProposal, C::FailProposal, C::DismissProposal],
        ),
        (
            "advice",
            &[
                C::ExcludeSessionEvidence,
                C::IncludeSessionEvidence,
                C::SetDefaultPolicy,
                C::SetDefinitionPolicy,
                C::OpenProposal,
                C::WithdrawProposal,
                C::ClaimProposal,
                C::ApplyProposal,
                C::FailProposal,
                C::DismissProposal,
                C::VerifyProposal,
            ],
        ),
        (
            // Sessions and observations. Creating a session is in: it gives access to nothing.
            "default",
            &[
                C::CreateLabletSession,
                C::TransitionLabletSession,
                C::RequestResourceObservation,
                C::RecordResourceObservation,
                C::RecordObservationFailure,
                C::RecordWorkerPressure,
            ],
        ),
        ("all", &C::ALL),
    ]
};

impl Default for CommandSet {
    fn default() -> Self {
        Self::group("default").unwrap_or_else(Self::none)
    }
}

impl CommandSet {
    fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// A group or a single command by its name.
    fn group(name: &str) -> Option<Self> {
        if name == "none" {
            return Some(Self::none());
        }
        let group = GROUPS.iter().find(|(group, _)| *group == name);
        match group {
            Some((_, commands)) => Some(Self(commands.iter().copied().collect())),
            None => CommandName::parse(name).map(|command| Self(BTreeSet::from([command]))),
        }
    }

    /// Reads e.g. `observations,transition_lablet_session`.
    fn parse(text: &str) -> Result<Self, String> {
        let mut set = Self::none();
        for word in text.split(',').map(str::trim) {
            let Some(Self(commands)) = Self::group(word) else { return Err(word.to_owned()) };
            set.0.extend(commands);
        }
        Ok(set)
    }

    /// Whether the set holds this command.
    fn contains(&self, command: CommandName) -> bool {
        self.0.contains(&command)
    }
}

impl fmt::Display for CommandSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("none");
        }
        let names: Vec<&str> = self.0.iter().map(|command| command.as_str()).collect();
        formatter.write_str(&names.join(", "))
    }
}

impl Grants {
    /// Reads `name=words;name=words`, where a word is a group (`observations`, `transitions`, `sessions`,
    /// `definitions`, `workers`, `proposals`, `advice`, `default`, `all`, `none`) or a command, and the name `*` is everybody who is not named.
    /// A name has exactly what is listed for it. With an empty text everybody has the default.
    ///
    /// # Errors
    /// [`Invalid`] of the field `setting`.
    pub fn parse(setting: &str, text: &str) -> Result<Self, Invalid> {
        let mut grants = Self::default();
        let mut seen = BTreeSet::new();
        for entry in text.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
            let expected = "entries such as booking=default,definitions separated by semicolons";
            let Some((name, words)) = entry.split_once('=') else {
                return Err(Invalid::new(setting, format!("has the entry {}", shown(entry)), expected));
            };
            let name = name.trim();
            if name != EVERYBODY_ELSE && !is_name(name) {
                let expected = format!(
                    "the name of a team or a key (1 to {LONGEST_NAME} visible characters without '.', '*' or '>'), or *"
                );
                return Err(Invalid::new(setting, format!("has an entry for {}", shown(name)), expected));
            }
            if !seen.insert(name) {
                return Err(Invalid::new(setting, format!("names {} twice", shown(name)), "one entry a name"));
            }
            let set = CommandSet::parse(words).map_err(|word| {
                let groups = GROUPS.map(|(group, _)| group).join(", ");
                let commands = CommandName::ALL.map(CommandName::as_str).join(", ");
                Invalid::new(
                    setting,
                    format!("gives {} {}", shown(name), shown(&word)),
                    format!("one of the groups {groups}, none, or one of the commands {commands}"),
                )
            })?;
            if name == EVERYBODY_ELSE {
                grants.others = set;
            } else {
                grants.named.insert(name.to_owned(), set);
            }
        }
        Ok(grants)
    }

    /// The names that have an entry of their own.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }

    fn for_name(&self, name: &str) -> &CommandSet {
        self.named.get(name).unwrap_or(&self.others)
    }
}

impl Authorities {
    /// What teams and internal keys may send.
    pub fn new(mut teams: Grants, keys: Grants) -> Self {
        teams.named.entry(CONTROLLER_TEAM.to_owned()).or_default();
        Self { teams, keys }
    }

    /// Checks that this sender may send this command.
    ///
    /// # Errors
    /// [`NotAuthorized`].
    pub fn check(&self, sender: &Sender, command: CommandName) -> Result<(), NotAuthorized> {
        let allowed = match sender {
            Sender::Trusted => return Ok(()),
            Sender::Team(name) => self.teams.for_name(name),
            Sender::Key(name) => self.keys.for_name(name),
        };
        if allowed.contains(command) {
            return Ok(());
        }
        Err(NotAuthorized { sender: sender.clone(), command, allowed: allowed.clone() })
    }
}

impl Sender {
    fn setting(&self) -> &'static str {
        match self {
            Self::Key(_) => KEY_SETTING,
            Self::Team(_) | Self::Trusted => TEAM_SETTING,
        }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Team(name) => write!(formatter, "the team {}", shown(name)),
            Self::Key(name) => write!(formatter, "the internal key {}", shown(name)),
            Self::Trusted => formatter.write_str("Lablet"),
        }
    }
}

/// The group to propose to whoever is missing a command.
fn narrowest_group(command: CommandName) -> &'static str {
    GROUPS.iter().find(|(_, commands)| commands.contains(&command)).map_or("all", |(group, _)| group)
}

/// Whether a text is a valid name of a team (one token of a subject) or a key.
fn is_name(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len())
        && !text.chars().any(|letter| letter.is_control() || letter.is_whitespace() || ".*>".contains(letter))
}

/// An untrusted text, escaped and shortened.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(LONGEST_NAME).collect::<String>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn teams(text: &str) -> Authorities {
        Authorities::new(Grants::parse(TEAM_SETTING, text).unwrap(), Grants::default())
    }

    fn may(authorities: &Authorities, team: &str) -> Vec<&'static str> {
        let sender = Sender::Team(team.to_owned());
        let allowed = CommandName::ALL.into_iter().filter(|command| authorities.check(&sender, *command).is_ok());
        allowed.map(CommandName::as_str).collect()
    }

    #[test]
    fn who_is_not_named_sends_sessions_and_observations_and_nothing_else() {
        let default = [
            "record_worker_pressure",
            "create_lablet_session",
            "transition_lablet_session",
            "request_resource_observation",
            "record_resource_observation",
            "record_observation_failure",
        ];
        for settings in ["", ";", "booking=all"] {
            assert_eq!(may(&teams(settings), "grading"), default, "{settings:?}");
        }
        let key = Sender::Key("grading".to_owned());
        let authorities = Authorities::default();
        assert!(authorities.check(&key, CommandName::TransitionLabletSession).is_ok());
        assert!(authorities.check(&key, CommandName::RegisterWorker).is_err());
        assert!(authorities.check(&Sender::Trusted, CommandName::RegisterWorker).is_ok());
    }

    #[test]
    fn who_is_named_sends_what_is_listed_and_nothing_else() {
        let authorities = teams("booking = sessions, definitions ; grading=record_resource_observation; * = none");
        assert_eq!(
            may(&authorities, "booking"),
            [
                "create_lablet_definition",
                "revise_lablet_definition",
                "create_lablet_session",
                "transition_lablet_session"
            ]
        );
        assert_eq!(may(&authorities, "grading"), ["record_resource_observation"]);
        assert!(may(&authorities, "somebody").is_empty());
        assert!(may(&authorities, "booking.x").is_empty());
        // Without its own commands no observation would ever be recorded.
        assert_eq!(may(&authorities, CONTROLLER_TEAM).len(), 6);
        assert_eq!(may(&teams("controller=observations"), CONTROLLER_TEAM).len(), 4);
    }

    #[test]
    fn a_refusal_names_sender_command_and_setting() {
        let refused =
            |sender| Authorities::default().check(&sender, CommandName::ChangeWorker).unwrap_err().to_string();
        insta::assert_snapshot!(refused(Sender::Team("grading".to_owned())), @r#"the team "grading" may not send change_worker, only record_worker_pressure, create_lablet_session, transition_lablet_session, request_resource_observation, record_resource_observation, record_observation_failure; an operator may add change_worker or the group workers for it to LABLET_TEAM_AUTHORITY"#);
        assert!(refused(Sender::Key("booking".to_owned())).contains("LABLET_INTERNAL_API_KEY_AUTHORITY"));
        assert!(!refused(Sender::Team("a\u{1b}[31m\nforged".to_owned())).contains(['\n', '\u{1b}']));
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        let refused = |text: &str| Grants::parse(TEAM_SETTING, text).unwrap_err().to_string();
        for (text, part) in [
            ("grading", "has the entry \"grading\""),
            ("grading=", "gives \"grading\" \"\""),
            ("grading=observation", "gives \"grading\" \"observation\""),
            ("a=all;a=none", "names \"a\" twice"),
            ("*=all;*=none", "names \"*\" twice"),
            ("a.b=all", "has an entry for \"a.b\""),
            ("=all", "has an entry for \"\""),
        ] {
            let refusal = refused(text);
            assert!(refusal.starts_with(TEAM_SETTING) && refusal.contains(part), "{refusal}");
        }
    }

    proptest! {
        #[test]
        fn nobody_has_more_than_their_own_entry(name in "[a-z]{1,8}", other in "[a-z]{1,8}", command in 0..10_usize) {
            prop_assume!(name != other && name != CONTROLLER_TEAM && other != CONTROLLER_TEAM);
            let authorities = teams(&format!("{name}={};*=none", CommandName::ALL[command]));
            prop_assert_eq!(may(&authorities, &name), [CommandName::ALL[command].as_str()]);
            prop_assert!(may(&authorities, &other).is_empty());
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            if let Err(invalid) = Grants::parse(TEAM_SETTING, &text) {
                prop_assert_eq!(invalid.field, TEAM_SETTING);
            }
        }
    }
}
