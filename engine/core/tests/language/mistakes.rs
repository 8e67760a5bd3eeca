//! Mistakes with their exact places: code, line, column; all that a file has wrong, in order.

use crate::bench::{check, shown};

/// Each text with all that is wrong with it.
fn table(rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        assert_eq!(shown(&check(text, &[]).diagnostics), *expected, "\n{text}");
    }
}

/// A step `a` with these lines, in a tree with a few names; the step begins in line 11.
fn step(lines: &str) -> String {
    let head = "tree: t\nparams: { app: web, n: 3, tag: { required: false }, list: { type: list, default: [1] } }\nvars: { image: x }\nenv: { LOG: info }\nsecrets: { TOKEN: {} }\npools: { net: 2 }\nenvironments: { prod: { default: true, vars: { port: 1 } }, dev: { vars: { host: h } } }\nsteps:\n  z: { run: x, outputs: { sha: string, all: list }, artifacts: { bin: out/z } }\n  f: { foreach: [u, v], run: x, outputs: { sha: string } }\n  a:\n";
    let body: String = lines.lines().map(|l| format!("    {l}\n")).collect();
    format!("{head}{body}")
}

fn steps(rows: &[(&str, &str)]) {
    for (lines, expected) in rows {
        assert_eq!(shown(&check(&step(lines), &[]).diagnostics), *expected, "\n{lines}");
    }
}

#[test]
fn yaml_itself() {
    table(&[
        ("tree: t\nsteps:\n  a:\n	run: x\n", "tab 4:1"),
        ("tree: t\nsteps:\n  a:\n    run: x\n\t  needs: b\n", "tab 5:1"),
        ("", "empty-file 1:1"),
        ("# nothing\n", "empty-file 1:1"),
        ("hello\n", "wrong-type 1:1"),
        ("- a\n", "wrong-type 1:1"),
        ("tree: t\nsteps:\n  a:\n    needs: [a, b\n    run: x\n", "yaml-syntax 4:12"),
        ("tree: t\nsteps:\n  a:\n    run: \"x\n  b: { run: y }\n", "yaml-syntax 4:10"),
        ("tree: t\nsteps:\n  a:\n    run: x\n   b:\n    run: y\n", "yaml-syntax 5:4"),
        ("tree: t\nsteps:\n  a:\n    run: echo a: b\n", "yaml-syntax 4:16"),
        ("tree: !!str t\nsteps: !x\n  a: { run: x }\n", "tag 1:7; tag 2:8"),
        ("tree: t\nsteps:\n  a: { run: x }\n---\ntree: u\n", "second-document 4:1"),
        ("tree: t\nsteps:\n  a:\n    run: x\n  a:\n    run: y\n", "duplicate-key 5:3"),
        ("tree: t\nsteps:\n  a: { run: x, run: y }\n", "duplicate-key 3:16"),
        ("tree: t\nsteps:\n  a: *nope\n", "unknown-alias 3:6"),
        ("tree: t\nsteps: &s\n  a: { run: x, env: *s }\n", "open-alias 3:21"),
        ("tree: t\nvars: { a: x, a: \"{{ vars.a }}\" }\nsteps:\n  b: { run: x }\n", "duplicate-key 2:15; var-cycle 2:22"),
        ("%YAML 1.2\n---\ntree: t\n", "yaml-syntax 1:1"),
        ("tree: t\n<<: x\nsteps:\n  a: { <<: [{ run: x }, y] }\n", "wrong-type 2:5; wrong-type 4:12"),
        ("tree: t\nsteps:\n  ? [a]\n  : { run: x }\n", "key-not-text 3:5"),
        ("tree: t\nsteps:\n  a:\n    run: @x\n", "yaml-syntax 4:10"),
        ("tree: t\nsteps:\n  a:\n    uses: http/check\n    with:\n      url: {{ params.app }}/x\n", "unquoted-braces 6:12"),
        ("tree: t\nsteps:\n  a: { uses: http/check, with: { url: {{ params.app }} } }\n", "unquoted-braces 3:39"),
        ("tree: t\nsteps:\n  a:\n    if: {{ x == \"y\" }}\n    run: x\n", "unquoted-braces 4:9"),
        ("tree: t\nsteps:\n  a:\n    foreach: [ {{ x }}, b ]\n    run: x\n", "unquoted-braces 4:16"),
        ("tree: t\r\nsteps:\r\n  a:\r\n    rnu: x\r\n", "unknown-key 4:5"),
        ("tree: t\r\nsteps:\n  a: { run: \"x\ry\", rnu: x }\n", "yaml-syntax 3:15"),
        ("tree: t\rsteps:\r  a: { rnu: x }\r", "yaml-syntax 1:8"),
        ("\u{feff}tree: t\nsteps:\n  a: { rnu: x }\n", "unknown-key 3:8"),
        ("tree: t\ndescription: \"日本\"\nsteps:\n  é: { run: x }\n  b: { description: 日本, rnu: x }\n", "bad-name 4:3; unknown-key 5:25"),
    ]);
}

