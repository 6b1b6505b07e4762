//! `lablet completions` and `lablet manual`: what shells and `man` know of the command line.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use clap_complete::Shell;

use crate::terminal::{out, say};

/// For which shell.
#[derive(Debug, Args)]
pub(crate) struct CompletionArguments {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct ManualArguments {
    /// The folder, which is made where it does not exist.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
}

/// Prints the completions of a command.
pub(crate) fn completions(arguments: &CompletionArguments, mut command: clap::Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "lablet", &mut script);
    out().write_all(&script).context("standard output cannot be written")
}

/// Writes a page for a command and each of its subcommands.
pub(crate) fn manual(arguments: &ManualArguments, command: clap::Command) -> anyhow::Result<()> {
    let folder = &arguments.to;
    let failed = || format!("the manual cannot be written to {}", folder.display());
    std::fs::create_dir_all(folder).with_context(failed)?;
    clap_mangen::generate_to(command, folder).with_context(failed)?;
    say(&format!("The manual is in {0}; read it by: man -l {0}/lablet.1", folder.display()))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use clap::CommandFactory as _;

    use super::*;
    use crate::arguments::Arguments;

    #[test]
    fn bash_completes_commands_and_their_arguments() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("lablet.bash");
        let mut file = std::fs::File::create(&script).unwrap();
        clap_complete::generate(Shell::Bash, &mut Arguments::command(), "lablet", &mut file);
        let completed = |words: &str| {
            let mut typed = words.rsplit(' ');
            let (last, before) = (typed.next().unwrap_or_default(), typed.next().unwrap_or("lablet"));
            let program = format!(
                "source {}; COMP_WORDS=(lablet {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); \
                 _lablet lablet '{last}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
                script.display()
            );
            let output = Command::new("bash").args(["--norc", "-c", &program]).output().unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(completed("sess"), "session\n");
        assert_eq!(completed("session wat"), "watch\n");
        assert!(completed("session list --st").contains("--status"));
        assert!(completed("session list --sort ti").contains("timeslot-end"));
    }

    #[test]
    fn pages_of_the_manual_render_without_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        clap_mangen::generate_to(Arguments::command(), folder.path()).unwrap();
        let mut pages: Vec<PathBuf> =
            std::fs::read_dir(folder.path()).unwrap().map(|page| page.unwrap().path()).collect();
        pages.sort();
        assert!(pages.iter().any(|page| page.ends_with("lablet-session-list.1")), "{pages:?}");
        let has_groff = Command::new("groff").arg("--version").stdout(Stdio::null()).status().is_ok();
        if has_groff {
            let output = Command::new("groff").args(["-man", "-ww", "-Tutf8", "-z"]).args(&pages).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && said.is_empty(), "{said}");
        }
    }
}
