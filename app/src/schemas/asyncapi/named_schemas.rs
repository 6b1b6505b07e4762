//! The schemas of the document, each once and by name.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{SCHEMAS, reference};
use crate::schemas::Direction;
use crate::schemas::simple::name_forms;

/// Schemas by name.
#[derive(Debug, Default)]
pub(super) struct NamedSchemas(Map<String, Value>);

impl NamedSchemas {
    /// Adds a schema, and gives the reference to it.
    pub(super) fn add(&mut self, name: &str, schema: Value) -> Value {
        self.0.insert(name.to_owned(), schema);
        reference(name)
    }

    /// Adds a schema that was generated as a document of its own, and those that it refers to. One of them that is read in
    /// another form than it is written ends in `Input`.
    pub(super) fn add_root(
        &mut self,
        name: &str,
        mut schema: Value,
        referenced: Map<String, Value>,
        direction: Direction,
    ) -> Value {
        if let Value::Object(members) = &mut schema {
            for of_a_document in ["$schema", "$id", "title", "components"] {
                members.remove(of_a_document);
            }
        }
        let renamed = match direction {
            Direction::Published => BTreeMap::new(),
            Direction::Accepted => self.conflicts(&referenced),
        };
        for (name, mut schema) in referenced {
            rename(&mut schema, &renamed);
            self.0.insert(renamed.get(&name).cloned().unwrap_or(name), schema);
        }
        rename(&mut schema, &renamed);
        self.add(name, schema)
    }

    /// New names of the schemas that have another form than the one of their name, and of those that refer to them.
    fn conflicts(&self, referenced: &Map<String, Value>) -> BTreeMap<String, String> {
        let mut renamed = BTreeMap::new();
        loop {
            let before = renamed.len();
            for (name, schema) in referenced {
                let mut schema = schema.clone();
                rename(&mut schema, &renamed);
                if self.0.get(name).is_some_and(|known| *known != schema) {
                    renamed.insert(name.clone(), format!("{name}Input"));
                }
            }
            if renamed.len() == before {
                return renamed;
            }
        }
    }

    /// All schemas, the forms that one may have by names of their own.
    pub(super) fn finish(mut self) -> Map<String, Value> {
        name_forms(&mut self.0, SCHEMAS);
        self.0
    }
}

fn rename(value: &mut Value, renamed: &BTreeMap<String, String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get_mut("$ref")
                && let Some(name) = reference.strip_prefix(SCHEMAS).and_then(|name| renamed.get(name))
            {
                *reference = format!("{SCHEMAS}{name}");
            }
            members.values_mut().for_each(|member| rename(member, renamed));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, renamed)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_read_in_another_form_has_a_name_of_its_own() {
        let definitions = |required: Value| {
            let inner = json!({ "type": "object", "required": required });
            let outer = json!({ "properties": { "inner": { "$ref": "#/components/schemas/Inner" } } });
            Map::from_iter([("Inner".to_owned(), inner), ("Outer".to_owned(), outer), ("Same".to_owned(), json!({}))])
        };
        let root =
            json!({ "$id": "x", "title": "x", "properties": { "outer": { "$ref": "#/components/schemas/Outer" } } });
        let mut schemas = NamedSchemas::default();
        schemas.add_root("Written", root.clone(), definitions(json!(["a"])), Direction::Published);
        schemas.add_root("Read", root, definitions(json!([])), Direction::Accepted);
        let schemas = schemas.finish();
        let names: Vec<&str> = schemas.keys().map(String::as_str).collect();
        assert_eq!(schemas.len(), 7, "{names:?}");
        assert_eq!(schemas["Read"]["properties"]["outer"]["$ref"], "#/components/schemas/OuterInput");
        assert_eq!(schemas["OuterInput"]["properties"]["inner"]["$ref"], "#/components/schemas/InnerInput");
        assert_eq!(schemas["Written"], json!({ "properties": { "outer": { "$ref": "#/components/schemas/Outer" } } }));
    }
}
