//! The texts that run on a host. They are fixed: a value is an argument of them, quoted by [`quoted`],
//! or comes on standard input.

/// What a host is asked to do.
const REMOTE: &str = concat!(include_str!("identity.sh"), include_str!("remote.sh"));

/// What keeps an instance running there; a file of each instance.
pub const SUPERVISE: &str = concat!(include_str!("identity.sh"), include_str!("supervise.sh"));

/// The command line of a verb, for the login shell of the host.
pub fn command(verb: &str, root: &str, arguments: &[&str]) -> String {
    let words = [verb, root].into_iter().chain(arguments.iter().copied()).map(quoted);
    format!("exec sh -c {} trees {}", quoted(REMOTE), words.collect::<Vec<_>>().join(" "))
}

/// One word for a shell, whatever it holds: `sh` and its kin, and `fish`, which reads a backslash in single
/// quotes otherwise than they do.
pub fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\0").replace('\'', "'\"'\"'").replace('\0', "'\"\\\\\"'"))
}

#[cfg(test)]
mod tests {
    use super::{SUPERVISE, command, quoted};
    use std::process::{Command, Stdio};

    pub const HOSTILE: &[&str] = &[
        "",
        "plain",
        "two words",
        "it's",
        "\"double\"",
        "back\\slash\\",
        "\\'\\\\''",
        "$(touch evil) `touch evil` ${HOME} $$",
        "a\nb\n\n",
        "\t \r",
        "; touch evil #",
        "*?[a-z]{a,b}~",
        "-n",
        "ünïcödé €\u{81}\u{88}",
        "!!",
        "%s\\n%d",
        "\u{1}\u{7f}",
    ];

    fn said(shell: &str, line: &str, folder: &std::path::Path) -> Option<Vec<u8>> {
        let mut words = shell.split(' ');
        let mut command = Command::new(words.next()?);
        command.args(words).args(["-c", line]).current_dir(folder).stdin(Stdio::null());
        Some(command.output().ok()?.stdout)
    }

    #[test]
    fn a_value_is_one_word_in_every_shell() {
        let folder = tempfile::tempdir().unwrap();
        let words = HOSTILE.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(" ");
        let expected: Vec<u8> = HOSTILE.iter().flat_map(|value| [value.as_bytes(), b"\0"].concat()).collect();
        for shell in ["sh", "dash", "bash", "zsh", "ksh", "busybox sh", "fish"] {
            if let Some(got) = said(shell, &format!("exec printf '%s\\0' {words}"), folder.path()) {
                assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&expected), "{shell}");
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing of it was run");
    }

    #[test]
    fn the_texts_are_read_by_every_shell() {
        let folder = tempfile::tempdir().unwrap();
        for shell in ["sh", "dash", "bash", "zsh", "ksh", "busybox sh"] {
            let Some(got) = said(shell, &command("look", "/nowhere/it's", &[]), folder.path()) else { continue };
            let text = String::from_utf8_lossy(&got).into_owned();
            assert!(text.starts_with("trees:begin\nroot /nowhere/it's\n") && text.ends_with("\ntrees:end\n"), "{shell}: {text}");
        }
        assert!(SUPERVISE.contains("launch()"));
    }
}
