//! What one name server says about a name and a type, told apart: records, no such name, no such
//! record, or why it says nothing.

use super::ask::{self, Manner, Server};
use super::value::Type;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData};
use std::collections::BTreeSet;
use trees_runner::kind::ReadCx;

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The values; none where there is no such name or no such record.
    pub values: BTreeSet<String>,
    /// How long they may be kept, in seconds.
    pub ttl: u32,
    /// It speaks for the zone.
    pub authoritative: bool,
    /// In words.
    pub text: String,
}

/// Asks one server.
///
/// # Errors
/// Why it gave no answer, in words.
pub async fn look(cx: &ReadCx, server: &Server, name: &Name, kind: Type, manner: Manner<'_>) -> Result<Answer, String> {
    let message = ask::question(cx, server, name, kind.wire(), manner).await.map_err(|silence| silence.to_string())?;
    let code = message.metadata.response_code;
    match code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        ResponseCode::ServFail => return Err("SERVFAIL: it cannot answer for this zone".into()),
        ResponseCode::Refused => return Err("REFUSED: it does not answer for this zone, or not to this machine".into()),
        other => return Err(ask::code(other)),
    }
    let (values, ttl) = ask::records(&message, None, kind)?;
    let alias = message.answers.iter().find_map(|record| match &record.data {
        RData::CNAME(name) if kind != Type::Cname => Some(name.0.to_ascii()),
        _ => None,
    });
    let through = alias.map(|alias| format!(" (it is an alias of {alias})")).unwrap_or_default();
    let text = if !values.is_empty() {
        format!("{}{through}", values.iter().cloned().collect::<Vec<_>>().join(", "))
    } else if code == ResponseCode::NXDomain {
        format!("NXDOMAIN: there is no name {name}{through}")
    } else {
        format!("NODATA: the name {name} has no record of type {kind}{through}")
    };
    Ok(Answer { values, ttl, authoritative: message.metadata.authoritative, text })
}
