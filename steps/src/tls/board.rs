//! Where challenges are put up for the time of an order: recorded before, taken away in every case.

use super::acme::pending::Pending;
use super::challenge::{Challenge, Dns, Http};
use super::responder::Responder;
use super::trace::{Trace, add};
use crate::dns;
use crate::dns::Texts;
use crate::dns::place::Place;
use crate::dns::value::Type;
use crate::file::replace;
use crate::period::Period;
use instant_acme::{ChallengeType, Identifier};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use trees_core::hash;
use trees_runner::kind::{Cx, Kind as _, KindError};

/// What taking everything away may need, after the order has ended.
const PATIENCE: Duration = Duration::from_secs(60);

enum Way {
    Folder(PathBuf),
    Port(Responder),
    Dns(Box<Dns>),
}

/// The place, and what stands there.
pub struct Board<'a> {
    cx: &'a Cx,
    way: Way,
    limit: Duration,
    traces: Mutex<Vec<Trace>>,
    /// The order's file, in which the traces are kept too.
    file: Mutex<Option<(PathBuf, Pending)>>,
}

impl<'a> Board<'a> {
    /// Opens it: the port listens, the web root is there. `limit` is for a record to be seen.
    ///
    /// # Errors
    /// When the port cannot be had, or there is no such folder.
    pub async fn open(challenge: &Challenge, limit: Duration, cx: &'a Cx) -> Result<Self, KindError> {
        let way = match (&challenge.http, &challenge.dns) {
            (Some(Http { folder: Some(folder), .. }), None) => Way::Folder(web_root(&cx.path(folder))?),
            (Some(Http { port: Some(port), address, .. }), None) => Way::Port(Responder::start(address.as_deref(), port.0).await?),
            (None, Some(dns)) => Way::Dns(Box::new(dns.clone())),
            (Some(_), _) | (None, None) => return Err(KindError::new("challenge: it names no way, or two")),
        };
        Ok(Self { cx, way, limit, traces: Mutex::default(), file: Mutex::default() })
    }

    /// The ACME name of the way.
    pub fn kind(&self) -> ChallengeType {
        match &self.way {
            Way::Folder(_) | Way::Port(_) => ChallengeType::Http01,
            Way::Dns(_) => ChallengeType::Dns01,
        }
    }

    /// The way as a word.
    pub fn word(&self) -> &'static str {
        match &self.way {
            Way::Folder(_) | Way::Port(_) => "HTTP (http-01)",
            Way::Dns(_) => "DNS (dns-01)",
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

    /// Puts up the answer for one name: the text over HTTP, or the value in DNS.
    ///
    /// # Errors
    /// When it cannot be put up.
    pub async fn put(&self, name: &Identifier, token: &str, answer: &str, value: &str) -> Result<(), KindError> {
        let name = name.authorized(false).to_string();
        let plain = !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if !plain {
            return Err(KindError::new(format!("the directory's token for `{name}` is none that ACME allows")));
        }
        match &self.way {
            Way::Port(responder) => {
                responder.answer(token, answer);
                Ok(())
            }
            Way::Folder(root) => self.put_file(&root.join(".well-known").join("acme-challenge").join(token), answer).await,
            Way::Dns(dns) => self.put_record(dns, &name, value).await,
        }
    }

    async fn put_file(&self, path: &Path, answer: &str) -> Result<(), KindError> {
        let sha256 = hash::bytes(answer.as_bytes());
        self.note(Trace::File { path: path.to_path_buf(), sha256, folders: missing_folders(path) }).await?;
        // Another step may take away the folders it made at this very moment.
        let write = || replace(path, answer.as_bytes(), 0o644);
        write().or_else(|_| write()).or_else(|_| write())
    }

    async fn put_record(&self, dns: &Dns, name: &str, value: &str) -> Result<(), KindError> {
        let at = dns.place(name).map_err(KindError::new)?;
        let value = compared(&at, value)?;
        let provider = Box::new(dns.provider.clone());
        self.note(Trace::Txt { provider, zone: at.zone(), name: at.name(), value: value.clone() }).await?;
        add(&dns.provider, &at, &value, self.cx).await
    }

    /// Records what is about to be put up.
    async fn note(&self, trace: Trace) -> Result<(), KindError> {
        self.cx.intend(super::certificate::Record::Trace(trace.clone())).await?;
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
        let Way::Dns(dns) = &self.way else { return Ok(()) };
        let traces = self.traces().clone();
        for trace in traces {
            if let Trace::Txt { name, value, .. } = trace {
                dns::check::Check::apply(&self.question(dns, name, value), self.cx).await?;
            }
        }
        Ok(())
    }

    fn question(&self, dns: &Dns, name: String, value: String) -> dns::check::With {
        dns::check::With {
            name,
            kind: Type::Txt,
            values: None,
            contains: Some(Texts::One(value)),
            server: dns.authority.clone(),
            resolver: None,
            ok_in_row: 1,
            every: Period::seconds(1),
            first_ok_within: Period(self.limit),
            stable_for: Period::seconds(0),
            timeout: Period::seconds(5),
        }
    }

    /// Takes away all that was put up, even when the attempt must end. What cannot be taken away is
    /// said, and stays recorded.
    pub async fn clear(&self) {
        let mut cx = self.cx.clone();
        cx.read.cancel = CancellationToken::new();
        let traces = std::mem::take(&mut *self.traces());
        for trace in traces.into_iter().rev() {
            let removed = tokio::time::timeout(PATIENCE, trace.remove(&cx)).await;
            if let Err(wrong) = removed.unwrap_or_else(|_| Err(KindError::transient("no answer in time"))) {
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

/// A value in the form in which records are compared.
fn compared(at: &Place, value: &str) -> Result<String, KindError> {
    let values = at.values([&value.to_owned()]).map_err(|wrong| KindError::new(wrong.join("; ")))?;
    values.into_iter().next().ok_or_else(|| KindError::new("the directory wants an empty record"))
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
