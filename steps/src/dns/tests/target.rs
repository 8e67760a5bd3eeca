//! The places where the stories are told: PowerDNS, BIND and the twin of Cloudflare.

use super::twin::{TOKEN, Twin};
use crate::dns::value::{Type, Value as Text};
use serde_json::{Value, json};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use trees_servers::bind::{self, Bind};
use trees_servers::powerdns::PowerDns;

/// A zone somewhere, and what is seen of it from outside.
pub trait Target {
    fn zone(&self) -> &str;
    fn provider(&self) -> Value;
    /// With a key that is not right.
    fn stranger(&self) -> Value;
    fn secret(&self) -> String;
    /// Rises with each write.
    fn writes(&self) -> u64;
    /// The values of a name in the zone, in our form and sorted.
    fn values(&self, name: &str, kind: &str) -> Vec<String>;
    /// Replaces the set by hand, as somebody does who knows nothing of marks.
    fn put(&self, name: &str, kind: &str, ttl: u32, values: &[&str]);
    fn mark(&self, name: &str, kind: &str) -> Option<String>;
}

fn kind_of(kind: &str) -> Type {
    serde_json::from_value(json!(kind)).unwrap()
}

/// Texts of a server, in our form and sorted.
fn read(kind: &str, texts: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = texts.into_iter().map(|text| Text::read(kind_of(kind), &text).unwrap().to_string()).collect();
    all.sort();
    all
}

pub struct AtPowerDns {
    pub server: &'static PowerDns,
    pub zone: String,
    /// Its SQLite takes one writer at a time and answers 500 to another: one test after the other.
    _turn: MutexGuard<'static, ()>,
}

impl AtPowerDns {
    pub fn new() -> Self {
        static SERVER: LazyLock<PowerDns> = LazyLock::new(PowerDns::start);
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Self { server: &SERVER, zone: SERVER.zone(), _turn: turn }
    }

    fn content(&self) -> Value {
        serde_json::from_str(&self.server.content(&self.zone)).unwrap()
    }

    pub fn rrset(&self, name: &str, kind: &str) -> Value {
        let whole = whole(&self.zone, name);
        let content = self.content();
        let mut all = content["rrsets"].as_array().unwrap().iter();
        all.find(|set| set["name"] == format!("{whole}.") && set["type"] == kind).cloned().unwrap_or_default()
    }
}

fn whole(zone: &str, name: &str) -> String {
    if name == "@" { zone.to_owned() } else { format!("{name}.{zone}") }
}

impl Target for AtPowerDns {
    fn zone(&self) -> &str {
        &self.zone
    }

    fn provider(&self) -> Value {
        json!({ "powerdns": { "url": self.server.url(), "key": self.server.key } })
    }

    fn stranger(&self) -> Value {
        json!({ "powerdns": { "url": self.server.url(), "key": "not-the-key-4567" } })
    }

    fn secret(&self) -> String {
        self.server.key.into()
    }

    fn writes(&self) -> u64 {
        self.content()["edited_serial"].as_u64().unwrap()
    }

    fn values(&self, name: &str, kind: &str) -> Vec<String> {
        let set = self.rrset(name, kind);
        read(kind, set["records"].as_array().into_iter().flatten().map(|record| record["content"].as_str().unwrap().to_owned()))
    }

    fn put(&self, name: &str, kind: &str, ttl: u32, values: &[&str]) {
        let content = |text: &&str| json!({ "content": Text::read(kind_of(kind), text).unwrap().content(), "disabled": false });
        let records: Vec<Value> = values.iter().map(content).collect();
        let change = if values.is_empty() { "DELETE" } else { "REPLACE" };
        let name = format!("{}.", whole(&self.zone, name));
        self.server
            .change(&self.zone, &json!([{ "name": name, "type": kind, "ttl": ttl, "changetype": change, "records": records }]).to_string());
    }

    fn mark(&self, name: &str, kind: &str) -> Option<String> {
        let set = self.rrset(name, kind);
        let mut comments = set["comments"].as_array().into_iter().flatten().filter_map(|comment| comment["content"].as_str());
        comments.find(|text| text.starts_with("trees:")).map(str::to_owned)
    }
}

