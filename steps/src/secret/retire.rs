//! `secret/retire`: the end of a secret's old versions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Change, Cx, Kind, KindError, Observation, ReadCx};

/// The kind `secret/retire`.
pub struct Retire;

/// What `secret/retire` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The secret; the environment's own, else the project's.
    pub name: String,
}

/// What `secret/retire` returns.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The version in use; 0 where the store has no such secret.
    pub version: u64,
    /// The versions that went.
    pub retired: Vec<u64>,
}

impl Kind for Retire {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "secret/retire",
        summary: "Forget the old versions of a secret of the store",
        doc: "Takes all versions of a secret but the newest out of the store. Stands at the end of a rotation, behind what verifies that everything \
              works with the new value: from then on nobody can go back to an old one, so it is not taken back in a rollback.",
        example: "tree: tidy\nsecrets: { API_KEY: { from: store } }\nsteps:\n  old:\n    uses: secret/retire\n    with: { name: API_KEY }\n",
        effect: Effect::External,
        observes: true,
        undoes: false,
        reads_only: false,
        repeats: false,
        deploys: false,
        file_inputs: &[],
        revision: 1,
    };

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        Ok(match cx.secrets.versions(&with.name)? {
            None => Observation::Satisfied(Out { version: 0, retired: Vec::new() }),
            Some(versions) if versions.older.is_empty() => Observation::Satisfied(Out { version: versions.newest, retired: Vec::new() }),
            Some(versions) => {
                let change = Change::new("versions", json!(versions.older), json!([]));
                Observation::Differs(vec![change])
            }
        })
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let retired = cx.keeper.retire(&with.name)?;
        let version = cx.secrets.versions(&with.name)?.map_or(0, |versions| versions.newest);
        cx.log(format!("{}: version {version} stays, retired {retired:?}", with.name));
        Ok(Out { version, retired })
    }
}
