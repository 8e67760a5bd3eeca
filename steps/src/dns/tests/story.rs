//! What `dns/record` promises, told of any [`Target`].

use super::target::Target;
use crate::bench::Bench;
use crate::dns::place::Place;
use crate::dns::provider::Provider;
use crate::dns::record::Record;
use crate::dns::set::Set;
use crate::dns::value::Type;
use serde_json::{Value, json};
use trees_runner::kind::{Kind as _, KindError, Observation};

pub fn with(target: &impl Target, extra: Value) -> Value {
    let mut with = json!({ "zone": target.zone(), "name": "app", "type": "A", "ttl": "60s", "provider": target.provider() });
    with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    with
}

pub fn two(target: &impl Target) -> Value {
    with(target, json!({ "values": ["192.0.2.2", "192.0.2.1"] }))
}

pub const TWO: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

/// Looking says so, and acting without having looked too.
async fn refused(bench: &Bench, with: Value) -> KindError {
    let with = serde_json::from_value(with).unwrap();
    let wrong = Record::observe(&with, &bench.read()).await.unwrap_err();
    let again = Record::apply(&with, &bench.cx()).await.unwrap_err();
    assert_eq!(wrong.message, again.message);
    wrong
}

/// Applies; again, no write; the plan writes nothing; the mark is there.
pub async fn made_once(target: &impl Target) {
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
    // As after a kill between the intent and its effect: there is a record and no set.
    assert!(bench.run::<Record>(two(target)).await.unwrap().1);
    bench.undo::<Record>().await.unwrap();
    assert!(target.values("app", "A").is_empty());
}

pub async fn every_type(target: &impl Target) {
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

pub async fn drift_is_named_and_mended(target: &impl Target) {
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

pub async fn records_of_others_are_left_alone(target: &impl Target) {
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

pub async fn what_was_there_comes_back(target: &impl Target) {
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

pub async fn an_undo_leaves_what_somebody_changed(target: &impl Target) {
    let bench = Bench::new();
    bench.run::<Record>(two(target)).await.unwrap();
    target.put("app", "A", 60, &["192.0.2.1"]);
    let before = target.writes();
    let wrong = bench.undo::<Record>().await.unwrap_err();
    assert!(wrong.message.contains("was changed by somebody since (now: 192.0.2.1); it is left alone"), "{wrong}");
    assert_eq!((target.values("app", "A"), target.writes()), (vec!["192.0.2.1".to_owned()], before));
}

/// Somebody changes the set between what was read and the write.
pub async fn a_change_at_the_same_time_is_not_lost(target: &impl Target) {
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

pub async fn what_goes_wrong_is_said(target: &impl Target) {
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

pub async fn without_credentials_nothing_is_taken_back(target: &impl Target) {
    let bench = Bench::new();
    bench.run::<Record>(two(target)).await.unwrap();
    let other = Bench::new();
    let wrong = Record::undo(&bench.intents()[0], &other.cx()).await.unwrap_err();
    assert!(wrong.message.contains("has no credentials"), "{wrong}");
    assert_eq!(target.values("app", "A"), TWO);
}
