//! How much of a worker is free and what it is short of, in words. Unknown is said, with its reason.

use askama::Template;
use askama::filters::HtmlSafe;
use chrono::{DateTime, Utc};
use domain::worker::{LASTS, PressureCondition, PressureRead, Shortage, WorkerPressure};
use domain::{Amount, Whole, WorkerId};
use projections::read_models::observations::ObservationRow;
use projections::read_models::workers::{NewestPressure, PressureSpell};

use super::parts::{self, Badge, Tone, When, counted, number};

/// A resource as it is called in sentences.
pub(crate) fn shortage_name(shortage: Shortage) -> &'static str {
    match shortage {
        Shortage::Cpu => "CPU",
        Shortage::Memory => "memory",
        Shortage::Storage => "storage",
        Shortage::LaunchQueue => "launches",
    }
}

/// E.g. `CPU, memory and launches`.
pub(crate) fn shortage_names(shortages: &[Shortage]) -> String {
    let names: Vec<&str> = shortages.iter().map(|shortage| shortage_name(*shortage)).collect();
    match names.as_slice() {
        [] => "something".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Free of a total: `0.2 of 64 cores`.
pub(crate) fn free_cores(pressure: &WorkerPressure) -> String {
    let (free, total) = (pressure.free_cpu_cores.map(Amount::get), pressure.total_cpu_cores.map(Amount::get));
    match (free, total) {
        (Some(free), Some(total)) => format!("{} of {}", number(&free), parts::known_cores(&Some(total))),
        (free, _) => parts::known_cores(&free),
    }
}

/// Free memory of a total, in GB.
pub(crate) fn free_memory(pressure: &WorkerPressure) -> String {
    free_gb(pressure.free_memory_mb, pressure.total_memory_mb)
}

/// Free disk of a total, in GB.
pub(crate) fn free_storage(pressure: &WorkerPressure) -> String {
    free_gb(pressure.free_storage_mb, pressure.total_storage_mb)
}

fn free_gb(free: Option<Amount>, total: Option<Amount>) -> String {
    match (free.map(Amount::get), total.map(Amount::get)) {
        (Some(free), Some(total)) => {
            format!("{} of {}", number(&parts::gigabytes(free)), parts::known_gb(&Some(total)))
        }
        (free, _) => parts::known_gb(&free),
    }
}

/// How many nodes wait for their launch, and for how long.
pub(crate) fn queue(pressure: &WorkerPressure) -> String {
    let wait = pressure.longest_wait_seconds.map(|seconds| wait(seconds.get()));
    match (pressure.queued_nodes.map(Whole::get), wait) {
        (None, _) => "unknown".to_owned(),
        (Some(0), _) => "no node waits".to_owned(),
        (Some(1), Some(wait)) => format!("1 node waits, for {wait}"),
        (Some(1), None) => "1 node waits, for how long is unknown".to_owned(),
        (Some(nodes), Some(wait)) => format!("{nodes} nodes wait, the first for {wait}"),
        (Some(nodes), None) => format!("{nodes} nodes wait, for how long is unknown"),
    }
}

fn wait(seconds: u32) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

/// Whether a worker is short, as it was last told; `None`: nobody ever told, or not for long.
pub(super) fn badge(pressure: Option<&NewestPressure>, now: &DateTime<Utc>) -> Badge {
    let current = pressure.filter(|pressure| !is_outdated(pressure, now));
    match current.map(|pressure| (pressure.condition, &pressure.short_of)) {
        Some((PressureCondition::Short, of)) => Badge::new(Tone::Bad, "▼", format!("short of {}", shortage_names(of))),
        Some((PressureCondition::NotShort, _)) => Badge::new(Tone::Good, "✓", "short of nothing"),
        Some((PressureCondition::Unknown, _)) | None => Badge::new(Tone::Calm, "?", "shortage unknown"),
    }
}

/// Whether it was told so long ago that it is no longer known to hold.
fn is_outdated(pressure: &NewestPressure, now: &DateTime<Utc>) -> bool {
    *now - pressure.observed_at > LASTS
}

/// The badge of a worker that is short now, alone.
pub(super) fn short_badge(pressure: &Option<NewestPressure>, now: &DateTime<Utc>) -> Option<Badge> {
    let is_short = |pressure: &&NewestPressure| pressure.condition == PressureCondition::Short;
    pressure.as_ref().filter(is_short).filter(|pressure| !is_outdated(pressure, now)).map(|p| badge(Some(p), now))
}

/// The panel *Pressure* of a worker.
#[derive(Debug, Clone, Template)]
#[template(path = "worker/pressure.html")]
pub(super) struct PressurePanel {
    worker_id: WorkerId,
    newest: Option<NewestPressure>,
    spells: Vec<PressureSpell>,
    has_more: bool,
    now: DateTime<Utc>,
}

impl HtmlSafe for PressurePanel {}

impl PressurePanel {
    /// Of a worker, with its newest spells.
    pub(super) fn new(
        worker_id: WorkerId,
        newest: Option<NewestPressure>,
        spells: Vec<PressureSpell>,
        has_more: bool,
        now: DateTime<Utc>,
    ) -> Self {
        Self { worker_id, newest, spells, has_more, now }
    }

    /// What is unknown, and why.
    fn reasons(&self, reading: &WorkerPressure) -> Vec<String> {
        let reason = |what: &str, read: Option<PressureRead>| {
            let why = match read? {
                PressureRead::Answered => return None,
                PressureRead::NoRights => {
                    "the controller's user has no right to read it in CML, where only admins have"
                }
                PressureRead::NotServed => "this version of CML does not tell it",
                PressureRead::Failed => "CML did not answer, or not legibly",
            };
            Some(format!("{what}: unknown, as {why}"))
        };
        let statistics = reason("What is free, and how many nodes run", reading.statistics);
        let queue = reason("Shortages and the launch queue", reading.launch_queue);
        statistics.into_iter().chain(queue).collect()
    }

    fn is_outdated(&self, newest: &NewestPressure) -> bool {
        is_outdated(newest, &self.now)
    }

    fn running(&self, reading: &WorkerPressure) -> String {
        reading.running_nodes.map_or_else(|| "unknown".to_owned(), |nodes| nodes.to_string())
    }
}

/// A spell in words.
fn spell_badge(spell: &PressureSpell) -> Badge {
    match spell.condition {
        PressureCondition::Short => Badge::new(Tone::Bad, "▼", format!("short of {}", shortage_names(&spell.short_of))),
        PressureCondition::NotShort => Badge::new(Tone::Good, "✓", "short of nothing"),
        PressureCondition::Unknown => Badge::new(Tone::Calm, "?", "unknown"),
    }
}

/// The queue at its longest, in words.
fn longest_queue(spell: &PressureSpell) -> String {
    match (spell.most_queued_nodes, spell.longest_wait_seconds) {
        (Some(0), _) => "empty".to_owned(),
        (Some(nodes), Some(seconds)) => format!("{}, up to {}", counted(&u64::from(nodes), "node"), wait(seconds)),
        (Some(nodes), None) => counted(&u64::from(nodes), "node"),
        (None, _) => "unknown".to_owned(),
    }
}

/// That what was measured of a session may be too low.
#[derive(Debug, Clone, PartialEq, Eq, Template)]
#[template(
    source = r#"<div class="notice warn"><p><b>The worker was short of {{ of }}</b> while the session ran: what was measured may be too low.{% if let Some(id) = worker_id %} <a href="/workers/{{ id }}#pressure">When</a>{% endif %}</p></div>"#,
    ext = "html"
)]
pub(super) struct ShortWorker {
    of: String,
    worker_id: Option<WorkerId>,
}

