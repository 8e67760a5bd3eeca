//! The nginx that a route is written for: one that somebody else runs, or one that `trees` keeps in a
//! folder of its own.

use super::With;
use super::aside::Aside;
use super::syntax::{directives, quoted};
use super::words::{Log, judged};
use super::workers::{Master, Worker, listed};
use crate::command;
use crate::deploy::instance::Instance;
use crate::deploy::record::{Program, Role, Spec};
use crate::deploy::root::Root;
use crate::file::{failed, replace};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;
use trees_core::path::encode;
use trees_runner::kind::{Cx, KindError, ReadCx};

/// How long nginx gets to start, or to take a configuration.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// Modules that want a folder for what they put aside, by their directive.
const TEMPORARY: [(&str, &str); 5] =
    [("client_body", ""), ("proxy", "proxy"), ("fastcgi", "fastcgi"), ("uwsgi", "uwsgi"), ("scgi", "scgi")];

/// An nginx; part of the record of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nginx {
    /// The program.
    pub program: String,
    /// Its main file.
    pub config: PathBuf,
    /// What relative paths of it begin at, where that is not compiled in.
    pub prefix: Option<PathBuf>,
    /// The folder of the routes' files.
    pub folder: PathBuf,
    /// The file with the master's pid; none: as the main file says.
    pub pid: Option<PathBuf>,
    /// The folder of one that `trees` keeps.
    pub root: Option<PathBuf>,
}

