//! How large definitions must be: recommendations, what they rest on, and whether they held.

pub(crate) mod as_of;
pub(crate) mod back_test;
pub(crate) mod evidence;
pub(crate) mod explanation;
pub(crate) mod recommendation;
pub(crate) mod score;
pub(crate) mod topology;
pub(crate) mod topology_recommendation;
