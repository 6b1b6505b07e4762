//! Proposals of other sizes.

pub(crate) mod apply;
pub(crate) mod claim;
pub(crate) mod dismiss;
pub(crate) mod export;
pub(crate) mod fail;
pub(crate) mod list;
pub(crate) mod show;
pub(crate) mod step;
