//! Signing in without an OpenID provider.

use super::{look_at, start};

#[tokio::test]
async fn a_link_signs_in_once_and_a_token_until_it_is_revoked() {
    let lablet = start().await;
    let browser = lablet.browser().await.unwrap();

    // Whoever is not signed in comes to where they wanted to go.
    browser.goto("/?table=requests").await.unwrap();
    browser.heading("Sign in").await.unwrap();
    assert_eq!(browser.url().await.unwrap(), "/sign-in?return_to=%2F%3Ftable%3Drequests");
    look_at(&browser, "sign-in").await;
    let token = lablet.token("Grace", "operator").await.unwrap();
    browser.fill("Token", &token).await.unwrap();
    browser.press_button("Sign in").await.unwrap();
    browser.heading("Overview").await.unwrap();
    assert_eq!(browser.url().await.unwrap(), "/?table=requests");
    browser.wait_until_text("Grace operator").await.unwrap();
    browser.press_button("Sign out").await.unwrap();
    browser.heading("Sign in").await.unwrap();
    browser.goto("/").await.unwrap();
    browser.heading("Sign in").await.unwrap();

    // A wrong token is refused with what to do.
    browser.expect_console("status of 401");
    browser.fill("Token", "lablet_wrong").await.unwrap();
    browser.press_button("Sign in").await.unwrap();
    browser.notice("This token is not valid").await.unwrap();

    // The link that `lablet up` printed.
    let link = lablet.ready().sign_in_url.clone().unwrap();
    browser.goto(&link).await.unwrap();
    browser.heading("Sign in as admin").await.unwrap();
    look_at(&browser, "sign-in-link").await;
    browser.press_button("Sign in").await.unwrap();
    browser.heading("Overview").await.unwrap();
    assert_eq!(browser.url().await.unwrap(), "/", "the secret has left the address");
    look_at(&browser, "overview-empty").await;
    browser.press_button("Sign out").await.unwrap();
    browser.heading("Sign in").await.unwrap();
    browser.expect_console("status of 410");
    browser.goto(&link).await.unwrap();
    browser.notice("It works once").await.unwrap();
    assert!(!lablet.log().contains(link.split_once("token=").unwrap().1), "the link's secret is in the log");
    browser.finish().await.unwrap();
    lablet.stop().await.unwrap();
}
