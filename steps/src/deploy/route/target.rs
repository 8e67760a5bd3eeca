//! Where a route leads: addresses, or addresses by colour of which one is active.

use crate::number::Port;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One address, some that share the requests, or colours of which one is active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum To {
    /// The same for all releases.
    Plain(Addresses),
    /// By colour.
    Colours(BTreeMap<String, Addresses>),
}

/// One address or some: `host:port`, `http://host:port`, `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Addresses {
    /// One.
    One(String),
    /// Some, which share the requests.
    Some(Vec<String>),
}

/// A port, or an address and a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Listen {
    /// On every IPv4 address.
    Port(Port),
    /// `address:port`.
    Address(String),
}

/// One or some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Listens {
    /// One.
    One(Listen),
    /// Some.
    Some(Vec<Listen>),
}

impl Addresses {
    /// As nginx takes them.
    pub fn list(&self) -> Vec<String> {
        let bare = |text: &String| text.strip_prefix("http://").map_or(text.as_str(), |rest| rest.trim_end_matches('/')).to_owned();
        match self {
            Self::One(one) => vec![bare(one)],
            Self::Some(some) => some.iter().map(bare).collect(),
        }
    }

    fn wrong(&self, field: &str) -> Vec<String> {
        let list = self.list();
        let bad = |address: &&String| !is_address(address);
        let mut wrong: Vec<String> = list
            .iter()
            .filter(bad)
            .map(|a| format!("{field}: `{a}` is no address: write host:port, http://host:port or unix:/path"))
            .collect();
        if list.is_empty() {
            wrong.push(format!("{field}: it names no address"));
        }
        wrong
    }
}

impl To {
    /// What is wrong with it.
    pub fn wrong(&self, active: &str) -> Vec<String> {
        match self {
            Self::Plain(_) if !active.is_empty() => vec!["active: it needs colours: write `to: { blue: …, green: … }`".into()],
            Self::Plain(addresses) => addresses.wrong("to"),
            Self::Colours(colours) if colours.is_empty() => vec!["to: it names no colour".into()],
            Self::Colours(colours) => {
                let mut wrong: Vec<String> = colours.iter().flat_map(|(name, addresses)| addresses.wrong(&format!("to.{name}"))).collect();
                if !active.is_empty() && !colours.contains_key(active) {
                    let names: Vec<&str> = colours.keys().map(String::as_str).collect();
                    wrong.push(format!("active: `{active}` is none of {}", names.join(", ")));
                }
                wrong
            }
        }
    }

    /// The colour that serves: the one asked for, else the one that serves already, else the first.
    pub fn active(&self, asked: &str, serving: Option<&str>) -> String {
        let Self::Colours(colours) = self else { return String::new() };
        let known = |name: &&str| colours.contains_key(*name);
        let kept = || serving.filter(known).or_else(|| colours.keys().next().map(String::as_str));
        Some(asked).filter(|asked| !asked.is_empty()).or_else(kept).unwrap_or_default().to_owned()
    }

    /// The colour after this one, which the next release takes; empty where there is no other.
    pub fn idle(&self, active: &str) -> String {
        let Self::Colours(colours) = self else { return String::new() };
        let after = colours.keys().skip_while(|name| *name != active).skip(1);
        after.chain(colours.keys()).find(|name| *name != active).cloned().unwrap_or_default()
    }

    /// The addresses of a colour, or all where there are no colours.
    pub fn addresses(&self, colour: &str) -> Vec<String> {
        match self {
            Self::Plain(addresses) => addresses.list(),
            Self::Colours(colours) => colours.get(colour).map(Addresses::list).unwrap_or_default(),
        }
    }
}

impl Listens {
    /// As nginx takes them.
    pub fn list(&self) -> Vec<String> {
        let one = |listen: &Listen| match listen {
            Listen::Port(port) => port.to_string(),
            Listen::Address(address) => address.clone(),
        };
        match self {
            Self::One(listen) => vec![one(listen)],
            Self::Some(some) => some.iter().map(one).collect(),
        }
    }

    /// What is wrong with it.
    pub fn wrong(&self) -> Vec<String> {
        let list = self.list();
        let bad = |text: &&String| text.parse::<u16>().is_err() && (!is_address(text) || text.starts_with("unix:"));
        let mut wrong: Vec<String> =
            list.iter().filter(bad).map(|l| format!("listen: `{l}` is no place to listen: write a port or address:port")).collect();
        if list.is_empty() {
            wrong.push("listen: it names no port".into());
        }
        wrong
    }
}

/// `host:port`, `[v6]:port` or `unix:/path`, with nothing in it that nginx would read otherwise.
fn is_address(text: &str) -> bool {
    let plain = |text: &str, more: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    if let Some(path) = text.strip_prefix("unix:") {
        return path.starts_with('/') && plain(path, "/._-+@%,=");
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host == "*" || plain(host, ".-_"),
    };
    host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// The port of an address; 0 where it has none.
pub fn port(address: &str) -> u16 {
    address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Listens, To, is_address, port};
    use serde_json::{Value, json};

    fn to(value: Value) -> To {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn an_address_is_one_that_nginx_reads_as_one() {
        for (text, expected) in [
            ("127.0.0.1:80", true),
            ("app_1.local:8080", true),
            ("[::1]:80", true),
            ("unix:/run/app.sock", true),
            ("127.0.0.1", false),
            ("127.0.0.1:0", false),
            ("[x]:80", false),
            ("a b:80", false),
            ("a:80; evil", false),
            ("unix:run", false),
            ("unix:/a b", false),
            (":80", false),
        ] {
            assert_eq!(is_address(text), expected, "{text}");
        }
        assert_eq!((port("127.0.0.1:81"), port("unix:/x")), (81, 0));
    }

    #[test]
    fn colours_take_turns() {
        let two = to(json!({ "blue": "a:1", "green": ["http://b:2/", "c:3"] }));
        assert_eq!((two.active("", None).as_str(), two.active("", Some("green")).as_str()), ("blue", "green"));
        assert_eq!((two.active("", Some("gone")).as_str(), two.active("green", Some("blue")).as_str()), ("blue", "green"));
        assert_eq!((two.idle("blue").as_str(), two.idle("green").as_str()), ("green", "blue"));
        assert_eq!(two.addresses("green"), ["b:2", "c:3"]);
        let one = to(json!({ "blue": "a:1" }));
        assert_eq!(one.idle("blue"), "");
        let plain = to(json!("a:1"));
        assert_eq!((plain.active("", Some("blue")).as_str(), plain.idle("").as_str()), ("", ""));
        assert_eq!(plain.addresses(""), ["a:1"]);
    }

    #[test]
    fn what_leads_nowhere_is_named() {
        for (value, active, expected) in [
            (json!("a"), "", "to: `a` is no address"),
            (json!([]), "", "to: it names no address"),
            (json!({}), "", "to: it names no colour"),
            (json!({ "blue": "a" }), "", "to.blue: `a` is no address"),
            (json!({ "blue": "a:1" }), "red", "active: `red` is none of blue"),
            (json!("a:1"), "red", "active: it needs colours"),
        ] {
            assert!(to(value).wrong(active)[0].starts_with(expected), "{expected}");
        }
        assert!(to(json!({ "blue": "a:1" })).wrong("blue").is_empty());
        for (value, fine) in
            [(json!(80), true), (json!("80"), true), (json!(["[::]:80", "*:1"]), true), (json!("http"), false), (json!([]), false)]
        {
            let listens: Listens = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(listens.wrong().is_empty(), fine, "{value}");
        }
    }
}
