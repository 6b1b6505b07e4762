//! Bars for one resource: boot above steady, from zero to the 95th percentile and on to the peak, with the mean.

use askama::Template;
use askama::filters::HtmlSafe;
use domain::observation::Spread;

use super::charts::{round_top, short};
use super::parts;

/// The drawing's own measures.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 78.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 372.0;
const BAR: f64 = 16.0;
const ROWS: [f64; 2] = [10.0, 38.0];
const BASE: f64 = 60.0;

/// What was used of one resource while nodes booted, and after that.
#[derive(Debug, Clone, Template)]
#[template(path = "usage_bars.html")]
pub(crate) struct UsageBars {
    id: String,
    title: String,
    description: String,
    greatest: String,
    rows: Vec<Row>,
}

impl HtmlSafe for UsageBars {}

#[derive(Debug, Clone)]
struct Row {
    phase: &'static str,
    y: f64,
    /// Where each ends, and what is written beside it; `None`: unknown.
    known: Option<Bar>,
}

#[derive(Debug, Clone)]
struct Bar {
    p95: Option<String>,
    peak: Option<String>,
    mean: Option<String>,
    words_at: String,
    words: String,
}

impl UsageBars {
    /// Of these amounts, which `shown` turns into `unit`. `scale`: where its axis ends at least, in the amounts' unit, so
    /// that several can be compared. `id` is unique in the page.
    pub(crate) fn new(
        id: &str,
        title: &str,
        unit: &str,
        [boot, steady]: [Option<Spread>; 2],
        shown: fn(f64) -> f64,
        scale: Option<f64>,
    ) -> Self {
        let figures = |spread: Option<Spread>| {
            let spread = spread.unwrap_or_default();
            [spread.peak(), spread.p95(), spread.mean()].map(|amount| amount.map(|amount| shown(amount.get())))
        };
        let (boot, steady) = (figures(boot), figures(steady));
        let known = boot.iter().chain(&steady).flatten().copied();
        let greatest = round_top(known.chain(scale.map(shown)).fold(0.0, f64::max));
        let x = |value: f64| short(LEFT + (RIGHT - LEFT) * (value / greatest).clamp(0.0, 1.0));
        let told = |value: Option<f64>| value.map_or_else(|| "unknown".to_owned(), |value| parts::number(&value));
        let row = |phase, y, [peak, p95, mean]: [Option<f64>; 3]| Row {
            phase,
            y,
            known: peak.or(p95).or(mean).map(|greatest_known| Bar {
                p95: p95.map(x),
                peak: peak.map(x),
                mean: mean.map(x),
                words_at: x(greatest_known),
                words: told(peak),
            }),
        };
        let described = |phase: &str, [peak, p95, mean]: [Option<f64>; 3]| {
            format!("{phase}: peak {}, 95th percentile {}, mean {} {unit}.", told(peak), told(p95), told(mean))
        };
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            description: format!("{} {}", described("Boot", boot), described("Steady", steady)),
            greatest: parts::number(&greatest),
            rows: vec![row("boot", ROWS[0], boot), row("steady", ROWS[1], steady)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(peak: Option<f64>, p95: Option<f64>, mean: Option<f64>) -> Option<Spread> {
        let amount = |value: Option<f64>| value.map(|value| domain::Amount::new(value).unwrap());
        Some(Spread::new(amount(peak), amount(p95), amount(mean)).unwrap())
    }

    #[test]
    fn boot_stands_above_steady_on_one_scale_and_what_is_unknown_is_an_outline() {
        let both = [spread(Some(8.0), Some(6.0), Some(4.0)), spread(Some(2.0), None, Some(1.0))];
        let bars = UsageBars::new("b", "CPU", "cores", both, |value| value, None);
        assert_eq!(
            bars.description,
            "Boot: peak 8, 95th percentile 6, mean 4 cores. Steady: peak 2, 95th percentile unknown, mean 1 cores."
        );
        let html = bars.render().unwrap();
        assert!(html.contains("H372") && html.contains("H132"), "{html}");
        let shared = [None, spread(Some(2.0), None, None)];
        let shared = UsageBars::new("b", "CPU", "cores", shared, |value| value, Some(8.0)).render().unwrap();
        assert!(shared.contains("H132") && shared.contains(">8</text>"), "it ends where the others' axes do: {shared}");
        let nothing = [None, spread(Some(0.0), None, None)];
        let half = UsageBars::new("b", "CPU", "cores", nothing, |value| value, None);
        let html = half.render().unwrap();
        assert_eq!(
            (html.matches("class=\"unknown\"").count(), html.matches("unknown</text>").count()),
            (1, 1),
            "{html}"
        );
    }
}
