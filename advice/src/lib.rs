//! How large a definition must be: from what sessions needed to a number that keeps a promise.
//!
//! Pure by construction, as the domain is. Every value is the same, to the bit, for the same sessions in the same order, which
//! is that of the log; what is kept are sums in whole parts and counts, which can be added to and taken from exactly.
//! docs/advice.md explains the method.
//!
//! One resource at a time: the [`base`] of a topology is what its nodes are taken to need; a definition's [`ratios`] say how
//! its sessions differ from that, its [`prediction`] shrinks them towards the [`fleet_moments`], its [`calibration`] says how
//! many spreads above the expected ratio the promise needs, by the [`scores`] of past advice and its [`own_past`]. An
//! [`estimate`] holds each of these steps. A [`fleet`] takes up one session after the other.
//!
//! A [`requirement`] is what a definition can state of it, within a [`Policy`](domain::advice_policy::Policy); a [`recommendation`] is the answer with its
//! reasons. A [`back_test`] tries a size on the past, an [`advice_score`] says whether advice held, a [`sizing`] whether a
//! size fits, a [`scope`] which sessions are looked at, and a [`mixture`] in what the evidence differs. The [`rules`] of other recommenders stand beside it.

pub mod advice_score;
pub mod back_test;
pub mod base;
pub mod calibration;
pub mod days;
pub mod estimate;
pub mod evidence;
pub mod fleet;
pub mod fleet_moments;
pub mod fleet_rows;
pub mod greatest;
pub mod largest;
pub mod left_out;
pub mod method;
pub mod mixture;
pub mod newest;
pub mod node_pools;
pub mod own_past;
pub mod persistence;
pub mod prediction;
pub mod proposer;
pub mod ratios;
pub mod recommendation;
pub mod requirement;
pub mod rules;
pub mod savings;
pub mod scope;
pub mod scores;
pub mod sizing;
mod student;
pub mod topology;
