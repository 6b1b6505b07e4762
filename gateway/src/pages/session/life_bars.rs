//! A session's life as bars: how long it waited, booted, ran and was taken down, and when it was observed. Long waits are
//! drawn short, and say how long they were.

use askama::Template;
use askama::filters::HtmlSafe;
use chrono::{DateTime, TimeDelta, Utc};
use domain::lablet_session::SessionStatus;
use projections::read_models::session_history::LifeRow;

use crate::pages::parts;

/// The drawing's own width.
const WIDTH: f64 = 1000.0;
/// How wide a wait is drawn at most, and a bar at least, so that it is seen.
const WAIT: f64 = 70.0;
const NARROWEST: f64 = 3.0;

/// What a session does in a part of its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// For its time, or for somebody to clear it away.
    Waiting,
    Booting,
    Running,
    /// Collecting and grading.
    Graded,
    Stopping,
}

impl Phase {
    /// `None`: nothing goes on any more.
    fn from_status(status: SessionStatus) -> Option<Self> {
        match status {
            SessionStatus::Pending | SessionStatus::Scheduled | SessionStatus::Stopped => Some(Self::Waiting),
            SessionStatus::Instantiating | SessionStatus::Ready => Some(Self::Booting),
            SessionStatus::Running => Some(Self::Running),
            SessionStatus::Collecting | SessionStatus::Grading => Some(Self::Graded),
            SessionStatus::Stopping => Some(Self::Stopping),
            SessionStatus::Archived | SessionStatus::Terminated | SessionStatus::Expired => None,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Booting => "booting",
            Self::Running => "running",
            Self::Graded => "collecting and grading",
            Self::Stopping => "stopping",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Booting => "booting",
            Self::Running => "running",
            Self::Graded => "graded",
            Self::Stopping => "stopping",
        }
    }
}

/// Consecutive states of one phase.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    phase: Phase,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

