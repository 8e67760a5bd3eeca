//! Processes that kinds run, `git` above all: their own group, no terminal, nothing on standard
//! input, ended with the attempt.

use rustix::process::{Pid, Signal, kill_process_group};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
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

const OUT: u64 = 16 << 20;
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
    let out = tokio::spawn(all(child.stdout.take()));
    let err = tokio::spawn(lines(child.stderr.take(), log.cloned()));
    let status = tokio::select! {
        status = child.wait() => status.map_err(|e| KindError::new(format!("cannot wait for `{program}`: {e}")))?,
        () = cx.cancel.cancelled() => {
            end(&mut child).await;
            return Err(KindError::transient(format!("`{program} {}` was ended", args.first().unwrap_or(&""))));
        }
    };
    let (out, err) = (drained(out).await, drained(err).await);
    Ok(Done { code: status.code(), out, err })
}

fn command(cx: &ReadCx, dir: &Path, program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).env_clear().envs(cx.env.iter().map(|(name, value)| (name, value)));
    command.envs([("LC_ALL", "C"), ("GIT_TERMINAL_PROMPT", "0"), ("GIT_OPTIONAL_LOCKS", "0"), ("GIT_EDITOR", "true")]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    command
}

async fn all(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let mut bytes = Vec::new();
    let _ = (&mut pipe).take(OUT).read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a pipe gave; a grandchild that holds it open is not waited for.
async fn drained(pipe: JoinHandle<String>) -> String {
    match tokio::time::timeout(Duration::from_secs(2), pipe).await {
        Ok(Ok(text)) => text,
        Ok(Err(_)) | Err(_) => String::new(),
    }
}

async fn lines(pipe: Option<impl AsyncRead + Unpin>, log: Option<Cx>) -> String {
    let mut kept = String::new();
    let Some(pipe) = pipe else { return kept };
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while pipe.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if let Some(cx) = &log {
            cx.log(text);
        }
        if kept.len() < ERR {
            kept.push_str(text);
            kept.push('\n');
        }
        line.clear();
    }
    kept
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
