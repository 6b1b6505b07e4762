//! What of two sessions stands side by side, and what of it differs. Unknown beside known differs; unknown on both sides is
//! no difference that anybody knows of.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use domain::lablet_session::SessionStatus;
use projections::read_models::observations::nodes::NodeRow;
use projections::read_models::observations::{Amounts, ObservationRow};
use projections::read_models::session_history::LifeRow;
use projections::read_models::sessions::{PortRow, SessionRow};

use crate::pages::parts;

/// One thing of both.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ComparedRow {
    pub(super) name: String,
    pub(super) left: String,
    pub(super) right: String,
    pub(super) differs: bool,
    /// By how much the right one is more or less, with its sign; of what are no numbers, nothing.
    pub(super) difference: Option<String>,
}

impl ComparedRow {
    fn words(name: &str, left: String, right: String) -> Self {
        Self { name: name.to_owned(), differs: left != right, left, right, difference: None }
    }

    fn amounts(name: &str, left: Option<f64>, right: Option<f64>, shown: fn(&Option<f64>) -> String) -> Self {
        let difference = match (left, right) {
            (Some(left), Some(right)) if left != right => Some(difference(left, right, shown)),
            _ => None,
        };
        Self { name: name.to_owned(), differs: left != right, left: shown(&left), right: shown(&right), difference }
    }
}

/// E.g. `+1.5 GB (+30 %)`.
fn difference(left: f64, right: f64, shown: fn(&Option<f64>) -> String) -> String {
    let sign = if right > left { "+" } else { "−" };
    let amount = shown(&Some((right - left).abs()));
    if left == 0.0 {
        return format!("{sign}{amount}");
    }
    format!("{sign}{amount} ({sign}{} %)", ((right - left).abs() / left * 100.0).round())
}

/// Rows about one kind of thing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ComparedGroup {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) rows: Vec<ComparedRow>,
    /// Said where there is no row.
    pub(super) empty: &'static str,
}

impl ComparedGroup {
    /// Rows that differ.
    pub(super) fn differences(&self) -> usize {
        self.rows.iter().filter(|row| row.differs).count()
    }
}

/// What they are.
pub(super) fn facts(left: &SessionRow, right: &SessionRow) -> ComparedGroup {
    let both = |name, of: fn(&SessionRow) -> String| ComparedRow::words(name, of(left), of(right));
    let rows = vec![
        both("Definition", |row| row.definition_name.clone().unwrap_or_else(|| row.definition_id.to_string())),
        both("Revision", |row| row.definition_revision.to_string()),
        both("Owner", |row| row.owner_id.clone().unwrap_or_else(|| "none".to_owned())),
        both("Worker", |row| {
            let id = row.worker_id.as_ref().map(ToString::to_string);
            row.worker_name.clone().or(id).unwrap_or_else(|| "none".to_owned())
        }),
        both("Status", |row| row.status.to_string()),
        both("Start", |row| format!("{} UTC", parts::to_minute(row.starts_at()))),
        both("Observations", |row| row.observation_count.to_string()),
        both("Ports", |row| match row.port_drift_detected {
            Some(true) => "drifted".to_owned(),
            Some(false) => "as planned".to_owned(),
            None => "unknown".to_owned(),
        }),
    ];
    ComparedGroup { id: "facts", title: "What they are", rows, empty: "" }
}

/// What they were given and used, by their newest observations.
pub(super) fn resources(left: Option<&ObservationRow>, right: Option<&ObservationRow>) -> ComparedGroup {
    type Quantity = fn(&ObservationRow) -> &Amounts;
    type Part = fn(&Amounts) -> Option<f64>;
    type Shown = fn(&Option<f64>) -> String;
    let amounts = |observed: Option<&ObservationRow>, of: Quantity| observed.map(of).cloned();
    let parts: [(&str, Part, Shown); 3] = [
        ("CPU", |amounts| amounts.cpu_cores, parts::known_cores),
        ("memory", |amounts| amounts.memory_mb, parts::known_gb),
        ("storage", |amounts| amounts.storage_mb, parts::known_gb),
    ];
    let quantities: [(&str, Quantity); 2] = [("Nominal", |row| &row.nominal), ("Used", |row| &row.used)];
    let mut rows = Vec::new();
    if left.is_some() || right.is_some() {
        for (quantity, of) in quantities {
            for (name, part, shown) in parts {
                let value = |observed| amounts(observed, of).as_ref().and_then(part);
                let name = format!("{quantity} {name}");
                rows.push(ComparedRow::amounts(&name, value(left), value(right), shown));
            }
        }
        let count = |observed: Option<&ObservationRow>| {
            observed.and_then(|row| row.node_count).map_or_else(|| "unknown".to_owned(), |count| count.to_string())
        };
        rows.push(ComparedRow::words("Nodes", count(left), count(right)));
    }
    ComparedGroup { id: "resources", title: "Resources", rows, empty: "Neither was observed." }
}

