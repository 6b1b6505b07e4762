//! What services do to sessions: create them, move them on, record what was seen of their labs.

use std::collections::BTreeMap;

use clap::Args;
use clap::builder::PossibleValuesParser;
use domain::lablet_session::SessionStatus;
use serde_json::{Map, Value, json};

use super::super::connection::{Connection, ServiceKey};
use super::super::drift::port;
use super::super::{Client, read_json};
use crate::exit::ExitStatus;

/// What a new session is.
#[derive(Debug, Args)]
pub(crate) struct NewSessionArguments {
    /// The definition that it runs, by its id.
    #[arg(long = "definition", value_name = "ID")]
    definition_id: String,
    /// Its own id; minted unless stated.
    #[arg(long)]
    id: Option<String>,
    /// For whom.
    #[arg(long = "owner", value_name = "ID")]
    owner_id: Option<String>,
    #[command(flatten)]
    timeslot: TimeslotArguments,
    #[command(flatten)]
    key: ServiceKey,
}

/// When it is booked.
#[derive(Debug, Args)]
struct TimeslotArguments {
    /// When its timeslot starts, e.g. `2026-11-27T12:00:00Z`.
    #[arg(long, value_name = "TIME", requires = "end")]
    start: Option<String>,
    /// When its timeslot ends.
    #[arg(long, value_name = "TIME", requires = "start")]
    end: Option<String>,
}

/// Which steps a session takes, and what comes with them.
#[derive(Debug, Args)]
pub(crate) struct TransitionArguments {
    /// The session.
    id: String,
    /// Where to. Of several, each is the step after the one before; those that the session has behind it are passed over.
    #[arg(required = true, value_parser = PossibleValuesParser::new(SessionStatus::ALL.map(SessionStatus::as_str)))]
    status: Vec<String>,
    /// The worker, with the first step. `scheduled` needs one; once bound it cannot be another.
    #[arg(long = "worker", value_name = "ID")]
    worker_id: Option<String>,
    /// A port that is allocated on the worker, by name and number, e.g. `PC_serial=5041`, as often as there are; with the
    /// first step.
    #[arg(long = "port", value_name = "NAME=NUMBER", value_parser = port)]
    ports: Vec<(String, u16)>,
    #[command(flatten)]
    timeslot: TimeslotArguments,
    /// The lab in CML, with the last step. `running` needs one; once bound it cannot be another.
    #[arg(long = "lab", value_name = "ID")]
    cml_lab_id: Option<String>,
    /// Why, with each step.
    #[arg(long)]
    reason: Option<String>,
    /// The version of the session, as `session show` names it, e.g. `"7"`: exit code 5 where it is at another by now.
    #[arg(long)]
    etag: Option<String>,
    #[command(flatten)]
    key: ServiceKey,
}

/// What was seen, and of which session.
#[derive(Debug, Args)]
pub(crate) struct ObservationArguments {
    /// The session.
    id: String,
    /// A JSON file with `observed_resources` and `observed_ports`, `-` for standard input.
    file: String,
    #[command(flatten)]
    key: ServiceKey,
}

pub(super) const CREATE_EXAMPLE: &str = "\
Example:
  lablet session create --definition ospf-basics --id exam-7 --owner ada \\
    --start 2026-11-27T12:00:00Z --end 2026-11-27T14:00:00Z
Needs an internal API key, in LABLET_INTERNAL_API_KEY or of the folder of `lablet up`.";

pub(super) const TRANSITION_EXAMPLE: &str = "\
Example:
  lablet session transition exam-7 scheduled instantiating ready running \\
    --worker cml-7 --port PC_serial=5041 --lab 6b1f5a52-7d0e-4a53-9f57-0f7a4f1f0c11
The same again takes the steps that are left, or changes nothing. Needs an internal API key, in LABLET_INTERNAL_API_KEY or of
the folder of `lablet up`.";

pub(super) async fn create(client: &Client, arguments: NewSessionArguments) -> anyhow::Result<()> {
    let service = client.connection.of_service(&arguments.key)?;
    client.output.one(&service.post("/api/internal/lablet-sessions", &arguments.body()).await?)
}

pub(super) async fn transition(client: &Client, arguments: TransitionArguments) -> anyhow::Result<()> {
    let service = client.connection.of_service(&arguments.key)?;
    let reached = match arguments.status.as_slice() {
        [_] => None,
        _ => reached(&service, &arguments.id).await?,
    };
    let path = format!("/api/internal/lablet-sessions/{}/transition", arguments.id);
    let (mut etag, mut done) = (arguments.etag.clone(), Value::Null);
    for body in arguments.bodies(reached.as_deref()) {
        done = service.post_at(&path, etag.as_deref(), &body).await?;
        // Whatever happens to the session between the steps refuses the next one.
        etag = etag.and_then(|_| done["etag"].as_str().map(str::to_owned));
    }
    client.output.one(&done)
}

