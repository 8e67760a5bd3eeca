//! The places of a script. `@` stands for the value, `OUT` for the file in which it must arrive.

use super::{PAYLOADS, SHELLS, block, is_tried, is_unharmed, place};
use serde_json::Value;
use std::fmt::Write as _;

/// Where it must arrive, with a newline behind it or without.
const ARRIVES: &[&str] = &[
    "printf %s @ > OUT",
    "printf %s \"@\" > OUT",
    "printf %s '@' > OUT",
    "printf %s \"\"@'' > OUT",
    "x=@; printf %s \"$x\" > OUT",
    "x='@'; printf %s \"$x\" > OUT",
    "export x=@; printf %s \"$x\" > OUT",
    "readonly xx=@; printf %s \"$xx\" > OUT",
    "x=@ sh -c 'printf %s \"$x\"' > OUT",
    "env x=@ sh -c 'printf %s \"$x\"' > OUT",
    "set -- @; printf %s \"$1\" > OUT",
    "set -- '@' b; printf %s \"$1\" > OUT",
    "f() { printf %s \"$1\"; }; f @ > OUT",
    "f() { printf %s \"$1\"; }; f \"@\" > OUT",
    "for i in @; do printf %s \"$i\" > OUT; done",
    "for i in \"@\"; do printf %s \"$i\" > OUT; done",
    "case @ in \"@\") printf %s @ > OUT;; esac",
    "case x in @) ;; *) printf %s @ > OUT;; esac",
    "if [ \"@\" = @ ]; then printf %s @ > OUT; fi",
    "[ x@ = x'@' ] && printf %s @ > OUT",
    "test -n x@ && printf %s @ > OUT",
    "sh -c 'printf %s \"$1\"' _ @ > OUT",
    "sh -c 'printf %s \"$1\"' _ \"@\" > OUT",
    "sh -s -- @ > OUT <<'EOF'\nprintf %s \"$1\"\nEOF",
    "eval 'printf %s \"$x\"' > OUT; x=@; eval 'printf %s \"$x\"' > OUT",
    "cat > OUT <<EOF\n@\nEOF",
    "cat > OUT <<-E\n\t@\n\tE",
    "cat > OUT <<EOF\n$(printf %s. @ | sed 's/.$//')\nEOF\nprintf %s @ > OUT",
    "x=$(printf %s. @); printf %s \"${x%.}\" > OUT",
    "x=$(printf %s. \"@\"); printf %s \"${x%.}\" > OUT",
    "x=$(printf %s. '@'); printf %s \"${x%.}\" > OUT",
    "x=`printf %s. @`; printf %s \"${x%.}\" > OUT",
    "x=\"$(printf %s. \"$(printf %s @)\")\"; printf %s @ > OUT",
    "unset u; printf %s \"${u:-@}\" > OUT",
    "unset u; printf %s ${u:-@} > OUT",
    "unset u; : \"${u:=@}\"; printf %s \"$u\" > OUT",
    "x=@z; printf %s \"${x#@}\" > /dev/null; printf %s @ > OUT",
    "{ printf %s @; } > OUT",
    "( printf %s @ ) > OUT",
    "printf %s @ | cat > OUT",
    "printf %s @ | tee OUT > /dev/null",
    "printf '%s' @ > OUT & wait",
    "while :; do printf %s @ > OUT; break; done",
    "command printf %s @ > OUT",
    "find /dev/null -exec true @ \\; ; printf %s @ > OUT",
    "grep -F -e @ /dev/null || printf %s @ > OUT",
    "awk 'BEGIN { printf \"%s\", ENVIRON[\"v\"] }' > /dev/null; v=@ awk 'BEGIN { printf \"%s\", ENVIRON[\"v\"] }' > OUT",
    "ls -d -- @ > /dev/null 2>&1 || :; printf %s @ > OUT",
    "cd -- @ 2> /dev/null || :; cd \"$W\"; printf %s @ > OUT",
    "cat < @ 2> /dev/null || :; printf %s @ > OUT",
    "git -C /nonexistent log -- @ 2> /dev/null || :; printf %s @ > OUT",
];

/// The same for bash alone.
const ARRIVES_IN_BASH: &[&str] = &[
    "cat <<< @ > OUT",
    "cat <<< \"@\" > OUT",
    "a=( @ \"@\" ); printf %s \"${a[1]}\" > OUT",
    "a[1]=@; printf %s \"${a[1]}\" > OUT",
    "declare -A m=([k]=@); printf %s \"${m[k]}\" > OUT",
    "declare x=@; printf %s \"$x\" > OUT",
    "f() { local x=@; printf %s \"$x\" > OUT; }; f",
    "printf -v x %s @; printf %s \"$x\" > OUT",
    "cat < <(printf %s @) > OUT",
    "x=a; printf %s \"${x/a/@}\" > /dev/null; printf %s @ > OUT",
    "x=; x+=@; printf %s \"$x\" > OUT",
    "[[ a == a ]] && printf %s @ > OUT",
    "printf %q @ > /dev/null; printf %s @ > OUT",
];

