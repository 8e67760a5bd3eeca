//! One connection to a host: the user's own `ssh`, one master for all that is asked of the host, gone with
//! this value, and with the process it belongs to, however that ends.

use super::access::{Access, target};
use super::destination::Destination;
use super::{hostkey, script};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use trees_core::units;
use trees_runner::kind::{KindError, ReadCx};

/// By when a connection must stand.
const PATIENCE: Duration = Duration::from_secs(40);
/// The path of a socket is short, and `ssh` adds seventeen letters to it for a while.
const LONGEST: usize = 60;
const ERR: u64 = 64 << 10;
const OUT: u64 = 64 << 20;
/// What the master says while it runs: so much of it is kept.
const SAID: usize = 8 << 10;

/// A private folder for the sockets and the lines of known hosts.
pub struct Room {
    folder: TempDir,
    known: Option<PathBuf>,
}

impl Room {
    /// Makes it.
    ///
    /// # Errors
    /// When no folder for it can be written.
    pub fn new(access: &Access, cx: &ReadCx) -> Result<Self, KindError> {
        let named = |name: &str| cx.env.iter().find(|(n, _)| n == name).map(|(_, value)| PathBuf::from(value));
        let plain = |path: &PathBuf| {
            let text = path.display().to_string();
            text.len() <= LONGEST && text.starts_with('/') && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b))
        };
        let places = [named("XDG_RUNTIME_DIR"), named("TMPDIR"), Some("/tmp".into())];
        let make = |place: PathBuf| tempfile::Builder::new().prefix("trees-ssh-").tempdir_in(place).ok();
        let folder = places.into_iter().flatten().filter(plain).find_map(make).ok_or_else(|| {
            KindError::new("cannot make a folder for the connections: neither $XDG_RUNTIME_DIR, $TMPDIR nor /tmp can be written")
        })?;
        let known = match (access.known_lines(), &access.known_hosts) {
            (Some(lines), _) => {
                let path = folder.path().join("known_hosts");
                std::fs::write(&path, format!("{lines}\n"))
                    .map_err(|e| KindError::new(format!("cannot write `{}`: {e}", path.display())))?;
                Some(path)
            }
            (None, Some(path)) => Some(PathBuf::from(path)),
            (None, None) => None,
        };
        Ok(Self { folder, known })
    }
}

