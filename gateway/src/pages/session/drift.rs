//! The part of a session's page about ports that drifted: which, since when, where else, who holds the numbers now, and
//! what can be done. And `POST /sessions/{id}/port-drift`, which leaves the drift as it is for a while.

use std::collections::BTreeSet;

use app::commands::Commands;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use chrono::{DateTime, Days, NaiveTime, TimeDelta, Utc};
use domain::lablet_session::{DriftAcknowledgement, LONGEST_ACKNOWLEDGEMENT, SessionStatus};
use domain::port_drift::DriftState;
use domain::ports::{PortMap, PortName, PortNumber};
use domain::text::Prose;
use domain::time::BoundedTime;
use domain::{Invalid, SessionId, WorkerId};
use projections::ReadError;
use projections::port_drift::{DriftKind, DriftedPort, DriftedPortFilter};
use projections::read_models::sessions::{PortComparison, PortHolder, PortRow, SessionRow, SessionTitles, WorkerPorts};
use serde::{Deserialize, Serialize};

use crate::authentication::Role;
use crate::caller::{Asking, Caller};
use crate::pages::form::PageForm;
use crate::pages::parts::SessionLink;
use crate::pages::query::address;
use crate::pages::visit::{Permit, Visit};
use crate::path::Id;
use crate::port_drift::PortDriftQuery;
use crate::problem::Problem;
use crate::queries::Queries;

/// Others who hold a port that are named.
const MOST_NAMED: usize = 3;

/// What the page says of a drift.
pub(super) struct DriftPanel {
    pub(super) state: DriftState,
    pub(super) ports: Vec<DriftedHere>,
    pub(super) acknowledge: Permit,
    /// Withdrawing an acknowledgement; `None`: nothing is acknowledged now.
    pub(super) withdraw: Option<Permit>,
    pub(super) correct: Permit,
    pub(super) form: AcknowledgementForm,
    /// Everything of the definition that drifted.
    pub(super) of_definition: String,
    /// The last day until which it may be acknowledged.
    pub(super) last_day: String,
    pub(super) first_day: String,
}

/// A port that is not as allocated.
pub(super) struct DriftedHere {
    pub(super) name: PortName,
    pub(super) comparison: PortComparison,
    pub(super) allocated: Option<HeldNumber>,
    pub(super) observed: Option<HeldNumber>,
    /// In how many sessions of the definition it differs in the same way, this one included; `None`: unknown.
    pub(super) sessions: Option<u64>,
    /// Those sessions.
    pub(super) page: String,
}

/// An outside port, and who holds it on the worker now.
#[derive(Debug)]
pub(super) struct HeldNumber {
    pub(super) number: PortNumber,
    /// Its place in the worker's port map; `None`: there is no worker.
    pub(super) page: Option<String>,
    /// Other sessions that hold it; `None`: unknown.
    pub(super) others: Option<Vec<Other>>,
    /// How many more there are.
    pub(super) more: usize,
}

/// Another session that holds a number.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) session: SessionLink,
    /// Where it is in its life, and as which port it holds the number.
    pub(super) words: String,
}

/// The worker's port map, with the names of the sessions that hold what is asked for.
pub(super) struct HeldPorts {
    session: SessionId,
    worker: Option<WorkerId>,
    /// `None`: there is no worker.
    held: Option<WorkerPorts>,
    titles: SessionTitles,
}

/// For how long a drift is left as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Span {
    /// For 24 hours.
    Day,
    /// For 7 days.
    #[default]
    Week,
    /// For 30 days.
    Month,
}

/// What the form to acknowledge a drift is filled in with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct AcknowledgementForm {
    #[serde(default)]
    pub(crate) reason: String,
    /// Counts unless a date is given.
    #[serde(default)]
    pub(crate) span: Span,
    /// Until the end of this day, in UTC.
    #[serde(default)]
    pub(crate) date: String,
}

impl AcknowledgementForm {
    /// Whether this is the span that is chosen.
    pub(super) fn is(&self, span: &str) -> bool {
        span == match self.span {
            Span::Day => "day",
            Span::Week => "week",
            Span::Month => "month",
        }
    }

