//! What a revision changes, field by field.

use domain::lablet_definition::{DefinitionContent, PortTemplate, ResourceRequirements};
use domain::resource::Resource;
use projections::read_models::definitions::DefinitionRow;

use super::consequence::difference;

/// Ports that are named; a template may have thousands.
const MOST_NAMED: usize = 12;

/// A field before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// The field.
    pub(crate) name: &'static str,
    /// Before.
    pub(crate) before: String,
    /// After.
    pub(crate) after: String,
    /// Whether they differ.
    pub(crate) differs: bool,
    /// By how much, with its sign; `None`: it is no number, or the same.
    pub(crate) difference: Option<String>,
    /// What speaks against it.
    pub(crate) objections: Vec<String>,
}

/// Every field in a fixed order.
pub(crate) fn changes(before: &DefinitionContent, after: &DefinitionContent) -> Vec<Change> {
    let (old, new) = (fields(before), fields(after));
    let differs = [
        before.resource_requirements.cpu_cores != after.resource_requirements.cpu_cores,
        before.resource_requirements.memory_gb != after.resource_requirements.memory_gb,
        before.resource_requirements.storage_gb != after.resource_requirements.storage_gb,
        description(before) != description(after),
        before.port_template != after.port_template,
    ];
    old.into_iter()
        .zip(new)
        .zip(differs)
        .zip(differences(&before.resource_requirements, &after.resource_requirements))
        .map(|((((name, before), (_, after)), differs), difference)| Change {
            name,
            before,
            after,
            differs,
            difference,
            objections: Vec::new(),
        })
        .collect()
}

/// Of the sizes, which come first, by how much they differ; of the other fields nothing.
fn differences(before: &ResourceRequirements, after: &ResourceRequirements) -> [Option<String>; 5] {
    let [cpu_cores, memory, storage] =
        Resource::ALL.map(|resource| difference(resource, resource.configured(before), resource.configured(after)));
    [cpu_cores, memory, storage, None, None]
}

/// Every field in the same order, as people read it.
pub(crate) fn fields(content: &DefinitionContent) -> [(&'static str, String); 5] {
    let needs = &content.resource_requirements;
    [
        ("CPU cores", needs.cpu_cores.to_string()),
        ("Memory", format!("{} GB", needs.memory_gb)),
        ("Storage", format!("{} GB", needs.storage_gb)),
        ("Description", Some(description(content)).filter(|text| !text.is_empty()).unwrap_or("none").to_owned()),
        ("Ports", ports(&content.port_template)),
    ]
}

/// The part of a definition that a revision changes.
pub(crate) fn content_of(row: &DefinitionRow) -> DefinitionContent {
    DefinitionContent {
        resource_requirements: row.resource_requirements,
        port_template: row.port_template.clone(),
        description: row.description.clone(),
        topology: row.topology.clone(),
    }
}

/// No description, and an empty one, say the same.
fn description(content: &DefinitionContent) -> &str {
    content.description.as_deref().unwrap_or_default()
}

fn ports(template: &PortTemplate) -> String {
    let named: Vec<String> =
        template.ports().iter().take(MOST_NAMED).map(|port| format!("{} ({})", port.name, port.protocol)).collect();
    let more = template.ports().len().saturating_sub(MOST_NAMED);
    match (named.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => named.join(", "),
        (false, more) => format!("{} and {more} more", named.join(", ")),
    }
}

/// The beginning of a text, where a whole one would fill the page.
pub(crate) fn beginning(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn content(memory: u32, description: Option<&str>) -> DefinitionContent {
        serde_json::from_value(json!({
            "resource_requirements": {"cpu_cores": 4, "memory_gb": memory, "storage_gb": 20},
            "port_template": {"ports": [{"name": "PC_serial", "protocol": "serial"}]},
            "description": description,
        }))
        .unwrap()
    }

    #[test]
    fn only_what_changed_differs() {
        let changes = changes(&content(8, None), &content(9, Some("")));
        let differing: Vec<&str> = changes.iter().filter(|change| change.differs).map(|change| change.name).collect();
        assert_eq!(differing, ["Memory"]);
        assert_eq!((changes[1].before.as_str(), changes[1].after.as_str()), ("8 GB", "9 GB"));
        assert_eq!(changes[1].difference.as_deref(), Some("+1 GB (+13 %)"));
        assert_eq!(changes[3].after, "none");
        assert_eq!(changes[4].before, "PC_serial (serial)");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(beginning("äöü", 2), "äö…");
        assert_eq!(beginning("äö", 2), "äö");
    }
}
