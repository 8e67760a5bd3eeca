//! Whether a release is well: asked as the host itself reaches it, through a channel of `ssh`, so that
//! nothing is needed there and the port need not be open to the world.

use super::super::record::Release;
use super::host::Host;
use super::look::Instance;
use crate::window::{Probe, Window};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use trees_core::units;
use trees_runner::kind::{KindError, ReadCx};

/// One answer may take so long.
const LIMIT: Duration = Duration::from_secs(10);
/// A process that ends so often while it is checked is given up.
const RESTARTS: u32 = 3;
const BODY: usize = 4096;

/// Asks an instance until it is healthy.
///
/// # Errors
/// When it is not so in time, or cannot be any more.
pub async fn wait_healthy(host: &Host, number: &str, release: &Release, port: Option<u16>, cx: &ReadCx) -> Result<Instance, KindError> {
    let stable_for = if port.is_some() { Duration::ZERO } else { Duration::from_secs(1) };
    let window = Window { ok_in_row: 2, every: Duration::from_millis(100), first_ok_within: release.health_timeout, stable_for };
    let what = match (port, &release.health) {
        (Some(port), Some(path)) => format!("{}: GET http://{}:{port}{path}", host.name(), reached(&release.host)),
        (Some(port), None) => format!("{}: tcp {}:{port}", host.name(), reached(&release.host)),
        (None, _) => format!("{}: the process of release {}", host.name(), release.release),
    };
    window.pass(cx, &what, || probe(host, number, release, port, cx)).await.map(|(instance, _)| instance)
}

/// One look at the process and at its port.
pub async fn probe(host: &Host, number: &str, release: &Release, port: Option<u16>, cx: &ReadCx) -> Probe<Instance> {
    let instance = match host.one(number, port, cx).await {
        Ok(instance) => instance,
        Err(e) => return Probe::bad(e.message),
    };
    let gone = || format!("the process has ended: {}", if instance.last.is_empty() { "just now" } else { &instance.last });
    if !instance.alive {
        let hopeless = instance.ended || instance.restarts >= RESTARTS;
        return if hopeless { Probe::hopeless(gone()) } else { Probe::bad(gone()) };
    }
    let address = |port: u16| format!("{}:{port}", bracketed(reached(&release.host)));
    let probe = match (port, &release.health) {
        (Some(port), Some(path)) => get(host, &address(port), path, cx).await,
        (Some(port), None) => match instance.listens {
            Some(true) => Probe::good((), format!("listens on port {port}")),
            Some(false) => Probe::bad(format!("nobody listens on port {port}")),
            None => connect(host, &address(port), cx).await,
        },
        (None, _) => Probe::good((), format!("runs as {}", instance.pid.unwrap_or_default())),
    };
    Probe { good: probe.good.map(|()| instance), text: probe.text, last: probe.last }
}

/// Where something that listens there is reached from there.
pub fn reached(host: &str) -> &str {
    match host {
        "0.0.0.0" | "" | "*" => "127.0.0.1",
        "::" | "[::]" => "::1",
        other => other,
    }
}

/// An address as it stands before a port.
pub fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

/// Whether a connection stands: one that is refused ends at once.
async fn connect(host: &Host, address: &str, cx: &ReadCx) -> Probe<()> {
    match channel(host, address, b"", Duration::from_secs(2), cx).await {
        Ok(said) if said.refused.is_empty() => Probe::good((), "connected"),
        Ok(said) => refused(&said.refused),
        Err(e) => Probe::bad(e.message),
    }
}

/// One GET; any 2xx is good.
async fn get(host: &Host, address: &str, path: &str, cx: &ReadCx) -> Probe<()> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: trees\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    let said = match channel(host, address, request.as_bytes(), LIMIT, cx).await {
        Ok(said) => said,
        Err(e) => return Probe::bad(e.message),
    };
    if said.answer.is_empty() && !said.refused.is_empty() {
        return refused(&said.refused);
    }
    let text = String::from_utf8_lossy(&said.answer).into_owned();
    match status(&text) {
        None if said.over => Probe::bad(format!("no whole answer within {}: {}", units::show(LIMIT), cx.head(&text, 200))),
        None if text.is_empty() => Probe::bad("the connection was closed without an answer"),
        None => Probe::bad(format!("no answer of HTTP: {}", cx.head(&text, 200))),
        Some((status, body)) => {
            let seen = format!("{status}: {}", cx.head(body, 200));
            if (200..300).contains(&status) { Probe::good((), seen) } else { Probe::bad(seen) }
        }
    }
}

