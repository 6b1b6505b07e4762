//! The data of commands from the bus: read by the same rules as bodies over HTTP.

use std::time::Duration;

use app::authority::{Authorities, Grants, TEAM_SETTING};
use app::body::Handling;
use app::command_consumer::{CommandConsumer, CommandConsumerOptions};
use app::commands::Commands;
use app::dead_letters::{DeadLetterKind, DeadLetters, Status};
use app::log::Origin;
use async_nats::HeaderMap;
use bus::clock::{Clock, IdGenerator};
use bus::{streams, subjects};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::stage::{Stage, until};

const COMMAND: &str = "register_worker";

/// A consumer of commands at work.
pub(crate) struct AtWork {
    pub(crate) stage: Stage,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl AtWork {
    async fn start(handling: Handling) -> Self {
        Self::with(handling, |commands| commands).await
    }

    /// Whose commands are these of the stage's.
    pub(crate) async fn with(handling: Handling, change: impl FnOnce(Commands) -> Commands) -> Self {
        let stage = Stage::new().await;
        let all = Authorities::new(Grants::parse(TEAM_SETTING, "*=all").unwrap(), Grants::default());
        let commands = change(stage.commands.clone().with_authorities(all).handling_bodies(handling));
        let stop = CancellationToken::new();
        let consumer =
            CommandConsumer::new(stage.bus.clone(), commands, dead_letters(&stage), CommandConsumerOptions::default());
        let task = tokio::spawn(consumer.run(stop.clone()));
        until("the stream of commands", || async { stage.bus.jetstream().get_stream(streams::COMMANDS).await.ok() })
            .await;
        Self { stage, stop, task }
    }

    /// The answer to an event, which is sent to an inbox.
    async fn answer(&self, event: String) -> Value {
        self.answer_to(COMMAND, event).await
    }

    /// The answer to an event with this command.
    pub(crate) async fn answer_to(&self, command: &str, event: String) -> Value {
        let inbox = self.stage.bus.client().new_inbox();
        let mut answers = self.stage.bus.client().subscribe(inbox.clone()).await.unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(subjects::REPLY_TO, inbox);
        let subject = subjects::command("booking", command);
        let jetstream = self.stage.bus.jetstream();
        jetstream.publish_with_headers(subject, headers, event.into()).await.unwrap().await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(60), answers.next()).await.unwrap().unwrap();
        serde_json::from_slice(&answer.payload).unwrap()
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn dead_letters(stage: &Stage) -> DeadLetters {
    DeadLetters::new(stage.log.pool().clone(), Clock::system(), IdGenerator::random())
}

fn event(id: &str, more: &str, data: &str) -> String {
    let ty = format!("io.lablet.command.{COMMAND}.v1");
    format!(r#"{{"specversion":"1.0","id":"{id}","source":"/booking","type":"{ty}"{more},"data":{data}}}"#)
}

fn worker(id: &str, more: &str) -> String {
    format!(
        r#"{{"id":"{id}","name":"CML","address":"https://cml.example.org",
             "capacity":{{"cpu_cores":1,"memory_gb":1,"storage_gb":1,"max_nodes":1}}{more}}}"#
    )
}

fn fields(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|entry| entry["field"].as_str().unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_misspelt_member_is_named_in_the_reply_and_refused_where_the_sender_wants_it() {
    let at_work = AtWork::start(Handling::Lenient).await;
    let misspelt = worker("w1", r#","port_rang":{"first":3000,"last":3999}"#);
    let answer = at_work.answer(event("e1", "", &misspelt)).await;
    assert_eq!((&answer["status"], fields(&answer["warnings"])), (&json!("recorded"), vec!["port_rang"]));
    assert!(answer["warnings"][0]["message"].as_str().unwrap().ends_with("did you mean port_range?"), "{answer}");
    let answer = at_work.answer(event("e2", r#","handling":"strict""#, &worker("w2", r#","surplus":1"#))).await;
    assert_eq!((&answer["status"], fields(&answer["error"]["errors"])), (&json!("refused"), vec!["surplus"]));
    let answer = at_work.answer(event("e3", "", &worker("w3", ""))).await;
    assert_eq!((&answer["status"], answer.get("warnings")), (&json!("recorded"), None));
    at_work.end().await;
}

#[tokio::test]
async fn a_setting_has_misspelt_members_refused() {
    let at_work = AtWork::start(Handling::Strict).await;
    let answer = at_work.answer(event("e1", "", &worker("w1", r#","surplus":1"#))).await;
    assert_eq!((&answer["status"], fields(&answer["error"]["errors"])), (&json!("refused"), vec!["surplus"]));
    let known = at_work.stage.log.load::<domain::worker::Worker>("w1").await.unwrap();
    assert!(known.is_none());
    at_work.end().await;
}

#[tokio::test]
async fn reply_and_dead_letter_name_every_field_that_is_wrong() {
    let at_work = AtWork::start(Handling::Lenient).await;
    let wrong = r#"{"id":"a.b","name":5,"address":"http://x","capacity":{"cpu_cores":0}}"#;
    let answer = at_work.answer(event("e1", "", wrong)).await;
    let mut named = fields(&answer["error"]["errors"]);
    named.sort_unstable();
    let expected = [
        "address",
        "capacity.cpu_cores",
        "capacity.max_nodes",
        "capacity.memory_gb",
        "capacity.storage_gb",
        "id",
        "name",
    ];
    assert_eq!(named, expected);
    let twice = at_work.answer(event("e2", "", &worker("w2", r#","name":"two""#))).await;
    assert_eq!((fields(&twice["error"]["errors"]), &twice["error"]["code"]), (vec!["name"], &json!("invalid")));
    let letters =
        dead_letters(&at_work.stage).list(Some(DeadLetterKind::Command), Some(Status::Waiting), 10).await.unwrap();
    let reason = letters.iter().map(|letter| letter.reason.as_str()).find(|reason| !reason.contains("twice")).unwrap();
    for field in expected {
        assert!(reason.contains(field), "{field}: {reason}");
    }
    at_work.end().await;
}

#[tokio::test]
async fn a_command_that_rests_on_an_older_version_is_stale() {
    let stage = Stage::new().await;
    stage.register_workers(1..2).await;
    let change = serde_json::from_value(json!({"name": "CML two"})).unwrap();
    let refused =
        stage.commands.change_worker(&"w1".parse().unwrap(), change, Some(9), &Origin::from_actor("test")).await;
    assert_eq!(refused.unwrap_err().code(), "stale");
}
