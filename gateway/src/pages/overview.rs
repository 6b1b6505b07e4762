//! `GET /`: what runs now, what drifted, which requests are open or failed, how fresh everything is.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use projections::freshness::Freshness;
use projections::overview::{Overview, RequestCounts};
use projections::read_models::observation_requests::{ObservationRequestRow, RequestFilter, RequestOutcome};
use projections::read_models::observations::deviations::{DefinitionDeviation, Deviation, Resource};
use projections::read_models::sessions::{SessionFilter, SessionRow};
use projections::{Listed, Page, PageRequest, ReadError, ReadModel, UnreadableRow};
use serde::Deserialize;

use super::parts::{self, Badge, SessionLink, Tone, When};
use super::query::PageQuery;
use super::session::REQUESTS;
use super::sessions::UP;
use super::shell::{Section, Shell, page};
use super::table::{Column, Format, csv, csv_without, time};
use super::visit::Visit;
use crate::caller::{Caller, Viewing};
use crate::position::{Reached, Since};
use crate::problem::Problem;
use crate::state::Shared;

/// Rows of each of the page's lists.
const ROWS: u32 = 10;

/// Definitions that are off.
const OFF: u32 = 5;

/// Definitions that are off, of those that are downloaded.
const MOST_OFF: u32 = 100;

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
    Requests,
    Deviations,
    Freshness,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage<'a> {
    shell: Shell,
    up: u64,
    drifted: u64,
    drift_unknown: u64,
    in_all: u64,
    running: &'a [SessionRow],
    drifts: &'a [SessionRow],
    open: &'a [ObservationRequestRow],
    failed: &'a [ObservationRequestRow],
    off: &'a [DefinitionDeviation],
    fresh: &'a [Freshness],
    requests: &'a RequestCounts,
}

/// What the page shows to everybody.
#[derive(Debug)]
pub(crate) struct OverviewContent {
    overview: Arc<Overview>,
    running: Page<SessionRow>,
    drifts: Page<SessionRow>,
    open: Page<ObservationRequestRow>,
    failed: Page<ObservationRequestRow>,
    off: Listed<DefinitionDeviation>,
}

impl OverviewContent {
    async fn read(shared: &Shared, reached: Reached) -> Result<Self, ReadError> {
        let request = PageRequest::first(ROWS);
        let up = SessionFilter { status: UP.to_vec(), ..SessionFilter::default() };
        let drifted = SessionFilter { drift: Some(true), ..up.clone() };
        let with = |outcome| RequestFilter { outcome: Some(outcome), ..RequestFilter::default() };
        let reads = &shared.reads;
        Ok(Self {
            overview: shared.overview.get(reached.0, reads.overview()).await?,
            running: reads.sessions(&up, &request).await?,
            drifts: reads.sessions(&drifted, &request).await?,
            open: reads.observation_requests(&with(RequestOutcome::Open), &request).await?,
            failed: reads.observation_requests(&with(RequestOutcome::Failed), &request).await?,
            off: reads.definitions_off(OFF).await?,
        })
    }

    /// Rows that belong on the page and cannot be read.
    fn unreadable(&self) -> impl Iterator<Item = &UnreadableRow> {
        let parts = [
            &self.overview.unreadable,
            &self.running.unreadable,
            &self.drifts.unreadable,
            &self.open.unreadable,
            &self.failed.unreadable,
            &self.off.unreadable,
        ];
        parts.into_iter().flatten()
    }
}

pub(crate) async fn show(
    State(shared): State<Shared>,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    PageQuery(query): PageQuery<OverviewQuery>,
) -> Result<Response, Problem> {
    let reached = since.reached(&shared, &[ReadModel::Sessions, ReadModel::ObservationRequests]).await?;
    if query.format == Some(Format::Csv) {
        return as_csv(&shared, query.table.unwrap_or(Table::Requests)).await;
    }
    let content = shared.overview_page.get(reached.0, OverviewContent::read(&shared, reached)).await?;
    let counts = &content.overview.sessions;
    let over_those_up = |count: fn(&projections::read_models::sessions::SessionCount) -> u64| {
        counts.iter().filter(|counted| UP.contains(&counted.status)).map(count).sum()
    };
    page(&OverviewPage {
        shell: Shell::new(&visit, Section::Overview)
            .twin("/api/overview")
            .live("/api/stream")
            .without(content.unreadable().cloned()),
        up: over_those_up(|count| count.sessions),
        drifted: over_those_up(|count| count.drifted),
        drift_unknown: over_those_up(|count| count.drift_unknown),
        in_all: counts.iter().map(|count| count.sessions).sum(),
        running: &content.running.items,
        drifts: &content.drifts.items,
        open: &content.open.items,
        failed: &content.failed.items,
        off: &content.off.items,
        fresh: &content.overview.read_models,
        requests: &content.overview.requests,
    })
}

