//! What people hold is found: a port, a node, an owner, by what is typed and by what is suggested.

use harness::Browser;
use serde_json::json;

use super::look_at;
use super::own_lab::{World, world};
use crate::journeys::verify;

#[tokio::test]
async fn a_port_leads_to_who_holds_it() {
    let world = world().await;
    let browser = world.lablet.browser_of("Ada", "admin").await.unwrap();

    // By its number, without a mouse: one session holds it, so its place in the worker's port map is shown at once.
    browser.goto("/").await.unwrap();
    let (clicks, keys) = (browser.clicks(), browser.keys());
    browser.press("/").await.unwrap();
    browser.type_text("5041").await.unwrap();
    browser.press("Enter").await.unwrap();
    browser.wait_until_url("/workers/cml-1?text=5041#port-map").await.unwrap();
    browser.part("Port map").await.unwrap().row("PC_serial").await.unwrap().wait_until_text("running").await.unwrap();
    assert_eq!((browser.clicks() - clicks, browser.keys() - keys), (0, 6));

    // By a part of its name: what is suggested while it is typed is chosen by the arrow, and Escape closes it.
    browser.goto("/definitions").await.unwrap();
    browser.press("/").await.unwrap();
    browser.type_text("pc_ser").await.unwrap();
    browser.wait_until_text("5041 PC_serial").await.unwrap();
    look_at(&browser, "search-suggestions").await;
    // On a phone the search lies in the menu, which took the focus from it.
    browser.press("/").await.unwrap();
    browser.press("ArrowDown").await.unwrap();
    browser.wait_until_text("5041 PC_serial").await.unwrap();
    browser.press("Escape").await.unwrap();
    browser.wait_until_no_text("5041 PC_serial").await.unwrap();
    browser.press("ArrowDown").await.unwrap();
    browser.wait_until_text("5041 PC_serial").await.unwrap();
    browser.press("ArrowDown").await.unwrap();
    browser.press("Enter").await.unwrap();
    browser.wait_until_url("/workers/cml-1?text=5041#port-map").await.unwrap();

    // Several hits are listed by kind, and the searches of this browser are there again.
    browser.goto("/search").await.unwrap();
    browser.part("Recent searches").await.unwrap().wait_until_text("5041").await.unwrap();
    browser.goto("/search?text=pc").await.unwrap();
    browser.part("Ports that are held now").await.unwrap().row("PC_serial").await.unwrap();
    look_at(&browser, "search-held").await;
    failed_sessions_become_a_view_that_is_shared(&world, &browser).await;
    browser.finish().await.unwrap();
    verify(&world.lablet).await;
    world.lablet.stop().await.unwrap();
}

/// From the overview to the sessions of a definition that failed in the last day, which one saves for all and another opens.
async fn failed_sessions_become_a_view_that_is_shared(world: &World, browser: &Browser) {
    let new = json!({ "id": "s2", "definition_id": "ospf" });
    world.lablet.post("/api/internal/lablet-sessions", new).await.unwrap();
    let end = json!({ "new_status": "terminated", "reason": "its learner did not come" });
    let ended = world.lablet.post("/api/internal/lablet-sessions/s2/transition", end).await.unwrap();
    let position = ended["position"].as_str().unwrap();
    world.lablet.get(&format!("/api/lablet-sessions?position={position}")).await.unwrap();
    let name = world.lablet.get("/api/lablet-definitions/ospf").await.unwrap()["name"].as_str().unwrap().to_owned();

    browser.goto("/").await.unwrap();
    let clicks = browser.clicks();
    browser.follow("Sessions").await.unwrap();
    browser.heading("All sessions").await.unwrap();
    browser.fill("Definition", &name).await.unwrap();
    browser.choose("Time", "Last 24 hours").await.unwrap();
    browser.heading("Sessions that match").await.unwrap();
    browser.wait_until_url("last=day").await.unwrap();
    browser.follow("Failed 1").await.unwrap();
    browser.wait_until_url("status=failed").await.unwrap();
    let found = browser.part("Sessions that match").await.unwrap();
    found.row("terminated").await.unwrap();
    found.wait_until_text("1 session").await.unwrap();
    let clicks = browser.clicks() - clicks;
    assert!(clicks <= 3, "from the overview to the failed sessions of a definition in {clicks} clicks");
    browser.press_button("Save this view").await.unwrap();
    browser.fill("Name of the view", "Failed today").await.unwrap();
    browser.field("Shared with everybody").await.unwrap().click().await.unwrap();
    look_at(browser, "save-view").await;
    browser.press_button("Save view").await.unwrap();
    browser.link("Failed today shared").await.unwrap();

    // Whoever else signs in opens it from the list, and is told why it is not theirs to share.
    world.lablet.sign_in(browser, "Vera", "viewer").await.unwrap();
    browser.goto("/sessions").await.unwrap();
    browser.follow("Failed today shared").await.unwrap();
    browser.wait_until_url("status=failed").await.unwrap();
    let found = browser.part("Sessions that match").await.unwrap();
    found.row("terminated").await.unwrap();
    found.wait_until_text("1 session").await.unwrap();
    browser.press_button("Save this view").await.unwrap();
    browser.wait_until_text("Sharing needs the role admin").await.unwrap();
    look_at(browser, "sessions-filtered").await;
}
