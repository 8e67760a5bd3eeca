//! `file/template`: a folder of Tera templates, or one template, rendered onto the disk.

use super::metadata::Metadata;
use super::place::{self, Written};
use super::render::{self, Rendered};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};
use trees_core::event::{Json, Object};
use trees_core::hash;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Change, Cx, Kind, KindError, Observation, ReadCx, recorded};

/// The kind `file/template`.
pub struct Template;

/// What `file/template` takes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The template: a folder, or one file; relative to the working folder.
    pub source: String,
    /// Where it goes: a folder for a folder, else the file's path; relative to the working folder.
    pub target: String,
    /// The values the template takes.
    #[serde(default)]
    pub values: Object,
}

/// What `file/template` returns.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The files, relative to `target`, sorted; for one template its own name.
    pub files: Vec<String>,
    /// The SHA-256 over names, modes and contents.
    pub sha256: String,
}

impl Kind for Template {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "file/template",
        summary: "Render a folder of templates, or one template",
        doc: DOC,
        example: "tree: scaffold\nparams:\n  name: { default: chat, description: The service's name. }\nsteps:\n  render:\n    \
                  uses: file/template\n    with:\n      source: template\n      target: \"{{ params.name }}\"\n      values: { name: \"{{ params.name }}\" }\n",
        effect: Effect::Local,
        observes: true,
        undoes: true,
        reads_only: false,
        repeats: false,
        deploys: false,
        file_inputs: &["source"],
        revision: 1,
    };

    fn validate(with: &With) -> Vec<String> {
        let empty = |name: &str, value: &str| value.is_empty().then(|| format!("{name}: it is empty"));
        [empty("source", &with.source), empty("target", &with.target)].into_iter().flatten().collect()
    }

    async fn observe(with: &With, cx: &ReadCx) -> Result<Observation<Out>, KindError> {
        let (files, out) = rendered(with, cx).await?;
        let mut changes = Vec::new();
        let mut found_any = false;
        for (path, file) in &files {
            let found = place::find(path)?;
            found_any |= found.is_some();
            changes.extend(difference(file, found.as_ref()));
        }
        Ok(match (changes.is_empty(), found_any) {
            (true, _) => Observation::Satisfied(out),
            (false, true) => Observation::Differs(changes),
            (false, false) => Observation::Absent,
        })
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let (files, out) = rendered(with, cx).await?;
        let mut todo = Vec::new();
        for (path, file) in files {
            if difference(&file, place::find(&path)?.as_ref()).is_some() {
                todo.push((Written::plan(&path, &file.content, cx)?, file));
            }
        }
        cx.intend(json!({ "files": todo.iter().map(|(written, _)| written).collect::<Vec<_>>() })).await?;
        for (written, file) in &todo {
            written.put(&file.content, Some(file.mode))?;
            cx.log(format!("wrote {}", written.path.display()));
        }
        Ok(out)
    }

    async fn undo(record: &Json, cx: &Cx) -> Result<(), KindError> {
        let files: Vec<Written> = recorded(&record["files"])?;
        let wrong: Vec<KindError> = files.iter().rev().filter_map(|file| file.undo(cx).err()).collect();
        match wrong.first() {
            None => Ok(()),
            Some(first) => {
                Err(KindError { message: wrong.iter().map(|e| e.message.as_str()).collect::<Vec<_>>().join("\n"), ..first.clone() })
            }
        }
    }
}

const DOC: &str = "\
Renders Tera templates, all of Tera: `{{ }}`, `{% %}`, `{# #}`, `include`, `extends`, filters. Nothing is escaped for HTML; `{{ name | json }}` writes a value as JSON. An \
undefined name is an error, also in a condition.\n\n\
`source` is one template file, then `target` is the file it makes; or a folder, then each file of it goes to the same place under \
`target`, names of files and folders rendered too (`src/{{ name }}.rs`) and a last `.tera` taken off. Permission bits are kept. Files \
that are no UTF-8 text are copied. What is rendered to `.json`, `.yaml`, `.yml` or `.toml` must parse as such.\n\n\
A folder may have a `metadata.yaml`, which is not rendered:\n\n\
```yaml\nname: service\ndescription: A small service.\ninputs:               # other values are refused\n  \
name: { type: string, description: Its name. }\n  port: { type: integer, default: 8080 }\nfiles:                # rules for a file or a whole folder\n  \
static/: { raw: true }                  # copied as it is\n  Dockerfile: { if: port > 1024 }         # only where this holds\n```\n\n\
Nothing is written outside `target`, not through a symbolic link either. A second run changes nothing; files that an earlier \
template made and this one does not make any more are left alone. Taken back: each file's content and mode that were there, or no \
file; one that somebody changed in the meantime is left alone, and the undo says so.";

