//! Templates to contents, in memory: strict, without escapes, parsed again where the name says
//! what it is.

use super::metadata::Metadata;
use super::place;
use std::collections::BTreeMap;
use std::path::{Component, Path};
use tera::{Context, Tera};
use trees_core::event::{Json, Object};
use trees_runner::kind::KindError;
use walkdir::WalkDir;

/// One file as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Relative to the target, with `/`.
    pub path: String,
    /// Its content.
    pub content: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
}

/// A file of the template folder.
struct Source {
    content: Vec<u8>,
    mode: u32,
}

/// Renders one template file; it is called after its target.
///
/// # Errors
/// When it is missing, no text, or wrong.
pub fn file(source: &Path, target: &Path, values: &Object) -> Result<Rendered, KindError> {
    let found = place::find(source)?.ok_or_else(|| missing(source))?;
    let text = String::from_utf8(found.content).map_err(|_| KindError::new(format!("`{}` is not UTF-8", source.display())))?;
    let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let engine = Engine::new([(source.file_name().unwrap_or_default().to_string_lossy().into_owned(), text)], values)?;
    let content = engine.names().first().map(|name| engine.render(name)).transpose()?.unwrap_or_default();
    parses(&name, &content)?;
    Ok(Rendered { path: name, content: content.into_bytes(), mode: found.mode })
}

fn missing(source: &Path) -> KindError {
    KindError::new(format!("no template at `{}`", source.display())).help("`source` is relative to the working folder of the run")
}

/// Renders a template folder; sorted by path.
///
/// # Errors
/// The first template or name that is wrong.
pub fn folder(root: &Path, metadata: &Metadata, values: &Object) -> Result<Vec<Rendered>, KindError> {
    let sources = read(root)?;
    let texts = sources.iter().filter(|(name, _)| !metadata.rule(name).raw).filter_map(|(name, source)| {
        let text = std::str::from_utf8(&source.content).ok()?;
        Some((name.clone(), text.to_owned()))
    });
    let engine = Engine::new(texts, values)?;
    let mut files = BTreeMap::new();
    for (name, source) in &sources {
        let rule = metadata.rule(name);
        if let Some(condition) = &rule.condition
            && !engine.holds(condition).map_err(|e| named(&format!("metadata.yaml: files: `{name}`: if"), &e))?
        {
            continue;
        }
        let path = engine.path(name)?;
        let content = if engine.knows(name) { engine.render(name)?.into_bytes() } else { source.content.clone() };
        if let Ok(text) = std::str::from_utf8(&content)
            && !rule.raw
        {
            parses(&path, text)?;
        }
        let file = Rendered { path: path.clone(), content, mode: source.mode };
        if files.insert(path.clone(), file).is_some() {
            return Err(KindError::new(format!("two templates make `{path}`; one of them is `{name}`")));
        }
    }
    Ok(files.into_values().collect())
}

fn read(root: &Path) -> Result<BTreeMap<String, Source>, KindError> {
    let mut files = BTreeMap::new();
    for entry in WalkDir::new(root).min_depth(1) {
        let entry = entry.map_err(|e| KindError::new(format!("cannot read the template folder: {e}")))?;
        let path = entry.path();
        let name = path.strip_prefix(root).unwrap_or(path);
        let name = name.to_str().ok_or_else(|| KindError::new(format!("the name of `{}` is not UTF-8", path.display())))?;
        if entry.path_is_symlink() {
            return Err(KindError::new(format!("`{}` is a symbolic link: templates have none", path.display())));
        }
        if entry.file_type().is_dir() || name == "metadata.yaml" {
            continue;
        }
        let found = place::find(path)?.ok_or_else(|| missing(path))?;
        files.insert(name.to_owned(), Source { content: found.content, mode: found.mode });
    }
    Ok(files)
}

/// Tera without escapes, and with `json` for a value that goes into JSON or YAML.
fn plain() -> Tera {
    let mut tera = Tera::new();
    tera.autoescape_on(Vec::<&str>::new());
    tera.register_filter("json", |value: &tera::Value, _: tera::Kwargs, _: &tera::State<'_>| {
        serde_json::to_string(value).map_err(|e| tera::Error::message(e.to_string()))
    });
    tera
}

