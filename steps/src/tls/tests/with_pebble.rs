//! `tls/certificate` against a real ACME directory, with real checks of what was put up.

mod cut_off;
mod with_powerdns;

use super::web::Web;
use crate::bench::{Bench, Server};
use crate::tls::certificate::{Certificate, Out, Record};
use crate::tls::folder::Folder;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use trees_runner::kind::{Kind as _, KindError};
use trees_servers::free_port;
use trees_servers::pebble::{Options, Pebble};

/// A directory, and the web server of the names.
struct Site {
    bench: Bench,
    web: Web,
    pebble: Pebble,
}

impl Site {
    fn new() -> Self {
        Self::special(|_| {})
    }

    fn special(change: impl FnOnce(&mut Options)) -> Self {
        let bench = Bench::new();
        fs::create_dir_all(bench.path("web")).unwrap();
        let web = Web::start(&bench.path("web"));
        let mut options = Options::new(web.port);
        change(&mut options);
        Self { bench, web, pebble: Pebble::start(&options) }
    }

    fn with(&self, extra: Value) -> Value {
        let mut with = json!({
            "names": ["a.test", "b.test"],
            "directory": self.pebble.directory(),
            "roots": self.pebble.roots(),
            "folder": "tls/a",
            "challenge": { "http": { "folder": "web" } },
            "timeout": "2m",
        });
        with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        with
    }

    async fn run(&self, extra: Value) -> Result<(Out, bool), KindError> {
        let with = self.with(extra);
        let (out, acted) = self.bench.run::<Certificate>(with.clone()).await?;
        Certificate::verify(&serde_json::from_value(with).unwrap(), &out, &self.bench.read()).await.unwrap();
        assert_eq!(self.left(), Vec::<PathBuf>::new(), "what was put up is taken away");
        Ok((out, acted))
    }

    async fn wrong(&self, extra: Value, expected: &str) -> KindError {
        let wrong = self.run(extra.clone()).await.expect_err(expected);
        assert!(wrong.message.contains(expected), "{extra}: {expected}: {}", wrong.message);
        assert_eq!(self.left(), Vec::<PathBuf>::new(), "what was put up is taken away");
        wrong
    }