/// How a session's ports differ, in words.
fn differences(session: &SessionRow) -> String {
    let Some(drift) = &session.port_drift else { return "unknown how".to_owned() };
    let said = [(drift.added.len(), "added"), (drift.removed.len(), "removed"), (drift.changed.len(), "changed")];
    let said: Vec<String> =
        said.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    said.join(", ")
}

/// The resource with the largest gap.
fn largest(deviation: &DefinitionDeviation) -> &Deviation {
    match deviation.resource {
        Resource::CpuCores => &deviation.cpu_cores,
        Resource::MemoryGb => &deviation.memory_gb,
        Resource::StorageGb => &deviation.storage_gb,
    }
}

/// How much of what is configured is needed.
fn gap(deviation: &DefinitionDeviation) -> Badge {
    let what = match deviation.resource {
        Resource::CpuCores => "CPU",
        Resource::MemoryGb => "memory",
        Resource::StorageGb => "storage",
    };
    match deviation.ratio {
        ratio if ratio > 1.0 => {
            Badge::new(Tone::Warn, "▲", format!("{what} {}× over", parts::number(&deviation.ratio)))
        }
        ratio if ratio < 1.0 => {
            Badge::new(Tone::Calm, "▽", format!("{what} {} % used", parts::number(&(deviation.ratio * 100.0))))
        }
        _ => Badge::new(Tone::Good, "✓", "as configured"),
    }
}

fn configured(deviation: &DefinitionDeviation) -> String {
    let configured = f64::from(largest(deviation).configured);
    match deviation.resource {
        Resource::CpuCores => parts::known_cores(&Some(configured)),
        Resource::MemoryGb | Resource::StorageGb => format!("{} GB", parts::number(&configured)),
    }
}

fn observed(deviation: &DefinitionDeviation) -> String {
    let observed = &largest(deviation).observed_max;
    match deviation.resource {
        Resource::CpuCores => parts::known_cores(observed),
        Resource::MemoryGb | Resource::StorageGb => parts::known_gb(observed),
    }
}

async fn as_csv(shared: &Shared, table: Table) -> Result<Response, Problem> {
    const DEVIATIONS: [Column<DefinitionDeviation>; 7] = [
        ("definition_id", |row| row.definition_id.to_string()),
        ("name", |row| row.name.clone()),
        ("largest_gap", |row| gap(row).words),
        ("ratio", |row| row.ratio.to_string()),
        ("configured", |row| configured(row)),
        ("observed_max", |row| observed(row)),
        ("sessions", |row| row.sessions.to_string()),
    ];
    const FRESHNESS: [Column<Freshness>; 5] = [
        ("read_model", |row| row.read_model.name().to_owned()),
        ("events_behind", |row| row.events_behind.to_string()),
        ("dead_letters", |row| row.dead_letters.to_string()),
        ("updated_at", |row| time(&row.moved_at)),
        ("position", |row| row.position.to_string()),
    ];
    let reads = &shared.reads;
    match table {
        Table::Requests => {
            let filter = &RequestFilter::default();
            csv("requests", &REQUESTS, |request| async move { reads.observation_requests(filter, &request).await })
                .await
        }
        Table::Deviations => {
            let off = reads.definitions_off(MOST_OFF).await?;
            csv_without("deviations", &DEVIATIONS, &off.items, &off.unreadable)
        }
        Table::Freshness => {
            let fresh = reads.freshness().await?;
            csv_without("freshness", &FRESHNESS, &fresh.items, &fresh.unreadable)
        }
    }
}
