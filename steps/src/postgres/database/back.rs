//! Taking a database back.

use super::super::name::ident;
use super::super::session::{Access, Writer, get};
use super::super::{changed_since, owner};
use super::{DropOnUndo, Made, Record, extensions, find, what};
use trees_runner::kind::{Cx, KindError};

/// Drops what this run made, where it is still that.
pub async fn unmake(home: &Access, writer: &Writer, record: &Record, made: &Made, cx: &Cx) -> Result<(), KindError> {
    let what = what(&record.name);
    writer.run(&format!("drop what is left of {what}"), &format!("DROP DATABASE IF EXISTS {}", ident(&made.aside)?)).await?;
    let Some(found) = find(&home.read(cx).await?, &record.name).await? else { return Ok(()) };
    if found.comment.as_deref() != Some(&record.comment) {
        let whose = owner(found.comment.as_deref()).map_or_else(String::new, |whose| format!(" but by {whose}"));
        cx.log(format!("{what} was not made by this run{whose}: it is left alone"));
        return Ok(());
    }
    let force = match made.drop_on_undo {
        DropOnUndo::Never => {
            cx.log(format!("{what} stays: `drop_on_undo: never`"));
            return Ok(());
        }
        DropOnUndo::Empty => {
            empty(&home.at(&record.name), &what, cx).await?;
            ""
        }
        DropOnUndo::Always => " WITH (FORCE)",
    };
    writer.run(&format!("drop {what}"), &format!("DROP DATABASE IF EXISTS {}{force}", ident(&record.name)?)).await?;
    cx.log(format!("dropped {what}"));
    Ok(())
}

/// That nothing is in it which did not come with an extension.
async fn empty(inside: &Access, what: &str, cx: &Cx) -> Result<(), KindError> {
    let reader = inside.read(cx).await?;
    let select = "SELECT format('%I.%I', n.nspname, o.name) AS name, count(*) OVER () AS total FROM ( \
                    SELECT oid, 'pg_class'::regclass AS class, relname AS name, relnamespace AS namespace \
                    FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') \
                    UNION ALL SELECT oid, 'pg_proc'::regclass, proname, pronamespace FROM pg_proc \
                  ) o JOIN pg_namespace n ON n.oid = o.namespace \
                  WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND NOT EXISTS ( \
                    SELECT FROM pg_depend d WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype = 'e') \
                  ORDER BY 1 LIMIT 5";
    let rows = reader.rows(&format!("look into {what}"), select, &[]).await?;
    let Some(first) = rows.first() else { return Ok(()) };
    let total: i64 = get(first, "total")?;
    let names = rows.iter().map(|row| get(row, "name")).collect::<Result<Vec<String>, _>>()?;
    Err(KindError::new(format!("{what} was made by this run and is not empty ({total}: {}): it is left alone", names.join(", ")))
        .help("drop it by hand, then go on with the rollback; `drop_on_undo: always` drops it with all that is in it"))
}

/// Puts back what this step changed, where it is still so.
pub async fn put_back(home: &Access, writer: &Writer, record: &Record, cx: &Cx) -> Result<(), KindError> {
    let what = what(&record.name);
    let Some(found) = find(&home.read(cx).await?, &record.name).await? else { return Ok(()) };
    if let Some((before, after)) = &record.owner {
        if found.owner == *after {
            let statement = format!("ALTER DATABASE {} OWNER TO {}", ident(&record.name)?, ident(before)?);
            writer.run(&format!("give {what} back to `{before}`"), &statement).await?;
        } else if found.owner != *before {
            cx.log(changed_since(&format!("the owner of {what}")));
        }
    }
    let inside = home.at(&record.name);
    for (extension, there) in extensions(&inside.read(cx).await?).await? {
        if record.extensions.contains(&extension) && there.as_deref() == Some(&record.comment) {
            let statement = format!("DROP EXTENSION {}", ident(&extension)?);
            inside.write(cx).await?.run(&format!("remove the extension `{extension}` from {what}"), &statement).await?;
        }
    }
    Ok(())
}
