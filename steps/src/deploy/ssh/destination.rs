//! Where a host is: `user@host`, `host:port`, or a name of the user's ssh configuration.

/// One of `hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// As written; how the host is called everywhere.
    pub name: String,
    /// What `ssh` is given.
    pub target: String,
    /// The port, where one is written.
    pub port: Option<u16>,
}

impl Destination {
    /// Reads one.
    ///
    /// # Errors
    /// When it is none, or something that `ssh` would take for an option.
    pub fn read(name: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("hosts: `{name}` {why}"));
        if name.is_empty() {
            return Err("hosts: one is empty".into());
        }
        let strange = |c: char| c.is_control() || c.is_whitespace() || "'\"`$;&|<>(){}\\*?#!,=".contains(c);
        if name.contains(strange) {
            return wrong("is no host: write `user@host`, `host:port` or a name of your ssh configuration");
        }
        let (target, port) = split(name);
        let port = match port.map(|port| (port.parse::<u16>(), port)) {
            None => None,
            Some((Ok(port), _)) if port > 0 => Some(port),
            Some(_) => return wrong("has no port after the colon: write a number from 1 to 65535"),
        };
        let (user, host) = target.rsplit_once('@').map_or((None, target.as_str()), |(user, host)| (Some(user), host));
        if host.is_empty() || host.starts_with('-') || user.is_some_and(|user| user.is_empty() || user.starts_with('-')) {
            return wrong("is no host: write `user@host`, `host:port` or a name of your ssh configuration");
        }
        Ok(Self { name: name.into(), target, port })
    }

    /// The host without its user.
    pub fn host(&self) -> &str {
        self.target.rsplit_once('@').map_or(&self.target, |(_, host)| host)
    }
}

/// Target and port. A colon in an address of version 6 that stands without brackets begins no port.
fn split(name: &str) -> (String, Option<&str>) {
    let (user, host) = name.rsplit_once('@').map_or(("", name), |(user, host)| (&name[..=user.len()], host));
    if let Some((address, rest)) = host.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        return (format!("{user}{address}"), rest.strip_prefix(':').or((!rest.is_empty()).then_some(rest)));
    }
    match host.split_once(':') {
        Some((plain, port)) if !port.contains(':') => (format!("{user}{plain}"), Some(port)),
        Some(_) | None => (name.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::Destination;

    #[test]
    fn hosts_are_read_and_options_are_none() {
        for (name, target, port) in [
            ("web1", "web1", None),
            ("deploy@web1", "deploy@web1", None),
            ("web1:2222", "web1", Some(2222)),
            ("deploy@10.0.0.7:22", "deploy@10.0.0.7", Some(22)),
            ("::1", "::1", None),
            ("me@[fe80::1]:2022", "me@fe80::1", Some(2022)),
            ("[::1]", "::1", None),
            ("me@corp@web1", "me@corp@web1", None),
        ] {
            assert_eq!(Destination::read(name), Ok(Destination { name: name.into(), target: target.into(), port }), "{name}");
        }
        for name in ["", "-oProxyCommand=x", "me@-x", "a b", "a\nb", "$(x)", "web1:http", "web1:0", "@web1", "me@", "[::1]x", "a;b"] {
            assert!(Destination::read(name).is_err(), "{name}");
        }
    }
}
