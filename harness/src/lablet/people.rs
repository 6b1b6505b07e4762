//! People who use it: each with a name and a role, by a token or in a browser.

use anyhow::{Context as _, ensure};
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::Lablet;
use crate::Browser;

impl Lablet {
    /// A bearer token for somebody with this role (`viewer`, `operator` or `admin`).
    ///
    /// # Errors
    /// It cannot be made.
    pub async fn token(&self, name: &str, role: &str) -> anyhow::Result<String> {
        self.credential("create", name, role).await
    }

    /// The address of a link that signs a browser in, once, as somebody with this role.
    ///
    /// # Errors
    /// It cannot be made.
    pub async fn sign_in_link(&self, name: &str, role: &str) -> anyhow::Result<String> {
        self.credential("link", name, role).await
    }

    /// A browser in which nobody is signed in.
    ///
    /// # Errors
    /// It does not start.
    pub async fn browser(&self) -> anyhow::Result<Browser> {
        Browser::start(&self.ready().http).await
    }

    /// A browser in which somebody with this role has signed in by a link, on the start page.
    ///
    /// # Errors
    /// It does not start, or the link signs nobody in.
    pub async fn browser_of(&self, name: &str, role: &str) -> anyhow::Result<Browser> {
        let browser = self.browser().await?;
        self.sign_in(&browser, name, role).await?;
        Ok(browser)
    }

    /// Signs somebody else in, in the same browser.
    ///
    /// # Errors
    /// The link signs nobody in.
    pub async fn sign_in(&self, browser: &Browser, name: &str, role: &str) -> anyhow::Result<()> {
        sign_in_by_link(browser, &self.sign_in_link(name, role).await?).await
    }

    /// The status with which somebody with this token is answered.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn request_as(&self, token: &str, method: Method, path: &str) -> anyhow::Result<StatusCode> {
        let url = format!("{}{path}", self.ready.http);
        Ok(self.http.request(method, url).bearer_auth(token).json(&json!({})).send().await?.status())
    }

    async fn credential(&self, kind: &str, name: &str, role: &str) -> anyhow::Result<String> {
        let output = self.output(&["token", kind, "--name", name, "--role", role]).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "lablet token {kind}: {said}");
        let printed = String::from_utf8(output.stdout)?;
        Ok(printed.lines().next().with_context(|| format!("lablet token {kind} printed nothing"))?.to_owned())
    }
}

/// Opens a sign-in link and presses its button.
///
/// # Errors
/// The link signs nobody in.
pub async fn sign_in_by_link(browser: &Browser, link: &str) -> anyhow::Result<()> {
    browser.goto(link).await?;
    browser.press_button("Sign in").await?;
    browser.heading("Overview").await.map(drop)
}
