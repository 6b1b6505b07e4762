//! Signing in at an OpenID provider, with a browser.

use harness::{Browser, Lablet, LabletOptions, OidcProvider};

use super::options;

#[tokio::test]
async fn somebody_comes_back_from_the_provider_to_the_page_they_wanted() {
    let mut provider = OidcProvider::start(&["http://127.0.0.1:9/elsewhere"]).await.unwrap();
    let lablet = Lablet::start(LabletOptions { environment: provider.settings(), ..options() }).await.unwrap();
    provider.allow_redirect(&format!("{}/sign-in/oidc/callback", lablet.ready().http)).await.unwrap();
    let browser = lablet.browser().await.unwrap();
    // What the provider's own pages lack is not ours to mend.
    browser.expect_console("status of 404");

    browser.goto("/sessions?sort=oldest").await.unwrap();
    browser.heading("Sign in").await.unwrap();
    browser
        .run::<serde_json::Value>("document.querySelector('a[href^=\"/sign-in/oidc\"]').click()", vec![])
        .await
        .unwrap();
    fill_in(&browser, "login", "vic").await;
    fill_in(&browser, "password", provider.password()).await;
    consent(&browser).await;
    browser.heading("Sessions").await.unwrap();
    assert_eq!(browser.url().await.unwrap(), "/sessions?sort=oldest");
    browser.wait_until_text("vic viewer").await.unwrap();

    // A viewer sees how things are, and that others' sessions are not for them, and why.
    browser.goto("/operations").await.unwrap();
    browser.wait_until_text("What they hold is for operators").await.unwrap();
    browser.expect_console("status of 403");
    browser.goto("/operations/sign-ins").await.unwrap();
    browser.heading("Not allowed").await.unwrap();
    browser.wait_until_text("This needs the role admin").await.unwrap();
    browser.finish().await.unwrap();
    lablet.stop().await.unwrap();
}

/// Fills in the one field of a form of the provider, and sends it.
async fn fill_in(browser: &Browser, field: &str, text: &str) {
    let script = "const field = document.querySelector(`form input[name=\"${arguments[0]}\"]`);
        if (!field) return false;
        field.value = arguments[1];
        field.form.requestSubmit();
        return true;";
    browser
        .wait_until(field, async || {
            Ok(browser.run::<bool>(script, vec![field.into(), text.into()]).await?.then_some(()))
        })
        .await
        .unwrap();
}

/// Lets the provider tell the gateway who it is.
async fn consent(browser: &Browser) {
    let script = "const button = document.querySelector('button[name=\"answer\"][value=\"accept\"]');
        if (!button) return false;
        button.click();
        return true;";
    browser.wait_until("consent", async || Ok(browser.run::<bool>(script, vec![]).await?.then_some(()))).await.unwrap();
}
