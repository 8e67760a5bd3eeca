//! Tables: what expressions mean, what they read, and what is said against the wrong ones.

use super::Expr;
use crate::diagnostic::{Diagnostic, Origin, Places, Span, Style};
use crate::event::{Json, Object};
use serde_json::json;

fn origin() -> Origin {
    Origin { span: Span { source: 0, line: 1, column: 1, len: 0 }, style: Style::Plain }
}

fn parse(source: &str) -> Result<Expr, Diagnostic> {
    Expr::parse(source, &Places::new(origin(), source), 0)
}

fn names() -> Object {
    let value = json!({
        "environment": "production", "n": 9_007_199_254_740_993u64, "big": u64::MAX, "f": 1.5, "t": true, "u": null, "e": [], "m": {}, "zero": 0,
        "params": {"app": "chat", "replicas": 2, "list": ["a", "b"], "deep": {"x": {"y": 1}}},
        "steps": {"build": {"status": "succeeded", "outputs": {"version": "1.2", "html": "<a&b>"}}, "a-b": {"status": "skipped", "outputs": {}},
                  "list": {"outputs": {"items": [{"id": 1, "on": true}, {"id": 2, "on": false}], "mixed": [1, 2.5, "x", true, null, {"k": [1]}]}}},
        "secrets": {"TOKEN": "hunter2"}, "item": "eu", "key": "app", "nope_key": "zzz", "__failed": true, "__cancelled": false,
    });
    value.as_object().unwrap().clone()
}

#[test]
fn values_keep_their_types() {
    let check = |source: &str, wanted: Json| {
        let got = parse(source).unwrap_or_else(|d| panic!("{source}: {d:?}")).evaluate(&names());
        assert_eq!(got.as_ref(), Ok(&wanted), "{source}");
    };
    check("environment", json!("production"));
    check("n", json!(9_007_199_254_740_993u64));
    check("n + 1", json!(9_007_199_254_740_994u64));
    check("big", json!(u64::MAX));
    check("f * 2", json!(3.0));
    check("f", json!(1.5));
    check("t", json!(true));
    check("u", Json::Null);
    check("e", json!([]));
    check("steps.list.outputs.mixed", json!([1, 2.5, "x", true, null, {"k": [1]}]));
    check("steps.list.outputs.mixed[5].k[0]", json!(1));
    check("steps['a-b'].status", json!("skipped"));
    check("steps[\"a-b\"].status == 'skipped'", json!(true));
    check("steps.build.outputs.html", json!("<a&b>"));
    check("steps.build.outputs.html ~ '<'", json!("<a&b><"));
    check("[1, n, 'x']", json!([1, 9_007_199_254_740_993u64, "x"]));
    check("{'a': {'b': n}}", json!({"a": {"b": 9_007_199_254_740_993u64}}));
    check("{'b': 1, 'a': 2} | keys", json!(["b", "a"]));
    check("params.deep | pairs", json!([["x", {"y": 1}]]));
    check("1 if failed() else 2", json!(1));
    check("not cancelled() and failed()", json!(true));
    check("environment in ['production', 'x']", json!(true));
    check("environment not in ['production']", json!(false));
    check("[i.id for i in steps.list.outputs.items if i.on]", json!([1]));
    check("[k for k, v in params.deep]", json!(["x"]));
    check("range(end=3)", json!([0, 1, 2]));
    check("steps.maybe.outputs.x | default(value='d')", json!("d"));
    check("(steps.maybe.outputs.x) | default(value='d')", json!("d"));
    check("[1][5] | default(value='d')", json!("d"));
    check("steps.maybe is defined", json!(false));
    check("steps.maybe.outputs.x is undefined", json!(true));
    check("steps.maybe?.status | default(value=1)", json!(1));
    check("u?.x is defined", json!(false));
    check("params.app is defined and params.app == 'chat'", json!(true));
    check("steps.maybe is defined and steps.maybe.status == 'x'", json!(false));
    check("params[key]", json!("chat"));
    check("params.list[-1]", json!("b"));
    check("params.list[0:1]", json!(["a"]));
    check("params.list | join(sep=',')", json!("a,b"));
    check("'a-b' | replace(from='-', to='_')", json!("a_b"));
    check("'a\nb' | indent(width=2)", json!("a\n  b"));
    check("`it's` ~ \"}}\" ~ '{{ x }}'", json!("it's}}{{ x }}"));
    check("-n", json!(-9_007_199_254_740_993i64));
    check("7 // 2", json!(3));
    check("2 ** 10", json!(1024));
    check("7 / 2", json!(3.5));
    check("none", Json::Null);
    check("zero is even", json!(true));
    check("params.replicas is divisible_by(divisor=2)", json!(true));
}

