//! The API of a container engine: HTTP over its socket, at a version that both sides know.
//!
//! [`Reader`] can only ask; [`Engine`] can do all and is made from a [`Cx`].

use super::place::{Place, place};
use crate::http::causes;
use reqwest::{Client, Method, Response, Url};
use std::time::Duration;
use trees_core::event::Json;
use trees_runner::kind::{Cx, KindError, ReadCx};

/// The newest version of the API that is asked for.
const NEWEST: (u32, u32) = (1, 44);
/// For an answer that needs no work.
const SOON: Duration = Duration::from_secs(60);
/// So much of an answer is read.
const LIMIT: usize = 32 << 20;

/// An engine that is only asked.
pub struct Reader {
    client: Client,
    base: Url,
    /// As people know it.
    place: String,
    cx: ReadCx,
}

/// An engine that works.
pub struct Engine(Reader);

/// One request.
pub struct Ask<'a> {
    method: Method,
    path: String,
    query: Vec<(&'a str, String)>,
    json: Option<Json>,
    headers: Vec<(&'static str, String)>,
    within: Duration,
}

impl<'a> Ask<'a> {
    /// A request for this path below the version.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), query: Vec::new(), json: None, headers: Vec::new(), within: SOON }
    }

    /// With one more parameter.
    pub fn with(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// With a body.
    pub fn json(mut self, json: Json) -> Self {
        self.json = Some(json);
        self
    }

    /// With a header.
    pub fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// With more time for the answer.
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    fn shown(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// A status and a body.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub json: Json,
}

impl Reader {
    /// Finds the engine and the version that it speaks.
    ///
    /// # Errors
    /// When there is none, or it does not answer as one.
    pub async fn connect(socket: Option<&str>, cx: &ReadCx) -> Result<Self, KindError> {
        let place = place(socket, cx)?;
        let builder = Client::builder().no_proxy().user_agent(concat!("trees/", env!("CARGO_PKG_VERSION")));
        let (builder, base) = match &place {
            Place::Socket(path) => (builder.unix_socket(path.clone()).tls_certs_only([]), "http://engine/".to_owned()),
            Place::Address(address) => (builder.connect_timeout(SOON), format!("http://{address}/")),
        };
        let client = builder.build().map_err(|e| KindError::new(format!("cannot make the client of the engine: {}", causes(&e))))?;
        let base = Url::parse(&base).map_err(|e| KindError::new(format!("socket: {e}")))?;
        let mut reader = Self { client, base, place: place.to_string(), cx: cx.clone() };
        let version = reader.get(Ask::new(Method::GET, "version")).await?.unwrap_or_default();
        let spoken = negotiated(&version["ApiVersion"], &version["MinAPIVersion"]).ok_or_else(|| {
            KindError::new(format!(
                "{} does not answer as a container engine: GET /version gave {}",
                reader.place,
                cx.head(&version.to_string(), 200)
            ))
        })?;
        reader.base = reader.base.join(&format!("v{spoken}/")).map_err(|e| KindError::new(e.to_string()))?;
        Ok(reader)
    }

    /// What is there; `None` where there is no such thing.
    ///
    /// # Errors
    /// When the engine cannot be reached or refuses.
    pub async fn get(&self, ask: Ask<'_>) -> Result<Option<Json>, KindError> {
        let shown = ask.shown();
        let answer = self.call(Ask { method: Method::GET, ..ask }).await?;
        match answer.status {
            404 => Ok(None),
            200..=299 => Ok(Some(answer.json)),
            _ => Err(self.refused(&shown, &answer)),
        }
    }

    /// The last lines that a container wrote.
    ///
    /// # Errors
    /// When the engine cannot be reached or refuses.
    pub async fn logs(&self, id: &str, lines: usize) -> Result<String, KindError> {
        let ask = Ask::new(Method::GET, format!("containers/{id}/logs"));
        let ask = ask.with("stdout", "1").with("stderr", "1").with("tail", lines.to_string());
        let response = self.send(&ask, None).await?;
        Ok(unframed(&self.bytes(response, &ask.shown()).await?))
    }

    async fn call(&self, ask: Ask<'_>) -> Result<Answer, KindError> {
        let response = self.send(&ask, None).await?;
        let status = response.status().as_u16();
        let bytes = self.bytes(response, &ask.shown()).await?;
        // Podman answers some requests with a line end.
        if bytes.trim_ascii().is_empty() {
            return Ok(Answer { status, json: Json::Null });
        }
        match serde_json::from_slice(&bytes) {
            Ok(json) => Ok(Answer { status, json }),
            // Pulls and builds answer with a line each.
            Err(_) if status >= 400 || status == 200 => Ok(Answer { status, json: String::from_utf8_lossy(&bytes).into_owned().into() }),
            Err(e) => Err(KindError::new(format!("{}: {} answered no JSON: {e}", self.place, ask.shown()))),
        }
    }

    async fn send(&self, ask: &Ask<'_>, body: Option<reqwest::Body>) -> Result<Response, KindError> {
        let mut url = self.base.join(&ask.path).map_err(|e| KindError::new(format!("{}: {e}", ask.shown())))?;
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(ask.query.iter().map(|(name, value)| (*name, value)));
        }
        let mut request = self.client.request(ask.method.clone(), url).timeout(ask.within);
        if let Some(json) = &ask.json {
            request = request.json(json);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        tokio::select! {
            () = self.cx.cancel.cancelled() => Err(KindError::transient(format!("{}: ended while waiting for the answer", ask.shown()))),
            answer = request.send() => answer.map_err(|e| self.unreachable(&ask.shown(), &e)),
        }
    }

    async fn bytes(&self, mut response: Response, shown: &str) -> Result<Vec<u8>, KindError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(&mut response, shown).await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LIMIT {
                return Err(KindError::new(format!("{}: the answer to {shown} is longer than 32 MiB", self.place)));
            }
        }
        Ok(bytes)
    }

    async fn chunk(&self, response: &mut Response, shown: &str) -> Result<Option<Vec<u8>>, KindError> {
        tokio::select! {
            () = self.cx.cancel.cancelled() => Err(KindError::transient(format!("{shown}: ended while reading the answer"))),
            chunk = response.chunk() => chunk.map(|chunk| chunk.map(|bytes| bytes.to_vec())).map_err(|e| self.unreachable(shown, &e)),
        }
    }

    fn unreachable(&self, shown: &str, error: &reqwest::Error) -> KindError {
        let why = causes(error);
        let wrong = KindError::transient(format!("{shown}: no answer from the container engine at {}: {why}", self.place));
        if why.contains("denied") {
            return KindError { transient: false, ..wrong }.help("may this user use it? For Docker, be root or of the group `docker`");
        }
        wrong.help("does Docker or Podman run? `socket` or DOCKER_HOST says where")
    }

    fn refused(&self, shown: &str, answer: &Answer) -> KindError {
        let words = answer.json["message"].as_str().or(answer.json.as_str()).map_or_else(|| answer.json.to_string(), str::to_owned);
        let message = format!("{shown}: the container engine at {} answered {}: {}", self.place, answer.status, self.cx.head(&words, 600));
        KindError { transient: matches!(answer.status, 429 | 502 | 503 | 504), ..KindError::new(message) }
    }
}

