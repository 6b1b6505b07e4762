//! pgbench's single-row insert into the log's own table: what Postgres does where nothing is around it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::load::percentile;

/// A row that is inserted again and again, each time as the first event of a new aggregate. No text in it holds a colon
/// with a letter behind it: pgbench takes that for a variable.
pub(crate) struct Row<'a> {
    pub(crate) aggregate_type: &'a str,
    pub(crate) event_type: &'a str,
    /// JSON.
    pub(crate) payload: &'a str,
    /// With a command's key and digest, as commands over HTTP have them.
    pub(crate) with_key: bool,
}

/// What pgbench found.
#[derive(Debug)]
pub(crate) struct Inserts {
    pub(crate) per_second: f64,
    pub(crate) p99_ms: f64,
}

/// Inserts for a while.
pub(crate) async fn insert(url: &str, clients: usize, duration: Duration, row: &Row<'_>) -> anyhow::Result<Inserts> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("insert.sql");
    std::fs::write(&script, statement(row))?;
    let output = tokio::process::Command::new(program()?)
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--log"])
        .arg(format!("--log-prefix={}", folder.path().join("latency").display()))
        .args([format!("--client={clients}"), format!("--time={}", duration.as_secs().max(1))])
        .arg("--file")
        .arg(&script)
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .await
        .context("pgbench cannot be run")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find(|line| line.starts_with("tps = ")).context("pgbench prints no tps")?;
    let per_second = line.split_whitespace().nth(2).context("pgbench prints no tps")?.parse()?;
    let latencies = latencies(folder.path())?;
    Ok(Inserts { per_second, p99_ms: percentile(&latencies, 0.99).as_secs_f64() * 1_000.0 })
}

fn statement(row: &Row<'_>) -> String {
    let Row { aggregate_type, event_type, payload, with_key } = row;
    let (columns, values) = if *with_key {
        (", command_key, command_digest", ", gen_random_uuid()::text, sha256('a command''s content')")
    } else {
        ("", "")
    };
    format!(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata{columns}) \
         VALUES ('{aggregate_type}', gen_random_uuid()::text, 1, '{event_type}', '1', '{payload}', \
                 '{{\"actor\": \"bench\"}}'{values});\n"
    )
}

/// The time of each transaction, sorted: the third column of pgbench's log files, in microseconds.
fn latencies(folder: &Path) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with("latency") {
            continue;
        }
        for line in std::fs::read_to_string(entry.path())?.lines() {
            let time = line.split_whitespace().nth(2).context("a line of pgbench's log has no time")?;
            latencies.push(Duration::from_micros(time.parse()?));
        }
    }
    latencies.sort_unstable();
    Ok(latencies)
}

/// pgbench comes with Postgres; Debian keeps it beside the server, out of the way of PATH.
fn program() -> anyhow::Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let beside_server = versions.filter_map(Result::ok).map(|version| version.path().join("bin/pgbench"));
    let on_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).map(|folder| folder.join("pgbench")).collect::<Vec<_>>());
    beside_server.chain(on_path).find(|program| program.is_file()).context("pgbench is missing; it comes with Postgres")
}
