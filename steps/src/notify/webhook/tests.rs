use super::Webhook;
use crate::bench::{Bench, Server};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use trees_runner::kind::Kind as _;

const TAKEN: &str = "HTTP/1.1 204 No Content\r\n\r\n";

fn with(server: &Server, extra: Value) -> Value {
    let mut with = json!({ "url": server.url("/hook?token=s3"), "body": { "a": [1, "ü"] } });
    with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    with
}

/// Answers the n-th request with the n-th answer, later ones with the last.
async fn answering(answers: &'static [&'static str]) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |_| answers[count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1)].to_owned()).await
}

fn header(request: &str, name: &str) -> Option<String> {
    let head = request.split("\r\n\r\n").next().unwrap();
    head.lines().find_map(|line| line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_owned()))
}

fn body(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[tokio::test]
async fn a_receiver_can_verify_it() {
    let bench = Bench::new();
    let server = answering(&[TAKEN]).await;
    let secret = format!("whsec_{}", STANDARD.encode(b"a key of some bytes"));
    let extra = json!({ "secret": secret, "hub_secret": "plain", "headers": { "X-Two": "2" } });
    let (out, acted) = bench.run::<Webhook>(with(&server, extra)).await.unwrap();
    assert_eq!((acted, out.id.as_str(), out.status, out.tries), (true, "msg_key-1", 204, 1));
    let requests = server.requests();
    let request = &requests[0];
    assert!(requests.len() == 1 && request.starts_with("POST /hook?token=s3 HTTP/1.1"), "{request}");
    assert_eq!(serde_json::from_str::<Value>(body(request)).unwrap(), json!({ "a": [1, "ü"] }));
    let get = |name: &str| header(request, name).unwrap();
    assert_eq!((get("webhook-id"), get("content-type"), get("x-two")), (out.id.clone(), "application/json".into(), "2".into()));
    let stamp = get("webhook-timestamp");
    let age = jiff::Timestamp::now().as_second() - stamp.parse::<i64>().unwrap();
    assert!((0..600).contains(&age));
    let signed = format!("{}.{stamp}.{}", out.id, body(request));
    assert_eq!(get("webhook-signature"), format!("v1,{}", STANDARD.encode(mac(b"a key of some bytes", &signed))));
    let hex: String = mac(b"plain", body(request)).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(get("x-hub-signature-256"), format!("sha256={hex}"));
}

#[tokio::test]
async fn text_goes_as_it_is_and_without_a_secret_unsigned() {
    let bench = Bench::new();
    let server = answering(&[TAKEN]).await;
    bench.run::<Webhook>(json!({ "url": server.url("/"), "text": "hello\nyou" })).await.unwrap();
    let requests = server.requests();
    assert_eq!((body(&requests[0]), header(&requests[0], "content-type").unwrap().as_str()), ("hello\nyou", "text/plain; charset=utf-8"));
    assert_eq!((header(&requests[0], "webhook-signature"), header(&requests[0], "x-hub-signature-256")), (None, None));
}

#[tokio::test]
async fn what_may_pass_is_sent_again_with_the_same_id() {
    let bench = Bench::new();
    let server = answering(&["HTTP/1.1 503 No\r\n\r\nlater", "HTTP/1.1 429 No\r\nRetry-After: 1\r\n\r\n", "nonsense\r\n\r\n", TAKEN]).await;
    let begun = Instant::now();
    let (out, _) = bench.run::<Webhook>(with(&server, json!({ "secret": "x" }))).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1), "Retry-After is honoured");
    let requests = server.requests();
    let ids: Vec<String> = requests.iter().map(|request| header(request, "webhook-id").unwrap()).collect();
    assert_eq!((out.tries, ids), (4, vec!["msg_key-1".to_owned(); 4]));
    assert_eq!(bench.intents().len(), 1);
}

#[tokio::test]
async fn what_never_passes_is_given_up() {
    let bench = Bench::new();
    for (answer, limit, expected) in [
        ("HTTP/1.1 500 No\r\n\r\nbroken", "400ms", "not taken within 400ms, after 2 tries; the last: answered 500: broken"),
        (
            "HTTP/1.1 429 No\r\nRetry-After: 3600\r\n\r\n",
            "5s",
            "not taken within 5s, after 1 try; the last: answered 429:  (it asks for a pause of 1h)",
        ),
    ] {
        let server = Server::start(move |_| answer.into()).await;
        let wrong = bench.run::<Webhook>(with(&server, json!({ "give_up_after": limit }))).await.unwrap_err();
        assert_eq!(wrong.message, format!("POST {}?…: {expected}", server.url("/hook")));
        assert!(wrong.transient && wrong.help.unwrap().contains("same id"));
    }
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let with =
        json!({ "url": format!("http://{}/", silent.local_addr().unwrap()), "text": "x", "timeout": "50ms", "give_up_after": "200ms" });
    let wrong = bench.run::<Webhook>(with.clone()).await.unwrap_err();
    assert!(wrong.transient && wrong.message.contains("timed out"), "{wrong}");
    let down = json!({ "url": "http://127.0.0.1:1/", "text": "x", "give_up_after": "200ms" });
    let wrong = bench.run::<Webhook>(down).await.unwrap_err();
    assert!(wrong.transient && wrong.message.contains("refused"), "{wrong}");
    bench.cancel();
    let wrong = bench.run::<Webhook>(with).await.unwrap_err();
    assert!(wrong.transient && wrong.message.contains("ended while waiting"), "{wrong}");
}

