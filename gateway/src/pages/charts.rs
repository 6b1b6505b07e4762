//! Charts, drawn here as SVG: what was observed one after the other, against what was configured then.
//!
//! A chart shows nothing that a table beside it does not say too. What is unknown is a gap with an outline, so that
//! nobody takes it for zero, and a known zero is a line at the bottom.

use askama::Template;
use askama::filters::HtmlSafe;

use super::parts;

/// The drawing's own measures. It is as wide as its column, which is about this wide.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 140.0;
const LEFT: f64 = 38.0;
const RIGHT: f64 = 416.0;
const TOP: f64 = 14.0;
const BASE: f64 = 120.0;

/// Most points that each have a text under the pointer. Of more, only unknown ones have it, which keeps pages small.
const MOST_TOLD: usize = 50;

/// Widest bar, in the drawing's measures.
const WIDEST: f64 = 26.0;

/// What was observed once.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Point {
    /// Of what, e.g. a session by its start.
    pub(crate) name: String,
    /// When, in words.
    pub(crate) when: String,
    /// The page about it; `None`: there is none.
    pub(crate) link: Option<String>,
    /// What was configured then; `None` is unknown.
    pub(crate) configured: Option<f64>,
    /// How much; `None` is unknown.
    pub(crate) value: Option<f64>,
    /// How much of that was in use; `None` is unknown.
    pub(crate) used: Option<InUse>,
}

/// An amount that was in use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct InUse {
    pub(crate) amount: f64,
    pub(crate) measured: Measured,
}

impl Point {
    /// Whether it is more than was configured.
    fn is_above(&self) -> bool {
        self.value.zip(self.configured).is_some_and(|(value, configured)| value > configured)
    }
}

/// How an amount in use was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measured {
    /// At the instant of the observation.
    Then,
    /// The peak of the samples.
    Sampled,
    /// The greatest of several instants; the peak may have been between them.
    BySnapshots,
    /// What at least 95 % of several sessions did not exceed; the bar around it is the greatest of them.
    OfMost,
}

impl Measured {
    fn class(self) -> &'static str {
        match self {
            Self::Then | Self::Sampled => "used",
            Self::BySnapshots => "used by-snapshots",
            Self::OfMost => "to-p95",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Then => "in use",
            Self::Sampled => "in use at its peak",
            Self::BySnapshots => "in use at most, by snapshots",
            Self::OfMost => "held 95 % of them",
        }
    }
}

/// Bars from the oldest to the newest, with a dashed line at what was configured, a step where that changed.
#[derive(Debug, Clone, Template)]
#[template(path = "chart.html")]
pub(crate) struct Chart {
    id: String,
    title: String,
    description: String,
    greatest: f64,
    from: String,
    until: String,
    shapes: Vec<Shape>,
    /// Whether bars lead somewhere: then what is in the drawing is more than a picture.
    has_links: bool,
    line: Option<Line>,
}

impl HtmlSafe for Chart {}

#[derive(Debug, Clone, PartialEq)]
struct Shape {
    class: &'static str,
    path: String,
    title: Option<String>,
    link: Option<String>,
    /// What the link leads to.
    name: String,
}

#[derive(Debug, Clone, PartialEq)]
struct Line {
    path: String,
    /// Where it ends, with what is configured there.
    y: f64,
    value: String,
    /// The end of the axis is too near for both to be read.
    covers_top: bool,
}

impl Chart {
    /// A chart of `points` in the order of their time, each an amount of `unit`. `id` is unique in the page.
    pub(crate) fn bars(id: &str, title: &str, unit: &str, points: &[Point]) -> Self {
        let known = points.iter().flat_map(|point| [point.value, point.used.map(|used| used.amount), point.configured]);
        let greatest = round_top(known.flatten().fold(0.0, f64::max));
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            description: described(unit, points),
            greatest,
            from: points.first().map(|point| point.when.clone()).unwrap_or_default(),
            until: points.last().filter(|_| points.len() > 1).map(|point| point.when.clone()).unwrap_or_default(),
            shapes: shapes(unit, points, greatest),
            has_links: points.len() <= MOST_TOLD && points.iter().any(|point| point.link.is_some()),
            line: line(points, greatest),
        }
    }

    /// What the axis ends at, unless the line has its value there.
    fn top(&self) -> Option<String> {
        let is_covered = self.line.as_ref().is_some_and(|line| line.covers_top);
        (!is_covered).then(|| parts::number(&self.greatest))
    }
}

