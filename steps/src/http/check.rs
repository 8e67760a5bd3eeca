//! `http/check`: does it answer as it should?

use super::{Statuses, allowed, body, causes, check_headers, url, wanted, with_headers};
use crate::period::{Limit, Period};
use crate::tls::roots;
use crate::window::{Probe, Window};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use trees_core::event::Json;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Cx, Kind, KindError, ReadCx, Reader};

/// The kind `http/check`.
pub struct Check;

/// What `http/check` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// What is asked, with GET.
    pub url: String,
    /// Connect to this host or address instead, where DNS does not point there yet; the URL's name and port stay.
    #[serde(default)]
    pub address: Option<String>,
    /// A PEM file with the roots to trust; without, those of `SSL_CERT_FILE` or of the system.
    #[serde(default)]
    pub roots: Option<String>,
    /// Headers to send.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The status codes that are good, one or a list; without, 200 to 299.
    #[serde(default)]
    pub status: Option<Statuses>,
    /// The body must contain this.
    #[serde(default)]
    pub contains: Option<String>,
    /// Headers of the answer and what each must contain.
    #[serde(default)]
    pub header: BTreeMap<String, String>,
    /// JSON pointers into the body (`/items/0/name`) and what each must be.
    #[serde(default)]
    pub json: BTreeMap<String, Json>,
    /// So many good answers in a row.
    #[serde(default = "crate::default::one")]
    pub ok_in_row: u32,
    /// The pause between two probes.
    #[serde(default = "crate::default::half_a_second")]
    pub every: Period,
    /// By when the first good answer of the row must have come.
    #[serde(default = "crate::default::half_a_minute")]
    pub first_ok_within: Period,
    /// How long the row must last.
    #[serde(default = "crate::default::at_once")]
    pub stable_for: Period,
    /// For one answer.
    #[serde(default = "crate::default::five_seconds", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub timeout: Period,
}

/// What `http/check` returns.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The status code of the last answer.
    pub status: u16,
    /// Its body as text, at most 64 KiB.
    pub body: String,
}

const LIMIT: usize = 64 << 10;
/// `contains` and `json` look at so much of a body.
const SEARCHED: usize = 4 << 20;

impl Kind for Check {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "http/check",
        summary: "Ask a URL until it answers as it should",
        doc: "Sends GET to `url` every `every` until `ok_in_row` answers in a row were good and the row lasted `stable_for`. A good \
              answer has the `status`, `contains` the text, has each `header` and each `json` value. The row must begin within \
              `first_ok_within`; a bad answer begins a new row. A failure shows the last probes: time, status, start of the body.\n\n\
              With `address` the connection goes there, not through a proxy, and the name stays, in the request and for the \
              certificate: so a new server is asked before DNS points to it.",
        example: "tree: is-it-up\nsteps:\n  up:\n    uses: http/check\n    with:\n      url: http://127.0.0.1:8080/version\n      \
                  contains: v1.2.0\n      json: { /status: ok }\n      ok_in_row: 3\n      first_ok_within: 1m\n",
        effect: Effect::None,
        observes: false,
        undoes: false,
        reads_only: true,
        repeats: false,
        deploys: false,
        file_inputs: &[],
        revision: 1,
    };

    fn validate(with: &With) -> Vec<String> {
        let mut wrong: Vec<String> = url(&with.url).err().into_iter().collect();
        wrong.extend(check_headers(&with.headers));
        if with.address.is_some() && url(&with.url).is_ok_and(|url| url.domain().is_none()) {
            wrong.push("address: the URL has an address already; it needs a name".into());
        }
        let pointer = |p: &&String| !p.is_empty() && !p.starts_with('/');
        wrong.extend(with.json.keys().filter(pointer).map(|p| format!("json: `{p}` is no JSON pointer: write `/{p}`")));
        wrong
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let window = Window {
            ok_in_row: with.ok_in_row.max(1),
            every: with.every.0,
            first_ok_within: with.first_ok_within.0,
            stable_for: with.stable_for.0,
        };
        let http = reader(with, cx).await?;
        let (out, probes) = window.pass(cx, &format!("GET {}", with.url), || ask(with, &http, cx)).await?;
        cx.log(format!("GET {}: {} after {probes} probes", with.url, out.status));
        Ok(out)
    }
}

