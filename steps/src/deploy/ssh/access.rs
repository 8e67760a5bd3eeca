//! How hosts are reached: what `ssh` in `with` says, in the words of the command `ssh`.

use super::destination::Destination;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use trees_runner::kind::{KindError, ReadCx};

/// How hosts are reached. What is not said here is as the user's ssh configuration says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// A configuration file in place of the user's.
    #[serde(default)]
    pub config: Option<String>,
    /// The file of a private key, offered alone. A key with a passphrase must be in an agent.
    #[serde(default)]
    pub identity: Option<String>,
    /// The keys of the hosts: a file, or its lines. Without, the user's own file.
    #[serde(default)]
    pub known_hosts: Option<String>,
    /// Options as in `ssh_config`, such as `ProxyJump: bastion`. Those that the step sets itself are refused.
    #[serde(default)]
    pub options: BTreeMap<String, Setting>,
}

/// The value of an option.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Setting {
    /// `yes` or `no`.
    Flag(bool),
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
}

impl Setting {
    fn text(&self) -> String {
        match self {
            Self::Flag(yes) => if *yes { "yes" } else { "no" }.into(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// Set whatever a configuration says: nothing prompts, no key is accepted that is not known, nothing but our
/// own command runs, and nothing is forwarded.
const FIXED: &[(&str, &str)] = &[
    ("BatchMode", "yes"),
    ("StrictHostKeyChecking", "yes"),
    ("NoHostAuthenticationForLocalhost", "no"),
    ("UpdateHostKeys", "no"),
    ("ForwardAgent", "no"),
    ("ForwardX11", "no"),
    ("ClearAllForwardings", "yes"),
    ("PermitLocalCommand", "no"),
    ("RemoteCommand", "none"),
    ("RequestTTY", "no"),
    ("EscapeChar", "none"),
    ("ControlPersist", "no"),
    ("LogLevel", "INFO"),
];

/// Refused in `options` beside [`FIXED`]: they have inputs of their own, or would break what stands there.
const OWN: &[&str] = &[
    "ControlMaster",
    "ControlPath",
    "UserKnownHostsFile",
    "GlobalKnownHostsFile",
    "KnownHostsCommand",
    "VerifyHostKeyDNS",
    "LocalCommand",
    "LocalForward",
    "RemoteForward",
    "DynamicForward",
    "SessionType",
    "StdinNull",
    "ForkAfterAuthentication",
    "Include",
    "Host",
    "Match",
];

/// Unless `options` say otherwise: a host that is away is noticed, and what is sent is deflated.
const USUAL: &[(&str, &str)] =
    &[("ConnectTimeout", "10"), ("ServerAliveInterval", "5"), ("ServerAliveCountMax", "3"), ("Compression", "yes")];

impl Access {
    /// What is wrong with it, a sentence each.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, value) in &self.options {
            let is_own = FIXED.iter().map(|(name, _)| name).chain(OWN).any(|own| own.eq_ignore_ascii_case(name));
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
                wrong.push(format!("ssh.options: `{name}` is no option of ssh_config"));
            } else if is_own {
                wrong.push(format!("ssh.options: `{name}` is set by this step"));
            }
            if value.text().contains(|c: char| c.is_control()) {
                wrong.push(format!("ssh.options: the value of `{name}` has a line break or another control character"));
            }
        }
        let key = self.known_hosts.as_deref().filter(|text| text.contains('\n') && lines(text).is_none());
        wrong.extend(key.map(|_| "ssh.known_hosts: neither a file nor lines of one: write `host ssh-ed25519 AAAA…`".into()));
        wrong
    }

    /// With absolute paths, as it is kept for an undo.
    pub fn absolute(&self, cx: &ReadCx) -> Self {
        let place = |path: &String| absolute(path, cx);
        let known_hosts = self.known_hosts.as_ref().map(|text| if lines(text).is_some() { text.clone() } else { absolute(text, cx) });
        Self { config: self.config.as_ref().map(place), identity: self.identity.as_ref().map(place), known_hosts, ..self.clone() }
    }

    /// The lines of known hosts, where they are given as such.
    pub fn known_lines(&self) -> Option<&str> {
        self.known_hosts.as_deref().and_then(lines)
    }

    /// Files that are named and not there.
    ///
    /// # Errors
    /// The first of them.
    pub fn check(&self) -> Result<(), KindError> {
        let known = self.known_hosts.as_ref().filter(|_| self.known_lines().is_none());
        for (field, path) in [("config", self.config.as_ref()), ("identity", self.identity.as_ref()), ("known_hosts", known)] {
            if let Some(path) = path.filter(|path| !Path::new(path).is_file()) {
                return Err(KindError::new(format!("ssh.{field}: there is no file `{path}`")));
            }
        }
        Ok(())
    }

    /// The arguments of `ssh` before the destination; `known` is the file of known hosts.
    pub fn arguments(&self, known: Option<&Path>) -> Vec<String> {
        let mut all = Vec::new();
        if let Some(config) = &self.config {
            all.extend(["-F".to_owned(), config.clone()]);
        }
        let mut option = |name: &str, value: &str| all.extend(["-o".to_owned(), format!("{name}={value}")]);
        FIXED.iter().for_each(|(name, value)| option(name, value));
        self.options.iter().for_each(|(name, value)| option(name, &value.text()));
        USUAL.iter().for_each(|(name, value)| option(name, value));
        if let Some(known) = known {
            option("UserKnownHostsFile", &format!("\"{}\"", known.display().to_string().replace('%', "%%")));
            option("GlobalKnownHostsFile", "/dev/null");
        }
        if let Some(identity) = &self.identity {
            option("IdentitiesOnly", "yes");
            all.extend(["-i".to_owned(), identity.clone()]);
        }
        all
    }
}

/// The arguments that say where to.
pub fn target(destination: &Destination) -> Vec<String> {
    let port = destination.port.map(|port| ["-p".to_owned(), port.to_string()]);
    port.into_iter().flatten().chain(["--".to_owned(), destination.target.clone()]).collect()
}

fn absolute(path: &str, cx: &ReadCx) -> String {
    let home = cx.env.iter().find(|(name, _)| name == "HOME").map(|(_, home)| home);
    match (path.strip_prefix("~/"), home) {
        (Some(below), Some(home)) => Path::new(home).join(below).display().to_string(),
        (Some(_), None) | (None, _) => cx.path(path).display().to_string(),
    }
}

/// A text whose lines are those of a file of known hosts: a name, a kind of key, a key.
fn lines(text: &str) -> Option<&str> {
    let is_key = |line: &str| {
        let mut words = line.split_whitespace().skip_while(|word| word.starts_with('@'));
        words.next().is_some() && words.next().is_some_and(is_kind) && words.next().is_some_and(|key| key.starts_with("AAAA"))
    };
    let mut written = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).peekable();
    (written.peek().is_some() && written.all(is_key)).then_some(text)
}

