//! What the sessions of a definition used, one after the other and week by week, against what was configured then.

use domain::demand::{ByResource, Demand, DemandSource};
use domain::resource::Resource;
use projections::read_models::observations::{ObservedSession, WeekOfUse};
use projections::read_models::sessions::SessionTitles;
use uuid::Uuid;

use crate::pages::advice::amounts::{amount, name};
use crate::pages::charts::{Chart, InUse, Measured, Point, spread};
use crate::pages::parts;

/// Sessions that are drawn, each a bar wide enough to be pressed, and weeks.
const MOST_SESSIONS: usize = 24;
const MOST_WEEKS: usize = 53;

/// The charts, and what they say as a table.
pub(crate) struct UseCharts {
    /// How many of the sessions are drawn, where not all are.
    pub(crate) drawn: Option<String>,
    /// A resource each: what each session was given, and used of it.
    pub(crate) sessions: Vec<ObservedChart>,
    /// A resource each; empty: all were observed in one week.
    pub(crate) weeks: Vec<ObservedChart>,
    /// The newest first.
    pub(crate) rows: Vec<WeekRow>,
}

/// One resource in a chart.
pub(crate) struct ObservedChart {
    /// The resource, and what kind of number its bars are.
    pub(crate) name: String,
    pub(crate) configured: String,
    /// How what the sessions used at their peaks is spread.
    pub(crate) used: String,
    pub(crate) chart: Chart,
}

/// A week in the table.
pub(crate) struct WeekRow {
    pub(crate) week: String,
    pub(crate) sessions: u64,
    /// Of each resource the greatest use, what 95 % did not exceed, and what was configured.
    pub(crate) amounts: Vec<[String; 3]>,
}

impl UseCharts {
    /// Of sessions and weeks from the newest to the oldest.
    pub(crate) fn new(sessions: &[ObservedSession], weeks: &[WeekOfUse], titles: &SessionTitles) -> Option<Self> {
        if sessions.is_empty() {
            return None;
        }
        let drawn: Vec<&ObservedSession> = sessions.iter().take(MOST_SESSIONS).collect();
        let weeks = &weeks[..weeks.len().min(MOST_WEEKS)];
        let by_week = weeks.len() > 1;
        Some(Self {
            drawn: (drawn.len() < sessions.len()).then(|| format!("the newest {} are drawn", drawn.len())),
            sessions: Resource::ALL.map(|resource| of_sessions(resource, &drawn, titles)).into(),
            weeks: if by_week { Resource::ALL.map(|resource| of_weeks(resource, weeks)).into() } else { Vec::new() },
            rows: if by_week { weeks.iter().map(WeekRow::new).collect() } else { Vec::new() },
        })
    }
}

impl WeekRow {
    fn new(week: &WeekOfUse) -> Self {
        let told = |resource: Resource| {
            let used = resource.part(&week.used);
            let configured = week.configured.map(|stated| f64::from(resource.configured(&stated)) * resource.unit());
            [used.max, used.p95, configured].map(|known| amount(resource, known))
        };
        Self { week: week.week.to_string(), sessions: week.sessions, amounts: Resource::ALL.map(told).into() }
    }
}

/// Cores or MB as cores or GB.
fn shown(resource: Resource) -> impl Fn(f64) -> f64 {
    move |amount| amount / resource.unit()
}

