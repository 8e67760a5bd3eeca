//! `environments`, `vars`, `env`, `dotenv`, and what a process sees of them.

use super::{has, run, run_in, tree};

const LAYERS: &str = "
params: { app: x }
environments:
  staging: { default: true, vars: { domain: 'staging.{{ params.app }}.test' }, env: { B: staging, C: '{{ vars.domain }}' }, dotenv: [staging.env] }
  production: { vars: { domain: 'prod.{{ params.app }}' }, env: { B: production } }
vars: { image: '{{ params.app }}:1', full: '{{ vars.image }}@{{ vars.domain }}' }
env: { A: tree, B: tree }
dotenv: [.env, missing.env]
steps:
  a: { run: 'echo \"$A $B ${C-} $D ${E-} {{ environment }} {{ vars.full }}\"' }
  b: { env: { A: step, D: step }, run: 'echo \"$A $B $D\"' }
  c: { environment: production, run: 'echo \"$A $B ${C-} $D ${E-} {{ environment }} {{ vars.full }}\"' }
";

#[test]
fn layers_cover_each_other_from_the_outside_in() {
    let bench = tree(LAYERS);
    bench.write(".env", "A=dot\nD=dot # comment\nexport E='dot'\n");
    bench.write("staging.env", "E=\"stage\"\n");
    let ran = run_in(bench, &[]).code(0);
    assert_eq!(ran.log("a").trim(), "tree staging staging.x.test dot stage staging x:1@staging.x.test");
    assert_eq!(ran.log("b").trim(), "step staging step");
    assert_eq!(ran.log("c").trim(), "tree production  dot dot production x:1@prod.x");
    let ran = ran.again(&["-e", "production"]).code(0);
    assert_eq!(ran.log("a").trim(), "tree production  dot dot production x:1@prod.x");
    let ran = ran.again(&["-e", "nowhere"]).code(2);
    has(&ran.outcome.stderr, "staging");
}

#[test]
fn an_environment_must_be_chosen() {
    let ran = run("environments: { one: {}, two: {} }\nsteps: { a: { run: 'true' } }").code(2);
    has(&ran.outcome.stderr, "-e");
    let ran = run("steps: { a: { run: 'echo \"[{{ environment }}]\"' } }").code(0);
    assert_eq!(ran.log("a").trim(), "[]");
    has(&ran.again(&["-e", "x"]).code(2).outcome.stderr, "environment");
}

#[test]
fn only_what_is_listed_is_inherited() {
    let bench = tree(
        "steps: { a: { run: 'env | cut -d= -f1 | sort | tr \"\\n\" \" \"' }, b: { env_pass: [AWS_*], run: 'echo \"$AWS_REGION ${OTHER-none}\"' } }",
    );
    let mut command = bench.command(&["run", "t.yaml"]);
    command.env("AWS_REGION", "eu").env("OTHER", "1").env("CI", "true").env("TREES_PARAM_x", "1");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = bench.run(&["logs", "@last", "a"]).stdout;
    for name in [
        "CI",
        "GIT_TERMINAL_PROMPT",
        "HOME",
        "LANG",
        "PATH",
        "TMPDIR",
        "USER",
        "TREES_RUN_ID",
        "TREES_STEP",
        "TREES_ATTEMPT",
        "TREES_OUTPUT",
        "TREES_INPUTS",
        "TREES_IDEMPOTENCY_KEY",
    ] {
        assert!(names.split(' ').any(|n| n == name), "no {name} in {names}");
    }
    for name in ["AWS_REGION", "OTHER", "TREES_PARAM_x"] {
        assert!(!names.split(' ').any(|n| n == name), "{name} in {names}");
    }
    assert_eq!(bench.run(&["logs", "@last", "b"]).stdout.trim(), "eu none");
}

#[test]
fn the_steps_of_a_protected_environment_wait() {
    let text = "
environments: { staging: { default: true }, production: { protected: true } }
steps:
  free: { run: 'true' }
  a: { environment: production, run: 'touch a' }
  b: { environment: production, needs: a, run: 'touch b' }
";
    let ran = run(text).code(3);
    assert_eq!(ran.statuses(), "a=pending b=pending environment:production=waiting free=succeeded");
    assert!(!ran.bench.path("a").exists());
    let last = ran.events().pop().unwrap();
    assert_eq!((last["type"].as_str(), last["status"].as_str()), (Some("run_suspended"), Some("waiting")));
    has(&ran.outcome.stdout, "environment:production");
    let ran = ran.then(&["approve", "@last", "environment:production", "--note", "fine"]).code(0);
    has(&ran.outcome.stderr, "trees resume");
    let ran = ran.resume(&[]).code(0);
    assert_eq!(ran.statuses(), "a=succeeded b=succeeded environment:production=succeeded free=succeeded");

    let ran = run_in(tree(text), &["--approve", "environment:production"]).code(0);
    assert_eq!(ran.statuses(), "a=succeeded b=succeeded environment:production=succeeded free=succeeded");
    let ran = run_in(tree(text), &["-e", "production"]).code(3);
    assert!(!ran.bench.path("a").exists());
    assert_eq!(ran.steps()["free"]["status"], "pending");

    let ran = run(text).code(3).then(&["reject", "@last", "environment:production", "--note", "no"]).code(0).resume(&[]).code(1);
    assert_eq!(ran.statuses(), "a=blocked b=blocked environment:production=rejected free=succeeded");
    assert!(!ran.bench.path("a").exists());
}

#[test]
fn defaults_are_merged_field_by_field() {
    let ran = run("
defaults: { retry: { attempts: 3, delay: 1ms }, env: { X: d } }
steps:
  a: { run: 'echo $X $TREES_ATTEMPT; test $TREES_ATTEMPT = 3' }
  b: { retry: { attempts: 2 }, run: 'exit 1' }
")
    .code(1);
    let steps = ran.steps();
    assert_eq!((steps["a"]["attempts"].as_u64(), steps["b"]["attempts"].as_u64()), (Some(3), Some(2)));
}

#[test]
fn a_step_runs_in_the_folder_of_the_tree_or_its_cwd() {
    let bench = tree("steps: { a: { run: 'touch here' }, b: { cwd: sub/deep, run: 'touch there' } }");
    bench.write("sub/deep/x", "");
    let text = bench.read("t.yaml");
    bench.write("other/t.yaml", text);
    bench.write("other/sub/deep/x", "");
    bench.run(&["run", "other/t.yaml"]).expect(0);
    assert!(bench.path("other/here").exists() && bench.path("other/sub/deep/there").exists());
    let ran = run("steps: { a: { cwd: nowhere, run: 'true' } }").code(1);
    has(&ran.text("a"), "nowhere");
}
