//! `deploy/route`: what a reverse proxy passes requests on to.
//!
//! [`With`] says it, `text` writes and reads the route's file, `server` is the nginx that reads it,
//! `switch` leads from one target to another and back.

mod aside;
mod server;
mod switch;
mod syntax;
mod target;
mod text;
mod words;
mod workers;

#[cfg(test)]
mod tests;

use crate::http::Way;
use crate::period::{Limit, Period};
use crate::whole::carried;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use server::Nginx;
use std::collections::BTreeMap;
use target::{Listens, To};
use text::{Found, Wanted, mark};
use trees_core::event::Json;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Change, Cx, Kind, KindError, Observation, ReadCx, Reader, recorded};

/// The kind `deploy/route`.
pub struct Route;

/// What `deploy/route` takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// Its name, and that of its file: letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// Where nginx listens: a port (on every IPv4 address), `address:port`, or a list of these.
    pub listen: Listens,
    /// The names that it answers to; without, any.
    #[serde(default)]
    pub server_names: Vec<String>,
    /// Where requests go: `host:port`, a list that shares them, or colours (`{ blue: …, green: … }`) of which `active` serves.
    pub to: To,
    /// The colour that serves; empty: the one that serves now stays, and where there is none the first by name serves.
    #[serde(default)]
    pub active: String,
    /// The release behind it. Outputs `next…` tell where that release belongs.
    #[serde(default)]
    pub release: String,
    /// Paths that begin so go there; others get 404.
    #[serde(default = "slash")]
    pub path: String,
    /// Headers that the target gets on top; `$` begins a variable of nginx.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Lines for nginx's `server` block, as `client_max_body_size 20m`.
    #[serde(default)]
    pub directives: Vec<String>,
    /// Serve https with this certificate.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Answer 503 with these words instead of asking the target.
    #[serde(default)]
    pub maintenance: Option<String>,
    /// So long the step waits for requests that the target before still serves; what lasts longer is not cut.
    #[serde(default = "crate::default::ten_seconds")]
    pub drain: Period,
    /// What is asked after the switch; when the answer is not good the target before is put back.
    #[serde(default)]
    pub verify: Option<Verify>,
    /// Take a file that somebody else wrote.
    #[serde(default)]
    pub take_over: bool,
    /// nginx.
    #[serde(default = "nginx")]
    pub program: String,
    /// The folder of the nginx that trees keeps where `config` is not given; without, one in the state folder.
    #[serde(default)]
    pub root: Option<String>,
    /// The main file of an nginx that somebody else runs.
    #[serde(default)]
    pub config: Option<String>,
    /// The folder, included by `config`, where the route's file is written.
    #[serde(default)]
    pub folder: Option<String>,
    /// nginx's `-p`, where it runs with one.
    #[serde(default)]
    pub prefix: Option<String>,
    /// The file with nginx's pid; without, as `config` says, else `/run/nginx.pid`.
    #[serde(default)]
    pub pid: Option<String>,
}

/// A certificate and its key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Tls {
    /// The file with the certificate and its chain (PEM).
    pub certificate: String,
    /// The file with its key (PEM).
    pub key: String,
}

/// What is asked after a switch.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Verify {
    /// What is asked, with GET; any 2xx is good.
    pub url: String,
    /// Connect to this host or address instead, where DNS does not point there yet.
    #[serde(default)]
    pub address: Option<String>,
    /// A PEM file with the roots to trust; without, those of `SSL_CERT_FILE` or of the system.
    #[serde(default)]
    pub roots: Option<String>,
    /// The body must contain this.
    #[serde(default)]
    pub contains: Option<String>,
    /// By when two good answers in a row must have begun.
    #[serde(default = "crate::default::half_a_minute", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub within: Period,
}

impl Verify {
    async fn reader(&self, cx: &ReadCx) -> Result<Reader, KindError> {
        Way { address: self.address.as_deref(), roots: self.roots.as_deref() }.reader(cx, &self.url).await
    }
}

fn slash() -> String {
    "/".into()
}

fn nginx() -> String {
    "nginx".into()
}

/// What `deploy/route` returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The colour that serves; without colours its addresses, joined by a comma.
    pub active: String,
    /// The addresses that serve.
    pub to: Vec<String>,
    /// What served before, as `active`; empty where there was nothing, or nothing changed.
    pub previous: String,
    /// The colour that does not serve; empty without colours.
    pub idle: String,
    /// Its first address.
    pub idle_address: String,
    /// The colour where `release` belongs: the one that serves it already, else the idle one.
    pub next: String,
    /// Its first address.
    pub next_address: String,
    /// The port of that address; 0 where it has none.
    pub next_port: u16,
    /// The release that serves, where the tree said so.
    pub release: String,
    /// Where the route answers.
    pub url: String,
    /// Whether something was done.
    pub changed: bool,
}

impl Kind for Route {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "deploy/route",
        summary: "Lead a reverse proxy to another target without losing a request",
        doc: include_str!("route.md"),
        example: include_str!("route.yaml"),
        effect: Effect::External,
        observes: true,
        undoes: true,
        reads_only: false,
        repeats: false,
        deploys: true,
        file_inputs: &[],
        revision: 1,
    };

    fn validate(with: &With) -> Vec<String> {
        let mut wrong = with.to.wrong(&with.active);
        wrong.extend(with.listen.wrong());
        wrong.extend(wrong_words(with));
        wrong.extend(wrong_place(with));
        if let Some(verify) = &with.verify {
            wrong.extend(crate::http::url(&verify.url).err().map(|e| format!("verify.{e}")));
        }
        wrong
    }

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        let nginx = Nginx::of(with, cx);
        let Some(found) = Found::read(&nginx.file(&with.name))? else { return Ok(Observation::Absent) };
        let wanted = Wanted::new(with, cx, Some(&found))?;
        let changes = changes(with, &nginx, Some(&found), &wanted, cx).await?;
        Ok(if changes.is_empty() { Observation::Satisfied(out(with, &wanted, None)) } else { Observation::Differs(changes) })
    }

    /// In a task of its own: an attempt that is given up half-way is still brought to an end, with
    /// the target before in its place.
    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        carried("the switch", with, cx, |with, cx| async move { switch::alone(&with, &cx).await }).await
    }

    async fn undo(record: &Json, cx: &Cx) -> Result<(), KindError> {
        let record = recorded(record)?;
        switch::undo(&record, cx).await
    }
}

