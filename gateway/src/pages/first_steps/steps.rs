//! The first steps of an installation, from facts: a pure function. Each says what it is for, whether it is done, and what
//! is to be done next.

use chrono::{DateTime, Utc};
use domain::{DefinitionId, SessionId, WorkerId};

use crate::authentication::Role;
use crate::controllers::heard::{Controller, ControllerState, Presence};

/// What is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Beginnings {
    /// A worker.
    pub(crate) worker: Option<WorkerId>,
    /// A definition.
    pub(crate) definition: Option<DefinitionId>,
    /// The session that came last.
    pub(crate) session: Option<SessionId>,
    /// A session that runs.
    pub(crate) running: Option<SessionId>,
    /// Whether a session was observed.
    pub(crate) observed: bool,
}

/// What is known of controllers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownControllers {
    /// Whether one runs.
    pub(crate) presence: Presence,
    /// Those that were heard.
    pub(crate) all: Vec<Controller>,
}

impl KnownControllers {
    fn running(&self) -> impl Iterator<Item = &Controller> {
        self.all.iter().filter(|controller| controller.state == ControllerState::Running)
    }
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// Names it on the page.
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// What it is for.
    pub(crate) purpose: &'static str,
    pub(crate) done: bool,
    /// How it stands, where that is more than whether it is done; empty: it is not.
    pub(crate) stands: String,
    pub(crate) next: NextStep,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// Nothing any more.
    Nothing,
    /// Another step first.
    After(&'static str),
    /// A page with a form.
    Form {
        /// Its address.
        path: &'static str,
        /// What the link is called.
        words: &'static str,
        /// Who may send it.
        needs: Role,
    },
    /// Commands to copy.
    Commands {
        /// What they do.
        words: &'static str,
        /// Each with what it is for.
        commands: Vec<Command>,
    },
    /// A session that can be observed.
    Observe(SessionId),
}

/// A command to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// By what.
    pub(crate) by: &'static str,
    pub(crate) text: String,
}

/// Each step, in order. `address` is this installation's, without a slash at its end.
pub(crate) fn steps(
    beginnings: &Beginnings,
    controllers: &KnownControllers,
    address: &str,
    now: DateTime<Utc>,
) -> [Step; 5] {
    let Beginnings { worker, definition, session, running, observed } = beginnings;
    [
        credentials(controllers, now),
        Step {
            id: "worker",
            title: "Register a worker",
            purpose: "A worker is a CML controller, on which labs run.",
            done: worker.is_some(),
            stands: String::new(),
            next: form(worker.is_some(), "/workers/new?first_steps=true", "New worker"),
        },
        Step {
            id: "definition",
            title: "Create a definition",
            purpose: "It says what a lab is thought to need, and which ports it exposes; a topology of CML fills it in.",
            done: definition.is_some(),
            stands: String::new(),
            next: form(definition.is_some(), "/definitions/new?first_steps=true", "New definition"),
        },
        Step {
            id: "session",
            title: "Create a session",
            purpose: "A session is one run of a lab for somebody; the services around Lablet create them.",
            done: session.is_some(),
            stands: String::new(),
            next: match (session, definition) {
                (Some(_), _) => NextStep::Nothing,
                (None, None) => NextStep::After("After a definition: a session is of one."),
                (None, Some(definition)) => NextStep::Commands {
                    words: "As an internal service does it, with its key in LABLET_INTERNAL_API_KEY:",
                    commands: vec![
                        Command { by: "lablet", text: create_by_command(address, definition) },
                        Command { by: "curl", text: create(address, definition) },
                    ],
                },
            },
        },
        Step {
            id: "observation",
            title: "Observe it for the first time",
            purpose: "An observation is what a lab uses while it runs; sizes are learned from them.",
            done: *observed,
            stands: String::new(),
            next: match (observed, running, session, worker) {
                (true, ..) => NextStep::Nothing,
                (false, Some(running), ..) => NextStep::Observe(running.clone()),
                (false, None, None, _) => NextStep::After("After a session."),
                (false, None, Some(_), None) => NextStep::After("After a worker, on which it runs."),
                (false, None, Some(session), Some(worker)) => NextStep::Commands {
                    words: "Start a lab in CML; its id, which is in the address there, is CML_LAB_ID. Then say that the session runs in it:",
                    commands: vec![
                        Command { by: "lablet", text: begin_by_command(address, session, worker) },
                        Command { by: "curl", text: begin(address, session, worker) },
                    ],
                },
            },
        },
    ]
}

fn form(is_done: bool, path: &'static str, words: &'static str) -> NextStep {
    if is_done { NextStep::Nothing } else { NextStep::Form { path, words, needs: Role::Admin } }
}

fn credentials(controllers: &KnownControllers, now: DateTime<Utc>) -> Step {
    let done = controllers.running().any(|controller| controller.has_credentials);
    let stands = match controllers.running().next() {
        _ if done => String::new(),
        Some(controller) => format!("The controller on {} has no credentials.", controller.host),
        None => format!("{}.", controllers.presence.words(now)),
    };
    Step {
        id: "credentials",
        title: "Give a controller its credentials",
        purpose: "A controller reads the labs in CML. User name and password stay in its own configuration.",
        done,
        stands,
        next: if done {
            NextStep::Nothing
        } else {
            NextStep::Commands {
                words: "A file cml.toml has user name, password and host of each worker, by its id:",
                commands: vec![
                    Command { by: "cml.toml", text: CREDENTIALS.to_owned() },
                    Command { by: "lablet", text: "LABLET_CML_CREDENTIALS=cml.toml lablet control".to_owned() },
                    Command { by: "all in one", text: "LABLET_CML_CREDENTIALS=cml.toml lablet up".to_owned() },
                ],
            }
        },
    }
}

