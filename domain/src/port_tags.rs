//! Port tags on nodes: the intent that CML's port address translation service, PATty, acts on.
//!
//! | tag | means |
//! |---|---|
//! | `pat:<outside>:<inside>`, `pat:tcp:<outside>:<inside>` | TCP forward |
//! | `pat:udp:<outside>:<inside>` | UDP forward |
//! | `serial:<outside>`, `serial:<outside>:<line>` | telnet to a console; line 0 by default, 1 is aux |
//! | `vnc:<outside>` | VNC, at most one a node |
//! | `ssh:`, `telnet:`, `tcp:`, `http:`, `https:` and a number | named intents of earlier definitions, TCP, not honoured by PATty |
//!
//! Every other tag is an ordinary label.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Invalid;
use crate::ports::{PortMap, PortName, PortNumber, PortRange};
use crate::text::{Explanation, Label, Line, Token};

/// The layer 4 protocol of a port; with worker and outside port it is the port's true key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Transmission Control Protocol.
    Tcp,
    /// User Datagram Protocol.
    Udp,
}

/// What a port tag asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PortIntent {
    /// Forward to a port of the node.
    Forward {
        /// TCP or UDP.
        transport: Transport,
        /// The node's port.
        inside: PortNumber,
    },
    /// Telnet to a console line: 0 is the console, 1 the auxiliary line.
    Serial {
        /// The console's number.
        line: u16,
    },
    /// The node's screen.
    Vnc,
    /// A named intent of earlier definitions (`ssh`, `telnet`, `tcp`, `http`, `https`): TCP, not honoured by PATty.
    Named {
        /// The name before the colon.
        intent: Token,
    },
}

/// One understood port tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct PortTag {
    /// The outside port on the worker.
    pub outside: PortNumber,
    /// What it leads to.
    #[serde(flatten)]
    pub intent: PortIntent,
}

impl PortTag {
    /// The protocol part of the compatible name: `tcp`, `udp`, `serial`, `vnc`, `ssh`, …
    pub fn protocol(&self) -> &str {
        match &self.intent {
            PortIntent::Forward { transport: Transport::Tcp, .. } => "tcp",
            PortIntent::Forward { transport: Transport::Udp, .. } => "udp",
            PortIntent::Serial { .. } => "serial",
            PortIntent::Vnc => "vnc",
            PortIntent::Named { intent } => intent,
        }
    }

    /// The layer 4 protocol on the worker.
    pub fn transport(&self) -> Transport {
        match self.intent {
            PortIntent::Forward { transport, .. } => transport,
            PortIntent::Serial { .. } | PortIntent::Vnc | PortIntent::Named { .. } => Transport::Tcp,
        }
    }

    /// Whether PATty, with its default range, acts on this tag. A tag outside the range is ignored by it.
    pub(crate) fn is_honoured(&self) -> bool {
        self.is_honoured_within(PortRange::default())
    }

    /// Whether a PATty with this range acts on this tag.
    pub(crate) fn is_honoured_within(&self, range: PortRange) -> bool {
        !matches!(self.intent, PortIntent::Named { .. }) && range.contains(self.outside)
    }
}

/// What one tag turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TagReading {
    /// A port tag.
    Port(PortTag),
    /// An ordinary label such as `VLAN10`.
    Ordinary,
    /// It begins like a port tag and is none; the reason, e.g. `"70000" is not a port from 1 to 65535`.
    NotUnderstood(String),
}

