//! Anything may come: random trees, valid files cut short, bytes changed. Nothing panics, and
//! whatever checks is in order.

use crate::bench::{check, good};
use trees_core::tree::Tree;

/// A small generator of numbers, the same for the same seed.
pub struct Dice(pub u64);

impl Dice {
    /// A number below.
    pub fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % below.max(1)
    }

    /// One of these.
    pub fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }
}

/// Each step after all that it needs.
pub fn in_order(tree: &Tree) {
    let mut place = vec![usize::MAX; tree.steps.len()];
    tree.order.iter().enumerate().for_each(|(at, step)| place[*step as usize] = at);
    for (index, step) in tree.steps.iter().enumerate() {
        assert!(place[index] != usize::MAX, "{} has a place", step.id);
        assert!(step.needs.iter().all(|n| place[n.step as usize] < place[index]), "{} comes after its needs", step.id);
    }
}

const FIELDS: &[&str] = &[
    "timeout: 5s",
    "timeout: 5",
    "retry: { attempts: 3, on: [failure, exit:75] }",
    "foreach: [a, b]",
    "foreach: { items: \"{{ params.list }}\", as: one }",
    "matrix: { a: [1, 2], b: [x] }",
    "if: params.n > 2",
    "if: failed()",
    "env: { A: \"{{ vars.v }}\" }",
    "cache: true",
    "inputs: { files: [\"src/**\"] }",
    "artifacts: { out: out/x }",
    "outputs: { sha: string }",
    "effect: external",
    "undo: echo back",
    "verify: { run: \"true\" }",
    "check: \"false\"",
    "secrets: [T]",
    "pool: p",
    "environment: prod",
    "lock: \"l-{{ params.n }}\"",
    "tolerate: 1",
    "max_parallel: 2",
    "was: [old]",
    "pivot: true",
    "allow_failure: [3]",
    "on_crash: fail",
    "cwd: sub",
    "shell: bash",
    "description: text",
    "nedes: x",
    "timeout: [1]",
    "env: 5",
    "if: \"{{\"",
];

fn step(dice: &mut Dice, id: usize, forward: bool) -> String {
    let mut out = format!("  s{id}:\n");
    let action = match dice.roll(6) {
        0 => "uses: http/check\n    with: { url: \"http://{{ params.n }}\" }".to_owned(),
        1 => "approve: { message: \"{{ params.n }}?\" }".to_owned(),
        2 if id > 0 => {
            format!("run: echo {{{{ steps.s{}.{} }}}}", dice.roll(id), dice.pick(&["status", "outputs.sha", "attempts", "outputs[0]"]))
        }
        3 => "run: |\n      echo \"{{ vars.v }}\"\n      echo '{{ params.n }}' # no".to_owned(),
        _ => "run: \":\"".to_owned(),
    };
    out.push_str(&format!("    {action}\n"));
    let reach = if forward { id + 3 } else { id };
    if reach > 0 && dice.roll(3) > 0 {
        let needs: Vec<String> = (0..=dice.roll(3)).map(|_| format!("s{}", dice.roll(reach))).collect();
        out.push_str(&format!("    needs: [{}]\n", needs.join(", ")));
    }
    for _ in 0..dice.roll(4) {
        out.push_str(&format!("    {}\n", dice.pick(FIELDS)));
    }
    out
}

fn tree(dice: &mut Dice) -> String {
    let mut out = String::from(
        "tree: t\nparams: { n: 3, list: { type: list, default: [1] } }\nvars: { v: \"{{ params.n }}\" }\nsecrets: { T: {} }\npools: { p: 1 }\nenvironments: { prod: { default: true } }\nsteps:\n",
    );
    let forward = dice.roll(8) == 0;
    (0..1 + dice.roll(12)).for_each(|id| out.push_str(&step(dice, id, forward)));
    out
}

#[test]
fn random_trees_check_or_say_why_not() {
    let mut checked = 0;
    for seed in 0..600 {
        let text = tree(&mut Dice(seed));
        let found = check(&text, &[]);
        match found.tree {
            Some(tree) => {
                in_order(&tree);
                checked += 1;
            }
            None => assert!(found.diagnostics.iter().any(|d| d.is_error()), "seed {seed}: no tree and no error\n{text}"),
        }
        for diagnostic in &found.diagnostics {
            let span = diagnostic.span.unwrap_or_default();
            let line = text.lines().nth(span.line as usize - 1).unwrap_or_default();
            assert!(span.column as usize <= line.chars().count() + 1, "seed {seed}: {diagnostic:?}\n{text}");
        }
    }
    assert!(checked > 40, "{checked} of the trees check");
}

#[test]
fn a_file_cut_short_is_an_error_or_a_smaller_tree() {
    let text = include_str!("example.yaml");
    for end in (0..text.len()).step_by(17).filter(|i| text.is_char_boundary(*i)) {
        let found = check(&text[..end], &[]);
        assert!(found.tree.is_some() || !found.diagnostics.is_empty(), "cut at {end}");
    }
}

#[test]
fn changed_bytes_never_panic() {
    let text = include_str!("example.yaml");
    let mut dice = Dice(7);
    for _ in 0..400 {
        let mut chars: Vec<char> = text.chars().collect();
        for _ in 0..1 + dice.roll(3) {
            let at = dice.roll(chars.len());
            let new = dice
                .pick(&["{", "}", "[", "]", ":", "\n", " ", "\"", "'", "|", "&a ", "*a", "-", "\t", "é", "{{", "}}", "#", "<<: ", "\u{0}"]);
            chars.splice(at..(at + dice.roll(2)).min(text.len()), new.chars());
        }
        let found = check(&chars.into_iter().collect::<String>(), &[]);
        assert!(found.tree.is_some() || !found.diagnostics.is_empty());
    }
}

#[test]
fn a_chain_of_many_steps_is_no_deeper_than_two() {
    let steps = 20_000;
    let mut text = String::from("tree: chain\nsteps:\n  s0: { run: \":\" }\n");
    (1..steps).for_each(|i| text.push_str(&format!("  s{i}: {{ needs: s{}, run: \":\" }}\n", i - 1)));
    let tree = good(&text);
    assert_eq!(tree.order, (0..steps).collect::<Vec<u32>>());
    let ring = text.replace("s0: { run", "s0: { needs: s19999, run");
    let found = check(&ring, &[]).diagnostics;
    assert_eq!(found.len(), 1);
    assert!(found[0].message.starts_with("steps need each other in a circle: s0 -> s19999 -> s19998 -> "), "{}", found[0].message);
}

#[test]
fn too_many_steps_and_brackets_are_refused_at_once() {
    let mut text = String::from("tree: t\nsteps:\n");
    (0..100_001).for_each(|i| text.push_str(&format!("  s{i}: {{}}\n")));
    let found = check(&text, &[]).diagnostics;
    assert!(found.iter().any(|d| d.code == "too-many-steps"));
    let found = check(&"[".repeat(200_000), &[]).diagnostics;
    assert_eq!((found.len(), found[0].code.as_str()), (1, "too-deep"));
    let found = check(&format!("tree: t\nx-a: {}1{}\n", "[".repeat(200_000), "]".repeat(200_000)), &[]).diagnostics;
    assert_eq!((found.len(), found[0].code.as_str()), (1, "too-deep"));
    let found = check(&" ".repeat((16 << 20) + 1), &[]).diagnostics;
    assert_eq!((found.len(), found[0].code.as_str()), (1, "file-too-large"));
}
