//! `http/request`: one request, its answer as outputs.

use super::{Statuses, allowed, body, causes, check_headers, url, wanted, with_headers};
use crate::period::{Limit, Period};
use reqwest::{Method, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trees_core::event::{Json, Object};
use trees_core::tree::Effect;
use trees_runner::kind::{About, Cx, Kind, KindError};

/// The kind `http/request`.
pub struct Request;

/// What `http/request` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS.
    #[serde(default = "get")]
    pub method: String,
    /// Where.
    pub url: String,
    /// Headers to send.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    #[serde(default)]
    pub body: Option<String>,
    /// The body as JSON; sets `Content-Type`.
    #[serde(default)]
    pub json: Option<Json>,
    /// The status codes that are success, one or a list; without, 200 to 299.
    #[serde(default)]
    pub status: Option<Statuses>,
    /// For the whole answer.
    #[serde(default = "crate::default::half_a_minute", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub timeout: Period,
}

fn get() -> String {
    "GET".into()
}

/// What `http/request` returns.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The status code.
    pub status: u16,
    /// The body as text, at most 256 KiB.
    pub body: String,
    /// The body where it is a JSON object, else `{}`.
    pub json: Object,
    /// The body where it is a JSON list, else `[]`.
    pub list: Vec<Json>,
    /// The body was longer and is cut.
    pub cut: bool,
    /// The headers, names in lower case; of one that came twice the values joined by a comma.
    pub headers: BTreeMap<String, String>,
}

const LIMIT: usize = 256 << 10;
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

impl Kind for Request {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "http/request",
        summary: "Send an HTTP request",
        doc: "Sends one request and gives the answer as outputs. Any method but GET and HEAD carries the header \
              `Idempotency-Key`, the same over attempts, crashes and resumes, unless `headers` has one.\n\n\
              A status that `status` does not name fails the step; the error has the start of the body. Connection errors, timeouts, \
              408, 425, 429 and 5xx may pass on retry (`retry`). The step counts as external; write `effect: none` where it only reads.",
        example: "tree: announce\nsteps:\n  post:\n    uses: http/request\n    with:\n      method: POST\n      url: http://127.0.0.1:8080/messages\n      \
                  json: { text: hello }\n      status: [200, 201]\n    retry: { attempts: 3, delay: 1s }\n",
        effect: Effect::External,
        observes: false,
        undoes: false,
        reads_only: false,
        repeats: false,
        deploys: false,
        file_inputs: &[],
        revision: 1,
    };

    fn validate(with: &With) -> Vec<String> {
        let mut wrong: Vec<String> = url(&with.url).err().into_iter().collect();
        if !METHODS.contains(&with.method.to_uppercase().as_str()) {
            wrong.push(format!("method: `{}` is none of {}", with.method, METHODS.join(", ")));
        }
        if with.body.is_some() && with.json.is_some() {
            wrong.push("body and json: give one of them".into());
        }
        wrong.extend(check_headers(&with.headers));
        wrong
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let asked = format!("{} {}", with.method.to_uppercase(), shown(&with.url));
        let response = tokio::select! {
            () = cx.cancel.cancelled() => return Err(KindError::transient(format!("{asked}: ended while waiting for the answer"))),
            answer = send(with, cx) => answer.map_err(|e| KindError { message: format!("{asked}: {}", e.message), ..e })?,
        };
        cx.log(format!("{asked}: {}", response.status));
        if allowed(with.status.as_ref(), response.status) {
            return Ok(response);
        }
        let message = format!(
            "{asked}: answered {}, wanted {}; the body begins: {}",
            response.status,
            wanted(with.status.as_ref()),
            cx.head(&response.body, 400)
        );
        Err(KindError { transient: matches!(response.status, 408 | 425 | 429 | 500..=599), ..KindError::new(message) })
    }
}

async fn send(with: &With, cx: &Cx) -> Result<Out, KindError> {
    let method = Method::from_bytes(with.method.to_uppercase().as_bytes()).map_err(|e| KindError::new(e.to_string()))?;
    let reads = method == Method::GET || method == Method::HEAD;
    let mut request = cx.client.get()?.request(method, url(&with.url).map_err(KindError::new)?).timeout(with.timeout.0);
    if !reads && !with.headers.keys().any(|name| name.eq_ignore_ascii_case("idempotency-key")) {
        request = request.header("Idempotency-Key", &cx.idempotency_key);
    }
    if let Some(json) = &with.json {
        request = request.json(json);
    }
    if let Some(body) = &with.body {
        request = request.body(body.clone());
    }
    let response = with_headers(request, &with.headers).send().await.map_err(|e| {
        let message = causes(&e);
        if e.is_builder() { KindError::new(message) } else { KindError::transient(message) }
    })?;
    outputs(response).await
}

