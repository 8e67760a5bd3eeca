//! `postgres/role`: a role with its password, attributes, memberships and grants on databases.

use super::name::{ident, literal, wrong};
use super::password;
use super::server::Server;
use super::session::{Access, Writer};
use super::{change, changed_since, comment, comment_on, holds, owner, refuse_foreign};
use crate::period::{Limit, Period};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use tokio_postgres::error::SqlState;
use trees_core::event::Json;
use trees_core::hash;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Cx, Kind, KindError, Observation, ReadCx, recorded};

mod found;
mod statements;
#[cfg(test)]
mod tests;

use found::{Found, Match, Verifier, compare, differences, find, missing_grants, missing_memberships, try_login};
use statements::{alteration, attributes, creation, grants, put_back, revocations};

/// The kind `postgres/role`.
pub struct Role;

/// What `postgres/role` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// Which server and as whom: `postgres://USER@HOST:PORT` or `host=… port=… user=…`, with `sslmode` and
    /// `sslrootcert` as libpq knows them.
    pub server: String,
    /// The password of that user; without, the step's `PGPASSWORD`.
    #[serde(default)]
    pub password: Option<String>,
    /// For connecting, and for each answer of the server.
    #[serde(default = "crate::default::half_a_minute", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub timeout: Period,
    /// The role.
    pub name: String,
    /// The role's own password; without, that of a role that is there stays, and a new one has none.
    #[serde(default)]
    pub role_password: Option<String>,
    /// It may log in; without, that of a role that is there stays, and a new one may.
    #[serde(default)]
    pub login: Option<bool>,
    /// It may make databases; without, it stays as it is.
    #[serde(default)]
    pub createdb: Option<bool>,
    /// It may make roles; without, it stays as it is.
    #[serde(default)]
    pub createrole: Option<bool>,
    /// So many connections at once, -1: as many as the server lets; without, it stays as it is.
    #[serde(default)]
    pub connection_limit: Option<i32>,
    /// Roles that it is a member of; other memberships stay.
    #[serde(default)]
    pub member_of: Vec<String>,
    /// By database, what is granted to it there; other grants stay.
    #[serde(default)]
    pub grants: BTreeMap<String, Vec<Privilege>>,
}

/// What can be granted on a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Privilege {
    /// To connect.
    Connect,
    /// To make schemas.
    Create,
    /// To make temporary tables.
    Temporary,
}

impl Privilege {
    fn word(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Create => "CREATE",
            Self::Temporary => "TEMPORARY",
        }
    }
}

/// What `postgres/role` returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The role.
    pub name: String,
    /// It may log in.
    pub login: bool,
}

/// How a role is taken back.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    server: Server,
    name: String,
    /// The role was not there.
    made: bool,
    /// Attributes that this step changes.
    attributes: Vec<Flip>,
    password: Option<Secret>,
    member_of: Vec<String>,
    grants: Vec<(String, Privilege)>,
    /// The comment on a role that it makes.
    comment: String,
}

/// An attribute, before and after; as `CREATEDB`, `CONNECTION LIMIT 5`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Flip {
    field: String,
    before: Json,
    after: Json,
}

/// A password that this step sets.
#[derive(Debug, Serialize, Deserialize)]
struct Secret {
    /// What there was; `None`: nothing.
    before: Option<Before>,
    /// This user may read verifiers.
    readable: bool,
    /// The digest of the new verifier.
    after: String,
}

/// The verifier that a password had.
#[derive(Debug, Serialize, Deserialize)]
struct Before {
    sha256: String,
    /// Itself, sealed: the record is read by more than may see it.
    sealed: String,
}

