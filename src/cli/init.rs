//! `trees init`: starts a project with a tree file that editors understand.

use super::cookbook::shelf;
use super::global::Global;
use super::source::TreeFile;
use super::{check, given};
use crate::failure::{Exit, Failure};
use crate::report::{said::plural, say};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use trees_core::event::Object;
use trees_steps::file::{Rendered, template};

/// The comment that tells editors which schema a tree file has.
const MARK: &str = "# yaml-language-server: $schema=.trees/tree.schema.json\n";

/// Start a project: a tree file and the schema that editors complete it with.
///
/// With a COOKBOOK its files are copied, to be changed; with --template those of a template folder are
/// made from the values given. Nothing that is there is overwritten.
#[derive(clap::Args)]
pub struct Args {
    /// The cookbook to start from [default: a small tree]
    cookbook: Option<String>,
    /// A folder of Tera templates, with a `metadata.yaml` that says which values it takes
    #[arg(long, value_name = "DIR", conflicts_with = "cookbook")]
    template: Option<PathBuf>,
    /// A value of the template; may be given several times
    #[arg(short, long = "param", value_name = "KEY=VALUE", requires = "template")]
    params: Vec<String>,
    /// A YAML or JSON file with values of the template
    #[arg(long = "params", value_name = "FILE", requires = "template")]
    params_file: Option<PathBuf>,
    /// Where
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

/// Does it.
pub fn run(args: &Args, _global: &Global) -> Result<Exit, Failure> {
    let files: Vec<Made> = match (&args.cookbook, &args.template) {
        (Some(name), _) => copies(name)?.into_iter().map(Made::from).collect(),
        (None, Some(folder)) => from_template(folder, args)?,
        (None, None) => vec![Made::from((PathBuf::from("tree.yaml"), first_tree(&project_name(&args.dir)).into_bytes()))],
    };
    let taken: Vec<String> =
        files.iter().map(|made| args.dir.join(&made.path)).filter(|p| p.exists()).map(|p| p.display().to_string()).collect();
    if !taken.is_empty() {
        return Err(
            Failure::wrong(format!("already there: {}", taken.join(", "))).hint("nothing was written; choose another folder with --dir")
        );
    }
    files.iter().try_for_each(|made| made.write(&args.dir))?;
    write_schema(&args.dir)?;
    let Some(tree) = files.iter().find(|made| made.is_tree()).map(|made| made.path.clone()) else {
        say(&format!("made {} and the schema for editors; no tree file is among them", plural(files.len(), "file")));
        return Ok(Exit::OK);
    };
    let tree = if args.dir == Path::new(".") { tree } else { args.dir.join(tree) };
    let more = if files.len() > 1 { format!(", {} more", plural(files.len() - 1, "file")) } else { String::new() };
    say(&format!("made {}{more} and the schema for editors", tree.display()));
    if args.template.is_some() && !is_sound(&tree)? {
        return Ok(Exit::WRONG);
    }
    say(&format!("check it with: trees check {0}\nrun it with:   trees run {0}", tree.display()));
    Ok(Exit::OK)
}

/// Whether the tree that a template made checks; what is wrong is drawn.
fn is_sound(tree: &Path) -> Result<bool, Failure> {
    let source = TreeFile::find(&tree.display().to_string())?;
    let checked = source.check(&trees_steps::catalogue());
    check::print(&source.findings(&checked));
    Ok(checked.tree.is_some())
}

/// A file to be made.
struct Made {
    path: PathBuf,
    content: Vec<u8>,
    mode: Option<u32>,
}

impl From<(PathBuf, Vec<u8>)> for Made {
    fn from((path, content): (PathBuf, Vec<u8>)) -> Self {
        Self { path, content, mode: None }
    }
}

impl Made {
    fn write(&self, dir: &Path) -> Result<(), Failure> {
        let path = dir.join(&self.path);
        write_bytes(&path, &self.content)?;
        self.mode.map_or(Ok(()), |mode| set_mode(&path, mode))
    }

