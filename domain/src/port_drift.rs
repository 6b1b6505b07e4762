//! The difference between allocated and observed ports.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::port_tags::{ObservedPort, Transport};
use crate::ports::{PortMap, PortName, PortNumber};

/// A port whose number is not the allocated one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangedPort {
    /// The number that was allocated.
    pub allocated: PortNumber,
    /// The number that was observed.
    pub observed: PortNumber,
}

/// A port that was observed as allocated, under another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RenamedPort {
    /// The name under which it was observed.
    pub observed_name: PortName,
    /// The outside port.
    pub port: PortNumber,
}

/// The difference between allocated and observed ports, as a value. Ordered, so equal inputs give equal bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortDrift {
    /// Observed, not allocated.
    #[serde(default)]
    pub added: PortMap,
    /// Allocated, not observed.
    #[serde(default)]
    pub removed: PortMap,
    /// Allocated and observed with different numbers.
    #[serde(default)]
    pub changed: BTreeMap<PortName, ChangedPort>,
    /// Observed as planned, named otherwise: by allocated name. No drift.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub renamed: BTreeMap<PortName, RenamedPort>,
}

impl PortDrift {
    /// What differs between the two. To which node an observed port leads is known from `details`, else from its name.
    ///
    /// An allocated port is as planned where the same outside port is observed on the same node by the same layer 4
    /// protocol, whatever it is called. The same outside port on another node is not the allocated one.
    pub fn between(allocated: &PortMap, observed: &PortMap, details: &[ObservedPort]) -> Self {
        let mut drift = Self::default();
        let is_as_planned = |name: &PortName, port: &PortNumber| observed.get(name) == Some(port);
        // What is observed and not exactly as allocated, by what makes it the same port.
        let mut unmatched: BTreeMap<(PortNumber, Transport, String), Vec<&PortName>> = BTreeMap::new();
        let details: BTreeMap<(&PortName, PortNumber), &ObservedPort> =
            details.iter().map(|port| ((&port.name, port.tag.outside), port)).collect();
        for (name, port) in observed.iter().filter(|(name, port)| allocated.get(*name) != Some(*port)) {
            let place = match details.get(&(name, *port)) {
                Some(seen) => Some((PortName::clean(&seen.node_label), seen.l4_protocol)),
                None => name.description().map(|described| (described.label.to_owned(), described.transport)),
            };
            if let Some((label, transport)) = place {
                unmatched.entry((*port, transport, label)).or_default().push(name);
            }
        }
        let mut taken = BTreeSet::new();
        for (name, port) in allocated.iter().filter(|(name, port)| !is_as_planned(name, port)) {
            let same = name
                .description()
                .and_then(|described| unmatched.get_mut(&(*port, described.transport, described.label.to_owned())));
            if let Some(observed_name) = same.and_then(Vec::pop) {
                taken.insert(observed_name);
                let renamed = RenamedPort { observed_name: observed_name.clone(), port: *port };
                drift.renamed.insert(name.clone(), renamed);
            }
        }
        for (name, port) in allocated.iter().filter(|(name, port)| !is_as_planned(name, port)) {
            let other = observed.get(name).filter(|_| !drift.renamed.contains_key(name) && !taken.contains(name));
            if let Some(other) = other {
                taken.insert(name);
                drift.changed.insert(name.clone(), ChangedPort { allocated: *port, observed: *other });
            }
        }
        drift.removed = allocated.filter(|name, port| {
            !is_as_planned(name, &port) && !drift.renamed.contains_key(name) && !drift.changed.contains_key(name)
        });
        drift.added = observed.filter(|name, port| allocated.get(name) != Some(&port) && !taken.contains(name));
        drift
    }

    /// Whether nothing drifted. A port that is named otherwise did not.
    pub fn is_none(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// Whether the same ports drifted in the same way. What is named otherwise did not drift, and does not count.
    pub fn is_same_drift(&self, other: &Self) -> bool {
        self.added == other.added && self.removed == other.removed && self.changed == other.changed
    }
}

/// A drift that somebody knows of and leaves as it is for a while. `Id` names the event that says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcknowledgedDrift<Id> {
    /// The drift as it was acknowledged: another one is not.
    pub details: PortDrift,
    /// Why it is left as it is.
    pub reason: String,
    /// Until when.
    pub until: DateTime<Utc>,
    /// Who says so.
    pub by: String,
    /// When.
    pub at: DateTime<Utc>,
    /// The event.
    pub event: Id,
}

/// How a session's ports stand now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriftState {
    /// They drifted, and nobody has said that it may stay so.
    Open,
    /// They drifted, and somebody knows of it.
    Acknowledged,
    /// They did not drift.
    None,
    /// No observation could read the tags yet.
    Unknown,
}

