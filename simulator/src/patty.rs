//! PATty, the controller's translation of outside ports to nodes, as far as others notice it.
//!
//! It acts on the tags of running nodes, in the order in which labs and nodes are. A port outside its range is ignored, and
//! so is one that another node has; a real controller says so in a log of its own and nowhere else. Here it can be asked.

use std::{collections::BTreeSet, fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::lab::Lab;

/// Outside ports, both ends included. Invariant: at least 1, first no greater than last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl Default for PortRange {
    /// Default of an unmodified installation.
    fn default() -> Self {
        Self { first: 2000, last: 7999 }
    }
}

impl PortRange {
    /// `None` when that is no range of ports.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (1 <= first && first <= last).then_some(Self { first, last })
    }

    fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl FromStr for PortRange {
    type Err = String;

    /// Reads `2000-7999`.
    fn from_str(text: &str) -> Result<Self, String> {
        let ends = text
            .split_once('-')
            .and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
        ends.and_then(|(first, last)| Self::new(first, last))
            .ok_or_else(|| format!("{text:?} is no range of ports; expected first-last, such as 2000-7999"))
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.first, self.last)
    }
}

/// What became of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Treatment {
    Forwarded,
    OutOfRange,
    InUse,
}

/// A tag of a running node and what became of it.
#[derive(Debug, Serialize)]
pub(crate) struct Forward<'lab> {
    lab: Uuid,
    node: Uuid,
    tag: &'lab str,
    protocol: &'static str,
    outside: u16,
    treatment: Treatment,
}

pub(crate) fn forwards(labs: &[Lab], range: PortRange, now: DateTime<Utc>) -> Vec<Forward<'_>> {
    let mut taken = BTreeSet::new();
    let mut forwards = Vec::new();
    for lab in labs {
        for node in lab.nodes.iter().filter(|node| node.is_up(now)) {
            for tag in &node.tags {
                let Some((protocol, outside)) = outside(tag) else { continue };
                let treatment = if !range.contains(outside) {
                    Treatment::OutOfRange
                } else if taken.insert((protocol, outside)) {
                    Treatment::Forwarded
                } else {
                    Treatment::InUse
                };
                forwards.push(Forward { lab: lab.id, node: node.id, tag, protocol, outside, treatment });
            }
        }
    }
    forwards
}

/// Protocol and outside port of a tag that PATty acts on.
fn outside(tag: &str) -> Option<(&'static str, u16)> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    match tag.split(':').collect::<Vec<_>>().as_slice() {
        ["pat", outside, inside] | ["pat", "tcp", outside, inside] => {
            port(inside).and(port(outside)).map(|port| ("tcp", port))
        }
        ["pat", "udp", outside, inside] => port(inside).and(port(outside)).map(|port| ("udp", port)),
        ["serial", outside] | ["vnc", outside] => port(outside).map(|port| ("tcp", port)),
        ["serial", outside, line] => line.parse::<u16>().ok().and(port(outside)).map(|port| ("tcp", port)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_by_their_grammar() {
        for (tag, read) in [
            ("pat:2022:22", Some(("tcp", 2022))),
            ("pat:tcp:2022:22", Some(("tcp", 2022))),
            ("pat:udp:2161:161", Some(("udp", 2161))),
            ("serial:5041", Some(("tcp", 5041))),
            ("serial:5041:1", Some(("tcp", 5041))),
            ("vnc:5901", Some(("tcp", 5901))),
            ("pat:2022", None),
            ("pat:0:22", None),
            ("ssh:2022", None),
            ("Client", None),
        ] {
            assert_eq!(outside(tag), read, "{tag}");
        }
    }

    #[test]
    fn a_range_is_two_ports_in_order() {
        assert_eq!("2000-7999".parse(), Ok(PortRange::default()));
        assert_eq!(PortRange::new(3000, 3000).unwrap().to_string(), "3000-3000");
        for bad in ["", "2000", "7999-2000", "0-5", "1-70000", "a-b"] {
            assert!(bad.parse::<PortRange>().is_err(), "{bad}");
        }
    }
}
