//! What is said in plain text before TLS begins: SMTP's STARTTLS, PostgreSQL's SSLRequest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The protocol in which TLS is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum StartTls {
    /// Mail: EHLO and STARTTLS.
    Smtp,
    /// PostgreSQL: SSLRequest.
    Postgres,
}

/// Asks for TLS; the next byte on the stream is the server's handshake.
///
/// # Errors
/// When the server does not offer it; one sentence.
pub async fn begin(protocol: StartTls, stream: &mut TcpStream) -> Result<(), String> {
    match protocol {
        StartTls::Smtp => smtp(stream).await,
        StartTls::Postgres => postgres(stream).await,
    }
}

async fn smtp(stream: &mut TcpStream) -> Result<(), String> {
    expect(stream, "220", "its greeting").await?;
    say(stream, b"EHLO trees.invalid\r\n").await?;
    expect(stream, "250", "its answer to EHLO").await?;
    say(stream, b"STARTTLS\r\n").await?;
    expect(stream, "220", "its answer to STARTTLS").await
}

async fn postgres(stream: &mut TcpStream) -> Result<(), String> {
    say(stream, &[0, 0, 0, 8, 4, 210, 22, 47]).await?;
    match stream.read_u8().await {
        Ok(b'S') => Ok(()),
        Ok(b'N') => Err("the PostgreSQL server does not offer TLS".into()),
        Ok(byte) => Err(format!("what answers is no PostgreSQL server: it began with the byte {byte}")),
        Err(e) => Err(format!("no answer to the request for TLS: {e}")),
    }
}

async fn say(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
    stream.write_all(bytes).await.map_err(|e| format!("cannot ask for TLS: {e}"))
}

/// Reads a reply of one or more lines, byte by byte: what follows it belongs to TLS.
async fn expect(stream: &mut TcpStream, code: &str, what: &str) -> Result<(), String> {
    loop {
        let line = line(stream).await.map_err(|e| format!("{what} did not come: {e}"))?;
        if !line.starts_with(code) {
            return Err(format!("{what} was `{}`, not {code}", line.trim_end()));
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}

async fn line(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut line = Vec::new();
    while line.len() < 1024 {
        let byte = stream.read_u8().await?;
        if byte == b'\n' {
            break;
        }
        line.push(if byte.is_ascii_graphic() || byte == b' ' { byte } else { b' ' });
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}
