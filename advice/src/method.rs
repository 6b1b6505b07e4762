//! The steps of the estimate that can be left out, in order to see what each is worth.

/// Which steps are taken beside base, shrinkage and calibration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// Sessions that lie far off count as ones at a bounded distance, as far as location and scale are learnt.
    pub bounds_learning: bool,
    /// The location follows the last sessions.
    pub follows_recent: bool,
    /// The level is corrected by the definition's own past.
    pub corrects_level: bool,
}

impl Method {
    /// Base, shrinkage and calibration alone.
    pub const PLAIN: Self = Self { bounds_learning: false, follows_recent: false, corrects_level: false };
}

impl Default for Method {
    fn default() -> Self {
        Self { bounds_learning: true, follows_recent: true, corrects_level: true }
    }
}