#[test]
fn conditions() {
    let check = |source: &str, wanted: bool| assert_eq!(parse(source).unwrap().test(&names()), Ok(wanted), "{source}");
    for yes in ["t", "environment", "n", "1", "'x'", "[0]", "{'a': 1}", "f", "not u", "'false'"] {
        check(yes, true);
    }
    for no in ["false", "u", "zero", "0.0", "''", "e", "m", "none", "not t"] {
        check(no, false);
    }
}

#[test]
fn what_is_not_defined_is_said() {
    let check = |source: &str, wanted: &str| {
        let got = parse(source).unwrap_or_else(|d| panic!("{source}: {d:?}")).evaluate(&names());
        assert_eq!(got, Err(wanted.to_owned()), "{source}");
    };
    check("steps.build.outputs.sha", "`steps.build.outputs.sha` is not defined; `steps.build.outputs` has: html, version");
    check("steps.build.outputs.versoin == 'x'", "`steps.build.outputs.versoin` is not defined; did you mean `version`?");
    check("enviroment == 'x'", "`enviroment` is not defined; did you mean `environment`?");
    check("not whatever", "`whatever` is not defined: there is no `whatever` here");
    check("t or steps.nope.status", "`steps.nope.status` is not defined; `steps` has: a-b, build, list");
    check("steps['a-b'].outputs.x", "`steps[\"a-b\"].outputs.x` is not defined; `steps[\"a-b\"].outputs` is empty");
    check("secrets.TOKE", "`secrets.TOKE` is not defined: no such secret is declared here");
    check("u.x", "`u.x` is not defined; `u` is null");
    check("params.list[7]", "`params.list[7]` is not defined; `params.list` is a list of 2 items");
    check("environment.x", "`environment.x` is not defined; `environment` is a plain value");
    check("params[nope_key] == 'x'", "an item that is not defined is read");
    check("[i.zz for i in steps.list.outputs.items]", "an item that is not defined is read");
    check("steps.maybe?.status", "`steps.maybe.status` is not defined; `steps` has: a-b, build, list");
}

