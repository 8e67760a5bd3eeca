//! `postgres/database`: a database with its owner and extensions.

use super::name::{ident, literal, wrong};
use super::server::Server;
use super::session::{Access, Reader, Writer, get};
use super::{change, comment, comment_on, holds, refuse_foreign};
use crate::period::{Limit, Period};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use trees_core::event::Json;
use trees_core::hash;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Change, Cx, Kind, KindError, Observation, ReadCx, recorded};

mod back;
#[cfg(test)]
mod tests;

use back::{put_back, unmake};

/// The kind `postgres/database`.
pub struct Database;

/// What `postgres/database` takes.
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
    /// The database.
    pub name: String,
    /// The role that owns it; without, a new one belongs to the user that connects.
    #[serde(default)]
    pub owner: Option<String>,
    /// Its encoding, like `UTF8`; cannot be changed later.
    #[serde(default)]
    pub encoding: Option<String>,
    /// Its locale, like `C.UTF-8`; cannot be changed later.
    #[serde(default)]
    pub locale: Option<String>,
    /// What a new one is a copy of; without, `template0` where `encoding` or `locale` is given, else the
    /// server's default.
    #[serde(default)]
    pub template: Option<String>,
    /// Extensions that must be installed in it; others stay.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// When a rollback drops a database that this run made.
    #[serde(default)]
    pub drop_on_undo: DropOnUndo,
}

/// When a rollback drops a database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum DropOnUndo {
    /// Only while nothing is in it but its extensions; else the rollback says what is there.
    #[default]
    Empty,
    /// With all that is in it, whoever made it; sessions are ended.
    Always,
    /// Never.
    Never,
}

/// What `postgres/database` returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The database.
    pub name: String,
    /// The role that owns it.
    pub owner: String,
    /// Its encoding.
    pub encoding: String,
}

/// How a database is taken back.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    server: Server,
    name: String,
    /// It was not there.
    made: Option<Made>,
    /// Its owner before, and what this step makes it.
    owner: Option<(String, String)>,
    /// What this step installs.
    extensions: Vec<String>,
    /// The comment on what it makes.
    comment: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Made {
    /// Its name until it is whole.
    aside: String,
    drop_on_undo: DropOnUndo,
}

struct Found {
    owner: String,
    encoding: String,
    collate: String,
    ctype: String,
    comment: Option<String>,
    /// Asked for only where some are wanted.
    extensions: Vec<String>,
}

impl Kind for Database {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "postgres/database",
        summary: "Make a PostgreSQL database",
        doc: include_str!("database.md"),
        example: "tree: shop\nsecrets:\n  PG_ADMIN: {}\nsteps:\n  database:\n    uses: postgres/database\n    with:\n      \
                  server: postgres://postgres@127.0.0.1:5432?sslmode=prefer\n      password: \"{{ secrets.PG_ADMIN }}\"\n      \
                  name: shop\n      encoding: UTF8\n      extensions: [pg_trgm]\n",
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
        found.extend(with.owner.iter().filter_map(|name| wrong("owner", name)));
        found.extend(with.template.iter().filter_map(|name| wrong("template", name)));
        found.extend(with.extensions.iter().filter_map(|name| wrong("extensions", name)));
        found
    }

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        let access = Access::of(&with.server, with.password.as_deref(), with.timeout, cx)?;
        let Some(found) = look(&access, with, cx).await? else { return Ok(Observation::Absent) };
        let changes = differences(with, &found);
        Ok(if changes.is_empty() { Observation::Satisfied(out(with, found)) } else { Observation::Differs(changes) })
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let access = Access::of(&with.server, with.password.as_deref(), with.timeout, cx)?;
        let home = home(&access, &with.name);
        let writer = home.write(cx).await?;
        writer.alone(&what(&with.name)).await?;
        match look(&access, with, cx).await? {
            None => make(&home, &writer, with, cx).await?,
            Some(found) => alter(&home, &writer, with, &found, cx).await?,
        }
        writer.close().await;
        let found = look(&access, with, cx).await?.ok_or_else(|| KindError::new(format!("the database `{}` is gone", with.name)))?;
        Ok(out(with, found))
    }

    async fn verify(with: &With, _out: &Out, cx: &ReadCx) -> Result<(), KindError> {
        holds(&what(&with.name), Self::observe(with, cx).await?)
    }

    async fn undo(record: &Json, cx: &Cx) -> Result<(), KindError> {
        let record: Record = recorded(record)?;
        let home = Access::again(&record.server, cx);
        let writer = home.write(cx).await?;
        writer.alone(&what(&record.name)).await?;
        match &record.made {
            Some(made) => unmake(&home, &writer, &record, made, cx).await?,
            None => put_back(&home, &writer, &record, cx).await?,
        }
        writer.close().await;
        Ok(())
    }
}

