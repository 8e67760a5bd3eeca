//! The values of records, in one form however they are written.
//!
//! `Value::written` reads what stands in a tree file, `Value::read` what a server said; both give
//! the same value for the same record: names are whole and in lower case, addresses in their short
//! form, texts without quotes. Showing a value gives what is compared, recorded and given out.

use super::quotes::{is_plain, one_quoted, parts, quoted, unquoted};
use hickory_proto::rr::rdata::{A, AAAA, CAA, CNAME, MX, NS, PTR, SRV, SSHFP, TLSA, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The type of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Type {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// Who may issue certificates: `0 issue "ca.example.net"`.
    Caa,
    /// Another name.
    Cname,
    /// Who takes mail: `10 mail.example.org`.
    Mx,
    /// A name server.
    Ns,
    /// The name of an address.
    Ptr,
    /// Where a service is: priority, weight, port, name.
    Srv,
    /// The fingerprint of an SSH key: algorithm, type, digits.
    Sshfp,
    /// A certificate: usage, selector, matching, digits.
    Tlsa,
    /// A text.
    Txt,
}

impl Type {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Caa => "CAA",
            Self::Cname => "CNAME",
            Self::Mx => "MX",
            Self::Ns => "NS",
            Self::Ptr => "PTR",
            Self::Srv => "SRV",
            Self::Sshfp => "SSHFP",
            Self::Tlsa => "TLSA",
            Self::Txt => "TXT",
        }
    }

    /// As it stands in a message.
    pub(super) fn wire(self) -> RecordType {
        match self {
            Self::A => RecordType::A,
            Self::Aaaa => RecordType::AAAA,
            Self::Caa => RecordType::CAA,
            Self::Cname => RecordType::CNAME,
            Self::Mx => RecordType::MX,
            Self::Ns => RecordType::NS,
            Self::Ptr => RecordType::PTR,
            Self::Srv => RecordType::SRV,
            Self::Sshfp => RecordType::SSHFP,
            Self::Tlsa => RecordType::TLSA,
            Self::Txt => RecordType::TXT,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The value of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A.
    Four(Ipv4Addr),
    /// AAAA.
    Six(Ipv6Addr),
    /// CNAME, NS, PTR.
    Name(Name),
    /// MX.
    Mail { preference: u16, exchange: Name },
    /// SRV.
    Service { priority: u16, weight: u16, port: u16, target: Name },
    /// CAA.
    Issuer { flags: u8, tag: String, value: Vec<u8> },
    /// SSHFP.
    Fingerprint { algorithm: u8, digest: u8, data: Vec<u8> },
    /// TLSA.
    Certificate { usage: u8, selector: u8, matching: u8, data: Vec<u8> },
    /// TXT, its parts joined.
    Text(Vec<u8>),
}

/// What a name in a value may be.
#[derive(Clone, Copy)]
enum Names<'a> {
    /// As a person writes it: whole, or `@` for the zone, where there is one.
    Written(Option<&'a Name>),
    /// As a server says it.
    Said,
}

impl Value {
    /// Reads what a person wrote; `@` is the zone.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that begins with the value.
    pub fn written(kind: Type, zone: Option<&Name>, text: &str) -> Result<Self, String> {
        parse(kind, Names::Written(zone), text.trim())
    }

    /// Reads what a server said.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that begins with the value.
    pub fn read(kind: Type, text: &str) -> Result<Self, String> {
        parse(kind, Names::Said, text)
    }

    /// The value of a record in a message; `None` where it is of no type that is known here.
    pub fn of(data: &RData) -> Option<Self> {
        Some(match data {
            RData::A(address) => Self::Four(address.0),
            RData::AAAA(address) => Self::Six(address.0),
            RData::CNAME(name) => Self::Name(plain(&name.0)),
            RData::NS(name) => Self::Name(plain(&name.0)),
            RData::PTR(name) => Self::Name(plain(&name.0)),
            RData::MX(mail) => Self::Mail { preference: mail.preference, exchange: plain(&mail.exchange) },
            RData::SRV(s) => Self::Service { priority: s.priority, weight: s.weight, port: s.port, target: plain(&s.target) },
            RData::CAA(caa) => Self::Issuer { flags: caa.flags(), tag: caa.tag.to_lowercase(), value: caa.value.clone() },
            RData::SSHFP(print) => Self::Fingerprint {
                algorithm: print.algorithm.into(),
                digest: print.fingerprint_type.into(),
                data: print.fingerprint.clone(),
            },
            RData::TLSA(tlsa) => Self::Certificate {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data.clone(),
            },
            RData::TXT(text) => Self::Text(text.txt_data.concat()),
            _ => return None,
        })
    }

    /// As it stands in a message.
    pub fn wire(&self, kind: Type) -> RData {
        match self {
            Self::Four(address) => RData::A(A(*address)),
            Self::Six(address) => RData::AAAA(AAAA(*address)),
            Self::Name(name) => match kind {
                Type::Ns => RData::NS(NS(name.clone())),
                Type::Ptr => RData::PTR(PTR(name.clone())),
                Type::A | Type::Aaaa | Type::Caa | Type::Cname | Type::Mx | Type::Srv | Type::Sshfp | Type::Tlsa | Type::Txt => {
                    RData::CNAME(CNAME(name.clone()))
                }
            },
            Self::Mail { preference, exchange } => RData::MX(MX::new(*preference, exchange.clone())),
            Self::Service { priority, weight, port, target } => RData::SRV(SRV::new(*priority, *weight, *port, target.clone())),
            Self::Issuer { flags, tag, value } => RData::CAA(issuer(*flags, tag, value)),
            Self::Fingerprint { algorithm, digest, data } => RData::SSHFP(SSHFP::new((*algorithm).into(), (*digest).into(), data.clone())),
            Self::Certificate { usage, selector, matching, data } => {
                RData::TLSA(TLSA::new((*usage).into(), (*selector).into(), (*matching).into(), data.clone()))
            }
            Self::Text(bytes) => RData::TXT(TXT::from_bytes(parts(bytes))),
        }
    }

    /// As it stands in a zone file: like what is shown, with texts in quotes.
    pub fn content(&self) -> String {
        match self {
            Self::Text(bytes) => quoted(bytes),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Four(address) => address.fmt(f),
            Self::Six(address) => address.fmt(f),
            Self::Name(name) => f.write_str(&name.to_ascii()),
            Self::Mail { preference, exchange } => write!(f, "{preference} {}", exchange.to_ascii()),
            Self::Service { priority, weight, port, target } => write!(f, "{priority} {weight} {port} {}", target.to_ascii()),
            Self::Issuer { flags, tag, value } => write!(f, "{flags} {tag} {}", one_quoted(value)),
            Self::Fingerprint { algorithm, digest, data } => write!(f, "{algorithm} {digest} {}", digits(data)),
            Self::Certificate { usage, selector, matching, data } => write!(f, "{usage} {selector} {matching} {}", digits(data)),
            Self::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if is_plain(text) => f.write_str(text),
                Ok(_) | Err(_) => f.write_str(&quoted(bytes)),
            },
        }
    }
}

