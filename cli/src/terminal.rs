//! What people read at a terminal.

use std::io::Write as _;

use anyhow::Context as _;

/// A line on standard output, without what could steer a terminal.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{}", printable(line)).context("standard output cannot be written")
}

/// Says on standard error what went wrong, with every cause.
pub(crate) fn complain(error: &anyhow::Error) {
    let mut out = std::io::stderr().lock();
    // With standard error closed, the failure cannot be reported.
    if writeln!(out, "lablet: {}", printable(&format!("{error:#}"))).is_err() {}
}

/// A message for people, of which what came from outside is a part: its further lines are indented, so that none looks
/// like one of ours, and nothing in it steers the terminal.
fn printable(message: &str) -> String {
    let lines: Vec<String> = message.lines().map(|line| app::printable::storable(line, usize::MAX)).collect();
    lines.join("\n    ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_came_from_outside_is_no_line_of_its_own() {
        let said = super::printable("refused: x\nlablet: all is well\u{1b}[2J");
        assert_eq!(said, "refused: x\n    lablet: all is well\\u{1b}[2J");
    }
}
