//! A twin of Cloudflare's API: zones and records in memory, answers with the documented codes.

use crate::bench::Server;
use reqwest::Url;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

pub const TOKEN: &str = "token-of-the-twin-0123";
const ZONE: &str = "023e105f4ecef8ad9ca31a8372d0c353";

#[derive(Default)]
struct State {
    records: Vec<Value>,
    made: u32,
    writes: u64,
    /// Happens between what is looked at and the next batch.
    meanwhile: Option<Value>,
}

pub struct Twin {
    pub server: Server,
    state: Arc<Mutex<State>>,
}

impl Twin {
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let own = state.clone();
        let server = Server::start(move |request| answer(&mut own.lock().unwrap(), request)).await;
        Self { server, state }
    }

    pub fn writes(&self) -> u64 {
        self.state.lock().unwrap().writes
    }

    /// What stands there of a name and type.
    pub fn records(&self, name: &str, kind: &str) -> Vec<Value> {
        let all = self.state.lock().unwrap().records.clone();
        all.into_iter().filter(|record| record["name"] == name && record["type"] == kind).collect()
    }

    /// Replaces the records of a name and type by hand; comments of those that stay, stay.
    pub fn put(&self, name: &str, kind: &str, ttl: u32, contents: &[String]) {
        let comment = self.records(name, kind).first().map(|record| record["comment"].clone()).unwrap_or_default();
        let mut state = self.state.lock().unwrap();
        state.records.retain(|record| record["name"] != name || record["type"] != kind);
        for content in contents {
            let fields = match kind {
                "MX" => {
                    let (priority, content) = content.split_once(' ').unwrap();
                    json!({ "content": content, "priority": priority.parse::<u16>().unwrap() })
                }
                _ => json!({ "content": content }),
            };
            let mut record = json!({ "name": name, "type": kind, "ttl": ttl, "proxied": false, "comment": comment });
            record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            add(&mut state, record);
        }
    }

    /// Somebody adds a record by hand.
    pub fn add(&self, record: Value) {
        add(&mut self.state.lock().unwrap(), record);
    }

    /// Somebody adds this right before the next batch.
    pub fn meanwhile(&self, record: Value) {
        self.state.lock().unwrap().meanwhile = Some(record);
    }
}

fn add(state: &mut State, mut record: Value) -> Value {
    state.made += 1;
    record["id"] = json!(format!("record-{}", state.made));
    state.records.push(record.clone());
    record
}

fn answer(state: &mut State, request: &str) -> String {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut words = head.split_whitespace();
    let (method, url) = (words.next().unwrap(), Url::parse(&format!("http://twin{}", words.next().unwrap())).unwrap());
    if !head.lines().any(|line| line.to_lowercase() == format!("authorization: bearer {TOKEN}")) {
        return refused(403, 10000, "Authentication error");
    }
    let query = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let path: Vec<&str> = url.path_segments().unwrap().collect();
    match (method, path.as_slice()) {
        ("GET", ["client", "v4", "zones"]) => {
            let found =
                if query("name").as_deref() == Some("example.test") { json!([{ "id": ZONE, "name": "example.test" }]) } else { json!([]) };
            page(&found, 1, 1)
        }
        ("GET", ["client", "v4", "zones", ZONE, "dns_records"]) => {
            let wanted = |record: &&Value| {
                query("name.exact").is_none_or(|name| record["name"] == name) && query("type").is_none_or(|kind| record["type"] == kind)
            };
            let found: Vec<Value> = state.records.iter().filter(wanted).cloned().collect();
            // One a page, so that a set takes more than one.
            let (number, pages) = (query("page").unwrap().parse::<usize>().unwrap(), found.len());
            page(&json!(found.into_iter().skip(number - 1).take(1).collect::<Vec<_>>()), number, pages)
        }
        ("POST", ["client", "v4", "zones", ZONE, "dns_records", "batch"]) => {
            if let Some(record) = state.meanwhile.take() {
                add(state, record);
            }
            batch(state, &serde_json::from_str(body).unwrap())
        }
        _ => refused(404, 7003, "Could not route to the path, perhaps your object identifier is invalid?"),
    }
}