/// Their ports, by name.
pub(super) fn ports(left: &[PortRow], right: &[PortRow]) -> ComparedGroup {
    let told = |row: &PortRow| {
        let number = |number: Option<domain::ports::PortNumber>| {
            number.map_or_else(|| "none".to_owned(), |number| number.to_string())
        };
        format!("allocated {}, observed {}", number(row.allocated), number(row.observed))
    };
    let by_name = |rows: &[PortRow]| -> BTreeMap<String, String> {
        rows.iter().map(|row| (row.name.to_string(), told(row))).collect()
    };
    let rows = side_by_side(&by_name(left), &by_name(right), "not there");
    ComparedGroup { id: "ports", title: "Ports", rows, empty: "Neither has ports." }
}

/// Their nodes, by label.
pub(super) fn nodes(left: &[NodeRow], right: &[NodeRow]) -> ComparedGroup {
    let told = |row: &NodeRow| {
        format!(
            "{}, {}, nominal {} and {}",
            row.node_definition,
            row.state.as_deref().unwrap_or("state unknown").to_lowercase(),
            parts::known_cores(&row.nominal_cpu_cores),
            parts::known_gb(&row.nominal_memory_mb)
        )
    };
    let by_label = |rows: &[NodeRow]| -> BTreeMap<String, String> {
        // Labels may be blank or repeat; the id tells those apart.
        let mut nodes = BTreeMap::new();
        for row in rows {
            let label = if row.label.trim().is_empty() { row.node_id.clone() } else { row.label.clone() };
            let label = if nodes.contains_key(&label) { format!("{label} ({})", row.node_id) } else { label };
            nodes.insert(label, told(row));
        }
        nodes
    };
    let rows = side_by_side(&by_label(left), &by_label(right), "not there");
    ComparedGroup { id: "nodes", title: "Nodes", rows, empty: "No node of either is known." }
}

/// How long they were in each state.
pub(super) fn life(left: &[LifeRow], right: &[LifeRow], now: DateTime<Utc>) -> ComparedGroup {
    let (left, right) = (in_each_state(left, now), in_each_state(right, now));
    let seconds =
        |life: &BTreeMap<SessionStatus, TimeDelta>, status| life.get(&status).map(|time| time.as_seconds_f64());
    let states: BTreeSet<SessionStatus> = left.keys().chain(right.keys()).copied().collect();
    let row = |status: SessionStatus| {
        ComparedRow::amounts(status.as_str(), seconds(&left, status), seconds(&right, status), minutes)
    };
    let rows = states.into_iter().map(row).collect();
    ComparedGroup { id: "life", title: "Time in each state", rows, empty: "" }
}

fn minutes(seconds: &Option<f64>) -> String {
    match seconds {
        None => "never".to_owned(),
        Some(seconds) if *seconds < 60.0 => format!("{} s", seconds.round()),
        Some(seconds) => format!("{} min", parts::number(&((seconds / 6.0).round() / 10.0))),
    }
}

/// Nothing is counted of the state in which a life ended.
fn in_each_state(steps: &[LifeRow], now: DateTime<Utc>) -> BTreeMap<SessionStatus, TimeDelta> {
    let is_over =
        |status| matches!(status, SessionStatus::Archived | SessionStatus::Terminated | SessionStatus::Expired);
    let ends = steps.iter().skip(1).map(|step| step.at).chain([now]);
    let mut life = BTreeMap::new();
    for (step, end) in steps.iter().zip(ends).filter(|(step, _)| !is_over(step.status)) {
        let length = (end - step.at).max(TimeDelta::zero());
        *life.entry(step.status).or_insert_with(TimeDelta::zero) += length;
    }
    life
}

fn side_by_side(left: &BTreeMap<String, String>, right: &BTreeMap<String, String>, absent: &str) -> Vec<ComparedRow> {
    let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let told = |side: &BTreeMap<String, String>, name| side.get(name).cloned().unwrap_or_else(|| absent.to_owned());
    names.into_iter().map(|name| ComparedRow::words(name, told(left, name), told(right, name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_signed_in_numbers_and_per_cent_and_unknown_has_none() {
        let row = |left, right| ComparedRow::amounts("Used memory", left, right, parts::known_gb);
        let more = row(Some(4096.0), Some(6144.0));
        assert_eq!((more.differs, more.difference.as_deref()), (true, Some("+2 GB (+50 %)")));
        assert_eq!(row(Some(4096.0), Some(3072.0)).difference.as_deref(), Some("−1 GB (−25 %)"));
        let unknown = row(None, Some(1024.0));
        assert_eq!((unknown.differs, unknown.difference, unknown.left.as_str()), (true, None, "unknown"));
        assert!(!row(None, None).differs);
    }

    #[test]
    fn what_one_of_them_lacks_is_a_difference() {
        let side = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, told)| ((*name).to_owned(), (*told).to_owned())).collect()
        };
        let rows = side_by_side(&side(&[("a", "1"), ("b", "2")]), &side(&[("a", "1"), ("c", "3")]), "not there");
        let told: Vec<(&str, bool)> = rows.iter().map(|row| (row.name.as_str(), row.differs)).collect();
        assert_eq!(told, [("a", false), ("b", true), ("c", true)]);
        assert_eq!(rows[1].right, "not there");
    }

    #[test]
    fn time_is_told_in_minutes_below_which_seconds_count() {
        assert_eq!(
            [None, Some(4.4), Some(90.0), Some(3600.0)].map(|time| minutes(&time)),
            ["never", "4 s", "1.5 min", "60 min"]
        );
    }
}