#[tokio::test]
async fn a_refusal_is_final_and_a_redirect_not_followed() {
    let bench = Bench::knowing("canary-0123456789");
    for (answer, expected) in [
        ("HTTP/1.1 410 Gone\r\n\r\nno more", "answered 410: no more"),
        ("HTTP/1.1 401 No\r\n\r\nwho is canary-0123456789?", "answered 401: who is ***?"),
        ("HTTP/1.1 307 No\r\nLocation: http://127.0.0.1:1/x?y\r\n\r\n", "answered 307, which leads elsewhere to `http://127.0.0.1:1/x?…`"),
    ] {
        let server = Server::start(move |_| answer.into()).await;
        let wrong = bench.run::<Webhook>(with(&server, json!({}))).await.unwrap_err();
        assert!(!wrong.transient && wrong.message.contains(expected), "{expected}: {wrong}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn nothing_is_sent_before_the_intent() {
    let bench = Bench::new();
    let server = answering(&[TAKEN]).await;
    bench.fill();
    assert_eq!(bench.run::<Webhook>(with(&server, json!({}))).await.unwrap_err().message, "the journal is full");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_crash_sends_it_again_with_the_same_id() {
    let bench = Bench::new();
    let server = answering(&[TAKEN]).await;
    let given = serde_json::from_value(with(&server, json!({}))).unwrap();
    let cx = bench.cx();
    // Ended after it was sent and before that was recorded.
    let mut sending = Box::pin(Webhook::apply(&given, &cx));
    while server.requests().is_empty() {
        let _ = tokio::time::timeout(Duration::from_millis(1), &mut sending).await;
    }
    drop(sending);
    let (out, acted) = bench.run::<Webhook>(with(&server, json!({}))).await.unwrap();
    let ids: Vec<Option<String>> = server.requests().iter().map(|request| header(request, "webhook-id")).collect();
    assert_eq!((acted, ids), (true, vec![Some(out.id.clone()), Some(out.id)]));
    assert_eq!(bench.intents()[0], bench.intents()[1]);
}

#[tokio::test]
async fn a_rollback_retracts_it_once() {
    let bench = Bench::new();
    let server = answering(&[TAKEN, "HTTP/1.1 503 No\r\n\r\n", TAKEN]).await;
    let extra =
        json!({ "secret": "a-signing-secret", "headers": { "Authorization": "Bearer hidden-token" }, "retract": { "undone": true } });
    bench.run::<Webhook>(with(&server, extra)).await.unwrap();
    let records = json!(bench.intents()).to_string();
    assert!(!records.contains("hidden-token") && !records.contains("a-signing-secret") && !records.contains("undone"), "{records}");
    bench.undo::<Webhook>().await.unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 3, "the message, and its retraction twice as the first was turned away");
    assert_eq!((body(&requests[2]), header(&requests[2], "webhook-id").unwrap().as_str()), (r#"{"undone":true}"#, "msg_key-1_retract"));
    let signed = format!("msg_key-1_retract.{}.{}", header(&requests[2], "webhook-timestamp").unwrap(), body(&requests[2]));
    assert_eq!(header(&requests[2], "webhook-signature").unwrap(), format!("v1,{}", STANDARD.encode(mac(b"a-signing-secret", &signed))));
    assert_eq!(header(&requests[2], "authorization").unwrap(), "Bearer hidden-token");
}

#[tokio::test]
async fn without_a_retraction_a_rollback_sends_nothing() {
    let bench = Bench::new();
    let server = answering(&[TAKEN]).await;
    bench.run::<Webhook>(with(&server, json!({}))).await.unwrap();
    bench.undo::<Webhook>().await.unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_without_showing_a_secret() {
    let bench = Bench::new();
    for (with, expected) in [
        (json!({ "url": "ftp://x/", "text": "" }), "must begin with http"),
        (json!({ "url": "http://a/" }), "body: there is no message"),
        (json!({ "url": "http://a/", "text": "", "body": 1 }), "body and text: give one of them"),
        (json!({ "url": "http://a/", "text": "", "secret": "whsec_hidden!" }), "secret: what stands behind `whsec_` is no base64"),
        (json!({ "url": "http://a/", "text": "", "secret": "" }), "secret: it is empty"),
        (json!({ "url": "http://a/", "text": "", "hub_secret": "" }), "hub_secret: it is empty"),
        (json!({ "url": "http://a/", "text": "", "headers": { "Webhook-Id": "x" } }), "headers: `Webhook-Id` is made by the step itself"),
        (json!({ "url": "http://a/", "text": "", "headers": { "a": "1\r\nb: 2" } }), "headers: the value of `a`"),
        (json!({ "url": "http://a/", "text": "", "give_up_after": "0s" }), "can never be met"),
    ] {
        let wrong = bench.run::<Webhook>(with).await.unwrap_err().message;
        assert!(wrong.contains(expected) && !wrong.contains("hidden"), "{expected}: {wrong}");
    }
}
