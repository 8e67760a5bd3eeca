//! What the tests of these kinds stand on: a shared server, and a step that dies at any moment.

use serde_json::{Value, json};
use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use trees_servers::postgres::{PASSWORD, Postgres};

/// `with` of a step at this server.
pub fn with(server: &Postgres, extra: Value) -> Value {
    let mut with = json!({ "server": server.url(), "password": PASSWORD });
    with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    with
}

/// How many statements that write, and name this, the server got.
pub fn writes(server: &Postgres, name: &str) -> usize {
    let verbs = ["CREATE", "ALTER", "DROP", "COMMENT", "GRANT", "REVOKE", "INSERT", "UPDATE", "DELETE"];
    let log = server.logged();
    log.lines()
        .filter(|l| l.contains("statement: ") || l.contains("execute "))
        .filter(|l| l.contains(name) && verbs.iter().any(|v| l.contains(v)))
        .count()
}

/// Lets a future go on so many times, then drops it, as a process that is killed; `Some`: it came to its end.
pub async fn killed_after<T>(times: usize, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut left = times;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(cx).map(Some)
    })
    .await
}
