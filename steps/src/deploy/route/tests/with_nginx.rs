//! `deploy/route` with a real nginx: one that trees keeps, and one that somebody else runs.

use super::site::{Backend, Site, get, until};
use super::{Route, Value, With, json};
use crate::deploy::instance::Instance;
use crate::deploy::root::Root;
use crate::deploy::route::server::Nginx;
use crate::deploy::route::switch;
use rustix::process::{Pid, Signal, kill_process};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use trees_runner::kind::{Kind as _, Observation};
use trees_servers::{free_port, nginx};

#[tokio::test]
async fn leads_there_once_finds_drift_and_takes_all_of_it_back() {
    let site = Site::new();
    let out = site.lead("blue").await;
    assert_eq!((site.answers().as_str(), out.previous.as_str()), ("blue", ""));
    assert_eq!((out.idle.as_str(), &out.idle_address, &out.next_address), ("green", &site.green.address, &site.green.address));
    assert_eq!((out.next_port.to_string(), out.url), (site.green.address[10..].to_owned(), format!("http://127.0.0.1:{}", site.port)));
    let written = std::fs::metadata(site.file()).unwrap().modified().unwrap();
    let (again, acted) = site.bench.run::<Route>(site.with("blue")).await.unwrap();
    assert!(!acted && !again.changed && again.active == "blue");
    assert!(!site.bench.run::<Route>(site.with("")).await.unwrap().1, "no colour named: nothing is switched");
    assert_eq!(std::fs::metadata(site.file()).unwrap().modified().unwrap(), written);

    let text = site.text();
    std::fs::write(site.file(), text.replace(&site.blue.address, "127.0.0.1:9")).unwrap();
    assert_eq!(site.bench.drift::<Route>(site.with("blue")).await, ["to", "loaded"]);
    site.lead("blue").await;
    assert_eq!((site.text(), site.answers().as_str()), (text, "blue"));

    let pid: i32 = std::fs::read_to_string(site.root().join("nginx.pid")).unwrap().trim().parse().unwrap();
    let supervisor = Root(site.root()).instances().into_iter().find(Instance::lives).unwrap();
    supervisor.stop().await.unwrap();
    until("the end", || rustix::process::test_kill_process(Pid::from_raw(pid).unwrap()).is_err());
    assert_eq!(site.bench.drift::<Route>(site.with("blue")).await, ["nginx"]);
    site.lead("blue").await;
    assert_eq!((site.answers().as_str(), site.living()), ("blue", 1));

    for _ in 0..2 {
        Route::undo(&site.bench.intents()[0], &site.bench.cx()).await.unwrap();
        assert!(!site.root().exists() && site.living() == 0, "all that it made is gone");
    }
    assert!(site.answers().contains("refused"), "{}", site.answers());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_while_it_is_switched_back_and_forth() {
    let site = Site::new();
    site.lead("blue").await;
    site.blue.held.store(true, Ordering::SeqCst);
    let port = site.port;
    let held = std::thread::spawn(move || get(port, "/held"));
    until("the held request", || site.blue.in_flight.load(Ordering::SeqCst) > 0);
    let end = Arc::new(AtomicBool::new(false));
    let probers: Vec<_> = (0..32)
        .map(|_| {
            let end = end.clone();
            std::thread::spawn(move || {
                let mut heard = Vec::new();
                while !end.load(Ordering::SeqCst) {
                    heard.push(get(port, "/"));
                }
                heard
            })
        })
        .collect();
    for colour in ["green", "blue"].into_iter().cycle().take(12) {
        until("many requests in flight", || site.blue.in_flight.load(Ordering::SeqCst) + site.green.in_flight.load(Ordering::SeqCst) > 20);
        site.lead(colour).await;
        assert_eq!(site.answers(), colour, "once it is switched, only the new target answers");
    }
    end.store(true, Ordering::SeqCst);
    let heard: Vec<_> = probers.into_iter().flat_map(|prober| prober.join().unwrap()).collect();
    let lost: Vec<_> = heard.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(lost.is_empty(), "{} of {} requests: {:?}", lost.len(), heard.len(), lost.first());
    let of = |word: &str| heard.iter().flatten().filter(|body| body.starts_with(word)).count();
    assert!(of("blue") > 20 && of("green") > 20 && heard.len() > 200, "{} and {}", of("blue"), of("green"));
    site.blue.held.store(false, Ordering::SeqCst);
    assert!(held.join().unwrap().unwrap().starts_with("blue"), "what was begun before twelve switches is ended where it was begun");
}

#[tokio::test]
async fn the_step_waits_for_what_was_begun_and_not_for_ever() {
    let site = Site::new();
    site.lead("blue").await;
    site.blue.held.store(true, Ordering::SeqCst);
    let port = site.port;
    let held = std::thread::spawn(move || get(port, "/held"));
    until("the held request", || site.blue.in_flight.load(Ordering::SeqCst) > 0);
    let mut with = site.with("green");
    with["drain"] = json!("100ms");
    site.bench.run::<Route>(with).await.unwrap();
    assert!(site.bench.logged().iter().any(|line| line.contains("have not ended")), "{:?}", site.bench.logged());
    assert_eq!(site.answers(), "green");
    site.blue.held.store(false, Ordering::SeqCst);
    assert!(held.join().unwrap().unwrap().starts_with("blue"));
}

#[tokio::test]
async fn led_back_it_waits_for_what_was_begun_too() {
    let site = Site::new();
    site.lead("blue").await;
    let mut with = site.with("green");
    with["drain"] = json!("100ms");
    site.bench.run::<Route>(with).await.unwrap();
    site.green.held.store(true, Ordering::SeqCst);
    let port = site.port;
    let held = std::thread::spawn(move || get(port, "/held"));
    until("the held request", || site.green.in_flight.load(Ordering::SeqCst) > 0);
    let (record, logged) = (site.bench.intents().pop().unwrap(), site.bench.logged().len());
    Route::undo(&record, &site.bench.cx()).await.unwrap();
    assert!(site.bench.logged()[logged..].iter().any(|line| line.contains("have not ended")), "{:?}", site.bench.logged());
    assert_eq!(site.answers(), "blue");
    site.green.held.store(false, Ordering::SeqCst);
    assert!(held.join().unwrap().unwrap().starts_with("green"));
}

#[tokio::test]
async fn a_broken_configuration_is_never_live_and_is_told_in_words_of_nginx() {
    let site = Site::new();
    site.lead("blue").await;
    let (text, intents) = (site.text(), site.bench.intents().len());
    let line = format!("{}:", site.file().display());
    for (extra, expected) in [
        (json!({ "to": "no-such-host.invalid:80", "active": "" }), "host not found in upstream"),
        (json!({ "directives": ["client_max_body_sise 1m"] }), "unknown directive \"client_max_body_sise\""),
        (json!({ "directives": ["}"] }), "unexpected"),
    ] {
        let wrong = site.fails(site.other(extra)).await.message;
        assert!(wrong.starts_with("nginx refuses the configuration; what served before still serves\n"), "{wrong}");
        assert!(wrong.contains(expected) && wrong.contains(&line), "{wrong}");
        assert_eq!((site.text(), site.answers().as_str()), (text.clone(), "blue"));
    }
    assert_eq!(site.bench.intents().len(), intents, "nothing was about to be changed");
    let first = Site::new();
    let wrong = first.fails(first.other(json!({ "directives": ["nonsense"] }))).await.message;
    assert!(wrong.contains("unknown directive") && !first.root().exists(), "{wrong}");
}

#[tokio::test]
async fn a_switch_that_was_cut_off_anywhere_is_settled_by_the_next() {
    let site = Site::new();
    site.lead("blue").await;
    // Between the swap and the reload: the file is new, nginx has the old one.
    std::fs::write(site.file(), site.wanted(site.with("green")).text).unwrap();
    assert_eq!(site.answers(), "blue");
    assert_eq!(site.bench.drift::<Route>(site.with("green")).await, ["loaded"]);
    site.lead("green").await;
    assert_eq!(site.answers(), "green");
    for (round, after) in [1, 3, 10, 20, 30, 50, 80, 120, 200].into_iter().enumerate() {
        let colour = if round % 2 == 0 { "blue" } else { "green" };
        let (with, cx) = (serde_json::from_value::<With>(site.with(colour)).unwrap(), site.bench.cx());
        let cut_off = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            drop(runtime.block_on(async { tokio::time::timeout(Duration::from_millis(after), switch::alone(&with, &cx)).await }));
        });
        cut_off.join().unwrap();
        let (out, _) = site.bench.run::<Route>(site.with(colour)).await.unwrap();
        assert_eq!((out.active.as_str(), site.answers().as_str(), site.living()), (colour, colour, 1));
    }
}

