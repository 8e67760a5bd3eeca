//! Names of branches and tags, as git takes them.

/// What is wrong with it as a name, in a sentence.
pub(super) fn wrong_name(field: &str, name: &str) -> Option<String> {
    let bad_part = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    let bad_char = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let bad = name.starts_with('-')
        || name.ends_with('.')
        || name == "@"
        || name.contains("..")
        || name.contains("@{")
        || name.contains(bad_char)
        || name.split('/').any(bad_part);
    bad.then(|| format!("{field}: `{}` is no name that git takes", name.escape_debug()))
}

/// What is wrong with it as anything else that git gets as an argument.
pub(super) fn wrong_argument(field: &str, value: &str) -> Option<String> {
    let bad = value.is_empty() || value.starts_with('-') || value.contains(|c: char| c.is_control());
    bad.then(|| format!("{field}: `{}` cannot stand here", value.escape_debug()))
}

/// The full name of a branch.
pub(super) fn branch(name: &str) -> String {
    format!("refs/heads/{name}")
}

/// The full name of a tag.
pub(super) fn tag(name: &str) -> String {
    format!("refs/tags/{name}")
}

/// The name as people say it.
pub(super) fn short(full: &str) -> &str {
    full.trim_start_matches("refs/heads/").trim_start_matches("refs/tags/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn what_git_takes_is_taken_and_nothing_else() {
        for name in [
            "main",
            "v1.2.0",
            "fix/a-b_c",
            "ä",
            "a@b",
            "-x",
            "",
            "a..b",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "a\n",
            ".a",
            "a/.b",
            "a.lock",
            "a.lock/b",
            "a/",
            "/a",
            "a//b",
            "a.",
            "@",
            "a@{1}",
        ] {
            let taken = Command::new("git").args(["check-ref-format", &tag(name)]).status().unwrap().success();
            let refused = wrong_name("name", name).is_some();
            // git itself refuses a dash at the start and a lone `@` only where it makes a branch.
            assert_eq!(refused, !taken || name.starts_with('-') || name == "@", "{name:?}");
        }
        assert_eq!(wrong_argument("branch", "a\nb").unwrap(), "branch: `a\\nb` cannot stand here");
        assert_eq!((short("refs/heads/a/b"), short("refs/tags/v1")), ("a/b", "v1"));
    }
}