/// Where it would be evaluated: `check` refuses it.
const REFUSED: &[&str] = &[
    "echo $(( @ ))",
    "echo $(( 1 + @ ))",
    "echo \"$(( @ * 2 ))\"",
    "echo $(( '@' ))",
    "echo $(( $(echo @) ))",
    "echo $[ @ ]",
    "(( @ ))",
    "(( x = @ ))",
    "for (( i = 0; i < @; i++ )); do :; done",
    "let @",
    "let x=@",
    "let 'x = @'",
    "[[ @ ]]",
    "[[ -n @ ]]",
    "[[ @ -eq 1 ]]",
    "[[ 1 -lt \"@\" ]]",
    "[[ a == @ ]]",
    "[[ a =~ @ ]]",
    "[[ -v @ ]]",
    "a[@]=1",
    "a=([@]=1)",
    "echo ${a[@]}",
    "echo \"${a['@']}\"",
    "x=abc; echo ${x:@}",
    "x=abc; echo ${x:0:@}",
    "echo ${!@}",
    "echo ${@}",
    "eval @",
    "eval \"@\"",
    "eval '@'",
    "eval echo @",
    "eval \"echo '@'\"",
    "eval \"echo \\\"@\\\"\"",
    "eval \"$(printf %s @)\"",
    "x=1 eval @",
    "command eval @",
    "builtin eval @",
    "sh -c @",
    "sh -c \"@\"",
    "sh -c '@'",
    "sh -c \"echo @\"",
    "sh -c 'echo @'",
    "sh -ec 'echo \"@\"'",
    "bash -c \"echo '@'\"",
    "dash -c 'echo @'",
    "/bin/sh -c 'echo @'",
    "env sh -c 'echo @'",
    "sudo sh -c 'echo @'",
    "nohup sh -c 'echo @'",
    "timeout 1 sh -c 'echo @'",
    "xargs sh -c 'echo @'",
    "find . -exec sh -c 'echo @' \\;",
    "su -c 'echo @'",
    "flock x -c 'echo @'",
    "env -S 'echo @'",
    "script -c 'echo @'",
    "docker exec c sh -c 'echo @'",
    "sh <<EOF\necho @\nEOF",
    "sh -s <<EOF\necho '@'\nEOF",
    "cat <<EOF | sh\necho @\nEOF",
    "echo @ | sh",
    "printf %s '@' | bash",
    "bash <<< @",
    ". @",
    "source @",
    "sh @",
    "trap @ EXIT",
    "trap 'echo @' EXIT",
    "alias x=@",
    "@",
    "@ a b",
    "\"@\"",
    "'@'",
    "./@",
    "x=1 @",
    "if @; then :; fi",
    "true && @",
    "true | @",
    "$(@)",
    "`@`",
    "exec @",
    "command @",
    "env @",
    "env A=b @",
    "sudo @",
    "xargs @",
    "nohup @",
    "time @",
    "find . -exec @ \\;",
    "@=1",
    "export @",
    "export @=1",
    "readonly @",
    "unset @",
    "read @",
    "read -r @",
    "getopts @ x",
    "printf -v @ x",
    "printf @",
    "printf \"@\" x",
    "declare @",
    "declare -i x=@",
    "declare -n x=@",
    "declare -a x=@",
    "local @",
    "mapfile @",
    "test -v @",
    "[ -v @ ]",
    "test @ x",
    "PS4=@ sh -x -c :",
    "BASH_ENV=@ bash -c :",
    "ENV=@ sh -i -c :",
    "PROMPT_COMMAND=@ bash -i -c :",
    "@() { :; }",
    "function @ { :; }",
    "x=@; echo $(( x ))",
    "x=@; (( x > 1 ))",
    "x=@; let y=x",
    "x=@; [[ $x -eq 1 ]]",
    "for i in @; do [[ $i -gt 1 ]]; done",
    "cat <<'EOF'\n@\nEOF",
    "cat <<@\nx\n",
    "echo # @",
    "echo $'@'",
    "echo \\@",
    "ssh @",
    "ssh host @",
    "ssh host 'echo @'",
    "ssh host <<EOF\necho @\nEOF",
    "ssh -o @ host",
    "python3 -c @",
    "python3 -c 'print(\"@\")'",
    "python3 <<EOF\nprint('@')\nEOF",
    "echo @ | python3",
    "perl -e 'print \"@\"'",
    "ruby -e 'puts \"@\"'",
    "node -e 'f(\"@\")'",
    "php -r 'echo \"@\";'",
    "psql -c \"select '@'\"",
    "psql <<EOF\nselect '@';\nEOF",
    "mysql -e \"select '@'\"",
    "sqlite3 x.db \"select '@'\"",
    "awk \"BEGIN { print \\\"@\\\" }\"",
    "awk @ /dev/null",
    "sed @ /dev/null",
    "sed \"s/a/@/\" /dev/null",
    "sed -e @ /dev/null",
    "make X=@",
    "make @",
];

