//! The demonstration in a browser: what an admin sees and does while sessions live through their life.

use harness::{Browser, Lablet, LabletOptions};

use super::{look_at, options};

/// The definition whose sessions' ports move.
const MOVING: &str = "demo-moving-ports";

#[tokio::test]
async fn an_admin_watches_asks_and_applies() {
    let lablet = Lablet::start(LabletOptions { demo: true, ..options() }).await.unwrap();
    // The line of a page may be waited for as long as a session's timeslot takes.
    let browser = lablet.browser().await.unwrap().with_patience(std::time::Duration::from_secs(90));
    browser.goto(lablet.ready().sign_in_url.as_deref().unwrap()).await.unwrap();
    browser.heading("Overview").await.unwrap();

    let session = watch_a_session_appear(&browser).await;
    watch_it_drift(&browser, &session).await;
    ask_for_an_observation(&browser).await;
    hold_live_updates(&browser).await;
    let revised = apply_the_greatest(&browser).await;
    look_at_every_page(&browser, &session, &revised).await;
    browser.finish().await.unwrap();
    lablet.stop().await.unwrap();
}

/// Without reloading: a session that was not there comes, and runs. The list was empty when it was opened, or says that
/// there is more and shows it when asked.
async fn watch_a_session_appear(browser: &Browser) -> String {
    browser.goto(&format!("/sessions?definition_id={MOVING}")).await.unwrap();
    let load = browser.page_load().await.unwrap();
    let shown = async || {
        let links = browser.part("Sessions that match").await?.links().await?;
        anyhow::Ok(links.into_iter().map(|link| link.name).filter(|name| name.len() == 36).collect::<Vec<_>>())
    };
    let before = shown().await.unwrap();
    let session = browser
        .wait_until("a session that was not there", async || {
            if browser.has_button("1 new").await? {
                browser.press_button("1 new").await?;
            }
            Ok(shown().await?.into_iter().find(|session| !before.contains(session)))
        })
        .await
        .unwrap();
    browser
        .wait_until("it to run", async || {
            Ok(browser.row(&session).await?.text().await?.contains("running").then_some(()))
        })
        .await
        .unwrap();
    assert_eq!(browser.page_load().await.unwrap(), load, "the page was loaded again");
    session
}

/// Without reloading: the verdict on the ports comes, with what differs.
async fn watch_it_drift(browser: &Browser, session: &str) {
    browser.goto(&format!("/sessions/{session}")).await.unwrap();
    let load = browser.page_load().await.unwrap();
    browser.wait_until_text("ports drifted").await.unwrap();
    let ports = browser.part("Allocated beside observed ports").await.unwrap();
    let row = ports.row("probe_tcp").await.unwrap().text().await.unwrap();
    assert!(row.contains("changed") && row.contains("2322") && row.contains("2399"), "{row}");
    let observed = browser.part("Resource observations").await.unwrap().text().await.unwrap();
    assert!(observed.contains("Nominal") && observed.contains("by controller"), "{observed}");
    browser.wait_until_text("lablet_session.port_drift_detected.v1").await.unwrap();
    assert_eq!(browser.page_load().await.unwrap(), load, "the page was loaded again");
}

/// The button leads back to the session, where the request's fate shows by itself.
async fn ask_for_an_observation(browser: &Browser) {
    browser.goto("/sessions?status=running").await.unwrap();
    let running = browser.row("running").await.unwrap().links().await.unwrap().into_iter().next().unwrap().name;
    browser.goto(&format!("/sessions/{running}")).await.unwrap();
    browser.press_button("Observe now").await.unwrap();
    browser.wait_until_text("yours").await.unwrap();
    let load = browser.page_load().await.unwrap();
    browser
        .wait_until("the request's outcome", async || {
            let row = browser.row("yours").await?.text().await?;
            Ok(["recorded", "failed", "skipped"].iter().any(|outcome| row.contains(outcome)).then_some(()))
        })
        .await
        .unwrap();
    let row = browser.row("yours").await.unwrap().text().await.unwrap();
    assert!(row.contains("admin:admin") && row.contains("recorded"), "{row}");
    assert_eq!(browser.page_load().await.unwrap(), load, "the page was loaded again");
}

