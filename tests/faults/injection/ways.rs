//! The ways by which a value comes, and the places outside scripts.

use super::{PAYLOADS, is_tried, is_unharmed, place};
use crate::chance::size;
use crate::place::Place;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

/// Fails unless each payload arrived in the file of its number.
fn arrived(place: &Place, what: &str, file: &dyn Fn(usize) -> String) -> usize {
    let mut wrong = Vec::new();
    for (n, payload) in PAYLOADS.iter().enumerate().filter(|(n, _)| is_tried(0, *n)) {
        let got = fs::read(place.path(&file(n))).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_else(|e| format!("({e})"));
        if got != *payload {
            wrong.push(format!("{what}, {payload:?}: {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    is_unharmed(place, what);
    tried().count()
}

/// The numbers of those that are tried.
fn tried() -> impl Iterator<Item = usize> {
    (0..PAYLOADS.len()).filter(|n| is_tried(0, *n))
}

/// A step for each payload.
fn each(one: impl Fn(usize) -> String) -> String {
    tried().map(one).collect()
}

#[test]
fn values_by_each_way() {
    let mut count = 0;
    // From a file of params, from `-p`, from the environment.
    let tree = format!("steps:\n{}", each(|n| format!("  s{n}: {{ run: 'printf %s {{{{ params.p{n} }}}} > out/{n}' }}\n")));
    let by_file = place(&tree);
    by_file.run(&["run", "tree.yaml", "--params", "params.json", "--durability", "normal"]).expect(0);
    count += arrived(&by_file, "a file of params", &|n| format!("out/{n}"));
    let by_option = place(&tree);
    let given: Vec<String> = PAYLOADS.iter().enumerate().map(|(n, p)| format!("p{n}={p}")).collect();
    let mut arguments = vec!["run", "tree.yaml", "-p", "all=[]", "--durability", "normal"];
    given.iter().for_each(|p| arguments.extend(["-p", p]));
    by_option.run(&arguments).expect(0);
    count += arrived(&by_option, "-p", &|n| format!("out/{n}"));
    let by_variable = place(&tree);
    let mut command = by_variable.command(&["run", "tree.yaml", "--durability", "normal"]);
    command.envs(PAYLOADS.iter().enumerate().map(|(n, p)| (format!("TREES_PARAM_p{n}"), p)));
    let output = command.env("TREES_PARAM_all", "[]").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    count += arrived(&by_variable, "TREES_PARAM_", &|n| format!("out/{n}"));
    println!("injection, ways in: {count} values arrived, 0 ran");
}

#[test]
fn values_of_earlier_steps_items_and_environments() {
    let mut tree = String::from("env: { EACH: \"{{ params.p11 }}\" }\nvars: { v: \"a{{ params.p12 }}z\" }\nsteps:\n");
    for n in tried() {
        // As an output written as JSON, read again in a script, in an environment, in a file, in a condition.
        let _ = write!(
            tree,
            "  o{n}:\n    run: 'printf %s {{{{ params.p{n} }}}} > out/raw{n}; printf \"{{\\\"v\\\":%s}}\\n\" \"$J\" >> \"$TREES_OUTPUT\"'\n    \
             env: {{ J: \"{{{{ [params.p{n}] }}}}\" }}\n    outputs: {{ v: list }}\n  \
             r{n}: {{ run: 'printf %s {{{{ steps.o{n}.outputs.v | first }}}} > out/output{n}' }}\n  \
             e{n}: {{ env: {{ V: \"{{{{ steps.o{n}.outputs.v | first }}}}\" }}, run: 'printf %s \"$V\" > out/env{n}' }}\n  \
             f{n}: {{ uses: file/write, with: {{ path: \"out/file{n}\", content: \"{{{{ steps.o{n}.outputs.v | first }}}}\" }} }}\n  \
             i{n}: {{ if: \"(steps.o{n}.outputs.v | first) == params.p{n}\", run: 'printf %s {{{{ params.p{n} }}}} > out/if{n}' }}\n"
        );
    }
    tree += "  items:\n    foreach: { items: \"{{ params.all }}\", as: one, key: \"{{ one | length }}\" }\n    run: ':'\n    if: 'false'\n";
    let place = place(&tree);
    place.run(&["run", "tree.yaml", "--params", "params.json", "--durability", "normal", "-j", "8"]).expect(0);
    let mut count = 0;
    for what in ["raw", "output", "env", "file", "if"] {
        count += arrived(&place, what, &|n| format!("out/{what}{n}"));
    }
    println!("injection, handed on: {count} values by output, environment, with and if arrived, 0 ran");
}

#[test]
fn items_of_a_fan_out_and_their_keys() {
    // A key names folders of the state: whatever it holds, nothing is made outside.
    let place = place(
        "steps:\n  each:\n    foreach: { items: \"{{ params.all }}\", as: one }\n    run: |\n      printf %s {{ one }} > \"out/$(printf %s {{ one }} | sha256sum | cut -c1-64)\"\n",
    );
    let told = place.run(&["run", "tree.yaml", "--params", "params.json", "--durability", "normal"]);
    // Keys of an empty text or beyond 200 bytes are refused as a whole; without those all run.
    assert!(matches!(told.code, 0 | 1), "exit {}: {}", told.code, told.stderr);
    let keys: Vec<&str> = PAYLOADS.iter().copied().filter(|p| !p.is_empty() && p.len() <= 200).collect();
    if told.code == 1 {
        let mut params: Value = serde_json::from_str(&place.read("params.json")).unwrap();
        params["all"] = json!(keys);
        place.write("params.json", params.to_string());
        place.run(&["run", "tree.yaml", "--params", "params.json", "--durability", "normal"]).expect(0);
    }
    let arrived = fs::read_dir(place.path("out")).unwrap().count();
    is_unharmed(&place, "items");
    assert_eq!(arrived, keys.len());
    let last = place.run(&["show", "@last", "--format", "json"]).expect(0);
    assert!(last.stdout.contains("touch PWNED"));
    println!("injection, items: {arrived} values as items and keys arrived, 0 ran");
}

#[test]
fn values_in_paths_folders_and_dotenv() {
    // Each alone, as some are no path: refused, or taken as it is, and never outside.
    let tree = |lines: &str| format!("tree: t\nparams: {{ p: {{ type: string }} }}\nsteps:\n  a:\n{lines}");
    let places = [
        ("cwd", tree("    cwd: \"{{ params.p }}\"\n    run: \":\"\n")),
        ("artifact", tree("    run: \":\"\n    artifacts: { x: \"{{ params.p }}\" }\n")),
        ("inputs", tree("    run: \":\"\n    inputs: { files: [\"{{ params.p }}\"] }\n")),
        ("path of file/write", tree("    uses: file/write\n    with: { path: \"{{ params.p }}\", content: x }\n")),
        ("shell", tree("    shell: [\"{{ params.p }}\"]\n    run: \":\"\n")),
        ("lock", tree("    lock: \"{{ params.p }}\"\n    run: \":\"\n")),
    ];
    let (mut refused, mut ran) = (0, 0);
    for (what, text) in &places {
        let place = Place::with(text);
        for payload in PAYLOADS.iter().step_by(size(11, 1)) {
            // A file would be written there, which is what was asked for.
            if *what == "path of file/write" && payload.contains('/') && *payload != "../PWNED" {
                continue;
            }
            let told = place.run(&["run", "tree.yaml", "-p", &format!("p={payload}"), "--durability", "normal"]);
            assert!(matches!(told.code, 0..=2), "{what} {payload:?}: {} {}", told.code, told.stderr);
            if told.code == 0 {
                ran += 1
            } else {
                refused += 1
            }
            if *what == "path of file/write" && *payload == "../PWNED" {
                drop(fs::remove_file(place.path("../PWNED")));
            }
            is_unharmed(&place, &format!("{what} {payload:?}"));
        }
    }
    println!("injection, paths: {} values in {} places: {ran} taken as they are, {refused} refused, 0 ran", ran + refused, places.len());
}

#[test]
fn values_in_dotenv() {
    // A dotenv file is read, never sourced.
    let place = place("dotenv: [.env]\nsteps: { a: { run: 'printf %s \"$V\" > out/v' } }\n");
    let mut taken = 0;
    for payload in PAYLOADS.iter().filter(|p| !p.contains(['\n', '\r'])).step_by(size(11, 1)) {
        for line in [format!("V={payload}"), format!("V='{payload}'"), format!("V=\"{payload}\""), format!("export V={payload}")] {
            place.write(".env", &line);
            let told = place.run(&["run", "tree.yaml", "--params", "params.json", "--durability", "normal"]);
            assert!(matches!(told.code, 0..=2), "{line}: {}", told.stderr);
            is_unharmed(&place, &line);
            taken += 1;
        }
    }
    println!("injection, dotenv: {taken} lines, 0 ran");
}

#[test]
fn values_in_a_request() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let tree = format!(
        "steps:\n{}",
        each(|n| format!(
            "  s{n}: {{ uses: http/request, with: {{ method: POST, url: \"http://127.0.0.1:{port}/{n}\", body: \"{{{{ params.p{n} }}}}\" }} }}\n"
        ))
    );
    let place = place(&tree);
    let server = std::thread::spawn(move || {
        let mut bodies = std::collections::BTreeMap::new();
        while bodies.len() < tried().count() {
            let (mut stream, _) = listener.accept().unwrap();
            let mut text = Vec::new();
            let mut piece = [0; 4096];
            let (head, length) = loop {
                let read = stream.read(&mut piece).unwrap();
                text.extend_from_slice(&piece[..read]);
                let Some(head) = text.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
                let lines = String::from_utf8_lossy(&text[..head]).to_lowercase();
                let length =
                    lines.lines().find_map(|l| l.strip_prefix("content-length: ")).map_or(0, |l| l.trim().parse::<usize>().unwrap());
                if text.len() >= head + 4 + length {
                    break (head, length);
                }
            };
            let path = String::from_utf8_lossy(&text[..head]).split(' ').nth(1).unwrap().trim_start_matches('/').parse::<usize>().unwrap();
            bodies.insert(path, text[head + 4..head + 4 + length].to_vec());
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        }
        bodies
    });
    place.run(&["run", "tree.yaml", "--params", "params.json", "--durability", "normal"]).expect(0);
    for (n, body) in server.join().unwrap() {
        assert_eq!(String::from_utf8_lossy(&body), PAYLOADS[n]);
    }
    is_unharmed(&place, "http/request");
    println!("injection, requests: {} bodies arrived", tried().count());
}

#[test]
fn a_payload_that_runs_is_seen() {
    let place = Place::with(
        "tree: t\nparams: { p: { type: string } }\nsteps: { a: { env: { V: \"{{ params.p }}\" }, run: 'mkdir -p x/y; cd x/y; sh -c \"$V\"' } }\n",
    );
    place.run(&["run", "tree.yaml", "-p", "p=touch PWNED"]).expect(0);
    assert!(std::panic::catch_unwind(|| is_unharmed(&place, "a script that asks for it")).is_err());
}