/// Values as a person wrote them, in the one form in which they are compared.
///
/// # Errors
/// A sentence for each that is wrong; it begins with the field.
pub(super) fn all<'a>(
    field: &str,
    kind: Type,
    zone: Option<&Name>,
    written: impl IntoIterator<Item = &'a String>,
) -> Result<BTreeSet<String>, Vec<String>> {
    let mut wrong = Vec::new();
    let mut values = BTreeSet::new();
    for text in written {
        match Value::written(kind, zone, text) {
            Ok(value) => drop(values.insert(value.to_string())),
            Err(e) => wrong.push(format!("{field}: `{text}` {e}")),
        }
    }
    if wrong.is_empty() { Ok(values) } else { Err(wrong) }
}

/// A name in lower case and with its last dot.
pub(super) fn plain(name: &Name) -> Name {
    let mut name = name.to_lowercase();
    name.set_fqdn(true);
    name
}

/// Reads a name; a missing last dot is added.
///
/// # Errors
/// Why it is none.
pub(super) fn name(text: &str) -> Result<Name, String> {
    let read = if text.is_ascii() { Name::from_ascii(text) } else { Name::from_utf8(text) };
    read.map(|name| plain(&name)).map_err(|e| format!("is no name: {e}"))
}

fn parse(kind: Type, names: Names<'_>, text: &str) -> Result<Value, String> {
    let mut words = text.split_whitespace();
    let value = match kind {
        Type::Txt => return Ok(Value::Text(if text.starts_with('"') { unquoted(text)? } else { text.as_bytes().to_vec() })),
        Type::Caa => return issuer_of(text),
        Type::A => Value::Four(next(&mut words, "is no IPv4 address")?),
        Type::Aaaa => Value::Six(next(&mut words, "is no IPv6 address")?),
        Type::Cname | Type::Ns | Type::Ptr => Value::Name(name_in(&mut words, names)?),
        Type::Mx => {
            let preference = next(&mut words, "must begin with the preference, as in `10 mail.example.org`")?;
            Value::Mail { preference, exchange: name_in(&mut words, names)? }
        }
        Type::Srv => {
            let form = "must be priority, weight, port and name, as in `10 5 443 web.example.org`";
            let [priority, weight, port] = [next(&mut words, form)?, next(&mut words, form)?, next(&mut words, form)?];
            Value::Service { priority, weight, port, target: name_in(&mut words, names)? }
        }
        Type::Sshfp => {
            let form = "must be algorithm, type and hexadecimal digits, as in `4 2 12ab…`";
            let [algorithm, digest] = [next(&mut words, form)?, next(&mut words, form)?];
            return Ok(Value::Fingerprint { algorithm, digest, data: bytes(words, form)? });
        }
        Type::Tlsa => {
            let form = "must be usage, selector, matching and hexadecimal digits, as in `3 1 1 12ab…`";
            let [usage, selector, matching] = [next(&mut words, form)?, next(&mut words, form)?, next(&mut words, form)?];
            return Ok(Value::Certificate { usage, selector, matching, data: bytes(words, form)? });
        }
    };
    match words.next() {
        None => Ok(value),
        Some(more) => Err(format!("has more than a record of type {kind} may have: `{more}`")),
    }
}