/// The files with their places, and the outputs.
async fn rendered(with: &With, cx: &ReadCx) -> Result<(Vec<(PathBuf, Rendered)>, Out), KindError> {
    let (source, target, values) = (cx.path(&with.source), cx.path(&with.target), with.values.clone());
    let work = tokio::task::spawn_blocking(move || render(&source, &target, &values));
    work.await.map_err(|e| KindError::new(format!("rendering ended early: {e}")))?
}

fn render(source: &Path, target: &Path, values: &Object) -> Result<(Vec<(PathBuf, Rendered)>, Out), KindError> {
    let is_folder = source.is_dir();
    let files = if is_folder { folder(source, values)? } else { vec![render::file(source, target, values)?] };
    let mut placed = Vec::with_capacity(files.len());
    for file in files {
        let path = if is_folder { target.join(&file.path) } else { target.to_path_buf() };
        if is_folder {
            inside(target, &path)?;
        }
        placed.push((path, file));
    }
    let digest: Vec<_> = placed.iter().map(|(_, file)| (&file.path, file.mode, hash::bytes(&file.content))).collect();
    let sha256 = hash::json(&digest).map_err(|e| KindError::new(e.to_string()))?;
    let files = placed.iter().map(|(_, file)| file.path.clone()).collect();
    Ok((placed, Out { files, sha256 }))
}

fn metadata(source: &Path, given: &Object) -> Result<(Metadata, Object), KindError> {
    let Some(metadata) = described(source)? else { return Ok((Metadata::default(), given.clone())) };
    let values = metadata.values(given).map_err(|wrong| KindError::new(wrong.join("\n")))?;
    Ok((metadata, values))
}

/// The metadata of a template folder, where it has some.
///
/// # Errors
/// When it cannot be read.
pub fn described(source: &Path) -> Result<Option<Metadata>, KindError> {
    let path = source.join("metadata.yaml");
    let Some(found) = place::find(&path)? else { return Ok(None) };
    let text = String::from_utf8(found.content).map_err(|_| KindError::new(format!("`{}` is not UTF-8", path.display())))?;
    serde_yaml::from_str(&text).map(Some).map_err(|e| KindError::new(format!("`{}`: {e}", path.display())))
}

/// A template folder rendered in memory, sorted by path, as `file/template` and `trees init --template` make it.
///
/// # Errors
/// All that is wrong with the values, or the first template that is wrong.
pub fn folder(source: &Path, given: &Object) -> Result<Vec<Rendered>, KindError> {
    let (metadata, values) = metadata(source, given)?;
    render::folder(source, &metadata, &values)
}

/// Refuses a path that leads out of the target through a link.
fn inside(target: &Path, path: &Path) -> Result<(), KindError> {
    let Ok(real) = target.canonicalize() else { return Ok(()) };
    let known = path.ancestors().find_map(|at| at.canonicalize().ok()).unwrap_or_default();
    let dangling = path.ancestors().take_while(|at| *at != target).find(|at| at.is_symlink() && !at.exists());
    if dangling.is_none() && (known.starts_with(&real) || real.starts_with(&known)) {
        return Ok(());
    }
    Err(KindError::new(format!("`{}` leads out of `{}` through a symbolic link", path.display(), target.display())))
}

fn difference(file: &Rendered, found: Option<&place::Found>) -> Option<Change> {
    let digest = |content: &[u8], mode: u32| json!(format!("sha256:{} mode {mode:04o}", hash::bytes(content)));
    let same = found.is_some_and(|found| found.content == file.content && found.mode == file.mode);
    let old = found.map_or(Json::Null, |found| digest(&found.content, found.mode));
    (!same).then(|| Change::new(file.path.clone(), old, digest(&file.content, file.mode)))
}

#[cfg(test)]
mod tests {
    use super::Template;
    use crate::bench::Bench;
    use serde_json::{Value, json};
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn with(values: Value) -> Value {
        json!({ "source": "t", "target": "out", "values": values })
    }