/// Reads one tag by PATty's grammar. Surrounding white space does not count.
pub(crate) fn read_tag(tag: &str) -> TagReading {
    let tag = tag.trim();
    let Some((kind, rest)) = tag.split_once(':') else {
        return TagReading::Ordinary;
    };
    let parts: Vec<&str> = rest.split(':').collect();
    let reading = match (kind, parts.as_slice()) {
        ("pat", [outside, inside] | ["tcp", outside, inside]) => forward(Transport::Tcp, outside, inside),
        ("pat", ["udp", outside, inside]) => forward(Transport::Udp, outside, inside),
        ("serial", [outside]) => {
            port(outside).map(|outside| PortTag { outside, intent: PortIntent::Serial { line: 0 } })
        }
        ("serial", [outside, line]) => port(outside).and_then(|outside| {
            let line = digits(line).ok_or_else(|| format!("{line:?} is not a console line"))?;
            Ok(PortTag { outside, intent: PortIntent::Serial { line } })
        }),
        ("vnc", [outside]) => port(outside).map(|outside| PortTag { outside, intent: PortIntent::Vnc }),
        ("ssh" | "telnet" | "tcp" | "http" | "https", [outside]) => port(outside).and_then(|outside| {
            let intent = Token::parse(kind).map_err(|invalid| invalid.to_string())?;
            Ok(PortTag { outside, intent: PortIntent::Named { intent } })
        }),
        ("pat", _) => Err("expected pat:[tcp:|udp:]<outside>:<inside>".to_owned()),
        ("serial", _) => Err("expected serial:<outside>[:<line>]".to_owned()),
        ("vnc", _) => Err("expected vnc:<outside>".to_owned()),
        ("ssh" | "telnet" | "tcp" | "http" | "https", _) => Err(format!("expected {kind}:<outside>")),
        _ => return TagReading::Ordinary,
    };
    match reading {
        Ok(tag) => TagReading::Port(tag),
        Err(reason) => TagReading::NotUnderstood(reason),
    }
}

fn forward(transport: Transport, outside: &str, inside: &str) -> Result<PortTag, String> {
    Ok(PortTag { outside: port(outside)?, intent: PortIntent::Forward { transport, inside: port(inside)? } })
}

fn port(text: &str) -> Result<PortNumber, String> {
    digits(text)
        .and_then(|number| PortNumber::new(i64::from(number)).ok())
        .ok_or_else(|| format!("{text:?} is not a port from 1 to 65535"))
}

/// A number of ASCII digits only: `str::parse` alone would take `+80` too.
fn digits(text: &str) -> Option<u16> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// A port as it was observed on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObservedPort {
    /// The compatible name, unique within the lab.
    pub name: PortName,
    /// CML's id of the node that carries the tag.
    pub node_id: Line<0, 64>,
    /// The node's label.
    pub node_label: Label,
    /// Outside port and what it leads to.
    #[serde(flatten)]
    pub tag: PortTag,
    /// The layer 4 protocol on the worker. Not `transport`, which a forward has among what it leads to.
    pub l4_protocol: Transport,
    /// Whether PATty acts on it.
    pub honoured: bool,
}

/// A tag that begins like a port tag and could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnreadableTag {
    /// CML's id of the node that carries the tag.
    pub node_id: Line<0, 64>,
    /// The tag.
    pub tag: Label,
    /// Why it was not understood.
    pub reason: Explanation,
}

/// All ports of a lab, each under a name of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabPorts {
    /// The ports, ordered by label, intent and outside port.
    pub ports: Vec<ObservedPort>,
    /// Tags that were not understood.
    pub unreadable: Vec<UnreadableTag>,
}

