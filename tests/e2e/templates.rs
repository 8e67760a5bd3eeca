//! `trees init --template`: a project made from a template folder.

use crate::bench::Bench;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

const METADATA: &str = "\
name: service
description: A service with a tree.
inputs:
  app: { type: string, description: What it is called. }
  port: { type: integer, default: 8080 }
  hosts: { type: list, default: [] }
  tls: { type: boolean, default: false }
files:
  tls.conf: { if: tls }
";
const TREE: &str = "tree: {{ app }}\nparams: { port: {{ port }} }\nsteps:\n{% for host in hosts %}  ship-{{ host }}: { run: 'echo \"<{{ host }}>\"' }\n{% endfor %}  \
                    last: { run: 'echo done' }\n";

fn bench() -> Bench {
    let bench = Bench::with("t/metadata.yaml", METADATA);
    bench.write("t/{{ app }}.yaml.tera", TREE);
    bench.write("t/tls.conf", "on");
    bench.write("t/start.sh", "#!/bin/sh\n");
    fs::set_permissions(bench.path("t/start.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    bench
}

#[test]
fn a_project_is_made_from_a_template_and_runs() {
    let bench = bench();
    bench.write("values.json", "{\"hosts\": [\"a\", \"b\"], \"port\": 1}");
    let made =
        bench.run(&["init", "--template", "t", "--dir", "out", "-p", "app=chat", "--params", "values.json", "-p", "port=99"]).expect(0);
    assert!(made.stderr.contains("made out/chat.yaml, 1 file more"), "{}", made.stderr);
    assert!(!bench.path("out/tls.conf").exists() && bench.path("out/.trees/tree.schema.json").exists());
    let text = bench.read("out/chat.yaml");
    assert!(text.contains("port: 99") && text.contains("echo \"<b>\""), "without escapes: {text}");
    assert_eq!(fs::metadata(bench.path("out/start.sh")).unwrap().permissions().mode() & 0o777, 0o755);
    bench.run(&["run", "out/chat.yaml"]).expect(0);
    let again = bench.run(&["init", "--template", "t", "--dir", "out", "-p", "app=chat"]).expect(2);
    assert!(again.stderr.contains("already there") && again.stderr.contains("nothing was written"), "{}", again.stderr);
}

#[test]
fn what_is_wrong_with_a_template_or_its_values_is_said_and_nothing_made() {
    let bench = bench();
    let check = |arguments: &[&str], parts: &[&str]| {
        let wrong = bench.run(&[&["init", "--dir", "out"], arguments].concat()).expect(2).stderr;
        assert!(parts.iter().all(|part| wrong.contains(part)), "{arguments:?}: {wrong}");
        assert!(!bench.path("out/start.sh").exists());
    };
    check(
        &["--template", "t", "-p", "port=x", "-p", "color=red"],
        &["`app` is missing (What it is called.)", "`port` must be of type integer", "takes no `color`"],
    );
    check(&["--template", "t", "-p", "app"], &["`-p app` gives no value"]);
    check(&["--template", "none"], &["there is no template folder none"]);
    check(&["--template", "t", "slackpath"], &["cannot be used with"]);
    check(&["-p", "a=b"], &["--template"]);
    bench.write("bare/x.yaml", "a: 1");
    check(&["--template", "bare"], &["it has no metadata.yaml"]);
    bench.write("t/bad.json", "{\"a\": {{ app }}}");
    check(&["--template", "t", "-p", "app=chat"], &["`bad.json` is no JSON once it is rendered"]);
    fs::remove_file(bench.path("t/bad.json")).unwrap();
    bench.write("t/{{ app }}.yaml.tera", "tree: {{ app }}\nsteps: { a: { need: b, run: x } }\n");
    let wrong = bench.run(&["init", "--template", "t", "--dir", "other", "-p", "app=chat"]).expect(2).stderr;
    assert!(wrong.contains("unknown key `need`") && wrong.contains("other/chat.yaml:2"), "{wrong}");
}