    fn bench() -> Bench {
        let bench = Bench::new();
        bench.write("t/metadata.yaml", METADATA);
        bench.write("t/src/{{ name }}.rs.tera", "{% for c in channels %}// {{ c }}\n{% endfor %}{% include 'part.txt' %}");
        bench.write("t/part.txt", "<{{ name }}>");
        bench.write("t/static/a.txt", "{{ not rendered");
        bench.write("t/tls.conf", "x");
        bench.write("t/config.json", "{\"name\": {{ name | json }}}");
        fs::write(bench.path("t/logo.bin"), [0xFF, 0xFE, b'{', b'{']).unwrap();
        bench.write("t/run.sh", "#!/bin/sh\n");
        fs::set_permissions(bench.path("t/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        bench
    }

    const METADATA: &str = "name: chat\ninputs:\n  name: { type: string }\n  channels: { type: list, default: [a, b] }\n  tls: { type: boolean, default: false }\n\
                            files:\n  static/: { raw: true }\n  tls.conf: { if: tls }\n";

    #[tokio::test]
    async fn a_folder_is_rendered_once_and_drift_names_the_file() {
        let bench = bench();
        let (out, acted) = bench.run::<Template>(with(json!({ "name": "a<b" }))).await.unwrap();
        assert!(acted);
        assert_eq!(out.files, ["config.json", "logo.bin", "part.txt", "run.sh", "src/a<b.rs", "static/a.txt"]);
        assert_eq!(bench.text("out/src/a<b.rs"), "// a\n// b\n<a<b>");
        assert_eq!(bench.text("out/static/a.txt"), "{{ not rendered");
        assert_eq!(fs::metadata(bench.path("out/run.sh")).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(bench.run::<Template>(with(json!({ "name": "a<b" }))).await.unwrap(), (out, false));
        bench.write("out/part.txt", "by hand");
        assert_eq!(bench.drift::<Template>(with(json!({ "name": "a<b" }))).await, ["part.txt"]);
        assert_eq!(bench.intents().len(), 1);
    }

    #[tokio::test]
    async fn undo_puts_back_what_was_there_and_leaves_others_alone() {
        let bench = bench();
        bench.write("out/part.txt", "mine");
        bench.write("out/other.txt", "not yours");
        bench.run::<Template>(with(json!({ "name": "x" }))).await.unwrap();
        bench.run::<Template>(with(json!({ "name": "y" }))).await.unwrap();
        assert!(bench.path("out/src/x.rs").exists(), "what the template does not make any more is left alone");
        bench.undo::<Template>().await.unwrap();
        assert_eq!(bench.text("out/part.txt"), "mine");
        let mut left: Vec<_> = fs::read_dir(bench.path("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["other.txt", "part.txt"]);
    }

    #[tokio::test]
    async fn one_file_is_a_template_too() {
        let bench = Bench::new();
        bench.write("a.tera", "{{ n + 1 }}\n");
        let (out, _) = bench.run::<Template>(json!({ "source": "a.tera", "target": "deep/b.txt", "values": { "n": 1 } })).await.unwrap();
        assert_eq!((out.files.as_slice(), bench.text("deep/b.txt").as_str()), (["b.txt".to_owned()].as_slice(), "2\n"));
        bench.undo::<Template>().await.unwrap();
        assert!(!bench.path("deep").exists());
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_and_nothing_written() {
        for (file, text, expected) in [
            ("a.txt", "{{ nmae }}", "nmae"),
            ("a.txt", "{% if nmae %}x{% endif %}", "`nmae`"),
            ("a.txt", "{{ name.first }}", "first"),
            ("a.txt", "{% if name %}", "a.txt"),
            ("a.json", "{\"a\": {{ name }}}", "`a.json` is no JSON"),
            ("a.yaml", "a: [1", "`a.yaml` is no YAML"),
            ("a.toml", "a = ", "`a.toml` is no TOML"),
            ("{{ up }}.txt", "", "leaves the target"),
            ("{{ empty }}", "", "is empty"),
            ("metadata.yaml", "name: x\nfile: {}", "metadata.yaml`: "),
        ] {
            let bench = Bench::new();
            bench.write(&format!("t/{file}"), text);
            let values = json!({ "name": "x", "up": "../../x", "empty": "" });
            let wrong = bench.run::<Template>(with(values)).await.map(|_| ()).unwrap_err().message;
            assert!(wrong.contains(expected), "{file} {text}: {wrong}");
            assert!(!bench.path("out").exists() && !bench.path("x.txt").exists());
        }
        let bench = Bench::new();
        let wrong = bench.run::<Template>(with(json!({}))).await.unwrap_err().message;
        assert!(wrong.contains("no template at"), "{wrong}");
    }

    #[tokio::test]
    async fn a_link_in_the_target_does_not_lead_out_of_it() {
        let bench = bench();
        fs::create_dir_all(bench.path("elsewhere")).unwrap();
        fs::create_dir_all(bench.path("out")).unwrap();
        std::os::unix::fs::symlink(bench.path("elsewhere"), bench.path("out/src")).unwrap();
        let wrong = bench.run::<Template>(with(json!({ "name": "x" }))).await.unwrap_err().message;
        assert!(wrong.contains("through a symbolic link"), "{wrong}");
    }
}