fn is_kind(word: &str) -> bool {
    word.starts_with("ssh-") || word.starts_with("ecdsa-") || word.starts_with("sk-")
}

#[cfg(test)]
mod tests {
    use super::{Access, lines};
    use serde_json::json;
    use std::path::Path;

    fn access(value: serde_json::Value) -> Access {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_guards_a_connection_cannot_be_taken_away() {
        for name in ["StrictHostKeyChecking", "batchmode", "UserKnownHostsFile", "ControlPath", "RemoteCommand"] {
            assert_eq!(access(json!({ "options": { name: "no" } })).wrong(), [format!("ssh.options: `{name}` is set by this step")]);
        }
        assert_eq!(access(json!({ "options": { "Proxy Jump": "x" } })).wrong().len(), 1);
        assert_eq!(access(json!({ "options": { "User": "x\nProxyCommand y" } })).wrong().len(), 1);
        assert_eq!(
            access(json!({ "options": { "ProxyJump": "bastion", "Port": 22, "Compression": false } })).wrong(),
            Vec::<String>::new()
        );
        let all = access(json!({ "options": { "Compression": false } })).arguments(Some(Path::new("/a b/100%"))).join(" ");
        assert!(all.starts_with("-o BatchMode=yes -o StrictHostKeyChecking=yes "), "{all}");
        assert!(all.find("Compression=no") < all.find("Compression=yes") && all.contains("UserKnownHostsFile=\"/a b/100%%\""), "{all}");
    }

    #[test]
    fn lines_of_known_hosts_are_no_path() {
        for text in ["web1 ssh-ed25519 AAAAC3", "# ours\n[::1]:22 ecdsa-sha2-nistp256 AAAAE2\n\n", "@cert-authority *.a ssh-rsa AAAAB3 x\n"]
        {
            assert!(lines(text).is_some(), "{text}");
        }
        for text in ["known_hosts", "/a b/known hosts", "", "web1 ssh-ed25519"] {
            assert!(lines(text).is_none(), "{text}");
        }
        assert_eq!(access(json!({ "known_hosts": "web1 ed25519 AAAA\nweb2" })).wrong().len(), 1);
    }
}
