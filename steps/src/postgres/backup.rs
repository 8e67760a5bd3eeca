//! `postgres/backup`: a dump of a database in a file, looked through before it counts.

use super::name::wrong;
use super::server::{Server, SslMode};
use super::session::{Access, get};
use crate::command::{self, Done};
use crate::file::failed;
use crate::period::{Limit, Period};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use trees_core::event::Json;
use trees_core::hash;
use trees_core::path::encode;
use trees_core::tree::Effect;
use trees_core::units;
use trees_runner::kind::{About, Change, Cx, Kind, KindError, Observation, ReadCx, recorded};

mod kept;
#[cfg(test)]
mod tests;

use kept::{Note, digest};

/// The kind `postgres/backup`.
pub struct Backup;

/// What `postgres/backup` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// Which server and as whom: `postgres://USER@HOST:PORT/DATABASE` or `host=… port=… user=… dbname=…`, with
    /// `sslmode` and `sslrootcert` as libpq knows them.
    pub server: String,
    /// The password of that user; without, the step's `PGPASSWORD`.
    #[serde(default)]
    pub password: Option<String>,
    /// For connecting, and for each answer of the server.
    #[serde(default = "crate::default::half_a_minute", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub timeout: Period,
    /// The database; without, the one that `server` names.
    #[serde(default)]
    pub database: Option<String>,
    /// The folder of backups, relative to the working folder; made when it is not there.
    pub folder: String,
    /// What the backup belongs to, like a version: of one release there is one backup, and no second is made.
    /// Letters, digits, `.`, `_`, `-`. Without, each run makes one.
    #[serde(default)]
    pub release: Option<String>,
    /// So many backups of the database are kept in the folder; older ones that this kind made are removed, and no
    /// rollback brings them back. Without, all are kept.
    #[serde(default)]
    pub keep: Option<usize>,
    /// The folder of `pg_dump` and `pg_restore`; without, those in PATH.
    #[serde(default)]
    pub bin: Option<String>,
    /// What the dump may take.
    #[serde(default = "an_hour", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub dump_timeout: Period,
}

fn an_hour() -> Period {
    Period::seconds(3600)
}

/// What `postgres/backup` returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The file.
    pub path: String,
    /// The SHA-256 of its content.
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
    /// The version of the server that was dumped.
    pub server_version: String,
}

/// What a backup leaves when it is broken off.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    aside: PathBuf,
}

