//! What goes wrong with a simulator, and with what it is ordered to do.

use std::{io, net::SocketAddr, path::PathBuf};

use thiserror::Error;

use crate::{faults::FaultError, tls::TlsError, topology::TopologyError, usage::record::RecordError};

#[derive(Debug, Error)]
pub enum SimulatorError {
    #[error("the simulator cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("no certificate for the simulator")]
    Tls(#[source] TlsError),
    #[error("{path} cannot be read")]
    Folder { path: PathBuf, source: io::Error },
    #[error("{path} cannot be loaded: {reason}")]
    File { path: PathBuf, reason: TopologyError },
    #[error("none of the {count} topologies in {folder} can be loaded; {first}")]
    NoneLoaded { folder: PathBuf, count: usize, first: Box<Self> },
    #[error("the topology cannot be imported")]
    Import(#[source] TopologyError),
    #[error("there are too many labs already")]
    TooManyLabs,
    #[error("there is no lab {id}")]
    NoLab { id: String },
    #[error("lab {lab} has no node labelled {label:?}")]
    NoNode { lab: String, label: String },
    #[error("node {label:?} has no tag with the outside port {port}")]
    NoPort { label: String, port: u16 },
    #[error("lab {id} runs; stop and wipe it first")]
    Running { id: String },
    #[error("{0}")]
    Tags(String),
    #[error("{0}")]
    Options(String),
    #[error("{0}")]
    Time(String),
    #[error("the usage cannot be told")]
    Record(#[source] RecordError),
    #[error("a runaway of node {label:?} makes no sense: {reason}")]
    Runaway { label: String, reason: String },
    #[error("the fault makes no sense")]
    Fault(#[source] FaultError),
}