/// What a command gets on standard input.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// Nothing.
    None,
    /// These bytes.
    Bytes(&'a [u8]),
    /// A file.
    File(&'a Path),
}

/// A connection that stands.
pub struct Connection {
    /// The host, as the tree calls it.
    pub name: String,
    /// Where it is.
    pub destination: Destination,
    /// All of `ssh` up to the destination.
    arguments: Vec<String>,
    said: Said,
    _master: Child,
    _open: ChildStdin,
    _room: Arc<Room>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When the host is not reached, is not known, or does not let us in.
    pub async fn open(destination: Destination, access: &Access, room: Arc<Room>, number: usize, cx: &ReadCx) -> Result<Self, KindError> {
        let common = access.arguments(room.known.as_deref());
        let socket = room.folder.path().join(number.to_string()).display().to_string();
        let through = |master: &str| {
            let control = ["-S".to_owned(), socket.clone(), "-o".to_owned(), format!("ControlMaster={master}"), "-T".to_owned()];
            common.iter().cloned().chain(control).collect::<Vec<_>>()
        };
        // It ends when nobody holds its standard input any more: with this process, however that ends.
        let mut command = ssh(cx, &through("yes"), &target(&destination));
        command.arg("echo trees-ready; exec cat");
        let mut master = command.spawn().map_err(|e| cannot_start(&e))?;
        let (Some(open), Some(out)) = (master.stdin.take(), master.stdout.take()) else {
            return Err(KindError::new("`ssh` has no standard input"));
        };
        let said = Said::default();
        let listening = tokio::spawn(said.clone().listen(master.stderr.take()));
        let ready = tokio::select! {
            ready = tokio::time::timeout(PATIENCE, ready(out)) => ready,
            () = cx.cancel.cancelled() => return Err(KindError::transient(format!("{}: ended while connecting", destination.name))),
        };
        match ready {
            Ok(None) => {
                let name = destination.name.clone();
                Ok(Self { name, destination, arguments: through("no"), said, _master: master, _open: open, _room: room })
            }
            Ok(Some(instead)) => {
                drop(open);
                // A grandchild that holds the pipe open is not waited for.
                let _ = tokio::time::timeout(Duration::from_secs(2), listening).await;
                let said = said.take();
                if said.trim().is_empty() {
                    return Err(KindError::new(format!("{}: it gives us no shell: `{}`", destination.name, cx.head(&instead, 200)))
                        .help("the user needs a login shell such as sh, bash, zsh or fish there, and must be let to run commands"));
                }
                Err(hostkey::explain(&destination, access, &common, room.known.as_deref(), &said, cx).await)
            }
            Err(_) => Err(KindError::transient(format!("{}: no connection within {}", destination.name, units::show(PATIENCE)))),
        }
    }

    fn session(&self, cx: &ReadCx, more: &[String]) -> Command {
        let mut arguments = self.arguments.clone();
        arguments.extend_from_slice(more);
        ssh(cx, &arguments, &target(&self.destination))
    }

    /// Runs a verb to its end and gives its lines.
    ///
    /// # Errors
    /// When the host refuses it, answers with something else, or is gone; and when the limit is over.
    pub async fn call(
        &self,
        cx: &ReadCx,
        verb: &str,
        root: &str,
        arguments: &[&str],
        input: Input<'_>,
        limit: Duration,
    ) -> Result<Vec<String>, KindError> {
        let mut command = self.session(cx, &[]);
        command.arg(script::command(verb, root, arguments));
        let mut child = command.spawn().map_err(|e| cannot_start(&e))?;
        let done = async {
            let (out, err) = (text(child.stdout.take(), OUT), text(child.stderr.take(), ERR));
            let (out, err, ()) = tokio::join!(out, err, feed(child.stdin.take(), input));
            (child.wait().await, out, err)
        };
        let (status, out, err) = tokio::select! {
            done = tokio::time::timeout(limit, done) => done.map_err(|_| {
                KindError::transient(format!("{}: no end of `{verb}` within {}", self.name, units::show(limit)))
            })?,
            () = cx.cancel.cancelled() => return Err(KindError::transient(format!("{}: `{verb}` was ended", self.name))),
        };
        let code = status.map_err(|e| KindError::new(format!("cannot wait for `ssh`: {e}")))?.code();
        let err = cx.head(&err, 600);
        match (code, between(&out)) {
            (Some(0), Some(lines)) => Ok(lines),
            (Some(9), _) => Err(KindError::new(format!("{}: {err}", self.name))),
            (Some(255) | None, _) => Err(KindError::transient(format!("{}: the connection was lost in `{verb}`: {err}", self.name))),
            (Some(code), _) => Err(KindError::new(format!(
                "{}: it does not answer as a shell does: exit status {code}, `{}` {err}",
                self.name,
                cx.head(&out, 200)
            ))
            .help("the user needs a login shell such as sh, bash, zsh or fish there, and must be let to run commands")),
        }
    }

    /// Starts a verb that stays, as the lock does.
    ///
    /// # Errors
    /// When `ssh` cannot be started.
    pub fn stay(&self, cx: &ReadCx, verb: &str, root: &str, arguments: &[&str]) -> Result<Child, KindError> {
        self.session(cx, &[]).arg(script::command(verb, root, arguments)).spawn().map_err(|e| cannot_start(&e))
    }

    /// Why a channel did not come to be: only the master hears it.
    pub async fn refused(&self) -> String {
        for _ in 0..10 {
            let said = self.said.take();
            let why = said.lines().filter_map(|line| line.split_once("open failed: ")).next_back();
            if let Some((_, why)) = why {
                return why.trim().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        String::new()
    }

    /// Starts a channel to an address as the host reaches it.
    ///
    /// # Errors
    /// When `ssh` cannot be started.
    pub fn channel(&self, cx: &ReadCx, address: &str) -> Result<Child, KindError> {
        self.session(cx, &["-W".to_owned(), address.to_owned()]).spawn().map_err(|e| cannot_start(&e))
    }
}

fn cannot_start(e: &std::io::Error) -> KindError {
    KindError::new(format!("cannot start `ssh`: {e}")).help("is the OpenSSH client installed, and in PATH?")
}

/// `ssh` with the step's environment, in a group of its own, ended when it is dropped.
pub fn ssh(cx: &ReadCx, arguments: &[String], target: &[String]) -> Command {
    let mut command = Command::new("ssh");
    command.args(arguments).args(target).current_dir("/").env_clear().envs(cx.env.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    command
}

/// `None` once a shell answers; else what came in its place.
async fn ready(out: ChildStdout) -> Option<String> {
    let mut lines = BufReader::new(out).lines();
    let mut instead = String::new();
    while let Ok(Some(line)) = lines.next_line().await {
        if line == "trees-ready" {
            // What is said later is nothing to us, but must not fill the pipe.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return None;
        }
        if instead.len() < 1000 {
            instead.push_str(&line);
            instead.push('\n');
        }
    }
    Some(instead)
}

async fn feed(pipe: Option<ChildStdin>, input: Input<'_>) {
    let Some(mut pipe) = pipe else { return };
    // A host that refuses does not read on: its words tell why.
    match input {
        Input::None => {}
        Input::Bytes(bytes) => drop(pipe.write_all(bytes).await),
        Input::File(path) => {
            if let Ok(mut file) = tokio::fs::File::open(path).await {
                drop(tokio::io::copy(&mut file, &mut pipe).await);
            }
        }
    }
    let _ = pipe.shutdown().await;
}

/// What a pipe gives until its end, not more of it kept than the limit.
pub async fn text(pipe: Option<impl AsyncRead + Unpin>, limit: u64) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let mut bytes = Vec::new();
    let _ = (&mut pipe).take(limit).read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What the master says on standard error, as long as it runs.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<String>>);

impl Said {
    async fn listen(self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(pipe) = pipe else { return };
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push_str(&String::from_utf8_lossy(&line));
            if kept.len() > SAID {
                *kept = String::from_utf8_lossy(&line).into_owned();
            }
            line.clear();
        }
    }

    fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The lines between the marks; `None` where they are not both there.
fn between(out: &str) -> Option<Vec<String>> {
    let mut lines = out.lines().skip_while(|line| *line != "trees:begin").skip(1).map(str::to_owned).collect::<Vec<_>>();
    (lines.pop()? == "trees:end").then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::between;

    #[test]
    fn an_answer_stands_between_its_marks() {
        assert_eq!(between("Welcome!\ntrees:begin\na\nb\ntrees:end\n"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(between("trees:begin\ntrees:end\n"), Some(vec![]));
        for cut in ["", "Welcome!\n", "trees:begin\na\n", "trees:end\n"] {
            assert_eq!(between(cut), None, "{cut}");
        }
    }
}
