//! What the observed sessions of a definition say together, beside what is configured.

use advice::recommendation::Recommendation;
use advice::sizing::{RecommendedSize, Sizing, SizingFacts};
use askama::Template;
use askama::filters::HtmlSafe;
use domain::demand::{Demand, DemandSource};
use domain::lablet_definition::ResourceRequirements;
use domain::resource::Resource;
use projections::read_models::definitions::DefinitionRow;
use projections::read_models::observations::{
    DefinitionObservations, ObservedSession, Quantity as Measure, Spread, WiderScope,
};
use projections::read_models::sessions::SessionTitles;
use uuid::Uuid;

use super::use_charts::UseCharts;
use crate::pages::advice::amounts::{amount, noun};
use crate::pages::parts::{self, Badge, Tone};
use crate::pages::verdict;

/// The panel *Observed resources*.
pub(crate) struct Observed {
    /// Sessions that count.
    pub(crate) sessions: u64,
    /// Observations of them.
    pub(crate) observations: u64,
    /// Which sessions count, in words.
    pub(crate) scope: String,
    /// Observed sessions of the definition.
    pub(crate) of_sessions: u64,
    /// What more sessions say that these do not.
    pub(crate) wider: Vec<String>,
    /// What was used and what was allocated of each resource, and the nodes.
    pub(crate) quantities: Vec<Quantity>,
    /// Whether ports drifted.
    pub(crate) drift: Badge,
    /// What was used, session by session and week by week; `None`: nothing was observed.
    pub(crate) charts: Option<UseCharts>,
}

/// One quantity over the sessions, in the definition's unit.
pub(crate) struct Quantity {
    pub(crate) name: &'static str,
    /// Used, allocated or measured, which are never mixed.
    pub(crate) kind: &'static str,
    pub(crate) configured: String,
    pub(crate) max: SourcedNumber,
    /// What at least 95 % of the sessions did not exceed.
    pub(crate) p95: String,
    pub(crate) average: String,
    pub(crate) latest: SourcedNumber,
    pub(crate) unknown: u64,
    /// Whether it fits, by what sessions used; of nodes, whether there are as many as stated. `None`: of this nothing is
    /// judged.
    pub(crate) verdict: Option<Badge>,
    /// What the sessions in scope alone would say, where that is another verdict.
    pub(crate) alone: Option<String>,
}

/// A number with the event that it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Template)]
#[template(
    source = r#"{% if let Some(event) = event_id %}<a href="/events/{{ event }}" title="The event that says so">{{ words }}</a>{% else %}{{ words }}{% endif %}"#,
    ext = "html"
)]
pub(crate) struct SourcedNumber {
    words: String,
    event_id: Option<Uuid>,
}

impl HtmlSafe for SourcedNumber {}

impl SourcedNumber {
    fn new(words: String, event_id: Option<Uuid>) -> Self {
        Self { words, event_id }
    }

    /// A number of a session's row. Its event is named where it is not the row's own.
    pub(crate) fn from_session(words: impl AsRef<str>, event_id: &Option<Uuid>, session: &ObservedSession) -> Self {
        Self::new(words.as_ref().to_owned(), event_id.filter(|id| *id != session.observed_event_id))
    }
}

/// What a session used at the peak of its steady phase, with the event that says so and how it was measured.
#[derive(Debug, Clone, PartialEq, Eq, Template)]
#[template(
    source = r#"{{ amount }}{% if is_by_snapshots %} <span class="quiet" title="The greatest of its observations, each of one instant: the peak may have been between them">by snapshots</span>{% endif %}"#,
    ext = "html"
)]
pub(crate) struct UsedAmount {
    amount: SourcedNumber,
    is_by_snapshots: bool,
}

impl HtmlSafe for UsedAmount {}

impl UsedAmount {
    /// Of CPU, in cores.
    pub(crate) fn cores(demand: &Demand<Uuid>) -> Self {
        Self::new(demand, parts::known)
    }

    /// Of memory or storage, in GB.
    pub(crate) fn gigabytes(demand: &Demand<Uuid>) -> Self {
        Self::new(demand, parts::known_gb)
    }