impl DriftState {
    /// How ports with this verdict stand at `now`. `acknowledged_until`: until when the drift is acknowledged, which is
    /// kept only while the drift is the acknowledged one. The moment itself no longer belongs to it.
    pub fn at(now: DateTime<Utc>, detected: Option<bool>, acknowledged_until: Option<DateTime<Utc>>) -> Self {
        match detected {
            Some(true) if acknowledged_until.is_some_and(|until| now < until) => Self::Acknowledged,
            Some(true) => Self::Open,
            Some(false) => Self::None,
            None => Self::Unknown,
        }
    }

    /// In its wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::None => "none",
            Self::Unknown => "unknown",
        }
    }
}

/// What an observation says about a session's ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DriftVerdict {
    /// The tags could not be read: neither yes nor no, an earlier verdict stands with its age.
    Unknown,
    /// Nothing was allocated, so nothing can have drifted; what was observed.
    Unallocated(PortMap),
    /// Allocated and observed ports were compared.
    Compared(PortDrift),
}

impl DriftVerdict {
    /// Compares, where there is something to compare. `None` observed: the tags were not readable; `None` or empty
    /// allocated: nothing was allocated. All allocated ports gone is drift. `details` as for [`PortDrift::between`].
    pub(crate) fn between(allocated: Option<&PortMap>, observed: Option<&PortMap>, details: &[ObservedPort]) -> Self {
        match (allocated, observed) {
            (_, None) => Self::Unknown,
            (Some(allocated), Some(observed)) if !allocated.is_empty() => {
                Self::Compared(PortDrift::between(allocated, observed, details))
            }
            (_, Some(observed)) => Self::Unallocated(observed.clone()),
        }
    }

    /// What differs; nothing where there was nothing to compare.
    pub(crate) fn into_drift(self) -> PortDrift {
        match self {
            Self::Unknown | Self::Unallocated(_) => PortDrift::default(),
            Self::Compared(drift) => drift,
        }
    }

