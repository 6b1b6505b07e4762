//! How far something is that takes a while: on standard error, from the third second on.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// What is over sooner needs no progress.
const QUIET_FOR: Duration = Duration::from_secs(2);
/// How often a terminal is told.
const ON_TERMINAL: Duration = Duration::from_millis(500);
/// How often a log is told.
const IN_LOG: Duration = Duration::from_secs(10);

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Events,
}

/// Says how far something is, how fast it goes, and how long it will take.
#[derive(Debug)]
pub(super) struct Progress {
    label: &'static str,
    unit: Unit,
    /// `None`: nobody knows how much there is.
    total: Option<u64>,
    begun: Instant,
    said: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    pub(super) fn begin(label: &'static str, unit: Unit, total: Option<u64>) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { label, unit, total, begun: Instant::now(), said: None, is_terminal }
    }

    /// Says it, unless it was said a moment ago.
    pub(super) fn is_at(&mut self, done: u64) {
        let elapsed = self.begun.elapsed();
        let every = if self.is_terminal { ON_TERMINAL } else { IN_LOG };
        if elapsed < QUIET_FOR || self.said.is_some_and(|said| said.elapsed() < every) {
            return;
        }
        self.said = Some(Instant::now());
        let line = line(self.label, self.unit, done, self.total, elapsed);
        let (begin, end) = if self.is_terminal { ("\r\u{1b}[K", "") } else { ("", "\n") };
        let mut out = std::io::stderr().lock();
        // Progress that nobody can read is no reason to stop.
        if write!(out, "{begin}{line}{end}").and_then(|()| out.flush()).is_err() {}
    }

    /// Takes its line from the terminal.
    pub(super) fn end(self) {
        if self.is_terminal && self.said.is_some() {
            let mut out = std::io::stderr().lock();
            if write!(out, "\r\u{1b}[K").and_then(|()| out.flush()).is_err() {}
        }
    }
}

fn line(label: &str, unit: Unit, done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let rate_text = amount(unit, rate);
    let Some(total) = total.filter(|total| *total > 0) else {
        return format!("{label}: {}, {rate_text}/s", amount(unit, done as f64));
    };
    let done = done.min(total);
    let left = if rate > 0.0 { format!(", {} left", span((total - done) as f64 / rate)) } else { String::new() };
    let percent = done * 100 / total;
    format!("{label}: {percent} % of about {}, {rate_text}/s{left}", amount(unit, total as f64))
}

fn amount(unit: Unit, number: f64) -> String {
    match unit {
        Unit::Bytes => bytes(number),
        Unit::Events => format!("{number:.0} events"),
    }
}

/// Bytes in the unit that fits.
pub(super) fn bytes(number: f64) -> String {
    let units = ["bytes", "KB", "MB", "GB", "TB"];
    let (mut number, mut unit) = (number, 0);
    while number >= 1024.0 && unit + 1 < units.len() {
        number /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{number:.0} {}", units[unit]) } else { format!("{number:.1} {}", units[unit]) }
}

fn span(seconds: f64) -> String {
    match seconds.round() as u64 {
        seconds if seconds >= 3_600 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        seconds if seconds >= 60 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let half = line("backup", Unit::Bytes, 512 << 20, Some(1 << 30), Duration::from_secs(64));
        assert_eq!(half, "backup: 50 % of about 1.0 GB, 8.0 MB/s, 1 min 4 s left");
        let unknown = line("republish", Unit::Events, 300, None, Duration::from_secs(3));
        assert_eq!(unknown, "republish: 300 events, 100 events/s");
        let none = line("backup", Unit::Bytes, 0, Some(10), Duration::from_secs(3));
        assert_eq!(none, "backup: 0 % of about 10 bytes, 0 bytes/s");
    }
}