/// What happens meanwhile is counted and comes when live updates go on. A lost connection misses nothing.
async fn hold_live_updates(browser: &Browser) {
    browser.goto("/sessions").await.unwrap();
    browser.wait_until_text("Live").await.unwrap();
    browser.press_button("Pause live updates").await.unwrap();
    let before = browser.part("All sessions").await.unwrap().rows().await.unwrap().len();
    browser.wait_until_text("Paused, ").await.unwrap();
    assert_eq!(browser.part("All sessions").await.unwrap().rows().await.unwrap().len(), before);
    browser.press_button("Resume live updates").await.unwrap();
    browser.wait_until_text("Live").await.unwrap();

    browser.offline(true);
    browser.wait_until_text("Connection lost").await.unwrap();
    browser.offline(false);
    browser.wait_until_no_text("Connection lost").await.unwrap();
    browser
        .wait_until("new sessions to be told of", async || {
            let text = browser.text().await?;
            Ok(text.lines().any(|line| line.trim().ends_with(" new")).then_some(()))
        })
        .await
        .unwrap();
}

/// From the observed numbers to a revision that carries its evidence.
async fn apply_the_greatest(browser: &Browser) -> String {
    let definition = "demo-web";
    browser.goto(&format!("/definitions/{definition}")).await.unwrap();
    browser.follow("Apply max").await.unwrap();
    browser.heading("Revise A web server behind a firewall").await.unwrap();
    browser.wait_until_text("rounded up to 9 GB").await.unwrap();
    browser.press_button("Review").await.unwrap();
    browser.part("Before and after").await.unwrap().row("Memory").await.unwrap();
    look_at(browser, "review").await;
    browser.fill("Reason", "observed <b>far</b> less").await.unwrap();
    browser.button("Apply this revision").await.unwrap().double_click().await.unwrap();
    browser.wait_until_text("Revision 2").await.unwrap();
    let revisions = browser.part("Revisions").await.unwrap().text().await.unwrap();
    assert!(revisions.contains("observed <b>far</b> less"), "what somebody wrote is text: {revisions}");
    assert!(revisions.contains("admin:admin") && revisions.contains("Evidence") && !revisions.contains("Revision 3"));
    definition.to_owned()
}

async fn look_at_every_page(browser: &Browser, session: &str, definition: &str) {
    for (page, path, heading) in [
        ("overview", "/".to_owned(), "Overview"),
        ("sessions", "/sessions".to_owned(), "Sessions"),
        ("session", format!("/sessions/{session}"), "Life so far"),
        ("definitions", "/definitions".to_owned(), "Definitions"),
        ("definition", format!("/definitions/{definition}"), "Revisions"),
        ("edit", format!("/definitions/{definition}/edit?from=latest"), "Revise A web server behind a firewall"),
        ("workers", "/workers".to_owned(), "Workers"),
        ("worker", "/workers/demo-cml".to_owned(), "Port map"),
        ("operations", "/operations".to_owned(), "Operations"),
        ("search", "/search?text=demo".to_owned(), "Definitions"),
    ] {
        browser.goto(&path).await.unwrap();
        browser.heading(heading).await.unwrap();
        look_at(browser, page).await;
    }
    browser.goto(&format!("/sessions/{session}")).await.unwrap();
    browser.follow("lablet_session.resources_observed.v1").await.unwrap();
    browser.heading("lablet_session.resources_observed.v1").await.unwrap();
    look_at(browser, "event").await;
    browser.expect_console("status of 404");
    browser.goto("/sessions/nobody").await.unwrap();
    browser.heading("Not found").await.unwrap();
    look_at(browser, "not-found").await;
}
