//! Browsers that are signed in, and how admins end their sessions.

pub(crate) mod end;
pub(crate) mod list;
pub(crate) mod session_id;
