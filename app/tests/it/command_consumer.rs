//! The command consumer against real Postgres and NATS.

use app::command_consumer::{CommandConsumer, CommandConsumerOptions, CommandDecoder, CommandReply, RetryError, retry};
use app::dead_letters::{DeadLetter, DeadLetterKind, DeadLetters, Status};
use app::log::{Origin, Position};
use async_nats::HeaderMap;
use async_nats::jetstream::context::PublishErrorKind;
use bus::clock::{Clock, IdGenerator};
use bus::{Bus, streams, subjects};
use domain::lablet_session::{LabletSession, SessionStatus, Transition};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::stage::{Stage, WITHIN, until, worker};

mod hostile;

struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(stage: &Stage) -> Self {
        let stop = CancellationToken::new();
        let consumer = CommandConsumer::new(
            stage.bus.clone(),
            stage.commands.clone(),
            dead_letters(stage),
            CommandConsumerOptions::default(),
        );
        let task = tokio::spawn(consumer.run(stop.clone()));
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn dead_letters(stage: &Stage) -> DeadLetters {
    DeadLetters::new(stage.log.pool().clone(), Clock::system(), IdGenerator::random())
}

/// A running session `s1`, and a running consumer.
async fn running_session(stage: &Stage) {
    let origin = Origin::from_actor("test");
    stage.commands.register_worker(worker("w1"), &origin).await.unwrap();
    let definition = json!({
        "id": "d1", "name": "OSPF", "version": "1",
        "resource_requirements": {"cpu_cores": 1, "memory_gb": 1, "storage_gb": 1}
    });
    stage.commands.create_definition(serde_json::from_value(definition).unwrap(), &origin).await.unwrap();
    let session = json!({"id": "s1", "definition_id": "d1"});
    stage.commands.create_session(serde_json::from_value(session).unwrap(), &origin).await.unwrap();
    for step in [
        json!({"new_status": "scheduled", "worker_id": "w1", "allocated_ports": {"PC_serial": 5041}}),
        json!({"new_status": "instantiating"}),
        json!({"new_status": "ready"}),
        json!({"new_status": "running", "cml_lab_id": "lab-1"}),
    ] {
        let transition: Transition = serde_json::from_value(step).unwrap();
        stage.commands.transition_session(&"s1".parse().unwrap(), transition, None, &origin).await.unwrap();
    }
}

async fn session(stage: &Stage) -> domain::lablet_session::PresentSession {
    let (session, ..) = stage.log.load::<LabletSession>("s1").await.unwrap().unwrap();
    session.present().unwrap().clone()
}

fn report() -> Value {
    json!({
        "session_id": "s1",
        "observed_resources": {"total_cpu_cores": 1.5, "total_memory_mb": 1280, "nodes": []},
        "observed_ports": {"PC_serial": 5041}
    })
}

fn structured(command: &str, id: &str, data: &Value) -> Vec<u8> {
    json!({
        "specversion": "1.0", "id": id, "source": "/grading", "type": format!("io.lablet.command.{command}.v1"),
        "datacontenttype": "application/json", "data": data
    })
    .to_string()
    .into_bytes()
}

fn binary(command: &str, id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("ce-specversion", "1.0");
    headers.insert("ce-id", id);
    headers.insert("ce-source", "/grading");
    headers.insert("ce-type", format!("io.lablet.command.{command}.v1"));
    headers.insert("Content-Type", "application/json");
    headers
}

/// Sends, once the stream takes it: the server tells of a new stream a little before it listens to its subjects.
async fn send(bus: &Bus, subject: String, headers: HeaderMap, payload: Vec<u8>) {
    until("the stream to take a command", || async {
        let sent = bus.jetstream().publish_with_headers(subject.clone(), headers.clone(), payload.clone().into());
        match sent.await.unwrap().await {
            Ok(_) => Some(()),
            Err(error) if error.kind() == PublishErrorKind::StreamNotFound => None,
            Err(error) => panic!("a command is not taken: {error}"),
        }
    })
    .await
}

async fn waiting(stage: &Stage, count: usize) -> Vec<DeadLetter> {
    until(&format!("{count} dead letters"), || async {
        let letters =
            dead_letters(stage).list(Some(DeadLetterKind::Command), Some(Status::Waiting), 100).await.unwrap();
        (letters.len() == count).then_some(letters)
    })
    .await
}

/// How many commands are delivered and not acknowledged.
async fn outstanding(stage: &Stage) -> Option<usize> {
    let stream = stage.bus.jetstream().get_stream(streams::COMMANDS).await.ok()?;
    Some(stream.consumer_info(app::command_consumer::CONSUMER).await.ok()?.num_ack_pending)
}

/// Waits until no command is left on the stream.
async fn handled(stage: &Stage) {
    until("an empty stream of commands", || async {
        let stream = stage.bus.jetstream().get_stream(streams::COMMANDS).await.ok()?;
        (stream.cached_info().state.messages == 0).then_some(())
    })
    .await;
}

/// The command's answer, which the consumer sends to an inbox.
async fn answered(stage: &Stage, command: &str, id: &str, data: &Value) -> Value {
    let inbox = stage.bus.client().new_inbox();
    let mut answers = stage.bus.client().subscribe(inbox.clone()).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(subjects::REPLY_TO, inbox);
    send(&stage.bus, subjects::command("grading", command), headers, structured(command, id, data)).await;
    let answer = tokio::time::timeout(WITHIN, answers.next()).await.unwrap().unwrap();
    assert_eq!(answer.headers.unwrap().get(subjects::COMMAND_ID).unwrap().as_str(), id);
    reply(&answer.payload, id)
}

/// A reply, which has the published form and names the command with this id.
fn reply(payload: &[u8], id: &str) -> Value {
    let reply: CommandReply = serde_json::from_slice(payload).unwrap();
    assert_eq!(reply.command_id.as_deref(), Some(id));
    let sent: Value = serde_json::from_slice(payload).unwrap();
    let mut described = sent.clone();
    described.as_object_mut().unwrap().retain(|_, member| !member.is_null());
    assert_eq!(serde_json::to_value(reply).unwrap(), described, "the published form has every member");
    sent
}

#[tokio::test]
async fn an_observation_sent_three_times_is_recorded_once_in_either_mode() {
    let stage = Stage::new().await;
    running_session(&stage).await;
    let consumer = Running::start(&stage);
    until("the stream of commands", || async { stage.bus.jetstream().get_stream(streams::COMMANDS).await.ok() }).await;
    let command = "record_resource_observation";
    let subject = || subjects::command("grading", command);
    for _ in 0..3 {
        send(&stage.bus, subject(), HeaderMap::new(), structured(command, "e-1", &report())).await;
        send(&stage.bus, subject(), binary(command, "e-2"), report().to_string().into_bytes()).await;
    }
    handled(&stage).await;
    assert_eq!(session(&stage).await.observations.count, 2, "two events, each sent three times");
    stage.database.settle().await;
    let recorded = stage.log.read(Position::START, 100).await.unwrap();
    let last = recorded.last().unwrap();
    assert_eq!(last.metadata.actor.as_deref(), Some("team:grading"));
    assert_eq!(dead_letters(&stage).waiting(DeadLetterKind::Command).await.unwrap(), 0);
    consumer.stop().await;
}

#[tokio::test]
async fn a_sender_is_answered_where_it_wants_to_be() {
    let stage = Stage::new().await;
    running_session(&stage).await;
    let consumer = Running::start(&stage);
    until("the stream of commands", || async { stage.bus.jetstream().get_stream(streams::COMMANDS).await.ok() }).await;
    let answer = answered(&stage, "record_resource_observation", "e-1", &report()).await;
    assert_eq!(answer["status"], "recorded");
    assert_eq!(answer["session_id"], "s1");
    assert_eq!(answer["observation_count"], 1);
    stage.database.settle().await;
    assert_eq!(answer["position"], stage.log.head().await.unwrap().to_string());
    let again = answered(&stage, "record_resource_observation", "e-1", &report()).await;
    assert_eq!(again["status"], "repeated");
    assert_eq!(again["position"], answer["position"]);
    let mut other = report();
    other["observed_resources"]["total_cpu_cores"] = 7.into();
    let reused = answered(&stage, "record_resource_observation", "e-1", &other).await;
    assert_eq!(reused["status"], "refused");
    assert_eq!(reused["error"]["code"], "key_reused");
    let created = answered(&stage, "create_lablet_session", "e-9", &json!({"definition_id": "d1"})).await;
    let created_again = answered(&stage, "create_lablet_session", "e-9", &json!({"definition_id": "d1"})).await;
    assert_eq!(created["session_id"], created_again["session_id"]);
    assert_eq!(created_again["status"], "repeated");
    consumer.stop().await;
}

#[tokio::test]
async fn a_step_to_the_status_that_a_session_has_records_what_is_new() {
    let stage = Stage::new().await;
    running_session(&stage).await;
    let consumer = Running::start(&stage);
    until("the stream of commands", || async { stage.bus.jetstream().get_stream(streams::COMMANDS).await.ok() }).await;
    let step = "transition_lablet_session";
    let body = json!({"session_id": "s1", "new_status": "running", "allocated_ports": {"PC_serial": 5050}});
    let answer = answered(&stage, step, "e-1", &body).await;
    assert_eq!((&answer["status"], &answer["sequence"]), (&json!("recorded"), &json!(6)));
    assert_eq!(answered(&stage, step, "e-2", &body).await["status"], "already_done");
    let state = session(&stage).await;
    assert_eq!(serde_json::to_value(&state.allocated_ports).unwrap(), json!({"PC_serial": 5050}));
    let other = json!({"session_id": "s1", "new_status": "running", "cml_lab_id": "lab-2"});
    let refused = answered(&stage, step, "e-3", &other).await;
    assert_eq!(
        (&refused["error"]["code"], &refused["error"]["field"]),
        (&json!("bound_elsewhere"), &json!("cml_lab_id"))
    );
    assert_eq!(refused["error"]["errors"][0]["problem"], "is lab-2, while the session is bound to lab lab-1");
    assert_eq!(refused["error"]["errors"][0]["expected"], "lab-1, or nothing");
    consumer.stop().await;
}

#[tokio::test]
async fn what_can_never_work_goes_to_the_dead_letters_with_its_reason() {
    let stage = Stage::new().await;
    running_session(&stage).await;
    let consumer = Running::start(&stage);
    until("the stream of commands", || async { stage.bus.jetstream().get_stream(streams::COMMANDS).await.ok() }).await;
    let subject = |command: &str| subjects::command("grading", command);
    let record = "record_resource_observation";
    let plain = HeaderMap::new;
    send(&stage.bus, subject(record), plain(), b"no event \xff\xfe".to_vec()).await;
    send(&stage.bus, subject(record), plain(), b"no event \xff\xfe".to_vec()).await;
    send(&stage.bus, subject("explode"), plain(), structured("explode", "e-1", &json!({}))).await;
    send(&stage.bus, subject(record), plain(), structured("register_worker", "e-2", &json!({}))).await;
    let mut bad = report();
    bad["observed_ports"] = json!({"PC_serial": 70_000});
    send(&stage.bus, subject(record), plain(), structured(record, "e-3", &bad)).await;
    let mut unknown = report();
    unknown["session_id"] = "s2".into();
    send(&stage.bus, subject(record), plain(), structured(record, "e-4", &unknown)).await;
    let move_on = json!({"session_id": "s1", "new_status": "archived"});
    send(
        &stage.bus,
        subject("transition_lablet_session"),
        plain(),
        structured("transition_lablet_session", "e-5", &move_on),
    )
    .await;
    let letters = waiting(&stage, 6).await;
    handled(&stage).await;
    let mut reasons: Vec<String> =
        letters.iter().map(|letter| format!("{}x {}", letter.attempts, letter.reason)).collect();
    reasons.sort();
    insta::assert_snapshot!(reasons.join("\n"), @r"
    1x a session that is running cannot become archived; from running it may become: collecting, stopping, terminated, expired
    1x observed_ports.PC_serial is 70000; expected a port from 1 to 65535
    1x the event's type is io.lablet.command.register_worker.v1; expected io.lablet.command.record_resource_observation.v1
    1x the subject's command is explode; expected one of create_lablet_definition, revise_lablet_definition, register_worker, change_worker, record_worker_pressure, create_lablet_session, transition_lablet_session, request_resource_observation, record_resource_observation, record_observation_failure, exclude_session_evidence, include_session_evidence, acknowledge_port_drift, withdraw_port_drift_acknowledgement, correct_allocation, set_default_policy, set_definition_policy, open_proposal, withdraw_proposal, claim_proposal, apply_proposal, fail_proposal, dismiss_proposal, verify_proposal
    1x there is no session s2
    2x the message is no CloudEvent: it has neither the header ce-specversion nor the content type application/cloudevents+json nor a JSON object with specversion
    ");
    assert_eq!(session(&stage).await.observations.count, 0);
    consumer.stop().await;
}

#[tokio::test]
async fn a_dead_command_can_be_handled_again_or_discarded() {
    let stage = Stage::new().await;
    let consumer = Running::start(&stage);
    until("the stream of commands", || async { stage.bus.jetstream().get_stream(streams::COMMANDS).await.ok() }).await;
    let command = "record_resource_observation";
    send(&stage.bus, subjects::command("grading", command), binary(command, "e-1"), report().to_string().into_bytes())
        .await;
    let id = waiting(&stage, 1).await[0].id;
    let (decoder, letters) = (CommandDecoder::new(stage.commands.clone()), dead_letters(&stage));
    assert!(matches!(retry(&decoder, &letters, id, "operator").await, Err(RetryError::Rejected(_))));
    running_session(&stage).await;
    let answer = retry(&decoder, &letters, id, "operator").await.unwrap();
    assert_eq!(answer.status, "recorded");
    assert_eq!(session(&stage).await.observations.count, 1);
    assert!(matches!(retry(&decoder, &letters, id, "operator").await, Err(RetryError::Settled(_))));
    send(&stage.bus, subjects::command("grading", "explode"), HeaderMap::new(), Vec::new()).await;
    let id = waiting(&stage, 1).await[0].id;
    assert!(letters.settle(id, Status::Discarded, "operator", Some("a test")).await.unwrap());
    assert!(!letters.settle(id, Status::Discarded, "operator", Some("a test")).await.unwrap());
    consumer.stop().await;
}

#[tokio::test]
async fn commands_wait_while_postgres_is_away() {
    let stage = Stage::new().await;
    running_session(&stage).await;
    let consumer = Running::start(&stage);
    until("the stream of commands", || async { stage.bus.jetstream().get_stream(streams::COMMANDS).await.ok() }).await;
    stage.refuse_connections(true).await;
    let command = "record_resource_observation";
    for number in 0..5 {
        let payload = structured(command, &format!("e-{number}"), &report());
        send(&stage.bus, subjects::command("grading", command), HeaderMap::new(), payload).await;
    }
    until("five commands in hand", || async { (outstanding(&stage).await? == 5).then_some(()) }).await;
    stage.refuse_connections(false).await;
    handled(&stage).await;
    let letters = dead_letters(&stage).list(None, None, 10).await.unwrap();
    assert!(letters.is_empty(), "{letters:?}");
    assert_eq!(session(&stage).await.observations.count, 5);
    consumer.stop().await;
}

#[tokio::test]
async fn commands_about_one_session_keep_their_order() {
    let stage = Stage::new().await;
    running_session(&stage).await;
    let consumer = Running::start(&stage);
    until("the stream of commands", || async { stage.bus.jetstream().get_stream(streams::COMMANDS).await.ok() }).await;
    let command = "transition_lablet_session";
    for (number, status) in ["collecting", "grading", "stopping", "stopped", "archived"].into_iter().enumerate() {
        let data = json!({"session_id": "s1", "new_status": status});
        let payload = structured(command, &format!("e-{number}"), &data);
        send(&stage.bus, subjects::command("booking", command), HeaderMap::new(), payload).await;
    }
    handled(&stage).await;
    assert_eq!(session(&stage).await.status, SessionStatus::Archived);
    consumer.stop().await;
}

#[tokio::test]
async fn the_consumer_goes_on_after_the_stream_or_the_server_was_lost() {
    let mut nats = servers::testing::private_nats().await;
    let stage = Stage::on(nats.url()).await;
    running_session(&stage).await;
    let consumer = Running::start(&stage);
    let command = "record_resource_observation";
    for (before, loss) in ["none", "stream", "consumer", "everything"].into_iter().enumerate() {
        let expected = before as u64 + 1;
        match loss {
            "stream" => drop(stage.bus.jetstream().delete_stream(streams::COMMANDS).await.unwrap()),
            "consumer" => {
                let stream = stage.bus.jetstream().get_stream(streams::COMMANDS).await.unwrap();
                stream.delete_consumer(app::command_consumer::CONSUMER).await.unwrap();
            }
            "everything" => nats.lose_everything().await,
            _ => {}
        }
        until("a command that is taken", || async {
            let payload = structured(command, loss, &report());
            let subject = subjects::command("grading", command);
            stage.bus.jetstream().publish(subject, payload.into()).await.ok()?.await.ok()
        })
        .await;
        until(&format!("a command handled after the loss of {loss}"), || async {
            (session(&stage).await.observations.count == expected).then_some(())
        })
        .await;
    }
    consumer.stop().await;
}

#[tokio::test]
async fn the_same_commands_are_served_as_request_and_reply() {
    let stage = Stage::new().await;
    running_session(&stage).await;
    let consumer = Running::start(&stage);
    let command = "record_resource_observation";
    let request = |id: &'static str, data: Value| {
        let client = stage.bus.client().clone();
        async move { client.request(subjects::request("grading", command), structured(command, id, &data).into()).await }
    };
    let answer = until("the micro service", || async { request("e-1", report()).await.ok() }).await;
    let body = reply(&answer.payload, "e-1");
    assert_eq!((&body["status"], &body["observation_count"]), (&json!("recorded"), &json!(1)));
    let again = request("e-1", report()).await.unwrap();
    assert_eq!(reply(&again.payload, "e-1")["status"], "repeated");
    let mut unknown = report();
    unknown["session_id"] = "s2".into();
    let refused = request("e-2", unknown).await.unwrap();
    let headers = refused.headers.unwrap();
    assert_eq!(headers.get("Nats-Service-Error-Code").unwrap().as_str(), "404");
    assert_eq!(headers.get(subjects::COMMAND_ID).unwrap().as_str(), "e-2");
    assert_eq!(reply(&refused.payload, "e-2")["error"]["message"], "there is no session s2");
    assert_eq!(dead_letters(&stage).waiting(DeadLetterKind::Command).await.unwrap(), 0, "its sender knows");
    consumer.stop().await;
}

#[tokio::test]
async fn the_micro_service_counts_its_errors_and_links_its_schemas() {
    let stage = Stage::new().await;
    running_session(&stage).await;
    let consumer = Running::start(&stage);
    let command = "record_resource_observation";
    let ask = |subject: String, payload: Vec<u8>| {
        let client = stage.bus.client().clone();
        async move { client.request(subject, payload.into()).await.ok() }
    };
    let wrong = || ask(subjects::request("grading", command), structured(command, "e-1", &json!({"session_id": "s1"})));
    let refused = until("the micro service", wrong).await;
    assert_eq!(reply(&refused.payload, "e-1")["error"]["code"], "invalid");
    let about = |verb: &str| ask(format!("$SRV.{verb}.lablet"), Vec::new());
    let endpoint = |answer: &[u8]| {
        let answer: Value = serde_json::from_slice(answer).unwrap();
        let endpoints = answer["endpoints"].as_array().unwrap();
        endpoints.iter().find(|endpoint| endpoint["name"] == command).unwrap().clone()
    };
    let counted = until("a counted error", || async {
        let stats = endpoint(&about("STATS").await?.payload);
        (stats["num_errors"] == 1).then_some(stats)
    })
    .await;
    assert!(counted["last_error"].to_string().contains("invalid"), "{counted}");
    let info = endpoint(&about("INFO").await.unwrap().payload);
    assert_eq!(info["metadata"]["type"], "io.lablet.command.record_resource_observation.v1");
    let schema = "http://127.0.0.1:8080/api/schemas/io.lablet.command.record_resource_observation.v1.0.json";
    assert_eq!(info["metadata"]["schema"], schema);
    consumer.stop().await;
}

#[tokio::test]
async fn a_reply_subject_that_is_not_allowed_is_told_with_the_dead_letter() {
    let stage = Stage::new().await;
    running_session(&stage).await;
    let consumer = Running::start(&stage);
    until("the stream of commands", || async { stage.bus.jetstream().get_stream(streams::COMMANDS).await.ok() }).await;
    let command = "record_resource_observation";
    let mut headers = HeaderMap::new();
    headers.insert(subjects::REPLY_TO, "grading.replies.7");
    let payload = structured(command, "e-1", &json!({"session_id": "s1"}));
    send(&stage.bus, subjects::command("grading", command), headers, payload).await;
    let letters = waiting(&stage, 1).await;
    let reason = &letters[0].reason;
    let told = "no reply was sent: Lablet-Reply-To is \"grading.replies.7\", expected _INBOX… or lablet.replies.…";
    assert!(reason.contains(told), "{reason}");
    consumer.stop().await;
}

#[tokio::test]
async fn what_cannot_be_stored_or_shown_becomes_a_dead_letter_that_names_the_field() {
    let stage = Stage::new().await;
    running_session(&stage).await;
    let consumer = Running::start(&stage);
    until("the stream of commands", || async { stage.bus.jetstream().get_stream(streams::COMMANDS).await.ok() }).await;
    let record = "record_resource_observation";
    let fields = [
        ("observed_at", json!("0001-01-01T00:00:00+08:00"), "observed_resources.observed_at"),
        ("observed_at", json!("2099-01-01T00:00:00Z"), "observed_resources.observed_at"),
        ("nominal", json!({"unknown_cpu_nodes": 3_000_000_000_u64}), "observed_resources.nominal.unknown_cpu_nodes"),
        (
            "unreadable_tags",
            json!([{"node_id": "a\u{0}", "tag": "pat:", "reason": "?"}]),
            "observed_resources.unreadable_tags[0].node_id",
        ),
    ];
    for (index, (member, value, _)) in fields.iter().enumerate() {
        let mut bad = report();
        bad["observed_resources"][member] = value.clone();
        let payload = structured(record, &format!("e-{index}"), &bad);
        send(&stage.bus, subjects::command("grading", record), HeaderMap::new(), payload).await;
    }
    let letters = waiting(&stage, fields.len()).await;
    handled(&stage).await;
    for (_, _, field) in fields {
        assert!(letters.iter().any(|letter| letter.reason.starts_with(field)), "{field}: {letters:#?}");
    }
    assert!(letters.iter().all(|letter| letter.attempts == 1), "{letters:#?}");
    assert_eq!(session(&stage).await.observations.count, 0);
    consumer.stop().await;
}
