//! A client of the HTTP API: `lablet definition|session|worker|controller|observation|drift|event|topology|advice|proposal …`.

mod activity;
mod advice;
mod apply;
mod attention;
mod cell;
pub(crate) mod connection;
mod context;
mod controller;
mod definition;
mod drift;
mod event;
mod example;
mod observation;
pub(crate) mod output;
pub(crate) mod recent;
mod session;
mod sign_in;
mod stream;
#[cfg(test)]
mod tests;
mod view;
mod watch;
mod worker;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;

use self::activity::ActivityArguments;
use self::advice::{AdviceCommand, ProposalCommand, TopologyCommand};
use self::apply::ApplyArguments;
use self::cell::CellCommand;
use self::connection::{Connection, ConnectionArguments, Parameters, Rows};
use self::context::ContextArguments;
use self::controller::ControllerCommand;
use self::definition::DefinitionCommand;
use self::drift::DriftCommand;
use self::event::EventCommand;
use self::observation::ObservationCommand;
use self::output::{Column, OutputFormat};
use self::session::SessionCommand;
use self::sign_in::SignInCommand;
use self::view::ViewCommand;
use self::worker::WorkerCommand;
use crate::terminal::remark;

/// Where the API is, and how to print what it answers.
#[derive(Debug, Args)]
pub(crate) struct ClientArguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    /// How to print the answer.
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Table, global = true)]
    output: OutputFormat,
}

/// What to look at.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Definitions: what labs are thought to need.
    Definition(ApiCommand<DefinitionCommand>),
    /// Sessions: runs of labs.
    Session(ApiCommand<SessionCommand>),
    /// Workers: CML controllers.
    Worker(ApiCommand<WorkerCommand>),
    /// Controllers: what reads the workers.
    Controller(ApiCommand<ControllerCommand>),
    /// Observations and the requests for them.
    Observation(ApiCommand<ObservationCommand>),
    /// Sessions whose ports are not the allocated ones.
    Drift(ApiCommand<DriftCommand>),
    /// Who changed what and when, the newest first.
    Activity(ActivityArguments),
    /// Events.
    Event(ApiCommand<EventCommand>),
    /// Topologies: how large a lab that never ran must be.
    Topology(ApiCommand<TopologyCommand>),
    /// Whether advice held, and the policy by which it is given.
    Advice(ApiCommand<AdviceCommand>),
    /// Proposals of other sizes.
    Proposal(ApiCommand<ProposalCommand>),
    /// Browsers that are signed in. Needs the role admin.
    SignIn(ApiCommand<SignInCommand>),
    /// Cells that the gateway knows as their console.
    Cell(ApiCommand<CellCommand>),
    /// Filters of the console's lists under a name.
    View(ApiCommand<ViewCommand>),
    /// What people hold: ids, ports, names, owners, labels of nodes, correlations, pieces of errors.
    Search(SearchArguments),
    /// What needs somebody, worst first, each with its next step.
    #[command(after_help = attention::EXIT_CODES)]
    Attention(ClientArguments),
    /// How many sessions are in which state, and how fresh that is.
    Overview(OverviewArguments),
    /// How relay, bus, read models and dead letters stand. Needs the role operator.
    Operations(ClientArguments),
    /// Make definitions, workers and policies what files say.
    #[command(after_long_help = apply::EXAMPLE)]
    Apply(ApplyArguments),
    /// Gateways by name, with the token for each.
    Context(ContextArguments),
}

/// A client command with where the API is and how to print.
#[derive(Debug, Args)]
pub(crate) struct ApiCommand<C: Subcommand> {
    #[command(flatten)]
    arguments: ClientArguments,
    #[command(subcommand)]
    command: C,
}

/// What to search for.
#[derive(Debug, Args)]
pub(crate) struct SearchArguments {
    /// An id, a port, or a part of an id, a name, an owner, an address, a description, a label or an error, in whatever case.
    text: String,
    /// Most hits of each kind, 1 to 50.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=50))]
    limit: u32,
    #[command(flatten)]
    since: Since,
    #[command(flatten)]
    arguments: ClientArguments,
}

/// At which position.
#[derive(Debug, Args)]
pub(crate) struct OverviewArguments {
    #[command(flatten)]
    since: Since,
    #[command(flatten)]
    arguments: ClientArguments,
}

