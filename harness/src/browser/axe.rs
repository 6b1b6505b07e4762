//! Accessibility, checked by axe-core.

use std::fmt;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Browser;

/// What axe-core is, as `scripts/vendor.sh` brought it.
const AXE: &str = include_str!("../../vendor/axe.min.js");

/// All rules of WCAG 2 at levels A and AA, and what axe-core's authors hold for good practice.
const RULES: [&str; 7] = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"];

/// A rule that the page breaks, and where.
#[derive(Debug, Clone, Deserialize)]
pub struct Violation {
    /// The name of the rule.
    pub id: String,
    /// How bad it is.
    pub impact: Option<String>,
    /// What would be right.
    pub help: String,
    /// Each place.
    pub nodes: Vec<AffectedNode>,
}

/// A place where a rule is broken.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AffectedNode {
    /// Selectors that lead there.
    pub target: Value,
    /// What is there.
    pub html: String,
    /// What is wrong with it.
    #[serde(default)]
    pub failure_summary: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} ({}): {}", self.id, self.impact.as_deref().unwrap_or("?"), self.help)?;
        for place in &self.nodes {
            let summary = place.failure_summary.replace('\n', " ");
            writeln!(formatter, "  {} {}\n    {summary}", place.target, place.html)?;
        }
        Ok(())
    }
}

impl Browser {
    /// The rules that the page breaks as it appears now, from its top: what a header that stays in view covers on the way
    /// down is not out of reach.
    ///
    /// # Errors
    /// The check does not run.
    pub async fn axe(&self) -> anyhow::Result<Vec<Violation>> {
        self.scroll_to_top().await?;
        let there: bool = self.run("return typeof window.axe === 'object'", vec![]).await?;
        if !there {
            // The file declares `axe` for whoever runs it; a script of the driver is a function of its own.
            self.run::<Value>(&format!("{AXE}\nreturn null;"), vec![]).await?;
        }
        self.run(
            "return window.axe.run(document, { runOnly: { type: 'tag', values: arguments[0] }, resultTypes: ['violations'] })
                 .then(found => found.violations.map(({ id, impact, help, nodes }) => ({
                     id, impact, help,
                     nodes: nodes.slice(0, 10).map(({ target, html, failureSummary }) => ({
                         target, html: html.slice(0, 300), failureSummary
                     })),
                 })))",
            vec![json!(RULES)],
        )
        .await
    }

    /// That the page breaks no rule as it appears now.
    ///
    /// # Errors
    /// It does; the error lists rules and places.
    pub async fn expect_accessible(&self) -> anyhow::Result<()> {
        let violations = self.axe().await?;
        let listed: Vec<String> = violations.iter().map(ToString::to_string).collect();
        anyhow::ensure!(listed.is_empty(), "{} breaks rules of axe-core:\n{}", self.url().await?, listed.join("\n"));
        Ok(())
    }
}
