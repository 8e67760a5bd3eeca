//! `file/write`: a file with this content.

use super::place::{self, Written};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use trees_core::event::Json;
use trees_core::hash;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Change, Cx, Kind, KindError, Observation, ReadCx, recorded};

/// The kind `file/write`.
pub struct Write;

/// What `file/write` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The file, relative to the working folder; missing folders are made.
    pub path: String,
    /// Its whole content, byte for byte.
    pub content: String,
    /// Its permission bits in octal digits; without, an existing file keeps its own and a new one gets 0644.
    #[serde(default)]
    #[schemars(regex(pattern = "^0?[0-7]{3,4}$"))]
    pub mode: Option<String>,
}

/// What `file/write` returns.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The file, as given.
    pub path: String,
    /// The SHA-256 of its content.
    pub sha256: String,
}

impl With {
    fn mode(&self) -> Option<u32> {
        self.mode.as_deref().and_then(|mode| u32::from_str_radix(mode, 8).ok())
    }

    fn out(&self) -> Out {
        Out { path: self.path.clone(), sha256: hash::bytes(self.content.as_bytes()) }
    }
}

impl Kind for Write {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "file/write",
        summary: "Write a file",
        doc: "Writes `content` to `path` beside the file and renames it, so that a reader sees the old or the new content and \
              nothing between. A file that is already so is not touched. A symbolic link is followed.\n\n\
              Taken back: the content and mode that were there, or no file and none of the folders made for it. A file that \
              somebody changed in the meantime is left alone, and the undo says so.",
        example: "tree: banner\nsteps:\n  motd:\n    uses: file/write\n    with:\n      path: build/motd\n      content: |\n        hello\n      mode: \"0644\"\n",
        effect: Effect::Local,
        observes: true,
        undoes: true,
        reads_only: false,
        repeats: false,
        deploys: false,
        file_inputs: &[],
        revision: 1,
    };

    fn validate(with: &With) -> Vec<String> {
        let mut wrong = Vec::new();
        if with.path.is_empty() || with.path.ends_with('/') {
            wrong.push(format!("path: `{}` names no file", with.path));
        }
        if let Some(mode) = &with.mode
            && with.mode().is_none_or(|bits| bits > 0o7777)
        {
            wrong.push(format!("mode: `{mode}` is no mode: write octal digits, like \"0644\""));
        }
        wrong
    }

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        let Some(found) = place::find(&cx.path(&with.path))? else { return Ok(Observation::Absent) };
        let mut changes = Vec::new();
        if found.content != with.content.as_bytes() {
            let digest = |content: &[u8]| json!(format!("sha256:{}", hash::bytes(content)));
            changes.push(Change::new("content", digest(&found.content), digest(with.content.as_bytes())));
        }
        if let Some(mode) = with.mode()
            && mode != found.mode
        {
            changes.push(Change::new("mode", json!(format!("{:04o}", found.mode)), json!(format!("{mode:04o}"))));
        }
        Ok(if changes.is_empty() { Observation::Satisfied(with.out()) } else { Observation::Differs(changes) })
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let written = Written::plan(&cx.path(&with.path), with.content.as_bytes(), cx)?;
        cx.intend(&written).await?;
        written.put(with.content.as_bytes(), with.mode())?;
        Ok(with.out())
    }

    async fn undo(record: &Json, cx: &Cx) -> Result<(), KindError> {
        let written: Written = recorded(record)?;
        written.undo(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::Write;
    use crate::bench::Bench;
    use serde_json::{Value, json};
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn with(content: &str) -> Value {
        json!({ "path": "a/b/note.txt", "content": content, "mode": "0600" })
    }

    #[tokio::test]
    async fn writes_once_finds_drift_and_takes_back_what_it_made() {
        let bench = Bench::new();
        let (out, acted) = bench.run::<Write>(with("one\n")).await.unwrap();
        assert!(acted && bench.text("a/b/note.txt") == "one\n");
        let (again, acted) = bench.run::<Write>(with("one\n")).await.unwrap();
        assert_eq!((again, acted), (out, false));
        fs::set_permissions(bench.path("a/b/note.txt"), fs::Permissions::from_mode(0o644)).unwrap();
        bench.write("a/b/note.txt", "by hand");
        assert_eq!(bench.drift::<Write>(with("one\n")).await, ["content", "mode"]);
        let wrong = bench.undo::<Write>().await.unwrap_err();
        assert!(wrong.message.contains("changed by somebody") && bench.text("a/b/note.txt") == "by hand");
        bench.write("a/b/note.txt", "one\n");
        bench.undo::<Write>().await.unwrap();
        assert!(!bench.path("a").exists());
    }

    #[tokio::test]
    async fn what_was_there_comes_back_with_its_mode_even_when_large_or_no_text() {
        for before in ["two\n".as_bytes().to_vec(), vec![0xFF; 200_000]] {
            let bench = Bench::new();
            let path = bench.path("note.txt");
            fs::write(&path, &before).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let with = |content: &str| json!({ "path": "note.txt", "content": content, "mode": "0600" });
            bench.run::<Write>(with("x")).await.unwrap();
            bench.run::<Write>(with("y")).await.unwrap();
            bench.undo::<Write>().await.unwrap();
            assert!(fs::read(&path).unwrap() == before);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        }
    }

    #[tokio::test]
    async fn nothing_is_written_before_the_intent_is_durable() {
        let bench = Bench::new();
        bench.fill();
        assert_eq!(bench.run::<Write>(with("one")).await.unwrap_err().message, "the journal is full");
        assert!(!bench.path("a").exists());
    }

    #[tokio::test]
    async fn a_link_stays_a_link_and_wrong_places_are_named() {
        let bench = Bench::new();
        bench.write("real", "old");
        std::os::unix::fs::symlink("real", bench.path("link")).unwrap();
        bench.run::<Write>(json!({ "path": "link", "content": "new" })).await.unwrap();
        assert_eq!(bench.text("real"), "new");
        assert!(bench.path("link").is_symlink());
        for (with, expected) in [
            (json!({ "path": ".", "content": "" }), "is a folder, not a file"),
            (json!({ "path": "real/x", "content": "" }), "Not a directory"),
            (json!({ "path": "x/", "content": "" }), "path: `x/` names no file"),
            (json!({ "path": "x", "content": "", "mode": "rw" }), "mode: `rw` is no mode"),
            (json!({ "path": "x", "text": "" }), "unknown field `text`"),
        ] {
            let wrong = bench.run::<Write>(with).await.map(|_| ()).unwrap_err();
            assert!(wrong.message.contains(expected), "{expected}: {}", wrong.message);
        }
    }
}