fn next<'a, T: FromStr>(words: &mut impl Iterator<Item = &'a str>, wrong: &str) -> Result<T, String> {
    words.next().and_then(|word| word.parse().ok()).ok_or_else(|| wrong.to_owned())
}

fn name_in<'a>(words: &mut impl Iterator<Item = &'a str>, names: Names<'_>) -> Result<Name, String> {
    let text = words.next().ok_or("has no name")?;
    match names {
        Names::Written(Some(zone)) if text == "@" => Ok(zone.clone()),
        Names::Written(zone) if !text.contains('.') => {
            let zone = zone.map_or_else(|| "example.org".to_owned(), Name::to_ascii);
            Err(format!("has no whole name: write `{text}.{}`", zone.trim_end_matches('.')))
        }
        Names::Written(_) | Names::Said => name(text),
    }
}

fn issuer_of(text: &str) -> Result<Value, String> {
    let form = "must be flags, tag and value, as in `0 issue \"ca.example.net\"`";
    let (flags, rest) = text.split_once(char::is_whitespace).ok_or(form)?;
    let (tag, value) = rest.trim_start().split_once(char::is_whitespace).ok_or(form)?;
    let value = value.trim();
    let value = if value.starts_with('"') { unquoted(value)? } else { value.as_bytes().to_vec() };
    let tag = tag.to_lowercase();
    if tag.is_empty() || !tag.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(form.into());
    }
    Ok(Value::Issuer { flags: flags.parse().map_err(|_| form)?, tag, value })
}

fn issuer(flags: u8, tag: &str, value: &[u8]) -> CAA {
    let mut caa = CAA::new_issue(flags & 0x80 != 0, None, Vec::new());
    caa.reserved_flags = flags & 0x7F;
    tag.clone_into(&mut caa.tag);
    caa.value = value.to_vec();
    caa
}

