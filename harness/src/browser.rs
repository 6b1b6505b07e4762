//! A real browser and what a person does with it.
//!
//! Things on a page are found as assistive technology finds them: by role and accessible name. What is not there yet is
//! waited for, bounded; what never comes is an error that shows the page.

mod appearance;
mod axe;
mod chromium;
mod console;
mod element;
mod keyboard;
mod line;
mod network;
mod paper;
mod webdriver;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

pub use self::appearance::{Appearance, DESKTOP, PHONE};
pub use self::axe::Violation;
pub use self::element::Element;
pub use self::keyboard::Focus;
pub use self::network::Weight;
pub use self::paper::Paper;

use self::chromium::Chromium;
use self::console::Console;
use self::line::Line;
use self::webdriver::{WebDriver, WebDriverError};

/// How long a page may take to show what it will show, on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How much of a page's text an error shows.
const SHOWN: usize = 4_000;

/// A headless Chromium on the pages of one server.
pub struct Browser {
    driver: WebDriver,
    base: Url,
    line: Line,
    timeout: Duration,
    console: Mutex<Console>,
    clicks: AtomicU32,
    keys: AtomicU32,
    finished: bool,
    // Last, so that it ends after everything that speaks to it.
    _chromium: Chromium,
}

impl Browser {
    /// Starts a browser with an empty profile for the pages below this address.
    ///
    /// # Errors
    /// Chromium or chromedriver is missing or does not start.
    pub async fn start(base: &str) -> anyhow::Result<Self> {
        crate::install_tls();
        let base = Url::parse(base).with_context(|| format!("{base} is no address"))?;
        let line = Line::lay().await?;
        let (chromium, driver) = Chromium::start(line.port()).await?;
        let browser = Self {
            driver,
            base,
            line,
            console: Mutex::new(Console::default()),
            clicks: AtomicU32::new(0),
            keys: AtomicU32::new(0),
            finished: false,
            timeout: TIMEOUT,
            _chromium: chromium,
        };
        browser.appear(DESKTOP).await?;
        Ok(browser)
    }

    /// The same browser, waiting this long for what does not appear.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Opens a page, by its path or by a full address of the same server.
    ///
    /// # Errors
    /// The browser cannot load it.
    pub async fn goto(&self, path: &str) -> anyhow::Result<()> {
        let url = self.base.join(path)?;
        self.driver.goto(url.as_str()).await.with_context(|| format!("{path} does not load"))
    }

    /// Loads the page again.
    ///
    /// # Errors
    /// The browser cannot load it.
    pub async fn reload(&self) -> anyhow::Result<()> {
        self.driver.refresh().await.context("the page does not load again")
    }

    /// Goes back to the page before.
    ///
    /// # Errors
    /// The browser cannot load it.
    pub async fn back(&self) -> anyhow::Result<()> {
        self.driver.back().await.context("the page before does not load")
    }

