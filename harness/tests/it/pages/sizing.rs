//! Sizing in a browser: from the largest waste to an applied size, and back, in three clicks each.

use harness::{Browser, eventually};
use serde_json::Value;

use super::advice::world;
use super::{SOON, look_at};

/// Clicks that each way may take.
const MOST_CLICKS: u32 = 3;

#[tokio::test]
async fn the_largest_waste_becomes_an_applied_size_and_back_in_three_clicks_each() {
    let lablet = world().await;
    let stated = lablet.get("/api/lablet-definitions/ospf").await.unwrap()["resource_requirements"].clone();
    eventually("the gap to be known", SOON, || async {
        let gaps = lablet.get("/api/sizing-gaps?verdict=too_large").await.ok()?;
        gaps["items"].as_array().is_some_and(|items| !items.is_empty()).then_some(())
    })
    .await;
    let browser = lablet.browser_of("Ada", "admin").await.unwrap();
    browser.heading("Overview").await.unwrap();

    let before = browser.clicks();
    let gaps = browser.part("Largest sizing gaps").await.unwrap();
    gaps.wait_until_text("too large by").await.unwrap();
    let links = gaps.links().await.unwrap();
    links.into_iter().find(|link| link.name == "Review the size of ospf").unwrap().click().await.unwrap();
    browser.wait_until_text("keeps the promise").await.unwrap();
    browser.wait_until_text("4 sessions run with revision 1: what they were given stays until they end").await.unwrap();
    browser.part("Evidence that will be recorded").await.unwrap().wait_until_text("Supports this size").await.unwrap();
    look_at(&browser, "review-recommended").await;
    browser.press_button("Apply this revision").await.unwrap();
    browser.notice("Revision 2 is recorded").await.unwrap();
    assert!(browser.clicks() - before <= MOST_CLICKS, "{} clicks", browser.clicks() - before);
    let applied = lablet.get("/api/lablet-definitions/ospf").await.unwrap();
    assert_ne!(applied["resource_requirements"], stated);
    assert_eq!(applied["revision"], 2);

    let before = browser.clicks();
    return_to_the_first(&browser).await;
    assert!(browser.clicks() - before <= MOST_CLICKS, "{} clicks", browser.clicks() - before);
    let returned = lablet.get("/api/lablet-definitions/ospf").await.unwrap();
    assert_eq!((&returned["resource_requirements"], &returned["revision"]), (&stated, &Value::from(3)));

    browser.goto("/sizing").await.unwrap();
    browser.heading("Too large").await.unwrap();
    look_at(&browser, "sizing").await;
    browser.finish().await.unwrap();
    lablet.stop().await.unwrap();
}

async fn return_to_the_first(browser: &Browser) {
    browser.follow("Return to this revision 1").await.unwrap();
    let reason = browser.field("Reason").await.unwrap().value().await.unwrap();
    assert_eq!(reason.trim(), "Back to revision 1, from revision 2");
    browser.press_button("Apply this revision").await.unwrap();
    browser.notice("Revision 3 is recorded").await.unwrap();
}
