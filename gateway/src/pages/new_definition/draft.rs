//! What somebody fills in for a new definition, as the form carries it.

use domain::Invalid;
use domain::lab_topology::LabTopology;
use domain::lablet_definition::NewDefinition;
use serde::Deserialize;
use serde_json::{Value, json};

use super::import::ImportedLab;
use crate::pages::text_field::{Complaints, TypedBody};

/// Fields as they were typed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DefinitionDraft {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) cpu_cores: Option<String>,
    pub(super) memory_gb: Option<String>,
    pub(super) storage_gb: Option<String>,
    pub(super) description: Option<String>,
    /// A port a line: its name and its protocol.
    pub(super) ports: Option<String>,
    /// The nodes, as JSON.
    pub(super) topology: Option<String>,
    /// Whether one comes from the first steps, and goes on there.
    pub(super) first_steps: Option<bool>,
}

/// Nodes that are alike, in words.
pub(super) struct NodeLine {
    pub(super) count: u32,
    pub(super) node_definition: String,
    /// What each states of its size; `None`: nothing.
    pub(super) size: Option<String>,
}

impl DefinitionDraft {
    /// What a lab that was imported gives.
    pub(super) fn from_lab(imported: &ImportedLab) -> Self {
        let lab = &imported.0;
        let size = imported.size();
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        let ports: Vec<String> =
            lab.ports.ports.iter().map(|port| format!("{} {}", port.name, port.tag.protocol())).collect();
        Self {
            name: Some(lab.title.clone()),
            cpu_cores: number(size.cpu_cores),
            memory_gb: number(size.memory_mb),
            storage_gb: number(size.storage_mb),
            description: Some(lab.description.clone()),
            ports: Some(ports.join("\n")),
            topology: serde_json::to_string(&lab.topology).ok(),
            ..Self::default()
        }
    }

    /// The definition, by the rules of the API.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub(super) fn parse(&self) -> Result<NewDefinition, Complaints> {
        let ports = ports(self.ports.as_deref().unwrap_or_default());
        let topology = self.topology.as_deref().map(serde_json::from_str::<Value>).transpose();
        let topology = topology.map_err(|_| {
            Complaints::from(Invalid::new("topology", "is not as the page made it", "the form as the page made it"))
        })?;
        let count = self.topology().map(|topology| topology.node_count().into());
        let parsed = TypedBody::default()
            .text("id", self.id.as_ref())
            .text("name", self.name.as_ref())
            .text("version", self.version.as_ref())
            .number("resource_requirements.cpu_cores", self.cpu_cores.as_ref())
            .number("resource_requirements.memory_gb", self.memory_gb.as_ref())
            .number("resource_requirements.storage_gb", self.storage_gb.as_ref())
            .text("description", self.description.as_ref())
            .with("port_template.ports", ports.as_ref().ok().cloned())
            .with("node_count", count)
            .with("topology", topology)
            .parse();
        match (ports, parsed) {
            (Ok(_), parsed) => parsed,
            (Err(wrong), Ok(_)) => Err(wrong.into()),
            (Err(wrong), Err(complaints)) => Err(complaints.and(wrong)),
        }
    }

    /// The nodes that it carries along.
    fn topology(&self) -> Option<LabTopology> {
        self.topology.as_deref().and_then(|topology| serde_json::from_str(topology).ok())
    }

    /// The same in words.
    pub(super) fn nodes(&self) -> Vec<NodeLine> {
        let topology = self.topology();
        let nodes = topology.iter().flat_map(LabTopology::nodes);
        nodes
            .map(|nodes| {
                let cores = nodes.nominal_cpu_cores().map(|cores| format!("{cores} cores"));
                let memory = nodes.ram_mb.map(|ram| format!("{ram} MB"));
                let size: Vec<String> = [cores, memory].into_iter().flatten().collect();
                NodeLine {
                    count: nodes.count.get(),
                    node_definition: nodes.node_definition.to_string(),
                    size: (!size.is_empty()).then(|| size.join(", ")),
                }
            })
            .collect()
    }
}

/// The ports of which each line has one: a name and a protocol.
fn ports(typed: &str) -> Result<Value, Invalid> {
    let lines = typed.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let ports = lines.map(|(index, line)| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [name, protocol] => Ok(json!({ "name": name, "protocol": protocol })),
        _ => {
            let shown: String = line.trim().chars().take(60).collect();
            let expected = "a name and a protocol on each line, e.g. PC_serial serial";
            Err(Invalid::new("port_template", format!("of line {} is {shown:?}", index + 1), expected))
        }
    });
    ports.collect::<Result<Vec<_>, _>>().map(Value::Array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_that_was_read_gives_a_definition_with_its_nodes_and_ports() {
        let yaml = "lab: {title: OSPF, description: About OSPF}\nnodes:\n\
            - {id: n0, label: PC, node_definition: desktop, cpus: 1, ram: 700, boot_disk_size: 9, tags: ['serial:5041']}\n\
            - {id: n1, label: R1, node_definition: iosv, cpus: 1, ram: 700, boot_disk_size: 2, tags: []}\n";
        let draft = DefinitionDraft::from_lab(&ImportedLab::from_yaml(yaml).unwrap());
        assert_eq!(draft.ports.as_deref(), Some("PC_serial serial"));
        let lines: Vec<String> = draft.nodes().into_iter().map(|line| line.node_definition).collect();
        assert_eq!(lines, ["desktop", "iosv"]);
        let new = DefinitionDraft { version: Some("1.0".to_owned()), ..draft }.parse().unwrap();
        assert_eq!((new.name.as_str(), new.topology.unwrap().node_count()), ("OSPF", 2));
        let size = new.resource_requirements;
        assert_eq!((size.cpu_cores.get(), size.memory_gb.get(), size.storage_gb.get()), (2, 2, 11));
        assert_eq!(new.port_template.ports()[0].name.as_str(), "PC_serial");
    }

    #[test]
    fn a_line_that_is_no_port_is_named() {
        let wrong = |ports: &str| {
            let typed = |text: &str| Some(text.to_owned());
            let draft = DefinitionDraft {
                name: typed("OSPF"),
                version: typed("1.0"),
                cpu_cores: typed("1"),
                memory_gb: typed("1"),
                storage_gb: typed("1"),
                ports: typed(ports),
                ..DefinitionDraft::default()
            };
            draft.parse().unwrap_err().take("port_template").unwrap()
        };
        assert!(wrong("PC_serial serial\n\nR1").starts_with("of line 3 is \"R1\"; expected a name and a protocol"));
        assert!(wrong("a ssh\na ssh").contains("repeats \"a\""));
        let both = DefinitionDraft { ports: Some("R1".to_owned()), ..DefinitionDraft::default() };
        let mut both = both.parse().unwrap_err();
        assert!(both.take("port_template").is_some() && both.take("name").is_some());
    }
}
