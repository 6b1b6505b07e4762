//! `GET /definitions/{id}/evidence`: the sessions that say what a definition needs, excluded ones too; and
//! `POST /sessions/{id}/evidence`, by which one is excluded with a reason, or counts again.

use std::collections::BTreeMap;

use advice::left_out::LeftOutCode;
use advice::mixture::Condition;
use app::commands::Commands;
use askama::Template;
use askama::filters::HtmlSafe;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use chrono::{DateTime, Utc};
use domain::demand::{Demand, DemandSource};
use domain::lablet_session::EvidenceReason;
use domain::phases::Phases;
use domain::resource::Resource;
use domain::text::Prose;
use domain::{DefinitionId, SessionId};
use projections::read_models::advice::SessionAdvice;
use projections::read_models::advice::evidence::{EvidenceFilter, EvidenceRow};
use projections::read_models::definitions::DefinitionRow;
use projections::read_models::sessions::SessionTitles;
use projections::{PageRequest, ReadError, ReadModel};
use serde::Deserialize;
use uuid::Uuid;

use super::amounts::{self, amount};
use crate::advice::evidence::EvidenceQuery;
use crate::authentication::Role;
use crate::caller::{Asking, Caller, Viewing};
use crate::heavy_reads::HeavyReads;
use crate::lablet_definitions::show::row;
use crate::pages::form::PageForm;
use crate::pages::parts::{Badge, NamedLink, SessionLink, Tone, When};
use crate::pages::query::{PageQuery, address};
use crate::pages::shell::{Section, Shell, page};
use crate::pages::visit::{Permit, Visit};
use crate::paging::{ListPage, Paging};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

/// Sessions on one page.
const ROWS: u32 = 30;
/// Excluded sessions that are told on pages that show sessions.
const MOST_EXCLUDED: u32 = 200;

/// The sessions of a definition that somebody excluded, the newest, with who says so and why.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn excluded_sessions(
    queries: &Queries,
    id: &DefinitionId,
) -> Result<BTreeMap<SessionId, String>, ReadError> {
    let of_them = EvidenceFilter::LeftOut(LeftOutCode::Excluded);
    let newest = queries.evidence(id, &of_them, &PageRequest::first(MOST_EXCLUDED)).await?;
    let excluded = newest.items.into_iter().filter_map(|row| {
        let why = row.exclusion?;
        Some((row.session_id, format!("excluded by {}: {}", why.excluded_by, why.reason)))
    });
    Ok(excluded.collect())
}

/// What a session needed of one resource, beside what was advised before it.
#[derive(Debug, Clone, Template)]
#[template(path = "advice/needed.html")]
pub(crate) struct Needed {
    name: &'static str,
    amount: String,
    event_id: Option<Uuid>,
    is_by_snapshots: bool,
    /// What is said of the boot beside it.
    boot: Option<(String, Option<Uuid>)>,
    advised: Option<String>,
    verdict: Option<Badge>,
}

impl HtmlSafe for Needed {}

impl Needed {
    /// The resource.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// What it needed over these phases.
    fn new(resource: Resource, row: &EvidenceRow, phases: Phases) -> Self {
        let demand = resource.part(&row.demands);
        let peak = demand.over(phases);
        let advice: &Option<SessionAdvice> = resource.part(&row.advice);
        let held = advice.as_ref().and_then(|advice| advice.held);
        Self {
            name: amounts::name(resource),
            amount: amount(resource, peak.map(|peak| peak.value)),
            boot: beside(resource, demand, phases),
            event_id: peak.map(|peak| peak.event_id),
            is_by_snapshots: peak.is_some_and(|peak| peak.source == DemandSource::Snapshot),
            advised: advice
                .as_ref()
                .and_then(|advice| advice.scored.advised)
                .map(|advised| amount(resource, Some(advised))),
            verdict: held.map(|held| {
                if held { Badge::new(Tone::Good, "✓", "held") } else { Badge::new(Tone::Bad, "▲", "missed") }
            }),
        }
    }
}

/// What is said of the boot beside a demand over these phases, with the event that says so.
fn beside(resource: Resource, demand: &Demand<Uuid>, phases: Phases) -> Option<(String, Option<Uuid>)> {
    let steady = demand.steady?;
    let Some(boot) = demand.boot else {
        return phases.include_boot().then(|| ("boot not seen".to_owned(), None));
    };
    let is_higher = boot.value > steady.value;
    match phases {
        Phases::WithBoot if is_higher => {
            let steady_amount = amount(resource, Some(steady.value));
            Some((format!("while booting; {steady_amount} afterwards"), Some(steady.event_id)))
        }
        Phases::Steady if is_higher => {
            let boot_amount = amount(resource, Some(boot.value));
            Some((format!("{boot_amount} while booting, not counted"), Some(boot.event_id)))
        }
        Phases::WithBoot | Phases::Steady => None,
    }
}

