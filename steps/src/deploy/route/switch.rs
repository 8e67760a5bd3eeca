//! From one target to another: tested aside, intended, swapped, loaded, asked; and back.

use super::server::Nginx;
use super::text::{Found, Wanted, mark};
use super::workers::Worker;
use super::{Out, With};
use crate::file::{Written, failed, replace};
use crate::period::Period;
use crate::window::{Probe, Window};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trees_core::hash;
use trees_runner::kind::{Cx, KindError, ReadCx, Reader};

/// How a route is taken back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Its file, and what was there.
    written: Written,
    /// Whose file it is.
    mark: String,
    /// The nginx that reads it.
    nginx: Nginx,
    /// Where it is noted which text of it was loaded.
    loaded: PathBuf,
    /// What requests get that the target still serves when it is led back: what is built on the route ends after that.
    #[serde(default = "crate::default::ten_seconds")]
    drain: Period,
}

/// Where it is noted which text of a route's file nginx has taken: a run that was killed between the
/// swap and the reload is known by it.
pub fn note(file: &Path, cx: &ReadCx) -> PathBuf {
    let name = hash::bytes(file.as_os_str().as_encoded_bytes());
    cx.state.join("route").join("loaded").join(&name[..16])
}

/// Whether nginx has taken this text.
pub fn is_loaded(note: &Path, text: &str) -> bool {
    fs::read_to_string(note).is_ok_and(|noted| noted == hash::bytes(text.as_bytes()))
}

/// Makes the route so, under the lock of its nginx.
///
/// # Errors
/// When nginx refuses it or does not take it, or its target does not answer well; what was before serves then.
pub async fn alone(with: &With, cx: &Cx) -> Result<Out, KindError> {
    let nginx = Nginx::of(with, cx);
    let _locked = nginx.lock(cx).await?;
    let done = switch(with, &nginx, cx).await;
    if done.is_err()
        && let Err(e) = nginx.clear().await
    {
        cx.log(e.message);
    }
    done
}

async fn switch(with: &With, nginx: &Nginx, cx: &Cx) -> Result<Out, KindError> {
    let file = nginx.file(&with.name);
    let found = Found::read(&file)?;
    let wanted = Wanted::new(with, cx, found.as_ref())?;
    if super::changes(with, nginx, found.as_ref(), &wanted, cx).await?.is_empty() {
        return Ok(super::out(with, &wanted, None));
    }
    if let (Some(owner), false) = (found.as_ref().and_then(|found| found.stranger(&mark(&with.name, cx))), with.take_over) {
        return Err(KindError::new(format!("`{}` belongs to {owner}; it is left alone", file.display()))
            .help("give the route another name, or write `take_over: true`"));
    }
    nginx.test(&file, &wanted.text, &with.server_names, cx).await?;
    let record = intended(&wanted, &file, nginx, with, cx).await?;
    record.written.put(wanted.text.as_bytes(), Some(0o600))?;
    match serve(with, nginx, &record, &wanted, cx).await {
        Ok(()) => Ok(super::out(with, &wanted, Some(found.map(|found| found.leads_to()).unwrap_or_default()))),
        Err(wrong) => Err(back(&record, cx, wrong).await),
    }
}

async fn intended(wanted: &Wanted, file: &Path, nginx: &Nginx, with: &With, cx: &Cx) -> Result<Record, KindError> {
    let written = Written::plan(file, wanted.text.as_bytes(), cx)?;
    let record = Record { written, mark: mark(&with.name, cx), nginx: nginx.clone(), loaded: note(file, cx), drain: with.drain };
    cx.intend(&record).await?;
    Ok(record)
}

async fn serve(with: &With, nginx: &Nginx, record: &Record, wanted: &Wanted, cx: &Cx) -> Result<(), KindError> {
    cx.progress(None, "reloading nginx");
    let leaving = nginx.load(cx).await?;
    replace(&record.loaded, record.written.sha256.as_bytes(), 0o600)?;
    if let Some(verify) = &with.verify {
        let window =
            Window { ok_in_row: 2, every: Duration::from_millis(100), first_ok_within: verify.within.0, stable_for: Duration::ZERO };
        let reader = verify.reader(cx).await?;
        window.pass(cx, &format!("GET {}", verify.url), || ask(verify, &reader, cx)).await?;
    }
    cx.log(format!("{} leads to {}", with.name, wanted.to.join(", ")));
    drained(with.drain, &leaving, cx).await
}