/// How much of a list.
#[derive(Debug, Args)]
pub(crate) struct Limit {
    /// Most rows to fetch, 1 to 100,000; pages are fetched as needed.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

/// How fresh an answer has to be.
#[derive(Debug, Args, Serialize)]
pub(crate) struct Since {
    /// Wait, up to a few seconds, until the read models are at this position, which the answer to a change names.
    #[arg(long)]
    position: Option<String>,
}

/// How much of a list, and how fresh.
#[derive(Debug, Args)]
pub(crate) struct Paging {
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    since: Since,
}

/// Who asks where, and how the answer is printed.
pub(crate) struct Client {
    connection: Connection,
    output: OutputFormat,
}

impl Client {
    fn open(arguments: &ClientArguments) -> anyhow::Result<Self> {
        Ok(Self { connection: Connection::open(&arguments.connection)?, output: arguments.output })
    }

    /// Prints one thing.
    async fn show(&self, path: &str, parameters: &Parameters) -> anyhow::Result<()> {
        self.output.one(&self.connection.get_with(path, parameters).await?)
    }

    /// Prints a list, page by page.
    async fn list(&self, columns: &[Column], path: &str, parameters: &Parameters, limit: &Limit) -> anyhow::Result<()> {
        self.rows(columns, &self.connection.list(path, parameters, limit.count()).await?)
    }

    /// Prints what an answer has as its `items`, which are all.
    async fn items(&self, columns: &[Column], path: &str, parameters: &Parameters) -> anyhow::Result<()> {
        let answer = self.connection.get_with(path, parameters).await?;
        self.output.rows(columns, answer["items"].as_array().context("the answer has no items")?)
    }

    /// Prints rows, and says where there are more.
    fn rows(&self, columns: &[Column], rows: &Rows) -> anyhow::Result<()> {
        self.output.rows(columns, &rows.rows)?;
        if rows.has_more {
            remark(&format!("There are more than {}; --limit shows more.", rows.rows.len()));
        }
        Ok(())
    }
}

impl Limit {
    fn count(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }
}

impl Paging {
    /// Parameters of a list, with its filters.
    fn with(&self, filters: &impl Serialize) -> anyhow::Result<Parameters> {
        Parameters::new(filters)?.and(&self.since)
    }
}

/// Carries the command out and prints the answer to standard output.
pub(crate) async fn run(command: ClientCommand) -> anyhow::Result<ExitCode> {
    let done = match command {
        ClientCommand::Attention(arguments) => return attention::run(&arguments).await,
        ClientCommand::Activity(arguments) => activity::run(arguments).await,
        ClientCommand::Definition(command) => definition::run(&command.open()?, command.command).await,
        ClientCommand::Session(command) => session::run(&command.open()?, command.command).await,
        ClientCommand::Worker(command) => worker::run(&command.open()?, command.command).await,
        ClientCommand::Controller(command) => controller::run(&command.open()?, command.command).await,
        ClientCommand::Observation(command) => observation::run(&command.open()?, command.command).await,
        ClientCommand::Drift(command) => drift::run(&command.open()?, command.command).await,
        ClientCommand::Event(command) => event::run(&command.open()?, command.command).await,
        ClientCommand::Topology(command) => advice::topology(&command.open()?, command.command).await,
        ClientCommand::Advice(command) => advice::advice(&command.open()?, command.command).await,
        ClientCommand::Proposal(command) => advice::proposal(&command.open()?, command.command).await,
        ClientCommand::View(command) => view::run(&command.open()?, command.command).await,
        ClientCommand::Cell(command) => cell::run(&command.open()?, command.command).await,
        ClientCommand::SignIn(command) => sign_in::run(&command.open()?, command.command).await,
        ClientCommand::Search(SearchArguments { text, limit, since, arguments }) => {
            let asked = Parameters::new(&[("text", text), ("limit", limit.to_string())])?.and(&since)?;
            Client::open(&arguments)?.show("/api/search", &asked).await
        }
        ClientCommand::Overview(OverviewArguments { since, arguments }) => {
            Client::open(&arguments)?.show("/api/overview", &Parameters::new(&since)?).await
        }
        ClientCommand::Operations(arguments) => {
            Client::open(&arguments)?.show("/api/operations", &Parameters::default()).await
        }
        ClientCommand::Apply(arguments) => apply::run(arguments).await,
        ClientCommand::Context(arguments) => context::run(arguments),
    };
    done.map(|()| ExitCode::SUCCESS)
}

impl<C: Subcommand> ApiCommand<C> {
    fn open(&self) -> anyhow::Result<Client> {
        Client::open(&self.arguments)
    }
}

fn read_json(file: &str) -> anyhow::Result<Value> {
    serde_json::from_str(&read_text(file)?).with_context(|| format!("{file} is no JSON document"))
}

fn read_text(file: &str) -> anyhow::Result<String> {
    if file == "-" {
        return std::io::read_to_string(std::io::stdin()).context("standard input cannot be read");
    }
    std::fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))
}
