//! What a person does with the keyboard alone.

use anyhow::{Context as _, bail};

use super::Browser;

/// How many steps of Tab a page may have.
const MOST_STEPS: usize = 300;

/// What has the focus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Focus {
    /// Its role, e.g. `button`.
    pub role: String,
    /// Its accessible name.
    pub name: String,
}

impl Browser {
    /// Presses keys one after another, separated by spaces: `g s`, `/`, `Enter`, `Shift+Tab`.
    ///
    /// # Errors
    /// A key has no such name, or the browser does not answer.
    pub async fn press(&self, keys: &str) -> anyhow::Result<()> {
        for stroke in keys.split(' ') {
            let parts = if stroke == "+" { vec!["+"] } else { stroke.split('+').collect() };
            let pressed = parts.into_iter().map(key).collect::<anyhow::Result<Vec<char>>>()?;
            let down = pressed.iter().map(|key| (*key, true));
            let up = pressed.iter().rev().map(|key| (*key, false));
            self.driver.keys(down.chain(up)).await.with_context(|| format!("pressing {stroke}"))?;
            self.count_keys(1);
        }
        Ok(())
    }

    /// Types text into what has the focus.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn type_text(&self, text: &str) -> anyhow::Result<()> {
        let strokes = text.chars().flat_map(|key| [(key, true), (key, false)]);
        self.driver.keys(strokes).await.with_context(|| format!("typing {text:?}"))?;
        self.count_keys(text.chars().count());
        Ok(())
    }

    /// What has the focus.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn focus(&self) -> anyhow::Result<Focus> {
        let (role, name) = self.focused_node().await?.unwrap_or_else(|| ("none".to_owned(), String::new()));
        Ok(Focus { role, name })
    }

    /// Whether a person can see where the focus is: an outline, or a look that differs from the same element without.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn focus_is_visible(&self) -> anyhow::Result<bool> {
        self.run(
            "const style = getComputedStyle(document.activeElement);
             return document.activeElement.matches(':focus-visible')
                 && (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0 || style.boxShadow !== 'none');",
            vec![],
        )
        .await
    }

    /// Presses Tab until what has this role and name has the focus, and checks on the way that the focus can be seen.
    ///
    /// # Errors
    /// It never gets it, or something on the way does not show that it has the focus.
    pub async fn tab_to(&self, role: &str, name: &str) -> anyhow::Result<()> {
        let mut passed = Vec::new();
        while passed.len() < MOST_STEPS {
            self.press("Tab").await?;
            let focus = self.focus().await?;
            // Beyond its last element the browser's own controls have their turn; then the page begins again.
            let on_page = focus.role != "RootWebArea" && focus.role != "none";
            if on_page && !self.focus_is_visible().await? {
                bail!("nothing shows that {focus:?} has the focus");
            }
            if focus.role == role && focus.name == name {
                return Ok(());
            }
            // Twice around is enough.
            if passed.iter().filter(|before| **before == focus).count() > 2 && !on_page {
                break;
            }
            passed.push(focus);
        }
        let passed: Vec<String> = passed.into_iter().map(|focus| format!("{} {:?}", focus.role, focus.name)).collect();
        Err(self.missing(&format!("{role} {name:?} on the way of Tab, which passed {}", passed.join(", "))).await)
    }
}

/// A key by its name, or the one that types this character, as the WebDriver protocol writes it.
fn key(name: &str) -> anyhow::Result<char> {
    let key = match name {
        "Tab" => '\u{e004}',
        "Enter" => '\u{e007}',
        "Escape" => '\u{e00c}',
        "Space" => '\u{e00d}',
        "Backspace" => '\u{e003}',
        "Home" => '\u{e011}',
        "End" => '\u{e010}',
        "ArrowUp" => '\u{e013}',
        "ArrowDown" => '\u{e015}',
        "ArrowLeft" => '\u{e012}',
        "ArrowRight" => '\u{e014}',
        "Shift" => '\u{e008}',
        "Control" => '\u{e009}',
        "Alt" => '\u{e00a}',
        other => {
            let mut characters = other.chars();
            return match (characters.next(), characters.next()) {
                (Some(character), None) => Ok(character),
                _ => bail!("no key is called {other:?}"),
            };
        }
    };
    Ok(key)
}
