#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests, whose helpers clippy does not take for such")]

mod client;
mod control;
mod faults;
mod life_cycle;
mod samples;
mod shapes;
mod sign_in;
mod socket;
mod usage;
mod virl2_client;