#[tokio::test]
async fn it_is_led_back_once_and_not_over_the_work_of_others() {
    let site = Site::new();
    site.lead("blue").await;
    site.lead("green").await;
    let record = site.bench.intents()[1].clone();
    for _ in 0..2 {
        Route::undo(&record, &site.bench.cx()).await.unwrap();
        assert_eq!(site.answers(), "blue");
    }
    assert!(!site.bench.run::<Route>(site.with("blue")).await.unwrap().1);
    // Intended and killed before the swap: there is nothing to take back.
    Route::undo(&record, &site.bench.cx()).await.unwrap();
    // Swapped and killed before the reload.
    std::fs::write(site.file(), site.wanted(site.with("green")).text).unwrap();
    Route::undo(&record, &site.bench.cx()).await.unwrap();
    assert_eq!((site.answers().as_str(), site.bench.drift::<Route>(site.with("blue")).await.len()), ("blue", 0));
    // Another run leads it elsewhere meanwhile.
    let third = Backend::start("third");
    let with = site.other(json!({ "to": third.address, "active": "" }));
    site.bench.run::<Route>(with).await.unwrap();
    Route::undo(&record, &site.bench.cx()).await.unwrap();
    assert_eq!(site.answers(), "third");
    std::fs::write(site.file(), format!("{}# by hand\n", site.text())).unwrap();
    let wrong = Route::undo(&record, &site.bench.cx()).await.unwrap_err();
    assert!(wrong.message.contains("changed by somebody") && site.answers() == "third", "{wrong}");
}

