//! Allocations that cannot be right, told to whoever makes them: a port that another session holds at the same time, a
//! port that the worker does not honour.

use std::time::Duration;

use app::commands::AllocationAdvisor;
use app::log::Position;
use app::warning::{Warning, WarningCode};
use domain::lablet_session::PresentSession;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use metrics::{Unit, counter, describe_counter};

use crate::read_models::sessions::port_map::HoldSource;
use crate::read_models::sessions::{Allocation, HeldPort, PortHolder, WorkerPorts};
use crate::{Projections, ReadError, ReadModel};

/// How long it waits for the read models to show what was allocated before. What they show then is compared with.
const SHOWN_WITHIN: Duration = Duration::from_millis(500);
/// Most warnings about one allocation.
const MOST_WARNINGS: usize = 20;
/// Most sessions that a warning names.
const MOST_NAMED: usize = 5;

/// Says what the metric of warnings means.
pub(crate) fn describe_metrics() {
    describe_counter!(
        "lablet_allocation_warnings_total",
        Unit::Count,
        "Allocations that cannot be right, by what is wrong"
    );
}

impl AllocationAdvisor for Projections {
    fn advise<'a>(&'a self, session: &'a PresentSession, position: Position) -> BoxFuture<'a, Vec<Warning>> {
        async move {
            match self.allocation_warnings(session, position).await {
                Ok(warnings) => warnings,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "allocation cannot be checked");
                    Vec::new()
                }
            }
        }
        .boxed()
    }
}

impl Projections {
    async fn allocation_warnings(
        &self,
        session: &PresentSession,
        position: Position,
    ) -> Result<Vec<Warning>, ReadError> {
        let Some(ports) = session.allocated_ports.as_ref().filter(|ports| !ports.is_empty()) else {
            return Ok(Vec::new());
        };
        let Some(worker) = session.assignment.worker() else { return Ok(Vec::new()) };
        // What others allocated just before is shown by then. Of two at the same moment at least the later one hears.
        if let Err(behind) = self.wait_for(&[ReadModel::Workers, ReadModel::Sessions], position, SHOWN_WITHIN).await {
            tracing::debug!(error = &behind as &dyn std::error::Error, "allocation is checked against older rows");
        }
        let allocation = Allocation {
            session_id: &session.ids.session_id,
            definition_id: &session.ids.definition_id,
            status: session.status,
            timeslot: session.timeslot,
            ports,
        };
        let held = self.port_map_with(worker, allocation).await?;
        let warnings = warnings(&held, session);
        for warning in &warnings {
            counter!("lablet_allocation_warnings_total", "code" => code(warning.code)).increment(1);
        }
        Ok(warnings)
    }
}

fn code(code: WarningCode) -> &'static str {
    match code {
        WarningCode::PortConflict => "port_conflict",
        WarningCode::PortOutOfRange => "port_out_of_range",
        WarningCode::UnknownMember => "unknown_member",
    }
}

fn warnings(held: &WorkerPorts, session: &PresentSession) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for port in &held.ports {
        let ours =
            |holder: &&PortHolder| holder.session_id == session.ids.session_id && holder.source != HoldSource::Observed;
        let Some(own) = port.holders.iter().find(ours) else { continue };
        let about = |code, message| Warning::new(code, message).about(format!("allocated_ports.{}", own.name));
        if let Some(message) = conflict(held, port, session) {
            warnings.push(about(WarningCode::PortConflict, message));
        }
        if let Some(range) = held.port_range.filter(|_| port.in_range == Some(false)) {
            let (first, last) = (range.first(), range.last());
            let message =
                format!("port {} is outside the range {first} to {last} of worker {}", port.outside, held.worker_id);
            warnings.push(about(WarningCode::PortOutOfRange, message));
        }
    }
    warnings.truncate(MOST_WARNINGS);
    warnings
}

fn conflict(held: &WorkerPorts, port: &HeldPort, session: &PresentSession) -> Option<String> {
    let mut others: Vec<String> = port
        .holders
        .iter()
        .filter(|holder| port.clash && holder.session_id != session.ids.session_id)
        .map(|holder| format!("{} ({}, as {})", holder.session_id, holder.status, holder.name))
        .collect();
    if others.is_empty() {
        return None;
    }
    let more = others.len().saturating_sub(MOST_NAMED);
    others.truncate(MOST_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!(
        "port {} ({:?}) of worker {} is held at the same time by session {}{more}",
        port.outside,
        port.l4_protocol,
        held.worker_id,
        others.join(", ")
    ))
}
