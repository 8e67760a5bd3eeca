//! A repository elsewhere, and the password in its URL: git is given the URL without it, as command lines and a
//! clone's configuration can be read by others, and asks for it through its environment.

use percent_encoding::percent_decode_str;
use reqwest::Url;
use std::sync::Arc;
use trees_runner::kind::ReadCx;

/// Where git looks for the password.
const USER: &str = "TREES_GIT_USER";
const PASSWORD: &str = "TREES_GIT_PASSWORD";

/// What git asks: it says both, only when it is asked for them.
const HELPER: &str = r#"!f() { test "$1" != get || printf 'username=%s\npassword=%s\n' "$TREES_GIT_USER" "$TREES_GIT_PASSWORD"; }; f"#;

/// A URL without the password in it.
pub(super) fn without_password(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) if url.password().is_some() => {
            let _ = url.set_password(None);
            url.to_string()
        }
        Ok(_) | Err(_) => text.to_owned(),
    }
}

/// What a git that speaks with this remote may use: of the password in the URL it hears for that host alone, before
/// any other helper.
pub(super) fn reaching(url: &str, cx: &ReadCx) -> ReadCx {
    let Some((user, password, host)) = parts(url) else { return cx.clone() };
    let mut env = Vec::clone(&cx.env);
    let count = env.iter().find(|(name, _)| name == "GIT_CONFIG_COUNT").and_then(|(_, count)| count.parse().ok()).unwrap_or(0_usize);
    let key = format!("credential.{host}.helper");
    // An empty one forgets all before it.
    for (n, value) in ["", HELPER].into_iter().enumerate() {
        env.push((format!("GIT_CONFIG_KEY_{}", count + n), key.clone()));
        env.push((format!("GIT_CONFIG_VALUE_{}", count + n), value.into()));
    }
    env.retain(|(name, _)| name != "GIT_CONFIG_COUNT");
    env.extend([("GIT_CONFIG_COUNT".into(), (count + 2).to_string()), (USER.into(), user), (PASSWORD.into(), password)]);
    ReadCx { env: Arc::new(env), ..cx.clone() }
}

/// User, password and the scheme with the host of a URL that has a password.
fn parts(url: &str) -> Option<(String, String, String)> {
    let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned());
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some((decoded(url.username())?, decoded(url.password()?)?, format!("{}://{}{port}", url.scheme(), url.host_str()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_gets_has_no_password() {
        assert_eq!(without_password("https://me:pass@host/x.git"), "https://me@host/x.git");
        for same in ["https://host/x", "git@host:x", "../folder"] {
            assert_eq!(without_password(same), same);
        }
        let found = parts("http://me:p%40ss@host:8080/x.git").unwrap();
        assert_eq!(found, ("me".into(), "p@ss".into(), "http://host:8080".into()));
        assert_eq!(parts("ssh://me:pass@host/x"), None);
    }
}
