//! What people read at a terminal.

use std::io::{self, Write};

use anyhow::Context as _;

/// Standard output. A reader who closed it is told from other failures: see [`is_closed_output`].
pub(crate) fn out() -> StandardOutput {
    StandardOutput(io::stdout().lock())
}

/// See [`out`].
pub(crate) struct StandardOutput(io::StdoutLock<'static>);

impl Write for StandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(closed)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(closed)
    }
}

/// Whoever read standard output has enough, as `head` does.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
struct OutputClosed;

fn closed(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(io::ErrorKind::BrokenPipe, OutputClosed),
        _ => error,
    }
}

/// Whether a command failed only because nobody reads its output any more, which is no error.
pub(crate) fn is_closed_output(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.get_ref().is_some_and(|inner| inner.is::<OutputClosed>()))
}

/// A line on standard output, without what could steer a terminal.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    writeln!(out(), "{}", printable(line)).context("standard output cannot be written")
}

/// A line on standard error beside the answer, e.g. that there is more of it.
pub(crate) fn remark(line: &str) {
    let mut out = io::stderr().lock();
    // With standard error closed, nobody wants to know.
    if writeln!(out, "{}", printable(line)).is_err() {}
}

/// Says on standard error what went wrong, with every cause.
pub(crate) fn complain(error: &anyhow::Error) {
    remark(&format!("lablet: {error:#}"));
}

/// A message for people, of which what came from outside is a part: its further lines are indented, so that none looks
/// like one of ours, and nothing in it steers the terminal.
fn printable(message: &str) -> String {
    let lines: Vec<String> = message.lines().map(|line| app::printable::storable(line, usize::MAX)).collect();
    lines.join("\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_outside_is_no_line_of_its_own() {
        let said = printable("refused: x\nlablet: all is well\u{1b}[2J");
        assert_eq!(said, "refused: x\n    lablet: all is well\\u{1b}[2J");
    }

    #[test]
    fn only_a_closed_output_is_no_error() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        let closed = anyhow::Error::new(closed(broken())).context("standard output cannot be written");
        assert!(is_closed_output(&closed));
        let connection = anyhow::Error::new(broken()).context("the gateway cannot be reached");
        assert!(!is_closed_output(&connection), "a connection that broke is one");
    }
}
