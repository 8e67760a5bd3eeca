//! PowerDNS by its HTTP API.

use super::api::{self, Answer};
use super::place::Place;
use super::provider::changed;
use super::secret::Secret;
use super::set::{Set, is_mark};
use super::value::Value;
use crate::http;
use reqwest::{RequestBuilder, Url};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use trees_core::event::Json;
use trees_runner::kind::{Cx, KindError, ReadCx};

/// PowerDNS, by its HTTP API.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Powerdns {
    /// Where its API is: `http://127.0.0.1:8081`.
    pub url: String,
    /// The API's key (`api-key` of its configuration).
    pub key: Secret,
    /// The name of the server in its API.
    #[serde(default = "localhost")]
    pub server: String,
}

fn localhost() -> String {
    "localhost".into()
}

#[derive(Deserialize)]
struct Zone {
    rrsets: Vec<Rrset>,
}

#[derive(Deserialize)]
struct Rrset {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    ttl: u32,
    #[serde(default)]
    records: Vec<Record>,
    #[serde(default)]
    comments: Vec<Json>,
}

#[derive(Deserialize)]
struct Record {
    content: String,
    #[serde(default)]
    disabled: bool,
}

/// What a [`Set`] keeps for it.
#[derive(Default, Serialize, Deserialize)]
struct Extra {
    /// Comments of others, as they are.
    comments: Vec<Json>,
    /// Records that are switched off, as they are written there.
    disabled: BTreeSet<String>,
}

impl Powerdns {
    pub(super) fn validate(&self) -> Vec<String> {
        http::url(&self.url).err().map(|e| format!("provider.powerdns.{e}")).into_iter().collect()
    }

    pub(super) async fn read(&self, cx: &ReadCx, at: &Place) -> Result<Set, KindError> {
        // The whole zone: where one set is asked for, records that are switched off are left out.
        let request = cx.http.get(self.zone(at)?)?;
        let answer = self.send(cx, &format!("read {at}"), request).await?;
        if answer.status != 200 {
            return Err(self.refused(cx, &answer, at));
        }
        let zone: Zone = answer.json(cx)?;
        let ours = |set: &Rrset| set.kind == at.kind().as_str() && super::value::name(&set.name).as_ref() == Ok(&at.name);
        zone.rrsets.into_iter().find(ours).map_or_else(|| Ok(Set::none()), |set| set_of(set, at))
    }

    pub(super) async fn write(&self, cx: &Cx, at: &Place, old: &Set, new: &Set) -> Result<(), KindError> {
        // Its API has no condition: this is as near to the write as can be.
        if !self.read(cx, at).await?.is_as(old) {
            return Err(changed(at));
        }
        let body = json!({ "rrsets": [change(at, old, new)?] });
        let request = cx.client.get()?.patch(self.zone(at)?).json(&body);
        let answer = self.send(cx, &format!("write {at}"), request).await?;
        if answer.is_fine() { Ok(()) } else { Err(self.refused(cx, &answer, at)) }
    }

    fn zone(&self, at: &Place) -> Result<Url, KindError> {
        let mut url = http::url(&self.url).map_err(KindError::new)?;
        let zone = at.zone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1", "servers", &self.server, "zones", &zone]);
        }
        Ok(url)
    }

    async fn send(&self, cx: &ReadCx, what: &str, request: RequestBuilder) -> Result<Answer, KindError> {
        api::send(cx, format!("cannot {what} at PowerDNS"), request.header("X-API-Key", self.key.expose())).await
    }

    fn refused(&self, cx: &ReadCx, answer: &Answer, at: &Place) -> KindError {
        let said = serde_json::from_str::<Json>(&answer.body).ok().and_then(|body| body["error"].as_str().map(str::to_owned));
        let error = answer.refused(cx, said.as_deref());
        match answer.status {
            401 | 403 => error.help("`key` must be the `api-key` of its configuration"),
            404 => error.help(format!("it has no zone {} on the server `{}`; make it there first", at.zone(), self.server)),
            _ => error,
        }
    }
}

fn set_of(found: Rrset, at: &Place) -> Result<Set, KindError> {
    let mut set = Set { ttl: found.ttl, ..Set::none() };
    let mut extra = Extra::default();
    for record in found.records {
        if record.disabled {
            extra.disabled.insert(record.content);
            continue;
        }
        let value = Value::read(at.kind(), &record.content)
            .map_err(|e| KindError::new(format!("cannot read {at} at PowerDNS: the record `{}` {e}", record.content)))?;
        set.values.insert(value.to_string());
    }
    for comment in found.comments {
        match comment["content"].as_str() {
            Some(text) if is_mark(text) && set.mark.is_none() => set.mark = Some(text.to_owned()),
            _ => extra.comments.push(comment),
        }
    }
    set.extra = json!(extra);
    Ok(set)
}

/// The whole new set, or that it goes.
fn change(at: &Place, old: &Set, new: &Set) -> Result<Json, KindError> {
    if !new.is_there() && new.extra.is_null() {
        return Ok(json!({ "name": at.name(), "type": at.kind(), "changetype": "DELETE" }));
    }
    let extra = if new.extra.is_null() { &old.extra } else { &new.extra };
    let extra: Extra = if extra.is_null() { Extra::default() } else { Extra::deserialize(extra).map_err(unreadable)? };
    let mut records = Vec::new();
    let mut enabled = BTreeSet::new();
    for text in &new.values {
        let content = Value::read(at.kind(), text).map_err(unreadable)?.content();
        records.push(json!({ "content": content, "disabled": false }));
        enabled.insert(content);
    }
    let disabled = extra.disabled.iter().filter(|content| !enabled.contains(*content));
    records.extend(disabled.map(|content| json!({ "content": content, "disabled": true })));
    let mut comments = extra.comments;
    comments.extend(new.mark.iter().map(|mark| json!({ "content": mark, "account": "trees" })));
    Ok(json!({
        "name": at.name(), "type": at.kind(), "ttl": new.ttl, "changetype": "REPLACE", "records": records, "comments": comments
    }))
}

fn unreadable(e: impl std::fmt::Display) -> KindError {
    KindError::new(format!("cannot read what was recorded of the records: {e}"))
}
