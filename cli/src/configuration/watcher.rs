//! How the readers of the log are watched over.

use std::time::Duration;

use app::watcher::WatcherOptions;
use clap::Args;

/// The watcher of the log's readers.
#[derive(Debug, Clone, Args)]
pub(crate) struct WatcherArguments {
    /// How long another's transaction may delay the readers of the log before its session is ended, in seconds; 0: it is
    /// only reported.
    #[arg(long, env = "LABLET_LONGEST_FOREIGN_TRANSACTION_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    longest_foreign_transaction_seconds: u64,
}

impl WatcherArguments {
    /// How the watcher works.
    pub(crate) fn options(&self) -> WatcherOptions {
        let longest = Duration::from_secs(self.longest_foreign_transaction_seconds);
        WatcherOptions { longest_delay: (!longest.is_zero()).then_some(longest), ..WatcherOptions::default() }
    }
}