/// A session, and whether it counts.
#[derive(Debug, Clone, Template)]
#[template(path = "advice/exclusion.html")]
pub(crate) struct Exclusion {
    session_id: SessionId,
    /// Who excluded it, when and why; `None`: it counts.
    excluded: Option<(String, String, When, Uuid)>,
    permit: Permit,
    csrf_token: String,
    idempotency_key: String,
    /// Where the change leads back to.
    back: &'static str,
}

impl HtmlSafe for Exclusion {}

impl Exclusion {
    fn new(row: &EvidenceRow, visit: &Visit, idempotency_key: Uuid, back: &'static str) -> Self {
        Self {
            session_id: row.session_id.clone(),
            excluded: row.exclusion.as_ref().map(|why| {
                (why.excluded_by.clone(), why.reason.clone(), When::new(&why.excluded_at, &visit.now), why.event_id)
            }),
            permit: visit.may(Role::Operator),
            csrf_token: visit.csrf_token.clone(),
            idempotency_key: idempotency_key.to_string(),
            back,
        }
    }
}

/// What a session says, on its own page.
pub(crate) struct SessionEvidence {
    pub(crate) needed: Vec<Needed>,
    pub(crate) exclusion: Exclusion,
    /// Since when it is evidence; `None`: it runs.
    pub(crate) ended_at: Option<DateTime<Utc>>,
}

impl SessionEvidence {
    /// Of a session; `None`: it never ran.
    ///
    /// # Errors
    /// The database does not answer.
    pub(crate) async fn read(queries: &Queries, visit: &Visit, id: &SessionId) -> Result<Option<Self>, ReadError> {
        let Some(row) = queries.session_evidence(id).await? else { return Ok(None) };
        let phases = queries.policy_in_force(&row.definition_id).await?.unwrap_or_default().phases();
        Ok(Some(Self {
            needed: Resource::ALL.map(|resource| Needed::new(resource, &row, phases)).into(),
            exclusion: Exclusion::new(&row, visit, queries.log().id_generator().uuid(), "session"),
            ended_at: row.ended_at,
        }))
    }
}

/// A session of the list.
struct ListedSession {
    link: SessionLink,
    row: EvidenceRow,
    needed: Vec<Needed>,
    doubt: Option<Badge>,
    exclusion: Exclusion,
}

#[derive(Template)]
#[template(path = "advice/evidence.html")]
struct EvidencePage {
    shell: Shell,
    definition: DefinitionRow,
    /// What these are called, and their workers.
    titles: SessionTitles,
    sessions: Vec<ListedSession>,
    /// Which sessions these are; `None`: all that ended.
    filter: Option<String>,
    /// Whether what was needed while booting counts.
    include_boot: bool,
    is_first: bool,
    next: Option<String>,
}

/// The address of the sessions that an answer leaves out for a reason.
pub(crate) fn left_out_address(id: &DefinitionId, code: &LeftOutCode) -> String {
    evidence_address(id, &EvidenceQuery { left_out: Some(*code), ..EvidenceQuery::default() })
}

/// The address of the sessions of one value of what they differ in.
pub(crate) fn mixed_address(id: &DefinitionId, condition: &Condition, value: &Option<String>) -> String {
    let value = value.clone();
    evidence_address(id, &EvidenceQuery { mixed: Some(*condition), value, ..EvidenceQuery::default() })
}

fn evidence_address(id: &DefinitionId, query: &EvidenceQuery) -> String {
    address(&format!("/definitions/{id}/evidence"), query)
}