#[test]
fn mistakes_have_a_place_and_a_cure() {
    let check = |source: &str, place: (u32, u32), message: &str, help: &str| {
        let found = parse(source).expect_err(source);
        let span = found.span.unwrap();
        let got = ((span.column, span.len), found.message.as_str(), found.help.as_deref().unwrap_or(""));
        assert_eq!(got, (place, message, help), "{source}");
    };
    check("a && b", (3, 2), "`&&` is no operator", "write `and` for `&&`");
    check("a || b", (3, 2), "`||` is no operator", "write `or` for `||`");
    check("!a", (1, 1), "`!` is no operator", "write `not` for `!`");
    check("a = b", (3, 1), "`=` does not compare", "write `==` for `=`");
    check("a ? b : c", (3, 1), "`? :` is no operator", "write `a if condition else b`");
    check("a AND b", (3, 3), "`AND` is no operator", "write `and`");
    check("a | uper", (5, 4), "unknown filter `uper`", "did you mean `upper`?");
    check("x | nothing_like_it", (5, 15), "unknown filter `nothing_like_it`", "");
    check("faild()", (1, 5), "unknown function `faild`", "did you mean `failed`?");
    check("upper(a)", (1, 5), "unknown function `upper`", "`upper` is a filter: write `value | upper`");
    check("a is defind", (6, 6), "unknown test `defind`", "did you mean `defined`?");
    check("a | default('x')", (13, 3), "filter `default` takes its arguments by name", "write `default(value=…)`");
    check("range(3)", (7, 1), "function `range` takes its arguments by name", "write `range(end=…)`");
    check("a | upper('x')", (11, 3), "filter `upper` takes no argument", "");
    check("a | default(val='x')", (13, 3), "filter `default` has no argument `val`", "did you mean `value`?");
    check("a | default", (5, 7), "filter `default` needs the argument `value`", "write `default(value=…)`");
    check("a | default(value=1, value=2)", (22, 5), "the argument `value` is given twice", "");
    check("a.0", (3, 1), "an item is taken by `[…]`", "write `[0]` for `.0`");
    check(
        "a.b()",
        (4, 1),
        "only functions are called, by their plain name",
        "a value is read without `()`; a filter is written `value | filter`",
    );
    check("$a", (1, 1), "`$` has no meaning in an expression", "names stand without `$`");
    check("'abc", (1, 1), "the text opened by ' is not closed", "");
    check("a ==", (5, 0), "the expression ends where a value should stand", "");
    check("(a", (3, 0), "`)` is missing at the end", "");
    check("a b", (3, 1), "`b` cannot stand here", "");
    check("a 'b'", (3, 3), "a text cannot stand here", "join texts with `~`");
    check("", (1, 0), "there is no expression between the braces", "");
    check("- -a", (3, 1), "`-` and `not` cannot follow each other", "use parentheses");
    check("a ~ -b", (5, 0), "`-` and `not` cannot follow `~`", "use parentheses and `| str`");
    check("{a: 1}", (2, 1), "a key of a map is a text in quotes", "write `{'key': value}`");
    check("__failed", (1, 8), "`__failed` is no name of a tree file", "");
    check(
        "99999999999999999999",
        (1, 20),
        "`99999999999999999999` is too large a whole number",
        "whole numbers go up to 9223372036854775807",
    );
    check("a if b", (7, 0), "`else` is missing", "write `a if condition else b`");
    check("“a”", (1, 1), "`“` has no meaning in an expression", "use straight quotes");
    check("<x/>", (1, 1), "`<` cannot stand here", "");
}

/// Our reading of an expression against Tera's own.
#[test]
fn references_agree_with_tera() {
    let mut tera = tera::Tera::new();
    tera.register_function("failed", |_: tera::Kwargs, _: &tera::State| true);
    tera.register_function("cancelled", |_: tera::Kwargs, _: &tera::State| true);
    for source in AGREED {
        let ours = parse(source);
        let theirs = tera.add_raw_template("e", &format!("{{{{ {} }}}}", source.replace("}}", "} }")));
        match (&ours, &theirs) {
            (Ok(expr), Ok(())) => {
                let mut names: Vec<&str> = expr.references.iter().map(super::Reference::root).collect();
                names.sort_unstable();
                names.dedup();
                let mut wanted: Vec<&str> = tera.get_template_variables("e").unwrap().into_iter().collect();
                wanted.sort_unstable();
                assert_eq!(names, wanted, "{source}");
            }
            (Err(_), Err(_)) => {}
            _ => panic!("{source}: {ours:?}, Tera {theirs:?}"),
        }
    }
}

