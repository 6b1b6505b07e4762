//! Parameters as generators read them.

use aide::openapi::{Parameter, ParameterData, ParameterSchemaOrContent};
use app::schemas::simplify;
use schemars::Schema;
use serde_json::Value;

/// Rewrites the schema of a parameter: it is never null, as a parameter that is not given is left out, and it is described
/// once.
pub(super) fn simplify_parameter(parameter: &mut Parameter) {
    let data = data_mut(parameter);
    let ParameterSchemaOrContent::Schema(object) = &mut data.format else { return };
    let schema = &mut object.json_schema;
    simplify(schema);
    never_null(schema);
    let Some(members) = schema.as_object_mut() else { return };
    let in_schema = members.get("description").and_then(Value::as_str);
    if data.description.is_none() || in_schema == data.description.as_deref() {
        data.description = members.remove("description").and_then(|text| Some(text.as_str()?.to_owned()));
    }
}

fn data_mut(parameter: &mut Parameter) -> &mut ParameterData {
    match parameter {
        Parameter::Query { parameter_data, .. }
        | Parameter::Header { parameter_data, .. }
        | Parameter::Path { parameter_data, .. }
        | Parameter::Cookie { parameter_data, .. } => parameter_data,
    }
}

fn never_null(schema: &mut Schema) {
    let Some(members) = schema.as_object_mut() else { return };
    if let Some(Value::Array(kinds)) = members.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            members.insert("type".to_owned(), only);
        }
    }
    let is_null = |schema: &Value| schema["type"] == "null";
    let alternative = match members.get("anyOf").and_then(Value::as_array).map(Vec::as_slice) {
        Some([Value::Object(only), null]) if is_null(null) => Some(only.clone()),
        _ => None,
    };
    if let Some(alternative) = alternative {
        members.remove("anyOf");
        members.extend(alternative);
    }
}

#[cfg(test)]
mod tests {
    use schemars::json_schema;

    use super::*;

    #[test]
    fn a_parameter_is_left_out_and_never_null() {
        let mut reference =
            json_schema!({ "anyOf": [{ "$ref": "#/components/schemas/A" }, { "type": "null" }], "description": "b" });
        never_null(&mut reference);
        assert_eq!(reference, json_schema!({ "$ref": "#/components/schemas/A", "description": "b" }));
        let mut text = json_schema!({ "type": ["string", "null"], "maxLength": 3 });
        never_null(&mut text);
        assert_eq!(text, json_schema!({ "type": "string", "maxLength": 3 }));
    }
}