const CREDENTIALS: &str =
    "[cml-1]\nusername = \"lablet\"\npassword = \"that of this user\"\nhost = \"cml-1.example.org\"";

/// The key is in the environment of whoever types it, not on the page.
const KEY: &str = "-H \"X-API-Key: $LABLET_INTERNAL_API_KEY\" -H 'Content-Type: application/json'";

fn create_by_command(address: &str, definition: &DefinitionId) -> String {
    format!("lablet session create --url {address} --definition {definition}")
}

fn begin_by_command(address: &str, session: &SessionId, worker: &WorkerId) -> String {
    format!(
        "lablet session transition {session} scheduled instantiating ready running --url {address} --worker {worker} \
         --lab \"$CML_LAB_ID\""
    )
}

fn create(address: &str, definition: &DefinitionId) -> String {
    format!("curl -X POST {address}/api/internal/lablet-sessions {KEY} -d '{{\"definition_id\": \"{definition}\"}}'")
}

fn begin(address: &str, session: &SessionId, worker: &WorkerId) -> String {
    let steps = [
        format!("'{{\"new_status\": \"scheduled\", \"worker_id\": \"{worker}\"}}'"),
        "'{\"new_status\": \"instantiating\"}'".to_owned(),
        "'{\"new_status\": \"ready\"}'".to_owned(),
        "'{\"new_status\": \"running\", \"cml_lab_id\": \"'\"$CML_LAB_ID\"'\"}'".to_owned(),
    ];
    format!(
        "for step in {}; do curl -X POST {address}/api/internal/lablet-sessions/{session}/transition {KEY} -d \"$step\"; done",
        steps.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-03-01T10:00:00Z".parse().unwrap()
    }

    fn controllers(has_credentials: Option<bool>) -> KnownControllers {
        let all = has_credentials.map(|has_credentials| Controller {
            id: "c1".to_owned(),
            host: "control-1".to_owned(),
            version: "1".to_owned(),
            state: ControllerState::Running,
            started_at: now(),
            last_seen_at: now(),
            has_credentials,
            gateway_error: None,
            worker_count: 0,
            failing_workers: 0,
            workers: Vec::new(),
        });
        let presence = match all {
            Some(_) => Presence::Running { controllers: 1 },
            None => Presence::NotHeardYet { listening_since: None },
        };
        KnownControllers { presence, all: all.into_iter().collect() }
    }

    fn told(beginnings: &Beginnings, credentials: Option<bool>) -> [Step; 5] {
        steps(beginnings, &controllers(credentials), "https://lablet.example.org", now())
    }

    #[test]
    fn nothing_is_done_in_an_empty_installation_and_each_step_has_a_next_action_or_what_comes_before_it() {
        let steps = told(&Beginnings::default(), None);
        assert!(steps.iter().all(|step| !step.done));
        assert!(steps[0].stands.contains("No controller was heard yet"), "{}", steps[0].stands);
        assert!(matches!(&steps[1].next, NextStep::Form { path: "/workers/new?first_steps=true", .. }));
        assert!(matches!(&steps[3].next, NextStep::After(_)));
        assert!(matches!(&steps[4].next, NextStep::After(_)));
    }

    #[test]
    fn a_controller_without_credentials_is_named_and_one_with_them_is_done() {
        assert!(told(&Beginnings::default(), Some(false))[0].stands.contains("control-1 has no credentials"));
        let step = &told(&Beginnings::default(), Some(true))[0];
        assert!(step.done && step.stands.is_empty() && step.next == NextStep::Nothing);
    }

    #[test]
    fn commands_name_this_installation_and_what_is_there_and_no_secret() {
        let beginnings = Beginnings {
            definition: Some("ospf".parse().unwrap()),
            worker: Some("cml-1".parse().unwrap()),
            ..Beginnings::default()
        };
        let NextStep::Commands { commands, .. } = &told(&beginnings, Some(true))[3].next else { panic!() };
        assert_eq!(commands[0].text, "lablet session create --url https://lablet.example.org --definition ospf");
        assert_eq!(
            commands[1].text,
            "curl -X POST https://lablet.example.org/api/internal/lablet-sessions \
             -H \"X-API-Key: $LABLET_INTERNAL_API_KEY\" -H 'Content-Type: application/json' \
             -d '{\"definition_id\": \"ospf\"}'"
        );
        let beginnings = Beginnings { session: Some("s1".parse().unwrap()), ..beginnings };
        let steps = told(&beginnings, Some(true));
        assert!(steps[3].done);
        let NextStep::Commands { commands, .. } = &steps[4].next else { panic!() };
        assert_eq!(
            commands[0].text,
            "lablet session transition s1 scheduled instantiating ready running --url https://lablet.example.org \
             --worker cml-1 --lab \"$CML_LAB_ID\""
        );
        assert!(commands[1].text.contains("/lablet-sessions/s1/transition") && commands[1].text.contains("\"cml-1\""));
    }

    #[test]
    fn a_session_that_runs_can_be_observed_and_an_observation_ends_it() {
        let running = Some("s1".parse().unwrap());
        let beginnings = Beginnings { session: running.clone(), running, ..Beginnings::default() };
        assert_eq!(told(&beginnings, None)[4].next, NextStep::Observe("s1".parse().unwrap()));
        let observed = Beginnings { observed: true, ..beginnings };
        let step = &told(&observed, None)[4];
        assert!(step.done && step.next == NextStep::Nothing);
    }
}