const AGREED: &[&str] = &[
    "a",
    "a.b",
    "a.b.c",
    "a['b'].c",
    "a[\"b\"]",
    "a[0]",
    "a[0].b",
    "a[b]",
    "a[b.c].d",
    "a[b[c]]",
    "a?.b",
    "a?.b?.c",
    "a?['b']",
    "a[1:b]",
    "a[:-1]",
    "a[::2]",
    "a[b:c:d]",
    "a == b",
    "a != b",
    "a < b and c >= d",
    "a or b and not c",
    "a in b",
    "a not in b",
    "not a in b",
    "a + b * c - d / e % f",
    "a // b ** c",
    "a ~ b ~ 'x'",
    "-a + -b",
    "-a.b",
    "-(a)",
    "(a.b)",
    "(a)[b]",
    "'abc'[a]",
    "[a, b.c, [d]]",
    "[a, ...b]",
    "{'x': a, 'y': b.c}",
    "{...a, 'x': b}",
    "{1: a, true: b}",
    "[x for x in m]",
    "[x.y for x in m.n if x.z == k]",
    "[k ~ v for k, v in m]",
    "[[y for y in x] for x in m]",
    "[x for x in x]",
    "[i for j in k]",
    "a if b else c",
    "a if b else c if d else e",
    "(a if b else c) ~ d",
    "a | upper",
    "a.b | replace(from='x', to=c)",
    "a | default(value=b.c) | upper",
    "a + b | abs",
    "a | default(value=[b, c])",
    "range(end=n)",
    "range(start=a, end=b.c)",
    "failed() or a",
    "not failed()",
    "cancelled() == a",
    "a is defined",
    "a.b is not defined",
    "a is odd and b is even",
    "a is divisible_by(divisor=b)",
    "a is containing(pat=b) or c",
    "true and a",
    "none == a",
    "null == a",
    "'it''s'",
    "`a` ~ b",
    "\"{{ a }}\" ~ b",
    "1.5 + a",
    "1. + a",
    "a.if.for",
    "a.b.c.d.e[1]['f'].g",
    "[1, 2, 3] | first",
    "[1, a][0]",
    "a[0][1]",
    "a[0](b)",
    "a.",
    "a..b",
    ".a",
    "a b",
    "a == ",
    "(a",
    "a)",
    "[a",
    "{a}",
    "a | ",
    "a |",
    "a is",
    "a if b",
    "a and",
    "and a",
    "not",
    "--a",
    "not not a",
    "a ~ -b",
    "a.(b)",
    "a(b)",
    "a.b()",
    "a[",
    "a[]",
    "[a,]",
    "[,]",
    "{'a': 1,}",
    "{,}",
    "{'a' 1}",
    "f(",
    "a = b",
    "a & b",
    "a ; b",
    "a?b",
    "a ? b : c",
    "a!b",
    "'x",
    "a not b",
    "a is not",
    "[x for x]",
    "[x for in y]",
    "[x for x in y for z in w]",
    "[x for x, in y]",
    "true.x",
    "1.x",
    "'a'.b",
    "a ** -b",
    "a * -b",
    "a\n+\nb",
    "a[-1]",
    "a in ['x', 'y'] and b",
    "a <= b",
    "a > b",
    "{'a': {'b': c}}",
    "[[[a]]]",
    "a[b[c[d[e[f]]]]]",
    "loop",
    "self",
    "a.loop",
    "range(end=a)[0]",
    "a | split(pat=',') | last ~ b",
    "{}",
    "[]",
    "()",
];

#[test]
fn deep_nesting_is_refused_not_overflowed() {
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("-", ""),
        ("not ", ""),
        ("a[", "]"),
        ("{'a':", "}"),
        ("a if ", " else b"),
        ("-(", ")"),
        ("not (", ")"),
        ("range(end=", ")"),
        ("a ~ (", ")"),
        ("a ** ", ""),
    ] {
        let source = format!("{}a{}", open.repeat(100_000), close.repeat(100_000));
        assert!(parse(&source).is_err(), "{open}");
        let short = format!("{}a{}", open.repeat(8_000 / open.len()), close.repeat(8_000 / open.len()));
        assert!(parse(&short).is_err(), "{open}");
        let wide = format!("{}a{}", open.repeat(31), close.repeat(31));
        if let Ok(expr) = parse(&wide) {
            let _ = expr.evaluate(&names());
        }
    }
    assert!(parse(&"a+".repeat(20_000)).is_err());
    for (piece, last) in [("n + ", "n"), ("n and ", "n"), ("n ~ ", "n")] {
        assert!(parse(&format!("{}{last}", piece.repeat(200))).is_err(), "{piece}");
        assert!(parse(&format!("{}{last}", piece.repeat(60))).unwrap().evaluate(&names()).is_ok(), "{piece}");
    }
    assert!(parse(&format!("n{}", " | str".repeat(60))).unwrap().evaluate(&names()).is_ok());
    assert!(parse(&format!("u{} is defined", ".x".repeat(60))).unwrap().evaluate(&names()).is_ok());
    assert!(parse(&format!("'{}'", "x".repeat(70_000))).is_err());
}

