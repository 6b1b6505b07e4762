//! Proposals of other sizes.

pub(crate) mod export;
pub(crate) mod list;
pub(crate) mod show;
pub(crate) mod steps;
