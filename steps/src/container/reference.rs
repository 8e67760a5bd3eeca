//! The name of an image: `registry/name:tag@digest`, or an image's own id.

/// A name of an image in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference<'a> {
    /// With the registry, without tag and digest.
    pub name: &'a str,
    /// Behind the colon.
    pub tag: Option<&'a str>,
    /// Behind the `@`, or the id of an image: `sha256:…`.
    pub digest: Option<&'a str>,
}

impl<'a> Reference<'a> {
    /// Reads one; `None` where it is none.
    pub fn read(text: &'a str) -> Option<Self> {
        if is_digest(text) {
            return Some(Self { name: "", tag: None, digest: Some(text) });
        }
        let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            Some(_) | None => (rest, None),
        };
        let plain = |text: &str, more: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
        let fine = plain(name, "._-/:") && tag.is_none_or(|tag| plain(tag, "._-")) && digest.is_none_or(is_digest);
        (fine && !name.ends_with('/')).then_some(Self { name, tag, digest })
    }

    /// It will mean the same image tomorrow.
    pub fn is_pinned(&self) -> bool {
        self.digest.is_some() || self.tag.is_some_and(|tag| tag != "latest")
    }

    /// A word for it in the name of a container: the tag, or the beginning of the digest.
    pub fn release(&self) -> String {
        let short = |digest: &str| digest.chars().skip("sha256:".len()).take(12).collect();
        self.tag.map(str::to_owned).or_else(|| self.digest.map(short)).unwrap_or_else(|| "latest".into())
    }
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::Reference;

    #[test]
    fn a_name_is_taken_apart() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let with_digest = format!("a:1@{digest}");
        for (text, expected, pinned, release) in [
            ("app", Some(("app", None, None)), false, "latest"),
            ("app:latest", Some(("app", Some("latest"), None)), false, "latest"),
            ("host:5000/a/b", Some(("host:5000/a/b", None, None)), false, "latest"),
            ("host:5000/a/b:1.2", Some(("host:5000/a/b", Some("1.2"), None)), true, "1.2"),
            (with_digest.as_str(), Some(("a", Some("1"), Some(digest.as_str()))), true, "1"),
            (digest.as_str(), Some(("", None, Some(digest.as_str()))), true, "abababababab"),
            ("", None, false, ""),
            ("a b", None, false, ""),
            ("a:", None, false, ""),
            ("a@sha256:12", None, false, ""),
            ("a/", None, false, ""),
        ] {
            let found = Reference::read(text);
            assert_eq!(found.as_ref().map(|r| (r.name, r.tag, r.digest)), expected, "{text}");
            if let Some(found) = found {
                assert_eq!((found.is_pinned(), found.release().as_str()), (pinned, release), "{text}");
            }
        }
    }
}
