//! How far something is that takes a while, with its rate and the time that is left, for people at a terminal.
//!
//! Nothing is shown within the first two seconds, nor where standard error is no terminal.

use std::io::{IsTerminal as _, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is done sooner is not worth a line.
const SHOWN_AFTER: Duration = Duration::from_secs(2);
/// How often the line is drawn again while nothing moves.
const REDRAWN_EVERY: Duration = Duration::from_millis(250);

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Things with this name in the plural, e.g. `events`.
    Things(&'static str),
    /// Bytes.
    Bytes,
    /// Nothing: only the time is shown.
    Nothing,
}

/// The line of one undertaking. It vanishes when the undertaking ends, however it ends.
pub(crate) struct Progress {
    bar: ProgressBar,
    began: Instant,
    target: fn() -> ProgressDrawTarget,
    is_shown: AtomicBool,
}

impl Progress {
    /// Begins. `what` says what is done, e.g. `rebuilding sessions`; `total` how much there is, where that is known.
    pub(crate) fn begin(what: impl Into<String>, unit: Unit, total: Option<u64>) -> Self {
        let target = if stderr().is_terminal() { ProgressDrawTarget::stderr } else { ProgressDrawTarget::hidden };
        Self::begin_on(target, what.into(), unit, total)
    }

    fn begin_on(target: fn() -> ProgressDrawTarget, what: String, unit: Unit, total: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden()).with_message(what);
        bar.set_style(style(unit, total.is_some()));
        Self { bar, began: Instant::now(), target, is_shown: AtomicBool::new(false) }
    }

    /// So much is done, of all.
    pub(crate) fn reach(&self, done: u64) {
        self.bar.set_position(done);
        self.show();
    }

    /// Draws the line once it is time, where nothing is counted.
    pub(crate) fn show(&self) {
        if self.began.elapsed() >= SHOWN_AFTER && !self.is_shown.swap(true, Ordering::Relaxed) {
            self.bar.set_draw_target((self.target)());
            self.bar.enable_steady_tick(REDRAWN_EVERY);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(unit: Unit, has_total: bool) -> ProgressStyle {
    ProgressStyle::with_template(&template(unit, has_total)).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// The line, as indicatif reads it.
fn template(unit: Unit, has_total: bool) -> String {
    match (unit, has_total) {
        (Unit::Things(name), true) => {
            format!("{{msg}}: {{human_pos}} of {{human_len}} {name}, {{per_sec}}, {{eta}} left")
        }
        (Unit::Things(name), false) => format!("{{msg}}: {{human_pos}} {name}, {{per_sec}}, for {{elapsed}}"),
        (Unit::Bytes, true) => {
            "{msg}: {binary_bytes} of about {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left".to_owned()
        }
        (Unit::Bytes, false) => "{msg}: {binary_bytes}, {binary_bytes_per_sec}, for {elapsed}".to_owned(),
        (Unit::Nothing, _) => "{msg}, for {elapsed}".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_soon_draws_no_line() {
        let progress = Progress::begin_on(ProgressDrawTarget::stderr, "exporting".to_owned(), Unit::Nothing, Some(10));
        progress.reach(10);
        assert!(progress.bar.is_hidden());
        assert_eq!((progress.bar.position(), progress.bar.length()), (10, Some(10)));
        assert_eq!(progress.bar.message(), "exporting");
    }

    #[test]
    fn what_takes_longer_is_shown_with_its_rate_and_the_time_left() {
        for unit in [Unit::Things("events"), Unit::Bytes] {
            for has_total in [false, true] {
                let template = template(unit, has_total);
                assert!(ProgressStyle::with_template(&template).is_ok(), "{template}");
                assert!(template.contains("per_sec"), "{template}");
                assert_eq!(template.contains("eta"), has_total, "{template}");
            }
        }
    }
}
