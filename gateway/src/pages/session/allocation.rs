//! `GET /sessions/{id}/allocation`: what a corrected allocation would change, and whom it would meet on the worker. `POST`
//! makes it.

use std::collections::{BTreeMap, BTreeSet};

use app::commands::Commands;
use app::log::Expected;
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use domain::lablet_session::{AllocationCorrection, LabletSession};
use domain::port_drift::PortDrift;
use domain::ports::{PortMap, PortName, PortNumber};
use domain::text::Prose;
use domain::{EventId, Invalid, SessionId};
use http::StatusCode;
use projections::ReadModel;
use projections::read_models::sessions::port_map::HoldSource;
use projections::read_models::sessions::{HeldPort, SessionRow};
use serde::{Deserialize, Serialize};

use super::drift::{HeldNumber, HeldPorts, correctable};
use crate::authentication::Role;
use crate::caller::{Administering, Caller, Viewing};
use crate::pages::confirmation::{Confirmation, FormFields, Labels, WayOut};
use crate::pages::form::PageForm;
use crate::pages::parts::{Badge, CopyId, NamedLink, When, session_name};
use crate::pages::query::PageQuery;
use crate::pages::shell::{Section, Shell, page};
use crate::pages::visit::{Permit, Visit};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

/// Which ports are to be allocated, and why.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AllocationForm {
    /// A name and a number a line; absent: what was observed.
    ports: Option<String>,
    #[serde(default)]
    reason: String,
    /// The observation that was looked at.
    evidence: Option<EventId>,
    /// The version of the session that was looked at.
    version: Option<i64>,
}

/// A port before and after.
#[derive(Debug)]
struct Correction {
    name: PortName,
    before: Option<PortNumber>,
    after: Option<HeldNumber>,
    /// Others hold it at the same time.
    clash: bool,
    in_range: Option<bool>,
}

impl Correction {
    fn differs(&self) -> bool {
        self.before != self.after.as_ref().map(|held| held.number)
    }
}

#[derive(Template)]
#[template(path = "session/allocation.html")]
struct AllocationPage {
    shell: Shell,
    title: String,
    session: SessionRow,
    corrections: Vec<Correction>,
    /// The ports as the form has them.
    ports: String,
    ports_wrong: Option<Invalid>,
    is_given: bool,
    /// What would still differ from what was observed; `None`: unknown.
    left: Option<PortDrift>,
    clashes: usize,
    confirmation: Option<Confirmation>,
}

pub(crate) async fn show(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    Id(id): Id<SessionId>,
    PageQuery(form): PageQuery<AllocationForm>,
) -> Result<Response, Problem> {
    since.reached(&queries, &[ReadModel::Sessions, ReadModel::Workers, ReadModel::Definitions]).await?;
    review(&queries, &visit, &id, &form, None).await
}

