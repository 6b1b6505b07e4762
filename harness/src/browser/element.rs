//! Things on a page, found by role and accessible name as Chromium computes them for assistive technology.

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::json;

use super::webdriver::WebElement;
use super::{Browser, passes};

const BUTTON: &[&str] = &["button", "DisclosureTriangle"];
const LINK: &[&str] = &["link"];
const HEADING: &[&str] = &["heading"];
const FIELD: &[&str] = &[
    "textbox",
    "searchbox",
    "combobox",
    "listbox",
    "spinbutton",
    "checkbox",
    "radio",
    "switch",
    "slider",
    "Date",
    "DateTime",
    "InputTime",
];
const ROW: &[&str] = &["row"];
/// Named parts of a page.
const PART: &[&str] =
    &["region", "form", "table", "navigation", "main", "complementary", "dialog", "group", "list", "article", "search"];
/// What tells something by itself.
const NOTICE: &[&str] = &["status", "alert", "log"];

/// One thing on the page.
pub struct Element<'b> {
    browser: &'b Browser,
    element: WebElement,
    /// How the DevTools protocol knows it.
    node: u64,
    /// Its role.
    pub role: String,
    /// Its accessible name.
    pub name: String,
    /// Its accessible description, e.g. why it is disabled.
    pub description: String,
    /// Whether it can be used.
    pub enabled: bool,
}

/// A node of the accessibility tree, as far as it is of interest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    #[serde(default)]
    ignored: bool,
    #[serde(default)]
    name: Text,
    #[serde(default)]
    description: Text,
    #[serde(default)]
    role: Text,
    #[serde(default)]
    properties: Vec<Property>,
    #[serde(rename = "backendDOMNodeId")]
    node: Option<u64>,
}

#[derive(Deserialize, Default)]
struct Text {
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Property {
    name: String,
    value: serde_json::Value,
}

impl Node {
    fn name(&self) -> String {
        self.name.value.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn disabled(&self) -> bool {
        self.properties.iter().any(|property| property.name == "disabled" && property.value["value"] == true)
    }
}

/// Where to look: the whole page, or within one thing of it.
#[derive(Clone, Copy)]
struct Scope<'b> {
    browser: &'b Browser,
    within: Option<u64>,
}

macro_rules! finders {
    ($found:ty) => {
        /// The button with this name.
        ///
        /// # Errors
        /// None appears.
        pub async fn button(&self, name: &str) -> anyhow::Result<$found> {
            self.scope().find("button", BUTTON, name).await
        }

        /// The link with this name.
        ///
        /// # Errors
        /// None appears.
        pub async fn link(&self, name: &str) -> anyhow::Result<$found> {
            self.scope().find("link", LINK, name).await
        }

        /// The field of a form with this label.
        ///
        /// # Errors
        /// None appears.
        pub async fn field(&self, label: &str) -> anyhow::Result<$found> {
            self.scope().find("field", FIELD, label).await
        }

        /// The heading with this text.
        ///
        /// # Errors
        /// None appears.
        pub async fn heading(&self, text: &str) -> anyhow::Result<$found> {
            self.scope().find("heading", HEADING, text).await
        }

        /// The part of the page with this name: a region, a form, a table, a dialog.
        ///
        /// # Errors
        /// None appears.
        pub async fn part(&self, name: &str) -> anyhow::Result<$found> {
            self.scope().find("part", PART, name).await
        }

        /// The first status or alert that says something with this text.
        ///
        /// # Errors
        /// None appears.
        pub async fn notice(&self, text: &str) -> anyhow::Result<$found> {
            self.scope().containing("notice", NOTICE, text).await
        }

        /// The first table row that holds this text.
        ///
        /// # Errors
        /// None appears.
        pub async fn row(&self, text: &str) -> anyhow::Result<$found> {
            self.scope().containing("row", ROW, text).await
        }

        /// All table rows that are there now.
        ///
        /// # Errors
        /// The browser does not answer.
        pub async fn rows(&self) -> anyhow::Result<Vec<$found>> {
            self.scope().all(ROW).await
        }

        /// All links that are there now.
        ///
        /// # Errors
        /// The browser does not answer.
        pub async fn links(&self) -> anyhow::Result<Vec<$found>> {
            self.scope().all(LINK).await
        }

        /// Whether there is such a button now.
        ///
        /// # Errors
        /// The browser does not answer.
        pub async fn has_button(&self, name: &str) -> anyhow::Result<bool> {
            self.scope().has(BUTTON, name).await
        }

        /// Whether there is such a link now.
        ///
        /// # Errors
        /// The browser does not answer.
        pub async fn has_link(&self, name: &str) -> anyhow::Result<bool> {
            self.scope().has(LINK, name).await
        }

        /// Presses the button with this name.
        ///
        /// # Errors
        /// None appears, or it cannot be pressed.
        pub async fn press_button(&self, name: &str) -> anyhow::Result<()> {
            self.scope().act("button", BUTTON, name, async |button| button.press().await).await
        }

        /// Follows the link with this name.
        ///
        /// # Errors
        /// None appears, or it cannot be clicked.
        pub async fn follow(&self, name: &str) -> anyhow::Result<()> {
            self.scope().act("link", LINK, name, async |link| link.click().await).await
        }

        /// Replaces what the field with this label holds.
        ///
        /// # Errors
        /// None appears, or it cannot be filled in.
        pub async fn fill(&self, label: &str, text: &str) -> anyhow::Result<()> {
            self.scope().act("field", FIELD, label, async |field| field.enter(text).await).await
        }

        /// Chooses from the list with this label.
        ///
        /// # Errors
        /// None appears, or it has no such option.
        pub async fn choose(&self, label: &str, option: &str) -> anyhow::Result<()> {
            self.scope().act("field", FIELD, label, async |field| field.select(option).await).await
        }
    };
}

impl Browser {
    fn scope(&self) -> Scope<'_> {
        Scope { browser: self, within: None }
    }