impl Kind for Role {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "postgres/role",
        summary: "Make a PostgreSQL role",
        doc: include_str!("role.md"),
        example: "tree: shop\nsecrets:\n  PG_ADMIN: {}\n  PG_SHOP: {}\nsteps:\n  role:\n    uses: postgres/role\n    with:\n      \
                  server: host=127.0.0.1 port=5432 user=postgres\n      password: \"{{ secrets.PG_ADMIN }}\"\n      \
                  name: shop\n      role_password: \"{{ secrets.PG_SHOP }}\"\n      member_of: [pg_monitor]\n      grants: { postgres: [connect] }\n",
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
        let mut found: Vec<String> = Server::read(&with.server).err().map(|e| format!("server: {e}")).into_iter().collect();
        found.extend(wrong("name", &with.name));
        found.extend(with.member_of.iter().filter_map(|name| wrong("member_of", name)));
        found.extend(with.grants.keys().filter_map(|name| wrong("grants", name)));
        if with.name.starts_with("pg_") {
            found.push("name: names that begin with `pg_` are PostgreSQL's own".into());
        }
        if with.connection_limit.is_some_and(|limit| limit < -1) {
            found.push("connection_limit: at least -1".into());
        }
        match with.role_password.as_deref() {
            Some("") => found.push("role_password: it is empty".into()),
            Some(password) if password.contains('\0') => found.push("role_password: it holds a NUL byte".into()),
            Some(_) | None => {}
        }
        found
    }

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        Ok(see(with, cx).await?.0)
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let access = Access::of(&with.server, with.password.as_deref(), with.timeout, cx)?;
        let writer = access.write(cx).await?;
        writer.alone(&what(&with.name)).await?;
        match find(&access.read(cx).await?, &with.name).await? {
            None => make(&access, &writer, with, cx).await?,
            Some(found) => alter(&access, &writer, with, &found, cx).await?,
        }
        writer.close().await;
        let found = find(&access.read(cx).await?, &with.name).await?;
        let found = found.ok_or_else(|| KindError::new(format!("the role `{}` is gone", with.name)))?;
        if let Match::Hidden(why) = compare(&access, with, &found, cx).await? {
            cx.log(format!("the password of {} is not verified: {why}", what(&with.name)));
        }
        Ok(out(with, &found))
    }

    async fn verify(with: &With, _out: &Out, cx: &ReadCx) -> Result<(), KindError> {
        match see(with, cx).await? {
            // The server has taken it, and the step's log says that this is all that is known.
            (Observation::Unknown(_), Sight::Hidden) => Ok(()),
            (seen, Sight::Clear | Sight::Hidden) => holds(&what(&with.name), seen),
        }
    }

    async fn undo(record: &Json, cx: &Cx) -> Result<(), KindError> {
        let record: Record = recorded(record)?;
        let access = Access::again(&record.server, cx);
        let writer = access.write(cx).await?;
        writer.alone(&what(&record.name)).await?;
        let Some(found) = find(&access.read(cx).await?, &record.name).await? else { return Ok(()) };
        if record.made {
            unmake(&access, &writer, &record, &found, cx).await?;
        } else {
            restore(&access, &writer, &record, &found, cx).await?;
        }
        writer.close().await;
        Ok(())
    }
}

/// Whether the user of `server` can tell the role's password.
enum Sight {
    Clear,
    Hidden,
}

async fn see(with: &With, cx: &ReadCx) -> Result<(Observation<Out>, Sight), KindError> {
    let access = Access::of(&with.server, with.password.as_deref(), with.timeout, cx)?;
    let Some(found) = find(&access.read(cx).await?, &with.name).await? else { return Ok((Observation::Absent, Sight::Clear)) };
    let mut changes = differences(with, &found);
    let comment = found.comment.as_deref();
    let (unknown, sight) = match compare(&access, with, &found, cx).await? {
        Match::Right => (None, Sight::Clear),
        Match::None => {
            changes.push(change("role_password", json!(null), "changed", comment));
            (None, Sight::Clear)
        }
        Match::Wrong => {
            changes.push(change("role_password", "another", "changed", comment));
            (None, Sight::Clear)
        }
        Match::Hidden(why) => (Some(why), Sight::Hidden),
        Match::Unknown(why) => (Some(why), Sight::Clear),
    };
    let seen = match unknown {
        _ if !changes.is_empty() => Observation::Differs(changes),
        Some(why) => Observation::Unknown(why),
        None => Observation::Satisfied(out(with, &found)),
    };
    Ok((seen, sight))
}

fn what(name: &str) -> String {
    format!("the role `{name}`")
}

fn out(with: &With, found: &Found) -> Out {
    Out { name: with.name.clone(), login: found.login }
}

async fn make(access: &Access, writer: &Writer, with: &With, cx: &Cx) -> Result<(), KindError> {
    let record = Record {
        server: access.server.clone(),
        name: with.name.clone(),
        made: true,
        attributes: Vec::new(),
        password: None,
        member_of: Vec::new(),
        grants: with.grants.iter().flat_map(|(database, all)| all.iter().map(|privilege| (database.clone(), *privilege))).collect(),
        comment: comment(cx),
    };
    cx.intend(&record).await?;
    let verifier = with.role_password.as_deref().map(password::verifier);
    // One transaction: a role without the comment is not ours.
    let mut statements = vec![creation(with, verifier.as_deref())?];
    statements.push(comment_on(&format!("ROLE {}", ident(&with.name)?), Some(&record.comment))?);
    statements.extend(grants(&with.name, &with.member_of, &record.grants)?);
    writer.run(&format!("make {}", what(&with.name)), &statements.join("; ")).await?;
    cx.log(format!("made the role {}", with.name));
    Ok(())
}

async fn alter(access: &Access, writer: &Writer, with: &With, found: &Found, cx: &Cx) -> Result<(), KindError> {
    let what = what(&with.name);
    let flips = attributes(with, found);
    let password = compare(access, with, found, cx).await? != Match::Right;
    if differences(with, found).is_empty() && !password {
        return Ok(());
    }
    refuse_foreign(&what, found.comment.as_deref(), cx)?;
    let verifier = with.role_password.as_deref().filter(|_| password).map(password::verifier);
    let record = Record {
        server: access.server.clone(),
        name: with.name.clone(),
        made: false,
        attributes: flips,
        password: verifier.as_deref().map(|new| keep(&with.name, found, new, cx)).transpose()?,
        member_of: missing_memberships(with, found).cloned().collect(),
        grants: missing_grants(with, found).collect(),
        comment: comment(cx),
    };
    cx.intend(&record).await?;
    let mut statements: Vec<String> = alteration(&with.name, &record.attributes, verifier.as_deref())?.into_iter().collect();
    statements.extend(grants(&with.name, &record.member_of, &record.grants)?);
    writer.run(&format!("change {what}"), &statements.join("; ")).await?;
    cx.log(format!("changed {what}"));
    Ok(())
}

