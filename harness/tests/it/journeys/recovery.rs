//! Everything is lost, and comes back from a backup.

use std::collections::BTreeMap;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::services::jetstream;
use super::{SOON, verify, with_a_running_session};
use harness::{Lablet, eventually};

/// What is read of a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Notice {
    id: String,
    position: String,
    previous: String,
}

/// A service with a durable consumer, as docs/restore.md tells it: it keeps what it applied, and how far it is.
#[derive(Debug, Default)]
struct Service {
    /// Ids of the events that it applied, by position.
    applied: BTreeMap<String, String>,
    /// The position of the last one.
    checkpoint: String,
    /// What it applied and the log has lost, by position.
    lost: Vec<String>,
}

impl Service {
    /// Takes what is on the bus until the event at this position is applied.
    async fn follow_to(&mut self, lablet: &Lablet, position: &str) {
        let stream = jetstream(lablet).await.get_stream("LABLET_EVENTS").await.unwrap();
        let config = pull::Config {
            durable_name: Some("grading".to_owned()),
            ack_policy: AckPolicy::Explicit,
            ..pull::Config::default()
        };
        let consumer = stream.get_or_create_consumer("grading", config).await.unwrap();
        let mut messages = consumer.messages().await.unwrap();
        while self.checkpoint.as_str() < position {
            let message = tokio::time::timeout(SOON, messages.next()).await.expect("a notice").unwrap().unwrap();
            let event: Value = serde_json::from_slice(&message.payload).unwrap();
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            self.take(Notice { id: text("id"), position: text("position"), previous: text("previousposition") });
            message.ack().await.unwrap();
        }
    }

    fn take(&mut self, notice: Notice) {
        if notice.position <= self.checkpoint {
            return;
        }
        if epoch(&notice.position) > epoch(&self.checkpoint) {
            // The log was restored: it goes on from `previous`, and what was applied beyond that was lost.
            let (survived, lost) =
                std::mem::take(&mut self.applied).into_iter().partition(|(position, _)| *position <= notice.previous);
            self.applied = survived;
            self.lost.extend(BTreeMap::into_keys(lost));
        }
        self.checkpoint.clone_from(&notice.position);
        self.applied.insert(notice.position, notice.id);
    }
}

/// The first ten digits of a position.
fn epoch(position: &str) -> &str {
    position.get(..10).unwrap_or("0000000000")
}

async fn observe(lablet: &Lablet, observer: &str) -> String {
    let report = json!({"observed_resources": {"observer": observer, "total_cpu_cores": 1}, "observed_ports": {}});
    let answer = lablet.post("/api/internal/lablet-sessions/s1/resource-observations", report).await.unwrap();
    answer["position"].as_str().unwrap().to_owned()
}

/// What doctor says, by what it looked at. Everything is as it should be but that nobody serves the worker.
async fn examine(lablet: &Lablet) -> BTreeMap<String, String> {
    let found = eventually("a doctor who finds nothing else", SOON, async || {
        let answer = lablet.answer(&["doctor", "-o", "json"], "").await.unwrap();
        let report: Value = serde_json::from_str(&answer.out).unwrap();
        let mut found = BTreeMap::new();
        for check in report["checks"].as_array().unwrap() {
            let text = |name: &str| check[name].as_str().unwrap_or_default().to_owned();
            assert_eq!(
                check["mend"].is_null(),
                text("severity") == "ok",
                "whatever is wrong names what mends it: {check}"
            );
            let expected = if ["controllers", "workers"].contains(&text("name").as_str()) { "warning" } else { "ok" };
            if text("severity") != expected {
                return None;
            }
            found.insert(text("name"), text("found"));
        }
        assert_eq!((answer.code, &report["severity"]), (9, &json!("warning")), "{report}");
        Some(found)
    })
    .await;
    assert_eq!(lablet.answer(&["doctor", "--fail-on", "error"], "").await.unwrap().code, 0);
    found
}

