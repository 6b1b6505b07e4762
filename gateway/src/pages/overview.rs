//! `GET /`: what runs now, what drifted, which requests are open or failed, how fresh everything is.

use advice::savings::{WEEKS, weekly_savings};
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use domain::demand::ByResource;
use domain::lablet_definition::{Finding, ProposalStatus};
use domain::lablet_session::SessionStatus;
use domain::resource::Resource;
use domain::{DefinitionId, ProposalId};
use projections::freshness::Freshness;
use projections::overview::{Overview, RequestCounts};
use projections::read_models::advice::proposals::{ProposalFilter, ProposalRow};
use projections::read_models::advice::sizing_gaps::SizingGapFilter;
use projections::read_models::advice::sizing_ranking::SizingRanking;
use projections::read_models::observation_requests::{ObservationRequestRow, RequestFilter, RequestOutcome};
use projections::read_models::sessions::{DriftFilter, SessionCount, SessionFilter, SessionRow, SessionTitles};
use projections::{PageRequest, ReadError, ReadModel, UnreadableRow};
use serde::Deserialize;

use super::advice::amounts;
use super::advice::proposal::{SizeChange, size_changes, status};
use super::first_steps::steps::Beginnings;
use super::first_steps::{self, FirstSteps};
use super::parts::{self, Badge, NamedLink, SessionLink, When};
use super::query::PageQuery;
use super::request_file::csv_of_requests;
use super::shell::{Section, Shell, page};
use super::sizing::GapRow;
use super::table::{Column, Format, cell, csv_of, csv_without, time};
use super::verdict;
use super::visit::Visit;
use crate::answer_cache::AnswerCache;
use crate::attention::items::{AttentionItem, Severity};
use crate::attention::{Attention, AttentionBadge, AttentionWatch};
use crate::caller::{Caller, Viewing};
use crate::controllers::ControllerWatch;
use crate::position::{Reached, Since};
use crate::problem::Problem;
use crate::queries::Queries;
use crate::sign_in::Site;

/// Rows of each of the page's lists.
const ROWS: u32 = 10;

/// Proposals of each state that are weighed, the newest.
const PROPOSALS: u32 = 100;

/// Sizing gaps that are shown, the costliest.
const GAPS: u32 = 5;

/// One of the page's tables, to be downloaded.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OverviewQuery {
    table: Option<Table>,
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Table {
    Attention,
    Requests,
    Freshness,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage<'a> {
    shell: Shell,
    /// Until a session was observed.
    first_steps: Option<FirstSteps>,
    /// [`OverviewMain`], rendered.
    main: &'a str,
}

/// What the page shows to everybody.
#[derive(Template)]
#[template(path = "overview/main.html")]
struct OverviewMain<'a> {
    now: DateTime<Utc>,
    attention: &'a Attention,
    up: u64,
    /// Of which nobody knows.
    drifted: u64,
    drift_acknowledged: u64,
    drift_unknown: u64,
    in_all: u64,
    running: &'a [SessionRow],
    drifts: &'a [SessionRow],
    open: &'a [ObservationRequestRow],
    failed: &'a [ObservationRequestRow],
    /// Of the requests' sessions.
    titles: &'a SessionTitles,
    gaps: &'a [GapRow],
    proposals: &'a [WeightedProposal],
    fresh: &'a [Freshness],
    requests: &'a RequestCounts,
}

/// The page but for its frame, made once for all who look within a second.
#[derive(Debug)]
pub(crate) struct OverviewContent {
    main: String,
    attention: Option<AttentionBadge>,
    /// What is there, until a session was observed.
    beginnings: Option<Beginnings>,
    /// Rows that belong on the page and cannot be read.
    unreadable: Vec<UnreadableRow>,
}

