//! `metadata.yaml` of a template folder: what it is and which values it takes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trees_core::event::{Json, Object};
use trees_core::tree::ValueType;

/// The metadata of a template folder.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// What it is called.
    pub name: String,
    /// What it makes.
    #[serde(default)]
    pub description: String,
    /// The values it takes; others are refused.
    #[serde(default)]
    pub inputs: BTreeMap<String, Input>,
    /// Rules for single files or whole folders, by their path in the template folder.
    #[serde(default)]
    pub files: BTreeMap<String, FileRule>,
}

/// One value.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ValueType,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Taken when none is given.
    #[serde(default)]
    pub default: Option<Json>,
    /// `false`: it may be missing and is null then.
    #[serde(default = "crate::default::yes")]
    pub required: bool,
    /// The values allowed.
    #[serde(default, rename = "enum")]
    pub allowed: Option<Vec<Json>>,
}

/// How one file differs from the others.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileRule {
    /// Copied as it is.
    #[serde(default)]
    pub raw: bool,
    /// Made only where this expression is true.
    #[serde(default, rename = "if")]
    pub condition: Option<String>,
}

impl Metadata {
    /// The values that hold, the defaults filled in.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn values(&self, given: &Object) -> Result<Object, Vec<String>> {
        let mut wrong: Vec<String> = given.keys().filter(|name| !self.inputs.contains_key(*name)).map(|name| self.unknown(name)).collect();
        let mut values = Object::new();
        for (name, input) in &self.inputs {
            match given.get(name).or(input.default.as_ref()) {
                Some(Json::Null) | None if input.required && input.default.is_none() => {
                    wrong.push(format!("values: `{name}` is missing ({})", one_line(&input.description)));
                }
                Some(Json::Null) | None => drop(values.insert(name.clone(), Json::Null)),
                Some(value) => {
                    wrong.extend(input.wrong(name, value));
                    values.insert(name.clone(), value.clone());
                }
            }
        }
        if wrong.is_empty() { Ok(values) } else { Err(wrong) }
    }

    /// A value as a person writes it, in the type of its input: text as it is, all else as JSON.
    #[must_use]
    pub fn typed(&self, name: &str, text: &str) -> Json {
        let is_text = self.inputs.get(name).is_none_or(|input| input.kind == ValueType::String);
        let parsed = if is_text { None } else { serde_json::from_str(text).ok() };
        parsed.unwrap_or_else(|| text.into())
    }

    fn unknown(&self, name: &str) -> String {
        let names: Vec<&str> = self.inputs.keys().map(String::as_str).collect();
        format!(
            "values: the template `{}` takes no `{name}`; it takes {}",
            self.name,
            if names.is_empty() { "none".into() } else { names.join(", ") }
        )
    }

    /// The rule of a file: its own or that of the innermost folder that has one.
    pub fn rule(&self, path: &str) -> FileRule {
        let mut at = path;
        loop {
            if let Some(rule) = self.files.get(at).or_else(|| self.files.get(&format!("{at}/"))) {
                return rule.clone();
            }
            match at.rsplit_once('/') {
                Some((folder, _)) => at = folder,
                None => return FileRule::default(),
            }
        }
    }
}

fn one_line(text: &str) -> &str {
    text.lines().next().filter(|line| !line.is_empty()).unwrap_or("it has no default")
}

impl Input {
    fn wrong(&self, name: &str, value: &Json) -> Option<String> {
        let kind = serde_json::to_value(self.kind).unwrap_or_default();
        if !self.kind.fits(value) {
            return Some(format!("values: `{name}` must be of type {}, it is {value}", kind.as_str().unwrap_or_default()));
        }
        let allowed = self.allowed.as_ref().filter(|allowed| !allowed.contains(value))?;
        Some(format!("values: `{name}` must be one of {}, it is {value}", Json::Array(allowed.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::Metadata;
    use serde_json::{Value, json};

    fn check(given: Value, expected: Result<Value, &str>) {
        let metadata: Metadata = serde_json::from_value(json!({ "name": "chat", "inputs": {
            "name": { "type": "string", "description": "The name." },
            "port": { "type": "integer", "default": 80 },
            "tier": { "type": "string", "enum": ["free", "paid"], "required": false },
        }}))
        .unwrap();
        let got = metadata.values(given.as_object().unwrap()).map(Value::Object).map_err(|wrong| wrong.join("; "));
        assert_eq!(got, expected.map_err(str::to_owned));
    }

    #[test]
    fn values_are_checked_all_at_once() {
        check(json!({ "name": "a" }), Ok(json!({ "name": "a", "port": 80, "tier": null })));
        check(json!({ "name": "a", "tier": "paid", "port": 1 }), Ok(json!({ "name": "a", "port": 1, "tier": "paid" })));
        check(
            json!({ "nam": 1, "port": "x", "tier": "gold" }),
            Err("values: the template `chat` takes no `nam`; it takes name, port, tier; values: `name` is missing (The name.); \
                 values: `port` must be of type integer, it is \"x\"; values: `tier` must be one of [\"free\",\"paid\"], it is \"gold\""),
        );
    }
}