/// What the server had, sealed.
fn keep(name: &str, found: &Found, new: &str, cx: &Cx) -> Result<Secret, KindError> {
    let (before, readable) = match &found.verifier {
        Verifier::Hidden => (None, false),
        Verifier::Read(None) => (None, true),
        Verifier::Read(Some(verifier)) => {
            let sealed = cx.keeper.seal(&sealed_as(name), verifier.as_bytes())?;
            (Some(Before { sha256: hash::bytes(verifier.as_bytes()), sealed }), true)
        }
    };
    Ok(Secret { before, readable, after: hash::bytes(new.as_bytes()) })
}

fn sealed_as(name: &str) -> String {
    format!("the password that the role {name} had")
}

async fn unmake(access: &Access, writer: &Writer, record: &Record, found: &Found, cx: &Cx) -> Result<(), KindError> {
    let what = what(&record.name);
    if found.comment.as_deref() != Some(&record.comment) {
        let whose = owner(found.comment.as_deref()).map_or_else(String::new, |whose| format!(" but by {whose}"));
        cx.log(format!("{what} was not made by this run{whose}: it is left alone"));
        return Ok(());
    }
    let there = record.grants.iter().filter(|(database, privilege)| found.grants.contains(&(database.clone(), privilege.word().into())));
    let mut statements = revocations(&record.name, &[], &there.cloned().collect::<Vec<_>>())?;
    statements.push(format!("DROP ROLE {}", ident(&record.name)?));
    match writer.attempt(&format!("drop {what}"), access.limit, &statements.join("; ")).await? {
        Ok(()) => cx.log(format!("dropped {what}")),
        Err(e) if e.code() == Some(&SqlState::DEPENDENT_OBJECTS_STILL_EXIST) => {
            return Err(writer
                .failed(&format!("drop {what}, which this run made"), &e)
                .help("hand over what belongs to it (REASSIGN OWNED, DROP OWNED), then go on with the rollback"));
        }
        Err(e) => return Err(writer.failed(&format!("drop {what}"), &e)),
    }
    Ok(())
}

async fn restore(access: &Access, writer: &Writer, record: &Record, found: &Found, cx: &Cx) -> Result<(), KindError> {
    let what = what(&record.name);
    let mut statements = put_back(record, found, cx)?;
    let member_of: Vec<String> = record.member_of.iter().filter(|name| found.member_of.contains(name)).cloned().collect();
    let there = record.grants.iter().filter(|(database, privilege)| found.grants.contains(&(database.clone(), privilege.word().into())));
    statements.extend(revocations(&record.name, &member_of, &there.cloned().collect::<Vec<_>>())?);
    if let (Some(secret), Verifier::Read(now)) = (&record.password, &found.verifier) {
        statements.extend(old_password(&record.name, secret, now.as_deref(), cx)?);
    }
    if !statements.is_empty() {
        writer.run(&format!("put {what} back"), &statements.join("; ")).await?;
        cx.log(format!("put {what} back"));
    }
    match &record.password {
        Some(secret) if !secret.readable && is_ours(access, record, cx).await? => Err(KindError::new(format!(
            "the password of {what} stays the one that this step set: what was there before could not be read by `{}`",
            access.server.user
        ))
        .help("set it by hand, then go on with the rollback; a superuser can read and restore it")),
        Some(_) | None => Ok(()),
    }
}

fn old_password(name: &str, secret: &Secret, now: Option<&str>, cx: &Cx) -> Result<Option<String>, KindError> {
    let digest = now.map(|verifier| hash::bytes(verifier.as_bytes()));
    if digest.as_ref() == secret.before.as_ref().map(|before| &before.sha256) || !secret.readable {
        return Ok(None);
    }
    if digest.as_ref() != Some(&secret.after) {
        cx.log(changed_since(&format!("the password of the role `{name}`")));
        return Ok(None);
    }
    let Some(before) = &secret.before else { return Ok(Some(format!("ALTER ROLE {} PASSWORD NULL", ident(name)?))) };
    let verifier = String::from_utf8_lossy(&cx.keeper.open(&sealed_as(name), &before.sealed)?).into_owned();
    Ok(Some(format!("ALTER ROLE {} PASSWORD {}", ident(name)?, literal(&verifier)?)))
}

/// Whether the password is the one that the step sets; where that cannot be told it is taken for it.
async fn is_ours(access: &Access, record: &Record, cx: &Cx) -> Result<bool, KindError> {
    let Some(password) = cx.with.get("role_password").and_then(Json::as_str) else { return Ok(true) };
    Ok(try_login(access, &record.name, password, cx).await? != Match::Wrong)
}