impl Engine {
    /// As [`Reader::connect`].
    ///
    /// # Errors
    /// When there is none, or it does not answer as one.
    pub async fn connect(socket: Option<&str>, cx: &Cx) -> Result<Self, KindError> {
        Reader::connect(socket, cx).await.map(Self)
    }

    /// What only asks.
    pub fn reader(&self) -> &Reader {
        &self.0
    }

    /// How it is found again by an undo.
    pub fn place(&self) -> &str {
        &self.0.place
    }

    /// Does it; a status that is not among `fine` is an error.
    ///
    /// # Errors
    /// When the engine cannot be reached or refuses.
    pub async fn act(&self, ask: Ask<'_>, fine: &[u16]) -> Result<Answer, KindError> {
        let shown = ask.shown();
        let answer = self.0.call(ask).await?;
        if (200..300).contains(&answer.status) || fine.contains(&answer.status) { Ok(answer) } else { Err(self.0.refused(&shown, &answer)) }
    }

    /// Does what tells of itself in lines of JSON, each given to `hear`.
    ///
    /// # Errors
    /// When the engine cannot be reached or refuses, or a line is an error: with its words.
    pub async fn listen(&self, ask: Ask<'_>, body: Option<reqwest::Body>, mut hear: impl FnMut(&Json)) -> Result<(), KindError> {
        let shown = ask.shown();
        let mut response = self.0.send(&ask, body).await?;
        let status = response.status().as_u16();
        if status >= 400 {
            let bytes = self.0.bytes(response, &shown).await?;
            let json = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
            return Err(self.0.refused(&shown, &Answer { status, json }));
        }
        let mut held = Vec::new();
        let mut wrong = None;
        while let Some(chunk) = self.0.chunk(&mut response, &shown).await? {
            held.extend_from_slice(&chunk);
            while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = held.drain(..=end).collect();
                self.line(&line, &shown, &mut hear, &mut wrong)?;
            }
        }
        self.line(&held, &shown, &mut hear, &mut wrong)?;
        wrong.map_or(Ok(()), |words: String| Err(KindError::new(format!("{shown}: {}", self.0.cx.head(&words, 1000)))))
    }

    fn line(&self, line: &[u8], shown: &str, hear: &mut impl FnMut(&Json), wrong: &mut Option<String>) -> Result<(), KindError> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let json: Json = serde_json::from_slice(line).map_err(|e| {
            let line = String::from_utf8_lossy(line);
            KindError::new(format!("{shown}: the container engine at {} wrote no JSON: {e}: {}", self.0.place, self.0.cx.head(&line, 200)))
        })?;
        if let Some(words) = json["errorDetail"]["message"].as_str().or(json["error"].as_str()) {
            *wrong = Some(words.to_owned());
        }
        hear(&json);
        Ok(())
    }
}

