//! Sessions on one worker over time, as far as they overlap, and how much of its memory their labs had by it.

use askama::Template;
use askama::filters::HtmlSafe;
use chrono::{DateTime, TimeDelta, Utc};
use domain::lablet_session::SessionStatus;
use projections::read_models::sessions::SessionRow;
use serde::{Deserialize, Serialize};

use crate::pages::parts;

/// The newest sessions of the worker that are looked at.
pub(super) const LOOKED_AT: u32 = 500;
/// Sessions side by side that are drawn; more are counted.
const MOST_TRACKS: usize = 24;
/// The drawing's own width, and the height of a track and of the chart of memory.
const WIDTH: f64 = 1000.0;
const TRACK: f64 = 16.0;
const CHART: f64 = 70.0;
/// Narrower is not seen.
const NARROWEST: f64 = 2.0;

/// How much time is looked at; a quarter of it is to come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Span {
    /// An hour.
    Hour,
    /// A day.
    #[default]
    Day,
    /// A week.
    Week,
}

impl Span {
    /// With what they are called.
    pub(super) const ALL: [(Self, &'static str); 3] =
        [(Self::Hour, "1 h"), (Self::Day, "24 h"), (Self::Week, "7 days")];

    fn length(self) -> TimeDelta {
        match self {
            Self::Hour => TimeDelta::hours(1),
            Self::Day => TimeDelta::days(1),
            Self::Week => TimeDelta::weeks(1),
        }
    }
}

/// When a session occupies its worker, and with how much memory.
#[derive(Debug, Clone, PartialEq)]
struct Stay {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    /// Nominal MB; `None`: unknown.
    memory_mb: Option<f64>,
    class: &'static str,
    words: String,
}

impl Stay {
    /// `None`: it never came so far as to occupy a worker, or nobody knows until when it will.
    fn from_session(session: &SessionRow, now: DateTime<Utc>) -> Option<Self> {
        let from = session.starts_at();
        let booked = session.timeslot.as_ref().map(|timeslot| timeslot.end());
        let (to, class) = match session.status {
            SessionStatus::Pending => return None,
            SessionStatus::Scheduled => (booked?, "scheduled"),
            SessionStatus::Instantiating
            | SessionStatus::Ready
            | SessionStatus::Running
            | SessionStatus::Collecting
            | SessionStatus::Grading
            | SessionStatus::Stopping => (booked.unwrap_or(now).max(now), "up"),
            SessionStatus::Stopped | SessionStatus::Archived | SessionStatus::Terminated | SessionStatus::Expired => {
                (booked.map_or(session.status_since, |end| end.min(session.status_since)), "over")
            }
        };
        let memory = parts::known_gb(&session.nominal_memory_mb);
        let words = format!("{}, {}, nominal memory {memory}", parts::session_name(session), session.status);
        (to > from).then_some(Self { from, to, memory_mb: session.nominal_memory_mb, class, words })
    }
}

/// A session as it is drawn.
#[derive(Debug, Clone, PartialEq)]
struct Bar {
    x: f64,
    y: f64,
    width: f64,
    class: &'static str,
    words: String,
}

/// The drawing.
#[derive(Debug, Clone, Template)]
#[template(path = "worker/timeline.html")]
pub(super) struct Timeline {
    bars: Vec<Bar>,
    /// Sessions for which there was no track.
    more: usize,
    height: f64,
    now_x: f64,
    /// Lines at whole hours or days, with their names.
    ticks: Vec<(f64, String)>,
    /// Nominal memory over time, as the path of an area.
    memory: String,
    /// Where the chart's line of capacity is.
    capacity_y: f64,
    capacity_gb: u32,
    most_gb: f64,
    /// At some time there was a session whose memory is unknown: there was more than is drawn.
    some_unknown: bool,
    sessions: usize,
    description: String,
}

impl HtmlSafe for Timeline {}

impl Timeline {
    /// Of the sessions of a worker with so much memory.
    pub(super) fn new(sessions: &[SessionRow], capacity_gb: u32, span: Span, now: DateTime<Utc>) -> Self {
        let from = now - span.length() * 3 / 4;
        let to = now + span.length() / 4;
        let mut stays: Vec<Stay> = sessions.iter().filter_map(|session| Stay::from_session(session, now)).collect();
        stays.retain(|stay| stay.to > from && stay.from < to);
        stays.sort_by_key(|stay| stay.from);
        let x = |at: DateTime<Utc>| {
            let share = (at - from).as_seconds_f64() / (to - from).as_seconds_f64();
            share.clamp(0.0, 1.0) * WIDTH
        };
        let tracks = tracks(&stays);
        #[expect(clippy::cast_precision_loss, reason = "there are some tracks")]
        let bar = |(stay, track): (&Stay, &usize)| Bar {
            x: x(stay.from),
            y: *track as f64 * TRACK,
            width: (x(stay.to) - x(stay.from)).max(NARROWEST),
            class: stay.class,
            words: stay.words.clone(),
        };
        let drawn = stays.iter().zip(&tracks).filter(|(_, track)| **track < MOST_TRACKS);
        let bars: Vec<Bar> = drawn.map(bar).collect();
        let steps = steps(&stays, from, to);
        let most_gb = parts::gigabytes(steps.iter().map(|step| step.1).fold(0.0, f64::max));
        let top = most_gb.max(f64::from(capacity_gb)).max(1.0);
        let y = |gb: f64| CHART - CHART * 0.92 * gb / top;
        #[expect(clippy::cast_precision_loss, reason = "there are some tracks")]
        let height =
            (tracks.iter().filter(|track| **track < MOST_TRACKS).max().map_or(0, |track| track + 1)) as f64 * TRACK;
        let description = format!(
            "{} from {} to {}; nominal memory at most {} GB of {capacity_gb} GB",
            parts::counted(&(stays.len() as u64), "session"),
            parts::to_minute(from),
            parts::to_minute(to),
            parts::number(&most_gb)
        );
        Self {
            more: stays.len() - bars.len(),
            bars,
            height,
            now_x: x(now),
            ticks: ticks(span, from, to).into_iter().map(|(at, words)| (x(at), words)).collect(),
            memory: area(&steps, x, |mb| y(parts::gigabytes(mb))),
            capacity_y: y(f64::from(capacity_gb)),
            capacity_gb,
            most_gb,
            some_unknown: stays.iter().any(|stay| stay.memory_mb.is_none()),
            sessions: stays.len(),
            description,
        }
    }
}

/// The first track that is free for each, in the order of their beginning.
fn tracks(stays: &[Stay]) -> Vec<usize> {
    let mut free_from: Vec<DateTime<Utc>> = Vec::new();
    let mut track_of = |stay: &Stay| {
        let free = free_from.iter().position(|free| *free <= stay.from).unwrap_or_else(|| {
            free_from.push(stay.from);
            free_from.len() - 1
        });
        free_from[free] = stay.to;
        free
    };
    stays.iter().map(&mut track_of).collect()
}

/// The sum of the memory that is known, from each time on.
fn steps(stays: &[Stay], from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<(DateTime<Utc>, f64)> {
    let mut changes: Vec<(DateTime<Utc>, f64)> = stays
        .iter()
        .filter_map(|stay| Some((stay, stay.memory_mb?)))
        .flat_map(|(stay, memory)| [(stay.from.max(from), memory), (stay.to.min(to), -memory)])
        .collect();
    changes.sort_by_key(|(at, _)| *at);
    let mut sum = 0.0;
    let mut steps: Vec<(DateTime<Utc>, f64)> = vec![(from, 0.0)];
    for (at, change) in changes {
        sum += change;
        match steps.last_mut() {
            Some(last) if last.0 == at => last.1 = sum,
            _ => steps.push((at, sum)),
        }
    }
    steps.push((to, 0.0));
    steps
}

fn area(steps: &[(DateTime<Utc>, f64)], x: impl Fn(DateTime<Utc>) -> f64, y: impl Fn(f64) -> f64) -> String {
    let mut path = format!("M0 {CHART}");
    for (at, memory) in steps {
        path.push_str(&format!("H{:.1}V{:.1}", x(*at), y(*memory)));
    }
    path.push_str(&format!("H{WIDTH}V{CHART}Z"));
    path
}

/// Whole hours or days between, about eight of them.
fn ticks(span: Span, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<(DateTime<Utc>, String)> {
    let (step, pattern) = match span {
        Span::Hour => (TimeDelta::minutes(10), "%H:%M"),
        Span::Day => (TimeDelta::hours(3), "%H:%M"),
        Span::Week => (TimeDelta::days(1), "%a %d"),
    };
    let first = from.timestamp().div_euclid(step.num_seconds()) + 1;
    let at = |number: i64| DateTime::from_timestamp(number * step.num_seconds(), 0);
    (first..first + 20).map_while(at).take_while(|at| *at < to).map(|at| (at, at.format(pattern).to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stay(from: i64, to: i64, memory_mb: Option<f64>) -> Stay {
        let at = |hour| DateTime::UNIX_EPOCH + TimeDelta::hours(hour);
        Stay { from: at(from), to: at(to), memory_mb, class: "over", words: String::new() }
    }

    #[test]
    fn those_that_overlap_are_in_tracks_of_their_own_and_a_track_is_used_again() {
        let stays = [stay(0, 4, None), stay(1, 2, None), stay(2, 5, None), stay(4, 6, None)];
        assert_eq!(tracks(&stays), [0, 1, 1, 0]);
    }

    #[test]
    fn memory_adds_up_over_those_that_are_there_and_know_it() {
        let stays = [stay(0, 4, Some(1024.0)), stay(1, 2, Some(2048.0)), stay(2, 5, None)];
        let at = |hour| DateTime::UNIX_EPOCH + TimeDelta::hours(hour);
        let told = steps(&stays, at(0), at(6));
        let hours: Vec<(i64, f64)> = told.iter().map(|(time, memory)| ((*time - at(0)).num_hours(), *memory)).collect();
        assert_eq!(hours, [(0, 1024.0), (1, 3072.0), (2, 1024.0), (4, 0.0), (6, 0.0)]);
    }

    #[test]
    fn a_day_has_a_line_every_three_hours() {
        let from = DateTime::UNIX_EPOCH + TimeDelta::minutes(30);
        let told: Vec<String> =
            ticks(Span::Day, from, from + TimeDelta::days(1)).into_iter().map(|(_, words)| words).collect();
        assert_eq!(told, ["03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00", "00:00"]);
    }
}
