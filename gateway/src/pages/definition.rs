//! `GET /definitions/{id}`: what a definition is thought to need, what was observed of its sessions, and who revised it
//! why.

pub(crate) mod apply_proposal;
pub(crate) mod change;
pub(crate) mod consequence;
pub(crate) mod draft;
pub(crate) mod edit;
pub(crate) mod observed;
mod return_to;
pub(crate) mod review;
pub(crate) mod revise;
mod stale;
pub(crate) mod suggestion;
mod use_charts;

use std::collections::BTreeMap;

use advice::recommendation::Recommendation;
use advice::scope::SessionScope;
use advice::sizing::{SizeVerdict, Sizing, verdict_of_definition};
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use chrono::TimeDelta;
use domain::advice_policy::Promise;
use domain::demand::{ByResource, Demand};
use domain::lablet_definition::ProposalStatus;
use domain::resource::Resource;
use domain::{DefinitionId, SessionId};
use projections::read_models::advice::proposals::{ProposalFilter, ProposalRow};
use projections::read_models::definitions::{DefinitionRow, RevisionRow};
use projections::read_models::observations::of_definition::MOST_SESSIONS;
use projections::read_models::observations::{DefinitionObservations, ObservedSession};
use projections::read_models::sessions::SessionTitles;
use projections::{PageRequest, ReadError, ReadModel, UnreadableRow};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::change::{beginning, changes};
use self::consequence::KnownUse;
use self::draft::Draft;
use self::observed::{Observed, SourcedNumber, UsedAmount};
use self::suggestion::{Source, Suggestions};
use super::advice::evidence::excluded_sessions;
use super::advice::proposal::ProposalCard;
use super::advice::section::AdviceSection;
use super::named_row::NamedRow;
use super::parts::{self, Badge, CopyId, NamedLink, SessionLink, When};
use super::query::{PageQuery, address};
use super::shell::{Section, Shell, page};
use super::table::{Column, Format, cell, csv, csv_without, time};
use super::verdict;
use super::visit::{Permit, Visit};
use crate::authentication::Role;
use crate::caller::{Caller, Viewing};
use crate::lablet_definitions::show::row;
use crate::paging::{ListPage, Paging};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

/// Which sessions may be chosen; any other number of the newest may be asked for too.
const CHOICES: [SessionScope; 5] = [
    SessionScope::Current,
    SessionScope::All,
    SessionScope::Newest(20),
    SessionScope::Newest(50),
    SessionScope::Newest(200),
];

/// Sessions that a page lists and draws at most; all that count are added up, and the CSV has them.
const LISTED: u32 = 200;

/// Rows of a page's tables.
const ROWS: usize = 20;
const REVISIONS: u32 = 8;

/// Ports that are listed; a template may have thousands.
const MOST_PORTS: usize = 60;

/// Events that a revision names one by one; the others are in its own event.
const MOST_EVIDENCE: usize = 6;

/// Proposals that are looked at for the one that is open and the one that was applied.
const PROPOSALS: u32 = 20;

/// After this time the newest observation may speak of another lab.
const OLD: TimeDelta = TimeDelta::days(30);

/// Which table is asked for as CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Table {
    Sessions,
    Revisions,
}

/// What the page is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DefinitionQuery {
    /// Which sessions count; older addresses say how many of the newest as `sessions`.
    #[serde(alias = "sessions", skip_serializing_if = "Option::is_none")]
    scope: Option<SessionScope>,
    /// The promise that is asked about; the policy's own unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    promise: Option<Promise>,
    /// How many of them the table has passed already.
    #[serde(skip_serializing_if = "Option::is_none")]
    passed: Option<usize>,
    /// Where the revisions go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    revisions: Option<String>,
    /// The revision that was just made.
    #[serde(skip_serializing_if = "Option::is_none")]
    revised: Option<u32>,
    /// A revision was asked for that changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    unchanged: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<Table>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
}

/// A definition, and what was observed of it.
#[derive(Debug)]
pub(crate) struct Basis {
    /// The definition as it is now.
    pub(crate) now: DefinitionRow,
    /// What its observed sessions say, those that count.
    pub(crate) observed: DefinitionObservations,
    /// What these are called.
    pub(crate) titles: SessionTitles,
    /// What is recommended by the policy; `None`: it cannot be read, or advice does not know the definition yet.
    pub(crate) recommended: Option<Recommendation>,
    /// Sessions that are no evidence, with who says so and why.
    pub(crate) excluded: BTreeMap<SessionId, String>,
    /// Rows of these that cannot be read.
    pub(crate) unreadable: Vec<UnreadableRow>,
}

