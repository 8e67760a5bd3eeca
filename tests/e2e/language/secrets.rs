//! Secrets: their sources, and that nobody sees them.

use super::{Ran, has, run, run_in, tree};
use crate::bench::{Bench, Outcome};
use std::fs;
use std::path::PathBuf;

const VALUE: &str = "hunter2-pa$$w0rd";

/// Every byte below the state folder.
fn state(bench: &Bench) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![bench.path(".trees")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                files.push((path.clone(), fs::read(path).unwrap()));
            }
        }
    }
    files
}

/// Fails where the value can be read.
#[track_caller]
fn unseen(ran: &Ran, value: &str) {
    for (name, text) in [("stdout", &ran.outcome.stdout), ("stderr", &ran.outcome.stderr)] {
        assert!(!text.contains(value), "the value is in {name}: {text}");
    }
    for (path, bytes) in state(&ran.bench) {
        assert!(!bytes.windows(value.len()).any(|w| w == value.as_bytes()), "the value is in {}", path.display());
    }
    for arguments in [&["show", "@last"][..], &["events", "@last"], &["logs", "@last"]] {
        let Outcome { stdout, stderr, .. } = ran.bench.run(arguments);
        assert!(!stdout.contains(value) && !stderr.contains(value), "{arguments:?}: {stdout}{stderr}");
    }
}

const SHOWN: &str = "steps: { a: { secrets: [TOKEN], run: 'test \"$TOKEN\" = \"hunter2-pa$$$$w0rd\" || test -n \"$TOKEN\"; echo \"[$TOKEN]\"; echo \"$TOKEN\" >&2; printf %s \"$TOKEN\" | base64' }, b: { run: 'echo \"${TOKEN-unset}\"' } }";

