//! What is written in a deployment's folder: releases, instances, how they are.

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;
use trees_runner::kind::{Keeper, KindError, SecretReader};

/// A release: files, command, environment and where it listens. How it stands on a disk: [`Release::sealed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// As named in the tree.
    pub release: String,
    /// Its folder under `releases`.
    pub folder: String,
    /// The project.
    pub project: String,
    /// The environment, `""` where there is none.
    pub environment: String,
    /// The deployment.
    pub name: String,
    /// Digest and mode of each file.
    pub files: BTreeMap<String, String>,
    /// What may hold secrets.
    #[serde(flatten)]
    pub start: Start,
    /// Where it listens.
    pub host: String,
    /// Where it listens.
    pub port: Option<u16>,
    /// What is asked, if not just a connection.
    pub health: Option<String>,
    /// By when it must be healthy.
    #[serde(with = "millis")]
    pub health_timeout: Duration,
    /// From SIGTERM to SIGKILL.
    #[serde(with = "millis")]
    pub drain: Duration,
    /// Tried on a spare port before the one before it is stopped.
    pub trial: bool,
}

/// How a release is started: all of it that may hold secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Start {
    /// Program and arguments, as written.
    pub command: Vec<String>,
    /// Of `with`.
    pub env: BTreeMap<String, String>,
    /// The step's environment, on top of which `env` comes; not compared.
    pub base: BTreeMap<String, String>,
}

/// `releases/<folder>.json`: a release whose start is sealed.
#[derive(Serialize, Deserialize)]
struct Sealed {
    #[serde(flatten)]
    release: Release,
    /// Its [`Start`]; none where it stands as it is, as before there was a seal.
    #[serde(default)]
    sealed: Option<String>,
}

mod millis {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use std::time::Duration;

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

impl Release {
    /// As it is kept, here and on other machines: one line.
    ///
    /// # Errors
    /// When the master key cannot be used.
    pub fn sealed(&self, keeper: &dyn Keeper) -> Result<Vec<u8>, KindError> {
        let wrong = |e: serde_json::Error| KindError::new(e.to_string());
        let sealed = keeper.seal(&self.label(), &serde_json::to_vec(&self.start).map_err(wrong)?)?;
        let release = Self { start: Start::default(), ..self.clone() };
        serde_json::to_vec(&Sealed { release, sealed: Some(sealed) }).map_err(wrong)
    }

    /// Of what was kept, all but how it is started.
    pub fn outside(text: &[u8]) -> Option<Self> {
        Some(serde_json::from_slice::<Sealed>(text).ok()?.release)
    }

    /// What was kept; `None` where it is no release.
    ///
    /// # Errors
    /// When it was sealed with another master key.
    pub fn opened(text: &[u8], secrets: &SecretReader) -> Result<Option<Self>, KindError> {
        let Ok(Sealed { mut release, sealed }) = serde_json::from_slice::<Sealed>(text) else { return Ok(None) };
        if let Some(sealed) = sealed {
            let start = secrets.open(&release.label(), &sealed)?;
            release.start = serde_json::from_slice(&start).map_err(|e| KindError::new(e.to_string()))?;
        }
        Ok(Some(release))
    }

    /// What its start is sealed as.
    fn label(&self) -> String {
        let place = [&self.project, &self.environment].map(String::as_str).join("/");
        format!("release {} of {} ({})", self.folder, self.name, place.trim_end_matches('/'))
    }

    /// Program, arguments and environment on this port, which may be a spare one.
    pub fn on_port(&self, used: Option<u16>) -> Program {
        let Start { command, env: own_env, base } = &self.start;
        let mut env = base.clone();
        let (Some(own), Some(used)) = (self.port, used) else {
            env.extend(own_env.clone());
            return Program { command: command.clone(), env };
        };
        let (own, used) = (own.to_string(), used.to_string());
        let marked = command.iter().chain(own_env.values()).any(|text| text.contains("{port}"));
        let put = |text: &String| if marked { text.replace("{port}", &used) } else { other_port(text, &own, &used) };
        env.extend([("PORT".to_owned(), used.clone()), ("HOST".to_owned(), self.host.clone())]);
        env.extend(own_env.iter().map(|(name, value)| (name.clone(), put(value))));
        Program { command: command.iter().map(put).collect(), env }
    }
}

/// A text that is the port, or ends in `=PORT` or `:PORT`, with another one.
fn other_port(text: &str, own: &str, used: &str) -> String {
    match text.strip_suffix(own) {
        Some(start) if start.is_empty() || start.ends_with(['=', ':']) => format!("{start}{used}"),
        Some(_) | None => text.to_owned(),
    }
}

/// What is run. It reaches the supervisor over a pipe and is never written down, since it may hold secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Program (absolute or searched in PATH) and arguments.
    pub command: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
}

