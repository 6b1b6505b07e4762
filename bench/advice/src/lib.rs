//! Fleets of simulated labs, walked through session by session: what is advised before each, and whether it held.

pub mod comparison;
pub mod cost;
pub mod families;
pub mod random;
pub mod simulated_fleet;
pub mod targets;
pub mod walk;
