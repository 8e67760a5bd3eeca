//! Where a container engine listens.

use std::path::{Path, PathBuf};
use trees_runner::kind::{KindError, ReadCx};

/// Where an engine listens.
pub enum Place {
    /// A socket of this machine.
    Socket(PathBuf),
    /// `host:port`.
    Address(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix://{}", path.display()),
            Self::Address(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// As asked for, else DOCKER_HOST of the step, else Docker's socket, else Podman's of the user.
///
/// # Errors
/// When there is none, or its address cannot be used.
pub fn place(socket: Option<&str>, cx: &ReadCx) -> Result<Place, KindError> {
    let env = |name: &str| cx.env.iter().find(|(n, value)| n == name && !value.is_empty()).map(|(_, value)| value.as_str());
    if let Some(text) = socket.filter(|text| !text.is_empty()).or_else(|| env("DOCKER_HOST")) {
        return read_place(text, cx);
    }
    let run = env("XDG_RUNTIME_DIR").map_or_else(|| format!("/run/user/{}", rustix::process::getuid().as_raw()), str::to_owned);
    let usual = [
        "/var/run/docker.sock".into(),
        format!("{run}/docker.sock"),
        format!("{run}/podman/podman.sock"),
        "/run/podman/podman.sock".into(),
    ];
    let found = usual.iter().map(PathBuf::from).find(|path| path.exists());
    found.map(Place::Socket).ok_or_else(|| {
        KindError::new(format!("there is no container engine: none of {} is there", usual.join(", ")))
            .help("start Docker or Podman (`systemctl --user start podman.socket`), or say with `socket` or DOCKER_HOST where it listens")
    })
}

fn read_place(text: &str, cx: &ReadCx) -> Result<Place, KindError> {
    if let Some(path) = text.strip_prefix("unix://") {
        return Ok(Place::Socket(Path::new(path).into()));
    }
    if let Some(address) = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("http://")) {
        return Ok(Place::Address(address.trim_end_matches('/').to_owned()));
    }
    if text.contains("://") {
        return Err(KindError::new(format!("the engine's address `{text}` cannot be used"))
            .help("write a socket's path, unix://…, or tcp://… without TLS"));
    }
    Ok(Place::Socket(cx.path(text)))
}

#[cfg(test)]
mod tests {
    use super::place;
    use crate::bench::Bench;
    use std::sync::Arc;

    #[test]
    fn where_an_engine_listens() {
        let bench = Bench::new();
        let mut cx = bench.read();
        let shown = |socket: Option<&str>, cx: &_| place(socket, cx).map_or_else(|e| e.message, |place| place.to_string());
        assert_eq!(shown(Some("unix:///a.sock"), &cx), "unix:///a.sock");
        assert_eq!(shown(Some("/a.sock"), &cx), "unix:///a.sock");
        assert_eq!(shown(Some("tcp://h:1/"), &cx), "tcp://h:1");
        assert!(shown(Some("ssh://me@h"), &cx).contains("`ssh://me@h` cannot be used"));
        cx.env = Arc::new(vec![("DOCKER_HOST".into(), "tcp://h:2".into())]);
        assert_eq!(shown(None, &cx), "tcp://h:2");
    }
}
