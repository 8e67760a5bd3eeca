//! Shells, working folders, leftovers, locks.

use super::{has, run, run_in, tree};
use crate::bench::fifo;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

#[test]
fn shells() {
    let ran = run(r#"
steps:
  sh: { run: "false\ntouch on" }
  pipe: { shell: bash, run: "false | true" }
  bash: { shell: bash, run: 'a=(1 2); echo "${a[1]}" {{ params.p }}' }
  own: { shell: [cat], run: "a script\nas it is\n" }
params: { p: v }
"#)
    .code(1);
    assert_eq!(ran.statuses(), "bash=succeeded own=succeeded pipe=failed sh=failed");
    assert!(!ran.bench.path("on").exists());
    assert_eq!((ran.log("bash").trim(), ran.log("own").as_str()), ("2 v", "a script\nas it is\n"));
}

/// Nothing differs but that no shell is there, which bash would count, and that none says "Killed".
#[test]
fn a_plain_command_runs_as_a_shell_would_run_it() {
    let programs = [
        ("own/program", "#!/bin/sh\necho \"$0 $1 $PWD\"\nexit 3\n", 0o755),
        ("own/old", "echo \"old $1\"; exit 4\n", 0o755),
        ("own/closed", "#!/bin/sh\n", 0o644),
        ("own/killed", "#!/bin/sh\nkill -9 $$\n", 0o755),
    ];
    let commands = [
        "own/program a=1",
        "./own/program b",
        "program c,d",
        "old e",
        "own/old f",
        "own/closed",
        "own/program/x",
        "own",
        "no-such-program g",
        "cat /proc/self/no-such",
        "killed",
    ];
    let outcome = |begin: &str, command: &str, shell: &str| {
        let bench = tree(&format!(
            "env: {{ PATH: 'own:/usr/bin:/bin' }}\nsteps: {{ a: {{ shell: {shell}, run: '{begin}{command}' }}, count: {{ shell: {shell}, allow_failure: true, run: '{begin}printenv SHLVL' }} }}"
        ));
        for (name, text, mode) in &programs {
            bench.write(name, *text);
            std::fs::set_permissions(bench.path(name), std::fs::Permissions::from_mode(*mode)).unwrap();
        }
        let ran = run_in(bench, &[]).code(1);
        let root = ran.bench.path("").canonicalize().unwrap().display().to_string();
        let counted = ran.log("count").trim() == "0";
        (ran.log("a").replace(&root, ".").replace("Killed\n", ""), ran.event("a", "step_failed")["error"].clone(), counted)
    };
    for shell in ["sh", "bash"] {
        for command in commands {
            let ((plain, failed, direct), (said, by_shell, _)) = (outcome("", command, shell), outcome("\\", command, shell));
            assert_eq!((&plain, &failed["code"], &failed["reason"]), (&said, &by_shell["code"], &by_shell["reason"]), "{shell}: {command}");
            assert!(!direct, "no shell counts");
        }
    }
    assert!(outcome("", "no-such-program", "bash").0.contains("not found"));
    assert!(outcome("\\", "no-such-program", "bash").2, "bash counts");
}

#[test]
fn a_step_is_told_who_it_is() {
    let ran = run("steps: { a: { foreach: { items: ['x y'] }, run: 'echo \"$TREES_STEP $TREES_ATTEMPT ${#TREES_RUN_ID}\"; test -t 0 && exit 1; cat; (: < /dev/tty) 2>/dev/null && exit 1; echo $GIT_TERMINAL_PROMPT' } }").code(0);
    assert_eq!(ran.log("a[x%20y]"), "a[x%20y] 1 12\n0\n");
}

#[test]
fn leftovers_end_with_their_step() {
    // A pipe is closed for its reader when the last process that holds it has ended.
    let ran = run("steps: { a: { run: 'mkfifo p; (exec 3<>p; exec tail -f /dev/null) & echo $! > pid' }, b: { needs: a, run: '! kill -0 $(cat pid) 2>/dev/null' } }").code(0);
    assert_eq!(ran.statuses(), "a=succeeded b=succeeded");
    let ran = run("steps: { a: { leave_running: true, run: 'tail -f /dev/null > /dev/null 2>&1 & echo $! > pid' }, b: { needs: a, run: 'kill $(cat pid)' } }").code(0);
    assert_eq!(ran.statuses(), "a=succeeded b=succeeded");
}

#[test]
fn a_lock_holds_over_runs() {
    let bench = tree(
        "params: { who: a }\nsteps: { a: { lock: 'one', run: 'echo \"{{ params.who }} in\" >> order; echo in > started; read x < go; echo \"{{ params.who }} out\" >> order' } }",
    );
    fifo(&bench.path("started"));
    fifo(&bench.path("go"));
    let start = |who: &str| {
        bench.command(&["run", "t.yaml", "-p", &format!("who={who}")]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut first = start("a");
    bench.read("started");
    let mut second = start("b");
    // The second has asked for it once its run says that it waits.
    while !bench.run(&["list", "--format", "json"]).stdout.contains("\"number\": 2") {}
    std::fs::write(bench.path("go"), "x\n").unwrap();
    assert!(first.wait().unwrap().success());
    bench.read("started");
    std::fs::write(bench.path("go"), "x\n").unwrap();
    assert!(second.wait().unwrap().success());
    assert_eq!(bench.read("order"), "a in\na out\nb in\nb out\n");
}

#[test]
fn a_step_that_cannot_start_says_why() {
    let ran = run_in(tree("steps: { a: { shell: [no-such-shell], run: 'true' } }"), &[]).code(1);
    has(&ran.text("a"), "no-such-shell");
    assert_eq!(ran.event("a", "step_failed")["error"]["reason"], "spawn");
}