struct Engine {
    tera: Tera,
    context: Context,
    values: Object,
}

impl Engine {
    fn new(texts: impl IntoIterator<Item = (String, String)>, values: &Object) -> Result<Self, KindError> {
        let mut tera = plain();
        tera.add_raw_templates(texts).map_err(|e| wrong(&e))?;
        let context = Context::from_serialize(values).map_err(|e| wrong(&e))?;
        Ok(Self { tera, context, values: values.clone() })
    }

    fn names(&self) -> Vec<String> {
        self.tera.get_template_names().map(str::to_owned).collect()
    }

    fn knows(&self, name: &str) -> bool {
        self.tera.contains_template(name)
    }

    fn render(&self, name: &str) -> Result<String, KindError> {
        self.defined(&self.tera, name)?;
        self.tera.render(name, &self.context).map_err(|e| named(name, &wrong(&e)))
    }

    /// Tera takes an undefined name in a condition for false; here it is an error everywhere.
    fn defined(&self, tera: &Tera, name: &str) -> Result<(), KindError> {
        let used = tera.get_template_variables(name).map_err(|e| named(name, &wrong(&e)))?;
        let mut unknown: Vec<&str> = used.into_iter().filter(|used| !self.values.contains_key(*used)).collect();
        unknown.sort_unstable();
        let Some(first) = unknown.first() else { return Ok(()) };
        let known: Vec<&str> = self.values.keys().map(String::as_str).collect();
        Err(KindError::new(format!(
            "{name}: `{first}` is not defined; there is {}",
            if known.is_empty() { "nothing".into() } else { known.join(", ") }
        )))
    }

    /// A text that is no file of the template: a name or a condition.
    fn text(&self, text: &str) -> Result<String, KindError> {
        let mut tera = plain();
        tera.add_raw_template("it", text).map_err(|e| wrong(&e))?;
        self.defined(&tera, "it")?;
        tera.render("it", &self.context).map_err(|e| wrong(&e))
    }

    fn holds(&self, condition: &str) -> Result<bool, KindError> {
        Ok(self.text(&format!("{{% if {condition} %}}1{{% endif %}}"))? == "1")
    }

    fn path(&self, name: &str) -> Result<String, KindError> {
        let path = if name.contains("{{") || name.contains("{%") { self.text(name).map_err(|e| named(name, &e))? } else { name.to_owned() };
        let path = path.strip_suffix(".tera").unwrap_or(&path).to_owned();
        let plain = Path::new(&path).components().all(|c| matches!(c, Component::Normal(_)));
        if path.is_empty() || path.split('/').any(str::is_empty) {
            return Err(KindError::new(format!("the name `{name}` is empty once it is rendered: `{path}`")));
        }
        if !plain || path.contains('\0') || path.contains('\\') {
            return Err(KindError::new(format!("the name `{name}` leaves the target folder: `{path}`")));
        }
        Ok(path)
    }
}

fn named(name: &str, error: &KindError) -> KindError {
    KindError::new(format!("{name}: {}", error.message))
}

/// What Tera said, with the causes it hides.
fn wrong(error: &tera::Error) -> KindError {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    KindError::new(text.trim().to_owned())
}

fn parses(path: &str, text: &str) -> Result<(), KindError> {
    let (form, error) = match path.rsplit_once('.').map(|(_, end)| end) {
        Some("json") => ("JSON", serde_json::from_str::<Json>(text).err().map(|e| e.to_string())),
        Some("yaml" | "yml") if text.trim().is_empty() => return Ok(()),
        Some("yaml" | "yml") => ("YAML", serde_yaml::from_multiple::<Json>(text).err().map(|e| e.to_string())),
        Some("toml") => ("TOML", toml::from_str::<toml::Table>(text).err().map(|e| e.to_string())),
        _ => return Ok(()),
    };
    error.map_or(Ok(()), |e| Err(KindError::new(format!("`{path}` is no {form} once it is rendered: {e}"))))
}
