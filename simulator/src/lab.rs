//! A lab: its nodes and links, and what may be done with it when.

use std::collections::{BTreeMap, HashMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    definition::{Making, is_known},
    dice::Dice,
    life::{Life, State},
    node::Node,
    topology::{LinkSection, Topology},
};

/// The launcher takes one node after the other.
const FIRST_LAUNCH: TimeDelta = TimeDelta::milliseconds(2_000);
const LAUNCH_GAP: TimeDelta = TimeDelta::milliseconds(1_500);
const KEPT_EVENTS: usize = 500;

#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) id: Uuid,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) notes: String,
    pub(crate) created: DateTime<Utc>,
    pub(crate) modified: DateTime<Utc>,
    pub(crate) state: State,
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: Vec<Link>,
    pub(crate) events: VecDeque<LabEvent>,
    /// Of all events, those among them that are no longer kept.
    pub(crate) event_count: u64,
    pub(crate) passed_through: PassedThrough,
    nodes_by_id: HashMap<Uuid, usize>,
}

/// Members of a topology that have no effect here and are exported again when the lab is downloaded.
#[derive(Debug)]
pub(crate) struct PassedThrough {
    pub(crate) node_staging: Map<String, Value>,
    pub(crate) autostart: Map<String, Value>,
    pub(crate) annotations: Vec<Value>,
    pub(crate) smart_annotations: Vec<Value>,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: Uuid,
    pub(crate) label: String,
    pub(crate) ends: [End; 2],
    pub(crate) dice: Dice,
}

/// Positions in `Lab::nodes` and in that node's interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct End {
    pub(crate) node: usize,
    pub(crate) interface: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct LabEvent {
    pub(crate) at: DateTime<Utc>,
    pub(crate) event: &'static str,
    pub(crate) element_type: &'static str,
    pub(crate) element_id: Uuid,
    pub(crate) data: String,
}

impl Lab {
    /// `warnings` says what a controller would complain about without refusing the import.
    pub(crate) fn new(
        topology: Topology,
        title: Option<String>,
        dice: Dice,
        class: Dice,
        now: DateTime<Utc>,
    ) -> (Self, Vec<String>) {
        let unnamed = || format!("Lab at {}", now.format("%a %H:%M %p"));
        let positions: HashMap<String, usize> =
            topology.nodes.iter().enumerate().map(|(position, node)| (node.id.clone(), position)).collect();
        let interface_positions: Vec<HashMap<String, usize>> = topology
            .nodes
            .iter()
            .map(|node| {
                node.interfaces
                    .iter()
                    .enumerate()
                    .map(|(position, interface)| (interface.id.clone(), position))
                    .collect()
            })
            .collect();
        let mut warnings = Vec::new();
        let mut nodes = Vec::with_capacity(topology.nodes.len());
        for section in topology.nodes {
            if !is_known(&section.node_definition) {
                warnings.push(format!("Node definition not found: {}", section.node_definition));
            }
            nodes.push(Node::new(section, dice, class));
        }
        // The topology was checked when it was parsed: each end exists.
        let end = |node: &str, interface: &str| {
            let node = *positions.get(node)?;
            Some(End { node, interface: *interface_positions.get(node)?.get(interface)? })
        };
        let links: Vec<Link> = topology
            .links
            .into_iter()
            .filter_map(|section| {
                let ends = [end(&section.n1, &section.i1)?, end(&section.n2, &section.i2)?];
                Some(Link::new(section, ends, &nodes, dice))
            })
            .collect();
        let mut lab = Self {
            id: dice.uuid(),
            title: title.or(topology.lab.title).unwrap_or_else(unnamed),
            description: topology.lab.description.unwrap_or_default(),
            notes: topology.lab.notes.unwrap_or_default(),
            created: now,
            modified: now,
            state: State::DefinedOnCore,
            nodes_by_id: nodes.iter().enumerate().map(|(position, node)| (node.id, position)).collect(),
            nodes,
            links,
            events: VecDeque::new(),
            event_count: 0,
            passed_through: PassedThrough {
                node_staging: topology.lab.node_staging,
                autostart: topology.lab.autostart,
                annotations: topology.annotations,
                smart_annotations: topology.smart_annotations,
            },
        };
        lab.mark_connections();
        lab.record(now, "imported", String::new());
        (lab, warnings)
    }

    /// The same, whose machines are in the making for a while before they start.
    pub(crate) fn launching(mut self, launch: TimeDelta) -> Self {
        for node in self.nodes.iter_mut().filter(|node| node.definition.is_machine()) {
            node.launch = launch;
        }
        self
    }

    /// Machines that are started from now on wait that long in the queue, beside their turn.
    pub(crate) fn delay_launches(&mut self, by: TimeDelta) {
        for node in self.nodes.iter_mut().filter(|node| node.definition.is_machine()) {
            node.launch_delay = by;
        }
    }

