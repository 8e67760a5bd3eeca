//! Why a connection does not stand, in words, with the cure: a host key that is not known or was changed
//! above all. Nothing here accepts a key.

use super::access::{Access, target};
use super::connection::{ssh, text};
use super::destination::Destination;
use super::script::quoted;
use std::path::Path;
use std::time::Duration;
use trees_runner::kind::{KindError, ReadCx};

/// What `ssh` said when it ended before it was connected.
pub async fn explain(
    destination: &Destination,
    access: &Access,
    common: &[String],
    known: Option<&Path>,
    said: &str,
    cx: &ReadCx,
) -> KindError {
    let name = &destination.name;
    if said.contains("Host key verification failed") || said.contains("IDENTIFICATION HAS CHANGED") {
        return key(destination, common, known, access, said, cx).await;
    }
    let said = cx.head(last_lines(said).as_str(), 400);
    if said.contains("Permission denied") {
        return KindError::new(format!("{name}: it does not let us in: {said}")).help(format!(
            "try `ssh -o BatchMode=yes {}`: the user's key must be among authorized_keys there, and in an agent or without a passphrase here",
            words(destination)
        ));
    }
    let stays = ["Bad configuration option", "Bad owner or permissions", "Can't open user config", "bad permissions", "terminating,"];
    if stays.iter().any(|part| said.contains(part)) {
        return KindError::new(format!("{name}: ssh refuses its configuration: {said}"));
    }
    let said = if said.is_empty() { "ssh ended without a word".to_owned() } else { said };
    KindError::transient(format!("{name}: cannot connect: {said}")).help(format!("try `ssh {}`", words(destination)))
}

async fn key(destination: &Destination, common: &[String], known: Option<&Path>, access: &Access, said: &str, cx: &ReadCx) -> KindError {
    let name = &destination.name;
    let settings = asked(destination, common, &["-G"], cx).await.0;
    let setting = |key: &str| settings.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).unwrap_or_default().to_owned();
    let (host, port) = (setting("hostname"), setting("port"));
    let offered = offered(&asked(destination, common, &["-v", "-T"], cx).await.1);
    let file = match known {
        Some(path) if access.known_lines().is_none() => path.display().to_string(),
        Some(_) => "the lines of `known_hosts`".into(),
        None => setting("userknownhostsfile").split(' ').next().unwrap_or("~/.ssh/known_hosts").to_owned(),
    };
    let place = if port == "22" || port.is_empty() { host.clone() } else { format!("[{host}]:{port}") };
    let scan = format!("ssh-keyscan -p {} {}", if port.is_empty() { "22" } else { &port }, quoted_if(&host));
    let (scan, forget) = match (access.known_lines(), known) {
        (Some(_), _) => (format!("add what `{scan}` prints to `known_hosts`"), "take the old line out of `known_hosts`".to_owned()),
        (None, _) => {
            let file = quoted_if(&file);
            (format!("`{scan} >> {file}`"), format!("`ssh-keygen -R {} -f {file}`", quoted(&place)))
        }
    };
    if said.contains("IDENTIFICATION HAS CHANGED") {
        return KindError::new(format!(
            "{name}: its host key was CHANGED: it now offers {offered}, and {file} has another for {place}; \
             somebody may stand between, so nothing was sent"
        ))
        .help(format!("only if its owner tells you that the key is new, and names the same fingerprint: {forget}, then {scan}"));
    }
    KindError::new(format!(
        "{name}: its host key is not known: it offers {offered}, and {file} has no such key for {place}; nothing was sent"
    ))
    .help(format!(
        "compare the fingerprint with what its owner tells you (there: `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`), then {scan}"
    ))
}

/// Asks `ssh` itself; standard output and error.
async fn asked(destination: &Destination, common: &[String], flags: &[&str], cx: &ReadCx) -> (String, String) {
    let arguments: Vec<String> = common.iter().cloned().chain(flags.iter().map(|flag| (*flag).to_owned())).collect();
    let Ok(mut child) = ssh(cx, &arguments, &target(destination)).arg("exit").spawn() else { return Default::default() };
    drop(child.stdin.take());
    let (out, err) = (text(child.stdout.take(), 64 << 10), text(child.stderr.take(), 64 << 10));
    let said = tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(out, err) });
    said.await.unwrap_or_default()
}

/// Kind and fingerprint of the key that was offered; of the host, where others stand on the way to it.
fn offered(told: &str) -> String {
    let line = told.lines().filter_map(|line| line.trim().split_once("Server host key: ")).next_back();
    line.map_or_else(|| "a key that could not be told".into(), |(_, key)| key.trim().to_owned())
}

fn last_lines(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

/// As a person writes it.
fn words(destination: &Destination) -> String {
    let port = destination.port.map(|port| format!("-p {port} ")).unwrap_or_default();
    format!("{port}{}", destination.target)
}

fn quoted_if(text: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-~:@".contains(&b);
    if text.bytes().all(is_plain) { text.to_owned() } else { quoted(text) }
}

#[cfg(test)]
mod tests {
    use super::offered;

    #[test]
    fn the_last_key_offered_is_the_hosts() {
        let told = "debug1: Server host key: ssh-rsa SHA256:jump\r\ndebug1: x\ndebug1: Server host key: ssh-ed25519 SHA256:abc\n";
        assert_eq!(offered(told), "ssh-ed25519 SHA256:abc");
        assert_eq!(offered("nothing"), "a key that could not be told");
    }
}