/// Three steps of each script, one a shell; the line of a step is known by its order.
fn tree(scripts: &[(usize, &str)], shells: &[&str], body: &dyn Fn(usize, &str) -> String) -> String {
    let mut tree = String::from("steps:\n");
    for (n, script) in scripts {
        for (m, shell) in shells.iter().enumerate() {
            let _ = write!(
                tree,
                "  s{n}-{m}:\n    env: {{ W: \"{{{{ run.dir }}}}\" }}\n    shell: {shell}\n    run: {}",
                block(&body(*n * 10 + m, script))
            );
        }
    }
    tree
}

/// A script once for each payload, each in a shell of its own.
fn whole(n: usize, script: &str) -> String {
    let mut text = String::from("W=$PWD\n");
    for payload in (0..PAYLOADS.len()).filter(|payload| is_tried(n, *payload)) {
        let one = script.replace("OUT", &format!("\"$W/out/{n}.{payload}\""));
        let one = one.replace('@', &format!("{{{{ params.p{payload} }}}}"));
        let _ = writeln!(text, "(\n{one}\n);");
    }
    text
}

#[test]
fn values_in_scripts_arrive_and_never_run() {
    let all: Vec<(usize, &str)> = ARRIVES.iter().chain(ARRIVES_IN_BASH).copied().enumerate().collect();
    let (common, bash) = all.split_at(ARRIVES.len());
    let mut wrong = Vec::new();
    let mut tried = 0;
    for (part, shells) in [(common, &SHELLS[..]), (bash, &["bash"][..])] {
        let place = place(&tree(part, shells, &whole));
        place.run(&["run", "tree.yaml", "--params", "params.json", "--format", "json", "--durability", "normal"]).expect(0);
        is_unharmed(&place, "scripts");
        for (n, script) in part {
            for (m, shell) in shells.iter().enumerate() {
                for (payload, value) in PAYLOADS.iter().enumerate().filter(|(payload, _)| is_tried(n * 10 + m, *payload)) {
                    tried += 1;
                    let got = std::fs::read(place.path(&format!("out/{}.{payload}", n * 10 + m)));
                    let got = got.map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_else(|e| format!("({e})"));
                    if got != *value && got.strip_suffix('\n') != Some(value) {
                        wrong.push(format!("{shell} {script:?} with {value:?}: {got:?}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
    println!("injection, scripts: {tried} values in {} places arrived byte for byte, 0 ran", common.len() * SHELLS.len() + bash.len());
}

#[test]
fn values_are_refused_where_they_would_be_evaluated() {
    let scripts: Vec<(usize, &str)> = REFUSED.iter().copied().enumerate().collect();
    let mut open = Vec::new();
    for shell in SHELLS {
        let text = tree(&scripts, &[shell], &|_, script| script.replace('@', "{{ params.p0 }}"));
        let place = place(&text);
        let told = place.run(&["check", "tree.yaml", "--format", "json"]).expect(2);
        let document: Value = serde_json::from_str(&told.stdout).unwrap();
        let errors: Vec<u64> = document["diagnostics"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|d| d["severity"] == "error")
            .filter_map(|d| d["line"].as_u64())
            .collect();
        // From the line of a step's id up to the next one's.
        let whole = place.read("tree.yaml");
        let starts: Vec<u64> =
            (1..).zip(whole.lines()).filter(|(_, l)| l.starts_with("  s") && l.ends_with("-0:")).map(|(n, _)| n).collect();
        for (n, script) in &scripts {
            let end = starts.get(n + 1).copied().unwrap_or(u64::MAX);
            if !errors.iter().any(|line| (starts[*n]..end).contains(line)) {
                open.push(format!("{shell}: {script:?}"));
            }
        }
        is_unharmed(&place, "check");
    }
    assert!(open.is_empty(), "not refused:\n{}", open.join("\n"));
    println!("injection, refused: {} places in {} shells, each named by check", scripts.len(), SHELLS.len());
}