    fn new(demand: &Demand<Uuid>, words: fn(&Option<f64>) -> String) -> Self {
        let peak = demand.steady;
        Self {
            amount: SourcedNumber::new(words(&peak.map(|peak| peak.value)), peak.map(|peak| peak.event_id)),
            is_by_snapshots: peak.is_some_and(|peak| peak.source == DemandSource::Snapshot),
        }
    }
}

impl Observed {
    /// Of this definition.
    pub(crate) fn new(
        now: &DefinitionRow,
        observed: &DefinitionObservations,
        titles: &SessionTitles,
        recommended: Option<&Recommendation>,
    ) -> Self {
        let (all, needs) = (&observed.aggregate, &now.resource_requirements);
        let nodes = now.node_count.map(f64::from);
        let node_counts = counts(&all.node_count);
        let stated = |resource: Resource| Some(f64::from(resource.configured(needs)));
        // What sessions used decides: a size is not right because its nodes were given less.
        let used = |resource: Resource| Quantity {
            verdict: Some(sized(resource, recommended)),
            alone: recommended.and_then(|found| alone(resource, needs, resource.part(&all.used), found)),
            ..quantity(resource, "used at peak", stated(resource), resource.part(&all.used))
        };
        let given = |resource, kind, spread| quantity(resource, kind, stated(resource), spread);
        let (sessions, drifted, unknown) =
            (observed.scope.sessions, all.port_drift_sessions, all.port_drift_unknown_sessions);
        Self {
            sessions,
            observations: observed.observation_count,
            scope: observed.scope.description.clone(),
            of_sessions: observed.scope.of_sessions,
            wider: observed.wider.iter().map(|one| wider(one, observed.scope.of_sessions)).collect(),
            quantities: vec![
                used(Resource::CpuCores),
                given(Resource::CpuCores, "allocated", &all.cpu_cores),
                used(Resource::MemoryMb),
                given(Resource::MemoryMb, "allocated", &all.memory_mb),
                used(Resource::StorageMb),
                given(Resource::StorageMb, "measured last", &all.storage_mb),
                Quantity {
                    verdict: Some(compared(nodes, node_counts.max)),
                    ..told(("Nodes", "counted"), nodes, &node_counts, |count| count, "")
                },
            ],
            drift: drift(sessions, drifted, unknown),
            charts: UseCharts::new(&observed.sessions, &observed.weeks, titles),
        }
    }
}

fn counts(spread: &Spread<u64>) -> Spread<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a lab has at most some thousand nodes")]
    let float = |count: u64| count as f64;
    Spread {
        max: spread.max.map(float),
        max_event_id: spread.max_event_id,
        p95: spread.p95.map(float),
        avg: spread.avg,
        latest: spread.latest.map(float),
        latest_event_id: spread.latest_event_id,
        known_sessions: spread.known_sessions,
        unknown_sessions: spread.unknown_sessions,
    }
}

/// The verdict on a resource.
fn sized(resource: Resource, recommended: Option<&Recommendation>) -> Badge {
    recommended.and_then(|recommended| recommended.sizing.as_ref()).map_or_else(
        || Badge::new(Tone::Calm, "?", "unknown"),
        |sizing| verdict::sized(resource, resource.part(sizing)),
    )
}

/// What the sessions in scope alone would say of a size, by the same rule, where that is another verdict.
fn alone(
    resource: Resource,
    stated: &ResourceRequirements,
    used: &Spread<f64>,
    recommended: &Recommendation,
) -> Option<String> {
    let whole = resource.part(recommended.sizing.as_ref()?);
    let configured = Some(f64::from(resource.configured(stated)) * resource.unit());
    let unadvised = RecommendedSize { configured, requirement: None, finding: None, sessions: used.known_sessions };
    let facts = SizingFacts { ended_sessions: used.known_sessions, largest_use: Some(used.max?) };
    let of_scope = Sizing::new(resource, unadvised, facts, &recommended.policy);
    (of_scope.verdict != whole.verdict).then(|| format!("these alone: {}", verdict::sized(resource, &of_scope).words))
}

fn quantity(resource: Resource, kind: &'static str, configured: Option<f64>, spread: &Spread<f64>) -> Quantity {
    match resource {
        Resource::CpuCores => told(("CPU cores", kind), configured, spread, |cores| cores, ""),
        Resource::MemoryMb => told(("Memory", kind), configured, spread, parts::gigabytes, " GB"),
        Resource::StorageMb => told(("Storage", kind), configured, spread, parts::gigabytes, " GB"),
    }
}

