//! A mail server that messages are handed to: how it is reached, and its words.

use crate::number::Port;
use lettre::address::Envelope;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;
use trees_runner::kind::{Cx, KindError};

/// A mail server.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Server {
    /// Its name or address; its certificate must be for that.
    pub host: String,
    /// Its port; without, 587 for `starttls`, 465 for `implicit`, 25 for `none`.
    #[serde(default)]
    pub port: Option<Port>,
    /// `starttls`: encrypted before anything is said, or not at all. `implicit`: encrypted from the first byte. `none`:
    /// not encrypted.
    #[serde(default)]
    pub tls: Tls,
    /// `tls: none` also to another machine than this one; without a password.
    #[serde(default)]
    pub plain: bool,
    /// Who logs in; without, nobody.
    #[serde(default)]
    pub user: Option<String>,
    /// The user's password.
    #[serde(default)]
    pub password: Option<String>,
    /// A file with certificates (PEM) that are trusted besides the system's, relative to the working folder.
    #[serde(default)]
    pub roots: Option<String>,
    /// The name by which this machine greets it; without, its address.
    #[serde(default)]
    pub hello: Option<String>,
}

/// How a mail server is spoken with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Tls {
    /// Encrypted after a word in the clear.
    #[default]
    Starttls,
    /// Encrypted from the beginning.
    Implicit,
    /// Not encrypted.
    None,
}

/// A recipient that was refused.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Refused {
    /// Who.
    pub address: String,
    /// The server's words.
    pub answer: String,
}

impl Server {
    /// What is wrong with it, a sentence each.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let plain = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_control() || c.is_whitespace());
        if !plain(&self.host) {
            wrong.push(format!("server.host: `{}` is no name or address", self.host.escape_debug()));
        }
        if self.hello.as_deref().is_some_and(|hello| !plain(hello)) {
            wrong.push("server.hello: it is no name".into());
        }
        if self.user.is_some() != self.password.is_some() {
            wrong.push("server.user and server.password: give both or none".into());
        }
        if self.tls == Tls::None && !self.is_here() {
            match (self.plain, &self.password) {
                (false, _) => wrong.push(format!(
                    "server.tls: `none` would send the message to `{}` for everybody on the way to read; write `starttls` or `implicit`, or `plain: true` if that is meant",
                    self.host
                )),
                (true, Some(_)) => wrong.push(format!("server.password: it is not sent to `{}` without encryption", self.host)),
                (true, None) => {}
            }
        }
        wrong
    }

    /// It is this machine.
    fn is_here(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    fn port(&self) -> u16 {
        let usual = match self.tls {
            Tls::Starttls => 587,
            Tls::Implicit => 465,
            Tls::None => 25,
        };
        self.port.map_or(usual, |port| port.0)
    }

    /// For messages.
    pub fn shown(&self) -> String {
        format!("{}:{}", self.host, self.port())
    }

    fn hello(&self) -> ClientId {
        self.hello.clone().map_or_else(ClientId::default, ClientId::Domain)
    }

    fn encryption(&self, cx: &Cx) -> Result<Option<TlsParameters>, KindError> {
        if self.tls == Tls::None {
            return Ok(None);
        }
        let mut tls = TlsParameters::builder(self.host.clone());
        if let Some(roots) = &self.roots {
            let path = cx.path(roots);
            let wrong = |e: &dyn std::fmt::Display| KindError::new(format!("server.roots: cannot read `{}`: {e}", path.display()));
            let text = std::fs::read(&path).map_err(|e| wrong(&e))?;
            if !String::from_utf8_lossy(&text).contains("-----BEGIN CERTIFICATE-----") {
                return Err(wrong(&"there is no certificate (PEM) in it"));
            }
            tls = tls.add_root_certificate(Certificate::from_pem(&text).map_err(|e| wrong(&e))?);
        }
        tls.build().map(Some).map_err(|e| KindError::new(format!("cannot prepare the encryption: {e}")))
    }

    /// Connects, encrypts, logs in.
    ///
    /// # Errors
    /// When the server cannot be reached, or does not let in.
    pub async fn connect(&self, cx: &Cx, limit: Duration) -> Result<AsyncSmtpConnection, KindError> {
        let encryption = self.encryption(cx)?;
        let said = |what: &str, e: &Error| failed(cx, &format!("{}: {what}", self.shown()), e);
        let (at_once, later) = if self.tls == Tls::Implicit { (encryption, None) } else { (None, encryption) };
        let place = (self.host.trim_start_matches('[').trim_end_matches(']'), self.port());
        let hello = self.hello();
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(place, Some(limit), &hello, at_once, None).await.map_err(|e| said("no connection", &e))?;
        if let Some(encryption) = later {
            if !connection.can_starttls() {
                connection.abort().await;
                let message = format!("{}: it offers no STARTTLS, and nothing is sent in the clear", self.shown());
                return Err(KindError::new(message).help("`tls: implicit` (port 465), if it speaks that; is this the right port?"));
            }
            connection.starttls(encryption, &hello).await.map_err(|e| said("STARTTLS failed", &e))?;
        }
        if let (Some(user), Some(password)) = (&self.user, &self.password) {
            let credentials = Credentials::new(user.clone(), password.clone());
            let entered = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await;
            entered.map_err(|e| said(&format!("it did not let `{user}` in"), &e))?;
        }
        Ok(connection)
    }

    /// Hands a message over; gives who was refused. Nothing is sent where one is refused, unless `partial` and one is left.
    ///
    /// # Errors
    /// When the server does not take it.
    pub async fn hand_over(
        &self,
        cx: &Cx,
        connection: &mut AsyncSmtpConnection,
        envelope: &Envelope,
        message: &[u8],
        partial: bool,
    ) -> Result<(String, Vec<Refused>), KindError> {
        let place = self.shown();
        let said = |what: &str, e: &Error| failed(cx, &format!("{place}: {what}"), e);
        let mut options = Vec::new();
        if !envelope.to().iter().chain(envelope.from()).all(|address| AsRef::<str>::as_ref(address).is_ascii()) {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(KindError::new(format!("{place}: it takes no addresses with other letters than those of ASCII")));
            }
            options.push(MailParameter::SmtpUtfEight);
        }
        connection.command(Mail::new(envelope.from().cloned(), options)).await.map_err(|e| said("it refused the sender", &e))?;
        let (mut refused, mut later) = (Vec::new(), false);
        for to in envelope.to() {
            match connection.command(Rcpt::new(to.clone(), vec![])).await {
                Ok(_) => {}
                Err(e) if e.status().is_some() => {
                    later |= e.is_transient();
                    refused.push(Refused { address: to.to_string(), answer: words(cx, &e) });
                }
                Err(e) => return Err(said(&format!("it broke off at the recipient {to}"), &e)),
            }
        }
        if refused.len() == envelope.to().len() || !refused.is_empty() && !partial {
            return Err(KindError { transient: later, ..turned_down(&place, &refused, envelope.to().len()) });
        }
        connection.command(Data).await.map_err(|e| said("it refused the message", &e))?;
        let taken = connection.message(message).await.map_err(|e| said("it refused the message", &e))?;
        let answer = taken.message().collect::<Vec<_>>().join(" ");
        Ok((cx.head(&format!("{} {answer}", taken.code()), 300), refused))
    }
}

