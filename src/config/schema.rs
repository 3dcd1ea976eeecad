//! The JSON Schema of the node list, for editors: made from the types that read the file, so that the two
//! cannot differ.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::raw;

/// The JSON Schema of `mirror.toml`.
pub fn schema() -> Value {
    // The draft that editors of TOML know.
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<raw::File>();
    let mut schema = Value::from(schema);
    schema["title"] = "mirror.toml".into();
    schema["description"] = "The node list of mirror; see mirror.toml(5).".into();
    schema["required"] = serde_json::json!(["nodes", "chains"]);
    without_null(&mut schema);
    schema
}

/// Takes out that a key may be null, which TOML cannot say: it is left out instead.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
                if let [Value::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    object.remove("anyOf");
                    object.extend(only);
                }
            }
            // A default that is written out is no default to show.
            object.remove("default");
            object.values_mut().for_each(without_null);
        }
        Value::Array(values) => values.iter_mut().for_each(without_null),
        _ => {}
    }
}
