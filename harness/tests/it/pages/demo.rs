//! The demonstration in a browser: what an admin sees while sessions live through their life.

use harness::{Browser, Lablet, LabletOptions, sign_in_by_link};

use super::{elsewhere, export, look_at, options};

/// The definition whose sessions' ports move.
const MOVING: &str = "demo-moving-ports";

#[tokio::test]
async fn a_session_is_watched_as_it_appears_and_drifts() {
    let lablet = Lablet::start(LabletOptions { demo: true, demo_history: 3, ..options() }).await.unwrap();
    // The line of a page may be waited for as long as a session's timeslot takes.
    let browser = lablet.browser().await.unwrap().with_timeout(std::time::Duration::from_secs(90));
    sign_in_by_link(&browser, lablet.ready().sign_in_url.as_deref().unwrap()).await.unwrap();

    let session = watch_a_session_appear(&browser).await;
    watch_it_drift(&browser, &session).await;
    look_at_every_page(&lablet, &browser, &session).await;
    compare_two_sessions(&browser).await;
    export::printed_and_exported(&lablet, &browser).await;
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
        anyhow::Ok(links.into_iter().map(|link| link.description).filter(|id| id.len() == 36).collect::<Vec<_>>())
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
            Ok(browser.row(&session[session.len() - 8..]).await?.text().await?.contains("running").then_some(()))
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
    let ports = browser.part("Ports: allocated and observed").await.unwrap();
    let row = ports.row("probe_tcp").await.unwrap().text().await.unwrap();
    assert!(row.contains("changed") && row.contains("2322") && row.contains("2399"), "{row}");
    let observed = browser.part("Resource observations").await.unwrap().text().await.unwrap();
    assert!(observed.contains("Nominal") && observed.contains("by controller"), "{observed}");
    browser.wait_until_text("lablet_session.port_drift_detected.v1").await.unwrap();
    assert_eq!(browser.page_load().await.unwrap(), load, "the page was loaded again");
}

/// Two sessions of the past, chosen from a list.
async fn compare_two_sessions(browser: &Browser) {
    browser.goto("/sessions?definition_id=bgp-edge").await.unwrap();
    let before = browser.clicks();
    let rows = browser.part("Sessions that match").await.unwrap().links().await.unwrap();
    rows.iter().find(|link| link.name.starts_with("BGP at the edge")).unwrap().click().await.unwrap();
    browser.heading("Lifecycle").await.unwrap();
    browser.follow("Compare").await.unwrap();
    browser.heading("Compare with which session?").await.unwrap();
    let choices = browser.part("Other sessions of the definition").await.unwrap().links().await.unwrap();
    choices[0].click().await.unwrap();
    browser.heading("Two sessions").await.unwrap();
    let clicks = browser.clicks() - before;
    assert!(clicks <= 3, "two sessions are compared after {clicks} clicks");
    let resources = browser.part("Resources").await.unwrap().text().await.unwrap();
    assert!(resources.contains("Used memory") && resources.contains("%)"), "{resources}");
    look_at(browser, "compare").await;
}

async fn look_at_every_page(lablet: &Lablet, browser: &Browser, session: &str) {
    let pages = [
        ("overview", "/".to_owned(), "Overview"),
        ("sessions", "/sessions".to_owned(), "Sessions"),
        ("session", format!("/sessions/{session}"), "Lifecycle"),
        ("port-drift", "/drift".to_owned(), "Ports that are not as allocated"),
        ("compare-choice", format!("/sessions/{session}/compare"), "Compare with which session?"),
        ("definitions", "/definitions".to_owned(), "Definitions"),
        ("sizing", "/sizing".to_owned(), "Too large"),
        ("definition", format!("/definitions/{MOVING}"), "Revisions"),
        ("edit", format!("/definitions/{MOVING}/edit?from=latest"), "Revise Moving ports"),
        ("advice", "/advice".to_owned(), "Default policy"),
        ("proposals", "/proposals".to_owned(), "Proposals"),
        ("explanation", format!("/definitions/{MOVING}/advice"), "Step by step"),
        ("evidence", format!("/definitions/{MOVING}/evidence"), "Sessions that ended"),
        ("back-test", format!("/definitions/{MOVING}/back-test"), "The size on past sessions"),
        ("policy", format!("/definitions/{MOVING}/policy"), "The policy now"),
        ("first-steps-done", "/first-steps".to_owned(), "First steps"),
        ("workers", "/workers".to_owned(), "Workers"),
        ("worker", "/workers/demo-cml".to_owned(), "Port map"),
        ("operations", "/operations".to_owned(), "Operations"),
        ("dead-letters", "/operations/dead-letters".to_owned(), "Dead letters"),
        ("discarded-letters", "/operations/dead-letters/discarded".to_owned(), "All that were discarded"),
        ("requests", "/requests".to_owned(), "Observation requests"),
        ("activity", "/activity".to_owned(), "All changes"),
        ("sign-ins", "/operations/sign-ins".to_owned(), "Sign-ins"),
        ("search", "/search?text=demo".to_owned(), "Definitions"),
    ];
    elsewhere::follow(lablet, &pages.each_ref().map(|(_, path, _)| path.clone())).await;
    for (page, path, heading) in pages {
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
