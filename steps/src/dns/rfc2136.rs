//! Dynamic updates (RFC 2136): the set as it was read is the condition of each change, so a change by
//! somebody else in between is never lost. Questions, updates and their answers are signed (TSIG).
//!
//! Records have no comments here: whose a set is stands in a TXT record beside it, [`mark_name`].

use super::ask::{self, Manner, Server, Silence};
use super::place::Place;
use super::provider::changed;
use super::secret::Secret;
use super::set::{Set, is_mark};
use super::update::{mark_name, update};
use super::value::{self, Type};
use crate::number::Port;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{Name, TSigner};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;
use trees_runner::kind::{Cx, KindError, ReadCx};

/// For one answer.
const LIMIT: Duration = Duration::from_secs(15);
/// How far the clocks may differ, in seconds.
const FUDGE: u16 = 300;

/// Values, and how long they may be kept.
type Found = (BTreeSet<String>, u32);

/// A server that takes dynamic updates (RFC 2136): BIND, Knot, …
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rfc2136 {
    /// The primary server of the zone, a name or an address.
    pub server: String,
    /// Its port.
    #[serde(default = "port")]
    pub port: Port,
    /// The name of the key (TSIG).
    pub key: String,
    /// The key's algorithm.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// The key's secret, in base64 as `tsig-keygen` writes it.
    pub secret: Secret,
}

fn port() -> Port {
    Port(ask::PORT)
}

/// How messages are signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    #[default]
    #[serde(rename = "hmac-sha256")]
    Sha256,
    /// HMAC with SHA-384.
    #[serde(rename = "hmac-sha384")]
    Sha384,
    /// HMAC with SHA-512.
    #[serde(rename = "hmac-sha512")]
    Sha512,
}

