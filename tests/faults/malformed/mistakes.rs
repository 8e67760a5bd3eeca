//! Trees with exactly one mistake, made from a sound one: the first diagnostic names its very line.

use super::{Case, judge, verdicts};
use crate::place::Place;

/// How many of a hundred must be named with their line.
const EXACT: usize = 98;

const SOUND: &str = r#"tree: shop
description: A shop, from its source to its customers.
params:
  app: shop
  count: { type: integer, default: 2, min: 1, max: 9 }
  tier: { type: string, enum: [free, paid], default: free }
  tag: { type: string, pattern: '^v\d+$', required: false }
environments:
  staging:
    default: true
    vars: { domain: "staging.{{ params.app }}.test" }
  production:
    protected: true
    vars: { domain: "{{ params.app }}.test" }
vars:
  image: "{{ params.app }}:{{ params.count }}"
  label: "{{ vars.image | upper }}"
env: { RUST_LOG: info }
secrets:
  TOKEN: {}
  PASSWORD: { from: generate, length: 32 }
pools: { compile: 1, network: 4 }
deadline: 2h
on_failure: stop
max_parallel: 4
defaults:
  timeout: 10m
steps:
  fetch:
    run: ./fetch.sh {{ params.app }}
    pool: network
    outputs: { sha: string, parts: list }
    retry:
      attempts: 3
      delay: 1s
      on: [failure, timeout]
  build:
    needs: fetch
    run: |
      ./build.sh "{{ vars.image }}"
      echo "sha={{ steps.fetch.outputs.sha }}"
    pool: compile
    artifacts: { bin: target/shop }
    timeout: 30m
  parts:
    foreach: { items: "{{ steps.fetch.outputs.parts }}", as: part }
    run: ./part.sh {{ part }}
    tolerate: 10%
  suites:
    needs: build
    matrix: { suite: [unit, api], db: [pg15, pg16] }
    run: ./test.sh {{ matrix.suite }} {{ matrix.db }}
  page:
    needs: [build]
    uses: file/write
    with:
      path: out/page.html
      content: "{{ steps.build.artifacts.bin.sha256 }}"
  probe:
    needs: [page, suites]
    uses: http/check
    with:
      url: "http://{{ vars.domain }}/version"
      status: 200
  ask:
    needs: { steps: [probe], rule: all_succeeded }
    approve: { message: "Ship {{ params.app }}?", timeout: 24h }
  ship:
    needs: ask
    if: params.count > 1
    secrets: [TOKEN]
    run: ./ship.sh "$TOKEN"
    verify: { uses: tcp/check, with: { port: 8080 } }
    undo: { run: ./ship.sh --back }
    exit: { ok: [0, 3] }
finally:
  sweep:
    run: rm -rf tmp
outputs:
  sha: "{{ steps.fetch.outputs.sha }}"
"#;