fn turned_down(place: &str, refused: &[Refused], of: usize) -> KindError {
    let each: Vec<String> = refused.iter().map(|r| format!("{} ({})", r.address, r.answer)).collect();
    let error =
        KindError::new(format!("{place}: it refused {} of {of} recipients, so nothing was sent: {}", refused.len(), each.join(", ")));
    if refused.len() < of { error.help("mend the address; or `partial: true`, to send to the others") } else { error }
}

/// The server's words, or what came in between.
fn words(cx: &Cx, error: &Error) -> String {
    let source = std::error::Error::source(error).map_or_else(|| error.to_string(), chain);
    let code = error.status().map_or_else(String::new, |code| format!("{code} "));
    cx.head(&format!("{code}{source}"), 400)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        if !text.contains(&inner.to_string()) {
            text = format!("{text}: {inner}");
        }
        source = inner.source();
    }
    text
}

/// 4xx and a broken connection may pass; 5xx, a wrong certificate and what is no SMTP stay.
fn failed(cx: &Cx, what: &str, error: &Error) -> KindError {
    let words = words(cx, error);
    let certificate = words.contains("certificate");
    let lasting = error.is_permanent() || error.is_client() || error.is_tls() || certificate;
    let wrong = KindError { transient: !lasting, ..KindError::new(format!("{what}: {words}")) };
    if certificate {
        return wrong.help("the certificate must be for `host` and from somebody the system trusts, or stand in `roots`");
    }
    match error.status().map(u16::from) {
        Some(530 | 534 | 535 | 538) => wrong.help("are `user` and `password` right? Some servers want a password made for programs"),
        _ => wrong,
    }
}