fn told(
    (name, kind): (&'static str, &'static str),
    configured: Option<f64>,
    spread: &Spread<f64>,
    convert: fn(f64) -> f64,
    unit: &str,
) -> Quantity {
    let words = |value: Option<f64>| {
        value.map_or_else(|| "unknown".to_owned(), |value| format!("{}{unit}", parts::number(&convert(value))))
    };
    Quantity {
        name,
        kind,
        configured: configured
            .map_or_else(|| "not stated".to_owned(), |value| format!("{}{unit}", parts::number(&value))),
        max: SourcedNumber::new(words(spread.max), spread.max_event_id),
        p95: words(spread.p95),
        average: words(spread.avg),
        latest: SourcedNumber::new(words(spread.latest), spread.latest_event_id),
        unknown: spread.unknown_sessions,
        verdict: None,
        alone: None,
    }
}

/// How the greatest number of nodes compares with the stated one.
fn compared(stated: Option<f64>, max: Option<f64>) -> Badge {
    match (stated, max) {
        (_, None) => Badge::new(Tone::Calm, "?", "unknown"),
        (None, Some(_)) => Badge::new(Tone::Calm, "○", "nothing to compare with"),
        (Some(stated), Some(max)) if max > stated => {
            Badge::new(Tone::Warn, "▲", format!("{} more than stated", parts::number(&(max - stated))))
        }
        (Some(stated), Some(max)) if max < stated => {
            Badge::new(Tone::Warn, "▽", format!("{} fewer than stated", parts::number(&(stated - max))))
        }
        (Some(_), Some(_)) => Badge::new(Tone::Good, "✓", "as stated"),
    }
}

/// What all sessions say that those in scope do not.
fn wider(more: &WiderScope, of_sessions: u64) -> String {
    let WiderScope { resource, quantity, max_in_scope, max_of_all } = more;
    let was = match quantity {
        Measure::Nominal => "allocated",
        Measure::Used => "used",
    };
    format!(
        "over all {} at most {} of {} were {was}, in this scope {}",
        parts::counted(&of_sessions, "session"),
        amount(*resource, Some(*max_of_all)),
        noun(*resource),
        amount(*resource, *max_in_scope)
    )
}

/// In how many sessions ports drifted. What is unknown is neither drift nor none.
fn drift(sessions: u64, drifted: u64, unknown: u64) -> Badge {
    if sessions == 0 {
        return Badge::new(Tone::Calm, "?", "drift unknown: nothing was observed");
    }
    let mut words = format!("drift in {drifted} of {sessions} sessions");
    if unknown > 0 {
        words.push_str(&format!(" (and {unknown} unknown)"));
    }
    match (drifted, unknown) {
        (1.., _) => Badge::new(Tone::Warn, "▲", words),
        (0, 0) => Badge::new(Tone::Good, "✓", words),
        (0, _) => Badge::new(Tone::Calm, "?", words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_is_neither_drift_nor_none() {
        let told = |sessions, drifted, unknown| {
            let badge = drift(sessions, drifted, unknown);
            (badge.tone, badge.words)
        };
        assert_eq!(told(20, 3, 2), (Tone::Warn, "drift in 3 of 20 sessions (and 2 unknown)".to_owned()));
        assert_eq!(told(20, 0, 2), (Tone::Calm, "drift in 0 of 20 sessions (and 2 unknown)".to_owned()));
        assert_eq!(told(20, 0, 0), (Tone::Good, "drift in 0 of 20 sessions".to_owned()));
        assert_eq!(told(0, 0, 0).0, Tone::Calm);
    }

    #[test]
    fn the_number_of_nodes_is_compared_with_the_stated_one() {
        let told = |stated, max| compared(stated, max).words;
        assert_eq!(told(Some(8.0), Some(10.0)), "2 more than stated");
        assert_eq!(told(Some(8.0), Some(6.0)), "2 fewer than stated");
        assert_eq!(told(Some(8.0), Some(8.0)), "as stated");
        assert_eq!(told(Some(8.0), None), "unknown");
        assert_eq!(told(None, Some(8.0)), "nothing to compare with");
    }
}
