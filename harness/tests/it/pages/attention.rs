//! What is wrong is found from the first page, with a bound on clicks, and settled.

use harness::{Browser, Lablet, LabletOptions, eventually};
use serde_json::{Value, json};

use super::{SOON, look_at, options, start};
use crate::journeys::operations::park_a_worker;
use crate::journeys::outcomes::{credentials, simulator};
use crate::journeys::services::jetstream;

/// What a part of the overview says needs somebody.
async fn needs_attention(lablet: &Lablet, kind: &str) -> Value {
    eventually(kind, SOON, || async {
        let attention = lablet.get("/api/attention").await.unwrap();
        attention["items"].as_array().unwrap().iter().find(|item| item["kind"] == kind).cloned()
    })
    .await
}

/// Opens the overview and takes the one next step of what it says there; the clicks that this took.
async fn next_step(browser: &Browser, row: &str, step: &str) -> u32 {
    browser.goto("/").await.unwrap();
    let clicks = browser.clicks();
    let attention = browser.part("Needs attention").await.unwrap();
    attention.row(row).await.unwrap().follow(step).await.unwrap();
    browser.clicks() - clicks
}

#[tokio::test]
async fn what_is_wrong_is_found_in_at_most_three_clicks_and_stuck_letters_are_handled_together() {
    let folder = tempfile::tempdir().unwrap();
    let (simulator, lab) = simulator().await;
    let mut environment = credentials(&simulator, folder.path());
    for (name, value) in &mut environment {
        if name == "LABLET_CML_PASSWORD" {
            *value = "another-one".to_owned();
        }
    }
    let lablet = Lablet::start(LabletOptions { environment, ..options() }).await.unwrap();
    lablet.define("ospf").await.unwrap();
    lablet.register_worker("cml-1", &simulator.url()).await.unwrap();
    lablet.running_session("s1", "ospf", "cml-1", &lab).await.unwrap();
    let bus = jetstream(&lablet).await;
    for session in ["s-7", "s-8", "s-9"] {
        let command = json!({
            "specversion": "1.0", "id": session, "source": "/grading",
            "type": "io.lablet.command.record_resource_observation.v1",
            "data": { "session_id": session, "observed_resources": { "observer": "grading", "total_cpu_cores": 2 } }
        });
        let subject = "lablet.commands.grading.record_resource_observation";
        bus.publish(subject, command.to_string().into()).await.unwrap().await.unwrap();
    }
    park_a_worker(&lablet).await;
    for kind in ["worker_sign_in_refused", "command_dead_letters", "read_model_parked"] {
        needs_attention(&lablet, kind).await;
    }

    let browser = lablet.browser_of("Otto", "operator").await.unwrap();
    a_worker_that_refuses_the_sign_in(&lablet, &browser).await;
    a_failed_observation_leads_to_its_reason(&lablet, &browser).await;
    letters_of_one_cause_are_discarded_together(&lablet, &browser).await;
    a_stuck_read_model_is_found(&browser).await;
    browser.finish().await.unwrap();
    lablet.stop().await.unwrap();
}

/// From the overview to the last error, with its host; and where an observation is requested it is said.
async fn a_worker_that_refuses_the_sign_in(lablet: &Lablet, browser: &Browser) {
    browser.goto("/").await.unwrap();
    look_at(browser, "attention").await;
    assert_eq!(next_step(browser, "refuses every sign-in", "See its last error").await, 1);
    browser.wait_until_url("/workers/cml-1").await.unwrap();
    let contact = browser.part("Contact").await.unwrap();
    contact.wait_until_text("CML refused the user name or the password").await.unwrap();
    contact.wait_until_text("127.0.0.1").await.unwrap();
    look_at(browser, "worker-contact").await;
    browser.goto("/sessions/s1").await.unwrap();
    browser.wait_until_text("The worker refuses the sign-in").await.unwrap();
    let asked = lablet.post("/api/lablet-sessions/s1/observe-resources", json!({})).await.unwrap();
    assert!(asked["message"].as_str().unwrap().contains("correct LABLET_CML_CREDENTIALS"), "{asked}");
}

