//! A set of records: all of one name and type, which DNS keeps together.

use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use trees_core::event::Json;
use trees_runner::kind::{Change, ReadCx};

/// All records of a name and type, as a provider has them. Without values there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// The values, each in the form in which it is compared.
    pub values: BTreeSet<String>,
    /// How long they may be kept, in seconds; Cloudflare's 1 is "automatic".
    pub ttl: u32,
    /// Whose they are: `trees:<project>/<environment>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// Cloudflare stands before them; `None` elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxied: Option<bool>,
    /// What only its provider understands, and puts back: comments of others, records switched off.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub extra: Json,
}

impl Set {
    /// No records.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether there is a record.
    pub fn is_there(&self) -> bool {
        !self.values.is_empty()
    }

    /// Serves the same answers.
    pub fn answers_as(&self, other: &Self) -> bool {
        self.values == other.values && (!self.is_there() || self.ttl == other.ttl && self.proxied == other.proxied)
    }

    /// Serves the same answers and has the same owner.
    pub fn is_as(&self, other: &Self) -> bool {
        self.answers_as(other) && self.mark == other.mark
    }

    /// What differs, by field.
    pub(super) fn changes_to(&self, new: &Self) -> Vec<Change> {
        let list = |set: &Self| if set.is_there() { json!(set.values) } else { Json::Null };
        let mut fields = vec![("values", list(self), list(new))];
        if self.is_there() && new.is_there() {
            fields.push(("ttl", json!(self.ttl), json!(new.ttl)));
            fields.push(("proxied", json!(self.proxied), json!(new.proxied)));
        }
        if !self.is_there() {
            fields.push(("mark", json!(self.mark), json!(new.mark)));
        }
        let differing = fields.into_iter().filter(|(_, old, new)| old != new);
        differing.map(|(field, old, new)| Change { field: field.into(), old, new, owner: self.mark.clone() }).collect()
    }
}

/// The mark of what this run's project and environment own.
pub fn mark(cx: &ReadCx) -> String {
    let slash = if cx.environment.is_empty() { "" } else { "/" };
    format!("trees:{}{slash}{}", cx.project, cx.environment)
}

/// Whether a text is the mark of some project.
pub(super) fn is_mark(text: &str) -> bool {
    text.starts_with("trees:")
}