fn what(name: &str) -> String {
    format!("the database `{name}`")
}

fn out(with: &With, found: Found) -> Out {
    Out { name: with.name.clone(), owner: found.owner, encoding: found.encoding }
}

/// A database to connect to that is not the one meant.
fn home(access: &Access, name: &str) -> Access {
    let named = access.server.database.clone().filter(|database| database != name);
    access.at(&named.unwrap_or_else(|| "postgres".into()))
}

async fn look(access: &Access, with: &With, cx: &ReadCx) -> Result<Option<Found>, KindError> {
    let reader = home(access, &with.name).read(cx).await?;
    let Some(mut found) = find(&reader, &with.name).await? else { return Ok(None) };
    if !with.extensions.is_empty() {
        found.extensions = extensions(&access.at(&with.name).read(cx).await?).await?.into_iter().map(|(name, _)| name).collect();
    }
    Ok(Some(found))
}

async fn find(reader: &Reader, name: &str) -> Result<Option<Found>, KindError> {
    let select = "SELECT pg_get_userbyid(datdba)::text AS owner, pg_encoding_to_char(encoding)::text AS encoding, \
                  datcollate::text AS collate, datctype::text AS ctype, shobj_description(oid, 'pg_database') AS comment \
                  FROM pg_database WHERE datname = $1";
    let Some(row) = reader.row(&format!("look at the database `{name}`"), select, &[name]).await? else { return Ok(None) };
    Ok(Some(Found {
        owner: get(&row, "owner")?,
        encoding: get(&row, "encoding")?,
        collate: get(&row, "collate")?,
        ctype: get(&row, "ctype")?,
        comment: get(&row, "comment")?,
        extensions: Vec::new(),
    }))
}

/// Names and comments of the extensions of the database that one is connected to.
async fn extensions(reader: &Reader) -> Result<Vec<(String, Option<String>)>, KindError> {
    let select = "SELECT extname::text AS name, obj_description(oid, 'pg_extension') AS comment FROM pg_extension ORDER BY extname";
    let rows = reader.rows("look at the extensions", select, &[]).await?;
    rows.iter().map(|row| Ok((get(row, "name")?, get(row, "comment")?))).collect()
}

fn differences(with: &With, found: &Found) -> Vec<Change> {
    let comment = found.comment.as_deref();
    let mut changes = Vec::new();
    let mut compare = |field: &str, wanted: Option<&String>, there: &str, same: bool| {
        if let Some(wanted) = wanted.filter(|_| !same) {
            changes.push(change(field, there, wanted.as_str(), comment));
        }
    };
    compare("owner", with.owner.as_ref(), &found.owner, with.owner.as_ref() == Some(&found.owner));
    let encoding = with.encoding.as_ref().is_some_and(|wanted| plain(wanted) == plain(&found.encoding));
    compare("encoding", with.encoding.as_ref(), &found.encoding, encoding);
    let locale = with.locale.as_ref().is_some_and(|wanted| plain(wanted) == plain(&found.collate) && plain(wanted) == plain(&found.ctype));
    compare("locale", with.locale.as_ref(), &found.collate, locale);
    let missing = with.extensions.iter().filter(|name| !found.extensions.contains(name));
    changes.extend(missing.map(|name| change(format!("extensions.{name}"), json!(null), "installed", comment)));
    changes
}

