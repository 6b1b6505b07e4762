//! `make bench`: every figure that matters beside its yardstick, in one run on real servers with fsync.
//!
//! ```text
//! cargo run --release -p bench                  all rows
//! cargo run --release -p bench -- http append   these rows
//! cargo run --release -p bench -- --quick       smaller and shorter, to see that everything works
//! cargo run --release -p bench -- flat --ten-million    reads over ten million events, which take 25 GB of disk
//! cargo run --release -p bench -- log-partitions --ten-million    the log in partitions, which takes 25 GB of disk
//! cargo run --release -p bench -- sampling --labs 200 --workers 4 --seconds 120    what sampling costs a controller
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
mod flat;
mod history;
mod http;
mod http_client;
mod large_observations;
mod latency;
mod load;
mod log_partitions;
mod log_reading;
mod long_session;
mod memory;
mod pages;
mod pgbench;
mod process;
mod reads;
mod rebuilds;
mod recommendations;
mod sampling;
mod sharing;
mod surroundings;
mod table;
mod wide;

use std::process::ExitCode;

use anyhow::Context as _;

use crate::effort::Effort;
use crate::surroundings::Surroundings;

/// What can be measured, in the order of the table. No name is that of a command of `lablet`.
const ROWS: [&str; 16] = [
    "http",
    "append",
    "burst",
    "rebuilds",
    "latency",
    "backlog",
    "reads",
    "flat",
    "log-partitions",
    "memory",
    "sharing",
    "long-session",
    "pages",
    "wide",
    "recommendations",
    "large-observations",
];
const QUICK: &str = "--quick";
/// The long log has ten million events, some 25 GB, instead of a million.
const TEN_MILLION: &str = "--ten-million";

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    if let [argument, file] = arguments.as_slice()
        && argument == reads::bare_route::ARGUMENT
    {
        runtime()?.block_on(reads::bare_route::serve(file.as_ref()))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let [argument, options @ ..] = arguments.as_slice()
        && argument == sampling::ARGUMENT
    {
        harness::install_tls();
        runtime()?.block_on(sampling::run(options))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments
        .iter()
        .all(|argument| [QUICK, TEN_MILLION].contains(&argument.as_str()) || ROWS.contains(&argument.as_str()))
    {
        return Ok(cli::main());
    }
    let is_given = |option: &str| arguments.iter().any(|argument| argument == option);
    let effort = if is_given(QUICK) { Effort::QUICK } else { Effort::FULL };
    let long = if is_given(TEN_MILLION) { 10_000_000 } else { effort.size(1_000_000) as u64 };
    let named: Vec<&str> = ROWS.into_iter().filter(|row| is_given(row)).collect();
    let rows = if named.is_empty() { ROWS.to_vec() } else { named };
    harness::install_tls();
    runtime()?.block_on(measure(&rows, effort, long))
}

/// Measures these rows; the long log of `flat` and of `log-partitions` has so many events. One that fails does not keep the others from being measured.
async fn measure(rows: &[&str], effort: Effort, long: u64) -> anyhow::Result<ExitCode> {
    use std::io::Write as _;
    table::head()?;
    let mut code = ExitCode::SUCCESS;
    for row in rows {
        let measured = measure_row(row, effort, long).await;
        if let Err(error) = measured.with_context(|| format!("{row} could not be measured")) {
            writeln!(std::io::stdout().lock(), "{error:#}")?;
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// Measures one row, on servers of its own.
async fn measure_row(row: &str, effort: Effort, long: u64) -> anyhow::Result<()> {
    let surroundings = Surroundings::start().await?;
    let measured = match row {
        "http" => http::run(&surroundings, effort).await,
        "append" => append::run(&surroundings, effort).await,
        "burst" => burst::run(&surroundings, effort).await,
        "rebuilds" => rebuilds::run(&surroundings, effort).await,
        "latency" => latency::run(&surroundings, effort).await,
        "backlog" => backlog::run(&surroundings, effort).await,
        "long-session" => long_session::run(&surroundings, effort).await,
        "reads" => reads::run(&surroundings, effort).await,
        "flat" => flat::run(&surroundings, effort, long).await,
        "log-partitions" => log_partitions::run(&surroundings, effort, long).await,
        "memory" => memory::run(&surroundings, effort).await,
        "sharing" => sharing::run(&surroundings, effort).await,
        "pages" => pages::run(&surroundings, effort).await,
        "wide" => wide::run(&surroundings, effort).await,
        "recommendations" => recommendations::run(&surroundings, effort).await,
        _ => large_observations::run(&surroundings, effort).await,
    };
    surroundings.stop().await?;
    measured
}