#[tokio::test]
async fn a_target_that_does_not_answer_well_is_not_kept() {
    let site = Site::new();
    let verify = |contains: &str| json!({ "url": format!("http://127.0.0.1:{}/", site.port), "contains": contains, "within": "300ms" });
    let wrong = site.fails(site.other(json!({ "verify": verify("v2") }))).await.message;
    assert!(wrong.contains("wanted a body with `v2`; 200: blue") && wrong.ends_with("the route was removed again"), "{wrong}");
    assert!(!site.root().exists());
    site.lead("blue").await;
    let dead = format!("127.0.0.1:{}", free_port());
    let with = site.other(json!({ "to": { "blue": site.blue.address, "dead": dead }, "active": "dead", "verify": verify("blue") }));
    let wrong = site.fails(with).await.message;
    assert!(wrong.contains("502") && wrong.ends_with("what the route led to before was put back"), "{wrong}");
    assert_eq!(site.answers(), "blue");
    let (out, _) = site.bench.run::<Route>(site.other(json!({ "verify": verify("blue") }))).await.unwrap();
    assert_eq!(out.active, "blue");
    assert_eq!(site.bench.drift::<Route>(site.other(json!({ "verify": verify("green") }))).await, ["verify"]);
}

#[tokio::test]
async fn a_port_that_another_program_holds_leaves_the_other_routes_alone() {
    let site = Site::new();
    site.lead("blue").await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let wrong = site.fails(site.other(json!({ "name": "second", "listen": listen }))).await.message;
    assert!(wrong.contains("did not take the new configuration") && wrong.contains(&format!("bind() to {listen} failed")), "{wrong}");
    assert!(wrong.ends_with("the route was removed again"), "{wrong}");
    assert!(site.answers() == "blue" && !site.root().join("routes/second.conf").exists());
    let first = Site::new();
    let wrong = first.fails(first.other(json!({ "listen": listen }))).await.message;
    assert!(wrong.contains("nginx does not start") && wrong.contains("Address already in use"), "{wrong}");
    assert!(!first.root().exists() && first.living() == 0);
}

