//! Schemas in the forms that code generators read. What a schema accepts stays the same.

use schemars::Schema;
use schemars::transform::transform_subschemas;
use serde_json::{Map, Value, json};

/// Rewrites a schema, and all that it holds.
///
/// * An enumeration is one `enum`; its description says what each value means. Generators make a union of as many types
///   of a `oneOf` of constants.
/// * A reference stands beside its description: an `allOf` of one becomes a type of its own, or is dropped.
/// * A field has no `default`: generators take it for one that is always there. What an absent field means is said in the
///   description.
/// * A whole number has a format that is registered.
pub fn simplify(schema: &mut Schema) {
    if let Some(members) = schema.as_object_mut() {
        unwrap_reference(members);
        enumerate(members);
        tell_default(members);
        register_format(members);
    }
    transform_subschemas(&mut simplify, schema);
}

fn unwrap_reference(members: &mut Map<String, Value>) {
    let reference = match members.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
        Some([Value::Object(only)]) if only.len() == 1 && !members.contains_key("$ref") => only.get("$ref").cloned(),
        _ => None,
    };
    if let Some(reference) = reference {
        members.remove("allOf");
        members.insert("$ref".to_owned(), reference);
    }
}

fn enumerate(members: &mut Map<String, Value>) {
    let Some(variants) = members.get("oneOf").and_then(Value::as_array) else { return };
    let mut values = Vec::new();
    let mut meanings = String::new();
    for variant in variants {
        let (Some(value), true) = (variant["const"].as_str(), variant["type"] == "string") else { return };
        if let Some(meaning) = variant["description"].as_str() {
            meanings.push_str(&format!("\n- `{value}`: {}", in_one_line(meaning)));
        }
        values.push(Value::from(value));
    }
    if values.is_empty() {
        return;
    }
    members.remove("oneOf");
    members.insert("type".to_owned(), "string".into());
    members.insert("enum".to_owned(), values.into());
    if !meanings.is_empty() {
        describe_further(members, &meanings, "\n");
    }
}

fn tell_default(members: &mut Map<String, Value>) {
    let Some(default) = members.remove("default") else { return };
    let is_told = match &default {
        Value::Null | Value::Object(_) | Value::Array(_) => false,
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Bool(_) => true,
    };
    if is_told {
        let shown = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        describe_further(members, &format!("Absent means `{shown}`."), " ");
    }
}

fn register_format(members: &mut Map<String, Value>) {
    let registered = match members.get("format").and_then(Value::as_str) {
        Some("uint8" | "uint16") => "int32",
        Some("uint32" | "uint64" | "uint") => "int64",
        _ => return,
    };
    members.insert("format".to_owned(), registered.into());
}

