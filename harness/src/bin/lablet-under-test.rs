//! The executable `lablet`, built beside the journeys, so that they never run an older one.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