/// Who asks: one of its own where the address or the roots are.
async fn reader(with: &With, cx: &ReadCx) -> Result<Reader, KindError> {
    if with.address.is_none() && with.roots.is_none() {
        return Ok(cx.http.clone());
    }
    let pem = with.roots.as_ref().map(|file| roots::bytes(&cx.path(file))).transpose()?;
    let url = url(&with.url).map_err(KindError::new)?;
    let addresses = match &with.address {
        Some(address) => {
            let found = tokio::net::lookup_host((address.as_str(), 0)).await;
            found.map_err(|e| KindError::transient(format!("address: `{address}`: {e}")))?.collect()
        }
        None => Vec::new(),
    };
    let to = url.host_str().filter(|_| with.address.is_some()).map(|host| (host, addresses.as_slice()));
    Reader::apart(to, pem.as_deref())
}

async fn ask(with: &With, http: &Reader, cx: &ReadCx) -> Probe<Out> {
    let url = match url(&with.url) {
        Ok(url) => url,
        Err(wrong) => return Probe::hopeless(wrong),
    };
    let request = match http.get(url) {
        Ok(request) => request,
        Err(e) => return Probe::hopeless(e.message),
    };
    let answer = match with_headers(request, &with.headers).timeout(with.timeout.0).send().await {
        Ok(answer) => answer,
        Err(e) => return Probe::bad(causes(&e)),
    };
    let status = answer.status().as_u16();
    let headers = answer.headers().clone();
    let text = match body(answer, SEARCHED).await {
        Ok(body) => body.text,
        Err(e) => return Probe::bad(format!("{status}, then {}", e.message)),
    };
    let seen = format!("{status}: {}", cx.head(&text, 200));
    let wrong = status_wrong(with, status).or_else(|| body_wrong(cx, with, &text)).or_else(|| header_wrong(with, &headers));
    match wrong {
        Some(wrong) => Probe::bad(format!("{wrong}; {seen}")),
        None => Probe::good(Out { status, body: cut(text) }, seen),
    }
}

