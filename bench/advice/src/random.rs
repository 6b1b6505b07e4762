//! Random numbers by a seed.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// A source of random numbers: the same for the same seed.
#[derive(Debug)]
pub struct Random(SmallRng);

impl Random {
    /// The source of this seed.
    pub fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// Evenly from `low` to below `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.0.random::<f64>()
    }

    /// As many below twice a number as above half of it.
    pub fn log_between(&mut self, low: f64, high: f64) -> f64 {
        self.between(low.ln(), high.ln()).exp()
    }

    /// Whether something of this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.0.random::<f64>() < probability
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end.max(1))
    }

    /// Of the standard normal distribution.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.between(f64::MIN_POSITIVE, 1.0).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.0.random::<f64>()).cos()
    }

    /// Of Student's distribution with few degrees of freedom, scaled to a standard deviation of 1.
    pub fn heavy(&mut self, degrees: u32) -> f64 {
        let squares: f64 = (0..degrees).map(|_| self.normal().powi(2)).sum();
        let degrees = f64::from(degrees);
        self.normal() / (squares / degrees).sqrt() * ((degrees - 2.0) / degrees).sqrt()
    }
}
