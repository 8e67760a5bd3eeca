//! The one HTTP client of a sitting, made when a kind first works: reading the system's certificates
//! takes as long as a small run.

use crate::kind::KindError;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

/// The client, or not made yet.
#[derive(Debug, Default)]
pub struct Client(OnceLock<Result<reqwest::Client, String>>);

impl From<reqwest::Client> for Client {
    fn from(made: reqwest::Client) -> Self {
        Self(OnceLock::from(Ok(made)))
    }
}

impl Client {
    /// The client; made by the first call.
    ///
    /// # Errors
    /// When a proxy's address or the certificates cannot be read.
    pub fn get(&self) -> Result<reqwest::Client, KindError> {
        self.0.get_or_init(client).clone().map_err(KindError::new)
    }
}

/// Builds it: proxies of the environment but never for this machine itself, certificates of the
/// system or of `SSL_CERT_FILE`, at most ten redirects. Callers set a timeout for each request.
///
/// # Errors
/// When a proxy's address or the certificates cannot be read.
pub fn client() -> Result<reqwest::Client, String> {
    build(&variable, following())
}

/// The same, but it trusts the certificates of this PEM text and no others.
///
/// # Errors
/// When a proxy's address or the certificates cannot be read.
pub fn trusting(pem: &[u8]) -> Result<reqwest::Client, String> {
    build(&variable, following().tls_certs_only(roots(pem)?))
}

/// The same as [`client`], with one more PEM text of certificates to trust.
///
/// # Errors
/// When a proxy's address or the certificates cannot be read.
pub(crate) fn trusting_also(pem: Option<&[u8]>) -> Result<reqwest::Client, String> {
    let more = pem.map_or_else(|| Ok(Vec::new()), roots)?;
    build(&variable, more.into_iter().fold(following(), reqwest::ClientBuilder::add_root_certificate))
}

/// The same as [`client`], but for one host it goes straight to these addresses, without a proxy, and it trusts the
/// certificates of the PEM text and no others where there is one.
pub(crate) fn apart(to: Option<(&str, &[SocketAddr])>, pem: Option<&[u8]>) -> Result<reqwest::Client, String> {
    let mut builder = following();
    if let Some(pem) = pem {
        builder = builder.tls_certs_only(roots(pem)?);
    }
    match to {
        Some((host, addresses)) => build(&|_| None, builder.resolve_to_addrs(host, addresses)),
        None => build(&variable, builder),
    }
}

/// The same as [`client`] without redirects: for what must reach the address that it was sent to, or nobody.
///
/// # Errors
/// When a proxy's address or the certificates cannot be read.
pub fn unredirected() -> Result<reqwest::Client, String> {
    build(&variable, reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()))
}

fn following() -> reqwest::ClientBuilder {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::limited(10))
}

fn roots(pem: &[u8]) -> Result<Vec<reqwest::Certificate>, String> {
    reqwest::Certificate::from_pem_bundle(pem).map_err(|e| format!("the certificates cannot be read: {}", chain(&e)))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

fn build(env: &dyn Fn(&str) -> Option<String>, builder: reqwest::ClientBuilder) -> Result<reqwest::Client, String> {
    let either = |name: &str| env(name).or_else(|| env(&name.to_uppercase()));
    let mut builder = builder.user_agent(concat!("trees/", env!("CARGO_PKG_VERSION"))).connect_timeout(Duration::from_secs(30)).no_proxy();
    let not_for = format!("localhost,.localhost,127.0.0.0/8,::1,{}", either("no_proxy").unwrap_or_default());
    // A server run by CGI gets HTTP_PROXY from the outside: there only the lower-case name counts.
    let http = env("http_proxy").or_else(|| env("HTTP_PROXY").filter(|_| env("REQUEST_METHOD").is_none()));
    for (address, make) in [
        (either("https_proxy"), reqwest::Proxy::https as fn(String) -> reqwest::Result<reqwest::Proxy>),
        (http, reqwest::Proxy::http),
        (either("all_proxy"), reqwest::Proxy::all),
    ] {
        let Some(address) = address else { continue };
        let proxy = make(address).map_err(|e| format!("the address of a proxy in the environment cannot be read: {}", e.without_url()))?;
        builder = builder.proxy(proxy.no_proxy(reqwest::NoProxy::from_string(&not_for)));
    }
    builder.build().map_err(|e| format!("cannot build the HTTP client: {}", chain(&e)))
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(e) = source {
        text = format!("{text}: {e}");
        source = e.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Answers one request with the word and returns its head.
    async fn serve(word: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{word}", word.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(head).unwrap()
        });
        (address, task)
    }

    #[tokio::test]
    async fn proxies_serve_the_world_and_never_this_machine() {
        let (proxy, at_proxy) = serve("by proxy").await;
        let (direct, at_direct) = serve("direct").await;
        let env = move |name: &str| (name == "http_proxy").then(|| format!("http://{proxy}"));
        let client = build(&env, reqwest::Client::builder()).unwrap();
        let get = |url: String| {
            let client = client.clone();
            async move { client.get(url).timeout(Duration::from_secs(30)).send().await.unwrap().text().await.unwrap() }
        };
        assert_eq!(get("http://far.example/x".into()).await, "by proxy");
        assert!(at_proxy.await.unwrap().starts_with("GET http://far.example/x HTTP/1.1\r\n"));
        assert_eq!(get(format!("http://{direct}/y")).await, "direct");
        let head = at_direct.await.unwrap();
        assert!(head.starts_with("GET /y HTTP/1.1\r\n"));
        assert!(head.contains(concat!("user-agent: trees/", env!("CARGO_PKG_VERSION"))), "{head}");
    }

    #[test]
    fn a_bad_proxy_is_named() {
        let message = build(&|name| (name == "all_proxy").then(|| "http://[".into()), reqwest::Client::builder()).unwrap_err();
        assert!(message.starts_with("the address of a proxy in the environment cannot be read: "), "{message}");
    }
}