#[tokio::test]
async fn two_routes_share_an_nginx_and_a_name_only_once() {
    let site = Site::new();
    site.lead("blue").await;
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let second = site.other(json!({ "name": "second", "listen": listen, "active": "green", "headers": { "X-Token": "canary-5ecret" } }));
    site.bench.run::<Route>(second.clone()).await.unwrap();
    let body = get(port, "/a").unwrap();
    assert!(body.starts_with("green GET /a HTTP/1.1") && body.contains("X-Token: canary-5ecret"), "{body}");
    assert!(body.contains("Host: a.test") && body.contains("X-Forwarded-For: 127.0.0.1"), "{body}");
    let wrong = site.fails(site.other(json!({ "name": "third" }))).await.message;
    assert!(wrong.contains("another route has this name on this port already"), "{wrong}");
    let mut changed = second.clone();
    changed["headers"]["X-Token"] = json!("other");
    let Observation::Differs(changes) = site.bench.observe::<Route>(changed.clone()).await else { panic!("it differs") };
    assert_eq!(changes.iter().map(|c| c.field.as_str()).collect::<Vec<_>>(), ["file.proxy_set_header"]);
    site.bench.run::<Route>(changed).await.unwrap();
    assert!(!format!("{changes:?}{:?}", site.bench.intents()).contains("canary"));
    Route::undo(&site.bench.intents()[1], &site.bench.cx()).await.unwrap();
    assert!(site.answers() == "blue" && get(port, "/").unwrap().starts_with("green"), "it was changed since");
    site.bench.undo::<Route>().await.unwrap();
    assert!(!site.root().exists() && site.living() == 0);
}

#[tokio::test]
async fn large_bodies_pass_whoever_may_enter_the_folder() {
    use std::io::{Read as _, Write as _};
    let site = Site::new();
    site.lead("blue").await;
    // Workers of a master that is root are another user's, who cannot enter the state folder.
    std::fs::set_permissions(site.bench.read().state, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", site.port)).unwrap();
    let size = 4 << 20;
    write!(stream, "POST /large HTTP/1.1\r\nHost: a.test\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n").unwrap();
    stream.write_all(&vec![b'y'; size]).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains(&format!("\r\n\r\n{size} bytes came")),
        "{}",
        &answer[..300.min(answer.len())]
    );
    assert!(answer.len() > 4 << 20);
}

#[tokio::test]
async fn words_instead_of_the_target_and_a_path_alone() {
    let site = Site::new();
    site.bench.run::<Route>(site.other(json!({ "maintenance": "back \"soon\"" }))).await.unwrap();
    let answer = get(site.port, "/").unwrap_err();
    assert!(answer.contains("503") && answer.contains("Retry-After: 60") && answer.ends_with("\r\n\r\nback \"soon\"\n"), "{answer}");
    site.bench.run::<Route>(site.other(json!({ "path": "/api/" }))).await.unwrap();
    assert!(get(site.port, "/api/x").unwrap().starts_with("blue GET /api/x"));
    assert!(get(site.port, "/").unwrap_err().contains("404"));
    let release = |release: &str, active: &str| {
        let mut with = site.with(active);
        with["release"] = json!(release);
        with
    };
    let (out, _) = site.bench.run::<Route>(release("v1", "green")).await.unwrap();
    assert_eq!((out.release.as_str(), out.next.as_str()), ("v1", "green"));
    let (out, acted) = site.bench.run::<Route>(release("v2", "")).await.unwrap();
    assert_eq!((out.release.as_str(), out.active.as_str(), out.next.as_str(), acted), ("v1", "green", "blue", false));
    let (out, acted) = site.bench.run::<Route>(release("v1", "")).await.unwrap();
    assert_eq!((out.next.as_str(), acted), ("green", false));
}

