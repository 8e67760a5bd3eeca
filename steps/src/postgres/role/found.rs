//! How a role is: what the server tells of it, and whether it has the password.

use super::super::session::{Access, Reader, get};
use super::super::{change, password};
use super::statements::attributes;
use super::{Privilege, With};
use serde_json::json;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;
use trees_runner::kind::{Change, KindError, ReadCx};

/// A role as it is found.
pub struct Found {
    pub login: bool,
    pub createdb: bool,
    pub createrole: bool,
    pub connection_limit: i32,
    pub comment: Option<String>,
    pub member_of: Vec<String>,
    pub grants: Vec<(String, String)>,
    pub verifier: Verifier,
}

/// What the server keeps of the password.
pub enum Verifier {
    /// As this user can read it.
    Read(Option<String>),
    /// This user may not read it.
    Hidden,
}

/// Whether the password is the one that is wanted.
#[derive(Debug, PartialEq, Eq)]
pub enum Match {
    Right,
    /// There is none.
    None,
    Wrong,
    /// The user may not read what is kept of it, and logging in does not tell.
    Hidden(String),
    /// It cannot be told for another reason.
    Unknown(String),
}

/// The role of this name.
pub async fn find(reader: &Reader, name: &str) -> Result<Option<Found>, KindError> {
    let asked = format!("look at the role `{name}`");
    let select = "SELECT oid::text AS oid, rolcanlogin AS login, rolcreatedb AS createdb, rolcreaterole AS createrole, \
                  rolconnlimit AS connection_limit, shobj_description(oid, 'pg_authid') AS comment, \
                  has_column_privilege('pg_catalog.pg_authid', 'rolpassword', 'SELECT') AS readable \
                  FROM pg_roles WHERE rolname = $1";
    let Some(row) = reader.row(&asked, select, &[name]).await? else { return Ok(None) };
    let oid: String = get(&row, "oid")?;
    let member_of = "SELECT g.rolname::text AS name FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = $1::oid";
    let member_of = reader.rows(&asked, member_of, &[&oid]).await?;
    let grants = "SELECT d.datname::text AS database, a.privilege_type::text AS privilege FROM pg_database d \
                  CROSS JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE a.grantee = $1::oid";
    let grants = reader.rows(&asked, grants, &[&oid]).await?;
    let verifier = if get(&row, "readable")? {
        let row = reader.row(&asked, "SELECT rolpassword AS verifier FROM pg_authid WHERE oid = $1::oid", &[&oid]).await?;
        Verifier::Read(row.map_or(Ok(None), |row| get(&row, "verifier"))?)
    } else {
        Verifier::Hidden
    };
    Ok(Some(Found {
        login: get(&row, "login")?,
        createdb: get(&row, "createdb")?,
        createrole: get(&row, "createrole")?,
        connection_limit: get(&row, "connection_limit")?,
        comment: get(&row, "comment")?,
        member_of: member_of.iter().map(|row| get(row, "name")).collect::<Result<_, _>>()?,
        grants: grants.iter().map(|row| Ok((get(row, "database")?, get(row, "privilege")?))).collect::<Result<_, KindError>>()?,
        verifier,
    }))
}

/// All but the password.
pub fn differences(with: &With, found: &Found) -> Vec<Change> {
    let comment = found.comment.as_deref();
    let mut changes: Vec<Change> =
        attributes(with, found).into_iter().map(|flip| change(flip.field, flip.before, flip.after, comment)).collect();
    changes.extend(missing_memberships(with, found).map(|name| change(format!("member_of.{name}"), json!(null), "member", comment)));
    let granted = |(database, privilege): (String, Privilege)| {
        change(format!("grants.{database}.{}", privilege.word().to_lowercase()), json!(null), "granted", comment)
    };
    changes.extend(missing_grants(with, found).map(granted));
    changes
}

/// Of `member_of`.
pub fn missing_memberships<'a>(with: &'a With, found: &'a Found) -> impl Iterator<Item = &'a String> {
    with.member_of.iter().filter(|name| !found.member_of.contains(name))
}

/// Of `grants`.
pub fn missing_grants<'a>(with: &'a With, found: &'a Found) -> impl Iterator<Item = (String, Privilege)> + 'a {
    let all = with.grants.iter().flat_map(|(database, privileges)| privileges.iter().map(|privilege| (database.clone(), *privilege)));
    all.filter(|(database, privilege)| !found.grants.contains(&(database.clone(), privilege.word().to_owned())))
}

/// By what the server keeps of the password, else by logging in.
pub async fn compare(access: &Access, with: &With, found: &Found, cx: &ReadCx) -> Result<Match, KindError> {
    let Some(wanted) = &with.role_password else { return Ok(Match::Right) };
    match &found.verifier {
        Verifier::Read(None) => Ok(Match::None),
        Verifier::Read(Some(verifier)) => Ok(match password::fits(verifier, &with.name, wanted) {
            Some(true) => Match::Right,
            Some(false) => Match::Wrong,
            None => Match::Unknown("what the server keeps of the password is of a kind that is not known here".into()),
        }),
        Verifier::Hidden if !found.login => {
            Ok(Match::Hidden("the role may not log in, and this user may not read what is kept of its password".into()))
        }
        Verifier::Hidden => try_login(access, &with.name, wanted, cx).await,
    }
}

/// First without a password: a server that lets one in so says nothing of any password.
pub async fn try_login(access: &Access, role: &str, wanted: &str, cx: &ReadCx) -> Result<Match, KindError> {
    let with_password = |password| Access { server: access.server.by(role), password, ..access.clone() };
    if with_password(None).knock(cx).await?.is_ok() {
        return Ok(Match::Hidden("the server lets the role in without a password, and this user may not read what is kept of it".into()));
    }
    Ok(match with_password(Some(wanted.to_owned())).knock(cx).await? {
        Ok(()) => Match::Right,
        Err(e) => match e.code() {
            Some(code) if *code == SqlState::INVALID_PASSWORD => Match::Wrong,
            // It was let in, and then turned away for another reason.
            Some(code) if *code == SqlState::INVALID_CATALOG_NAME || *code == SqlState::INSUFFICIENT_PRIVILEGE => Match::Right,
            Some(_) => Match::Hidden(untold(&e)),
            // The server said nothing.
            None => Match::Unknown(untold(&e)),
        },
    })
}

fn untold(error: &Error) -> String {
    format!("whether the password is right cannot be told by logging in: {error}")
}
