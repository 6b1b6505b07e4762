//! Which sessions count: the page, its warning, what is applied and the API rest on one scope, and say it.

use harness::{Browser, Lablet};
use serde_json::{Value, json};

use super::look_at;

/// The definition that has more sessions than were ever looked at together.
const MANY: &str = "crowd-000";
/// Its newest sessions, which were given less than the greatest of the others.
const NEWEST: usize = 20;

/// Follows the scope of a crowd's first definition, as somebody who may revise.
pub(super) async fn one_scope_holds_from_the_page_to_the_applied_size(lablet: &Lablet, browser: &Browser) {
    let mut position = String::new();
    for number in 0..NEWEST {
        position = small_session(lablet, &format!("scope-{number:02}")).await;
    }
    let newest = said(lablet, "newest-20", &position).await;
    let of_all = newest["scope"]["of_sessions"].as_u64().unwrap();
    assert!(of_all > 200, "more than were added up before: {of_all}");
    let told = |answer: &Value| (answer["aggregate"]["cpu_cores"]["max"].clone(), answer["scope"]["sessions"].clone());
    assert_eq!(told(&newest), (json!(5.0), json!(NEWEST)));
    assert_eq!(
        (&newest["wider"][0]["resource"], &newest["wider"][0]["max_of_all"]),
        (&json!("cpu_cores"), &json!(8.0))
    );
    let all = said(lablet, "all", &position).await;
    assert_eq!(told(&all), (json!(8.0), json!(of_all)));
    assert_eq!(all["wider"], json!([]));

    browser.goto(&format!("/definitions/{MANY}?scope=newest-20")).await.unwrap();
    browser.wait_until_text(&format!("20 of {of_all} sessions, the newest, of any revision")).await.unwrap();
    browser.wait_until_text("at most 8 cores of CPU were allocated, in this scope 5 cores").await.unwrap();
    look_at(browser, "definition-scope").await;
    browser.follow("Apply max").await.unwrap();
    browser.wait_until_text(&format!("Apply max, from 20 of {of_all} sessions")).await.unwrap();
    assert_eq!(browser.field("CPU cores").await.unwrap().value().await.unwrap(), "5");
    browser.back().await.unwrap();

    let before = browser.clicks();
    browser.follow(&format!("Look at all {of_all} sessions")).await.unwrap();
    let over_all = format!("{of_all} of {of_all} sessions, of any revision");
    browser.wait_until_text(&over_all).await.unwrap();
    browser.wait_until_no_text("More sessions say otherwise").await.unwrap();
    browser.follow("Apply max").await.unwrap();
    assert_eq!(browser.field("CPU cores").await.unwrap().value().await.unwrap(), "8");
    browser.press_button("Review").await.unwrap();
    browser.wait_until_text(&format!("Apply max, from {over_all}")).await.unwrap();
    browser.fill("Reason", "the largest of all sessions").await.unwrap();
    browser.press_button("Apply this revision").await.unwrap();
    browser.notice("Revision 2 is recorded").await.unwrap();
    assert!(browser.clicks() - before <= 4, "{} clicks", browser.clicks() - before);
    let applied = lablet.get(&format!("/api/lablet-definitions/{MANY}")).await.unwrap();
    assert_eq!(applied["resource_requirements"]["cpu_cores"], 8);
    // No session had this size yet, and nothing pretends that one did.
    browser.goto(&format!("/definitions/{MANY}")).await.unwrap();
    browser.wait_until_text(&format!("0 of {of_all} sessions, this revision and topology")).await.unwrap();
}

async fn said(lablet: &Lablet, scope: &str, position: &str) -> Value {
    let path = format!("/api/lablet-definitions/{MANY}/resource-observations?scope={scope}&position={position}");
    lablet.get(&path).await.unwrap()
}

/// A running session that was given five cores, and the position of its observation.
async fn small_session(lablet: &Lablet, id: &str) -> String {
    lablet.running_session(id, MANY, "crowd-cml-00", &format!("lab-{id}")).await.unwrap();
    let node = json!({"node_id": "n1", "label": "R1", "node_definition": "iosv", "state": "BOOTED", "tags": [],
        "interfaces": []});
    let report = json!({
        "observed_resources": {
            "observer": "grading", "total_cpu_cores": 5.0, "total_memory_mb": 2048.0, "total_storage_mb": null,
            "actual_node_count": 1, "nodes": [node], "usage": {"memory_mb": 1500.0, "cpu_cores": 4.5},
        },
        "observed_ports": {},
    });
    let path = format!("/api/internal/lablet-sessions/{id}/resource-observations");
    lablet.post(&path, report).await.unwrap()["position"].as_str().unwrap().to_owned()
}
