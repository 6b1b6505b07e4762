//! What was promised and what was achieved, month by month.

use advice::advice_score::AdviceScore;
use askama::Template;
use askama::filters::HtmlSafe;

use super::amounts::percent;
use crate::pages::charts::short;
use crate::pages::parts;

/// The drawing's own measures.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 412.0;
const TOP: f64 = 10.0;
const BASE: f64 = 128.0;
/// Widest bar, in the drawing's measures.
const WIDEST: f64 = 34.0;

/// Promised beside achieved over time.
#[derive(Debug, Clone, Template)]
#[template(path = "advice/score_chart.html")]
pub(crate) struct ScoreChart {
    id: String,
    title: String,
    description: String,
    /// The share at the bottom of the drawing.
    least: String,
    from: String,
    until: String,
    bars: Vec<ScoreBar>,
}

impl HtmlSafe for ScoreChart {}

#[derive(Debug, Clone)]
struct ScoreBar {
    class: &'static str,
    path: String,
    promised: String,
    title: String,
}

impl ScoreChart {
    /// What it shows.
    pub(crate) fn title(&self) -> &str {
        &self.title
    }

    /// Of months, the oldest first. `None`: nothing was scored. `id` is unique in the page.
    pub(crate) fn new(id: &str, title: &str, months: &[(String, AdviceScore)]) -> Option<Self> {
        let known: Vec<(&str, f64, f64, u64)> = months
            .iter()
            .filter_map(|(month, score)| Some((month.as_str(), score.promised?, score.achieved?, score.count)))
            .collect();
        let (first, last) = (known.first()?, known.last()?);
        let lowest = known.iter().map(|(_, promised, achieved, _)| promised.min(*achieved)).fold(1.0, f64::min);
        // As much of the scale as the values need, in steps of a tenth.
        let least = (((lowest - 0.02) * 10.0).floor() / 10.0).clamp(0.0, 0.9);
        let y = |share: f64| short(BASE - (BASE - TOP) * ((share - least) / (1.0 - least)).clamp(0.0, 1.0));
        #[expect(clippy::cast_precision_loss, reason = "a chart has at most some hundred months")]
        let float = |count: usize| count as f64;
        let slot = (RIGHT - LEFT) / float(known.len());
        let wide = (slot * 0.7).min(WIDEST);
        let bar = |(index, (month, promised, achieved, count)): (usize, &(&str, f64, f64, u64))| {
            let x = LEFT + slot * float(index) + (slot - wide) / 2.0;
            let across = short(wide);
            ScoreBar {
                class: if achieved < promised { "bar above" } else { "bar" },
                path: format!("M{} {}h{across}V{BASE}h-{across}z", short(x), y(*achieved)),
                promised: format!("M{} {}h{across}", short(x), y(*promised)),
                title: format!(
                    "{month}: promised {}, achieved {} over {}",
                    percent(Some(*promised)),
                    percent(Some(*achieved)),
                    parts::counted(count, "session")
                ),
            }
        };
        let bars: Vec<ScoreBar> = known.iter().enumerate().map(bar).collect();
        let below = known.iter().filter(|(_, promised, achieved, _)| achieved < promised).count();
        Some(Self {
            id: id.to_owned(),
            title: title.to_owned(),
            description: format!(
                "Newest: promised {}, achieved {}. Below the promise in {below} of {}.",
                percent(Some(last.1)),
                percent(Some(last.2)),
                parts::counted(&(known.len() as u64), "month")
            ),
            least: percent(Some(least)),
            from: first.0.to_owned(),
            until: if known.len() > 1 { last.0.to_owned() } else { String::new() },
            bars,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_month_stands_beside_its_promise_and_a_month_without_advice_is_left_out() {
        let score = |promised, achieved| AdviceScore {
            count: 20,
            silent: 0,
            promised,
            achieved,
            waste: None,
            configured_waste: None,
            nominal_waste: None,
        };
        let months = [
            ("2026-01".to_owned(), score(Some(0.95), Some(0.9))),
            ("2026-02".to_owned(), score(None, None)),
            ("2026-03".to_owned(), score(Some(0.95), Some(1.0))),
        ];
        let chart = ScoreChart::new("c", "Memory", &months).unwrap();
        assert_eq!(chart.description, "Newest: promised 95 %, achieved 100 %. Below the promise in 1 of 2 months.");
        assert_eq!((chart.least.as_str(), chart.bars.len(), chart.bars[0].class), ("80 %", 2, "bar above"));
        assert!(chart.bars[1].path.contains(" 10h"), "the whole is at the top: {}", chart.bars[1].path);
        assert!(ScoreChart::new("c", "Memory", &months[1..2]).is_none());
    }
}
