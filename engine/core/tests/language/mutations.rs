//! Trees with exactly one mistake, made from a sound one: the first diagnostic names its very line.

use crate::bench::{check, good};
use crate::random::Dice;

const SOUND: &str = r#"tree: shop
description: A shop.
params:
  app: web
  count: { type: integer, default: 2, min: 1 }
vars:
  image: "{{ params.app }}:1"
pools: { net: 2 }
on_failure: stop
steps:
  fetch:
    run: ./fetch.sh
    timeout: 30s
    pool: net
    outputs: { sha: string }
  build:
    needs: fetch
    run: ./build.sh "{{ params.app }}"
    env:
      LOG: "info"
      IMAGE: "{{ vars.image }}"
    retry:
      attempts: 3
      delay: 1s
  lint:
    needs: [fetch]
    run: ./lint.sh
    allow_failure: true
  probe:
    needs: [build, lint]
    uses: http/check
    with:
      url: "http://{{ params.app }}.test/{{ steps.fetch.outputs.sha }}"
      status: 200
  ask:
    needs: probe
    approve:
      message: "go on?"
      timeout: 24h
  ship:
    needs: [ask, probe]
    foreach: [one, two]
    run: ./ship.sh {{ item }}
    deadline: 10m
finally:
  sweep:
    run: rm -rf tmp
"#;

/// The kinds of mistakes.
const MISTAKES: &[&str] = &[
    "key",
    "type",
    "deeper",
    "shallower",
    "colon",
    "quote",
    "bracket",
    "tab",
    "step twice",
    "key twice",
    "need",
    "cycle",
    "kind",
    "name",
    "duration",
    "choice",
    "script",
    "brace",
    "effect",
    "space",
];

/// Makes one mistake in a line; `None` where it does not fit that line.
fn spoil(mistake: &str, lines: &mut Vec<String>, at: usize) -> Option<usize> {
    let line = lines[at].clone();
    let indent = line.len() - line.trim_start().len();
    let (key, value) = line.trim_start().split_once(':')?;
    let value = value.trim();
    let own = indent == 4 || (indent == 0 && key != "tree");
    let of_step = indent == 4 && at > 10;
    let step = indent == 2 && value.is_empty() && at > 9;
    let spoilt = match mistake {
        "key" if own && key.len() > 2 && !value.is_empty() => line.replacen(key, &format!("{}{}", &key[..1], &key[2..]), 1),
        "type" if ["timeout", "pool", "attempts", "description", "deadline"].contains(&key) => line.replacen(value, "[1]", 1),
        "deeper" if of_step && !step && !lines[at - 1].trim_end().ends_with(':') => format!(" {line}"),
        // The first key of a step may stand anywhere: there the next line is the odd one.
        "shallower" if of_step && !lines[at - 1].ends_with(':') && lines.get(at + 1).is_some_and(|l| l.starts_with("    ")) => {
            line[1..].to_owned()
        }
        "colon" if of_step && !value.is_empty() => line.replacen(':', "", 1),
        "quote" if value.starts_with('"') && value.ends_with('"') => line[..line.len() - 1].to_owned(),
        "bracket" if value.ends_with(']') => line[..line.len() - 1].to_owned(),
        "brace" if value.ends_with('}') && !value.starts_with('"') && value.starts_with('{') => line[..line.len() - 1].to_owned(),
        "tab" if of_step => format!("\t{}", line.trim_start()),
        "step twice" if step && key != "fetch" && key != "sweep" => "  fetch:".to_owned(),
        "key twice" if of_step && !value.is_empty() => {
            lines.insert(at, line.clone());
            return Some(at + 2);
        }
        "need" if key == "needs" => line.replacen("probe", "prob", 1).replacen("fetch", "fech", 1).replacen("build", "biuld", 1),
        "cycle" if key == "needs" && value == "fetch" => line.replacen("fetch", "build", 1),
        "kind" if key == "uses" => line.replacen("check", "chekc", 1),
        "name" => line.replacen("params.", "param.", 1).replacen("vars.", "vars.x", 1).replacen("outputs.sha", "outputs.sah", 1),
        "duration" if ["timeout", "delay", "deadline"].contains(&key) => line.replacen(value, "5 parsecs", 1),
        "choice" if key == "on_failure" => line.replacen("stop", "stopp", 1),
        "script" if key == "run" && line.contains("{{") => line.replacen("{{", "${{", 1),
        "effect" if key == "approve" || key == "run" && !line.contains("{{") => {
            lines.insert(at, "    tolerate: 1".into());
            return Some(at + 1);
        }
        "space" if of_step && !value.is_empty() => line.replacen(": ", ":", 1),
        _ => return None,
    };
    if spoilt == line {
        return None;
    }
    lines[at] = spoilt;
    Some(at + 1)
}

/// Trees with one mistake each: what was done, the text, the line.
fn spoilt() -> Vec<(&'static str, String, usize)> {
    let mut dice = Dice(20);
    let mut out: Vec<(&str, String, usize)> = Vec::new();
    for _ in 0..4_000 {
        let mistake = dice.pick(MISTAKES);
        let mut lines: Vec<String> = SOUND.lines().map(str::to_owned).collect();
        let at = dice.roll(lines.len());
        let Some(line) = spoil(mistake, &mut lines, at) else { continue };
        let text = lines.join("\n") + "\n";
        if out.iter().all(|(_, t, _)| *t != text) {
            out.push((mistake, text, line));
        }
    }
    out
}

#[test]
fn one_mistake_is_named_with_its_line() {
    good(SOUND);
    let all = spoilt();
    assert!(all.len() >= 100, "{} trees", all.len());
    for mistake in MISTAKES {
        assert!(all.iter().any(|(m, ..)| m == mistake), "no tree with the mistake `{mistake}`");
    }
    let mut missed = Vec::new();
    for (mistake, text, line) in &all {
        let found = check(text, &[]).diagnostics;
        let first = found.first().unwrap_or_else(|| panic!("`{mistake}` in line {line} goes unseen:\n{text}"));
        let named = first.span.unwrap_or_default().line as usize;
        if named != *line {
            let written = text.lines().nth(line - 1).unwrap_or_default();
            missed.push(format!("{mistake}, line {line} `{}`: line {named}, {}", written.trim(), first.message));
        }
    }
    assert!(missed.len() * 50 <= all.len(), "{} of {} miss their line:\n{}", missed.len(), all.len(), missed.join("\n"));
}
