//! What a session used, boot and steady apart, from the profile of an observation; and `GET /sessions/{id}/usage`, the same
//! for each of its nodes, the greatest peak first.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::SessionId;
use domain::lablet_session::LabletSession;
use domain::observation::{GapReason, PhaseProfile, Profile, Spread};
use projections::read_models::observations::{ObservationFilter, ObservedNodeProfile, ObservedProfile};
use projections::{PageRequest, ReadModel};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::caller::{Caller, Viewing};
use crate::pages::charts::round_top;
use crate::pages::parts::{self, When};
use crate::pages::pressure::ShortWorker;
use crate::pages::query::{PageQuery, address};
use crate::pages::shell::{Section, Shell, page};
use crate::pages::table::{Column, Format, cell, csv_of};
use crate::pages::usage_bars::UsageBars;
use crate::pages::visit::Visit;
use crate::path::Id;
use crate::problem::Problem;
use crate::queries::Queries;

/// Nodes on one page.
const NODES: usize = 24;
/// Observations that are asked whether the worker was short, the newest.
const OBSERVATIONS: u32 = 12;

/// A resource that is sampled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Resource {
    /// Cores.
    #[default]
    CpuCores,
    /// MB of memory.
    MemoryMb,
    /// MB on disk.
    StorageMb,
}

impl Resource {
    pub(super) const ALL: [Self; 3] = [Self::CpuCores, Self::MemoryMb, Self::StorageMb];

    pub(super) fn field(self) -> &'static str {
        match self {
            Self::CpuCores => "cpu_cores",
            Self::MemoryMb => "memory_mb",
            Self::StorageMb => "storage_mb",
        }
    }

    fn unit_in_files(self) -> &'static str {
        match self {
            Self::CpuCores => "cores",
            Self::MemoryMb | Self::StorageMb => "MB",
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CpuCores => "CPU",
            Self::MemoryMb => "Memory",
            Self::StorageMb => "Storage",
        }
    }

    /// The unit in which it is shown.
    fn unit(self) -> &'static str {
        match self {
            Self::CpuCores => "cores",
            Self::MemoryMb | Self::StorageMb => "GB",
        }
    }

    fn shown(self) -> fn(f64) -> f64 {
        match self {
            Self::CpuCores => |cores| cores,
            Self::MemoryMb | Self::StorageMb => parts::gigabytes,
        }
    }

    fn words(self, amount: Option<f64>) -> String {
        match self {
            Self::CpuCores => parts::known_cores(&amount),
            Self::MemoryMb | Self::StorageMb => parts::known_gb(&amount),
        }
    }

    fn spread_in(self, phase: Option<&PhaseProfile>) -> Option<Spread> {
        let phase = phase?;
        match self {
            Self::CpuCores => phase.cpu_cores,
            Self::MemoryMb => phase.memory_mb,
            Self::StorageMb => phase.storage_mb,
        }
    }

    fn bars(self, id: &str, of: &str, [boot, steady]: [Option<&PhaseProfile>; 2], scale: Option<f64>) -> UsageBars {
        let title = format!("{} in use{of}, boot and steady", self.name());
        UsageBars::new(id, &title, self.unit(), [self.spread_in(boot), self.spread_in(steady)], self.shown(), scale)
    }
}

/// The panel *Use: boot and steady*.
pub(super) struct Usage {
    pub(super) event_id: Uuid,
    pub(super) observed_at: DateTime<Utc>,
    /// How much was sampled, in words.
    pub(super) sampled: String,
    pub(super) resources: Vec<ResourceUse>,
    pub(super) rows: Vec<UsageRow>,
    pub(super) gaps: Vec<String>,
}

/// One resource, drawn.
pub(super) struct ResourceUse {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) bars: UsageBars,
}

/// A resource in one phase. Null is unknown.
pub(super) struct UsageRow {
    pub(super) resource: Resource,
    pub(super) phase: &'static str,
    pub(super) peak: Option<f64>,
    pub(super) p95: Option<f64>,
    pub(super) mean: Option<f64>,
}

impl UsageRow {
    fn new(resource: Resource, phase: &'static str, profile: Option<&PhaseProfile>) -> Self {
        let spread = resource.spread_in(profile).unwrap_or_default();
        let [peak, p95, mean] = [spread.peak(), spread.p95(), spread.mean()].map(|amount| amount.map(|a| a.get()));
        Self { resource, phase, peak, p95, mean }
    }

    pub(super) fn name(&self) -> &'static str {
        self.resource.name()
    }

    pub(super) fn shown(&self, amount: &Option<f64>) -> String {
        self.resource.words(*amount)
    }
}

