//! Pages that a reader follows step by step, followed literally: what they have typed is run, and what they show is
//! compared with what came.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::process::Command;

use crate::lablet::Lablet;

/// How long a page may take, on a busy machine.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(400);
/// What separates the outputs of two steps.
const SEPARATOR: &str = "\u{1e}";
/// What stands for output that a page leaves out.
const LEFT_OUT: &str = "…";

/// One step of a page: what is typed, and what the page shows of its output.
struct Step<'a> {
    typed: &'a str,
    shown: Option<&'a str>,
}

/// Follows a page beside a running Lablet, in a folder that looks like the repository in which it was started. Steps that
/// start one are left out.
///
/// Of a shown output every line without a digit has to come; ids, times and counts change with every run. With `UPDATE_WALKS` in the environment the
/// page gets the outputs that came: those that end with `…` as many lines as they had.
///
/// # Errors
/// A step fails, or its output does not have what is shown.
pub async fn follow(lablet: &Lablet, repository: &Path, page: &str) -> anyhow::Result<()> {
    let file = repository.join(page);
    let text = std::fs::read_to_string(&file)?;
    let steps: Vec<Step<'_>> = steps(&text).into_iter().filter(|step| !starts_a_lablet(step.typed)).collect();
    ensure!(!steps.is_empty(), "{page} has no step");
    let folder = folder_like(repository, lablet)?;
    let mut script = String::from("set -eu\n");
    for step in &steps {
        script.push_str(step.typed);
        script.push_str("\nprintf '\\036'\n");
    }
    let mut command = Command::new("bash");
    command.args(["-c", &script]).current_dir(folder.path()).env("NO_COLOR", "1").env_remove("LABLET_DATA_DIR");
    // Pages say that `lablet` is what was built.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", folder.path().join("target/debug").display()));
    // Contexts of whoever runs the test are none of the reader.
    command.env("XDG_CONFIG_HOME", folder.path().join(".config"));
    let run = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output =
        tokio::time::timeout(FOLLOWED_WITHIN, run).await.with_context(|| format!("{page} takes too long"))??;
    let came = String::from_utf8(output.stdout)?;
    let outputs: Vec<&str> = came.split(SEPARATOR).collect();
    ensure!(
        output.status.success(),
        "{page}: `{}` failed: {}{}",
        steps[outputs.len().min(steps.len()) - 1].typed,
        outputs.last().unwrap_or(&""),
        String::from_utf8_lossy(&output.stderr)
    );
    if std::env::var_os("UPDATE_WALKS").is_some() {
        return Ok(std::fs::write(&file, with_outputs(&text, &steps, &outputs))?);
    }
    for (step, came) in steps.iter().zip(outputs) {
        for wanted in step.shown.into_iter().flat_map(str::lines).filter(|line| is_the_same_each_time(line)) {
            let is_there = came.lines().any(|line| line.split_whitespace().eq(wanted.split_whitespace()));
            ensure!(is_there, "{page}: `{}` is shown with {wanted:?}, and printed: {came}", step.typed);
        }
    }
    Ok(())
}

/// The blocks of a page that are typed, each with the block of output that follows it.
fn steps(text: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let mut fences = text.split("\n```").skip(1);
    while let (Some(block), Some(_)) = (fences.next(), fences.next()) {
        let (language, content) = block.split_once('\n').unwrap_or((block, ""));
        match (language, steps.last_mut()) {
            ("sh", _) => steps.push(Step { typed: content, shown: None }),
            ("text", Some(step)) if step.shown.is_none() => step.shown = Some(content),
            _ => {}
        }
    }
    steps
}

fn is_the_same_each_time(line: &str) -> bool {
    !line.trim().is_empty() && line != LEFT_OUT && !line.contains(|character: char| character.is_ascii_digit())
}

fn starts_a_lablet(typed: &str) -> bool {
    typed.lines().any(|line| line.starts_with("make up") || line.starts_with("git clone"))
}

/// A folder with everything of the repository by links, `.lablet` of the running one, and its executable where the page's
/// reader has built it.
fn folder_like(repository: &Path, lablet: &Lablet) -> anyhow::Result<TempDir> {
    let folder = tempfile::tempdir()?;
    for entry in std::fs::read_dir(repository)? {
        let entry = entry?;
        if entry.file_name() != "target" && entry.file_name() != ".lablet" {
            std::os::unix::fs::symlink(entry.path(), folder.path().join(entry.file_name()))?;
        }
    }
    std::os::unix::fs::symlink(lablet.data_dir(), folder.path().join(".lablet"))?;
    std::fs::create_dir_all(folder.path().join("target/debug"))?;
    std::os::unix::fs::symlink(lablet.program(), folder.path().join("target/debug/lablet"))?;
    Ok(folder)
}

/// The page with the outputs that came.
fn with_outputs(text: &str, steps: &[Step<'_>], outputs: &[&str]) -> String {
    let mut updated = text.to_owned();
    for (step, came) in steps.iter().zip(outputs) {
        let Some(shown) = step.shown else { continue };
        let came = came.trim_matches('\n');
        let came = match shown.lines().last() {
            Some(LEFT_OUT) => {
                let most = shown.lines().count() - 1;
                let mut lines: Vec<&str> = came.lines().take(most).collect();
                lines.push(LEFT_OUT);
                lines.join("\n")
            }
            _ => came.to_owned(),
        };
        updated = updated.replacen(
            &format!("{}\n```\n\n```text\n{shown}\n```", step.typed),
            &format!("{}\n```\n\n```text\n{came}\n```", step.typed),
            1,
        );
    }
    updated
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# A page\n\n```sh\nmake up\n```\n\n```sh\nls\n```\n\n```text\nA  B\nold\nolder\n…\n```\n\n```json\n{}\n```\n\n```sh\nend\n```\n";

    #[test]
    fn a_page_is_read_and_gets_as_many_lines_as_it_had() {
        let steps = steps(PAGE);
        let read: Vec<_> = steps.iter().map(|step| (step.typed, step.shown)).collect();
        assert_eq!(read, [("make up", None), ("ls", Some("A  B\nold\nolder\n…")), ("end", None)]);
        assert_eq!(["ID  VERSION", "7  running", "…", " "].map(is_the_same_each_time), [true, false, false, false]);
        assert!(starts_a_lablet(steps[0].typed) && !starts_a_lablet(steps[1].typed));
        let updated = with_outputs(PAGE, &steps[1..], &["A  B\nnew\nnewer\nnewest\n", "done"]);
        assert!(
            updated.contains("```text\nA  B\nnew\nnewer\n…\n```") && updated.contains("```sh\nend\n```\n"),
            "{updated}"
        );
    }
}
