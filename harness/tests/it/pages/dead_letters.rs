//! An operator decides about what could not be handled.

use harness::eventually;
use serde_json::json;

use super::{look_at, start};
use crate::journeys::services::jetstream;

#[tokio::test]
async fn an_operator_tries_a_dead_letter_again_and_discards_another() {
    let lablet = start().await;
    lablet.define("ospf").await.unwrap();
    lablet.register_worker("cml-1", "https://127.0.0.1:1").await.unwrap();
    let bus = jetstream(&lablet).await;
    for session in ["s1", "nobody"] {
        let command = json!({
            "specversion": "1.0", "id": session, "source": "/grading",
            "type": "io.lablet.command.record_resource_observation.v1",
            "data": { "session_id": session, "observed_resources": { "observer": "grading", "total_cpu_cores": 2 } }
        });
        let subject = "lablet.commands.grading.record_resource_observation";
        bus.publish(subject, command.to_string().into()).await.unwrap().await.unwrap();
    }
    let letters = eventually("two dead letters", std::time::Duration::from_secs(60), || async {
        let page = lablet.get("/api/dead-letters").await.unwrap();
        let letters = page["items"].as_array().cloned().unwrap_or_default();
        (letters.len() == 2).then_some(letters)
    })
    .await;
    let letter_of = |session: &str| {
        let letter = letters.iter().find(|letter| letter["aggregate_id"] == session);
        letter.unwrap_or_else(|| panic!("{letters:?}"))["id"].as_str().unwrap().to_owned()
    };

    let browser = lablet.browser_of("Otto", "operator").await.unwrap();
    browser.goto("/operations").await.unwrap();
    browser.heading("Operations").await.unwrap();
    browser.wait_until_text("nobody").await.unwrap();
    look_at(&browser, "operations-dead-letters").await;

    // Tried again too early it is kept; once there is what it is about, it is settled.
    browser.goto(&format!("/operations/dead-letters/{}", letter_of("s1"))).await.unwrap();
    look_at(&browser, "dead-letter").await;
    browser.press_button("Retry").await.unwrap();
    browser.notice("it still does not work").await.unwrap();
    lablet.running_session("s1", "ospf", "cml-1", "lab-1").await.unwrap();
    browser.press_button("Retry").await.unwrap();
    browser.wait_until_text("was tried again by admin:Otto and worked").await.unwrap();
    let session = lablet.get("/api/lablet-sessions/s1/events").await.unwrap();
    assert!(session.to_string().contains("resources_observed"), "{session}");

    // One that nothing can help is discarded, with a reason.
    browser.goto(&format!("/operations/dead-letters/{}", letter_of("nobody"))).await.unwrap();
    browser.fill("Why it can be done without", "<b>there is no such session</b>").await.unwrap();
    browser.press_button("Discard").await.unwrap();
    browser.wait_until_text("was discarded by admin:Otto").await.unwrap();
    let left = lablet.get("/api/dead-letters").await.unwrap();
    assert_eq!(left["items"].as_array().unwrap().len(), 0, "{left}");
    browser.finish().await.unwrap();
    lablet.stop().await.unwrap();
}
