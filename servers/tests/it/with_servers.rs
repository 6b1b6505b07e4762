//! The program that `make test` wraps its tests in.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::processes::{Killed, all, kill, wait_until};

fn with_servers(folder: &Path, script: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_with-servers"));
    command.args(["sh", "-c", script]).env("TMPDIR", folder).stdin(Stdio::null());
    command
}

fn is_empty(folder: &Path) -> bool {
    folder.read_dir().unwrap().next().is_none()
}

#[test]
fn the_command_finds_the_servers_and_its_exit_code_is_passed_on() {
    let folder = TempDir::new().unwrap();
    let script = "echo \"$LABLET_TEST_DATABASE_URL $LABLET_TEST_NATS_URL $LABLET_TEST_NATS_ACCOUNTS\"; exit 7";
    let output = with_servers(folder.path(), script).output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    let said = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = said.split_whitespace().collect();
    assert!(words[0].starts_with("postgresql://postgres:"), "{said}");
    assert!(words[1].starts_with("nats://t1:"), "{said}");
    assert!(words[2].parse::<u16>().is_ok(), "{said}");
    assert!(is_empty(folder.path()));
}

#[test]
fn a_command_ended_by_a_signal_is_told_as_a_shell_does() {
    let folder = TempDir::new().unwrap();
    let status = with_servers(folder.path(), "kill -s KILL $$").status().unwrap();
    assert_eq!(status.code(), Some(137));
}

#[test]
fn termination_is_passed_on_and_everything_is_cleared() {
    let folder = TempDir::new().unwrap();
    let marker = folder.path().join("runs");
    let script = format!("touch '{}'; exec sleep 600", marker.display());
    let mut child = Killed(with_servers(folder.path(), &script).spawn().unwrap());
    wait_until("the command runs", || marker.exists());
    kill(child.0.id(), "TERM");
    assert_eq!(child.0.wait().unwrap().code(), Some(143));
    std::fs::remove_file(&marker).unwrap();
    assert!(is_empty(folder.path()));
}

#[test]
fn nothing_stays_when_it_is_killed() {
    let folder = TempDir::new().unwrap();
    let marker = folder.path().join("runs");
    let script = format!("touch '{}'; read -r forever", marker.display());
    let mut command = with_servers(folder.path(), &script);
    let mut child = Killed(command.stdin(Stdio::piped()).spawn().unwrap());
    wait_until("the command runs", || marker.exists());
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    std::fs::remove_file(&marker).unwrap();
    wait_until("the folder is gone", || is_empty(folder.path()));
    let name = folder.path().display().to_string();
    wait_until("no process of it is left", || all().iter().all(|(_, command)| !command.contains(&name)));
}