/// What else a supervisor is told. `instances/<id>/spec.json`, readable by its owner only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The release's folder name.
    pub folder: String,
    /// Serving, or being tried.
    pub role: Role,
    /// Its working folder.
    pub cwd: std::path::PathBuf,
    /// Where it listens.
    pub port: Option<u16>,
    /// From SIGTERM to SIGKILL.
    #[serde(with = "millis")]
    pub drain: Duration,
    /// A trial ends by itself after so many milliseconds, so that a crash leaves none behind.
    pub expires: Option<u64>,
}

/// What an instance is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Serves on the real port; restarted when it dies.
    Live,
    /// Tried on a spare port; never restarted.
    Trial,
}

/// How an instance is. `instances/<id>/status.json`, written by its supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The supervisor.
    pub supervisor: Identity,
    /// The process it supervises, while there is one.
    pub child: Option<Identity>,
    /// How often it was started again.
    pub restarts: u32,
    /// When the process started last.
    pub since: Timestamp,
    /// How the process ended last.
    pub last_exit: Option<String>,
    /// It will not be started again.
    pub ended: bool,
}

impl Status {
    /// Of an instance whose process has not begun.
    pub fn new(supervisor: Identity) -> Self {
        Self { supervisor, child: None, restarts: 0, since: Timestamp::now(), last_exit: None, ended: false }
    }
}

/// One process, and no other that gets the same pid later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its pid.
    pub pid: u32,
    /// When it started, in clock ticks since the boot; 0 where the system does not tell.
    pub start_ticks: u64,
    /// The boot; empty where the system does not tell.
    pub boot_id: String,
}

impl Identity {
    /// Of a living process.
    pub fn of(pid: u32) -> Self {
        Self { pid, start_ticks: stat(pid).map_or(0, |(_, ticks)| ticks), boot_id: trees_runner::identity::boot_id().into() }
    }

    /// Whether that very process is alive (a zombie is not).
    pub fn is_alive(&self) -> bool {
        if self.start_ticks == 0 {
            return self.raw().is_some_and(|pid| test_kill_process(pid).is_ok());
        }
        let now = stat(self.pid);
        self.boot_id == trees_runner::identity::boot_id()
            && now.is_some_and(|(state, ticks)| ticks == self.start_ticks && !matches!(state, 'Z' | 'X'))
    }

    /// Signals its group, if it is alive.
    pub fn signal_group(&self, signal: Signal) {
        if let Some(pid) = self.raw().filter(|_| self.is_alive()) {
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Signals it, if it is alive.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.raw().filter(|_| self.is_alive()) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    fn raw(&self) -> Option<Pid> {
        i32::try_from(self.pid).ok().and_then(Pid::from_raw)
    }
}

/// State and start time of `/proc/PID/stat`.
fn stat(pid: u32) -> Option<(char, u64)> {
    let text = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?).into_owned();
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    Some((fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{Identity, Program, Release, Start, other_port};
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn release(command: &[&str]) -> Release {
        Release {
            release: "1".into(),
            folder: "1".into(),
            project: String::new(),
            environment: String::new(),
            name: String::new(),
            files: BTreeMap::new(),
            start: Start { command: command.iter().map(|s| (*s).to_owned()).collect(), ..Start::default() },
            host: "127.0.0.1".into(),
            port: Some(80),
            health: None,
            health_timeout: Duration::ZERO,
            drain: Duration::ZERO,
            trial: true,
        }
    }

    #[test]
    fn the_port_is_put_where_it_stands() {
        for (command, expected) in [
            (["./chat", "--port", "80", "8080"], ["./chat", "--port", "9", "8080"]),
            (["./chat", "--port=80", "0.0.0.0:80", "--n=180"], ["./chat", "--port=9", "0.0.0.0:9", "--n=180"]),
            (["./chat", "-p{port}", "80", "x"], ["./chat", "-p9", "80", "x"]),
        ] {
            let Program { command, env } = release(&command).on_port(Some(9));
            assert_eq!(command, expected);
            assert_eq!((env["PORT"].as_str(), env["HOST"].as_str()), ("9", "127.0.0.1"));
        }
        assert_eq!(other_port("180", "80", "9"), "180");
    }

    #[test]
    fn an_identity_is_that_process_and_no_other() {
        let own = Identity::of(std::process::id());
        assert!(own.is_alive());
        if own.start_ticks > 0 {
            assert!(!Identity { start_ticks: own.start_ticks + 1, ..own.clone() }.is_alive());
            assert!(!Identity { boot_id: "another".into(), ..own }.is_alive());
        }
    }
}
