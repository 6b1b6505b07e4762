//! Policies of advice.

pub(crate) mod of_all;
pub(crate) mod of_definition;