fn wrong_words(with: &With) -> Vec<String> {
    let mut wrong = Vec::new();
    let word = |text: &str, more: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    if !word(&with.name, "._-") || with.name.starts_with('.') {
        wrong.push(format!("name: `{}` cannot be a file's name: use letters, digits, `.`, `_` and `-`", with.name));
    }
    let names = with.server_names.iter().filter(|name| !word(name, ".-_*"));
    wrong.extend(names.map(|name| format!("server_names: `{name}` is no host's name")));
    if !with.path.starts_with('/') || with.path.contains(|c: char| c.is_control() || c.is_whitespace() || c == '$') {
        wrong.push(format!("path: `{}` is no path: it begins with `/` and has no white space and no `$`", with.path));
    }
    let headers = with.headers.iter().filter(|(name, value)| !word(name, "-_") || value.contains(char::is_control));
    wrong.extend(headers.map(|(name, _)| format!("headers: `{name}` has characters that no header may have")));
    if with.maintenance.as_ref().is_some_and(|words| words.contains('$')) {
        wrong.push("maintenance: `$` cannot stand in these words".into());
    }
    let lines = with.directives.iter().filter(|line| line.trim().is_empty() || line.contains(['\n', '#']));
    wrong.extend(lines.map(|line| format!("directives: `{line}` is not one line for nginx")));
    wrong
}

fn wrong_place(with: &With) -> Vec<String> {
    let mut wrong = Vec::new();
    match (&with.config, &with.folder) {
        (Some(_), None) => wrong.push("config: it needs `folder`, the folder that it includes".into()),
        (None, Some(_)) => wrong.push("folder: it needs `config`, the main file that includes it".into()),
        (Some(_), Some(_)) | (None, None) => {}
    }
    if with.config.is_some() && with.root.is_some() {
        wrong.push("config and root: give one of them".into());
    }
    if with.config.is_none() && (with.prefix.is_some() || with.pid.is_some()) {
        wrong.push("prefix and pid: they need `config`".into());
    }
    wrong
}

/// What is not as `with` says.
async fn changes(with: &With, nginx: &Nginx, found: Option<&Found>, wanted: &Wanted, cx: &ReadCx) -> Result<Vec<Change>, KindError> {
    let Some(found) = found else { return Ok(vec![Change::new("file", json!(null), json!("as the tree says"))]) };
    let mut changes = Vec::new();
    let file = nginx.file(&with.name);
    let mark = mark(&with.name, cx);
    if let Some(owner) = found.stranger(&mark) {
        changes.push(Change { owner: Some(owner), ..Change::new("owner", json!(found.mark), json!(mark)) });
    }
    changes.extend(found.differences(wanted));
    if nginx.master()?.is_none() {
        changes.push(Change::new("nginx", json!("stopped"), json!("running")));
    } else if !switch::is_loaded(&switch::note(&file, cx), &found.text) {
        changes.push(Change::new("loaded", json!(false), json!(true)));
    }
    if let (true, Some(verify)) = (changes.is_empty(), &with.verify) {
        let answer = switch::ask(verify, &verify.reader(cx).await?, cx).await;
        if answer.good.is_none() {
            changes.push(Change::new("verify", json!(answer.text), json!("a good answer")));
        }
    }
    Ok(changes)
}

fn out(with: &With, wanted: &Wanted, previous: Option<String>) -> Out {
    let colour = &wanted.head.active;
    let idle = with.to.idle(colour);
    let serves_it = !with.release.is_empty() && wanted.head.release == with.release;
    let next = if serves_it || idle.is_empty() { colour.clone() } else { idle.clone() };
    let first = |colour: &str| with.to.addresses(colour).into_iter().next().unwrap_or_default();
    let next_address = first(&next);
    Out {
        active: if colour.is_empty() { wanted.to.join(", ") } else { colour.clone() },
        to: wanted.to.clone(),
        idle_address: if idle.is_empty() { String::new() } else { first(&idle) },
        idle,
        next_port: target::port(&next_address),
        next,
        next_address,
        release: wanted.head.release.clone(),
        url: url(with),
        changed: previous.is_some(),
        previous: previous.unwrap_or_default(),
    }
}

fn url(with: &With) -> String {
    let listen = with.listen.list().into_iter().next().unwrap_or_default();
    let (host, port) = listen.rsplit_once(':').unwrap_or(("", &listen));
    let name = with.server_names.iter().find(|name| !name.contains('*') && *name != "_");
    let host = match name {
        Some(name) => name,
        None if matches!(host, "" | "*" | "0.0.0.0" | "[::]") => "127.0.0.1",
        None => host,
    };
    let (scheme, usual) = if with.tls.is_some() { ("https", "443") } else { ("http", "80") };
    let port = if port == usual { String::new() } else { format!(":{port}") };
    format!("{scheme}://{host}{port}{}", if with.path == "/" { "" } else { &with.path })
}