#[test]
fn what_is_written_is_capped() {
    let check = |source: &str, wanted: &str| {
        let got = parse(source).unwrap().evaluate(&names());
        assert!(got.as_ref().is_err_and(|e| e.contains(wanted)), "{source}: {:?}", got.map(|v| v.to_string().len()));
    };
    check("range(end=100001)", "exceeds the limit");
    check("range(end=9000000000000000000)", "exceeds the limit");
    check("[[y for y in range(end=100000)] for x in range(end=100000)]", "more than 1000000 items");
    let tenfold = " | replace(from='a', to='aaaaaaaaaa')";
    check(&format!("'aaaaaaaaaa'{}", tenfold.repeat(7)), "larger than 16 MiB");
    check(&format!("'a'{} | replace(from='a', to='\\n') | indent(width=1000, blank=true)", tenfold.repeat(5)), "larger than 16 MiB");
    check(&format!("[x for x in range(end=1000)] | join(sep='a'{})", tenfold.repeat(5)), "larger than 16 MiB");
}

#[test]
fn references_have_paths_and_softness() {
    let check = |source: &str, wanted: &[(&str, bool, u32)]| {
        let expr = parse(source).unwrap();
        let got: Vec<(String, bool, u32)> = expr.references.iter().map(|r| (r.written(), r.soft, r.span.column)).collect();
        assert_eq!(got, wanted.iter().map(|(w, s, c)| ((*w).to_owned(), *s, *c)).collect::<Vec<_>>(), "{source}");
    };
    check("steps.build.outputs.sha", &[("steps.build.outputs.sha", false, 1)]);
    check("steps['a-b'].outputs[k].x and b?.c", &[("steps[\"a-b\"].outputs[…].x", false, 1), ("k", false, 22), ("b.c", true, 31)]);
    check("a.b | default(value=c)", &[("a.b", true, 1), ("c", false, 21)]);
    check("a.b | upper | default(value='')", &[("a.b", false, 1)]);
    check("a is defined and a.b == 1", &[("a", true, 1), ("a.b", true, 18)]);
    check("[x.y for x in xs if x.z == q]", &[("xs", false, 15), ("q", false, 28)]);
    check("a[3]", &[("a[3]", false, 1)]);
}

/// Tera's filters, functions and tests are those of the list, with the arguments of the list.
#[test]
fn the_list_is_what_tera_has() {
    let tera = super::evaluate::instance();
    let knows = |template: String| {
        let mut tera = tera.clone();
        tera.add_raw_template("e", &template).is_ok()
    };
    for entry in super::filters() {
        assert!(knows(format!("{{{{ 1 | {} }}}}", entry.name)), "filter {}", entry.name);
    }
    for entry in super::functions() {
        assert!(knows(format!("{{{{ {}() }}}}", entry.name)), "function {}", entry.name);
    }
    for entry in super::tests() {
        assert!(knows(format!("{{{{ 1 is {} }}}}", entry.name)), "test {}", entry.name);
    }
    // Tera prints what it has registered.
    let shown = format!("{tera:?}");
    let hidden = ["__take", "__need", "__count"];
    let count = |key: &str| {
        let list = shown.split(&format!("{key}: [")).nth(1).and_then(|t| t.split(']').next());
        list.map(|l| l.split(", ").filter(|n| !hidden.contains(&n.trim_matches('"'))).count())
    };
    for (key, entries) in [("filters", super::filters()), ("functions", super::functions()), ("tests", super::tests())] {
        if let Some(n) = count(key) {
            assert_eq!(n, entries.len(), "{key}");
        }
        assert!(entries.is_sorted_by_key(|e| e.name), "{key}");
    }
}
