//! A drift, from the overview to its cause and its acknowledgement, and to the corrected allocation.

use harness::{Browser, DESKTOP, PHONE, eventually};
use serde_json::{Value, json};

use super::own_lab::{World, world};
use super::{SOON, look_at};
use crate::journeys::verify;

async fn session(world: &World) -> Value {
    world.lablet.get("/api/lablet-sessions/s1").await.unwrap()
}

/// Moves the console's port in the lab, and has it observed.
async fn move_console(world: &World, from: u16, to: u16) {
    world.simulator.move_port(&world.lab, "PC", from, to).unwrap();
    let asked = world.lablet.post("/api/lablet-sessions/s1/observe-resources", json!({})).await.unwrap();
    assert!(asked["request_id"].is_string(), "{asked}");
    eventually("the port to be seen where it is now", SOON, || async {
        (session(world).await["observed_ports"]["PC_serial"] == to).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_drift_leads_to_its_cause_and_is_acknowledged_in_three_clicks() {
    let world = world().await;
    move_console(&world, 5041, 5999).await;
    let browser = world.lablet.browser_of("Ada", "admin").await.unwrap();
    from_the_overview_to_the_acknowledgement(&world, &browser).await;
    the_acknowledgement_is_withdrawn(&world, &browser).await;
    another_drift_is_open_again(&world, &browser).await;
    a_phone_leads_to_it_in_four_taps(&browser).await;
    the_allocation_is_corrected(&world, &browser).await;
    browser.finish().await.unwrap();
    verify(&world.lablet).await;
    world.lablet.stop().await.unwrap();
}

async fn from_the_overview_to_the_acknowledgement(world: &World, browser: &Browser) {
    browser.goto("/").await.unwrap();
    let before = browser.clicks();
    browser.follow("1 with drifted ports").await.unwrap();
    browser.heading("Port drift").await.unwrap();
    look_at(browser, "drift").await;
    look_at_session(browser).await;
    let cause = browser.part("Port drift").await.unwrap();
    for words in ["5041", "5999", "changed", "nobody else", "1 session"] {
        cause.wait_until_text(words).await.unwrap();
    }
    look_at(browser, "session-drift-open").await;
    browser.fill("Reason", "the guide names this port").await.unwrap();
    browser.press_button("Acknowledge").await.unwrap();
    browser.wait_until_text("drift acknowledged").await.unwrap();
    assert!(browser.clicks() - before <= 3, "{} clicks", browser.clicks() - before);
    look_at(browser, "session-drift-acknowledged").await;
    browser.goto("/").await.unwrap();
    browser.wait_until_text("and 1 acknowledged").await.unwrap();
    let acknowledgement = session(world).await["port_drift_acknowledgement"].clone();
    assert_eq!(
        (&acknowledgement["by"], &acknowledgement["reason"]),
        (&json!("admin:Ada"), &json!("the guide names this port"))
    );
}

/// What may not stay so after all is open again, and then acknowledged for good.
async fn the_acknowledgement_is_withdrawn(world: &World, browser: &Browser) {
    browser.goto("/sessions/s1").await.unwrap();
    let before = browser.clicks();
    browser.follow("Withdraw").await.unwrap();
    browser.heading("Before and after").await.unwrap();
    look_at(browser, "drift-withdrawal").await;
    browser.fill("Reason", "the guide was corrected").await.unwrap();
    browser.press_button("Withdraw the acknowledgement").await.unwrap();
    browser.wait_until_text("ports drifted").await.unwrap();
    assert!(browser.clicks() - before <= 2, "{} clicks", browser.clicks() - before);
    assert_eq!(session(world).await["port_drift_acknowledgement"], Value::Null);
    browser.fill("Reason", "the guide names this port").await.unwrap();
    browser.press_button("Acknowledge").await.unwrap();
    browser.wait_until_text("drift acknowledged").await.unwrap();
}

/// Follows the link of the row to the session that is to be looked at.
async fn look_at_session(browser: &Browser) {
    for link in browser.row("PC_serial").await.unwrap().links().await.unwrap() {
        if link.attribute("href").await.unwrap().is_some_and(|href| href.ends_with("/sessions/s1#port-drift")) {
            return link.click().await.unwrap();
        }
    }
    panic!("no link to the session");
}

async fn another_drift_is_open_again(world: &World, browser: &Browser) {
    browser.goto("/sessions/s1").await.unwrap();
    move_console(world, 5999, 5998).await;
    browser.wait_until_text("ports drifted").await.unwrap();
    assert_eq!(session(world).await["port_drift_acknowledgement"], Value::Null);
}

async fn a_phone_leads_to_it_in_four_taps(browser: &Browser) {
    browser.goto("/definitions").await.unwrap();
    browser.appear(PHONE).await.unwrap();
    let before = browser.clicks();
    browser.press_button("Menu").await.unwrap();
    browser.follow("Overview").await.unwrap();
    browser.follow("1 with drifted ports").await.unwrap();
    look_at_session(browser).await;
    let changed = browser.row("PC_serial").await.unwrap();
    for words in ["5041", "5998", "changed"] {
        changed.wait_until_text(words).await.unwrap();
    }
    assert!(browser.clicks() - before <= 4, "{} taps", browser.clicks() - before);
    assert_eq!(browser.overflow().await.unwrap(), 0);
    browser.appear(DESKTOP).await.unwrap();
}

async fn the_allocation_is_corrected(world: &World, browser: &Browser) {
    browser.goto("/sessions/s1").await.unwrap();
    browser.follow("Correct the allocation").await.unwrap();
    browser.heading("Before and after").await.unwrap();
    browser.wait_until_text("nothing drifts any more").await.unwrap();
    look_at(browser, "allocation-review").await;
    browser.fill("Reason", "the lab was imported with this port").await.unwrap();
    browser.press_button("Correct the allocation").await.unwrap();
    browser.wait_until_text("ports as planned").await.unwrap();
    assert_eq!(session(world).await["allocated_ports"]["PC_serial"], 5998);
}