/// The line of what was configured, from the first point of which it is known to the last.
fn line(points: &[Point], greatest: f64) -> Option<Line> {
    let newest = points.iter().rev().find_map(|point| point.configured)?;
    let slot = (RIGHT - LEFT) / float(points.len().max(1));
    let (mut path, mut before) = (String::new(), None);
    for (index, point) in points.iter().enumerate() {
        let (from, until) = (short(LEFT + slot * float(index)), short(LEFT + slot * float(index + 1)));
        match (before, point.configured) {
            (_, None) => {}
            (Some(before), Some(now)) if before == now => path.push_str(&format!("H{until}")),
            (Some(_), Some(now)) => path.push_str(&format!("V{}H{until}", short(height(now, greatest)))),
            (None, Some(now)) => path.push_str(&format!("M{from} {}H{until}", short(height(now, greatest)))),
        }
        before = point.configured;
    }
    let y = height(newest, greatest);
    Some(Line { path, y: (y * 10.0).round() / 10.0, value: parts::number(&newest), covers_top: y < TOP + 12.0 })
}

#[expect(clippy::cast_precision_loss, reason = "a chart has at most some thousand points")]
fn float(count: usize) -> f64 {
    count as f64
}

/// The chart in a sentence, for whoever does not see it.
fn described(unit: &str, points: &[Point]) -> String {
    let known: Vec<f64> = points.iter().filter_map(|point| point.value).collect();
    let unknown = points.len() - known.len();
    let mut text = "From the oldest to the newest. ".to_owned();
    match (known.iter().copied().reduce(f64::min), known.iter().copied().reduce(f64::max)) {
        (Some(least), Some(most)) => {
            let range = format!("{} to {} {unit}", parts::number(&least), parts::number(&most));
            text.push_str(&if least < most { range } else { format!("{} {unit} each time", parts::number(&most)) });
        }
        _ => text.push_str("Nothing is known"),
    }
    let mut lines: Vec<f64> = points.iter().filter_map(|point| point.configured).collect();
    lines.dedup();
    if !lines.is_empty() && !known.is_empty() {
        let above = points.iter().filter(|point| point.is_above()).count();
        let lines: Vec<String> = lines.iter().map(parts::number).collect();
        text.push_str(&format!("; {above} of {} above the {} configured", known.len(), lines.join(", then ")));
    }
    if unknown > 0 {
        text.push_str(&format!("; {unknown} unknown"));
    }
    text.push('.');
    if let Some(used) = spread(unit, points.iter().map(|point| point.used)) {
        text.push_str(&format!(" In use: {used}."));
    }
    text
}

/// How amounts in use are spread, e.g. `0.5 to 3 cores, mean 1.2, of 4; 1 by snapshots; 1 unknown`; `None`: none is known.
pub(super) fn spread(unit: &str, values: impl Iterator<Item = Option<InUse>>) -> Option<String> {
    let values: Vec<Option<InUse>> = values.collect();
    let known: Vec<f64> = values.iter().flatten().map(|used| used.amount).collect();
    let (least, most) = (known.iter().copied().reduce(f64::min)?, known.iter().copied().reduce(f64::max)?);
    let mean = known.iter().sum::<f64>() / float(known.len());
    let [least, most, mean] = [least, most, mean].map(|value| parts::number(&value));
    let mut text = if least == most {
        format!("{most} {unit}, of {}", known.len())
    } else {
        format!("{least} to {most} {unit}, mean {mean}, of {}", known.len())
    };
    let by_snapshots = values.iter().flatten().filter(|used| used.measured == Measured::BySnapshots).count();
    if by_snapshots > 0 {
        text.push_str(&format!("; {by_snapshots} by snapshots"));
    }
    if known.len() < values.len() {
        text.push_str(&format!("; {} unknown", values.len() - known.len()));
    }
    Some(text)
}

