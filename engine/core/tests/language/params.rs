//! Parameters as given from the command line, a file, a parent.

use crate::bench::good;
use serde_json::{Value, json};
use trees_core::language::{Given, params};

const TREE: &str = r#"tree: t
params:
  app: slackpath
  replicas: { type: integer, default: 2, min: 1, max: 10, description: Copies to run. }
  tier: { type: string, enum: [free, paid], default: free }
  tag: { type: string, pattern: '^v\d+$', required: false }
  who: { type: string, description: Your name. }
  share: { type: number, default: 0.5 }
  deep: { type: boolean, default: false }
  list: { type: list, default: [], max: 2 }
  map: { type: object, default: {} }
steps: { a: { run: x } }
"#;

fn given(pairs: &[(&str, &str)]) -> Result<Value, Vec<String>> {
    let all: Vec<(String, Given)> = pairs.iter().map(|(k, v)| ((*k).to_owned(), Given::Text((*v).to_owned()))).collect();
    params(&good(TREE), &all).map(Value::Object).map_err(|found| found.into_iter().map(|d| d.message).collect())
}

#[test]
fn defaults_fill_what_is_not_given() {
    let expected =
        json!({ "app": "slackpath", "replicas": 2, "tier": "free", "who": "me", "share": 0.5, "deep": false, "list": [], "map": {} });
    assert_eq!(given(&[("who", "me")]), Ok(expected));
}

#[test]
fn text_takes_the_declared_type() {
    let all = given(&[
        ("who", "5"),
        ("replicas", "3"),
        ("share", "1"),
        ("deep", "true"),
        ("list", "[1, \"a\"]"),
        ("map", "{\"a\": 1}"),
        ("tag", "v12"),
    ]);
    let expected = json!({
        "app": "slackpath", "replicas": 3, "tier": "free", "who": "5", "share": 1, "deep": true, "list": [1, "a"], "map": { "a": 1 }, "tag": "v12"
    });
    assert_eq!(all, Ok(expected));
}

#[test]
fn what_does_not_fit_is_told_at_once() {
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
    let rows: &[Row<'_>] = &[
        (&[], &["the parameter `who` is missing (Your name)"]),
        (
            &[("who", "x"), ("replica", "3"), ("replicas", "many"), ("tier", "payd")],
            &[
                "`t` has no parameter `replica`; did you mean `replicas`?",
                "the parameter `replicas` must be an integer, found `many`",
                "the parameter `tier` must be one of `free`, `paid`, found `payd`; did you mean `paid`?",
            ],
        ),
        (&[("who", "x"), ("replicas", "0")], &["the parameter `replicas` must be at least 1, found 0"]),
        (&[("who", "x"), ("replicas", "11")], &["the parameter `replicas` must be at most 10, found 11"]),
        (&[("who", "x"), ("tag", "1.0")], &["the parameter `tag` must match ^v\\d+$, found `1.0`"]),
        (&[("who", "x"), ("deep", "yes")], &["the parameter `deep` must be a boolean, found `yes`; write true or false"]),
        (&[("who", "x"), ("share", "nan")], &["the parameter `share` must be a number, found `nan`"]),
        (&[("who", "x"), ("list", "[1, 2, 3]")], &["the parameter `list` must be at most 2 items, found 3"]),
        (&[("who", "x"), ("map", "[1]")], &["the parameter `map` must be an object, found a list `[1]`"]),
    ];
    for (pairs, expected) in rows {
        assert_eq!(given(pairs), Err(expected.iter().map(|s| (*s).to_owned()).collect()), "{pairs:?}");
    }
}

#[test]
fn values_keep_their_type() {
    let tree = good(TREE);
    let value = |v: Value| params(&tree, &[("who".into(), Given::Value(json!("x"))), ("replicas".into(), Given::Value(v))]);
    assert_eq!(value(json!(4.0)).map(|p| p["replicas"].clone()), Ok(json!(4)));
    let found = value(json!("4")).expect_err("a string is no integer");
    assert_eq!(found[0].message, "the parameter `replicas` must be an integer, found a string `4`");
}
