//! What the controller says, said to the real command consumer over a real log.

use std::time::Duration;

use app::command_consumer::{CommandConsumer, CommandConsumerOptions};
use app::commands::Commands;
use app::dead_letters::DeadLetters;
use app::log::{Log, LogOptions, MIGRATOR, Origin, Position};
use bus::clock::{Clock, IdGenerator};
use bus::{Bus, BusOptions, StreamBounds, streams};
use controller::Gateway;
use controller::plan::derived;
use controller::reports::{CommandOutcome, Report, Sender};
use domain::lablet_session::{FailureOutcome, LabletSession, SessionStatus};
use domain::observation::ResourceObservation;
use domain::{RequestId, SessionId};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::surroundings::{TRACEPARENT, install_tls};

#[tokio::test]
async fn the_command_consumer_records_the_controllers_commands_once_and_replies() {
    install_tls();
    let nats = servers::testing::nats().await;
    let bus = Bus::connect(&BusOptions::new(nats.url(), "test")).await.unwrap();
    bus.connected(Duration::from_secs(20)).await.unwrap();
    streams::ensure_commands(&bus, &StreamBounds::default()).await.unwrap();
    let database = servers::testing::database(&MIGRATOR).await;
    let pool = database.pool();
    let (clock, id_generator) = (Clock::system(), IdGenerator::random());
    let log = Log::new(pool.clone(), clock.clone(), id_generator.clone(), LogOptions::default());
    let commands = Commands::new(log.clone(), clock.clone(), id_generator.clone());
    let origin = Origin::from_actor("test");
    let capacity = json!({"cpu_cores": 64, "memory_gb": 256, "storage_gb": 1000, "max_nodes": 300});
    let worker = json!({"id": "w1", "name": "w1", "address": "https://cml.example.org", "capacity": capacity});
    commands.register_worker(serde_json::from_value(worker).unwrap(), &origin).await.unwrap();
    let definition = json!({"id": "d1", "name": "OSPF", "version": "1",
        "resource_requirements": {"cpu_cores": 1, "memory_gb": 1, "storage_gb": 1}});
    commands.create_definition(serde_json::from_value(definition).unwrap(), &origin).await.unwrap();
    let session = json!({"id": "s1", "definition_id": "d1"});
    commands.create_session(serde_json::from_value(session).unwrap(), &origin).await.unwrap();
    let session = SessionId::parse("s1").unwrap();
    for step in [
        json!({"new_status": "scheduled", "worker_id": "w1"}),
        json!({"new_status": "instantiating"}),
        json!({"new_status": "ready"}),
        json!({"new_status": "running", "cml_lab_id": "lab-1"}),
    ] {
        commands.transition_session(&session, serde_json::from_value(step).unwrap(), None, &origin).await.unwrap();
    }
    let stop = CancellationToken::new();
    let consumer = CommandConsumer::new(
        bus.clone(),
        commands,
        DeadLetters::new(pool.clone(), clock.clone(), id_generator),
        CommandConsumerOptions::default(),
    );
    let consumer = tokio::spawn(consumer.run(stop.clone()));

    let gateway = Gateway::new("http://127.0.0.1:9", "key").unwrap();
    let sender = Sender::new(bus, gateway, StreamBounds::default(), streams::LARGEST_COMMAND);
    let request = RequestId::parse("r1").unwrap();
    let ask = Report::request_observation(&session, &request, derived("test", &["ask"])).in_trace(Some(TRACEPARENT));
    assert_eq!(sender.send(&ask).await.unwrap(), CommandOutcome::Recorded);
    let events = log.read(Position::START, 100).await.unwrap();
    let requested = events.iter().find(|event| event.event_type == "lablet_session.observe_resources_requested");
    assert_eq!(requested.unwrap().metadata.traceparent.as_deref(), Some(TRACEPARENT), "the event is part of the trace");
    let unknown = RequestId::parse("r9").unwrap();
    let failure = Report::failure(&session, &unknown, FailureOutcome::Failed, "no reason").unwrap();
    assert!(matches!(sender.send(&failure).await.unwrap(), CommandOutcome::Rejected { code, .. } if code == "invalid"));
    let seen = |memory| ResourceObservation {
        observed_at: Some(domain::time::BoundedTime::nearest(clock.now())),
        total_memory_mb: Some(domain::Amount::new(memory).unwrap()),
        ..ResourceObservation::unknown()
    };
    let observation = Report::observation(&session, &request, seen(768.0)).unwrap();
    assert_eq!(sender.send(&observation).await.unwrap(), CommandOutcome::Recorded);
    let late = Report::failure(&session, &request, FailureOutcome::Failed, "another controller was slower").unwrap();
    assert_eq!(sender.send(&late).await.unwrap(), CommandOutcome::Recorded, "the request has its one outcome already");
    let move_on = Report::move_on(&session, derived("test", &["move on"])).unwrap();
    assert_eq!(sender.send(&move_on).await.unwrap(), CommandOutcome::Recorded);
    let again = Report::move_on(&session, derived("test", &["move on again"])).unwrap();
    assert_eq!(sender.send(&again).await.unwrap(), CommandOutcome::Recorded);

    let (state, ..) = log.load::<LabletSession>("s1").await.unwrap().unwrap();
    let state = state.present().unwrap();
    assert_eq!((state.status, state.observations.count), (SessionStatus::Collecting, 1));
    assert!(state.open_requests.is_empty());
    stop.cancel();
    consumer.await.unwrap();
}
