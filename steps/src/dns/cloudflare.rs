//! Cloudflare by its HTTP API.
//!
//! It keeps records one by one; a set is written as one batch, which is one transaction there.

use super::api::{self, Answer};
use super::place::Place;
use super::provider::changed;
use super::secret::Secret;
use super::set::{Set, is_mark};
use super::value::{Type, Value};
use crate::http;
use reqwest::{RequestBuilder, Url};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use trees_core::event::{Json, Object};
use trees_runner::kind::{Cx, KindError, ReadCx};

/// The time to keep with which Cloudflare chooses itself.
pub(super) const AUTOMATIC: u32 = 1;
/// How many records it lists at once.
const PAGE: u32 = 100;
/// Pages of one set; it does not allow so many records of a name.
const PAGES: u32 = 100;
/// There is such a record already, or one just like it.
const THERE: [u32; 2] = [81057, 81058];

/// Cloudflare.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cloudflare {
    /// Where its API is.
    #[serde(default = "base")]
    pub url: String,
    /// An API token that may edit the DNS of the zone.
    pub token: Secret,
    /// Whether Cloudflare stands before the address (A, AAAA and CNAME); without, as it is, and a new
    /// record is not.
    #[serde(default)]
    pub proxied: Option<bool>,
}

fn base() -> String {
    "https://api.cloudflare.com/client/v4".into()
}

/// What every answer is wrapped in.
#[derive(Deserialize)]
struct Envelope<T> {
    success: bool,
    #[serde(default)]
    errors: Vec<Problem>,
    result: Option<T>,
    #[serde(default)]
    result_info: Option<Pages>,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    message: String,
    #[serde(default)]
    error_chain: Vec<Problem>,
}

#[derive(Deserialize)]
struct Pages {
    #[serde(default)]
    total_pages: u32,
}

#[derive(Deserialize)]
struct Zone {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Record {
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
}

/// A set and the ids of its records by their value.
struct Found {
    set: Set,
    ids: BTreeMap<String, String>,
}

impl Cloudflare {
    pub(super) fn validate(&self) -> Vec<String> {
        http::url(&self.url).err().map(|e| format!("provider.cloudflare.{e}")).into_iter().collect()
    }

    /// Whether the set is to have Cloudflare before it; `None` where that cannot be.
    pub(super) fn proxied(&self, kind: Type, old: &Set) -> Option<bool> {
        can_be_proxied(kind).then(|| self.proxied.or(old.proxied).unwrap_or(false))
    }

    pub(super) async fn read(&self, cx: &ReadCx, at: &Place) -> Result<Set, KindError> {
        let zone = self.zone(cx, at).await?;
        Ok(self.find(cx, at, &zone).await?.set)
    }

    pub(super) async fn write(&self, cx: &Cx, at: &Place, old: &Set, new: &Set) -> Result<(), KindError> {
        let zone = self.zone(cx, at).await?;
        // Its API has no condition: this is as near to the write as can be.
        let found = self.find(cx, at, &zone).await?;
        if !found.set.is_as(old) {
            return Err(changed(at));
        }
        let body = batch(at, &found, new)?;
        let request = cx.client.get()?.post(self.at(&["zones", &zone, "dns_records", "batch"])?).json(&body);
        let answer = self.send(cx, &format!("write {at}"), request).await?;
        let Err((error, codes)) = opened::<Json>(cx, &answer) else { return Ok(()) };
        if !codes.iter().any(|code| THERE.contains(code)) {
            return Err(error);
        }
        // Somebody made the same record at the same time: where all is as it must be, it is ours now.
        let now = self.find(cx, at, &zone).await?.set;
        if now.answers_as(new) { Ok(()) } else { Err(KindError { transient: true, ..error }) }
    }

    fn at(&self, path: &[&str]) -> Result<Url, KindError> {
        let mut url = http::url(&self.url).map_err(KindError::new)?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        Ok(url)
    }

    async fn send(&self, cx: &ReadCx, what: &str, request: RequestBuilder) -> Result<Answer, KindError> {
        api::send(cx, format!("cannot {what} at Cloudflare"), request.bearer_auth(self.token.expose())).await
    }

