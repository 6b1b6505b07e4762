//! What a new size would mean: how far it differs, whether it lies below what sessions used or were given, and whether what
//! was looked at supports it. Values only: the review shows them.

use domain::lablet_definition::ResourceRequirements;
use domain::resource::Resource;
use projections::read_models::observations::ObservedSession;

use crate::pages::advice::amounts::{amount, noun};
use crate::pages::parts;

/// What is known of one resource, in cores or MB. `None` is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct KnownUse {
    /// The largest use of a session.
    pub(crate) used: Option<f64>,
    /// What CML gives the nodes.
    pub(crate) nominal: Option<f64>,
    /// Sessions whose use is known.
    pub(crate) sessions: u64,
}

/// How far a size differs from the one before, in whole cores or GB and in per cent, e.g. `−95 GB (−95 %)`. `None`: it is the
/// same.
pub(crate) fn difference(resource: Resource, before: u32, after: u32) -> Option<String> {
    if before == after {
        return None;
    }
    let by = f64::from(after) - f64::from(before);
    let sign = if by < 0.0 { "−" } else { "+" };
    let percent = parts::grouped(&(by.abs() / f64::from(before) * 100.0).round());
    let whole = amount(resource, Some(by.abs() * resource.unit()));
    Some(format!("{sign}{whole} ({sign}{percent} %)"))
}

/// What speaks against a new size: that sessions used more, or were given more.
pub(crate) fn objections(resource: Resource, after: u32, known: KnownUse) -> Vec<String> {
    let size = f64::from(after) * resource.unit();
    let above = |known: Option<f64>| known.filter(|known| *known > size + resource.smallest());
    let used = above(known.used).map(|used| {
        let sessions = parts::counted(&known.sessions, "session");
        format!("below use: of {sessions} the largest used {}", amount(resource, Some(used)))
    });
    let given = above(known.nominal)
        .map(|nominal| format!("below nominal: its nodes are given {}", amount(resource, Some(nominal))));
    used.into_iter().chain(given).collect()
}

/// What a session says of a new size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stance {
    /// It would have held what the session used of what changes.
    Supports(String),
    /// The session used more of something that changes.
    SaysOtherwise(String),
    /// What it used of what changes is unknown.
    SaysNothing,
}

impl Stance {
    /// Of this session.
    pub(crate) fn of_session(
        before: &ResourceRequirements,
        after: &ResourceRequirements,
        session: &ObservedSession,
    ) -> Self {
        let changed = Resource::ALL.into_iter().filter(|one| one.configured(before) != one.configured(after));
        let known: Vec<(Resource, f64)> =
            changed.filter_map(|one| Some((one, one.part(&session.resources).steady?.value))).collect();
        let told =
            |(resource, used): &(Resource, f64)| format!("{} {}", amount(*resource, Some(*used)), noun(*resource));
        let is_above = |(resource, used): &&(Resource, f64)| {
            *used > f64::from(resource.configured(after)) * resource.unit() + resource.smallest()
        };
        let above: Vec<String> = known.iter().filter(is_above).map(told).collect();
        match (known.is_empty(), above.is_empty()) {
            (true, _) => Self::SaysNothing,
            (false, true) => Self::Supports(format!("used {}", known.iter().map(told).collect::<Vec<_>>().join(", "))),
            (false, false) => Self::SaysOtherwise(format!("used {}", above.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_has_its_sign_in_units_and_per_cent() {
        let told = |before, after| difference(Resource::StorageMb, before, after);
        assert_eq!(told(100, 5).as_deref(), Some("−95 GB (−95 %)"));
        assert_eq!(told(4, 6).as_deref(), Some("+2 GB (+50 %)"));
        assert_eq!(told(4, 4), None);
        assert_eq!(difference(Resource::CpuCores, 2, 1).as_deref(), Some("−1 core (−50 %)"));
    }

    #[test]
    fn a_size_below_what_sessions_used_or_were_given_is_objected_to() {
        let known = KnownUse { used: Some(5000.0), nominal: Some(8192.0), sessions: 14 };
        let told = |after| objections(Resource::MemoryMb, after, known);
        assert_eq!(
            told(4),
            [
                "below use: of 14 sessions the largest used 4.88 GB".to_owned(),
                "below nominal: its nodes are given 8 GB".to_owned()
            ]
        );
        assert_eq!(told(5), ["below nominal: its nodes are given 8 GB"]);
        assert_eq!(told(8), [""; 0]);
        assert_eq!(objections(Resource::MemoryMb, 1, KnownUse::default()), [""; 0], "unknown objects to nothing");
    }

    fn session(memory: Option<f64>) -> ObservedSession {
        let peak = memory.map(|value| {
            json!({"value": value, "source": "profile", "event_id": "019b2c1e-5f7a-7c3e-9d4b-000000000001",
                   "observed_at": "2026-03-01T10:00:00Z"})
        });
        let nothing = json!({"demand": null, "boot": null});
        serde_json::from_value(json!({
            "session_id": "s1", "definition_version": "1", "definition_revision": 1, "worker_id": null,
            "observation_count": 1, "observed_at": "2026-03-01T10:00:00Z",
            "observed_event_id": "019b2c1e-5f7a-7c3e-9d4b-000000000001", "complete": null, "cpu_cores": 4.0,
            "cpu_cores_event_id": null, "memory_mb": 9000.0, "memory_mb_event_id": null, "storage_mb": null,
            "storage_mb_event_id": null, "node_count": null, "node_count_event_id": null, "port_drift_detected": null,
            "port_drift_event_id": null, "position": app::log::Position::START,
            "resources": {"cpu_cores": nothing, "memory_mb": {"demand": peak, "boot": null}, "storage_mb": nothing}
        }))
        .unwrap()
    }

    #[test]
    fn a_session_supports_a_size_says_otherwise_or_says_nothing_of_it() {
        let size = |memory: u32| -> ResourceRequirements {
            serde_json::from_value(json!({"cpu_cores": 2, "memory_gb": memory, "storage_gb": 10})).unwrap()
        };
        let told = |after, memory| Stance::of_session(&size(8), &size(after), &session(memory));
        assert_eq!(told(5, Some(4096.0)), Stance::Supports("used 4 GB memory".to_owned()));
        assert_eq!(told(3, Some(4096.0)), Stance::SaysOtherwise("used 4 GB memory".to_owned()));
        assert_eq!(told(3, None), Stance::SaysNothing, "what it was given says nothing");
        assert_eq!(told(8, Some(4096.0)), Stance::SaysNothing, "nothing changes");
    }
}
