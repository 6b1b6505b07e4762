//! The programs of docs/services.md keep what they promise: in Python and in TypeScript, while the bus loses what it has.

use async_nats::jetstream::stream::Stream;
use serde_json::{Value, json};

use super::services::jetstream;
use super::{SOON, with_a_running_session};
use harness::service_programs::{Language, ServicePrograms};
use harness::{Lablet, eventually};

/// One system for all programs: each language has a state and a durable consumer of its own.
#[tokio::test]
async fn consumers_and_senders_of_the_guide_miss_nothing_and_repeat_nothing_whatever_the_bus_loses() {
    let lablet = with_a_running_session().await;
    let programs = ServicePrograms::new(lablet.ready()).await.unwrap();
    let jetstream = jetstream(&lablet).await;
    let mut observations = 0;

    // A report counts once, by either way, and what is wrong is told with its code.
    for language in Language::ALL {
        for (id, way, expected) in
            [("first", None, "recorded"), ("first", None, "repeated"), ("second", Some("--request"), "recorded")]
        {
            let (succeeded, reply) = send(&programs, language, "s1", id, way).await;
            assert!(succeeded && reply["status"] == expected, "{language:?} {id}: {reply}");
            assert_eq!(reply["command_id"], identity(language, id));
            observations += usize::from(expected == "recorded");
        }
        let (succeeded, reply) = send(&programs, language, "nobody", "third", Some("--request")).await;
        assert!(!succeeded && reply["error"]["code"] == "not_found", "{language:?}: {reply}");
    }
    // One whose notice says where its data is, as it is too large.
    lablet.post("/api/internal/lablet-sessions/s1/resource-observations", large_observation()).await.unwrap();
    observations += 1;

    // The stream lost its beginning and one message in the middle.
    let stream = jetstream.get_stream("LABLET_EVENTS").await.unwrap();
    let total = eventually("every event on the bus", SOON, || all_on_the_bus(&lablet, &stream)).await;
    stream.purge().sequence(4).await.unwrap();
    stream.delete_message(6).await.unwrap();
    let state = tempfile::tempdir().unwrap();
    let state_of = |language: Language| state.path().join(format!("{language:?}")).to_str().unwrap().to_owned();
    for language in Language::ALL {
        let count = total.to_string();
        let consumer = programs.start(language, "consumer", &[&state_of(language), "--events", &count]).unwrap();
        let (_, did) = ServicePrograms::end(consumer).await.unwrap();
        assert_eq!(did["read_from_the_log"], 4, "{language:?}: {did}");
        assert_eq!(did["applied"], total - 4, "{language:?}: {did}");
        assert_eq!(did["sessions"], json!({ "s1": { "status": "running", "observations": observations } }));
    }

    // Both go on where they were; the whole stream is lost while they run.
    let consumers = Language::ALL
        .map(|language| programs.start(language, "consumer", &[&state_of(language), "--events", "2"]).unwrap());
    send(&programs, Language::Python, "s1", "before the loss", None).await;
    for durable in ["inventory", "inventory-ts"] {
        eventually("the consumers have it", SOON, || async {
            let info = stream.consumer_info(durable).await.ok()?;
            (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
        })
        .await;
    }
    jetstream.delete_stream("LABLET_EVENTS").await.unwrap();
    send(&programs, Language::TypeScript, "s1", "after the loss", None).await;
    for (language, consumer) in Language::ALL.into_iter().zip(consumers) {
        let (_, did) = ServicePrograms::end(consumer).await.unwrap();
        assert_eq!((&did["applied"], &did["read_from_the_log"]), (&json!(2), &json!(0)), "{language:?}: {did}");
        assert_eq!(did["repeated"], total + 1, "{language:?}: the bus came back from the log: {did}");
        assert_eq!(did["sessions"]["s1"]["observations"], observations + 2);
    }
    lablet.stop().await.unwrap();
}

/// How many events the log has, once the stream has as many.
async fn all_on_the_bus(lablet: &Lablet, stream: &Stream) -> Option<u64> {
    let events = lablet.get("/api/events?limit=200").await.ok()?.as_array()?.len() as u64;
    let on_the_bus = stream.get_info().await.ok()?.state.messages;
    (on_the_bus == events).then_some(events)
}

async fn send(
    programs: &ServicePrograms,
    language: Language,
    session: &str,
    id: &str,
    way: Option<&str>,
) -> (bool, Value) {
    let id = identity(language, id);
    let mut arguments = match language {
        Language::Python => vec![session, "1.5", "1024", "--id", &id],
        Language::TypeScript => vec![session, "1.5", "1024", &id],
    };
    arguments.extend(way);
    ServicePrograms::end(programs.start(language, "sender", &arguments).unwrap()).await.unwrap()
}

fn identity(language: Language, id: &str) -> String {
    format!("{language:?} {id}")
}

/// An observation of so many nodes that its notice would have more than 64 KiB.
fn large_observation() -> Value {
    let nodes: Vec<Value> = (0..300)
        .map(|number| {
            json!({
                "node_id": format!("n{number}"), "label": format!("router-{number}"), "node_definition": "iosv",
                "state": "BOOTED", "cpu_limit": 100, "ram_mb": 512, "tags": [format!("serial:{}", 5000 + number)],
                "interfaces": (0..4).map(|slot| json!({
                    "interface_id": format!("i{number}-{slot}"), "label": format!("GigabitEthernet0/{slot}"), "slot": slot,
                    "state": "STARTED", "mac_address": format!("52:54:00:00:{:02x}:{slot:02x}", number % 256),
                    "ip4": [format!("192.0.2.{}", number % 250)]
                })).collect::<Vec<_>>()
            })
        })
        .collect();
    json!({
        "observed_resources": { "total_cpu_cores": 3.0, "total_memory_mb": 2048, "actual_node_count": 300, "nodes": nodes },
        "observed_ports": { "PC_serial": 5041 }
    })
}