impl LabPorts {
    /// Reads the tags of all nodes, given as (node id, label, tags).
    ///
    /// Names are given in an order that does not depend on CML's random ids where labels differ. Two tags that would
    /// collide on one name are both kept: a console line other than 0 always carries its line (`PC_serial_1`); a
    /// further forward of a node carries its inside port (`R1_tcp_443`); what still collides is counted (`…_2`).
    pub fn read<'a, T: AsRef<str> + 'a>(nodes: impl IntoIterator<Item = (&'a str, &'a str, &'a [T])>) -> Self {
        let mut found: Vec<(&str, &str, PortTag)> = Vec::new();
        let mut unreadable = Vec::new();
        for (node_id, label, tags) in nodes {
            for tag in tags.iter().map(AsRef::as_ref) {
                match read_tag(tag) {
                    TagReading::Port(tag) => found.push((label, node_id, tag)),
                    TagReading::Ordinary => {}
                    TagReading::NotUnderstood(reason) => {
                        unreadable.push(UnreadableTag {
                            node_id: Line::clean(node_id),
                            tag: Label::clean(tag),
                            reason: Explanation::clean(&reason),
                        });
                    }
                }
            }
        }
        found.sort_by(|(label_a, id_a, tag_a), (label_b, id_b, tag_b)| {
            (label_a, &tag_a.intent, tag_a.outside, id_a).cmp(&(label_b, &tag_b.intent, tag_b.outside, id_b))
        });
        found.dedup();
        let mut taken = BTreeSet::new();
        let ports = found
            .into_iter()
            .map(|(label, node_id, tag)| {
                let name = free_name(&taken, label, &tag);
                taken.insert(name.clone());
                ObservedPort {
                    name,
                    node_id: Line::clean(node_id),
                    node_label: Label::clean(label),
                    l4_protocol: tag.transport(),
                    honoured: tag.is_honoured(),
                    tag,
                }
            })
            .collect();
        Self { ports, unreadable }
    }

    /// The same on a worker with this range of ports: what its PATty honours is decided by it.
    #[must_use]
    pub fn on_worker_with(mut self, range: PortRange) -> Self {
        for port in &mut self.ports {
            port.honoured = port.tag.is_honoured_within(range);
        }
        self
    }

    /// The compatible map of names to outside ports.
    ///
    /// # Errors
    /// [`Invalid`], with an empty field, where they are more than a session may have.
    pub fn by_name(&self) -> Result<PortMap, Invalid> {
        let ports: BTreeMap<_, _> = self.ports.iter().map(|port| (port.name.clone(), port.tag.outside)).collect();
        PortMap::try_from(ports)
    }
}

fn free_name(taken: &BTreeSet<PortName>, label: &str, tag: &PortTag) -> PortName {
    let plain = PortName::compatible(label, tag.protocol());
    let particular = match &tag.intent {
        PortIntent::Serial { line: 0 } | PortIntent::Vnc => plain,
        PortIntent::Serial { line } => plain.suffixed(line),
        _ if !taken.contains(&plain) => plain,
        PortIntent::Forward { inside, .. } => plain.suffixed(inside),
        PortIntent::Named { .. } => plain.suffixed(tag.outside),
    };
    if !taken.contains(&particular) {
        return particular;
    }
    // One of the `taken.len() + 1` candidates is free, so the search ends.
    (2..).map(|count: usize| particular.suffixed(count)).find(|name| !taken.contains(name)).unwrap_or(particular)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(nodes: &[(&str, &str, &[&str])]) -> LabPorts {
        let owned: Vec<(&str, &str, Vec<String>)> = nodes
            .iter()
            .map(|(id, label, tags)| (*id, *label, tags.iter().map(ToString::to_string).collect()))
            .collect();
        LabPorts::read(owned.iter().map(|(id, label, tags)| (*id, *label, tags.as_slice())))
    }

    fn names(ports: &LabPorts) -> Vec<String> {
        ports.ports.iter().map(|port| format!("{}={}", port.name, port.tag.outside)).collect()
    }

    #[test]
    fn the_grammar_of_patty_is_understood() {
        let port = |number| PortNumber::new(number).unwrap();
        let forward = |transport, outside, inside| {
            TagReading::Port(PortTag {
                outside: port(outside),
                intent: PortIntent::Forward { transport, inside: port(inside) },
            })
        };
        assert_eq!(read_tag("pat:2022:22"), forward(Transport::Tcp, 2022, 22));
        assert_eq!(read_tag("pat:tcp:2022:22"), forward(Transport::Tcp, 2022, 22));
        assert_eq!(read_tag("pat:udp:2161:161"), forward(Transport::Udp, 2161, 161));
        assert_eq!(
            read_tag("serial:5041"),
            TagReading::Port(PortTag { outside: port(5041), intent: PortIntent::Serial { line: 0 } })
        );
        assert_eq!(
            read_tag(" serial:5042:1 "),
            TagReading::Port(PortTag { outside: port(5042), intent: PortIntent::Serial { line: 1 } })
        );
        assert_eq!(read_tag("vnc:5900"), TagReading::Port(PortTag { outside: port(5900), intent: PortIntent::Vnc }));
        assert_eq!(
            read_tag("ssh:22"),
            TagReading::Port(PortTag {
                outside: port(22),
                intent: PortIntent::Named { intent: Token::parse("ssh").unwrap() }
            })
        );
    }

    #[test]
    fn ordinary_labels_stay_labels_and_broken_port_tags_are_named() {
        for ordinary in ["VLAN10", "Client", "", ":", "note:5041", "Serial:5041"] {
            assert_eq!(read_tag(ordinary), TagReading::Ordinary, "{ordinary:?}");
        }
        for broken in [
            "pat:22",
            "pat:sctp:1:2",
            "pat:0:22",
            "serial:",
            "serial:70000",
            "serial:5041:a",
            "vnc:1:2",
            "ssh:+22",
            "vnc:-1",
        ] {
            assert!(matches!(read_tag(broken), TagReading::NotUnderstood(_)), "{broken:?}");
        }
    }

    #[test]
    fn patty_ignores_what_lies_outside_its_range_and_named_intents() {
        let honoured = |tag: &str| match read_tag(tag) {
            TagReading::Port(tag) => tag.is_honoured(),
            other => panic!("{other:?}"),
        };
        assert!(honoured("serial:2000") && honoured("pat:7999:22"));
        assert!(!honoured("serial:1999") && !honoured("vnc:8000") && !honoured("ssh:2022"));
        let port = |number: i64| PortNumber::new(number).unwrap();
        let range = PortRange::new(port(8000), port(8999)).unwrap();
        let lab = read(&[("n1", "R1", &["serial:2000", "vnc:8000", "ssh:8022"])]).on_worker_with(range);
        let honoured: Vec<(u16, bool)> = lab.ports.iter().map(|port| (port.tag.outside.get(), port.honoured)).collect();
        assert_eq!(honoured.iter().filter(|(_, honoured)| *honoured).collect::<Vec<_>>(), [&(8000, true)]);
    }

    #[test]
    fn colliding_names_are_both_kept() {
        let ports = read(&[
            ("n1", "PC", &["serial:5041", "serial:5042:1", "vnc:5043", "VLAN10"]),
            ("n2", "R 1", &["pat:2443:443", "pat:2022:22", "pat:udp:2161:161"]),
            ("n3", "R_1", &["pat:2122:22"]),
        ]);
        assert_eq!(
            names(&ports),
            [
                "PC_serial=5041",
                "PC_serial_1=5042",
                "PC_vnc=5043",
                "R_1_tcp=2022",
                "R_1_tcp_443=2443",
                "R_1_udp=2161",
                "R_1_tcp_22=2122"
            ]
        );
        assert_eq!(ports.by_name().unwrap().len(), 7);
    }

    #[test]
    fn labels_without_a_letter_still_give_names() {
        assert_eq!(
            names(&read(&[("n1", " ", &["vnc:2001"]), ("n2", ".", &["vnc:2002"])])),
            ["__vnc=2001", "__vnc_2=2002"]
        );
    }

    #[test]
    fn every_kind_of_observed_port_is_read_back_as_it_was_written() {
        let tags = ["pat:2022:22", "pat:udp:2161:161", "serial:5041:1", "vnc:5043", "ssh:22"];
        for port in read(&[("n1", "PC", &tags)]).ports {
            let written = serde_json::to_string(&port).unwrap();
            assert_eq!(serde_json::from_str::<ObservedPort>(&written).unwrap(), port, "{written}");
        }
    }

    proptest! {
        #[test]
        fn no_tag_makes_the_parser_panic_and_no_port_is_lost(
            nodes in proptest::collection::vec(("[ab .]{0,3}", proptest::collection::vec("(pat:(udp:)?|serial:|vnc:|ssh:)[0-9:]{0,9}", 0..5)), 0..6),
        ) {
            let owned: Vec<(String, String, Vec<String>)> =
                nodes.iter().enumerate().map(|(index, (label, tags))| (format!("n{index}"), label.clone(), tags.clone())).collect();
            let lab = LabPorts::read(owned.iter().map(|(id, label, tags)| (id.as_str(), label.as_str(), tags.as_slice())));
            prop_assert_eq!(lab.by_name().unwrap().len(), lab.ports.len());
        }
    }
}
