//! What `dns/check` promises.

use super::stub::{Stub, says};
use crate::bench::Bench;
use crate::dns::check::Check;
use crate::dns::value::Type;
use hickory_proto::op::{Message, ResponseCode};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};

fn with(server: &Value, extra: &Value) -> Value {
    let mut with =
        json!({ "name": "app.example.org", "type": "A", "server": server, "every": "1ms", "first_ok_within": "1ms", "timeout": "60s" });
    with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    with
}

async fn check(server: &Value, extra: Value, expected: Result<&[&str], &str>) {
    match (Bench::new().run::<Check>(with(server, &extra)).await, expected) {
        (Ok((out, _)), Ok(values)) => assert_eq!(out.values, values, "{extra}"),
        (Err(wrong), Err(part)) => assert!(wrong.message.contains(part), "{extra}: {part}: {}", wrong.message),
        (got, expected) => panic!("{extra}: {expected:?}, got {got:?}"),
    }
}

const TWO: [(&str, Type, &str); 2] = [("app.example.org.", Type::A, "192.0.2.2"), ("app.example.org.", Type::A, "192.0.2.1")];

#[tokio::test]
async fn values_are_exact_or_among_others_and_all_servers_agree() {
    let both = Stub::with(&TWO).await;
    let one = Stub::with(&[("app.example.org.", Type::A, "192.0.2.1")]).await;
    let all = ["192.0.2.1", "192.0.2.2"];
    check(&json!(both.server()), json!({}), Ok(&all)).await;
    check(&json!(both.server()), json!({ "values": all }), Ok(&all)).await;
    check(&json!(both.server()), json!({ "contains": "192.0.2.2" }), Ok(&all)).await;
    check(&json!(both.server()), json!({ "values": "192.0.2.1" }), Err("192.0.2.1, 192.0.2.2; wanted 192.0.2.1")).await;
    check(&json!(both.server()), json!({ "contains": ["192.0.2.3"] }), Err("wanted 192.0.2.3 among them")).await;
    check(&json!(both.server()), json!({ "values": [] }), Err("192.0.2.1, 192.0.2.2; wanted none")).await;
    check(&json!([both.server(), one.server()]), json!({ "contains": "192.0.2.1" }), Err("they differ: 127.0.0.1:")).await;
    check(&json!([both.server(), both.server()]), json!({ "contains": "192.0.2.1" }), Ok(&all)).await;
    let (out, _) = Bench::new().run::<Check>(with(&json!(both.server()), &json!({}))).await.unwrap();
    assert_eq!((out.ttl, out.authoritative, out.servers), (60, true, vec![both.server()]));
}

/// An answer with this code and nothing in it.
async fn code(code: ResponseCode) -> Stub {
    Stub::start(move |message| Some(says(message, code, &[]))).await
}

#[tokio::test]
async fn reasons_for_no_records_are_told_apart() {
    let server = |stub: &Stub| json!(stub.server());
    let (none, failing) = (code(ResponseCode::NXDomain).await, code(ResponseCode::ServFail).await);
    let (refusing, empty) = (code(ResponseCode::Refused).await, code(ResponseCode::NoError).await);
    check(&server(&none), json!({}), Err("NXDOMAIN: there is no name app.example.org.")).await;
    check(&server(&none), json!({ "values": [] }), Ok(&[])).await;
    check(&server(&failing), json!({}), Err("SERVFAIL: it cannot answer")).await;
    check(&server(&failing), json!({ "values": [] }), Err("SERVFAIL")).await;
    check(&server(&refusing), json!({}), Err("REFUSED: it does not answer")).await;
    check(&server(&empty), json!({}), Err("NODATA: the name app.example.org. has no record of type A")).await;
    check(&server(&empty), json!({ "values": [] }), Ok(&[])).await;
    let alias = Stub::start(|m| Some(says(m, ResponseCode::NoError, &[("app.example.org.", Type::Cname, "web.example.net.")]))).await;
    check(&server(&alias), json!({}), Err("has no record of type A (it is an alias of web.example.net.)")).await;
    let silent = Stub::start(|_| None).await;
    check(&server(&silent), json!({ "timeout": "30ms" }), Err("no answer within 30ms")).await;
    check(&server(&silent), json!({ "timeout": "30ms", "values": [] }), Err("no answer within 30ms")).await;
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    check(&json!(format!("127.0.0.1:{port}")), json!({}), Err("it cannot be reached")).await;
}

#[tokio::test]
async fn answers_to_other_questions_and_nonsense_do_not_count() {
    let forged = |message: &Message| {
        let mut other = message.clone();
        other.metadata.id = message.metadata.id.wrapping_add(1);
        Some(says(&other, ResponseCode::NoError, &TWO))
    };
    let (forging, talking) = (Stub::start(forged).await, Stub::start(|_| Some(b"hello".to_vec())).await);
    let (forger, talker) = (json!(forging.server()), json!(talking.server()));
    tokio::join!(
        check(&forger, json!({ "timeout": "3s" }), Err("it answers what cannot be read: an answer to another question")),
        check(&talker, json!({ "timeout": "3s" }), Err("it answers what cannot be read")),
    );
}

#[tokio::test]
async fn a_row_of_good_rounds_after_bad_ones() {
    let asked = AtomicU32::new(0);
    let stub = Stub::start(move |message| match asked.fetch_add(1, Ordering::SeqCst) {
        0 | 2 => Some(says(message, ResponseCode::NXDomain, &[])),
        _ => Some(says(message, ResponseCode::NoError, &TWO)),
    })
    .await;
    check(&json!(stub.server()), json!({ "ok_in_row": 2, "first_ok_within": "1m" }), Ok(&["192.0.2.1", "192.0.2.2"])).await;
    assert_eq!(stub.asked().len(), 5);
}

#[tokio::test]
async fn a_question_that_was_lost_is_asked_again() {
    let asked = AtomicU32::new(0);
    let stub = Stub::start(move |m| (asked.fetch_add(1, Ordering::SeqCst) > 0).then(|| says(m, ResponseCode::NoError, &TWO))).await;
    check(&json!(stub.server()), json!({ "timeout": "30s" }), Ok(&["192.0.2.1", "192.0.2.2"])).await;
    assert_eq!(stub.asked().len(), 2);
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let server = json!("127.0.0.1");
    for (extra, expected) in [
        (json!({ "name": "app" }), "name: `app` is no whole name: write `app.example.org`"),
        (json!({ "values": "x" }), "values: `x` is no IPv4 address"),
        (json!({ "type": "CNAME", "contains": "web" }), "contains: `web` has no whole name"),
        (json!({ "values": "192.0.2.1", "contains": "192.0.2.1" }), "values and contains: give one of them"),
        (json!({ "server": [] }), "server: the list is empty"),
        (json!({ "server": "ns:x" }), "server: `ns:x` is no name server"),
        (json!({ "resolver": "127.0.0.1" }), "server and resolver: give one of them"),
        (json!({ "timeout": "0s" }), "can never be met"),
    ] {
        check(&server, extra, Err(expected)).await;
    }
}
