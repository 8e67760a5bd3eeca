//! Values that are hostile: each payload by each way into each place where a value can stand. A place
//! is refused by `trees check`, or the payload never runs and arrives byte for byte.

mod places;
mod ways;

use crate::place::Place;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;

/// What a payload that runs makes, in whatever folder it runs.
pub const CANARY: &str = "PWNED";

/// What a step runs with.
const SHELLS: [&str; 3] = ["sh", "bash", "[dash]"];

/// Every one of them makes the canary if somebody takes it for code, a pattern, an option, a name.
pub const PAYLOADS: &[&str] = &[
    "plain",
    "",
    " ",
    "  two  blanks  ",
    "; touch PWNED",
    "& touch PWNED &",
    "| touch PWNED",
    "|| touch PWNED",
    "&& touch PWNED",
    "\ntouch PWNED\n",
    "\r\ntouch PWNED\r\n",
    "$(touch PWNED)",
    "`touch PWNED`",
    "\"; touch PWNED; \"",
    "'; touch PWNED; '",
    "\"$(touch PWNED)\"",
    "'$(touch PWNED)'",
    "'\"`touch PWNED`\"'",
    "\\\"; touch PWNED; \\\"",
    "\\'; touch PWNED; \\'",
    "\\$(touch PWNED)",
    "\\",
    "\\\\",
    "a[$(touch PWNED)]",
    "x[$(touch PWNED >&2)0]=1",
    "a[`touch PWNED`]+1",
    "${x:=$(touch PWNED)}",
    "${x:-`touch PWNED`}",
    "$((a[$(touch PWNED)]))",
    "<(touch PWNED)",
    ">PWNED",
    "> PWNED",
    ">>PWNED",
    "EOF\ntouch PWNED\n",
    "E\ntouch PWNED\nE\n",
    "\nEOF\n$(touch PWNED)\n",
    ") touch PWNED (",
    ");touch PWNED;(",
    "}; touch PWNED; {",
    ";; *) touch PWNED;;",
    "esac; touch PWNED",
    "fi; touch PWNED; if :",
    "done; touch PWNED",
    "]]; touch PWNED; [[",
    "] && touch PWNED; [ a",
    "-v a[$(touch PWNED)]",
    "1 -eq a[$(touch PWNED)]",
    "-exec touch PWNED ;",
    "--checkpoint-action=exec=touch PWNED",
    "-oProxyCommand=touch PWNED",
    "() { :; }; touch PWNED",
    "{{ params.other }}",
    "{{ '; touch PWNED' }}",
    "${{ secrets.X }}",
    "{% raw %}$(touch PWNED){% endraw %}",
    "%s%n$(touch PWNED)",
    "%(touch PWNED)s",
    "*",
    "~",
    "~root",
    "!!",
    "#",
    "{a,b}$(touch PWNED)",
    "$IFS;touch${IFS}PWNED",
    "$'\\x3b touch PWNED'",
    "\u{1b}]0;touch PWNED\u{7}",
    "\u{ff1b} touch PWNED",
    "\u{2028}touch PWNED",
    "');import os;os.system('touch PWNED')#",
    "\");system(\"touch PWNED\");(\"",
    "e touch PWNED",
    "s/x/touch PWNED/e",
    "$(shell touch PWNED)",
    "\\! touch PWNED",
    "../PWNED",
    "name=value\nother=$(touch PWNED)",
    "name<<E\n$(touch PWNED)\nE",
];

/// All of them as a parameter each: `params.p0`, `params.p1`, …
fn declarations() -> String {
    let names: Vec<String> = (0..PAYLOADS.len()).map(|n| format!("p{n}: {{ type: string }}")).collect();
    format!("params: {{ {}, all: {{ type: list }} }}\n", names.join(", "))
}

/// A place for a tree, with the payloads in a file of params.
fn place(tree: &str) -> Place {
    let place = Place::with(&format!("tree: t\n{}{tree}", declarations()));
    let mut params: serde_json::Map<String, Value> = PAYLOADS.iter().enumerate().map(|(n, p)| (format!("p{n}"), json!(p))).collect();
    params.insert("all".into(), json!(PAYLOADS));
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