/// `UTF8`, `utf-8` and `Utf8` are one.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Under another name until it is whole, so that what a crash leaves is known for ours and nobody meets
/// half a database.
async fn make(home: &Access, writer: &Writer, with: &With, cx: &Cx) -> Result<(), KindError> {
    let comment = comment(cx);
    let aside = format!("trees_{}", &hash::bytes(format!("{} {}", cx.idempotency_key, with.name).as_bytes())[..16]);
    let made = Some(Made { aside: aside.clone(), drop_on_undo: with.drop_on_undo });
    let record = Record {
        server: home.server.clone(),
        name: with.name.clone(),
        made,
        owner: None,
        extensions: Vec::new(),
        comment: comment.clone(),
    };
    cx.intend(&record).await?;
    let asked = format!("make the database `{}`", with.name);
    let quoted = ident(&aside)?;
    writer.run(&asked, &format!("DROP DATABASE IF EXISTS {quoted}")).await?;
    writer.run(&asked, &creation(with, &quoted)?).await?;
    writer.run(&asked, &comment_on(&format!("DATABASE {quoted}"), Some(&comment))?).await?;
    if !with.extensions.is_empty() {
        let inside = home.at(&aside).write(cx).await?;
        for extension in &with.extensions {
            inside
                .run(&format!("install the extension `{extension}`"), &format!("CREATE EXTENSION IF NOT EXISTS {}", ident(extension)?))
                .await?;
        }
        inside.close().await;
    }
    if let Some(owner) = &with.owner {
        writer.run(&asked, &format!("ALTER DATABASE {quoted} OWNER TO {}", ident(owner)?)).await?;
    }
    give_name(writer, &aside, &with.name, home.limit, cx).await?;
    cx.log(format!("made the database {}", with.name));
    Ok(())
}

fn creation(with: &With, quoted: &str) -> Result<String, KindError> {
    let needs = with.encoding.is_some() || with.locale.is_some();
    let mut statement = format!("CREATE DATABASE {quoted}");
    if let Some(template) = with.template.as_deref().or(needs.then_some("template0")) {
        statement = format!("{statement} TEMPLATE {}", ident(template)?);
    }
    if let Some(encoding) = &with.encoding {
        statement = format!("{statement} ENCODING {}", literal(encoding)?);
    }
    if let Some(locale) = &with.locale {
        let locale = literal(locale)?;
        statement = format!("{statement} LC_COLLATE {locale} LC_CTYPE {locale}");
    }
    Ok(statement)
}

async fn give_name(writer: &Writer, aside: &str, name: &str, limit: Duration, cx: &Cx) -> Result<(), KindError> {
    let asked = format!("make the database `{name}`");
    let rename = format!("ALTER DATABASE {} RENAME TO {}", ident(aside)?, ident(name)?);
    match writer.attempt(&asked, limit, &rename).await? {
        Ok(()) => Ok(()),
        Err(e) if e.code() == Some(&SqlState::DUPLICATE_DATABASE) => {
            cx.log(format!("somebody made the database {name} meanwhile"));
            writer.run(&asked, &format!("DROP DATABASE IF EXISTS {}", ident(aside)?)).await?;
            Err(KindError::transient(format!("the database `{name}` was made by somebody meanwhile; the next attempt looks at it")))
        }
        Err(e) => Err(writer.failed(&asked, &e)),
    }
}

async fn alter(home: &Access, writer: &Writer, with: &With, found: &Found, cx: &Cx) -> Result<(), KindError> {
    let what = what(&with.name);
    let changes = differences(with, found);
    if changes.is_empty() {
        return Ok(());
    }
    refuse_foreign(&what, found.comment.as_deref(), cx)?;
    if let Some(fixed) = changes.iter().find(|c| c.field == "encoding" || c.field == "locale") {
        return Err(KindError::new(format!("{what} has the {} {}, not {}; that cannot be changed", fixed.field, fixed.old, fixed.new))
            .help("back it up, make another database and restore it there, or take the field out of the step"));
    }
    let new_owner = with.owner.clone().filter(|owner| *owner != found.owner);
    let missing: Vec<String> = with.extensions.iter().filter(|name| !found.extensions.contains(name)).cloned().collect();
    let record = Record {
        server: home.server.clone(),
        name: with.name.clone(),
        made: None,
        owner: new_owner.clone().map(|new| (found.owner.clone(), new)),
        extensions: missing.clone(),
        comment: comment(cx),
    };
    cx.intend(&record).await?;
    for extension in &missing {
        let (asked, quoted) = (format!("install the extension `{extension}`"), ident(extension)?);
        let mark = comment_on(&format!("EXTENSION {quoted}"), Some(&record.comment))?;
        // One transaction: an extension without the mark is not ours.
        home.at(&with.name).write(cx).await?.run(&asked, &format!("CREATE EXTENSION {quoted}; {mark}")).await?;
        cx.log(format!("installed the extension {extension}"));
    }
    if let Some(new) = new_owner {
        let statement = format!("ALTER DATABASE {} OWNER TO {}", ident(&with.name)?, ident(&new)?);
        writer.run(&format!("give {what} to `{new}`"), &statement).await?;
        cx.log(format!("gave the database {} to {new}", with.name));
    }
    Ok(())
}
