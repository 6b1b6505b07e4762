//! The page as it is printed on A4.

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::Browser;

/// CSS pixels between the margins of the style sheet: 186 mm.
const WIDTH: u32 = 703;
/// Width and height of A4 in points, as a PDF states them.
const A4: (f64, f64) = (595.28, 841.89);

/// A printed page, as a PDF.
pub struct Paper(Vec<u8>);

impl Paper {
    /// The sizes of its sheets, in points.
    fn sheets(&self) -> Vec<(f64, f64)> {
        let text = String::from_utf8_lossy(&self.0);
        let boxes = text.split("/MediaBox").skip(1).filter_map(|rest| rest.split(['[', ']']).nth(1));
        let sides =
            boxes.map(|sides| sides.split_whitespace().filter_map(|side| side.parse().ok()).collect::<Vec<f64>>());
        sides.filter_map(|sides| Some((*sides.get(2)?, *sides.get(3)?))).collect()
    }

    /// How many sheets of A4 it takes.
    ///
    /// # Errors
    /// It is no PDF, or of another size.
    pub fn sheets_of_a4(&self) -> anyhow::Result<usize> {
        anyhow::ensure!(self.0.starts_with(b"%PDF-"), "the browser printed no PDF");
        let sheets = self.sheets();
        let is_a4 = |(width, height): &(f64, f64)| (width - A4.0).abs() < 2.0 && (height - A4.1).abs() < 2.0;
        anyhow::ensure!(!sheets.is_empty() && sheets.iter().all(is_a4), "the sheets are no A4: {sheets:?}");
        Ok(sheets.len())
    }
}

impl Browser {
    /// Prints the page.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn print(&self) -> anyhow::Result<Paper> {
        let answer = self.devtools("Page.printToPDF", json!({ "preferCSSPageSize": true })).await?;
        let data = answer["data"].as_str().context("the browser gave no PDF")?;
        Ok(Paper(BASE64_STANDARD.decode(data)?))
    }

    /// Shows the page as it is printed, with a picture of it at `screenshots/{page}-paper.png` in the target folder.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn appear_on_paper(&self, page: &str) -> anyhow::Result<()> {
        let metrics = json!({ "width": WIDTH, "height": 1_000, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await?;
        self.devtools("Emulation.setEmulatedMedia", json!({ "media": "print", "features": [] })).await?;
        self.save_picture(&format!("{page}-paper")).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheets_are_counted_and_of_a4_alone() {
        let paper = |boxes: &[&str]| {
            let boxes: Vec<String> =
                boxes.iter().map(|sides| format!("<< /Type /Page /MediaBox [{sides}] >>")).collect();
            Paper(format!("%PDF-1.4\n{}", boxes.join("\n")).into_bytes()).sheets_of_a4().ok()
        };
        assert_eq!(paper(&["0 0 594.95996 841.91998", "0 0 594.95996 841.91998"]), Some(2));
        assert_eq!(paper(&["0 0 612 792"]), None);
        assert_eq!(paper(&[]), None);
    }
}
