//! A duration in `with`, written as everywhere in tree files: `500ms`, `30s`, `10m`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::time::Duration;
use trees_core::units;

/// A duration as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period(pub Duration);

impl Period {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// Reads a limit, which is above zero: one of no time can never be met.
    ///
    /// # Errors
    /// When it is no duration, or none that can be met.
    pub fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let period = Self::deserialize(deserializer)?;
        if period.0.is_zero() { Err(de::Error::custom("a limit of 0s can never be met; write a duration above zero")) } else { Ok(period) }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&units::show(self.0))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        units::duration(&text).map(Self).map_err(de::Error::custom)
    }
}

/// The schema of a duration above zero.
pub enum Limit {}

impl JsonSchema for Limit {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "title": "a duration above zero", "type": "string", "pattern": "^0*[1-9][0-9]*(ms|s|m|h|d)$", "examples": ["10s"] })
    }
}

impl JsonSchema for Period {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "title": "a duration", "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "examples": ["10s"] })
    }
}

#[cfg(test)]
mod tests {
    use super::Period;

    #[test]
    fn reads_and_writes_what_people_write() {
        let period: Period = serde_json::from_str("\"90s\"").unwrap();
        assert_eq!(period, Period::seconds(90));
        assert_eq!(serde_json::to_string(&period).unwrap(), "\"90s\"");
        let wrong = serde_json::from_str::<Period>("\"soon\"").unwrap_err().to_string();
        assert!(wrong.contains("`soon` is no duration"), "{wrong}");
        assert!(Period::limit(serde_json::json!("0ms")).unwrap_err().to_string().contains("can never be met"));
        assert_eq!(Period::limit(serde_json::json!("1ms")).unwrap(), Period::millis(1));
    }
}