impl Basis {
    /// Reads both.
    ///
    /// # Errors
    /// 404, and 503 where they cannot be read.
    pub(crate) async fn read(queries: &Queries, id: &DefinitionId, scope: SessionScope) -> Result<Self, Problem> {
        let now = row(queries, id).await?;
        let observed = queries.definition_observations(id, scope, LISTED).await?;
        let titles = queries
            .session_titles(observed.sessions.iter().map(|session| session.session_id.clone()).collect())
            .await?;
        let (excluded, mut unreadable) = readable(excluded_sessions(queries, id).await.map(Some))?;
        let (recommended, without) = readable(queries.recommendation(id, None, None).await)?;
        unreadable.extend(without);
        Ok(Self { now, observed, titles, recommended, excluded: excluded.unwrap_or_default(), unreadable })
    }
}

impl Basis {
    /// What its sessions used at most, and were given.
    pub(crate) fn known_use(&self, resource: Resource) -> KnownUse {
        self.recommended.as_ref().map_or_else(KnownUse::default, |recommended| {
            let found = resource.part(&recommended.resources);
            KnownUse { used: found.demand.max, nominal: found.nominal, sessions: found.sessions }
        })
    }

    /// What this source makes of it.
    pub(crate) fn suggestions(&self, source: Source) -> Suggestions {
        Suggestions::new(source, &self.now.resource_requirements, &self.observed, self.recommended.as_ref())
    }
}

/// Whether the visitor may revise.
pub(crate) fn may_revise(visit: &Visit, now: &DefinitionRow) -> Permit {
    let known = match now.parked.first() {
        None => Permit::granted(),
        Some(parked) => Permit::refused(format!(
            "What the definition is now is not shown: {} could not apply its event {}. Settle that dead letter first.",
            parked.read_model, parked.event_id
        )),
    };
    visit.may(Role::Admin).and(known)
}

/// Which sessions to look at: one of the choices.
struct Choice {
    title: String,
    path: String,
    chosen: bool,
}

/// A button that leads to the form of a revision.
struct Apply {
    title: &'static str,
    path: String,
    permit: Permit,
}

#[derive(Template)]
#[template(path = "definition.html")]
struct DefinitionPage {
    shell: Shell,
    visitor: String,
    definition: DefinitionRow,
    observed: Observed,
    /// The proposal that is open or claimed, and the newest that was applied.
    proposals: Vec<ProposalCard>,
    /// What is recommended; `None`: it cannot be read.
    advice: Option<AdviceSection>,
    /// Whether its sizes fit, by the policy; `None`: it cannot be read.
    sizing: Option<ByResource<Sizing>>,
    /// Sessions that do not count, with who says so and why.
    excluded: BTreeMap<SessionId, String>,
    choices: Vec<Choice>,
    /// The same page over all sessions of the definition; `None`: it is.
    over_all: Option<String>,
    /// The same by the API.
    observed_json: String,
    apply: Vec<Apply>,
    /// Why the buttons that are off are off.
    refusals: Vec<String>,
    /// The slice of the sessions that the table shows.
    sessions: Vec<ObservedSession>,
    titles: SessionTitles,
    passed: usize,
    sessions_first: String,
    sessions_next: Option<String>,
    is_old: bool,
    revisions: Vec<RevisionRow>,
    revisions_are_older: bool,
    revisions_next: Option<String>,
    revised: Option<RevisionRow>,
    unchanged: bool,
    sessions_csv: String,
    revisions_csv: String,
}

