//! What `dns/record` promises, on every provider: the same stories over PowerDNS, BIND and the twin
//! of Cloudflare.

mod check;
mod story;
mod target;
mod twin;

pub mod stub;

use crate::bench::Bench;
use crate::dns::check::Check;
use crate::dns::record::Record;
use serde_json::{Value, json};
use story::{TWO, two, with};
use target::{AtBind, AtPowerDns, AtTwin, Target as _};
use trees_runner::kind::{Kind as _, Observation};
use trees_servers::bind;
use twin::Twin;

macro_rules! stories {
    ($target:expr) => {
        #[tokio::test]
        async fn a_set_is_made_once_and_taken_back() {
            story::made_once(&$target).await;
        }

        #[tokio::test]
        async fn records_of_every_type_do_not_drift() {
            story::every_type(&$target).await;
        }

        #[tokio::test]
        async fn drift_by_hand_is_named_and_mended() {
            story::drift_is_named_and_mended(&$target).await;
        }

        #[tokio::test]
        async fn foreign_records_are_left_alone() {
            story::records_of_others_are_left_alone(&$target).await;
        }

        #[tokio::test]
        async fn what_was_there_comes_back_with_its_owner() {
            story::what_was_there_comes_back(&$target).await;
        }

        #[tokio::test]
        async fn what_somebody_changed_is_not_taken_back() {
            story::an_undo_leaves_what_somebody_changed(&$target).await;
        }

        #[tokio::test]
        async fn a_concurrent_change_is_not_lost() {
            story::a_change_at_the_same_time_is_not_lost(&$target).await;
        }

        #[tokio::test]
        async fn wrong_keys_and_zones_are_named() {
            story::what_goes_wrong_is_said(&$target).await;
            story::without_credentials_nothing_is_taken_back(&$target).await;
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
        let with = |values: &str, within: &str| {
            let authority = format!("127.0.0.1:{}", target.server.port);
            with(&target, json!({ "values": values, "authority": authority, "within": within }))
        };
        let (out, _) = bench.run::<Record>(with("192.0.2.1", "1m")).await.unwrap();
        let verify = |with: Value| {
            let (with, out, cx) = (serde_json::from_value(with).unwrap(), &out, bench.read());
            async move { Record::verify(&with, out, &cx).await }
        };
        verify(with("192.0.2.1", "1m")).await.unwrap();
        let wrong = verify(with("192.0.2.5", "1ms")).await.unwrap_err();
        assert!(wrong.message.contains("192.0.2.1; wanted 192.0.2.5"), "{wrong}");
        bench.undo::<Record>().await.unwrap();
        let wrong = verify(with("192.0.2.1", "1ms")).await.unwrap_err();
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

    #[tokio::test]
    async fn a_mark_that_was_left_beside_nothing_goes_too() {
        let target = AtBind::new();
        let bench = Bench::new();
        bench.run::<Record>(two(&target)).await.unwrap();
        target.put("app", "A", 60, &[]);
        let gone = || with(&target, json!({ "state": "absent" }));
        assert_eq!(bench.drift::<Record>(gone()).await, ["mark"]);
        assert!(bench.run::<Record>(gone()).await.unwrap().1 && target.mark("app", "A").is_none());
        assert!(!bench.run::<Record>(gone()).await.unwrap().1);
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

/// Servers of different make.
mod with_bind_too {
    mod with_powerdns {
        use super::super::*;

        #[tokio::test]
        async fn two_servers_of_different_make_are_compared() {
            let (one, other) = (AtBind::new(), AtPowerDns::new());
            let bench = Bench::new();
            let at = |target: &AtBind| format!("127.0.0.1:{}", target.server.port);
            one.put("app", "TXT", 60, &["a text"]);
            let with = |name: &str, server: Value, values: Value| json!({ "name": name, "type": "TXT", "server": server, "values": values, "first_ok_within": "1ms", "every": "1ms" });
            let name = format!("app.{}", one.zone);
            let (out, _) = bench.run::<Check>(with(&name, json!(at(&one)), json!("\"a\" \" text\""))).await.unwrap();
            assert_eq!((out.values, out.ttl, out.authoritative), (vec!["a text".to_owned()], 60, true));
            let pdns = format!("127.0.0.1:{}", other.server.port);
            let wrong = bench.run::<Check>(with(&name, json!([at(&one), pdns]), json!("a text"))).await.unwrap_err();
            assert!(wrong.message.contains(&format!("{pdns}: REFUSED")) || wrong.message.contains(&format!("{pdns}: NXDOMAIN")), "{wrong}");
            let wrong = bench.run::<Check>(with("app.elsewhere.test", json!(at(&one)), json!("a text"))).await.unwrap_err();
            assert!(wrong.message.contains("REFUSED"), "{wrong}");
        }
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
        let mut timed = with(None);
        timed["ttl"] = json!("60s");
        assert!(!bench.run::<Record>(timed).await.unwrap().1, "Cloudflare chooses the time");
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
    async fn times_that_differ_within_a_set_are_mended_and_come_back() {
        let target = AtTwin(Twin::start().await);
        let bench = Bench::new();
        target.put("app", "A", 300, &["192.0.2.1"]);
        target.0.add(
            json!({ "name": "app.example.test", "type": "A", "content": "192.0.2.2", "ttl": 120, "proxied": false, "comment": "by Ada" }),
        );
        let with = with(&target, json!({ "values": TWO, "ttl": "120s", "take_over": true }));
        assert_eq!(bench.drift::<Record>(with.clone()).await, ["ttl"]);
        let seen = |target: &AtTwin| {
            let all = target.0.records("app.example.test", "A");
            all.iter().map(|record| format!("{} {} {}", record["content"], record["ttl"], record["comment"])).collect::<Vec<_>>()
        };
        bench.run::<Record>(with).await.unwrap();
        assert_eq!(seen(&target), ["\"192.0.2.1\" 120 \"trees:proof\"", "\"192.0.2.2\" 120 \"trees:proof\""]);
        bench.undo::<Record>().await.unwrap();
        assert_eq!(seen(&target), ["\"192.0.2.1\" 300 \"\"", "\"192.0.2.2\" 120 \"by Ada\""]);
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
    use super::stub::{Stub, says};
    use super::*;
    use crate::bench::Server;
    use hickory_proto::op::{Message, ResponseCode};
    use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
    use hickory_proto::rr::{Name, TSigner};

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

    /// A server that answers, but does not know the secret.
    #[tokio::test]
    async fn an_answer_that_is_not_signed_rightly_does_not_count() {
        let bench = Bench::new();
        let with = |stub: &Stub| {
            let provider = json!({ "rfc2136": { "server": "127.0.0.1", "port": stub.port, "key": "k", "secret": "AAAA" } });
            json!({ "zone": "example.test", "name": "app", "type": "A", "values": "192.0.2.1", "provider": provider })
        };
        let unsigned = Stub::start(|message| Some(says(message, ResponseCode::NoError, &[]))).await;
        let wrong = bench.run::<Record>(with(&unsigned)).await.unwrap_err();
        assert!(wrong.message.contains("its answer (NOERROR) is not signed") && !wrong.transient, "{wrong}");
        let forged = Stub::start(|message| {
            let key = TSigner::new(b"another".to_vec(), TsigAlgorithm::HmacSha256, Name::from_ascii("k.").unwrap(), 300).unwrap();
            let mut answer = Message::from_vec(&says(message, ResponseCode::NoError, &[])).unwrap();
            answer.finalize(&key, message.signature().unwrap().data.time).unwrap();
            Some(answer.to_vec().unwrap())
        })
        .await;
        let wrong = bench.run::<Record>(with(&forged)).await.unwrap_err();
        assert!(wrong.message.contains("its answer is not signed by this key"), "{wrong}");
    }

    /// Waits at a server that never answers, until the attempt is cancelled.
    #[tokio::test]
    async fn a_wait_ends_with_the_attempt() {
        let silent = Stub::start(|_| None).await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        for provider in [
            json!({ "rfc2136": { "server": "127.0.0.1", "port": silent.port, "key": "k", "secret": "AAAA" } }),
            json!({ "powerdns": { "url": url, "key": "k" } }),
        ] {
            let bench = Bench::new();
            let with = json!({ "zone": "example.test", "name": "app", "type": "A", "values": "192.0.2.1", "provider": provider });
            let (ended, ()) = tokio::join!(bench.run::<Record>(with), async { bench.cancel() });
            let wrong = ended.unwrap_err();
            assert!(wrong.transient && wrong.message.contains("ended while"), "{wrong}");
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
            (json!({ "provider": { "route53": {} } }), "unknown field `route53`"),
            (json!({ "provider": {} }), "give exactly one of powerdns, rfc2136, cloudflare"),
            (
                json!({ "provider": { "cloudflare": { "token": "t" }, "powerdns": { "url": "http://x", "key": "k" } } }),
                "give exactly one of",
            ),
            (json!({ "kind": "A" }), "unknown field `kind`"),
        ] {
            let mut with = json!({ "zone": "example.test", "name": "app", "type": "A", "values": "192.0.2.1", "provider": provider });
            with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            let wrong = bench.run::<Record>(with).await.unwrap_err();
            assert!(wrong.message.contains(expected) && !wrong.message.contains("secret?"), "{expected}: {wrong}");
        }
    }
}