    /// Until when, from now on. The end of the last day that may be named is the last moment that may be.
    fn until(&self, now: DateTime<Utc>) -> Result<DateTime<Utc>, Invalid> {
        if self.date.is_empty() {
            let days = match self.span {
                Span::Day => 1,
                Span::Week => 7,
                Span::Month => 30,
            };
            return Ok(now + TimeDelta::days(days));
        }
        let day: chrono::NaiveDate = self.date.parse().map_err(|_| {
            let shown: String = self.date.chars().take(40).collect();
            Invalid::new("date", format!("is {shown:?}"), "a day such as 2026-03-31, or nothing")
        })?;
        let end = day.checked_add_days(Days::new(1)).unwrap_or(day).and_time(NaiveTime::MIN).and_utc();
        Ok(end.min((now + LONGEST_ACKNOWLEDGEMENT).max(end - TimeDelta::days(1))))
    }
}

impl DriftPanel {
    /// What is to be said; `None`: nothing is known to have drifted.
    pub(super) async fn read(
        queries: &Queries,
        visit: &Visit,
        session: &SessionRow,
        ports: &[PortRow],
        form: AcknowledgementForm,
    ) -> Result<Option<Self>, ReadError> {
        let state = session.drift_state(visit.now);
        if !matches!(state, DriftState::Open | DriftState::Acknowledged) {
            return Ok(None);
        }
        let filter =
            DriftedPortFilter { definition_id: Some(session.definition_id.clone()), ..DriftedPortFilter::default() };
        let elsewhere = queries.drifted_ports(&filter).await?.items;
        let held = HeldPorts::read(queries, session, None, ports).await?;
        let day = |at: DateTime<Utc>| at.format("%Y-%m-%d").to_string();
        let of_definition =
            PortDriftQuery { definition_id: Some(session.definition_id.clone()), ..PortDriftQuery::default() };
        Ok(Some(Self {
            state,
            ports: ports.iter().filter_map(|row| drifted_here(session, row, &elsewhere, &held)).collect(),
            acknowledge: visit.may(Role::Operator),
            withdraw: (state == DriftState::Acknowledged).then(|| visit.may(Role::Operator)),
            correct: visit.may(Role::Admin).and(correctable(session)),
            form,
            of_definition: address("/drift", &of_definition),
            first_day: day(visit.now),
            last_day: day(visit.now + LONGEST_ACKNOWLEDGEMENT),
        }))
    }
}

/// Whether the session's allocation can be corrected now, as the domain will decide it.
pub(super) fn correctable(session: &SessionRow) -> Permit {
    if SessionStatus::HOLDING_PORTS.contains(&session.status) {
        return Permit::granted();
    }
    Permit::refused(format!("Only a session that holds ports can be corrected; this one is {}.", session.status))
}

/// How a port differs, where it does.
fn kind(comparison: PortComparison) -> Option<DriftKind> {
    match comparison {
        PortComparison::Changed => Some(DriftKind::Changed),
        PortComparison::Removed => Some(DriftKind::Removed),
        PortComparison::Added => Some(DriftKind::Added),
        PortComparison::AsPlanned | PortComparison::Renamed | PortComparison::Unallocated | PortComparison::Unknown => {
            None
        }
    }
}

fn drifted_here(
    session: &SessionRow,
    row: &PortRow,
    elsewhere: &[DriftedPort],
    held: &HeldPorts,
) -> Option<DriftedHere> {
    let kind = kind(row.comparison)?;
    let same = elsewhere.iter().find(|port| port.port == row.name && port.kind == kind);
    let page = PortDriftQuery {
        definition_id: Some(session.definition_id.clone()),
        port: Some(row.name.to_string()),
        kind: Some(kind),
        ..PortDriftQuery::default()
    };
    Some(DriftedHere {
        comparison: row.comparison,
        allocated: row.allocated.map(|number| held.holders_of(number)),
        observed: row.observed.map(|number| held.holders_of(number)),
        sessions: same.map(|port| port.sessions),
        page: address("/drift", &page),
        name: row.name.clone(),
    })
}

