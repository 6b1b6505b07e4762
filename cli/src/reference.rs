//! The reference of the command line in docs/command.md, and that it leaves nothing unsaid.

use std::any::TypeId;
use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, Command, CommandFactory as _};

use crate::arguments::Arguments;
use crate::configuration::secrets::{ADDRESSES, is_secret};
use crate::exit::ExitStatus;
use crate::secret::Secret;

/// After this line the page is made from the executable.
const MADE_FROM_HERE: &str = "<!-- From here on: UPDATE_SNAPSHOTS=1 cargo test -p cli reference -->\n";

fn exit_codes() -> String {
    let mut table =
        "## Exit codes\n\n| code | when |\n|---|---|\n| 0 | Done; a reader who closed standard output is no error |\n"
            .to_owned();
    for status in ExitStatus::ALL {
        writeln!(table, "| {} | {} |", status.code(), status.meaning()).unwrap();
    }
    table
}

/// Commands below this one, with the words that name each, in the order of the help.
fn all(command: &Command, words: &str) -> Vec<(String, Command)> {
    let mut found = vec![(words.to_owned(), command.clone())];
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        found.extend(all(sub, &format!("{words} {}", sub.get_name())));
    }
    found
}

fn shown(command: &Command) -> impl Iterator<Item = &Arg> {
    command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str()))
}

/// The variable by which a secret is given: in an argument everybody on the machine could read it.
fn secret_variable(argument: &Arg) -> Option<String> {
    argument.get_env().map(|name| name.to_string_lossy().into_owned()).filter(|name| is_secret(name))
}

fn signature(argument: &Arg) -> String {
    if let Some(variable) = secret_variable(argument) {
        return format!("{variable}`, or the file `{variable}_FILE");
    }
    let value = match argument.get_value_names() {
        Some(names) if argument.get_action().takes_values() => format!("<{}>", names.join("> <")),
        _ => String::new(),
    };
    let long = argument.get_long().map(|long| format!("--{long}"));
    let short = argument.get_short().map(|short| format!("-{short}"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    format!("{} {value}", names.join(", ")).trim().to_owned()
}

fn text(of: Option<&clap::builder::StyledStr>) -> String {
    of.map(ToString::to_string).unwrap_or_default().replace('\n', " ").replace('|', "\\|")
}

fn reference() -> String {
    let mut page = exit_codes();
    page.push_str("\n## Commands\n");
    for (words, command) in all(&Arguments::command(), "lablet") {
        let about = text(command.get_long_about().or_else(|| command.get_about()));
        writeln!(page, "\n### `{words}`\n\n{about}").unwrap();
        let arguments: Vec<&Arg> = shown(&command).collect();
        if !arguments.is_empty() {
            page.push_str("\n| argument | |\n|---|---|\n");
        }
        for argument in arguments {
            let mut help = text(argument.get_long_help().or_else(|| argument.get_help()));
            let values = argument.get_possible_values();
            let values: Vec<&str> =
                values.iter().filter(|value| !value.is_hide_set()).map(|value| value.get_name()).collect();
            if !values.is_empty() && argument.get_action().takes_values() {
                write!(help, " One of: {}.", values.join(", ")).unwrap();
            }
            if let Some(variable) = argument.get_env().filter(|_| secret_variable(argument).is_none()) {
                write!(help, " Environment: `{}`.", variable.to_string_lossy()).unwrap();
            }
            let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
            if !defaults.is_empty() && !argument.is_hide_default_value_set() && argument.get_action().takes_values() {
                write!(help, " Default: `{}`.", defaults.join(" ")).unwrap();
            }
            writeln!(page, "| `{}` | {help} |", signature(argument)).unwrap();
        }
        if let Some(example) = command.get_after_long_help().filter(|_| words != "lablet") {
            writeln!(page, "\n```text\n{}\n```", example.to_string().trim_end()).unwrap();
        }
    }
    page
}

#[test]
fn the_reference_of_the_command_line_is_the_one_that_the_executable_gives() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/command.md");
    let page = std::fs::read_to_string(&file).unwrap();
    let (by_hand, made) = page.split_once(MADE_FROM_HERE).unwrap();
    let reference = format!("\n{}", reference());
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&file, format!("{by_hand}{MADE_FROM_HERE}{reference}")).unwrap();
        return;
    }
    assert!(made == reference, "docs/command.md is out of date: UPDATE_SNAPSHOTS=1 cargo test -p cli reference");
}

#[test]
fn every_command_and_every_argument_has_help() {
    let mut silent = Vec::new();
    for (words, command) in all(&Arguments::command(), "lablet") {
        if command.get_about().is_none() {
            silent.push(words.clone());
        }
        let arguments =
            shown(&command).filter(|argument| argument.get_help().is_none_or(|help| help.to_string().is_empty()));
        silent.extend(arguments.map(|argument| format!("{words} {}", argument.get_id())));
    }
    assert!(silent.is_empty(), "without help: {silent:?}");
}

#[test]
fn every_secret_may_be_given_by_its_variable_or_its_file() {
    for (words, command) in all(&Arguments::command(), "lablet") {
        let takes_secret = |argument: &&Arg| argument.get_value_parser().type_id() == TypeId::of::<Secret>();
        for argument in command.get_arguments().filter(takes_secret) {
            let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let is_known = is_secret(&variable) || ADDRESSES.contains(&variable.as_str());
            assert!(is_known, "{words} {}: {variable:?}", argument.get_id());
        }
    }
}

#[test]
fn every_command_that_takes_a_file_has_an_example_of_it() {
    let takes_a_body =
        |command: &Command| shown(command).any(|argument| ["file", "files"].contains(&argument.get_id().as_str()));
    let missing: Vec<String> = all(&Arguments::command(), "lablet")
        .into_iter()
        .filter(|(_, command)| takes_a_body(command) && command.get_after_long_help().is_none())
        .map(|(words, _)| words)
        .collect();
    assert!(missing.is_empty(), "without an example: {missing:?}");
}