/// The review of what the form says.
async fn review(
    queries: &Queries,
    visit: &Visit,
    id: &SessionId,
    form: &AllocationForm,
    reason_wrong: Option<Invalid>,
) -> Result<Response, Problem> {
    let ask = || queries.session_summary(id);
    let session = queries.row::<LabletSession, _, _>(ReadModel::Sessions, ("session", id.as_str()), ask).await?;
    let (after, ports_wrong) = match form.ports.as_deref().map(parse) {
        None => (session.observed_ports.clone(), None),
        Some(Ok(ports)) => (Some(ports), None),
        Some(Err(wrong)) => (None, Some(wrong)),
    };
    let (corrections, unreadable) = match &after {
        Some(after) => {
            let held = HeldPorts::read(queries, &session, Some(after), &[]).await?;
            let unreadable = held.map().map(|held| held.unreadable.clone()).unwrap_or_default();
            (corrections(&session, after, &held), unreadable)
        }
        None => (Vec::new(), Vec::new()),
    };
    let clashes = corrections.iter().filter(|correction| correction.clash).count();
    let failed = reason_wrong.is_some() || ports_wrong.is_some();
    let confirmation = after.as_ref().map(|after| {
        let page = format!("/sessions/{id}/allocation");
        let mut hidden = vec![("ports".to_owned(), written(after)), ("version".to_owned(), version(&session))];
        let evidence = session.port_drift_event_id.filter(|_| session.observed_ports.as_ref() == Some(after));
        hidden.extend(evidence.map(|event| ("evidence".to_owned(), event.to_string())));
        let fields = FormFields {
            action: page.clone(),
            form_page: page,
            hidden,
            reason: form.reason.clone(),
            reason_wrong: reason_wrong.clone(),
        };
        let labels = Labels { subject: "corrected allocation", confirm: "Correct the allocation" };
        let ways_out = vec![WayOut { address: format!("/sessions/{id}#port-drift"), words: "Cancel" }];
        let permit = visit
            .may(Role::Admin)
            .and(correctable(&session))
            .and(changes_something(&corrections))
            .and(meets_nobody(&session, &corrections));
        Confirmation::new(visit, permit, fields, labels, ways_out)
    });
    let mut response = page(&AllocationPage {
        shell: Shell::new(visit, Section::Sessions)
            .twin(format!("/api/lablet-sessions/{id}"))
            .parked(&session.parked)
            .without(unreadable),
        title: session_name(&session),
        ports: form.ports.clone().or_else(|| after.as_ref().map(written)).unwrap_or_default(),
        ports_wrong,
        is_given: form.ports.is_some() && after != session.observed_ports,
        left: after
            .as_ref()
            .filter(|after| !after.is_empty())
            .zip(session.observed_ports.as_ref())
            .map(|(after, observed)| PortDrift::between(after, observed, &[])),
        clashes,
        corrections,
        confirmation,
        session,
    })?;
    if failed {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(response)
}

pub(crate) async fn correct(
    State(queries): State<Queries>,
    State(commands): State<Commands>,
    _: Caller<Administering>,
    visit: Visit,
    Id(id): Id<SessionId>,
    form: PageForm<AllocationForm>,
) -> Result<Response, Problem> {
    let PageForm { fields, origin } = form;
    let reason = match Prose::parse(fields.reason.trim()) {
        Ok(reason) => reason,
        Err(wrong) => return review(&queries, &visit, &id, &fields, Some(wrong)).await,
    };
    let allocated_ports = fields.ports.as_deref().map(parse).transpose()?;
    let correction = AllocationCorrection { allocated_ports, reason, evidence: fields.evidence };
    let done = commands.correct_allocation(&id, correction, Expected::from(fields.version), &origin).await?;
    Ok(Redirect::to(&format!("/sessions/{id}?position={}#ports", done.position)).into_response())
}

/// The number of the version that the session's row has.
fn version(session: &SessionRow) -> String {
    session.etag.trim_matches('"').to_owned()
}

/// A name and a number a line.
fn written(ports: &PortMap) -> String {
    ports.iter().map(|(name, number)| format!("{name} {number}")).collect::<Vec<_>>().join("\n")
}

/// Reads what [`written`] writes; `:` and `=` may stand between the two.
fn parse(text: &str) -> Result<PortMap, Invalid> {
    let mut ports = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let shown: String = line.chars().take(80).collect();
        let wrong = |expected: &str| Invalid::new("ports", format!("has the line {shown:?}"), expected.to_owned());
        let (name, number) = line
            .split_once(|letter: char| letter.is_whitespace() || ":=".contains(letter))
            .ok_or_else(|| wrong("a port's name and its number a line, such as PC_serial 5041"))?;
        let name = PortName::parse(name).map_err(|invalid| wrong(&invalid.expected))?;
        let number = number.trim_matches(|letter: char| letter.is_whitespace() || ":=".contains(letter));
        let number = number.parse::<i64>().ok().and_then(|number| PortNumber::new(number).ok());
        let number = number.ok_or_else(|| wrong("a number from 1 to 65535 after the name"))?;
        if ports.insert(name, number).is_some() {
            return Err(wrong("each name once"));
        }
    }
    PortMap::try_from(ports).map_err(|invalid| invalid.within("ports"))
}

fn corrections(session: &SessionRow, after: &PortMap, held: &HeldPorts) -> Vec<Correction> {
    let empty = PortMap::default();
    let before = session.allocated_ports.as_ref().unwrap_or(&empty);
    let names: BTreeSet<&PortName> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .map(|name| {
            let number = after.get(name).copied();
            let place = held.map().zip(number).and_then(|(held, number)| {
                let ours = |port: &&HeldPort| {
                    port.outside == number
                        && port.holders.iter().any(|holder| {
                            holder.session_id == session.id
                                && holder.name == *name
                                && holder.source != HoldSource::Observed
                        })
                };
                held.ports.iter().find(ours)
            });
            Correction {
                name: name.clone(),
                before: before.get(name).copied(),
                after: number.map(|number| held.holders_of(number)),
                clash: place.is_some_and(|port| port.clash),
                in_range: place.and_then(|port| port.in_range),
            }
        })
        .collect()
}

fn changes_something(corrections: &[Correction]) -> Permit {
    if corrections.iter().any(Correction::differs) {
        return Permit::granted();
    }
    Permit::refused("These ports are allocated already.")
}

/// What the lab has, it has: a clash of it is told. A clash that the correction itself would make is refused.
fn meets_nobody(session: &SessionRow, corrections: &[Correction]) -> Permit {
    let is_observed = |correction: &&Correction| {
        let observed = session.observed_ports.as_ref().and_then(|ports| ports.get(&correction.name));
        observed.is_some() && observed == correction.after.as_ref().map(|held| &held.number)
    };
    let made = corrections.iter().find(|made| made.clash && made.differs() && !is_observed(made));
    match made.and_then(|made| made.after.as_ref().map(|held| (&made.name, held.number))) {
        None => Permit::granted(),
        Some((name, number)) => Permit::refused(format!(
            "Port {number} for {name} is held by another session at the same time, and the lab does not have it. Choose another."
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_a_line_each_and_read_again() {
        let ports = parse("PC_serial 5041\n\n  PC_vnc = 5042 \nR1_tcp:2022").unwrap();
        assert_eq!(written(&ports), "PC_serial 5041\nPC_vnc 5042\nR1_tcp 2022");
        assert_eq!(parse(&written(&ports)).unwrap(), ports);
        for wrong in ["PC_serial", "PC_serial 70000", "P\u{e9} 5041", "a 1\na 2", "PC_serial x"] {
            assert_eq!(parse(wrong).unwrap_err().field, "ports", "{wrong}");
        }
        assert!(parse("").unwrap().is_empty());
    }
}