#[tokio::test]
async fn https_and_a_renewed_certificate() {
    let site = Site::new();
    site.bench.write("c.pem", CERTIFICATE);
    site.bench.write("k.pem", &["-----BEGIN ", "PRIVATE KEY", "-----\n", KEY, "-----END ", "PRIVATE KEY", "-----\n"].concat());
    let with = site.other(json!({ "tls": { "certificate": "c.pem", "key": "k.pem" } }));
    let (out, _) = site.bench.run::<Route>(with.clone()).await.unwrap();
    assert_eq!(out.url, format!("https://127.0.0.1:{}", site.port));
    assert!(get(site.port, "/").unwrap_err().contains("plain HTTP request was sent to HTTPS port"));
    site.bench.write("c.pem", &format!("{CERTIFICATE}\n"));
    assert_eq!(site.bench.drift::<Route>(with.clone()).await, ["certificate"]);
    assert!(site.bench.run::<Route>(with.clone()).await.unwrap().1);
    site.bench.write("k.pem", "no key");
    site.bench.write("c.pem", CERTIFICATE);
    let wrong = site.fails(with).await.message;
    assert!(wrong.contains("nginx refuses") && wrong.contains("k.pem"), "{wrong}");
}

/// A route of an nginx that somebody else runs.
fn given(site: &Site, server: &nginx::Nginx, active: &str) -> Value {
    let mut with = site.with(active);
    let text = |path: PathBuf| json!(path.display().to_string());
    with["config"] = text(server.config());
    with["folder"] = text(server.sites());
    with
}

#[tokio::test]
async fn an_nginx_of_somebody_else() {
    let (site, server) = (Site::new(), nginx::Nginx::start());
    let (out, _) = site.bench.run::<Route>(given(&site, &server, "blue")).await.unwrap();
    assert!(out.changed && site.answers() == "blue");
    assert!(!site.bench.run::<Route>(given(&site, &server, "blue")).await.unwrap().1);
    assert!(!site.root().exists(), "no nginx of its own");
    let mut broken = given(&site, &server, "green");
    broken["directives"] = json!(["nonsense"]);
    let wrong = site.fails(broken).await.message;
    let file = server.sites().join("site.conf");
    assert!(wrong.contains("unknown directive \"nonsense\"") && wrong.contains(&file.display().to_string()), "{wrong}");
    site.bench.run::<Route>(given(&site, &server, "green")).await.unwrap();
    assert_eq!(site.answers(), "green");
    Route::undo(&site.bench.intents()[1], &site.bench.cx()).await.unwrap();
    assert_eq!(site.answers(), "blue");
    site.bench.undo::<Route>().await.unwrap();
    until("the end of the route", || site.answers().contains("refused"));
    let names = |folder: PathBuf| -> Vec<String> {
        let mut all: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().map(|e| e.file_name().into_string().unwrap()).collect();
        all.sort();
        all
    };
    assert_eq!(
        (names(server.sites()), names(server.config().parent().unwrap().into())),
        (vec!["readme.txt".into()], vec!["nginx.conf".to_owned(), "sites".into()])
    );
    let mut elsewhere = given(&site, &server, "blue");
    elsewhere["folder"] = json!(site.bench.path("").display().to_string());
    let wrong = site.fails(elsewhere).await.message;
    assert!(wrong.contains("does not include") && site.bench.intents().len() == 2, "{wrong}");
}

