//! `secret/rotate`: a new value in the place of one that is there.

use crate::period::Period;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use trees_core::event::Json;
use trees_core::store::{Generate, SecretVersions};
use trees_core::tree::Effect;
use trees_runner::kind::{About, Change, Cx, Kind, KindError, Observation, ReadCx, recorded};

/// The kind `secret/rotate`.
pub struct Rotate;

/// What `secret/rotate` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The secret; the environment's own, else the project's.
    pub name: String,
    /// So many random characters, 1 to 4096; without, as many as the value before has.
    #[serde(default)]
    #[schemars(range(min = 1, max = 4096))]
    pub length: Option<u32>,
    /// Of which characters.
    #[serde(default)]
    pub charset: Charset,
    /// Only where the value is older than this; without, at each run.
    #[serde(default)]
    pub older_than: Option<Period>,
}

/// The characters of a random value.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Charset {
    /// Letters and digits.
    #[default]
    Alphanumeric,
    /// 0 to 9, a to f.
    Hex,
    /// Letters, digits, `-` and `_`.
    Base64url,
    /// All printable characters of ASCII but the space.
    Ascii,
}

impl Charset {
    fn name(self) -> &'static str {
        match self {
            Self::Alphanumeric => "alphanumeric",
            Self::Hex => "hex",
            Self::Base64url => "base64url",
            Self::Ascii => "ascii",
        }
    }
}

/// What `secret/rotate` returns.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The version in use.
    pub version: u64,
    /// The version before it, where one is kept; 0 where none is.
    pub before: u64,
    /// Whether a new one was made.
    pub rotated: bool,
}

/// How a rotation is taken back.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    name: String,
    /// The key that the version was made for.
    key: String,
}

impl Kind for Rotate {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "secret/rotate",
        summary: "Give a secret of the store a new random value",
        doc: "Makes a new version of a secret. Steps that run afterwards get the new value, so those that use it stand behind this one with \
              `needs`, in the order in which they are to be given it: first what checks the value (a database's role), then what uses it. The \
              versions before stay sealed in the store until `secret/retire` takes them away, once all is verified. Taken back, the version \
              before is in use again, unless somebody has set another one since: that stays, and the undo fails, saying so. The \
              steps between are taken back by their own kinds. A step that is tried again makes one version, not two.",
        example: "tree: rotation\nsecrets: { DB_PASSWORD: { from: generate } }\nsteps:\n  fresh:\n    uses: secret/rotate\n    with: { name: DB_PASSWORD, \
                  older_than: 90d }\n  restart:\n    needs: fresh\n    secrets: [DB_PASSWORD]\n    run: ./restart.sh\n  old:\n    needs: restart\n    \
                  uses: secret/retire\n    with: { name: DB_PASSWORD }\n",
        effect: Effect::External,
        observes: true,
        undoes: true,
        reads_only: false,
        repeats: false,
        deploys: false,
        file_inputs: &[],
        revision: 1,
    };

    fn validate(with: &With) -> Vec<String> {
        let wrong = with.length.filter(|length| !(1..=4096).contains(length));
        wrong.map(|length| format!("length: 1 to 4096, not {length}")).into_iter().collect()
    }

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        let Some(versions) = cx.secrets.versions(&with.name)? else { return Err(missing(with, cx)) };
        let fresh = with.older_than.is_some_and(|limit| age(&versions) < limit.0);
        if fresh {
            return Ok(Observation::Satisfied(out(&versions, false)));
        }
        let changes = vec![Change::new("version", json!(versions.newest), json!("a new one"))];
        Ok(if with.older_than.is_some() { Observation::Differs(changes) } else { Observation::Anew(changes) })
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let Some(versions) = cx.secrets.versions(&with.name)? else { return Err(missing(with, cx)) };
        let how = Generate { length: with.length.unwrap_or(0), charset: with.charset.name().into() };
        cx.intend(Record { name: with.name.clone(), key: cx.idempotency_key.clone() }).await?;
        let version = cx.keeper.rotate(&with.name, &how, &cx.idempotency_key)?;
        cx.log(format!("{}: version {version}, before it {}", with.name, versions.newest));
        let versions = cx.secrets.versions(&with.name)?.unwrap_or(versions);
        Ok(out(&versions, true))
    }

    async fn undo(record: &Json, cx: &Cx) -> Result<(), KindError> {
        let record: Record = recorded(record)?;
        cx.keeper.withdraw(&record.name, &record.key)
    }
}

fn age(versions: &SecretVersions) -> std::time::Duration {
    std::time::Duration::try_from(Timestamp::now().duration_since(versions.since)).unwrap_or_default()
}

fn out(versions: &SecretVersions, rotated: bool) -> Out {
    Out { version: versions.newest, before: versions.older.first().copied().unwrap_or(0), rotated }
}

fn missing(with: &With, cx: &ReadCx) -> KindError {
    let flag = if cx.environment.is_empty() { String::new() } else { format!(" -e {}", cx.environment) };
    KindError::new(format!("the store has no secret {}", with.name))
        .help(format!("`trees secret set {}{flag} --project {}`", with.name, cx.project))
}
