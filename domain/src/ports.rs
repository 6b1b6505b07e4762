//! Ports by name, and the difference between the allocated and the observed ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU16;
use std::ops::Deref;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::Invalid;
use crate::list::check_count;
use crate::port_tags::{ObservedPort, Transport};

/// Most ports of one session.
pub const MOST_PORTS: usize = 4_096;

/// An outside port, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PortNumber(NonZeroU16);

impl PortNumber {
    /// The port with this number.
    ///
    /// # Errors
    /// [`Invalid`] (with an empty field) for 0 and everything above 65535.
    pub fn new(number: i64) -> Result<Self, Invalid> {
        u16::try_from(number)
            .ok()
            .and_then(NonZeroU16::new)
            .map(Self)
            .ok_or_else(|| Invalid::new("", format!("is {number}"), "a port from 1 to 65535"))
    }

    /// The number, 1 to 65535.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for PortNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl<'de> Deserialize<'de> for PortNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = PortNumber;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a port from 1 to 65535")
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<PortNumber, E> {
                PortNumber::new(number).map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<PortNumber, E> {
                i64::try_from(number)
                    .ok()
                    .and_then(|number| PortNumber::new(number).ok())
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for PortNumber {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PortNumber".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 1, "maximum": 65535 })
    }
}

/// The pattern that every name of a port matches.
const PORT_NAME_PATTERN: &str = "^[A-Za-z0-9_-]{1,300}$";

/// The name of a port as definitions and allocations use it, e.g. `PC_serial`.
///
/// Invariant: 1 to 300 characters out of `[A-Za-z0-9_-]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct PortName(String);

impl PortName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`Invalid`] (with an empty field) when a character is not one of `[A-Za-z0-9_-]` or the length is not 1 to 300.
    pub fn parse(text: impl Into<String>) -> Result<Self, Invalid> {
        let text = text.into();
        let fits = (1..=300).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if fits {
            return Ok(Self(text));
        }
        let shown: String = text.chars().take(80).collect();
        Err(Invalid::new("", format!("is {shown:?}"), "a port name of 1 to 300 ASCII letters, digits, '_' or '-'"))
    }

    /// The compatible name of a port: `{label with [^A-Za-z0-9_-] → _}_{protocol}`, e.g. `PC_serial`.
    pub fn compatible(label: &str, protocol: &str) -> Self {
        Self(format!("{}_{}", Self::clean(label), Self::clean(protocol)))
    }

    /// A label as names of ports hold it.
    fn clean(label: &str) -> String {
        let clean = |character: char| {
            if character.is_ascii_alphanumeric() || character == '_' || character == '-' { character } else { '_' }
        };
        label.chars().take(256).map(clean).collect()
    }

    /// This name with `_{suffix}` appended.
    #[must_use]
    pub fn suffixed(&self, suffix: impl fmt::Display) -> Self {
        Self(format!("{}_{suffix}", self.0))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PortName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for PortName {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

impl From<PortName> for String {
    fn from(name: PortName) -> Self {
        name.0
    }
}

impl JsonSchema for PortName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PortName".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": PORT_NAME_PATTERN })
    }
}

/// Ports by name, ordered, e.g. `{"PC_serial": 5041}`.
///
/// Invariant: at most [`MOST_PORTS`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PortMap(BTreeMap<PortName, PortNumber>);

impl PortMap {
    /// How many ports it names.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<BTreeMap<PortName, PortNumber>> for PortMap {
    type Error = Invalid;
    fn try_from(ports: BTreeMap<PortName, PortNumber>) -> Result<Self, Invalid> {
        check_count(ports.len(), MOST_PORTS)?;
        Ok(Self(ports))
    }
}

impl Deref for PortMap {
    type Target = BTreeMap<PortName, PortNumber>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'a> IntoIterator for &'a PortMap {
    type Item = (&'a PortName, &'a PortNumber);
    type IntoIter = std::collections::btree_map::Iter<'a, PortName, PortNumber>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'de> Deserialize<'de> for PortMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(BTreeMap::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for PortMap {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PortMap".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = <BTreeMap<PortName, PortNumber>>::json_schema(generator);
        schema.insert("propertyNames".to_owned(), serde_json::json!({ "pattern": PORT_NAME_PATTERN }));
        schema.insert("maxProperties".to_owned(), MOST_PORTS.into());
        schema
    }
}

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
    /// What differs between the two. `details` tell of observed ports, where it is known, to which node they lead; of
    /// the others the names tell it.
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
        for (name, allocated) in allocated.iter().filter(|(name, port)| !is_as_planned(name, port)) {
            if drift.renamed.contains_key(name) {
                continue;
            }
            match observed.get(name).filter(|_| !taken.contains(name)) {
                Some(observed) => {
                    taken.insert(name);
                    drift.changed.insert(name.clone(), ChangedPort { allocated: *allocated, observed: *observed });
                }
                None => {
                    drift.removed.0.insert(name.clone(), *allocated);
                }
            }
        }
        let left = observed.iter().filter(|(name, port)| allocated.get(*name) != Some(*port) && !taken.contains(name));
        drift.added = PortMap(left.map(|(name, port)| (name.clone(), *port)).collect());
        drift
    }

    /// Whether nothing drifted. A port that is named otherwise did not.
    pub fn is_none(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// What an observation says about a session's ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriftVerdict {
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
    pub fn between(allocated: Option<&PortMap>, observed: Option<&PortMap>, details: &[ObservedPort]) -> Self {
        match (allocated, observed) {
            (_, None) => Self::Unknown,
            (Some(allocated), Some(observed)) if !allocated.is_empty() => {
                Self::Compared(PortDrift::between(allocated, observed, details))
            }
            (_, Some(observed)) => Self::Unallocated(observed.clone()),
        }
    }

    /// `Some(true)` drifted, `Some(false)` did not, `None` unknown.
    pub fn detected(&self) -> Option<bool> {
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
        PortMap(entries.iter().map(entry).collect())
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

    #[test]
    fn a_port_is_1_to_65535() {
        for bad in ["0", "65536", "-1", "1.5", "\"22\"", "null", "99999999999999999999"] {
            let error = serde_json::from_str::<PortNumber>(bad).unwrap_err().to_string();
            assert!(error.contains("a port from 1 to 65535"), "{bad}: {error}");
        }
        assert_eq!(serde_json::from_str::<PortNumber>("65535").unwrap().get(), 65535);
    }

    #[test]
    fn a_compatible_name_keeps_only_allowed_characters() {
        assert_eq!(PortName::compatible("PC", "serial").as_str(), "PC_serial");
        assert_eq!(PortName::compatible("core sw.1/é", "vnc").as_str(), "core_sw_1___vnc");
        assert_eq!(PortName::compatible("", "vnc").as_str(), "_vnc");
    }

    fn any_ports() -> impl Strategy<Value = PortMap> {
        proptest::collection::btree_map("[a-d]_(ssh|vnc)", 1_i64..9, 0..6).prop_map(|entries| {
            let entry = |(name, port)| (PortName::parse(name).unwrap(), PortNumber::new(port).unwrap());
            PortMap(entries.into_iter().map(entry).collect())
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

        #[test]
        fn compatible_names_are_port_names(label in ".{0,300}", protocol in "[a-z]{1,8}") {
            let name = PortName::compatible(&label, &protocol);
            prop_assert!(PortName::parse(name.as_str()).is_ok());
        }
    }
}
