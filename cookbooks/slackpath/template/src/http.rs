//! Requests in, responses out: HTTP/1.1 with one request a connection and hard limits.

use std::io::{self, BufRead, BufReader, Read, Write};

/// The request line and the headers together, in bytes.
pub const LONGEST_HEAD: usize = 8 * 1024;
/// The longest body, in bytes.
pub const LONGEST_BODY: usize = 16 * 1024;

/// A request that was read whole.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path, percent-decoded.
    pub path: String,
    /// What follows `?`, as sent.
    pub query: String,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    /// UTF-8.
    pub body: String,
}

/// Why a request could not be read.
#[derive(Debug)]
pub enum Bad {
    /// Answer with this status and text.
    Answer(u16, &'static str),
    /// The other side went away or was too slow.
    Gone(io::Error),
}

impl From<io::Error> for Bad {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

impl Request {
    /// Reads one request.
    pub fn read(stream: impl Read) -> Result<Self, Bad> {
        let mut reader = BufReader::new(stream);
        let mut left = LONGEST_HEAD;
        let first = line(&mut reader, &mut left)?;
        let mut words = first.split(' ');
        let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next()) else {
            return Err(Bad::Answer(400, "that is no HTTP request"));
        };
        if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || !target.starts_with('/') {
            return Err(Bad::Answer(400, "that is no HTTP/1.1 request"));
        }
        let headers = headers(&mut reader, &mut left)?;
        let body = body(&mut reader, &headers)?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = decode(path, false).ok_or(Bad::Answer(400, "the path is not UTF-8"))?;
        Ok(Self { method: method.to_owned(), path, query: query.to_owned(), headers, body })
    }

    /// A header by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

fn line(reader: &mut impl BufRead, left: &mut usize) -> Result<String, Bad> {
    let mut bytes = Vec::new();
    let read = reader.by_ref().take(*left as u64).read_until(b'\n', &mut bytes)?;
    *left -= read;
    if bytes.pop() != Some(b'\n') {
        return Err(if *left == 0 { Bad::Answer(431, "the head is too long") } else { Bad::Gone(io::ErrorKind::UnexpectedEof.into()) });
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_| Bad::Answer(400, "the head is not UTF-8"))
}

fn headers(reader: &mut impl BufRead, left: &mut usize) -> Result<Vec<(String, String)>, Bad> {
    let mut headers: Vec<(String, String)> = Vec::new();
    loop {
        let text = line(reader, left)?;
        if text.is_empty() {
            return Ok(headers);
        }
        let (name, value) = text.split_once(':').ok_or(Bad::Answer(400, "a header has no colon"))?;
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(Bad::Answer(400, "a header's name is malformed"));
        }
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn body(reader: &mut impl BufRead, headers: &[(String, String)]) -> Result<String, Bad> {
    if find(headers, "transfer-encoding").is_some() {
        return Err(Bad::Answer(411, "send a Content-Length"));
    }
    let mut lengths = headers.iter().filter(|(name, _)| name == "content-length");
    let Some((_, length)) = lengths.next() else { return Ok(String::new()) };
    if lengths.next().is_some() || !length.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Bad::Answer(400, "the Content-Length is malformed"));
    }
    let length = length.parse::<usize>().ok().filter(|n| *n <= LONGEST_BODY).ok_or(Bad::Answer(413, "the body is too long"))?;
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes)?;
    String::from_utf8(bytes).map_err(|_| Bad::Answer(400, "the body is not UTF-8"))
}

/// Percent-decodes; `plus` reads `+` as a space, as forms write it.
pub fn decode(text: &str, plus: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let (high, low) = (rest.next()?, rest.next()?);
                u8::try_from(char::from(high).to_digit(16)? * 16 + char::from(low).to_digit(16)?).ok()?
            }
            b'+' if plus => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The value of a name in `a=1&b=2`.
pub fn form(text: &str, name: &str) -> Option<String> {
    let pair = text.split('&').filter_map(|pair| pair.split_once('=')).find(|(n, _)| *n == name)?;
    decode(pair.1, true)
}

/// What is sent back.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The type of the body.
    pub content: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

impl Response {
    /// Plain text.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, content: "text/plain; charset=utf-8", headers: Vec::new(), body: body.into() }
    }

    /// JSON.
    pub fn json(status: u16, body: String) -> Self {
        Self { content: "application/json", ..Self::text(status, body) }
    }

    /// A page.
    pub fn html(body: String) -> Self {
        Self { content: "text/html; charset=utf-8", ..Self::text(200, body) }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Writes it; a HEAD request gets no body.
    pub fn write(&self, stream: &mut impl Write, with_body: bool) -> io::Result<()> {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n",
            self.status,
            reason(self.status),
            self.content,
            self.body.len()
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        if with_body {
            head.push_str(&self.body);
        }
        stream.write_all(head.as_bytes())?;
        stream.flush()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        303 => "See Other",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &str) -> u16 {
        match Request::read(text.as_bytes()) {
            Ok(_) => 200,
            Err(Bad::Answer(status, _)) => status,
            Err(Bad::Gone(_)) => 0,
        }
    }

    #[test]
    fn reads_a_request() {
        let request = Request::read("POST /a%20b?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhirest".as_bytes()).unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str(), request.query.as_str()), ("POST", "/a b", "x=1"));
        assert_eq!((request.header("host"), request.body.as_str()), (Some("h"), "hi"));
    }

    #[test]
    fn refuses_what_is_malformed_or_too_long() {
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 200);
        assert_eq!(status("GET /\r\n\r\n"), 400);
        assert_eq!(status("GET  / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET http://x/ HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET /%zz HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET /%ff HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nno colon\r\n\r\n"), 400);
        assert_eq!(status("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), 400);
        assert_eq!(status("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), 400);
        assert_eq!(status("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"), 413);
        assert_eq!(status("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), 411);
        assert_eq!(status(&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(LONGEST_HEAD))), 431);
        assert_eq!(status("GET / HTTP/1.1\r\nHost:"), 0);
    }

    #[test]
    fn reads_forms() {
        assert_eq!(form("text=a+b%26c&author=", "text").as_deref(), Some("a b&c"));
        assert_eq!(form("text=a", "author"), None);
    }
}