    finders!(Element<'_>);
}

impl<'b> Element<'b> {
    fn scope(&self) -> Scope<'b> {
        Scope { browser: self.browser, within: Some(self.node) }
    }

    finders!(Element<'b>);

    /// Its visible text.
    ///
    /// # Errors
    /// It is no longer there.
    pub async fn text(&self) -> anyhow::Result<String> {
        self.browser.driver.text(&self.element).await
    }

    /// Waits until it holds this text.
    ///
    /// # Errors
    /// It does not.
    pub async fn wait_until_text(&self, wanted: &str) -> anyhow::Result<()> {
        let look = async || Ok(self.text().await?.contains(wanted).then_some(()));
        self.browser.wait_until(&format!("{wanted:?} in the {} {:?}", self.role, self.name), look).await
    }

    /// An attribute of it, where it has that.
    ///
    /// # Errors
    /// It is no longer there.
    pub async fn attribute(&self, name: &str) -> anyhow::Result<Option<String>> {
        self.browser.driver.attribute(&self.element, name).await
    }

    /// What a field holds.
    ///
    /// # Errors
    /// It is no longer there.
    pub async fn value(&self) -> anyhow::Result<String> {
        Ok(self.browser.driver.value(&self.element).await?.unwrap_or_default())
    }

    /// Clicks it with the mouse.
    ///
    /// # Errors
    /// It is no longer there, or something lies over it.
    pub async fn click(&self) -> anyhow::Result<()> {
        self.browser.driver.click(&self.element).await.with_context(|| format!("{} {:?}", self.role, self.name))?;
        self.browser.count_clicks(1);
        Ok(())
    }

    /// Clicks it twice, as fast as it goes.
    ///
    /// # Errors
    /// It is no longer there.
    pub async fn double_click(&self) -> anyhow::Result<()> {
        let twice = self.browser.driver.double_click(&self.element);
        twice.await.with_context(|| format!("{} {:?}", self.role, self.name))?;
        self.browser.count_clicks(2);
        Ok(())
    }

    /// Clicks it, where it can be used.
    ///
    /// # Errors
    /// It is disabled, no longer there, or something lies over it.
    pub async fn press(&self) -> anyhow::Result<()> {
        if !self.enabled {
            bail!("the {} {:?} is disabled: {:?}", self.role, self.name, self.description);
        }
        self.click().await
    }

    /// Replaces what the field holds.
    ///
    /// # Errors
    /// It is no longer there, or holds no text.
    pub async fn enter(&self, text: &str) -> anyhow::Result<()> {
        self.browser.driver.clear(&self.element).await?;
        self.browser.driver.enter(&self.element, text).await?;
        self.browser.count_keys(text.chars().count());
        Ok(())
    }

    /// Chooses from the list.
    ///
    /// # Errors
    /// It is no longer there, or has no such option.
    pub async fn select(&self, option: &str) -> anyhow::Result<()> {
        let find = "return [...arguments[0].options].find(option => option.text === arguments[1]) ?? null";
        let driver = &self.browser.driver;
        let found = driver.execute_for_element(find, vec![self.element.as_json(), json!(option)]).await;
        driver.click(&found.with_context(|| format!("{:?} has no option {option:?}", self.name))?).await?;
        self.browser.count_clicks(1);
        Ok(())
    }
}

impl<'b> Scope<'b> {
    /// Everything of these roles that is there now.
    async fn nodes(&self, roles: &[&str]) -> anyhow::Result<Vec<Node>> {
        let mut found = Vec::new();
        let mut scope = match self.within {
            Some(node) => json!({ "backendNodeId": node }),
            None => {
                let document = json!({ "expression": "document" });
                let document = self.browser.devtools("Runtime.evaluate", document).await?;
                json!({ "objectId": document["result"]["objectId"] })
            }
        };
        for role in roles {
            scope["role"] = json!(role);
            let mut answer = self.browser.devtools("Accessibility.queryAXTree", scope.clone()).await?;
            let nodes: Vec<Node> = serde_json::from_value(answer["nodes"].take())?;
            found.extend(nodes.into_iter().filter(|node| !node.ignored && node.node.is_some()));
        }
        Ok(found)
    }