fn bytes<'a>(words: impl Iterator<Item = &'a str>, wrong: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = words.flat_map(str::bytes).collect();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let all: Option<Vec<u8>> = digits.chunks(2).map(pair).collect();
    all.filter(|all| !all.is_empty()).ok_or_else(|| wrong.to_owned())
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{Type, Value, name};

    fn check(kind: Type, written: &str, expected: Result<&str, &str>) {
        let zone = name("Example.org").unwrap();
        let read = Value::written(kind, Some(&zone), written);
        match (&read, expected) {
            (Ok(value), Ok(shown)) => {
                assert_eq!(value.to_string(), shown, "{written}");
                assert_eq!(Value::written(kind, Some(&zone), shown).as_ref(), Ok(value), "shown and read again: {shown}");
                assert_eq!(Value::read(kind, &value.content()).as_ref(), Ok(value), "said in a zone file: {}", value.content());
                assert_eq!(Value::of(&value.wire(kind)).as_ref(), Some(value), "sent and come back: {shown}");
            }
            (Err(wrong), Err(part)) => assert!(wrong.contains(part), "{written}: {wrong}"),
            (got, expected) => panic!("{written}: {expected:?}, got {got:?}"),
        }
    }

    #[test]
    fn every_form_of_a_value_is_one_value() {
        check(Type::A, " 192.0.2.1", Ok("192.0.2.1"));
        check(Type::A, "192.0.2", Err("is no IPv4 address"));
        check(Type::A, "192.0.2.1 192.0.2.2", Err("has more than a record of type A"));
        check(Type::Aaaa, "2001:DB8:0:0::1", Ok("2001:db8::1"));
        check(Type::Aaaa, "::ffff:192.0.2.1", Ok("::ffff:192.0.2.1"));
        check(Type::Cname, "WEB.example.NET", Ok("web.example.net."));
        check(Type::Cname, "@", Ok("example.org."));
        check(Type::Cname, "web", Err("write `web.example.org`"));
        check(Type::Cname, "bücher.example", Ok("xn--bcher-kva.example."));
        check(Type::Ns, "ns1.example.net.", Ok("ns1.example.net."));
        check(Type::Ptr, "a.example.net.", Ok("a.example.net."));
        check(Type::Mx, "10  Mail.Example.org.", Ok("10 mail.example.org."));
        check(Type::Mx, "0 .", Ok("0 ."));
        check(Type::Mx, "mail.example.org", Err("must begin with the preference"));
        check(Type::Srv, "1 2 443 web.example.org", Ok("1 2 443 web.example.org."));
        check(Type::Srv, "1 2 web.example.org", Err("must be priority"));
        check(Type::Caa, "0 ISSUE ca.example.net", Ok("0 issue \"ca.example.net\""));
        check(Type::Caa, "128 iodef \"mailto:a@example.org\"", Ok("128 iodef \"mailto:a@example.org\""));
        check(Type::Caa, "issue ca.example.net", Err("must be flags"));
        check(Type::Sshfp, "4 2 12AB 34cd", Ok("4 2 12ab34cd"));
        check(Type::Sshfp, "4 2 12a", Err("hexadecimal"));
        check(Type::Tlsa, "3 1 1 00FF", Ok("3 1 1 00ff"));
    }

    #[test]
    fn a_text_is_the_same_in_quotes_and_in_parts() {
        check(Type::Txt, "v=spf1 -all", Ok("v=spf1 -all"));
        check(Type::Txt, r#""v=spf1" " -all""#, Ok("v=spf1 -all"));
        check(Type::Txt, r#"a "b" \c"#, Ok(r#"a "b" \c"#));
        check(Type::Txt, r#""\"a\" \\ \195\164""#, Ok(r#""\"a\" \\ \195\164""#));
        check(Type::Txt, "ä", Ok("ä"));
        check(Type::Txt, r#""\195\164""#, Ok("ä"));
        check(Type::Txt, r#""\255\000""#, Ok(r#""\255\000""#));
        check(Type::Txt, r#""""#, Ok(r#""""#));
        check(Type::Txt, &"x".repeat(600), Ok(&"x".repeat(600)));
        check(Type::Txt, r#""a" b"#, Err("behind its quotes"));
        check(Type::Txt, r#""a"#, Err("does not end"));
        check(Type::Txt, r#""\300""#, Err("is no byte"));
    }
}