fn shapes(unit: &str, points: &[Point], greatest: f64) -> Vec<Shape> {
    let slot = (RIGHT - LEFT) / float(points.len().max(1));
    let wide = (slot * 0.72).min(WIDEST);
    let bar = |index: usize, value: f64| {
        let x = LEFT + slot * float(index) + (slot - wide) / 2.0;
        // A known zero is there, if only just.
        let y = height(value, greatest).min(BASE - 1.5);
        format!("M{} {}h{}V{BASE}h-{}z", short(x), short(y), short(wide), short(wide))
    };
    let class = |point: &Point| match point.used.map(|used| used.measured) {
        Some(Measured::OfMost) => "to-peak",
        _ if point.is_above() => "bar above",
        _ => "bar",
    };
    let mut shapes = Vec::new();
    let known = points.iter().enumerate().filter_map(|(index, point)| Some((index, point, point.value?)));
    if points.len() <= MOST_TOLD {
        shapes.extend(known.map(|(index, point, value)| Shape {
            class: class(point),
            path: bar(index, value),
            title: Some(told(unit, point, value)),
            link: point.link.clone(),
            name: point.name.clone(),
        }));
    } else {
        for wanted in ["bar", "bar above", "to-peak"] {
            let of_class = known.clone().filter(|(_, point, _)| class(point) == wanted);
            let path: String = of_class.map(|(index, _, value)| bar(index, value)).collect();
            if !path.is_empty() {
                shapes.push(Shape { class: wanted, path, title: None, link: None, name: String::new() });
            }
        }
    }
    for wanted in [Measured::Sampled, Measured::BySnapshots, Measured::Then, Measured::OfMost] {
        let of_kind = points.iter().enumerate().filter_map(|(index, point)| {
            let used = point.used.filter(|used| used.measured == wanted)?;
            let (x, across) = (LEFT + slot * float(index) + (slot - wide * 0.5) / 2.0, short(wide * 0.5));
            let y = height(used.amount, greatest).min(BASE - 1.5);
            Some(format!("M{} {}h{across}V{BASE}h-{across}z", short(x), short(y)))
        });
        let path: String = of_kind.collect();
        if !path.is_empty() {
            shapes.push(Shape { class: wanted.class(), path, title: None, link: None, name: String::new() });
        }
    }
    let mut index = 0;
    while index < points.len() {
        let run = points[index..].iter().take_while(|point| point.value.is_none()).count();
        if run > 0 {
            let x = LEFT + slot * float(index) + (slot - wide) / 2.0;
            let across = slot * float(run - 1) + wide;
            let mut title = format!("unknown: {}", points[index].name);
            if run > 1 {
                title.push_str(&format!(" to {}, {run} of them", points[index + run - 1].name));
            }
            let path = format!("M{} {TOP}h{}V{BASE}h-{}z", short(x), short(across), short(across));
            shapes.push(Shape { class: "unknown", path, title: Some(title), link: None, name: String::new() });
        }
        index += run.max(1);
    }
    shapes
}

fn told(unit: &str, point: &Point, value: f64) -> String {
    let mut text = format!("{}, {}: {} {unit}", point.name, point.when, parts::number(&value));
    if let Some(used) = point.used {
        text.push_str(&format!(", {} {}", parts::number(&used.amount), used.measured.words()));
    }
    text
}

/// Where a value is, from the top of the drawing.
fn height(value: f64, greatest: f64) -> f64 {
    BASE - (BASE - TOP) * (value / greatest).clamp(0.0, 1.0)
}

/// The next number at or above `value` that reads well at the end of an axis.
pub(super) fn round_top(value: f64) -> f64 {
    if !(value > 0.0 && value.is_finite()) {
        return 1.0;
    }
    let scale = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0];
    steps.into_iter().map(|step| step * scale).find(|top| *top >= value).unwrap_or(10.0 * scale)
}

