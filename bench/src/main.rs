//! `make bench`: every figure that matters beside its yardstick, in one run on real servers with fsync.
//!
//! ```text
//! cargo run --release -p bench                  all rows
//! cargo run --release -p bench -- http append   these rows
//! cargo run --release -p bench -- --quick       smaller and shorter, to see that everything works
//! ```
//!
//! Read the ratios, which are medians over rounds of their own: what else a machine does changes from minute to minute, so
//! that figures of two runs cannot be compared. docs/performance.md says what the rows mean.
//!
//! With any other argument this executable is `lablet`: the roles that are measured are processes of this very build.

mod append;
mod backlog;
mod burst;
mod effort;
mod history;
mod http;
mod http_client;
mod large_observations;
mod latency;
mod load;
mod log_reading;
mod long_session;
mod memory;
mod pages;
mod pgbench;
mod process;
mod reads;
mod rebuilds;
mod surroundings;
mod table;

use std::process::ExitCode;

use anyhow::Context as _;

use crate::effort::Effort;

/// What can be measured, in the order of the table. No name is that of a command of `lablet`.
const ROWS: [&str; 11] = [
    "http",
    "append",
    "burst",
    "rebuilds",
    "latency",
    "backlog",
    "reads",
    "memory",
    "long-session",
    "pages",
    "large-observations",
];
const QUICK: &str = "--quick";

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    if let [argument, file] = arguments.as_slice()
        && argument == reads::bare_route::ARGUMENT
    {
        runtime()?.block_on(reads::bare_route::serve(file.as_ref()))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.iter().all(|argument| argument == QUICK || ROWS.contains(&argument.as_str())) {
        return Ok(cli::main());
    }
    let effort = if arguments.iter().any(|argument| argument == QUICK) { Effort::QUICK } else { Effort::FULL };
    let named: Vec<&str> = ROWS.into_iter().filter(|row| arguments.iter().any(|argument| argument == row)).collect();
    let rows = if named.is_empty() { ROWS.to_vec() } else { named };
    harness::install_tls();
    runtime()?.block_on(measure(&rows, effort))
}

/// Measures these rows. One that fails does not keep the others from being measured.
async fn measure(rows: &[&str], effort: Effort) -> anyhow::Result<ExitCode> {
    use std::io::Write as _;
    table::head()?;
    let mut code = ExitCode::SUCCESS;
    for row in rows {
        let measured = match *row {
            "http" => http::run(effort).await,
            "append" => append::run(effort).await,
            "burst" => burst::run(effort).await,
            "rebuilds" => rebuilds::run(effort).await,
            "latency" => latency::run(effort).await,
            "backlog" => backlog::run(effort).await,
            "long-session" => long_session::run(effort).await,
            "reads" => reads::run(effort).await,
            "memory" => memory::run(effort).await,
            "pages" => pages::run(effort).await,
            _ => large_observations::run(effort).await,
        };
        if let Err(error) = measured.with_context(|| format!("{row} could not be measured")) {
            writeln!(std::io::stdout().lock(), "{error:#}")?;
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}
