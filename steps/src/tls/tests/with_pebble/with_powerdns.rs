//! Names proved by records of a real name server, which the directory asks.

use super::files;
use crate::bench::Bench;
use crate::tls::certificate::{Certificate, Record};
use serde_json::{Value, json};
use std::fs;
use trees_runner::kind::Kind as _;
use trees_servers::free_port;
use trees_servers::pebble::{Options, Pebble};
use trees_servers::powerdns::PowerDns;

struct Place {
    bench: Bench,
    dns: PowerDns,
    zone: String,
    pebble: Pebble,
}

impl Place {
    fn new() -> Self {
        let dns = PowerDns::start();
        let options = Options { dns: Some(format!("127.0.0.1:{}", dns.port)), ..Options::new(free_port()) };
        Self { bench: Bench::new(), zone: dns.zone(), pebble: Pebble::start(&options), dns }
    }

    fn with(&self, extra: Value) -> Value {
        let mut with = json!({
            "names": [self.zone, format!("*.{}", self.zone)],
            "directory": self.pebble.directory(),
            "roots": self.pebble.roots(),
            "folder": "tls/a",
            "challenge": { "dns": {
                "zone": self.zone,
                "provider": { "powerdns": { "url": self.dns.url(), "key": self.dns.key } },
                "authority": format!("127.0.0.1:{}", self.dns.port),
            } },
        });
        with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        with
    }

    /// Another step's value at the name of ours.
    fn theirs(&self) {
        let set = json!([{ "name": format!("_acme-challenge.{}.", self.zone), "type": "TXT", "ttl": 300, "changetype": "REPLACE",
            "records": [{ "content": "\"theirs\"", "disabled": false }] }]);
        self.dns.change(&self.zone, &set.to_string());
    }

    /// The values at the name.
    fn values(&self) -> Vec<String> {
        let content: Value = serde_json::from_str(&self.dns.content(&self.zone)).unwrap();
        let sets = content["rrsets"].as_array().unwrap().iter().filter(|set| set["type"] == "TXT");
        let records = sets.flat_map(|set| set["records"].as_array().unwrap());
        records.map(|record| record["content"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_wildcard_is_proved_beside_what_stands_there() {
    let place = Place::new();
    place.theirs();
    let (out, acted) = place.bench.run::<Certificate>(place.with(json!({}))).await.unwrap();
    let mut names = out.names.clone();
    names.sort();
    assert_eq!((acted, names), (true, vec![format!("*.{}", place.zone), place.zone.clone()]));
    assert_eq!(place.values(), ["\"theirs\""]);
    let records: Vec<Record> = place.bench.intents().into_iter().map(|record| serde_json::from_value(record).unwrap()).collect();
    assert!(matches!(records.as_slice(), [Record::Trace(_), Record::Trace(_), Record::Switch(_)]), "{records:?}");
    let recorded = serde_json::to_string(&place.bench.intents()).unwrap();
    assert!(!recorded.contains(place.dns.key), "{recorded}");
    for path in files(&place.bench.read().state) {
        assert!(!fs::read_to_string(&path).unwrap().contains(place.dns.key), "{}", path.display());
    }
    assert!(!place.bench.run::<Certificate>(place.with(json!({}))).await.unwrap().1);
    place.bench.undo::<Certificate>().await.unwrap();
    assert_eq!((place.values(), place.bench.path("tls").exists()), (vec!["\"theirs\"".to_owned()], false));
}

#[tokio::test]
async fn what_a_killed_run_left_is_taken_away() {
    let place = Place::new();
    // As killed between record and removal: all that is known is the record.
    place.bench.run::<Certificate>(place.with(json!({ "names": [place.zone] }))).await.unwrap();
    let left = place.bench.intents().remove(0);
    let value = format!("\"{}\"", left["trace"]["value"].as_str().unwrap());
    let set = json!([{ "name": format!("_acme-challenge.{}.", place.zone), "type": "TXT", "ttl": 60, "changetype": "REPLACE",
        "records": [{ "content": value, "disabled": false }, { "content": "\"theirs\"", "disabled": false }] }]);
    place.dns.change(&place.zone, &set.to_string());
    for _ in 0..2 {
        Certificate::undo(&left, &place.bench.cx()).await.unwrap();
        assert_eq!(place.values(), ["\"theirs\""]);
    }
    let mut without = place.bench.cx();
    without.with = std::sync::Arc::default();
    let wrong = Certificate::undo(&left, &without).await.unwrap_err();
    assert!(wrong.message.contains("no credentials"), "{}", wrong.message);
}

#[tokio::test]
async fn a_record_that_nobody_sees_is_taken_away_and_no_name_is_looked_at() {
    let place = Place::new();
    let mut with = place.with(json!({ "timeout": "2s" }));
    with["challenge"]["dns"]["authority"] = json!(format!("127.0.0.1:{}", free_port()));
    let wrong = place.bench.run::<Certificate>(with.clone()).await.unwrap_err();
    let unseen = format!("_acme-challenge.{}. TXT: no good answer", place.zone);
    assert!(wrong.transient && (wrong.message.starts_with(&unseen) || wrong.message.contains("time ran out")), "{}", wrong.message);
    assert_eq!(place.values(), Vec::<String>::new());
    with["challenge"]["dns"]["provider"]["powerdns"]["key"] = json!("wrong-key-0123");
    let wrong = place.bench.run::<Certificate>(with).await.unwrap_err();
    assert!(wrong.message.contains("401") && !wrong.message.contains("wrong-key"), "{}", wrong.message);
}
