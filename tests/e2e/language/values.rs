//! Values in scripts and in `with`: byte for byte, never code.

use super::{has, refused, run, run_in, tree};
use serde_json::{Value, json};

#[test]
fn hostile_values_arrive_as_they_are() {
    let bench = tree(
        r#"
params: { v: { type: string } }
steps:
  a:
    run: |
      printf '%s|' {{ params.v }} > bare
      printf '%s|' "{{ params.v }}" > double
      printf '%s|' '{{ params.v }}' > single
      printf '%s|' "$(printf '%s' "{{ params.v }}")" > nested
      cat > here <<END
      {{ params.v }}
      END
  b: { foreach: { items: ['{{ params.v }}'] }, run: "printf '%s' {{ item }} > item" }
"#,
    );
    let text = bench.read("t.yaml");
    bench.write("t.yaml", text);
    let mut ran = run_in(bench, &["-p", "v=plain"]).code(0);
    for value in [
        "$(touch pwned)",
        "`touch pwned`",
        "\"; touch pwned; \"",
        "'; touch pwned; '",
        "* $HOME \\ \\n",
        "-n",
        "{{ params.v }}",
        "a\nb",
        "é 日本 🌳",
        "!!",
        "$'x'",
        "  spaced  ",
        "#x",
        "~",
        "%s%n",
    ] {
        ran = ran.again(&["-p", &format!("v={value}")]).code(0);
        for place in ["bare", "double", "single", "nested"] {
            assert_eq!(ran.bench.read(place), format!("{value}|"), "{place}");
        }
        assert_eq!(ran.bench.read("here"), format!("{value}\n"));
        assert_eq!(ran.bench.read("item"), value);
        assert!(!ran.bench.path("pwned").exists(), "{value} ran");
    }
}

#[test]
fn bound_values_stand_in_the_inputs_file() {
    let ran = run(r#"
params: { l: { type: list, default: [1, {"k": "v"}] }, n: 3 }
steps: { a: { run: 'cp "$TREES_INPUTS" inputs.json; echo {{ params.l }} {{ params.n }} {{ params.n + 1 }}' } }
"#)
    .code(0);
    assert_eq!(ran.log("a").trim(), r#"[1,{"k":"v"}] 3 4"#);
    let inputs: Value = serde_json::from_str(&ran.bench.read("inputs.json")).unwrap();
    let values: Vec<&Value> = inputs.as_object().unwrap().values().collect();
    assert!(values.contains(&&json!([1, {"k": "v"}])) && values.contains(&&json!(4)), "{inputs}");
}

#[test]
fn a_large_value_is_read_from_the_inputs_file() {
    let make =
        "make: { run: 'printf v= >> $TREES_OUTPUT; head -c 150000 /dev/zero | tr \"\\\\0\" x >> $TREES_OUTPUT', outputs: { v: string } }";
    let ran = run(&format!("steps:\n  {make}\n  a: {{ run: 'echo {{{{ steps.make.outputs.v }}}}' }}")).code(1);
    assert_eq!(ran.steps()["make"]["status"], "succeeded");
    has(&ran.text("a"), "TREES_INPUTS");
    has(&ran.text("a"), "100 KiB");
}

#[test]
fn other_braces_stay_text() {
    let ran = run("params: { n: 1 }\nsteps: { a: { run: \"echo '{{.State}}' \\\"{{ '{{' }}\\\"\" } }").code(0);
    assert_eq!(ran.log("a").trim(), "{{.State}} {{");
    has(&refused("params: { n: 1 }\nsteps: { a: { run: 'echo ${{ params.n }}' } }"), "{{ params.n }}");
}

#[test]
fn a_place_that_evaluates_is_refused() {
    for script in ["echo $(( {{ params.n }} + 1 ))", "{{ params.n }} x", "# {{ params.n }}"] {
        let text = refused(&format!("params: {{ n: 1 }}\nsteps:\n  a:\n    run: |\n      {script}\n"));
        has(&text, "t.yaml:6:");
    }
}

#[test]
fn whole_templates_keep_their_type() {
    let ran = run("
params: { n: 3, l: { type: list, default: [1, 2] } }
vars: { n: '{{ params.n }}', text: '{{ params.n }}x', l: '{{ params.l }}' }
steps: { a: { run: 'true' } }
outputs: { n: '{{ vars.n }}', text: '{{ vars.text }}', l: '{{ vars.l }}', run: '{{ run.number }}', tree: '{{ tree.name }}', project: '{{ project }}' }
")
    .code(0);
    assert_eq!(ran.show()["outputs"], json!({"n": 3, "text": "3x", "l": [1, 2], "run": 1, "tree": "t", "project": "t"}));
}

#[test]
fn an_undefined_name_is_found_before_the_run() {
    for expression in ["params.nope", "vars.nope == 'x'", "steps.nope.status == 'x'", "nope"] {
        has(&refused(&format!("params: {{ n: 1 }}\nsteps: {{ a: {{ if: \"{expression}\", run: 'touch ran' }} }}")), "nope");
    }
}
