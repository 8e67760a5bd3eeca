//! The file behind `$TREES_OUTPUT`: what a step returns, read strictly and typed as declared.
//!
//! Each entry is `name=value` to the end of the line, `name<<END` with lines up to one that is
//! `END`, or a JSON object on one line. A line ends with a line feed, and nothing else: a carriage
//! return before it belongs to the value, which arrives byte for byte.

use crate::mask::Masker;
use indexmap::IndexMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use trees_core::event::{Json, Object};
use trees_core::tree::ValueType;

/// Bytes that one output may have.
pub const LARGEST: usize = 1 << 20;
/// Bytes of the whole file that are read.
const FILE: u64 = 17 << 20;

/// What is wrong with the outputs of a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// A line of the file.
    #[error("$TREES_OUTPUT line {line}: {message}")]
    Line {
        /// From 1.
        line: usize,
        /// What, with the cure.
        message: String,
    },
    /// The outputs as a whole.
    #[error("{0}")]
    Whole(String),
}

/// One written output.
#[derive(Debug, Clone, PartialEq)]
struct Written {
    name: String,
    value: Value,
    line: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    /// Of `name=value` or `name<<END`: its type is what is declared.
    Text(String),
    /// Of a JSON object.
    Json(Json),
}

/// Reads the outputs that stand in such a file.
///
/// # Errors
/// What a line or a value has wrong, what is missing, extra, written twice or holds a secret.
pub fn parse(bytes: &[u8], declared: Option<&IndexMap<String, ValueType>>, secrets: &Masker) -> Result<Object, OutputError> {
    if bytes.len() as u64 >= FILE {
        return Err(OutputError::Whole("the outputs of the step are over 16 MiB together: declare large results as `artifacts`".into()));
    }
    match written(bytes, secrets).and_then(|written| typed(written, declared, secrets)) {
        // What is wrong may quote a part of a secret, which nobody can tell from its looks.
        Err(OutputError::Line { line, .. }) if secrets.finds_bytes(bytes) => wrong(line, SECRET),
        read => read,
    }
}

const SECRET: &str = "an output contains a secret: pass secrets by `secrets:`, never by outputs";

/// The content of the file of an ended attempt, as far as it may be; no file is no output.
///
/// # Errors
/// When it cannot be read.
pub fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(FILE).read_to_end(&mut bytes).map(|_| bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(bytes),
        Err(e) => Err(e),
    }
}

fn wrong<T>(line: usize, message: impl Into<String>) -> Result<T, OutputError> {
    Err(OutputError::Line { line, message: message.into() })
}

fn written(bytes: &[u8], secrets: &Masker) -> Result<Vec<Written>, OutputError> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => {
            let line = 1 + bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count();
            return wrong(line, "is not UTF-8: encode bytes (base64) or declare a file as `artifacts`");
        }
    };
    let mut all: Vec<Written> = Vec::new();
    let mut lines = text.split('\n').enumerate().map(|(i, line)| (i + 1, line));
    while let Some((number, line)) = lines.next() {
        if line.trim().is_empty() {
            continue;
        }
        if line.contains('\0') {
            return wrong(number, "holds a NUL byte, which no output can");
        }
        match entry(number, line, secrets)? {
            Entry::Object(fields) => all.extend(fields.into_iter().map(|(name, v)| Written { name, value: Value::Json(v), line: number })),
            Entry::Text(name, value) => all.push(Written { name, value: Value::Text(value), line: number }),
            Entry::Block(name, end) => {
                let value = block(number, &name, &end, &mut lines)?;
                all.push(Written { name, value: Value::Text(value), line: number });
            }
        }
    }
    Ok(all)
}

enum Entry {
    Text(String, String),
    Block(String, String),
    Object(Object),
}

