//! One table for all rows: what was measured, what it is compared with, and whether the target was reached.

use std::io::Write as _;

/// What a figure counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    PerSecond,
    Milliseconds,
    Megabytes,
    /// Share of one core.
    PercentOfACore,
    /// CPU time of the process for one request.
    Microseconds,
    /// Of a thousand requests.
    PerThousand,
}

impl Unit {
    fn write(self, figure: f64) -> String {
        match self {
            Self::PerSecond => format!("{figure:.0}/s"),
            Self::Milliseconds => format!("{figure:.1} ms"),
            Self::Megabytes => format!("{figure:.0} MB"),
            Self::PercentOfACore => format!("{figure:.1} %"),
            Self::Microseconds => format!("{figure:.0} µs"),
            Self::PerThousand => format!("{figure:.1} ‰"),
        }
    }
}

/// What is wanted. `Ratio…` is about the figure divided by its yardstick, `Figure…` about the figure itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    RatioAtLeast(f64),
    RatioAtMost(f64),
    FigureAtLeast(f64),
    FigureAtMost(f64),
    None,
}

/// One line of the table: a figure a round, and that of its yardstick in the same round.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) figures: Vec<f64>,
    /// Empty: there is none.
    pub(crate) yardsticks: Vec<f64>,
    pub(crate) target: Target,
}

impl Comparison {
    /// A line without rounds yet.
    pub(crate) fn new(what: impl Into<String>, unit: Unit, target: Target) -> Self {
        Self { what: what.into(), unit, figures: Vec::new(), yardsticks: Vec::new(), target }
    }

    /// Adds a round.
    pub(crate) fn add(&mut self, figure: f64, yardstick: f64) {
        self.figures.push(figure);
        self.yardsticks.push(yardstick);
    }

    /// The ratio of each round.
    fn ratios(&self) -> Vec<f64> {
        self.figures.iter().zip(&self.yardsticks).map(|(figure, yardstick)| figure / yardstick).collect()
    }

    /// Whether the median reaches the target; `None` where there is no target.
    fn reached(&self) -> Option<bool> {
        let (ratio, figure) = (median(&self.ratios()), median(&self.figures));
        match self.target {
            Target::RatioAtLeast(least) => Some(ratio >= least),
            Target::RatioAtMost(most) => Some(ratio <= most),
            Target::FigureAtLeast(least) => Some(figure >= least),
            Target::FigureAtMost(most) => Some(figure <= most),
            Target::None => None,
        }
    }

    fn line(&self) -> String {
        let yardstick = match self.yardsticks.as_slice() {
            [] => "-".to_owned(),
            figures => self.unit.write(median(figures)),
        };
        let (ratio, spread) = if self.yardsticks.is_empty() {
            let [least, most] = ends(&self.figures).map(|figure| self.unit.write(figure));
            ("-".to_owned(), format!("{least} to {most}"))
        } else {
            let ratios = self.ratios();
            let [least, most] = ends(&ratios);
            (format!("{:.2}", median(&ratios)), format!("{least:.2} to {most:.2}"))
        };
        let target = match self.target {
            Target::RatioAtLeast(least) => format!("at least {least}"),
            Target::RatioAtMost(most) => format!("at most {most}"),
            Target::FigureAtLeast(least) => format!("at least {}", self.unit.write(least)),
            Target::FigureAtMost(most) => format!("at most {}", self.unit.write(most)),
            Target::None => "-".to_owned(),
        };
        let reached = match self.reached() {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        columns(&self.what, &self.unit.write(median(&self.figures)), &yardstick, &ratio, &spread, &target, reached)
    }
}

fn columns(
    what: &str,
    figure: &str,
    yardstick: &str,
    ratio: &str,
    spread: &str,
    target: &str,
    reached: &str,
) -> String {
    format!("{what:62} {figure:>10} {yardstick:>10} {ratio:>6}  {spread:20} {target:17} {reached}")
}

/// Prints the head of the table.
pub(crate) fn head() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let head = columns("", "Lablet", "yardstick", "ratio", "spread", "target", "reached");
    Ok(writeln!(out, "{head}")?)
}

/// Prints what a group of lines is compared with.
pub(crate) fn group(name: &str, yardstick: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    Ok(writeln!(out, "\n{name}; yardstick: {yardstick}")?)
}

/// Prints a line.
pub(crate) fn print(comparison: &Comparison) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    Ok(writeln!(out, "{}", comparison.line().trim_end())?)
}

/// The middle of these figures; not a number where there is none.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn ends(figures: &[f64]) -> [f64; 2] {
    [figures.iter().copied().fold(f64::NAN, f64::min), figures.iter().copied().fold(f64::NAN, f64::max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_the_median_ratio_of_the_rounds_with_its_spread() {
        let mut comparison = Comparison::new("commands", Unit::PerSecond, Target::RatioAtLeast(0.5));
        for (figure, yardstick) in [(10.0, 100.0), (60.0, 100.0), (90.0, 100.0)] {
            comparison.add(figure, yardstick);
        }
        let words = comparison.line().split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        assert_eq!(words, "commands 60/s 100/s 0.60 0.10 to 0.90 at least 0.5 yes");
    }

    #[test]
    fn a_figure_without_yardstick_is_judged_by_itself() {
        let mut comparison = Comparison::new("idle", Unit::PercentOfACore, Target::FigureAtMost(1.0));
        comparison.figures = vec![0.5, 3.0, 2.0];
        let words = comparison.line().split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        assert_eq!(words, "idle 2.0 % - - 0.5 % to 3.0 % at most 1.0 % no");
    }
}