/// Waits for the requests that the old workers still serve; what lasts longer is left to them.
async fn drained(drain: Period, leaving: &[Worker], cx: &Cx) -> Result<(), KindError> {
    let begun = Instant::now();
    while leaving.iter().any(|worker| worker.process.is_alive()) {
        if begun.elapsed() >= drain.0 {
            cx.log("some connections to the target before have not ended; nginx keeps them until they do");
            return Ok(());
        }
        cx.sleep(Duration::from_millis(20)).await?;
    }
    Ok(())
}

/// One look from outside.
pub async fn ask(verify: &super::Verify, reader: &Reader, cx: &ReadCx) -> Probe<()> {
    let request = match crate::http::url(&verify.url).and_then(|url| reader.get(url).map_err(|e| e.message)) {
        Ok(request) => request.timeout(Duration::from_secs(5)),
        Err(wrong) => return Probe::hopeless(wrong),
    };
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(e) => return Probe::bad(crate::http::causes(&e)),
    };
    let status = answer.status();
    let text = match crate::http::body(answer, 1 << 20).await {
        Ok(body) => body.text,
        Err(e) => return Probe::bad(format!("{}, then {}", status.as_u16(), e.message)),
    };
    let seen = format!("{}: {}", status.as_u16(), cx.head(&text, 200));
    match &verify.contains {
        _ if !status.is_success() => Probe::bad(seen),
        Some(part) if !text.contains(part) => Probe::bad(format!("wanted a body with `{}`; {seen}", cx.head(part, 100))),
        Some(_) | None => Probe::good((), seen),
    }
}

/// Puts the target before back; its own deadline, since the attempt may be over.
async fn back(record: &Record, cx: &Cx, wrong: KindError) -> KindError {
    let mut cx = cx.clone();
    cx.read.cancel = CancellationToken::new();
    let message = match take_back(record, &cx).await {
        Ok(()) if record.written.before.is_some() => format!("{}\nwhat the route led to before was put back", wrong.message),
        Ok(()) => format!("{}\nthe route was removed again", wrong.message),
        Err(e) => format!("{}\nand what was before cannot be put back: {}", wrong.message, e.message),
    };
    KindError { message, ..wrong }
}

/// Takes it back under the lock of its nginx.
///
/// # Errors
/// When somebody changed the file by hand, or nginx does not take what was before.
pub async fn undo(record: &Record, cx: &Cx) -> Result<(), KindError> {
    let gone = record.nginx.root.as_ref().is_some_and(|root| !root.exists());
    if gone || !record.nginx.folder.exists() && record.nginx.root.is_none() {
        return Ok(());
    }
    let _locked = record.nginx.lock(cx).await?;
    take_back(record, cx).await?;
    record.nginx.clear().await
}

async fn take_back(record: &Record, cx: &Cx) -> Result<(), KindError> {
    let file = &record.written.path;
    let now = Found::read(file)?;
    let digest = now.as_ref().map(|now| hash::bytes(now.text.as_bytes()));
    let before = record.written.before.as_ref().map(|before| before.sha256.clone());
    let ours = digest.as_ref() == Some(&record.written.sha256);
    if let Some(now) = now.filter(|now| !ours && digest != before && now.mark == record.mark && is_loaded(&record.loaded, &now.text)) {
        cx.log(format!("nothing to take back: the route was led to {} since", now.leads_to()));
        return Ok(());
    }
    record.written.undo(cx)?;
    let noted = fs::read_to_string(&record.loaded).ok();
    if !ours && noted.as_ref().is_none_or(|noted| Some(noted) == before.as_ref()) {
        return Ok(());
    }
    if record.nginx.root.is_some() && before.is_some() || record.nginx.master()?.is_some() {
        let leaving = record.nginx.load(cx).await?;
        drained(record.drain, &leaving, cx).await?;
    }
    match &before {
        Some(before) => replace(&record.loaded, before.as_bytes(), 0o600),
        None => fs::remove_file(&record.loaded)
            .or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(failed("cannot remove", &record.loaded, &e)) }),
    }
}