/// The version to speak: ours, or the nearest that the engine knows.
fn negotiated(newest: &Json, oldest: &Json) -> Option<String> {
    let read = |json: &Json| -> Option<(u32, u32)> {
        let (major, minor) = json.as_str()?.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let newest = read(newest)?;
    let spoken = NEWEST.min(newest).max(read(oldest).unwrap_or((1, 24)).min(newest));
    Some(format!("{}.{}", spoken.0, spoken.1))
}

/// What a container wrote, of which the engine sends each piece behind a head of eight bytes.
fn unframed(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    let mut rest = bytes;
    while let [0..=2, 0, 0, 0, a, b, c, d, after @ ..] = rest {
        let size = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX).min(after.len());
        let (piece, next) = after.split_at(size);
        text.extend_from_slice(piece);
        rest = next;
    }
    // One with a terminal writes without heads.
    text.extend_from_slice(rest);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Ask, Engine, negotiated, unframed};
    use crate::bench::{Bench, Server};
    use reqwest::Method;
    use serde_json::json;

    #[test]
    fn a_version_that_both_know() {
        for (newest, oldest, expected) in [
            (json!("1.41"), json!("1.12"), Some("1.41")),
            (json!("1.52"), json!("1.44"), Some("1.44")),
            (json!("1.60"), json!("1.50"), Some("1.50")),
            (json!("1.40"), json!(null), Some("1.40")),
            (json!(null), json!("1.12"), None),
            (json!("x"), json!("1.12"), None),
        ] {
            assert_eq!(negotiated(&newest, &oldest).as_deref(), expected);
        }
    }

    #[test]
    fn the_heads_of_a_log_are_taken_out() {
        assert_eq!(unframed(b"\x01\0\0\0\0\0\0\x02a\n\x02\0\0\0\0\0\0\x01b"), "a\nb");
        assert_eq!(unframed(b"plain"), "plain");
        assert_eq!(unframed(b"\x01\0\0\0\0\0\0\x09ab"), "ab");
        assert_eq!(unframed(b""), "");
    }

    #[tokio::test]
    async fn an_engine_that_is_down_refuses_or_talks_nonsense_is_told_so() {
        let bench = Bench::new();
        let missing = Engine::connect(Some("nowhere.sock"), &bench.cx()).await.map(|_| ()).unwrap_err();
        assert!(missing.transient && missing.message.contains("no answer from the container engine at unix://"), "{missing}");
        assert!(missing.help.unwrap().contains("DOCKER_HOST"));
        let server = Server::start(|_| "HTTP/1.1 200 OK\r\n\r\n<html>".into()).await;
        let address = server.url("").replace("http://", "tcp://");
        let nonsense = Engine::connect(Some(&address), &bench.cx()).await.map(|_| ()).unwrap_err();
        assert!(nonsense.message.contains("does not answer as a container engine") && nonsense.message.contains("<html>"), "{nonsense}");
        let server = Server::start(|request| {
            if request.starts_with("GET /version ") {
                "HTTP/1.1 200 OK\r\n\r\n{\"ApiVersion\":\"1.41\"}".into()
            } else if request.starts_with("POST /v1.41/build") {
                "HTTP/1.1 200 OK\r\n\r\n{\"stream\":\"a\"}\n{\"errorDetail\":{\"message\":\"it broke\"},\"error\":\"it\"}".into()
            } else if request.starts_with("POST /v1.41/lines") {
                "HTTP/1.1 200 OK\r\n\r\nnonsense\n".into()
            } else {
                "HTTP/1.1 409 Conflict\r\n\r\n{\"message\":\"it is in use\"}".into()
            }
        })
        .await;
        let engine = Engine::connect(Some(&server.url("").replace("http://", "tcp://")), &bench.cx()).await.unwrap();
        let wrong = engine.act(Ask::new(Method::DELETE, "images/x").with("force", "0"), &[]).await.map(|_| ()).unwrap_err();
        assert!(wrong.message.starts_with("DELETE images/x: the container engine at tcp://127.0.0.1:"), "{wrong}");
        assert!(wrong.message.ends_with("answered 409: it is in use") && !wrong.transient, "{wrong}");
        assert_eq!(engine.act(Ask::new(Method::DELETE, "images/x"), &[409]).await.map(|a| a.status).unwrap(), 409);
        let mut heard = Vec::new();
        let wrong = engine.listen(Ask::new(Method::POST, "build"), None, |line| heard.push(line["stream"].clone())).await.unwrap_err();
        assert_eq!((wrong.message.as_str(), heard[0].as_str()), ("POST build: it broke", Some("a")));
        let wrong = engine.listen(Ask::new(Method::POST, "lines"), None, |_| ()).await.unwrap_err();
        assert!(wrong.message.contains("wrote no JSON"), "{wrong}");
        bench.cancel();
        assert!(engine.reader().get(Ask::new(Method::GET, "info")).await.unwrap_err().message.contains("ended while waiting"));
    }
}
