//! Values in scripts, run for real: every script of the table, in every shell that is there, with
//! every hostile value. The value must arrive byte for byte, and nothing in it may ever run.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the library runs nothing; this test asks the real shells, and a failure of theirs ends it"
)]

mod shell;

use shell::{bound, rows, values};
use std::path::Path;
use std::process::{Command, Stdio};
use trees_core::diagnostic::{Origin, Span, Style};

const SHELLS: [&str; 3] = ["sh", "bash", "dash"];

fn there(shell: &str) -> bool {
    Command::new(shell).args(["-c", ":"]).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Standard output of a bound script; all its variables have the same value.
fn run(shell: &str, text: &str, variables: usize, value: &str, folder: &Path) -> (Vec<u8>, String) {
    let mut command = Command::new(shell);
    command.arg("-c").arg(text).current_dir(folder).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/h").stdin(Stdio::null());
    for n in 1..=variables {
        command.env(format!("TREES_V{n}"), value);
    }
    let output = command.output().unwrap();
    (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn run_rows(shell: &str, folder: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    for row in rows().iter().filter(|r| !r.bash || shell == "bash") {
        let script = match bound(row.script) {
            Ok(script) => script,
            Err(found) => {
                wrong.push(format!("{:?} is refused: {found:?}", row.script));
                continue;
            }
        };
        // Where `sh` is dash, dash tries all values and `sh` some.
        let all = shell != "sh" || std::fs::canonicalize("/bin/sh").ok() != std::fs::canonicalize("/bin/dash").ok();
        for value in values().iter().step_by(if all { 1 } else { 5 }) {
            let (got, errors) = run(shell, &script.text, script.bindings.len(), value, folder);
            let wanted = row.output.replace('@', value);
            if got != wanted.as_bytes() {
                wrong.push(format!(
                    "{shell} {:?} -> {:?} with {value:?}: {:?}, {errors}",
                    row.script,
                    script.text,
                    String::from_utf8_lossy(&got)
                ));
                break;
            }
        }
        if std::fs::read_dir(folder).unwrap().count() > 0 {
            wrong.push(format!("{shell} {:?}: A VALUE RAN", row.script));
            for entry in std::fs::read_dir(folder).unwrap() {
                std::fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
    }
    wrong
}

#[test]
fn values_arrive_byte_for_byte_and_never_run() {
    let folders: Vec<_> = SHELLS.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = SHELLS
            .iter()
            .zip(&folders)
            .filter_map(|(shell, folder)| {
                if !there(shell) {
                    eprintln!("NOT TRIED: {shell} is not here");
                    return None;
                }
                Some(scope.spawn(|| run_rows(shell, folder.path())))
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn refused_with_their_place() {
    let mut wrong = Vec::new();
    for (script, code) in shell::refused() {
        let origin = Origin { span: Span { source: 0, line: 1, column: 1, len: 0 }, style: Style::Block { line: 1, indent: 0 } };
        let (_, found) = trees_core::shell::bind(script, &origin, trees_core::shell::Dialect::Posix, &|n| n == "v" || n == "secrets");
        let errors: Vec<_> = found.iter().filter(|d| d.is_error()).collect();
        // The last `{{ … }}` of each script is the one that cannot stand.
        let at = script.rfind("{{").unwrap();
        let end = script[at..].find("}}").map_or(script.len(), |n| at + n + 2);
        let place = origin.at(script, at, end);
        match errors.last() {
            Some(d)
                if d.code == *code
                    && d.span.is_some_and(|s| (s.line, s.column + s.len) == (place.line, place.column + place.len))
                    && d.help.is_some() => {}
            other => wrong.push(format!("{script:?}: wanted {code} at {place:?}, found {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn refused_where_another_evaluates_it_but_for_numbers() {
    for (script, code) in shell::foreign() {
        let (_, found) = shell::bind(script);
        assert_eq!(found.iter().map(|d| (d.code.as_str(), d.is_error())).collect::<Vec<_>>(), [(*code, true)], "{script:?}");
        let number = script.replace("{{ v }}", "{{ v | int }}");
        let (_, found) = shell::bind(&number);
        if let Some(rest) = number.strip_prefix("ssh {{").or_else(|| number.strip_prefix("ssh -p 22 {{")) {
            // A number may be negative, and `ssh -4` is an option too: no host, unless `--` says so.
            assert_eq!(found.iter().map(|d| (d.code.as_str(), d.is_error())).collect::<Vec<_>>(), [(*code, true)], "{number:?}");
            assert!(bound(&format!("ssh -- {{{{{rest}")).is_ok(), "{number:?}");
        } else {
            assert!(found.is_empty(), "{number:?}: {found:?}");
        }
        for other in ["{{ v ~ v | int }}", "{{ v | int | str }}", "{{ [v | int] }}", "{{ '|' ~ v }}"] {
            let (_, found) = shell::bind(&script.replace("{{ v }}", other));
            assert_eq!(found.iter().filter(|d| d.is_error()).count(), 1, "{script:?} {other}: {found:?}");
        }
    }
    for script in [
        "ssh -- {{ v }} uptime",
        "echo {{ v }} | python3 x.py",
        "echo {{ v }} | perl -ne 'print'",
        "echo {{ v }} | psql -c 'copy t from stdin' db",
    ] {
        assert!(bound(script).is_ok(), "{script}");
    }
}

#[test]
fn deep_and_long_scripts_are_read_or_refused() {
    for open in [
        "$(",
        "\"$(",
        "`",
        "${a:-",
        "(",
        "$((",
        "{ ",
        "if ",
        "case a in a) ",
        "<(",
        "a=(",
        "[[ ",
        "x=$(cat <<E\n",
        "'",
        "\"",
        "{{",
        "{{ '",
        "{{ v | ",
        "a[",
        "@(",
        "\\",
        "$[",
        "$a ",
        "sudo ",
        "sh -c ",
        "a[ ; ",
        "find -exec ",
        "sh ",
        "| sh ",
        "x=$a ",
    ] {
        let script = format!("{}{{{{ v }}}}", open.repeat(4_000));
        let _ = shell::bind(&script);
    }
    let sixty = format!("{}echo {{{{ v }}}}{}", "echo \"$(".repeat(58), ")\"".repeat(58));
    assert!(bound(&sixty).is_ok());
    // A name that is reckoned with may hold no value anywhere in a script, and the other rows give theirs some.
    let (reckoned, others): (Vec<_>, Vec<_>) =
        rows().iter().map(|r| r.script).filter(|s| !s.contains("{{ \"")).partition(|s| s.contains("(("));
    assert!(reckoned.len() > 3, "{reckoned:?}");
    for rows in [reckoned, others] {
        let part: String = rows.iter().map(|script| format!("{script}\n")).collect();
        let long = part.repeat((1 << 18) / part.len());
        assert!(bound(&long).is_ok(), "{:?}", bound(&long).err().map(|f| f.into_iter().next()));
    }
}

#[test]
fn what_is_ours_and_what_stays() {
    let check = |script: &str, wanted: &str| assert_eq!(bound(script).map(|s| s.text).as_deref(), Ok(wanted), "{script}");
    check("docker inspect -f '{{.State.Running}}' x", "docker inspect -f '{{.State.Running}}' x");
    check("echo '{{ range .Items }}{{ end }}'", "echo '{{ range .Items }}{{ end }}'");
    check("echo {{ other.name }} {{ unclosed", "echo {{ other.name }} {{ unclosed");
    check("echo '{{ '{{' }}.State{{ '}}' }}'", "echo '{{.State}}'");
    check("echo {{ v }} \"{{ v }}\" {{ v | upper }}", "echo \"${TREES_V1}\" \"${TREES_V1}\" \"${TREES_V2}\"");
    check("echo {{ not v }} {{ 'a' ~ v }} {{ [v] | first }}", "echo \"${TREES_V1}\" \"${TREES_V2}\" \"${TREES_V3}\"");
    check("TREES_V1=x; echo {{ v }}", "TREES_V1=x; echo \"${TREES_V2}\"");
    let origin = Origin::default();
    let scope = |n: &str| n == "params";
    let (_, found) = trees_core::shell::bind("echo {{ parms.app }}", &origin, trees_core::shell::Dialect::Posix, &scope);
    assert_eq!(
        found.iter().map(|d| (d.code.as_str(), d.help.as_deref())).collect::<Vec<_>>(),
        [("unknown-name", Some("did you mean `params`?"))]
    );
    let (script, found) = trees_core::shell::bind("print({{ params.a }}, '{{.x}}')", &origin, trees_core::shell::Dialect::Other, &scope);
    assert_eq!(found.iter().map(|d| d.code.as_str()).collect::<Vec<_>>(), ["value-in-other-language"]);
    assert!(script.bindings.is_empty());
}
