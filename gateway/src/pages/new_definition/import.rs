//! What a topology of CML gives the form of a definition, in its words.

use std::collections::BTreeSet;

use domain::Invalid;
use domain::cml_lab::{CmlLab, StatedSize};
use domain::demand::ByResource;
use domain::resource::Resource;

use crate::pages::advice::amounts;
use crate::pages::parts;

/// Tags that are named one by one.
const MOST_NAMED: usize = 5;

/// A lab that was read, as the form begins with it.
pub(super) struct ImportedLab(pub(super) CmlLab);

impl ImportedLab {
    /// Reads what was pasted.
    ///
    /// # Errors
    /// [`Invalid`], in words for the field that it was pasted into.
    pub(super) fn from_yaml(yaml: &str) -> Result<Self, Invalid> {
        if yaml.trim().is_empty() {
            return Err(Invalid::new("The topology", "is empty", "the YAML that CML's \"Export lab\" gives"));
        }
        let named = |invalid: Invalid| match invalid.field.as_str() {
            "" => Invalid { field: "The topology".to_owned(), ..invalid },
            _ => invalid,
        };
        CmlLab::from_yaml(yaml).map(Self).map_err(named)
    }

    /// Whole cores or GB that hold what the nodes state; `None`: some do not state it.
    pub(super) fn size(&self) -> ByResource<Option<u32>> {
        Resource::each(|resource| resource.part(&self.0.size).whole().map(|amount| resource.rounded_up(amount)))
    }

    /// Where the sizes come from.
    pub(super) fn size_hints(&self) -> ByResource<String> {
        Resource::each(|resource| {
            let StatedSize { amount, nodes, without } = *resource.part(&self.0.size);
            let stated = amounts::amount(resource, Some(amount));
            match (nodes, without) {
                (0, 0) => "No node is a machine.".to_owned(),
                (0, _) => "No node states its own; that of its node definition is in CML.".to_owned(),
                (_, 0) => format!("{stated}: the sum over {}.", parts::counted(&nodes, "machine")),
                (_, _) => format!(
                    "{stated} in {} of {}; the others have that of their node definition, which is in CML.",
                    nodes,
                    parts::counted(&(nodes + without), "machine")
                ),
            }
        })
    }

    /// What it gave, in words.
    pub(super) fn words(&self) -> String {
        let definitions: BTreeSet<&str> =
            self.0.topology.nodes().iter().map(|nodes| nodes.node_definition.as_str()).collect();
        format!(
            "{} of {}, {}",
            parts::counted(&self.0.topology.node_count(), "node"),
            parts::counted(&(definitions.len() as u64), "node definition"),
            parts::counted(&(self.0.ports.ports.len() as u64), "port")
        )
    }

    /// Tags that are not understood, with the reason; empty: none.
    pub(super) fn unreadable(&self) -> String {
        let tags = &self.0.ports.unreadable;
        let mut said: Vec<String> =
            tags.iter().take(MOST_NAMED).map(|tag| format!("{} ({})", tag.tag.as_str(), tag.reason.as_str())).collect();
        if tags.len() > MOST_NAMED {
            said.push(format!("{} more", tags.len() - MOST_NAMED));
        }
        said.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab(nodes: &str) -> ImportedLab {
        ImportedLab::from_yaml(&format!("lab: {{title: x}}\nnodes: [{nodes}]")).unwrap()
    }

    #[test]
    fn sizes_are_rounded_up_and_a_sum_that_is_not_whole_is_left_open() {
        let known = lab("{node_definition: iosv, cpus: 1, ram: 1500}, {node_definition: iosv, cpus: 1, ram: 1500}");
        assert_eq!(known.size(), ByResource { cpu_cores: Some(2), memory_mb: Some(3), storage_mb: None });
        assert!(known.size_hints().cpu_cores.contains("the sum over 2 machines"), "{:?}", known.size_hints());
        let partly = lab("{node_definition: iosv, ram: 1024}, {node_definition: csr1000v}");
        assert_eq!(partly.size().memory_mb, None);
        assert!(partly.size_hints().memory_mb.contains("1 GB in 1 of 2 machines"), "{:?}", partly.size_hints());
        assert_eq!(partly.words(), "2 nodes of 2 node definitions, 0 ports");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let refused = |yaml: &str| ImportedLab::from_yaml(yaml).err().unwrap().to_string();
        assert!(refused("  ").starts_with("The topology is empty"));
        assert!(refused("[").starts_with("The topology cannot be read"));
        assert!(refused("lab: {}").starts_with("nodes is absent"));
        assert!(lab("{node_definition: a, tags: ['pat:x:1']}").unreadable().starts_with("pat:x:1 ("));
    }
}