impl Usage {
    /// What this profile says.
    pub(super) fn new(observed: &ObservedProfile) -> Self {
        let profile = &observed.profile;
        let (boot, steady) = (profile.boot(), profile.steady());
        let phases = [("boot", boot), ("steady", steady)];
        Self {
            event_id: observed.event_id,
            observed_at: observed.observed_at,
            sampled: sampled(profile),
            resources: Resource::ALL
                .into_iter()
                .map(|resource| ResourceUse {
                    name: resource.name(),
                    unit: resource.unit(),
                    bars: resource.bars(&format!("usage-{}", resource.field()), "", [boot, steady], None),
                })
                .collect(),
            rows: Resource::ALL
                .into_iter()
                .flat_map(|resource| phases.map(|(phase, profile)| UsageRow::new(resource, phase, profile)))
                .collect(),
            gaps: profile
                .gaps()
                .iter()
                .map(|gap| {
                    let seconds = (gap.to().at() - gap.from().at()).num_seconds();
                    format!("{} UTC, {seconds} s: {}", parts::to_second(gap.from().at()), reason(gap.reason()))
                })
                .collect(),
        }
    }
}

/// E.g. `110 samples, 10 missed`.
fn sampled(profile: &Profile) -> String {
    let samples = profile.samples().map(|count| parts::counted(&count.get(), "sample"));
    let missed = profile.missed_samples().map(|count| format!("{} missed", count.get()));
    match (samples, missed) {
        (Some(samples), Some(missed)) => format!("{samples}, {missed}"),
        (Some(words), None) | (None, Some(words)) => words,
        (None, None) => "number of samples unknown".to_owned(),
    }
}

/// Why there are no samples of a time.
fn reason(reason: GapReason) -> &'static str {
    match reason {
        GapReason::ControllerAway => "no controller sampled the session",
        GapReason::WorkerAway => "the worker could not be reached",
        GapReason::WorkerSlow => "the worker did not answer in time",
        GapReason::AccessRefused => "the worker did not let the controller in",
        GapReason::Unreadable => "the worker's answer could not be read",
        GapReason::Repeated => "the worker repeated what it had said before",
        GapReason::SocketSilent => "the open socket brought nothing",
        GapReason::LabStopped => "no node of the lab ran",
    }
}

/// What a session used as CSV, in the API's units.
pub(super) const USAGE: [Column<UsageRow>; 6] = [
    ("resource", |row| row.resource.field().to_owned()),
    ("unit", |row| row.resource.unit_in_files().to_owned()),
    ("phase", |row| row.phase.to_owned()),
    ("peak", |row| cell(row.peak.as_ref())),
    ("p95", |row| cell(row.p95.as_ref())),
    ("mean", |row| cell(row.mean.as_ref())),
];

/// In which order the nodes are shown, and from which on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsageQuery {
    /// By the peak of which resource.
    #[serde(default)]
    sort: Resource,
    /// How many nodes were on the pages before.
    #[serde(skip_serializing_if = "Option::is_none")]
    passed: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
}

#[derive(Template)]
#[template(path = "session/usage.html")]
struct UsagePage {
    shell: Shell,
    session_id: SessionId,
    observed: Option<ObservedProfile>,
    short_worker: Option<ShortWorker>,
    nodes: Vec<NodeUse>,
    /// Nodes on all pages.
    count: u64,
    /// Where the axes of all nodes end, on all pages.
    scale: String,
    is_all: bool,
    passed: usize,
    sorts: [Sort; 3],
    csv: String,
    next: Option<String>,
}

/// A way to sort.
struct Sort {
    name: &'static str,
    path: String,
    is_chosen: bool,
}

/// One node, drawn and in figures.
struct NodeUse {
    label: String,
    node_definition: String,
    restarts: Option<u64>,
    words: String,
    bars: UsageBars,
    /// Of the resource that is drawn.
    rows: [UsageRow; 2],
}

