//! How the page appears, and pictures of it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::Browser;

/// A window and the system's setting of light or dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appearance {
    /// What pictures of it are called.
    pub name: &'static str,
    /// Width in CSS pixels.
    pub width: u32,
    /// Height in CSS pixels.
    pub height: u32,
    /// Whether it is touched, and pages lay themselves out as on a phone.
    pub phone: bool,
    /// Whether the system is set to dark.
    pub dark: bool,
}

/// A common desktop window, light.
pub const DESKTOP: Appearance = Appearance { name: "desktop", width: 1280, height: 800, phone: false, dark: false };

/// A wide window, light.
const WIDE: Appearance = Appearance { name: "wide", width: 1440, height: 900, phone: false, dark: false };

/// A common phone, light.
pub const PHONE: Appearance = Appearance { name: "phone", width: 390, height: 844, phone: true, dark: false };

impl Appearance {
    /// The same window with the system set to dark.
    #[must_use]
    pub const fn dark(self) -> Self {
        Self { dark: true, ..self }
    }

    /// The six that every page is looked at in.
    pub const ALL: [Self; 6] = [WIDE, WIDE.dark(), DESKTOP, DESKTOP.dark(), PHONE, PHONE.dark()];
}

impl Browser {
    /// Takes on this appearance; the page is not loaded again.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn appear(&self, appearance: Appearance) -> anyhow::Result<()> {
        let metrics = json!({
            "width": appearance.width, "height": appearance.height, "deviceScaleFactor": 1, "mobile": appearance.phone
        });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await?;
        self.devtools("Emulation.setTouchEmulationEnabled", json!({ "enabled": appearance.phone })).await?;
        let scheme = if appearance.dark { "dark" } else { "light" };
        // Motion would be caught half-way by pictures and by the check of contrasts.
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme }, { "name": "prefers-reduced-motion", "value": "reduce" }
        ]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "media": "", "features": features })).await?;
        Ok(())
    }

    /// A picture of the whole page, at `screenshots/{page}-{desktop|phone}-{light|dark}.png` in the target folder.
    ///
    /// # Errors
    /// It cannot be taken or written.
    pub async fn screenshot(&self, page: &str, appearance: Appearance) -> anyhow::Result<PathBuf> {
        self.appear(appearance).await?;
        // Elsewhere a header that stays in view would lie across the middle of the picture.
        self.scroll_to_top().await?;
        let shade = if appearance.dark { "dark" } else { "light" };
        self.save_picture(&format!("{page}-{}-{shade}", appearance.name)).await
    }

    /// How much wider than the window the page is, in pixels: a person would have to scroll sideways.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn overflow(&self) -> anyhow::Result<i64> {
        self.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth", vec![]).await
    }

    /// How many windows the page is high.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn screens(&self) -> anyhow::Result<f64> {
        self.run("return document.documentElement.scrollHeight / window.innerHeight", vec![]).await
    }

    pub(super) async fn scroll_to_top(&self) -> anyhow::Result<()> {
        self.run("window.scrollTo({ top: 0, behavior: 'instant' })", vec![]).await
    }

    /// A picture of the whole page as it is.
    pub(super) async fn save_picture(&self, name: &str) -> anyhow::Result<PathBuf> {
        let picture = json!({ "format": "png", "captureBeyondViewport": true });
        let answer = self.devtools("Page.captureScreenshot", picture).await?;
        let data = answer["data"].as_str().context("the browser gave no picture")?;
        let folder = pictures()?;
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{name}.png"));
        std::fs::write(&path, BASE64_STANDARD.decode(data)?)?;
        Ok(path)
    }
}

/// `screenshots` in the target folder, which cargo marks as one that holds only what can be made again.
fn pictures() -> anyhow::Result<PathBuf> {
    let executable = std::env::current_exe()?;
    let target = executable.ancestors().find(|folder| is_target(folder));
    Ok(target.context("the test does not lie in a target folder")?.join("screenshots"))
}

fn is_target(folder: &Path) -> bool {
    folder.join("CACHEDIR.TAG").is_file()
}