    /// The element behind a node of the accessibility tree.
    async fn element(&self, node: Node) -> anyhow::Result<Element<'b>> {
        let id = node.node.context("a node without an element")?;
        let resolved = self.browser.devtools("DOM.resolveNode", json!({ "backendNodeId": id })).await?;
        // WebDriver and DevTools name elements differently: it is handed over through the page.
        let hand_over = json!({
            "objectId": resolved["object"]["objectId"],
            "functionDeclaration": "function () { window.labletFound = this; }",
        });
        self.browser.devtools("Runtime.callFunctionOn", hand_over).await?;
        let take = "const found = window.labletFound; delete window.labletFound; return found;";
        let element = self.browser.driver.execute_for_element(take, vec![]).await?;
        Ok(Element {
            browser: self.browser,
            element,
            node: id,
            name: node.name(),
            enabled: !node.disabled(),
            role: node.role.value,
            description: node.description.value,
        })
    }

    async fn all(&self, roles: &[&str]) -> anyhow::Result<Vec<Element<'b>>> {
        let mut elements = Vec::new();
        for node in self.nodes(roles).await? {
            elements.push(self.element(node).await?);
        }
        Ok(elements)
    }

    async fn has(&self, roles: &[&str], name: &str) -> anyhow::Result<bool> {
        Ok(self.nodes(roles).await?.iter().any(|node| node.name() == name))
    }

    async fn find(&self, what: &str, roles: &[&str], name: &str) -> anyhow::Result<Element<'b>> {
        let look = async || {
            let found = self.nodes(roles).await?.into_iter().find(|node| node.name() == name);
            Ok(match found {
                Some(node) => Some(self.element(node).await?),
                None => None,
            })
        };
        match self.browser.wait_until(&format!("the {what} {name:?}"), look).await {
            Ok(element) => Ok(element),
            Err(error) => {
                let others: Vec<String> =
                    self.nodes(roles).await.unwrap_or_default().iter().map(|node| node.name()).collect();
                Err(error.context(format!("no {what} {name:?} among {others:?}")))
            }
        }
    }

    async fn containing(&self, what: &str, roles: &[&str], text: &str) -> anyhow::Result<Element<'b>> {
        let look = async || {
            for node in self.nodes(roles).await? {
                // The name of a row is mostly its text; where it is not, the text decides.
                let named = node.name().contains(text);
                let element = self.element(node).await?;
                if named || element.text().await?.contains(text) {
                    return Ok(Some(element));
                }
            }
            Ok(None)
        };
        self.browser.wait_until(&format!("a {what} with {text:?}"), look).await
    }

    /// Finds it and does something with it, again when the page replaced it in between.
    async fn act(
        &self,
        what: &str,
        roles: &[&str],
        name: &str,
        act: impl AsyncFn(&Element<'b>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut tries = 0;
        loop {
            let element = self.find(what, roles, name).await?;
            match act(&element).await {
                Err(error) if passes(&error) && tries < 20 => tries += 1,
                done => return done,
            }
        }
    }
}

impl Browser {
    /// Role and name of what has the focus.
    pub(super) async fn focused_node(&self) -> anyhow::Result<Option<(String, String)>> {
        let active = json!({ "expression": "document.activeElement" });
        let active = self.devtools("Runtime.evaluate", active).await?;
        let question = json!({ "objectId": active["result"]["objectId"], "fetchRelatives": false });
        let mut answer = self.devtools("Accessibility.getPartialAXTree", question).await?;
        let nodes: Vec<Node> = serde_json::from_value(answer["nodes"].take())?;
        Ok(nodes.into_iter().find(|node| !node.ignored).map(|node| (node.role.value.clone(), node.name())))
    }
}
