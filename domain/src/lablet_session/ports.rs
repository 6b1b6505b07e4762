//! What is decided about a session's ports: that a drift is known and may stay or no longer may, and that the allocation
//! was wrong.

use chrono::{DateTime, TimeDelta, Utc};

use super::event::{LabletSessionEvent, SessionIds};
use super::status::{self, SessionStatus};
use super::wire::{AcknowledgementWithdrawal, AllocationCorrection, DriftAcknowledgement};
use crate::decision::Decision;
use crate::ids::WorkerId;
use crate::invalid::Invalid;
use crate::observation_summary::LatestDrift;
use crate::port_drift::DriftVerdict;
use crate::ports::PortMap;

/// For how long a drift may be acknowledged: whoever knows of it looks again some day.
pub const LONGEST_ACKNOWLEDGEMENT: TimeDelta = TimeDelta::days(90);

/// Why a session refused a command about its ports.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PortsRefused {
    /// There is no drift that could be acknowledged.
    #[error("the session's ports have not drifted, so there is nothing to acknowledge")]
    NoDrift,
    /// Nobody knows whether there is one.
    #[error("whether the session's ports drifted is unknown, as no observation could read them yet")]
    DriftUnknown,
    /// There is nothing to which the allocation could be corrected.
    #[error("no ports of the session were observed yet; name those that are to be allocated")]
    NothingObserved,
    /// Its ports are nobody's any more, or nobody's yet.
    #[error("a session that is {status} holds no ports; it must be one of: {allowed}", allowed = status::list(&SessionStatus::HOLDING_PORTS))]
    HoldsNoPorts {
        /// Where the session is.
        status: SessionStatus,
    },
}

/// What a session knows of its ports.
pub(super) struct SessionPorts<'a> {
    pub(super) ids: &'a SessionIds,
    pub(super) status: SessionStatus,
    pub(super) worker_id: Option<&'a WorkerId>,
    pub(super) allocated: Option<&'a PortMap>,
    pub(super) drift: Option<&'a LatestDrift<()>>,
}

impl SessionPorts<'_> {
    /// Leaves the drift as it is for a while.
    ///
    /// # Errors
    /// [`Invalid`] about `until`. Inside: there is no drift.
    pub(super) fn acknowledge(
        &self,
        DriftAcknowledgement { reason, until }: DriftAcknowledgement,
        by: String,
        now: DateTime<Utc>,
    ) -> Result<Result<Decision<LabletSessionEvent>, PortsRefused>, Invalid> {
        let (until, latest) = (until.at(), now + LONGEST_ACKNOWLEDGEMENT);
        if until <= now || until > latest {
            let expected = format!("a time after {now:?} and until {latest:?}");
            return Err(Invalid::new("until", format!("is {until:?}"), expected));
        }
        let Some(drift) = self.drift else { return Ok(Err(PortsRefused::DriftUnknown)) };
        if !drift.detected {
            return Ok(Err(PortsRefused::NoDrift));
        }
        let said = drift.acknowledgement.as_ref();
        if said.is_some_and(|said| said.reason == reason.as_str() && said.until == until) {
            return Ok(Ok(Decision::AlreadyDone));
        }
        Ok(Ok(Decision::one(LabletSessionEvent::PortDriftAcknowledged {
            ids: self.ids.clone(),
            worker_id: self.worker_id.cloned(),
            drift_details: drift.details.clone(),
            reason: reason.into(),
            until,
            acknowledged_by: by,
            acknowledged_at: now,
        })))
    }

    /// Opens a drift again that was acknowledged. One that is open already, or none, is as it should be.
    pub(super) fn withdraw_acknowledgement(
        &self,
        AcknowledgementWithdrawal { reason }: AcknowledgementWithdrawal,
        by: String,
        now: DateTime<Utc>,
    ) -> Decision<LabletSessionEvent> {
        let is_known = |drift: &&LatestDrift<()>| drift.acknowledgement.as_ref().is_some_and(|said| now < said.until);
        let Some(drift) = self.drift.filter(is_known) else { return Decision::AlreadyDone };
        Decision::one(LabletSessionEvent::PortDriftAcknowledgementWithdrawn {
            ids: self.ids.clone(),
            worker_id: self.worker_id.cloned(),
            drift_details: drift.details.clone(),
            reason: reason.into(),
            withdrawn_by: by,
            withdrawn_at: now,
        })
    }

    /// Makes the allocation what was observed, or what is given, and decides again whether the ports drifted.
    pub(super) fn correct(
        &self,
        AllocationCorrection { allocated_ports, reason, evidence }: AllocationCorrection,
        by: String,
        now: DateTime<Utc>,
    ) -> Result<Decision<LabletSessionEvent>, PortsRefused> {
        if !SessionStatus::HOLDING_PORTS.contains(&self.status) {
            return Err(PortsRefused::HoldsNoPorts { status: self.status });
        }
        let observed = self.drift.and_then(|drift| drift.observed_ports.as_ref());
        let after = allocated_ports.as_ref().or(observed).ok_or(PortsRefused::NothingObserved)?;
        if self.allocated.is_some_and(|before| before == after) {
            return Ok(Decision::AlreadyDone);
        }
        // Which node a port leads to is not kept in the session: the names tell it.
        let verdict = DriftVerdict::between(Some(after), observed, &[]);
        Ok(Decision::one(LabletSessionEvent::AllocationCorrected {
            ids: self.ids.clone(),
            worker_id: self.worker_id.cloned(),
            before: self.allocated.cloned(),
            after: after.clone(),
            port_drift_detected: verdict.detected(),
            drift_details: verdict.into_drift(),
            reason: reason.into(),
            evidence,
            corrected_by: by,
            corrected_at: now,
        }))
    }
}
