//! `tls/check` against real TLS servers.

use super::authority::{Authority, DAY, HOUR, Prelude, Shown, TlsServer, self_signed};
use crate::bench::{Bench, Server};
use crate::tls::check::{Check, Out};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use trees_runner::kind::KindError;

struct Place {
    bench: Bench,
    authority: Authority,
}

impl Place {
    fn new() -> Self {
        let (bench, authority) = (Bench::new(), Authority::new("Proof Root"));
        bench.write("roots.pem", &authority.pem());
        Self { bench, authority }
    }

    async fn ask(&self, port: u16, extra: Value) -> Result<Out, KindError> {
        let mut with = json!({ "host": "a.test", "address": "127.0.0.1", "port": port, "roots": "roots.pem", "every": "1ms", "first_ok_within": "1ms" });
        with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        with.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.bench.run::<Check>(with).await.map(|(out, _)| out)
    }

    async fn wrong(&self, port: u16, extra: Value, expected: &str) -> KindError {
        let wrong = self.ask(port, extra.clone()).await.expect_err(expected);
        assert!(wrong.message.contains(expected), "{extra}: {expected}: {}", wrong.message);
        wrong
    }

    async fn shown(&self, shown: &Shown, extra: Value, expected: &str) {
        let server = TlsServer::start(shown).await;
        self.wrong(server.port, extra, expected).await;
    }
}

/// The names the server was asked for, when there are so many.
async fn asked(server: &TlsServer, count: usize) -> Vec<Option<String>> {
    while server.asked.lock().unwrap().len() < count {
        tokio::task::yield_now().await;
    }
    server.asked.lock().unwrap().clone()
}

#[tokio::test]
async fn a_good_certificate_is_told_of() {
    let place = Place::new();
    let shown = place.authority.signs(&["a.test", "*.b.test", "127.0.0.1"], -DAY, 90 * DAY + HOUR);
    let server = TlsServer::start(&shown).await;
    let out = place.ask(server.port, json!({ "days_left": 90, "issuer": "Proof" })).await.unwrap();
    assert_eq!((out.days_left, out.trusted, out.protocol.as_str()), (90, true, "TLSv1.3"));
    assert_eq!(out.names, ["a.test", "*.b.test", "127.0.0.1"]);
    assert!(out.issuer.contains("CN=Proof Root"), "{}", out.issuer);
    assert_eq!(out.fingerprint, trees_core::hash::bytes(&shown.chain[0]));
    assert_eq!(out.address, format!("127.0.0.1:{}", server.port));
    place.ask(server.port, json!({ "name": "x.b.test" })).await.unwrap();
    place.ask(server.port, json!({ "host": "127.0.0.1", "address": null })).await.unwrap();
    assert_eq!(asked(&server, 3).await, [Some("a.test".to_owned()), Some("x.b.test".into()), None]);
}

#[tokio::test]
async fn time_is_over_soon_or_not_begun() {
    let place = Place::new();
    let made = |from: i64, until: i64| place.authority.signs(&["a.test"], from, until);
    let ten = made(-DAY, 10 * DAY + HOUR);
    place.shown(&ten, json!({}), "expires soon: in 10 days, on 20").await;
    let server = TlsServer::start(&ten).await;
    assert_eq!(place.ask(server.port, json!({ "days_left": 10 })).await.unwrap().days_left, 10);
    let over = made(-30 * DAY, -DAY - HOUR);
    let server = TlsServer::start(&over).await;
    let wrong = place.wrong(server.port, json!({ "days_left": 0 }), "expired: 1 day ago, on 20").await;
    assert!(!wrong.message.contains("untrusted"), "{}", wrong.message);
    assert!(wrong.help.unwrap().contains("renew"));
    place.shown(&made(-DAY, -HOUR), json!({}), "expired: less than a day ago").await;
    place.shown(&made(DAY, 90 * DAY), json!({}), "not yet valid: only from 20").await;
}

#[tokio::test]
async fn a_wrong_name_and_a_chain_without_root_are_told_apart() {
    let place = Place::new();
    let good = place.authority.signs(&["a.test", "b.test"], -DAY, 90 * DAY);
    let server = TlsServer::start(&good).await;
    let wrong = place.wrong(server.port, json!({ "name": "c.test" }), "wrong name: it is for a.test, b.test, not for c.test").await;
    assert!(!wrong.message.contains("untrusted") && wrong.help.unwrap().contains("`name`"));
    place.wrong(server.port, json!({ "issuer": "Let's Encrypt" }), "not of `Let's Encrypt`").await;
    let other = Authority::new("Other Root").signs(&["a.test"], -DAY, 90 * DAY);
    let server = TlsServer::start(&other).await;
    place
        .wrong(server.port, json!({}), "untrusted: no known root stands behind its issuer `CN=Other Root`; the server sent no other")
        .await;
    assert!(!place.ask(server.port, json!({ "chain": false })).await.unwrap().trusted);
    let own = self_signed(&["a.test"], -DAY, 90 * DAY);
    let server = TlsServer::start(&own).await;
    place.wrong(server.port, json!({}), "self-signed: ").await;
    place.ask(server.port, json!({ "chain": false })).await.unwrap();
    place.bench.write("own.pem", &own.pem);
    assert!(place.ask(server.port, json!({ "roots": "own.pem" })).await.unwrap().trusted);
}

#[tokio::test]
async fn a_chain_must_be_sent_whole() {
    let place = Place::new();
    let mut shown = place.authority.signs_by_another(&["a.test"], -DAY, 90 * DAY);
    let server = TlsServer::start(&shown).await;
    assert!(place.ask(server.port, json!({})).await.unwrap().trusted);
    shown.chain.truncate(1);
    server.show(&shown);
    place.wrong(server.port, json!({}), "untrusted: no known root").await;
}

