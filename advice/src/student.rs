//! Student's distribution: how far a value may lie from a mean whose variance is known from few values.

use special::Beta as _;

/// Student's distribution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Student {
    half_degrees: f64,
    ln_beta: f64,
}

impl Student {
    /// That of so many degrees of freedom; of fewer than a half counts as a half.
    pub(crate) fn new(degrees: f64) -> Self {
        let half_degrees = degrees.clamp(0.5, 1e6) / 2.0;
        Self { half_degrees, ln_beta: half_degrees.ln_beta(0.5) }
    }

    /// The share of values below this one.
    pub(crate) fn share_below(&self, value: f64) -> f64 {
        let degrees = 2.0 * self.half_degrees;
        let beyond = (degrees / (degrees + value * value)).inc_beta(self.half_degrees, 0.5, self.ln_beta) / 2.0;
        if value > 0.0 { 1.0 - beyond } else { beyond }
    }

    /// The value below which this share lies, above 0 and below 1.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let beyond = 2.0 * share.min(1.0 - share);
        let at = beyond.inv_inc_beta(self.half_degrees, 0.5, self.ln_beta).max(f64::MIN_POSITIVE);
        let value = (2.0 * self.half_degrees * (1.0 - at).max(0.0) / at).sqrt();
        if share < 0.5 { -value } else { value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (degrees, share, value) in
            [(1.0, 0.95, 6.314), (3.0, 0.9, 1.638), (6.0, 0.95, 1.943), (6.0, 0.05, -1.943), (30.0, 0.999, 3.385)]
        {
            let student = Student::new(degrees);
            assert!((student.quantile(share) - value).abs() < 1e-3, "{degrees} {share}: {}", student.quantile(share));
            assert!((student.share_below(value) - share).abs() < 1e-4, "{degrees} {value}");
        }
        assert!((Student::new(1e9).quantile(0.975) - 1.96).abs() < 1e-3);
        assert!((Student::new(5.0).share_below(0.0) - 0.5).abs() < 1e-9);
    }
}