#[test]
fn the_top_of_a_tree() {
    table(&[
        ("steps:\n  a: { run: x }\n", "missing-key 1:1"),
        ("tree: t\n", "missing-key 1:1"),
        ("tree: t\nsteps: {}\n", "no-steps 2:8"),
        ("tree: T_x\nsteps:\n  a b: { run: x }\n  1x: { run: x }\n", "bad-name 1:7; bad-name 3:3; bad-name 4:3"),
        ("tree: 5\nsteps:\n  a: { run: 5 }\n", "wrong-type 1:7; wrong-type 3:13"),
        ("tre: t\nsteps:\n  a: { run: x }\n", "unknown-key 1:1"),
        ("tree: t\nx-anything: [1]\ny-other: 1\nsteps:\n  a: { run: x }\n", "unknown-key 3:1"),
        ("tree: t\nsteps:\n  a:\n", "wrong-type 3:3"),
        (
            "tree: t\nmax_parallel: 0\ndeadline: 5\npools: { p: none }\nsteps:\n  a: { run: x }\n",
            "bad-value 2:15; wrong-type 3:11; wrong-type 4:13",
        ),
        ("tree: t\non_failure: contine\non_busy: wait\nsteps:\n  a: { run: x }\n", "bad-choice 2:13; bad-choice 3:10"),
        (
            "tree: t\nparams:\n  a: { type: integer, default: x }\n  b: { type: str }\n  c: { enum: [a, b], default: d }\n  d: { pattern: '(' }\n  e: { min: 3, max: 1, type: integer }\n  f: { default: 1, required: true }\n  g: { type: boolean, min: 1 }\n  h: \"{{ x }}\"\nsteps:\n  a: { run: x }\n",
            "bad-param 3:32; bad-choice 4:14; bad-param 5:31; bad-param 6:17; bad-param 7:21; bad-param 8:30; bad-param 9:28; bad-param 10:6",
        ),
        (
            "tree: t\nenvironments:\n  a: { default: true }\n  b: { default: true, protect: true }\nsteps:\n  a: { run: x }\n",
            "two-defaults 4:3; unknown-key 4:23",
        ),
        (
            "tree: t\nvars:\n  a: \"{{ vars.b }}\"\n  b: \"{{ vars.c }}\"\n  c: \"{{ vars.a }}\"\nsteps:\n  a: { run: x }\n",
            "var-cycle 3:10",
        ),
        (
            "tree: t\nvars: { a: \"{{ steps.a.outputs.x }}\", b: \"{{ env.X }}\", c: \"{{ secrets.T }}\", d: \"{{ vars.nope }}\" }\nsecrets: { T: {} }\nsteps:\n  a: { run: x }\n",
            "undefined-name 2:16; undefined-name 2:46; secret-place 2:64; undefined-name 2:86",
        ),
        (
            "tree: t\nsecrets:\n  A: { from: file }\n  B: { path: x }\n  C: { from: vualt }\n  D: { from: generate, length: 0 }\n  E: { from: generate, charset: utf8 }\nsteps:\n  a: { run: x }\n",
            "missing-key 3:3; no-effect 4:8; bad-choice 5:14; bad-value 6:32; bad-choice 7:33",
        ),
        ("tree: t\ndefaults: { timeout: 1x, needs: a }\nsteps:\n  a: { run: x }\n", "bad-duration 2:22; unknown-key 2:26"),
        ("tree: t\ndotenv: [../.env, /etc/env]\nwatch: [\"\"]\nsteps:\n  a: { run: x }\n", "bad-value 3:9"),
        (
            "tree: t\nsteps:\n  a: { needs: c, run: x }\n  b: { needs: a, run: x }\n  c: { needs: b, run: x }\n  d: { needs: d, run: x }\n",
            "cycle 3:15; cycle 6:15",
        ),
        (
            "tree: t\nsteps:\n  a: { run: x }\nfinally:\n  a: { run: x }\n  f: { needs: a, run: x, undo: y, pivot: true }\n  g: { needs: f, run: x }\n",
            "duplicate-key 5:3; finally-need 6:15; no-effect 6:26; no-effect 6:35",
        ),
        (
            "tree: t\nsteps:\n  a: { run: x, needs: f }\n  b: { uses: http/check, with: { url: \"{{ steps.f.status }}\" } }\nfinally:\n  f: { run: x }\n",
            "finally-need 3:23; finally-need 4:43",
        ),
        (
            "tree: t\nsteps:\n  a: { run: x, outputs: { v: string } }\nfinally:\n  f: { run: \"echo {{ steps.a.outputs.v }} {{ steps.a.status }}\" }\n",
            "may-be-undefined 5:22",
        ),
        (
            "tree: t\nsteps:\n  a: { run: x, artifacts: { o: out/a } }\n  b: { run: x, artifacts: { o: out/a/b } }\n  c: { run: x, needs: a, artifacts: { o: ./out/a } }\n",
            "shared-artifact 4:3; shared-artifact 5:3",
        ),
        (
            "tree: t\nsteps:\n  a: { was: [a, old], run: x }\n  b: { was: [old, a], run: x }\n  c: { was: gone, run: x }\n",
            "former-name 4:3; former-name 4:3",
        ),
        (
            "tree: t\nsteps:\n  a: { run: x }\noutputs: { v: \"{{ steps.a.outputs.v }}\", w: \"{{ steps.b.status }}\", x: \"{{ needs.a.status }}\" }\n",
            "unknown-output 4:19; unknown-step 4:49; undefined-name 4:76",
        ),
        (
            "tree: t\nparams: { app: x }\nenv: { A: \"{{ params.ap }}\", \"B-C\": x }\nsteps:\n  a: { run: x }\n",
            "undefined-name 3:15; bad-name 3:30",
        ),
    ]);
}

