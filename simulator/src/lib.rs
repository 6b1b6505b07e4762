//! A Cisco Modeling Labs controller in miniature, which speaks the real protocol.
//!
//! It loads topologies, imports more, starts and stops labs whose nodes queue, start and boot over simulated time, and
//! reports a usage that plausible devices would have. It shares no types with any client, so that a misunderstanding on
//! one side cannot hide on the other. Same seed, same requests, same time: same answers.
//!
//! Beside the API under `/api/v0` and the socket `/ws/ui` there is a control path, `/simulator`, which needs no sign-in:
//! faults, time, tokens, tags, restarts, runaways, what was used, pressure, request counts. See [`Simulator`] for the same
//! as methods.

mod api;
mod clock;
mod connection;
mod defects;
mod definition;
mod dice;
mod export;
mod faults;
mod lab;
mod life;
mod node;
mod patty;
mod pressure;
mod requests;
mod simulator;
mod tls;
mod topology;
mod usage;
mod workload;
mod world;

pub use clock::SimulatedTime;
pub use defects::StatisticsDefect;
pub use faults::{Fault, FaultError, FaultKind};
pub use patty::PortRange;
pub use pressure::WorkerPressure;
pub use requests::Requests;
pub use simulator::{RunawayOrder, Simulator, SimulatorError, SimulatorOptions};
pub use tls::TlsError;
pub use topology::{TopologyError, UnreadableTopology};
pub use usage::record::{NodeUsageRecord, PhaseUsage, RecordError, Spread, UsageByPhase, UsageRecord};
pub use world::{ApiVersion, SocketOptions};