impl HtmlSafe for ShortWorker {}

impl ShortWorker {
    /// By these observations; `None`: none of them says so.
    pub(super) fn from_observations(observations: &[ObservationRow]) -> Option<Self> {
        let short = observations.iter().filter(|observation| observation.worker_short == Some(true));
        let mut of: Vec<Shortage> = short.clone().flat_map(|observation| observation.worker_short_of.clone()).collect();
        of.sort_unstable();
        of.dedup();
        let worker_id = short.clone().find_map(|observation| observation.worker_id.clone());
        short.clone().next().map(|_| Self { of: shortage_names(&of), worker_id })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn newest(condition: &str, minutes: i64) -> NewestPressure {
        let at = DateTime::from_timestamp(1_772_000_000, 0).unwrap() - chrono::TimeDelta::minutes(minutes);
        serde_json::from_value(json!({
            "condition": condition, "short_of": ["cpu", "launch_queue"], "since": at, "observer": "controller",
            "observed_at": at, "event_id": uuid::Uuid::nil(),
            "reading": {"queued_nodes": 3, "longest_wait_seconds": 130, "free_cpu_cores": 0.25, "total_cpu_cores": 64,
                        "free_memory_mb": 1536, "launch_queue": "answered", "statistics": "no_rights"}
        }))
        .unwrap()
    }

    #[test]
    fn amounts_and_waits_are_said_in_words_and_unknown_is_no_zero() {
        let reading = newest("short", 0).reading;
        assert_eq!(free_cores(&reading), "0.25 of 64 cores");
        assert_eq!((free_memory(&reading), free_storage(&reading)), ("1.5 GB".into(), "unknown".into()));
        assert_eq!(queue(&reading), "3 nodes wait, the first for 2 min");
        assert_eq!(queue(&WorkerPressure::default()), "unknown");
        assert_eq!(
            shortage_names(&[Shortage::Cpu, Shortage::Memory, Shortage::LaunchQueue]),
            "CPU, memory and launches"
        );
    }

    #[test]
    fn what_was_told_long_ago_is_no_longer_known() {
        let now = DateTime::from_timestamp(1_772_000_000, 0).unwrap();
        let words = |condition: &str, minutes: i64| badge(Some(&newest(condition, minutes)), &now).words;
        assert_eq!(words("short", 10), "short of CPU and launches");
        assert_eq!(words("not_short", 75), "short of nothing");
        assert_eq!(
            (words("not_short", 76), words("short", 76)),
            ("shortage unknown".into(), "shortage unknown".into())
        );
        assert_eq!(badge(None, &now).words, "shortage unknown");
        assert!(short_badge(&Some(newest("short", 0)), &now).is_some());
        assert!(short_badge(&Some(newest("not_short", 0)), &now).is_none());
    }

    #[test]
    fn what_is_unknown_is_said_with_its_reason() {
        let now = DateTime::from_timestamp(1_772_000_000, 0).unwrap();
        let panel = PressurePanel::new("w1".parse().unwrap(), Some(newest("short", 1)), Vec::new(), false, now);
        let html = panel.render().unwrap();
        assert!(
            html.contains("What is free, and how many nodes run: unknown, as the controller")
                && html.contains("no right"),
            "{html}"
        );
        let silent = PressurePanel::new("w1".parse().unwrap(), None, Vec::new(), false, now).render().unwrap();
        assert!(silent.contains("Nobody told yet"), "{silent}");
    }
}
