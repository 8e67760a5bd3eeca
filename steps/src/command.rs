//! Processes that kinds run, `git` above all: their own group, no terminal, nothing on standard
//! input, ended with the attempt.

use rustix::process::{Pid, Signal, kill_process_group};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use trees_runner::kind::{Cx, KindError, ReadCx};

/// How a process ended.
#[derive(Debug)]
pub struct Done {
    /// Its exit code; `None`: a signal.
    pub code: Option<i32>,
    /// Standard output, at most 16 MiB of it.
    pub out: String,
    /// Standard error, at most 64 KiB of it.
    pub err: String,
}

impl Done {
    /// It exited with 0.
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }
}

const OUT: usize = 16 << 20;
const ERR: usize = 64 << 10;

/// Runs a program to its end and gives its output, whatever its exit code. Lines of standard error
/// go to `log`.
///
/// # Errors
/// When it cannot be started, or the attempt ends first.
pub async fn run(cx: &ReadCx, log: Option<&Cx>, dir: &Path, program: &str, args: &[&str]) -> Result<Done, KindError> {
    let mut child = command(cx, dir, program, args).spawn().map_err(|e| {
        KindError::new(format!("cannot start `{program}` in `{}`: {e}", dir.display()))
            .help(format!("is {program} installed, and in PATH?"))
    })?;
    let (out, err) = (Said::default(), Said::default());
    let reads_out = tokio::spawn(all(child.stdout.take(), out.clone()));
    let reads_err = tokio::spawn(lines(child.stderr.take(), err.clone(), log.cloned()));
    let status = tokio::select! {
        status = child.wait() => status.map_err(|e| KindError::new(format!("cannot wait for `{program}`: {e}")))?,
        () = cx.cancel.cancelled() => {
            end(&mut child).await;
            return Err(KindError::transient(format!("`{program} {}` was ended", args.first().unwrap_or(&""))));
        }
    };
    // A grandchild that holds a pipe open is not waited for.
    let patience = Duration::from_secs(2);
    let _ = tokio::time::timeout(patience, async { tokio::join!(reads_out, reads_err) }).await;
    Ok(Done { code: status.code(), out: out.text(), err: trimmed(&err.text()) })
}

fn command(cx: &ReadCx, dir: &Path, program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).env_clear().envs(cx.env.iter().map(|(name, value)| (name, value)));
    command.envs([("LC_ALL", "C"), ("GIT_TERMINAL_PROMPT", "0"), ("GIT_OPTIONAL_LOCKS", "0"), ("GIT_EDITOR", "true")]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    command
}

/// What a pipe gave so far.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    /// Keeps what was read, up to a limit.
    fn add(&self, bytes: &[u8], limit: usize) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = limit.saturating_sub(kept.len()).min(bytes.len());
        kept.extend_from_slice(&bytes[..room]);
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

/// Without what stands at the ends of lines: blanks with which git pads, carriage returns.
fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

async fn all(pipe: Option<impl AsyncRead + Unpin>, said: Said) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = vec![0; 1 << 16];
    while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
        said.add(&chunk[..read], OUT);
    }
}

async fn lines(pipe: Option<impl AsyncRead + Unpin>, said: Said, log: Option<Cx>) {
    let Some(mut pipe) = pipe else { return };
    let (mut chunk, mut line) = (vec![0; 1 << 16], Vec::new());
    while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
        said.add(&chunk[..read], ERR);
        let Some(cx) = &log else { continue };
        for part in chunk[..read].split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                cx.log(String::from_utf8_lossy(&line).trim_end());
                line.clear();
            }
        }
    }
    if let Some(cx) = log.filter(|_| !line.is_empty()) {
        cx.log(String::from_utf8_lossy(&line).trim_end());
    }
}

/// SIGTERM to the group, two seconds, SIGKILL.
async fn end(child: &mut Child) {
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::TERM);
        if tokio::time::timeout(Duration::from_secs(2), child.wait()).await.is_err() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
    let _ = child.wait().await;
}

#[cfg(test)]
mod tests {
    use super::run;
    use crate::bench::Bench;
    use rustix::process::{Pid, Signal, kill_process};

    #[tokio::test]
    async fn what_was_said_counts_though_a_grandchild_holds_the_pipes() {
        let bench = Bench::new();
        let script = "sleep 600 & echo $!; printf 'out, no line'; echo one >&2; printf 'two, no line' >&2; exit 3";
        let done = run(&bench.read(), Some(&bench.cx()), &bench.path(""), "sh", &["-c", script]).await.unwrap();
        let (grandchild, rest) = done.out.split_once('\n').unwrap();
        kill_process(Pid::from_raw(grandchild.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
        assert_eq!((done.code, rest, done.err.as_str()), (Some(3), "out, no line", "one\ntwo, no line"));
        assert_eq!(bench.logged(), ["one"]);
    }

    #[tokio::test]
    async fn of_much_the_beginning_is_kept_and_each_line_logged() {
        let bench = Bench::new();
        let script = "i=0; while [ $i -lt 9000 ]; do echo 0123456789 >&2; i=$((i+1)); done; printf last >&2; head -c 17000000 /dev/zero";
        let done = run(&bench.read(), Some(&bench.cx()), &bench.path(""), "sh", &["-c", script]).await.unwrap();
        assert_eq!((done.out.len(), done.err.len(), done.ok()), (super::OUT, super::ERR, true));
        let logged = bench.logged();
        assert_eq!((logged.len(), logged[8999].as_str(), logged[9000].as_str()), (9001, "0123456789", "last"));
    }
}