pub(crate) async fn show(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    visit: Visit,
    Id(session_id): Id<SessionId>,
    PageQuery(query): PageQuery<UsageQuery>,
) -> Result<Response, Problem> {
    let ask = || queries.session_summary(&session_id);
    queries.row::<LabletSession, _, _>(ReadModel::Sessions, ("session", session_id.as_str()), ask).await?;
    let observed = queries.newest_profile(&session_id).await?;
    let mut nodes = match &observed {
        Some(observed) => queries.node_profiles(observed.event_id).await?,
        None => Vec::new(),
    };
    let sort = query.sort;
    // Unknown comes last; nodes with the same peak stay in the order of the observation.
    nodes.sort_by(|one, other| peak(other, sort).unwrap_or(-1.0).total_cmp(&peak(one, sort).unwrap_or(-1.0)));
    if query.format == Some(Format::Csv) {
        return csv_of(&format!("usage-of-nodes-of-{session_id}"), &NODE_USAGE, &nodes);
    }
    let of_session = ObservationFilter { session_id: Some(session_id.clone()), definition_id: None };
    let observations = queries.observations(&of_session, &PageRequest::first(OBSERVATIONS)).await?;
    let greatest = nodes.first().and_then(|node| peak(node, sort));
    let (count, passed) = (nodes.len(), query.passed.unwrap_or(0).min(nodes.len()));
    let path = format!("/sessions/{session_id}/usage");
    let to = |query: UsageQuery| address(&path, &query);
    let twin = observed.as_ref().map(|observed| format!("/api/events/{}", observed.event_id));
    let shell = Shell::new(&visit, Section::Sessions);
    page(&UsagePage {
        shell: match twin {
            Some(twin) => shell.twin(twin),
            None => shell,
        },
        nodes: nodes
            .iter()
            .enumerate()
            .skip(passed)
            .take(NODES)
            .map(|(at, node)| node_use(at, node, sort, greatest))
            .collect(),
        count: count as u64,
        scale: format!("{} {}", parts::number(&round_top(greatest.map_or(0.0, sort.shown()))), sort.unit()),
        is_all: nodes.len() <= NODES,
        passed,
        sorts: Resource::ALL.map(|resource| Sort {
            name: resource.name(),
            path: to(UsageQuery { sort: resource, ..UsageQuery::default() }),
            is_chosen: resource == sort,
        }),
        csv: to(UsageQuery { sort, format: Some(Format::Csv), passed: None }),
        next: (passed + NODES < count).then(|| to(UsageQuery { sort, passed: Some(passed + NODES), format: None })),
        session_id,
        observed,
        short_worker: ShortWorker::from_observations(&observations.items),
    })
}

/// The greater of both phases' peaks.
fn peak(node: &ObservedNodeProfile, resource: Resource) -> Option<f64> {
    let profile = node.profile.as_ref()?;
    let peak = |phase: Option<&PhaseProfile>| Some(resource.spread_in(phase)?.peak()?.get());
    peak(profile.boot.as_ref()).into_iter().chain(peak(profile.steady.as_ref())).reduce(f64::max)
}

fn node_use(at: usize, node: &ObservedNodeProfile, resource: Resource, scale: Option<f64>) -> NodeUse {
    let (boot, steady) = node.profile.as_ref().map_or((None, None), |p| (p.boot.as_ref(), p.steady.as_ref()));
    let label = if node.label.trim().is_empty() { node.node_id.clone() } else { node.label.clone() };
    NodeUse {
        restarts: node.profile.as_ref().and_then(|profile| profile.restarts).map(|count| count.get()),
        words: resource.words(peak(node, resource)),
        rows: [UsageRow::new(resource, "boot", boot), UsageRow::new(resource, "steady", steady)],
        bars: resource.bars(&format!("node-usage-{at}"), &format!(" by {label}"), [boot, steady], scale),
        node_definition: node.node_definition.clone(),
        label,
    }
}

fn figure(node: &ObservedNodeProfile, is_boot: bool, resource: Resource) -> String {
    let phase = node.profile.as_ref().and_then(|p| if is_boot { p.boot.as_ref() } else { p.steady.as_ref() });
    cell(resource.spread_in(phase).and_then(|spread| spread.peak()).map(|amount| amount.get()).as_ref())
}

const NODE_USAGE: [Column<ObservedNodeProfile>; 10] = [
    ("node_id", |node| node.node_id.clone()),
    ("label", |node| node.label.clone()),
    ("node_definition", |node| node.node_definition.clone()),
    ("restarts", |node| cell(node.profile.and_then(|p| p.restarts).map(|count| count.get()).as_ref())),
    ("boot_peak_cpu_cores", |node| figure(node, true, Resource::CpuCores)),
    ("boot_peak_memory_mb", |node| figure(node, true, Resource::MemoryMb)),
    ("boot_peak_storage_mb", |node| figure(node, true, Resource::StorageMb)),
    ("steady_peak_cpu_cores", |node| figure(node, false, Resource::CpuCores)),
    ("steady_peak_memory_mb", |node| figure(node, false, Resource::MemoryMb)),
    ("steady_peak_storage_mb", |node| figure(node, false, Resource::StorageMb)),
];
