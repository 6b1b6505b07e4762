//! Secrets come from the environment or from files, never from the arguments, which everybody on the machine can read.
//!
//! Each secret `NAME` may be given as `NAME_FILE`, a file that holds it. Its flag is not offered any more; where one is
//! used all the same, that is logged.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// Variables whose values are secrets, or may hold one.
const SECRETS: [&str; 12] = [
    "LABLET_ANALYST_DATABASE_URL",
    "LABLET_CONSOLE_DATABASE_URL",
    "LABLET_DATABASE_URL",
    "LABLET_REPLICA_DATABASE_URL",
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
pub(crate) const ADDRESSES: [&str; 5] = [
    "LABLET_ANALYST_DATABASE_URL",
    "LABLET_CONSOLE_DATABASE_URL",
    "LABLET_DATABASE_URL",
    "LABLET_REPLICA_DATABASE_URL",
    "LABLET_NATS_URL",
];

/// Whether a variable's value is a secret whatever it says, so that no argument is offered for it.
pub(crate) fn is_secret(variable: &str) -> bool {
    SECRETS.contains(&variable) && !ADDRESSES.contains(&variable)
}

/// The command with what `NAME_FILE` variables hold, and without flags for secrets in its help.
///
/// # Errors
/// A file cannot be read, or a secret is given both ways; the variable is named, its value is not shown.
pub(crate) fn prepare(command: Command, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Command> {
    let mut from_files = Vec::new();
    for name in SECRETS {
        if let Some(secret) = in_file(name, &variable)? {
            from_files.push((name, secret));
        }
    }
    Ok(amend(command, &from_files))
}

/// The secret of a variable for which there is no argument, from the environment or from its file.
///
/// # Errors
/// As those of [`prepare`].
pub(crate) fn of_environment(name: &str, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<String>> {
    Ok(in_file(name, &variable)?.or_else(|| variable(name).filter(|value| !value.is_empty())))
}

/// What the file holds that `NAME_FILE` names.
fn in_file(name: &str, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<String>> {
    let in_file = format!("{name}_FILE");
    let Some(file) = variable(&in_file).filter(|file| !file.is_empty()).map(PathBuf::from) else { return Ok(None) };
    if variable(name).is_some_and(|value| !value.is_empty()) {
        bail!("{name} and {in_file} are both set; set only one of them");
    }
    Ok(Some(read(&in_file, &file)?))
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
    let command = command.mut_args(|argument| {
        let Some(name) = argument.get_env().and_then(|name| name.to_str()).map(str::to_owned) else { return argument };
        if !SECRETS.contains(&name.as_str()) {
            return argument;
        }
        let argument = match from_files.iter().find(|(known, _)| *known == name) {
            Some((_, secret)) => argument.default_value(secret.clone()).hide_default_value(true).required(false),
            None => argument,
        };
        if is_secret(&name) { argument.hide(true) } else { argument }
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
        if !SECRETS.contains(&name) || !is_given {
            continue;
        }
        let holds_one = is_secret(name)
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