/// Every event of the log, in its order, as the gateway gives them.
async fn events(lablet: &Lablet) -> Vec<Notice> {
    let batch = lablet.get("/api/events?limit=200").await.unwrap();
    let text = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
    let notice = |event: &Value| Notice {
        id: text(event, "id"),
        position: text(event, "position"),
        previous: text(event, "previousposition"),
    };
    batch.as_array().unwrap().iter().map(notice).collect()
}

#[tokio::test]
async fn everything_that_is_lost_comes_back_from_a_backup() {
    let mut lablet = with_a_running_session().await;
    let mut service = Service::default();
    // The session goes on in the log's second partition.
    let (done, said) = lablet.run(&["log", "cut"]).await.unwrap();
    assert!(done && said.contains("begun       partition 2"), "{said}");
    let kept = observe(&lablet, "before").await;
    service.follow_to(&lablet, &kept).await;
    let looked_at = examine(&lablet).await;
    let names: Vec<&str> = looked_at.keys().map(String::as_str).collect();
    let expected = [
        "bus",
        "bus settings",
        "bus store",
        "clock",
        "consumers",
        "controllers",
        "database",
        "dead letters",
        "disk",
        "gateway",
        "last verify",
        "log",
        "read models",
        "relay",
        "replication slots",
        "restored log",
        "rights",
        "schema",
        "settings",
        "transactions",
        "watcher",
        "workers",
    ];
    assert_eq!(names, expected);
    assert!(looked_at["consumers"].starts_with("2, 1 of them of others"), "{looked_at:?}");
    let backup = lablet.data_dir().with_file_name("backup");
    let folder = backup.to_str().unwrap();
    let (done, said) = lablet.run(&["backup", "--to", folder]).await.unwrap();
    assert!(done && said.contains(&format!("up to {kept}")), "{said}");
    let (done, refused) = lablet.run(&["backup", "--to", folder]).await.unwrap();
    assert!(!done && refused.contains("never overwritten"), "{refused}");
    let (done, said) = lablet.run(&["restore", folder, "--check"]).await.unwrap();
    assert!(done && said.contains("it is what was backed up"), "{said}");
    let before = events(&lablet).await;

    // What happens from here on is lost; the service has seen it.
    observe(&lablet, "lost-1").await;
    let newest = observe(&lablet, "lost-2").await;
    service.follow_to(&lablet, &newest).await;
    let lost: Vec<String> = service.applied.keys().filter(|position| **position > kept).cloned().collect();
    lablet.kill().await.unwrap();
    for store in ["postgres", "nats"] {
        eventually("the end of the private servers", SOON, async || {
            std::fs::remove_dir_all(lablet.data_dir().join(store)).ok()
        })
        .await;
    }

    let (done, said) = lablet.run(&["restore", folder]).await.unwrap();
    assert!(done && said.contains("epoch 2 has begun"), "{said}");
    lablet.start_again().await.unwrap();
    assert_eq!(events(&lablet).await, before, "every event up to the backup, and no other");
    let (done, partitions) = lablet.run(&["log", "partitions", "--output", "csv"]).await.unwrap();
    assert!(done && partitions.contains("events_1,") && partitions.contains("events_2,"), "{partitions}");
    let session = lablet.get("/api/lablet-sessions/s1").await.unwrap();
    assert_eq!(session["observation_count"], 1, "the read models are of the same snapshot");
    let after = observe(&lablet, "after").await;
    assert!(after > newest, "{after}");
    verify(&lablet).await;

    // The consumer is gone with the bus; it is made anew, and what it had is dropped.
    service.follow_to(&lablet, &after).await;
    assert_eq!(service.lost, lost, "it knows what it was told in vain");
    let held: Vec<&String> = service.applied.values().collect();
    let events = events(&lablet).await;
    assert_eq!(held, events.iter().map(|event| &event.id).collect::<Vec<_>>());
    let looked_at = examine(&lablet).await;
    assert!(
        looked_at["restored log"].contains("epoch 2") && looked_at["last verify"].ends_with("held"),
        "{looked_at:?}"
    );
    let (done, said) = lablet.run(&["republish", "--missing"]).await.unwrap();
    assert!(done && said.contains("0 missing: 0 published"), "{said}");
    lablet.stop().await.unwrap();
}
