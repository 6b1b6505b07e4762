//! What teams may send, by every way that leads from the bus to the log.

use app::authority::{Authorities, Grants, TEAM_SETTING};
use app::command::{Command, CommandName};
use app::command_consumer::{CommandConsumer, CommandConsumerOptions, CommandDecoder, RetryError, retry};
use app::commands::Commands;
use app::dead_letters::{DeadLetter, DeadLetterKind, DeadLetters, Status};
use app::log::Origin;
use bus::clock::{Clock, IdGenerator};
use bus::{streams, subjects};
use domain::worker::Worker;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::stage::{Stage, WITHIN, until, worker};

const ELSEWHERE: &str = "https://elsewhere.example.org";

fn dead_letters(stage: &Stage) -> DeadLetters {
    DeadLetters::new(stage.log.pool().clone(), Clock::system(), IdGenerator::random())
}

fn with_teams(stage: &Stage, setting: &str) -> Commands {
    let teams = Grants::parse(TEAM_SETTING, setting).unwrap();
    stage.commands.clone().with_authorities(Authorities::new(teams, Grants::default()))
}

fn event(command: &str, id: &str, data: &Value) -> Vec<u8> {
    json!({"specversion": "1.0", "id": id, "source": "/test", "type": Command::event_type(command), "data": data})
        .to_string()
        .into_bytes()
}

/// Moves the worker `w1` to another address.
fn move_worker(id: &str) -> Vec<u8> {
    event("change_worker", id, &json!({"worker_id": "w1", "address": ELSEWHERE}))
}

async fn address_of_worker(stage: &Stage) -> String {
    let (worker, ..) = stage.log.load::<Worker>("w1").await.unwrap().unwrap();
    let Worker::Present { profile, .. } = &*worker else { panic!("the worker is there") };
    profile.address.url().to_string()
}

async fn one_dead_letter(stage: &Stage) -> DeadLetter {
    until("a dead letter", || async {
        let letters = dead_letters(stage).list(Some(DeadLetterKind::Command), Some(Status::Waiting), 10).await.unwrap();
        letters.into_iter().next()
    })
    .await
}