/// The state that a session has, as far as it can be read; one that was created a moment ago may be there and not yet shown.
async fn reached(service: &Connection, id: &str) -> anyhow::Result<Option<String>> {
    match service.get(&format!("/api/lablet-sessions/{id}")).await {
        Ok(session) => Ok(session["status"].as_str().map(str::to_owned)),
        Err(error) if ExitStatus::from_error(&error) == ExitStatus::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) async fn record_observation(client: &Client, arguments: ObservationArguments) -> anyhow::Result<()> {
    let service = client.connection.of_service(&arguments.key)?;
    let path = format!("/api/internal/lablet-sessions/{}/resource-observations", arguments.id);
    client.output.one(&service.post(&path, &read_json(&arguments.file)?).await?)
}

impl NewSessionArguments {
    fn body(&self) -> Value {
        stated([
            ("definition_id", Some(json!(self.definition_id))),
            ("id", self.id.as_ref().map(|id| json!(id))),
            ("owner_id", self.owner_id.as_ref().map(|owner| json!(owner))),
            ("timeslot", self.timeslot.stated()),
        ])
    }
}

impl TimeslotArguments {
    fn stated(&self) -> Option<Value> {
        Some(json!({ "start": self.start.as_ref()?, "end": self.end.as_ref()? }))
    }
}

impl TransitionArguments {
    /// A body for each step that is left for a session in the state `reached`.
    fn bodies(&self, reached: Option<&str>) -> Vec<Value> {
        let first = self.status.iter().position(|status| Some(status.as_str()) == reached).unwrap_or(0);
        let ports: BTreeMap<&str, u16> = self.ports.iter().map(|(name, number)| (name.as_str(), *number)).collect();
        let last = self.status.len() - 1;
        (first..=last)
            .map(|step| {
                let (is_first, is_last) = (step == first, step == last);
                stated([
                    ("new_status", Some(json!(self.status[step]))),
                    ("reason", self.reason.as_ref().map(|reason| json!(reason))),
                    ("worker_id", self.worker_id.as_ref().filter(|_| is_first).map(|worker| json!(worker))),
                    ("allocated_ports", (is_first && !ports.is_empty()).then(|| json!(ports))),
                    ("timeslot", self.timeslot.stated().filter(|_| is_first)),
                    ("cml_lab_id", self.cml_lab_id.as_ref().filter(|_| is_last).map(|lab| json!(lab))),
                ])
            })
            .collect()
    }
}

/// An object of the members that have a value.
fn stated<const MEMBERS: usize>(members: [(&str, Option<Value>); MEMBERS]) -> Value {
    let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(members.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use app::body::{Handling, from_value};
    use clap::Parser;
    use domain::lablet_session::{NewSession, Transition};

    use super::*;

    #[derive(Debug, Parser)]
    enum Parsed {
        Create(NewSessionArguments),
        Transition(TransitionArguments),
    }

    fn parsed(line: &str) -> Result<Parsed, clap::Error> {
        Parsed::try_parse_from(["session"].into_iter().chain(line.split_whitespace()))
    }

    fn bodies(line: &str, reached: Option<&str>) -> Vec<Value> {
        let Parsed::Transition(arguments) = parsed(line).unwrap() else { panic!("{line}") };
        let bodies = arguments.bodies(reached);
        for body in &bodies {
            let read = from_value::<Transition>(body.clone()).and_then(|body| body.handled(Handling::Strict));
            assert!(read.is_ok(), "{body}: {}", read.err().unwrap());
        }
        bodies
    }

    #[test]
    fn a_new_session_is_the_body_that_the_gateway_takes() {
        let line =
            "create --definition ospf --id s1 --owner ada --start 2026-11-27T12:00:00Z --end 2026-11-27T14:00:00Z";
        let Parsed::Create(arguments) = parsed(line).unwrap() else { panic!() };
        let body = arguments.body();
        let timeslot = json!({ "start": "2026-11-27T12:00:00Z", "end": "2026-11-27T14:00:00Z" });
        assert_eq!(body, json!({"definition_id": "ospf", "id": "s1", "owner_id": "ada", "timeslot": timeslot}));
        assert!(from_value::<NewSession>(body).and_then(|body| body.handled(Handling::Strict)).is_ok());
        let Parsed::Create(arguments) = parsed("create --definition ospf").unwrap() else { panic!() };
        assert_eq!(arguments.body(), json!({"definition_id": "ospf"}));
        assert!(parsed("create").is_err() && parsed("create --definition ospf --start 2026-11-27T12:00:00Z").is_err());
    }

    #[test]
    fn worker_and_ports_come_with_the_first_step_and_the_lab_with_the_last() {
        let line =
            "transition s1 scheduled instantiating ready running --worker cml-1 --port PC_serial=5041 --lab lab-1";
        let first = json!({"new_status": "scheduled", "worker_id": "cml-1", "allocated_ports": {"PC_serial": 5041}});
        let (second, third) = (json!({"new_status": "instantiating"}), json!({"new_status": "ready"}));
        let last = json!({"new_status": "running", "cml_lab_id": "lab-1"});
        let all = [first, second, third.clone(), last.clone()];
        assert_eq!(bodies(line, None), all);
        assert_eq!(bodies(line, Some("pending")), all);
        // Half of it was done before.
        let mut again = third;
        again["worker_id"] = json!("cml-1");
        again["allocated_ports"] = json!({"PC_serial": 5041});
        assert_eq!(bodies(line, Some("ready")), [again, last]);
        let one = json!({"new_status": "running", "worker_id": "cml-1", "allocated_ports": {"PC_serial": 5041},
                         "cml_lab_id": "lab-1"});
        assert_eq!(bodies(line, Some("running")), [one]);
        let line = "transition s1 terminated --reason nobody-came";
        assert_eq!(bodies(line, None), [json!({"new_status": "terminated", "reason": "nobody-came"})]);
        assert!(parsed("transition s1").is_err() && parsed("transition s1 flying").is_err());
    }
}
