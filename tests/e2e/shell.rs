//! `trees shell`: exactly what the step had, and nothing recorded of it.

use crate::bench::Bench;

const TREE: &str = r#"tree: t
params: { who: "it's $HOME" }
env: { LEVEL: tree }
dotenv: [.env]
secrets: { TOKEN: {}, KEY: { as: file } }
steps:
  make: { run: 'printf "n<<E\none\ntwo\nE\n" >> "$TREES_OUTPUT"', outputs: { n: string } }
  use:
    needs: make
    cwd: sub
    env: { LEVEL: step }
    env_pass: [EXTRA_*]
    secrets: [TOKEN, KEY]
    run: |
      env -0 | sort -z > ../seen.env; cat "$TREES_INPUTS" > ../seen.inputs; cat "$KEY_FILE" > ../seen.key
      : {{ params.who }} "{{ steps.make.outputs.n }}"
      test -e ../go
  each: { foreach: { items: [a, b] }, run: 'echo {{ item }} > each-$TREES_STEP' }
  after: { needs: use, run: ":" }
  ask: { needs: after, approve: { message: Well? } }
  file: { needs: make, uses: file/write, with: { path: out, content: "{{ steps.make.outputs.n }}" } }
"#;

fn bench() -> Bench {
    let bench = Bench::with("t.yaml", TREE);
    bench.write(".env", "FROM_FILE='a b'\nTOKEN=not this\n");
    bench.write("sub/x", "");
    bench.run_with_input(&["secret", "set", "TOKEN", "--project", "t"], "s3cr3t-one\n").expect(0);
    bench.run_with_input(&["secret", "set", "KEY", "--project", "t"], "s3cr3t-two\n").expect(0);
    let mut run = bench.command(&["run", "t.yaml"]);
    assert_eq!(run.env("EXTRA_ONE", "1").output().unwrap().status.code(), Some(1));
    bench
}

/// The variables but those that are new for each attempt or made by a shell.
fn variables(text: &str) -> Vec<&str> {
    let own = ["TMPDIR=", "TREES_OUTPUT=", "TREES_INPUTS=", "KEY_FILE=", "_=", "PWD=", "OLDPWD=", "SHLVL="];
    text.split('\0').filter(|pair| !own.iter().any(|name| pair.starts_with(name))).collect()
}

#[test]
fn the_environment_the_folder_and_the_inputs_are_those_of_the_step() {
    let bench = bench();
    let before = bench.run(&["events"]).expect(0).stdout;
    let enter = |command: &str| {
        let mut shell = bench.command(&["shell", "@last", "use", "-c", command]);
        let output = shell.env("EXTRA_ONE", "1").env("NOT_PASSED", "1").output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, seen, said) = enter("env -0 | sort -z");
    assert_eq!(code, Some(0), "{said}");
    let step = bench.read("seen.env");
    assert_eq!(variables(&seen), variables(&step));
    for pair in
        ["LEVEL=step", "FROM_FILE=a b", "EXTRA_ONE=1", "TOKEN=s3cr3t-one", "TREES_V1=it's $HOME", "TREES_V2=one\ntwo", "TREES_ATTEMPT=1"]
    {
        assert!(seen.split('\0').any(|one| one == pair), "{pair} in {seen:?}");
    }
    let sub = bench.path("sub").canonicalize().unwrap();
    assert_eq!(enter("pwd; cat \"$KEY_FILE\"").1, format!("{}\ns3cr3t-two", sub.display()));
    assert_eq!(enter("cat \"$TREES_INPUTS\"").1, bench.read("seen.inputs"));
    assert_eq!(enter("touch \"$TMPDIR/x\" \"$TREES_OUTPUT\"; exit 7").0, Some(7));
    assert_eq!(enter("kill -KILL $$").0, Some(137));
    assert!(said.starts_with("in the place of use of t #1 (run ") && said.contains("), attempt 1; nothing is recorded\n"), "{said}");
    assert!(!said.contains("s3cr3t"), "{said}");
    // Its temporary folders are gone, and nothing was recorded.
    let (_, path, _) = enter("echo \"$TMPDIR\"; echo \"$KEY_FILE\"");
    path.lines().for_each(|path| assert!(!std::path::Path::new(path).exists(), "{path}"));
    assert_eq!(bench.run(&["events"]).expect(0).stdout, before);
}

#[test]
fn instances_and_kinds_have_a_place_too() {
    let bench = bench();
    let name = bench.run(&["shell", "@last", "each:b", "-c", "echo \"$TREES_STEP $TREES_V1\""]).expect(0).stdout;
    assert_eq!(name, "each[b] b\n");
    let kind = bench.run(&["shell", "@last", "file", "-c", "pwd; echo $FROM_FILE"]).expect(0).stdout;
    assert_eq!(kind, format!("{}\na b\n", bench.dir().canonicalize().unwrap().display()));
    // Without a command it reads them.
    assert_eq!(bench.run_with_input(&["shell", "@last", "use"], "echo $LEVEL; exit 3\n").expect(3).stdout, "step\n");
}

#[test]
fn what_has_no_place_says_why() {
    let bench = bench();
    let check = |step: &str, text: &str| {
        let refused = bench.run(&["shell", "@last", step, "-c", ":"]).expect(2);
        assert!(refused.stderr.contains(text), "{}", refused.stderr);
    };
    check("after", "`after` cannot be entered yet: it needs use, which failed");
    check("ask", "`ask` asks a person");
    check("each", "`each` consists of other steps: name one of them, such as each[a], each[b]");
    check("none", "the run has no step `none`");
}

#[test]
fn a_shell_asks_for_no_secret_of_a_step_that_was_left_out() {
    let tree =
        "tree: t\nsecrets: { TOKEN: {}, OTHER: {} }\nsteps:\n  a: { secrets: [TOKEN], run: ':' }\n  b: { secrets: [OTHER], run: ':' }\n";
    let bench = Bench::with("t.yaml", tree);
    bench.run_with_input(&["secret", "set", "TOKEN", "--project", "t"], "s3cr3t-one\n").expect(0);
    bench.run(&["run", "t.yaml", "--only", "a", "-q"]).expect(0);
    assert_eq!(bench.run(&["shell", "@last", "a", "-c", "echo $TOKEN"]).expect(0).stdout, "s3cr3t-one\n");
    let left_out = bench.run(&["shell", "@last", "b", "-c", ":"]);
    assert!(
        left_out.code != 0 && left_out.stderr.contains("the secret OTHER") && !left_out.stderr.contains("TOKEN"),
        "{}",
        left_out.stderr
    );
}