impl Kind for Backup {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "postgres/backup",
        summary: "Back a PostgreSQL database up to a file",
        doc: include_str!("backup.md"),
        example: "tree: shop\nsecrets:\n  PG_SHOP: {}\nsteps:\n  backup:\n    uses: postgres/backup\n    with:\n      \
                  server: postgres://shop@127.0.0.1:5432/shop\n      password: \"{{ secrets.PG_SHOP }}\"\n      folder: backups\n      keep: 7\n",
        effect: Effect::External,
        observes: true,
        undoes: true,
        reads_only: false,
        repeats: false,
        deploys: false,
        file_inputs: &[],
        revision: 1,
    };

    fn validate(with: &With) -> Vec<String> {
        let mut found = Vec::new();
        match Server::read(&with.server) {
            Ok((server, _)) if server.database.is_none() && with.database.is_none() => {
                found.push("server: it names no database; write `…/DATABASE`, or `database`".into());
            }
            Ok(_) => {}
            Err(e) => found.push(format!("server: {e}")),
        }
        found.extend(with.database.iter().filter_map(|name| wrong("database", name)));
        let plain =
            |release: &str| !release.is_empty() && release.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if let Some(release) = with.release.as_ref().filter(|release| !plain(release)) {
            found.push(format!("release: `{release}` cannot stand in a file's name: use letters, digits, `.`, `_` and `-`"));
        }
        if with.keep == Some(0) {
            found.push("keep: at least 1".into());
        }
        found
    }

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        let (folder, database) = (cx.path(&with.folder), database(&access(with, cx)?));
        let Some(release) = &with.release else {
            return Ok(Observation::Anew(going(with, &database, None, cx)));
        };
        let path = folder.join(file_name(&database, release));
        let note = Note::of(&path);
        let there = if note.is_some() { digest(&path).await? } else { None };
        let made = match (note, there) {
            (Some(note), Some((sha256, _))) if sha256 == note.sha256 => return Ok(Observation::Satisfied(out(&path, &note))),
            (Some(note), Some((sha256, _))) => {
                Some(Change { field: "sha256".into(), old: json!(sha256), new: json!(note.sha256), owner: Some(note.mark) })
            }
            (_, _) => None,
        };
        let going = going(with, &database, Some(&path), cx);
        if made.is_none() && going.is_empty() {
            return Ok(Observation::Absent);
        }
        let made = made.unwrap_or_else(|| Change::new(shown(&path), Json::Null, json!("a backup")));
        Ok(Observation::Differs([vec![made], going].concat()))
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let access = access(with, cx)?;
        let folder = cx.path(&with.folder);
        fs::create_dir_all(&folder).map_err(|e| failed("cannot make the folder", &folder, &e))?;
        let (path, note) = match earlier(&folder, cx).await? {
            Some((path, note)) => {
                cx.log(format!("{} is there already, from an attempt before", path.display()));
                (path, note)
            }
            None => make(&Tools { with, access: &access, folder: &folder, cx }).await?,
        };
        if let Some(keep) = with.keep {
            kept::prune(&folder, &note, &path, keep, cx)?;
        }
        Ok(out(&path, &note))
    }

    async fn verify(_with: &With, out: &Out, _cx: &ReadCx) -> Result<(), KindError> {
        match digest(Path::new(&out.path)).await? {
            Some((sha256, size)) if sha256 == out.sha256 && size == out.size => Ok(()),
            Some(_) => Err(KindError::new(format!("`{}` is not what was written", out.path))),
            None => Err(KindError::new(format!("`{}` is gone", out.path))),
        }
    }

    async fn undo(record: &Json, _cx: &Cx) -> Result<(), KindError> {
        let record: Record = recorded(record)?;
        match fs::remove_file(&record.aside) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed("cannot remove", &record.aside, &e)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn access(with: &With, cx: &ReadCx) -> Result<Access, KindError> {
    let access = Access::of(&with.server, with.password.as_deref(), with.timeout, cx)?;
    Ok(match &with.database {
        Some(database) => access.at(database),
        None => access,
    })
}

fn database(access: &Access) -> String {
    access.server.database.clone().unwrap_or_default()
}

fn file_name(database: &str, what: &str) -> String {
    format!("{}-{what}.dump", encode(database))
}

fn out(path: &Path, note: &Note) -> Out {
    Out { path: path.display().to_string(), sha256: note.sha256.clone(), size: note.size, server_version: note.server_version.clone() }
}

fn shown(path: &Path) -> String {
    path.file_name().unwrap_or_default().display().to_string()
}

/// What `keep` removes once the backup at `path` is there: each file, since when it is there.
fn going(with: &With, database: &str, path: Option<&Path>, cx: &ReadCx) -> Vec<Change> {
    let Some(keep) = with.keep else { return Vec::new() };
    let all = kept::surplus(&cx.path(&with.folder), (&super::mark(cx), database), path, keep);
    let gone = |(path, note): (PathBuf, Note)| Change {
        field: shown(&path),
        old: json!(note.taken_at),
        new: json!("removed"),
        owner: Some(note.mark),
    };
    all.into_iter().map(gone).collect()
}

/// What an attempt before this one brought to its end.
async fn earlier(folder: &Path, cx: &Cx) -> Result<Option<(PathBuf, Note)>, KindError> {
    for (path, note) in kept::notes(folder) {
        if note.key == cx.idempotency_key && digest(&path).await?.is_some_and(|(sha256, _)| sha256 == note.sha256) {
            return Ok(Some((path, note)));
        }
    }
    Ok(None)
}

async fn make(tools: &Tools<'_>) -> Result<(PathBuf, Note), KindError> {
    let cx = tools.cx;
    let server_version = tools.fitting().await?;
    let aside = tools.folder.join(format!(".trees-{}.part", &hash::bytes(cx.idempotency_key.as_bytes())[..16]));
    cx.intend(Record { aside: aside.clone() }).await?;
    let made = finished(tools, &aside, server_version).await;
    match &made {
        Ok((path, note)) => cx.log(format!("backed {} up to {}, {} bytes", note.database, path.display(), note.size)),
        Err(_) => {
            // The first error is the one to tell.
            let _ = fs::remove_file(&aside);
        }
    }
    made
}

/// Dumps aside, looks through, and gives it its name.
async fn finished(tools: &Tools<'_>, aside: &Path, server_version: String) -> Result<(PathBuf, Note), KindError> {
    let (with, cx, database) = (tools.with, tools.cx, database(tools.access));
    kept::begin(aside)?;
    tools.dump(aside).await?;
    tools.look_through(aside).await?;
    let (sha256, size) = kept::settle(aside).await?;
    let now = Timestamp::now();
    let what = with.release.clone().unwrap_or_else(|| format!("{}-{}", now.strftime("%Y%m%dT%H%M%SZ"), cx.run.0));
    let note = Note {
        mark: super::mark(cx),
        server: tools.access.server.to_string(),
        database: database.clone(),
        release: with.release.clone(),
        run: cx.run.0.clone(),
        key: cx.idempotency_key.clone(),
        taken_at: now,
        sha256,
        size,
        server_version,
    };
    let path = tools.folder.join(file_name(&database, &what));
    note.put(&path, aside)?;
    Ok((path, note))
}

/// `pg_dump` and `pg_restore`, told who connects where.
struct Tools<'a> {
    with: &'a With,
    access: &'a Access,
    folder: &'a Path,
    cx: &'a Cx,
}

