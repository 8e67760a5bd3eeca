//! What a container shall be: what the engine is told, and what an existing one differs in.

use super::image::{Image, texts};
use super::instance::Container;
use super::run::With;
use super::{ENV, KEY, NAME, OWNER, PORTS, RESTART, change, mark};
use crate::change::difference;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use trees_core::event::{Json, Object};
use trees_runner::kind::{Change, ReadCx};

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// In the container.
    pub container: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The address on this machine.
    pub ip: String,
    /// The port on this machine; none: one that the engine picks.
    pub host: Option<u16>,
}

impl Publish {
    /// Reads `80`, `8080:80`, `0.0.0.0:8080:80`, each with `/udp` behind it if need be.
    pub fn read(text: &str) -> Option<Self> {
        let (rest, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (rest, container) = rest.rsplit_once(':').map_or((None, rest), |(rest, port)| (Some(rest), port));
        let (ip, host) = match rest {
            None => ("127.0.0.1", None),
            Some(rest) => rest.rsplit_once(':').map_or(("127.0.0.1", Some(rest)), |(ip, host)| (ip, Some(host))),
        };
        let ip = ip.trim_start_matches('[').trim_end_matches(']');
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let host = match host.filter(|host| !host.is_empty()) {
            Some(host) => Some(port(host)?),
            None => None,
        };
        let fine = matches!(protocol, "tcp" | "udp") && ip.parse::<std::net::IpAddr>().is_ok();
        Some(Self { container: port(container)?, protocol: protocol.into(), ip: ip.into(), host }).filter(|_| fine)
    }

    fn key(&self) -> String {
        format!("{}/{}", self.container, self.protocol)
    }
}

/// A restart policy: its name and how often.
pub fn restart(text: &str) -> Option<(&str, u32)> {
    match text.split_once(':') {
        Some(("on-failure", times)) => Some(("on-failure", times.parse().ok()?)),
        Some(_) => None,
        None => matches!(text, "no" | "always" | "unless-stopped" | "on-failure").then_some((text, 0)),
    }
}

/// The policy as the engine takes it.
pub fn policy(text: &str) -> Json {
    let (name, times) = restart(text).unwrap_or(("no", 0));
    json!({ "Name": name, "MaximumRetryCount": times })
}

/// Folders and volumes as the engine takes them: a folder of this machine by its whole path.
pub fn binds(with: &With, cx: &ReadCx) -> Vec<String> {
    let one = |text: &String| match text.split_once(':') {
        Some((source, rest)) if source.starts_with('.') => {
            format!("{}:{rest}", cx.path(source).components().collect::<std::path::PathBuf>().display())
        }
        Some(_) | None => text.clone(),
    };
    let mut all: Vec<String> = with.volumes.iter().map(one).collect();
    all.sort();
    all
}

/// The body of the request that makes the container.
pub fn body(with: &With, key: &str, cx: &ReadCx) -> Json {
    let mut labels: BTreeMap<&str, &str> = with.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mark = mark(cx);
    let names = with.env.keys().map(String::as_str).collect::<Vec<_>>().join(",");
    labels.extend([(OWNER, mark.as_str()), (NAME, &with.name), (KEY, key), (RESTART, &with.restart)]);
    let ports = with.ports.join(" ");
    labels.extend([(ENV, names.as_str()), (PORTS, ports.as_str())]);
    let env: Vec<String> = with.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let published: Vec<Publish> = with.ports.iter().filter_map(|text| Publish::read(text)).collect();
    let exposed: Object = published.iter().map(|publish| (publish.key(), json!({}))).collect();
    let mut body = json!({
        "Image": with.image,
        "Env": env,
        "Labels": labels,
        "ExposedPorts": exposed,
        "StopTimeout": with.drain.0.as_secs(),
        "HostConfig": {
            "Binds": binds(with, cx),
            "PortBindings": bindings(&published),
            "RestartPolicy": policy(&with.restart),
        },
    });
    if let Some(command) = &with.command {
        body["Cmd"] = json!(command);
    }
    if let Some(network) = &with.network {
        body["HostConfig"]["NetworkMode"] = json!(network);
        if !matches!(network.as_str(), "host" | "none" | "bridge" | "default") {
            body["NetworkingConfig"] = json!({ "EndpointsConfig": { network: { "Aliases": [with.name] } } });
        }
    }
    body
}

fn bindings(published: &[Publish]) -> Object {
    let mut all = Object::new();
    for publish in published {
        let host = publish.host.map_or_else(String::new, |port| port.to_string());
        let one = json!({ "HostIp": publish.ip, "HostPort": host });
        if let Json::Array(list) = all.entry(publish.key()).or_insert_with(|| json!([])) {
            list.push(one);
        }
    }
    all
}

/// What differs; of the environment only the names, since the values may be secret, and elsewhere no value that a
/// secret takes the place of.
pub fn differences(with: &With, there: &Container, image: Option<&Image>, cx: &ReadCx) -> Vec<Change> {
    let (config, host) = (&there.json["Config"], &there.json["HostConfig"]);
    let mut changes = Vec::new();
    let mut compare = |field: &str, old: Json, new: Json| changes.extend(difference(field, old, new, &cx.mask));
    compare("image", there.json["Image"].clone(), image.map_or_else(|| json!(with.image), |image| json!(image.id)));
    let command = with.command.clone().unwrap_or_else(|| image.map(|image| image.command.clone()).unwrap_or_default());
    compare("command", json!(texts(&config["Cmd"])), json!(command));
    let ports: Vec<Publish> = with.ports.iter().filter_map(|text| Publish::read(text)).collect();
    let ports = bindings(&ports);
    let told = with.ports.join(" ");
    if there.label(PORTS) == told {
        compare("ports", published(&host["PortBindings"], &ports), Json::Object(ports.clone()));
    } else {
        compare("ports", json!(there.label(PORTS)), json!(told));
    }
    compare("volumes", json!(mounted(&texts(&host["Binds"]))), json!(mounted(&binds(with, cx))));
    compare("network", json!(network(host["NetworkMode"].as_str())), json!(network(with.network.as_deref())));
    let name = |json: &Json| json!(json["Name"].as_str().filter(|name| !name.is_empty()).unwrap_or("no"));
    compare("restart", name(&host["RestartPolicy"]), name(&policy(&with.restart)));
    for (name, value) in &with.labels {
        compare(&format!("labels.{name}"), config["Labels"][name].clone(), json!(value));
    }
    changes.extend(environment(with, there));
    changes
}

/// Names of variables that differ: of those that the tree says or said. Engines add some of their own.
fn environment(with: &With, there: &Container) -> Vec<Change> {
    let found = texts(&there.json["Config"]["Env"]);
    let found: BTreeMap<&str, &str> = found.iter().filter_map(|text| text.split_once('=')).collect();
    let said = there.label(ENV).split(',').filter(|name| !name.is_empty());
    let names: BTreeSet<&str> = with.env.keys().map(String::as_str).chain(said).collect();
    let wanted = |name: &str| with.env.get(name).map(String::as_str);
    let is = |there: bool, word: &str| if there { json!(word) } else { Json::Null };
    let one = |name: &str| change(format!("env.{name}"), is(found.contains_key(name), "set"), is(wanted(name).is_some(), "set otherwise"));
    names.into_iter().filter(|name| found.get(name).copied() != wanted(name)).map(one).collect()
}

/// Published ports without what an engine adds: a port that it picked itself is the port that was left to it.
fn published(found: &Json, wanted: &Object) -> Json {
    let picked = |key: &str, at: usize| wanted.get(key).is_some_and(|list| list[at]["HostPort"] == "");
    let one = |key: &str, at: usize, publish: &Json| {
        let host = if picked(key, at) { "" } else { publish["HostPort"].as_str().unwrap_or_default() };
        let ip = publish["HostIp"].as_str().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0");
        json!({ "HostIp": ip, "HostPort": host })
    };
    let mut all = Object::new();
    for (key, list) in found.as_object().into_iter().flatten() {
        let list: Vec<Json> = list.as_array().into_iter().flatten().enumerate().map(|(at, publish)| one(key, at, publish)).collect();
        if !list.is_empty() {
            all.insert(key.clone(), list.into());
        }
    }
    Json::Object(all)
}

/// Folders and volumes without the options that an engine adds.
fn mounted(binds: &[String]) -> Vec<String> {
    let own = |option: &&str| !matches!(*option, "rw" | "rprivate" | "rbind" | "nosuid" | "nodev");
    let one = |text: &String| {
        let mut parts = text.splitn(3, ':');
        let (source, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let options: Vec<&str> = parts.next().unwrap_or_default().split(',').filter(|option| !option.is_empty()).filter(own).collect();
        if options.is_empty() { format!("{source}:{target}") } else { format!("{source}:{target}:{}", options.join(",")) }
    };
    let mut all: Vec<String> = binds.iter().map(one).collect();
    all.sort();
    all
}

/// What an engine calls its usual network.
fn network(name: Option<&str>) -> &str {
    match name {
        None | Some("" | "bridge" | "slirp4netns" | "pasta") => "default",
        Some(name) => name,
    }
}

#[cfg(test)]
mod tests {
    use super::{Publish, body, differences, restart};
    use crate::bench::Bench;
    use crate::container::image::Image;
    use crate::container::instance::Container;
    use crate::container::run::With;
    use serde_json::{Value, json};

    #[test]
    fn a_port_as_people_write_it() {
        let publish = |container, ip: &str, host| Some(Publish { container, protocol: "tcp".into(), ip: ip.into(), host });
        for (text, expected) in [
            ("80", publish(80, "127.0.0.1", None)),
            ("8080:80", publish(80, "127.0.0.1", Some(8080))),
            ("0.0.0.0:8080:80", publish(80, "0.0.0.0", Some(8080))),
            ("10.0.0.1::80", publish(80, "10.0.0.1", None)),
            ("[::1]:8080:80", publish(80, "::1", Some(8080))),
            ("80/udp", Some(Publish { protocol: "udp".into(), ..publish(80, "127.0.0.1", None).unwrap() })),
            ("80/x", None),
            ("http", None),
            ("0:80", None),
            ("host:1:2", None),
        ] {
            assert_eq!(Publish::read(text), expected, "{text}");
        }
        assert_eq!(
            (restart("on-failure:3"), restart("always"), restart("sometimes")),
            (Some(("on-failure", 3)), Some(("always", 0)), None)
        );
    }

    fn with(extra: Value) -> With {
        serde_json::from_value(extended(json!({ "name": "web", "image": "app:1" }), extra)).unwrap()
    }

    fn extended(mut with: Value, extra: Value) -> Value {
        with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        with
    }

    #[test]
    fn what_a_secret_takes_the_place_of_is_not_told() {
        let bench = Bench::knowing("new-canary");
        let of = |secret: &str| with(json!({ "command": ["serve", format!("--token={secret}")], "labels": { "token": secret } }));
        let told = body(&of("old-canary"), "key-1", &bench.read());
        let json = json!({ "Image": "app:1", "Config": told, "HostConfig": told["HostConfig"] });
        let there = Container { id: "1".into(), name: "web-1".into(), json };
        let changes = differences(&of("new-canary"), &there, None, &bench.read());
        assert_eq!(changes.iter().map(|change| change.field.as_str()).collect::<Vec<_>>(), ["command", "labels.token"]);
        assert!(!format!("{changes:?}").contains("canary"), "{changes:?}");
    }

    #[test]
    fn what_the_engine_is_told_is_no_difference_and_each_field_is() {
        let bench = Bench::new();
        let full = json!({
            "command": ["serve"], "env": { "TOKEN": "s3cret" }, "ports": ["8080:80"], "volumes": ["./data:/data", "cache:/cache"],
            "network": "back", "restart": "always", "labels": { "a": "b" },
        });
        let told = body(&with(full.clone()), "key-1", &bench.read());
        assert_eq!(told["NetworkingConfig"]["EndpointsConfig"]["back"]["Aliases"], json!(["web"]));
        assert_eq!(told["HostConfig"]["Binds"][0], json!(format!("{}:/data", bench.dir().join("data").display())));
        let there = Container {
            id: "1".into(),
            name: "web-1".into(),
            json: json!({ "Image": "sha256:1", "Config": told, "HostConfig": told["HostConfig"] }),
        };
        let image = Image { id: "sha256:1".into(), tags: vec![], labels: [].into(), size: 0, command: vec!["serve".into()] };
        let fields = |extra: Value| -> Vec<String> {
            let changes = differences(&with(extended(full.clone(), extra)), &there, Some(&image), &bench.read());
            assert!(!format!("{changes:?}").contains("s3cret"));
            changes.into_iter().map(|change| change.field).collect()
        };
        assert!(fields(json!({})).is_empty());
        for (extra, expected) in [
            (json!({ "command": ["other"] }), "command"),
            (json!({ "env": { "TOKEN": "other" } }), "env.TOKEN"),
            (json!({ "env": {} }), "env.TOKEN"),
            (json!({ "ports": ["80"] }), "ports"),
            (json!({ "volumes": [] }), "volumes"),
            (json!({ "network": "host" }), "network"),
            (json!({ "restart": "no" }), "restart"),
            (json!({ "labels": { "a": "c" } }), "labels.a"),
        ] {
            assert_eq!(fields(extra), [expected]);
        }
        let bare = Container {
            json: json!({ "Image": "sha256:1", "Config": { "Env": ["PATH=/bin", "container=podman"] }, "HostConfig": { "NetworkMode": "default", "RestartPolicy": { "Name": "" } } }),
            ..there
        };
        let plain = Image { command: vec![], ..image };
        assert!(differences(&with(json!({ "restart": "no" })), &bare, Some(&plain), &bench.read()).is_empty());
        let mut podman = json!({
            "Image": "sha256:1", "Config": told,
            "HostConfig": {
                "Binds": [format!("{}:/data:rw,rprivate,rbind", bench.dir().join("data").display()), "cache:/cache:rw,nosuid,nodev,rbind"],
                "PortBindings": { "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "41234" }] },
                "NetworkMode": "back", "RestartPolicy": { "Name": "always" },
            }
        });
        podman["Config"]["Labels"]["trees.ports"] = json!("80");
        let podman = Container { json: podman, ..bare.clone() };
        let free = extended(full.clone(), json!({ "ports": ["80"] }));
        assert_eq!(differences(&with(free), &podman, Some(&Image { command: vec!["serve".into()], ..plain.clone() }), &bench.read()), []);
        assert_eq!(differences(&with(json!({ "restart": "no" })), &bare, None, &bench.read())[0].field, "image");
    }
}