/// From the overview to the event that says why.
async fn a_failed_observation_leads_to_its_reason(lablet: &Lablet, browser: &Browser) {
    needs_attention(lablet, "requests_failed").await;
    let clicks = browser.clicks();
    next_step(browser, "failed in the last 24 h", "See why").await;
    browser.wait_until_url("/requests?status=failed").await.unwrap();
    browser.part("Why requests failed").await.unwrap().wait_until_text("refused").await.unwrap();
    look_at(browser, "requests").await;
    let requests = browser.part("Requests that match").await.unwrap();
    let reason = requests.links().await.unwrap().into_iter().find(|link| link.name.contains("refused")).unwrap();
    reason.click().await.unwrap();
    browser.heading("lablet_session.observation_failed.v1").await.unwrap();
    assert!(browser.clicks() - clicks <= 3, "{} clicks", browser.clicks() - clicks);
}

/// A group is opened and discarded with one reason, which is told with who and when.
async fn letters_of_one_cause_are_discarded_together(lablet: &Lablet, browser: &Browser) {
    let clicks = browser.clicks();
    next_step(browser, "commands could not be handled", "Retry or discard").await;
    browser.heading("Dead letters").await.unwrap();
    look_at(browser, "dead-letter-groups").await;
    browser.follow("Decide").await.unwrap();
    browser.heading("Decide for all 3").await.unwrap();
    assert!(browser.clicks() - clicks <= 3);
    look_at(browser, "dead-letter-group").await;
    browser.press_button("Retry all").await.unwrap();
    browser.notice("3 refused").await.unwrap();
    browser.fill("Why they can be done without", "the exam was cancelled").await.unwrap();
    browser.press_button("Discard all").await.unwrap();
    browser.notice("3 discarded").await.unwrap();
    browser.goto("/operations/dead-letters").await.unwrap();
    let discarded = browser.part("Discarded").await.unwrap().text().await.unwrap();
    assert!(discarded.contains("the exam was cancelled") && discarded.contains("admin:Otto"), "{discarded}");
    let left = lablet.get("/api/dead-letter-groups").await.unwrap();
    assert!(left["items"].as_array().unwrap().iter().all(|group| group["kind"] == "event"), "{left}");
    let discarded = lablet.get("/api/discarded-letters").await.unwrap();
    assert_eq!(discarded["items"].as_array().unwrap().len(), 3, "{discarded}");
}

async fn a_stuck_read_model_is_found(browser: &Browser) {
    let clicks = browser.clicks();
    next_step(browser, "The read model workers does not show", "Retry or discard").await;
    browser.follow("Decide").await.unwrap();
    browser.heading("Letters").await.unwrap();
    assert!(browser.clicks() - clicks <= 3);
    browser.wait_until_text("w-new").await.unwrap();
}

#[tokio::test]
async fn a_missing_controller_is_said_on_the_first_page_with_what_starts_one() {
    let lablet = start().await;
    lablet.define("ospf").await.unwrap();
    lablet.register_worker("cml-1", "https://127.0.0.1:1").await.unwrap();
    lablet.running_session("s1", "ospf", "cml-1", "lab-1").await.unwrap();
    let missing = needs_attention(&lablet, "controller_missing").await;
    assert_eq!(missing["next_step"]["command"], "lablet control");
    let browser = lablet.browser_of("Otto", "operator").await.unwrap();
    browser.goto("/").await.unwrap();
    browser.part("Needs attention").await.unwrap().row("No controller has been seen").await.unwrap();
    // Every page says how many there are.
    browser.goto("/definitions").await.unwrap();
    let clicks = browser.clicks();
    browser
        .wait_until("the badge", async || {
            let links = browser.part("Main").await?.links().await?;
            Ok(links.iter().any(|link| link.name.contains("attention")).then_some(()))
        })
        .await
        .unwrap();
    browser.goto("/sessions/s1").await.unwrap();
    browser.press_button("Observe now").await.unwrap();
    browser.wait_until_text("start lablet control with LABLET_CML_CREDENTIALS set").await.unwrap();
    assert_eq!(browser.clicks() - clicks, 1);
    browser.finish().await.unwrap();
    lablet.stop().await.unwrap();
}