#[tokio::test]
async fn a_file_of_somebody_else_is_taken_only_when_told_and_given_back() {
    let (site, server) = (Site::new(), nginx::Nginx::start());
    let file = server.sites().join("site.conf");
    let theirs = format!("server {{ listen 127.0.0.1:{}; return 200 theirs; }}\n", site.port);
    std::fs::write(&file, &theirs).unwrap();
    let with = given(&site, &server, "blue");
    assert!(site.bench.drift::<Route>(with.clone()).await.contains(&"owner".to_owned()));
    let wrong = site.fails(with.clone()).await.message;
    assert!(wrong.contains("belongs to somebody else; it is left alone"), "{wrong}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), theirs);
    let mut told = with;
    told["take_over"] = json!(true);
    site.bench.run::<Route>(told).await.unwrap();
    assert_eq!(site.answers(), "blue");
    site.bench.undo::<Route>().await.unwrap();
    assert_eq!((std::fs::read_to_string(&file).unwrap(), site.answers().as_str()), (theirs, "theirs"));
}

#[tokio::test]
async fn an_nginx_that_does_not_run_is_named_and_the_file_goes_again() {
    let (site, server) = (Site::new(), nginx::Nginx::start());
    let mut with = given(&site, &server, "blue");
    site.bench.write("other.pid", "");
    with["pid"] = json!("other.pid");
    let wrong = site.fails(with.clone()).await;
    assert!(wrong.message.contains("nginx does not run: `") && wrong.help.is_some(), "{wrong}");
    assert!(wrong.message.ends_with("the route was removed again"), "{wrong}");
    assert!(!server.sites().join("site.conf").exists());
    site.bench.fill();
    with.as_object_mut().unwrap().remove("pid");
    assert_eq!(site.fails(with).await.message, "the journal is full");
    assert!(!server.sites().join("site.conf").exists());
    assert!(server.pid() > 0 && server.prefix().exists() && !server.log().contains("emerg"), "{}", server.log());
    let nginx = Nginx::of(&serde_json::from_value(given(&site, &server, "blue")).unwrap(), &site.bench.read());
    kill_process(Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap(), Signal::TERM).unwrap();
    until("the end", || nginx.master().unwrap().is_none());
}

const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevBRC4a1qOf5j8uh\n\
    +ojGAw32JTZijMn2y8BwyyekfaahRANCAASSgpPBCGnA1cWkF5n14ZEsnQTelz40\n\
    pZQffpRjC6tIsoXLsdV2nqxOnZKk0rjEQnTn+Cy2Ty3BaCnLbAxu2bnE\n";

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n\
    MIIBgTCCASegAwIBAgIUKOMj2gPEUJXg4O1KgUFcah+2hrEwCgYIKoZIzj0EAwIw\n\
    FTETMBEGA1UEAwwKcm91dGUudGVzdDAgFw0yNjExMjIxMjExMzRaGA8yMTI2MTAy\n\
    OTEyMTEzNFowFTETMBEGA1UEAwwKcm91dGUudGVzdDBZMBMGByqGSM49AgEGCCqG\n\
    SM49AwEHA0IABJKCk8EIacDVxaQXmfXhkSydBN6XPjSllB9+lGMLq0iyhcux1Xae\n\
    rE6dkqTSuMRCdOf4LLZPLcFoKctsDG7ZucSjUzBRMB0GA1UdDgQWBBTIK1oCQQJi\n\
    iUFgjSCRjKVAqusgPTAfBgNVHSMEGDAWgBTIK1oCQQJiiUFgjSCRjKVAqusgPTAP\n\
    BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQDFbPzP0ons3xle4Tla\n\
    FEkoiVOCWOcEaweVdig99euSZAIgMzAC66XFhu8Xh5tVCW8mOdeAngUpJqLbvyn2\n\
    Y8+xMjQ=\n\
    -----END CERTIFICATE-----\n";
