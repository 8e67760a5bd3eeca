//! What git says when a remote cannot be reached or does not take a push, in words and with a cure.

use super::passing;
use super::reference::short;
use crate::command::Done;
use trees_runner::kind::{KindError, ReadCx};

const NOT_LET_IN: [&str; 8] = [
    "Authentication failed",
    "could not read Username",
    "could not read Password",
    "Permission denied",
    "returned error: 401",
    "returned error: 403",
    "access denied",
    "Host key verification failed",
];

const NOT_THERE: [&str; 3] = ["not found", "does not appear to be a git repository", "no such repository"];

/// A remote that did not answer as it should.
pub(super) fn unreached(cx: &ReadCx, what: &str, done: &Done) -> KindError {
    let said = if done.err.trim().is_empty() { &done.out } else { &done.err };
    let has = |parts: &[&str]| parts.iter().any(|part| said.to_lowercase().contains(&part.to_lowercase()));
    let error = KindError { transient: passing(said), ..KindError::new(format!("{what}: {}", cx.head(said, 600))) };
    if has(&NOT_LET_IN) {
        return KindError { transient: false, ..error }.help(
            "nothing is asked for at a terminal: give git a credential helper, an SSH key in its agent, or a URL with a token from `secrets`",
        );
    }
    if has(&NOT_THERE) {
        return error.help("is the address right, and may you see that repository? Some servers say the same of both");
    }
    error
}

/// A push that was not taken. `url` has no password.
pub(super) fn refused(cx: &ReadCx, url: &str, done: &Done) -> KindError {
    let Some((name, why)) = first(&done.out) else { return unreached(cx, &format!("cannot push to `{url}`"), done) };
    let (name, url) = (short(name), cx.head(url, 300));
    if is_stale(why, &done.err) {
        return KindError::transient(format!(
            "`{name}` of `{url}` is not what it was when it was looked at: somebody pushed meanwhile, and nothing was pushed over it"
        ));
    }
    if let Some(why) = why.strip_prefix("[remote rejected] ") {
        let words: Vec<&str> = done.err.lines().filter_map(|line| line.strip_prefix("remote:")).map(str::trim).collect();
        let words = cx.head(&words.join(" "), 600);
        let words = if words.is_empty() { words } else { format!("; it says: {words}") };
        return KindError::new(format!("`{url}` refused `{name}` {}{words}", cx.head(why, 200)));
    }
    KindError::new(format!("`{name}` cannot be pushed to `{url}`: {}", cx.head(why, 200)))
}

/// Somebody else was faster: before git sent anything, or while the remote was at it.
fn is_stale(why: &str, said: &str) -> bool {
    why.contains("stale info") || why.contains("incorrect old value") || said.contains("cannot lock ref") && said.contains("but expected")
}

/// Name and reason of the first refusal in what `git push --porcelain` prints; of those that only go along with another
/// one the other.
fn first(printed: &str) -> Option<(&str, &str)> {
    let refusals: Vec<(&str, &str)> = printed
        .lines()
        .filter_map(|line| line.strip_prefix("!\t")?.split_once('\t'))
        .map(|(names, why)| (names.rsplit_once(':').map_or(names, |(_, name)| name), why))
        .collect();
    refusals.iter().find(|(_, why)| !why.contains("atomic push fail")).or(refusals.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;

    fn check(out: &str, err: &str, expected: &str) {
        let done = Done { code: Some(1), out: out.into(), err: err.into() };
        let wrong = refused(&Bench::new().read(), "host/x", &done);
        let text = format!("{}{}", wrong.message, if wrong.transient { " (may pass)" } else { "" });
        assert!(text.starts_with(expected), "{expected}\n{text}");
    }

    #[test]
    fn each_refusal_has_its_words() {
        check(
            "To x\n!\tabc:refs/heads/main\t[remote rejected] (protected branch hook declined)\nDone\n",
            "remote: error: GH006: Protected branch update failed\nremote: \nremote: At least 1 review\nerror: failed to push\n",
            "`host/x` refused `main` (protected branch hook declined); it says: error: GH006: Protected branch update failed  At least 1 review",
        );
        check(
            "!\ta:refs/tags/v1\t[rejected] (atomic push failed)\n!\ta:refs/heads/main\t[rejected] (stale info)\n",
            "",
            "`main` of `host/x` is not what it was when it was looked at: somebody pushed meanwhile, and nothing was pushed over it (may pass)",
        );
        check(
            "!\ta:refs/heads/m\t[remote rejected] (failed to update ref)\n",
            "remote: error: cannot lock ref 'refs/heads/m': is at 1 but expected 2",
            "`m` of `host/x` is not what it was",
        );
        check("!\ta:refs/heads/m\t[rejected] (fetch first)\n", "", "`m` cannot be pushed to `host/x`: [rejected] (fetch first)");
        check("", "git@h: Permission denied (publickey).\nfatal: Could not read", "cannot push to `host/x`: git@h: Permission denied");
        check("", "x: errno=Connection refused", "cannot push to `host/x`: x: errno=Connection refused (may pass)");
    }

    #[test]
    fn who_is_not_let_in_is_told_what_to_do() {
        let cx = Bench::new().read();
        let said = |err: &str| unreached(&cx, "x", &Done { code: Some(128), out: String::new(), err: err.into() });
        assert!(said("fatal: Authentication failed for 'x'").help.unwrap().contains("credential helper"));
        assert!(said("remote: Repository not found.").help.unwrap().contains("is the address right"));
        assert_eq!(said("fatal: bad pack").help, None);
    }
}
