//! What each definition needs: evidence of its sessions, what is recommended by it, how advice did, and proposals.
//!
//! The rows are those from which the estimator of the crate `advice` answers: sums and counts that a session changes a few
//! of. What was advised at an earlier position is answered by the sessions that were known there, in the order of the log.
//!
//! A policy may include the boot. What the estimator rests on is kept twice: by what sessions needed over their steady phase,
//! and over their boot, too ([`Phases`]).

mod answer;
mod as_of;
pub mod back_test;
pub mod counts;
pub mod evidence;
mod fold;
pub mod learnt_topology;
pub mod proposals;
pub mod recommendation;
mod rows;
pub mod score;
mod session;
pub mod sizing_gaps;
pub mod sizing_ranking;
mod stored;

use advice::advice_score::ScoredAdvice;
use domain::phases::Phases;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::rows::Rows;
use crate::projector::{AggregateKind, Projector};

/// What was advised of a resource before a session, and whether it held.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionAdvice {
    /// Sessions of the definition that were known before it.
    pub sessions_before: u64,
    /// What was advised, and what it needed.
    #[serde(flatten)]
    pub scored: ScoredAdvice,
    /// Whether it held; null: nothing was advised.
    pub held: Option<bool>,
    /// Whether what it needed while booting counts, by the policy in force then.
    #[serde(default)]
    pub include_boot: bool,
}

impl SessionAdvice {
    fn new(scored: ScoredAdvice, sessions_before: u64, phases: Phases) -> Self {
        Self { sessions_before, held: scored.held(), scored, include_boot: phases.include_boot() }
    }

    /// The phases over which it is said what the session needed.
    fn phases(&self) -> Phases {
        Phases::including_boot(self.include_boot)
    }
}

/// Follows sessions, definitions and the default policy.
pub(crate) static PROJECTOR: Projector = Projector {
    name: "advice",
    schema: SCHEMA,
    revision: 4,
    follows: &[AggregateKind::Session, AggregateKind::Definition, AggregateKind::AdvicePolicy],
    keyed_by: None,
    weight: 30,
    rows: || Box::new(Rows::default()),
};

const SCHEMA: &str = "read_advice";