/// One transaction: deletes, patches, puts, posts.
fn batch(state: &mut State, body: &Value) -> String {
    assert!(body.as_object().unwrap().keys().all(|key| ["deletes", "patches", "puts", "posts"].contains(&key.as_str())), "{body}");
    let before = (state.records.clone(), state.made);
    match changed(state, body) {
        Ok(()) => {
            state.writes += 1;
            fine(&json!({ "success": true, "errors": [], "messages": [], "result": {} }))
        }
        Err((code, message)) => {
            (state.records, state.made) = before;
            refused(400, code, message)
        }
    }
}

fn changed(state: &mut State, body: &Value) -> Result<(), (u32, &'static str)> {
    let list = |name: &str| body[name].as_array().cloned().unwrap_or_default();
    let known =
        |state: &State, record: &Value| state.records.iter().position(|r| r["id"] == record["id"]).ok_or((81044, "Record does not exist."));
    for delete in list("deletes") {
        let at = known(state, &delete)?;
        state.records.remove(at);
    }
    for patch in list("patches") {
        let at = known(state, &patch)?;
        state.records[at].as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
        valid(&state.records[at])?;
    }
    for post in list("posts") {
        valid(&post)?;
        let same = |r: &&Value| ["name", "type", "content", "priority", "data"].iter().all(|field| r[*field] == post[*field]);
        if state.records.iter().any(|r| same(&r)) {
            return Err((81058, "An identical record already exists."));
        }
        let alias = |record: &Value| record["type"] == "CNAME";
        if state.records.iter().any(|r| r["name"] == post["name"] && (alias(r) || alias(&post))) {
            return Err((81053, "An A, AAAA, or CNAME record with that host already exists."));
        }
        add(state, post);
    }
    Ok(())
}

/// The fields that the documentation has for each type, and no others.
fn valid(record: &Value) -> Result<(), (u32, &'static str)> {
    let kind = record["type"].as_str().unwrap();
    let data = |fields: &[&str]| {
        let data = record["data"].as_object().map(|data| data.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
        data.len() == fields.len() && fields.iter().all(|field| data.contains(&(*field).to_owned()))
    };
    let content = record["content"].as_str().is_some_and(|content| !content.is_empty() && !content.ends_with('.'));
    let right = match kind {
        "A" => record["content"].as_str().is_some_and(|c| c.parse::<std::net::Ipv4Addr>().is_ok()),
        "MX" => record["priority"].is_u64() && content,
        "SRV" => data(&["priority", "weight", "port", "target"]),
        "CAA" => data(&["flags", "tag", "value"]),
        "SSHFP" => data(&["algorithm", "type", "fingerprint"]),
        "TLSA" => data(&["usage", "selector", "matching_type", "certificate"]),
        "TXT" => record["content"].as_str().is_some_and(|c| c.starts_with('"') && c.ends_with('"')),
        _ => content,
    };
    let proxied = record.get("proxied").is_none() || ["A", "AAAA", "CNAME"].contains(&kind);
    let known = ["id", "name", "type", "content", "data", "priority", "ttl", "proxied", "comment", "tags"];
    let named = record.as_object().unwrap().keys().all(|key| known.contains(&key.as_str()));
    let ttl = record["ttl"].as_u64().is_some_and(|ttl| ttl == 1 || (60..=86400).contains(&ttl));
    if right && proxied && named && ttl { Ok(()) } else { Err((9005, "Content for the record is invalid.")) }
}

fn page(result: &Value, page: usize, pages: usize) -> String {
    let info = json!({ "page": page, "per_page": 1, "total_pages": pages });
    fine(&json!({ "success": true, "errors": [], "messages": [], "result": result, "result_info": info }))
}

fn fine(body: &Value) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{body}")
}

fn refused(status: u16, code: u32, message: &str) -> String {
    let body = json!({ "success": false, "errors": [{ "code": code, "message": message }], "messages": [], "result": null });
    format!("HTTP/1.1 {status} No\r\nContent-Type: application/json\r\n\r\n{body}")
}
