//! What the observed sessions of a definition say together, beside what is configured.

use advice::recommendation::Recommendation;
use askama::Template;
use askama::filters::HtmlSafe;
use domain::demand::{Demand, DemandSource};
use domain::resource::Resource;
use projections::read_models::definitions::DefinitionRow;
use projections::read_models::observations::{DefinitionObservations, ObservedSession, Spread};
use uuid::Uuid;

use crate::pages::advice::amounts::{amount, noun};
use crate::pages::charts::{Chart, InUse, Measured, Point, spread};
use crate::pages::parts::{self, Badge, Tone};
use crate::pages::verdict;

/// The panel *Observed resources*.
pub(crate) struct Observed {
    /// Sessions that count.
    pub(crate) sessions: u64,
    /// Observations of them.
    pub(crate) observations: u64,
    /// What more sessions say that these do not.
    pub(crate) wider: Vec<String>,
    /// CPU, memory, storage, nodes.
    pub(crate) quantities: [Quantity; 4],
    /// Whether ports drifted.
    pub(crate) drift: Badge,
    /// A chart for each quantity that can be revised, with what is configured. Empty where nothing was observed.
    pub(crate) charts: Vec<ObservedChart>,
}

/// One quantity, session by session.
pub(crate) struct ObservedChart {
    /// The quantity, and what kind of number its bars are.
    pub(crate) name: &'static str,
    pub(crate) configured: String,
    /// How what the sessions used at their peaks is spread.
    pub(crate) used: String,
    pub(crate) chart: Chart,
}

/// One quantity over the sessions, in the definition's unit.
pub(crate) struct Quantity {
    pub(crate) name: &'static str,
    /// Nominal or measured, which are never mixed.
    pub(crate) kind: &'static str,
    pub(crate) configured: String,
    pub(crate) max: SourcedNumber,
    pub(crate) average: String,
    pub(crate) latest: SourcedNumber,
    pub(crate) unknown: u64,
    /// Whether it fits, by what sessions used; of nodes, whether there are as many as stated.
    pub(crate) verdict: Badge,
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
        recommended: Option<&Recommendation>,
    ) -> Self {
        let sizing = recommended.and_then(|recommended| recommended.sizing.as_ref());
        // What sessions used decides: a size is not right because its nodes were given less.
        let sized = |resource: Resource| {
            sizing.map_or_else(
                || Badge::new(Tone::Calm, "?", "unknown"),
                |sizing| verdict::sized(resource, resource.part(sizing)),
            )
        };
        let (all, needs) = (&observed.aggregate, &now.resource_requirements);
        let nodes = now.node_count.map(f64::from);
        let (sessions, drifted, unknown) =
            (observed.sessions.len() as u64, all.port_drift_sessions, all.port_drift_unknown_sessions);
        Self {
            sessions,
            observations: observed.observation_count,
            wider: recommended.map(|recommended| wider(observed, recommended)).unwrap_or_default(),
            quantities: [
                quantity(
                    ("CPU cores", "nominal"),
                    Some(needs.cpu_cores.get().into()),
                    &all.cpu_cores,
                    (|cores| cores, ""),
                    sized(Resource::CpuCores),
                ),
                quantity(
                    ("Memory", "nominal"),
                    Some(needs.memory_gb.get().into()),
                    &all.memory_mb,
                    (parts::gigabytes, " GB"),
                    sized(Resource::MemoryMb),
                ),
                quantity(
                    ("Storage", "measured"),
                    Some(needs.storage_gb.get().into()),
                    &all.storage_mb,
                    (parts::gigabytes, " GB"),
                    sized(Resource::StorageMb),
                ),
                quantity(
                    ("Node count", "counted"),
                    nodes,
                    &counts(&all.node_count),
                    (|count| count, ""),
                    compared(nodes, counts(&all.node_count).max),
                ),
            ],
            drift: drift(sessions, drifted, unknown),
            charts: if observed.sessions.is_empty() { Vec::new() } else { charts(now, &observed.sessions) },
        }
    }
}

fn counts(spread: &Spread<u64>) -> Spread<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a lab has at most some thousand nodes")]
    let float = |count: u64| count as f64;
    Spread {
        max: spread.max.map(float),
        max_event_id: spread.max_event_id,
        avg: spread.avg,
        latest: spread.latest.map(float),
        latest_event_id: spread.latest_event_id,
        known_sessions: spread.known_sessions,
        unknown_sessions: spread.unknown_sessions,
    }
}