impl OverviewContent {
    async fn read(
        reads: &Queries,
        (overview, ranking): (&AnswerCache<Overview>, &AnswerCache<SizingRanking>),
        attention: &AttentionWatch,
        (reached, now): (Reached, DateTime<Utc>),
    ) -> Result<Self, Problem> {
        let request = PageRequest::first(ROWS);
        let up = SessionFilter { status: SessionStatus::UP.to_vec(), ..SessionFilter::default() };
        let drifted = SessionFilter { drift: Some(DriftFilter::Open), ..up.clone() };
        let with = |outcome| RequestFilter { outcome: Some(outcome), ..RequestFilter::default() };
        let overview = overview.get(reached.0, reads.overview()).await?;
        let running = reads.sessions(&up, &request).await?;
        let drifts = reads.sessions(&drifted, &request).await?;
        let open = reads.observation_requests(&with(RequestOutcome::Open), &request).await?;
        let failed = reads.observation_requests(&with(RequestOutcome::Failed), &request).await?;
        let requested = open.items.iter().chain(&failed.items).map(|request| request.session_id.clone());
        let titles = reads.session_titles(requested.collect()).await?;
        let ranking = ranking.get(reached.0, reads.sizing_ranking(now)).await?;
        let gaps = reads.sizing_gaps(&ranking, &SizingGapFilter::default(), GAPS).await?;
        let (proposals, without_proposals) = proposals(reads, now).await?;
        let beginnings = match first_steps::is_observed(reads, &overview).await? {
            true => None,
            false => Some(first_steps::beginnings(reads, &overview).await?),
        };
        let attention = attention.look().await?;
        let over_those_up = |count: fn(&SessionCount) -> u64| {
            overview.sessions.iter().filter(|counted| SessionStatus::UP.contains(&counted.status)).map(count).sum()
        };
        let main = OverviewMain {
            now,
            attention: &attention,
            up: over_those_up(|count| count.sessions),
            drifted: over_those_up(|count| count.drifted.saturating_sub(count.drift_acknowledged)),
            drift_acknowledged: over_those_up(|count| count.drift_acknowledged),
            drift_unknown: over_those_up(|count| count.drift_unknown),
            in_all: overview.sessions.iter().map(|count| count.sessions).sum(),
            running: &running.items,
            drifts: &drifts.items,
            open: &open.items,
            failed: &failed.items,
            titles: &titles,
            gaps: &gaps.items.iter().map(GapRow::new).collect::<Vec<_>>(),
            proposals: &proposals,
            fresh: &overview.read_models,
            requests: &overview.requests,
        };
        let main = main.render().map_err(|error| Problem::internal("a page cannot be rendered", &error))?;
        let parts = [
            &overview.unreadable,
            &running.unreadable,
            &drifts.unreadable,
            &open.unreadable,
            &failed.unreadable,
            ranking.unreadable(),
            &gaps.unreadable,
            &without_proposals,
        ];
        let unreadable = parts.into_iter().flatten().cloned().collect();
        Ok(Self { main, attention: attention.badge(), beginnings, unreadable })
    }
}

pub(crate) async fn show(
    (State(queries), State(cache)): (State<Queries>, State<AnswerCache<OverviewContent>>),
    (State(overview), State(ranking)): (State<AnswerCache<Overview>>, State<AnswerCache<SizingRanking>>),
    (State(attention), State(controllers), State(site)): (State<AttentionWatch>, State<ControllerWatch>, State<Site>),
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    PageQuery(query): PageQuery<OverviewQuery>,
) -> Result<Response, Problem> {
    let reached = since.reached(&queries, &[ReadModel::Sessions, ReadModel::ObservationRequests]).await?;
    if query.format == Some(Format::Csv) {
        return as_csv(&queries, &attention, query.table.unwrap_or(Table::Requests)).await;
    }
    let read = OverviewContent::read(&queries, (&overview, &ranking), &attention, (reached, visit.now));
    let content = cache.get(reached.0, read).await?;
    let mut shell = Shell::new(&visit, Section::Overview).twin("/api/overview").live("/api/stream").refreshed();
    shell.attention = content.attention;
    let first_steps =
        content.beginnings.as_ref().map(|beginnings| FirstSteps::new(beginnings, &controllers, &site, &visit));
    let shell = shell.without(content.unreadable.iter().cloned());
    page(&OverviewPage { shell, first_steps, main: &content.main })
}

/// How many things need somebody, in words.
fn attention_words(attention: &Attention) -> String {
    let bad = (attention.bad > 0).then(|| match attention.bad {
        1 => "1 thing does not work".to_owned(),
        bad => format!("{bad} things do not work"),
    });
    let warn = (attention.warn > 0).then(|| match attention.warn {
        1 => "1 waits for somebody".to_owned(),
        warn => format!("{warn} wait for somebody"),
    });
    bad.into_iter().chain(warn).collect::<Vec<_>>().join(", ")
}

/// The row's id: of some kinds there are several.
fn attention_id(item: &AttentionItem, index: &usize) -> String {
    format!("attention-{}-{index}", item.kind.as_str())
}

fn attention_sign(item: &AttentionItem) -> &'static str {
    match item.severity {
        Severity::Bad => "✕",
        Severity::Warn => "▲",
    }
}

fn attention_severity(item: &AttentionItem) -> &'static str {
    match item.severity {
        Severity::Bad => "Does not work",
        Severity::Warn => "Waits for somebody",
    }
}

/// An open proposal with what it frees or protects.
struct WeightedProposal {
    id: ProposalId,
    definition_id: DefinitionId,
    definition_name: Option<String>,
    finding: Badge,
    status: Badge,
    changes: Vec<SizeChange>,
    /// In words, over the sessions of a week.
    saves: String,
    /// What is short comes first, then what is most.
    order: (bool, f64),
}

