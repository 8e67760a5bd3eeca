//! Runs that end half-way: dropped, killed, cancelled.

use super::{Site, files, mode, until};
use crate::tls::certificate::Certificate;
use serde_json::json;
use std::fs;
use std::path::PathBuf;

/// Runs until the directory looks at what was put up, looks itself, then gives up.
async fn cut_off<T>(site: &Site, look: impl FnOnce() -> T) -> T {
    site.web.hold();
    let seen = {
        let work = site.bench.run::<Certificate>(site.with(json!({})));
        tokio::pin!(work);
        tokio::select! {
            done = &mut work => panic!("not held back: {:?}", done.map(|_| ())),
            // Three for each name.
            () = until("questions", || site.web.waiting() == 6) => {}
        }
        look()
    };
    until("end of what was put up", || site.left().is_empty()).await;
    seen
}

#[tokio::test]
async fn an_order_that_was_cut_off_is_gone_on_with() {
    let site = Site::new();
    cut_off(&site, || {
        let order = site.order().unwrap();
        assert_eq!(mode(&order), 0o600);
    })
    .await;
    assert!(!site.bench.path("tls").exists());
    site.web.release();
    assert!(site.run(json!({})).await.unwrap().1);
    assert_eq!((site.pebble.orders(), site.order()), (1, None));
    site.bench.undo::<Certificate>().await.unwrap();
    assert!(!site.bench.path("tls").exists());
}

#[tokio::test]
async fn what_a_killed_run_left_is_taken_away_by_undo_and_by_the_next_run() {
    let site = Site::new();
    let (up, order) = cut_off(&site, || {
        let up: Vec<_> = files(&site.bench.path("web")).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        let order = site.order().unwrap();
        (up, (order.clone(), fs::read(order).unwrap()))
    })
    .await;
    assert_eq!(up.len(), 2);
    let as_killed = || {
        for (path, content) in up.iter().chain([&order]) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    };
    as_killed();
    site.bench.undo::<Certificate>().await.unwrap();
    assert_eq!(site.left(), Vec::<PathBuf>::new());
    as_killed();
    site.web.release();
    let (out, _) = site.run(json!({})).await.unwrap();
    assert_eq!((site.pebble.orders(), site.order()), (1, None));
    // As killed after the version was written, before the switch.
    as_killed();
    fs::remove_file(site.bench.path("tls/a/current")).unwrap();
    assert_eq!(site.run(json!({})).await.unwrap(), (out, true));
    assert_eq!((site.pebble.orders(), site.folder().versions().len()), (1, 1));
}

#[tokio::test]
async fn another_wish_does_not_go_on_with_the_order() {
    let site = Site::new();
    cut_off(&site, || ()).await;
    site.web.release();
    let (out, _) = site.run(json!({ "names": ["c.test"] })).await.unwrap();
    assert_eq!((out.names, site.pebble.orders()), (vec!["c.test".into()], 2));
}

#[tokio::test]
async fn a_cancelled_attempt_ends_and_leaves_nothing() {
    let site = Site::new();
    site.web.hold();
    let (wrong, ()) = tokio::join!(site.wrong(json!({}), "ended while "), async {
        until("question", || site.web.waiting() > 0).await;
        site.bench.cancel();
    });
    assert!(wrong.transient);
}
