//! The messages of dynamic updates (RFC 2136): conditions and changes.

use super::place::Place;
use super::set::{Set, is_mark};
use super::value::{Type, Value};
use hickory_proto::op::{Message, OpCode, Query};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use serde::Deserialize as _;
use std::collections::BTreeSet;
use trees_runner::kind::KindError;

/// Where the owner of a set stands: `_trees-<type>.<name>`, and beside a delegation, where nothing
/// below it would be answered, `_trees-ns-<first label>` above it.
///
/// # Errors
/// When the name would be too long.
pub(super) fn mark_name(at: &Place) -> Result<Name, KindError> {
    let kind = at.kind().as_str().to_lowercase();
    let made = if at.kind() == Type::Ns && at.name != at.zone {
        let label = at.name.iter().next().map(|label| String::from_utf8_lossy(label).into_owned()).unwrap_or_default();
        at.name.base_name().prepend_label(format!("_trees-ns-{label}"))
    } else {
        at.name.prepend_label(format!("_trees-{kind}"))
    };
    made.map_err(|e| KindError::new(format!("there is no room for the mark beside {at}: {e}")))
}

/// The message that takes the set and its mark from `old` to `new`, where they are as `old`.
///
/// # Errors
/// When a value cannot be read, or there is no room for the mark.
pub(super) fn update(at: &Place, old: &Set, new: &Set) -> Result<Message, KindError> {
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