/// What was written, and what is written instead: the mistake is in the line of the first.
const CHANGES: &[(&str, &str)] = &[
    // unknown keys
    ("description: A", "descripton: A"),
    ("params:", "parms:x\nparams:"),
    ("environments:", "enviroments:"),
    ("    default: true", "    defualt: true"),
    ("    protected: true", "    protect: true"),
    ("env: { RUST", "envs: { RUST"),
    ("pools: {", "pool: {"),
    ("deadline: 2h", "deadlin: 2h"),
    ("on_failure: stop", "on_fail: stop"),
    ("max_parallel: 4", "parallel: 4"),
    ("  timeout: 10m", "  timeuot: 10m"),
    ("    pool: network", "    pol: network"),
    ("      attempts: 3", "      attempt: 3"),
    ("      delay: 1s", "      delai: 1s"),
    ("    artifacts: {", "    artifact: {"),
    ("    foreach: {", "    for_each: {"),
    ("    tolerate: 10%", "    tolerance: 10%"),
    ("    matrix: {", "    matrx: {"),
    ("    secrets: [TOKEN]", "    secret: [TOKEN]"),
    ("    undo: {", "    undoo: {"),
    ("exit: { ok", "exit: { okay"),
    ("default: 2, min", "default: 2, mini"),
    ("as: part", "ass: part"),
    ("rule: all", "rules: all"),
    ("{ message:", "{ mesage:"),
    ("length: 32", "len: 32"),
    // wrong types
    ("description: A shop, from its source to its customers.", "description: [A shop]"),
    ("type: integer, default: 2", "type: integer, default: two"),
    ("default: true", "default: yes"),
    ("protected: true", "protected: 1"),
    ("compile: 1", "compile: one"),
    ("max_parallel: 4", "max_parallel: four"),
    ("attempts: 3", "attempts: [3]"),
    ("attempts: 3", "attempts: three"),
    ("on: [failure, timeout]", "on: 5"),
    ("suite: [unit, api]", "suite: unit"),
    ("needs: [build]", "needs: 5"),
    ("      status: 200", "      status: \"200\""),
    ("secrets: [TOKEN]", "secrets: TOKEN"),
    ("ok: [0, 3]", "ok: [zero]"),
    ("env: { RUST_LOG: info }", "env: [RUST_LOG]"),
    ("    run: rm -rf tmp", "    run: [rm, tmp]"),
    // bad values
    ("on_failure: stop", "on_failure: stopp"),
    ("rule: all_succeeded", "rule: all_suceeded"),
    ("sha: string,", "sha: text,"),
    ("type: integer", "type: int"),
    ("max: 9", "max: 0"),
    ("from: generate", "from: generated"),
    ("enum: [free, paid], default: free", "enum: [free, paid], default: gratis"),
    ("pattern: '^v\\d+$'", "pattern: '('"),
    ("max_parallel: 4", "max_parallel: 0"),
    ("tree: shop", "tree: Shop"),
    ("tolerate: 10%", "tolerate: 110%"),
    ("ok: [0, 3]", "ok: [0, 300]"),
    ("bin: target/shop", "bin: /target/shop"),
    ("bin: target/shop", "bin: ../shop"),
    ("  fetch:", "  fe tch:"),
    ("on: [failure, timeout]", "on: [failure, timeouts]"),
    // durations
    ("deadline: 2h", "deadline: 2 hours"),
    ("  timeout: 10m", "  timeout: 10"),
    ("delay: 1s", "delay: 1 second"),
    ("timeout: 30m", "timeout: 1:30"),
    ("timeout: 24h", "timeout: a day"),
    ("delay: 1s", "delay: 1.5s"),
    ("timeout: 30m", "timeout: -1m"),
    // needs, steps, kinds, pools, environments
    ("    needs: fetch", "    needs: fetsh"),
    ("needs: [build]", "needs: [build, nope]"),
    ("needs: [page, suites]", "needs: [page, suite]"),
    ("steps: [probe]", "steps: [prob]"),
    ("    needs: ask", "    needs: asked"),
    ("    needs: ask", "    needs: sweep"),
    ("uses: file/write", "uses: file/wirte"),
    ("uses: http/check", "uses: http/chek"),
    ("uses: tcp/check", "uses: tpc/check"),
    ("uses: http/check", "uses: nope"),
    ("pool: compile", "pool: compiler"),
    ("secrets: [TOKEN]", "secrets: [TOKENS]"),
    // references and templates
    ("fetch.sh {{ params.app }}", "fetch.sh {{ params.ap }}"),
    ("{{ vars.image }}", "{{ vars.img }}"),
    ("echo \"sha={{ steps.fetch.outputs.sha }}\"", "echo \"sha={{ steps.fetch.outputs.sah }}\""),
    ("echo \"sha={{ steps.fetch", "echo \"sha={{ steps.fetsh"),
    ("{{ part }}", "{{ item.x.y | nope }}"),
    ("matrix.suite }}", "matrix.suit }}"),
    ("bin.sha256", "bin.sha512"),
    ("artifacts.bin.sha256", "artifacts.bon.sha256"),
    ("{{ vars.domain }}/version", "{{ vars.domian }}/version"),
    ("Ship {{ params.app }}", "Ship {{ parms.app }}"),
    ("if: params.count > 1", "if: params.cuont > 1"),
    ("if: params.count > 1", "if: params.count > 1 && true"),
    ("if: params.count > 1", "if: params.count >"),
    ("vars.image | upper", "vars.image | uper"),
    ("  label: \"{{ vars.image", "  label: \"{{ vars.label"),
    ("{{ params.app }}:{{ params.count }}", "{{ params.app :{{ params.count }}"),
    ("fetch.sh {{ params.app }}", "fetch.sh ${{ params.app }}"),
    ("fetch.sh {{ params.app }}", "fetch.sh $(( {{ params.app }} ))"),
    ("ship.sh \"$TOKEN\"", "ship.sh {{ secrets.TOKEN }}"),
    ("  sha: \"{{ steps.fetch.outputs.sha }}\"", "  sha: \"{{ steps.fetch.outputs.sum }}\""),
    ("url: \"http://{{ vars.domain }}/version\"", "url: {{ vars.domain }}"),
    ("{{ params.app }}.test\" }\nvars", "{{ params.apps }}.test\" }\nvars"),
    // with
    ("      path: out/page.html", "      paths: out/page.html"),
    ("      url: \"http", "      uri: \"http"),
    ("      status: 200", "      stat: 200"),
    ("port: 8080", "port: 80800"),
    ("port: 8080", "port: http"),
    ("      path: out/page.html", "      path: [out]"),
    // what does not go together
    ("    undo: {", "    cache: true\n    undo: {"),
    ("    pool: compile", "    cache: true"),
    ("    run: ./part.sh {{ part }}", "    uses: file/write"),
    ("    run: rm -rf tmp", "    pivot: true\n    run: rm -rf tmp"),
    ("    uses: http/check", "    shell: bash\n    uses: http/check"),
    ("    tolerate: 10%", "    matrix: { a: [1] }"),
    ("    timeout: 30m", "    max_parallel: 2"),
    // YAML
    ("    pool: network", "\tpool: network"),
    ("    timeout: 30m", "     timeout: 30m"),
    ("needs: [build]", "needs: [build"),
    ("env: { RUST_LOG: info }", "env: { RUST_LOG: info"),
    ("      content: \"{{ steps.build.artifacts.bin.sha256 }}\"", "      content: \"{{ steps.build.artifacts.bin.sha256 }}"),
    ("deadline: 2h", "deadline: *none"),
    ("deadline: 2h", "deadline: !!str 2h"),
    ("    pool: compile", "    pool compile"),
    ("deadline: 2h", "deadline: @2h"),
    ("on_failure: stop", "on_failure: stop: it"),
];

