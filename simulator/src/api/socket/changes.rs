//! What happened between two looks at the world, as events that are pushed.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Frame, Push};
use crate::{
    api::nodes,
    lab::Lab,
    life::{Life, State},
    node::Node,
    world::World,
};

/// Labs as a socket was last told of them.
pub(super) struct Changes {
    lab_filter: Option<Uuid>,
    labs: HashMap<Uuid, LabSnapshot>,
}

struct LabSnapshot {
    state: State,
    events: u64,
    nodes: Vec<NodeSnapshot>,
    links: Vec<State>,
}

#[derive(Clone, Copy)]
struct NodeSnapshot {
    life: Life,
    state: State,
}

impl LabSnapshot {
    fn new(lab: &Lab, world: &World) -> Self {
        let now = world.now();
        Self {
            state: lab.state,
            events: lab.event_count,
            nodes: lab.nodes.iter().map(|node| NodeSnapshot { life: node.life, state: node.state(now) }).collect(),
            links: lab.links.iter().map(|link| lab.link_state(link, now)).collect(),
        }
    }
}

impl Changes {
    pub(super) fn since_now(world: &World, lab_filter: Option<Uuid>) -> Self {
        let mut changes = Self { lab_filter, labs: HashMap::new() };
        changes.labs = changes.concerned(world).map(|lab| (lab.id, LabSnapshot::new(lab, world))).collect();
        changes
    }

    fn concerned<'world>(&self, world: &'world World) -> impl Iterator<Item = &'world Lab> + use<'world> {
        let lab_filter = self.lab_filter;
        world.labs.iter().filter(move |lab| lab_filter.is_none_or(|wanted| wanted == lab.id))
    }

    /// Everything that happened since it was last asked, oldest first within a node.
    pub(super) fn frames(&mut self, world: &World) -> Result<Vec<Frame>, serde_json::Error> {
        let mut frames = Vec::new();
        for lab in self.concerned(world) {
            let snapshot = LabSnapshot::new(lab, world);
            match self.labs.get(&lab.id) {
                None => frames.push(lab_event(lab.id, "created", &details(lab, world))?),
                Some(before) => compare(lab, world, before, &snapshot, &mut frames)?,
            }
            self.labs.insert(lab.id, snapshot);
        }
        let there: HashSet<Uuid> = world.labs.iter().map(|lab| lab.id).collect();
        for gone in self.labs.extract_if(|id, _| !there.contains(id)) {
            frames.push(lab_event(gone.0, "deleted", &Value::Null)?);
        }
        Ok(frames)
    }
}

fn compare(
    lab: &Lab,
    world: &World,
    before: &LabSnapshot,
    after: &LabSnapshot,
    frames: &mut Vec<Frame>,
) -> Result<(), serde_json::Error> {
    if before.state != after.state {
        frames.push(lab_event(lab.id, "state", &json!({ "state": after.state.name() }))?);
    }
    modifications(lab, world, after.events - before.events, frames)?;
    for ((node, old), new) in lab.nodes.iter().zip(&before.nodes).zip(&after.nodes) {
        let mut of_interfaces = old.state.of_interfaces();
        for state in passed(*old, *new, world) {
            frames.push(state_change(lab.id, "node", node.id, state)?);
            if state.of_interfaces() != of_interfaces {
                of_interfaces = state.of_interfaces();
                for interface in &node.interfaces {
                    frames.push(state_change(lab.id, "interface", interface.id, of_interfaces)?);
                }
            }
        }
    }
    for ((link, old), new) in lab.links.iter().zip(&before.links).zip(&after.links) {
        if old != new {
            frames.push(state_change(lab.id, "link", link.id, *new)?);
        }
    }
    Ok(())
}

/// States that a node went through after `old`, up to `new`.
fn passed(old: NodeSnapshot, new: NodeSnapshot, world: &World) -> Vec<State> {
    let states = |life: Life| match life {
        Life::Running(run) => run.states_until(world.now()),
        Life::Stopped => vec![State::Stopped],
        Life::Defined => vec![State::DefinedOnCore],
    };
    if old.life == new.life {
        let states = states(new.life);
        let known = states.iter().position(|state| *state == old.state).map_or(0, |position| position + 1);
        return states.into_iter().skip(known).collect();
    }
    let mut passed = Vec::new();
    if let (Life::Running(_), Life::Running(_) | Life::Defined) = (old.life, new.life) {
        passed.push(State::Stopped);
    }
    passed.extend(states(new.life));
    passed
}

/// What was changed of a lab or its nodes, each told once.
fn modifications(lab: &Lab, world: &World, count: u64, frames: &mut Vec<Frame>) -> Result<(), serde_json::Error> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut told = HashSet::new();
    for event in lab.events.iter().skip(lab.events.len().saturating_sub(count)) {
        if event.event != "modified" || !told.insert(event.element_id) {
            continue;
        }
        match lab.node(event.element_id) {
            Some(node) => frames.push(node_modified(lab, node, world)?),
            None => frames.push(lab_event(lab.id, "modified", &details(lab, world))?),
        }
    }
    Ok(())
}

fn details(lab: &Lab, world: &World) -> Value {
    json!({ "title": lab.title, "description": lab.description, "notes": lab.notes, "owner": world.user_id })
}

/// The lab is the element. `lab_id` is absent: Cisco's client ends with an error where a lab event names a lab that it
/// has joined.
fn lab_event(id: Uuid, event: &'static str, data: &Value) -> Result<Frame, serde_json::Error> {
    Frame::new(&Push {
        event_type: "lab_event",
        event: Some(event),
        element_type: Some("lab"),
        lab_id: None,
        element_id: Some(id),
        data,
    })
}

fn node_modified(lab: &Lab, node: &Node, world: &World) -> Result<Frame, serde_json::Error> {
    Frame::new(&Push {
        event_type: "lab_element_event",
        event: Some("modified"),
        element_type: Some("node"),
        lab_id: Some(lab.id),
        element_id: Some(node.id),
        data: &nodes::without_configuration(world, lab, node),
    })
}

fn state_change(
    lab: Uuid,
    element_type: &'static str,
    element: Uuid,
    state: State,
) -> Result<Frame, serde_json::Error> {
    Frame::new(&Push {
        event_type: "state_change",
        event: Some(state.name()),
        element_type: Some(element_type),
        lab_id: Some(lab),
        element_id: Some(element),
        data: &Value::Null,
    })
}