pub(crate) async fn show(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    Id(id): Id<DefinitionId>,
    PageQuery(query): PageQuery<DefinitionQuery>,
) -> Result<Response, Problem> {
    let scope = query.scope.unwrap_or_default();
    since
        .reached(&queries, &[ReadModel::Definitions, ReadModel::Observations, ReadModel::Demands, ReadModel::Advice])
        .await?;
    if query.format == Some(Format::Csv) {
        row(&queries, &id).await?;
        return match query.table.unwrap_or(Table::Sessions) {
            Table::Sessions => {
                let name = format!("definition-{id}-sessions");
                let observed = queries.definition_observations(&id, scope, MOST_SESSIONS).await?;
                let rows = NamedRow::all(&queries, observed.sessions, |session| &session.session_id).await?;
                csv_without(&name, &SESSION_COLUMNS, &rows, &observed.unreadable)
            }
            Table::Revisions => {
                let (reads, id) = (&queries, &id);
                csv(&format!("definition-{id}-revisions"), &REVISION_COLUMNS, |request| async move {
                    reads.definition_revisions(id, &request).await
                })
                .await
            }
        };
    }
    let Basis { now, observed, titles, recommended, excluded, unreadable } = Basis::read(&queries, &id, scope).await?;
    let request = Paging { limit: Some(REVISIONS), cursor: query.revisions.clone() }.request()?;
    let revisions = ListPage::from(queries.definition_revisions(&id, &request).await?);
    let path = format!("/definitions/{id}");
    let at_rest = DefinitionQuery { scope: query.scope, promise: query.promise, ..DefinitionQuery::default() };
    let part = |query: DefinitionQuery, part: &str| format!("{}#{part}", address(&path, &query));
    let passed = query.passed.unwrap_or(0).min(observed.sessions.len());
    let shown = (observed.sessions.len() - passed).min(ROWS);
    let as_csv =
        |table| address(&path, &DefinitionQuery { table: Some(table), format: Some(Format::Csv), ..at_rest.clone() });
    let chosen = |scope| DefinitionQuery { scope: Some(scope), ..at_rest.clone() };
    let apply = apply(&visit, &now, scope, &observed, recommended.as_ref());
    // What is recommended is one part of the page: where it cannot be read the others are shown.
    let hidden = query.scope.map(|scope| ("scope", scope.to_string())).into_iter().collect();
    let (advice, without_advice) =
        readable(AdviceSection::read(&queries, visit.now, &id, query.promise, recommended.as_ref(), hidden).await)?;
    let (proposals, without_proposals) = readable(current_proposals(&queries, &visit, &id).await.map(Some))?;
    let shown_together = Observed::new(&now, &observed, &titles, recommended.as_ref());
    page(&DefinitionPage {
        shell: Shell::new(&visit, Section::Definitions)
            .twin(format!("/api/lablet-definitions/{id}"))
            .live(format!("/api/stream?definition_id={id}"))
            .parked(&now.parked)
            .parked(&observed.parked)
            .without(revisions.unreadable)
            .without(observed.unreadable.clone())
            .without(without_advice)
            .without(without_proposals)
            .without(unreadable),
        proposals: proposals.unwrap_or_default(),
        advice,
        sizing: recommended.as_ref().and_then(|recommended| recommended.sizing),
        excluded,
        visitor: visit.principal.to_string(),
        choices: CHOICES
            .into_iter()
            .map(|choice| Choice {
                title: choice.title(),
                path: part(chosen(choice), "observed"),
                chosen: choice == scope,
            })
            .collect(),
        over_all: (scope != SessionScope::All).then(|| part(chosen(SessionScope::All), "observed")),
        observed_json: format!("/api/lablet-definitions/{id}/resource-observations?limit={LISTED}&scope={scope}"),
        refusals: refusals(&apply),
        apply,
        sessions: observed.sessions[passed..passed + shown].to_vec(),
        titles,
        passed,
        sessions_first: part(at_rest.clone(), "sessions"),
        sessions_next: (passed + shown < observed.sessions.len())
            .then(|| part(DefinitionQuery { passed: Some(passed + shown), ..at_rest.clone() }, "sessions")),
        is_old: now.observations.last_observed_at.is_some_and(|at| visit.now - at > OLD),
        revised: query.revised.and_then(|made| revisions.items.iter().find(|row| row.revision == made).cloned()),
        unchanged: query.unchanged.unwrap_or(false),
        revisions_are_older: query.revisions.is_some(),
        revisions_next: revisions
            .next_cursor
            .map(|cursor| part(DefinitionQuery { revisions: Some(cursor), ..at_rest.clone() }, "revisions")),
        revisions: revisions.items,
        sessions_csv: as_csv(Table::Sessions),
        revisions_csv: as_csv(Table::Revisions),
        observed: shown_together,
        definition: now,
    })
}

