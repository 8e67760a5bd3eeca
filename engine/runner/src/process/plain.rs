//! Scripts that are one plain command: words that a shell would take as they stand. Such a command needs no shell,
//! whose own start costs more than that of most commands.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

/// The words of a script that is one command without anything that a shell expands, joins, redirects or does itself; `env`
/// is what it will have.
pub(super) fn words(script: &str, env: &[(OsString, OsString)]) -> Option<Vec<OsString>> {
    let line = script.trim_matches([' ', '\t', '\n']);
    let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
    let is_plain = is_command(words.first()?) && words.iter().all(|word| word.bytes().all(stands_for_itself));
    let is_changed = env.iter().any(|(name, value)| changes_shells(name) || (name == "PATH" && value.as_bytes().contains(&b'~')));
    (is_plain && !is_changed).then(|| words.into_iter().map(OsString::from).collect())
}

/// Bytes that mean nothing to a shell, wherever they stand in an argument.
fn stands_for_itself(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_./:,@%+=-".contains(&byte)
}

/// Whether the first word names a program: neither an assignment nor a job, and no word of the shell's own.
fn is_command(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_'))
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./+-".contains(&byte))
        && OWN.binary_search(&word).is_err()
}

/// Variables that make a shell run something else first: the start-up files of sh and bash, functions that bash takes
/// over; names of files and folders that they would look at. (In `PATH` bash takes `~` for a home.)
fn changes_shells(name: &OsStr) -> bool {
    matches!(name.as_bytes(), b"PWD" | b"ENV" | b"BASH_ENV" | b"SHELLOPTS" | b"BASHOPTS" | b"EXECIGNORE")
        || name.as_bytes().starts_with(b"BASH_FUNC_")
}

/// What sh, dash or bash do themselves, and their reserved words; sorted. From their manuals (bash 5.2, dash 0.5.12) and
/// <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html>.
const OWN: &[&str] = &[
    ".",
    "alias",
    "bg",
    "bind",
    "break",
    "builtin",
    "caller",
    "case",
    "cd",
    "chdir",
    "command",
    "compgen",
    "complete",
    "compopt",
    "continue",
    "coproc",
    "declare",
    "dirs",
    "disown",
    "do",
    "done",
    "echo",
    "elif",
    "else",
    "enable",
    "esac",
    "eval",
    "exec",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "fi",
    "for",
    "function",
    "getopts",
    "hash",
    "help",
    "history",
    "if",
    "in",
    "jobs",
    "kill",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "printf",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "return",
    "select",
    "set",
    "shift",
    "shopt",
    "source",
    "suspend",
    "test",
    "then",
    "time",
    "times",
    "trap",
    "true",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "until",
    "wait",
    "while",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(script: &str) -> bool {
        words(script, &[]).is_some()
    }

    #[test]
    fn the_words_of_shells_are_in_order() {
        assert!(OWN.is_sorted());
    }

    #[test]
    fn what_means_nothing_to_a_shell_is_plain() {
        assert_eq!(words("  cargo build\t--release \n", &[]).unwrap(), ["cargo", "build", "--release"]);
        for script in ["make", "./configure --prefix=/opt/x", "/bin/ls -l a.b", "git log --format=%H", "7z x a.7z"] {
            assert!(plain(script), "{script}");
        }
    }

    #[test]
    fn all_else_is_for_a_shell() {
        let signs = "\"'`$\\*?[]{}()<>|&;#~!^\n\r";
        assert!(signs.chars().all(|sign| !plain(&format!("make a{sign}b"))));
        for script in ["", "  ", "echo a", "cd x", "A=1 make", "if", ":", "-x", "%1", "exec make", ". ./x", "make\nmake", "mäke", "a\0b"] {
            assert!(!plain(script), "{script:?}");
        }
    }

    #[test]
    fn what_changes_shells_needs_one() {
        for name in ["PWD", "ENV", "BASH_ENV", "BASH_FUNC_make%%"] {
            assert_eq!(words("make", &[(name.into(), "x".into())]), None, "{name}");
        }
        assert_eq!(words("make", &[("PATH".into(), "/bin:~/bin".into())]), None);
    }

    /// Bash has more of them than sh has.
    #[test]
    fn nothing_that_bash_does_itself_is_left_out() {
        let listed = |script: &str| std::process::Command::new("bash").args(["-c", script]).output().map(|o| o.stdout).unwrap_or_default();
        let names = String::from_utf8(listed("compgen -bk")).unwrap();
        let missing: Vec<&str> = names.lines().filter(|name| is_command(name)).collect();
        assert!(names.lines().count() > 50 && missing.is_empty(), "{missing:?}");
    }
}
