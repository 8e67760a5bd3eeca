//! Templates and expressions: read, and evaluated with names of every type.

use super::places;
use serde_json::{Value, json};
use std::sync::LazyLock;
use trees_core::event::Object;
use trees_core::expr::{Expr, Template};

/// What an evaluated value has at most, as JSON with every letter escaped.
const LARGEST: usize = 6 * 17 * (1 << 20);

/// Any text as a value with expressions in it, then as one expression.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Template::parse(text, &places::top()) {
        Ok(template) => {
            places_of(&template, text);
            evaluated(text, &|| template.evaluate(&NAMES));
        }
        Err(found) => {
            assert!(!found.is_empty(), "{text:?} is refused without a word");
            places::hold_with_place(&found, &[text]);
        }
    }
    match Expr::parse_bare(text, &places::top()) {
        Ok(expr) => {
            expr.references.iter().for_each(|r| assert!(!r.written().is_empty(), "{text:?}"));
            evaluated(text, &|| expr.evaluate(&NAMES));
            assert_eq!(expr.test(&NAMES).is_ok(), expr.evaluate(&NAMES).is_ok(), "{text:?}");
        }
        Err(found) => places::hold_with_place(&[found], &[text]),
    }
}

fn places_of(template: &Template, text: &str) {
    for expr in template.exprs() {
        assert!(text.contains(&expr.source), "{:?} is not in {text:?}", expr.source);
        assert!(expr.span.line as usize <= 1 + text.matches('\n').count(), "{text:?}: {:?}", expr.span);
    }
}

/// A value or a sentence, the same again, never without end.
fn evaluated(text: &str, evaluate: &dyn Fn() -> Result<Value, String>) {
    let first = evaluate();
    match &first {
        Ok(value) => assert!(value.to_string().len() <= LARGEST, "{text:?} becomes too large"),
        Err(message) => assert!(!message.is_empty(), "{text:?} fails without a word"),
    }
    assert_eq!(evaluate(), first, "{text:?}");
}

static NAMES: LazyLock<Object> = LazyLock::new(|| match names() {
    Value::Object(names) => names,
    _ => Object::new(),
});

fn names() -> Value {
    json!({
        "params": {
            "app": "chat", "n": 3, "f": 0.5, "least": i64::MIN, "most": i64::MAX, "none": null, "yes": true,
            "text": "one\nzwei drei é\u{1F600}", "empty": "", "list": ["a", "b", 3, null, [1.5]], "deep": {"x": {"y": [{"z": 1}]}},
        },
        "vars": { "v": "3", "w": "{{ v }}" },
        "steps": { "a-b": { "status": "succeeded", "outputs": { "sha": "abc", "items": [{"id": 1, "on": true}, {"id": 2, "on": false}] } } },
        "v": "a value",
        "item": "x", "key": "app", "index": 0,
        "secrets": { "T": "a-secret-value" },
        "__failed": true, "__cancelled": false,
    })
}