    /// The same, whose machines somebody restarts at a rate.
    pub(crate) fn restarting(mut self, restarts_per_day: f64) -> Self {
        for node in &mut self.nodes {
            node.restarts_per_day = restarts_per_day;
        }
        self
    }

    pub(crate) fn node(&self, id: Uuid) -> Option<&Node> {
        self.nodes_by_id.get(&id).and_then(|position| self.nodes.get(*position))
    }

    pub(crate) fn node_mut(&mut self, id: Uuid) -> Option<&mut Node> {
        self.nodes_by_id.get(&id).and_then(|position| self.nodes.get_mut(*position))
    }

    pub(crate) fn node_labelled(&mut self, label: &str) -> Option<&mut Node> {
        self.nodes.iter_mut().find(|node| node.label == label)
    }

    /// Starts every node that does not run; repeating it changes nothing.
    pub(crate) fn start(&mut self, now: DateTime<Utc>) {
        let mut turn = FIRST_LAUNCH;
        for node in self.nodes.iter_mut().filter(|node| !matches!(node.life, Life::Running(_))) {
            if node.definition.is_machine() {
                node.queue(now, turn);
                turn += LAUNCH_GAP;
            } else {
                node.queue(now, TimeDelta::seconds(1));
            }
        }
        if self.state != State::Started {
            self.state = State::Started;
            self.record(now, "started", String::new());
        }
    }

    pub(crate) fn stop(&mut self, now: DateTime<Utc>) {
        self.nodes.iter_mut().for_each(|node| node.stop(now));
        if self.state == State::Started {
            self.state = State::Stopped;
            self.record(now, "stopped", String::new());
        }
    }

    /// Of a stopped lab only; false otherwise.
    #[must_use]
    pub(crate) fn wipe(&mut self, now: DateTime<Utc>) -> bool {
        if self.state == State::Started {
            return false;
        }
        self.nodes.iter_mut().for_each(Node::wipe);
        if self.state == State::Stopped {
            self.state = State::DefinedOnCore;
            self.record(now, "wiped", String::new());
        }
        true
    }

    /// Starts one node. False if there is none of that id.
    #[must_use]
    pub(crate) fn start_node(&mut self, id: Uuid, now: DateTime<Utc>) -> bool {
        let Some(node) = self.node_mut(id) else {
            return false;
        };
        if !matches!(node.life, Life::Running(_)) {
            node.queue(now, FIRST_LAUNCH);
        }
        self.state = State::Started;
        true
    }

    #[must_use]
    pub(crate) fn stop_node(&mut self, id: Uuid, now: DateTime<Utc>) -> bool {
        let Some(node) = self.node_mut(id) else {
            return false;
        };
        node.stop(now);
        if !self.nodes.iter().any(|node| matches!(node.life, Life::Running(_))) {
            self.stop(now);
        }
        true
    }

    /// No node is queued or booting.
    pub(crate) fn has_converged(&self, now: DateTime<Utc>) -> bool {
        !self.nodes.iter().any(|node| matches!(node.state(now), State::Queued | State::Starting | State::Started))
    }

    pub(crate) fn link_state(&self, link: &Link, now: DateTime<Utc>) -> State {
        let states = link.ends.map(|end| self.nodes[end.node].interface_state(now));
        match states {
            [State::Started, State::Started] => State::Started,
            [State::DefinedOnCore, State::DefinedOnCore] => State::DefinedOnCore,
            _ => State::Stopped,
        }
    }

    /// Since when both ends of a link are up.
    pub(crate) fn link_up_since(&self, link: &Link) -> Option<DateTime<Utc>> {
        let [a, b] = link.ends.map(|end| match self.nodes[end.node].life {
            Life::Running(run) => Some(run.starts_at),
            Life::Defined | Life::Stopped => None,
        });
        Some(a?.max(b?))
    }

    pub(crate) fn record(&mut self, at: DateTime<Utc>, event: &'static str, data: String) {
        let element_id = self.id;
        self.record_element(LabEvent { at, event, element_type: "lab", element_id, data });
    }

    pub(crate) fn record_element(&mut self, event: LabEvent) {
        if self.events.len() == KEPT_EVENTS {
            self.events.pop_front();
        }
        self.modified = event.at;
        self.event_count += 1;
        self.events.push_back(event);
    }

