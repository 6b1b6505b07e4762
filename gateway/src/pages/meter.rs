//! How much of something is taken: a bar, and the same in words.
//!
//! What a session takes is unknown until it was observed. The bar shows what is known, which is the least that is taken,
//! and the words say so. Where nothing is known there is no bar.

use askama::Template;
use askama::filters::HtmlSafe;
use projections::read_models::sessions::Load;

use super::parts::{counted, gigabytes, grouped, number};

/// A bar with its words.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "meter.html")]
pub(crate) struct Meter {
    known: Option<f64>,
    unknown_sessions: u64,
    whole: f64,
    unit: &'static str,
    /// What is in use of it, in words; `None`: it is not told apart.
    used: Option<String>,
}

impl HtmlSafe for Meter {}

impl Meter {
    /// Of a load on so much of this unit, e.g. `cores`.
    pub(crate) fn new(load: &Load, whole: u32, unit: &'static str) -> Self {
        Self { known: load.known, unknown_sessions: load.unknown_sessions, whole: f64::from(whole), unit, used: None }
    }

    /// Of a load in MB on so many GB.
    pub(crate) fn in_gb(load: &Load, whole: u32) -> Self {
        Self { known: load.known.map(gigabytes), ..Self::new(load, whole, "GB") }
    }

    /// The same, beside what is in use now: what is allocated is not what is used.
    #[must_use]
    pub(crate) fn beside_use(self, now: &Load) -> Self {
        let in_unit = |amount: f64| if self.unit == "GB" { gigabytes(amount) } else { amount };
        let told = |load: &Load| match load.known {
            None => "unknown".to_owned(),
            Some(known) if load.unknown_sessions > 0 => format!("at least {}", number(&in_unit(known))),
            Some(known) => number(&in_unit(known)),
        };
        Self { used: Some(format!("used now: {}", told(now))), ..self }
    }

    /// Width of the bar, of 100.
    fn width(&self) -> String {
        let share = self.known.unwrap_or_default() / self.whole.max(f64::MIN_POSITIVE) * 100.0;
        number(&share.clamp(0.0, 100.0))
    }

    fn is_over(&self) -> bool {
        self.known.is_some_and(|known| known > self.whole)
    }

    fn words(&self) -> String {
        let whole = grouped(&self.whole);
        let kind = if self.used.is_some() { " allocated" } else { "" };
        match self.known {
            None => format!("unknown of {whole} {}{kind}", self.unit),
            Some(known) if self.unknown_sessions > 0 => {
                format!("at least {} of {whole} {}{kind}", grouped(&known), self.unit)
            }
            Some(known) => format!("{} of {whole} {}{kind}", grouped(&known), self.unit),
        }
    }

    /// What there is to say besides.
    fn remark(&self) -> Option<String> {
        let unknown =
            (self.unknown_sessions > 0).then(|| format!("{} unknown", counted(&self.unknown_sessions, "session")));
        let over = self.is_over().then(|| "more than there is".to_owned());
        match (over, unknown) {
            (Some(over), Some(unknown)) => Some(format!("{over}, {unknown}")),
            (over, unknown) => over.or(unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(known: Option<f64>, unknown_sessions: u64) -> Meter {
        Meter::new(&Load { known, unknown_sessions }, 64, "cores")
    }

    #[test]
    fn what_is_unknown_is_counted_and_no_zero() {
        let told = |meter: Meter| (meter.words(), meter.remark());
        assert_eq!(told(meter(Some(16.0), 0)), ("16 of 64 cores".to_owned(), None));
        assert_eq!(
            told(meter(Some(16.0), 2)),
            ("at least 16 of 64 cores".to_owned(), Some("2 sessions unknown".to_owned()))
        );
        assert_eq!(told(meter(None, 1)), ("unknown of 64 cores".to_owned(), Some("1 session unknown".to_owned())));
        assert_eq!(told(meter(Some(0.0), 0)).0, "0 of 64 cores");
        assert!(!meter(None, 1).render().unwrap().contains("<rect class=\"fill\""));
    }

    #[test]
    fn what_is_used_stands_beside_what_is_allocated() {
        let load = |known, unknown_sessions| Load { known, unknown_sessions };
        let both = Meter::in_gb(&load(Some(8192.0), 0), 256).beside_use(&load(Some(1024.0), 2));
        assert_eq!(both.words(), "8 of 256 GB allocated");
        assert_eq!(both.used.as_deref(), Some("used now: at least 1"));
    }

    #[test]
    fn more_than_there_is_fills_the_bar_and_is_said() {
        let over = meter(Some(80.0), 0);
        assert_eq!((over.width().as_str(), over.remark().as_deref()), ("100", Some("more than there is")));
        let gb = Meter::in_gb(&Load { known: Some(8448.0), unknown_sessions: 0 }, 256);
        assert_eq!(gb.words(), "8.25 of 256 GB");
    }
}
