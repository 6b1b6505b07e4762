//! The controller: observes labs on CML workers, when their timeslot ends and when somebody asks for it.

pub mod cml;
pub mod credentials;
pub mod observation;
pub mod observer;
