//! What operators do with the bus itself.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bus::{Bus, Deviation, StreamBounds, streams};
use clap::{Subcommand, ValueEnum};

use crate::configuration::StoresArguments;
use crate::roles;
use crate::terminal::say;

/// How long the bus may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Subcommand)]
pub(crate) enum BusCommand {
    /// Delete a stream and make it anew, empty, with the durable consumers that it had. For one that has lost what it
    /// held, or has a setting that the server never changes. Events are published again from the log; commands that
    /// still wait on the stream are lost.
    Replace {
        /// Which.
        stream: StreamName,
        /// Do it. Without, only what would be lost is printed.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        stores: StoresArguments,
    },
}

/// One of the streams.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum StreamName {
    /// The copy of the log.
    #[value(name = "LABLET_EVENTS")]
    Events,
    /// The commands that wait to be handled. They are nowhere else.
    #[value(name = "LABLET_COMMANDS")]
    Commands,
}

impl StreamName {
    fn name(self) -> &'static str {
        match self {
            Self::Events => streams::EVENTS,
            Self::Commands => streams::COMMANDS,
        }
    }
}

pub(super) async fn run(command: BusCommand) -> anyhow::Result<()> {
    let BusCommand::Replace { stream, yes, stores } = command;
    let bus = roles::connect_bus(&stores.stores_bus()?, "lablet-bus").await?;
    bus.connected(TIMEOUT).await?;
    let name = stream.name();
    let waiting = match bus.jetstream().get_stream(name).await {
        Ok(stream) => stream.cached_info().state.messages,
        Err(error) if yes => {
            say(&format!("{name} cannot be read ({error}); making it anew"))?;
            0
        }
        Err(error) => return Err(anyhow::Error::new(error).context(format!("{name} cannot be read"))),
    };
    let loss = match stream {
        StreamName::Events => format!("{name} counts {waiting} messages; the relay publishes them again from the log"),
        StreamName::Commands => format!("{name} counts {waiting} commands that wait; they would be lost"),
    };
    if !yes {
        say(&loss)?;
        bail!("nothing was done; --yes replaces the stream");
    }
    let consumers = streams::replace(&bus, name, &StreamBounds::default()).await?;
    say(&format!("{name} was replaced, with its durable consumers: {}", list(&consumers)))
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Deviations of the bus from the required configuration.
pub(super) async fn deviations(bus: &Bus) -> anyhow::Result<Vec<Deviation>> {
    let consumers = [
        (streams::COMMANDS, app::command_consumer::consumer_config()),
        (streams::EVENTS, controller::requests::consumer_config()),
    ];
    bus.deviations(&consumers, TIMEOUT).await.context("its streams and consumers cannot be looked at")
}
