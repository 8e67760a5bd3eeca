//! Values that are hostile: each payload by each way into each place where a value can stand. A place
//! is refused by `trees check`, or the payload never runs and arrives byte for byte.

mod payloads;
mod places;
mod ways;

use crate::chance::is_long;
use crate::place::Place;
pub use payloads::PAYLOADS;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;

/// What a payload that runs makes, in whatever folder it runs.
pub const CANARY: &str = "PWNED";

/// What a step runs with.
const SHELLS: [&str; 3] = ["sh", "bash", "[dash]"];

/// Whether a value is tried at a place: in the short form each seventh one, others at the next place.
pub fn is_tried(place: usize, payload: usize) -> bool {
    is_long() || (place + payload).is_multiple_of(7)
}

/// All of them as a parameter each: `params.p0`, `params.p1`, …
fn declarations() -> String {
    let names: Vec<String> = (0..PAYLOADS.len()).map(|n| format!("p{n}: {{ type: string }}")).collect();
    format!("params: {{ {}, all: {{ type: list }} }}\n", names.join(", "))
}

/// A place for a tree, with the payloads in a file of params.
fn place(tree: &str) -> Place {
    let place = Place::with(&format!("tree: t\n{}{tree}", declarations()));
    let mut params: serde_json::Map<String, Value> = PAYLOADS.iter().enumerate().map(|(n, p)| (format!("p{n}"), json!(p))).collect();
    params.insert("all".into(), json!(*PAYLOADS));
    place.write("params.json", Value::Object(params).to_string());
    fs::create_dir(place.path("out")).unwrap();
    place
}

/// A script as a value of YAML.
fn block(script: &str) -> String {
    script.lines().fold(String::from("|\n"), |mut text, line| {
        let _ = writeln!(text, "      {line}");
        text
    })
}

/// Fails if a payload ran, wherever.
fn is_unharmed(place: &Place, what: &str) {
    let mut folders = vec![place.root().to_owned(), std::env::temp_dir()];
    let mut first = true;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            assert!(entry.file_name() != CANARY, "{what}: a payload ran: {}", entry.path().display());
            if entry.file_type().is_ok_and(|t| t.is_dir()) && !first {
                folders.push(entry.path());
            }
        }
        first = false;
    }
}
