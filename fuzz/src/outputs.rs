//! The file behind `$TREES_OUTPUT`: outputs as declared, or a line that is in the file; no secret in
//! either.

use serde_json::Value;
use std::sync::LazyLock;
use trees_core::tree::ValueType;
use trees_runner::mask::Masker;
use trees_runner::outputs::{OutputError, parse};

/// Longer than what is quoted of a line.
const SECRET: &str = "tok-0123456789-abcdefghijklmnopqrstuvwxyz-0123456789";
/// So much of it is more than chance.
const TELLING: &str = "tok-0123456789";

/// The first line declares (`a:string b:list`, nothing: no `outputs:`), the rest is the file.
pub fn run(data: &[u8]) {
    let end = data.iter().position(|b| *b == b'\n').unwrap_or(data.len());
    let (head, rest) = data.split_at(end);
    let declared = declared(&String::from_utf8_lossy(head));
    let file = rest.get(1..).unwrap_or_default();
    let types = declared.iter().cloned().collect();
    let types = if head.is_empty() { None } else { Some(&types) };
    static MASKER: LazyLock<Masker> = LazyLock::new(|| Masker::new([SECRET]));
    let masker = &*MASKER;
    match parse(file, types, masker) {
        Ok(outputs) => {
            for (name, kind) in &declared {
                assert!(outputs.get(name).is_some_and(|value| kind.fits(value)), "{name} in {outputs:?}");
            }
            let line = Value::Object(outputs.clone()).to_string();
            assert!(!masker.finds(&line), "a secret is in {line}");
            assert_eq!(parse(line.as_bytes(), types, masker), Ok(outputs), "{line}");
        }
        Err(error) => {
            let lines = 1 + file.iter().filter(|b| **b == b'\n').count();
            match &error {
                OutputError::Line { line, .. } => assert!((1..=lines).contains(line), "{error}"),
                OutputError::Whole(message) => assert!(!message.is_empty()),
            }
            let told = masker.mask(&error.to_string()).into_owned();
            // A part that was declared, or that the step itself wrote or hid behind escapes, is not known
            // to the masker.
            let text = String::from_utf8_lossy(data);
            let cut = masker.mask(&text).contains(TELLING) || text.contains('\\');
            assert!(cut || !told.contains(TELLING), "a secret is told: {told}");
        }
    }
}

fn declared(head: &str) -> Vec<(String, ValueType)> {
    let one = |word: &str| {
        let (name, kind) = word.split_once(':')?;
        let kind = serde_json::from_value(Value::String(kind.into())).ok()?;
        Some((name.to_owned(), kind))
    };
    let mut all: Vec<(String, ValueType)> = head.split(' ').filter_map(one).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all.dedup_by(|a, b| a.0 == b.0);
    all
}