    /// `Some(true)` drifted, `Some(false)` did not, `None` unknown.
    pub(crate) fn detected(&self) -> Option<bool> {
        match self {
            Self::Unknown => None,
            Self::Unallocated(_) => Some(false),
            Self::Compared(drift) => Some(!drift.is_none()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ports(entries: &[(&str, i64)]) -> PortMap {
        let entry = |(name, port): &(&str, i64)| (PortName::parse(*name).unwrap(), PortNumber::new(*port).unwrap());
        PortMap::try_from(entries.iter().map(entry).collect::<BTreeMap<_, _>>()).unwrap()
    }

    #[test]
    fn drift_names_added_removed_and_changed_ports() {
        let drift = PortDrift::between(
            &ports(&[("a_ssh", 2001), ("b_vnc", 2002), ("c_serial", 2003)]),
            &ports(&[("a_ssh", 2001), ("b_vnc", 2102), ("d_tcp", 2004)]),
            &[],
        );
        assert_eq!(
            serde_json::to_string(&drift).unwrap(),
            r#"{"added":{"d_tcp":2004},"removed":{"c_serial":2003},"changed":{"b_vnc":{"allocated":2002,"observed":2102}}}"#
        );
    }

    #[test]
    fn the_same_port_by_another_name_is_as_planned() {
        let drift = PortDrift::between(
            &ports(&[("gitlab-ce_pat_22", 5080), ("gitlab-ce_pat_80", 5081), ("PC_serial", 5082), ("R_rdp", 5083)]),
            &ports(&[("gitlab-ce_tcp", 5080), ("gitlab-ce_pat_80", 5091), ("PD_serial", 5082), ("R_tcp", 5083)]),
            &[],
        );
        assert_eq!(
            serde_json::to_value(drift).unwrap(),
            serde_json::json!({
                "renamed": {"gitlab-ce_pat_22": {"observed_name": "gitlab-ce_tcp", "port": 5080}},
                "changed": {"gitlab-ce_pat_80": {"allocated": 5081, "observed": 5091}},
                // On another node, and of an unknown protocol.
                "removed": {"PC_serial": 5082, "R_rdp": 5083},
                "added": {"PD_serial": 5082, "R_tcp": 5083},
            })
        );
    }

    #[test]
    fn a_name_that_went_to_another_port_is_added_where_its_own_port_is_named_otherwise() {
        let drift =
            PortDrift::between(&ports(&[("a_pat_22", 5080)]), &ports(&[("a_tcp", 5080), ("a_pat_22", 5090)]), &[]);
        assert_eq!((drift.renamed.len(), drift.added, drift.changed.len()), (1, ports(&[("a_pat_22", 5090)]), 0));
    }

    #[test]
    fn what_a_tag_says_of_the_node_goes_before_what_a_name_seems_to_say() {
        let seen = |label: &str| -> Vec<ObservedPort> {
            let port = serde_json::json!({"name": "R_1_tcp", "node_id": "n", "node_label": label, "outside": 5080,
                "kind": "forward", "transport": "tcp", "inside": 22, "l4_protocol": "tcp", "honoured": true});
            vec![serde_json::from_value(port).unwrap()]
        };
        let (allocated, observed) = (ports(&[("R_1_ssh", 5080)]), ports(&[("R_1_tcp", 5080)]));
        assert!(PortDrift::between(&allocated, &observed, &seen("R 1")).is_none());
        assert!(!PortDrift::between(&allocated, &observed, &seen("other")).is_none());
    }

    #[test]
    fn all_allocated_ports_gone_is_drift() {
        let verdict = DriftVerdict::between(Some(&ports(&[("a_ssh", 2001)])), Some(&PortMap::default()), &[]);
        assert_eq!(verdict.detected(), Some(true));
    }

    #[test]
    fn a_drift_is_acknowledged_until_its_time_is_over() {
        let at = |second| DateTime::from_timestamp(1_772_000_000 + second, 0);
        let state = |detected, until: Option<i64>| DriftState::at(at(10).unwrap(), detected, until.and_then(at));
        assert_eq!(state(Some(true), None), DriftState::Open);
        assert_eq!(state(Some(true), Some(11)), DriftState::Acknowledged);
        assert_eq!(state(Some(true), Some(10)), DriftState::Open);
        assert_eq!((state(Some(false), None), state(None, None)), (DriftState::None, DriftState::Unknown));
    }

    #[test]
    fn where_nothing_was_allocated_nothing_drifts() {
        let observed = ports(&[("a_ssh", 2001)]);
        for allocated in [None, Some(&PortMap::default())] {
            let verdict = DriftVerdict::between(allocated, Some(&observed), &[]);
            assert_eq!(verdict, DriftVerdict::Unallocated(observed.clone()));
            assert_eq!(verdict.detected(), Some(false));
        }
    }

    #[test]
    fn unreadable_tags_say_nothing() {
        assert_eq!(DriftVerdict::between(Some(&ports(&[("a_ssh", 2001)])), None, &[]).detected(), None);
    }

    fn any_ports() -> impl Strategy<Value = PortMap> {
        proptest::collection::btree_map("[a-d]_(ssh|vnc)", 1_i64..9, 0..6).prop_map(|entries| {
            let entry = |(name, port)| (PortName::parse(name).unwrap(), PortNumber::new(port).unwrap());
            PortMap::try_from(entries.into_iter().map(entry).collect::<BTreeMap<_, _>>()).unwrap()
        })
    }

    proptest! {
        #[test]
        fn applying_the_drift_to_the_allocated_ports_gives_the_observed_ones(allocated in any_ports(), observed in any_ports()) {
            let drift = PortDrift::between(&allocated, &observed, &[]);
            let mut applied = BTreeMap::clone(&allocated);
            for name in drift.removed.keys().chain(drift.renamed.keys()) {
                applied.remove(name);
            }
            applied.extend(BTreeMap::clone(&drift.added));
            applied.extend(drift.changed.iter().map(|(name, port)| (name.clone(), port.observed)));
            applied.extend(drift.renamed.values().map(|renamed| (renamed.observed_name.clone(), renamed.port)));
            prop_assert_eq!(&applied, &*observed);
            prop_assert_eq!(drift.is_none() && drift.renamed.is_empty(), allocated == observed);
        }

        #[test]
        fn renaming_never_makes_drift_and_moving_always_does(
            label in "(a|a_pat|a_udp|a_tcp_1|b-c|_)", other in "(d|d_vnc|a_d|aa)", port in 2000_i64..8000,
            from in "(pat_22|tcp|tcp_22|serial|serial_1|vnc|ssh)", to in "(tcp|tcp_80|serial|vnc_2|http)", udp in any::<bool>(), tell in any::<bool>(),
        ) {
            let (from, to) = if udp { ("udp_161".to_owned(), "udp".to_owned()) } else { (from, to) };
            let at = |label: &str, protocol: &str| ports(&[(&format!("{label}_{protocol}"), port)]);
            let details = |label: &str, protocol: &str| {
                let seen = serde_json::json!({"name": format!("{label}_{protocol}"), "node_id": "n", "node_label": label,
                    "outside": port, "kind": "forward", "transport": if udp { "udp" } else { "tcp" }, "inside": 1,
                    "l4_protocol": if udp { "udp" } else { "tcp" }, "honoured": true});
                if tell { vec![serde_json::from_value::<ObservedPort>(seen).unwrap()] } else { Vec::new() }
            };
            let allocated = at(&label, &from);
            let renamed = PortDrift::between(&allocated, &at(&label, &to), &details(&label, &to));
            prop_assert!(renamed.is_none());
            prop_assert_eq!(renamed.renamed.len(), usize::from(from != to));
            let moved = PortDrift::between(&allocated, &at(&other, &to), &details(&other, &to));
            prop_assert!(!moved.is_none() && moved.renamed.is_empty());
            let other_protocol = if udp { "tcp" } else { "udp" };
            prop_assert!(!PortDrift::between(&allocated, &at(&label, other_protocol), &[]).is_none());
        }
    }
}
