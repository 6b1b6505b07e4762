//! `lablet rebuild`, and how far rebuilds have come.

use std::time::Duration;

use anyhow::Context as _;
use bus::clock::Clock;
use projections::ReadModel;
use projections::rebuild::RebuildOptions;

use crate::progress::{Progress, Unit};
use crate::roles::Store;
use crate::secret::Secret;
use crate::shutdown;
use crate::terminal::say;

/// How often it is looked how far a rebuild has come.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(500);

/// Rebuilds these, one after the other.
pub(super) async fn run(models: &[ReadModel], database_url: &Secret) -> anyhow::Result<()> {
    let store = Store::open(database_url, &Clock::system())?;
    let cancelled = shutdown::on_signal()?;
    for model in models {
        let rebuild = store.projections().rebuild(*model, RebuildOptions::default(), &cancelled);
        let report = with_progress(&store, format!("rebuilding {model}"), &[*model], rebuild).await??;
        say(&format!("{model} was rebuilt from {} events, to {}", report.events, report.position))?;
    }
    Ok(())
}

/// Does the work, in which these are rebuilt one after the other, and shows how far they are.
pub(super) async fn with_progress<T>(
    store: &Store,
    what: String,
    models: &[ReadModel],
    work: impl Future<Output = T>,
) -> anyhow::Result<T> {
    let head = store.log().head().await.context("the log cannot be read")?.number();
    let progress = match models.len() as u64 {
        0 => Progress::begin(what, Unit::Nothing, None),
        count => Progress::begin(what, Unit::Things("positions"), Some(head * count)),
    };
    let watch = async {
        let mut ticks = tokio::time::interval(LOOKED_AT_EVERY);
        loop {
            ticks.tick().await;
            progress.show();
            for (before, model) in (0_u64..).zip(models) {
                // Only the line of progress rests on it: the work itself says what goes wrong.
                if let Ok(Some(position)) = store.projections().rebuilt_to(*model).await {
                    progress.reach(head * before + position.number().min(head));
                }
            }
        }
    };
    tokio::select! {
        done = work => Ok(done),
        () = watch => anyhow::bail!("the progress cannot be watched"),
    }
}
