//! Workers.

pub(crate) mod change;
pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod port_map;
pub(crate) mod pressure;
pub(crate) mod record_pressure;
pub(crate) mod register;
pub(crate) mod shape;
pub(crate) mod shortage;
pub(crate) mod show;
