//! Which server: a URL or the words of libpq, and what of them counts here.

use reqwest::Url;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A server, who one is there, and how the connection is made sure of. It holds no password, so that it
/// can be shown and recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// A name, an address, or the folder of a socket.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The role that connects.
    pub user: String,
    /// The database that was named.
    pub database: Option<String>,
    /// What TLS must give.
    pub sslmode: SslMode,
    /// The file of certificates that are believed; `system`: those of the system.
    pub sslrootcert: Option<String>,
}

/// What TLS must give, as libpq means it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS where the server offers it, whoever it is.
    Prefer,
    /// TLS, whoever it is; with `sslrootcert` as `verify-ca`.
    Require,
    /// TLS with a certificate that an authority of `sslrootcert` signed.
    VerifyCa,
    /// The same, and for this host.
    VerifyFull,
}

impl SslMode {
    /// As libpq writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

impl FromStr for SslMode {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let all = [Self::Disable, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];
        all.into_iter()
            .find(|mode| mode.word() == word)
            .ok_or_else(|| format!("sslmode: `{word}` is none of disable, prefer, require, verify-ca, verify-full"))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.user, self.host, self.port)
    }
}

impl Server {
    /// Reads a URL or the words of libpq; a password among them comes apart. What is wrong never shows
    /// a value that may be the password.
    pub fn read(text: &str) -> Result<(Self, Option<String>), String> {
        let text = text.trim();
        let mut words = match text.split_once("://") {
            Some(("postgres" | "postgresql", _)) => url_words(text)?,
            _ => words(text)?,
        };
        let mut take = |word: &str| words.remove(word).filter(|value| !value.is_empty());
        let password = take("password");
        let server = Self {
            host: take("host").ok_or("it names no host")?,
            port: take("port").map_or(Ok(5432), |port| port.parse().map_err(|_| format!("port: `{port}` is no port")))?,
            user: take("user").ok_or("it names no user")?,
            database: take("dbname"),
            sslmode: take("sslmode").map_or(Ok(SslMode::Prefer), |mode| mode.parse())?,
            sslrootcert: take("sslrootcert"),
        };
        if let Some(word) = words.keys().next() {
            return Err(format!("`{word}` is not known here; what counts is host, port, user, password, dbname, sslmode, sslrootcert"));
        }
        if server.host.contains(',') {
            return Err("it names more than one host".into());
        }
        if server.sslmode == SslMode::VerifyCa && server.authority().is_none() {
            return Err("sslmode=verify-ca needs sslrootcert, a file of the authority's certificates".into());
        }
        Ok((server, password))
    }

    /// The file of authorities.
    pub fn authority(&self) -> Option<&str> {
        self.sslrootcert.as_deref().filter(|file| *file != "system")
    }

    /// It is reached by a socket of this machine, where TLS means nothing.
    pub fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// The same server in sight of another database.
    pub fn at(&self, database: &str) -> Self {
        Self { database: Some(database.to_owned()), ..self.clone() }
    }

    /// The same server for another role.
    pub fn by(&self, user: &str) -> Self {
        Self { user: user.to_owned(), ..self.clone() }
    }
}

type Words = BTreeMap<String, String>;

fn decoded(text: &str) -> Result<String, String> {
    percent_encoding::percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).map_err(|_| "it is not UTF-8".into())
}

fn url_words(text: &str) -> Result<Words, String> {
    let authority = text.split("://").nth(1).and_then(|rest| rest.split(['/', '?']).next()).unwrap_or_default();
    if authority.rsplit('@').next().unwrap_or_default().contains(',') {
        return Err("it names more than one host".into());
    }
    let url = Url::parse(text).map_err(|e| format!("it is no URL: {e}"))?;
    let mut words = Words::new();
    let mut put = |word: &str, value: &str| -> Result<(), String> {
        words.insert(word.to_owned(), decoded(value)?);
        Ok(())
    };
    put("user", url.username())?;
    put("password", url.password().unwrap_or_default())?;
    put("host", url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']'))?;
    put("port", &url.port().map(|port| port.to_string()).unwrap_or_default())?;
    put("dbname", url.path().trim_start_matches('/'))?;
    for (word, value) in url.query_pairs() {
        words.insert(word.into_owned(), value.into_owned());
    }
    Ok(words)
}

/// `word = value` with spaces between; a value in single quotes may hold spaces, a backslash makes the
/// next character plain.
fn words(text: &str) -> Result<Words, String> {
    let mut words = Words::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = rest.split_once('=').ok_or("write postgres://USER@HOST:PORT/DATABASE or host=… port=… user=… dbname=…")?;
        let (value, after) = value(after.trim_start())?;
        words.insert(word.trim().to_owned(), value);
        rest = after.trim_start();
    }
    Ok(words)
}

fn value(text: &str) -> Result<(String, &str), String> {
    let (quoted, text) = text.strip_prefix('\'').map_or((false, text), |rest| (true, rest));
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            letter if !quoted && letter.is_whitespace() => return Ok((value, &text[at..])),
            letter => value.push(letter),
        }
    }
    if quoted { Err("a value's quote is not closed".into()) } else { Ok((value, "")) }
}

#[cfg(test)]
mod tests {
    use super::{Server, SslMode};

    fn read(text: &str) -> (String, Option<String>, SslMode, Option<String>) {
        let (server, password) = Server::read(text).unwrap();
        (server.to_string(), server.database, server.sslmode, password)
    }

    #[test]
    fn urls_and_words_name_the_same_server() {
        let some = |text: &str| Some(text.to_owned());
        for (text, expected) in [
            ("postgres://ann@db.example", ("ann@db.example:5432", None, SslMode::Prefer, None)),
            ("postgresql://a%40b:p%2Fw@[::1]:6000/my%20db?sslmode=require", ("a@b@::1:6000", some("my db"), SslMode::Require, some("p/w"))),
            ("postgres://ann@%2Frun%2Fpg/app", ("ann@/run/pg:5432", some("app"), SslMode::Prefer, None)),
            ("host=/run/pg user=ann", ("ann@/run/pg:5432", None, SslMode::Prefer, None)),
            (
                "host = h  user='a \\' b' password=p\\ w dbname=app port=1 sslmode=disable",
                ("a ' b@h:1", some("app"), SslMode::Disable, some("p w")),
            ),
        ] {
            let (server, database, mode, password) = read(text);
            assert_eq!((server.as_str(), database, mode, password), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_without_the_password() {
        for (text, expected) in [
            ("db.example", "write postgres://USER@HOST"),
            ("postgres:///app", "names no host"),
            ("postgres://h/app", "names no user"),
            ("postgres://u:secret@a:1,b:2/app", "more than one host"),
            ("postgres://u:secret@h:99999/app", "no URL: invalid port"),
            ("host=a,b user=u", "more than one host"),
            ("host=a user=u password=secret sslmode=maybe", "`maybe` is none of disable"),
            ("host=a user=u sslmode=verify-ca", "needs sslrootcert"),
            ("host=a user=u password=secret options=-c", "`options` is not known here"),
            ("host=a user=u password='secret", "quote is not closed"),
            ("host=a user=u port=x", "`x` is no port"),
        ] {
            let wrong = Server::read(text).unwrap_err();
            assert!(wrong.contains(expected) && !wrong.contains("secret"), "{text}: {wrong}");
        }
    }
}