#[test]
fn a_step() {
    steps(&[
        ("rnu: x", "unknown-key 12:5"),
        ("description: x", "no-action 11:3"),
        ("run: x\nuses: http/check\nwith: { url: x }", "two-actions 13:5"),
        ("run: x\nwith: { a: b }", "no-effect 13:5"),
        ("run: \"\"", "empty-script 12:10"),
        ("uses: http/chek", "unknown-kind 12:11"),
        ("uses: http/check\nshell: bash\noutputs: { a: string }", "missing-key 12:11; no-effect 13:5; no-effect 14:5"),
        ("approve: Really?\ntimeout: 5m\nretry: { attempts: 2 }", "no-effect 13:5; no-effect 14:5"),
        ("approve: { mesage: x }", "unknown-key 12:16"),
        ("tree: ./nope.yaml", "subtree-unreadable 12:11"),
        ("run: x\nneeds: q", "unknown-step 13:12"),
        ("run: x\nneeds: [z, zz, z]", "unknown-step 13:16; repeated-need 13:20"),
        ("run: x\nneeds: { steps: z, rule: all_don }", "bad-choice 13:30"),
        ("run: x\nneeds: { rule: all_done }", "missing-key 13:12"),
        ("run: x\nneeds: [{ step: z, by: key }]", "by-key 13:21"),
        ("run: x\nneeds: [{ stp: z }]", "unknown-key 13:15"),
        ("run: x\nneeds: 5", "wrong-type 13:12"),
        ("run: x\ntolerate: 1\nmax_parallel: 2", "no-effect 13:5; no-effect 14:5"),
        ("run: x\nforeach: [a]\nmatrix: { b: [1] }", "two-fan-outs 14:5"),
        ("run: x\nforeach: [a, a, { b: c }]", "duplicate-item 13:18; key-missing 13:21"),
        ("run: x\nforeach: { items: [a], as: params }", "name-taken 13:32"),
        ("run: x\nforeach: { itms: [a] }", "unknown-key 13:16"),
        ("run: x\nmatrix: { a: [1, 2], exclude: [{ b: 1 }, { a: 3 }] }", "unknown-axis 13:38; excludes-nothing 13:51"),
        ("run: x\nmatrix: { exclude: [] }", "missing-key 13:13"),
        ("run: x\nmatrix: { a: [] }", "empty-axis 13:18"),
        ("run: x\nforeach: [a]\ntolerate: 101%", "bad-value 14:15"),
        (
            "run: x\ntimeout: 0s\ndeadline: 00ms\nverify: { run: x, timeout: 0m }\nretry: { delay: 0s }",
            "bad-value 13:14; bad-value 14:15; bad-value 15:32",
        ),
        ("run: x\ntimeout: 10\ndeadline: ten\nretry: { delay: 1.5s }", "wrong-type 13:14; bad-duration 14:15; bad-duration 15:21"),
        (
            "run: x\nretry: { attempts: 0, jitter: 2, factor: 0.5, on: [failur, exit:0, signal:9] }",
            "bad-value 13:24; bad-value 13:35; bad-value 13:46; bad-value 13:56; bad-value 13:64",
        ),
        ("run: x\nretry: 3", "wrong-type 13:12"),
        ("run: x\nexit: { ok: [0, 256], skip: [75] }", "bad-value 13:11; bad-value 13:21"),
        ("run: x\nallow_failure: maybe", "wrong-type 13:20"),
        ("run: x\npool: nett", "unknown-pool 13:11"),
        ("run: x\nenvironment: prodd", "unknown-environment 13:18"),
        ("run: x\nsecrets: [TOKE]", "unknown-secret 13:15"),
        ("run: x\ncache: true", "cache-without-inputs 13:5"),
        ("run: x\ncache: true\neffect: external\ninputs: { files: [a] }", "cache-external 13:5"),
        ("run: x\ncache: yes", "wrong-type 13:12"),
        ("run: x\ninputs: { files: [/etc/passwd, \"../x\", \"!../y\"] }", "path-outside 13:23; path-outside 13:36; path-outside 13:44"),
        ("run: x\nartifacts: { o: /tmp/x, p: a/../../b }", "path-outside 13:21; path-outside 13:32"),
        ("run: x\noutputs: { v: text }", "bad-choice 13:19"),
        ("run: x\non_crash: undo_first", "no-effect 13:15"),
        ("run: x\non_crash: check", "no-effect 13:15"),
        ("run: x\neffect: externl", "bad-choice 13:13"),
        ("run: x\nshell: fish", "bad-choice 13:12"),
        ("run: x\nshell: []", "bad-value 12:10"),
        ("run: \"x\\0\"", "bad-value 12:10"),
        ("run: x\nartifacts: { o: \"x\\0\" }", "path-outside 13:21"),
        ("run: x\nundo: { rn: y }", "unknown-key 13:13"),
        ("run: x\nverify: { run: y, uses: http/check }", "two-actions 13:23"),
        ("run: x\ncheck: { run: y, when: started }", "unknown-key 13:22"),
        ("run: x\nif: params.n == 3 && true", "expression 13:23"),
        ("run: x\nif: nope", "undefined-name 13:9"),
        ("run: x\nif: failed() and params.nope", "undefined-name 13:22"),
        ("run: echo {{ params.ap }}", "undefined-name 12:18"),
        ("run: |\n  echo hi\n  echo \"{{ vars.imag }}\" {{ nope }} {{.State}}", "undefined-name 14:16; undefined-name 14:33"),
        ("run: echo {{ secrets.TOKEN }}", "secret-in-script 12:15"),
        ("run: echo ${{ params.app }}", "expression-dollar 12:15"),
        ("run: x\nenv: { A: \"{{ secrets.TOKN }}\", B: \"{{ secrets.TOKEN }}\" }", "undefined-name 13:19"),
        ("run: x\ncwd: \"{{ secrets.TOKEN }}\"", "secret-place 13:14"),
        ("run: echo {{ vars.port }} {{ vars.host | default(value=1) }}", "undefined-name 12:18"),
        ("environment: prod\nrun: echo {{ vars.port }}", ""),
        ("run: echo {{ env.LOGG }}", "undefined-name 12:18"),
        ("run: echo {{ params.tag }} {{ params.tag | default(value=1) }}", "may-be-undefined 12:18"),
        ("run: echo {{ params.app.x }} {{ params.list[0] }}", "undefined-name 12:18"),
        ("run: echo {{ params[vars.image] }}", "computed-name 12:18"),
        ("run: echo {{ steps.zz.outputs.sha }}", "unknown-step 12:18"),
        ("run: echo {{ steps.z.outputs.shaa }}", "unknown-output 12:18"),
        ("run: echo {{ steps.z.sha }}", "undefined-name 12:18"),
        ("run: echo {{ steps.z.outputs.sha.x }} {{ steps.z.outputs.all[0].x }}", "undefined-name 12:18"),
        ("run: echo {{ steps.z.artifacts.bim.path }} {{ steps.z.artifacts.bin.size }}", "undefined-name 12:18; undefined-name 12:51"),
        (
            "run: echo {{ steps.f.outputs.sha }} {{ steps.f.by_key.u.sha }} {{ steps.f.outputs[0].sh }}",
            "undefined-name 12:18; unknown-output 12:71",
        ),
        ("run: echo {{ steps.z.by_key.x }}", "undefined-name 12:18"),
        ("run: echo {{ steps.a.outputs.x }}", "unknown-output 12:18; cycle 12:18"),
        ("run: echo {{ item }} {{ matrix.x }}", "undefined-name 12:18; undefined-name 12:29"),
        ("foreach: [u]\nrun: echo {{ item }} {{ item.x }} {{ matrix.y }}", "undefined-name 13:29; undefined-name 13:42"),
        ("matrix: { a: [1] }\nrun: echo {{ matrix.a }} {{ matrix.b }}", "undefined-name 13:33"),
        ("run: echo {{ step.outputs.x }} {{ failure.error }}", "undefined-name 12:18; undefined-name 12:39"),
        (
            "run: x\noutputs: { v: string }\nverify: test {{ step.outputs.v }} = {{ step.outputs.w }} {{ failure.step }}",
            "value-as-operator 14:41; undefined-name 14:65",
        ),
        ("run: x\nundo: echo {{ failure.step }} {{ failure.x }}", "undefined-name 13:38"),
        ("run: echo {{ needs.z.status }}", "undefined-name 12:18"),
        ("needs: z\nrun: echo {{ needs.z.outputs.sha }} {{ needs.z.outputs.x }}", "unknown-output 13:44"),
        ("run: echo {{ run.idd }} {{ tree.name }} {{ project.x }}", "undefined-name 12:18; undefined-name 12:48"),
        ("uses: http/check\nwith: { url: \"{{ failed() }}\" }", "undefined-name 13:22"),
        ("uses: http/check\nwith: { ur: x, status: \"200\", follow: yes }", "unknown-key 13:13; wrong-type 13:28; wrong-type 13:43"),
        ("uses: http/check", "missing-key 12:11"),
        ("uses: http/check\nwith: [a]", "wrong-type 13:11"),
        (
            "uses: deploy/process\nwith: { name: a, command: [], port: 70000, health: x, keep: al, limits: { memry: 1 } }",
            "bad-value 13:31; bad-value 13:41; bad-value 13:56; bad-choice 13:65; unknown-key 13:79",
        ),
        (
            "uses: deploy/process\nwith: { name: 5, command: [a, 5], port: \"{{ params.n }}\", release: \"{{ params.n }}\", limits: { cpus: \"x{{ params.n }}\" } }",
            "wrong-type 13:19; wrong-type 13:35; wrong-type 13:106",
        ),
        ("run: x\nlock: [a]\nwas: 5", "wrong-type 13:11; wrong-type 14:10"),
        ("run: x\nleave_running: 1\npivot: \"true\"", "wrong-type 13:20; wrong-type 14:12"),
        ("run: x\nenv: { A: [1], B: }", "wrong-type 13:15; wrong-type 13:20"),
        ("run: x\nuses_: y", "unknown-key 13:5"),
    ]);
}
