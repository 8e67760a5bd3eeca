//! One at a time: a lock in a folder of this machine that dies with its holder.

use crate::file::failed;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;
use trees_core::units;
use trees_runner::kind::{Cx, KindError};

/// Lets others work when dropped.
pub struct Locked(#[expect(dead_code, reason = "held, not read")] File);

/// Takes the lock, waiting for another holder up to `limit`.
///
/// # Errors
/// When the file cannot be made, or the other takes too long.
pub async fn lock(path: &Path, what: &str, limit: Duration, cx: &Cx) -> Result<Locked, KindError> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        if let Some(locked) = try_lock(path)? {
            return Ok(locked);
        }
        if begun.elapsed() > limit {
            return Err(KindError::transient(format!("another step works on {what}, and has not ended for {}", units::show(limit))));
        }
        if !std::mem::replace(&mut told, true) {
            cx.log(format!("another step works on {what}: waiting for it"));
        }
        cx.sleep(Duration::from_millis(50)).await?;
    }
}

/// `None` while another has it, and where the file was removed with its folder meanwhile.
fn try_lock(path: &Path) -> Result<Option<Locked>, KindError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| failed("cannot make the folder", folder, &e))?;
    }
    let file = match OpenOptions::new().create(true).truncate(false).write(true).open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|e| failed("cannot open", path, &e))?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(e)) => return Err(failed("cannot lock", path, &e)),
    }
    let inode = |meta: io::Result<Metadata>| meta.map(|meta| meta.ino()).ok();
    Ok((inode(file.metadata()) == inode(fs::metadata(path))).then_some(Locked(file)))
}

#[cfg(test)]
mod tests {
    use super::lock;
    use crate::bench::Bench;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_and_not_for_ever() {
        let bench = Bench::new();
        let (path, cx, limit) = (bench.path("a/lock"), bench.cx(), Duration::from_secs(60));
        let held = lock(&path, "it", limit, &cx).await.unwrap();
        let wrong = lock(&path, "it", limit, &cx).await.err().unwrap();
        assert!(wrong.transient && wrong.message == "another step works on it, and has not ended for 1m", "{}", wrong.message);
        drop(held);
        let held = lock(&path, "it", limit, &cx).await.unwrap();
        bench.cancel();
        let wrong = lock(&path, "it", limit, &cx).await.err().unwrap();
        assert_eq!(wrong.message, "ended while waiting");
        drop(held);
    }
}
