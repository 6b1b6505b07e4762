//! Targets of webhooks.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use webhooks::Target;

/// What gets webhooks.
#[derive(Debug, Clone, Args)]
pub(crate) struct WebhookArguments {
    /// TOML file with a table a target: where events are sent by HTTP, and which.
    #[arg(long = "webhooks", env = "LABLET_WEBHOOKS")]
    webhooks: Option<PathBuf>,
}

impl WebhookArguments {
    /// The targets; `None`: none are configured.
    pub(crate) fn targets(&self) -> anyhow::Result<Option<Vec<Target>>> {
        let file = self.webhooks.as_deref().filter(|file| !file.as_os_str().is_empty());
        file.map(|file| Target::read_all(file).context("LABLET_WEBHOOKS cannot be used")).transpose()
    }

    /// The targets, where they have to be configured.
    pub(crate) fn configured_targets(&self) -> anyhow::Result<Vec<Target>> {
        self.targets()?
            .context("no targets are configured: set LABLET_WEBHOOKS to a file of them, see docs/webhooks.md")
    }
}