/// The proposal that is open or claimed, and the newest that was applied, of the newest ones.
async fn current_proposals(
    queries: &Queries,
    visit: &Visit,
    id: &DefinitionId,
) -> Result<Vec<ProposalCard>, ReadError> {
    let filter = ProposalFilter { definition_id: Some(id.clone()), status: None };
    let newest = queries.proposals(&filter, &PageRequest::first(PROPOSALS)).await?.items;
    let is_current = |row: &ProposalRow| matches!(row.status, ProposalStatus::Open | ProposalStatus::Claimed);
    let applied = newest.iter().position(|row| row.status == ProposalStatus::Applied);
    let mut cards = Vec::new();
    for (index, row) in newest.into_iter().enumerate() {
        if is_current(&row) || Some(index) == applied {
            cards.push(ProposalCard::read(queries, visit, row).await?);
        }
    }
    Ok(cards)
}

/// What was found, and the row that stood in its way.
fn readable<T>(found: Result<Option<T>, ReadError>) -> Result<(Option<T>, Vec<UnreadableRow>), ReadError> {
    match found {
        Ok(found) => Ok((found, Vec::new())),
        Err(ReadError::Unreadable { row, .. }) => Ok((None, vec![row])),
        Err(error) => Err(error),
    }
}

/// The buttons. Where nothing is known, nothing can be applied.
fn apply(
    visit: &Visit,
    now: &DefinitionRow,
    scope: SessionScope,
    observed: &DefinitionObservations,
    recommended: Option<&Recommendation>,
) -> Vec<Apply> {
    let all = &observed.aggregate;
    let nothing = all.cpu_cores.max.is_none() && all.memory_mb.max.is_none() && all.storage_mb.max.is_none();
    let known = || {
        if nothing {
            Permit::refused(match observed.scope.of_sessions {
                0 => "Nothing is known of any session yet, so there is nothing to apply.",
                _ => {
                    "Nothing is known of the sessions in this scope, so there is nothing to apply: choose others above."
                }
            })
        } else {
            Permit::granted()
        }
    };
    let off = || match recommended.and_then(|recommended| recommended.sizing.as_ref()).map(verdict_of_definition) {
        Some(SizeVerdict::TooSmall | SizeVerdict::TooLarge) => Permit::granted(),
        Some(SizeVerdict::Fits) => Permit::refused("The size fits, so there is nothing to apply."),
        Some(SizeVerdict::Unknown) | None => {
            Permit::refused("What the sessions use is unknown, so no size is recommended.")
        }
    };
    [Source::Recommended, Source::Max, Source::Latest, Source::Custom]
        .into_iter()
        .map(|source| Apply {
            title: source.title(),
            // The recommended size goes to its review: every number of it has its reason.
            path: match source {
                Source::Recommended => Draft::of_recommended_size().review_address(&now.id),
                Source::Max | Source::Latest | Source::Custom => Draft::new(source, scope).edit_address(&now.id),
            },
            permit: match source {
                Source::Recommended => may_revise(visit, now).and(off()),
                Source::Max | Source::Latest => may_revise(visit, now).and(known()),
                Source::Custom => may_revise(visit, now),
            },
        })
        .collect()
}

/// Why the buttons that are off are off, each reason once.
fn refusals(apply: &[Apply]) -> Vec<String> {
    let mut reasons: Vec<String> = Vec::new();
    for reason in apply.iter().filter_map(|button| button.permit.refusal.as_ref()) {
        if !reasons.contains(reason) {
            reasons.push(reason.clone());
        }
    }
    reasons
}

/// What changed with a revision; of the first, everything.
fn changed(revision: &RevisionRow) -> Vec<change::Change> {
    let before = revision.before.as_ref().unwrap_or(&revision.after);
    changes(before, &revision.after)
}

/// Whether an event can be looked up: its id is of the log's form.
fn is_event(id: impl AsRef<str>) -> bool {
    id.as_ref().parse::<Uuid>().is_ok()
}

fn peak(demand: &Demand<Uuid>) -> String {
    cell(demand.steady.map(|peak| peak.value).as_ref())
}

fn source(demand: &Demand<Uuid>) -> String {
    demand.steady.map_or("", |peak| peak.source.name()).to_owned()
}