pub struct AtBind {
    pub server: &'static Bind,
    pub zone: String,
}

impl AtBind {
    pub fn new() -> Self {
        static SERVER: LazyLock<Bind> = LazyLock::new(Bind::start);
        Self { server: &SERVER, zone: SERVER.zone() }
    }

    pub fn with_key(&self, key: &str, secret: &str) -> Value {
        json!({ "rfc2136": { "server": "127.0.0.1", "port": self.server.port, "key": key, "secret": secret } })
    }
}

impl Target for AtBind {
    fn zone(&self) -> &str {
        &self.zone
    }

    fn provider(&self) -> Value {
        self.with_key(bind::KEY, &self.server.secret)
    }

    fn stranger(&self) -> Value {
        self.with_key(bind::KEY, &self.server.powerless)
    }

    fn secret(&self) -> String {
        self.server.secret.clone()
    }

    fn writes(&self) -> u64 {
        self.server.serial(&self.zone).into()
    }

    fn values(&self, name: &str, kind: &str) -> Vec<String> {
        read(kind, self.server.values(&whole(&self.zone, name), kind))
    }

    fn put(&self, name: &str, kind: &str, ttl: u32, values: &[&str]) {
        let name = whole(&self.zone, name);
        let mut lines = vec![format!("update delete {name}. {kind}")];
        let content = |text: &&str| Text::read(kind_of(kind), text).unwrap().content();
        lines.extend(values.iter().map(|text| format!("update add {name}. {ttl} {kind} {}", content(text))));
        self.server.change(&self.zone, &lines.join("\n"));
    }

    fn mark(&self, name: &str, kind: &str) -> Option<String> {
        let beside = format!("_trees-{}.{}", kind.to_lowercase(), whole(&self.zone, name));
        self.server.values(&beside, "TXT").first().map(|text| text.trim_matches('"').to_owned())
    }
}

pub struct AtTwin(pub Twin);

impl Target for AtTwin {
    fn zone(&self) -> &str {
        "example.test"
    }

    fn provider(&self) -> Value {
        json!({ "cloudflare": { "url": self.0.server.url("/client/v4"), "token": TOKEN } })
    }

    fn stranger(&self) -> Value {
        json!({ "cloudflare": { "url": self.0.server.url("/client/v4"), "token": "not-the-token-4567" } })
    }

    fn secret(&self) -> String {
        TOKEN.into()
    }

    fn writes(&self) -> u64 {
        self.0.writes()
    }

    fn values(&self, name: &str, kind: &str) -> Vec<String> {
        let text = |record: &Value| {
            let data = |fields: &[&str]| {
                let word = |field: &&str| record["data"][*field].as_str().map_or_else(|| record["data"][*field].to_string(), str::to_owned);
                fields.iter().map(word).collect::<Vec<_>>().join(" ")
            };
            match kind {
                "MX" => format!("{} {}", record["priority"], record["content"].as_str().unwrap()),
                "SRV" => data(&["priority", "weight", "port", "target"]),
                "CAA" => data(&["flags", "tag", "value"]),
                "SSHFP" => data(&["algorithm", "type", "fingerprint"]),
                "TLSA" => data(&["usage", "selector", "matching_type", "certificate"]),
                _ => record["content"].as_str().unwrap().to_owned(),
            }
        };
        read(kind, self.0.records(&whole(self.zone(), name), kind).iter().map(text))
    }

    fn put(&self, name: &str, kind: &str, ttl: u32, values: &[&str]) {
        let values: Vec<String> = values.iter().map(|text| Text::read(kind_of(kind), text).unwrap().content()).collect();
        self.0.put(&whole(self.zone(), name), kind, ttl, &values);
    }

    fn mark(&self, name: &str, kind: &str) -> Option<String> {
        let records = self.0.records(&whole(self.zone(), name), kind);
        records.first().and_then(|record| record["comment"].as_str()).filter(|c| c.starts_with("trees:")).map(str::to_owned)
    }
}