fn entry(number: usize, line: &str, secrets: &Masker) -> Result<Entry, OutputError> {
    // A part of a secret is no secret to the masker any more: masked first, then cut.
    let short = |text: &str| short(&secrets.mask(text));
    if line.trim_start().starts_with('{') {
        return match serde_json::from_str::<Object>(line) {
            Ok(fields) => match fields.keys().find(|name| !is_name(name)) {
                Some(name) => wrong(number, format!("`{}` is no name of an output", short(name))),
                None => Ok(Entry::Object(fields)),
            },
            Err(e) => wrong(number, format!("is no JSON object on one line (column {})", e.column())),
        };
    }
    let equals = line.find('=').unwrap_or(usize::MAX);
    let arrows = line.find("<<").unwrap_or(usize::MAX);
    if equals == arrows {
        return wrong(number, format!("`{}` is no output: write name=value, name<<END … END, or a JSON object on one line", short(line)));
    }
    let (name, rest) = line.split_at(equals.min(arrows));
    if !is_name(name) {
        return wrong(
            number,
            format!("`{}` is no name of an output: use letters, digits, `_` and `-`, and no blanks around `=`", short(name)),
        );
    }
    if equals < arrows {
        return Ok(Entry::Text(name.into(), rest[1..].into()));
    }
    match rest[2..].trim() {
        "" => wrong(number, format!("`{name}<<` needs a word that ends the value: `{name}<<END`")),
        end => Ok(Entry::Block(name.into(), end.into())),
    }
}

fn block<'a>(number: usize, name: &str, end: &str, lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Result<String, OutputError> {
    let mut value = String::new();
    for (row, (at, line)) in lines.enumerate() {
        // Where all lines end with CR LF this one does too.
        if line.strip_suffix('\r').unwrap_or(line) == end {
            return Ok(value);
        }
        if line.contains('\0') {
            return wrong(at, "holds a NUL byte, which no output can");
        }
        if row > 0 {
            value.push('\n');
        }
        value.push_str(line);
    }
    wrong(number, format!("`{name}<<{end}` is not ended: a line that is only `{end}` must follow"))
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn short(text: &str) -> String {
    let cut: String = text.chars().take(40).collect();
    if cut.len() < text.len() { format!("{cut}…") } else { cut }
}

fn typed(written: Vec<Written>, declared: Option<&IndexMap<String, ValueType>>, secrets: &Masker) -> Result<Object, OutputError> {
    let mut outputs = Object::new();
    let mut lines: IndexMap<String, usize> = IndexMap::new();
    for Written { name, value, line } in written {
        let kind = match declared {
            Some(declared) => declared.get(&name),
            None => {
                return wrong(
                    line,
                    format!("`{name}` is written without `outputs:`: add `outputs: {{ {name}: {} }}` to the step", word(guess(&value))),
                );
            }
        };
        let Some(kind) = kind else {
            return wrong(line, format!("`{name}` is not declared: add `{name}: {}` to the step's `outputs:`", word(guess(&value))));
        };
        if let Some(first) = lines.insert(name.clone(), line) {
            return wrong(line, format!("`{name}` is written twice (first on line {first}): write each output once"));
        }
        let size = value.size();
        if size > LARGEST {
            return wrong(
                line,
                format!(
                    "`{name}` has {} KiB, an output may have 1 MiB: write a file and declare it in `artifacts`",
                    size.div_ceil(1 << 10)
                ),
            );
        }
        if secrets.finds(&name) || value.holds(secrets) {
            return wrong(line, SECRET);
        }
        let value = value
            .convert(*kind)
            .map_err(|found| OutputError::Line { line, message: format!("`{name}` is declared as {}, but is {found}", word(*kind)) })?;
        outputs.insert(name, value);
    }
    let missing: Vec<String> =
        declared.into_iter().flatten().filter(|(name, _)| !outputs.contains_key(*name)).map(|(name, _)| format!("`{name}`")).collect();
    if missing.is_empty() {
        return Ok(outputs);
    }
    let first = missing[0].trim_matches('`');
    Err(OutputError::Whole(format!("the step did not write {}: `echo \"{first}=…\" >> \"$TREES_OUTPUT\"`", missing.join(", "))))
}

impl Value {
    fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Json(value) => value.to_string().len(),
        }
    }

    fn holds(&self, secrets: &Masker) -> bool {
        match self {
            Self::Text(text) => secrets.finds(text),
            Self::Json(value) => !secrets.is_empty() && secrets.mask_json(value) != *value,
        }
    }

    /// As the type wants it, else what it is instead.
    fn convert(self, kind: ValueType) -> Result<Json, String> {
        let value = match (self, kind) {
            (Self::Text(text), ValueType::String) => return Ok(Json::String(text)),
            (Self::Text(text), _) => match serde_json::from_str(text.trim()) {
                Ok(value) if kind.fits(&value) => return Ok(value),
                _ => return Err(format!("`{}`", short(&text))),
            },
            (Self::Json(value), _) => value,
        };
        if kind.fits(&value) { Ok(value) } else { Err(format!("the JSON value `{}`", short(&value.to_string()))) }
    }
}