async fn outputs(response: Response) -> Result<Out, KindError> {
    let status = response.status().as_u16();
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.entry(name.to_string()).and_modify(|all| *all = format!("{all}, {value}")).or_insert(value);
    }
    let body = body(response, LIMIT).await?;
    let (json, list) = match serde_json::from_str(&body.text) {
        Ok(Json::Object(object)) if !body.cut => (object, Vec::new()),
        Ok(Json::Array(list)) if !body.cut => (Object::new(), list),
        Ok(_) | Err(_) => (Object::new(), Vec::new()),
    };
    Ok(Out { status, body: body.text, json, list, cut: body.cut, headers })
}

/// Without a password and a query, which may be secret.
pub fn shown(text: &str) -> String {
    let Ok(mut url) = url(text) else { return text.into() };
    let _ = url.set_password(None);
    if url.query().is_some() {
        url.set_query(Some("…"));
    }
    url.to_string().replace("?%E2%80%A6", "?…")
}

#[cfg(test)]
mod tests {
    use super::{Request, shown};
    use crate::bench::{Bench, Server};
    use serde_json::json;

    #[tokio::test]
    async fn the_answer_becomes_outputs_and_the_key_is_sent() {
        let bench = Bench::new();
        let server = Server::start(|request| {
            let key = request.lines().find(|l| l.to_lowercase().starts_with("idempotency-key")).unwrap_or("none").to_owned();
            let body = request.split("\r\n\r\n").nth(1).unwrap_or_default();
            format!("HTTP/1.1 201 Created\r\nX-Two: a\r\nX-Two: b\r\n\r\n{}", json!({ "key": key.to_lowercase(), "got": body }))
        })
        .await;
        let with = json!({ "method": "post", "url": server.url("/m"), "json": { "a": 1 }, "status": [200, 201] });
        let (out, _) = bench.run::<Request>(with).await.unwrap();
        assert_eq!((out.status, out.headers["x-two"].as_str()), (201, "a, b"));
        assert_eq!(json!(out.json), json!({ "key": "idempotency-key: key-1", "got": "{\"a\":1}" }));
        let (out, _) = bench.run::<Request>(json!({ "url": server.url("/m") })).await.unwrap();
        assert_eq!(out.json["key"], "none");
    }

    #[tokio::test]
    async fn a_wrong_status_says_what_was_asked_and_answered() {
        let bench = Bench::new();
        for (status, transient) in [(404, false), (409, false), (429, true), (503, true)] {
            let server = Server::start(move |_| format!("HTTP/1.1 {status} No\r\n\r\nbecause\nof this")).await;
            let wrong = bench.run::<Request>(json!({ "url": server.url("/x?token=s3") })).await.unwrap_err();
            let expected = format!("GET {}?…: answered {status}, wanted 200 to 299; the body begins: because of this", server.url("/x"));
            assert_eq!((wrong.message, wrong.transient), (expected, transient));
        }
    }

    #[tokio::test]
    async fn a_secret_is_taken_out_of_a_message_before_it_is_cut() {
        let secret = "canary-0123456789abcdef";
        let bench = Bench::knowing(secret);
        let body = format!("{}{secret} and more", "x".repeat(390));
        let server = Server::start(move |_| format!("HTTP/1.1 404 No\r\n\r\n{body}")).await;
        let wrong = bench.run::<Request>(json!({ "url": server.url("/") })).await.unwrap_err();
        assert!(!wrong.message.contains("canary") && wrong.message.contains("xxx***"), "{}", wrong.message);
    }

    #[tokio::test]
    async fn a_large_body_is_cut_and_a_silent_server_given_up() {
        let bench = Bench::new();
        let server = Server::start(|_| format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(300_000))).await;
        let (out, _) = bench.run::<Request>(json!({ "url": server.url("/") })).await.unwrap();
        assert_eq!((out.body.len(), out.cut), (256 << 10, true));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = format!("http://{}/", listener.local_addr().unwrap());
        let wrong = bench.run::<Request>(json!({ "url": silent, "timeout": "50ms" })).await.unwrap_err();
        assert!(wrong.transient && wrong.message.contains("timed out"), "{}", wrong.message);
        drop(listener);
        let wrong = bench.run::<Request>(json!({ "url": silent })).await.unwrap_err();
        assert!(wrong.transient && wrong.message.contains("refused"), "{}", wrong.message);
        let server = Server::start(|_| "nonsense\r\n\r\n".into()).await;
        assert!(bench.run::<Request>(json!({ "url": server.url("/") })).await.unwrap_err().transient);
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_refused() {
        let bench = Bench::new();
        for (with, expected) in [
            (json!({ "url": "ftp://x/" }), "must begin with http"),
            (json!({ "url": "127.0.0.1/x" }), "is no URL"),
            (json!({ "url": "http://a/", "method": "FETCH" }), "method: `FETCH` is none of"),
            (json!({ "url": "http://a/", "body": "", "json": {} }), "give one of them"),
            (json!({ "url": "http://a/", "headers": { "a b": "x", "c": "1\n2" } }), "`a b` is no header's name; headers: the value of `c`"),
        ] {
            let wrong = bench.run::<Request>(with).await.unwrap_err().message;
            assert!(wrong.contains(expected), "{expected}: {wrong}");
        }
        assert_eq!(shown("http://me:pw@h/a?b=c"), "http://me@h/a?…");
    }
}