    /// What stands in the web root.
    fn left(&self) -> Vec<PathBuf> {
        fs::read_dir(self.bench.path("web")).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    fn folder(&self) -> Folder {
        Folder(self.bench.path("tls/a"))
    }

    fn state(&self) -> PathBuf {
        self.bench.read().state
    }

    /// The file of the order under way.
    fn order(&self) -> Option<PathBuf> {
        files(&self.state()).into_iter().find(|path| path.ends_with("order.json"))
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

async fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !ready() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_certificate_is_made_once() {
    let site = Site::new();
    let plan = site.bench.drift::<Certificate>(site.with(json!({}))).await;
    assert_eq!((plan, site.pebble.requests()), (vec!["absent".into()], 0));
    let (out, acted) = site.run(json!({ "email": "ops@a.test" })).await.unwrap();
    assert!(acted && out.issuer.contains("Pebble Intermediate"), "{}", out.issuer);
    assert_eq!(out.names, ["a.test", "b.test"]);
    let (full, cert, chain) =
        (site.bench.text("tls/a/fullchain.pem"), site.bench.text("tls/a/cert.pem"), site.bench.text("tls/a/chain.pem"));
    assert_eq!(full.matches("BEGIN CERTIFICATE").count(), 2);
    assert_eq!((cert.matches("BEGIN").count(), chain.matches("BEGIN").count()), (1, 1));
    assert_eq!((mode(Path::new(&out.privkey)), mode(Path::new(&out.fullchain))), (0o600, 0o644));
    assert!(site.bench.text("tls/a/privkey.pem").contains("BEGIN PRIVATE KEY"));
    let before = site.pebble.requests();
    let (again, acted) = site.run(json!({ "email": "ops@a.test" })).await.unwrap();
    assert_eq!((again, acted), (out.clone(), false));
    assert_eq!((site.pebble.requests(), site.pebble.orders(), site.pebble.accounts()), (before, 1, 1));
    assert_eq!(site.order(), None);
    for path in files(&site.state()).iter().filter(|path| path.extension().is_some_and(|end| end == "json")) {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
    let key = site.bench.text("tls/a/privkey.pem").lines().nth(1).unwrap().to_owned();
    assert!(!serde_json::to_string(&(site.bench.intents(), &out)).unwrap().contains(&key), "the key is in no record and no output");
    site.bench.undo::<Certificate>().await.unwrap();
    assert!(!site.bench.path("tls").exists());
}

#[tokio::test]
async fn it_is_renewed_and_the_account_stays() {
    let site = Site::special(|options| options.life = 6 * 24 * 60 * 60);
    let (first, _) = site.run(json!({})).await.unwrap();
    assert!(!site.run(json!({})).await.unwrap().1, "it has six days: more than a third of its life");
    let early = json!({ "renew_before": "30d" });
    assert_eq!(site.bench.drift::<Certificate>(site.with(early.clone())).await, ["not_after"]);
    let mut fingerprints = vec![first.fingerprint];
    for _ in 0..3 {
        let (out, acted) = site.run(early.clone()).await.unwrap();
        assert!(acted && !fingerprints.contains(&out.fingerprint));
        fingerprints.push(out.fingerprint);
    }
    assert_eq!((site.pebble.orders(), site.pebble.accounts()), (4, 1));
    assert_eq!(site.folder().versions().len(), 3);
    assert!(site.folder().current().unwrap().starts_with("0004-"));
}

#[tokio::test]
async fn other_names_are_another_certificate_and_undo_brings_the_first_back() {
    let site = Site::new();
    let (first, _) = site.run(json!({})).await.unwrap();
    let more = json!({ "names": ["a.test", "b.test", "c.test"], "key": "rsa-2048" });
    assert_eq!(site.bench.drift::<Certificate>(site.with(more.clone())).await, ["names", "key"]);
    let done = site.bench.intents().len();
    let (second, _) = site.run(more.clone()).await.unwrap();
    assert_eq!(second.names, ["a.test", "b.test", "c.test"]);
    assert!(!site.run(more).await.unwrap().1);
    for record in site.bench.intents()[done..].iter().rev() {
        Certificate::undo(record, &site.bench.cx()).await.unwrap();
        Certificate::undo(record, &site.bench.cx()).await.unwrap();
    }
    let (back, acted) = site.run(json!({})).await.unwrap();
    assert_eq!((back, acted), (first, false));
    assert_eq!((site.pebble.orders(), site.pebble.accounts()), (2, 1));
    assert_eq!(site.folder().versions().len(), 1);
}

#[tokio::test]
async fn the_step_answers_itself() {
    let port = free_port();
    let site = Site::special(|options| options.http_port = port);
    let own =
        json!({ "names": ["A.test", "127.0.0.1"], "challenge": { "http": { "port": port, "address": "127.0.0.1" } }, "key": "ecdsa-p384" });
    let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let wrong = site.wrong(own.clone(), &format!("cannot listen on 127.0.0.1:{port}")).await;
    assert!(wrong.help.unwrap().contains("web root") && site.pebble.requests() == 0);
    drop(taken);
    let (out, acted) = site.run(own.clone()).await.unwrap();
    assert_eq!((acted, out.names), (true, vec!["a.test".into(), "127.0.0.1".into()]));
    assert!(!site.run(own).await.unwrap().1);
    drop(std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is given back"));
}

#[tokio::test]
async fn what_is_astray_around_it_is_put_right_without_an_order() {
    let site = Site::new();
    let (first, _) = site.run(json!({})).await.unwrap();
    fs::set_permissions(&first.privkey, fs::Permissions::from_mode(0o644)).unwrap();
    fs::remove_file(&first.chain).unwrap();
    fs::write(site.bench.path("tls/a/current/cert.pem"), "by hand").unwrap();
    assert_eq!(site.bench.drift::<Certificate>(site.with(json!({}))).await, ["cert", "privkey.mode", "chain.pem"]);
    assert_eq!(site.run(json!({})).await.unwrap(), (first.clone(), true));
    assert_eq!((site.pebble.orders(), mode(Path::new(&first.privkey))), (1, 0o600));
    fs::write(&first.privkey, "by hand").unwrap();
    assert_eq!(site.bench.drift::<Certificate>(site.with(json!({}))).await, ["privkey"]);
    site.run(json!({})).await.unwrap();
    assert_eq!(site.pebble.orders(), 2);
}

#[tokio::test]
async fn one_account_serves_many_and_has_its_file() {
    let site = Site::new();
    let one = json!({ "account": "account.json" });
    let two = json!({ "account": "account.json", "folder": "tls/b", "email": "ops@a.test" });
    let (a, b) = tokio::join!(site.bench.run::<Certificate>(site.with(one)), site.bench.run::<Certificate>(site.with(two)));
    assert!(a.unwrap().1 && b.unwrap().1);
    assert_eq!((site.pebble.accounts(), mode(&site.bench.path("account.json"))), (1, 0o600));
    let other = Site::new();
    fs::copy(site.bench.path("account.json"), other.bench.path("account.json")).unwrap();
    let wrong = other.wrong(json!({ "account": "account.json" }), "is of the directory https://127.0.0.1").await;
    assert!(wrong.help.is_some() && other.pebble.orders() == 0);
    fs::write(other.bench.path("account.json"), "{}").unwrap();
    other.wrong(json!({ "account": "account.json" }), "cannot read the account").await;
}

#[tokio::test]
async fn two_at_once_place_one_order_and_wait_for_the_account() {
    let site = Site::new();
    let run = || site.bench.run::<Certificate>(site.with(json!({})));
    let (a, b) = tokio::join!(run(), run());
    assert_eq!((a.unwrap().0, site.pebble.orders()), (b.unwrap().0, 1));
    let accounts = files(&site.state()).into_iter().find(|path| path.extension().is_some_and(|end| end == "lock")).unwrap();
    let held = fs::File::open(&accounts).unwrap();
    held.lock().unwrap();
    let requests = site.pebble.requests();
    let wrong = site.wrong(json!({ "folder": "tls/b", "timeout": "500ms" }), "").await;
    let waited = ["another step works on the account", "time ran out while asking the directory"];
    assert!(wrong.transient && waited.iter().any(|part| wrong.message.contains(part)), "{}", wrong.message);
    assert_eq!(site.pebble.requests(), requests);
}

#[tokio::test]
async fn an_account_whose_making_was_cut_off_is_made_with_the_same_key() {
    let site = Site::new();
    let kept = || serde_json::from_str::<Value>(&site.bench.text("account.json")).unwrap();
    site.pebble.signal("STOP");
    site.wrong(json!({ "account": "account.json", "timeout": "200ms" }), "time ran out").await;
    site.pebble.signal("CONT");
    let before = kept();
    site.run(json!({ "account": "account.json" })).await.unwrap();
    assert_eq!((before["id"].clone(), &before["key"]), (Value::Null, &kept()["key"]));
    let mut cut = kept();
    let id = cut["id"].take();
    fs::write(site.bench.path("account.json"), cut.to_string()).unwrap();
    site.run(json!({ "account": "account.json", "folder": "tls/b" })).await.unwrap();
    assert_eq!(kept()["id"], id);
}

#[tokio::test]
async fn an_account_the_directory_lost_is_said() {
    let site = Site::new();
    site.run(json!({ "account": "account.json" })).await.unwrap();
    let kept = site.bench.text("account.json");
    let fresh = Site::new();
    fs::write(
        fresh.bench.path("account.json"),
        kept.replace(site.pebble.directory().trim_end_matches("/dir"), fresh.pebble.directory().trim_end_matches("/dir")),
    )
    .unwrap();
    let wrong = fresh.wrong(json!({ "account": "account.json" }), "accountDoesNotExist").await;
    assert!(wrong.help.unwrap().contains("remove the account's file"));
}

#[tokio::test]
async fn an_account_of_the_authority_s_site() {
    const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let site = Site::special(|options| options.external = Some(("kid-1", KEY)));
    let wrong = site.wrong(json!({}), "externalAccountRequired").await;
    assert!(wrong.help.unwrap().contains("eab_kid"));
    let wrong = site.wrong(json!({ "eab_kid": "kid-1", "eab_hmac": "c2VjcmV0LWNhbmFyeQ" }), "cannot make the account").await;
    assert!(!wrong.message.contains("c2VjcmV0"), "{}", wrong.message);
    site.run(json!({ "eab_kid": "kid-1", "eab_hmac": KEY })).await.unwrap();
    assert!(files(&site.state()).iter().all(|path| !fs::read_to_string(path).unwrap().contains(KEY)));
}

#[tokio::test]
async fn refusals_are_told_whole() {
    let site = Site::special(|options| options.blocked = Some("bad.test"));
    let wrong =
        site.wrong(json!({ "names": ["a.test", "bad.test"] }), "cannot order a certificate for a.test, bad.test: POST https://").await;
    assert!(wrong.message.contains("rejectedIdentifier: ") && wrong.message.contains("bad.test") && !wrong.transient, "{wrong:?}");
    assert_eq!(site.pebble.orders(), 0);
    let wrong = site.wrong(json!({ "names": ["nowhere.test", "a.test"] }), "the directory does not accept `nowhere.test`: ").await;
    assert!(!wrong.message.contains("`a.test`"), "{}", wrong.message);
    assert_eq!(site.order(), None, "an order that failed is not gone on with");
    fs::create_dir(site.bench.path("elsewhere")).unwrap();
    let elsewhere = json!({ "challenge": { "http": { "folder": "elsewhere" } } });
    let wrong = site.wrong(elsewhere, "the directory does not accept `a.test`: unauthorized: ").await;
    assert!(wrong.message.contains("returned 404") && wrong.message.contains("`b.test`") && !wrong.transient, "{wrong:?}");
    assert!(wrong.help.unwrap().contains("from outside"));
    assert!(site.run(json!({})).await.unwrap().1);
}

#[tokio::test]
async fn a_name_that_does_not_answer_may_later() {
    let port = free_port();
    let site = Site::special(|options| options.http_port = port);
    let wrong = site.wrong(json!({}), "the directory does not accept `a.test`: connection: ").await;
    assert!(wrong.transient);
    assert!(!site.bench.path("tls").exists(), "nothing is made before there is a certificate");
}

#[tokio::test]
async fn a_directory_that_refuses_each_nonce_is_asked_three_times() {
    let site = Site::special(|options| options.refused_nonces = 100);
    let wrong = site.wrong(json!({}), "badNonce").await;
    assert!(wrong.transient);
}

#[tokio::test]
async fn wrong_and_silent_directories_are_named() {
    let site = Site::new();
    let html = Server::start(|_| "HTTP/1.1 200 OK\r\n\r\n<html>welcome".into()).await;
    let wrong = site.wrong(json!({ "directory": html.url("/dir"), "roots": null }), "200, but no ACME directory: <html>welcome").await;
    assert!(!wrong.transient && wrong.help.unwrap().contains("`directory`"));
    let gone = Server::start(|_| "HTTP/1.1 404 Not Found\r\n\r\nnope".into()).await;
    site.wrong(json!({ "directory": gone.url("/dir"), "roots": null }), "/dir: 404: nope").await;
    let ill = Server::start(|_| "HTTP/1.1 503 No\r\nRetry-After: 120\r\n\r\nmaintenance".into()).await;
    let wrong = site.wrong(json!({ "directory": ill.url("/dir"), "roots": null }), "503: maintenance").await;
    assert!(wrong.transient && wrong.help.unwrap().contains("120"));
    let closed = format!("http://127.0.0.1:{}/dir", free_port());
    assert!(site.wrong(json!({ "directory": closed, "roots": null }), "refused").await.transient);
    let wrong = site.wrong(json!({ "roots": null }), "certificate").await;
    assert!(wrong.help.unwrap().contains("`roots`"));
    site.wrong(json!({ "roots": "nope.pem" }), "cannot read root certificates from").await;
    site.wrong(json!({ "challenge": { "http": { "folder": "nope" } } }), "nope` is no folder").await;
    site.pebble.signal("STOP");
    let wrong = site.wrong(json!({ "timeout": "200ms" }), "no certificate within 200ms: time ran out while asking the directory").await;
    site.pebble.signal("CONT");
    assert!(wrong.transient);
    assert_eq!(site.pebble.orders(), 0);
}

#[tokio::test]
async fn without_a_record_nothing_is_put_up() {
    let site = Site::new();
    site.bench.fill();
    assert_eq!(site.wrong(json!({}), "the journal is full").await.message, "the journal is full");
    assert!(!site.bench.path("tls").exists());
}

#[tokio::test]
async fn records_name_what_is_taken_back_in_their_order() {
    let site = Site::new();
    site.run(json!({ "names": ["a.test"] })).await.unwrap();
    let records: Vec<Record> = site.bench.intents().into_iter().map(|record| serde_json::from_value(record).unwrap()).collect();
    assert!(matches!(records.as_slice(), [Record::Trace(_), Record::Switch(_)]), "{records:?}");
}