/// A value that a person writes, as an output of this type.
///
/// # Errors
/// What it is instead.
pub fn read_value(text: &str, kind: ValueType) -> Result<Json, String> {
    Value::Text(text.into()).convert(kind).map_err(|found| format!("is declared as {}, but is {found}", word(kind)))
}

fn guess(value: &Value) -> ValueType {
    match value {
        Value::Text(_) | Value::Json(Json::String(_) | Json::Null) => ValueType::String,
        Value::Json(Json::Number(n)) if n.is_i64() => ValueType::Integer,
        Value::Json(Json::Number(_)) => ValueType::Number,
        Value::Json(Json::Bool(_)) => ValueType::Boolean,
        Value::Json(Json::Array(_)) => ValueType::List,
        Value::Json(Json::Object(_)) => ValueType::Object,
    }
}

fn word(kind: ValueType) -> &'static str {
    match kind {
        ValueType::String => "string",
        ValueType::Integer => "integer",
        ValueType::Number => "number",
        ValueType::Boolean => "boolean",
        ValueType::List => "list",
        ValueType::Object => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(declared: Option<&[(&str, ValueType)]>, bytes: &[u8], secrets: &[&str]) -> Result<Object, OutputError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outputs");
        std::fs::write(&path, bytes).unwrap();
        let declared: Option<IndexMap<String, ValueType>> = declared.map(|d| d.iter().map(|(k, v)| ((*k).into(), *v)).collect());
        parse(&content(&path).unwrap(), declared.as_ref(), &Masker::new(secrets.iter().copied()))
    }

    #[track_caller]
    fn check(declared: &[(&str, ValueType)], text: &str, expected: Json) {
        let found = run(Some(declared), text.as_bytes(), &["hunter22"]);
        assert_eq!(found.map(|o| json!(o)).map_err(|e| e.to_string()), Ok(expected), "{text:?}");
    }

    #[track_caller]
    fn refuse(declared: &[(&str, ValueType)], text: impl AsRef<[u8]>, expected: &str) {
        let found = run(Some(declared), text.as_ref(), &["hunter22"]).unwrap_err();
        assert_eq!(found.to_string(), expected);
    }

    use ValueType::{Boolean, Integer, List, Number, String as Text};
    const A: &[(&str, ValueType)] = &[("a", Text)];

    #[test]
    fn what_is_written_is_read() {
        check(&[], "", json!({}));
        check(&[], "\n  \n", json!({}));
        check(A, "a=b", json!({"a": "b"}));
        check(A, "a= b=c<<d \r\n", json!({"a": " b=c<<d \r"}));
        check(A, "\r\na=b\rc\r\r\n\r\n", json!({"a": "b\rc\r\r"}));
        check(A, "a<<END \r\none\r\n\r\nEND\r\n", json!({"a": "one\r\n\r"}));
        check(A, "{\"a\": \"x\"}\r\n", json!({"a": "x"}));
        check(&[("i", Integer)], "i=7\r\n", json!({"i": 7}));
        check(A, "a=\n", json!({"a": ""}));
        check(A, "a=7\n", json!({"a": "7"}));
        check(A, "a<<END\none\n\n two=2\nEND\n", json!({"a": "one\n\n two=2"}));
        check(A, "a<<E\nE\n", json!({"a": ""}));
        check(A, "{\"a\": \"x\\ny\"}\n", json!({"a": "x\ny"}));
        let all = &[("i", Integer), ("n", Number), ("b", Boolean), ("l", List), ("o", ValueType::Object), ("s-1", Text)];
        let text = "i=-3\nn=2.5\nb=true\nl=[1, \"x\"]\no={\"k\": null}\ns-1=true\n";
        let value = json!({"i": -3, "n": 2.5, "b": true, "l": [1, "x"], "o": {"k": null}, "s-1": "true"});
        check(all, text, value.clone());
        check(all, &format!("{value}\n"), value);
        check(&[("n", Number)], "n=3", json!({"n": 3}));
        assert_eq!(run(None, b"", &[]), Ok(Object::new()));
        assert_eq!(content(Path::new("/no/such/file")).unwrap(), b"");
    }

    #[test]
    fn what_is_wrong_is_said() {
        refuse(A, "", "the step did not write `a`: `echo \"a=…\" >> \"$TREES_OUTPUT\"`");
        refuse(&[("a", Text), ("b", Text), ("c", Text)], "b=1", "the step did not write `a`, `c`: `echo \"a=…\" >> \"$TREES_OUTPUT\"`");
        refuse(A, "a=1\nb=2\n", "$TREES_OUTPUT line 2: `b` is not declared: add `b: string` to the step's `outputs:`");
        refuse(A, "{\"b\": 2}\n", "$TREES_OUTPUT line 1: `b` is not declared: add `b: integer` to the step's `outputs:`");
        refuse(A, "a=1\n\na=2\n", "$TREES_OUTPUT line 3: `a` is written twice (first on line 1): write each output once");
        refuse(A, "hello\n", "$TREES_OUTPUT line 1: `hello` is no output: write name=value, name<<END … END, or a JSON object on one line");
        refuse(
            A,
            "a =1\n",
            "$TREES_OUTPUT line 1: `a ` is no name of an output: use letters, digits, `_` and `-`, and no blanks around `=`",
        );
        refuse(A, "a<<\nx\n", "$TREES_OUTPUT line 1: `a<<` needs a word that ends the value: `a<<END`");
        refuse(A, "\na<<END\nx\n", "$TREES_OUTPUT line 2: `a<<END` is not ended: a line that is only `END` must follow");
        refuse(A, "{\"a\": 1", "$TREES_OUTPUT line 1: is no JSON object on one line (column 7)");
        refuse(A, "{\"a b\": 1}", "$TREES_OUTPUT line 1: `a b` is no name of an output");
        refuse(A, "{\"a\": 1}", "$TREES_OUTPUT line 1: `a` is declared as string, but is the JSON value `1`");
        refuse(&[("a", Integer)], "a=1.5", "$TREES_OUTPUT line 1: `a` is declared as integer, but is `1.5`");
        refuse(
            &[("a", Integer)],
            "a=99999999999999999999",
            "$TREES_OUTPUT line 1: `a` is declared as integer, but is `99999999999999999999`",
        );
        refuse(&[("a", Boolean)], "a=yes", "$TREES_OUTPUT line 1: `a` is declared as boolean, but is `yes`");
        refuse(&[("a", List)], "a={}", "$TREES_OUTPUT line 1: `a` is declared as list, but is `{}`");
        refuse(A, b"a=1\nb=\xff\n", "$TREES_OUTPUT line 2: is not UTF-8: encode bytes (base64) or declare a file as `artifacts`");
        refuse(A, b"a=\0\n", "$TREES_OUTPUT line 1: holds a NUL byte, which no output can");
        refuse(A, b"a<<E\n\0\nE\n", "$TREES_OUTPUT line 2: holds a NUL byte, which no output can");
        refuse(
            A,
            format!("a={}", "x".repeat(LARGEST + 1)),
            "$TREES_OUTPUT line 1: `a` has 1025 KiB, an output may have 1 MiB: write a file and declare it in `artifacts`",
        );
        refuse(A, vec![b'\n'; FILE as usize], "the outputs of the step are over 16 MiB together: declare large results as `artifacts`");
        for secret in ["hunter22=1", "hunter22 x", "a=x-hunter22-y", "a=aHVudGVyMjI=", "{\"a\": \"hunter22\"}", "a<<E\nx\nhunter22\nE"] {
            refuse(A, secret, "$TREES_OUTPUT line 1: an output contains a secret: pass secrets by `secrets:`, never by outputs");
        }
        let long = "hunter22-".repeat(8);
        for line in
            [format!("{long}\n"), format!("a {long}=1\n"), format!("{{\"{long}\": 1, \"é\": 2}}\n"), format!("{{\"é{long}\": 1}}\n")]
        {
            let told = run(Some(A), line.as_bytes(), &[&long]).unwrap_err().to_string();
            assert!(!told.contains("hunter22"), "a secret that was cut is told: {told}");
        }
        let undeclared = run(None, b"sha=abc\n", &[]).unwrap_err().to_string();
        assert_eq!(undeclared, "$TREES_OUTPUT line 1: `sha` is written without `outputs:`: add `outputs: { sha: string }` to the step");
    }
}