/// Lets others change routes when dropped.
pub struct Locked(#[expect(dead_code, reason = "held, not read")] Box<dyn std::any::Any + Send>);

impl Nginx {
    /// The one that `with` means.
    pub fn of(with: &With, cx: &ReadCx) -> Self {
        let program = found(&with.program, cx);
        if let (Some(config), Some(folder)) = (&with.config, &with.folder) {
            let prefix = with.prefix.as_ref().map(|prefix| cx.path(prefix));
            let pid = with.pid.as_ref().map(|pid| cx.path(pid));
            return Self { program, config: cx.path(config), prefix, folder: cx.path(folder), pid, root: None };
        }
        let environment = if cx.environment.is_empty() { "default" } else { &cx.environment };
        let usual = || cx.state.join("route").join("nginx").join(encode(&cx.project)).join(encode(environment));
        let root = with.root.as_ref().map_or_else(usual, |root| cx.path(root));
        Self {
            program,
            config: root.join("nginx.conf"),
            prefix: Some(root.clone()),
            folder: root.join("routes"),
            pid: Some(root.join("nginx.pid")),
            root: Some(root),
        }
    }

    /// The file of a route.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.conf"))
    }

    /// One at a time changes the routes of this nginx.
    ///
    /// # Errors
    /// When there is no such folder, or the other takes too long.
    pub async fn lock(&self, cx: &Cx) -> Result<Locked, KindError> {
        if let Some(root) = &self.root {
            return Ok(Locked(Box::new(Root(root.clone()).lock(cx).await?)));
        }
        let folder = File::open(&self.folder).map_err(|e| {
            failed("cannot open the folder", &self.folder, &e)
                .help("`folder` is one that the main file of nginx includes; trees does not make it")
        })?;
        let begun = Instant::now();
        while let Err(e) = flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            if e != rustix::io::Errno::WOULDBLOCK && e != rustix::io::Errno::INTR {
                return Err(failed("cannot lock", &self.folder, &e.into()));
            }
            if begun.elapsed() > Duration::from_secs(600) {
                return Err(KindError::transient(format!("another deploy in `{}` has not ended for 10m", self.folder.display())));
            }
            cx.sleep(Duration::from_millis(50)).await?;
        }
        Ok(Locked(Box::new(folder)))
    }

    /// Its master, while it runs.
    ///
    /// # Errors
    /// When the main file cannot be read to find its pid.
    pub fn master(&self) -> Result<Option<Master>, KindError> {
        if self.root.is_some() && !self.config.exists() {
            return Ok(None);
        }
        Ok(self.pid_file()?.and_then(|path| Master::find(&path)))
    }

    fn pid_file(&self) -> Result<Option<PathBuf>, KindError> {
        match &self.pid {
            Some(path) => Ok(Some(path.clone())),
            None => Ok(self.named("pid")?.or_else(|| Some("/run/nginx.pid".into()))),
        }
    }

    /// A path that the main file names at its top level.
    fn named(&self, directive: &str) -> Result<Option<PathBuf>, KindError> {
        let text = fs::read(&self.config).map_err(|e| failed("cannot read", &self.config, &e))?;
        let all = directives(&String::from_utf8_lossy(&text));
        let found = all.iter().find(|d| d.within.is_empty() && d.name() == directive).and_then(|d| d.words.get(1));
        let base = self.prefix.as_deref().or(self.config.parent()).unwrap_or(Path::new("/"));
        Ok(found.map(|path| base.join(path)))
    }

    /// Lets nginx test the configuration with `text` in the place of a route's file, which stays as it is.
    ///
    /// # Errors
    /// With nginx's own words, the line among them.
    pub async fn test(&self, live: &Path, text: &str, names: &[String], cx: &Cx) -> Result<(), KindError> {
        let scratch = tempfile::tempdir().map_err(|e| KindError::new(format!("cannot make a temporary folder: {e}")))?;
        let new = scratch.path().join("route");
        fs::write(&new, text).map_err(|e| failed("cannot write", &new, &e))?;
        let (main, aside) = if self.root.is_some() {
            let others = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
            let others = others.filter(|path| path != live && path.extension().is_some_and(|end| end == "conf"));
            let files: Vec<PathBuf> = others.chain([new.clone()]).collect();
            (scratch.path().join("nginx.conf"), self.main(scratch.path(), &files, cx).await?)
        } else {
            let base = self.config.parent().unwrap_or(Path::new("/"));
            let included = scratch.path().join("included");
            fs::create_dir(&included).map_err(|e| failed("cannot make", &included, &e))?;
            let aside = Aside { base, live, new: &new, scratch: &included };
            let text = aside.main(&self.config)?.ok_or_else(|| not_included(&self.config, live))?;
            (base.join(format!(".trees-test-{}", live.file_name().unwrap_or_default().to_string_lossy())), text)
        };
        let _gone = Gone(main.clone());
        replace(&main, aside.as_bytes(), 0o600)?;
        let prefix = if self.root.is_some() { Some(scratch.path().to_path_buf()) } else { self.prefix.clone() };
        let done = command::run(cx, None, Path::new("/"), &self.program, &arguments(&["-t"], &main, prefix.as_deref()).each()).await?;
        let said = done.err.replace(&new.display().to_string(), &live.display().to_string());
        let said = said.replace(&main.display().to_string(), &self.config.display().to_string());
        judged(done.ok(), &said, names, cx)
    }

    /// The main file of an nginx of our own.
    async fn main(&self, root: &Path, routes: &[PathBuf], cx: &ReadCx) -> Result<String, KindError> {
        let built = command::run(cx, None, Path::new("/"), &self.program, &["-V"]).await?;
        let at = |name: &str| quoted(&root.join(name).display().to_string());
        let temporary = TEMPORARY.iter().filter(|(_, module)| !built.err.contains(&format!("--without-http_{module}_module")));
        let temporary: Vec<String> =
            temporary.map(|(name, _)| format!("    {name}_temp_path {};\n", at(&format!("temp/{name}")))).collect();
        let routes: Vec<String> = routes.iter().map(|path| format!("    include {};\n", quoted(&path.display().to_string()))).collect();
        for folder in ["temp", "logs", "routes"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).map_err(|e| failed("cannot make", &folder, &e))?;
        }
        // Workers of a master that is root run as another user, who cannot get into this folder: nothing is put aside.
        Ok(format!(
            "# Written by trees for the routes beside it.\ndaemon off;\nworker_processes 2;\npid {};\nerror_log {} warn;\n\
             events {{\n    worker_connections 1024;\n}}\nhttp {{\n    access_log off;\n    server_tokens off;\n    client_max_body_size 0;\n    \
             proxy_request_buffering off;\n    proxy_max_temp_file_size 0;\n    server_names_hash_bucket_size 128;\n{}{}}}\n",
            at("nginx.pid"),
            at("logs/error.log"),
            temporary.concat(),
            routes.concat(),
        ))
    }

    /// Lets the running nginx take the configuration as it is now, or starts one of our own. Returns when
    /// it has been taken, with the workers that only end what they had begun.
    ///
    /// # Errors
    /// When nginx does not run, or did not take it: with what it wrote to its log.
    pub async fn load(&self, cx: &Cx) -> Result<Vec<Worker>, KindError> {
        if let Some(root) = &self.root {
            let text = self.main(root, &[self.folder.join("*.conf")], cx).await?;
            replace(&self.config, text.as_bytes(), 0o600)?;
            if self.master()?.is_none() {
                return self.start(root, cx).await;
            }
        }
        let master = self.master()?.ok_or_else(|| self.stopped())?;
        self.reload(&master, cx).await
    }

    fn stopped(&self) -> KindError {
        let pid = self.pid_file().ok().flatten().unwrap_or_default();
        KindError::new(format!("nginx does not run: `{}` names no living process of it", pid.display()))
            .help("start it, or say with `pid` where its pid is written; without `config` trees starts one of its own")
    }

    async fn reload(&self, master: &Master, cx: &Cx) -> Result<Vec<Worker>, KindError> {
        let log = Log::new(self.error_log());
        let before = master.workers();
        if master.0.is_alive() && !permitted(master) {
            let message = format!("cannot send SIGHUP to nginx (pid {}): its master belongs to another user", master.0.pid);
            return Err(KindError::new(message).help("run trees as that user, or as root"));
        }
        master.0.signal(Signal::HUP);
        let begun = Instant::now();
        loop {
            let now = master.workers();
            let old = |worker: &&Worker| before.iter().any(|b| b.process == worker.process);
            let leaving: Vec<Worker> = now.iter().filter(old).cloned().collect();
            if now.len() > leaving.len() && leaving.iter().all(|worker| worker.leaving)
                || !listed() && begun.elapsed() > Duration::from_secs(1)
            {
                return Ok(leaving);
            }
            if log.given_up() || begun.elapsed() > PATIENCE || !master.0.is_alive() {
                return Err(KindError::new(format!("nginx did not take the new configuration: {}", log.or_silence(cx))));
            }
            cx.sleep(PAUSE).await?;
        }
    }

    async fn start(&self, root: &Path, cx: &Cx) -> Result<Vec<Worker>, KindError> {
        self.stop().await?;
        let log = Log::new(Some(root.join("logs/error.log")));
        let arguments = arguments(&[], &self.config, Some(root));
        let env = cx.env.iter().filter(|(name, _)| !name.starts_with("TREES_") && name != "NGINX").cloned().collect();
        let spec = Spec {
            folder: "nginx".into(),
            role: Role::Live,
            cwd: root.to_path_buf(),
            port: None,
            drain: Duration::from_secs(5),
            expires: None,
        };
        let run = Program { command: std::iter::once(self.program.clone()).chain(arguments.0).collect(), env };
        cx.log(format!("starting nginx in {}", root.display()));
        let instance = Instance::start(Root(root.to_path_buf()).next_instance(), spec, &run).await?;
        let begun = Instant::now();
        while self.master()?.is_none_or(|master| listed() && master.workers().is_empty()) {
            let ended = instance.status().is_some_and(|status| status.last_exit.is_some());
            if ended || begun.elapsed() > PATIENCE || cx.cancel.is_cancelled() {
                instance.stop().await?;
                let said = if log.words().is_empty() { cx.head(&instance.tail(), 800) } else { log.or_silence(cx) };
                return Err(KindError::new(format!("nginx does not start: {said}")));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Root(root.to_path_buf()).prune(3, &[]);
        Ok(Vec::new())
    }

    /// Ends an nginx of our own, and what an attempt that died left of one.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub async fn stop(&self) -> Result<(), KindError> {
        let Some(root) = &self.root else { return Ok(()) };
        for instance in Root(root.clone()).instances() {
            if !instance.given_up()? && instance.lives() {
                instance.stop().await?;
            }
        }
        Ok(())
    }

    /// Ends an nginx of our own that has no route any more, and removes what was made for it.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub async fn clear(&self) -> Result<(), KindError> {
        let Some(root) = &self.root else { return Ok(()) };
        let _ = fs::remove_dir(&self.folder);
        if self.folder.exists() {
            return Ok(());
        }
        self.stop().await?;
        for name in ["temp", "logs"] {
            let _ = fs::remove_dir_all(root.join(name));
        }
        for name in ["nginx.conf", "nginx.pid"] {
            let _ = fs::remove_file(root.join(name));
        }
        Root(root.clone()).clear();
        Ok(())
    }

    fn error_log(&self) -> Option<PathBuf> {
        match &self.root {
            Some(root) => Some(root.join("logs/error.log")),
            None => self.named("error_log").ok().flatten(),
        }
    }
}

