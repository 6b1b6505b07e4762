//! The command line.

use clap::{Parser, Subcommand};

use crate::client::ClientCommand;
use crate::configuration::roles::{
    ControlArguments, DeliverArguments, ProjectArguments, RelayArguments, ServeArguments,
};
use crate::exit;
use crate::export::ExportArguments;
use crate::manual::{CompletionArguments, ManualArguments};
use crate::operations::OperationCommand;
use crate::simulate::SimulateArguments;
use crate::telemetry::LogFormat;
use crate::up::UpArguments;

/// Learns from live network labs: what they need, and which ports they really have.
#[derive(Debug, Parser)]
#[command(name = "lablet", version, propagate_version = true, after_long_help = exit::help())]
pub(crate) struct Arguments {
    /// Which log lines to write, e.g. `info,controller=debug`.
    #[arg(long, env = "LABLET_LOG", global = true)]
    pub(crate) log: Option<String>,
    /// How to write log lines.
    #[arg(long, env = "LABLET_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, global = true)]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run every role in one process, with a private Postgres and nats-server unless others are named.
    Up(UpArguments),
    /// Run the gateway and the command consumer.
    Serve(ServeArguments),
    /// Run the projections. Signs in to Postgres as lablet_projector, which owns the read models and cannot append; what
    /// proposes other sizes runs beside the relay.
    Project(ProjectArguments),
    /// Run a controller.
    Control(ControlArguments),
    /// Run the relay, and what proposes other sizes of definitions.
    Relay(RelayArguments),
    /// Deliver webhooks: what happens, sent to the targets of LABLET_WEBHOOKS.
    Deliver(DeliverArguments),
    /// Run a simulated CML controller.
    SimulateCml(SimulateArguments),
    #[command(flatten)]
    Operation(OperationCommand),
    #[command(flatten)]
    Client(ClientCommand),
    /// Write views of analysts, e.g. `events`, to files: what is new since the last time.
    Export(ExportArguments),
    /// Print the completions of a shell.
    Completions(CompletionArguments),
    /// Write the manual: a page for each command.
    Manual(ManualArguments),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::configuration::secrets::{in_arguments, prepare};

    fn with(variables: &[(&str, &str)]) -> anyhow::Result<clap::Command> {
        prepare(Arguments::command(), |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_secret_may_stand_in_a_file_and_not_in_two_places() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "lablet_internal_s3cret\n").unwrap();
        let path = file.to_str().unwrap();
        let command = with(&[("LABLET_INTERNAL_API_KEY_FILE", path)]).unwrap();
        let matches = command.clone().try_get_matches_from(["lablet", "control"]).unwrap();
        let given: &crate::secret::Secret = matches.subcommand().unwrap().1.get_one("internal_api_key").unwrap();
        assert_eq!(given.reveal(), "lablet_internal_s3cret");
        assert_eq!(in_arguments(&command, &matches), [""; 0]);

        let both = with(&[("LABLET_TOKEN", "s3cret"), ("LABLET_TOKEN_FILE", path)]).unwrap_err().to_string();
        assert!(both.contains("LABLET_TOKEN_FILE") && !both.contains("s3cret"), "{both}");
        let missing = with(&[("LABLET_TOKEN_FILE", "/nowhere")]).unwrap_err();
        assert!(format!("{missing:#}").contains("LABLET_TOKEN_FILE: /nowhere"), "{missing:#}");
        std::fs::write(&file, "\n").unwrap();
        assert!(with(&[("LABLET_TOKEN_FILE", path)]).unwrap_err().to_string().contains("is empty"));
    }

    #[test]
    fn a_secret_in_the_arguments_is_noticed_and_its_flag_is_not_offered() {
        let command = with(&[]).unwrap();
        let found = |arguments: &[&str]| {
            let matches = command.clone().try_get_matches_from(arguments).unwrap();
            in_arguments(&command, &matches)
        };
        assert_eq!(found(&["lablet", "relay", "--nats-url", "nats://127.0.0.1:4222"]), [""; 0]);
        assert_eq!(found(&["lablet", "relay", "--nats-url", "nats://token@h"]), ["LABLET_NATS_URL"]);
        assert_eq!(found(&["lablet", "control", "--internal-api-key", "k"]), ["LABLET_INTERNAL_API_KEY"]);
        let help = command.clone().find_subcommand_mut("control").unwrap().render_long_help().to_string();
        assert!(!help.contains("--nats-token") && !help.contains("--cml-password") && help.contains("--nats-nkey"));
    }
}
