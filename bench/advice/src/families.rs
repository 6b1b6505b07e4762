//! Kinds of fleets: what they have in common with real ones, one difficulty at a time and all at once.

/// How sessions differ from their definition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tail {
    /// By a normal distribution, of logarithms.
    Normal,
    /// By Student's with so many degrees of freedom.
    Heavy(u32),
    /// Some sessions do next to nothing, the others everything: this share of them.
    TwoHumps(f64),
    /// By a distribution that falls off to the upper side as an exponential one does.
    Skewed,
}

/// A kind of fleet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Family {
    /// What it is called.
    pub name: &'static str,
    /// Standard deviation, in logarithms, by which definitions differ from what their nodes say.
    pub definitions: f64,
    /// Of what sessions of one cohort have in common.
    pub cohorts: f64,
    /// Of what all sessions of a day have in common.
    pub days: f64,
    /// Of a session's memory within its cohort; CPU varies by two and a half times that, storage by a third.
    pub sessions: f64,
    /// How sessions differ.
    pub tail: Tail,
    /// Share of sessions that need one and a half to four times as much.
    pub outliers: f64,
    /// Share of definitions whose topology grows in the middle.
    pub growing: f64,
    /// Share of sessions of which the memory is unknown.
    pub missing_memory: f64,
    /// By how much the demand of a definition rises over its life, in logarithms.
    pub trend: f64,
    /// How much definitions differ in how much their sessions vary, in logarithms.
    pub uneven: f64,
}

const CALM: Family = Family {
    name: "calm",
    definitions: 0.12,
    cohorts: 0.03,
    days: 0.01,
    sessions: 0.06,
    tail: Tail::Normal,
    outliers: 0.0,
    growing: 0.0,
    missing_memory: 0.0,
    trend: 0.0,
    uneven: 0.2,
};

/// Those that the method was made with.
pub const FAMILIES: [Family; 6] = [
    CALM,
    Family { name: "cohorts", cohorts: 0.1, days: 0.03, ..CALM },
    Family { name: "heavy tails", tail: Tail::Heavy(3), outliers: 0.015, sessions: 0.08, ..CALM },
    Family { name: "growing", growing: 0.6, ..CALM },
    Family { name: "missing", missing_memory: 0.35, uneven: 0.5, ..CALM },
    Family {
        name: "everything",
        definitions: 0.2,
        cohorts: 0.06,
        days: 0.02,
        sessions: 0.08,
        tail: Tail::Heavy(5),
        outliers: 0.01,
        growing: 0.3,
        missing_memory: 0.15,
        uneven: 0.4,
        ..CALM
    },
];

/// Those that were held out: no constant of the method was chosen by them.
pub const HELD_OUT: [Family; 4] = [
    Family { name: "two humps", tail: Tail::TwoHumps(0.5), definitions: 0.15, ..CALM },
    Family { name: "skewed", tail: Tail::Skewed, definitions: 0.25, cohorts: 0.05, growing: 0.2, ..CALM },
    Family { name: "trend", trend: 0.25, cohorts: 0.04, ..CALM },
    Family {
        name: "wild",
        definitions: 0.4,
        cohorts: 0.12,
        sessions: 0.15,
        tail: Tail::Heavy(4),
        uneven: 0.6,
        outliers: 0.02,
        growing: 0.3,
        missing_memory: 0.2,
        ..CALM
    },
];