#[tokio::test]
async fn a_team_that_was_not_named_for_workers_cannot_move_one() {
    let stage = Stage::new().await;
    stage.commands.register_worker(worker("w1"), &Origin::from_actor("test")).await.unwrap();
    let commands = with_teams(&stage, "operations=default,workers");
    let stop = CancellationToken::new();
    let consumer = CommandConsumer::new(
        stage.bus.clone(),
        commands.clone(),
        dead_letters(&stage),
        CommandConsumerOptions::default(),
    );
    let consumer = tokio::spawn(consumer.run(stop.clone()));
    until("the stream of commands", || async { stage.bus.jetstream().get_stream(streams::COMMANDS).await.ok() }).await;

    // By the stream: a dead letter and an answer, both with the reason.
    let client = stage.bus.client();
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert(subjects::REPLY_TO, inbox);
    let subject = subjects::command("grading", "change_worker");
    let sent = stage.bus.jetstream().publish_with_headers(subject, headers, move_worker("e-1").into()).await.unwrap();
    sent.await.unwrap();
    let letter = one_dead_letter(&stage).await;
    assert!(letter.reason.starts_with(r#"the team "grading" may not send change_worker"#), "{}", letter.reason);
    assert!(letter.reason.contains("LABLET_TEAM_AUTHORITY"), "{}", letter.reason);
    let answer = tokio::time::timeout(WITHIN, answers.next()).await.unwrap().unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer["error"]["code"], "forbidden");

    // By request and reply.
    let ask = |team: &'static str, id: &'static str| {
        client.request(subjects::request(team, "change_worker"), move_worker(id).into())
    };
    let refused = until("the micro service", || async { ask("grading", "e-2").await.ok() }).await;
    let headers = refused.headers.unwrap();
    assert_eq!(headers.get("Nats-Service-Error-Code").unwrap().as_str(), "403");

    // By an operator who tries the dead letter again: it keeps the authority of its team.
    let again = retry(&CommandDecoder::new(commands), &dead_letters(&stage), letter.id, "admin:oli").await;
    assert!(matches!(&again, Err(RetryError::Rejected(rejection)) if rejection.code() == "forbidden"), "{again:?}");
    assert_eq!(address_of_worker(&stage).await, "https://cml.example.org/");

    // A team that is named may, and a letter works once its team is.
    let named = with_teams(&stage, "grading=workers");
    retry(&CommandDecoder::new(named), &dead_letters(&stage), letter.id, "admin:oli").await.unwrap();
    assert_eq!(address_of_worker(&stage).await, format!("{ELSEWHERE}/"));
    let allowed = ask("operations", "e-3").await.unwrap();
    let allowed: Value = serde_json::from_slice(&allowed.payload).unwrap();
    assert_eq!(allowed["status"], "already_done");
    stop.cancel();
    consumer.await.unwrap();
}

#[tokio::test]
async fn of_every_command_a_team_sends_those_that_it_was_given() {
    let stage = Stage::new().await;
    let id_of = |name: &str| Command::id_field(name).map_or_else(|| json!({}), |field| json!({ field: "x1" }));
    for allowed in CommandName::ALL {
        let decoder = CommandDecoder::new(with_teams(&stage, &format!("grading={allowed}")));
        for command in CommandName::ALL {
            let mut data = id_of(command.as_str());
            let rest = match command {
                CommandName::CreateLabletDefinition | CommandName::ReviseLabletDefinition => json!({
                    "name": "OSPF", "version": "1",
                    "resource_requirements": {"cpu_cores": 1, "memory_gb": 1, "storage_gb": 1}
                }),
                CommandName::RegisterWorker => serde_json::to_value(worker("w9")).unwrap(),
                CommandName::ChangeWorker => json!({"name": "other"}),
                CommandName::RecordWorkerPressure => json!({"pressure": {"short_of_cpu": true}}),
                CommandName::CreateLabletSession => json!({"definition_id": "nowhere"}),
                CommandName::TransitionLabletSession => json!({"new_status": "ready"}),
                CommandName::RequestResourceObservation => json!({}),
                CommandName::RecordResourceObservation => json!({"observed_resources": {"total_cpu_cores": 1.0}}),
                CommandName::RecordObservationFailure => {
                    json!({"request_id": "r1", "outcome": "failed", "reason": "away"})
                }
                CommandName::ExcludeSessionEvidence
                | CommandName::IncludeSessionEvidence
                | CommandName::SetDefaultPolicy
                | CommandName::CorrectAllocation
                | CommandName::WithdrawPortDriftAcknowledgement
                | CommandName::SetDefinitionPolicy => json!({"reason": "because"}),
                CommandName::AcknowledgePortDrift => {
                    json!({"reason": "because", "until": "2026-03-02T10:00:00Z"})
                }
                CommandName::OpenProposal => json!({
                    "kind": "size", "after": {"cpu_cores": 1, "memory_gb": 1, "storage_gb": 1},
                    "finding": "over_provisioned", "promise": 0.95, "as_of": "0000000001-00000000000000000007-0000000000000000007", "sessions": 3, "reason": "because"
                }),
                CommandName::WithdrawProposal
                | CommandName::ClaimProposal
                | CommandName::ApplyProposal
                | CommandName::FailProposal
                | CommandName::DismissProposal => json!({"proposal_id": "p1", "reason": "because"}),
                CommandName::VerifyProposal => json!({
                    "proposal_id": "p1", "held": true, "sessions": 3,
                    "sessions_short": {"cpu_cores": 0, "memory_mb": 0, "storage_mb": 0}
                }),
            };
            data.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            if command == CommandName::ReviseLabletDefinition {
                data.as_object_mut().unwrap().retain(|member, _| member != "version" && member != "name");
                data["reason"] = json!("because");
            }
            let subject = subjects::command("grading", command.as_str());
            let taken = CommandDecoder::take(&subject, None, &event(command.as_str(), "e", &data)).unwrap();
            let forbidden = decoder.handle(taken).await.is_err_and(|rejection| rejection.code() == "forbidden");
            assert_eq!(forbidden, command != allowed, "{command} with the authority for {allowed}");
        }
    }
}