impl Tools<'_> {
    fn program(&self, name: &str) -> String {
        self.with.bin.as_ref().map_or_else(|| name.to_owned(), |bin| self.cx.path(bin).join(name).display().to_string())
    }

    /// The variables of libpq and no others of it; the password stands in no argument and in no file.
    fn surroundings(&self) -> ReadCx {
        let server = &self.access.server;
        let mut env: Vec<(String, String)> = self.cx.env.iter().filter(|(name, _)| !name.starts_with("PG")).cloned().collect();
        let mut put = |name: &str, value: String| env.push((name.into(), value));
        put("PGHOST", server.host.clone());
        put("PGPORT", server.port.to_string());
        put("PGUSER", server.user.clone());
        put("PGDATABASE", database(self.access));
        put("PGSSLMODE", server.sslmode.word().into());
        put("PGCONNECT_TIMEOUT", self.access.limit.as_secs().max(2).to_string());
        put("PGAPPNAME", "trees".into());
        match (&server.sslrootcert, server.sslmode) {
            (Some(_), _) if server.authority().is_some() => {
                put("PGSSLROOTCERT", self.cx.path(server.authority().unwrap_or_default()).display().to_string());
            }
            (Some(_), _) | (None, SslMode::VerifyFull) => put("PGSSLROOTCERT", "system".into()),
            (None, SslMode::Disable | SslMode::Prefer | SslMode::Require | SslMode::VerifyCa) => {}
        }
        if let Some(password) = &self.access.password {
            put("PGPASSWORD", password.clone());
        }
        ReadCx { env: Arc::new(env), cancel: self.cx.cancel.child_token(), ..self.cx.read.clone() }
    }

    async fn run(&self, program: &str, args: &[&str]) -> Result<Done, KindError> {
        let around = self.surroundings();
        let work = command::run(&around, Some(self.cx), self.folder, program, args);
        tokio::pin!(work);
        let limit = self.with.dump_timeout.0;
        tokio::select! {
            done = &mut work => done,
            () = tokio::time::sleep(limit) => {
                around.cancel.cancel();
                // It is ended before its file is touched.
                let _ = work.await;
                Err(KindError::transient(format!("`{program}` took longer than {}", units::show(limit))))
            }
        }
    }

    /// The version of the server, where this `pg_dump` can dump it.
    async fn fitting(&self) -> Result<String, KindError> {
        let reader = self.access.read(self.cx).await?;
        let select = "SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS number";
        let row = reader.row("ask for the server's version", select, &[]).await?;
        let row = row.ok_or_else(|| KindError::new("the server says nothing of its version"))?;
        let (version, number): (String, i32) = (get(&row, "version")?, get(&row, "number")?);
        let program = self.program("pg_dump");
        let done = self.run(&program, &["--version"]).await?;
        let own = major(&done.out).ok_or_else(|| {
            KindError::new(format!(
                "`{program} --version` says `{}`, which is no version",
                self.cx.head(&format!("{}{}", done.out, done.err), 200)
            ))
        })?;
        if own < number / 10_000 {
            return Err(KindError::new(format!("`{program}` is of PostgreSQL {own} and cannot dump a server of {version}"))
                .help(format!("install the client programs of {} or later, and name their folder with `bin`", number / 10_000)));
        }
        Ok(version)
    }

    async fn dump(&self, aside: &Path) -> Result<(), KindError> {
        let program = self.program("pg_dump");
        let file = format!("--file={}", aside.display());
        let wait = format!("--lock-wait-timeout={}", self.access.limit.as_millis());
        let done = self.run(&program, &["--format=custom", "--no-password", &wait, &file]).await?;
        self.good(&program, &done, &format!("back `{}` at {} up", database(self.access), self.access.server))
    }

    /// A dump that cannot be listed cannot be restored.
    async fn look_through(&self, aside: &Path) -> Result<(), KindError> {
        let program = self.program("pg_restore");
        let done = self.run(&program, &["--list", &aside.display().to_string()]).await?;
        self.good(&program, &done, "read the backup that was just made")
    }

    fn good(&self, program: &str, done: &Done, asked: &str) -> Result<(), KindError> {
        if done.ok() {
            return Ok(());
        }
        let code = done.code.map_or_else(|| "was killed".into(), |code| format!("exited with {code}"));
        let message = format!("cannot {asked}: `{program}` {code}: {}", self.cx.head(&done.err, 800));
        let passing = ["could not connect", "connection to server", "terminat", "lock timeout", "canceling statement"];
        Err(KindError { transient: passing.iter().any(|part| done.err.contains(part)), ..KindError::new(message) })
    }
}

/// Of `pg_dump (PostgreSQL) 15.18 (Debian …)`.
fn major(version: &str) -> Option<i32> {
    let number = version.split_once("(PostgreSQL)")?.1.trim_start();
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