    /// YAML with `tree:` at its top.
    fn is_tree(&self) -> bool {
        let is_yaml = self.path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        is_yaml && String::from_utf8_lossy(&self.content).lines().any(|line| line.starts_with("tree:"))
    }
}

/// The files of a template folder, made from the values given; a tree file first.
fn from_template(folder: &Path, args: &Args) -> Result<Vec<Made>, Failure> {
    if !folder.is_dir() {
        return Err(Failure::wrong(format!("there is no template folder {}", folder.display())));
    }
    let wrong = |error: trees_runner::kind::KindError| Failure::wrong(error.message);
    let metadata = template::described(folder).map_err(wrong)?.ok_or_else(|| {
        Failure::wrong(format!("{} is no template: it has no metadata.yaml", folder.display()))
            .hint("write one with `name: …` and `inputs:`; see `trees steps file/template`")
    })?;
    let mut values = args.params_file.as_deref().map_or_else(|| Ok(Object::new()), given::file)?;
    for text in &args.params {
        let (name, value) = text.split_once('=').ok_or_else(|| given::no_pair(text))?;
        values.insert(name.to_owned(), metadata.typed(name, value));
    }
    let rendered =
        template::folder(folder, &values).map_err(|error| wrong(error).hint("give values with -p name=value or --params FILE"))?;
    let made = |file: Rendered| Made { path: PathBuf::from(file.path), content: file.content, mode: Some(file.mode) };
    let mut files: Vec<Made> = rendered.into_iter().map(made).collect();
    files.sort_by_key(|made| !made.is_tree());
    Ok(files)
}

/// The files of a cookbook, the tree file first.
fn copies(name: &str) -> Result<Vec<(PathBuf, Vec<u8>)>, Failure> {
    let found = shelf::find(name)?.ok_or_else(|| Failure::wrong(format!("there is no cookbook `{name}`")).hint(shelf::names_hint()))?;
    let name = name.strip_suffix(".yaml").unwrap_or(name);
    let mut files = match found {
        shelf::Found::BuiltIn(cookbook) => cookbook
            .files()
            .into_iter()
            .filter_map(|f| Some((f.path().strip_prefix(name).ok()?.to_owned(), f.contents().to_vec())))
            .collect(),
        shelf::Found::Folder(tree) => folder(tree.parent().unwrap_or(Path::new(".")))?,
    };
    let top = PathBuf::from(format!("{name}.yaml"));
    files.sort_by_key(|(path, _)| (*path != top, path.clone()));
    if let Some((_, content)) = files.first_mut() {
        let mut marked = MARK.as_bytes().to_vec();
        marked.append(content);
        *content = marked;
    }
    Ok(files)
}

fn folder(root: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, Failure> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let wrong = |e: std::io::Error| Failure::failed(format!("cannot read {}: {e}", folder.display()));
        for entry in fs::read_dir(&folder).map_err(wrong)?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let content = fs::read(&path).map_err(|e| Failure::failed(format!("cannot read {}: {e}", path.display())))?;
                files.push((path.strip_prefix(root).unwrap_or(&path).to_owned(), content));
            }
        }
    }
    Ok(files)
}

/// `.trees/tree.schema.json`; the state folder keeps itself out of git.
fn write_schema(dir: &Path) -> Result<(), Failure> {
    let state = dir.join(".trees");
    let ignore = state.join(".gitignore");
    if !ignore.exists() {
        write_bytes(&ignore, b"*\n")?;
    }
    set_mode(&state, 0o700)?;
    let schema = trees_core::language::schema(&trees_steps::catalogue());
    let path = state.join("tree.schema.json");
    fs::write(&path, format!("{schema:#}\n")).map_err(|e| Failure::failed(format!("cannot write {}: {e}", path.display())))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|e| Failure::failed(format!("cannot set the mode of {}: {e}", path.display())))
}

/// A name for the tree: the folder's, made valid.
fn project_name(dir: &Path) -> String {
    let full = dir.canonicalize().or_else(|_| std::env::current_dir().map(|here| here.join(dir)));
    let name = full.ok().and_then(|p| p.file_name().map(|n| n.to_string_lossy().to_lowercase())).unwrap_or_default();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = name.trim_matches('-').trim_start_matches(|c: char| !c.is_ascii_lowercase());
    if name.is_empty() { "project".into() } else { name.into() }
}

/// Refuses what cannot be a tree's name.
pub fn check_name(name: &str) -> Result<(), Failure> {
    let fine = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if fine {
        Ok(())
    } else {
        Err(Failure::wrong(format!("`{name}` is no name: write lower-case letters, digits and hyphens, a letter first")))
    }
}

/// A small tree that runs.
pub fn first_tree(name: &str) -> String {
    format!(
        r#"{MARK}tree: {name}
description: What this tree is for.

params:
  greeting: hello

steps:
  prepare:
    run: |
      echo "count=3" >> "$TREES_OUTPUT"
    outputs: {{ count: integer }}
  greet:
    foreach: {{ items: [here, there], as: place }}
    run: echo {{{{ params.greeting }}}} {{{{ place }}}}
  report:
    needs: [prepare, greet]
    run: echo "greeted, count is {{{{ steps.prepare.outputs.count }}}}"
"#
    )
}

/// Writes a file that is not there yet, with its folders.
pub fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    write_bytes(path, text.as_bytes())
}

fn write_bytes(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let wrong = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::wrong(format!("{} is already there; nothing is overwritten", path.display())),
        _ => Failure::failed(format!("cannot write {}: {e}", path.display())),
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(wrong)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(wrong)?;
    file.write_all(content).map_err(wrong)
}
