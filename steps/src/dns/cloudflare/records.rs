//! Records in Cloudflare's words, and a set in ours.

use crate::dns::place::Place;
use crate::dns::set::{Set, is_mark};
use crate::dns::value::{self, Type, Value};
use hickory_proto::rr::Name;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use trees_core::event::{Json, Object};
use trees_runner::kind::KindError;

/// A record, as it is listed.
#[derive(Deserialize)]
pub(super) struct Record {
    id: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    content: String,
    #[serde(default)]
    priority: Option<u16>,
    #[serde(default)]
    data: Option<Json>,
    ttl: u32,
    #[serde(default)]
    proxied: Option<bool>,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
}

/// What a [`Set`] keeps of each record, by its value.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Kept {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    ttl: u32,
}

/// A set and the ids of its records by their value.
pub(super) struct Found {
    /// The set.
    pub set: Set,
    ids: BTreeMap<String, String>,
}

/// The set that some records make.
///
/// # Errors
/// When one cannot be read.
pub(super) fn found(at: &Place, records: Vec<Record>) -> Result<Found, KindError> {
    let mut found = Found { set: Set::none(), ids: BTreeMap::new() };
    let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
    let mut marks: Vec<Option<String>> = Vec::new();
    for record in records {
        if record.kind != at.kind().as_str() || value::name(&record.name).as_ref() != Ok(&at.name) {
            continue;
        }
        let text = said(at.kind(), &record);
        let value = Value::read(at.kind(), &text)
            .map_err(|e| KindError::new(format!("cannot read {at} at Cloudflare: the record `{text}` {e}")))?
            .to_string();
        let set = &mut found.set;
        set.ttl = if set.is_there() && set.ttl != record.ttl { super::MIXED } else { record.ttl };
        set.proxied = can_be_proxied(at.kind()).then(|| set.proxied.unwrap_or(false) || record.proxied.unwrap_or(false));
        set.values.insert(value.clone());
        marks.push(record.comment.clone().filter(|comment| is_mark(comment)));
        kept.insert(value.clone(), Kept { comment: record.comment, tags: record.tags, ttl: record.ttl });
        found.ids.insert(value, record.id);
    }
    found.set.mark = owner(marks);
    found.set.extra = if kept.is_empty() { Json::Null } else { json!(kept) };
    Ok(found)
}

/// Whose a set is: that of its records that name an owner, where they agree.
fn owner(marks: Vec<Option<String>>) -> Option<String> {
    let mut named: Vec<String> = marks.into_iter().flatten().collect();
    named.sort();
    named.dedup();
    if named.len() == 1 { named.pop() } else { None }
}

/// What Cloudflare may stand before.
pub(super) fn can_be_proxied(kind: Type) -> bool {
    matches!(kind, Type::A | Type::Aaaa | Type::Cname)
}

/// A record as it stands in a zone file.
fn said(kind: Type, record: &Record) -> String {
    let data = |fields: &[&str]| {
        let data = record.data.as_ref()?;
        let one = |field: &&str| match &data[*field] {
            Json::String(text) if *field == "value" => Some(json!(text).to_string()),
            Json::String(text) => Some(text.clone()),
            Json::Number(number) => Some(number.to_string()),
            Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
        };
        fields.iter().map(one).collect::<Option<Vec<_>>>().map(|words| words.join(" "))
    };
    let built = match kind {
        Type::Mx => record.priority.map(|priority| format!("{priority} {}", record.content)),
        Type::Srv => data(&["priority", "weight", "port", "target"]),
        Type::Caa => data(&["flags", "tag", "value"]),
        Type::Sshfp => data(&["algorithm", "type", "fingerprint"]),
        Type::Tlsa => data(&["usage", "selector", "matching_type", "certificate"]),
        Type::A | Type::Aaaa | Type::Cname | Type::Ns | Type::Ptr | Type::Txt => None,
    };
    built.unwrap_or_else(|| record.content.clone())
}

/// What takes the set from what was found to what it must be, in one transaction.
///
/// # Errors
/// When a value cannot be read.
pub(super) fn batch(at: &Place, found: &Found, new: &Set) -> Result<Json, KindError> {
    let (mut deletes, mut patches, mut posts) = (Vec::new(), Vec::new(), Vec::new());
    for (value, id) in &found.ids {
        if !new.values.contains(value) {
            deletes.push(json!({ "id": id }));
        }
    }
    for value in &new.values {
        let kept = kept(new, value);
        let own = kept.as_ref().map_or_else(|| new.mark.clone(), |kept| kept.comment.clone());
        let mut fields = Object::new();
        fields.insert("ttl".into(), json!(kept.as_ref().map_or(new.ttl, |kept| kept.ttl)));
        fields.insert("comment".into(), json!(own.unwrap_or_default()));
        if can_be_proxied(at.kind()) {
            fields.insert("proxied".into(), json!(new.proxied.unwrap_or(false)));
        }
        if let Some(tags) = kept.map(|kept| kept.tags).filter(|tags| !tags.is_empty()) {
            fields.insert("tags".into(), json!(tags));
        }
        match found.ids.get(value) {
            Some(id) => {
                fields.insert("id".into(), json!(id));
                patches.push(Json::Object(fields));
            }
            None => {
                fields.extend(record(at, value)?);
                posts.push(Json::Object(fields));
            }
        }
    }
    Ok(json!({ "deletes": deletes, "patches": patches, "posts": posts }))
}

fn kept(set: &Set, value: &str) -> Option<Kept> {
    set.extra.get(value).and_then(|kept| Kept::deserialize(kept).ok())
}

/// Name, type and value of a record, in Cloudflare's words.
fn record(at: &Place, text: &str) -> Result<Object, KindError> {
    let value = Value::read(at.kind(), text).map_err(|e| KindError::new(format!("the value `{text}` {e}")))?;
    let bare = |name: &Name| {
        let name = name.to_ascii();
        if name == "." { name } else { name.trim_end_matches('.').to_owned() }
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let value = match &value {
        Value::Four(_) | Value::Six(_) | Value::Text(_) => json!({ "content": value.content() }),
        Value::Name(name) => json!({ "content": bare(name) }),
        Value::Mail { preference, exchange } => json!({ "content": bare(exchange), "priority": preference }),
        Value::Service { priority, weight, port, target } => {
            json!({ "data": { "priority": priority, "weight": weight, "port": port, "target": bare(target) } })
        }
        Value::Issuer { flags, tag, value } => {
            json!({ "data": { "flags": flags, "tag": tag, "value": String::from_utf8_lossy(value) } })
        }
        Value::Fingerprint { algorithm, digest, data } => {
            json!({ "data": { "algorithm": algorithm, "type": digest, "fingerprint": hex(data) } })
        }
        Value::Certificate { usage, selector, matching, data } => {
            json!({ "data": { "usage": usage, "selector": selector, "matching_type": matching, "certificate": hex(data) } })
        }
    };
    let mut fields = Object::new();
    fields.insert("name".into(), json!(at.name().trim_end_matches('.')));
    fields.insert("type".into(), json!(at.kind()));
    if let Json::Object(value) = value {
        fields.extend(value);
    }
    Ok(fields)
}