impl HeldPorts {
    /// The port map of the session's worker, as it is, or as it would be with other ports allocated.
    pub(super) async fn read(
        queries: &Queries,
        session: &SessionRow,
        allocated: Option<&PortMap>,
        ports: &[PortRow],
    ) -> Result<Self, ReadError> {
        let held = match &session.worker_id {
            Some(worker) => Some(match allocated {
                Some(ports) => queries.port_map_with(worker, session.allocation(ports)).await?,
                None => queries.port_map(worker).await?,
            }),
            None => None,
        };
        let numbers: BTreeSet<PortNumber> = match allocated {
            Some(allocated) => allocated.values().copied().collect(),
            None => ports.iter().flat_map(|row| [row.allocated, row.observed]).flatten().collect(),
        };
        let of_those = held.iter().flat_map(|held| &held.ports).filter(|port| numbers.contains(&port.outside));
        let others: BTreeSet<SessionId> = of_those
            .flat_map(|port| &port.holders)
            .map(|holder| holder.session_id.clone())
            .filter(|id| *id != session.id)
            .collect();
        let titles = queries.session_titles(others).await?;
        Ok(Self { session: session.id.clone(), worker: session.worker_id.clone(), held, titles })
    }

    /// The map itself.
    pub(super) fn map(&self) -> Option<&WorkerPorts> {
        self.held.as_ref()
    }

    /// Who holds a number.
    pub(super) fn holders_of(&self, number: PortNumber) -> HeldNumber {
        let others = self.held.as_ref().map(|held| {
            let ports = held.ports.iter().filter(|port| port.outside == number);
            let mut others: Vec<&PortHolder> =
                ports.flat_map(|port| &port.holders).filter(|holder| holder.session_id != self.session).collect();
            others.dedup_by(|one, other| one.session_id == other.session_id);
            others
        });
        let other = |holder: &PortHolder| Other {
            session: SessionLink::titled(&self.titles, &holder.session_id, "#ports"),
            words: format!("{}, {}", holder.status, holder.name),
        };
        HeldNumber {
            number,
            page: self.worker.as_ref().map(|worker| format!("/workers/{worker}?text={number}#port-map")),
            more: others.as_ref().map_or(0, |others| others.len().saturating_sub(MOST_NAMED)),
            others: others.map(|others| others.into_iter().take(MOST_NAMED).map(other).collect()),
        }
    }
}

pub(crate) async fn acknowledge(
    State(queries): State<Queries>,
    State(commands): State<Commands>,
    _: Caller<Asking>,
    Id(id): Id<SessionId>,
    form: PageForm<AcknowledgementForm>,
) -> Result<Response, Problem> {
    let PageForm { fields, origin } = form;
    let reason = Prose::parse(fields.reason.trim()).map_err(|invalid| invalid.within("reason"))?;
    let until = BoundedTime::nearest(fields.until(queries.log().clock().now())?);
    let done = commands.acknowledge_port_drift(&id, DriftAcknowledgement { reason, until }, None, &origin).await?;
    Ok(Redirect::to(&format!("/sessions/{id}?position={}#port-drift", done.position)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drift_is_left_as_it_is_for_a_span_or_until_the_end_of_a_day() {
        let now: DateTime<Utc> = "2026-03-01T12:00:00Z".parse().unwrap();
        let until = |span, date: &str| {
            let form = AcknowledgementForm { reason: "known".to_owned(), span, date: date.to_owned() };
            form.until(now).map(|until| until.to_rfc3339())
        };
        assert_eq!(until(Span::Day, "").unwrap(), "2026-03-02T12:00:00+00:00");
        assert_eq!(until(Span::Month, "").unwrap(), "2026-03-31T12:00:00+00:00");
        assert_eq!(until(Span::Week, "2026-03-01").unwrap(), "2026-03-02T00:00:00+00:00", "the date counts");
        assert_eq!(
            until(Span::Week, "2026-05-30").unwrap(),
            "2026-05-30T12:00:00+00:00",
            "the last moment of the last day"
        );
        assert_eq!(until(Span::Week, "2026-06-30").unwrap(), "2026-06-30T00:00:00+00:00", "which the session refuses");
        assert_eq!(until(Span::Week, "tomorrow").unwrap_err().field, "date");
    }
}
