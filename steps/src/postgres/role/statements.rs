//! The statements that make a role so, and those that take it back.

use super::super::changed_since;
use super::super::name::{ident, literal};
use super::found::Found;
use super::{Flip, Privilege, Record, With};
use serde_json::json;
use trees_core::event::Json;
use trees_runner::kind::{Cx, KindError};

/// Attributes that are not as wanted.
pub fn attributes(with: &With, found: &Found) -> Vec<Flip> {
    let flags = [
        ("login", with.login, found.login),
        ("createdb", with.createdb, found.createdb),
        ("createrole", with.createrole, found.createrole),
    ];
    let flags = flags.into_iter().filter_map(|(field, wanted, there)| Some((field, json!(there), json!(wanted?))));
    let limit = with.connection_limit.map(|wanted| ("connection_limit", json!(found.connection_limit), json!(wanted)));
    flags
        .chain(limit)
        .filter(|(_, there, wanted)| there != wanted)
        .map(|(field, before, after)| Flip { field: field.into(), before, after })
        .collect()
}

/// As it stands in CREATE ROLE and ALTER ROLE.
fn option(field: &str, value: &Json) -> String {
    match (field, value.as_bool()) {
        (_, Some(true)) => field.to_uppercase(),
        (_, Some(false)) => format!("NO{}", field.to_uppercase()),
        (_, None) => format!("CONNECTION LIMIT {value}"),
    }
}

pub fn creation(with: &With, verifier: Option<&str>) -> Result<String, KindError> {
    let mut options = vec![option("login", &json!(with.login.unwrap_or(true)))];
    options.extend(with.createdb.map(|on| option("createdb", &json!(on))));
    options.extend(with.createrole.map(|on| option("createrole", &json!(on))));
    options.extend(with.connection_limit.map(|limit| option("connection_limit", &json!(limit))));
    if let Some(verifier) = verifier {
        options.push(format!("PASSWORD {}", literal(verifier)?));
    }
    Ok(format!("CREATE ROLE {} WITH {}", ident(&with.name)?, options.join(" ")))
}

pub fn alteration(name: &str, flips: &[Flip], verifier: Option<&str>) -> Result<Option<String>, KindError> {
    let mut options: Vec<String> = flips.iter().map(|flip| option(&flip.field, &flip.after)).collect();
    if let Some(verifier) = verifier {
        options.push(format!("PASSWORD {}", literal(verifier)?));
    }
    if options.is_empty() { Ok(None) } else { Ok(Some(format!("ALTER ROLE {} WITH {}", ident(name)?, options.join(" ")))) }
}

pub fn grants(name: &str, member_of: &[String], grants: &[(String, Privilege)]) -> Result<Vec<String>, KindError> {
    let role = ident(name)?;
    let members = member_of.iter().map(|group| Ok(format!("GRANT {} TO {role}", ident(group)?)));
    let grants =
        grants.iter().map(|(database, privilege)| Ok(format!("GRANT {} ON DATABASE {} TO {role}", privilege.word(), ident(database)?)));
    members.chain(grants).collect()
}

pub fn revocations(name: &str, member_of: &[String], grants: &[(String, Privilege)]) -> Result<Vec<String>, KindError> {
    let role = ident(name)?;
    let members = member_of.iter().map(|group| Ok(format!("REVOKE {} FROM {role}", ident(group)?)));
    let grants =
        grants.iter().map(|(database, privilege)| Ok(format!("REVOKE {} ON DATABASE {} FROM {role}", privilege.word(), ident(database)?)));
    members.chain(grants).collect()
}

/// Attributes that still are as this step set them.
pub fn put_back(record: &Record, found: &Found, cx: &Cx) -> Result<Vec<String>, KindError> {
    let mut back = Vec::new();
    for flip in &record.attributes {
        let now = match flip.field.as_str() {
            "login" => json!(found.login),
            "createdb" => json!(found.createdb),
            "createrole" => json!(found.createrole),
            _ => json!(found.connection_limit),
        };
        if now == flip.after {
            back.push(Flip { field: flip.field.clone(), before: flip.after.clone(), after: flip.before.clone() });
        } else if now != flip.before {
            cx.log(changed_since(&format!("`{}` of the role `{}`", flip.field, record.name)));
        }
    }
    Ok(alteration(&record.name, &back, None)?.into_iter().collect())
}
