//! The file of a route: written from `with`, read back, compared.

use super::With;
use super::syntax::{Directive, directives, quoted};
use super::target::To;
use crate::file::failed;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use trees_core::event::Json;
use trees_core::hash;
use trees_runner::kind::{Change, KindError, ReadCx};

/// What stands in the second line of the file, for later runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The colour that serves; empty without colours.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub active: String,
    /// The release behind it, where the tree says.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub release: String,
    /// The digest of the certificate's file: a new one must be loaded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub certificate: String,
}

/// A route's file as it is found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its whole text.
    pub text: String,
    /// Its first line without `# `.
    pub mark: String,
    /// Its second line; empty where there is none.
    pub head: Head,
}

/// A route's file as it shall be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its whole text.
    pub text: String,
    /// Its second line.
    pub head: Head,
    /// The addresses that serve.
    pub to: Vec<String>,
}

/// The first line of a route's file without `# `: whose it is.
pub fn mark(name: &str, cx: &ReadCx) -> String {
    let slash = if cx.environment.is_empty() { "" } else { "/" };
    format!("trees:{}{slash}{} {name}", cx.project, cx.environment).replace(char::is_control, " ")
}

impl Found {
    /// Reads it; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> Result<Option<Self>, KindError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed("cannot read", path, &e)),
        };
        Ok(Some(Self::of(String::from_utf8_lossy(&bytes).into_owned())))
    }

    fn of(text: String) -> Self {
        let mut lines = text.lines().map(|line| line.strip_prefix("# ").unwrap_or_default().to_owned());
        let mark = lines.next().unwrap_or_default();
        let head = lines.next().and_then(|line| serde_json::from_str(&line).ok()).unwrap_or_default();
        Self { mark, head, text }
    }

    /// Whose it is, if it is not this route's.
    pub fn stranger(&self, mark: &str) -> Option<String> {
        let owner = if self.mark.starts_with("trees:") { self.mark.clone() } else { "somebody else".into() };
        (self.mark != mark).then_some(owner)
    }

    /// The addresses it leads to.
    pub fn to(&self) -> Vec<String> {
        servers(&directives(&self.text))
    }

    /// The colour that it leads to, or its addresses.
    pub fn leads_to(&self) -> String {
        if self.head.active.is_empty() { self.to().join(", ") } else { self.head.active.clone() }
    }

    /// What differs; of a directive only its name, since its arguments may be secret.
    pub fn differences(&self, wanted: &Wanted) -> Vec<Change> {
        let (old, new) = (directives(&self.text), directives(&wanted.text));
        let mut changes = Vec::new();
        let mut compare = |field: &str, old: Json, new: Json| {
            if old != new {
                changes.push(Change::new(field, old, new));
            }
        };
        compare("to", json!(servers(&old)), json!(servers(&new)));
        compare("active", json!(self.head.active), json!(wanted.head.active));
        compare("release", json!(self.head.release), json!(wanted.head.release));
        compare("certificate", json!(self.head.certificate), json!(wanted.head.certificate));
        compare("listen", json!(arguments(&old, "listen")), json!(arguments(&new, "listen")));
        compare("server_names", json!(arguments(&old, "server_name")), json!(arguments(&new, "server_name")));
        for name in others(&old, &new) {
            compare(&format!("file.{name}"), json!("by hand or of another tree"), json!("as the tree says"));
        }
        changes
    }
}

fn is_server(directive: &Directive) -> bool {
    directive.name() == "server" && directive.within.last().is_some_and(|block| block == "upstream")
}

fn servers(all: &[Directive]) -> Vec<String> {
    all.iter().filter(|d| is_server(d)).map(|d| d.words[1..].join(" ")).collect()
}

fn arguments(all: &[Directive], name: &str) -> Vec<String> {
    all.iter().filter(|d| d.name() == name).map(|d| d.words[1..].join(" ")).collect()
}

/// Names of the other directives of which one text has some that the other has not.
fn others(old: &[Directive], new: &[Directive]) -> Vec<String> {
    let rest = |all: &[Directive]| -> Vec<(Vec<String>, Vec<String>)> {
        let known = |d: &&Directive| !is_server(d) && !matches!(d.name(), "listen" | "server_name");
        all.iter().filter(known).map(|d| (d.within.clone(), d.words.clone())).collect()
    };
    let (old, new) = (rest(old), rest(new));
    if old == new {
        return Vec::new();
    }
    let only = |a: &[(Vec<String>, Vec<String>)], b: &[(Vec<String>, Vec<String>)]| -> Vec<String> {
        a.iter().filter(|d| !b.contains(d)).filter_map(|(_, words)| words.first().cloned()).collect()
    };
    let mut names = only(&old, &new);
    names.extend(only(&new, &old));
    names.sort();
    names.dedup();
    if names.is_empty() { vec!["order".into()] } else { names }
}