/// Which sessions a filter leaves.
fn filter_words(filter: &EvidenceFilter) -> Option<String> {
    Some(match filter {
        EvidenceFilter::All => return None,
        EvidenceFilter::LeftOut(LeftOutCode::StillRunning) => "that still run".to_owned(),
        EvidenceFilter::LeftOut(LeftOutCode::NeverObserved) => "that were never observed".to_owned(),
        EvidenceFilter::LeftOut(LeftOutCode::NoEvidence) => "that were observed while nothing ran".to_owned(),
        EvidenceFilter::LeftOut(LeftOutCode::Contradiction) => "with a total that contradicts its own nodes".to_owned(),
        EvidenceFilter::LeftOut(LeftOutCode::UnknownDemand) => "of which some demand is unknown".to_owned(),
        EvidenceFilter::LeftOut(LeftOutCode::Excluded) => "that somebody excluded".to_owned(),
        EvidenceFilter::LeftOut(LeftOutCode::Boot) => "that needed more while booting than afterwards".to_owned(),
        EvidenceFilter::Mixed(condition, value) => {
            let value = value.as_deref().unwrap_or("unknown");
            let words = match condition {
                Condition::Topologies => "of the topology",
                Condition::Revisions => "of revision",
                Condition::CmlVersions => "on the version of CML",
                Condition::Workers => "on the worker",
                Condition::WorkerShort => "whose worker was short:",
                Condition::Sources => "measured by",
                Condition::BootSeen => "whose boot was seen:",
            };
            format!("that count, {words} {value}")
        }
    })
}

pub(crate) async fn list(
    reads: HeavyReads,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    Id(id): Id<DefinitionId>,
    PageQuery(query): PageQuery<EvidenceQuery>,
) -> Result<Response, Problem> {
    let (visit, id, query) = (&visit, &id, &query);
    let ask = |queries: Queries| async move { answer(&queries, visit, id, query.clone()).await };
    let models = [ReadModel::Definitions, ReadModel::Advice];
    reads.showing(visit.freshness.position).read(since, &models, ask).await
}

async fn answer(
    queries: &Queries,
    visit: &Visit,
    id: &DefinitionId,
    query: EvidenceQuery,
) -> Result<Response, Problem> {
    let definition = row(queries, id).await?;
    let filter = query.filter()?;
    let request = Paging { limit: Some(query.limit.unwrap_or(ROWS)), cursor: query.cursor.clone() }.request()?;
    let found = ListPage::from(queries.evidence(id, &filter, &request).await?);
    let path = format!("/api/lablet-definitions/{id}/evidence");
    let phases = queries.policy_in_force(id).await?.unwrap_or_default().phases();
    let titles = queries.session_titles(found.items.iter().map(|row| row.session_id.clone()).collect()).await?;
    let listed = |row: EvidenceRow| ListedSession {
        link: SessionLink::by_start(&titles, &row.session_id, "#evidence"),
        needed: Resource::ALL.map(|resource| Needed::new(resource, &row, phases)).into(),
        doubt: Badge::doubt(&row.contradictions, &row.no_evidence),
        exclusion: Exclusion::new(&row, visit, queries.log().id_generator().uuid(), "definition"),
        row,
    };
    page(&EvidencePage {
        shell: Shell::new(visit, Section::Definitions)
            .twin(address(&path, &EvidenceQuery { cursor: None, ..query.clone() }))
            .live(format!("/api/stream?definition_id={id}"))
            .without(found.unreadable),
        filter: filter_words(&filter),
        include_boot: phases.include_boot(),
        is_first: query.cursor.is_none(),
        next: found
            .next_cursor
            .map(|cursor| evidence_address(id, &EvidenceQuery { cursor: Some(cursor), ..query.clone() })),
        sessions: found.items.into_iter().map(listed).collect(),
        titles,
        definition,
    })
}

/// Whether a session counts, as a form sends it.
#[derive(Debug, Deserialize)]
pub(crate) struct EvidenceChange {
    counts: bool,
    #[serde(default)]
    reason: String,
    back: Option<String>,
}

pub(crate) async fn change(
    State(queries): State<Queries>,
    State(commands): State<Commands>,
    _: Caller<Asking>,
    Id(id): Id<SessionId>,
    form: PageForm<EvidenceChange>,
) -> Result<Response, Problem> {
    let PageForm { fields: EvidenceChange { counts, reason, back }, origin } = form;
    let reason = Prose::parse(reason.trim()).map_err(|invalid| invalid.within("reason"))?;
    let reason = EvidenceReason { reason };
    let done = if counts {
        commands.include_session_evidence(&id, reason, None, &origin).await?
    } else {
        commands.exclude_session_evidence(&id, reason, None, &origin).await?
    };
    let position = done.position;
    let to = match back.as_deref() {
        Some("definition") => {
            let session =
                queries.session_summary(&id).await?.ok_or_else(|| Problem::not_found("session", id.as_str()))?;
            format!("/definitions/{}/evidence?position={position}", session.definition_id)
        }
        _ => format!("/sessions/{id}?position={position}#evidence"),
    };
    Ok(Redirect::to(&to).into_response())
}
