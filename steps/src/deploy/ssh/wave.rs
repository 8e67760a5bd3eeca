//! How many hosts are deployed to at once.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;

/// A number of hosts, or a part of them in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wave {
    /// So many.
    Hosts(usize),
    /// So many of a hundred, and at least one.
    Percent(usize),
}

impl Wave {
    /// Of so many hosts.
    pub fn of(self, hosts: usize) -> usize {
        match self {
            Self::Hosts(number) => number.max(1),
            Self::Percent(percent) => (hosts * percent / 100).max(1),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for Wave {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || de::Error::custom("a wave is a number of hosts, or a part of them from `1%` to `100%`");
        let text = match Written::deserialize(deserializer).map_err(|_| wrong())? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text.trim().to_owned(),
        };
        let (number, is_percent) = text.strip_suffix('%').map_or((text.as_str(), false), |number| (number, true));
        match (number.trim().parse::<usize>(), is_percent) {
            (Ok(number @ 1..=100), true) => Ok(Self::Percent(number)),
            (Ok(number @ 1..), false) => Ok(Self::Hosts(number)),
            (Ok(_) | Err(_), _) => Err(wrong()),
        }
    }
}

impl Serialize for Wave {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Hosts(number) => number.serialize(serializer),
            Self::Percent(percent) => format!("{percent}%").serialize(serializer),
        }
    }
}

impl JsonSchema for Wave {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Wave".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 1, "pattern": "^[0-9]+%?$" })
    }
}

#[cfg(test)]
mod tests {
    use super::Wave;

    #[test]
    fn a_wave_is_a_number_or_a_part() {
        for (text, of_ten) in
            [("1", Some(1)), ("\"3\"", Some(3)), ("\"25%\"", Some(2)), ("\"1%\"", Some(1)), ("\"100%\"", Some(10)), ("50", Some(50))]
        {
            assert_eq!(serde_json::from_str::<Wave>(text).ok().map(|w| w.of(10)), of_ten, "{text}");
        }
        for text in ["0", "-1", "\"0%\"", "\"101%\"", "\"half\"", "[]", "1.5"] {
            assert!(serde_json::from_str::<Wave>(text).is_err(), "{text}");
        }
        assert_eq!(serde_json::to_string(&Wave::Percent(25)).unwrap(), "\"25%\"");
    }
}
