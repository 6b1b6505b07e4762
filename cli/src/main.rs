//! The executable `lablet`; see the library of this crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