impl Span {
    fn length(&self) -> TimeDelta {
        self.to - self.from
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Bar {
    x: f64,
    width: f64,
    class: &'static str,
    /// Drawn shorter than it was.
    is_cut: bool,
    /// Long enough to be worth words.
    is_told: bool,
    words: String,
}

/// The bars.
#[derive(Debug, Clone, Template)]
#[template(path = "session/life_bars.html")]
pub(super) struct LifeBars {
    bars: Vec<Bar>,
    /// Where it was observed.
    marks: Vec<(f64, String)>,
    description: String,
}

impl HtmlSafe for LifeBars {}

impl LifeBars {
    /// Of these steps, the oldest first, and of observations at these times. `None`: nothing took any time yet.
    pub(super) fn new(steps: &[LifeRow], observed: &[DateTime<Utc>], now: DateTime<Utc>) -> Option<Self> {
        let spans = spans(steps.iter().map(|step| (step.status, step.at)), now);
        let widths = widths(&spans)?;
        let mut x = 0.0;
        let mut bars = Vec::new();
        for (span, (width, is_cut)) in spans.iter().zip(&widths) {
            let words = format!("{} {}", span.phase.words(), lasting(span.length()));
            let is_told = span.length() >= TimeDelta::seconds(1);
            bars.push(Bar { x, width: *width, class: span.phase.class(), is_cut: *is_cut, is_told, words });
            x += width;
        }
        let place = |at: DateTime<Utc>| {
            let (span, bar) = spans.iter().zip(&bars).find(|(span, _)| span.from <= at && at <= span.to)?;
            Some(bar.x + bar.width * share(at - span.from, span.length()))
        };
        let mark = |at: &DateTime<Utc>| Some((place(*at)?, format!("observed {}", parts::to_second(*at))));
        let marks: Vec<(f64, String)> = observed.iter().filter_map(mark).collect();
        let mut said: Vec<&str> = bars.iter().filter(|bar| bar.is_told).map(|bar| bar.words.as_str()).collect();
        let times = format!("observed {}", parts::counted(&(marks.len() as u64), "time"));
        said.push(&times);
        Some(Self { description: said.join(", "), bars, marks })
    }
}

/// The phases that follow upon each other; of a session that is in the middle of one, until now.
fn spans(steps: impl Iterator<Item = (SessionStatus, DateTime<Utc>)>, now: DateTime<Utc>) -> Vec<Span> {
    let steps: Vec<(SessionStatus, DateTime<Utc>)> = steps.collect();
    let ends = steps.iter().skip(1).map(|(_, at)| *at).chain([now]);
    let mut spans: Vec<Span> = Vec::new();
    for ((status, from), to) in steps.iter().zip(ends) {
        let Some(phase) = Phase::from_status(*status) else { continue };
        match spans.last_mut() {
            Some(last) if last.phase == phase && last.to == *from => last.to = to.max(last.to),
            _ => spans.push(Span { phase, from: *from, to: to.max(*from) }),
        }
    }
    spans
}

/// How wide each is drawn, and whether that is less than its share. Waits are cut to what they are worth, the others share
/// what is left.
fn widths(spans: &[Span]) -> Option<Vec<(f64, bool)>> {
    let busy: TimeDelta = spans.iter().filter(|span| span.phase != Phase::Waiting).map(Span::length).sum();
    let all: TimeDelta = spans.iter().map(Span::length).sum();
    if all <= TimeDelta::zero() {
        return None;
    }
    let is_cut = |span: &Span| span.phase == Phase::Waiting && busy > TimeDelta::zero() && span.length() > busy / 8;
    let cut = spans.iter().filter(|span| is_cut(span)).count();
    let drawn: TimeDelta = spans.iter().filter(|span| !is_cut(span)).map(Span::length).sum();
    #[expect(clippy::cast_precision_loss, reason = "a life has a handful of steps")]
    let left = WIDTH - WAIT * cut as f64;
    let width = |span: &Span| {
        if is_cut(span) { (WAIT, true) } else { ((left * share(span.length(), drawn)).max(NARROWEST), false) }
    };
    let widths: Vec<(f64, bool)> = spans.iter().map(width).collect();
    // What was widened so that it is seen is taken from all.
    let total: f64 = widths.iter().map(|(width, _)| width).sum();
    Some(widths.into_iter().map(|(width, cut)| (width * WIDTH / total, cut)).collect())
}

fn share(part: TimeDelta, of: TimeDelta) -> f64 {
    let seconds = |time: TimeDelta| time.as_seconds_f64();
    if of <= TimeDelta::zero() { 0.0 } else { (seconds(part) / seconds(of)).clamp(0.0, 1.0) }
}

/// E.g. `1 h 5 min`.
fn lasting(time: TimeDelta) -> String {
    let seconds = time.num_seconds();
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3_600 if seconds % 60 == 0 || seconds >= 600 => format!("{} min", seconds / 60),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
    }

    fn life(steps: &[(SessionStatus, i64)], now: i64) -> Vec<(&'static str, String)> {
        let spans = spans(steps.iter().map(|(status, minute)| (*status, at(*minute))), at(now));
        spans.iter().map(|span| (span.phase.words(), lasting(span.length()))).collect()
    }

    #[test]
    fn states_of_one_phase_are_one_bar_and_the_last_one_goes_on() {
        use SessionStatus::{Instantiating, Pending, Ready, Running, Scheduled};
        let told = life(&[(Pending, 0), (Scheduled, 100), (Instantiating, 110), (Ready, 112), (Running, 115)], 130);
        let expected = [("waiting", "1 h 50 min"), ("booting", "5 min"), ("running", "15 min")];
        assert_eq!(told, expected.map(|(phase, length)| (phase, length.to_owned())));
    }

    #[test]
    fn what_is_over_goes_on_no_more() {
        use SessionStatus::{Archived, Running, Stopped, Stopping};
        let told = life(&[(Running, 0), (Stopping, 60), (Stopped, 61), (Archived, 90)], 900);
        assert_eq!(told.len(), 3);
        assert_eq!(told[2], ("waiting", "29 min".to_owned()));
    }

    #[test]
    fn a_long_wait_is_cut_and_the_bars_fill_the_drawing() {
        use SessionStatus::{Instantiating, Pending, Running, Stopping};
        let steps = [(Pending, 0), (Instantiating, 3_000), (Running, 3_005), (Stopping, 3_065)];
        let spans = spans(steps.into_iter().map(|(status, minute)| (status, at(minute))), at(3_066));
        let widths = widths(&spans).unwrap();
        assert!(widths[0].1 && widths[0].0 < WAIT + 1.0);
        assert!(!widths[2].1 && widths[2].0 > 700.0, "{widths:?}");
        assert!((widths.iter().map(|(width, _)| width).sum::<f64>() - WIDTH).abs() < 1e-6);
        assert!(widths.iter().all(|(width, _)| *width > 2.0));
        assert_eq!(super::widths(&[]), None);
    }
}