/// Lines that stand twice: the second is the mistake.
const TWICE: &[&str] = &[
    "description: A",
    "deadline: 2h",
    "on_failure: stop",
    "max_parallel: 4",
    "  app: shop",
    "  tier: {",
    "  image: \"",
    "  TOKEN: {}",
    "    pool: network",
    "    outputs: {",
    "      attempts: 3",
    "    needs: fetch",
    "    artifacts: {",
    "    tolerate: 10%",
    "    matrix: {",
    "      path: out",
    "      status: 200",
    "    approve: {",
    "    if: params",
    "    secrets: [",
    "    undo: {",
];

/// The text with one mistake, its line, and what it is.
fn spoilt() -> Vec<(String, usize, String)> {
    let line_of = |at: usize| SOUND[..at].matches('\n').count() + 1;
    let mut out = Vec::new();
    for (from, to) in CHANGES {
        let at = SOUND.find(from).unwrap_or_else(|| panic!("`{from}` stands nowhere"));
        let line = line_of(at + from.len() - from.trim_start().len());
        out.push((SOUND.replacen(from, to, 1), line, format!("`{from}` -> `{to}`")));
    }
    for line in TWICE {
        let at = SOUND.find(&format!("\n{line}")).unwrap_or_else(|| panic!("`{line}` stands nowhere")) + 1;
        let whole = SOUND[at..].split_inclusive('\n').next().unwrap();
        let mut text = SOUND.to_owned();
        text.insert_str(at + whole.len(), whole);
        out.push((text, line_of(at) + 1, format!("twice `{line}`")));
    }
    for (from, to, mistake) in [("fetch", "ship", "a long circle"), ("fetch", "build", "a need of itself")] {
        let needs = format!("    needs: {from}\n");
        let at = SOUND.find(&needs).unwrap();
        out.push((SOUND.replacen(&needs, &format!("    needs: {to}\n"), 1), line_of(at), mistake.to_owned()));
    }
    out
}

#[test]
fn one_known_mistake_is_named_with_its_line() {
    judge("sound", &[Case::sound("the sound tree", SOUND)]);
    let all = spoilt();
    assert!(all.len() >= 100, "{} trees", all.len());
    let place = Place::new();
    let names: Vec<String> = (0..all.len()).map(|n| format!("{n}.yaml")).collect();
    names.iter().zip(&all).for_each(|(name, (text, ..))| place.write(name, text));
    let mut missed = Vec::new();
    for ((text, line, mistake), verdict) in all.iter().zip(verdicts(&place, "check --format json", &names)) {
        assert_eq!(verdict.code, 2, "{mistake} goes unseen: {}\n{text}", verdict.stderr);
        let found = verdict.diagnostics();
        let errors: Vec<_> = found.iter().filter(|d| d["severity"] == "error").collect();
        let lines: Vec<u64> = errors.iter().filter_map(|d| d["line"].as_u64()).collect();
        if lines.first() != Some(&u64::try_from(*line).unwrap()) {
            missed.push(format!("{mistake}: line {line}, named {lines:?}: {}", errors[0]["message"]));
        }
    }
    println!("malformed, one mistake: {} of {} named with their exact line", all.len() - missed.len(), all.len());
    missed.iter().for_each(|line| println!("  missed: {line}"));
    assert!(
        (all.len() - missed.len()) * 100 >= all.len() * EXACT,
        "{} of {} miss their line:\n{}",
        missed.len(),
        all.len(),
        missed.join("\n")
    );
}
