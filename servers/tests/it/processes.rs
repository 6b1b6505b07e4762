//! What runs on this machine.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ends what a test started when the test fails in between.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended already; a test's own assertions say what should have happened.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A pair of servers held by another process.
pub(crate) struct Held {
    pub(crate) parent: Killed,
    pub(crate) database_url: String,
    pub(crate) postgres: u32,
    pub(crate) nats: u32,
}

impl Drop for Held {
    /// In order, so that nothing is written any more when the folder is removed. Waiting closes its standard
    /// input; one that was killed is waited for already.
    fn drop(&mut self) {
        drop(self.parent.0.wait());
        if !std::thread::panicking() {
            wait_until("the servers have ended", || !runs(self.postgres) && !runs(self.nats));
        }
    }
}

pub(crate) fn hold(folder: &Path) -> Held {
    let mut parent = Command::new(env!("CARGO_BIN_EXE_hold-servers"))
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let parent = Killed(parent);
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    let pid = |name: &str| u32::try_from(said[name].as_u64().unwrap()).unwrap();
    Held {
        parent,
        database_url: said["database_url"].as_str().unwrap().to_owned(),
        postgres: pid("postgres_pid"),
        nats: pid("nats_pid"),
    }
}

/// Number and command line of every process.
pub(crate) fn all() -> Vec<(u32, String)> {
    let listed = Command::new("ps").args(["-ww", "-A", "-o", "pid=,args="]).output().unwrap();
    String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter_map(|line| {
            let (pid, command) = line.trim_start().split_once(' ')?;
            Some((pid.parse().ok()?, command.to_owned()))
        })
        .collect()
}

/// Runs, and is no zombie.
pub(crate) fn runs(pid: u32) -> bool {
    all().iter().any(|(found, command)| *found == pid && !command.ends_with("<defunct>"))
}

/// Waits until something is so; fails after half a minute.
pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn kill(pid: u32, signal: &str) {
    let sent = Command::new("/bin/sh")
        .args(["-c", "kill -s \"$1\" \"$2\"", "kill", signal])
        .arg(pid.to_string())
        .status()
        .unwrap();
    assert!(sent.success(), "no process {pid}");
}