impl Rfc2136 {
    pub(super) fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.server.is_empty() || self.server.contains(['/', ' ', '@']) {
            wrong.push(format!("provider.rfc2136.server: `{}` is no name or address of a server", self.server));
        }
        if let Err(e) = value::name(&self.key) {
            wrong.push(format!("provider.rfc2136.key: `{}` {e}", self.key));
        }
        if STANDARD.decode(self.secret.expose().trim()).is_ok_and(|bytes| !bytes.is_empty()) {
            return wrong;
        }
        wrong.push("provider.rfc2136.secret: it is no base64; write the `secret` of the key as `tsig-keygen` wrote it".into());
        wrong
    }

    pub(super) async fn read(&self, cx: &ReadCx, at: &Place) -> Result<Set, KindError> {
        let (beside, kept) = self.records(cx, &mark_name(at)?, Type::Txt).await?;
        let (values, ttl) = self.records(cx, &at.name, at.kind()).await?;
        if let Some(mark) = beside.iter().find(|text| is_mark(text)).cloned() {
            return Ok(Set { values, ttl, mark: Some(mark), proxied: None, extra: json!(beside) });
        }
        let beside = self.of_its_own(cx, at, &mark_name(at)?, Type::Txt, (beside, kept)).await?.0;
        let (values, ttl) = self.of_its_own(cx, at, &at.name, at.kind(), (values, ttl)).await?;
        Ok(Set { values, ttl, mark: None, proxied: None, extra: json!(beside) })
    }

    pub(super) async fn write(&self, cx: &Cx, at: &Place, old: &Set, new: &Set) -> Result<(), KindError> {
        let message = update(at, old, new)?;
        let key = self.key()?;
        let manner = Manner { key: Some(&key), recursion: false, limit: LIMIT };
        let server = self.server();
        let failed = |why: &dyn std::fmt::Display| format!("cannot write {at} at {server} (RFC 2136): {why}");
        let answer = ask::update(cx, &server, &message, manner).await.map_err(|silence| self.unheard(&failed(&silence), &silence))?;
        match answer.metadata.response_code {
            ResponseCode::NoError => {}
            ResponseCode::YXRRSet | ResponseCode::NXRRSet | ResponseCode::YXDomain | ResponseCode::NXDomain => return Err(changed(at)),
            code => return Err(self.refused(&failed(&format!("it answers {}", ask::code(code))), code, at)),
        }
        // What cannot stand beside what is there is passed over without a word.
        let now = self.read(cx, at).await?;
        if now.is_as(new) {
            return Ok(());
        }
        let found = self.records(cx, &at.name, Type::Cname).await?.0;
        let because = if found.is_empty() || at.kind() == Type::Cname {
            "it took the update, but its answers are not so; another record of this name may stand against it"
        } else {
            "it took the update and did nothing: there is a CNAME of this name, and nothing can stand beside that"
        };
        Err(KindError::new(failed(&because)))
    }

    fn server(&self) -> Server {
        Server { host: self.server.clone(), port: self.port.0 }
    }

    fn key(&self) -> Result<TSigner, KindError> {
        let wrong = |e: &dyn std::fmt::Display| KindError::new(format!("the key `{}` cannot be used: {e}", self.key));
        let secret = STANDARD.decode(self.secret.expose().trim()).map_err(|_| wrong(&"its secret is no base64"))?;
        let algorithm = match self.algorithm {
            Algorithm::Sha256 => TsigAlgorithm::HmacSha256,
            Algorithm::Sha384 => TsigAlgorithm::HmacSha384,
            Algorithm::Sha512 => TsigAlgorithm::HmacSha512,
        };
        let name = value::name(&self.key).map_err(|e| wrong(&e))?;
        TSigner::new(secret, algorithm, name, FUDGE).map_err(|e| wrong(&e))
    }

    async fn records(&self, cx: &ReadCx, name: &Name, kind: Type) -> Result<Found, KindError> {
        let key = self.key()?;
        let server = self.server();
        let failed = |why: &dyn std::fmt::Display| format!("cannot read {name} {kind} at {server}: {why}");
        let manner = Manner { key: Some(&key), recursion: false, limit: LIMIT };
        let answer =
            ask::question(cx, &server, name, kind.wire(), manner).await.map_err(|silence| self.unheard(&failed(&silence), &silence))?;
        let code = answer.metadata.response_code;
        if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
            let transient = code == ResponseCode::ServFail;
            let error = KindError { transient, ..KindError::new(failed(&format!("it answers {}", ask::code(code)))) };
            return Err(error.help("look whether it serves the zone, and answers this machine and this key"));
        }
        let cut = kind == Type::Ns && answer.answers.is_empty() && !answer.authorities.is_empty();
        if !answer.metadata.authoritative && !cut {
            let error = KindError::new(failed(&"it is no authority for the zone"));
            return Err(error.help("`server` must be the primary server of the zone"));
        }
        ask::records(&answer, Some(name), kind).map_err(|e| KindError::new(failed(&e)))
    }

    /// What was found, unless that is the answer of a wildcard above and not of records of this name.
    async fn of_its_own(&self, cx: &ReadCx, at: &Place, name: &Name, kind: Type, found: Found) -> Result<Found, KindError> {
        let mut above = name.clone();
        while !found.0.is_empty() && !name.is_wildcard() && above.num_labels() > at.zone.num_labels() {
            above = above.base_name();
            let Ok(wildcard) = above.prepend_label("*") else { break };
            let its = self.records(cx, &wildcard, kind).await?;
            if !its.0.is_empty() {
                return Ok(if its == found { Found::default() } else { found });
            }
        }
        Ok(found)
    }

    fn unheard(&self, message: &str, silence: &Silence) -> KindError {
        let error = KindError { transient: silence.may_pass(), ..KindError::new(message) };
        match silence {
            Silence::Untrusted(_) => error.help(format!("look at the name, the algorithm and the secret of the key `{}`", self.key)),
            Silence::Timeout(_) | Silence::Unreachable(_) | Silence::Nonsense(_) | Silence::Ended => error,
        }
    }

    fn refused(&self, message: &str, code: ResponseCode, at: &Place) -> KindError {
        let error = KindError { transient: code == ResponseCode::ServFail, ..KindError::new(message) };
        match code {
            ResponseCode::Refused => {
                error.help(format!("let the key `{}` change {} and {} (BIND: update-policy)", self.key, at.name(), shown_mark_name(at)))
            }
            ResponseCode::NotAuth | ResponseCode::NotZone => {
                error.help(format!("it does not serve the zone {}; look at `zone`", at.zone()))
            }
            _ => error,
        }
    }
}

fn shown_mark_name(at: &Place) -> String {
    mark_name(at).map_or_else(|_| "the name beside it".into(), |name| name.to_ascii())
}