/// A measure of the drawing, to a tenth.
pub(super) fn short(value: f64) -> String {
    ((value * 10.0).round() / 10.0).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: &[Option<f64>]) -> Vec<Point> {
        let point = |(index, value): (i64, &Option<f64>)| Point {
            name: format!("s{index}"),
            when: format!("2026-03-01 {}:00", 10 + index),
            value: *value,
            ..Point::default()
        };
        (0..).zip(values).map(point).collect()
    }

    /// The same, where so much was configured each time.
    fn against(configured: f64, values: &[Option<f64>]) -> Vec<Point> {
        points(values).into_iter().map(|point| Point { configured: Some(configured), ..point }).collect()
    }

    fn classes(chart: &Chart) -> Vec<&str> {
        chart.shapes.iter().map(|shape| shape.class).collect()
    }

    #[test]
    fn what_is_unknown_is_a_gap_with_an_outline_and_a_known_zero_is_none() {
        let chart = Chart::bars("c", "CPU", "cores", &against(4.0, &[Some(4.0), None, None, Some(0.0), Some(6.0)]));
        assert_eq!(classes(&chart), ["bar", "bar", "bar above", "unknown"]);
        assert_eq!(chart.shapes[3].title.as_deref(), Some("unknown: s1 to s2, 2 of them"));
        assert_eq!(
            chart.description,
            "From the oldest to the newest. 0 to 6 cores; 1 of 3 above the 4 configured; 2 unknown."
        );
        let nothing = Chart::bars("c", "CPU", "cores", &points(&[None]));
        assert_eq!(classes(&nothing), ["unknown"]);
        assert_eq!(nothing.description, "From the oldest to the newest. Nothing is known; 1 unknown.");
    }

    #[test]
    fn what_was_in_use_stands_within_what_was_given_and_its_spread_is_told() {
        let mut both = against(8.0, &[Some(4.0), Some(4.0), None]);
        let used = |amount, measured| Some(InUse { amount, measured });
        (both[0].used, both[1].used) = (used(1.0, Measured::Sampled), used(3.0, Measured::BySnapshots));
        let chart = Chart::bars("c", "CPU", "cores", &both);
        assert_eq!(classes(&chart), ["bar", "bar", "used", "used by-snapshots", "unknown"]);
        let spread_of_all = "In use: 1 to 3 cores, mean 2, of 2; 1 by snapshots; 1 unknown.";
        assert!(chart.description.ends_with(spread_of_all), "{}", chart.description);
        assert!(chart.shapes[0].title.as_deref().unwrap().ends_with("4 cores, 1 in use at its peak"));
        assert!(chart.shapes[1].title.as_deref().unwrap().ends_with("4 cores, 3 in use at most, by snapshots"));
        assert_eq!(spread("cores", [None].into_iter()), None);
    }

    #[test]
    fn bars_stand_from_the_oldest_to_the_newest_and_reach_their_value() {
        let chart = Chart::bars("c", "CPU", "cores", &against(10.0, &[Some(5.0), Some(10.0)]));
        let middle = (BASE + TOP) / 2.0;
        assert!(chart.shapes[0].path.contains(&format!(" {middle}h")), "{}", chart.shapes[0].path);
        assert!(chart.shapes[1].path.contains(&format!(" {TOP}h")), "{}", chart.shapes[1].path);
        assert_eq!((chart.from.as_str(), chart.until.as_str()), ("2026-03-01 10:00", "2026-03-01 11:00"));
        assert_eq!(chart.line.unwrap().y, TOP);
    }

    #[test]
    fn what_was_configured_is_a_step_where_a_revision_changed_it_and_bars_lead_to_their_sessions() {
        let mut all = against(4.0, &[Some(5.0), Some(5.0), Some(5.0)]);
        all[2].configured = Some(6.0);
        all[0].link = Some("/sessions/s0".to_owned());
        let chart = Chart::bars("c", "CPU", "cores", &all);
        assert_eq!(classes(&chart), ["bar above", "bar above", "bar"], "above what was configured then");
        let line = chart.line.as_ref().unwrap();
        assert_eq!(line.path.matches(['V', 'M']).count(), 2, "{}", line.path);
        assert_eq!(line.value, "6", "what is configured now");
        assert!(chart.description.contains("2 of 3 above the 4, then 6 configured"), "{}", chart.description);
        let html = chart.render().unwrap();
        assert!(html.contains("<a href=\"/sessions/s0\" tabindex=\"-1\"") && html.contains("role=\"group\""), "{html}");
        all[0].configured = None;
        all[1].configured = None;
        let chart = Chart::bars("c", "CPU", "cores", &all);
        assert!(chart.line.unwrap().path.starts_with("M290"), "it begins where it is known");
    }

    #[test]
    fn many_points_stay_light() {
        let many: Vec<Option<f64>> = (0..200).map(|index| (index % 3 > 0).then_some(f64::from(index))).collect();
        let html = Chart::bars("c", "CPU", "cores", &against(100.0, &many)).render().unwrap();
        assert!(html.len() < 16_000, "{}", html.len());
    }

    #[test]
    fn what_others_wrote_is_text() {
        let mut hostile = points(&[Some(1.0)]);
        hostile[0].name = "<script>".to_owned();
        let html = Chart::bars("c", "CPU", "cores", &hostile).render().unwrap();
        assert!(!html.contains("<script>"), "{html}");
    }

    #[test]
    fn an_axis_ends_at_a_number_that_reads_well() {
        assert_eq!([0.0, 0.7, 4.0, 8.25, 11.0, 97.0].map(round_top), [1.0, 0.8, 4.0, 10.0, 12.0, 100.0]);
    }
}
