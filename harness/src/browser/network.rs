//! What comes over the network, and that nothing comes.

use serde::Deserialize;

use super::Browser;

/// What a visit transferred, as the browser counted it: bodies as they were sent, and headers.
#[derive(Debug, Clone, Deserialize)]
pub struct Weight {
    /// Everything together, in bytes.
    pub total: u64,
    /// The page itself as it was sent, in bytes.
    pub page: u64,
    /// The page itself after it was unpacked, in bytes.
    pub html: u64,
    /// Each thing and its bytes.
    pub parts: Vec<(String, u64)>,
}

impl Browser {
    /// Cuts the line to the server, what is under way included, or mends it. What the console then says of connections
    /// is no complaint.
    pub fn offline(&self, offline: bool) {
        self.expect_console("net::ERR_");
        self.line.cut(offline);
    }

    /// What loading this page transferred; of a first visit only in a browser that was nowhere else before. The icon is
    /// counted too, which a headless browser does not load by itself.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn weight(&self) -> anyhow::Result<Weight> {
        let script = "
            const icon = document.querySelector('link[rel~=icon]');
            if (icon && !icon.href.startsWith('data:')
                && !performance.getEntriesByName(icon.href).some(entry => entry.transferSize > 0)) {
                const image = new Image();
                await new Promise(resolve => { image.onload = image.onerror = resolve; image.src = icon.href; });
            }
            const page = performance.getEntriesByType('navigation')[0];
            const parts = [page, ...performance.getEntriesByType('resource')]
                .map(entry => [new URL(entry.name).pathname, entry.transferSize]);
            return {
                total: parts.reduce((sum, [, bytes]) => sum + bytes, 0),
                page: page.transferSize, html: page.decodedBodySize, parts
            };";
        self.run(&format!("return (async () => {{ {script} }})()"), vec![]).await
    }
}
