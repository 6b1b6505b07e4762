//! A lab of one's own: observed on request, its definition revised.

use harness::{Browser, Lablet, LabletOptions, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use simulator::Simulator;

use super::{look_at, options};
use crate::journeys::outcomes::{credentials, simulator};
use crate::journeys::verify;

/// A Lablet with the definition `ospf`, and a session `s1` of it whose lab runs and can be observed.
pub(super) struct World {
    pub(super) lablet: Lablet,
    pub(super) simulator: Simulator,
    pub(super) lab: String,
    _folder: tempfile::TempDir,
}

pub(super) async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let (simulator, lab) = simulator().await;
    let environment = credentials(&simulator, folder.path());
    let lablet = Lablet::start(LabletOptions { environment, ..options() }).await.unwrap();
    lablet.define("ospf").await.unwrap();
    lablet.register_worker("cml-1", &simulator.url()).await.unwrap();
    lablet.running_session("s1", "ospf", "cml-1", &lab).await.unwrap();
    World { lablet, simulator, lab, _folder: folder }
}

async fn outcomes(lablet: &Lablet) -> Vec<String> {
    let page = lablet.get("/api/observation-requests?session_id=s1").await.unwrap();
    page["items"].as_array().unwrap().iter().map(|row| row["outcome"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_observation_is_asked_for_and_a_definition_revised_by_what_it_saw() {
    let world = world().await;
    let browser = world.lablet.browser_of("Ada", "admin").await.unwrap();
    by_keyboard_alone(&world, &browser).await;
    look_at(&browser, "session-observed").await;
    drift_is_seen(&world, &browser).await;
    pressed_twice_is_asked_once(&world, &browser).await;
    maximum_is_applied(&world, &browser).await;
    somebody_was_faster(&world, &browser).await;
    signed_out_in_the_middle_of_a_form(&world, &browser).await;
    a_viewer_is_refused(&world, &browser).await;
    what_is_not_there(&browser).await;
    browser.finish().await.unwrap();
    verify(&world.lablet).await;
    world.lablet.stop().await.unwrap();
}

/// From the start page to the outcome of a request, and to the review of a revision, without a mouse.
async fn by_keyboard_alone(world: &World, browser: &Browser) {
    browser.heading("Overview").await.unwrap();
    browser.press("?").await.unwrap();
    browser.part("Keys").await.unwrap();
    browser.press("Escape").await.unwrap();
    browser.wait_until_no_text("Pause or resume live updates").await.unwrap();
    browser.press("/").await.unwrap();
    assert_eq!(browser.focus().await.unwrap().role, "combobox");
    browser.reload().await.unwrap();

    let before = browser.keys();
    browser.press("g s").await.unwrap();
    browser.heading("Sessions").await.unwrap();
    browser.press("j").await.unwrap();
    let session = world.lablet.get("/api/lablet-sessions/s1").await.unwrap();
    let created = session["created_at"].as_str().unwrap()[..16].replace('T', " ");
    assert_eq!(
        browser.focus().await.unwrap().name,
        format!("{}, {created}", session["definition_name"].as_str().unwrap())
    );
    browser.press("Enter").await.unwrap();
    browser.part("Resource observations").await.unwrap();
    browser.press("o").await.unwrap();
    browser.row("yours").await.unwrap();
    let load = browser.page_load().await.unwrap();
    let asked = browser.part("Observation requests").await.unwrap();
    asked.wait_until_text("recorded").await.unwrap();
    browser.wait_until_text("ports as planned").await.unwrap();
    assert_eq!(browser.page_load().await.unwrap(), load, "the outcome came without reloading");
    let pressed = browser.keys() - before;
    assert!(pressed <= 5, "from the overview to an observation in {pressed} keys");

    let before = browser.keys();
    browser.press("g d").await.unwrap();
    browser.heading("Definitions").await.unwrap();
    browser.press("j Enter").await.unwrap();
    browser.heading("Revisions").await.unwrap();
    browser.press("r").await.unwrap();
    browser.wait_until_url("/edit").await.unwrap();
    browser
        .wait_until("the first field to have the focus", async || {
            Ok((browser.focus().await?.role == "textbox").then_some(()))
        })
        .await
        .unwrap();
    browser.press("Control+Enter").await.unwrap();
    browser.wait_until_url("/review").await.unwrap();
    let pressed = browser.keys() - before;
    assert!(pressed <= 8, "from anywhere to the review of a revision in {pressed} keys");

    // Whatever is on the page is to be had by what it is called.
    browser.press("Control+k").await.unwrap();
    browser.type_text("go operations").await.unwrap();
    browser.press("Enter").await.unwrap();
    browser.heading("Operations").await.unwrap();
    browser.goto("/sessions/s1").await.unwrap();
    browser.press(".").await.unwrap();
    assert_eq!(browser.focus().await.unwrap().role, "combobox");
    browser.type_text("observe").await.unwrap();
    browser.wait_until_text("Observe now").await.unwrap();
    look_at(browser, "actions").await;
    browser.press("Escape").await.unwrap();
}

async fn drift_is_seen(world: &World, browser: &Browser) {
    world.simulator.move_port(&world.lab, "PC", 5041, 5999).unwrap();
    browser.press_button("Observe now").await.unwrap();
    browser.wait_until_text("ports drifted").await.unwrap();
    // The parts of the page rest on read models that come one after the other.
    let row = browser.part("Ports: allocated and observed").await.unwrap().row("PC_serial").await.unwrap();
    for text in ["5999", "5041", "changed"] {
        row.wait_until_text(text).await.unwrap();
    }
    look_at(browser, "session-drifted").await;
}

async fn pressed_twice_is_asked_once(world: &World, browser: &Browser) {
    let before = outcomes(&world.lablet).await.len();
    browser.button("Observe now").await.unwrap().double_click().await.unwrap();
    browser.row("yours").await.unwrap();
    eventually("the outcome of the request", super::SOON, || async {
        let outcomes = outcomes(&world.lablet).await;
        (outcomes.len() > before && outcomes.iter().all(|outcome| outcome == "recorded")).then_some(())
    })
    .await;
    assert_eq!(outcomes(&world.lablet).await.len(), before + 1);
}

async fn maximum_is_applied(world: &World, browser: &Browser) {
    browser.press("g d").await.unwrap();
    browser.heading("Definitions").await.unwrap();
    browser.follow("ospf").await.unwrap();
    browser.heading("Observed resources (from 1 sessions)").await.unwrap();
    look_at(browser, "definition-observed").await;
    browser.follow("Apply max").await.unwrap();
    browser.heading("Revise ospf").await.unwrap();
    let memory = browser.field("Memory, GB").await.unwrap();
    let filled_in = memory.value().await.unwrap();
    assert_ne!(filled_in, "4", "the configured number");
    look_at(browser, "definition-edit").await;
    browser.expect_console("status of 400");
    browser.fill("CPU cores", "many").await.unwrap();
    browser.press_button("Review").await.unwrap();
    browser.notice("cannot be taken as typed").await.unwrap();
    look_at(browser, "definition-edit-refused").await;
    browser.fill("CPU cores", "3").await.unwrap();
    browser.press_button("Review").await.unwrap();
    browser.heading("Before and after").await.unwrap();
    look_at(browser, "definition-review").await;
    browser.press_button("Apply this revision").await.unwrap();
    browser.wait_until_text("1 to 2000 characters").await.unwrap();
    browser.fill("Reason", "measured, <b>not</b> guessed").await.unwrap();
    browser.press_button("Apply this revision").await.unwrap();
    browser.notice("Revision 2 is recorded").await.unwrap();
    let revisions = browser.part("Revisions").await.unwrap();
    let row = revisions.text().await.unwrap();
    for text in ["measured, <b>not</b> guessed", "admin:Ada"] {
        assert!(row.contains(text), "{row}");
    }
    look_at(browser, "definition-revised").await;
    let definition = world.lablet.get("/api/lablet-definitions/ospf").await.unwrap();
    assert_eq!(definition["revision"], 2);
    assert_eq!(definition["resource_requirements"]["memory_gb"].to_string(), filled_in);
    // Its evidence leads to the observation that it rests on.
    let links = revisions.links().await.unwrap();
    links.iter().find(|link| link.name.contains('…')).unwrap().click().await.unwrap();
    browser.wait_until_url("/events/").await.unwrap();
    browser.wait_until_text("resources_observed").await.unwrap();
    look_at(browser, "event-observation").await;
}

async fn revise(lablet: &Lablet, memory: u32) {
    let definition = lablet.get("/api/lablet-definitions/ospf").await.unwrap();
    let etag = definition["etag"].as_str().unwrap();
    let mut needs = definition["resource_requirements"].clone();
    needs["memory_gb"] = json!(memory);
    let body = json!({ "resource_requirements": needs, "reason": "somebody else" });
    let answer = lablet.patch("/api/lablet-definitions/ospf", etag, body).await.unwrap();
    assert_eq!(answer["revision"].as_u64(), definition["revision"].as_u64().map(|before| before + 1));
}

async fn review(browser: &Browser, memory: &str) {
    browser.goto("/definitions/ospf").await.unwrap();
    browser.follow("Custom").await.unwrap();
    browser.fill("Memory, GB", memory).await.unwrap();
    browser.press_button("Review").await.unwrap();
    browser.heading("Before and after").await.unwrap();
}

async fn somebody_was_faster(world: &World, browser: &Browser) {
    review(browser, "7").await;
    revise(&world.lablet, 9).await;
    browser.expect_console("status of 412");
    browser.expect_console("status of 409");
    browser.fill("Reason", "too late").await.unwrap();
    browser.press_button("Apply this revision").await.unwrap();
    browser.wait_until_text("revised meanwhile").await.unwrap();
    let both = browser.text().await.unwrap();
    assert!(both.contains('7') && both.contains('9'), "{both}");
    look_at(browser, "definition-stale").await;
    assert_eq!(world.lablet.get("/api/lablet-definitions/ospf").await.unwrap()["revision"], 3);
}

async fn signed_out_in_the_middle_of_a_form(world: &World, browser: &Browser) {
    review(browser, "8").await;
    browser.fill("Reason", "kept while signed out").await.unwrap();
    browser.forget_cookies().await.unwrap();
    browser.press_button("Apply this revision").await.unwrap();
    browser.heading("Sign in").await.unwrap();
    browser.fill("Token", &world.lablet.token("Ada", "admin").await.unwrap()).await.unwrap();
    browser.press_button("Sign in").await.unwrap();
    browser.heading("Before and after").await.unwrap();
    assert_eq!(browser.field("Reason").await.unwrap().value().await.unwrap(), "kept while signed out");
    browser.press_button("Apply this revision").await.unwrap();
    browser.notice("Revision 4 is recorded").await.unwrap();
}

async fn a_viewer_is_refused(world: &World, browser: &Browser) {
    world.lablet.sign_in(browser, "Vera", "viewer").await.unwrap();
    browser.goto("/").await.unwrap();
    let clicks = browser.clicks();
    let running = browser.part("Running sessions").await.unwrap().links().await.unwrap();
    running.iter().find(|link| link.description == "s1").unwrap().click().await.unwrap();
    browser.heading("Lifecycle").await.unwrap();
    assert_eq!(browser.clicks() - clicks, 1, "from the overview to what a viewer may not do, and why");
    let observe = browser.button("Observe now").await.unwrap();
    assert!(!observe.enabled && observe.description.contains("operator"), "{}", observe.description);
    look_at(browser, "session-viewer").await;
    browser.goto("/definitions/ospf").await.unwrap();
    for action in ["Apply max", "Apply latest", "Custom"] {
        let button = browser.button(action).await.unwrap();
        assert!(!button.enabled && button.description.contains("admin"), "{action}: {}", button.description);
    }
    look_at(browser, "definition-viewer").await;
    // Who presses all the same is refused by the server.
    let before = outcomes(&world.lablet).await.len();
    browser.expect_console("status of 403");
    let forced = "document.querySelector('form[action$=observe] button').disabled = false;";
    browser.goto("/sessions/s1").await.unwrap();
    browser.run::<Value>(forced, vec![]).await.unwrap();
    browser.press_button("Observe now").await.unwrap();
    browser.wait_until_text("operator").await.unwrap();
    browser.wait_until_no_text("Resource observations").await.unwrap();
    look_at(browser, "refused").await;
    assert_eq!(outcomes(&world.lablet).await.len(), before);
    let token = world.lablet.token("Vera", "viewer").await.unwrap();
    let refused = world.lablet.request_as(&token, Method::POST, "/api/lablet-sessions/s1/observe-resources").await;
    assert_eq!(refused.unwrap(), 403);
}

async fn what_is_not_there(browser: &Browser) {
    browser.expect_console("status of 404");
    for path in ["/sessions/nobody", "/definitions/nothing", "/nowhere"] {
        browser.goto(path).await.unwrap();
        browser.field("Look for it").await.unwrap();
    }
    look_at(browser, "not-found").await;
}

#[tokio::test]
async fn live_updates_pause_and_a_lost_line_is_mended() {
    let lablet = super::start().await;
    lablet.define("ospf").await.unwrap();
    let create = async |id: &str| {
        lablet.post("/api/internal/lablet-sessions", json!({ "id": id, "definition_id": "ospf" })).await.unwrap()
    };
    create("first").await;
    let browser = lablet.browser_of("Ada", "admin").await.unwrap();
    browser.goto("/sessions").await.unwrap();
    browser.row("first").await.unwrap();
    let load = browser.page_load().await.unwrap();
    browser.wait_until_text("Live").await.unwrap();

    // Rows do not jump: what is new is announced, and shown when asked for.
    create("second").await;
    browser.press_button("1 new").await.unwrap();
    browser.row("second").await.unwrap();

    browser.press_button("Pause live updates").await.unwrap();
    create("third").await;
    browser.wait_until_text("Paused, 1 new").await.unwrap();
    assert!(!browser.has_button("1 new").await.unwrap());
    assert!(!browser.text().await.unwrap().contains("third"));
    browser.press_button("Resume live updates").await.unwrap();
    browser.press_button("1 new").await.unwrap();
    browser.row("third").await.unwrap();

    // What happens while the line is cut is not missed.
    browser.offline(true);
    browser.wait_until_text("Connection lost").await.unwrap();
    look_at(&browser, "sessions-offline").await;
    create("fourth").await;
    browser.offline(false);
    browser.press_button("1 new").await.unwrap();
    browser.row("fourth").await.unwrap();
    assert_eq!(browser.page_load().await.unwrap(), load, "nothing was reloaded");
    browser.finish().await.unwrap();
    lablet.stop().await.unwrap();
}
