//! Secrets of a server with the KV API of HashiCorp Vault. No such server can be had from a package registry: a twin
//! on loopback answers with the documented shapes.

use crate::bench::{Bench, Outcome};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

const CANARY: &str = "canary-5fd1-vault";
const TREE: &str = "tree: t\nsecrets: { TOKEN: { from: vault, path: PATH } }\nsteps:\n  a:\n    secrets: [TOKEN]\n    run: |\n      \
                    echo \"$TOKEN\" | tr -d '\\n' | wc -c >> \"sizes\"; echo \"got $TOKEN\"\n";

/// Answers until the test's process ends.
struct Twin {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Twin {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&asked);
        thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, &seen)));
        Self { address, asked }
    }

    fn run(&self, path: &str, token: &[(&str, &str)]) -> (Bench, Outcome) {
        let bench = Bench::with("t.yaml", TREE.replace("PATH", path));
        let mut command = bench.command(&["run", "t.yaml"]);
        command.env("VAULT_ADDR", &self.address).envs(token.iter().copied());
        let outcome = Outcome::of(&command.output().unwrap());
        assert!(!outcome.stdout.contains(CANARY) && !outcome.stderr.contains(CANARY), "{outcome:?}");
        (bench, outcome)
    }
}

fn answer(mut stream: TcpStream, asked: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        length = line.to_lowercase().strip_prefix("content-length:").map_or(length, |n| n.trim().parse().unwrap());
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let first = head.lines().next().unwrap_or_default().rsplit_once(' ').map(|(first, _)| first.to_owned()).unwrap_or_default();
    asked.lock().unwrap().push(first.clone());
    let known = head.to_lowercase().contains("x-vault-token: good");
    let (status, text) = match first.as_str() {
        "POST /v1/auth/approle/login" if body == br#"{"role_id":"r","secret_id":"s"}"# => {
            (200, r#"{"auth":{"client_token":"good"}}"#.to_owned())
        }
        "POST /v1/auth/approle/login" => (400, r#"{"errors":["invalid role or secret ID"]}"#.into()),
        _ if !known => (403, r#"{"errors":["permission denied"]}"#.into()),
        "GET /v1/sys/internal/ui/mounts/kv/app" | "GET /v1/sys/internal/ui/mounts/kv/gone" => {
            (200, r#"{"data":{"path":"kv/","type":"kv","options":{"version":"2"}}}"#.into())
        }
        "GET /v1/sys/internal/ui/mounts/old/app" => (200, r#"{"data":{"path":"old/","type":"kv","options":{"version":"1"}}}"#.into()),
        "GET /v1/sys/internal/ui/mounts/ancient/app" => (404, r#"{"errors":[]}"#.into()),
        "GET /v1/kv/data/app" => {
            (200, format!(r#"{{"data":{{"data":{{"TOKEN":"{CANARY}","other":"xy","port":5432}},"metadata":{{"version":3}}}}}}"#))
        }
        "GET /v1/kv/data/gone" => (404, r#"{"data":{"data":null,"metadata":{"deletion_time":"2026-01-01T00:00:00Z"}}}"#.into()),
        "GET /v1/old/app" | "GET /v1/ancient/app" => (200, format!(r#"{{"data":{{"TOKEN":"{CANARY}"}}}}"#)),
        _ => (500, "not JSON".into()),
    };
    let _ = write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}", text.len());
}

const GOOD: &[(&str, &str)] = &[("VAULT_TOKEN", "good")];

#[test]
fn a_secret_comes_from_both_versions_of_the_api() {
    let twin = Twin::new();
    for (path, size) in
        [("kv/app", CANARY.len()), ("kv/app#other", 2), ("kv/app#port", 4), ("old/app", CANARY.len()), ("ancient/app", CANARY.len())]
    {
        let (bench, outcome) = twin.run(path, GOOD);
        outcome.expect(0);
        assert_eq!(bench.read("sizes").trim(), size.to_string(), "{path}");
        assert!(!bench.run(&["logs", "@last"]).stdout.contains(CANARY));
    }
    let (bench, outcome) = twin.run("kv/app", &[("VAULT_ROLE_ID", "r"), ("VAULT_SECRET_ID", "s")]);
    outcome.expect(0);
    assert_eq!(bench.read("sizes").trim(), CANARY.len().to_string());
    let asked = twin.asked.lock().unwrap();
    assert!(asked.iter().all(|line| line.starts_with("GET ") || line.ends_with("/login")), "it only reads: {asked:?}");
}

#[test]
fn what_a_vault_does_not_give_is_said_before_anything_runs() {
    let twin = Twin::new();
    let check = |path: &str, token: &[(&str, &str)], part: &str| {
        let (bench, outcome) = twin.run(path, token);
        let outcome = outcome.expect(2);
        assert!(outcome.stderr.contains(part), "{path}: {}", outcome.stderr);
        assert!(!bench.path("sizes").exists());
    };
    check("kv/gone", GOOD, "the secret TOKEN is not in the vault: write it there, at kv/gone#TOKEN, or `optional: true`");
    check("kv/app#nope", GOOD, "write it there, at kv/app#nope");
    check("kv/app", &[("VAULT_TOKEN", "bad")], "was answered with 403: permission denied; see to the token and its policy");
    check("kv/app", &[], "set VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID");
    check("kv/app", &[("VAULT_ROLE_ID", "r"), ("VAULT_SECRET_ID", "x")], "was answered with 400: invalid role or secret ID");
    check("strange/app", GOOD, "was answered with 500");
    check("kv/app", &[("VAULT_TOKEN", "good"), ("VAULT_ADDR", "http://127.0.0.1:9")], "http://127.0.0.1:9 does not answer");
    check("kv/app", &[("VAULT_TOKEN", "good"), ("VAULT_ADDR", "nowhere")], "VAULT_ADDR `nowhere` is no URL");
}