fn quantity(
    (name, kind): (&'static str, &'static str),
    configured: Option<f64>,
    spread: &Spread<f64>,
    (convert, unit): (fn(f64) -> f64, &str),
    verdict: Badge,
) -> Quantity {
    let told = |value: Option<f64>| {
        value.map_or_else(|| "unknown".to_owned(), |value| format!("{}{unit}", parts::number(&convert(value))))
    };
    Quantity {
        name,
        kind,
        configured: configured
            .map_or_else(|| "not stated".to_owned(), |value| format!("{}{unit}", parts::number(&value))),
        max: SourcedNumber::new(told(spread.max), spread.max_event_id),
        average: told(spread.avg),
        latest: SourcedNumber::new(told(spread.latest), spread.latest_event_id),
        unknown: spread.unknown_sessions,
        verdict,
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

/// Where more sessions say otherwise than the ones that are looked at: of what these used at most, and all did.
fn wider(observed: &DefinitionObservations, recommended: &Recommendation) -> Vec<String> {
    let otherwise = |resource: Resource| {
        let used = observed.sessions.iter().filter_map(|one| Some(resource.part(&one.resources).steady?.value));
        let here = used.reduce(f64::max)?;
        let found = resource.part(&recommended.resources);
        let all = found.demand.max.filter(|all| *all > here + resource.smallest())?;
        Some(format!(
            "over all {} that ended, up to {} of {} were used, in these up to {}",
            parts::counted(&found.sessions, "session"),
            amount(resource, Some(all)),
            noun(resource),
            amount(resource, Some(here))
        ))
    };
    Resource::ALL.into_iter().filter_map(otherwise).collect()
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

fn charts(now: &DefinitionRow, sessions: &[ObservedSession]) -> Vec<ObservedChart> {
    type Amount = fn(&ObservedSession) -> Option<f64>;
    type Used = fn(&ObservedSession) -> Option<InUse>;
    let needs = &now.resource_requirements;
    let chart = |id, name, unit, configured: u32, value: Amount, used: Used| {
        let oldest_first = sessions.iter().rev();
        let point = |session: &ObservedSession| Point {
            name: session.session_id.to_string(),
            at: session.observed_at,
            value: value(session),
            used: used(session),
        };
        let points: Vec<Point> = oldest_first.map(point).collect();
        let title = format!("{name} of {} against what is configured", counted(points.len()));
        ObservedChart {
            name,
            configured: configured.to_string(),
            used: spread(unit, sessions.iter().map(used)).unwrap_or_else(|| "unknown".to_owned()),
            chart: Chart::bars(id, &title, unit, &points, Some(configured.into())),
        }
    };
    let cores_used: Used = |session| peak(&session.resources.cpu_cores, |cores| cores);
    let memory_used: Used = |session| peak(&session.resources.memory_mb, parts::gigabytes);
    let storage_used: Used = |session| peak(&session.resources.storage_mb, parts::gigabytes);
    let memory: Amount = |session| session.memory_mb.map(parts::gigabytes);
    // Of storage nothing is nominal: its bars are what was used.
    let storage: Amount = |session| session.resources.storage_mb.steady.map(|peak| parts::gigabytes(peak.value));
    let [cores, memory_gb, storage_gb] = [needs.cpu_cores.get(), needs.memory_gb.get(), needs.storage_gb.get()];
    vec![
        chart("chart-cpu", "CPU cores, nominal", "cores", cores, |session| session.cpu_cores, cores_used),
        chart("chart-memory", "Memory GB, nominal", "GB", memory_gb, memory, memory_used),
        chart("chart-storage", "Storage GB, measured", "GB", storage_gb, storage, storage_used),
    ]
}

/// The peak of the steady phase, as it is drawn.
fn peak(demand: &Demand<Uuid>, shown: fn(f64) -> f64) -> Option<InUse> {
    let peak = demand.steady?;
    let measured = match peak.source {
        DemandSource::Profile => Measured::Sampled,
        DemandSource::Snapshot => Measured::BySnapshots,
    };
    Some(InUse { amount: shown(peak.value), measured })
}

fn counted(sessions: usize) -> String {
    parts::counted(&(sessions as u64), "session")
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
