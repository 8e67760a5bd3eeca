//! The JSON Schema: what editors complete by.

use crate::bench::kinds;
use serde_json::Value;
use trees_core::language::schema;

#[test]
fn it_names_every_key_with_a_description() {
    let schema = schema(&kinds());
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    for name in ["Tree", "Step", "Undo", "Retry", "Param", "Environment", "Secret"] {
        let record = if name == "Tree" { &schema } else { &schema["$defs"][name] };
        let properties = record["properties"].as_object().unwrap_or_else(|| panic!("{name} has properties"));
        for (key, property) in properties {
            assert!(property["description"].is_string(), "{name}.{key} is described");
        }
    }
    assert_eq!(schema["required"], serde_json::json!(["tree", "steps"]));
}

#[test]
fn every_reference_leads_somewhere() {
    let schema = schema(&kinds());
    let mut open = vec![&schema];
    let mut seen = 0;
    while let Some(value) = open.pop() {
        match value {
            Value::Object(map) => {
                if let Some(target) = map.get("$ref").and_then(Value::as_str) {
                    seen += 1;
                    assert!(schema.pointer(target.trim_start_matches('#')).is_some_and(Value::is_object), "{target}");
                }
                open.extend(map.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    assert!(seen > 20, "{seen} references");
}

#[test]
fn the_inputs_of_kinds_take_expressions() {
    let schema = schema(&kinds());
    let with = &schema["$defs"]["with:deploy:process"];
    let port = &with["properties"]["port"]["anyOf"];
    assert_eq!((&port[0]["type"], &port[1]["type"]), (&"integer".into(), &"string".into()));
    assert_eq!(with["properties"]["name"]["type"], "string");
    let then = schema["$defs"]["Step"]["allOf"][0]["then"]["properties"]["with"]["$ref"].as_str();
    assert_eq!(then, Some("#/$defs/with:deploy:process"));
}
