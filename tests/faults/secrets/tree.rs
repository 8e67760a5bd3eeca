//! The tree whose steps tell their secrets, and what must be recorded of them.

use super::canaries::Canary;
use crate::place::Told;
use std::collections::BTreeMap;

/// Each step is careless in a way of its own. `learn` tells the test what was generated.
pub const TREE: &str = r#"tree: t
params: { vault: { type: string } }
dotenv: [.env]
secrets:
  ENV_A: {}
  ENV_B: { from: environment }
  STORE_A: {}
  STORE_B: { from: store }
  DOT_A: {}
  DOT_B: { from: dotenv }
  FILE_A: { from: file, path: ../vault/FILE_A }
  FILE_B: { from: file, path: ../vault/FILE_B, as: file }
  CMD_A: { from: command, command: "cat ../vault/CMD_A" }
  CMD_B: { from: command, command: "cat ../vault/CMD_B" }
  GEN_A: { from: generate, length: 24 }
  GEN_B: { from: generate, length: 24, charset: hex }
vars:
  names: [ENV_A, ENV_B, STORE_A, STORE_B, DOT_A, DOT_B, FILE_A, CMD_A, CMD_B, GEN_A, GEN_B]
  files: [ENV_A, STORE_A, STORE_B, DOT_A, DOT_B, CMD_A, CMD_B, GEN_A, GEN_B]
steps:
  learn:
    secrets: &all [ENV_A, ENV_B, STORE_A, STORE_B, DOT_A, DOT_B, FILE_A, FILE_B, CMD_A, CMD_B, GEN_A, GEN_B]
    run: |
      printf %s "$GEN_A" > {{ params.vault }}/GEN_A
      printf %s "$GEN_B" > {{ params.vault }}/GEN_B
  plain:
    secrets: *all
    run: |
      env
      set -x
      : "$ENV_A" "$ENV_B" "$STORE_A" "$CMD_A"
      set +x
      cat "$FILE_B_FILE"
      printf '%s\n' "$ENV_A$ENV_B" "$GEN_A$GEN_B" >&2
      export -p
  split:
    secrets: *all
    run: |
      for name in ENV_A ENV_B STORE_A STORE_B DOT_A DOT_B FILE_A CMD_A CMD_B GEN_A GEN_B; do
        for at in 1 5 9 14; do
          printenv "$name" | head -c "$at"
          sleep 0.003
          printenv "$name" | tail -c +$((at + 1))
        done
      done
  forms:
    secrets: *all
    run: |
      cd {{ params.vault }}/forms
      for file in *; do
        cat "$file"
        printf ' and so on '
        cat "$file" >&2
        echo
      done
      for file in *.base64; do fold -w 76 "$file"; echo; done
  errors:
    foreach: { items: "{{ vars.names }}", as: name }
    secrets: *all
    allow_failure: true
    run: |
      value=$(printenv {{ name }})
      cat "/nonexistent/$value" || :
      "$value" || :
      exec "/nonexistent/$value"
  outputs:
    foreach: { items: "{{ vars.names }}", as: name }
    secrets: *all
    tolerate: 100%
    run: |
      printf '{"value":"%s"}\n' "$(cat {{ params.vault }}/forms/{{ name }}.json)" >> "$TREES_OUTPUT"
    outputs: { value: string }
  encoded:
    foreach: { items: "{{ vars.names }}", as: name }
    secrets: *all
    tolerate: 100%
    run: |
      printf 'value=%s\n' "$(cat {{ params.vault }}/forms/{{ name }}.base64-1)" >> "$TREES_OUTPUT"
    outputs: { value: string }
  undeclared:
    foreach: { items: "{{ vars.files }}", as: name }
    secrets: *all
    tolerate: 100%
    run: |
      printf '%s=1\n' "$(printenv {{ name }})" >> "$TREES_OUTPUT"
  named:
    foreach: { items: "{{ vars.files }}", as: name }
    secrets: *all
    tolerate: 100%
    run: |
      mkdir -p "named/{{ name }}"
      echo x > "named/{{ name }}/$(printenv {{ name }}).txt"
    artifacts: { made: "named/{{ name }}" }
  content:
    foreach: { items: "{{ vars.names }}", as: name }
    secrets: *all
    tolerate: 100%
    run: |
      mkdir -p content
      printenv {{ name }} > "content/{{ name }}"
    artifacts: { made: "content/{{ name }}" }
  request:
    uses: http/request
    allow_failure: true
    with:
      url: "http://127.0.0.1:9/?key={{ secrets.STORE_A }}"
      headers: { Authorization: "Bearer {{ secrets.CMD_A }}" }
      body: "{{ secrets.GEN_A }}"
  clone:
    uses: git/clone
    allow_failure: true
    with: { url: "http://me:{{ secrets.STORE_A }}@127.0.0.1:9/x.git", dir: cloned }
  absent:
    uses: file/write
    allow_failure: true
    with: { path: "/nonexistent/{{ secrets.STORE_A }}/{{ secrets.GEN_B }}", content: "{{ secrets.ENV_A }}" }
  timed:
    secrets: *all
    allow_failure: true
    timeout: 200ms
    run: printenv ENV_A; sleep 60
  other:
    run: |
      cat /proc/self/environ > {{ params.vault }}/proc
      for process in /proc/[0-9]*; do cat "$process/cmdline" 2> /dev/null || :; done >> {{ params.vault }}/proc
      env >> {{ params.vault }}/proc
"#;

/// What each step must have come to; nothing is taken for a success that holds a secret.
pub fn is_as_told(told: &Told, canaries: &[Canary]) {
    let mut status: BTreeMap<String, String> = BTreeMap::new();
    for event in told.events() {
        let (kind, step) = (event["type"].as_str().unwrap_or_default(), event["step"].as_str().unwrap_or_default());
        if matches!(kind, "step_succeeded" | "step_failed" | "step_timed_out") {
            status.insert(step.to_owned(), format!("{kind}: {}", event["error"]["message"].as_str().unwrap_or_default()));
        }
    }
    let of = |step: &str| status.get(step).map_or("nothing", String::as_str);
    for step in ["learn", "plain", "split", "forms", "other"] {
        assert!(of(step).starts_with("step_succeeded"), "{step}: {}\n{}", of(step), told.stderr);
    }
    for step in ["request", "clone", "absent", "timed"] {
        assert!(!of(step).starts_with("step_succeeded") && of(step) != "nothing", "{step}: {}", of(step));
    }
    for canary in canaries.iter().filter(|c| c.name != "FILE_B") {
        for step in ["outputs", "encoded"] {
            let step = format!("{step}[{}]", canary.name);
            assert!(of(&step).starts_with("step_failed") && of(&step).contains("secret"), "{step}: {}", of(&step));
        }
        for step in ["undeclared", "named"] {
            let step = format!("{step}[{}]", canary.name);
            assert!(!canary.can_name() || of(&step).starts_with("step_failed"), "{step}: {}", of(&step));
        }
    }
}
