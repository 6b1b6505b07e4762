//! A lab as CML exports it, as far as a definition can begin with it: what it is called, which nodes it has, which ports
//! its tags ask for, and what the sizes of its nodes add up to.

use serde::Deserialize;
use serde_norway::Value;

use crate::demand::ByResource;
use crate::invalid::Invalid;
use crate::lab_topology::{AlikeNodes, LabTopology};
use crate::nominal::has_machine;
use crate::port_tags::LabPorts;

/// MB of one GB, in which CML states disks.
const MB_PER_GB: f64 = 1024.0;

/// What the export of a lab says of what a definition holds.
#[derive(Debug, Clone, PartialEq)]
pub struct CmlLab {
    /// What it is called; empty: nothing.
    pub title: String,
    /// What it is about; empty: nothing.
    pub description: String,
    /// Its nodes.
    pub topology: LabTopology,
    /// The ports that its tags ask for.
    pub ports: LabPorts,
    /// What its nodes' sizes add up to.
    pub size: ByResource<StatedSize>,
}

/// What the nodes that state a size have together. A node without a size of its own has that of its node definition,
/// which only the CML controller knows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StatedSize {
    /// Cores or MB, of those that state it.
    pub amount: f64,
    /// How many nodes state it.
    pub nodes: u64,
    /// How many machines do not.
    pub without: u64,
}

impl StatedSize {
    /// The sum, where every machine states its part: a sum that leaves parts out looks smaller than the truth.
    pub fn whole(self) -> Option<f64> {
        (self.without == 0 && self.nodes > 0).then_some(self.amount)
    }

    fn add(&mut self, amount: Option<f64>, nodes: u64) {
        match amount {
            Some(amount) => {
                #[expect(clippy::cast_precision_loss, reason = "a topology has at most 10,000 nodes")]
                let count = nodes as f64;
                self.amount += amount * count;
                self.nodes += nodes;
            }
            None => self.without += nodes,
        }
    }
}

impl CmlLab {
    /// Reads what CML exported.
    ///
    /// # Errors
    /// [`Invalid`], with a field within the document, or an empty one.
    pub fn from_yaml(yaml: &str) -> Result<Self, Invalid> {
        // First what a definition cannot do without: it also refuses what is too long.
        let topology = LabTopology::from_yaml(yaml)?;
        let document: Document = serde_norway::from_str(yaml).map_err(|error| {
            let reason: String = error.to_string().chars().take(200).collect();
            Invalid::new("", format!("cannot be read: {reason}"), "the YAML of a CML topology, with its nodes")
        })?;
        let head = document.lab.unwrap_or_default();
        let nodes = document.nodes.unwrap_or_default();
        let named: Vec<(String, String, Vec<String>)> = nodes
            .iter()
            .map(|node| {
                let tags = node.tags.iter().flatten().filter_map(text).collect();
                let of = |value: &Option<Value>| value.as_ref().and_then(text).unwrap_or_default();
                (of(&node.id), of(&node.label), tags)
            })
            .collect();
        let ports =
            LabPorts::read(named.iter().map(|(id, label, tags)| (id.as_str(), label.as_str(), tags.as_slice())));
        let size = size(&topology, &nodes);
        Ok(Self {
            title: head.title.as_ref().and_then(text).unwrap_or_default().trim().to_owned(),
            description: head.description.as_ref().and_then(text).unwrap_or_default().trim().to_owned(),
            topology,
            ports,
            size,
        })
    }
}

fn size(topology: &LabTopology, nodes: &[Node]) -> ByResource<StatedSize> {
    let mut size = ByResource::<StatedSize>::default();
    for alike in topology.nodes().iter().filter(|alike| has_machine(&alike.node_definition)) {
        let count = u64::from(alike.count.get());
        size.cpu_cores.add(AlikeNodes::nominal_cpu_cores(alike), count);
        size.memory_mb.add(alike.ram_mb.map(|ram| f64::from(ram.get())), count);
    }
    let machines = nodes.iter().filter(|node| node.node_definition.as_deref().is_none_or(has_machine));
    for node in machines {
        let stated = |disk: Option<u32>| disk.filter(|disk| *disk > 0).map(f64::from);
        // A second disk without the first says nothing of the whole.
        let disk = stated(node.boot_disk_size).map(|boot| boot + stated(node.data_volume).unwrap_or(0.0));
        size.storage_mb.add(disk.map(|disk| disk * MB_PER_GB), 1);
    }
    size
}

