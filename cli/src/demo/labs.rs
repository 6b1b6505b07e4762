//! The sample labs of the demonstration and what is planned for each.

use anyhow::Context as _;
use chrono::TimeDelta;
use domain::port_tags::LabPorts;
use domain::ports::PortMap;
use serde::Deserialize;
use serde_json::{Value, json};
use simulator::RunawayOrder;

/// A sample lab: its definition's numbers are the author's guess.
pub(super) struct SampleLab {
    /// Id of its definition.
    pub(super) id: &'static str,
    /// Name of its definition.
    pub(super) name: &'static str,
    /// CML topology, YAML.
    pub(super) topology: &'static str,
    /// Guessed cores, GB of memory, GB of storage.
    guess: (u32, u32, u32),
    /// A port that moves while a session runs: label of the node, the planned port, the one it moves to.
    pub(super) drifts: Option<(&'static str, u16, u16)>,
    /// Whether somebody asks for an observation while a session runs.
    pub(super) is_asked_for: bool,
    /// What happens to one of its nodes while a session runs.
    pub(super) incident: Option<Incident>,
    /// How long a session's timeslot is.
    pub(super) timeslot: TimeDelta,
    /// On which of the workers its sessions run.
    pub(super) worker: usize,
    /// How many of its sessions run at once: a class has more than one learner. They have no ports.
    pub(super) at_once: usize,
    /// By which policy it is advised, and why; `None`: by the default one.
    pub(super) policy: Option<(SamplePolicy, &'static str)>,
}

/// A policy of advice.
#[derive(Clone, Copy, Debug)]
pub(super) enum SamplePolicy {
    /// What is proposed applies by itself.
    AppliesByItself,
    /// It is judged by so many sessions at least.
    JudgedBy(u32),
}

impl SamplePolicy {
    /// The policy, as it is set.
    pub(super) fn policy(self) -> Value {
        match self {
            Self::AppliesByItself => json!({ "applier": "automatic" }),
            Self::JudgedBy(sessions) => json!({ "minimum_sessions": sessions }),
        }
    }
}

/// A lab that never runs: its definition is sized by its topology.
pub(super) fn planned_definition() -> Value {
    json!({
        "id": "demo-planned", "name": "Planned for next term", "version": "0.1",
        "description": "No session of it has run yet. What it needs is known from nodes like its own in other labs.",
        "resource_requirements": { "cpu_cores": 8, "memory_gb": 16, "storage_gb": 60 },
        "topology": { "nodes": [
            { "node_definition": "csr1000v", "count": 2 }, { "node_definition": "ubuntu" },
            { "node_definition": "alpine", "count": 4 }, { "node_definition": "unmanaged_switch" }
        ]}
    })
}

/// Something that makes a session use more than it would, or its counters begin anew. Seconds are simulated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incident {
    /// Label of the node.
    pub(super) node: &'static str,
    pub(super) kind: IncidentKind,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum IncidentKind {
    /// Somebody restarts it.
    Restart,
    /// A process runs away, and takes a core and some memory.
    Runaway,
    /// A process fills the disk.
    FillingDisk,
}

impl IncidentKind {
    /// The process that it is about, where it is about one.
    pub(super) fn runaway(self) -> Option<RunawayOrder> {
        match self {
            Self::Restart => None,
            Self::Runaway => {
                Some(RunawayOrder { after_seconds: 40, memory_percent: 20.0, ..RunawayOrder::for_seconds(150) })
            }
            Self::FillingDisk => {
                Some(RunawayOrder { cpu_percent: 15.0, disk_mb: 800.0, ..RunawayOrder::for_seconds(400) })
            }
        }
    }
}

#[derive(Deserialize)]
struct Topology {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    label: String,
    #[serde(default)]
    tags: Vec<String>,
}

impl SampleLab {
    fn read(&self) -> anyhow::Result<(LabPorts, usize)> {
        let topology: Topology = serde_norway::from_str(self.topology)
            .with_context(|| format!("the sample lab {} cannot be read", self.id))?;
        let nodes = &topology.nodes;
        let ports =
            LabPorts::read(nodes.iter().map(|node| (node.id.as_str(), node.label.as_str(), node.tags.as_slice())));
        Ok((ports, nodes.len()))
    }

    /// The ports that its sessions are allocated.
    pub(super) fn ports(&self) -> anyhow::Result<PortMap> {
        Ok(self.read()?.0.by_name()?)
    }

    /// Its definition, as it is created.
    pub(super) fn definition(&self) -> anyhow::Result<Value> {
        let (ports, nodes) = self.read()?;
        let (cpu_cores, memory_gb, storage_gb) = self.guess;
        let template: Vec<Value> =
            ports.ports.iter().map(|port| json!({ "name": port.name, "protocol": port.tag.protocol() })).collect();
        Ok(json!({
            "id": self.id, "name": self.name, "version": "1.0", "node_count": nodes,
            "resource_requirements": { "cpu_cores": cpu_cores, "memory_gb": memory_gb, "storage_gb": storage_gb },
            "port_template": { "ports": template },
        }))
    }
}

/// The sample labs: those of which several sessions run at once, then from small to large.
pub(super) const LABS: &[SampleLab] = &[
    SampleLab {
        id: "demo-classroom",
        name: "Classroom",
        topology: include_str!("../../../simulator/demo/classroom.yaml"),
        guess: (8, 16, 40),
        drifts: None,
        is_asked_for: false,
        incident: None,
        timeslot: TimeDelta::seconds(30),
        worker: 0,
        at_once: 4,
        policy: Some((SamplePolicy::AppliesByItself, "its teacher wants no more than is needed, without being asked")),
    },
    SampleLab {
        id: "demo-exam",
        name: "Exam",
        topology: include_str!("../../../simulator/demo/exam.yaml"),
        guess: (1, 2, 4),
        drifts: None,
        is_asked_for: false,
        incident: None,
        timeslot: TimeDelta::seconds(30),
        worker: 1,
        at_once: 3,
        policy: None,
    },
    SampleLab {
        id: "demo-first-steps",
        name: "First steps",
        topology: include_str!("../../../simulator/demo/first_steps.yaml"),
        guess: (1, 1, 8),
        drifts: None,
        is_asked_for: false,
        incident: Some(Incident { node: "PC", kind: IncidentKind::FillingDisk }),
        timeslot: TimeDelta::seconds(45),
        worker: 0,
        at_once: 1,
        policy: None,
    },
    SampleLab {
        id: "demo-web",
        name: "A web server behind a firewall",
        topology: include_str!("../../../simulator/demo/web_behind_a_firewall.yaml"),
        guess: (8, 32, 100),
        drifts: None,
        is_asked_for: true,
        incident: Some(Incident { node: "web", kind: IncidentKind::Runaway }),
        timeslot: TimeDelta::seconds(90),
        worker: 0,
        at_once: 1,
        policy: None,
    },
    SampleLab {
        id: "demo-consoles",
        name: "Console and auxiliary line",
        topology: include_str!("../../../simulator/demo/console_and_aux.yaml"),
        guess: (4, 4, 20),
        drifts: None,
        is_asked_for: false,
        incident: Some(Incident { node: "R2", kind: IncidentKind::Restart }),
        timeslot: TimeDelta::seconds(60),
        worker: 0,
        at_once: 1,
        policy: None,
    },
    SampleLab {
        id: "demo-moving-ports",
        name: "Moving ports",
        topology: include_str!("../../../simulator/demo/moving_ports.yaml"),
        guess: (2, 4, 20),
        drifts: Some(("probe", 2322, 2399)),
        is_asked_for: true,
        incident: None,
        timeslot: TimeDelta::seconds(300),
        worker: 0,
        at_once: 1,
        policy: None,
    },
    SampleLab {
        id: "demo-campus",
        name: "Campus",
        topology: include_str!("../../../simulator/demo/campus.yaml"),
        guess: (16, 16, 200),
        drifts: None,
        is_asked_for: false,
        incident: None,
        timeslot: TimeDelta::seconds(120),
        worker: 1,
        at_once: 1,
        policy: Some((SamplePolicy::JudgedBy(30), "a lab of this size is judged by a whole term")),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_lab_has_a_definition_and_ports_of_its_own() {
        let mut outside = std::collections::BTreeSet::new();
        for lab in LABS {
            serde_json::from_value::<domain::lablet_definition::NewDefinition>(lab.definition().unwrap()).unwrap();
            let ports = lab.ports().unwrap();
            assert!(lab.at_once == 1 || ports.is_empty(), "{}: its sessions would have the same ports", lab.id);
            if let Some((policy, _)) = lab.policy {
                serde_json::from_value::<domain::advice_policy::Policy>(policy.policy()).unwrap();
            }
            for port in ports.values() {
                assert!(outside.insert(*port), "{}: port {port} is another lab's too", lab.id);
            }
            if let Some(incident) = lab.incident {
                let topology: Topology = serde_norway::from_str(lab.topology).unwrap();
                assert!(topology.nodes.iter().any(|node| node.label == incident.node), "{}", lab.id);
            }
            if let Some((label, from, _)) = lab.drifts {
                let (ports, _) = lab.read().unwrap();
                assert!(ports.ports.iter().any(|port| port.node_label == label && port.tag.outside.get() == from));
            }
        }
        assert_eq!(LABS.len(), 7);
        serde_json::from_value::<domain::lablet_definition::NewDefinition>(planned_definition()).unwrap();
    }
}
