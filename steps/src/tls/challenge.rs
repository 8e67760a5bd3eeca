//! What a directory looks at to see that a name is ours: put up for the time of an order, recorded
//! before, taken away in every case.

use super::acme::pending::Pending;
use super::responder::Responder;
use crate::file::{failed, replace};
use crate::number::Port;
use instant_acme::{ChallengeType, Identifier};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use trees_core::hash;
use trees_runner::kind::{Cx, KindError};

/// How the names are proved: by exactly one of these.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Challenge {
    /// By a file over HTTP: the directory asks each name on port 80.
    #[serde(default)]
    pub http: Option<Http>,
}

/// A file over HTTP, by exactly one of `folder` and `port`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Http {
    /// The web root of a server that answers for all the names on port 80; the file stands below `.well-known/acme-challenge`.
    #[serde(default)]
    pub folder: Option<String>,
    /// A port on which the step itself answers for the time of the order; what reaches port 80 from outside must lead here.
    #[serde(default)]
    pub port: Option<Port>,
    /// The address `port` is opened on; without, all of this machine.
    #[serde(default)]
    pub address: Option<String>,
}

impl Challenge {
    /// What is wrong with it, for these names.
    pub fn wrong(&self, names: &[String]) -> Vec<String> {
        let Some(http) = &self.http else { return vec!["challenge: give `http`".into()] };
        let mut wrong = Vec::new();
        match (&http.folder, &http.port) {
            (Some(folder), None) if folder.is_empty() => wrong.push("challenge.http.folder: it is empty".into()),
            (Some(_), None) | (None, Some(_)) => {}
            (Some(_), Some(_)) | (None, None) => wrong.push("challenge.http: give exactly one of `folder` and `port`".into()),
        }
        if http.address.is_some() && http.port.is_none() {
            wrong.push("challenge.http.address: it goes with `port`".into());
        }
        let wildcards = names.iter().filter(|name| name.starts_with("*."));
        wrong.extend(wildcards.map(|name| format!("names: `{name}` cannot be proved over HTTP: directories ask for DNS there")));
        wrong
    }
}

/// What was put up, and how it is taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub enum Trace {
    /// A file in a web root.
    File {
        /// The file.
        path: PathBuf,
        /// The digest of its content.
        sha256: String,
        /// The folders made for it, the outermost first.
        folders: Vec<PathBuf>,
    },
}

impl Trace {
    /// Takes it away; nothing where it is away already, or not ours any more.
    ///
    /// # Errors
    /// When it cannot be taken away.
    pub fn remove(&self) -> Result<(), KindError> {
        match self {
            Self::File { path, sha256, folders } => {
                match std::fs::read(path) {
                    Ok(content) if hash::bytes(&content) == *sha256 => {
                        std::fs::remove_file(path).map_err(|e| failed("cannot remove", path, &e))?;
                    }
                    Ok(_) => {}
                    Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                    Err(e) => return Err(failed("cannot read", path, &e)),
                }
                for folder in folders.iter().rev() {
                    // What is not empty is in use by somebody else.
                    let _ = std::fs::remove_dir(folder);
                }
                Ok(())
            }
        }
    }
}

enum Way {
    Folder(PathBuf),
    Port(Responder),
}

/// Where challenges are put up, and what stands there.
pub struct Board<'a> {
    cx: &'a Cx,
    way: Way,
    traces: Mutex<Vec<Trace>>,
    /// The order's file, in which the traces are kept too.
    file: Mutex<Option<(PathBuf, Pending)>>,
}

impl<'a> Board<'a> {
    /// Opens it: the port listens, the web root is there.
    ///
    /// # Errors
    /// When the port cannot be had, or there is no such folder.
    pub async fn open(challenge: &Challenge, cx: &'a Cx) -> Result<Self, KindError> {
        let way = match &challenge.http {
            Some(Http { folder: Some(folder), .. }) => Way::Folder(web_root(&cx.path(folder))?),
            Some(Http { port: Some(port), address, .. }) => Way::Port(Responder::start(address.as_deref(), port.0).await?),
            Some(Http { folder: None, port: None, .. }) | None => return Err(KindError::new("challenge: it names no way")),
        };
        Ok(Self { cx, way, traces: Mutex::default(), file: Mutex::default() })
    }

    /// The ACME name of the way.
    pub fn kind(&self) -> ChallengeType {
        match &self.way {
            Way::Folder(_) | Way::Port(_) => ChallengeType::Http01,
        }
    }

    /// The way as a word.
    pub fn word(&self) -> &'static str {
        match &self.way {
            Way::Folder(_) | Way::Port(_) => "HTTP (http-01)",
        }
    }

    /// What a try before this one put up.
    pub fn found(&self, traces: &[Trace]) {
        self.traces().extend_from_slice(traces);
    }

    /// From now on what is put up is kept in the order's file too, before it is put up.
    pub fn keep_in(&self, file: &Path, pending: &Pending) {
        *locked(&self.file) = Some((file.to_path_buf(), pending.clone()));
    }

    /// Puts up the answer for one name.
    ///
    /// # Errors
    /// When it cannot be put up.
    pub async fn put(&self, name: &Identifier, token: &str, answer: &str, _value: &str) -> Result<(), KindError> {
        let plain = !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if !plain {
            return Err(KindError::new(format!("the directory's token for `{}` is none that ACME allows", name.authorized(false))));
        }
        match &self.way {
            Way::Port(responder) => {
                responder.answer(token, answer);
                Ok(())
            }
            Way::Folder(root) => self.put_file(&root.join(".well-known").join("acme-challenge").join(token), answer).await,
        }
    }

    async fn put_file(&self, path: &Path, answer: &str) -> Result<(), KindError> {
        let trace = Trace::File { path: path.to_path_buf(), sha256: hash::bytes(answer.as_bytes()), folders: missing_folders(path) };
        self.cx.intend(super::certificate::Record::Trace(trace.clone())).await?;
        self.note(trace)?;
        replace(path, answer.as_bytes(), 0o644)
    }

    fn note(&self, trace: Trace) -> Result<(), KindError> {
        self.traces().push(trace);
        match &mut *locked(&self.file) {
            Some((file, pending)) => {
                pending.traces.clone_from(&*self.traces());
                pending.write(file)
            }
            None => Ok(()),
        }
    }

    /// Waits until what was put up can be seen.
    ///
    /// # Errors
    /// When it cannot be seen in time.
    pub async fn settle(&self) -> Result<(), KindError> {
        match &self.way {
            Way::Folder(_) | Way::Port(_) => Ok(()),
        }
    }

    /// Takes away all that was put up. What cannot be taken away is said, and stays recorded.
    pub async fn clear(&self) {
        let traces = std::mem::take(&mut *self.traces());
        for trace in traces.into_iter().rev() {
            if let Err(wrong) = trace.remove() {
                self.cx.log(format!("what was put up for the directory cannot be taken away: {wrong}"));
                self.traces().push(trace);
            }
        }
    }

    fn traces(&self) -> MutexGuard<'_, Vec<Trace>> {
        locked(&self.traces)
    }
}

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

fn web_root(folder: &Path) -> Result<PathBuf, KindError> {
    if folder.is_dir() {
        return Ok(folder.to_path_buf());
    }
    Err(KindError::new(format!("challenge.http.folder: `{}` is no folder", folder.display()))
        .help("name the web root of the server that answers for the names on port 80"))
}

fn missing_folders(path: &Path) -> Vec<PathBuf> {
    let mut missing: Vec<PathBuf> = path.ancestors().skip(1).take_while(|folder| !folder.exists()).map(Path::to_path_buf).collect();
    missing.reverse();
    missing
}
