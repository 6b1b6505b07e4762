//! Webhooks of a Lablet that runs, received by a program that verifies and parses with libraries of others.

use harness::{Lablet, WebhookReceiver, eventually};
use serde_json::Value;
use tempfile::TempDir;

use super::SOON;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// Two targets of one receiver, which knows the new one of two secrets.
pub(crate) struct WebhookTargets {
    receiver: WebhookReceiver,
    folder: TempDir,
}

impl WebhookTargets {
    pub(crate) async fn start() -> Self {
        let receiver = WebhookReceiver::start(SECRET).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("old.secret"), OLD_SECRET).unwrap();
        std::fs::write(folder.path().join("new.secret"), SECRET).unwrap();
        let target = |name: &str, format: &str| {
            format!(
                "[{name}]\nurl = \"{}/{name}\"\nformat = \"{format}\"\nsecret_files = [\"old.secret\", \"new.secret\"]\n\
                 types = [\"io.lablet.lablet_session.resources_observed.v1\"]\nsubjects = [\"s1\"]\nstart = \"beginning\"\n\
                 allow = [\"127.0.0.1\"]\nallow_http = true\n",
                receiver.url()
            )
        };
        let file = target("booking", "structured") + &target("grading", "binary");
        std::fs::write(folder.path().join("webhooks.toml"), file).unwrap();
        Self { receiver, folder }
    }

    /// The file of targets.
    pub(crate) fn file(&self) -> String {
        self.folder.path().join("webhooks.toml").to_str().unwrap().to_owned()
    }

    fn events(&self, target: &str) -> Vec<Value> {
        let path = format!("/{target}");
        self.receiver.events().into_iter().filter(|event| event["path"] == path.as_str()).collect()
    }

    /// Waits until both have these events of the bus, in their order and whole.
    pub(crate) async fn have(&self, events: &[Value]) {
        for target in ["booking", "grading"] {
            let got = eventually("the events by webhook", SOON, || async {
                Some(self.events(target)).filter(|got| got.len() >= events.len())
            })
            .await;
            assert_eq!(got.len(), events.len());
            for (got, event) in got.iter().zip(events) {
                for member in ["id", "type", "source", "subject", "position", "previousposition", "data"] {
                    assert_eq!(got[member], event[member], "{member} of {target}");
                }
            }
        }
    }

    /// Lists, tries, pauses, resumes and replays on the command line.
    pub(crate) async fn obey_operators(&self, lablet: &Lablet) {
        let run = async |arguments: &[&str]| {
            let (worked, said) = lablet.run(arguments).await.unwrap();
            assert!(worked, "{said}");
            said
        };
        let listed = async || -> Vec<Value> {
            serde_json::from_str(&run(&["webhooks", "list", "--output", "json"]).await).unwrap()
        };
        // What the receiver has is counted a moment later.
        let list = eventually("three deliveries that are counted", SOON, || async {
            Some(listed().await).filter(|list| list.first().is_some_and(|first| first["delivered"] == 3))
        })
        .await;
        assert_eq!((list.len(), &list[0]["name"], &list[0]["state"]), (2, &"booking".into(), &"active".into()));

        let tried = run(&["webhooks", "test", "booking", "--webhooks", &self.file()]).await;
        let tried: Value = serde_json::from_str(&tried).unwrap();
        assert_eq!((&tried["delivered"], &tried["answer"]), (&true.into(), &"204".into()));
        // The receiver answers before it tells.
        let test = eventually("the test by webhook", SOON, || async {
            self.events("booking").into_iter().find(|event| event["id"] == tried["message_id"])
        })
        .await;
        assert_eq!(test["type"], "io.lablet.webhook.test.v1");
        let (worked, said) = lablet.run(&["webhooks", "test", "boking", "--webhooks", &self.file()]).await.unwrap();
        assert!(!worked && said.contains("there is booking, grading"), "{said}");

        run(&["webhooks", "pause", "booking", "--reason", "they rebuild"]).await;
        run(&["webhooks", "resume", "booking"]).await;
        let start = "0000000000-00000000000000000000-0000000000000000000";
        run(&["webhooks", "replay", "booking", "--after", start]).await;
        eventually("the replay", SOON, || async { (listed().await[0]["delivered"] == 6).then_some(()) }).await;
        eventually("four events by webhook", SOON, || async { (self.events("booking").len() >= 4).then_some(()) })
            .await;
        assert_eq!(self.events("booking").len(), 4, "the receiver knows what it got before by its id");
        let (worked, said) = lablet.run(&["webhooks", "pause", "nobody"]).await.unwrap();
        assert!(!worked && said.contains("there is booking, grading"), "{said}");
        let operations = lablet.get("/api/operations").await.unwrap();
        assert_eq!(operations["webhooks"][1]["name"], "grading");
        let metrics = reqwest::get(format!("{}/metrics", lablet.ready().http)).await.unwrap().text().await.unwrap();
        assert!(
            metrics.contains("lablet_webhook_events_total{target=\"booking\",outcome=\"delivered\"} 6"),
            "{metrics}"
        );
    }
}