    async fn zone(&self, cx: &ReadCx, at: &Place) -> Result<String, KindError> {
        let name = at.zone();
        let name = name.trim_end_matches('.');
        let mut url = self.at(&["zones"])?;
        url.query_pairs_mut().append_pair("name", name);
        let answer = self.send(cx, &format!("find the zone {name}"), cx.http.get(url)?).await?;
        let zones: Vec<Zone> = opened(cx, &answer).map_err(|(error, _)| error)?.0;
        let found = zones.into_iter().find(|zone| zone.name.eq_ignore_ascii_case(name)).map(|zone| zone.id);
        found.ok_or_else(|| {
            KindError::new(format!("Cloudflare has no zone {name} that this token may see"))
                .help("look at `zone`, and give the token the permission Zone / DNS / Edit for it")
        })
    }

    async fn find(&self, cx: &ReadCx, at: &Place, zone: &str) -> Result<Found, KindError> {
        let mut records = Vec::new();
        for page in 1..=PAGES {
            let mut url = self.at(&["zones", zone, "dns_records"])?;
            url.query_pairs_mut()
                .append_pair("name.exact", at.name().trim_end_matches('.'))
                .append_pair("type", at.kind().as_str())
                .append_pair("per_page", &PAGE.to_string())
                .append_pair("page", &page.to_string());
            let answer = self.send(cx, &format!("read {at}"), cx.http.get(url)?).await?;
            let (more, pages): (Vec<Record>, u32) = opened(cx, &answer).map_err(|(error, _)| error)?;
            records.extend(more);
            if page >= pages {
                return found(at, records);
            }
        }
        Err(KindError::new(format!("cannot read {at} at Cloudflare: it lists more than {PAGES} pages of them")))
    }
}

/// What is in an answer and how many pages there are; else the error and the codes in it.
fn opened<T: serde::de::DeserializeOwned>(cx: &ReadCx, answer: &Answer) -> Result<(T, u32), (KindError, Vec<u32>)> {
    let nothing = |e: KindError| (e, Vec::new());
    let envelope: Envelope<Json> = match answer.json(cx) {
        Ok(envelope) => envelope,
        Err(_) if !answer.is_fine() => return Err(nothing(answer.refused(cx, None))),
        Err(e) => return Err(nothing(e)),
    };
    if envelope.success && answer.is_fine() {
        let pages = envelope.result_info.map_or(1, |info| info.total_pages);
        let whole: Envelope<T> = answer.json(cx).map_err(nothing)?;
        let missing = || nothing(answer.refused(cx, Some("success without a result")));
        return Ok((whole.result.ok_or_else(missing)?, pages));
    }
    let all: Vec<&Problem> = envelope.errors.iter().flat_map(|problem| [problem].into_iter().chain(&problem.error_chain)).collect();
    let words: Vec<String> = all.iter().map(|problem| format!("{} ({})", problem.message, problem.code)).collect();
    let error = answer.refused(cx, Some(&words.join("; ")));
    let help = matches!(answer.status, 401 | 403);
    let error = if help { error.help("`token` must be an API token with the permission Zone / DNS / Edit for the zone") } else { error };
    Err((error, all.iter().map(|problem| problem.code).collect()))
}

fn found(at: &Place, records: Vec<Record>) -> Result<Found, KindError> {
    let mut found = Found { set: Set::none(), ids: BTreeMap::new() };
    let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
    let mut marks: Vec<Option<String>> = Vec::new();
    for record in records {
        if record.kind != at.kind().as_str() || super::value::name(&record.name).as_ref() != Ok(&at.name) {
            continue;
        }
        let text = said(at.kind(), &record);
        let value = Value::read(at.kind(), &text)
            .map_err(|e| KindError::new(format!("cannot read {at} at Cloudflare: the record `{text}` {e}")))?
            .to_string();
        let set = &mut found.set;
        set.ttl = if set.is_there() { set.ttl.min(record.ttl) } else { record.ttl };
        set.proxied = can_be_proxied(at.kind()).then(|| set.proxied.unwrap_or(false) || record.proxied.unwrap_or(false));
        set.values.insert(value.clone());
        marks.push(record.comment.clone().filter(|comment| is_mark(comment)));
        kept.insert(value.clone(), Kept { comment: record.comment, tags: record.tags });
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

fn can_be_proxied(kind: Type) -> bool {
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
fn batch(at: &Place, found: &Found, new: &Set) -> Result<Json, KindError> {
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
        fields.insert("ttl".into(), json!(new.ttl));
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
    let bare = |name: &hickory_proto::rr::Name| {
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
