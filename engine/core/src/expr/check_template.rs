//! Tables: texts with expressions inside, and where their mistakes stand.

use super::{Expr, Part, Template};
use crate::diagnostic::{Origin, Span, Style};
use crate::event::{Json, Object};
use serde_json::json;

fn names() -> Object {
    json!({"a": "x y", "n": 3, "l": [1, "b"], "u": null}).as_object().unwrap().clone()
}

fn plain() -> Origin {
    Origin { span: Span { source: 0, line: 4, column: 10, len: 0 }, style: Style::Plain }
}

#[test]
fn values_of_texts() {
    let check = |text: &str, wanted: Json| {
        let template = Template::parse(text, &plain()).unwrap_or_else(|f| panic!("{text}: {f:?}"));
        assert_eq!(template.evaluate(&names()), Ok(wanted), "{text}");
    };
    check("", json!(""));
    check("plain {% if %} {# c #} ${x} { } }}", json!("plain {% if %} {# c #} ${x} { } }}"));
    check("{{ n }}", json!(3));
    check("{{n}}", json!(3));
    check("{{ l }}", json!([1, "b"]));
    check("{{ u }}", Json::Null);
    check(" {{ n }}", json!(" 3"));
    check("{{ a }}-{{ n }}-{{ l }}-{{ u }}", json!("x y-3-[1,\"b\"]-null"));
    check("{{ '{{' }} .State {{ '}}' }}", json!("{{ .State }}"));
    check("{{ '{{' }}", json!("{{"));
    check("{{ {'k': {'i': n}} }}", json!({"k": {"i": 3}}));
    check("{{ \"}}\" ~ n }}", json!("}}3"));
    check("{{ a | replace(from=' ', to=\"'\") }}", json!("x'y"));
    check("a\n{{ n }}\nb", json!("a\n3\nb"));
    check("é{{ n }}é", json!("é3é"));
}

#[test]
fn mistakes_in_texts() {
    let check = |text: &str, wanted: &[(&str, u32, u32)]| {
        let found = Template::parse(text, &plain()).expect_err(text);
        let got: Vec<_> = found.iter().map(|d| (d.code.as_str(), d.span.unwrap().line, d.span.unwrap().column)).collect();
        assert_eq!(got, wanted, "{text}");
    };
    check("a {{ n", &[("expression-unclosed", 4, 12)]);
    check("{{ n | nope }} {{ n && }}", &[("expression", 4, 17), ("expression", 4, 30)]);
    check("${{ n }}", &[("expression-dollar", 4, 10)]);
    check("{{}}", &[("expression", 4, 12)]);
    check("{{ it's }}", &[("expression", 4, 15)]);
    check("{{.State}}", &[("expression", 4, 12)]);
}

#[test]
fn collapses_where_nothing_is_inside() {
    let parse = |text: &str| Template::parse(text, &plain()).unwrap();
    assert_eq!(Template::list(vec![parse("a"), Template::Value(json!(1))]), Template::Value(json!(["a", 1])));
    assert_eq!(Template::map(vec![("k".into(), parse("a"))]), Template::Value(json!({"k": "a"})));
    let mixed = Template::map(vec![("k".into(), Template::list(vec![parse("{{ n }}"), parse("x{{ a }}")])), ("p".into(), parse("q"))]);
    assert_eq!(mixed.exprs().iter().map(|e| e.source.as_str()).collect::<Vec<_>>(), ["n", "a"]);
    assert_eq!(mixed.evaluate(&names()), Ok(json!({"k": [3, "xx y"], "p": "q"})));
    assert!(matches!(parse("{{ n }}"), Template::Whole(_)));
    assert!(matches!(&parse("a{{ n }}"), Template::Text(parts) if matches!(parts[..], [Part::Literal(_), Part::Expr(_)])));
}

#[test]
fn conditions_with_or_without_braces() {
    for text in ["n == 3", "{{ n == 3 }}", "  {{ n == 3 }} "] {
        let expr = Expr::parse_bare(text, &plain()).unwrap();
        assert_eq!((expr.source.as_str(), expr.test(&names())), ("n == 3", Ok(true)), "{text}");
    }
    assert_eq!(Expr::parse_bare("{{ n == m }}", &plain()).unwrap().references[1].span.column, 18);
}