impl Wanted {
    /// The file as `with` says it; a colour that `with` does not name stays.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub fn new(with: &With, cx: &ReadCx, found: Option<&Found>) -> Result<Self, KindError> {
        let serving = found.map(|found| &found.head);
        let active = with.to.active(&with.active, serving.map(|head| head.active.as_str()));
        let asked = matches!(with.to, To::Plain(_)) || !with.active.is_empty();
        let kept = || serving.filter(|head| head.active == active).map(|head| head.release.clone());
        let release = if asked { with.release.clone() } else { kept().unwrap_or_default() };
        let certificate = match &with.tls {
            Some(tls) => {
                let path = cx.path(&tls.certificate);
                hash::bytes(&fs::read(&path).map_err(|e| failed("tls: cannot read the certificate", &path, &e))?)
            }
            None => String::new(),
        };
        let head = Head { active, release, certificate };
        let to = with.to.addresses(&head.active);
        let text = render(with, cx, &head, &to)?;
        Ok(Self { text, head, to })
    }
}

fn render(with: &With, cx: &ReadCx, head: &Head, to: &[String]) -> Result<String, KindError> {
    let head = serde_json::to_string(head).map_err(|e| KindError::new(e.to_string()))?;
    let variable = format!("$trees_{}_connection", with.name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
    let upstream = format!("trees-{}", with.name);
    let mut text = format!("# {}\n# {head}\n# Written by trees: change the tree, not this file.\n", mark(&with.name, cx));
    let _ = write!(text, "map $http_upgrade {variable} {{\n    default upgrade;\n    '' close;\n}}\nupstream {upstream} {{\n");
    to.iter().for_each(|address| text.push_str(&format!("    server {address};\n")));
    text.push_str("}\nserver {\n");
    let ssl = if with.tls.is_some() { " ssl" } else { "" };
    with.listen.list().iter().for_each(|listen| text.push_str(&format!("    listen {listen}{ssl};\n")));
    let names = if with.server_names.is_empty() { "_".into() } else { with.server_names.join(" ") };
    let _ = writeln!(text, "    server_name {names};");
    if let Some(tls) = &with.tls {
        let path = |path: &str| quoted(&cx.path(path).display().to_string());
        let _ = writeln!(text, "    ssl_certificate {};\n    ssl_certificate_key {};", path(&tls.certificate), path(&tls.key));
    }
    with.directives.iter().for_each(|line| text.push_str(&format!("    {};\n", line.trim().trim_end_matches(';'))));
    let _ = writeln!(text, "    location {} {{", quoted(&with.path));
    match &with.maintenance {
        Some(words) => text.push_str(&maintenance(words)),
        None => text.push_str(&proxy(with, &upstream, &variable)),
    }
    text.push_str("    }\n");
    if with.path != "/" {
        text.push_str("    location / {\n        return 404;\n    }\n");
    }
    text.push_str("}\n");
    Ok(text)
}

fn maintenance(words: &str) -> String {
    let words = quoted(&format!("{}\n", words.trim_end()));
    format!("        default_type \"text/plain; charset=utf-8\";\n        add_header Retry-After 60 always;\n        return 503 {words};\n")
}

fn proxy(with: &With, upstream: &str, variable: &str) -> String {
    let usual = [
        ("Host", "$http_host"),
        ("X-Real-IP", "$remote_addr"),
        ("X-Forwarded-For", "$proxy_add_x_forwarded_for"),
        ("X-Forwarded-Proto", "$scheme"),
        ("Upgrade", "$http_upgrade"),
        ("Connection", variable),
    ];
    let given = |name: &str| with.headers.keys().any(|header| header.eq_ignore_ascii_case(name));
    let mut text = format!("        proxy_pass http://{upstream};\n        proxy_http_version 1.1;\n");
    for (name, value) in usual.iter().filter(|(name, _)| !given(name)) {
        let _ = writeln!(text, "        proxy_set_header {name} {value};");
    }
    for (name, value) in &with.headers {
        let _ = writeln!(text, "        proxy_set_header {name} {};", quoted(value));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Found, Wanted, mark};
    use crate::bench::Bench;
    use serde_json::{Value, json};

    fn wanted(extra: Value, found: Option<&Found>) -> Wanted {
        let mut with = json!({ "name": "site", "listen": 8080, "to": { "blue": "127.0.0.1:1", "green": "127.0.0.1:2" } });
        with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Wanted::new(&serde_json::from_value(with).unwrap(), &Bench::new().read(), found).unwrap()
    }

    fn fields(found: &Found, wanted: &Wanted) -> Vec<String> {
        found.differences(wanted).into_iter().map(|change| change.field).collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let blue = wanted(json!({ "active": "blue", "release": "v1" }), None);
        let found = Found::of(blue.text.clone());
        assert_eq!((found.mark.as_str(), found.head.active.as_str(), found.head.release.as_str()), ("trees:proof site", "blue", "v1"));
        assert_eq!((found.stranger(&mark("site", &Bench::new().read())), found.to()), (None, vec!["127.0.0.1:1".to_owned()]));
        assert!(fields(&found, &blue).is_empty());
        assert_eq!(found.stranger("trees:proof other").unwrap(), "trees:proof site");
        assert_eq!(Found::of("server {}".into()).stranger("x").unwrap(), "somebody else");
    }

    #[test]
    fn a_colour_that_is_not_named_stays_with_its_release() {
        let found = Found::of(wanted(json!({ "active": "green", "release": "v1" }), None).text);
        let kept = wanted(json!({ "release": "v2" }), Some(&found));
        assert_eq!((kept.head.active.as_str(), kept.head.release.as_str()), ("green", "v1"));
        assert!(fields(&found, &kept).is_empty());
        let other = wanted(json!({ "active": "blue", "release": "v2" }), Some(&found));
        assert_eq!(fields(&found, &other), ["to", "active", "release"]);
    }

    #[test]
    fn comments_and_white_space_are_no_difference_and_others_are_named() {
        let wanted = wanted(json!({ "headers": { "X-Token": "s3cret; \"" } }), None);
        let found = |text: String| Found::of(text);
        let spaced = wanted.text.replace("    ", "\t").replace("server {", "server  # comment\n {");
        assert!(fields(&found(spaced), &wanted).is_empty());
        for (from, to, expected) in [
            ("server 127.0.0.1:1;", "server 127.0.0.1:9;", vec!["to"]),
            ("listen 8080", "listen 80", vec!["listen"]),
            ("server_name _", "server_name a", vec!["server_names"]),
            ("    location", "client_max_body_size 1m; location", vec!["file.client_max_body_size"]),
            ("s3cret", "other", vec!["file.proxy_set_header"]),
        ] {
            let differing = found(wanted.text.replace(from, to));
            assert_eq!(fields(&differing, &wanted), expected);
            assert!(!format!("{:?}", differing.differences(&wanted)).contains("s3cret"));
        }
    }

    #[test]
    fn the_text_of_a_route() {
        let with = json!({
            "to": ["a:1", "b:2"], "listen": [80, "[::]:80"], "server_names": ["a.example", "*.b.example"], "path": "/api/",
            "headers": { "host": "inner" }, "directives": ["client_max_body_size 20m;"]
        });
        insta::assert_snapshot!(wanted(with, None).text, @r##"
        # trees:proof site
        # {}
        # Written by trees: change the tree, not this file.
        map $http_upgrade $trees_site_connection {
            default upgrade;
            '' close;
        }
        upstream trees-site {
            server a:1;
            server b:2;
        }
        server {
            listen 80;
            listen [::]:80;
            server_name a.example *.b.example;
            client_max_body_size 20m;
            location "/api/" {
                proxy_pass http://trees-site;
                proxy_http_version 1.1;
                proxy_set_header X-Real-IP $remote_addr;
                proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                proxy_set_header X-Forwarded-Proto $scheme;
                proxy_set_header Upgrade $http_upgrade;
                proxy_set_header Connection $trees_site_connection;
                proxy_set_header host "inner";
            }
            location / {
                return 404;
            }
        }
        "##);
        let words = wanted(json!({ "maintenance": "back \"soon\"" }), None).text;
        assert!(words.contains("return 503 \"back \\\"soon\\\"\n\";") && !words.contains("proxy_pass"), "{words}");
    }
}
