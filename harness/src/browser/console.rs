//! What the page complained of in the browser's console.

use super::Browser;

/// Complaints so far, and those that a test provokes.
#[derive(Default)]
pub(super) struct Console {
    complaints: Vec<String>,
    expected: Vec<String>,
}

impl Browser {
    /// What holds this text is not a complaint: the test provokes it.
    pub fn expect_console(&self, text: &str) {
        self.console().expected.push(text.to_owned());
    }

    /// Errors and warnings of the console that nobody expected: scripts that failed, what the Content-Security-Policy
    /// forbids, what did not load.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn console_errors(&self) -> anyhow::Result<Vec<String>> {
        let entries = self.driver.console().await?;
        let mut console = self.console();
        // Chromedriver tells each entry once.
        console.complaints.extend(
            entries
                .into_iter()
                .filter(|(level, _)| matches!(level.as_str(), "SEVERE" | "WARNING"))
                .map(|(level, message)| format!("{level}: {message}")),
        );
        let unexpected = |complaint: &&String| !console.expected.iter().any(|text| complaint.contains(text.as_str()));
        Ok(console.complaints.iter().filter(unexpected).cloned().collect())
    }
}