    /// Forgets all cookies, as if a session had ended.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn forget_cookies(&self) -> anyhow::Result<()> {
        self.driver.delete_all_cookies().await.context("the cookies stay")
    }

    /// How often something was clicked or chosen so far: links, buttons, options. Two clicks of a double click are two.
    pub fn clicks(&self) -> u32 {
        self.clicks.load(Ordering::Relaxed)
    }

    /// How many keys were pressed so far, each character that was typed among them. A chord is one.
    pub fn keys(&self) -> u32 {
        self.keys.load(Ordering::Relaxed)
    }

    fn count_clicks(&self, clicks: u32) {
        self.clicks.fetch_add(clicks, Ordering::Relaxed);
    }

    fn count_keys(&self, keys: usize) {
        self.keys.fetch_add(u32::try_from(keys).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// The title of the page.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn title(&self) -> anyhow::Result<String> {
        self.driver.title().await
    }

    /// Path and query of the page.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn url(&self) -> anyhow::Result<String> {
        let url = Url::parse(&self.driver.current_url().await?)?;
        Ok(url[url::Position::BeforePath..].to_owned())
    }

    /// The text that is visible on the page.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn text(&self) -> anyhow::Result<String> {
        self.run("return document.body ? document.body.innerText : ''", vec![]).await
    }

    /// What loaded this page, as a mark: another one after every reload or navigation, the same one as long as the
    /// page only changes.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn page_load(&self) -> anyhow::Result<String> {
        self.run("return String(performance.timeOrigin)", vec![]).await
    }

    /// Waits until the page shows this text.
    ///
    /// # Errors
    /// It does not; the error shows what it shows instead.
    pub async fn wait_until_text(&self, wanted: &str) -> anyhow::Result<()> {
        self.wait_until(&format!("the text {wanted:?}"), async || Ok(self.text().await?.contains(wanted).then_some(())))
            .await
    }

    /// Waits until the page no longer shows this text.
    ///
    /// # Errors
    /// It still does.
    pub async fn wait_until_no_text(&self, unwanted: &str) -> anyhow::Result<()> {
        self.wait_until(&format!("the text {unwanted:?} to go"), async || {
            Ok((!self.text().await?.contains(unwanted)).then_some(()))
        })
        .await
    }

    /// Waits until path and query of the page hold this.
    ///
    /// # Errors
    /// They do not.
    pub async fn wait_until_url(&self, wanted: &str) -> anyhow::Result<()> {
        self.wait_until(&format!("an address with {wanted:?}"), async || {
            Ok(self.url().await?.contains(wanted).then_some(()))
        })
        .await
    }

    /// Looks until `look` finds something. What is replaced while it is looked at is looked at again.
    ///
    /// # Errors
    /// It never does; the error shows the page and where a picture of it is.
    pub async fn wait_until<T>(
        &self,
        what: &str,
        look: impl AsyncFn() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let end = Instant::now() + self.timeout;
        loop {
            let passing = match look().await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => None,
                Err(error) if passes(&error) => Some(error),
                Err(error) => return Err(error),
            };
            if Instant::now() >= end {
                let missing = self.missing(what).await;
                return Err(match passing {
                    Some(error) => missing.context(format!("the last look failed: {error:#}")),
                    None => missing,
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Runs a script in the page and gives what it returns. For what a person cannot do but a test has to know.
    ///
    /// # Errors
    /// The script fails or returns something else.
    pub async fn run<T: DeserializeOwned>(&self, script: &str, arguments: Vec<Value>) -> anyhow::Result<T> {
        self.driver.execute(script, arguments).await
    }

    /// Ends the browser, and fails where the page complained of something that nobody expected: a script that failed,
    /// something that the Content-Security-Policy forbids, something that did not load.
    ///
    /// # Errors
    /// There are such complaints.
    pub async fn finish(mut self) -> anyhow::Result<()> {
        self.finished = true;
        let complaints = self.console_errors().await?;
        anyhow::ensure!(complaints.is_empty(), "the browser complains:\n{}", complaints.join("\n"));
        Ok(())
    }

    /// A command of the DevTools protocol.
    async fn devtools(&self, method: &str, parameters: Value) -> anyhow::Result<Value> {
        self.driver.devtools(method, parameters).await.with_context(|| method.to_owned())
    }

    /// That something is not on the page, with the page.
    async fn missing(&self, what: &str) -> anyhow::Error {
        let url = self.url().await.unwrap_or_else(|error| format!("({error:#})"));
        let mut text = self.text().await.unwrap_or_else(|error| format!("({error:#})"));
        if let Some((end, _)) = text.char_indices().nth(SHOWN) {
            text.truncate(end);
            text.push_str(" […]");
        }
        let picture = match self.picture_of_failure().await {
            Ok(path) => path.display().to_string(),
            Err(error) => format!("none ({error:#})"),
        };
        anyhow!("{url} does not show {what}; picture: {picture}\n--- its text ---\n{text}\n---")
    }

    async fn picture_of_failure(&self) -> anyhow::Result<PathBuf> {
        let name = std::thread::current().name().unwrap_or("main").replace("::", "-");
        self.save_picture(&format!("failed-{name}")).await
    }

    fn console(&self) -> std::sync::MutexGuard<'_, Console> {
        self.console.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        assert!(
            self.finished || std::thread::panicking(),
            "a test ends its browser with finish(), which looks for complaints"
        );
    }
}

/// Whether an error only says that the page changed meanwhile, so that looking again helps.
fn passes(error: &anyhow::Error) -> bool {
    error.chain().find_map(|cause| cause.downcast_ref::<WebDriverError>()).is_some_and(WebDriverError::passes)
}