fn permitted(master: &Master) -> bool {
    let pid = i32::try_from(master.0.pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

fn not_included(config: &Path, live: &Path) -> KindError {
    KindError::new(format!("`{}` does not include `{}`: nginx would never read it", config.display(), live.display()))
        .help("give as `folder` one of which the main file includes all *.conf inside `http { }`")
}

struct Arguments(Vec<String>);

impl Arguments {
    fn each(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

fn arguments(before: &[&str], config: &Path, prefix: Option<&Path>) -> Arguments {
    let mut all: Vec<String> = before.iter().map(|word| (*word).to_owned()).collect();
    all.extend(["-c".to_owned(), config.display().to_string()]);
    if let Some(prefix) = prefix {
        all.extend(["-p".to_owned(), format!("{}/", prefix.display())]);
    }
    Arguments(all)
}

/// A program by its path, also where an ordinary user's PATH does not lead.
fn found(program: &str, cx: &ReadCx) -> String {
    if program.contains('/') {
        return cx.path(program).display().to_string();
    }
    let path = cx.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_str()).unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin"].map(PathBuf::from);
    let mut all = std::env::split_paths(path).chain(usual).map(|folder| folder.join(program));
    all.find(|path| path.is_file()).map_or_else(|| program.to_owned(), |path| path.display().to_string())
}

/// Removes a file when dropped.
struct Gone(PathBuf);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
