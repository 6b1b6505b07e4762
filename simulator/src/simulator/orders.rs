//! What can be ordered of a lab beside what the API lets a user do with it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;

use super::SimulatorError;
use crate::{
    lab::{Lab, LabEvent},
    life::State,
    node::Node,
    topology::check_tags,
    usage::record::{RecordError, RecordedNode, UsageRecord},
    workload::Runaway,
};

/// Of one node.
const MOST_RUNAWAYS: usize = 32;
const LONGEST_SETTLING: TimeDelta = TimeDelta::days(1);

pub(crate) fn set_tags(
    lab: &mut Lab,
    now: DateTime<Utc>,
    label: &str,
    tags: Vec<String>,
) -> Result<(), SimulatorError> {
    check_tags(&tags).map_err(SimulatorError::Tags)?;
    let no_node = SimulatorError::NoNode { lab: lab.id.to_string(), label: label.to_owned() };
    let node = lab.node_labelled(label).ok_or(no_node)?;
    node.tags = tags;
    let element_id = node.id;
    let data = format!("tags of {label} replaced");
    lab.record_element(LabEvent { at: now, event: "modified", element_type: "node", element_id, data });
    Ok(())
}

/// A process that is to run away.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunawayOrder {
    /// How long, in simulated seconds.
    pub seconds: u64,
    #[serde(default)]
    pub after_seconds: u64,
    /// Percent of one core that it wants.
    #[serde(default = "a_core")]
    pub cpu_percent: f64,
    /// Percent of the node's RAM that it holds.
    #[serde(default)]
    pub memory_percent: f64,
    /// MB that it has written to the node's disk once it ends.
    #[serde(default)]
    pub disk_mb: f64,
}

fn a_core() -> f64 {
    100.0
}

impl RunawayOrder {
    /// A core, from now on.
    pub fn for_seconds(seconds: u64) -> Self {
        Self { seconds, after_seconds: 0, cpu_percent: a_core(), memory_percent: 0.0, disk_mb: 0.0 }
    }

    fn check(&self) -> Result<(), String> {
        let week = 7 * 24 * 60 * 60;
        if self.seconds == 0 || self.seconds > week || self.after_seconds > week {
            return Err(format!("it lasts 1 to {week} s, and begins within {week} s"));
        }
        if !(0.0..=10_000.0).contains(&self.cpu_percent)
            || !(0.0..=100.0).contains(&self.memory_percent)
            || !(0.0..=1_000_000.0).contains(&self.disk_mb)
        {
            return Err("it takes 0 to 10000 % of a core, 0 to 100 % of the RAM and 0 to 1000000 MB".to_owned());
        }
        Ok(())
    }
}

pub(crate) fn run_away(
    lab: &mut Lab,
    now: DateTime<Utc>,
    label: &str,
    order: RunawayOrder,
) -> Result<(), SimulatorError> {
    let refused = |reason| SimulatorError::Runaway { label: label.to_owned(), reason };
    order.check().map_err(refused)?;
    let no_node = SimulatorError::NoNode { lab: lab.id.to_string(), label: label.to_owned() };
    let node = lab.node_labelled(label).ok_or(no_node)?;
    if node.load.runaways.len() == MOST_RUNAWAYS {
        return Err(refused(format!("{MOST_RUNAWAYS} were ordered already")));
    }
    let from = now + TimeDelta::seconds(order.after_seconds as i64);
    node.load.runaways.push(Runaway {
        from,
        until: from + TimeDelta::seconds(order.seconds as i64),
        cpu_percent: order.cpu_percent,
        memory_percent: order.memory_percent,
        disk_mb: order.disk_mb,
    });
    Ok(())
}

pub(crate) fn restart_node(lab: &mut Lab, now: DateTime<Utc>, label: &str) -> Result<(), SimulatorError> {
    let no_node = SimulatorError::NoNode { lab: lab.id.to_string(), label: label.to_owned() };
    let node = lab.node_labelled(label).ok_or(no_node)?;
    node.restart(now);
    lab.state = State::Started;
    Ok(())
}

/// What a record is asked of, taken from a lab, so that nothing is locked while it is computed.
pub(crate) struct RecordRequest {
    nodes: Vec<RecordedNode>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    settling: TimeDelta,
}

impl RecordRequest {
    /// From the lab's first start that is remembered until `now`, where nothing else is said.
    pub(crate) fn new(
        lab: &Lab,
        from: Option<DateTime<Utc>>,
        to: Option<DateTime<Utc>>,
        settling: Duration,
        now: DateTime<Utc>,
    ) -> Self {
        let to = to.unwrap_or(now);
        let first = lab.nodes.iter().filter_map(Node::first_queued_at).min();
        let settling = TimeDelta::from_std(settling).unwrap_or(LONGEST_SETTLING).min(LONGEST_SETTLING);
        Self { nodes: lab.nodes.iter().map(Node::recorded).collect(), from: from.or(first).unwrap_or(to), to, settling }
    }

    pub(crate) fn record(self) -> Result<UsageRecord, RecordError> {
        UsageRecord::between(self.nodes, self.from, self.to, self.settling)
    }
}

pub(crate) fn move_port(
    lab: &mut Lab,
    now: DateTime<Utc>,
    label: &str,
    from: u16,
    to: u16,
) -> Result<(), SimulatorError> {
    let no_node = SimulatorError::NoNode { lab: lab.id.to_string(), label: label.to_owned() };
    let node = lab.node_labelled(label).ok_or(no_node)?;
    // `kind:port[:rest]` or `pat:tcp:port:inside`: the outside port is the first number.
    let mut moved = false;
    for tag in &mut node.tags {
        let mut parts: Vec<String> = tag.split(':').map(str::to_owned).collect();
        let outside = parts.iter_mut().skip(1).find(|part| part.parse::<u16>().is_ok());
        if let Some(part) = outside.filter(|part| part.parse() == Ok(from)) {
            *part = to.to_string();
            *tag = parts.join(":");
            moved = true;
        }
    }
    if !moved {
        return Err(SimulatorError::NoPort { label: label.to_owned(), port: from });
    }
    let element_id = node.id;
    let data = format!("port {from} of {label} moved to {to}");
    lab.record_element(LabEvent { at: now, event: "modified", element_type: "node", element_id, data });
    Ok(())
}