/// The open and claimed proposals: those that protect first, then those that free most.
async fn proposals(
    reads: &Queries,
    now: DateTime<Utc>,
) -> Result<(Vec<WeightedProposal>, Vec<UnreadableRow>), ReadError> {
    let of = |status| ProposalFilter { definition_id: None, status: Some(status) };
    let open = reads.proposals(&of(ProposalStatus::Open), &PageRequest::first(PROPOSALS)).await?;
    let claimed = reads.proposals(&of(ProposalStatus::Claimed), &PageRequest::first(PROPOSALS)).await?;
    let unreadable: Vec<UnreadableRow> = open.unreadable.into_iter().chain(claimed.unreadable).collect();
    let rows: Vec<ProposalRow> = open.items.into_iter().chain(claimed.items).collect();
    let ids: Vec<DefinitionId> = rows.iter().map(|row| row.definition_id.clone()).collect();
    let sessions = reads.sessions_ended_since(&ids, now - TimeDelta::weeks(i64::from(WEEKS))).await?;
    let mut all: Vec<WeightedProposal> = rows
        .into_iter()
        .map(|row| {
            let sessions = sessions.get(&row.definition_id).copied().unwrap_or_default();
            let saved = weekly_savings(&row.proposal.before, &row.proposal.after, sessions);
            let units: f64 =
                Resource::ALL.into_iter().map(|resource| (resource.part::<f64>(&saved) / resource.unit()).abs()).sum();
            WeightedProposal {
                finding: verdict::named(row.proposal.finding.into()),
                status: status(row.status),
                changes: size_changes(&row.proposal.before, &row.proposal.after),
                saves: saves(&saved, sessions),
                order: (row.proposal.finding != Finding::UnderProvisioned, -units),
                id: row.proposal.proposal_id,
                definition_id: row.definition_id,
                definition_name: row.definition_name,
            }
        })
        .collect();
    all.sort_by(|one, other| one.order.0.cmp(&other.order.0).then(one.order.1.total_cmp(&other.order.1)));
    all.truncate(ROWS as usize);
    Ok((all, unreadable))
}

/// What a size frees and what it gives more over the sessions of a week, in words.
fn saves(saved: &ByResource<f64>, sessions: u64) -> String {
    if sessions == 0 {
        return "no session ended in the last four weeks".to_owned();
    }
    let part = |resource: Resource| {
        let saved = *resource.part(saved);
        let amount = amounts::unbroken(&amounts::amount(resource, Some(saved.abs())));
        match saved {
            saved if saved > 0.0 => Some(format!("frees {amount} of {}", amounts::noun(resource))),
            saved if saved < 0.0 => Some(format!("protects {amount} of {}", amounts::noun(resource))),
            _ => None,
        }
    };
    let told: Vec<String> = Resource::ALL.into_iter().filter_map(part).collect();
    format!("{} a week", told.join(", "))
}

/// How a session's ports differ, in words.
fn differences(session: &SessionRow) -> String {
    let Some(drift) = &session.port_drift else { return "unknown how".to_owned() };
    let said = [(drift.added.len(), "added"), (drift.removed.len(), "removed"), (drift.changed.len(), "changed")];
    let said: Vec<String> =
        said.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    said.join(", ")
}

async fn as_csv(reads: &Queries, attention: &AttentionWatch, table: Table) -> Result<Response, Problem> {
    const FRESHNESS: [Column<Freshness>; 5] = [
        ("read_model", |row| row.read_model.name().to_owned()),
        ("events_behind", |row| row.events_behind.to_string()),
        ("dead_letters", |row| row.dead_letters.to_string()),
        ("updated_at", |row| time(&row.moved_at)),
        ("position", |row| row.position.to_string()),
    ];
    const ATTENTION: [Column<AttentionItem>; 7] = [
        ("severity", |row| row.severity.as_str().to_owned()),
        ("kind", |row| row.kind.as_str().to_owned()),
        ("count", |row| row.count.to_string()),
        ("what", |row| row.words.clone()),
        ("since", |row| cell(row.since.as_ref().map(time).as_ref())),
        ("next_step", |row| row.next_step.words.clone()),
        ("path_or_command", |row| cell(row.next_step.path.as_ref().or(row.next_step.command.as_ref()))),
    ];
    match table {
        Table::Attention => csv_of("attention", &ATTENTION, &attention.look().await?.items),
        Table::Requests => csv_of_requests(reads, "requests", &RequestFilter::default()).await,
        Table::Freshness => {
            let fresh = reads.freshness().await?;
            csv_without("freshness", &FRESHNESS, &fresh.items, &fresh.unreadable)
        }
    }
}