fn peak_event(demand: &Demand<Uuid>) -> String {
    cell(demand.steady.map(|peak| peak.event_id).as_ref())
}

/// The sessions as CSV. Amounts carry their unit; what is unknown is empty. Used is the peak of the steady phase.
const SESSION_COLUMNS: [Column<NamedRow<ObservedSession>>; 29] = [
    ("session_id", |named| named.row.session_id.to_string()),
    ("session_starts_at", NamedRow::starts_at),
    ("definition_version", |named| named.row.definition_version.as_str().to_owned()),
    ("definition_revision", |named| named.row.definition_revision.to_string()),
    ("worker_id", |named| cell(named.row.worker_id.as_ref())),
    ("worker_name", NamedRow::worker_name),
    ("observation_count", |named| named.row.observation_count.to_string()),
    ("observed_at", |named| time(&named.row.observed_at)),
    ("observed_event_id", |named| named.row.observed_event_id.to_string()),
    ("complete", |named| cell(named.row.complete.as_ref())),
    ("nominal_cpu_cores", |named| cell(named.row.cpu_cores.as_ref())),
    ("nominal_cpu_cores_event_id", |named| cell(named.row.cpu_cores_event_id.as_ref())),
    ("nominal_memory_mb", |named| cell(named.row.memory_mb.as_ref())),
    ("nominal_memory_mb_event_id", |named| cell(named.row.memory_mb_event_id.as_ref())),
    ("used_cpu_cores", |named| peak(&named.row.resources.cpu_cores)),
    ("used_cpu_cores_source", |named| source(&named.row.resources.cpu_cores)),
    ("used_cpu_cores_event_id", |named| peak_event(&named.row.resources.cpu_cores)),
    ("used_memory_mb", |named| peak(&named.row.resources.memory_mb)),
    ("used_memory_mb_source", |named| source(&named.row.resources.memory_mb)),
    ("used_memory_mb_event_id", |named| peak_event(&named.row.resources.memory_mb)),
    ("used_storage_mb", |named| peak(&named.row.resources.storage_mb)),
    ("used_storage_mb_source", |named| source(&named.row.resources.storage_mb)),
    ("used_storage_mb_event_id", |named| peak_event(&named.row.resources.storage_mb)),
    ("node_count", |named| cell(named.row.node_count.as_ref())),
    ("port_drift_detected", |named| cell(named.row.port_drift_detected.as_ref())),
    ("port_drift_event_id", |named| cell(named.row.port_drift_event_id.as_ref())),
    ("configured_cpu_cores", |named| cell(named.row.configured.map(|stated| stated.cpu_cores).as_ref())),
    ("configured_memory_gb", |named| cell(named.row.configured.map(|stated| stated.memory_gb).as_ref())),
    ("configured_storage_gb", |named| cell(named.row.configured.map(|stated| stated.storage_gb).as_ref())),
];

/// The revisions as CSV.
const REVISION_COLUMNS: [Column<RevisionRow>; 12] = [
    ("revision", |row| row.revision.to_string()),
    ("revised_at", |row| time(&row.revised_at)),
    ("revised_by", |row| cell(row.revised_by.as_ref())),
    ("reason", |row| cell(row.reason.as_ref())),
    ("before_cpu_cores", |row| {
        cell(row.before.as_ref().map(|content| content.resource_requirements.cpu_cores).as_ref())
    }),
    ("before_memory_gb", |row| {
        cell(row.before.as_ref().map(|content| content.resource_requirements.memory_gb).as_ref())
    }),
    ("before_storage_gb", |row| {
        cell(row.before.as_ref().map(|content| content.resource_requirements.storage_gb).as_ref())
    }),
    ("after_cpu_cores", |row| row.after.resource_requirements.cpu_cores.to_string()),
    ("after_memory_gb", |row| row.after.resource_requirements.memory_gb.to_string()),
    ("after_storage_gb", |row| row.after.resource_requirements.storage_gb.to_string()),
    ("evidence", |row| row.evidence.join(" ")),
    ("event_id", |row| row.event_id.to_string()),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_uuid_is_an_events_id() {
        assert!(is_event("019b2c1e-5f7a-7c3e-9d4b-00000000abcd") && !is_event("order-7"));
    }
}