/// Authors write labels such as `1`, which YAML takes for numbers.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => None,
    }
}

/// What is looked at beside what the topology reads.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    lab: Option<Head>,
    #[serde(default)]
    nodes: Option<Vec<Node>>,
}

#[derive(Default, Deserialize)]
struct Head {
    #[serde(default)]
    title: Option<Value>,
    #[serde(default)]
    description: Option<Value>,
}

#[derive(Deserialize)]
struct Node {
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    label: Option<Value>,
    #[serde(default)]
    node_definition: Option<String>,
    #[serde(default)]
    tags: Option<Vec<Value>>,
    /// GB.
    #[serde(default)]
    boot_disk_size: Option<u32>,
    /// GB.
    #[serde(default)]
    data_volume: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAB: &str = "
lab: {title: '  OSPF in one area ', description: What OSPF does., notes: '', version: 0.2.2}
nodes:
  - {id: n0, label: PC, node_definition: desktop, cpus: 1, ram: 512, boot_disk_size: 8, tags: ['serial:5041', 'vnc:5042', PAT]}
  - {id: n1, label: 7, node_definition: iosv, cpus: 2, cpu_limit: 50, ram: 768, boot_disk_size: 2, data_volume: 1, tags: ['pat:2022:22', 'pat:no:22']}
  - {id: n2, label: ext, node_definition: external_connector, tags: null}
";

    #[test]
    fn a_lab_gives_its_name_nodes_ports_and_the_sum_of_its_sizes() {
        let lab = CmlLab::from_yaml(LAB).unwrap();
        assert_eq!((lab.title.as_str(), lab.description.as_str()), ("OSPF in one area", "What OSPF does."));
        assert_eq!(lab.topology.node_count(), 3);
        let names: Vec<&str> = lab.ports.ports.iter().map(|port| port.name.as_str()).collect();
        assert_eq!(names, ["7_tcp", "PC_serial", "PC_vnc"]);
        assert_eq!(lab.ports.unreadable.len(), 1);
        assert_eq!(lab.size.cpu_cores.whole(), Some(2.0));
        assert_eq!(lab.size.memory_mb.whole(), Some(1280.0));
        assert_eq!(lab.size.storage_mb.whole(), Some(11.0 * 1024.0));
    }

    #[test]
    fn a_sum_that_would_leave_a_node_out_is_unknown_and_says_how_many() {
        let lab = CmlLab::from_yaml(&LAB.replace("cpus: 1, ram: 512, boot_disk_size: 8, ", "")).unwrap();
        let StatedSize { amount, nodes, without } = lab.size.memory_mb;
        assert_eq!((amount, nodes, without), (768.0, 1, 1));
        assert_eq!(lab.size.memory_mb.whole(), None);
        assert_eq!(lab.size.storage_mb.whole(), None);
    }

    #[test]
    fn what_is_no_topology_is_refused_by_its_field() {
        for (yaml, told) in [
            ("nodes: 7", "cannot be read"),
            ("lab: {title: x}", "nodes is absent"),
            ("nodes: []", "nodes has 0 nodes"),
            ("nodes: [{node_definition: a, ram: 4000000000}]", "nodes[0].ram is"),
            ("nodes: [{node_definition: a, tags: 7}]", "cannot be read"),
        ] {
            let refused = CmlLab::from_yaml(yaml).unwrap_err().to_string();
            assert!(refused.contains(told), "{refused}");
        }
    }

    /// Reads every topology of a folder, where `LABLET_TOPOLOGIES` names one.
    #[test]
    fn real_labs_are_read() {
        let Some(folder) = std::env::var_os("LABLET_TOPOLOGIES") else { return };
        let mut read = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let yaml = std::fs::read_to_string(&path).unwrap();
                let lab = CmlLab::from_yaml(&yaml);
                let without_nodes = yaml.contains("nodes: []");
                assert!(lab.is_ok() || without_nodes, "{}: {lab:?}", path.display());
                read += 1;
            }
        }
        assert!(read > 0);
    }
}
