//! `GET /sessions/{id}/port-drift/withdraw`: what becomes of a drift whose acknowledgement is withdrawn. `POST` withdraws it.

use app::commands::Commands;
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use chrono::{DateTime, Utc};
use domain::lablet_session::{AcknowledgementWithdrawal, LabletSession};
use domain::port_drift::DriftState;
use domain::text::Prose;
use domain::{Invalid, SessionId};
use http::StatusCode;
use projections::ReadModel;
use projections::read_models::sessions::SessionRow;
use serde::{Deserialize, Serialize};

use crate::authentication::Role;
use crate::caller::{Asking, Caller, Viewing};
use crate::pages::confirmation::{ChangesTable, Confirmation, FormFields, Labels, WayOut};
use crate::pages::definition::change::Change;
use crate::pages::form::PageForm;
use crate::pages::parts::{Badge, CopyId, NamedLink, When, session_name};
use crate::pages::query::PageQuery;
use crate::pages::shell::{Section, Shell, page};
use crate::pages::visit::{Permit, Visit};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

/// Why it is withdrawn.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WithdrawalForm {
    #[serde(default)]
    reason: String,
}

#[derive(Template)]
#[template(path = "session/withdrawal.html")]
struct WithdrawalPage {
    shell: Shell,
    title: String,
    session: SessionRow,
    changes: ChangesTable,
    confirmation: Confirmation,
}

pub(crate) async fn show(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    Id(id): Id<SessionId>,
    PageQuery(form): PageQuery<WithdrawalForm>,
) -> Result<Response, Problem> {
    since.reached(&queries, &[ReadModel::Sessions]).await?;
    review(&queries, &visit, &id, &form, None).await
}

async fn review(
    queries: &Queries,
    visit: &Visit,
    id: &SessionId,
    form: &WithdrawalForm,
    reason_wrong: Option<Invalid>,
) -> Result<Response, Problem> {
    let ask = || queries.session_summary(id);
    let session = queries.row::<LabletSession, _, _>(ReadModel::Sessions, ("session", id.as_str()), ask).await?;
    let failed = reason_wrong.is_some();
    let address = format!("/sessions/{id}/port-drift/withdraw");
    let fields = FormFields {
        action: address.clone(),
        form_page: address,
        hidden: Vec::new(),
        reason: form.reason.clone(),
        reason_wrong,
    };
    let labels = Labels { subject: "session", confirm: "Withdraw the acknowledgement" };
    let ways_out = vec![WayOut { address: format!("/sessions/{id}#port-drift"), words: "Cancel" }];
    let permit = visit.may(Role::Operator).and(withdrawable(&session, visit.now));
    let mut response = page(&WithdrawalPage {
        shell: Shell::new(visit, Section::Sessions).twin(format!("/api/lablet-sessions/{id}")).parked(&session.parked),
        title: session_name(&session),
        changes: ChangesTable {
            field: "What",
            before: String::new(),
            after: String::new(),
            remark: "",
            changes: changes(&session, visit.now),
        },
        confirmation: Confirmation::new(visit, permit, fields, labels, ways_out),
        session,
    })?;
    if failed {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(response)
}

/// Whether there is something to withdraw, as the domain will decide it.
pub(super) fn withdrawable(session: &SessionRow, now: DateTime<Utc>) -> Permit {
    if session.drift_state(now) == DriftState::Acknowledged {
        return Permit::granted();
    }
    Permit::refused("No port drift of this session is acknowledged now.")
}

/// How the drift stands before and after.
fn changes(session: &SessionRow, now: DateTime<Utc>) -> Vec<Change> {
    let state = session.drift_state(now);
    let is_known = state == DriftState::Acknowledged;
    let said = session.port_drift_acknowledgement.as_ref().filter(|_| is_known);
    let change = |name, before: String, after: &str| Change {
        name,
        differs: before != after,
        before,
        after: after.to_owned(),
        difference: None,
        objections: Vec::new(),
    };
    let until = said.map(|said| format!("acknowledged until {}", said.until.format("%Y-%m-%d %H:%M UTC")));
    // A withdrawal changes nothing but an acknowledgement.
    let after = if is_known { DriftState::Open } else { state };
    let needs = |waits: bool| if waits { "yes, as long as the session is up" } else { "no" };
    vec![
        change("Port drift", until.unwrap_or_else(|| state.as_str().to_owned()), after.as_str()),
        change("By", said.map_or_else(|| "nobody".to_owned(), |said| said.by.clone()), "nobody"),
        change(
            "Why it may stay so",
            said.map_or_else(|| "not said".to_owned(), |said| said.reason.clone()),
            "not said",
        ),
        change("Needs attention", needs(state == DriftState::Open).to_owned(), needs(after == DriftState::Open)),
    ]
}

pub(crate) async fn withdraw(
    State(queries): State<Queries>,
    State(commands): State<Commands>,
    _: Caller<Asking>,
    visit: Visit,
    Id(id): Id<SessionId>,
    form: PageForm<WithdrawalForm>,
) -> Result<Response, Problem> {
    let PageForm { fields, origin } = form;
    let reason = match Prose::parse(fields.reason.trim()) {
        Ok(reason) => reason,
        Err(wrong) => return review(&queries, &visit, &id, &fields, Some(wrong)).await,
    };
    let withdrawal = AcknowledgementWithdrawal { reason };
    let done = commands.withdraw_port_drift_acknowledgement(&id, withdrawal, None, &origin).await?;
    Ok(Redirect::to(&format!("/sessions/{id}?position={}#port-drift", done.position)).into_response())
}
