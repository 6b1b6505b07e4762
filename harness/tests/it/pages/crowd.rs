//! Ten thousand sessions.

use std::collections::BTreeSet;

use harness::{Browser, Crowd, Lablet};

use super::scope::one_scope_holds_from_the_page_to_the_applied_size;
use super::{look_at, start};

/// Most bytes of a first visit, and of a page's HTML.
const LIGHT: u64 = 150_000;
const SHORT: u64 = 100_000;

#[tokio::test]
async fn ten_thousand_sessions_are_paged_through() {
    let lablet = start().await;
    Crowd { giant: true, ..Crowd::default() }.settle(&lablet).await.unwrap();
    let browser = first_visit(&lablet, "/sessions").await;
    page_through(&browser).await;
    filter(&browser).await;
    browser.finish().await.unwrap();
    let browser = first_visit(&lablet, "/definitions/crowd-000").await;
    one_scope_holds_from_the_page_to_the_applied_size(&lablet, &browser).await;
    browser.finish().await.unwrap();
    let browser = first_visit(&lablet, &format!("/sessions/{}", Crowd::GIANT)).await;
    browser.wait_until_text("300 nodes in the newest observation").await.unwrap();
    browser.follow("Next nodes").await.unwrap();
    browser.follow("Older events").await.unwrap();
    browser.heading("Events").await.unwrap();
    browser.finish().await.unwrap();
    lablet.stop().await.unwrap();
}

/// A browser that was nowhere else before, on a page that is light.
async fn first_visit(lablet: &Lablet, page: &str) -> Browser {
    let browser = lablet.browser().await.unwrap();
    let link = lablet.sign_in_link("Ada", "admin").await.unwrap();
    browser.goto(&format!("{link}&return_to={page}")).await.unwrap();
    browser.press_button("Sign in").await.unwrap();
    browser.wait_until_url(page).await.unwrap();
    let weight = browser.weight().await.unwrap();
    eprintln!("{page}: {weight:?}");
    assert!(weight.total < LIGHT, "{page}: {weight:?}");
    assert!(weight.html < SHORT, "{page}: {weight:?}");
    look_at(&browser, &format!("crowd{}", page.replace('/', "-"))).await;
    browser
}

async fn page_through(browser: &Browser) {
    browser.goto("/sessions?limit=200").await.unwrap();
    let mut seen = BTreeSet::new();
    loop {
        let shown: Vec<String> = browser
            .run("return [...document.querySelectorAll('tbody th a')].map(link => link.textContent)", vec![])
            .await
            .unwrap();
        let before = seen.len();
        let count = shown.len();
        seen.extend(shown);
        assert_eq!(seen.len(), before + count, "a session comes twice");
        if !browser.has_link("Next page").await.unwrap() {
            break;
        }
        let url = browser.url().await.unwrap();
        browser.follow("Next page").await.unwrap();
        browser.wait_until("the next page", async || Ok((browser.url().await? != url).then_some(()))).await.unwrap();
    }
    assert_eq!(seen.len(), 10_001, "the giant too");
}

/// The filter's state is in the address, so that it can be sent to somebody.
async fn filter(browser: &Browser) {
    browser.goto("/sessions").await.unwrap();
    browser.fill("Contains", "crowd-00018").await.unwrap();
    browser.wait_until_url("text=crowd-00018").await.unwrap();
    browser.heading("Sessions that match").await.unwrap();
    browser.row("crowd-00018").await.unwrap();
    browser.reload().await.unwrap();
    assert_eq!(browser.field("Contains").await.unwrap().value().await.unwrap(), "crowd-00018");
    browser.fill("Contains", "nobody-at-all").await.unwrap();
    browser.wait_until_text("No session matches").await.unwrap();
}
