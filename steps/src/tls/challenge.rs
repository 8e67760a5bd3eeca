//! How names are proved to a directory, as an input: over HTTP or by DNS.

use crate::dns::Texts;
use crate::dns::place::Place;
use crate::dns::provider::Provider;
use crate::dns::value::Type;
use crate::number::Port;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// How the names are proved: by exactly one of these.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Challenge {
    /// By a file over HTTP: the directory asks each name on port 80.
    #[serde(default)]
    pub http: Option<Http>,
    /// By a record in DNS; the only way for `*.example.com`.
    #[serde(default)]
    pub dns: Option<Dns>,
}

/// A file over HTTP, by exactly one of `folder` and `port`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Http {
    /// The web root of a server that answers for all the names on port 80; the file stands below `.well-known/acme-challenge`.
    #[serde(default)]
    pub folder: Option<String>,
    /// A port on which the step itself answers for the time of the order; what reaches port 80 from outside must lead here.
    #[serde(default)]
    pub port: Option<Port>,
    /// The address `port` is opened on; without, all of this machine.
    #[serde(default)]
    pub address: Option<String>,
}

/// A record `_acme-challenge` for each name.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Dns {
    /// The zone that all the names are in: `example.com`.
    pub zone: String,
    /// Who serves it.
    pub provider: Provider,
    /// Who must know the record before the directory looks, `host` or `host:port`, one or a list; without, all name servers of the zone.
    #[serde(default)]
    pub authority: Option<Texts>,
}

impl Challenge {
    /// What is wrong with it, for these names.
    pub fn wrong(&self, names: &[String]) -> Vec<String> {
        match (&self.http, &self.dns) {
            (Some(http), None) => http.wrong(names),
            (None, Some(dns)) => dns.wrong(names),
            (Some(_), Some(_)) | (None, None) => vec!["challenge: give exactly one of `http` and `dns`".into()],
        }
    }
}

impl Http {
    fn wrong(&self, names: &[String]) -> Vec<String> {
        let mut wrong = Vec::new();
        match (&self.folder, &self.port) {
            (Some(folder), None) if folder.is_empty() => wrong.push("challenge.http.folder: it is empty".into()),
            (Some(_), None) | (None, Some(_)) => {}
            (Some(_), Some(_)) | (None, None) => wrong.push("challenge.http: give exactly one of `folder` and `port`".into()),
        }
        if self.address.is_some() && self.port.is_none() {
            wrong.push("challenge.http.address: it goes with `port`".into());
        }
        let wildcards = names.iter().filter(|name| name.starts_with("*."));
        wrong.extend(wildcards.map(|name| format!("names: `{name}` cannot be proved over HTTP: give `challenge: {{ dns: … }}`")));
        wrong
    }
}

impl Dns {
    fn wrong(&self, names: &[String]) -> Vec<String> {
        let mut wrong = self.provider.validate();
        let addresses = names.iter().filter(|name| name.parse::<IpAddr>().is_ok());
        wrong.extend(addresses.map(|name| format!("names: `{name}` is an address, which cannot be proved by DNS")));
        let names = names.iter().filter(|name| name.parse::<IpAddr>().is_err());
        wrong.extend(names.filter_map(|name| self.place(name.strip_prefix("*.").unwrap_or(name)).err()));
        wrong
    }

    /// Where a name's record stands; the name has no `*.` before it.
    ///
    /// # Errors
    /// When the zone is none, or the name is not in it.
    pub fn place(&self, name: &str) -> Result<Place, String> {
        let wrong = |why: String| format!("challenge.dns: {why}");
        Place::new(&self.zone, &format!("_acme-challenge.{}.", name.trim_end_matches('.')), Type::Txt).map_err(wrong)
    }
}
