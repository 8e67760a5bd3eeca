//! The ACME client's requests over our HTTP client: its proxies and roots, a limit for each, and
//! answers that are no success told with address, status and body.

use super::problem::{Refused, told};
use crate::http::{body, causes};
use bytes::Bytes;
use http::header::{RETRY_AFTER, USER_AGENT};
use http::{Method, Request, Response};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient, Problem};
use std::pin::Pin;
use std::time::Duration;
use trees_runner::kind::{KindError, ReadCx};

/// For one request.
const PATIENCE: Duration = Duration::from_secs(30);
/// A directory, an order or a chain of certificates is much smaller.
const LIMIT: usize = 1 << 20;

/// The HTTP client as the ACME client wants it.
#[derive(Clone)]
pub struct Transport {
    client: reqwest::Client,
    cx: ReadCx,
}

impl Transport {
    /// Over a client; the context masks what is told.
    pub fn new(client: reqwest::Client, cx: ReadCx) -> Self {
        Self { client, cx }
    }

    async fn send(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (mut parts, content) = request.into_parts();
        parts.headers.remove(USER_AGENT);
        let asked = format!("{} {}", parts.method, parts.uri);
        let request = self
            .client
            .request(parts.method.clone(), parts.uri.to_string())
            .headers(parts.headers)
            .timeout(PATIENCE)
            .body(reqwest::Body::wrap(content));
        let answer = request.send().await.map_err(|e| refused("", unreachable(&asked, &e)))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = body(answer, LIMIT).await.map_err(|e| refused("", KindError { message: format!("{asked}: {}", e.message), ..e }))?.text;
        if !status.is_success() {
            let after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            self.judge(&format!("{asked}: {}", status.as_u16()), status.as_u16(), &text, after)?;
        } else if parts.method == Method::GET && !is_directory(&text) {
            let error = KindError::new(format!("{asked}: {}, but no ACME directory: {}", status.as_u16(), self.cx.head(&text, 200)));
            return Err(refused("", error.help("`directory` is the address of an ACME directory, like https://HOST/directory")));
        }
        let mut response = Response::new(Bytes::from(text));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        let (parts, content) = response.into_parts();
        Ok(BytesResponse { parts, body: Box::new(content) })
    }

    /// What is no success is an error here, but for a nonce that is too old: the ACME client gets another.
    fn judge(&self, asked: &str, status: u16, text: &str, after: Option<&str>) -> Result<(), Error> {
        match serde_json::from_str::<Problem>(text) {
            Ok(problem) if problem.r#type.as_deref().is_some_and(|kind| kind.ends_with(":badNonce")) => Ok(()),
            Ok(problem) if problem.r#type.is_some() || problem.detail.is_some() => {
                let kind = problem.r#type.clone().unwrap_or_default();
                let kind = kind.rsplit(':').next().unwrap_or_default();
                Err(refused(kind, told(asked, &Problem { status: Some(status), ..problem }, after)))
            }
            Ok(_) | Err(_) => {
                let message = format!("{asked}: {}", self.cx.head(text, 200));
                let error = if status >= 500 || status == 429 { KindError::transient(message) } else { KindError::new(message) };
                let help = after.map_or_else(
                    || "is `directory` the address of an ACME directory?".to_owned(),
                    |after| format!("the server asks to come again after {after}"),
                );
                Err(refused(&status.to_string(), error.help(help)))
            }
        }
    }
}

impl HttpClient for Transport {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().send(request))
    }
}

fn refused(kind: &str, error: KindError) -> Error {
    Error::Other(Box::new(Refused { kind: kind.into(), error }))
}

fn unreachable(asked: &str, error: &reqwest::Error) -> KindError {
    let why = causes(error);
    let distrust = why.contains("certificate");
    let error = KindError::transient(format!("{asked}: {why}"));
    if distrust { error.help("a directory of your own needs `roots`: the PEM file of its authority") } else { error }
}

fn is_directory(text: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(text).is_ok_and(|json| json["newOrder"].is_string() && json["newAccount"].is_string())
}
