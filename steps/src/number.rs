//! A TCP port in `with`: a number, or its text where it comes out of a template.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::borrow::Cow;
use std::fmt;

/// A TCP port, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Port(pub u16);

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (text, number) =
            match Written::deserialize(deserializer).map_err(|_| de::Error::custom("a port is a number from 1 to 65535"))? {
                Written::Number(number) => (number.to_string(), u16::try_from(number).ok()),
                Written::Text(text) => (text.clone(), text.trim().parse().ok()),
            };
        match number {
            Some(number) if number > 0 => Ok(Self(number)),
            _ => Err(de::Error::custom(format!("`{text}` is no port: write a number from 1 to 65535"))),
        }
    }
}

impl JsonSchema for Port {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Port".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 1, "maximum": 65535, "pattern": "^[0-9]{1,5}$", "title": "a port", "examples": [8080] })
    }
}

#[cfg(test)]
mod tests {
    use super::Port;

    #[test]
    fn a_port_is_a_number_or_its_text() {
        for (text, expected) in
            [("8080", Some(8080)), ("\"8080\"", Some(8080)), ("0", None), ("70000", None), ("\"http\"", None), ("-1", None), ("[]", None)]
        {
            assert_eq!(serde_json::from_str::<Port>(text).ok().map(|p| p.0), expected, "{text}");
        }
    }
}