fn cut(mut text: String) -> String {
    text.truncate((0..=LIMIT.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
    text
}

fn status_wrong(with: &With, status: u16) -> Option<String> {
    (!allowed(with.status.as_ref(), status)).then(|| format!("wanted {}", wanted(with.status.as_ref())))
}

fn body_wrong(cx: &ReadCx, with: &With, text: &str) -> Option<String> {
    if let Some(part) = with.contains.as_ref().filter(|part| !text.contains(*part)) {
        return Some(format!("wanted a body with `{}`", cx.head(part, 100)));
    }
    if with.json.is_empty() {
        return None;
    }
    let Ok(json) = serde_json::from_str::<Json>(text) else { return Some("wanted JSON".into()) };
    with.json.iter().find_map(|(pointer, wanted)| {
        let found = json.pointer(pointer);
        let shown = || found.map_or_else(|| "nothing".into(), |found| cx.head(&found.to_string(), 100));
        (found != Some(wanted)).then(|| format!("wanted {wanted} at {pointer}, found {}", shown()))
    })
}

fn header_wrong(with: &With, headers: &reqwest::header::HeaderMap) -> Option<String> {
    with.header.iter().find_map(|(name, wanted)| {
        let found: Vec<String> = headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect();
        let shown = if found.is_empty() { "none".into() } else { format!("`{}`", found.join(", ")) };
        (!found.iter().any(|value| value.contains(wanted))).then(|| format!("wanted the header {name} with `{wanted}`, found {shown}"))
    })
}

/// One probe of a health path, as a deploy asks it: any 2xx is good.
pub async fn healthy(cx: &ReadCx, address: &str, limit: Duration) -> Probe<()> {
    let url = match url(address) {
        Ok(url) => url,
        Err(wrong) => return Probe::hopeless(wrong),
    };
    let request = match cx.http.get(url) {
        Ok(request) => request,
        Err(e) => return Probe::hopeless(e.message),
    };
    match request.timeout(limit).send().await {
        Ok(answer) => {
            let status = answer.status();
            let text = body(answer, 4096).await.map_or_else(|e| e.message, |body| body.text);
            let seen = format!("{}: {}", status.as_u16(), cx.head(&text, 200));
            if status.is_success() { Probe::good((), seen) } else { Probe::bad(seen) }
        }
        Err(e) => Probe::bad(causes(&e)),
    }
}

#[cfg(test)]
mod tests {
    use super::Check;
    use crate::bench::{Bench, Server};
    use serde_json::{Value, json};
    use std::sync::atomic::{AtomicU32, Ordering};

    const ANSWER: &str = "HTTP/1.1 200 OK\r\nX-Version: v1.2\r\n\r\n{\"status\":\"ok\",\"n\":[1,2]}";

    async fn check(extra: Value, expected: Result<u16, &str>) {
        let bench = Bench::new();
        let server = Server::start(|_| ANSWER.into()).await;
        let mut with = json!({ "url": server.url("/v"), "every": "1ms", "first_ok_within": "5ms" });
        with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        match (bench.run::<Check>(with).await, expected) {
            (Ok((out, _)), Ok(status)) => assert_eq!(out.status, status),
            (Err(wrong), Err(part)) => assert!(wrong.message.contains(part), "{part}: {}", wrong.message),
            (got, expected) => panic!("{extra}: {expected:?}, got {got:?}"),
        }
        assert!(server.requests().iter().all(|request| request.starts_with("GET /v ")), "only reads");
    }

    #[tokio::test]
    async fn an_answer_is_good_or_what_is_wrong_is_said() {
        check(json!({}), Ok(200)).await;
        check(json!({ "status": [200, 204], "contains": "ok", "header": { "x-version": "1.2" }, "json": { "/n/1": 2 } }), Ok(200)).await;
        check(json!({ "status": 204 }), Err("wanted 204; 200: {\"status\"")).await;
        check(json!({ "contains": "v9" }), Err("wanted a body with `v9`; 200")).await;
        check(json!({ "header": { "x-version": "9" } }), Err("wanted the header x-version with `9`, found `v1.2`")).await;
        check(json!({ "json": { "/status": "bad" } }), Err("wanted \"bad\" at /status, found \"ok\"")).await;
        check(json!({ "json": { "/nope": 1 } }), Err("wanted 1 at /nope, found nothing")).await;
        check(json!({ "json": { "status": 1 } }), Err("json: `status` is no JSON pointer: write `/status`")).await;
    }

    #[tokio::test]
    async fn a_name_that_no_dns_knows_is_asked_at_an_address() {
        let bench = Bench::new();
        let server = Server::start(|_| ANSWER.into()).await;
        let url = server.url("/v").replace("127.0.0.1", "shop.test");
        let with = |address: &str| json!({ "url": url, "address": address, "every": "1ms", "first_ok_within": "2ms" });
        assert_eq!(bench.run::<Check>(with("127.0.0.1")).await.unwrap().0.status, 200);
        let host = server.requests()[0].lines().find(|line| line.to_lowercase().starts_with("host:")).unwrap().to_owned();
        assert!(host.contains("shop.test:"), "{host}");
        let wrong = bench.run::<Check>(with("nowhere.invalid")).await.unwrap_err();
        assert!(wrong.transient && wrong.message.starts_with("address: `nowhere.invalid`: "), "{}", wrong.message);
        check(json!({ "address": "127.0.0.1" }), Err("address: the URL has an address already")).await;
    }

    #[tokio::test]
    async fn a_secret_is_taken_out_of_a_message_before_it_is_cut() {
        let secret = "canary-0123456789abcdef";
        let bench = Bench::knowing(secret);
        let body = format!("{}{secret} and more", "x".repeat(190));
        let server = Server::start(move |_| format!("HTTP/1.1 404 No\r\n\r\n{body}")).await;
        let with = json!({ "url": server.url("/"), "every": "1ms", "first_ok_within": "2ms" });
        let wrong = bench.run::<Check>(with).await.unwrap_err();
        assert!(!wrong.message.contains("canary") && wrong.message.contains("xxx***"), "{}", wrong.message);
    }

    #[tokio::test]
    async fn a_row_of_good_answers_after_bad_ones() {
        let bench = Bench::new();
        let count = AtomicU32::new(0);
        let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 | 2 => "HTTP/1.1 503 No\r\n\r\nstarting".into(),
            _ => ANSWER.into(),
        })
        .await;
        let with = json!({ "url": server.url("/"), "every": "1ms", "ok_in_row": 2 });
        bench.run::<Check>(with).await.unwrap();
        assert_eq!(server.requests().len(), 5);
    }

    #[tokio::test]
    async fn a_server_that_is_down_is_named_with_the_last_probes() {
        let bench = Bench::new();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}/x");
        let wrong = bench.run::<Check>(json!({ "url": url, "every": "1ms", "first_ok_within": "4ms" })).await.unwrap_err();
        assert!(
            wrong.transient && wrong.message.starts_with(&format!("GET {url}: no good answer that held within 4ms")),
            "{}",
            wrong.message
        );
        assert!(wrong.message.contains("refused"), "{}", wrong.message);
    }
}
