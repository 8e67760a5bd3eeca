//! What `dns/record` promises, on every provider: the same stories over PowerDNS, BIND and the twin
//! of Cloudflare.

use super::place::Place;
use super::provider::Provider;
use super::record::Record;
use super::set::Set;
use super::twin::{TOKEN, Twin};
use super::value::{Type, Value as Text};
use crate::bench::Bench;
use serde_json::{Value, json};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use trees_runner::kind::{Kind as _, KindError, Observation};
use trees_servers::bind::{self, Bind};
use trees_servers::powerdns::PowerDns;

/// A zone somewhere, and what is seen of it from outside.
trait Target {
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

struct AtPowerDns {
    server: &'static PowerDns,
    zone: String,
    /// Its SQLite takes one writer at a time and answers 500 to another: one test after the other.
    _turn: MutexGuard<'static, ()>,
}

impl AtPowerDns {
    fn new() -> Self {
        static SERVER: LazyLock<PowerDns> = LazyLock::new(PowerDns::start);
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Self { server: &SERVER, zone: SERVER.zone(), _turn: turn }
    }

    fn content(&self) -> Value {
        serde_json::from_str(&self.server.content(&self.zone)).unwrap()
    }

    fn rrset(&self, name: &str, kind: &str) -> Value {
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

struct AtBind {
    server: &'static Bind,
    zone: String,
}

impl AtBind {
    fn new() -> Self {
        static SERVER: LazyLock<Bind> = LazyLock::new(Bind::start);
        Self { server: &SERVER, zone: SERVER.zone() }
    }

    fn with_key(&self, key: &str, secret: &str) -> Value {
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

struct AtTwin(Twin);

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

fn with(target: &impl Target, extra: Value) -> Value {
    let mut with = json!({ "zone": target.zone(), "name": "app", "type": "A", "ttl": "60s", "provider": target.provider() });
    with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    with
}

fn two(target: &impl Target) -> Value {
    with(target, json!({ "values": ["192.0.2.2", "192.0.2.1"] }))
}

const TWO: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

async fn refused(bench: &Bench, with: Value) -> KindError {
    let wrong = Record::observe(&serde_json::from_value(with.clone()).unwrap(), &bench.read()).await.unwrap_err();
    let again = bench.run::<Record>(with).await.unwrap_err();
    assert_eq!(wrong.message, again.message);
    wrong
}

/// Applies; again, no write; the plan writes nothing; the mark is there.
async fn made_once(target: &impl Target) {
    let bench = Bench::new();
    let before = target.writes();
    assert_eq!(bench.observe::<Record>(two(target)).await, Observation::Absent);
    assert_eq!(target.writes(), before, "a look writes nothing");
    let (out, acted) = bench.run::<Record>(two(target)).await.unwrap();
    assert!(acted && out.values == TWO && out.ttl == 60 && out.name == format!("app.{}", target.zone()));
    assert_eq!(target.values("app", "A"), TWO);
    assert_eq!(target.mark("app", "A").as_deref(), Some("trees:proof"));
    let after = target.writes();
    assert_eq!(after, before + 1);
    let other = with(target, json!({ "name": format!("APP.{}", target.zone()), "values": TWO, "zone": format!("{}.", target.zone()) }));
    assert_eq!(bench.run::<Record>(two(target)).await.unwrap(), (out, false));
    assert!(!bench.run::<Record>(other).await.unwrap().1);
    let without_ttl = json!({ "zone": target.zone(), "name": "app", "type": "A", "values": TWO, "provider": target.provider() });
    assert!(!bench.run::<Record>(without_ttl).await.unwrap().1, "the time to keep stays where none is given");
    // As after a kill between the effect and its record: the same step in another process.
    let (_, acted) = Bench::new().run::<Record>(two(target)).await.unwrap();
    assert!(!acted && target.writes() == after);
    assert!(!json!(bench.intents()).to_string().contains(&target.secret()), "no secret is recorded");
    bench.undo::<Record>().await.unwrap();
    assert!(target.values("app", "A").is_empty() && target.mark("app", "A").is_none());
    let gone = target.writes();
    bench.undo::<Record>().await.unwrap();
    assert_eq!(target.writes(), gone, "taken back once");
}

async fn every_type(target: &impl Target) {
    for (name, kind, values) in [
        ("v4", "A", vec!["192.0.2.1"]),
        ("v6", "AAAA", vec!["2001:DB8:0::1", "2001:db8::2"]),
        ("www", "CNAME", vec!["Target.example.NET"]),
        ("@", "MX", vec!["20 mx2.example.net", "10 MX1.example.net."]),
        ("sub", "NS", vec!["ns1.example.net", "ns2.example.net"]),
        ("_sip._tcp", "SRV", vec!["1 2 5060 sip.example.net"]),
        ("@", "CAA", vec!["0 issue ca.example.net", "0 iodef \"mailto:a@example.net\""]),
        ("host", "SSHFP", vec!["4 2 123456789ABCDEF067890123456789ABCDEF67890123456789ABCDEF12345678"]),
        ("_443._tcp", "TLSA", vec!["3 1 1 0d6fce3b0c2ad6a1f63e3c8c2ab8cca1e6a2b7ad98d1ee01bd8eef2f9e6b1a00"]),
        ("txt", "TXT", vec!["v=spf1 include:example.net -all", "quoted \"word\" and \\", "ä"]),
        ("long", "TXT", vec!["0123456789".repeat(60).leak()]),
    ] {
        let bench = Bench::new();
        let with = with(target, json!({ "name": name, "type": kind, "values": values }));
        let (out, acted) = bench.run::<Record>(with.clone()).await.unwrap_or_else(|e| panic!("{kind}: {e}"));
        let mut sorted = out.values.clone();
        sorted.sort();
        assert!(acted && (kind == "NS" || target.values(name, kind) == sorted), "{kind}: {:?}", target.values(name, kind));
        let before = target.writes();
        assert_eq!(bench.run::<Record>(with).await.unwrap_or_else(|e| panic!("{kind}: {e}")), (out, false), "{kind}");
        assert_eq!(target.writes(), before, "{kind}");
        bench.undo::<Record>().await.unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert!(target.values(name, kind).is_empty(), "{kind}");
    }
}

async fn drift_is_named_and_mended(target: &impl Target) {
    let bench = Bench::new();
    bench.run::<Record>(two(target)).await.unwrap();
    target.put("app", "A", 120, &["192.0.2.2", "192.0.2.7"]);
    match bench.observe::<Record>(two(target)).await {
        Observation::Differs(changes) => {
            let fields: Vec<&str> = changes.iter().map(|change| change.field.as_str()).collect();
            assert_eq!(fields, ["values", "ttl"]);
            assert_eq!((&changes[0].old, &changes[0].new), (&json!(["192.0.2.2", "192.0.2.7"]), &json!(TWO)));
            assert_eq!((&changes[1].old, &changes[1].new), (&json!(120), &json!(60)));
            assert_eq!(changes[0].owner.as_deref(), Some("trees:proof"));
        }
        other => panic!("{other:?}"),
    }
    bench.run::<Record>(two(target)).await.unwrap();
    assert_eq!(target.values("app", "A"), TWO);
    target.put("app", "A", 120, &[]);
    bench.run::<Record>(two(target)).await.unwrap();
    assert_eq!(target.values("app", "A"), TWO);
}

async fn records_of_others_are_left_alone(target: &impl Target) {
    let bench = Bench::new();
    target.put("app", "A", 600, &["192.0.2.8", "192.0.2.9"]);
    let before = target.writes();
    let wrong = refused(&bench, two(target)).await;
    assert!(wrong.message.contains("is there already (192.0.2.8, 192.0.2.9) and has nobody's mark, not trees:proof"), "{wrong}");
    assert!(wrong.help.unwrap().contains("take_over: true"));
    let wrong = refused(&bench, with(target, json!({ "state": "absent" }))).await;
    assert!(wrong.message.contains("left alone"), "{wrong}");
    let same = with(target, json!({ "values": ["192.0.2.9", "192.0.2.8"], "ttl": "10m" }));
    assert!(!bench.run::<Record>(same).await.unwrap().1, "what is so already needs no owner");
    assert_eq!((target.writes(), bench.intents().len()), (before, 0));
    let mut over = two(target);
    over["take_over"] = json!(true);
    let (_, acted) = bench.run::<Record>(over).await.unwrap();
    assert!(acted && target.values("app", "A") == TWO && target.mark("app", "A").is_some());
    bench.undo::<Record>().await.unwrap();
    assert_eq!((target.values("app", "A"), target.mark("app", "A")), (vec!["192.0.2.8".to_owned(), "192.0.2.9".to_owned()], None));
    let as_before = with(target, json!({ "values": ["192.0.2.9", "192.0.2.8"], "ttl": "10m" }));
    assert!(bench.drift::<Record>(as_before).await.is_empty(), "the time to keep too");
}

async fn what_was_there_comes_back(target: &impl Target) {
    let first = Bench::new();
    first.run::<Record>(two(target)).await.unwrap();
    let bench = Bench::new();
    bench.run::<Record>(with(target, json!({ "values": "192.0.2.3", "ttl": "120s" }))).await.unwrap();
    bench.run::<Record>(with(target, json!({ "values": "192.0.2.4", "ttl": "180s" }))).await.unwrap();
    assert_eq!(target.values("app", "A"), ["192.0.2.4"]);
    bench.undo::<Record>().await.unwrap();
    assert!(!Bench::new().run::<Record>(two(target)).await.unwrap().1, "values, time and owner as before");
    assert_eq!(target.mark("app", "A").as_deref(), Some("trees:proof"));

    let absent = Bench::new();
    let gone = || with(target, json!({ "state": "absent" }));
    let (out, acted) = absent.run::<Record>(gone()).await.unwrap();
    assert!(acted && out.values.is_empty() && target.values("app", "A").is_empty() && target.mark("app", "A").is_none());
    let before = target.writes();
    assert!(!absent.run::<Record>(gone()).await.unwrap().1 && target.writes() == before);
    absent.undo::<Record>().await.unwrap();
    assert_eq!(target.values("app", "A"), TWO);
    assert_eq!(target.mark("app", "A").as_deref(), Some("trees:proof"));
}

async fn an_undo_leaves_what_somebody_changed(target: &impl Target) {
    let bench = Bench::new();
    bench.run::<Record>(two(target)).await.unwrap();
    target.put("app", "A", 60, &["192.0.2.1"]);
    let before = target.writes();
    let wrong = bench.undo::<Record>().await.unwrap_err();
    assert!(wrong.message.contains("was changed by somebody since (now: 192.0.2.1); it is left alone"), "{wrong}");
    assert_eq!((target.values("app", "A"), target.writes()), (vec!["192.0.2.1".to_owned()], before));
}

/// Somebody changes the set between what was read and the write.
async fn a_change_at_the_same_time_is_not_lost(target: &impl Target) {
    let bench = Bench::new();
    let provider: Provider = serde_json::from_value(target.provider()).unwrap();
    let at = Place::new(target.zone(), "app", Type::A).unwrap();
    let set = |values: &[&str]| Set {
        values: values.iter().map(|v| (*v).to_owned()).collect(),
        ttl: 60,
        mark: Some("trees:proof".into()),
        proxied: provider.proxied(&at, &Set::none()),
        ..Set::none()
    };
    for (old, theirs) in [(vec![], vec!["192.0.2.7"]), (vec!["192.0.2.1"], vec!["192.0.2.1", "192.0.2.7"]), (vec!["192.0.2.1"], vec![])] {
        target.put("app", "A", 60, &old);
        let read = provider.read(&bench.read(), &at).await.unwrap();
        target.put("app", "A", 60, &theirs);
        let wrong = provider.write(&bench.cx(), &at, &read, &set(&TWO)).await.unwrap_err();
        assert!(wrong.transient && wrong.message.contains("somebody changed the records app."), "{wrong}");
        assert_eq!(target.values("app", "A"), theirs);
    }
}

async fn what_goes_wrong_is_said(target: &impl Target) {
    let bench = Bench::new();
    let mut stranger = two(target);
    stranger["provider"] = target.stranger();
    let wrong = refused(&bench, stranger).await;
    assert!(!wrong.transient && wrong.help.is_some() && !wrong.message.contains("4567"), "{wrong}");
    let mut elsewhere = two(target);
    elsewhere["zone"] = json!("elsewhere.test");
    let wrong = refused(&bench, elsewhere).await;
    assert!(!wrong.transient && wrong.help.is_some(), "{wrong}");
    bench.fill();
    let before = target.writes();
    assert_eq!(bench.run::<Record>(two(target)).await.unwrap_err().message, "the journal is full");
    assert_eq!(target.writes(), before, "nothing is written before the intent is durable");
    assert!(bench.undo::<Record>().await.is_ok());
}

async fn without_credentials_nothing_is_taken_back(target: &impl Target) {
    let bench = Bench::new();
    bench.run::<Record>(two(target)).await.unwrap();
    let other = Bench::new();
    let wrong = Record::undo(&bench.intents()[0], &other.cx()).await.unwrap_err();
    assert!(wrong.message.contains("has no credentials"), "{wrong}");
    assert_eq!(target.values("app", "A"), TWO);
}

macro_rules! stories {
    ($target:expr) => {
        #[tokio::test]
        async fn a_set_is_made_once_and_taken_back() {
            made_once(&$target).await;
        }

        #[tokio::test]
        async fn records_of_every_type_do_not_drift() {
            every_type(&$target).await;
        }

        #[tokio::test]
        async fn drift_by_hand_is_named_and_mended() {
            drift_is_named_and_mended(&$target).await;
        }

        #[tokio::test]
        async fn foreign_records_are_left_alone() {
            records_of_others_are_left_alone(&$target).await;
        }

        #[tokio::test]
        async fn what_was_there_comes_back_with_its_owner() {
            what_was_there_comes_back(&$target).await;
        }

        #[tokio::test]
        async fn what_somebody_changed_is_not_taken_back() {
            an_undo_leaves_what_somebody_changed(&$target).await;
        }

        #[tokio::test]
        async fn a_concurrent_change_is_not_lost() {
            a_change_at_the_same_time_is_not_lost(&$target).await;
        }

        #[tokio::test]
        async fn wrong_keys_and_zones_are_named() {
            what_goes_wrong_is_said(&$target).await;
            without_credentials_nothing_is_taken_back(&$target).await;
        }
    };
}

mod with_powerdns {
    use super::*;

    stories!(AtPowerDns::new());

    #[tokio::test]
    async fn comments_and_disabled_records_of_others_stay() {
        let target = AtPowerDns::new();
        let bench = Bench::new();
        let name = format!("app.{}.", target.zone);
        let set = json!([{
            "name": name, "type": "A", "ttl": 60, "changetype": "REPLACE",
            "records": [{ "content": "192.0.2.8", "disabled": false }, { "content": "192.0.2.9", "disabled": true }],
            "comments": [{ "content": "asked for by Ada", "account": "ada" }],
        }]);
        target.server.change(&target.zone, &set.to_string());
        let seen = |target: &AtPowerDns| {
            let set = target.rrset("app", "A");
            let mut all: Vec<String> =
                set["records"].as_array().unwrap().iter().map(|r| format!("{} {}", r["content"], r["disabled"])).collect();
            all.extend(set["comments"].as_array().unwrap().iter().map(|c| format!("{} {}", c["content"], c["account"])));
            all.sort();
            all
        };
        let before = seen(&target);
        bench.run::<Record>(with(&target, json!({ "values": "192.0.2.1", "take_over": true }))).await.unwrap();
        let ours = ["\"192.0.2.1\" false", "\"192.0.2.9\" true", "\"asked for by Ada\" \"ada\"", "\"trees:proof\" \"trees\""];
        assert_eq!(seen(&target), ours);
        bench.undo::<Record>().await.unwrap();
        assert_eq!(seen(&target), before);
    }

    #[tokio::test]
    async fn its_own_words_are_passed_on() {
        let target = AtPowerDns::new();
        let bench = Bench::new();
        target.put("app", "TXT", 60, &["x"]);
        let alias = with(&target, json!({ "type": "CNAME", "values": "a.example.net" }));
        let wrong = bench.run::<Record>(alias).await.unwrap_err();
        assert!(wrong.message.contains("answered 422: RRset app.") && wrong.message.contains("Conflicts"), "{wrong}");
        let mut nowhere = two(&target);
        nowhere["provider"]["powerdns"]["server"] = json!("elsewhere");
        let wrong = bench.run::<Record>(nowhere).await.unwrap_err();
        assert!(wrong.message.contains("answered 404"), "{wrong}");
    }

    #[tokio::test]
    async fn the_authority_itself_is_asked() {
        let target = AtPowerDns::new();
        let bench = Bench::new();
        let with = |values: &str| {
            let authority = format!("127.0.0.1:{}", target.server.port);
            with(&target, json!({ "values": values, "authority": authority, "within": "100ms" }))
        };
        let (out, _) = bench.run::<Record>(with("192.0.2.1")).await.unwrap();
        Record::verify(&serde_json::from_value(with("192.0.2.1")).unwrap(), &out, &bench.read()).await.unwrap();
        let wrong = Record::verify(&serde_json::from_value(with("192.0.2.5")).unwrap(), &out, &bench.read()).await.unwrap_err();
        assert!(wrong.message.contains("192.0.2.1; wanted 192.0.2.5"), "{wrong}");
        bench.undo::<Record>().await.unwrap();
        let wrong = Record::verify(&serde_json::from_value(with("192.0.2.1")).unwrap(), &out, &bench.read()).await.unwrap_err();
        assert!(wrong.message.contains("NXDOMAIN"), "{wrong}");
    }
}

mod with_bind {
    use super::*;

    stories!(AtBind::new());

    #[tokio::test]
    async fn a_key_that_is_unknown_or_may_not_is_named() {
        let target = AtBind::new();
        let bench = Bench::new();
        for (key, secret, expected, help) in [
            (bind::POWERLESS, &target.server.powerless, "it answers REFUSED", "BIND: update-policy"),
            ("nobody", &target.server.secret, "BADKEY", "`nobody`"),
            (bind::KEY, &target.server.powerless, "BADSIG", "the secret of the key"),
        ] {
            let mut with = two(&target);
            with["provider"] = target.with_key(key, secret);
            let wrong = bench.run::<Record>(with).await.unwrap_err();
            assert!(wrong.message.contains(expected) && !wrong.transient, "{wrong}");
            assert!(wrong.help.as_ref().is_some_and(|text| text.contains(help)), "{:?}", wrong.help);
        }
        assert_eq!(target.writes(), 1);
    }

    #[tokio::test]
    async fn answers_of_a_wildcard_are_no_records_of_the_name() {
        let target = AtBind::new();
        let bench = Bench::new();
        let with = |values: &str| with(&target, json!({ "name": "a.wild", "values": values, "ttl": "5m" }));
        assert_eq!(target.values("a.wild", "A"), ["192.0.2.99"]);
        assert_eq!(bench.observe::<Record>(with("192.0.2.99")).await, Observation::Absent);
        bench.run::<Record>(with("192.0.2.99")).await.unwrap();
        assert!(!bench.run::<Record>(with("192.0.2.99")).await.unwrap().1);
        bench.run::<Record>(with("192.0.2.98")).await.unwrap();
        assert_eq!(target.values("a.wild", "A"), ["192.0.2.98"]);
        bench.undo::<Record>().await.unwrap();
        assert_eq!(target.values("a.wild", "A"), ["192.0.2.99"]);
    }

    #[tokio::test]
    async fn name_servers_of_the_zone_itself_are_replaced() {
        let target = AtBind::new();
        let bench = Bench::new();
        let with = with(&target, json!({ "name": "@", "type": "NS", "values": ["ns2.example.net", "ns3.example.net"], "take_over": true }));
        bench.run::<Record>(with.clone()).await.unwrap();
        assert_eq!(target.values("@", "NS"), ["ns2.example.net.", "ns3.example.net."]);
        assert!(!bench.run::<Record>(with).await.unwrap().1);
        bench.undo::<Record>().await.unwrap();
        assert_eq!(target.values("@", "NS"), [format!("ns1.{}.", target.zone)]);
    }

    #[tokio::test]
    async fn what_cannot_stand_beside_a_cname_is_said() {
        let target = AtBind::new();
        let bench = Bench::new();
        target.put("app", "CNAME", 60, &["a.example.net."]);
        let wrong = bench.run::<Record>(two(&target)).await.unwrap_err();
        assert!(wrong.message.contains("there is a CNAME of this name"), "{wrong}");
    }

    /// More than fits a datagram: read over TCP.
    #[tokio::test]
    async fn a_large_set_is_read_over_tcp() {
        let target = AtBind::new();
        let bench = Bench::new();
        let values: Vec<String> = (0..30).map(|n| format!("{n:02} {}", "x".repeat(200))).collect();
        let with = with(&target, json!({ "type": "TXT", "values": values }));
        let (out, _) = bench.run::<Record>(with.clone()).await.unwrap();
        assert_eq!(out.values, values);
        assert!(!bench.run::<Record>(with).await.unwrap().1);
    }
}

mod cloudflare {
    use super::*;

    stories!(AtTwin(Twin::start().await));

    #[tokio::test]
    async fn requests_have_the_documented_shape() {
        let target = AtTwin(Twin::start().await);
        let bench = Bench::new();
        target.put("app", "A", 300, &["192.0.2.8", "192.0.2.1"]);
        let with = with(&target, json!({ "values": TWO, "take_over": true }));
        bench.run::<Record>(with).await.unwrap();
        let requests = target.0.server.requests();
        let lines: Vec<&str> = requests.iter().map(|request| request.lines().next().unwrap()).collect();
        assert_eq!(lines[0], "GET /client/v4/zones?name=example.test HTTP/1.1");
        let zone = "/client/v4/zones/023e105f4ecef8ad9ca31a8372d0c353/dns_records";
        assert_eq!(lines[1], format!("GET {zone}?name.exact=app.example.test&type=A&per_page=100&page=1 HTTP/1.1"));
        let (head, body) = requests.last().unwrap().split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("POST {zone}/batch HTTP/1.1\r\n")), "{head}");
        assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
        let expected = json!({
            "deletes": [{ "id": "record-1" }],
            "patches": [{ "id": "record-2", "ttl": 60, "comment": "trees:proof", "proxied": false }],
            "posts": [{ "name": "app.example.test", "type": "A", "content": "192.0.2.2", "ttl": 60, "comment": "trees:proof", "proxied": false }],
        });
        assert_eq!(serde_json::from_str::<Value>(body).unwrap(), expected);
    }

    #[tokio::test]
    async fn cloudflare_stands_before_an_address_or_not() {
        let target = AtTwin(Twin::start().await);
        let bench = Bench::new();
        let with = |proxied: Option<bool>| {
            let mut provider = target.provider();
            if let Some(proxied) = proxied {
                provider["cloudflare"]["proxied"] = json!(proxied);
            }
            json!({ "zone": target.zone(), "name": "app", "type": "A", "values": "192.0.2.1", "provider": provider })
        };
        let (out, _) = bench.run::<Record>(with(Some(true))).await.unwrap();
        assert_eq!(out.ttl, 1, "automatic");
        assert_eq!(target.0.records("app.example.test", "A")[0]["proxied"], true);
        assert!(!bench.run::<Record>(with(None)).await.unwrap().1, "as it is");
        assert_eq!(bench.drift::<Record>(with(Some(false))).await, ["proxied"]);
        for (extra, expected) in [
            (json!({ "ttl": "60s" }), "Cloudflare chooses it"),
            (json!({ "type": "TXT" }), "A, AAAA and CNAME only, not TXT"),
            (json!({ "authority": "127.0.0.1" }), "Cloudflare's own addresses"),
        ] {
            let mut with = with(Some(true));
            with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            let wrong = bench.run::<Record>(with).await.unwrap_err();
            assert!(wrong.message.contains(expected), "{wrong}");
        }
    }

    #[tokio::test]
    async fn the_same_record_made_by_somebody_at_the_same_time() {
        let target = AtTwin(Twin::start().await);
        let bench = Bench::new();
        let theirs = |content: &str| json!({ "name": "app.example.test", "type": "A", "content": content, "ttl": 60, "proxied": false });
        target.0.meanwhile(theirs("192.0.2.1"));
        let wrong = bench.run::<Record>(two(&target)).await.unwrap_err();
        assert!(wrong.transient && wrong.message.contains("An identical record already exists. (81058)"), "{wrong}");
        target.put("app", "A", 60, &[]);
        target.0.meanwhile(theirs("192.0.2.1"));
        let one = with(&target, json!({ "values": "192.0.2.1" }));
        bench.run::<Record>(one.clone()).await.unwrap();
        assert!(!bench.run::<Record>(one).await.unwrap().1, "adopted");
    }
}

/// A provider that answers nonsense, or not at all.
mod nonsense {
    use super::*;
    use crate::bench::Server;

    async fn check(answer: &'static str, expected: &str) {
        let bench = Bench::new();
        let server = Server::start(move |_| answer.into()).await;
        for provider in [
            json!({ "powerdns": { "url": server.url(""), "key": "key-0123456789" } }),
            json!({ "cloudflare": { "url": server.url(""), "token": "key-0123456789" } }),
        ] {
            let with = json!({ "zone": "example.test", "name": "app", "type": "A", "values": "192.0.2.1", "provider": provider });
            let wrong = bench.run::<Record>(with).await.unwrap_err();
            assert!(wrong.message.contains(expected) && !wrong.message.contains("0123456789"), "{expected}: {wrong}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_none_is_shown() {
        check("HTTP/1.1 200 OK\r\n\r\n<html>sign in", "but not what was asked for").await;
        check("HTTP/1.1 200 OK\r\n\r\n{}", "but not what was asked for").await;
        check("HTTP/1.1 503 No\r\n\r\nbusy", "answered 503: busy").await;
        check("no HTTP at all\r\n", "cannot").await;
    }

    #[tokio::test]
    async fn a_server_that_is_down_is_named() {
        let bench = Bench::new();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        for provider in [
            json!({ "powerdns": { "url": url, "key": "k" } }),
            json!({ "cloudflare": { "url": url, "token": "t" } }),
            json!({ "rfc2136": { "server": "127.0.0.1", "port": port, "key": "k", "secret": "AAAA" } }),
        ] {
            let with = json!({ "zone": "example.test", "name": "app", "type": "A", "values": "192.0.2.1", "provider": provider });
            let wrong = bench.run::<Record>(with).await.unwrap_err();
            assert!(wrong.transient && wrong.message.contains("refused"), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_secret_in_a_value_is_not_written() {
        let server = Server::start(|_| "HTTP/1.1 200 OK\r\n\r\n{\"rrsets\":[]}".into()).await;
        let bench = Bench::knowing("canary-0123456789abcdef");
        let provider = json!({ "powerdns": { "url": server.url(""), "key": "k" } });
        let with =
            json!({ "zone": "example.test", "name": "app", "type": "TXT", "values": "canary-0123456789abcdef", "provider": provider });
        let wrong = bench.run::<Record>(with).await.unwrap_err();
        assert!(wrong.message.contains("holds a secret of this tree"), "{wrong}");
        assert!(bench.intents().is_empty() && server.requests().iter().all(|request| request.starts_with("GET ")));
    }

    #[tokio::test]
    async fn what_is_wrong_in_the_file_is_said() {
        let bench = Bench::new();
        let provider = json!({ "rfc2136": { "server": "127.0.0.1", "key": "k", "secret": "AAAA" } });
        for (extra, expected) in [
            (json!({ "zone": "example..test" }), "zone: `example..test` is no name"),
            (json!({ "name": "a.elsewhere." }), "is not in the zone example.test."),
            (json!({ "values": [] }), "write `state: absent`"),
            (json!({ "values": ["x"] }), "values: `x` is no IPv4 address"),
            (json!({ "type": "CNAME", "values": ["a.example", "b.example"] }), "at most one CNAME"),
            (json!({ "ttl": "1500ms" }), "whole seconds"),
            (json!({ "authority": "ns:x" }), "authority: `ns:x` is no name server"),
            (json!({ "provider": { "rfc2136": { "server": "a b", "key": "k", "secret": "AAAA" } } }), "`a b` is no name or address"),
            (json!({ "provider": { "rfc2136": { "server": "a", "key": "k", "secret": "secret?" } } }), "it is no base64"),
            (json!({ "provider": { "powerdns": { "url": "x", "key": "k" } } }), "provider.powerdns.url: `x` is no URL"),
            (json!({ "provider": { "powerdns": { "url": "http://x", "key": "k", "port": 1 } } }), "unknown field `port`"),
            (json!({ "provider": { "route53": {} } }), "unknown variant `route53`"),
            (json!({ "kind": "A" }), "unknown field `kind`"),
        ] {
            let mut with = json!({ "zone": "example.test", "name": "app", "type": "A", "values": "192.0.2.1", "provider": provider });
            with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            let wrong = bench.run::<Record>(with).await.unwrap_err();
            assert!(wrong.message.contains(expected) && !wrong.message.contains("secret?"), "{expected}: {wrong}");
        }
    }
}
