//! What a definition states of a resource, what its nodes are given, what its sessions used and what is recommended, as bars
//! on one scale.

use advice::recommendation::ResourceRecommendation;
use askama::Template;
use askama::filters::HtmlSafe;
use domain::resource::Resource;

use super::amounts::{self, amount};
use crate::pages::charts::{round_top, short};
use crate::pages::parts;

/// The drawing's own measures.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 132.0;
const LEFT: f64 = 88.0;
const RIGHT: f64 = 362.0;
const BAR: f64 = 16.0;
const ROWS: [f64; 4] = [8.0, 34.0, 60.0, 86.0];
const BASE: f64 = 108.0;

/// The four sizes of one resource.
#[derive(Debug, Clone, Template)]
#[template(path = "advice/size_bars.html")]
pub(crate) struct SizeBars {
    id: String,
    title: String,
    description: String,
    greatest: String,
    rows: Vec<SizeBar>,
}

impl HtmlSafe for SizeBars {}

#[derive(Debug, Clone)]
struct SizeBar {
    name: &'static str,
    class: &'static str,
    y: f64,
    /// Where it ends; `None`: unknown.
    end: Option<String>,
    words: String,
    /// Where the median is, of what was used.
    median: Option<String>,
}

impl SizeBars {
    /// Of a recommendation. `id` is unique in the page.
    pub(crate) fn new(id: &str, resource: Resource, found: &ResourceRecommendation) -> Self {
        let recommended = found.requirement.map(|units| f64::from(units) * resource.unit());
        let sizes = [
            ("configured", "given", found.configured),
            ("nominal", "nominal", found.nominal),
            ("used", "used", found.demand.max),
            ("recommended", "advised", recommended),
        ];
        let shown = |amount: f64| amount / resource.unit();
        let greatest = round_top(sizes.iter().filter_map(|(.., size)| *size).map(shown).fold(0.0, f64::max));
        let x = |amount: f64| short(LEFT + (RIGHT - LEFT) * (shown(amount) / greatest).clamp(0.0, 1.0));
        let told: Vec<String> =
            sizes.iter().map(|(name, _, size)| format!("{name} {}", amount(resource, *size))).collect();
        let bar = |((name, class, size), y): ((&'static str, &'static str, Option<f64>), f64)| SizeBar {
            name,
            class,
            y,
            end: size.map(x),
            words: amount(resource, size),
            median: found.demand.median.filter(|_| name == "used").map(x),
        };
        Self {
            id: id.to_owned(),
            title: format!("{}: configured, nominal, used and recommended", amounts::name(resource)),
            description: format!("{}; median used {}.", told.join(", "), amount(resource, found.demand.median)),
            greatest: parts::number(&greatest),
            rows: sizes.into_iter().zip(ROWS).map(bar).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::advice::tests::recommendation;

    #[test]
    fn all_sizes_stand_on_one_scale_and_what_is_unknown_is_an_outline() {
        let mut found = recommendation();
        (found.configured, found.nominal) = (Some(8192.0), None);
        (found.demand.max, found.demand.median, found.requirement) = (Some(4096.0), Some(2048.0), Some(6));
        let bars = SizeBars::new("b", Resource::MemoryMb, &found);
        assert_eq!(
            bars.description,
            "configured 8 GB, nominal unknown, used 4 GB, recommended 6 GB; median used 2 GB."
        );
        let html = bars.render().unwrap();
        assert!(html.contains("H362") && html.contains("H225"), "the whole and the half: {html}");
        assert_eq!(html.matches("class=\"unknown\"").count(), 1, "{html}");
    }
}