fn refused(said: &str) -> Probe<()> {
    if said.contains("prohibited") {
        return Probe::hopeless(format!(
            "its sshd does not let us reach the port ({said}): `AllowTcpForwarding local` and `PermitOpen` in sshd_config there say what may be reached"
        ));
    }
    Probe::bad(said)
}

/// Status and body.
fn status(text: &str) -> Option<(u16, &str)> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut words = head.lines().next()?.split_whitespace();
    words.next().filter(|word| word.starts_with("HTTP/"))?;
    Some((words.next()?.parse().ok()?, body))
}

/// What came through a channel.
struct Said {
    answer: Vec<u8>,
    /// Why there was no channel; empty where there was one.
    refused: String,
    /// The limit was over first.
    over: bool,
}

async fn channel(host: &Host, address: &str, request: &[u8], limit: Duration, cx: &ReadCx) -> Result<Said, KindError> {
    let mut child = host.channel(address, cx)?;
    let (Some(mut pipe), Some(mut out), Some(mut err)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
        return Err(KindError::new("`ssh` has no pipes"));
    };
    let mut answer = Vec::new();
    let mut wrong = Vec::new();
    let asked = async {
        // What does not stand cannot be written to: its words tell why.
        let _ = pipe.write_all(request).await;
        let mut chunk = [0; 1024];
        while !whole(&answer) {
            match out.read(&mut chunk).await {
                Ok(0) | Err(_) => break,
                Ok(read) => answer.extend_from_slice(&chunk[..read]),
            }
        }
        if answer.is_empty() {
            let _ = (&mut err).take(BODY as u64).read_to_end(&mut wrong).await;
        }
    };
    let over = tokio::select! {
        done = tokio::time::timeout(limit, asked) => done.is_err(),
        () = cx.cancel.cancelled() => return Err(KindError::transient("ended while asking")),
    };
    let said = String::from_utf8_lossy(&wrong);
    let words: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let refused = if words.is_empty() {
        String::new()
    } else {
        Some(host.refused().await).filter(|why| !why.is_empty()).unwrap_or_else(|| words.join("; "))
    };
    Ok(Said { answer, refused: cx.head(&refused, 300), over })
}

/// Nothing more of it is needed: a server may leave the connection open all the same.
fn whole(answer: &[u8]) -> bool {
    if answer.len() >= BODY {
        return true;
    }
    let text = String::from_utf8_lossy(answer);
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return false };
    let is_length =
        |line: &str| line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).map(|(_, n)| n.trim().parse());
    let Some(Ok(length)) = head.lines().find_map(is_length) else { return false };
    let length: usize = length;
    answer.len() >= head.len() + 4 + length
}

#[cfg(test)]
mod tests {
    use super::{bracketed, reached, status, whole};

    #[test]
    fn an_answer_that_says_its_length_is_not_waited_for() {
        for (text, expected) in
            [("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true), ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", false)]
        {
            assert_eq!(whole(text.as_bytes()), expected, "{text}");
        }
        assert!(!whole(b"HTTP/1.1 200 OK\r\n\r\nok") && whole(&[b'x'; 5000]));
    }

    #[test]
    fn an_answer_is_taken_apart() {
        assert_eq!(status("HTTP/1.1 204 No\r\nX: y\r\n\r\nbody"), Some((204, "body")));
        for text in ["", "HTTP/1.1 200 OK\r\n", "SSH-2.0\r\n\r\n", "HTTP/1.1 x\r\n\r\n"] {
            assert_eq!(status(text), None, "{text}");
        }
    }

    #[test]
    fn what_listens_everywhere_is_reached_on_loopback() {
        assert_eq!((reached("0.0.0.0"), reached("::"), reached("10.0.0.7")), ("127.0.0.1", "::1", "10.0.0.7"));
        assert_eq!((bracketed("::1"), bracketed("a")), ("[::1]".into(), "a".into()));
    }
}