fn of_sessions(resource: Resource, newest_first: &[&ObservedSession], titles: &SessionTitles) -> ObservedChart {
    let used = |session: &ObservedSession| peak(resource, &session.resources);
    let (kind, unit) = match resource {
        // Of storage nothing is nominal: its bars are what was used.
        Resource::StorageMb => ("used", resource.unit_name()),
        Resource::CpuCores | Resource::MemoryMb => ("allocated", resource.unit_name()),
    };
    let given = |session: &ObservedSession| match resource {
        Resource::CpuCores => session.cpu_cores,
        Resource::MemoryMb => session.memory_mb,
        Resource::StorageMb => session.resources.storage_mb.steady.map(|peak| peak.value),
    };
    let point = |session: &&ObservedSession| Point {
        name: parts::session_start(titles, &session.session_id),
        when: parts::to_minute(session.observed_at),
        link: Some(format!("/sessions/{}", session.session_id)),
        configured: session.configured.map(|stated| resource.configured(&stated).into()),
        value: given(session).map(shown(resource)),
        used: used(session),
    };
    let points: Vec<Point> = newest_first.iter().rev().map(point).collect();
    let title = format!(
        "{}, {kind}, of {} against what was configured",
        name(resource),
        parts::counted(&(points.len() as u64), "session")
    );
    ObservedChart {
        name: format!("{}, {unit}, session by session: {kind}", name(resource)),
        configured: configured(&points),
        used: spread(unit, newest_first.iter().map(|session| used(session))).unwrap_or_else(|| "unknown".to_owned()),
        chart: Chart::bars(&format!("chart-{}", resource.as_str()), &title, unit, &points),
    }
}

fn of_weeks(resource: Resource, newest_first: &[WeekOfUse]) -> ObservedChart {
    let unit = resource.unit_name();
    let point = |week: &WeekOfUse| {
        let used = resource.part(&week.used);
        Point {
            name: parts::counted(&used.known_sessions, "session"),
            when: format!("week of {}", week.week),
            configured: week.configured.map(|stated| resource.configured(&stated).into()),
            value: used.max.map(shown(resource)),
            used: used.p95.map(shown(resource)).map(|amount| InUse { amount, measured: Measured::OfMost }),
            ..Point::default()
        }
    };
    let points: Vec<Point> = newest_first.iter().rev().map(point).collect();
    let title = format!(
        "{} used in each of {}, against what was configured",
        name(resource),
        parts::counted(&(points.len() as u64), "week")
    );
    ObservedChart {
        name: format!("{}, {unit}, week by week: used", name(resource)),
        configured: configured(&points),
        used: String::new(),
        chart: Chart::bars(&format!("weeks-{}", resource.as_str()), &title, unit, &points),
    }
}

/// What was configured, the newest last.
fn configured(points: &[Point]) -> String {
    let mut stated: Vec<f64> = points.iter().filter_map(|point| point.configured).collect();
    stated.dedup();
    match stated.as_slice() {
        [] => "unknown".to_owned(),
        [.., before, now] => format!("{}, before that {}", parts::number(now), parts::number(before)),
        [only] => parts::number(only),
    }
}

/// The peak of the steady phase, as it is drawn.
fn peak(resource: Resource, of_each: &ByResource<Demand<Uuid>>) -> Option<InUse> {
    let peak = resource.part(of_each).steady?;
    let measured = match peak.source {
        DemandSource::Profile => Measured::Sampled,
        DemandSource::Snapshot => Measured::BySnapshots,
    };
    Some(InUse { amount: shown(resource)(peak.value), measured })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn weeks_stand_from_the_oldest_to_the_newest_with_what_was_configured_then() {
        let week = |monday: &str, cores: u32, used: Option<f64>| -> WeekOfUse {
            let of = json!({"max": used, "p95": used, "known_sessions": used.map_or(0, |_| 3)});
            serde_json::from_value(json!({"week": monday, "sessions": 3,
                "used": {"cpu_cores": of, "memory_mb": of, "storage_mb": of},
                "configured": {"cpu_cores": cores, "memory_gb": 4, "storage_gb": 10}}))
            .unwrap()
        };
        let weeks = [week("2026-03-09", 6, Some(5.0)), week("2026-03-02", 4, None)];
        let chart = of_weeks(Resource::CpuCores, &weeks);
        assert_eq!(chart.configured, "6, before that 4");
        let row = WeekRow::new(&weeks[1]);
        assert_eq!(row.amounts[0], ["unknown", "unknown", "4 cores"], "unknown is no zero");
        assert_eq!(row.week, "2026-03-02");
    }
}
