//! Secrets come from the environment or from files, never from the arguments, which everybody on the machine can read.
//!
//! Each secret `NAME` may be given as `NAME_FILE`, a file that holds it. Its flag is not offered any more; where one is
//! used all the same, that is told.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// Variables whose values are secrets, or may hold one.
const SECRETS: [&str; 8] = [
    "LABLET_DATABASE_URL",
    "LABLET_NATS_URL",
    "LABLET_NATS_TOKEN",
    "LABLET_NATS_PASSWORD",
    "LABLET_INTERNAL_API_KEY",
    "LABLET_CML_PASSWORD",
    "LABLET_OIDC_CLIENT_SECRET",
    "LABLET_TOKEN",
];

/// Addresses: without a secret in them they may stand in the arguments.
const ADDRESSES: [&str; 2] = ["LABLET_DATABASE_URL", "LABLET_NATS_URL"];

/// The command with what `NAME_FILE` variables hold, and without flags for secrets in its help.
///
/// # Errors
/// A file cannot be read, or a secret is given both ways; the variable is named, its value is not shown.
pub(crate) fn prepare(command: Command, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Command> {
    let mut from_files = Vec::new();
    for name in SECRETS {
        let in_file = format!("{name}_FILE");
        let Some(file) = variable(&in_file).filter(|file| !file.is_empty()).map(PathBuf::from) else { continue };
        if variable(name).is_some_and(|value| !value.is_empty()) {
            bail!("{name} and {in_file} are both set; set only one of them");
        }
        from_files.push((name, read(&in_file, &file)?));
    }
    Ok(amend(command, &from_files))
}

fn read(name: &str, file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{name}: {} cannot be read", file.display()))?;
    let secret = text.trim();
    if secret.is_empty() {
        bail!("{name}: {} is empty", file.display());
    }
    Ok(secret.to_owned())
}

fn amend(command: Command, from_files: &[(&str, String)]) -> Command {
    // What a simulator takes for a password is none.
    let is_simulator = command.get_name() == "simulate-cml";
    let command = command.mut_args(|argument| {
        let Some(name) = argument.get_env().and_then(|name| name.to_str()).map(str::to_owned) else { return argument };
        if !SECRETS.contains(&name.as_str()) {
            return argument;
        }
        let argument = match from_files.iter().find(|(known, _)| *known == name) {
            Some((_, secret)) => argument.default_value(secret.clone()).hide_default_value(true).required(false),
            None => argument,
        };
        let is_address = ADDRESSES.contains(&name.as_str());
        if is_simulator || is_address { argument } else { argument.hide(true) }
    });
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, |sub| amend(sub, from_files)))
}

/// Variables whose secrets stand in the arguments.
pub(crate) fn in_arguments(command: &Command, matches: &ArgMatches) -> Vec<String> {
    let mut found = Vec::new();
    for argument in command.get_arguments() {
        let Some(name) = argument.get_env().and_then(|name| name.to_str()) else { continue };
        let id = argument.get_id().as_str();
        let is_given =
            matches.try_contains_id(id).unwrap_or(false) && matches.value_source(id) == Some(ValueSource::CommandLine);
        if !SECRETS.contains(&name) || !is_given || command.get_name() == "simulate-cml" {
            continue;
        }
        let holds_one = !ADDRESSES.contains(&name)
            || matches.get_raw(id).is_some_and(|mut values| values.any(|value| value.to_string_lossy().contains('@')));
        if holds_one {
            found.push(name.to_owned());
        }
    }
    if let Some((name, matches)) = matches.subcommand()
        && let Some(sub) = command.find_subcommand(name)
    {
        found.extend(in_arguments(sub, matches));
    }
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::arguments::Arguments;

    fn with(variables: &[(&str, &str)]) -> anyhow::Result<Command> {
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