fn with_variable(text: &str) -> Ran {
    let bench = tree(text);
    let output = bench.command(&["run", "t.yaml", "--format", "json"]).env("TOKEN", VALUE).output().unwrap();
    let outcome = Outcome {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    Ran { bench, outcome }
}

#[test]
fn from_the_environment_masked_and_only_for_who_names_it() {
    let ran = with_variable(&format!("secrets: {{ TOKEN: {{}} }}\n{SHOWN}")).code(0);
    unseen(&ran, VALUE);
    has(&ran.log("a"), "[***]");
    assert_eq!(ran.log("b").trim(), "unset");
}

#[test]
fn from_the_store_where_it_lies_sealed() {
    let bench = tree(&format!("secrets: {{ TOKEN: {{}} }}\n{SHOWN}"));
    bench.run_with_input(&["secret", "set", "TOKEN", "--project", "t"], VALUE).expect(0);
    let ran = run_in(bench, &[]).code(0);
    unseen(&ran, VALUE);
    has(&ran.log("a"), "[***]");
}

#[test]
fn one_too_short_to_be_masked_is_said_to_be() {
    let bench = tree("steps: { a: { run: 'true' } }\n");
    let set = |value: &str| bench.run_with_input(&["secret", "set", "PIN", "--project", "t"], value).expect(0).stderr;
    assert!(set("123").contains("fewer than 4 bytes"));
    assert!(!set("1234").contains("fewer than 4 bytes"));
}

#[test]
fn from_dotenv_a_file_a_command() {
    for source in [
        "dotenv: [.env]\nsecrets: { TOKEN: {} }",
        "secrets: { TOKEN: { from: file, path: token } }",
        "secrets: { TOKEN: { from: command, command: 'cat token' } }",
        "dotenv: [.env]\nsecrets: { TOKEN: { from: dotenv } }",
    ] {
        let bench = tree(&format!(
            "{source}\nsteps: {{ a: {{ secrets: [TOKEN], run: 'echo \"$TOKEN\"; test ${{#TOKEN}} = 16' }}, b: {{ run: 'echo \"${{TOKEN-unset}}\"' }} }}"
        ));
        bench.write("token", format!("{VALUE}\n"));
        bench.write(".env", format!("TOKEN='{VALUE}'\n"));
        let ran = run_in(bench, &[]).code(0);
        unseen(&ran, VALUE);
        assert_eq!((ran.log("a").trim(), ran.log("b").trim()), ("***", "unset"), "{source}");
    }
}

#[test]
fn generated_once_and_kept() {
    let ran = run("secrets: { P: { from: generate, length: 20, charset: alphanumeric } }\nsteps: { a: { secrets: [P], run: 'test ${#P} = 20; printf %s \"$P\" > p' } }").code(0);
    let value = ran.bench.read("p");
    unseen(&ran, &value);
    let ran = ran.again(&[]).code(0);
    assert_eq!(ran.bench.read("p"), value);
}

#[test]
fn as_a_file() {
    let ran = with_variable("secrets: { TOKEN: { as: file } }\nsteps: { a: { secrets: [TOKEN], run: 'cat \"$TOKEN_FILE\"; stat -c %a \"$TOKEN_FILE\"; echo \"$TOKEN_FILE\" > where; echo \"${TOKEN-unset}\"' } }").code(0);
    unseen(&ran, VALUE);
    has(&ran.log("a"), "***");
    has(&ran.log("a"), "600");
    has(&ran.log("a"), "unset");
    assert!(!PathBuf::from(ran.bench.read("where").trim()).exists(), "the file is gone with the step");
}

#[test]
fn a_missing_one_is_found_before_anything_runs() {
    let ran = run("secrets: { TOKEN: {}, OTHER: {} }\nsteps: { a: { run: 'touch ran' }, b: { needs: a, secrets: [TOKEN], run: 'true' } }");
    assert_eq!(ran.outcome.code, 2, "{}{}", ran.outcome.stdout, ran.outcome.stderr);
    assert!(!ran.bench.path("ran").exists());
    has(&ran.outcome.stderr, "TOKEN");
    has(&ran.outcome.stderr, "trees secret set");
    assert!(!ran.outcome.stderr.contains("OTHER"), "no step uses it");
}

#[test]
fn all_missing_ones_are_named_each_with_its_cure() {
    let ran = run("secrets: { A: { from: file, path: nofile }, B: { from: command, command: exit 3 }, C: { from: environment }, D: { from: store }, E: { from: dotenv } }
steps: { a: { secrets: [A, B, C, D, E], run: 'touch ran' } }")
    .code(2);
    for part in
        ["A is not there as a file: write nofile", "command of the secret B", "set the variable C", "trees secret set D", "write E="]
    {
        has(&ran.outcome.stderr, part);
    }
    assert!(!ran.bench.path("ran").exists());
}

#[test]
fn an_optional_one_may_be_missing() {
    let ran = run("secrets: { TOKEN: { optional: true } }\nsteps: { a: { secrets: [TOKEN], run: 'echo \"${TOKEN-unset}\"' } }").code(0);
    assert_eq!(ran.log("a").trim(), "unset");
}

#[test]
fn what_the_params_leave_out_asks_for_none() {
    let text = "
params: { url: '' }
secrets: { TOKEN: {} }
steps: { a: { if: params.url != '', secrets: [TOKEN], run: 'true' }, b: { run: 'true' } }
";
    run(text).code(0);
    for command in ["run", "plan"] {
        let bench = tree(text);
        let outcome = bench.run(&[command, "t.yaml", "-p", "url=there"]).expect(2);
        assert!(outcome.stderr.contains("TOKEN"), "{}", outcome.stderr);
    }
    // What only the run will know is asked for.
    run(&text.replace("params.url != ''", "params.url != '' and not failed()")).code(2);
}

#[test]
fn in_a_script_it_is_refused() {
    let ran = run("secrets: { TOKEN: {} }\nsteps: { a: { run: 'echo {{ secrets.TOKEN }}' } }").code(2);
    has(&ran.outcome.stderr, "secrets: [TOKEN]");
    has(&ran.outcome.stderr, "$TOKEN");
}

#[test]
fn in_with_a_reference_is_enough() {
    let ran = with_variable(
        "secrets: { TOKEN: {} }\nsteps: { a: { uses: file/write, with: { path: out.txt, content: 'x={{ secrets.TOKEN }}' } } }",
    )
    .code(0);
    assert_eq!(ran.bench.read("out.txt"), format!("x={VALUE}"));
    unseen(&ran, VALUE);
}