    /// Which interfaces have a link, and which of them reach the outside.
    fn mark_connections(&mut self) {
        let mut neighbours: BTreeMap<usize, Vec<End>> = BTreeMap::new();
        for link in &self.links {
            for (here, there) in [(0, 1), (1, 0)] {
                let end = link.ends[here];
                self.nodes[end.node].interfaces[end.interface].connected = true;
                neighbours.entry(end.node).or_default().push(link.ends[there]);
            }
        }
        let making = |node: &Node| node.definition.making;
        let mut reached: Vec<usize> =
            (0..self.nodes.len()).filter(|node| making(&self.nodes[*node]) == Making::ExternalConnector).collect();
        let mut seen = reached.clone();
        while let Some(node) = reached.pop() {
            for end in neighbours.get(&node).into_iter().flatten() {
                self.nodes[end.node].interfaces[end.interface].outside = true;
                if making(&self.nodes[end.node]) == Making::UnmanagedSwitch && !seen.contains(&end.node) {
                    seen.push(end.node);
                    reached.push(end.node);
                }
            }
        }
    }
}

impl Link {
    fn new(section: LinkSection, ends: [End; 2], nodes: &[Node], lab: Dice) -> Self {
        let dice = lab.about_text("link").about_text(&section.id);
        let name = |end: End| {
            let node = &nodes[end.node];
            format!("{}-{}", node.label, node.interfaces[end.interface].label)
        };
        Self {
            id: dice.uuid(),
            label: section.label.unwrap_or_else(|| format!("{}<->{}", name(ends[0]), name(ends[1]))),
            ends,
            dice,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_225_600 + seconds, 0).unwrap()
    }

    fn lab(yaml: &str) -> Lab {
        Lab::new(Topology::parse(yaml).unwrap(), None, Dice::new(1), Dice::new(2), moment(0)).0
    }

    const HOME: &str = r"
nodes:
  - { id: n0, label: net, node_definition: external_connector, interfaces: [{ id: i0, label: port, slot: 0 }] }
  - { id: n1, label: switch, node_definition: unmanaged_switch, interfaces: [{ id: i0, label: p0, slot: 0 }, { id: i1, label: p1, slot: 1 }] }
  - { id: n2, label: host, node_definition: alpine, interfaces: [{ id: i0, label: eth0, slot: 0 }] }
  - { id: n3, label: alone, node_definition: alpine, interfaces: [{ id: i0, label: eth0, slot: 0 }] }
links:
  - { id: l0, n1: n0, i1: i0, n2: n1, i2: i0 }
  - { id: l1, n1: n1, i1: i1, n2: n2, i2: i0 }
";

    #[test]
    fn nodes_queue_start_and_boot_as_time_passes() {
        let mut lab = lab(HOME);
        assert_eq!(lab.nodes[2].state(moment(0)), State::DefinedOnCore);
        lab.start(moment(0));
        assert_eq!(lab.nodes[2].state(moment(0)), State::Queued);
        assert_eq!(lab.nodes[2].state(moment(3)), State::Started);
        assert!(!lab.has_converged(moment(3)));
        assert_eq!(lab.nodes[2].state(moment(60)), State::Booted);
        assert!(lab.has_converged(moment(60)));
    }

    #[test]
    fn a_machine_is_in_the_making_between_queue_and_start_where_that_is_told() {
        let mut lab = lab(HOME).launching(TimeDelta::seconds(1));
        lab.start(moment(0));
        let states: Vec<&str> = (0..4).map(|second| lab.nodes[2].state(moment(second)).name()).collect();
        assert_eq!(states, ["QUEUED", "STARTING", "STARTED", "STARTED"]);
        assert!(!lab.has_converged(moment(1)) && !lab.nodes[2].is_up(moment(1)));
        assert_eq!(lab.nodes[1].state(moment(0)), State::Queued, "a switch has no machine");
    }

    #[test]
    fn starting_twice_changes_nothing() {
        let mut lab = lab(HOME);
        lab.start(moment(0));
        let before: Vec<Life> = lab.nodes.iter().map(|node| node.life).collect();
        lab.start(moment(30));
        assert_eq!(before, lab.nodes.iter().map(|node| node.life).collect::<Vec<_>>());
        assert_eq!(lab.events.len(), 2);
    }

    #[test]
    fn a_running_lab_cannot_be_wiped() {
        let mut lab = lab(HOME);
        lab.start(moment(0));
        assert!(!lab.wipe(moment(1)));
        lab.stop(moment(2));
        assert_eq!(lab.nodes[2].state(moment(2)), State::Stopped);
        assert!(lab.wipe(moment(3)));
        assert_eq!(lab.nodes[2].state(moment(3)), State::DefinedOnCore);
        assert_eq!(lab.state, State::DefinedOnCore);
    }

    #[test]
    fn the_outside_is_reached_through_switches() {
        let lab = lab(HOME);
        assert!(lab.nodes[2].interfaces[0].outside);
        assert!(!lab.nodes[3].interfaces[0].outside);
        assert!(!lab.nodes[3].interfaces[0].connected);
    }
}
