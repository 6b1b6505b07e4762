//! `lablet republish`: makes the stream of events what the log holds.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use app::notice::PublicUrl;
use app::relay::{Repair, RepairReport};
use bus::Bus;
use bus::clock::Clock;
use clap::Args;
use tokio::sync::watch;

use crate::configuration::StoresArguments;
use crate::progress::{Progress, Unit};
use crate::roles::{self, Store};
use crate::shutdown;
use crate::terminal::say;

/// How long the bus may take to answer.
const BUS_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is to be mended.
#[derive(Debug, Args)]
#[group(id = "repair", required = true, multiple = false)]
struct What {
    /// Publish the events of the log that the stream lacks, under their own ids. Consumers that have them drop them.
    #[arg(long)]
    missing: bool,
    /// Remove the messages of events that the log does not hold: those that were lost when a backup was restored.
    #[arg(long)]
    remove_unknown: bool,
}

/// What is to be mended, and where.
#[derive(Debug, Args)]
pub(crate) struct RepublishArguments {
    #[command(flatten)]
    what: What,
    /// How the gateway is reached from outside; in the notices' links. That of the `lablet up` in this folder unless given.
    #[arg(long, env = "LABLET_PUBLIC_URL")]
    public_url: Option<String>,
    #[command(flatten)]
    stores: StoresArguments,
}

pub(super) async fn run(arguments: RepublishArguments) -> anyhow::Result<ExitCode> {
    let RepublishArguments { what, public_url, stores } = arguments;
    let store = Store::open(&stores.database.url()?, &Clock::system())?;
    let bus = roles::connect_bus(&stores.stores_bus()?, "lablet-republish").await?;
    bus.connected(BUS_WITHIN).await?;
    let repair = if what.missing { Repair::PublishMissing } else { Repair::RemoveUnknown };
    let cancelled = shutdown::on_signal()?;
    let mended = tokio::select! {
        mended = mend_with(&store, &bus, &stores, public_url.as_deref(), repair) => mended?,
        () = cancelled.cancelled() => anyhow::bail!("it was interrupted; begun again it goes on where it was"),
    };
    if repair == Repair::RemoveUnknown {
        say_what_was_removed(&mended)?;
        return Ok(ExitCode::SUCCESS);
    }
    let RepairReport { found, published, remembered, .. } = &mended;
    say(&format!(
        "bus         {} events of the log in {} messages, {} missing: {published} published",
        found.events, found.messages, found.missing
    ))?;
    if *remembered == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!(
        "            {remembered} not taken: the server remembers for {} s that it had them; repeat it then",
        bus::streams::DEDUPE_WINDOW.as_secs()
    ))?;
    Ok(ExitCode::FAILURE)
}

/// Mends, and says how far it is.
pub(super) async fn mend(
    store: &Store,
    bus: &Bus,
    stores: &StoresArguments,
    repair: Repair,
) -> anyhow::Result<RepairReport> {
    mend_with(store, bus, stores, None, repair).await
}

async fn mend_with(
    store: &Store,
    bus: &Bus,
    stores: &StoresArguments,
    public_url: Option<&str>,
    repair: Repair,
) -> anyhow::Result<RepairReport> {
    let site = stores.database.ready()?.map(|ready| ready.site().to_owned());
    let fallback = site.unwrap_or_else(|| PublicUrl::default().as_str().to_owned());
    let public_url = roles::public_url(public_url, &fallback)?;
    let done = watch::Sender::new(0);
    let mut seen = done.subscribe();
    let progress = Progress::begin("comparing, and mending", Unit::Things("messages"), None);
    let mut mending = std::pin::pin!(app::relay::repair(store.log(), bus, &public_url, repair, &done));
    let mended = loop {
        match tokio::time::timeout(LOOK_EVERY, &mut mending).await {
            Ok(mended) => break mended,
            Err(_) => progress.reach(*seen.borrow_and_update()),
        }
    };
    drop(progress);
    mended.context("the stream of events was not mended")
}

/// Says which events consumers may have seen that were lost.
pub(super) fn say_what_was_removed(report: &RepairReport) -> anyhow::Result<()> {
    if report.removed == 0 {
        return say("bus         holds no event that the log does not hold");
    }
    say(&format!("lost        {} events that consumers may have seen; removed from the bus:", report.removed))?;
    for lost in &report.lost {
        let position = lost.position.map_or_else(|| "unknown position".to_owned(), |position| position.to_string());
        say(&format!("            {position} {} event {}", lost.subject, lost.event_id))?;
    }
    let listed = report.lost.len() as u64;
    if report.removed > listed { say(&format!("            and {} more", report.removed - listed)) } else { Ok(()) }
}
