//! Secrets come from the environment or from files, never from the arguments, which everybody on the machine can read.
//!
//! Each secret `NAME` may be given as `NAME_FILE`, a file that holds it. Its flag is not offered any more; where one is
//! used all the same, that is logged.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// Variables whose values are secrets, or may hold one.
const SECRETS: [&str; 11] = [
    "LABLET_ANALYST_DATABASE_URL",
    "LABLET_CONSOLE_DATABASE_URL",
    "LABLET_DATABASE_URL",
    "LABLET_NATS_URL",
    "LABLET_NATS_TOKEN",
    "LABLET_NATS_PASSWORD",
    "LABLET_INTERNAL_API_KEY",
    "LABLET_CML_PASSWORD",
    "LABLET_OIDC_CLIENT_SECRET",
    "LABLET_TOKEN",
    "OTEL_EXPORTER_OTLP_HEADERS",
];

/// Addresses: without a secret in them they may stand in the arguments.
const ADDRESSES: [&str; 4] =
    ["LABLET_ANALYST_DATABASE_URL", "LABLET_CONSOLE_DATABASE_URL", "LABLET_DATABASE_URL", "LABLET_NATS_URL"];

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
