//! Work that is brought to an end though nobody waits for it any more.

use std::future::Future;
use trees_runner::kind::{Cx, KindError};

/// Runs `work` in a task of its own: an attempt that is given up half-way is still brought to an end,
/// with what was there before in its place. `what` names it where it ends early.
///
/// # Errors
/// Those of the work.
pub async fn carried<With, Work, Out>(what: &str, with: &With, cx: &Cx, work: impl FnOnce(With, Cx) -> Work) -> Result<Out, KindError>
where
    With: Clone,
    Work: Future<Output = Result<Out, KindError>> + Send + 'static,
    Out: Send + 'static,
{
    let mut cx = cx.clone();
    cx.read.cancel = cx.read.cancel.child_token();
    let _given_up = cx.read.cancel.clone().drop_guard();
    let task = tokio::spawn(work(with.clone(), cx));
    task.await.map_err(|e| KindError::new(format!("{what} ended early: {e}")))?
}