fn describe_further(members: &mut Map<String, Value>, text: &str, between: &str) {
    let description = match members.get("description").and_then(Value::as_str) {
        Some(description) => format!("{description}{between}{text}"),
        None => text.trim_start().to_owned(),
    };
    members.insert("description".to_owned(), description.into());
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Gives each form that a named schema may have a name of its own: `PortIntent` with `"kind": "serial"` is
/// `PortIntentSerial`. Generators number them otherwise. Returns the schemas that have such forms, with the member that
/// tells the forms apart.
pub fn name_forms(schemas: &mut Map<String, Value>, path: &str) -> Vec<(String, Forms)> {
    let mut found = Vec::new();
    for (name, schema) in schemas.iter() {
        if let Some(forms) = forms(name, schema, schemas) {
            found.push((name.clone(), forms));
        }
    }
    for (name, forms) in &found {
        let Some(schema) = schemas.get_mut(name).and_then(Value::as_object_mut) else { continue };
        let references: Vec<Value> =
            forms.schemas.iter().map(|(_, name, _)| json!({ "$ref": format!("{path}{name}") })).collect();
        for shared in ["type", "properties", "required"] {
            schema.remove(shared);
        }
        schema.insert("oneOf".to_owned(), references.into());
        for (_, name, form) in &forms.schemas {
            schemas.insert(name.clone(), form.clone());
        }
    }
    found
}

/// The forms of one schema.
#[derive(Debug, Clone)]
pub struct Forms {
    /// The member whose value tells them apart.
    pub member: String,
    /// The value, the name and the schema of each.
    pub schemas: Vec<(String, String, Value)>,
}

fn forms(name: &str, schema: &Value, taken: &Map<String, Value>) -> Option<Forms> {
    let variants = schema["oneOf"].as_array()?;
    let tag_of = |variant: &Value| {
        let properties = variant["properties"].as_object()?;
        let tag = properties.iter().find_map(|(name, property)| Some((name, property["const"].as_str()?)))?;
        Some((tag.0.clone(), tag.1.to_owned()))
    };
    let mut member = None;
    let mut schemas = Vec::new();
    for variant in variants {
        let (tagged_by, tag) = tag_of(variant)?;
        if member.get_or_insert_with(|| tagged_by.clone()) != &tagged_by {
            return None;
        }
        let form_name = format!("{name}{}", in_pascal_case(&tag));
        if taken.contains_key(&form_name) {
            return None;
        }
        schemas.push((tag, form_name, with_shared_members(variant, schema)));
    }
    Some(Forms { member: member?, schemas })
}

/// A form with the members that all forms of a schema have.
fn with_shared_members(variant: &Value, schema: &Value) -> Value {
    let mut form = variant.clone();
    if let Some(shared) = schema["properties"].as_object() {
        for (name, property) in shared {
            form["properties"][name] = property.clone();
        }
        let of_all = schema["required"].as_array().into_iter().flatten();
        let required: Vec<Value> =
            of_all.chain(variant["required"].as_array().into_iter().flatten()).cloned().collect();
        form["required"] = required.into();
    }
    form
}

/// `resources_observed` as `ResourcesObserved`.
pub(super) fn in_pascal_case(name: &str) -> String {
    let words = name.split(|character: char| !character.is_ascii_alphanumeric());
    words
        .map(|word| {
            let mut characters = word.chars();
            characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simplified(schema: Value) -> Value {
        let mut schema = Schema::try_from(schema).unwrap();
        simplify(&mut schema);
        schema.to_value()
    }

    #[test]
    fn constants_become_one_enumeration_that_says_what_each_means() {
        let schema = simplified(json!({
            "description": "Where to.",
            "oneOf": [
                { "type": "string", "const": "ready", "description": "Can be\n used." },
                { "type": "string", "const": "running" },
            ],
        }));
        assert_eq!(
            schema,
            json!({ "description": "Where to.\n\n- `ready`: Can be used.", "type": "string", "enum": ["ready", "running"] })
        );
    }

    #[test]
    fn a_field_has_its_reference_and_its_default_in_words() {
        let schema = simplified(json!({
            "properties": {
                "default": { "allOf": [{ "$ref": "#/$defs/A" }], "description": "What.", "default": { "b": 1 } },
                "count": { "type": "integer", "format": "uint32", "description": "How many.", "default": 1 },
                "label": { "type": "string", "default": "" },
            },
        }));
        assert_eq!(
            schema,
            json!({ "properties": {
                "default": { "$ref": "#/$defs/A", "description": "What." },
                "count": { "type": "integer", "format": "int64", "description": "How many. Absent means `1`." },
                "label": { "type": "string" },
            } })
        );
    }

    #[test]
    fn forms_are_named_by_the_value_that_tells_them_apart() {
        let form =
            |kind: &str| json!({ "type": "object", "properties": { "kind": { "const": kind } }, "required": ["kind"] });
        let mut schemas = Map::new();
        schemas.insert(
            "Port".to_owned(),
            json!({
                "description": "A port.", "type": "object", "properties": { "name": {} }, "required": ["name"],
                "oneOf": [form("a_screen"), form("line")],
            }),
        );
        let found = name_forms(&mut schemas, "#/x/");
        assert_eq!((found[0].0.as_str(), found[0].1.member.as_str()), ("Port", "kind"));
        assert_eq!(
            schemas["Port"],
            json!({ "description": "A port.", "oneOf": [{ "$ref": "#/x/PortAScreen" }, { "$ref": "#/x/PortLine" }] })
        );
        assert_eq!(schemas["PortLine"]["required"], json!(["name", "kind"]));
        assert_eq!(schemas["PortLine"]["properties"]["kind"]["const"], "line");
    }
}
