//! Dynamic updates (RFC 2136): the set as it was read is the condition of each change, so a change by
//! somebody else in between is never lost. Questions, updates and their answers are signed (TSIG).
//!
//! Records have no comments here: whose a set is stands in a TXT record beside it, [`mark_name`].

use super::ask::{self, Manner, Server, Silence};
use super::place::Place;
use super::provider::changed;
use super::secret::Secret;
use super::set::{Set, is_mark};
use super::value::{self, Type, Value};
use crate::number::Port;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{DNSClass, Name, Record, RecordType, TSigner};
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
        let beside = self.records(cx, &mark_name(at)?, Type::Txt).await?.0;
        let (values, ttl) = self.records(cx, &at.name, at.kind()).await?;
        let mark = beside.iter().find(|text| is_mark(text)).cloned();
        if mark.is_none() && self.is_of_a_wildcard(cx, at, &values, ttl).await? {
            return Ok(Set { extra: json!(beside), ..Set::none() });
        }
        Ok(Set { values, ttl, mark, proxied: None, extra: json!(beside) })
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

    async fn records(&self, cx: &ReadCx, name: &Name, kind: Type) -> Result<(BTreeSet<String>, u32), KindError> {
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

    /// Whether an answer is that of a wildcard above and not of records of this name.
    async fn is_of_a_wildcard(&self, cx: &ReadCx, at: &Place, values: &BTreeSet<String>, ttl: u32) -> Result<bool, KindError> {
        let mut above = at.name.clone();
        while !values.is_empty() && !at.name.is_wildcard() && above.num_labels() > at.zone.num_labels() {
            above = above.base_name();
            let Ok(wildcard) = above.prepend_label("*") else { break };
            let (found, kept) = self.records(cx, &wildcard, at.kind()).await?;
            if !found.is_empty() {
                return Ok(found == *values && kept == ttl);
            }
        }
        Ok(false)
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

/// Where the owner of a set stands: `_trees-<type>.<name>`, and beside a delegation, where nothing
/// below it would be answered, `_trees-ns-<first label>` above it.
fn mark_name(at: &Place) -> Result<Name, KindError> {
    let kind = at.kind().as_str().to_lowercase();
    let made = if at.kind() == Type::Ns && at.name != at.zone {
        let label = at.name.iter().next().map(|label| String::from_utf8_lossy(label).into_owned()).unwrap_or_default();
        at.name.base_name().prepend_label(format!("_trees-ns-{label}"))
    } else {
        at.name.prepend_label(format!("_trees-{kind}"))
    };
    made.map_err(|e| KindError::new(format!("there is no room for the mark beside {at}: {e}")))
}

fn update(at: &Place, old: &Set, new: &Set) -> Result<Message, KindError> {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(at.zone.clone(), RecordType::SOA));
    replace(&mut message, at, old, new)?;
    replace_mark(&mut message, at, old, new)?;
    Ok(message)
}

/// The condition and the change of the set itself.
fn replace(message: &mut Message, at: &Place, old: &Set, new: &Set) -> Result<(), KindError> {
    require(message, &at.name, at.kind(), &old.values)?;
    let added = new.values.iter().map(|text| record(&at.name, at.kind(), new.ttl, text)).collect::<Result<Vec<_>, _>>()?;
    // A zone never loses its last name server: those of the zone itself come before others go.
    if at.kind() == Type::Ns && at.name == at.zone {
        message.add_authorities(added);
        for text in old.values.difference(&new.values) {
            let mut gone = record(&at.name, at.kind(), 0, text)?;
            gone.dns_class = DNSClass::NONE;
            message.add_authority(gone);
        }
        return Ok(());
    }
    if old.is_there() {
        message.add_authority(empty(&at.name, at.kind(), DNSClass::ANY));
    }
    message.add_authorities(added);
    Ok(())
}

fn replace_mark(message: &mut Message, at: &Place, old: &Set, new: &Set) -> Result<(), KindError> {
    let name = mark_name(at)?;
    let there: BTreeSet<String> = if old.extra.is_null() {
        old.mark.iter().cloned().collect()
    } else {
        BTreeSet::deserialize(&old.extra).map_err(|e| KindError::new(format!("cannot read what was recorded of the mark: {e}")))?
    };
    require(message, &name, Type::Txt, &there)?;
    if old.mark == new.mark && old.ttl == new.ttl {
        return Ok(());
    }
    let kept = there.iter().filter(|text| !is_mark(text));
    let added = kept.chain(&new.mark).map(|text| record(&name, Type::Txt, new.ttl, text)).collect::<Result<Vec<_>, _>>()?;
    if !there.is_empty() {
        message.add_authority(empty(&name, Type::Txt, DNSClass::ANY));
    }
    message.add_authorities(added);
    Ok(())
}

/// The set must be exactly so.
fn require(message: &mut Message, name: &Name, kind: Type, values: &BTreeSet<String>) -> Result<(), KindError> {
    if values.is_empty() {
        message.add_answer(empty(name, kind, DNSClass::NONE));
    }
    for text in values {
        message.add_answer(record(name, kind, 0, text)?);
    }
    Ok(())
}

fn record(name: &Name, kind: Type, ttl: u32, text: &str) -> Result<Record, KindError> {
    let value = Value::read(kind, text).map_err(|e| KindError::new(format!("the value `{text}` {e}")))?;
    Ok(Record::from_rdata(name.clone(), ttl, value.wire(kind)))
}

/// A record without a value: that there is none, or that all go.
fn empty(name: &Name, kind: Type, class: DNSClass) -> Record {
    let mut record = Record::update0(name.clone(), 0, kind.wire());
    record.dns_class = class;
    record
}

#[cfg(test)]
mod tests {
    use super::{mark_name, update};
    use crate::dns::place::Place;
    use crate::dns::set::Set;
    use crate::dns::value::Type;
    use hickory_proto::rr::DNSClass;

    #[test]
    fn the_mark_stands_where_it_is_answered() {
        for (name, kind, expected) in [
            ("app", Type::A, "_trees-a.app.example.org."),
            ("@", Type::Ns, "_trees-ns.example.org."),
            ("sub", Type::Ns, "_trees-ns-sub.example.org."),
            ("*", Type::Txt, "_trees-txt.*.example.org."),
        ] {
            let at = Place::new("example.org", name, kind).unwrap();
            assert_eq!(mark_name(&at).unwrap().to_ascii(), expected);
        }
    }

    fn set(values: &[&str], mark: Option<&str>) -> Set {
        Set { values: values.iter().map(|v| (*v).to_owned()).collect(), ttl: 60, mark: mark.map(str::to_owned), ..Set::none() }
    }

    /// The conditions and changes of an update, one a line: class, name, what.
    fn check(name: &str, kind: Type, old: &Set, new: &Set, expected: &[&str]) {
        let at = Place::new("example.org", name, kind).unwrap();
        let message = update(&at, old, new).unwrap();
        let show = |record: &hickory_proto::rr::Record| {
            let class = match record.dns_class {
                DNSClass::IN => "IN",
                DNSClass::NONE => "NONE",
                DNSClass::ANY => "ANY",
                _ => "other",
            };
            format!("{} {} {class} {} {}", record.name.to_ascii(), record.ttl, record.record_type(), record.data).replace("UPDATE", "-")
        };
        let conditions = message.answers.iter().map(|record| format!("if {}", show(record)));
        let all: Vec<String> = conditions.chain(message.authorities.iter().map(show)).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn an_update_is_conditional_on_what_was_read() {
        check(
            "a",
            Type::A,
            &Set::none(),
            &set(&["192.0.2.1", "192.0.2.2"], Some("trees:p")),
            &[
                "if a.example.org. 0 NONE A -",
                "if _trees-a.a.example.org. 0 NONE TXT -",
                "a.example.org. 60 IN A 192.0.2.1",
                "a.example.org. 60 IN A 192.0.2.2",
                "_trees-a.a.example.org. 60 IN TXT trees:p",
            ],
        );
        check(
            "a",
            Type::A,
            &set(&["192.0.2.1"], Some("trees:p")),
            &Set::none(),
            &[
                "if a.example.org. 0 IN A 192.0.2.1",
                "if _trees-a.a.example.org. 0 IN TXT trees:p",
                "a.example.org. 0 ANY A -",
                "_trees-a.a.example.org. 0 ANY TXT -",
            ],
        );
        check(
            "@",
            Type::Ns,
            &set(&["ns1.example.net.", "ns2.example.net."], Some("trees:p")),
            &set(&["ns2.example.net.", "ns3.example.net."], Some("trees:p")),
            &[
                "if example.org. 0 IN NS ns1.example.net.",
                "if example.org. 0 IN NS ns2.example.net.",
                "if _trees-ns.example.org. 0 IN TXT trees:p",
                "example.org. 60 IN NS ns2.example.net.",
                "example.org. 60 IN NS ns3.example.net.",
                "example.org. 0 NONE NS ns1.example.net.",
            ],
        );
    }
}
