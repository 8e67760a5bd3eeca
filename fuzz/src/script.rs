//! Values in scripts: a bound script keeps its text and holds no value, a refused one says where.

use super::pieces::Generator;
use super::places;
use trees_core::shell::{Dialect, Script, bind};

/// What is in scope of the scripts here.
const SCOPE: [&str; 3] = ["v", "params", "secrets"];

/// Any text as a script.
pub fn run(data: &[u8]) {
    if let Ok(source) = std::str::from_utf8(data) {
        hold(source);
    }
}

/// A script of the pieces that the bytes choose.
pub fn pieces(data: &[u8]) {
    of_one(&Generator::from_bytes(data).script());
}

/// A script that reads `v` alone, as a generator writes them: one binding, read as often as the value
/// stands there, and beyond quotes not a letter or blank is another. The bound script, as by [`hold`].
pub fn of_one(source: &str) -> Option<Script> {
    let script = hold(source)?;
    assert_eq!(script.bindings.len(), 1, "{source:?}");
    assert_eq!(count(&script), source.matches("{{ v }}").count(), "{source:?} -> {:?}", script.text);
    let read = format!("${{{}}}", script.bindings[0].variable);
    let bare = |text: &str| text.replace(['\'', '"'], "");
    assert_eq!(bare(&script.text.replace(&read, "{{ v }}")), bare(source), "{source:?} -> {:?}", script.text);
    Some(script)
}

/// The bound script, where nothing is wrong with it.
pub fn hold(source: &str) -> Option<Script> {
    let (script, found) = bind(source, &places::top(), Dialect::Posix, &|name| SCOPE.contains(&name));
    assert_eq!(script.source, source);
    places::hold_with_place(&found, &[source]);
    other(source);
    if found.iter().any(|d| d.is_error()) {
        return None;
    }
    for binding in &script.bindings {
        assert!(!source.contains(&binding.variable), "{source:?} names {} itself", binding.variable);
        assert!(binding.expr.references.iter().all(|r| r.root() != "secrets"), "{source:?} has a secret in it");
        assert!(script.text.contains(&format!("${{{}}}", binding.variable)), "{source:?} -> {:?}", script.text);
    }
    // A text in braces is replaced by itself without its quotes: no comparison by letters then.
    if !source.contains("{{") || script.text.matches("{{").count() + count(&script) == source.matches("{{").count() {
        same(&script);
    }
    Some(script)
}

/// A script in another language has no values.
fn other(source: &str) {
    let (script, found) = bind(source, &places::top(), Dialect::Other, &|name| SCOPE.contains(&name));
    assert!(script.bindings.is_empty() || found.iter().any(|d| d.is_error()), "{source:?}");
}

/// How often the script reads a value.
fn count(script: &Script) -> usize {
    script.bindings.iter().map(|b| script.text.matches(&format!("${{{}}}", b.variable)).count()).sum()
}

/// With the values put back the text is what was written. Quotes of the script may touch those of a
/// reference, and blanks in braces mean nothing: compared without any.
fn same(script: &Script) {
    let mut back = script.text.clone();
    for binding in &script.bindings {
        back = back.replace(&format!("${{{}}}", binding.variable), &format!("{{{{{}}}}}", binding.expr.source));
    }
    let bare = |text: &str| text.replace(['\'', '"'], "").split_whitespace().collect::<String>();
    assert_eq!(bare(&back), bare(&script.source), "{:?} -> {:?}", script.source, script.text);
}