#[tokio::test]
async fn all_that_is_wrong_is_said_at_once() {
    let place = Place::new();
    let shown = Authority::new("Other Root").signs(&["b.test"], -30 * DAY, -3 * DAY - HOUR);
    let server = TlsServer::start(&shown).await;
    let wrong = place.wrong(server.port, json!({ "issuer": "Proof" }), "expired: 3 days ago").await;
    for part in ["; wrong name: it is for b.test", "; untrusted: no known root", "; wrong issuer: it is of `CN=Other Root`, not of `Proof`"]
    {
        assert!(wrong.message.contains(part), "{part}: {}", wrong.message);
    }
}

#[tokio::test]
async fn no_server_is_another_answer_than_no_tls() {
    let place = Place::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let wrong = place.wrong(closed, json!({}), &format!("unreachable: 127.0.0.1:{closed}: ")).await;
    assert!(wrong.transient && wrong.help.unwrap().contains("firewall"));
    place.wrong(closed, json!({ "address": "no.such.host.invalid" }), "unreachable: no.such.host.invalid").await;
    let plain = Server::start(|_| "HTTP/1.1 400 No\r\n\r\n".into()).await;
    let port = plain.url("").rsplit(':').next().unwrap().parse().unwrap();
    // It waits for the end of a head that never comes.
    place.wrong(port, json!({ "timeout": "50ms" }), "unreachable: no answer within 50ms").await;
    let answering = |bytes: &'static [u8]| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(bytes).await;
        });
        port
    };
    let port = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    place.wrong(port, json!({}), "no TLS handshake: what answers there does not speak TLS").await;
    let port = answering(&[21, 3, 1, 0, 2, 2, 70]).await;
    place.wrong(port, json!({}), "no TLS handshake: it has neither TLS 1.2 nor 1.3").await;
    let port = answering(&[]).await;
    place.wrong(port, json!({}), "no TLS handshake: the connection was closed").await;
}

#[tokio::test]
async fn an_older_version_is_told() {
    let place = Place::new();
    let shown = place.authority.signs(&["a.test"], -DAY, 90 * DAY);
    let server = TlsServer::speaking(&shown, &[&rustls::version::TLS12], &[]).await;
    assert_eq!(place.ask(server.port, json!({})).await.unwrap().protocol, "TLSv1.2");
}

#[tokio::test]
async fn a_new_certificate_is_waited_for() {
    let place = Place::new();
    let old = place.authority.signs(&["a.test"], -90 * DAY, -DAY);
    let new = place.authority.signs(&["a.test"], -HOUR, 90 * DAY + HOUR);
    let server = TlsServer::start(&old).await;
    let (answer, ()) = tokio::join!(place.ask(server.port, json!({ "first_ok_within": "1m", "ok_in_row": 2 })), async {
        asked(&server, 3).await;
        server.show(&new);
    });
    assert_eq!(answer.unwrap().days_left, 90);
}

#[tokio::test]
async fn tls_is_asked_for_in_other_protocols() {
    const MAIL: Prelude = &[
        (b"", b"220-mail.test\r\n220 ESMTP\r\n"),
        (b"EHLO trees.invalid\r\n", b"250-mail.test\r\n250-STARTTLS\r\n250 SIZE\r\n"),
        (b"STARTTLS\r\n", b"220 go on\r\n"),
    ];
    const DATABASE: Prelude = &[(&[0, 0, 0, 8, 4, 210, 22, 47], b"S")];
    const REFUSING: Prelude = &[(&[0, 0, 0, 8, 4, 210, 22, 47], b"N")];
    const BUSY: Prelude = &[(b"", b"421 busy\r\n")];
    let place = Place::new();
    let shown = place.authority.signs(&["a.test"], -DAY, 90 * DAY);
    for (protocol, prelude, expected) in [
        ("smtp", MAIL, None),
        ("postgres", DATABASE, None),
        ("postgres", REFUSING, Some("the PostgreSQL server does not offer TLS")),
        ("smtp", BUSY, Some("its greeting was `421 busy`, not 220")),
    ] {
        let server = TlsServer::speaking(&shown, rustls::ALL_VERSIONS, prelude).await;
        match expected {
            None => drop(place.ask(server.port, json!({ "starttls": protocol })).await.unwrap()),
            Some(expected) => drop(place.wrong(server.port, json!({ "starttls": protocol }), expected).await),
        }
    }
}

#[tokio::test]
async fn wrong_inputs_are_named_before_anything_is_asked() {
    let place = Place::new();
    for (extra, expected) in [
        (json!({ "host": "" }), "host: it is empty"),
        (json!({ "host": "a b" }), "host: `a b` is neither a DNS name nor an address"),
        (json!({ "name": "https://a.test" }), "name: `https://a.test` is neither"),
        (json!({ "days_left": -1 }), "invalid value"),
        (json!({ "starttls": "ftp" }), "unknown variant `ftp`"),
        (json!({ "roots": "nope.pem" }), "cannot read root certificates from"),
        (json!({ "verify": false }), "unknown field `verify`"),
    ] {
        place.wrong(1, extra, expected).await;
    }
    place.bench.write("empty.pem", "nothing");
    place.wrong(1, json!({ "roots": "empty.pem" }), "there is no certificate in it").await;
}

#[tokio::test]
async fn a_cancelled_attempt_ends() {
    let place = Place::new();
    place.bench.cancel();
    place.wrong(1, json!({ "first_ok_within": "1h", "every": "1h" }), "ended while").await;
}
