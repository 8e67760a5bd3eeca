//! A repository elsewhere, and what in its URL opens it, a password or a token as the user: git is given the URL
//! without it, as command lines and a clone's configuration can be read by others, and asks for it through its
//! environment.

use percent_encoding::percent_decode_str;
use reqwest::Url;
use std::sync::Arc;
use trees_runner::kind::ReadCx;
use trees_runner::mask::Masker;

/// Where git looks for them.
const USER: &str = "TREES_GIT_USER";
const PASSWORD: &str = "TREES_GIT_PASSWORD";

/// What git asks: it says both, only when it is asked for them.
const HELPER: &str = r#"!f() { test "$1" != get || printf 'username=%s\npassword=%s\n' "$TREES_GIT_USER" "$TREES_GIT_PASSWORD"; }; f"#;

/// A URL without the password in it, and without a user that holds a secret. Another user stays: helpers go by it.
pub(super) fn without_password(text: &str, secrets: &Masker) -> String {
    let Ok(mut url) = Url::parse(text) else { return text.to_owned() };
    let secret_user = is_web(&url) && is_secret(url.username(), secrets);
    if url.password().is_none() && !secret_user {
        return text.to_owned();
    }
    let _ = url.set_password(None);
    if secret_user {
        let _ = url.set_username("");
    }
    url.to_string()
}

fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

/// Whether a part of a URL, as it stands there, holds a secret.
fn is_secret(part: &str, secrets: &Masker) -> bool {
    secrets.finds(part) || secrets.finds_bytes(&percent_decode_str(part).collect::<Vec<u8>>())
}

/// What a git that speaks with this remote may use: of what was taken out of the URL it hears for that host alone,
/// and no other helper is asked, nor told to keep it.
pub(super) fn reaching(url: &str, cx: &ReadCx) -> ReadCx {
    let Some((user, password, host)) = parts(url, &cx.mask) else { return cx.clone() };
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

/// User, password and the scheme with the host of a URL that has a password or a secret for its user. A token that
/// stands alone goes with an empty password, as git sends it.
fn parts(url: &str, secrets: &Masker) -> Option<(String, String, String)> {
    let url = Url::parse(url).ok().filter(is_web)?;
    if url.password().is_none() && !is_secret(url.username(), secrets) {
        return None;
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned());
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let password = decoded(url.password().unwrap_or_default())?;
    Some((decoded(url.username())?, password, format!("{}://{}{port}", url.scheme(), url.host_str()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_gets_has_no_password_and_no_token() {
        let secrets = Masker::new(["to+ken/1"]);
        let without = |text: &str| without_password(text, &secrets);
        assert_eq!(without("https://me:pass@host/x.git"), "https://me@host/x.git");
        for token in ["to+ken%2F1", "to%2Bken%2f1", "x-to+ken%2F1", "to+ken%2F1:x-oauth", "to+ken%2F1:"] {
            assert_eq!(without(&format!("https://{token}@host:8080/x.git")), "https://host:8080/x.git", "{token}");
        }
        for same in ["https://host/x", "https://me@host/x", "git@host:x", "ssh://me@host/x", "../folder"] {
            assert_eq!(without(same), same);
        }
        let parts = |url: &str| parts(url, &secrets);
        let wanted = |user: &str, password: &str| Some((user.to_owned(), password.to_owned(), "http://host:8080".to_owned()));
        assert_eq!(parts("http://me:p%40ss@host:8080/x.git"), wanted("me", "p@ss"));
        assert_eq!(parts("http://to+ken%2F1@host:8080/x.git"), wanted("to+ken/1", ""));
        assert_eq!(parts("http://to+ken%2F1:x-oauth@host:8080/x.git"), wanted("to+ken/1", "x-oauth"));
        assert_eq!(parts("http://me@host:8080/x.git"), None);
        assert_eq!(parts("ssh://me:pass@host/x"), None);
    }
}
