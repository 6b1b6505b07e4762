//! What a promise costs: the size that keeps it, promise by promise, as a curve.

use askama::Template;
use askama::filters::HtmlSafe;
use domain::advice_policy::Promise;
use domain::resource::Resource;

use super::amounts::{self, amount, percent};
use crate::pages::charts::{round_top, short};
use crate::pages::parts;

/// The drawing's own measures.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 158.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 408.0;
const TOP: f64 = 10.0;
const BASE: f64 = 136.0;
/// The share at the bottom of the drawing.
const LEAST: f64 = 0.5;

/// The promises whose sizes are drawn.
pub(crate) const DRAWN: [f64; 8] = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99];

/// A promise and the size that keeps it: cores or MB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PromisedSize {
    pub(crate) promise: Promise,
    pub(crate) size: f64,
}

/// Size against coverage.
#[derive(Debug, Clone, Template)]
#[template(path = "advice/promise_curve.html")]
pub(crate) struct PromiseCurve {
    id: String,
    title: String,
    description: String,
    greatest: String,
    line: String,
    /// The promise that is asked for.
    asked: Option<(String, String)>,
    /// Where what is configured is.
    configured: Option<String>,
}

impl HtmlSafe for PromiseCurve {}

impl PromiseCurve {
    /// Of sizes in the order of their promises. `None`: none is known. `id` is unique in the page.
    pub(crate) fn new(
        id: &str,
        resource: Resource,
        sizes: &[PromisedSize],
        asked: Option<PromisedSize>,
        configured: Option<f64>,
    ) -> Option<Self> {
        let (first, last) = (sizes.first()?, sizes.last()?);
        let shown = |size: f64| size / resource.unit();
        let all = sizes.iter().chain(&asked).map(|point| point.size).chain(configured);
        let greatest = round_top(all.map(shown).fold(0.0, f64::max));
        let x = |size: f64| short(LEFT + (RIGHT - LEFT) * (shown(size) / greatest).clamp(0.0, 1.0));
        let y =
            |promise: Promise| short(BASE - (BASE - TOP) * ((promise.share() - LEAST) / (1.0 - LEAST)).clamp(0.0, 1.0));
        let points: Vec<String> = sizes.iter().map(|point| format!("{} {}", x(point.size), y(point.promise))).collect();
        let told = |point: &PromisedSize| {
            format!("{} for {}", amount(resource, Some(point.size)), percent(Some(point.promise.share())))
        };
        let mut description = format!("From {} to {}", told(first), told(last));
        if let Some(asked) = &asked {
            description.push_str(&format!("; here {}", told(asked)));
        }
        if let Some(configured) = configured {
            description.push_str(&format!("; configured {}", amount(resource, Some(configured))));
        }
        description.push('.');
        Some(Self {
            id: id.to_owned(),
            title: format!("{}: size against promise", amounts::name(resource)),
            description,
            greatest: parts::number(&greatest),
            line: format!("M{}", points.join("L")),
            asked: asked.map(|point| (x(point.size), y(point.promise))),
            configured: configured.map(x),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(promise: f64, size: f64) -> PromisedSize {
        PromisedSize { promise: Promise::new(promise).unwrap(), size }
    }

    #[test]
    fn a_curve_rises_with_the_promise_and_is_told_in_a_sentence() {
        let sizes = [point(0.5, 2048.0), point(0.9, 3072.0), point(0.99, 4096.0)];
        let curve = PromiseCurve::new("c", Resource::MemoryMb, &sizes, Some(point(0.9, 3072.0)), Some(8192.0)).unwrap();
        assert_eq!(curve.description, "From 2 GB for 50 % to 4 GB for 99 %; here 3 GB for 90 %; configured 8 GB.");
        let html = curve.render().unwrap();
        assert!(html.contains("M135 136L"), "a quarter of the way, at the bottom: {html}");
        assert!(PromiseCurve::new("c", Resource::MemoryMb, &[], None, Some(1.0)).is_none());
    }
}
